//! Pod Identity on a node: our provider asks our agent, and that asks a tiny EKS with the node's own key.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mountproof_stand_ins::{
    defects::{AgentDefects, Shared},
    pod_identity_agent::{AgentConfig, NodeKey, PodIdentityAgent},
    provider::ProviderConfig,
};
use serde_json::{Value, json};

use crate::{
    fakes::AwsCall,
    provider::{Bench, text},
};

/// A token of a namespace's pod, as far as the tiny EKS looks at it.
fn token(namespace: &str, expires: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": namespace, "exp": expires });
    format!("{}.{}.s", part(json!({ "alg": "RS256" })), part(claims))
}

/// Far away.
const NOT_YET: i64 = 9_999_999_999;

/// Every namespace has an association with the role of its name, but for some.
pub(crate) fn tiny_eks_auth(call: &AwsCall) -> (u16, String) {
    assert_eq!(call.access_key, "node-key", "the agent signs with the node's key");
    let body: Value = serde_json::from_str(&call.body).unwrap();
    let claims = body["token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let namespace = claims["sub"].as_str().unwrap();
    let refuse = |status, code: &str, message: &str| {
        let body = json!({ "__type": code, "message": message });
        (status, body.to_string())
    };
    match namespace {
        "none" => refuse(404, "ResourceNotFoundException", "No association found"),
        "refused" => refuse(400, "AccessDeniedException", "Unauthorized Exception!"),
        "broken" => refuse(500, "InternalServerException", "sorry"),
        role => (
            200,
            json!({
                "assumedRoleUser": { "arn": format!("arn:aws:sts::000000000000:assumed-role/{role}/eks-x"), "assumeRoleId": "i" },
                "credentials": {
                    "accessKeyId": role, "secretAccessKey": "s", "sessionToken": "t", "expiration": NOT_YET,
                },
            })
            .to_string(),
        ),
    }
}

struct Node {
    bench: Bench,
    agent: PodIdentityAgent,
    defects: Shared<AgentDefects>,
}

impl Node {
    async fn start() -> Self {
        // The provider has to know where the agent is before the agent knows where AWS is.
        let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = reserved.local_addr().unwrap();
        drop(reserved);
        let bench =
            Bench::start(|config: &mut ProviderConfig| config.pod_identity_agents = [address; 2]).await;
        let defects = Shared::default();
        let agent = agent(&bench, address, &defects).await;
        Self {
            bench,
            agent,
            defects,
        }
    }

    async fn mount(&self, namespace: &str, secret: &str) -> Result<(), tonic::Status> {
        self.mount_with(namespace, secret, &token(namespace, NOT_YET))
            .await
    }

    async fn mount_with(&self, namespace: &str, secret: &str, token: &str) -> Result<(), tonic::Status> {
        let tokens = json!({ "pods.eks.amazonaws.com": { "token": token } }).to_string();
        let parameters = json!({
            "objects": format!("- {{objectName: '{secret}', objectType: secretsmanager}}"),
            "usePodIdentity": "true",
            "csi.storage.k8s.io/serviceAccount.tokens": tokens,
        });
        self.bench.mount(namespace, parameters).await.map(drop)
    }

    /// Calls so far: of EKS, of STS, of Secrets Manager.
    fn calls(&self) -> [usize; 3] {
        let calls = self.bench.aws.calls();
        ["eks-auth.", "sts.", "secretsmanager."]
            .map(|service| calls.iter().filter(|call| call.host.starts_with(service)).count())
    }
}

async fn agent(bench: &Bench, address: SocketAddr, defects: &Shared<AgentDefects>) -> PodIdentityAgent {
    PodIdentityAgent::start(AgentConfig {
        listen: vec![address],
        cluster: "demo".to_owned(),
        region: "us-east-1".to_owned(),
        node: Arc::new(|| {
            Some(NodeKey {
                access_key_id: "node-key".to_owned(),
                secret_access_key: "s".to_owned(),
                session_token: Some("t".to_owned()),
            })
        }),
        https_proxy: Some(bench.aws.proxy),
        trusted_pem: bench.api.ca.certificate_pem().to_owned(),
        defects: defects.clone(),
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_pod_gets_its_role_from_the_agent_and_nobody_asks_for_its_account() {
    let node = Node::start().await;
    node.mount("red", "red/secret").await.unwrap();
    assert_eq!(node.calls(), [1, 0, 1]);
    let first = &node.bench.aws.calls()[0];
    assert_eq!(first.host, "eks-auth.us-east-1.api.aws");
    assert_eq!(node.bench.aws.calls()[1].access_key, "red");
    let asked = node.bench.api.requests();
    assert!(
        !asked.iter().any(|request| request.contains("serviceaccounts")),
        "{asked:?}"
    );
    node.mount("red", "red/secret").await.unwrap();
    assert_eq!(node.calls(), [1, 0, 2], "the agent keeps what it got for a token");
    node.agent.stop().await;
}

/// What EKS says to the agent comes out in the mount's own error, and not the general text that hides it under IRSA.
#[tokio::test]
async fn refusals_of_eks_are_fatal_and_told() {
    let node = Node::start().await;
    let prefix = "us-east-1: Failed fetching secret x: operation error Secrets Manager: GetSecretValue, get identity: get \
                  credentials: failed to refresh cached credentials, failed to load credentials, : ";
    for (namespace, told) in [
        (
            "none",
            "[request-1]: (ResourceNotFoundException): No association found, fault: client\n",
        ),
        (
            "refused",
            "[request-1]: (AccessDeniedException): Unauthorized Exception!, fault: client\n",
        ),
    ] {
        let before = node.calls()[0];
        let status = node.mount(namespace, "x").await.unwrap_err();
        assert_eq!(text(&status), format!("{prefix}{told}"));
        assert_eq!(node.calls()[0] - before, 1, "{namespace}: not tried again");
    }
    let status = node.mount_with("red", "x", &token("red", 1)).await.unwrap_err();
    let told =
        "Service account token failed basic claim validations: token has invalid claims: token is expired\n";
    assert_eq!(text(&status), format!("{prefix}{told}"));
    let status = node.mount_with("red", "x", "jwt").await.unwrap_err();
    let told = "Service account token cannot be parsed: token is malformed: token contains an invalid number of segments\n";
    assert_eq!(text(&status), format!("{prefix}{told}"));
    node.agent.stop().await;
}

#[tokio::test]
async fn trouble_of_the_agent_is_tried_again_and_hidden() {
    let node = Node::start().await;
    let hidden = "Failed to fetch secret from all regions. Verify secret exists and required permissions are granted for: x";
    let status = node.mount("broken", "x").await.unwrap_err();
    assert_eq!(text(&status), hidden);
    // Three of the agent for each of three of the provider for each of its three attempts at the secret.
    assert_eq!(node.calls(), [27, 0, 0]);
    assert!(node.bench.logged(
        "failed to load credentials, exceeded maximum number of attempts, 3, : [request-1]: (InternalServerException): \
         sorry, fault: server"
    ));
}

#[tokio::test]
async fn without_an_agent_the_provider_says_where_it_looked_for_one() {
    let Node { bench, agent, .. } = Node::start().await;
    agent.stop().await;
    let tokens = json!({ "pods.eks.amazonaws.com": { "token": "t" } }).to_string();
    let parameters = json!({
        "objects": "- {objectName: x, objectType: secretsmanager}",
        "usePodIdentity": "true",
        "csi.storage.k8s.io/serviceAccount.tokens": tokens,
    });
    bench.refused("red", parameters).await;
    assert!(bench.logged("request send failed, Get \"http://169.254.170.23/v1/credentials\": dial tcp "));
}

#[tokio::test]
async fn an_agent_that_mixes_pods_up_gives_one_the_role_of_another() {
    let node = Node::start().await;
    node.mount("red", "red/secret").await.unwrap();
    let refused = node.mount("none", "red/secret").await.unwrap_err();
    assert!(text(&refused).contains("No association"));
    node.defects.set(AgentDefects {
        other_pods_credentials: true,
    });
    node.mount("none", "red/secret").await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_too_slow_is_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let bench = Bench::start(|config: &mut ProviderConfig| {
        config.pod_identity_agents = [address; 2];
        config.pod_identity_timeout = Some(Duration::from_millis(20));
    })
    .await;
    let tokens = json!({ "pods.eks.amazonaws.com": { "token": "t" } }).to_string();
    let parameters = json!({
        "objects": "- {objectName: x, objectType: secretsmanager}",
        "usePodIdentity": "t",
        "csi.storage.k8s.io/serviceAccount.tokens": tokens,
    });
    bench.refused("red", parameters).await;
    assert!(bench.logged("net/http: request canceled (Client.Timeout exceeded while awaiting headers)"));
}
