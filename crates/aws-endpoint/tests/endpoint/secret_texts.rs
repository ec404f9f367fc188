//! What Secrets Manager says when it says no, word for word.

use serde_json::{Value, json};

use crate::support::{Answer, REGION, Site, json_request, now, secret_arn, secrets_request, signed};

const MISSING: &str = "Secrets Manager can't find the specified secret.";
const MARKED: &str = "You can't perform this operation on the secret because it was marked for deletion.";
const NAMES: &str = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the \
                     following: -/_+=.@!";

/// Status 400, the code, the text, and the key of the text in the body.
fn assert_error(what: &str, answer: &Answer, code: &str, message: &str) {
    assert_eq!(
        answer.error(),
        (400, code.to_owned(), message.to_owned()),
        "{what}"
    );
    let key = if code == "ValidationException" {
        "message"
    } else {
        "Message"
    };
    assert_eq!(
        answer.json()[key].as_str(),
        Some(message),
        "{what}: {}",
        answer.text
    );
}

async fn call(site: &Site, operation: &str, input: Value) -> Answer {
    site.secrets(&site.root, operation, input).await
}

#[tokio::test]
async fn a_secret_that_does_not_exist() {
    let site = Site::start().await;
    let arn = secret_arn("missing-AbCdEf");
    for id in ["missing", arn.as_str()] {
        for (operation, mut input) in [
            ("GetSecretValue", json!({})),
            ("DescribeSecret", json!({})),
            (
                "PutSecretValue",
                json!({ "SecretString": "x", "ClientRequestToken": "t".repeat(32) }),
            ),
            ("UpdateSecret", json!({ "Description": "x" })),
            ("UpdateSecretVersionStage", json!({ "VersionStage": "X" })),
            ("DeleteSecret", json!({})),
            ("RestoreSecret", json!({})),
            ("ListSecretVersionIds", json!({})),
            ("TagResource", json!({ "Tags": [{ "Key": "a", "Value": "b" }] })),
            ("UntagResource", json!({ "TagKeys": ["a"] })),
            ("GetResourcePolicy", json!({})),
            ("DeleteResourcePolicy", json!({})),
        ] {
            input["SecretId"] = json!(id);
            let answer = call(&site, operation, input).await;
            assert_error(operation, &answer, "ResourceNotFoundException", MISSING);
        }
    }
}

#[tokio::test]
async fn a_version_that_does_not_exist() {
    let site = Site::start().await;
    let made = site
        .done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    let current = made["VersionId"].as_str().unwrap();
    let unknown = "12345678-1234-1234-1234-123456789012";
    for (input, code, message) in [
        (
            json!({ "VersionStage": "AWSPREVIOUS" }),
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSPREVIOUS".to_owned(),
        ),
        (
            json!({ "VersionId": unknown }),
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for VersionId: {unknown}"),
        ),
        (
            json!({ "VersionId": current, "VersionStage": "AWSPENDING" }),
            "InvalidRequestException",
            "You provided a VersionStage that is not associated to the provided VersionId.".to_owned(),
        ),
    ] {
        let mut asked = input.clone();
        asked["SecretId"] = json!("s");
        assert_error(
            &input.to_string(),
            &call(&site, "GetSecretValue", asked).await,
            code,
            &message,
        );
    }
}

#[tokio::test]
async fn a_secret_without_a_value() {
    let site = Site::start().await;
    let made = site.done("CreateSecret", json!({ "Name": "empty" })).await;
    assert_eq!(made.get("VersionId"), None);
    let answer = call(&site, "GetSecretValue", json!({ "SecretId": "empty" })).await;
    let message = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
    assert_error("no value", &answer, "ResourceNotFoundException", message);
}

