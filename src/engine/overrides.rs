//! PURE: what the command line says over a scenario's own load.

use std::{sync::Arc, time::Duration};

use super::options::RunOptions;
use crate::scenario::{
    Case,
    model::{Action, Expect, Load, Pace, When},
};

/// Least time for something that should come by itself.
const LEAST_PATIENCE: Duration = Duration::from_secs(20);
/// Time that a measurement takes beyond its schedule: preparing, unmounting.
const AROUND: Duration = Duration::from_mins(3);

/// Applies the overrides to a case, and makes room for them in its deadlines.
pub(super) fn apply(case: &mut Case, options: &RunOptions) {
    let over = &options.load;
    let mut scenario = (*case.scenario).clone();
    for step in &mut scenario.steps {
        if let Action::Expect(Expect {
            when: When::Eventually,
            ..
        }) = &step.action
        {
            step.within = step.within.min(sped_up(step.within, options.embedded.clock));
        }
        let Action::Load(load) = &mut step.action else {
            continue;
        };
        let needed = match load {
            Load::Mounts(mounts) => {
                mounts.pods = over.pods.unwrap_or(mounts.pods);
                mounts.rate = over.rate.unwrap_or(mounts.rate);
                mounts.arrival = over.arrival.unwrap_or(mounts.arrival);
                let lenses = u32::try_from(mounts.lenses.len()).unwrap_or(u32::MAX);
                // Poisson arrivals may take longer than the mean says.
                (mounts.planned() * 2 + mounts.deadline + AROUND) * lenses
            }
            Load::Fetch(fetch) => {
                fetch.duration = over.duration.unwrap_or(fetch.duration);
                if let Some(workers) = over.in_flight {
                    fetch.pace = Pace::InFlight(workers);
                }
                fetch.warm_up + fetch.duration + AROUND
            }
        };
        step.within = step.within.max(needed);
    }
    let steps: Duration = scenario.steps.iter().map(|step| step.within).sum();
    scenario.deadline = scenario.deadline.max(steps);
    case.scenario = Arc::new(scenario);
}

/// What waits for kubelet's beat waits less where that beat is faster, but never so little that a busy
/// machine would be taken for a broken driver.
fn sped_up(within: Duration, clock: f64) -> Duration {
    within.div_f64(clock.max(1.0)).max(LEAST_PATIENCE)
}
