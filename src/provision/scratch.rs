//! A run's own folder on the machine: sockets, and mounts that outlive a killed process.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

/// In the folder of a run's own, so that nothing else is ever taken for one.
pub const MARKER: &str = ".mountproof-run";

/// The only kind of mount that a run makes.
const TMPFS: &str = "tmpfs";

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
