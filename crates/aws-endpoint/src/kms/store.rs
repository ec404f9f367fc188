//! The keys of one account, by region and id, and the aliases that name them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::KmsError;
use crate::resource_policy::ResourcePolicy;

/// The keys of one account, in all regions.
#[derive(Serialize, Deserialize)]
pub struct KmsStore {
    account: String,
    regions: HashMap<String, Region>,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Region {
    pub(super) keys: BTreeMap<String, Key>,
    /// By name, `alias/` included.
    pub(super) aliases: BTreeMap<String, Alias>,
}

/// A key. There is nothing to encrypt with: who may use it is all there is to it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) description: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) created: Timestamp,
    pub(super) state: KeyState,
    /// Made by AWS for one of its services.
    pub(super) managed_by_aws: bool,
    pub(super) multi_region: bool,
    pub(super) policy: ResourcePolicy,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyState {
    Enabled,
    Disabled,
    /// Removed at this time.
    PendingDeletion(Timestamp),
}

#[derive(Serialize, Deserialize)]
pub(super) struct Alias {
    /// The id of a key.
    pub(super) target: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

impl KmsStore {
    /// An account without keys but those that AWS makes.
    #[must_use]
    pub fn new(account: String) -> Self {
        Self {
            account,
            regions: HashMap::new(),
        }
    }

    /// Whether [`Self::expire`] has something to do.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        let mut keys = self.regions.values().flat_map(|region| region.keys.values());
        keys.any(|key| matches!(key.state, KeyState::PendingDeletion(end) if end <= now))
    }

    /// Removes the keys whose waiting period has ended.
    pub fn expire(&mut self, now: Timestamp) {
        if !self.has_expired(now) {
            return;
        }
        for region in self.regions.values_mut() {
            let gone = |key: &Key| matches!(key.state, KeyState::PendingDeletion(end) if end <= now);
            region.keys.retain(|_, key| !gone(key));
            let Region { keys, aliases } = region;
            aliases.retain(|_, alias| keys.contains_key(&alias.target));
        }
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn region(&self, region: &str) -> Option<&Region> {
        self.regions.get(region)
    }

    pub(super) fn region_mut(&mut self, region: &str) -> &mut Region {
        self.regions.entry(region.to_owned()).or_default()
    }

    pub(super) fn key_arn(&self, region: &str, id: &str) -> String {
        format!("arn:aws:kms:{region}:{}:key/{id}", self.account)
    }

    pub(super) fn alias_arn(&self, region: &str, name: &str) -> String {
        format!("arn:aws:kms:{region}:{}:{name}", self.account)
    }

    /// A key by id, ARN, alias, or the alias' ARN.
    pub(super) fn find(&self, region: &str, asked: &str) -> Result<&Key, KmsError> {
        let id = self.id(region, asked)?;
        let key = self.regions.get(region).and_then(|region| region.keys.get(id));
        key.ok_or_else(|| KmsError::no_key(&self.key_arn(region, id)))
    }

    /// As [`Self::find`].
    pub(super) fn find_mut(&mut self, region: &str, asked: &str) -> Result<&mut Key, KmsError> {
        let id = self.id(region, asked)?.to_owned();
        let missing = KmsError::no_key(&self.key_arn(region, &id));
        let region = self.regions.get_mut(region);
        region.and_then(|region| region.keys.get_mut(&id)).ok_or(missing)
    }

    /// The id that `asked` stands for, whether or not there is a key of that id.
    fn id<'a>(&'a self, region: &str, asked: &'a str) -> Result<&'a str, KmsError> {
        let local = if asked.starts_with("arn:") {
            let parts: Vec<&str> = asked.splitn(6, ':').collect();
            let ["arn", "aws", "kms", at, account, rest] = parts[..] else {
                return Err(KmsError::invalid_arn(asked));
            };
            if at != region || account != self.account {
                return Err(KmsError::invalid_arn(asked));
            }
            match rest.strip_prefix("key/") {
                Some(id) => return Ok(id),
                None => rest,
            }
        } else {
            asked
        };
        if local.starts_with("alias/") {
            let alias = self.regions.get(region).and_then(|at| at.aliases.get(local));
            return alias
                .map(|alias| alias.target.as_str())
                .ok_or_else(|| KmsError::no_alias(&self.alias_arn(region, local)));
        }
        if is_key_id(local) {
            Ok(local)
        } else {
            Err(KmsError::no_key_id(local))
        }
    }

    /// Makes the key that AWS makes for a service when it is first used: `alias/aws/<service>`.
    pub(super) fn make_managed(&mut self, region: &str, name: &str, now: Timestamp) {
        let Some(service) = name.strip_prefix(AWS_ALIASES) else {
            return;
        };
        if !MANAGED.contains(&service)
            || self
                .region(region)
                .is_some_and(|at| at.aliases.contains_key(name))
        {
            return;
        }
        let key = self.managed(region, service, now);
        let at = self.region_mut(region);
        let alias = Alias {
            target: key.id.clone(),
            created: now,
            updated: now,
        };
        at.keys.insert(key.id.clone(), key);
        at.aliases.insert(name.to_owned(), alias);
    }

    /// A key as AWS makes it for a service.
    pub(super) fn managed(&self, region: &str, service: &str, now: Timestamp) -> Key {
        let id = uuid::Uuid::new_v4().to_string();
        let text = managed_policy(&self.account, region, service);
        let policy = ResourcePolicy::parse(&key_policy_name(&id), &text)
            .expect("the policy of a managed key is well-formed");
        Key {
            arn: self.key_arn(region, &id),
            id,
            description: format!("Default key that protects my {service} data when no other key is defined"),
            tags: Vec::new(),
            created: now,
            state: KeyState::Enabled,
            managed_by_aws: true,
            multi_region: false,
            policy,
        }
    }
}

impl Key {
    /// Refuses what a key that is disabled or about to be removed cannot do.
    pub(super) fn check_usable(&self) -> Result<(), KmsError> {
        match self.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(KmsError::disabled(&self.arn)),
            KeyState::PendingDeletion(_) => Err(KmsError::pending_deletion(&self.arn)),
        }
    }

