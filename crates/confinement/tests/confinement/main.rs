//! What confinement promises, tried with this very binary: it is the test, the outer process, init and the inner process.
//!
//! As root every case also runs as an ordinary user. Where the machine offers nothing to a user, his cases are ignored.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod cases;
mod inside;
mod machine;

use std::{
    env,
    ffi::OsString,
    process::{Command, ExitCode},
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};
use mountproof_confinement::{self as confinement, Error, INSIDE, Plan, View};

use machine::User;

/// How long the inner process may live on when the outer one is gone.
const GRACE: Duration = Duration::from_secs(2);
/// The exit code of an outer process that could not confine.
const NOT_CONFINED: u8 = 99;

fn main() -> ExitCode {
    if let Some(code) = confinement::init(GRACE) {
        return code;
    }
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        [INSIDE, role, rest @ ..] => block_on(inside::play(role, rest)),
        ["outer", inner @ ..] => block_on(outer(inner)),
        ["probe"] => block_on(probe()),
        ["stray"] => stray(),
        _ => test(),
    }
}

/// Confines this binary and hands its exit code through.
#[expect(clippy::print_stderr, reason = "the test reads it")]
async fn outer(inner: &[&str]) -> ExitCode {
    let arguments = inner.iter().map(OsString::from).collect();
    match confinement::confine(&Plan { arguments }).await {
        Ok(outcome) => {
            if let Some(signal) = outcome.signal() {
                eprintln!("the inner process was killed by signal {signal}");
            }
            ExitCode::from(outcome.code)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(NOT_CONFINED)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the test reads it")]
async fn probe() -> ExitCode {
    match confinement::available().await {
        Ok(kind) => {
            println!("{kind:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// A process that is marked as an inner one, or is not, and is none.
fn stray() -> ExitCode {
    match confinement::enter(&View::default()) {
        Err(Error::NotInside) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

fn test() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for user in User::all() {
        let offered = user
            .command(&["probe"])
            .output()
            .is_ok_and(|output| output.status.success());
        for (name, case) in cases::CONFINED {
            trials.push(
                Trial::test(format!("{name}::as_{user}"), move || {
                    case(user);
                    Ok(())
                })
                .with_ignored_flag(!offered),
            );
        }
    }
    let nests = Command::new("unshare")
        .args(machine::NEST)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success());
    for (name, case) in cases::NESTED {
        trials.push(
            Trial::test(*name, || {
                case();
                Ok(())
            })
            .with_ignored_flag(!nests),
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    std::fs::remove_dir_all(machine::binary().parent().unwrap()).unwrap();
    conclusion.exit_code()
}
