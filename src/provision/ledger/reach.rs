//! How a later process reaches what a run made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Object;

/// How a later process reaches what a run made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Not at all, and it need not: the environment was in the run's own process, or in what is on record as a whole (a
    /// cluster, a container, a folder).
    #[default]
    Embedded,
    /// Likewise, but for the secrets: they are kept by a backend that is somebody else's and stays.
    Backend {
        /// `http://HOST:PORT`.
        url: String,
        /// The region that they are in.
        region: String,
    },
    /// By the ordinary credential chain: everything is in an account of AWS's, and in a cluster.
    Account {
        /// Twelve digits.
        account: String,
        /// The region that it is in.
        region: String,
        /// The profile that the run was told to use, if it was.
        profile: Option<String>,
        /// The cluster.
        cluster: ClusterReach,
    },
}

impl Reach {
    /// Whether an object of the two worlds is there still when the run's process is gone. What is in a cluster that stays is
    /// on record as such, with the cluster.
    pub(crate) fn outlives(&self, object: &Object) -> bool {
        match self {
            Self::Embedded => false,
            Self::Backend { .. } => matches!(object, Object::Secret(_)),
            Self::Account { .. } => !matches!(
                object,
                Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_)
            ),
        }
    }

    /// Whether AWS is an account, and no part of the run's process.
    #[must_use]
    pub fn is_account(&self) -> bool {
        matches!(self, Self::Account { .. })
    }
}

/// Where what a run has in Kubernetes is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KubernetesIn {
    /// In its process, which takes it along.
    #[default]
    Process,
    /// In an [`Object::KindCluster`] or [`Object::EksCluster`] of its own, which takes it along.
    OwnCluster,
    /// In a cluster of kind that outlives the run, by name: it is removed there object by object.
    KeptCluster(String),
    /// In a cluster that somebody else has, reached like this: likewise.
    Standing(ClusterReach),
}

/// How a cluster that somebody else has is reached by a later process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterReach {
    /// By a kubeconfig, as `kubectl` does.
    Context {
        /// Its files, the first of which wins.
        kubeconfig: Vec<PathBuf>,
        /// The context in them.
        context: String,
    },
    /// By EKS, with the account's credentials: the cluster of this name, a run's own or not.
    Eks(String),
}

impl std::fmt::Display for ClusterReach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Context { context, .. } => write!(f, "the cluster of context {context}"),
            Self::Eks(name) => write!(f, "the EKS cluster {name}"),
        }
    }
}
