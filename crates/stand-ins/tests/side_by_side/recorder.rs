//! What passes between a part and the API server, and between a part and AWS, read on the way.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header},
};
use http_body_util::{BodyExt, Full};
use mountproof_run_tls::{HttpsClient, RunCa, Server, serve_connection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Host, for AWS.
    pub(crate) host: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Of the answer.
    pub(crate) status: u16,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    /// Everything since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn push(&self, seen: Seen) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(seen);
        all.len() - 1
    }
}

/// An API server in front of the API server.
pub(crate) struct ApiRecorder {
    pub(crate) url: String,
    pub(crate) log: Log,
    _server: Server,
}

impl ApiRecorder {
    pub(crate) async fn start(ca: &Arc<RunCa>, upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let log = Log::default();
        let client = HttpsClient::new(ca.certificate_pem(), None).unwrap();
        let (upstream, recorded) = (upstream.to_owned(), log.clone());
        let app = Router::new().fallback(move |request: Request<Body>| {
            let (client, log, upstream) = (client.clone(), recorded.clone(), upstream.clone());
            pass(request, client, log, Way::Api(upstream))
        });
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        Self {
            url,
            log,
            _server: server,
        }
    }
}

/// What AWS is to answer in place of the endpoint, for requests that it wants.
pub(crate) type Script = dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync;

/// The script of now.
pub(crate) type Scripted = Arc<Mutex<Option<Box<Script>>>>;

/// A CONNECT proxy that answers for AWS's names, in front of the endpoint's.
pub(crate) struct AwsRecorder {
    pub(crate) proxy: SocketAddr,
    pub(crate) log: Log,
    pub(crate) script: Scripted,
    _accepting: JoinSet<()>,
}

impl AwsRecorder {
    pub(crate) async fn start(ca: &Arc<RunCa>, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let log = Log::default();
        let tls = TlsAcceptor::from(ca.server_config(|name| name.ends_with(".amazonaws.com")).unwrap());
        let client = HttpsClient::new(ca.certificate_pem(), Some(upstream)).unwrap();
        let script = Scripted::default();
        let (recorded, scripted) = (log.clone(), Arc::clone(&script));
        let app = Router::new().fallback(move |request: Request<Body>| {
            let (client, log, script) = (client.clone(), recorded.clone(), Arc::clone(&scripted));
            pass(request, client, log, Way::Aws(script))
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tls, app) = (tls.clone(), app.clone());
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    assert!(
                        head.starts_with(b"CONNECT "),
                        "{}",
                        String::from_utf8_lossy(&head)
                    );
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, app, CancellationToken::new()).await;
                    }
                });
            }
        });
        Self {
            proxy,
            log,
            script,
            _accepting: accepting,
        }
    }
}

/// Where a request goes on to.
enum Way {
    /// To the server at this URL.
    Api(String),
    /// To the host that it names, unless the script answers.
    Aws(Scripted),
}

/// Passes a request on, and keeps it.
async fn pass(request: Request<Body>, client: HttpsClient, log: Log, way: Way) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
    let host = head.headers.get(header::HOST).map_or_else(
        || head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        |host| host.to_str().unwrap().to_owned(),
    );
    let path = head
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    let seen = Seen {
        host: host.clone(),
        method: head.method.to_string(),
        path: path.clone(),
        headers: head.headers.clone(),
        body: body.clone(),
        status: 0,
    };
    if let Way::Aws(script) = &way {
        let answer = script.lock().unwrap().as_ref().and_then(|script| script(&seen));
        if let Some((status, text)) = answer {
            log.push(Seen { status, ..seen });
            let mut answer = Response::new(Body::from(text));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            return answer;
        }
    }
    let at = log.push(seen);
    let base = match way {
        Way::Api(url) => {
            head.headers.remove(header::HOST);
            url
        }
        Way::Aws(_) => {
            head.headers.insert(header::HOST, host.parse().unwrap());
            format!("https://{}", host.trim_end_matches(":443"))
        }
    };
    head.uri = format!("{base}{path}").parse::<Uri>().unwrap();
    head.version = Version::HTTP_11;
    for name in ["connection", "te", "upgrade"] {
        head.headers.remove(name);
    }
    let answer = client.send(Request::from_parts(head, Full::new(body))).await;
    let (status, answer) = match answer {
        Ok(answer) => {
            let (mut head, body) = answer.into_parts();
            for name in ["connection", "transfer-encoding"] {
                head.headers.remove(name);
            }
            let body = Body::new(body.map_err(axum::Error::new));
            (head.status, Response::from_parts(head, body))
        }
        Err(error) => {
            let status = StatusCode::BAD_GATEWAY;
            let mut answer = Response::new(Body::from(error.to_string()));
            *answer.status_mut() = status;
            (status, answer)
        }
    };
    if let Some(seen) = log.0.lock().unwrap().get_mut(at) {
        seen.status = status.as_u16();
    }
    answer
}
