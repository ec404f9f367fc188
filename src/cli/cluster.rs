//! The commands `up` and `down`, and what `run` says of clusters that stay.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    host::ReleaseArgs,
    installation::InstallationArgs,
    kind::KindArgs,
    output::{OK, Output, USAGE, style},
};
use crate::{
    environment::{
        self, Down, DownError, KeptCluster, KeptClusters, Stage, Stay, Told, Up, Why, checked_name,
    },
    report::{
        ExitCode,
        terminal::{ColorChoice, Terminal},
    },
};

/// Requests per second of a provider that no run uses: one of a run's has its own.
const PROVIDER_QPS: f64 = 500.0;

/// Whether a run's cluster stays.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kind environment (--env kind)")]
pub struct StayArgs {
    /// Use the cluster of this name, and leave it: see `up`. Made where there is none. [default without a name: mountproof]
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = environment::DEFAULT_NAME,
        value_parser = checked_name,
        conflicts_with = "keep_on_failure"
    )]
    pub reuse: Option<String>,

    /// Leave the cluster as it is when the run does not pass, for a look at it; `down` deletes it.
    #[arg(long)]
    pub keep_on_failure: bool,
}

impl StayArgs {
    /// As the environment takes it.
    #[must_use]
    pub fn stay(&self) -> Stay {
        match &self.reuse {
            Some(name) => Stay::Always(name.clone()),
            None if self.keep_on_failure => Stay::AfterFailure,
            None => Stay::Never,
        }
    }

    /// The first flag that was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        if self.reuse.is_some() {
            Some("--reuse")
        } else {
            self.keep_on_failure.then_some("--keep-on-failure")
        }
    }
}

/// Environments that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Keepable {
    /// A cluster in containers of this machine, made by kind.
    Kind,
}

/// Stand up a cluster with driver and provider on its nodes, and keep it
///
/// Runs use it with `run --env kind --reuse` and leave it, which spares each of them the time of standing one up. What is there
/// already is left as it is; only driver and provider are brought to what is asked for. Nobody's kubeconfig changes.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  mountproof up                              a cluster of one node, called mountproof
  mountproof up three --workers 2            another one, of three
  mountproof run --env kind --reuse          runs in the first
  mountproof run --env kind --reuse=three    runs in the second
  mountproof down --all                      deletes both")]
pub struct UpArgs {
    /// Its name
    #[arg(value_name = "NAME", default_value = environment::DEFAULT_NAME, value_parser = checked_name)]
    pub name: String,

    /// What to stand up
    #[arg(long, value_enum, default_value_t = Keepable::Kind)]
    pub env: Keepable,

    /// Region that the provider is told; a run's own counts while it uses the cluster
    #[arg(long, default_value = "us-east-1")]
    pub region: String,

    /// Which cluster
    #[command(flatten)]
    pub kind: KindArgs,

    /// Which driver and provider
    #[command(flatten)]
    pub release: ReleaseArgs,

    /// Where they come from
    #[command(flatten)]
    pub installation: InstallationArgs,
}

/// Delete clusters that were kept, by `up`, `--reuse` or `--keep-on-failure`
///
/// Nothing is deleted that is not mountproof's. One that is not there is no error.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// Which [default: mountproof]
    #[arg(value_name = "NAME", value_parser = checked_name)]
    pub names: Vec<String>,

    /// Every cluster that is on record
    #[arg(long, conflicts_with = "names")]
    pub all: bool,

    /// Only say which there are
    #[arg(long, conflicts_with_all = ["names", "all"])]
    pub list: bool,

    /// The program kind [default: kind in PATH]
    #[arg(long, value_name = "PROGRAM", env = "MOUNTPROOF_KIND", hide_env_values = true)]
    pub kind: Option<std::path::PathBuf>,
}

