//! What befalls nodes while a run goes on, as events.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::EventKind;

/// See [`EventKind::IncidentSeen`]. When it was seen is when it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentSeen {
    /// What it is.
    pub kind: IncidentKind,
    /// The node.
    pub node: String,
    /// What it befell, such as `container secrets-store of pod kube-system/csi-secrets-store-x`.
    pub what: String,
    /// Why, in Kubernetes' words; redacted.
    pub because: String,
}

/// What can befall a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// A container ended and was started anew: the driver, the provider, an agent, a workload.
    Restarted,
    /// The kernel ended a process that ran out of memory.
    OomKilled,
    /// Kubelet ended a pod, for the node's sake.
    Evicted,
    /// A pod of the driver, the provider or an agent is no more.
    Removed,
    /// A node does not report any more, or says that it cannot run pods.
    NodeNotReady,
    /// It does again.
    NodeReady,
    /// A node is short of memory, disk or processes.
    NodePressure,
    /// A node is no more.
    NodeGone,
    /// A socket of the driver's or of a provider's was not there, as the agent on the node saw it.
    SocketGone,
    /// One is there that was not.
    SocketThere,
    /// One was replaced: its program was killed and started anew.
    SocketReplaced,
    /// The agent on a node is not heard: what happens there is told later, or never.
    AgentUnheard,
    /// It is heard again.
    AgentHeard,
}

impl fmt::Display for IncidentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Restarted => "restarted",
            Self::OomKilled => "OOM-killed",
            Self::Evicted => "evicted",
            Self::Removed => "removed",
            Self::NodeNotReady => "not Ready",
            Self::NodeReady => "Ready again",
            Self::NodePressure => "under pressure",
            Self::NodeGone | Self::SocketGone => "gone",
            Self::SocketThere => "there",
            Self::SocketReplaced => "replaced",
            Self::AgentUnheard => "not heard",
            Self::AgentHeard => "heard again",
        })
    }
}
