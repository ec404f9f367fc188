//! LocalStack in a container of Docker's, for as long as the endpoint before it runs.
//!
//! Spoken to through the `docker` command, which finds the engine that its user works with (`DOCKER_HOST`, contexts,
//! TLS) and speaks the version of the API that the engine has. `testcontainers`, by its source, asks for one version
//! (0.28 for 1.53, 0.27 for 1.52, 0.25 and 0.26 for 1.49, 0.23 and 0.24 for 1.47), while Debian 12's engine (20.10) has
//! 1.41 and answered requests of 1.42, 1.44 and 1.53 with "client version 1.53 is too new. Maximum
//! supported API version is 1.41". The port is published on the loopback interface only, as what is behind it lets in
//! whoever asks.
//!
//! The container goes when the endpoint stops. One whose process was killed is known by its labels, and is removed by
//! the next that starts one, and by `sweep`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The last image that asks for no account.
pub const DEFAULT_IMAGE: &str = "localstack/localstack:4.14.0";

/// The port inside of the container.
const PORT: &str = "4566/tcp";
/// What the container says when it serves.
const READY: &str = "Ready.";
/// Whose container it is: the process that started it. Both together mean one process, as ids come again.
const OWNER: &str = "mountproof.owner";
/// Longest wait for the engine to answer something short.
const ENGINE: Duration = Duration::from_secs(20);
/// Longest wait for a container to be made; the image may have to be pulled.
const CREATION: Duration = Duration::from_mins(10);
/// How often it is asked whether to give up.
const GLANCE: Duration = Duration::from_millis(100);
/// Longest wait for LocalStack to serve.
const START: Duration = Duration::from_mins(2);

/// LocalStack could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalStackError {
    /// No engine.
    #[error(
        "cannot start LocalStack: Docker is not there ({because}); start it, or give the address of a LocalStack: --backend http://HOST:PORT"
    )]
    NoDocker {
        /// What was seen.
        because: String,
    },
    /// No container.
    #[error("cannot start LocalStack from the image {image}: {because}")]
    NotStarted {
        /// The image.
        image: String,
        /// What was seen.
        because: String,
    },
}

/// A running LocalStack. Dropping it removes its container.
#[derive(Debug)]
pub struct LocalStack {
    container: String,
    url: String,
}

impl LocalStack {
    /// Starts a container from `image`, pulling it where it is missing, and waits until it serves, or until `stop`
    /// says to give up. Blocks.
    ///
    /// # Errors
    /// Where there is no Docker, and when the container does not come up; it is removed then.
    pub fn start(image: &str, stop: &dyn Fn() -> bool) -> Result<Self, LocalStackError> {
        check_engine()?;
        let failed = |because: String| LocalStackError::NotStarted {
            image: image.to_owned(),
            because,
        };
        // Of no concern to this one, if it fails.
        let _ = remove_orphans();
        let label = format!("{OWNER}={}", owner(std::process::id()).unwrap_or_default());
        let run = [
            "run",
            "--detach",
            "--publish",
            "127.0.0.1::4566",
            "--label",
            &label,
            // Reports nothing home.
            "--env",
            "DISABLE_EVENTS=1",
            image,
        ];
        let container = docker_until(&run, CREATION, stop).map_err(failed)?;
        let mut started = Self {
            container: container.lines().last().unwrap_or_default().to_owned(),
            url: String::new(),
        };
        started.until_ready(stop).map_err(failed)?;
        let published = docker(&["port", &started.container, PORT], ENGINE).map_err(failed)?;
        let address = published.lines().next().unwrap_or_default();
        started.url = format!("http://{address}");
        Ok(started)
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The container's id.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Reads the container's log until it says that it is ready.
    fn until_ready(&self, stop: &dyn Fn() -> bool) -> Result<(), String> {
        let mut following = Command::new("docker")
            .args(["logs", "--follow", &self.container])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (sender, lines) = mpsc::channel();
        if let Some(out) = following.stdout.take() {
            forward_lines(out, sender.clone());
        }
        if let Some(err) = following.stderr.take() {
            forward_lines(err, sender);
        }
        let until = Instant::now() + START;
        let mut last = String::new();
        let ready = loop {
            match lines.recv_timeout(GLANCE) {
                Ok(line) if line.trim() == READY => break Ok(()),
                Ok(line) => last = line,
                Err(mpsc::RecvTimeoutError::Timeout) if stop() => break Err("asked to stop".to_owned()),
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    break Err(format!(
                        "not ready after {} s; its log ends with: {last}",
                        START.as_secs()
                    ));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    break Err(format!("it ended; its log ends with: {last}"));
                }
            }
        };
        end(&mut following);
        ready
    }
}

