//! The service as such: texts, versions and their labels, lists.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written where they are sent"
)]

use proptest::prelude::*;

use super::*;

const REGION: &str = "eu-west-1";
const NOT_FOUND: &str = "Secrets Manager can't find the specified secret.";
const MARKED: &str = "You can't perform this operation on the secret because it was marked for deletion.";
const NO_TOKEN: &str = "You must provide a ClientRequestToken value. We recommend a UUID-type value.";
const BAD_NAME: &str = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!";

/// A store and a clock that goes a second further with every call.
struct Account {
    store: SecretStore,
    now: i64,
    defects: Defects,
}

impl Account {
    fn new() -> Self {
        Self {
            store: SecretStore::new("000000000000".to_owned()),
            now: 1_700_000_000,
            defects: Defects::default(),
        }
    }

    fn call(&mut self, operation: &str, body: Value) -> Outcome {
        self.now += 1;
        let now = Timestamp::from_second(self.now).unwrap();
        execute(&mut self.store, REGION, operation, &body, now, self.defects)
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        self.call(operation, body)
            .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    fn refused(&mut self, operation: &str, body: Value) -> (&'static str, String) {
        let error = self.call(operation, body).expect_err(operation);
        (error.code, error.message)
    }

    fn create(&mut self, name: &str, value: &str) -> Value {
        self.ok(
            "CreateSecret",
            json!({"Name": name, "SecretString": value, "ClientRequestToken": token(1)}),
        )
    }

    fn put(&mut self, name: &str, number: u8, value: &str) -> Value {
        let body = json!({"SecretId": name, "SecretString": value, "ClientRequestToken": token(number)});
        self.ok("PutSecretValue", body)
    }

    /// The labels of each version by its number.
    fn stages(&mut self, name: &str) -> Vec<(u8, Vec<String>)> {
        let described = self.ok("DescribeSecret", json!({"SecretId": name}));
        let stages = described["VersionIdsToStages"].as_object().unwrap();
        let number = |id: &str| id.trim_start_matches('0').parse().unwrap();
        stages
            .iter()
            .map(|(id, stages)| (number(id), serde_json::from_value(stages.clone()).unwrap()))
            .collect()
    }
}

/// The token of version `number`.
fn token(number: u8) -> String {
    format!("{number:032}")
}

#[test]
fn a_secret_comes_back_as_it_was_stored() {
    let mut account = Account::new();
    let created = account.create("a/b", "value");
    let arn = created["ARN"].as_str().unwrap();
    let suffix = arn
        .strip_prefix("arn:aws:secretsmanager:eu-west-1:000000000000:secret:a/b-")
        .unwrap();
    assert!(
        suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{suffix}"
    );
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "a/b"})),
        json!({
            "ARN": arn,
            "CreatedDate": 1_700_000_001.0,
            "Name": "a/b",
            "SecretString": "value",
            "VersionId": token(1),
            "VersionStages": ["AWSCURRENT"],
        })
    );
    account.ok(
        "CreateSecret",
        json!({"Name": "bin", "SecretBinary": "AP8=", "ClientRequestToken": token(1)}),
    );
    let binary = account.ok("GetSecretValue", json!({"SecretId": "bin"}));
    assert_eq!(
        (&binary["SecretBinary"], binary.get("SecretString")),
        (&json!("AP8="), None)
    );
}

#[test]
fn a_name_that_ends_like_an_arn_is_found_by_every_form() {
    let mut account = Account::new();
    let long = account.create("app-abcdef", "long")["ARN"].clone();
    let short = account.create("app", "short")["ARN"].clone();
    for (id, value) in [
        (long.as_str().unwrap(), "long"),
        (short.as_str().unwrap(), "short"),
        (
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:app-abcdef",
            "long",
        ),
        (
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:app",
            "short",
        ),
        ("app-abcdef", "long"),
        ("app", "short"),
    ] {
        assert_eq!(
            account.ok("GetSecretValue", json!({"SecretId": id}))["SecretString"],
            value,
            "{id}"
        );
    }
    for id in [
        "arn:aws:secretsmanager:eu-west-1:000000000000:secret:app-zzzzzz",
        "arn:aws:secretsmanager:eu-west-1:111111111111:secret:app",
        "arn:aws:secretsmanager:us-east-1:000000000000:secret:app",
        "arn:aws:secretsmanager:eu-west-1:000000000000:app",
        "arn:",
    ] {
        let refused = account.refused("GetSecretValue", json!({"SecretId": id}));
        assert_eq!(
            refused,
            ("ResourceNotFoundException", NOT_FOUND.to_owned()),
            "{id}"
        );
    }
}

