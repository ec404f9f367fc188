//! The ledger: a write-ahead record of everything a run makes.
//!
//! One JSON line each, in `ledger.jsonl`. An object is `planned`, on disk, before it is created, and
//! `removed` after it is gone. Whatever stands between is what a killed run may have left.
//!
//! Who writes a ledger holds a lock on it, so that `sweep` never works against a run, or against
//! another `sweep`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use crate::kubernetes::ObjectRef;

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

/// How a later process reaches what a run made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Not at all, and it need not: the environment was in the run's own process, or in what is on record as a whole (a
    /// cluster, a container, a folder).
    #[default]
    Embedded,
    /// Likewise, but for the secrets: they are kept by a backend that is somebody else's and stays.
    Backend {
        /// `http://HOST:PORT`.
        url: String,
        /// The region that they are in.
        region: String,
    },
    /// By the ordinary credential chain: everything is in an account of AWS's, and in a cluster.
    Account {
        /// Twelve digits.
        account: String,
        /// The region that it is in.
        region: String,
        /// The profile that the run was told to use, if it was.
        profile: Option<String>,
        /// The cluster.
        cluster: ClusterReach,
    },
}

impl Reach {
    /// Whether an object of the two worlds is there still when the run's process is gone. What is in a cluster that stays is
    /// on record as such, with the cluster.
    pub(crate) fn outlives(&self, object: &Object) -> bool {
        match self {
            Self::Embedded => false,
            Self::Backend { .. } => matches!(object, Object::Secret(_)),
            Self::Account { .. } => !matches!(
                object,
                Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_)
            ),
        }
    }

    /// Whether AWS is an account, and no part of the run's process.
    #[must_use]
    pub fn is_account(&self) -> bool {
        matches!(self, Self::Account { .. })
    }
}

/// Where what a run has in Kubernetes is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KubernetesIn {
    /// In its process, which takes it along.
    #[default]
    Process,
    /// In an [`Object::KindCluster`] or [`Object::EksCluster`] of its own, which takes it along.
    OwnCluster,
    /// In a cluster of kind that outlives the run, by name: it is removed there object by object.
    KeptCluster(String),
    /// In a cluster that somebody else has, reached like this: likewise.
    Standing(ClusterReach),
}

/// How a cluster that somebody else has is reached by a later process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterReach {
    /// By a kubeconfig, as `kubectl` does.
    Context {
        /// Its files, the first of which wins.
        kubeconfig: Vec<PathBuf>,
        /// The context in them.
        context: String,
    },
    /// By EKS, with the account's credentials: the cluster of this name, a run's own or not.
    Eks(String),
}

impl std::fmt::Display for ClusterReach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Context { context, .. } => write!(f, "the cluster of context {context}"),
            Self::Eks(name) => write!(f, "the EKS cluster {name}"),
        }
    }
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
    /// A cluster of kind with everything in it, by name.
    KindCluster(String),
    /// A container of Docker's on this machine, by name, with its volumes.
    Container(String),
    /// A Kubernetes object.
    Kubernetes(ObjectRef),
    /// A Kubernetes object of what is installed for the run in a cluster that stays: it goes after everything that mounts.
    Installed(ObjectRef),
    /// A Kubernetes object of somebody else's that makes room for the run's, and is put back after them.
    Displaced {
        /// Which.
        object: ObjectRef,
        /// Where it is written down, as it was.
        saved: PathBuf,
    },
    /// An EKS cluster with everything in it, by name.
    EksCluster(String),
    /// A managed node group with its nodes.
    Nodegroup {
        /// The EKS cluster that it is of.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// An add-on of an EKS cluster.
    Addon {
        /// The EKS cluster that it is of.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// The role that EKS gives to the pods of a `ServiceAccount`.
    PodIdentityAssociation {
        /// The EKS cluster that it is of.
        cluster: String,
        /// The `ServiceAccount`'s namespace.
        namespace: String,
        /// The `ServiceAccount`.
        service_account: String,
    },
    /// An IAM identity provider, by ARN.
    OidcProvider(String),
    /// An IAM managed policy, by ARN.
    Policy(String),
    /// An IAM role with its attachments, by name.
    Role(String),
    /// A secret, by name.
    Secret(String),
}

impl Object {
    /// Whether it is in a cluster.
    #[must_use]
    pub fn is_in_kubernetes(&self) -> bool {
        matches!(
            self,
            Self::Kubernetes(_) | Self::Installed(_) | Self::Displaced { .. }
        )
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch(path) => write!(f, "folder {}", path.display()),
            Self::KindCluster(name) => write!(f, "kind cluster {name}"),
            Self::Container(name) => write!(f, "container {name}"),
            Self::Kubernetes(reference) | Self::Installed(reference) => reference.fmt(f),
            Self::Displaced { object, .. } => write!(f, "what made room for the run, put back: {object}"),
            Self::EksCluster(name) => write!(f, "EKS cluster {name}"),
            Self::Nodegroup { cluster, name } => write!(f, "node group {name} of EKS cluster {cluster}"),
            Self::Addon { cluster, name } => write!(f, "add-on {name} of EKS cluster {cluster}"),
            Self::PodIdentityAssociation {
                cluster,
                namespace,
                service_account,
            } => write!(
                f,
                "Pod Identity association of {namespace}/{service_account} in EKS cluster {cluster}"
            ),
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
    tripwire: OnceLock<Tripwire>,
    /// What is being made.
    flights: TaskTracker,
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

    /// Makes something that is on record, to its end whether or not anybody still waits for it: a request that is given up half-way
    /// may arrive after teardown has looked for what it makes.
    ///
    /// # Panics
    ///
    /// As `making` does.
    pub async fn landed<T: Send + 'static>(&self, making: impl Future<Output = T> + Send + 'static) -> T {
        match self.flights.spawn(making).await {
            Ok(made) => made,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody cancels it but the runtime's own end.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Waits until nothing is being made any more; whether that came about in time.
    pub async fn all_landed(&self, patience: Duration) -> bool {
        self.flights.close();
        let landed = tokio::time::timeout(patience, self.flights.wait()).await.is_ok();
        self.flights.reopen();
        landed
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
            flights: TaskTracker::new(),
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

impl Process {
    /// Whether it is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        Self::of(self.pid).is_ok_and(|process| process == *self)
    }

    /// This one.
    pub fn this() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The one that has this number now. One that has ended and that nobody has waited for yet is gone.
    ///
    /// # Errors
    ///
    /// When there is none, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in parentheses, which may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if after_name.trim_start().starts_with(['Z', 'X']) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        let started = after_name
            .split_whitespace()
            .nth(19)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
            .trim()
            .to_owned();
        Ok(Self { pid, started, boot })
    }
}

#[cfg(test)]
mod tests;
