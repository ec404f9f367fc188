//! What agents see on their nodes, as events.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{IncidentKind, IncidentSeen};

/// See [`EventKind::NodeSaw`](super::EventKind::NodeSaw).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSaw {
    /// The node.
    pub node: String,
    /// When it was, by the node's own wall clock; absent for what is about the conversation with its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How long before it was recorded that was, by monotonic clocks: of the node until it was told, and of the harness after
    /// that. Only the way between both is not in it.
    pub ago_us: u64,
    /// What.
    pub what: NodeSight,
}

/// What an agent sees on its node, or what becomes of the conversation with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NodeSight {
    /// It began to watch. What is there already is told here and nowhere else.
    Watching {
        /// Sockets that are there, such as `driver csi.sock` and `provider aws.sock`.
        sockets: Vec<String>,
        /// What it cannot see, in words.
        blind: Vec<String>,
    },
    /// A socket of the driver's or of a provider's is not there any more.
    SocketGone {
        /// Which.
        socket: String,
    },
    /// One that was not there is.
    SocketThere {
        /// Which.
        socket: String,
        /// How long it was away; absent where it was never there before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        away_us: Option<u64>,
    },
    /// One is another than it was: its program was ended without leave, and started anew.
    SocketReplaced {
        /// Which.
        socket: String,
    },
    /// A CSI volume of a pod of the run's is mounted.
    Mounted {
        /// The pod's uid.
        pod: String,
        /// The volume's name.
        volume: String,
    },
    /// It is not mounted any more.
    Unmounted {
        /// The pod's uid.
        pod: String,
        /// The volume's name.
        volume: String,
    },
    /// The conversation with the agent broke, or was broken off: what happens from here on is not told yet, and may never be.
    Lost {
        /// Why.
        because: String,
        /// Whether it is taken up again.
        for_good: bool,
    },
    /// It was taken up again.
    Heard {
        /// How long nobody heard it.
        away_us: u64,
        /// What of that time is missing.
        missed: Missed,
    },
}

impl NodeSaw {
    /// What befell the node by it, where something did: a figure of the same moment may be of that.
    #[must_use]
    pub fn incident(&self) -> Option<IncidentSeen> {
        let socket = |socket: &String| format!("socket {socket}");
        let agent = || "the agent".to_owned();
        let after = |us: &u64| format!("after {} ms, as the node's agent saw it", us / 1000);
        let (kind, what, because) = match &self.what {
            NodeSight::SocketGone { socket: name } => (
                IncidentKind::SocketGone,
                socket(name),
                "as the node's agent saw it".to_owned(),
            ),
            NodeSight::SocketThere {
                socket: name,
                away_us,
            } => (
                IncidentKind::SocketThere,
                socket(name),
                away_us
                    .as_ref()
                    .map_or_else(|| "for the first time".to_owned(), after),
            ),
            NodeSight::SocketReplaced { socket: name } => (
                IncidentKind::SocketReplaced,
                socket(name),
                "its program was killed and started anew".to_owned(),
            ),
            NodeSight::Lost { because, .. } => (IncidentKind::AgentUnheard, agent(), because.clone()),
            NodeSight::Heard { away_us, missed } => (
                IncidentKind::AgentHeard,
                agent(),
                format!("after {} ms: {missed}", away_us / 1000),
            ),
            NodeSight::Watching { .. } | NodeSight::Mounted { .. } | NodeSight::Unmounted { .. } => {
                return None;
            }
        };
        Some(IncidentSeen {
            kind,
            node: self.node.clone(),
            what,
            because,
        })
    }
}

impl NodeSight {
    /// The uid of the pod that it is about, and the name of its volume; none where it is about no pod.
    #[must_use]
    pub fn pod(&self) -> Option<(&str, &str)> {
        match self {
            Self::Mounted { pod, volume } | Self::Unmounted { pod, volume } => Some((pod, volume)),
            _ => None,
        }
    }

    /// In a word or two, where it belongs into a timeline of one line.
    #[must_use]
    pub fn brief(&self) -> Option<String> {
        match self {
            Self::SocketGone { socket } => Some(format!("{socket} gone")),
            Self::SocketThere { socket, .. } => Some(format!("{socket} there")),
            Self::SocketReplaced { socket } => Some(format!("{socket} replaced")),
            Self::Mounted { .. } => Some("mounted".to_owned()),
            Self::Unmounted { .. } => Some("unmounted".to_owned()),
            Self::Watching { .. } | Self::Lost { .. } | Self::Heard { .. } => None,
        }
    }
}

