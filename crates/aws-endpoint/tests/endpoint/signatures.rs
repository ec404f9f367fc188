//! Who may call: requests signed with a key that is known, for now, and for this request.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, header::AUTHORIZATION};
use mountproof_aws_endpoint::CallVerdict;
use serde_json::json;

use crate::support::{
    Caller, ELSEWHERE, REGION, Site, json_request, secrets_request, signed, signed_at, signed_for,
    sts_request,
};

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check \
                        your AWS Secret Access Key and signing method. Consult the service documentation for \
                        details.";
const INVALID_TOKEN: &str = "The security token included in the request is invalid.";

/// What can be wrong with a signature, which each protocol has its own codes for.
#[derive(Clone, Copy)]
enum Wrong {
    Missing,
    Incomplete,
    UnknownKey,
    Mismatch,
}

/// What is wrong with the request, in words and by kind, and how the message begins.
type Case = (&'static str, Request<Bytes>, Wrong, &'static str);

/// Every way to sign `plain` badly, for a caller with a session token.
fn badly_signed(plain: &dyn Fn() -> Request<Bytes>, good: &Caller) -> Vec<Case> {
    let now = SystemTime::now();
    let by = |change: &dyn Fn(&mut Caller)| signed(plain(), &good.but(change));
    let at = |time| signed_at(plain(), good, time);
    let changed = |change: &dyn Fn(&mut Request<Bytes>)| {
        let mut request = at(now);
        change(&mut request);
        request
    };
    let half = |request: &mut Request<Bytes>| {
        let header = request.headers()[AUTHORIZATION].to_str().unwrap();
        let cut = header.split_once(", Signature=").unwrap().0.parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, cut);
    };
    let garbled = |request: &mut Request<Bytes>| {
        let header = "AWS4-HMAC-SHA256 Credential=x".parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, header);
    };
    let other_body = |request: &mut Request<Bytes>| {
        *request.body_mut() = [request.body(), &b" "[..]].concat().into();
    };
    let redated = |request: &mut Request<Bytes>| {
        let date = "20200101T000000Z".parse().unwrap();
        request.headers_mut().insert("x-amz-date", date);
    };
    let minutes = Duration::from_mins;
    vec![
        (
            "no signature",
            plain(),
            Wrong::Missing,
            "Missing Authentication Token",
        ),
        ("half a signature", changed(&half), Wrong::Incomplete, ""),
        (
            "a garbled one",
            changed(&garbled),
            Wrong::Incomplete,
            "Authorization header requires 'Signature' parameter.",
        ),
        (
            "unknown key",
            by(&|c| c.id = "ASIAAAAAAAAAAAAAAAAA".into()),
            Wrong::UnknownKey,
            INVALID_TOKEN,
        ),
        (
            "token of another",
            by(&|c| c.token = Some("x".repeat(360))),
            Wrong::UnknownKey,
            INVALID_TOKEN,
        ),
        (
            "short token",
            by(&|c| c.token = Some("x".into())),
            Wrong::UnknownKey,
            INVALID_TOKEN,
        ),
        (
            "wrong secret",
            by(&|c| c.secret = "x".repeat(40)),
            Wrong::Mismatch,
            MISMATCH,
        ),
        ("other body", changed(&other_body), Wrong::Mismatch, MISMATCH),
        (
            "other date",
            changed(&redated),
            Wrong::Mismatch,
            "Signature expired: ",
        ),
        (
            "20 minutes old",
            at(now - minutes(20)),
            Wrong::Mismatch,
            "Signature expired: ",
        ),
        (
            "an hour old",
            at(now - minutes(60)),
            Wrong::Mismatch,
            "Signature expired: ",
        ),
        (
            "20 minutes new",
            at(now + minutes(20)),
            Wrong::Mismatch,
            "Signature not yet current: ",
        ),
        (
            "an hour new",
            at(now + minutes(60)),
            Wrong::Mismatch,
            "Signature not yet current: ",
        ),
    ]
}

