//! Images in files: what `docker save` writes, and OCI layouts as a folder or in a tar. All functions block.
//!
//! Nothing is unpacked. Of a tar the places of its entries are noted, and what is needed is copied from there into
//! the cache under the digest that it has; a name decides only what is looked up, never where something is written.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>; of `docker save` there is no
//! specification but <https://github.com/moby/docker-image-spec>.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tar::EntryType;
use tempfile::NamedTempFile;

use crate::{
    cache::{Cache, CacheError},
    digest,
    image::{Config, Descriptor, ImageError, Manifest, Platform},
    layers::{Extended, inside},
    unpack,
};

/// Why a file or folder is no image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Nothing there.
    #[error("there is no such file or folder: look at the path")]
    Missing,
    /// Refused by the operating system, or damaged.
    #[error("it cannot be read ({problem}): save the image again")]
    Unreadable {
        /// What was found.
        problem: String,
    },
    /// Something else in a tar, or in a folder.
    #[error(
        "it is neither an OCI layout nor what docker save writes (no oci-layout and index.json, no manifest.json): save the image with docker save or skopeo copy"
    )]
    NotAnImage,
    /// `..`, an absolute path, a link out, a device.
    #[error("it has the entry {entry:?}, {why}: do not use this archive")]
    UnsafeEntry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The same name twice, of which readers take different ones.
    #[error("it has the entry {entry:?} twice: save the image again")]
    Duplicate {
        /// Its name.
        entry: String,
    },
    /// Named by the manifest, but not there.
    #[error(
        "it does not have {entry}, which its manifest names: save the image again, whole and for this platform"
    )]
    Incomplete {
        /// Name of the entry.
        entry: String,
    },
    /// Saved by its digest.
    #[error("its image has no name: save it by name and tag, with docker save NAME:TAG")]
    NoName,
    /// More than one that would do.
    #[error("it has several images ({names}): save only one")]
    ManyImages {
        /// By their tags.
        names: String,
    },
    /// Changed since it was saved.
    #[error("{entry} in it has the digest {found} and not {expected}: save the image again")]
    DigestMismatch {
        /// Name of the entry.
        entry: String,
        /// As the manifest has it.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// An archive bomb.
    #[error("it has more than {limit} unpacked: look whether it is the right archive")]
    TooLarge {
        /// With its unit.
        limit: String,
    },
    /// What the image itself says.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The cache folder.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Of an archive unpacked.
const LARGEST_BYTES: u64 = 8 << 30;
const MOST_ENTRIES: usize = 100_000;
/// Of `index.json`, a manifest or a configuration.
const LARGEST_DOCUMENT_BYTES: u64 = 4 << 20;
/// Indexes in indexes.
const DEEPEST: usize = 4;

/// The name under which the one image of an archive was saved, `NAME:TAG`. What is packed is unpacked in `work`.
///
/// # Errors
///
/// When it is no image, or several, or has no name.
pub fn saved_name(path: &Path, work: &Path) -> Result<String, ArchiveError> {
    let archive = Archive::open(path, &Cache::open(work)?)?;
    // `docker save` of today writes both, and what reads the archive into a cluster goes by the first.
    let named = if archive.has("manifest.json") {
        let images: Vec<Saved> = serde_json::from_slice(&archive.document("manifest.json")?)
            .map_err(|error| ImageError::malformed("manifest.json", error))?;
        images.iter().filter_map(Saved::tag).collect::<Vec<_>>()
    } else if archive.has("index.json") {
        let index = Manifest::parse(&archive.document("index.json")?)?;
        index.manifests.iter().filter_map(name_of).collect()
    } else {
        return Err(ArchiveError::NotAnImage);
    };
    match &named[..] {
        [one] if one.contains(':') => Ok(one.clone()),
        [] | [_] => Err(ArchiveError::NoName),
        several => Err(ArchiveError::ManyImages {
            names: several.join(", "),
        }),
    }
}

/// An archive that was looked through.
#[derive(Debug)]
pub(crate) enum Archive {
    Folder(PathBuf),
    Tar {
        file: PathBuf,
        entries: BTreeMap<String, Entry>,
        _unpacked: Option<NamedTempFile>,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    File { at: u64, bytes: u64 },
    Link(String),
}

/// The one image of an archive that is for this machine.
#[derive(Debug)]
pub(crate) struct ArchivedImage {
    /// Of its manifest; of its configuration where there is no manifest (`docker save` before 25), as Docker's image ID.
    pub(crate) digest: String,
    pub(crate) config: Vec<u8>,
    /// The lowest first.
    pub(crate) layers: Vec<Descriptor>,
    /// The name under which it was saved.
    pub(crate) reference: Option<String>,
}

impl Archive {
    pub(crate) fn open(path: &Path, cache: &Cache) -> Result<Self, ArchiveError> {
        let metadata = fs::metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ArchiveError::Missing,
            _ => unreadable(error),
        })?;
        if metadata.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if !metadata.is_file() {
            return Err(ArchiveError::Unreadable {
                problem: "it is a device, pipe or socket".to_owned(),
            });
        }
        let mut start = [0; 4];
        let read = File::open(path)
            .and_then(|file| file.take(4).read(&mut start))
            .map_err(unreadable)?;
        let is_packed = matches!(start, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) && read == 4;
        let unpacked = if is_packed {
            Some(unpack_whole(path, cache)?)
        } else {
            None
        };
        let file = unpacked.as_ref().map_or(path, NamedTempFile::path).to_owned();
        let entries = entries(File::open(&file).map_err(unreadable)?)?;
        Ok(Self::Tar {
            file,
            entries,
            _unpacked: unpacked,
        })
    }

    /// Finds the image. Layers of an OCI layout are taken when they are asked for ([`Self::blob`]).
    pub(crate) fn image(&self, host: &Platform, cache: &Cache) -> Result<ArchivedImage, ArchiveError> {
        // Docker 25 and later write both; the manifest's digest is the one that registries know.
        if self.has("oci-layout") && self.has("index.json") {
            self.of_layout(host)
        } else if self.has("manifest.json") {
            self.of_docker(cache)
        } else {
            Err(ArchiveError::NotAnImage)
        }
    }

    /// A blob of an OCI layout, by way of the cache.
    pub(crate) fn blob(&self, descriptor: &Descriptor, cache: &Cache) -> Result<PathBuf, ArchiveError> {
        if let Some(path) = cache.blob(&descriptor.digest) {
            return Ok(path);
        }
        let entry = blob_name(&descriptor.digest);
        let (file, found) = self.copy(&entry, descriptor.size, cache)?;
        same(&entry, &descriptor.digest, found)?;
        Ok(cache.keep_blob(file, &descriptor.digest)?)
    }

    fn of_layout(&self, host: &Platform) -> Result<ArchivedImage, ArchiveError> {
        let index = Manifest::parse(&self.document("index.json")?)?;
        let mut seen = BTreeSet::new();
        let fitting: Vec<&Descriptor> = (index.manifests.iter())
            .filter(|entry| entry.platform.as_ref().is_none_or(|platform| platform.fits(host)))
            .filter(|entry| seen.insert(&entry.digest))
            .collect();
        let chosen = match fitting[..] {
            [one] => one,
            [] => index
                .choose(host)?
                .ok_or_else(|| ImageError::malformed("index.json", "it lists no image"))?,
            _ => {
                let names: Vec<String> = fitting
                    .iter()
                    .map(|entry| name_of(entry).unwrap_or_else(|| entry.digest.clone()))
                    .collect();
                return Err(ArchiveError::ManyImages {
                    names: names.join(", "),
                });
            }
        };
        let reference = name_of(chosen);
        let mut digest = chosen.digest.clone();
        for _ in 0..DEEPEST {
            let entry = blob_name(&digest);
            let bytes = self.document(&entry)?;
            same(&entry, &digest, digest::of(&bytes))?;
            let manifest = Manifest::parse(&bytes)?;
            if let Some(chosen) = manifest.choose(host)? {
                digest.clone_from(&chosen.digest);
                continue;
            }
            let config = manifest
                .config
                .ok_or_else(|| ImageError::malformed("manifest", "it has no configuration"))?;
            let entry = blob_name(&config.digest);
            let bytes = self.document(&entry)?;
            same(&entry, &config.digest, digest::of(&bytes))?;
            return Ok(ArchivedImage {
                digest,
                config: bytes,
                layers: manifest.layers,
                reference,
            });
        }
        Err(ImageError::malformed("index.json", "indexes within indexes").into())
    }

    fn of_docker(&self, cache: &Cache) -> Result<ArchivedImage, ArchiveError> {
        let images: Vec<Saved> = serde_json::from_slice(&self.document("manifest.json")?)
            .map_err(|error| ImageError::malformed("manifest.json", error))?;
        let [saved] = &images[..] else {
            let names: Vec<String> = images
                .iter()
                .map(|image| image.tag().unwrap_or_else(|| image.config.clone()))
                .collect();
            let none = || ImageError::malformed("manifest.json", "it lists no image").into();
            return Err(if names.is_empty() {
                none()
            } else {
                ArchiveError::ManyImages {
                    names: names.join(", "),
                }
            });
        };
        let config = self.document(&saved.config)?;
        let digest = digest::of(&config);
        // `<digest>.json`, and in between `blobs/sha256/<digest>`.
        let named = saved
            .config
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".json");
        if named.len() == 64 {
            same(&saved.config, &format!("sha256:{named}"), digest.clone())?;
        }
        let diff_ids = Config::parse(&config)?.rootfs.diff_ids;
        if diff_ids.len() != saved.layers.len() {
            return Err(ImageError::malformed(
                "manifest.json",
                "it lists other layers than the configuration",
            )
            .into());
        }
        let mut layers = Vec::new();
        for (entry, diff_id) in saved.layers.iter().zip(&diff_ids) {
            let (file, digest) = self.copy(entry, LARGEST_BYTES, cache)?;
            let mut unpacked =
                unpack::bounded(file.reopen().map_err(unreadable)?, LARGEST_BYTES).map_err(unreadable)?;
            same(
                entry,
                diff_id,
                digest::of_reader(&mut unpacked).map_err(unreadable)?,
            )?;
            let size = file.as_file().metadata().map_err(unreadable)?.len();
            cache.keep_blob(file, &digest)?;
            layers.push(Descriptor {
                media_type: String::new(),
                digest,
                size,
                platform: None,
                annotations: BTreeMap::new(),
            });
        }
        Ok(ArchivedImage {
            digest,
            config,
            layers,
            reference: saved.tag(),
        })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(root) => root.join(name).is_file(),
            Self::Tar { entries, .. } => entries.contains_key(name),
        }
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        self.reader(name)?
            .take(LARGEST_DOCUMENT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST_DOCUMENT_BYTES {
            let limit = format!("{LARGEST_DOCUMENT_BYTES} bytes");
            return Err(ImageError::TooLarge {
                what: name.to_owned(),
                limit,
            }
            .into());
        }
        Ok(bytes)
    }

    /// Into the cache, not yet under a digest.
    fn copy(&self, name: &str, limit: u64, cache: &Cache) -> Result<(NamedTempFile, String), ArchiveError> {
        let mut file = cache.temporary()?;
        // One byte more shows as another digest.
        let mut reader = self.reader(name)?.take(limit.saturating_add(1));
        io::copy(&mut reader, file.as_file_mut()).map_err(unreadable)?;
        let mut copied = file.reopen().map_err(unreadable)?;
        let digest = digest::of_reader(&mut copied).map_err(unreadable)?;
        Ok((file, digest))
    }

    fn reader(&self, name: &str) -> Result<impl Read, ArchiveError> {
        let incomplete = || ArchiveError::Incomplete {
            entry: name.to_owned(),
        };
        let name = inside(name).ok_or_else(incomplete)?;
        match self {
            Self::Folder(root) => {
                let path = root.join(&name);
                // A pipe would be waited for.
                if !path.is_file() {
                    return Err(incomplete());
                }
                let file = File::open(path).map_err(unreadable)?;
                let bytes = file.metadata().map_err(unreadable)?.len();
                Ok(file.take(bytes))
            }
            Self::Tar { file, entries, .. } => {
                let mut entry = entries.get(&name);
                // Old versions of Docker link a layer that two images share.
                for _ in 0..8 {
                    let Some(Entry::Link(target)) = entry else { break };
                    entry = entries.get(target);
                }
                let Some(Entry::File { at, bytes }) = entry else {
                    return Err(incomplete());
                };
                let mut file = File::open(file).map_err(unreadable)?;
                file.seek(SeekFrom::Start(*at)).map_err(unreadable)?;
                Ok(file.take(*bytes))
            }
        }
    }
}

