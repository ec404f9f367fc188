//! A secret on its way into a pod of such a cluster: driver and provider installed by the harness's own manifests, run by the
//! nodes, and read of by the API server as on AWS, where there is no call log.

use std::{path::PathBuf, sync::Arc};

use mountproof::{
    environment::{
        NodeOptions, StandInClusters,
        installation::{AwsWay, InstallationOptions, prepare},
    },
    kubernetes::{Kubernetes, ObjectRef},
    secret::SecretValue,
    tenant::{CSI_DRIVER, Marks},
};
use serde_json::{Value, json};

use crate::site::{ACCOUNT, REGION, Site, token};

const VALUE: &str = "the value of the pod's own secret";

/// A cluster with nodes, and a client of its API server.
pub(crate) struct World {
    clusters: Arc<StandInClusters>,
    pub(crate) site: Site,
    pub(crate) kubernetes: Kubernetes,
    issuer: String,
}

impl World {
    pub(crate) async fn with_nodes(number: usize) -> Self {
        let mut clusters = None;
        let site = Site::start(|ca| {
            let options = NodeOptions {
                clock: 20.0,
                ..NodeOptions::default()
            };
            Arc::clone(clusters.insert(Arc::new(StandInClusters::new(ca, options)))) as _
        })
        .await;
        let cluster = site.cluster("demo", "ACTIVE").await;
        site.nodegroup(number, &json!({}), "ACTIVE").await;
        let kubernetes = site.connect(&cluster, &token(&site.root(), "demo")).await;
        Self {
            clusters: clusters.unwrap(),
            site,
            kubernetes,
            issuer: cluster["identity"]["oidc"]["issuer"].as_str().unwrap().to_owned(),
        }
    }

    /// Driver and provider, as the harness puts them onto any cluster.
    pub(crate) async fn install(&self, nodes: usize) {
        self.install_by(nodes, None).await;
    }

    /// The same, with a way to AWS that the provider is told.
    async fn install_by(&self, nodes: usize, way: Option<&AwsWay>) {
        let marks = Marks::of_run("clusters");
        let scratch = tempfile::tempdir().unwrap();
        let prepared = prepare(&InstallationOptions::default(), scratch.path())
            .await
            .unwrap();
        let version = self.kubernetes.version().await.unwrap();
        let installation = prepared.finish(&version, &marks, way).await.unwrap();
        for object in &installation.objects {
            self.kubernetes.create(object).await.unwrap();
        }
        self.registered(nodes).await;
    }

    pub(crate) async fn registered(&self, nodes: usize) {
        let what = format!("the driver is registered on {nodes} nodes");
        self.site
            .until(&what, async || {
                self.kubernetes.nodes_with_driver(CSI_DRIVER).await.unwrap().len() == nodes
            })
            .await;
    }

