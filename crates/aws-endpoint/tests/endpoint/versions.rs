//! Versions of a value, and the stages that say which is which.

use serde_json::{Value, json};

use crate::support::Site;

fn token(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

async fn value(site: &Site, id: &str) -> String {
    site.get(&site.root, id).await.value_or_code()
}

/// The stages of each version, by version.
async fn stages(site: &Site, id: &str) -> Value {
    let mut stages =
        site.done("DescribeSecret", json!({ "SecretId": id })).await["VersionIdsToStages"].clone();
    for labels in stages.as_object_mut().unwrap().values_mut() {
        labels
            .as_array_mut()
            .unwrap()
            .sort_by_key(|label| label.as_str().map(ToOwned::to_owned));
    }
    stages
}

#[tokio::test]
async fn putting_a_value_moves_the_stages() {
    let site = Site::start().await;
    for n in 1..=3 {
        let (operation, name) = if n == 1 {
            ("CreateSecret", "Name")
        } else {
            ("PutSecretValue", "SecretId")
        };
        let put = site
            .done(
                operation,
                json!({ name: "s", "SecretString": n.to_string(), "ClientRequestToken": token(n) }),
            )
            .await;
        assert_eq!(put["VersionId"], json!(token(n)));
    }
    assert_eq!(
        stages(&site, "s").await,
        json!({ (token(3)): ["AWSCURRENT"], (token(2)): ["AWSPREVIOUS"] })
    );
    assert_eq!(value(&site, "s").await, "3");
    let previous = site
        .done(
            "GetSecretValue",
            json!({ "SecretId": "s", "VersionStage": "AWSPREVIOUS" }),
        )
        .await;
    assert_eq!(previous["SecretString"], "2");
    let first = site
        .done(
            "GetSecretValue",
            json!({ "SecretId": "s", "VersionId": token(1) }),
        )
        .await;
    assert_eq!(first["SecretString"], "1");

    let listed = site
        .done("ListSecretVersionIds", json!({ "SecretId": "s" }))
        .await;
    assert_eq!(
        listed["Versions"].as_array().unwrap().len(),
        2,
        "a version without stages is deprecated"
    );
    let all = site
        .done(
            "ListSecretVersionIds",
            json!({ "SecretId": "s", "IncludeDeprecated": true }),
        )
        .await;
    assert_eq!(all["Versions"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_pending_value_is_not_served_until_its_stage_is_moved() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "1", "ClientRequestToken": token(1) }),
    )
    .await;
    let pending = json!({
        "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(2), "VersionStages": ["AWSPENDING"],
    });
    let put = site.done("PutSecretValue", pending).await;
    assert_eq!(put["VersionStages"], json!(["AWSPENDING"]));
    assert_eq!(value(&site, "s").await, "1");
    let moved = json!({
        "SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(2), "RemoveFromVersionId": token(1),
    });
    site.done("UpdateSecretVersionStage", moved).await;
    assert_eq!(value(&site, "s").await, "2");
    assert_eq!(
        stages(&site, "s").await,
        json!({ (token(2)): ["AWSCURRENT", "AWSPENDING"], (token(1)): ["AWSPREVIOUS"] })
    );
    // Back again: what AWS documents for undoing a rotation.
    let back = json!({
        "SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(1), "RemoveFromVersionId": token(2),
    });
    site.done("UpdateSecretVersionStage", back).await;
    assert_eq!(value(&site, "s").await, "1");
}

#[tokio::test]
async fn stages_of_ones_own_and_what_must_not_be_moved() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "1", "ClientRequestToken": token(1) }),
    )
    .await;
    site.done(
        "PutSecretValue",
        json!({ "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(2) }),
    )
    .await;
    let label = |more: Value| {
        let mut input = json!({ "SecretId": "s", "VersionStage": "blessed" });
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    site.done(
        "UpdateSecretVersionStage",
        label(json!({ "MoveToVersionId": token(1) })),
    )
    .await;
    let blessed = site
        .done(
            "GetSecretValue",
            json!({ "SecretId": "s", "VersionStage": "blessed" }),
        )
        .await;
    assert_eq!(blessed["SecretString"], "1");
    for input in [
        // Held by another version, which has to be named.
        label(json!({ "MoveToVersionId": token(2) })),
        label(json!({ "MoveToVersionId": token(2), "RemoveFromVersionId": token(3) })),
        label(json!({ "RemoveFromVersionId": token(2) })),
        label(json!({ "MoveToVersionId": token(9), "RemoveFromVersionId": token(1) })),
        // The current version has to be some version.
        json!({ "SecretId": "s", "VersionStage": "AWSCURRENT", "RemoveFromVersionId": token(2) }),
    ] {
        let answer = site
            .secrets(&site.root, "UpdateSecretVersionStage", input.clone())
            .await;
        assert_eq!(answer.status, 400, "{input}: {}", answer.text);
    }
    site.done(
        "UpdateSecretVersionStage",
        label(json!({ "RemoveFromVersionId": token(1) })),
    )
    .await;
    let gone = site
        .secrets(
            &site.root,
            "GetSecretValue",
            json!({ "SecretId": "s", "VersionStage": "blessed" }),
        )
        .await;
    assert_eq!(gone.code(), "ResourceNotFoundException");
}

#[tokio::test]
async fn a_token_makes_a_call_safe_to_repeat() {
    let site = Site::start().await;
    let create = json!({ "Name": "s", "SecretString": "1", "ClientRequestToken": token(1) });
    let first = site.done("CreateSecret", create.clone()).await;
    assert_eq!(
        site.done("CreateSecret", create).await,
        first,
        "the same token and value is the same call"
    );
    let arn = first["ARN"].as_str().unwrap();
    let taken = format!(
        "You can't use ClientRequestToken {} because that value is already in use for a version of secret {arn}.",
        token(1)
    );
    for (operation, input) in [
        (
            "PutSecretValue",
            json!({ "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(1) }),
        ),
        (
            "UpdateSecret",
            json!({ "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(1) }),
        ),
    ] {
        let answer = site.secrets(&site.root, operation, input).await;
        assert_eq!(
            answer.error(),
            (400, "ResourceExistsException".to_owned(), taken.clone()),
            "{operation}"
        );
    }
    let put = json!({ "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(2) });
    site.done("PutSecretValue", put.clone()).await;
    site.done("PutSecretValue", put).await;
    assert_eq!(
        stages(&site, "s").await,
        json!({ (token(2)): ["AWSCURRENT"], (token(1)): ["AWSPREVIOUS"] })
    );
}
