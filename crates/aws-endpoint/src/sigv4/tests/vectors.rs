//! AWS's signing test suite, which ships inside the source of the `aws-sigv4` crate that this crate's tests use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::*;

/// The folder of the suite, where cargo unpacked it.
fn suite() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "aws-sigv4")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("aws-signing-test-suite").join("v4")
}

/// Reads a request as it stands on the wire; folded header lines are unfolded.
fn read(text: &str) -> Owned {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines: Vec<String> = Vec::new();
    for line in head.lines() {
        match lines.last_mut() {
            Some(folded) if line.starts_with(' ') => folded.push_str(line),
            _ => lines.push(line.to_owned()),
        }
    }
    let line = lines[0].strip_suffix(" HTTP/1.1").unwrap_or(&lines[0]);
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(&str, &str)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .collect();
    Owned {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: map(&headers
            .iter()
            .map(|(name, value)| (*name, value.trim()))
            .collect::<Vec<_>>()),
        body: body.as_bytes().to_vec(),
    }
}

struct Vector {
    name: String,
    folder: PathBuf,
    context: Value,
}

impl Vector {
    fn all() -> Vec<Self> {
        let mut folders: Vec<PathBuf> = fs::read_dir(suite())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        folders.sort();
        let vectors = folders.into_iter().map(|folder| {
            let context = fs::read(folder.join("context.json")).unwrap_or_else(|_| b"null".to_vec());
            Self {
                name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
                context: serde_json::from_slice(&context).unwrap(),
                folder,
            }
        });
        vectors.collect()
    }

    fn text(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        Some(text.replace("\r\n", "\n"))
    }

    /// As its `context.json` says; the two without one are of services that escape twice.
    fn style(&self) -> Style {
        let Value::Bool(normalise) = self.context["normalize"] else {
            return Style::SERVICE;
        };
        Style {
            normalise,
            encode: Encode::Once,
            token_signed: self.context["omit_session_token"] != true,
        }
    }

    fn now(&self) -> Timestamp {
        let time = self.context["timestamp"].as_str();
        time.unwrap_or("2021-05-11T15:40:45Z").parse().unwrap()
    }

    /// What is wrong with the request in `<form>-signed-request.txt`, by each of the files beside it.
    fn problems(&self, form: &str, style: Style) -> Vec<String> {
        let mut request = read(&self.text(&format!("{form}-signed-request.txt")).unwrap());
        if self.name == "double-encode-path" {
            // Its signed request is of another day than its canonical one.
            request
                .headers
                .insert("x-amz-date", "20210511T154045Z".parse().unwrap());
        }
        let signed = request.signed();
        let claim = Claim::of(&signed).unwrap();
        let mut problems = Vec::new();
        let canonical = claim.canonical_request(&signed, style).unwrap();
        if canonical.trim_end()
            != self
                .text(&format!("{form}-canonical-request.txt"))
                .unwrap()
                .trim_end()
        {
            problems.push(format!("{}: {form}: canonical request {canonical}", self.name));
        }
        let mut hashed = String::new();
        canonical::hex(&mut hashed, canonical::sha256(&canonical).as_ref());
        let to_sign = claim.string_to_sign(&hashed).concat();
        if let Some(wanted) = self.text(&format!("{form}-string-to-sign.txt"))
            && to_sign != wanted.trim_end()
        {
            problems.push(format!("{}: {form}: string to sign {to_sign}", self.name));
        }
        if self.context.is_object() {
            if let Err(fault) = verdict(&request, SECRET, self.now(), style) {
                problems.push(format!("{}: {form}: {fault}", self.name));
            }
            let other = format!("{}x", &SECRET[1..]);
            if verdict(&request, &other, self.now(), style).is_ok() {
                problems.push(format!("{}: {form}: verified with another secret", self.name));
            }
        }
        problems
    }
}

#[test]
fn all_forty_vectors_of_the_signing_suite_are_verified() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 40);
    let mut problems = Vec::new();
    let mut presigned = 0;
    for vector in &vectors {
        problems.extend(vector.problems("header", vector.style()));
        if vector.text("query-signed-request.txt").is_some() {
            presigned += 1;
            problems.extend(vector.problems("query", vector.style()));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(presigned, 38);
}

/// What the services here do is right for all vectors but those that are signed in the style of S3.
#[test]
fn the_style_of_services_verifies_all_vectors_but_those_of_s3() {
    let vectors = Vector::all();
    let fails = |vector: &&Vector| {
        let style = Style {
            token_signed: vector.style().token_signed,
            ..Style::SERVICE
        };
        !vector.problems("header", style).is_empty()
    };
    let failing: Vec<&str> = vectors
        .iter()
        .filter(fails)
        .map(|vector| vector.name.as_str())
        .collect();
    assert_eq!(
        failing,
        [
            "get-relative-relative-unnormalized",
            "get-relative-unnormalized",
            "get-slash-dot-slash-unnormalized",
            "get-slash-pointless-dot-unnormalized",
            "get-slash-unnormalized",
            "get-slashes-unnormalized",
        ]
    );
}
