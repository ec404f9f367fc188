//! Bytes to [`RawScenario`].

use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{MergeKeyPolicy, options::DuplicateKeyPolicy};

use super::{
    code::Code,
    diagnostic::Diagnostic,
    raw::RawScenario,
    schema, shape,
    tree::{self, Kind, MAX_ALIASED_NODES, Node},
};

const API_VERSION: &str = "mountproof.dev/v1alpha1";
const KIND: &str = "Scenario";

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What became of the bytes of a file.
#[derive(Debug)]
pub struct Parsed<T = RawScenario> {
    /// The text that places point into: UTF-8 (replaced where it was not), without a byte order mark.
    pub text: String,
    /// What it holds, when its shape is in order.
    pub raw: Option<T>,
    /// Everything that is wrong with its shape.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a file's bytes. `size` is what the file has in all, which may be more than was read.
#[must_use]
pub fn parse(bytes: &[u8], size: u64) -> Parsed {
    let reader = Reader {
        schema: schema::scenario(),
        what: "the scenario",
        fixed: &[("apiVersion", API_VERSION), ("kind", KIND)],
    };
    reader.read(bytes, size)
}

/// Reads another kind of YAML file with the same care: its shape is checked against `schema`, and `what`
/// names it in messages.
pub(crate) fn document<T: DeserializeOwned>(
    bytes: &[u8],
    size: u64,
    schema: &Value,
    what: &str,
) -> Parsed<T> {
    let reader = Reader {
        schema,
        what,
        fixed: &[],
    };
    reader.read(bytes, size)
}

/// How files of one kind are read.
struct Reader<'a> {
    schema: &'a Value,
    /// Names the whole in messages.
    what: &'a str,
    /// Fields that can only have one value, which tells this kind from others.
    fixed: &'a [(&'a str, &'a str)],
}

impl Reader<'_> {
    fn read<T: DeserializeOwned>(&self, bytes: &[u8], size: u64) -> Parsed<T> {
        if size > MAX_BYTES as u64 || bytes.len() > MAX_BYTES {
            return Parsed {
                text: String::new(),
                raw: None,
                diagnostics: vec![too_large(size.max(bytes.len() as u64))],
            };
        }
        let (text, mut diagnostics) = match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), Vec::new()),
            Err(error) => (
                String::from_utf8_lossy(bytes).into_owned(),
                vec![not_utf8(bytes, error.valid_up_to())],
            ),
        };
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => {
                diagnostics.push(byte_order_mark());
                rest.to_owned()
            }
            None => text,
        };
        if diagnostics
            .iter()
            .any(|diagnostic| diagnostic.code == Code::NotUtf8)
        {
            // The places of what follows would be guesses.
            return Parsed {
                text,
                raw: None,
                diagnostics,
            };
        }
        let raw = self.shaped(&text, &mut diagnostics);
        Parsed {
            text,
            raw,
            diagnostics,
        }
    }

    fn shaped<T: DeserializeOwned>(&self, text: &str, report: &mut Vec<Diagnostic>) -> Option<T> {
        if text.trim().is_empty() {
            report.push(tree::empty(text));
            return None;
        }
        let root: Rc<Node> = tree::read(text)
            .map_err(|diagnostic| report.push(diagnostic))
            .ok()?;
        // Whatever its shape, and whatever else is wrong in it: a file of another kind is told so.
        for &(field, expected) in self.fixed {
            report.extend(
                root.field(field)
                    .and_then(|written| other_than(expected, field, written)),
            );
        }
        let problems = shape::check(&root, self.schema, self.what);
        if !problems.is_empty() {
            report.extend(problems);
            return None;
        }
        serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| report.push(unfit(&error)))
            .ok()
    }
}

/// A scalar that is not the one word which may stand there.
fn other_than(expected: &str, field: &str, written: &Node) -> Option<Diagnostic> {
    let Kind::Scalar { text, .. } = &written.kind else {
        return None;
    };
    (text != expected).then(|| {
        Diagnostic::error(Code::WrongKind, format!("unknown {field} `{text}`"))
            .at(written.place.clone(), format!("expected `{expected}`"))
    })
}

/// Strict where YAML is lax. The budgets are the reader's own: the tree has set closer ones.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        with_snippet: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 4 * usize::try_from(MAX_ALIASED_NODES).unwrap_or(usize::MAX),
        },
    }
}

/// serde refuses what the tree let pass.
fn unfit(error: &serde_saphyr::Error) -> Diagnostic {
    let error = error.without_snippet();
    let start = error
        .location()
        .and_then(|location| location.span().byte_offset())
        .and_then(|offset| usize::try_from(offset).ok())
        .unwrap_or_default();
    let length = error
        .location()
        .and_then(|location| location.span().byte_len())
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or_default();
    let message = error.to_string();
    Diagnostic::error(Code::WrongType, message.lines().next().unwrap_or_default())
        .at(start..start.saturating_add(length), "")
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn too_large(size: u64) -> Diagnostic {
    Diagnostic::error(
        Code::TooLarge,
        format!(
            "the file has {:.1} MiB, and a scenario at most 1 MiB",
            size as f64 / MAX_BYTES as f64
        ),
    )
    .help("the largest scenario that makes sense has a few kilobytes; is this the right file?")
}

fn not_utf8(bytes: &[u8], valid_up_to: usize) -> Diagnostic {
    let diagnostic = Diagnostic::error(
        Code::NotUtf8,
        format!("the file is not UTF-8 at byte {valid_up_to}"),
    )
    .at(
        // The replacement character takes three bytes in the text that is shown.
        valid_up_to..valid_up_to + 3,
        format!(
            "byte 0x{:02X}",
            bytes.get(valid_up_to).copied().unwrap_or_default()
        ),
    );
    match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => diagnostic.help("this is UTF-16; save the file as UTF-8"),
        _ => diagnostic.help("save the file as UTF-8"),
    }
}

fn byte_order_mark() -> Diagnostic {
    Diagnostic::warning(Code::ByteOrderMark, "the file begins with a byte order mark")
        .at(0..0, "")
        .help("save it as UTF-8 without one; other YAML tools trip over it")
}
