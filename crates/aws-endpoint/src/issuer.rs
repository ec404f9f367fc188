//! The published keys of token issuers, fetched over HTTPS and kept.
//!
//! Keys that were fetched an hour ago are asked for anew, so that one that was withdrawn does not count for ever.
//! A key that is not known is asked for at once, as issuers rotate, but not by every forged token: an issuer is
//! asked a few times in a row, and then once in ten seconds.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
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

/// How long keys count.
const FRESH: Duration = Duration::from_secs(3600);
/// How often an issuer is asked in a row.
const BURST: u32 = 5;
/// After which time it may be asked once more.
const REFILL: Duration = Duration::from_secs(10);

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer did not answer in time.
    Silent,
    /// It answers, but not with keys; or it is not asked again so soon.
    Unusable(String),
}

/// Fetches and keeps keys.
pub(crate) struct Issuers {
    client: HttpsClient,
    /// By the issuer's URL.
    known: RwLock<HashMap<String, Arc<Known>>>,
}

/// What is known of one issuer.
#[derive(Default)]
struct Known {
    keys: RwLock<Keys>,
    /// Held while the issuer is asked, so that a burst of tokens asks once.
    asking: Mutex<Asked>,
}

/// What an issuer published last.
#[derive(Default)]
struct Keys {
    by_id: HashMap<String, Arc<DecodingKey>>,
    /// `None` when nothing was fetched yet.
    fetched: Option<Instant>,
    /// Its keys are made here, and never fetched.
    hosted: bool,
}

/// How often an issuer may be asked.
struct Asked {
    left: u32,
    refilled: Instant,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
        }
    }
}

impl Asked {
    /// Whether it may be asked at `now`.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.refilled) >= REFILL {
            self.refilled += REFILL;
            self.left += 1;
        }
        if self.left == BURST {
            self.refilled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
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
    pub(crate) async fn key(&self, issuer: &str, kid: &str) -> Result<Option<Arc<DecodingKey>>, NoKey> {
        let known = self.known(issuer);
        if let Some(key) = known.key(kid) {
            return Ok(Some(key));
        }
        if known.hosted() {
            return Ok(None);
        }
        let ask = async {
            let mut asked = known.asking.lock().await;
            // Those who waited for another's question have its answer now.
            if known.key(kid).is_none() {
                if !asked.take(Instant::now()) {
                    return Err(NoKey::Unusable("it was asked for other keys just now".to_owned()));
                }
                known.replace(&self.fetch(issuer).await.map_err(NoKey::Unusable)?, false);
            }
            Ok(known.key(kid))
        };
        timeout(PATIENCE, ask).await.map_err(|_| NoKey::Silent)?
    }

    /// Takes over the keys of an issuer that is served here, in place of those that it had.
    pub(crate) fn host(&self, issuer: &str, published: &serde_json::Value) {
        match serde_json::from_value(published.clone()) {
            Ok(set) => self.known(issuer).replace(&set, true),
            Err(error) => tracing::warn!(issuer, %error, "keys of a token issuer"),
        }
    }

    /// Forgets what is known of an issuer.
    pub(crate) fn forget(&self, issuer: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(issuer);
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
        let fresh = keys.hosted || keys.fetched.is_some_and(|fetched| fetched.elapsed() < FRESH);
        keys.by_id.get(kid).filter(|_| fresh).map(Arc::clone)
    }

    fn hosted(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).hosted
    }

    /// Takes over what is published now, so that a key that was withdrawn is gone.
    fn replace(&self, published: &JwkSet, hosted: bool) {
        let read = |jwk: &Jwk| {
            Some((
                jwk.common.key_id.clone()?,
                Arc::new(DecodingKey::from_jwk(jwk).ok()?),
            ))
        };
        let keys = Keys {
            by_id: published.keys.iter().filter_map(read).collect(),
            fetched: Some(Instant::now()),
            hosted,
        };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_asked_a_few_times_in_a_row_and_then_now_and_then() {
        let mut asked = Asked::default();
        let begin = Instant::now();
        let may = |asked: &mut Asked, seconds: u64| asked.take(begin + Duration::from_secs(seconds));
        for (seconds, expected) in [
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (9, false),
            (11, true),
            (11, false),
            (32, true),
            (32, true),
            (32, false),
        ] {
            assert_eq!(may(&mut asked, seconds), expected, "after {seconds} s");
        }
        let again = (0..10).filter(|_| may(&mut asked, 3600)).count();
        assert_eq!(again, BURST as usize, "never more in a row");
    }
}
