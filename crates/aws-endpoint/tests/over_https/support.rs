//! An endpoint, an issuer of tokens, and a client that signs: everything over real HTTPS.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    fmt::Write as _,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_lc_rs::{encoding::AsDer, rsa, signature};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig, RootCredentials};
use mountproof_run_tls::{HttpsClient, RunCa, Server};
use serde_json::{Value, json};

pub(crate) const ACCOUNT: &str = "000000000000";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const AUDIENCE: &str = "sts.amazonaws.com";

/// An endpoint with everything around it.
pub(crate) struct Site {
    pub(crate) ca: Arc<RunCa>,
    pub(crate) endpoint: Endpoint,
    pub(crate) issuer: Issuer,
    pub(crate) client: HttpsClient,
}

/// Who signs.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let ca = RunCa::generate("test").unwrap();
        let issuer = Issuer::start(&ca).await;
        let endpoint = Endpoint::start(EndpointConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            account: ACCOUNT.to_owned(),
            ca: Arc::clone(&ca),
            root: RootCredentials::random(),
            issuer_trust_pem: ca.certificate_pem().to_owned(),
            seed: 7,
        })
        .await
        .unwrap();
        let client = HttpsClient::new(ca.certificate_pem(), Some(endpoint.address())).unwrap();
        Self {
            ca,
            endpoint,
            issuer,
            client,
        }
    }

    pub(crate) fn root(&self) -> Caller {
        let root = self.endpoint.root_credentials();
        Caller {
            access_key_id: root.access_key_id.clone(),
            secret: root.secret_access_key().to_owned(),
            token: None,
        }
    }

    /// A client that goes to the port itself, without a proxy.
    pub(crate) fn direct(&self) -> (HttpsClient, String) {
        let client = HttpsClient::new(self.ca.certificate_pem(), None).unwrap();
        (client, format!("https://{}/", self.endpoint.address()))
    }

    /// Calls Secrets Manager.
    pub(crate) async fn secrets(&self, caller: &Caller, operation: &str, input: Value) -> Answer {
        self.secrets_in(REGION, caller, operation, input).await
    }

    pub(crate) async fn secrets_in(
        &self,
        region: &str,
        caller: &Caller,
        operation: &str,
        mut input: Value,
    ) -> Answer {
        // As every SDK does: a token of its own for each call that may make a version.
        if matches!(operation, "CreateSecret" | "PutSecretValue" | "UpdateSecret")
            && input.get("ClientRequestToken").is_none()
        {
            input["ClientRequestToken"] = json!(uuid::Uuid::new_v4());
        }
        let request = json_request(region, operation, &input);
        self.send(signed(
            request,
            caller,
            region,
            "secretsmanager",
            SystemTime::now(),
        ))
        .await
    }

    /// Calls Secrets Manager as root and expects it to work.
    pub(crate) async fn done(&self, operation: &str, input: Value) -> Value {
        let answer = self.secrets(&self.root(), operation, input).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
        answer.json()
    }

    /// Calls IAM as root.
    pub(crate) async fn iam(&self, operation: &str, params: &[(&str, &str)]) -> Answer {
        self.iam_as(&self.root(), operation, params).await
    }

    pub(crate) async fn iam_as(&self, caller: &Caller, operation: &str, params: &[(&str, &str)]) -> Answer {
        let request = form_request("https://iam.amazonaws.com/", operation, "2010-05-08", params);
        self.send(signed(request, caller, REGION, "iam", SystemTime::now()))
            .await
    }

    /// Calls STS with a signature.
    pub(crate) async fn sts(&self, caller: &Caller, operation: &str, params: &[(&str, &str)]) -> Answer {
        let request = form_request(&sts_uri(), operation, "2011-06-15", params);
        self.send(signed(request, caller, REGION, "sts", SystemTime::now()))
            .await
    }

    /// Presents a token for a role.
    pub(crate) async fn assume(&self, role: &str, token: &str, more: &[(&str, &str)]) -> Answer {
        let role = role_arn(role);
        let mut params = vec![
            ("RoleArn", role.as_str()),
            ("RoleSessionName", "1764000000"),
            ("WebIdentityToken", token),
        ];
        params.extend_from_slice(more);
        self.send(form_request(
            &sts_uri(),
            "AssumeRoleWithWebIdentity",
            "2011-06-15",
            &params,
        ))
        .await
    }

    /// The session that a genuine token gets.
    pub(crate) async fn session(&self, tenant: &str) -> Caller {
        let answer = self.assume(tenant, &self.issuer.token_of(tenant), &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.caller()
    }

    /// A tenant with its role, policy and secret, and the provider of its issuer.
    pub(crate) async fn tenant(&self, name: &str) -> String {
        self.provider(&[AUDIENCE]).await;
        self.role(name, &self.trust(name)).await;
        self.allow(name, &read_own(name)).await;
        let secret =
            json!({ "Name": format!("demo/{name}/secret"), "SecretString": format!("value of {name}") });
        self.done("CreateSecret", secret).await["ARN"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn provider(&self, audiences: &[&str]) {
        let names: Vec<String> = (1..=audiences.len())
            .map(|n| format!("ClientIDList.member.{n}"))
            .collect();
        let mut params = vec![("Url", self.issuer.url.as_str())];
        params.extend(names.iter().map(String::as_str).zip(audiences.iter().copied()));
        let answer = self.iam("CreateOpenIDConnectProvider", &params).await;
        assert!(
            answer.status == 200 || answer.code() == "EntityAlreadyExists",
            "{}",
            answer.text
        );
    }

    pub(crate) async fn role(&self, name: &str, trust: &Value) {
        let params = [
            ("RoleName", name),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ];
        let answer = self.iam("CreateRole", &params).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub(crate) async fn allow(&self, role: &str, policy: &Value) {
        let policy_name = format!("{role}-policy");
        let params = [
            ("RoleName", role),
            ("PolicyName", policy_name.as_str()),
            ("PolicyDocument", &policy.to_string()),
        ];
        let answer = self.iam("PutRolePolicy", &params).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// The trust policy of a tenant's role, as IRSA has it.
    pub(crate) fn trust(&self, tenant: &str) -> Value {
        let issuer = self.issuer.url.strip_prefix("https://").unwrap();
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}") },
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": { "StringEquals": {
                    format!("{issuer}:sub"): subject(tenant),
                    format!("{issuer}:aud"): AUDIENCE,
                }},
            }],
        })
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        send(&self.client, request).await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The text of the first XML element of this name.
    pub(crate) fn xml(&self, name: &str) -> Option<String> {
        let (_, rest) = self.text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }

    /// The error's code, in either wire form.
    pub(crate) fn code(&self) -> String {
        self.xml("Code").unwrap_or_else(|| {
            let Ok(body) = serde_json::from_str::<Value>(&self.text) else {
                return String::new();
            };
            let code = body["__type"].as_str().unwrap_or_default();
            code.rsplit('#').next().unwrap_or_default().to_owned()
        })
    }

    /// The error's text, in either wire form.
    pub(crate) fn message(&self) -> String {
        self.xml("Message").unwrap_or_else(|| {
            let Ok(body) = serde_json::from_str::<Value>(&self.text) else {
                return String::new();
            };
            let message = body.get("Message").or_else(|| body.get("message"));
            message.and_then(Value::as_str).unwrap_or_default().to_owned()
        })
    }

    pub(crate) fn error(&self) -> (u16, String, String) {
        (self.status, self.code(), self.message())
    }

    /// The temporary credentials of an STS answer.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            access_key_id: self.xml("AccessKeyId").unwrap(),
            secret: self.xml("SecretAccessKey").unwrap(),
            token: self.xml("SessionToken"),
        }
    }
}

