//! What kubelet does for a pod with a CSI volume, as the driver on its socket and the pod's watchers see it.
//!
//! Times are kubelet's own: the stand-in's pass [`FASTER`] times as fast. Only what comes too soon is wrong; how late
//! something may come depends on the machine.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mountproof_stand_ins::{
    kubelet::{Clock, Kubelet, KubeletConfig},
    rest::{ApiAccess, BearerToken},
};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    scripted::{Call, Ending, Root, Scripted, Sockets},
    support::{Cluster, NODE, PATIENCE, Server, tests},
};

tests![;
    with_kubelet:
        a_driver_that_registers_is_in_the_csi_node,
        a_volume_is_published_with_the_pods_identity_and_its_tokens,
        a_pod_with_its_volume_runs_and_its_events_say_how,
        a_final_error_is_told_in_one_event_and_tried_again_ever_later_on_a_clean_target,
        an_unavailable_driver_is_tried_again_on_the_target_as_it_is,
        a_pod_that_goes_is_unpublished_where_its_mount_may_be,
        a_running_pods_volume_is_published_again_after_a_minute_with_the_same_tokens,
        a_republish_that_fails_leaves_the_pod_running_and_its_files,
        without_requires_republish_a_volume_is_published_once,
        a_driver_that_is_not_registered_is_said_in_the_event
];

const FASTER: f64 = 20.0;
/// Kubelet resyncs a pod no sooner; then comes a republish.
const RESYNC: Duration = Duration::from_mins(1);
/// Longer than a few of those.
const LONG: Duration = Duration::from_mins(5);

/// A node with a driver of the test's own.
struct Stage {
    cluster: Cluster,
    node: String,
    image: String,
    /// How much faster than a real one its kubelet waits.
    faster: f64,
    name: String,
    driver: Scripted,
    sockets: Option<Sockets>,
    /// The stand-in, and its root.
    own: Option<(Kubelet, tempfile::TempDir)>,
}

impl Stage {
    /// With a driver that is registered, and asks to be called again.
    async fn set(cluster: Cluster, script: impl Fn(&str, usize) -> Ending + Send + Sync + 'static) -> Self {
        let mut stage = Self::unregistered(cluster, script, true).await;
        stage.register().await;
        stage
    }

    /// The driver's object is there, its sockets are not.
    async fn unregistered(
        cluster: Cluster,
        script: impl Fn(&str, usize) -> Ending + Send + Sync + 'static,
        republish: bool,
    ) -> Self {
        let (node, image, root, own, faster) = match cluster.server() {
            Server::Cluster(real) => {
                let root = Root {
                    kubelets: "/var/lib/kubelet".into(),
                    ours: real.kubelet.clone(),
                };
                (real.node.clone(), real.image.clone(), root, None, 1.0)
            }
            server => {
                let folder = tempfile::tempdir().unwrap();
                let access = ApiAccess {
                    url: server.url(),
                    ca_pem: server.ca_pem().to_owned(),
                    token: BearerToken::new(server.admin_token()),
                };
                let mut config = KubeletConfig::new(access, NODE, folder.path().to_owned());
                config.clock = Clock::faster(FASTER);
                let kubelet = Kubelet::start(config).await.unwrap();
                let root = Root {
                    kubelets: folder.path().to_owned(),
                    ours: folder.path().to_owned(),
                };
                (
                    NODE.to_owned(),
                    "i:1".to_owned(),
                    root,
                    Some((kubelet, folder)),
                    FASTER,
                )
            }
        };
        let name = format!("{}.contract.example", cluster.namespace);
        let object = json!({ "metadata": { "name": name }, "spec": {
            "podInfoOnMount": true, "attachRequired": false, "requiresRepublish": republish,
            "volumeLifecycleModes": ["Ephemeral"],
            "tokenRequests": [{ "audience": "sts.amazonaws.com" }, { "audience": "pods.eks.amazonaws.com" }],
        } });
        let made = cluster.post(DRIVERS, &object).await;
        assert_eq!(made.status, 201, "{}", made.text);
        Self {
            driver: Scripted::new(&name, &node, root, script),
            sockets: None,
            cluster,
            node,
            image,
            faster,
            name,
            own,
        }
    }

    async fn register(&mut self) {
        self.sockets = Some(self.driver.registered());
        let name = self.name.clone();
        let path = format!("/apis/storage.k8s.io/v1/csinodes/{}", self.node);
        self.cluster
            .eventually(&path, |answer| {
                let drivers = &answer.json()["spec"]["drivers"];
                let mut drivers = drivers.as_array().into_iter().flatten();
                drivers.any(|driver| driver["name"] == name)
            })
            .await;
    }

