//! Folding, verdicts, sums and exit codes.

use mountproof::{
    journal::{CaseStarted, Event, EventKind, MeasurementFinished, MeasurementStarted, Verdict},
    load::histogram,
    report::{ExitCode, RunSummary, exit, outcome},
};

use crate::fixture::{self, Builder, failure};

fn summary(events: &[Event]) -> RunSummary {
    RunSummary::of(events).unwrap()
}

fn one_case(verdict: Verdict, isolation: bool) -> Builder {
    let mut builder = Builder::new(&[("a", "conformance"), ("b", "conformance")]);
    builder
        .environment()
        .tenants()
        .attempt("b", 1, Verdict::Passed, "fine", None, false);
    let bad = matches!(verdict, Verdict::Failed | Verdict::Errored);
    builder.attempt(
        "a",
        1,
        verdict,
        "seen",
        bad.then(|| failure("wrong", isolation)),
        false,
    );
    builder
}

#[test]
fn the_first_thing_that_is_true_decides_the_exit_code() {
    let cases: Vec<(&str, Vec<Event>, ExitCode)> = vec![
        ("green", fixture::green(20), ExitCode::Passed),
        (
            "failed",
            one_case(Verdict::Failed, false).teardown(0).killed(),
            ExitCode::ConformanceFailed,
        ),
        (
            "errored",
            one_case(Verdict::Errored, false).teardown(0).killed(),
            ExitCode::Inconclusive,
        ),
        (
            "not supported",
            one_case(Verdict::NotSupported, false).teardown(0).killed(),
            ExitCode::Passed,
        ),
        (
            "leftovers over failed",
            one_case(Verdict::Failed, false)
                .leftover("pod x", "finalizers")
                .teardown(1)
                .killed(),
            ExitCode::InvalidRun,
        ),
        (
            "interrupted over leftovers",
            one_case(Verdict::Failed, false)
                .interrupt()
                .leftover("pod x", "finalizers")
                .teardown(1)
                .killed(),
            ExitCode::Interrupted,
        ),
        (
            "isolation over everything",
            one_case(Verdict::Failed, true)
                .interrupt()
                .leftover("pod x", "finalizers")
                .teardown(1)
                .killed(),
            ExitCode::IsolationFailed,
        ),
        (
            "isolation that a retry did not see again",
            Builder::new(&[("a", "isolation")])
                .environment()
                .attempt(
                    "a",
                    1,
                    Verdict::Failed,
                    "read it",
                    Some(failure("read it", true)),
                    true,
                )
                .attempt("a", 2, Verdict::Passed, "denied", None, false)
                .killed(),
            ExitCode::IsolationFailed,
        ),
        (
            "a known issue",
            one_case(Verdict::Failed, false)
                .known(fixture::known_issue(true, true))
                .teardown(0)
                .killed(),
            ExitCode::Passed,
        ),
        (
            "a known issue of isolation",
            one_case(Verdict::Failed, true)
                .known(fixture::known_issue(true, true))
                .teardown(0)
                .killed(),
            ExitCode::Passed,
        ),
        (
            "a known issue in a strict run",
            one_case(Verdict::Failed, false)
                .known(fixture::known_issue(true, false))
                .teardown(0)
                .killed(),
            ExitCode::ConformanceFailed,
        ),
        (
            "a known issue of isolation in a strict run",
            one_case(Verdict::Failed, true)
                .known(fixture::known_issue(true, false))
                .teardown(0)
                .killed(),
            ExitCode::IsolationFailed,
        ),
        (
            "a known issue that makes cases err",
            one_case(Verdict::Errored, false)
                .known(fixture::known_issue(true, true))
                .teardown(0)
                .killed(),
            ExitCode::Passed,
        ),
        (
            "a known issue beside isolation that failed otherwise",
            one_case(Verdict::Failed, true)
                .known(fixture::known_issue(true, true))
                .attempt(
                    "b",
                    2,
                    Verdict::Failed,
                    "read it",
                    Some(failure("read it", true)),
                    false,
                )
                .teardown(0)
                .killed(),
            ExitCode::IsolationFailed,
        ),
        (
            "nothing but a known issue",
            Builder::new(&[("a", "isolation")])
                .environment()
                .attempt(
                    "a",
                    1,
                    Verdict::Failed,
                    "seen",
                    Some(failure("wrong", false)),
                    false,
                )
                .known(fixture::known_issue(true, true))
                .killed(),
            ExitCode::Passed,
        ),
        (
            "no environment",
            Builder::new(&[("a", "conformance")]).teardown(0).killed(),
            ExitCode::EnvironmentUnavailable,
        ),
        (
            "nothing tried",
            Builder::new(&[("a", "isolation")])
                .environment()
                .untried("a", Verdict::NotSupported, "needs iam-enforcement")
                .killed(),
            ExitCode::Inconclusive,
        ),
        (
            "no cases",
            Builder::new(&[]).environment().killed(),
            ExitCode::Inconclusive,
        ),
    ];
    for (name, events, expected) in cases {
        assert_eq!(outcome(&summary(&events)), expected, "{name}");
    }
}

