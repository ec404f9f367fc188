//! Images out of registries, by the distribution specification:
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pull>.
//!
//! Tokens and blobs are oci-client's. Manifests are asked for here, with the HTTP client that it uses: it neither bounds
//! their size nor shows `Retry-After`. No URL is in any error, since those of storage services are signed, and no body.

mod error;

use std::{net::IpAddr, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};
use reqwest::{StatusCode, header, redirect};
use tempfile::NamedTempFile;
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

pub use self::error::RegistryError;
use self::error::{of_http, of_oci};
use crate::{Limits, Progress, digest, image::Descriptor};

/// One repository of a registry, with what it takes to read it.
pub(crate) struct Registry<'a> {
    oci: Client,
    http: reqwest::Client,
    auth: RegistryAuth,
    pub(crate) reference: Reference,
    scheme: &'static str,
    limits: Limits,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const USER_AGENT: &str = concat!("mountproof/", env!("CARGO_PKG_VERSION"));
/// The specification's own bound: registries refuse larger ones.
const LARGEST_MANIFEST_BYTES: usize = 4 << 20;
const MOST_REDIRECTS: usize = 5;

impl<'a> Registry<'a> {
    pub(crate) fn new(
        reference: Reference,
        auth: RegistryAuth,
        loopback_https: bool,
        limits: Limits,
        progress: &'a (dyn Fn(Progress) + Send + Sync),
    ) -> Result<Self, RegistryError> {
        // The one TLS stack of the workspace, where the process has not chosen yet; another choice stands.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let registry = reference.resolve_registry().to_owned();
        let is_plain = is_loopback(&registry) && !loopback_https;
        let cannot_begin = |problem: String| RegistryError::Unreachable {
            registry: registry.clone(),
            problem,
        };
        let config = ClientConfig {
            protocol: if is_plain {
                ClientProtocol::HttpsExcept(vec![registry.clone()])
            } else {
                ClientProtocol::Https
            },
            read_timeout: Some(limits.stall),
            connect_timeout: Some(limits.connect),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        let oci = Client::try_from(config).map_err(|error| cannot_begin(error.to_string()))?;
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(limits.connect)
            .read_timeout(limits.stall)
            .redirect(redirect::Policy::custom(|attempt| {
                let is_safe =
                    attempt.url().scheme() == "https" || attempt.url().host_str().is_some_and(is_loopback);
                if is_safe && attempt.previous().len() <= MOST_REDIRECTS {
                    attempt.follow()
                } else {
                    // The redirection is then the answer.
                    attempt.stop()
                }
            }))
            .build()
            .map_err(|error| cannot_begin(error.without_url().to_string()))?;
        let scheme = if is_plain { "http" } else { "https" };
        Ok(Self {
            oci,
            http,
            auth,
            reference,
            scheme,
            limits,
            progress,
        })
    }

    /// The manifest that the reference names, or the one with this digest, and its digest.
    pub(crate) async fn manifest(&self, digest: Option<&str>) -> Result<(Vec<u8>, String), RegistryError> {
        let digest = digest.or_else(|| self.reference.digest());
        self.patiently(async || {
            let ask = self.manifest_once(digest);
            timeout(self.limits.step, ask)
                .await
                .unwrap_or_else(|_| Err(self.slow("manifest", self.limits.step)))
        })
        .await
    }

    /// Writes a blob, whose digest and size are checked on the way.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        into: &NamedTempFile,
    ) -> Result<(), RegistryError> {
        self.patiently(async || {
            let ask = self.blob_once(descriptor, into);
            timeout(self.limits.blob, ask)
                .await
                .unwrap_or_else(|_| Err(self.slow("blob", self.limits.blob)))
        })
        .await
    }