    /// Makes a pod with a volume of the driver; its uid.
    async fn pod(&self, name: &str) -> String {
        let pod = json!({ "metadata": { "name": name }, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "c", "image": self.image, "imagePullPolicy": "IfNotPresent", "volumeMounts": [
                { "name": "v", "mountPath": "/mnt/secrets-store", "readOnly": true }] }],
            "volumes": [{ "name": "v", "csi": {
                "driver": self.name, "readOnly": true, "volumeAttributes": { "secretProviderClass": "own" } } }],
        } });
        let made = self.cluster.post(&self.cluster.pods(), &pod).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// The calls to publish for a pod, once there are so many.
    async fn published(&self, pod: &str, calls: usize) -> Vec<Call> {
        let until = Instant::now() + LONG;
        loop {
            let mut seen = self.driver.of(pod);
            seen.retain(|call| call.method == "NodePublishVolume");
            if seen.len() >= calls {
                return seen;
            }
            assert!(Instant::now() < until, "{pod}: {} of {calls} calls", seen.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn unpublished(&self, pod: &str) -> usize {
        let calls = self.driver.of(pod);
        calls
            .iter()
            .filter(|call| call.method == "NodeUnpublishVolume")
            .count()
    }

    /// Deletes a pod, and waits until it is gone.
    async fn gone(&self, pod: &str) {
        let path = format!("{}/{pod}", self.cluster.pods());
        self.cluster.delete(&path, &json!({})).await;
        self.cluster
            .eventually(&path, |answer| answer.status == 404)
            .await;
    }

    async fn running(&self, pod: &str) -> Value {
        let path = format!("{}/{pod}", self.cluster.pods());
        let answer = self
            .cluster
            .eventually(&path, |answer| ready(&answer.json()))
            .await;
        answer.json()
    }

    /// The events about a pod with this reason.
    async fn events(&self, pod: &str, reason: &str) -> Vec<Value> {
        let list = self.cluster.get(&self.cluster.at("events")).await.json();
        let events = list["items"].as_array().unwrap().iter();
        let about =
            events.filter(|event| event["involvedObject"]["name"] == pod && event["reason"] == reason);
        about.cloned().collect()
    }

    /// The same, once there is one.
    async fn event(&self, pod: &str, reason: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.events(pod, reason).await.pop() {
                return event;
            }
            assert!(Instant::now() < until, "{pod} has no event {reason}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kubelet's time between two calls.
    fn pause(&self, calls: &[Call], after: usize) -> Duration {
        calls[after + 1]
            .at
            .duration_since(calls[after].at)
            .mul_f64(self.faster)
    }

    async fn end(self) {
        let path = format!("{DRIVERS}/{}", self.name);
        self.cluster.delete(&path, &json!({})).await;
        drop(self.sockets);
        if let Some((kubelet, _)) = self.own {
            kubelet.stop().await;
        }
    }
}

const DRIVERS: &str = "/apis/storage.k8s.io/v1/csidrivers";

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn context(call: &Call) -> &std::collections::HashMap<String, String> {
    &call.request.as_ref().unwrap().volume_context
}

fn tokens(call: &Call) -> BTreeMap<String, Value> {
    serde_json::from_str(&context(call)["csi.storage.k8s.io/serviceAccount.tokens"]).unwrap()
}

async fn a_driver_that_registers_is_in_the_csi_node(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, _| Ending::Mounted).await;
    let path = format!("/apis/storage.k8s.io/v1/csinodes/{}", stage.node);
    let node = stage.cluster.get(&path).await.json();
    let drivers = node["spec"]["drivers"].as_array().unwrap();
    let ours = drivers
        .iter()
        .find(|driver| driver["name"] == stage.name)
        .unwrap();
    assert_eq!(ours["nodeID"], stage.node);
    stage.end().await;
}

async fn a_volume_is_published_with_the_pods_identity_and_its_tokens(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, _| Ending::Mounted).await;
    let uid = stage.pod("p").await;
    let call = stage.published("p", 1).await.remove(0);
    let request = call.request.as_ref().unwrap();
    assert!(request.readonly && request.secrets.is_empty() && request.publish_context.is_empty());
    assert!(request.staging_target_path.is_empty());
    let capability = request.volume_capability.as_ref().unwrap();
    // SINGLE_NODE_WRITER, for an ephemeral volume has no other mode to name.
    assert_eq!(capability.access_mode.as_ref().unwrap().mode, 1);
    assert!(
        request
            .target_path
            .ends_with(&format!("/pods/{uid}/volumes/kubernetes.io~csi/v/mount")),
        "{}",
        request.target_path
    );
    // `csi-` and a SHA-256 in hexadecimal.
    assert!(
        request.volume_id.starts_with("csi-") && request.volume_id.len() == 68,
        "{}",
        request.volume_id
    );
    assert!(!call.target_exists, "the target is the driver's to make");

    let context = context(&call);
    let mut keys: Vec<&str> = context.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "csi.storage.k8s.io/ephemeral",
            "csi.storage.k8s.io/pod.name",
            "csi.storage.k8s.io/pod.namespace",
            "csi.storage.k8s.io/pod.uid",
            "csi.storage.k8s.io/serviceAccount.name",
            "csi.storage.k8s.io/serviceAccount.tokens",
            "secretProviderClass",
        ]
    );
    for (key, value) in [
        ("ephemeral", "true"),
        ("pod.name", "p"),
        ("pod.namespace", &stage.cluster.namespace),
        ("pod.uid", &uid),
        ("serviceAccount.name", "default"),
    ] {
        assert_eq!(context[&format!("csi.storage.k8s.io/{key}")], value, "{key}");
    }
    let account = stage
        .cluster
        .get(&stage.cluster.at("serviceaccounts/default"))
        .await
        .json();
    let tokens = tokens(&call);
    assert_eq!(
        tokens.keys().collect::<Vec<_>>(),
        ["pods.eks.amazonaws.com", "sts.amazonaws.com"]
    );
    for (audience, token) in tokens {
        assert!(
            token["expirationTimestamp"]
                .as_str()
                .is_some_and(|time| time.ends_with('Z')),
            "{audience}"
        );
        let part = token["token"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(claims["aud"], json!([audience]));
        assert_eq!(claims["iss"], stage.cluster.server().issuer());
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            3600
        );
        assert_eq!(
            claims["sub"],
            format!("system:serviceaccount:{}:default", stage.cluster.namespace)
        );
        let bound = &claims["kubernetes.io"];
        assert_eq!(bound["pod"], json!({ "name": "p", "uid": uid }));
        assert_eq!(
            bound["serviceaccount"],
            json!({ "name": "default", "uid": account["metadata"]["uid"] })
        );
        assert_eq!(bound["node"]["name"], stage.node);
    }
    stage.gone("p").await;
    stage.end().await;
}

