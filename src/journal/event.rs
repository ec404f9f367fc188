//! What happened in a run, as a closed set of events: the only input of every report.
//!
//! Durations and offsets are whole microseconds, named `*_us`; sizes are bytes. Nothing in here can
//! hold a secret's value. A field added later must have a serde default, so that older journals
//! still render; [`SCHEMA_VERSION`] is raised when a meaning changes.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    RenderedChart,
    nodes::{NodePressed, NodeSaw},
};
use crate::tenant::Identity;

/// Version of the journal's own format, written into [`RunStarted`].
pub const SCHEMA_VERSION: u32 = 1;

/// One line of `journal.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Position in the journal, from 0, without gaps.
    pub sequence: u64,
    /// Wall-clock time of recording. May step; never subtract two of these.
    pub at: Timestamp,
    /// Monotonic time since the run started. Subtract these.
    pub elapsed_us: u64,
    /// What happened.
    pub event: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EventKind {
    /// First event of every journal.
    RunStarted(RunStarted),
    /// The environment answers and was probed.
    EnvironmentReady(EnvironmentReady),
    /// A part of an upgrade begins: the roll-out before it is done.
    PhaseBegan(PhaseBegan),
    /// How long mounting did not work on a node during a roll-out was measured.
    GapMeasured(GapMeasured),
    /// One tenant stands.
    TenantReady(TenantReady),
    /// A case begins, or begins again.
    CaseStarted(CaseStarted),
    /// A step of a case begins.
    StepStarted(StepStarted),
    /// A step of a case ended.
    StepFinished(StepFinished),
    /// A step saw whether a tenant may reach a secret.
    AccessChecked(AccessChecked),
    /// Something worth reading when a case did not pass.
    EvidenceCollected(EvidenceCollected),
    /// An attempt at a case ended.
    CaseFinished(CaseFinished),
    /// What a mount costs at least on this machine was measured.
    FloorMeasured(FloorMeasured),
    /// A measurement begins.
    MeasurementStarted(MeasurementStarted),
    /// One planned mount of a measurement came to its end.
    MountFinished(MountFinished),
    /// A slice of a measurement's histogram.
    HistogramRecorded(HistogramRecorded),
    /// A measurement ended.
    MeasurementFinished(MeasurementFinished),
    /// What mounts asked of AWS and of Kubernetes was counted.
    CallsCounted(CallsCounted),
    /// Something befell a node, or what runs on it.
    IncidentSeen(IncidentSeen),
    /// The agent on a node saw something there, or the conversation with it broke or was taken up again.
    NodeSaw(NodeSaw),
    /// What a node was short of while a measurement was under way.
    NodePressed(NodePressed),
    /// Something a reader should know that is no verdict.
    WarningRaised(WarningRaised),
    /// A signal asked the run to end.
    Interrupted(Interrupted),
    /// Standing up or taking down went on.
    ProgressMade(ProgressMade),
    /// An object of the run's could not be removed, or was found after teardown.
    LeftoverFound(LeftoverFound),
    /// Teardown ended.
    TeardownFinished(TeardownFinished),
    /// Last event of a journal whose run was not killed.
    RunFinished(RunFinished),
}

/// See [`EventKind::RunStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStarted {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema: u32,
    /// Version of mountproof.
    pub version: String,
    /// Short random id that every object of the run carries.
    pub run_id: String,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// `embedded`, `host`, `kind`, `eks` or `cluster`.
    pub environment: String,
    /// The command line, program name first, as a reader would type it again.
    pub command: Vec<String>,
    /// Where it ran.
    pub machine: Machine,
    /// Names of the run's shared tenants.
    pub tenants: Vec<String>,
    /// Every case that the run means to try, in the order of reports.
    pub cases: Vec<CasePlan>,
}

/// The machine that ran the harness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processors the process may use.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Operating system and kernel release, such as `Linux 6.18.5`.
    pub kernel: String,
}

/// A case as it was planned: one scenario bound to tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CasePlan {
    /// Unique in the run: the scenario's name, then `[..]` when it is bound more than once, as
    /// `positive[team-red]`.
    pub case: String,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's profile.
    pub profile: String,
    /// The claim in one sentence.
    pub description: String,
    /// The scenario's file, relative to the scenarios folder, with `/`.
    pub file: String,
    /// The tenants it is bound to, by the scenario's names for them.
    pub tenants: BTreeMap<String, String>,
    /// Capabilities it needs.
    pub requires: Vec<String>,
    /// The part of an upgrade in which it runs, which its name ends with; absent in a run without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// How its pods get their role, which its name says where that is not `irsa`; absent for that.
    #[serde(default, skip_serializing_if = "is_irsa")]
    pub identity: Identity,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
fn is_irsa(identity: &Identity) -> bool {
    *identity == Identity::Irsa
}

impl CasePlan {
    /// What the case's measurements are called after.
    #[must_use]
    pub fn measured_as(&self) -> String {
        let way = match self.identity {
            Identity::Irsa => String::new(),
            other @ Identity::PodIdentity => format!("-{other}"),
        };
        let phase = self.phase.map_or_else(String::new, |phase| format!("@{phase}"));
        format!("{}{way}{phase}", self.scenario)
    }
}

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

/// See [`EventKind::TenantReady`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantReady {
    /// The tenant's name, which is its namespace too.
    pub tenant: String,
    /// The case it belongs to; absent for a shared tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Role of its `default` `ServiceAccount`.
    pub role_arn: String,
    /// Number of secrets made.
    pub secrets: u32,
    /// Time to provision it.
    pub took_us: u64,
}

