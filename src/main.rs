//! Parses the command line, makes the runtime, hands over the exit code.

use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use mountproof::{
    cli::{self, Cli, output::Output},
    redact::Redactor,
    report::terminal::ColorChoice,
};
use tracing_subscriber::EnvFilter;

/// How long a confined run may take to end in order once the process that started it is gone: as its own deadline for
/// what is under way, and for teardown.
const WIND_UP: Duration = Duration::from_secs(150);

fn main() -> ExitCode {
    // The first process of a confinement, which does nothing else; before there is a second thread.
    if let Some(code) = mountproof_confinement::init(WIND_UP) {
        return code;
    }
    let cli = Cli::parse();
    match cli.color {
        ColorChoice::Auto => {}
        ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
        ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
    }
    let filter =
        EnvFilter::try_from_env("MOUNTPROOF_LOG").unwrap_or_else(|_| EnvFilter::new("error,kube_client=off"));
    let redactor = Redactor::default();
    let for_log = redactor.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(cli.color.decide(
            std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
            io::stderr().is_terminal(),
        ))
        .with_writer(move || Redacted(for_log.clone()))
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let code = runtime.block_on(cli::run(
        &cli,
        redactor,
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

/// Standard error without secrets: at the level `trace` the libraries beneath log what they send.
struct Redacted(Redactor);

impl Write for Redacted {
    /// The log comes a whole line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr().write_all(self.0.redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[expect(clippy::print_stderr, reason = "the streams are what failed, or the runtime")]
fn complain(error: &io::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(3)
}
