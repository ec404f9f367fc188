//! Decides which case runs when: side by side, measurements alone, attempts in a row.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    case::{self, AttemptEnd},
    world::World,
};
use crate::{
    journal::{CaseStarted, EventKind, Verdict},
    scenario::{Case, model::Action},
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

/// Runs every case to its end. Measurements run alone, after all else, so that nothing shares the
/// machine with them.
pub(super) async fn dispatch(
    world: &Arc<World>,
    cases: Vec<Arc<Case>>,
    how: Dispatch,
    cancelled: &CancellationToken,
) {
    let stop = cancelled.child_token();
    let (alone, together): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| measures(case));
    group(world, together, how.jobs, how, &stop).await;
    group(world, alone, 1, how, &stop).await;
}

async fn group(
    world: &Arc<World>,
    cases: Vec<Arc<Case>>,
    jobs: usize,
    how: Dispatch,
    stop: &CancellationToken,
) {
    let mut waiting = VecDeque::from(cases);
    let mut running: JoinSet<Verdict> = JoinSet::new();
    let mut names: Vec<(Id, Arc<Case>)> = Vec::new();
    loop {
        while running.len() < jobs.max(1) && !stop.is_cancelled() {
            let Some(case) = waiting.pop_front() else { break };
            let task = one(Arc::clone(world), Arc::clone(&case), how, stop.clone());
            names.push((running.spawn(task).id(), case));
        }
        let Some(ended) = running.join_next_with_id().await else {
            break;
        };
        let verdict = match ended {
            Ok((_, verdict)) => verdict,
            Err(error) => panicked(world, &names, &error),
        };
        if how.fail_fast && verdict == Verdict::Failed {
            stop.cancel();
        }
    }
    let because = if how.fail_fast {
        "not started: --fail-fast, or the run was ending"
    } else {
        "not started: the run was ending"
    };
    for case in waiting {
        skip(world, &case, Verdict::Skipped, because);
    }
}

/// All attempts at one case; returns the last one's verdict.
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
        let end = case::attempt(&world, &case, number, stop.clone()).await;
        let again = number < attempts
            && matches!(end.verdict, Verdict::Failed | Verdict::Errored)
            && !stop.is_cancelled();
        world.record(case::finished(&case, number, &end, again, began.elapsed()));
        if !again {
            return end.verdict;
        }
    }
    Verdict::Skipped
}

fn panicked(world: &World, names: &[(Id, Arc<Case>)], error: &JoinError) -> Verdict {
    if let Some((_, case)) = names.iter().find(|(id, _)| *id == error.id()) {
        world.record(case::finished(
            case,
            1,
            &case::panicked(&error.to_string()),
            false,
            std::time::Duration::ZERO,
        ));
    }
    Verdict::Errored
}

fn skip(world: &World, case: &Case, verdict: Verdict, because: &str) {
    let end = AttemptEnd {
        verdict,
        summary: because.to_owned(),
        failure: None,
    };
    world.record(case::finished(case, 0, &end, false, std::time::Duration::ZERO));
}

fn measures(case: &Case) -> bool {
    case.scenario
        .steps
        .iter()
        .any(|step| matches!(step.action, Action::Load(_)))
}
