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
    CallsCounted, EnvironmentReady, FloorMeasured, GapMeasured, HistogramRecorded, IncidentSeen,
    MeasurementFinished, MeasurementStarted, MountFinished, NodePressed, NodeSaw, Phase, PhaseBegan,
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
