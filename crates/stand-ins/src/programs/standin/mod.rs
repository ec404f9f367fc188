//! The stand-ins as programs of their own: with the flags of the real ones, reading the same places, printing the same
//! kind of `--help` and `--version`, so that whatever runs the real ones runs these, and can be tested so.
//!
//! Beside the real ones' flags they know `--defect NAME`, which may be repeated, and `--as-released`, which switches on what is
//! wrong with the release that they imitate: see [`defects`](crate::defects). A driver keeps its mounts
//! when it ends, as the real one does.
//!
//! What they leave out: klog's flags but `-v`, metrics, profiling, health checks of providers, `tcp` endpoints, most
//! lines of the log; kubeconfigs with more than a server, an authority and a token. Flags for what is left out are taken
//! and ignored.

//! [`DriverStart`], [`ProviderStart`] and [`RegistrarStart`] are the same without a process of their own: for whoever runs
//! what a container would, with that container's arguments and [`Surroundings`].

mod go_flags;
mod start;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::go_flags::{Flag, Given, Kind, Stop, usage};
pub use self::start::{
    DriverStart, NotStarted, ProviderStart, RegistrarStart, RunningRegistrar, Surroundings,
};
use super::provider::ACCOUNT;
use crate::{
    driver::{self, Driver},
    provider::Provider,
    rest::{ApiAccess, BearerToken},
};

/// Where Debian and its like keep the authorities to trust; elsewhere `SSL_CERT_FILE` has to name them.
const SYSTEM_TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Which stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The CSI driver.
    Driver,
    /// The AWS provider.
    Provider,
    /// What registers a driver with kubelet, beside it in its pod.
    Registrar,
}

impl Part {
    /// `driver`, `provider` or `registrar`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "driver" => Some(Self::Driver),
            "provider" => Some(Self::Provider),
            "registrar" => Some(Self::Registrar),
            _ => None,
        }
    }

    fn flags(self) -> &'static [Flag] {
        match self {
            Self::Driver => DRIVER,
            Self::Provider => PROVIDER,
            Self::Registrar => REGISTRAR,
        }
    }
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, what: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        what,
    }
}

const DEFECT: Flag = flag(
    "defect",
    Kind::Many,
    "",
    "a defect to plant, by its name; may be repeated",
);
const AS_RELEASED: Flag = flag(
    "as-released",
    Kind::Bool,
    "false",
    "whether it has the known hazards of the release that it imitates; without it is as a healthy one would be",
);
const IGNORED: &str = "taken and ignored";

const DRIVER: &[Flag] = &[
    DEFECT,
    AS_RELEASED,
    flag(
        "endpoint",
        Kind::Text,
        "unix://tmp/csi.sock",
        "where to serve csi.v1",
    ),
    flag("drivername", Kind::Text, driver::NAME, "its name"),
    flag("nodeid", Kind::Text, "", "name of its node"),
    flag(
        "kubeconfig",
        Kind::Text,
        "",
        "the way to the API server; else KUBECONFIG names it",
    ),
    flag(
        "provider-volume",
        Kind::Text,
        "/var/run/secrets-store-csi-providers",
        "where providers serve",
    ),
    flag(
        "additional-provider-volume-paths",
        Kind::Text,
        "/etc/kubernetes/secrets-store-csi-providers",
        "where providers serve too, with commas between; looked at first",
    ),
    flag(
        "enable-secret-rotation",
        Kind::Bool,
        "false",
        "whether republishes rotate",
    ),
    flag(
        "rotation-poll-interval",
        Kind::Time,
        "2m0s",
        "how old a mount is when it is rotated",
    ),
    flag("version", Kind::Bool, "false", "print the version and exit"),
    flag("v", Kind::Int, "0", IGNORED),
    flag("log-format-json", Kind::Bool, "false", IGNORED),
    flag("metrics-addr", Kind::Text, ":8095", IGNORED),
    flag("metrics-backend", Kind::Text, "Prometheus", IGNORED),
    flag("enable-pprof", Kind::Bool, "false", IGNORED),
    flag("pprof-port", Kind::Int, "6065", IGNORED),
    flag("max-call-recv-msg-size", Kind::Int, "4194304", IGNORED),
    flag("provider-health-check", Kind::Bool, "false", IGNORED),
    flag("provider-health-check-interval", Kind::Time, "2m0s", IGNORED),
];

const REGISTRAR: &[Flag] = &[
    flag(
        "csi-address",
        Kind::Text,
        "/run/csi/socket",
        "where the driver serves, in this container",
    ),
    flag(
        "kubelet-registration-path",
        Kind::Text,
        "",
        "where the driver serves, on the node",
    ),
    flag(
        "plugin-registration-path",
        Kind::Text,
        "/registration",
        "kubelet's folder of plugins, in this container",
    ),
    flag("version", Kind::Bool, "false", "print the version and exit"),
    flag("v", Kind::Int, "0", IGNORED),
    flag("http-endpoint", Kind::Text, "", IGNORED),
];

const PROVIDER: &[Flag] = &[
    DEFECT,
    AS_RELEASED,
    flag(
        "provider-volume",
        Kind::Text,
        "/var/run/secrets-store-csi-providers",
        "folder of its socket",
    ),
    flag(
        "driver-writes-secrets",
        Kind::Bool,
        "false",
        "whether the driver writes the files",
    ),
    flag("qps", Kind::Int, "5", "requests per second to the API server"),
    flag("burst", Kind::Int, "10", "requests at once to the API server"),
    flag("eks-addon-version", Kind::Text, "", IGNORED),
    flag(
        "pod-identity-http-timeout",
        Kind::Text,
        "",
        "longest wait for the Pod Identity Agent's answer",
    ),
];

