//! The key of one day, region and service, which signs in place of the secret.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::lock::Lock;

/// A secret's signing key, ready to be used. Shown by nothing.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives the key of a secret of any length for `scope`: date, region, service.
    #[must_use]
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> Self {
        let mut prefixed = Vec::with_capacity(4 + secret.len());
        prefixed.extend_from_slice(b"AWS4");
        prefixed.extend_from_slice(secret.as_bytes());
        let steps = [date, region, service, "aws4_request"];
        let first = hmac::Key::new(HMAC_SHA256, &prefixed);
        let step = |key: hmac::Key, word: &str| {
            hmac::Key::new(HMAC_SHA256, hmac::sign(&key, word.as_bytes()).as_ref())
        };
        Self(steps.into_iter().fold(first, step))
    }

    /// Whether `signature` (hexadecimal, lower case) is that of the text made of `parts`. Takes as long
    /// for a wrong one as for the right one.
    #[must_use]
    pub fn verifies(&self, parts: &[&str], signature: &str) -> bool {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let Some(given) = unhex(signature) else {
            return false;
        };
        aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), &given).is_ok()
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Signing keys that were derived before, by credential (`<key id>/<date>/<region>/<service>/aws4_request`).
///
/// Bounded: when it is full it starts anew, so that many keys cost derivations (four HMACs each) and no memory.
#[derive(Default)]
pub struct SigningKeys {
    known: Lock<HashMap<Box<str>, Known>>,
}

struct Known {
    /// A key id may come to stand for another secret.
    secret: Box<str>,
    key: Arc<SigningKey>,
}

impl SigningKeys {
    /// How many are kept.
    pub const MOST: usize = 16_384;

    /// The key for `credential`, derived when it is not known.
    #[must_use]
    pub fn key(
        &self,
        credential: &str,
        secret: &str,
        derive: impl FnOnce() -> SigningKey,
    ) -> Arc<SigningKey> {
        let known = self.known.read();
        if let Some(known) = known.get(credential)
            && *known.secret == *secret
        {
            return Arc::clone(&known.key);
        }
        drop(known);
        let key = Arc::new(derive());
        let mut known = self.known.write();
        if known.len() >= Self::MOST {
            known.clear();
        }
        let entry = Known {
            secret: secret.into(),
            key: Arc::clone(&key),
        };
        known.insert(credential.into(), entry);
        key
    }

    /// How many are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.read().len()
    }

    /// How often somebody had to wait for them.
    pub(crate) fn waits(&self) -> u64 {
        self.known.waits()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
