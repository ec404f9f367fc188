//! The ledger: a write-ahead record of everything a run makes.
//!
//! One JSON line each, in `ledger.jsonl`. An object is `planned`, on disk, before it is created, and
//! `removed` after it is gone. Whatever stands between is what a killed run may have left.
//!
//! Who writes a ledger holds a lock on it, so that `sweep` never works against a run, or against
//! another `sweep`.

mod object;
mod process;
mod reach;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    object::Object,
    process::Process,
    reach::{ClusterReach, KubernetesIn, Reach},
};
use super::flights::Flights;

/// Version of the format, in its first line.
const SCHEMA: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Opened {
        schema: u32,
        run_id: String,
        process: Process,
        #[serde(default)]
        reach: Reach,
    },
    Planned(Object),
    Removed(Object),
    Kept(Object),
    Within(String),
    WithinCluster(ClusterReach),
    Closed,
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
    tripwire: OnceLock<Tripwire>,
    /// What is being made.
    flights: Flights,
}

/// What happens as soon as so many objects have been put on record.
struct Tripwire {
    objects: usize,
    then: Box<dyn Fn() + Send + Sync>,
}

struct Open {
    file: File,
    /// Bytes that are whole lines.
    length: u64,
    standing: Standing,
    /// Objects that were put on record by this process.
    planned: usize,
}

impl Ledger {
    /// Starts the ledger of a run whose worlds go with its process.
    pub fn create(path: &Path, run_id: &str) -> Result<Self, LedgerError> {
        Self::create_reaching(path, run_id, Reach::Embedded)
    }

    /// Starts the ledger of a run.
    pub fn create_reaching(path: &Path, run_id: &str, reach: Reach) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        lock(&file).map_err(failed)?;
        let ledger = Self::over(path, file, 0, Standing::default());
        let process = Process::this().map_err(failed)?;
        ledger.write(&[Line::Opened {
            schema: SCHEMA,
            run_id: run_id.to_owned(),
            process,
            reach,
        }])?;
        Ok(ledger)
    }

    /// Takes over the ledger of a run that is gone, to record what is removed after it. A torn last
    /// line is cut off.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while another process writes it; else as [`read`].
    pub fn take_over(path: &Path) -> io::Result<(Self, Found)> {
        let file = OpenOptions::new().append(true).open(path)?;
        lock(&file)?;
        let found = read(path)?;
        let text = fs::read(path)?;
        let whole = text
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |last| last + 1) as u64;
        file.set_len(whole)?;
        let mut standing = Standing::default();
        found.standing.iter().for_each(|object| standing.add(object));
        Ok((Self::over(path, file, whole, standing), found))
    }

    /// The run's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or_else(|| Path::new("."))
    }

    /// Puts objects on record, on disk, before they are made. Objects on record already are fine.
    pub fn plan(&self, objects: &[Object]) -> Result<(), LedgerError> {
        let mut open = self.lock();
        let new: Vec<&Object> = objects
            .iter()
            .filter(|&object| !open.standing.has(object))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let lines: Vec<Line> = new.iter().map(|&object| Line::Planned(object.clone())).collect();
        open.append(&lines)
            .and_then(|()| open.file.sync_data())
            .map_err(|source| self.failed(source))?;
        let before = open.planned;
        open.planned += new.len();
        let tripped = |wire: &&Tripwire| (before + 1..=open.planned).contains(&wire.objects);
        if let Some(wire) = self.tripwire.get().filter(tripped) {
            (wire.then)();
        }
        for object in new {
            open.standing.add(object);
        }
        Ok(())
    }

    /// Makes something that is on record, from now on, to its end whether or not anybody still waits for it.
    ///
    /// # Panics
    ///
    /// As `making` does.
    pub fn landed<T: Send + 'static>(
        &self,
        making: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        self.flights.landed(making)
    }

    /// Waits until nothing is being made any more; whether that came about in time.
    pub async fn all_landed(&self, patience: Duration) -> bool {
        self.flights.all_landed(patience).await
    }

    /// Calls `then` as soon as so many objects have been put on record, on disk, before the last of them is made. Once for a
    /// ledger: later calls do nothing.
    pub fn at(&self, objects: usize, then: impl Fn() + Send + Sync + 'static) {
        let then = Box::new(then);
        let _ = self.tripwire.set(Tripwire { objects, then });
    }

    /// Records that an object is gone. A line that is lost leaves it on record: the next removal
    /// finds nothing there, and that is fine; so nothing waits for the disk here.
    pub fn removed(&self, object: &Object) {
        let mut open = self.lock();
        open.standing.remove(object);
        if let Err(error) = open.append(&[Line::Removed(object.clone())]) {
            tracing::warn!(error = %self.failed(error), "ledger");
        }
    }

    /// Records that what the run makes in Kubernetes from now on is in this cluster of kind, which outlives it.
    pub fn within(&self, cluster: &str) -> Result<(), LedgerError> {
        self.write(&[Line::Within(cluster.to_owned())])
    }

    /// Records that what the run makes in Kubernetes from now on is in a cluster of somebody else's.
    pub fn within_cluster(&self, cluster: &ClusterReach) -> Result<(), LedgerError> {
        self.write(&[Line::WithinCluster(cluster.clone())])
    }

    /// Records that an object stays on purpose, and is somebody else's to remove from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be written: the object is the run's own then as before.
    pub fn kept(&self, objects: &[Object]) -> Result<(), LedgerError> {
        let mut open = self.lock();
        let lines: Vec<Line> = objects.iter().map(|object| Line::Kept(object.clone())).collect();
        open.append(&lines)
            .and_then(|()| open.file.sync_data())
            .map_err(|source| self.failed(source))?;
        for object in objects {
            open.standing.remove(object);
        }
        Ok(())
    }

    /// Everything on record that is not removed, in the order of planning.
    #[must_use]
    pub fn standing(&self) -> Vec<Object> {
        self.lock().standing.in_order()
    }

    /// Records that teardown is done.
    pub fn close(&self) -> Result<(), LedgerError> {
        self.write(&[Line::Closed])
    }

    fn over(path: &Path, file: File, length: u64, standing: Standing) -> Self {
        Self {
            path: path.to_owned(),
            open: Mutex::new(Open {
                file,
                length,
                standing,
                planned: 0,
            }),
            tripwire: OnceLock::new(),
            flights: Flights::default(),
        }
    }

    fn write(&self, lines: &[Line]) -> Result<(), LedgerError> {
        let mut open = self.lock();
        open.append(lines)
            .and_then(|()| open.file.sync_data())
            .map_err(|source| self.failed(source))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: io::Error) -> LedgerError {
        LedgerError {
            path: self.path.clone(),
            source,
        }
    }
}

