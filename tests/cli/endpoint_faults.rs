//! `mountproof endpoint --fault`, `--faults FILE` with SIGHUP, and `--quotas aws`, as a client sees them.

use std::{
    fs,
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata as _, SdkError},
};
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    endpoint::{ended_in_order, runtime, started, started_in},
    support::Place,
};

/// Longest wait for a change to take effect, or for a bucket to run dry.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
/// Calls that the bucket of `GetRandomPassword` holds: a second of AWS's published 50.
const BURST: usize = 50;

/// A client that tries once, so that every refusal is seen.
fn client(about: &Value) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(about["http"].as_str().unwrap())
        .credentials_provider(Credentials::new("test", "short", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

/// What comes of a call: `ok`, or the code with its status.
fn came<T, E>(answer: Result<T, SdkError<E>>) -> String
where
    E: aws_sdk_secretsmanager::error::ProvideErrorMetadata,
{
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.raw_response() {
            Some(response) => {
                let status = response.status().as_u16();
                format!("{} {status}", error.code().unwrap_or("no code"))
            }
            None => "no answer".to_owned(),
        },
    }
}

async fn get(client: &Client) -> String {
    came(client.get_secret_value().secret_id("demo/a").send().await)
}

async fn list(client: &Client) -> String {
    came(client.list_secrets().send().await)
}

/// Waits until reading the secret comes to this.
async fn await_get(client: &Client, expected: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = get(client).await;
        if seen == expected {
            return;
        }
        assert!(Instant::now() < until, "{seen}, and never {expected}");
        tokio::time::sleep(LOOK).await;
    }
}

async fn with_secret(about: &Value) -> Client {
    let client = client(about);
    let made = client.create_secret().name("demo/a").secret_string("hunter2");
    assert_eq!(came(made.send().await), "ok");
    client
}

#[test]
fn a_fault_of_the_command_line_is_what_a_client_gets_and_the_log_names() {
    let place = Place::new();
    let fault = "error:secretsmanager:GetSecretValue:InternalServiceError:100%";
    let (running, about) = started_in(&place, &["--fault", fault], &[("MOUNTPROOF_LOG", "info")]);
    runtime().block_on(async {
        let client = with_secret(&about).await;
        assert_eq!(get(&client).await, "InternalServiceError 500");
        assert_eq!(list(&client).await, "ok", "nothing else is struck");
    });
    running.signal(Signal::TERM);
    let ended = running.end().exits(0).says(&["a fault struck a call", fault]);
    let struck: Vec<&str> = ended
        .err
        .lines()
        .filter(|line| line.contains("a fault struck"))
        .collect();
    assert!(
        matches!(struck.as_slice(), [line] if line.contains("GetSecretValue") && line.contains("status=500")),
        "one call was struck: {struck:?}"
    );
}

#[test]
fn faults_in_a_file_change_at_a_hangup_and_those_of_the_command_line_stay() {
    let place = Place::new();
    let file = place.path("faults.txt");
    let wants =
        |code: &str| format!("# read again at SIGHUP\nerror:secretsmanager:GetSecretValue:{code}:100%\n");
    fs::write(&file, wants("ThrottlingException")).unwrap();
    let stays = "error:secretsmanager:ListSecrets:InvalidRequestException:100%";
    let arguments = ["--fault", stays, "--faults", file.to_str().unwrap()];
    let (running, about) = started(&place, &arguments);
    runtime().block_on(async {
        let client = with_secret(&about).await;
        assert_eq!(get(&client).await, "ThrottlingException 400");

        fs::write(&file, wants("DecryptionFailure")).unwrap();
        assert_eq!(
            get(&client).await,
            "ThrottlingException 400",
            "not before it is told"
        );
        running.signal(Signal::HUP);
        await_get(&client, "DecryptionFailure 400").await;
        assert_eq!(list(&client).await, "InvalidRequestException 400");

        fs::write(&file, "").unwrap();
        running.signal(Signal::HUP);
        await_get(&client, "ok").await;
        assert_eq!(list(&client).await, "InvalidRequestException 400");
    });
    ended_in_order(running);
}

