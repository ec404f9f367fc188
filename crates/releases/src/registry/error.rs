//! What may go wrong with a registry, and what to do about each.

use std::{error::Error, io, time::Duration};

use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};

use super::Registry;
use crate::image::Descriptor;

/// Why a registry did not give an image.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No name, no connection, no TLS.
    #[error(
        "{registry} cannot be reached ({problem}): look at the network, at HTTPS_PROXY, and at SSL_CERT_FILE if the certificate is of a private authority; or name a mirror, an archive or a path"
    )]
    Unreachable {
        /// Its name.
        registry: String,
        /// What the connection says.
        problem: String,
    },
    /// The connection ended before the answer did.
    #[error(
        "{registry} broke off while sending the {what} ({problem}): try again, or name a mirror or an archive"
    )]
    BrokeOff {
        /// Its name.
        registry: String,
        /// What was waited for.
        what: &'static str,
        /// What the connection says.
        problem: String,
    },
    /// A deadline passed.
    #[error(
        "{registry} did not send the {what} within {waited:?}: try again, or name a mirror or an archive"
    )]
    Slow {
        /// Its name.
        registry: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
    },
    /// 401 or 403.
    #[error(
        "{registry} does not let {who} read {image}: look whether the name is right, then docker login {registry}"
    )]
    Unauthorised {
        /// Its name.
        registry: String,
        /// What was asked for.
        image: String,
        /// With or without credentials.
        who: &'static str,
    },
    /// 404.
    #[error("{registry} does not have {image}: look at the repository and the tag")]
    NotFound {
        /// Its name.
        registry: String,
        /// What was asked for.
        image: String,
    },
    /// 429, or 503 with `Retry-After`.
    #[error("{registry} asks for patience ({}, asked {attempts} times): try again later, docker login {registry} for a higher limit, or name a mirror", asked(*retry_after_s))]
    Throttled {
        /// Its name.
        registry: String,
        /// How often it was asked.
        attempts: u32,
        /// What it asked for at last, in seconds.
        retry_after_s: Option<u64>,
    },
    /// 5xx.
    #[error("{registry} fails with status {status}: try again later, or name a mirror or an archive")]
    Failing {
        /// Its name.
        registry: String,
        /// Of HTTP.
        status: u16,
    },
    /// A redirection to plain HTTP, or too many.
    #[error(
        "{registry} redirects with status {status} to where is not followed (plain HTTP, or once too often): name the registry that it leads to, or a mirror"
    )]
    Redirected {
        /// Its name.
        registry: String,
        /// Of HTTP.
        status: u16,
    },
    /// Any other status.
    #[error(
        "{registry} answers with status {status}: look whether it is a registry, and at the proxy in between"
    )]
    Unexpected {
        /// Its name.
        registry: String,
        /// Of HTTP.
        status: u16,
    },
    /// A login page, a proxy's text, half a document.
    #[error(
        "{registry} sent {found} where the {what} should be: look whether it is a registry, and at the proxy in between"
    )]
    Garbage {
        /// Its name.
        registry: String,
        /// What was asked for.
        what: &'static str,
        /// What came.
        found: String,
    },
    /// Other bytes than the digest promises.
    #[error(
        "the {what} from {registry} has the digest {found} and not {expected}: try again, and if it stays so, do not trust this registry or the proxy in between"
    )]
    DigestMismatch {
        /// Its name.
        registry: String,
        /// What was asked for.
        what: String,
        /// As named.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// The connection ended within a blob.
    #[error("{registry} sent {done} of {expected} bytes and ended: try again")]
    CutOff {
        /// Its name.
        registry: String,
        /// Bytes that came.
        done: u64,
        /// Bytes that the manifest promises.
        expected: u64,
    },
    /// More bytes than were promised, or than any such document has.
    #[error("the {what} from {registry} has more than {limit} bytes: look whether it is the right image")]
    TooLarge {
        /// Its name.
        registry: String,
        /// What was asked for.
        what: String,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The cache folder.
    #[error("cannot write what came ({source}): look at the rights and the space of the cache folder")]
    CannotKeep {
        /// What the operating system says.
        source: io::Error,
    },
}

impl RegistryError {
    /// Whether the registry gave no answer to what was asked, so that an earlier one may still hold.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::BrokeOff { .. }
            | Self::Slow { .. }
            | Self::Throttled { .. }
            | Self::Failing { .. }
            | Self::Redirected { .. }
            | Self::Unexpected { .. }
            | Self::Garbage { .. }
            | Self::CutOff { .. } => true,
            Self::Unauthorised { .. }
            | Self::NotFound { .. }
            | Self::DigestMismatch { .. }
            | Self::TooLarge { .. }
            | Self::CannotKeep { .. } => false,
        }
    }
}

