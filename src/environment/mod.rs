//! Environments: what stands at each seam, started and probed.
//!
//! An [`Environment`] hands the engine clients, paths on the node, the AWS call log where there is
//! one, and what to say about itself. The engine cannot tell one environment from another except by
//! its capabilities.

mod access;
mod agent;
mod aws_side;
mod call_counts;
mod call_log;
mod cluster;
mod clusters;
mod control;
mod control_plane;
mod daemon_logs;
mod described;
mod disturb;
pub mod eks;
mod fault;
pub mod installation;
mod issuer;
mod kind;
mod local;
mod node;
mod parts;
mod placement;
mod plant;
mod planted;
mod pod_identity;
pub(crate) mod progress;
mod restarts;
pub mod standing;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use self::{
    aws_side::{AwsAgain, AwsOptions, BackendChoice},
    cluster::{ClusterAws, ClusterOptions, look as look_for_cluster},
    clusters::{NodeOptions, StandInClusters},
    disturb::{AwsFaults, ProgramControl},
    eks::{AddonWanted, Creation, EksCluster, EksOptions, Nodes, look as look_for_eks},
    fault::{Fault, Struck, Trouble},
    issuer::TokenIssuer,
    kind::{
        DEFAULT_NAME, Down, DownError, Found, Images, KeptCluster, KeptClusters, KindError, KindOptions,
        Stage, Stay, Up, Why, checked_name, down, look as look_for_kind, reach_kept,
        remove as remove_kind_cluster, up,
    },
    local::{LocalOptions, Programs, StartError, logs_folder, scratch_folder},
    plant::{AgentDefect, Defect, DriverDefect, EndpointDefect, Plant, ProviderDefect},
    progress::Told,
};
use futures::future::BoxFuture;
use jiff::Timestamp;
pub use mountproof_releases::Release;
pub use mountproof_stand_ins::programs::control_plane::ControlPlanePrograms;

use crate::{
    agent::Agent,
    aws::Aws,
    journal::{Component, EnvironmentReady},
    kubernetes::Kubernetes,
    load::limiter::Bucket,
    provision::{KubernetesIn, Ledger, Reach, Tenant},
    secret::Credential,
    tenant::Marks,
    verdict::denial::Call,
};

/// Image of workloads where kubelet is a stand-in, which pulls nothing.
const WORKLOAD_IMAGE: &str = "registry.k8s.io/pause:3.10";

/// Which environment, and how it is to be.
#[derive(Debug, Clone)]
pub enum EnvironmentOptions {
    /// On this machine, in this process but for releases' programs.
    Local(Box<LocalOptions>),
    /// A cluster of kind.
    Kind(Box<KindOptions>),
    /// Any cluster that is there.
    Cluster(Box<ClusterOptions>),
    /// A cluster of EKS, that is there or is made for the run.
    Eks(Box<EksOptions>),
}

