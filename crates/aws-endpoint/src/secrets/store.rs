//! The secrets of one account, by region and name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan as _};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::error::SecretsError;
use crate::resource_policy::ResourcePolicy;

pub(super) const CURRENT: &str = "AWSCURRENT";
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";
pub(super) const PENDING: &str = "AWSPENDING";

/// Versions without a staging label that are kept; AWS removes none within a day.
const DEPRECATED_KEPT: usize = 100;
const SUFFIX: usize = 6;
/// Stands for the suffix of a secret that does not exist: no secret has it, and it is matched by every
/// pattern that is meant for any suffix.
const UNKNOWN_SUFFIX: &str = "??????";

/// The secrets of one account, in all regions.
#[derive(Serialize, Deserialize)]
pub struct SecretStore {
    account: String,
    regions: HashMap<String, BTreeMap<String, Secret>>,
    /// When which secret of which region is to be removed; one that was restored may still be here.
    deletions: BTreeSet<(Timestamp, String, String)>,
}

/// A secret with all its versions. Has no `Debug`: it holds values. It is serialized for no other end than to
/// come back from the file that the user asked for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    /// The key as the caller named it.
    pub(super) kms_key: Option<String>,
    /// The ARN of the key for new values; `None` for the default one.
    pub(super) key: Option<String>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) created: Timestamp,
    pub(super) changed: Timestamp,
    /// The day on which it was last read.
    pub(super) accessed: Option<Timestamp>,
    /// When it is to be removed, once it was deleted.
    pub(super) deletion: Option<Timestamp>,
    pub(super) policy: Option<ResourcePolicy>,
    /// In the order in which they were made.
    pub(super) versions: Vec<Version>,
    /// Where it is replicated to.
    pub(super) replicas: Vec<Replica>,
    /// The region of the secret that this one is a replica of.
    pub(super) replica_of: Option<String>,
}

/// A region that a secret is replicated to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Replica {
    pub(super) region: String,
    /// The key as the caller named it.
    pub(super) kms_key: Option<String>,
    /// Why there is no replica there.
    pub(super) failure: Option<String>,
}

/// One version of a secret's value.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) value: SecretValue,
    /// The ARN of the key that it is encrypted with; `None` for the default one.
    pub(super) key: Option<String>,
    pub(super) stages: Vec<String>,
    pub(super) created: Timestamp,
    /// The day on which it was last read.
    pub(super) accessed: Option<Timestamp>,
}

/// What is to be kept secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SecretValue {
    Text(String),
    /// In base64.
    Binary(String),
}

impl SecretStore {
    /// An account without secrets.
    #[must_use]
    pub fn new(account: String) -> Self {
        Self {
            account,
            regions: HashMap::new(),
            deletions: BTreeSet::new(),
        }
    }

    /// Whether [`Self::expire`] has something to do.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.deletions.first().is_some_and(|(end, ..)| *end <= now)
    }

    /// Removes the secrets whose recovery window has ended.
    pub fn expire(&mut self, now: Timestamp) {
        while self.has_expired(now) {
            let Some((end, region, name)) = self.deletions.pop_first() else {
                return;
            };
            let secret = self.regions.get(&region).and_then(|secrets| secrets.get(&name));
            if secret.is_some_and(|secret| secret.deletion == Some(end)) {
                self.remove(&region, &name);
            }
        }
    }

    /// Marks a secret for removal at `end`.
    pub(super) fn delete_at(&mut self, region: &str, name: &str, end: Timestamp) {
        if let Ok(secret) = self.secret_mut(region, name) {
            secret.deletion = Some(end);
            self.deletions.insert((end, region.to_owned(), name.to_owned()));
        }
    }

    /// The names of all secrets, those marked for deletion too.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.regions.values().flat_map(BTreeMap::keys).cloned()
    }

    /// A secret by name, full ARN, or ARN without its suffix.
    pub(super) fn find(&self, region: &str, id: &str) -> Option<&Secret> {
        let name = self.name(region, id)?;
        self.regions.get(region)?.get(name)
    }

    /// As [`Self::find`].
    pub(super) fn secret(&self, region: &str, id: &str) -> Result<&Secret, SecretsError> {
        self.find(region, id).ok_or_else(SecretsError::not_found)
    }

    /// As [`Self::find`].
    pub(super) fn secret_mut(&mut self, region: &str, id: &str) -> Result<&mut Secret, SecretsError> {
        let name = self.name(region, id).ok_or_else(SecretsError::not_found)?;
        let secrets = self.regions.get_mut(region);
        secrets
            .and_then(|secrets| secrets.get_mut(name))
            .ok_or_else(SecretsError::not_found)
    }

    /// As [`Self::secret`], for what a secret marked for deletion refuses.
    pub(super) fn live(&self, region: &str, id: &str) -> Result<&Secret, SecretsError> {
        let secret = self.secret(region, id)?;
        if secret.deletion.is_some() {
            return Err(SecretsError::marked_for_deletion());
        }
        Ok(secret)
    }

    /// As [`Self::secret_mut`], for what a secret marked for deletion refuses.
    pub(super) fn live_mut(&mut self, region: &str, id: &str) -> Result<&mut Secret, SecretsError> {
        let secret = self.secret_mut(region, id)?;
        if secret.deletion.is_some() {
            return Err(SecretsError::marked_for_deletion());
        }
        Ok(secret)
    }

    /// The secrets of a region by name.
    pub(super) fn all(&self, region: &str) -> impl Iterator<Item = &Secret> {
        self.regions.get(region).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn insert(&mut self, region: &str, secret: Secret) {
        let secrets = self.regions.entry(region.to_owned()).or_default();
        secrets.insert(secret.name.clone(), secret);
    }

    pub(super) fn remove(&mut self, region: &str, name: &str) {
        if let Some(secrets) = self.regions.get_mut(region) {
            secrets.remove(name);
        }
    }

    /// The ARN of a new secret, with a random suffix.
    pub(super) fn fresh_arn(&self, region: &str, name: &str) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let mut random = rand::rng();
        let mut arn = format!("{}-", self.arn_without_suffix(region, name));
        arn.extend((0..SUFFIX).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])));
        arn
    }

    /// The ARN on which a call about a secret that does not exist is authorised.
    pub(super) fn missing_arn(&self, region: &str, id: &str) -> String {
        if !id.starts_with("arn:") {
            let arn = self.arn_without_suffix(region, id);
            return format!("{arn}-{UNKNOWN_SUFFIX}");
        }
        if split_suffix(id).is_some() {
            id.to_owned()
        } else {
            format!("{id}-{UNKNOWN_SUFFIX}")
        }
    }

    fn arn_without_suffix(&self, region: &str, name: &str) -> String {
        format!("arn:aws:secretsmanager:{region}:{}:secret:{name}", self.account)
    }

    /// The name that `id` stands for in `region`; `None` for an ARN of somewhere else.
    fn name<'i>(&self, region: &str, id: &'i str) -> Option<&'i str> {
        if !id.starts_with("arn:") {
            return Some(id);
        }
        let parts: Vec<&str> = id.splitn(7, ':').collect();
        let ["arn", "aws", "secretsmanager", at, account, "secret", rest] = parts[..] else {
            return None;
        };
        if at != region || account != self.account {
            return None;
        }
        if let Some((name, _)) = split_suffix(rest)
            && let Some(secret) = self.regions.get(region)?.get(name)
            && secret.arn == id
        {
            return Some(name);
        }
        Some(rest)
    }
}