/// One image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Saved {
    fn tag(&self) -> Option<String> {
        self.repo_tags.iter().flatten().next().cloned()
    }
}

/// The places of all entries, each name once.
fn entries(file: File) -> Result<BTreeMap<String, Entry>, ArchiveError> {
    let length = file.metadata().map_err(unreadable)?.len();
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(io::BufReader::new(file));
    let mut extended = Extended::default();
    for (number, entry) in archive.entries().map_err(unreadable)?.raw(true).enumerate() {
        let mut entry = entry.map_err(unreadable)?;
        if number >= MOST_ENTRIES {
            return Err(ArchiveError::TooLarge {
                limit: format!("{MOST_ENTRIES} entries"),
            });
        }
        if extended.take(&mut entry)? {
            continue;
        }
        let own = || String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = extended.name.take().unwrap_or_else(own);
        let own_link = || {
            entry
                .link_name_bytes()
                .map(|link| String::from_utf8_lossy(&link).into_owned())
        };
        let link = extended.link.take().or_else(own_link).unwrap_or_default();
        let refused = |why| ArchiveError::UnsafeEntry {
            entry: name.chars().take(120).collect(),
            why,
        };
        if name.starts_with('/') {
            return Err(refused("an absolute path"));
        }
        let path = inside(&name).ok_or_else(|| refused("which leads out of it"))?;
        let entry = match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::Regular | EntryType::Continuous => {
                let (at, bytes) = (entry.raw_file_position(), entry.size());
                if at.checked_add(bytes).is_none_or(|end| end > length) {
                    return Err(ArchiveError::Unreadable {
                        problem: "it ends too early".to_owned(),
                    });
                }
                Entry::File { at, bytes }
            }
            EntryType::Symlink => {
                Entry::Link(beside(&path, &link).ok_or_else(|| refused("a link out of it"))?)
            }
            EntryType::Link => Entry::Link(inside(&link).ok_or_else(|| refused("a link out of it"))?),
            _ => return Err(refused("a device or pipe")),
        };
        if found.insert(path.clone(), entry).is_some() {
            return Err(ArchiveError::Duplicate { entry: path });
        }
    }
    Ok(found)
}