/// Why a stand-in cannot run.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    #[error(transparent)]
    Driver(#[from] driver::StartError),
    #[error(transparent)]
    Provider(#[from] crate::provider::StartError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs a stand-in with the real one's `arguments` until SIGTERM or SIGINT. `program` is what it is called. Answers with
/// the exit code: 0, 1 where it cannot run, 2 where the arguments are wrong.
///
/// # Errors
///
/// When `out` or `err` cannot be written.
pub async fn run(
    part: Part,
    program: &str,
    arguments: &[String],
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let given = match Given::read(part.flags(), arguments) {
        Ok(given) => given,
        Err(Stop::Help) => {
            err.write_all(usage(program, part.flags()).as_bytes())?;
            return Ok(0);
        }
        Err(Stop::Wrong(why)) => {
            writeln!(err, "{why}\n{}", usage(program, part.flags()).trim_end())?;
            return Ok(2);
        }
    };
    if part == Part::Driver && given.on("version") {
        let version = json!({
            "BuildVersion": format!("v{}", driver::VERSION), "GitCommit": "mountproof-stand-in", "BuildDate": "",
        });
        writeln!(out, "{version}")?;
        return Ok(0);
    }
    let served = match part {
        Part::Driver => serve_driver(&given, err).await,
        Part::Provider => serve_provider(&given).await,
        Part::Registrar => serve_registrar(&given, err).await,
    };
    match served {
        Ok(()) => Ok(0),
        Err(trouble) => {
            writeln!(err, "error: {trouble}")?;
            Ok(1)
        }
    }
}

async fn serve_driver(given: &Given, err: &mut dyn Write) -> Result<(), Trouble> {
    let start = DriverStart::of(given, &Process)?;
    let mut ends = Ends::new()?;
    let driver = Driver::start(start.into_config()).await?;
    writeln!(
        err,
        "secrets store CSI driver {}, mountproof's stand-in, serves on {}",
        driver::VERSION,
        driver.csi_socket().display()
    )?;
    ends.wait().await;
    driver.leave().await;
    Ok(())
}

/// Registers the driver with kubelet until it is asked to end.
async fn serve_registrar(given: &Given, err: &mut dyn Write) -> Result<(), Trouble> {
    let start = RegistrarStart::of(given, &Process);
    let mut ends = Ends::new()?;
    let registrar = start
        .run(|said| {
            // Nobody who reads it is no reason to register nobody.
            let _ = writeln!(err, "{said}");
        })
        .await?;
    ends.wait().await;
    registrar.stop().await;
    Ok(())
}

async fn serve_provider(given: &Given) -> Result<(), Trouble> {
    let start = ProviderStart::of(given, &Process)?;
    let mut ends = Ends::new()?;
    let provider = Provider::start(start.into_config())?;
    ends.wait().await;
    provider.stop().await;
    Ok(())
}

/// What a process of its own finds around it.
struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn place(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }

    fn account(&self) -> Result<ApiAccess, NotStarted> {
        let account = Path::new(ACCOUNT);
        let set = |name: &'static str| env::var(name).map_err(|_| NotStarted::NotSet(name));
        let host = set("KUBERNETES_SERVICE_HOST")?;
        let port = set("KUBERNETES_SERVICE_PORT")?;
        Ok(ApiAccess {
            url: format!("https://{host}:{port}"),
            ca_pem: read(&account.join("ca.crt"))?,
            token: BearerToken::new(read(&account.join("token"))?.trim()),
        })
    }

    fn kubeconfig(&self, path: &Path) -> Result<ApiAccess, NotStarted> {
        access_of(path)
    }

    fn log_to_stderr(&self) -> bool {
        true
    }
}

/// The signals that end a program in order.
struct Ends {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn read(path: &Path) -> Result<String, NotStarted> {
    fs::read_to_string(path).map_err(|source| NotStarted::File {
        path: path.to_owned(),
        source,
    })
}

/// The parts of a kubeconfig that are read.
#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<Named<ClusterOf>>,
    users: Vec<Named<UserOf>>,
    contexts: Vec<Named<ContextOf>>,
    #[serde(rename = "current-context")]
    current: String,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    what: T,
}

#[derive(Deserialize)]
struct ClusterOf {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    authority: String,
}

#[derive(Deserialize)]
struct UserOf {
    token: String,
}

#[derive(Deserialize)]
struct ContextOf {
    cluster: String,
    user: String,
}

fn access_of(path: &Path) -> Result<ApiAccess, NotStarted> {
    let text = read(path)?;
    let wrong = |why: String| NotStarted::Kubeconfig {
        path: path.to_owned(),
        why,
    };
    // What the parser says may hold the token.
    let config: Kubeconfig =
        serde_saphyr::from_str(&text).map_err(|_| wrong("a part is missing".to_owned()))?;
    let context =
        named(&config.contexts, &config.current).ok_or_else(|| wrong("no current context".to_owned()))?;
    let cluster = named(&config.clusters, &context.cluster);
    let cluster = cluster.ok_or_else(|| wrong(format!("no cluster {}", context.cluster)))?;
    let user = named(&config.users, &context.user);
    let user = user.ok_or_else(|| wrong(format!("no user {}", context.user)))?;
    let authority = STANDARD.decode(&cluster.authority).ok();
    let authority = authority.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(ApiAccess {
        url: cluster.server.clone(),
        ca_pem: authority.ok_or_else(|| wrong("the authority is not base64 of PEM".to_owned()))?,
        token: BearerToken::new(&user.token),
    })
}

fn named<'a, T>(all: &'a [Named<T>], name: &str) -> Option<&'a T> {
    all.iter().find(|one| one.name == name).map(|one| &one.what)
}
