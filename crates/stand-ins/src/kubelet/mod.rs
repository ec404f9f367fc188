//! Kubelet, as far as a pod with secrets-store volumes notices it.
//!
//! Behaves as kubelet 1.36.3 was recorded: registration of drivers, inline CSI volumes with pod info
//! and `ServiceAccount` tokens, retries and their backoff, what is cleaned up after which error,
//! republishing, unpublishing, Events word for word, conditions and container statuses. It watches the pods
//! that are bound to its node; who binds them is the scheduler, which one that is alone can have started with it
//! ([`KubeletConfig::scheduler`]).
//!
//! What it leaves out: containers do not run, unless somebody runs them ([`Containers`]): they count as started after the
//! time that a runtime takes and never end, and a deleted pod goes without a grace period; init containers; volumes other
//! than inline CSI; `fsGroup`; probes; the limits on requests to the API server (50/s in a real
//! kubelet; here at most 24 at once); aggregation of many similar Events; mounts found after a
//! restart; a refusal of what the scheduler should not have bound to it.

mod clock;
mod containers;
pub(crate) mod events;
pub(crate) mod pod;
mod registration;
pub mod schedule;
mod volume;
mod worker;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use mountproof_run_tls::TlsError;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    clock::{Clock, Timeline},
    containers::Containers,
};
use self::{events::Recorder, pod::Pod, registration::Drivers, volume::CsiDriver, worker::Worker};
use crate::{
    rest::{ApiAccess, ApiClient, ApiError, Change, PatchKind, query_value},
    scheduler::Scheduler,
};

const AGENT: &str = "kubelet/v1.36.3 (linux/amd64) mountproof-stand-in";

/// How long [`Kubelet::stop`] waits for its tasks.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What a kubelet needs to know.
#[derive(Debug, Clone)]
pub struct KubeletConfig {
    /// The API server, with a token of `system:node:<name>`.
    pub api: ApiAccess,
    /// The same with a token of `system:kube-scheduler`, for a scheduler that starts and ends with this kubelet: a node
    /// may neither bind pods nor see those of others. `None` in a cluster that has one.
    pub scheduler: Option<ApiAccess>,
    /// Name of its Node.
    pub node_name: String,
    /// In place of `/var/lib/kubelet`. Keep it short: sockets below it may have 107 bytes in all.
    pub root: PathBuf,
    /// Value of the Node's label `topology.kubernetes.io/region`.
    pub region: String,
    /// Further labels of the Node, or others in the place of its own.
    pub labels: BTreeMap<String, String>,
    /// The Node's taints: `key`, `value` and `effect`.
    pub taints: Vec<Value>,
    /// What the Node's cloud calls it: `spec.providerID`.
    pub provider_id: Option<String>,
    /// The Node's `InternalIP`.
    pub address: String,
    /// Images that the Node says it has.
    pub images: Vec<String>,
    /// Allocatable pods. A real kubelet's default is 110.
    pub max_pods: usize,
    /// How fast its own waits pass.
    pub clock: Clock,
    /// Deadline of a call to a driver; a real kubelet's is 2 minutes. Real time.
    pub publish_deadline: Duration,
    /// No image can be pulled: containers wait for ever, as on a node that its registry does not answer.
    pub no_images: bool,
    /// What runs in containers, where something does.
    pub containers: Option<Arc<dyn Containers>>,
}

impl KubeletConfig {
    /// A real kubelet's figures, but for 5,000 pods. A scheduler comes with it, until [`scheduler`](Self::scheduler)
    /// says otherwise.
    #[must_use]
    pub fn new(api: ApiAccess, node_name: &str, root: PathBuf) -> Self {
        Self {
            scheduler: Some(api.clone()),
            api,
            node_name: node_name.to_owned(),
            root,
            region: "us-east-1".to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            provider_id: None,
            address: "127.0.0.1".to_owned(),
            images: Vec::new(),
            max_pods: 5000,
            clock: Clock::default(),
            publish_deadline: Duration::from_mins(2),
            no_images: false,
            containers: None,
        }
    }
}

/// A kubelet could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folders could not be made.
    #[error("make {path}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The API server's certificate authority is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its Node could not be registered.
    #[error("register node: {0}")]
    Register(#[from] ApiError),
}

