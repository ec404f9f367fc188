//! PURE. Manifests, indexes and configurations of images, as far as they name one program:
//! <https://github.com/opencontainers/image-spec/blob/main/manifest.md>, `image-index.md` and `config.md`.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::{Part, source::is_sha256};

/// Why an image yields no program for this machine.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// An index without this machine's platform, or an image of another.
    #[error("it has no {host} image, but {available}: take a release that was built for {host}")]
    NoPlatform {
        /// This machine's platform.
        host: String,
        /// Those that it has.
        available: String,
    },
    /// Neither `Entrypoint` nor `Cmd`.
    #[error(
        "it has no entry point, so it does not say which program to run: look whether it is an image of the {part} (those have {known})"
    )]
    NoEntryPoint {
        /// Of which the program was to be.
        part: Part,
        /// Where its official images have it.
        known: String,
    },
    /// `Entrypoint some words`, which a shell of the image would run.
    #[error(
        "its entry point is a line for a shell ({line}): take an image whose entry point is the program itself"
    )]
    ShellEntryPoint {
        /// The line.
        line: String,
    },
    /// The layers do not have what the entry point names.
    #[error(
        "its entry point {path} is not in its layers ({detail}): look whether it is an image of the {part} (those have {known})"
    )]
    EntryPointMissing {
        /// As the image's configuration has it.
        path: String,
        /// Which name could not be followed.
        detail: String,
        /// Of which the program was to be.
        part: Part,
        /// Where its official images have it.
        known: String,
    },
    /// A folder, a device or a loop of links.
    #[error(
        "its entry point {path} is {kind}, not a program: take an image whose entry point is the program itself"
    )]
    EntryPointNotAFile {
        /// As the image's configuration has it.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// Not what the specification says.
    #[error("its {what} cannot be read ({problem}): push or save the image again")]
    Malformed {
        /// Manifest, configuration or layer.
        what: String,
        /// What does not fit.
        problem: String,
    },
    /// Foreign and encrypted layers, artifacts, the first schema.
    #[error(
        "its {what} is of a kind that is not read here ({media_type}): push it again with a current tool, as an OCI or Docker v2 image"
    )]
    Unsupported {
        /// Manifest or layer.
        what: &'static str,
        /// As it says of itself.
        media_type: String,
    },
    /// An archive bomb, or by far more than a driver or provider has.
    #[error("its {what} has more than {limit}: look whether it is the right image")]
    TooLarge {
        /// Which part of it.
        what: String,
        /// The bound, with its unit.
        limit: String,
    },
    /// A layer with a name that leads out of it.
    #[error("one of its layers has the entry {entry:?}, {why}: do not use this image")]
    UnsafeEntry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ImageError {
    pub(crate) fn malformed(what: &str, problem: impl fmt::Display) -> Self {
        Self::Malformed {
            what: what.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// What names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
}

/// `linux/arm64/v8`.
impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

/// A manifest or an index: they are told apart by what they list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
}

/// More layers than a container runtime mounts.
const MOST_LAYERS: usize = 500;
/// Of a layer as it is packed.
const LARGEST_LAYER_BYTES: u64 = 2 << 30;
/// Of a configuration.
const LARGEST_CONFIG_BYTES: u64 = 4 << 20;

impl Manifest {
    /// Reads and checks either.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| ImageError::malformed("manifest", error))?;
        if manifest.schema_version != 2 {
            let media_type = format!("schema {}", manifest.schema_version);
            return Err(ImageError::Unsupported {
                what: "manifest",
                media_type,
            });
        }
        if manifest.config.is_none() && manifest.manifests.is_empty() {
            return Err(ImageError::malformed(
                "manifest",
                "it lists neither layers nor images",
            ));
        }
        if manifest.layers.len() > MOST_LAYERS {
            return Err(ImageError::TooLarge {
                what: "manifest".to_owned(),
                limit: format!("{MOST_LAYERS} layers"),
            });
        }
        let all = manifest
            .config
            .iter()
            .chain(&manifest.layers)
            .chain(&manifest.manifests);
        for descriptor in all {
            // It becomes the name of a file and a part of a URL.
            if !is_sha256(&descriptor.digest) {
                return Err(ImageError::malformed(
                    "manifest",
                    "a digest in it is not sha256 and 64 digits",
                ));
            }
        }
        for (descriptor, limit) in (manifest
            .config
            .iter()
            .map(|config| (config, LARGEST_CONFIG_BYTES)))
        .chain(manifest.layers.iter().map(|layer| (layer, LARGEST_LAYER_BYTES)))
        {
            if descriptor.size > limit {
                let what = format!("blob {}", descriptor.digest);
                return Err(ImageError::TooLarge {
                    what,
                    limit: format!("{limit} bytes"),
                });
            }
        }
        Ok(manifest)
    }

    /// The image of this machine, where this is an index.
    pub(crate) fn choose(&self, host: &Platform) -> Result<Option<&Descriptor>, ImageError> {
        if self.manifests.is_empty() {
            return Ok(None);
        }
        // Attestations say `unknown/unknown`. Without a platform it is the only one, as in an OCI layout of one image.
        let of_host =
            |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|platform| platform.fits(host));
        self.manifests.iter().find(of_host).map(Some).ok_or_else(|| {
            let named = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let available: Vec<String> = named
                .filter(|platform| platform.os != "unknown")
                .map(ToString::to_string)
                .collect();
            let available = if available.is_empty() {
                "no other".to_owned()
            } else {
                available.join(", ")
            };
            ImageError::NoPlatform {
                host: host.to_string(),
                available,
            }
        })
    }
}

