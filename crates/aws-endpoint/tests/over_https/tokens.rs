//! Which tokens are worth a role, and which are not.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::sync::atomic::Ordering;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{ACCOUNT, AUDIENCE, Key, Site, now, raw_token, role_arn, subject};

const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";

/// The claims of team-red's token with one of them changed; `null` removes it.
fn changed(site: &Site, claim: &str, value: Value) -> Value {
    let mut claims = site.issuer.claims("team-red");
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(claim);
    } else {
        claims[claim] = value;
    }
    claims
}

#[tokio::test]
async fn a_genuine_token_is_worth_the_role() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let answer = site
        .assume("team-red", &site.issuer.token_of("team-red"), &[])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        answer.xml("Arn").unwrap(),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/team-red/1764000000")
    );
    assert_eq!(
        answer.xml("SubjectFromWebIdentityToken").unwrap(),
        subject("team-red")
    );
    assert_eq!(answer.xml("Audience").unwrap(), AUDIENCE);
    assert!(answer.xml("AssumedRoleId").unwrap().starts_with("AROA"));
    assert!(
        answer.text.contains("<AssumeRoleWithWebIdentityResult>"),
        "{}",
        answer.text
    );
    let caller = answer.caller();
    assert!(caller.access_key_id.starts_with("ASIA") && caller.access_key_id.len() == 20);
    assert_eq!(caller.secret.len(), 40);

    let who = site.sts(&caller, "GetCallerIdentity", &[]).await;
    assert_eq!(who.status, 200, "{}", who.text);
    assert_eq!(who.xml("Arn"), answer.xml("Arn"));
    assert_eq!(who.xml("UserId"), answer.xml("AssumedRoleId"));
    assert_eq!(who.xml("Account").unwrap(), ACCOUNT);
}

#[tokio::test]
async fn elliptic_curve_keys_and_a_single_audience_will_do() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.issuer.publish(Key::ecdsa("curve"));
    let token = site.issuer.key().sign(&changed(&site, "aud", json!(AUDIENCE)));
    assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
    let several = site
        .issuer
        .key()
        .sign(&changed(&site, "aud", json!(["other", AUDIENCE])));
    assert_eq!(site.assume("team-red", &several, &[]).await.status, 200);
}

#[tokio::test]
async fn no_other_token_is_worth_anything() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let good = site.issuer.claims("team-red");
    let key = site.issuer.key();
    let stranger = Key::rsa(&key.id);
    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let genuine = key.sign(&good);
    let (head, rest) = genuine.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let other_body = key.sign(&site.issuer.claims("team-blue"));
    let other_body = other_body.split('.').nth(1).unwrap().to_owned();
    let none = json!({ "alg": "none", "typ": "JWT", "kid": key.id });
    let rs256 = json!({ "alg": "RS256", "typ": "JWT", "kid": key.id });

    let invalid = "InvalidIdentityToken";
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "signed by another key under the same id",
            stranger.sign(&good),
            invalid,
        ),
        (
            "signed under an id that is not published",
            key.sign_as(Some("unknown"), &good),
            invalid,
        ),
        ("without a key id", key.sign_as(None, &good), invalid),
        ("alg none, no signature", raw_token(&none, &good, b""), invalid),
        ("alg none, a signature", raw_token(&none, &good, b"AAAA"), invalid),
        ("RS256, no signature", raw_token(&rs256, &good, b""), invalid),
        (
            "RS256, a made-up signature",
            raw_token(&rs256, &good, &[7; 256]),
            invalid,
        ),
        ("HS256 with the public key", hmac(&key.public_bytes()), invalid),
        ("HS256 with nothing", hmac(b""), invalid),
        (
            "another token's body",
            format!("{head}.{other_body}.{signature}"),
            invalid,
        ),
        ("two parts", format!("{head}.{other_body}"), invalid),
        ("garbage", "garbage".to_owned(), invalid),
        ("dots", "...".to_owned(), invalid),
        (
            "expired",
            key.sign(&changed(&site, "exp", json!(now() - 3600))),
            "ExpiredTokenException",
        ),
        (
            "without expiry",
            key.sign(&changed(&site, "exp", Value::Null)),
            invalid,
        ),
        (
            "not yet valid",
            key.sign(&changed(&site, "nbf", json!(now() + 3600))),
            invalid,
        ),
        (
            "another audience",
            key.sign(&changed(&site, "aud", json!(["vault"]))),
            invalid,
        ),
        (
            "no audience in the list",
            key.sign(&changed(&site, "aud", json!([]))),
            invalid,
        ),
        (
            "without audience",
            key.sign(&changed(&site, "aud", Value::Null)),
            invalid,
        ),
        (
            "another issuer",
            key.sign(&changed(&site, "iss", json!("https://127.0.0.1:1"))),
            invalid,
        ),
        (
            "without issuer",
            key.sign(&changed(&site, "iss", Value::Null)),
            invalid,
        ),
        (
            "without subject",
            key.sign(&changed(&site, "sub", Value::Null)),
            invalid,
        ),
        (
            "an issuer without https",
            key.sign(&changed(&site, "iss", json!("http://127.0.0.1:1"))),
            invalid,
        ),
    ];
    for (what, token, code) in cases {
        let cursor = site.endpoint.calls().cursor();
        let answer = site.assume("team-red", &token, &[]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code.to_owned()),
            "{what}: {}",
            answer.text
        );
        assert_eq!(answer.xml("AccessKeyId"), None, "{what}");
        let calls = site.endpoint.calls().since(cursor);
        assert_eq!(calls.len(), 1, "{what}");
        assert_eq!(calls[0].verdict, CallVerdict::Denied, "{what}");
        assert_eq!(calls[0].action, "sts:AssumeRoleWithWebIdentity", "{what}");
    }
    // The control: nothing above broke the way in.
    assert_eq!(site.assume("team-red", &genuine, &[]).await.status, 200);
}

