//! Reads a journal back, also one whose writer was killed.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Event, EventKind, SCHEMA_VERSION};

/// A journal as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Its events, numbered from 0 without gaps; the first is [`EventKind::RunStarted`].
    pub events: Vec<Event>,
    /// The rest of a line that the writer did not finish.
    pub torn: Option<TornLine>,
}

/// A last line without its end: the writer was killed in the middle of it. It is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornLine {
    /// From 1.
    pub line: usize,
    /// How much of it is there.
    pub bytes: usize,
}

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the journal `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no whole line in it.
    #[error("the journal `{}` is empty: its run was killed before it wrote a whole line", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// It starts with something else than the start of a run.
    #[error("{}:1: not a journal of mountproof: the first line is not a `run-started` event", path.display())]
    NotAJournal {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "the journal `{}` has schema {found}, and this version reads up to {supported}: render it with mountproof {writer} or newer",
        path.display()
    )]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u64,
        /// The newest that can be read.
        supported: u32,
        /// Version of the program that wrote it.
        writer: String,
    },
    /// A line is no event.
    #[error("{}:{line}: not a journal event", path.display())]
    Garbage {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Lines are missing, doubled or out of order.
    #[error("{}:{line}: event {found} stands where event {expected} should", path.display())]
    Gap {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// The number that should stand there.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
}

/// Reads the journal at `path`.
pub fn read(path: &Path) -> Result<Recording, ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Open {
        path: path.to_owned(),
        source,
    })?;
    parse(&bytes, path)
}

/// Reads a journal from its bytes; `path` is for messages only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Recording, ReadError> {
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let mut events = Vec::new();
    let mut line = 0;
    for text in bytes[..whole].split_inclusive(|byte| *byte == b'\n') {
        line += 1;
        if line == 1 {
            check_first_line(text, path)?;
        }
        let event = serde_json::from_slice::<Event>(text).map_err(|source| ReadError::Garbage {
            path: path.to_owned(),
            line,
            source,
        })?;
        push(&mut events, event, line, path)?;
    }
    // An editor may have taken the last line's end away; a whole event is still one.
    let rest = &bytes[whole..];
    let torn = match serde_json::from_slice::<Event>(rest) {
        _ if rest.is_empty() => None,
        Ok(event) if !events.is_empty() => {
            push(&mut events, event, line + 1, path)?;
            None
        }
        _ => Some(TornLine {
            line: line + 1,
            bytes: rest.len(),
        }),
    };
    if events.is_empty() {
        return Err(ReadError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Recording { events, torn })
}

fn push(events: &mut Vec<Event>, event: Event, line: usize, path: &Path) -> Result<(), ReadError> {
    let expected = events.len() as u64;
    if event.sequence != expected {
        return Err(ReadError::Gap {
            path: path.to_owned(),
            line,
            expected,
            found: event.sequence,
        });
    }
    if events.is_empty() && !matches!(event.event, EventKind::RunStarted(_)) {
        return Err(ReadError::NotAJournal {
            path: path.to_owned(),
        });
    }
    events.push(event);
    Ok(())
}

/// Looks at the version before anything else: a newer event need not parse here.
fn check_first_line(text: &[u8], path: &Path) -> Result<(), ReadError> {
    let not_a_journal = || ReadError::NotAJournal {
        path: path.to_owned(),
    };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|_| not_a_journal())?;
    let start = value.pointer("/event/run-started").ok_or_else(not_a_journal)?;
    let found = start
        .get("schema")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(not_a_journal)?;
    if found > u64::from(SCHEMA_VERSION) {
        let writer = start
            .get("version")
            .and_then(serde_json::Value::as_str)
            .unwrap_or("a newer version");
        return Err(ReadError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: SCHEMA_VERSION,
            writer: writer.to_owned(),
        });
    }
    Ok(())
}