impl EnvironmentOptions {
    /// `embedded`, `host`, `kind`, `cluster` or `eks`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local(options) => options.name(),
            Self::Kind(_) => "kind",
            Self::Cluster(_) => "cluster",
            Self::Eks(_) => "eks",
        }
    }

    /// How what the run with this id makes in it is reached without this process.
    #[must_use]
    pub fn reach(&self, run_id: &str, region: &str) -> Reach {
        match self {
            Self::Local(options) => options.aws.reach(region),
            Self::Kind(options) => options.aws.reach(region),
            Self::Cluster(options) => options.reach(region),
            Self::Eks(options) => options.reach(run_id, region),
        }
    }

    /// How many times faster than a real kubelet its kubelet waits.
    #[must_use]
    pub fn clock(&self) -> f64 {
        match self {
            Self::Local(options) => options.clock,
            Self::Kind(_) | Self::Cluster(_) | Self::Eks(_) => 1.0,
        }
    }

    /// `--rotation-poll-interval` of its driver.
    #[must_use]
    pub fn rotation(&self) -> Duration {
        match self {
            Self::Local(options) => options.rotation,
            Self::Kind(options) => options.installation.rotation,
            Self::Cluster(options) => options.shared.rotation(),
            Self::Eks(options) => options.shared.rotation(),
        }
    }

    /// Driver and provider as they are installed, where they are.
    #[must_use]
    pub fn installs(&self) -> Option<&installation::InstallationOptions> {
        match self {
            Self::Local(_) => None,
            Self::Kind(options) => Some(&options.installation),
            Self::Cluster(options) => options.shared.installs(),
            Self::Eks(options) => options.shared.installs(),
        }
    }

    /// Whether driver and provider are replaced in the middle of the run.
    #[must_use]
    pub fn upgrades(&self) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Kind(options) => options.then.is_some(),
            Self::Cluster(options) => options.shared.then.is_some(),
            Self::Eks(options) => options.shared.then.is_some(),
        }
    }

    /// Deletes a cluster of kind that is on record.
    ///
    /// # Errors
    ///
    /// Why it is still there, in words.
    pub async fn remove_cluster(&self, name: &str) -> Result<(), String> {
        let program = match self {
            Self::Local(_) | Self::Cluster(_) | Self::Eks(_) => None,
            Self::Kind(options) => options.program.as_deref(),
        };
        let gone = kind::remove(name, program).await;
        gone.map_err(|error| error.to_string())
    }

    /// Writes the logs of the nodes of a cluster of kind into `folder`. They may hold secrets.
    ///
    /// # Errors
    ///
    /// Why they could not be had, in words.
    pub async fn export_logs(&self, name: &str, folder: &Path) -> Result<(), String> {
        let Self::Kind(options) = self else { return Ok(()) };
        let written = kind::export_logs(name, options.program.as_deref(), folder).await;
        written.map_err(|error| error.to_string())
    }

    /// Whether it takes so long to stand up that a run which is asked to end does not wait for it.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Kind(_) | Self::Cluster(_) | Self::Eks(_))
    }

    /// The command that looks into a cluster that is kept.
    #[must_use]
    pub fn look_at(&self, name: &str) -> String {
        let kubeconfig = KeptClusters::of_this_user().kubeconfig(name);
        format!(
            "kubectl --kubeconfig {} get pods --all-namespaces",
            kubeconfig.display()
        )
    }

    /// Keeps the cluster of a run as it is, where that was asked for; whether it was.
    ///
    /// # Errors
    ///
    /// Why it cannot be kept, in words.
    pub async fn keep_cluster(&self, name: &str, run_id: &str, scratch: &Path) -> Result<bool, String> {
        match self {
            Self::Kind(options) if options.stay == Stay::AfterFailure => {
                kind::keep(name, run_id, options, scratch).await
            }
            _ => Ok(false),
        }
    }

    /// Stands it up for the run with these marks. What outlives this process is put on record in `ledger` before it is
    /// made.
    ///
    /// # Errors
    ///
    /// When a part could not be started; what was made until then is on record.
    pub async fn start(
        &self,
        scratch: &Path,
        region: &str,
        seed: u64,
        marks: &Marks,
        ledger: &Ledger,
        heard: Heard,
    ) -> Result<Environment, StartError> {
        match self {
            Self::Local(options) => {
                local::start(options, scratch, region, seed, marks, ledger, heard.struck).await
            }
            Self::Kind(options) => kind::start(options, scratch, region, seed, marks, ledger, heard).await,
            Self::Cluster(options) => {
                Box::pin(cluster::start(
                    options, scratch, region, seed, marks, ledger, heard,
                ))
                .await
            }
            Self::Eks(options) => Box::pin(eks::start(options, scratch, marks, ledger, heard)).await,
        }
    }
}

/// Who hears of what happens while an environment stands up, and later.
pub struct Heard {
    /// Of every fault, as it strikes.
    pub struck: Struck,
    /// Of how standing up goes on.
    pub told: Told,
}

/// What the cases of a run need of the nodes, so that it is there before the first begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Pods at once that a measurement has at most.
    pub pods: usize,
    /// Whether the driver's own socket is called.
    pub csi_socket: bool,
}

