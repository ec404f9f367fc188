//! PURE: what harness and agent say to each other, a line of JSON a message.
//!
//! One connection is one conversation: a [`Request`], then [`Answer`]s. Both are of the same version of mountproof, which the
//! agent's first answer tells. Tokens travel in it, so that none of this can be shown.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    journal::{FloorMeasured, MeasurementStarted, MountOutcome, NodeSight, Pressure},
    load::{
        csi_lens::{PodIdentity, PublishJob, ServiceAccountTokens},
        recorder::Ended,
        run_mounts::{MAX_IN_FLIGHT, MountPlan},
    },
    verdict::files::{ExpectedPrint, SeenPrint},
};

/// What the harness asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Who is there.
    Hello,
    /// What a mount costs at least on the node.
    Floor,
    /// One volume.
    Publish { job: Job, deadline: Duration },
    /// These away again, whoever published them, each within its deadline.
    Unpublish { uids: Vec<String>, deadline: Duration },
    /// What stands where the volume of the pod with this uid is mounted.
    Look { uid: String },
    /// What stands where kubelet has the volume of this pod mounted, of all that it saw: at once, or once a file was seen, or for so
    /// long.
    LookAtPod {
        uid: String,
        volume: String,
        during: Duration,
    },
    /// To be answered when the driver has begun to mount the volume.
    Begun { uid: String },
    /// A share of a measurement. The agent prepares, answers `ready`, and waits for `go`.
    Measure(Share),
    /// Within a measurement: it begins.
    Go,
    /// Within a measurement: nothing more is sent.
    Stop,
    /// After a measurement: what was published may go.
    Done,
    /// What happens on the node from here on, and what the agent remembers: of sockets, and of volumes of the pods with these
    /// uids. The agent answers `following`, and tells until the harness hangs up.
    Follow { pods: Vec<String> },
    /// While it follows: of these pods too. Answered by `saw` with this mark, behind everything that has happened until then.
    Watch { pods: Vec<String>, mark: u64 },
    /// While it follows: how hard pressed the node is, about once a second, from now on or not any more. Answered likewise.
    Press { on: bool, mark: u64 },
}

/// What the agent answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The version of mountproof that it is of.
    Hello {
        version: String,
    },
    Floor(FloorMeasured),
    Published {
        took: Duration,
    },
    /// The driver, or the way to it, said no.
    Refused {
        code: i32,
        message: String,
        took: Duration,
    },
    TimedOut {
        after: Duration,
    },
    /// The driver was not asked.
    NotAsked {
        because: String,
    },
    /// What could not be unpublished; none where all is gone.
    Unpublished {
        left: Vec<Left>,
    },
    Looked(Looked),
    Begun,
    /// The share is prepared.
    Ready,
    /// Mounts that came to their end.
    Ended(Vec<End>),
    /// Every mount of the share has come to its end.
    Measured,
    /// It follows.
    Following(Following),
    /// What it saw.
    Saw(Saw),
    /// How hard pressed the node was.
    Pressed(Sample),
    /// It cannot do what it was asked to.
    Trouble {
        because: String,
    },
}

/// A volume to publish.
#[derive(Serialize, Deserialize)]
pub(super) struct Job {
    pod: PodIdentity,
    class: String,
    attributes: BTreeMap<String, String>,
    tokens: String,
    among_secrets: bool,
}

impl Job {
    pub(super) fn of(job: &PublishJob) -> Self {
        let (tokens, among_secrets) = job.tokens.expose();
        Self {
            pod: job.pod.clone(),
            class: job.class.clone(),
            attributes: job.attributes.clone(),
            tokens: tokens.to_owned(),
            among_secrets,
        }
    }

    pub(super) fn into_job(self) -> PublishJob {
        PublishJob {
            pod: self.pod,
            class: self.class,
            attributes: self.attributes,
            tokens: ServiceAccountTokens::exposed(self.tokens, self.among_secrets),
        }
    }
}

/// One node's part of a measurement.
#[derive(Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) measurement: String,
    pub(super) deadline: Duration,
    /// A job of each namespace, whose pod is the mounts' to say.
    pub(super) jobs: Vec<Job>,
    /// The files that a mount of each must hold.
    pub(super) expected: Vec<Vec<ExpectedPrint>>,
    /// In the order of their starts.
    pub(super) mounts: Vec<ShareMount>,
}

/// One planned mount of a share.
#[derive(Serialize, Deserialize)]
pub(super) struct ShareMount {
    /// Its place in the whole plan.
    pub(super) index: u32,
    pub(super) start: Duration,
    pub(super) warm_up: bool,
    /// Index into [`Share::jobs`].
    pub(super) whose: usize,
    /// The pod's name.
    pub(super) pod: String,
    /// Its uid.
    pub(super) uid: String,
}

