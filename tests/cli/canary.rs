//! No secret value, and no token, in anything a run writes.
//!
//! Every generated value begins with a canary, so that it can be looked for without being known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use mountproof::secret::CANARY;

use crate::fixture::Place;

#[test]
fn no_value_and_no_token_gets_out() {
    // With a defect, so that there are failures with evidence; with everything that can be logged.
    let place = Place::new();
    let end = place
        .run(&[
            "--plant",
            "provider:other-tenants-secret",
            "--pods",
            "5",
            "--fetch-for",
            "200ms",
        ])
        .env("MOUNTPROOF_LOG", "trace")
        .exits(4);
    end.must(end.err.contains("TRACE"), "a log of everything");
    let mut searched = vec![
        ("standard output".to_owned(), end.out.into_bytes()),
        ("standard error".to_owned(), end.err.into_bytes()),
    ];
    for path in files(&place.reports()) {
        searched.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    assert!(searched.len() > 12, "{} places", searched.len());
    for (name, form) in forms() {
        for (place, bytes) in &searched {
            let found = bytes
                .windows(form.len())
                .position(|window| window == form.as_bytes());
            assert!(
                found.is_none(),
                "{name} in {place}: …{}…",
                found.map_or_else(String::new, |at| around(bytes, at))
            );
        }
    }
}

/// What to look for.
fn forms() -> Vec<(String, String)> {
    let hex = CANARY
        .bytes()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let mut forms = vec![
        ("the value".to_owned(), CANARY.to_owned()),
        ("its hex".to_owned(), hex.clone()),
        ("its HEX".to_owned(), hex.to_uppercase()),
        // What every token begins with: {"alg":"RS256" in base64.
        ("a token".to_owned(), "eyJhbGciOiJSUzI1NiI".to_owned()),
    ];
    for shift in 0..3 {
        // Of a text that has it somewhere, the middle is always the same.
        let text = [vec![b'.'; shift], CANARY.as_bytes().to_vec(), vec![b'.'; 3]].concat();
        let encoded = STANDARD_NO_PAD.encode(text);
        forms.push((
            format!("its base64, shifted by {shift}"),
            encoded[4..12].to_owned(),
        ));
    }
    forms
}

fn around(bytes: &[u8], at: usize) -> String {
    let (from, to) = (at.saturating_sub(160), (at + 60).min(bytes.len()));
    String::from_utf8_lossy(&bytes[from..to]).into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
    found
}