#[test]
fn texts_are_those_recorded_from_aws() {
    let mut account = Account::new();
    account.create("s", "1");
    account.create("gone", "1");
    account.ok("DeleteSecret", json!({"SecretId": "gone"}));
    account.put("s", 2, "2");
    let arn = account.ok("DescribeSecret", json!({"SecretId": "s"}))["ARN"].clone();
    let in_use = format!(
        "You can't use ClientRequestToken {} because that value is already in use for a version of secret {}.",
        token(2),
        arn.as_str().unwrap()
    );
    let (unknown, long) = ("9".repeat(36), "x".repeat(65_537));
    let cases = [
        (
            "GetSecretValue",
            json!({"SecretId": "none"}),
            "ResourceNotFoundException",
            NOT_FOUND,
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "gone"}),
            "InvalidRequestException",
            MARKED,
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "s", "VersionStage": "AWSPENDING"}),
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "s", "VersionId": unknown}),
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for VersionId: 999999999999999999999999999999999999",
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "s", "VersionId": token(1), "VersionStage": "AWSCURRENT"}),
            "InvalidRequestException",
            "You provided a VersionStage that is not associated to the provided VersionId.",
        ),
        (
            "GetSecretValue",
            json!({}),
            "ValidationException",
            "1 validation error detected: Value at 'secretId' failed to satisfy constraint: Member must not be null",
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "a b"}),
            "ValidationException",
            BAD_NAME,
        ),
        (
            "CreateSecret",
            json!({"Name": "a b"}),
            "ValidationException",
            BAD_NAME,
        ),
        (
            "CreateSecret",
            json!({"Name": "s", "SecretString": "3", "ClientRequestToken": token(3)}),
            "ResourceExistsException",
            "The operation failed because the secret s already exists.",
        ),
        (
            "CreateSecret",
            json!({"Name": "gone"}),
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ),
        (
            "CreateSecret",
            json!({"Name": "n", "SecretString": "1"}),
            "InvalidRequestException",
            NO_TOKEN,
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "s", "SecretString": "1"}),
            "InvalidRequestException",
            NO_TOKEN,
        ),
        (
            "UpdateSecret",
            json!({"SecretId": "s", "SecretString": "1"}),
            "InvalidRequestException",
            NO_TOKEN,
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "s", "SecretString": "1", "ClientRequestToken": "short"}),
            "InvalidParameterException",
            "ClientRequestToken must be 32-64 characters long.",
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "s", "ClientRequestToken": token(3)}),
            "InvalidRequestException",
            "You must provide either SecretString or SecretBinary.",
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "s", "SecretString": "other", "ClientRequestToken": token(2)}),
            "ResourceExistsException",
            &in_use,
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "s", "SecretString": long, "ClientRequestToken": token(3)}),
            "ValidationException",
            "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have \
             length less than or equal to 65536",
        ),
        (
            "PutSecretValue",
            json!({"SecretId": "gone", "SecretString": "1", "ClientRequestToken": token(3)}),
            "InvalidRequestException",
            MARKED,
        ),
        (
            "UpdateSecret",
            json!({"SecretId": "gone"}),
            "InvalidRequestException",
            MARKED,
        ),
        (
            "TagResource",
            json!({"SecretId": "gone"}),
            "InvalidRequestException",
            MARKED,
        ),
        (
            "DeleteSecret",
            json!({"SecretId": "none"}),
            "ResourceNotFoundException",
            NOT_FOUND,
        ),
        (
            "DeleteSecret",
            json!({"SecretId": "gone"}),
            "InvalidRequestException",
            MARKED,
        ),
        (
            "DeleteSecret",
            json!({"SecretId": "s", "RecoveryWindowInDays": 6}),
            "InvalidParameterException",
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ),
        (
            "DeleteSecret",
            json!({"SecretId": "s", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true}),
            "InvalidParameterException",
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ),
        (
            "ListSecrets",
            json!({"Filters": [{"Key": "colour", "Values": ["red"]}]}),
            "ValidationException",
            "1 validation error detected: Value 'colour' at 'filters.1.member.key' failed to satisfy constraint: \
             Member must satisfy enum value set: [all, name, tag-key, description, tag-value]",
        ),
        (
            "ListSecrets",
            json!({"NextToken": "!"}),
            "InvalidNextTokenException",
            "The NextToken value is invalid.",
        ),
        (
            "PutResourcePolicy",
            json!({"SecretId": "s", "ResourcePolicy": "{"}),
            "MalformedPolicyDocumentException",
            "",
        ),
    ];
    for (operation, body, code, message) in cases {
        let (given_code, given) = account.refused(operation, body.clone());
        assert_eq!(given_code, code, "{operation} {body}: {given}");
        assert!(
            given == message || message.is_empty(),
            "{operation} {body}: {given}"
        );
    }
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "2",
        "nothing changed"
    );
}