/// A place to run scenarios in.
pub struct Environment {
    /// What to say about it: components, capabilities, notes.
    pub ready: EnvironmentReady,
    /// The Kubernetes API.
    pub kubernetes: Kubernetes,
    /// AWS, as the administrator of the account.
    pub aws: Aws,
    /// What driver and provider write, where it can be read.
    pub logs: Option<Arc<dyn ProgramLogs>>,
    /// What the nodes' own programs write, where it can be read.
    pub node_logs: Option<Arc<dyn NodeLogs>>,
    /// The driver's `--rotation-poll-interval`, where it is known.
    pub rotation: Option<Duration>,
    /// What tells kubelet to publish again, where it can be told.
    pub republish: Option<Box<dyn Republish>>,
    /// The region that secrets can be replicated to, where there is one.
    pub failover_region: Option<String>,
    /// Issuer of service-account tokens: an HTTPS URL.
    pub issuer: String,
    /// The EKS cluster that it is, by name, in which pods are associated with roles; none where it is no cluster of EKS's.
    pub eks_cluster: Option<String>,
    /// What gives pods their credentials on the nodes, in words, where it is the run's own; else the add-on's agent is looked
    /// for.
    pub pod_identity_agent: Option<String>,
    /// Image of workloads where the run names none.
    pub workload_image: String,
    /// The nodes, as far as the harness can reach into them.
    pub nodes: Vec<Node>,
    /// Why there is no agent on them, where there should be one.
    pub no_agent: Option<String>,
    /// Who asked AWS for what.
    pub calls: Option<Arc<dyn CallLog>>,
    /// How often driver and provider asked for what.
    pub counts: Option<Arc<dyn CallCounts>>,
    /// The node's programs, where they are processes of this environment's.
    pub programs: Option<Arc<dyn NodePrograms>>,
    /// What ends those and starts them anew, where that can be done.
    pub control: Option<Arc<dyn ProgramControl>>,
    /// What makes AWS slow and well again, where that can be done.
    pub aws_faults: Option<Arc<dyn AwsFaults>>,
    /// The limits on requests that every mount passes on its node, in order, where they are known.
    pub limits: Vec<Bucket>,
    /// Kubelet's pace, where kubelet is ours; a real one has its own.
    pace: Option<Box<dyn KubeletPace>>,
    /// Tokens whose time is over, where they can be had.
    pub expired: Option<Box<dyn ExpiredTokens>>,
    /// Whether the controllers of workloads run.
    pub workload_controllers: bool,
    /// How many pods at once its nodes have room for, where nobody saw to it that there is enough.
    pub room: Option<usize>,
    /// What comes in the place of driver and provider in the middle of the run, where that was asked for.
    pub upgrade: Option<installation::Upgrade>,
    /// Capabilities that it is known not to have, whatever else it looks like, and why.
    pub lacks: Vec<(&'static str, String)>,
    /// What becomes of it without this process.
    pub reach: Reach,
    /// Where what is in Kubernetes is.
    pub kubernetes_in: KubernetesIn,
    /// Stops everything that was started for it.
    stop: Mutex<Option<Stop>>,
}

#[cfg(test)]
impl Environment {
    /// Two worlds without a node, for tests of what is made in them.
    pub(crate) fn of_worlds(kubernetes: Kubernetes, aws: Aws, issuer: String) -> Self {
        Self {
            ready: EnvironmentReady {
                took_us: 0,
                components: Vec::new(),
                capabilities: Vec::new(),
                notes: Vec::new(),
                installed: None,
            },
            kubernetes,
            aws,
            logs: None,
            node_logs: None,
            rotation: None,
            republish: None,
            failover_region: None,
            issuer,
            eks_cluster: None,
            pod_identity_agent: None,
            workload_image: WORKLOAD_IMAGE.to_owned(),
            nodes: Vec::new(),
            no_agent: None,
            calls: None,
            counts: None,
            programs: None,
            control: None,
            aws_faults: None,
            limits: Vec::new(),
            pace: None,
            expired: None,
            workload_controllers: true,
            room: None,
            upgrade: None,
            lacks: Vec::new(),
            reach: Reach::Embedded,
            kubernetes_in: KubernetesIn::Process,
            stop: Mutex::new(None),
        }
    }
}

impl Environment {
    /// Has kubelet wait as long as a real one for as long as the answer lives: what is measured must not
    /// be hurried, nor share the machine with hurried republishes.
    pub fn at_real_pace(&self) -> RealPace<'_> {
        let pace = self.pace.as_deref();
        if let Some(pace) = pace {
            pace.set_real(true);
        }
        RealPace(pace)
    }

    /// Ends everything that was started for it. Later calls do nothing.
    pub async fn stop(&self) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = stop {
            stop().await;
        }
    }
}

/// What stands at a seam says of its version, or `unknown`.
#[must_use]
pub fn version_of<'a>(components: &'a [Component], seam: &str) -> &'a str {
    let component = components.iter().find(|component| component.seam == seam);
    component.map_or("unknown", |component| &component.version)
}

/// Speed of the waits of a kubelet of ours.
trait KubeletPace: Send + Sync {
    /// Waits as long as a real kubelet does, or as the run asked for.
    fn set_real(&self, real: bool);
}

/// What driver and provider write to their logs.
pub trait ProgramLogs: Send + Sync {
    /// How much the driver writes, in words.
    ///
    /// # Errors
    ///
    /// When that is less than at `-v=5`, with the reason.
    fn verbosity(&self) -> BoxFuture<'_, Result<String, String>>;
    /// Everything written so far, as it was written.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    fn logs(&self) -> BoxFuture<'_, Result<Vec<ProgramLog>, String>>;
    /// What they have written on these nodes in the last while, or since before that, lines with their times.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    fn window<'a>(
        &'a self,
        nodes: &'a [String],
        last: Duration,
    ) -> BoxFuture<'a, Result<Vec<WindowLog>, String>>;
}

/// What a program has written on one node. It may hold anything.
pub struct WindowLog {
    /// `driver` or `provider`.
    pub name: &'static str,
    /// The node.
    pub node: String,
    /// Whether it is of a process that has ended since, and was started anew.
    pub ended: bool,
    /// Lines that begin with when they were written: RFC 3339, or klog's header.
    pub text: String,
}