#[test]
fn a_file_that_is_wrong_at_a_hangup_is_pointed_at_and_changes_nothing() {
    let place = Place::new();
    let file = place.path("faults.txt");
    let good = "error:secretsmanager:GetSecretValue:ThrottlingException:100%\n";
    fs::write(&file, good).unwrap();
    let named = file.to_str().unwrap();
    let (running, about) = started(&place, &["--faults", named]);
    runtime().block_on(async {
        let client = with_secret(&about).await;
        for (text, said) in [
            ("reset:100%\n\nrest:1%\n", "faults.txt:3: `rest:1%` is no fault"),
            (
                "error:*:*:Throttling:101%",
                "faults.txt:1: `error:*:*:Throttling:101%` is no fault",
            ),
        ] {
            fs::write(&file, text).unwrap();
            running.signal(Signal::HUP);
            running.await_said(said);
            assert_eq!(get(&client).await, "ThrottlingException 400");
        }
        fs::remove_file(&file).unwrap();
        running.signal(Signal::HUP);
        running.await_said("cannot read");
        assert_eq!(get(&client).await, "ThrottlingException 400");

        fs::write(&file, "").unwrap();
        running.signal(Signal::HUP);
        await_get(&client, "ok").await;
    });
    ended_in_order(running);
}

#[test]
fn a_file_that_is_wrong_at_the_start_starts_nothing() {
    let place = Place::new();
    let file = place.path("faults.txt");
    fs::write(&file, "# one\nouttage\n").unwrap();
    let arguments = [
        "endpoint",
        "--listen",
        "127.0.0.1:0",
        "--faults",
        file.to_str().unwrap(),
    ];
    let said = "faults.txt:2: `outtage` is no fault";
    place.run(&arguments).exits(2).says(&[said]);
    place
        .run(&["endpoint", "--listen", "127.0.0.1:0", "--fault", "outtage"])
        .exits(2)
        .says(&["`outtage` is no fault"]);
    assert_eq!(place.scratch(), Vec::<String>::new());
}

/// So many calls at once, and what came of each.
async fn passwords(client: &Client, calls: usize) -> Vec<String> {
    join_all((0..calls).map(|_| async { came(client.get_random_password().send().await) })).await
}

#[test]
fn what_is_above_a_published_quota_is_throttled() {
    let place = Place::new();
    let (running, about) = started(&place, &["--quotas", "aws"]);
    runtime().block_on(async {
        let client = with_secret(&about).await;
        let burst = passwords(&client, BURST).await;
        assert!(
            burst.iter().all(|came| came == "ok"),
            "a bucket is full at first: {burst:?}"
        );
        // It fills while it is emptied, and more slowly than this comes.
        let until = Instant::now() + PATIENCE;
        loop {
            let more = passwords(&client, BURST).await;
            let (passed, refused): (Vec<_>, Vec<_>) = more.iter().partition(|came| *came == "ok");
            if !refused.is_empty() {
                assert!(
                    refused.iter().all(|came| *came == "ThrottlingException 400"),
                    "{} passed, {refused:?}",
                    passed.len()
                );
                break;
            }
            assert!(Instant::now() < until, "nothing was throttled");
        }
        // Every quota has a bucket of its own.
        assert_eq!(get(&client).await, "ok");
    });
    ended_in_order(running);
}

#[test]
fn without_quotas_nothing_is_throttled() {
    let place = Place::new();
    let (running, about) = started(&place, &[]);
    runtime().block_on(async {
        let client = client(&about);
        for _ in 0..10 {
            let came = passwords(&client, BURST).await;
            assert!(came.iter().all(|came| came == "ok"), "{came:?}");
        }
    });
    ended_in_order(running);
}
