//! Rotation without functions, and the keys that values are under.

use super::*;

#[test]
fn rotation_is_refused_as_by_aws_where_there_is_no_function() {
    let mut account = Account::new();
    account.create("s", "1");
    let function = "arn:aws:lambda:eu-west-1:000000000000:function:f";
    for (more, code, text) in [
        (
            json!({}),
            "InvalidRequestException",
            "No Lambda rotation function ARN is associated with this secret.",
        ),
        (
            json!({"RotationLambdaARN": function, "RotationRules": {"AutomaticallyAfterDays": 1}}),
            "AccessDeniedException",
            "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants \
             access to the principal secretsmanager.amazonaws.com.",
        ),
        (
            json!({"RotationRules": {"AutomaticallyAfterDays": 1001}}),
            "ValidationException",
            "1 validation error detected: Value '1001' at 'automaticallyAfterDays' failed to satisfy constraint: \
             Member must have value less than or equal to 1000",
        ),
        (
            json!({"ClientRequestToken": "short"}),
            "InvalidParameterException",
            "ClientRequestToken must be 32-64 characters long.",
        ),
    ] {
        let mut body = more.clone();
        body["SecretId"] = json!("s");
        assert_eq!(
            account.refused("RotateSecret", body),
            (code, text.to_owned()),
            "{more}"
        );
    }
    assert_eq!(
        account.refused("CancelRotateSecret", json!({"SecretId": "s"})).0,
        "InvalidRequestException"
    );
    assert_eq!(
        account.refused("RotateSecret", json!({"SecretId": "x"})).1,
        NOT_FOUND
    );
    account.ok("DeleteSecret", json!({"SecretId": "s"}));
    for operation in ["RotateSecret", "CancelRotateSecret"] {
        assert_eq!(account.refused(operation, json!({"SecretId": "s"})).1, MARKED);
    }
}

/// A key of the account; its ARN.
fn key(account: &mut Account) -> String {
    let now = Timestamp::from_second(account.now).unwrap();
    let made = crate::kms::execute(&mut account.kms, REGION, "CreateKey", &json!({}), now).unwrap();
    made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

fn key_call(account: &mut Account, operation: &str, key: &str) {
    let now = Timestamp::from_second(account.now).unwrap();
    crate::kms::execute(&mut account.kms, REGION, operation, &json!({"KeyId": key}), now).unwrap();
}

/// What a call has to be allowed besides, as action and resource.
fn further(account: &Account, operation: &str, body: Value) -> Vec<String> {
    let wanted = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
        REGION,
        operation,
        &body,
    )
    .unwrap();
    let further = wanted.further.into_iter();
    further
        .map(|further| {
            assert_eq!(
                further.refusal,
                Refused::With("AccessDeniedException", "Access to KMS is not allowed".to_owned())
            );
            format!("{} {}", further.wanted.action, further.wanted.resource)
        })
        .collect()
}

#[test]
fn a_key_of_ones_own_has_to_be_allowed_too() {
    let mut account = Account::new();
    let key = key(&mut account);
    let uses = |actions: &[&str]| -> Vec<String> {
        actions
            .iter()
            .map(|action| format!("kms:{action} {key}"))
            .collect()
    };
    let create = json!({"Name": "s", "KmsKeyId": key, "SecretString": "1", "ClientRequestToken": token(1)});
    assert_eq!(
        further(&account, "CreateSecret", create.clone()),
        uses(&["GenerateDataKey", "Decrypt"])
    );
    account.ok("CreateSecret", create);
    account.create("default", "1");
    for (operation, body, expected) in [
        ("GetSecretValue", json!({"SecretId": "s"}), uses(&["Decrypt"])),
        (
            "PutSecretValue",
            json!({"SecretId": "s"}),
            uses(&["GenerateDataKey", "Decrypt"]),
        ),
        ("DescribeSecret", json!({"SecretId": "s"}), Vec::new()),
        ("GetSecretValue", json!({"SecretId": "default"}), Vec::new()),
        (
            "UpdateSecret",
            json!({"SecretId": "default", "KmsKeyId": key}),
            uses(&["GenerateDataKey", "Encrypt", "Decrypt"]),
        ),
        (
            "CreateSecret",
            json!({"Name": "t", "KmsKeyId": "alias/aws/secretsmanager"}),
            Vec::new(),
        ),
    ] {
        assert_eq!(
            further(&account, operation, body.clone()),
            expected,
            "{operation} {body}"
        );
    }
    let body = json!({"SecretId": "s"});
    let wanted = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
        REGION,
        "GetSecretValue",
        &body,
    )
    .unwrap();
    let keys = &wanted.further[0].wanted.keys;
    for (name, value) in [
        (
            "kms:ViaService",
            "secretsmanager.eu-west-1.amazonaws.com".to_owned(),
        ),
        ("kms:CallerAccount", "000000000000".to_owned()),
        ("kms:EncryptionContext:SecretARN", wanted.resource.clone()),
        ("kms:EncryptionContext:SecretVersionId", token(1)),
    ] {
        assert_eq!(keys.values(name), Some([value].as_slice()), "{name}");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_told_of() {
    let mut account = Account::new();
    let key = key(&mut account);
    account.ok(
        "CreateSecret",
        json!({"Name": "s", "KmsKeyId": key, "SecretString": "1", "ClientRequestToken": token(1)}),
    );
    let body = json!({"Name": "t", "KmsKeyId": "no-key"});
    assert_eq!(
        account.refused("CreateSecret", body),
        (
            "InvalidParameterException",
            "The operation failed because of an invalid KMS key: Invalid keyId no-key".to_owned()
        )
    );
    key_call(&mut account, "DisableKey", &key);
    let (code, text) = account.refused("GetSecretValue", json!({"SecretId": "s"}));
    let expected = format!(
        "Secrets Manager can't decrypt the secret value: {key} is disabled. (Service: AWSKMS; Status Code: 400; \
         Error Code: DisabledException; Request ID: "
    );
    assert_eq!(code, "DecryptionFailure");
    assert!(text.starts_with(&expected), "{text}");
    let body = json!({"SecretId": "s", "SecretString": "2", "ClientRequestToken": token(2)});
    assert_eq!(account.refused("PutSecretValue", body).0, "EncryptionFailure");
    key_call(&mut account, "EnableKey", &key);
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "1"
    );
    let versions = account.ok("ListSecretVersionIds", json!({"SecretId": "s"}));
    assert_eq!(versions["Versions"][0]["KmsKeyIds"], json!([key]));
    key_call(&mut account, "DisableKey", &key);
    // Put under the default key, it no longer asks for the other.
    account.ok(
        "UpdateSecret",
        json!({"SecretId": "s", "KmsKeyId": "alias/aws/secretsmanager"}),
    );
    assert_eq!(
        account.ok("GetSecretValue", json!({"SecretId": "s"}))["SecretString"],
        "1"
    );
}
