#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::os::unix::net::UnixListener;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A node's folders, without anything in them.
fn place() -> (TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("kubelet/pods")).unwrap();
    fs::create_dir(root.join("providers")).unwrap();
    let place = Place {
        socket: root.join("csi.sock"),
        kubelet_root: root.join("kubelet"),
        pod_uid: None,
        scratch: root.to_owned(),
        provider_folders: vec![root.join("providers")],
    };
    (folder, place)
}

/// What is remembered once there are so many things.
async fn remembered(running: &mut Running, number: u64) -> Vec<NodeSight> {
    let seen = running.news.wait_for(|last| *last >= number);
    tokio::time::timeout(SOON, seen).await.unwrap().unwrap();
    let log = running.log();
    log.entries.iter().map(|entry| entry.what.clone()).collect()
}

#[tokio::test]
async fn sockets_are_seen_to_go_and_come_without_anybody_asking() {
    let (_folder, place) = place();
    let first = UnixListener::bind(&place.socket).unwrap();
    let mut running = Watch::of(&place).join().await.unwrap();
    assert_eq!(running.log().sockets, ["driver csi.sock"]);
    fs::remove_file(&place.socket).unwrap();
    let socket = "driver csi.sock".to_owned();
    let gone = NodeSight::SocketGone { socket };
    assert_eq!(remembered(&mut running, 1).await, [gone]);
    let aws = UnixListener::bind(place.provider_folders[0].join("aws.sock")).unwrap();
    let socket = "provider aws.sock".to_owned();
    let there = NodeSight::SocketThere {
        socket,
        away_us: None,
    };
    assert_eq!(remembered(&mut running, 2).await[1], there);
    drop((first, aws));
}

#[tokio::test]
async fn volumes_of_pods_are_seen_to_be_mounted_and_gone_and_no_other_mount_is() {
    let (_folder, place) = place();
    let of = |kind: &str| {
        place
            .kubelet_root
            .join(format!("pods/u1/volumes/{kind}/secrets/mount"))
    };
    let (csi, other) = (of("kubernetes.io~csi"), of("kubernetes.io~empty-dir"));
    fs::create_dir_all(&csi).unwrap();
    fs::create_dir_all(&other).unwrap();
    let put = |at: &Path| mount("tmpfs", at, "tmpfs", MountFlags::empty(), None);
    if put(&other).is_err() {
        // Who may not mount has nothing to see here: `mounts` says what a table holds.
        return;
    }
    let mut running = Watch::of(&place).join().await.unwrap();
    put(&csi).unwrap();
    let (pod, volume) = ("u1".to_owned(), "secrets".to_owned());
    let mounted = NodeSight::Mounted {
        pod: pod.clone(),
        volume: volume.clone(),
    };
    assert_eq!(remembered(&mut running, 1).await, std::slice::from_ref(&mounted));
    unmount(&other, UnmountFlags::empty()).unwrap();
    unmount(&csi, UnmountFlags::empty()).unwrap();
    let unmounted = NodeSight::Unmounted { pod, volume };
    assert_eq!(remembered(&mut running, 2).await, [mounted, unmounted]);
}

#[tokio::test]
async fn who_joins_later_is_told_by_the_same_watch_and_one_that_ended_is_begun_anew() {
    let (_folder, place) = place();
    let watch = Watch::of(&place);
    let life = watch.join().await.unwrap().log().life.clone();
    assert_eq!(watch.join().await.unwrap().log().life, life);
    watch.running.lock().unwrap().take();
    assert_ne!(watch.join().await.unwrap().log().life, life);
}

#[test]
fn of_more_than_is_remembered_the_latest_is() {
    let mut log = Log {
        life: "l".to_owned(),
        last: 0,
        entries: VecDeque::new(),
        sockets: Vec::new(),
        blind: Vec::new(),
    };
    assert_eq!(log.following().oldest, 1, "the next");
    for number in 0..=REMEMBERED {
        let socket = format!("{number}");
        log.add(
            Timestamp::UNIX_EPOCH,
            Instant::now(),
            NodeSight::SocketGone { socket },
        );
    }
    assert_eq!(log.entries.len(), REMEMBERED);
    assert_eq!((log.following().oldest, log.last), (2, 8193));
}
