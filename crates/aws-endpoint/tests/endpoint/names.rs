//! How secrets are found, and what is kept of them beside their values.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::{ELSEWHERE, REGION, Site, secret_arn};

#[tokio::test]
async fn a_secret_is_found_by_name_and_arn() {
    let site = Site::start().await;
    let arn = site.tenant("team-red").await;
    let prefix = secret_arn("demo/team-red/secret");
    let suffix = arn.strip_prefix(&prefix).unwrap();
    assert_eq!(suffix.len(), 7, "{arn}");
    assert!(
        suffix[1..].bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{arn}"
    );
    for id in ["demo/team-red/secret", &arn, &prefix] {
        let value = site.done("GetSecretValue", json!({ "SecretId": id })).await;
        assert_eq!(value["SecretString"], "value of team-red", "{id}");
        assert_eq!(value["ARN"], json!(arn));
        assert_eq!(value["Name"], "demo/team-red/secret");
        assert_eq!(value["VersionStages"], json!(["AWSCURRENT"]));
        assert!(value["CreatedDate"].is_number());
    }
    for id in [
        &format!("{prefix}-xxxxxx"),
        "demo/team-red/Secret",
        "demo/team-red/secre",
        "demo/team-red/secret/",
    ] {
        let answer = site
            .secrets(&site.root, "GetSecretValue", json!({ "SecretId": id }))
            .await;
        assert_eq!(answer.code(), "ResourceNotFoundException", "{id}");
    }
    let elsewhere = site
        .secrets_in(
            ELSEWHERE,
            &site.root,
            "GetSecretValue",
            json!({ "SecretId": arn }),
        )
        .await;
    assert_eq!(elsewhere.status, 400, "an ARN of another region is not here");
    for arn in [&arn, &prefix] {
        let answer = site.get(&site.root, &arn.replace(REGION, ELSEWHERE)).await;
        assert_eq!(
            answer.code(),
            "ResourceNotFoundException",
            "nor is one of here elsewhere"
        );
    }
}

#[tokio::test]
async fn a_name_that_ends_like_a_suffix_is_a_name() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "db-abcdef", "SecretString": "long" }),
    )
    .await;
    site.done("CreateSecret", json!({ "Name": "db", "SecretString": "short" }))
        .await;
    assert_eq!(site.get(&site.root, "db-abcdef").await.value_or_code(), "long");
    assert_eq!(site.get(&site.root, "db").await.value_or_code(), "short");
}

#[tokio::test]
async fn regions_keep_secrets_apart() {
    let site = Site::start().await;
    for region in [REGION, ELSEWHERE] {
        let answer = site
            .secrets_in(
                region,
                &site.root,
                "CreateSecret",
                json!({ "Name": "s", "SecretString": region }),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.json()["ARN"].as_str().unwrap().contains(region));
    }
    for region in [REGION, ELSEWHERE] {
        let answer = site
            .secrets_in(region, &site.root, "GetSecretValue", json!({ "SecretId": "s" }))
            .await;
        assert_eq!(answer.json()["SecretString"], region);
    }
}

#[tokio::test]
async fn bytes_are_kept_as_bytes() {
    let site = Site::start().await;
    let bytes: Vec<u8> = (0..=255).collect();
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretBinary": BASE64_STANDARD.encode(&bytes) }),
    )
    .await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_eq!(
        BASE64_STANDARD
            .decode(value["SecretBinary"].as_str().unwrap())
            .unwrap(),
        bytes
    );
    assert_eq!(value.get("SecretString"), None);
    site.done(
        "PutSecretValue",
        json!({ "SecretId": "s", "SecretString": "text" }),
    )
    .await;
    let value = site.done("GetSecretValue", json!({ "SecretId": "s" })).await;
    assert_eq!(
        (value["SecretString"].as_str(), value.get("SecretBinary")),
        (Some("text"), None)
    );
}

#[tokio::test]
async fn updating_changes_what_it_names() {
    let site = Site::start().await;
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "SecretString": "1", "Description": "before" }),
    )
    .await;
    let described = site
        .done("UpdateSecret", json!({ "SecretId": "s", "Description": "after" }))
        .await;
    assert_eq!(described.get("VersionId"), None, "no new value, no new version");
    assert_eq!(site.get(&site.root, "s").await.value_or_code(), "1");
    let changed = site
        .done("UpdateSecret", json!({ "SecretId": "s", "SecretString": "2" }))
        .await;
    assert!(changed["VersionId"].is_string());
    assert_eq!(site.get(&site.root, "s").await.value_or_code(), "2");
    assert_eq!(
        site.done("DescribeSecret", json!({ "SecretId": "s" })).await["Description"],
        "after"
    );
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let site = Site::start().await;
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    site.done(
        "CreateSecret",
        json!({ "Name": "s", "Tags": [tag("team", "red")] }),
    )
    .await;
    site.done(
        "TagResource",
        json!({ "SecretId": "s", "Tags": [tag("team", "blue"), tag("run", "7f3k")] }),
    )
    .await;
    let tags = |described: Value| {
        let mut tags = described["Tags"].as_array().unwrap().clone();
        tags.sort_by_key(|tag| tag["Key"].as_str().map(ToOwned::to_owned));
        tags
    };
    let described = site.done("DescribeSecret", json!({ "SecretId": "s" })).await;
    assert_eq!(tags(described), [tag("run", "7f3k"), tag("team", "blue")]);
    site.done(
        "UntagResource",
        json!({ "SecretId": "s", "TagKeys": ["team", "absent"] }),
    )
    .await;
    let described = site.done("DescribeSecret", json!({ "SecretId": "s" })).await;
    assert_eq!(tags(described), [tag("run", "7f3k")]);
}

#[tokio::test]
async fn passwords_are_made_as_asked() {
    let site = Site::start().await;
    let password = |input: Value| {
        let site = &site;
        async move {
            let made = site.done("GetRandomPassword", input).await;
            made["RandomPassword"].as_str().unwrap().to_owned()
        }
    };
    let plain = password(json!({})).await;
    assert_eq!(plain.len(), 32);
    assert_ne!(plain, password(json!({})).await);
    let short = json!({ "PasswordLength": 20, "ExcludePunctuation": true, "ExcludeUppercase": true });
    let short = password(short).await;
    assert!(
        short.len() == 20
            && short
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
        "{short}"
    );
    let digits = json!({ "ExcludePunctuation": true, "ExcludeUppercase": true, "ExcludeLowercase": true, "ExcludeCharacters": "01" });
    let digits = password(digits).await;
    assert!(
        digits.bytes().all(|byte| (b'2'..=b'9').contains(&byte)),
        "{digits}"
    );
    for input in [json!({ "PasswordLength": 0 }), json!({ "PasswordLength": 4097 })] {
        let answer = site.secrets(&site.root, "GetRandomPassword", input.clone()).await;
        assert_eq!(answer.status, 400, "{input}");
    }
}
