//! HTTP: a request is read, finds its service, and is answered in that service's form.

use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request as HttpRequest, Response, header::ACCEPT, request::Parts};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::Incoming,
    service::{Service as HttpService, service_fn},
};
use tokio::time::{sleep, timeout};

use crate::{
    accept::Connection,
    answer::{self, Body, Outcome, Protocol, Refusal},
    call::{Call, Known},
    cut::Cutter,
    dispatch::unknown_service,
    eks_calls,
    faults::{self, spoil::spoil},
    iam::Params,
    region,
    service::{Head, Service},
    signature,
    sigv4::Claim,
    state::State,
};

/// Largest body of a request: a secret of 64 KiB as base64, and room.
const LARGEST: usize = 1024 * 1024;
/// Region of requests that name none.
const DEFAULT_REGION: &str = "us-east-1";

/// What the requests of one connection share.
struct Shared {
    state: Arc<State>,
    connection: Connection,
    /// Whether a request came already.
    begun: AtomicBool,
    cutter: Cutter,
    /// How long the body of a request may take.
    patience: Duration,
}

/// Every request to every service over one connection. There is but one route, so that no router has to find it.
pub(crate) fn app(
    state: Arc<State>,
    connection: Connection,
    cutter: Cutter,
    patience: Duration,
) -> impl HttpService<
    HttpRequest<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> {
    let shared = Arc::new(Shared {
        state,
        connection,
        begun: AtomicBool::new(false),
        cutter,
        patience,
    });
    service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok(answer_to(&shared, request).await) }
    })
}

/// Tells requests apart and has to be hard to guess for nobody: from the thread's generator, not the system's.
fn request_id() -> uuid::fmt::Hyphenated {
    let id = uuid::Builder::from_random_bytes(rand::random());
    id.into_uuid().hyphenated()
}

/// All of a request's body. Most come in one piece, which stays where it lies.
async fn all(mut body: Limited<Incoming>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if first.is_empty() {
            first = piece;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

async fn answer_to(shared: &Shared, request: HttpRequest<Incoming>) -> Response<Body> {
    let began = Instant::now();
    let Shared {
        state,
        connection,
        begun,
        cutter,
        patience,
    } = shared;
    let handshake = connection.secure && !begun.swap(true, Ordering::Relaxed);
    cutter.use_it();
    let faults = state.faults();
    let now = State::now_under(&faults);
    let mut id = uuid::Uuid::encode_buffer();
    let request_id: &str = request_id().encode_lower(&mut id);
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/moto-api/reset" && state.moto_reset.load(Ordering::Relaxed) {
        state.world().clear(&state.account);
        return Response::new(answer::whole("{\"status\":\"ok\"}"));
    }
    let arrives = timeout(*patience, all(Limited::new(body, LARGEST)));
    let Ok(Ok(body)) = arrives.await else {
        let refusal = Refusal::new(
            413,
            "RequestEntityTooLarge",
            "the request's body is too large, or did not arrive",
        );
        return alone(Protocol::Json, Err(refusal), request_id);
    };
    let signature = Claim::of(&signature::signed(&parts, &body));
    let scope = signature.as_ref().ok().map(Claim::scope);
    let head = Head(&parts);
    if scope.is_none()
        && let Some(document) = eks_calls::issuer_document(state, head)
    {
        return alone(Protocol::Rest, Ok(Outcome::Json(document)), request_id);
    }
    let service = match Service::of(scope.as_ref(), head) {
        Ok(service) => service,
        Err(name) => return alone(Protocol::Json, Err(unknown_service(&name)), request_id),
    };
    let protocol = service.protocol();
    let (operation, params) = match protocol {
        Protocol::Query(_) => {
            let params = Params::of_request(parts.uri.query(), &body);
            let action = params.optional("Action").unwrap_or_default();
            (service.operation(action), Some(params))
        }
        Protocol::Json => {
            let target = head.target().unwrap_or_default();
            let name = target.rsplit('.').next().unwrap_or_default();
            (service.operation(name), None)
        }
        // Each such service tells its operations by method and path.
        Protocol::Rest => (Cow::Owned(eks_calls::operation(service, head)), None),
    };
    // The host's, which the signature has to be for.
    let signed_for = scope.as_ref().map(|scope| scope.region);
    let region = region::named(head.region().or(signed_for).unwrap_or(DEFAULT_REGION));
    let call = Call {
        state,
        service,
        operation,
        region,
        parts: &parts,
        body: &body,
        signature: &signature,
        params,
        connection: *connection,
        handshake,
        now,
        defects: state.defects(),
    };
    let mut known = Known::default();
    let struck = state.strike(&faults, call.called());
    known.fault.clone_from(&struck.names);
    if !struck.delay.is_zero() {
        sleep(struck.delay).await;
    }
    if let Some(cut) = struck.cut {
        call.log(known, &Err(faults::unanswered()), 0, began);
        return cutter.cut(cut).await;
    }
    let mut result = match &struck.code {
        Some(code) => Err(faults::refusal(protocol, code)),
        None => call.carry_out(&mut known).await,
    };
    let answer = if call.operation == "GetCallerIdentity" && asks_for_json(&parts) {
        answer::write_query_as_json(&call.operation, &result, request_id)
    } else {
        answer::write(protocol, &call.operation, &mut result, request_id)
    };
    call.log(known, &result, answer.status, began);
    let response = answer.respond(parts.headers, request_id);
    spoil(response, &struck, cutter).await
}

/// The answer to what is no call, or none that is understood.
fn alone(protocol: Protocol, mut result: Result<Outcome, Refusal>, request_id: &str) -> Response<Body> {
    answer::write(protocol, "", &mut result, request_id).respond(HeaderMap::new(), request_id)
}

fn asks_for_json(parts: &Parts) -> bool {
    let accept = parts.headers.get(ACCEPT);
    accept.is_some_and(|value| value.as_bytes() == b"application/json")
}
