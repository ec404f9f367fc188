//! How many signed and authorised `GetSecretValue` calls a second the endpoint answers, with the client
//! in the same process on the same processors.
//!
//! `cargo run --release -p mountproof-aws-endpoint --example throughput`
//!
//! Closed loop over HTTPS with kept-alive connections for ten seconds, after one second of warm-up.
//! Each request is signed anew; each answer is checked.

#![expect(clippy::print_stdout, reason = "it prints its result")]
#![expect(clippy::unwrap_used, reason = "it stops at the first surprise")]

use std::{
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use support::{REGION, Site, json_request, send, signed};

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/endpoint/support.rs"]
mod support;

const CONNECTIONS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let site = Arc::new(Site::start().await);
    for tenant in ["team-red", "team-blue"] {
        site.tenant(tenant).await;
    }
    let began = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|worker| tokio::spawn(work(Arc::clone(&site), worker, began)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await.unwrap());
    }
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "{} signed and authorised GetSecretValue/s over HTTPS, {CONNECTIONS} connections, {} s, client and server on {} processors",
        latencies.len() as u64 / MEASURED.as_secs(),
        MEASURED.as_secs(),
        available_parallelism().unwrap(),
    );
    println!(
        "p50 {:?}  p99 {:?}  max {:?}  n {}",
        at(50),
        at(99),
        at(100),
        latencies.len()
    );
}

/// Calls until the time is over, and returns how long each call after the warm-up took.
async fn work(site: Arc<Site>, worker: usize, began: Instant) -> Vec<Duration> {
    let tenant = ["team-red", "team-blue"][worker % 2];
    let session = site.session(tenant).await;
    let input = json!({ "SecretId": format!("demo/{tenant}/secret") });
    let mut latencies = Vec::new();
    while began.elapsed() < WARM_UP + MEASURED {
        let sent = Instant::now();
        let request = json_request(REGION, "GetSecretValue", &input);
        let answer = send(
            &site.client,
            signed(request, &session, REGION, "secretsmanager", SystemTime::now()),
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(answer.text.contains(tenant));
        if sent.duration_since(began) >= WARM_UP {
            latencies.push(sent.elapsed());
        }
    }
    latencies
}
