//! The environment of a run, what is on its nodes, and the parts of an upgrade in its middle, as events.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::EventKind;
use super::RenderedChart;

/// A part of a run that upgrades driver and provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// With what was installed first.
    Before,
    /// With the roll-out held half-way.
    During,
    /// With what was installed then.
    After,
}

impl Phase {
    /// In their order.
    pub const ALL: [Self; 3] = [Self::Before, Self::During, Self::After];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        })
    }
}

/// See [`EventKind::PhaseBegan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseBegan {
    /// Which.
    pub phase: Phase,
    /// What is on which nodes, in words; why it is left out, where it is.
    pub said: String,
    /// Whether its cases are tried.
    pub tried: bool,
    /// Time of the roll-out before it.
    pub took_us: u64,
    /// What is on the nodes then; absent where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
}

/// See [`EventKind::GapMeasured`]. A pod was started on the node every so often while the roll-out before a phase went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GapMeasured {
    /// The phase that the roll-out led to.
    pub phase: Phase,
    /// The node.
    pub node: String,
    /// Time between two starts: nothing shorter shows.
    pub every_us: u64,
    /// Pods that were started.
    pub started: u32,
    /// Those that had their secret within their time.
    pub mounted: u32,
    /// Longest time without a mount that came about, before the roll-out began; 0 where none did.
    pub usual_gap_us: u64,
    /// The same while it went on, and right after.
    pub longest_gap_us: u64,
    /// Whether that still lasted when the last pod was started: it is a lower bound then.
    pub lasting: bool,
}

/// See [`EventKind::EnvironmentReady`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentReady {
    /// From the first action to the last probe.
    pub took_us: u64,
    /// What stands at each seam.
    pub components: Vec<Component>,
    /// What was probed.
    pub capabilities: Vec<Capability>,
    /// Facts that change how figures are read: the clock's factor, tmpfs or a plain folder.
    pub notes: Vec<String>,
    /// What was put on the nodes of a cluster; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
}

/// Driver and provider on the nodes of a cluster, as the cluster tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Both, the driver first.
    pub parts: Vec<InstalledPart>,
    /// `spec` of the driver's `CSIDriver` object, by field.
    pub csi_driver: BTreeMap<String, serde_json::Value>,
}

/// One part on the nodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledPart {
    /// `driver` or `provider`.
    pub part: String,
    /// Its version, by its image's tag, its chart or a label.
    pub version: String,
    /// Where its manifests come from: ours, a chart with its version, files.
    pub origin: String,
    /// Its `DaemonSet`, with the namespace.
    pub daemon_set: String,
    /// Images of its pods.
    pub images: Vec<InstalledImage>,
    /// What its own container is started with.
    pub flags: Vec<String>,
    /// The `ServiceAccount` that it runs as, with the namespace.
    pub account: String,
    /// What that may do.
    pub roles: Vec<InstalledRole>,
    /// What was set in its manifests for the run, and what there is to know of them.
    pub remarks: Vec<String>,
    /// The chart that they were rendered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<RenderedChart>,
}

/// An image of an installed part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledImage {
    /// The container's name.
    pub container: String,
    /// As its manifest names it.
    pub image: String,
    /// As the nodes have it: one where all have the same.
    pub digests: Vec<String>,
}

/// A role of an installed part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstalledRole {
    /// Its kind and name, such as `ClusterRole secretproviderclasses-role`.
    pub role: String,
    /// Such as `get, list, watch pods`.
    pub rules: Vec<String>,
}

/// What stands at one seam.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// `kubernetes`, `kubelet`, `driver`, `provider` or `aws`.
    pub seam: String,
    /// Its name, such as `Kubernetes stand-in`.
    pub name: String,
    /// Its version, or the version it imitates.
    pub version: String,
    /// Whether it is ours.
    pub stand_in: bool,
    /// What it leaves out, or flags it was started with.
    pub notes: Vec<String>,
}

/// Whether the environment can do something, as probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Such as `iam-enforcement`.
    pub name: String,
    /// Whether it can.
    pub present: bool,
    /// What the probe saw.
    pub evidence: String,
}
