//! Which cases run, in which order, how often, and what is printed of them.

use std::fs;

use crate::support::{Place, Running, verdicts};

/// A scenario that a fresh tenant's mount proves in no time.
fn quick(name: &str) -> String {
    format!(
        "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: {name}, profile: faults }}\n\
         description: A pod mounts its own secret.\ntenants:\n  red: {{}}\nsteps:\n  \
         - mount: {{ as: app, tenant: red, class: red }}\n"
    )
}

fn quick_ones() -> Place {
    let texts: Vec<(String, String)> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .map(|name| ((*name).to_owned(), quick(name)))
        .collect();
    let texts: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    Place::with(&texts)
}

/// Names of the cases in the order in which they were begun.
fn order(journal: &str) -> Vec<String> {
    journal
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter_map(|event| Some(event["event"]["case-started"]["case"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn shuffle_draws_an_order_from_the_printed_seed() {
    let run = |seed: Option<&str>| {
        let place = quick_ones();
        let mut arguments = vec!["run", "--scenarios", "scenarios", "--shuffle", "--jobs", "1"];
        if let Some(seed) = seed {
            arguments.extend(["--seed", seed]);
        }
        let ended = place.run(&arguments).exits(0);
        let seed = place.results()["seed"].to_string();
        let ended = ended.says(&[&format!("seed {seed} ")]);
        assert!(!ended.err.contains('\u{1b}'), "escape codes in a pipe{ended}");
        (seed, order(&place.journal()))
    };
    let (seed, first) = run(None);
    assert_eq!(first.len(), 6);
    assert_eq!(run(Some(&seed)), (seed.clone(), first));
    // Of 720 orders these two seeds draw other ones.
    assert_ne!(run(Some("1")).1, run(Some("2")).1);
}

#[test]
fn fail_fast_starts_nothing_more_and_a_broken_product_exits_1() {
    let place = quick_ones();
    place
        .run(&[
            "run",
            "--scenarios",
            "scenarios",
            "--fail-fast",
            "--jobs",
            "1",
            "--plant",
            "driver:empty-mount",
        ])
        .exits(1)
        .says(&[
            "not started: --fail-fast, and a case had failed",
            "exit 1 (conformance failed)",
        ]);
    let verdicts: Vec<String> = verdicts(&place.results())
        .into_iter()
        .map(|(_, verdict)| verdict)
        .collect();
    assert_eq!(
        verdicts,
        ["failed", "skipped", "skipped", "skipped", "skipped", "skipped"]
    );
}

#[test]
fn a_tenant_that_reads_anothers_secret_exits_4_and_quiet_prints_no_more_than_that() {
    let place = Place::new();
    let ended = place
        .run(&[
            "run",
            "--quiet",
            "cross-namespace-denied",
            "positive",
            "--plant",
            "endpoint:ignore-resource",
        ])
        .exits(4)
        .says(&[
            "FAIL   cross-namespace-denied[team-red]",
            "who ",
            "allowed ",
            "exit 4 (isolation failed)",
        ]);
    assert!(!ended.err.contains("PASS"), "{ended}");
    assert!(!ended.err.contains("environment   ready"), "{ended}");
    assert!(ended.out.is_empty(), "{ended}");
}

/// A list with one known issue of every driver, which shows when `quick` fails in these words.
fn known_issues(headline: &str) -> String {
    format!(
        "knownIssues:\n  - id: empty\n    title: the mount is empty\n    link: https://example.com/issues/1\n    \
         component: driver\n    versions: '>=1.0.0'\n    scenario: quick\n    expect: failed\n    \
         headline: \"{headline}\"\n    reason: It forgets to write.\n"
    )
}

#[test]
fn a_known_issue_that_shows_fails_a_strict_run_alone() {
    let arguments = ["run", "--scenarios", "scenarios", "--known-issues", "issues.yaml"];
    let planted = ["--plant", "driver:empty-mount"];
    // What the failure must say, further arguments; the exit code, the verdict, and what is told.
    let table: &[(&str, &[&str], i32, &str, &str)] = &[
        ("", &planted, 0, "known-issue", "KNOWN  quick"),
        (
            "",
            &["--plant", "driver:empty-mount", "--strict"],
            1,
            "failed",
            "known issue of driver ",
        ),
        (
            "another defect",
            &planted,
            1,
            "failed",
            "exit 1 (conformance failed)",
        ),
        // A stand-in that passes is no release in which it is fixed: tests/host has programs that are.
        ("", &[], 0, "passed", "1 passed"),
    ];
    for (headline, more, code, verdict, told) in table {
        let place = Place::with(&[("quick", &quick("quick"))]);
        fs::write(place.path("issues.yaml"), known_issues(headline)).unwrap();
        let ended = place.run(&[&arguments[..], *more].concat()).exits(*code);
        ended.says(&[*told]);
        assert_eq!(place.results()["cases"][0]["verdict"], *verdict);
    }
}

#[test]
fn a_list_of_known_issues_that_cannot_be_read_runs_nothing() {
    let place = Place::with(&[("quick", &quick("quick"))]);
    let broken = known_issues("").replace("component: driver", "component: kubelet");
    fs::write(place.path("issues.yaml"), broken).unwrap();
    let arguments = ["run", "--scenarios", "scenarios", "--known-issues", "issues.yaml"];
    place.run(&arguments).exits(2).says(&["issues.yaml:5:16"]);
    let arguments = ["run", "--scenarios", "scenarios", "--known-issues", "none.yaml"];
    place.run(&arguments).exits(2).says(&["cannot read `none.yaml`"]);
}

#[test]
fn a_pass_after_a_failure_is_flaky() {
    let place = Place::with(&[("quick", &quick("quick"))]);
    let arguments = [
        "run",
        "--scenarios",
        "scenarios",
        "--plant",
        "driver:empty-mount@once",
    ];
    place
        .run(&[&arguments[..], &["--retries", "1"]].concat())
        .exits(0)
        .says(&["RETRY  quick", "FLAKY  quick", "1 flaky"]);
    let results = place.results();
    assert_eq!(results["counts"]["flaky"], 1);
    assert_eq!(results["cases"][0]["verdict"], "flaky");
    let junit = fs::read_to_string(place.only_run().join("junit.xml")).unwrap();
    assert!(junit.contains("flakyFailure"), "{junit}");

    let place = Place::with(&[("quick", &quick("quick"))]);
    place.run(&arguments).exits(1).says(&["FAIL"]);
}

#[test]
fn names_choose_cases_and_a_name_that_fits_nothing_is_usage() {
    let place = Place::new();
    place
        .run(&["list", "--format", "names", "positive", "cross-*"])
        .exits(0)
        .prints(&[
            "positive[team-red]\npositive[team-blue]\n",
            "cross-namespace-denied[team-red]\n",
        ]);
    for command in ["run", "list", "plan"] {
        place
            .run(&[command, "positiv-e"])
            .exits(2)
            .says(&["error: ", "did you mean `positive`?"]);
    }
    place
        .run(&["run", "--profile", "isolatoin"])
        .exits(2)
        .says(&["did you mean `isolation`?"]);
    place
        .run(&["run", "--label", "novalue"])
        .exits(2)
        .says(&["write key=value"]);
    place
        .run(&["run", "--tenants", "Team_Red"])
        .exits(2)
        .says(&["a namespace is lower-case"]);
    place
        .run(&["run", "--tenants", "a,b,a"])
        .exits(2)
        .says(&["two tenants are named `a`"]);
    place.run(&["run", "--pods", "0"]).exits(2);
    place.run(&["no-such-command"]).exits(2);
    assert!(place.runs().is_empty(), "nothing was run");
}

#[test]
fn scenarios_with_mistakes_are_usage_with_every_place() {
    let place = Place::with(&[
        ("unknown", &quick("unknown").replace("class: red", "clas: red")),
        ("empty", ""),
        (
            "twice",
            &quick("twice").replace("tenants:", "kind: Scenario\ntenants:"),
        ),
    ]);
    let places = [
        "scenarios/faults/unknown.yaml:8:",
        "did you mean `class`?",
        "scenarios/faults/empty.yaml",
        "scenarios/faults/twice.yaml:5:",
    ];
    place
        .run(&["run", "--scenarios", "scenarios"])
        .exits(2)
        .says(&places);
    place
        .run(&["list", "--scenarios", "scenarios"])
        .exits(2)
        .says(&places);
    let linted = place.run(&["lint", "scenarios"]).exits(2);
    for place in places {
        assert!(
            format!("{}{}", linted.out, linted.err).contains(place),
            "{place}{linted}"
        );
    }
    assert!(place.runs().is_empty());
}

/// Colours are for terminals, and not for those who want none.
#[test]
fn colours_follow_the_terminal_and_no_color() {
    let place = Place::new();
    let listed = |arguments: &[&str], no_color: bool| {
        let mut command = place.command(arguments);
        if no_color {
            command.env("NO_COLOR", "1");
        }
        Running::start(command).end().exits(0).out.contains('\u{1b}')
    };
    assert!(!listed(&["list"], false), "a pipe is no terminal");
    assert!(listed(&["list", "--color", "always"], false));
    assert!(!listed(&["list"], true));
    let on_terminal = |no_color: bool| {
        let mut command = std::process::Command::new("script");
        command
            .args([
                "-qec",
                &format!("{} list", crate::support::MOUNTPROOF),
                "/dev/null",
            ])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("CI");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        command.output().ok().map(|output| output.stdout.contains(&0x1b))
    };
    match on_terminal(false) {
        None => crate::support::skipped("colours on a terminal", "there is no `script` here"),
        Some(colours) => {
            assert!(colours, "a terminal has colours");
            assert_eq!(on_terminal(true), Some(false));
        }
    }
}