#[test]
fn a_killed_run_is_invalid_unless_it_had_found_worse() {
    assert_eq!(exit::recorded(&summary(&fixture::killed())), ExitCode::InvalidRun);
    let worse = one_case(Verdict::Failed, true).killed();
    assert_eq!(exit::recorded(&summary(&worse)), ExitCode::IsolationFailed);
}

#[test]
fn codes_are_the_documented_numbers() {
    for (code, number) in [
        (ExitCode::Passed, 0),
        (ExitCode::ConformanceFailed, 1),
        (ExitCode::Usage, 2),
        (ExitCode::EnvironmentUnavailable, 3),
        (ExitCode::IsolationFailed, 4),
        (ExitCode::ThresholdMissed, 5),
        (ExitCode::Inconclusive, 6),
        (ExitCode::InvalidRun, 7),
        (ExitCode::Interrupted, 130),
    ] {
        assert_eq!(code.code(), number);
        assert_eq!(ExitCode::from_code(number), Some(code));
    }
    assert_eq!(ExitCode::from_code(99), None);
}

#[test]
fn verdicts_fold_over_attempts() {
    let mixed = summary(&fixture::mixed());
    let verdicts: Vec<Verdict> = mixed.cases.iter().map(|case| case.verdict).collect();
    assert_eq!(
        verdicts,
        [
            Verdict::Passed,
            Verdict::Flaky,
            Verdict::Errored,
            Verdict::Skipped,
            Verdict::Failed,
            Verdict::NotSupported
        ]
    );
    assert_eq!(
        mixed.cases[1].summary,
        "file followed in 1.2 s; passed at attempt 2"
    );
    assert!(
        mixed.cases[1].failure.is_some(),
        "a flaky case tells what went wrong at first"
    );
    assert_eq!(mixed.problems, [""; 0]);
}

#[test]
fn a_killed_run_says_where_it_stood() {
    let killed = summary(&fixture::killed());
    assert!(killed.killed());
    let verdicts: Vec<Verdict> = killed.cases.iter().map(|case| case.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Errored, Verdict::Skipped]);
    assert!(
        killed.cases[1]
            .summary
            .contains("in step 1 (team-blue mounts team-blue/secret)"),
        "{}",
        killed.cases[1].summary
    );
}

#[test]
fn a_case_that_waits_for_another_attempt_has_not_ended() {
    let mut builder = Builder::new(&[("a", "conformance")]);
    builder.environment().attempt(
        "a",
        1,
        Verdict::Failed,
        "stale",
        Some(failure("stale", false)),
        true,
    );
    let case = &summary(&builder.killed()).cases[0];
    assert_eq!(case.verdict, Verdict::Errored);
    assert_eq!(case.failure.as_ref().unwrap().headline, "stale");
}

fn tampered(tamper: impl Fn(&mut Vec<Event>)) -> Vec<String> {
    let mut events = fixture::green(20);
    tamper(&mut events);
    summary(&events).problems
}

#[test]
fn sums_that_do_not_add_up_are_named_and_make_the_run_invalid() {
    let sums_off = |change: fn(&mut MeasurementFinished)| {
        tampered(|events| {
            for event in events {
                if let EventKind::MeasurementFinished(done) = &mut event.event
                    && done.measurement == "mount-latency.csi"
                {
                    change(done);
                }
            }
        })
    };
    assert_eq!(
        sums_off(|done| done.planned += 1),
        [
            "mount-latency.csi: 21 planned, but 20 accounted for (20 ok, 0 denied, 0 failed, 0 timed out, 0 dropped)"
        ]
    );
    assert_eq!(
        sums_off(|done| {
            done.ok -= 1;
            done.failed += 1;
        }),
        [
            "mount-latency.csi: 19 mounts counted as ok, but 20 listed",
            "mount-latency.csi: 1 mounts counted as failed, but 0 listed"
        ]
    );
    let problems = tampered(|events| {
        for event in events {
            if let EventKind::MountFinished(mount) = &mut event.event
                && mount.measurement == "mount-latency.csi"
            {
                mount.index = mount.index.max(1);
            }
        }
    });
    assert_eq!(problems, ["mount-latency.csi: 1 mounts ended more than once"]);
    let problems = tampered(|events| {
        for event in events {
            if let EventKind::HistogramRecorded(slice) = &mut event.event
                && slice.measurement == "fetch-throughput"
            {
                "garbage!".clone_into(&mut slice.payload);
            }
        }
    });
    assert!(
        matches!(problems.as_slice(), [one] if one.starts_with("fetch-throughput: histogram payload is not base64"))
    );
    let problems = tampered(|events| {
        events.retain(|event| !matches!(&event.event, EventKind::MeasurementFinished(done) if done.measurement == "mount-latency.pod"));
    });
    assert_eq!(
        problems,
        ["mount-latency.pod: it never ended, so its operations cannot be accounted for"]
    );
}

