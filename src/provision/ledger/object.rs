//! What a ledger has on record.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::kubernetes::ObjectRef;

/// Something that a run makes outside its own memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Object {
    /// A folder of the run's own with everything in it, mounts included.
    Scratch(PathBuf),
    /// A cluster of kind with everything in it, by name.
    KindCluster(String),
    /// A container of Docker's on this machine, by name, with its volumes.
    Container(String),
    /// A Kubernetes object.
    Kubernetes(ObjectRef),
    /// A Kubernetes object of what is installed for the run in a cluster that stays: it goes after everything that mounts.
    Installed(ObjectRef),
    /// A Kubernetes object of somebody else's that makes room for the run's, and is put back after them.
    Displaced {
        /// Which.
        object: ObjectRef,
        /// Where it is written down, as it was; nowhere on this machine where it was found without a ledger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<PathBuf>,
        /// What keeps it in the cluster too, for whoever has no ledger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kept: Option<ObjectRef>,
    },
    /// An EKS cluster with everything in it, by name.
    EksCluster(String),
    /// A managed node group with its nodes.
    Nodegroup {
        /// The EKS cluster that it is of.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// An add-on of an EKS cluster.
    Addon {
        /// The EKS cluster that it is of.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// The role that EKS gives to the pods of a `ServiceAccount`.
    PodIdentityAssociation {
        /// The EKS cluster that it is of.
        cluster: String,
        /// The `ServiceAccount`'s namespace.
        namespace: String,
        /// The `ServiceAccount`.
        service_account: String,
    },
    /// An IAM identity provider, by ARN.
    OidcProvider(String),
    /// An IAM managed policy, by ARN.
    Policy(String),
    /// An IAM role with its attachments, by name.
    Role(String),
    /// A secret, by name.
    Secret(String),
}

impl Object {
    /// Whether it is in a cluster.
    #[must_use]
    pub fn is_in_kubernetes(&self) -> bool {
        matches!(
            self,
            Self::Kubernetes(_) | Self::Installed(_) | Self::Displaced { .. }
        )
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch(path) => write!(f, "folder {}", path.display()),
            Self::KindCluster(name) => write!(f, "kind cluster {name}"),
            Self::Container(name) => write!(f, "container {name}"),
            Self::Kubernetes(reference) | Self::Installed(reference) => reference.fmt(f),
            Self::Displaced { object, .. } => write!(f, "what made room for the run, put back: {object}"),
            Self::EksCluster(name) => write!(f, "EKS cluster {name}"),
            Self::Nodegroup { cluster, name } => write!(f, "node group {name} of EKS cluster {cluster}"),
            Self::Addon { cluster, name } => write!(f, "add-on {name} of EKS cluster {cluster}"),
            Self::PodIdentityAssociation {
                cluster,
                namespace,
                service_account,
            } => write!(
                f,
                "Pod Identity association of {namespace}/{service_account} in EKS cluster {cluster}"
            ),
            Self::OidcProvider(arn) => write!(f, "iam OIDC provider {arn}"),
            Self::Policy(arn) => write!(f, "iam policy {arn}"),
            Self::Role(name) => write!(f, "iam role {name}"),
            Self::Secret(name) => write!(f, "secret {name}"),
        }
    }
}