    /// Secrets, a role that may read `app/own` alone, and a `ServiceAccount` that is to have it.
    pub(crate) async fn tenant(&self) {
        let (aws, tags) = (self.site.aws(), Marks::of_run("clusters").tags());
        for (name, value) in [("app/own", VALUE), ("other/secret", "somebody else's")] {
            aws.provide_secret(name, &SecretValue::text(value), &tags)
                .await
                .unwrap();
        }
        aws.provide_oidc(&self.issuer, "sts.amazonaws.com", &tags)
            .await
            .unwrap();
        let issuer = self.issuer.trim_start_matches("https://");
        let trust = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow",
            "Principal": { "Federated": aws.oidc_arn(&self.issuer) },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": { format!("{issuer}:sub"): "system:serviceaccount:default:app" } },
        } });
        let policy = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow",
            "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
            "Resource": format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/*"),
        } });
        let policy = aws.provide_policy("app", &policy, &tags).await.unwrap();
        let role = aws.provide_role("app", &trust, &policy, &tags).await.unwrap();
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "app", "namespace": "default", "annotations": { "eks.amazonaws.com/role-arn": role } },
        });
        self.kubernetes.create(&account).await.unwrap();
    }

    /// A pod that mounts this secret.
    pub(crate) async fn pod(&self, name: &str, secret: &str) {
        self.pod_as(name, secret, "app", &json!({})).await;
    }

    /// The same with further parameters of its class, as this `ServiceAccount`.
    pub(crate) async fn pod_as(&self, name: &str, secret: &str, account: &str, more: &Value) {
        let objects =
            format!("- objectName: \"{secret}\"\n  objectType: secretsmanager\n  objectAlias: secret\n");
        let mut parameters = json!({ "objects": objects });
        for (key, value) in more.as_object().into_iter().flatten() {
            parameters[key] = value.clone();
        }
        let class = json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "provider": "aws", "parameters": parameters },
        });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "serviceAccountName": account,
                "containers": [{ "name": "app", "image": "app:1",
                    "volumeMounts": [{ "name": "secrets", "mountPath": "/secrets", "readOnly": true }] }],
                "volumes": [{ "name": "secrets", "csi": { "driver": CSI_DRIVER, "readOnly": true,
                    "volumeAttributes": { "secretProviderClass": name } } }],
            },
        });
        self.kubernetes.create(&class).await.unwrap();
        self.kubernetes.create(&pod).await.unwrap();
    }

    pub(crate) async fn read(&self, pod: &str) -> Value {
        let reference = ObjectRef::new("v1", "Pod", Some("default"), pod);
        self.kubernetes
            .read(&reference)
            .await
            .unwrap()
            .unwrap_or_default()
    }

    /// Where the file is that a pod has mounted.
    pub(crate) async fn file(&self, pod: &str) -> PathBuf {
        let pod = self.read(pod).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let root = self
            .clusters
            .kubelet_root(REGION, "demo", &text(&pod["spec"]["nodeName"]))
            .unwrap();
        let volume = "volumes/kubernetes.io~csi/secrets/mount/secret";
        root.join("pods").join(text(&pod["metadata"]["uid"])).join(volume)
    }

    pub(crate) async fn runs(&self, pod: &str) {
        self.site
            .until(&format!("{pod} runs"), async || {
                self.read(pod).await["status"]["phase"] == "Running"
            })
            .await;
    }

    /// What the containers of a `DaemonSet` have written, on all nodes.
    pub(crate) async fn log_of(&self, daemon_set: &str, container: &str) -> String {
        let logs = self.kubernetes.pod_logs();
        let daemons = logs.daemons().await.unwrap();
        let daemon = daemons.iter().find(|daemon| daemon.name == daemon_set).unwrap();
        let read = logs
            .read(daemon, container, None, Some(600), false)
            .await
            .unwrap();
        read.into_iter().map(|log| log.text).collect()
    }

    pub(crate) async fn end(self) {
        self.site.endpoint.stop().await;
        self.clusters.stop().await;
    }
}

const PROVIDER: (&str, &str) = ("csi-secrets-store-provider-aws", "provider-aws-installer");
const DRIVER: (&str, &str) = ("csi-secrets-store", "secrets-store");

#[tokio::test]
async fn a_pod_of_a_node_has_its_secret_and_no_other_and_the_log_says_why() {
    let world = World::with_nodes(2).await;
    world.install(2).await;
    world.tenant().await;
    world.pod("own", "app/own").await;
    world.runs("own").await;
    assert_eq!(std::fs::read_to_string(world.file("own").await).unwrap(), VALUE);

    world.pod("foreign", "other/secret").await;
    let denial = "is not authorized to perform: secretsmanager:GetSecretValue";
    world
        .site
        .until("the provider's log has the denial", async || {
            let log = world.log_of(PROVIDER.0, PROVIDER.1).await;
            log.contains(denial) && log.contains("other/secret")
        })
        .await;
    assert_eq!(world.read("foreign").await["status"]["phase"], "Pending");
    let log = world.log_of(DRIVER.0, DRIVER.1).await;
    assert!(log.contains("node publish volume"), "{log}");
    let registrar = world.log_of(DRIVER.0, "node-driver-registrar").await;
    assert!(registrar.contains("is registered at"), "{registrar}");
    world.end().await;
}

#[tokio::test]
async fn a_program_is_started_anew_when_its_daemon_is_rolled_and_finds_what_is_mounted() {
    let world = World::with_nodes(1).await;
    // By a proxy and an authority in a ConfigMap, as in a cluster that has no other way to AWS.
    let way = AwsWay {
        proxy: format!("http://{}", world.site.endpoint.address()),
        trust_pem: world.site.ca.certificate_pem().to_owned(),
        region: REGION.to_owned(),
    };
    world.install_by(1, Some(&way)).await;
    world.tenant().await;
    world.pod("before", "app/own").await;
    world.runs("before").await;
    let file = world.file("before").await;

    let set = ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), DRIVER.0);
    let rolled = json!({ "spec": { "template": { "metadata": { "annotations": { "rolled": "yes" } } } } });
    let former = world.log_of(DRIVER.0, "node-driver-registrar").await;
    world.kubernetes.merge(&set, &rolled).await.unwrap();
    world
        .site
        .until("another driver is registered", async || {
            let log = world.log_of(DRIVER.0, "node-driver-registrar").await;
            log.contains("is registered at") && log != former
        })
        .await;
    world.registered(1).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), VALUE, "it stays mounted");
    world.pod("after", "app/own").await;
    world.runs("after").await;

    let pod = ObjectRef::new("v1", "Pod", Some("default"), "before");
    world.kubernetes.delete(&pod).await.unwrap();
    world
        .site
        .until("the pod is gone", async || {
            world.kubernetes.is_gone(&pod).await.unwrap()
        })
        .await;
    assert!(
        !file.exists(),
        "the new driver has unmounted what the old one had mounted"
    );
    world.end().await;
}

#[tokio::test]
async fn a_container_with_wrong_arguments_does_not_stay_up_and_its_log_says_why() {
    let world = World::with_nodes(1).await;
    let labels = json!({ "app": "wrong" });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "wrong", "namespace": "kube-system" },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "driver", "image": "driver:1",
                "args": ["--endpoint=unix:///csi/csi.sock", "--nodeid=n", "--no-such-flag"] }] },
        } },
    });
    world.kubernetes.create(&set).await.unwrap();
    world
        .site
        .until("it has been started again and again", async || {
            let pods = world
                .kubernetes
                .list("v1", "Pod", Some("kube-system"), None)
                .await
                .unwrap();
            let status = pods
                .first()
                .map(|pod| pod["status"]["containerStatuses"][0].clone());
            status.is_some_and(|status| {
                status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                    && status["lastState"]["terminated"]["exitCode"] == 2
                    && status["restartCount"].as_u64() >= Some(2)
            })
        })
        .await;
    let log = world.log_of("wrong", "driver").await;
    assert!(
        log.contains("flag provided but not defined: -no-such-flag"),
        "{log}"
    );
    world.end().await;
}
