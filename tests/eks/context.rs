//! The same cluster by a kubeconfig: `--env cluster`, with AWS an account, and with an endpoint of the run's own.

use std::{
    fs,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mountproof::{
    environment::{
        eks::PROVIDER_ADDON,
        installation::{InstallationOptions, prepare},
    },
    kubernetes::{Identity, Kubernetes, KubernetesAccess, ObjectRef},
    secret::Credential,
    tenant::{Marks, RUN_LABEL},
};
use serde_json::{Value, json};

use crate::{
    site::{Site, TEAMS},
    support::verdicts,
    upgrade::{UPGRADE, upgraded},
};

/// What every run is told.
pub(crate) const USE: [&str; 12] = [
    "run",
    "positive",
    "cross-namespace-denied",
    "--env",
    "cluster",
    "--kubeconfig",
    "kubeconfig",
    "--allow-context",
    TEAMS,
    "--agent-image",
    "mountproof:test",
    "--strict",
];
/// An AWS of the run's own.
pub(crate) const OURS: [&str; 4] = ["--aws", "embedded", "--aws-listen", "127.0.0.2:0"];

/// The way to the team's cluster.
pub(crate) struct Way {
    url: String,
    ca_pem: String,
    token: Credential,
}

impl Way {
    /// Written down as a kubeconfig has it, whose only user has a token.
    pub(crate) fn to(site: &Site) -> Self {
        let asking = async {
            let aws = site.aws();
            let cluster = aws.cluster(TEAMS).await.unwrap();
            Self {
                url: cluster.endpoint.unwrap(),
                ca_pem: cluster.ca_pem.unwrap(),
                token: aws.cluster_token(TEAMS).await.unwrap().token,
            }
        };
        let way = site.runtime.block_on(asking);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": TEAMS,
            "contexts": [{ "name": TEAMS, "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": {
                "server": way.url, "certificate-authority-data": BASE64_STANDARD.encode(&way.ca_pem),
            } }],
            "users": [{ "name": "u", "user": { "token": way.token.expose() } }],
        });
        fs::write(site.place.path("kubeconfig"), kubeconfig.to_string()).unwrap();
        way
    }

    pub(crate) async fn connect(&self) -> Kubernetes {
        let identity = Identity::Token(self.token.clone());
        let access = KubernetesAccess::new(&self.url, self.ca_pem.clone(), identity);
        Kubernetes::connect(&access, &Marks::of_run("team"))
            .await
            .unwrap()
    }

    /// Puts driver and provider on the nodes as a team does, with its own `kubectl apply`.
    pub(crate) fn installs(&self, site: &Site) {
        let installing = async {
            let kubernetes = self.connect().await;
            let prepared = prepare(&InstallationOptions::default(), &site.place.path("t"))
                .await
                .unwrap();
            let version = kubernetes.version().await.unwrap();
            let team = Marks::of_run("team");
            let installation = prepared.finish(&version, &team, None).await.unwrap();
            for mut object in installation.objects {
                if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
                    labels.remove(RUN_LABEL);
                }
                kubernetes.create(&object).await.unwrap();
            }
            let until = Instant::now() + Duration::from_mins(1);
            for set in [installation.driver.daemon_set, installation.provider.daemon_set] {
                while kubernetes.read(&set).await.unwrap().unwrap_or_default()["status"]["numberReady"] != 2 {
                    assert!(Instant::now() < until, "{set} is not Ready");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        site.runtime.block_on(installing);
    }

    /// What a team has of driver and provider, without what the API gives it.
    pub(crate) fn theirs(&self, site: &Site) -> Vec<Value> {
        let looking = async {
            let kubernetes = self.connect().await;
            let mut all = Vec::new();
            for (version, kind) in [
                ("apps/v1", "DaemonSet"),
                ("v1", "ServiceAccount"),
                ("v1", "ConfigMap"),
                ("storage.k8s.io/v1", "CSIDriver"),
                ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
                ("rbac.authorization.k8s.io/v1", "ClusterRole"),
                ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
            ] {
                for mut object in kubernetes.list(version, kind, None, None).await.unwrap() {
                    object.as_object_mut().unwrap().remove("status");
                    let metadata = object["metadata"].as_object_mut().unwrap();
                    for given in [
                        "uid",
                        "resourceVersion",
                        "generation",
                        "creationTimestamp",
                        "managedFields",
                    ] {
                        metadata.remove(given);
                    }
                    all.push(object);
                }
            }
            all.sort_by_key(ObjectRef::of);
            all
        };
        site.runtime.block_on(looking)
    }
}

#[test]
fn what_is_found_by_a_kubeconfig_is_used_and_left_as_it_was() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    Way::to(&site);
    let before = (site.everything(), site.objects());
    site.run(&USE).exits(0).says(&["nothing left behind"]);
    for (case, verdict) in verdicts(&site.place.results()) {
        assert_eq!(verdict, "passed", "{case}");
    }
    assert_eq!((site.everything(), site.objects()), before);

    // Nobody can tell a provider that is there where AWS is, nor may what EKS puts back be replaced.
    for (more, said) in [
        (&OURS[..], "nobody can tell it"),
        (&[&OURS[..], &["--replace-driver"]].concat(), "would put it back"),
    ] {
        let arguments = [&USE[..], more, &["--out", "refused"]].concat();
        site.run(&arguments).exits(3).says(&[said, "nothing left behind"]);
        assert_eq!(site.objects(), before.1);
    }
}

#[test]
fn what_is_missing_is_installed_for_the_run_and_gone_after_it() {
    let site = Site::start();
    site.teams_cluster(&[]);
    Way::to(&site);
    let before = (site.everything(), site.objects());
    let arguments = [&USE[..], &OURS[..], &["--install"]].concat();
    site.run(&arguments).exits(0).says(&["nothing left behind"]);
    for (case, verdict) in verdicts(&site.place.results()) {
        assert_eq!(verdict, "passed", "{case}");
    }
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn what_made_room_for_the_run_is_put_back_as_it_was() {
    let site = Site::start();
    site.teams_cluster(&[]);
    let way = Way::to(&site);
    way.installs(&site);
    let before = way.theirs(&site);
    let arguments = [&USE[..], &OURS[..], &["--replace-driver"]].concat();
    site.run(&arguments).exits(0).says(&["nothing left behind"]);
    for (case, verdict) in verdicts(&site.place.results()) {
        assert_eq!(verdict, "passed", "{case}");
    }
    assert_eq!(way.theirs(&site), before);

    // A run that is killed in the middle has put nothing back, and sweep does.
    let killed = [&arguments[..], &["--end", "kill@12", "--out", "killed"]].concat();
    site.run(&killed);
    assert_ne!(way.theirs(&site), before);
    site.run(&["sweep", "--reports", "killed"]).exits(0);
    assert_eq!(way.theirs(&site), before);
}

#[test]
fn what_takes_a_team_s_place_is_upgraded_and_nothing_of_a_team_s_is() {
    let site = Site::start();
    site.teams_cluster(&[]);
    let way = Way::to(&site);
    way.installs(&site);
    let before = way.theirs(&site);
    let following = [&USE[..], &["--then", "driver=1.6.1", "--out", "refused"]].concat();
    site.run(&following)
        .exits(3)
        .says(&["--then names another driver", "nothing left behind"]);
    assert_eq!(way.theirs(&site), before);

    let upgrading = [&USE[..], &OURS[..], &["--replace-driver"], &UPGRADE].concat();
    site.run(&upgrading).exits(0).says(&["nothing left behind"]);
    upgraded(&site.place.results());
    assert_eq!(way.theirs(&site), before);
}
