//! What the stand-ins' programs are started with: a container's arguments, and what it finds around it.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    csi::{GetPluginInfoRequest, identity_client::IdentityClient},
};

use super::{
    Part, SYSTEM_TRUST,
    go_flags::{self, Given, Stop, usage},
};
use crate::{
    defects::{DriverDefects, ProviderDefects, Shared},
    driver::{DriverConfig, Registrar},
    provider::ProviderConfig,
    rest::ApiAccess,
};

/// Pause before the registrar asks the driver again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a program finds around it: a process's own, or what a container would.
pub trait Surroundings: Sync {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// Where on this machine a path is that the program is told.
    fn place(&self, path: &Path) -> PathBuf;

    /// What is in a file that the program is told.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// The way to the API server that a pod has by its `ServiceAccount`.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn account(&self) -> Result<ApiAccess, NotStarted>;

    /// The way to the API server that a kubeconfig has.
    ///
    /// # Errors
    ///
    /// When it is none.
    fn kubeconfig(&self, path: &Path) -> Result<ApiAccess, NotStarted>;

    /// Whether logs go to this process's standard error.
    fn log_to_stderr(&self) -> bool;
}

/// Why a program ends as soon as it is started.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// Its command line is wrong, with the words of Go's `flag` package.
    #[error("{0}")]
    Usage(String),
    /// A file that it needs.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A kubeconfig that is none.
    #[error("{path} is no kubeconfig with a server, an authority and a token: {why}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A variable that a pod has.
    #[error("{0} is not set: it has to say where the API server is")]
    NotSet(&'static str),
    /// An endpoint of another kind than a unix socket.
    #[error("the endpoint {0} is not imitated: unix:// is")]
    Endpoint(String),
    /// A proxy that is no address.
    #[error("HTTPS_PROXY={0}: it has to be http:// with a host and a port")]
    Proxy(String),
    /// A defect that nobody knows.
    #[error("no such defect: {name}; there are: {all}")]
    Defect {
        /// What was asked for.
        name: String,
        /// What there is.
        all: String,
    },
    /// It could not do what it is for.
    #[error("{0}")]
    Failed(String),
    /// No token for the pod's account.
    #[error("the pod has no way to the API server: {0}")]
    Account(String),
}

impl NotStarted {
    /// The exit code that a program has that ends for this.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

fn given(part: Part, program: &str, arguments: &[String]) -> Result<Given, NotStarted> {
    Given::read(part.flags(), arguments).map_err(|stop| {
        NotStarted::Usage(match stop {
            Stop::Help => usage(program, part.flags()),
            Stop::Wrong(why) => format!("{why}\n{}", usage(program, part.flags()).trim_end()),
        })
    })
}

/// A driver that is to be started.
#[derive(Debug)]
pub struct DriverStart(DriverConfig);

impl DriverStart {
    /// With these arguments, in these surroundings.
    ///
    /// # Errors
    ///
    /// Why it would end at once.
    pub fn new(arguments: &[String], around: &dyn Surroundings) -> Result<Self, NotStarted> {
        Self::of(&given(Part::Driver, "secrets-store-csi", arguments)?, around)
    }

    pub(super) fn of(given: &Given, around: &dyn Surroundings) -> Result<Self, NotStarted> {
        let mut defects = if given.on("as-released") {
            DriverDefects::as_released()
        } else {
            DriverDefects::default()
        };
        for name in given.all("defect") {
            let (known, all) = (defects.plant(name), DriverDefects::NAMES);
            known.ok_or_else(|| no_such_defect(name, all))?;
        }
        let endpoint = given.text("endpoint");
        let socket = endpoint
            .strip_prefix("unix://")
            .ok_or_else(|| NotStarted::Endpoint(endpoint.to_owned()))?;
        // The real one puts a slash before it, whether there is one or not.
        let socket = format!("/{}", socket.trim_start_matches('/'));
        let named = match given.text("kubeconfig") {
            "" => around.variable("KUBECONFIG"),
            path => Some(path.to_owned()),
        };
        let api = match named {
            Some(kubeconfig) => around.kubeconfig(Path::new(&kubeconfig))?,
            None => around.account()?,
        };
        let folders = given.text("additional-provider-volume-paths").split(',');
        Ok(Self(DriverConfig {
            name: given.text("drivername").to_owned(),
            registration: None,
            additional_providers_dirs: folders
                .filter(|path| !path.is_empty())
                .map(|path| around.place(Path::new(path)))
                .collect(),
            rotation: given
                .on("enable-secret-rotation")
                .then(|| given.time("rotation-poll-interval")),
            csi_socket: around.place(Path::new(&socket)),
            log_to_stderr: around.log_to_stderr(),
            defects: Shared::new(defects),
            ..DriverConfig::new(
                api,
                given.text("nodeid"),
                Path::new("/"),
                around.place(Path::new(given.text("provider-volume"))),
            )
        }))
    }

