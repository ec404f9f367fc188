//! Values, their versions, and the staging labels that say which version is which.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::body::{Body, check_length, secret_id, token};
use super::error::SecretsError;
use super::keys::{check_readable, check_writable};
use super::listing::{PAGE, page, page_token};
use super::store::{CURRENT, PREVIOUS, Secret, SecretStore, SecretValue, Version};
use super::{Call, Outcome, seconds, time};
use crate::wire::body::Malformed;
use crate::wire::json::written;

/// Longest value, in bytes.
const LONGEST_VALUE: usize = 65_536;
/// Staging labels that one version can have.
const STAGES: usize = 20;

/// `GetSecretValue`.
pub(super) fn value(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let (secret, index) = wanted(store, call)?;
    let answer = json!(answered(store, call, secret, index));
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let today = Some(day(call.now));
    secret.accessed = today;
    secret.versions[index].accessed = today;
    Ok(answer)
}

/// `GetSecretValue` where it changes nothing: `None` for the first one of a day, which is noted.
pub(super) fn value_as_is(store: &SecretStore, call: &Call<'_>) -> Option<Result<Bytes, SecretsError>> {
    let (secret, index) = match wanted(store, call) {
        Ok(found) => found,
        Err(error) => return Some(Err(error)),
    };
    let today = Some(day(call.now));
    let noted = secret.accessed == today && secret.versions[index].accessed == today;
    noted.then(|| Ok(written(&answered(store, call, secret, index))))
}

/// The secret, and which of its versions, that a caller may have.
fn wanted<'s>(store: &'s SecretStore, call: &Call<'_>) -> Result<(&'s Secret, usize), SecretsError> {
    let id = secret_id(call.body)?;
    let wanted = Wanted::new(call.body)?;
    let secret = store.live(call.region, id)?;
    let index = wanted.index(secret, call.defects.stale_after_put)?;
    check_readable(call, secret.versions[index].key.as_deref())?;
    Ok((secret, index))
}

fn answered<'s>(store: &'s SecretStore, call: &Call<'_>, secret: &'s Secret, index: usize) -> Answer<'s> {
    let planted = if call.defects.other_tenants_secret {
        value_of_another_tenant(store, call.region, &secret.name)
    } else {
        None
    };
    let version = &secret.versions[index];
    Answer::new(secret, version, planted.unwrap_or(&version.value))
}

/// `PutSecretValue`.
pub(super) fn put(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let stages = call.body.texts("VersionStages")?;
    for stage in &stages {
        check_length("versionStages", stage, 1, 256)?;
    }
    if stages.len() > STAGES {
        return Err(SecretsError::constraint(
            None,
            "versionStages",
            "Member must have length less than or equal to 20",
        ));
    }
    let stages = if stages.is_empty() { vec![CURRENT] } else { stages };
    let Some(new) = NewVersion::read(call.body)? else {
        return Err(SecretsError::request(
            "You must provide either SecretString or SecretBinary.",
        ));
    };
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let id = new.id;
    new.add_to(secret, &stages, call)?;
    let attached = secret.version(id).map(|version| version.stages.clone());
    Ok(json!({
        "ARN": secret.arn,
        "Name": secret.name,
        "VersionId": id,
        "VersionStages": attached.unwrap_or_default(),
    }))
}

/// `ListSecretVersionIds`.
pub(super) fn list_versions(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.secret(call.region, secret_id(call.body)?)?;
    let deprecated = call.body.flag("IncludeDeprecated")?.unwrap_or(false);
    let versions = secret.versions.iter().rev();
    let listed: Vec<&Version> = versions
        .filter(|version| deprecated || !version.stages.is_empty())
        .collect();
    // Newest first, so that what is new since the page before comes on none.
    let place = |version: &&Version| {
        let age = Timestamp::MAX.as_nanosecond() - version.created.as_nanosecond();
        [format!("{age:020}"), version.id.clone()]
    };
    let (listed, more) = page(call.body, PAGE, listed, place)?;
    let described: Vec<Value> = listed.into_iter().map(describe_version).collect();
    let mut answer = json!({"ARN": secret.arn, "Name": secret.name, "Versions": described});
    page_token(&mut answer, more);
    Ok(answer)
}

