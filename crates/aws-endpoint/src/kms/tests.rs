#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written where they are sent"
)]

use super::*;

const REGION: &str = "eu-west-1";

struct Account {
    store: KmsStore,
    now: i64,
}

impl Account {
    fn new() -> Self {
        Self {
            store: KmsStore::new("000000000000".to_owned()),
            now: 1_700_000_000,
        }
    }

    fn call(&mut self, operation: &str, body: Value) -> Outcome {
        self.now += 1;
        let now = Timestamp::from_second(self.now).unwrap();
        execute(&mut self.store, REGION, operation, &body, now)
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        self.call(operation, body)
            .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    fn refused(&mut self, operation: &str, body: Value) -> (&'static str, String) {
        let error = self.call(operation, body).expect_err(operation);
        (error.code, error.message)
    }

    /// A new key; its id and its ARN.
    fn key(&mut self) -> (String, String) {
        let made = self.ok("CreateKey", json!({"Description": "mine"}));
        let part = |name: &str| made["KeyMetadata"][name].as_str().unwrap().to_owned();
        (part("KeyId"), part("Arn"))
    }
}

#[test]
fn a_key_is_found_by_every_name_it_has() {
    let mut account = Account::new();
    let (id, arn) = account.key();
    account.ok(
        "CreateAlias",
        json!({"AliasName": "alias/mine", "TargetKeyId": id}),
    );
    for asked in [
        &id,
        &arn,
        "alias/mine",
        "arn:aws:kms:eu-west-1:000000000000:alias/mine",
    ] {
        let described = account.ok("DescribeKey", json!({"KeyId": asked}));
        assert_eq!(described["KeyMetadata"]["Arn"], arn, "{asked}");
    }
    let missing = "00000000-0000-4000-8000-000000000000";
    for (asked, code, text) in [
        (
            missing.to_owned(),
            "NotFoundException",
            format!("Key 'arn:aws:kms:eu-west-1:000000000000:key/{missing}' does not exist"),
        ),
        (
            "alias/none".to_owned(),
            "NotFoundException",
            "Alias arn:aws:kms:eu-west-1:000000000000:alias/none is not found.".to_owned(),
        ),
        (
            "mine".to_owned(),
            "NotFoundException",
            "Invalid keyId mine".to_owned(),
        ),
        (
            arn.replace(REGION, "us-east-1"),
            "InvalidArnException",
            format!("Invalid arn {}", arn.replace(REGION, "us-east-1")),
        ),
    ] {
        assert_eq!(
            account.refused("DescribeKey", json!({"KeyId": asked})),
            (code, text)
        );
    }
    let again = account.refused(
        "CreateAlias",
        json!({"AliasName": "alias/mine", "TargetKeyId": id}),
    );
    assert_eq!(again.0, "AlreadyExistsException");
    account.ok("DeleteAlias", json!({"AliasName": "alias/mine"}));
    assert_eq!(
        account.refused("DescribeKey", json!({"KeyId": "alias/mine"})).0,
        "NotFoundException"
    );
}

#[test]
fn a_key_goes_from_state_to_state_as_on_aws() {
    let mut account = Account::new();
    let (id, arn) = account.key();
    let key = json!({"KeyId": id});
    let state =
        |account: &mut Account| account.ok("DescribeKey", key.clone())["KeyMetadata"]["KeyState"].clone();
    account.ok("DisableKey", key.clone());
    assert_eq!(state(&mut account), "Disabled");
    account.ok("EnableKey", key.clone());
    assert_eq!(state(&mut account), "Enabled");
    account.ok(
        "ScheduleKeyDeletion",
        json!({"KeyId": id, "PendingWindowInDays": 7}),
    );
    assert_eq!(state(&mut account), "PendingDeletion");
    for operation in ["EnableKey", "DisableKey", "ScheduleKeyDeletion"] {
        let expected = ("KMSInvalidStateException", format!("{arn} is pending deletion."));
        assert_eq!(account.refused(operation, key.clone()), expected, "{operation}");
    }
    account.ok("CancelKeyDeletion", key.clone());
    assert_eq!(state(&mut account), "Disabled");
    account.ok(
        "ScheduleKeyDeletion",
        json!({"KeyId": id, "PendingWindowInDays": 7}),
    );
    account.now += 7 * 24 * 3600;
    assert_eq!(account.refused("DescribeKey", key).0, "NotFoundException");
}

#[test]
fn the_default_keys_are_made_when_they_are_asked_for_and_belong_to_aws() {
    let mut account = Account::new();
    for service in ["secretsmanager", "ssm"] {
        let alias = format!("alias/aws/{service}");
        let described = account.ok("DescribeKey", json!({"KeyId": alias}));
        let again = account.ok("DescribeKey", json!({"KeyId": alias}));
        assert_eq!(described, again);
        assert_eq!(described["KeyMetadata"]["KeyManager"], "AWS");
        let arn = described["KeyMetadata"]["Arn"].as_str().unwrap();
        assert_eq!(
            account.refused("DisableKey", json!({"KeyId": arn})).0,
            "UnsupportedOperationException"
        );
        let via = usage::Via {
            service: if service == "ssm" { "ssm" } else { "secretsmanager" },
            region: REGION,
        };
        assert_eq!(account.store.named(via, &alias), Ok(None));
        assert_eq!(
            account.store.named(via, arn),
            Ok(None),
            "the default key by its ARN"
        );
    }
    assert_eq!(
        account.refused("DescribeKey", json!({"KeyId": "alias/aws/s3"})).0,
        "NotFoundException"
    );
    let reserved = json!({"AliasName": "alias/aws/mine", "TargetKeyId": "x"});
    assert_eq!(
        account.refused("CreateAlias", reserved).0,
        "NotAuthorizedException"
    );
}

#[test]
fn a_call_on_a_key_brings_the_key_s_policy_along() {
    let mut account = Account::new();
    let (id, arn) = account.key();
    let wanted = authorisation(&account.store, REGION, "DescribeKey", &json!({"KeyId": id})).unwrap();
    assert_eq!((&*wanted.action, &wanted.resource), ("kms:DescribeKey", &arn));
    assert_eq!(
        &*wanted.resource_policy.unwrap().name,
        format!("key policy of {id}")
    );
    let alias = json!({"AliasName": "alias/a", "TargetKeyId": id});
    let wanted = authorisation(&account.store, REGION, "CreateAlias", &alias).unwrap();
    assert_eq!(wanted.resource, "arn:aws:kms:eu-west-1:000000000000:alias/a");
    assert_eq!(wanted.further[0].wanted.resource, arn);
    let wanted = authorisation(&account.store, REGION, "ListKeys", &json!({})).unwrap();
    assert_eq!((wanted.resource.as_str(), wanted.resource_policy), ("*", None));
    let policy = store::default_policy("000000000000");
    for (bypass, checks) in [(false, 1), (true, 0)] {
        let body = json!({"KeyId": id, "Policy": policy, "BypassPolicyLockoutSafetyCheck": bypass});
        let wanted = authorisation(&account.store, REGION, "PutKeyPolicy", &body).unwrap();
        assert_eq!(
            wanted.further.len(),
            checks,
            "whether the writer could write it again"
        );
    }
}

#[test]
fn lists_go_on_where_they_stopped() {
    let mut account = Account::new();
    let mut made: Vec<String> = (0..5).map(|_| account.key().0).collect();
    made.sort();
    let mut listed = Vec::new();
    let mut body = json!({"Limit": 2});
    loop {
        let page = account.ok("ListKeys", body.clone());
        let keys = page["Keys"].as_array().unwrap();
        listed.extend(keys.iter().map(|key| key["KeyId"].as_str().unwrap().to_owned()));
        if page["Truncated"] == false {
            break;
        }
        body["Marker"] = page["NextMarker"].clone();
    }
    assert_eq!(listed, made);
    let refused = account.refused("ListKeys", json!({"Marker": "x"}));
    assert_eq!(refused.0, "InvalidMarkerException");
}

#[test]
fn what_was_saved_comes_back_as_it_was() {
    let mut account = Account::new();
    let (id, _) = account.key();
    account.ok("CreateAlias", json!({"AliasName": "alias/a", "TargetKeyId": id}));
    account.ok("ScheduleKeyDeletion", json!({"KeyId": id}));
    let saved = serde_json::to_value(&account.store).unwrap();
    account.store = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(serde_json::to_value(&account.store).unwrap(), saved);
    assert_eq!(
        account.ok("DescribeKey", json!({"KeyId": "alias/a"}))["KeyMetadata"]["KeyId"],
        id
    );
}
