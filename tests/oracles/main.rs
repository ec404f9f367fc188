//! The endpoint before judges that nobody of us wrote: other people's tests, clients and evaluators, as
//! processes of their own, against `mountproof endpoint` as a program.
//!
//! They are fetched from package registries, so they run only when asked for: `MOUNTPROOF_ORACLES=1 cargo test
//! --release --test oracles`. Without it each is reported as ignored; with it, what cannot be had is a failure, but for
//! Docker: where none answers, the trials of LocalStack are reported as ignored, with the reason.
//! What is fetched is pinned in `fixtures/oracles/` and kept in `target/oracles/`.

mod boto3;
mod eks_in_moto;
mod iam_simulate;
mod localstack;
mod moto;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [
        support::trials(),
        boto3::trials(),
        eks_in_moto::trials(),
        iam_simulate::trials(),
        localstack::trials(),
        moto::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let asked_for = |trial: Trial| {
        if support::asked_for() {
            trial
        } else {
            trial.with_ignored_flag(true)
        }
    };
    let trials = trials.into_iter().map(asked_for).collect();
    if !support::asked_for() {
        support::say("ignored: these fetch what judges the endpoint; MOUNTPROOF_ORACLES=1 runs them");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
