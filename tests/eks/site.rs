//! An account of AWS's for a test: the endpoint with EKS, whose clusters are API servers of the Kubernetes stand-in with nodes.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use mountproof::{
    aws::{AddonRequest, Aws, ClusterRequest, NodegroupRequest, service_trust},
    environment::{NodeOptions, StandInClusters},
    kubernetes::{Identity, Kubernetes, KubernetesAccess},
    tenant::{AUDIENCE, Marks},
};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    account,
    support::{Ended, Place, Running},
};

/// The account's number, and where its clusters are.
pub(crate) use crate::account::{ACCOUNT, REGION};
/// What every run that makes a cluster is told.
pub(crate) const CREATE: [&str; 8] = [
    "run",
    "--env",
    "eks",
    "--create",
    "--subnets",
    "subnet-1,subnet-2",
    "--agent-image",
    "mountproof:test",
];
/// Name of a cluster that is a team's own.
pub(crate) const TEAMS: &str = "prod";
/// What every run in it is told.
pub(crate) const USE: [&str; 7] = [
    "run",
    "--env",
    "eks",
    "--cluster-name",
    TEAMS,
    "--agent-image",
    "mountproof:test",
];
/// What a cluster is compared by.
const KINDS: [(&str, &str); 13] = [
    ("v1", "Namespace"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("storage.k8s.io/v1", "CSIDriver"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "Pod"),
];
/// Longest time for a run.
const PATIENCE: Duration = Duration::from_mins(3);

/// The account, and a place to run the command in against it.
pub(crate) struct Site {
    account: Option<account::Site>,
    pub(crate) runtime: Runtime,
    pub(crate) place: Place,
    address: String,
}

impl Site {
    /// One without anything in it.
    pub(crate) fn start() -> Self {
        Self::of(|config| config)
    }

    /// The same, with an endpoint that is as `change` says.
    pub(crate) fn of(change: impl FnOnce(EndpointConfig) -> EndpointConfig) -> Self {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let place = Place::new();
        let nodes = NodeOptions {
            max_pods: Some(200),
            clock: 20.0,
        };
        let account = runtime.block_on(account::Site::with(
            |ca| Arc::new(StandInClusters::new(ca, nodes)),
            |config| {
                change(EndpointConfig {
                    cluster_settling: Duration::from_millis(50),
                    ..config
                })
            },
        ));
        fs::write(place.path("ca.pem"), account.ca.certificate_pem()).unwrap();
        Self {
            address: format!("https://{}", account.endpoint.address()),
            account: Some(account),
            runtime,
            place,
        }
    }

    fn account(&self) -> &account::Site {
        self.account.as_ref().unwrap()
    }

    /// The account, as its root.
    pub(crate) fn aws(&self) -> Aws {
        self.account().aws()
    }

    /// A team's own cluster of two nodes, with these add-ons.
    pub(crate) fn teams_cluster(&self, addons: &[&str]) {
        let aws = self.aws();
        let tags = BTreeMap::from([("team".to_owned(), "platform".to_owned())]);
        let subnets = vec!["subnet-1".to_owned(), "subnet-2".to_owned()];
        let soon = || Instant::now() + Duration::from_mins(1);
        let making = async {
            let managed = |name: &str| format!("arn:aws:iam::aws:policy/{name}");
            let policy = managed("AmazonEKSClusterPolicy");
            let role = service_trust("eks.amazonaws.com");
            let role = aws.provide_role("cluster", &role, &policy, &tags).await?;
            let wanted = ClusterRequest {
                name: TEAMS.to_owned(),
                version: None,
                role_arn: role,
                subnets: subnets.clone(),
                security_groups: Vec::new(),
                tags: tags.clone(),
            };
            aws.create_cluster(&wanted).await?;
            aws.await_cluster(TEAMS, soon(), &|_| ()).await?;
            let policy = managed("AmazonEKSWorkerNodePolicy");
            let role = service_trust("ec2.amazonaws.com");
            let role = aws.provide_role("node", &role, &policy, &tags).await?;
            let wanted = NodegroupRequest {
                cluster: TEAMS.to_owned(),
                name: "workers".to_owned(),
                role_arn: role,
                subnets,
                instance_type: "t3.medium".to_owned(),
                min: 1,
                max: 3,
                desired: 2,
                version: None,
                tags: tags.clone(),
            };
            aws.create_nodegroup(&wanted).await?;
            aws.await_nodegroup(TEAMS, "workers", soon(), &|_| ()).await?;
            for addon in addons {
                let wanted = AddonRequest {
                    cluster: TEAMS.to_owned(),
                    name: (*addon).to_owned(),
                    version: None,
                    configuration: None,
                    overwrite: false,
                    tags: tags.clone(),
                };
                aws.create_addon(&wanted).await?;
                aws.await_addon(TEAMS, addon, soon(), &|_| ()).await?;
            }
            Ok::<(), mountproof::aws::AwsError>(())
        };
        self.runtime.block_on(making).unwrap();
    }

    /// The team's cluster, as its administrator.
    pub(crate) async fn teams_kubernetes(&self) -> Kubernetes {
        let aws = self.aws();
        let cluster = aws.cluster(TEAMS).await.unwrap();
        let token = aws.cluster_token(TEAMS).await.unwrap().token;
        let access = KubernetesAccess::new(
            cluster.endpoint.unwrap(),
            cluster.ca_pem.unwrap(),
            Identity::Token(token),
        );
        Kubernetes::connect(&access, &Marks::of_run("none"))
            .await
            .unwrap()
    }

    /// Makes something in the team's cluster.
    pub(crate) fn make(&self, manifest: &Value) {
        let making = async { self.teams_kubernetes().await.create(manifest).await };
        self.runtime.block_on(making).unwrap();
    }

    /// Everything in the team's cluster that is of interest, with its id.
    pub(crate) fn objects(&self) -> Vec<String> {
        let looking = async {
            let kubernetes = self.teams_kubernetes().await;
            let mut all = Vec::new();
            for (version, kind) in KINDS {
                for object in kubernetes.list(version, kind, None, None).await.unwrap() {
                    let metadata = &object["metadata"];
                    all.push(format!(
                        "{kind} {}/{} {}",
                        metadata["namespace"], metadata["name"], metadata["uid"]
                    ));
                }
            }
            all.sort();
            all
        };
        self.runtime.block_on(looking)
    }

    /// A session's key id, secret and token, of a new role that may do this.
    pub(crate) fn session_of(&self, role: &str, policy: &str) -> [String; 3] {
        let policy: Value = serde_json::from_str(policy).unwrap();
        let assuming = async {
            let (_, key) = self.account().session(role).await;
            // In the place of the one that lets it do nothing.
            let tags = Marks::of_run("clusters").tags();
            self.aws().provide_policy(role, &policy, &tags).await.unwrap();
            key
        };
        let key = self.runtime.block_on(assuming);
        let token = key.session_token().unwrap_or_default();
        [key.access_key_id(), key.secret_access_key(), token].map(str::to_owned)
    }

    /// Lets a role into the team's cluster, as its administrator.
    pub(crate) fn lets_in(&self, arn: &str) {
        let entries = format!("/clusters/{TEAMS}/access-entries");
        let entry = format!("{entries}/{}", arn.replace(':', "%3A").replace('/', "%2F"));
        let policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy";
        let associated = json!({ "policyArn": policy, "accessScope": { "type": "cluster" } });
        self.runtime.block_on(async {
            let account = self.account();
            account
                .eks("POST", &entries, &json!({ "principalArn": arn }))
                .await;
            account
                .eks("POST", &format!("{entry}/access-policies"), &associated)
                .await;
        });
    }

    /// A token of a `ServiceAccount` of the team's cluster, with which a new role can be taken on.
    pub(crate) fn token_for_a_role(&self, role: &str) -> String {
        let making = async {
            let (aws, tags) = (self.aws(), Marks::of_run("team").tags());
            let issuer = aws.cluster(TEAMS).await.unwrap().issuer.unwrap();
            let provider = aws.provide_oidc(&issuer, AUDIENCE, &tags).await.unwrap();
            let subject = format!("{}:sub", issuer.trim_start_matches("https://"));
            let trust = json!({ "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": { "Federated": provider }, "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": { "StringEquals": { subject: "system:serviceaccount:default:default" } },
            } });
            aws.provide_role_with(role, &trust, &[], &tags).await.unwrap();
            let kubernetes = self.teams_kubernetes().await;
            let token = kubernetes.token("default", "default", AUDIENCE).await;
            token.unwrap().expose().to_owned()
        };
        self.runtime.block_on(making)
    }

    /// Everything in the account.
    pub(crate) fn everything(&self) -> Vec<String> {
        self.endpoint().leftovers()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.account().endpoint
    }

    /// The command with these arguments, as somebody runs it who has the account's root key in the environment, and has agreed to
    /// the account.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("SSL_CERT_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        let root = self.endpoint().root_credentials();
        command
            .env("HOME", self.place.path("home"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", &self.address)
            .env("AWS_CA_BUNDLE", self.place.path("ca.pem"))
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &root.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", root.secret_access_key())
            .env("MOUNTPROOF_ALLOW_ACCOUNT", ACCOUNT);
        command
    }

    pub(crate) fn start_run(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start_run(arguments).end_within(PATIENCE)
    }

    /// Makes a cluster for the run, with these arguments beside.
    pub(crate) fn create(&self, arguments: &[&str]) -> Ended {
        self.run(&[&CREATE[..], arguments].concat())
    }

    /// Nothing is in the account.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        let left = self.everything();
        assert_eq!(left, Vec::<String>::new(), "left in the account");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            self.runtime.block_on(account.endpoint.stop());
        }
    }
}
