//! The command `run`.

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::{
    environment::Plant,
    scenario::{duration, model::Arrival},
};

/// Stand up an environment, prove the scenarios in it, measure, report, and take it all down.
#[derive(Debug, Args)]
#[command(
    long_about = "Stands up an environment, provisions tenants (namespace, ServiceAccount, IAM policy and role, \
                  secrets, SecretProviderClass), tries every scenario, measures mounts and fetches, and takes \
                  everything down again, on Ctrl-C too.\n\n\
                  The default environment is embedded: a Kubernetes API, kubelet, CSI driver, AWS provider and AWS \
                  endpoint in this process, over their real protocols. It needs nothing and reaches nothing outside \
                  this machine.",
    after_long_help = "Examples:\n  \
        mountproof run                                      everything, two tenants\n  \
        mountproof run cross-namespace-denied               one scenario\n  \
        mountproof run --profile isolation --namespaces 10  isolation among ten tenants\n  \
        mountproof run --profile load --pods 1000           latency of a thousand mounts\n  \
        mountproof run --plant endpoint:ignore-resource     see it go red\n\n\
        Exit codes: 0 passed, 1 conformance failed, 2 usage, 3 no environment, 4 isolation failed, 5 threshold, \
        6 inconclusive, 7 invalid run, 130 interrupted."
)]
pub struct RunArgs {
    /// Scenarios to run: names, or globs such as 'own-*'. Default: all of them.
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,

    /// Only scenarios of these profiles: conformance, isolation, load.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub profile: Vec<String>,

    /// Only scenarios with these labels.
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,

    /// Read scenarios from a folder instead of the ones built in.
    #[arg(long, value_name = "DIR")]
    pub scenarios_dir: Option<PathBuf>,

    /// Where to run.
    #[arg(long, value_enum, default_value_t = EnvironmentName::Embedded)]
    pub env: EnvironmentName,

    /// Names of the tenants, which are their namespaces.
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "namespaces")]
    pub tenants: Vec<String>,

    /// Make this many tenants, named ns-0001, ns-0002 and so on.
    #[arg(long, value_name = "N")]
    pub namespaces: Option<NonZeroU32>,

    /// First part of every object's name [default: mountproof-<run id>].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Region that secrets are kept in.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,

    /// Image of the workloads.
    #[arg(long, default_value = "registry.k8s.io/pause:3.10")]
    pub image: String,

    /// Mounts that each lens of a mount load measures [default: the scenario's].
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub pods: Option<NonZeroU32>,

    /// Mounts to start per second, open loop [default: the scenario's].
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, help_heading = "Load")]
    pub rate: Option<f64>,

    /// How starts are spread [default: the scenario's].
    #[arg(long, value_enum, help_heading = "Load")]
    pub arrival: Option<ArrivalName>,

    /// Length of a fetch measurement, such as 10s [default: the scenario's].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "Load")]
    pub fetch_for: Option<Duration>,

    /// Fetches in flight [default: the scenario's].
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub in_flight: Option<NonZeroU32>,

    /// Cases at once. Measurements always run alone.
    #[arg(long, short, default_value = "8", value_name = "N")]
    pub jobs: NonZeroU32,

    /// Attempts after the first; a pass after a failure is reported as flaky [default: the scenario's].
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,

    /// Start nothing more after the first case that fails.
    #[arg(long)]
    pub fail_fast: bool,

    /// Run the cases in random order; the seed that repeats it is printed.
    #[arg(long)]
    pub shuffle: bool,

    /// Seed of everything random: values, order, arrival times [default: drawn].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Deadline of the whole run; teardown comes after it.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "30m")]
    pub deadline: Duration,

    /// Folder for the run's folder.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub out: PathBuf,

    /// Plant a defect into the embedded environment, to see which scenario catches it.
    #[arg(long, value_name = "DEFECT", help_heading = "Embedded environment")]
    pub plant: Vec<Plant>,

    /// How many times faster than a real kubelet the stand-in waits between syncs and retries.
    #[arg(long, value_name = "FACTOR", value_parser = positive, default_value = "10", help_heading = "Embedded environment")]
    pub kubelet_clock: f64,

    /// Requests per second that the provider stand-in allows itself to the Kubernetes API; a real provider
    /// has 5 (burst 10) unless its --qps says otherwise.
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, default_value = "500", help_heading = "Embedded environment")]
    pub provider_qps: f64,

    /// Print failures and the last block only.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Environments that this version can stand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EnvironmentName {
    /// Everything in this process; needs nothing.
    Embedded,
}

/// See [`Arrival`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalName {
    /// Evenly spaced.
    Constant,
    /// Independent, exponential gaps.
    Poisson,
}

impl From<ArrivalName> for Arrival {
    fn from(name: ArrivalName) -> Self {
        match name {
            ArrivalName::Constant => Self::Constant,
            ArrivalName::Poisson => Self::Poisson,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number greater than 0 is needed".to_owned()),
    }
}
