//! What a run may not change of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::support::Place;

/// For what the kernel takes down, or what winds up in order.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was there before.
pub(crate) struct Before {
    hosts: Vec<u8>,
    etc: Vec<PathBuf>,
    accounts: bool,
}

impl Before {
    pub(crate) fn look() -> Self {
        Self {
            hosts: fs::read("/etc/hosts").unwrap_or_default(),
            etc: names(Path::new("/etc")),
            accounts: Path::new("/var/run/secrets/kubernetes.io").exists(),
        }
    }

    /// No process of the run, no mount, nothing in `/run` and `/etc`, nothing in TMPDIR.
    #[track_caller]
    pub(crate) fn is_as_it_was(&self, place: &Place) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (processes, mounts) = (processes(place), mounts(place));
            if processes.is_empty() && mounts.is_empty() {
                break;
            }
            assert!(
                Instant::now() < until,
                "left behind: {processes:?}, mounted {mounts:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(place.scratch(), Vec::<String>::new(), "left in TMPDIR");
        let now = Self::look();
        assert_eq!(now.hosts, self.hosts, "/etc/hosts");
        assert_eq!(now.etc, self.etc, "/etc");
        assert_eq!(now.accounts, self.accounts, "the service account's folder");
        let ours = |path: &PathBuf| path.to_string_lossy().contains("mountproof");
        let left: Vec<PathBuf> = names(Path::new("/run")).into_iter().filter(ours).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "in /run");
    }
}

/// Processes that run in the place, or a program of its cache, or name it.
pub(crate) fn processes(place: &Place) -> Vec<String> {
    let root = place.path("");
    let root = root.to_string_lossy();
    let root = root.trim_end_matches('/');
    let below = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(root));
    let mut found = Vec::new();
    for process in names(Path::new("/proc")) {
        if !below(process.join("cwd")) && !below(process.join("exe")) {
            continue;
        }
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        found.push(format!("{} {line}", process.display()));
    }
    found
}

/// Mounts of the place, and of ours over the machine's own folders.
fn mounts(place: &Place) -> Vec<String> {
    let mut found = place.mounts();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = |line: &&str| {
        let mut fields = line.split(' ');
        let (source, point) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        source.starts_with("mountproof") && ["/run", "/etc", "/mnt"].iter().any(|at| point.starts_with(at))
    };
    found.extend(mounts.lines().filter(ours).map(str::to_owned));
    found
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    names
}
