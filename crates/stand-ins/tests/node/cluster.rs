//! The whole node against the API server stand-in: from the pod's creation to its removal.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(
    clippy::print_stderr,
    reason = "says what was measured, where output is not captured"
)]

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    driver::{Driver, DriverConfig, NAME},
    kubelet::{Clock, Kubelet, KubeletConfig},
    kubernetes::{ApiServer, ApiServerConfig},
    provider::{Provider, ProviderConfig},
    rest::{ApiAccess, ApiClient, BearerToken, PatchKind},
};
use serde_json::{Value, json};

use crate::fakes::{FakeAws, assumed, eventually};

/// Pods per tenant; `MOUNTPROOF_TEST_PODS` makes a load test of it.
fn pods() -> usize {
    let given = std::env::var("MOUNTPROOF_TEST_PODS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(25)
}

fn crd(kind: &str) -> Value {
    let plural = format!("{}es", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.secrets-store.csi.x-k8s.io")},
        "spec": {
            "group": "secrets-store.csi.x-k8s.io", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

/// What became of the pods, counted by phase.
async fn phases(api: &ApiClient) -> HashMap<String, usize> {
    let list: Value = api.fetch("/api/v1/pods", None).await.unwrap();
    let mut phases = HashMap::new();
    for pod in list["items"].as_array().unwrap() {
        let phase = pod["status"]["phase"].as_str().unwrap_or("none").to_owned();
        *phases.entry(phase).or_default() += 1;
    }
    phases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pod_gets_its_tenants_secret_and_leaves_nothing() {
    let ca = RunCa::generate("test").unwrap();
    let server = ApiServer::start(ApiServerConfig::on_loopback(ca.clone()))
        .await
        .unwrap();
    let access = |user: &str| ApiAccess {
        url: server.url(),
        ca_pem: server.ca_pem().to_owned(),
        token: BearerToken::new(server.component_token(user).expose()),
    };
    let api = ApiClient::new(&access("admin"), "test").unwrap();
    for kind in ["SecretProviderClass", "SecretProviderClassPodStatus"] {
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        api.create(crds, &crd(kind)).await.unwrap();
    }
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": NAME}, "spec": {
        "podInfoOnMount": true, "attachRequired": false, "requiresRepublish": true,
        "volumeLifecycleModes": ["Ephemeral"], "tokenRequests": [{"audience": "sts.amazonaws.com"}]}});
    api.create("/apis/storage.k8s.io/v1/csidrivers", &driver)
        .await
        .unwrap();

    let aws = FakeAws::start(&ca, |call| {
        if call.host.starts_with("sts.") {
            let role = call
                .body
                .split("role%2F")
                .nth(1)
                .unwrap()
                .split('&')
                .next()
                .unwrap();
            return assumed(role);
        }
        let answer = json!({"VersionId": "v", "SecretString": format!("value of {}", call.access_key)});
        (200, answer.to_string())
    })
    .await;
    let root = tempfile::tempdir().unwrap();
    let providers = root.path().join("providers");
    let mut config = ProviderConfig::new(
        access("provider"),
        providers.clone(),
        ca.certificate_pem().to_owned(),
    );
    config.region = Some("us-east-1".to_owned());
    config.https_proxy = Some(aws.proxy);
    (config.qps, config.burst) = (10_000.0, 10_000);
    let provider = Provider::start(config).unwrap();
    let mut config = KubeletConfig::new(access("system:node:node"), "node", root.path().to_owned());
    config.clock = Clock::faster(10.0);
    let kubelet = Kubelet::start(config).await.unwrap();
    let mut config = DriverConfig::new(access("driver"), "node", root.path(), providers);
    (config.qps, config.burst) = (10_000.0, 10_000);
    let driver = Driver::start(config).await.unwrap();
    eventually("the driver is registered", || kubelet.has_driver(NAME)).await;

    let began = Instant::now();
    for tenant in ["red", "blue"] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}});
        api.create("/api/v1/namespaces", &namespace).await.unwrap();
        let path = format!("/api/v1/namespaces/{tenant}");
        let role = format!("arn:aws:iam::000000000000:role/{tenant}");
        let annotation = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": role}}});
        let account = format!("{path}/serviceaccounts/default");
        // The controller makes the account a moment after the namespace.
        while api.patch(&account, PatchKind::Merge, &annotation).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let classes =
            format!("/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{tenant}/secretproviderclasses");
        let class = json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
            "metadata": {"name": "own"}, "spec": {"provider": "aws", "parameters": {
                "objects": "- {objectName: secret, objectType: secretsmanager}"}}});
        api.create(&classes, &class).await.unwrap();
        for number in 0..pods() {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p-{number}")}, "spec": {
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "csi": {"driver": NAME, "readOnly": true,
                    "volumeAttributes": {"secretProviderClass": "own"}}}]}});
            api.create(&format!("{path}/pods"), &pod).await.unwrap();
        }
    }
    let all = 2 * pods();
    let limit = Duration::from_mins(2);
    while phases(&api).await.get("Running") != Some(&all) {
        assert!(began.elapsed() < limit, "{:?}", phases(&api).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ran = began.elapsed();
    let list: Value = api.fetch("/api/v1/pods", None).await.unwrap();
    for pod in list["items"].as_array().unwrap() {
        let tenant = pod["metadata"]["namespace"].as_str().unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let file = root
            .path()
            .join(format!("pods/{uid}/volumes/kubernetes.io~csi/v/mount/secret"));
        assert_eq!(fs::read_to_string(file).unwrap(), format!("value of {tenant}"));
    }
    for tenant in ["red", "blue"] {
        let path = format!("/api/v1/namespaces/{tenant}");
        api.delete(&path, &json!({"kind": "DeleteOptions", "apiVersion": "v1"}))
            .await
            .unwrap();
    }
    while !phases(&api).await.is_empty() {
        assert!(began.elapsed() < 2 * limit, "{:?}", phases(&api).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(fs::read_dir(root.path().join("pods")).unwrap().count(), 0);
    let memory = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default()
        .to_owned();
    eprintln!(
        "{all} pods ran after {ran:?}, were gone after {:?}, {peak}",
        began.elapsed()
    );
    kubelet.stop().await;
    driver.stop().await;
    provider.stop().await;
    server.stop().await;
}
