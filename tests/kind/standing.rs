//! `run --env cluster` in a cluster that is somebody else's: used as it is, with what is replaced put back, and no less strict
//! than any other environment.
//!
//! The cluster has an issuer with a public name, as one has whose tokens AWS is to take, and its provider's way to AWS is a
//! proxy of its own. AWS is an account of the endpoint's, or an endpoint of the run's.

use std::{collections::BTreeMap, fs, net::IpAddr, process::Command};

use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Case,
    support::{Ended, Place, Running, verdicts},
    world::{Before, WORKLOAD, ended, kubectl, node, of_cluster, said},
};

pub(crate) const CASES: &[Case] = &[(
    "a_team_s_cluster_is_used_as_it_is_and_what_is_replaced_is_put_back",
    team_s_cluster,
)];

const NAME: &str = "mountproof-teams";
const ACCOUNT: &str = "000000000000";
/// Where the provider of a cluster that `up` made looks for secrets.
const REGION: &str = "us-east-1";
const ISSUER: &str = "https://tokens.team.example";
/// The stand-in's image, started as the agent.
const AGENT: &str = "localhost/mountproof-test-agent:now";
/// What a cluster is compared by, but for what stands in [`GIVEN`].
const KINDS: &str = "daemonsets,serviceaccounts,configmaps,secrets,namespaces,clusterroles,clusterrolebindings,roles,\
                     rolebindings,customresourcedefinitions,csidrivers,secretproviderclasses";
/// What the API gives an object itself, and changes when it likes.
const STIRRING: [&str; 2] = ["resourceVersion", "managedFields"];
/// What it gives an object that is made.
const GIVEN: [&str; 3] = ["uid", "creationTimestamp", "generation"];

fn team_s_cluster() {
    let before = Before::look();
    let team = Team::start();
    team.is_used_as_it_is();
    team.gets_back_what_was_replaced();
    team.is_not_trusted_blindly();
    team.command(&["down", NAME]).exits(0);
    before.is_as_it_was(&team.place);
}

struct Team {
    runtime: Runtime,
    account: Option<Endpoint>,
    /// This machine, as pods reach it.
    host: IpAddr,
    node: String,
    place: Place,
}

impl Team {
    /// The cluster with driver and provider, an account that knows nothing of it, and the way from one to the other.
    fn start() -> Self {
        let place = Place::new();
        let issued = json!({
            "kind": "ClusterConfiguration",
            "apiServer": { "extraArgs": [{ "name": "service-account-issuer", "value": ISSUER }] },
        });
        let config = json!({
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "nodes": [{ "role": "control-plane" }],
            "kubeadmConfigPatches": [issued.to_string()],
        });
        fs::write(place.path("kind.json"), config.to_string()).unwrap();
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let team = Self {
            runtime,
            account: None,
            host: IpAddr::from([127, 0, 0, 1]),
            node: node(NAME),
            place,
        };
        let up = [&["up", NAME, "--kind-config", "kind.json"][..], &of_cluster()].concat();
        team.command(&up).exits(0);
        team.with_agents_image().with_account()
    }

