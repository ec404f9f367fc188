//! Our kubelet against a recording of a real one: the same scripted driver, the same pods.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use jiff::Timestamp;
use mountproof_stand_ins::kubelet::{Clock, Kubelet, KubeletConfig, schedule};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    fakes::{FakeApi, eventually},
    scripted::{Call, Ending, Root, Scripted},
};

const DRIVER: &str = "secrets-store.csi.k8s.io";
const PODS: [&str; 8] = [
    "ok-1",
    "unknown-1",
    "unavailable-1",
    "slow-1",
    "third-1",
    "remountfail-1",
    "delay-5-1",
    "delay-250-1",
];

/// Kubelet's clock in these tests: the recording's six minutes in four seconds.
const FACTOR: f64 = 100.0;

/// The driver of the recording: a pod's name says how its calls end.
fn recorded_driver(root: &Path) -> Scripted {
    let root = Root {
        kubelets: root.to_owned(),
        ours: root.to_owned(),
    };
    Scripted::new(DRIVER, "kind-control-plane", root, |pod, number| {
        match pod.split_once('-').unwrap() {
            ("unknown", _) => {
                let text = "failed to mount secrets store objects for pod x/unknown-1, err: boom";
                Ending::Refused(Status::unknown(text))
            }
            ("unavailable", _) => Ending::Refused(Status::unavailable("not now")),
            ("slow", _) if number == 1 => Ending::Never,
            ("third", _) if number < 3 => {
                let text = format!("failed to mount secrets store objects, try {number}");
                Ending::Refused(Status::unknown(text))
            }
            ("remountfail", _) if number > 1 => Ending::Refused(Status::unknown("republish refused")),
            ("delay", rest) => {
                let delay = rest.split('-').next().unwrap().parse::<f64>().unwrap() / FACTOR;
                Ending::After(Duration::from_secs_f64(delay / 1000.0))
            }
            _ => Ending::Mounted,
        }
    })
}

fn csi_driver() -> Value {
    json!({"metadata": {"name": DRIVER}, "spec": {
        "podInfoOnMount": true, "requiresRepublish": true, "volumeLifecycleModes": ["Ephemeral"],
        "tokenRequests": [{"audience": "sts.amazonaws.com"}, {"audience": "pods.eks.amazonaws.com"}],
    }})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "serviceAccountName": "default",
        "containers": [{"name": "c", "image": "localhost/busybox:1", "volumeMounts": [
            {"name": "secrets-store-inline", "mountPath": "/mnt/secrets-store", "readOnly": true}]}],
        "volumes": [{"name": "secrets-store-inline", "csi": {
            "driver": DRIVER, "readOnly": true,
            "volumeAttributes": {"secretProviderClass": "team-red-secret"}}}],
    }})
}

/// The recording, line by line.
fn recording() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/kubernetes-recordings/kubelet-1.36.3.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn recorded(pod: &str, source: &str) -> Vec<Value> {
    let lines = recording().into_iter();
    lines
        .filter(|line| line["pod"] == pod && line["source"] == source)
        .collect()
}

/// Conditions and container states of a pod's status, as far as they do not tell the time.
fn shape(conditions: &Value, containers: &Value) -> Value {
    let conditions = conditions.as_array().unwrap().iter();
    let conditions: Vec<Value> = conditions
        .map(|one| json!([one["type"], one["status"], one["reason"], one["message"]]))
        .collect();
    let containers = containers.as_array().cloned().unwrap_or_default();
    let containers: Vec<Value> = containers
        .iter()
        .map(|one| {
            let state: Vec<&String> = one["state"].as_object().unwrap().keys().collect();
            let mount = &one["volumeMounts"][0];
            json!([
                one["name"],
                state,
                one["ready"],
                one["started"],
                one["image"],
                mount
            ])
        })
        .collect();
    json!([conditions, containers])
}

/// Statuses in order, each once however often it was delivered.
fn shapes(statuses: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut shapes: Vec<Value> = statuses.collect();
    shapes.dedup();
    shapes
}

/// Events as (reason, message, last count).
fn events(changes: impl Iterator<Item = Value>) -> BTreeSet<(String, String)> {
    let changes = changes.filter(|event| event["reason"] != "Killing");
    changes
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            (text("reason"), text("message"))
        })
        .collect()
}

