//! PURE. A cluster of EKS, as it was asked for.

use std::{path::PathBuf, str::FromStr};

use super::super::standing::SharedOptions;
use crate::aws::AccountOptions;

/// Where to run, in an account of AWS's.
#[derive(Debug, Clone)]
pub struct EksOptions {
    /// How the account is come to.
    pub account: AccountOptions,
    /// The account that was agreed to, twelve digits: another one is not touched.
    pub account_id: String,
    /// The cluster.
    pub cluster: EksCluster,
    /// What is installed for the run by EKS, beside what the cluster has.
    pub addons: Vec<AddonWanted>,
    /// Where a kubeconfig for it is written.
    pub kubeconfig: Option<PathBuf>,
    /// Driver and provider, and the rest that a cluster has beside Kubernetes.
    pub shared: SharedOptions,
}

/// Which cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EksCluster {
    /// One that is there, and stays.
    Existing(String),
    /// One that is made for the run, and goes with it.
    Created(Box<Creation>),
}

impl EksOptions {
    /// The cluster's name, for the run with this id.
    #[must_use]
    pub fn cluster_name(&self, run_id: &str) -> String {
        match &self.cluster {
            EksCluster::Existing(name) => name.clone(),
            EksCluster::Created(creation) => creation
                .name
                .clone()
                .unwrap_or_else(|| format!("mountproof-{run_id}")),
        }
    }

    /// Whether it is made for the run.
    #[must_use]
    pub fn creates(&self) -> bool {
        matches!(self.cluster, EksCluster::Created(_))
    }

    /// Whether driver and provider come as an add-on.
    #[must_use]
    pub fn has_provider(&self) -> bool {
        self.addons.iter().any(|addon| addon.name == PROVIDER_ADDON)
    }
}

/// How to make a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// Its name; none is the run's.
    pub name: Option<String>,
    /// Such as `1.36`; none is EKS's own choice.
    pub version: Option<String>,
    /// Of two availability zones at least.
    pub subnets: Vec<String>,
    /// Beside the one that EKS makes.
    pub security_groups: Vec<String>,
    /// Its nodes.
    pub nodes: Nodes,
}

/// A managed node group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// What they are.
    pub instance_type: String,
    /// At least.
    pub least: u32,
    /// At first.
    pub desired: u32,
    /// At most.
    pub most: u32,
}

impl Default for Nodes {
    /// As the system had it that everything started from.
    fn default() -> Self {
        Self {
            instance_type: "t3.medium".to_owned(),
            least: 1,
            desired: 2,
            most: 3,
        }
    }
}

impl Nodes {
    /// So many, and the least and most that go with it where nothing else was said.
    ///
    /// # Errors
    ///
    /// In words, where they do not fit each other.
    pub fn sized(
        instance_type: &str,
        desired: Option<u32>,
        least: Option<u32>,
        most: Option<u32>,
    ) -> Result<Self, String> {
        let usual = Self::default();
        let desired = desired.unwrap_or(usual.desired);
        let sized = Self {
            instance_type: instance_type.to_owned(),
            least: least.unwrap_or_else(|| usual.least.min(desired)),
            desired,
            most: most.unwrap_or_else(|| usual.most.max(desired)),
        };
        if sized.desired == 0 || sized.least > sized.desired || sized.desired > sized.most {
            return Err(format!(
                "{} nodes with at least {} and at most {}: give numbers that rise, from 1 on",
                sized.desired, sized.least, sized.most
            ));
        }
        Ok(sized)
    }
}

/// An add-on of EKS's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonWanted {
    /// Such as `vpc-cni`.
    pub name: String,
    /// Its version; none is the one that EKS chooses for the cluster's version.
    pub version: Option<String>,
}

impl AddonWanted {
    /// One of whatever version EKS chooses.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
        }
    }
}

/// The add-on that is driver and provider.
pub const PROVIDER_ADDON: &str = "aws-secrets-store-csi-driver-provider";
/// The add-on that gives pods the credentials of their roles.
pub const POD_IDENTITY_ADDON: &str = "eks-pod-identity-agent";

impl FromStr for AddonWanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if name.is_empty() || !name.chars().all(fits) || version.is_some_and(str::is_empty) {
            return Err(format!(
                "{text:?} names no add-on: give NAME or NAME@VERSION, such as vpc-cni@v1.20.4-eksbuild.2"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_on_is_a_name_and_a_version() {
        for (text, version) in [
            ("vpc-cni", None),
            ("vpc-cni@v1.20.4-eksbuild.2", Some("v1.20.4-eksbuild.2")),
        ] {
            let addon: Result<AddonWanted, String> = text.parse();
            assert_eq!(
                addon,
                Ok(AddonWanted {
                    name: "vpc-cni".to_owned(),
                    version: version.map(str::to_owned)
                })
            );
        }
        for text in ["", "@v1", "vpc-cni@", "a b"] {
            assert!(text.parse::<AddonWanted>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nodes_are_at_least_one_and_in_order() {
        let sized = |desired, least, most| {
            Nodes::sized("t3.medium", desired, least, most).map(|it| (it.least, it.desired, it.most))
        };
        assert_eq!(sized(None, None, None), Ok((1, 2, 3)));
        assert_eq!(sized(Some(1), None, None), Ok((1, 1, 3)));
        assert_eq!(sized(Some(7), None, None), Ok((1, 7, 7)));
        assert_eq!(sized(Some(7), Some(7), Some(9)), Ok((7, 7, 9)));
        for (desired, least, most) in [
            (Some(0), None, None),
            (Some(3), Some(4), None),
            (Some(3), None, Some(2)),
        ] {
            assert!(sized(desired, least, most).is_err());
        }
    }
}
