//! The flags of `--env kind`.

use std::{num::NonZeroU32, path::PathBuf};

use clap::Args;

use crate::environment::{AwsOptions, KindOptions, Needs, Stay, installation::InstallationOptions};

/// Pods that are started a second, for each processor, where nobody says otherwise: the nodes' containers share this
/// machine's processors, and starting one takes a fifth to a third of a second of them (runc, network, kubelet, etcd). Above that a
/// queue grows, and the figure is of the queue.
const PODS_EACH: f64 = 1.5;

/// How many pods a second are started on this machine where nobody says otherwise.
pub(super) fn pod_rate() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    PODS_EACH * f64::from(u32::try_from(processors).unwrap_or(u32::MAX))
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kind environment (--env kind)")]
pub struct KindArgs {
    /// The program kind [default: kind in PATH].
    #[arg(long, value_name = "PROGRAM", env = "MOUNTPROOF_KIND", hide_env_values = true)]
    pub kind: Option<PathBuf>,

    /// Image of the nodes, which decides the version of Kubernetes [default: kind's own].
    #[arg(long, value_name = "IMAGE")]
    pub kind_image: Option<String>,

    /// A configuration of kind's, in the place of --workers and --max-pods.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workers", "max_pods"])]
    pub kind_config: Option<PathBuf>,

    /// Workers beside the control plane; without any, pods run on the control plane.
    #[arg(long, value_name = "N", default_value = "0")]
    pub workers: u32,

    /// Pods that a node takes [default: kubelet's 110, more where a measurement of the run needs it].
    #[arg(long, value_name = "N")]
    pub max_pods: Option<NonZeroU32>,

    /// Image of mountproof itself for the agent on the nodes, of this version; one that Docker has here is loaded into the nodes
    /// [default: made of this program].
    #[arg(long, value_name = "IMAGE")]
    pub agent_image: Option<String>,
}

impl KindArgs {
    /// The first flag that only means something with `--env kind`, if one was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            // Not --kind: its variable may be set for good.
            (self.kind_image.is_some(), "--kind-image"),
            (self.kind_config.is_some(), "--kind-config"),
            (self.workers > 0, "--workers"),
            (self.max_pods.is_some(), "--max-pods"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// As the environment takes them.
    #[must_use]
    pub fn options(&self, installation: InstallationOptions) -> KindOptions {
        KindOptions {
            program: self.kind.clone(),
            image: self.kind_image.clone(),
            config: self.kind_config.clone(),
            workers: self.workers,
            max_pods: self.max_pods.map(NonZeroU32::get),
            installation,
            then: None,
            aws: AwsOptions::default(),
            plants: Vec::new(),
            faults: Vec::new(),
            agent: self.agent_image.clone(),
            stay: Stay::Never,
            workload_image: None,
            needs: Needs::default(),
            notes: Vec::new(),
        }
    }
}
