//! `run --env host`: outside, both programs are obtained and this command is run again in a confinement; inside, the run
//! takes place. An embedded run with a real control plane is confined in the same way: whatever becomes of this
//! process, no program outlives it.
//!
//! ```text
//! outside: --driver, --provider ─► releases ─► confine(this command, what was obtained) ─► its exit code
//! inside:  enter the confinement ─► the run, as in any other environment
//! ```
//!
//! Registries are reached from outside: inside there is nothing but loopback.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use mountproof_confinement::{self as confinement, Plan, Signal, Signals, View};
use mountproof_releases::{Options, Part, Progress, Release, Repositories, Source, SourceError, obtain};
use rustix::process::{getpid, kill_process};

use super::{
    environment::EnvironmentName,
    output::{Output, USAGE, style},
};
use crate::{
    environment::{ControlPlanePrograms, Programs},
    report::ExitCode,
};

/// Which driver and which provider.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Host environment (--env host)")]
pub struct HostArgs {
    /// The driver: a program (./driver), an image (REGISTRY/NAME:TAG), or an archive (./driver.tar: `docker save` or OCI).
    #[arg(long, value_name = "PROGRAM|IMAGE|ARCHIVE", conflicts_with = "driver_version")]
    pub driver: Option<String>,

    /// The provider, named in the same ways.
    #[arg(
        long,
        value_name = "PROGRAM|IMAGE|ARCHIVE",
        conflicts_with = "provider_version"
    )]
    pub provider: Option<String>,

    /// The same by version.
    #[command(flatten)]
    pub release: ReleaseArgs,

    /// A real API server in the place of the Kubernetes stand-in, with --etcd; with --env host and without both, those in the
    /// folder that `KUBEBUILDER_ASSETS` names, if it is set. A kube-controller-manager beside it runs too.
    #[arg(
        long,
        value_name = "PROGRAM",
        requires = "etcd",
        help_heading = "Control plane"
    )]
    pub kube_apiserver: Option<PathBuf>,

    /// The store of that API server.
    #[arg(
        long,
        value_name = "PROGRAM",
        requires = "kube_apiserver",
        help_heading = "Control plane"
    )]
    pub etcd: Option<PathBuf>,

    /// Ask no registry: images come from the cache alone.
    #[arg(long)]
    pub offline: bool,

    /// What was obtained outside; for the process inside only.
    #[arg(long, hide = true)]
    pub obtained: Option<Obtained>,
}

/// Releases by their versions: as programs with `--env host`, as images with manifests on the nodes of a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Releases (--env host, kind, cluster, eks)")]
pub struct ReleaseArgs {
    /// The driver: its official image of this version, such as 1.6.0; on nodes with manifests for it.
    #[arg(long, value_name = "VERSION")]
    pub driver_version: Option<String>,

    /// The provider: its official image of this version, such as 3.1.1; on nodes with manifests for it.
    #[arg(long, value_name = "VERSION")]
    pub provider_version: Option<String>,

    /// A mirror of the driver's official repository: REGISTRY/NAME.
    #[arg(long, value_name = "REPOSITORY", env = "MOUNTPROOF_DRIVER_REPOSITORY")]
    pub driver_repository: Option<String>,

    /// A mirror of the provider's official repository.
    #[arg(long, value_name = "REPOSITORY", env = "MOUNTPROOF_PROVIDER_REPOSITORY")]
    pub provider_repository: Option<String>,
}

impl ReleaseArgs {
    /// The first flag that names a version, if one was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            (self.driver_version.is_some(), "--driver-version"),
            (self.provider_version.is_some(), "--provider-version"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Where official images come from.
    #[must_use]
    pub fn repositories(&self) -> Repositories {
        Repositories {
            driver: self.driver_repository.clone(),
            provider: self.provider_repository.clone(),
        }
    }
}

/// [`Programs`] on the way from the outer process to the inner one.
#[derive(Debug, Clone)]
pub struct Obtained(pub Programs);

impl FromStr for Obtained {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text).map(Self)
    }
}

/// The flag that carries [`Obtained`].
const OBTAINED: &str = "--obtained";

