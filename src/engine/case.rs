//! One attempt at one case: its steps in order, evidence when it does not pass, and its own clean-up.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    deny, evidence, expect, load, micros, programs, publish,
    publish::LiveVolume,
    standing,
    step::{StepError, StepResult},
    workload::{self, LiveWorkload},
    world::{CaseTenant, World},
};
use crate::{
    journal::{CaseFinished, EventKind, Fact, Failure, StepFinished, StepStarted, Verdict},
    known::Ended,
    scenario::{
        Case,
        model::{Action, SecretRef, Step},
    },
    verdict::{Finding, Judgement, failure},
};

/// Longest time for the evidence of one case.
const EVIDENCE: Duration = Duration::from_secs(30);
/// Longest time for the clean-up of one case; what it leaves is the run's teardown's.
const CLEAN_UP: Duration = Duration::from_mins(1);

/// How an attempt ended.
pub(super) struct AttemptEnd {
    pub(super) verdict: Verdict,
    pub(super) summary: String,
    pub(super) failure: Option<Failure>,
}

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) world: &'a World,
    pub(super) case: &'a Case,
    pub(super) number: u32,
    /// The case's tenants in the scenario's order.
    pub(super) tenants: Vec<CaseTenant>,
    /// Workloads by the scenario's names, with what they must hold.
    pub(super) workloads: BTreeMap<String, LiveWorkload>,
    /// Volumes that the harness published in kubelet's place, by the scenario's names.
    pub(super) volumes: BTreeMap<String, LiveVolume>,
    /// Mounts that passed: the controls.
    pub(super) mounted: Vec<String>,
    /// When the attempt began.
    pub(super) began: Instant,
    /// The AWS call log's end when it did.
    pub(super) calls_from: u64,
    pub(super) cancelled: CancellationToken,
}

/// Runs one attempt, from its tenants to its clean-up.
pub(super) async fn attempt(
    world: &World,
    case: &Case,
    number: u32,
    cancelled: CancellationToken,
) -> AttemptEnd {
    let mut attempt = Attempt::new(world, case, number, cancelled);
    let end = attempt.part(0..case.scenario.steps.len()).await;
    attempt.leave().await;
    end
}

