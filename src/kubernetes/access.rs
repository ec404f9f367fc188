//! The connection: exactly the trust given, and retries that are counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, retry::RetryPolicy},
    config::AuthInfo,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;
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
    /// Who asks.
    pub identity: Identity,
}

/// How a client says who it is.
pub enum Identity {
    /// A bearer token.
    Token(Credential),
    /// A certificate and its key, both as PEM.
    Certificate {
        /// The certificate.
        certificate_pem: String,
        /// Its key.
        key_pem: Credential,
    },
}

impl KubernetesAccess {
    /// What a kubeconfig says of its current context, where that has a certificate in the file, as kind's have.
    ///
    /// # Errors
    ///
    /// In words, when it has not.
    pub fn of_kubeconfig(text: &str) -> Result<Self, String> {
        let read = kube::config::Kubeconfig::from_yaml(text).map_err(|error| error.to_string())?;
        // By way of JSON, in which its key is not hidden.
        let kubeconfig: Kubeconfig = serde_json::to_value(read)
            .and_then(serde_json::from_value)
            .map_err(|error| error.to_string())?;
        let context = named(&kubeconfig.contexts, &kubeconfig.current_context, "context")?;
        let cluster = named(&kubeconfig.clusters, &context.cluster, "cluster")?;
        let user = named(&kubeconfig.users, &context.user, "user")?;
        let decoded = |what: &str, data: &str| -> Result<String, String> {
            let bytes = STANDARD
                .decode(data)
                .map_err(|error| format!("{what}: {error}"))?;
            String::from_utf8(bytes).map_err(|error| format!("{what}: {error}"))
        };
        Ok(Self {
            url: cluster.server.clone(),
            trust_pem: decoded("certificate-authority-data", &cluster.certificate_authority_data)?,
            identity: Identity::Certificate {
                certificate_pem: decoded("client-certificate-data", &user.client_certificate_data)?,
                key_pem: Credential::new(&decoded("client-key-data", &user.client_key_data)?),
            },
        })
    }
}

/// The parts of a kubeconfig that are read. Never shown: it holds a key.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    contexts: Vec<Named<Context>>,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

/// One of a list; each list has a key of its own for what is named.
#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    what: T,
}

fn named<'a, T>(entries: &'a [Named<T>], name: &str, what: &str) -> Result<&'a T, String> {
    let found = entries.iter().find(|entry| entry.name == name);
    found
        .map(|entry| &entry.what)
        .ok_or_else(|| format!("it has no {what} {name}"))
}

impl Identity {
    fn auth_info(&self) -> AuthInfo {
        match self {
            Self::Token(token) => AuthInfo {
                token: Some(token.expose().to_owned().into()),
                ..AuthInfo::default()
            },
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

    #[test]
    fn a_kubeconfig_of_kind_is_read() {
        let encoded = |text: &str| STANDARD.encode(text);
        let text = format!(
            "apiVersion: v1\nkind: Config\npreferences: {{}}\ncurrent-context: kind-a\ncontexts:\n- name: kind-b\n  context: \
             {{cluster: kind-b, user: kind-b}}\n- name: kind-a\n  context: {{cluster: kind-a, user: kind-a}}\nclusters:\n- name: \
             kind-a\n  cluster: {{server: 'https://127.0.0.1:40000', certificate-authority-data: {}}}\nusers:\n- name: kind-a\n  \
             user: {{client-certificate-data: {}, client-key-data: {}}}\n",
            encoded("CA"),
            encoded("CERTIFICATE"),
            encoded("KEY")
        );
        let access = KubernetesAccess::of_kubeconfig(&text);
        let access = access.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (access.url.as_str(), access.trust_pem.as_str()),
            ("https://127.0.0.1:40000", "CA")
        );
        let Identity::Certificate {
            certificate_pem,
            key_pem,
        } = access.identity
        else {
            panic!("it has a certificate");
        };
        assert_eq!(
            (certificate_pem.as_str(), key_pem.expose()),
            ("CERTIFICATE", "KEY")
        );
        let missing = text.replace("current-context: kind-a", "current-context: kind-c");
        let error = KubernetesAccess::of_kubeconfig(&missing).err();
        assert_eq!(error.as_deref(), Some("it has no context kind-c"));
    }
}
