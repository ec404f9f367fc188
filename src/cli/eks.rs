//! The flags of `--env eks`.

use std::{io, path::PathBuf};

use clap::Args;

use super::{
    allowed::{Doing, Place, allowed},
    output::{Output, USAGE},
};
use crate::{
    aws::{AccountOptions, Aws, Share},
    environment::{
        AddonWanted, Creation, EksCluster, EksOptions, Nodes,
        eks::{POD_IDENTITY_ADDON, PROVIDER_ADDON},
        standing::SharedOptions,
    },
    report::ExitCode,
};

/// Variable with the accounts that may be used.
pub(super) const ALLOW: &str = "MOUNTPROOF_ALLOW_ACCOUNT";

/// Which cluster of EKS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "EKS environment (--env eks)")]
pub struct EksArgs {
    /// Make a cluster for the run, with the name that --cluster-name gives or one of its own, and delete it at the end. Without
    /// this the cluster of --cluster-name is used, and left as it is.
    #[arg(long)]
    pub create: bool,

    /// Subnets of the cluster and its nodes, of two availability zones at least; nodes need a way out to AWS from there.
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', requires = "create")]
    pub subnets: Vec<String>,

    /// Security groups of the cluster, beside the one that EKS makes.
    #[arg(long, value_name = "ID,..", value_delimiter = ',', requires = "create")]
    pub security_groups: Vec<String>,

    /// Version of Kubernetes, such as 1.36 [default: EKS's own choice].
    #[arg(long, value_name = "VERSION", requires = "create")]
    pub kubernetes_version: Option<String>,

    /// What the nodes are.
    #[arg(long, value_name = "TYPE", default_value = "t3.medium", requires = "create")]
    pub instance_type: String,

    /// How many nodes.
    #[arg(long, value_name = "N", requires = "create")]
    pub nodes: Option<u32>,

    /// The node group's smallest size [default: 1].
    #[arg(long, value_name = "N", requires = "create")]
    pub nodes_min: Option<u32>,

    /// The node group's largest size [default: 3, or --nodes].
    #[arg(long, value_name = "N", requires = "create")]
    pub nodes_max: Option<u32>,

    /// An add-on to install for the run, such as vpc-cni@v1.20.4-eksbuild.2; more than once for several. The add-on
    /// aws-secrets-store-csi-driver-provider brings driver and provider, eks-pod-identity-agent what --identity pod-identity
    /// needs. One that the cluster has already is never touched.
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub addon: Vec<AddonWanted>,

    /// The profile of AWS's shared configuration files [default: `AWS_PROFILE`, else default].
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,

    /// Accounts that may be used without being asked; others are refused where one is given. Without a terminal the account
    /// has to stand here, or in `allow: { accounts: [..] }` of ~/.config/mountproof/config.yaml.
    #[arg(long, value_name = "ID,..", value_delimiter = ',', env = ALLOW, hide_env_values = true)]
    pub allow_account: Vec<String>,

    /// The share of the account's published rates of calls that the run takes at most, such as 10%.
    #[arg(long, value_name = "PERCENT", default_value_t)]
    pub max_aws_share: Share,

    /// Write a kubeconfig for the cluster to this file; it asks the AWS CLI for its tokens.
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
}

