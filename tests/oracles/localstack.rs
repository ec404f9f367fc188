//! The endpoint before LocalStack, which lets in whoever asks: what LocalStack is seen to be by itself, and that the
//! same questions are answered otherwise through the gate.
//!
//! Needs Docker, and the image that `fixtures/localstack/build.sh` builds or another of that name.

use std::{
    ops::Not as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::support::{self, Program, ended, finished, fixture, python, without_proxies};

/// Longest time for one command.
const PATIENCE: Duration = Duration::from_mins(2);
const CREDENTIALS: &str = "test:test";
const IMAGE: &str = "localstack/localstack:4.14.0";

pub(crate) fn trials() -> Vec<Trial> {
    /// One LocalStack at a time: each takes a processor while it starts.
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = |name: &str, test: fn() -> Result<(), Failed>| {
        Trial::test(name, move || {
            let _alone = ALONE.lock();
            test()
        })
    };
    let absent = support::asked_for()
        .then(|| docker(&["version", "--format", "{{.Server.Version}}"]).err())
        .flatten();
    if let Some(because) = absent.clone() {
        support::say(&format!(
            "ignored: LocalStack's trials need Docker ({})",
            said(because)
        ));
    }
    let in_docker = |name: &str, test| match absent {
        None => alone(name, test),
        Some(_) => alone(name, test).with_kind("no Docker").with_ignored_flag(true),
    };
    vec![
        in_docker(
            "localstack::alone_it_proves_nothing_and_through_the_gate_everything",
            probes,
        ),
        in_docker(
            "localstack::what_is_denied_stays_out_and_what_is_kept_counts",
            behaves,
        ),
        in_docker(
            "localstack::parameters_are_kept_there_and_decided_here",
            parameters,
        ),
        in_docker(
            "localstack::gone_in_the_middle_it_is_an_error_and_no_denial",
            goes_away,
        ),
        in_docker(
            "localstack::nothing_of_it_stays_however_the_endpoint_ends",
            leaves_nothing,
        ),
        alone("localstack::without_docker_one_line_says_so", without_docker),
        alone("localstack::moto_alone_proves_nothing", moto),
    ]
}

fn gate() -> Result<Program, Failed> {
    let image = ["image", "inspect", "--format", "{{.Id}}", IMAGE];
    docker(&image).map_err(|error| {
        format!(
            "no image {IMAGE} ({}): fixtures/localstack/build.sh makes it",
            said(error)
        )
    })?;
    Program::start(&["--backend", "localstack"])
}

fn container(program: &Program) -> Result<String, Failed> {
    backend(program, "container")
}

fn backend(program: &Program, member: &str) -> Result<String, Failed> {
    let text = program.line["backend"][member].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("no {member} of the backend in {}", program.line).into())
}

/// What `mountproof probe` says of an endpoint: the words before each capability.
fn probed(url: &str) -> Result<Vec<String>, Failed> {
    let mut probe = Command::new(env!("CARGO_BIN_EXE_mountproof"));
    without_proxies(&mut probe);
    probe.args(["probe", url, "--credentials", CREDENTIALS]);
    // What could not be tried makes it end with 6.
    let (_, printed, complaint) = ended(&mut probe, PATIENCE)?;
    if printed.is_empty() {
        return Err(complaint.into());
    }
    Ok(words(&printed))
}

/// The same of an endpoint that trusts the probe's own issuer of tokens.
fn probed_with_tokens(arguments: &[&str]) -> Result<Vec<String>, Failed> {
    let folder = tempfile::tempdir()?;
    let (authority, port) = (folder.path().join("issuer.pem"), free_port()?);
    let address = format!("127.0.0.1:{port}");
    let mut probe = Command::new(env!("CARGO_BIN_EXE_mountproof"));
    without_proxies(&mut probe);
    probe.args([
        "probe",
        &format!("http://{address}"),
        "--credentials",
        CREDENTIALS,
    ]);
    probe.arg("--issuer-ca-out").arg(&authority);
    let probing = std::thread::spawn(move || finished(probe, PATIENCE).map_err(said));
    let until = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&authority)
        .is_ok_and(|pem| pem.contains("END CERTIFICATE"))
        .not()
    {
        if Instant::now() > until {
            return Err("the probe writes no authority".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let authority = authority.to_string_lossy().into_owned();
    let mut all = vec!["--listen", &address, "--issuer-ca", &authority];
    all.extend(arguments);
    let program = Program::start(&all)?;
    let printed = probing.join().map_err(|_| "the probe's thread panicked")??;
    program.stop()?;
    Ok(words(&printed))
}

fn words(printed: &str) -> Vec<String> {
    let answers = printed.lines().filter(|line| line.starts_with("  "));
    answers
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn every(word: &str) -> Vec<String> {
    [
        "token-verification",
        "request-signatures",
        "iam-enforcement",
        "resource-policies",
    ]
    .map(|capability| format!("{word} {capability}"))
    .to_vec()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers compare what they have no further use for"
)]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failed> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}").into())
    }
}

