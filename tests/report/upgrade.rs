//! An upgrade in the middle of a run, in every form of its report.

use mountproof::{
    journal::{Event, EventKind, GapMeasured, Installed, InstalledPart, Phase, PhaseBegan, Verdict},
    report::{ExitCode, RunSummary, html, junit, markdown, outcome, results::Results},
};

use crate::fixture::{Builder, failure};

const CASE: &str = "positive[team-red]";

fn began(phase: Phase, said: &str) -> EventKind {
    EventKind::PhaseBegan(PhaseBegan {
        phase,
        said: said.to_owned(),
        tried: true,
        took_us: 9_000_000,
        installed: (phase != Phase::Before).then(|| Installed {
            parts: vec![InstalledPart {
                part: "driver".to_owned(),
                version: "1.6.0".to_owned(),
                origin: "ours".to_owned(),
                daemon_set: "kube-system/d".to_owned(),
                images: Vec::new(),
                flags: Vec::new(),
                account: "kube-system/a".to_owned(),
                roles: Vec::new(),
                remarks: Vec::new(),
                chart: None,
            }],
            csi_driver: std::collections::BTreeMap::new(),
        }),
    })
}

fn gap(phase: Phase, node: &str, longest_gap_us: u64) -> EventKind {
    EventKind::GapMeasured(GapMeasured {
        phase,
        node: node.to_owned(),
        every_us: 2_000_000,
        started: 20,
        mounted: 19,
        usual_gap_us: 2_100_000,
        longest_gap_us,
        lasting: node == "n1",
    })
}

/// What passed before fails in the middle, and passes again.
fn upgraded() -> Vec<Event> {
    let names = ["before", "during", "after"].map(|phase| format!("{CASE}@{phase}"));
    let cases: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "conformance")).collect();
    let mut builder = Builder::new(&cases);
    builder.environment().tenants();
    builder.push(began(Phase::Before, "driver 1.5.6 to 1.6.0"));
    builder.attempt(&names[0], 1, Verdict::Passed, "fine", None, false);
    builder.push(began(Phase::During, "new on n1, old on n2"));
    builder.push(gap(Phase::During, "n1", 7_400_000));
    builder.push(gap(Phase::During, "n2", 2_200_000));
    builder.attempt(
        &names[1],
        1,
        Verdict::Failed,
        "seen",
        Some(failure("no token in the volume's context", false)),
        false,
    );
    builder.push(began(Phase::After, "new on every node"));
    builder.attempt(&names[2], 1, Verdict::Passed, "fine", None, false);
    builder.teardown(0).finish(1)
}

#[test]
fn what_fails_only_since_the_upgrade_is_said_first() {
    let summary = RunSummary::of(&upgraded()).unwrap();
    assert_eq!(outcome(&summary), ExitCode::ConformanceFailed);
    let said =
        "positive[team-red] passed before the upgrade and failed during it: no token in the volume's context";
    let text = markdown::render(&summary);
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    assert!(at(said) < at("## What did not pass"), "{text}");
    assert!(
        text.contains("| during | ❌ **1 failed** | new on n1, old on n2 |"),
        "{text}"
    );
    let gap = "no mount for at least 7.40 s, to the end, on n1 (usually 2.10 s; a pod every 2.00 s, 1 of 20 never had their secret)";
    assert!(text.contains(gap), "{text}");
    let page = html::render(&summary);
    assert!(page.contains("passed before the upgrade and failed during it"));
    assert!(page.contains("What is installed: "));
}

#[test]
fn phases_are_suites_of_their_own_and_cases_keep_apart() {
    let summary = RunSummary::of(&upgraded()).unwrap();
    let xml = junit::render(&summary);
    for suite in ["before", "during", "after"] {
        assert!(
            xml.contains(&format!(
                "<testsuite name=\"mountproof.conformance@{suite}\" tests=\"1\""
            )),
            "{suite}: {xml}"
        );
    }
    assert!(
        xml.contains("name=\"positive[team-red]@during\" classname=\"mountproof.conformance.positive\""),
        "{xml}"
    );
    let results = Results::of(&summary);
    assert_eq!(results.phases.len(), 3);
    assert_eq!(results.phases[1].gaps.len(), 2);
    assert_eq!(results.phases[0].began.installed, None);
}

#[test]
fn a_gap_of_a_phase_that_never_began_makes_the_run_invalid() {
    let mut builder = Builder::new(&[("a", "conformance")]);
    builder.environment().tenants();
    builder.push(gap(Phase::After, "n1", 1));
    builder.attempt("a", 1, Verdict::Passed, "fine", None, false);
    let summary = RunSummary::of(&builder.teardown(0).finish(0)).unwrap();
    assert_eq!(outcome(&summary), ExitCode::InvalidRun);
}