#[test]
fn events_out_of_place_are_problems_not_losses() {
    let mut builder = Builder::new(&[("a", "conformance")]);
    builder
        .environment()
        .attempt("surprise", 1, Verdict::Passed, "fine", None, false);
    builder.finish(0);
    builder.push(EventKind::CaseStarted(CaseStarted {
        case: "a".to_owned(),
        attempt: 1,
    }));
    let summary = summary(&builder.killed());
    assert_eq!(summary.cases.len(), 2);
    assert_eq!(summary.problems.len(), 2, "{:?}", summary.problems);
}

/// What is said about a measurement of 500 mounts at 100/s whose target took `service_us`, and which
/// were answered `late_us` after that from the planned start.
fn warned(service_us: u64, late_us: u64) -> Vec<String> {
    let mut builder = Builder::new(&[("mount-latency", "load")]);
    let (mut response, mut service) = (histogram::empty(), histogram::empty());
    response.record_n((service_us + late_us) * 1_000, 500).unwrap();
    service.record_n(service_us * 1_000, 500).unwrap();
    builder.push(EventKind::MeasurementStarted(MeasurementStarted {
        measurement: "mount-latency.csi".to_owned(),
        case: "mount-latency".to_owned(),
        what: String::new(),
        lens: "csi".to_owned(),
        parameters: std::collections::BTreeMap::new(),
    }));
    builder.slice("mount-latency.csi", "steady", 0, &response);
    builder.slice("mount-latency.csi", "service-time", 0, &service);
    builder.push(EventKind::MeasurementFinished(MeasurementFinished {
        measurement: "mount-latency.csi".to_owned(),
        planned: 500,
        ok: 500,
        denied: 0,
        failed: 0,
        timed_out: 0,
        dropped: 0,
        late: 410,
        throttled: 0,
        retries: 0,
        errors: std::collections::BTreeMap::new(),
        took_us: 5_000_000,
    }));
    summary(&builder.killed()).warnings
}

#[test]
fn a_generator_that_came_late_is_told_where_it_moved_a_figure() {
    assert_eq!(warned(4_000, 900), Vec::<String>::new(), "a fifth of the figure");
    assert_eq!(
        warned(40, 400),
        Vec::<String>::new(),
        "less than half a millisecond"
    );
    let told = warned(4_000, 2_000);
    let [told] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        told.starts_with(
            "mount-latency.csi: this machine was too busy to start on time: 410 of 500 starts came late, so that p50 \
             is 6.00 ms from the planned start where the target itself took 4.00 ms"
        ),
        "{told}"
    );
}

#[test]
fn a_measurement_that_drifts_is_told_and_a_steady_one_is_not() {
    let green = summary(&fixture::green(400));
    assert_eq!(green.warnings, Vec::<String>::new());
    let mut events = fixture::green(400);
    for event in &mut events {
        if let EventKind::MountFinished(mount) = &mut event.event
            && mount.measurement == "mount-latency.csi"
            && let Some(done_us) = &mut mount.done_us
        {
            *done_us += u64::from(mount.index) * 30;
        }
    }
    let told = summary(&events).warnings;
    let [told] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        told.starts_with("mount-latency.csi: not steady: the median went from "),
        "{told}"
    );
    assert!(told.contains("a queue grows"), "{told}");
}

#[test]
fn figures_are_refused_where_the_sample_is_too_small() {
    let small = summary(&fixture::green(200));
    let steady = small.measurements[0].steady().unwrap();
    assert_eq!(steady.count(), 200);
    assert!(steady.value("p95").is_some());
    assert_eq!(steady.value("p99"), None);
    let large = summary(&fixture::green(2_000));
    let steady = large.measurements[0].steady().unwrap();
    assert_eq!(steady.count(), 1_995, "dropped mounts have no latency");
    assert!(steady.value("p99").is_some());
    assert!(
        steady
            .curve
            .is_sorted_by(|a, b| a.quantile <= b.quantile && a.value_ns <= b.value_ns)
    );
}