fn probes() -> Result<(), Failed> {
    let program = gate()?;
    same(
        "LocalStack alone",
        probed(&backend(&program, "url")?)?,
        every("no"),
    )?;
    let mut but_for_tokens = every("yes");
    "? token-verification".clone_into(&mut but_for_tokens[0]);
    same("through the gate", probed(program.http())?, but_for_tokens)?;
    program.stop()?;
    let gate = probed_with_tokens(&["--backend", "localstack"])?;
    same("through the gate, with genuine tokens", gate, every("yes"))?;
    same("the endpoint alone", probed_with_tokens(&[])?, every("yes"))
}

fn moto() -> Result<(), Failed> {
    let python = interpreter()?;
    let port = free_port()?;
    let mut server = Command::new(python);
    server
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = server.spawn()?;
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let answers = probed(&format!("http://127.0.0.1:{port}"));
    server.kill()?;
    server.wait()?;
    same("moto alone", answers?, every("no"))
}

/// Python with boto3 and moto. Made once, whichever test comes first.
pub(crate) fn interpreter() -> Result<PathBuf, Failed> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    python("localstack", &fixture("localstack/requirements.txt"))
}

/// Runs a few lines of boto3 with what they need, and reads the JSON they print.
fn boto3(program: &Program, lines: &str) -> Result<Value, Failed> {
    let mut script = Command::new(interpreter()?);
    program.client(&mut script);
    let lines = format!("{PREAMBLE}\n{lines}");
    script
        .args(["-c", &lines])
        .env("BACKEND", backend(program, "url")?);
    let printed = finished(script, PATIENCE)?;
    serde_json::from_str(&printed).map_err(|error| format!("{error}: {printed}").into())
}

