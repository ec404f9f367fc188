//! The EKS Pod Identity Agent of a node: a pod's token in, the credentials of its role out.
//!
//! Imitated: agent 0.1.37 of the add-on `eks-pod-identity-agent`. Plain HTTP on an address of the node's own
//! (<https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html>), `GET /v1/credentials` with the token in
//! `Authorization`; the request's host and the token's form and times are looked at, then EKS is asked
//! (`eks-auth:AssumeRoleForPodIdentity`, signed with the node's own credentials, three attempts of a second each), and what it
//! gave is kept for the token. Refusals are text, in the agent's words, with the status of EKS.
//!
//! What it leaves out: renewing credentials before they end (a token is asked for anew after three hours), its limit
//! of 1,000 requests a second, its health and metrics, and setting up the address. Texts that show the insides of
//! Go's parser of tokens are near them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_credential_types::Credentials;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use mountproof_run_tls::{HttpsClient, TlsError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    defects::{AgentDefects, Shared},
    rest::BearerToken,
    signing::signed,
};

/// Where it listens on a node.
pub const ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), 80),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), 80),
];
/// The version that it imitates.
pub const VERSION: &str = "0.1.37";

/// Hosts that it can be called by.
const HOSTS: [&str; 2] = ["169.254.170.23", "fd00:ec2::23"];
/// How long it uses the credentials that it was given for a token.
const KEPT: Duration = Duration::from_hours(3);
/// Most tokens that it keeps credentials for.
const MOST_KEPT: usize = 2000;
/// Longest wait for EKS, and attempts.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 3;
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Errors of eks-auth that its model has, and whether they are the caller's fault.
const MODELLED: [(&str, &str); 9] = [
    ("AccessDeniedException", "client"),
    ("ExpiredTokenException", "client"),
    ("InternalServerException", "server"),
    ("InvalidParameterException", "client"),
    ("InvalidRequestException", "client"),
    ("InvalidTokenException", "client"),
    ("ResourceNotFoundException", "client"),
    ("ServiceUnavailableException", "server"),
    ("ThrottlingException", "client"),
];

/// The node's own credentials, as its instance has them now; none where it has none.
pub type NodeCredentials = Arc<dyn Fn() -> Option<NodeKey> + Send + Sync>;

/// A key of the node's role. Has no `Debug`.
#[derive(Clone)]
pub struct NodeKey {
    /// `ASIA..`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session's token.
    pub session_token: Option<String>,
}

/// What an agent needs to know.
pub struct AgentConfig {
    /// Where it listens: [`ADDRESSES`] on a real node, any address in their place. Several, for IPv4 and IPv6.
    pub listen: Vec<SocketAddr>,
    /// `--cluster-name`.
    pub cluster: String,
    /// `AWS_REGION`.
    pub region: String,
    /// Who it is for AWS.
    pub node: NodeCredentials,
    /// The HTTPS CONNECT proxy by which AWS is reached; directly where absent.
    pub https_proxy: Option<SocketAddr>,
    /// The certificate authorities that AWS's certificates must come from.
    pub trusted_pem: String,
    /// What is wrong with it.
    pub defects: Shared<AgentDefects>,
}

