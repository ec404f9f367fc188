//! The ledger: a write-ahead record of everything a run makes.
//!
//! One JSON line each, in `ledger.jsonl`. An object is `planned`, on disk, before it is created, and
//! `removed` after it is gone. Whatever stands between is what a killed run may have left.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::kubernetes::ObjectRef;

/// Version of the format, in its first line.
const SCHEMA: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Opened { schema: u32, run_id: String, process: Process },
    Planned(Object),
    Removed(Object),
    Closed,
}

/// The process that wrote a ledger, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's own ticks since boot.
    pub started: u64,
    /// The boot that both belong to.
    pub boot: String,
}

/// Something that a run makes outside its own memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Object {
    /// A folder of the run's own with everything in it, mounts included.
    Scratch(PathBuf),
    /// A Kubernetes object.
    Kubernetes(ObjectRef),
    /// An IAM identity provider, by ARN.
    OidcProvider(String),
    /// An IAM managed policy, by ARN.
    Policy(String),
    /// An IAM role with its attachments, by name.
    Role(String),
    /// A secret, by name.
    Secret(String),
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch(path) => write!(f, "folder {}", path.display()),
            Self::Kubernetes(reference) => reference.fmt(f),
            Self::OidcProvider(arn) => write!(f, "iam OIDC provider {arn}"),
            Self::Policy(arn) => write!(f, "iam policy {arn}"),
            Self::Role(name) => write!(f, "iam role {name}"),
            Self::Secret(name) => write!(f, "secret {name}"),
        }
    }
}

/// The ledger cannot be written: nothing more may be made.
#[derive(Debug, thiserror::Error)]
#[error("write the ledger `{}`: {source}; nothing is made that is not on record", path.display())]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// A ledger that is being written.
pub struct Ledger {
    path: PathBuf,
    open: Mutex<Open>,
}

struct Open {
    file: File,
    /// In the order of planning; what is removed is taken out.
    standing: Vec<Object>,
    known: BTreeSet<Object>,
}

impl Ledger {
    /// Starts the ledger of a run.
    pub fn create(path: &Path, run_id: &str) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError { path: path.to_owned(), source };
        let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let ledger = Self {
            path: path.to_owned(),
            open: Mutex::new(Open { file, standing: Vec::new(), known: BTreeSet::new() }),
        };
        let process = Process::this().map_err(failed)?;
        ledger.write(&[Line::Opened { schema: SCHEMA, run_id: run_id.to_owned(), process }])?;
        Ok(ledger)
    }

    /// Puts objects on record, on disk, before they are made. Objects on record already are fine.
    pub fn plan(&self, objects: &[Object]) -> Result<(), LedgerError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&Object> = objects.iter().filter(|object| !open.known.contains(object)).collect();
        let lines: Vec<Line> = new.iter().map(|&object| Line::Planned(object.clone())).collect();
        self.append(&mut open.file, &lines)?;
        for object in objects {
            if open.known.insert(object.clone()) {
                open.standing.push(object.clone());
            }
        }
        Ok(())
    }

    /// Records that an object is gone. A line that cannot be written leaves it on record: the next
    /// removal finds nothing there, and that is fine.
    pub fn removed(&self, object: &Object) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.known.remove(object);
        open.standing.retain(|standing| standing != object);
        if let Err(error) = self.append(&mut open.file, &[Line::Removed(object.clone())]) {
            tracing::warn!(%error, "ledger");
        }
    }

    /// Everything on record that is not removed, in the order of planning.
    pub fn standing(&self) -> Vec<Object> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).standing.clone()
    }

    /// Records that teardown is done.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.write(&[Line::Closed])
    }

    fn write(&self, lines: &[Line]) -> Result<(), LedgerError> {
        self.append(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner).file, lines)
    }

    fn append(&self, file: &mut File, lines: &[Line]) -> Result<(), LedgerError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            // Every part of a line is text, numbers and paths, which serde_json can always write.
            serde_json::to_writer(&mut text, line).expect("a line is JSON");
            text.push(b'\n');
        }
        file.write_all(&text)
            .and_then(|()| file.sync_data())
            .map_err(|source| LedgerError { path: self.path.clone(), source })
    }
}

