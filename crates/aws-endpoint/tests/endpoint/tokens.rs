//! Which tokens are genuine, and which are worth nothing.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, AUDIENCE, Issuer, Key, Site, hmac_token, now, provider_arn, raw_token, session_arn, subject,
};

const NOT_A_TOKEN: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";
const BAD_SIGNATURE: &str = "The signature of the token is not valid";
const BAD_AUDIENCE: &str = "Incorrect token audience";
const NO_PROVIDER: &str = "No OpenIDConnect provider found in your account for ";
const INVALID: &str = "InvalidIdentityToken";

#[tokio::test]
async fn a_genuine_token_is_worth_the_role() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    let (answer, call) = site.logged(site.assume("team-red", &token, &[])).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer.text.contains("<AssumeRoleWithWebIdentityResult>"),
        "{}",
        answer.text
    );
    assert_eq!(answer.xml("Arn").unwrap(), session_arn("team-red"));
    assert_eq!(
        answer.xml("SubjectFromWebIdentityToken").unwrap(),
        subject("team-red")
    );
    assert_eq!(answer.xml("Audience").unwrap(), AUDIENCE);
    assert_eq!(answer.xml("Provider").unwrap(), provider_arn(site.issuer.name()));
    assert!(answer.xml("AssumedRoleId").unwrap().starts_with("AROA"));
    let caller = answer.caller();
    assert!(
        caller.id.starts_with("ASIA") && caller.id.len() == 20,
        "{}",
        caller.id
    );
    assert_eq!(caller.secret.len(), 40);

    assert_eq!(call.verdict, CallVerdict::Allowed);
    assert_eq!(call.action(), "sts:AssumeRoleWithWebIdentity");
    assert_eq!(call.role.as_deref(), Some("team-red"));
    assert_eq!(call.subject, Some(subject("team-red")));
    assert_eq!(
        call.statement.unwrap().to_string(),
        "statement 1 of the trust policy of team-red: Allow Action sts:AssumeRoleWithWebIdentity"
    );

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
    site.issuer.publish(Key::elliptic("curve"));
    for audience in [json!(AUDIENCE), json!(["other", AUDIENCE])] {
        let token = site.issuer.sign(&site.issuer.claims_but("aud", audience));
        assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
    }
}

/// What is wrong with a token, the token, and the code and the beginning of the text that it is refused with.
type Case = (&'static str, String, &'static str, &'static str);

#[tokio::test]
async fn no_other_token_is_worth_anything() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let impostor = Issuer::impostor(&site.ca, &site.issuer).await;
    let gone = Issuer::start(&site.ca).await;
    for issuer in [&impostor, &gone] {
        site.provider(issuer, &[AUDIENCE]).await;
    }
    let gone_url = gone.url.clone();
    gone.stop().await;
    let others = of_other_issuers(&site, &impostor.url, &gone_url);
    let cases = [forged(&site), misclaimed(&site), others].concat();
    for (what, token, code, message) in cases {
        let (answer, call) = site.logged(site.assume("team-red", &token, &[])).await;
        let (status, given_code, given) = answer.error();
        assert_eq!((status, given_code.as_str()), (400, code), "{what}: {given}");
        assert!(given.starts_with(message), "{what}: {given}");
        assert_eq!(answer.xml("AccessKeyId"), None, "{what}");
        assert_eq!(call.verdict, CallVerdict::Denied, "{what}");
        assert_eq!(call.action(), "sts:AssumeRoleWithWebIdentity", "{what}");
        assert_eq!(call.error.as_deref(), Some(code), "{what}");
        assert!(
            !format!("{call:?}").contains(&token),
            "{what}: the log has no token"
        );
    }
    // The control: nothing above broke the way in.
    let genuine = site.issuer.token_of("team-red");
    assert_eq!(site.assume("team-red", &genuine, &[]).await.status, 200);
}

