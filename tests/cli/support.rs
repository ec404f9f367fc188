//! A place to run the built binary in, as a user would, and what a run of it came to.
//!
//! Everything of a test lies in one temporary folder: the scenarios that it brings, `out` for reports, `t` for the
//! scratch folders of runs. Every wait has a deadline, and a failure shows both outputs.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest time for anything to happen.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The binary.
pub(crate) const MOUNTPROOF: &str = env!("CARGO_BIN_EXE_mountproof");

/// A scenario that holds a mount for a while, long enough for something to happen meanwhile, and then needs
/// AWS and Kubernetes again.
pub(crate) const HELD: &str = "\
apiVersion: mountproof.dev/v1alpha1
kind: Scenario
metadata: { name: held, profile: faults }
description: A pod keeps its mount while somebody looks, and then gets a new value.
requires: [rotation]
tenants:
  red: { secrets: { rotating: { text: 48 } } }
steps:
  - mount: { as: app, tenant: red, secret: red/rotating, within: 10s }
  - expect: { workload: app, files: current, holds: 3s }
  - update: { secret: red/rotating }
  - expect: { workload: app, files: current, eventually: 10s }
";

/// The same, held for longer than any test runs.
pub(crate) fn held_for_ever() -> String {
    HELD.replace("name: held", "name: held-for-ever")
        .replace("holds: 3s", "holds: 10m")
}

/// A temporary folder to run in.
pub(crate) struct Place {
    root: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        // Short, as the paths of sockets are.
        let root = tempfile::Builder::new()
            .prefix("mp")
            .rand_bytes(5)
            .tempdir_in("/tmp")
            .unwrap();
        fs::create_dir(root.path().join("t")).unwrap();
        Self { root }
    }

    /// With these scenarios in the folder `scenarios`, each of the profile `faults`.
    pub(crate) fn with(scenarios: &[(&str, &str)]) -> Self {
        let place = Self::new();
        let folder = place.path("scenarios/faults");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in scenarios {
            fs::write(folder.join(format!("{name}.yaml")), text).unwrap();
        }
        place
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// The command, with nothing of the surroundings that changes what is printed. Of `run`, with `--out`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MOUNTPROOF);
        self.settle(&mut command);
        command.args(arguments);
        if arguments.first() == Some(&"run") && !arguments.contains(&"--out") {
            command.args(["--out", "out"]);
        }
        command
    }

    /// The same, below another program: `before` ends with what runs the rest of its arguments.
    pub(crate) fn command_below(&self, before: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new(before[0]);
        self.settle(&mut command);
        command.args(&before[1..]).arg(MOUNTPROOF).args(arguments);
        command
    }

    fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.root.path())
            .env("TMPDIR", self.path("t"))
            .env("XDG_STATE_HOME", self.path("state"));
        command.env("RUST_BACKTRACE", "0");
        for name in [
            "NO_COLOR",
            "CLICOLOR_FORCE",
            "CI",
            "MOUNTPROOF_LOG",
            "COLUMNS",
            "KUBEBUILDER_ASSETS",
        ] {
            command.env_remove(name);
        }
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(arguments)).end()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// The folders of runs, the oldest name first.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("out")) else {
            return Vec::new();
        };
        let mut folders: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
        folders.sort();
        folders
    }

    /// The folder of the only run.
    pub(crate) fn only_run(&self) -> PathBuf {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// `results.json` of the only run.
    pub(crate) fn results(&self) -> Value {
        let path = self.only_run().join("results.json");
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
    }

    /// The journal of the only run, as text.
    pub(crate) fn journal(&self) -> String {
        fs::read_to_string(self.only_run().join("journal.jsonl")).unwrap()
    }

    /// Waits until the journal of the only run, which is under way, has a line with all of `words`.
    pub(crate) fn await_line(&self, running: &mut Running, words: &[&str]) {
        self.await_line_within(running, words, PATIENCE);
    }

    /// The same, of something that may take its time.
    pub(crate) fn await_line_within(&self, running: &mut Running, words: &[&str], patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let text = match self.runs().as_slice() {
                [run] => fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default(),
                _ => String::new(),
            };
            if text
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
            {
                return;
            }
            if let Some(status) = running.child.try_wait().unwrap() {
                panic!("it ended ({status}) before {words:?}:\n{text}");
            }
            assert!(Instant::now() < until, "no line with {words:?} in time:\n{text}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until a mount of the scenario [`HELD`], or of [`held_for_ever`], stands and is held.
    pub(crate) fn await_hold(&self, running: &mut Running) {
        self.await_line(running, &["\"step-started\"", "\"step\":1"]);
    }

    /// What runs left in their scratch folder.
    pub(crate) fn scratch(&self) -> Vec<String> {
        fs::read_dir(self.path("t"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Nothing of any run is left outside of its reports.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.scratch(), Vec::<String>::new(), "left in TMPDIR");
        assert_eq!(self.mounts(), Vec::<String>::new(), "left mounted");
    }

    /// Mounts below this place.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let root = self.root.path().display().to_string();
        fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&root))
            .map(str::to_owned)
            .collect()
    }
}

