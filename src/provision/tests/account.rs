//! What a run has in an account: EKS with an API server behind each cluster, IAM and Secrets Manager, over their protocols.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig, Fault, Faults, Share};
use mountproof_run_tls::RunCa;
use serde_json::json;

use super::{super::account::finish_with, ACCOUNT, RUN};
use crate::{
    aws::{AddonRequest, AdminKey, Aws, AwsAccess, ClusterRequest, NodegroupRequest, Tags, service_trust},
    environment::{NodeOptions, StandInClusters, eks},
    kubernetes::{Kubernetes, ObjectRef},
    provision::{AgedOutcome, Aging, ClusterReach, Ledger, Object, Teardown, sweep_account},
    secret::SecretValue,
    tenant::{self, ClusterName, Marks},
};

/// How long clusters, node groups and add-ons of the endpoint are on their way.
const SETTLING: Duration = Duration::from_millis(300);
/// Longest wait for one of them.
const SOON: Duration = Duration::from_mins(1);

/// An account, and a run that makes things in it.
struct Account {
    endpoint: Endpoint,
    aws: Arc<Aws>,
    marks: Marks,
    folder: tempfile::TempDir,
    /// What was told of what is waited for.
    told: Mutex<Vec<String>>,
}

impl Account {
    async fn open() -> Self {
        let ca = RunCa::generate(RUN).unwrap();
        let endpoint = Endpoint::start(EndpointConfig {
            cluster_backend: Some(Arc::new(StandInClusters::new(&ca, NodeOptions::default()))),
            cluster_settling: SETTLING,
            ..EndpointConfig::new(ACCOUNT, &ca)
        })
        .await
        .unwrap();
        let root = endpoint.root_credentials();
        let key = AdminKey::new(&root.access_key_id, root.secret_access_key());
        let access = AwsAccess {
            region: "eu-west-1".to_owned(),
            account: ACCOUNT.to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(format!("https://{}", endpoint.address())),
            trust_pem: Some(ca.certificate_pem().to_owned()),
            proxy: None,
        };
        Self {
            aws: Arc::new(Aws::connect(access, key).unwrap()),
            endpoint,
            marks: Marks::of_run(RUN),
            folder: tempfile::tempdir().unwrap(),
            told: Mutex::default(),
        }
    }

    fn ledger(&self, name: &str) -> Ledger {
        Ledger::create(&self.folder.path().join(name), RUN).unwrap()
    }

    fn tags(&self) -> Tags {
        self.marks.tags()
    }

    async fn role(&self, name: &str, service: &str, tags: &Tags) -> String {
        let trust = service_trust(service);
        self.aws.provide_role_with(name, &trust, &[], tags).await.unwrap()
    }

    /// Begins a cluster with its role; the names of both begin with `name`.
    async fn begin_cluster(&self, name: &str, tags: &Tags) {
        let role_arn = self
            .role(&format!("{name}-cluster"), "eks.amazonaws.com", tags)
            .await;
        let wanted = ClusterRequest {
            name: name.to_owned(),
            version: None,
            role_arn,
            subnets: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
            security_groups: vec!["sg-1".to_owned()],
            tags: tags.clone(),
        };
        let made = self.aws.create_cluster(&wanted).await.unwrap();
        assert_eq!(made.status, "CREATING");
        assert_eq!(made.authentication_mode.as_deref(), Some("API_AND_CONFIG_MAP"));
    }

    async fn cluster(&self, name: &str, tags: &Tags) {
        self.begin_cluster(name, tags).await;
        let until = Instant::now() + SOON;
        let cluster = self.aws.await_cluster(name, until, &|_| ()).await.unwrap();
        assert_eq!(cluster.subnets, ["subnet-1", "subnet-2"]);
        assert!(cluster.issuer.is_some() && cluster.ca_pem.is_some() && cluster.created_at.is_some());
    }

    /// Begins a node group and an add-on, with the role of its nodes.
    async fn begin_nodes(&self, cluster: &str, tags: &Tags) {
        let role_arn = self
            .role(&format!("{cluster}-node"), "ec2.amazonaws.com", tags)
            .await;
        let wanted = NodegroupRequest {
            cluster: cluster.to_owned(),
            name: "nodes".to_owned(),
            role_arn,
            subnets: vec!["subnet-1".to_owned()],
            instance_type: "t3.medium".to_owned(),
            min: 1,
            max: 3,
            desired: 2,
            version: None,
            tags: tags.clone(),
        };
        let group = self.aws.create_nodegroup(&wanted).await.unwrap();
        assert_eq!((group.desired, group.status.as_str()), (Some(2), "CREATING"));
        self.begin_addon(cluster, tags).await;
    }

