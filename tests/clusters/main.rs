//! EKS clusters of the endpoint with the Kubernetes stand-in behind them: what runs against EKS runs here too.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod addons;
mod faults;
mod mounts;
mod nodes;
mod site;

use std::sync::Arc;

use aws_credential_types::Credentials;
use futures::{FutureExt as _, future::BoxFuture};
use mountproof::{
    environment::{NodeOptions, StandInClusters},
    tenant::Marks,
};
use mountproof_aws_endpoint::eks::{ClusterBackend, ClusterCallers, ClusterParts, ClusterWanted};
use serde_json::{Value, json};

use crate::site::{CLUSTERS, REGION, Site, token};

#[tokio::test]
async fn a_cluster_has_an_api_server_that_lets_in_whom_eks_knows() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca, NodeOptions::default()))).await;
    let cluster = site.cluster("demo", "ACTIVE").await;
    let root = site.root();

    let made_it = site.connect(&cluster, &token(&root, "demo")).await;
    let namespaces = made_it.list("v1", "Namespace", None, None).await.unwrap();
    assert!(
        namespaces
            .iter()
            .any(|one| one["metadata"]["name"] == "kube-system")
    );

    let (arn, other) = site.session("other").await;
    let status = async |caller: &Credentials, signed_for: &str| {
        let kubernetes = site.connect(&cluster, &token(caller, signed_for)).await;
        let asked = kubernetes.list("v1", "Namespace", None, None).await;
        asked.map(drop).map_err(|error| error.status)
    };
    assert_eq!(
        status(&other, "demo").await,
        Err(Some(401)),
        "there is no entry of it"
    );
    let entries = "/clusters/demo/access-entries";
    site.eks("POST", entries, &json!({ "principalArn": arn })).await;
    let entry = format!("{entries}/{}", arn.replace(':', "%3A").replace('/', "%2F"));
    let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
    site.eks(
        "POST",
        &format!("{entry}/access-policies"),
        &json!({ "policyArn": policy, "accessScope": { "type": "cluster" } }),
    )
    .await;
    assert_eq!(status(&other, "demo").await, Ok(()));
    assert_eq!(
        status(&other, "elsewhere").await,
        Err(Some(401)),
        "it is for another cluster"
    );
    site.eks("DELETE", &entry, &Value::Null).await;
    assert_eq!(status(&other, "demo").await, Err(Some(401)), "its entry is gone");

    site.eks("DELETE", "/clusters/demo", &Value::Null).await;
    site.until("the cluster is gone", async || {
        site.ask("GET", CLUSTERS, "/clusters/demo", &Value::Null).await.0 == 404
    })
    .await;
    site.until("its API server is gone", async || {
        made_it.version().await.is_err_and(|error| !error.is_answer())
    })
    .await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_service_account_of_a_cluster_assumes_its_role() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca, NodeOptions::default()))).await;
    let cluster = site.cluster("demo", "ACTIVE").await;
    let kubernetes = site.connect(&cluster, &token(&site.root(), "demo")).await;
    let token = kubernetes
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();
    let issuer = cluster["identity"]["oidc"]["issuer"].as_str().unwrap();
    assert!(issuer.starts_with("https://oidc.eks.eu-west-1.amazonaws.com/id/"));
    assert_eq!(kubernetes.issuer().await.unwrap(), issuer);

    let aws = site.aws();
    let tags = Marks::of_run("clusters").tags();
    let trusted = issuer.trim_start_matches("https://");
    let provider = aws.oidc_arn(issuer);
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow",
        "Principal": { "Federated": provider },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{trusted}:sub"): "system:serviceaccount:default:default",
            format!("{trusted}:aud"): "sts.amazonaws.com",
        } },
    } });
    // A role trusts a provider that is there, and STS one that the account has.
    aws.provide_oidc(issuer, "sts.amazonaws.com", &tags)
        .await
        .unwrap();
    let role = site.role("app", &trust).await;
    aws.assume(&role, &token).await.map(drop).unwrap();
    let forged = aws.assume(&role, &token.with_other_signature()).await;
    assert!(forged.map(drop).is_err_and(|error| error.is_bad_token()));
    aws.remove_oidc(&provider).await.unwrap();
    let unknown = aws.assume(&role, &token).await;
    assert!(unknown.map(drop).is_err(), "the account has no such provider");
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_cluster_of_a_saved_state_gets_a_new_api_server() {
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca, NodeOptions::default()))).await;
    let before = site.cluster("demo", "ACTIVE").await;
    assert_eq!(site.endpoint.bereaved_clusters(), []);
    let old = site.connect(&before, &token(&site.root(), "demo")).await;
    let of_old = old
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();
    let saved = site.endpoint.stopped().await;

    let site = Site::going_on_from(Some(saved), |ca| {
        Arc::new(StandInClusters::new(ca, NodeOptions::default()))
    })
    .await;
    let lost = [(REGION.to_owned(), "demo".to_owned())];
    assert_eq!(site.endpoint.bereaved_clusters(), lost);
    let cluster = site.once("demo", "ACTIVE").await;
    assert_eq!(cluster["health"]["issues"], json!([]));
    assert_ne!(cluster["certificateAuthority"], before["certificateAuthority"]);
    assert_eq!(cluster["identity"], before["identity"], "what roles trust");
    let new = site.connect(&cluster, &token(&site.root(), "demo")).await;
    let of_new = new
        .token("default", "default", "sts.amazonaws.com")
        .await
        .unwrap();

    // The keys are the new server's, and count for the issuer that roles trust.
    let aws = site.aws();
    let issuer = cluster["identity"]["oidc"]["issuer"].as_str().unwrap();
    let tags = Marks::of_run("clusters").tags();
    aws.provide_oidc(issuer, "sts.amazonaws.com", &tags)
        .await
        .unwrap();
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "Federated": aws.oidc_arn(issuer) },
        "Action": "sts:AssumeRoleWithWebIdentity",
    } });
    let role = site.role("app", &trust).await;
    aws.assume(&role, &of_new).await.map(drop).unwrap();
    let refused = aws.assume(&role, &of_old).await.map(drop);
    assert!(refused.is_err_and(|error| error.is_bad_token()));
    site.endpoint.stop().await;
}

/// A backend that cannot.
#[derive(Debug)]
struct Never;

impl ClusterBackend for Never {
    fn create(&self, _: ClusterWanted, _: ClusterCallers) -> BoxFuture<'_, Result<ClusterParts, String>> {
        async { Err("no room".to_owned()) }.boxed()
    }

    fn delete(&self, _: &str, _: &str) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

#[tokio::test]
async fn a_cluster_without_an_api_server_has_failed_and_can_be_deleted() {
    let site = Site::start(|_| Arc::new(Never)).await;
    let cluster = site.cluster("demo", "FAILED").await;
    assert_eq!(cluster["endpoint"], Value::Null);
    let issue = &cluster["health"]["issues"][0];
    assert_eq!(issue["code"], "InternalFailure");
    assert_eq!(issue["message"], "The API server could not be started: no room");
    site.eks("DELETE", "/clusters/demo", &Value::Null).await;
    site.until("the cluster is gone", async || {
        site.ask("GET", CLUSTERS, "/clusters/demo", &Value::Null).await.0 == 404
    })
    .await;
    site.endpoint.stop().await;
}