#[test]
fn values_of_the_greatest_size_are_taken() {
    let mut account = Account::new();
    account.create("s", &"x".repeat(65_536));
    // Bytes count, not characters.
    let body = json!({"SecretId": "s", "SecretString": "é".repeat(32_769), "ClientRequestToken": token(2)});
    assert_eq!(account.refused("PutSecretValue", body).0, "ValidationException");
}

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
fn deleted_secrets_can_be_restored_unless_they_are_gone() {
    let mut account = Account::new();
    account.create("s", "1");
    let deleted = account.ok(
        "DeleteSecret",
        json!({"SecretId": "s", "RecoveryWindowInDays": 7}),
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are exact in a double"
    )]
    let date = (account.now + 7 * 24 * 3600) as f64;
    assert_eq!(deleted["DeletionDate"], date);
    assert_eq!(
        account.ok("DescribeSecret", json!({"SecretId": "s"}))["DeletedDate"],
        date
    );
    account.ok("RestoreSecret", json!({"SecretId": "s"}));
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "1"
    );
    account.ok("DeleteSecret", json!({"SecretId": "s"}));
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "s", "ForceDeleteWithoutRecovery": true}),
    );
    assert_eq!(
        account.refused("RestoreSecret", json!({"SecretId": "s"})).0,
        "ResourceNotFoundException"
    );
    account.ok(
        "DeleteSecret",
        json!({"SecretId": "s", "ForceDeleteWithoutRecovery": true}),
    );
    assert_eq!(account.store.names().count(), 0);
    account.create("s", "again");
}

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
fn resource_policies_are_kept_as_written_and_checked() {
    let mut account = Account::new();
    account.create("s", "1");
    let statement = |principal: Value| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "secretsmanager:*", "Principal": principal, "Resource": "*",
        }]})
        .to_string()
    };
    let (narrow, public) = (
        statement(json!({"AWS": "arn:aws:iam::000000000000:role/x"})),
        statement(json!("*")),
    );
    assert_eq!(
        account
            .ok("GetResourcePolicy", json!({"SecretId": "s"}))
            .get("ResourcePolicy"),
        None
    );
    account.ok(
        "PutResourcePolicy",
        json!({"SecretId": "s", "ResourcePolicy": narrow, "BlockPublicPolicy": true}),
    );
    assert_eq!(
        account.ok("GetResourcePolicy", json!({"SecretId": "s"}))["ResourcePolicy"],
        narrow
    );
    let body = json!({"SecretId": "s", "ResourcePolicy": public, "BlockPublicPolicy": true});
    assert_eq!(
        account.refused("PutResourcePolicy", body).0,
        "PublicPolicyException"
    );
    let wanted = authorisation(
        &account.store,
        REGION,
        "GetSecretValue",
        &json!({"SecretId": "s"}),
    )
    .unwrap();
    assert_eq!(&*wanted.resource_policy.unwrap().name, "resource policy of s");
    account.ok("DeleteResourcePolicy", json!({"SecretId": "s"}));
    assert_eq!(
        account
            .ok("GetResourcePolicy", json!({"SecretId": "s"}))
            .get("ResourcePolicy"),
        None
    );
    for (policy, passed) in [(narrow.as_str(), true), (&public, false), ("{}", false)] {
        let answer = account.ok("ValidateResourcePolicy", json!({"ResourcePolicy": policy}));
        assert_eq!(answer["PolicyValidationPassed"], passed, "{answer}");
    }
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

