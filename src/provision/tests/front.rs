//! A server in front of another that makes one request go wrong.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST},
    },
    response::{IntoResponse as _, Response},
};
use http_body_util::Full;
use mountproof_run_tls::{HttpsClient, RunCa, Server};
use tokio::net::TcpListener;

/// Largest body that tests send.
const LARGEST: usize = 1 << 20;

/// What happens to the request that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is refused.
    Refused,
    /// It is carried out, and the answer says that it was refused: a lost answer.
    DoneButRefused,
}

/// How AWS and Kubernetes are refused, and which of their requests make something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    Aws,
    Kubernetes,
}

/// Forwards everything to `target`, except what it was told to spoil.
pub(super) struct Front {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    client: HttpsClient,
    world: World,
    /// Requests that make something until one goes wrong; negative when none does.
    left: AtomicI64,
    done_but_refused: AtomicBool,
}

impl Front {
    pub(super) async fn start(target: &str, world: World, ca: &Arc<RunCa>) -> Self {
        let client = HttpsClient::new(ca.certificate_pem(), None).unwrap();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            client,
            world,
            left: AtomicI64::new(-1),
            done_but_refused: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let server = Server::start(listener, ca.server_config(|_| false).unwrap(), app).unwrap();
        Self { server, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}", self.server.address())
    }

    /// Spoils the request that makes something after `count` others.
    pub(super) fn spoil(&self, count: i64, fault: Fault) {
        let shared = &self.shared;
        shared
            .done_but_refused
            .store(fault == Fault::DoneButRefused, Ordering::SeqCst);
        shared.left.store(count, Ordering::SeqCst);
    }

    /// Whether a request was spoilt since [`spoil`](Self::spoil). From then on none is.
    pub(super) fn heal(&self) -> bool {
        self.shared.left.swap(-1, Ordering::SeqCst) < 0
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let makes = match shared.world {
        World::Aws => makes_in_aws(&request),
        World::Kubernetes => Some(matches!(*request.method(), Method::POST | Method::PATCH)),
    };
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await.unwrap();
    let makes = match makes {
        Some(makes) => makes,
        // The query protocol names its action in the body.
        None => std::str::from_utf8(&body).is_ok_and(|body| {
            ["Create", "Attach", "Put"]
                .iter()
                .any(|verb| body.contains(&format!("Action={verb}")))
        }),
    };
    let spoilt = makes && shared.left.fetch_sub(1, Ordering::SeqCst) == 0;
    let json = head.headers.contains_key("x-amz-target");
    if spoilt && !shared.done_but_refused.load(Ordering::SeqCst) {
        return refusal(shared.world, json);
    }
    // HTTP/2 has the host in another place. It is signed, so it goes on as it came.
    if let Some(host) = head.uri.authority().map(|host| host.as_str().parse().unwrap()) {
        head.headers.entry(HOST).or_insert(host);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("{}{path}", shared.target).parse::<Uri>().unwrap();
    let mut onward = Request::new(Full::new(body));
    *onward.method_mut() = head.method;
    *onward.uri_mut() = head.uri;
    *onward.headers_mut() = head.headers;
    match shared.client.send(onward).await {
        Ok(_) if spoilt => refusal(shared.world, json),
        Ok(answer) => answer.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Nothing when only the body can tell.
fn makes_in_aws(request: &Request) -> Option<bool> {
    let target = request.headers().get("x-amz-target")?;
    Some(
        target
            .to_str()
            .is_ok_and(|target| target.ends_with(".CreateSecret")),
    )
}

fn refusal(world: World, json: bool) -> Response {
    let (status, kind, body) = match (world, json) {
        (World::Kubernetes, _) => (
            StatusCode::FORBIDDEN,
            "application/json",
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"spoilt"}"#,
        ),
        (World::Aws, true) => (
            StatusCode::BAD_REQUEST,
            "application/x-amz-json-1.1",
            r#"{"__type":"AccessDeniedException","Message":"spoilt"}"#,
        ),
        (World::Aws, false) => (
            StatusCode::FORBIDDEN,
            "text/xml",
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>spoilt</Message></Error>\
             <RequestId>0</RequestId></ErrorResponse>",
        ),
    };
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}
