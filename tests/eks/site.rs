//! An account of AWS's for a test: the endpoint with EKS, whose clusters are API servers of the Kubernetes stand-in with nodes.

use std::{fs, process::Command, sync::Arc, time::Duration};

use mountproof::environment::StandInClusters;
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
        let left = self.endpoint().leftovers();
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
