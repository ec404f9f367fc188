//! How Secrets Manager keeps values: names, versions, stages, tokens, lists, tags, policies.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, REGION, Site, role_arn};

fn token(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

async fn value(site: &Site, id: &str) -> Value {
    site.done("GetSecretValue", json!({ "SecretId": id })).await["SecretString"].clone()
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
async fn a_secret_is_found_by_name_and_arn() {
    let site = Site::start().await;
    let arn = site.tenant("team-red").await;
    let prefix = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:demo/team-red/secret");
    let suffix = arn.strip_prefix(&prefix).unwrap();
    assert_eq!(suffix.len(), 7, "{arn}");
    assert!(
        suffix[1..].bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{arn}"
    );
    for id in ["demo/team-red/secret", &arn, &prefix] {
        let value = site.done("GetSecretValue", json!({ "SecretId": id })).await;
        assert_eq!(value["SecretString"], "value of team-red", "{id}");
        assert_eq!(value["ARN"], json!(arn));
        assert_eq!(value["Name"], "demo/team-red/secret");
        assert_eq!(value["VersionStages"], json!(["AWSCURRENT"]));
        assert!(value["CreatedDate"].is_number());
    }
    for id in [
        &format!("{prefix}-xxxxxx"),
        "demo/team-red/Secret",
        "demo/team-red/secre",
        "demo/team-red/secret/",
    ] {
        let answer = site
            .secrets(&site.root(), "GetSecretValue", json!({ "SecretId": id }))
            .await;
        assert_eq!(answer.code(), "ResourceNotFoundException", "{id}");
    }
    let elsewhere = site
        .secrets_in(
            "eu-west-1",
            &site.root(),
            "GetSecretValue",
            json!({ "SecretId": arn }),
        )
        .await;
    assert_eq!(elsewhere.status, 400, "an ARN of another region is not here");
}

#[tokio::test]
async fn a_name_that_ends_like_a_suffix_is_a_name() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "db-abcdef", "SecretString": "long" }),
    )
    .await;
    site.done("CreateSecret", json!({ "Name": "db", "SecretString": "short" }))
        .await;
    assert_eq!(value(&site, "db-abcdef").await, "long");
    assert_eq!(value(&site, "db").await, "short");
}

#[tokio::test]
async fn regions_keep_secrets_apart() {
    let site = Site::start().await;
    let root = site.root();
    for region in ["us-east-1", "eu-west-1"] {
        let answer = site
            .secrets_in(
                region,
                &root,
                "CreateSecret",
                json!({ "Name": "s", "SecretString": region }),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.json()["ARN"].as_str().unwrap().contains(region));
    }
    for region in ["us-east-1", "eu-west-1"] {
        let answer = site
            .secrets_in(region, &root, "GetSecretValue", json!({ "SecretId": "s" }))
            .await;
        assert_eq!(answer.json()["SecretString"], region);
    }
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
            .secrets(&site.root(), "UpdateSecretVersionStage", input.clone())
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
            &site.root(),
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
        let answer = site.secrets(&site.root(), operation, input).await;
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

#[tokio::test]
async fn bytes_are_kept_as_bytes() {
    let site = Site::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretBinary": STANDARD.encode(&bytes) }),
    )
    .await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_eq!(
        STANDARD.decode(value["SecretBinary"].as_str().unwrap()).unwrap(),
        bytes
    );
    assert_eq!(value.get("SecretString"), None);
    site.done(
        "PutSecretValue",
        json!({ "SecretId": "s", "SecretString": "text" }),
    )
    .await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_eq!(
        (value["SecretString"].as_str(), value.get("SecretBinary")),
        (Some("text"), None)
    );
}

