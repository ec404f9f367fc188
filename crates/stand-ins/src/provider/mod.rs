//! The AWS provider (ASCP), as far as the driver, the API server and AWS notice it.
//!
//! Behaves as provider 3.1.1 with IRSA or Pod Identity, and Secrets Manager: the `ServiceAccount` looked up behind a
//! client-side limit, new connections and one `AssumeRoleWithWebIdentity`, or one question to the node's
//! Pod Identity Agent, for each mount and region, one `GetSecretValue` after another, the SDK's three attempts, fatal told from generic errors,
//! failover, every check of `objects`, files written beside their place and renamed. AWS is reached
//! by its own host names, through an HTTPS CONNECT proxy if one is given.
//!
//! What it leaves out: SSM parameters (a clear error), FIPS endpoints,
//! endpoint variables. It serves at most [`ProviderConfig::in_flight`] mounts at once, where the
//! real one has no bound. It asks the API server for JSON, where the real one would rather have
//! protobuf, and says in its user agents that it is a stand-in. Texts that show the insides of Go's
//! parsers are its own where they are not among those pinned in `tests/node/observed.rs`: what is wrong
//! in broken YAML, and of broken JSON its place, never its text; likewise what the network said when
//! AWS cannot be reached, which stands in the log only.

mod agent;
mod aws;
mod descriptor;
mod go_json;
mod mount;
mod retry;
mod shape;
mod tokens;
mod value;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_credential_types::Credentials;
use mountproof_csi_protocol::provider::{
    MountRequest, MountResponse, VersionRequest, VersionResponse,
    csi_driver_provider_server::{CsiDriverProvider, CsiDriverProviderServer},
};
use mountproof_run_tls::TlsError;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

use self::{agent::Agents, aws::Reach, value::SecretBytes};
pub use crate::log::{LogLevel, LogLine};
use crate::{
    defects::{ProviderDefects, Shared},
    grpc,
    log::{Log, ProgramLog},
    pod_identity_agent,
    rest::{ApiAccess, ApiClient},
};

/// The version it imitates, and says it is.
pub const VERSION: &str = "3.1.1";

/// The file that its log names.
const SOURCE: &str = "provider.rs";

const NAME: &str = "secrets-store-csi-driver-provider-aws";

const AGENT: &str = "secrets-store-csi-driver-provider-aws/3.1.1 mountproof-stand-in";

/// What a provider needs to know.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// `--provider-volume`: its socket is `aws.sock` in there.
    pub socket_dir: PathBuf,
    /// The API server.
    pub api: ApiAccess,
    /// `AWS_REGION`: taken where the class names no region; else the node's label decides.
    pub region: Option<String>,
    /// `HTTPS_PROXY`.
    pub https_proxy: Option<SocketAddr>,
    /// `SSL_CERT_FILE`: the certificate authorities that AWS's certificates must come from.
    pub trusted_pem: String,
    /// `--driver-writes-secrets`.
    pub driver_writes_secrets: bool,
    /// `--qps`: its client-side limit on requests to the API server per second.
    pub qps: f64,
    /// `--burst`: requests that the limit lets through at once.
    pub burst: u32,
    /// Mounts served at once; more wait. It bounds connections, of which each mount has its own.
    pub in_flight: usize,
    /// Where the node's EKS Pod Identity Agent is reached, over IPv4 and over IPv6: it is called by its own addresses all
    /// the same.
    pub pod_identity_agents: [SocketAddr; 2],
    /// `--pod-identity-http-timeout`: longest wait for the agent's answer; as long as the mount may take where absent.
    pub pod_identity_timeout: Option<Duration>,
    /// Scale of the pauses between the SDK's attempts: one second in the real one.
    pub retry_pause: Duration,
    /// Whether its log goes to standard error too, in klog's form: as a program's does.
    pub log_to_stderr: bool,
    /// What is wrong with it.
    pub defects: Shared<ProviderDefects>,
}

impl ProviderConfig {
    /// The real provider's defaults.
    #[must_use]
    pub fn new(api: ApiAccess, socket_dir: PathBuf, trusted_pem: String) -> Self {
        Self {
            socket_dir,
            api,
            region: None,
            https_proxy: None,
            trusted_pem,
            driver_writes_secrets: false,
            qps: 5.0,
            burst: 10,
            in_flight: 64,
            pod_identity_agents: pod_identity_agent::ADDRESSES,
            pod_identity_timeout: None,
            retry_pause: Duration::from_secs(1),
            log_to_stderr: false,
            defects: Shared::default(),
        }
    }
}

/// A provider could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its socket could not be served.
    #[error("serve {path}: {source}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate authority is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    config: ProviderConfig,
    inner: Arc<Inner>,
    socket: PathBuf,
    server: Option<grpc::Server>,
}

/// What all mounts share.
#[derive(Debug)]
struct Inner {
    api: ApiClient,
    region: Option<String>,
    reach: Reach,
    agents: Agents,
    driver_writes_secrets: bool,
    slots: Semaphore,
    log: Arc<Log>,
    defects: Shared<ProviderDefects>,
    spoils: Spoils,
}

