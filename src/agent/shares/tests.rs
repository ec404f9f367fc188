#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    agent::{
        Place,
        client::{Dial, Stream},
        serve::{Post, converse},
    },
    journal::EventKind,
    load::{
        csi_lens::{PodIdentity, PublishError, ServiceAccountTokens, VOLUME, tests::driver_at},
        histogram,
    },
    scenario::model::{Arrival, Lens, MountLoad},
    secret::SecretValue,
    verdict::files::Print,
};

const SOON: Duration = Duration::from_secs(20);

proptest! {
    #[test]
    fn every_mount_is_one_nodes_and_no_node_has_two_more_than_another(mounts in 0_usize..500, nodes in 1_usize..12) {
        let shares = dealt(mounts, nodes);
        let mut all: Vec<u32> = shares.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..u32::try_from(mounts).unwrap()).collect::<Vec<_>>());
        let sizes = shares.iter().map(Vec::len);
        prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        prop_assert!(shares.iter().all(|share| share.is_sorted()));
    }
}

/// A node with a driver, and an agent in a pod of this uid.
struct Node {
    folder: TempDir,
    /// Ends the agent's first conversation, as its death would.
    kill: CancellationToken,
    conversations: AtomicUsize,
}

const ANCHOR: &str = "00000000-aaaa-4000-8000-000000000000";

impl Node {
    fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        // Nobody asks what it was asked.
        drop(driver_at(&folder.path().join("csi.sock")));
        Arc::new(Self {
            folder,
            kill: CancellationToken::new(),
            conversations: AtomicUsize::new(0),
        })
    }

    fn place(&self) -> Place {
        let root = self.folder.path();
        Place {
            socket: root.join("csi.sock"),
            kubelet_root: root.join("kubelet"),
            pod_uid: Some(ANCHOR.to_owned()),
            scratch: root.to_owned(),
            provider_folders: Vec::new(),
        }
    }

    /// Names of the volumes that are there.
    fn volumes(&self) -> Vec<String> {
        let folder = self.folder.path().join("kubelet/pods").join(ANCHOR);
        let entries = fs::read_dir(folder.join("volumes/kubernetes.io~csi"));
        let entries = entries.into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

/// The way to the agent of a node.
struct Way(Arc<Node>);

impl Dial for Way {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, String>> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (post, kill) = (Post::at(self.0.place()), self.0.kill.clone());
        let first = self.0.conversations.fetch_add(1, Ordering::Relaxed) == 0;
        tokio::spawn(async move {
            tokio::select! {
                _ = converse(far, &post) => {}
                () = kill.cancelled(), if first => {}
            }
        });
        async move { Ok(Box::new(near) as Stream) }.boxed()
    }
}

fn agent(name: &str, node: &Arc<Node>) -> Agent {
    Agent::new(name, Arc::new(Way(Arc::clone(node))))
}

fn plan(pods: u32, rate: f64) -> MountPlan {
    let load = MountLoad {
        pods,
        warm_up: 4,
        rate,
        pod_rate: None,
        arrival: Arrival::Constant,
        lenses: vec![Lens::Csi],
        deadline: SOON,
    };
    let tenants = ["team-red".to_owned(), "team-blue".to_owned()];
    MountPlan::of(&load, Lens::Csi, &tenants, 41, ("mount-latency", "mount-latency")).unwrap()
}

fn job(namespace: &str, pod: &str, uid: &str) -> PublishJob {
    PublishJob {
        pod: PodIdentity {
            name: pod.to_owned(),
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
            service_account: "default".to_owned(),
        },
        class: "class".to_owned(),
        attributes: BTreeMap::new(),
        tokens: ServiceAccountTokens::new([("audience", "token", Timestamp::UNIX_EPOCH)]),
    }
}

/// The file that the driver of these tests writes, with the mode that files have here.
fn expected(folder: &Path) -> Vec<ExpectedPrint> {
    let probe = folder.join("probe");
    fs::write(&probe, "").unwrap();
    let mode = fs::metadata(&probe).unwrap().permissions().mode() & 0o7777;
    fs::remove_file(probe).unwrap();
    vec![ExpectedPrint {
        name: "secret".to_owned(),
        print: Print::of(&SecretValue::text("value")),
        mode,
        secret: "team-red/secret".to_owned(),
    }]
}

/// Shares of `plan` for these nodes.
fn shares(plan: &MountPlan, nodes: &[(&str, &Arc<Node>)]) -> Vec<NodeShare> {
    let expected = expected(nodes[0].1.folder.path());
    let whose: Vec<_> = plan
        .tenants
        .iter()
        .map(|tenant| (job(tenant, "", ""), expected.clone()))
        .collect();
    let pod = |index: u32| (format!("ok-{index}"), format!("uid-{index}"));
    let dealt = dealt(plan.starts.len(), nodes.len());
    nodes
        .iter()
        .zip(dealt)
        .map(|((name, node), indexes)| NodeShare::new(agent(name, node), plan, &indexes, &whose, pod))
        .collect()
}

