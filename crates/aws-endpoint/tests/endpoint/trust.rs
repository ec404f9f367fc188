//! Whom a role's trust policy lets in, and what a call for a role must say.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::json;

use crate::support::{
    ACCOUNT, AUDIENCE, Caller, Issuer, SESSION, Site, now, policy, provider_arn, read, role_arn, session_arn,
    subject,
};

const REFUSED: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";

#[tokio::test]
async fn a_token_opens_only_the_roles_that_trust_it() {
    let site = Site::start().await;
    site.provider(&site.issuer, &[AUDIENCE, "second"]).await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let mut elsewhere = site.trust("team-red");
    elsewhere["Statement"][0]["Principal"]["Federated"] = json!(provider_arn("other.example"));
    site.role("elsewhere", &elsewhere).await;
    let other = Issuer::start(&site.ca).await;
    site.provider(&other, &[AUDIENCE]).await;

    let issuer = &site.issuer;
    let (red, blue) = (subject("team-red"), subject("team-blue"));
    let of_red = || issuer.claims("team-red");
    let cases = [
        (
            "the other tenant's role",
            issuer,
            of_red(),
            "team-blue",
            format!("expected {blue}, got {red}"),
        ),
        (
            "the other tenant",
            issuer,
            issuer.claims("team-blue"),
            "team-red",
            format!("expected {red}, got {blue}"),
        ),
        (
            "a name that begins alike",
            issuer,
            issuer.claims_but("sub", json!(format!("{red}-2"))),
            "team-red",
            format!("got {red}-2"),
        ),
        (
            "a known audience that the role does not name",
            issuer,
            issuer.claims_but("aud", json!(["second"])),
            "team-red",
            format!("{}:aud: expected {AUDIENCE}, got second", issuer.name()),
        ),
        (
            "another registered issuer",
            &other,
            other.claims("team-red"),
            "team-red",
            format!("names {}", provider_arn(issuer.name())),
        ),
        (
            "a role that trusts another",
            issuer,
            of_red(),
            "elsewhere",
            format!("names {}", provider_arn("other.example")),
        ),
        (
            "a role that does not exist",
            issuer,
            of_red(),
            "missing",
            "there is no role".to_owned(),
        ),
    ];
    for (what, issuer, claims, role, reason) in cases {
        let (answer, call) = site.logged(site.assume(role, &issuer.sign(&claims), &[])).await;
        // Nothing tells the caller an unknown role from one that does not trust it.
        assert_eq!(
            answer.error(),
            (403, "AccessDenied".to_owned(), REFUSED.to_owned()),
            "{what}"
        );
        assert_eq!(call.verdict, CallVerdict::Denied, "{what}");
        assert_eq!(call.role.as_deref(), Some(role), "{what}");
        assert_eq!(call.resource, Some(role_arn(role)), "{what}");
        assert_eq!(call.subject.as_deref(), claims["sub"].as_str(), "{what}");
        assert_eq!(call.error.as_deref(), Some("AccessDenied"), "{what}");
        assert_eq!(call.statement, None, "{what}");
        let given = call.reason.unwrap();
        assert!(given.contains(&reason), "{what}: {given}");
        assert!(given.contains(claims["sub"].as_str().unwrap()), "{what}: {given}");
    }
    let answer = site
        .assume("team-red", &site.issuer.token_of("team-red"), &[])
        .await;
    assert_eq!(answer.status, 200, "the control: {}", answer.text);
}

#[tokio::test]
async fn what_a_call_must_say() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    let malformed = json!({ "Statement": "no" }).to_string();
    let long = "x".repeat(65);
    for (name, value, code, message) in [
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
        (
            "DurationSeconds",
            "soon",
            "ValidationError",
            "value greater than or equal to 900",
        ),
        (
            "RoleSessionName",
            "a",
            "ValidationError",
            "length greater than or equal to 2",
        ),
        (
            "RoleSessionName",
            "with blank",
            "ValidationError",
            "regular expression pattern: [\\w+=,.@-]*",
        ),
        (
            "RoleSessionName",
            &long,
            "ValidationError",
            "length less than or equal to 64",
        ),
        ("Policy", "{}", "MalformedPolicyDocument", ""),
        ("Policy", &malformed, "MalformedPolicyDocument", ""),
        (
            "PolicyArns.member.1.arn",
            "arn:aws:iam::000000000000:policy/none",
            "ValidationError",
            "does not exist",
        ),
    ] {
        let (answer, call) = site
            .logged(site.assume("team-red", &token, &[(name, value)]))
            .await;
        let (status, given, text) = answer.error();
        assert_eq!((status, given.as_str()), (400, code), "{name}={value}: {text}");
        assert!(text.contains(message), "{name}={value}: {text}");
        assert_eq!(call.verdict, CallVerdict::Failed, "{name}={value}");
    }
    for seconds in [900, 3600] {
        let asked = seconds.to_string();
        let answer = site
            .assume("team-red", &token, &[("DurationSeconds", &asked)])
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let expires: jiff::Timestamp = answer.xml("Expiration").unwrap().parse().unwrap();
        let left = expires.as_second() - now();
        assert!(
            (seconds - 60..=seconds).contains(&left),
            "{left} s of {seconds} s"
        );
    }
}

