//! How often AWS was asked for the secrets of a workload, beside how often it should have been.

use super::{case::Attempt, step::StepError, workload::LiveWorkload};
use crate::{
    scenario::duration,
    verdict::{Judgement, failure},
};

const FETCH: &str = "secretsmanager:GetSecretValue";

/// Judges the calls since the workload was made. A secret is fetched for the first mount, and from then on once for each
/// poll interval that has passed, at most.
pub(super) fn limited(attempt: &Attempt<'_>, live: &LiveWorkload) -> Result<Judgement, StepError> {
    let environment = &attempt.world.environment;
    let calls = environment
        .calls
        .as_ref()
        .ok_or_else(|| StepError::trouble("there is no log of calls to count in"))?;
    let interval = environment
        .rotation
        .ok_or_else(|| StepError::trouble("the driver's poll interval is not known here"))?;
    let tenant = attempt
        .tenants
        .get(live.tenant)
        .ok_or_else(StepError::bad_reference)?;
    let took = live.since.elapsed();
    let asked: Vec<&str> = live.asked().collect();
    let calls = calls.since(attempt.calls_from);
    let fetches = calls.iter().filter(|call| {
        call.action == FETCH
            && call.role.as_deref() == Some(tenant.role())
            && call.asked.as_deref().is_some_and(|name| asked.contains(&name))
    });
    let fetches = fetches.count();
    let each = live.pods(attempt.world).len() * asked.len();
    let passed = took.as_nanos() / interval.as_nanos().max(1);
    let allowed = usize::try_from(passed + 1)
        .unwrap_or(usize::MAX)
        .saturating_mul(each);
    let published = (live.republished as usize + 1).saturating_mul(each);
    let told = |number: usize| match number {
        1 => "once".to_owned(),
        number => format!("{number} times"),
    };
    let interval = duration::print(interval);
    if fetches > allowed {
        return Ok(Judgement::Broken(
            failure(format!(
                "a poll interval of {interval} does not limit rotation: the secret was fetched {} in {:.1} s",
                told(fetches),
                took.as_secs_f64()
            ))
            .fact("allowed", told(allowed))
            .fact("published", told(published)),
        ));
    }
    if published <= allowed {
        return Ok(Judgement::Unknown(failure(format!(
            "nothing was there to be limited: {} published in {:.1} s, where a poll interval of {interval} allows as many fetches",
            told(published),
            took.as_secs_f64()
        ))));
    }
    Ok(Judgement::Holds(
        format!("published {}, fetched {}", told(published), told(fetches)).into(),
    ))
}
