//! PURE: folds a journal's events into what reports show.
//!
//! Every renderer works on [`RunSummary`] alone. The same events give the same summary, so a replayed
//! journal gives the same files to the byte.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::latency::{Latency, Series};
use crate::journal::{
    AccessChecked, CasePlan, EnvironmentReady, Event, EventKind, EvidenceCollected, Failure, FloorMeasured,
    HistogramRecorded, Interrupted, LeftoverFound, MeasurementFinished, MeasurementStarted, MountFinished,
    MountOutcome, RunFinished, RunStarted, TeardownFinished, TenantReady, Verdict,
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
    /// Tenants in the order in which they were ready.
    pub tenants: Vec<TenantReady>,
    /// Every planned case, in the order of the plan.
    pub cases: Vec<CaseSummary>,
    /// What tenants reached, as each step that checks it saw it.
    pub accesses: Vec<AccessChecked>,
    /// What a mount costs at least on this machine.
    pub floor: Option<FloorMeasured>,
    /// Measurements in the order in which they began.
    pub measurements: Vec<MeasurementSummary>,
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
    /// Steps in order.
    pub steps: Vec<StepSummary>,
    /// What was collected.
    pub evidence: Vec<EvidenceCollected>,
    /// In microseconds.
    pub took_us: u64,
    will_retry: bool,
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
    /// Every planned mount, in the order of the schedule.
    pub mounts: Vec<MountFinished>,
    /// Slices as recorded, for the `.hlog`.
    pub slices: Vec<HistogramRecorded>,
    /// The merged slices of each tag.
    pub series: Vec<Series>,
}

impl MeasurementSummary {
    /// Figures of the steady state, which is what a measurement is quoted by.
    #[must_use]
    pub fn steady(&self) -> Option<&Latency> {
        self.series
            .iter()
            .find(|series| series.tag == "steady")
            .map(|series| &series.latency)
    }

    /// Completed operations per second in the steady state.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        self.series
            .iter()
            .find(|series| series.tag == "steady")?
            .per_second
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
    /// The harness or its infrastructure could not say.
    pub errored: usize,
    /// The claim does not hold.
    pub failed: usize,
}

impl RunSummary {
    /// Folds a whole journal. [`None`] unless it begins with [`EventKind::RunStarted`].
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
                Verdict::Errored => &mut counts.errored,
                Verdict::Failed => &mut counts.failed,
            } += 1;
            counts
        })
    }

    /// Whether a tenant reached what it must not reach, in any attempt: a retry does not undo it.
    #[must_use]
    pub fn isolation_failed(&self) -> bool {
        self.cases
            .iter()
            .flat_map(|case| &case.attempts)
            .filter_map(|attempt| attempt.failure.as_ref())
            .any(|failure| failure.isolation)
    }

    /// Whether the journal ends before its run did.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.finished.is_none()
    }
}

/// Folds events one by one; the terminal does it while they come.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    run: Option<(RunStarted, Timestamp)>,
    took_us: u64,
    environment: Option<EnvironmentReady>,
    tenants: Vec<TenantReady>,
    cases: Vec<OpenCase>,
    accesses: Vec<AccessChecked>,
    floor: Option<FloorMeasured>,
    measurements: Vec<MeasurementSummary>,
    warnings: Vec<String>,
    interrupted: Option<Interrupted>,
    leftovers: Vec<LeftoverFound>,
    teardown: Option<TeardownFinished>,
    finished: Option<RunFinished>,
    problems: Vec<String>,
}

#[derive(Debug, Clone)]
struct OpenCase {
    plan: CasePlan,
    /// Of a case that was never started.
    untried: Option<(Verdict, String, Option<Failure>)>,
    attempts: Vec<Attempt>,
}

