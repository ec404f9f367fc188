//! An endpoint with everything around it: an issuer of tokens, tenants, and a client that signs.

mod client;
mod issuer;
pub(crate) mod unguarded;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use mountproof_aws_endpoint::{Backend, CallRecord, Endpoint, EndpointConfig, StartError};
use mountproof_run_tls::{HttpsClient, RunCa};
use serde_json::{Value, json};

pub(crate) use self::client::iam_request;
pub(crate) use self::{
    client::{
        Answer, Caller, REGION, SOON, json_request, presigned, rest_request, secrets_request, send, signed,
        signed_at, signed_for, sts_request, try_send,
    },
    issuer::{Issuer, Key, hmac_token, raw_token},
};

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const ELSEWHERE: &str = "us-east-1";
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";
/// The name of every session that is made with a token.
pub(crate) const SESSION: &str = "1764000000";
pub(crate) const GET: &str = "secretsmanager:GetSecretValue";

/// An endpoint with everything around it.
pub(crate) struct Site {
    pub(crate) ca: Arc<RunCa>,
    pub(crate) endpoint: Endpoint,
    pub(crate) issuer: Issuer,
    /// Reaches the endpoint as a proxy, under AWS's own names.
    pub(crate) client: HttpsClient,
    pub(crate) root: Caller,
}

impl Site {
    /// An account with nothing in it, and an issuer that it does not know.
    pub(crate) async fn start() -> Self {
        Self::before(None).await
    }

    /// The same before a backend that keeps the secrets.
    pub(crate) async fn before(backend: Option<Backend>) -> Self {
        let ca = RunCa::generate("test").unwrap();
        let issuer = Issuer::start(&ca).await;
        let config = EndpointConfig {
            seed: 7,
            backend,
            ..EndpointConfig::new(ACCOUNT, &ca)
        };
        let endpoint = Endpoint::start(config).await.unwrap();
        let client = HttpsClient::new(ca.certificate_pem(), Some(endpoint.address())).unwrap();
        let root = Caller::from(endpoint.root_credentials());
        Self {
            ca,
            endpoint,
            issuer,
            client,
            root,
        }
    }

    /// One with a tenant, and the tenant's session.
    pub(crate) async fn with_red() -> (Self, Caller) {
        let site = Self::start().await;
        site.tenant("team-red").await;
        let red = site.session("team-red").await;
        (site, red)
    }

    // === Tenants ===

    /// A tenant with its role, policy and secret, and the provider of its issuer; the ARN of the secret.
    pub(crate) async fn tenant(&self, name: &str) -> String {
        self.provider(&self.issuer, &[AUDIENCE]).await;
        self.role(name, &self.trust(name)).await;
        self.allow(name, &read_own(name)).await;
        self.create(&format!("demo/{name}/secret"), &format!("value of {name}"))
            .await
    }

    /// Registers an issuer with the audiences that its tokens may be for; more than once does no harm.
    pub(crate) async fn provider(&self, issuer: &Issuer, audiences: &[&str]) {
        let names: Vec<String> = (1..=audiences.len())
            .map(|n| format!("ClientIDList.member.{n}"))
            .collect();
        let mut params = vec![("Url", issuer.url.as_str())];
        params.extend(names.iter().map(String::as_str).zip(audiences.iter().copied()));
        let answer = self
            .iam_as(&self.root, "CreateOpenIDConnectProvider", &params)
            .await;
        let done = answer.status == 200 || answer.code() == "EntityAlreadyExists";
        assert!(done, "{}", answer.text);
    }

    pub(crate) async fn role(&self, name: &str, trust: &Value) {
        let trust = trust.to_string();
        self.iam(
            "CreateRole",
            &[("RoleName", name), ("AssumeRolePolicyDocument", &trust)],
        )
        .await;
    }

    /// Gives a role its one inline policy, in place of the one it had.
    pub(crate) async fn allow(&self, role: &str, policy: &Value) {
        let (name, policy) = (format!("{role}-policy"), policy.to_string());
        let params = [
            ("RoleName", role),
            ("PolicyName", &name),
            ("PolicyDocument", &policy),
        ];
        self.iam("PutRolePolicy", &params).await;
    }

    /// Makes a managed policy; its ARN.
    pub(crate) async fn managed(&self, name: &str, policy: &Value) -> String {
        let policy = policy.to_string();
        let made = self
            .iam(
                "CreatePolicy",
                &[("PolicyName", name), ("PolicyDocument", &policy)],
            )
            .await;
        made.xml("Arn").unwrap()
    }

