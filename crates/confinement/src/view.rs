//! What the inner process and its programs see of the file system: a fresh `/run`, an own `/etc`, the host's everything else.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change, mount_move},
};

use crate::{Address, Error, is_inside, loopback};

/// The EKS Pod Identity Agent listens on these
/// (<https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html>).
pub const POD_IDENTITY_AGENT: [Address; 2] = [
    (IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), 32),
    (IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), 128),
];

/// Where a pod finds its token, the API server's authority and its namespace.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Where providers make their sockets.
pub const PROVIDER_SOCKETS: &str = "/var/run/secrets-store-csi-providers";
/// Where providers of old made them.
pub const OLD_PROVIDER_SOCKETS: &str = "/etc/kubernetes/secrets-store-csi-providers";

/// Our file systems' name in lists of mounts.
const SOURCE: &str = "mountproof";
/// Where the own `/etc` is put together before it goes into its place.
const STAGE: &str = "/run/.etc";

/// What is other than on the host.
#[derive(Clone, Debug)]
pub struct View {
    /// Lines of `/etc/hosts`, all of them.
    pub hosts: Vec<String>,
    /// Files of the confinement's own below `/etc`, `/run` or `/var/run`, with their contents; in the place of the host's.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Empty folders of its own at such places.
    pub folders: Vec<PathBuf>,
    /// What is to be seen of the host's `/run`: the folder of the reports, if it is there. Nothing else is.
    pub keep: Vec<PathBuf>,
    /// Addresses of the loopback interface beside `127.0.0.1` and `::1`.
    pub addresses: Vec<Address>,
}

impl Default for View {
    /// What driver and provider of any version look for, and `localhost`.
    fn default() -> Self {
        Self {
            hosts: vec!["127.0.0.1 localhost".to_owned(), "::1 localhost".to_owned()],
            files: Vec::new(),
            folders: [SERVICE_ACCOUNT, PROVIDER_SOCKETS, OLD_PROVIDER_SOCKETS]
                .map(PathBuf::from)
                .to_vec(),
            keep: Vec::new(),
            addresses: POD_IDENTITY_AGENT.to_vec(),
        }
    }
}

/// What came of a [`View`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// What this machine could not offer, as sentences for the report.
    pub notes: Vec<String>,
}

/// Makes the view, for this process and all that it starts. To be called first of all inside; an error leaves the view
/// half made, and the process is to end.
pub fn enter(view: &View) -> Result<Entered, Error> {
    if !is_inside() {
        return Err(Error::NotInside);
    }
    let own = own(view)?;
    // `unshare` has done so already, but should it ever not: what comes next would be mounted on the host.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(cannot("keep mounts to this namespace"))?;
    fresh_run(&view.keep)?;
    own_etc(&own.etc)?;
    own.run.write("/run")?;
    let users = fs::read_to_string("/proc/self/uid_map").map_err(cannot("read who is who"))?;
    let mut notes = loopback::set_up(&view.addresses)?;
    if is_everybody(&users) {
        notes.push("no user namespace: root inside is root of the machine".to_owned());
    }
    Ok(Entered { notes })
}