#[tokio::test]
async fn a_secret_that_is_marked_for_deletion() {
    let site = Site::start().await;
    site.done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    let deleted = site
        .done(
            "DeleteSecret",
            json!({ "SecretId": "s", "RecoveryWindowInDays": 7 }),
        )
        .await;
    let whole: i64 = deleted["DeletionDate"]
        .to_string()
        .split('.')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let left = whole - now();
    assert!((7 * 86_400 - 60..=7 * 86_400 + 60).contains(&left), "{deleted}");
    for (operation, mut input) in [
        ("GetSecretValue", json!({})),
        (
            "PutSecretValue",
            json!({ "SecretString": "x", "ClientRequestToken": "t".repeat(32) }),
        ),
        ("UpdateSecret", json!({ "Description": "x" })),
        ("TagResource", json!({ "Tags": [{ "Key": "a", "Value": "b" }] })),
        ("UntagResource", json!({ "TagKeys": ["a"] })),
    ] {
        input["SecretId"] = json!("s");
        let answer = call(&site, operation, input).await;
        assert_error(operation, &answer, "InvalidRequestException", MARKED);
    }
    let again = call(
        &site,
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "two" }),
    )
    .await;
    let message =
        "You can't create this secret because a secret with this name is already scheduled for deletion.";
    assert_error("create", &again, "InvalidRequestException", message);
    assert!(site.done("DescribeSecret", json!({ "SecretId": "s" })).await["DeletedDate"].is_number());

    site.done("RestoreSecret", json!({ "SecretId": "s" })).await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_eq!(value["SecretString"], "one");
    assert_eq!(
        site.done("DescribeSecret", json!({ "SecretId": "s" }))
            .await
            .get("DeletedDate"),
        None
    );
}

#[tokio::test]
async fn deletion_at_once_leaves_the_name_free() {
    let site = Site::start().await;
    let first = site
        .done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    site.done(
        "DeleteSecret",
        json!({ "SecretId": "s", "ForceDeleteWithoutRecovery": true }),
    )
    .await;
    let gone = call(&site, "GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_error("get", &gone, "ResourceNotFoundException", MISSING);
    let second = site
        .done("CreateSecret", json!({ "Name": "s", "SecretString": "two" }))
        .await;
    assert_ne!(first["ARN"], second["ARN"], "another secret has another suffix");
    let old = call(&site, "GetSecretValue", json!({ "SecretId": first["ARN"] })).await;
    assert_error("old ARN", &old, "ResourceNotFoundException", MISSING);
    // AWS: deleting by force what is not there is no error.
    let twice = call(
        &site,
        "DeleteSecret",
        json!({ "SecretId": "gone", "ForceDeleteWithoutRecovery": true }),
    )
    .await;
    assert_eq!(twice.status, 200, "{}", twice.text);
}

#[tokio::test]
async fn what_deletion_must_say() {
    let site = Site::start().await;
    site.done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    for input in [
        json!({ "RecoveryWindowInDays": 6 }),
        json!({ "RecoveryWindowInDays": 31 }),
        json!({ "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true }),
    ] {
        let mut asked = input.clone();
        asked["SecretId"] = json!("s");
        let answer = call(&site, "DeleteSecret", asked).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "InvalidParameterException".to_owned()),
            "{input}"
        );
    }
    assert_eq!(
        site.done("GetSecretValue", json!({ "SecretId": "s" })).await["SecretString"],
        "one"
    );
}

#[tokio::test]
async fn names() {
    let site = Site::start().await;
    let asked = call(&site, "GetSecretValue", json!({ "SecretId": "no spaces" })).await;
    assert_error("no spaces", &asked, "ValidationException", NAMES);
    for name in ["with blank", "a:b", "a*", "ä", "a\nb", "a,b"] {
        let answer = call(
            &site,
            "CreateSecret",
            json!({ "Name": name, "SecretString": "x" }),
        )
        .await;
        assert_error(name, &answer, "ValidationException", NAMES);
    }
    let longest = "x".repeat(512);
    for name in ["-/_+=.@!", "a/b", "0", &longest] {
        let answer = call(
            &site,
            "CreateSecret",
            json!({ "Name": name, "SecretString": "x" }),
        )
        .await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    }
    for name in ["", &"x".repeat(513)] {
        let answer = call(
            &site,
            "CreateSecret",
            json!({ "Name": name, "SecretString": "x" }),
        )
        .await;
        assert_eq!(answer.status, 400, "{name}");
    }
    let again = call(
        &site,
        "CreateSecret",
        json!({ "Name": "a/b", "SecretString": "other" }),
    )
    .await;
    let message = "The operation failed because the secret a/b already exists.";
    assert_error("exists", &again, "ResourceExistsException", message);
}

#[tokio::test]
async fn sizes() {
    let site = Site::start().await;
    let largest = "x".repeat(65_536);
    site.done(
        "CreateSecret",
        json!({ "Name": "large", "SecretString": largest }),
    )
    .await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "large" })).await;
    assert_eq!(value["SecretString"].as_str().map(str::len), Some(65_536));
    // Bytes count, not characters.
    for (name, text) in [("more", "x".repeat(65_537)), ("wide", "ä".repeat(32_769))] {
        let answer = call(
            &site,
            "CreateSecret",
            json!({ "Name": name, "SecretString": text }),
        )
        .await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.code().ends_with("Exception"), "{}", answer.text);
    }
    let put = call(
        &site,
        "PutSecretValue",
        json!({
            "SecretId": "large", "SecretString": "x".repeat(65_537), "ClientRequestToken": "t".repeat(32),
        }),
    );
    assert_eq!(put.await.status, 400);
}