/// Where a symbolic link at `path` leads, within the archive.
fn beside(path: &str, link: &str) -> Option<String> {
    if link.starts_with('/') {
        return None;
    }
    let mut at: Vec<&str> = path.split('/').collect();
    at.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(at.pop()?),
            part => at.push(part),
        }
    }
    Some(at.join("/"))
}

fn unpack_whole(path: &Path, cache: &Cache) -> Result<NamedTempFile, ArchiveError> {
    let mut file = cache.temporary()?;
    let packed = File::open(path).map_err(unreadable)?;
    let mut reader = unpack::bounded(packed, LARGEST_BYTES).map_err(unreadable)?;
    io::copy(&mut reader, file.as_file_mut()).map_err(unreadable)?;
    Ok(file)
}

fn blob_name(digest: &str) -> String {
    format!("blobs/sha256/{}", digest::hex(digest))
}

/// As containerd and others annotate it.
fn name_of(entry: &Descriptor) -> Option<String> {
    let named = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    named.iter().find_map(|key| entry.annotations.get(*key)).cloned()
}

fn same(entry: &str, expected: &str, found: String) -> Result<(), ArchiveError> {
    if found == expected {
        return Ok(());
    }
    Err(ArchiveError::DigestMismatch {
        entry: entry.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "stands behind map_err")]
fn unreadable(error: io::Error) -> ArchiveError {
    let problem = error.to_string();
    if problem.contains(unpack::TOO_LARGE) {
        return ArchiveError::TooLarge {
            limit: format!("{LARGEST_BYTES} bytes"),
        };
    }
    ArchiveError::Unreadable { problem }
}