impl fmt::Display for NodeSight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Watching { sockets, blind } => {
                let there = if sockets.is_empty() {
                    "no socket is there".to_owned()
                } else {
                    format!("there are {}", sockets.join(", "))
                };
                write!(f, "watches the node: {there}")?;
                if blind.is_empty() {
                    return Ok(());
                }
                write!(f, "; it cannot see {}", blind.join(", nor "))
            }
            Self::SocketGone { socket } => write!(f, "{socket} is gone"),
            Self::SocketThere {
                socket,
                away_us: None,
            } => write!(f, "{socket} is there"),
            Self::SocketThere {
                socket,
                away_us: Some(away_us),
            } => write!(f, "{socket} is there again, after {} ms", away_us / 1000),
            Self::SocketReplaced { socket } => {
                write!(
                    f,
                    "{socket} was replaced: its program was killed and started anew"
                )
            }
            Self::Mounted { volume, .. } => write!(f, "volume {volume} is mounted"),
            Self::Unmounted { volume, .. } => write!(f, "volume {volume} is not mounted any more"),
            Self::Lost { because, for_good } => {
                let ever = if *for_good {
                    ", and is not asked any more"
                } else {
                    ""
                };
                write!(f, "the agent is not heard{ever}: {because}")
            }
            Self::Heard { away_us, missed } => {
                write!(
                    f,
                    "the agent is heard again after {} ms: {missed}",
                    away_us / 1000
                )
            }
        }
    }
}

/// What is missing of the time in which nobody heard an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// Nothing: it went on watching, and told it afterwards.
    Nothing,
    /// So many things that it saw, at most, of the run's pods or of others, which it has forgotten.
    AtMost(u64),
    /// Nobody knows: the agent was started anew.
    Unknown,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing of that time is missing"),
            Self::AtMost(number) => write!(f, "up to {number} things that it saw are missing"),
            Self::Unknown => f.write_str("it was started anew, and what happened meanwhile nobody saw"),
        }
    }
}

/// See [`EventKind::NodePressed`](super::EventKind::NodePressed). It is the whole node's, whoever it was that kept it busy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePressed {
    /// [`MeasurementStarted::measurement`](super::MeasurementStarted::measurement).
    pub measurement: String,
    /// The node.
    pub node: String,
    /// How often it was looked at: about once a second.
    pub samples: u32,
    /// The time that these are about.
    pub took_us: u64,
    /// What was found, of what the node tells.
    pub shares: Vec<PressureShare>,
}

impl NodePressed {
    /// The share of one kind, where the node tells it.
    #[must_use]
    pub fn share(&self, of: Pressure) -> Option<&PressureShare> {
        self.shares.iter().find(|share| share.of == of)
    }
}

/// A share of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PressureShare {
    /// Of what.
    pub of: Pressure,
    /// Over all samples, in thousandths.
    pub mean_permille: u32,
    /// Of the worst sample, in thousandths.
    pub peak_permille: u32,
}

/// What a node is short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pressure {
    /// Something waited for a processor (`some` of `/proc/pressure/cpu`).
    CpuWaited,
    /// Something waited for storage (`some` of `/proc/pressure/io`).
    IoWaited,
    /// Something waited for memory (`some` of `/proc/pressure/memory`).
    MemoryWaited,
    /// Processors were busy (`/proc/stat`), whoever had them.
    CpuBusy,
    /// Processors were taken by the hypervisor (`steal` of `/proc/stat`), as from a burstable instance whose credits are spent.
    CpuStolen,
}

impl Pressure {
    /// In the order of reports.
    pub const ALL: [Self; 5] = [
        Self::CpuWaited,
        Self::IoWaited,
        Self::MemoryWaited,
        Self::CpuBusy,
        Self::CpuStolen,
    ];
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CpuWaited => "waited for a processor",
            Self::IoWaited => "waited for storage",
            Self::MemoryWaited => "waited for memory",
            Self::CpuBusy => "processors busy",
            Self::CpuStolen => "processors stolen",
        })
    }
}
