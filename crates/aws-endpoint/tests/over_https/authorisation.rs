//! Who may do what: policies on the stored ARN, and what the call log says about it.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use mountproof_aws_endpoint::{CallRecord, CallVerdict};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, Answer, Caller, REGION, Site, policy, role_arn, subject};

const GET: &str = "secretsmanager:GetSecretValue";

/// The text of a denial, for the session that [`Site::session`] makes.
fn denied(role: &str, action: &str, resource: &str, because: &str) -> String {
    format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/{role}/1764000000 is not authorized to perform: {action} on \
         resource: {resource} {because}"
    )
}

fn no_identity_policy(action: &str) -> String {
    format!("because no identity-based policy allows the {action} action")
}

async fn get(site: &Site, caller: &Caller, id: &str) -> Answer {
    site.secrets(caller, "GetSecretValue", json!({ "SecretId": id }))
        .await
}

/// The only call since `cursor`.
fn only_call(site: &Site, cursor: u64) -> CallRecord {
    let mut calls = site.endpoint.calls().since(cursor);
    assert_eq!(calls.len(), 1, "{calls:#?}");
    calls.remove(0)
}

#[tokio::test]
async fn a_tenant_reads_its_own_secret_and_no_other() {
    let site = Site::start().await;
    let red_arn = site.tenant("team-red").await;
    let blue_arn = site.tenant("team-blue").await;
    site.tenant("team-red2").await;
    let red = site.session("team-red").await;

    for id in ["demo/team-red/secret", &red_arn] {
        let cursor = site.endpoint.calls().cursor();
        let answer = get(&site, &red, id).await;
        assert_eq!(answer.json()["SecretString"], "value of team-red");
        let call = only_call(&site, cursor);
        assert_eq!(call.sequence, cursor);
        assert_eq!(
            (call.service, call.operation.as_str(), call.action.as_str()),
            ("secretsmanager", "GetSecretValue", GET)
        );
        assert_eq!(call.region, REGION);
        assert_eq!(call.verdict, CallVerdict::Allowed);
        assert_eq!(
            call.principal,
            Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/team-red/1764000000"))
        );
        assert_eq!(call.role.as_deref(), Some("team-red"));
        assert_eq!(call.asked.as_deref(), Some(id));
        assert_eq!(call.resource.as_deref(), Some(red_arn.as_str()));
        let pattern = format!("arn:aws:secretsmanager:*:{ACCOUNT}:secret:demo/team-red/*");
        assert_eq!(
            call.statement,
            Some(format!(
                "statement 1 of team-red-policy: Allow Resource {pattern}"
            ))
        );
        assert_eq!((call.status, call.error, call.reason), (200, None, None));
    }
    let missing = "demo/team-blue/missing";
    let prefix = blue_arn.rsplit_once('-').unwrap().0;
    for id in [
        "demo/team-blue/secret",
        &blue_arn,
        prefix,
        "demo/team-red2/secret",
        missing,
    ] {
        let cursor = site.endpoint.calls().cursor();
        let answer = get(&site, &red, id).await;
        let text = denied("team-red", GET, id, &no_identity_policy(GET));
        assert_eq!(
            answer.error(),
            (400, "AccessDeniedException".to_owned(), text),
            "{id}"
        );
        assert_eq!(answer.json().get("SecretString"), None);
        let call = only_call(&site, cursor);
        assert_eq!(call.verdict, CallVerdict::Denied);
        assert_eq!(call.role.as_deref(), Some("team-red"));
        assert_eq!(call.asked.as_deref(), Some(id));
        if id != missing && !id.contains("red2") {
            assert_eq!(
                call.resource.as_deref(),
                Some(blue_arn.as_str()),
                "the stored ARN, however it was named"
            );
        }
        assert_eq!(
            (call.status, call.error.as_deref(), call.statement),
            (400, Some("AccessDeniedException"), None)
        );
        assert!(call.reason.unwrap().contains("no identity-based policy allows"));
    }
    // Inside the grant, what does not exist is said not to.
    let cursor = site.endpoint.calls().cursor();
    assert_eq!(
        get(&site, &red, "demo/team-red/missing").await.code(),
        "ResourceNotFoundException"
    );
    assert_eq!(only_call(&site, cursor).verdict, CallVerdict::Failed);
}

