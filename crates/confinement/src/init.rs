//! The first process of the namespace: starts the inner process, collects the dead, ends with the inner process.

use std::{
    env, fs, io,
    io::Write as _,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _, process::parent_id},
    },
    process::{self, Command, ExitCode, Stdio},
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, wait},
};

/// The first argument of a program that [`confine`](crate::confine) has started: its command line has to let it pass.
pub const INSIDE: &str = "--inside-confinement";

/// The first byte to the outer process, sent as soon as there is an inner one. The second and last is the exit code: not every
/// `unshare` hands on how init ended (2.38 exits with 1 when it was killed, which might be a verdict).
pub(crate) const ENTERED: u8 = b'E';

/// The exit code where the inner process could not be started, or had to be cut off: the environment could not be had.
const TROUBLE: u8 = 3;

/// Whether this process is the inner one.
#[must_use]
pub fn is_inside() -> bool {
    // Outside, process 1 is another program, or one that this user may not look at.
    let program = |of: &str| fs::read_link(format!("/proc/{of}/exe")).ok();
    is_marked() && parent_id() == 1 && program("1").is_some_and(|first| Some(first) == program("self"))
}

/// Is init, where this process is to be that, and gives the code to exit with; everywhere else does nothing.
///
/// To be called before there is a second thread. When the outer process is gone the inner one has `grace` to end.
#[must_use]
pub fn init(grace: Duration) -> Option<ExitCode> {
    if !is_marked() || process::id() != 1 {
        return None;
    }
    let code = start(grace).unwrap_or_else(|error| {
        complain(&format!("cannot start inside: {error}"));
        TROUBLE
    });
    Some(ExitCode::from(code))
}

fn is_marked() -> bool {
    env::args_os().nth(1).is_some_and(|first| first == INSIDE)
}

/// What init waits for.
enum Ended {
    Inner(WaitStatus),
    /// The outer process was gone, and the inner one had its time.
    OutOfTime,
}

fn start(grace: Duration) -> io::Result<u8> {
    let mut outer = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (to_inner, stdin) = UnixStream::pair()?;
    let mut arguments = env::args_os();
    let mut inner = Command::new("/proc/self/exe");
    inner.arg0(arguments.next().unwrap_or_default());
    let child = inner
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(stdin)))
        .spawn()?;
    // Holds the other end of the inner process's socket.
    drop(inner);
    outer.write_all(&[ENTERED])?;
    let mut last_word = outer.try_clone()?;

    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    thread::spawn({
        let ended = ended.clone();
        move || pass_signals(outer, to_inner, grace, &ended)
    });
    thread::spawn(move || collect(pid, &ended));
    let code = match end.recv() {
        Ok(Ended::Inner(status)) => code(status),
        Ok(Ended::OutOfTime) => {
            complain("the inner process had to be cut off");
            TROUBLE
        }
        Err(_) => TROUBLE,
    };
    // Nobody may be there to hear it.
    let _ = last_word.write_all(&[code]);
    Ok(code)
}

fn pass_signals(mut outer: UnixStream, mut inner: UnixStream, grace: Duration, ended: &Sender<Ended>) {
    // An error is an end as well.
    let _ = io::copy(&mut outer, &mut inner);
    drop(inner);
    thread::sleep(grace);
    let _ = ended.send(Ended::OutOfTime);
}

/// Waits for every child, of which the kernel makes more when processes lose their parents.
fn collect(inner: Pid, ended: &Sender<Ended>) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == inner => {
                let _ = ended.send(Ended::Inner(status));
                return;
            }
            Ok(_) | Err(Errno::INTR) => {}
            // There is no child any more, the inner one neither: the sender goes, and that ends it.
            Err(_) => return,
        }
    }
}

/// As a shell has it. Init cannot end itself by a signal: the kernel shields it.
fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(TROUBLE),
    };
    u8::try_from(code).unwrap_or(TROUBLE)
}

/// Standard error may be gone.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "error: {what}");
}
