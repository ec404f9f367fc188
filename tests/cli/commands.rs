//! Every command that runs nothing, and the help of all of them.

use std::{fs, path::Path};

use crate::fixture::Place;

#[test]
fn help_teaches() {
    let place = Place::new();
    for command in [
        "", "run", "list", "plan", "lint", "report", "sweep", "doctor", "explain", "schema",
    ] {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        let help = place.mountproof(&arguments).exits(0);
        insta::assert_snapshot!(format!("help-{command}"), help.out);
    }
}

#[test]
fn a_wrong_argument_is_usage() {
    let place = Place::new();
    for arguments in [
        &["run", "--nmespaces", "3"][..],
        &["run", "--plant", "no-such-defect"],
        &["run", "--rate", "0"],
        &["run", "--fetch-for", "soon"],
        &["no-such-command"],
        &[],
    ] {
        let end = place.mountproof(arguments).exits(2);
        end.must(!end.err.is_empty(), "a word about it");
    }
    assert!(!place.reports().exists(), "nothing was begun");
}

#[test]
fn list_and_plan_name_every_case() {
    let place = Place::new();
    let list = place.mountproof(&["list"]).exits(0).out;
    let plan = place.mountproof(&["plan"]).exits(0).out;
    for case in [
        "positive[team-red]",
        "cross-namespace-denied[team-blue]",
        "mount-latency",
    ] {
        assert!(list.contains(case), "{list}");
        assert!(plan.contains(case), "{plan}");
    }
    assert!(plan.contains("team-red-secrets-manager-policy"), "{plan}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let script = format!(
        "set -o pipefail; {} list | head -1",
        env!("CARGO_BIN_EXE_mountproof")
    );
    place.program("bash", &["-c", &script]).exits(0);
}

#[test]
fn broken_scenarios_are_all_pointed_at_and_not_run() {
    let place = Place::new();
    let folder = place.path().join("mine/isolation");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("empty.yaml"), "").unwrap();
    let shipped =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/isolation/cross-namespace-denied.yaml");
    let typo = fs::read_to_string(shipped)
        .unwrap()
        .replace("kind: Scenario", "kind: Scenaro");
    fs::write(
        folder.join("typo.yaml"),
        typo.replace("secret: red/secret", "secret: red/secrets"),
    )
    .unwrap();
    for arguments in [&["lint", "mine"][..], &["run", "--scenarios", "mine"]] {
        let end = place.mountproof(arguments).exits(2);
        let said = format!("{}{}", end.out, end.err);
        end.must(
            said.contains("empty.yaml:1:1")
                && ["typo.yaml:3:7", "typo.yaml:17:15"]
                    .iter()
                    .all(|place| said.contains(place)),
            "every place",
        );
        end.must(said.contains("did you mean"), "what to do");
    }
    assert!(!place.reports().exists(), "nothing was begun");
}

#[test]
fn a_report_of_nothing_is_usage() {
    let place = Place::new();
    place.mountproof(&["report"]).exits(2).says(&["error: cannot"]);
    fs::write(place.path().join("journal.jsonl"), "not a journal\n").unwrap();
    place
        .mountproof(&["report", "journal.jsonl"])
        .exits(2)
        .says(&["journal.jsonl:1"]);
}

#[test]
fn small_commands_answer() {
    let place = Place::new();
    let doctor = place.mountproof(&["doctor"]).exits(0);
    doctor.must(
        doctor.out.contains("the embedded environment can be had"),
        "a verdict",
    );
    let explain = place.mountproof(&["explain", "S012"]).exits(0);
    explain.must(
        explain.out.contains("A secret that the tenant does not have"),
        "a page",
    );
    place.mountproof(&["explain", "S999"]).exits(2);
    let completions = place.mountproof(&["completions", "bash"]).exits(0);
    completions.must(completions.out.contains("_mountproof"), "a script");
    let schema = place.mountproof(&["schema", "scenario"]).exits(0);
    serde_json::from_str::<serde_json::Value>(&schema.out).unwrap();
}