/// `UpdateSecretVersionStage`.
pub(super) fn update_stage(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let stage = call.body.required("VersionStage", 256)?;
    let from = call.body.text_of("RemoveFromVersionId", 32, 64)?;
    let to = call.body.text_of("MoveToVersionId", 32, 64)?;
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    for id in [from, to].into_iter().flatten() {
        if secret.version(id).is_none() {
            return Err(SecretsError::no_version(id));
        }
    }
    let attached = secret.staged(stage).map(|version| version.id.clone());
    match (&attached, from) {
        (Some(attached), None) if to != Some(attached) => {
            return Err(SecretsError::parameter(format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to \
                 version {attached}, so you must explicitly reference that version in RemoveFromVersionId."
            )));
        }
        (Some(attached), Some(from)) if attached != from => {
            return Err(SecretsError::parameter(format!(
                "Staging label {stage} is currently attached to version {attached}, not to version {from}. \
                 Reference that version in RemoveFromVersionId."
            )));
        }
        (None, Some(from)) => {
            return Err(SecretsError::parameter(format!(
                "Staging label {stage} is not attached to version {from}."
            )));
        }
        _ => {}
    }
    match to {
        Some(to) => secret.attach(stage, to),
        None if stage == CURRENT => {
            return Err(SecretsError::parameter(format!(
                "You can only move staging label {CURRENT} to a different secret version. It can\u{2019}t be \
                 completely removed."
            )));
        }
        None => secret.detach(stage),
    }
    secret.changed = call.now;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// A value that a call brings, and the version it is to make.
pub(super) struct NewVersion<'a> {
    id: &'a str,
    value: SecretValue,
}

impl<'a> NewVersion<'a> {
    /// `None` when the call brings no value.
    pub(super) fn read(body: Body<'a>) -> Result<Option<Self>, SecretsError> {
        let token = token(body)?;
        let Some(value) = read_value(body)? else {
            return Ok(None);
        };
        let id = token.ok_or_else(|| {
            SecretsError::request(
                "You must provide a ClientRequestToken value. We recommend a UUID-type value.",
            )
        })?;
        Ok(Some(Self { id, value }))
    }

    pub(super) fn id(&self) -> &'a str {
        self.id
    }

    /// Whether `secret` has this very version already; one with another value is an error.
    pub(super) fn is_in(&self, secret: &Secret) -> Result<bool, SecretsError> {
        match secret.version(self.id) {
            None => Ok(false),
            Some(version) if version.value == self.value => Ok(true),
            Some(_) => Err(SecretsError::exists(format!(
                "You can't use ClientRequestToken {} because that value is already in use for a version of secret {}.",
                self.id, secret.arn
            ))),
        }
    }

    /// Adds the version, once however often it is asked for.
    pub(super) fn add_to(
        self,
        secret: &mut Secret,
        stages: &[&str],
        call: &Call<'_>,
    ) -> Result<(), SecretsError> {
        if !self.is_in(secret)? {
            check_writable(call, secret.key.as_deref())?;
            secret.add_version(self.id, self.value, stages, call.now);
        }
        Ok(())
    }
}

/// Which version a call is about.
pub(super) struct Wanted<'a> {
    version: Option<&'a str>,
    stage: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(body: Body<'a>) -> Result<Self, SecretsError> {
        Ok(Self {
            version: body.text_of("VersionId", 32, 64)?,
            stage: body.text_of("VersionStage", 1, 256)?,
        })
    }

    /// The version, if there is one.
    pub(super) fn version<'s>(&self, secret: &'s Secret) -> Option<&'s Version> {
        let index = self.index(secret, false).ok()?;
        Some(&secret.versions[index])
    }

    /// Where the version is among the secret's.
    fn index(&self, secret: &Secret, stale_after_put: bool) -> Result<usize, SecretsError> {
        let position = |wanted: &dyn Fn(&Version) -> bool| secret.versions.iter().rposition(wanted);
        let Some(id) = self.version else {
            let stage = self.stage.unwrap_or(CURRENT);
            // The planted defect: what was current before the last update still is.
            if stale_after_put
                && stage == CURRENT
                && let Some(index) = position(&|version| version.has(PREVIOUS))
            {
                return Ok(index);
            }
            return position(&|version| version.has(stage)).ok_or_else(|| SecretsError::no_stage(stage));
        };
        let index = position(&|version| version.id == id).ok_or_else(|| SecretsError::no_version(id))?;
        match self.stage {
            Some(stage) if !secret.versions[index].has(stage) => Err(SecretsError::request(
                "You provided a VersionStage that is not associated to the provided VersionId.",
            )),
            _ => Ok(index),
        }
    }
}

