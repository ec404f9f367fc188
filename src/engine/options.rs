//! What a run is asked to do, ready to be done.

use std::{path::PathBuf, time::Duration};

use super::EndAt;
use crate::{
    environment::EnvironmentOptions,
    known::KnownIssues,
    scenario::{
        Case,
        model::{Arrival, Pace},
    },
    tenant::Identity,
};

/// What a run is asked to do. The command line has been understood, the scenarios have been checked.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The cases to try, in the order of reports.
    pub cases: Vec<Case>,
    /// Names of the shared tenants; at least one.
    pub tenants: Vec<String>,
    /// Their ways in; at least one.
    pub identities: Vec<Identity>,
    /// First part of every object's name; default `mountproof-<run id>`.
    pub cluster: Option<String>,
    /// Region that secrets are kept in.
    pub region: String,
    /// Image of workloads; the environment's own where it is not given.
    pub image: Option<String>,
    /// Overrides of the scenarios' loads.
    pub load: LoadOverrides,
    /// Cases at once.
    pub jobs: usize,
    /// Attempts after the first; overrides the scenarios'.
    pub retries: Option<u32>,
    /// Start nothing more after the first case that fails.
    pub fail_fast: bool,
    /// Run the cases in an order drawn from the seed.
    pub shuffle: bool,
    /// Seed of everything random; default drawn and printed.
    pub seed: Option<u64>,
    /// Deadline of the whole run before teardown.
    pub deadline: Duration,
    /// Folder that run folders are made in.
    pub out: PathBuf,
    /// Upstream defects that are known.
    pub known: KnownIssues,
    /// An end before its time, to see that nothing is left.
    pub end: Option<EndAt>,
    /// The command line, for reports.
    pub command: Vec<String>,
    /// The environment.
    pub environment: EnvironmentOptions,
}

/// What the command line says over a scenario's own load.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOverrides {
    /// Mounts to measure through each lens.
    pub pods: Option<u32>,
    /// Mean starts per second.
    pub rate: Option<f64>,
    /// Mean starts of pods per second, of an environment whose nodes bring them up more slowly than scenarios have it; a
    /// `rate` that is given comes first.
    pub pod_rate: Option<f64>,
    /// Distribution of starts.
    pub arrival: Option<Arrival>,
    /// Length of a fetch measurement.
    pub duration: Option<Duration>,
    /// How fetches are paced.
    pub pace: Option<Pace>,
}
