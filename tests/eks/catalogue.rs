//! The whole catalogue in a cluster that is made for the run, with the agent on its nodes.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    site::{CREATE, Site},
    support::{Running, verdicts},
};

/// What nobody has in an account, whatever is made in it, and which cases need it.
const NOT_SUPPORTED: [(&str, &str); 7] = [
    ("calls-per-mount", "needs call-counts"),
    ("expired-token-refused", "needs expired-tokens"),
    ("mount-after-driver-kill[interval=1h]", "needs aws-faults"),
    ("mount-after-driver-kill[interval=off]", "needs aws-faults"),
    ("mount-after-timeout", "needs aws-faults"),
    ("poll-interval-kept", "needs republish"),
    ("synced-secret-republished", "needs republish"),
];

#[test]
fn every_case_passes_that_does_not_need_what_an_account_has_not() {
    let site = Site::start();
    // AWS is at its own hosts, as in an account; how much of its quotas may be taken is not what this is about.
    let mut command = site.command(&[&CREATE[..], &["--max-aws-share", "100%"]].concat());
    command
        .env_remove("AWS_ENDPOINT_URL")
        .env("HTTPS_PROXY", format!("http://{}", site.endpoint().address()))
        .env("NO_PROXY", "127.0.0.1");
    Running::start(command)
        .end_within(Duration::from_mins(5))
        .exits(0)
        .says(&["nothing left behind"]);
    let results = site.place.results();
    let summary = |case: &str| {
        let cases = results["cases"].as_array().unwrap();
        let found = cases.iter().find(|found| found["case"] == case);
        found.unwrap()["summary"].as_str().unwrap().to_owned()
    };
    let lacks = BTreeMap::from(NOT_SUPPORTED);
    let verdicts = verdicts(&results);
    for (case, verdict) in &verdicts {
        match lacks.get(case.as_str()) {
            None => assert_eq!(verdict, "passed", "{case}: {}", summary(case)),
            Some(lacking) => {
                assert_eq!(verdict, "not-supported", "{case}: {}", summary(case));
                assert!(summary(case).starts_with(lacking), "{case}: {}", summary(case));
            }
        }
    }
    let seen = verdicts
        .iter()
        .filter(|(case, _)| lacks.contains_key(case.as_str()));
    assert_eq!(seen.count(), lacks.len(), "each of them is there");
    site.assert_empty();
    site.place.assert_nothing_left();
}
