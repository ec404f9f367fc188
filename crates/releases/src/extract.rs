//! The one file of an image that is run, out of its layers and into the cache.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use crate::{
    ObtainError, Part, Progress,
    archive::Archive,
    cache::{Cache, ImageRecord, file_name},
    image::{Command, Config, Descriptor, ImageError, Platform},
    layers::{self, Layer, Search},
    program::{self, LARGEST_PROGRAM_BYTES, ProgramError},
    registry::Registry,
};

/// Where layers come from that are not in the cache.
pub(crate) enum Origin<'a> {
    Registry(&'a Registry<'a>),
    Archive(Arc<Archive>),
    /// The cache is all there is.
    Nowhere,
}

/// An image whose program is asked for.
pub(crate) struct Image<'a> {
    /// As errors call it.
    pub(crate) name: &'a str,
    /// Of its manifest.
    pub(crate) digest: &'a str,
    pub(crate) config: &'a [u8],
    /// The lowest first.
    pub(crate) layers: &'a [Descriptor],
    pub(crate) origin: Origin<'a>,
}

/// A program in the cache, checked just now.
pub(crate) struct Extracted {
    pub(crate) checked: program::Checked,
    pub(crate) arguments: Vec<String>,
    /// Of the image's label.
    pub(crate) version: Option<String>,
}

/// What was extracted before, if it is still whole.
pub(crate) async fn kept(cache: &Cache, digest: &str) -> Option<Extracted> {
    let (cache, digest) = (cache.clone(), digest.to_owned());
    blocking(move || {
        let record = cache.image(&digest)?;
        let path = cache.program(&record.program, &record.name)?;
        let checked = program::check(&path).ok()?;
        Some(Extracted {
            checked,
            arguments: record.arguments,
            version: record.version,
        })
    })
    .await
}

