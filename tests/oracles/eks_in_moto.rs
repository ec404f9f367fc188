//! `run --env eks` against moto's EKS, for the parts that it has: clusters, node groups and IAM, written by other people. There is no
//! API server behind its clusters, so the run ends where it would ask one, and takes away what it made.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use super::{
    localstack::{free_port, interpreter},
    support::{ended, finished, without_proxies},
};

const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("eks_in_moto::a_cluster_is_made_and_taken_away", runs)]
}

fn runs() -> Result<(), Failed> {
    let port = free_port()?;
    let mut server = Command::new(interpreter()?);
    server
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        // Else it has none of the policies that AWS manages.
        .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut server = server.spawn()?;
    let ran = against(port);
    server.kill()?;
    server.wait()?;
    ran
}

fn against(port: u16) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let folder = tempfile::tempdir()?;
    let mut run = Command::new(env!("CARGO_BIN_EXE_mountproof"));
    account(&mut run, port);
    run.args([
        "run",
        "--env",
        "eks",
        "--create",
        "--subnets",
        "subnet-1,subnet-2",
        "positive",
    ])
    // Nobody answers at the address that it gives for an API server.
    .args(["--deadline", "15s", "--out"])
    .arg(folder.path().join("out"))
    .env("MOUNTPROOF_ALLOW_ACCOUNT", "123456789012")
    .env("TMPDIR", folder.path());
    let (_, _, said) = ended(&mut run, PATIENCE)?;
    for words in ["1.", "2 of t3.medium", "nothing left behind"] {
        if !said.contains(words) {
            return Err(format!("it did not say {words:?}: {said}").into());
        }
    }
    let mut asked = Command::new(interpreter()?);
    account(&mut asked, port);
    asked.args(["-c", EVERYTHING]);
    let left: Value = serde_json::from_str(&finished(asked, PATIENCE)?)?;
    if left == json!([[], [], [], []]) {
        Ok(())
    } else {
        Err(format!("left in moto: {left}; the run said {said}").into())
    }
}

fn account(command: &mut Command, port: u16) {
    without_proxies(command);
    command
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_DEFAULT_REGION", "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_CA_BUNDLE");
}

/// What an account has, as boto3 sees it.
const EVERYTHING: &str = r#"
import boto3, json
iam, eks, secrets = boto3.client("iam"), boto3.client("eks"), boto3.client("secretsmanager")
print(json.dumps([
    eks.list_clusters()["clusters"],
    [role["RoleName"] for role in iam.list_roles()["Roles"]],
    [policy["PolicyName"] for policy in iam.list_policies(Scope="Local")["Policies"]],
    [secret["Name"] for secret in secrets.list_secrets()["SecretList"]],
]))
"#;
