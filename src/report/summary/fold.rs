//! PURE: events, one by one, into a summary.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Attempt, CaseSummary, MeasurementSummary, PhaseSummary, RunSummary, StepSummary, WatchedNode,
    evidence_folders, figures,
};
use crate::{
    journal::{
        AccessChecked, CallsCounted, CasePlan, EnvironmentReady, Event, EventKind, Failure, FloorMeasured,
        IncidentSeen, Interrupted, LeftoverFound, NodeSaw, NodeSight, RunFinished, RunStarted,
        TeardownFinished, TenantReady, Verdict,
    },
    report::latency::Series,
    tenant::Identity,
};

/// Folds events one by one; the terminal does it while they come.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    run: Option<(RunStarted, Timestamp)>,
    took_us: u64,
    environment: Option<EnvironmentReady>,
    phases: Vec<PhaseSummary>,
    tenants: Vec<TenantReady>,
    cases: Vec<OpenCase>,
    accesses: Vec<AccessChecked>,
    floor: Option<FloorMeasured>,
    /// Of nodes that agents measured on, the latest of each.
    floors: Vec<FloorMeasured>,
    incidents: Vec<(u64, IncidentSeen)>,
    watched: BTreeMap<String, WatchedNode>,
    measurements: Vec<MeasurementSummary>,
    calls: Vec<CallsCounted>,
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
            EventKind::PhaseBegan(began) => self.phases.push(PhaseSummary {
                began: began.clone(),
                gaps: Vec::new(),
            }),
            EventKind::GapMeasured(gap) => {
                let mut phases = self.phases.iter_mut().rev();
                match phases.find(|phase| phase.began.phase == gap.phase) {
                    Some(phase) => phase.gaps.push(gap.clone()),
                    None => self
                        .problems
                        .push(format!("event {} is of a phase that never began", event.sequence)),
                }
            }
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
                attempt.known.clone_from(&finished.known);
                attempt.took_us = finished.took_us;
                attempt.will_retry = finished.will_retry;
            }
            EventKind::FloorMeasured(floor) => {
                if floor.node.is_some() {
                    self.floors.retain(|known| known.node != floor.node);
                    self.floors.push(floor.clone());
                    // A figure of many nodes is held to the slowest of them.
                    let slowest = self.floors.iter().max_by_key(|floor| floor.new_tls_ns);
                    self.floor = slowest.cloned();
                } else {
                    self.floor = Some(floor.clone());
                }
            }
            EventKind::MeasurementStarted(started) => self.measurements.push(MeasurementSummary {
                started: started.clone(),
                started_us: event.elapsed_us,
                started_at: event.at,
                finished: None,
                finished_us: None,
                incidents: Vec::new(),
                pressed: Vec::new(),
                floors: self.floors.clone(),
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
                    measurement.finished_us = Some(event.elapsed_us);
                }
            }
            EventKind::CallsCounted(counted) => self.calls.push(counted.clone()),
            EventKind::IncidentSeen(incident) => self.incidents.push((event.elapsed_us, incident.clone())),
            EventKind::NodeSaw(saw) => self.saw(saw, event.elapsed_us),
            EventKind::NodePressed(pressed) => {
                if let Some(measurement) = self.measurement(&pressed.measurement, event) {
                    measurement.pressed.push(pressed.clone());
                }
            }
            EventKind::WarningRaised(warning) => self.warnings.push(warning.text.clone()),
            // For whoever waits; it is over when a report is read.
            EventKind::ProgressMade(_) => {}
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
        let mut warnings = self.warnings.clone();
        let mut measurements = self.measurements.clone();
        for measurement in &mut measurements {
            measurement.mounts.sort_by_key(|mount| mount.index);
            measurement.incidents = self.incidents_during(measurement);
            measurement
                .pressed
                .sort_by(|one, other| one.node.cmp(&other.node));
            let name = &measurement.started.measurement;
            match Series::merge(&measurement.slices) {
                Ok(series) => measurement.series = series,
                Err(error) => problems.push(format!("{name}: {error}")),
            }
            problems.extend(figures::accounting_problems(measurement));
            warnings.extend(measurement.warnings());
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
            phases: self.phases.clone(),
            tenants: self.tenants.clone(),
            cases,
            accesses: self.accesses.clone(),
            floor: self.floor.clone(),
            floors: self.floors.clone(),
            incidents: self.incidents_in_order(),
            watched: self.watched.values().cloned().collect(),
            measurements,
            calls: self.calls.clone(),
            warnings,
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

    /// What an agent saw, or what became of the conversation with it.
    fn saw(&mut self, saw: &NodeSaw, elapsed_us: u64) {
        if let Some(incident) = saw.incident() {
            self.incidents
                .push((elapsed_us.saturating_sub(saw.ago_us), incident));
        }
        let node = self
            .watched
            .entry(saw.node.clone())
            .or_insert_with(|| WatchedNode {
                node: saw.node.clone(),
                ..WatchedNode::default()
            });
        match &saw.what {
            NodeSight::Watching { blind, .. } => node.blind.clone_from(blind),
            NodeSight::SocketGone { .. }
            | NodeSight::SocketThere { .. }
            | NodeSight::SocketReplaced { .. } => node.sockets += 1,
            NodeSight::Mounted { .. } => node.mounted += 1,
            NodeSight::Unmounted { .. } => node.unmounted += 1,
            NodeSight::Lost { .. } => {
                node.breaks += usize::from(!node.lost);
                node.lost = true;
            }
            NodeSight::Heard { away_us, .. } => {
                node.unheard_us += away_us;
                node.lost = false;
            }
        }
    }

    /// Agents tell a little later than it happens: as it happened.
    fn incidents_in_order(&self) -> Vec<(u64, IncidentSeen)> {
        let mut incidents = self.incidents.clone();
        incidents.sort_by_key(|(at_us, _)| *at_us);
        incidents
    }

    /// What was seen while a measurement was under way, by the time from its start.
    fn incidents_during(&self, measurement: &MeasurementSummary) -> Vec<(u64, IncidentSeen)> {
        let until_us = measurement.finished_us.unwrap_or(u64::MAX);
        let all = self.incidents_in_order().into_iter();
        let during = all.filter(|(at_us, _)| *at_us <= until_us);
        during
            .filter_map(|(at_us, incident)| Some((at_us.checked_sub(measurement.started_us)?, incident)))
            .collect()
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
                    known: None,
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

fn unplanned(case: &str) -> CasePlan {
    CasePlan {
        case: case.to_owned(),
        scenario: case.split('[').next().unwrap_or(case).to_owned(),
        profile: "unplanned".to_owned(),
        description: String::new(),
        file: String::new(),
        tenants: BTreeMap::new(),
        requires: Vec::new(),
        phase: None,
        identity: Identity::Irsa,
    }
}

fn close(case: &OpenCase, folder: String, over: bool) -> CaseSummary {
    let took_us = case.attempts.iter().map(|attempt| attempt.took_us).sum();
    let (verdict, summary, failure) = verdict_of(case, over);
    let mut latest = case.attempts.iter().rev();
    let known = match verdict {
        // A pass does not undo what showed before it, as with the failure.
        Verdict::Flaky => latest.find_map(|attempt| attempt.known.clone()),
        _ => latest.next().and_then(|last| last.known.clone()),
    };
    CaseSummary {
        plan: case.plan.clone(),
        folder,
        verdict,
        summary,
        failure,
        known,
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
        Some(_) if last.excused() => (Verdict::KnownIssue, last.summary.clone(), last.failure.clone()),
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