    /// The trust policy of a tenant's role, as IRSA has it.
    pub(crate) fn trust(&self, tenant: &str) -> Value {
        let issuer = self.issuer.name();
        policy(&json!({
            "Effect": "Allow",
            "Principal": { "Federated": provider_arn(issuer) },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": {
                format!("{issuer}:sub"): subject(tenant),
                format!("{issuer}:aud"): AUDIENCE,
            }},
        }))
    }

    /// Removes a role with its one inline policy.
    pub(crate) async fn remove_role(&self, name: &str) {
        let policy = format!("{name}-policy");
        self.iam("DeleteRolePolicy", &[("RoleName", name), ("PolicyName", &policy)])
            .await;
        self.iam("DeleteRole", &[("RoleName", name)]).await;
    }

    // === Calls ===

    /// Calls Secrets Manager.
    pub(crate) async fn secrets(&self, caller: &Caller, operation: &str, input: Value) -> Answer {
        self.secrets_in(REGION, caller, operation, input).await
    }

    pub(crate) async fn secrets_in(
        &self,
        region: &str,
        caller: &Caller,
        operation: &str,
        input: Value,
    ) -> Answer {
        self.send(signed(secrets_request(region, operation, input), caller))
            .await
    }

    /// Calls Parameter Store.
    pub(crate) async fn parameters(&self, caller: &Caller, operation: &str, input: Value) -> Answer {
        self.send(signed(json_request("ssm", REGION, operation, &input), caller))
            .await
    }

    /// Calls KMS.
    pub(crate) async fn keys(&self, caller: &Caller, operation: &str, input: Value) -> Answer {
        self.send(signed(json_request("kms", REGION, operation, &input), caller))
            .await
    }

    /// Makes a key as root, whose policy leaves to the account who may use it; its ARN.
    pub(crate) async fn key(&self) -> String {
        let made = self.keys(&self.root, "CreateKey", json!({})).await.json();
        made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// Calls Secrets Manager as root and expects it to work.
    pub(crate) async fn done(&self, operation: &str, input: Value) -> Value {
        let answer = self.secrets(&self.root, operation, input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
        answer.json()
    }

    /// Creates a secret as root; its ARN.
    pub(crate) async fn create(&self, name: &str, value: &str) -> String {
        let made = self
            .done("CreateSecret", json!({ "Name": name, "SecretString": value }))
            .await;
        made["ARN"].as_str().unwrap().to_owned()
    }

    /// Reads a secret.
    pub(crate) async fn get(&self, caller: &Caller, id: &str) -> Answer {
        self.secrets(caller, "GetSecretValue", json!({ "SecretId": id }))
            .await
    }

    /// Calls IAM as root and expects it to work.
    pub(crate) async fn iam(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        let answer = self.iam_as(&self.root, action, params).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.text);
        answer
    }

    pub(crate) async fn iam_as(&self, caller: &Caller, action: &str, params: &[(&str, &str)]) -> Answer {
        self.send(signed(iam_request(action, params), caller)).await
    }

    /// Calls STS with a signature.
    pub(crate) async fn sts(&self, caller: &Caller, action: &str, params: &[(&str, &str)]) -> Answer {
        self.send(signed(sts_request(action, params), caller)).await
    }

    /// Presents a token for a role.
    pub(crate) async fn assume(&self, role: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let role = role_arn(role);
        // The last of two parameters of one name counts.
        let params = [
            &[
                ("RoleArn", role.as_str()),
                ("RoleSessionName", SESSION),
                ("WebIdentityToken", token),
            ],
            more,
        ];
        self.send(sts_request("AssumeRoleWithWebIdentity", &params.concat()))
            .await
    }

    /// The session that a genuine token of the tenant gets.
    pub(crate) async fn session(&self, tenant: &str) -> Caller {
        let answer = self.assume(tenant, &self.issuer.token_of(tenant), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.caller()
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        send(&self.client, request).await
    }

    /// Sends a request; what the endpoint answers, and the one call that it logs.
    pub(crate) async fn logged(&self, answer: impl Future<Output = Answer>) -> (Answer, CallRecord) {
        let cursor = self.endpoint.calls().cursor();
        let answer = answer.await;
        let mut calls = self.endpoint.calls().since(cursor);
        assert_eq!(calls.len(), 1, "{calls:#?}");
        (answer, calls.remove(0))
    }
}

/// Starts an endpoint.
pub(crate) async fn start(ca: &Arc<RunCa>, listen: std::net::SocketAddr) -> Result<Endpoint, StartError> {
    Endpoint::start(EndpointConfig {
        listen,
        seed: 7,
        ..EndpointConfig::new(ACCOUNT, ca)
    })
    .await
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(crate) fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

pub(crate) fn provider_arn(issuer: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")
}

/// The ARN of a session that was made with a token.
pub(crate) fn session_arn(role: &str) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{SESSION}")
}

/// The ARN of a secret, or a pattern of such ARNs, without the suffix.
pub(crate) fn secret_arn(name: &str) -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}")
}

pub(crate) fn subject(tenant: &str) -> String {
    format!("system:serviceaccount:{tenant}:default")
}

/// The policy of a tenant's role.
pub(crate) fn read_own(tenant: &str) -> Value {
    policy(&json!({
        "Effect": "Allow",
        "Action": [GET, "secretsmanager:DescribeSecret"],
        "Resource": format!("arn:aws:secretsmanager:*:{ACCOUNT}:secret:demo/{tenant}/*"),
    }))
}

/// A policy that lets secrets be read.
pub(crate) fn read(resource: &str) -> Value {
    policy(&json!({ "Effect": "Allow", "Action": GET, "Resource": resource }))
}

/// A policy of one statement.
pub(crate) fn policy(statement: &Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

/// The text of a denial, for a session that was made with a token.
pub(crate) fn denied(role: &str, action: &str, resource: &str, because: &str) -> String {
    let user = session_arn(role);
    format!("User: {user} is not authorized to perform: {action} on resource: {resource} {because}")
}

/// Why nothing allows an action.
pub(crate) fn no_identity_policy(action: &str) -> String {
    format!("because no identity-based policy allows the {action} action")
}