/// The planted defect: the current value of another secret whose name differs in the namespace, the second
/// segment of `<cluster>/<namespace>/<name>`.
fn value_of_another_tenant<'s>(store: &'s SecretStore, region: &str, id: &str) -> Option<&'s SecretValue> {
    let own = namespace(&store.find(region, id)?.name)?;
    let others = store
        .all(region)
        .filter(|other| other.deletion.is_none() && namespace(&other.name).is_some_and(|other| other != own));
    others
        .filter_map(|other| other.staged(CURRENT))
        .map(|version| &version.value)
        .next()
}

fn namespace(name: &str) -> Option<&str> {
    name.split('/').nth(1).filter(|_| name.matches('/').count() > 1)
}

/// What `GetSecretValue` answers. Borrowed: it is written once and gone.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(rename = "ARN")]
    arn: &'a str,
    created_date: f64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_string: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_binary: Option<&'a str>,
    version_id: &'a str,
    version_stages: &'a [String],
}

impl<'a> Answer<'a> {
    fn new(secret: &'a Secret, version: &'a Version, value: &'a SecretValue) -> Self {
        let (secret_string, secret_binary) = match value {
            SecretValue::Text(text) => (Some(text.as_str()), None),
            SecretValue::Binary(base64) => (None, Some(base64.as_str())),
        };
        Self {
            arn: &secret.arn,
            created_date: seconds(version.created),
            name: &secret.name,
            secret_string,
            secret_binary,
            version_id: &version.id,
            version_stages: &version.stages,
        }
    }
}

fn describe_version(version: &Version) -> Value {
    let mut described = json!({
        "VersionId": version.id,
        "VersionStages": version.stages,
        "CreatedDate": time(version.created),
        "KmsKeyIds": [version.key.as_deref().unwrap_or("DefaultEncryptionKey")],
    });
    if version.stages.is_empty() {
        described["VersionStages"].take();
    }
    if let Some(accessed) = version.accessed {
        described["LastAccessedDate"] = time(accessed);
    }
    if let Some(described) = described.as_object_mut() {
        described.retain(|_, value| !value.is_null());
    }
    described
}

/// The value in a call; an empty one counts as none.
fn read_value(body: Body<'_>) -> Result<Option<SecretValue>, SecretsError> {
    let text = body.text("SecretString")?.filter(|text| !text.is_empty());
    let binary = body.text("SecretBinary")?.filter(|base64| !base64.is_empty());
    match (text, binary) {
        (Some(_), Some(_)) => Err(SecretsError::parameter(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )),
        (Some(text), None) => {
            check_size("secretString", text.len())?;
            Ok(Some(SecretValue::Text(text.to_owned())))
        }
        (None, Some(base64)) => {
            let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
                Malformed::serialization("SecretBinary can not be converted to a Blob: it is not base64")
            })?;
            check_size("secretBinary", bytes.len())?;
            Ok(Some(SecretValue::Binary(BASE64_STANDARD.encode(bytes))))
        }
        (None, None) => Ok(None),
    }
}

fn check_size(at: &str, bytes: usize) -> Result<(), SecretsError> {
    if bytes <= LONGEST_VALUE {
        return Ok(());
    }
    let constraint = format!("Member must have length less than or equal to {LONGEST_VALUE}");
    Err(SecretsError::constraint(None, at, &constraint))
}

/// The start of the day, which is as much as AWS tells about accesses.
fn day(now: Timestamp) -> Timestamp {
    const SECONDS: i64 = 24 * 60 * 60;
    Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(SECONDS)).unwrap_or(now)
}
