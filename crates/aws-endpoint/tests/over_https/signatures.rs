//! Who may call: requests signed with a key that is known, for now, and for this request.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mountproof_aws_endpoint::CallVerdict;
use serde_json::json;

use crate::support::{Caller, REGION, Site, form_request, json_request, signed, sts_uri};

/// A request as it is, with another body than the one that was signed.
fn with_body(request: http::Request<Bytes>, body: &'static str) -> http::Request<Bytes> {
    request.map(|_| Bytes::from_static(body.as_bytes()))
}

#[tokio::test]
async fn json_services_refuse_in_their_form() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let input = json!({ "SecretId": "demo/team-red/secret" });
    let plain = || json_request(REGION, "GetSecretValue", &input);
    let now = SystemTime::now();
    let by = |caller: &Caller| signed(plain(), caller, REGION, "secretsmanager", now);
    let other = |change: fn(&mut Caller)| {
        let mut caller = red.clone();
        change(&mut caller);
        caller
    };
    let mut moved = by(&red);
    moved
        .headers_mut()
        .insert("x-amz-target", "secretsmanager.DescribeSecret".parse().unwrap());
    let cases = [
        ("unsigned", plain(), "MissingAuthenticationTokenException"),
        (
            "wrong secret",
            by(&other(|caller| caller.secret = "x".repeat(40))),
            "InvalidSignatureException",
        ),
        (
            "unknown key",
            by(&other(|c| c.access_key_id = "ASIAAAAAAAAAAAAAAAAA".into())),
            "UnrecognizedClientException",
        ),
        (
            "no session token",
            by(&other(|caller| caller.token = None)),
            "UnrecognizedClientException",
        ),
        (
            "another token",
            by(&other(|c| c.token = Some("x".into()))),
            "UnrecognizedClientException",
        ),
        (
            "another body",
            with_body(by(&red), r#"{"SecretId":"demo/team-blue/secret"}"#),
            "InvalidSignatureException",
        ),
        ("another operation", moved, "InvalidSignatureException"),
        (
            "an hour ago",
            signed(
                plain(),
                &red,
                REGION,
                "secretsmanager",
                now - Duration::from_hours(1),
            ),
            "InvalidSignatureException",
        ),
        (
            "in an hour",
            signed(
                plain(),
                &red,
                REGION,
                "secretsmanager",
                now + Duration::from_hours(1),
            ),
            "InvalidSignatureException",
        ),
    ];
    for (what, request, code) in cases {
        let cursor = site.endpoint.calls().cursor();
        let answer = site.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code.to_owned()),
            "{what}: {}",
            answer.text
        );
        assert!(!answer.message().is_empty(), "{what}");
        let call = site.endpoint.calls().since(cursor).remove(0);
        assert_eq!(call.verdict, CallVerdict::Denied, "{what}");
        assert_eq!(call.error.as_deref(), Some(code), "{what}");
    }
    assert_eq!(site.send(by(&red)).await.status, 200);
}

#[tokio::test]
async fn query_services_refuse_in_theirs() {
    let site = Site::start().await;
    let root = site.root();
    let plain = || form_request(&sts_uri(), "GetCallerIdentity", "2011-06-15", &[]);
    let by = |caller: &Caller| signed(plain(), caller, REGION, "sts", SystemTime::now());
    let cases = [
        ("unsigned", plain(), 403, "MissingAuthenticationToken"),
        (
            "wrong secret",
            by(&Caller {
                secret: "x".repeat(40),
                ..root.clone()
            }),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            "unknown key",
            by(&Caller {
                access_key_id: "AKIAAAAAAAAAAAAAAAAA".into(),
                ..root.clone()
            }),
            403,
            "InvalidClientTokenId",
        ),
        (
            "a token where there is none",
            by(&Caller {
                token: Some("x".into()),
                ..root.clone()
            }),
            403,
            "InvalidClientTokenId",
        ),
        (
            "another action",
            with_body(by(&root), "Action=AssumeRole&Version=2011-06-15"),
            403,
            "SignatureDoesNotMatch",
        ),
    ];
    for (what, request, status, code) in cases {
        let answer = site.send(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.to_owned()),
            "{what}: {}",
            answer.text
        );
        assert_eq!(answer.xml("Type").as_deref(), Some("Sender"), "{what}");
        assert!(answer.xml("RequestId").is_some(), "{what}");
    }
    assert_eq!(site.send(by(&root)).await.status, 200);
}

#[tokio::test]
async fn a_signature_for_one_service_or_region_is_none_for_another() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let input = json!({ "SecretId": "demo/team-red/secret" });
    // Signed for another region: the secret of that region is asked for, which does not exist.
    let answer = site
        .secrets_in("eu-west-1", &red, "GetSecretValue", input.clone())
        .await;
    assert_eq!(answer.code(), "ResourceNotFoundException");
    // Signed for IAM, and sent as a call of Secrets Manager.
    let request = signed(
        json_request(REGION, "GetSecretValue", &input),
        &red,
        REGION,
        "iam",
        SystemTime::now(),
    );
    assert_ne!(site.send(request).await.status, 200);
    // Signed for a service that is not here.
    let request = signed(
        json_request(REGION, "GetSecretValue", &input),
        &red,
        REGION,
        "s3",
        SystemTime::now(),
    );
    assert_eq!(site.send(request).await.status, 400);
}

#[tokio::test]
async fn operations_that_are_not_here_are_refused() {
    let site = Site::start().await;
    for (answer, status, code) in [
        (
            site.secrets(&site.root(), "RotateSecret", json!({})).await,
            400,
            "UnknownOperationException",
        ),
        (
            site.iam("CreateUser", &[("UserName", "x")]).await,
            400,
            "InvalidAction",
        ),
        (
            site.sts(&site.root(), "GetFederationToken", &[]).await,
            400,
            "InvalidAction",
        ),
    ] {
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.to_owned()),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn half_a_signature_is_incomplete() {
    let site = Site::start().await;
    let mut request = json_request(REGION, "GetSecretValue", &json!({ "SecretId": "s" }));
    let garbled = "AWS4-HMAC-SHA256 Credential=x".parse().unwrap();
    request.headers_mut().insert("authorization", garbled);
    let answer = site.send(request).await;
    assert_eq!(answer.code(), "IncompleteSignatureException", "{}", answer.text);
}
