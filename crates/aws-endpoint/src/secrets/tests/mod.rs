//! The service as such: texts, versions and their labels, lists.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written where they are sent"
)]

mod lifecycle;
mod lists;
mod replication;
mod rotation;
mod texts;
mod versions;

use super::*;
use crate::authorisation::Refused;
use proptest::prelude::*;

const REGION: &str = "eu-west-1";
const NOT_FOUND: &str = "Secrets Manager can't find the specified secret.";
const MARKED: &str = "You can't perform this operation on the secret because it was marked for deletion.";
const NO_TOKEN: &str = "You must provide a ClientRequestToken value. We recommend a UUID-type value.";
const BAD_NAME: &str = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!";

/// A store and a clock that goes a second further with every call.
struct Account {
    store: SecretStore,
    kms: KmsStore,
    now: i64,
    defects: Defects,
}

impl Account {
    fn new() -> Self {
        Self {
            store: SecretStore::new("000000000000".to_owned()),
            kms: KmsStore::new("000000000000".to_owned()),
            now: 1_700_000_000,
            defects: Defects::default(),
        }
    }

    fn call(&mut self, operation: &str, body: Value) -> Outcome {
        self.call_in(REGION, operation, body)
    }

    fn call_in(&mut self, region: &str, operation: &str, body: Value) -> Outcome {
        self.now += 1;
        let now = Timestamp::from_second(self.now).unwrap();
        execute(
            &mut self.store,
            &self.kms,
            region,
            operation,
            &body,
            now,
            self.defects,
        )
    }

    fn ok_in(&mut self, region: &str, operation: &str, body: Value) -> Value {
        self.call_in(region, operation, body)
            .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
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
