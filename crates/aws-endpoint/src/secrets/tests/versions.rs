//! Versions and their labels.

use super::*;

#[test]
fn a_repeated_request_changes_nothing() {
    let mut account = Account::new();
    let created = account.create("s", "1");
    assert_eq!(account.create("s", "1"), created);
    account.put("s", 2, "2");
    account.put("s", 3, "3");
    let again = account.put("s", 2, "2");
    assert_eq!(again["VersionId"], token(2));
    let expected = vec![
        (2, vec!["AWSPREVIOUS".to_owned()]),
        (3, vec!["AWSCURRENT".to_owned()]),
    ];
    assert_eq!(
        account.stages("s"),
        expected,
        "a late retry does not bring the old value back"
    );
    let body =
        json!({"SecretId": "s", "SecretString": "3", "ClientRequestToken": token(3), "Description": "new"});
    assert_eq!(account.ok("UpdateSecret", body)["VersionId"], token(3));
    assert_eq!(
        account.ok("DescribeSecret", json!({"SecretId": "s"}))["Description"],
        "new"
    );
}

#[test]
fn labels_move_as_in_a_rotation() {
    let mut account = Account::new();
    account.create("s", "1");
    let pending = json!({
        "SecretId": "s", "SecretString": "2", "ClientRequestToken": token(2), "VersionStages": ["AWSPENDING"],
    });
    assert_eq!(
        account.ok("PutSecretValue", pending)["VersionStages"],
        json!(["AWSPENDING"])
    );
    let get = |stage: &str| json!({"SecretId": "s", "VersionStage": stage});
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "1"
    );
    assert_eq!(
        account.ok("GetSecretValue", get("AWSPENDING"))["SecretString"],
        "2"
    );

    let promote = |from: Option<u8>, to: Option<u8>| {
        json!({
            "SecretId": "s", "VersionStage": "AWSCURRENT",
            "RemoveFromVersionId": from.map(token), "MoveToVersionId": to.map(token),
        })
    };
    for (body, message) in [
        (
            promote(None, Some(2)),
            format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached \
                 to version {}, so you must explicitly reference that version in RemoveFromVersionId.",
                token(1)
            ),
        ),
        (
            promote(Some(1), None),
            "You can only move staging label AWSCURRENT to a different secret version. It can\u{2019}t be \
             completely removed."
                .to_owned(),
        ),
    ] {
        let refused = account.refused("UpdateSecretVersionStage", body);
        assert_eq!(refused, ("InvalidParameterException", message));
    }
    assert_eq!(
        account
            .refused("UpdateSecretVersionStage", promote(Some(2), Some(2)))
            .0,
        "InvalidParameterException"
    );
    assert_eq!(
        account
            .refused("UpdateSecretVersionStage", promote(Some(1), Some(9)))
            .0,
        "ResourceNotFoundException"
    );
    account.ok("UpdateSecretVersionStage", promote(Some(1), Some(2)));
    assert_eq!(
        account.stages("s"),
        [
            (1, vec!["AWSPREVIOUS".to_owned()]),
            (2, vec!["AWSPENDING".to_owned(), "AWSCURRENT".to_owned()])
        ]
    );
    assert_eq!(
        account.ok("GetSecretValue", get("AWSPREVIOUS"))["SecretString"],
        "1"
    );
    let remove = json!({"SecretId": "s", "VersionStage": "AWSPENDING", "RemoveFromVersionId": token(2)});
    account.ok("UpdateSecretVersionStage", remove);
    account.ok("UpdateSecretVersionStage", promote(Some(2), Some(1)));
    assert_eq!(
        account.stages("s"),
        [
            (1, vec!["AWSCURRENT".to_owned()]),
            (2, vec!["AWSPREVIOUS".to_owned()])
        ],
        "back again"
    );
}

#[test]
fn versions_without_a_label_are_listed_when_asked_for() {
    let mut account = Account::new();
    account.create("s", "1");
    account.put("s", 2, "2");
    account.put("s", 3, "3");
    let ids = |answer: &Value| -> Vec<String> {
        let versions = answer["Versions"].as_array().unwrap().iter();
        versions
            .map(|version| version["VersionId"].as_str().unwrap().to_owned())
            .collect()
    };
    let listed = account.ok("ListSecretVersionIds", json!({"SecretId": "s"}));
    assert_eq!(ids(&listed), [token(3), token(2)]);
    let first = account.ok(
        "ListSecretVersionIds",
        json!({"SecretId": "s", "IncludeDeprecated": true, "MaxResults": 2}),
    );
    assert_eq!(ids(&first), [token(3), token(2)]);
    let body = json!({"SecretId": "s", "IncludeDeprecated": true, "NextToken": first["NextToken"]});
    let rest = account.ok("ListSecretVersionIds", body);
    assert_eq!(ids(&rest), [token(1)]);
    assert_eq!(rest.get("NextToken"), None);
}

#[test]
fn old_versions_without_a_label_are_dropped_after_a_day_beyond_a_hundred() {
    let mut account = Account::new();
    account.create("s", "0");
    for number in 2..=150 {
        account.put("s", number, "x");
    }
    let count = |account: &Account| account.store.find(REGION, "s").unwrap().versions.len();
    assert_eq!(count(&account), 150, "all are young");
    account.now += 25 * 3600;
    account.put("s", 151, "x");
    assert_eq!(
        count(&account),
        102,
        "the current, the previous and a hundred more"
    );
    assert_eq!(
        account
            .refused("GetSecretValue", json!({"SecretId": "s", "VersionId": token(2)}))
            .0,
        "ResourceNotFoundException"
    );
    assert_eq!(account.stages("s").len(), 2);
}