async fn a_pod_with_its_volume_runs_and_its_events_say_how(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, _| Ending::Mounted).await;
    stage.pod("p").await;
    let pod = stage.running("p").await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["spec"]["nodeName"], stage.node);
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&container["ready"], &container["restartCount"]),
        (&json!(true), &json!(0))
    );
    assert!(
        container["state"]["running"]["startedAt"].is_string(),
        "{container}"
    );
    let scheduled = stage.event("p", "Scheduled").await;
    assert_eq!(
        scheduled["message"],
        format!(
            "Successfully assigned {}/p to {}",
            stage.cluster.namespace, stage.node
        )
    );
    for (reason, begins) in [
        ("Pulled", "Container image "),
        ("Created", "Container created"),
        ("Started", "Container started"),
    ] {
        let event = stage.event("p", reason).await;
        let message = event["message"].as_str().unwrap();
        assert!(message.starts_with(begins), "{reason}: {message}");
        assert_eq!(
            event["involvedObject"]["fieldPath"], "spec.containers{c}",
            "{reason}"
        );
        assert_eq!(event["type"], "Normal", "{reason}");
    }
    assert!(stage.events("p", "FailedMount").await.is_empty());
    stage.gone("p").await;
    stage.end().await;
}

async fn a_final_error_is_told_in_one_event_and_tried_again_ever_later_on_a_clean_target(cluster: Cluster) {
    let refused = |_: &str, _| Ending::Refused(Status::unknown("failed to mount, err: boom"));
    let stage = Stage::set(cluster, refused).await;
    stage.pod("p").await;
    let calls = stage.published("p", 5).await;
    for (number, sooner) in [500, 1000, 2000, 4000].into_iter().enumerate() {
        let pause = stage.pause(&calls, number);
        assert!(
            pause >= Duration::from_millis(sooner),
            "retry {number} after {pause:?}"
        );
    }
    assert!(
        calls.iter().all(|call| !call.target_exists),
        "kubelet removes it after a final error"
    );
    // Counted up, not told again.
    let until = Instant::now() + PATIENCE;
    let event = loop {
        let events = stage.events("p", "FailedMount").await;
        assert!(events.len() <= 1, "{events:?}");
        if let Some(event) = events
            .into_iter()
            .find(|event| event["count"].as_u64() >= Some(3))
        {
            break event;
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["source"]["component"], "kubelet");
    assert_eq!(
        event["message"],
        "MountVolume.SetUp failed for volume \"v\" : rpc error: code = Unknown desc = failed to mount, err: boom"
    );
    let pod = stage
        .cluster
        .get(&format!("{}/p", stage.cluster.pods()))
        .await
        .json();
    assert_eq!(pod["status"]["phase"], "Pending");
    let log = stage
        .cluster
        .get(&format!("{}/p/log", stage.cluster.pods()))
        .await;
    assert_eq!(
        (log.status.as_u16(), &log.json()["message"]),
        (
            400,
            &json!("container \"c\" in pod \"p\" is waiting to start: ContainerCreating")
        )
    );
    stage.gone("p").await;
    stage.end().await;
}

async fn an_unavailable_driver_is_tried_again_on_the_target_as_it_is(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, number| match number {
        1 | 2 => Ending::Refused(Status::unavailable("not now")),
        _ => Ending::Mounted,
    })
    .await;
    stage.pod("p").await;
    stage.running("p").await;
    let found: Vec<bool> = stage
        .driver
        .of("p")
        .iter()
        .take(3)
        .map(|call| call.target_exists)
        .collect();
    assert_eq!(found, [false, true, true], "that error is not final");
    stage.gone("p").await;
    stage.end().await;
}