/// An issuer of tokens as a cluster is one: discovery document and keys over HTTPS.
pub(crate) struct Issuer {
    pub(crate) url: String,
    /// How often the keys were fetched.
    pub(crate) fetched: Arc<AtomicUsize>,
    published: Published,
    keys: RwLock<Vec<Key>>,
    _server: Server,
}

#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Jwk,
}

#[derive(Clone)]
struct Published {
    keys: Arc<RwLock<Vec<Jwk>>>,
    fetched: Arc<AtomicUsize>,
    down: Arc<std::sync::atomic::AtomicBool>,
    url: Arc<RwLock<String>>,
}

impl Issuer {
    pub(crate) async fn start(ca: &Arc<RunCa>) -> Self {
        let published = Published {
            keys: Arc::default(),
            fetched: Arc::default(),
            down: Arc::default(),
            url: Arc::default(),
        };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/openid/v1/jwks", get(jwks))
            .with_state(published.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        let url = format!("https://{}", server.address());
        url.clone_into(&mut published.url.write().unwrap());
        let issuer = Self {
            url,
            fetched: Arc::clone(&published.fetched),
            published,
            keys: RwLock::default(),
            _server: server,
        };
        issuer.publish(Key::rsa("first"));
        issuer
    }

    /// Publishes a key and signs with it from now on.
    pub(crate) fn publish(&self, key: Key) {
        self.published.keys.write().unwrap().push(key.public.clone());
        self.keys.write().unwrap().push(key);
    }

    /// Makes the issuer answer 500, or answer again.
    pub(crate) fn set_down(&self, down: bool) {
        self.published.down.store(down, Ordering::SeqCst);
    }

    pub(crate) fn key(&self) -> Key {
        self.keys.read().unwrap().last().unwrap().clone()
    }

    /// The token of a tenant's `default` ServiceAccount.
    pub(crate) fn token_of(&self, tenant: &str) -> String {
        self.key().sign(&self.claims(tenant))
    }

    /// Claims as a cluster makes them.
    pub(crate) fn claims(&self, tenant: &str) -> Value {
        json!({
            "iss": self.url,
            "sub": subject(tenant),
            "aud": [AUDIENCE],
            "iat": now(),
            "nbf": now(),
            "exp": now() + 600,
            "kubernetes.io": { "namespace": tenant, "serviceaccount": { "name": "default" } },
        })
    }
}

impl Key {
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = pem("PRIVATE KEY", der.as_ref());
        Self::new(
            id,
            Algorithm::RS256,
            EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        )
    }

