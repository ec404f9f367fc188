//! The control plane's programs: real ones where `KUBEBUILDER_ASSETS` names their folder, and shell scripts in their places.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use mountproof_run_tls::{HttpsClient, RunCa};
use mountproof_stand_ins::{
    kubernetes::User,
    programs::control_plane::{ControlPlane, ControlPlaneConfig, ControlPlanePrograms, StartError},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where the programs are, by the convention of envtest.
pub(crate) const ASSETS: &str = "KUBEBUILDER_ASSETS";

const PATIENCE: Duration = Duration::from_mins(1);

const DRIVER: &str = "system:serviceaccount:kube-system:secrets-store-csi-driver";
const PROVIDER: &str = "system:serviceaccount:kube-system:csi-secrets-store-provider-aws";
const SCHEDULER: &str = "system:kube-scheduler";
const NODE: &str = "system:node:n";

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl";

/// Whether the real programs are there.
pub(crate) fn given() -> bool {
    std::env::var_os(ASSETS).is_some_and(|folder| !folder.is_empty())
}

fn real() -> ControlPlanePrograms {
    ControlPlanePrograms::in_folder(Path::new(&std::env::var_os(ASSETS).unwrap()))
}

/// A folder for a control plane of these programs, with all users that a run has.
fn config(programs: ControlPlanePrograms) -> (TempDir, ControlPlaneConfig) {
    let folder = tempfile::tempdir().unwrap();
    let user = |name: &str, groups: &[&str]| User {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    };
    let accounts = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
    let ca = RunCa::generate("test").unwrap();
    let config = ControlPlaneConfig {
        users: vec![
            user(NODE, &["system:nodes"]),
            user(SCHEDULER, &[]),
            user(DRIVER, &accounts),
            user(PROVIDER, &accounts),
        ],
        ..ControlPlaneConfig::new(programs, ca, folder.path().to_owned())
    };
    (folder, config)
}

/// A client of the API.
struct Client {
    https: HttpsClient,
    url: String,
}

impl Client {
    fn of(plane: &ControlPlane, ca: &RunCa) -> Self {
        Self {
            https: HttpsClient::new(ca.certificate_pem(), None).unwrap(),
            url: plane.url(),
        }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = async {
            let (head, body) = self.https.send(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (
                head.status.as_u16(),
                serde_json::from_slice(&body).unwrap_or_default(),
            )
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
    }

    /// Gets `path` until it is answered with this code.
    async fn becomes(&self, token: &str, path: &str, code: u16) {
        let until = Instant::now() + PATIENCE;
        while self.ask(token, "GET", path, &Value::Null).await.0 != code {
            assert!(Instant::now() < until, "{path} never became {code}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Processes whose command line names the folder.
fn processes(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&*folder) {
            found.push(line);
        }
    }
    found
}

/// Waits until no process names the folder.
async fn nothing_runs(folder: &Path) {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = processes(folder);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "left: {left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn starts_serves_and_ends() {
    let (folder, config) = config(real());
    let ca = config.ca.clone();
    let plane = ControlPlane::start(config).await.unwrap();
    assert!(plane.version().starts_with("v1."), "{}", plane.version());
    let client = Client::of(&plane, &ca);
    let admin = plane.admin_token().expose();
    let namespace = json!({ "metadata": { "name": "a" } });
    assert_eq!(
        client
            .ask(admin, "POST", "/api/v1/namespaces", &namespace)
            .await
            .0,
        201
    );
    for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
        client
            .becomes(admin, &format!("/api/v1/namespaces/a/{path}"), 200)
            .await;
    }
    // What signs and who may do what is for nobody else on the machine.
    for name in [
        "loopback.key",
        "service-accounts.key",
        "tokens.csv",
        "kube-apiserver.log",
    ] {
        let mode = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let expired = plane.expired_token("a", "default", &plane.url()).await.unwrap();
    assert_eq!(
        client.ask(expired.expose(), "GET", "/api", &Value::Null).await.0,
        401
    );
    assert_eq!(
        client
            .ask(admin, "DELETE", "/api/v1/namespaces/a", &Value::Null)
            .await
            .0,
        200
    );
    let until = Instant::now() + PATIENCE;
    while client
        .ask(admin, "GET", "/api/v1/namespaces/a", &Value::Null)
        .await
        .0
        != 404
    {
        assert!(Instant::now() < until, "the namespace stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(processes(folder.path()).len() >= 2);
    plane.stop().await;
    nothing_runs(folder.path()).await;
}

pub(crate) async fn one_that_is_dropped_ends_too() {
    let (folder, config) = config(real());
    let plane = ControlPlane::start(config).await.unwrap();
    assert!(processes(folder.path()).len() >= 2);
    drop(plane);
    nothing_runs(folder.path()).await;
}

/// What the charts give, and not more.
pub(crate) async fn rights() {
    let (_folder, config) = config(real());
    let ca = config.ca.clone();
    let plane = ControlPlane::start(config).await.unwrap();
    let client = Client::of(&plane, &ca);
    let none = Value::Null;
    let classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasses";
    let statuses = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/default/secretproviderclasspodstatuses";
    let token = json!({ "spec": { "audiences": ["sts.amazonaws.com"] } });
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    let secret = json!({ "metadata": { "name": "s" } });
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    let (account_token, binding_of) = (
        format!("{account}/token"),
        "/api/v1/namespaces/default/pods/p/binding",
    );
    client.becomes(plane.admin_token().expose(), account, 200).await;
    // 404 is for who may, of what is not there.
    for (who, method, path, body, expected) in [
        (DRIVER, "GET", classes, &none, 404),
        (DRIVER, "POST", classes, &json!({}), 403),
        (DRIVER, "GET", statuses, &none, 404),
        (DRIVER, "GET", "/api/v1/pods", &none, 200),
        (DRIVER, "DELETE", "/api/v1/namespaces/default/pods/p", &none, 403),
        (DRIVER, "POST", "/api/v1/namespaces/default/secrets", &secret, 201),
        (DRIVER, "GET", "/apis/storage.k8s.io/v1/csidrivers", &none, 200),
        (DRIVER, "GET", "/api/v1/nodes", &none, 403),
        (DRIVER, "GET", account, &none, 403),
        (PROVIDER, "POST", &account_token, &token, 201),
        (PROVIDER, "GET", account, &none, 200),
        (PROVIDER, "GET", "/api/v1/serviceaccounts", &none, 403),
        (PROVIDER, "GET", "/api/v1/namespaces/default/pods/p", &none, 404),
        (
            PROVIDER,
            "GET",
            "/api/v1/namespaces/default/secrets/s",
            &none,
            403,
        ),
        (PROVIDER, "GET", "/api/v1/nodes/n", &none, 404),
        (SCHEDULER, "POST", binding_of, &binding, 404),
        (
            SCHEDULER,
            "GET",
            "/api/v1/namespaces/default/secrets/s",
            &none,
            403,
        ),
        (NODE, "POST", binding_of, &binding, 403),
        // The Node authorizer: only what its pods name.
        (NODE, "GET", "/api/v1/namespaces/default/secrets/s", &none, 403),
        (NODE, "POST", &account_token, &token, 403),
        ("", "GET", "/openid/v1/jwks", &none, 200),
        ("", "GET", "/api/v1/pods", &none, 403),
        ("nobody", "GET", "/api/v1/pods", &none, 401),
    ] {
        let token = match who {
            "" | "nobody" => who,
            user => plane.component_token(user).unwrap().expose(),
        };
        let (code, answer) = client.ask(token, method, path, body).await;
        assert_eq!(code, expected, "{who:?} {method} {path}: {answer}");
    }
    assert!(plane.component_token("somebody").is_none());
    plane.stop().await;
}

pub(crate) async fn port_in_use() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (folder, config) = config(real());
    let listen: SocketAddr = taken.local_addr().unwrap();
    let error = ControlPlane::start(ControlPlaneConfig { listen, ..config })
        .await
        .expect_err("somebody listens there");
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    let error = error.to_string();
    for part in [
        "kube-apiserver ended with",
        "before the API was ready",
        "address already in use",
        "kube-apiserver.log",
    ] {
        assert!(error.contains(part), "no {part:?}: {error}");
    }
    nothing_runs(folder.path()).await;
}

/// A shell script as a program.
fn script(folder: &Path, name: &str, does: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Two scripts in the places of the programs. Each names the folder in its command line as long as it runs.
fn scripts(etcd: &str, kube_apiserver: &str) -> (TempDir, ControlPlanePrograms) {
    let folder = tempfile::tempdir().unwrap();
    let programs = ControlPlanePrograms::new(
        script(folder.path(), "etcd", etcd),
        script(folder.path(), "kube-apiserver", kube_apiserver),
    );
    (folder, programs)
}

/// Why these do not start, with `ready` to do so. Nothing of them runs afterwards.
async fn refused(etcd: &str, kube_apiserver: &str, ready: Duration) -> StartError {
    let (programs_in, programs) = scripts(etcd, kube_apiserver);
    let (folder, config) = config(programs);
    let error = ControlPlane::start(ControlPlaneConfig { ready, ..config })
        .await
        .expect_err("scripts serve nothing");
    nothing_runs(folder.path()).await;
    nothing_runs(programs_in.path()).await;
    error
}

/// Runs until it is killed, as the script that it is.
const FOREVER: &str = "echo waiting; while :; do sleep 0.1; done";

pub(crate) async fn crash_at_start() {
    let crash = format!("echo began; echo 'panic: token {TOKEN}' >&2; exit 3");
    for (etcd, kube_apiserver, which) in [(FOREVER, &*crash, "kube-apiserver"), (&*crash, FOREVER, "etcd")] {
        let error = refused(etcd, kube_apiserver, PATIENCE).await.to_string();
        for part in [
            format!("/{which} ended with exit status: 3 before the API was ready"),
            "it wrote last: began | panic: token <hidden>".to_owned(),
            format!("/{which}.log"),
        ] {
            assert!(error.contains(&part), "no {part:?}: {error}");
        }
        assert!(!error.contains("eyJ"), "{error}");
    }
}

pub(crate) async fn silence_at_start() {
    let error = refused(FOREVER, FOREVER, Duration::from_secs(1)).await;
    assert!(matches!(error, StartError::NotReady { .. }), "{error}");
    let error = error.to_string();
    for part in ["the API is not ready after 1s", "kube-apiserver.log"] {
        assert!(error.contains(part), "no {part:?}: {error}");
    }
}

pub(crate) async fn no_program() {
    let (_programs, good) = scripts(FOREVER, FOREVER);
    let text = good.etcd.with_file_name("text");
    fs::write(&text, "no program").unwrap();
    for (programs, path) in [
        (
            ControlPlanePrograms {
                etcd: text.clone(),
                ..good.clone()
            },
            &text,
        ),
        (
            ControlPlanePrograms {
                kube_apiserver: "/nonexistent/kube-apiserver".into(),
                ..good.clone()
            },
            &PathBuf::from("/nonexistent/kube-apiserver"),
        ),
    ] {
        let (folder, config) = config(programs);
        let error = ControlPlane::start(config).await.expect_err("no program");
        assert!(matches!(error, StartError::Program(_)), "{error}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        nothing_runs(folder.path()).await;
    }
}