/// Kubelet publishes again when it is told to, as often as it is told, and not for a driver that does not ask for it.
#[tokio::test]
async fn publishes_again_when_told_to() {
    for asks in [true, false] {
        let api = FakeApi::start().await;
        let root = tempfile::tempdir().unwrap();
        let driver = recorded_driver(root.path());
        let mut config = KubeletConfig::new(api.access(), "kind-control-plane", root.path().to_owned());
        config.clock = Clock::faster(FACTOR);
        let mut object = csi_driver();
        object["spec"]["requiresRepublish"] = asks.into();
        api.create("/apis/storage.k8s.io/v1/csidrivers", object);
        let kubelet = Kubelet::start(config).await.unwrap();
        let hand = kubelet.hand();
        assert_eq!(
            hand.republish("nobody").await,
            Err("kubelet has no pod nobody".to_owned())
        );
        let _sockets = driver.registered();
        eventually("the driver is registered", || kubelet.has_driver(DRIVER)).await;
        let made = api.create("/api/v1/namespaces/default/pods", pod("ok-1"));
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        eventually("the pod is mounted", || !driver.of("ok-1").is_empty()).await;
        let before = driver.of("ok-1").len();
        for _ in 0..3 {
            let told = hand.republish(&uid).await;
            assert_eq!(told.is_ok(), asks, "{told:?}");
        }
        let more = driver.of("ok-1").len() - before;
        assert!(if asks { more >= 3 } else { more == 0 }, "{more} more");
        kubelet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_the_recording() {
    let api = FakeApi::start().await;
    let root = tempfile::tempdir().unwrap();
    let driver = recorded_driver(root.path());
    let mut config = KubeletConfig::new(api.access(), "kind-control-plane", root.path().to_owned());
    config.clock = Clock::faster(FACTOR);
    config.publish_deadline = Duration::from_mins(2).div_f64(FACTOR);
    api.create("/apis/storage.k8s.io/v1/csidrivers", csi_driver());
    let kubelet = Kubelet::start(config).await.unwrap();
    let _sockets = driver.registered();
    eventually("the driver is registered", || kubelet.has_driver(DRIVER)).await;
    let node = api
        .object("/apis/storage.k8s.io/v1/csinodes/kind-control-plane")
        .unwrap();
    assert_eq!(node["spec"]["drivers"][0]["nodeID"], "kind-control-plane");

    let pods = "/api/v1/namespaces/default/pods";
    for name in PODS {
        api.create(pods, pod(name));
    }
    for name in PODS {
        let calls = recorded(name, "csi");
        let calls = calls
            .iter()
            .filter(|call| call["method"] == "NodePublishVolume")
            .count();
        eventually(&format!("{name} has the recorded {calls} calls"), || {
            driver.of(name).len() >= calls
        })
        .await;
    }
    // The recording deletes three pods; which of them get an unpublish?
    for name in ["ok-1", "unknown-1", "unavailable-1"] {
        api.delete_pod(&format!("{pods}/{name}"));
    }
    for name in ["ok-1", "unknown-1", "unavailable-1"] {
        let path = format!("{pods}/{name}");
        eventually(&format!("{name} is gone"), || api.object(&path).is_none()).await;
    }
    kubelet.stop().await;

    for name in PODS {
        check_calls(name, &driver.of(name));
        let ours = api.changes(&format!("/pods/{name}")).into_iter();
        let ours = ours.filter(|(kind, _)| kind == "MODIFIED").map(|(_, pod)| pod);
        let ours =
            shapes(ours.map(|pod| shape(&pod["status"]["conditions"], &pod["status"]["containerStatuses"])));
        let theirs = recorded(name, "pod")
            .into_iter()
            .filter(|line| line["type"] == "MODIFIED");
        let theirs = shapes(theirs.map(|line| shape(&line["conditions"], &line["containerStatuses"])));
        assert_eq!(ours, theirs, "{name}: statuses in order");
        check_events(&api, name);
    }
    api.stop().await;
}

/// The sequence of calls, what stood at the target each time, and the first call's request.
fn check_calls(name: &str, ours: &[Call]) {
    let theirs = recorded(name, "csi");
    let publishes: Vec<bool> = theirs
        .iter()
        .filter(|call| call["method"] == "NodePublishVolume")
        .map(|call| !call["note"].as_str().unwrap().contains("target absent"))
        .collect();
    let own: Vec<bool> = ours
        .iter()
        .filter(|call| call.method == "NodePublishVolume")
        .map(|call| call.target_exists)
        .collect();
    assert_eq!(
        own[..publishes.len()],
        publishes,
        "{name}: what stood at the target"
    );
    let unpublished = theirs
        .iter()
        .filter(|call| call["method"] == "NodeUnpublishVolume");
    let own = ours.iter().filter(|call| call.method == "NodeUnpublishVolume");
    assert_eq!(own.count(), unpublished.count(), "{name}: unpublished");

    let request = ours[0].request.as_ref().unwrap();
    let their_request = &theirs[0]["request"];
    let capability = request.volume_capability.as_ref().unwrap();
    assert_eq!(capability.access_mode.as_ref().unwrap().mode, 1);
    assert_eq!(their_request["volume_capability"]["access_mode"]["mode"], 1);
    assert_eq!(json!(request.readonly), their_request["readonly"]);
    assert!(request.secrets.is_empty());
    let their_context = their_request["volume_context"].as_object().unwrap();
    let keys = |keys: Vec<&String>| keys.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        keys(request.volume_context.keys().collect()),
        keys(their_context.keys().collect())
    );
    for key in ["ephemeral", "pod.name", "pod.namespace", "serviceAccount.name"] {
        let key = format!("csi.storage.k8s.io/{key}");
        assert_eq!(json!(request.volume_context[&key]), their_context[&key], "{name}");
    }
    let uid = &request.volume_context["csi.storage.k8s.io/pod.uid"];
    assert!(request.target_path.ends_with(&format!(
        "/pods/{uid}/volumes/kubernetes.io~csi/secrets-store-inline/mount"
    )));
    assert_eq!(
        request.volume_id.len(),
        their_request["volume_id"].as_str().unwrap().len()
    );

    let tokens = |call: &Call| {
        let context = &call.request.as_ref().unwrap().volume_context;
        context["csi.storage.k8s.io/serviceAccount.tokens"].clone()
    };
    let first: BTreeMap<String, Value> = serde_json::from_str(&tokens(&ours[0])).unwrap();
    let their_tokens = their_context["csi.storage.k8s.io/serviceAccount.tokens"]
        .as_object()
        .unwrap();
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        their_tokens.keys().collect::<Vec<_>>()
    );
    for (audience, token) in &first {
        // Our fake API server's tokens are the request they were made for.
        let asked = token["token"].as_str().unwrap().strip_prefix("token ").unwrap();
        let asked: Value = serde_json::from_str(asked).unwrap();
        assert_eq!(
            asked["audiences"],
            their_tokens[audience]["decoded"]["claims"]["aud"]
        );
        assert_eq!(asked["boundObjectRef"]["kind"], "Pod");
        assert_eq!(asked["boundObjectRef"]["uid"], json!(uid));
    }
    let publishes = ours.iter().filter(|call| call.method == "NodePublishVolume");
    assert!(
        publishes.into_iter().all(|call| tokens(call) == tokens(&ours[0])),
        "{name}: tokens are kept"
    );
}

