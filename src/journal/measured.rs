//! What was measured and counted, as events.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::{CasePlan, EventKind};

/// See [`EventKind::FloorMeasured`]. Figures divide by it: `4.8 x local floor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FloorMeasured {
    /// The primitives that a mount is made of, in its order.
    pub parts: Vec<FloorPart>,
    /// Median of a whole mount on kept-alive connections, in nanoseconds: the floor of the mechanism.
    pub kept_alive_ns: u64,
    /// Likewise with new TLS connections for every mount, as the AWS provider makes them: the floor of
    /// its design, and what figures are divided by.
    pub new_tls_ns: u64,
    /// Whether tmpfs could be mounted; without, its cost is in neither whole.
    pub tmpfs: bool,
    /// What the csi lens itself adds to the times that it takes: its calls to a driver that answers at once. It is the
    /// harness's, so it is in neither whole. Journals of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_lens: Option<FloorPart>,
    /// The node that it was measured on, where that is not this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// One primitive of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FloorPart {
    /// Such as `gRPC call on a unix socket, 1 KiB`.
    pub name: String,
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile of these samples, in nanoseconds; of a few hundred it is a hint, not a finding.
    pub p99_ns: u64,
    /// Samples taken.
    pub samples: u32,
}

/// See [`EventKind::MeasurementStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurementStarted {
    /// Unique in the run, usable as a file name: `mount-latency.csi`.
    pub measurement: String,
    /// The case that measures.
    pub case: String,
    /// What one value is, such as `NodePublishVolume, from the planned start`.
    pub what: String,
    /// Which lens or none: `csi`, `pod`, `fetch`.
    pub lens: String,
    /// Rate, concurrency, arrival distribution, seed, sizes ..., in reading order by key.
    pub parameters: BTreeMap<String, String>,
}

/// How one planned mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MountOutcome {
    /// Mounted with the right bytes.
    Ok,
    /// Refused, as it should be.
    DeniedAsExpected,
    /// Refused or wrong where it should have worked, or the other way round.
    Failed,
    /// Nothing before the deadline.
    TimedOut,
    /// Never sent: the run ended, or the generator was too far behind.
    Dropped,
}

/// See [`EventKind::MountFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountFinished {
    /// [`MeasurementStarted::measurement`].
    pub measurement: String,
    /// From 0, in the order of the schedule.
    pub index: u32,
    /// Whose pod.
    pub tenant: String,
    /// Planned start, from the start of the measurement.
    pub planned_us: u64,
    /// Actual start, likewise; absent when dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_us: Option<u64>,
    /// End, likewise; absent when dropped. The deadline's end when timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_us: Option<u64>,
    /// How it ended.
    pub outcome: MountOutcome,
    /// Error text when it failed, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The node that it was on, where there is more than one to tell apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// See [`EventKind::HistogramRecorded`]. Values are nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramRecorded {
    /// [`MeasurementStarted::measurement`].
    pub measurement: String,
    /// `warm-up`, `steady`, and series beside the main one: `service-time`, `lateness`, ...
    pub tag: String,
    /// Start of the slice, from the start of the measurement.
    pub start_us: u64,
    /// Its length.
    pub length_us: u64,
    /// `HdrHistogram` V2, deflated, base64: as in a `.hlog` line.
    pub payload: String,
}

/// See [`EventKind::MeasurementFinished`]. The parts sum to `planned`, or the run is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasurementFinished {
    /// [`MeasurementStarted::measurement`].
    pub measurement: String,
    /// Operations planned. Closed-loop measurements plan what they send.
    pub planned: u64,
    /// Ended well.
    pub ok: u64,
    /// Refused as they should be.
    pub denied: u64,
    /// Failed.
    pub failed: u64,
    /// Ran out of time.
    pub timed_out: u64,
    /// Never sent.
    pub dropped: u64,
    /// Sent more than a millisecond after the plan.
    pub late: u64,
    /// Answers that said to slow down.
    pub throttled: u64,
    /// Retries that clients made by themselves.
    pub retries: u64,
    /// Error texts or codes and how often, redacted.
    pub errors: BTreeMap<String, u64>,
    /// From the first planned start to the last end.
    pub took_us: u64,
}

/// See [`EventKind::CallsCounted`]. Exact: nothing in it depends on time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsCounted {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
    /// Mounts, one after another.
    pub mounts: u32,
    /// How often the files of something mounted were refreshed afterwards, all together.
    pub refreshes: u32,
    /// Who sees to that.
    pub refreshed_by: RefreshedBy,
    /// The driver's rotation interval, which had passed before each refresh.
    pub rotation_us: u64,
    /// Every call that was seen, in the order of its name.
    pub calls: Vec<CallCounted>,
    /// Names of calls that could not be counted, where others could.
    pub uncounted: Vec<String>,
}

/// How often one call was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCounted {
    /// Such as `sts:AssumeRoleWithWebIdentity`, `kubernetes:get serviceaccounts` or `tls:aws`.
    pub call: String,
    /// Who made it: `driver` or `provider`.
    pub by: String,
    /// How often, over all mounts.
    pub on_mounts: u64,
    /// How often, over all refreshes.
    pub on_refreshes: u64,
}

/// Who sees to it that the driver asks the provider anew for a running pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshedBy {
    /// Kubelet, which republishes the volume: driver 1.6.0 and later.
    Kubelet,
    /// The driver, every rotation interval: before 1.6.0.
    Driver,
}
