//! Puts rendered reports on disk: the only IO of reports.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::files::RenderedFile;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report `{}`; free some space or give another folder with --out", path.display())]
pub struct WriteFileError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Writes `files` below `folder`, each under another name first, so that no reader ever sees half
/// of one. Gives the paths written, in order; at the first refusal the rest is not tried.
pub fn write_files(folder: &Path, files: &[RenderedFile]) -> Result<Vec<PathBuf>, WriteFileError> {
    files
        .iter()
        .map(|file| {
            let path = folder.join(&file.path);
            write_atomically(&path, file.text.as_bytes()).map_err(|source| WriteFileError {
                path: path.clone(),
                source,
            })?;
            Ok(path)
        })
        .collect()
}

/// Points `<reports>/latest` at the run's folder beside it, in one step. A real folder of that name
/// is left alone and reported.
pub fn point_latest(reports: &Path, run: &str) -> Result<(), WriteFileError> {
    let latest = reports.join("latest");
    let failed = |source| WriteFileError {
        path: latest.clone(),
        source,
    };
    let temporary = reports.join(format!(".latest-{run}"));
    drop(fs::remove_file(&temporary));
    std::os::unix::fs::symlink(run, &temporary).map_err(failed)?;
    fs::rename(&temporary, &latest).map_err(|source| {
        drop(fs::remove_file(&temporary));
        failed(source)
    })
}

fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let temporary = path.with_file_name(name);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn file(path: &str, text: &str) -> RenderedFile {
        RenderedFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn files_replace_older_ones_and_leave_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let written = write_files(
            folder.path(),
            &[file("a.txt", "old"), file("evidence/x/b.txt", "b")],
        )
        .unwrap();
        assert_eq!(
            written,
            [
                folder.path().join("a.txt"),
                folder.path().join("evidence/x/b.txt")
            ]
        );
        write_files(folder.path(), &[file("a.txt", "new")]).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("evidence"), "a file where a folder must be").unwrap();
        let error = write_files(folder.path(), &[file("evidence/x.txt", "")]).unwrap_err();
        assert!(error.to_string().contains("evidence/x.txt"), "{error}");
    }

    #[test]
    fn latest_moves_from_run_to_run_and_never_removes_a_folder() {
        let reports = tempfile::tempdir().unwrap();
        for run in ["one", "two"] {
            point_latest(reports.path(), run).unwrap();
            assert_eq!(
                fs::read_link(reports.path().join("latest")).unwrap(),
                Path::new(run)
            );
        }
        fs::remove_file(reports.path().join("latest")).unwrap();
        fs::create_dir(reports.path().join("latest")).unwrap();
        point_latest(reports.path(), "three").unwrap_err();
        assert_eq!(
            fs::read_dir(reports.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}
