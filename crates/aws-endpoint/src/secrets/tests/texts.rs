//! What the service says when it says no.

use super::*;

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