/// Runs `up`.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn up(args: &UpArgs, quiet: bool, color: ColorChoice, output: &mut Output<'_>) -> io::Result<u8> {
    let Keepable::Kind = args.env;
    let (told, screen) = screen(quiet, color);
    let installation = match args.installation.options(&args.release, PROVIDER_QPS) {
        Ok(installation) => installation,
        Err(because) => {
            writeln!(output.err, "error: {because}")?;
            return Ok(USAGE);
        }
    };
    let options = args.kind.options(installation);
    let was_there = KeptClusters::of_this_user()
        .read(&args.name)
        .is_ok_and(|record| record.is_some());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let up = {
        // Large, and begun once.
        let standing = Box::pin(environment::up(&args.name, &options, &args.region, &told));
        tokio::select! {
            up = standing => Some(up),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        }
    };
    let Some(up) = up else {
        // Half of a cluster is of no use to anybody; one that was there before stays.
        if !was_there {
            let down = environment::down(&args.name, options.program.as_deref(), &told).await;
            if let Err(error) = down {
                writeln!(output.err, "error: {error}")?;
            }
        }
        clear(&screen);
        writeln!(output.err, "interrupted")?;
        return Ok(ExitCode::Interrupted.code());
    };
    clear(&screen);
    match up {
        Ok(up) => {
            print_up(&up, output)?;
            Ok(OK)
        }
        Err(error) => {
            writeln!(output.err, "error: {error}")?;
            Ok(ExitCode::EnvironmentUnavailable.code())
        }
    }
}

fn print_up(up: &Up, output: &mut Output<'_>) -> io::Result<()> {
    let (strong, faint) = (style::STRONG, style::FAINT);
    let (name, nodes) = (&up.name, up.nodes);
    let made = if up.new { "is up" } else { "was up already" };
    let nodes = if nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{nodes} nodes")
    };
    writeln!(
        output.out,
        "{strong}{name}{strong:#} {made}: {nodes} · driver {} · provider {}",
        up.images.driver, up.images.provider
    )?;
    if let Some(had) = &up.instead_of {
        writeln!(
            output.out,
            "  {faint}installed in the place of driver {} · provider {}{faint:#}",
            had.driver, had.provider
        )?;
    }
    let default = *name == environment::DEFAULT_NAME;
    let (reuse, down) = if default {
        ("--reuse".to_owned(), "mountproof down".to_owned())
    } else {
        (format!("--reuse={name}"), format!("mountproof down {name}"))
    };
    writeln!(output.out, "  run     mountproof run --env kind {reuse}")?;
    writeln!(
        output.out,
        "  look    kubectl --kubeconfig {} get pods --all-namespaces",
        up.kubeconfig.display()
    )?;
    writeln!(output.out, "  delete  {down}")
}

/// Runs `down`.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn down(
    args: &DownArgs,
    quiet: bool,
    color: ColorChoice,
    output: &mut Output<'_>,
) -> io::Result<u8> {
    let on_record = KeptClusters::of_this_user().all();
    if args.list {
        return list(&on_record, output);
    }
    let names = match (&args.names[..], args.all) {
        (_, true) => on_record.into_iter().map(|record| record.name).collect(),
        ([], false) => vec![environment::DEFAULT_NAME.to_owned()],
        (names, false) => names.to_vec(),
    };
    if names.is_empty() {
        writeln!(output.out, "no cluster is kept")?;
        return Ok(OK);
    }
    let (told, screen) = screen(quiet, color);
    let mut code = OK;
    for name in names {
        let down = environment::down(&name, args.kind.as_deref(), &told).await;
        match down {
            Ok(Down::Deleted) => writeln!(output.out, "{name} is deleted")?,
            Ok(Down::Absent) => writeln!(output.out, "there is no cluster {name}")?,
            Err(error) => {
                code = match &error {
                    DownError::Foreign(_) => USAGE,
                    _ => ExitCode::EnvironmentUnavailable.code(),
                };
                writeln!(output.err, "error: {error}")?;
            }
        }
    }
    clear(&screen);
    Ok(code)
}

fn list(on_record: &[KeptCluster], output: &mut Output<'_>) -> io::Result<u8> {
    if on_record.is_empty() {
        writeln!(output.out, "no cluster is kept")?;
    }
    for record in on_record {
        let why = match (&record.stage, &record.why) {
            (Stage::Making, _) => "being made, or never finished".to_owned(),
            (Stage::Standing, Why::ToReuse) => "for any run".to_owned(),
            (Stage::Standing, Why::AfterFailure(run)) => format!("as run {run} left it"),
        };
        writeln!(output.out, "{}  {why}", record.name)?;
    }
    Ok(OK)
}

/// Where progress is shown that belongs to no run.
fn screen(quiet: bool, color: ColorChoice) -> (Told, Arc<Mutex<Terminal>>) {
    let screen = Arc::new(Mutex::new(Terminal::new(quiet, color, String::new())));
    let shown = Arc::clone(&screen);
    let told: Told = Arc::new(move |made| {
        let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
        screen.progress(&made);
    });
    (told, screen)
}

fn clear(screen: &Mutex<Terminal>) {
    screen.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