/// Two tenants as the harness makes them, and a client of LocalStack itself beside the endpoint's.
const PREAMBLE: &str = r#"
import boto3, json, os
from botocore.config import Config
from botocore.exceptions import ClientError
once = Config(retries={"max_attempts": 1})
iam, sts = boto3.client("iam", config=once), boto3.client("sts", config=once)
secrets, ssm = boto3.client("secretsmanager", config=once), boto3.client("ssm", config=once)
there = lambda name: boto3.client(name, endpoint_url=os.environ["BACKEND"], aws_access_key_id="000000000000", aws_secret_access_key="any", config=once)
def tenant(name, extra=()):
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"}}]}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    own = [{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": f"arn:aws:secretsmanager:*:*:secret:{name}/*"},
        {"Effect": "Allow", "Action": "ssm:*", "Resource": f"arn:aws:ssm:*:*:parameter/{name}*"}]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": own + list(extra)}))
    secrets.create_secret(Name=f"{name}/db", SecretString=f"value of {name}")
    ssm.put_parameter(Name=f"/{name}/db", Value=f"parameter of {name}", Type="SecureString")
    given = sts.assume_role(RoleArn=f"arn:aws:iam::000000000000:role/{name}", RoleSessionName="it")["Credentials"]
    keys = dict(aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"], aws_session_token=given["SessionToken"])
    return lambda service, **more: boto3.client(service, config=once, **keys, **more)
def said(call, **args):
    try:
        answer = call(**args)
        return answer.get("SecretString") or "done"
    except ClientError as error:
        return error.response["Error"]["Code"] + ": " + error.response["Error"]["Message"]
"#;

fn behaves() -> Result<(), Failed> {
    let program = gate()?;
    let found = boto3(
        &program,
        r#"
of_blue = tenant("blue")
red, blue = tenant("red")("secretsmanager"), of_blue("secretsmanager")
found = {"own": said(red.get_secret_value, SecretId="red/db"), "other": said(red.get_secret_value, SecretId="blue/db")}
found["put"] = said(red.put_secret_value, SecretId="blue/db", SecretString="stolen")
found["kept"] = there("secretsmanager").get_secret_value(SecretId="blue/db")["SecretString"]
deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]}
there("secretsmanager").put_resource_policy(SecretId="red/db", ResourcePolicy=json.dumps(deny))
found["shut"] = said(red.get_secret_value, SecretId="red/db")
there("secretsmanager").replicate_secret_to_regions(SecretId="blue/db", AddReplicaRegions=[{"Region": "us-west-2"}])
west = of_blue("secretsmanager", region_name="us-west-2")
found["replica"] = said(west.get_secret_value, SecretId="blue/db")
there("secretsmanager").put_resource_policy(SecretId="blue/db", ResourcePolicy=json.dumps(deny))
found["shut replica"] = said(west.get_secret_value, SecretId="blue/db")
found["mirrored"] = there("iam").get_role_policy(RoleName="red", PolicyName="own")["PolicyName"]
print(json.dumps(found))
"#,
    )?;
    let denial = |who: &str, action: &str, secret: &str, because: &str| {
        format!(
            "AccessDeniedException: User: arn:aws:sts::000000000000:assumed-role/{who}/it is not authorized to perform: \
             secretsmanager:{action} on resource: {secret} {because}"
        )
    };
    let nothing_allows = |action: &str| {
        let because = format!("because no identity-based policy allows the secretsmanager:{action} action");
        denial("red", action, "blue/db", &because)
    };
    let expected = json!({
        "own": "value of red",
        "other": nothing_allows("GetSecretValue"),
        "put": nothing_allows("PutSecretValue"),
        "kept": "value of blue",
        "shut": denial("red", "GetSecretValue", "red/db", "with an explicit deny in a resource-based policy"),
        // LocalStack itself cannot hand it out, and knows no policy of it.
        "replica": "value of blue",
        "shut replica": denial("blue", "GetSecretValue", "blue/db", "with an explicit deny in a resource-based policy"),
        "mirrored": "own",
    });
    same("through the gate", found, expected)?;
    program.stop()
}

fn parameters() -> Result<(), Failed> {
    let program = gate()?;
    let found = boto3(
        &program,
        r#"
red = tenant("red")("ssm"); tenant("blue")
value = lambda name, **more: (lambda p: p["Value"])(red.get_parameter(Name=name, **more)["Parameter"])
code = lambda call, **args: said(call, **args).split(":")[0]
found = {"own": value("/red/db", WithDecryption=True)}
found["veiled"] = value("/red/db")[:6]
found["path"] = [p["Value"] for p in red.get_parameters_by_path(Path="/red", WithDecryption=True)["Parameters"]]
found["several"] = [p["Name"] for p in red.get_parameters(Names=["/red/db", "/red/none"])["Parameters"]]
found["history"] = [p["Version"] for p in red.get_parameter_history(Name="/red/db")["Parameters"]]
red.add_tags_to_resource(ResourceType="Parameter", ResourceId="/red/db", Tags=[{"Key": "k", "Value": "v"}])
found["tags"] = [t["Key"] for t in red.list_tags_for_resource(ResourceType="Parameter", ResourceId="/red/db")["TagList"]]
found["second"] = red.put_parameter(Name="/red/db", Value="second", Type="SecureString", Overwrite=True)["Version"]
red.label_parameter_version(Name="/red/db", ParameterVersion=2, Labels=["live"])
found["labelled"] = value("/red/db:live", WithDecryption=True)
found["by ARN"] = value("arn:aws:ssm:us-east-1:000000000000:parameter/red/db:1", WithDecryption=True)
found["denied"] = [code(red.get_parameter, Name="/blue/db"), code(red.get_parameters, Names=["/red/db", "/blue/db"]),
    code(red.get_parameters_by_path, Path="/", Recursive=True), code(red.put_parameter, Name="/blue/db", Value="x", Type="String", Overwrite=True),
    code(red.delete_parameter, Name="/blue/db"), code(red.describe_parameters)]
found["kept"] = there("ssm").get_parameter(Name="/blue/db", WithDecryption=True)["Parameter"]["Value"]
found["described"] = ["Value" in p for p in ssm.describe_parameters()["Parameters"]]
leak = "/red/x/secretsmanager/blue/db"
found["a secret"] = code(red.get_parameter, Name=leak, WithDecryption=True)
found["a secret there"] = there("ssm").get_parameter(Name=leak, WithDecryption=True)["Parameter"]["Value"]
red.delete_parameter(Name="/red/db")
found["gone"] = code(red.get_parameter, Name="/red/db")
print(json.dumps(found))
"#,
    )?;
    let expected = json!({
        "own": "parameter of red",
        "veiled": "AQICAH",
        "path": ["parameter of red"],
        "several": ["/red/db"],
        "history": [1],
        "tags": ["k"],
        "second": 2,
        "labelled": "second",
        "by ARN": "parameter of red",
        "denied": vec!["AccessDeniedException"; 6],
        "kept": "parameter of blue",
        "described": [false, false],
        "a secret": "ValidationException",
        "a secret there": "value of blue",
        "gone": "ParameterNotFound",
    });
    same("parameters", found, expected)?;
    program.stop()
}