impl Fold {
    /// Takes the next event.
    pub fn push(&mut self, event: &Event) {
        self.took_us = self.took_us.max(event.elapsed_us);
        if self.finished.is_some() {
            self.problems
                .push(format!("event {} comes after the end of the run", event.sequence));
        }
        match &event.event {
            EventKind::RunStarted(started) => {
                self.cases = started
                    .cases
                    .iter()
                    .map(|plan| OpenCase {
                        plan: plan.clone(),
                        untried: None,
                        attempts: Vec::new(),
                    })
                    .collect();
                self.run = Some((started.clone(), event.at));
            }
            EventKind::EnvironmentReady(ready) => self.environment = Some(ready.clone()),
            EventKind::TenantReady(ready) => self.tenants.push(ready.clone()),
            EventKind::CaseStarted(started) => {
                self.attempt(&started.case, started.attempt, event);
            }
            EventKind::StepStarted(started) => {
                let attempt = self.attempt(&started.case, started.attempt, event);
                attempt.steps.push(StepSummary {
                    number: started.step,
                    title: started.title.clone(),
                    verdict: None,
                    detail: String::new(),
                    started_us: event.elapsed_us,
                    took_us: 0,
                });
            }
            EventKind::StepFinished(finished) => {
                let attempt = self.attempt(&finished.case, finished.attempt, event);
                let ended = StepSummary {
                    number: finished.step,
                    title: finished.title.clone(),
                    verdict: Some(finished.verdict),
                    detail: finished.detail.clone(),
                    started_us: event.elapsed_us.saturating_sub(finished.took_us),
                    took_us: finished.took_us,
                };
                match attempt.steps.iter_mut().find(|step| step.number == finished.step) {
                    Some(step) => *step = ended,
                    None => attempt.steps.push(ended),
                }
            }
            EventKind::AccessChecked(access) => self.accesses.push(access.clone()),
            EventKind::EvidenceCollected(evidence) => {
                self.attempt(&evidence.case, evidence.attempt, event)
                    .evidence
                    .push(evidence.clone());
            }
            EventKind::CaseFinished(finished) if finished.attempt == 0 => {
                let untried = (
                    finished.verdict,
                    finished.summary.clone(),
                    finished.failure.clone(),
                );
                self.case(&finished.case).untried = Some(untried);
            }
            EventKind::CaseFinished(finished) => {
                let attempt = self.attempt(&finished.case, finished.attempt, event);
                attempt.verdict = Some(finished.verdict);
                attempt.summary.clone_from(&finished.summary);
                attempt.failure.clone_from(&finished.failure);
                attempt.took_us = finished.took_us;
                attempt.will_retry = finished.will_retry;
            }
            EventKind::FloorMeasured(floor) => self.floor = Some(floor.clone()),
            EventKind::MeasurementStarted(started) => self.measurements.push(MeasurementSummary {
                started: started.clone(),
                started_us: event.elapsed_us,
                started_at: event.at,
                finished: None,
                mounts: Vec::new(),
                slices: Vec::new(),
                series: Vec::new(),
            }),
            EventKind::MountFinished(mount) => {
                if let Some(measurement) = self.measurement(&mount.measurement, event) {
                    measurement.mounts.push(mount.clone());
                }
            }
            EventKind::HistogramRecorded(slice) => {
                if let Some(measurement) = self.measurement(&slice.measurement, event) {
                    measurement.slices.push(slice.clone());
                }
            }
            EventKind::MeasurementFinished(finished) => {
                if let Some(measurement) = self.measurement(&finished.measurement, event) {
                    measurement.finished = Some(finished.clone());
                }
            }
            EventKind::WarningRaised(warning) => self.warnings.push(warning.text.clone()),
            EventKind::Interrupted(interrupted) => {
                // The first is the reason; a second signal only hurries.
                self.interrupted.get_or_insert_with(|| interrupted.clone());
            }
            EventKind::LeftoverFound(leftover) => self.leftovers.push(leftover.clone()),
            EventKind::TeardownFinished(teardown) => self.teardown = Some(teardown.clone()),
            EventKind::RunFinished(finished) => self.finished = Some(finished.clone()),
        }
    }

