//! A registry on loopback, with the troubles that registries make.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, stream};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::{Built, sha256};

/// What goes wrong.
#[derive(Clone)]
pub(crate) enum Trouble {
    Status(u16),
    /// 429 or 503 with `Retry-After`.
    Busy(u16, &'static str),
    Hangs,
    /// Half of the body, and the end of the connection.
    CutOff,
    /// As many bytes, but others.
    OtherBytes,
    /// Bytes without end.
    Endless,
    Body(&'static str, &'static str),
    /// Says another digest than its bytes have.
    OtherDigestInHeader,
    Redirect(&'static str),
}

/// At which questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    Root,
    Token,
    Manifests,
    Blobs,
}

#[derive(Default)]
struct Content {
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    trouble: Option<(At, Trouble, u32)>,
    /// `user:password`; then tokens are asked for.
    login: Option<&'static str>,
    token: &'static str,
    asked: Vec<String>,
}

/// Ends with the value.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    content: Arc<Mutex<Content>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let content = Arc::new(Mutex::new(Content {
            token: "the-token",
            ..Content::default()
        }));
        let router = Self::router(address.to_string(), Arc::clone(&content));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self {
            address,
            content,
            serving,
        }
    }

    /// The same content behind a server of the test's own.
    pub(crate) fn router_of(built: &Built) -> Router {
        let content = Arc::new(Mutex::new(Content::default()));
        publish(&mut content.lock().expect("no panic"), "v1.6.0", built);
        Self::router(String::new(), content)
    }

    fn router(address: String, content: Arc<Mutex<Content>>) -> Router {
        Router::new().fallback(answer).with_state((address, content))
    }

    /// `REGISTRY/driver:TAG` of an image that is pushed to it.
    pub(crate) fn publish(&self, tag: &str, built: &Built) -> String {
        publish(&mut self.content.lock().expect("no panic"), tag, built);
        self.image(tag)
    }

    /// The same for an index of images.
    pub(crate) fn publish_index(&self, tag: &str, images: &[(&str, &Built)]) -> (String, String) {
        let entries: Vec<Value> = images
            .iter()
            .map(|(architecture, built)| {
                json!({
                    "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": built.digest(),
                    "size": built.manifest.len(), "platform": {"os": "linux", "architecture": architecture},
                })
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries});
        let index = index.to_string().into_bytes();
        let digest = sha256(&index);
        let mut content = self.content.lock().expect("no panic");
        for (_, built) in images {
            publish(&mut content, &built.digest(), built);
        }
        content.manifests.insert(digest.clone(), index.clone());
        content.manifests.insert(tag.to_owned(), index);
        (self.image(tag), digest)
    }

    pub(crate) fn image(&self, tag: &str) -> String {
        format!("{}/csi/driver:{tag}", self.address)
    }

    pub(crate) fn make_trouble(&self, at: At, trouble: Trouble, times: u32) {
        self.content.lock().expect("no panic").trouble = Some((at, trouble, times));
    }

    pub(crate) fn require_login(&self, login: &'static str, token: &'static str) {
        let mut content = self.content.lock().expect("no panic");
        (content.login, content.token) = (Some(login), token);
    }

    /// What was asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.content.lock().expect("no panic").asked)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn publish(content: &mut Content, tag: &str, built: &Built) {
    for name in [tag.to_owned(), built.digest()] {
        content.manifests.insert(name, built.manifest.clone());
    }
    for blob in built.layers.iter().chain([&built.config]) {
        content.blobs.insert(sha256(blob), blob.clone());
    }
}

async fn answer(
    State((address, content)): State<(String, Arc<Mutex<Content>>)>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let at = match &*path {
        "/v2/" => At::Root,
        "/token" => At::Token,
        path if path.contains("/manifests/") => At::Manifests,
        path if path.contains("/blobs/") => At::Blobs,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let (trouble, body) = {
        let mut content = content.lock().expect("no panic");
        content.asked.push(path.clone());
        if let Some(refusal) = refusal(&content, &address, at, authorization) {
            return refusal;
        }
        let body = match at {
            At::Root | At::Token => Some(json!({"token": content.token}).to_string().into_bytes()),
            At::Manifests => content.manifests.get(&last).cloned(),
            At::Blobs => content.blobs.get(&last).cloned(),
        };
        let trouble = match &mut content.trouble {
            Some((here, trouble, times)) if *here == at && *times > 0 => {
                *times -= 1;
                Some(trouble.clone())
            }
            _ => None,
        };
        (trouble, body)
    };
    let Some(body) = body else {
        let error = json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]});
        return (StatusCode::NOT_FOUND, error.to_string()).into_response();
    };
    match trouble {
        None => {
            let digest = sha256(&body);
            ([("docker-content-digest", digest)], body).into_response()
        }
        Some(trouble) => troubled(trouble, body).await,
    }
}

/// As registries with tokens do it: <https://distribution.github.io/distribution/spec/auth/token/>.
fn refusal(content: &Content, address: &str, at: At, authorization: Option<&str>) -> Option<Response> {
    let login = content.login?;
    let expected = match at {
        At::Token => format!("Basic {}", BASE64_STANDARD.encode(login)),
        _ => format!("Bearer {}", content.token),
    };
    if authorization == Some(&*expected) {
        return None;
    }
    let challenge = format!("Bearer realm=\"http://{address}/token\",service=\"test\"");
    let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "a body that quotes the-password"}]})
        .to_string();
    Some(
        (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, challenge)],
            body,
        )
            .into_response(),
    )
}

async fn troubled(trouble: Trouble, body: Vec<u8>) -> Response {
    let status = |code: u16| StatusCode::from_u16(code).expect("a status");
    match trouble {
        Trouble::Status(code) => (status(code), "a body that quotes the-password").into_response(),
        Trouble::Busy(code, retry_after) => {
            (status(code), [(header::RETRY_AFTER, retry_after)]).into_response()
        }
        Trouble::Hangs => std::future::pending().await,
        Trouble::CutOff => {
            let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
            // The half is on its way when the connection ends.
            let end = stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut off"))
            });
            let pieces = stream::iter([Ok(half)]).chain(end);
            (
                [(header::CONTENT_LENGTH, body.len().to_string())],
                Body::from_stream(pieces),
            )
                .into_response()
        }
        Trouble::OtherBytes => {
            let mut other = body;
            let middle = other.len() / 2;
            // Within a text of a manifest, and anywhere in a layer.
            other[middle] = if other[middle] == b'a' { b'b' } else { b'a' };
            other.into_response()
        }
        Trouble::Endless => {
            let piece = Bytes::from(vec![b'{'; 64 * 1024]);
            let pieces = stream::repeat(piece).map(Ok::<_, std::io::Error>);
            Body::from_stream(pieces).into_response()
        }
        Trouble::Body(content_type, text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Trouble::OtherDigestInHeader => ([("docker-content-digest", sha256(b"other"))], body).into_response(),
        Trouble::Redirect(to) => (status(307), [(header::LOCATION, to)]).into_response(),
    }
}
