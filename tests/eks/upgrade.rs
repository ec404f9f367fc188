//! `--then` in a cluster that is not a throw-away of this machine: what is the run's is upgraded in its middle, and nothing else.

use serde_json::Value;

use crate::{site::Site, support::verdicts};

/// From one release to the next.
pub(crate) const UPGRADE: [&str; 6] = [
    "--driver-version",
    "1.6.0",
    "--provider-version",
    "3.0.1",
    "--then",
    "driver=1.6.1,provider=3.1.1",
];

#[test]
fn a_cluster_of_the_runs_own_is_upgraded_with_pods_mounted() {
    let site = Site::start();
    site.create(&[&UPGRADE[..], &["positive"]].concat())
        .exits(0)
        .says(&["nothing left behind"]);
    upgraded(&site.place.results());
    site.assert_empty();
}

/// Every case passed in every phase, of which the middle one was half-way on two nodes.
#[track_caller]
pub(crate) fn upgraded(results: &Value) {
    let verdicts = verdicts(results);
    for case in ["kept-mounts[team-red]", "positive[team-blue]"] {
        for phase in ["before", "during", "after"] {
            let name = format!("{case}@{phase}");
            let verdict = verdicts.iter().find(|(case, _)| *case == name);
            let verdict = verdict.map(|(_, verdict)| verdict.as_str());
            assert_eq!(verdict, Some("passed"), "{name}");
        }
    }
    let phases = results["phases"].as_array().unwrap();
    let said = phases[1]["began"]["said"].as_str().unwrap();
    assert!(said.starts_with("new on ") && said.contains("old on "), "{said}");
    let parts = &phases[2]["began"]["installed"]["parts"];
    assert_eq!(
        (&parts[0]["version"], &parts[1]["version"]),
        (&"1.6.1".into(), &"3.1.1".into())
    );
}
