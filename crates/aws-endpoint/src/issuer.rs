//! The published keys of token issuers, fetched over HTTPS and kept.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use mountproof_run_tls::{HttpsClient, TlsError};
use serde::Deserialize;
use tokio::{sync::Mutex, time::timeout};

/// Longest wait for an issuer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest document an issuer may send.
const LARGEST: usize = 256 * 1024;

/// Fetches and keeps keys.
pub(crate) struct Issuers {
    client: HttpsClient,
    /// Held while one issuer is asked, so that a burst of tokens asks once.
    kept: Mutex<HashMap<String, JwkSet>>,
}

/// The part of the discovery document that is needed (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuers {
    pub(crate) fn new(trust_pem: &str) -> Result<Self, TlsError> {
        Ok(Self {
            client: HttpsClient::new(trust_pem, None)?,
            kept: Mutex::default(),
        })
    }

    /// The key `kid` of `issuer`; an unknown one is asked for anew, as issuers rotate.
    pub(crate) async fn key(&self, issuer: &str, kid: &str) -> Result<Option<Jwk>, String> {
        let mut kept = self.kept.lock().await;
        if let Some(key) = kept.get(issuer).and_then(|keys| keys.find(kid)) {
            return Ok(Some(key.clone()));
        }
        let keys = timeout(PATIENCE, self.fetch(issuer))
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))??;
        let key = keys.find(kid).cloned();
        kept.insert(issuer.to_owned(), keys);
        Ok(key)
    }

    async fn fetch(&self, issuer: &str) -> Result<JwkSet, String> {
        let at = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let discovery: Discovery = self.document(&at).await?;
        if discovery.issuer != issuer {
            return Err(format!("{at} speaks for {}", discovery.issuer));
        }
        if !discovery.jwks_uri.starts_with("https://") {
            return Err(format!("{at} names keys that are not behind https"));
        }
        self.document(&discovery.jwks_uri).await
    }

    async fn document<T: serde::de::DeserializeOwned>(&self, at: &str) -> Result<T, String> {
        let request = Request::get(at)
            .body(Full::<Bytes>::default())
            .map_err(|error| error.to_string())?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("{at} answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("{at}: {error}"))
    }
}
