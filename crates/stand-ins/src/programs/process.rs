//! One running program: started, watched, ended.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::AsyncReadExt as _,
    net::UnixStream,
    process::{Child, Command},
    sync::watch,
};

use super::{ProgramSpec, StartError, file, flags::KnownFlags, output::Output};

/// How long it may take to end when asked to.
const LEAVING: Duration = Duration::from_secs(5);

/// How long it may take to say something about itself, and how much it may say.
const ASKING: Duration = Duration::from_secs(5);
const ANSWER: u64 = 256 * 1024;

/// A running program. It is killed when this goes.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    /// Signals go here: the number of a process that ended may be another's by then.
    handle: OwnedFd,
    ended: watch::Receiver<Option<String>>,
    /// Where it serves, if that is a socket.
    socket: Option<PathBuf>,
    output: Output,
    /// Whether it was us who ended it.
    ended_by_us: AtomicBool,
}

impl Process {
    /// Runs `command`, its output appended to `log`, until it serves on `socket`.
    pub(super) async fn start(
        command: Command,
        program: &Path,
        socket: &Path,
        log: &Path,
        ready: Duration,
    ) -> Result<Self, StartError> {
        // One that was killed leaves it. Kubelet's and a DaemonSet's folders outlive their programs, too.
        let _ = std::fs::remove_file(socket);
        let mut process = Self::spawn(command, program, log)?;
        process.socket = Some(socket.to_owned());
        let began = Instant::now();
        while UnixStream::connect(socket).await.is_err() {
            let (program, socket, log) = (program.to_owned(), socket.to_owned(), log.to_owned());
            if let Some(how) = process.exited() {
                process.output.settle().await;
                let last_words = process.output.last_words();
                return Err(StartError::Ended {
                    program,
                    how,
                    socket,
                    last_words,
                    log,
                });
            }
            if began.elapsed() > ready {
                process.kill().await;
                let last_words = process.output.last_words();
                return Err(StartError::Hangs {
                    program,
                    socket,
                    waited: ready,
                    last_words,
                    log,
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(process)
    }

    /// Runs `command`, its output appended to `log`, and does not wait until it serves.
    pub(super) fn spawn(mut command: Command, program: &Path, log: &Path) -> Result<Self, StartError> {
        let run = |source| StartError::Run {
            program: program.to_owned(),
            source,
        };
        let (output, writer) = Output::to(log).map_err(file(log))?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(run)?)
            .stderr(writer)
            .kill_on_drop(true);
        let child = command.spawn().map_err(run)?;
        // It holds the ends of the pipe.
        drop(command);
        let pid = child.id().unwrap_or_default();
        let handle = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|error| run(error.into()))?;
        Ok(Self {
            pid,
            handle,
            ended: watch_over(child),
            socket: None,
            output,
            ended_by_us: AtomicBool::new(false),
        })
    }

    /// The number of the process.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its output.
    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// How it ended, if it did.
    pub(super) fn exited(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Whether its end, if it came to one, was asked for.
    pub(super) fn was_ended_by_us(&self) -> bool {
        self.ended_by_us.load(Ordering::SeqCst)
    }

    /// Waits until it ends; says how.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let how = ended.wait_for(Option::is_some).await;
        how.ok().and_then(|how| how.clone()).unwrap_or_default()
    }

    /// Asks it to end, and kills it where it does not. Its socket is gone afterwards.
    pub(super) async fn stop(&self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(LEAVING, self.ended()).await.is_err() {
            self.kill().await;
        }
        self.output.settle().await;
        if let Some(socket) = &self.socket {
            let _ = std::fs::remove_file(socket);
        }
    }

    /// Kills it; its socket stays, dead, as it does then.
    pub(super) async fn kill(&self) {
        self.signal(Signal::KILL);
        let _ = tokio::time::timeout(LEAVING, self.ended()).await;
        self.output.settle().await;
    }

    fn signal(&self, signal: Signal) {
        // One that came to its end by itself was not ended by this.
        if self.exited().is_none() {
            self.ended_by_us.store(true, Ordering::SeqCst);
        }
        // One that ended needs none.
        let _ = pidfd_send_signal(&self.handle, signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn watch_over(mut child: Child) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let how = match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        sender.send_replace(Some(how));
    });
    receiver
}

/// A command with none of our own environment: it may name proxies and authorities.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// What `spec` says on `flag`, with how it ended: what it wrote to standard output, then what to the other. What it
/// has not said in time is not waited for, nor is what is more than anybody has to say.
pub(super) async fn ask(spec: &ProgramSpec, flag: &str) -> Result<(Option<ExitStatus>, String), StartError> {
    let mut command = clean(&spec.program);
    command
        .args(&spec.arguments)
        .arg(flag)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|source| StartError::Run {
        program: spec.program.clone(),
        source,
    })?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = async {
        let out = async {
            match out {
                Some(out) => out.take(ANSWER).read_to_end(&mut said).await,
                None => Ok(0),
            }
        };
        let err = async {
            match err {
                Some(err) => err.take(ANSWER).read_to_end(&mut complained).await,
                None => Ok(0),
            }
        };
        let _ = tokio::join!(out, err);
        child.wait().await.ok()
    };
    let status = tokio::time::timeout(ASKING, read).await.unwrap_or(None);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let _ = child.start_kill();
    Ok((status, format!("{}\n{}", text(&said), text(&complained))))
}

/// Which flags `spec` knows, from what it says itself.
pub(super) async fn known_flags(spec: &ProgramSpec) -> Result<KnownFlags, StartError> {
    let (_, help) = ask(spec, "--help").await?;
    Ok(KnownFlags::read(&help))
}
