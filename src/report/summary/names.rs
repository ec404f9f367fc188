//! PURE: names of files and folders.

use std::collections::BTreeSet;

/// Folder names for the evidence of `cases`: letters, digits, `-`, `_` and `.`, and no two alike,
/// not even where a file system ignores case.
pub fn evidence_folders<'a>(cases: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    cases
        .map(|case| {
            let plain = file_name(case);
            let mut name = plain.clone();
            let mut number = 2;
            while !taken.insert(name.to_lowercase()) {
                name = format!("{plain}-{number}");
                number += 1;
            }
            name
        })
        .collect()
}

/// `text` as a file name that needs no quotes in a shell and is no path.
#[must_use]
pub fn file_name(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '.' => name.push(character),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name.chars().take(100).collect()
    }
}
