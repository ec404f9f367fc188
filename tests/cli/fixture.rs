//! A place for one user's runs, and the binary run in it.
//!
//! Nothing here sleeps and hopes: whoever wants to interrupt a run waits for what it prints or journals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest time that anything may take which a test waits for, on a machine with two busy processors.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// A folder of a test's own, with a report folder and a folder for temporary files in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        // Sockets lie below it, and their paths must be short.
        let folder = tempfile::Builder::new()
            .prefix("mp")
            .rand_bytes(4)
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where the runs' folders go.
    pub(crate) fn reports(&self) -> PathBuf {
        self.path().join("reports")
    }

    /// What stands in `TMPDIR`; a run that ended must have left nothing.
    pub(crate) fn scratch(&self) -> Vec<String> {
        names(&self.path().join("tmp"))
    }

    /// The folder of the only run, also of one that was killed before it pointed `latest` there.
    pub(crate) fn run_folder(&self) -> PathBuf {
        let mut runs = names(&self.reports());
        runs.retain(|name| name != "latest");
        assert_eq!(runs.len(), 1, "one run: {runs:?}");
        self.reports().join(&runs[0])
    }

    /// A file of the only run.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.run_folder().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Waits until the only run has journaled an event of this kind.
    pub(crate) fn until_journaled(&self, run: &Started, kind: &str) {
        let until = Instant::now() + PATIENCE;
        let event = format!("\"event\":{{\"{kind}\"");
        let journal = || {
            let runs = names(&self.reports());
            let run = runs.iter().find(|name| *name != "latest")?;
            fs::read_to_string(self.reports().join(run).join("journal.jsonl")).ok()
        };
        while !journal().is_some_and(|text| text.contains(&event)) {
            assert!(
                Instant::now() < until && run.runs(),
                "never journaled {kind}:\n{}",
                run.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `results.json` of the only run.
    pub(crate) fn results(&self) -> Value {
        serde_json::from_str(&self.file("results.json")).unwrap()
    }

    /// The binary in this place, with nothing of the tests' environment but the path.
    pub(crate) fn mountproof(&self, arguments: &[&str]) -> Invocation {
        self.program(env!("CARGO_BIN_EXE_mountproof"), arguments)
    }

    /// `mountproof run`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Invocation {
        self.mountproof(&[&["run"], arguments].concat())
    }

    /// Another program, such as one that runs the binary with fewer rights.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Invocation {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("TMPDIR", self.path().join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Invocation(command)
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What a test that failed in the middle would leave mounted.
impl Drop for Place {
    fn drop(&mut self) {
        if !self.scratch().is_empty() {
            self.mountproof(&["sweep"]).finish();
        }
    }
}

/// What is mounted at or below a folder.
pub(crate) fn mounts_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounted = table.lines().filter_map(|line| line.split(' ').nth(1));
    mounted
        .filter(|at| Path::new(at).starts_with(folder))
        .map(str::to_owned)
        .collect()
}

/// The binary with mounts of its own, which `script` makes. None where this user may not mount.
pub(crate) fn confined(place: &Place, script: &str, arguments: &[&str]) -> Option<Finished> {
    for rights in ["-m", "-rm"] {
        if place.program("unshare", &[rights, "true"]).finish().code() == Some(0) {
            let script = format!("{script} && exec \"$@\"");
            let mut all = vec![
                rights,
                "sh",
                "-c",
                &script,
                "sh",
                env!("CARGO_BIN_EXE_mountproof"),
            ];
            all.extend(arguments);
            return Some(place.program("unshare", &all).finish());
        }
    }
    None
}

/// A command line that has not begun yet.
pub(crate) struct Invocation(Command);

impl Invocation {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) fn finish(self) -> Finished {
        self.start().finish()
    }

    /// Runs it to its end, which must have this code.
    pub(crate) fn exits(self, code: i32) -> Finished {
        let finished = self.finish();
        finished.must(finished.code() == Some(code), &format!("exit code {code}"));
        finished
    }

    pub(crate) fn start(mut self) -> Started {
        let line = format!("{:?}", self.0);
        let mut child = self.0.spawn().unwrap();
        let text = Arc::new(Text::default());
        let out = read(child.stdout.take().unwrap(), &Arc::new(Text::default()));
        let err = read(child.stderr.take().unwrap(), &text);
        Started {
            child: Some(child),
            line,
            text,
            out,
            err,
        }
    }
}

/// What a stream has said so far, and whether that was all.
type Text = Mutex<(String, bool)>;

fn read(stream: impl Read + Send + 'static, text: &Arc<Text>) -> JoinHandle<String> {
    let text = Arc::clone(text);
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            text.lock().unwrap().0.push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        let mut said = text.lock().unwrap();
        said.1 = true;
        said.0.clone()
    })
}

/// A command under way. It is killed when it is dropped.
pub(crate) struct Started {
    child: Option<Child>,
    line: String,
    text: Arc<Text>,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
}

impl Started {
    /// Whether standard error is still open.
    fn runs(&self) -> bool {
        !self.text.lock().unwrap().1
    }

    /// What standard error has said so far.
    fn said(&self) -> String {
        self.text.lock().unwrap().0.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        let mut child = self.child.take().unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() >= until {
                child.kill().unwrap();
                panic!("{}\ndid not end:\n{}", self.line, self.said());
            }
            thread::sleep(Duration::from_millis(5));
        };
        Finished {
            line: std::mem::take(&mut self.line),
            status,
            out: std::mem::replace(&mut self.out, thread::spawn(String::new))
                .join()
                .unwrap(),
            err: std::mem::replace(&mut self.err, thread::spawn(String::new))
                .join()
                .unwrap(),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a command came to.
pub(crate) struct Finished {
    line: String,
    status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Finished {
    /// None when a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard error must hold each of these.
    pub(crate) fn says(&self, wanted: &[&str]) -> &Self {
        for wanted in wanted {
            self.must(self.err.contains(wanted), &format!("{wanted:?} in what it says"));
        }
        self
    }

    /// Fails with both outputs.
    pub(crate) fn must(&self, holds: bool, what: &str) {
        assert!(
            holds,
            "wanted: {what}\n{}\n{}\n--- standard output\n{}\n--- standard error\n{}",
            self.line, self.status, self.out, self.err
        );
    }
}