impl Share {
    /// The plan of it alone, in which a mount's index is its place in [`Self::mounts`].
    pub(super) fn plan(&self) -> MountPlan {
        let warm_up = self.mounts.iter().filter(|mount| mount.warm_up).count();
        MountPlan {
            measurement: MeasurementStarted {
                measurement: self.measurement.clone(),
                case: String::new(),
                what: String::new(),
                lens: "csi".to_owned(),
                parameters: BTreeMap::new(),
            },
            starts: self.mounts.iter().map(|mount| mount.start).collect(),
            tenants: self.jobs.iter().map(|job| job.pod.namespace.clone()).collect(),
            owners: self.mounts.iter().map(|mount| mount.whose).collect(),
            warm_up: u32::try_from(warm_up).unwrap_or(u32::MAX),
            deadline: self.deadline,
            max_in_flight: MAX_IN_FLIGHT,
        }
    }

    /// What to publish for each mount; none where one names no job.
    pub(super) fn publish_jobs(&self) -> Option<Vec<PublishJob>> {
        let of = |mount: &ShareMount| {
            let job = self.jobs.get(mount.whose)?;
            Some(PublishJob {
                pod: PodIdentity {
                    name: mount.pod.clone(),
                    uid: mount.uid.clone(),
                    ..job.pod.clone()
                },
                class: job.class.clone(),
                attributes: job.attributes.clone(),
                tokens: ServiceAccountTokens::exposed(job.tokens.clone(), job.among_secrets),
            })
        };
        self.mounts.iter().map(of).collect()
    }
}

/// How a mount of a share ended, by its place in the whole plan. Times are from the start of the measurement on that node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) index: u32,
    sent: Option<Duration>,
    done: Option<Duration>,
    outcome: MountOutcome,
    error: Option<String>,
    throttled: u32,
    retries: u32,
}

impl End {
    pub(super) fn of(index: u32, ended: &Ended) -> Self {
        Self {
            index,
            sent: ended.sent,
            done: ended.done,
            outcome: ended.outcome,
            error: ended.error.clone(),
            throttled: ended.throttled,
            retries: ended.retries,
        }
    }

    /// As an entry of the accounts of `plan`; none where the plan has no such mount.
    pub(super) fn into_ended(self, plan: &MountPlan, node: &str) -> Option<Ended> {
        Some(Ended {
            warm_up: self.index < plan.warm_up,
            planned: *plan.starts.get(self.index as usize)?,
            sent: self.sent,
            done: self.done,
            outcome: self.outcome,
            error: self.error,
            throttled: self.throttled,
            retries: self.retries,
            node: Some(node.to_owned()),
        })
    }
}

/// A volume that is still there.
#[derive(Serialize, Deserialize)]
pub(super) struct Left {
    pub(super) uid: String,
    pub(super) path: String,
    pub(super) because: String,
}

/// What an agent says first of all when it follows what happens on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Following {
    /// The version of mountproof that it is of.
    pub(super) version: String,
    /// What it has numbered: another one has begun to count anew.
    pub(super) life: String,
    /// Number of the oldest thing that it remembers, or of the next.
    pub(super) oldest: u64,
    /// Sockets that are there.
    pub(super) sockets: Vec<String>,
    /// What it cannot see, in words.
    pub(super) blind: Vec<String>,
}

/// What an agent saw, of what is the harness's to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saw {
    pub(super) sights: Vec<Sight>,
    /// Nothing up to this number is untold.
    pub(super) through: u64,
    /// Of the request that this answers.
    pub(super) mark: Option<u64>,
}

/// One thing that an agent saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sight {
    /// From 1, by the agent's own count, with gaps where something is nobody's to know.
    pub(super) number: u64,
    /// By the node's wall clock.
    pub(super) at: Timestamp,
    /// How long before it was told, by the node's monotonic clock.
    pub(super) ago: Duration,
    pub(super) what: NodeSight,
}

/// How hard pressed a node was for a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// How long that moment was.
    pub(super) took: Duration,
    /// Shares of it, in thousandths.
    pub(super) shares: Vec<(Pressure, u32)>,
}

/// What stands where a volume is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// Whether something is mounted there; a folder alone is nothing.
    pub mounted: bool,
    /// Whether there is a folder at all.
    pub there: bool,
    /// Every file as a pod would see it.
    pub files: Vec<SeenPrint>,
    /// Why the files could not be read, where they could not.
    pub trouble: Option<String>,
}
