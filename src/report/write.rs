//! Puts rendered reports on disk: the only IO of reports.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::files::RenderedFile;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report `{}`: {source}; free some space or give another folder with --out", path.display())]
pub struct WriteFileError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// What became of the files of a report.
#[must_use]
#[derive(Debug, Default)]
pub struct Written {
    /// Those that are there, by their names below the folder, in order.
    pub files: Vec<String>,
    /// Those that are not.
    pub refused: Vec<WriteFileError>,
}

/// Writes `files` below `folder`, each under another name first, so that no reader ever sees half
/// of one. Every one is tried: what is too large for a disk may leave room for the others.
pub fn write_files(folder: &Path, files: Vec<RenderedFile>) -> Written {
    let mut written = Written::default();
    for file in files {
        let path = folder.join(&file.path);
        match write_atomically(&path, file.text.as_bytes()) {
            Ok(()) => written.files.push(file.path),
            Err(source) => written.refused.push(WriteFileError { path, source }),
        }
    }
    written
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
            vec![file("a.txt", "old"), file("evidence/x/b.txt", "b")],
        );
        assert_eq!(written.files, ["a.txt", "evidence/x/b.txt"]);
        drop(write_files(folder.path(), vec![file("a.txt", "new")]));
        assert_eq!(fs::read_to_string(folder.path().join("a.txt")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unwritable_place_is_named_and_the_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("evidence"), "a file where a folder must be").unwrap();
        let written = write_files(folder.path(), vec![file("evidence/x.txt", ""), file("a.txt", "")]);
        assert_eq!(written.files, ["a.txt"]);
        let [error] = &written.refused[..] else {
            panic!("{written:?}")
        };
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
