//! The Secrets Store CSI Driver, as far as kubelet, a provider and the API server notice it.
//!
//! Behaves as driver 1.6.0: every step of a publish in its order, with its texts and codes; files in
//! a tmpfs; the pod's status object; rotation by republishing, in which errors are masked. The release's
//! hazards (a fresh empty folder counts as rotated, a mounted one as done, a provider's socket is kept) are
//! switches like every other defect, off by default: [`DriverDefects::as_released`] has them on. It reads
//! `SecretProviderClass` from a cache that a watch feeds, as the real one does, so that a class
//! created a moment before its pod may be missed at first.
//!
//! Files are synced into Kubernetes Secrets (`secretObjects`) when a status object is made or changes, and owners are
//! added to those afterwards.
//!
//! What it leaves out: Secrets of another type than Opaque are taken as they are (no certificates are split), and are
//! not looked at every five minutes; metrics, the provider health check, Windows. Where there is no right to mount, a private folder takes the place of the tmpfs.
//! It mounts by a system call: a mount that fails is told without the words of the `mount` program.
//! Of the API server's objects it watches classes only, where the real one watches pods and status
//! objects too; after a restart it reads a status object once that the real one has from its watch.
//! It asks for JSON, in compact form. Stopped in order, it unmounts everything, which the real one
//! leaves mounted.
//!
//! Its state of mounts that are no tmpfs lives in memory: it outlives [`Driver::kill`], as the kernel's does, but
//! another driver on the same folders knows of them only where both are given the same [`NodeMounts`].

mod atomic;
mod mount;
mod providers;
mod publish;
mod registrar;
mod status;
mod sync;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mountproof_csi_protocol::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability,
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse, PluginCapability, ProbeRequest, ProbeResponse,
    identity_server::{Identity, IdentityServer},
    node_server::{Node, NodeServer},
    node_service_capability, plugin_capability,
};
use mountproof_run_tls::TlsError;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, service::Routes};

pub use self::mount::{MountKind, NodeMounts, unmount_below};
pub(crate) use self::registrar::Registrar;
use self::{
    mount::Mounts,
    providers::Providers,
    status::Written,
    sync::{SecretObject, Synced},
};
use crate::{
    defects::{DriverDefects, Shared},
    grpc,
    log::{Log, ProgramLog},
    rest::{ApiAccess, ApiClient, Change},
};

/// The version it imitates, and says it is.
pub const VERSION: &str = "1.6.0";

/// The name that the real driver registers.
pub const NAME: &str = "secrets-store.csi.k8s.io";

/// The real one is `csi-secrets-store/controller/v1.6.0 (linux/amd64) <commit>/<time>`.
const AGENT: &str = "csi-secrets-store/controller/v1.6.0 (linux/amd64) mountproof-stand-in";

/// The file that its log names.
const SOURCE: &str = "driver.rs";

/// How long [`Driver::start`] waits for the first list of classes.
const CLASSES_DEADLINE: Duration = Duration::from_secs(10);

/// What a driver needs to know.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// The name it registers.
    pub name: String,
    /// Name of its node.
    pub node_id: String,
    /// Where it serves `csi.v1`.
    pub csi_socket: PathBuf,
    /// Kubelet's `plugins_registry`, to register there.
    pub registration: Option<PathBuf>,
    /// `--provider-volume`.
    pub providers_dir: PathBuf,
    /// `--additional-provider-volume-paths`, which are searched first.
    pub additional_providers_dirs: Vec<PathBuf>,
    /// The API server.
    pub api: ApiAccess,
    /// `--rotation-poll-interval` where `--enable-secret-rotation` is on.
    pub rotation: Option<Duration>,
    /// What a target path becomes.
    pub mount: MountKind,
    /// The mounts of its node, where they are to outlive it; `mount` is theirs then.
    pub mounts: Option<NodeMounts>,
    /// Its client-side limit on requests per second. The real driver's 20 cannot be configured.
    pub qps: f64,
    /// Requests that the limit lets through at once. The real driver's are 30.
    pub burst: u32,
    /// How often owners are added to synced Secrets that lack them: 5 s in the real one.
    pub owners_every: Duration,
    /// Whether its log goes to standard error too, in klog's form: as a program's does.
    pub log_to_stderr: bool,
    /// What is wrong with it.
    pub defects: Shared<DriverDefects>,
}

impl DriverConfig {
    /// The real driver's defaults, below kubelet's `root`, registered there.
    #[must_use]
    pub fn new(api: ApiAccess, node_id: &str, root: &Path, providers_dir: PathBuf) -> Self {
        Self {
            name: NAME.to_owned(),
            node_id: node_id.to_owned(),
            csi_socket: root.join("plugins/csi-secrets-store/csi.sock"),
            registration: Some(root.join("plugins_registry")),
            providers_dir,
            additional_providers_dirs: Vec::new(),
            api,
            rotation: None,
            mount: MountKind::Auto,
            mounts: None,
            qps: 20.0,
            burst: 30,
            owners_every: Duration::from_secs(5),
            log_to_stderr: false,
            defects: Shared::default(),
        }
    }
}

