//! Scenario files from the outside: the shipped ones, the broken ones, and the schema.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod support;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use mountproof::{
    cli::{explain, lint, list, output::Output, scenarios::read, schema as cli_schema},
    scenario::{Code, SourceFile, bind, load, model::Action, render, schema, shipped, shipped::SHIPPED},
};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn the_binary_carries_the_folder() {
    let folder = root().join("scenarios");
    let in_folder: BTreeSet<(String, String)> = yaml_below(&folder)
        .iter()
        .map(|path| {
            let below = path
                .strip_prefix(&folder)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            (below, fs::read_to_string(path).unwrap())
        })
        .collect();
    let in_binary: BTreeSet<(String, String)> = SHIPPED
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    let names =
        |set: &BTreeSet<(String, String)>| set.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&in_folder),
        names(&in_binary),
        "mend the list in src/scenario/shipped.rs"
    );
    assert!(in_folder == in_binary);
}

#[test]
fn shipped_scenarios_are_in_order() {
    let loaded = load(&shipped());
    assert_eq!(rendered(&shipped()), "");
    let binding = bind(
        &loaded.scenarios,
        &["team-red".to_owned(), "team-blue".to_owned()],
    );
    assert_eq!(binding.unbound, []);
    let from_folder = read(&[root().join("scenarios")]);
    assert_eq!(from_folder.scenarios, loaded.scenarios);
}

/// What the project promises to ship: each claim has its file, and each denial its control and hold.
#[test]
fn promised_scenarios_are_shipped_and_denials_are_complete() {
    let loaded = load(&shipped());
    let names: BTreeSet<&str> = loaded
        .scenarios
        .iter()
        .map(|scenario| scenario.name.as_str())
        .collect();
    for promised in [
        "positive",
        "cross-namespace-denied",
        "annotation-names-other-role",
        "no-role-annotation",
        "own-class-names-other-arn",
        "class-from-other-namespace",
        "resource-policy-denied",
        "boundary-denied",
        "no-association",
        "association-of-other-namespace",
        "association-names-other-role",
        "role-trusts-other-cluster",
        "expired-token-refused",
        "rotation",
        "fetch-throughput",
        "mount-latency",
        "failover-keeps-denial",
        "synced-secret",
        "synced-secret-kept",
        "no-token-in-log",
        "poll-interval-kept",
    ] {
        assert!(names.contains(promised), "{promised} is not shipped");
    }
    let mut denials = 0;
    for scenario in &loaded.scenarios {
        let mut mounted = Vec::new();
        for step in &scenario.steps {
            match &step.action {
                Action::Mount(mount) => mounted.push(&mount.workload.name),
                Action::Deny(deny) => {
                    denials += 1;
                    assert!(mounted.contains(&&deny.control), "{}", scenario.name);
                    assert!(deny.hold >= Duration::from_secs(3), "{}", scenario.name);
                }
                _ => {}
            }
        }
    }
    assert_eq!(denials, 13);
}

/// Set `MOUNTPROOF_UPDATE=1`, or run `mountproof schema scenario --write`, after a change of
/// `src/scenario/raw.rs`.
#[test]
fn the_committed_schema_is_current() {
    let path = root().join("schemas/scenario.json");
    let expected = schema::scenario_text();
    if std::env::var_os("MOUNTPROOF_UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == expected,
        "schemas/scenario.json is not current: mountproof schema scenario --write"
    );
}

