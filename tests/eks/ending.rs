//! Runs that end before their time: whenever that is, nothing is left in the account.

use mountproof_aws_endpoint::Faults;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::site::{CREATE, Site};

/// Objects that a run with two tenants puts on record, at least: the tests end before that many.
const FEWEST: usize = 25;

#[test]
fn a_run_that_is_interrupted_at_any_object_leaves_nothing() {
    let site = Site::start();
    let mut ended = 0;
    for objects in 1.. {
        let end = format!("interrupt@{objects}");
        let out = format!("out-{objects}");
        let arguments = ["positive", "--end", &end, "--out", &out];
        let run = site.run(&[&CREATE[..], &arguments].concat());
        if run.status().code() == Some(0) {
            // It never came so far.
            break;
        }
        let run = run.exits(130).says(&["nothing left behind"]);
        assert_eq!(site.everything(), Vec::<String>::new(), "{end}{run}");
        site.place.assert_nothing_left();
        ended = objects;
    }
    assert!(ended >= FEWEST, "only {ended} objects were seen");
}

#[test]
fn a_run_that_is_killed_at_any_object_is_finished_by_sweep() {
    let site = Site::start();
    let mut ended = 0;
    for objects in 1.. {
        let end = format!("kill@{objects}");
        let out = format!("out-{objects}");
        let arguments = ["positive", "--end", &end, "--out", &out];
        let run = site.run(&[&CREATE[..], &arguments].concat());
        if run.status().code() == Some(0) {
            break;
        }
        assert_eq!(run.status().code(), None, "it was killed{run}");
        let sweep = site.run(&["sweep", "--reports", &out]).exits(0);
        assert_eq!(site.everything(), Vec::<String>::new(), "{end}{sweep}");
        site.place.assert_nothing_left();
        ended = objects;
    }
    assert!(ended >= FEWEST, "only {ended} objects were seen");
}

/// Runs that end somewhere, drawn from a seed, under an AWS whose answers take some time, so that requests are under way then.
/// `MOUNTPROOF_EKS_RUNS` is how many (24), `MOUNTPROOF_EKS_SEED` where to begin.
#[test]
fn runs_that_end_anywhere_leave_nothing() {
    let number = |name: &str, otherwise: u64| {
        let given = std::env::var(name).ok();
        given.map_or(otherwise, |text| text.parse().unwrap())
    };
    let (runs, first) = (
        number("MOUNTPROOF_EKS_RUNS", 24),
        number("MOUNTPROOF_EKS_SEED", 1),
    );
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                let site = Site::start();
                for seed in (first..first + runs).filter(|seed| seed % 2 == lane) {
                    ends_somewhere(&site, seed);
                }
            });
        }
    });
}

fn ends_somewhere(site: &Site, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let objects = random.random_range(1..=60);
    let how = if random.random_bool(0.5) {
        "interrupt"
    } else {
        "kill"
    };
    let latency = random.random_range(0..40);
    let faults = format!("latency:lognormal:{}ms,1.0", latency.max(1));
    site.endpoint().set_faults(Faults::parse(&faults).unwrap());
    let (end, out) = (format!("{how}@{objects}"), format!("out-{seed}"));
    let arguments = ["positive", "--end", &end, "--out", &out];
    let run = site.run(&[&CREATE[..], &arguments].concat());
    let told = match run.status().code() {
        // It never came so far, or was killed.
        Some(0 | 130) => run,
        None => site.run(&["sweep", "--reports", &out]).exits(0),
        _ => panic!("seed {seed}, {end}{run}"),
    };
    assert_eq!(
        site.everything(),
        Vec::<String>::new(),
        "seed {seed}, {end}, {faults}{told}"
    );
    site.place.assert_nothing_left();
}
