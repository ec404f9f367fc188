//! STS and Secrets Manager as the provider's SDK calls them: new connections for each mount, requests
//! signed with the pod's own credentials, three attempts.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use mountproof_run_tls::HttpsClient;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{agent::AgentClient, retry, value::SecretBytes};
use crate::{
    rest::{BearerToken, query_value},
    signing::signed,
};

const AGENT: &str =
    "aws-sdk-go-v2/1.41.7 app/secrets-store-csi-driver-provider-aws-3.1.1 mountproof-stand-in";

/// Longest time for one attempt. The real SDK sets none; the mount's own deadline ends it there.
const ATTEMPT_DEADLINE: Duration = Duration::from_mins(1);

/// How to reach AWS.
#[derive(Debug, Clone)]
pub(super) struct Reach {
    /// The certificate authorities to trust.
    pub(super) trusted_pem: String,
    /// The HTTPS CONNECT proxy.
    pub(super) proxy: Option<SocketAddr>,
    /// Scale of the pauses between attempts: one second in the real SDK.
    pub(super) pause_unit: Duration,
}

/// An API call that failed, in the words of the SDK for Go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiFailure {
    /// The API's code, such as `AccessDeniedException`; nothing where there was no answer.
    pub(super) code: Option<String>,
    /// Whether the SDK knows the code as one of the operation's own client errors.
    pub(super) fatal: bool,
    pub(super) retryable: bool,
    /// From `operation error` on.
    pub(super) text: String,
}

impl ApiFailure {
    /// Whether AWS refused to let this caller do this.
    pub(super) fn is_denial(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("AccessDeniedException" | "AccessDenied")
        )
    }
}

/// What `GetSecretValue` answered.
pub(super) struct Fetched {
    pub(super) version: String,
    pub(super) value: SecretBytes,
}

/// One region's clients for one mount.
pub(super) struct Region {
    pub(super) name: String,
    http: HttpsClient,
    pause_unit: Duration,
    identity: Identity,
    credentials: Option<Credentials>,
}

/// Where a mount's credentials come from.
#[derive(Clone)]
pub(super) enum Identity {
    /// STS gives them for the pod's token.
    WebIdentity {
        /// ARN of the role.
        role: String,
        token: BearerToken,
    },
    /// The agent on the node does.
    PodIdentity(AgentClient),
}

impl Region {
    /// Clients that have no connection yet.
    pub(super) fn new(reach: &Reach, name: &str, identity: Identity) -> Result<Self, String> {
        let http = HttpsClient::new(&reach.trusted_pem, reach.proxy).map_err(|error| error.to_string())?;
        Ok(Self {
            name: name.to_owned(),
            http,
            pause_unit: reach.pause_unit,
            identity,
            credentials: None,
        })
    }

