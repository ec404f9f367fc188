//! Secrets Manager as its callers see it: who may, what a denial says, and what the log keeps.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::{
    client::REGION,
    support::{ACCOUNT, Bench, allow, arn},
};

const USER: &str = "User: arn:aws:sts::000000000000:assumed-role/red/1700000000000000000";

#[tokio::test]
async fn a_tenant_reads_its_own_secret_by_every_name_of_it() {
    let bench = Bench::start().await;
    let red = bench.session("red").await;
    let full = bench
        .secrets("DescribeSecret", &json!({"SecretId": "demo/team-red/secret"}))
        .await["ARN"]
        .clone();
    let full = full.as_str().unwrap();
    assert!(
        full.starts_with(&format!("{}-", arn("demo/team-red/secret"))),
        "{full}"
    );
    for id in ["demo/team-red/secret", full, &arn("demo/team-red/secret")] {
        let reply = bench.read(&red, id).await;
        assert_eq!(reply.json()["SecretString"], "red", "{id}: {reply:?}");
        let call = bench.last_call();
        assert_eq!(call.verdict, CallVerdict::Allowed);
        assert_eq!(
            (call.asked.as_deref(), call.resource.as_deref()),
            (Some(id), Some(full))
        );
        assert_eq!(call.role.as_deref(), Some("red"));
        assert_eq!(call.region, REGION);
        assert_eq!(
            call.statement.as_deref(),
            Some(
                "statement 1 of own-secrets: Allow Resource arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*"
            )
        );
        assert!(!format!("{call:?}").contains("\"red\"}"), "no value in the log");
    }
}

#[tokio::test]
async fn a_denial_names_caller_action_resource_and_reason() {
    let bench = Bench::start().await;
    let red = bench.session("red").await;
    let full = bench
        .secrets("DescribeSecret", &json!({"SecretId": "demo/team-blue/secret"}))
        .await["ARN"]
        .clone();
    let full = full.as_str().unwrap();
    for (operation, id) in [
        ("GetSecretValue", "demo/team-blue/secret"),
        ("GetSecretValue", full),
        ("DescribeSecret", "demo/team-blue/secret"),
        ("PutSecretValue", "demo/team-red/secret"),
        // What does not exist is no business of those who could not read it if it did.
        ("GetSecretValue", "demo/team-blue/missing"),
        ("GetSecretValue", "demo/team-red"),
    ] {
        let reply = bench
            .client
            .secrets(&red, operation, &json!({"SecretId": id}))
            .await;
        let (status, code, message) = reply.error();
        assert_eq!(
            (status, code.as_str()),
            (400, "AccessDeniedException"),
            "{operation} {id}"
        );
        assert_eq!(
            message,
            format!(
                "{USER} is not authorized to perform: secretsmanager:{operation} on resource: {id} because no \
                 identity-based policy allows the secretsmanager:{operation} action"
            )
        );
        let call = bench.last_call();
        assert_eq!(call.verdict, CallVerdict::Denied);
        assert_eq!(call.asked.as_deref(), Some(id));
        assert_eq!(call.principal, Some(USER.trim_start_matches("User: ").to_owned()));
        assert_eq!(call.error.as_deref(), Some("AccessDeniedException"));
        assert!(
            call.reason.unwrap().contains("statement 1 of own-secrets"),
            "the statement that came closest"
        );
    }
    let (_, code, message) = bench.read(&red, "demo/team-red/missing").await.error();
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(message, "Secrets Manager can't find the specified secret.");
    assert_eq!(bench.last_call().verdict, CallVerdict::Failed);
}

#[tokio::test]
async fn policies_match_the_stored_arn_with_its_suffix() {
    let bench = Bench::start().await;
    let name = "demo/team-red/secret";
    for (resource, allowed) in [
        (format!("{}-??????", arn(name)), true),
        (format!("{}-*", arn(name)), true),
        (arn("demo/team-red/*"), true),
        (arn(name), false),
        (format!("{}-????", arn(name)), false),
        (arn("demo/team-re*").replace(REGION, "us-east-1"), false),
        (arn("DEMO/team-red/*"), false),
    ] {
        let policy = allow(&[&resource]).to_string();
        let params = [
            ("RoleName", "red"),
            ("PolicyName", "own-secrets"),
            ("PolicyDocument", policy.as_str()),
        ];
        bench.iam("PutRolePolicy", &params).await;
        let red = bench.session("red").await;
        assert_eq!(bench.read(&red, name).await.status == 200, allowed, "{resource}");
    }
}

