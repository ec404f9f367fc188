//! The same tests against the real thing: etcd and kube-apiserver, from the folder that `KUBEBUILDER_ASSETS` names.
//!
//! Every test of this program is run again in a process that is told to speak to a real server. What fails there and is not
//! in [`DIFFERENT`] is a claim of the tests that the real server does not bear out; what is in it and passes is stale.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::support::{ASSETS, REAL};

/// Each test starts a server of its own.
const ALL_TESTS: Duration = Duration::from_mins(15);

/// Tests that a real server does not pass, and why not.
const DIFFERENT: &[(&str, &str)] = &[];

#[tokio::test]
#[ignore = "needs KUBEBUILDER_ASSETS: a folder with etcd and kube-apiserver"]
async fn a_real_server_passes_the_same_tests() {
    assert!(
        std::env::var_os(ASSETS).is_some(),
        "{ASSETS} names no folder with etcd and kube-apiserver"
    );
    let run = Command::new(std::env::current_exe().unwrap())
        .env(REAL, "1")
        .args(["--test-threads", "2"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(ALL_TESTS, run)
        .await
        .expect("in time")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let results = results(&text);
    assert!(results.len() > DIFFERENT.len(), "no tests ran: {text}");
    let failed: BTreeSet<&str> = results
        .iter()
        .filter_map(|(&name, &passed)| (!passed).then_some(name))
        .collect();
    let known: BTreeSet<&str> = DIFFERENT.iter().map(|&(name, _)| name).collect();
    let new: Vec<_> = failed.difference(&known).collect();
    let stale: Vec<_> = known.difference(&failed).collect();
    assert!(
        new.is_empty() && stale.is_empty(),
        "a real server does not pass {new:?}; it does pass {stale:?}, which are listed as different\n{text}"
    );
}

/// What libtest says of each test: whether it passed.
fn results(text: &str) -> BTreeMap<&str, bool> {
    text.lines()
        .filter_map(|line| {
            let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
            match result {
                "ok" => Some((name, true)),
                "FAILED" => Some((name, false)),
                _ => None,
            }
        })
        .collect()
}
