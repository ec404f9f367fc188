//! Folders of an endpoint that ended by SIGKILL, with its keys and its nodes: the next one removes them, or `sweep`.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use mountproof::aws::{AdminKey, Aws, AwsAccess, ClusterRequest, NodegroupRequest, service_trust};
use rustix::process::Signal;

use crate::{
    endpoint::runtime,
    support::{Place, Running},
};

/// An endpoint with its own folder, and nodes where it has any.
const ENDPOINT: [&str; 8] = [
    "endpoint",
    "--clusters",
    "--settling",
    "10ms",
    "--listen",
    "127.0.0.1:0",
    "--root-credentials",
    "test:short",
];
/// A sweep of nothing else.
const SWEEP: [&str; 3] = ["sweep", "--reports", "none"];

/// One that serves, with a node, and its folders.
fn serving(place: &Place) -> (Running, Vec<PathBuf>) {
    let before = folders(place);
    let running = place.start(&ENDPOINT);
    let until = Instant::now() + Duration::from_mins(1);
    let aws = loop {
        let new = folders(place)
            .into_iter()
            .filter(|folder| !before.contains(folder));
        // One that was killed may go meanwhile.
        let mut variables = new.filter_map(|folder| fs::read_to_string(folder.join("aws.env")).ok());
        if let Some(variables) = variables.next() {
            let url = variables
                .lines()
                .find_map(|line| line.strip_prefix("export AWS_ENDPOINT_URL="));
            let access = AwsAccess {
                region: "eu-west-1".to_owned(),
                account: "000000000000".to_owned(),
                partition: "aws".to_owned(),
                endpoint: Some(url.unwrap().to_owned()),
                trust_pem: None,
                proxy: None,
            };
            break Aws::connect(access, AdminKey::new("test", "short")).unwrap();
        }
        assert!(Instant::now() < until, "it does not serve");
        std::thread::sleep(Duration::from_millis(10));
    };
    runtime().block_on(node(&aws));
    let new: Vec<PathBuf> = folders(place)
        .into_iter()
        .filter(|folder| !before.contains(folder))
        .collect();
    assert_eq!(new.len(), 2, "one for its keys, one for its nodes: {new:?}");
    (running, new)
}

async fn node(aws: &Aws) {
    let tags = BTreeMap::new();
    let trust = service_trust("eks.amazonaws.com");
    let role_arn = aws
        .provide_role_with("cluster", &trust, &[], &tags)
        .await
        .unwrap();
    let subnets = vec!["subnet-1".to_owned(), "subnet-2".to_owned()];
    let wanted = ClusterRequest {
        name: "demo".to_owned(),
        version: None,
        role_arn,
        subnets: subnets.clone(),
        security_groups: Vec::new(),
        tags: tags.clone(),
    };
    let soon = || Instant::now() + Duration::from_mins(1);
    aws.create_cluster(&wanted).await.unwrap();
    aws.await_cluster("demo", soon(), &|_| ()).await.unwrap();
    let trust = service_trust("ec2.amazonaws.com");
    let role_arn = aws.provide_role_with("node", &trust, &[], &tags).await.unwrap();
    let wanted = NodegroupRequest {
        cluster: "demo".to_owned(),
        name: "workers".to_owned(),
        role_arn,
        subnets,
        instance_type: "t3.medium".to_owned(),
        min: 1,
        max: 1,
        desired: 1,
        version: None,
        tags,
    };
    aws.create_nodegroup(&wanted).await.unwrap();
    aws.await_nodegroup("demo", "workers", soon(), &|_| ())
        .await
        .unwrap();
}

fn folders(place: &Place) -> Vec<PathBuf> {
    place
        .scratch()
        .iter()
        .map(|name| place.path("t").join(name))
        .collect()
}

/// Folders of one that was killed.
fn killed(place: &Place) -> Vec<PathBuf> {
    let (running, left) = serving(place);
    running.signal(Signal::KILL);
    assert_eq!(running.end().status().code(), None);
    assert_eq!(
        folders(place).len(),
        left.len(),
        "the test needs something that is left"
    );
    left
}

#[test]
fn the_next_endpoint_removes_what_a_killed_one_left() {
    let place = Place::new();
    let left = killed(&place);
    let (running, own) = serving(&place);
    assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
    running.signal(Signal::TERM);
    running.end().exits(0);
    assert!(own.iter().all(|folder| !folder.exists()), "{own:?}");
    assert_eq!(place.scratch(), Vec::<String>::new());
}

#[test]
fn sweep_removes_what_a_killed_endpoint_left_and_nothing_of_one_that_serves() {
    let place = Place::new();
    let left = killed(&place);
    let would = place.run(&[&SWEEP[..], &["--dry-run"]].concat()).exits(0);
    for folder in &left {
        let said = format!("would remove  folder {} of an endpoint", folder.display());
        assert!(would.out.contains(&said), "{would}");
        assert!(folder.exists());
    }
    place.run(&SWEEP).exits(0).prints(&["removed  folder "]);
    assert_eq!(place.scratch(), Vec::<String>::new());

    let (running, own) = serving(&place);
    place.run(&SWEEP).exits(0);
    assert!(own.iter().all(|folder| folder.exists()), "{own:?}");
    running.signal(Signal::TERM);
    running.end().exits(0);
}
