//! What was obtained before, in the user's cache folder: blobs under their digests, programs under theirs, and what a tag
//! meant when it was last asked for. Every file is written beside its place and renamed into it, so that runs may share
//! the folder; everything is checked against its digest before it is used, and is as good as absent if it does not fit.
//! All functions block.
//!
//! ```text
//! blobs/sha256/<digest>        manifests, configurations, layers as the registry sent them
//! programs/<digest>/<name>     executables
//! images/<manifest>.json       which program an image has, and its arguments
//! references/<digest>.json     which manifest a reference named, and when
//! tmp/                         what is being written
//! ```

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use crate::digest;

/// The cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {} ({source}): look at the rights and the space there, or name another cache folder", path.display())]
pub struct CacheError {
    /// A verb.
    pub doing: &'static str,
    /// In the cache folder.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

/// An open cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// What a reference named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolution {
    pub(crate) reference: String,
    pub(crate) platform: String,
    pub(crate) manifest: String,
    /// Where the reference named an index.
    pub(crate) index: Option<String>,
    pub(crate) at: Timestamp,
}

/// What was found in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Its digest.
    pub(crate) program: String,
    /// Of the file, without folders.
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) version: Option<String>,
}

/// A killed run leaves what it was writing; nothing takes this long to write.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

impl Cache {
    pub(crate) fn open(root: &Path) -> Result<Self, CacheError> {
        let cache = Self {
            root: root.to_owned(),
        };
        for folder in ["blobs/sha256", "programs", "images", "references", "tmp"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(failed("make", &path))?;
        }
        cache.sweep();
        Ok(cache)
    }

    /// A file that becomes a blob or a program, or goes away.
    pub(crate) fn temporary(&self) -> Result<NamedTempFile, CacheError> {
        let folder = self.root.join("tmp");
        NamedTempFile::new_in(&folder).map_err(failed("write in", &folder))
    }

    /// The file of a blob, if it is there and has this digest.
    pub(crate) fn blob(&self, digest: &str) -> Option<PathBuf> {
        verified(self.blob_path(digest), digest)
    }

    pub(crate) fn blob_bytes(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blob_path(digest)).ok()?;
        (digest::of(&bytes) == digest).then_some(bytes)
    }

    /// Takes a file whose digest the caller has checked.
    pub(crate) fn keep_blob(&self, file: NamedTempFile, digest: &str) -> Result<PathBuf, CacheError> {
        place(file, self.blob_path(digest), 0o644)
    }

    /// Keeps bytes under the digest that they have.
    pub(crate) fn keep_bytes(&self, bytes: &[u8]) -> Result<(), CacheError> {
        let path = self.blob_path(&digest::of(bytes));
        self.write(bytes, path)
    }

    /// A program, if it is there and unchanged.
    pub(crate) fn program(&self, digest: &str, name: &str) -> Option<PathBuf> {
        verified(self.program_path(digest, name), digest)
    }

    /// Takes a program that the caller has checked.
    pub(crate) fn keep_program(
        &self,
        file: NamedTempFile,
        digest: &str,
        name: &str,
    ) -> Result<PathBuf, CacheError> {
        if let Some(path) = self.program(digest, name) {
            return Ok(path);
        }
        let path = self.program_path(digest, name);
        let folder = path.parent().expect("it was just joined to one");
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        place(file, path, 0o755)
    }

    pub(crate) fn resolution(&self, reference: &str, platform: &str) -> Option<Resolution> {
        let kept: Resolution = read(&self.resolution_path(reference, platform))?;
        (kept.reference == reference && kept.platform == platform).then_some(kept)
    }

    pub(crate) fn keep_resolution(&self, resolution: &Resolution) -> Result<(), CacheError> {
        let path = self.resolution_path(&resolution.reference, &resolution.platform);
        self.write(
            &serde_json::to_vec_pretty(resolution).expect("a plain record"),
            path,
        )
    }

    pub(crate) fn image(&self, manifest: &str) -> Option<ImageRecord> {
        // The record's name of a file must stay one.
        read(&self.image_path(manifest)).filter(|record: &ImageRecord| record.name == file_name(&record.name))
    }

    pub(crate) fn keep_image(&self, manifest: &str, record: &ImageRecord) -> Result<(), CacheError> {
        self.write(
            &serde_json::to_vec_pretty(record).expect("a plain record"),
            self.image_path(manifest),
        )
    }

    fn write(&self, bytes: &[u8], path: PathBuf) -> Result<(), CacheError> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(failed("write", &path))?;
        place(file, path, 0o644).map(drop)
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(digest::hex(digest))
    }

    fn program_path(&self, digest: &str, name: &str) -> PathBuf {
        self.root.join("programs").join(digest::hex(digest)).join(name)
    }

    fn image_path(&self, manifest: &str) -> PathBuf {
        self.root
            .join("images")
            .join(format!("{}.json", digest::hex(manifest)))
    }

    fn resolution_path(&self, reference: &str, platform: &str) -> PathBuf {
        let key = digest::of(format!("{reference} {platform}").as_bytes());
        self.root
            .join("references")
            .join(format!("{}.json", digest::hex(&key)))
    }

    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else {
            return;
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED_AFTER)) {
                // Another run may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The last part of a path, of letters that a file may be called by.
pub(crate) fn file_name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    let safe = |letter: char| {
        if letter.is_ascii_alphanumeric() || "._-".contains(letter) {
            letter
        } else {
            '_'
        }
    };
    let name: String = last.chars().map(safe).take(100).collect();
    if name.trim_matches('.').is_empty() {
        "program".to_owned()
    } else {
        name
    }
}

fn verified(path: PathBuf, digest: &str) -> Option<PathBuf> {
    let found = digest::of_reader(&mut File::open(&path).ok()?).ok()?;
    (found == digest).then_some(path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn place(file: NamedTempFile, path: PathBuf, mode: u32) -> Result<PathBuf, CacheError> {
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(failed("write", &path))?;
    file.persist(&path)
        .map_err(|error| failed("write", &path)(error.error))?;
    Ok(path)
}

fn failed<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
    move |source| CacheError {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
