//! Who gets a session for a web-identity token, and who does not.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Signer, token},
    support::{ACCOUNT, AUDIENCE, Bench, allow, seconds, subject},
};

const NOT_A_TOKEN: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";
const BAD_SIGNATURE: &str = "The signature of the token is not valid";

#[tokio::test]
async fn a_genuine_token_gives_a_session() {
    let bench = Bench::start().await;
    let reply = bench
        .assume("red", &bench.signer.sign(&bench.claims("red")))
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/red/1700000000000000000");
    let issuer = bench.issuer.url.trim_start_matches("https://");
    let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}");
    assert_eq!(reply.element("Arn").as_deref(), Some(session.as_str()));
    assert_eq!(reply.element("SubjectFromWebIdentityToken"), Some(subject("red")));
    assert_eq!(reply.element("Audience").as_deref(), Some(AUDIENCE));
    assert_eq!(reply.element("Provider"), Some(provider));
    let key = reply.element("AccessKeyId").unwrap();
    assert!(key.starts_with("ASIA") && key.len() == 20, "{key}");
    assert_eq!(reply.element("SecretAccessKey").unwrap().len(), 40);

    let call = bench.last_call();
    assert_eq!(call.verdict, CallVerdict::Allowed);
    assert_eq!(call.action, "sts:AssumeRoleWithWebIdentity");
    assert_eq!(
        (call.role.as_deref(), call.subject),
        (Some("red"), Some(subject("red")))
    );
    assert!(call.statement.unwrap().contains("Allow"));
}

#[tokio::test]
async fn every_false_token_is_refused() {
    let bench = Bench::start().await;
    let (stranger, ec) = (Signer::rsa("key-1"), Signer::ec("key-ec"));
    let good = bench.claims("red");
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    let sign = |claims: &Value| bench.signer.sign(claims);
    let now = seconds();

    let impostor = Issuer::impostor(&bench.ca, &[&bench.signer], &bench.issuer.url).await;
    bench.register(&impostor.url).await;
    let gone = Issuer::start(&bench.ca, &[&bench.signer]).await;
    bench.register(&gone.url).await;
    let gone_url = gone.url.clone();
    gone.stop().await;

    let unsigned = token(&json!({"alg": "none", "kid": "key-1"}), &good, |_| Vec::new());
    let tampered = {
        let token = sign(&with("sub", json!(subject("blue"))));
        let parts: Vec<&str> = token.split('.').collect();
        let genuine = sign(&good);
        format!("{}.{}.{}", parts[0], genuine.split('.').nth(1).unwrap(), parts[2])
    };
    let no_kid = token(&json!({"alg": "RS256"}), &good, |_| vec![0; 256]);
    let unknown = format!(
        "No OpenIDConnect provider found in your account for {}",
        "https://elsewhere.example"
    );
    let cases: Vec<(&str, String, &str, &str)> = vec![
        (
            "key of a stranger",
            stranger.sign(&good),
            "InvalidIdentityToken",
            BAD_SIGNATURE,
        ),
        (
            "claims of another token",
            tampered,
            "InvalidIdentityToken",
            BAD_SIGNATURE,
        ),
        (
            "other algorithm than the key's",
            ec.sign_as("key-1", &good),
            "InvalidIdentityToken",
            BAD_SIGNATURE,
        ),
        ("no signature", unsigned, "InvalidIdentityToken", NOT_A_TOKEN),
        (
            "public key as the secret of HS256",
            bench.signer.sign_with_the_public_key(&good),
            "InvalidIdentityToken",
            NOT_A_TOKEN,
        ),
        ("no key id", no_kid, "InvalidIdentityToken", NOT_A_TOKEN),
        (
            "unknown key",
            bench.signer.sign_as("key-9", &good),
            "InvalidIdentityToken",
            NO_KEY,
        ),
        (
            "expired",
            sign(&with("exp", json!(now - 3600))),
            "ExpiredTokenException",
            "Token expired: ",
        ),
        (
            "no expiry",
            sign(&with("exp", Value::Null)),
            "InvalidIdentityToken",
            "Missing a required claim: exp",
        ),
        (
            "not yet",
            sign(&with("nbf", json!(now + 3600))),
            "InvalidIdentityToken",
            "Token is not yet valid: ",
        ),
        (
            "from the future",
            sign(&with("iat", json!(now + 3600))),
            "InvalidIdentityToken",
            "Token is not yet valid: ",
        ),
        (
            "other audience",
            sign(&with("aud", json!(["vault"]))),
            "InvalidIdentityToken",
            "Incorrect token audience",
        ),
        (
            "no audience",
            sign(&with("aud", json!([]))),
            "InvalidIdentityToken",
            "Incorrect token audience",
        ),
        (
            "no subject",
            sign(&with("sub", Value::Null)),
            "InvalidIdentityToken",
            NOT_A_TOKEN,
        ),
        (
            "unregistered issuer",
            sign(&with("iss", json!("https://elsewhere.example"))),
            "InvalidIdentityToken",
            &unknown,
        ),
        (
            "issuer that is gone",
            sign(&with("iss", json!(gone_url))),
            "InvalidIdentityToken",
            NO_KEY,
        ),
        (
            "issuer that speaks for another",
            sign(&with("iss", json!(impostor.url))),
            "InvalidIdentityToken",
            NO_KEY,
        ),
        (
            "garbage",
            "garbage".to_owned(),
            "InvalidIdentityToken",
            NOT_A_TOKEN,
        ),
        (
            "garbage with points",
            "a.b.c".to_owned(),
            "InvalidIdentityToken",
            NOT_A_TOKEN,
        ),
    ];
    for (what, token, code, message) in cases {
        let reply = bench.assume("red", &token).await;
        let (status, given_code, given) = reply.error();
        assert_eq!((status, given_code.as_str()), (400, code), "{what}: {given}");
        assert!(given.starts_with(message), "{what}: {given}");
        assert_eq!(reply.element("AccessKeyId"), None, "{what}");
        let call = bench.last_call();
        assert_eq!(
            (call.verdict, call.error.as_deref()),
            (CallVerdict::Denied, Some(code)),
            "{what}"
        );
        assert!(
            !format!("{call:?}").contains(&token),
            "{what}: the log has no token"
        );
    }
}

