//! The stand-ins held to the real driver and the real provider: the same requests to both, and
//! everything that a kubelet, an API server and AWS see of them compared.
//!
//! It needs the two programs, and the right to mount:
//!
//! ```console
//! MOUNTPROOF_REAL_DRIVER=.. MOUNTPROOF_REAL_PROVIDER=.. cargo test --release -p mountproof-stand-ins --test side_by_side -- --ignored
//! ```

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(clippy::print_stderr, reason = "says how much was compared")]

mod aws;
mod bench;
mod cases;
mod objects;
mod recorder;
mod refusals;
mod trouble;
mod world;

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use bench::{Bench, Transcript};
use world::{Programs, Setup, World};

fn programs() -> Programs {
    let program = |name: &str| {
        let path = std::env::var_os(name).unwrap_or_else(|| panic!("{name} must name the real program"));
        PathBuf::from(path)
    };
    Programs {
        driver: program("MOUNTPROOF_REAL_DRIVER"),
        provider: program("MOUNTPROOF_REAL_PROVIDER"),
    }
}

fn setup() -> Setup {
    Setup {
        driver: None,
        provider: None,
        rotation: None,
        driver_writes_secrets: false,
        region: true,
        qps: 500.0,
        burst: 500,
        recorded: true,
    }
}

/// Runs `cases` before every pairing of real and stand-in, and compares with both real.
async fn compare(name: &str, setup: Setup, cases: impl AsyncFn(&mut Bench)) {
    let programs = programs();
    let mut all = Vec::new();
    for (pair, driver, provider) in [
        ("real driver, real provider", true, true),
        ("stand-in driver, stand-in provider", false, false),
        ("real driver, stand-in provider", true, false),
        ("stand-in driver, real provider", false, true),
    ] {
        if std::env::var("MOUNTPROOF_PAIRS").is_ok_and(|wanted| !wanted.split('|').any(|one| one == pair)) {
            continue;
        }
        let mut bench = Bench::new(
            Box::pin(World::start(Setup {
                driver: driver.then(|| programs.driver.clone()),
                provider: provider.then(|| programs.provider.clone()),
                ..setup.clone()
            }))
            .await,
        );
        cases(&mut bench).await;
        let transcript = bench.done().await;
        if let Some(folder) = std::env::var_os("MOUNTPROOF_REAL_LOGS") {
            let path = PathBuf::from(folder).join(format!("{name}: {pair}.txt"));
            std::fs::write(path, written(&transcript)).unwrap();
        }
        all.push((pair, transcript));
    }
    let mut differences = String::new();
    let (_, real) = &all[0];
    for (pair, transcript) in &all[1..] {
        assert_eq!(real.len(), transcript.len(), "{pair}: cases");
        for ((case, expected), (_, found)) in real.iter().zip(transcript) {
            let (missing, extra) = (without(expected, found), without(found, expected));
            if missing.is_empty() && extra.is_empty() {
                continue;
            }
            let _ = writeln!(differences, "{pair}, {case}:");
            for line in missing {
                let _ = writeln!(differences, "  real only: {line}");
            }
            for line in extra {
                let _ = writeln!(differences, "  here only: {line}");
            }
        }
    }
    eprintln!("{name}: {} cases compared", real.len());
    assert!(differences.is_empty(), "{differences}");
}

fn without(all: &[String], but: &[String]) -> Vec<String> {
    let mut rest: Vec<&String> = but.iter().collect();
    let mut left = Vec::new();
    // In brackets stands what is only for the reader.
    for line in all.iter().filter(|line| !line.starts_with('(')) {
        match rest.iter().position(|other| *other == line) {
            Some(at) => drop(rest.remove(at)),
            None => left.push(line.clone()),
        }
    }
    left
}

fn written(transcript: &Transcript) -> String {
    let mut text = String::new();
    for (case, lines) in transcript {
        let _ = writeln!(text, "## {case}");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn mounts() {
    compare("mounts", setup(), cases::mounts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn refusals() {
    compare("refusals", setup(), refusals::refusals).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn objects() {
    compare("objects", setup(), objects::objects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn lifetimes() {
    compare("lifetimes", setup(), cases::lifetimes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn rotation() {
    let setup = Setup {
        rotation: Some(Duration::from_secs(2)),
        ..setup()
    };
    compare("rotation", setup, cases::rotation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn files_that_the_driver_writes() {
    let setup = Setup {
        driver_writes_secrets: true,
        rotation: Some(Duration::from_secs(1)),
        ..setup()
    };
    compare("driver writes", setup, cases::driver_writes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn regions() {
    let setup = Setup {
        region: false,
        ..setup()
    };
    compare("regions", setup, cases::regions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MOUNTPROOF_REAL_DRIVER and MOUNTPROOF_REAL_PROVIDER"]
async fn trouble_with_aws() {
    compare("trouble", setup(), trouble::trouble).await;
}
