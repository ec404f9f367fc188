//! Calls whose signature is in the URL.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;

use crate::support::{ACCOUNT, Caller, REGION, Site, presigned, session_arn};

const MINUTE: Duration = Duration::from_mins(1);

/// `GetCallerIdentity`, which tokens for EKS are made of.
fn identity(caller: &Caller, at: SystemTime, expires: Duration) -> Request<Bytes> {
    let url = format!("https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15");
    presigned(&url, caller, ("sts", REGION), at, expires)
}

fn with_query(request: Request<Bytes>, change: impl Fn(&str) -> String) -> Request<Bytes> {
    let (mut parts, body) = request.into_parts();
    let text = change(&parts.uri.to_string());
    parts.uri = text.parse().unwrap();
    Request::from_parts(parts, body)
}

/// STS counts a quarter of an hour, whatever the URL says, and a URL may be used again until then.
#[tokio::test]
async fn sts_answers_a_presigned_url_for_a_quarter_of_an_hour() {
    let (site, red) = Site::with_red().await;
    let now = SystemTime::now();
    for caller in [&red, &site.root] {
        for (at, expires, answered) in [
            (now, MINUTE, true),
            (now - 14 * MINUTE, MINUTE, true),
            (now - 16 * MINUTE, MINUTE, false),
            (now - 16 * MINUTE, 60 * MINUTE, false),
            (now + 16 * MINUTE, MINUTE, false),
        ] {
            let answer = site.send(identity(caller, at, expires)).await;
            assert_eq!(answer.status == 200, answered, "{}", answer.text);
            if answered {
                assert!(
                    answer.xml("Arn").unwrap().starts_with("arn:aws:"),
                    "{}",
                    answer.text
                );
                let again = site.send(identity(caller, at, expires)).await;
                assert_eq!(again.status, 200, "{}", again.text);
            } else {
                assert_eq!(answer.code(), "SignatureDoesNotMatch");
            }
        }
    }
}

/// As aws-iam-authenticator asks, which reads nothing else.
#[tokio::test]
async fn sts_says_who_someone_is_in_json_if_asked_to() {
    let (site, red) = Site::with_red().await;
    let in_json = |caller: &Caller| {
        let mut request = identity(caller, SystemTime::now(), MINUTE);
        let headers = request.headers_mut();
        headers.insert("accept", http::HeaderValue::from_static("application/json"));
        request
    };
    let answer = site.send(in_json(&red)).await;
    let said = &answer.json()["GetCallerIdentityResponse"];
    let result = &said["GetCallerIdentityResult"];
    assert_eq!(result["Account"], ACCOUNT);
    assert_eq!(result["Arn"], session_arn("team-red"));
    assert!(result["UserId"].as_str().unwrap().contains(':'));
    assert!(said["ResponseMetadata"]["RequestId"].is_string());
    let forged = red.but(|caller| caller.secret = "x".repeat(40));
    let answer = site.send(in_json(&forged)).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.json()["Error"]["Code"], "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_presigned_url_is_refused_when_anything_in_it_is_changed() {
    let (site, red) = Site::with_red().await;
    let good = || identity(&red, SystemTime::now(), MINUTE);
    let other = red.but(|caller| caller.secret = "x".repeat(40));
    let unknown = red.but(|caller| caller.id = "ASIAAAAAAAAAAAAAAAAA".into());
    for (what, request, code) in [
        (
            "another action",
            with_query(good(), |text| {
                text.replace("GetCallerIdentity", "GetSessionToken")
            }),
            "SignatureDoesNotMatch",
        ),
        (
            "for longer",
            with_query(good(), |text| text.replace("Expires=60", "Expires=61")),
            "SignatureDoesNotMatch",
        ),
        (
            "for ever",
            with_query(good(), |text| text.replace("Expires=60", "Expires=604801")),
            "IncompleteSignature",
        ),
        (
            "a parameter more",
            with_query(good(), |text| format!("{text}&a=b")),
            "SignatureDoesNotMatch",
        ),
        (
            "no token",
            with_query(good(), |text| text.replace("X-Amz-Security-Token", "X-Amz-Token")),
            "InvalidClientTokenId",
        ),
        (
            "no signature",
            with_query(good(), |text| text.replace("X-Amz-Signature", "X-Amz-Sign")),
            "IncompleteSignature",
        ),
        (
            "another secret",
            identity(&other, SystemTime::now(), MINUTE),
            "SignatureDoesNotMatch",
        ),
        (
            "an unknown key",
            identity(&unknown, SystemTime::now(), MINUTE),
            "InvalidClientTokenId",
        ),
    ] {
        let answer = site.send(request).await;
        assert_eq!(answer.code(), code, "{what}: {}", answer.text);
    }
    assert_eq!(site.send(good()).await.status, 200, "the control");
}
