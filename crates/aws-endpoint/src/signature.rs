//! Who signed a request: AWS Signature Version 4, verified by [`crate::sigv4`], and the key that it names.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{AUTHORIZATION, HOST},
    request::Parts,
};
use jiff::Timestamp;

use crate::{
    answer::{Protocol, Refusal},
    credentials::Session,
    defects::Defects,
    sigv4::{Claim, Fault, Lifetime, Signed, Style},
    state::State,
};

/// The session whose key signed the request, which says so in `claim`.
pub(crate) fn verify(
    state: &State,
    protocol: Protocol,
    claim: &Result<Claim<'_>, Fault>,
    request: &Signed<'_>,
    now: Timestamp,
    defects: Defects,
) -> Result<Arc<Session>, Refusal> {
    session(state, claim, request, now, defects).map_err(|refused| refused.refusal(protocol))
}

/// The session whose key presigned `url`, a call of STS's `GetCallerIdentity`, which stands for its caller in
/// tokens for EKS (`k8s-aws-v1.`).
///
/// `headers` are sent along by whoever holds the URL against STS, such as `x-k8s-aws-id: <cluster>`; each has
/// to be signed, or a token for one cluster would do for another. The URL counts for a quarter of an hour.
pub(crate) fn verify_presigned(
    state: &State,
    url: &str,
    headers: &[(&'static str, &str)],
    now: Timestamp,
) -> Result<Arc<Session>, Refusal> {
    let malformed = |text: &str| Refused::Fault(Fault::Malformed(text.to_owned()));
    let check = || {
        let url: Uri = url.parse().map_err(|_| malformed("not a URL"))?;
        let host = url.host().ok_or_else(|| malformed("a URL without a host"))?;
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| malformed("not a header value"))?;
            sent.insert(HeaderName::from_static(name), value);
        }
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        let request = Signed {
            method: "GET",
            path: url.path(),
            query: url.query().unwrap_or_default(),
            headers: &sent,
            authority: Some(authority),
            body: b"",
        };
        let claim = Claim::of(&request).map_err(Refused::Fault)?;
        for (name, _) in headers {
            if !claim.signed_headers().any(|signed| signed == *name) {
                let text = format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
                return Err(Refused::Fault(Fault::Mismatch(text)));
            }
        }
        let scope = claim.check_scope(None, Some("sts"));
        scope.map_err(Refused::Fault)?;
        session(state, &Ok(claim), &request, now, state.defects())
    };
    check().map_err(|refused| refused.refusal(Protocol::Query("")))
}

/// A request as far as a signature covers it.
pub(crate) fn signed<'a>(parts: &'a Parts, body: &'a [u8]) -> Signed<'a> {
    // HTTP/2 has the host in the URI.
    let authority = parts
        .uri
        .authority()
        .filter(|_| !parts.headers.contains_key(HOST));
    Signed {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        authority: authority.map(http::uri::Authority::as_str),
        body,
    }
}

/// The region whose host a request was sent to, which is the only one that it may be signed for; none for
/// hosts that are not AWS's. The global hosts are those of us-east-1.
fn region_of_host<'a>(request: &Signed<'a>) -> Option<&'a str> {
    let header = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = header.or(request.authority)?;
    let mut labels = host.split('.');
    match (labels.next()?, labels.next()?, labels.next()) {
        (_, region, Some("amazonaws" | "api")) if region.contains('-') => Some(region),
        ("iam" | "sts", "amazonaws", Some(_)) => Some("us-east-1"),
        _ => None,
    }
}

fn session(
    state: &State,
    claim: &Result<Claim<'_>, Fault>,
    request: &Signed<'_>,
    now: Timestamp,
    defects: Defects,
) -> Result<Arc<Session>, Refused> {
    if request.headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        // Which of them counts would be a guess.
        let text = "Authorization header must be given once.".to_owned();
        return Err(Refused::Fault(Fault::Incomplete(text)));
    }
    let claim = claim.as_ref().map_err(|fault| Refused::Fault(fault.clone()))?;
    let scope = claim.scope();
    let session = state.keys.find(scope.access_key_id).ok_or(Refused::UnknownKey)?;
    if claim.token() != session.token.as_deref() {
        return Err(Refused::UnknownKey);
    }
    if session.expires.is_some_and(|expires| expires <= now) {
        return Err(Refused::Expired);
    }
    let lifetime = if scope.service == "sts" {
        Lifetime::Window
    } else {
        Lifetime::Stated
    };
    let region = region_of_host(request).filter(|_| !defects.accept_any_region);
    let verified = || {
        if defects.skip_request_signature {
            return claim.check_scope(region, None);
        }
        claim.check_time(now, lifetime)?;
        claim.check_scope(region, None)?;
        claim.verify(
            request,
            &session.secret_access_key,
            &state.signing_keys,
            Style::SERVICE,
        )
    };
    verified().map_err(Refused::Fault)?;
    Ok(session)
}