/// A running kubelet.
#[derive(Debug)]
pub struct Kubelet {
    node: Arc<Node>,
    scheduler: Option<Scheduler>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What all tasks of a kubelet share.
#[derive(Debug)]
struct Node {
    name: String,
    address: String,
    root: PathBuf,
    publish_deadline: Duration,
    no_images: bool,
    containers: Option<Arc<dyn Containers>>,
    time: Timeline,
    api: ApiClient,
    recorder: Recorder,
    drivers: Drivers,
    csi_drivers: Mutex<HashMap<String, CsiDriver>>,
    /// Pods that live here, by uid, and how each is told to publish again.
    living: Mutex<HashMap<String, mpsc::Sender<Again>>>,
}

/// Publish again, and say how many volumes that were.
type Again = oneshot::Sender<usize>;

/// What a kubelet can be told to do from outside, by whoever has no time to wait.
#[derive(Debug, Clone)]
pub struct KubeletHand(Arc<Node>);

impl KubeletHand {
    /// Publishes the volumes of a pod again whose drivers ask for that, as kubelet does from time to time, and waits until
    /// it is done. A pod that is being mounted is published again after that.
    ///
    /// # Errors
    ///
    /// When there is no such pod, when it goes meanwhile, and when no driver of its volumes asks for it.
    pub async fn republish(&self, pod_uid: &str) -> Result<(), String> {
        let living = self
            .0
            .living
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(pod_uid)
            .cloned();
        let gone = || format!("kubelet has no pod {pod_uid}");
        let (done, published) = oneshot::channel();
        living.ok_or_else(gone)?.send(done).await.map_err(|_| gone())?;
        match published.await {
            Ok(0) => Err("the CSIDriver object does not ask for requiresRepublish".to_owned()),
            Ok(_) => Ok(()),
            Err(_) => Err(gone()),
        }
    }
}

impl Node {
    fn csi_driver(&self, name: &str) -> Option<CsiDriver> {
        let drivers = self.csi_drivers.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.get(name).cloned()
    }

    fn remember(&self, pod_uid: &str, ask: mpsc::Sender<Again>) {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.insert(pod_uid.to_owned(), ask);
    }

    fn forget(&self, pod_uid: &str) {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.remove(pod_uid);
    }
}

impl Kubelet {
    /// Registers the Node and begins to look after its pods.
    pub async fn start(config: KubeletConfig) -> Result<Self, StartError> {
        for folder in ["plugins_registry", "plugins", "pods"] {
            let path = config.root.join(folder);
            fs::create_dir_all(&path).map_err(|source| StartError::Folder { path, source })?;
        }
        let api = ApiClient::new(&config.api, AGENT)?;
        register_node(&api, &config).await?;
        // After the node is there, or the first pods would be told that there is none.
        let scheduler = config.scheduler.as_ref().map(Scheduler::start).transpose()?;
        let node = Arc::new(Node {
            time: Timeline::start(config.clock),
            recorder: Recorder::start(&api, &config.node_name),
            drivers: Drivers::default(),
            csi_drivers: Mutex::default(),
            living: Mutex::default(),
            name: config.node_name,
            address: config.address,
            root: config.root,
            publish_deadline: config.publish_deadline,
            no_images: config.no_images,
            containers: config.containers,
            api,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let kubelet = Self {
            node,
            scheduler,
            stop,
            tasks,
        };
        let (listed, known) = watch::channel(false);
        kubelet.spawn(|node| async move {
            let registry = node.root.join("plugins_registry");
            node.drivers.follow(&registry, &node.api, &node.name).await;
        });
        kubelet.spawn(|node| follow_csi_drivers(node, listed));
        let (stop, tasks) = (kubelet.stop.clone(), kubelet.tasks.clone());
        kubelet.spawn(|node| Pods::new(node, stop, tasks).follow(known));
        Ok(kubelet)
    }

    /// The Node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node.name
    }

    /// Its own time, whose speed may be changed while it runs.
    #[must_use]
    pub fn time(&self) -> Timeline {
        self.node.time.clone()
    }

    /// What it can be told from outside.
    #[must_use]
    pub fn hand(&self) -> KubeletHand {
        KubeletHand(Arc::clone(&self.node))
    }

    /// Whether a driver of this name is registered.
    #[must_use]
    pub fn has_driver(&self, name: &str) -> bool {
        self.node.drivers.find(name).is_some()
    }

    /// Ends everything at once, within 5 s. Volumes stay mounted, as they do when a real kubelet stops.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.close();
        if let Some(scheduler) = self.scheduler.take() {
            scheduler.stop().await;
        }
        if tokio::time::timeout(STOP_DEADLINE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(left = self.tasks.len(), "kubelet's tasks did not end in time");
        }
    }

