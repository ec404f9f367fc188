//! Accounts, through the command that needs nothing else: whose credentials are found, what is said where there are none, and
//! what `sweep` removes there.
//!
//! The account is an endpoint in this process, which `AWS_ENDPOINT_URL` and `AWS_CA_BUNDLE` lead to, as they lead any AWS tool.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc, time::Duration};

use mountproof::{
    aws::{AdminKey, Aws, AwsAccess, ClusterRequest, service_trust},
    environment::{NodeOptions, StandInClusters},
    provision::{ClusterReach, Ledger, Object, Reach},
    secret::SecretValue,
    tenant::Marks,
};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use tokio::runtime::{Builder, Runtime};

use crate::support::{Ended, Place, Running};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "eu-west-1";
/// What a scheduled clean-up asks for; nothing is too young for it.
const SWEEP: [&str; 7] = [
    "sweep",
    "--env",
    "eks",
    "--older-than",
    "0s",
    "--allow-account",
    ACCOUNT,
];

/// Variables that lead to the account, and those of its root key.
const WAY: [&str; 3] = ["AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_REGION"];
const KEY: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

struct Account {
    endpoint: Option<Endpoint>,
    runtime: Runtime,
    place: Place,
    aws: Aws,
}

impl Account {
    fn open() -> Self {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        let place = Place::new();
        let ca = RunCa::generate("account").unwrap();
        fs::write(place.path("ca.pem"), ca.certificate_pem()).unwrap();
        fs::create_dir(place.path("home")).unwrap();
        let endpoint = runtime
            .block_on(Endpoint::start(EndpointConfig {
                cluster_backend: Some(Arc::new(StandInClusters::new(&ca, NodeOptions::default()))),
                cluster_settling: Duration::from_millis(50),
                ..EndpointConfig::new(ACCOUNT, &ca)
            }))
            .unwrap();
        let root = endpoint.root_credentials();
        let access = AwsAccess {
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            partition: "aws".to_owned(),
            endpoint: Some(format!("https://{}", endpoint.address())),
            trust_pem: Some(ca.certificate_pem().to_owned()),
            proxy: None,
        };
        let key = AdminKey::new(&root.access_key_id, root.secret_access_key());
        Self {
            aws: Aws::connect(access, key).unwrap(),
            endpoint: Some(endpoint),
            runtime,
            place,
        }
    }

    fn endpoint(&self) -> &Endpoint {
        self.endpoint.as_ref().unwrap()
    }

    /// The command with these variables of [`WAY`] and [`KEY`] and no other of AWS's.
    fn command(&self, arguments: &[&str], variables: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("SSL_CERT_") || text.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", self.place.path("home"))
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let root = self.endpoint().root_credentials();
        for name in variables {
            let value = match *name {
                "AWS_ENDPOINT_URL" => format!("https://{}", self.endpoint().address()),
                "AWS_CA_BUNDLE" => self.place.path("ca.pem").display().to_string(),
                "AWS_REGION" => REGION.to_owned(),
                "AWS_ACCESS_KEY_ID" => root.access_key_id.clone(),
                "AWS_SECRET_ACCESS_KEY" => root.secret_access_key().to_owned(),
                other => panic!("{other}"),
            };
            command.env(name, value);
        }
        command
    }

    /// With the root key in the environment.
    fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(arguments, &[&WAY[..], &KEY].concat())).end()
    }

    /// The shared configuration file.
    fn configure(&self, text: &str) {
        let folder = self.place.path("home/.aws");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config"), text).unwrap();
    }

    /// The ledger of a run that was killed, which made things in `account` and in the EKS cluster `demo`.
    fn killed(&self, account: &str, objects: &[Object]) {
        let folder = self.place.path("out/r1");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ledger.jsonl");
        let reach = Reach::Account {
            account: account.to_owned(),
            region: REGION.to_owned(),
            profile: None,
            cluster: ClusterReach::Eks("demo".to_owned()),
        };
        Ledger::create_reaching(&path, "r1", reach)
            .unwrap()
            .plan(objects)
            .unwrap();
        let own = fs::read_to_string(&path).unwrap();
        fs::write(&path, own.replacen("\"started\":", "\"started\":9", 1)).unwrap();
    }

    fn leftovers(&self) -> Vec<String> {
        self.endpoint().leftovers()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            self.runtime.block_on(endpoint.stop());
        }
    }
}

