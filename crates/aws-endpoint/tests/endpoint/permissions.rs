//! Who may do what to which secret: decided on the stored ARN, whatever the caller calls it.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, Answer, Caller, ELSEWHERE, GET, REGION, Site, denied, no_identity_policy, policy, read,
    read_own, secret_arn, session_arn,
};

#[tokio::test]
async fn a_tenant_reads_its_own_secret_by_every_name_of_it() {
    let (site, red) = Site::with_red().await;
    let described = site
        .done("DescribeSecret", json!({ "SecretId": "demo/team-red/secret" }))
        .await;
    let arn = described["ARN"].as_str().unwrap();
    let prefix = secret_arn("demo/team-red/secret");
    assert!(arn.starts_with(&format!("{prefix}-")), "{arn}");
    for id in ["demo/team-red/secret", arn, &prefix] {
        let (answer, call) = site.logged(site.get(&red, id)).await;
        assert_eq!(answer.value_or_code(), "value of team-red", "{id}");
        assert_eq!(call.verdict, CallVerdict::Allowed, "{id}");
        assert_eq!(call.asked.as_deref(), Some(id));
        assert_eq!(
            call.resource.as_deref(),
            Some(arn),
            "the stored ARN, however it was named"
        );
        let pattern = format!("arn:aws:secretsmanager:*:{ACCOUNT}:secret:demo/team-red/*");
        assert_eq!(
            call.statement.unwrap().to_string(),
            format!("statement 1 of team-red-policy: Allow Resource {pattern}")
        );
    }
}

#[tokio::test]
async fn a_denial_names_caller_action_resource_and_reason() {
    let (site, red) = Site::with_red().await;
    let blue = site.tenant("team-blue").await;
    let red2 = site.tenant("team-red2").await;
    let prefix = blue.rsplit_once('-').unwrap().0;
    for (operation, id, stored) in [
        ("GetSecretValue", "demo/team-blue/secret", Some(&blue)),
        ("GetSecretValue", &blue, Some(&blue)),
        ("GetSecretValue", prefix, Some(&blue)),
        ("DescribeSecret", "demo/team-blue/secret", Some(&blue)),
        ("PutSecretValue", "demo/team-red/secret", None),
        ("GetSecretValue", "demo/team-red2/secret", Some(&red2)),
        // What does not exist is no business of those who could not read it if it did.
        ("GetSecretValue", "demo/team-blue/missing", None),
        ("GetSecretValue", "demo/team-red", None),
    ] {
        let (answer, call) = site
            .logged(site.secrets(&red, operation, json!({ "SecretId": id })))
            .await;
        let action = format!("secretsmanager:{operation}");
        let text = denied("team-red", &action, id, &no_identity_policy(&action));
        let expected = (400, "AccessDeniedException".to_owned(), text);
        assert_eq!(answer.error(), expected, "{operation} {id}");
        assert_eq!(answer.json().get("SecretString"), None, "{operation} {id}");
        assert_eq!(call.verdict, CallVerdict::Denied, "{operation} {id}");
        assert_eq!(call.principal, Some(session_arn("team-red").into()));
        assert_eq!(call.role.as_deref(), Some("team-red"));
        assert_eq!(call.asked.as_deref(), Some(id));
        if stored.is_some() {
            assert_eq!(
                call.resource.as_ref(),
                stored,
                "the stored ARN, however it was named"
            );
        }
        assert_eq!(
            (call.status, call.error.as_deref()),
            (400, Some("AccessDeniedException"))
        );
        assert_eq!(call.statement, None, "{operation} {id}");
        let reason = call.reason.unwrap();
        assert!(reason.contains("no identity-based policy allows"), "{reason}");
        assert!(
            reason.contains("statement 1 of team-red-policy"),
            "the one that came closest: {reason}"
        );
    }
    // Inside the grant, what does not exist is said not to.
    let (answer, call) = site.logged(site.get(&red, "demo/team-red/missing")).await;
    let text = "Secrets Manager can't find the specified secret.";
    assert_eq!(
        answer.error(),
        (400, "ResourceNotFoundException".to_owned(), text.to_owned())
    );
    assert_eq!(call.verdict, CallVerdict::Failed);
}

#[tokio::test]
async fn only_the_actions_named_are_granted() {
    let (site, red) = Site::with_red().await;
    let id = "demo/team-red/secret";
    let described = site
        .secrets(&red, "DescribeSecret", json!({ "SecretId": id }))
        .await;
    assert_eq!(described.status, 200);
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
        ("ValidateResourcePolicy", json!({ "ResourcePolicy": "{}" })),
    ] {
        input["SecretId"] = json!(id);
        let action = format!("secretsmanager:{operation}");
        let text = denied("team-red", &action, id, &no_identity_policy(&action));
        let answer = site.secrets(&red, operation, input).await;
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
        let answer = site.secrets(&red, operation, input).await;
        assert_eq!(answer.code(), "AccessDeniedException", "{operation}");
    }
    assert_eq!(
        site.get(&site.root, id).await.value_or_code(),
        "value of team-red"
    );
}