    /// The summary so far: what has not ended by now counts as never ended.
    #[must_use]
    pub fn summary(&self) -> Option<RunSummary> {
        let (run, started_at) = self.run.clone()?;
        let mut problems = self.problems.clone();
        let mut measurements = self.measurements.clone();
        for measurement in &mut measurements {
            measurement.mounts.sort_by_key(|mount| mount.index);
            let name = &measurement.started.measurement;
            match Series::merge(&measurement.slices) {
                Ok(series) => measurement.series = series,
                Err(error) => problems.push(format!("{name}: {error}")),
            }
            problems.extend(accounting_problems(measurement));
        }
        if let Some(teardown) = &self.teardown
            && teardown.left as usize != self.leftovers.len()
        {
            let (left, named) = (teardown.left, self.leftovers.len());
            problems.push(format!(
                "teardown: {left} objects are left, but {named} are named"
            ));
        }
        let folders = evidence_folders(self.cases.iter().map(|case| case.plan.case.as_str()));
        let over = self.finished.is_some();
        let cases = self
            .cases
            .iter()
            .zip(folders)
            .map(|(case, folder)| close(case, folder, over))
            .collect();
        Some(RunSummary {
            run,
            started_at,
            took_us: self.took_us,
            environment: self.environment.clone(),
            tenants: self.tenants.clone(),
            cases,
            accesses: self.accesses.clone(),
            floor: self.floor.clone(),
            measurements,
            warnings: self.warnings.clone(),
            interrupted: self.interrupted.clone(),
            leftovers: self.leftovers.clone(),
            teardown: self.teardown.clone(),
            finished: self.finished.clone(),
            problems,
        })
    }

    /// One measurement so far, with its series merged.
    #[must_use]
    pub fn measured(&self, name: &str) -> Option<MeasurementSummary> {
        let mut measurement = self
            .measurements
            .iter()
            .find(|measurement| measurement.started.measurement == name)?
            .clone();
        measurement.series = Series::merge(&measurement.slices).unwrap_or_default();
        Some(measurement)
    }

    /// The floor, when it was measured.
    #[must_use]
    pub fn floor(&self) -> Option<&FloorMeasured> {
        self.floor.as_ref()
    }

    fn case(&mut self, name: &str) -> &mut OpenCase {
        let place = self
            .cases
            .iter()
            .position(|case| case.plan.case == name)
            .unwrap_or_else(|| {
                self.problems.push(format!("case `{name}` was never planned"));
                self.cases.push(OpenCase {
                    plan: unplanned(name),
                    untried: None,
                    attempts: Vec::new(),
                });
                self.cases.len() - 1
            });
        &mut self.cases[place]
    }

    fn attempt(&mut self, case: &str, number: u32, event: &Event) -> &mut Attempt {
        let attempts = &mut self.case(case).attempts;
        let place = attempts
            .iter()
            .position(|attempt| attempt.number == number)
            .unwrap_or_else(|| {
                attempts.push(Attempt {
                    number,
                    started_us: event.elapsed_us,
                    started_at: event.at,
                    verdict: None,
                    summary: String::new(),
                    failure: None,
                    steps: Vec::new(),
                    evidence: Vec::new(),
                    took_us: 0,
                    will_retry: false,
                });
                attempts.len() - 1
            });
        &mut attempts[place]
    }

    fn measurement(&mut self, name: &str, event: &Event) -> Option<&mut MeasurementSummary> {
        let place = self
            .measurements
            .iter()
            .position(|measurement| measurement.started.measurement == name);
        if place.is_none() {
            self.problems.push(format!(
                "event {}: measurement `{name}` was never started",
                event.sequence
            ));
        }
        self.measurements.get_mut(place?)
    }
}

/// Folder names for the evidence of `cases`: letters, digits, `-`, `_` and `.`, and no two alike,
/// not even where a file system ignores case.
pub fn evidence_folders<'a>(cases: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    cases
        .map(|case| {
            let plain = file_name(case);
            let mut name = plain.clone();
            let mut number = 2;
            while !taken.insert(name.to_lowercase()) {
                name = format!("{plain}-{number}");
                number += 1;
            }
            name
        })
        .collect()
}

/// `text` as a file name that needs no quotes in a shell and is no path.
#[must_use]
pub fn file_name(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' => name.push(character),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name.chars().take(100).collect()
    }
}

