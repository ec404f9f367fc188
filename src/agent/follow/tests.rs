#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Mutex,
};

use futures::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::agent::{
    Place,
    client::{Dial, Stream, line_of},
    serve::{Post, converse},
};

const SOON: Duration = Duration::from_secs(20);

/// A node with an agent, whose conversations can be cut off.
struct Node {
    folder: TempDir,
    post: Mutex<Arc<Post>>,
    cut: Mutex<CancellationToken>,
}

impl Node {
    fn start() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("kubelet/pods")).unwrap();
        fs::create_dir(folder.path().join("providers")).unwrap();
        let post = Mutex::new(Self::post(folder.path()));
        Arc::new(Self {
            folder,
            post,
            cut: Mutex::default(),
        })
    }

    fn post(root: &Path) -> Arc<Post> {
        Arc::new(Post::at(Place {
            socket: root.join("csi.sock"),
            kubelet_root: root.join("kubelet"),
            pod_uid: None,
            scratch: root.to_owned(),
            provider_folders: vec![root.join("providers")],
        }))
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("csi.sock")
    }

    /// Cuts the conversation off that is under way.
    fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Ends the agent, and starts another in its place.
    fn replace_agent(&self) {
        *self.post.lock().unwrap() = Self::post(self.folder.path());
        self.cut();
    }

    /// Mounts something where the volume of a pod belongs; none where nobody may mount.
    fn mounts(&self, pod: &str) -> Option<PathBuf> {
        let volume = format!("kubelet/pods/{pod}/volumes/kubernetes.io~csi/secrets/mount");
        let target = self.folder.path().join(volume);
        fs::create_dir_all(&target).unwrap();
        mount("tmpfs", &target, "tmpfs", MountFlags::empty(), None).ok()?;
        Some(target)
    }
}

struct Way(Arc<Node>);

impl Dial for Way {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, String>> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (post, cut) = (
            self.0.post.lock().unwrap().clone(),
            self.0.cut.lock().unwrap().clone(),
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = converse(far, &post) => {}
                () = cut.cancelled() => {}
            }
        });
        async move { Ok(Box::new(near) as Stream) }.boxed()
    }
}

/// An agent that says what it is told to, whatever it is asked.
struct Says(Vec<Vec<u8>>);

impl Dial for Says {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, String>> {
        let (near, far): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
        let said = self.0.clone();
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            let listening = tokio::spawn(async move {
                let mut asked = Vec::new();
                // Whatever it is.
                let _ = read.read_to_end(&mut asked).await;
            });
            for line in said {
                if write.write_all(&line).await.is_err() {
                    return;
                }
            }
            listening.await.unwrap();
        });
        async move { Ok(Box::new(near) as Stream) }.boxed()
    }
}

/// Everything that was told.
#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Vec<FollowTold>>>);

impl Ears {
    fn follow(&self, dial: Arc<dyn Dial>) -> Followed {
        let heard = Arc::clone(&self.0);
        let told = Arc::new(move |told| heard.lock().unwrap().push(told));
        Followed::begin(Agent::new("n1", dial), told)
    }

    fn sights(&self) -> Vec<NodeSight> {
        let heard = self.0.lock().unwrap();
        let sights = heard.iter().filter_map(|told| match told {
            FollowTold::Saw(saw, _) => Some(saw.what.clone()),
            FollowTold::Pressed(_) => None,
        });
        sights.collect()
    }

