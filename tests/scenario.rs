//! Scenario files from the outside: the shipped ones, the broken ones, and the schema.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mountproof::{
    cli::scenarios::read,
    scenario::{bind, load, render, schema, shipped, shipped::SHIPPED},
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
    for diagnostic in &loaded.diagnostics {
        panic!(
            "{}",
            render::text(diagnostic, &loaded.sources, render::Style::Plain)
        );
    }
    assert_eq!(loaded.scenarios.len(), 9);
    let binding = bind(
        &loaded.scenarios,
        &["team-red".to_owned(), "team-blue".to_owned()],
    );
    assert_eq!(binding.unbound, []);
    let from_folder = read(&[root().join("scenarios")]);
    assert_eq!(from_folder.scenarios, loaded.scenarios);
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
    let validator = jsonschema::draft7::new(schema::scenario()).unwrap();
    for path in yaml_below(&root().join("scenarios")) {
        let value = as_json(&path);
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", path.display());
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