impl Platform {
    /// This machine.
    pub(crate) fn host() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: crate::program::host_architecture().to_owned(),
            variant: None,
        }
    }

    /// Any variant does: `v8` is the only one of arm64, and those of amd64 are what the maker built for.
    pub(crate) fn fits(&self, host: &Self) -> bool {
        self.os == host.os && self.architecture == host.architecture
    }
}

/// The configuration of an image.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    platform: PlatformOfConfig,
    #[serde(rename = "config")]
    process: Option<Process>,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct PlatformOfConfig {
    os: Option<String>,
    architecture: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RootFs {
    /// Of the layers unpacked; what a `docker save` is checked with.
    #[serde(default)]
    pub(crate) diff_ids: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// What an image runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    /// As the image names it.
    pub(crate) program: String,
    /// Where in the image that may be: one path, or one for every folder of its `PATH`.
    pub(crate) candidates: Vec<String>,
    pub(crate) arguments: Vec<String>,
}

/// What container runtimes take where an image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Config {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(|error| ImageError::malformed("configuration", error))
    }

    /// Refuses the image of another machine, which an index need not have said.
    pub(crate) fn check_platform(&self, host: &Platform) -> Result<(), ImageError> {
        let os = self.platform.os.as_deref().unwrap_or(&host.os);
        let architecture = self
            .platform
            .architecture
            .as_deref()
            .unwrap_or(&host.architecture);
        if (os, architecture) == (&host.os, &host.architecture) {
            return Ok(());
        }
        Err(ImageError::NoPlatform {
            host: host.to_string(),
            available: format!("one for {os}/{architecture}"),
        })
    }

    /// `Entrypoint` followed by `Cmd`, as runtimes join them.
    pub(crate) fn command(&self, part: Part) -> Result<Command, ImageError> {
        let nothing = Process::default();
        let process = self.process.as_ref().unwrap_or(&nothing);
        let words: Vec<&String> = process
            .entrypoint
            .iter()
            .flatten()
            .chain(process.cmd.iter().flatten())
            .collect();
        let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty())
        else {
            return Err(ImageError::NoEntryPoint {
                part,
                known: part.known_entry_points().join(", "),
            });
        };
        if let ("/bin/sh" | "sh" | "/bin/bash" | "bash", [flag, line, ..]) = (program.as_str(), arguments)
            && *flag == "-c"
        {
            return Err(ImageError::ShellEntryPoint {
                line: line.chars().take(200).collect(),
            });
        }
        let candidates = if program.starts_with('/') {
            vec![(*program).clone()]
        } else if program.contains('/') {
            let folder = process.working_dir.as_deref().unwrap_or("/");
            vec![format!("{}/{program}", folder.trim_end_matches('/'))]
        } else {
            let path = process
                .env
                .iter()
                .flatten()
                .find_map(|variable| variable.strip_prefix("PATH="));
            let folders = path
                .unwrap_or(DEFAULT_PATH)
                .split(':')
                .filter(|folder| folder.starts_with('/'))
                .take(64);
            folders
                .map(|folder| format!("{}/{program}", folder.trim_end_matches('/')))
                .collect()
        };
        let arguments = arguments.iter().map(|argument| (*argument).clone()).collect();
        Ok(Command {
            program: (*program).clone(),
            candidates,
            arguments,
        })
    }

    /// `org.opencontainers.image.version`, where the maker set it.
    pub(crate) fn version_label(&self) -> Option<&str> {
        let labels = self.process.as_ref()?.labels.as_ref()?;
        labels
            .get("org.opencontainers.image.version")
            .map(String::as_str)
            .filter(|version| !version.is_empty())
    }
}

#[cfg(test)]
mod tests;