    /// The credentials that earlier calls got.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// `GetSecretValue` with the mount's own credentials, or with `instead`.
    pub(super) async fn secret_value(
        &mut self,
        secret: &str,
        version: &str,
        label: &str,
        instead: Option<&Credentials>,
    ) -> Result<Fetched, ApiFailure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Output {
            #[serde(default)]
            version_id: String,
            secret_string: Option<SecretText>,
            secret_binary: Option<SecretText>,
        }
        let mut input = json!({"SecretId": secret});
        if !version.is_empty() {
            input["VersionId"] = version.into();
        }
        if !label.is_empty() {
            input["VersionStage"] = label.into();
        }
        let output: Output = self.call("GetSecretValue", &input, instead).await?;
        let value = match (output.secret_string, output.secret_binary) {
            (Some(text), _) => text.0.into_bytes(),
            (None, Some(binary)) => STANDARD
                .decode(&binary.0)
                .map_err(|_| unreadable("GetSecretValue", "SecretBinary is not base64"))?,
            (None, None) => Vec::new(),
        };
        Ok(Fetched {
            version: output.version_id,
            value: SecretBytes::new(value),
        })
    }

    /// The stages of `version`, by `DescribeSecret`.
    pub(super) async fn stages(&mut self, secret: &str, version: &str) -> Result<Vec<String>, ApiFailure> {
        let output: Value = self
            .call("DescribeSecret", &json!({"SecretId": secret}), None)
            .await?;
        let stages = &output["VersionIdsToStages"][version];
        Ok(Vec::deserialize(stages).unwrap_or_default())
    }

    /// One operation, credentials included: both are inside the SDK's attempts.
    async fn call<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        input: &Value,
        instead: Option<&Credentials>,
    ) -> Result<T, ApiFailure> {
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(operation, input, instead).await {
                Ok(output) => return Ok(output),
                Err(failure) => failure,
            };
            if !failure.retryable || attempt == retry::ATTEMPTS {
                let exhausted = if failure.retryable {
                    retry::exhausted()
                } else {
                    String::new()
                };
                return Err(ApiFailure {
                    text: format!(
                        "operation error Secrets Manager: {operation}, {exhausted}{}",
                        failure.text
                    ),
                    ..failure
                });
            }
            tokio::time::sleep(retry::pause(attempt, rand::random(), self.pause_unit)).await;
            attempt += 1;
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        input: &Value,
        instead: Option<&Credentials>,
    ) -> Result<T, ApiFailure> {
        let credentials = match (instead, &self.credentials) {
            (Some(other), _) => other.clone(),
            (None, Some(own)) => own.clone(),
            (None, None) => {
                let own = self.own_credentials().await.map_err(|failure| ApiFailure {
                    text: format!(
                        "get identity: get credentials: failed to refresh cached credentials, {}",
                        failure.text
                    ),
                    ..failure
                })?;
                self.credentials = Some(own.clone());
                own
            }
        };
        let host = endpoint("secretsmanager", &self.name);
        let body = input.to_string();
        let request = Request::post(format!("https://{host}/"))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("secretsmanager.{operation}"))
            .header(header::USER_AGENT, AGENT);
        let request = signed(request, &body, &credentials, &self.name, "secretsmanager")
            .map_err(|why| unreadable(operation, &why))?;
        let answer = self.exchange(request).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| {
                unreadable(
                    operation,
                    "deserialization failed, failed to decode response body",
                )
            });
        }
        Err(json_failure(&answer))
    }

    /// The credentials of the mount, from where it gets them.
    async fn own_credentials(&self) -> Result<Credentials, ApiFailure> {
        let because = |what: &str, failure: ApiFailure| ApiFailure {
            text: format!("failed to {what} credentials, {}", failure.text),
            ..failure
        };
        match &self.identity {
            Identity::WebIdentity { role, token } => {
                let got = self.assume_role(role, token).await;
                got.map_err(|failure| because("retrieve", failure))
            }
            Identity::PodIdentity(agent) => {
                let got = agent.credentials(self.pause_unit).await;
                got.map_err(|failure| because("load", failure))
            }
        }
    }

    /// `AssumeRoleWithWebIdentity`, with its own three attempts.
    async fn assume_role(&self, role: &str, token: &BearerToken) -> Result<Credentials, ApiFailure> {
        let mut attempt = 1;
        loop {
            let failure = match self.assume_role_once(role, token).await {
                Ok(credentials) => return Ok(credentials),
                Err(failure) => failure,
            };
            let retryable = failure.retryable || retry::is_retryable_by_sts(failure.code.as_deref());
            if !retryable || attempt == retry::ATTEMPTS {
                let exhausted = if retryable {
                    retry::exhausted()
                } else {
                    String::new()
                };
                return Err(ApiFailure {
                    text: format!(
                        "operation error STS: AssumeRoleWithWebIdentity, {exhausted}{}",
                        failure.text
                    ),
                    ..failure
                });
            }
            tokio::time::sleep(retry::pause(attempt, rand::random(), self.pause_unit)).await;
            attempt += 1;
        }
    }

    async fn assume_role_once(&self, role: &str, token: &BearerToken) -> Result<Credentials, ApiFailure> {
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let body = format!(
            "Action=AssumeRoleWithWebIdentity&RoleArn={}&RoleSessionName={nanos}&Version=2011-06-15&WebIdentityToken={}",
            query_value(role),
            query_value(token.expose()),
        );
        let request = Request::post(format!("https://{}/", endpoint("sts", &self.name)))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreadable("AssumeRoleWithWebIdentity", &error.to_string()))?;
        let answer = self.exchange(request).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let element = |name: &str| xml_text(&text, name).unwrap_or_default();
        if !answer.status.is_success() {
            let (code, message) = (element("Code"), element("Message"));
            return Err(failure(
                &answer,
                &element("RequestId"),
                &code,
                &message,
                retry::STS_OWN,
            ));
        }
        let [id, key, session] = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(element);
        if id.is_empty() || key.is_empty() {
            return Err(unreadable(
                "AssumeRoleWithWebIdentity",
                "no credentials in the answer",
            ));
        }
        Ok(Credentials::new(
            id,
            key,
            Some(session),
            None,
            "WebIdentityCredentials",
        ))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, ApiFailure> {
        let lost = |why: String| ApiFailure {
            code: None,
            fatal: false,
            retryable: true,
            text: format!("https response error StatusCode: 0, RequestID: , request send failed, {why}"),
        };
        let exchange = async {
            let response = self
                .http
                .send(request)
                .await
                .map_err(|error| lost(error.to_string()))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| lost(error.to_string()))?;
            let id = head
                .headers
                .get("x-amzn-requestid")
                .and_then(|id| id.to_str().ok());
            Ok(Answer {
                status: head.status,
                request_id: id.unwrap_or_default().to_owned(),
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(ATTEMPT_DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(lost("context deadline exceeded".to_owned())))
    }
}

/// A string of a secret on its way out of JSON. It has no `Debug`.
#[derive(Deserialize)]
struct SecretText(String);

struct Answer {
    status: StatusCode,
    request_id: String,
    body: Bytes,
}

fn json_failure(answer: &Answer) -> ApiFailure {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        #[serde(rename = "__type")]
        kind: String,
        #[serde(alias = "Message")]
        message: String,
    }
    let body: Body = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.body.is_empty() => Body::default(),
        Err(_) => return undecoded(answer),
    };
    let code = body.kind.rsplit('#').next().unwrap_or_default().to_owned();
    failure(
        answer,
        &answer.request_id,
        &code,
        &body.message,
        retry::SECRETS_MANAGER_OWN,
    )
}

