//! PURE: folds a journal's events into what reports show.
//!
//! Every renderer works on [`RunSummary`] alone. The same events give the same summary, so a replayed
//! journal gives the same files to the byte.

mod figures;
mod fold;
mod names;
mod nodes;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::latency::{Latency, Series};
use crate::{
    journal::{
        AccessChecked, CallsCounted, CasePlan, EnvironmentReady, Event, EvidenceCollected, Failure,
        FloorMeasured, GapMeasured, HistogramRecorded, IncidentSeen, Interrupted, KnownIssue, LeftoverFound,
        MeasurementFinished, MeasurementStarted, MountFinished, MountOutcome, NodePressed, PhaseBegan,
        RunFinished, RunStarted, TeardownFinished, TenantReady, Verdict,
    },
    load::statistics::{Stationarity, stationarity},
};

pub use self::{
    fold::Fold,
    names::{evidence_folders, file_name},
    nodes::OnNode,
};

/// A run, as far as its journal tells.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// What was planned, where and with what seed.
    pub run: RunStarted,
    /// When it started.
    pub started_at: Timestamp,
    /// Time to the last event, in microseconds.
    pub took_us: u64,
    /// What stood at each seam; absent when the environment never answered.
    pub environment: Option<EnvironmentReady>,
    /// The parts of an upgrade that began; empty in a run without one.
    pub phases: Vec<PhaseSummary>,
    /// Tenants in the order in which they were ready.
    pub tenants: Vec<TenantReady>,
    /// Every planned case, in the order of the plan.
    pub cases: Vec<CaseSummary>,
    /// What tenants reached, as each step that checks it saw it.
    pub accesses: Vec<AccessChecked>,
    /// What a mount costs at least on this machine.
    pub floor: Option<FloorMeasured>,
    /// The same of each node that agents measured on; `floor` is the slowest's then.
    pub floors: Vec<FloorMeasured>,
    /// What was seen on nodes, by the microseconds from the start of the run.
    pub incidents: Vec<(u64, IncidentSeen)>,
    /// Nodes whose agents told what happens there, by name.
    pub watched: Vec<WatchedNode>,
    /// Measurements in the order in which they began.
    pub measurements: Vec<MeasurementSummary>,
    /// What mounts asked, as often as it was counted.
    pub calls: Vec<CallsCounted>,
    /// What a reader should know that is no verdict.
    pub warnings: Vec<String>,
    /// The signal that asked the run to end.
    pub interrupted: Option<Interrupted>,
    /// What is still there.
    pub leftovers: Vec<LeftoverFound>,
    /// How teardown ended; absent when the run was killed before.
    pub teardown: Option<TeardownFinished>,
    /// The last event; absent when the run was killed, or is still going on.
    pub finished: Option<RunFinished>,
    /// What does not add up: sums, series that cannot be read, events out of place. Any of these
    /// makes the run invalid.
    pub problems: Vec<String>,
}

/// A node whose agent told what happens there. As it is in `results.json` too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Watched",
    description = "A node whose agent told what happens there."
)]
pub struct WatchedNode {
    /// Its name.
    pub node: String,
    /// Volumes of the run's pods that were mounted while it was watched.
    pub mounted: u64,
    /// Those that went.
    pub unmounted: u64,
    /// How often a socket of driver or provider went, came or was replaced.
    pub sockets: u64,
    /// How often its agent was not heard any more.
    pub breaks: usize,
    /// For how long, as far as it was heard again, in microseconds.
    pub unheard_us: u64,
    /// Whether it was not heard at the end.
    pub lost: bool,
    /// What its agent could not see, in words.
    pub blind: Vec<String>,
}

/// A part of an upgrade.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseSummary {
    /// What it began with.
    pub began: PhaseBegan,
    /// How long mounting did not work in the roll-out before it, by node.
    pub gaps: Vec<GapMeasured>,
}

/// A case with all its attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseSummary {
    /// What was planned.
    pub plan: CasePlan,
    /// Folder of its evidence below `evidence/`; unique in the run, fit for a file name.
    pub folder: String,
    /// The verdict over all attempts.
    pub verdict: Verdict,
    /// One line: what was seen.
    pub summary: String,
    /// Of the last attempt that has one.
    pub failure: Option<Failure>,
    /// The known issue that has to do with how it ended.
    pub known: Option<KnownIssue>,
    /// Attempts in order; empty when it was never started.
    pub attempts: Vec<Attempt>,
    /// Time of all attempts, in microseconds.
    pub took_us: u64,
}

/// One attempt at a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// From the start of the run, in microseconds.
    pub started_us: u64,
    /// Wall-clock time of its start.
    pub started_at: Timestamp,
    /// Absent when it never ended.
    pub verdict: Option<Verdict>,
    /// One line: what was seen.
    pub summary: String,
    /// Set when it failed or errored.
    pub failure: Option<Failure>,
    /// The known issue that has to do with it.
    pub known: Option<KnownIssue>,
    /// Steps in order.
    pub steps: Vec<StepSummary>,
    /// What was collected.
    pub evidence: Vec<EvidenceCollected>,
    /// In microseconds.
    pub took_us: u64,
    will_retry: bool,
}

impl Attempt {
    /// Whether what failed is a known issue, and the run is not strict about them.
    #[must_use]
    pub fn excused(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.excused)
    }
}