fn ended(verdict: Verdict, failure: Failure) -> AttemptEnd {
    AttemptEnd {
        verdict,
        summary: failure.headline.clone(),
        failure: Some(failure),
    }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(world: &'a World, case: &'a Case, number: u32, cancelled: CancellationToken) -> Self {
        Self {
            world,
            case,
            number,
            tenants: Vec::new(),
            workloads: BTreeMap::new(),
            volumes: BTreeMap::new(),
            mounted: Vec::new(),
            began: Instant::now(),
            calls_from: world.environment.calls.as_ref().map_or(0, |calls| calls.cursor()),
            cancelled,
        }
    }

    /// Some of its steps, within the scenario's deadline, with evidence where they do not hold.
    pub(super) async fn part(&mut self, steps: Range<usize>) -> AttemptEnd {
        let deadline = self.case.scenario.deadline;
        let world = self.world;
        let restarts = programs::restarts(&world.environment).await;
        let result = tokio::select! {
            result = tokio::time::timeout(deadline, self.run(steps)) => result.unwrap_or_else(|_| {
                Err(StepError::trouble(format!(
                    "the attempt's deadline of {deadline:?} passed"
                )))
            }),
            // Whatever is waited for will not come any more.
            gone = programs::ended(&world.environment) => Err(StepError::trouble(gone)),
        };
        let mut end = match result {
            Ok(summary) => AttemptEnd {
                verdict: Verdict::Passed,
                summary,
                failure: None,
            },
            Err(StepError::Broken(failure)) => match programs::gone(&world.environment) {
                // A value that a tenant should not have had is one, whatever else happened.
                None if failure.isolation => ended(Verdict::Failed, failure),
                None => match programs::restarted_since(&world.environment, &restarts).await {
                    None => ended(Verdict::Failed, failure),
                    Some(restarted) => ended(Verdict::Errored, programs::because(&restarted, failure)),
                },
                // Nothing that comes after the end of a program is a word of its about isolation or mounting.
                Some(gone) => ended(Verdict::Errored, programs::because(&gone, failure)),
            },
            Err(StepError::Trouble(failure)) => ended(Verdict::Errored, failure),
            Err(StepError::Cancelled) => AttemptEnd {
                verdict: Verdict::Skipped,
                summary: "interrupted".to_owned(),
                failure: None,
            },
        };
        if let Some(failure) = &mut end.failure {
            match tokio::time::timeout(EVIDENCE, evidence::collect(self)).await {
                Ok(timeline) => {
                    if let Some(timeline) = timeline {
                        failure.facts.push(Fact {
                            label: "timeline".to_owned(),
                            text: timeline,
                        });
                    }
                }
                Err(_) => world.warn(format!(
                    "evidence of {} was not to be had within {EVIDENCE:?}",
                    self.case.plan.case
                )),
            }
        }
        end
    }

    /// Removes what it made, within the time for that.
    pub(super) async fn leave(&mut self) {
        if tokio::time::timeout(CLEAN_UP, self.clean_up()).await.is_err() {
            self.world.warn(format!(
                "clean-up of {} took more than {CLEAN_UP:?}; teardown will finish it",
                self.case.plan.case
            ));
        }
    }

    async fn run(&mut self, steps: Range<usize>) -> Result<String, StepError> {
        if self.tenants.is_empty() {
            self.tenants = self.world.tenants_of(self.case, self.number).await?;
        }
        let mut said = Vec::new();
        let chosen = &self.case.scenario.steps[steps.clone()];
        for (number, step) in steps.zip(chosen) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let title = self.title(&step.action);
            self.world.record(EventKind::StepStarted(StepStarted {
                case: self.case.plan.case.clone(),
                attempt: self.number,
                step: number,
                title: title.clone(),
            }));
            let began = Instant::now();
            let result = self.step(step).await;
            let (verdict, detail) = match &result {
                Ok(finding) => (Verdict::Passed, finding.detail.clone()),
                Err(StepError::Broken(failure)) => (Verdict::Failed, failure.headline.clone()),
                Err(StepError::Trouble(failure)) => (Verdict::Errored, failure.headline.clone()),
                Err(StepError::Cancelled) => (Verdict::Skipped, "interrupted".to_owned()),
            };
            self.world.record(EventKind::StepFinished(StepFinished {
                case: self.case.plan.case.clone(),
                attempt: self.number,
                step: number,
                title,
                verdict,
                detail,
                took_us: micros(began.elapsed()),
            }));
            said.push(result?);
        }
        Ok(summary(chosen, &said))
    }

    /// One step, within its deadline.
    async fn step(&mut self, step: &Step) -> StepResult {
        let cancelled = self.cancelled.clone();
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(StepError::Cancelled),
            result = self.act(step) => result,
        }
    }

    async fn act(&mut self, step: &Step) -> StepResult {
        let until = Instant::now() + step.within;
        match &step.action {
            Action::Mount(mount) => workload::mount(self, mount, until).await,
            Action::Create(planned) => {
                workload::create(self, planned).await?;
                Ok(format!("{} created", planned.name).into())
            }
            Action::Deny(planned) => deny::deny(self, planned, until).await,
            Action::Update(secret) => self.update(secret).await,
            Action::Scale { workload, replicas } => standing::scale(self, workload, *replicas, until).await,
            Action::Republish { workload, times, due } => {
                standing::republish(self, workload, (*times, *due), until).await
            }
            Action::Delete { workload } => workload::delete(self, workload, until).await,
            Action::Expect(planned) => expect::expect(self, planned, until).await,
            Action::Impostor(planned) => super::impostor::refused(self, planned).await,
            Action::Load(planned) => load::measure(self, planned, until).await,
            Action::Publish(planned) => publish::publish(self, planned, until).await,
            Action::Aws { latency } => publish::aws(self.world, *latency).await,
            Action::Restart(restart) => publish::restart(self.world, restart).await,
        }
    }

    async fn update(&mut self, secret: &SecretRef) -> StepResult {
        let tenant = self
            .tenants
            .get_mut(secret.tenant)
            .ok_or_else(StepError::bad_reference)?;
        self.world.update_secret(tenant, &secret.secret).await?;
        Ok(Finding {
            brief: String::new(),
            detail: format!("{}/{} has a new value", tenant.name(), secret.secret),
        })
    }

    /// What a step does, in the words of its tenants.
    fn title(&self, action: &Action) -> String {
        let tenant = |index: usize| self.tenants.get(index).map_or("?", CaseTenant::name).to_owned();
        match action {
            Action::Mount(mount) => format!(
                "{} mounts {}",
                tenant(mount.workload.tenant),
                self.target(&mount.workload)
            ),
            Action::Create(planned) => format!("create {} in {}", planned.name, tenant(planned.tenant)),
            Action::Deny(deny) => {
                format!(
                    "{} is refused {}",
                    tenant(deny.workload.tenant),
                    self.target(&deny.workload)
                )
            }
            Action::Update(secret) => format!("update {}/{}", tenant(secret.tenant), secret.secret),
            Action::Scale { workload, replicas } => format!("scale {workload} to {replicas}"),
            Action::Republish { workload, times, .. } => format!("publish {workload} again, {times} times"),
            Action::Delete { workload } => format!("delete {workload}"),
            Action::Expect(expect) => expect::title(expect),
            Action::Impostor(impostor) => {
                format!(
                    "AWS refuses {} of {}",
                    impostor.forgery.describe(),
                    tenant(impostor.tenant)
                )
            }
            Action::Load(planned) => load::title(planned),
            Action::Publish(planned) => publish::title(planned, &tenant(planned.tenant)),
            Action::Aws { latency } => publish::aws_title(*latency),
            Action::Restart(restart) => publish::restart_title(restart),
        }
    }

    /// What a workload asks for: `team-red/secret`.
    pub(super) fn target(&self, planned: &crate::scenario::model::Workload) -> String {
        workload::target(&self.tenants, planned)
    }

    /// A workload by the scenario's name for it.
    pub(super) fn workload(&self, name: &str) -> Result<&LiveWorkload, StepError> {
        self.workloads.get(name).ok_or_else(StepError::bad_reference)
    }

    pub(super) fn workload_mut(&mut self, name: &str) -> Result<&mut LiveWorkload, StepError> {
        self.workloads.get_mut(name).ok_or_else(StepError::bad_reference)
    }

    /// The last call of a role that AWS refused in this attempt, in one line.
    pub(super) fn last_refused_call(&self, role: &str) -> Option<String> {
        let calls = self.world.environment.calls.as_ref()?.since(self.calls_from);
        calls
            .iter()
            .rev()
            .find(|call| call.error.is_some() && call.role.as_deref() == Some(role))
            .map(evidence::line)
    }

    /// Removes what the attempt made. What cannot be removed stays in the ledger, and so is tried
    /// again by the run's teardown and reported as left if that fails too.
    async fn clean_up(&mut self) {
        // First: whatever is removed needs the driver, and AWS.
        self.world.calm().await;
        publish::remove_all(self.world, std::mem::take(&mut self.volumes)).await;
        for (_, live) in std::mem::take(&mut self.workloads) {
            live.remove(self.world).await;
        }
        self.world.release(std::mem::take(&mut self.tenants)).await;
    }
}

