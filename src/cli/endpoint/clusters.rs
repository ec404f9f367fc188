//! What `endpoint` is told about EKS clusters.

use std::{sync::Arc, time::Duration};

use clap::Args;
use mountproof_run_tls::RunCa;

use crate::{
    environment::{NodeOptions, StandInClusters},
    scenario::duration,
};

/// How clusters are.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// Start a Kubernetes API server, the stand-in, for every EKS cluster, and a kubelet stand-in for every node of its node
    /// groups: by default nothing answers at their endpoints
    #[arg(long)]
    pub clusters: bool,

    /// How long EKS clusters, node groups and add-ons are on their way between two states where nothing has to be
    /// started or ended for them
    #[arg(long, value_name = "DURATION", value_parser = settling, default_value = "1s")]
    pub settling: Duration,

    /// Pods that a node of --clusters takes, in the place of what EC2 instances of its type do (17 for t3.medium)
    #[arg(long, value_name = "PODS", requires = "clusters", value_parser = clap::value_parser!(u16).range(1..))]
    pub node_pods: Option<u16>,

    /// How many times faster than a real kubelet those of --clusters wait
    #[arg(long, value_name = "FACTOR", requires = "clusters", value_parser = factor, default_value = "1")]
    pub node_clock: f64,
}

impl ClusterArgs {
    /// What stands behind clusters, if anything is to.
    pub(super) fn backend(&self, ca: &Arc<RunCa>) -> Option<Arc<StandInClusters>> {
        let options = NodeOptions {
            max_pods: self.node_pods.map(usize::from),
            clock: self.node_clock,
        };
        self.clusters.then(|| Arc::new(StandInClusters::new(ca, options)))
    }
}

fn settling(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("a number greater than 0 is needed".to_owned()),
    }
}