#[tokio::test]
async fn a_token_opens_only_the_roles_that_trust_it() {
    let bench = Bench::start().await;
    let elsewhere = Issuer::start(&bench.ca, &[&bench.signer]).await;
    bench.register(&elsewhere.url).await;
    let mut of_elsewhere = bench.claims("red");
    of_elsewhere["iss"] = json!(elsewhere.url);
    let mut other_audience = bench.claims("red");
    other_audience["aud"] = json!(["other"]);
    let mut longer = bench.claims("red");
    longer["sub"] = json!(format!("{}-2", subject("red")));
    let provider = bench.issuer.url.trim_start_matches("https://");

    let cases = [
        (
            "the other tenant",
            bench.claims("blue"),
            "red",
            format!("expected {}, got {}", subject("red"), subject("blue")),
        ),
        (
            "a name that begins alike",
            longer,
            "red",
            format!("got {}-2", subject("red")),
        ),
        (
            "a known audience that the role does not name",
            other_audience,
            "red",
            format!("{provider}:aud: expected {AUDIENCE}, got other"),
        ),
        (
            "another registered issuer",
            of_elsewhere,
            "red",
            format!("names arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"),
        ),
        (
            "a role that does not exist",
            bench.claims("red"),
            "green",
            "there is no role".to_owned(),
        ),
    ];
    for (what, claims, role, reason) in cases {
        let (status, code, message) = bench.assume(role, &bench.signer.sign(&claims)).await.error();
        assert_eq!(
            (status, code.as_str()),
            (403, "AccessDenied"),
            "{what}: {message}"
        );
        assert_eq!(
            message, "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            "{what}"
        );
        let call = bench.last_call();
        let given = call.reason.unwrap();
        assert!(given.contains(&reason), "{what}: {given}");
        assert!(given.contains(claims["sub"].as_str().unwrap()), "{what}: {given}");
        assert_eq!(call.subject.as_deref(), claims["sub"].as_str(), "{what}");
        assert_eq!(call.role.as_deref(), Some(role), "{what}");
        assert_eq!(call.statement, None, "{what}");
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_when_they_change() {
    let bench = Bench::start().await;
    let token = bench.signer.sign(&bench.claims("red"));
    let burst = (0..20).map(|_| bench.assume("red", &token));
    for reply in futures::future::join_all(burst).await {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!(bench.issuer.asked(), 1);

    let (second, third) = (Signer::rsa("key-2"), Signer::ec("key-3"));
    bench.issuer.publish(&[&second, &third]);
    for signer in [&second, &third] {
        assert_eq!(
            bench
                .assume("red", &signer.sign(&bench.claims("red")))
                .await
                .status,
            200
        );
    }
    assert_eq!(bench.issuer.asked(), 2);
    let (_, code, message) = bench.assume("red", &token).await.error();
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("InvalidIdentityToken", NO_KEY),
        "withdrawn"
    );
}

#[tokio::test]
async fn parameters_have_awss_limits() {
    let bench = Bench::start().await;
    let token = bench.signer.sign(&bench.claims("red"));
    let malformed = json!({"Statement": "no"}).to_string();
    for (name, value, code, message) in [
        (
            "RoleSessionName",
            "x",
            "ValidationError",
            "length greater than or equal to 2",
        ),
        (
            "RoleSessionName",
            "a b",
            "ValidationError",
            "regular expression pattern: [\\w+=,.@-]*",
        ),
        (
            "DurationSeconds",
            "899",
            "ValidationError",
            "value greater than or equal to 900",
        ),
        (
            "DurationSeconds",
            "43201",
            "ValidationError",
            "value less than or equal to 43200",
        ),
        (
            "DurationSeconds",
            "3601",
            "ValidationError",
            "exceeds the MaxSessionDuration set for this role",
        ),
        ("Policy", &malformed, "MalformedPolicyDocument", ""),
        (
            "PolicyArns.member.1.arn",
            "arn:aws:iam::000000000000:policy/none",
            "ValidationError",
            "does not exist",
        ),
    ] {
        let (status, given, text) = bench.assume_with("red", &token, &[(name, value)]).await.error();
        assert_eq!((status, given.as_str()), (400, code), "{name} {value}: {text}");
        assert!(text.contains(message), "{name} {value}: {text}");
        assert_eq!(bench.last_call().verdict, CallVerdict::Failed, "{name} {value}");
    }
    assert_eq!(
        bench
            .assume_with("red", &token, &[("DurationSeconds", "900")])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_policy_given_with_the_call_limits_the_session() {
    let bench = Bench::start().await;
    bench.create("demo/team-red/other", "other").await;
    let policy = allow(&["arn:aws:secretsmanager:*:*:secret:demo/team-red/other-*"]).to_string();
    let managed = bench
        .iam(
            "CreatePolicy",
            &[("PolicyName", "narrow"), ("PolicyDocument", &policy)],
        )
        .await;
    let arn = managed.element("Arn").unwrap();
    let token = bench.signer.sign(&bench.claims("red"));
    for given in [
        ("Policy", policy.as_str()),
        ("PolicyArns.member.1.arn", arn.as_str()),
    ] {
        let session = crate::client::Keys::given(&bench.assume_with("red", &token, &[given]).await);
        assert_eq!(
            bench.read(&session, "demo/team-red/other").await.status,
            200,
            "{given:?}"
        );
        let (_, code, message) = bench.read(&session, "demo/team-red/secret").await.error();
        assert_eq!(code, "AccessDeniedException");
        assert!(
            message.ends_with("because no session policy allows the secretsmanager:GetSecretValue action"),
            "{message}"
        );
    }
}