/// An agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A certificate authority is not usable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running agent. Dropping it ends it at once.
#[derive(Debug)]
pub struct PodIdentityAgent {
    addresses: Vec<SocketAddr>,
    defects: Shared<AgentDefects>,
    shutdown: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl PodIdentityAgent {
    /// Starts listening.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start(config: AgentConfig) -> Result<Self, StartError> {
        let defects = config.defects.clone();
        let inner = Arc::new(Inner {
            https: HttpsClient::new(&config.trusted_pem, config.https_proxy)?,
            cluster: config.cluster,
            region: config.region,
            node: config.node,
            kept: Mutex::default(),
            defects: config.defects,
        });
        let mut listeners = Vec::new();
        for address in config.listen {
            let failed = |source| StartError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            listeners.push((listener.local_addr().map_err(failed)?, listener));
        }
        let shutdown = CancellationToken::new();
        let app = Router::new()
            .route("/v1/credentials", any(answer))
            .with_state(inner);
        let addresses = listeners.iter().map(|(address, _)| *address).collect();
        let serving = listeners.into_iter().map(|(_, listener)| {
            let (app, stop) = (app.clone(), shutdown.clone());
            let serve = {
                let stop = stop.clone();
                move |stream| {
                    let (app, stop) = (app.clone(), stop.clone());
                    async move { mountproof_run_tls::serve_connection(stream, app, stop).await }
                }
            };
            tokio::spawn(mountproof_run_tls::accept(listener, stop, serve))
        });
        Ok(Self {
            addresses,
            defects,
            serving: serving.collect(),
            shutdown,
        })
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The switches of its defects.
    #[must_use]
    pub fn defects(&self) -> &Shared<AgentDefects> {
        &self.defects
    }

    /// Ends it.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        for serving in &mut self.serving {
            // The only error is a panic in the accept loop, and stopping is what was wanted.
            let _ = serving.await;
        }
    }
}

impl Drop for PodIdentityAgent {
    fn drop(&mut self) {
        for serving in &self.serving {
            serving.abort();
        }
    }
}

struct Inner {
    https: HttpsClient,
    cluster: String,
    region: String,
    node: NodeCredentials,
    /// By token.
    kept: Mutex<HashMap<String, Kept>>,
    defects: Shared<AgentDefects>,
}

/// What EKS gave for a token. Has no `Debug`.
#[derive(Clone)]
struct Kept {
    since: Instant,
    /// As a pod is told.
    answer: Arc<Value>,
}

/// A refusal: status, and text.
type Refused = (StatusCode, String);

async fn answer(State(agent): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let asked = agent.credentials(
        text(header::HOST).unwrap_or_default(),
        text(header::AUTHORIZATION).unwrap_or_default(),
    );
    match asked.await {
        Ok(given) => ([(header::CONTENT_TYPE, "application/json")], given.to_string()).into_response(),
        Err((status, text)) => (
            status,
            [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ],
            format!("{text}\n"),
        )
            .into_response(),
    }
}

impl Inner {
    async fn credentials(&self, host: &str, token: &str) -> Result<Arc<Value>, Refused> {
        host_fits(host)?;
        token_fits(token, Timestamp::now())?;
        if let Some(other) = self.of_another(token) {
            return Ok(other);
        }
        if let Some(kept) = self.kept_for(token) {
            return Ok(kept);
        }
        let given = Arc::new(self.asked_of_eks(&BearerToken::new(token)).await?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.since);
            let oldest = oldest.map(|(token, _)| token.clone());
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        let entry = Kept {
            since: Instant::now(),
            answer: Arc::clone(&given),
        };
        kept.insert(token.to_owned(), entry);
        Ok(given)
    }