async fn expect_refusals(site: &Site, cases: Vec<Case>, form: impl Fn(Wrong) -> (u16, &'static str)) {
    for (what, request, wrong, message) in cases {
        let (status, code) = form(wrong);
        let (answer, call) = site.logged(site.send(request)).await;
        let (given_status, given_code, given) = answer.error();
        assert_eq!(
            (given_status, given_code.as_str()),
            (status, code),
            "{what}: {given}"
        );
        assert!(given.starts_with(message) && !given.is_empty(), "{what}: {given}");
        assert_eq!(
            (call.verdict, call.principal),
            (CallVerdict::Denied, None),
            "{what}"
        );
        assert_eq!(call.error.as_deref(), Some(code), "{what}");
        if answer.xml("Code").is_some() {
            assert_eq!(answer.xml("Type").as_deref(), Some("Sender"), "{what}");
            assert!(answer.xml("RequestId").is_some(), "{what}");
        }
    }
}

#[tokio::test]
async fn json_services_refuse_in_their_form() {
    let (site, red) = Site::with_red().await;
    let plain = || {
        secrets_request(
            REGION,
            "GetSecretValue",
            json!({ "SecretId": "demo/team-red/secret" }),
        )
    };
    let mut cases = badly_signed(&plain, &red);
    let without_token = signed(plain(), &red.but(|c| c.token = None));
    cases.push((
        "no session token",
        without_token,
        Wrong::UnknownKey,
        INVALID_TOKEN,
    ));
    let mut moved = signed(plain(), &red);
    let target = "secretsmanager.DescribeSecret".parse().unwrap();
    moved.headers_mut().insert("x-amz-target", target);
    cases.push(("another operation", moved, Wrong::Mismatch, MISMATCH));
    let other = signed(plain(), &red).map(|_| Bytes::from(r#"{"SecretId":"demo/team-blue/secret"}"#));
    cases.push(("another secret", other, Wrong::Mismatch, MISMATCH));
    let form = |wrong| match wrong {
        Wrong::Missing => (400, "MissingAuthenticationTokenException"),
        Wrong::Incomplete => (400, "IncompleteSignatureException"),
        Wrong::UnknownKey => (400, "UnrecognizedClientException"),
        Wrong::Mismatch => (400, "InvalidSignatureException"),
    };
    expect_refusals(&site, cases, form).await;
    assert_eq!(site.send(signed(plain(), &red)).await.status, 200, "the control");
}

#[tokio::test]
async fn query_services_refuse_in_theirs() {
    let (site, red) = Site::with_red().await;
    let plain = || sts_request("GetCallerIdentity", &[]);
    for caller in [&red, &site.root] {
        let mut cases = badly_signed(&plain, caller);
        let action = signed(plain(), caller).map(|_| Bytes::from("Action=AssumeRole&Version=2011-06-15"));
        cases.push(("another action", action, Wrong::Mismatch, MISMATCH));
        if caller.token.is_some() {
            let without_token = signed(plain(), &caller.but(|c| c.token = None));
            cases.push((
                "no session token",
                without_token,
                Wrong::UnknownKey,
                INVALID_TOKEN,
            ));
        }
        let form = |wrong| match wrong {
            Wrong::Missing => (403, "MissingAuthenticationToken"),
            Wrong::Incomplete => (400, "IncompleteSignature"),
            Wrong::UnknownKey => (403, "InvalidClientTokenId"),
            Wrong::Mismatch => (403, "SignatureDoesNotMatch"),
        };
        expect_refusals(&site, cases, form).await;
        assert_eq!(
            site.send(signed(plain(), caller)).await.status,
            200,
            "the control"
        );
    }
}

#[tokio::test]
async fn a_signature_for_one_service_or_region_is_none_for_another() {
    let (site, red) = Site::with_red().await;
    let input = json!({ "SecretId": "demo/team-red/secret" });
    let plain = || secrets_request(REGION, "GetSecretValue", input.clone());
    // Signed for another region: the secret of that region is asked for, which does not exist.
    let answer = site
        .secrets_in(ELSEWHERE, &red, "GetSecretValue", input.clone())
        .await;
    assert_eq!(answer.code(), "ResourceNotFoundException");
    // Signed for another service, and sent as a call of Secrets Manager: as one of IAM, where there is no
    // such action, or of a service that is not here.
    for (service, code) in [("iam", "InvalidAction"), ("s3", "UnknownService")] {
        let request = signed_for(plain(), &red, service, REGION, SystemTime::now());
        assert_eq!(site.send(request).await.code(), code, "{service}");
    }
    // Signed well, and then passed off as for another region or service.
    for (from, to, code) in [
        (REGION, ELSEWHERE, "InvalidSignatureException"),
        ("secretsmanager", "sts", "SignatureDoesNotMatch"),
    ] {
        let mut request = signed(plain(), &site.root);
        let header = request.headers()[AUTHORIZATION].to_str().unwrap();
        let header = header.replace(&format!("/{from}/"), &format!("/{to}/"));
        request
            .headers_mut()
            .insert(AUTHORIZATION, header.parse().unwrap());
        assert_eq!(site.send(request).await.code(), code, "{to}");
    }
}

#[tokio::test]
async fn what_is_not_here_is_refused() {
    let site = Site::start().await;
    for operation in ["RotateEverything", "ShredSecret"] {
        let answer = site.secrets(&site.root, operation, json!({})).await;
        let (status, code, _) = answer.error();
        assert_eq!(
            (status, code.as_str()),
            (400, "UnknownOperationException"),
            "{operation}"
        );
    }
    for answer in [
        site.iam_as(&site.root, "CreateUser", &[("UserName", "x")]).await,
        site.iam_as(&site.root, "CreateUniverse", &[]).await,
        site.sts(&site.root, "GetFederationToken", &[]).await,
        site.sts(&site.root, "CreateUniverse", &[]).await,
    ] {
        let (status, code, _) = answer.error();
        assert_eq!((status, code.as_str()), (400, "InvalidAction"), "{}", answer.text);
    }
    let request = json_request("s3", REGION, "GetObject", &json!({}));
    let answer = site.send(signed(request, &site.root)).await;
    assert_eq!(answer.code(), "UnknownService");
}
