//! An account of AWS's for a test: the endpoint with EKS, whose clusters are API servers of the Kubernetes stand-in with nodes.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use mountproof::{
    aws::{AddonRequest, AdminKey, Aws, AwsAccess, ClusterRequest, NodegroupRequest, service_trust},
    environment::StandInClusters,
};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use tokio::runtime::{Builder, Runtime};

use crate::support::{Ended, Place, Running};

/// The account's number.
pub(crate) const ACCOUNT: &str = "000000000000";
/// Where its clusters are.
pub(crate) const REGION: &str = "eu-west-1";
/// What every run that makes a cluster is told.
pub(crate) const CREATE: [&str; 6] = [
    "run",
    "--env",
    "eks",
    "--create",
    "--subnets",
    "subnet-1,subnet-2",
];
/// Name of a cluster that is a team's own.
pub(crate) const TEAMS: &str = "prod";
/// Longest time for a run.
const PATIENCE: Duration = Duration::from_mins(3);

/// The account, and a place to run the command in against it.
pub(crate) struct Site {
    pub(crate) endpoint: Option<Endpoint>,
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
        let ca = RunCa::generate("eks").unwrap();
        fs::write(place.path("ca.pem"), ca.certificate_pem()).unwrap();
        let endpoint = runtime.block_on(async {
            Endpoint::start(change(EndpointConfig {
                cluster_backend: Some(Arc::new(StandInClusters::new(&ca))),
                cluster_settling: Duration::from_millis(50),
                root_assumes_roles: true,
                ..EndpointConfig::new(ACCOUNT, &ca)
            }))
            .await
            .unwrap()
        });
        Self {
            address: format!("https://{}", endpoint.address()),
            endpoint: Some(endpoint),
            runtime,
            place,
        }
    }

    /// The account, as its root.
    pub(crate) fn aws(&self) -> Aws {
        let root = self.endpoint().root_credentials();
        let access = AwsAccess {
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(self.address.clone()),
            trust_pem: Some(fs::read_to_string(self.place.path("ca.pem")).unwrap()),
            proxy: None,
        };
        Aws::connect(
            access,
            AdminKey::new(&root.access_key_id, root.secret_access_key()),
        )
        .unwrap()
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

    /// Everything in the account.
    pub(crate) fn everything(&self) -> Vec<String> {
        self.endpoint().leftovers()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.endpoint.as_ref().unwrap()
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
        if let Some(endpoint) = self.endpoint.take() {
            self.runtime.block_on(endpoint.stop());
        }
    }
}