impl HostArgs {
    /// The first flag that only means something with `--env host`, if one was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            (self.driver.is_some(), "--driver"),
            (self.provider.is_some(), "--provider"),
            (self.offline, "--offline"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// The real control plane that was asked for: by flags, or, among real programs, by the convention of envtest. An
    /// embedded run is the same whatever the variable says.
    ///
    /// # Errors
    ///
    /// When a program is not there: a stand-in in its place would prove something else than was asked.
    pub fn control_plane(
        &self,
        env: EnvironmentName,
    ) -> Result<Option<ControlPlanePrograms>, MissingProgram> {
        let assets =
            std::env::var_os(ASSETS).filter(|folder| !folder.is_empty() && env == EnvironmentName::Host);
        let programs = match (&self.etcd, &self.kube_apiserver, assets) {
            (Some(etcd), Some(api), _) => ControlPlanePrograms::new(etcd.clone(), api.clone()),
            (_, _, Some(folder)) => ControlPlanePrograms::in_folder(Path::new(&folder)),
            _ => return Ok(None),
        };
        for program in [&programs.etcd, &programs.kube_apiserver] {
            if !program.is_file() {
                return Err(MissingProgram(program.clone()));
            }
        }
        Ok(Some(programs))
    }

    fn source(&self, part: Part) -> Result<Source, Unusable> {
        let (named, version) = match part {
            Part::Driver => (&self.driver, &self.release.driver_version),
            Part::Provider => (&self.provider, &self.release.provider_version),
        };
        match (named, version) {
            (Some(named), _) => Ok(Source::parse(part, named)?),
            (None, Some(version)) => Ok(Source::parse_version(part, version)?),
            (None, None) => Err(Unusable::Missing { part }),
        }
    }
}

/// Where envtest keeps a control plane's programs.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A program of the control plane that is not there.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not there: give --kube-apiserver PROGRAM --etcd PROGRAM, or have {ASSETS} name a folder with etcd and \
     kube-apiserver, or unset it for the stand-in",
    .0.display()
)]
pub struct MissingProgram(PathBuf);

/// The command line names no driver or no provider.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("--env host needs a {part}: give --{part}-version VERSION, or --{part} PROGRAM|IMAGE|ARCHIVE")]
    Missing { part: Part },
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Obtains what is to be obtained and runs this command again, confined; answers with its exit code.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn outside(
    args: &HostArgs,
    env: EnvironmentName,
    quiet: bool,
    output: &mut Output<'_>,
) -> io::Result<u8> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if env == EnvironmentName::Host {
        match programs(args, quiet, output).await? {
            Ok(programs) => arguments.extend([OBTAINED.into(), serde_json::to_string(&programs)?.into()]),
            Err(code) => return Ok(code),
        }
    } else if let Err(error) = confinement::available().await {
        return refused(output, &error, ExitCode::EnvironmentUnavailable.code());
    }
    match confinement::confine(&Plan { arguments }).await {
        Ok(outcome) => Ok(outcome.code),
        Err(error) => refused(output, &error, ExitCode::EnvironmentUnavailable.code()),
    }
}

/// Obtains driver and provider. What is wrong is printed, and the exit code comes back instead.
async fn programs(args: &HostArgs, quiet: bool, output: &mut Output<'_>) -> io::Result<Result<Programs, u8>> {
    let sources = args
        .source(Part::Driver)
        .and_then(|driver| Ok((driver, args.source(Part::Provider)?)));
    let (driver, provider) = match sources {
        Ok(sources) => sources,
        Err(error) => return refused(output, &error, USAGE).map(Err),
    };
    let unavailable = ExitCode::EnvironmentUnavailable.code();
    // Before anything is downloaded.
    if let Err(error) = confinement::available().await {
        return refused(output, &error, unavailable).map(Err);
    }
    let options = Options {
        repositories: args.release.repositories(),
        offline: args.offline,
        docker_config: docker_config(),
        ..Options::new(cache())
    };
    let driver = match obtained(Part::Driver, &driver, &options, quiet, output).await? {
        Ok(release) => release,
        Err(error) => return refused(output, &error, unavailable).map(Err),
    };
    let provider = match obtained(Part::Provider, &provider, &options, quiet, output).await? {
        Ok(release) => release,
        Err(error) => return refused(output, &error, unavailable).map(Err),
    };
    Ok(Ok(Programs { driver, provider }))
}

