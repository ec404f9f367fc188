//! Where secrets are mounted: a tmpfs where we may mount one, else a private folder.

use std::{
    collections::HashSet,
    ffi::CStr,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What a target path becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A tmpfs, as the real driver mounts it. Needs the right to mount.
    Tmpfs,
    /// A folder with mode 0750 that is the driver's own. Its files are on whatever disk it is on.
    Directory,
    /// The first where it works, else the second.
    Auto,
}

/// The mounts of a node, whichever driver made them: one that comes in the place of another finds what that has mounted, as
/// the kernel would tell it.
#[derive(Debug, Clone)]
pub struct NodeMounts(pub(super) Arc<Mounts>);

impl NodeMounts {
    /// None yet. What `kind` means is settled by what may be done in the folder `scratch`.
    #[must_use]
    pub fn new(kind: MountKind, scratch: &Path) -> Self {
        Self(Arc::new(Mounts::new(kind, scratch)))
    }
}

/// The mounts of one driver.
#[derive(Debug)]
pub(super) struct Mounts {
    tmpfs: bool,
    /// Targets that are mounted.
    targets: Mutex<HashSet<PathBuf>>,
}

impl Mounts {
    /// Settles what `kind` means; `scratch` is a folder to try in.
    pub(super) fn new(kind: MountKind, scratch: &Path) -> Self {
        let tmpfs = match kind {
            MountKind::Tmpfs => true,
            MountKind::Directory => false,
            MountKind::Auto => may_mount(scratch),
        };
        Self {
            tmpfs,
            targets: Mutex::default(),
        }
    }

    pub(super) fn kind(&self) -> MountKind {
        if self.tmpfs {
            MountKind::Tmpfs
        } else {
            MountKind::Directory
        }
    }

    /// Whether `target` is mounted. Fails with `NotFound` where there is no such folder.
    pub(super) fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        let meta = fs::metadata(target)?;
        if !self.tmpfs {
            return Ok(self.lock().contains(target));
        }
        let above = target.parent().unwrap_or(target);
        Ok(meta.dev() != fs::metadata(above)?.dev())
    }

    /// Mounts on the existing folder `target`.
    pub(super) fn mount(&self, target: &Path) -> io::Result<()> {
        if self.tmpfs {
            mount("tmpfs", target, "tmpfs", MountFlags::empty(), None::<&CStr>)?;
        }
        self.lock().insert(target.to_owned());
        Ok(())
    }

    /// Undoes [`Self::mount`]; the folder stays, empty.
    pub(super) fn unmount(&self, target: &Path) -> io::Result<()> {
        if self.tmpfs {
            unmount(target, UnmountFlags::empty())?;
        } else {
            empty(target)?;
        }
        self.lock().remove(target);
        Ok(())
    }

    /// Unmounts everything that is still mounted, even if it is in use, and removes the folders.
    pub(super) fn unmount_all(&self) {
        let targets: Vec<PathBuf> = self.lock().drain().collect();
        for target in targets {
            let undone = if self.tmpfs {
                unmount(&target, UnmountFlags::DETACH).map_err(io::Error::from)
            } else {
                empty(&target)
            };
            match undone.and_then(|()| fs::remove_dir(&target)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(?target, %error, "still mounted");
                }
                _ => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unmounts every tmpfs below `root`: what a killed driver left behind. Says how many there were.
pub fn unmount_below(root: &Path) -> io::Result<usize> {
    let root = root.canonicalize()?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut targets: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(unescape))
        .filter(|target| target.starts_with(&root) && *target != root)
        .collect();
    // The deepest first.
    targets.sort_by_key(|target| std::cmp::Reverse(target.components().count()));
    for target in &targets {
        unmount(target, UnmountFlags::DETACH)?;
    }
    Ok(targets.len())
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> PathBuf {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            plain.push(char::from(code));
            rest = &after[3..];
        } else {
            plain.push('\\');
            rest = after;
        }
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}

fn may_mount(scratch: &Path) -> bool {
    let probe = scratch.join(".mount-probe");
    let tried = fs::DirBuilder::new().mode(0o750).create(&probe).and_then(|()| {
        mount("tmpfs", &probe, "tmpfs", MountFlags::empty(), None::<&CStr>)?;
        Ok(unmount(&probe, UnmountFlags::empty())?)
    });
    let _ = fs::remove_dir(&probe);
    if let Err(error) = &tried {
        tracing::info!(%error, "no right to mount tmpfs; secrets go to plain folders");
    }
    tried.is_ok()
}

/// Removes everything in `folder`.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_mounted_while_the_driver_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("mount");
        let mounts = Mounts::new(MountKind::Directory, folder.path());
        assert_eq!(
            mounts.is_mounted(&target).expect_err("not there").kind(),
            io::ErrorKind::NotFound
        );
        fs::create_dir(&target).expect("made");
        assert!(!mounts.is_mounted(&target).expect("there"));
        mounts.mount(&target).expect("mounted");
        fs::write(target.join("secret"), "x").expect("written");
        assert!(mounts.is_mounted(&target).expect("there"));
        mounts.unmount(&target).expect("unmounted");
        assert!(!mounts.is_mounted(&target).expect("there"));
        assert_eq!(fs::read_dir(&target).expect("there").count(), 0);
    }

    #[test]
    fn mountinfo_escapes_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
        assert_eq!(unescape(r"/plain\x"), PathBuf::from(r"/plain\x"));
    }
}
