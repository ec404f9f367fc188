//! PURE: what the command line says over a scenario's own load.

use std::{sync::Arc, time::Duration};

use super::options::LoadOverrides;
use crate::scenario::{
    Case, duration,
    model::{Action, Expect, Load, When},
};

/// Least time for something that should come by itself.
const LEAST_PATIENCE: Duration = Duration::from_secs(20);
/// Time that a measurement takes beyond its schedule: preparing, unmounting.
const AROUND: Duration = Duration::from_mins(3);

/// Applies the overrides to a case, and makes room for them in its deadlines. `clock` is how much
/// faster than a real one kubelet waits, `rotation` the driver's interval.
pub(super) fn apply(case: &mut Case, over: &LoadOverrides, clock: f64, rotation: Duration) {
    let mut scenario = (*case.scenario).clone();
    for step in &mut scenario.steps {
        let waits = matches!(
            &step.action,
            Action::Delete { .. }
                | Action::Expect(Expect {
                    when: When::Eventually,
                    ..
                })
        );
        if waits {
            step.within = step.within.min(sped_up(step.within, clock));
        }
        let Action::Load(load) = &mut step.action else {
            continue;
        };
        let needed = match load {
            Load::Mounts(mounts) => {
                mounts.pods = over.pods.unwrap_or(mounts.pods);
                mounts.rate = over.rate.unwrap_or(mounts.rate);
                mounts.pod_rate = over.pod_rate.filter(|_| over.rate.is_none());
                mounts.arrival = over.arrival.unwrap_or(mounts.arrival);
                let lenses = u32::try_from(mounts.lenses.len()).unwrap_or(u32::MAX);
                // Poisson arrivals may take longer than the mean says.
                let one = mounts.planned().saturating_mul(2);
                let one = one.saturating_add(mounts.deadline).saturating_add(AROUND);
                // A rate may be so small that the schedule never ends; the run's own deadline ends it.
                one.saturating_mul(lenses).min(duration::LONGEST)
            }
            Load::Fetch(fetch) => {
                fetch.duration = over.duration.unwrap_or(fetch.duration);
                fetch.pace = over.pace.unwrap_or(fetch.pace);
                fetch.warm_up + fetch.duration + AROUND
            }
            Load::Calls(calls) => rotation
                .saturating_mul(calls.refreshes + 1)
                .saturating_add(AROUND)
                .min(duration::LONGEST),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{
        bind, load,
        model::{Arrival, FetchLoad, Lens, MountLoad, Pace},
        shipped,
    };

    fn overridden(name: &str, over: &LoadOverrides) -> Case {
        let loaded = load(&shipped());
        let binding = bind(
            &loaded.scenarios,
            &["team-red".to_owned(), "team-blue".to_owned()],
        );
        let named = binding.cases.into_iter().find(|case| case.scenario.name == name);
        let mut case = named.expect("it is shipped");
        apply(&mut case, over, 1.0, Duration::from_secs(1));
        case
    }

    fn fetches(case: &Case) -> &FetchLoad {
        match &case.scenario.steps[0].action {
            Action::Load(Load::Fetch(fetch)) => fetch,
            other => panic!("{other:?}"),
        }
    }

    fn mounts(case: &Case) -> &MountLoad {
        match &case.scenario.steps[0].action {
            Action::Load(Load::Mounts(mounts)) => mounts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_said_stays_the_scenarios() {
        let case = overridden("fetch-throughput", &LoadOverrides::default());
        assert_eq!(fetches(&case).pace, Pace::InFlight(8));
        let case = overridden("mount-latency", &LoadOverrides::default());
        assert_eq!(mounts(&case).lenses, [Lens::Csi, Lens::Pod]);
        assert_eq!(
            (mounts(&case).pods, mounts(&case).arrival),
            (100, Arrival::Poisson)
        );
    }

    #[test]
    fn refreshes_are_given_the_time_of_their_rotation_intervals() {
        let within = |rotation| {
            let mut case = overridden("calls-per-mount", &LoadOverrides::default());
            apply(&mut case, &LoadOverrides::default(), 1.0, rotation);
            assert!(case.scenario.deadline >= case.scenario.steps[0].within);
            case.scenario.steps[0].within
        };
        // One more than the two refreshes: the first look of a driver goes uncounted.
        assert_eq!(within(Duration::from_secs(1)), Duration::from_secs(3) + AROUND);
        assert_eq!(within(Duration::from_mins(10)), Duration::from_mins(30) + AROUND);
    }

    #[test]
    fn what_waits_for_kubelet_waits_less_where_it_is_faster() {
        let within = |clock| {
            let mut case = overridden("positive", &LoadOverrides::default());
            apply(&mut case, &LoadOverrides::default(), clock, Duration::ZERO);
            let steps = &case.scenario.steps;
            let delete = steps
                .iter()
                .find(|step| matches!(step.action, Action::Delete { .. }));
            delete.expect("it deletes its pod").within
        };
        assert_eq!(within(1.0), Duration::from_mins(2));
        assert_eq!(within(4.0), Duration::from_secs(30));
        assert_eq!(within(1_000.0), LEAST_PATIENCE);
    }

    #[test]
    fn what_is_said_is_done_and_given_its_time() {
        let over = LoadOverrides {
            pods: Some(10_000),
            rate: Some(10.0),
            pod_rate: Some(0.001),
            arrival: Some(Arrival::Constant),
            duration: Some(Duration::from_mins(10)),
            pace: Some(Pace::PerSecond(250.0)),
        };
        let case = overridden("fetch-throughput", &over);
        assert_eq!(fetches(&case).pace, Pace::PerSecond(250.0));
        assert!(case.scenario.steps[0].within > Duration::from_mins(10));
        let case = overridden("mount-latency", &over);
        assert_eq!(
            (mounts(&case).pods, mounts(&case).arrival),
            (10_000, Arrival::Constant)
        );
        let title = |lens| format!("{}/s", mounts(&case).rate_of(lens));
        assert_eq!(title(Lens::Pod), "10/s", "a rate that is given is every lens's");
        // A thousand seconds for each lens.
        assert!(case.scenario.steps[0].within > Duration::from_secs(2_000));
        assert!(case.scenario.deadline >= case.scenario.steps[0].within);
    }

    #[test]
    fn pods_may_start_more_slowly_than_the_scenario_has_it() {
        let over = LoadOverrides {
            pod_rate: Some(0.5),
            ..LoadOverrides::default()
        };
        let case = overridden("mount-latency", &over);
        let rates = [Lens::Csi, Lens::Pod].map(|lens| mounts(&case).rate_of(lens).to_string());
        assert_eq!(rates, ["50", "0.5"]);
        // 110 pods take 220 s, and so may take twice that.
        assert!(case.scenario.steps[0].within > Duration::from_secs(440));
    }

    #[test]
    fn a_schedule_without_end_has_a_longest_time() {
        let over = LoadOverrides {
            rate: Some(f64::MIN_POSITIVE),
            ..LoadOverrides::default()
        };
        let case = overridden("mount-latency", &over);
        assert_eq!(case.scenario.steps[0].within, duration::LONGEST);
    }
}
