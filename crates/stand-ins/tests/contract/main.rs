//! Kubernetes, as its clients and its node's drivers see it: every test is one body that holds of the stand-ins and of the
//! real thing.
//!
//! ```text
//! test [stand-in] deletion::a_namespace_goes_when_it_is_empty          a server of its own, in this process
//! test [kube-apiserver] deletion::a_namespace_goes_when_it_is_empty    one control plane for all, a namespace for each
//! test [cluster] deletion::a_namespace_goes_when_it_is_empty           a whole cluster, a namespace for each
//! ```
//!
//! The second is started where `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and kube-controller-manager
//! (`kind/programs/build.sh` makes one), the third is what `MOUNTPROOF_CLUSTER` says (`kind/with-cluster.sh` makes one); without
//! them those trials are ignored, and say so. Tests of kubelet need no API server alone. A test of the last list in [`tests!`]
//! is about the stand-in alone, and says why. `MOUNTPROOF_CONTRACT_TABLE` names a file for a table of it all.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod cluster;
mod custom_resources;
mod deletion;
mod differences;
mod discovery;
mod errors;
mod kinds;
mod kubelet;
mod logs;
mod objects;
mod patches;
mod ports;
mod protobuf;
mod real;
mod replay;
#[expect(dead_code, reason = "what else a driver can do is for the replay")]
#[path = "../support/scripted.rs"]
mod scripted;
mod selectors;
mod support;
mod table;
mod tokens;
mod watches;
mod workloads;

use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use self::{
    real::RealServer,
    support::{Cluster, Held, Test},
    table::Table,
};

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        custom_resources::tests(),
        deletion::tests(),
        differences::tests(),
        discovery::tests(),
        errors::tests(),
        kinds::tests(),
        kubelet::tests(),
        logs::tests(),
        objects::tests(),
        patches::tests(),
        ports::tests(),
        protobuf::tests(),
        replay::tests(),
        selectors::tests(),
        tokens::tests(),
        watches::tests(),
        workloads::tests(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: BTreeSet<&str> = tests.iter().map(|test| test.name).collect();
    assert_eq!(names.len(), tests.len(), "a name is there twice");

    let real = Arc::new(RealServer::asked_for());
    let table = Arc::new(Table::default());
    let mut trials = Vec::new();
    for mut test in tests {
        test.name = test.name.trim_start_matches("contract::");
        let kind = match test.held {
            Held::ToTheRealOne | Held::ToAKubelet => "stand-in".to_owned(),
            Held::StandInOnly(reason) => format!("stand-in only: {reason}"),
        };
        let stand_in = table.recorded(test.name, "stand-in", move || {
            runtime().block_on(async { (test.body)(Cluster::of_a_stand_in().await).await });
        });
        trials.push(Trial::test(test.name, stand_in).with_kind(kind));
        if test.held == Held::ToTheRealOne {
            trials.push(real.trial(test, &table));
        }
        trials.extend(cluster::trial(test, &table));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    real.stop();
    table.write();
    conclusion.exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
