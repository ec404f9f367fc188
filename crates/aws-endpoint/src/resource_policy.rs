//! A policy attached to a resource: kept as it was written, ready to be evaluated.

use serde::{Deserialize, Serialize};

use crate::iam::{Document, NamedPolicy, Policy, PolicyError};

/// A resource policy as written, and as evaluated. Saved as its text and its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct ResourcePolicy {
    pub(crate) text: String,
    pub(crate) named: NamedPolicy,
}

impl ResourcePolicy {
    /// Reads a policy and names it for decisions.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let policy = Policy::parse(text, Document::Resource)?;
        Ok(Self {
            text: text.to_owned(),
            named: NamedPolicy::new(name, policy),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    text: String,
}

impl From<ResourcePolicy> for Written {
    fn from(policy: ResourcePolicy) -> Self {
        Self {
            name: policy.named.name.to_string(),
            text: policy.text,
        }
    }
}

impl TryFrom<Written> for ResourcePolicy {
    type Error = PolicyError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::parse(&written.name, &written.text)
    }
}
