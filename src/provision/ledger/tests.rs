#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use super::*;
use crate::kubernetes::ObjectRef;

fn role(name: &str) -> Object {
    Object::Role(name.to_owned())
}

#[test]
fn what_is_planned_is_on_disk_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let ledger = Ledger::create(&path, "r1").unwrap();
    ledger.plan(&[role("a"), role("b"), role("a")]).unwrap();
    ledger.plan(&[role("c")]).unwrap();
    // As another process would find it at this moment.
    let found = read(&path).unwrap();
    assert_eq!(found.standing, [role("a"), role("b"), role("c")]);
    assert!(!found.closed && found.is_running());
    ledger.removed(&role("b"));
    ledger.plan(&[role("b")]).unwrap();
    ledger.close().unwrap();
    let found = read(&path).unwrap();
    assert_eq!(found.standing, [role("a"), role("c"), role("b")]);
    assert_eq!(found.standing, ledger.standing());
    assert!(found.closed);
}

#[test]
fn what_is_kept_is_the_runs_no_longer_and_where_the_rest_is_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let ledger = Ledger::create(&path, "r1").unwrap();
    let cluster = Object::KindCluster("c".to_owned());
    ledger.plan(&[cluster.clone(), role("a")]).unwrap();
    ledger.kept(std::slice::from_ref(&cluster)).unwrap();
    ledger.within("c").unwrap();
    let found = read(&path).unwrap();
    assert_eq!(
        (found.within.as_deref(), found.standing, found.kept),
        (Some("c"), vec![role("a")], vec![cluster])
    );
    assert_eq!(ledger.standing(), [role("a")]);
}

#[test]
fn where_somebody_elses_cluster_is_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let ledger = Ledger::create(&path, "r1").unwrap();
    let reach = ClusterReach::Context {
        kubeconfig: vec!["/home/me/.kube/config".into()],
        context: "prod".to_owned(),
    };
    ledger.within_cluster(&reach).unwrap();
    assert_eq!(read(&path).unwrap().within_cluster, Some(reach));
}

#[test]
fn how_an_account_is_reached_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let reach = Reach::Account {
        account: "000000000000".to_owned(),
        region: "eu-west-1".to_owned(),
        profile: Some("ci".to_owned()),
        cluster: ClusterReach::Eks("demo".to_owned()),
    };
    Ledger::create_reaching(&path, "r1", reach.clone()).unwrap();
    assert_eq!(read(&path).unwrap().reach, reach);
    assert!(reach.outlives(&role("a")) && reach.outlives(&Object::EksCluster("demo".to_owned())));
    assert!(!reach.outlives(&Object::Scratch("/tmp/x".into())));
}

#[test]
fn a_torn_last_line_is_passed_over_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let ledger = Ledger::create(&path, "r1").unwrap();
    ledger.plan(&[role("a")]).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [whole.as_slice(), b"{\"planned\":{\"ro"].concat()).unwrap();
    assert_eq!(read(&path).unwrap().standing, [role("a")]);
    fs::write(&path, [whole.as_slice(), b"{\"planned\":{\"ro\n"].concat()).unwrap();
    assert!(read(&path).is_err(), "a line with an end is not torn");
    fs::write(&path, [whole.as_slice(), b"garbage\n{}\n"].concat()).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains(":3: not a line"));
    fs::write(&path, b"").unwrap();
    assert!(read(&path).is_err());
}

#[test]
fn a_process_that_is_gone_is_not_running() {
    let mut found = Found {
        run_id: "r1".into(),
        process: Process::this().unwrap(),
        reach: Reach::Embedded,
        kept: Vec::new(),
        within: None,
        within_cluster: None,
        standing: Vec::new(),
        closed: false,
    };
    assert!(found.is_running());
    found.process.started += 1;
    assert!(!found.is_running(), "another process has its number now");
}

#[test]
fn a_process_that_nobody_has_waited_for_is_gone() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    // It ends by itself; its number stays until it is waited for.
    while Process::of(child.id()).is_ok() {
        assert!(std::time::Instant::now() < until, "it is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(fs::exists(format!("/proc/{}", child.id())).unwrap());
    child.wait().unwrap();
}

#[test]
fn a_ledger_is_taken_over_once_its_writer_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let ledger = Ledger::create(&path, "r1").unwrap();
    ledger.plan(&[role("a"), role("b")]).unwrap();
    let busy = Ledger::take_over(&path).err().unwrap();
    assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
    drop(ledger);
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"planned\":{\"ro");
    fs::write(&path, text).unwrap();

    // A program that another test starts at this moment has the file as well, until it is another program.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let (ledger, found) = loop {
        match Ledger::take_over(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            taken => break taken.unwrap(),
        }
    };
    assert_eq!(found.standing, [role("a"), role("b")]);
    ledger.removed(&role("a"));
    ledger.close().unwrap();
    let found = read(&path).unwrap();
    assert_eq!((found.standing, found.closed), (vec![role("b")], true));
}

#[test]
fn nothing_is_on_record_that_is_not_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    // A disk without space, as the kernel plays it.
    let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let ledger = Ledger::over(&path, file, 0, Standing::default());
    assert!(ledger.plan(&[role("a")]).is_err());
    assert!(ledger.standing().is_empty());
}

#[test]
fn every_object_reads_back_as_it_was_written() {
    let objects = [
        Object::Scratch("/tmp/mountproof-r1".into()),
        Object::KindCluster("mountproof-r1".into()),
        Object::Container("mountproof-r1-localstack".into()),
        Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, "team-red")),
        Object::Kubernetes(ObjectRef::new("v1", "Pod", Some("team-red"), "app")),
        Object::Installed(ObjectRef::new(
            "apps/v1",
            "DaemonSet",
            Some("kube-system"),
            "driver",
        )),
        Object::EksCluster("demo".into()),
        Object::Nodegroup {
            cluster: "demo".into(),
            name: "nodes".into(),
        },
        Object::Addon {
            cluster: "demo".into(),
            name: "coredns".into(),
        },
        Object::PodIdentityAssociation {
            cluster: "demo".into(),
            namespace: "team-red".into(),
            service_account: "default".into(),
        },
        Object::OidcProvider("arn:aws:iam::000000000000:oidc-provider/127.0.0.1".into()),
        Object::Policy("arn:aws:iam::000000000000:policy/p".into()),
        role("r"),
        Object::Secret("demo/team-red/secret".into()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    Ledger::create(&path, "r1").unwrap().plan(&objects).unwrap();
    assert_eq!(read(&path).unwrap().standing, objects);
}