impl Drop for LocalStack {
    fn drop(&mut self) {
        // Volumes are the container's own: there is nothing in them that anyone asked to keep.
        if let Err(because) = remove(&self.container) {
            tracing::warn!(
                container = self.container,
                because,
                "LocalStack is still there: mountproof sweep"
            );
        }
    }
}

/// Removes the containers whose process is gone; their ids.
///
/// # Errors
/// What Docker says.
pub fn remove_orphans() -> Result<Vec<String>, String> {
    let orphans = orphans()?;
    for container in &orphans {
        remove(container)?;
    }
    Ok(orphans)
}

/// Removes a container with its volumes.
///
/// # Errors
/// What Docker says.
pub fn remove(container: &str) -> Result<(), String> {
    docker(&["rm", "--force", "--volumes", container], ENGINE).map(drop)
}

/// The containers whose process is gone.
///
/// # Errors
/// What Docker says; also where there is none.
pub fn orphans() -> Result<Vec<String>, String> {
    let filter = format!("label={OWNER}");
    let format = format!("{{{{.ID}}}} {{{{.Label \"{OWNER}\"}}}}");
    let listed = docker(
        &[
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            &format,
        ],
        ENGINE,
    )?;
    let orphans = listed.lines().filter_map(|line| line.split_once(' '));
    Ok(orphans
        .filter(|(_, owned_by)| !lives(owned_by))
        .map(|(container, _)| container.to_owned())
        .collect())
}

/// A process among all that there were since this machine started: its id, when it started, and the machine's start.
fn owner(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold blanks.
    let (_, fields) = stat.rsplit_once(')')?;
    let started = fields.split_whitespace().nth(19)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{pid}.{started}.{}", boot.trim()))
}

/// Whether the process lives that is called so by [`owner`]. What cannot be read is taken to live.
fn lives(owned_by: &str) -> bool {
    let pid = owned_by.split('.').next().and_then(|pid| pid.parse().ok());
    pid.is_none_or(|pid| owner(pid).as_deref() == Some(owned_by))
}

fn check_engine() -> Result<(), LocalStackError> {
    match docker(&["version", "--format", "{{.Server.Version}}"], ENGINE) {
        Ok(_) => Ok(()),
        Err(because) => Err(LocalStackError::NoDocker { because }),
    }
}

/// What a `docker` command printed, or the last line of what it complained of.
fn docker(arguments: &[&str], within: Duration) -> Result<String, String> {
    docker_until(arguments, within, &|| false)
}

/// As [`docker`], or until `stop` says to give up.
fn docker_until(arguments: &[&str], within: Duration, stop: &dyn Fn() -> bool) -> Result<String, String> {
    let mut child = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no docker command".to_owned(),
            _ => format!("docker: {error}"),
        })?;
    let (out, err) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let until = Instant::now() + within;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if stop() => {
                end(&mut child);
                return Err("asked to stop".to_owned());
            }
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
            _ => {
                end(&mut child);
                return Err(format!(
                    "docker {} was not done after {} s",
                    arguments[0],
                    within.as_secs()
                ));
            }
        }
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().unwrap_or_default().trim().to_owned();
    let (out, err) = (text(out), text(err));
    if status.success() {
        return Ok(out);
    }
    let complaint = err
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty() && !line.starts_with("See '") && !line.starts_with("Run '"));
    Err(complaint
        .unwrap_or("docker failed without a word")
        .trim()
        .to_owned())
}

fn drain(stream: Option<impl std::io::Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came until it broke is what there is.
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn forward_lines(stream: impl std::io::Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let me = owner(std::process::id()).unwrap();
        assert!(lives(&me));
        let parts: Vec<&str> = me.split('.').collect();
        let [pid, started, boot] = parts[..] else {
            panic!("{me}");
        };
        assert!(
            !lives(&format!("{pid}.1{started}.{boot}")),
            "another process of that number"
        );
        assert!(
            !lives(&format!("{pid}.{started}.another-boot")),
            "before the machine started"
        );
        assert!(
            !lives(&format!("4194305.{started}.{boot}")),
            "no process has that number"
        );
    }

    #[test]
    fn a_label_that_cannot_be_read_is_nobody_to_remove() {
        assert!(lives("") && lives("somebody"));
    }
}
