//! Replication and rotation as a tenant has them: another region is another ARN, and each operation an action.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, ELSEWHERE, GET, REGION, Site, denied, no_identity_policy, policy, read, read_own,
};

const OWN: &str = "demo/team-red/secret";
const OTHER: &str = "demo/team-blue/secret";

fn arn_in(region: &str, name: &str) -> String {
    format!("arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}")
}

async fn replicate(site: &Site, id: &str, region: &str) -> Value {
    let replicate = json!({"SecretId": id, "AddReplicaRegions": [{"Region": region}]});
    site.done("ReplicateSecretToRegions", replicate).await
}

#[tokio::test]
async fn a_replica_is_read_by_those_who_are_allowed_its_region() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    for id in [OWN, OTHER] {
        replicate(&site, id, ELSEWHERE).await;
    }
    let regions = [REGION, ELSEWHERE];
    for (allowed, of_policy) in [
        ([true, false], arn_in(REGION, "demo/team-red/*")),
        ([false, true], arn_in(ELSEWHERE, "demo/team-red/*")),
        ([true, true], arn_in("*", "demo/team-red/*")),
        ([false, true], arn_in("us-*", "demo/team-red/*")),
        ([false, false], arn_in("eu-central-1", "demo/team-red/*")),
    ] {
        site.allow("team-red", &read(&of_policy)).await;
        for (region, allowed) in regions.into_iter().zip(allowed) {
            let described = json!({"SecretId": OWN});
            let described = site.secrets_in(region, &site.root, "DescribeSecret", described);
            let arn = described.await.json()["ARN"].as_str().unwrap().to_owned();
            assert!(arn.starts_with(&arn_in(region, OWN)), "{arn}");
            for id in [OWN, arn.as_str()] {
                let get = site.secrets_in(region, &red, "GetSecretValue", json!({"SecretId": id}));
                let (answer, call) = site.logged(get).await;
                let case = format!("{id} in {region} by {of_policy}");
                assert_eq!(call.resource.as_ref(), Some(&arn), "{case}");
                if allowed {
                    assert_eq!(answer.value_or_code(), "value of team-red", "{case}");
                    continue;
                }
                let text = denied("team-red", GET, id, &no_identity_policy(GET));
                let expected = (400, "AccessDeniedException".to_owned(), text);
                assert_eq!(answer.error(), expected, "{case}");
                assert_eq!(call.verdict, CallVerdict::Denied, "{case}");
            }
            let get = json!({"SecretId": OTHER});
            let answer = site.secrets_in(region, &red, "GetSecretValue", get).await;
            let text = denied("team-red", GET, OTHER, &no_identity_policy(GET));
            assert_eq!(answer.message(), text, "{region} by {of_policy}");
        }
    }
}

#[tokio::test]
async fn a_condition_on_the_region_that_is_called_decides_of_replicas_too() {
    let (site, red) = Site::with_red().await;
    replicate(&site, OWN, ELSEWHERE).await;
    let mut here_only = read_own("team-red");
    here_only["Statement"][0]["Condition"] = json!({"StringEquals": {"aws:RequestedRegion": REGION}});
    site.allow("team-red", &here_only).await;
    for (region, status) in [(REGION, 200), (ELSEWHERE, 400)] {
        let get = json!({"SecretId": OWN});
        let answer = site.secrets_in(region, &red, "GetSecretValue", get).await;
        assert_eq!(answer.status, status, "{region}: {}", answer.text);
    }
}

/// The example of AWS's page "Prevent AWS Secrets Manager replication".
fn replicates_to(pattern: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Action": ["secretsmanager:CreateSecret", "secretsmanager:ReplicateSecretToRegions"],
        "Resource": "arn:aws:secretsmanager:*:*:secret:demo/team-red/*",
        "Condition": {"ForAllValues:StringLike": {"secretsmanager:AddReplicaRegions": [pattern]}},
    })
}

#[tokio::test]
async fn a_tenant_replicates_its_own_secrets_to_the_regions_that_it_may() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let action = "secretsmanager:ReplicateSecretToRegions";
    let replicate = async |id: &str, regions: &[&str]| {
        let regions: Vec<Value> = regions.iter().map(|region| json!({"Region": region})).collect();
        let input = json!({"SecretId": id, "AddReplicaRegions": regions});
        site.secrets(&red, "ReplicateSecretToRegions", input).await
    };
    let refused = denied("team-red", action, OWN, &no_identity_policy(action));
    assert_eq!(
        replicate(OWN, &[ELSEWHERE]).await.message(),
        refused,
        "by nobody's leave"
    );

    site.allow("team-red", &policy(&replicates_to("us-*"))).await;
    for regions in [&["ap-south-1"][..], &[ELSEWHERE, "ap-south-1"]] {
        let answer = replicate(OWN, regions).await;
        let expected = (400, "AccessDeniedException".to_owned(), refused.clone());
        assert_eq!(answer.error(), expected, "{regions:?}");
    }
    let text = denied("team-red", action, OTHER, &no_identity_policy(action));
    assert_eq!(replicate(OTHER, &[ELSEWHERE]).await.message(), text);
    let there = async |region: &str, name: &str| {
        let described = site.secrets_in(region, &site.root, "DescribeSecret", json!({"SecretId": name}));
        described.await.status == 200
    };
    assert!(!there(ELSEWHERE, OWN).await && !there(ELSEWHERE, OTHER).await);
    let answer = replicate(OWN, &[ELSEWHERE]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(there(ELSEWHERE, OWN).await);

    // What is replicated when it is made is no way around it.
    for (name, region, status) in [("made-there", "ap-south-1", 400), ("made-here", ELSEWHERE, 200)] {
        let name = format!("demo/team-red/{name}");
        let create = json!({"Name": name, "SecretString": "x", "AddReplicaRegions": [{"Region": region}]});
        let answer = site.secrets(&red, "CreateSecret", create).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        assert_eq!(there(region, &name).await, status == 200, "{name}");
    }
    for (operation, input) in [
        (
            "RemoveRegionsFromReplication",
            json!({"SecretId": OWN, "RemoveReplicaRegions": [ELSEWHERE]}),
        ),
        ("StopReplicationToReplica", json!({"SecretId": OWN})),
    ] {
        let action = format!("secretsmanager:{operation}");
        let answer = site.secrets(&red, operation, input).await;
        let text = denied("team-red", &action, OWN, &no_identity_policy(&action));
        assert_eq!(answer.message(), text, "{operation}");
    }
    assert!(there(ELSEWHERE, OWN).await);
}

