//! The ways in which a pod gets its role.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a pod gets its role's credentials.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// IAM roles for service accounts: the `ServiceAccount`'s annotation names the role, and STS gives it for the pod's token.
    #[default]
    Irsa,
    /// EKS Pod Identity: an association in EKS names the role, and the agent on the node gives its credentials for the pod's
    /// token.
    PodIdentity,
}

impl Identity {
    /// Both, in the order in which cases are tried.
    pub const ALL: [Self; 2] = [Self::Irsa, Self::PodIdentity];

    /// As the command line, scenarios and names of cases have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Irsa => "irsa",
            Self::PodIdentity => "pod-identity",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
