//! What the load generator costs and how punctual it is: `cargo bench --bench load`.
//!
//! Prints figures; judges nothing, for they belong to a machine.
#![expect(clippy::print_stdout, reason = "figures are for the reader of the terminal")]

use std::{
    error::Error,
    hint::black_box,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mountproof::{
    journal::EventKind,
    load::{
        fetch::{FetchEnd, FetchPlan, FetchTarget, run_fetches},
        floor, histogram,
        run_mounts::{MountEnd, MountJob, MountPlan, MountTarget, MountVerdict, run_mounts},
    },
    scenario::model::{Arrival, FetchLoad, Lens, MountLoad, Pace},
};
use tokio_util::sync::CancellationToken;

struct Instantly;

impl MountTarget for Instantly {
    async fn mount(&self, _: MountJob) -> MountEnd {
        MountVerdict::Ok.into()
    }
}

impl FetchTarget for Instantly {
    async fn fetch(&self, _: usize) -> FetchEnd {
        FetchEnd::OK
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    recording();
    for (rate, arrival) in [
        (50.0, Arrival::Constant),
        (500.0, Arrival::Poisson),
        (2_000.0, Arrival::Constant),
        (2_000.0, Arrival::Poisson),
        (5_000.0, Arrival::Poisson),
    ] {
        lateness(rate, arrival).await?;
    }
    fetching(Pace::InFlight(8)).await?;
    fetching(Pace::PerSecond(10_000.0)).await?;
    let scratch = tempfile::tempdir()?;
    let floor = floor::measure(scratch.path()).await?;
    for part in &floor.parts {
        println!(
            "floor  {:<52} p50 {:>9} ns  p99 {:>9} ns  n {}",
            part.name, part.p50_ns, part.p99_ns, part.samples
        );
    }
    println!(
        "floor  {}: p50 {} ns  p99 {} ns  n {}",
        floor.lens.name, floor.lens.p50_ns, floor.lens.p99_ns, floor.lens.samples
    );
    println!(
        "floor  whole mount: kept alive {} ns, new TLS {} ns, tmpfs {}, took {:?}",
        floor.kept_alive_ns, floor.new_tls_ns, floor.tmpfs, floor.took
    );
    Ok(())
}

fn recording() {
    let mut values = histogram::empty();
    let count = 5_000_000_u32;
    let begun = Instant::now();
    for value in 0..count {
        values.saturating_record(black_box(u64::from(value) * 97 % 50_000_000));
    }
    println!("record   {:?} a value", begun.elapsed() / count);
    let begun = Instant::now();
    let payload = histogram::encode(&values);
    println!(
        "encode   {:?} for a dense histogram, {} bytes",
        begun.elapsed(),
        payload.len()
    );
}

async fn lateness(rate: f64, arrival: Arrival) -> Result<(), Box<dyn Error>> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    let pods = (rate * 3.0) as u32;
    let load = MountLoad {
        pods,
        warm_up: 0,
        rate,
        pod_rate: None,
        arrival,
        lenses: vec![Lens::Csi],
        deadline: Duration::from_secs(5),
    };
    let plan = MountPlan::of(&load, Lens::Csi, &["t".to_owned()], 41, ("lateness", "bench"))?;
    let slices = Mutex::new(Vec::new());
    let emit = |event| {
        if let EventKind::HistogramRecorded(slice) = event {
            slices
                .lock()
                .expect("nothing panics while it is held")
                .push(slice);
        }
    };
    let finished = run_mounts(&plan, Arc::new(Instantly), &emit, &CancellationToken::new()).await?;
    let slices = slices.into_inner()?;
    let lateness = &histogram::merge(&slices)?["lateness"];
    let micros = |quantile| lateness.value_at_quantile(quantile) / 1_000;
    println!(
        "lateness {arrival:?} {rate}/s: p50 {} us  p99 {} us  p99.9 {} us  max {} us  n {}  {} late by over 1 ms",
        micros(0.5),
        micros(0.99),
        micros(0.999),
        lateness.max() / 1_000,
        lateness.len(),
        finished.late
    );
    Ok(())
}

async fn fetching(pace: Pace) -> Result<(), Box<dyn Error>> {
    let load = FetchLoad {
        duration: Duration::from_secs(3),
        warm_up: Duration::from_secs(1),
        pace,
    };
    let plan = FetchPlan::of(&load, Duration::from_secs(1), ("fetch", "bench"))?;
    let slices = Mutex::new(Vec::new());
    let emit = |event| {
        if let EventKind::HistogramRecorded(slice) = event {
            slices
                .lock()
                .expect("nothing panics while it is held")
                .push(slice);
        }
    };
    let finished = run_fetches(&plan, Arc::new(Instantly), &emit, &CancellationToken::new()).await?;
    let rate = histogram::per_second(&slices.into_inner()?, "steady")?.unwrap_or_default();
    println!(
        "fetch    {pace:?}: {rate:.0}/s of nothing, {} dropped, {} late",
        finished.dropped, finished.late
    );
    Ok(())
}