/// See [`EventKind::CaseStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseStarted {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
}

/// See [`EventKind::StepStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepStarted {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
    /// From 0.
    pub step: u32,
    /// What it does, such as `team-blue mounts team-blue/secret`.
    pub title: String,
}

/// See [`EventKind::StepFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFinished {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
    /// From 0.
    pub step: u32,
    /// As in [`StepStarted`].
    pub title: String,
    /// `passed`, `failed`, `errored` or `skipped`.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub detail: String,
    /// Time taken.
    pub took_us: u64,
}

/// Whether a tenant reaches a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Its value arrived.
    Allowed,
    /// Refused, with the proof that the scenario asks for.
    Denied,
    /// Neither could be shown.
    Unknown,
}

/// See [`EventKind::AccessChecked`]. One cell of the isolation matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessChecked {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
    /// Who asked: the tenant of the workload.
    pub tenant: String,
    /// Whose secret it asked for.
    pub owner: String,
    /// The secret's name within its tenant.
    pub secret: String,
    /// What must be so: [`Access::Allowed`] or [`Access::Denied`].
    pub expected: Access,
    /// What was seen.
    pub seen: Access,
}

/// See [`EventKind::EvidenceCollected`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceCollected {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1.
    pub attempt: u32,
    /// What it is, such as `pod events` or `AWS call log`.
    pub title: String,
    /// The evidence, secrets already redacted.
    pub text: String,
}

/// How a case, or an attempt at one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The claim holds.
    Passed,
    /// Passed after an attempt that did not. Only ever the verdict of a case, not of an attempt.
    Flaky,
    /// A capability is missing, so the claim cannot be tried here.
    NotSupported,
    /// Selected, but not tried.
    Skipped,
    /// Does not hold, for a reason that is known, in a run that is not strict. Only ever the verdict of a case.
    KnownIssue,
    /// The harness or its infrastructure could not say.
    Errored,
    /// The claim does not hold.
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::KnownIssue => "known-issue",
            Self::NotSupported => "not-supported",
            Self::Skipped => "skipped",
            Self::Errored => "errored",
            Self::Failed => "failed",
        })
    }
}

/// See [`EventKind::CaseFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFinished {
    /// [`CasePlan::case`].
    pub case: String,
    /// From 1; 0 when it was never started (skipped, not supported).
    pub attempt: u32,
    /// Of this attempt: never [`Verdict::Flaky`] or [`Verdict::KnownIssue`], which reports derive.
    pub verdict: Verdict,
    /// One line for the terminal, such as `file byte-exact, 0644, pod status written`.
    pub summary: String,
    /// Set when the verdict is failed or errored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The known issue that has to do with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<KnownIssue>,
    /// Whether another attempt follows.
    pub will_retry: bool,
    /// Time taken.
    pub took_us: u64,
}

/// A known issue of a component's, and whether it shows in how an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIssue {
    /// Unique in its list.
    pub id: String,
    /// What is wrong, in one line.
    pub title: String,
    /// Where it is discussed.
    pub link: String,
    /// `driver` or `provider`.
    pub component: String,
    /// The component's version in this run.
    pub version: String,
    /// The versions that are said to have it.
    pub versions: String,
    /// Why it happens.
    pub reason: String,
    /// Whether it shows. If not, the scenario passed with a version that should not pass it: it is fixed.
    pub shows: bool,
    /// Whether the run's exit code takes no account of it: it shows, and the run is not strict.
    pub excused: bool,
}

/// What, who, why and where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// One sentence, under 200 characters.
    pub headline: String,
    /// A tenant reached what it must not reach.
    pub isolation: bool,
    /// Labelled lines in reading order: `who`, `asked`, `allowed`, `timeline`, `help` ...
    pub facts: Vec<Fact>,
}

/// One labelled line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// A word.
    pub label: String,
    /// A line.
    pub text: String,
}

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

/// See [`EventKind::WarningRaised`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarningRaised {
    /// What, and what to do.
    pub text: String,
}

/// See [`EventKind::ProgressMade`]. For whoever waits: no verdict and no figure depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressMade {
    /// What goes on, in a word: `cluster`, `images`, `driver`, `teardown`.
    pub stage: String,
    /// How far it is, such as `Starting control-plane`, or what it came to.
    pub text: String,
    /// Time that it took, at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
}

/// See [`EventKind::Interrupted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interrupted {
    /// `SIGINT`, `SIGTERM`, or `deadline` for the run's own.
    pub signal: String,
}

/// See [`EventKind::LeftoverFound`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeftoverFound {
    /// Kind and name, such as `iam role demo-team-red-secrets-manager-role`.
    pub object: String,
    /// Why it is still there: finalizers, the error of its removal.
    pub because: String,
}

/// See [`EventKind::TeardownFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeardownFinished {
    /// Objects removed.
    pub removed: u32,
    /// Objects left; each has its [`LeftoverFound`].
    pub left: u32,
    /// Time taken.
    pub took_us: u64,
}

/// See [`EventKind::RunFinished`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFinished {
    /// The process's exit code.
    pub exit_code: u8,
    /// Why, in a word or two: `passed`, `isolation failed`, `invalid run` ...
    pub outcome: String,
    /// Time since the start.
    pub took_us: u64,
    /// Peak resident memory of the harness, which in the embedded environment is everything.
    pub peak_memory_bytes: u64,
}
