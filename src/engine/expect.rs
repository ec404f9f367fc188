//! The step `expect`: something must be true of a workload at once, in time, or for a while.

use std::time::Instant;

use super::{
    case::{Attempt, judged},
    fetches, files, logs,
    mounted::Mounted,
    step::{StepError, StepResult},
    synced,
    workload::{self, LOOK, LiveWorkload, Value},
};
use crate::{
    scenario::{
        duration,
        model::{Condition, Expect, Synced, When},
    },
    verdict::{Judgement, failure},
};

/// Checks the condition when it must be true.
pub(super) async fn expect(attempt: &mut Attempt<'_>, planned: &Expect, until: Instant) -> StepResult {
    let attempt = &*attempt;
    let live = attempt.workload(&planned.workload)?;
    let began = Instant::now();
    loop {
        let judgement = check(attempt, live, &planned.condition, until).await?;
        let breach = matches!(&judgement, Judgement::Broken(failure) if failure.isolation);
        let now = Instant::now();
        let end = match planned.when {
            When::Now => true,
            When::Eventually => matches!(judgement, Judgement::Holds(_)) || breach || now >= until,
            When::HoldsFor(hold) => !matches!(judgement, Judgement::Holds(_)) || now - began >= hold,
        };
        if end {
            return match judgement {
                Judgement::Broken(failure) if !failure.isolation => Err(attempt.world.blame(failure).await),
                Judgement::Holds(seen) => Ok(match planned.when {
                    When::Now => seen,
                    When::Eventually if planned.condition == Condition::PodStatus => seen,
                    When::Eventually => {
                        format!("{} after {:.1} s", seen.detail, (now - began).as_secs_f64()).into()
                    }
                    When::HoldsFor(hold) => format!("{} for {}", seen.detail, duration::print(hold)).into(),
                }),
                other => judged(other),
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the step says it does.
pub(super) fn title(planned: &Expect) -> String {
    let when = match planned.when {
        When::Now => String::new(),
        When::Eventually => "eventually ".to_owned(),
        When::HoldsFor(hold) => format!("for {:.1} s ", hold.as_secs_f64()),
    };
    let condition = match &planned.condition {
        Condition::FilesCurrent => "holds the current value".to_owned(),
        Condition::FilesPrevious => "holds the previous value".to_owned(),
        Condition::Unmounted => "has nothing mounted".to_owned(),
        Condition::Event { reason, contains } => format!("has an event {reason} with `{contains}`"),
        Condition::PodStatus => "has its pod status".to_owned(),
        Condition::FetchesLimited => "is not fetched more often than its poll interval allows".to_owned(),
        Condition::LogsClean => "has no token and no value in a log".to_owned(),
        Condition::Synced(Synced::Current) => "has the current value in its Secret".to_owned(),
        Condition::Synced(Synced::Settled) => "has its Secret settled".to_owned(),
        Condition::Synced(Synced::Unchanged) => "has its Secret unchanged".to_owned(),
    };
    format!("{} {when}{condition}", planned.workload)
}

async fn check(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    condition: &Condition,
    until: Instant,
) -> Result<Judgement, StepError> {
    let world = attempt.world;
    let pods = live.pods(world);
    match condition {
        Condition::FilesCurrent | Condition::FilesPrevious => {
            let (value, what) = match condition {
                Condition::FilesCurrent => (Value::Current, "current value"),
                _ => (Value::Previous, "previous value"),
            };
            let tenant = attempt.tenants[live.tenant].name();
            let expected = live.expected(&attempt.tenants, value)?;
            if pods.is_empty() {
                return Ok(Judgement::Broken(failure(format!("{} has no pod", live.name))));
            }
            for pod in &pods {
                let seen = files::settled(world, pod, &expected).await?;
                let judgement = files::holds(attempt, tenant, &live.name, &expected, &seen);
                if !matches!(judgement, Judgement::Holds(_)) {
                    return Ok(judgement);
                }
            }
            Ok(Judgement::Holds(what.into()))
        }
        Condition::Unmounted => {
            for pod in &pods {
                let seen = Mounted::of(world, pod).files().await?;
                if let Some(file) = seen.first() {
                    return Ok(Judgement::Broken(failure(format!("{} is mounted", file.name))));
                }
            }
            let seen = if live.is_deleted() {
                "unmount leaves nothing"
            } else {
                "nothing mounted"
            };
            Ok(Judgement::Holds(seen.into()))
        }
        Condition::Event { reason, contains } => {
            let events = live.events(world);
            let found = events
                .iter()
                .any(|event| event.reason == *reason && event.message.contains(contains.as_str()));
            Ok(if found {
                Judgement::Holds(format!("event {reason}").into())
            } else {
                Judgement::Broken(
                    failure(format!("{} has no event {reason} with `{contains}`", live.name)).fact(
                        "events",
                        events
                            .iter()
                            .map(|event| event.message.clone())
                            .collect::<Vec<_>>()
                            .join(" | "),
                    ),
                )
            })
        }
        Condition::FetchesLimited => fetches::limited(attempt, live),
        Condition::LogsClean => logs::clean(attempt, live).await,
        Condition::Synced(what) => synced::check(attempt, live, *what).await,
        Condition::PodStatus => {
            for pod in &pods {
                let judgement = workload::pod_status(attempt, live, &pod.name, until).await?;
                if !matches!(judgement, Judgement::Holds(_)) {
                    return Ok(judgement);
                }
            }
            Ok(Judgement::Holds("pod status written".into()))
        }
    }
}
