//! `run --env kind` through the built binary, as its users have it: real clusters with the stand-ins of driver and provider
//! on their nodes, as images of this very program.
//!
//! They run where `MOUNTPROOF_KIND_IMAGE` names an image of a node (`kind/node-image/build.sh` makes one) and a Docker Engine
//! answers; `MOUNTPROOF_KIND` names `kind`, where it is not in `PATH`. Elsewhere they are ignored, and say so. A cluster takes
//! two cores for 20 s to come up, and then mostly waits: two trials at a time.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod aws;
mod catalogue;
mod install;
mod life;
mod load;
mod standing;
#[expect(dead_code, reason = "most of it is for the tests of the command line")]
#[path = "../cli/support.rs"]
mod support;
mod world;

use libtest_mimic::{Arguments, Trial};

/// Its name, and what it does.
type Case = (&'static str, fn());

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let lacking = world::lacking();
    let without =
        |cases: &'static [Case], lacking: Option<&'static str>| cases.iter().map(move |case| (case, lacking));
    let trials = [
        aws::CASES,
        catalogue::CASES,
        install::CASES,
        life::CASES,
        load::CASES,
        standing::CASES,
    ]
    .into_iter()
    .flat_map(|cases| without(cases, lacking))
    .chain(without(
        install::WITH_HELM,
        lacking.or_else(install::helm_lacking),
    ))
    .map(|(&(name, case), lacking)| {
        let name = lacking
            .as_ref()
            .map_or_else(|| name.to_owned(), |lacking| format!("{name} (needs {lacking})"));
        let trial = Trial::test(name, move || {
            case();
            Ok(())
        });
        trial.with_ignored_flag(lacking.is_some())
    })
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
