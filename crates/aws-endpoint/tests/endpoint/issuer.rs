//! A token issuer as a cluster is one: it signs, and publishes its keys over HTTPS.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{self, EcdsaKeyPair, KeyPair as _},
};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use mountproof_run_tls::{RunCa, Server};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A key pair and what it is called.
pub(crate) struct Signer {
    key: Key,
    pub(crate) id: String,
}

enum Key {
    Rsa(KeyPair),
    Ec(EcdsaKeyPair),
}

impl Signer {
    pub(crate) fn rsa(id: &str) -> Self {
        Self {
            key: Key::Rsa(KeyPair::generate(KeySize::Rsa2048).unwrap()),
            id: id.to_owned(),
        }
    }

    pub(crate) fn ec(id: &str) -> Self {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self {
            key: Key::Ec(key),
            id: id.to_owned(),
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.id, claims)
    }

    /// Signs, naming the key `id`.
    pub(crate) fn sign_as(&self, id: &str, claims: &Value) -> String {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => token(&json!({"alg": "RS256", "kid": id}), claims, |text| {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .unwrap();
                signature
            }),
            Key::Ec(key) => token(&json!({"alg": "ES256", "kid": id}), claims, |text| {
                key.sign(&random, text).unwrap().as_ref().to_vec()
            }),
        }
    }

    /// The oldest trick: HMAC with the public key, which everyone has, as its secret.
    pub(crate) fn sign_with_the_public_key(&self, claims: &Value) -> String {
        let Key::Rsa(key) = &self.key else {
            panic!("no RSA key")
        };
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
        token(&json!({"alg": "HS256", "kid": self.id}), claims, |text| {
            hmac::sign(&secret, text).as_ref().to_vec()
        })
    }

    fn published(&self) -> Value {
        match &self.key {
            Key::Rsa(key) => {
                let public = key.public_key();
                json!({
                    "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id,
                    "n": BASE64.encode(public.modulus().big_endian_without_leading_zero()),
                    "e": BASE64.encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Key::Ec(key) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({
                    "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.id,
                    "x": BASE64.encode(x), "y": BASE64.encode(y),
                })
            }
        }
    }
}

/// A token of any header, signed by anything.
pub(crate) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |value: &Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", encode(header), encode(claims));
    let signature = BASE64.encode(sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// An issuer's two documents, served.
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    server: Server,
}

impl Issuer {
    /// An issuer that publishes `keys`.
    pub(crate) async fn start(ca: &Arc<RunCa>, keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        Self::serve(ca, listener, url.clone(), &url, keys)
    }

    /// One whose discovery document speaks for someone else.
    pub(crate) async fn impostor(ca: &Arc<RunCa>, keys: &[&Signer], speaks_for: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        Self::serve(ca, listener, url, speaks_for, keys)
    }

    fn serve(
        ca: &Arc<RunCa>,
        listener: TcpListener,
        url: String,
        speaks_for: &str,
        keys: &[&Signer],
    ) -> Self {
        let (asked, published) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Value::Null)));
        let discovery = json!({"issuer": speaks_for, "jwks_uri": format!("{url}/openid/v1/jwks")});
        let (counted, shown) = (Arc::clone(&asked), Arc::clone(&published));
        let app = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    async move { Json(discovery) }
                }),
            )
            .route(
                "/openid/v1/jwks",
                get(move || async move { Json(shown.lock().unwrap().clone()) }),
            );
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        let issuer = Self {
            url,
            keys: published,
            asked,
            server,
        };
        issuer.publish(keys);
        issuer
    }

    /// Replaces the published keys.
    pub(crate) fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.published()).collect();
        *self.keys.lock().unwrap() = json!({"keys": keys});
    }

    /// How often the discovery document was fetched.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}
