//! Watches a refusal from creation to the end of its hold, and has it judged.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    case::{Attempt, judged},
    mounted::Mounted,
    step::{StepError, StepResult},
    workload::{self, LOOK, LiveWorkload, record_access},
};
use crate::{
    journal::Access,
    scenario::model::{Because, Class, Deny},
    verdict::{
        Judgement,
        denial::{Claim, ExpectedReason, Seen, judge},
    },
};

/// Looks into the provider's log, and the pause between two of them: kubelet hands out what was written a moment ago.
const LOG_LOOKS: usize = 4;
const LOG_LOOK: Duration = Duration::from_secs(1);

/// Creates the workload and proves that it is refused.
pub(super) async fn deny(attempt: &mut Attempt<'_>, planned: &Deny, until: Instant) -> StepResult {
    let began = Instant::now();
    workload::create(attempt, &planned.workload).await?;
    let attempt = &*attempt;
    let live = attempt.workload(&planned.workload.name)?;
    let claim = claim(attempt, planned, live)?;
    let mut seen = watch(attempt, live, planned.hold, until).await?;
    seen.control = Some((
        planned.control.clone(),
        attempt.mounted.contains(&planned.control),
    ));
    let mut judgement = judge(&claim, &seen);
    // Where there is no call log the provider's has to tell, and gets here a moment later.
    let mut looks = LOG_LOOKS;
    while seen.calls.is_none()
        && looks > 0
        && matches!(&judgement, Judgement::Broken(failure) if !failure.isolation)
    {
        seen.provider_log = provider_log(attempt, live, began.elapsed()).await?;
        judgement = judge(&claim, &seen);
        looks -= 1;
        if looks > 0 && !matches!(judgement, Judgement::Holds(_)) {
            tokio::time::sleep(LOG_LOOK).await;
        }
    }
    // A refusal for another reason may be the environment's own failure.
    if matches!(&judgement, Judgement::Broken(failure) if !failure.isolation) {
        seen.trouble = attempt.world.trouble().await;
        judgement = judge(&claim, &seen);
    }
    for secret in live.secrets() {
        let access = match &judgement {
            Judgement::Holds(_) => Access::Denied,
            Judgement::Broken(failure) if failure.isolation => Access::Allowed,
            Judgement::Broken(_) | Judgement::Unknown(_) => Access::Unknown,
        };
        record_access(attempt, live.tenant, secret, Access::Denied, access);
    }
    judged(judgement)
}

/// What the provider has written on the nodes of a workload's pods in the last while.
async fn provider_log(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    last: Duration,
) -> Result<Vec<String>, StepError> {
    let world = attempt.world;
    let Some(programs) = &world.environment.logs else {
        return Err(StepError::trouble(
            "no proof: there is no call log, and the provider's log cannot be read",
        ));
    };
    let nodes: Vec<String> = live.pods(world).into_iter().filter_map(|pod| pod.node).collect();
    let logs = programs.window(&nodes, last).await.map_err(StepError::trouble)?;
    let of_provider = logs.iter().filter(|log| log.name == "provider");
    Ok(of_provider
        .flat_map(|log| log.text.lines().map(str::to_owned))
        .collect())
}

