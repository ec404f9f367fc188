//! Provisioning against the AWS endpoint and the Kubernetes API stand-in, both over their protocols.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod account;
mod front;
mod ways;

use std::{sync::Arc, time::Duration};

use mountproof_aws_endpoint::{self as aws_endpoint, Endpoint, EndpointConfig, Faults, Reach};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::kubernetes::{ApiServer, ApiServerConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::front::{Fault, Front, World};
use super::*;
use crate::{
    aws::{AdminKey, Aws, AwsAccess, probe_resource_enforcement, probe_token_verification},
    environment::Environment,
    kubernetes::{Identity, Kubernetes, KubernetesAccess, ObjectRef, SECRETS_STORE},
    secret::{Credential, SecretValue},
    tenant::{self, AUDIENCE, ClusterName, Marks, numbered},
};

const ACCOUNT: &str = "000000000000";
const RUN: &str = "r1";

/// A call log that nobody reads.
struct Heard;

impl crate::environment::CallLog for Heard {
    fn cursor(&self) -> u64 {
        0
    }

    fn since(&self, _: u64) -> Vec<crate::verdict::denial::Call> {
        Vec::new()
    }

    fn forgotten(&self) -> u64 {
        0
    }
}

/// Both worlds, each with a front in which requests can be made to go wrong.
struct Stage {
    endpoint: Endpoint,
    _api: ApiServer,
    aws_front: Front,
    kubernetes_front: Front,
    environment: Arc<Environment>,
    marks: Marks,
    cluster: ClusterName,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        Self::set_in(None).await
    }

    /// The same, with Kubernetes for the EKS cluster of this name.
    async fn set_in(eks_cluster: Option<&str>) -> Self {
        let ca = RunCa::generate(RUN).unwrap();
        let api = ApiServer::start(ApiServerConfig::on_loopback(Arc::clone(&ca)))
            .await
            .unwrap();
        let endpoint = Endpoint::start(EndpointConfig::new(ACCOUNT, &ca)).await.unwrap();
        let aws_front = Front::start(&format!("https://{}", endpoint.address()), World::Aws, &ca).await;
        let kubernetes_front = Front::start(&api.url(), World::Kubernetes, &ca).await;
        let marks = Marks::of_run(RUN);
        let kubernetes = Kubernetes::connect(
            &KubernetesAccess::new(
                kubernetes_front.url(),
                ca.certificate_pem(),
                Identity::Token(Credential::new(api.admin_token().expose())),
            ),
            &marks,
        )
        .await
        .unwrap();
        let root = endpoint.root_credentials();
        let key = AdminKey::new(&root.access_key_id, root.secret_access_key());
        let access = AwsAccess {
            region: "eu-central-1".to_owned(),
            account: ACCOUNT.to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(aws_front.url()),
            trust_pem: Some(ca.certificate_pem().to_owned()),
            proxy: None,
        };
        let aws = Aws::connect(access, key).unwrap();
        let issuer = kubernetes.issuer().await.unwrap();
        let mut environment = Environment::of_worlds(kubernetes, aws, issuer);
        if let Some(name) = eks_cluster {
            let parts = aws_endpoint::eks::ClusterParts {
                endpoint: api.url(),
                certificate_authority_pem: ca.certificate_pem().to_owned(),
                issuer: environment.issuer.clone(),
                jwks: api.key_set(),
            };
            endpoint.adopt_cluster("eu-central-1", name, parts);
            environment.eks_cluster = Some(name.to_owned());
            // What an endpoint was told counts at once; AWS itself would be given time.
            environment.calls = Some(Arc::new(Heard));
        }
        let environment = Arc::new(environment);
        Self {
            endpoint,
            _api: api,
            aws_front,
            kubernetes_front,
            environment,
            marks,
            cluster: ClusterName::of_run(RUN).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A provisioner with a new ledger.
    fn provisioner(&self, ledger: &str) -> Provisioner {
        let ledger = Ledger::create(&self.folder.path().join(ledger), RUN).unwrap();
        Provisioner::new(
            Arc::clone(&self.environment),
            Arc::new(ledger),
            self.cluster.clone(),
            self.marks.clone(),
        )
    }

    async fn tear_down(&self, provisioner: &Provisioner) -> Teardown {
        Teardown::run(
            &self.environment,
            provisioner.ledger(),
            &self.marks,
            &self.cluster,
            &|_| (),
        )
        .await
    }

    /// Everything that is there and can be a run's, by both worlds' own word.
    async fn there(&self) -> Vec<String> {
        let mut there = self.endpoint.leftovers();
        for (api_version, kind) in [
            ("v1", "Namespace"),
            (SECRETS_STORE, "SecretProviderClass"),
            ("storage.k8s.io/v1", "CSIDriver"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            let objects = self
                .kubernetes()
                .list(api_version, kind, None, None)
                .await
                .unwrap();
            there.extend(
                objects
                    .iter()
                    .map(|object| format!("{} {}", ObjectRef::of(object), object["metadata"]["uid"])),
            );
        }
        // Namespaces that every cluster has.
        there.retain(|object| {
            !["default", "kube-system", "kube-public", "kube-node-lease"]
                .iter()
                .any(|own| object.starts_with(&format!("Namespace {own} ")))
        });
        there.sort();
        there
    }

    fn kubernetes(&self) -> &Kubernetes {
        &self.environment.kubernetes
    }

    fn aws(&self) -> &Aws {
        &self.environment.aws
    }
}

fn requests(names: &[&str]) -> Vec<TenantRequest> {
    names
        .iter()
        .map(|name| TenantRequest {
            name: (*name).to_owned(),
            identities: vec![tenant::Identity::Irsa],
            annotation: Annotation::Own,
            trusts_other_cluster: false,
            boundary: None,
            secrets: vec![(
                "secret".to_owned(),
                SecretValue::text(&format!("mp-canary-of-{name}")),
            )],
        })
        .collect()
}

/// The newest driver.
fn newest() -> crate::generation::DriverGeneration {
    crate::generation::DriverGeneration::of("1.6.0")
}

/// A tenant with two secrets, of which its boundary lets one through.
fn bounded(name: &str) -> Vec<TenantRequest> {
    let mut bounded = requests(&[name]);
    let beyond = ("beyond".to_owned(), SecretValue::text("mp-canary-beyond"));
    bounded[0].secrets.push(beyond);
    bounded[0].boundary = Some(vec!["secret".to_owned()]);
    bounded
}

/// What an environment installs, then tenants.
async fn provide(provisioner: &Provisioner, names: &[&str]) -> Result<Vec<Tenant>, ProvisionError> {
    provide_all(provisioner, requests(names)).await
}

async fn provide_all(
    provisioner: &Provisioner,
    requests: Vec<TenantRequest>,
) -> Result<Vec<Tenant>, ProvisionError> {
    for manifest in tenant::custom_resource_definitions(provisioner.marks()) {
        provisioner.create(&manifest).await?;
    }
    provisioner
        .create(&tenant::csi_driver(provisioner.marks(), newest()))
        .await?;
    provisioner.provide_cluster(&[tenant::Identity::Irsa]).await?;
    provisioner
        .provide(requests, 8, &|_| {}, &CancellationToken::new())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_come_and_go_without_a_trace() {
    let stage = Stage::set().await;
    let before = stage.there().await;
    let provisioner = stage.provisioner("ledger");
    let first = provide(&provisioner, &["team-red", "team-blue"]).await.unwrap();
    assert_eq!(first[0].name, "team-red");
    let standing = stage.there().await;

    let cursor = stage.endpoint.calls().cursor();
    let again = provide(&provisioner, &["team-red", "team-blue"]).await.unwrap();
    assert_eq!(stage.there().await, standing, "a second time makes nothing");
    assert_eq!(again[1].secrets["secret"].arn, first[1].secrets["secret"].arn);
    let changes: Vec<String> = stage
        .endpoint
        .calls()
        .since(cursor)
        .into_iter()
        .filter(|call| call.error.is_none())
        .map(|call| call.operation.into_owned())
        .filter(|operation| operation.starts_with("Create") || operation.starts_with("Put"))
        .collect();
    assert!(changes.is_empty(), "a second time changes nothing: {changes:?}");

    // They are what they were made for: each reaches its own secret and not the other's.
    let (red, blue) = (&first[0], &first[1]);
    let token = stage
        .kubernetes()
        .token("team-red", "default", AUDIENCE)
        .await
        .unwrap();
    let session = stage.aws().assume(&red.role_arn, &token).await.unwrap();
    let path = |tenant: &Tenant| tenant.secrets["secret"].path.clone();
    let probe = probe_resource_enforcement(&session, &path(red), &path(blue))
        .await
        .unwrap();
    assert!(probe.present, "{}", probe.evidence);
    let probe = probe_token_verification(stage.aws(), &red.role_arn)
        .await
        .unwrap();
    assert!(probe.present, "{}", probe.evidence);
    let other = stage.aws().assume(&blue.role_arn, &token).await.err().unwrap();
    assert!(other.is_denied(), "{other}");

    let report = stage.tear_down(&provisioner).await;
    assert_eq!(report.left, []);
    // Two definitions, driver, identity provider; and of each tenant namespace, class, role, policy, secret.
    assert_eq!(report.removed, 4 + 2 * 5);
    assert_eq!(stage.there().await, before);
    assert!(provisioner.ledger().standing().is_empty());
    let report = stage.tear_down(&provisioner).await;
    assert_eq!(report, Teardown::default(), "a second time finds nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounded_tenant_reads_what_its_boundary_lets_through_and_goes_with_it() {
    let stage = Stage::set().await;
    let before = stage.there().await;
    let provisioner = stage.provisioner("ledger");
    let tenants = provide_all(&provisioner, bounded("team-red")).await.unwrap();
    let red = &tenants[0];
    let token = stage
        .kubernetes()
        .token("team-red", "default", AUDIENCE)
        .await
        .unwrap();
    let session = stage.aws().assume(&red.role_arn, &token).await.unwrap();
    assert!(session.read(&red.secrets["secret"].path).await.is_ok());
    let refused = session.read(&red.secrets["beyond"].path).await.err().unwrap();
    assert!(
        refused.message().contains("no permissions boundary allows"),
        "{refused}"
    );
    // As its case removes it, object by object.
    for object in provisioner.objects_of(red) {
        provisioner.remove(&object).await.unwrap();
    }
    let left: Vec<Object> = provisioner.ledger().standing();
    let in_aws = |object: &&Object| matches!(object, Object::Policy(_) | Object::Role(_) | Object::Secret(_));
    assert_eq!(left.iter().filter(in_aws).count(), 0, "{left:?}");
    assert_eq!(stage.tear_down(&provisioner).await.left, []);
    assert_eq!(stage.there().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_tenants_come_and_go_without_a_trace() {
    let stage = Stage::set().await;
    let before = stage.there().await;
    let provisioner = stage.provisioner("ledger");
    let names = numbered(50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let tenants = provide(&provisioner, &names).await.unwrap();
    let made: Vec<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(made, names, "in the order of the requests");
    let report = stage.tear_down(&provisioner).await;
    assert_eq!(report.left, []);
    assert_eq!(report.removed, 4 + 50 * 5);
    assert_eq!(stage.there().await, before);
}

/// Spoils each request that makes something, one after another, in both ways: whatever was made by
/// then is on record, and teardown finds it.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_teardown_leaves_nothing() {
    let stage = Stage::set().await;
    let before = stage.there().await;
    for (world, front, least) in [
        // Provider, policy, role, attachment, the boundary's policy, the boundary, two secrets.
        (World::Aws, &stage.aws_front, 8),
        // Two definitions, driver, namespace, ServiceAccount, class.
        (World::Kubernetes, &stage.kubernetes_front, 6),
    ] {
        for fault in [Fault::Refused, Fault::DoneButRefused] {
            let mut spoilt = 0;
            loop {
                let case = format!("{world:?} {fault:?} {spoilt}");
                let provisioner = stage.provisioner(&case);
                front.spoil(spoilt, fault);
                let made = provide_all(&provisioner, bounded("team-red")).await;
                let happened = front.heal();
                assert_eq!(made.is_err(), happened, "{case}");
                let report = stage.tear_down(&provisioner).await;
                assert_eq!(report.left, [], "{case}");
                assert_eq!(stage.there().await, before, "{case}");
                if !happened {
                    break;
                }
                spoilt += 1;
            }
            assert_eq!(spoilt, least, "requests that make something: {world:?} {fault:?}");
        }
    }
}

/// Something of somebody else's under the name of each kind of object: it is never changed, never
/// removed, and said.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_runs_own_is_left_alone() {
    let stage = Stage::set().await;
    let others = Marks::of_run("other");
    let tags = others.tags();
    let deny = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Action": "*", "Resource": "*" }] });
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }, "Action": "sts:AssumeRole",
    }] });
    let names = tenant::TenantNames::new(&stage.cluster, "team-red").unwrap();
    let aws = stage.aws();
    for kind in ["policy", "role", "secret", "namespace"] {
        match kind {
            "policy" => {
                aws.provide_policy(&names.policy(), &deny, &tags).await.unwrap();
            }
            "role" => {
                let policy = aws.provide_policy("another", &deny, &tags).await.unwrap();
                aws.provide_role(&names.role(), &trust, &policy, &tags)
                    .await
                    .unwrap();
            }
            "secret" => {
                let value = SecretValue::text("theirs");
                aws.provide_secret(&names.secret("secret").unwrap(), &value, &tags)
                    .await
                    .unwrap();
            }
            _ => {
                let namespace = tenant::namespace("team-red", &others);
                stage.kubernetes().create(&namespace).await.unwrap();
            }
        }
        let before = stage.there().await;
        let provisioner = stage.provisioner(kind);
        let error = provide(&provisioner, &["team-red"])
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("does not carry this run's"), "{kind}: {error}");
        let report = stage.tear_down(&provisioner).await;
        assert_eq!(report.left, [], "{kind}");
        assert_eq!(stage.there().await, before, "{kind}");
        match kind {
            "policy" => aws.remove_policy(&aws.policy_arn(&names.policy())).await.unwrap(),
            "role" => {
                aws.remove_role(&names.role()).await.unwrap();
                aws.remove_policy(&aws.policy_arn("another")).await.unwrap();
            }
            "secret" => aws.remove_secret(&names.secret("secret").unwrap()).await.unwrap(),
            _ => {
                let namespace = ObjectRef::new("v1", "Namespace", None, "team-red");
                stage.kubernetes().delete(&namespace).await.unwrap();
                let until = std::time::Instant::now() + Duration::from_secs(10);
                stage.kubernetes().wait_gone(&namespace, until).await.unwrap();
            }
        }
    }
    // What a cluster has once is used, and stays.
    let driver = tenant::csi_driver(&others, newest());
    stage.kubernetes().create(&driver).await.unwrap();
    aws.provide_oidc(&stage.environment.issuer, AUDIENCE, &tags)
        .await
        .unwrap();
    let before = stage.there().await;
    let provisioner = stage.provisioner("shared");
    provide(&provisioner, &["team-red"]).await.unwrap();
    assert_eq!(stage.tear_down(&provisioner).await.left, []);
    assert_eq!(stage.there().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_was_changed_is_brought_back_and_its_versions_go_with_it() {
    let stage = Stage::set().await;
    let aws = stage.aws();
    let tags = stage.marks.tags();
    let document = |action: &str| json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] });
    // More changes than a policy can have versions.
    for number in 0..8 {
        let action = format!("secretsmanager:Action{number}");
        aws.provide_policy("p", &document(&action), &tags).await.unwrap();
    }
    aws.remove_policy(&aws.policy_arn("p")).await.unwrap();
    assert!(stage.endpoint.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_leaves_everything_on_record_until_it_is_over() {
    let stage = Stage::set().await;
    let before = stage.there().await;
    let provisioner = stage.provisioner("ledger");
    provide(&provisioner, &["team-red"]).await.unwrap();
    stage
        .endpoint
        .set_faults(aws_endpoint::Fault::Outage(Reach::Everything).into());
    let report = stage.tear_down(&provisioner).await;
    let left: Vec<&str> = report.left.iter().map(|left| left.object.as_str()).collect();
    assert!(left.contains(&"objects in AWS"), "{left:?}");
    // Role, policy, secret, identity provider.
    assert_eq!(provisioner.ledger().standing().len(), 4);
    stage.endpoint.set_faults(Faults::default());
    let report = stage.tear_down(&provisioner).await;
    assert_eq!((report.removed, report.left), (4, Vec::new()));
    assert_eq!(stage.there().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_no_record_is_found_by_its_mark() {
    let stage = Stage::set().await;
    let marks = stage.marks.of_tenant("team-red");
    let name = format!("{}/team-red/stray", stage.cluster.as_str());
    let value = SecretValue::text("stray");
    stage
        .aws()
        .provide_secret(&name, &value, &marks.tags())
        .await
        .unwrap();
    stage
        .kubernetes()
        .create(&tenant::namespace("stray", &marks))
        .await
        .unwrap();
    let held: Value = json!({ "metadata": { "finalizers": ["example.com/held"] } });
    let provisioner = stage.provisioner("ledger");
    let report = stage.tear_down(&provisioner).await;
    let left: Vec<String> = report.left.into_iter().map(|left| left.object).collect();
    assert!(left.contains(&format!("secret {name}")), "{left:?}");
    assert!(left.contains(&"Namespace stray".to_owned()), "{left:?}");

    // What holds an object back is named.
    let namespace = ObjectRef::new("v1", "Namespace", None, "stray");
    stage.kubernetes().merge(&namespace, &held).await.unwrap();
    stage.kubernetes().delete(&namespace).await.unwrap();
    let now = std::time::Instant::now();
    let error = stage.kubernetes().wait_gone(&namespace, now).await.unwrap_err();
    assert!(error.message.contains("finalizer example.com/held"), "{error}");
}