/// Mounts of one case beyond which they are told as a number.
const MOST_MOUNTS: usize = 2;

/// One line for the terminal: the steps in brief, the most telling ones. A denial is the claim itself,
/// and says that its control was positive.
fn summary(steps: &[Step], said: &[Finding]) -> String {
    let told = |wanted: fn(&Action) -> bool| {
        let steps = steps.iter().zip(said);
        let steps = steps.filter(move |(step, finding)| wanted(&step.action) && !finding.brief.is_empty());
        steps.map(|(_, finding)| finding.brief.clone())
    };
    let mut lines: Vec<String> = told(|action| matches!(action, Action::Deny(_))).collect();
    if lines.is_empty() {
        let mounts = told(|action| matches!(action, Action::Mount(_))).count();
        if mounts > MOST_MOUNTS {
            lines.push(format!("{mounts} mounts, every file byte-exact"));
            lines.extend(told(|action| !matches!(action, Action::Mount(_))));
        } else {
            lines.extend(told(|_| true));
        }
    }
    lines.dedup();
    lines.join("; ")
}

/// A finished attempt, as an event, with the known issue that has to do with it.
pub(super) fn finished(
    world: &World,
    case: &Case,
    attempt: u32,
    end: &AttemptEnd,
    will_retry: bool,
    took: Duration,
) -> CaseFinished {
    let ended = Ended {
        scenario: &case.plan.scenario,
        verdict: end.verdict,
        failure: end.failure.as_ref(),
    };
    let known = world.known(ended);
    CaseFinished {
        case: case.plan.case.clone(),
        attempt,
        verdict: end.verdict,
        summary: end.summary.clone(),
        failure: end.failure.clone(),
        // A pass after a failure is no sign that anything is fixed.
        known: known.filter(|known| known.shows || attempt == 1),
        will_retry,
        took_us: micros(took),
    }
}

/// A judgement as a step's result.
pub(super) fn judged(judgement: Judgement) -> StepResult {
    match judgement {
        Judgement::Holds(finding) => Ok(finding),
        Judgement::Broken(failure) => Err(StepError::Broken(failure)),
        Judgement::Unknown(failure) => Err(StepError::Trouble(failure)),
    }
}

/// The verdict of a case that panicked: a defect of ours, and no word about the product.
pub(super) fn panicked(text: &str) -> AttemptEnd {
    ended(
        Verdict::Errored,
        failure("mountproof itself failed in this case")
            .fact("panic", text)
            .fact("help", "please report this"),
    )
}