    async fn begin_addon(&self, cluster: &str, tags: &Tags) {
        let wanted = AddonRequest {
            cluster: cluster.to_owned(),
            name: "eks-pod-identity-agent".to_owned(),
            version: None,
            configuration: None,
            overwrite: true,
            tags: tags.clone(),
        };
        self.aws.create_addon(&wanted).await.unwrap();
    }

    /// A role for pods, and the association that gives it to them.
    async fn associate(&self, cluster: &str, role: &str, tags: &Tags) {
        let role_arn = self.role(role, "pods.eks.amazonaws.com", tags).await;
        let id = self
            .aws
            .create_association(cluster, "team-red", "default", &role_arn, tags)
            .await
            .unwrap();
        let found = self.aws.association(cluster, &id).await.unwrap();
        assert_eq!((found.role_arn, found.tags), (role_arn, tags.clone()));
    }

    /// Finishes what is on record, as another process would.
    async fn finish(&self, cluster: &str, ledger: &Ledger) -> Teardown {
        let reach = ClusterReach::Eks(cluster.to_owned());
        let name = ClusterName::of_run(RUN).unwrap();
        let tell = |going: super::super::Going<'_>| {
            self.told.lock().unwrap().push(going.to_string());
        };
        finish_with(&self.aws, &reach, ledger, &self.marks, &name, &tell).await
    }

    fn fails(&self, service: &str, operation: &str, code: &str) {
        let fault = Fault::Error {
            service: service.to_owned(),
            operation: operation.to_owned(),
            code: code.to_owned(),
            share: Share::percent(100.0).unwrap(),
        };
        self.endpoint.set_faults(fault.into());
    }

    fn heals(&self) {
        self.endpoint.set_faults(Faults::default());
    }

    async fn kubernetes(&self, cluster: &str) -> Kubernetes {
        let found = self.aws.cluster(cluster).await.unwrap();
        let access = eks::access(&self.aws, &found).unwrap();
        Kubernetes::connect(&access, &self.marks).await.unwrap()
    }
}

fn nodegroup(cluster: &str) -> Object {
    Object::Nodegroup {
        cluster: cluster.to_owned(),
        name: "nodes".to_owned(),
    }
}

fn addon(cluster: &str) -> Object {
    Object::Addon {
        cluster: cluster.to_owned(),
        name: "eks-pod-identity-agent".to_owned(),
    }
}

fn association(cluster: &str) -> Object {
    Object::PodIdentityAssociation {
        cluster: cluster.to_owned(),
        namespace: "team-red".to_owned(),
        service_account: "default".to_owned(),
    }
}

fn role(name: &str) -> Object {
    Object::Role(name.to_owned())
}

/// What a run with a cluster of its own puts on record, in the order of making.
fn with_own_cluster() -> Vec<Object> {
    vec![
        role("own-cluster"),
        Object::EksCluster("own".to_owned()),
        role("own-node"),
        nodegroup("own"),
        addon("own"),
        Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, "team-red")),
        role("pods"),
        association("own"),
    ]
}

