//! What runs on a node of a cluster: the stand-ins of the programs that pods' containers have, in this process.
//!
//! A container of the driver gets the driver stand-in, one of the provider the provider's, and what registers a driver with
//! kubelet its own, each with the container's arguments, variables and folders, whatever its image is called; the EKS Pod
//! Identity Agent and the harness's own agent run too. All others
//! count as running, as on any node of the stand-ins.
//!
//! A path of the node is one below the node's folder: `/var/lib/kubelet` has a short name there, all others their own. The
//! node's network reaches AWS at the endpoint, by a proxy that nobody has to name, and trusts its authority. A pod acts in its
//! cluster with a token of its own `ServiceAccount`, which lasts for as long as the pod; what it may do there nobody checks.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_releases::Part;
use mountproof_stand_ins::{
    ProgramLog,
    driver::{Driver, DriverConfig, MountKind, NodeMounts},
    kubelet::Containers,
    kubernetes::{ContainerLogs, PodPorts, PodStream, WrittenLine},
    pod_identity_agent::PodIdentityAgent,
    programs::standin::{DriverStart, NotStarted, ProviderStart, RegistrarStart, Surroundings},
    provider::Provider,
    rest::{ApiAccess, ApiClient, BearerToken},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::installation::{flag, is_registrar, part_of},
    given::{Given, Place, config_maps},
    identity::{self, IdentityAddress, Instance},
};
use crate::agent;

/// As whom kubelet asks for what its pods are given.
const AGENT: &str = "kubelet/v1.36.3 (linux/amd64) mountproof-stand-in";
/// Where kubelet has its files, which has a short name in a node's folder.
const KUBELET: &str = "/var/lib/kubelet";
/// How long the tokens of pods last. A real kubelet's last an hour and are renewed.
const TOKEN_SECONDS: u32 = 365 * 24 * 3600;

/// The node that programs are on.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// Stands for the node's root.
    pub(super) folder: PathBuf,
    /// In the place of `/var/lib/kubelet`.
    pub(super) kubelet: PathBuf,
    /// Where AWS is, if it is anywhere.
    pub(super) endpoint: Option<SocketAddr>,
    /// The authorities that the node trusts, as PEM.
    pub(super) trust_pem: String,
    /// Kubelet's own way to the API server.
    pub(super) api: ApiAccess,
    /// What the node is for EC2.
    pub(super) instance: Instance,
}

/// The programs of a node, by the pod and the container that they are of.
#[derive(Debug)]
pub(super) struct Programs {
    site: Site,
    api: ApiClient,
    mounts: NodeMounts,
    identity: IdentityAddress,
    hosted: Mutex<HashMap<String, BTreeMap<String, Hosted>>>,
}

/// A container that has, or had, a program.
#[derive(Debug)]
struct Hosted {
    /// None once it has ended.
    program: Option<Program>,
    log: ProgramLog,
    /// Of the one before this one.
    previous: Option<ProgramLog>,
}

#[derive(Debug)]
enum Program {
    Driver(Box<Driver>),
    Provider(Box<Provider>),
    Registrar {
        ends: CancellationToken,
        task: JoinHandle<()>,
    },
    /// What gives pods credentials by EKS Pod Identity.
    Identity(Box<PodIdentityAgent>),
    /// The harness's own hand on the node, which listens there.
    Agent {
        task: AbortHandle,
        listens: SocketAddr,
    },
}

impl Programs {
    /// None yet.
    pub(super) fn new(site: Site) -> Result<Arc<Self>, mountproof_run_tls::TlsError> {
        Ok(Arc::new(Self {
            api: ApiClient::new(&site.api, AGENT)?,
            mounts: NodeMounts::new(MountKind::Auto, &site.folder),
            identity: IdentityAddress::reserved(),
            hosted: Mutex::default(),
            site,
        }))
    }