#[tokio::test]
async fn a_resource_policy_can_forbid_and_grant() {
    let bench = Bench::start().await;
    let red = bench.session("red").await;
    let statement = |effect: &str| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": effect,
            "Action": "secretsmanager:GetSecretValue",
            "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:role/red")},
            "Resource": "*",
        }]})
        .to_string()
    };
    let put = async |id: &str, policy: String| {
        bench
            .secrets(
                "PutResourcePolicy",
                &json!({"SecretId": id, "ResourcePolicy": policy}),
            )
            .await
    };
    put("demo/team-red/secret", statement("Deny")).await;
    let (_, _, message) = bench.read(&red, "demo/team-red/secret").await.error();
    assert!(
        message.ends_with("with an explicit deny in a resource-based policy"),
        "{message}"
    );
    assert!(bench.last_call().statement.unwrap().contains("Deny"));
    put("demo/team-blue/secret", statement("Allow")).await;
    assert_eq!(
        bench.read(&red, "demo/team-blue/secret").await.json()["SecretString"],
        "blue"
    );
    bench
        .secrets(
            "DeleteResourcePolicy",
            &json!({"SecretId": "demo/team-blue/secret"}),
        )
        .await;
    assert_eq!(
        bench.read(&red, "demo/team-blue/secret").await.error().1,
        "AccessDeniedException"
    );
}

