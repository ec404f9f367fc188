//! Pod identities: which pods get which role, through the API and through the agent's address.

use mountproof_aws_endpoint::{CallVerdict, ServiceAccountToken};
use serde_json::{Value, json};

use crate::support::{ACCOUNT, Answer, REGION, Site, policy, rest_request, role_arn, secret_arn, signed};

const PODS: &str = "pods.eks.amazonaws.com";
const POD: ServiceAccountToken<'static> = ServiceAccountToken {
    namespace: "team-red",
    service_account: "app",
    pod: Some(("app-1", "11111111-2222-3333-4444-555555555555")),
    audience: PODS,
    seconds: 600,
};

impl Site {
    /// An account with the cluster `demo`, and a role for the pods of `team-red`'s `app`.
    async fn with_pods() -> Self {
        let site = Self::start().await;
        site.cluster("demo", "API").await;
        site.service_role("pods", PODS).await;
        site.associate("team-red", "pods").await;
        site
    }

    async fn associate(&self, namespace: &str, role: &str) -> String {
        let wanted = json!({ "namespace": namespace, "serviceAccount": "app", "roleArn": role_arn(role) });
        let path = "/clusters/demo/pod-identity-associations";
        let made = self.eks(&self.root, "POST", path, wanted).await;
        assert_eq!(made.status, 200, "{}", made.text);
        made.json()["association"]["associationId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn pod_token(&self, wanted: &ServiceAccountToken<'_>) -> String {
        self.endpoint
            .service_account_token(REGION, "demo", wanted)
            .unwrap()
    }

    async fn exchange(&self, cluster: &str, token: &str) -> Answer {
        let path = format!("/clusters/{cluster}/assume-role-for-pod-identity");
        let request = rest_request("eks-auth", REGION, "POST", &path, &json!({ "token": token }));
        self.send(signed(request, &self.root)).await
    }
}

#[tokio::test]
async fn a_pods_token_is_worth_the_role_of_its_service_account() {
    let site = Site::with_pods().await;
    let token = site.pod_token(&POD);
    let (answer, call) = site.logged(site.exchange("demo", &token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(
        answer["subject"],
        json!({ "namespace": "team-red", "serviceAccount": "app" })
    );
    assert_eq!(answer["audience"], PODS);
    let user = answer["assumedRoleUser"]["arn"].as_str().unwrap();
    let session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/pods/eks-demo-app-1-");
    assert!(user.starts_with(&session), "{user}");
    assert_eq!(
        (call.action().as_str(), call.verdict),
        ("eks-auth:AssumeRoleForPodIdentity", CallVerdict::Allowed)
    );
    assert_eq!(
        (call.role.as_deref(), call.subject.as_deref()),
        (Some("pods"), Some("system:serviceaccount:team-red:app"))
    );
    assert!(!format!("{call:?}").contains(&token), "the log has no token");
}

/// One role for all namespaces: the session's tags tell them apart.
#[tokio::test]
async fn a_pod_has_the_tags_of_its_namespace() {
    let site = Site::with_pods().await;
    for namespace in ["team-red", "team-blue"] {
        site.create(&format!("demo/{namespace}/secret"), namespace).await;
    }
    let own = policy(&json!({
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": format!("{}*", secret_arn("demo/${aws:PrincipalTag/kubernetes-namespace}/")),
        "Condition": { "StringEquals": { "aws:PrincipalTag/eks-cluster-name": "demo" } },
    }));
    site.allow("pods", &own).await;
    let credentials = site
        .endpoint
        .pod_identity_credentials(&site.pod_token(&POD))
        .await
        .unwrap();
    let part = |name: &str| credentials[name].as_str().unwrap().to_owned();
    let pod = crate::support::Caller {
        id: part("AccessKeyId"),
        secret: part("SecretAccessKey"),
        token: Some(part("Token")),
    };
    assert_eq!(part("AccountId"), ACCOUNT);
    assert_eq!(
        site.get(&pod, "demo/team-red/secret").await.value_or_code(),
        "team-red"
    );
    assert_eq!(
        site.get(&pod, "demo/team-blue/secret").await.value_or_code(),
        "AccessDeniedException"
    );
}

#[tokio::test]
async fn no_other_token_is_worth_anything() {
    let site = Site::with_pods().await;
    let with = |change: fn(&mut ServiceAccountToken<'static>)| {
        let mut wanted = POD;
        change(&mut wanted);
        site.pod_token(&wanted)
    };
    let (invalid, genuine) = ("InvalidTokenException", site.pod_token(&POD));
    let tampered = format!("{}AAAA", &genuine[..genuine.len() - 4]);
    for (what, token, status, message) in [
        (
            "for STS",
            with(|token| token.audience = "sts.amazonaws.com"),
            400,
            "The token audience is invalid",
        ),
        (
            "bound to no pod",
            with(|token| token.pod = None),
            400,
            "The token is not bound to a pod",
        ),
        (
            "of an issuer that is not the cluster's",
            site.issuer.token_of("team-red"),
            400,
            "The token was not issued by the cluster",
        ),
        (
            "expired",
            with(|token| token.seconds = -600),
            400,
            "Token expired: ",
        ),
        (
            "with another signature",
            tampered,
            400,
            "The signature of the token is not valid",
        ),
        (
            "garbage",
            "a.b.c".to_owned(),
            400,
            "The ID Token provided is not a valid JWT.",
        ),
        (
            "of a namespace without an association",
            with(|token| token.namespace = "team-blue"),
            404,
            "No association found for service account app in namespace team-blue",
        ),
    ] {
        let (answer, call) = site.logged(site.exchange("demo", &token)).await;
        let text = answer.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, status, "{what}: {text}");
        assert!(text.starts_with(message), "{what}: {text}");
        assert_eq!(call.verdict, CallVerdict::Denied, "{what}");
        let code = call.error.unwrap();
        assert!(
            status == 404 || code == invalid || code == "ExpiredTokenException",
            "{what}: {code}"
        );
    }
    let missing = site.exchange("other", &genuine).await;
    assert_eq!(
        (missing.status, missing.json()["message"].as_str()),
        (404, Some("No cluster found for name: other."))
    );
    assert_eq!(site.exchange("demo", &genuine).await.status, 200, "the control");
}

#[tokio::test]
async fn the_role_has_to_trust_eks_with_the_tags() {
    let site = Site::with_pods().await;
    let trust = |namespace: &str, actions: Value| {
        policy(&json!({
            "Effect": "Allow",
            "Principal": { "Service": PODS },
            "Action": actions,
            "Condition": { "StringEquals": { "aws:RequestTag/kubernetes-namespace": namespace } },
        }))
        .to_string()
    };
    let both = json!(["sts:AssumeRole", "sts:TagSession"]);
    for (namespace, actions, status) in [
        ("team-red", both.clone(), 200),
        ("team-blue", both, 400),
        ("team-red", json!("sts:AssumeRole"), 400),
    ] {
        let document = trust(namespace, actions);
        site.iam(
            "UpdateAssumeRolePolicy",
            &[("RoleName", "pods"), ("PolicyDocument", &document)],
        )
        .await;
        let answer = site.exchange("demo", &site.pod_token(&POD)).await;
        assert_eq!(answer.status, status, "{document}: {}", answer.text);
        if status != 200 {
            let text = "Unauthorized Exception! EKS does not have permissions to assume the associated role.";
            assert_eq!(answer.json()["message"], text);
        }
    }
}

#[tokio::test]
async fn the_agents_address_is_one_of_its_own() {
    use http_body_util::BodyExt as _;
    use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
    let ca = mountproof_run_tls::RunCa::generate("test").unwrap();
    let config = EndpointConfig {
        pod_identity_listen: Some(([127, 0, 0, 1], 0).into()),
        ..EndpointConfig::new(ACCOUNT, &ca)
    };
    let endpoint = Endpoint::start(config).await.unwrap();
    let address = endpoint.pod_identity_address().unwrap();
    let ask = |token: Option<&'static str>| async move {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::get("/v1/credentials").header("host", "169.254.170.23");
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let request = request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        let response = tokio::time::timeout(crate::support::SOON, sender.send_request(request))
            .await
            .unwrap()
            .unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(
        ask(None).await,
        (400, "Service account token cannot be empty".to_owned())
    );
    let (status, text) = ask(Some("a.b.c")).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.starts_with("InvalidTokenException: "), "{text}");
    endpoint.stop().await;
}

/// A cluster that nobody made by a call: a Kubernetes of somebody's own, taken for one of EKS's.
#[tokio::test]
async fn a_cluster_that_stands_already_can_be_taken_over() {
    use mountproof_aws_endpoint::eks::ClusterParts;
    let site = Site::start().await;
    site.service_role("pods", PODS).await;
    let parts = ClusterParts {
        endpoint: "https://127.0.0.1:6443".to_owned(),
        certificate_authority_pem: "pem".to_owned(),
        issuer: site.issuer.url.clone(),
        jwks: site.issuer.jwks(),
    };
    site.endpoint.adopt_cluster(REGION, "demo", parts);
    let described = site.eks(&site.root, "GET", "/clusters/demo", Value::Null).await;
    let cluster = &described.json()["cluster"];
    assert_eq!(cluster["status"], "ACTIVE", "{cluster}");
    assert_eq!(cluster["identity"]["oidc"]["issuer"], site.issuer.url);
    site.associate("team-red", "pods").await;
    let mut claims = site.issuer.claims_but("aud", json!([PODS]));
    claims["kubernetes.io"] = json!({
        "namespace": "team-red",
        "serviceaccount": { "name": "app", "uid": "s" },
        "pod": { "name": "app-1", "uid": "p" },
    });
    let token = site.issuer.sign(&claims);
    assert_eq!(site.exchange("demo", &token).await.status, 200);
}

/// Instances have credentials by being there, if their role trusts EC2; and no more rights than the role.
#[tokio::test]
async fn an_instance_has_the_credentials_of_its_role() {
    let site = Site::with_pods().await;
    site.service_role("node", "ec2.amazonaws.com").await;
    let of = |role: &str| {
        site.endpoint
            .instance_credentials(REGION, &role_arn(role), "i-0123456789abcdef0")
    };
    assert!(of("pods").is_none(), "it does not trust EC2");
    assert!(of("nobody").is_none());
    let node = of("node").unwrap();
    let node = crate::support::Caller {
        id: node.access_key_id,
        secret: node.secret_access_key,
        token: Some(node.session_token),
    };
    let token = site.pod_token(&POD);
    let exchange = async || {
        let path = "/clusters/demo/assume-role-for-pod-identity";
        let request = rest_request("eks-auth", REGION, "POST", path, &json!({ "token": token }));
        site.send(signed(request, &node)).await.status
    };
    assert_eq!(exchange().await, 400, "its role may do nothing");
    let may = json!({ "Effect": "Allow", "Action": "eks-auth:AssumeRoleForPodIdentity", "Resource": "*" });
    site.allow("node", &policy(&may)).await;
    assert_eq!(exchange().await, 200);
}

/// The planted defects: each gives what the rules do not.
#[tokio::test]
async fn defects_of_pod_identity_give_away_roles() {
    use mountproof_aws_endpoint::Defects;
    let site = Site::with_pods().await;
    let trust = |condition: Value| {
        policy(&json!({
            "Effect": "Allow",
            "Principal": { "Service": PODS },
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": condition,
        }))
        .to_string()
    };
    let other_cluster =
        json!({ "ArnEquals": { "aws:SourceArn": format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/other") } });
    let other_namespace = json!({ "StringEquals": { "aws:RequestTag/kubernetes-namespace": "team-blue" } });
    let none = json!({});
    let no_defect = Defects::default();
    let mut cases = Vec::new();
    for (what, namespace, condition, defects) in [
        (
            "the cluster",
            "team-red",
            &other_cluster,
            Defects {
                ignore_source_cluster: true,
                ..no_defect
            },
        ),
        (
            "the tags",
            "team-red",
            &other_namespace,
            Defects {
                ignore_request_tags: true,
                ..no_defect
            },
        ),
        (
            "the namespace",
            "team-blue",
            &none,
            Defects {
                any_association_counts: true,
                ..no_defect
            },
        ),
    ] {
        let document = trust(condition.clone());
        let update = [("RoleName", "pods"), ("PolicyDocument", &document)];
        site.iam("UpdateAssumeRolePolicy", &update).await;
        let mut pod = POD;
        pod.namespace = namespace;
        let token = site.pod_token(&pod);
        for defects in [no_defect, defects] {
            site.endpoint.set_defects(defects);
            cases.push((what, site.exchange("demo", &token).await.status == 200));
        }
    }
    let expected = ["the cluster", "the tags", "the namespace"];
    let expected = expected
        .into_iter()
        .flat_map(|what| [(what, false), (what, true)]);
    assert_eq!(cases, expected.collect::<Vec<_>>());
}