/// Tokens with good claims that the issuer's key did not sign.
fn forged(site: &Site) -> Vec<Case> {
    let (key, good) = (site.issuer.key(), site.issuer.claims("team-red"));
    let (stranger, curve) = (Key::rsa(&key.id), Key::elliptic("curve"));
    let header = |algorithm: &str| json!({ "alg": algorithm, "typ": "JWT", "kid": key.id });
    let genuine = key.sign(&good);
    let [head, body, signature] = parts(&genuine);
    let [_, other_body, _] = parts(&site.issuer.token_of("team-blue"));
    let hmac = |secret: &[u8]| hmac_token(&key.id, &good, secret);
    let [as_der, as_published] = key.public_forms();
    vec![
        (
            "signed by another key under the same id",
            stranger.sign(&good),
            INVALID,
            BAD_SIGNATURE,
        ),
        (
            "signed with another algorithm under the same id",
            curve.sign_as(Some(&key.id), &good),
            INVALID,
            BAD_SIGNATURE,
        ),
        (
            "signed under an id that is not published",
            key.sign_as(Some("unknown"), &good),
            INVALID,
            NO_KEY,
        ),
        ("without a key id", key.sign_as(None, &good), INVALID, NOT_A_TOKEN),
        (
            "alg none, no signature",
            raw_token(&header("none"), &good, b""),
            INVALID,
            NOT_A_TOKEN,
        ),
        (
            "alg none, a signature",
            raw_token(&header("none"), &good, b"AAAA"),
            INVALID,
            NOT_A_TOKEN,
        ),
        (
            "RS256, no signature",
            raw_token(&header("RS256"), &good, b""),
            INVALID,
            BAD_SIGNATURE,
        ),
        (
            "RS256, a made-up signature",
            raw_token(&header("RS256"), &good, &[7; 256]),
            INVALID,
            BAD_SIGNATURE,
        ),
        ("HS256 with the public key", hmac(&as_der), INVALID, NOT_A_TOKEN),
        (
            "HS256 with the public key as published",
            hmac(&as_published),
            INVALID,
            NOT_A_TOKEN,
        ),
        ("HS256 with nothing", hmac(b""), INVALID, NOT_A_TOKEN),
        (
            "another token's body",
            format!("{head}.{other_body}.{signature}"),
            INVALID,
            BAD_SIGNATURE,
        ),
        ("two parts", format!("{head}.{body}"), INVALID, NOT_A_TOKEN),
        ("garbage", "garbage".to_owned(), INVALID, NOT_A_TOKEN),
        ("garbage with points", "a.b.c".to_owned(), INVALID, NOT_A_TOKEN),
        ("points", "....".to_owned(), INVALID, NOT_A_TOKEN),
    ]
}

/// Genuine tokens that claim the wrong thing.
fn misclaimed(site: &Site) -> Vec<Case> {
    let (hour, issuer) = (3600, &site.issuer);
    let with = |claim: &str, value: Value| issuer.sign(&issuer.claims_but(claim, value));
    vec![
        (
            "expired",
            with("exp", json!(now() - hour)),
            "ExpiredTokenException",
            "Token expired: ",
        ),
        (
            "without expiry",
            with("exp", Value::Null),
            INVALID,
            "Missing a required claim: exp",
        ),
        (
            "not yet valid",
            with("nbf", json!(now() + hour)),
            INVALID,
            "Token is not yet valid: ",
        ),
        (
            "from the future",
            with("iat", json!(now() + hour)),
            INVALID,
            "Token is not yet valid: ",
        ),
        (
            "another audience",
            with("aud", json!(["vault"])),
            INVALID,
            BAD_AUDIENCE,
        ),
        (
            "no audience in the list",
            with("aud", json!([])),
            INVALID,
            BAD_AUDIENCE,
        ),
        ("without audience", with("aud", Value::Null), INVALID, NOT_A_TOKEN),
        ("without subject", with("sub", Value::Null), INVALID, NOT_A_TOKEN),
        ("without issuer", with("iss", Value::Null), INVALID, NOT_A_TOKEN),
        (
            "an issuer without https",
            with("iss", json!("http://127.0.0.1:1")),
            INVALID,
            NO_PROVIDER,
        ),
    ]
}

