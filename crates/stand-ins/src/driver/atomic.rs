//! Files that the driver writes for a provider: a folder named after the time, a `..data` link to it
//! that is switched at once, and a link through it for every file a pod sees.
//!
//! As `AtomicWriter` of Kubernetes does it: unchanged contents are not written again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, tz::TimeZone};
use mountproof_csi_protocol::provider::File;

use crate::go;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4096;

/// Makes `target` show exactly `files`.
pub(super) fn write(target: &Path, files: &[File]) -> Result<(), WriteError> {
    for file in files {
        validate(&file.path)?;
    }
    remove_plain_files(target, files)?;
    for file in files {
        if file.path.split('/').any(|item| item.is_empty() || item == ".") {
            return Err(WriteError::Path(format!("invalid filepath: {:?}", file.path)));
        }
    }
    let payload: BTreeMap<&str, &File> = files.iter().map(|file| (file.path.as_str(), file)).collect();
    let old = match fs::read_link(target.join(DATA)) {
        Ok(name) => Some(target.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let mut stale = BTreeSet::new();
    if let Some(old) = &old {
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for path in payload.keys() {
            kept.extend(Path::new(path).ancestors().map(Path::to_owned));
        }
        stale = paths_below(old)?.difference(&kept).cloned().collect();
        if stale.is_empty() && is_current(old, &payload) {
            return Ok(());
        }
    }
    let fresh = new_folder(target)?;
    for (path, file) in &payload {
        write_file(&fresh.join(path), file)?;
    }
    for path in payload.keys() {
        let first = path.split('/').next().unwrap_or(path);
        let visible = target.join(first);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(first), visible)?;
        }
    }
    let next = target.join(NEW_DATA);
    let name = fresh.file_name().unwrap_or_default();
    symlink(name, &next).inspect_err(|_| drop(fs::remove_dir_all(&fresh)))?;
    fs::rename(&next, target.join(DATA)).inspect_err(|_| {
        let _ = fs::remove_file(&next);
        let _ = fs::remove_dir_all(&fresh);
    })?;
    for path in stale.iter().filter(|path| path.components().count() == 1) {
        fs::remove_file(target.join(path))?;
    }
    if let Some(old) = old {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

/// Files could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Path(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn validate(path: &str) -> Result<(), WriteError> {
    let refuse = |text: String| Err(WriteError::Path(text));
    if path.is_empty() {
        return refuse(format!("invalid path: must not be empty: {path:?}"));
    }
    if path.starts_with('/') {
        return refuse(format!("invalid path: must be relative path: {path}"));
    }
    if path.len() > LONGEST_PATH {
        return refuse(format!(
            "invalid path: must be less than or equal to {LONGEST_PATH} characters"
        ));
    }
    for item in path.split('/') {
        if item == ".." {
            return refuse(format!("invalid path: must not contain '..': {path}"));
        }
        if item.len() > LONGEST_NAME {
            return refuse(format!(
                "invalid path: filenames must be less than or equal to {LONGEST_NAME} characters"
            ));
        }
    }
    if path.starts_with("..") {
        return refuse(format!("invalid path: must not start with '..': {path}"));
    }
    Ok(())
}

/// Removes what a provider that writes its own files left where links are to be.
fn remove_plain_files(target: &Path, files: &[File]) -> Result<(), WriteError> {
    for file in files {
        // Not `join`, which keeps a final dot: a file called `.` is the folder itself.
        let first = match file.path.split('/').next().unwrap_or(&file.path) {
            "." => target.to_owned(),
            name => target.join(name),
        };
        let removed = match fs::symlink_metadata(&first) {
            Ok(meta) if meta.is_symlink() => Ok(()),
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&first),
            Ok(_) => fs::remove_file(&first),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|error| {
            let (path, why) = (first.display(), go::io_text(&error));
            WriteError::Path(format!("cleanup failure: unlinkat {path}: {why}"))
        })?;
    }
    Ok(())
}

fn is_current(old: &Path, payload: &BTreeMap<&str, &File>) -> bool {
    payload
        .iter()
        .all(|(path, file)| fs::read(old.join(path)).is_ok_and(|found| found == file.contents))
}

fn paths_below(root: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.extend(path.strip_prefix(root).map(Path::to_owned));
        }
    }
    Ok(found)
}

fn new_folder(target: &Path) -> io::Result<PathBuf> {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    let folder = target.join(format!("{}.{nanos:09}", now.strftime("..%Y_%m_%d_%H_%M_%S")));
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn write_file(path: &Path, file: &File) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, &file.contents)?;
    // Go's file modes keep set-uid and the like elsewhere: only the nine bits take effect.
    let mode = u32::try_from(file.mode).unwrap_or(0o644) & 0o777;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, contents: &str, mode: i32) -> File {
        File {
            path: path.to_owned(),
            mode,
            contents: contents.as_bytes().to_vec(),
        }
    }

    #[test]
    fn files_show_through_links_and_switch_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path();
        fs::write(target.join("a"), "by the provider, once").expect("written");
        write(target, &[file("a", "1", 0o644), file("b/c", "2", 0o400)]).expect("written");
        assert_eq!(
            fs::read_link(target.join("a")).expect("a link"),
            Path::new("..data/a")
        );
        assert_eq!(fs::read_to_string(target.join("b/c")).expect("read"), "2");
        let mode = fs::metadata(target.join("b/c"))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        let first = fs::read_link(target.join(DATA)).expect("a link");

        write(target, &[file("a", "1", 0o644), file("b/c", "2", 0o400)]).expect("nothing to do");
        assert_eq!(
            fs::read_link(target.join(DATA)).expect("a link"),
            first,
            "unchanged is not written"
        );

        write(target, &[file("a", "3", 0o644)]).expect("written");
        assert_eq!(fs::read_to_string(target.join("a")).expect("read"), "3");
        assert!(
            fs::symlink_metadata(target.join("b")).is_err(),
            "what is gone is removed"
        );
        assert!(!target.join(first).exists(), "the old folder is removed");
    }

    #[test]
    fn paths_that_could_leave_the_folder_are_refused() {
        let long = "n".repeat(256);
        for (path, text) in [
            ("", "must not be empty"),
            ("/a", "must be relative path: /a"),
            ("a/../b", "must not contain '..': a/../b"),
            ("..", "must not contain '..'"),
            ("..a", "must not start with '..': ..a"),
            (&long, "filenames must be less than or equal to 255"),
        ] {
            let error = validate(path).expect_err(path).to_string();
            assert!(error.contains(text), "{path}: {error}");
        }
        for path in ["a", "a/b", "a..b", "a/..b", ".a"] {
            validate(path).expect(path);
        }
    }
}