    /// Waits until something is told that is so.
    async fn until(&self, is_so: impl Fn(&FollowTold) -> bool) {
        let deadline = Instant::now() + SOON;
        while !self.0.lock().unwrap().iter().any(&is_so) {
            assert!(Instant::now() < deadline, "told: {:#?}", self.0.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_sight(&self, is_so: impl Fn(&NodeSight) -> bool) {
        self.until(|told| matches!(told, FollowTold::Saw(saw, _) if is_so(&saw.what)))
            .await;
    }
}

fn is_lost(sight: &NodeSight) -> bool {
    matches!(sight, NodeSight::Lost { .. })
}

fn is_heard(sight: &NodeSight) -> bool {
    matches!(sight, NodeSight::Heard { .. })
}

fn pod(sight: &NodeSight) -> Option<&str> {
    sight.pod().map(|(pod, _)| pod)
}

#[tokio::test]
async fn sockets_and_volumes_of_the_runs_pods_are_told_and_nothing_of_any_other() {
    let node = Node::start();
    let first = UnixListener::bind(node.socket()).unwrap();
    let ears = Ears::default();
    let followed = ears.follow(Arc::new(Way(Arc::clone(&node))));
    ears.until_sight(|sight| matches!(sight, NodeSight::Watching { .. }))
        .await;
    fs::remove_file(node.socket()).unwrap();
    ears.until_sight(|sight| matches!(sight, NodeSight::SocketGone { .. }))
        .await;
    let second = UnixListener::bind(node.socket()).unwrap();
    ears.until_sight(|sight| matches!(sight, NodeSight::SocketThere { away_us: Some(_), .. }))
        .await;

    // Kubelet is quicker than whoever tells whose the pod is.
    if let (Some(ours), Some(others)) = (node.mounts("ours"), node.mounts("others")) {
        followed.settled(SOON).await;
        assert!(
            ears.sights().iter().all(|sight| pod(sight).is_none()),
            "{:?}",
            ears.sights()
        );
        followed.pod("ours".to_owned());
        followed.settled(SOON).await;
        unmount(&ours, UnmountFlags::empty()).unwrap();
        unmount(&others, UnmountFlags::empty()).unwrap();
        followed.settled(SOON).await;
        let (pod, volume) = ("ours".to_owned(), "secrets".to_owned());
        let mounted = NodeSight::Mounted {
            pod: pod.clone(),
            volume: volume.clone(),
        };
        assert_eq!(
            ears.sights()[3..],
            [mounted, NodeSight::Unmounted { pod, volume }]
        );
    }
    drop((first, second));
}

#[tokio::test]
async fn a_conversation_that_breaks_is_taken_up_again_and_misses_nothing() {
    let node = Node::start();
    let first = UnixListener::bind(node.socket()).unwrap();
    let ears = Ears::default();
    let followed = ears.follow(Arc::new(Way(Arc::clone(&node))));
    followed.settled(SOON).await;
    fs::remove_file(node.socket()).unwrap();
    followed.settled(SOON).await;
    node.cut();
    ears.until_sight(is_lost).await;
    let second = UnixListener::bind(node.socket()).unwrap();
    ears.until_sight(is_heard).await;
    followed.settled(SOON).await;
    let sights = ears.sights();
    let [
        NodeSight::Watching { sockets, blind },
        NodeSight::SocketGone { .. },
        NodeSight::Lost { for_good: false, .. },
        NodeSight::Heard {
            missed: Missed::Nothing,
            ..
        },
        NodeSight::SocketThere { away_us: Some(_), .. },
    ] = &sights[..]
    else {
        panic!("each once, in their order: {sights:#?}");
    };
    assert_eq!(sockets, &["driver csi.sock"]);
    assert!(blind.iter().all(|blind| blind.contains("/proc/")), "{blind:?}");
    drop((first, second));
}

#[tokio::test]
async fn an_agent_that_was_started_anew_does_not_know_what_it_missed_and_that_is_told() {
    let node = Node::start();
    let ears = Ears::default();
    let followed = ears.follow(Arc::new(Way(Arc::clone(&node))));
    followed.settled(SOON).await;
    node.replace_agent();
    ears.until_sight(is_heard).await;
    let unknown = |sight: &NodeSight| {
        matches!(
            sight,
            NodeSight::Heard {
                missed: Missed::Unknown,
                ..
            }
        )
    };
    assert!(ears.sights().iter().any(unknown), "{:#?}", ears.sights());
}

#[tokio::test]
async fn how_hard_pressed_a_node_is_is_told_of_a_measurement_and_of_nothing_else() {
    let node = Node::start();
    let ears = Ears::default();
    let followed = ears.follow(Arc::new(Way(Arc::clone(&node))));
    followed.settled(SOON).await;
    followed.measuring("m.csi");
    // A sample of less than a tenth of a second is none.
    tokio::time::sleep(SHORTEST_MEASUREMENT).await;
    followed.measured("m.csi");
    ears.until(|told| matches!(told, FollowTold::Pressed(_))).await;
    let told = ears.0.lock().unwrap().clone();
    let pressed: Vec<&NodePressed> = told
        .iter()
        .filter_map(|told| match told {
            FollowTold::Pressed(pressed) => Some(pressed),
            FollowTold::Saw(..) => None,
        })
        .collect();
    let [pressed] = pressed[..] else {
        panic!("once: {pressed:#?}");
    };
    assert_eq!(
        (pressed.measurement.as_str(), pressed.node.as_str()),
        ("m.csi", "n1")
    );
    assert!(pressed.samples > 0 && pressed.took_us > 0, "{pressed:?}");
    let busy = pressed.share(Pressure::CpuBusy).unwrap();
    assert!(
        busy.mean_permille <= busy.peak_permille && busy.peak_permille <= 1000,
        "{busy:?}"
    );
}

const SHORTEST_MEASUREMENT: Duration = Duration::from_millis(200);

#[test]
fn samples_of_a_measurement_are_weighed_by_their_time() {
    let mut samples = Samples::default();
    let sample = |seconds, permille| Sample {
        took: Duration::from_secs(seconds),
        shares: vec![(Pressure::CpuWaited, permille)],
    };
    for (seconds, permille) in [(1, 900), (3, 100), (0, 1000)] {
        samples.add(&sample(seconds, permille));
    }
    let pressed = samples.clone().of("m", "n");
    assert_eq!((pressed.samples, pressed.took_us), (3, 4_000_000));
    let share = pressed.share(Pressure::CpuWaited).unwrap();
    assert_eq!((share.mean_permille, share.peak_permille), (300, 1000));
    // A share is one, whoever says so, and a sample no year.
    samples.add(&sample(u64::MAX, u32::MAX));
    let share = *samples.of("m", "n").share(Pressure::CpuWaited).unwrap();
    assert!(
        share.mean_permille <= 1000 && share.peak_permille == 1000,
        "{share:?}"
    );
}

fn following(version: &str) -> Vec<u8> {
    line_of(&Answer::Following(Following {
        version: version.to_owned(),
        life: "life".to_owned(),
        oldest: 1,
        sockets: Vec::new(),
        blind: Vec::new(),
    }))
}

fn saw(numbers: std::ops::Range<u64>, what: &NodeSight) -> Vec<u8> {
    let sight = |number| Sight {
        number,
        at: Timestamp::UNIX_EPOCH,
        ago: Duration::ZERO,
        what: what.clone(),
    };
    line_of(&Answer::Saw(Saw {
        sights: numbers.map(sight).collect(),
        through: 0,
        mark: None,
    }))
}

#[tokio::test]
async fn an_agent_that_says_what_ours_would_not_is_followed_no_longer() {
    let ours = || following(env!("CARGO_PKG_VERSION"));
    let gone = |name: &str| NodeSight::SocketGone {
        socket: name.to_owned(),
    };
    let others = NodeSight::Mounted {
        pod: "somebody's".to_owned(),
        volume: "v".to_owned(),
    };
    let lost = NodeSight::Lost {
        because: "so it says".to_owned(),
        for_good: true,
    };
    let flood: Vec<Vec<u8>> = [ours()]
        .into_iter()
        .chain((0..251).map(|batch| saw(batch * 200..(batch + 1) * 200, &gone("s"))))
        .collect();
    let chatter: Vec<Vec<u8>> = std::iter::once(ours())
        .chain(std::iter::repeat_n(saw(0..0, &gone("s")), 200_000))
        .collect();
    for (what, said, because) in [
        (
            "another version",
            vec![following("0.0.9")],
            "it is of version 0.0.9",
        ),
        (
            "another's pod",
            vec![ours(), saw(1..2, &others)],
            "none of this run's",
        ),
        (
            "a long name",
            vec![ours(), saw(1..2, &gone(&"x".repeat(301)))],
            "more than 300 bytes",
        ),
        (
            "what is not its to tell",
            vec![ours(), saw(1..2, &lost)],
            "not an agent's to tell",
        ),
        (
            "another answer",
            vec![ours(), line_of(&Answer::Begun)],
            "something else",
        ),
        ("a flood", flood, "more than 50000 things"),
        ("chatter", chatter, "more than 2000 things within a second"),
    ] {
        let ears = Ears::default();
        let followed = ears.follow(Arc::new(Says(said)));
        ears.until_sight(is_lost).await;
        let sights = ears.sights();
        let Some(NodeSight::Lost {
            because: told,
            for_good: true,
        }) = sights.last()
        else {
            panic!("{what}: {:?}", sights.last());
        };
        assert!(told.contains(because), "{what}: {told}");
        // Nobody waits for one that is followed no longer.
        followed.settled(SOON).await;
        assert!(sights.len() <= MOST_SIGHTS + 2, "{what}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_no_such_conversation_is_given_up_after_some_tries() {
    // As one hangs up that is older than the request.
    struct Hangs;
    impl Dial for Hangs {
        fn dial(&self) -> BoxFuture<'_, Result<Stream, String>> {
            let (near, far) = tokio::io::duplex(1 << 16);
            drop(far);
            async move { Ok(Box::new(near) as Stream) }.boxed()
        }
    }
    let ears = Ears::default();
    let _followed = ears.follow(Arc::new(Hangs));
    ears.until_sight(is_lost).await;
    assert!(
        matches!(ears.sights()[..], [NodeSight::Lost { for_good: true, .. }]),
        "{:?}",
        ears.sights()
    );
}

#[tokio::test]
async fn a_line_without_an_end_breaks_the_conversation_and_takes_no_memory() {
    let line = vec![b'x'; LONGEST + 1];
    let ears = Ears::default();
    let _followed = ears.follow(Arc::new(Says(vec![following(env!("CARGO_PKG_VERSION")), line])));
    ears.until_sight(is_lost).await;
    let sights = ears.sights();
    let told = |sight: &NodeSight| matches!(sight, NodeSight::Lost { because, .. } if because.contains("longer than 1048576"));
    assert!(sights.iter().any(told), "{sights:?}");
}
