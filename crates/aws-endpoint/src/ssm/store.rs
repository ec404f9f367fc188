//! The parameters of one account, by region and name.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::SsmError;
use super::names::{Asked, Selector};

/// The parameters of one account, in all regions.
#[derive(Serialize, Deserialize)]
pub struct ParameterStore {
    account: String,
    /// By name without a leading slash, which AWS takes for the same as with one.
    regions: HashMap<String, BTreeMap<String, Parameter>>,
}

/// A parameter with all its versions. Has no `Debug`: it holds values. It is serialized for no other end than to
/// come back from the file that the user asked for.
#[derive(Serialize, Deserialize)]
pub(super) struct Parameter {
    /// As it was made.
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) tags: Vec<(String, String)>,
    /// In the order in which they were made; never empty.
    pub(super) versions: Vec<Version>,
}

/// One version of a parameter.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) kind: Kind,
    pub(super) value: String,
    /// The key of a `SecureString`, as the caller named it.
    pub(super) key_name: Option<String>,
    /// The ARN of that key; `None` for the default one.
    pub(super) key: Option<String>,
    /// What those see who do not decrypt.
    pub(super) ciphertext: Option<String>,
    pub(super) description: Option<String>,
    pub(super) pattern: Option<String>,
    pub(super) tier: Tier,
    pub(super) data_type: String,
    pub(super) policies: Vec<Value>,
    pub(super) labels: Vec<String>,
    pub(super) modified: Timestamp,
    /// The ARN of whoever made it.
    pub(super) user: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    String,
    StringList,
    SecureString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Tier {
    Standard,
    Advanced,
}

impl ParameterStore {
    /// An account without parameters.
    #[must_use]
    pub fn new(account: String) -> Self {
        Self {
            account,
            regions: HashMap::new(),
        }
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// The ARN of a parameter, of a path, or of a pattern of them: never with a doubled slash.
    pub(super) fn arn(&self, region: &str, name: &str) -> String {
        let name = name.trim_start_matches('/');
        format!("arn:aws:ssm:{region}:{}:parameter/{name}", self.account)
    }

    pub(super) fn find(&self, region: &str, asked: &Asked<'_>) -> Option<&Parameter> {
        if asked.elsewhere {
            return None;
        }
        self.regions.get(region)?.get(asked.key())
    }

    /// As [`Self::find`].
    pub(super) fn find_mut(&mut self, region: &str, asked: &Asked<'_>) -> Result<&mut Parameter, SsmError> {
        let parameters = self.regions.get_mut(region).filter(|_| !asked.elsewhere);
        parameters
            .and_then(|parameters| parameters.get_mut(asked.key()))
            .ok_or_else(SsmError::not_found)
    }

    /// The parameters of a region in the order of their names.
    pub(super) fn all(&self, region: &str) -> impl Iterator<Item = (&String, &Parameter)> {
        self.regions.get(region).into_iter().flatten()
    }

    pub(super) fn insert(&mut self, region: &str, key: &str, parameter: Parameter) {
        let parameters = self.regions.entry(region.to_owned()).or_default();
        parameters.insert(key.to_owned(), parameter);
    }

    pub(super) fn remove(&mut self, region: &str, asked: &Asked<'_>) -> bool {
        let parameters = self.regions.get_mut(region).filter(|_| !asked.elsewhere);
        parameters.is_some_and(|parameters| parameters.remove(asked.key()).is_some())
    }
}

impl Parameter {
    pub(super) fn latest(&self) -> &Version {
        self.versions
            .last()
            .expect("a parameter is made with its first version")
    }

    /// The version that a selector names, the latest without one.
    pub(super) fn select(&self, selector: Option<Selector<'_>>) -> Result<&Version, SsmError> {
        let mut versions = self.versions.iter();
        match selector {
            None => Ok(self.latest()),
            Some(Selector::Version(number)) => versions
                .find(|version| version.number == number)
                .ok_or_else(|| SsmError::no_version(&number.to_string(), &self.name)),
            Some(Selector::Label(label)) => versions
                .find(|version| version.has(label))
                .ok_or_else(|| SsmError::no_label(label, &self.name)),
        }
    }
}

impl Version {
    pub(super) fn has(&self, label: &str) -> bool {
        self.labels.iter().any(|other| other == label)
    }

    /// The key as answers name it.
    pub(super) fn shown_key(&self) -> Option<&str> {
        match self.kind {
            Kind::SecureString => Some(self.key_name.as_deref().unwrap_or("alias/aws/ssm")),
            _ => None,
        }
    }
}

impl Kind {
    pub(super) const NAMES: [&str; 3] = ["SecureString", "StringList", "String"];

    pub(super) fn of(name: &str) -> Self {
        match name {
            "SecureString" => Self::SecureString,
            "StringList" => Self::StringList,
            _ => Self::String,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }
}

impl Tier {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Advanced => "Advanced",
        }
    }
}
