//! PURE. CSI volumes of pods in a mount table, as `/proc/self/mountinfo` has it (`proc_pid_mountinfo(5)`).

use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// Folder of a pod's CSI volumes, by kubelet's plugin of that name.
const CSI: &str = "volumes/kubernetes.io~csi";

/// A CSI volume of a pod, where its driver mounts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PodVolume {
    /// The pod's uid.
    pub(super) pod: String,
    /// The volume's name.
    pub(super) volume: String,
}

/// What is mounted, by the id of the mount: of two at one place each is there.
pub(super) type Mounted = BTreeSet<(u64, PodVolume)>;

/// Those of a table that are below kubelet's folder of pods.
pub(super) fn volumes(table: &[u8], pods: &Path) -> Mounted {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| volume(line, pods)).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw`
fn volume(line: &[u8], pods: &Path) -> Option<(u64, PodVolume)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = unescaped(fields.nth(3)?);
    let below = point.strip_prefix(pods).ok()?;
    let pod = below.iter().next()?.to_str()?.to_owned();
    let mut below = below.strip_prefix(&pod).ok()?.strip_prefix(CSI).ok()?.iter();
    let volume = below.next()?.to_str()?.to_owned();
    // `<volume>/mount`, and nothing below it.
    let is_whole = below.next()? == "mount" && below.next().is_none();
    is_whole.then_some((id, PodVolume { pod, volume }))
}

/// Blanks and their like are written as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, following)) = rest.split_first() {
        let digits = (*first == b'\\').then(|| following.get(..3)).flatten();
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() {
            &following[3..]
        } else {
            following
        };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csi_volumes_of_pods_are_found_and_nothing_else() {
        let table = b"36 35 0:50 / /var/lib/kubelet/pods/u1/volumes/kubernetes.io~csi/secrets/mount rw shared:1 - tmpfs tmpfs rw\n\
            37 35 0:51 / /var/lib/kubelet/pods/u1/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw\n\
            38 35 0:52 / /var/lib/kubelet/pods/u2/volumes/kubernetes.io~csi/with\\040blank/mount rw - tmpfs tmpfs rw\n\
            39 35 0:53 / /var/lib/kubelet/pods/u2/volumes/kubernetes.io~csi/secrets/mount/deeper rw - tmpfs tmpfs rw\n\
            40 35 0:54 / /var/lib/kubelet/pods/u2/volumes/kubernetes.io~csi/secrets rw - tmpfs tmpfs rw\n\
            41 35 0:55 / /elsewhere/pods/u3/volumes/kubernetes.io~csi/secrets/mount rw - tmpfs tmpfs rw\n\
            42 35 0:56 / /var/lib/kubelet/pods/u1/volumes/kubernetes.io~csi/secrets/mount rw - tmpfs tmpfs rw\n\
            no table\n\n\xff\xff \xff\n43";
        let found = volumes(table, Path::new("/var/lib/kubelet/pods"));
        let found: Vec<(u64, &str, &str)> = found
            .iter()
            .map(|(id, of)| (*id, of.pod.as_str(), of.volume.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (36, "u1", "secrets"),
                (38, "u2", "with blank"),
                (42, "u1", "secrets")
            ],
            "of two mounts at one place each is there"
        );
    }

    #[test]
    fn only_what_is_escaped_is_unescaped() {
        for (text, path) in [
            (&b"/a\\040b"[..], "/a b"),
            (b"/a\\134040", "/a\\040"),
            (b"/a\\9", "/a\\9"),
            (b"/a\\", "/a\\"),
            (b"/a\\777", "/a\\777"),
        ] {
            assert_eq!(unescaped(text), Path::new(path));
        }
    }
}
