//! What stands in a pod's mount, read from the node.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    mount::{OpenTreeFlags, open_tree},
};

use crate::{secret::SecretValue, verdict::files::SeenFile};

/// Where the volume of one pod is mounted on its node.
#[derive(Debug, Clone)]
pub(crate) struct MountPoint(PathBuf);

impl MountPoint {
    /// The target path that kubelet gives to the driver, below the root of the node that has the pod, of those there are;
    /// below the first where none has it, as of a pod that is gone.
    pub(crate) fn of<'a>(
        kubelet_roots: impl IntoIterator<Item = &'a Path>,
        pod_uid: &str,
        volume: &str,
    ) -> Self {
        let mut pods = kubelet_roots
            .into_iter()
            .map(|root| root.join("pods").join(pod_uid))
            .peekable();
        let first = pods.peek().cloned();
        let pod = pods.find(|pod| pod.is_dir()).or(first).unwrap_or_default();
        Self(pod.join("volumes/kubernetes.io~csi").join(volume).join("mount"))
    }

    /// A target path that is known already.
    pub(crate) fn at(target: &Path) -> Self {
        Self(target.to_owned())
    }

    /// Every file as a pod sees it. No mount point is no file.
    ///
    /// The driver's own bookkeeping (`..data` and the folders it points to) is skipped, as its
    /// contents are seen through the links beside it.
    pub(crate) fn files(&self) -> io::Result<Vec<SeenFile>> {
        let mut found = Vec::new();
        let copy = own_copy(&self.0);
        let folder = match &copy {
            Some(copy) => PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())),
            None => self.0.clone(),
        };
        match collect(&folder, "", &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(()) => Ok(found),
        }
    }

    /// Whether the folder itself is gone.
    pub(crate) fn is_gone(&self) -> bool {
        !self.0.exists()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// A copy of what is mounted at `target`, for one look: what is open in a mount keeps it from being taken down, and
/// drivers up to 1.5.6 take a mount that they could not take down for one that is done (seen: an empty folder for a
/// pod that was denied). None where mounts may not be copied, nor where there is nothing.
fn own_copy(target: &Path) -> Option<OwnedFd> {
    open_tree(
        CWD,
        target,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .ok()
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<SeenFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("..") {
            continue;
        }
        let path = entry.path();
        // Follows the link, as a reader in the pod does. A file may be replaced while it is read.
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let name = format!("{prefix}{name}");
        if metadata.is_dir() {
            collect(&path, &format!("{name}/"), found)?;
        } else {
            found.push(SeenFile {
                name,
                content: SecretValue::binary(&fs::read(&path)?),
                mode: metadata.permissions().mode() & 0o7777,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_look_does_not_keep_a_mount_from_being_taken_down() {
        use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
        let folder = tempfile::tempdir().unwrap();
        if mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), None).is_err() {
            // Who may not mount has no mount that could be busy.
            assert!(own_copy(folder.path()).is_none());
            return;
        }
        fs::write(folder.path().join("a"), "x").unwrap();
        let copy = own_copy(folder.path()).unwrap();
        let inside = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
        let open = fs::File::open(inside.join("a")).unwrap();
        unmount(folder.path(), UnmountFlags::empty()).unwrap();
        assert_eq!(fs::read(inside.join("a")).unwrap(), b"x");
        drop((open, copy));
        assert!(MountPoint::at(folder.path()).files().unwrap().is_empty());
    }

    #[test]
    fn files_are_seen_as_a_pod_sees_them() {
        let root = tempfile::tempdir().unwrap();
        let mount = MountPoint::of([root.path()], "uid", "vol");
        assert!(mount.is_gone());
        assert!(mount.files().unwrap().is_empty());

        fs::create_dir_all(mount.path().join("..2026")).unwrap();
        assert!(!mount.is_gone());
        fs::write(mount.path().join("..2026/linked"), "a").unwrap();
        std::os::unix::fs::symlink("..2026", mount.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/linked", mount.path().join("linked")).unwrap();
        fs::write(mount.path().join("plain"), "b").unwrap();
        fs::set_permissions(mount.path().join("plain"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(mount.path().join("nested")).unwrap();
        fs::write(mount.path().join("nested/file"), "c").unwrap();

        let mut seen: Vec<(String, Vec<u8>)> = mount
            .files()
            .unwrap()
            .iter()
            .map(|file| (file.name.clone(), file.content.expose().to_vec()))
            .collect();
        seen.sort();
        let expected: Vec<(String, Vec<u8>)> = [("linked", "a"), ("nested/file", "c"), ("plain", "b")]
            .map(|(n, c)| (n.into(), c.into()))
            .to_vec();
        assert_eq!(seen, expected);
        let plain = mount
            .files()
            .unwrap()
            .into_iter()
            .find(|file| file.name == "plain")
            .unwrap();
        assert_eq!(plain.mode, 0o600);
    }
}
