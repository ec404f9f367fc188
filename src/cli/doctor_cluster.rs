//! `mountproof doctor` for clusters that others have: in an account (`--env eks`), or anywhere (`--env cluster`).

use std::io;

use clap::{Args, ValueEnum};

use super::{
    cluster_env::ClusterArgs,
    eks::EksArgs,
    output::{Output, USAGE},
};
use crate::{
    aws::{AccountOptions, Aws},
    environment::{
        self, EksOptions, Found,
        eks::policy::{self, Scope},
        standing::{Does, SharedOptions, cluster_role, required_rights, role_of_sweeps},
    },
    kubernetes::Kubeconfigs,
    tenant::Identity,
};

/// Which cluster is looked at.
#[derive(Debug, Clone, Args)]
pub struct LookArgs {
    /// Look at what this environment needs, in the place of what this machine offers.
    #[arg(long, value_enum)]
    pub env: Option<Looked>,

    /// The cluster of EKS.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// Its region [default: the one that AWS's own tools take].
    #[arg(long)]
    pub region: Option<String>,

    /// Print what a run has to be allowed, and nothing more: `iam`, a policy for whoever runs it; `kubernetes`, a `ClusterRole`.
    #[arg(long, value_enum, requires = "env")]
    pub print_policy: Option<Policy>,

    /// Print what `sweep --env` has to be allowed, in the place of a run.
    #[arg(long, requires = "print_policy")]
    pub sweep: bool,

    /// The cluster of --env eks.
    #[command(flatten)]
    pub eks: EksArgs,

    /// The cluster of --env cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Environments of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Looked {
    /// A cluster of Amazon EKS.
    Eks,
    /// Any cluster that a kubeconfig is the way to.
    Cluster,
}

/// What can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// An IAM policy.
    Iam,
    /// A `ClusterRole`.
    Kubernetes,
}

/// What the looks came to; the exit code where there is nothing to look at.
///
/// # Errors
///
/// When a stream cannot be written.
pub(super) async fn look(
    args: &LookArgs,
    looked: Looked,
    output: &mut Output<'_>,
) -> io::Result<Result<Vec<(&'static str, Found)>, u8>> {
    // Whatever there is will do.
    let shared = SharedOptions {
        install: true,
        irsa: true,
        ..SharedOptions::default()
    };
    match looked {
        Looked::Cluster => {
            let kubeconfig = Kubeconfigs::of(args.cluster.kubeconfig.as_deref());
            let context = args.cluster.context.as_deref();
            Ok(Ok(
                environment::look_for_cluster(&kubeconfig, context, &shared).await
            ))
        }
        Looked::Eks => match args.eks_options(shared) {
            Ok(options) => Ok(Ok(environment::look_for_eks(&options).await)),
            Err(because) => {
                writeln!(output.err, "error: {because}")?;
                Ok(Err(USAGE))
            }
        },
    }
}

/// Prints a policy.
///
/// # Errors
///
/// When a stream cannot be written.
pub(super) async fn print(args: &LookArgs, policy: Policy, output: &mut Output<'_>) -> io::Result<u8> {
    let text = match policy {
        Policy::Kubernetes if args.sweep => format!("{:#}\n", role_of_sweeps()),
        Policy::Iam if args.sweep => {
            let account = args.eks.account(args.region.clone());
            let place = Where::of(&account).await;
            format!(
                "{:#}\n",
                policy::document_of_sweeps(&Scope::of_account(place.names()))
            )
        }
        Policy::Kubernetes => {
            let everything = Does {
                installs: true,
                agent: true,
            };
            format!("{:#}\n", cluster_role(&required_rights(everything)))
        }
        Policy::Iam => match args.eks_options(SharedOptions::default()) {
            Ok(options) => {
                let document = document(&options).await;
                format!("{document:#}\n")
            }
            Err(because) => {
                writeln!(output.err, "error: {because}")?;
                return Ok(USAGE);
            }
        },
    };
    write!(output.out, "{text}")?;
    Ok(super::output::OK)
}

async fn document(options: &EksOptions) -> serde_json::Value {
    let place = Where::of(&options.account).await;
    policy::document(&options.scope(place.names(), &Identity::ALL))
}

/// Where a policy is for: the account of the credentials, if there are any; else whichever it is attached in.
struct Where {
    partition: String,
    account: String,
    region: String,
}

impl Where {
    async fn of(options: &AccountOptions) -> Self {
        let region = options.region.clone().unwrap_or_else(|| "*".to_owned());
        match Aws::of_account(options).await {
            Ok(aws) => {
                let access = aws.access();
                Self {
                    partition: access.partition.clone(),
                    account: access.account.clone(),
                    region: access.region.clone(),
                }
            }
            Err(_) => Self {
                partition: "aws".to_owned(),
                account: "*".to_owned(),
                region,
            },
        }
    }

    fn names(&self) -> (&str, &str, &str) {
        (&self.partition, &self.account, &self.region)
    }
}

impl LookArgs {
    fn eks_options(&self, shared: SharedOptions) -> Result<EksOptions, String> {
        let mut eks = self.eks.clone();
        if eks.create && eks.subnets.is_empty() {
            // Which they are matters to nobody here.
            eks.subnets = vec![String::new(), String::new()];
        }
        eks.options(self.cluster_name.as_deref(), self.region.clone(), shared)
    }
}
