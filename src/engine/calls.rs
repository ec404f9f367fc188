//! The step `load: calls`: what mounts ask of AWS and of Kubernetes, call by call.
//!
//! One mount after another, so that nothing overlaps; time decides nothing, so that a figure which changes is a change
//! of the product. A first mount goes uncounted: it opens the connections that the parts then keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    case::Attempt,
    load::{PARALLEL, UNMOUNT, csi_target, remove_statuses},
    step::{StepError, StepResult},
};
use crate::{
    environment::{CallCounts, CallMark, Counted},
    journal::{CallCounted, CallsCounted, EventKind, Failure},
    load::{
        csi_lens::CsiLens,
        run_mounts::{MountJob, MountTarget as _, MountVerdict},
    },
    report::figure,
    scenario::model::CallCount,
    verdict::failure,
};

/// Longest time of one mount.
const MOUNT: Duration = Duration::from_secs(30);
/// Beyond the rotation interval: files' times are as coarse as the kernel's tick.
const BEYOND_ROTATION: Duration = Duration::from_millis(100);
/// How long nothing new must be asked for a phase to be over: parts may ask for something after their answer.
const QUIET: Duration = Duration::from_millis(250);
/// Longest wait for that.
const SETTLED: Duration = Duration::from_secs(5);

/// Calls of one phase.
type Calls = BTreeMap<Counted, u64>;

/// What the step says it does.
pub(super) fn title(planned: &CallCount) -> String {
    format!(
        "count the calls of {} and of {}",
        figure::counted(planned.mounts as usize, "mount"),
        republishes(planned.mounts * planned.republishes),
    )
}

/// Counts, and holds the counts to what the scenario pins.
pub(super) async fn count(attempt: &Attempt<'_>, planned: &CallCount, until: Instant) -> StepResult {
    let world = attempt.world;
    let counts = world.environment.counts.as_deref().ok_or_else(|| {
        StepError::trouble("nobody here counts calls; the scenario must require `call-counts`")
    })?;
    let tenants = world.shared.len();
    let owners: Vec<usize> = (0..=planned.mounts as usize)
        .map(|index| index % tenants)
        .collect();
    let lens = csi_target(world, &attempt.case.plan.case, &owners).await?;
    let counted = tokio::select! {
        counted = phases(attempt, planned, (&lens, counts), &owners, until) => counted,
        () = attempt.cancelled.cancelled() => Err(StepError::Cancelled),
    };
    for leftover in lens.unpublish_all(PARALLEL, UNMOUNT).await {
        world.warn(leftover.to_string());
    }
    remove_statuses(world, &owners).await;

    let event = counted?;
    world.record(EventKind::CallsCounted(event.clone()));
    let wrong = unlike_pinned(&event, planned);
    if wrong.is_empty() {
        let pinned = planned.pinned_mount.len() + planned.pinned_republish.len();
        return Ok(format!(
            "{} and {} counted, {} as pinned",
            figure::counted(event.mounts as usize, "mount"),
            republishes(event.republishes),
            figure::counted(pinned, "figure"),
        )
        .into());
    }
    Err(world.blame(judged(&wrong)).await)
}

/// A number of republishes, in words.
fn republishes(number: u32) -> String {
    let plural = if number == 1 { "" } else { "es" };
    format!("{} republish{plural}", figure::count(u64::from(number)))
}

/// The first mount, the counted ones, and the rounds of republishes.
async fn phases(
    attempt: &Attempt<'_>,
    planned: &CallCount,
    (lens, counts): (&CsiLens, &dyn CallCounts),
    owners: &[usize],
    until: Instant,
) -> Result<CallsCounted, StepError> {
    let rotation = attempt.world.options.environment.rotation;
    let needed = (rotation + BEYOND_ROTATION).saturating_mul(planned.republishes);
    if Instant::now() + needed > until {
        return Err(StepError::trouble(format!(
            "{} at a rotation interval of {rotation:?} take longer than the step may; give it a longer `within`",
            republishes(planned.republishes)
        )));
    }
    mount(attempt, lens, 0, owners[0]).await?;
    settle(counts, &counts.mark()).await?;

    let mark = counts.mark();
    for (index, &owner) in owners.iter().enumerate().skip(1) {
        mount(attempt, lens, index, owner).await?;
    }
    let on_mounts = settle(counts, &mark).await?;

    let mut on_republishes = Calls::new();
    for _ in 0..planned.republishes {
        tokio::time::sleep(rotation + BEYOND_ROTATION).await;
        let mark = counts.mark();
        for (index, &owner) in owners.iter().enumerate().skip(1) {
            mount(attempt, lens, index, owner).await?;
        }
        for (counted, times) in settle(counts, &mark).await? {
            *on_republishes.entry(counted).or_default() += times;
        }
    }

    let seen: BTreeSet<&Counted> = on_mounts.keys().chain(on_republishes.keys()).collect();
    let times = |calls: &Calls, counted: &Counted| calls.get(counted).copied().unwrap_or(0);
    Ok(CallsCounted {
        case: attempt.case.plan.case.clone(),
        attempt: attempt.number,
        mounts: planned.mounts,
        republishes: planned.mounts * planned.republishes,
        rotation_us: super::micros(rotation),
        calls: seen
            .into_iter()
            .map(|counted| CallCounted {
                call: counted.call.clone(),
                by: counted.by.to_owned(),
                on_mounts: times(&on_mounts, counted),
                on_republishes: times(&on_republishes, counted),
            })
            .collect(),
    })
}

