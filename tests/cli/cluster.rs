//! `--env cluster` against the Kubernetes stand-in, by a kubeconfig as anybody has one: what is in the way is named before
//! anything is made, and nothing is left.
//!
//! Clusters with nodes are in `tests/clusters`, real ones in `tests/kind`.

use std::{fs, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mountproof::{
    kubernetes::{Identity, Kubernetes, KubernetesAccess, ObjectRef},
    secret::Credential,
    tenant::Marks,
};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::kubernetes::{ApiServer, ApiServerConfig};
use serde_json::{Value, json};

use crate::support::{Ended, Place};

/// A cluster without a node, and the way to it in a file.
struct Cluster {
    api: ApiServer,
    place: Place,
}

impl Cluster {
    async fn start() -> Self {
        let ca = RunCa::generate("cluster").unwrap();
        let api = ApiServer::start(ApiServerConfig::on_loopback(Arc::clone(&ca)))
            .await
            .unwrap();
        let cluster = Self {
            api,
            place: Place::new(),
        };
        cluster.write(
            &json!({ "token": cluster.api.admin_token().expose() }),
            &json!({}),
        );
        cluster
    }

    /// The kubeconfig, with this user, and these fields of its cluster.
    fn write(&self, user: &Value, fields: &Value) {
        let mut whole = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "elsewhere",
            "contexts": [{ "name": "stand-in", "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": {
                "server": self.api.url(),
                "certificate-authority-data": BASE64_STANDARD.encode(self.api.ca_pem()),
            } }],
            "users": [{ "name": "u", "user": user }],
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            whole["clusters"][0]["cluster"][name] = value.clone();
        }
        fs::write(self.place.path("kubeconfig"), whole.to_string()).unwrap();
    }

    /// A run of one case in it.
    fn run(&self, more: &[&str]) -> Ended {
        let mut arguments = vec![
            "run",
            "positive",
            "--env",
            "cluster",
            "--kubeconfig",
            "kubeconfig",
            "--context",
            "stand-in",
            "--aws",
            "embedded",
            "--aws-listen",
            "127.0.0.2:0",
        ];
        arguments.extend(more);
        self.place.run(&arguments)
    }

    /// Every object of the kinds that a run makes first, by kind and name.
    async fn objects(&self) -> Vec<String> {
        let token = Credential::new(self.api.admin_token().expose());
        let access = KubernetesAccess::new(self.api.url(), self.api.ca_pem(), Identity::Token(token));
        let kubernetes = Kubernetes::connect(&access, &Marks::of_run("looks"))
            .await
            .unwrap();
        let mut found = Vec::new();
        for (version, kind) in [
            ("v1", "Namespace"),
            ("apps/v1", "DaemonSet"),
            ("storage.k8s.io/v1", "CSIDriver"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ] {
            for object in kubernetes.list(version, kind, None, None).await.unwrap() {
                found.push(ObjectRef::of(&object).to_string());
            }
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_at_once_and_nothing_is_made() {
    let cluster = Cluster::start().await;
    let before = cluster.objects().await;
    let ended = cluster.run(&["--allow-context", "stand-in"]).exits(3);
    ended.says(&[
        "3 things are in the way",
        "the cluster has no node",
        "has the driver",
        "has the provider",
        "--install",
    ]);
    assert_eq!(cluster.objects().await, before);
    cluster.api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_that_nobody_has_allowed_is_not_asked_for_anything() {
    let cluster = Cluster::start().await;
    for (more, said) in [
        (&[][..], "nobody is at a terminal"),
        (
            &["--allow-context", "another"],
            "is not one of those that --allow-context names",
        ),
    ] {
        cluster.run(more).exits(2).says(&[said, "stand-in"]);
    }
    assert!(cluster.place.runs().is_empty(), "no run was begun");
    cluster.api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_cannot_be_meant_is_refused() {
    let cluster = Cluster::start().await;
    let token = json!({ "token": "t" });
    for (user, fields, said) in [
        (
            &token,
            json!({ "insecure-skip-tls-verify": true }),
            "certificate-authority",
        ),
        (&token, json!({ "proxy-url": "http://127.0.0.1:1" }), "proxy-url"),
        (
            &json!({}),
            json!({}),
            "neither token, certificate nor exec plugin",
        ),
    ] {
        cluster.write(user, &fields);
        cluster
            .run(&["--allow-context", "stand-in"])
            .exits(3)
            .says(&[said]);
    }
    cluster.api.stop().await;
}

/// The token that is sent is the plugin's, and its complaint is what is told where it has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_asked_for_the_token() {
    let cluster = Cluster::start().await;
    let answer = json!({ "status": { "token": cluster.api.admin_token().expose() } });
    fs::write(cluster.place.path("answer"), answer.to_string()).unwrap();
    for (script, said) in [
        ("cat answer", "the cluster has no node"),
        ("echo sso session is over >&2; exit 1", "sso session is over"),
    ] {
        let exec = json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script], "interactiveMode": "Never" } });
        cluster.write(&exec, &json!({}));
        cluster
            .run(&["--allow-context", "stand-in"])
            .exits(3)
            .says(&[said]);
    }
    cluster.api.stop().await;
}
