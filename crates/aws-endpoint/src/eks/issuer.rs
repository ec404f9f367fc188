//! The token issuer of a cluster: a key pair of its own, or the keys that its API server publishes.

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Whose keys sign the tokens of a cluster.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum IssuerKeys {
    /// Its own.
    Own(ClusterKey),
    /// Of an API server elsewhere: a JWK set.
    Published(Value),
}

/// An RSA key pair that signs service-account tokens. Has no `Debug`: the private key is in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClusterKey {
    id: String,
    /// PKCS #8 in base64.
    private: String,
}

impl std::fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Published(_) => "Published",
        })
    }
}

impl IssuerKeys {
    /// The JWK set that is published.
    pub(super) fn published(&self) -> Value {
        match self {
            Self::Own(key) => json!({ "keys": [key.published()] }),
            Self::Published(set) => set.clone(),
        }
    }
}

impl ClusterKey {
    /// A new key pair of 2,048 bits: takes a tenth of a second and more.
    #[must_use]
    pub fn generate() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("the system gives randomness");
        let private: Pkcs8V1Der<'_> = pair.as_der().expect("a new key can be written");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a new key can be written");
        // Named as Kubernetes names its keys: by the hash of the public part.
        let id = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, public.as_ref()));
        Self {
            id,
            private: BASE64_STANDARD.encode(private.as_ref()),
        }
    }

    /// A token with these claims, signed.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding()).expect("an RSA key signs every JSON object")
    }

    fn published(&self) -> Value {
        let mut key = Jwk::from_encoding_key(&self.encoding(), Algorithm::RS256).expect("it is an RSA key");
        key.common.key_id = Some(self.id.clone());
        let mut key = json!(key);
        key["use"] = json!("sig");
        key
    }

    fn encoding(&self) -> EncodingKey {
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            self.private
        );
        EncodingKey::from_rsa_pem(pem.as_bytes()).expect("it was written by `generate`")
    }
}

/// The discovery document of an issuer, as EKS publishes it.
pub(super) fn discovery(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/keys"),
        "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "claims_supported": ["sub", "iss"],
        "id_token_signing_alg_values_supported": ["RS256"],
    })
}
