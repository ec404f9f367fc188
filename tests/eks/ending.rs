//! Runs that end before their time: whenever that is, nothing is left in the account.

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
