//! PURE. Tokens that `aws eks get-token` makes: a presigned URL of STS's `GetCallerIdentity`, behind a prefix.
//!
//! Imitated: what the EKS user guide and aws-iam-authenticator's documentation say that is checked. Only what is
//! checked before STS is asked is here; whether the signature is genuine is asked of the URL's verifier.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Uri;
use jiff::{SignedDuration, Timestamp};

/// What every token begins with.
pub const PREFIX: &str = "k8s-aws-v1.";
/// The header that is signed, with the name of the cluster.
pub const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// Longest token.
const LONGEST: usize = 16 * 1024;
/// Longest time that a URL may be good for, and is, whatever it says, in seconds.
const EXPIRY: i64 = 900;
/// How far a clock may be ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
const QUERY: [&str; 10] = [
    "action",
    "version",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
    "x-amz-user-agent",
];

/// Why a token is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Prefix, encoding, or not a URL.
    #[error("input token was not properly formatted: {0}")]
    Malformed(String),
    /// A URL of something else, or good for too long, or no more.
    #[error("{0}")]
    Refused(String),
}

/// The presigned URL in a token, if it is one that may be sent to STS.
///
/// # Errors
/// When it is not.
pub fn url(token: &str, now: Timestamp) -> Result<String, TokenError> {
    let malformed = |text: &str| TokenError::Malformed(text.to_owned());
    let refused = |text: String| Err(TokenError::Refused(text));
    if token.len() > LONGEST {
        return Err(malformed("token is too large"));
    }
    let encoded = token.strip_prefix(PREFIX);
    let encoded = encoded
        .ok_or_else(|| TokenError::Malformed(format!("token is missing expected {PREFIX:?} prefix")))?;
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| malformed("it is not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    let url: Uri = text.parse().map_err(|_| malformed("it is not a URL"))?;
    if url.scheme_str() != Some("https") {
        return refused(format!(
            "unexpected scheme {:?} in pre-signed URL",
            url.scheme_str().unwrap_or_default()
        ));
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if !is_sts(authority) {
        return refused(format!("unexpected hostname {authority:?} in pre-signed URL"));
    }
    if url.path() != "/" {
        return refused("unexpected path in pre-signed URL".to_owned());
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    for (key, value) in form_urlencoded::parse(url.query().unwrap_or_default().as_bytes()) {
        let key = key.to_lowercase();
        if !QUERY.contains(&key.as_str()) {
            return refused(format!("non-whitelisted query parameter {key:?}"));
        }
        if seen.iter().any(|(before, _)| *before == key) {
            return refused("query parameter with multiple values not supported".to_owned());
        }
        seen.push((key, value.into_owned()));
    }
    let of = |name: &str| {
        seen.iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    };
    if of("action") != "GetCallerIdentity" {
        return refused("unexpected action parameter in pre-signed URL".to_owned());
    }
    if !of("x-amz-signedheaders")
        .split(';')
        .any(|header| header.eq_ignore_ascii_case(CLUSTER_HEADER))
    {
        return refused(format!(
            "client did not sign the {CLUSTER_HEADER} header in the pre-signed URL"
        ));
    }
    match of("x-amz-expires").parse::<i64>() {
        Ok(0..=EXPIRY) => {}
        _ => {
            return refused(format!(
                "invalid X-Amz-Expires parameter in pre-signed URL: {:?}",
                of("x-amz-expires")
            ));
        }
    }
    let Some(begins) = time(of("x-amz-date")) else {
        return refused("error parsing X-Amz-Date parameter".to_owned());
    };
    if begins + SignedDuration::from_secs(EXPIRY) < now {
        return refused(format!(
            "X-Amz-Date parameter is expired ({} minute expiration) {begins}",
            EXPIRY / 60
        ));
    }
    if begins - SKEW > now {
        return refused(format!("X-Amz-Date parameter is in the future {begins}"));
    }
    Ok(text)
}

/// Whether a host is one of STS's: global, regional, FIPS, or dual-stack.
fn is_sts(host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    let region = |label: &str| {
        label.contains('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match labels[..] {
        ["sts", "amazonaws", "com"] => true,
        ["sts" | "sts-fips", place, "amazonaws", "com"] | ["sts", place, "api", "aws"] => region(place),
        _ => false,
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const GOOD: &str = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&\
                        X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Feu-west-1%2Fsts%2Faws4_request&\
                        X-Amz-Date=20260101T120000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&\
                        X-Amz-Signature=00";

    fn ask(url_text: &str, now: &str) -> Result<String, String> {
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(url_text));
        url(&token, now.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_presigned_get_caller_identity_is_a_token() {
        const NOW: &str = "2026-01-01T12:00:00Z";
        for host in [
            "sts.eu-west-1.amazonaws.com",
            "sts.amazonaws.com",
            "sts-fips.us-east-1.amazonaws.com",
            "sts.eu-west-1.api.aws",
        ] {
            let url = GOOD.replace("sts.eu-west-1.amazonaws.com", host);
            assert_eq!(ask(&url, NOW), Ok(url.clone()), "{host}");
        }
        for (from, to, expected) in [
            (
                "https://",
                "http://",
                "unexpected scheme \"http\" in pre-signed URL",
            ),
            (
                "sts.eu-west-1.amazonaws.com",
                "sts.evil.com",
                "unexpected hostname \"sts.evil.com\" in pre-signed URL",
            ),
            (
                "sts.eu-west-1.amazonaws.com",
                "sts.eu-west-1.amazonaws.com.evil.com",
                "unexpected hostname \"sts.eu-west-1.amazonaws.com.evil.com\" in pre-signed URL",
            ),
            (
                "sts.eu-west-1.amazonaws.com",
                "u@sts.amazonaws.com",
                "unexpected hostname \"u@sts.amazonaws.com\" in pre-signed URL",
            ),
            (
                "sts.eu-west-1.amazonaws.com",
                "sts.amazonaws.com:444",
                "unexpected hostname \"sts.amazonaws.com:444\" in pre-signed URL",
            ),
            (
                "sts.eu-west-1",
                "iam.eu-west-1",
                "unexpected hostname \"iam.eu-west-1.amazonaws.com\" in pre-signed URL",
            ),
            (".com/?", ".com/x?", "unexpected path in pre-signed URL"),
            (
                "GetCallerIdentity",
                "AssumeRole",
                "unexpected action parameter in pre-signed URL",
            ),
            (
                "Version=",
                "RoleArn=",
                "non-whitelisted query parameter \"rolearn\"",
            ),
            (
                "Version=2011-06-15",
                "action=AssumeRole",
                "query parameter with multiple values not supported",
            ),
            (
                "%3Bx-k8s-aws-id",
                "",
                "client did not sign the x-k8s-aws-id header in the pre-signed URL",
            ),
            (
                "Expires=60",
                "Expires=901",
                "invalid X-Amz-Expires parameter in pre-signed URL: \"901\"",
            ),
            (
                "Expires=60",
                "Expires=-1",
                "invalid X-Amz-Expires parameter in pre-signed URL: \"-1\"",
            ),
            (
                "Expires=60",
                "Expires=",
                "invalid X-Amz-Expires parameter in pre-signed URL: \"\"",
            ),
            (
                "20260101T120000Z",
                "yesterday",
                "error parsing X-Amz-Date parameter",
            ),
            (
                "20260101T120000Z",
                "20260101T114459Z",
                "X-Amz-Date parameter is expired (15 minute expiration) 2026-01-01T11:44:59Z",
            ),
            (
                "20260101T120000Z",
                "20260101T120501Z",
                "X-Amz-Date parameter is in the future 2026-01-01T12:05:01Z",
            ),
        ] {
            let url = GOOD.replacen(from, to, 1);
            assert_ne!(url, GOOD, "{from}");
            assert_eq!(ask(&url, NOW), Err(expected.to_owned()), "{to}");
        }
    }

    #[test]
    fn anything_else_is_not_properly_formatted() {
        let now = Timestamp::UNIX_EPOCH;
        let long = format!("{PREFIX}{}", "A".repeat(LONGEST));
        for (token, why) in [
            ("", "token is missing expected \"k8s-aws-v1.\" prefix"),
            (
                "k8s-aws-v2.AAAA",
                "token is missing expected \"k8s-aws-v1.\" prefix",
            ),
            ("k8s-aws-v1.%", "it is not base64"),
            ("k8s-aws-v1._w", "it is not text"),
            ("k8s-aws-v1.IA", "it is not a URL"),
            (&long, "token is too large"),
        ] {
            let expected = format!("input token was not properly formatted: {why}");
            assert_eq!(url(token, now).map_err(|error| error.to_string()), Err(expected));
        }
    }
}