/// Texts, and one object for each text, counted up.
fn check_events(api: &FakeApi, name: &str) {
    let theirs = recorded(name, "event")
        .into_iter()
        .map(|line| line["event"].clone());
    let path = format!("/events/{name}.");
    let ours = api.changes(&path).into_iter().map(|(_, event)| event);
    assert_eq!(events(ours), events(theirs), "{name}: events");
    let mut once = BTreeSet::new();
    for event in api.objects(&path) {
        let message = event["message"].as_str().unwrap().to_owned();
        assert!(once.insert(message.clone()), "{name}: two objects for {message}");
        let same = recorded(name, "event")
            .into_iter()
            .map(|line| line["event"].clone());
        let same: Vec<Value> = same
            .filter(|other| other["message"] == event["message"])
            .collect();
        if let Some(last) = same.last() {
            assert!(
                event["count"].as_u64() >= last["count"].as_u64(),
                "{name}: {message}"
            );
            for key in [
                "type",
                "reportingComponent",
                "reportingInstance",
                "source",
                "eventTime",
            ] {
                assert_eq!(event[key], last[key], "{name}: {key} of {message}");
            }
            assert_eq!(
                event["involvedObject"]["fieldPath"],
                last["involvedObject"]["fieldPath"]
            );
        }
    }
}

fn seconds(line: &Value) -> f64 {
    let at: Timestamp = line["at"].as_str().unwrap().parse().unwrap();
    at.as_duration().as_secs_f64()
}

