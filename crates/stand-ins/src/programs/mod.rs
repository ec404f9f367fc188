//! Real releases of the driver and of the provider, given as programs, in the places of their stand-ins.
//!
//! Each is started with what its stand-in's configuration says, as far as the program can be told: a driver's
//! client-side limit is fixed in it, and neither has defects to plant. Which flags a version knows is read from its own
//! `--help` ([`flags`]); what it cannot be told is said in [`Running::left_out`]. Their environment is ours alone,
//! their output goes to a file of bounded size, and their death is noticed ([`Running::exited`]).
//!
//! A driver mounts tmpfs, so it needs the right to mount. A provider reads its way to the API server from fixed places
//! only: see [`AccountPlace`]. Mounts below kubelet's root must reach it: see [`SharedFolder`].
//!
//! Programs are not confined here: that is the caller's part. They are told to end when their handle goes, but a caller
//! that is killed takes down only what it confined.

pub mod control_plane;
mod driver;
pub mod flags;
mod output;
mod process;
mod provider;
pub mod standin;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

pub use self::{
    driver::{DriverOptions, DriverProgram},
    flags::LeftOut,
    output::LOG_LIMIT,
    provider::{AccountPlace, ProviderOptions, ProviderProgram},
};
use self::{flags::Chosen, process::Process};

/// How long a program may take to serve on its socket, if not said otherwise.
pub const READY: Duration = Duration::from_secs(30);

/// What to run: an image's entry point may have arguments of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The program.
    pub program: PathBuf,
    /// What stands before its flags, such as `standin driver`.
    pub arguments: Vec<String>,
}

impl ProgramSpec {
    /// A program without arguments of its own.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
        }
    }
}

/// What is the same of a running driver and a running provider.
#[derive(Debug)]
pub struct Running {
    version: Option<String>,
    chosen: Chosen,
    process: Process,
}

impl Running {
    /// What it says its version is, without a leading `v`. A driver: as `--version` prints it, or, before 1.4.0, as it
    /// tells kubelet's registrar; a build that was not told its version is `local-dev`. A provider: as it tells the driver.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The flags it was started with.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        &self.chosen.arguments
    }

    /// The flags that it does not know, and what is so instead.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.chosen.left_out
    }

    /// The file with its output, that of earlier starts included.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.output().path()
    }

    /// Waits until everything it has written is in its log.
    pub async fn settle_log(&self) {
        self.process.output().settle().await;
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended, if it did: `exit status: 1`, `signal: 9 (SIGKILL)`.
    #[must_use]
    pub fn exited(&self) -> Option<String> {
        self.process.exited()
    }

    /// How it ended by itself, if it did: not where it was killed or stopped here.
    #[must_use]
    pub fn died(&self) -> Option<String> {
        self.exited().filter(|_| !self.process.was_ended_by_us())
    }

    /// Waits until it ends; says how.
    pub async fn ended(&self) -> String {
        self.process.ended().await
    }

    /// Kills it where it stands. Its dead socket stays, as on a node; a driver stays registered, and its mounts stay.
    pub async fn kill(&self) {
        self.process.kill().await;
    }
}

/// A program could not be started. No text here holds anything that looks like a token.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or folder that it needs could not be made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be run at all.
    #[error("run {program}: {source}; is it a program for this machine?")]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not know a flag without which it cannot do its work.
    #[error("{program} has no flag --{flag}: it is no {part} that can be told where to serve")]
    NotThisProgram {
        /// Which.
        program: PathBuf,
        /// What it should be.
        part: &'static str,
        /// What it was to be told.
        flag: &'static str,
    },
    /// It ended before it served.
    #[error("{program} ended with {how} before it served on {socket}; {last_words}")]
    Ended {
        /// Which.
        program: PathBuf,
        /// Its exit status or signal.
        how: String,
        /// Where it should have served.
        socket: PathBuf,
        /// The end of its output.
        last_words: LastWords,
        /// What it wrote.
        log: PathBuf,
    },
    /// It runs, and does not serve.
    #[error("{program} does not serve on {socket} after {waited:?}; {last_words}")]
    Hangs {
        /// Which.
        program: PathBuf,
        /// Where it should have served.
        socket: PathBuf,
        /// How long it was waited for.
        waited: Duration,
        /// The end of its output.
        last_words: LastWords,
        /// What it wrote.
        log: PathBuf,
    },
    /// The place of the service account's files belongs to somebody else.
    #[error("{0} holds a service account that is not ours: the programs need a /run of their own")]
    AccountTaken(PathBuf),
    /// A mount namespace of its own hides what it has to serve to others.
    #[error(
        "{0} is below /run, which a provider in a mount namespace of its own has for itself; choose another folder"
    )]
    Hidden(PathBuf),
}

/// The end of a program's output, without what looks like a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWords(String);

impl LastWords {
    /// The lines, joined; empty where it wrote nothing.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it wrote nothing");
        }
        write!(f, "it wrote last: {}", self.0)
    }
}

/// A folder whose mounts other mount namespaces see too: kubelet's root has to be one.
#[derive(Debug)]
pub struct SharedFolder(PathBuf);

impl SharedFolder {
    /// Makes the existing `folder` a mount point of its own, and shared.
    pub fn mount(folder: &Path) -> io::Result<Self> {
        mount_bind(folder, folder)?;
        mount_change(folder, MountPropagationFlags::SHARED)?;
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for SharedFolder {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            tracing::warn!(folder = ?self.0, %error, "still mounted");
        }
    }
}

fn file(path: &Path) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::File {
        path: path.to_owned(),
        source,
    }
}

/// Makes a file that only we and root read: it holds a token.
fn write_private(path: &Path, text: &str) -> Result<(), StartError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let open = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(file(path))
}
