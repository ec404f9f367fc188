//! What the policies of secrets and roles come to together.

use serde_json::{Value, json};

use crate::support::{GET, Site, denied, policy, read, read_own, role_arn};

#[tokio::test]
async fn an_explicit_denial_wins_and_says_where() {
    let (site, red) = Site::with_red().await;
    let id = "demo/team-red/secret";
    let arn = site.done("DescribeSecret", json!({ "SecretId": id })).await["ARN"].clone();
    let deny = json!({ "Effect": "Deny", "Action": GET, "Resource": arn });
    let mut own = read_own("team-red");
    own["Statement"].as_array_mut().unwrap().push(deny.clone());
    site.allow("team-red", &own).await;
    let (answer, call) = site.logged(site.get(&red, id)).await;
    let because = "with an explicit deny in an identity-based policy";
    assert_eq!(answer.message(), denied("team-red", GET, id, because));
    let statement = format!(
        "statement 2 of team-red-policy: Deny Resource {}",
        arn.as_str().unwrap()
    );
    assert_eq!(call.statement.unwrap().to_string(), statement);

    site.allow("team-red", &read_own("team-red")).await;
    for principal in [json!("*"), json!({ "AWS": role_arn("team-red") })] {
        let mut deny = deny.clone();
        deny["Principal"] = principal;
        put_policy(&site, id, &deny).await;
        let (answer, call) = site.logged(site.get(&red, id)).await;
        let because = "with an explicit deny in a resource-based policy";
        assert_eq!(answer.message(), denied("team-red", GET, id, because));
        assert!(call.statement.unwrap().to_string().contains("Deny"));
    }
}

async fn put_policy(site: &Site, id: &str, statement: &Value) {
    let put = json!({ "SecretId": id, "ResourcePolicy": policy(statement).to_string() });
    site.done("PutResourcePolicy", put).await;
}

#[tokio::test]
async fn a_resource_policy_grants_where_no_identity_policy_does() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let id = "demo/team-blue/secret";
    let share = json!({
        "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") }, "Action": GET, "Resource": "*",
    });
    put_policy(&site, id, &share).await;
    assert_eq!(site.get(&red, id).await.value_or_code(), "value of team-blue");
    site.done("DeleteResourcePolicy", json!({ "SecretId": id })).await;
    assert_eq!(site.get(&red, id).await.code(), "AccessDeniedException");
}

#[tokio::test]
async fn resource_policies_are_kept_and_checked() {
    let (site, _) = Site::with_red().await;
    let id = "demo/team-red/secret";
    let share = json!({
        "Effect": "Allow", "Principal": { "AWS": role_arn("team-red") }, "Action": GET, "Resource": "*",
    });
    let policy = policy(&share).to_string();
    let kept = async || site.done("GetResourcePolicy", json!({ "SecretId": id })).await;
    assert_eq!(kept().await.get("ResourcePolicy"), None);
    site.done(
        "PutResourcePolicy",
        json!({ "SecretId": id, "ResourcePolicy": policy }),
    )
    .await;
    let read = kept().await["ResourcePolicy"]
        .as_str()
        .unwrap()
        .parse::<Value>()
        .unwrap();
    assert_eq!(read, policy.parse::<Value>().unwrap());
    for broken in [
        "{}",
        "no json",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ] {
        let put = json!({ "SecretId": id, "ResourcePolicy": broken });
        let (status, code, _) = site.secrets(&site.root, "PutResourcePolicy", put).await.error();
        assert_eq!(
            (status, code.as_str()),
            (400, "MalformedPolicyDocumentException"),
            "{broken}"
        );
    }
    let valid = json!({ "SecretId": id, "ResourcePolicy": policy });
    let valid = site.done("ValidateResourcePolicy", valid).await;
    assert_eq!(valid["PolicyValidationPassed"], true);
    site.done("DeleteResourcePolicy", json!({ "SecretId": id })).await;
    assert_eq!(kept().await.get("ResourcePolicy"), None);
}

#[tokio::test]
async fn managed_policies_and_their_versions_decide() {
    let (site, red) = Site::with_red().await;
    let arn = site.tenant("team-blue").await;
    let open = json!({ "Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*" });
    let open = site.managed("open", &policy(&open)).await;
    let attach = [("RoleName", "team-red"), ("PolicyArn", open.as_str())];
    site.iam("AttachRolePolicy", &attach).await;
    let (answer, call) = site.logged(site.get(&red, &arn)).await;
    assert_eq!(
        answer.status, 200,
        "what is attached counts at once: {}",
        answer.text
    );
    assert_eq!(
        call.statement.unwrap().to_string(),
        "statement 1 of open: Allow Resource *"
    );

    let shut = read("arn:aws:secretsmanager:*:*:secret:nothing").to_string();
    let version = [
        ("PolicyArn", open.as_str()),
        ("PolicyDocument", &shut),
        ("SetAsDefault", "true"),
    ];
    site.iam("CreatePolicyVersion", &version).await;
    assert_eq!(site.get(&red, &arn).await.code(), "AccessDeniedException");
    let first = [("PolicyArn", open.as_str()), ("VersionId", "v1")];
    site.iam("SetDefaultPolicyVersion", &first).await;
    assert_eq!(site.get(&red, &arn).await.status, 200);
    site.iam("DetachRolePolicy", &attach).await;
    assert_eq!(site.get(&red, &arn).await.code(), "AccessDeniedException");
}
