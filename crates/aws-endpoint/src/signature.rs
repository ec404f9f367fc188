//! Who signed a request: AWS Signature Version 4, verified by `scratchstack-aws-signature`.

use std::{str::FromStr as _, sync::Arc};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, header::AUTHORIZATION, request::Parts};
use jiff::Timestamp;
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS, SignatureError,
    SignatureOptions, sigv4_validate_request,
};
use tower::BoxError;

use crate::{
    answer::{Protocol, Refusal},
    credentials::Session,
    state::State,
};

/// What a request's credential scope says: `<key id>/<date>/<region>/<service>/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) access_key_id: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Scope {
    /// The scope of a signed request; none for an unsigned one.
    pub(crate) fn of(parts: &Parts) -> Option<Self> {
        let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let credential = header.split_once("Credential=")?.1;
        let mut words = credential.split([',', ' ']).next()?.split('/');
        let (key, _date, region, service) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some(Self {
            access_key_id: key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        })
    }
}

/// The session whose key signed the request.
pub(crate) fn verify(
    state: &Arc<State>,
    protocol: Protocol,
    scope: Option<&Scope>,
    parts: &Parts,
    body: &Bytes,
    now: Timestamp,
) -> Result<Arc<Session>, Refusal> {
    let Some(scope) = scope else {
        return Err(if parts.headers.contains_key(AUTHORIZATION) {
            let message =
                "Authorization header requires 'Credential' parameter of 5 slash-delimited elements.";
            refusal(protocol, Kind::Incomplete, message)
        } else {
            refusal(protocol, Kind::Missing, "Missing Authentication Token")
        });
    };
    let unknown = || {
        refusal(
            protocol,
            Kind::UnknownKey,
            "The security token included in the request is invalid.",
        )
    };
    let session = state
        .world()
        .keys
        .find(&scope.access_key_id)
        .ok_or_else(unknown)?;
    let token = parts
        .headers
        .get("x-amz-security-token")
        .and_then(|value| value.to_str().ok());
    if token != session.token.as_deref() {
        return Err(unknown());
    }
    if session.expires.is_some_and(|expires| expires <= now) {
        return Err(refusal(
            protocol,
            Kind::Expired,
            "The security token included in the request is expired",
        ));
    }
    if !state.defects().skip_request_signature {
        check(&session, scope, parts, body, now).map_err(|error| refused(protocol, &error))?;
    }
    Ok(session)
}

fn check(
    session: &Session,
    scope: &Scope,
    parts: &Parts,
    body: &Bytes,
    now: Timestamp,
) -> Result<(), BoxError> {
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(parts.uri.clone())
        .body(body.clone())?;
    *request.headers_mut() = parts.headers.clone();
    if !request.headers().contains_key(http::header::HOST)
        && let Some(authority) = parts.uri.authority()
    {
        // HTTP/2 has the host in the URI.
        request
            .headers_mut()
            .insert(http::header::HOST, authority.as_str().parse()?);
    }
    let key: KSecretKey = KSecretKey::from_str(&session.secret_access_key)?;
    let mut keys = tower::service_fn(|wanted: GetSigningKeyRequest| {
        let signing = key.to_ksigning(wanted.request_date(), wanted.region(), wanted.service());
        async move { Ok::<_, BoxError>(GetSigningKeyResponse::builder().signing_key(signing).build()?) }
    });
    let now = chrono::DateTime::from_timestamp(now.as_second(), 0).ok_or("the clock is out of range")?;
    sigv4_validate_request(
        request,
        &scope.region,
        &scope.service,
        &mut keys,
        now,
        &NO_ADDITIONAL_SIGNED_HEADERS,
        // The form body of an awsQuery call is a body.
        SignatureOptions::default(),
    )
    // The key is at hand and so is the body: nothing in there ever waits.
    .now_or_never()
    .ok_or("the verification waits for something")??;
    Ok(())
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

fn refused(protocol: Protocol, error: &BoxError) -> Refusal {
    let kind = match error.downcast_ref::<SignatureError>() {
        Some(SignatureError::IncompleteSignature(_)) => Kind::Incomplete,
        Some(SignatureError::MissingAuthenticationToken(_)) => Kind::Missing,
        Some(SignatureError::InvalidClientTokenId(_)) => Kind::UnknownKey,
        Some(SignatureError::ExpiredToken(_)) => Kind::Expired,
        _ => Kind::Mismatch,
    };
    refusal(protocol, kind, &error.to_string())
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

    use jiff::SignedDuration;

    use super::*;
    use crate::{
        credentials::{Keys, RootCredentials},
        iam::{IamState, Principal},
        issuer::Issuers,
        secrets::SecretStore,
        state::World,
    };

    const ACCOUNT: &str = "000000000000";

    fn session(expires: Timestamp) -> Session {
        Session {
            access_key_id: "ASIAAAAAAAAAAAAAAAAA".to_owned(),
            secret_access_key: "x".repeat(40),
            token: Some("token".to_owned()),
            principal: Principal::assumed_role("arn:aws:iam::000000000000:role/red", "AROAX", "s"),
            role: Some("red".to_owned()),
            policies: None,
            provider: None,
            issued: Some(expires),
            expires: Some(expires),
        }
    }

    /// A request that an expired session would have signed: expiry is told before anything else.
    #[test]
    fn an_expired_session_is_refused_as_such() {
        let (root, now) = (RootCredentials::random(), Timestamp::now());
        let mut keys = Keys::new(&root, ACCOUNT);
        keys.add(Arc::new(session(now)), now);
        let world = World {
            iam: IamState::new(ACCOUNT, 0),
            keys,
            secrets: SecretStore::new(ACCOUNT.to_owned()),
        };
        let state = State::new(ACCOUNT.to_owned(), world, Issuers::new("").unwrap());
        let request = Request::post("https://sts.amazonaws.com/")
            .header("x-amz-security-token", "token")
            .header(
                AUTHORIZATION,
                "AWS4-HMAC-SHA256 Credential=ASIAAAAAAAAAAAAAAAAA/20260101/eu-west-1/sts/aws4_request, \
                 SignedHeaders=host, Signature=00",
            );
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let scope = Scope::of(&parts).unwrap();
        let code = |protocol, now| {
            let refused = verify(&state, protocol, Some(&scope), &parts, &Bytes::new(), now);
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
        assert_eq!(code(Protocol::Query(""), before).1, "IncompleteSignature");
    }
}
