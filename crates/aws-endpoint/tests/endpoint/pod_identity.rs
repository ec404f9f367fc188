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
