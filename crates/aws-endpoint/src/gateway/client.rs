//! Requests to the backend: plain HTTP over kept-alive connections, with a deadline.

use std::{error::Error as _, fmt, time::Duration};

use bytes::Bytes;
use http::{
    Request,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::Authority,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

use super::{Backend, questions::Question};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for a whole answer, a connection included.
const ANSWER: Duration = Duration::from_secs(10);
/// Largest answer: a page of a hundred secrets with all their tags and versions, and room.
const LARGEST: usize = 8 * 1024 * 1024;
/// Connections that are kept while nobody uses them.
const IDLE: usize = 64;

/// Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    name: String,
    authority: Authority,
    account: String,
}

/// An answer of the backend, to be handed on as it came. Has no `Debug`: there may be a value in it.
pub(crate) struct Relayed {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// The backend gave no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    backend: String,
    pub(super) because: String,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the backend {} gave no answer: {}", self.backend, self.because)
    }
}

impl Client {
    pub(super) fn new(backend: &Backend, account: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .build(tcp);
        Self {
            http,
            name: backend.name.clone(),
            authority: backend.authority.clone(),
            account: account.to_owned(),
        }
    }

    /// Asks in `region`.
    pub(super) async fn send(&self, question: &Question, region: &str) -> Result<Relayed, Unanswered> {
        match timeout(ANSWER, self.exchange(question, region)).await {
            Ok(answer) => answer.map_err(|because| self.unanswered(because)),
            Err(_) => Err(self.unanswered(format!("none within {} s", ANSWER.as_secs()))),
        }
    }

    async fn exchange(&self, question: &Question, region: &str) -> Result<Relayed, String> {
        let mut request = Request::post(format!("http://{}/", self.authority))
            .header(CONTENT_TYPE, question.content_type)
            .header(AUTHORIZATION, self.credential(question.service, region));
        if let Some(target) = &question.target {
            request = request.header("x-amz-target", target);
        }
        let request = request
            .body(Full::new(question.body.clone()))
            .map_err(|error| error.to_string())?;
        let answer = self.http.request(request).await.map_err(|error| {
            // The client's own text is only "client error (Connect)".
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Relayed {
            status: head.status.as_u16(),
            body,
        })
    }

    /// A backend that verifies nothing still reads from here which account, region and service are meant.
    fn credential(&self, service: &str, region: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={}/20000101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature={:064}",
            self.account, 0
        )
    }

    fn unanswered(&self, because: String) -> Unanswered {
        Unanswered {
            backend: format!("{} at http://{}", self.name, self.authority),
            because,
        }
    }
}
