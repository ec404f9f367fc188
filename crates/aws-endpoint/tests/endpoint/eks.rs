//! EKS: clusters that are made, are there, and vouch for their service accounts.

use std::time::Duration;

use jiff::SignedDuration;
use mountproof_aws_endpoint::{CallVerdict, Faults, ServiceAccountToken};
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, AUDIENCE, Answer, Caller, REGION, Site, policy, rest_request, role_arn, signed,
};

impl Site {
    /// Calls EKS.
    pub(crate) async fn eks(&self, caller: &Caller, method: &str, path: &str, input: Value) -> Answer {
        self.send(signed(rest_request("eks", REGION, method, path, &input), caller))
            .await
    }

    /// A role that a service can assume.
    pub(crate) async fn service_role(&self, name: &str, service: &str) {
        let trust = policy(&json!({
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }));
        self.role(name, &trust).await;
    }

    /// A cluster that is there, with a role of its own.
    pub(crate) async fn cluster(&self, name: &str, mode: &str) -> Value {
        self.service_role(&format!("{name}-role"), "eks.amazonaws.com")
            .await;
        let wanted = cluster(name, mode);
        let answer = self.eks(&self.root, "POST", "/clusters", wanted).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        self.later(SignedDuration::from_secs(2));
        let there = self
            .eks(&self.root, "GET", &format!("/clusters/{name}"), Value::Null)
            .await;
        self.later(SignedDuration::ZERO);
        there.json()["cluster"].clone()
    }

    /// The endpoint's clock is ahead.
    pub(crate) fn later(&self, clock_step: SignedDuration) {
        let ahead = format!("clock-step:{}s", clock_step.as_secs());
        let faults = if clock_step.is_zero() {
            Faults::default()
        } else {
            Faults::parse(&ahead).unwrap()
        };
        self.endpoint.set_faults(faults);
    }
}

fn cluster(name: &str, mode: &str) -> Value {
    json!({
        "name": name,
        "roleArn": role_arn(&format!("{name}-role")),
        "resourcesVpcConfig": { "subnetIds": ["subnet-1", "subnet-2"] },
        "accessConfig": { "authenticationMode": mode },
    })
}

#[tokio::test]
async fn a_cluster_is_made_and_is_there_a_moment_later() {
    let site = Site::start().await;
    site.service_role("demo-role", "eks.amazonaws.com").await;
    let (made, call) = site
        .logged(site.eks(&site.root, "POST", "/clusters", cluster("demo", "API")))
        .await;
    assert_eq!(made.json()["cluster"]["status"], "CREATING", "{}", made.text);
    assert_eq!(
        (call.action().as_str(), call.verdict),
        ("eks:CreateCluster", CallVerdict::Allowed)
    );
    let arn = format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/demo");
    assert_eq!(call.resource, Some(arn));
    site.later(SignedDuration::from_secs(2));
    let there = site.eks(&site.root, "GET", "/clusters/demo", Value::Null).await;
    assert_eq!(there.json()["cluster"]["status"], "ACTIVE");
    site.later(SignedDuration::ZERO);
    let again = site
        .eks(&site.root, "POST", "/clusters", cluster("demo", "API"))
        .await;
    let expected = json!({ "clusterName": "demo", "message": "Cluster already exists with name: demo" });
    assert_eq!((again.status, again.json()), (409, expected));
    let missing = site.eks(&site.root, "GET", "/clusters/other", Value::Null).await;
    let expected = json!({ "message": "No cluster found for name: other." });
    assert_eq!((missing.status, missing.json()), (404, expected));
    assert!(site.endpoint.leftovers().contains(&"cluster demo".to_owned()));
}