/// Splits off what looks like the random suffix of an ARN.
fn split_suffix(text: &str) -> Option<(&str, &str)> {
    let (name, suffix) = text.rsplit_once('-')?;
    let alike = suffix.len() == SUFFIX && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
    alike.then_some((name, suffix))
}

impl Secret {
    /// A secret without versions.
    pub(super) fn new(name: &str, arn: String, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            arn,
            description: None,
            kms_key: None,
            key: None,
            tags: Vec::new(),
            created: now,
            changed: now,
            accessed: None,
            deletion: None,
            policy: None,
            versions: Vec::new(),
            replicas: Vec::new(),
            replica_of: None,
        }
    }

    /// The region of the secret that is written to, for one that is in several; `region` is its own.
    pub(super) fn primary_region<'a>(&'a self, region: &'a str) -> Option<&'a str> {
        let own = (!self.replicas.is_empty()).then_some(region);
        self.replica_of.as_deref().or(own)
    }

    pub(super) fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.id == id)
    }

    /// The version that a staging label is attached to. Labels are on the newest versions.
    pub(super) fn staged(&self, stage: &str) -> Option<&Version> {
        self.versions.iter().rev().find(|version| version.has(stage))
    }

    /// Adds a version under `stages`; the first one is the current one, whatever its labels.
    pub(super) fn add_version(&mut self, id: &str, value: SecretValue, stages: &[&str], now: Timestamp) {
        let first = self.versions.is_empty();
        self.versions.push(Version {
            id: id.to_owned(),
            value,
            key: self.key.clone(),
            stages: Vec::new(),
            created: now,
            accessed: None,
        });
        for stage in stages {
            self.attach(stage, id);
        }
        if first {
            self.attach(CURRENT, id);
        }
        self.changed = now;
        self.drop_deprecated(now);
    }

    /// Moves a staging label to version `to`. The version that was the current one becomes the
    /// previous one.
    pub(super) fn attach(&mut self, stage: &str, to: &str) {
        let from = self.staged(stage).map(|version| version.id.clone());
        if from.as_deref() == Some(to) {
            return;
        }
        self.detach(stage);
        self.label(stage, to);
        if let Some(from) = from
            && stage == CURRENT
        {
            self.detach(PREVIOUS);
            self.label(PREVIOUS, &from);
        }
    }

    pub(super) fn detach(&mut self, stage: &str) {
        for version in &mut self.versions {
            version.stages.retain(|attached| attached != stage);
        }
    }

    fn label(&mut self, stage: &str, id: &str) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            version.stages.push(stage.to_owned());
        }
    }

    fn drop_deprecated(&mut self, now: Timestamp) {
        let deprecated = self.versions.iter().filter(|version| version.stages.is_empty());
        let mut surplus = deprecated.count().saturating_sub(DEPRECATED_KEPT);
        let Ok(day_ago) = now.checked_sub(24.hours()) else {
            return;
        };
        self.versions.retain(|version| {
            let drop = surplus > 0 && version.stages.is_empty() && version.created < day_ago;
            surplus -= usize::from(drop);
            !drop
        });
    }
}

impl Version {
    pub(super) fn has(&self, stage: &str) -> bool {
        self.stages.iter().any(|attached| attached == stage)
    }
}
