//! A request to its service, its decision into the log, its answer back.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Router,
    body::Body,
    http::{Request as HttpRequest, Response, header::HOST, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    accept::Connection,
    answer::{self, Outcome, Protocol, Refusal},
    caller::{Caller, Wish, why},
    calls::{CallRecord, CallVerdict},
    credentials::Session,
    faults::{self, Called, spoil::spoil},
    iam::{self, Context, Params},
    secrets,
    signature::{self, Scope},
    state::{State, World},
    sts::{self, Trace},
};

/// Largest body of a request: a secret of 64 KiB as base64, and room.
const LARGEST: usize = 1024 * 1024;
/// Region of requests that name none.
const DEFAULT_REGION: &str = "us-east-1";

/// Every request to every service.
pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(
        move |Extension(connection): Extension<Connection>, request: HttpRequest<Body>| {
            let state = Arc::clone(&state);
            async move { answer_to(&state, connection, request).await }
        },
    )
}

/// The services there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Iam,
    Sts,
    Secrets,
}

impl Service {
    /// By signing scope, else by host name, else by what the request looks like.
    fn of(scope: Option<&Scope>, parts: &Parts) -> Option<Self> {
        let by_name = |name: &str| match name {
            "iam" => Some(Self::Iam),
            "sts" => Some(Self::Sts),
            "secretsmanager" => Some(Self::Secrets),
            _ => None,
        };
        if let Some(scope) = scope {
            return by_name(&scope.service);
        }
        by_name(host(parts).split('.').next().unwrap_or_default()).or_else(|| {
            // Only web-identity calls to STS come unsigned, and JSON calls carry their target.
            if parts.headers.contains_key("x-amz-target") {
                Some(Self::Secrets)
            } else {
                Some(Self::Sts)
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::Secrets => "secretsmanager",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Iam => Protocol::Query(iam::service::NAMESPACE),
            Self::Sts => Protocol::Query(sts::NAMESPACE),
            Self::Secrets => Protocol::Json,
        }
    }
}

/// A call, as far as it is understood.
struct Call<'a> {
    state: &'a Arc<State>,
    service: Service,
    operation: String,
    region: String,
    scope: Option<Scope>,
    parts: &'a Parts,
    body: &'a Bytes,
    now: Timestamp,
}

/// What the log is told, as it becomes known.
#[derive(Default)]
struct Known {
    session: Option<Arc<Session>>,
    asked: Option<String>,
    trace: Trace,
    fault: Option<String>,
}

async fn answer_to(state: &Arc<State>, connection: Connection, request: HttpRequest<Body>) -> Response<Body> {
    let began = Instant::now();
    let faults = state.faults();
    let now = Timestamp::now() + faults.clock_step();
    let request_id = uuid::Uuid::new_v4().to_string();
    let (parts, body) = request.into_parts();
    let arrives = tokio::time::timeout(state.patience().body, Limited::new(body, LARGEST).collect());
    let Ok(Ok(body)) = arrives.await else {
        let refusal = Refusal::new(
            413,
            "RequestEntityTooLarge",
            "the request's body is too large, or did not arrive",
        );
        return answer::write(Protocol::Json, "", &Err(refusal), &request_id);
    };
    let body = body.to_bytes();
    let scope = Scope::of(&parts);
    let Some(service) = Service::of(scope.as_ref(), &parts) else {
        let name = scope.map(|scope| scope.service).unwrap_or_default();
        let refusal = Refusal::new(
            400,
            "UnknownService",
            format!("this endpoint has no service {name}"),
        );
        return answer::write(Protocol::Json, "", &Err(refusal), &request_id);
    };
    let params = (service != Service::Secrets).then(|| form(parts.uri.query().unwrap_or_default(), &body));
    let operation = match &params {
        Some(params) => params.optional("Action").unwrap_or_default().to_owned(),
        None => target(&parts),
    };
    let region = region(&parts, scope.as_ref());
    let call = Call {
        state,
        service,
        operation,
        region,
        scope,
        parts: &parts,
        body: &body,
        now,
    };
    let mut known = Known::default();
    let struck = state.strike(&faults, call.called());
    known.fault.clone_from(&struck.names);
    if !struck.delay.is_zero() {
        tokio::time::sleep(struck.delay).await;
    }
    if let Some(cut) = struck.cut {
        call.log(
            known,
            &Err(faults::refusal(service.protocol(), "")),
            0,
            &connection,
            began,
        );
        return connection.cutter.cut(cut).await;
    }
    let result = match &struck.code {
        Some(code) => Err(faults::refusal(service.protocol(), code)),
        None => call.carry_out(params.as_ref(), &mut known).await,
    };
    let response = answer::write(service.protocol(), &call.operation, &result, &request_id);
    call.log(known, &result, response.status().as_u16(), &connection, began);
    spoil(response, &struck, &connection.cutter).await
}

impl Call<'_> {
    async fn carry_out(&self, params: Option<&Params>, known: &mut Known) -> Result<Outcome, Refusal> {
        let unsigned = self.service == Service::Sts && self.operation == "AssumeRoleWithWebIdentity";
        if let (true, Some(params)) = (unsigned, params) {
            return sts::assume_role_with_web_identity(self.sts(params), &mut known.trace).await;
        }
        let protocol = self.service.protocol();
        let session = signature::verify(self.state, protocol, self.parts, self.body, self.now)?;
        known.session = Some(Arc::clone(&session));
        known.trace.role.clone_from(&session.role);
        if !self.state.within_quota(self.called(), self.now) {
            known.fault = Some(format!("quota {}:{}", self.service.name(), self.operation));
            return Err(faults::throttled(protocol));
        }
        match (self.service, params) {
            (Service::Iam, Some(params)) => self.iam(&session, params, known),
            (Service::Sts, Some(params)) => match self.operation.as_str() {
                "GetCallerIdentity" => Ok(sts::caller_identity(self.state, &session)),
                "AssumeRole" => sts::assume_role(self.sts(params), &session, &mut known.trace),
                other => Err(invalid_action(other)),
            },
            _ => self.secrets(&session, known),
        }
    }

