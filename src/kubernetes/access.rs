//! The connection: exactly the trust given, and retries that are counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, retry::RetryPolicy},
    config::AuthInfo,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tower::{
    BoxError,
    buffer::BufferLayer,
    retry::{Policy, RetryLayer},
};

use super::{KubernetesError, error::chain};
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
    /// Authorities to trust, as PEM.
    pub trust_pem: String,
    /// Bearer token.
    pub token: Credential,
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
    config.root_cert = Some(certificates(&access.trust_pem).map_err(failed)?);
    config.auth_info = AuthInfo {
        token: Some(access.token.expose().to_owned().into()),
        ..AuthInfo::default()
    };
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
        .with_layer(&RetryLayer::new(policy))
        .build();
    Ok((client, retries))
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
