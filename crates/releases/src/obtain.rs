//! The four ways to a program, top to bottom.

use std::{fs, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use oci_client::Reference;

use crate::{
    ArchiveError, CacheError, ImageError, Offline, Options, Part, ProgramError, Progress, RegistryError,
    Release, Source, SourceError,
    archive::Archive,
    cache::{Cache, Resolution},
    credentials,
    extract::{Extracted, Image, Origin, blocking, extract, from_registry, kept},
    image::{Descriptor, Manifest, Platform},
    program,
    registry::Registry,
};

/// Why there is no program. The text reads after "cannot obtain the driver: " and ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// What the user wrote.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file that the user named.
    #[error("{}: {problem}", path.display())]
    Program {
        /// As named.
        path: PathBuf,
        /// What is wrong with it.
        problem: ProgramError,
    },
    /// The program in an image.
    #[error("{path} of {image}: {problem}")]
    ProgramOfImage {
        /// The image or archive.
        image: String,
        /// The entry point.
        path: String,
        /// What is wrong with it.
        problem: ProgramError,
    },
    /// The archive that the user named.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// As named.
        path: PathBuf,
        /// What is wrong with it.
        problem: ArchiveError,
    },
    /// An image that was had.
    #[error("{image}: {problem}")]
    Image {
        /// Its reference, or the archive's path.
        image: String,
        /// What is wrong with it.
        problem: ImageError,
    },
    /// An image that was not had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No registry may be asked, and the cache does not have it.
    #[error(
        "{image} is not in the cache, or not whole, and no registry may be asked: obtain it once with a network, or name an archive or a path"
    )]
    NotCached {
        /// What was asked for.
        image: String,
    },
    /// The cache folder.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Turns what the user named into a program that can run here. Every wait has a deadline ([`crate::Limits`]); dropped
