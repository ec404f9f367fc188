//! The endpoint as a program, and what judges it as others: fetched once, kept by its pins.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest time until the endpoint says that it is ready, and until it has ended.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longest time for fetching and installing what judges.
pub(crate) const FETCHING: Duration = Duration::from_mins(10);

/// Trials run side by side, and several want the same folder.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether the oracles are to run.
pub(crate) fn asked_for() -> bool {
    std::env::var_os("MOUNTPROOF_ORACLES").is_some_and(|value| value == "1")
}

#[expect(clippy::print_stderr, reason = "a test program tells who reads its output")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// What holds of the program itself.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "program::it_says_where_it_is_and_ends_on_sigterm",
        || {
            let program = Program::start(&[])?;
            for member in ["http", "https", "ca_file", "env_file", "account"] {
                if program.text(member).is_empty() {
                    return Err(format!("no {member} in {}", program.line).into());
                }
            }
            let folder = PathBuf::from(program.text("ca_file"));
            program.stop()?;
            if folder.exists() {
                return Err(format!("{} is still there", folder.display()).into());
            }
            Ok(())
        },
    )]
}

/// `mountproof endpoint` on free ports, with the root key `test` and the secret `test`.
pub(crate) struct Program {
    child: Child,
    /// What it printed when it was ready.
    pub(crate) line: Value,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failed> {
        Self::with_root("test:test", arguments)
    }

    /// As [`Self::start`], with another root key.
    pub(crate) fn with_root(root: &str, arguments: &[&str]) -> Result<Self, Failed> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mountproof"));
        // The scripts have no other identity to begin with.
        command.args(["endpoint", "--root-assumes-roles", "--root-credentials", root]);
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("start mountproof endpoint: {error}"))?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody waits any more: then nobody needs it.
            let _ = sender.send(read.map(|_| line));
        });
        let line = line.recv_timeout(PATIENCE);
        let mut program = Self {
            child,
            line: Value::Null,
        };
        let line = line.map_err(|_| "mountproof endpoint did not say that it is ready")??;
        program.line =
            serde_json::from_str(&line).map_err(|error| format!("not a line of JSON: {line}: {error}"))?;
        Ok(program)
    }

    /// A text of the line it printed; empty where there is none.
    pub(crate) fn text(&self, member: &str) -> &str {
        self.line[member].as_str().unwrap_or_default()
    }

    /// Where it speaks plain HTTP.
    pub(crate) fn http(&self) -> &str {
        self.text("http")
    }

    /// What an AWS client needs to find it, and nothing that would lead it elsewhere.
    pub(crate) fn client(&self, command: &mut Command) {
        without_proxies(command);
        command
            .env("AWS_ENDPOINT_URL", self.http())
            .env("AWS_CA_BUNDLE", self.text("ca_file"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true");
    }

    /// Ends it as a service manager would, and waits.
    pub(crate) fn stop(mut self) -> Result<(), Failed> {
        self.terminate();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("mountproof endpoint ended with {status}").into()),
                None if Instant::now() > until => return Err("SIGTERM does not end it".into()),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Takes away the variables that lead clients elsewhere, or make them trust something else.
pub(crate) fn without_proxies(command: &mut Command) {
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "AWS_CA_BUNDLE",
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
    ] {
        command.env_remove(name);
    }
}

/// A file of this repository's `fixtures/oracles`.
pub(crate) fn fixture(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/oracles")
        .join(below)
}

/// The folder where `prepare` has put what `pins` ask for: made once, and again when a pin changes.
pub(crate) fn prepared(
    name: &str,
    pins: &[PathBuf],
    prepare: impl FnOnce(&Path) -> Result<(), Failed>,
) -> Result<PathBuf, Failed> {
    let mut hash = DefaultHasher::new();
    for pin in pins {
        fs::read(pin)
            .map_err(|error| format!("{}: {error}", pin.display()))?
            .hash(&mut hash);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .ok_or("no target folder")?;
    let folder = target
        .join("oracles")
        .join(format!("{name}-{:016x}", hash.finish()));
    let _fetching = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Written last: what was interrupted is begun again.
    let whole = folder.join(".whole");
    if !whole.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        say(&format!("fetching {name} ..."));
        prepare(&folder)?;
        fs::write(whole, "")?;
    }
    Ok(folder)
}

/// A Python environment with what `requirements` pins; the path of its interpreter.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf, Failed> {
    let folder = prepared(name, &[requirements.to_owned()], |folder| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(folder.join("venv"));
        finished(venv, FETCHING)?;
        let mut install = Command::new(folder.join("venv/bin/pip"));
        install
            .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(requirements);
        finished(install, FETCHING)?;
        Ok(())
    })?;
    Ok(folder.join("venv/bin/python"))
}

/// Runs to the end; what it printed on standard output. A failure shows both outputs.
pub(crate) fn finished(mut command: Command, within: Duration) -> Result<String, Failed> {
    let (status, out, err) = ended(&mut command, within)?;
    if status {
        Ok(out)
    } else {
        Err(format!("{command:?} failed\n{out}\n{err}").into())
    }
}

/// Runs to the end: whether it succeeded, and both outputs.
pub(crate) fn ended(command: &mut Command, within: Duration) -> Result<(bool, String, String), Failed> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let out = drain(child.stdout.take().ok_or("no standard output")?);
    let err = drain(child.stderr.take().ok_or("no standard error")?);
    let until = Instant::now() + within;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if Instant::now() > until => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let (out, err) = (text(out), text(err));
    match status {
        Some(status) => Ok((status.success(), out, err)),
        None => Err(format!("{program} was not done after {within:?}\n{out}\n{err}").into()),
    }
}

fn drain(mut stream: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until it broke is what there is to show.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}