/// What the programs of a node itself have written.
pub trait NodeLogs: Send + Sync {
    /// What a node's kubelet has written since a moment, or since a little before that; each line begins with its time (RFC
    /// 3339). It may hold anything.
    ///
    /// # Errors
    ///
    /// When it cannot be had, in words.
    fn kubelet<'a>(&'a self, node: &'a str, since: Timestamp) -> BoxFuture<'a, Result<String, String>>;
}

/// What a program has written: it may hold anything, and so is never shown.
pub struct ProgramLog {
    /// `driver` or `provider`.
    pub name: &'static str,
    /// All of it.
    pub text: String,
}

/// Tells kubelet to publish again now, where it would by itself later.
pub trait Republish: Send + Sync {
    /// Publishes what a pod has mounted once more, and waits for the driver's answer.
    ///
    /// # Errors
    ///
    /// When kubelet does not have the pod, or does not publish again for this driver.
    fn republish<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<(), String>>;
}

/// Has genuine tokens whose time is over. Kubernetes itself gives out none that ends within ten minutes.
pub trait ExpiredTokens: Send + Sync {
    /// One of a namespace's `default` `ServiceAccount`; nothing where there is no such account.
    fn token<'a>(&'a self, namespace: &'a str, audience: &'a str) -> BoxFuture<'a, Option<Credential>>;
}

/// While this lives, kubelet waits as long as a real one. See [`Environment::at_real_pace`].
#[must_use]
pub struct RealPace<'a>(Option<&'a dyn KubeletPace>);

impl Drop for RealPace<'_> {
    fn drop(&mut self) {
        if let Some(pace) = self.0 {
            pace.set_real(false);
        }
    }
}

/// Paths on the node that the harness shares with kubelet and driver.
#[derive(Debug, Clone)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Kubelet's root folder, where the harness stands on the node, or beside it.
    pub kubelet_root: Option<PathBuf>,
    /// The driver's CSI socket, where the harness stands on the node and can call it.
    pub csi_socket: Option<PathBuf>,
    /// The agent that calls it, where the harness does not stand on the node.
    pub agent: Option<Agent>,
}

/// A log of AWS calls that can be read from a point on.
pub trait CallLog: Send + Sync {
    /// The end of the log now.
    fn cursor(&self) -> u64;
    /// Every call recorded at or after `cursor` that is still kept, oldest first.
    fn since(&self, cursor: u64) -> Vec<Call>;
    /// How many calls are no longer kept.
    fn forgotten(&self) -> u64;
}

/// Counts of what driver and provider ask of AWS and of Kubernetes.
pub trait CallCounts: Send + Sync {
    /// What they have asked for the pods of one tenant, from `cursor` of the AWS call log on; none where the log no longer
    /// holds all of it.
    ///
    /// A call is the tenant's by who makes it and what it names, never by when it is made. To AWS: the role whose session
    /// makes it or that it asks for, or the ServiceAccount of its token. To Kubernetes: the namespace, and the driver's or the
    /// provider's own user. A TLS connection is whose first request it was opened for.
    fn of(&self, tenant: &Tenant, cursor: u64) -> Option<Calls>;
    /// Names of calls that cannot be counted here.
    fn uncounted(&self) -> &[&'static str];
}

/// How often each call was made.
pub type Calls = BTreeMap<Counted, u64>;

/// One kind of call, made by one part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// Its name, as in [`crate::scenario::calls`].
    pub call: String,
    /// `driver`, `provider`, or `agent` for that of Pod Identity.
    pub by: &'static str,
}

/// The processes that stand in the driver's and the provider's places.
pub trait NodePrograms: Send + Sync {
    /// Each of them; none where the stand-ins run in this process.
    fn processes(&self) -> Vec<NodeProcess>;
    /// Starts those anew that ended by themselves, as their containers are: what is mounted is unmounted by nobody
    /// else. Names them.
    fn revived(&self) -> BoxFuture<'_, Result<Vec<&'static str>, String>>;
    /// How often each was restarted by now by who watches over it, where somebody does.
    fn restarts<'a>(&'a self, _: &'a Kubernetes) -> BoxFuture<'a, Restarts> {
        Box::pin(std::future::ready(Restarts::new()))
    }
}

/// How often a container was restarted, and why it ended last, by what it is.
pub type Restarts = BTreeMap<String, (u64, String)>;

/// One of them.
#[derive(Debug, Clone)]
pub struct NodeProcess {
    /// `driver` or `provider`.
    pub name: &'static str,
    /// How it ended, where it is gone though nobody asked it to go.
    pub ended: Option<String>,
}

impl Environment {
    /// The processes of the node.
    #[must_use]
    pub fn processes(&self) -> Vec<NodeProcess> {
        self.programs
            .as_ref()
            .map_or_else(Vec::new, |programs| programs.processes())
    }
}

/// Ends what was started for an environment.
type Stop = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
