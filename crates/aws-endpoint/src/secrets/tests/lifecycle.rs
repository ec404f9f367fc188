//! Secrets from their creation to their deletion, and who may do what with them.

use super::*;

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
        &account.kms,
        DefaultKeys::Granted,
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
        let wanted = authorisation(
            &account.store,
            &account.kms,
            DefaultKeys::Granted,
            REGION,
            operation,
            &body,
        )
        .unwrap();
        assert_eq!(wanted.action, format!("secretsmanager:{operation}"));
        assert_eq!(
            (wanted.resource, wanted.asked.as_deref()),
            (resource, asked),
            "{operation} {body}"
        );
    }
    let known = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
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
    let tagging = authorisation(
        &account.store,
        &account.kms,
        DefaultKeys::Granted,
        REGION,
        "TagResource",
        &body,
    )
    .unwrap();
    assert_eq!(
        tagging.keys.values("aws:TagKeys"),
        Some(["K".to_owned()].as_slice())
    );
    assert_eq!(
        tagging.keys.values("aws:RequestTag/K"),
        Some(["v".to_owned()].as_slice())
    );
}
