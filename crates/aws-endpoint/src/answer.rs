//! Answers in the wire form of each service.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use serde_json::{Map, Value, json};

use crate::gateway::Relayed;
use crate::wire::json::written;
use crate::wire::xml::{self, Element, Fault};

/// How a service's answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// XML, with the service's namespace: IAM, STS.
    Query(&'static str),
    /// awsJson 1.1: Secrets Manager, SSM, KMS.
    Json,
    /// restJson 1: EKS and its pod identities.
    Rest,
}

/// An error on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Key of the message in JSON.
    pub(crate) message_key: &'static str,
    /// A policy, a signature or a token refused it, rather than a limit or a missing thing.
    pub(crate) denied: bool,
    /// More than the caller is told, for the call log.
    pub(crate) reason: Option<String>,
    /// What a restJson error says beside its message.
    pub(crate) details: Map<String, Value>,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            message_key: "Message",
            denied: false,
            reason: None,
            details: Map::new(),
        }
    }

    /// The same, as a denial, with what the log shall say.
    pub(crate) fn denial(mut self, reason: impl Into<String>) -> Self {
        self.denied = true;
        self.reason = Some(reason.into());
        self
    }
}

/// The body of an answer: whole, or piece by piece where a fault has it so.
pub(crate) type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, std::io::Error>>;

/// A body that is sent at once.
pub(crate) fn whole(text: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(text.into()))
}

/// A successful answer.
pub(crate) enum Outcome {
    /// The children of the result element; none for an operation without one.
    Xml(Option<Vec<Element>>),
    /// A JSON object.
    Json(Value),
    /// The text of a JSON object.
    Written(Bytes),
    /// What a backend answered in JSON, as it came.
    Relayed(Relayed),
}

/// Writes an answer.
pub(crate) fn write(
    protocol: Protocol,
    operation: &str,
    result: &Result<Outcome, Refusal>,
    request_id: &str,
) -> Response<Body> {
    let (status, content_type, body) = match (protocol, result) {
        (Protocol::Query(namespace), Ok(Outcome::Xml(result))) => (
            200,
            "text/xml",
            xml::response(operation, namespace, result.as_deref(), request_id).into(),
        ),
        (Protocol::Query(namespace), Err(refusal)) => {
            let fault = if refusal.status < 500 {
                Fault::Sender
            } else {
                Fault::Receiver
            };
            (
                refusal.status,
                "text/xml",
                xml::error(namespace, fault, &refusal.code, &refusal.message, request_id).into(),
            )
        }
        (Protocol::Rest, Ok(Outcome::Json(value))) => (200, "application/json", written(value)),
        (_, Ok(Outcome::Json(value))) => (200, "application/x-amz-json-1.1", written(value)),
        (_, Ok(Outcome::Written(text))) => (200, "application/x-amz-json-1.1", text.clone()),
        (_, Ok(Outcome::Relayed(answer))) => {
            (answer.status, "application/x-amz-json-1.1", answer.body.clone())
        }
        (_, Ok(Outcome::Xml(_))) => (200, "application/x-amz-json-1.1", Bytes::from_static(b"{}")),
        (Protocol::Rest, Err(refusal)) => {
            let mut body = refusal.details.clone();
            body.insert("message".to_owned(), json!(refusal.message));
            (refusal.status, "application/json", written(&body))
        }
        (Protocol::Json, Err(refusal)) => {
            let body = json!({ "__type": refusal.code, refusal.message_key: refusal.message });
            (refusal.status, "application/x-amz-json-1.1", written(&body))
        }
    };
    let mut response = respond(status, content_type, body, request_id);
    let headers = response.headers_mut();
    if let (Protocol::Rest, Err(refusal)) = (protocol, result)
        && let Ok(code) = refusal.code.parse()
    {
        headers.insert("x-amzn-errortype", code);
    }
    response
}

/// Writes an answer of a Query service in JSON, which AWS does for who asks with `Accept: application/json`, such
/// as aws-iam-authenticator for `GetCallerIdentity`: each element a member. Of lists nothing is written so here.
pub(crate) fn write_query_as_json(
    operation: &str,
    result: &Result<Outcome, Refusal>,
    request_id: &str,
) -> Response<Body> {
    let (status, body) = match result {
        Ok(Outcome::Xml(result)) => {
            let mut members = Map::new();
            if let Some(result) = result {
                members.insert(format!("{operation}Result"), object(result));
            }
            members.insert("ResponseMetadata".to_owned(), json!({ "RequestId": request_id }));
            (200, json!({ format!("{operation}Response"): members }))
        }
        Ok(_) => (200, json!({})),
        Err(refusal) => {
            let kind = if refusal.status < 500 {
                "Sender"
            } else {
                "Receiver"
            };
            let error = json!({ "Type": kind, "Code": refusal.code, "Message": refusal.message });
            (refusal.status, json!({ "Error": error, "RequestId": request_id }))
        }
    };
    respond(status, "application/json", written(&body), request_id)
}

fn object(elements: &[Element]) -> Value {
    let members = elements.iter().map(|element| match element {
        Element::Node { name, children } => (name.clone(), object(children)),
        Element::Text { name, text } => (name.clone(), json!(text)),
    });
    Value::Object(members.collect())
}

fn respond(status: u16, content_type: &'static str, body: Bytes, request_id: &str) -> Response<Body> {
    static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = request_id.parse() {
        headers.insert(&REQUEST_ID, id);
    }
    response
}
