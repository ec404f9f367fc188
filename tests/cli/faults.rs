//! What breaks around the product gives no verdict about it, and everything is taken down all the same.

use crate::support::{HELD, Place, verdicts};

/// Every fault under a scenario that needs what it takes away; what must be said.
#[test]
fn what_breaks_around_the_product_is_errored_and_never_failed() {
    let table: [(&str, &[&str]); 4] = [
        (
            "endpoint:dies@1s",
            &[
                "AWS endpoint drops every connection",
                "AWS did not answer in teardown",
            ],
        ),
        (
            "endpoint:clock-step@1s",
            &["jumps an hour ahead", "Signature expired"],
        ),
        (
            "kubernetes:dies@1s",
            &[
                "Kubernetes API server ends",
                "Kubernetes did not answer in teardown",
            ],
        ),
        ("kubelet:no-images", &["its image cannot be pulled", "--image"]),
    ];
    std::thread::scope(|scope| {
        for (fault, words) in table {
            scope.spawn(move || {
                let place = Place::with(&[("held", HELD)]);
                place
                    .run(&["run", "--scenarios", "scenarios", "--fault", fault])
                    .exits(6)
                    .says(words)
                    .says(&["nothing left behind", "exit 6 (inconclusive)"]);
                let results = place.results();
                assert_eq!(
                    verdicts(&results),
                    [("held".to_owned(), "errored".to_owned())],
                    "{fault}"
                );
                assert!(
                    results["environment"]["notes"].to_string().contains(fault),
                    "{fault} is in the report"
                );
                place.assert_nothing_left();
            });
        }
    });
}

fn assert_errored_and_gone(place: &Place) {
    for (case, verdict) in verdicts(&place.results()) {
        assert_eq!(verdict, "errored", "{case}");
    }
    place.assert_nothing_left();
}

#[test]
fn an_endpoint_that_is_gone_at_once_leaves_every_case_errored() {
    let place = Place::new();
    place
        .run(&["run", "positive", "--fault", "endpoint:dies"])
        .exits(6)
        .says(&["not tried: cannot provision the tenants"]);
    assert_errored_and_gone(&place);
}

// Two seconds: after the probes, and before the end of the hold of 3 s, where the case reads the log.
#[test]
fn a_panic_in_a_case_is_errored_and_taken_down() {
    let place = Place::new();
    place
        .run(&["run", "cross-namespace-denied", "--fault", "harness:panics@2s"])
        .exits(6)
        .says(&[
            "mountproof itself failed in this case",
            "please report this",
            "nothing left behind",
        ]);
    assert_errored_and_gone(&place);
}

#[test]
fn a_panic_of_the_engine_between_cases_is_errored_and_taken_down() {
    let place = Place::new();
    place
        .run(&["run", "positive", "--fault", "harness:panics"])
        .exits(3)
        .says(&[
            "mountproof itself failed: task",
            "please report this",
            "nothing left behind",
        ]);
    assert_errored_and_gone(&place);
}

/// A driver that never answers is the product's failure, with what to look at.
#[test]
fn a_pod_whose_mount_is_never_answered_fails_with_evidence() {
    let place = Place::with(&[("held", &HELD.replace("within: 10s", "within: 3s"))]);
    place
        .run(&[
            "run",
            "--scenarios",
            "scenarios",
            "--plant",
            "driver:never-answers",
        ])
        .exits(1)
        .says(&[
            "its pod was not Ready in time",
            "the driver has neither mounted nor refused",
        ]);
    let results = place.results();
    assert_eq!(verdicts(&results)[0].1, "failed");
    assert!(place.only_run().join("evidence").is_dir(), "there is evidence");
    place.assert_nothing_left();
}

#[test]
fn faults_and_plants_that_do_not_exist_are_usage() {
    let place = Place::new();
    for (arguments, why) in [
        (
            ["--fault", "endpoint:explodes"],
            "no such fault; there are: endpoint:dies",
        ),
        (["--fault", "endpoint:dies@soon"], "soon"),
        (
            ["--plant", "driver:explodes"],
            "no such defect; there are: endpoint:skip-token-signature",
        ),
        (["--plant", "endpoint:ignore-resource@once"], "can show once"),
    ] {
        place
            .run(&["run", arguments[0], arguments[1]])
            .exits(2)
            .says(&[why]);
    }
    assert!(place.runs().is_empty());
}