    /// As faults and quotas see it.
    fn called(&self) -> Called<'_> {
        Called {
            service: self.service.name(),
            operation: &self.operation,
            region: &self.region,
        }
    }

    fn sts<'a>(&'a self, params: &'a Params) -> sts::Call<'a> {
        sts::Call {
            state: self.state,
            params,
            region: &self.region,
            now: self.now,
        }
    }

    fn iam(&self, session: &Session, params: &Params, known: &mut Known) -> Result<Outcome, Refusal> {
        let mut world = self.state.world();
        let wanted = iam::service::authorisation(&world.iam, &self.operation, params).map_err(from_iam)?;
        known.trace.resource = Some(wanted.resource.clone());
        let caller = self.caller(session, &world);
        self.authorise(
            &caller,
            session,
            None,
            &self.wish(&wanted.action, &wanted.resource, wanted.keys),
            known,
        )?;
        iam::service::execute(&mut world.iam, &self.operation, params, self.now)
            .map(Outcome::Xml)
            .map_err(from_iam)
    }

    fn secrets(&self, session: &Session, known: &mut Known) -> Result<Outcome, Refusal> {
        let body = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body[..]
        };
        let body: Value = serde_json::from_slice(body)
            .map_err(|_| Refusal::new(400, "SerializationException", "the request's body is not JSON"))?;
        let mut world = self.state.world();
        let wanted = secrets::authorisation(&world.secrets, &self.region, &self.operation, &body)
            .map_err(from_secrets)?;
        known.asked.clone_from(&wanted.asked);
        known.trace.resource = Some(wanted.resource.clone());
        let caller = self.caller(session, &world);
        for action in wanted.actions() {
            let wish = Wish {
                resource_policy: wanted.resource_policy.as_ref(),
                ..self.wish(action, &wanted.resource, wanted.keys.clone())
            };
            self.authorise(&caller, session, wanted.asked.as_deref(), &wish, known)?;
        }
        let defects = self.state.defects();
        if self.operation == "BatchGetSecretValue" {
            let batch = secrets::batch::members(&world.secrets, &self.region, &body).map_err(from_secrets)?;
            let denied = |wanted: &secrets::Authorisation| {
                let wish = Wish {
                    resource_policy: wanted.resource_policy.as_ref(),
                    ..self.wish(&wanted.action, &wanted.resource, wanted.keys.clone())
                };
                let asked = wanted.asked.as_deref();
                self.authorise(&caller, session, asked, &wish, &mut Known::default())
                    .err()
                    .map(|refusal| refusal.message)
            };
            let secrets = &mut world.secrets;
            let answer = secrets::batch::answer(secrets, &self.region, &batch, denied, self.now, defects);
            return Ok(Outcome::Json(answer));
        }
        let secrets = &mut world.secrets;
        secrets::execute(secrets, &self.region, &self.operation, &body, self.now, defects)
            .map(Outcome::Json)
            .map_err(from_secrets)
    }

    fn caller<'s>(&self, session: &'s Session, world: &World) -> Caller<'s> {
        Caller::new(session, &world.iam, &self.region, self.now, self.state.rules())
    }

    fn wish<'w>(&'w self, action: &'w str, resource: &'w str, keys: Context) -> Wish<'w> {
        Wish {
            action,
            resource,
            account: &self.state.account,
            keys,
            resource_policy: None,
            trust: None,
        }
    }

    /// Decides, tells the log which statement did, and words a denial as AWS does: with the resource as
    /// the caller named it.
    fn authorise(
        &self,
        caller: &Caller<'_>,
        session: &Session,
        asked: Option<&str>,
        wish: &Wish<'_>,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        let decision = caller.decide(wish);
        known.trace.statement = decision.statement.as_ref().map(ToString::to_string);
        let action = wish.action;
        let Some(because) = decision.reason.because(action) else {
            return Ok(());
        };
        let user = session.principal.arn();
        let resource = asked.unwrap_or(wish.resource);
        let message =
            format!("User: {user} is not authorized to perform: {action} on resource: {resource} {because}");
        let refusal = match self.service.protocol() {
            Protocol::Json => Refusal::new(400, "AccessDeniedException", message),
            Protocol::Query(_) => Refusal::new(403, "AccessDenied", message),
        };
        Err(refusal.denial(why(&decision, action)))
    }

    fn log(
        &self,
        known: Known,
        result: &Result<Outcome, Refusal>,
        status: u16,
        connection: &Connection,
        began: Instant,
    ) {
        let refusal = result.as_ref().err();
        self.state.calls.push(CallRecord {
            sequence: 0,
            at: self.now,
            took: began.elapsed(),
            service: self.service.name(),
            action: format!("{}:{}", self.service.name(), self.operation),
            operation: self.operation.clone(),
            region: self.region.clone(),
            principal: known.session.map(|session| session.principal.arn()),
            role: known.trace.role,
            subject: known.trace.subject,
            asked: known.asked.or_else(|| known.trace.resource.clone()),
            resource: known.trace.resource,
            verdict: match refusal {
                None => CallVerdict::Allowed,
                Some(refusal) if refusal.denied => CallVerdict::Denied,
                Some(_) => CallVerdict::Failed,
            },
            statement: known.trace.statement,
            reason: refusal.and_then(|refusal| refusal.reason.clone()),
            status,
            error: refusal.map(|refusal| refusal.code.clone()),
            connection: connection.number,
            fault: known.fault,
        });
    }
}

