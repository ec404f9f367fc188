//! The endpoint as a process of its own: says where it is in one line, and takes faults until its input ends.

use std::net::Ipv4Addr;

use mountproof_aws_endpoint::{Backend, Endpoint, EndpointConfig, Faults};
use mountproof_run_tls::RunCa;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::support::unguarded::Unguarded;

pub(crate) const FLAG: &str = "--serve-endpoint";

/// Where it is, and its key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) https: std::net::SocketAddr,
    pub(crate) http: std::net::SocketAddr,
    pub(crate) ca: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// A backend that believes everybody, for the gateway.
pub(crate) const BACKEND_FLAG: &str = "--serve-backend";

/// What it begins with.
#[derive(Debug, Serialize, Deserialize)]
struct Begin {
    /// The authority of the token issuer.
    trust: String,
    /// The address of the backend that it stands before, if it does.
    backend: Option<String>,
}

/// How often calls waited for a lock since this was asked last.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Waits {
    pub(crate) log: u64,
    pub(crate) others: u64,
}

/// Asks for [`Waits`].
const WAITS: &str = "waits";

/// Runs until its standard input ends. The first line of it is [`Begin`]; every other sets faults and is answered
/// by an empty line, or is [`WAITS`].
pub(crate) async fn serve() {
    let mut input = std::io::stdin().lines();
    // The other threads go on serving.
    let mut line = || tokio::task::block_in_place(|| input.next()).map(Result::unwrap);
    let Begin { trust, backend } = serde_json::from_str(&line().unwrap()).unwrap();
    let ca = RunCa::generate("bench").unwrap();
    let mut config = EndpointConfig::new("000000000000", &ca);
    config.root_assumes_roles = true;
    config.plain_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    config.issuer_trust_pem = trust;
    config.backend = backend.map(|url| Backend::new("unguarded", &url).unwrap());
    let endpoint = Endpoint::start(config).await.unwrap();
    let root = endpoint.root_credentials();
    let ready = Ready {
        https: endpoint.address(),
        http: endpoint.plain_address().unwrap(),
        ca: ca.certificate_pem().to_owned(),
        key: root.access_key_id.clone(),
        secret: root.secret_access_key().to_owned(),
    };
    println!("{}", json!(ready));
    let mut before = (0, 0);
    while let Some(text) = line() {
        if text == WAITS {
            let now = endpoint.waits();
            let (log, others) = (now.0 - before.0, now.1 - before.1);
            println!("{}", json!(Waits { log, others }));
            before = now;
            continue;
        }
        endpoint.set_faults(Faults::parse(&text).unwrap());
        println!();
    }
    endpoint.stop().await;
}

/// The running process.
pub(crate) struct Served {
    pub(crate) ready: Ready,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Served {
    pub(crate) async fn start(issuer_trust: &str) -> Self {
        Self::start_under(&[], issuer_trust, None).await
    }

    /// One before a backend, as its gateway.
    pub(crate) async fn start_before(backend: &Unguarding, issuer_trust: &str) -> Self {
        Self::start_under(&[], issuer_trust, Some(&backend.url)).await
    }

    /// Under a program that runs another, such as `valgrind`, if one is given.
    pub(crate) async fn start_under(runner: &[&str], issuer_trust: &str, backend: Option<&str>) -> Self {
        let own = std::env::current_exe().unwrap();
        let mut words = runner.iter().map(std::ffi::OsStr::new).chain([own.as_os_str()]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .arg(FLAG)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let begin = Begin {
            trust: issuer_trust.to_owned(),
            backend: backend.map(str::to_owned),
        };
        input
            .write_all(format!("{}\n", json!(begin)).as_bytes())
            .await
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = serde_json::from_str(&output.next_line().await.unwrap().unwrap()).unwrap();
        Self {
            ready,
            child,
            input,
            output,
        }
    }

    pub(crate) fn rss(&self) -> Option<f64> {
        crate::rss(self.child.id()?)
    }

    /// Tells callgrind, under which it runs, what to do now.
    pub(crate) async fn control(&self, what: &str) {
        let pid = self.child.id().unwrap().to_string();
        let mut command = Command::new("callgrind_control");
        let output = command.args([what, &pid]).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// Lets it end by itself.
    pub(crate) async fn ended(mut self) {
        drop(self.input);
        self.child.wait().await.unwrap();
    }

    pub(crate) async fn faults(&mut self, text: &str) {
        self.ask(text).await;
    }

    pub(crate) async fn waits(&mut self) -> Waits {
        serde_json::from_str(&self.ask(WAITS).await).unwrap()
    }

    async fn ask(&mut self, text: &str) -> String {
        self.input
            .write_all(format!("{text}\n").as_bytes())
            .await
            .unwrap();
        self.output.next_line().await.unwrap().unwrap()
    }
}

/// Serves the backend of the tests until standard input ends.
pub(crate) async fn serve_backend() {
    let (_kept, backend) = Unguarded::start().await;
    println!("{}", backend.url());
    let mut input = std::io::stdin().lines();
    tokio::task::block_in_place(|| while input.next().is_some() {});
}

/// A backend as a process of its own, which ends with this.
pub(crate) struct Unguarding {
    url: String,
    _child: Child,
}

impl Unguarding {
    pub(crate) async fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(BACKEND_FLAG)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = output.next_line().await.unwrap().unwrap();
        Self { url, _child: child }
    }
}
