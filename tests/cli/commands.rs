//! Every command that starts nothing: what it prints, and its help.

use std::{io::pipe, process::Stdio};

use crate::support::{Place, Running};

#[test]
fn help_is_as_it_was() {
    let place = Place::new();
    for command in [
        "",
        "run",
        "list",
        "plan",
        "lint",
        "report",
        "sweep",
        "doctor",
        "explain",
        "schema",
        "completions",
    ] {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let ended = place.run(&arguments).exits(0);
        let name = if command.is_empty() { "mountproof" } else { command };
        insta::assert_snapshot!(format!("help-{name}"), ended.out);
    }
}

#[test]
fn commands_print_what_they_say() {
    let place = Place::new();
    place.run(&[]).exits(2).says(&["Usage: mountproof"]);
    place.run(&["--version"]).exits(0).prints(&["mountproof 0."]);
    insta::assert_snapshot!("list", place.run(&["list"]).exits(0).out);
    insta::assert_snapshot!(
        "plan",
        place
            .run(&["plan", "--profile", "isolation", "--seed", "1"])
            .exits(0)
            .out
    );
    let json = place.run(&["list", "--format", "json"]).exits(0).out;
    let listing: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(listing["cases"].as_array().unwrap().len() > 10);
    place.run(&["doctor"]).exits(0).prints(&[
        "report folder",
        "tmpfs mounts",
        "the embedded environment can be had",
        "--env host",
        "mountproof/releases",
    ]);
    std::fs::write(place.path("file"), "").unwrap();
    place.run(&["explain", "S012"]).exits(0).prints(&["S012"]);
    place.run(&["explain", "S999"]).exits(2);
    for shell in ["bash", "zsh", "fish"] {
        place
            .run(&["completions", shell])
            .exits(0)
            .prints(&["mountproof"]);
    }
    for schema in ["scenario", "results"] {
        let printed = place.run(&["schema", schema]).exits(0).out;
        let committed =
            std::fs::read_to_string(format!("{}/schemas/{schema}.json", env!("CARGO_MANIFEST_DIR")));
        // Both are long: what differs is for `diff` to say.
        assert!(
            printed == committed.unwrap(),
            "schemas/{schema}.json is not what `mountproof schema {schema}` prints: write that there"
        );
    }
    place
        .run(&["sweep", "--reports", "none"])
        .exits(0)
        .prints(&["no run in none"]);
    place
        .run(&["sweep", "--reports", "file"])
        .exits(2)
        .says(&["name the reports folder"]);
    assert!(place.runs().is_empty());
}

/// Whatever starts the real programs asks them first, and may ask the stand-ins the same.
#[test]
fn the_stand_ins_are_programs_that_say_what_they_know() {
    let place = Place::new();
    place.run(&["standin", "driver", "--help"]).exits(0).says(&[
        "Usage of mountproof standin driver:",
        "  -endpoint string",
        "  -v int",
        "  -defect value",
    ]);
    place
        .run(&["standin", "driver", "--version"])
        .exits(0)
        .prints(&["\"BuildVersion\":\"v1.6.0\""]);
    place
        .run(&["standin", "provider", "--version"])
        .exits(2)
        .says(&["flag provided but not defined: -version", "  -qps int"]);
    place
        .run(&["standin", "driver", "--defect=nothing"])
        .exits(1)
        .says(&["no such defect: nothing; there are: empty-mount"]);
    place
        .run(&["standin", "driver", "--kubeconfig=nowhere"])
        .exits(1)
        .says(&["nowhere: No such file"]);
    place
        .run(&["standin", "kubelet"])
        .exits(2)
        .says(&["there are: driver, provider"]);
}

/// `mountproof list | head`: the reader has seen enough, and that is no failure.
#[test]
fn a_reader_that_went_away_is_fine() {
    let place = Place::new();
    for arguments in [
        &["list"][..],
        &["list", "--format", "json"],
        &["schema", "scenario"],
        &["completions", "bash"],
        &["plan"],
        &["doctor"],
        &["explain", "S012"],
        &["--help"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = place.command(arguments);
        let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
}

/// A run whose terminal went away goes on to its end.
#[test]
fn a_run_survives_the_end_of_its_readers() {
    let place = Place::new();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["run", "impostor-refused"]);
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(place.results()["exit_code"], 0);
    place.assert_nothing_left();
    let _ = Running::start(place.command(&["--version"])).end().exits(0);
}