fn goes_away() -> Result<(), Failed> {
    let program = gate()?;
    let lines = r#"
secrets.create_secret(Name="a", SecretString="x")
print(json.dumps(said(secrets.get_secret_value, SecretId="a")))
"#;
    same("while it is there", boto3(&program, lines)?, json!("x"))?;
    docker(&["rm", "--force", "--volumes", &container(&program)?])?;
    let lines = r#"print(json.dumps(said(secrets.get_secret_value, SecretId="a")))"#;
    let gone = json!("InternalServiceError: An error occurred on the server side.");
    same("when it is gone", boto3(&program, lines)?, gone)?;
    program.stop()
}

fn leaves_nothing() -> Result<(), Failed> {
    let there = |container: &str| -> Result<bool, Failed> {
        Ok(docker(&["ps", "--all", "--no-trunc", "--quiet"])?.contains(container))
    };
    let program = gate()?;
    let first = container(&program)?;
    same("while it runs", there(&first)?, true)?;
    program.stop()?;
    same("after SIGTERM", there(&first)?, false)?;

    // Killed, it can remove nothing: the next one does.
    let killed = gate()?;
    let second = container(&killed)?;
    drop(killed);
    same("after SIGKILL", there(&second)?, true)?;
    let next = gate()?;
    same("once the next one starts", there(&second)?, false)?;
    let swept = gate()?;
    let fourth = container(&swept)?;
    drop(swept);
    let mut sweep = Command::new(env!("CARGO_BIN_EXE_mountproof"));
    let reports = tempfile::tempdir()?;
    sweep.arg("sweep").arg("--reports").arg(reports.path());
    let printed = finished(sweep, PATIENCE)?;
    let said = format!("removed  LocalStack container {}", &fourth[..12]);
    same("sweep says so", printed.contains(&said), true)?;
    same("after a sweep", there(&fourth)?, false)?;
    let third = container(&next)?;
    next.stop()?;
    same("after the next one", there(&third)?, false)
}

fn without_docker() -> Result<(), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mountproof"));
    command
        .args(["endpoint", "--listen", "127.0.0.1:0", "--backend", "localstack"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let status = command.output()?;
    let complaint = String::from_utf8_lossy(&status.stderr).into_owned();
    same("exit code", status.status.code(), Some(3))?;
    same("lines", complaint.lines().count(), 1)?;
    if complaint.contains("Docker is not there") {
        Ok(())
    } else {
        Err(complaint.into())
    }
}

fn docker(arguments: &[&str]) -> Result<String, Failed> {
    let mut command = Command::new("docker");
    command.args(arguments);
    let (done, out, err) = ended(&mut command, PATIENCE)?;
    if done {
        Ok(out)
    } else {
        Err(format!("docker {}: {}", arguments.join(" "), err.trim()).into())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the last anyone hears of it")]
fn said(failed: Failed) -> String {
    failed.message().unwrap_or("no reason").to_owned()
}