#[tokio::test]
async fn condition_keys_are_there_when_the_request_has_them() {
    let bench = Bench::start().await;
    bench
        .secrets(
            "TagResource",
            &json!({"SecretId": "demo/team-red/secret", "Tags": [{"Key": "team", "Value": "red"}]}),
        )
        .await;
    let asked = |more: Value| {
        let mut body = json!({"SecretId": "demo/team-red/secret"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (
            json!({"StringEquals": {"secretsmanager:VersionStage": "AWSCURRENT"}}),
            asked(json!({})),
            false,
        ),
        (
            json!({"StringEquals": {"secretsmanager:VersionStage": "AWSCURRENT"}}),
            asked(json!({"VersionStage": "AWSCURRENT"})),
            true,
        ),
        (
            json!({"StringEquals": {"aws:ResourceTag/team": "red"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"StringEquals": {"secretsmanager:ResourceTag/team": "blue"}}),
            asked(json!({})),
            false,
        ),
        // The key is the stored ARN, in whatever form the caller names the secret.
        (
            json!({"ArnLike": {"secretsmanager:SecretId": "arn:aws:secretsmanager:*:*:secret:demo/team-red/secret-??????"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"StringEquals": {"secretsmanager:SecretId": "demo/team-red/secret"}}),
            asked(json!({})),
            false,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": REGION}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"ArnEquals": {"aws:PrincipalArn": format!("arn:aws:iam::{ACCOUNT}:role/red")}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"StringLike": {"aws:FederatedProvider": "*:oidc-provider/127.0.0.1:*"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"StringLike": {"aws:userid": "AROA*:1700000000000000000"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"Bool": {"aws:SecureTransport": "true"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
            asked(json!({})),
            true,
        ),
        (
            json!({"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}),
            asked(json!({})),
            false,
        ),
    ];
    let red = bench.session("red").await;
    for (condition, body, allowed) in cases {
        let mut policy = allow(&["*"]);
        policy["Statement"][0]["Condition"] = condition.clone();
        let policy = policy.to_string();
        let params = [
            ("RoleName", "red"),
            ("PolicyName", "own-secrets"),
            ("PolicyDocument", policy.as_str()),
        ];
        bench.iam("PutRolePolicy", &params).await;
        let reply = bench.client.secrets(&red, "GetSecretValue", &body).await;
        assert_eq!(reply.status == 200, allowed, "{condition}: {reply:?}");
    }
}

#[tokio::test]
async fn a_batch_gives_what_the_caller_may_read_and_errors_for_the_rest() {
    let bench = Bench::start().await;
    let mut policy = allow(&["arn:aws:secretsmanager:*:*:secret:demo/team-red/*"]);
    policy["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Allow", "Action": ["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"], "Resource": "*",
    }));
    let red = bench.session("red").await;
    let ids =
        json!({"SecretIdList": ["demo/team-red/secret", "demo/team-blue/secret", "demo/team-red/missing"]});
    let reply = bench.client.secrets(&red, "BatchGetSecretValue", &ids).await;
    assert_eq!(
        reply.error().1,
        "AccessDeniedException",
        "the batch itself has to be allowed"
    );

    let policy = policy.to_string();
    let params = [
        ("RoleName", "red"),
        ("PolicyName", "own-secrets"),
        ("PolicyDocument", policy.as_str()),
    ];
    bench.iam("PutRolePolicy", &params).await;
    let answer = bench
        .client
        .secrets(&red, "BatchGetSecretValue", &ids)
        .await
        .json();
    assert_eq!(answer["SecretValues"].as_array().unwrap().len(), 1);
    assert_eq!(answer["SecretValues"][0]["SecretString"], "red");
    let codes: Vec<&str> = answer["Errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["ErrorCode"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["AccessDeniedException", "ResourceNotFoundException"]);

    let filter = json!({"Filters": [{"Key": "name", "Values": ["demo/"]}]});
    let answer = bench
        .client
        .secrets(&red, "BatchGetSecretValue", &filter)
        .await
        .json();
    assert_eq!(answer["SecretValues"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["Errors"].as_array().unwrap().len(), 1, "{answer}");
}

#[tokio::test]
async fn a_secret_is_made_with_tags_only_by_those_who_may_tag_it() {
    let bench = Bench::start().await;
    let mut policy = allow(&[&arn("demo/team-red/*")]);
    policy["Statement"][0]["Action"] = json!("secretsmanager:CreateSecret");
    let text = policy.to_string();
    bench
        .iam(
            "PutRolePolicy",
            &[
                ("RoleName", "red"),
                ("PolicyName", "own-secrets"),
                ("PolicyDocument", &text),
            ],
        )
        .await;
    let red = bench.session("red").await;
    let create = async |name: &str, tags: Value| {
        let body = json!({"Name": name, "Tags": tags});
        bench.client.secrets(&red, "CreateSecret", &body).await
    };
    assert_eq!(create("demo/team-red/plain", json!([])).await.status, 200);
    assert_eq!(
        create("demo/team-blue/plain", json!([])).await.error().1,
        "AccessDeniedException"
    );
    let (_, code, message) = create("demo/team-red/tagged", json!([{"Key": "a", "Value": "b"}]))
        .await
        .error();
    assert_eq!(code, "AccessDeniedException");
    assert!(message.contains("secretsmanager:TagResource"), "{message}");
}

#[tokio::test]
async fn regions_are_apart_and_errors_have_the_recorded_form() {
    let bench = Bench::start().await;
    let elsewhere = arn("demo/team-red/secret").replace(REGION, "us-east-1");
    assert_eq!(
        bench.read(&bench.root, &elsewhere).await.error().1,
        "ResourceNotFoundException"
    );

    let reply = bench.read(&bench.root, "demo/missing").await;
    assert_eq!(
        reply.json()["Message"],
        "Secrets Manager can't find the specified secret."
    );
    let reply = bench.read(&bench.root, "no spaces").await;
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .starts_with("Invalid name."),
        "{reply:?}"
    );
    let reply = bench.client.secrets(&bench.root, "ShredSecret", &json!({})).await;
    assert_eq!(
        (reply.status, reply.error().1.as_str()),
        (400, "UnknownOperationException")
    );
    let reply = bench
        .client
        .secrets(&bench.root, "GetSecretValue", &json!({"SecretId": 5}))
        .await;
    assert_eq!(reply.error().1, "SerializationException");
}