/// Tokens signed with a good key, of issuers that are not known, not there, or not who they say.
fn of_other_issuers(site: &Site, impostor: &str, gone: &str) -> Vec<Case> {
    const UNKNOWN: [(&str, &str); 2] = [
        (
            "https://127.0.0.1:1",
            "No OpenIDConnect provider found in your account for https://127.0.0.1:1",
        ),
        (
            "https://elsewhere.example",
            "No OpenIDConnect provider found in your account for https://elsewhere.example",
        ),
    ];
    let of = |url: &str| site.issuer.sign(&site.issuer.claims_but("iss", json!(url)));
    let mut cases = vec![
        ("an issuer that speaks for another", of(impostor), INVALID, NO_KEY),
        ("an issuer that is gone", of(gone), INVALID, NO_KEY),
    ];
    cases.extend(UNKNOWN.map(|(url, text)| ("an unknown issuer", of(url), INVALID, text)));
    cases
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(ToOwned::to_owned).collect();
    parts.try_into().unwrap()
}

#[tokio::test]
async fn a_clock_that_is_a_little_off_does_no_harm() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let mut claims = site.issuer.claims_but("nbf", json!(now() + 20));
    claims["iat"] = json!(now() + 20);
    let answer = site.assume("team-red", &site.issuer.sign(&claims), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_when_they_change() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let first = site.issuer.token_of("team-red");
    let tokens: Vec<String> = (0..20).map(|_| site.issuer.token_of("team-red")).collect();
    let burst = tokens.iter().map(|token| site.assume("team-red", token, &[]));
    let answers = futures::future::join_all(burst).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(site.assume("team-red", &first, &[]).await.status, 200);
    assert_eq!(
        site.issuer.fetched(),
        [1, 1],
        "by a burst of tokens, and by those after it"
    );

    site.issuer.withdraw_all();
    let (second, third) = (Key::rsa("second"), Key::elliptic("third"));
    for key in [&second, &third] {
        site.issuer.publish(key.clone());
    }
    for key in [second, third] {
        let token = key.sign(&site.issuer.claims("team-red"));
        assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
    }
    assert_eq!(site.issuer.fetched(), [2, 2], "once for both of the new keys");
    let (_, code, message) = site.assume("team-red", &first, &[]).await.error();
    assert_eq!((code.as_str(), message.as_str()), (INVALID, NO_KEY), "withdrawn");
}

/// A listener that nobody accepts at: who connects waits for the TLS handshake until its patience ends.
#[tokio::test]
async fn an_issuer_that_says_nothing_is_told_apart_from_one_that_says_no() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    site.iam(
        "CreateOpenIDConnectProvider",
        &[("Url", &url), ("ClientIDList.member.1", AUDIENCE)],
    )
    .await;
    let token = site.issuer.sign(&site.issuer.claims_but("iss", json!(url)));
    let (answer, call) = site.logged(site.assume("team-red", &token, &[])).await;
    let text = "The request could not be fulfilled because the identity provider (IDP) that was asked to verify the \
                incoming identity token could not be reached.";
    let expected = (400, "IDPCommunicationError".to_owned(), text.to_owned());
    assert_eq!(answer.error(), expected);
    assert_eq!(answer.xml("AccessKeyId"), None);
    assert_eq!(call.error.as_deref(), Some("IDPCommunicationError"));
    assert_eq!(call.verdict, CallVerdict::Denied);
    // It keeps nobody else waiting.
    let genuine = site.issuer.token_of("team-red");
    assert_eq!(site.assume("team-red", &genuine, &[]).await.status, 200);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_the_reason() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    site.issuer.set_down(true);
    let answer = site.assume("team-red", &token, &[]).await;
    assert_eq!(answer.error(), (400, INVALID.to_owned(), NO_KEY.to_owned()));
    site.issuer.set_down(false);
    assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
}
