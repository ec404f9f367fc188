//! The machine as the test sees it: users, processes, namespaces, mounts.

use std::{
    env,
    fmt::{self, Display, Formatter},
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use mountproof_confinement::INSIDE;
use rustix::process::{Pid, getuid};
use tempfile::TempDir;

/// For every wait.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A user namespace to forbid things in.
pub(crate) const NEST: [&str; 8] = [
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
];

/// Whose process is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the test, if that is root.
    Root,
    /// An ordinary user: whoever runs the test, or nobody.
    Ordinary,
}

impl Display for User {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Root => "root",
            Self::Ordinary => "ordinary_user",
        })
    }
}

impl User {
    pub(crate) fn all() -> Vec<Self> {
        if getuid().is_root() {
            vec![Self::Root, Self::Ordinary]
        } else {
            vec![Self::Ordinary]
        }
    }

    /// This binary, run by that user.
    pub(crate) fn command(self, arguments: &[&str]) -> Command {
        let mut command = if self == Self::Ordinary && getuid().is_root() {
            let mut setpriv = Command::new("setpriv");
            setpriv
                .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
                .arg(binary());
            setpriv
        } else {
            Command::new(binary())
        };
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        command
    }
}

/// A copy of this binary where everybody can reach it; one for all tests.
pub(crate) fn binary() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = shared_folder().keep().join("confinement");
        fs::copy(env::current_exe().unwrap(), &copy).unwrap();
        copy
    })
}

/// A folder that everybody can write into.
pub(crate) fn shared_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// An outer process under test, ended with it.
pub(crate) struct Outer {
    child: Child,
    lines: Receiver<String>,
}

impl Outer {
    pub(crate) fn start(user: User, inner: &[&str]) -> Self {
        let arguments: Vec<&str> = [&["outer"], inner].concat();
        let mut child = user
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads until a line is there.
    pub(crate) fn wait_for(&mut self, line: &str) {
        let end = Instant::now() + DEADLINE;
        loop {
            match self
                .lines
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(read) if read == line => return,
                Ok(_) => {}
                Err(error) => panic!("no line {line:?}: {error}; {}", self.errors()),
            }
        }
    }

    /// Waits for its end: status, the lines not read yet, standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let mut status = None;
        until("the outer process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), self.lines.iter().collect(), self.errors())
    }

    /// To be called when nobody writes them any more.
    fn errors(&mut self) -> String {
        let _ = self.child.kill();
        let mut errors = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        errors
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is true.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(
            Instant::now() < end,
            "not within {} s: {what}",
            DEADLINE.as_secs()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    /// Nobody for the first process, and where the parent is in a namespace around this one.
    pub(crate) parent: Option<Pid>,
}

/// All that `/proc` shows, the dead that nobody collected among them.
pub(crate) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap();
    let processes = entries.filter_map(|entry| {
        let pid = Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?)?;
        // `pid (name) state parent`, and a name may contain anything.
        let stat = of(pid, "stat", fs::read_to_string)?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some(Process {
            pid,
            parent: Pid::from_raw(parent),
        })
    });
    processes.collect()
}

/// The one child of a process that is a part of the confinement. Init also has those who lost their parents.
pub(crate) fn child_of(parent: Pid) -> Pid {
    let is_part = |pid| of(pid, "cmdline", fs::read_to_string).is_some_and(|line| line.contains(INSIDE));
    let children = processes()
        .into_iter()
        .filter(|process| process.parent == Some(parent) && is_part(process.pid));
    let children: Vec<Pid> = children.map(|process| process.pid).collect();
    let [child] = children[..] else {
        panic!("{parent:?} has the children {children:?}")
    };
    child
}

/// The process namespace that `unshare` has made, held open lest its name goes to another.
pub(crate) struct Namespace {
    name: PathBuf,
    _held: File,
}

const NAMESPACE: &str = "ns/pid_for_children";

impl Namespace {
    pub(crate) fn made_by(unshare: Pid) -> Self {
        Self {
            name: of(unshare, NAMESPACE, fs::read_link).unwrap(),
            _held: of(unshare, NAMESPACE, File::open).unwrap(),
        }
    }

    /// Who lives in it, and `unshare`.
    pub(crate) fn members(&self) -> Vec<Pid> {
        let is_member = |pid| of(pid, NAMESPACE, fs::read_link).is_some_and(|name| name == self.name);
        processes()
            .into_iter()
            .map(|process| process.pid)
            .filter(|pid| is_member(*pid))
            .collect()
    }
}

/// What `/proc` says of a process, while it lives.
fn of<T>(pid: Pid, what: &str, read: impl FnOnce(String) -> io::Result<T>) -> Option<T> {
    read(format!("/proc/{}/{what}", pid.as_raw_pid())).ok()
}

/// The host's mounts that are ours, or a test's.
pub(crate) fn mounts_of(token: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(token) || line.contains(" tmpfs mountproof ");
    mounts.lines().filter(ours).map(str::to_owned).collect()
}
