//! Invariant 1: a module that says it is PURE does no IO and reads no clock.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What would make a module impure. Test modules may use it.
const IMPURE: [&str; 14] = [
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "thread_rng",
    "rand::rng()",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio::",
    "println!",
    "File::open",
];

#[test]
fn pure_modules_name_no_io_and_no_clock() {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let pure: Vec<_> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).unwrap()))
        .filter(|(_, text)| text.starts_with("//! PURE"))
        .collect();
    assert!(
        pure.len() >= 5,
        "the marker is not found any more: {} files",
        pure.len()
    );
    let found: Vec<String> = pure
        .iter()
        .flat_map(|(file, text)| {
            code(text)
                .filter(|(_, line)| impure(line))
                .map(move |(number, line)| format!("{}:{number}: {}", file.display(), line.trim()))
        })
        .collect();
    assert!(found.is_empty(), "impure:\n{}", found.join("\n"));
}

#[test]
fn the_check_itself_finds_what_it_looks_for() {
    let text = "//! PURE: x.\nuse std::fs;\n// a comment on std::env\n#[cfg(test)]\nmod tests { use tokio::time; }\n";
    let found: Vec<_> = code(text).filter(|(_, line)| impure(line)).collect();
    assert_eq!(found, [(2, "use std::fs;")]);
}

/// Lines with their numbers, without comments and what follows `#[cfg(test)]`.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn impure(line: &str) -> bool {
    IMPURE.iter().any(|word| line.contains(word))
}

/// Rust files below `src` and `crates/*/src`.
fn collect(root: &Path, files: &mut Vec<PathBuf>) {
    let crates = fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = crates
        .chain([root.to_owned()])
        .map(|folder| folder.join("src"))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
}