    fn kept_for(&self, token: &str) -> Option<Arc<Value>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.get(token)?;
        (found.since.elapsed() < KEPT).then(|| Arc::clone(&found.answer))
    }

    /// With the defect that hands them out: the first credentials that it has for another token.
    fn of_another(&self, token: &str) -> Option<Arc<Value>> {
        if !self.defects.shows(|defects| defects.other_pods_credentials) {
            return None;
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let others = kept.iter().filter(|(other, _)| *other != token);
        let first = others.min_by_key(|(_, kept)| kept.since);
        first.map(|(_, kept)| Arc::clone(&kept.answer))
    }

    async fn asked_of_eks(&self, token: &BearerToken) -> Result<Value, Refused> {
        let mut attempt = 1;
        loop {
            match self.asked_once(token).await {
                Ok(given) => return Ok(given),
                Err((refused, again)) if !again || attempt == ATTEMPTS => return Err(refused),
                Err(_) => tokio::time::sleep(PAUSE * attempt).await,
            }
            attempt += 1;
        }
    }

    /// One attempt; an error says whether another is worth it.
    async fn asked_once(&self, token: &BearerToken) -> Result<Value, (Refused, bool)> {
        // Of an answer that never came the agent says nothing but the place of a request's id.
        let silent = || ((StatusCode::INTERNAL_SERVER_ERROR, "[]".to_owned()), true);
        let Some(key) = (self.node)() else {
            let text = "unable to fetch credentials from EKS Auth: operation error EKS Auth: \
                        AssumeRoleForPodIdentity, get identity: get credentials: failed to refresh cached \
                        credentials, no EC2 IMDS role found";
            return Err(((StatusCode::INTERNAL_SERVER_ERROR, text.to_owned()), false));
        };
        let credentials = Credentials::new(
            key.access_key_id,
            key.secret_access_key,
            key.session_token,
            None,
            "node",
        );
        let url = format!(
            "https://eks-auth.{}.api.aws/clusters/{}/assume-role-for-pod-identity",
            self.region, self.cluster
        );
        let request = http::Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                format!("eks-pod-identity-agent/{VERSION} mountproof-stand-in"),
            );
        let body = json!({ "token": token.expose() }).to_string();
        let request = signed(request, &body, &credentials, &self.region, "eks-auth").map_err(|_| silent())?;
        let exchange = async {
            let (head, body) = self.https.send(request).await.map_err(|_| silent())?.into_parts();
            let body = body.collect().await.map_err(|_| silent())?.to_bytes();
            Ok((head, body))
        };
        let answered = tokio::time::timeout(PATIENCE, exchange).await;
        let (head, body) = answered.unwrap_or_else(|_| Err(silent()))?;
        if head.status.is_success() {
            return given(&body).ok_or_else(silent);
        }
        Err(refused(head.status, &head.headers, &body))
    }
}

/// What a pod is told of what EKS gave.
fn given(body: &[u8]) -> Option<Value> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        assumed_role_user: User,
        credentials: Granted,
    }
    #[derive(Deserialize)]
    struct User {
        arn: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Granted {
        access_key_id: String,
        secret_access_key: String,
        session_token: String,
        expiration: f64,
    }
    let Given {
        assumed_role_user,
        credentials,
    } = serde_json::from_slice(body).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a time in seconds, and the cast saturates"
    )]
    let expires = Timestamp::from_second(credentials.expiration as i64).ok()?;
    Some(json!({
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "AccountId": assumed_role_user.arn.split(':').nth(4)?,
        "Expiration": expires.to_string(),
    }))
}

/// A refusal of EKS in the agent's words, and whether another attempt is worth it.
fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> (Refused, bool) {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = match text("x-amzn-errortype").split(':').next() {
        Some(code) if !code.is_empty() => code,
        _ => said["__type"]
            .as_str()
            .or_else(|| said["code"].as_str())
            .unwrap_or("UnknownError"),
    };
    let code = code.rsplit('#').next().unwrap_or_default();
    let known = MODELLED.iter().find(|(known, _)| *known == code);
    let fault = known.map_or("unknown", |(_, fault)| fault);
    let message = said["message"]
        .as_str()
        .or_else(|| said["Message"].as_str())
        .unwrap_or_default();
    let line = format!(
        "[{}]: ({code}): {message}, fault: {fault}",
        text("x-amzn-requestid")
    );
    let again = status.is_server_error() || code == "ThrottlingException";
    ((status, line), again)
}

/// Whether it was called by one of its own addresses.
fn host_fits(host: &str) -> Result<(), Refused> {
    let bare = host.parse::<SocketAddr>().map_or_else(
        |_| host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        |address| address.ip().to_string(),
    );
    if HOSTS.contains(&bare.as_str()) {
        return Ok(());
    }
    let text = format!(
        "Access Denied. Called agent through invalid address, please use either [{}] address not {bare}",
        HOSTS.join(" ")
    );
    Err((StatusCode::FORBIDDEN, text))
}

