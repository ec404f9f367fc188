//! What the node's stand-ins are tested against: a bare API server, and AWS behind a proxy.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, Request, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use mountproof_run_tls::{RunCa, Server, serve_connection};
use mountproof_stand_ins::rest::{ApiAccess, BearerToken};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::broadcast,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A bare API server: objects by path, merge patches, watches, tokens that name their claims.
pub(crate) struct FakeApi {
    pub(crate) ca: Arc<RunCa>,
    pub(crate) url: String,
    state: Arc<ApiState>,
    server: Server,
}

struct ApiState {
    objects: Mutex<BTreeMap<String, Value>>,
    changes: broadcast::Sender<(String, Value)>,
    log: Mutex<Vec<(String, Value)>>,
    version: Mutex<u64>,
    requests: Mutex<Vec<String>>,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        let ca = RunCa::generate("test").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let state = Arc::new(ApiState {
            objects: Mutex::default(),
            changes: broadcast::channel(65_536).0,
            log: Mutex::default(),
            version: Mutex::new(1),
            requests: Mutex::default(),
        });
        let app = Router::new().fallback(serve_api).with_state(Arc::clone(&state));
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        Self {
            ca,
            url,
            state,
            server,
        }
    }

    pub(crate) fn access(&self) -> ApiAccess {
        ApiAccess {
            url: self.url.clone(),
            ca_pem: self.ca.certificate_pem().to_owned(),
            token: BearerToken::new("test"),
        }
    }

    /// Puts an object into a collection, as a client's POST would.
    pub(crate) fn create(&self, collection: &str, object: Value) -> Value {
        self.state.create(collection, object).unwrap()
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.state.objects.lock().unwrap().get(path).cloned()
    }

    pub(crate) fn objects(&self, part: &str) -> Vec<Value> {
        let objects = self.state.objects.lock().unwrap();
        objects
            .iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// Every change of objects whose path contains `part`, in order: kind and object.
    pub(crate) fn changes(&self, part: &str) -> Vec<(String, Value)> {
        let log = self.state.log.lock().unwrap();
        log.iter()
            .filter(|(_, change)| change["path"].as_str().unwrap().contains(part))
            .map(|(kind, change)| (kind.clone(), change["object"].clone()))
            .collect()
    }

    /// Every request: method and path.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Deletes a pod gracefully: kubelet is to end it.
    pub(crate) fn delete_pod(&self, path: &str) {
        let mut pod = self.object(path).unwrap();
        pod["metadata"]["deletionTimestamp"] = "2026-11-23T15:00:00Z".into();
        self.state.put(path, "MODIFIED", pod);
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

impl ApiState {
    fn create(&self, collection: &str, mut object: Value) -> Option<Value> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("{collection}/{name}");
        if self.objects.lock().unwrap().contains_key(&path) {
            return None;
        }
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = uuid::Uuid::new_v4().to_string().into();
        }
        object["metadata"]["generation"] = 1.into();
        if let Some((_, rest)) = collection.split_once("/namespaces/") {
            object["metadata"]["namespace"] = rest.split('/').next().unwrap().into();
        }
        Some(self.put(&path, "ADDED", object))
    }

    fn put(&self, path: &str, kind: &str, mut object: Value) -> Value {
        let mut version = self.version.lock().unwrap();
        *version += 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let mut objects = self.objects.lock().unwrap();
        if kind == "DELETED" {
            objects.remove(path);
        } else {
            objects.insert(path.to_owned(), object.clone());
        }
        let change = json!({"path": path, "object": object});
        self.log.lock().unwrap().push((kind.to_owned(), change));
        let _ = self
            .changes
            .send((path.to_owned(), json!({"type": kind, "object": object})));
        object
    }

    fn list(&self, collection: &str) -> (Vec<Value>, broadcast::Receiver<(String, Value)>) {
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(path, _)| belongs(path, collection));
        (
            found.map(|(_, object)| object.clone()).collect(),
            self.changes.subscribe(),
        )
    }
}

/// `/api/v1/pods` holds `/api/v1/namespaces/x/pods/y`.
fn belongs(path: &str, collection: &str) -> bool {
    let parent = path.rsplit_once('/').unwrap().0;
    let everywhere = parent.split_once("/namespaces/").map(|(group, rest)| {
        let plural = rest.split_once('/').map_or("", |(_, plural)| plural);
        format!("{group}/{plural}")
    });
    parent == collection || everywhere.as_deref() == Some(collection)
}

fn status(code: u16, reason: &str, message: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code});
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}

