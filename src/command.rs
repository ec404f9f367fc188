//! Programs of others, run to their end with a deadline.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

/// How a program went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It could not be started.
    NotRun(String),
    /// It ended with another exit code than 0; the lines that tell why.
    Failed(String),
    /// It did not end in time, and was killed.
    Slow(Duration),
}

/// Runs a program to its end, for what it writes to standard output; see [`watched`].
pub(crate) async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    environment: &[(&str, &OsStr)],
    within: Duration,
) -> Result<String, Trouble> {
    watched(program, arguments, environment, within, &|_| ()).await
}

/// Runs a program to its end, while `heard` hears what it complains of, line by line. It is killed, with every program that it
/// runs, when it takes longer, or when nobody waits any more. In a process group of its own, so that Ctrl-C in a terminal is
/// for the harness, which takes down what the program made.
pub(crate) async fn watched<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    environment: &[(&str, &OsStr)],
    within: Duration,
    heard: &(dyn Fn(&str) + Sync),
) -> Result<String, Trouble> {
    let not_run = |error: std::io::Error| Trouble::NotRun(error.to_string());
    let mut child = Command::new(program)
        .envs(environment.iter().copied())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let group = Group::of(&child);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reading = async {
        let (said, complained) = tokio::join!(whole(out), lines(err, heard));
        Ok((said?, complained?, child.wait().await?))
    };
    let ended = timeout(within, reading).await;
    let (said, complained, status) = ended.map_err(|_| Trouble::Slow(within))?.map_err(not_run)?;
    group.has_ended();
    if status.success() {
        return Ok(String::from_utf8_lossy(&said).into_owned());
    }
    Err(Trouble::Failed(last_words(&complained, &said)))
}

async fn whole(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut read).await?;
    }
    Ok(read)
}

async fn lines(
    pipe: Option<impl AsyncRead + Unpin>,
    heard: &(dyn Fn(&str) + Sync),
) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let Some(pipe) = pipe else { return Ok(read) };
    let mut pipe = BufReader::new(pipe);
    loop {
        let from = read.len();
        if pipe.read_until(b'\n', &mut read).await? == 0 {
            return Ok(read);
        }
        heard(&String::from_utf8_lossy(&read[from..]));
    }
}

/// A program and every program that it runs: killed when this is dropped before it has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &tokio::process::Child) -> Self {
        let leader = leader.id().and_then(|id| i32::try_from(id).ok());
        Self(leader.and_then(Pid::from_raw))
    }

    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // One that has just ended is no error.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The lines that tell why: those from one that begins with `ERROR` or `Error` on, as kind's and helm's do, else the last few.
fn last_words(complained: &[u8], said: &[u8]) -> String {
    const LINES: usize = 4;
    /// In characters: kind repeats every command that failed.
    const LONGEST: usize = 500;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (complained, said) = (text(complained), text(said));
    let lines: Vec<&str> = complained
        .lines()
        .chain(said.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let own = lines
        .iter()
        .position(|line| line.starts_with("ERROR") || line.starts_with("Error"));
    let from = own.unwrap_or_else(|| lines.len().saturating_sub(LINES));
    let last = lines[from..].iter().take(LINES).copied().collect::<Vec<_>>();
    let mut last = last.join(" | ");
    if let Some((end, _)) = last.char_indices().nth(LONGEST) {
        last.truncate(end);
        last.push_str(" ...");
    }
    last
}
