//! Keys as other services use them for their callers.
//!
//! Imitated: "AWS KMS condition keys" and "How AWS Secrets Manager uses AWS KMS" of the KMS developer guide: the
//! service asks KMS in the caller's name, so that the caller has to be allowed by the key's policy, and by
//! its own policies where the key's leaves it to the account.
//!
//! The default key of a service, which AWS manages, has a policy that lets everyone of the account use it through that
//! service, so that no policy of the caller has to. A denial in one of them bites all the same: the Systems Manager
//! user guide denies `kms:Decrypt` to keep people from values under `aws/ssm`.

use std::borrow::Cow;

use jiff::Timestamp;

use super::store::{AWS_ALIASES, Key};
use super::{KmsError, KmsStore};
use crate::authorisation::Authorisation;
use crate::iam::Context;

/// A service that uses keys for its callers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Via<'a> {
    /// Such as `secretsmanager`.
    pub(crate) service: &'static str,
    pub(crate) region: &'a str,
}

/// What is to be decided about the default keys of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultKeys {
    /// Nothing: they are everyone's, and no policy of the caller denies a use of keys.
    Granted,
    /// Every use, as a policy of the caller might deny it.
    Decided,
}

impl DefaultKeys {
    /// What other services do with keys for their callers.
    pub(crate) const USES: [&str; 3] = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"];
}

impl KmsStore {
    /// The ARN of the key that a caller names for `via`; `None` for the service's default key.
    pub(crate) fn named(&self, via: Via<'_>, asked: &str) -> Result<Option<String>, KmsError> {
        let default = format!("{AWS_ALIASES}{}", via.service);
        let local = asked.rsplit_once(':').map_or(asked, |(_, local)| local);
        if asked.is_empty() || local == default {
            return Ok(None);
        }
        let key = self.find(via.region, asked)?;
        let managed = self.region(via.region).and_then(|at| at.aliases.get(&default));
        if managed.is_some_and(|alias| alias.target == key.id) {
            return Ok(None);
        }
        Ok(Some(key.arn.clone()))
    }

    /// Refuses a key that cannot be used now.
    pub(crate) fn check_usable(&self, via: Via<'_>, arn: &str) -> Result<(), KmsError> {
        self.find(via.region, arn)?.check_usable()
    }

    /// What a caller of `via` has to be allowed for `action` with the key of an ARN, or else with the default one, in
    /// an encryption context; `None` where there is nothing to decide: about a default key of which nothing is denied,
    /// and about a key that there is not, about which only the call itself can say more.
    pub(crate) fn use_of(
        &self,
        via: Via<'_>,
        arn: Option<&str>,
        default_keys: DefaultKeys,
        action: &str,
        encryption_context: &[(&str, &str)],
    ) -> Option<Authorisation> {
        let key = match (arn, default_keys) {
            (Some(arn), _) => Cow::Borrowed(self.find(via.region, arn).ok()?),
            (None, DefaultKeys::Granted) => return None,
            (None, DefaultKeys::Decided) => self.default_key(via),
        };
        let mut keys = key_keys(&key, self.account());
        keys.set(
            "kms:ViaService",
            format!("{}.{}.amazonaws.com", via.service, via.region),
        );
        keys.set("aws:ViaAWSService", "true");
        keys.set_all(
            "kms:EncryptionContextKeys",
            encryption_context.iter().map(|(name, _)| *name),
        );
        for (name, value) in encryption_context {
            keys.set(&format!("kms:EncryptionContext:{name}"), *value);
        }
        let mut wanted = Authorisation::new(format!("kms:{action}"), key.arn.clone());
        wanted.keys = keys;
        wanted.resource_policy = Some(key.policy.named.clone());
        Some(wanted)
    }

    /// The default key of a service; before it was seen for the first time, one like it, whose id nobody can know.
    fn default_key(&self, via: Via<'_>) -> Cow<'_, Key> {
        match self.find(via.region, &format!("{AWS_ALIASES}{}", via.service)) {
            Ok(key) => Cow::Borrowed(key),
            Err(_) => Cow::Owned(self.managed(via.region, via.service, Timestamp::UNIX_EPOCH)),
        }
    }
}

/// The condition keys that a key and its account give.
pub(super) fn key_keys(key: &Key, account: &str) -> Context {
    let mut keys = Context::new();
    keys.set("kms:CallerAccount", account);
    keys.set("kms:KeySpec", "SYMMETRIC_DEFAULT");
    keys.set("kms:KeyUsage", "ENCRYPT_DECRYPT");
    keys.set("kms:KeyOrigin", "AWS_KMS");
    keys.set("kms:MultiRegion", key.multi_region.to_string());
    for (name, value) in &key.tags {
        keys.set(&format!("aws:ResourceTag/{name}"), value.as_str());
    }
    keys
}