/// A driver could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be served.
    #[error("serve {path}: {source}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The API server's certificate authority is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The classes could not be listed in time.
    #[error("list SecretProviderClasses: no answer in {} s", CLASSES_DEADLINE.as_secs())]
    Classes,
}

/// A driver that runs, or was killed.
#[derive(Debug)]
pub struct Driver {
    config: DriverConfig,
    process: Option<Process>,
    /// A container of its own beside the real one: it outlives it.
    registrar: Option<Registrar>,
    /// The node's, whoever made them.
    mounts: Arc<Mounts>,
    log: Arc<Log>,
}

/// What a driver is while it runs.
#[derive(Debug)]
struct Process {
    csi: grpc::Server,
    killed: CancellationToken,
    /// Ends the watch of classes.
    _watching: DropGuard,
}

/// What all calls share.
#[derive(Debug)]
struct Inner {
    name: String,
    node_id: String,
    rotation: Option<Duration>,
    api: ApiClient,
    classes: Classes,
    mounts: Arc<Mounts>,
    written: Written,
    synced: Synced,
    log: Arc<Log>,
    providers: Providers,
    defects: Shared<DriverDefects>,
    /// Ends calls under way where they stand.
    killed: CancellationToken,
}

impl Driver {
    /// Reads the classes, serves `csi.v1`, and registers with kubelet.
    pub async fn start(config: DriverConfig) -> Result<Self, StartError> {
        let scratch = config.csi_socket.parent().unwrap_or_else(|| Path::new("/"));
        std::fs::create_dir_all(scratch).map_err(failed(scratch))?;
        let mounts = match &config.mounts {
            Some(NodeMounts(mounts)) => Arc::clone(mounts),
            None => Arc::new(Mounts::new(config.mount, scratch)),
        };
        let log = Arc::new(Log::new(SOURCE, config.log_to_stderr));
        let process = Process::start(&config, &mounts, &log).await?;
        let registrar = match &config.registration {
            Some(folder) => {
                let started = Registrar::start(&config.name, &config.csi_socket, folder);
                Some(started.map_err(failed(folder))?)
            }
            None => None,
        };
        Ok(Self {
            config,
            process: Some(process),
            registrar,
            mounts,
            log,
        })
    }

    /// Where it serves `csi.v1`.
    #[must_use]
    pub fn csi_socket(&self) -> &Path {
        &self.config.csi_socket
    }

    /// What target paths become: never [`MountKind::Auto`].
    #[must_use]
    pub fn mount_kind(&self) -> MountKind {
        self.mounts.kind()
    }

    /// The last 20,000 lines of its log, in klog's form: a line for each publish, as the real one has at `-v=2` and up.
    /// It goes on where the driver is started anew.
    #[must_use]
    pub fn log_text(&self) -> String {
        let lines = self.log.lines();
        lines.iter().map(|line| line.as_klog(SOURCE)).collect()
    }

    /// The same, to be read for as long as somebody keeps it.
    #[must_use]
    pub fn log(&self) -> ProgramLog {
        ProgramLog::new(&self.log)
    }

    /// The switches of its defects.
    #[must_use]
    pub fn defects(&self) -> &Shared<DriverDefects> {
        &self.config.defects
    }

    /// `--rotation-poll-interval` where rotation is on.
    #[must_use]
    pub fn rotation(&self) -> Option<Duration> {
        self.config.rotation
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.process.is_none()
    }

    /// Ends it where it stands, as SIGKILL does: calls under way end in the middle, what is mounted stays, and so do its
    /// dead socket and its registration.
    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.killed.cancel();
            process.csi.stop().await;
        }
    }

    /// Starts it anew, rotating as `rotation` says: it finds what is mounted, and has forgotten all else.
    pub async fn restart(&mut self, rotation: Option<Duration>) -> Result<(), StartError> {
        self.kill().await;
        self.config.rotation = rotation;
        self.process = Some(Process::start(&self.config, &self.mounts, &self.log).await?);
        Ok(())
    }

    /// Unregisters, ends its calls within half a second, and leaves what is mounted, as the real one does.
    pub async fn leave(self) {
        if let Some(registrar) = self.registrar {
            registrar.stop().await;
        }
        if let Some(process) = self.process {
            process.csi.stop().await;
        }
        let _ = std::fs::remove_file(&self.config.csi_socket);
    }

    /// Unregisters, ends its calls within half a second, and unmounts everything.
    pub async fn stop(self) {
        let mounts = Arc::clone(&self.mounts);
        self.leave().await;
        let _ = tokio::task::spawn_blocking(move || mounts.unmount_all()).await;
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
    let path = path.to_owned();
    |source| StartError::Socket { path, source }
}

