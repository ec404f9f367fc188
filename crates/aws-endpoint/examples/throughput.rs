//! How many signed and authorised `GetSecretValue` calls a second the endpoint answers over HTTPS: client
//! and server in one process, closed loop, 10 seconds.
//!
//! `cargo run --release -p mountproof-aws-endpoint --example throughput -- [connections]`

#![expect(clippy::print_stdout, reason = "an example reports to whoever runs it")]
#![expect(
    clippy::unwrap_used,
    reason = "it ends where something is not as it should be"
)]

#[path = "../tests/endpoint/support/client.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod client;

use std::time::{Duration, Instant};

use client::{Answer, Caller, REGION, iam_request, secrets_request, send, signed, sts_request};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::{HttpsClient, RunCa};
use serde_json::{Value, json};

const FOR: Duration = Duration::from_secs(10);
const SECRETS: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connections: usize = std::env::args().nth(1).map_or(Ok(16), |text| text.parse())?;
    let ca = RunCa::generate("throughput")?;
    let endpoint = Endpoint::start(EndpointConfig::new("000000000000", &ca)).await?;
    let client = HttpsClient::new(ca.certificate_pem(), Some(endpoint.address()))?;
    let session = prepare(&client, &Caller::from(endpoint.root_credentials())).await;

    let began = Instant::now();
    let workers: Vec<_> = (0..connections)
        .map(|worker| {
            let (client, session) = (client.clone(), session.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < FOR {
                    let id = format!("demo/team-red/secret-{}", (worker + took.len() * 7) % SECRETS);
                    let asked = Instant::now();
                    secrets(&client, &session, "GetSecretValue", json!({ "SecretId": id })).await;
                    took.push(asked.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await?);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    println!(
        "{} calls in {seconds:.1} s over {connections} connections, client and server on {} cores: {:.0}/s, p50 {:?}, p99 {:?}",
        took.len(),
        std::thread::available_parallelism()?,
        f64::from(u32::try_from(took.len())?) / seconds,
        at(50),
        at(99),
    );
    let mut inside: Vec<_> = endpoint.calls().since(0).iter().map(|call| call.took).collect();
    inside.sort();
    println!(
        "inside the endpoint, from request to answer: p50 {:?}, p99 {:?}",
        inside[inside.len() / 2],
        inside[inside.len() * 99 / 100]
    );
    endpoint.stop().await;
    Ok(())
}

/// A call of Secrets Manager that has to succeed.
async fn secrets(client: &HttpsClient, caller: &Caller, operation: &str, input: Value) {
    done(send(client, signed(secrets_request(REGION, operation, input), caller)).await);
}

fn done(answer: Answer) -> Answer {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Secrets, a role that may read them, and a session of it.
async fn prepare(client: &HttpsClient, root: &Caller) -> Caller {
    for number in 0..SECRETS {
        let name = format!("demo/team-red/secret-{number}");
        let secret = json!({ "Name": name, "SecretString": "x".repeat(64) });
        secrets(client, root, "CreateSecret", secret).await;
    }
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
    }]})
    .to_string();
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": "arn:aws:secretsmanager:*:*:secret:demo/team-red/*",
    }]})
    .to_string();
    let role = [("RoleName", "red"), ("AssumeRolePolicyDocument", &trust)];
    done(send(client, signed(iam_request("CreateRole", &role), root)).await);
    let inline = [
        ("RoleName", "red"),
        ("PolicyName", "own"),
        ("PolicyDocument", &policy),
    ];
    done(send(client, signed(iam_request("PutRolePolicy", &inline), root)).await);
    let wanted = [
        ("RoleArn", "arn:aws:iam::000000000000:role/red"),
        ("RoleSessionName", "load"),
    ];
    done(send(client, signed(sts_request("AssumeRole", &wanted), root)).await).caller()
}