/// Whether a token is one by its form and its times; who it is of is EKS's to say.
fn token_fits(token: &str, now: Timestamp) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Times {
        exp: Option<f64>,
        nbf: Option<f64>,
    }
    let wrong = |text: String| Err((StatusCode::BAD_REQUEST, text));
    if token.is_empty() {
        return wrong("Service account token cannot be empty".to_owned());
    }
    let malformed = |why: &str| {
        wrong(format!(
            "Service account token cannot be parsed: token is malformed: {why}"
        ))
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts[..] else {
        return malformed("token contains an invalid number of segments");
    };
    let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    if json(header).is_none() {
        return malformed("could not JSON decode header");
    }
    let times = json(claims).and_then(|claims| Times::deserialize(claims).ok());
    let Some(times) = times else {
        return malformed("could not JSON decode claim");
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let now = now.as_second() as f64;
    let invalid = |why: &str| {
        wrong(format!(
            "Service account token failed basic claim validations: token has invalid claims: {why}"
        ))
    };
    if times.exp.is_some_and(|end| end < now) {
        return invalid("token is expired");
    }
    if times.nbf.is_some_and(|begin| begin > now) {
        return invalid("token is not valid yet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.s", part(&json!({ "alg": "RS256" })), part(claims))
    }

    #[test]
    fn only_tokens_by_form_and_time_go_further() {
        let now = Timestamp::from_second(1000).expect("a time");
        for (what, token, expected) in [
            (
                "none",
                String::new(),
                Some("Service account token cannot be empty"),
            ),
            (
                "no token",
                "nonsense".to_owned(),
                Some("cannot be parsed: token is malformed: token contains an invalid number of segments"),
            ),
            (
                "garbage",
                "a.b.c".to_owned(),
                Some("cannot be parsed: token is malformed: could not JSON decode header"),
            ),
            (
                "over",
                token(&json!({ "exp": 999 })),
                Some("failed basic claim validations: token has invalid claims: token is expired"),
            ),
            (
                "to come",
                token(&json!({ "nbf": 1001 })),
                Some("token has invalid claims: token is not valid yet"),
            ),
            ("good", token(&json!({ "exp": 1001, "nbf": 999 })), None),
        ] {
            let refused = token_fits(&token, now).err();
            let text = refused.as_ref().map(|(_, text)| text.as_str());
            assert_eq!(text.is_none(), expected.is_none(), "{what}: {text:?}");
            assert!(
                expected.is_none_or(|expected| text.is_some_and(|text| text.ends_with(expected))),
                "{what}: {text:?}"
            );
        }
    }

    #[test]
    fn it_is_called_by_its_own_addresses_only() {
        for (host, fits) in [
            ("169.254.170.23", true),
            ("169.254.170.23:80", true),
            ("[fd00:ec2::23]", true),
            ("[fd00:ec2::23]:80", true),
            ("localhost", false),
            ("127.0.0.1:8080", false),
        ] {
            assert_eq!(host_fits(host).is_ok(), fits, "{host}");
        }
        let (status, text) = host_fits("127.0.0.1:8080").expect_err("another address");
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(
            text,
            "Access Denied. Called agent through invalid address, please use either [169.254.170.23 fd00:ec2::23] \
             address not 127.0.0.1"
        );
    }

    #[test]
    fn refusals_of_eks_are_told_with_their_code_and_whose_fault_they_are() {
        let headers = |kind: &str| {
            let pairs = [("x-amzn-requestid", "r-1"), ("x-amzn-errortype", kind)];
            let pairs = pairs.map(|(name, value)| {
                let name: header::HeaderName = name.parse().expect("a name");
                (name, value.parse().expect("a value"))
            });
            pairs.into_iter().collect::<HeaderMap>()
        };
        for (status, kind, expected, again) in [
            (
                404,
                "ResourceNotFoundException",
                "[r-1]: (ResourceNotFoundException): why, fault: client",
                false,
            ),
            (
                400,
                "ThrottlingException:http://x",
                "[r-1]: (ThrottlingException): why, fault: client",
                true,
            ),
            (
                500,
                "InternalServerException",
                "[r-1]: (InternalServerException): why, fault: server",
                true,
            ),
            (
                403,
                "InvalidSignatureException",
                "[r-1]: (InvalidSignatureException): why, fault: unknown",
                false,
            ),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let seen = refused(status, &headers(kind), br#"{"message":"why"}"#);
            assert_eq!(seen, ((status, expected.to_owned()), again), "{kind}");
        }
    }
}