#[tokio::test]
async fn only_the_actions_named_are_granted() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let id = "demo/team-red/secret";
    assert_eq!(
        site.secrets(&red, "DescribeSecret", json!({ "SecretId": id }))
            .await
            .status,
        200
    );
    for (operation, mut input) in [
        ("PutSecretValue", json!({ "SecretString": "x" })),
        ("UpdateSecret", json!({ "SecretString": "x" })),
        ("UpdateSecretVersionStage", json!({ "VersionStage": "X" })),
        ("DeleteSecret", json!({ "ForceDeleteWithoutRecovery": true })),
        ("RestoreSecret", json!({})),
        ("ListSecretVersionIds", json!({})),
        ("TagResource", json!({ "Tags": [{ "Key": "a", "Value": "b" }] })),
        ("UntagResource", json!({ "TagKeys": ["a"] })),
        ("GetResourcePolicy", json!({})),
        ("PutResourcePolicy", json!({ "ResourcePolicy": "{}" })),
        ("DeleteResourcePolicy", json!({})),
    ] {
        input["SecretId"] = json!(id);
        let action = format!("secretsmanager:{operation}");
        let answer = site.secrets(&red, operation, input).await;
        let text = denied("team-red", &action, id, &no_identity_policy(&action));
        assert_eq!(
            answer.error(),
            (400, "AccessDeniedException".to_owned(), text),
            "{operation}"
        );
    }
    for (operation, input) in [
        (
            "CreateSecret",
            json!({ "Name": "demo/team-red/new", "SecretString": "x" }),
        ),
        ("ListSecrets", json!({})),
        ("BatchGetSecretValue", json!({ "SecretIdList": [id] })),
        ("GetRandomPassword", json!({})),
    ] {
        assert_eq!(
            site.secrets(&red, operation, input).await.code(),
            "AccessDeniedException",
            "{operation}"
        );
    }
    for operation in ["ListRoles", "ListPolicies", "ListOpenIDConnectProviders"] {
        let answer = site.iam_as(&red, operation, &[]).await;
        assert_eq!(
            (answer.status, answer.code()),
            (403, "AccessDenied".to_owned()),
            "{operation}"
        );
        assert!(answer.message().contains(&format!(
            "is not authorized to perform: iam:{operation} on resource: "
        )));
    }
    assert_eq!(
        site.done("GetSecretValue", json!({ "SecretId": id })).await["SecretString"],
        "value of team-red"
    );
}

#[tokio::test]
async fn a_batch_gives_no_more_than_single_calls_would() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let batch = json!({ "Effect": "Allow", "Action": "secretsmanager:BatchGetSecretValue", "Resource": "*" });
    let own = crate::support::read_own("team-red")["Statement"][0].clone();
    site.allow(
        "team-red",
        &json!({ "Version": "2012-10-17", "Statement": [batch, own] }),
    )
    .await;
    let red = site.session("team-red").await;
    let ids = [
        "demo/team-red/secret",
        "demo/team-blue/secret",
        "demo/team-blue/missing",
    ];
    let answer = site
        .secrets(&red, "BatchGetSecretValue", json!({ "SecretIdList": ids }))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains("value of team-blue"), "{}", answer.text);
    let answer = answer.json();
    let values = answer["SecretValues"].as_array().unwrap();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0]["SecretString"], "value of team-red");
    let errors = answer["Errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2);
    for (error, id) in errors.iter().zip(&ids[1..]) {
        assert_eq!(
            (error["SecretId"].as_str(), error["ErrorCode"].as_str()),
            (Some(*id), Some("AccessDeniedException"))
        );
    }
}

/// A tenant whose policy is `statement`, and what its session gets for its own secret.
async fn with_statement(statement: Value, input: Value) -> Answer {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.allow("team-red", &policy(&statement)).await;
    let red = site.session("team-red").await;
    site.secrets(&red, "GetSecretValue", input).await
}

