//! The published keys of token issuers, fetched over HTTPS and kept.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use jsonwebtoken::{
    DecodingKey,
    jwk::{Jwk, JwkSet},
};
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
    /// By the issuer's URL.
    known: RwLock<HashMap<String, Arc<Known>>>,
}

/// What is known of one issuer.
#[derive(Default)]
struct Known {
    /// By key id.
    keys: RwLock<HashMap<String, Arc<DecodingKey>>>,
    /// Held while the issuer is asked, so that a burst of tokens asks once.
    asking: Mutex<()>,
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
            known: RwLock::default(),
        })
    }

    /// The key `kid` of `issuer`; an unknown one is asked for anew, as issuers rotate. `None` when the
    /// issuer has no such key.
    pub(crate) async fn key(&self, issuer: &str, kid: &str) -> Result<Option<Arc<DecodingKey>>, String> {
        let known = self.known(issuer);
        if let Some(key) = known.key(kid) {
            return Ok(Some(key));
        }
        let ask = async {
            let _asking = known.asking.lock().await;
            // Those who waited for another's question have its answer now.
            if known.key(kid).is_none() {
                known.replace(&self.fetch(issuer).await?);
            }
            Ok(known.key(kid))
        };
        timeout(PATIENCE, ask)
            .await
            .map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }

    fn known(&self, issuer: &str) -> Arc<Known> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(issuer) {
            return Arc::clone(known);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(issuer.to_owned()).or_default())
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

impl Known {
    fn key(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(kid).map(Arc::clone)
    }

    /// Takes over what is published now, so that a key that was withdrawn is gone.
    fn replace(&self, published: &JwkSet) {
        let read = |jwk: &Jwk| {
            Some((
                jwk.common.key_id.clone()?,
                Arc::new(DecodingKey::from_jwk(jwk).ok()?),
            ))
        };
        let keys = published.keys.iter().filter_map(read).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}
