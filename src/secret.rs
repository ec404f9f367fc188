//! Values that must never reach a log, a report or a journal.
//!
//! Neither type can be printed or serialized: whoever wants the bytes has to write `expose()`, which
//! is easy to search for.

use std::{fmt::Write as _, sync::Arc};

use aws_lc_rs::{constant_time, digest};
use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};

use crate::scenario::model::Content;

/// What generated text values start with, so that a search of everything a run wrote can show that
/// none got out. Too short contents do without.
pub const CANARY: &str = "mp-canary-";

/// Characters after [`CANARY`] below which a value would be guessable, and so has no canary.
const LEAST_RANDOM: usize = 16;
/// Random characters of each string in a JSON secret.
const JSON_STRING: usize = 24;

/// The content of a secret. Cloning shares the bytes.
#[derive(Clone)]
pub struct SecretValue {
    bytes: Arc<[u8]>,
    binary: bool,
}

impl SecretValue {
    /// Text, which travels as `SecretString`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().into(),
            binary: false,
        }
    }

    /// Bytes, which travel as `SecretBinary`.
    #[must_use]
    pub fn binary(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            binary: true,
        }
    }

    /// Random content, the same for the same seed and label.
    ///
    /// The label makes values independent of the order in which they are made. The seed stands in
    /// the report, so whoever has it can make the values again: they guard nothing, and are deleted
    /// with the run.
    #[must_use]
    pub fn generate(content: &Content, seed: u64, label: &str) -> Self {
        let mut rng = generator(seed, label);
        match content {
            Content::Text(length) => Self::text(&random_text(&mut rng, *length)),
            Content::Binary(length) => {
                let mut bytes = vec![0; *length];
                rng.fill(bytes.as_mut_slice());
                Self::binary(&bytes)
            }
            Content::Json(keys) => {
                let object: serde_json::Map<_, _> = keys
                    .iter()
                    .map(|key| {
                        let text = random_text(&mut rng, CANARY.len() + JSON_STRING);
                        (key.clone(), text.into())
                    })
                    .collect();
                Self::text(&serde_json::Value::Object(object).to_string())
            }
        }
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// The text, unless it travels as `SecretBinary`.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        (!self.binary).then(|| std::str::from_utf8(&self.bytes).expect("made from a str"))
    }

    /// Whether it travels as `SecretBinary`.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `other` is byte for byte the same, in time that depends on the lengths alone.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.bytes, other).is_ok()
    }

    /// The first 12 hexadecimal digits of the SHA-256, to tell values apart in messages.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.bytes)
    }

    /// The string at `key` of a JSON object, as a value of its own.
    #[must_use]
    pub fn json_string(&self, key: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(&self.bytes).ok()?;
        value.get(key)?.as_str().map(Self::text)
    }
}

/// A credential as text: a token or a key.
#[derive(Clone)]
pub struct Credential(Arc<str>);

impl Credential {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Of a JWT: the same claims under a signature that is not the issuer's.
    #[must_use]
    pub fn with_other_signature(&self) -> Self {
        let (claims, signature) = self.0.rsplit_once('.').unwrap_or((&self.0, ""));
        // Turning it around keeps its length and alphabet.
        let other: String = signature.chars().rev().collect();
        Self::new(&format!("{claims}.{other}"))
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The first 12 hexadecimal digits of the SHA-256 of `bytes`.
#[must_use]
pub fn fingerprint(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    hex(&digest.as_ref()[..6])
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn generator(seed: u64, label: &str) -> StdRng {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&seed.to_be_bytes());
    context.update(label.as_bytes());
    let digest = context.finish();
    StdRng::from_seed(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

fn random_text(rng: &mut StdRng, length: usize) -> String {
    let canary = if length >= CANARY.len() + LEAST_RANDOM {
        CANARY
    } else {
        ""
    };
    let random = rng.sample_iter(Alphanumeric).take(length - canary.len());
    canary.chars().chain(random.map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_has_its_form_and_length() {
        let text = SecretValue::generate(&Content::Text(40), 1, "a");
        assert_eq!(text.len(), 40);
        assert!(text.expose_text().is_some_and(|text| text.starts_with(CANARY)));

        let short = SecretValue::generate(&Content::Text(8), 1, "a");
        assert_eq!(short.len(), 8);
        assert!(!short.expose().starts_with(b"mp-"));

        let binary = SecretValue::generate(&Content::Binary(33), 1, "a");
        assert!(binary.is_binary() && binary.expose_text().is_none());
        assert_eq!(binary.len(), 33);

        let json = SecretValue::generate(&Content::Json(vec!["user".into(), "pass word".into()]), 1, "a");
        let user = json.json_string("user").expect("the key is there");
        let password = json.json_string("pass word").expect("the key is there");
        assert!(user.expose().starts_with(CANARY.as_bytes()));
        assert!(!user.matches(password.expose()));
        assert!(json.json_string("other").is_none());
    }

    #[test]
    fn empty_content_is_empty() {
        for content in [Content::Text(0), Content::Binary(0)] {
            assert!(SecretValue::generate(&content, 1, "a").is_empty());
        }
    }

    #[test]
    fn the_fingerprint_is_the_sha_256() {
        // The well-known digest of "abc".
        assert_eq!(SecretValue::text("abc").fingerprint(), "ba7816bf8f01");
    }

    proptest! {
        #[test]
        fn seed_and_label_decide_the_value(seed: u64, other: u64, label in "[a-z/]{1,12}", length in 32usize..200) {
            let content = Content::Text(length);
            let value = SecretValue::generate(&content, seed, &label);
            prop_assert!(value.matches(SecretValue::generate(&content, seed, &label).expose()));
            let labelled_otherwise = SecretValue::generate(&content, seed, &(label.clone() + "x"));
            prop_assert!(!value.matches(labelled_otherwise.expose()));
            if seed != other {
                prop_assert!(!value.matches(SecretValue::generate(&content, other, &label).expose()));
            }
        }

        #[test]
        fn only_the_same_bytes_match(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(SecretValue::binary(&a).matches(&b), a == b);
        }
    }
}
