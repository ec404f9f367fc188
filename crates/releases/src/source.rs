//! PURE. What a user may name a program by, and how the four ways are told apart.
//!
//! Nothing is looked up to decide, so that the same text means the same on every machine:
//!
//! | text | is |
//! |---|---|
//! | begins with `/`, `./` or `../` and ends with `.tar`, `.tar.gz`, `.tgz` or `/` | an archive, or the folder of an OCI layout |
//! | begins with `/`, `./` or `../` | a program |
//! | `REGISTRY/NAME:TAG` or `REGISTRY/NAME@sha256:..`, where REGISTRY has a dot or a port or is `localhost` | an image |
//! | anything else | refused, with what it was probably meant to be |

use std::{fmt, path::PathBuf};

use oci_client::Reference;

use crate::{Part, Repositories};

/// Where a program is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An executable file.
    Program(PathBuf),
    /// An image in a registry, with its tag or digest.
    Image(Reference),
    /// A `docker save` or OCI archive, or the folder of an OCI layout.
    Archive(PathBuf),
    /// A version, which names an official image or a mirror's.
    Version(String),
}

/// Why a text names no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing, or only blanks.
    #[error(
        "an empty text names no {part}: give a path (./{part}), an image (REGISTRY/NAME:TAG) or an archive (./{part}.tar)"
    )]
    Empty {
        /// Of which the program was to be.
        part: Part,
    },
    /// A bare version number.
    #[error("{text:?} is a version, not a place: say --{part}-version {text}")]
    LooksLikeVersion {
        /// Of which the program was to be.
        part: Part,
        /// As given.
        text: String,
    },
    /// `name` or `folder/name`, which Docker would complete and a shell would look up.
    #[error(
        "{text:?} may be a file or an image: say ./{text} for the file, or begin the image with its registry (docker.io/..)"
    )]
    Ambiguous {
        /// As given.
        text: String,
    },
    /// Docker would take `latest`, which says nothing about what was proven.
    #[error("the image {text} has neither tag nor digest: add :TAG or @sha256:DIGEST")]
    NoTag {
        /// As given.
        text: String,
    },
    /// Not the grammar of image references.
    #[error(
        "{text:?} is not an image reference ({problem}): write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST, or ./PATH for a file"
    )]
    NotAReference {
        /// As given.
        text: String,
        /// What the grammar says.
        problem: String,
    },
    /// `docker://`, `https://` and their like.
    #[error("{text:?} has a scheme: write the image without it (REGISTRY/NAME:TAG), and a file as a path")]
    Scheme {
        /// As given.
        text: String,
    },
    /// A version that could not be a tag.
    #[error(
        "{text:?} is not a version of the {part}: give one such as {example}, or the whole image with --{part}"
    )]
    NotAVersion {
        /// Of which the program was to be.
        part: Part,
        /// As given.
        text: String,
        /// One that exists.
        example: &'static str,
    },
}

/// What ends the name of an archive; `/` is the folder of an OCI layout.
const ARCHIVE_ENDINGS: [&str; 4] = [".tar", ".tar.gz", ".tgz", "/"];

impl Source {
    /// Reads the value of `--driver` or `--provider`.
    pub fn parse(part: Part, text: &str) -> Result<Self, SourceError> {
        let given = || text.to_owned();
        if text.trim().is_empty() {
            return Err(SourceError::Empty { part });
        }
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
            let is_archive = ARCHIVE_ENDINGS.iter().any(|ending| text.ends_with(ending));
            let path = PathBuf::from(text);
            return Ok(if is_archive {
                Self::Archive(path)
            } else {
                Self::Program(path)
            });
        }
        if text.contains("://") {
            return Err(SourceError::Scheme { text: given() });
        }
        if looks_like_version(text) {
            return Err(SourceError::LooksLikeVersion { part, text: given() });
        }
        let names_registry = text.split_once('/').is_some_and(|(first, _)| is_registry(first));
        if !names_registry {
            return Err(SourceError::Ambiguous { text: given() });
        }
        let reference = reference(text)?;
        if reference.digest().is_none() && !has_tag(text) {
            return Err(SourceError::NoTag { text: given() });
        }
        Ok(Self::Image(reference))
    }

    /// Reads the value of `--driver-version` or `--provider-version`.
    pub fn parse_version(part: Part, text: &str) -> Result<Self, SourceError> {
        let bare = text
            .strip_prefix('v')
            .filter(|_| part == Part::Driver)
            .unwrap_or(text);
        // What a tag may hold, so that a version cannot name another repository:
        // https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
        let fits = bare.len() <= 100
            && bare.starts_with(|first: char| first.is_ascii_alphanumeric())
            && bare
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_'));
        if fits {
            return Ok(Self::Version(bare.to_owned()));
        }
        let example = match part {
            Part::Driver => "1.6.0",
            Part::Provider => "3.1.1",
        };
        Err(SourceError::NotAVersion {
            part,
            text: text.to_owned(),
            example,
        })
    }

    /// The image that this names, if it names one.
    pub fn image(&self, part: Part, repositories: &Repositories) -> Result<Option<Reference>, SourceError> {
        match self {
            Self::Program(_) | Self::Archive(_) => Ok(None),
            Self::Image(image) => Ok(Some(image.clone())),
            Self::Version(version) => {
                let repository = repositories.of(part).trim_end_matches('/');
                reference(&format!("{repository}:{}", part.tag(version))).map(Some)
            }
        }
    }
}

/// As the user named it; for a version the number alone.
impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(path) | Self::Archive(path) => write!(formatter, "{}", path.display()),
            Self::Image(reference) => write!(formatter, "{reference}"),
            Self::Version(version) => write!(formatter, "version {version}"),
        }
    }
}

fn reference(text: &str) -> Result<Reference, SourceError> {
    let refused = |problem: String| SourceError::NotAReference {
        text: text.to_owned(),
        problem,
    };
    let reference: Reference = text.parse().map_err(|error| refused(format!("{error}")))?;
    // Two of the three digest algorithms of the grammar are not used by any registry; one is enough to check well.
    match reference.digest() {
        Some(digest) if !is_sha256(digest) => Err(refused("only sha256 digests are taken".to_owned())),
        _ => Ok(reference),
    }
}

/// `sha256:` and 64 hexadecimal digits in lower case.
pub(crate) fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// As Docker tells a registry from the first part of a name on Docker Hub.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn has_tag(text: &str) -> bool {
    text.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

fn looks_like_version(text: &str) -> bool {
    let bare = text.strip_prefix('v').unwrap_or(text);
    bare.starts_with(|first: char| first.is_ascii_digit())
        && bare
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_'))
        && !ARCHIVE_ENDINGS.iter().any(|ending| bare.ends_with(ending))
}

#[cfg(test)]
mod tests;