fn asked(retry_after_s: Option<u64>) -> String {
    retry_after_s.map_or_else(
        || "too many requests".to_owned(),
        |seconds| format!("for another {seconds} s"),
    )
}

/// What the HTTP client says, without the URL, which may be a signed one.
pub(super) fn of_http(registry: &Registry<'_>, what: &'static str, error: reqwest::Error) -> RegistryError {
    let error = error.without_url();
    if error.is_timeout() {
        return registry.slow(what, registry.limits.stall);
    }
    if error.is_redirect() {
        return RegistryError::Redirected {
            registry: registry.registry(),
            status: 302,
        };
    }
    if error.is_builder() {
        return RegistryError::Garbage {
            registry: registry.registry(),
            what,
            found: "a URL that is none".to_owned(),
        };
    }
    let (registry, problem) = (registry.registry(), chain(&error));
    if error.is_connect() {
        RegistryError::Unreachable { registry, problem }
    } else {
        RegistryError::BrokeOff {
            registry,
            what,
            problem,
        }
    }
}

/// What oci-client says of a blob.
pub(super) fn of_oci(
    registry: &Registry<'_>,
    descriptor: &Descriptor,
    error: OciDistributionError,
) -> RegistryError {
    let name = registry.registry();
    match error {
        OciDistributionError::RequestError(error) => of_http(registry, "blob", error),
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::ServerError { code: 401 | 403, .. } => registry.unauthorised(),
        OciDistributionError::ServerError { code: 404, .. } => registry.not_found(),
        OciDistributionError::ServerError { code: 429, .. } => RegistryError::Throttled {
            registry: name,
            attempts: 1,
            retry_after_s: None,
        },
        OciDistributionError::ServerError {
            code: status @ 500.., ..
        } => RegistryError::Failing {
            registry: name,
            status,
        },
        OciDistributionError::ServerError { code: status, .. } => RegistryError::Unexpected {
            registry: name,
            status,
        },
        OciDistributionError::RegistryError { envelope, .. } => {
            match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::Toomanyrequests) => RegistryError::Throttled {
                    registry: name,
                    attempts: 1,
                    retry_after_s: None,
                },
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => registry.unauthorised(),
                _ => registry.not_found(),
            }
        }
        OciDistributionError::DigestError(error) => mismatch(name, descriptor, error),
        // What the stream of a blob says is wrapped.
        OciDistributionError::IoError(error) => match error.into_inner() {
            Some(inner) => match inner.downcast::<DigestError>() {
                Ok(error) => mismatch(name, descriptor, *error),
                Err(inner) => match inner.downcast::<reqwest::Error>() {
                    Ok(error) => of_http(registry, "blob", *error),
                    Err(inner) => RegistryError::BrokeOff {
                        registry: name,
                        what: "blob",
                        problem: chain(&*inner),
                    },
                },
            },
            None => RegistryError::BrokeOff {
                registry: name,
                what: "blob",
                problem: "the connection ended".to_owned(),
            },
        },
        _ => RegistryError::Garbage {
            registry: name,
            what: "blob",
            found: "something else".to_owned(),
        },
    }
}

fn mismatch(registry: String, descriptor: &Descriptor, error: DigestError) -> RegistryError {
    let what = format!("blob {}", descriptor.digest);
    match error {
        DigestError::VerificationError { expected, actual } => RegistryError::DigestMismatch {
            registry,
            what,
            expected,
            found: actual,
        },
        _ => RegistryError::Garbage {
            registry,
            what: "digest of a blob",
            found: "something else".to_owned(),
        },
    }
}

/// An error and what caused it, each once.
fn chain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        source = inner.source();
    }
    texts.join(": ")
}
