//! Filters, pages and batches.

use super::*;

#[test]
fn filters_narrow_lists_as_documented() {
    let mut account = Account::new();
    for (name, description, tags) in [
        (
            "demo/red/a",
            "First secret",
            json!([{"Key": "Team", "Value": "red"}]),
        ),
        ("demo/red/b", "second", json!([{"Key": "team", "Value": "Red"}])),
        ("prod/a", "The first of prod", json!([])),
    ] {
        account.ok(
            "CreateSecret",
            json!({"Name": name, "Description": description, "Tags": tags}),
        );
    }
    account.ok("CreateSecret", json!({"Name": "demo/gone"}));
    account.ok("DeleteSecret", json!({"SecretId": "demo/gone"}));
    let all = json!([]);
    for (filters, more, expected) in [
        (all.clone(), json!({}), vec!["demo/red/a", "demo/red/b", "prod/a"]),
        (
            all.clone(),
            json!({"IncludePlannedDeletion": true}),
            vec!["demo/red/a", "demo/red/b", "prod/a", "demo/gone"],
        ),
        (
            all.clone(),
            json!({"SortOrder": "desc"}),
            vec!["prod/a", "demo/red/b", "demo/red/a"],
        ),
        (
            all,
            json!({"SortBy": "name", "SortOrder": "desc"}),
            vec!["prod/a", "demo/red/b", "demo/red/a"],
        ),
        (
            json!([{"Key": "name", "Values": ["demo/"]}]),
            json!({}),
            vec!["demo/red/a", "demo/red/b"],
        ),
        (json!([{"Key": "name", "Values": ["Demo/"]}]), json!({}), vec![]),
        (
            json!([{"Key": "name", "Values": ["!demo/"]}]),
            json!({}),
            vec!["prod/a"],
        ),
        (
            json!([{"Key": "name", "Values": ["demo/red/b", "prod"]}]),
            json!({}),
            vec!["demo/red/b", "prod/a"],
        ),
        (
            json!([{"Key": "description", "Values": ["first"]}]),
            json!({}),
            vec!["demo/red/a", "prod/a"],
        ),
        (
            json!([{"Key": "tag-key", "Values": ["Team"]}]),
            json!({}),
            vec!["demo/red/a"],
        ),
        (
            json!([{"Key": "tag-value", "Values": ["Re"]}]),
            json!({}),
            vec!["demo/red/b"],
        ),
        (
            json!([{"Key": "all", "Values": ["PROD"]}]),
            json!({}),
            vec!["prod/a"],
        ),
        (
            json!([{"Key": "description", "Values": ["first"]}, {"Key": "name", "Values": ["prod"]}]),
            json!({}),
            vec!["prod/a"],
        ),
    ] {
        let mut body = json!({"Filters": filters});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let listed = account.ok("ListSecrets", body.clone());
        let names: Vec<&str> = listed["SecretList"]
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| secret["Name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{body}");
    }
}

#[test]
fn pages_leave_nothing_out_while_secrets_come_and_go() {
    let mut account = Account::new();
    for number in 0..7 {
        account.create(&format!("s{number}"), "x");
    }
    for order in ["asc", "desc"] {
        let (mut names, mut next) = (Vec::new(), Value::Null);
        loop {
            let page = account.ok(
                "ListSecrets",
                json!({"MaxResults": 3, "SortOrder": order, "NextToken": next}),
            );
            for secret in page["SecretList"].as_array().unwrap() {
                names.push(secret["Name"].as_str().unwrap().to_owned());
            }
            // The last of the page goes, and comes back as the newest.
            let last = names.last().unwrap().clone();
            account.ok(
                "DeleteSecret",
                json!({"SecretId": last, "ForceDeleteWithoutRecovery": true}),
            );
            match page.get("NextToken") {
                Some(token) => next = token.clone(),
                None => break,
            }
        }
        names.sort();
        names.dedup();
        assert_eq!(
            names.len(),
            if order == "asc" { 7 } else { 4 },
            "{order}: {names:?}"
        );
    }
}

#[test]
fn a_batch_asks_for_ids_or_filters() {
    let mut account = Account::new();
    account.create("s", "1");
    let filters = json!([{"Key": "name", "Values": ["s"]}]);
    for body in [
        json!({}),
        json!({"SecretIdList": ["s"], "Filters": filters}),
        json!({"SecretIdList": vec!["s"; 21]}),
    ] {
        assert!(
            batch::members(&account.store, &account.kms, DefaultKeys::Granted, REGION, &body).is_err(),
            "{body}"
        );
    }
    let answer = account.ok("BatchGetSecretValue", json!({"SecretIdList": ["s"]}));
    assert_eq!(
        answer["SecretValues"],
        json!([]),
        "without permissions there is nothing"
    );
}
