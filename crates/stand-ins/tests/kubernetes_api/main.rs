//! The Kubernetes API, as its clients see it: every test is one body that holds of the stand-in and of the real thing.
//!
//! ```text
//! test [stand-in] deletion::a_namespace_goes_when_it_is_empty          a server of its own, in this process
//! test [kube-apiserver] deletion::a_namespace_goes_when_it_is_empty    one control plane for all, a namespace for each
//! ```
//!
//! The real one is started where `KUBEBUILDER_ASSETS` names a folder with etcd, kube-apiserver and
//! kube-controller-manager (`kind/programs/build.sh` makes one); without it those trials are ignored, and say so.
//! A test of the second list in [`tests!`] is about the stand-in alone, and says why.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod custom_resources;
mod deletion;
mod differences;
mod discovery;
mod errors;
mod kinds;
mod objects;
mod patches;
mod protobuf;
mod real;
mod replay;
mod selectors;
mod support;
mod tokens;
mod watches;
mod workloads;

use std::{collections::BTreeSet, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use self::{
    real::RealServer,
    support::{Cluster, Held, Test},
};

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        custom_resources::tests(),
        deletion::tests(),
        differences::tests(),
        discovery::tests(),
        errors::tests(),
        kinds::tests(),
        objects::tests(),
        patches::tests(),
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
    let mut trials = Vec::new();
    for mut test in tests {
        test.name = test.name.trim_start_matches("kubernetes_api::");
        let kind = match test.held {
            Held::ToTheRealOne => "stand-in".to_owned(),
            Held::StandInOnly(reason) => format!("stand-in only: {reason}"),
        };
        let stand_in = Trial::test(test.name, move || {
            runtime().block_on(async { (test.body)(Cluster::of_a_stand_in().await).await });
            Ok(())
        });
        trials.push(stand_in.with_kind(kind));
        if test.held == Held::ToTheRealOne {
            trials.push(real.trial(test));
        }
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    real.stop();
    conclusion.exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