#[tokio::test]
async fn shares_are_one_measurement_with_one_histogram() {
    let (one, two, three) = (Node::start(), Node::start(), Node::start());
    let plan = plan(60, 400.0);
    let events = Mutex::new(Vec::new());
    let emit = |event| events.lock().unwrap().push(event);
    let nodes = [("one", &one), ("two", &two), ("three", &three)];
    let shared = run_shares(&plan, shares(&plan, &nodes), &emit, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(
        (shared.finished.planned, shared.finished.ok),
        (64, 64),
        "{shared:?}"
    );
    assert!(shared.lost.is_empty() && shared.left.is_empty(), "{shared:?}");

    let events = events.into_inner().unwrap();
    let mut by_node: BTreeMap<String, usize> = BTreeMap::new();
    let mut slices = Vec::new();
    for event in events {
        match event {
            EventKind::MountFinished(mount) => *by_node.entry(mount.node.unwrap()).or_default() += 1,
            EventKind::HistogramRecorded(slice) => slices.push(slice),
            _ => {}
        }
    }
    let counts: Vec<usize> = by_node.into_values().collect();
    assert_eq!(counts, [22, 21, 21], "one, three, two");
    let merged = histogram::merge(&slices).unwrap();
    let samples = |tag: &str| {
        merged
            .iter()
            .find(|(name, _)| *name == tag)
            .map_or(0, |(_, found)| found.len())
    };
    assert_eq!((samples("warm-up"), samples("steady")), (4, 60));
    for node in [&one, &two, &three] {
        assert_eq!(node.volumes(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_an_agent_had_under_way_when_it_died_is_accounted_for_and_taken_down() {
    let (lives, dies) = (Node::start(), Node::start());
    let plan = plan(96, 300.0);
    let ended = AtomicUsize::new(0);
    let emit = |event| {
        if let EventKind::MountFinished(mount) = event
            && mount.node.as_deref() == Some("dies")
            && ended.fetch_add(1, Ordering::Relaxed) == 5
        {
            dies.kill.cancel();
        }
    };
    let nodes = [("lives", &lives), ("dies", &dies)];
    let shared = run_shares(&plan, shares(&plan, &nodes), &emit, &CancellationToken::new())
        .await
        .unwrap();
    let done = &shared.finished;
    assert_eq!(
        done.planned,
        done.ok + done.failed + done.timed_out + done.dropped,
        "{done:?}"
    );
    assert!(done.ok >= 50 && done.failed + done.dropped > 0, "{done:?}");
    let lost: Vec<&str> = shared.lost.iter().map(|error| error.node.as_str()).collect();
    assert_eq!(lost, ["dies"]);
    assert!(
        done.errors
            .keys()
            .all(|error| error.contains("the agent on dies")),
        "{done:?}"
    );
    assert!(shared.left.is_empty(), "{shared:?}");
    for node in [&lives, &dies] {
        assert_eq!(
            node.volumes(),
            Vec::<String>::new(),
            "an agent after it takes down what it published"
        );
    }
}

#[tokio::test]
async fn an_interrupted_measurement_drops_what_was_not_sent() {
    let node = Node::start();
    let plan = plan(96, 10.0);
    let interrupt = CancellationToken::new();
    let emit = |event| {
        if matches!(event, EventKind::MountFinished(_)) {
            interrupt.cancel();
        }
    };
    let shared = run_shares(&plan, shares(&plan, &[("one", &node)]), &emit, &interrupt)
        .await
        .unwrap();
    assert!(
        shared.finished.dropped > 0 && shared.lost.is_empty(),
        "{shared:?}"
    );
    assert_eq!(
        shared.finished.planned,
        shared.finished.ok + shared.finished.dropped,
        "{shared:?}"
    );
    assert_eq!(node.volumes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_that_cannot_reach_its_driver_is_found_out_before_anything_is_mounted() {
    let node = Node::start();
    fs::remove_file(node.folder.path().join("csi.sock")).unwrap();
    let plan = plan(4, 10.0);
    let emit = |event| panic!("{event:?}");
    let error = run_shares(
        &plan,
        shares(&plan, &[("one", &node)]),
        &emit,
        &CancellationToken::new(),
    )
    .await
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the agent on one: it cannot reach the driver"),
        "{error}"
    );
}

#[tokio::test]
async fn single_volumes_are_published_looked_at_and_taken_down_through_an_agent() {
    let node = Node::start();
    let agent = agent("one", &node);
    agent.hello().await.unwrap();
    let uid = "626ea22a-18c1-460b-b11f-16518162d482";
    agent.publish(&job("team-red", "ok-1", uid), SOON).await.unwrap();
    agent.begun(uid, SOON).await.unwrap();
    let looked = agent.look(uid).await.unwrap();
    let expected: Vec<_> = expected(node.folder.path())
        .into_iter()
        .map(|file| (file.name, file.print))
        .collect();
    let seen: Vec<_> = looked
        .files
        .into_iter()
        .map(|file| (file.name, file.print))
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(
        node.volumes(),
        [format!("{VOLUME}-{uid}")],
        "beside those of the agent's own pod"
    );

    let refused = agent
        .publish(&job("team-red", "denied", "uid-denied"), SOON)
        .await
        .unwrap_err();
    assert!(
        refused.is_final() && refused.to_string().starts_with("Unknown: failed to mount"),
        "{refused}"
    );
    let slow = agent
        .publish(&job("team-red", "slow", "uid-slow"), Duration::from_millis(20))
        .await;
    assert!(matches!(slow, Err(PublishError::TimedOut(_))), "{slow:?}");

    let uids = [uid, "uid-denied", "uid-slow", "uid-never"]
        .map(str::to_owned)
        .to_vec();
    let left = agent.unpublish(uids, SOON).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(node.volumes(), Vec::<String>::new());
}