    /// Refuses what a key that is about to be removed cannot do.
    pub(super) fn check_kept(&self) -> Result<(), KmsError> {
        match self.state {
            KeyState::PendingDeletion(_) => Err(KmsError::pending_deletion(&self.arn)),
            _ => Ok(()),
        }
    }
}

/// What decisions call the policy of a key.
pub(super) fn key_policy_name(id: &str) -> String {
    format!("key policy of {id}")
}

/// The policy of a key that is made without one: the account's policies decide.
pub(super) fn default_policy(account: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

/// What aliases that only AWS makes begin with.
pub(super) const AWS_ALIASES: &str = "alias/aws/";
/// The services for which there are managed keys.
const MANAGED: [&str; 2] = ["secretsmanager", "ssm"];

/// As documented for `aws/secretsmanager` and `aws/ssm`: whoever may use the service may use the key, and
/// only through the service.
fn managed_policy(account: &str, region: &str, service: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Id": format!("auto-{service}-1"),
        "Statement": [
            {
                "Sid": "AllowThroughTheService",
                "Effect": "Allow",
                "Principal": {"AWS": "*"},
                "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:CreateGrant", "kms:GenerateDataKey*", "kms:DescribeKey"],
                "Resource": "*",
                "Condition": {"StringEquals": {
                    "kms:CallerAccount": account,
                    "kms:ViaService": format!("{service}.{region}.amazonaws.com"),
                }},
            },
            {
                "Sid": "AllowReadOnlyAccess",
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
                "Action": ["kms:Describe*", "kms:Get*", "kms:List*"],
                "Resource": "*",
            },
        ],
    })
    .to_string()
}

/// A UUID, with the `mrk-` of a key for several regions or without it.
fn is_key_id(text: &str) -> bool {
    match text.strip_prefix("mrk-") {
        Some(digits) => digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
    }
}