/// Cut off after each object that is on record, with the last one made or not: nothing is left, whatever is still on its way.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_however_little_of_it_was_made() {
    let account = Account::open().await;
    let tags = account.tags();
    let objects = with_own_cluster();
    for planned in 1..=objects.len() {
        for made in [planned - 1, planned] {
            let case = format!("{planned} planned, {made} made");
            let ledger = account.ledger(&case);
            ledger.plan(&objects[..planned]).unwrap();
            match made {
                0 => {}
                1 => {
                    account.role("own-cluster", "eks.amazonaws.com", &tags).await;
                }
                2 | 3 => account.begin_cluster("own", &tags).await,
                4 | 5 => {
                    account.cluster("own", &tags).await;
                    account.begin_nodes("own", &tags).await;
                }
                _ => {
                    account.cluster("own", &tags).await;
                    account.begin_nodes("own", &tags).await;
                    account.associate("own", "pods", &tags).await;
                }
            }
            // What was made beyond what is on record is made by this test only.
            let beyond: Vec<Object> = objects[planned..].to_vec();
            let report = account.finish("own", &ledger).await;
            let standing = ledger.standing();
            for object in beyond {
                if let Object::Role(name) = object {
                    account.aws.remove_role(&name).await.unwrap();
                }
            }
            assert_eq!(standing, [], "{case}");
            assert_eq!(
                account.endpoint.leftovers(),
                Vec::<String>::new(),
                "{case}: {report:?}"
            );
        }
    }
    let told = account.told.lock().unwrap().clone();
    assert!(told.contains(&"cluster own is CREATING".to_owned()), "{told:?}");
    assert!(told.contains(&"cluster own is DELETING".to_owned()), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_stays_keeps_everything_but_what_is_the_runs() {
    let account = Account::open().await;
    let tags = account.tags();
    account.cluster("theirs", &Tags::new()).await;
    let before = account.endpoint.leftovers();
    let kubernetes = account.kubernetes("theirs").await;
    let theirs = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "precious" } });
    kubernetes.create(&theirs).await.unwrap();

    let ledger = account.ledger("ledger");
    let driver = tenant::csi_driver(&account.marks, super::newest());
    ledger
        .plan(&[
            Object::Installed(ObjectRef::of(&driver)),
            addon("theirs"),
            Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, "team-red")),
            role("pods"),
            association("theirs"),
            Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, "precious")),
        ])
        .unwrap();
    kubernetes.create(&driver).await.unwrap();
    account.begin_addon("theirs", &tags).await;
    let namespace = tenant::namespace("team-red", &account.marks);
    kubernetes.create(&namespace).await.unwrap();
    account.associate("theirs", "pods", &tags).await;

    let report = account.finish("theirs", &ledger).await;
    assert_eq!(report.left, [], "{report:?}");
    assert_eq!(ledger.standing(), []);
    assert_eq!(account.endpoint.leftovers(), before);
    assert_eq!(account.aws.addons("theirs").await.unwrap(), Vec::<String>::new());
    assert_eq!(account.aws.associations("theirs", None).await.unwrap(), []);
    for (name, there) in [("team-red", false), ("precious", true)] {
        let reference = ObjectRef::new("v1", "Namespace", None, name);
        assert_eq!(!kubernetes.is_gone(&reference).await.unwrap(), there, "{name}");
    }
    assert!(kubernetes.is_gone(&ObjectRef::of(&driver)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_carries_another_runs_tag_stays() {
    let account = Account::open().await;
    let others = Marks::of_run("other").tags();
    account.cluster("own", &others).await;
    account.begin_nodes("own", &others).await;
    account.associate("own", "pods", &others).await;
    let before = account.endpoint.leftovers();
    let ledger = account.ledger("ledger");
    ledger.plan(&with_own_cluster()).unwrap();
    let report = account.finish("own", &ledger).await;
    assert_eq!((report.removed, report.left), (0, Vec::new()));
    assert_eq!(account.endpoint.leftovers(), before);
    assert_eq!(account.aws.nodegroups("own").await.unwrap(), ["nodes"]);
    assert_eq!(account.aws.associations("own", None).await.unwrap().len(), 1);
}

/// One call that is refused, and credentials that are no longer good: what is left is on record, said with why, and goes the
/// next time.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_now_goes_the_next_time() {
    let account = Account::open().await;
    let tags = account.tags();
    let objects = with_own_cluster();
    let own = Object::EksCluster("own".to_owned());
    for (service, operation, code, because, left) in [
        (
            "eks",
            "DeleteNodegroup",
            "AccessDeniedException",
            "AccessDeniedException",
            vec![
                role("own-cluster"),
                own.clone(),
                role("own-node"),
                nodegroup("own"),
                addon("own"),
                objects[5].clone(),
                association("own"),
            ],
        ),
        (
            "eks",
            "DeleteCluster",
            "AccessDeniedException",
            "AccessDeniedException",
            vec![
                role("own-cluster"),
                own.clone(),
                role("own-node"),
                addon("own"),
                objects[5].clone(),
                association("own"),
            ],
        ),
        (
            "*",
            "*",
            "ExpiredTokenException",
            "aws sso login",
            objects.clone(),
        ),
    ] {
        let ledger = account.ledger(&format!("{operation} {code}"));
        ledger.plan(&objects).unwrap();
        account.cluster("own", &tags).await;
        account.begin_nodes("own", &tags).await;
        account.associate("own", "pods", &tags).await;
        account.fails(service, operation, code);
        let report = account.finish("own", &ledger).await;
        assert_eq!(ledger.standing(), left, "{operation}: {report:?}");
        let said = format!("{:?}", report.left);
        assert!(said.contains(because), "{operation}: {said}");
        account.heals();
        let report = account.finish("own", &ledger).await;
        assert_eq!((report.left, ledger.standing()), (vec![], vec![]), "{operation}");
        assert_eq!(account.endpoint.leftovers(), Vec::<String>::new(), "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_told_apart() {
    let account = Account::open().await;
    for (code, what) in [
        ("ThrottlingException", "throttled"),
        ("ExpiredTokenException", "expired"),
        ("ResourceLimitExceededException", "quota"),
        ("AccessDeniedException", "denied"),
    ] {
        account.fails("eks", "ListClusters", code);
        let error = account.aws.clusters().await.unwrap_err();
        let told = [
            (error.is_throttled(), "throttled"),
            (error.is_expired(), "expired"),
            (error.is_quota(), "quota"),
            (error.is_denied(), "denied"),
        ];
        let told: Vec<&str> = told.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        assert_eq!(told, [what], "{error}");
        account.heals();
    }
    assert_eq!(account.aws.clusters().await.unwrap(), Vec::<String>::new());
    let versions = account
        .aws
        .addon_versions("eks-pod-identity-agent", "1.36")
        .await
        .unwrap();
    assert_eq!(versions.first().map(String::as_str), Some("v1.3.10-eksbuild.2"));
}

/// Without any ledger: by tags, of runs that are old enough and nowhere going on.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_swept_of_what_is_old_enough() {
    let account = Account::open().await;
    let tags = account.tags();
    let name = |rest: &str| format!("mountproof-{RUN}-{rest}");
    let own = name("own");
    account.cluster(&own, &tags).await;
    account.begin_nodes(&own, &tags).await;
    let of_tenant = account.marks.of_tenant("team-red").tags();
    account.associate(&own, &name("pods"), &of_tenant).await;
    let nothing =
        json!({ "Version": "2012-10-17", "Statement": { "Effect": "Deny", "Action": "*", "Resource": "*" } });
    account
        .aws
        .provide_policy(&name("policy"), &nothing, &of_tenant)
        .await
        .unwrap();
    let value = SecretValue::text("of no worth");
    account
        .aws
        .provide_secret(&name("secret"), &value, &of_tenant)
        .await
        .unwrap();
    let issuer = account.aws.cluster(&own).await.unwrap().issuer.unwrap();
    account
        .aws
        .provide_oidc(&issuer, "sts.amazonaws.com", &tags)
        .await
        .unwrap();
    // Somebody else's, and another run's in their cluster.
    account.cluster("theirs", &Tags::new()).await;
    account
        .role("mountproof-not-a-run", "ec2.amazonaws.com", &Tags::new())
        .await;
    let other = Marks::of_run("other").tags();
    account.begin_addon("theirs", &other).await;
    let all = account.endpoint.leftovers();

    let six_hours = Duration::from_hours(6);
    let later = Timestamp::now() + SignedDuration::from_hours(7);
    let swept = async |now, running: &[&str], dry| {
        let running: BTreeSet<String> = running.iter().map(|run| (*run).to_owned()).collect();
        let how = Aging {
            older_than: six_hours,
            now,
            running: &running,
            dry,
            went: &|_| (),
        };
        let swept = sweep_account(&account.aws, None, how).await.unwrap();
        assert_eq!(swept.passed_over, []);
        swept
            .runs
            .into_iter()
            .map(|run| (run.run_id, run.found.len(), run.outcome))
            .collect::<Vec<_>>()
    };
    let (of_other, of_own) = ("other".to_owned(), RUN.to_owned());
    for (now, running, dry, outcome) in [
        (Timestamp::now(), &[][..], false, AgedOutcome::Young),
        (later, &["other", RUN][..], false, AgedOutcome::Running),
        (later, &[][..], true, AgedOutcome::WouldRemove),
    ] {
        let expected = [
            (of_other.clone(), 1, outcome.clone()),
            (of_own.clone(), 10, outcome.clone()),
        ];
        assert_eq!(swept(now, running, dry).await, expected);
        assert_eq!(account.endpoint.leftovers(), all, "{outcome:?}");
    }
    let done = swept(later, &["other"], false).await;
    let AgedOutcome::Removed { removed, left } = &done[1].2 else {
        panic!("{done:?}");
    };
    assert_eq!((removed.len(), left.as_slice()), (10, &[][..]), "{done:?}");
    let mut left = account.endpoint.leftovers();
    left.sort();
    assert_eq!(
        left,
        [
            "cluster theirs",
            "role mountproof-not-a-run",
            "role theirs-cluster"
        ]
    );
    assert_eq!(account.aws.addons("theirs").await.unwrap().len(), 1);
    let done = swept(later, &[], false).await;
    assert!(
        matches!(&done[..], [(run, 1, AgedOutcome::Removed { left, .. })] if *run == of_other && left.is_empty())
    );
    assert_eq!(account.aws.addons("theirs").await.unwrap(), Vec::<String>::new());
}
