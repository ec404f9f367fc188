//! An endpoint with two tenants, as a run has them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use mountproof_aws_endpoint::{CallRecord, Endpoint, EndpointConfig, RootCredentials};
use mountproof_run_tls::RunCa;
use serde_json::{Value, json};

use crate::{
    client::{Client, Keys, REGION, Reply},
    issuer::{Issuer, Signer},
};

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";

/// An endpoint, a registered issuer, and the tenants red and blue of the cluster demo, each with a role
/// that trusts its service account and reads its own secrets.
pub(crate) struct Bench {
    pub(crate) ca: Arc<RunCa>,
    pub(crate) endpoint: Endpoint,
    pub(crate) client: Client,
    pub(crate) root: Keys,
    pub(crate) issuer: Issuer,
    pub(crate) signer: Signer,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let ca = RunCa::generate("test").unwrap();
        let endpoint = start(&ca, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let client = Client::new(&ca, &endpoint);
        let root = Keys::from(endpoint.root_credentials());
        let signer = Signer::rsa("key-1");
        let issuer = Issuer::start(&ca, &[&signer]).await;
        let bench = Self {
            ca,
            endpoint,
            client,
            root,
            issuer,
            signer,
        };
        bench.register(&bench.issuer.url).await;
        for tenant in ["red", "blue"] {
            bench.add_tenant(tenant).await;
        }
        bench.create("prod/team-red/secret", "prod").await;
        bench
    }

    /// Registers an issuer of tokens.
    pub(crate) async fn register(&self, url: &str) {
        let params = [
            ("Url", url),
            ("ClientIDList.member.1", AUDIENCE),
            ("ClientIDList.member.2", "other"),
            (
                "ThumbprintList.member.1",
                "0123456789012345678901234567890123456789",
            ),
        ];
        self.iam("CreateOpenIDConnectProvider", &params).await;
    }

    async fn add_tenant(&self, tenant: &str) {
        let policy = allow(&[&format!(
            "arn:aws:secretsmanager:*:{ACCOUNT}:secret:demo/team-{tenant}/*"
        )]);
        self.add_role(tenant, &self.trust(tenant), &policy).await;
        self.create(&format!("demo/team-{tenant}/secret"), tenant).await;
    }

    /// A role with one inline policy.
    pub(crate) async fn add_role(&self, name: &str, trust: &Value, policy: &Value) {
        let (trust, policy) = (trust.to_string(), policy.to_string());
        self.iam(
            "CreateRole",
            &[("RoleName", name), ("AssumeRolePolicyDocument", &trust)],
        )
        .await;
        let params = [
            ("RoleName", name),
            ("PolicyName", "own-secrets"),
            ("PolicyDocument", &policy),
        ];
        self.iam("PutRolePolicy", &params).await;
    }

    /// A trust policy for one service account.
    pub(crate) fn trust(&self, tenant: &str) -> Value {
        let issuer = self.issuer.url.trim_start_matches("https://");
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
            "Condition": {"StringEquals": {
                format!("{issuer}:sub"): subject(tenant),
                format!("{issuer}:aud"): AUDIENCE,
            }},
        }]})
    }

    /// A call of IAM that has to succeed.
    pub(crate) async fn iam(&self, action: &str, params: &[(&str, &str)]) -> Reply {
        let reply = self.client.query("iam", Some(&self.root), action, params).await;
        assert_eq!(reply.status, 200, "{action}: {reply:?}");
        reply
    }

    /// A call of Secrets Manager by root that has to succeed.
    pub(crate) async fn secrets(&self, operation: &str, body: &Value) -> Value {
        let reply = self.client.secrets(&self.root, operation, body).await;
        assert_eq!(reply.status, 200, "{operation}: {reply:?}");
        reply.json()
    }

    /// Creates a secret; its ARN.
    pub(crate) async fn create(&self, name: &str, value: &str) -> String {
        let token = format!("{name:-<32}");
        let body = json!({"Name": name, "ClientRequestToken": token, "SecretString": value});
        let answer = self.secrets("CreateSecret", &body).await;
        answer["ARN"].as_str().unwrap().to_owned()
    }

    /// The claims of a good token of a tenant's service account.
    pub(crate) fn claims(&self, tenant: &str) -> Value {
        let now = seconds();
        json!({
            "iss": self.issuer.url,
            "sub": subject(tenant),
            "aud": [AUDIENCE],
            "iat": now, "nbf": now, "exp": now + 3600,
        })
    }

    /// Asks for a tenant's role.
    pub(crate) async fn assume(&self, role: &str, token: &str) -> Reply {
        self.assume_with(role, token, &[]).await
    }

    /// As [`Self::assume`] with more parameters.
    pub(crate) async fn assume_with(&self, role: &str, token: &str, more: &[(&str, &str)]) -> Reply {
        let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
        let mut params = vec![
            ("RoleArn", arn.as_str()),
            ("RoleSessionName", "1700000000000000000"),
            ("WebIdentityToken", token),
        ];
        params.extend_from_slice(more);
        self.client
            .query("sts", None, "AssumeRoleWithWebIdentity", &params)
            .await
    }

    /// A session of a tenant, by a good token.
    pub(crate) async fn session(&self, tenant: &str) -> Keys {
        let token = self.signer.sign(&self.claims(tenant));
        Keys::given(&self.assume(tenant, &token).await)
    }

    pub(crate) async fn read(&self, keys: &Keys, id: &str) -> Reply {
        self.client
            .secrets(keys, "GetSecretValue", &json!({"SecretId": id}))
            .await
    }

    /// The newest call in the log.
    pub(crate) fn last_call(&self) -> CallRecord {
        self.endpoint.calls().since(0).pop().unwrap()
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status, code and message of an error, in either wire form.
    pub(crate) fn error(&self) -> (u16, String, String) {
        assert_ne!(self.status, 200, "{self:?}");
        let (code, message) = if let Some(code) = self.element("Code") {
            (code, self.element("Message"))
        } else {
            let json = self.json();
            let text = |key: &str| json[key].as_str().map(str::to_owned);
            let message = text("Message").or_else(|| text("message"));
            (text("__type").unwrap_or_default(), message)
        };
        (self.status, code, message.unwrap_or_default())
    }
}

pub(crate) async fn start(
    ca: &Arc<RunCa>,
    listen: std::net::SocketAddr,
) -> Result<Endpoint, mountproof_aws_endpoint::StartError> {
    Endpoint::start(EndpointConfig {
        listen,
        account: ACCOUNT.to_owned(),
        ca: Arc::clone(ca),
        root: RootCredentials::random(),
        issuer_trust_pem: ca.certificate_pem().to_owned(),
        seed: 1,
    })
    .await
}

/// A policy that lets secrets be read.
pub(crate) fn allow(resources: &[&str]) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": resources,
    }]})
}

pub(crate) fn subject(tenant: &str) -> String {
    format!("system:serviceaccount:team-{tenant}:app")
}

/// The ARN of a secret in a region, without its suffix.
pub(crate) fn arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