fn from_iam(error: iam::IamError) -> Refusal {
    Refusal::new(error.status(), error.code(), error.message)
}

fn from_secrets(error: secrets::SecretsError) -> Refusal {
    let message_key = error.message_key();
    Refusal {
        message_key,
        ..Refusal::new(400, error.code, error.message)
    }
}

fn invalid_action(operation: &str) -> Refusal {
    Refusal::new(
        400,
        "InvalidAction",
        format!("Could not find operation {operation} for version 2011-06-15"),
    )
}

/// The fields of an awsQuery call: of its body, and of its query, as presigned URLs have them.
fn form(query: &str, body: &[u8]) -> Params {
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    query.chain(form_urlencoded::parse(body).into_owned()).collect()
}

/// The operation of a JSON call: `secretsmanager.GetSecretValue`.
fn target(parts: &Parts) -> String {
    let header = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    header.rsplit('.').next().unwrap_or_default().to_owned()
}

/// The region in a host name: `sts.eu-west-1.amazonaws.com`; else that of the signature.
fn region(parts: &Parts, scope: Option<&Scope>) -> String {
    let host = host(parts);
    let mut labels = host.split('.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(_), Some(region), Some("amazonaws")) if region.contains('-') => region.to_owned(),
        _ => scope.map_or(DEFAULT_REGION, |scope| &scope.region).to_owned(),
    }
}

fn host(parts: &Parts) -> &str {
    let header = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| parts.uri.host()).unwrap_or_default()
}