#[tokio::test]
async fn a_new_value_needs_a_token() {
    let site = Site::start().await;
    site.done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    for (operation, input) in [
        ("CreateSecret", json!({ "Name": "other", "SecretString": "x" })),
        ("PutSecretValue", json!({ "SecretId": "s", "SecretString": "x" })),
        ("UpdateSecret", json!({ "SecretId": "s", "SecretString": "x" })),
    ] {
        // Not by way of a client that adds one.
        let request = json_request("secretsmanager", REGION, operation, &input);
        let answer = site.send(signed(request, &site.root)).await;
        let message = "You must provide a ClientRequestToken value. We recommend a UUID-type value.";
        assert_error(operation, &answer, "InvalidRequestException", message);
    }
}

#[tokio::test]
async fn parameters_that_make_no_sense() {
    let site = Site::start().await;
    site.done("CreateSecret", json!({ "Name": "s", "SecretString": "one" }))
        .await;
    for (operation, input) in [
        ("CreateSecret", json!({})),
        ("CreateSecret", json!({ "Name": 7 })),
        (
            "CreateSecret",
            json!({ "Name": "n", "SecretString": "a", "SecretBinary": "YQ==" }),
        ),
        (
            "CreateSecret",
            json!({ "Name": "n", "SecretBinary": "not base64!" }),
        ),
        (
            "CreateSecret",
            json!({ "Name": "n", "SecretString": "a", "ClientRequestToken": "short" }),
        ),
        ("GetSecretValue", json!({})),
        ("GetSecretValue", json!({ "SecretId": "" })),
        ("GetSecretValue", json!({ "SecretId": ["s"] })),
        (
            "PutSecretValue",
            json!({ "SecretId": "s", "ClientRequestToken": "t".repeat(32) }),
        ),
        ("ListSecrets", json!({ "MaxResults": 0 })),
        ("ListSecrets", json!({ "MaxResults": 101 })),
        ("ListSecrets", json!({ "NextToken": "never given" })),
        (
            "ListSecrets",
            json!({ "Filters": [{ "Key": "color", "Values": ["red"] }] }),
        ),
    ] {
        let answer = call(&site, operation, input.clone()).await;
        assert_eq!(answer.status, 400, "{operation} {input}: {}", answer.text);
        assert!(
            answer.code().ends_with("Exception"),
            "{operation} {input}: {}",
            answer.text
        );
    }
    let number = call(&site, "GetSecretValue", json!({ "SecretId": 5 })).await;
    let message = "NUMBER_VALUE can not be converted to a String";
    assert_error("a number", &number, "SerializationException", message);
    for body in ["", "[]", "{", "null", "\"s\""] {
        let request = secrets_request(REGION, "GetSecretValue", json!({})).map(|_| body.into());
        let answer = site.send(signed(request, &site.root)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
    }
}