/// Whether this process is the one inside.
#[must_use]
pub fn is_inside() -> bool {
    confinement::is_inside()
}

/// Enters the confinement and has its signals reach this process; notes for the report.
///
/// # Errors
///
/// When the confinement cannot be made, or this process is in none.
pub fn inside(out: &Path) -> Result<Vec<String>, confinement::Error> {
    // Reports are for the host, whose /run is not to be seen inside.
    let hidden = |folder: &PathBuf| folder.starts_with("/run") || folder.starts_with("/var/run");
    let entered = confinement::enter(&View {
        keep: std::path::absolute(out).into_iter().filter(hidden).collect(),
        ..View::default()
    })?;
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        while let Some(signal) = signals.next().await {
            let signal = match signal {
                Signal::Interrupt => rustix::process::Signal::INT,
                Signal::Terminate | Signal::Hangup | Signal::OuterGone => rustix::process::Signal::TERM,
            };
            // As if it had been sent here: the run has one way of ending.
            let _ = kill_process(getpid(), signal);
        }
    });
    Ok(entered.notes)
}

/// The command line as its user typed it.
#[must_use]
pub fn typed(arguments: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut typed = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == OBTAINED {
            // And its value.
            arguments.next();
        } else if argument != confinement::INSIDE {
            typed.push(argument);
        }
    }
    typed
}

/// Obtains one program, and shows how that goes. The outer error is that of the streams.
async fn obtained(
    part: Part,
    source: &Source,
    options: &Options,
    quiet: bool,
    output: &mut Output<'_>,
) -> io::Result<Result<Release, mountproof_releases::ObtainError>> {
    let bar = if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    bar.set_style(
        ProgressStyle::with_template("  {msg} {bytes} of {total_bytes} {bar:30}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&lines);
    let showing = bar.clone();
    let release = obtain(part, source, options, move |progress| match progress {
        Progress::Downloading { done, total, .. } => {
            showing.set_message(format!("{part}: downloading"));
            showing.set_length(total);
            showing.set_position(done);
        }
        Progress::Waiting { registry, wait } => {
            let line = format!("{part}: {registry} asks for patience, {} s", wait.as_secs());
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        _ => {}
    })
    .await;
    bar.finish_and_clear();
    if !quiet {
        for line in lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            writeln!(output.err, "  {line}")?;
        }
        if let Ok(release) = &release {
            writeln!(output.err, "  {part}: {}", said(release))?;
        }
    }
    Ok(release)
}

/// One line about a release.
fn said(release: &Release) -> String {
    let version = release.version.as_deref().unwrap_or("of an unknown version");
    let offline = match &release.offline {
        Some(offline) => format!(
            ", from the cache as of {} ({})",
            offline.resolved_at, offline.because
        ),
        None => String::new(),
    };
    format!("{} {version}, {}{offline}", release.source, release.digest)
}

/// `$XDG_CACHE_HOME/mountproof/releases`.
pub(super) fn cache() -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let caches = variable("XDG_CACHE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(".cache")));
    caches
        .unwrap_or_else(std::env::temp_dir)
        .join("mountproof/releases")
}

/// Docker's `config.json`, where it is.
fn docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    let file = folder.join("config.json");
    file.is_file().then_some(file)
}

fn refused(output: &mut Output<'_>, error: &dyn std::error::Error, code: u8) -> io::Result<u8> {
    writeln!(output.err, "{}error{:#}: {error}", style::ERROR, style::ERROR)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_command_that_was_typed() {
        let given = [
            "mountproof",
            "--inside-confinement",
            "run",
            "--env",
            "host",
            "--obtained",
            "{}",
            "positive",
        ];
        let expected = ["mountproof", "run", "--env", "host", "positive"];
        assert_eq!(typed(given.map(str::to_owned)), expected);
    }
}
