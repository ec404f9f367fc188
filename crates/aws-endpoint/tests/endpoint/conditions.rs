//! Condition keys: there when the request, the caller or the secret has them, and only then.

use serde_json::{Value, json};

use crate::support::{ACCOUNT, ELSEWHERE, GET, REGION, SESSION, Site, policy, role_arn, secret_arn};

/// A policy that allows an action under a condition.
fn when(action: &Value, condition: &Value) -> Value {
    policy(&json!({ "Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition }))
}

#[tokio::test]
async fn conditions_see_the_request() {
    let (site, red) = Site::with_red().await;
    let id = json!({ "SecretId": "demo/team-red/secret" });
    let staged = json!({ "SecretId": "demo/team-red/secret", "VersionStage": "AWSCURRENT" });
    let tag = json!([{ "Key": "team", "Value": "red" }]);
    site.done(
        "TagResource",
        json!({ "SecretId": "demo/team-red/secret", "Tags": tag }),
    )
    .await;
    let role = role_arn("team-red");
    let provider = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/127.0.0.1:*");
    let cases = [
        (
            json!({ "StringEquals": { "aws:RequestedRegion": REGION } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "aws:RequestedRegion": ELSEWHERE } }),
            &id,
            false,
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "127.0.0.0/8" } }),
            &id,
            true,
        ),
        (
            json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } }),
            &id,
            false,
        ),
        (json!({ "Bool": { "aws:SecureTransport": "true" } }), &id, true),
        (json!({ "Bool": { "aws:SecureTransport": "false" } }), &id, false),
        (json!({ "ArnEquals": { "aws:PrincipalArn": role } }), &id, true),
        (
            json!({ "ArnEquals": { "aws:PrincipalArn": role_arn("team-blue") } }),
            &id,
            false,
        ),
        (
            json!({ "StringEquals": { "aws:PrincipalAccount": ACCOUNT } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "aws:ResourceAccount": "${aws:PrincipalAccount}" } }),
            &id,
            true,
        ),
        (
            json!({ "DateGreaterThan": { "aws:TokenIssueTime": "2020-01-01T00:00:00Z" } }),
            &id,
            true,
        ),
        (
            json!({ "DateGreaterThan": { "aws:TokenIssueTime": "2099-01-01T00:00:00Z" } }),
            &id,
            false,
        ),
        // Nobody knows what it would be.
        (json!({ "StringEquals": { "aws:MadeUp": "x" } }), &id, false),
        (json!({ "StringNotEquals": { "aws:MadeUp": "x" } }), &id, false),
        (
            json!({ "StringEquals": { "aws:PrincipalType": "AssumedRole" } }),
            &id,
            true,
        ),
        (
            json!({ "StringLike": { "aws:userid": format!("AROA*:{SESSION}") } }),
            &id,
            true,
        ),
        (
            json!({ "StringLike": { "aws:FederatedProvider": provider } }),
            &id,
            true,
        ),
        (
            json!({ "DateGreaterThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }),
            &id,
            true,
        ),
        (
            json!({ "DateLessThan": { "aws:CurrentTime": "2020-01-01T00:00:00Z" } }),
            &id,
            false,
        ),
        (
            json!({ "DateGreaterThan": { "aws:CurrentTime": "2099-01-01T00:00:00Z" } }),
            &id,
            false,
        ),
        (
            json!({ "NumericGreaterThan": { "aws:EpochTime": "1500000000" } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "secretsmanager:VersionStage": "AWSCURRENT" } }),
            &staged,
            true,
        ),
        // Not in the context unless the request names a stage.
        (
            json!({ "StringEquals": { "secretsmanager:VersionStage": "AWSCURRENT" } }),
            &id,
            false,
        ),
        (
            json!({ "Null": { "secretsmanager:VersionStage": "true" } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "aws:ResourceTag/team": "red" } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "secretsmanager:ResourceTag/team": "blue" } }),
            &id,
            false,
        ),
        // The key is the stored ARN, in whatever form the caller names the secret.
        (
            json!({ "ArnLike": { "secretsmanager:SecretId": secret_arn("demo/team-red/secret-??????") } }),
            &id,
            true,
        ),
        (
            json!({ "ArnLike": { "secretsmanager:SecretId": "arn:aws:secretsmanager:*:*:secret:demo/team-red/*" } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "secretsmanager:SecretId": "demo/team-red/secret" } }),
            &id,
            false,
        ),
    ];
    for (condition, input, allowed) in cases {
        site.allow("team-red", &when(&json!(GET), &condition)).await;
        let answer = site.secrets(&red, "GetSecretValue", input.clone()).await;
        assert_eq!(answer.status == 200, allowed, "{condition}: {}", answer.text);
    }
}

#[tokio::test]
async fn tags_of_the_secret_and_of_the_role_decide() {
    let (site, red) = Site::with_red().await;
    let condition = json!({ "StringEquals": { "aws:ResourceTag/team": "${aws:PrincipalTag/team}" } });
    site.allow("team-red", &when(&json!(GET), &condition)).await;
    let id = "demo/team-red/secret";
    let tag_secret = async |value: &str| {
        let tags = json!([{ "Key": "team", "Value": value }]);
        site.done("TagResource", json!({ "SecretId": id, "Tags": tags }))
            .await;
    };
    assert_eq!(site.get(&red, id).await.code(), "AccessDeniedException");
    let tag_role = [
        ("RoleName", "team-red"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
    ];
    site.iam("TagRole", &tag_role).await;
    assert_eq!(site.get(&red, id).await.code(), "AccessDeniedException");
    tag_secret("blue").await;
    assert_eq!(site.get(&red, id).await.code(), "AccessDeniedException");
    tag_secret("red").await;
    assert_eq!(site.get(&red, id).await.status, 200);
}

#[tokio::test]
async fn tags_of_the_request_decide() {
    let (site, red) = Site::with_red().await;
    let condition = json!({
        "StringEquals": { "aws:RequestTag/team": "red" },
        "ForAllValues:StringEquals": { "aws:TagKeys": ["team"] },
    });
    let actions = json!(["secretsmanager:CreateSecret", "secretsmanager:TagResource"]);
    site.allow("team-red", &when(&actions, &condition)).await;
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    for (name, tags, allowed) in [
        ("right", json!([tag("team", "red")]), true),
        ("other", json!([tag("team", "blue")]), false),
        ("more", json!([tag("team", "red"), tag("more", "x")]), false),
        ("none", json!([]), false),
    ] {
        let answer = site
            .secrets(&red, "CreateSecret", json!({ "Name": name, "Tags": tags }))
            .await;
        assert_eq!(answer.status == 200, allowed, "{name}: {}", answer.text);
    }
}
