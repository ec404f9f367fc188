//! A small JSON client of the Kubernetes API, for the stand-ins that are its clients.
//!
//! It speaks plain HTTP with JSON bodies, as <https://kubernetes.io/docs/reference/using-api/api-concepts/>
//! describes it, and knows no types of Kubernetes but `Status`. Every request has a deadline.

mod limit;
mod watch;

use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use mountproof_run_tls::{HttpsClient, RequestError, TlsError};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};

pub use self::{
    limit::{TokenBucket, WouldExceedDeadline},
    watch::{Change, Watch},
};

/// Longest time from sending a request to its whole answer; a watch's answer has none.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Requests under way at once. A burst of pods queues here, and not as thousands of connections.
const IN_FLIGHT: usize = 24;

/// A bearer token. It never shows itself.
#[derive(Clone)]
pub struct BearerToken(Arc<str>);

impl BearerToken {
    /// Wraps `token`.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// The token itself, to be sent and not to be shown.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

/// How to reach an API server.
#[derive(Debug, Clone)]
pub struct ApiAccess {
    /// `https://host:port`.
    pub url: String,
    /// The certificate authorities to trust, as PEM.
    pub ca_pem: String,
    /// Who we are.
    pub token: BearerToken,
}

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server said no; this is its `Status`. Shown as client-go shows it.
    #[error("{message}")]
    Status {
        /// HTTP status.
        code: StatusCode,
        /// Such as `NotFound`, `AlreadyExists`, `Conflict`, `Expired`.
        reason: String,
        /// For people.
        message: String,
    },
    /// No answer.
    #[error("{method} {path}: {source}")]
    Unreachable {
        /// The verb.
        method: Method,
        /// What was asked for.
        path: String,
        /// Why.
        source: RequestError,
    },
    /// No whole answer in time.
    #[error("{method} {path}: context deadline exceeded")]
    Late {
        /// The verb.
        method: Method,
        /// What was asked for.
        path: String,
    },
    /// The answer is not what it should be.
    #[error("{path}: {what}")]
    Answer {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Our own limit on requests.
    #[error(transparent)]
    Limited(#[from] WouldExceedDeadline),
}

impl ApiError {
    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.has_code(StatusCode::NOT_FOUND)
    }

    /// Whether the object exists already, or was changed meanwhile.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.has_code(StatusCode::CONFLICT)
    }

    /// Whether the resource version asked for is too old to start a watch from.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.has_code(StatusCode::GONE)
    }

    fn has_code(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Status { code, .. } if *code == wanted)
    }
}

/// How a patch is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// Kubernetes's own, which merges lists by their keys.
    Strategic,
    /// Server-side apply: the path has to say for which `fieldManager`.
    Apply,
}

/// A client of one API server. Cloning shares its connections and limits.
#[derive(Debug, Clone)]
pub struct ApiClient {
    base: Arc<str>,
    token: BearerToken,
    agent: &'static str,
    http: HttpsClient,
    slots: Arc<Semaphore>,
    bucket: Option<Arc<TokenBucket>>,
}

impl ApiClient {
    /// A client that calls itself `agent`.
    pub fn new(access: &ApiAccess, agent: &'static str) -> Result<Self, TlsError> {
        Ok(Self {
            base: access.url.trim_end_matches('/').into(),
            token: access.token.clone(),
            agent,
            http: HttpsClient::new(&access.ca_pem, None)?,
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            bucket: None,
        })
    }

    /// The same client under client-go's limit: `burst` requests at once, then `qps` a second.
    #[must_use]
    pub fn limited(mut self, qps: f64, burst: u32) -> Self {
        self.bucket = Some(Arc::new(TokenBucket::new(qps, burst)));
        self
    }

    /// Fetches one object, or a collection's list.
    pub async fn fetch<T: DeserializeOwned>(
        &self,
        path: &str,
        deadline: Option<Instant>,
    ) -> Result<T, ApiError> {
        self.send(Method::GET, path, None, deadline).await
    }