#[tokio::test]
async fn a_root_user_assumes_no_role_not_even_one_that_trusts_it() {
    let site = Site::start().await;
    for (name, principal) in [
        ("of-account", json!({ "AWS": ACCOUNT })),
        (
            "of-root",
            json!({ "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }),
        ),
        ("of-all", json!("*")),
    ] {
        let trust = json!({ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal });
        site.role(name, &policy(&trust)).await;
        let arn = role_arn(name);
        let params = [("RoleArn", arn.as_str()), ("RoleSessionName", "root")];
        let (answer, call) = site.logged(site.sts(&site.root, "AssumeRole", &params)).await;
        let text = "Roles may not be assumed by root accounts.";
        let expected = (403, "AccessDenied".to_owned(), text.to_owned());
        assert_eq!(answer.error(), expected, "{name}");
        assert_eq!(call.verdict, CallVerdict::Denied, "{name}");
        assert_eq!(call.role.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn a_role_is_assumed_by_those_it_trusts() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let blue = site.session("team-blue").await;
    site.create("prod/team-red/secret", "prod").await;
    let trust = |condition| {
        let mut trust = policy(&json!({
            "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": { "AWS": role_arn("team-red") },
        }));
        trust["Statement"][0]["Condition"] = condition;
        trust
    };
    site.role("open", &trust(json!({}))).await;
    site.role(
        "guarded",
        &trust(json!({ "StringEquals": { "sts:ExternalId": "4711" } })),
    )
    .await;
    let prod = "arn:aws:secretsmanager:*:*:secret:prod/*";
    site.allow("guarded", &read(prod)).await;
    let assume = async |caller: &Caller, role: &str, more: &[(&str, &str)]| {
        let arn = role_arn(role);
        let params = [&[("RoleArn", arn.as_str()), ("RoleSessionName", "chained")], more].concat();
        site.sts(caller, "AssumeRole", &params).await
    };
    let id = ("ExternalId", "4711");

    for (who, caller, role, more) in [
        ("team-blue", &blue, "open", &[][..]),
        ("team-blue", &blue, "guarded", &[id]),
        ("team-red", &red, "guarded", &[]),
        ("team-red", &red, "guarded", &[("ExternalId", "4712")]),
        ("team-red", &red, "missing", &[]),
    ] {
        let (answer, call) = site.logged(assume(caller, role, more)).await;
        let message = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
            session_arn(who),
            role_arn(role)
        );
        assert_eq!(
            answer.error(),
            (403, "AccessDenied".to_owned(), message),
            "{who} {role}"
        );
        assert_eq!(call.verdict, CallVerdict::Denied, "{who} {role}");
    }
    let (_, code, message) = assume(&red, "guarded", &[id, ("DurationSeconds", "7200")])
        .await
        .error();
    assert_eq!(
        code, "ValidationError",
        "an hour is the most for a role assumed by a role: {message}"
    );

    for (role, more) in [("open", &[][..]), ("guarded", &[id])] {
        let answer = assume(&red, role, more).await;
        assert_eq!(answer.status, 200, "{role}: {}", answer.text);
        let who = site.sts(&answer.caller(), "GetCallerIdentity", &[]).await;
        assert_eq!(
            who.xml("Arn").unwrap(),
            session_arn(role).replace(SESSION, "chained")
        );
    }
    let guarded = assume(&red, "guarded", &[id]).await.caller();
    assert_eq!(
        site.get(&guarded, "prod/team-red/secret").await.value_or_code(),
        "prod"
    );
    let own = site.get(&guarded, "demo/team-red/secret").await;
    assert_eq!(own.code(), "AccessDeniedException", "it is no longer team-red");
}