    /// Gives the nodes an image of the agent, which is theirs to pull elsewhere.
    fn with_agents_image(self) -> Self {
        let flags = of_cluster();
        let driver = flags.iter().position(|flag| *flag == "--driver-image").unwrap() + 1;
        let text = format!(
            "FROM {}\nENTRYPOINT [\"/mountproof\", \"agent\"]\n",
            flags[driver]
        );
        let folder = self.place.path("agent");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("Dockerfile"), text).unwrap();
        let folder = folder.to_string_lossy();
        said("docker", ["build", "--quiet", "--tag", AGENT, &folder]);
        let kind = std::env::var("MOUNTPROOF_KIND").unwrap_or_else(|_| "kind".to_owned());
        said(&kind, ["load", "docker-image", AGENT, "--name", NAME]);
        self
    }

    /// An account in this process, which the team's provider is led to, and which can have the keys of the team's issuer.
    fn with_account(mut self) -> Self {
        let gateways = said(
            "docker",
            [
                "network",
                "inspect",
                "kind",
                "--format",
                "{{range .IPAM.Config}}{{.Gateway}} {{end}}",
            ],
        );
        let mut gateways = gateways.split_whitespace().filter_map(|text| text.parse().ok());
        self.host = gateways.find(IpAddr::is_ipv4).unwrap();
        let ca = RunCa::generate("team").unwrap();
        fs::write(self.place.path("ca.pem"), ca.certificate_pem()).unwrap();
        let account = self.runtime.block_on(Endpoint::start(EndpointConfig {
            listen: (self.host, 0).into(),
            ..EndpointConfig::new(ACCOUNT, &ca)
        }));
        let account = account.unwrap();
        let keys = self.kubectl(&["get", "--raw", "/openid/v1/jwks"]);
        account.host_issuer(ISSUER, &serde_json::from_str(&keys).unwrap());

        let trust = json!({ "data": { "ca.pem": ca.certificate_pem() } }).to_string();
        let namespace = "--namespace=kube-system";
        self.kubectl(&[
            "patch",
            namespace,
            "configmap",
            "mountproof-aws-trust",
            "--patch",
            &trust,
        ]);
        let proxy = format!("HTTPS_PROXY=http://{}", account.address());
        let provider = "daemonset/csi-secrets-store-provider-aws";
        self.kubectl(&["set", "env", namespace, provider, &proxy]);
        self.kubectl(&["rollout", "status", namespace, provider, "--timeout=60s"]);
        self.account = Some(account);
        self
    }

    /// Against the account, with the driver and provider that are there.
    fn is_used_as_it_is(&self) {
        let (was, pods) = (self.objects(&STIRRING), self.pods());
        let account = self.account.as_ref().unwrap();
        let elsewhere = self.in_account(&["--region", "eu-west-1", "--out", "elsewhere", "positive"]);
        ended(Running::start(elsewhere)).exits(3).says(&[
            "AWS_REGION=us-east-1",
            "add --region us-east-1",
            "nothing left behind",
        ]);
        let here = self.in_account(&["--out", "found", "positive", "cross-namespace-denied"]);
        ended(Running::start(here)).exits(0).says(&[
            "driver 1.6.0 found",
            "provider 3.1.1 found",
            "nothing left behind",
        ]);
        self.all_passed("found");
        assert_eq!(self.pods(), pods, "none of its pods was touched");
        self.is(&was, &STIRRING);
        assert_eq!(account.leftovers(), Vec::<String>::new(), "left in the account");
    }

    /// `run --env cluster` there, as somebody runs it who has the root key of the account.
    fn in_account(&self, more: &[&str]) -> Command {
        let account = self.account.as_ref().unwrap();
        let root = account.root_credentials();
        let mut command = self.run(more);
        command
            .env("HOME", self.place.path("home"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", format!("https://{}", account.address()))
            .env("AWS_CA_BUNDLE", self.place.path("ca.pem"))
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &root.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", root.secret_access_key())
            .env("MOUNTPROOF_ALLOW_ACCOUNT", ACCOUNT);
        command
    }

    /// With an endpoint of the run's, which only a provider of the run's can be told of.
    fn gets_back_what_was_replaced(&self) {
        let given = [&STIRRING[..], &GIVEN].concat();
        let (was, pods) = (self.objects(&given), self.pods());
        ended(Running::start(
            self.replacing("replaced", &["positive", "cross-namespace-denied"]),
        ))
        .exits(0)
        .says(&[
            "driver 1.6.0 to be replaced",
            "provider 3.1.1 to be replaced",
            "nothing left behind",
        ]);
        self.all_passed("replaced");
        assert_ne!(self.pods(), pods, "its pods were away meanwhile");
        self.is(&was, &given);
    }

    /// A defect is found there as anywhere, and the cluster is put back after it.
    fn is_not_trusted_blindly(&self) {
        let given = [&STIRRING[..], &GIVEN].concat();
        let was = self.objects(&given);
        let planted = [
            "--plant",
            "endpoint:ignore-resource",
            "--retries",
            "0",
            "cross-namespace-denied[team-red]",
        ];
        ended(Running::start(self.replacing("planted", &planted)))
            .exits(4)
            .says(&["exit 4 (isolation failed)", "nothing left behind"]);
        self.is(&was, &given);
    }

    /// `run --env cluster` there.
    fn run(&self, more: &[&str]) -> Command {
        let mut arguments = vec![
            "run",
            "--env",
            "cluster",
            "--allow-context",
            "kind-mountproof-teams",
        ];
        arguments.extend([
            "--kubeconfig",
            "state/mountproof/clusters/mountproof-teams.kubeconfig",
        ]);
        arguments.extend(["--agent-image", AGENT, "--image", WORKLOAD]);
        arguments.extend(more);
        let mut command = self.place.command(&arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("SSL_CERT_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
    }

    fn replacing(&self, out: &str, more: &[&str]) -> Command {
        let listen = format!("{}:0", self.host);
        let mut arguments = vec!["--replace-driver", "--aws", "embedded", "--aws-listen", &listen];
        arguments.extend(
            of_cluster()
                .into_iter()
                .take_while(|flag| *flag != "--kind-image"),
        );
        arguments.extend(["--out", out]);
        arguments.extend(more);
        self.run(&arguments)
    }

    fn command(&self, arguments: &[&str]) -> Ended {
        ended(Running::start(self.place.command(arguments)))
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(&self.node, arguments)
    }

    #[track_caller]
    fn all_passed(&self, out: &str) {
        let results = fs::read(self.place.path(out).join("latest/results.json")).unwrap();
        let verdicts = verdicts(&serde_json::from_slice(&results).unwrap());
        assert_eq!(verdicts.len(), 4, "{verdicts:?}");
        for (case, verdict) in verdicts {
            assert_eq!(verdict, "passed", "{case}");
        }
    }

    /// Every object of the cluster, by kind and name, without these fields of its metadata.
    fn objects(&self, without: &[&str]) -> BTreeMap<String, Value> {
        let listed = self.kubectl(&["get", KINDS, "--all-namespaces", "--output=json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let mut all = BTreeMap::new();
        for object in listed["items"].as_array().unwrap() {
            let mut object = object.clone();
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for field in without {
                metadata.remove(*field);
            }
            if let Some(notes) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                // The generation again, as older versions had it.
                notes.remove("deprecated.daemonset.template.generation");
            }
            let name = format!(
                "{} {}/{}",
                object["kind"],
                metadata_of(&object, "namespace"),
                metadata_of(&object, "name")
            );
            all.insert(name, object);
        }
        all
    }

    /// Its pods, each with its id.
    fn pods(&self) -> String {
        let fields = "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
        self.kubectl(&["get", "pods", "--all-namespaces", fields])
    }

    /// The cluster has these objects, and no other.
    #[track_caller]
    fn is(&self, was: &BTreeMap<String, Value>, without: &[&str]) {
        let now = self.objects(without);
        let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(was));
        for (name, object) in was {
            assert_eq!(&now[name], object, "{name}");
        }
    }
}

fn metadata_of(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or_default().to_owned()
}

impl Drop for Team {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            self.runtime.block_on(account.stop());
        }
        if std::thread::panicking() {
            // Whatever came: the trial failed, and says why.
            drop(self.place.command(&["down", NAME]).status());
        }
    }
}
