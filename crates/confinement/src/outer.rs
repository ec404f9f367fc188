//! The outer process: starts the inner one, passes signals on, waits.

use std::{
    env,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
    time::timeout,
};

use crate::{Error, INSIDE, Kind, available, init::ENTERED, signals::Asked};

/// How long the socket may take to end when the last process that held it is dead.
const END_OF_SOCKET: Duration = Duration::from_secs(10);

/// What is to run inside: this program again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its arguments, without the name of the program. [`INSIDE`] is put before them.
    pub arguments: Vec<OsString>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The inner process's exit code, or 128 and the signal's number, as a shell has it.
    pub code: u8,
    /// With a user namespace or without.
    pub kind: Kind,
}

impl Outcome {
    /// The signal that ended it, if one did. Only a program that itself exits with more than 128 looks the same.
    #[must_use]
    pub fn signal(&self) -> Option<u8> {
        self.code
            .checked_sub(128)
            .filter(|signal| (1..=64).contains(signal))
    }
}

/// Runs this program again inside, to its end. SIGINT, SIGTERM and SIGHUP reach it as [`Signals`](crate::Signals); standard
/// output and standard error are the same. Where this is dropped, or its process killed, all that is inside ends.
pub async fn confine(plan: &Plan) -> Result<Outcome, Error> {
    let kind = available().await?;
    let mut asked = Asked::listen().map_err(Error::Signals)?;
    let program = env::current_exe().map_err(not_started("this program again"))?;
    let (ours, theirs) = net::UnixStream::pair().map_err(not_started("unshare"))?;
    let mut unshare = Command::new("unshare");
    unshare
        .args(kind.options())
        .arg("--")
        .arg(program)
        .arg(INSIDE)
        .args(&plan.arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // Ctrl-C in a terminal goes to the whole group: it is for this process to pass on.
        .process_group(0)
        .kill_on_drop(true);
    let mut child = unshare.spawn().map_err(not_started("unshare"))?;
    // Holds the other end of the socket.
    drop(unshare);
    let mut socket = adopted(ours).map_err(not_started("unshare"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(not_started("unshare"))?,
            signal = asked.next() => if let Some(byte) = signal.byte() {
                // Who has just ended needs no signal.
                let _ = socket.write_all(&[byte]).await;
            },
        }
    };
    let mut said = Vec::new();
    let _ = timeout(END_OF_SOCKET, socket.read_to_end(&mut said)).await;
    match said[..] {
        [ENTERED, code] => Ok(Outcome { code, kind }),
        [ENTERED] => Err(Error::CutOff),
        _ => Err(Error::NotEntered { status }),
    }
}

fn adopted(socket: net::UnixStream) -> io::Result<UnixStream> {
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

fn not_started(program: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::NotStarted {
        program: program.to_owned(),
        source,
    }
}
