//! What is done to a workload that stands: more pods of it or fewer, and its volumes published again.

use std::time::{Duration, Instant};

use super::{
    case::{Attempt, judged},
    files,
    step::{StepError, StepResult},
    workload::{LiveWorkload, Value},
    world::World,
};
use crate::{
    kubernetes::{ObjectRef, PodView},
    scenario::model::WorkloadKind,
    verdict::{Finding, failure},
};

/// How much longer than a poll interval a republish waits that must not be skipped.
const BEYOND_INTERVAL: Duration = Duration::from_millis(50);

/// Changes how many pods a Deployment has, and waits until it has those and each has its files.
pub(super) async fn scale(
    attempt: &mut Attempt<'_>,
    name: &str,
    replicas: u32,
    until: Instant,
) -> StepResult {
    let world = attempt.world;
    attempt.workload_mut(name)?.kind = WorkloadKind::Deployment(replicas);
    let live = attempt.workload(name)?;
    let deployment = ObjectRef::new("apps/v1", "Deployment", Some(&live.namespace), &live.name);
    let patch = serde_json::json!({ "spec": { "replicas": replicas } });
    world.environment.kubernetes.merge(&deployment, &patch).await?;
    let Some(pods) = pods_of(live, world, replicas as usize, until).await else {
        let tenant = attempt.tenants[live.tenant].name();
        if let Some(trouble) = live.not_started(world, tenant) {
            return Err(world.blame(trouble).await.into_trouble());
        }
        let broken = failure(format!("{name} did not have {replicas} Ready pods in time"))
            .fact("event", live.refusals(world).pop().unwrap_or_default());
        return Err(world.blame(broken).await);
    };
    let tenant = attempt.tenants[live.tenant].name();
    let expected = live.expected(&attempt.tenants, Value::Current)?;
    for pod in &pods {
        let seen = files::settled(world, pod, &expected).await?;
        judged(files::holds(attempt, tenant, name, &expected, &seen))?;
    }
    Ok(Finding {
        brief: String::new(),
        detail: format!("{name} has {replicas} pods"),
    })
}

/// Has kubelet ask the driver again for every pod of a workload, so many times one after another.
pub(super) async fn republish(
    attempt: &mut Attempt<'_>,
    name: &str,
    (times, due): (u32, bool),
    until: Instant,
) -> StepResult {
    let world = attempt.world;
    attempt.workload_mut(name)?.republished += times;
    let live = attempt.workload(name)?;
    let pause = match world.environment.rotation {
        Some(interval) if due => interval + BEYOND_INTERVAL,
        _ => Duration::ZERO,
    };
    let kubelet = world.environment.republish.as_ref();
    let kubelet =
        kubelet.ok_or_else(|| StepError::trouble("kubelet cannot be told to publish again here"))?;
    for time in 1..=times {
        tokio::time::sleep(pause).await;
        for pod in live.pods(world) {
            let asked = tokio::time::timeout_at(until.into(), kubelet.republish(&pod.uid)).await;
            let because = match asked {
                Ok(Ok(())) => continue,
                Ok(Err(because)) => because,
                Err(_) => "no answer in time".to_owned(),
            };
            let broken = failure(format!("{name} was not published again: {because}"))
                .fact("republish", format!("number {time} of {times}"))
                .fact("event", live.refusals(world).pop().unwrap_or_default());
            return Err(world.blame(broken).await);
        }
    }
    Ok(Finding {
        brief: String::new(),
        detail: format!("published {times} times more"),
    })
}

/// Its pods once they are so many and all of them Ready; nothing when they are not in time.
async fn pods_of(live: &LiveWorkload, world: &World, wanted: usize, until: Instant) -> Option<Vec<PodView>> {
    let pods = world.environment.kubernetes.pods();
    let mut pods = pods.of_workload(&live.namespace, &live.name);
    let there = pods.wait_for(|pods| pods.len() == wanted && pods.iter().all(PodView::ready));
    let pods = tokio::time::timeout_at(until.into(), there).await.ok()?.ok()?;
    Some(pods.clone())
}
