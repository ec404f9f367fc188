//! One call on its way through the endpoint: who makes it, what it has to be allowed, what the log is told.

use std::{borrow::Cow, sync::Arc, time::Instant};

use axum::http::request::Parts;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    accept::Connection,
    answer::{Outcome, Protocol, Refusal},
    authorisation::{Authorisation, Refused},
    caller::{Caller, Circumstances, Wish, why},
    calls::{CallRecord, CallVerdict},
    credentials::Session,
    defects::Defects,
    faults::{self, Called},
    iam::Params,
    kms,
    service::Service,
    signature,
    sigv4::{Claim, Fault},
    state::{State, World},
    sts::Trace,
};

/// A call, as far as it is understood.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a Arc<State>,
    pub(crate) service: Service,
    pub(crate) operation: Cow<'static, str>,
    pub(crate) region: Cow<'static, str>,
    pub(crate) parts: &'a Parts,
    pub(crate) body: &'a Bytes,
    /// What it says about its signature.
    pub(crate) signature: &'a Result<Claim<'a>, Fault>,
    /// The form of an awsQuery call.
    pub(crate) params: Option<Params>,
    pub(crate) connection: Connection,
    /// The first over its TLS connection.
    pub(crate) handshake: bool,
    pub(crate) now: Timestamp,
    pub(crate) defects: Defects,
}

/// What the log is told, as it becomes known.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) asked: Option<String>,
    pub(crate) trace: Trace,
    pub(crate) fault: Option<String>,
    /// The backend that it was sent on to.
    pub(crate) backend: Option<Arc<str>>,
}

impl Call<'_> {
    /// The session whose key signed the call.
    pub(crate) fn signed(&self, known: &mut Known) -> Result<Arc<Session>, Refusal> {
        let session = signature::verify(
            self.state,
            self.service.protocol(),
            self.signature,
            &signature::signed(self.parts, self.body),
            self.now,
            self.defects,
        )?;
        known.session = Some(Arc::clone(&session));
        known.trace.role.clone_from(&session.role);
        if !self.state.within_quota(self.called(), self.now) {
            known.fault = Some(format!("quota {}:{}", self.service.name(), self.operation));
            return Err(faults::throttled(self.service.protocol()));
        }
        Ok(session)
    }

    /// As faults and quotas see it.
    pub(crate) fn called(&self) -> Called<'_> {
        Called {
            service: self.service.name(),
            operation: &self.operation,
            region: &self.region,
        }
    }

    /// The JSON in the body; none is an empty object.
    pub(crate) fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(self.body)
            .map_err(|_| Refusal::new(400, "SerializationException", "the request's body is not JSON"))
    }

    pub(crate) fn caller<'s>(&'s self, session: &'s Session, world: &World) -> Caller<'s> {
        Caller::new(session, &world.iam, self.circumstances(), self.defects.rules())
    }

    pub(crate) fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            region: &self.region,
            now: self.now,
            connection: self.connection,
        }
    }

    /// Decides everything that a call has to be allowed, and tells the log what it is about.
    pub(crate) fn authorise(
        &self,
        caller: &Caller<'_>,
        session: &Session,
        wanted: Authorisation,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        let decided = self.decide(caller, session, &wanted, known);
        known.asked = wanted.asked;
        known.trace.resource = Some(wanted.resource);
        decided
    }

    /// Decides everything that a call has to be allowed.
    pub(crate) fn decide(
        &self,
        caller: &Caller<'_>,
        session: &Session,
        wanted: &Authorisation,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        for action in wanted.actions() {
            self.decide_one(caller, session, wanted, action, known)?;
        }
        for further in &wanted.further {
            let decided = self.decide_one(caller, session, &further.wanted, &further.wanted.action, known);
            decided.map_err(|refusal| match &further.refusal {
                Refused::Plainly => refusal,
                Refused::With(code, message) => Refusal {
                    code: (*code).to_owned(),
                    message: message.clone(),
                    ..refusal
                },
                Refused::InTheWordsOfKms => Refusal {
                    message: kms::repeated(&refusal.code, &refusal.message),
                    ..refusal
                },
            })?;
        }
        Ok(())
    }

    /// Decides, tells the log which statement did, and words a denial as AWS does: with the resource as
    /// the caller named it.
    fn decide_one(
        &self,
        caller: &Caller<'_>,
        session: &Session,
        wanted: &Authorisation,
        action: &str,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        let decision = caller.decide(&Wish {
            action,
            resource: &wanted.resource,
            account: &self.state.account,
            keys: &wanted.keys,
            resource_key: wanted.resource_key,
            resource_policy: wanted.resource_policy.as_ref(),
            trust: None,
        });
        known.trace.statement.clone_from(&decision.statement);
        let Some(because) = decision.reason.because(action) else {
            return Ok(());
        };
        let user = session.principal.arn();
        let resource = wanted.asked.as_deref().unwrap_or(&wanted.resource);
        let message =
            format!("User: {user} is not authorized to perform: {action} on resource: {resource} {because}");
        let refusal = match self.service.protocol() {
            Protocol::Json => Refusal::new(400, "AccessDeniedException", message),
            Protocol::Rest => Refusal::new(403, "AccessDeniedException", message),
            Protocol::Query(_) => Refusal::new(403, "AccessDenied", message),
        };
        Err(refusal.denial(why(&decision, action)))
    }

    pub(crate) fn log(self, known: Known, result: &Result<Outcome, Refusal>, status: u16, began: Instant) {
        let refusal = result.as_ref().err();
        if let Some(fault) = &known.fault {
            // What only its caller would see otherwise, where no program reads the log.
            tracing::info!(
                service = self.service.name(),
                operation = &*self.operation,
                region = &*self.region,
                status,
                fault,
                "a fault struck a call"
            );
        }
        let refused_there = match result {
            Ok(Outcome::Relayed(answer)) => answer.error(),
            _ => None,
        };
        self.state.calls.push(CallRecord {
            sequence: 0,
            at: self.now,
            took: began.elapsed(),
            service: self.service.name(),
            operation: self.operation,
            region: self.region,
            principal: known.session.map(|session| Arc::clone(&session.arn)),
            role: known.trace.role,
            subject: known.trace.subject,
            asked: known.asked.or_else(|| known.trace.resource.clone()),
            resource: known.trace.resource,
            verdict: match refusal {
                None if refused_there.is_some() => CallVerdict::Failed,
                refusal => CallVerdict::of(refusal),
            },
            statement: known.trace.statement,
            reason: refusal.and_then(|refusal| refusal.reason.clone()),
            status,
            error: refusal
                .map(|refusal| refusal.code.clone())
                .filter(|code| !code.is_empty())
                .or(refused_there),
            backend: known.backend,
            connection: self.connection.number,
            handshake: self.handshake,
            fault: known.fault,
        });
    }
}