/// A refusal; `own` are the codes that the SDK knows as the operation's own.
fn failure(answer: &Answer, request_id: &str, code: &str, message: &str, own: &[retry::Known]) -> ApiFailure {
    let code = if code.is_empty() { "UnknownError" } else { code };
    let known = own.iter().find(|known| known.code == code);
    let status = answer.status.as_u16();
    let api = if known.is_some() { "" } else { "api error " };
    let message = if known.is_none() && message.is_empty() {
        "UnknownError"
    } else {
        message
    };
    ApiFailure {
        code: Some(code.to_owned()),
        fatal: known.is_some_and(|known| known.client_fault),
        retryable: retry::is_retryable(status, code),
        text: format!(
            "https response error StatusCode: {status}, RequestID: {request_id}, {api}{code}: {message}"
        ),
    }
}

/// A refusal that is no JSON, such as a proxy's page.
fn undecoded(answer: &Answer) -> ApiFailure {
    let first = String::from_utf8_lossy(&answer.body)
        .trim_start()
        .chars()
        .next()
        .unwrap_or(' ');
    let status = answer.status.as_u16();
    ApiFailure {
        code: None,
        fatal: false,
        retryable: retry::is_retryable(status, ""),
        text: format!(
            "https response error StatusCode: {status}, RequestID: {}, deserialization failed, failed to decode response body, invalid character '{first}' looking for beginning of value",
            answer.request_id
        ),
    }
}

