//! One thing that is wrong with a scenario file, and where.

use super::{at::Place, code::Code};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// Worth mending; everything runs.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// What kind of thing.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What, in one line, without a full stop.
    pub message: String,
    /// The file, as it was named on the command line.
    pub file: String,
    /// Places in the file; the first is the one that counts.
    pub labels: Vec<Label>,
    /// What to do, one line each.
    pub help: Vec<String>,
}

/// A place in the file, and what to say about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// Bytes of the file.
    pub place: Place,
    /// What to say there; may be empty.
    pub text: String,
}

/// Whether anything among these is wrong enough that nothing should run.
pub(super) fn has_errors(found: &[Diagnostic]) -> bool {
    found
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

impl Diagnostic {
    /// An error; add places and help with the methods below. The file is filled in by who collects.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            file: String::new(),
            labels: Vec::new(),
            help: Vec::new(),
        }
    }

    /// Likewise, a warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Points at a place.
    #[must_use]
    pub fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            place,
            text: text.into(),
        });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Says "did you mean", where there is something to say.
    #[must_use]
    pub fn did_you_mean(self, nearest: Option<&str>) -> Self {
        match nearest {
            Some(nearest) => self.help(format!("did you mean `{nearest}`?")),
            None => self,
        }
    }

    /// Says in which file it is.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Where it counts; the start of the file where nothing better is known.
    #[must_use]
    pub fn place(&self) -> Place {
        self.labels.first().map_or(0..0, |label| label.place.clone())
    }
}

/// Line and column, both from 1; columns count characters, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte in a text; the end of the text for a byte behind it.
    #[must_use]
    pub fn of(text: &str, byte: usize) -> Self {
        let before = &text[..floor_char_boundary(text, byte)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The nearest boundary of a character at or before a byte.
pub(crate) fn floor_char_boundary(text: &str, byte: usize) -> usize {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let text = "ab\nçd\r\n\n";
        let cases = [
            (0, (1, 1)),
            (2, (1, 3)),
            (3, (2, 1)),
            (4, (2, 1)),
            (5, (2, 2)),
            (8, (3, 1)),
            (99, (4, 1)),
        ];
        for (byte, (line, column)) in cases {
            assert_eq!(Position::of(text, byte), Position { line, column }, "byte {byte}");
        }
        assert_eq!(Position::of("", 0), Position { line: 1, column: 1 });
    }
}
