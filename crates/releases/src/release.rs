//! PURE. What is asked for and what comes of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Part;

/// A program that can run on this machine, and what a report says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which of the two it is to be.
    pub part: Part,
    /// Absolute; in the cache folder where it came out of an image.
    pub program: PathBuf,
    /// As the user named it.
    pub source: String,
    /// The image, with the tag that was asked for or under which it was saved.
    pub reference: Option<String>,
    /// `sha256:..` of the image's manifest for this platform; of the program where there is no image; of the image's
    /// configuration (Docker's image ID) for a `docker save` of Docker before 25.
    pub digest: String,
    /// Of the index that listed the manifest, which is what registries show for a tag.
    pub index_digest: Option<String>,
    /// Of the program's bytes.
    pub program_digest: String,
    /// As asked for, or as the image's label, tag or the program itself says.
    pub version: Option<String>,
    /// `linux/amd64`.
    pub platform: String,
    /// Those of the image's entry point, which come before any other.
    pub arguments: Vec<String>,
    /// Of a Go program: its module, and the compiler.
    pub built_from: Option<String>,
    /// Set where a registry was not asked, or gave no answer.
    pub offline: Option<Offline>,
}

/// A tag as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offline {
    /// When the registry said so.
    pub resolved_at: Timestamp,
    /// Why it was not asked, or what came instead of an answer.
    pub because: String,
}

/// Where and how to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// Made if it is missing.
    pub cache: PathBuf,
    /// In place of the official ones.
    pub repositories: Repositories,
    /// Asks no registry.
    pub offline: bool,
    /// Docker's `config.json`, with what `docker login` stored.
    pub docker_config: Option<PathBuf>,
    /// Registries on loopback are asked over plain HTTP, which is what they speak, unless this is set. All others
    /// are always asked over TLS.
    pub loopback_https: bool,
    /// For slow and throttling registries.
    pub limits: Limits,
}

impl Options {
    /// The official repositories, anonymously.
    #[must_use]
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            repositories: Repositories::default(),
            offline: false,
            docker_config: None,
            loopback_https: false,
            limits: Limits::default(),
        }
    }
}

/// Mirrors of the official repositories: `REGISTRY/NAME`, without a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repositories {
    /// For the driver's versions.
    pub driver: Option<String>,
    /// For the provider's versions.
    pub provider: Option<String>,
}

impl Repositories {
    /// The mirror, or the official one.
    #[must_use]
    pub fn of(&self, part: Part) -> &str {
        let mirror = match part {
            Part::Driver => &self.driver,
            Part::Provider => &self.provider,
        };
        mirror.as_deref().unwrap_or_else(|| part.official_repository())
    }
}

/// How long and how often a registry is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A connection.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub stall: Duration,
    /// A manifest or a token, as a whole.
    pub step: Duration,
    /// A blob, as a whole.
    pub blob: Duration,
    /// Of the same question, when the registry asks for patience.
    pub attempts: u32,
    /// A longer one than this is not waited for.
    pub longest_wait: Duration,
    /// Where the registry does not say how long; doubled each time.
    pub default_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            step: Duration::from_mins(1),
            blob: Duration::from_mins(15),
            attempts: 4,
            longest_wait: Duration::from_mins(1),
            default_wait: Duration::from_secs(1),
        }
    }
}

/// What is going on, for whoever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A registry is asked what a reference names.
    Resolving {
        /// The image.
        reference: String,
    },
    /// It asked for patience.
    Waiting {
        /// Its name.
        registry: String,
        /// How long.
        wait: Duration,
    },
    /// A piece of a blob came.
    Downloading {
        /// Of the blob.
        digest: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The program comes out of its layer.
    Extracting {
        /// Within the image.
        path: String,
    },
}

/// `mountproof/releases` in the user's cache folder, from `XDG_CACHE_HOME` and `HOME`
/// (<https://specifications.freedesktop.org/basedir-spec/latest/>: relative ones are ignored).
#[must_use]
pub fn cache_folder(xdg_cache_home: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let absolute = |path: &&Path| path.is_absolute();
    let of_home = || home.filter(absolute).map(|home| home.join(".cache"));
    let root = xdg_cache_home
        .filter(absolute)
        .map(Path::to_owned)
        .or_else(of_home)?;
    Some(root.join("mountproof/releases"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_user_keeps_caches() {
        let cases = [
            (Some("/c"), Some("/home/a"), Some("/c/mountproof/releases")),
            (None, Some("/home/a"), Some("/home/a/.cache/mountproof/releases")),
            (
                Some("relative"),
                Some("/home/a"),
                Some("/home/a/.cache/mountproof/releases"),
            ),
            (Some(""), None, None),
            (None, None, None),
        ];
        for (xdg, home, expected) in cases {
            let found = cache_folder(xdg.map(Path::new), home.map(Path::new));
            assert_eq!(found.as_deref(), expected.map(Path::new), "{xdg:?} {home:?}");
        }
    }
}