#[tokio::test]
async fn eks_is_for_those_it_is_granted_to_with_the_roles_that_they_may_hand_over() {
    let (site, red) = Site::with_red().await;
    site.service_role("demo-role", "eks.amazonaws.com").await;
    let resource = format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/demo");
    let denied = site.eks(&red, "POST", "/clusters", cluster("demo", "API")).await;
    let user = crate::support::session_arn("team-red");
    let text = |action: &str, resource: &str| {
        format!(
            "User: {user} is not authorized to perform: {action} on resource: {resource} because no identity-based \
             policy allows the {action} action"
        )
    };
    let expected = json!({ "message": text("eks:CreateCluster", &resource) });
    assert_eq!((denied.status, denied.json()), (403, expected));
    let create = json!({ "Effect": "Allow", "Action": "eks:CreateCluster", "Resource": resource });
    site.allow("team-red", &policy(&create)).await;
    let denied = site.eks(&red, "POST", "/clusters", cluster("demo", "API")).await;
    let expected = json!({ "message": text("iam:PassRole", &role_arn("demo-role")) });
    assert_eq!(
        (denied.status, denied.json()),
        (403, expected),
        "a role is handed over"
    );
    let both = json!({ "Effect": "Allow", "Action": ["eks:CreateCluster", "iam:PassRole"], "Resource": "*" });
    site.allow("team-red", &policy(&both)).await;
    let made = site.eks(&red, "POST", "/clusters", cluster("demo", "API")).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let list = site.eks(&red, "GET", "/clusters", Value::Null).await;
    assert_eq!(list.status, 403, "{}", list.text);
}

#[tokio::test]
async fn a_clusters_issuer_publishes_its_keys_and_sts_knows_them() {
    let site = Site::start().await;
    let issuer = site.cluster("demo", "API").await["identity"]["oidc"]["issuer"]
        .as_str()
        .unwrap()
        .to_owned();
    let read = |path: &str| {
        let request = http::Request::get(format!("{issuer}{path}"))
            .body(bytes::Bytes::new())
            .unwrap();
        site.send(request)
    };
    let discovery = read("/.well-known/openid-configuration").await.json();
    assert_eq!(
        (&discovery["issuer"], &discovery["jwks_uri"]),
        (&json!(issuer), &json!(format!("{issuer}/keys")))
    );
    let keys = read("/keys").await.json();
    assert_eq!(
        (&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]),
        (&json!("RSA"), &json!("RS256"))
    );
    assert!(keys["keys"][0].get("d").is_none(), "no private part: {keys}");

    let name = issuer.strip_prefix("https://").unwrap();
    site.iam(
        "CreateOpenIDConnectProvider",
        &[("Url", &issuer), ("ClientIDList.member.1", AUDIENCE)],
    )
    .await;
    let trust = policy(&json!({
        "Effect": "Allow",
        "Principal": { "Federated": crate::support::provider_arn(name) },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "StringEquals": {
            format!("{name}:sub"): "system:serviceaccount:team-red:app", format!("{name}:aud"): AUDIENCE,
        } },
    }));
    site.role("irsa", &trust).await;
    let token = |account: &str| {
        let wanted = ServiceAccountToken {
            namespace: "team-red",
            service_account: account,
            pod: None,
            audience: AUDIENCE,
            seconds: 600,
        };
        site.endpoint
            .service_account_token(REGION, "demo", &wanted)
            .unwrap()
    };
    let answer = site.assume("irsa", &token("app"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let other = site.assume("irsa", &token("other"), &[]).await;
    assert_eq!(other.code(), "AccessDenied");
    site.eks(&site.root, "DELETE", "/clusters/demo", Value::Null)
        .await;
    site.later(SignedDuration::try_from(Duration::from_secs(5)).unwrap());
    let gone = site.eks(&site.root, "GET", "/clusters/demo", Value::Null).await;
    assert_eq!(gone.status, 404);
    let answer = site.assume("irsa", &token_of_nobody(&site), &[]).await;
    assert_ne!(answer.status, 200, "its issuer went with it");
}

/// A token that nobody's cluster signed.
fn token_of_nobody(site: &Site) -> String {
    site.issuer.token_of("team-red")
}