    pub(crate) fn ecdsa(id: &str) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let der =
            signature::EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        Self::new(
            id,
            Algorithm::ES256,
            EncodingKey::from_ec_der(der.unwrap().as_ref()),
        )
    }

    fn new(id: &str, algorithm: Algorithm, private: EncodingKey) -> Self {
        let mut public = Jwk::from_encoding_key(&private, algorithm).unwrap();
        public.common.key_id = Some(id.to_owned());
        Self {
            id: id.to_owned(),
            algorithm,
            private,
            public,
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }

    /// The same key under another id, or under none.
    pub(crate) fn sign_as(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = id.map(ToOwned::to_owned);
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }

    /// What a confused verifier would take as an HMAC secret.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.public).unwrap()
    }
}

/// A token with any header and any signature.
pub(crate) fn raw_token(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(header),
        part(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

async fn discovery(State(published): State<Published>) -> Result<Json<Value>, StatusCode> {
    if published.down.load(Ordering::SeqCst) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let url = published.url.read().unwrap().clone();
    Ok(Json(
        json!({ "issuer": url, "jwks_uri": format!("{url}/openid/v1/jwks") }),
    ))
}

async fn jwks(State(published): State<Published>) -> Result<Json<Value>, StatusCode> {
    published.fetched.fetch_add(1, Ordering::SeqCst);
    if published.down.load(Ordering::SeqCst) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let keys = published.keys.read().unwrap().clone();
    Ok(Json(json!({ "keys": keys })))
}

/// An awsJson 1.1 request for Secrets Manager.
pub(crate) fn json_request(region: &str, operation: &str, input: &Value) -> Request<Bytes> {
    Request::post(format!("https://secretsmanager.{region}.amazonaws.com/"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("secretsmanager.{operation}"))
        .body(Bytes::from(input.to_string()))
        .unwrap()
}

/// An awsQuery request.
pub(crate) fn form_request(
    uri: &str,
    operation: &str,
    version: &str,
    params: &[(&str, &str)],
) -> Request<Bytes> {
    let mut body = format!("Action={operation}&Version={version}");
    for (name, value) in params {
        for part in ["&", &percent(name), "=", &percent(value)] {
            body.push_str(part);
        }
    }
    Request::post(uri)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .unwrap()
}

/// The request with the headers of a signature.
pub(crate) fn signed(
    mut request: Request<Bytes>,
    caller: &Caller,
    region: &str,
    service: &str,
    at: SystemTime,
) -> Request<Bytes> {
    let credentials = Credentials::new(
        &caller.access_key_id,
        &caller.secret,
        caller.token.clone(),
        None,
        "test",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&credentials)
        .region(region)
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let uri = request.uri().to_string();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(request.body())).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request
}

pub(crate) async fn send(client: &HttpsClient, request: Request<Bytes>) -> Answer {
    let sent = async {
        let response = client.send(request.map(Full::new)).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sent)
        .await
        .expect("an answer within 30 s")
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

pub(crate) fn sts_uri() -> String {
    format!("https://sts.{REGION}.amazonaws.com/")
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

pub(crate) fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

pub(crate) fn subject(tenant: &str) -> String {
    format!("system:serviceaccount:{tenant}:default")
}

/// The policy of a tenant's role.
pub(crate) fn read_own(tenant: &str) -> Value {
    policy(&json!({
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": format!("arn:aws:secretsmanager:*:{ACCOUNT}:secret:demo/{tenant}/*"),
    }))
}

pub(crate) fn policy(statement: &Value) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}