#[tokio::test]
async fn resources_match_the_stored_arn() {
    let id = json!({ "SecretId": "demo/team-red/secret" });
    for (resource, allowed) in [
        ("secret:demo/team-red/secret-??????", true),
        ("secret:demo/team-red/secret-*", true),
        ("secret:demo/team-red/secret*", true),
        ("secret:demo/team-red/*", true),
        ("secret:demo/*/secret-??????", true),
        ("secret:demo/team-red/secret", false),
        ("secret:demo/team-red/secret-?????", false),
        ("secret:demo/team-red/secret-???????", false),
        ("secret:demo/team-red", false),
        ("secret:Demo/team-red/*", false),
        ("secret:demo/team-blue/*", false),
    ] {
        let statement = json!({
            "Effect": "Allow", "Action": GET, "Resource": format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:{resource}"),
        });
        let answer = with_statement(statement, id.clone()).await;
        assert_eq!(answer.status == 200, allowed, "{resource}: {}", answer.text);
    }
}

#[tokio::test]
async fn conditions_see_the_request() {
    let id = json!({ "SecretId": "demo/team-red/secret" });
    let staged = json!({ "SecretId": "demo/team-red/secret", "VersionStage": "AWSCURRENT" });
    let role = role_arn("team-red");
    let cases = [
        (
            json!({ "StringEquals": { "aws:RequestedRegion": REGION } }),
            &id,
            true,
        ),
        (
            json!({ "StringEquals": { "aws:RequestedRegion": "eu-west-1" } }),
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
        (json!({ "ArnEquals": { "aws:PrincipalArn": role } }), &id, true),
        (
            json!({ "StringEquals": { "aws:PrincipalAccount": ACCOUNT } }),
            &id,
            true,
        ),
        (
            json!({ "StringLike": { "aws:userid": "AROA*:1764000000" } }),
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
            json!({ "StringLike": { "aws:FederatedProvider": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/*") } }),
            &id,
            true,
        ),
        (json!({ "StringEquals": { "aws:MadeUp": "x" } }), &id, false),
    ];
    for (condition, input, allowed) in cases {
        let statement = json!({ "Effect": "Allow", "Action": GET, "Resource": "*", "Condition": condition });
        let answer = with_statement(statement, input.clone()).await;
        assert_eq!(answer.status == 200, allowed, "{condition}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_id_of_a_secret_is_its_arn_in_conditions() {
    let pattern = "arn:aws:secretsmanager:*:*:secret:demo/team-red/*";
    let statement = json!({
        "Effect": "Allow", "Action": GET, "Resource": "*",
        "Condition": { "ArnLike": { "secretsmanager:SecretId": pattern } },
    });
    let answer = with_statement(statement, json!({ "SecretId": "demo/team-red/secret" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn tags_of_the_secret_and_of_the_role_decide() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let statement = json!({
        "Effect": "Allow", "Action": GET, "Resource": "*",
        "Condition": { "StringEquals": { "aws:ResourceTag/team": "${aws:PrincipalTag/team}" } },
    });
    site.allow("team-red", &policy(&statement)).await;
    let red = site.session("team-red").await;
    let id = "demo/team-red/secret";
    assert_eq!(get(&site, &red, id).await.code(), "AccessDeniedException");
    site.iam(
        "TagRole",
        &[
            ("RoleName", "team-red"),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", "red"),
        ],
    )
    .await;
    assert_eq!(get(&site, &red, id).await.code(), "AccessDeniedException");
    site.done(
        "TagResource",
        json!({ "SecretId": id, "Tags": [{ "Key": "team", "Value": "blue" }] }),
    )
    .await;
    assert_eq!(get(&site, &red, id).await.code(), "AccessDeniedException");
    site.done(
        "TagResource",
        json!({ "SecretId": id, "Tags": [{ "Key": "team", "Value": "red" }] }),
    )
    .await;
    assert_eq!(get(&site, &red, id).await.status, 200);
}

#[tokio::test]
async fn tags_of_the_request_decide() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let statement = json!({
        "Effect": "Allow", "Action": ["secretsmanager:CreateSecret", "secretsmanager:TagResource"], "Resource": "*",
        "Condition": {
            "StringEquals": { "aws:RequestTag/team": "red" },
            "ForAllValues:StringEquals": { "aws:TagKeys": ["team"] },
        },
    });
    site.allow("team-red", &policy(&statement)).await;
    let red = site.session("team-red").await;
    for (tags, allowed) in [
        (json!([{ "Key": "team", "Value": "red" }]), true),
        (json!([{ "Key": "team", "Value": "blue" }]), false),
        (
            json!([{ "Key": "team", "Value": "red" }, { "Key": "more", "Value": "x" }]),
            false,
        ),
        (json!([]), false),
    ] {
        let name = format!("demo/{}", tags.to_string().len());
        let answer = site
            .secrets(&red, "CreateSecret", json!({ "Name": name, "Tags": tags }))
            .await;
        assert_eq!(answer.status == 200, allowed, "{tags}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_explicit_denial_wins_and_says_where() {
    let site = Site::start().await;
    let arn = site.tenant("team-red").await;
    let id = "demo/team-red/secret";
    let red = site.session("team-red").await;
    let deny = json!({ "Effect": "Deny", "Action": GET, "Resource": arn });
    let mut own = crate::support::read_own("team-red");
    own["Statement"].as_array_mut().unwrap().push(deny.clone());
    site.allow("team-red", &own).await;
    let cursor = site.endpoint.calls().cursor();
    let text = denied(
        "team-red",
        GET,
        id,
        "with an explicit deny in an identity-based policy",
    );
    assert_eq!(get(&site, &red, id).await.message(), text);
    let statement = only_call(&site, cursor).statement.unwrap();
    assert_eq!(
        statement,
        format!("statement 2 of team-red-policy: Deny Resource {arn}")
    );

    site.allow("team-red", &crate::support::read_own("team-red"))
        .await;
    let mut everyone = deny;
    everyone["Principal"] = json!("*");
    let put = json!({ "SecretId": id, "ResourcePolicy": policy(&everyone).to_string() });
    site.done("PutResourcePolicy", put).await;
    let text = denied(
        "team-red",
        GET,
        id,
        "with an explicit deny in a resource-based policy",
    );
    assert_eq!(get(&site, &red, id).await.message(), text);
}

#[tokio::test]
async fn a_resource_policy_grants_where_no_identity_policy_does() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let red = site.session("team-red").await;
    let share = json!({
        "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") }, "Action": GET, "Resource": "*",
    });
    let put = json!({ "SecretId": "demo/team-blue/secret", "ResourcePolicy": policy(&share).to_string() });
    site.done("PutResourcePolicy", put).await;
    assert_eq!(
        get(&site, &red, "demo/team-blue/secret").await.json()["SecretString"],
        "value of team-blue"
    );
}

#[tokio::test]
async fn boundary_and_session_policy_limit() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let id = "demo/team-red/secret";
    let narrow =
        policy(&json!({ "Effect": "Allow", "Action": "secretsmanager:DescribeSecret", "Resource": "*" }))
            .to_string();
    let token = site.issuer.token_of("team-red");
    let limited = site
        .assume("team-red", &token, &[("Policy", &narrow)])
        .await
        .caller();
    let text = denied(
        "team-red",
        GET,
        id,
        &format!("because no session policy allows the {GET} action"),
    );
    assert_eq!(get(&site, &limited, id).await.message(), text);
    assert_eq!(
        site.secrets(&limited, "DescribeSecret", json!({ "SecretId": id }))
            .await
            .status,
        200
    );

    let made = site
        .iam(
            "CreatePolicy",
            &[("PolicyName", "fence"), ("PolicyDocument", &narrow)],
        )
        .await;
    let fence = made.xml("Arn").unwrap();
    let fenced = [("RoleName", "team-red"), ("PermissionsBoundary", fence.as_str())];
    assert_eq!(site.iam("PutRolePermissionsBoundary", &fenced).await.status, 200);
    let red = site.session("team-red").await;
    let text = denied(
        "team-red",
        GET,
        id,
        &format!("because no permissions boundary allows the {GET} action"),
    );
    assert_eq!(get(&site, &red, id).await.message(), text);
}

#[tokio::test]
async fn managed_policies_and_their_versions_decide() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let arn = site.tenant("team-blue").await;
    let red = site.session("team-red").await;
    let open =
        policy(&json!({ "Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*" })).to_string();
    let made = site
        .iam(
            "CreatePolicy",
            &[("PolicyName", "open"), ("PolicyDocument", &open)],
        )
        .await;
    let policy_arn = made.xml("Arn").unwrap();
    let attach = [("RoleName", "team-red"), ("PolicyArn", policy_arn.as_str())];
    assert_eq!(site.iam("AttachRolePolicy", &attach).await.status, 200);
    let cursor = site.endpoint.calls().cursor();
    assert_eq!(
        get(&site, &red, &arn).await.status,
        200,
        "what is attached counts at once"
    );
    assert_eq!(
        only_call(&site, cursor).statement.unwrap(),
        "statement 1 of open: Allow Resource *"
    );
    let shut = policy(&json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" })).to_string();
    let version = [
        ("PolicyArn", policy_arn.as_str()),
        ("PolicyDocument", &shut),
        ("SetAsDefault", "true"),
    ];
    assert_eq!(site.iam("CreatePolicyVersion", &version).await.status, 200);
    assert_eq!(get(&site, &red, &arn).await.code(), "AccessDeniedException");
}

#[tokio::test]
async fn the_log_holds_nothing_secret() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let token = site.issuer.token_of("team-red");
    let red = site.assume("team-red", &token, &[]).await.caller();
    get(&site, &red, "demo/team-red/secret").await;
    site.done(
        "PutSecretValue",
        json!({ "SecretId": "demo/team-red/secret", "SecretString": "canary" }),
    )
    .await;
    let log = format!("{:?}", site.endpoint.calls().since(0));
    let root = site.root();
    let kept = [
        "value of team-red",
        "canary",
        &token,
        &red.secret,
        red.token.as_deref().unwrap(),
        &root.secret,
    ];
    for secret in kept {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!log.contains(signature));
    assert!(!format!("{:?}", site.endpoint.root_credentials()).contains(&root.secret));
    let web_identity = site.endpoint.calls().since(0);
    let web_identity = web_identity
        .iter()
        .find(|call| call.operation == "AssumeRoleWithWebIdentity")
        .unwrap();
    assert_eq!(web_identity.subject, Some(subject("team-red")));
    assert_eq!(web_identity.verdict, CallVerdict::Allowed);
    assert_eq!(web_identity.role.as_deref(), Some("team-red"));
}

#[tokio::test]
async fn what_exists_is_listed_and_can_be_removed() {
    let site = Site::start().await;
    assert_eq!(site.endpoint.leftovers(), Vec::<String>::new());
    site.tenant("team-red").await;
    let left = site.endpoint.leftovers();
    for part in ["role team-red", "oidc-provider", "secret demo/team-red/secret"] {
        assert!(
            left.iter().any(|object| object.contains(part)),
            "{part}: {left:?}"
        );
    }
    site.done(
        "DeleteSecret",
        json!({ "SecretId": "demo/team-red/secret", "ForceDeleteWithoutRecovery": true }),
    )
    .await;
    site.iam(
        "DeleteRolePolicy",
        &[("RoleName", "team-red"), ("PolicyName", "team-red-policy")],
    )
    .await;
    site.iam("DeleteRole", &[("RoleName", "team-red")]).await;
    let provider = site.issuer.url.strip_prefix("https://").unwrap();
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}");
    let answer = site
        .iam(
            "DeleteOpenIDConnectProvider",
            &[("OpenIDConnectProviderArn", &arn)],
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(site.endpoint.leftovers(), Vec::<String>::new());
}