/// Mounts, or republishes what is mounted, and looks at the files.
async fn mount(attempt: &Attempt<'_>, lens: &CsiLens, index: usize, tenant: usize) -> Result<(), StepError> {
    let job = MountJob {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        tenant,
        warm_up: index == 0,
        deadline: MOUNT,
    };
    let broken = match lens.mount(job).await.verdict {
        MountVerdict::Ok => return Ok(()),
        MountVerdict::TimedOut => format!("no answer within {MOUNT:?}"),
        MountVerdict::Failed(because) => because,
        MountVerdict::DeniedAsExpected => "denied".to_owned(),
    };
    let broken = failure(format!("mount {index} did not work: {broken}"));
    Err(attempt.world.blame(broken).await)
}

/// What was asked since `mark`, when nothing new is asked any more.
async fn settle(counts: &dyn CallCounts, mark: &CallMark) -> Result<Calls, StepError> {
    let look = || {
        counts.since(mark).ok_or_else(|| {
            StepError::trouble("the call log no longer holds every call that was to be counted")
        })
    };
    let until = Instant::now() + SETTLED;
    let mut seen = look()?;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = look()?;
        if now == seen {
            return Ok(now);
        }
        if Instant::now() >= until {
            return Err(StepError::trouble(format!(
                "driver or provider never stopped asking within {SETTLED:?}: their calls cannot be told by mounts"
            )));
        }
        seen = now;
    }
}

/// PURE: every pinned figure that came out otherwise, as label and line.
fn unlike_pinned(seen: &CallsCounted, planned: &CallCount) -> Vec<(String, String)> {
    let phases = [
        ("mount", &planned.pinned_mount, seen.mounts),
        ("republish", &planned.pinned_republish, seen.republishes),
    ];
    let mut wrong = Vec::new();
    for (phase, pins, number) in phases {
        for (name, &pinned) in pins {
            let total: u64 = seen
                .calls
                .iter()
                .filter(|call| call.call == *name)
                .map(|call| {
                    if phase == "mount" {
                        call.on_mounts
                    } else {
                        call.on_republishes
                    }
                })
                .sum();
            let expected = pinned * u64::from(number);
            if total != expected {
                let text = format!("{name}: {total} in {number}, not {expected} ({pinned} each)");
                wrong.push((phase.to_owned(), text));
            }
        }
    }
    wrong
}

fn judged(wrong: &[(String, String)]) -> Failure {
    let first = wrong
        .first()
        .map(|(phase, text)| format!("calls of a {phase}: {text}"));
    let mut broken = failure(first.unwrap_or_default());
    for (phase, text) in wrong {
        broken = broken.fact(phase, text);
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(call: &str, by: &str, on_mounts: u64, on_republishes: u64) -> CallCounted {
        CallCounted {
            call: call.to_owned(),
            by: by.to_owned(),
            on_mounts,
            on_republishes,
        }
    }

    #[test]
    fn pins_are_held_to_the_sum_over_driver_and_provider_in_each_phase() {
        let seen = CallsCounted {
            case: "c".to_owned(),
            attempt: 1,
            mounts: 10,
            republishes: 20,
            rotation_us: 1_000_000,
            calls: vec![
                counted("secretsmanager:GetSecretValue", "provider", 11, 0),
                counted("tls:kubernetes", "driver", 5, 20),
                counted("tls:kubernetes", "provider", 5, 0),
            ],
        };
        let pins = |pins: &[(&str, u64)]| {
            pins.iter()
                .map(|(name, times)| ((*name).to_owned(), *times))
                .collect()
        };
        let planned = |mount: &[(&str, u64)], republish: &[(&str, u64)]| CallCount {
            mounts: 10,
            republishes: 2,
            pinned_mount: pins(mount),
            pinned_republish: pins(republish),
        };
        let right = planned(
            &[("tls:kubernetes", 1), ("secretsmanager:DescribeSecret", 0)],
            &[("tls:kubernetes", 1), ("secretsmanager:GetSecretValue", 0)],
        );
        assert_eq!(unlike_pinned(&seen, &right), []);
        let wrong = planned(
            &[("secretsmanager:GetSecretValue", 1)],
            &[("secretsmanager:DescribeSecret", 1)],
        );
        let texts: Vec<String> = unlike_pinned(&seen, &wrong)
            .into_iter()
            .map(|(phase, text)| format!("{phase}: {text}"))
            .collect();
        assert_eq!(
            texts,
            [
                "mount: secretsmanager:GetSecretValue: 11 in 10, not 10 (1 each)",
                "republish: secretsmanager:DescribeSecret: 0 in 20, not 20 (1 each)",
            ]
        );
    }
}
