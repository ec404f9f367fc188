//! A token issuer as a cluster is one: it signs, and publishes its keys over HTTPS.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use mountproof_run_tls::{RunCa, Server};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{AUDIENCE, now, subject};

/// An issuer: discovery document and keys over HTTPS, and the key that it signs with.
pub(crate) struct Issuer {
    pub(crate) url: String,
    published: Arc<Published>,
    key: Mutex<Key>,
    server: Server,
}

/// What the issuer's two documents say, and how often they were fetched.
#[derive(Default)]
struct Published {
    url: String,
    /// The `issuer` of the discovery document: its own URL, but for an impostor.
    speaks_for: String,
    keys: Mutex<Vec<Jwk>>,
    discovered: AtomicUsize,
    fetched: AtomicUsize,
    down: AtomicBool,
}

impl Issuer {
    /// An issuer that publishes and signs with one RSA key, `first`.
    pub(crate) async fn start(ca: &Arc<RunCa>) -> Self {
        Self::serve(ca, Key::rsa("first"), None).await
    }

    /// One with the keys of another issuer, whose discovery document speaks for that other one.
    pub(crate) async fn impostor(ca: &Arc<RunCa>, other: &Self) -> Self {
        Self::serve(ca, other.key(), Some(&other.url)).await
    }

    async fn serve(ca: &Arc<RunCa>, key: Key, speaks_for: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let published = Arc::new(Published {
            speaks_for: speaks_for.unwrap_or(&url).to_owned(),
            url: url.clone(),
            ..Published::default()
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/openid/v1/jwks", get(key_set))
            .with_state(Arc::clone(&published));
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        published.publish(&key);
        Self {
            url,
            published,
            key: Mutex::new(key),
            server,
        }
    }

    /// The URL as condition keys and ARNs have it.
    pub(crate) fn name(&self) -> &str {
        self.url.strip_prefix("https://").unwrap()
    }

    /// Publishes a key beside the others, and signs with it from now on.
    pub(crate) fn publish(&self, key: Key) {
        self.published.publish(&key);
        *lock(&self.key) = key;
    }

    /// The keys, as they are published.
    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": *lock(&self.published.keys) })
    }

    /// Withdraws every key that is published.
    pub(crate) fn withdraw_all(&self) {
        lock(&self.published.keys).clear();
    }

    /// Makes the issuer answer 500, or answer again.
    pub(crate) fn set_down(&self, down: bool) {
        self.published.down.store(down, Ordering::SeqCst);
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// How often the discovery document and the keys were fetched.
    pub(crate) fn fetched(&self) -> [usize; 2] {
        [&self.published.discovered, &self.published.fetched].map(|count| count.load(Ordering::SeqCst))
    }

    /// The key that it signs with.
    pub(crate) fn key(&self) -> Key {
        lock(&self.key).clone()
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.key().sign(claims)
    }

    /// The token of a tenant's `default` ServiceAccount.
    pub(crate) fn token_of(&self, tenant: &str) -> String {
        self.sign(&self.claims(tenant))
    }

    /// Claims as a cluster makes them.
    pub(crate) fn claims(&self, tenant: &str) -> Value {
        json!({
            "iss": self.url,
            "sub": subject(tenant),
            "aud": [AUDIENCE],
            "iat": now(),
            "nbf": now(),
            "exp": now() + 600,
            "kubernetes.io": { "namespace": tenant, "serviceaccount": { "name": "default" } },
        })
    }

    /// The claims of team-red's token with one of them changed; `null` removes it.
    pub(crate) fn claims_but(&self, claim: &str, value: Value) -> Value {
        let mut claims = self.claims("team-red");
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value;
        }
        claims
    }
}

impl Published {
    fn publish(&self, key: &Key) {
        lock(&self.keys).push(key.published.clone());
    }

    fn answer(
        &self,
        count: &AtomicUsize,
        document: impl FnOnce() -> Value,
    ) -> Result<Json<Value>, StatusCode> {
        count.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Ok(Json(document()))
    }
}

async fn discovery(State(published): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    published.answer(
        &published.discovered,
        || json!({ "issuer": published.speaks_for, "jwks_uri": format!("{}/openid/v1/jwks", published.url) }),
    )
}

async fn key_set(State(published): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    published.answer(&published.fetched, || json!({ "keys": *lock(&published.keys) }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key pair and what it is called.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    /// The public key as DER.
    public: Vec<u8>,
    /// The public key as the issuer publishes it.
    published: Jwk,
}

impl Key {
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let text = BASE64_STANDARD.encode(private.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self::new(id, Algorithm::RS256, private, public.as_ref())
    }

    pub(crate) fn elliptic(id: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).unwrap();
        let public = pair.public_key().as_ref();
        Self::new(
            id,
            Algorithm::ES256,
            EncodingKey::from_ec_der(private.as_ref()),
            public,
        )
    }

    fn new(id: &str, algorithm: Algorithm, private: EncodingKey, public: &[u8]) -> Self {
        let mut published = Jwk::from_encoding_key(&private, algorithm).unwrap();
        published.common.key_id = Some(id.to_owned());
        Self {
            id: id.to_owned(),
            algorithm,
            private,
            public: public.to_vec(),
            published,
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some(&self.id), claims)
    }

    /// Signs under another id, or under none.
    pub(crate) fn sign_as(&self, id: Option<&str>, claims: &Value) -> String {
        encode(self.algorithm, id, claims, &self.private)
    }

    /// What a confused verifier could take as an HMAC secret: the key as DER, and as it is published.
    pub(crate) fn public_forms(&self) -> [Vec<u8>; 2] {
        [self.public.clone(), serde_json::to_vec(&self.published).unwrap()]
    }
}

/// A token that anyone can make: HMAC with `secret`.
pub(crate) fn hmac_token(id: &str, claims: &Value, secret: &[u8]) -> String {
    encode(
        Algorithm::HS256,
        Some(id),
        claims,
        &EncodingKey::from_secret(secret),
    )
}

fn encode(algorithm: Algorithm, id: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = id.map(ToOwned::to_owned);
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

/// A token with any header and any signature.
pub(crate) fn raw_token(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    format!(
        "{}.{}.{}",
        part(header.as_bytes()),
        part(claims.as_bytes()),
        part(signature)
    )
}
