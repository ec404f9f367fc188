//! `k8s-aws-v1.` tokens: who their bearers are for a cluster.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use mountproof_aws_endpoint::Defects;
use serde_json::json;

use crate::support::{ACCOUNT, Caller, REGION, Site, role_arn, session_arn};

/// A token as `aws eks get-token` makes it, for a cluster, by a host of STS, signed for a region.
fn token(caller: &Caller, cluster: &str, host: &str, region: &str) -> String {
    let url = url(caller, cluster, host, region);
    format!("k8s-aws-v1.{}", BASE64_URL_SAFE_NO_PAD.encode(url))
}

fn url(caller: &Caller, cluster: &str, host: &str, region: &str) -> String {
    let Caller { id, secret, token } = caller;
    let identity = Credentials::new(id, secret, token.clone(), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(std::time::Duration::from_mins(1));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = [("x-k8s-aws-id", cluster)];
    let signable = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::empty()).unwrap();
    let mut request = http::Request::get(&url).body(()).unwrap();
    sign(signable, &params)
        .unwrap()
        .into_parts()
        .0
        .apply_to_request_http1x(&mut request);
    request.uri().to_string()
}

const STS: &str = "sts.eu-west-1.amazonaws.com";

#[tokio::test]
async fn a_token_stands_for_who_made_it_by_the_clusters_access_entries() {
    let (site, red) = Site::with_red().await;
    site.cluster("demo", "API").await;
    let ask = |token: &str| site.endpoint.authenticate_eks_token(REGION, "demo", token);
    let root = ask(&token(&site.root, "demo", STS, REGION)).unwrap();
    assert_eq!(root.username, format!("arn:aws:iam::{ACCOUNT}:root"));
    assert_eq!(
        root.policies[0].arn,
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    );
    let of_red = token(&red, "demo", STS, REGION);
    let refused = ask(&of_red).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "no access entry of cluster demo names {}",
            session_arn("team-red")
        )
    );
    let entry = json!({ "principalArn": role_arn("team-red"), "kubernetesGroups": ["devs"], "username": "red:{{SessionName}}" });
    let made = site
        .eks(&site.root, "POST", "/clusters/demo/access-entries", entry)
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    let known = ask(&of_red).unwrap();
    assert_eq!(known.arn, session_arn("team-red"));
    assert_eq!(
        known.username,
        format!("red:{}", session_arn("team-red").rsplit('/').next().unwrap())
    );
    assert_eq!(known.groups, ["devs"]);
}

#[tokio::test]
async fn no_other_token_comes_in() {
    let site = Site::start().await;
    site.cluster("demo", "API").await;
    let ask = |token: &str| {
        let asked = site.endpoint.authenticate_eks_token(REGION, "demo", token);
        asked
            .map(|identity| identity.arn)
            .map_err(|error| error.to_string())
    };
    let stranger = site.root.but(|caller| caller.secret = "x".repeat(40));
    let unknown = site
        .root
        .but(|caller| caller.id = "AKIAAAAAAAAAAAAAAAAA".to_owned());
    for (what, token, part) in [
        (
            "for another cluster",
            token(&site.root, "other", STS, REGION),
            "SignatureDoesNotMatch",
        ),
        (
            "with another secret",
            token(&stranger, "demo", STS, REGION),
            "SignatureDoesNotMatch",
        ),
        (
            "of an unknown key",
            token(&unknown, "demo", STS, REGION),
            "InvalidClientTokenId",
        ),
        (
            "of another host",
            token(&site.root, "demo", "sts.evil.com", REGION),
            "unexpected hostname",
        ),
        (
            "signed for another region",
            token(&site.root, "demo", STS, "us-east-1"),
            "Credential should be scoped to a valid region",
        ),
        ("without a prefix", "x".to_owned(), "missing expected"),
    ] {
        let refused = ask(&token).unwrap_err();
        assert!(refused.contains(part), "{what}: {refused}");
    }
    let good = token(&site.root, "demo", STS, REGION);
    site.later(SignedDuration::from_mins(16));
    let refused = ask(&good).unwrap_err();
    assert!(
        refused.starts_with("X-Amz-Date parameter is expired"),
        "{refused}"
    );
    site.later(SignedDuration::ZERO);
    assert!(ask(&good).is_ok(), "the control");
    let defects = Defects {
        accept_any_region: true,
        ..Defects::default()
    };
    site.endpoint.set_defects(defects);
    assert!(
        ask(&token(&site.root, "demo", STS, "us-east-1")).is_ok(),
        "the planted defect"
    );
}

#[tokio::test]
async fn a_presigned_get_caller_identity_is_answered() {
    let (site, red) = Site::with_red().await;
    let url = url(&red, "demo", STS, REGION);
    let request = http::Request::get(url)
        .header("x-k8s-aws-id", "demo")
        .body(bytes::Bytes::new())
        .unwrap();
    let answer = site.send(request).await;
    assert_eq!(
        answer.xml("Arn"),
        Some(session_arn("team-red")),
        "{}",
        answer.text
    );
}
