//! Are the files of a mount the ones that should be there, byte for byte?

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::{SecretValue, digest_of};

/// A file that a mount must hold.
pub struct ExpectedFile {
    /// Name below the mount path.
    pub name: String,
    /// Its content.
    pub content: SecretValue,
    /// Permission bits.
    pub mode: u32,
    /// The secret it comes from, for messages.
    pub secret: String,
}

/// A file that was seen in a mount.
pub struct SeenFile {
    /// Name below the mount path.
    pub name: String,
    /// What it held.
    pub content: SecretValue,
    /// Permission bits.
    pub mode: u32,
}

/// What tells one content from another without being it, so that a file can be judged where its value is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// Number of bytes.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Print {
    /// Of a content.
    #[must_use]
    pub fn of(content: &SecretValue) -> Self {
        Self {
            bytes: content.expose().len() as u64,
            sha256: digest_of(content.expose()),
        }
    }

    /// The first 12 digits of the sum, as [`SecretValue::fingerprint`] has them.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with fingerprint {}", self.bytes, self.fingerprint())
    }
}

/// An [`ExpectedFile`] without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedPrint {
    /// Name below the mount path.
    pub name: String,
    /// Of its content.
    pub print: Print,
    /// Permission bits.
    pub mode: u32,
    /// The secret it comes from, for messages.
    pub secret: String,
}

/// A [`SeenFile`] without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPrint {
    /// Name below the mount path.
    pub name: String,
    /// Of its content.
    pub print: Print,
    /// Permission bits.
    pub mode: u32,
}

impl From<&ExpectedFile> for ExpectedPrint {
    fn from(file: &ExpectedFile) -> Self {
        Self {
            name: file.name.clone(),
            print: Print::of(&file.content),
            mode: file.mode,
            secret: file.secret.clone(),
        }
    }
}

impl From<&SeenFile> for SeenPrint {
    fn from(file: &SeenFile) -> Self {
        Self {
            name: file.name.clone(),
            print: Print::of(&file.content),
            mode: file.mode,
        }
    }
}

/// A way in which a mount differs from what it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference(pub String);

impl Difference {
    /// What is wrong, without the values' sizes and fingerprints.
    #[must_use]
    pub fn brief(&self) -> &str {
        self.0.split(": ").next().unwrap_or_default()
    }
}

/// Everything that is wrong with `seen`, most telling first; empty when nothing is.
#[must_use]
pub fn differences(expected: &[ExpectedFile], seen: &[SeenFile]) -> Vec<Difference> {
    let expected: Vec<ExpectedPrint> = expected.iter().map(ExpectedPrint::from).collect();
    let seen: Vec<SeenPrint> = seen.iter().map(SeenPrint::from).collect();
    differences_of_prints(&expected, &seen)
}

/// The same, where the values are not known.
#[must_use]
pub fn differences_of_prints(expected: &[ExpectedPrint], seen: &[SeenPrint]) -> Vec<Difference> {
    let mut found = Vec::new();
    for file in expected {
        let Some(there) = seen.iter().find(|there| there.name == file.name) else {
            found.push(Difference(format!(
                "file {} is missing ({} expected)",
                file.name, file.secret
            )));
            continue;
        };
        if file.print != there.print {
            found.push(Difference(format!(
                "file {} does not hold the value of {}: {} expected, {} seen",
                file.name, file.secret, file.print, there.print,
            )));
        }
        if file.mode != there.mode {
            found.push(Difference(format!(
                "file {} has mode {:04o}, not {:04o}",
                file.name, there.mode, file.mode
            )));
        }
    }
    for file in seen {
        if !expected.iter().any(|wanted| wanted.name == file.name) {
            found.push(Difference(format!(
                "file {} should not be there ({})",
                file.name, file.print
            )));
        }
    }
    found
}