impl EksArgs {
    /// The first flag of an account of AWS's that was given.
    #[must_use]
    pub fn first_of_account(&self) -> Option<&'static str> {
        // Not --allow-account: its variable may be set for good.
        if self.profile.is_some() {
            Some("--profile")
        } else {
            (self.max_aws_share != Share::default()).then_some("--max-aws-share")
        }
    }

    /// The first flag that only means something with `--env eks`, if one was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            (self.create, "--create"),
            (!self.subnets.is_empty(), "--subnets"),
            (!self.security_groups.is_empty(), "--security-groups"),
            (self.kubernetes_version.is_some(), "--kubernetes-version"),
            (self.nodes.is_some(), "--nodes"),
            (self.nodes_min.is_some(), "--nodes-min"),
            (self.nodes_max.is_some(), "--nodes-max"),
            (!self.addon.is_empty(), "--addon"),
            (self.write_kubeconfig.is_some(), "--write-kubeconfig"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// As the environment takes them. The account is not agreed to yet.
    ///
    /// # Errors
    ///
    /// In words, for what cannot be meant.
    pub fn options(
        &self,
        cluster: Option<&str>,
        region: Option<String>,
        shared: SharedOptions,
    ) -> Result<EksOptions, String> {
        let mut options = EksOptions {
            account: self.account(region),
            account_id: String::new(),
            cluster: self.cluster(cluster)?,
            addons: self.addon.clone(),
            kubeconfig: self.write_kubeconfig.clone(),
            shared,
        };
        if options.has_provider() && options.shared.install {
            return Err(format!(
                "--addon {PROVIDER_ADDON} brings driver and provider: leave it out, or --install, --replace-driver and what names \
                 others"
            ));
        }
        // In one that is made there is nothing: what is not an add-on is installed.
        if options.creates() {
            options.shared.install = !options.has_provider();
            if options.shared.pod_identity && !self.addon.iter().any(|addon| addon.name == POD_IDENTITY_ADDON)
            {
                options.addons.push(AddonWanted::of(POD_IDENTITY_ADDON));
            }
        }
        Ok(options)
    }

    /// Finds out whose account the credentials are of, and whether it may be used; the exit code where not, with what is in the
    /// way printed.
    ///
    /// # Errors
    ///
    /// When a stream cannot be read or written.
    pub async fn agree(
        &self,
        options: &mut EksOptions,
        output: &mut Output<'_>,
    ) -> io::Result<Result<(), u8>> {
        self.agree_to(&mut options.account, &mut options.account_id, output)
            .await
    }

    /// The credentials that are meant, in a region or in the chain's own.
    #[must_use]
    pub fn account(&self, region: Option<String>) -> AccountOptions {
        AccountOptions {
            profile: self.profile.clone(),
            region,
            max_share: self.max_aws_share,
        }
    }

    /// Likewise, of any environment whose AWS is an account: `id` and the region become known.
    ///
    /// # Errors
    ///
    /// When a stream cannot be read or written.
    pub async fn agree_to(
        &self,
        account: &mut AccountOptions,
        id: &mut String,
        output: &mut Output<'_>,
    ) -> io::Result<Result<(), u8>> {
        let aws = match Aws::of_account(account).await {
            Ok(aws) => aws,
            Err(error) => {
                writeln!(output.err, "error: {error}")?;
                return Ok(Err(ExitCode::EnvironmentUnavailable.code()));
            }
        };
        let access = aws.access();
        // The variable may be there and empty.
        let mut allow = self.allow_account.clone();
        allow.retain(|account| !account.is_empty());
        if !allowed(Doing::Run, Place::Account, &access.account, &allow, output)? {
            return Ok(Err(USAGE));
        }
        id.clone_from(&access.account);
        account.region = Some(access.region.clone());
        Ok(Ok(()))
    }

    /// The cluster that is meant.
    ///
    /// # Errors
    ///
    /// In words, where none is.
    pub fn cluster(&self, name: Option<&str>) -> Result<EksCluster, String> {
        if !self.create {
            return name
                .map(|name| EksCluster::Existing(name.to_owned()))
                .ok_or_else(|| {
                    "--env eks needs a cluster: name one with --cluster-name, or have one made with --create \
                 --subnets ID,ID"
                        .to_owned()
                });
        }
        if let Some(name) = name
            && !is_cluster_name(name)
        {
            return Err(format!(
                "--cluster-name: {name:?} is no name for a cluster: up to 100 letters, digits, dashes and underscores, a letter \
                 or a digit first"
            ));
        }
        if self.subnets.len() < 2 {
            return Err(
                "--create needs --subnets ID,ID: two at least, of different availability zones (`aws ec2 describe-subnets` \
                 lists them)"
                    .to_owned(),
            );
        }
        Ok(EksCluster::Created(Box::new(Creation {
            name: name.map(str::to_owned),
            version: self.kubernetes_version.clone(),
            subnets: self.subnets.clone(),
            security_groups: self.security_groups.clone(),
            nodes: Nodes::sized(&self.instance_type, self.nodes, self.nodes_min, self.nodes_max)?,
        })))
    }
}

/// As EKS has it ("`CreateCluster`": `[0-9A-Za-z][A-Za-z0-9\-_]*`, up to 100).
fn is_cluster_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    name.len() <= 100
        && name.chars().all(fits)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: EksArgs,
    }

    fn args(create: bool, subnets: &[&str]) -> EksArgs {
        let mut line = vec!["eks"];
        line.extend(create.then_some("--create"));
        let subnets = subnets.join(",");
        line.extend(
            (!subnets.is_empty())
                .then_some(["--subnets", &subnets])
                .into_iter()
                .flatten(),
        );
        Line::parse_from(line).args
    }

    #[test]
    fn a_cluster_is_named_or_made() {
        for (create, subnets, name, said) in [
            (false, &[][..], Some("prod"), Ok("existing")),
            (false, &[], None, Err("--cluster-name")),
            (true, &["a", "b"], None, Ok("created")),
            (true, &["a", "b"], Some("test"), Ok("created")),
            (true, &["a"], None, Err("--subnets")),
            (true, &["a", "b"], Some("-test"), Err("no name")),
        ] {
            match (args(create, subnets).cluster(name), said) {
                (Ok(EksCluster::Existing(found)), Ok("existing")) => assert_eq!(Some(found.as_str()), name),
                (Ok(EksCluster::Created(made)), Ok("created")) => assert_eq!(made.name.as_deref(), name),
                (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
                (found, said) => panic!("{found:?} in the place of {said:?}"),
            }
        }
    }
}
