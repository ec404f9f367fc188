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
    aws::{AccountOptions, Aws},
    journal::Component,
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
    /// AWS itself, with the credentials that are there.
    Account {
        /// Whose.
        options: AccountOptions,
        /// The account that was agreed to.
        id: String,
    },
}

impl ClusterOptions {
    /// How what is made is reached without this process.
    #[must_use]
    pub fn reach(&self, region: &str) -> Reach {
        match &self.aws {
            ClusterAws::Ours { options, .. } => options.reach(region),
            ClusterAws::Account { options, id } => Reach::Account {
                account: id.clone(),
                region: options.region.clone().unwrap_or_else(|| region.to_owned()),
                profile: options.profile.clone(),
                cluster: self.cluster_reach(),
            },
        }
    }

    /// How the cluster is reached by a later process.
    #[must_use]
    pub fn cluster_reach(&self) -> ClusterReach {
        let found = KubernetesAccess::of_context(&self.kubeconfig, self.context.as_deref());
        ClusterReach::Context {
            kubeconfig: self.kubeconfig.paths(),
            context: found.map_or_else(|_| self.context.clone().unwrap_or_default(), |found| found.name),
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
            ClusterAws::Account { options, .. } => format!(
                "AWS: the account of {}; the issuer of the cluster's tokens becomes an OIDC provider there, if it is none yet",
                options.profile.as_deref().map_or_else(
                    || "the credentials that are there".to_owned(),
                    |profile| format!("profile {profile}")
                )
            ),
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
    if let ClusterAws::Ours { options, .. } = &options.aws {
        options.check().await?;
    }
    prepare(scratch).map_err(StartError::of("environment"))?;
    let at_hand = standing::prepare(&options.shared, scratch).await?;
    let FoundContext { name, access } =
        KubernetesAccess::of_context(&options.kubeconfig, options.context.as_deref())
            .map_err(StartError::of("kubeconfig"))?;
    let failed = StartError::of::<KubernetesError>("Kubernetes client");
    let kubernetes = Kubernetes::connect(&access, marks).await.map_err(failed)?;
    let issuer = kubernetes.issuer().await.map_err(failed)?;
    let is_ours = matches!(options.aws, ClusterAws::Ours { .. });
    if !is_ours && let Some(problem) = unreachable_for_aws(&issuer) {
        return Err(StartError::of("cluster")(problem));
    }
    // Before anything is started for it.
    standing::preflight(&kubernetes, &options.shared, is_ours).await?;
    let reach = options.cluster_reach();
    ledger
        .within_cluster(&reach)
        .map_err(StartError::of("environment"))?;

    let mut components = standing::components(&kubernetes, format!("context {name}, {}", access.url))
        .await
        .map_err(failed)?;
    let (aws, aws_side, way, failover) = match &options.aws {
        ClusterAws::Ours { options: aws, listen } => {
            let ca = RunCa::generate(marks.run()).map_err(StartError::of("certificate authority"))?;
            let behind = aws.behind(marks, ledger).await?;
            let side = AwsSide::start(behind, *listen, &ca, seed, &options.shared.plants).await?;
            let keys = kubernetes.issuer_keys().await.map_err(failed)?;
            // It may have a name that only pods can resolve.
            side.host_issuer(&issuer, &keys);
            let way = AwsWay {
                proxy: format!("http://{}", side.address()),
                trust_pem: ca.certificate_pem().to_owned(),
                region: region.to_owned(),
            };
            components.push(side.component(Some(way.reached())));
            (
                side.administrator(&ca, region)?,
                Some(side),
                Some(way),
                failover_region(region),
            )
        }
        ClusterAws::Account { options, id } => {
            let aws = Aws::of_account(options)
                .await
                .map_err(StartError::of("AWS client"))?;
            let found = &aws.access().account;
            if found != id {
                return Err(StartError::of("AWS client")(format!(
                    "the credentials are of account {found} now, and {id} was agreed to; nothing was made"
                )));
            }
            components.push(account_component(&aws));
            let failover = failover_region(&aws.access().region);
            (aws, None, None, failover)
        }
    };
    let stands = Stands {
        began,
        aws,
        aws_side,
        way,
        components,
        notes: Vec::new(),
        issuer,
        failover_region: Some(failover.to_owned()),
        reach: options.reach(region),
        kubernetes_in: KubernetesIn::Standing(reach),
        kubernetes,
    };
    let run = Run { marks, ledger, heard };
    Box::pin(standing::environment(stands, &options.shared, at_hand, run)).await
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

fn account_component(aws: &Aws) -> Component {
    let access = aws.access();
    let mut notes = vec![format!("account {}, {}", access.account, access.region)];
    notes.extend(aws.caller().map(|caller| format!("as {caller}")));
    notes.extend(
        access
            .endpoint
            .as_ref()
            .map(|endpoint| format!("at {endpoint}, which is not AWS")),
    );
    Component {
        seam: "aws".to_owned(),
        name: "AWS".to_owned(),
        version: "-".to_owned(),
        stand_in: false,
        notes,
    }
}

/// PURE: why AWS could not fetch the keys of an issuer, which it does over HTTPS from outside the cluster; nothing where it
/// may. <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html>
fn unreachable_for_aws(issuer: &str) -> Option<String> {
    let host = issuer
        .strip_prefix("https://")
        .map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
    let why = match host {
        None => "it is no https:// address",
        Some(host) => {
            let private = host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| {
                address.is_private() || address.is_loopback() || address.is_link_local()
            });
            let within = ["svc", "local", "internal", "localhost"]
                .iter()
                .any(|last| host.rsplit('.').next() == Some(last));
            if private || within {
                "only the cluster, or its network, reaches it"
            } else {
                return None;
            }
        }
    };
    Some(format!(
        "the issuer of the cluster's service-account tokens is {issuer}: {why}, so that AWS cannot fetch its keys and takes no token \
         of it (IRSA); publish its documents at a public https:// address (--service-account-issuer, --service-account-jwks-uri of \
         kube-apiserver), or use an AWS of the run's own: --aws embedded --aws-listen IP:PORT"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_that_aws_cannot_reach_is_known_by_its_address() {
        for (issuer, reached) in [
            ("https://oidc.eks.eu-west-1.amazonaws.com/id/0123", true),
            ("https://bucket.s3.amazonaws.com/cluster", true),
            ("https://issuer.example:8443", true),
            ("http://issuer.example", false),
            ("https://kubernetes.default.svc.cluster.local", false),
            ("https://kubernetes.default.svc", false),
            ("https://127.0.0.1:6443", false),
            ("https://10.0.0.1", false),
            ("kubernetes/serviceaccount", false),
        ] {
            let problem = unreachable_for_aws(issuer);
            assert_eq!(problem.is_none(), reached, "{issuer}");
            assert!(problem.is_none_or(|said| said.contains(issuer) && said.contains("--aws embedded")));
        }
    }
}
