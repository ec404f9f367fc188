//! The node's EKS Pod Identity Agent, as the SDK's provider of container credentials asks it: plain HTTP, the pod's token in
//! `Authorization`, three attempts.

use std::{net::SocketAddr, time::Duration};

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::{aws::ApiFailure, go_json, retry};
use crate::{go, rest::BearerToken};

const PATH: &str = "/v1/credentials";
/// What its requests name as their host, over IPv4 and over IPv6.
const HOSTS: [&str; 2] = ["169.254.170.23", "[fd00:ec2::23]"];
/// Longest time for one attempt where none is given: the SDK sets none, and the mount's own deadline ends it there.
const PATIENCE: Duration = Duration::from_mins(1);

/// The agent of the node, by both of its addresses.
#[derive(Debug, Clone)]
pub(super) struct Agents {
    pub(super) addresses: [SocketAddr; 2],
    pub(super) timeout: Option<Duration>,
}

/// It, for one mount.
#[derive(Clone)]
pub(super) struct AgentClient {
    address: SocketAddr,
    host: &'static str,
    timeout: Option<Duration>,
    token: BearerToken,
}

impl AgentClient {
    /// `preferred` is `ipv4`, `ipv6` or anything else. Without a preference the real one means to try both addresses, but
    /// makes sure of the first by nothing: it never comes to the second.
    pub(super) fn new(agents: &Agents, preferred: &str, token: BearerToken) -> Self {
        let which = usize::from(preferred.eq_ignore_ascii_case("ipv6"));
        Self {
            address: agents.addresses[which],
            host: HOSTS[which],
            timeout: agents.timeout,
            token,
        }
    }

    /// The pod's credentials.
    pub(super) async fn credentials(&self, pause_unit: Duration) -> Result<Credentials, ApiFailure> {
        let mut attempt = 1;
        loop {
            let missed = match self.once().await {
                Ok(credentials) => return Ok(credentials),
                Err(missed) => missed,
            };
            if !missed.again || attempt == retry::ATTEMPTS {
                let exhausted = if missed.again {
                    retry::exhausted()
                } else {
                    String::new()
                };
                return Err(ApiFailure {
                    code: None,
                    fatal: missed.status.is_some_and(|status| status.is_client_error()),
                    // The call that wants the credentials knows nothing of the agent's own limit.
                    retryable: missed.again && missed.status != Some(StatusCode::TOO_MANY_REQUESTS),
                    text: format!("{exhausted}{}", missed.text),
                });
            }
            tokio::time::sleep(retry::pause(attempt, rand::random(), pause_unit)).await;
            attempt += 1;
        }
    }

    async fn once(&self) -> Result<Credentials, Missed> {
        let patience = self.timeout.unwrap_or(PATIENCE);
        let exchange = tokio::time::timeout(patience, self.exchange()).await;
        let (status, headers, body) = exchange.unwrap_or_else(|_| {
            Err(self.lost("net/http: request canceled (Client.Timeout exceeded while awaiting headers)"))
        })?;
        if status.is_success() {
            return credentials_of(&body);
        }
        Err(Missed {
            status: Some(status),
            again: status == StatusCode::TOO_MANY_REQUESTS || retry::is_retryable(status.as_u16(), ""),
            text: said(&headers, &body),
        })
    }

    async fn exchange(&self) -> Result<(StatusCode, HeaderMap, Bytes), Missed> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| {
            let of = self.address;
            self.lost(&format!("dial tcp {of}: connect: {}", go::io_text(&error)))
        })?;
        let broken = |error: hyper::Error| self.lost(&error.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::get(PATH)
            .header(header::HOST, self.host)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, self.token.expose())
            .body(Empty::<Bytes>::new());
        // The error's own text does not hold the value.
        let request = request.map_err(|error| self.lost(&error.to_string()))?;
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok((head.status, head.headers, body))
    }

    /// No answer at all.
    fn lost(&self, why: &str) -> Missed {
        Missed {
            status: None,
            again: true,
            text: format!("request send failed, Get \"http://{}{PATH}\": {why}", self.host),
        }
    }
}

/// Why one attempt had no credentials.
#[derive(Debug, PartialEq, Eq)]
struct Missed {
    status: Option<StatusCode>,
    again: bool,
    text: String,
}

/// The agent's words: an error in JSON has a code and a message, any other text is a message without a code.
fn said(headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said {
        code: String,
        message: String,
    }
    if headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json")
    {
        let Said { code, message } = serde_json::from_slice(body).unwrap_or_default();
        return format!("{code}: {message}");
    }
    format!(": {}", String::from_utf8_lossy(body))
}

fn credentials_of(body: &[u8]) -> Result<Credentials, Missed> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Given {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
    }
    let unreadable = |why: &str| Missed {
        status: None,
        again: false,
        text: format!("deserialization failed, failed to deserialize json response, {why}"),
    };
    // Go's words for what is no JSON; what its parser says of what is may hold the key.
    let text = std::str::from_utf8(body).unwrap_or_default();
    go_json::parse(text).map_err(|why| unreadable(&why))?;
    let given: Given = serde_json::from_str(text).map_err(|_| unreadable("it has no credentials"))?;
    Ok(Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        given.token,
        None,
        "CredentialsEndpointProvider",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_first_one_unless_the_second_is_asked_for() {
        let agents = Agents {
            addresses: crate::pod_identity_agent::ADDRESSES,
            timeout: None,
        };
        for (preferred, host) in [
            ("", HOSTS[0]),
            ("auto", HOSTS[0]),
            ("ipv4", HOSTS[0]),
            ("IPv6", HOSTS[1]),
            ("ipv6", HOSTS[1]),
            ("nonsense", HOSTS[0]),
        ] {
            let client = AgentClient::new(&agents, preferred, BearerToken::new("t"));
            assert_eq!(client.host, host, "{preferred}");
            assert_eq!(client.address.is_ipv6(), host == HOSTS[1]);
        }
    }

    #[test]
    fn words_of_the_agent_have_a_code_only_in_json() {
        let json = [(header::CONTENT_TYPE, "application/json".parse().expect("fine"))];
        let json: HeaderMap = json.into_iter().collect();
        for (headers, body, expected) in [
            (HeaderMap::new(), "no\n", ": no\n"),
            (json.clone(), r#"{"code":"A","message":"b"}"#, "A: b"),
            (json, "{}", ": "),
        ] {
            assert_eq!(said(&headers, body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_body_that_is_no_credentials_never_shows_itself() {
        let missed = credentials_of(br#"{"AccessKeyId":"canary""#).expect_err("broken");
        assert!(!missed.text.contains("canary"));
        assert!(credentials_of(br#"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c"}"#).is_ok());
    }
}
