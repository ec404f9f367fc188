//! Answers in the wire form of each service.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
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

/// An answer in the form of its service.
pub(crate) struct Answer {
    pub(crate) status: u16,
    content_type: &'static str,
    body: Bytes,
    /// What restJson has in a header.
    error_type: Option<HeaderValue>,
}

impl Answer {
    /// The answer over HTTP. `headers` are those of the request, whose room is used again.
    pub(crate) fn respond(self, mut headers: HeaderMap, request_id: &str) -> Response<Body> {
        static REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
        headers.clear();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Ok(id) = request_id.parse() {
            headers.insert(&REQUEST_ID, id);
        }
        if let Some(code) = self.error_type {
            headers.insert("x-amzn-errortype", code);
        }
        let mut response = Response::new(whole(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
    }
}

/// Writes an answer; takes what is written already.
pub(crate) fn write(
    protocol: Protocol,
    operation: &str,
    result: &mut Result<Outcome, Refusal>,
    request_id: &str,
) -> Answer {
    let error_type = match (protocol, &*result) {
        (Protocol::Rest, Err(refusal)) => refusal.code.parse().ok(),
        _ => None,
    };
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
        (_, Ok(Outcome::Written(text))) => (200, "application/x-amz-json-1.1", std::mem::take(text)),
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
    Answer {
        status,
        content_type,
        body,
        error_type,
    }
}

/// Writes an answer of a Query service in JSON, which AWS does for who asks with `Accept: application/json`, such
/// as aws-iam-authenticator for `GetCallerIdentity`: each element a member. Of lists nothing is written so here.
pub(crate) fn write_query_as_json(
    operation: &str,
    result: &Result<Outcome, Refusal>,
    request_id: &str,
) -> Answer {
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
    Answer {
        status,
        content_type: "application/json",
        body: written(&body),
        error_type: None,
    }
}

fn object(elements: &[Element]) -> Value {
    let members = elements.iter().map(|element| match element {
        Element::Node { name, children } => (name.to_string(), object(children)),
        Element::Text { name, text } => (name.to_string(), json!(text)),
    });
    Value::Object(members.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room of the request's headers is used again, and nothing else of them.
    #[test]
    fn an_answer_has_no_header_of_its_request() {
        let mut headers = HeaderMap::new();
        for name in [
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH,
            header::COOKIE,
        ] {
            headers.insert(&name, HeaderValue::from_static("of the request"));
        }
        let mut result = Err(Refusal::new(404, "NoSuchThing", "there is none"));
        let answer = write(Protocol::Rest, "", &mut result, "id");
        let response = answer.respond(headers, "id");
        let mut said: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
            .collect();
        said.sort_unstable();
        assert_eq!(
            said,
            [
                ("content-type", "application/json"),
                ("x-amzn-errortype", "NoSuchThing"),
                ("x-amzn-requestid", "id"),
            ]
        );
        assert_eq!(response.status(), 404);
    }
}
