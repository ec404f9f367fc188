//! `ServiceAccount` tokens: signed with a key of the run's, published as the issuer's key set.

use std::fmt;

use aws_lc_rs::{
    digest,
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::{SecureRandom as _, SystemRandom},
    rsa::{KeyPair, KeySize},
    signature::{self, KeyPair as _, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// Characters on a line of PEM (RFC 7468).
const PEM_LINE: usize = 64;

/// A bearer token. Shows nowhere but where [`expose`](Self::expose) is called.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// A random token of 256 bits.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .expect("the system's random numbers do not fail once the process runs");
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A token that a [`Signer`] made.
    pub(crate) fn signed(token: String) -> Self {
        Self(token)
    }

    /// The token itself, to put into an `Authorization` header.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// The signing key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("generate the service account signing key")]
pub struct SigningKeyError;

/// Signs and verifies `ServiceAccount` tokens: RS256 over a 2048-bit key that lives as long as it does.
pub(crate) struct Signer {
    key: KeyPair,
    key_id: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn generate() -> Result<Self, SigningKeyError> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningKeyError)?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| SigningKeyError)?;
        // As kube-apiserver names its keys.
        let key_id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, public.as_ref()));
        Ok(Self { key, key_id })
    }

    /// The private key as PEM (PKCS #8), for a `kube-apiserver` that signs with it.
    pub(crate) fn to_pem(&self) -> Result<String, SigningKeyError> {
        let der: Pkcs8V1Der<'_> = self.key.as_der().map_err(|_| SigningKeyError)?;
        let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
        for (index, character) in STANDARD.encode(der.as_ref()).chars().enumerate() {
            if index > 0 && index % PEM_LINE == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str("\n-----END PRIVATE KEY-----\n");
        Ok(pem)
    }

    /// The JSON Web Token that carries `claims`.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "kid": self.key_id });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &signature::RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .expect("the buffer has the modulus' length and the key is good");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of `token` if this signer signed it and it is valid at `now` (seconds since 1970).
    pub(super) fn verify(&self, token: &str, now: i64) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| -> Option<Value> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = decode(header)?;
        if header["alg"] != "RS256" || header["kid"] != *self.key_id {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public: PublicKeyX509Der<'_> = self.key.public_key().as_der().ok()?;
        UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public.as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let claims = decode(claims)?;
        let valid = claims["exp"].as_i64()? > now && claims["nbf"].as_i64()? <= now;
        valid.then_some(claims)
    }

    /// The key set that verifiers fetch (RFC 7517).
    pub(super) fn key_set(&self) -> Value {
        let public = self.key.public_key();
        json!({ "keys": [{
            "use": "sig",
            "kty": "RSA",
            "kid": self.key_id,
            "alg": "RS256",
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        }] })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn verifies_its_own_tokens_while_they_last() {
        let signer = Signer::generate().unwrap();
        let claims = json!({ "exp": 100, "nbf": 10, "sub": "x" });
        let token = signer.sign(&claims);
        assert_eq!(signer.verify(&token, 50), Some(claims));
        assert_eq!(signer.verify(&token, 100), None);
        assert_eq!(signer.verify(&token, 9), None);
        assert_eq!(Signer::generate().unwrap().verify(&token, 50), None);
        let (head, tail) = token.split_once('.').unwrap();
        let (_, signature) = tail.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(json!({ "exp": 100, "nbf": 10, "sub": "y" }).to_string());
        assert_eq!(signer.verify(&format!("{head}.{forged}.{signature}"), 50), None);
        for other in ["", "a", "a.b", "a.b.c"] {
            assert_eq!(signer.verify(other, 50), None);
        }
    }

    #[test]
    fn the_published_key_verifies_with_another_library() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&json!({ "exp": 100, "nbf": 10, "aud": ["sts.amazonaws.com"] }));
        let keys = signer.key_set();
        let text = |field: &str| keys["keys"][0][field].as_str().unwrap().to_owned();
        let key = jsonwebtoken::DecodingKey::from_rsa_components(&text("n"), &text("e")).unwrap();
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
        rules.validate_exp = false;
        rules.set_audience(&["sts.amazonaws.com"]);
        let decoded = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap();
        assert_eq!(decoded.header.kid, Some(text("kid")));
        assert_eq!(decoded.header.typ, None);
    }
}