/// One step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSummary {
    /// From 0.
    pub number: u32,
    /// What it does.
    pub title: String,
    /// Absent when it never ended.
    pub verdict: Option<Verdict>,
    /// What was seen.
    pub detail: String,
    /// From the start of the run, in microseconds.
    pub started_us: u64,
    /// In microseconds.
    pub took_us: u64,
}

/// A verdict in a word, or that there is none.
#[must_use]
pub fn word(verdict: Option<Verdict>) -> String {
    verdict.map_or_else(|| "never ended".to_owned(), |verdict| verdict.to_string())
}

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasurementSummary {
    /// What is measured, and how.
    pub started: MeasurementStarted,
    /// From the start of the run, in microseconds.
    pub started_us: u64,
    /// Wall-clock time of its start.
    pub started_at: Timestamp,
    /// The sums; absent when it never ended.
    pub finished: Option<MeasurementFinished>,
    /// From the start of the run to its end, in microseconds.
    pub finished_us: Option<u64>,
    /// What was seen on nodes while it was under way, by the microseconds from its start.
    pub incidents: Vec<(u64, IncidentSeen)>,
    /// What nodes were short of meanwhile, as far as agents told.
    pub pressed: Vec<NodePressed>,
    /// What a mount costs at least on each node that agents measured on.
    pub floors: Vec<FloorMeasured>,
    /// Every planned mount, in the order of the schedule.
    pub mounts: Vec<MountFinished>,
    /// Slices as recorded, for the `.hlog`.
    pub slices: Vec<HistogramRecorded>,
    /// The merged slices of each tag.
    pub series: Vec<Series>,
}

impl MeasurementSummary {
    /// The merged slices of a tag.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.tag == tag)
    }

    /// Figures of the steady state, which is what a measurement is quoted by.
    #[must_use]
    pub fn steady(&self) -> Option<&Latency> {
        self.tagged("steady").map(|series| &series.latency)
    }

    /// Completed operations per second in the steady state.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        self.tagged("steady")?.per_second
    }

    /// The floor's multiple that the median is. Only the `csi` lens times what the floor is made of.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    pub fn times_floor(&self, floor: Option<&FloorMeasured>) -> Option<f64> {
        let floor = floor.filter(|floor| floor.new_tls_ns > 0 && self.started.lens == "csi")?;
        Some(self.steady()?.value("p50")? as f64 / floor.new_tls_ns as f64)
    }

    /// Whether the mounts after the warm-up took ever longer or shorter, in the order of their planned
    /// starts. Absent for fetches, which are not listed one by one.
    #[must_use]
    pub fn stationarity(&self) -> Option<Stationarity> {
        let warm_up = self.started.parameters.get("warm-up");
        let warm_up = warm_up.and_then(|count| count.parse().ok()).unwrap_or(0);
        let steady = self.mounts.iter().filter(|mount| mount.index >= warm_up);
        let took: Vec<u64> = steady
            .filter(|mount| mount.outcome == MountOutcome::Ok)
            .filter_map(|mount| Some(mount.done_us?.saturating_sub(mount.planned_us)))
            .collect();
        (!took.is_empty()).then(|| stationarity(&took))
    }

    /// What a reader of the figures should know: a generator that came late, values that drifted.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        figures::warnings(self)
    }
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The claim holds.
    pub passed: usize,
    /// Passed after an attempt that did not.
    pub flaky: usize,
    /// A capability is missing.
    pub not_supported: usize,
    /// Selected, but not tried.
    pub skipped: usize,
    /// Does not hold, for a reason that is known.
    pub known_issues: usize,
    /// The harness or its infrastructure could not say.
    pub errored: usize,
    /// The claim does not hold.
    pub failed: usize,
}

impl RunSummary {
    /// Folds a whole journal. [`None`] unless it begins with `EventKind::RunStarted`.
    #[must_use]
    pub fn of(events: &[Event]) -> Option<Self> {
        let mut fold = Fold::default();
        for event in events {
            fold.push(event);
        }
        fold.summary()
    }

    /// Cases by verdict.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.cases.iter().fold(Counts::default(), |mut counts, case| {
            *match case.verdict {
                Verdict::Passed => &mut counts.passed,
                Verdict::Flaky => &mut counts.flaky,
                Verdict::NotSupported => &mut counts.not_supported,
                Verdict::Skipped => &mut counts.skipped,
                Verdict::KnownIssue => &mut counts.known_issues,
                Verdict::Errored => &mut counts.errored,
                Verdict::Failed => &mut counts.failed,
            } += 1;
            counts
        })
    }

    /// Whether a tenant reached what it must not reach, in any attempt: a retry does not undo it. A known issue
    /// that is excused does not count; see [`Self::known_isolation`].
    #[must_use]
    pub fn isolation_failed(&self) -> bool {
        self.cases
            .iter()
            .flat_map(|case| &case.attempts)
            .filter(|attempt| !attempt.excused())
            .filter_map(|attempt| attempt.failure.as_ref())
            .any(|failure| failure.isolation)
    }

    /// The cases in which a tenant reached what it must not reach, and that is a known issue: no failure of the
    /// run, and still what a reader must see first.
    pub fn known_isolation(&self) -> impl Iterator<Item = (&CaseSummary, &KnownIssue)> {
        self.cases.iter().filter_map(|case| {
            let known = case.known.as_ref()?;
            let isolation = case.failure.as_ref().is_some_and(|failure| failure.isolation);
            (isolation && known.excused).then_some((case, known))
        })
    }

    /// Whether the journal ends before its run did.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.finished.is_none()
    }
}
