//! What the call log keeps of each call, and what it does not.

use std::time::Duration;

use jiff::Timestamp;
use mountproof_aws_endpoint::{CallVerdict, Fault, Latency};
use serde_json::json;

use crate::support::{GET, REGION, Site, provider_arn, role_arn, session_arn, subject};

#[tokio::test]
async fn a_call_is_logged_with_who_what_when_and_why() {
    let (site, red) = Site::with_red().await;
    let id = "demo/team-red/secret";
    let cursor = site.endpoint.calls().cursor();
    let latency = Duration::from_millis(20);
    site.endpoint
        .set_faults(Fault::Latency(Latency::Fixed(latency)).into());
    let before = Timestamp::now();
    let (answer, call) = site.logged(site.get(&red, id)).await;
    let after = Timestamp::now();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(call.sequence, cursor);
    assert!(
        (before..=after).contains(&call.at),
        "{before} {} {after}",
        call.at
    );
    assert!(call.took >= latency, "{:?}", call.took);
    assert_eq!(call.service, "secretsmanager");
    assert_eq!(call.operation, "GetSecretValue");
    assert_eq!(call.action(), GET);
    assert_eq!(call.region, REGION);
    assert_eq!(call.principal, Some(session_arn("team-red").into()));
    assert_eq!(call.role.as_deref(), Some("team-red"));
    assert_eq!(call.subject, None, "the token was shown to STS");
    assert_eq!(call.asked.as_deref(), Some(id));
    let arn = answer.json()["ARN"].as_str().unwrap().to_owned();
    assert_eq!(call.resource, Some(arn));
    assert_eq!(call.verdict, CallVerdict::Allowed);
    assert!(
        call.statement
            .unwrap()
            .to_string()
            .starts_with("statement 1 of team-red-policy: Allow Resource ")
    );
    assert_eq!((call.status, call.error, call.reason), (200, None, None));
}

#[tokio::test]
async fn the_log_holds_nothing_secret() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    let red = site.assume("team-red", &token, &[]).await.caller();
    site.get(&red, "demo/team-red/secret").await;
    let put = json!({ "SecretId": "demo/team-red/secret", "SecretString": "canary" });
    site.done("PutSecretValue", put).await;
    let calls = site.endpoint.calls().since(0);
    let log = format!("{calls:?}");
    let kept = [
        "value of team-red",
        "canary",
        &token,
        token.rsplit('.').next().unwrap(),
        &red.secret,
        red.token.as_deref().unwrap(),
        &site.root.secret,
    ];
    for secret in kept {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let shown = format!("{:?}", site.endpoint.root_credentials());
    assert!(!shown.contains(&site.root.secret), "{shown}");
    let assumed = calls
        .iter()
        .find(|call| call.operation == "AssumeRoleWithWebIdentity")
        .unwrap();
    assert_eq!(assumed.subject, Some(subject("team-red")));
    assert_eq!(assumed.verdict, CallVerdict::Allowed);
    assert_eq!(assumed.role.as_deref(), Some("team-red"));
    assert_eq!(assumed.resource, Some(role_arn("team-red")));
}

#[tokio::test]
async fn what_exists_is_listed_and_can_be_removed() {
    let site = Site::start().await;
    assert_eq!(site.endpoint.leftovers(), Vec::<String>::new());
    site.tenant("team-red").await;
    let provider = format!("oidc-provider {}", site.issuer.name());
    let expected = ["role team-red", provider.as_str(), "secret demo/team-red/secret"];
    assert_eq!(site.endpoint.leftovers(), expected);
    let delete = json!({ "SecretId": "demo/team-red/secret", "ForceDeleteWithoutRecovery": true });
    site.done("DeleteSecret", delete).await;
    site.remove_role("team-red").await;
    let arn = provider_arn(site.issuer.name());
    site.iam(
        "DeleteOpenIDConnectProvider",
        &[("OpenIDConnectProviderArn", &arn)],
    )
    .await;
    assert_eq!(site.endpoint.leftovers(), Vec::<String>::new());
}
