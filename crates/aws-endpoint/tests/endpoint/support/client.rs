//! Requests as the SDKs make and sign them, and what comes back.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::{
    Request,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full};
use mountproof_aws_endpoint::RootCredentials;
use mountproof_run_tls::HttpsClient;
use serde_json::{Value, json};

/// Where calls go that name no region.
pub(crate) const REGION: &str = "eu-west-1";
/// Longest wait for what has to come at once.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Who signs.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl From<&RootCredentials> for Caller {
    fn from(root: &RootCredentials) -> Self {
        Self {
            id: root.access_key_id.clone(),
            secret: root.secret_access_key().to_owned(),
            token: None,
        }
    }
}

impl Caller {
    /// The same but for what `change` does to it.
    pub(crate) fn but(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut caller = self.clone();
        change(&mut caller);
        caller
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The text of the first XML element of this name.
    pub(crate) fn xml(&self, name: &str) -> Option<String> {
        const ENTITIES: [(&str, &str); 5] = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&amp;", "&"),
        ];
        let (_, rest) = self.text.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        let decoded = ENTITIES
            .iter()
            .fold(text.to_owned(), |text, (entity, char)| text.replace(entity, char));
        Some(decoded)
    }

    /// The value of the secret, or the code of the error.
    pub(crate) fn value_or_code(&self) -> String {
        match self.status {
            200 => self.json()["SecretString"].as_str().unwrap().to_owned(),
            _ => self.code(),
        }
    }

    /// The error's code, in either wire form.
    pub(crate) fn code(&self) -> String {
        self.error().1
    }

    /// The error's text, in either wire form.
    pub(crate) fn message(&self) -> String {
        self.error().2
    }

    /// Status, code and text of an error, in either wire form.
    pub(crate) fn error(&self) -> (u16, String, String) {
        assert_ne!(self.status, 200, "no error: {}", self.text);
        if let Some(code) = self.xml("Code") {
            return (self.status, code, self.xml("Message").unwrap_or_default());
        }
        let body = self.json();
        let text = |key: &str| body[key].as_str().map(ToOwned::to_owned);
        let message = text("Message").or_else(|| text("message"));
        (
            self.status,
            text("__type").unwrap_or_default(),
            message.unwrap_or_default(),
        )
    }

    /// The temporary credentials of an STS answer.
    pub(crate) fn caller(&self) -> Caller {
        let part = |name: &str| {
            self.xml(name)
                .unwrap_or_else(|| panic!("no {name}: {}", self.text))
        };
        Caller {
            id: part("AccessKeyId"),
            secret: part("SecretAccessKey"),
            token: Some(part("SessionToken")),
        }
    }
}

/// An unsigned awsJson 1.1 call to `service`.
pub(crate) fn json_request(service: &str, region: &str, operation: &str, input: &Value) -> Request<Bytes> {
    let target = match service {
        "ssm" => "AmazonSSM",
        "kms" => "TrentService",
        named_like_its_host => named_like_its_host,
    };
    let request = Request::post(format!("https://{service}.{region}.amazonaws.com/"))
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", format!("{target}.{operation}"));
    with_host(request.body(input.to_string().into()).unwrap())
}

/// An unsigned call to Secrets Manager, with the token that every SDK adds where a version may be made.
pub(crate) fn secrets_request(region: &str, operation: &str, mut input: Value) -> Request<Bytes> {
    if matches!(operation, "CreateSecret" | "PutSecretValue" | "UpdateSecret")
        && input.get("ClientRequestToken").is_none()
    {
        input["ClientRequestToken"] = json!(uuid::Uuid::new_v4());
    }
    json_request("secretsmanager", region, operation, &input)
}

/// An unsigned restJson call.
pub(crate) fn rest_request(
    service: &str,
    region: &str,
    method: &str,
    path: &str,
    input: &Value,
) -> Request<Bytes> {
    let host = match service {
        "eks-auth" => format!("eks-auth.{region}.api.aws"),
        _ => format!("{service}.{region}.amazonaws.com"),
    };
    let body = if input.is_null() {
        String::new()
    } else {
        input.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{host}{path}"))
        .header(CONTENT_TYPE, "application/json");
    with_host(request.body(body.into()).unwrap())
}

/// An unsigned awsQuery call to IAM.
pub(crate) fn iam_request(action: &str, params: &[(&str, &str)]) -> Request<Bytes> {
    query_request("iam.amazonaws.com", action, "2010-05-08", params)
}

/// An unsigned awsQuery call to STS.
pub(crate) fn sts_request(action: &str, params: &[(&str, &str)]) -> Request<Bytes> {
    query_request(
        &format!("sts.{REGION}.amazonaws.com"),
        action,
        "2011-06-15",
        params,
    )
}

fn query_request(host: &str, action: &str, version: &str, params: &[(&str, &str)]) -> Request<Bytes> {
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", action)
        .append_pair("Version", version)
        .extend_pairs(params)
        .finish();
    let request =
        Request::post(format!("https://{host}/")).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    with_host(request.body(body.into()).unwrap())
}

fn with_host(mut request: Request<Bytes>) -> Request<Bytes> {
    let host = request.uri().host().unwrap().parse().unwrap();
    request.headers_mut().insert(HOST, host);
    request
}

/// The request with the headers of a signature, made now.
pub(crate) fn signed(request: Request<Bytes>, caller: &Caller) -> Request<Bytes> {
    signed_at(request, caller, SystemTime::now())
}

/// The request with the headers of a signature, for the service and the region of its host.
pub(crate) fn signed_at(request: Request<Bytes>, caller: &Caller, at: SystemTime) -> Request<Bytes> {
    let host = request.uri().host().unwrap().to_owned();
    let mut labels = host.split('.');
    let (service, region) = (labels.next().unwrap(), labels.next().unwrap());
    let region = if region == "amazonaws" {
        "us-east-1"
    } else {
        region
    };
    signed_for(request, caller, service, region, at)
}

/// The request with the headers of a signature for any service and region.
pub(crate) fn signed_for(
    mut request: Request<Bytes>,
    caller: &Caller,
    service: &str,
    region: &str,
    at: SystemTime,
) -> Request<Bytes> {
    let Caller { id, secret, token } = caller;
    let identity = Credentials::new(id, secret, token.clone(), None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let uri = request.uri().to_string();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let body = SignableBody::Bytes(request.body());
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, body).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    instructions.apply_to_request_http1x(&mut request);
    request
}

/// A request whose signature is in its URL, for the service and region named.
pub(crate) fn presigned(
    url: &str,
    caller: &Caller,
    (service, region): (&str, &str),
    at: SystemTime,
    expires: Duration,
) -> Request<Bytes> {
    let Caller { id, secret, token } = caller;
    let identity = Credentials::new(id, secret, token.clone(), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(settings);
    let params = params.build().unwrap().into();
    let signable = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::empty()).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    let mut request = with_host(Request::get(url).body(Bytes::new()).unwrap());
    instructions.apply_to_request_http1x(&mut request);
    request
}

/// Sends a request that has to be answered.
pub(crate) async fn send(client: &HttpsClient, request: Request<Bytes>) -> Answer {
    try_send(client, request).await.unwrap()
}

/// Sends a request; the error is that of the connection.
pub(crate) async fn try_send(client: &HttpsClient, request: Request<Bytes>) -> Result<Answer, String> {
    let sent = async {
        let response = client
            .send(request.map(Full::new))
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Ok(Answer { status, text })
    };
    tokio::time::timeout(SOON, sent).await.expect("an answer in time")
}
