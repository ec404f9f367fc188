//! The command `doctor`: what this machine offers, before anything is run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use mountproof_confinement::Kind;

use super::{
    doctor_cluster::{self, LookArgs},
    host,
    output::{OK, Output, style},
};
use crate::{environment, report::ExitCode};

/// Check what this machine offers to the environments
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Folder that runs would be written to.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,

    /// The program kind [default: kind in PATH].
    #[arg(long, value_name = "PROGRAM", env = "MOUNTPROOF_KIND", hide_env_values = true)]
    pub kind: Option<PathBuf>,

    /// Clusters of others.
    #[command(flatten)]
    pub look: LookArgs,
}

/// The check that `--env host` needs.
const CONFINEMENT: &str = "confinement";

/// What a check came to.
enum Finding {
    /// As it should be.
    Good(String),
    /// Works, with less.
    Less(String),
    /// A run would fail.
    Bad(String),
}

/// Runs the command: 0 when a run can be had, 3 when it cannot.
///
/// # Errors
///
/// When the stream cannot be written.
pub async fn run(args: &DoctorArgs, output: &mut Output<'_>) -> io::Result<u8> {
    if let Some(policy) = args.look.print_policy {
        return doctor_cluster::print(&args.look, policy, output).await;
    }
    if let Some(looked) = args.look.env {
        return match doctor_cluster::look(&args.look, looked, output).await? {
            Ok(found) => said(found, output),
            Err(code) => Ok(code),
        };
    }
    let mut checks = vec![
        ("report folder", writable(&args.out, "choose another with --out")),
        (
            "scratch folder",
            writable(&std::env::temp_dir(), "set TMPDIR to a folder that you can write"),
        ),
        ("socket paths", short_enough(&std::env::temp_dir())),
        ("tmpfs mounts", tmpfs()),
        ("open files", open_files()),
        ("loopback", loopback()),
        (CONFINEMENT, confinement().await),
        ("release cache", cache()),
    ];
    let of_kind = environment::look_for_kind(args.kind.as_deref()).await;
    let kind = !of_kind
        .iter()
        .any(|(_, found)| matches!(found, environment::Found::Missing(_)));
    checks.extend(of_kind.into_iter().map(|(name, found)| {
        let finding = match found {
            environment::Found::Good(text) => Finding::Good(text),
            environment::Found::Less(text) => Finding::Less(text),
            environment::Found::Missing(text) => Finding::Less(format!("--env kind cannot be had: {text}")),
        };
        (name, finding)
    }));
    let bad = print(&checks, output)?;
    if bad {
        writeln!(
            output.out,
            "\nthe embedded environment cannot be had here until that is mended"
        )?;
        return Ok(ExitCode::EnvironmentUnavailable.code());
    }
    writeln!(
        output.out,
        "\nthe embedded environment can be had: mountproof run"
    )?;
    let confined = checks.iter().find(|(name, _)| *name == CONFINEMENT);
    if matches!(confined, Some((_, Finding::Good(_)))) {
        writeln!(
            output.out,
            "real releases can be run: mountproof run --env host --driver-version 1.6.0 --provider-version 3.1.1"
        )?;
    }
    if kind {
        writeln!(output.out, "a real cluster can be had: mountproof run --env kind")?;
    }
    Ok(OK)
}

/// What a cluster of others came to: 0 when a run can be had there, 3 when it cannot.
fn said(found: Vec<(&'static str, environment::Found)>, output: &mut Output<'_>) -> io::Result<u8> {
    let checks: Vec<(&str, Finding)> = found
        .into_iter()
        .map(|(name, found)| {
            let finding = match found {
                environment::Found::Good(text) => Finding::Good(text),
                environment::Found::Less(text) => Finding::Less(text),
                environment::Found::Missing(text) => Finding::Bad(text),
            };
            (name, finding)
        })
        .collect();
    if print(&checks, output)? {
        writeln!(output.out, "\na run cannot be had there until that is mended")?;
        return Ok(ExitCode::EnvironmentUnavailable.code());
    }
    writeln!(
        output.out,
        "\na run can be had there: mountproof plan says what it would make"
    )?;
    Ok(OK)
}

/// Prints what checks came to; whether one stands in the way.
fn print(checks: &[(&str, Finding)], output: &mut Output<'_>) -> io::Result<bool> {
    let mut bad = false;
    for (name, finding) in checks {
        let (style, word, text) = match finding {
            Finding::Good(text) => (style::GOOD, "ok", text),
            Finding::Less(text) => (style::WARNING, "less", text),
            Finding::Bad(text) => (style::ERROR, "no", text),
        };
        bad |= matches!(finding, Finding::Bad(_));
        writeln!(output.out, "  {style}{word:<5}{style:#} {name:<15} {text}")?;
    }
    Ok(bad)
}

fn writable(folder: &Path, help: &str) -> Finding {
    // The nearest folder that exists decides, as a run makes what is missing.
    let existing = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or_else(|| Path::new("."));
    let probe = existing.join(format!(".mountproof-doctor-{}", std::process::id()));
    match fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)) {
        Ok(()) => Finding::Good(format!("{} can be written", folder.display())),
        Err(error) => Finding::Bad(format!("{} cannot be written: {error}; {help}", folder.display())),
    }
}

fn short_enough(folder: &Path) -> Finding {
    let length = folder.as_os_str().len();
    if length <= 24 {
        Finding::Good("short enough for unix sockets".to_owned())
    } else {
        Finding::Bad(format!(
            "{} is too long for unix sockets below it; set TMPDIR to a shorter one",
            folder.display()
        ))
    }
}

fn tmpfs() -> Finding {
    if rustix::process::geteuid().is_root() {
        Finding::Good(
            "allowed for root; a container may still forbid them, and the report says which was used"
                .to_owned(),
        )
    } else {
        Finding::Less(
            "not allowed: secrets are kept in a private folder instead, and the report says so".to_owned(),
        )
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    match limit {
        Some(limit) if limit < 4096 => Finding::Less(format!(
            "{limit}: for more than 1,000 pods raise it (ulimit -n 65536)"
        )),
        Some(limit) => Finding::Good(format!("{limit} allowed")),
        None => Finding::Good("no limit".to_owned()),
    }
}

fn loopback() -> Finding {
    match std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)) {
        Ok(_) => Finding::Good("127.0.0.1 can be listened on".to_owned()),
        Err(error) => Finding::Bad(format!("127.0.0.1 cannot be listened on: {error}")),
    }
}

/// What `--env host` needs beside the rest.
async fn confinement() -> Finding {
    match mountproof_confinement::available().await {
        Ok(Kind::UserNamespace) => {
            Finding::Good("programs of --env host can be confined, without being root".to_owned())
        }
        Ok(Kind::AsRoot) => {
            Finding::Good("programs of --env host can be confined, as root of the machine".to_owned())
        }
        Err(error) => Finding::Less(format!("--env host cannot be had: {error}")),
    }
}

/// Only `--env host` needs it: another place is one variable away.
fn cache() -> Finding {
    match writable(
        &host::cache(),
        "set XDG_CACHE_HOME to a folder that you can write",
    ) {
        Finding::Bad(text) => Finding::Less(format!("--env host keeps images there: {text}")),
        finding => finding,
    }
}