fn publish_times(pod: &str) -> Vec<f64> {
    let calls = recorded(pod, "csi").into_iter();
    let calls = calls.filter(|call| call["method"] == "NodePublishVolume");
    calls.map(|call| seconds(&call)).collect()
}

/// The pure schedule against the recorded times: each gap within a reconciler's period and what a
/// call takes.
#[test]
fn schedule_of_retries_is_the_recorded_one() {
    for (pod, first_failing) in [("unknown-1", 0), ("unavailable-1", 0), ("remountfail-1", 1)] {
        let times = &publish_times(pod)[first_failing..];
        let mut backoff = schedule::Backoff::default();
        for (number, pair) in times.windows(2).enumerate() {
            let failed = Duration::from_secs_f64(pair[0] - times[0]);
            let ours = backoff.retry_at(failed).as_secs_f64() - failed.as_secs_f64();
            let theirs = pair[1] - pair[0];
            assert!(
                (ours - theirs).abs() < 0.16,
                "{pod}, retry {number}: {ours} s, recorded {theirs} s"
            );
        }
        assert!(times.len() > 10, "the recording reaches the longest pause");
    }
}

#[test]
fn schedule_of_republishing_is_the_recorded_one() {
    let (shortest, longest) = (schedule::resync_after(0.0), schedule::resync_after(1.0));
    let mut gaps = 0;
    for pod in ["ok-1", "slow-1", "third-1", "delay-5-1", "delay-250-1"] {
        for pair in publish_times(pod).windows(2) {
            let gap = pair[1] - pair[0];
            // Shorter ones are the start of the pod; the longest is the call that timed out.
            if (10.0..119.0).contains(&gap) {
                gaps += 1;
                let range = shortest.as_secs_f64()..longest.as_secs_f64() + 0.5;
                assert!(range.contains(&gap), "{pod}: {gap} s");
            }
        }
    }
    assert_eq!(gaps, 21, "republishes recorded");
}

/// From the publish to the next one of a starting pod: the wait, the runtime, the reconciler.
#[test]
fn schedule_of_a_starting_pod_is_the_recorded_one() {
    let runtime: Duration = schedule::RUNTIME.iter().sum();
    for (pod, answered) in [
        ("ok-1", 5),
        ("delay-5-1", 5),
        ("delay-250-1", 250),
        ("remountfail-1", 5),
    ] {
        let times = publish_times(pod);
        let synced = Duration::from_millis(1020);
        let first = schedule::first_publish(synced);
        let mounted = first + Duration::from_millis(answered);
        let second = schedule::reconcile_at(schedule::wait_ends(synced, mounted) + runtime);
        let ours = second.as_secs_f64() - first.as_secs_f64();
        let theirs = times[1] - times[0];
        assert!(
            (ours - theirs).abs() < 0.2,
            "{pod}: {ours} s, recorded {theirs} s"
        );
    }
}

#[tokio::test]
async fn what_keeps_a_pod_from_mounting_is_told_in_its_event() {
    let api = FakeApi::start().await;
    let root = tempfile::tempdir().unwrap();
    let mut config = KubeletConfig::new(api.access(), "node", root.path().to_owned());
    config.clock = Clock::faster(FACTOR);
    config.max_pods = 2;
    let kubelet = Kubelet::start(config).await.unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    let said = |text: &'static str| {
        let api = &api;
        async move {
            eventually(text, || {
                let events = api.objects("/events/");
                events
                    .iter()
                    .any(|event| event["message"].as_str().unwrap() == text)
            })
            .await;
        }
    };
    api.create(pods, pod("a"));
    said("MountVolume.NewMounter initialization failed for volume \"secrets-store-inline\" : volume mode \"Ephemeral\" not supported by driver secrets-store.csi.k8s.io (no CSIDriver object)").await;
    api.create("/apis/storage.k8s.io/v1/csidrivers", csi_driver());
    said("MountVolume.SetUp failed for volume \"secrets-store-inline\" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers").await;
    api.create(pods, pod("b"));
    said("Successfully assigned default/b to node").await;
    api.create(pods, pod("c"));
    said("0/1 nodes are available: 1 Too many pods.").await;
    api.delete_pod(&format!("{pods}/a"));
    said("Successfully assigned default/c to node").await;
    kubelet.stop().await;
    api.stop().await;
}