fn as_json(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn shipped_scenarios_fit_the_schema() {
    let validator = support::Schema::new(schema::scenario());
    for path in yaml_below(&root().join("scenarios")) {
        let value = as_json(&path);
        assert_eq!(
            validator.problems(&value),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
        let first = fs::read_to_string(&path)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(
            first,
            "# yaml-language-server: $schema=../../schemas/scenario.json",
            "{}",
            path.display()
        );
    }
}

/// A file of `fixtures/scenarios/broken` on its own.
fn broken(path: &Path) -> SourceFile {
    let name = path.file_name().unwrap().to_str().unwrap();
    let bytes = fs::read(path).unwrap();
    SourceFile {
        display: format!("broken/{name}"),
        below: format!("broken/{name}"),
        folder: Some("broken".to_owned()),
        size: bytes.len() as u64,
        bytes,
    }
}

fn rendered(files: &[SourceFile]) -> String {
    let loaded = load(files);
    let texts: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(|diagnostic| render::text(diagnostic, &loaded.sources, render::Style::Plain))
        .collect();
    texts.join("\n")
}

/// Beside each broken file stands what is said about it. After a change of words: `INSTA_UPDATE=always`.
#[test]
fn broken_files_are_pointed_at() {
    for path in yaml_below(&root().join("fixtures/scenarios/broken")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = rendered(&[broken(&path)]);
        assert!(text.contains("[S"), "{name}: nothing is said");
        insta::with_settings!({
            snapshot_path => "../fixtures/scenarios/broken",
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => format!("What lint says about {name}.yaml."),
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
}

/// What an editor finds with the schema alone, without running anything.
#[test]
fn broken_shapes_do_not_fit_the_schema() {
    let validator = support::Schema::new(schema::scenario());
    let shapes = [
        "a-list",
        "bad-names",
        "disturbances-of-wrong-shape",
        "impostor-of-wrong-shape",
        "just-text",
        "missing-fields",
        "two-steps-in-one",
        "unknown-fields",
        "unknown-step",
        "wrong-kind",
        "wrong-types",
    ];
    for name in shapes {
        let path = root()
            .join("fixtures/scenarios/broken")
            .join(name)
            .with_extension("yaml");
        let text = fs::read_to_string(&path).unwrap().replace("!now ", "");
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert!(!validator.problems(&value).is_empty(), "{name}");
    }
}

#[test]
fn two_files_of_one_name() {
    let (path, text) = SHIPPED
        .iter()
        .find(|(path, _)| path.ends_with("/positive.yaml"))
        .unwrap();
    let copy = |display: &str| SourceFile {
        display: display.to_owned(),
        below: (*path).to_owned(),
        folder: None,
        bytes: text.as_bytes().to_vec(),
        size: text.len() as u64,
    };
    let text = rendered(&[copy("a.yaml"), copy("b.yaml")]);
    assert!(
        text.starts_with("error[S032]: two scenarios are called `positive`\n --> b.yaml:5:9\n"),
        "{text}"
    );
    assert!(text.contains("help: the first is in a.yaml:5:9"), "{text}");
}

/// What a command printed, without colours, and its exit code.
fn printed(command: impl FnOnce(&mut Output<'_>) -> io::Result<u8>) -> (String, String, u8) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = command(&mut Output {
        out: &mut out,
        err: &mut err,
    })
    .unwrap();
    let plain = |bytes: Vec<u8>| anstream::adapter::strip_str(&String::from_utf8(bytes).unwrap()).to_string();
    (plain(out), plain(err), code)
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Lint(lint::LintArgs),
    List(list::ListArgs),
    Explain(explain::ExplainArgs),
    Schema(cli_schema::SchemaArgs),
}

/// Runs a command line as a user types it.
fn typed(arguments: &[&str]) -> (String, String, u8) {
    let cli = Cli::try_parse_from([&["mountproof"], arguments].concat()).unwrap();
    printed(|output| match &cli.command {
        Command::Lint(args) => lint::run(args, output),
        Command::List(args) => list::run(args, output),
        Command::Explain(args) => explain::run(args, output),
        Command::Schema(args) => cli_schema::run(args, || "{}\n".to_owned(), output),
    })
}

#[test]
fn lint_says_ok_or_exits_with_2() {
    let scenarios = root().join("scenarios");
    let (out, err, code) = typed(&["lint", scenarios.to_str().unwrap()]);
    // How many there are is in the snapshot of the list.
    let files = format!("ok  {} files, no problems\n", yaml_below(&scenarios).len());
    assert_eq!((out.as_str(), err.as_str(), code), (files.as_str(), "", 0));

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    let fixtures = root().join("fixtures/scenarios/broken");
    for name in ["unknown-secret.yaml", "unused.yaml"] {
        fs::copy(fixtures.join(name), broken.join(name)).unwrap();
    }
    let shown = folder.path().to_str().unwrap();
    let (out, _, code) = typed(&["lint", shown]);
    assert_eq!(code, 2);
    assert!(out.contains("unknown-secret.yaml:11:15"), "{out}");
    assert!(
        out.ends_with("1 error, 3 warnings in 2 files\nmore about a code: mountproof explain S012\n"),
        "{out}"
    );

    let (out, _, code) = typed(&["lint", "--format", "json", shown]);
    assert_eq!((out.lines().count(), code), (4, 2));
    for line in out.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value["line"].as_u64().unwrap() > 0);
    }

    let (out, _, code) = typed(&["lint", "--format", "github", shown]);
    assert_eq!(code, 2);
    assert!(out.lines().next().unwrap().starts_with("::error file="), "{out}");

    fs::remove_file(broken.join("unknown-secret.yaml")).unwrap();
    assert_eq!(typed(&["lint", shown]).2, 0, "warnings pass");
}

/// Each kind of broken file by itself: a clear word and exit code 2. Warnings alone pass.
#[test]
fn every_broken_file_makes_lint_exit_with_2() {
    let passes = ["unused"];
    for path in yaml_below(&root().join("fixtures/scenarios/broken")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        // The folder is the profile, so it is given.
        let (out, err, code) = typed(&["lint", path.to_str().unwrap()]);
        let expected = if passes.contains(&name) { 0 } else { 2 };
        assert_eq!(code, expected, "{name}: {out}{err}");
        if code == 2 {
            assert!(out.contains("error[S"), "{name}: {out}");
            assert!(out.contains(&format!("{name}.yaml:")), "{name}: {out}");
        }
    }
}

#[test]
fn a_file_of_ten_megabytes_is_an_error_of_lint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.yaml");
    fs::write(&path, "a: 1\n".repeat(2 * 1024 * 1024)).unwrap();
    let (out, _, code) = typed(&["lint", path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(
        out.starts_with("error[S002]: the file has 10.0 MiB, and a scenario at most 1 MiB\n"),
        "{out}"
    );
}

#[test]
fn lint_without_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_, err, code) = typed(&["lint", folder.path().to_str().unwrap()]);
    assert_eq!((err.as_str(), code), ("error: no scenario files there\n", 2));
    let (out, _, code) = typed(&["lint", folder.path().join("gone.yaml").to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(out.starts_with("error[S001]: cannot be read: "), "{out}");
}

#[test]
fn list_shows_the_plan() {
    let (out, err, code) = typed(&["list"]);
    assert_eq!((err.as_str(), code), ("", 0));
    insta::assert_snapshot!("list", out);
    let (out, _, _) = typed(&["list", "--format", "names", "--tenants", "a,b,c", "cross-*"]);
    assert_eq!(
        out,
        "cross-namespace-denied[a]\ncross-namespace-denied[b]\ncross-namespace-denied[c]\n"
    );
    let (out, _, _) = typed(&["list", "--format", "json", "--namespaces", "1"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    let cases = value["cases"].as_array().unwrap();
    let positive = cases.iter().find(|case| case["case"] == "positive").unwrap();
    assert_eq!(positive["tenants"]["red"], "ns-0001");
    assert_eq!(
        value["unbound"].as_array().unwrap().len(),
        6,
        "six scenarios need a second tenant"
    );
    let (out, err, code) = typed(&["list", "postive"]);
    assert_eq!((out.as_str(), code), ("", 2));
    assert!(
        err.starts_with("error: no scenario is called `postive`\n  help: did you mean `positive`?\n"),
        "{err}"
    );
}

#[test]
fn explain_has_a_page_or_says_so() {
    let (out, _, code) = typed(&["explain", "s012"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("S012  A secret that the tenant does not have.\n\n"),
        "{out}"
    );
    assert_eq!(typed(&["explain"]).0.lines().count(), Code::ALL.len());
    let (_, err, code) = typed(&["explain", "E0308"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("error: no code `E0308`\n"), "{err}");
}

#[test]
fn schema_is_printed_or_written() {
    assert_eq!(typed(&["schema", "scenario"]).0, schema::scenario_text());
    let folder = tempfile::tempdir().unwrap();
    let (_, _, code) = typed(&["schema", "results", "--write", folder.path().to_str().unwrap()]);
    assert_eq!(code, 0);
    assert_eq!(
        fs::read_to_string(folder.path().join("results.json")).unwrap(),
        "{}\n"
    );
}

/// As a `ConfigMap` is mounted: files are links into a hidden folder, beside a link to that folder.
#[cfg(unix)]
#[test]
fn links_are_followed_to_files_only() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let load_folder = folder.path().join("load");
    let hidden = load_folder.join("..2026");
    fs::create_dir_all(&hidden).unwrap();
    fs::copy(
        root().join("scenarios/load/mount-latency.yaml"),
        hidden.join("mount-latency.yaml"),
    )
    .unwrap();
    symlink("..2026", load_folder.join("..data")).unwrap();
    symlink(
        "..data/mount-latency.yaml",
        load_folder.join("mount-latency.yaml"),
    )
    .unwrap();
    symlink("..", load_folder.join("loop")).unwrap();
    let loaded = read(&[folder.path().to_path_buf()]);
    assert_eq!(
        (loaded.files, loaded.diagnostics.len(), loaded.scenarios.len()),
        (1, 0, 1)
    );
}