impl Provider {
    /// Serves the provider protocol on `aws.sock`.
    pub fn start(config: ProviderConfig) -> Result<Self, StartError> {
        let api = ApiClient::new(&config.api, AGENT)?.limited(config.qps, config.burst);
        let inner = Arc::new(Inner {
            api,
            region: config.region.clone(),
            reach: Reach {
                trusted_pem: config.trusted_pem.clone(),
                proxy: config.https_proxy,
                pause_unit: config.retry_pause,
            },
            agents: Agents {
                addresses: config.pod_identity_agents,
                timeout: config.pod_identity_timeout,
            },
            driver_writes_secrets: config.driver_writes_secrets,
            slots: Semaphore::new(config.in_flight.max(1)),
            log: Arc::new(Log::new(SOURCE, config.log_to_stderr)),
            defects: config.defects.clone(),
            spoils: Spoils::default(),
        });
        let socket = config.socket_dir.join("aws.sock");
        let service = CsiDriverProviderServer::new(Service(Arc::clone(&inner)));
        let routes = Routes::new(service.max_decoding_message_size(usize::MAX));
        let server = grpc::Server::start(&socket, routes).map_err(|source| StartError::Socket {
            path: socket.clone(),
            source,
        })?;
        for line in [
            format!("Starting {NAME} version {VERSION}"),
            format!(
                "This provider requires tokenRequests to be configured in the CSIDriver spec (audiences: {}, {})",
                tokens::IRSA,
                tokens::POD_IDENTITY
            ),
            format!("Listening for connections on address: {}", socket.display()),
        ] {
            inner.log.info(line);
        }
        Ok(Self {
            config,
            inner,
            socket,
            server: Some(server),
        })
    }

    /// Ends it in order, and starts it anew with its socket in `folder`, which may be the same, and with
    /// `--driver-writes-secrets` or without. Its log begins anew too.
    pub async fn restart_in(&mut self, folder: &Path, driver_writes_secrets: bool) -> Result<(), StartError> {
        self.end().await;
        self.config.driver_writes_secrets = driver_writes_secrets;
        folder.clone_into(&mut self.config.socket_dir);
        *self = Self::start(self.config.clone())?;
        Ok(())
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The last 20,000 lines of its log, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.inner.log.lines()
    }

    /// The same as text, in klog's form.
    #[must_use]
    pub fn log_text(&self) -> String {
        self.log().iter().map(|line| line.as_klog(SOURCE)).collect()
    }

    /// The same, to be read for as long as somebody keeps it.
    #[must_use]
    pub fn program_log(&self) -> ProgramLog {
        ProgramLog::new(&self.inner.log)
    }

    /// Whether it was started with `--driver-writes-secrets`.
    #[must_use]
    pub fn driver_writes_secrets(&self) -> bool {
        self.config.driver_writes_secrets
    }

    /// The switches of its defects.
    #[must_use]
    pub fn defects(&self) -> &Shared<ProviderDefects> {
        &self.inner.defects
    }

    /// Ends its calls within half a second and removes its socket.
    pub async fn stop(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

/// What planted defects remember; empty without them.
#[derive(Default)]
struct Spoils {
    /// Credentials by tenant.
    credentials: Mutex<BTreeMap<String, Credentials>>,
    /// The first value of every file.
    values: Mutex<HashMap<PathBuf, SecretBytes>>,
}

impl Spoils {
    fn credentials_but(&self, tenant: &str) -> Vec<Credentials> {
        let all = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().filter(|(other, _)| *other != tenant);
        others.map(|(_, credentials)| credentials.clone()).collect()
    }

    fn keep_credentials(&self, tenant: &str, credentials: &Credentials) {
        let mut all = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(tenant.to_owned(), credentials.clone());
    }

    fn first_value(&self, file: &Path, value: &SecretBytes) -> SecretBytes {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values
            .entry(file.to_owned())
            .or_insert_with(|| value.clone())
            .clone()
    }
}

impl std::fmt::Debug for Spoils {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spoils").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Service(Arc<Inner>);

#[tonic::async_trait]
impl CsiDriverProvider for Service {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "v1alpha1".to_owned(),
            runtime_name: NAME.to_owned(),
            runtime_version: VERSION.to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        let deadline = grpc::deadline(request.metadata());
        let (inner, request) = (Arc::clone(&self.0), request.into_inner());
        let mounted = grpc::to_the_end(|cancelled| serve(inner, request, deadline, cancelled)).await?;
        Ok(Response::new(mounted))
    }
}

async fn serve(
    inner: Arc<Inner>,
    request: MountRequest,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
) -> Result<MountResponse, Status> {
    let mount = async {
        let _slot = inner
            .slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        mount::mount(&inner, request, deadline)
            .await
            .map_err(Status::unknown)
    };
    let until = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        mounted = mount => mounted,
        () = until => Err(grpc::deadline_exceeded()),
        () = cancelled.cancelled() => Err(Status::cancelled("context canceled")),
    }
}
