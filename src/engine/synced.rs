//! The Kubernetes Secret that the files of a workload are synced into.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{
    case::{Attempt, judged},
    step::StepError,
    workload::{LOOK, LiveWorkload, Value},
};
use crate::{
    kubernetes::SyncedSecret,
    scenario::model::Synced,
    verdict::{
        Judgement, failure,
        files::{SeenFile, differences},
    },
};

/// Longest wait for a Secret after its mount: a driver tries again after 5 s where it has not heard of the pod yet.
const SYNC: Duration = Duration::from_secs(30);

/// The type of every Secret that scenarios ask for.
const OPAQUE: &str = "Opaque";

/// What a settled Secret was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    uid: String,
    version: String,
    owners: Vec<String>,
}

impl Settled {
    fn of(secret: &SyncedSecret) -> Self {
        Self {
            uid: secret.uid.clone(),
            version: secret.version.clone(),
            owners: secret.owners.clone(),
        }
    }
}

/// Waits until the Secret holds what the workload mounts.
pub(super) async fn wait_until_current(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    until: Instant,
) -> Result<(), StepError> {
    let until = until.min(Instant::now() + SYNC);
    loop {
        match check(attempt, live, Synced::Current).await? {
            Judgement::Broken(failure) if Instant::now() >= until => {
                return Err(attempt.world.blame(failure).await);
            }
            Judgement::Broken(failure) if !failure.isolation => tokio::time::sleep(LOOK).await,
            judgement => return judged(judgement).map(drop),
        }
    }
}

/// Judges the Secret as it is now.
pub(super) async fn check(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    what: Synced,
) -> Result<Judgement, StepError> {
    let name = format!("{}/{}", live.namespace, live.class);
    let kubernetes = &attempt.world.environment.kubernetes;
    let Some(secret) = kubernetes.synced_secret(&live.namespace, &live.class).await? else {
        return Ok(Judgement::Broken(failure(format!(
            "the Secret {name} does not exist"
        ))));
    };
    if what == Synced::Unchanged {
        return unchanged(live, &name, &secret);
    }
    let judgement = current(attempt, live, &name, &secret)?;
    if what == Synced::Settled && matches!(judgement, Judgement::Holds(_)) {
        if secret.owners.is_empty() {
            return Ok(Judgement::Broken(failure(format!(
                "the Secret {name} has no owner, so that it would stay for ever"
            ))));
        }
        *live.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Settled::of(&secret));
        return Ok(Judgement::Holds("synced Secret settled".into()));
    }
    Ok(judgement)
}

fn current(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    name: &str,
    secret: &SyncedSecret,
) -> Result<Judgement, StepError> {
    let expected = live.expected(&attempt.tenants, Value::Current)?;
    // Keys of a Secret are as good as files, but that they have no modes.
    let mode = |key: &str| {
        expected
            .iter()
            .find(|file| file.name == *key)
            .map_or(0, |file| file.mode)
    };
    let seen: Vec<SeenFile> = secret
        .data
        .iter()
        .map(|(key, value)| SeenFile {
            name: key.clone(),
            content: value.clone(),
            mode: mode(key),
        })
        .collect();
    let wrong = differences(&expected, &seen);
    if let Some(first) = wrong.first() {
        let mut broken = failure(format!("in the Secret {name}, {}", first.brief()));
        for difference in &wrong {
            broken = broken.fact("difference", difference.0.clone());
        }
        return Ok(Judgement::Broken(broken));
    }
    if secret.kind != OPAQUE {
        return Ok(Judgement::Broken(failure(format!(
            "the Secret {name} is of the type {}, not {OPAQUE}",
            secret.kind
        ))));
    }
    Ok(Judgement::Holds("synced Secret equal".into()))
}

fn unchanged(live: &LiveWorkload, name: &str, secret: &SyncedSecret) -> Result<Judgement, StepError> {
    let settled = live
        .settled
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let settled = settled.ok_or_else(StepError::bad_reference)?;
    let now = Settled::of(secret);
    if now == settled {
        return Ok(Judgement::Holds("synced Secret unchanged".into()));
    }
    let what = if now.uid == settled.uid {
        "was written again, though nothing in it changed"
    } else {
        "was made anew, though nothing in it changed"
    };
    let owners = |owners: &[String]| match owners {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    Ok(Judgement::Broken(
        failure(format!("the Secret {name} {what}"))
            .fact(
                "resourceVersion",
                format!("{}, now {}", settled.version, now.version),
            )
            .fact(
                "owners",
                format!("{}, now {}", owners(&settled.owners), owners(&now.owners)),
            )
            .fact("writers", secret.writers.join(" | ")),
    ))
}
