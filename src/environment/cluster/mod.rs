//! The environment `cluster`: any cluster that a kubeconfig is the way to, used as it is and left as it was.
//!
//! Driver and provider are found there, or installed for the run ([`super::standing`]). AWS is AWS, or an endpoint in this
//! process at an address that the nodes reach, for a cluster of which nothing is known to AWS:
//!
//! ```text
//! pod ─► kubelet ─► driver ─► provider ──HTTPS─────────► AWS
//! └────── the cluster ──────┘     └──────HTTPS_PROXY──► endpoint (this process) [─► LocalStack]
//! ```

use std::{net::SocketAddr, path::Path, time::Instant};

use mountproof_run_tls::RunCa;

use super::{
    AwsOptions, Environment, Found, Heard, StartError,
    aws_side::AwsSide,
    installation::AwsWay,
    local::{failover_region, prepare},
    standing::{self, Run, SharedOptions, Stands},
};
use crate::{
    kubernetes::{FoundContext, Kubeconfigs, Kubernetes, KubernetesAccess, KubernetesError},
    provision::{ClusterReach, KubernetesIn, Ledger, Reach},
    tenant::Marks,
};

/// How to use a cluster that is there.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where the way to it is written down.
    pub kubeconfig: Kubeconfigs,
    /// The context; `None` is the current one.
    pub context: Option<String>,
    /// What stands at the seam `aws`.
    pub aws: ClusterAws,
    /// Driver, provider, agent and workloads.
    pub shared: SharedOptions,
}

/// What stands at the seam `aws` of a cluster.
#[derive(Debug, Clone)]
pub enum ClusterAws {
    /// An endpoint in this process.
    Ours {
        /// What keeps its secrets.
        options: AwsOptions,
        /// Where it listens, which the nodes reach.
        listen: SocketAddr,
    },
}

impl ClusterOptions {
    /// How what is made is reached without this process.
    #[must_use]
    pub fn reach(&self, region: &str) -> Reach {
        match &self.aws {
            ClusterAws::Ours { options, .. } => options.reach(region),
        }
    }

    /// What a run would use, and what it would make of it: a line each.
    #[must_use]
    pub fn planned(&self) -> Vec<String> {
        let context = match &self.context {
            Some(context) => format!("the context {context}"),
            None => "the current context".to_owned(),
        };
        let mut lines = vec![format!(
            "cluster: {context} of {}; it stays, and so does everything in it that is not the run's",
            self.kubeconfig
        )];
        lines.extend(self.shared.planned());
        lines.push(match &self.aws {
            ClusterAws::Ours { listen, .. } => {
                format!("AWS: an endpoint in this process, at {listen}, which the provider on the nodes has to reach")
            }
        });
        lines
    }
}

/// Uses the cluster for the run with these marks.
pub(super) async fn start(
    options: &ClusterOptions,
    scratch: &Path,
    region: &str,
    seed: u64,
    marks: &Marks,
    ledger: &Ledger,
    heard: Heard,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    let ClusterAws::Ours { options: aws, listen } = &options.aws;
    aws.check().await?;
    prepare(scratch).map_err(StartError::of("environment"))?;
    let at_hand = standing::prepare(&options.shared, scratch).await?;
    let FoundContext { name, access } =
        KubernetesAccess::of_context(&options.kubeconfig, options.context.as_deref())
            .map_err(StartError::of("kubeconfig"))?;
    let failed = StartError::of::<KubernetesError>("Kubernetes client");
    let kubernetes = Kubernetes::connect(&access, marks).await.map_err(failed)?;
    // Before anything is started for it.
    standing::preflight(&kubernetes, &options.shared, true).await?;
    let reach = ClusterReach::Context {
        kubeconfig: options.kubeconfig.paths(),
        context: name.clone(),
    };
    ledger
        .within_cluster(&reach)
        .map_err(StartError::of("environment"))?;

    let ca = RunCa::generate(marks.run()).map_err(StartError::of("certificate authority"))?;
    let behind = aws.behind(marks, ledger).await?;
    let aws_side = AwsSide::start(behind, *listen, &ca, seed, &options.shared.plants).await?;
    let issuer = kubernetes.issuer().await.map_err(failed)?;
    let keys = kubernetes.issuer_keys().await.map_err(failed)?;
    // It may have a name that only pods can resolve.
    aws_side.host_issuer(&issuer, &keys);
    let way = AwsWay {
        proxy: format!("http://{}", aws_side.address()),
        trust_pem: ca.certificate_pem().to_owned(),
        region: region.to_owned(),
    };
    let mut components = standing::components(&kubernetes, format!("context {name}, {}", access.url))
        .await
        .map_err(failed)?;
    components.push(aws_side.component(Some(way.reached())));
    let stands = Stands {
        began,
        aws: aws_side.administrator(&ca, region)?,
        aws_side: Some(aws_side),
        way: Some(way),
        components,
        notes: Vec::new(),
        issuer,
        failover_region: Some(failover_region(region).to_owned()),
        reach: options.reach(region),
        kubernetes_in: KubernetesIn::Standing(reach),
        kubernetes,
    };
    let run = Run { marks, ledger, heard };
    standing::environment(stands, &options.shared, at_hand, run).await
}

/// Looks at what a run needs of a cluster. By name, in reading order; what needs something that is missing is not looked at.
/// Nothing is made.
pub async fn look(
    kubeconfig: &Kubeconfigs,
    context: Option<&str>,
    shared: &SharedOptions,
) -> Vec<(&'static str, Found)> {
    let FoundContext { name, access } = match KubernetesAccess::of_context(kubeconfig, context) {
        Ok(found) => found,
        Err(because) => return vec![("kubeconfig", Found::Missing(because))],
    };
    let mut found = vec![(
        "kubeconfig",
        Found::Good(format!("context {name}, {}", access.url)),
    )];
    // As a run does, which is none.
    match Kubernetes::connect(&access, &Marks::of_run("doctor")).await {
        Ok(kubernetes) => found.extend(standing::doctor(&kubernetes, shared).await),
        Err(error) => found.push(("kubernetes", Found::Missing(error.to_string()))),
    }
    found
}