/// PURE. Whether a map of users (`user_namespaces`(7)) is that of a machine's first namespace, where all are who they are.
fn is_everybody(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What is at a place of the confinement's own.
#[derive(Debug, PartialEq, Eq)]
enum Own {
    Folder,
    File(Vec<u8>),
}

/// Such places, relative to where they are.
#[derive(Debug, Default)]
struct Places(BTreeMap<PathBuf, Own>);

#[derive(Debug, Default)]
struct AllPlaces {
    etc: Places,
    run: Places,
}

/// PURE. Sorts the own places of a view by the file system that they are on.
fn own(view: &View) -> Result<AllPlaces, Error> {
    let hosts = view
        .hosts
        .iter()
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes();
    let files = view
        .files
        .iter()
        .map(|(path, contents)| (path.clone(), Own::File(contents.clone())));
    let folders = view.folders.iter().map(|path| (path.clone(), Own::Folder));
    let mut own = AllPlaces::default();
    for (path, what) in [(PathBuf::from("/etc/hosts"), Own::File(hosts))]
        .into_iter()
        .chain(files)
        .chain(folders)
    {
        if let Some(rest) = beneath(&path, "/etc") {
            own.etc.0.insert(rest, what);
        } else if let Some(rest) = beneath(&path, "/var/run").or_else(|| beneath(&path, "/run")) {
            own.run.0.insert(rest, what);
        } else {
            return Err(Error::Misplaced {
                path,
                below: "/etc, /run or /var/run",
            });
        }
    }
    Ok(own)
}

/// A path without what it is beneath of; nothing for the folder itself, and for paths that climb.
fn beneath(path: &Path, folder: &str) -> Option<PathBuf> {
    let rest = path.strip_prefix(folder).ok()?;
    let climbs = rest
        .components()
        .any(|part| !matches!(part, Component::Normal(_)));
    (!climbs && rest != Path::new("")).then(|| rest.to_owned())
}

impl Places {
    fn write(&self, root: &str) -> Result<(), Error> {
        for (path, own) in &self.0 {
            let path = Path::new(root).join(path);
            let made = match own {
                Own::Folder => fs::create_dir_all(&path),
                Own::File(contents) => fs::create_dir_all(path.parent().unwrap_or(&path))
                    .and_then(|()| fs::write(&path, contents)),
            };
            made.map_err(cannot(format!("make {}", path.display())))?;
        }
        Ok(())
    }

    /// Whether something of our own is to be at a place of the host.
    fn at(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Whether something of our own is to be inside of a folder of the host.
    fn inside(&self, path: &Path) -> bool {
        self.0.keys().any(|own| own.starts_with(path))
    }
}

/// Covers the host's `/run`, and `/var/run` where that is a folder of its own, but for what is kept.
fn fresh_run(keep: &[PathBuf]) -> Result<(), Error> {
    let mut kept = Vec::new();
    for path in keep {
        let beneath = beneath(path, "/run").ok_or_else(|| Error::Misplaced {
            path: path.clone(),
            below: "/run",
        })?;
        // Held open, it can be reached when it is covered.
        let held = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(cannot(format!("keep {}", path.display())))?;
        kept.push((beneath, path.is_dir(), held));
    }
    tmpfs("/run")?;
    for (beneath, is_folder, held) in kept {
        bind(&at(&held), &Path::new("/run").join(beneath), is_folder)?;
    }
    if fs::canonicalize("/var/run").map_err(cannot("find /var/run"))? != Path::new("/run") {
        mount_bind_recursive("/run", "/var/run").map_err(cannot("show /run at /var/run"))?;
    }
    Ok(())
}

fn at(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Puts an `/etc` together from what the host has there and our own, and covers the host's with it.
fn own_etc(own: &Places) -> Result<(), Error> {
    fs::create_dir(STAGE).map_err(cannot("make a folder on our /run"))?;
    tmpfs(STAGE)?;
    mirror(Path::new(""), own)?;
    own.write(STAGE)?;
    mount_move(STAGE, "/etc").map_err(cannot("put our /etc into its place"))?;
    fs::remove_dir(STAGE).map_err(cannot("remove a folder on our /run"))
}

/// Shows what the host has in a folder of `/etc` at the same place of the stage. A folder that gets something of our own
/// is made anew, for the host's must not change; any other is the host's.
fn mirror(folder: &Path, own: &Places) -> Result<(), Error> {
    let (host, stage) = (Path::new("/etc").join(folder), Path::new(STAGE).join(folder));
    let entries = fs::read_dir(&host).map_err(cannot(format!("read {}", host.display())))?;
    for entry in entries {
        let entry = entry.map_err(cannot(format!("read {}", host.display())))?;
        let path = folder.join(entry.file_name());
        let (from, to) = (entry.path(), stage.join(entry.file_name()));
        if own.at(&path) {
            continue;
        }
        let kind = entry
            .file_type()
            .map_err(cannot(format!("read {}", from.display())))?;
        if own.inside(&path) {
            fs::create_dir(&to).map_err(cannot(format!("make {}", to.display())))?;
            // Through a link as well; a file gives way.
            if from.is_dir() {
                mirror(&path, own)?;
            }
        } else if kind.is_symlink() {
            fs::read_link(&from)
                .and_then(|target| symlink(target, &to))
                .map_err(cannot(format!("link {}", to.display())))?;
        } else {
            match bind(&from, &to, kind.is_dir()) {
                // Removed since the folder was read.
                Err(Error::View { .. }) if !from.exists() => {}
                bound => bound?,
            }
        }
    }
    Ok(())
}

/// Shows at `to`, which is made, what is at `from`.
fn bind(from: &Path, to: &Path, is_folder: bool) -> Result<(), Error> {
    let made = if is_folder {
        fs::create_dir_all(to)
    } else {
        fs::create_dir_all(to.parent().unwrap_or(to)).and_then(|()| fs::write(to, ""))
    };
    made.map_err(cannot(format!("make {}", to.display())))?;
    mount_bind_recursive(from, to).map_err(cannot(format!("show {} at {}", from.display(), to.display())))
}

fn tmpfs(target: &str) -> Result<(), Error> {
    const OPTIONS: &CStr = c"mode=0755";
    mount(
        SOURCE,
        target,
        c"tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        OPTIONS,
    )
    .map_err(cannot(format!("mount a tmpfs on {target}")))
}

fn cannot<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
    move |source| Error::View {
        what: what.into(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_places_are_below_run_and_etc_and_nowhere_else() {
        for (path, etc, run) in [
            ("/etc/kubernetes/x", Some("kubernetes/x"), None),
            ("/run/x", None, Some("x")),
            ("/var/run/secrets/x", None, Some("secrets/x")),
        ] {
            let places = own(&View {
                hosts: Vec::new(),
                folders: vec![path.into()],
                ..View::default()
            })
            .expect("it is allowed");
            let here = |places: &Places, path: Option<&str>| {
                path.is_none_or(|path| places.0.get(Path::new(path)) == Some(&Own::Folder))
            };
            assert!(here(&places.etc, etc) && here(&places.run, run), "{path}");
        }
        for path in [
            "/",
            "/etc",
            "/run",
            "/etcetera/x",
            "/tmp/x",
            "/run/../tmp/x",
            "/var/lib/x",
            "run/x",
            "",
        ] {
            let view = View {
                files: vec![(path.into(), Vec::new())],
                ..View::default()
            };
            assert!(matches!(own(&view), Err(Error::Misplaced { .. })), "{path}");
        }
    }

    #[test]
    fn a_machines_own_map_of_users_is_told_from_a_user_namespaces() {
        assert!(is_everybody("         0          0 4294967295\n"));
        for map in [
            "         0          0          1\n",
            "0 1000 1\n1 100000 65536\n",
            "",
        ] {
            assert!(!is_everybody(map), "{map}");
        }
    }
}
