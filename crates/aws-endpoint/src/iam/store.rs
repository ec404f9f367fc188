//! The roles, managed policies and identity providers of one account.
//!
//! Changes hold at once (AWS's take seconds to reach every region). Left out: users, groups, instance
//! profiles, service-linked roles, and most of the policies that AWS itself manages.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::aws_managed;
use super::evaluate::NamedPolicy;
use super::policy::{Document, Policy, PolicyError};

/// IAM's state for one account.
#[derive(Debug)]
pub struct IamState {
    account: String,
    random: StdRng,
    /// By name.
    pub(super) roles: BTreeMap<String, Arc<Role>>,
    /// By ARN.
    pub(super) policies: BTreeMap<String, ManagedPolicy>,
    /// By ARN.
    pub(super) providers: BTreeMap<String, Arc<OidcProvider>>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Unique in the account.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// `AROA..`.
    pub id: String,
    /// `arn:aws:iam::<account>:role<path><name>`.
    pub arn: String,
    /// When it was made.
    pub created: Timestamp,
    /// Free text.
    pub description: Option<String>,
    /// The longest session in seconds, 3,600 to 43,200.
    pub max_session_duration: u32,
    /// Who may assume it.
    pub trust: StoredDocument,
    /// In the order they were given.
    pub tags: Vec<Tag>,
    /// The ARNs of the managed policies attached.
    pub attached: Vec<String>,
    /// Policies of this role alone, by name.
    pub inline: BTreeMap<String, StoredDocument>,
    /// The ARN of the managed policy that limits it.
    pub boundary: Option<String>,
}

/// A customer managed policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// Unique in the account.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// `ANPA..`.
    pub id: String,
    /// `arn:aws:iam::<account>:policy<path><name>`.
    pub arn: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its versions changed last.
    pub updated: Timestamp,
    /// Free text.
    pub description: Option<String>,
    /// One to five, by number.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version that counts.
    pub default_version: u32,
    /// Numbers are never used again.
    pub(super) next_version: u32,
    /// In the order they were given.
    pub tags: Vec<Tag>,
}

/// A version of a managed policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Its text and meaning.
    pub document: StoredDocument,
    /// When it was made.
    pub created: Timestamp,
}

/// An identity provider whose tokens roles can trust (OIDC).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OidcProvider {
    /// `arn:aws:iam::<account>:oidc-provider/<url>`.
    pub arn: String,
    /// Without `https://`, as in condition keys.
    pub url: String,
    /// The audiences that its tokens may name.
    pub client_ids: Vec<String>,
    /// SHA-1 fingerprints of certificates, 40 hexadecimal digits. Stored only: the endpoint is told its
    /// issuers' authorities.
    pub thumbprints: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// In the order they were given.
    pub tags: Vec<Tag>,
}

/// A policy as it was sent, and as it is understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct StoredDocument {
    /// Where it stands.
    kind: Document,
    /// Byte for byte.
    pub text: String,
    /// Ready to evaluate.
    pub named: NamedPolicy,
}

/// A key and a value. Keys are equal whatever their case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 128 characters.
    pub key: String,
    /// 0 to 256 characters.
    pub value: String,
}

/// The policies that decide what sessions of a role may do.
#[derive(Debug, Clone, Default)]
pub struct RolePolicies {
    /// Attached and inline policies.
    pub identity: SmallVec<[NamedPolicy; 4]>,
    /// The permissions boundary.
    pub boundary: Option<NamedPolicy>,
}

impl IamState {
    /// An account without anything. `seed` makes the ids of what comes.
    #[must_use]
    pub fn new(account: impl Into<String>, seed: u64) -> Self {
        Self {
            account: account.into(),
            random: StdRng::seed_from_u64(seed),
            roles: BTreeMap::new(),
            policies: BTreeMap::new(),
            providers: BTreeMap::new(),
        }
    }