fn unreadable(operation: &str, why: &str) -> ApiFailure {
    ApiFailure {
        code: None,
        fatal: false,
        retryable: false,
        text: format!("{operation}: {why}"),
    }
}

/// The regional endpoint's host name.
fn endpoint(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("{service}.{region}.{suffix}")
}

/// The text of the first element called `name`.
fn xml_text(xml: &str, name: &str) -> Option<String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut text: Option<String> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().as_ref() == name.as_bytes() => {
                text = Some(String::new());
            }
            Event::Text(part) => {
                if let Some(text) = &mut text {
                    text.push_str(&part.decode().ok()?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(text) = &mut text {
                    let name = reference.decode().ok()?;
                    match reference.resolve_char_ref().ok()? {
                        Some(character) => text.push(character),
                        None => text.push_str(quick_xml::escape::resolve_predefined_entity(&name)?),
                    }
                }
            }
            Event::End(end) if end.local_name().as_ref() == name.as_bytes() => return text,
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            request_id: "id-1".to_owned(),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn failures_are_told_fatal_from_generic_as_the_sdk_models_them() {
        for (status, code, fatal, retryable, shown) in [
            (
                400,
                "AccessDeniedException",
                false,
                false,
                "api error AccessDeniedException: why",
            ),
            (
                400,
                "ResourceNotFoundException",
                true,
                false,
                "ResourceNotFoundException: why",
            ),
            (
                400,
                "InvalidRequestException",
                true,
                false,
                "InvalidRequestException: why",
            ),
            (
                400,
                "ThrottlingException",
                false,
                true,
                "api error ThrottlingException: why",
            ),
            (
                500,
                "InternalServiceError",
                false,
                true,
                "InternalServiceError: why",
            ),
        ] {
            let body = json!({"__type": format!("com.amazonaws.secretsmanager#{code}"), "message": "why"});
            let failure = json_failure(&answer(status, &body.to_string()));
            assert_eq!((failure.fatal, failure.retryable), (fatal, retryable), "{code}");
            assert_eq!(
                failure.text,
                format!("https response error StatusCode: {status}, RequestID: id-1, {shown}")
            );
        }
    }

    #[test]
    fn refusals_without_words_are_told_as_the_sdk_tells_them() {
        for (body, retryable, shown) in [
            ("", true, "api error UnknownError: UnknownError"),
            ("{}", true, "api error UnknownError: UnknownError"),
            (
                "<html>",
                true,
                "deserialization failed, failed to decode response body, invalid character '<' looking for beginning of value",
            ),
        ] {
            let failure = json_failure(&answer(502, body));
            assert_eq!(failure.retryable, retryable, "{body}");
            let text = format!("https response error StatusCode: 502, RequestID: id-1, {shown}");
            assert_eq!(failure.text, text);
        }
    }

    #[test]
    fn xml_elements_are_read_with_their_entities() {
        let xml = "<ErrorResponse xmlns=\"u\"><Error><Code>AccessDenied</Code><Message>a &lt;b&gt; &amp; &#39;c&#39;</Message></Error></ErrorResponse>";
        assert_eq!(xml_text(xml, "Code").as_deref(), Some("AccessDenied"));
        assert_eq!(xml_text(xml, "Message").as_deref(), Some("a <b> & 'c'"));
        assert_eq!(xml_text(xml, "RequestId"), None);
        assert_eq!(xml_text("<a", "a"), None);
    }

    #[test]
    fn endpoints_are_regional() {
        assert_eq!(endpoint("sts", "us-east-1"), "sts.us-east-1.amazonaws.com");
        assert_eq!(endpoint("sts", "cn-north-1"), "sts.cn-north-1.amazonaws.com.cn");
    }
}
