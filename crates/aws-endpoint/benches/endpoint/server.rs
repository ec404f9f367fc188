//! The endpoint as a process of its own: says where it is in one line, and takes faults until its input ends.

use std::net::Ipv4Addr;

use mountproof_aws_endpoint::{Endpoint, EndpointConfig, Faults};
use mountproof_run_tls::RunCa;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

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

/// Runs until its standard input ends. The first line of it is the authority of the token issuer, as JSON; every
/// other sets faults, and is answered by an empty line.
pub(crate) async fn serve() {
    let mut input = std::io::stdin().lines();
    // The other threads go on serving.
    let mut line = || tokio::task::block_in_place(|| input.next()).map(Result::unwrap);
    let trust: String = serde_json::from_str(&line().unwrap()).unwrap();
    let ca = RunCa::generate("bench").unwrap();
    let mut config = EndpointConfig::new("000000000000", &ca);
    config.root_assumes_roles = true;
    config.plain_listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    config.issuer_trust_pem = trust;
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
    while let Some(text) = line() {
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
        Self::start_under(&[], issuer_trust).await
    }

    /// Under a program that runs another, such as `valgrind`, if one is given.
    pub(crate) async fn start_under(runner: &[&str], issuer_trust: &str) -> Self {
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
        input
            .write_all(format!("{}\n", json!(issuer_trust)).as_bytes())
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

    /// Lets it end by itself.
    pub(crate) async fn ended(mut self) {
        drop(self.input);
        self.child.wait().await.unwrap();
    }

    pub(crate) async fn faults(&mut self, text: &str) {
        self.input
            .write_all(format!("{text}\n").as_bytes())
            .await
            .unwrap();
        self.output.next_line().await.unwrap();
    }
}
