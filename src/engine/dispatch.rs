//! Decides which case runs when: side by side, measurements alone, attempts in a row.

use std::{any::Any, collections::VecDeque, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    case::{self, AttemptEnd},
    world::World,
};
use crate::{
    journal::{CaseStarted, EventKind, Verdict},
    scenario::Case,
};

/// How cases are dispatched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dispatch {
    /// Cases at once.
    pub(super) jobs: usize,
    /// Overrides the scenarios' retries.
    pub(super) retries: Option<u32>,
    /// Start nothing more after the first failure.
    pub(super) fail_fast: bool,
}

/// Runs every case to its end. Those that need quiet run alone, after all else: measurements, so that nothing shares the
/// machine with them, and what disturbs the node or AWS, which others would notice.
pub(super) async fn dispatch(
    world: &Arc<World>,
    cases: Vec<Arc<Case>>,
    how: Dispatch,
    cancelled: &CancellationToken,
) {
    let stop = cancelled.child_token();
    let (alone, together): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| needs_quiet(case));
    group(world, together, how.jobs, how, (&stop, cancelled)).await;
    group(world, alone, 1, how, (&stop, cancelled)).await;
}

async fn group(
    world: &Arc<World>,
    cases: Vec<Arc<Case>>,
    jobs: usize,
    how: Dispatch,
    (stop, run_ends): (&CancellationToken, &CancellationToken),
) {
    let mut waiting = VecDeque::from(cases);
    let mut running: JoinSet<Verdict> = JoinSet::new();
    loop {
        while running.len() < jobs.max(1) && !stop.is_cancelled() {
            let Some(case) = waiting.pop_front() else { break };
            running.spawn(one(Arc::clone(world), case, how, stop.clone()));
        }
        let Some(ended) = running.join_next().await else {
            break;
        };
        if let Err(error) = &ended {
            world.warn(format!(
                "mountproof itself failed between cases: {error}; please report this"
            ));
        }
        if how.fail_fast && matches!(ended, Ok(Verdict::Failed)) {
            stop.cancel();
        }
    }
    let because = if run_ends.is_cancelled() {
        "not started: the run was ending"
    } else {
        "not started: --fail-fast, and a case had failed"
    };
    for case in waiting {
        skip(world, &case, Verdict::Skipped, because);
    }
}

/// All attempts at one case; returns the last one's verdict, or that it is excused.
async fn one(world: Arc<World>, case: Arc<Case>, how: Dispatch, stop: CancellationToken) -> Verdict {
    if let Some(missing) = world.missing_capability(&case) {
        skip(&world, &case, Verdict::NotSupported, &missing);
        return Verdict::NotSupported;
    }
    let attempts = how.retries.unwrap_or(case.scenario.retries).saturating_add(1);
    for number in 1..=attempts {
        world.record(EventKind::CaseStarted(CaseStarted {
            case: case.plan.case.clone(),
            attempt: number,
        }));
        let began = Instant::now();
        // A panic ends its attempt and no other; what the attempt made is teardown's to remove.
        let end = AssertUnwindSafe(case::attempt(&world, &case, number, stop.clone()))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| case::panicked(said(panic.as_ref())));
        let again = number < attempts
            && matches!(end.verdict, Verdict::Failed | Verdict::Errored)
            && !stop.is_cancelled();
        // A panic left it to us.
        world.calm().await;
        let finished = case::finished(&world, &case, number, &end, again, began.elapsed());
        let excused = finished.known.as_ref().is_some_and(|known| known.excused);
        world.record(EventKind::CaseFinished(finished));
        if !again {
            return if excused { Verdict::KnownIssue } else { end.verdict };
        }
    }
    Verdict::Skipped
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Ends a case that is not tried.
pub(super) fn skip(world: &World, case: &Case, verdict: Verdict, because: &str) {
    let end = AttemptEnd {
        verdict,
        summary: because.to_owned(),
        failure: None,
    };
    let finished = case::finished(world, case, 0, &end, false, std::time::Duration::ZERO);
    world.record(EventKind::CaseFinished(finished));
}

fn needs_quiet(case: &Case) -> bool {
    case.scenario.steps.iter().any(|step| step.action.needs_quiet())
}