async fn a_pod_that_goes_is_unpublished_where_its_mount_may_be(cluster: Cluster) {
    let stage = Stage::set(cluster, |pod, _| match pod {
        "refused" => Ending::Refused(Status::unknown("no")),
        "in-doubt" => Ending::Refused(Status::unavailable("not now")),
        _ => Ending::Mounted,
    })
    .await;
    for (pod, unpublished) in [("mounted", 1), ("in-doubt", 1), ("refused", 0)] {
        stage.pod(pod).await;
        stage.published(pod, 1).await;
        if pod == "mounted" {
            stage.running(pod).await;
        } else {
            // Between two tries, so that none is under way when the pod goes.
            stage.published(pod, 2).await;
        }
        stage.gone(pod).await;
        assert_eq!(stage.unpublished(pod).min(1), unpublished, "{pod}");
    }
    stage.end().await;
}

async fn a_running_pods_volume_is_published_again_after_a_minute_with_the_same_tokens(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, _| Ending::Mounted).await;
    stage.pod("p").await;
    stage.running("p").await;
    // The second comes while the pod starts.
    let calls = stage.published("p", 3).await;
    let pause = stage.pause(&calls, 1);
    assert!(pause >= RESYNC, "published again after {pause:?}");
    assert!(calls[1].target_exists && calls[2].target_exists);
    assert_eq!(
        tokens(&calls[0]),
        tokens(&calls[2]),
        "kept until most of their time is over"
    );
    assert_eq!(
        calls[0].request.as_ref().unwrap().volume_id,
        calls[2].request.as_ref().unwrap().volume_id
    );
    stage.gone("p").await;
    stage.end().await;
}

async fn a_republish_that_fails_leaves_the_pod_running_and_its_files(cluster: Cluster) {
    let stage = Stage::set(cluster, |_, number| match number {
        1 => Ending::Mounted,
        _ => Ending::Refused(Status::unknown("republish refused")),
    })
    .await;
    stage.pod("p").await;
    stage.running("p").await;
    let calls = stage.published("p", 4).await;
    let found: Vec<bool> = calls.iter().map(|call| call.target_exists).collect();
    assert_eq!(&found[..4], [false, true, true, true]);
    let event = stage.event("p", "FailedMount").await;
    assert_eq!(
        event["message"],
        "MountVolume.SetUp failed for volume \"v\" : rpc error: code = Unknown desc = republish refused"
    );
    let pod = stage
        .cluster
        .get(&format!("{}/p", stage.cluster.pods()))
        .await
        .json();
    assert!(ready(&pod), "{}", pod["status"]);
    stage.gone("p").await;
    stage.end().await;
}

async fn without_requires_republish_a_volume_is_published_once(cluster: Cluster) {
    let mut stage = Stage::unregistered(cluster, |_, _| Ending::Mounted, false).await;
    stage.register().await;
    stage.pod("p").await;
    stage.running("p").await;
    // What would be the republish of the start.
    tokio::time::sleep(Duration::from_secs(3).div_f64(stage.faster)).await;
    assert_eq!(stage.published("p", 1).await.len(), 1);
    stage.gone("p").await;
    assert_eq!(stage.unpublished("p"), 1);
    stage.end().await;
}

async fn a_driver_that_is_not_registered_is_said_in_the_event(cluster: Cluster) {
    let mut stage = Stage::unregistered(cluster, |_, _| Ending::Mounted, true).await;
    stage.pod("p").await;
    let event = stage.event("p", "FailedMount").await;
    assert_eq!(
        event["message"],
        format!(
            "MountVolume.SetUp failed for volume \"v\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: \
             driver name {} not found in the list of registered CSI drivers",
            stage.name
        )
    );
    // It comes, and the pod runs.
    stage.register().await;
    stage.running("p").await;
    stage.gone("p").await;
    stage.end().await;
}
