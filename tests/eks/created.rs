//! A cluster that is made for the run.

use std::fs;

use serde_json::Value;

use crate::{site::Site, support::verdicts};

#[test]
fn a_cluster_is_made_used_and_taken_down() {
    let site = Site::start();
    site.create(&[
        "positive",
        "cross-namespace-denied",
        "--write-kubeconfig",
        "kubeconfig",
    ])
    .exits(0)
    .says(&["nothing left behind"]);
    let results = site.place.results();
    for (case, verdict) in verdicts(&results) {
        assert_eq!(verdict, "passed", "{case}");
    }
    site.assert_empty();
    site.place.assert_nothing_left();
    let kubeconfig = fs::read(site.place.path("kubeconfig")).unwrap();
    let kubeconfig: Value = serde_json::from_slice(&kubeconfig).unwrap();
    assert_eq!(kubeconfig["users"][0]["user"]["exec"]["command"], "aws");
}
