//! Which cases run, in which order, and how they are shown.

use serde_json::Value;

use crate::fixture::Place;

/// Verdicts by case, in the order of the report.
fn verdicts(results: &Value) -> Vec<(String, String)> {
    let cases = results["cases"].as_array().unwrap();
    cases
        .iter()
        .map(|case| {
            let text = |key: &str| case[key].as_str().unwrap().to_owned();
            (text("case"), text("verdict"))
        })
        .collect()
}

#[test]
fn after_the_first_failure_fail_fast_starts_nothing() {
    let place = Place::new();
    let end = place
        .run(&[
            "--plant",
            "driver:no-pod-status",
            "--fail-fast",
            "--jobs",
            "1",
            "positive",
            "impostor-refused",
        ])
        .exits(1);
    end.says(&["FAIL", "does not exist"]);
    let verdicts = verdicts(&place.results());
    let count = |wanted: &str| verdicts.iter().filter(|(_, verdict)| verdict == wanted).count();
    assert_eq!((count("failed"), count("skipped")), (1, 4), "{verdicts:?}");
}

#[test]
fn a_name_that_fits_nothing_is_never_an_empty_run() {
    let place = Place::new();
    let end = place.run(&["cross-namespace-dened"]).exits(2);
    end.says(&["cross-namespace-dened", "did you mean", "cross-namespace-denied"]);
    assert!(!place.reports().exists(), "nothing was begun");
}

#[test]
fn one_case_can_be_asked_for() {
    let place = Place::new();
    place.run(&["impostor-refused[with=other-audience]"]).exits(0);
    let verdicts = verdicts(&place.results());
    assert_eq!(
        verdicts,
        [(
            "impostor-refused[with=other-audience]".to_owned(),
            "passed".to_owned()
        )]
    );
}

#[test]
fn a_shuffle_repeats_with_its_seed() {
    let place = Place::new();
    let plan = |seed: &str| {
        place
            .mountproof(&["plan", "--shuffle", "--seed", seed])
            .exits(0)
            .out
    };
    let ordered = place.mountproof(&["plan"]).exits(0).out;
    assert_eq!(plan("5"), plan("5"));
    assert_ne!(plan("5"), plan("6"));
    assert_ne!(plan("5"), ordered);
    let end = place
        .run(&["impostor-refused", "--shuffle", "--seed", "5"])
        .exits(0);
    end.says(&["seed 5"]);
}

#[test]
fn quiet_says_the_end_only_and_failures_whole() {
    let place = Place::new();
    let end = place.run(&["impostor-refused", "--quiet"]).exits(0);
    end.says(&["3 passed", "nothing left behind"]);
    end.must(
        !end.err.contains("PASS") && !end.err.contains("environment"),
        "no more",
    );

    let place = Place::new();
    let end = place
        .run(&[
            "impostor-refused",
            "--quiet",
            "--plant",
            "endpoint:ignore-audience",
        ])
        .exits(4);
    end.says(&[
        "FAIL",
        "impostor-refused[with=other-audience]",
        "isolation failed",
    ]);
    end.must(!end.err.contains("PASS"), "no more");
}

#[test]
fn a_pipe_gets_no_escape_codes_unless_asked_to() {
    let place = Place::new();
    let end = place.run(&["impostor-refused"]).exits(0);
    end.must(
        !end.err.contains('\u{1b}') && !end.out.contains('\u{1b}'),
        "plain text",
    );
    let always = place.mountproof(&["lint", "--color", "always", "."]).finish();
    always.must(
        always.err.contains('\u{1b}') || always.out.contains('\u{1b}'),
        "colours",
    );
}

#[test]
fn more_tenants_than_two_are_named_in_order() {
    let place = Place::new();
    place.run(&["impostor-refused", "--namespaces", "3"]).exits(0);
    let tenants = place.results()["tenants"].to_string();
    for name in ["ns-0001", "ns-0002", "ns-0003"] {
        assert!(tenants.contains(name), "{tenants}");
    }
    place
        .run(&["impostor-refused", "--tenants", "a,b", "--namespaces", "3"])
        .exits(2);
    place.run(&["impostor-refused", "--tenants", "a,a"]).exits(2);
    place
        .run(&["impostor-refused", "--tenants", "Not_A_Name"])
        .exits(2);
}