#[tokio::test]
async fn a_replica_under_a_key_of_its_region_asks_that_key() {
    let (site, red) = Site::with_red().await;
    let made = crate::support::json_request("kms", ELSEWHERE, "CreateKey", &json!({}));
    let made = site.send(crate::support::signed(made, &site.root)).await.json();
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap();
    let replicate = json!({"SecretId": OWN, "AddReplicaRegions": [{"Region": ELSEWHERE, "KmsKeyId": key}]});
    site.done("ReplicateSecretToRegions", replicate.clone()).await;
    let get = async |region: &str| {
        let get = json!({"SecretId": OWN});
        site.secrets_in(region, &red, "GetSecretValue", get).await
    };
    assert_eq!(get(REGION).await.value_or_code(), "value of team-red");
    assert_eq!(get(ELSEWHERE).await.message(), "Access to KMS is not allowed");
    let mut both = read_own("team-red");
    let decrypt = json!({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key});
    both["Statement"].as_array_mut().unwrap().push(decrypt);
    site.allow("team-red", &both).await;
    assert_eq!(get(ELSEWHERE).await.value_or_code(), "value of team-red");
    // To replicate is to encrypt there, and to decrypt is not to encrypt.
    let mut all = both.clone();
    let replication = json!({"Effect": "Allow", "Action": "secretsmanager:Replicate*", "Resource": "*"});
    all["Statement"].as_array_mut().unwrap().push(replication);
    site.allow("team-red", &all).await;
    let answer = site.secrets(&red, "ReplicateSecretToRegions", replicate).await;
    assert_eq!(answer.message(), "Access to KMS is not allowed");
}

#[tokio::test]
async fn a_secret_is_rotated_by_those_who_may_rotate_it() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-blue").await;
    let rotation = json!({
        "Effect": "Allow", "Action": ["secretsmanager:RotateSecret", "secretsmanager:CancelRotateSecret"],
        "Resource": arn_in("*", "demo/team-red/*"),
    });
    let no_function = "No Lambda rotation function ARN is associated with this secret.";
    let never = "You tried to enable rotation on a secret that doesn't already have a Lambda function ARN";
    for operation in ["RotateSecret", "CancelRotateSecret"] {
        let action = format!("secretsmanager:{operation}");
        let input = |id: &str| json!({"SecretId": id, "ClientRequestToken": uuid::Uuid::new_v4()});
        // To read a secret, and to write it, is not to rotate it.
        let all_else = json!({
            "Effect": "Allow", "NotAction": action, "Resource": arn_in("*", "demo/team-red/*"),
        });
        for (granted, id) in [
            (read_own("team-red"), OWN),
            (policy(&all_else), OWN),
            (policy(&rotation), OTHER),
        ] {
            site.allow("team-red", &granted).await;
            let (answer, call) = site.logged(site.secrets(&red, operation, input(id))).await;
            let text = denied("team-red", &action, id, &no_identity_policy(&action));
            let expected = (400, "AccessDeniedException".to_owned(), text);
            assert_eq!(answer.error(), expected, "{operation} {id} by {granted}");
            assert_eq!(call.verdict, CallVerdict::Denied, "{operation} {id}");
        }
        site.allow("team-red", &policy(&rotation)).await;
        let (answer, call) = site.logged(site.secrets(&red, operation, input(OWN))).await;
        let (_, code, text) = answer.error();
        assert_eq!(
            code, "InvalidRequestException",
            "{operation}: let in, as there is no function"
        );
        let expected = if operation == "RotateSecret" {
            no_function
        } else {
            never
        };
        assert!(text.starts_with(expected), "{operation}: {text}");
        assert_eq!(call.verdict, CallVerdict::Failed, "{operation}");
    }
    // Which function it is, policies may say.
    let arn = |name: &str| format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}");
    let mut theirs = rotation.clone();
    theirs["Condition"] = json!({"ArnEquals": {"secretsmanager:RotationLambdaARN": arn("rotate")}});
    site.allow("team-red", &policy(&theirs)).await;
    for (function, expected) in [
        (
            "rotate",
            "Secrets Manager cannot invoke the specified Lambda function.",
        ),
        ("other", "User: "),
    ] {
        let input = json!({
            "SecretId": OWN, "ClientRequestToken": uuid::Uuid::new_v4(), "RotationLambdaARN": arn(function),
        });
        let answer = site.secrets(&red, "RotateSecret", input).await;
        assert!(
            answer.message().starts_with(expected),
            "{function}: {}",
            answer.text
        );
    }
}
