//! A server, and a client that sends plain HTTP requests to it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use mountproof_run_tls::{HttpsClient, RunCa};
use mountproof_stand_ins::{
    kubernetes::{ApiServer, ApiServerConfig},
    programs::control_plane::ControlPlane,
};
use serde_json::{Value, json};

use crate::cluster::RealCluster;

/// Longer than anything here takes, so that only a hang is told apart by it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The node that has a token of its own.
pub(crate) const NODE: &str = "n";

/// One test: what holds of the server of a [`Cluster`].
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// With its module.
    pub(crate) name: &'static str,
    pub(crate) held: Held,
    pub(crate) body: fn(Cluster) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// Whom a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// The API server, held to the real thing: alone, and in a cluster.
    ToTheRealOne,
    /// Kubelet, held to that of a cluster.
    ToAKubelet,
    /// The stand-in alone, and why.
    StandInOnly(&'static str),
}

/// The tests of a module: those that hold of every server, those that need a kubelet too, then those of the stand-in
/// alone, each with the reason.
macro_rules! tests {
    ($($name:ident),* $(; with_kubelet: $($kubelet:ident),+)? $(; stand_in_only: $($only:ident = $reason:literal),+)? $(,)?) => {
        pub(crate) fn tests() -> Vec<crate::support::Test> {
            vec![
                $(crate::support::Test {
                    name: concat!(module_path!(), "::", stringify!($name)),
                    held: crate::support::Held::ToTheRealOne,
                    body: |cluster| Box::pin($name(cluster)),
                },)*
                $($(crate::support::Test {
                    name: concat!(module_path!(), "::", stringify!($kubelet)),
                    held: crate::support::Held::ToAKubelet,
                    body: |cluster| Box::pin($kubelet(cluster)),
                },)+)?
                $($(crate::support::Test {
                    name: concat!(module_path!(), "::", stringify!($only)),
                    held: crate::support::Held::StandInOnly($reason),
                    body: |cluster| Box::pin($only(cluster)),
                },)+)?
            ]
        }
    };
}
pub(crate) use tests;

/// The server under test.
pub(crate) enum Server {
    StandIn(ApiServer),
    /// With its authority.
    Real(Box<ControlPlane>, String),
    /// With kubelets.
    Cluster(RealCluster),
}

impl Server {
    pub(crate) fn url(&self) -> String {
        match self {
            Self::StandIn(server) => server.url(),
            Self::Real(plane, _) => plane.url(),
            Self::Cluster(cluster) => cluster.url.clone(),
        }
    }

    pub(crate) fn ca_pem(&self) -> &str {
        match self {
            Self::StandIn(server) => server.ca_pem(),
            Self::Real(_, ca_pem) => ca_pem,
            Self::Cluster(cluster) => &cluster.ca_pem,
        }
    }

    pub(crate) fn issuer(&self) -> String {
        match self {
            Self::StandIn(server) => server.issuer().to_owned(),
            Self::Real(plane, _) => plane.url(),
            Self::Cluster(cluster) => cluster.issuer.clone(),
        }
    }

    pub(crate) fn admin_token(&self) -> &str {
        match self {
            Self::StandIn(server) => server.admin_token().expose(),
            Self::Real(plane, _) => plane.admin_token().expose(),
            Self::Cluster(cluster) => &cluster.token,
        }
    }

    pub(crate) fn component_token(&self, name: &str) -> String {
        match self {
            Self::StandIn(server) => server.component_token(name).expose().to_owned(),
            Self::Real(plane, _) => plane.component_token(name).unwrap().expose().to_owned(),
            Self::Cluster(_) => format!("{AS}{name}"),
        }
    }
}

/// Before the name of whom the admin of a cluster speaks for, in the place of a token.
const AS: &str = "as ";

/// A server, a client with the admin's token, and a namespace of the test's own.
pub(crate) struct Cluster {
    server: Arc<Server>,
    pub(crate) client: HttpsClient,
    /// Other tests may use the same server at the same time.
    pub(crate) namespace: String,
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
    /// A new stand-in.
    pub(crate) async fn of_a_stand_in() -> Self {
        let ca = RunCa::generate("test").unwrap();
        let server = ApiServer::start(ApiServerConfig::on_loopback(ca)).await.unwrap();
        Self::of(Arc::new(Server::StandIn(server))).await
    }

    /// A new namespace of this server.
    pub(crate) async fn of(server: Arc<Server>) -> Self {
        static NAMESPACES: AtomicUsize = AtomicUsize::new(1);
        let client = HttpsClient::new(server.ca_pem(), None).unwrap();
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let cluster = Self {
            server,
            client,
            namespace: format!("test-{number}"),
        };
        cluster.furnish(&cluster.namespace).await;
        cluster
    }

    /// The same, by a client that has no connection yet.
    pub(crate) fn over_another_connection(&self) -> Self {
        Self {
            server: Arc::clone(&self.server),
            client: HttpsClient::new(self.server.ca_pem(), None).unwrap(),
            namespace: self.namespace.clone(),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Whether the real thing is under test.
    pub(crate) fn is_real(&self) -> bool {
        !matches!(*self.server, Server::StandIn(_))
    }

    /// The stand-in, in tests that are about it alone.
    pub(crate) fn stand_in(&self) -> &ApiServer {
        match &*self.server {
            Server::StandIn(server) => server,
            _ => panic!("a test of the stand-in alone"),
        }
    }

    /// Ends the stand-in.
    pub(crate) async fn stop(self) {
        if let Some(Server::StandIn(server)) = Arc::into_inner(self.server) {
            server.stop().await;
        }
    }

    /// The test's namespace itself.
    pub(crate) fn itself(&self) -> String {
        format!("/api/v1/namespaces/{}", self.namespace)
    }

    /// Something of the core group in it.
    pub(crate) fn at(&self, what: &str) -> String {
        format!("{}/{what}", self.itself())
    }

    /// Something of another group, such as `apps/v1`, in it.
    pub(crate) fn at_group(&self, version: &str, what: &str) -> String {
        format!("/apis/{version}/namespaces/{}/{what}", self.namespace)
    }

    pub(crate) fn pods(&self) -> String {
        self.at("pods")
    }

    pub(crate) fn maps(&self) -> String {
        self.at("configmaps")
    }

    /// A name that is the test's own, for what is in no namespace.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Sends a request with the admin's token; `body` goes with `content_type`.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let token = self.server.admin_token().to_owned();
        self.send_as(&token, method, path, content_type, body).await
    }

    /// Sends a request that asks for an answer in a form; answers with the code, and the body if that is JSON.
    pub(crate) async fn accepting(&self, path: &str, accept: &str) -> (u16, Value) {
        let token = self.server.admin_token();
        let request = Request::get(format!("{}{path}", self.server.url()))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::ACCEPT, accept)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let (head, body) = self.client.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (head.status.as_u16(), body)
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
        if let Some(user) = token.strip_prefix(AS) {
            request = request
                .header("Impersonate-User", user)
                .header("Impersonate-Group", "system:nodes");
        }
        let token = match token {
            token if token.starts_with(AS) => self.server.admin_token(),
            token => token,
        };
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

    /// Makes a namespace, and waits for what the controllers put into it.
    pub(crate) async fn furnish(&self, name: &str) {
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

/// A pod that is nobody's to bind but the test's: in a cluster there is a scheduler.
pub(crate) fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "schedulerName": "none", "containers": [{ "name": "c", "image": "i:1" }] } })
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