    fn spawn<F>(&self, task: impl FnOnce(Arc<Node>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, task) = (self.stop.clone(), task(Arc::clone(&self.node)));
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn register_node(api: &ApiClient, config: &KubeletConfig) -> Result<(), ApiError> {
    let name = &config.node_name;
    let path = format!("/api/v1/nodes/{name}");
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/region": config.region,
        }},
        "spec": {},
    });
    for (label, value) in &config.labels {
        node["metadata"]["labels"][label] = value.as_str().into();
    }
    if !config.taints.is_empty() {
        node["spec"]["taints"] = json!(config.taints);
    }
    if let Some(id) = &config.provider_id {
        node["spec"]["providerID"] = id.as_str().into();
    }
    match api.create("/api/v1/nodes", &node).await {
        Err(error) if error.is_conflict() => {
            let labels = json!({"metadata": {"labels": node["metadata"]["labels"]}});
            api.patch(&path, PatchKind::Merge, &labels).await?;
        }
        other => drop(other?),
    }
    let now = now_rfc3339();
    let images = config.images.iter().map(|name| json!({"names": [name]}));
    let pods = config.max_pods.to_string();
    let resources = json!({"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi", "pods": pods});
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let status = json!({"status": {
        "capacity": resources,
        "allocatable": resources,
        "images": images.collect::<Vec<_>>(),
        "addresses": [
            {"type": "InternalIP", "address": config.address},
            {"type": "Hostname", "address": name},
        ],
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.3",
            "containerRuntimeVersion": "none://0", "osImage": "mountproof stand-in",
            "bootID": "", "machineID": "", "systemUUID": "", "kernelVersion": "", "kubeProxyVersion": "",
        },
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
    }});
    api.patch(&format!("{path}/status"), PatchKind::Merge, &status)
        .await?;
    registration::publish_csi_node(api, name, &BTreeMap::new()).await
}

/// Keeps the `CSIDriver` objects at hand, and says when they are all there.
async fn follow_csi_drivers(node: Arc<Node>, listed: watch::Sender<bool>) {
    let mut changes = node.api.watch::<CsiDriver>("/apis/storage.k8s.io/v1/csidrivers");
    loop {
        let change = changes.next().await;
        let mut drivers = node.csi_drivers.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Listed(all) => {
                *drivers = all
                    .into_iter()
                    .map(|one| (one.metadata.name.clone(), one))
                    .collect();
                listed.send_replace(true);
            }
            Change::Applied(one) => drop(drivers.insert(one.metadata.name.clone(), one)),
            Change::Deleted(one) => drop(drivers.remove(&one.metadata.name)),
        }
    }
}

/// All pods of the node.
struct Pods {
    node: Arc<Node>,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The pods that have a worker, by uid.
    workers: HashMap<String, CancellationToken>,
}

impl Pods {
    fn new(node: Arc<Node>, stop: CancellationToken, tasks: TaskTracker) -> Self {
        Self {
            node,
            stop,
            tasks,
            workers: HashMap::new(),
        }
    }

    async fn follow(mut self, mut known: watch::Receiver<bool>) {
        // A pod before the CSIDrivers are known would be refused for the wrong reason.
        if known.wait_for(|listed| *listed).await.is_err() {
            return;
        }
        // A node may see no others.
        let own = query_value(&format!("spec.nodeName={}", self.node.name));
        let mut changes = self
            .node
            .api
            .watch::<Pod>(&format!("/api/v1/pods?fieldSelector={own}"));
        loop {
            match changes.next().await {
                Change::Listed(pods) => self.relist(pods),
                Change::Applied(pod) => self.apply(pod),
                Change::Deleted(pod) => self.remove(&pod.metadata.uid),
            }
        }
    }

    fn relist(&mut self, pods: Vec<Pod>) {
        let present: HashSet<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let gone = self.workers.keys().filter(|uid| !present.contains(uid.as_str()));
        for uid in gone.cloned().collect::<Vec<_>>() {
            self.remove(&uid);
        }
        for pod in pods {
            self.apply(pod);
        }
    }

    fn apply(&mut self, pod: Pod) {
        if pod.spec.node_name.as_deref() != Some(self.node.name.as_str()) {
            return;
        }
        let deleting = pod.metadata.deletion_timestamp.is_some();
        let uid = pod.metadata.uid.clone();
        let ending = match self.workers.get(&uid) {
            Some(ending) => ending.clone(),
            None => self.employ(uid, Arc::new(pod)),
        };
        if deleting {
            ending.cancel();
        }
    }

    fn employ(&mut self, uid: String, pod: Arc<Pod>) -> CancellationToken {
        let ending = CancellationToken::new();
        self.workers.insert(uid, ending.clone());
        let worker = Worker::new(Arc::clone(&self.node), pod, ending.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(worker.run()).await;
        });
        ending
    }

    fn remove(&mut self, uid: &str) {
        if let Some(ending) = self.workers.remove(uid) {
            ending.cancel();
        }
    }
}

/// Now, as Kubernetes writes times: RFC 3339 in whole seconds.
fn now_rfc3339() -> String {
    let seconds = Timestamp::now().as_second();
    Timestamp::from_second(seconds)
        .expect("now is in range")
        .to_string()
}
