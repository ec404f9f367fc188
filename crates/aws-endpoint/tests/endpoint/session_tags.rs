//! What is asked of STS for a session beside its role: tags, policies, a source identity, a duration.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::{Site, policy, read, role_arn, secret_arn, session_arn};

impl Site {
    /// A role that `team-red`'s sessions may assume, with these actions.
    async fn next(&self, name: &str, actions: Value) {
        let trust =
            json!({ "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") }, "Action": actions });
        self.role(name, &policy(&trust)).await;
    }
}

fn call<'a>(role: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("RoleArn", role), ("RoleSessionName", "next")][..], more].concat()
}

const TAG: [(&str, &str); 2] = [("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "red")];

#[tokio::test]
async fn a_session_is_tagged_by_those_who_may_tag_it() {
    let (site, red) = Site::with_red().await;
    site.next("plain", json!("sts:AssumeRole")).await;
    site.next("tagged", json!(["sts:AssumeRole", "sts:TagSession"]))
        .await;
    for team in ["red", "blue"] {
        site.create(&format!("demo/{team}/x"), team).await;
    }
    site.allow("tagged", &read(&secret_arn("demo/${aws:PrincipalTag/team}/*")))
        .await;
    let plain = role_arn("plain");
    let refused = site.sts(&red, "AssumeRole", &call(&plain, &TAG)).await;
    let text = format!(
        "User: {} is not authorized to perform: sts:TagSession on resource: {plain}",
        session_arn("team-red")
    );
    assert_eq!(refused.error(), (403, "AccessDenied".to_owned(), text));
    let tagged = role_arn("tagged");
    let answer = site.sts(&red, "AssumeRole", &call(&tagged, &TAG)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.xml("PackedPolicySize").as_deref(), Some("2"));
    let session = answer.caller();
    assert_eq!(site.get(&session, "demo/red/x").await.value_or_code(), "red");
    assert_eq!(
        site.get(&session, "demo/blue/x").await.value_or_code(),
        "AccessDeniedException"
    );
}

#[tokio::test]
async fn transitive_tags_go_on_and_cannot_be_changed() {
    let (site, red) = Site::with_red().await;
    let trust = |principal: &str| {
        policy(
            &json!({ "Effect": "Allow", "Principal": { "AWS": principal }, "Action": ["sts:AssumeRole", "sts:TagSession"] }),
        )
    };
    site.role("first", &trust(&role_arn("team-red"))).await;
    site.role("second", &trust(&role_arn("first"))).await;
    site.create("demo/red/x", "red").await;
    site.allow("second", &read(&secret_arn("demo/${aws:PrincipalTag/team}/*")))
        .await;
    let (first, second) = (role_arn("first"), role_arn("second"));
    for (transitive, expected) in [(true, "red"), (false, "AccessDeniedException")] {
        let mut params = call(&first, &TAG);
        if transitive {
            params.push(("TransitiveTagKeys.member.1", "team"));
        }
        let session = site.sts(&red, "AssumeRole", &params).await.caller();
        let next = site.sts(&session, "AssumeRole", &call(&second, &[])).await;
        assert_eq!(next.status, 200, "{}", next.text);
        assert_eq!(
            site.get(&next.caller(), "demo/red/x").await.value_or_code(),
            expected
        );
        let other = [("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "blue")];
        let changed = site.sts(&session, "AssumeRole", &call(&second, &other)).await;
        if transitive {
            let text = "One of the specified transitive tag keys can't be set because it conflicts with a transitive \
                        tag key from the calling session.";
            assert_eq!(
                changed.error(),
                (400, "InvalidParameterValue".to_owned(), text.to_owned())
            );
        } else {
            assert_eq!(changed.status, 200, "{}", changed.text);
        }
    }
}

#[tokio::test]
async fn what_a_call_asks_for_has_limits() {
    let (site, red) = Site::with_red().await;
    site.next("next", json!(["sts:AssumeRole", "sts:TagSession"]))
        .await;
    let next = role_arn("next");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(2048));
    let (chained, name) = (
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        "1 validation error detected: Value",
    );
    for (more, code, text) in [
        (("DurationSeconds", "3601"), "ValidationError", chained),
        (("DurationSeconds", "899"), "ValidationError", name),
        (
            ("Policy", long.as_str()),
            "ValidationError",
            "1 validation error detected: Value at 'policy' failed",
        ),
        (("Policy", "{"), "MalformedPolicyDocument", ""),
        (("RoleSessionName", "a b"), "ValidationError", name),
        (
            ("RoleArn", "arn:aws:iam::1:user/abc"),
            "ValidationError",
            "Request ARN is invalid",
        ),
        (
            ("TransitiveTagKeys.member.1", "team"),
            "InvalidParameterValue",
            "The transitive tag key team",
        ),
    ] {
        let answer = site.sts(&red, "AssumeRole", &call(&next, &[more])).await;
        let (status, given, message) = answer.error();
        assert_eq!((status, given.as_str()), (400, code), "{more:?}: {message}");
        assert!(message.starts_with(text), "{more:?}: {message}");
    }
    let value = "x".repeat(256);
    let pairs: Vec<[String; 2]> = (1..=4)
        .map(|n| [format!("Tags.member.{n}.Key"), format!("Tags.member.{n}.Value")])
        .collect();
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for (number, [key, text]) in ["a", "b", "c", "d"].iter().zip(&pairs) {
        tags.extend([(key.as_str(), *number), (text.as_str(), value.as_str())]);
    }
    let answer = site.sts(&red, "AssumeRole", &call(&next, &tags)).await;
    let text = "Packed size of session tags consumes 228% of allotted space.".to_owned();
    assert_eq!(answer.error(), (400, "PackedPolicyTooLarge".to_owned(), text));
}

#[tokio::test]
async fn a_token_is_not_too_long_and_no_access_token_and_its_text_is_not_repeated() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let long = "x".repeat(20_001);
    let answer = site.assume("team-red", &long, &[]).await;
    let text = "1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: Member must \
                have length less than or equal to 20000";
    assert_eq!(
        answer.error(),
        (400, "ValidationError".to_owned(), text.to_owned())
    );
    let genuine = site.issuer.token_of("team-red");
    let answer = site
        .assume("team-red", &genuine, &[("ProviderId", "graph.facebook.com")])
        .await;
    assert_eq!(
        (answer.error().0, answer.code().as_str()),
        (403, "IDPRejectedClaim")
    );
    site.endpoint.deactivate_sts(&[crate::support::REGION]);
    let answer = site.assume("team-red", &genuine, &[]).await;
    assert_eq!(
        (answer.error().0, answer.code().as_str()),
        (403, "RegionDisabledException")
    );
    site.endpoint.deactivate_sts(&[]);
    assert_eq!(site.assume("team-red", &genuine, &[]).await.status, 200);
}

#[tokio::test]
async fn forged_key_ids_do_not_make_us_hammer_an_issuer() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    assert_eq!(
        site.assume("team-red", &site.issuer.token_of("team-red"), &[])
            .await
            .status,
        200
    );
    for number in 0..30 {
        let forged = site
            .issuer
            .key()
            .sign_as(Some(&format!("forged-{number}")), &site.issuer.claims("team-red"));
        assert_eq!(
            site.assume("team-red", &forged, &[]).await.code(),
            "InvalidIdentityToken"
        );
    }
    let [_, fetched] = site.issuer.fetched();
    assert!(
        (2..=10).contains(&fetched),
        "asked {fetched} times for 30 forged ids"
    );
    let genuine = site.issuer.token_of("team-red");
    assert_eq!(
        site.assume("team-red", &genuine, &[]).await.status,
        200,
        "known keys still count"
    );
}

#[tokio::test]
async fn an_expired_token_is_accepted_only_by_the_planted_defect() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    site.later(SignedDuration::from_hours(1));
    assert_eq!(
        site.assume("team-red", &token, &[]).await.code(),
        "ExpiredTokenException"
    );
    let defects = mountproof_aws_endpoint::Defects {
        accept_expired_token: true,
        ..Default::default()
    };
    site.endpoint.set_defects(defects);
    assert_eq!(site.assume("team-red", &token, &[]).await.status, 200);
}
