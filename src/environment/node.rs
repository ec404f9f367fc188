//! Driver and provider on the node: the stand-ins in this process, or a release's programs.

use std::path::{Path, PathBuf};

use mountproof_stand_ins::{
    driver::{Driver, DriverConfig, MountKind},
    programs::{DriverProgram, ProgramSpec, ProviderProgram, ServiceAccountFolder},
    provider::{Provider, ProviderConfig},
};

use super::{Defect, LocalOptions, Release, StartError, planted};

/// The driver on the node.
pub(super) enum DriverPart {
    StandIn(Driver),
    Program(DriverProgram),
}

impl DriverPart {
    /// Starts what the options name, as `config` says; a program's output goes into `logs`.
    pub(super) async fn start(
        options: &LocalOptions,
        config: DriverConfig,
        logs: &Path,
    ) -> Result<Self, StartError> {
        let Some(programs) = &options.programs else {
            let driver = Driver::start(config).await.map_err(StartError::of("driver stand-in"))?;
            driver.defects().set_for(
                planted::driver_defects(&options.plants),
                planted::times(&options.plants, |defect| matches!(defect, Defect::Driver(_))),
            );
            return Ok(Self::StandIn(driver));
        };
        let log = logs.join("driver.log");
        let started = DriverProgram::start(&spec(&programs.driver), &config, &log).await;
        started.map(Self::Program).map_err(StartError::of("driver"))
    }

    /// What a target path becomes, where it is known.
    pub(super) fn mount_kind(&self) -> Option<MountKind> {
        match self {
            Self::StandIn(driver) => Some(driver.mount_kind()),
            Self::Program(_) => None,
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
    StandIn(Provider),
    Program(ProviderProgram),
}

impl ProviderPart {
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
            return Ok(Self::StandIn(provider));
        };
        let log = logs.join("provider.log");
        let folder = ServiceAccountFolder::InPlace;
        let started = ProviderProgram::start(&spec(&programs.provider), &config, folder, &log).await;
        started.map(Self::Program).map_err(StartError::of("provider"))
    }

    pub(super) async fn stop(self) {
        match self {
            Self::StandIn(provider) => provider.stop().await,
            Self::Program(program) => program.stop().await,
        }
    }
}

/// Where programs write, and where it goes in the run's folder: see [`super::ProgramLog`].
pub(super) fn log_files(options: &LocalOptions, logs: &Path) -> Vec<PathBuf> {
    match options.programs {
        None => Vec::new(),
        Some(_) => vec![logs.join("driver.log"), logs.join("provider.log")],
    }
}

fn spec(release: &Release) -> ProgramSpec {
    ProgramSpec {
        program: release.program.clone(),
        arguments: release.arguments.clone(),
    }
}
