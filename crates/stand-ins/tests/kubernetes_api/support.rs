//! A server, and a client that sends plain HTTP requests to it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use mountproof_run_tls::{HttpsClient, RunCa};
use mountproof_stand_ins::kubernetes::{ApiServer, ApiServerConfig};
use serde_json::{Value, json};

/// Longer than anything here takes, so that only a hang is told apart by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PODS: &str = "/api/v1/namespaces/a/pods";
pub(crate) const MAPS: &str = "/api/v1/namespaces/a/configmaps";

/// A server and a client with the admin's token.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) client: HttpsClient,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let ca = RunCa::generate("test").unwrap();
        let server = ApiServer::start(ApiServerConfig::on_loopback(ca)).await.unwrap();
        let client = HttpsClient::new(server.ca_pem(), None).unwrap();
        Self { server, client }
    }

    /// Sends a request with the admin's token; `body` goes with `content_type`.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let token = self.server.admin_token().expose().to_owned();
        self.send_as(&token, method, path, content_type, body).await
    }

    pub(crate) async fn send_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = async {
            let response = self.open(token, method, path, content_type, body.into()).await;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Answer {
                status: head.status,
                headers: head.headers,
                text: String::from_utf8(bytes.to_vec()).unwrap(),
            }
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("an answer in time")
    }

    async fn open(
        &self,
        token: &str,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> http::Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.url()))
            .header(header::USER_AGENT, "Python-urllib/3.14");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        self.client
            .send(request.body(Full::new(body)).unwrap())
            .await
            .unwrap()
    }
}

impl Cluster {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send("POST", path, Some("application/json"), object.to_string())
            .await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send("DELETE", path, Some("application/json"), options.to_string())
            .await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, changes: &Value) -> Answer {
        let content_type = match kind {
            "apply" => "application/apply-patch+yaml".to_owned(),
            kind => format!("application/{kind}+json"),
        };
        self.send("PATCH", path, Some(&content_type), changes.to_string())
            .await
    }

    /// A namespace, once it is furnished.
    pub(crate) async fn namespace(&self, name: &str) {
        let body = json!({ "metadata": { "name": name } });
        let made = self.post("/api/v1/namespaces", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
        for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            let path = format!("/api/v1/namespaces/{name}/{path}");
            self.eventually(&path, |answer| answer.status == 200).await;
        }
    }

    /// Gets `path` until the answer is as wanted.
    pub(crate) async fn eventually(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let waiting = async {
            loop {
                let answer = self.get(path).await;
                if wanted(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if let Ok(answer) = tokio::time::timeout(PATIENCE, waiting).await {
            return answer;
        }
        panic!("{path} never became as wanted: {:?}", self.get(path).await)
    }
}

/// A cluster with the namespace `a`.
pub(crate) async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("a").await;
    cluster
}

pub(crate) fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } })
}

/// The names of the items of a list.
pub(crate) fn items(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {list}"))
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}