/// Watches mount point, pod and events until the hold after the first refusal is over. A file or a
/// ready pod ends it early: nothing that follows would undo that.
async fn watch(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    hold: Duration,
    until: Instant,
) -> Result<Seen, StepError> {
    let world = attempt.world;
    let mut seen = Seen::default();
    let mut files: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut refused_at = None;
    loop {
        for pod in live.pods(world) {
            seen.ready |= pod.ready();
            for file in Mounted::of(world, &pod).files_for_a_while().await? {
                let owner = world.values.owner_of(&file.print).map(|owner| owner.to_string());
                files.insert(file.name, owner);
            }
        }
        seen.refusals = live.refusals(world);
        let now = Instant::now();
        if refused_at.is_none() && !seen.refusals.is_empty() {
            refused_at = Some(now);
        }
        seen.held = refused_at.map_or(Duration::ZERO, |at| now - at);
        if seen.ready || !files.is_empty() || seen.held >= hold || now >= until {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    seen.files = files.into_iter().collect();
    seen.calls = world
        .environment
        .calls
        .as_ref()
        .map(|calls| calls.since(attempt.calls_from));
    Ok(seen)
}

/// The region that must refuse, where what is asked for is denied in the run's own region only.
fn denied_region<'a>(attempt: &Attempt<'a>, live: &LiveWorkload) -> Option<&'a str> {
    let specs = &attempt.case.scenario.tenants;
    let in_one = live.secrets().any(|secret| {
        let denied = specs
            .get(secret.tenant)
            .and_then(|owner| owner.denied_by_secret.get(&secret.secret));
        denied.is_some_and(|denied| denied.primary_region_only && denied.tenants.contains(&live.tenant))
    });
    in_one.then(|| attempt.world.environment.aws.access().region.as_str())
}

/// The scenario's reason in the terms of this case's tenants.
fn claim(attempt: &Attempt<'_>, planned: &Deny, live: &LiveWorkload) -> Result<Claim, StepError> {
    let tenant = attempt
        .tenants
        .get(live.tenant)
        .ok_or_else(StepError::bad_reference)?;
    let asks: Vec<String> = live.asked().map(str::to_owned).collect();
    let mut names = Vec::new();
    for secret in live.secrets() {
        let owner = attempt
            .tenants
            .get(secret.tenant)
            .ok_or_else(StepError::bad_reference)?;
        let secret = owner
            .secret(&secret.secret)
            .ok_or_else(StepError::bad_reference)?;
        names.extend([secret.path.clone(), secret.arn.clone()]);
    }
    let primary = denied_region(attempt, live);
    let reason = match &planned.because {
        Because::Aws {
            error,
            action,
            reason,
        } if action.starts_with("eks-auth:") => ExpectedReason::Exchange {
            error: error.clone(),
            action: action.clone(),
            says: reason.clone(),
            subject: format!("system:serviceaccount:{}:default", tenant.name()),
            secret: names,
        },
        Because::Aws {
            error,
            action,
            reason,
        } if action.starts_with("sts:") => ExpectedReason::Aws {
            error: error.clone(),
            action: action.clone(),
            says: reason.clone(),
            role: tenant.annotated_role().to_owned(),
            asked: Vec::new(),
            secret: Vec::new(),
            region: None,
            subject: Some(format!("system:serviceaccount:{}:default", tenant.name())),
        },
        Because::Aws {
            error,
            action,
            reason,
        } => ExpectedReason::Aws {
            error: error.clone(),
            action: action.clone(),
            says: reason.clone(),
            role: tenant.role().to_owned(),
            asked: asks.clone(),
            secret: names,
            region: primary.map(str::to_owned),
            subject: None,
        },
        Because::Event(text) => ExpectedReason::Event {
            contains: text
                .replace("{namespace}", tenant.name())
                .replace("{class}", &live.class)
                .replace("{serviceAccount}", "default"),
            secret: names,
            role: tenant.role().to_owned(),
        },
    };
    let target = match &planned.workload.class {
        Class::TenantOwn { tenant } if *tenant != planned.workload.tenant => {
            format!(
                "{} through a class of another namespace",
                attempt.target(&planned.workload)
            )
        }
        Class::Made { failover: true, .. } if primary.is_some() => format!(
            "{} (denied in {} but not in {})",
            attempt.target(&planned.workload),
            primary.unwrap_or_default(),
            attempt.world.failover_region()?
        ),
        _ => attempt.target(&planned.workload),
    };
    Ok(Claim {
        tenant: tenant.name().to_owned(),
        target,
        asks,
        reason,
        hold: planned.hold,
    })
}
