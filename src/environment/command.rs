//! Programs of others, run to their end with a deadline.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

/// How a program went wrong.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be started.
    NotRun(String),
    /// It ended with another exit code than 0; the lines that tell why.
    Failed(String),
    /// It did not end in time, and was killed.
    Slow(Duration),
}

/// Runs a program to its end, for what it writes to standard output; it is killed when it takes longer, or when nobody waits
/// any more. In a process group of its own, so that Ctrl-C in a terminal is for the harness, which takes down what the
/// program made.
pub(super) async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    environment: &[(&str, &OsStr)],
    within: Duration,
) -> Result<String, Trouble> {
    let child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Trouble::NotRun(error.to_string()))?;
    let ended = timeout(within, child.wait_with_output()).await;
    let ended = ended
        .map_err(|_| Trouble::Slow(within))?
        .map_err(|error| Trouble::NotRun(error.to_string()))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    Err(Trouble::Failed(last_words(&ended.stderr, &ended.stdout)))
}

/// The lines that tell why: those from one that begins with `ERROR` or `Error` on, else the last few.
fn last_words(complained: &[u8], said: &[u8]) -> String {
    const LINES: usize = 4;
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
    lines[from..]
        .iter()
        .take(LINES)
        .copied()
        .collect::<Vec<_>>()
        .join(" | ")
}