#[tokio::test]
async fn updating_changes_what_it_names() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "1", "Description": "before" }),
    )
    .await;
    let described = site
        .done("UpdateSecret", json!({ "SecretId": "s", "Description": "after" }))
        .await;
    assert_eq!(described.get("VersionId"), None, "no new value, no new version");
    assert_eq!(value(&site, "s").await, "1");
    let changed = site
        .done("UpdateSecret", json!({ "SecretId": "s", "SecretString": "2" }))
        .await;
    assert!(changed["VersionId"].is_string());
    assert_eq!(value(&site, "s").await, "2");
    assert_eq!(
        site.done("DescribeSecret", json!({ "SecretId": "s" })).await["Description"],
        "after"
    );
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let site = Site::start().await;
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "Tags": [tag("team", "red")] }),
    )
    .await;
    site.done(
        "TagResource",
        json!({ "SecretId": "s", "Tags": [tag("team", "blue"), tag("run", "7f3k")] }),
    )
    .await;
    let tags = |described: Value| {
        let mut tags = described["Tags"].as_array().unwrap().clone();
        tags.sort_by_key(|tag| tag["Key"].as_str().map(ToOwned::to_owned));
        tags
    };
    let described = site.done("DescribeSecret", json!({ "SecretId": "s" })).await;
    assert_eq!(tags(described), [tag("run", "7f3k"), tag("team", "blue")]);
    site.done(
        "UntagResource",
        json!({ "SecretId": "s", "TagKeys": ["team", "absent"] }),
    )
    .await;
    let described = site.done("DescribeSecret", json!({ "SecretId": "s" })).await;
    assert_eq!(tags(described), [tag("run", "7f3k")]);
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let site = Site::start().await;
    for n in 0..7 {
        let tags = json!([{ "Key": if n % 2 == 0 { "even" } else { "odd" }, "Value": format!("v{n}") }]);
        let secret = json!({
            "Name": format!("demo/team-{n}/secret"), "SecretString": "x", "Description": format!("Number {n}"), "Tags": tags,
        });
        site.done("CreateSecret", secret).await;
    }
    site.done("DeleteSecret", json!({ "SecretId": "demo/team-6/secret" }))
        .await;
    let names = |listed: &Value| -> Vec<String> {
        let list = listed["SecretList"].as_array().unwrap();
        let mut names: Vec<String> = list
            .iter()
            .map(|secret| secret["Name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let team = |numbers: &[u32]| -> Vec<String> {
        numbers.iter().map(|n| format!("demo/team-{n}/secret")).collect()
    };
    for (filters, expected) in [
        (json!([]), team(&[0, 1, 2, 3, 4, 5])),
        (json!([{ "Key": "name", "Values": ["demo/team-3"] }]), team(&[3])),
        (
            json!([{ "Key": "name", "Values": ["demo/team-3", "demo/team-4"] }]),
            team(&[3, 4]),
        ),
        (json!([{ "Key": "name", "Values": ["team-3"] }]), team(&[])),
        (
            json!([{ "Key": "name", "Values": ["!demo/team-3"] }]),
            team(&[0, 1, 2, 4, 5]),
        ),
        (
            json!([{ "Key": "tag-key", "Values": ["even"] }]),
            team(&[0, 2, 4]),
        ),
        (json!([{ "Key": "tag-value", "Values": ["v5"] }]), team(&[5])),
        (
            json!([{ "Key": "description", "Values": ["number 2"] }]),
            team(&[2]),
        ),
        (
            json!([{ "Key": "tag-key", "Values": ["even"] }, { "Key": "name", "Values": ["demo/team-2"] }]),
            team(&[2]),
        ),
        (json!([{ "Key": "all", "Values": ["v1"] }]), team(&[1])),
    ] {
        let listed = site.done("ListSecrets", json!({ "Filters": filters })).await;
        assert_eq!(names(&listed), expected, "{filters}");
    }
    let with_deleted = site
        .done("ListSecrets", json!({ "IncludePlannedDeletion": true }))
        .await;
    assert_eq!(names(&with_deleted).len(), 7);

    let mut seen = Vec::new();
    let mut next = Value::Null;
    for page in 0.. {
        assert!(page < 4, "pages without end");
        let mut input = json!({ "MaxResults": 2 });
        if !next.is_null() {
            input["NextToken"] = next;
        }
        let listed = site.done("ListSecrets", input).await;
        assert!(listed["SecretList"].as_array().unwrap().len() <= 2);
        seen.extend(names(&listed));
        next = listed["NextToken"].clone();
        if next.is_null() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, team(&[0, 1, 2, 3, 4, 5]));
    for secret in with_deleted["SecretList"].as_array().unwrap() {
        assert_eq!(secret.get("SecretString"), None);
    }
}

#[tokio::test]
async fn several_values_at_once() {
    let site = Site::start().await;
    for name in ["a", "b"] {
        site.done(
            "CreateSecret",
            json!({ "Name": name, "SecretString": format!("value of {name}") }),
        )
        .await;
    }
    let batch = site
        .done(
            "BatchGetSecretValue",
            json!({ "SecretIdList": ["a", "b", "missing"] }),
        )
        .await;
    let values: Vec<&str> = batch["SecretValues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["SecretString"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["value of a", "value of b"]);
    let errors = batch["Errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["SecretId"], "missing");
    assert_eq!(errors[0]["ErrorCode"], "ResourceNotFoundException");
    let by_filter = json!({ "Filters": [{ "Key": "name", "Values": ["a"] }] });
    let batch = site.done("BatchGetSecretValue", by_filter).await;
    assert_eq!(batch["SecretValues"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn passwords_are_made_as_asked() {
    let site = Site::start().await;
    let password = |input: Value| {
        let site = &site;
        async move {
            let made = site.done("GetRandomPassword", input).await;
            made["RandomPassword"].as_str().unwrap().to_owned()
        }
    };
    let plain = password(json!({})).await;
    assert_eq!(plain.len(), 32);
    assert_ne!(plain, password(json!({})).await);
    let short = json!({ "PasswordLength": 20, "ExcludePunctuation": true, "ExcludeUppercase": true });
    let short = password(short).await;
    assert!(
        short.len() == 20
            && short
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
        "{short}"
    );
    let digits = json!({ "ExcludePunctuation": true, "ExcludeUppercase": true, "ExcludeLowercase": true, "ExcludeCharacters": "01" });
    let digits = password(digits).await;
    assert!(
        digits.bytes().all(|byte| (b'2'..=b'9').contains(&byte)),
        "{digits}"
    );
    for input in [json!({ "PasswordLength": 0 }), json!({ "PasswordLength": 4097 })] {
        let answer = site
            .secrets(&site.root(), "GetRandomPassword", input.clone())
            .await;
        assert_eq!(answer.status, 400, "{input}");
    }
}

#[tokio::test]
async fn resource_policies_are_kept_and_checked() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    let id = "demo/team-red/secret";
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") },
        "Action": "secretsmanager:GetSecretValue", "Resource": "*",
    }] })
    .to_string();
    let none = site.done("GetResourcePolicy", json!({ "SecretId": id })).await;
    assert_eq!(none.get("ResourcePolicy"), None);
    site.done(
        "PutResourcePolicy",
        json!({ "SecretId": id, "ResourcePolicy": policy }),
    )
    .await;
    let kept = site.done("GetResourcePolicy", json!({ "SecretId": id })).await;
    let kept: Value = serde_json::from_str(kept["ResourcePolicy"].as_str().unwrap()).unwrap();
    assert_eq!(kept, serde_json::from_str::<Value>(&policy).unwrap());
    for broken in [
        "{}",
        "no json",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ] {
        let answer = site
            .secrets(
                &site.root(),
                "PutResourcePolicy",
                json!({ "SecretId": id, "ResourcePolicy": broken }),
            )
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "MalformedPolicyDocumentException".to_owned()),
            "{broken}"
        );
    }
    let valid = site
        .done(
            "ValidateResourcePolicy",
            json!({ "SecretId": id, "ResourcePolicy": policy }),
        )
        .await;
    assert_eq!(valid["PolicyValidationPassed"], true);
    site.done("DeleteResourcePolicy", json!({ "SecretId": id })).await;
    let none = site.done("GetResourcePolicy", json!({ "SecretId": id })).await;
    assert_eq!(none.get("ResourcePolicy"), None);
}