fn unplanned(case: &str) -> CasePlan {
    CasePlan {
        case: case.to_owned(),
        scenario: case.split('[').next().unwrap_or(case).to_owned(),
        profile: "unplanned".to_owned(),
        description: String::new(),
        file: String::new(),
        tenants: BTreeMap::new(),
        requires: Vec::new(),
    }
}

fn close(case: &OpenCase, folder: String, over: bool) -> CaseSummary {
    let took_us = case.attempts.iter().map(|attempt| attempt.took_us).sum();
    let (verdict, summary, failure) = verdict_of(case, over);
    CaseSummary {
        plan: case.plan.clone(),
        folder,
        verdict,
        summary,
        failure,
        attempts: case.attempts.clone(),
        took_us,
    }
}

fn verdict_of(case: &OpenCase, over: bool) -> (Verdict, String, Option<Failure>) {
    let Some(last) = case.attempts.last() else {
        return case.untried.clone().unwrap_or_else(|| {
            (
                Verdict::Skipped,
                "never started: the run ended before".to_owned(),
                None,
            )
        });
    };
    let ended = last.verdict.filter(|_| !last.will_retry);
    match ended {
        Some(Verdict::Passed) if case.attempts.len() > 1 => (
            Verdict::Flaky,
            format!("{}; passed at attempt {}", last.summary, last.number),
            case.attempts
                .iter()
                .rev()
                .find_map(|attempt| attempt.failure.clone()),
        ),
        Some(verdict) => (verdict, last.summary.clone(), last.failure.clone()),
        None => {
            let who = if over { "the run" } else { "the run was killed: it" };
            let step = last.steps.iter().find(|step| step.verdict.is_none());
            let during = step.map_or_else(String::new, |step| {
                format!(", in step {} ({})", step.number + 1, step.title)
            });
            let headline = format!("{who} ended before this case did{during}");
            // An earlier attempt's finding, an isolation failure above all, is not lost.
            let found = case
                .attempts
                .iter()
                .rev()
                .find_map(|attempt| attempt.failure.clone());
            let failure = found.unwrap_or_else(|| Failure {
                headline: headline.clone(),
                isolation: false,
                facts: Vec::new(),
            });
            (Verdict::Errored, headline, Some(failure))
        }
    }
}

/// What does not add up in a measurement.
fn accounting_problems(measurement: &MeasurementSummary) -> Vec<String> {
    let name = &measurement.started.measurement;
    let Some(finished) = &measurement.finished else {
        return vec![format!(
            "{name}: it never ended, so its operations cannot be accounted for"
        )];
    };
    let mut problems = Vec::new();
    let parts = finished.ok + finished.denied + finished.failed + finished.timed_out + finished.dropped;
    if parts != finished.planned {
        problems.push(format!(
            "{name}: {} planned, but {parts} accounted for ({} ok, {} denied, {} failed, {} timed out, {} dropped)",
            finished.planned, finished.ok, finished.denied, finished.failed, finished.timed_out, finished.dropped
        ));
    }
    // Fetches are counted, not listed; mounts are both.
    if measurement.started.lens == "fetch" && measurement.mounts.is_empty() {
        return problems;
    }
    for (outcome, what, counted) in [
        (MountOutcome::Ok, "ok", finished.ok),
        (MountOutcome::DeniedAsExpected, "denied", finished.denied),
        (MountOutcome::Failed, "failed", finished.failed),
        (MountOutcome::TimedOut, "timed out", finished.timed_out),
        (MountOutcome::Dropped, "dropped", finished.dropped),
    ] {
        let listed = measurement
            .mounts
            .iter()
            .filter(|mount| mount.outcome == outcome)
            .count() as u64;
        if listed != counted {
            problems.push(format!(
                "{name}: {counted} mounts counted as {what}, but {listed} listed"
            ));
        }
    }
    let distinct: BTreeSet<u32> = measurement.mounts.iter().map(|mount| mount.index).collect();
    if distinct.len() != measurement.mounts.len() {
        let twice = measurement.mounts.len() - distinct.len();
        problems.push(format!("{name}: {twice} mounts ended more than once"));
    }
    problems
}
