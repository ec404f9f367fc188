//! The folder of a run, and the id that names it.

use std::path::{Path, PathBuf};

use rand::RngExt as _;

use super::run::StartError;

/// The folder of a run, made for it, which goes again with a run that cannot begin.
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
    kept: bool,
}

impl RunFolder {
    pub(super) fn make(out: &Path, run_id: &str) -> Result<Self, StartError> {
        let path = out.join(run_id);
        // Never one that is there already: what this one holds may be removed.
        std::fs::create_dir_all(out)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|source| StartError::Folder {
                path: path.clone(),
                source,
            })?;
        Ok(Self { path, kept: false })
    }

    pub(super) fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept {
            // The error that ends the run is the one to be told.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// Six letters and digits that read well aloud: no vowels, so no words, and none that look alike.
pub(super) fn draw_id() -> String {
    const LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
    let mut random = rand::rng();
    (0..6)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}