#[test]
fn credentials_region_and_endpoint_are_found_as_any_aws_tool_finds_them() {
    let account = Account::open();
    let nothing = ["nothing of any run in account 000000000000, eu-west-1"];
    account.run(&SWEEP).exits(0).prints(&nothing);
    // All of it by a profile, and its key by a program.
    let root = account.endpoint().root_credentials();
    let program = account.place.path("credentials");
    let said = format!(
        "#!/bin/sh\necho '{{\"Version\": 1, \"AccessKeyId\": \"{}\", \"SecretAccessKey\": \"{}\"}}'\n",
        root.access_key_id,
        root.secret_access_key()
    );
    fs::write(&program, said).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    account.configure(&format!(
        "[profile ci]\nregion = {REGION}\nendpoint_url = https://{}\ncredential_process = {}\n",
        account.endpoint().address(),
        program.display()
    ));
    let named = [&SWEEP[..], &["--profile", "ci"]].concat();
    let ended = Running::start(account.command(&named, &["AWS_CA_BUNDLE"])).end();
    ended.exits(0).prints(&nothing);
    let mut command = account.command(&SWEEP, &["AWS_CA_BUNDLE"]);
    command.env("AWS_PROFILE", "ci");
    Running::start(command).end().exits(0).prints(&nothing);
    // An address for one service counts before the one for all.
    let mut command = account.command(&SWEEP, &[&WAY[..], &KEY].concat());
    command.env("AWS_ENDPOINT_URL_EKS", "https://127.0.0.1:1");
    Running::start(command)
        .end()
        .exits(3)
        .says(&["eks:ListClusters", "Connection refused"]);
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let account = Account::open();
    let run = |variables: &[&str]| Running::start(account.command(&SWEEP, variables)).end();
    run(&WAY)
        .exits(3)
        .says(&["find AWS credentials", "AWS_PROFILE", "aws sso login"]);
    run(&[&WAY[..2], &KEY].concat())
        .exits(3)
        .says(&["find the AWS region", "--region"]);
    // Its certificate is none of those that the platform trusts.
    run(&["AWS_ENDPOINT_URL", "AWS_REGION", KEY[0], KEY[1]])
        .exits(3)
        .says(&["sts:GetCallerIdentity", "certificate"]);
    for (text, says) in [("", "no certificate"), ("nonsense", "no certificate")] {
        fs::write(account.place.path("ca.pem"), text).unwrap();
        run(&[&WAY[..], &KEY].concat())
            .exits(3)
            .says(&["AWS_CA_BUNDLE", says]);
    }
    fs::remove_file(account.place.path("ca.pem")).unwrap();
    run(&[&WAY[..], &KEY].concat())
        .exits(3)
        .says(&["AWS_CA_BUNDLE", "No such file"]);
}