impl Process {
    async fn start(config: &DriverConfig, mounts: &Arc<Mounts>, log: &Arc<Log>) -> Result<Self, StartError> {
        let api = ApiClient::new(&config.api, AGENT)?;
        let mut folders = config.additional_providers_dirs.clone();
        folders.push(config.providers_dir.clone());
        let killed = CancellationToken::new();
        let inner = Arc::new(Inner {
            name: config.name.clone(),
            node_id: config.node_id.clone(),
            rotation: config.rotation,
            mounts: Arc::clone(mounts),
            written: Written::default(),
            synced: Synced::default(),
            log: Arc::clone(log),
            api: api.clone().limited(config.qps, config.burst),
            classes: Classes::default(),
            providers: Providers::new(folders),
            defects: config.defects.clone(),
            killed: killed.clone(),
        });
        let watching = CancellationToken::new();
        let (listed, mut known) = watch::channel(false);
        let (stop, reader) = (watching.clone(), Arc::clone(&inner));
        tokio::spawn(async move {
            stop.run_until_cancelled(reader.classes.follow(&api, &listed))
                .await;
        });
        let (stop, owner) = (watching.clone(), Arc::clone(&inner));
        let every = config.owners_every;
        tokio::spawn(async move {
            stop.run_until_cancelled(sync::add_owners(&owner, every)).await;
        });
        let watching = watching.drop_guard();
        match tokio::time::timeout(CLASSES_DEADLINE, known.wait_for(|listed| *listed)).await {
            Ok(Ok(_)) => {}
            _ => return Err(StartError::Classes),
        }
        let services = Service(inner);
        let routes = Routes::new(IdentityServer::new(services.clone()))
            .add_service(NodeServer::new(services).max_decoding_message_size(usize::MAX));
        let csi = grpc::Server::start(&config.csi_socket, routes).map_err(failed(&config.csi_socket))?;
        Ok(Self {
            csi,
            killed,
            _watching: watching,
        })
    }
}

/// A `SecretProviderClass`'s part that the driver reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Class {
    provider: String,
    parameters: BTreeMap<String, String>,
    #[serde(rename = "secretObjects")]
    secret_objects: Vec<SecretObject>,
}

#[derive(Debug, Deserialize)]
struct ClassObject {
    metadata: ClassName,
    #[serde(default)]
    spec: Class,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Hash, Clone)]
struct ClassName {
    namespace: String,
    name: String,
}

/// The cache of classes.
#[derive(Debug, Default)]
struct Classes(Mutex<HashMap<ClassName, Class>>);

impl Classes {
    async fn follow(&self, api: &ApiClient, listed: &watch::Sender<bool>) {
        let mut changes =
            api.watch::<ClassObject>("/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses");
        loop {
            let change = changes.next().await;
            let mut classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Listed(all) => {
                    *classes = all
                        .into_iter()
                        .map(|object| (object.metadata, object.spec))
                        .collect();
                    listed.send_replace(true);
                }
                Change::Applied(object) => drop(classes.insert(object.metadata, object.spec)),
                Change::Deleted(object) => drop(classes.remove(&object.metadata)),
            }
        }
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Class> {
        let key = ClassName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let classes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        classes.get(&key).cloned()
    }
}

/// The gRPC services of `csi.v1`.
#[derive(Debug, Clone)]
struct Service(Arc<Inner>);

#[tonic::async_trait]
impl Identity for Service {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: self.0.name.clone(),
            vendor_version: format!("v{VERSION}"),
            manifest: HashMap::new(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let controller = plugin_capability::Service {
            r#type: plugin_capability::service::Type::ControllerService.into(),
        };
        Ok(Response::new(GetPluginCapabilitiesResponse {
            capabilities: vec![PluginCapability {
                r#type: Some(plugin_capability::Type::Service(controller)),
            }],
        }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}

#[tonic::async_trait]
impl Node for Service {
    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        staged(&request.volume_id, &request.staging_target_path)?;
        if request.volume_capability.is_none() {
            return Err(Status::invalid_argument("Volume capability missing in request"));
        }
        Ok(Response::new(NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        staged(&request.volume_id, &request.staging_target_path)?;
        Ok(Response::new(NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let deadline = grpc::deadline(request.metadata());
        let (inner, request) = (Arc::clone(&self.0), request.into_inner());
        let killed = inner.killed.clone();
        grpc::to_the_end(|cancelled| async move {
            let published = publish::publish(inner, request, deadline, cancelled);
            let published = killed.run_until_cancelled(published).await;
            published.unwrap_or_else(|| Err(Status::unavailable("error reading from server: EOF")))
        })
        .await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let (inner, request) = (Arc::clone(&self.0), request.into_inner());
        let done = tokio::task::spawn_blocking(move || publish::unpublish(&inner, &request)).await;
        done.map_err(|error| Status::internal(error.to_string()))??;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("NodeExpandVolume is not implemented"))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let stage = node_service_capability::Rpc {
            r#type: node_service_capability::rpc::Type::StageUnstageVolume.into(),
        };
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: vec![NodeServiceCapability {
                r#type: Some(node_service_capability::Type::Rpc(stage)),
            }],
        }))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.0.node_id.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }
}

/// Staging does nothing but check its request.
fn staged(volume: &str, target: &str) -> Result<(), Status> {
    if volume.is_empty() {
        return Err(Status::invalid_argument("Volume ID missing in request"));
    }
    if target.is_empty() {
        return Err(Status::invalid_argument("Target path missing in request"));
    }
    Ok(())
}
