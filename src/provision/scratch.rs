//! A run's own folder on the machine: sockets, and mounts that outlive a killed process. And those that only a process has, with
//! no ledger that speaks of them: an endpoint's.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    mount::{UnmountFlags, unmount},
    process::geteuid,
};

use super::ledger::Process;

/// What the names of folders begin with that are a process's own.
const OURS: &str = "mountproof-";
/// In the folder of a run's own, so that nothing else is ever taken for one.
pub const MARKER: &str = ".mountproof-run";

/// The only kind of mount that a run makes.
const TMPFS: &str = "tmpfs";

/// A folder is somebody's for as long as this is there.
#[derive(Debug)]
pub struct Owned {
    _locked: fs::File,
}

/// Marks a folder as this process's own: when that is gone, it is [`abandoned`].
///
/// # Errors
///
/// When the mark cannot be written.
pub fn owned_by_process(folder: &Path) -> io::Result<Owned> {
    let marker = folder.join(MARKER);
    fs::write(&marker, serde_json::to_vec(&Process::this()?)?)?;
    let locked = fs::File::open(marker)?;
    locked.lock()?;
    Ok(Owned { _locked: locked })
}

/// This user's folders in `place` whose process is gone, as SIGKILL leaves them. None where it cannot be listed.
#[must_use]
pub fn abandoned(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(OURS));
    let mut found: Vec<PathBuf> = ours
        .map(|entry| entry.path())
        .filter(|path| is_abandoned(path))
        .collect();
    found.sort();
    found
}

fn is_abandoned(folder: &Path) -> bool {
    let Ok(about) = fs::symlink_metadata(folder) else {
        return false;
    };
    // Anybody may write into a folder for temporary files.
    if !about.is_dir() || about.uid() != geteuid().as_raw() {
        return false;
    }
    let marker = folder.join(MARKER);
    let text = fs::read(&marker).unwrap_or_default();
    // A run's own has another mark: its ledger says whose it is.
    let has_ended = serde_json::from_slice(&text).is_ok_and(|process: Process| !process.is_running());
    // In another container its number says nothing, and it has the lock.
    has_ended && fs::File::open(marker).is_ok_and(|marker| marker.try_lock().is_ok())
}

/// Unmounts what a run mounted below its own folder and removes the folder. None is fine.
///
/// # Errors
///
/// For a folder that does not carry the marker of a run or is a link, and for one with a mount that
/// is no run's: nothing is touched then. Else what the system says; it may be tried again.
pub fn scratch_removed(folder: &Path) -> io::Result<()> {
    let about = match fs::symlink_metadata(folder) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let refuse = |why: &str| Err(io::Error::other(format!("{}: {why}", folder.display())));
    if !about.is_dir() {
        return refuse("not a folder, so not a run's own; left alone");
    }
    if !folder.join(MARKER).is_file() {
        return refuse("does not carry the marker of a run; left alone");
    }
    let mounts = mounts_below(folder)?;
    if let Some(other) = mounts.iter().find(|mount| mount.kind != TMPFS) {
        return refuse(&format!(
            "{} is mounted at {}, which no run does; unmount it first",
            other.kind,
            other.at.display()
        ));
    }
    // Later mounts may cover earlier ones.
    for mount in mounts.iter().rev() {
        unmount(&mount.at, UnmountFlags::DETACH).map_err(|error| {
            let error = io::Error::from(error);
            io::Error::new(
                error.kind(),
                format!(
                    "unmount {}: {error}; run sweep as the user who ran mountproof",
                    mount.at.display()
                ),
            )
        })?;
    }
    if !mounts_below(folder)?.is_empty() {
        return refuse("something was mounted in it just now; try again");
    }
    // The marker goes last: whatever fails before can be tried again.
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == MARKER {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir_all(folder)
}

/// A line of the kernel's table of mounts.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    at: PathBuf,
    kind: String,
}

/// Mounts at or below `folder`, the oldest first.
fn mounts_below(folder: &Path) -> io::Result<Vec<Mounted>> {
    let folder = folder.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts(&table)
        .filter(|mount| mount.at.starts_with(&folder))
        .collect())
}