    /// All that it is told.
    #[must_use]
    pub fn into_config(self) -> DriverConfig {
        self.0
    }
}

/// A provider that is to be started.
#[derive(Debug)]
pub struct ProviderStart(ProviderConfig);

impl ProviderStart {
    /// As [`DriverStart::new`].
    ///
    /// # Errors
    ///
    /// Why it would end at once.
    pub fn new(arguments: &[String], around: &dyn Surroundings) -> Result<Self, NotStarted> {
        let name = "secrets-store-csi-driver-provider-aws";
        Self::of(&given(Part::Provider, name, arguments)?, around)
    }

    pub(super) fn of(given: &Given, around: &dyn Surroundings) -> Result<Self, NotStarted> {
        let mut defects = if given.on("as-released") {
            ProviderDefects::as_released()
        } else {
            ProviderDefects::default()
        };
        for name in given.all("defect") {
            let (known, all) = (defects.plant(name), ProviderDefects::NAMES);
            known.ok_or_else(|| no_such_defect(name, all))?;
        }
        let api = around.account()?;
        let trusted = around.variable("SSL_CERT_FILE");
        let trusted = PathBuf::from(trusted.unwrap_or_else(|| SYSTEM_TRUST.to_owned()));
        let trusted = around.file(&trusted).map_err(|source| NotStarted::File {
            path: trusted,
            source,
        })?;
        let folder = around.place(Path::new(given.text("provider-volume")));
        Ok(Self(ProviderConfig {
            region: around.variable("AWS_REGION").filter(|region| !region.is_empty()),
            https_proxy: proxy(around)?,
            driver_writes_secrets: given.on("driver-writes-secrets"),
            // What is no duration counts as none, as with the real one.
            pod_identity_timeout: go_flags::duration(given.text("pod-identity-http-timeout"))
                .filter(|time| !time.is_zero()),
            qps: f64::from(given.number("qps")),
            burst: given.number("burst"),
            log_to_stderr: around.log_to_stderr(),
            defects: Shared::new(defects),
            ..ProviderConfig::new(api, folder, trusted)
        }))
    }

    /// All that it is told.
    #[must_use]
    pub fn into_config(self) -> ProviderConfig {
        self.0
    }
}

/// A registrar that is to be started: it asks the driver for its name, and registers it with kubelet.
#[derive(Debug)]
pub struct RegistrarStart {
    driver: PathBuf,
    endpoint: PathBuf,
    folder: PathBuf,
}

impl RegistrarStart {
    /// As [`DriverStart::new`].
    ///
    /// # Errors
    ///
    /// Why it would end at once.
    pub fn new(arguments: &[String], around: &dyn Surroundings) -> Result<Self, NotStarted> {
        Ok(Self::of(
            &given(Part::Registrar, "csi-node-driver-registrar", arguments)?,
            around,
        ))
    }

    pub(super) fn of(given: &Given, around: &dyn Surroundings) -> Self {
        let place = |flag: &str| around.place(Path::new(given.text(flag)));
        Self {
            driver: place("csi-address"),
            endpoint: given.text("kubelet-registration-path").into(),
            folder: place("plugin-registration-path"),
        }
    }

    /// The same with the driver's socket at another place: where kubelet finds it, which is told a path of the node's.
    #[must_use]
    pub fn with_endpoint(self, of: impl FnOnce(&Path) -> PathBuf) -> Self {
        Self {
            endpoint: of(&self.endpoint),
            ..self
        }
    }

    /// Waits for the driver, which is a container beside this one and may be the later of the two, and registers it. What
    /// the program would write is `said`.
    ///
    /// # Errors
    ///
    /// When the socket for kubelet cannot be made.
    pub async fn run(self, mut said: impl FnMut(String)) -> io::Result<RunningRegistrar> {
        let name = loop {
            let asked = IdentityClient::new(connect(&self.driver))
                .get_plugin_info(GetPluginInfoRequest {})
                .await;
            match asked {
                Ok(answer) => break answer.into_inner().name,
                Err(status) => said(format!("the driver does not answer yet: {status}")),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        };
        let registrar = Registrar::start(&name, &self.endpoint, &self.folder)?;
        said(format!("{name} is registered at {}", self.endpoint.display()));
        Ok(RunningRegistrar(registrar))
    }
}

/// A driver's registration, for as long as it is not stopped.
#[derive(Debug)]
pub struct RunningRegistrar(Registrar);

impl RunningRegistrar {
    /// Takes the driver away from kubelet.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

fn no_such_defect(name: &str, all: &[&str]) -> NotStarted {
    NotStarted::Defect {
        name: name.to_owned(),
        all: all.join(", "),
    }
}

fn proxy(around: &dyn Surroundings) -> Result<Option<SocketAddr>, NotStarted> {
    let Some(text) = around.variable("HTTPS_PROXY").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let address = text
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    let address = address.and_then(|address| address.to_socket_addrs().ok()?.next());
    address.map(Some).ok_or(NotStarted::Proxy(text))
}