#[tokio::test]
async fn policies_match_the_stored_arn_with_its_suffix() {
    let (site, red) = Site::with_red().await;
    let elsewhere = secret_arn("demo/team-red/*").replace(REGION, ELSEWHERE);
    for (resource, allowed) in [
        (secret_arn("demo/team-red/secret-??????"), true),
        (secret_arn("demo/team-red/secret-*"), true),
        (secret_arn("demo/team-red/secret*"), true),
        (secret_arn("demo/team-red/*"), true),
        (secret_arn("demo/team-re*"), true),
        (secret_arn("demo/*/secret-??????"), true),
        (secret_arn("demo/team-red/secret"), false),
        (secret_arn("demo/team-red/secret-????"), false),
        (secret_arn("demo/team-red/secret-?????"), false),
        (secret_arn("demo/team-red/secret-???????"), false),
        (secret_arn("demo/team-red"), false),
        (secret_arn("Demo/team-red/*"), false),
        (secret_arn("DEMO/team-red/*"), false),
        (secret_arn("demo/team-blue/*"), false),
        (elsewhere, false),
    ] {
        site.allow("team-red", &read(&resource)).await;
        let answer = site.get(&red, "demo/team-red/secret").await;
        assert_eq!(answer.status == 200, allowed, "{resource}: {}", answer.text);
    }
}

#[tokio::test]
async fn not_action_and_not_resource_are_everything_else() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let (own, other) = ("demo/team-red/secret", "demo/team-blue/secret");
    for (statement, own_allowed, other_allowed) in [
        (
            json!({ "Effect": "Allow", "NotAction": "iam:*", "Resource": secret_arn("demo/team-red/*") }),
            true,
            false,
        ),
        (
            json!({ "Effect": "Allow", "NotAction": "secretsmanager:Get*", "Resource": "*" }),
            false,
            false,
        ),
        (
            json!({ "Effect": "Allow", "Action": GET, "NotResource": secret_arn("demo/team-red/*") }),
            false,
            true,
        ),
        (
            json!({ "Effect": "Allow", "Action": GET, "NotResource": secret_arn("demo/team-blue/*") }),
            true,
            false,
        ),
    ] {
        site.allow("team-red", &policy(&statement)).await;
        for (id, allowed) in [(own, own_allowed), (other, other_allowed)] {
            let answer = site.get(&red, id).await;
            assert_eq!(
                answer.status == 200,
                allowed,
                "{id} by {statement}: {}",
                answer.text
            );
        }
    }
}

async fn batch(site: &Site, caller: &Caller, input: Value) -> Answer {
    site.secrets(caller, "BatchGetSecretValue", input).await
}

#[tokio::test]
async fn a_batch_gives_no_more_than_single_calls_would() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let ids = [
        "demo/team-red/secret",
        "demo/team-blue/secret",
        "demo/team-red/missing",
        "demo/team-blue/missing",
    ];
    let named = json!({ "SecretIdList": ids });
    let refused = batch(&site, &red, named.clone()).await;
    assert_eq!(
        refused.code(),
        "AccessDeniedException",
        "the batch itself has to be allowed"
    );

    let mut both = read_own("team-red");
    both["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Allow", "Action": ["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"], "Resource": "*",
    }));
    site.allow("team-red", &both).await;
    let answer = batch(&site, &red, named).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(!answer.text.contains("value of team-blue"), "{}", answer.text);
    let answer = answer.json();
    let values = answer["SecretValues"].as_array().unwrap();
    assert_eq!(values.len(), 1);
    assert_eq!(values[0]["SecretString"], "value of team-red");
    let errors: Vec<[&str; 2]> = answer["Errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| ["SecretId", "ErrorCode"].map(|key| error[key].as_str().unwrap()))
        .collect();
    assert_eq!(
        errors,
        [
            [ids[1], "AccessDeniedException"],
            [ids[2], "ResourceNotFoundException"],
            [ids[3], "AccessDeniedException"],
        ]
    );

    let filter = json!({ "Filters": [{ "Key": "name", "Values": ["demo/"] }] });
    let answer = batch(&site, &red, filter).await.json();
    assert_eq!(answer["SecretValues"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["Errors"].as_array().unwrap().len(), 1, "{answer}");
}

#[tokio::test]
async fn a_secret_is_made_with_tags_only_by_those_who_may_tag_it() {
    let (site, red) = Site::with_red().await;
    let create = json!({
        "Effect": "Allow", "Action": "secretsmanager:CreateSecret", "Resource": secret_arn("demo/team-red/*"),
    });
    site.allow("team-red", &policy(&create)).await;
    let create =
        |name: &str, tags: Value| site.secrets(&red, "CreateSecret", json!({ "Name": name, "Tags": tags }));
    assert_eq!(create("demo/team-red/plain", json!([])).await.status, 200);
    let other = create("demo/team-blue/plain", json!([])).await;
    assert_eq!(other.code(), "AccessDeniedException");
    let (_, code, message) = create("demo/team-red/tagged", json!([{ "Key": "a", "Value": "b" }]))
        .await
        .error();
    assert_eq!(code, "AccessDeniedException");
    assert!(message.contains("secretsmanager:TagResource"), "{message}");
}