fn mounts(table: &str) -> impl Iterator<Item = Mounted> + '_ {
    table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some(Mounted {
            at: PathBuf::from(unescaped(fields.next()?)),
            kind: fields.next()?.to_owned(),
        })
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| {
            text.replace(escape, plain)
        })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn only_a_folder_with_the_marker_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        assert!(scratch_removed(&other).is_err());
        assert!(other.exists());
        let own = root.path().join("own");
        fs::create_dir_all(own.join("deep/er")).unwrap();
        fs::write(own.join(MARKER), "").unwrap();
        fs::write(own.join("deep/er/file"), "x").unwrap();
        scratch_removed(&own).unwrap();
        assert!(!own.exists());
        scratch_removed(&own).unwrap();
    }

    #[test]
    fn a_folder_is_abandoned_when_its_process_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let ours = folder("mountproof-endpoint-a");
        let owned = owned_by_process(&ours).unwrap();
        assert_eq!(abandoned(root.path()), Vec::<PathBuf>::new(), "we are there");
        let mark = fs::read_to_string(ours.join(MARKER)).unwrap();
        // A process that started at another time under the same number.
        let other = mark.replacen("\"started\":", "\"started\":9", 1);
        // In another container, it is known by nothing but its lock.
        fs::write(ours.join(MARKER), &other).unwrap();
        assert_eq!(abandoned(root.path()), Vec::<PathBuf>::new());
        drop(owned);
        assert_eq!(abandoned(root.path()), std::slice::from_ref(&ours));
        scratch_removed(&ours).unwrap();
        for name in ["mountproof-endpoint-b", "mountproof-nodes-c", "somebodys"] {
            fs::write(folder(name).join(MARKER), &other).unwrap();
        }
        // A run's, and one that is being made.
        fs::write(folder("mountproof-run").join(MARKER), "").unwrap();
        folder("mountproof-new");
        std::os::unix::fs::symlink("mountproof-nodes-c", root.path().join("mountproof-link")).unwrap();
        let expected = ["mountproof-endpoint-b", "mountproof-nodes-c"].map(|name| root.path().join(name));
        assert_eq!(abandoned(root.path()), expected);
        for path in expected {
            scratch_removed(&path).unwrap();
        }
        assert_eq!(abandoned(root.path()), Vec::<PathBuf>::new());
        assert!(root.path().join("somebodys").exists());
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let kept = root.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join(MARKER), "").unwrap();
        fs::write(kept.join("file"), "x").unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        assert!(scratch_removed(&link).is_err(), "the folder itself is a link");

        let own = root.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join(MARKER), "").unwrap();
        std::os::unix::fs::symlink(&kept, own.join("link")).unwrap();
        scratch_removed(&own).unwrap();
        assert!(
            kept.join("file").exists(),
            "a link inside is removed, not followed"
        );
    }

    #[test]
    fn the_table_of_mounts_is_read() {
        let table = "proc /proc proc rw 0 0\ntmpfs /tmp/a\\040b/mount tmpfs rw 0 0\n/dev/x /tmp/back\\134slash ext4 rw 0 0\n";
        let found: Vec<Mounted> = mounts(table).collect();
        assert_eq!(found[1].at, Path::new("/tmp/a b/mount"));
        assert_eq!(found[1].kind, TMPFS);
        assert_eq!(found[2].at, Path::new("/tmp/back\\slash"));
    }

    #[test]
    fn mounts_go_with_the_folder_where_mounting_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("own");
        let target = own.join("pods/uid/mount");
        fs::create_dir_all(&target).unwrap();
        fs::write(own.join(MARKER), "").unwrap();
        let flags = rustix::mount::MountFlags::empty();
        if rustix::mount::mount("tmpfs", &target, TMPFS, flags, None).is_err() {
            return;
        }
        fs::write(target.join("file"), "x").unwrap();
        assert_eq!(mounts_below(&own).unwrap().len(), 1);
        scratch_removed(&own).unwrap();
        assert!(!own.exists());
    }
}