#[test]
fn credentials_that_have_expired_are_said_to_have() {
    let account = Account::open();
    account.configure(
        "[profile dev]\nsso_session = dev\nsso_account_id = 000000000000\nsso_role_name = admin\nregion = eu-west-1\n\
         [sso-session dev]\nsso_region = eu-west-1\nsso_start_url = https://example.awsapps.com/start\n",
    );
    let cache = account.place.path("home/.aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    // Named by the SHA-1 of the session's name.
    fs::write(
        cache.join("34c6fceca75e456f25e7e99531e2425c6c1de443.json"),
        r#"{"accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": "https://example.awsapps.com/start"}"#,
    )
    .unwrap();
    let named = [&SWEEP[..], &["--profile", "dev"]].concat();
    Running::start(account.command(&named, &WAY))
        .end()
        .exits(3)
        .says(&["find AWS credentials", "expired", "aws sso login"]);
}

#[test]
fn a_killed_run_in_an_account_is_finished_with_the_credentials_of_that_account() {
    let account = Account::open();
    let tags = Marks::of_run("r1").tags();
    account.runtime.block_on(async {
        let trust = service_trust("eks.amazonaws.com");
        let role_arn = account
            .aws
            .provide_role_with("mountproof-r1-cluster", &trust, &[], &tags)
            .await
            .unwrap();
        let wanted = ClusterRequest {
            name: "demo".to_owned(),
            version: None,
            role_arn,
            subnets: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
            security_groups: Vec::new(),
            tags: tags.clone(),
        };
        account.aws.create_cluster(&wanted).await.unwrap();
        let value = SecretValue::text("of no worth");
        account
            .aws
            .provide_secret("mountproof-r1/secret", &value, &tags)
            .await
            .unwrap();
    });
    let objects = [
        Object::Role("mountproof-r1-cluster".to_owned()),
        Object::EksCluster("demo".to_owned()),
        Object::Secret("mountproof-r1/secret".to_owned()),
    ];
    let before = account.leftovers();
    assert_eq!(before.len(), 3, "{before:?}");
    let sweep = ["sweep", "--reports", "out"];

    account.killed("111122223333", &objects);
    account.run(&sweep).exits(3).prints(&[
        "not touched",
        "account 111122223333",
        "account 000000000000",
        "--profile",
    ]);
    fs::remove_dir_all(account.place.path("out")).unwrap();
    account.killed(ACCOUNT, &objects);
    let without = Running::start(account.command(&sweep, &WAY)).end();
    without.exits(3).prints(&["not touched", "AWS_PROFILE"]);
    account
        .run(&["sweep", "--reports", "out", "--dry-run"])
        .exits(0)
        .prints(&["3 to remove", "would remove  EKS cluster demo"]);
    assert_eq!(account.leftovers(), before);

    account.run(&sweep).exits(0).prints(&[
        "3 removed",
        "removed  EKS cluster demo",
        "removed  secret mountproof-r1/secret",
        "removed  iam role mountproof-r1-cluster",
    ]);
    assert_eq!(account.leftovers(), Vec::<String>::new());
    account.run(&sweep).exits(0).prints(&["left nothing"]);
}

#[test]
fn an_account_is_swept_without_a_ledger_but_not_of_runs_that_are_going_on_here() {
    let account = Account::open();
    let make = |run: &str| {
        let (name, tags) = (format!("mountproof-{run}/secret"), Marks::of_run(run).tags());
        let value = SecretValue::text("of no worth");
        let made = account.aws.provide_secret(&name, &value, &tags);
        account.runtime.block_on(made).unwrap();
    };
    make("here");
    make("gone");
    let folder = account.place.path("reports/here");
    fs::create_dir_all(&folder).unwrap();
    let ledger = Ledger::create(&folder.join("ledger.jsonl"), "here").unwrap();
    account
        .run(&[
            "sweep",
            "--env",
            "eks",
            "--older-than",
            "6h",
            "--allow-account",
            ACCOUNT,
        ])
        .exits(0)
        .prints(&[
            "gone  0m old, 1 object; left alone",
            "here  still running here; left alone",
        ]);
    account
        .run(&[&SWEEP[..], &["--dry-run"]].concat())
        .exits(0)
        .prints(&[
            "gone  0m old; 1 to remove",
            "would remove  secret mountproof-gone/secret",
        ]);
    assert_eq!(account.leftovers().len(), 2);
    account.run(&SWEEP).exits(0).prints(&[
        "gone  0m old; 1 removed",
        "removed  secret mountproof-gone/secret",
    ]);
    assert_eq!(account.leftovers(), ["secret mountproof-here/secret"]);
    drop(ledger);
    account.run(&["sweep", "--env", "eks"]).exits(2);
}