/// half-way it leaves at most a file in the cache's `tmp`.
pub async fn obtain(
    part: Part,
    source: &Source,
    options: &Options,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Release, ObtainError> {
    let mut release = match source {
        Source::Program(path) => from_path(part, path.clone()).await?,
        Source::Archive(path) => from_archive(part, path.clone(), options, &progress).await?,
        Source::Image(_) | Source::Version(_) => {
            let image = source
                .image(part, &options.repositories)?
                .expect("both name an image");
            let mut release = from_image(part, &image, options, &progress).await?;
            match source {
                Source::Version(version) => release.version = Some(version.clone()),
                _ => release.version = release.version.or_else(|| version_of_tag(&image)),
            }
            release
        }
    };
    release.source = source.to_string();
    Ok(release)
}

async fn from_path(part: Part, path: PathBuf) -> Result<Release, ObtainError> {
    let named = path.clone();
    let checked = blocking(move || program::check(&path))
        .await
        .map_err(|problem| ObtainError::Program { path: named, problem })?;
    let digest = checked.digest.clone();
    Ok(release(
        part,
        digest,
        Extracted {
            checked,
            arguments: Vec::new(),
            version: None,
        },
    ))
}

async fn from_archive(
    part: Part,
    path: PathBuf,
    options: &Options,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Release, ObtainError> {
    let cache = open(options).await?;
    let of_archive = |problem| ObtainError::Archive {
        path: path.clone(),
        problem,
    };
    let (named, kept_in) = (path.clone(), cache.clone());
    let (archive, image) = blocking(move || {
        let archive = Archive::open(&named, &kept_in)?;
        let image = archive.image(&Platform::host(), &kept_in)?;
        Ok((Arc::new(archive), image))
    })
    .await
    .map_err(of_archive)?;
    let extracted = if let Some(extracted) = kept(&cache, &image.digest).await {
        extracted
    } else {
        let asked = Image {
            name: &path.display().to_string(),
            digest: &image.digest,
            config: &image.config,
            layers: &image.layers,
            origin: Origin::Archive(archive),
        };
        extract(part, asked, &cache, progress).await?
    };
    let mut release = release(part, image.digest, extracted);
    release.version = release
        .version
        .or_else(|| version_of_tag(&image.reference.as_ref()?.parse().ok()?));
    release.reference = image.reference;
    Ok(release)
}

async fn from_image(
    part: Part,
    reference: &Reference,
    options: &Options,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Release, ObtainError> {
    let cache = open(options).await?;
    let host = Platform::host();
    let name = reference.to_string();
    let remembered = cache.resolution(&name, &host.to_string());

    if options.offline {
        let known = remembered.ok_or_else(|| ObtainError::NotCached { image: name.clone() })?;
        return from_cache(
            part,
            known,
            "no registry may be asked".to_owned(),
            &cache,
            progress,
        )
        .await;
    }
    // A digest means the same for ever: nobody has to be asked for what is here.
    if let Some(known) = remembered.as_ref().filter(|_| reference.digest().is_some())
        && let Some(extracted) = kept(&cache, &known.manifest).await
    {
        return Ok(of_image(part, name, known, extracted));
    }
    progress(Progress::Resolving {
        reference: name.clone(),
    });
    let auth = credentials::stored(options.docker_config.as_deref(), reference.resolve_registry()).await;
    let limits = options.limits.clone();
    let registry = Registry::new(reference.clone(), auth, options.loopback_https, limits, progress)?;
    let outcome = from_registry_as_resolved(part, &registry, &name, &host, &cache, progress).await;
    match (outcome, remembered) {
        (Err(ObtainError::Registry(error)), Some(known)) if error.leaves_open() => {
            let because = error.to_string();
            // What the cache lacks is not news: the registry's trouble is.
            from_cache(part, known, because, &cache, progress)
                .await
                .map_err(|_| error.into())
        }
        (outcome, _) => outcome,
    }
}

async fn from_registry_as_resolved(
    part: Part,
    registry: &Registry<'_>,
    name: &str,
    host: &Platform,
    cache: &Cache,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Release, ObtainError> {
    let (manifest, resolution) = resolve(registry, name, host, cache).await?;
    let extracted = if let Some(extracted) = kept(cache, &resolution.manifest).await {
        extracted
    } else {
        let config = config_of(name, &manifest)?;
        let path = from_registry(registry, config, cache).await?;
        let bytes = fs::read(&path).map_err(|source| CacheError {
            doing: "read",
            path,
            source,
        })?;
        let asked = Image {
            name,
            digest: &resolution.manifest,
            config: &bytes,
            layers: &manifest.layers,
            origin: Origin::Registry(registry),
        };
        extract(part, asked, cache, progress).await?
    };
    // Only now: what is remembered is also there.
    cache.keep_resolution(&resolution)?;
    Ok(of_image(part, name.to_owned(), &resolution, extracted))
}

/// Asks the registry what the name means today, for this machine.
async fn resolve(
    registry: &Registry<'_>,
    name: &str,
    host: &Platform,
    cache: &Cache,
) -> Result<(Manifest, Resolution), ObtainError> {
    let of_image = |problem| ObtainError::Image {
        image: name.to_owned(),
        problem,
    };
    let (bytes, digest) = registry.manifest(None).await?;
    let manifest = Manifest::parse(&bytes).map_err(of_image)?;
    let (manifest, bytes, digest, index) = match manifest.choose(host).map_err(of_image)? {
        None => (manifest, bytes, digest, None),
        Some(chosen) => {
            let (bytes, of_host) = registry.manifest(Some(&chosen.digest)).await?;
            (
                Manifest::parse(&bytes).map_err(of_image)?,
                bytes,
                of_host,
                Some(digest),
            )
        }
    };
    cache.keep_bytes(&bytes)?;
    let (reference, platform) = (name.to_owned(), host.to_string());
    Ok((
        manifest,
        Resolution {
            reference,
            platform,
            manifest: digest,
            index,
            at: Timestamp::now(),
        },
    ))
}

/// Without a registry: the program as it was extracted, or once more out of what is kept.
async fn from_cache(
    part: Part,
    known: Resolution,
    because: String,
    cache: &Cache,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Release, ObtainError> {
    let name = known.reference.clone();
    let extracted = if let Some(extracted) = kept(cache, &known.manifest).await {
        extracted
    } else {
        let lacking = || ObtainError::NotCached { image: name.clone() };
        let of_image = |problem| ObtainError::Image {
            image: name.clone(),
            problem,
        };
        let bytes = cache.blob_bytes(&known.manifest).ok_or_else(lacking)?;
        let manifest = Manifest::parse(&bytes).map_err(of_image)?;
        let config = cache
            .blob_bytes(&config_of(&name, &manifest)?.digest)
            .ok_or_else(lacking)?;
        let (digest, layers) = (&*known.manifest, &*manifest.layers);
        let asked = Image {
            name: &name,
            digest,
            config: &config,
            layers,
            origin: Origin::Nowhere,
        };
        extract(part, asked, cache, progress).await?
    };
    let mut release = of_image(part, name, &known, extracted);
    release.offline = Some(Offline {
        resolved_at: known.at,
        because,
    });
    Ok(release)
}

async fn open(options: &Options) -> Result<Cache, CacheError> {
    let root = options.cache.clone();
    blocking(move || Cache::open(&root)).await
}

fn config_of<'a>(image: &str, manifest: &'a Manifest) -> Result<&'a Descriptor, ObtainError> {
    manifest.config.as_ref().ok_or_else(|| ObtainError::Image {
        image: image.to_owned(),
        problem: ImageError::malformed("manifest", "an index within an index"),
    })
}

fn of_image(part: Part, name: String, known: &Resolution, extracted: Extracted) -> Release {
    let mut release = release(part, known.manifest.clone(), extracted);
    release.reference = Some(name);
    release.index_digest.clone_from(&known.index);
    release
}

fn release(part: Part, digest: String, extracted: Extracted) -> Release {
    let Extracted {
        checked,
        arguments,
        version,
    } = extracted;
    let built_from = checked.go.as_ref().map(|go| match &go.module {
        Some(module) => format!("{module}, {}", go.compiler),
        None => go.compiler.clone(),
    });
    Release {
        part,
        program: checked.path,
        source: String::new(),
        reference: None,
        digest,
        index_digest: None,
        program_digest: checked.digest,
        version: version
            .or_else(|| checked.go.and_then(|go| go.version))
            .map(|version| number(&version).to_owned()),
        platform: Platform::host().to_string(),
        arguments,
        built_from,
        offline: None,
    }
}

/// A tag that begins with a digit, perhaps behind `v`, is one.
fn version_of_tag(image: &Reference) -> Option<String> {
    let bare = number(image.tag()?);
    bare.starts_with(|first: char| first.is_ascii_digit())
        .then(|| bare.to_owned())
}

/// `1.6.0` of `v1.6.0`, which makers write either way.
fn number(version: &str) -> &str {
    let is_number = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_digit());
    version.strip_prefix('v').filter(is_number).unwrap_or(version)
}