    /// Ends them all, with their node.
    pub(super) async fn stop_all(&self) {
        let pods: Vec<String> = self.hosted().keys().cloned().collect();
        for pod in pods {
            self.ended(&pod).await;
        }
    }

    async fn ended(&self, pod_uid: &str) {
        let containers = self.hosted().remove(pod_uid).unwrap_or_default();
        // The registrar last: what it tells kubelet of is gone then.
        for hosted in containers.into_values() {
            if let Some(program) = hosted.program {
                program.stop().await;
            }
        }
    }

    /// The program of a container, with its log; none where there is no stand-in of it.
    async fn started(
        &self,
        pod: &Value,
        container: &Value,
    ) -> Result<Option<(Program, ProgramLog)>, NotStarted> {
        let part = part_of(container);
        if is_agent(container) {
            let given = Given::read(pod, container, &self.config_maps(pod).await);
            return agent(&given, &self.site, self.own_folder(pod)).await.map(Some);
        }
        if identity::is_agent(container) {
            let given = Given::read(pod, container, &self.config_maps(pod).await);
            let started = identity::started(&given, &self.site, &self.identity).await?;
            return Ok(Some((Program::Identity(Box::new(started.0)), started.1)));
        }
        if part.is_none() && !is_registrar(container) {
            return Ok(None);
        }
        let given = Given::read(pod, container, &self.config_maps(pod).await);
        let account = self.account(pod).await;
        let around = Around {
            given: &given,
            site: &self.site,
            own: self.own_folder(pod),
            account,
        };
        let started = match part {
            Some(Part::Driver) => {
                let config = DriverConfig {
                    mounts: Some(self.mounts.clone()),
                    ..DriverStart::new(&given.arguments, &around)?.into_config()
                };
                furnished(&[&config.providers_dir]);
                let driver = Driver::start(config).await.map_err(told)?;
                let log = driver.log();
                (Program::Driver(Box::new(driver)), log)
            }
            Some(Part::Provider) => {
                let mut config = ProviderStart::new(&given.arguments, &around)?.into_config();
                if let Some(agents) = self.identity.agents() {
                    config.pod_identity_agents = agents;
                }
                furnished(&[&config.socket_dir]);
                let provider = Provider::start(config).map_err(told)?;
                let log = provider.program_log();
                (Program::Provider(Box::new(provider)), log)
            }
            None => {
                let start = RegistrarStart::new(&given.arguments, &around)?;
                registrar(start.with_endpoint(|path| self.site.on_node(path)))
            }
        };
        Ok(Some(started))
    }

    /// What the `ConfigMap`s of a pod hold, by their names.
    async fn config_maps(&self, pod: &Value) -> BTreeMap<String, BTreeMap<String, String>> {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let mut found = BTreeMap::new();
        for name in config_maps(pod) {
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
            match self.api.fetch::<Value>(&path, None).await {
                Ok(map) => {
                    let data = serde_json::from_value(map["data"].clone()).unwrap_or_default();
                    found.insert(name, data);
                }
                Err(error) => tracing::warn!(namespace, name, %error, "a pod's ConfigMap cannot be read"),
            }
        }
        found
    }

