//! A program that runs itself again where nothing leaks in or out: in its own user, mount, network, process and IPC
//! namespaces, with loopback as its only network and its own `/run` and `/etc`. Nothing on the host changes, and the kernel
//! ends everything inside with the first process of the namespace, however that ended.
//!
//! ```text
//! outer ── unshare ── init ── inner ── whatever it starts
//!   │                  │         │
//!   └── socket ────────┴─ socket ┘       signals, a byte each; its end: the outer process is gone
//! ```
//!
//! - **outer**: [`confine`] starts `unshare` of util-linux, which makes the namespaces (this workspace has no unsafe code, and
//!   making a process in new namespaces needs some), and passes signals on. `unshare` and what is below it are a process
//!   group of their own, so that Ctrl-C in a terminal reaches the outer process only.
//! - **init**: [`init`], the first process of the namespace. The kernel hands every orphan to it and counts on it to collect
//!   the dead. That is all it does: a process with children of its own (tokio's) could not wait for *any* child without
//!   taking the status of one that somebody else waits for. It ends with the inner process, or when the inner process
//!   has not ended some time after the outer one was gone; and with it everything else ends.
//! - **inner**: the program again, with the same arguments. It calls [`enter`] before anything else, and listens to
//!   [`Signals`].
//!
//! What ends what: `unshare --kill-child` has the kernel kill init when `unshare` dies, the socket tells of the outer
//! process's death, and no process outlives init. So a SIGKILL to any of the four leaves no process, and no mount, for those
//! belong to the namespace.
//!
//! ```no_run
//! # use std::{ffi::OsString, process::ExitCode, time::Duration};
//! # use mountproof_confinement as confinement;
//! # async fn run() -> Result<ExitCode, confinement::Error> {
//! // At the very beginning of `main`, before there is a second thread:
//! if let Some(code) = confinement::init(Duration::from_secs(120)) {
//!     return Ok(code);
//! }
//! if confinement::is_inside() {
//!     let entered = confinement::enter(&confinement::View::default())?;
//!     let signals = confinement::Signals::listen()?;
//!     // The run; `entered.notes` belong into its report.
//!     # let _ = (entered, signals);
//!     Ok(ExitCode::SUCCESS)
//! } else {
//!     let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
//!     let outcome = confinement::confine(&confinement::Plan { arguments }).await?;
//!     Ok(ExitCode::from(outcome.code))
//! }
//! # }
//! ```
//!
//! # Left out
//!
//! - Other systems than Linux.
//! - In a user namespace there is one user, root, who is whoever started the program. Files of others belong to `nobody` and
//!   cannot be given to anybody; root cannot write into the folders of others, as root outside can.
//! - `/sys` is the host's, its list of network interfaces included.
//! - Stopping (Ctrl-Z) stops the outer process only. `nohup` is not respected: SIGHUP is passed on.
//! - On a system that keeps its programs below `/run` (`NixOS`) [`View::keep`] has to name them.

mod init;
mod loopback;
mod outer;
mod probe;
mod signals;
mod view;

pub use init::{INSIDE, init, is_inside};
pub use loopback::Address;
pub use outer::{Outcome, Plan, confine};
pub use probe::{Kind, Why, available};
pub use signals::{Signal, Signals};
pub use view::{
    Entered, OLD_PROVIDER_SOCKETS, POD_IDENTITY_AGENT, PROVIDER_SOCKETS, SERVICE_ACCOUNT, View, enter,
};

use std::{io, path::PathBuf, process::ExitStatus};

/// Why a program could not be confined. Every one is trouble of the machine or of the harness, no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the machine does not offer it.
    #[error(transparent)]
    Unavailable(#[from] Why),
    /// A program of the machine did not start.
    #[error("cannot start {program}: {source}")]
    NotStarted {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// `unshare` ended before there was a process inside. It has said why on standard error.
    #[error("unshare ended ({status}) before anything was started inside; what it said stands above")]
    NotEntered {
        /// How it ended.
        status: ExitStatus,
    },
    /// `unshare` or init was killed, and the kernel ended the inner process with them.
    #[error("what ran inside was cut off: somebody killed `unshare` or the first process in its namespace")]
    CutOff,
    /// Signals cannot be listened to.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// [`enter`] or [`Signals::listen`] outside: there they would change the host.
    #[error("this process is not inside a confinement")]
    NotInside,
    /// A path of the [`View`] that no file system of the confinement's own covers.
    #[error("{path} is not below {below}: it would be made on the host", path = path.display())]
    Misplaced {
        /// Which.
        path: PathBuf,
        /// Where it may be.
        below: &'static str,
    },
    /// The view of the file system could not be made.
    #[error("cannot {what}: {source}")]
    View {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The loopback interface could not be set up.
    #[error("cannot {what} on the loopback interface: {source}")]
    Loopback {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}
