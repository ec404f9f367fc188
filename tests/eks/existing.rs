//! A cluster that is a team's own.

use mountproof::environment::eks::PROVIDER_ADDON;

use crate::{
    site::{Site, USE},
    support::verdicts,
};

#[test]
fn what_a_team_has_is_found_used_and_left_as_it_was() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    let before = (site.everything(), site.objects());
    site.run(&[&USE[..], &["positive", "cross-namespace-denied"]].concat())
        .exits(0)
        .says(&["nothing left behind"]);
    let results = site.place.results();
    for (case, verdict) in verdicts(&results) {
        assert_eq!(verdict, "passed", "{case}");
    }
    let summary = std::fs::read_to_string(site.place.only_run().join("summary.md")).unwrap();
    assert!(
        summary.contains("the EKS add-on"),
        "whose driver it was: {summary}"
    );
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn without_a_driver_nothing_is_made_unless_it_is_asked_for() {
    let site = Site::start();
    site.teams_cluster(&[]);
    let before = (site.everything(), site.objects());
    site.run(&[&USE[..], &["positive"]].concat())
        .exits(3)
        .says(&["--install", "nothing left behind"]);
    assert_eq!((site.everything(), site.objects()), before);

    site.run(&[&USE[..], &["positive", "--install", "--out", "installed"]].concat())
        .exits(0)
        .says(&["nothing left behind"]);
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn a_cluster_that_is_not_there_is_told_with_those_that_are() {
    let site = Site::start();
    site.teams_cluster(&[]);
    site.run(&["run", "--env", "eks", "--cluster-name", "test", "positive"])
        .exits(3)
        .says(&["there is no cluster test in eu-west-1; there are: prod"]);
}
