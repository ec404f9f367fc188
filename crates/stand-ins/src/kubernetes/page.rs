//! Lists in pages: the continue token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{failure::Failure, stored::Key};

/// Where the next page begins: after `after`, in the list as it was at `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Continue {
    pub(super) revision: u64,
    pub(super) after: Key,
}

impl Continue {
    /// The opaque text that clients send back.
    pub(super) fn encode(&self, namespace: &str) -> String {
        let start = if namespace.is_empty() && !self.after.namespace.is_empty() {
            format!("{}/{}\0", self.after.namespace, self.after.name)
        } else {
            format!("/{}\0", self.after.name)
        };
        URL_SAFE_NO_PAD
            .encode(json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": start }).to_string())
    }

    /// Reads a token for a list of `namespace` (empty for all).
    pub(super) fn decode(token: &str, namespace: &str) -> Result<Self, Failure> {
        let invalid = |why: String| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).or_else(|error| {
            // Go decodes what is there and checks no trailing bits.
            lenient(token).ok_or_else(|| invalid(format!("illegal base64 data: {error}")))
        })?;
        let parsed: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let first = char::from(bytes.first().copied().unwrap_or_default());
            invalid(format!(
                "invalid character '{first}' looking for beginning of value"
            ))
        })?;
        let start = parsed["start"].as_str().unwrap_or_default();
        let (Some(revision), Some(start)) = (parsed["rv"].as_u64(), start.strip_suffix('\0')) else {
            return Err(invalid(
                "incorrect encoded start resourceVersion or key (version meta.k8s.io/v1)".to_owned(),
            ));
        };
        let (in_namespace, name) = match start.split_once('/') {
            Some(("", name)) => (namespace, name),
            Some((other, name)) => (other, name),
            None => (namespace, start),
        };
        Ok(Self {
            revision,
            after: Key::new(in_namespace, name),
        })
    }
}

fn lenient(token: &str) -> Option<Vec<u8>> {
    use base64::{
        alphabet::URL_SAFE,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&URL_SAFE, config).decode(token).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn tokens_round_trip() {
        for (namespace, after) in [
            ("", Key::new("a", "x")),
            ("a", Key::new("a", "x")),
            ("", Key::new("", "x")),
        ] {
            let token = Continue { revision: 7, after };
            assert_eq!(
                Continue::decode(&token.encode(namespace), namespace).unwrap(),
                token
            );
        }
    }

    #[test]
    fn the_recorded_token_is_understood() {
        let token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTUxMiwic3RhcnQiOiIvY29yZWRuc1x1MDAwMCJ9";
        assert_eq!(
            Continue::decode(token, "kube-system").unwrap(),
            Continue {
                revision: 1512,
                after: Key::new("kube-system", "coredns")
            }
        );
        assert_eq!(
            Continue::decode("abc", "").unwrap_err().message,
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
        );
    }
}