#[tokio::test]
async fn a_token_from_the_future_is_worth_nothing() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site
        .issuer
        .key()
        .sign(&changed(&site, "iat", json!(now() + 3600)));
    let answer = site.assume("team-red", &token, &[]).await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "InvalidIdentityToken".to_owned()),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn texts_of_refused_tokens() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let key = site.issuer.key();
    for (token, message) in [
        (
            key.sign(&changed(&site, "aud", json!(["vault"]))),
            "Incorrect token audience".to_owned(),
        ),
        (
            key.sign(&changed(&site, "iss", json!("https://127.0.0.1:1"))),
            "No OpenIDConnect provider found in your account for https://127.0.0.1:1".to_owned(),
        ),
        (
            key.sign_as(Some("unknown"), &site.issuer.claims("team-red")),
            NO_KEY.to_owned(),
        ),
    ] {
        let answer = site.assume("team-red", &token, &[]).await;
        // The apostrophe is escaped in XML.
        assert_eq!(answer.message().replace("&apos;", "'"), message);
    }
}

#[tokio::test]
async fn a_clock_that_is_a_little_off_does_no_harm() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let mut claims = site.issuer.claims("team-red");
    claims["nbf"] = json!(now() + 20);
    claims["iat"] = json!(now() + 20);
    assert_eq!(
        site.assume("team-red", &site.issuer.key().sign(&claims), &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn keys_are_kept_and_asked_for_again_when_one_is_unknown() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    for _ in 0..3 {
        assert_eq!(
            site.assume("team-red", &site.issuer.token_of("team-red"), &[])
                .await
                .status,
            200
        );
    }
    assert_eq!(site.issuer.fetched.load(Ordering::SeqCst), 1);
    site.issuer.publish(Key::rsa("second"));
    assert_eq!(
        site.assume("team-red", &site.issuer.token_of("team-red"), &[])
            .await
            .status,
        200
    );
    assert_eq!(site.issuer.fetched.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_burst_of_tokens_asks_for_keys_once() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let tokens: Vec<String> = (0..20).map(|_| site.issuer.token_of("team-red")).collect();
    let answers =
        futures::future::join_all(tokens.iter().map(|token| site.assume("team-red", token, &[]))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(site.issuer.fetched.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_the_reason() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.issuer.set_down(true);
    let answer = site
        .assume("team-red", &site.issuer.token_of("team-red"), &[])
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "InvalidIdentityToken".to_owned())
    );
    assert_eq!(answer.message().replace("&apos;", "'"), NO_KEY);
    site.issuer.set_down(false);
    assert_eq!(
        site.assume("team-red", &site.issuer.token_of("team-red"), &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_trust_policy_decides() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let denied = (
        403,
        "AccessDenied".to_owned(),
        "Not authorized to perform sts:AssumeRoleWithWebIdentity".to_owned(),
    );
    // Another tenant's role, a role that trusts another provider, and one that does not exist.
    let mut elsewhere = site.trust("team-red");
    elsewhere["Statement"][0]["Principal"]["Federated"] =
        json!(format!("arn:aws:iam::{ACCOUNT}:oidc-provider/other.example"));
    site.role("elsewhere", &elsewhere).await;
    let token = site.issuer.token_of("team-red");
    for role in ["team-blue", "elsewhere", "missing"] {
        let cursor = site.endpoint.calls().cursor();
        assert_eq!(site.assume(role, &token, &[]).await.error(), denied, "{role}");
        let call = site.endpoint.calls().since(cursor).remove(0);
        assert_eq!(call.verdict, CallVerdict::Denied);
        assert_eq!(call.role.as_deref(), Some(role));
        assert_eq!(call.subject, Some(subject("team-red")));
        assert_eq!(call.resource, Some(role_arn(role)));
        assert_eq!(call.error.as_deref(), Some("AccessDenied"));
        let reason = call.reason.unwrap();
        if role == "team-blue" {
            for part in [subject("team-red"), subject("team-blue")] {
                assert!(reason.contains(&part), "{reason}");
            }
        }
    }
    assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
}

#[tokio::test]
async fn a_role_that_wants_a_client_of_its_own_refuses_the_others() {
    let site = Site::start().await;
    site.provider(&[AUDIENCE, "second"]).await;
    site.role("team-red", &site.trust("team-red")).await;
    let token = site.issuer.key().sign(&changed(&site, "aud", json!(["second"])));
    assert_eq!(site.assume("team-red", &token, &[]).await.code(), "AccessDenied");
}

#[tokio::test]
async fn what_a_call_must_say() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    for (name, value, code) in [
        ("DurationSeconds", "899", "ValidationError"),
        ("DurationSeconds", "43201", "ValidationError"),
        ("DurationSeconds", "3601", "ValidationError"),
        ("DurationSeconds", "soon", "ValidationError"),
        ("RoleSessionName", "a", "ValidationError"),
        ("RoleSessionName", "with blank", "ValidationError"),
        ("RoleSessionName", &"x".repeat(65), "ValidationError"),
        ("Policy", "{}", "MalformedPolicyDocument"),
    ] {
        let answer = site.assume("team-red", &token, &[(name, value)]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code.to_owned()),
            "{name}={value}: {}",
            answer.text
        );
    }
    for seconds in ["900", "3600"] {
        let answer = site
            .assume("team-red", &token, &[("DurationSeconds", seconds)])
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let expires: jiff::Timestamp = answer.xml("Expiration").unwrap().parse().unwrap();
        let left = expires.as_second() - now();
        let asked: i64 = seconds.parse().unwrap();
        assert!((asked - 60..=asked).contains(&left), "{left} s of {asked} s");
    }
}

#[tokio::test]
async fn a_role_is_assumed_by_a_session_that_it_trusts() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") }, "Action": "sts:AssumeRole",
    }] });
    site.role("reader", &trust).await;
    let arn = role_arn("reader");
    let params = [("RoleArn", arn.as_str()), ("RoleSessionName", "chained")];
    let red = site.session("team-red").await;
    let answer = site.sts(&red, "AssumeRole", &params).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let who = site.sts(&answer.caller(), "GetCallerIdentity", &[]).await;
    assert_eq!(
        who.xml("Arn").unwrap(),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/reader/chained")
    );

    let blue = site.session("team-blue").await;
    let refused = site.sts(&blue, "AssumeRole", &params).await;
    assert_eq!((refused.status, refused.code()), (403, "AccessDenied".to_owned()));
    let start = format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/team-blue/1764000000 is not authorized to perform: \
         sts:AssumeRole on resource: {arn}"
    );
    assert!(refused.message().starts_with(&start), "{}", refused.message());
}

#[tokio::test]
async fn a_session_ends_with_its_role() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let caller = site.session("team-red").await;
    for (operation, params) in [
        (
            "DeleteRolePolicy",
            vec![("RoleName", "team-red"), ("PolicyName", "team-red-policy")],
        ),
        ("DeleteRole", vec![("RoleName", "team-red")]),
    ] {
        assert_eq!(site.iam(operation, &params).await.status, 200, "{operation}");
    }
    // A new role of the same name is another role.
    site.role("team-red", &site.trust("team-red")).await;
    site.allow("team-red", &crate::support::read_own("team-red"))
        .await;
    let answer = site
        .secrets(
            &caller,
            "GetSecretValue",
            json!({ "SecretId": "demo/team-red/secret" }),
        )
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text);
}
