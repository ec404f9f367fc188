//! What the endpoint does in a second, beside moto and LocalStack on the same client and the same machine:
//! `just bench-endpoint`.
//!
//! The endpoint runs as a process of its own (this program once more), and so do the peers. The client is ours for
//! all of them: it sends requests that were signed beforehand over kept-alive connections, and checks each answer.
//! The endpoint verifies every signature and authorises every call; the peers do neither.
//!
//! Prints figures; judges nothing, for they belong to a machine. With `-- --no-peers` only ours, with `-- --quick`
//! in a tenth of the time, with `-- --instructions` only what one call costs the processor and the allocator, counted
//! by valgrind, with `-- --allocations` only where one call asks for memory, and for whom.

#![expect(clippy::print_stdout, reason = "figures are for the reader of the terminal")]
#![expect(
    clippy::unwrap_used,
    reason = "it ends where something is not as it should be"
)]

mod load;
mod ours;
mod peers;
mod server;
mod sites;
#[path = "../../tests/endpoint/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use std::time::Duration;

use load::{Figures, Way};
use ours::Counted;

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    secrets: usize,
    roles: usize,
    /// Of each measurement.
    time: Duration,
    connections: usize,
    /// Calls in an hour of the day that is simulated.
    hourly: usize,
    hours: usize,
}

const WHOLE: Plan = Plan {
    secrets: 100_000,
    roles: 10_000,
    time: Duration::from_secs(8),
    connections: 8,
    hourly: 36_000,
    hours: 24,
};

const QUICK: Plan = Plan {
    secrets: 1000,
    roles: 100,
    time: Duration::from_millis(800),
    connections: 8,
    hourly: 2000,
    hours: 4,
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if has(server::FLAG) {
        return runtime.block_on(server::serve());
    }
    if has(server::BACKEND_FLAG) {
        return runtime.block_on(server::serve_backend());
    }
    if has("--instructions") {
        return runtime.block_on(instructions());
    }
    if has("--allocations") {
        return runtime.block_on(allocations());
    }
    let plan = if has("--quick") { QUICK } else { WHOLE };
    runtime.block_on(measure(plan, !has("--no-peers")));
}

async fn measure(plan: Plan, with_peers: bool) {
    machine();
    println!(
        "{:<52} {:>9} {:>10} {:>10} {:>10}",
        "", "calls/s", "p50 ms", "p99 ms", "RSS MiB"
    );
    let best = ours::measure(plan).await;
    if with_peers {
        for (name, peer) in peers::measure(plan).await {
            println!("  GetSecretValue over HTTP: {:.0} times {name}", best / peer);
        }
    }
}

/// Where profiles are kept.
const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench");

/// The calls whose cost is counted, and the names of their profiles.
const COUNTED: [(&str, &str, Counted); 3] = [
    (
        "GetSecretValue, HTTPS",
        "read-https",
        Counted::Read { secure: true },
    ),
    (
        "GetSecretValue, HTTP",
        "read-http",
        Counted::Read { secure: false },
    ),
    (
        "AssumeRoleWithWebIdentity, HTTPS",
        "assume-https",
        Counted::Assume,
    ),
];

async fn allocations() {
    std::fs::create_dir_all(PROFILES).unwrap();
    for (name, file, counted) in COUNTED {
        let file = format!("{PROFILES}/dhat.{file}");
        let sites = ours::sites(counted, &file).await;
        println!("{name}, profile in {file}:");
        for site in sites {
            println!("{site}");
        }
    }
}

async fn instructions() {
    std::fs::create_dir_all(PROFILES).unwrap();
    for (name, file, counted) in COUNTED {
        let file = format!("{PROFILES}/callgrind.{file}");
        let cost = ours::cost(counted, &file).await;
        println!(
            "{name}: {} instructions and {} allocations a call, profile in {file}",
            cost.instructions, cost.allocations
        );
    }
}

fn row(what: &str, figures: &Figures, rss: Option<f64>) {
    println!(
        "{what:<52} {:>9.0} {:>10.2} {:>10.2} {:>10}",
        figures.rate,
        figures.percentile(50.0),
        figures.percentile(99.0),
        rss.map(|rss| format!("{rss:.0}")).unwrap_or_default()
    );
}

fn machine() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("cpu");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{} cores of {model}, {:.0} GiB; load before: {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        kib / 1024.0 / 1024.0,
        load.split_whitespace().next().unwrap_or_default(),
    );
}

/// Resident memory of a process, in MiB.
fn rss(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// The way over TLS to an endpoint, trusting its authority only.
fn https(address: std::net::SocketAddr, ca_pem: &str, name: &'static str) -> Way {
    Way::https(address, ca_pem, name)
}