    /// The account's number, twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The role of this name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name).map(|role| &**role)
    }

    /// The role of this ARN, path and account included.
    #[must_use]
    pub fn role_by_arn(&self, arn: &str) -> Option<&Arc<Role>> {
        let name = arn.rsplit('/').next()?;
        self.roles.get(name).filter(|role| role.arn == arn)
    }

    /// What decides for sessions of the role of this name; `None` when there is no such role.
    #[must_use]
    pub fn role_policies(&self, name: &str) -> Option<RolePolicies> {
        let role = self.roles.get(name)?;
        let attached = role.attached.iter().filter_map(|arn| self.managed(arn));
        let inline = role.inline.values().map(|document| document.named.clone());
        Some(RolePolicies {
            identity: attached.chain(inline).collect(),
            boundary: role.boundary.as_ref().and_then(|arn| self.managed(arn)),
        })
    }

    /// The provider of tokens whose `iss` is this, `https://` included.
    #[must_use]
    pub fn provider_of_issuer(&self, issuer: &str) -> Option<&Arc<OidcProvider>> {
        let url = issuer.strip_prefix("https://")?;
        self.providers.get(&self.provider_arn(url))
    }

    /// A managed policy's version that counts.
    #[must_use]
    pub fn managed(&self, arn: &str) -> Option<NamedPolicy> {
        self.any_policy(arn)
            .map(|policy| policy.default().document.named.clone())
    }

    /// A managed policy, the account's own or AWS's.
    pub(super) fn any_policy(&self, arn: &str) -> Option<&ManagedPolicy> {
        self.policies.get(arn).or_else(|| aws_managed::find(arn))
    }

    /// Everything there is, such as `role demo-team-red`, in a fixed order.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let roles = self.roles.keys().map(|name| format!("role {name}"));
        let policies = self
            .policies
            .values()
            .map(|policy| format!("policy {}", policy.name));
        let providers = self
            .providers
            .values()
            .map(|provider| format!("oidc-provider {}", provider.url));
        roles.chain(policies).chain(providers).collect()
    }

    /// Everything there is, to be kept in a file.
    #[must_use]
    pub fn saved(&self) -> Value {
        json!({"roles": seen(&self.roles), "policies": self.policies, "providers": seen(&self.providers)})
    }

    /// Takes over what was [`saved`](Self::saved), in place of what there is.
    ///
    /// # Errors
    /// When it is something else.
    pub fn restore(&mut self, saved: &Value) -> Result<(), serde_json::Error> {
        let policies: BTreeMap<String, ManagedPolicy> = Deserialize::deserialize(&saved["policies"])?;
        if let Some(policy) = policies
            .values()
            .find(|policy| !policy.versions.contains_key(&policy.default_version))
        {
            let name = &policy.name;
            return Err(serde::de::Error::custom(format!(
                "the policy {name} lacks its default version"
            )));
        }
        let roles: BTreeMap<String, Role> = Deserialize::deserialize(&saved["roles"])?;
        let providers: BTreeMap<String, OidcProvider> = Deserialize::deserialize(&saved["providers"])?;
        self.roles = shared(roles);
        self.policies = policies;
        self.providers = shared(providers);
        Ok(())
    }

    pub(super) fn role_arn(&self, path: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:role{path}{name}", self.account)
    }

    pub(super) fn policy_arn(&self, path: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:policy{path}{name}", self.account)
    }

    pub(super) fn provider_arn(&self, url: &str) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{url}", self.account)
    }

    /// Roles that a managed policy is attached to.
    pub(super) fn attached_to<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a Role> {
        self.roles
            .values()
            .map(|role| &**role)
            .filter(move |role| role.attached.iter().any(|attached| attached == arn))
    }

    /// Roles that a managed policy is the boundary of.
    pub(super) fn bounded_by<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a Role> {
        self.roles
            .values()
            .map(|role| &**role)
            .filter(move |role| role.boundary.as_deref() == Some(arn))
    }

    /// A unique id: the prefix of its kind and 17 capital letters and digits.
    pub(super) fn fresh_id(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut id = prefix.to_owned();
        id.extend((0..17).map(|_| char::from(ALPHABET[self.random.random_range(0..ALPHABET.len())])));
        id
    }
}

/// What is in the map, for who writes it down.
fn seen<T>(shared: &BTreeMap<String, Arc<T>>) -> BTreeMap<&str, &T> {
    shared.iter().map(|(name, one)| (name.as_str(), &**one)).collect()
}

/// The opposite of [`seen`].
fn shared<T>(read: BTreeMap<String, T>) -> BTreeMap<String, Arc<T>> {
    read.into_iter()
        .map(|(name, one)| (name, Arc::new(one)))
        .collect()
}

impl ManagedPolicy {
    /// The version that counts.
    pub(super) fn default(&self) -> &PolicyVersion {
        self.versions
            .get(&self.default_version)
            .expect("the default version cannot be deleted")
    }
}

impl StoredDocument {
    /// Parses a policy under the name that messages call it by.
    ///
    /// # Errors
    /// When the text is no valid policy of this kind.
    pub fn parse(name: &str, text: &str, document: Document) -> Result<Self, PolicyError> {
        let policy = Policy::parse(text, document)?;
        Ok(Self {
            kind: document,
            text: text.to_owned(),
            named: NamedPolicy::new(Arc::<str>::from(name), policy),
        })
    }
}

/// A document in a file: as it was sent. What it means is read again.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    kind: Document,
    text: String,
}

impl From<StoredDocument> for Written {
    fn from(document: StoredDocument) -> Self {
        Self {
            name: document.named.name.to_string(),
            kind: document.kind,
            text: document.text,
        }
    }
}

impl TryFrom<Written> for StoredDocument {
    type Error = PolicyError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        Self::parse(&written.name, &written.text, written.kind)
    }
}

impl Tag {
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.key.to_lowercase() == key.to_lowercase()
    }
}
