//! How many signed and authorised `GetSecretValue` calls a second the endpoint answers over HTTPS: client
//! and server in one process on the same processors, closed loop, ten seconds after one of warm-up.
//!
//! `cargo run --release -p mountproof-aws-endpoint --example throughput -- [connections]`
//!
//! Each request is signed anew and each answer is checked; a thousand secrets of two tenants, whose sessions
//! were given for web-identity tokens.

#![expect(clippy::print_stdout, reason = "an example reports to whoever runs it")]
#![expect(clippy::unwrap_used, reason = "it stops at the first surprise")]

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/endpoint/support.rs"]
mod support;

use std::{
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;
use support::{Caller, REGION, Site, json_request, send, signed};

const TENANTS: [&str; 2] = ["team-red", "team-blue"];
const SECRETS: usize = 1000;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let connections: usize = std::env::args()
        .nth(1)
        .map_or(8, |text| text.parse().expect("a number"));
    let site = Arc::new(Site::start().await);
    let mut sessions = Vec::new();
    for tenant in TENANTS {
        site.tenant(tenant).await;
        for number in 0..SECRETS / TENANTS.len() {
            site.done(
                "CreateSecret",
                json!({ "Name": name(tenant, number), "SecretString": tenant }),
            )
            .await;
        }
        sessions.push((tenant, site.session(tenant).await));
    }
    let cursor = site.endpoint.calls().cursor();

    let began = Instant::now();
    let workers: Vec<_> = sessions
        .iter()
        .cycle()
        .take(connections)
        .enumerate()
        .map(|(worker, session)| tokio::spawn(work(Arc::clone(&site), worker, session.clone(), began)))
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await.unwrap());
    }
    let inside = site
        .endpoint
        .calls()
        .since(cursor)
        .into_iter()
        .map(|call| call.took)
        .collect();

    println!(
        "{} calls/s over {connections} connections for {} s, client and server on {} processors",
        latencies.len() as u64 / MEASURED.as_secs(),
        MEASURED.as_secs(),
        available_parallelism().unwrap(),
    );
    println!("from request to answer    {}", percentiles(latencies));
    println!("of that in the endpoint   {}", percentiles(inside));
}

fn name(tenant: &str, number: usize) -> String {
    format!("demo/{tenant}/secret-{number}")
}

/// Calls until the time is over; how long each call after the warm-up took.
async fn work(
    site: Arc<Site>,
    worker: usize,
    (tenant, session): (&'static str, Caller),
    began: Instant,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for call in 0.. {
        let sent = Instant::now();
        if sent.duration_since(began) >= WARM_UP + MEASURED {
            break;
        }
        let number = (worker + call * 7) % (SECRETS / TENANTS.len());
        let request = json_request(
            REGION,
            "GetSecretValue",
            &json!({ "SecretId": name(tenant, number) }),
        );
        let request = signed(request, &session, REGION, "secretsmanager", SystemTime::now());
        let answer = send(&site.client, request).await;
        assert!(
            answer.status == 200 && answer.text.contains(&name(tenant, number)),
            "{answer:?}"
        );
        if sent.duration_since(began) >= WARM_UP {
            latencies.push(sent.elapsed());
        }
    }
    latencies
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!(
        "p50 {:?}  p99 {:?}  max {:?}  n {}",
        at(50),
        at(99),
        at(100),
        times.len()
    )
}
