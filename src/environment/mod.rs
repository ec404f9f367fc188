//! Environments: what stands at each seam, started and probed.
//!
//! An [`Environment`] hands the engine clients, paths on the node, the AWS call log where there is
//! one, and what to say about itself. The engine cannot tell one environment from another except by
//! its capabilities.

mod access;
mod call_counts;
mod call_log;
mod clusters;
mod described;
mod fault;
mod issuer;
mod local;
mod node;
mod parts;
mod plant;
mod planted;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

pub use self::{
    clusters::StandInClusters,
    fault::{Fault, Trouble},
    issuer::TokenIssuer,
    local::{LocalOptions, Programs, StartError, scratch_folder, start as start_local},
    parts::Struck,
    plant::{Defect, DriverDefect, EndpointDefect, Plant, ProviderDefect},
};
use futures::future::BoxFuture;
pub use mountproof_releases::Release;

use crate::{
    aws::Aws, journal::EnvironmentReady, kubernetes::Kubernetes, provision::Reach, secret::Credential,
    verdict::denial::Call,
};

/// A place to run scenarios in.
pub struct Environment {
    /// What to say about it: components, capabilities, notes.
    pub ready: EnvironmentReady,
    /// The Kubernetes API.
    pub kubernetes: Kubernetes,
    /// AWS, as the administrator of the account.
    pub aws: Aws,
    /// Issuer of service-account tokens: an HTTPS URL.
    pub issuer: String,
    /// The node's paths, where the harness stands on the node.
    pub node: Node,
    /// Who asked AWS for what.
    pub calls: Option<Arc<dyn CallLog>>,
    /// How often driver and provider asked for what.
    pub counts: Option<Arc<dyn CallCounts>>,
    /// The node's programs, where they are processes of this environment's.
    pub programs: Option<Arc<dyn NodePrograms>>,
    /// Kubelet's pace, where kubelet is ours; a real one has its own.
    pace: Option<Box<dyn KubeletPace>>,
    /// Tokens whose time is over, where they can be had.
    pub expired: Option<Box<dyn ExpiredTokens>>,
    /// What becomes of it without this process.
    pub reach: Reach,
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
            },
            kubernetes,
            aws,
            issuer,
            node: Node {
                name: String::new(),
                kubelet_root: PathBuf::new(),
                csi_socket: PathBuf::new(),
            },
            calls: None,
            counts: None,
            programs: None,
            pace: None,
            expired: None,
            reach: Reach::Embedded,
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

/// Speed of the waits of a kubelet of ours.
trait KubeletPace: Send + Sync {
    /// Waits as long as a real kubelet does, or as the run asked for.
    fn set_real(&self, real: bool);
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
    /// Kubelet's root folder.
    pub kubelet_root: PathBuf,
    /// The driver's CSI socket.
    pub csi_socket: PathBuf,
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

/// Counts of what driver and provider ask of AWS and of Kubernetes; what the harness and kubelet ask is in none.
///
/// Whoever calls AWS and is not the account's administrator counts as the provider: no sessions of tenants may be used
/// by the harness meanwhile.
pub trait CallCounts: Send + Sync {
    /// Where counting begins.
    fn mark(&self) -> CallMark;
    /// What was asked since; none where the logs no longer hold all of it.
    fn since(&self, mark: &CallMark) -> Option<BTreeMap<Counted, u64>>;
}

/// A moment from which calls are counted.
#[derive(Debug, Clone)]
pub struct CallMark {
    /// The end of the AWS call log.
    cursor: u64,
    /// See [`mountproof_aws_endpoint::CallLog::connections`].
    connections: u64,
    /// What had been asked of Kubernetes by then.
    kubernetes: BTreeMap<Counted, u64>,
}

/// One kind of call, made by one part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// Its name, as in [`crate::scenario::calls`].
    pub call: String,
    /// `driver` or `provider`.
    pub by: &'static str,
}

/// The processes that stand in the driver's and the provider's places.
pub trait NodePrograms: Send + Sync {
    /// Each of them; none where the stand-ins run in this process.
    fn processes(&self) -> Vec<NodeProcess>;
}

/// One of them.
#[derive(Debug, Clone)]
pub struct NodeProcess {
    /// `driver` or `provider`.
    pub name: &'static str,
    /// How it ended, where it is gone though nobody asked it to go.
    pub ended: Option<String>,
    /// What it wrote. It may hold secrets.
    pub log: PathBuf,
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
