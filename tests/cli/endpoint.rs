//! `mountproof endpoint`: where it says it is, what it keeps from one start to the next, how it refuses.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mountproof::{
    aws::{AdminKey, Aws, AwsAccess, Tags},
    secret::SecretValue,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Running};

/// Any free port, and a root key that is known.
const ANYWHERE: &[&str] = &[
    "endpoint",
    "--listen",
    "127.0.0.1:0",
    "--root-credentials",
    "test:short",
];

pub(crate) fn started(place: &Place, more: &[&str]) -> (Running, Value) {
    started_in(place, more, &[])
}

/// With these variables in its environment.
pub(crate) fn started_in(place: &Place, more: &[&str], environment: &[(&str, &str)]) -> (Running, Value) {
    let folder = place.path("about");
    let arguments = [ANYWHERE, &["--folder", folder.to_str().unwrap()], more].concat();
    // Of an earlier one.
    let _ = fs::remove_file(folder.join("aws.env"));
    let mut command = place.command(&arguments);
    command.envs(environment.iter().copied());
    let running = Running::start(command);
    let until = Instant::now() + Duration::from_secs(30);
    let about = |name: &str| fs::read_to_string(folder.join(name)).ok();
    loop {
        if let Some(variables) = about("aws.env") {
            let line = variables
                .lines()
                .find_map(|line| line.strip_prefix("export AWS_ENDPOINT_URL="));
            if let Some(url) = line {
                let ca = about("ca.pem").unwrap();
                return (running, serde_json::json!({"http": url, "ca": ca}));
            }
        }
        assert!(Instant::now() < until, "it is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// A client of what [`started`] says.
fn client(about: &Value) -> Aws {
    let access = AwsAccess {
        region: "eu-west-1".to_owned(),
        account: "000000000000".to_owned(),
        partition: "aws".to_owned(),
        endpoint: Some(about["http"].as_str().unwrap().to_owned()),
        trust_pem: Some(about["ca"].as_str().unwrap().to_owned()),
        proxy: None,
    };
    Aws::connect(access, AdminKey::new("test", "short")).unwrap()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn ended_in_order(running: Running) {
    running.signal(Signal::TERM);
    running.end().exits(0);
}

#[test]
fn what_there_is_comes_back_with_its_state_file() {
    let place = Place::new();
    let file: PathBuf = place.path("state.json");
    let state = ["--state", file.to_str().unwrap()];
    let value = SecretValue::text("hunter2");
    let document = serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000000:role/nobody"},
        "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]});

    let (running, about) = started(&place, &state);
    let arn = runtime().block_on(async {
        let aws = client(&about);
        let arn = aws
            .provide_secret("demo/kept", &value, &Tags::new())
            .await
            .unwrap();
        aws.put_resource_policy("demo/kept", &document).await.unwrap();
        arn
    });
    ended_in_order(running);
    assert_eq!(mode(&file), 0o600, "there are secrets in it");
    let saved = fs::read_to_string(&file).unwrap();

    let (running, about) = started(&place, &state);
    let back = runtime().block_on(async { client(&about).secret_value(&arn).await });
    assert!(
        back.unwrap().matches(value.expose()),
        "by its ARN, suffix included"
    );
    // A read changes nothing but the day of the last one.
    ended_in_order(running);
    let policy = "arn:aws:iam::000000000000:role/nobody";
    for text in [saved, fs::read_to_string(&file).unwrap()] {
        assert!(text.contains(policy), "the policy is kept");
    }
}

#[test]
fn a_state_file_that_is_none_is_left_alone_and_said_so() {
    let place = Place::new();
    let file = place.path("state.json");
    let named = file.to_str().unwrap();
    for (text, said) in [
        ("{\n\"half\": ", "state.json:2: not a state that an endpoint left"),
        ("{}", "it is no state of an endpoint"),
        (
            "{\"mountproofEndpointState\": 1, \"account\": \"111111111111\"}",
            "it is of account 111111111111, and this endpoint's is 000000000000",
        ),
        (
            "{\"mountproofEndpointState\": 1, \"account\": \"000000000000\", \"secrets\": 7}",
            "its part secrets",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let arguments = [ANYWHERE, &["--state", named]].concat();
        place
            .run(&arguments)
            .exits(2)
            .says(&[said, "move it away to begin anew"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "it is as it was");
    }
    assert_eq!(place.scratch(), Vec::<String>::new());
}

#[test]
fn a_state_that_cannot_be_saved_is_no_success() {
    let place = Place::new();
    let file = place.path("gone/state.json");
    fs::create_dir(place.path("gone")).unwrap();
    let (running, _) = started(&place, &["--state", file.to_str().unwrap()]);
    fs::remove_dir(place.path("gone")).unwrap();
    running.signal(Signal::TERM);
    running.end().exits(7).says(&["what there is could not be saved"]);
}

#[test]
fn arguments_that_make_no_sense_say_what_would() {
    let place = Place::new();
    for (arguments, said) in [
        (["--account", "12"], "12 digits"),
        (["--root-credentials", "test"], "a colon between"),
        (["--listen", "somewhere"], "invalid socket address"),
    ] {
        let arguments = [&["endpoint"][..], &arguments].concat();
        place.run(&arguments).exits(2).says(&[said]);
    }
}

#[test]
fn a_taken_port_is_an_environment_that_cannot_be_had() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place
        .run(&["endpoint", "--listen", &address])
        .exits(3)
        .says(&[&address, "give port 0 for a free port"]);
}

#[test]
fn its_own_folder_goes_with_it() {
    let place = Place::new();
    let running = place.start(ANYWHERE);
    let until = Instant::now() + Duration::from_secs(30);
    while place.scratch().is_empty() {
        assert!(Instant::now() < until, "it makes no folder");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::INT);
    running.end().exits(0).prints(&["\"env_file\":"]);
    assert_eq!(place.scratch(), Vec::<String>::new());
}