    /// Whether the server says at `path`, such as `/readyz`, that it is well: it does in text.
    pub async fn ready(&self, path: &str) -> Result<(), ApiError> {
        let asked = self.begin(Method::GET, path, None);
        let answered = tokio::time::timeout(REQUEST_DEADLINE, asked).await;
        match answered {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(ApiError::Late {
                method: Method::GET,
                path: path.to_owned(),
            }),
        }
    }

    /// Creates `object` in the collection at `path`, or posts it to a subresource.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.send(Method::POST, path, Some(("application/json", object)), None)
            .await
    }

    /// Replaces the object at `path`.
    pub async fn update(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.send(Method::PUT, path, Some(("application/json", object)), None)
            .await
    }

    /// Patches the object at `path`.
    pub async fn patch(&self, path: &str, kind: PatchKind, changes: &Value) -> Result<Value, ApiError> {
        let content = match kind {
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            // JSON is YAML.
            PatchKind::Apply => "application/apply-patch+yaml",
        };
        self.send(Method::PATCH, path, Some((content, changes)), None)
            .await
    }

    /// Deletes the object at `path` with `DeleteOptions`.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, ApiError> {
        self.send(Method::DELETE, path, Some(("application/json", options)), None)
            .await
    }

    /// Follows the collection at `path`, from a list of it on.
    #[must_use]
    pub fn watch<T: DeserializeOwned>(&self, path: &str) -> Watch<T> {
        Watch::new(self.clone(), path)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
        deadline: Option<Instant>,
    ) -> Result<T, ApiError> {
        if let Some(bucket) = &self.bucket {
            bucket.take(deadline).await?;
        }
        let own = Instant::now() + REQUEST_DEADLINE;
        let deadline = deadline.map_or(own, |callers| callers.min(own));
        let exchange = async {
            let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
            let response = self.begin(method.clone(), path, body).await?;
            let answer = response.into_body().collect().await;
            let answer = answer.map_err(|error| ApiError::Answer {
                path: path.to_owned(),
                what: error.to_string(),
            })?;
            parse(path, &answer.to_bytes())
        };
        tokio::time::timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| {
                Err(ApiError::Late {
                    method: method.clone(),
                    path: path.to_owned(),
                })
            })
    }

    /// Sends a request and waits for the head of a successful answer.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<http::Response<hyper::body::Incoming>, ApiError> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, self.agent)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose()));
        let mut bytes = Bytes::new();
        if let Some((content, value)) = body {
            request = request.header(header::CONTENT_TYPE, content);
            bytes = Bytes::from(value.to_string());
        }
        let request = request.body(Full::new(bytes)).map_err(|error| ApiError::Answer {
            path: path.to_owned(),
            what: error.to_string(),
        })?;
        let response = self.http.send(request).await;
        let response = response.map_err(|source| ApiError::Unreachable {
            method,
            path: path.to_owned(),
            source,
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let body = response.into_body().collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(refusal(code, &body))
    }
}

/// Percent-encodes what a query's value may not hold as it is.
#[must_use]
pub fn query_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The part of `Status` that callers decide by.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusBody {
    code: u16,
    reason: String,
    message: String,
}

fn refusal(code: StatusCode, body: &[u8]) -> ApiError {
    let status: StatusBody = serde_json::from_slice(body).unwrap_or_default();
    let message = if status.message.is_empty() {
        format!("the server answered {code}: {}", String::from_utf8_lossy(body))
    } else {
        status.message
    };
    ApiError::Status {
        code,
        reason: status.reason,
        message,
    }
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::Answer {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_show_the_servers_own_message() {
        let body = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"a\" not found","reason":"NotFound","code":404}"#;
        let error = refusal(StatusCode::NOT_FOUND, body);
        assert!(error.is_not_found() && !error.is_conflict());
        assert_eq!(error.to_string(), "pods \"a\" not found");
        let plain = refusal(StatusCode::BAD_GATEWAY, b"oops");
        assert_eq!(plain.to_string(), "the server answered 502 Bad Gateway: oops");
    }

    #[test]
    fn tokens_do_not_show_themselves() {
        assert_eq!(format!("{:?}", BearerToken::new("canary")), "BearerToken(..)");
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(query_value("spec.nodeName=a b"), "spec.nodeName%3Da%20b");
    }
}