/// Whether all that is wrong with `seen` is files on their way: the provider writes a new file under the name of the one that it
/// is to replace with digits behind it, and renames it. Such a file holds that one's content, or less of it, and is gone in a
/// moment; one that stays is wrong.
#[must_use]
pub fn only_on_their_way(expected: &[ExpectedPrint], seen: &[SeenPrint]) -> bool {
    let on_its_way = |file: &SeenPrint| {
        expected.iter().any(|wanted| {
            let digits = file.name.strip_prefix(wanted.name.as_str()).unwrap_or_default();
            !digits.is_empty()
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && (wanted.print == file.print || file.print.bytes < wanted.print.bytes)
        })
    };
    let (on_their_way, settled): (Vec<&SeenPrint>, Vec<&SeenPrint>) =
        seen.iter().partition(|file| on_its_way(file));
    !on_their_way.is_empty()
        && settled.len() == expected.len()
        && expected.iter().all(|wanted| {
            settled
                .iter()
                .any(|there| there.name == wanted.name && wanted.print == there.print)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(name: &str, content: &str, mode: u32) -> ExpectedFile {
        ExpectedFile {
            name: name.into(),
            content: SecretValue::text(content),
            mode,
            secret: "red/secret".into(),
        }
    }

    fn seen(name: &str, content: &str, mode: u32) -> SeenFile {
        SeenFile {
            name: name.into(),
            content: SecretValue::text(content),
            mode,
        }
    }

    #[test]
    fn a_file_that_replaces_another_is_on_its_way_and_nothing_else_is() {
        let whole = || seen("a", "value", 0o644);
        for (what, there, on_its_way) in [
            ("none", vec![whole()], false),
            ("the next one", vec![whole(), seen("a123", "value", 0o600)], true),
            ("half written", vec![whole(), seen("a123", "va", 0o600)], true),
            ("just begun", vec![whole(), seen("a123", "", 0o600)], true),
            (
                "another's value",
                vec![whole(), seen("a123", "other", 0o600)],
                false,
            ),
            ("another name", vec![whole(), seen("b123", "value", 0o600)], false),
            ("no digits", vec![whole(), seen("a.tmp", "value", 0o600)], false),
            ("alone", vec![seen("a123", "value", 0o600)], false),
            (
                "beside a wrong one",
                vec![seen("a", "other", 0o644), seen("a1", "value", 0o600)],
                false,
            ),
        ] {
            assert_eq!(
                only_on_their_way(
                    &[ExpectedPrint::from(&expected("a", "value", 0o644))],
                    &there.iter().map(SeenPrint::from).collect::<Vec<_>>()
                ),
                on_its_way,
                "{what}"
            );
        }
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let cases = [
            ("same", vec![seen("a", "v", 0o644)], vec![]),
            ("missing", vec![], vec!["file a is missing"]),
            (
                "other bytes",
                vec![seen("a", "w", 0o644)],
                vec!["file a does not hold the value of red/secret"],
            ),
            ("empty", vec![seen("a", "", 0o644)], vec!["0 bytes"]),
            (
                "wider mode",
                vec![seen("a", "v", 0o666)],
                vec!["mode 0666, not 0644"],
            ),
            (
                "one too many",
                vec![seen("a", "v", 0o644), seen("b", "v", 0o644)],
                vec!["file b should not be there"],
            ),
            (
                "both wrong",
                vec![seen("a", "w", 0o600)],
                vec!["does not hold", "mode 0600"],
            ),
        ];
        for (what, there, wanted) in cases {
            let found = differences(&[expected("a", "v", 0o644)], &there);
            assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
            for (difference, text) in found.iter().zip(wanted) {
                assert!(difference.0.contains(text), "{what}: {difference:?}");
            }
        }
    }

    #[test]
    fn no_difference_repeats_a_value() {
        let found = differences(
            &[expected("a", "mp-canary-1", 0o644)],
            &[seen("a", "mp-canary-2", 0o600)],
        );
        assert!(
            found.iter().all(|difference| !difference.0.contains("mp-canary")),
            "{found:?}"
        );
    }
}