/// The verdicts of the cases, in the order of the plan, with their names.
pub(crate) fn verdicts(results: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    results["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| (text(&case["case"]), text(&case["verdict"])))
        .collect()
}

/// The binary, running.
pub(crate) struct Running {
    child: Child,
    what: String,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    /// What was printed to standard error by now.
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::default();
        Self {
            what: format!("{command:?}"),
            out: read(child.stdout.take().unwrap(), Arc::default()),
            err: read(child.stderr.take().unwrap(), Arc::clone(&said)),
            said,
            child,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it ended by now.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has said this on standard error.
    pub(crate) fn await_said(&self, words: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
            if said.contains(words) {
                return;
            }
            assert!(Instant::now() < until, "it did not say {words:?}: {said}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for the end.
    pub(crate) fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits for the end of something that may take its time.
    pub(crate) fn end_within(mut self, patience: Duration) -> Ended {
        let until = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= until {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                break None;
            }
            std::thread::sleep(LOOK);
        };
        let ended = Ended {
            what: self.what,
            status,
            out: self.out.join().unwrap(),
            err: self.err.join().unwrap(),
        };
        assert!(status.is_some(), "it did not end within {patience:?}{ended}");
        ended
    }
}

/// Everything that comes; `by_now` has what has come so far.
fn read(mut pipe: impl Read + Send + 'static, by_now: Arc<Mutex<Vec<u8>>>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        loop {
            match pipe.read(&mut some).unwrap() {
                0 => return String::from_utf8_lossy(&by_now.lock().unwrap()).into_owned(),
                read => by_now.lock().unwrap().extend_from_slice(&some[..read]),
            }
        }
    })
}

/// How it ended, and what it printed.
pub(crate) struct Ended {
    what: String,
    status: Option<ExitStatus>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "\n--- {}\n--- {:?}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.what, self.status, self.out, self.err
        )
    }
}

impl Ended {
    /// It must have ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let ended = self.status.and_then(|status| status.code());
        assert_eq!(ended, Some(code), "another exit code{self}");
        self
    }

    /// Standard error must hold each of these.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "stderr does not say {word:?}{self}");
        }
        self
    }

    /// Standard output must hold each of these.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "stdout does not say {word:?}{self}");
        }
        self
    }

    /// The status itself, for one that was ended by a signal.
    pub(crate) fn status(&self) -> ExitStatus {
        self.status.unwrap()
    }
}

/// Says why a test cannot be done here, past the capture of the test's output.
pub(crate) fn skipped(test: &str, why: &str) {
    let mut line = String::new();
    let _ = writeln!(line, "skipped {test}: {why}");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Every file below a folder, links not followed.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            found.push(entry.path());
        }
    }
    found
}
