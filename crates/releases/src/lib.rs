//! From what a user named to a checked program on disk.
//!
//! A [`Source`] is a path, an image in a registry, an archive of an image, or a version that names an official image.
//! [`obtain`] turns it into a [`Release`]: the path of a program that can run on this machine, with what there is to say of
//! it in a report. No container runtime is needed, and of an image nothing but its program is ever unpacked.
//!
//! What was obtained once is there without a network: a digest always, a tag when its registry gives no answer
//! ([`Release::offline`] then says so, and since when it is known) or when nothing may be asked ([`Options::offline`]).
//!
//! # Left out
//!
//! - Signatures (cosign, Notary) and SBOMs are not looked at: what is checked is that bytes have the digest that names them.
//! - Programs are for Linux, and linked statically or against a loader of this machine. An image's libraries are not
//!   unpacked, nor its CA bundle, user, environment and working folder.
//! - Downloads are not resumed; a blob that was cut off is fetched again as a whole.
//! - A throttled blob is asked for again after a wait of our own: what the registry asks for is only seen for manifests.
//! - Of Docker's stored credentials, identity tokens (of Azure's registries) are not understood. Certificates of
//!   `/etc/docker/certs.d` are not read; a private authority is named in `SSL_CERT_FILE`.
//! - Redirections of blobs are followed wherever they lead; their digest is checked.
//! - Layers that are encrypted, foreign or packed with anything but gzip and zstd.
//! - The cache is not pruned. It may be removed at any time.

mod archive;
mod cache;
mod credentials;
mod digest;
mod extract;
mod go_build;
mod image;
mod layers;
mod obtain;
mod part;
mod program;
mod registry;
mod release;
mod source;
mod unpack;

pub use archive::{ArchiveError, saved_name};
pub use cache::CacheError;
pub use image::ImageError;
pub use obtain::{ObtainError, obtain};
pub use part::Part;
pub use program::ProgramError;
pub use registry::RegistryError;
pub use release::{Limits, Offline, Options, Progress, Release, Repositories, cache_folder};
pub use source::{Source, SourceError};