impl Open {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(io::Error::from)?;
            text.push(b'\n');
        }
        match self.file.write_all(&text) {
            Ok(()) => {
                self.length += text.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line in the middle would make the whole ledger unreadable.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}

/// What is on record and not removed, in the order of planning.
#[derive(Default)]
struct Standing {
    positions: BTreeMap<Object, u64>,
    next: u64,
}

impl Standing {
    fn has(&self, object: &Object) -> bool {
        self.positions.contains_key(object)
    }

    fn add(&mut self, object: &Object) {
        if !self.has(object) {
            self.positions.insert(object.clone(), self.next);
            self.next += 1;
        }
    }

    fn remove(&mut self, object: &Object) {
        self.positions.remove(object);
    }

    fn in_order(&self) -> Vec<Object> {
        let mut objects: Vec<(&u64, &Object)> = self.positions.iter().map(|(o, p)| (p, o)).collect();
        objects.sort_unstable_by_key(|(position, _)| **position);
        objects.into_iter().map(|(_, object)| object.clone()).collect()
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another process is writing it")
        }
        TryLockError::Error(error) => error,
    })
}

/// A ledger as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The run.
    pub run_id: String,
    /// Who wrote it.
    pub process: Process,
    /// How what it made is reached.
    pub reach: Reach,
    /// What is on record and not removed, in the order of planning.
    pub standing: Vec<Object>,
    /// What was kept on purpose.
    pub kept: Vec<Object>,
    /// The cluster of kind that outlives the run and has in it what that made in Kubernetes.
    pub within: Option<String>,
    /// Likewise, a cluster of somebody else's.
    pub within_cluster: Option<ClusterReach>,
    /// Whether its teardown came to its end.
    pub closed: bool,
}

impl Found {
    /// Whether the process that writes it is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_running()
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
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}:{number}: {what}", path.display()),
        )
    };
    let text = fs::read(path)?;
    let whole = text.ends_with(b"\n");
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    // After the last newline comes nothing, or what is torn.
    let count = lines.len() - usize::from(whole || text.is_empty());
    let mut found: Option<Found> = None;
    let mut standing = Standing::default();
    for (index, line) in lines[..count].iter().enumerate() {
        let number = index + 1;
        let parsed = match serde_json::from_slice::<Line>(line) {
            Ok(parsed) => parsed,
            Err(_) if number == count && !whole => break,
            Err(error) => return Err(bad(number, &format!("not a line of a ledger: {error}"))),
        };
        match (parsed, &mut found) {
            (Line::Opened { schema, .. }, _) if schema > SCHEMA => {
                return Err(bad(
                    number,
                    &format!("a newer mountproof wrote this (schema {schema}); use that one"),
                ));
            }
            (
                Line::Opened {
                    run_id,
                    process,
                    reach,
                    ..
                },
                None,
            ) => {
                found = Some(Found {
                    run_id,
                    process,
                    reach,
                    standing: Vec::new(),
                    kept: Vec::new(),
                    within: None,
                    within_cluster: None,
                    closed: false,
                });
            }
            (Line::Opened { .. }, Some(_)) => return Err(bad(number, "opened twice")),
            (_, None) => return Err(bad(number, "the first line of a ledger says `opened`")),
            (Line::Planned(object), Some(_)) => standing.add(&object),
            (Line::Removed(object), Some(_)) => standing.remove(&object),
            (Line::Kept(object), Some(found)) => {
                standing.remove(&object);
                found.kept.push(object);
            }
            (Line::Within(cluster), Some(found)) => found.within = Some(cluster),
            (Line::WithinCluster(cluster), Some(found)) => found.within_cluster = Some(cluster),
            (Line::Closed, Some(found)) => found.closed = true,
        }
    }
    let mut found = found.ok_or_else(|| bad(1, "empty"))?;
    found.standing = standing.in_order();
    Ok(found)
}

#[cfg(test)]
mod tests;
