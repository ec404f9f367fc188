//! The connection: exactly the trust given, and retries that are counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, retry::RetryPolicy},
    config::AuthInfo,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tower::{
    BoxError,
    buffer::BufferLayer,
    filter::{AsyncFilterLayer, AsyncPredicate},
    retry::{Policy, RetryLayer},
    util::option_layer,
};

use super::{KubernetesError, Tokens, error::chain};
use crate::secret::Credential;

/// Shortest and longest pause before a retry, and how many there are. The client's own policy would
/// wait up to 1,000 s, beyond any deadline here.
const PAUSES: (Duration, Duration, u32) = (Duration::from_millis(20), Duration::from_secs(2), 8);

/// Requests that may queue for a connection.
const QUEUE: usize = 4_096;

/// How to reach a Kubernetes API.
pub struct KubernetesAccess {
    /// `https://host:port`.
    pub url: String,
    /// Authorities to trust, as PEM; none are those of the platform.
    pub trust_pem: Option<String>,
    /// The name that its certificate is for, where that is not the one in `url`.
    pub server_name: Option<String>,
    /// Who asks.
    pub identity: Identity,
}

/// How a client says who it is.
pub enum Identity {
    /// A bearer token.
    Token(Credential),
    /// Bearer tokens that end and are had anew: each request asks for the one to send, that of a watch that begins again
    /// too.
    Renewed(Arc<dyn Tokens>),
    /// A certificate and its key, both as PEM.
    Certificate {
        /// The certificate.
        certificate_pem: String,
        /// Its key.
        key_pem: Credential,
    },
}

impl KubernetesAccess {
    /// An API at `url` under its own name, whose certificate one of the authorities in `trust_pem` has signed.
    #[must_use]
    pub fn new(url: impl Into<String>, trust_pem: impl Into<String>, identity: Identity) -> Self {
        Self {
            url: url.into(),
            trust_pem: Some(trust_pem.into()),
            server_name: None,
            identity,
        }
    }
}

impl Identity {
    fn auth_info(&self) -> AuthInfo {
        match self {
            Self::Token(token) => AuthInfo {
                token: Some(token.expose().to_owned().into()),
                ..AuthInfo::default()
            },
            // Each request's own.
            Self::Renewed(_) => AuthInfo::default(),
            Self::Certificate {
                certificate_pem,
                key_pem,
            } => AuthInfo {
                client_certificate_data: Some(STANDARD.encode(certificate_pem)),
                client_key_data: Some(STANDARD.encode(key_pem.expose()).into()),
                ..AuthInfo::default()
            },
        }
    }

    fn renewed(&self) -> Option<Bearer> {
        match self {
            Self::Renewed(tokens) => Some(Bearer(Arc::clone(tokens))),
            Self::Token(_) | Self::Certificate { .. } => None,
        }
    }
}

/// Makes a client, and a count of the retries it makes by itself: of answers 429, 503 and 504.
pub(super) fn client(access: &KubernetesAccess) -> Result<(Client, Arc<AtomicU64>), KubernetesError> {
    let failed = |message: String| KubernetesError {
        action: "connect to Kubernetes".to_owned(),
        status: None,
        message,
    };
    let url = access
        .url
        .parse::<http::Uri>()
        .map_err(|error| failed(format!("`{}` is no URL: {error}", access.url)))?;
    let mut config = Config::new(url);
    let trust = access.trust_pem.as_deref().map(certificates);
    config.root_cert = trust.transpose().map_err(failed)?;
    config.tls_server_name.clone_from(&access.server_name);
    config.auth_info = access.identity.auth_info();
    config.default_retry = false;
    let (shortest, longest, most) = PAUSES;
    let retries = Arc::new(AtomicU64::new(0));
    let policy = CountedRetry {
        policy: RetryPolicy::new(shortest, longest, most, true).map_err(|error| failed(error.to_string()))?,
        retries: Arc::clone(&retries),
    };
    let client = ClientBuilder::try_from(config)
        .map_err(|error| failed(chain(&error)))?
        .with_layer(&BufferLayer::new(QUEUE))
        // Within the retries: a second try has a token of its own.
        .with_layer(&option_layer(
            access.identity.renewed().map(AsyncFilterLayer::new),
        ))
        .with_layer(&RetryLayer::new(policy))
        .build();
    Ok((client, retries))
}

/// Gives a request the token of its moment.
#[derive(Clone)]
struct Bearer(Arc<dyn Tokens>);

impl AsyncPredicate<Request<Body>> for Bearer {
    type Future = BoxFuture<'static, Result<Request<Body>, BoxError>>;
    type Request = Request<Body>;

    fn check(&mut self, mut request: Request<Body>) -> Self::Future {
        let tokens = Arc::clone(&self.0);
        async move {
            let token = tokens.token().await?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose().trim()))
                .map_err(|_| "the token cannot be sent: it is none")?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
            Ok(request)
        }
        .boxed()
    }
}

/// The client's own policy, and a count: a latency with hidden retries in it lies.
#[derive(Clone)]
struct CountedRetry {
    policy: RetryPolicy,
    retries: Arc<AtomicU64>,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for CountedRetry {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let pause = self.policy.retry(request, result)?;
        self.retries.fetch_add(1, Ordering::Relaxed);
        Some(pause)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        <RetryPolicy as Policy<Request<Body>, Response<B>, BoxError>>::clone_request(
            &mut self.policy,
            request,
        )
    }
}

/// Certificates of a PEM text, as DER.
fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    let read = |error| format!("read the authority to trust for Kubernetes: {error}");
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| read(error.to_string()))?;
    if certificates.is_empty() {
        return Err(read("no certificate in the PEM text".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_must_be_a_certificate() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            assert!(certificates(pem).is_err(), "{pem:?}");
        }
        let ca = mountproof_run_tls::RunCa::generate("test").expect("a CA can be made");
        assert_eq!(certificates(ca.certificate_pem()).map(|found| found.len()), Ok(1));
    }
}
