//! Parses the command line, makes the runtime, hands over the exit code.

use std::{io, process::ExitCode};

use clap::Parser as _;
use mountproof::{
    cli::{self, Cli, output::Output},
    report::terminal::ColorChoice,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        ColorChoice::Auto => {}
        ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let filter =
        EnvFilter::try_from_env("MOUNTPROOF_LOG").unwrap_or_else(|_| EnvFilter::new("error,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Drops colours where standard error takes none.
        .with_writer(anstream::stderr)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let code = runtime.block_on(cli::run(
        &cli,
        &mut Output {
            out: &mut out,
            err: &mut err,
        },
    ));
    // What still runs is of no use any more.
    runtime.shutdown_background();
    match code {
        Ok(code) => ExitCode::from(code),
        // The reader has seen enough: `mountproof list | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the streams are what failed, or the runtime")]
fn complain(error: &io::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(3)
}