/// A ledger as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The run.
    pub run_id: String,
    /// Who wrote it.
    pub process: Process,
    /// What is on record and not removed, in the order of planning.
    pub standing: Vec<Object>,
    /// Whether its teardown came to its end.
    pub closed: bool,
}

impl Found {
    /// Whether the process that writes it is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        Process::of(self.process.pid).is_ok_and(|process| process == self.process)
    }
}

/// Reads a ledger. A torn last line is what a killed run leaves and is passed over: the object of a
/// torn `planned` was not made.
///
/// # Errors
///
/// `InvalidData` with the line's number for anything else that is not a ledger.
pub fn read(path: &Path) -> io::Result<Found> {
    let bad = |number: usize, what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}:{number}: {what}", path.display()))
    };
    let mut lines = Vec::new();
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        lines.push(line?);
    }
    let mut found: Option<Found> = None;
    let last = lines.len();
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        let parsed = match serde_json::from_slice::<Line>(line) {
            Ok(parsed) => parsed,
            Err(_) if number == last => break,
            Err(error) => return Err(bad(number, &format!("not a line of a ledger: {error}"))),
        };
        match (parsed, &mut found) {
            (Line::Opened { schema, .. }, _) if schema > SCHEMA => {
                return Err(bad(number, &format!("a newer mountproof wrote this (schema {schema}); use that one")));
            }
            (Line::Opened { run_id, process, .. }, None) => {
                found = Some(Found { run_id, process, standing: Vec::new(), closed: false });
            }
            (Line::Opened { .. }, Some(_)) => return Err(bad(number, "opened twice")),
            (_, None) => return Err(bad(number, "the first line of a ledger says `opened`")),
            (Line::Planned(object), Some(found)) => {
                if !found.standing.contains(&object) {
                    found.standing.push(object);
                }
            }
            (Line::Removed(object), Some(found)) => found.standing.retain(|standing| *standing != object),
            (Line::Closed, Some(found)) => found.closed = true,
        }
    }
    found.ok_or_else(|| bad(1, "empty"))
}

impl Process {
    /// This one.
    pub fn this() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    fn of(pid: u32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in parentheses, which may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let started = after_name
            .split_whitespace()
            .nth(19)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc"))?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { pid, started, boot })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn role(name: &str) -> Object {
        Object::Role(name.to_owned())
    }

    #[test]
    fn what_is_planned_is_on_disk_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::create(&path, "r1").unwrap();
        ledger.plan(&[role("a"), role("b"), role("a")]).unwrap();
        ledger.plan(&[role("c")]).unwrap();
        // As another process would find it at this moment.
        let found = read(&path).unwrap();
        assert_eq!(found.standing, [role("a"), role("b"), role("c")]);
        assert!(!found.closed && found.is_running());
        ledger.removed(&role("b"));
        ledger.plan(&[role("b")]).unwrap();
        ledger.close().unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.standing, [role("a"), role("c"), role("b")]);
        assert_eq!(found.standing, ledger.standing());
        assert!(found.closed);
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::create(&path, "r1").unwrap();
        ledger.plan(&[role("a")]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [whole.as_slice(), b"{\"planned\":{\"ro"].concat()).unwrap();
        assert_eq!(read(&path).unwrap().standing, [role("a")]);
        std::fs::write(&path, [whole.as_slice(), b"garbage\n{}\n"].concat()).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains(":3: not a line"));
        std::fs::write(&path, b"").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn a_process_that_is_gone_is_not_running() {
        let mut found = Found {
            run_id: "r1".into(),
            process: Process::this().unwrap(),
            standing: Vec::new(),
            closed: false,
        };
        assert!(found.is_running());
        found.process.started += 1;
        assert!(!found.is_running(), "another process has its number now");
    }
}
