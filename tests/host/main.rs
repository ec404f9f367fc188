//! `run --env host` through the built binary, as its users have it: the stand-ins as programs in images, pulled from a
//! registry, confined, and taken down, with good programs and with bad ones.
//!
//! Where the kernel gives no confinement the tests are ignored, with its reason in their names.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod cases;
mod control_plane;
mod images;
#[expect(dead_code, reason = "most of it is for the tests of the command line")]
#[path = "../cli/support.rs"]
mod support;
mod world;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let unavailable = runtime.block_on(mountproof_confinement::available()).err();
    drop(runtime);
    let cases: [(&str, bool, fn()); 16] = [
        (
            "images_from_a_registry_prove_the_catalogue_and_again_without_a_network",
            true,
            cases::images_prove_the_catalogue,
        ),
        ("archives_do_as_images_do", true, cases::archives_do_as_images_do),
        (
            "a_provider_that_ignores_a_denial_fails_isolation",
            true,
            cases::a_provider_that_ignores_a_denial_fails_isolation,
        ),
        (
            "a_driver_that_mounts_nothing_fails_conformance",
            true,
            cases::a_driver_that_mounts_nothing_fails_conformance,
        ),
        (
            "known_issues_of_the_driver_are_told_fail_strict_runs_and_are_told_as_fixed",
            true,
            cases::known_issues_of_the_driver,
        ),
        (
            "known_issues_of_driver_and_provider_are_told",
            true,
            cases::known_issues_of_driver_and_provider,
        ),
        (
            "a_driver_that_logs_tokens_fails_and_its_log_is_kept_without_them",
            true,
            cases::a_driver_that_logs_tokens_fails_and_its_log_is_kept_without_them,
        ),
        (
            "a_bad_program_is_refused_and_leaves_no_run",
            true,
            cases::a_bad_program_is_refused_and_leaves_no_run,
        ),
        (
            "a_program_that_does_not_serve_makes_errors_and_no_failures",
            true,
            cases::a_program_that_does_not_serve_ends_the_run,
        ),
        (
            "a_program_that_crashes_in_the_middle_makes_errors_and_no_failures",
            true,
            cases::a_crash_in_the_middle_is_no_failure,
        ),
        (
            "a_program_that_prints_secrets_and_leaves_mounts_does_so_in_vain",
            true,
            cases::secrets_printed_and_mounts_left,
        ),
        (
            "ctrl_c_and_sigterm_take_down_and_report",
            true,
            cases::signals_take_down_and_report,
        ),
        (
            "a_killed_outer_process_leaves_nothing",
            true,
            cases::a_killed_outer_process_leaves_nothing,
        ),
        (
            "what_is_cut_off_inside_is_swept",
            true,
            cases::what_is_cut_off_inside_is_swept,
        ),
        (
            "bad_programs_of_a_control_plane_are_told_and_leave_no_run",
            true,
            control_plane::bad_programs_are_told_and_leave_no_run,
        ),
        (
            "command_lines_that_name_no_programs_are_usage_errors",
            false,
            cases::usage_errors,
        ),
    ];
    let real: [(&str, fn()); 2] = [
        (
            "an_embedded_run_can_have_a_real_control_plane",
            control_plane::an_embedded_run_can_have_one,
        ),
        (
            "a_killed_run_leaves_no_control_plane",
            control_plane::a_killed_run_leaves_none,
        ),
    ];
    let real = real.map(|(name, case)| {
        let reason = if control_plane::given() {
            unavailable.as_ref().map(ToString::to_string)
        } else {
            Some("needs KUBEBUILDER_ASSETS".to_owned())
        };
        (name, reason, case)
    });
    let trials = cases
        .into_iter()
        .map(|(name, confined, case)| {
            let reason = unavailable.as_ref().filter(|_| confined);
            (name, reason.map(ToString::to_string), case)
        })
        .chain(real)
        .map(|(name, reason, case)| {
            let name = reason
                .as_ref()
                .map_or_else(|| name.to_owned(), |reason| format!("{name} ({reason})"));
            let trial = Trial::test(name, move || {
                case();
                Ok(())
            });
            trial.with_ignored_flag(reason.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
