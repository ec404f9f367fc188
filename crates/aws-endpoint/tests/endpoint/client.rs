//! A client of the endpoint that signs as the SDKs do, and can be told to do it wrong.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use mountproof_aws_endpoint::{Endpoint, RootCredentials};
use mountproof_run_tls::{HttpsClient, RunCa};
use serde_json::Value;

pub(crate) const REGION: &str = "eu-west-1";

/// What signs requests.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl From<&RootCredentials> for Keys {
    fn from(root: &RootCredentials) -> Self {
        Self {
            id: root.access_key_id.clone(),
            secret: root.secret_access_key().to_owned(),
            token: None,
        }
    }
}

impl Keys {
    /// Those in the answer to an `AssumeRole..`.
    pub(crate) fn given(reply: &Reply) -> Self {
        let part = |name: &str| {
            reply
                .element(name)
                .unwrap_or_else(|| panic!("no {name}: {reply:?}"))
        };
        Self {
            id: part("AccessKeyId"),
            secret: part("SecretAccessKey"),
            token: Some(part("SessionToken")),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    /// The text of the first XML element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        let entities = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&amp;", "&"),
        ];
        Some(
            entities
                .iter()
                .fold(text.to_owned(), |text, (entity, char)| text.replace(entity, char)),
        )
    }
}

/// Sends requests through the endpoint's proxy, under AWS's own names.
#[derive(Clone)]
pub(crate) struct Client(HttpsClient);

impl Client {
    pub(crate) fn new(ca: &RunCa, endpoint: &Endpoint) -> Self {
        Self(HttpsClient::new(ca.certificate_pem(), Some(endpoint.address())).expect("a certificate"))
    }

    /// An awsJson 1.1 call to Secrets Manager, signed.
    pub(crate) async fn secrets(&self, keys: &Keys, operation: &str, body: &Value) -> Reply {
        let request = signed(
            "secretsmanager",
            Some(operation),
            body.to_string(),
            keys,
            SystemTime::now(),
        );
        self.send(request).await
    }

    /// An awsQuery call to IAM or STS, signed where there are keys.
    pub(crate) async fn query(
        &self,
        service: &str,
        keys: Option<&Keys>,
        action: &str,
        params: &[(&str, &str)],
    ) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .extend_pairs(params)
            .finish();
        let request = match keys {
            Some(keys) => signed(service, None, body, keys, SystemTime::now()),
            None => unsigned(service, None, body),
        };
        self.send(request).await
    }

    pub(crate) async fn send(&self, request: Request<String>) -> Reply {
        self.try_send(request).await.expect("an answer")
    }

    pub(crate) async fn try_send(&self, request: Request<String>) -> Result<Reply, String> {
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let response = self.0.send(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok(Reply {
            status,
            body: String::from_utf8(body.to_bytes().to_vec()).expect("text"),
        })
    }
}

/// A request as the SDKs make it, without a signature.
pub(crate) fn unsigned(service: &str, target: Option<&str>, body: String) -> Request<String> {
    let host = match service {
        "iam" => "iam.amazonaws.com".to_owned(),
        _ => format!("{service}.{REGION}.amazonaws.com"),
    };
    let request = Request::post(format!("https://{host}/")).header("host", host);
    let request = match target {
        Some(operation) => request
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{service}.{operation}")),
        None => request.header("content-type", "application/x-www-form-urlencoded"),
    };
    request.body(body).expect("a request")
}

/// The same, signed as of `time`.
pub(crate) fn signed(
    service: &str,
    target: Option<&str>,
    body: String,
    keys: &Keys,
    time: SystemTime,
) -> Request<String> {
    let mut request = unsigned(service, target, body);
    let identity = Credentials::new(&keys.id, &keys.secret, keys.token.clone(), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(if service == "iam" { "us-east-1" } else { REGION })
        .name(service)
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .expect("parameters")
        .into();
    let headers = request.headers().iter();
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers.map(|(name, value)| (name.as_str(), value.to_str().expect("text"))),
        SignableBody::Bytes(request.body().as_bytes()),
    );
    let (instructions, _) = sign(signable.expect("a request"), &params)
        .expect("a signature")
        .into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request
}
