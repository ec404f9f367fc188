//! Driver and provider on the node: the stand-ins in this process, or a release's programs.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_stand_ins::{
    driver::{Driver, DriverConfig, MountKind},
    programs::{
        AccountPlace, DriverOptions, DriverProgram, LeftOut, ProgramSpec, ProviderOptions, ProviderProgram,
        Running,
    },
    provider::{Provider, ProviderConfig},
};

use super::{Defect, LocalOptions, NodeProcess, ProgramLog, Release, StartError, described, planted};
use crate::{
    generation,
    journal::Component,
    load::limiter::{self, Bucket},
};

/// The driver on the node.
pub(super) enum DriverPart {
    StandIn(Box<Driver>),
    Program(Box<DriverProgram>),
}

impl DriverPart {
    /// Starts what the options name, as `config` says; a program's output goes into `logs`.
    pub(super) async fn start(
        options: &LocalOptions,
        config: DriverConfig,
        logs: &Path,
    ) -> Result<Self, StartError> {
        let Some(programs) = &options.programs else {
            let driver = Driver::start(config)
                .await
                .map_err(StartError::of("driver stand-in"))?;
            driver.defects().set_for(
                planted::driver_defects(&options.plants),
                planted::times(&options.plants, |defect| matches!(defect, Defect::Driver(_))),
            );
            return Ok(Self::StandIn(Box::new(driver)));
        };
        let log = logs.join("driver.log");
        let started =
            DriverProgram::start(&spec(&programs.driver), &config, &DriverOptions::default(), &log).await;
        started
            .map(|program| Self::Program(Box::new(program)))
            .map_err(StartError::of("driver"))
    }

    /// What a report says of it.
    pub(super) fn component(&self, options: &LocalOptions) -> Component {
        match (self, &options.programs) {
            (Self::Program(program), Some(programs)) => component("driver", &programs.driver, program),
            _ => described::driver_stand_in(),
        }
    }

    /// Its end, where it came to one by itself, and what it wrote.
    pub(super) fn process(&self) -> Option<NodeProcess> {
        match self {
            Self::StandIn(_) => None,
            Self::Program(program) => Some(process("driver", program)),
        }
    }

    /// Everything that it has written.
    pub(super) async fn written(&self) -> Result<ProgramLog, String> {
        let text = match self {
            Self::StandIn(driver) => driver.log_text(),
            Self::Program(program) => read_log(program).await?,
        };
        Ok(ProgramLog { name: "driver", text })
    }

    /// That it writes as much as at `-v=5`, in words; else why not.
    pub(super) fn verbosity(&self) -> Result<String, String> {
        match self {
            Self::StandIn(_) => Ok("the stand-in writes a line for each publish".to_owned()),
            Self::Program(program) if program.flags().iter().any(|flag| flag == "-v=5") => {
                Ok("the driver runs with -v=5".to_owned())
            }
            Self::Program(_) => Err("the driver does not run with -v=5".to_owned()),
        }
    }

    /// The driver's own limit on requests to the Kubernetes API.
    pub(super) fn bucket(&self, qps: f64, burst: u32) -> Bucket {
        match self {
            Self::StandIn(_) => Bucket {
                name: format!("driver stand-in ({qps}/s, burst {burst})"),
                qps,
                burst: f64::from(burst),
                ..limiter::driver()
            },
            Self::Program(_) => limiter::driver(),
        }
    }

    /// What a target path becomes, where it is known.
    pub(super) fn mount_kind(&self) -> Option<MountKind> {
        match self {
            Self::StandIn(driver) => Some(driver.mount_kind()),
            Self::Program(_) => None,
        }
    }

    /// How it rotates now.
    pub(super) fn rotation(&self) -> Option<Duration> {
        match self {
            Self::StandIn(driver) => driver.rotation(),
            Self::Program(program) => program.rotation(),
        }
    }

    /// Whether it was killed here. One that ended by itself is not brought back: it is for the run to tell.
    pub(super) fn is_killed(&self) -> bool {
        match self {
            Self::StandIn(driver) => driver.is_down(),
            Self::Program(program) => program.exited().is_some() && program.died().is_none(),
        }
    }

    /// Kills it where it stands.
    pub(super) async fn kill(&mut self) {
        match self {
            Self::StandIn(driver) => driver.kill().await,
            Self::Program(program) => program.kill().await,
        }
    }

    /// Starts it anew, ended in order where it runs, rotating as `rotation` says.
    pub(super) async fn restart(&mut self, rotation: Option<Duration>) -> Result<(), String> {
        match self {
            Self::StandIn(driver) => {
                let started = driver.restart(rotation).await;
                started.map_err(|error| error.to_string())
            }
            Self::Program(program) => {
                let started = Box::pin(program.restart_rotating(rotation)).await;
                started.map_err(|error| error.to_string())
            }
        }
    }

    /// Starts a program anew that ended by itself; names it then.
    pub(super) async fn revived(&mut self) -> Result<Option<&'static str>, String> {
        match self {
            Self::Program(program) if program.exited().is_some() => {
                let started = Box::pin(program.restart()).await;
                started.map_err(|error| error.to_string())?;
                Ok(Some("driver"))
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::StandIn(driver) => driver.stop().await,
            Self::Program(program) => program.stop().await,
        }
    }
}

/// The provider on the node.
pub(super) enum ProviderPart {
    StandIn(Box<Provider>),
    Program(Box<ProviderProgram>),
}