    /// The way to the API server that a pod has.
    async fn account(&self, pod: &Value) -> Result<ApiAccess, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &pod["metadata"];
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": TOKEN_SECONDS, "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"],
            } },
        });
        let namespace = text(&metadata["namespace"]);
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.api.create(&path, &request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(ApiAccess {
            token: BearerToken::new(answer["status"]["token"].as_str().unwrap_or_default()),
            ..self.site.api.clone()
        })
    }

    /// In the place of what a pod has of its own: with a short name, as there may be sockets in it.
    fn own_folder(&self, pod: &Value) -> PathBuf {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.site.folder.join(format!("c/{uid:.8}"))
    }

    fn hosted(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<String, Hosted>>> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Containers for Programs {
    fn start<'a>(&'a self, pod: &'a Value, container: &'a str) -> BoxFuture<'a, Result<(), u8>> {
        async move {
            let containers = pod["spec"]["containers"].as_array();
            let mut containers = containers.into_iter().flatten();
            let Some(spec) = containers.find(|found| found["name"] == container) else {
                return Ok(());
            };
            let (program, log, ended) = match self.started(pod, spec).await {
                Ok(None) => return Ok(()),
                Ok(Some((program, log))) => (Some(program), log, Ok(())),
                Err(error) => {
                    let log = ProgramLog::of("main.go");
                    log.complain(error.to_string());
                    (None, log, Err(error.code()))
                }
            };
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let mut hosted = self.hosted();
            let before = hosted.entry(uid.to_owned()).or_default().remove(container);
            let this = Hosted {
                program,
                log,
                previous: before.map(|before| before.log),
            };
            hosted
                .entry(uid.to_owned())
                .or_default()
                .insert(container.to_owned(), this);
            ended
        }
        .boxed()
    }

    fn stop<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, ()> {
        self.ended(pod_uid).boxed()
    }
}

impl Program {
    async fn stop(self) {
        match self {
            // What is mounted stays, as on any node.
            Self::Driver(driver) => driver.leave().await,
            Self::Provider(provider) => provider.stop().await,
            Self::Identity(agent) => agent.stop().await,
            Self::Agent { task, .. } => task.abort(),
            Self::Registrar { ends, task } => {
                ends.cancel();
                // Its only error is a panic, and it is to end.
                let _ = task.await;
            }
        }
    }
}

fn registrar(start: RegistrarStart) -> (Program, ProgramLog) {
    let log = ProgramLog::of("node_register.go");
    let ends = CancellationToken::new();
    let (said, stop) = (log.clone(), ends.clone());
    let task = tokio::spawn(async move {
        let mut say = |text| said.say(text);
        match stop.run_until_cancelled(start.run(&mut say)).await {
            None => {}
            Some(Ok(running)) => {
                stop.cancelled().await;
                running.stop().await;
            }
            Some(Err(error)) => said.complain(error.to_string()),
        }
    });
    (Program::Registrar { ends, task }, log)
}

/// Starts an agent with a container's arguments, in this process: its paths are the node's, its loopback is this machine's.
async fn agent(given: &Given, site: &Site, own: PathBuf) -> Result<(Program, ProgramLog), NotStarted> {
    let container = json!({ "args": given.arguments });
    let path = |name| PathBuf::from(flag(&container, name).unwrap_or_default());
    let log = ProgramLog::of("agent.rs");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(told)?;
    let listens = listener.local_addr().map_err(told)?;
    furnished(&[&own]);
    let place = agent::Place {
        socket: site.on_node(&path("socket")),
        kubelet_root: site.on_node(&path("kubelet-root")),
        pod_uid: flag(&container, "pod-uid"),
        scratch: own,
        provider_folders: vec![site.on_node(&path("providers"))],
    };
    log.say(format!("the agent listens at {listens}"));
    let task = tokio::spawn(async move {
        if let Err(error) = agent::serve(listener, place).await {
            tracing::debug!(%error, "agent");
        }
    });
    let task = task.abort_handle();
    Ok((Program::Agent { task, listens }, log))
}

/// Whether it is what the harness puts on nodes: told where kubelet's folder is, and no driver.
fn is_agent(container: &Value) -> bool {
    flag(container, "kubelet-root").is_some() && flag(container, "socket").is_some()
}

pub(super) fn told(error: impl std::fmt::Display) -> NotStarted {
    NotStarted::Failed(error.to_string())
}

/// Makes folders of the node, as `DirectoryOrCreate` has it; one that cannot be made is missed by who needs it.
fn furnished(folders: &[&Path]) {
    for folder in folders {
        if let Err(error) = std::fs::create_dir_all(folder) {
            tracing::warn!(?folder, %error, "a node's folder");
        }
    }
}

