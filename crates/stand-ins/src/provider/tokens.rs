//! The tokens that kubelet puts into the volume context, through the driver. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::go_json;
use crate::rest::BearerToken;

/// Audience of tokens for IRSA.
pub(super) const IRSA: &str = "sts.amazonaws.com";

/// Audience of tokens for EKS Pod Identity.
pub(super) const POD_IDENTITY: &str = "pods.eks.amazonaws.com";

/// Tokens by audience.
pub(super) struct Tokens(BTreeMap<String, BearerToken>);

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    token: String,
}

impl Tokens {
    /// Reads `csi.storage.k8s.io/serviceAccount.tokens`.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        if json.is_empty() {
            return Err(
                "serviceAccount.tokens not provided - ensure tokenRequests is configured in CSIDriver"
                    .to_owned(),
            );
        }
        let entries = entries(json).map_err(|why| format!("failed to parse serviceAccount.tokens: {why}"))?;
        let tokens = entries.into_iter();
        Ok(Self(
            tokens
                .map(|(audience, entry)| (audience, BearerToken::new(&entry.token)))
                .collect(),
        ))
    }

    /// The token for `audience`.
    pub(super) fn token(&self, audience: &str) -> Result<BearerToken, String> {
        let token = self.0.get(audience).ok_or_else(|| {
            format!(
                "token for audience {audience:?} not found - ensure tokenRequests includes this audience in CSIDriver"
            )
        })?;
        if token.expose().is_empty() {
            return Err(format!("token for audience {audience:?} is empty"));
        }
        Ok(token.clone())
    }
}

fn entries(json: &str) -> Result<BTreeMap<String, Entry>, String> {
    const ENTRY: &str = "utils.ServiceAccountToken";
    let value = go_json::parse(json)?;
    let Value::Object(fields) = value else {
        return Err(go_json::mismatch(&value, &format!("map[string]{ENTRY}")));
    };
    let entries = fields.into_iter();
    entries
        .map(|(audience, value)| match Entry::deserialize(&value) {
            Ok(entry) => Ok((audience, entry)),
            Err(_) => Err(go_json::mismatch(&value, ENTRY)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_audience_or_refused_in_the_real_words() {
        let tokens = Tokens::parse(
            r#"{"sts.amazonaws.com":{"token":"t","expirationTimestamp":"x"},"e":{"token":""}}"#,
        );
        let tokens = tokens.expect("fine");
        assert_eq!(tokens.token(IRSA).expect("there").expose(), "t");
        assert_eq!(
            tokens.token(POD_IDENTITY).expect_err("not there"),
            "token for audience \"pods.eks.amazonaws.com\" not found - ensure tokenRequests includes this audience in CSIDriver"
        );
        assert_eq!(
            tokens.token("e").expect_err("empty"),
            "token for audience \"e\" is empty"
        );
        assert_eq!(
            Tokens::parse("").err().expect("nothing"),
            "serviceAccount.tokens not provided - ensure tokenRequests is configured in CSIDriver"
        );
        let broken = Tokens::parse(r#"{"sts.amazonaws.com": canary"#)
            .err()
            .expect("broken");
        assert!(broken.starts_with("failed to parse serviceAccount.tokens: "));
        assert!(!broken.contains("canary"));
    }
}
