//! HTTP: a request is read, finds its service, and is answered in that service's form.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use http::{Request as HttpRequest, Response, header::ACCEPT, request::Parts};
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
    service::{Head, Service},
    signature,
    sigv4::Claim,
    state::State,
};

/// Largest body of a request: a secret of 64 KiB as base64, and room.
const LARGEST: usize = 1024 * 1024;
/// Region of requests that name none.
const DEFAULT_REGION: &str = "us-east-1";

/// Every request to every service over one connection. There is but one route, so that no router has to find it.
pub(crate) fn app(
    state: Arc<State>,
    connection: Connection,
    cutter: Cutter,
) -> impl HttpService<
    HttpRequest<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> {
    let shared = Arc::new((state, cutter));
    service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let (state, cutter) = &*shared;
            Ok(answer_to(state, connection, cutter, request).await)
        }
    })
}

/// Tells requests apart and has to be hard to guess for nobody: from the thread's generator, not the system's.
fn request_id() -> uuid::fmt::Hyphenated {
    let id = uuid::Builder::from_random_bytes(rand::random());
    id.into_uuid().hyphenated()
}

async fn answer_to(
    state: &Arc<State>,
    connection: Connection,
    cutter: &Cutter,
    request: HttpRequest<Incoming>,
) -> Response<Body> {
    let began = Instant::now();
    cutter.use_it();
    let faults = state.faults();
    let now = state.now();
    let mut id = uuid::Uuid::encode_buffer();
    let request_id: &str = request_id().encode_lower(&mut id);
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/moto-api/reset" && state.moto_reset.load(Ordering::Relaxed) {
        state.world().clear(&state.account);
        return Response::new(answer::whole("{\"status\":\"ok\"}"));
    }
    let arrives = timeout(state.patience().body, Limited::new(body, LARGEST).collect());
    let Ok(Ok(body)) = arrives.await else {
        let refusal = Refusal::new(
            413,
            "RequestEntityTooLarge",
            "the request's body is too large, or did not arrive",
        );
        return answer::write(Protocol::Json, "", &Err(refusal), request_id);
    };
    let body = body.to_bytes();
    let signature = Claim::of(&signature::signed(&parts, &body));
    let scope = signature.as_ref().ok().map(Claim::scope);
    let head = Head(&parts);
    if scope.is_none()
        && let Some(document) = eks_calls::issuer_document(state, head)
    {
        return answer::write(Protocol::Rest, "", &Ok(Outcome::Json(document)), request_id);
    }
    let service = match Service::of(scope.as_ref(), head) {
        Ok(service) => service,
        Err(name) => return answer::write(Protocol::Json, "", &Err(unknown_service(&name)), request_id),
    };
    let protocol = service.protocol();
    let (operation, params) = match protocol {
        Protocol::Query(_) => {
            let params = Params::of_request(parts.uri.query(), &body);
            (
                params.optional("Action").unwrap_or_default().to_owned(),
                Some(params),
            )
        }
        Protocol::Json => {
            let target = head.target().unwrap_or_default();
            (target.rsplit('.').next().unwrap_or_default().to_owned(), None)
        }
        // Each such service tells its operations by method and path.
        Protocol::Rest => (eks_calls::operation(service, head), None),
    };
    // The host's, which the signature has to be for.
    let signed_for = scope.as_ref().map(|scope| scope.region);
    let region = head.region().or(signed_for).unwrap_or(DEFAULT_REGION).to_owned();
    let call = Call {
        state,
        service,
        operation,
        region,
        parts: &parts,
        body: &body,
        signature: &signature,
        params,
        connection,
        now,
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
    let result = match &struck.code {
        Some(code) => Err(faults::refusal(protocol, code)),
        None => call.carry_out(&mut known).await,
    };
    let response = if call.operation == "GetCallerIdentity" && asks_for_json(&parts) {
        answer::write_query_as_json(&call.operation, &result, request_id)
    } else {
        answer::write(protocol, &call.operation, &result, request_id)
    };
    call.log(known, &result, response.status().as_u16(), began);
    spoil(response, &struck, cutter).await
}

fn asks_for_json(parts: &Parts) -> bool {
    let accept = parts.headers.get(ACCEPT);
    accept.is_some_and(|value| value.as_bytes() == b"application/json")
}
