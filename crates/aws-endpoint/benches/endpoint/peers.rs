//! moto and LocalStack on the same client: installed once under `target/bench`, started for the measurement, ended
//! after it. What cannot be had is said, and left out.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    Plan,
    load::{Client, Pace, Until, Way, bytes, run},
    row,
    support::{Caller, REGION, secrets_request, signed, signed_at},
};

const MOTO: &[&str] = &["moto[server,secretsmanager]==5.2.5"];
/// The last that asks for no account, with the versions of its own `requirements-runtime.txt`.
const LOCALSTACK: &[&str] = &[
    "localstack-core[runtime]==4.14.0",
    "cbor2==5.8.0",
    "pyopenssl==25.3.0",
    "localstack-twisted==25.5.0",
    "moto-ext==5.1.24",
];
const SECRETS: usize = 200;
const PATIENCE: Duration = Duration::from_mins(1);

/// Prints a line for each peer; its calls a second.
pub(crate) async fn measure(plan: Plan) -> Vec<(&'static str, f64)> {
    let mut rates = Vec::new();
    for (name, version, packages, start) in [
        (
            "moto",
            "moto 5.2.5",
            MOTO,
            moto as fn(&Path, SocketAddr) -> Command,
        ),
        (
            "LocalStack",
            "LocalStack 4.14.0, host mode",
            LOCALSTACK,
            localstack,
        ),
    ] {
        match peer(plan, version, packages, start).await {
            Ok(rate) => rates.push((name, rate)),
            Err(why) => println!("{version}: not measured: {why}"),
        }
    }
    rates
}

async fn peer(
    plan: Plan,
    name: &str,
    packages: &[&str],
    start: fn(&Path, SocketAddr) -> Command,
) -> Result<f64, String> {
    let bin = installed(name, packages).await?;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut child = start(&bin, address)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let measured = ask(plan, name, address, &child).await;
    // A signal that lets LocalStack end its own children is not needed: it has none here.
    let _ = child.kill().await;
    measured
}

async fn ask(plan: Plan, name: &str, address: SocketAddr, child: &Child) -> Result<f64, String> {
    let began = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        if began.elapsed() > PATIENCE {
            return Err(format!("it did not listen within {PATIENCE:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let caller = Caller {
        id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret: "x".repeat(40),
        token: None,
    };
    let way = Way::http(address);
    let mut client = Client::new(way.clone());
    let mut reads = Vec::new();
    for number in 0..SECRETS {
        let id = format!("demo/team-red/secret-{number}");
        let secret = json!({ "Name": id, "SecretString": "x".repeat(64) });
        client
            .call(&bytes(&signed(
                secrets_request(REGION, "CreateSecret", secret),
                &caller,
            )))
            .await;
        let request = secrets_request(REGION, "GetSecretValue", json!({ "SecretId": id }));
        reads.push(bytes(&signed_at(request, &caller, SystemTime::now())));
    }
    let reads = Arc::new(reads);
    let rss = child.id().and_then(crate::rss);
    let mut best: f64 = 0.0;
    for connections in [1, plan.connections] {
        let figures = run(
            &way,
            &reads,
            connections,
            Pace::Closed,
            Until::Time(plan.time / 2),
        )
        .await;
        row(
            &format!("{name}: GetSecretValue, HTTP, {connections} connections"),
            &figures,
            rss,
        );
        best = best.max(figures.rate);
    }
    Ok(best)
}

fn moto(bin: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(bin.join("moto_server"));
    command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
    command
}

fn localstack(bin: &Path, address: SocketAddr) -> Command {
    let volume = bin.join("../volume");
    let mut command = Command::new(bin.join("python"));
    command
        .args(["-m", "localstack.runtime.main"])
        .env("GATEWAY_LISTEN", address.to_string())
        .env("DNS_ADDRESS", "0")
        .env("DISABLE_EVENTS", "1")
        .env("SKIP_SSL_CERT_DOWNLOAD", "1")
        .env("LOCALSTACK_VOLUME_DIR", volume);
    command
}

/// Where the programs of `packages` are; installs them on first use.
async fn installed(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let folder = name.split([' ', ',']).next().unwrap_or(name).to_lowercase();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/bench")
        .join(folder);
    let bin = root.join("bin");
    let done = root.join("installed");
    let pins = packages.join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|is| is == pins) {
        return Ok(bin);
    }
    let python = python().await.ok_or("there is no Python 3.12 or newer")?;
    ran(Command::new(python).args(["-m", "venv"]).arg(&root)).await?;
    ran(Command::new(bin.join("python"))
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages))
    .await?;
    std::fs::write(&done, pins).map_err(|error| error.to_string())?;
    Ok(bin)
}

/// LocalStack's source needs Python 3.12.
async fn python() -> Option<&'static str> {
    for name in ["python3.13", "python3.12", "python3"] {
        let new = "import sys; sys.exit(sys.version_info < (3, 12))";
        if ran(Command::new(name).args(["-c", new])).await.is_ok() {
            return Some(name);
        }
    }
    None
}

async fn ran(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().last().unwrap_or("it failed").to_owned())
}