/// Why nobody is let in for a request.
enum Refused {
    Fault(Fault),
    /// No such key, or not with that token.
    UnknownKey,
    Expired,
}

impl Refused {
    fn refusal(&self, protocol: Protocol) -> Refusal {
        let (kind, text) = match self {
            Self::UnknownKey => (
                Kind::UnknownKey,
                "The security token included in the request is invalid.".to_owned(),
            ),
            Self::Expired => (
                Kind::Expired,
                "The security token included in the request is expired".to_owned(),
            ),
            Self::Fault(fault) => {
                let kind = match fault {
                    Fault::Missing(_) => Kind::Missing,
                    Fault::Incomplete(_) => Kind::Incomplete,
                    Fault::Malformed(_) | Fault::Mismatch(_) => Kind::Mismatch,
                };
                (kind, fault.to_string())
            }
        };
        refusal(protocol, kind, &text)
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Incomplete,
    UnknownKey,
    Expired,
    Mismatch,
}

/// AWS's code and status for each service's protocol. JSON services have names of their own for the
/// same things, and answer 400 throughout.
fn refusal(protocol: Protocol, kind: Kind, message: &str) -> Refusal {
    let (status, code) = match (protocol, kind) {
        (Protocol::Json, Kind::Missing) => (400, "MissingAuthenticationTokenException"),
        (Protocol::Json, Kind::Incomplete) => (400, "IncompleteSignatureException"),
        (Protocol::Json, Kind::UnknownKey) => (400, "UnrecognizedClientException"),
        (Protocol::Json, Kind::Expired) => (400, "ExpiredTokenException"),
        (Protocol::Json, Kind::Mismatch) => (400, "InvalidSignatureException"),
        // The names of JSON services with a status of its own.
        (Protocol::Rest, kind) => {
            let json = refusal(Protocol::Json, kind, message);
            return Refusal { status: 403, ..json };
        }
        (Protocol::Query(_), Kind::Missing) => (403, "MissingAuthenticationToken"),
        (Protocol::Query(_), Kind::Incomplete) => (400, "IncompleteSignature"),
        (Protocol::Query(_), Kind::UnknownKey) => (403, "InvalidClientTokenId"),
        (Protocol::Query(_), Kind::Expired) => (403, "ExpiredToken"),
        (Protocol::Query(_), Kind::Mismatch) => (403, "SignatureDoesNotMatch"),
    };
    let mut refusal = Refusal::new(status, code, message).denial(message);
    refusal.message_key = "message";
    refusal
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use http::Request;
    use jiff::SignedDuration;

    use super::*;
    use crate::{
        credentials::{Keys, Labels, RootCredentials},
        eks::EksStore,
        iam::Principal,
        issuer::Issuers,
        state::World,
    };

    const ACCOUNT: &str = "000000000000";

    fn session(expires: Timestamp) -> Session {
        let principal = Principal::assumed_role("arn:aws:iam::000000000000:role/red", "AROAX", "s");
        Session {
            access_key_id: "ASIAAAAAAAAAAAAAAAAA".into(),
            secret_access_key: "x".repeat(40),
            token: Some("token".to_owned()),
            arn: principal.arn().into(),
            principal,
            role: Some("red".into()),
            policies: None,
            provider: None,
            issued: Some(expires),
            expires: Some(expires),
            labels: Labels::default(),
        }
    }

    fn world() -> World {
        World::new(ACCOUNT, 0, EksStore::new(ACCOUNT, "", SignedDuration::ZERO))
    }

    /// A request that an expired session would have signed: expiry is told before anything else.
    #[test]
    fn an_expired_session_is_refused_as_such() {
        let (root, now) = (RootCredentials::random(), Timestamp::now());
        let keys = Keys::new(&root, ACCOUNT);
        keys.add(session(now), now);
        let state = State::new(
            ACCOUNT.to_owned(),
            keys,
            world(),
            Issuers::new("").unwrap(),
            0,
            None,
        );
        let request = Request::post("https://sts.amazonaws.com/")
            .header("x-amz-security-token", "token")
            .header("x-amz-date", "20260101T000000Z")
            .header(
                AUTHORIZATION,
                "AWS4-HMAC-SHA256 Credential=ASIAAAAAAAAAAAAAAAAA/20260101/eu-west-1/sts/aws4_request, \
                 SignedHeaders=host, Signature=00",
            );
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let code = |protocol, now| {
            let request = signed(&parts, &[]);
            let refused = verify(
                &state,
                protocol,
                &Claim::of(&request),
                &request,
                now,
                Defects::default(),
            );
            let refusal = refused.err().unwrap();
            assert!(refusal.denied);
            (refusal.status, refusal.code)
        };
        assert_eq!(
            code(Protocol::Json, now),
            (400, "ExpiredTokenException".to_owned())
        );
        assert_eq!(code(Protocol::Query(""), now), (403, "ExpiredToken".to_owned()));
        let before = now - SignedDuration::from_secs(1);
        assert_eq!(code(Protocol::Query(""), before).1, "SignatureDoesNotMatch");
    }

    const NOW: &str = "2026-01-01T12:00:00Z";

    /// The URL of a token for EKS, as `aws eks get-token` signs it for `root`.
    fn url(root: &RootCredentials, query: &str, headers: &[(&str, &str)]) -> String {
        use aws_sigv4::{http_request, sign::v4};
        let secret = root.secret_access_key();
        let identity =
            aws_credential_types::Credentials::new(&root.access_key_id, secret, None, None, "test").into();
        let mut settings = http_request::SigningSettings::default();
        settings.signature_location = http_request::SignatureLocation::QueryParams;
        settings.expires_in = Some(std::time::Duration::from_mins(1));
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("sts")
            .time(NOW.parse::<Timestamp>().unwrap().into())
            .settings(settings);
        let url = format!("https://sts.eu-west-1.amazonaws.com/?{query}");
        let body = http_request::SignableBody::empty();
        let signable =
            http_request::SignableRequest::new("GET", &url, headers.iter().copied(), body).unwrap();
        let signed = http_request::sign(signable, &params.build().unwrap().into()).unwrap();
        let mut request = Request::get(url).body(()).unwrap();
        signed.into_parts().0.apply_to_request_http1x(&mut request);
        request.uri().to_string()
    }

    #[test]
    fn a_presigned_url_stands_for_who_signed_it() {
        let root = RootCredentials::random();
        let keys = Keys::new(&root, ACCOUNT);
        let state = State::new(
            ACCOUNT.to_owned(),
            keys,
            world(),
            Issuers::new("").unwrap(),
            0,
            None,
        );
        let query = "Action=GetCallerIdentity&Version=2011-06-15";
        let good = url(&root, query, &[("x-k8s-aws-id", "demo")]);
        let ask = |url: &str, headers: &[(&'static str, &str)], now: &str| {
            let session = verify_presigned(&state, url, headers, now.parse().unwrap());
            session
                .map(|session| session.principal.arn())
                .map_err(|refusal| refusal.code)
        };
        let demo: &[(&'static str, &str)] = &[("x-k8s-aws-id", "demo")];
        let root_arn = Ok("arn:aws:iam::000000000000:root".to_owned());
        assert_eq!(ask(&good, demo, NOW), root_arn);
        // A token says 60 seconds and is used for up to a quarter of an hour.
        assert_eq!(ask(&good, demo, "2026-01-01T12:14:59Z"), root_arn);
        let unsigned = url(&root, query, &[]);
        let strangers = url(&RootCredentials::random(), query, demo);
        let elsewhere = good.replace("sts.eu-west-1", "sts.eu-west-2");
        let tampered = good.replace("GetCallerIdentity", "GetSessionToken");
        for (what, url, headers, now, code) in [
            (
                "of another cluster",
                &good,
                &[("x-k8s-aws-id", "other")][..],
                NOW,
                "SignatureDoesNotMatch",
            ),
            ("for any cluster", &unsigned, demo, NOW, "SignatureDoesNotMatch"),
            (
                "old",
                &good,
                demo,
                "2026-01-01T12:15:01Z",
                "SignatureDoesNotMatch",
            ),
            ("of an unknown key", &strangers, demo, NOW, "InvalidClientTokenId"),
            ("for another host", &elsewhere, demo, NOW, "SignatureDoesNotMatch"),
            ("of another call", &tampered, demo, NOW, "SignatureDoesNotMatch"),
            (
                "unsigned",
                &"https://sts.amazonaws.com/?Action=GetCallerIdentity".to_owned(),
                demo,
                NOW,
                "MissingAuthenticationToken",
            ),
            ("no URL", &"no URL".to_owned(), demo, NOW, "SignatureDoesNotMatch"),
        ] {
            assert_eq!(ask(url, headers, now), Err(code.to_owned()), "{what}");
        }
    }
}