#[test]
fn what_has_to_be_allowed_names_the_stored_or_the_would_be_arn() {
    let mut account = Account::new();
    let arn = account.create("a/b", "1")["ARN"].as_str().unwrap().to_owned();
    let base = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:";
    for (operation, body, resource, asked) in [
        (
            "GetSecretValue",
            json!({"SecretId": "a/b"}),
            arn.clone(),
            Some("a/b"),
        ),
        (
            "PutSecretValue",
            json!({"SecretId": arn}),
            arn.clone(),
            Some(arn.as_str()),
        ),
        (
            "GetSecretValue",
            json!({"SecretId": "a/c"}),
            format!("{base}a/c-??????"),
            Some("a/c"),
        ),
        (
            "CreateSecret",
            json!({"Name": "a/c"}),
            format!("{base}a/c-??????"),
            Some("a/c"),
        ),
        ("ListSecrets", json!({}), "*".to_owned(), None),
        (
            "BatchGetSecretValue",
            json!({"SecretIdList": ["a/b"]}),
            "*".to_owned(),
            None,
        ),
        ("GetRandomPassword", json!({}), "*".to_owned(), None),
        (
            "ValidateResourcePolicy",
            json!({"ResourcePolicy": "{}"}),
            "*".to_owned(),
            None,
        ),
    ] {
        let wanted = authorisation(&account.store, REGION, operation, &body).unwrap();
        assert_eq!(wanted.action, format!("secretsmanager:{operation}"));
        assert_eq!(
            (wanted.resource, wanted.asked.as_deref()),
            (resource, asked),
            "{operation} {body}"
        );
    }
    let known = authorisation(
        &account.store,
        REGION,
        "GetSecretValue",
        &json!({"SecretId": "a/b"}),
    )
    .unwrap();
    assert_eq!(
        known.keys.values("secretsmanager:VersionStage"),
        None,
        "only when it is named"
    );
    let body = json!({"SecretId": "a/b", "Tags": [{"Key": "K", "Value": "v"}]});
    let tagging = authorisation(&account.store, REGION, "TagResource", &body).unwrap();
    assert_eq!(
        tagging.keys.values("aws:TagKeys"),
        Some(["K".to_owned()].as_slice())
    );
    assert_eq!(
        tagging.keys.values("aws:RequestTag/K"),
        Some(["v".to_owned()].as_slice())
    );
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
        assert!(batch::members(&account.store, REGION, &body).is_err(), "{body}");
    }
    let answer = account.ok("BatchGetSecretValue", json!({"SecretIdList": ["s"]}));
    assert_eq!(
        answer["SecretValues"],
        json!([]),
        "without permissions there is nothing"
    );
}

proptest! {
    #[test]
    fn passwords_have_what_was_asked_for(length in 4_usize..100, excluded in "[a-zA-Z0-9]{0,8}", space: bool) {
        let body = json!({"PasswordLength": length, "ExcludeCharacters": excluded, "IncludeSpace": space && length > 4});
        let answer = Account::new().ok("GetRandomPassword", body);
        let password = answer["RandomPassword"].as_str().unwrap();
        prop_assert_eq!(password.chars().count(), length);
        prop_assert!(!password.chars().any(|char| excluded.contains(char)));
        prop_assert_eq!(password.contains(' '), space && length > 4);
        for class in [char::is_lowercase, char::is_uppercase, |char: char| char.is_ascii_digit(), |char: char| char.is_ascii_punctuation()] {
            prop_assert!(password.chars().any(class), "{}", password);
        }
    }

    /// Whatever labels move, each is on one version at most, and one version is the current one.
    #[test]
    fn one_version_is_the_current_one(moves in prop::collection::vec((2_u8..9, 0_u8..3), 0..30)) {
        let mut account = Account::new();
        account.create("s", "1");
        for (number, kind) in moves {
            let (value, version) = (number.to_string(), token(number));
            let current = account.ok("GetSecretValue", json!({"SecretId": "s"}))["VersionId"].clone();
            let _ = match kind {
                0 => account.call("PutSecretValue", json!({"SecretId": "s", "SecretString": value, "ClientRequestToken": version})),
                1 => account.call("PutSecretValue", json!({
                    "SecretId": "s", "SecretString": value, "ClientRequestToken": version, "VersionStages": ["AWSPENDING", "mine"],
                })),
                _ => account.call("UpdateSecretVersionStage", json!({
                    "SecretId": "s", "VersionStage": "AWSCURRENT", "RemoveFromVersionId": current, "MoveToVersionId": version,
                })),
            };
            let labels: Vec<String> = account.stages("s").into_iter().flat_map(|(_, labels)| labels).collect();
            let mut once = labels.clone();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), labels.len(), "{:?}", labels);
            prop_assert!(labels.contains(&"AWSCURRENT".to_owned()));
        }
    }
}
