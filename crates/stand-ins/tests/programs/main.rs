//! Programs in the places of driver and provider: here the stand-ins as programs of their own, started, killed, restarted
//! and moved as real releases are, between the stand-ins of API server and kubelet and the AWS endpoint. And those of a real
//! control plane, which are ignored where `KUBEBUILDER_ASSETS` names none.
//!
//! The program is this one: called as `standin driver ..` it is the stand-in. What mounts needs the right to mount, and is
//! ignored without it.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(clippy::print_stderr, reason = "says why tests are ignored")]

#[path = "../side_by_side/aws.rs"]
mod aws;
mod control_plane;
mod generations;
mod starts;
mod world;

use std::{io, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use mountproof_stand_ins::programs::{AccountPlace, standin};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["standin", part, ..] => {
            let part = standin::Part::named(part).expect("driver or provider");
            let (mut out, mut err) = (io::stdout(), io::stderr());
            let run = standin::run(part, "standin", &arguments[2..], &mut out, &mut err);
            return ExitCode::from(runtime().block_on(run).unwrap());
        }
        [world::IN_OWN_RUN] => {
            runtime().block_on(world::a_mount_works_and_a_denial_is_one(AccountPlace::Here));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mounts = world::may_mount();
    if !mounts {
        eprintln!("tests that mount are ignored: mounting is not allowed here");
    }
    let mut trials = vec![
        trial(
            "a_crash_at_start_is_told_with_its_last_words_but_no_token",
            starts::crash,
        ),
        trial("a_program_that_does_not_serve_is_ended_and_told", starts::hang),
        trial("a_flood_of_output_does_not_fill_the_disk", starts::flood),
        trial(
            "tokens_that_an_old_provider_has_made_are_taken_by_the_global_sts",
            generations::tokens_for_the_global_sts,
        ),
        trial("what_is_no_such_program_is_told_apart", starts::others),
        trial(
            "a_control_plane_that_crashes_at_start_is_told_with_its_last_words_but_no_token",
            control_plane::crash_at_start,
        ),
        trial(
            "a_control_plane_that_does_not_serve_is_ended_and_told",
            control_plane::silence_at_start,
        ),
        trial(
            "what_is_no_program_of_a_control_plane_is_told",
            control_plane::no_program,
        ),
    ];
    let real = [
        (
            "a_control_plane_starts_serves_and_ends",
            trial_of(control_plane::starts_serves_and_ends),
        ),
        (
            "a_control_plane_that_is_dropped_ends_too",
            trial_of(control_plane::one_that_is_dropped_ends_too),
        ),
        (
            "a_control_plane_gives_everybody_the_rights_of_the_charts_and_no_others",
            trial_of(control_plane::rights),
        ),
        (
            "a_control_plane_whose_port_is_in_use_is_told",
            trial_of(control_plane::port_in_use),
        ),
    ];
    trials.extend(real.into_iter().map(|(name, run)| {
        if control_plane::given() {
            Trial::test(name, run)
        } else {
            Trial::test(name, run)
                .with_kind(format!("needs {}", control_plane::ASSETS))
                .with_ignored_flag(true)
        }
    }));
    let mounting = [
        trial("a_mount_works_and_a_denial_is_one", || {
            world::a_mount_works_and_a_denial_is_one(AccountPlace::OwnMountNamespace)
        }),
        trial(
            "a_provider_in_a_run_of_its_own_finds_its_account",
            world::in_own_run,
        ),
        trial(
            "a_driver_that_was_killed_comes_back_and_mounts_survive",
            world::killed,
        ),
        trial("a_provider_that_moves_is_found_by_a_new_driver", world::moved),
        trial(
            "an_old_provider_is_started_without_what_it_does_not_know",
            world::old,
        ),
        trial("planted_defects_show", world::defects),
    ];
    trials.extend(mounting.into_iter().map(|trial| trial.with_ignored_flag(!mounts)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F: Future<Output = ()>>(name: &str, test: impl Fn() -> F + Send + 'static) -> Trial {
    Trial::test(name, trial_of(test))
}

type Run = Box<dyn FnOnce() -> Result<(), Failed> + Send>;

fn trial_of<F: Future<Output = ()>>(test: impl Fn() -> F + Send + 'static) -> Run {
    Box::new(move || {
        runtime().block_on(test());
        Ok(())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