    /// Asks again while the registry asks for patience, as long and as often as the limits allow.
    async fn patiently<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut attempt = 1;
        loop {
            let error = match ask().await {
                Err(RegistryError::Throttled {
                    registry,
                    retry_after_s,
                    ..
                }) => RegistryError::Throttled {
                    registry,
                    retry_after_s,
                    attempts: attempt,
                },
                other => return other,
            };
            let RegistryError::Throttled { retry_after_s, .. } = &error else {
                return Err(error);
            };
            let asked = retry_after_s.map(Duration::from_secs);
            let wait =
                asked.unwrap_or_else(|| self.limits.default_wait.saturating_mul(1 << (attempt - 1).min(8)));
            if attempt >= self.limits.attempts || wait > self.limits.longest_wait {
                return Err(error);
            }
            (self.progress)(Progress::Waiting {
                registry: self.name().to_owned(),
                wait,
            });
            sleep(wait).await;
            attempt += 1;
        }
    }

    async fn manifest_once(&self, digest: Option<&str>) -> Result<(Vec<u8>, String), RegistryError> {
        let token = self.token().await?;
        let name = digest.or_else(|| self.reference.tag()).unwrap_or("latest");
        let url = format!(
            "{}://{}/v2/{}/manifests/{name}",
            self.scheme,
            self.name(),
            self.reference.repository()
        );
        let mut request = self.http.get(url).header(header::ACCEPT, ACCEPT);
        request = match (&token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, _) => request,
        };
        let mut response = request
            .send()
            .await
            .map_err(|error| of_http(self, "manifest", error))?;
        self.check_status(response.status(), response.headers())?;
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let content_type = header("content-type").unwrap_or_default();
        let promised = header("docker-content-digest");
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| of_http(self, "manifest", error))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_MANIFEST_BYTES {
                let limit = LARGEST_MANIFEST_BYTES as u64;
                return Err(RegistryError::TooLarge {
                    registry: self.registry(),
                    what: "manifest".to_owned(),
                    limit,
                });
            }
        }
        if content_type.starts_with("text/html") || !body.trim_ascii_start().starts_with(b"{") {
            let found = if content_type.starts_with("text/html") {
                "an HTML page"
            } else {
                "something else"
            };
            return Err(RegistryError::Garbage {
                registry: self.registry(),
                what: "manifest",
                found: found.to_owned(),
            });
        }
        let found = digest::of(&body);
        // Another algorithm than sha256 in the header says nothing that could be compared.
        let promised = promised.filter(|digest| digest.starts_with("sha256:"));
        for expected in digest.map(str::to_owned).into_iter().chain(promised) {
            if expected != found {
                let (registry, what) = (self.registry(), "manifest".to_owned());
                return Err(RegistryError::DigestMismatch {
                    registry,
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok((body, found))
    }

    async fn blob_once(&self, descriptor: &Descriptor, into: &NamedTempFile) -> Result<(), RegistryError> {
        let what = "blob";
        let cannot_keep = |source| RegistryError::CannotKeep { source };
        self.oci.store_auth_if_needed(self.name(), &self.auth).await;
        let ask = self
            .oci
            .pull_blob_stream(&self.reference, descriptor.digest.as_str());
        // It asks for a token again when the last one is old, and panics on one that cannot be a header.
        let answer = timeout(self.limits.step, AssertUnwindSafe(ask).catch_unwind()).await;
        let mut stream = match answer {
            Ok(Ok(answer)) => answer.map_err(|error| of_oci(self, descriptor, error))?,
            Ok(Err(_)) => return Err(self.no_token()),
            Err(_) => return Err(self.slow(what, self.limits.step)),
        };
        // An earlier attempt may have written here.
        let file = into.reopen().map_err(cannot_keep)?;
        file.set_len(0).map_err(cannot_keep)?;
        let mut file = tokio::fs::File::from_std(file);
        let mut done = 0_u64;
        loop {
            let next = timeout(self.limits.stall, stream.next())
                .await
                .map_err(|_| self.slow(what, self.limits.stall))?;
            let Some(chunk) = next else { break };
            let chunk = chunk.map_err(|error| {
                let cut_off = RegistryError::CutOff {
                    registry: self.registry(),
                    done,
                    expected: descriptor.size,
                };
                match of_oci(self, descriptor, OciDistributionError::IoError(error)) {
                    // The length that was promised did not come.
                    RegistryError::BrokeOff { .. } => cut_off,
                    other => other,
                }
            })?;
            done += chunk.len() as u64;
            if done > descriptor.size {
                let what = format!("blob {}", descriptor.digest);
                return Err(RegistryError::TooLarge {
                    registry: self.registry(),
                    what,
                    limit: descriptor.size,
                });
            }
            file.write_all(&chunk).await.map_err(cannot_keep)?;
            let digest = descriptor.digest.clone();
            (self.progress)(Progress::Downloading {
                digest,
                done,
                total: descriptor.size,
            });
        }
        file.flush().await.map_err(cannot_keep)
    }

    /// A token, where the registry wants one. An anonymous refusal is not the last word: some registries refuse tokens
    /// for what they serve without, and the manifest's answer tells.
    async fn token(&self) -> Result<Option<String>, RegistryError> {
        let ask = self
            .oci
            .auth(&self.reference, &self.auth, RegistryOperation::Pull);
        let answer = timeout(self.limits.step, ask)
            .await
            .map_err(|_| self.slow("token", self.limits.step))?;
        let is_anonymous = matches!(self.auth, RegistryAuth::Anonymous);
        match answer {
            // oci-client would panic on a token that cannot be a header.
            Ok(Some(token)) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(self.no_token()),
            Ok(token) => Ok(token),
            Err(OciDistributionError::AuthenticationFailure(_)) if is_anonymous => Ok(None),
            Err(OciDistributionError::AuthenticationFailure(_)) => Err(self.unauthorised()),
            Err(OciDistributionError::RegistryTokenDecodeError(_)) => Err(self.no_token()),
            Err(OciDistributionError::RequestError(error)) => Err(of_http(self, "token", error)),
            Err(_) => {
                let found = "something else".to_owned();
                Err(RegistryError::Garbage {
                    registry: self.registry(),
                    what: "answer to /v2/",
                    found,
                })
            }
        }
    }

    fn check_status(&self, status: StatusCode, headers: &header::HeaderMap) -> Result<(), RegistryError> {
        let registry = self.registry();
        let retry_after_s = retry_after(headers);
        match status.as_u16() {
            200 => Ok(()),
            401 | 403 => Err(self.unauthorised()),
            404 => Err(self.not_found()),
            429 => Err(RegistryError::Throttled {
                registry,
                attempts: 1,
                retry_after_s,
            }),
            503 if retry_after_s.is_some() => Err(RegistryError::Throttled {
                registry,
                attempts: 1,
                retry_after_s,
            }),
            status @ 500.. => Err(RegistryError::Failing { registry, status }),
            status @ 300..=399 => Err(RegistryError::Redirected { registry, status }),
            status => Err(RegistryError::Unexpected { registry, status }),
        }
    }

    fn unauthorised(&self) -> RegistryError {
        let with_credentials = !matches!(self.auth, RegistryAuth::Anonymous);
        RegistryError::Unauthorised {
            registry: self.registry(),
            image: self.reference.to_string(),
            who: if with_credentials {
                "the stored credentials"
            } else {
                "an anonymous client"
            },
        }
    }

    fn no_token(&self) -> RegistryError {
        RegistryError::Garbage {
            registry: self.registry(),
            what: "token",
            found: "something else".to_owned(),
        }
    }

    fn not_found(&self) -> RegistryError {
        RegistryError::NotFound {
            registry: self.registry(),
            image: self.reference.to_string(),
        }
    }

    fn slow(&self, what: &'static str, waited: Duration) -> RegistryError {
        RegistryError::Slow {
            registry: self.registry(),
            what,
            waited,
        }
    }

    fn name(&self) -> &str {
        self.reference.resolve_registry()
    }

    fn registry(&self) -> String {
        self.name().to_owned()
    }
}

/// Seconds, or a date (<https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>).
fn retry_after(headers: &header::HeaderMap) -> Option<u64> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().or_else(|| {
        let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Some(u64::try_from(at.duration_since(Timestamp::now()).as_secs()).unwrap_or(0))
    })
}

/// `127.0.0.1:5000`, `localhost`, `[::1]:5000`: what never leaves this machine, and may be asked without TLS.
pub(crate) fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "registry.k8s.io",
            "10.0.0.1:5000",
            "localhost.example",
            "127.0.0.1.example:80",
            "[::2]:5000",
            "",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }

    #[test]
    fn patience_is_asked_for_in_seconds_or_until_a_date() {
        let asked = |value: &str| {
            retry_after(
                &[(header::RETRY_AFTER, value.parse().expect("a header"))]
                    .into_iter()
                    .collect(),
            )
        };
        assert_eq!(asked("7"), Some(7));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert!(asked("Sat, 21 Oct 2215 07:28:00 GMT").is_some_and(|seconds| seconds > 1_000_000_000));
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&header::HeaderMap::new()), None);
    }
}
