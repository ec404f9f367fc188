//! A real control plane behind a run, from the folder that `KUBEBUILDER_ASSETS` names: ignored without it.

use std::{fs, path::PathBuf, sync::LazyLock};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    support::{Place, held_for_ever, verdicts},
    world::Before,
};

/// etcd and kube-apiserver, by the convention of envtest.
static PROGRAMS: LazyLock<Option<[String; 2]>> = LazyLock::new(|| {
    let folder = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty())?;
    Some(["etcd", "kube-apiserver"].map(|name| {
        let program = PathBuf::from(&folder).join(name);
        program.to_string_lossy().into_owned()
    }))
});

/// Whether the programs are there.
pub(crate) fn given() -> bool {
    PROGRAMS.is_some()
}

/// `run` with the control plane of these programs.
fn run<'a>([etcd, kube_apiserver]: [&'a str; 2], more: &[&'a str]) -> Vec<&'a str> {
    let given = ["run", "--etcd", etcd, "--kube-apiserver", kube_apiserver];
    given.iter().chain(more).copied().collect()
}

fn real() -> [&'static str; 2] {
    let programs = PROGRAMS.as_ref().unwrap();
    [&programs[0], &programs[1]]
}

fn api(results: &Value) -> &Value {
    let components = results["environment"]["components"].as_array().unwrap();
    components
        .iter()
        .find(|component| component["seam"] == "kubernetes")
        .unwrap()
}

/// The stand-ins of driver and provider, with no rights but those of their charts.
pub(crate) fn an_embedded_run_can_have_one() {
    let place = Place::new();
    let before = Before::look();
    place
        .run(&run(
            real(),
            &["positive", "cross-namespace-denied", "deployment"],
        ))
        .exits(0)
        .says(&["nothing left behind"]);
    let results = place.results();
    let api = api(&results);
    assert_eq!(
        (&api["name"], &api["stand_in"]),
        (&"kube-apiserver and etcd".into(), &false.into()),
        "{api}"
    );
    let verdicts = verdicts(&results);
    assert!(
        verdicts
            .iter()
            .any(|(case, verdict)| case.starts_with("cross-namespace-denied") && verdict == "passed")
    );
    before.is_as_it_was(&place);
}

pub(crate) fn a_killed_run_leaves_none() {
    let place = Place::with(&[("held", &held_for_ever())]);
    let before = Before::look();
    let mut running = place.start(&run(real(), &["--scenarios", "scenarios", "--jobs", "1"]));
    place.await_hold(&mut running);
    let there = crate::world::processes(&place);
    assert!(
        there.iter().any(|line| line.contains("kube-apiserver")),
        "{there:?}"
    );
    running.signal(Signal::KILL);
    let ended = running.end();
    assert!(!ended.status().success(), "{ended}");
    before.is_as_it_was(&place);
}

/// Programs that are none of a control plane: scripts, so that nothing has to be given.
pub(crate) fn bad_programs_are_told_and_leave_no_run() {
    let place = Place::new();
    let before = Before::look();
    let program = |name: &str, does: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = place.path(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    };
    let waits = program("waits", "while :; do sleep 0.1; done");
    let dies = program("dies", "echo what it is about; exit 7");
    place.run(&run([&waits, &dies], &["positive"])).exits(3).says(&[
        "cannot start the control plane",
        "dies ended with exit status: 7 before the API was ready",
        "it wrote last: what it is about",
    ]);
    place
        .run(&run(["./nowhere", &waits], &["positive"]))
        .exits(3)
        .says(&["./nowhere is not there", "--etcd PROGRAM"]);
    before.is_as_it_was(&place);
}