impl Site {
    /// Where a path of the node is on this machine.
    fn on_node(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(KUBELET) {
            Ok(below) => self.kubelet.join(below),
            Err(_) => self.folder.join("h").join(below_root(path)),
        }
    }
}

/// A path without its root, and without any way out of it.
fn below_root(path: &Path) -> PathBuf {
    let parts = path.components();
    parts
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

/// What a container finds around it.
struct Around<'a> {
    given: &'a Given,
    site: &'a Site,
    /// Where what the pod has of its own is.
    own: PathBuf,
    account: Result<ApiAccess, String>,
}

impl Surroundings for Around<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let given = self.given.variable(name);
        if name == "HTTPS_PROXY" && given.is_none() {
            // On a node of EKS `*.amazonaws.com` is AWS without any proxy.
            return self.site.endpoint.map(|address| format!("http://{address}"));
        }
        given
    }

    fn place(&self, path: &Path) -> PathBuf {
        match self.given.place(path) {
            Place::Node(path) => self.site.on_node(&path),
            Place::Own(path) => self.own.join(below_root(&path)),
        }
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        if let Some(text) = self.given.file(path) {
            return Ok(text.to_owned());
        }
        match std::fs::read_to_string(self.place(path)) {
            // What every image brings.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.starts_with("/etc/ssl/certs") => {
                Ok(self.site.trust_pem.clone())
            }
            read => read,
        }
    }

    fn account(&self) -> Result<ApiAccess, NotStarted> {
        self.account.clone().map_err(NotStarted::Account)
    }

    fn kubeconfig(&self, path: &Path) -> Result<ApiAccess, NotStarted> {
        Err(NotStarted::Kubeconfig {
            path: path.to_owned(),
            why: "none is read here".to_owned(),
        })
    }

    fn log_to_stderr(&self) -> bool {
        false
    }
}

/// The logs of a cluster, which are on its nodes.
#[derive(Debug, Default)]
pub(super) struct NodeLogs(Mutex<BTreeMap<String, Arc<Programs>>>);

impl NodeLogs {
    pub(super) fn joined(&self, node: &str, programs: &Arc<Programs>) {
        self.nodes().insert(node.to_owned(), Arc::clone(programs));
    }

    pub(super) fn left(&self, node: &str) {
        self.nodes().remove(node);
    }

    pub(super) fn kubelet_root(&self, node: &str) -> Option<PathBuf> {
        Some(self.nodes().get(node)?.site.kubelet.clone())
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Programs>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ContainerLogs for NodeLogs {
    fn written(&self, node: &str, pod_uid: &str, container: &str, previous: bool) -> Vec<WrittenLine> {
        let Some(programs) = self.nodes().get(node).cloned() else {
            return Vec::new();
        };
        let hosted = programs.hosted();
        let Some(found) = hosted
            .get(pod_uid)
            .and_then(|containers| containers.get(container))
        else {
            return Vec::new();
        };
        let log = if previous {
            found.previous.as_ref()
        } else {
            Some(&found.log)
        };
        let lines = log.map(ProgramLog::written).unwrap_or_default();
        lines
            .into_iter()
            .map(|(at, text)| WrittenLine { at, text })
            .collect()
    }
}

impl PodPorts for NodeLogs {
    fn dial<'a>(
        &'a self,
        node: &'a str,
        pod_uid: &'a str,
        _: u16,
    ) -> BoxFuture<'a, io::Result<Box<dyn PodStream>>> {
        async move {
            let programs = self.nodes().get(node).cloned();
            let listens = programs.and_then(|programs| {
                let hosted = programs.hosted();
                hosted
                    .get(pod_uid)?
                    .values()
                    .find_map(|hosted| match hosted.program {
                        // It has one port, whatever that is called in its pod.
                        Some(Program::Agent { listens, .. }) => Some(listens),
                        _ => None,
                    })
            });
            let listens = listens.ok_or(io::ErrorKind::ConnectionRefused)?;
            let stream = TcpStream::connect(listens).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn PodStream>)
        }
        .boxed()
    }
}
