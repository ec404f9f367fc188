//! Web-identity tokens: read, and verified with the keys that their issuer publishes.

use std::fmt;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, TokenData, crypto, dangerous};
use serde::{
    Deserialize,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use crate::{
    answer::Refusal,
    issuer::{Issuers, NoKey},
};

/// By how much an issuer's clock may differ from ours, in seconds.
const LEEWAY: i64 = 60;

const NOT_A_TOKEN: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
/// AWS's text, with its two blanks.
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";

/// The API reference's text.
const SILENT: &str = "The request could not be fulfilled because the identity provider (IDP) that was asked to verify \
                      the incoming identity token could not be reached.";

/// A token that can be read, without a reason to believe it yet.
pub(crate) struct Token<'a> {
    text: &'a str,
    header: Header,
    pub(crate) claims: Claims,
}

/// Claims of a token, as far as STS reads them.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    #[serde(rename = "aud", deserialize_with = "one_or_several")]
    pub(crate) audiences: Vec<String>,
    exp: Option<i64>,
    nbf: Option<i64>,
    iat: Option<i64>,
}

impl<'a> Token<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, Refusal> {
        let read = dangerous::insecure_decode(text).map_err(|_| invalid(NOT_A_TOKEN))?;
        let TokenData { header, claims } = read;
        Ok(Self { text, header, claims })
    }

    /// Checks its signature against the published keys of `issuer`.
    pub(crate) async fn verify_signature(&self, issuers: &Issuers, issuer: &str) -> Result<(), Refusal> {
        let Self { text, header, .. } = self;
        // Only what is signed with a private key: a public key is no secret for HMAC.
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(invalid(NOT_A_TOKEN));
        }
        let kid = header.kid.as_deref().ok_or_else(|| invalid(NOT_A_TOKEN))?;
        let key = issuers.key(issuer, kid).await.map_err(|because| {
            tracing::warn!(issuer, ?because, "keys of a token issuer");
            match because {
                NoKey::Silent => Refusal::new(400, "IDPCommunicationError", SILENT).denial(SILENT),
                NoKey::Unusable(_) => invalid(NO_KEY),
            }
        })?;
        let key = key.ok_or_else(|| invalid(NO_KEY))?;
        let (signed, signature) = text.rsplit_once('.').ok_or_else(|| invalid(NOT_A_TOKEN))?;
        // The claims were read already. They are judged by `check_times` and by the provider's client ids, with AWS's
        // own texts. A key of another kind than the algorithm's is an error here.
        match crypto::verify(signature, signed.as_bytes(), &key, header.alg) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(invalid("The signature of the token is not valid")),
        }
    }
}

impl Claims {
    /// Whether the token is neither too old nor too young at `now`.
    ///
    /// `accept_expired` is the planted defect of that name.
    pub(crate) fn check_times(&self, now: Timestamp, accept_expired: bool) -> Result<(), Refusal> {
        let now = now.as_second();
        let Some(exp) = self.exp else {
            return Err(invalid("Missing a required claim: exp"));
        };
        if exp.saturating_add(LEEWAY) <= now && !accept_expired {
            let text = format!(
                "Token expired: current date/time {now} must be before the expiration date/time {exp}"
            );
            return Err(Refusal::new(400, "ExpiredTokenException", text.clone()).denial(text));
        }
        let begins = [self.nbf, self.iat].into_iter().flatten().max();
        match begins {
            Some(begins) if begins.saturating_sub(LEEWAY) > now => Err(invalid(format!(
                "Token is not yet valid: current date/time {now} must not be before {begins}"
            ))),
            _ => Ok(()),
        }
    }
}

/// `InvalidIdentityToken`.
pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::new(400, "InvalidIdentityToken", message.clone()).denial(message)
}

/// One audience or several (RFC 7519, section 4.1.3).
fn one_or_several<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Audiences;

    impl<'de> Visitor<'de> for Audiences {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an audience or several")
        }

        fn visit_str<E>(self, audience: &str) -> Result<Self::Value, E> {
            Ok(vec![audience.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, audiences: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(audiences))
        }
    }

    deserializer.deserialize_any(Audiences)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::{Value, json};

    use super::*;

    fn claims(mut times: Value) -> Claims {
        times["iss"] = json!("https://issuer");
        times["sub"] = json!("system:serviceaccount:team-red:app");
        times["aud"] = json!("sts.amazonaws.com");
        serde_json::from_value(times).unwrap()
    }

    #[test]
    fn times_have_a_leeway_of_a_minute_on_both_sides() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (times, expected) in [
            (json!({"exp": 1_000_001}), Ok(())),
            (json!({"exp": 999_941}), Ok(())),
            (json!({"exp": 999_940}), Err("ExpiredTokenException")),
            (json!({}), Err("InvalidIdentityToken")),
            (json!({"exp": 1_003_600, "nbf": 1_000_060}), Ok(())),
            (
                json!({"exp": 1_003_600, "nbf": 1_000_061}),
                Err("InvalidIdentityToken"),
            ),
            (
                json!({"exp": 1_003_600, "iat": 1_000_061}),
                Err("InvalidIdentityToken"),
            ),
            (json!({"exp": i64::MAX, "nbf": i64::MIN}), Ok(())),
        ] {
            let judged = claims(times.clone())
                .check_times(now, false)
                .map_err(|refusal| refusal.code);
            assert_eq!(judged, expected.map_err(str::to_owned), "{times}");
        }
    }

    #[test]
    fn an_audience_may_be_a_text_or_a_list_and_nothing_else() {
        let read = |aud: Value| {
            serde_json::from_value::<Claims>(json!({"iss": "i", "sub": "s", "aud": aud}))
                .map(|claims| claims.audiences)
                .ok()
        };
        assert_eq!(read(json!("a")), Some(vec!["a".to_owned()]));
        assert_eq!(
            read(json!(["a", "b"])),
            Some(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(read(json!([1])), None);
        assert_eq!(read(json!({"a": 1})), None);
    }
}
