//! The KMS keys that values are encrypted with: which one, whether it can be used, and what a caller has to be
//! allowed with it.
//!
//! Imitated: "Secret encryption and decryption in AWS Secrets Manager". Nothing is encrypted at rest, as nothing
//! rests; a key decides who may read.

use super::Call;
use super::body::Body;
use super::error::SecretsError;
use super::store::{CURRENT, PENDING, PREVIOUS, Secret};
use super::values::Wanted;
use crate::authorisation::{Authorisation, Refused};
use crate::kms::usage::Via;
use crate::kms::{DefaultKeys, KmsError, KmsStore};

/// The ARN of the key that a caller names for a secret; `None` for the default key.
pub(super) fn check_new_key(call: &Call<'_>, asked: &str) -> Result<Option<String>, SecretsError> {
    let key = call.kms.named(via(call.region), asked);
    let key = key.map_err(|error| SecretsError::invalid_key(&error))?;
    check_writable(call, key.as_deref())?;
    Ok(key)
}

/// Refuses to read a value whose key cannot be used.
pub(super) fn check_readable(call: &Call<'_>, key: Option<&str>) -> Result<(), SecretsError> {
    let Some(key) = key else {
        return Ok(());
    };
    let usable = call.kms.check_usable(via(call.region), key);
    usable.map_err(|error| SecretsError::decryption(&error))
}

/// Refuses a new value for a key that cannot be used.
pub(super) fn check_writable(call: &Call<'_>, key: Option<&str>) -> Result<(), SecretsError> {
    let Some(key) = key else {
        return Ok(());
    };
    let usable = call.kms.check_usable(via(call.region), key);
    usable.map_err(|error| SecretsError::encryption(&error))
}

/// As documented for a changed key: the versions that are in use are put under it, the others stay under theirs.
pub(super) fn re_encrypt(secret: &mut Secret, key: Option<String>) {
    const IN_USE: [&str; 3] = [CURRENT, PREVIOUS, PENDING];
    for version in &mut secret.versions {
        if IN_USE.iter().any(|stage| version.has(stage)) {
            version.key.clone_from(&key);
        }
    }
    secret.key = key;
}

/// Adds to `wanted` what `operation` has to be allowed with the secret's key, and with one that it names.
pub(super) fn add_key_uses(
    wanted: &mut Authorisation,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    operation: &str,
    body: Body<'_>,
    secret: Option<&Secret>,
) -> Result<(), SecretsError> {
    // The key of an ARN, or else the default one of the region.
    let mut add = |region: &str, key: Option<&str>, version: Option<&str>, actions: &[&str]| {
        if key.is_none() && default_keys == DefaultKeys::Granted {
            return;
        }
        let mut context = vec![("SecretARN", wanted.resource.clone())];
        context.extend(version.map(|version| ("SecretVersionId", version.to_owned())));
        let context: Vec<_> = context
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        for action in actions {
            if let Some(needed) = kms.use_of(via(region), key, default_keys, action, &context) {
                wanted.further_or(needed, denied());
            }
        }
    };
    // One that there is not is refused when the call is carried out.
    let named = |region: &str, body: Body<'_>| -> Result<Result<Option<String>, KmsError>, SecretsError> {
        let asked = body.text("KmsKeyId")?;
        Ok(asked.map_or(Ok(None), |asked| kms.named(via(region), asked)))
    };
    let token = body.text("ClientRequestToken")?;
    match (operation, secret) {
        ("GetSecretValue", Some(secret)) => {
            if let Some(version) = Wanted::new(body)?.version(secret) {
                add(region, version.key.as_deref(), Some(&version.id), &["Decrypt"]);
            }
        }
        ("CreateSecret", _) => {
            if let Ok(key) = named(region, body)? {
                add(region, key.as_deref(), token, &["GenerateDataKey", "Decrypt"]);
            }
            replicated(&mut add, body, &named)?;
        }
        ("PutSecretValue", Some(secret)) => {
            add(
                region,
                secret.key.as_deref(),
                token,
                &["GenerateDataKey", "Decrypt"],
            );
        }
        ("UpdateSecret", Some(secret)) => {
            let current = secret.key.as_deref();
            match body.text("KmsKeyId")?.map(|asked| kms.named(via(region), asked)) {
                Some(Ok(key)) => {
                    add(region, current, None, &["Decrypt"]);
                    let uses = ["GenerateDataKey", "Encrypt", "Decrypt"];
                    add(region, key.as_deref(), token, &uses);
                }
                None if ["SecretString", "SecretBinary"]
                    .iter()
                    .any(|value| body.value(value).is_some()) =>
                {
                    add(region, current, token, &["GenerateDataKey", "Decrypt"]);
                }
                Some(Err(_)) | None => {}
            }
        }
        ("ReplicateSecretToRegions", Some(secret)) => {
            add(region, secret.key.as_deref(), None, &["Decrypt"]);
            replicated(&mut add, body, &named)?;
        }
        _ => {}
    }
    Ok(())
}

/// As documented: replicas are encrypted with the keys of their regions.
fn replicated(
    add: &mut impl FnMut(&str, Option<&str>, Option<&str>, &[&str]),
    body: Body<'_>,
    named: &impl Fn(&str, Body<'_>) -> Result<Result<Option<String>, KmsError>, SecretsError>,
) -> Result<(), SecretsError> {
    for replica in body.list("AddReplicaRegions")? {
        let replica = Body(replica);
        if let Some(region) = replica.text("Region")?
            && let Ok(key) = named(region, replica)?
        {
            add(region, key.as_deref(), None, &["GenerateDataKey", "Encrypt"]);
        }
    }
    Ok(())
}

/// What AWS says to whom a key is denied, whatever the reason.
pub(super) fn denied() -> Refused {
    Refused::With("AccessDeniedException", "Access to KMS is not allowed".to_owned())
}

pub(super) fn via(region: &str) -> Via<'_> {
    Via {
        service: "secretsmanager",
        region,
    }
}
