//! Several secrets at once: lists with their filters and pages, and batches.

use serde_json::{Value, json};

use crate::support::Site;

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