async fn serve_api(State(state): State<Arc<ApiState>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    state.requests.lock().unwrap().push(format!("{method} {path}"));
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let found = state.objects.lock().unwrap().get(&path).cloned();
    let name = path.rsplit('/').next().unwrap().to_owned();
    match (method.as_str(), found) {
        ("GET", Some(object)) => object.to_string().into_response(),
        ("GET", None) if uri.query().is_some_and(|query| query.contains("watch=true")) => watch(&state, path),
        ("GET", None) if name.ends_with('s') && !path.contains("/serviceaccounts/") => {
            let version = state.version.lock().unwrap().to_string();
            let (items, _) = state.list(&path);
            json!({"metadata": {"resourceVersion": version}, "items": items})
                .to_string()
                .into_response()
        }
        ("POST", _) if path.ends_with("/binding") => {
            let path = path.trim_end_matches("/binding");
            let Some(mut pod) = state.objects.lock().unwrap().get(path).cloned() else {
                return status(404, "NotFound", "no such pod");
            };
            pod["spec"]["nodeName"] = body["target"]["name"].clone();
            pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
            state.put(path, "MODIFIED", pod);
            json!({"kind": "Status", "status": "Success"})
                .to_string()
                .into_response()
        }
        ("POST", _) if path.ends_with("/token") => {
            let mut answer = body.clone();
            let token = format!("token {}", body["spec"]);
            let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            answer["status"] = json!({"token": token, "expirationTimestamp": expires.to_string()});
            answer.to_string().into_response()
        }
        ("POST", _) => match state.create(&path, body) {
            Some(object) => (StatusCode::CREATED, object.to_string()).into_response(),
            None => status(409, "AlreadyExists", &format!("{path} already exists")),
        },
        ("PUT", Some(_)) => state.put(&path, "MODIFIED", body).to_string().into_response(),
        ("PATCH", found) => {
            let path = path.trim_end_matches("/status");
            let found = found.or_else(|| state.objects.lock().unwrap().get(path).cloned());
            let Some(mut object) = found else {
                return status(404, "NotFound", "nothing to patch");
            };
            merge(&mut object, &body);
            state.put(path, "MODIFIED", object).to_string().into_response()
        }
        ("DELETE", Some(object)) => state.put(&path, "DELETED", object).to_string().into_response(),
        _ => status(404, "NotFound", &format!("{name:?} not found")),
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_object() && target[key].is_object() {
            merge(&mut target[key], value);
        } else {
            target[key] = value.clone();
        }
    }
}

/// A watch that begins with what is there: enough for a client that listed a moment ago.
fn watch(state: &Arc<ApiState>, collection: String) -> Response {
    let (present, changes) = state.list(&collection);
    let first = present
        .into_iter()
        .map(|object| json!({"type": "ADDED", "object": object}));
    let first: Vec<String> = first.map(|line| format!("{line}\n")).collect();
    let later = futures::stream::unfold((changes, collection), |(mut changes, collection)| async move {
        loop {
            let (path, line) = changes.recv().await.ok()?;
            if belongs(&path, &collection) {
                return Some((format!("{line}\n"), (changes, collection)));
            }
        }
    });
    let lines = futures::StreamExt::chain(futures::stream::iter(first), later);
    Body::from_stream(futures::StreamExt::map(lines, Ok::<_, std::io::Error>)).into_response()
}

/// A call that AWS got: host, and the body as text.
#[derive(Debug, Clone)]
pub(crate) struct AwsCall {
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) access_key: String,
    pub(crate) body: String,
}

type Answer = dyn Fn(&AwsCall) -> (u16, String) + Send + Sync;

/// AWS behind an HTTPS CONNECT proxy, answered by a function.
pub(crate) struct FakeAws {
    pub(crate) proxy: SocketAddr,
    pub(crate) calls: Arc<Mutex<Vec<AwsCall>>>,
    stop: CancellationToken,
}

impl FakeAws {
    pub(crate) async fn start(
        ca: &Arc<RunCa>,
        answer: impl Fn(&AwsCall) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let tls = TlsAcceptor::from(
            ca.server_config(|name| name.ends_with(".amazonaws.com") || name.ends_with(".api.aws"))
                .unwrap(),
        );
        let (calls, stop) = (Arc::default(), CancellationToken::new());
        let answer: Arc<Answer> = Arc::new(answer);
        let app = Router::new().fallback({
            let calls = Arc::clone(&calls);
            move |request: Request<Body>| aws(request, Arc::clone(&answer), Arc::clone(&calls))
        });
        let accepting = stop.clone();
        tokio::spawn(async move {
            while let Some(Ok((mut stream, _))) = accepting.run_until_cancelled(listener.accept()).await {
                let (tls, app, stop) = (tls.clone(), app.clone(), accepting.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    assert!(head.starts_with(b"CONNECT "));
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, app, stop).await;
                    }
                });
            }
        });
        Self { proxy, calls, stop }
    }

    pub(crate) fn calls(&self) -> Vec<AwsCall> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn aws(request: Request<Body>, answer: Arc<Answer>, calls: Arc<Mutex<Vec<AwsCall>>>) -> Response {
    let (head, body) = request.into_parts();
    let header = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let authorization = header("authorization");
    let key = authorization
        .split_once("Credential=")
        .and_then(|(_, rest)| rest.split('/').next());
    let mut call = AwsCall {
        host: header("host"),
        target: header("x-amz-target"),
        access_key: key.unwrap_or_default().to_owned(),
        body: String::new(),
    };
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    call.body = String::from_utf8_lossy(&body).into_owned();
    let (status, text) = answer(&call);
    calls.lock().unwrap().push(call);
    (
        StatusCode::from_u16(status).unwrap(),
        [("x-amzn-requestid", "request-1")],
        text,
    )
        .into_response()
}

/// An answer of STS with credentials whose key is `key`.
pub(crate) fn assumed(key: &str) -> (u16, String) {
    (
        200,
        format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}

/// Waits until `done`, at most 20 s.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}