pub(crate) async fn extract(
    part: Part,
    image: Image<'_>,
    cache: &Cache,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Extracted, ObtainError> {
    let of_image = |problem| ObtainError::Image {
        image: image.name.to_owned(),
        problem,
    };
    let config = Config::parse(image.config).map_err(of_image)?;
    config.check_platform(&Platform::host()).map_err(of_image)?;
    let command = config.command(part).map_err(of_image)?;
    let (layer, entry) = search(part, &image, &command, cache).await?;
    progress(Progress::Extracting {
        path: command.program.clone(),
    });

    let version = config.version_label().map(str::to_owned);
    let (cache, digest, of) = (cache.clone(), image.digest.to_owned(), image.name.to_owned());
    blocking(move || {
        let mut file = cache.temporary()?;
        let packed = File::open(&layer).map_err(|error| unread(&of, &error))?;
        layers::copy_entry(packed, entry, file.as_file_mut()).map_err(|problem| ObtainError::Image {
            image: of.clone(),
            problem,
        })?;
        let name = file_name(&command.program);
        // An image's program is made executable by whoever runs it, as its mode is not what decides here.
        let checked = check(file.path()).map_err(|problem| ObtainError::ProgramOfImage {
            image: of.clone(),
            path: command.program.clone(),
            problem,
        })?;
        let path = cache.keep_program(file, &checked.digest, &name)?;
        let arguments = command.arguments;
        let record = ImageRecord {
            program: checked.digest.clone(),
            name,
            arguments,
            version,
        };
        cache.keep_image(&digest, &record)?;
        let checked = program::Checked { path, ..checked };
        Ok(Extracted {
            checked,
            arguments: record.arguments,
            version: record.version,
        })
    })
    .await
}

/// The layer that has the program, as a file, and the entry in it.
async fn search(
    part: Part,
    image: &Image<'_>,
    command: &Command,
    cache: &Cache,
) -> Result<(PathBuf, usize), ObtainError> {
    let of_image = |problem| ObtainError::Image {
        image: image.name.to_owned(),
        problem,
    };
    let descriptors: Vec<&Descriptor> = image.layers.iter().rev().collect();
    let mut read: Vec<Option<Layer>> = descriptors.iter().map(|_| None).collect();
    let mut missing = None;
    for candidate in &command.candidates {
        loop {
            match layers::find(&read, candidate) {
                Search::Unread(index) => read[index] = Some(names(image, descriptors[index], cache).await?),
                Search::Found { bytes, .. } if bytes > LARGEST_PROGRAM_BYTES => {
                    let limit = format!("{LARGEST_PROGRAM_BYTES} bytes");
                    return Err(of_image(ImageError::TooLarge {
                        what: "program".to_owned(),
                        limit,
                    }));
                }
                Search::Found { layer, entry, .. } => {
                    return Ok((fetch(image, descriptors[layer], cache).await?, entry));
                }
                Search::NotAFile(kind) => {
                    return Err(of_image(ImageError::EntryPointNotAFile {
                        path: command.program.clone(),
                        kind,
                    }));
                }
                Search::Missing(name) => {
                    missing.get_or_insert(name);
                    break;
                }
            }
        }
    }
    let known = part.known_entry_points().join(", ");
    let detail = missing.unwrap_or_else(|| "no folder to look in".to_owned());
    Err(of_image(ImageError::EntryPointMissing {
        path: command.program.clone(),
        detail,
        part,
        known,
    }))
}

async fn names(image: &Image<'_>, descriptor: &Descriptor, cache: &Cache) -> Result<Layer, ObtainError> {
    let media_type = &descriptor.media_type;
    // By what they say of themselves; how they are packed, their bytes say.
    let is_read = media_type.is_empty() || (media_type.contains("tar") && !media_type.contains("encrypted"));
    if !is_read {
        let problem = ImageError::Unsupported {
            what: "layer",
            media_type: media_type.chars().take(120).collect(),
        };
        return Err(ObtainError::Image {
            image: image.name.to_owned(),
            problem,
        });
    }
    let path = fetch(image, descriptor, cache).await?;
    let name = image.name.to_owned();
    blocking(move || {
        let packed = File::open(&path).map_err(|error| unread(&name, &error))?;
        Layer::read(packed).map_err(|problem| ObtainError::Image { image: name, problem })
    })
    .await
}

/// A blob in the cache, which it is brought into if it has to be.
pub(crate) async fn fetch(
    image: &Image<'_>,
    descriptor: &Descriptor,
    cache: &Cache,
) -> Result<PathBuf, ObtainError> {
    match &image.origin {
        Origin::Registry(registry) => from_registry(registry, descriptor, cache).await,
        Origin::Archive(archive) => {
            let (archive, descriptor, cache) = (Arc::clone(archive), descriptor.clone(), cache.clone());
            let path = image.name.to_owned();
            blocking(move || archive.blob(&descriptor, &cache))
                .await
                .map_err(|problem| ObtainError::Archive {
                    path: path.into(),
                    problem,
                })
        }
        Origin::Nowhere => {
            let (of, digest, cache) = (image.name.to_owned(), descriptor.digest.clone(), cache.clone());
            let found = blocking(move || cache.blob(&digest)).await;
            found.ok_or(ObtainError::NotCached { image: of })
        }
    }
}

/// As [`fetch`], where there is no image yet.
pub(crate) async fn from_registry(
    registry: &Registry<'_>,
    descriptor: &Descriptor,
    cache: &Cache,
) -> Result<PathBuf, ObtainError> {
    let (digest, looked_in) = (descriptor.digest.clone(), cache.clone());
    if let Some(path) = blocking(move || looked_in.blob(&digest)).await {
        return Ok(path);
    }
    let file = cache.temporary()?;
    registry.blob(descriptor, &file).await?;
    Ok(cache.keep_blob(file, &descriptor.digest)?)
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it is neither aborted nor panics")
}

/// A file in the cache has no mode of its own yet.
fn check(path: &std::path::Path) -> Result<program::Checked, ProgramError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    program::check(path)
}

fn unread(image: &str, error: &io::Error) -> ObtainError {
    ObtainError::Image {
        image: image.to_owned(),
        problem: ImageError::malformed("layer", error),
    }
}