impl ProviderPart {
    /// Everything that it has written.
    pub(super) async fn written(&self) -> Result<ProgramLog, String> {
        let text = match self {
            Self::StandIn(provider) => provider.log_text(),
            Self::Program(program) => read_log(program).await?,
        };
        Ok(ProgramLog {
            name: "provider",
            text,
        })
    }

    /// Whether it runs with `--driver-writes-secrets`.
    pub(super) fn driver_writes_secrets(&self) -> bool {
        match self {
            Self::StandIn(provider) => provider.driver_writes_secrets(),
            Self::Program(program) => program.driver_writes_secrets(),
        }
    }

    /// See [`DriverPart::start`].
    pub(super) async fn start(
        options: &LocalOptions,
        config: ProviderConfig,
        logs: &Path,
    ) -> Result<Self, StartError> {
        let Some(programs) = &options.programs else {
            let provider = Provider::start(config).map_err(StartError::of("provider stand-in"))?;
            provider.defects().set_for(
                planted::provider_defects(&options.plants),
                planted::times(&options.plants, |defect| matches!(defect, Defect::Provider(_))),
            );
            return Ok(Self::StandIn(Box::new(provider)));
        };
        let log = logs.join("provider.log");
        // The confinement's /run is ours.
        let place = ProviderOptions::new(AccountPlace::Here);
        let started = ProviderProgram::start(&spec(&programs.provider), &config, &place, &log).await;
        started
            .map(|program| Self::Program(Box::new(program)))
            .map_err(StartError::of("provider"))
    }

    /// See [`DriverPart::component`].
    pub(super) fn component(&self, options: &LocalOptions) -> Component {
        match (self, &options.programs) {
            (Self::Program(program), Some(programs)) => component("provider", &programs.provider, program),
            _ => described::provider_stand_in(),
        }
    }

    /// The provider's own limit on requests to the Kubernetes API, where it was started with this one. A version that
    /// knows no such flag has client-go's 5/s, burst 10.
    pub(super) fn bucket(&self, options: &LocalOptions, qps: f64, burst: u32) -> Bucket {
        let unlimited = match self {
            Self::StandIn(_) => true,
            Self::Program(program) => program.flags().iter().any(|flag| flag.starts_with("--qps=")),
        };
        let (qps, burst) = if unlimited { (qps, burst) } else { (5.0, 10) };
        Bucket {
            per_mount: generation::requests_a_mount(&self.component(options).version),
            ..limiter::provider(qps, f64::from(burst), true)
        }
    }

    /// Where its socket is.
    pub(super) fn folder(&self) -> PathBuf {
        let socket = match self {
            Self::StandIn(provider) => provider.socket().to_owned(),
            Self::Program(program) => program.socket(),
        };
        socket.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Ends it in order and starts it anew, its socket in `folder`, with `--driver-writes-secrets` or without.
    pub(super) async fn restart_in(
        &mut self,
        folder: &Path,
        driver_writes_secrets: bool,
    ) -> Result<(), String> {
        match self {
            Self::StandIn(provider) => {
                let started = provider.restart_in(folder, driver_writes_secrets).await;
                started.map_err(|error| error.to_string())
            }
            Self::Program(program) => {
                let started = Box::pin(program.restart_in(folder, driver_writes_secrets)).await;
                started.map_err(|error| error.to_string())
            }
        }
    }

    /// See [`DriverPart::process`].
    pub(super) fn process(&self) -> Option<NodeProcess> {
        match self {
            Self::StandIn(_) => None,
            Self::Program(program) => Some(process("provider", program)),
        }
    }

    /// Starts a program anew that ended by itself; names it then.
    pub(super) async fn revived(&mut self) -> Result<Option<&'static str>, String> {
        match self {
            Self::Program(program) if program.exited().is_some() => {
                let started = Box::pin(program.restart()).await;
                started.map_err(|error| error.to_string())?;
                Ok(Some("provider"))
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::StandIn(provider) => provider.stop().await,
            Self::Program(program) => program.stop().await,
        }
    }
}

/// What a report says of a program: what it says of itself, and how it was started.
fn component(seam: &str, release: &Release, running: &Running) -> Component {
    // A build that was not told its version says so; then what was asked for is nearer.
    let said = running
        .version()
        .filter(|version| !version.is_empty() && *version != "local-dev");
    let version = said.or(release.version.as_deref()).unwrap_or("unknown");
    let mut notes = vec![release.digest.clone(), release.platform.clone()];
    notes.extend(release.built_from.clone());
    notes.push(running.flags().join(" "));
    notes.extend(running.left_out().iter().map(LeftOut::to_string));
    notes.extend(release.offline.as_ref().map(|offline| {
        format!(
            "from the cache as of {}: {}",
            offline.resolved_at, offline.because
        )
    }));
    Component {
        seam: seam.to_owned(),
        name: release.source.clone(),
        version: version.to_owned(),
        stand_in: false,
        notes,
    }
}

fn process(name: &'static str, running: &Running) -> NodeProcess {
    NodeProcess {
        name,
        ended: running.died(),
    }
}

/// What a program has written up to now, on which it is waited.
async fn read_log(running: &Running) -> Result<String, String> {
    running.settle_log().await;
    let read = tokio::fs::read(running.log()).await;
    let bytes = read.map_err(|error| format!("{}: {error}", running.log().display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn spec(release: &Release) -> ProgramSpec {
    ProgramSpec {
        program: release.program.clone(),
        arguments: release.arguments.clone(),
    }
}
