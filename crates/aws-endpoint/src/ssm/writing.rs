//! Parameters made, changed, labelled and deleted.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand::Rng as _;
use serde_json::{Value, json};

use super::error::SsmError;
use super::names::{Asked, check_new};
use super::store::{Kind, Parameter, ParameterStore, Tier, Version};
use super::{Call, Outcome, names, tags, via};
use crate::wire::body::{Body, check_length};

/// Longest value in the standard and in the advanced tier, in bytes.
const LONGEST: usize = 4096;
const LONGEST_ADVANCED: usize = 8192;
/// Versions that are kept.
const VERSIONS: usize = 100;
/// Labels that one version can have.
const LABELS: usize = 10;

/// `PutParameter`.
pub(super) fn put(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let body = call.body;
    let asked = Asked::of(body, call.region, store.account())?;
    check_new(&asked)?;
    let value = body.required("Value", usize::MAX)?;
    let overwrite = body.flag("Overwrite")?.unwrap_or(false);
    let kind = body.one_of("Type", &Kind::NAMES)?.map(Kind::of);
    let given = tags::given(body)?;
    if overwrite && !given.is_empty() {
        return Err(SsmError::validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
             remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ));
    }
    let existing = store.find(call.region, &asked);
    if existing.is_some() && !overwrite {
        return Err(SsmError::already_exists());
    }
    let before = existing.map(Parameter::latest);
    let version = new_version(call, value, kind, before)?;
    let answer = json!({"Version": version.number, "Tier": version.tier.name()});
    if existing.is_some() {
        let parameter = store.find_mut(call.region, &asked)?;
        if parameter.versions.len() >= VERSIONS {
            let oldest = &parameter.versions[0];
            if !oldest.labels.is_empty() {
                return Err(SsmError::version_limit(&parameter.name, oldest.number));
            }
            parameter.versions.remove(0);
        }
        parameter.versions.push(version);
        return Ok(answer);
    }
    let mut parameter = Parameter {
        name: asked.name.to_owned(),
        arn: store.arn(call.region, asked.name),
        tags: Vec::new(),
        versions: vec![version],
    };
    tags::set(&mut parameter, &given)?;
    store.insert(call.region, asked.key(), parameter);
    Ok(answer)
}

/// `DeleteParameter`.
pub(super) fn delete(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let asked = Asked::of(call.body, call.region, store.account())?;
    if store.remove(call.region, &asked) {
        Ok(json!({}))
    } else {
        Err(SsmError::not_found())
    }
}

/// `DeleteParameters`.
pub(super) fn delete_all(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let asked = names(store, call.region, call.body)?;
    let (deleted, invalid) = asked
        .iter()
        .partition::<Vec<_>, _>(|asked| store.remove(call.region, asked));
    let texts = |asked: Vec<&Asked<'_>>| -> Vec<String> {
        asked.into_iter().map(|asked| asked.text.to_owned()).collect()
    };
    Ok(json!({"DeletedParameters": texts(deleted), "InvalidParameters": texts(invalid)}))
}

/// `LabelParameterVersion`.
pub(super) fn label(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let labels = labels(call.body)?;
    let number = version_number(call.body)?;
    let asked = Asked::of(call.body, call.region, store.account())?;
    let parameter = store.find_mut(call.region, &asked)?;
    let number = number.unwrap_or_else(|| parameter.latest().number);
    let (valid, invalid): (Vec<&str>, Vec<&str>) = labels.into_iter().partition(|label| is_label(label));
    let name = parameter.name.clone();
    let target = parameter.versions.iter().find(|version| version.number == number);
    let target = target.ok_or_else(|| SsmError::no_version(&number.to_string(), &name))?;
    let new = valid.iter().filter(|label| !target.has(label)).count();
    if target.labels.len() + new > LABELS {
        return Err(SsmError::label_limit());
    }
    for version in &mut parameter.versions {
        if version.number == number {
            let missing = valid.iter().filter(|label| !version.has(label));
            let missing: Vec<String> = missing.map(|label| (*label).to_owned()).collect();
            version.labels.extend(missing);
        } else {
            version.labels.retain(|label| !valid.contains(&label.as_str()));
        }
    }
    Ok(json!({"InvalidLabels": invalid, "ParameterVersion": number}))
}

/// `UnlabelParameterVersion`.
pub(super) fn unlabel(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let labels = labels(call.body)?;
    let Some(number) = version_number(call.body)? else {
        return Err(crate::wire::body::missing("ParameterVersion").into());
    };
    let asked = Asked::of(call.body, call.region, store.account())?;
    let parameter = store.find_mut(call.region, &asked)?;
    let name = parameter.name.clone();
    let mut versions = parameter.versions.iter_mut();
    let version = versions
        .find(|version| version.number == number)
        .ok_or_else(|| SsmError::no_version(&number.to_string(), &name))?;
    let (removed, invalid): (Vec<&str>, Vec<&str>) = labels.into_iter().partition(|label| version.has(label));
    version.labels.retain(|label| !removed.contains(&label.as_str()));
    Ok(json!({"RemovedLabels": removed, "InvalidLabels": invalid}))
}

/// The version that a call makes, with what it leaves out taken from the one `before`.
fn new_version(
    call: &Call<'_>,
    value: &str,
    kind: Option<Kind>,
    before: Option<&Version>,
) -> Result<Version, SsmError> {
    let body = call.body;
    let kind = match (kind, before) {
        (Some(kind), Some(before)) if kind != before.kind => return Err(SsmError::type_mismatch()),
        (Some(kind), _) => kind,
        (None, Some(before)) => before.kind,
        (None, None) => {
            return Err(SsmError::validation(
                "A parameter type is required when you create a parameter.",
            ));
        }
    };
    let (key_name, key) = match body.text_of("KeyId", 1, 256)? {
        Some(_) if kind != Kind::SecureString => {
            return Err(SsmError::validation(
                "KeyId is required for SecureString type parameter only.",
            ));
        }
        Some(asked) => {
            let key = call.kms.named(via(call.region), asked);
            (
                Some(asked.to_owned()),
                key.map_err(|error| SsmError::key(&error))?,
            )
        }
        None => (
            before.and_then(|before| before.key_name.clone()),
            before.and_then(|before| before.key.clone()),
        ),
    };
    if let Some(key) = &key {
        let usable = call.kms.check_usable(via(call.region), key);
        usable.map_err(|error| SsmError::key(&error))?;
    }
    let kept =
        |text: Option<&str>, before: Option<&String>| text.map(str::to_owned).or_else(|| before.cloned());
    let pattern = kept(
        body.text_of("AllowedPattern", 0, 1024)?,
        before.and_then(|before| before.pattern.as_ref()),
    );
    if let Some(pattern) = pattern.as_deref().filter(|pattern| !pattern.is_empty()) {
        check_pattern(pattern, kind, value)?;
    }
    let data_type = match body.text("DataType")? {
        Some(known @ ("text" | "aws:ec2:image" | "aws:ssm:integration")) => known.to_owned(),
        Some(other) => {
            return Err(SsmError::validation(format!(
                "The following data type is not supported: {other} (Data type names are all lowercase.)"
            )));
        }
        None => before.map_or_else(|| "text".to_owned(), |before| before.data_type.clone()),
    };
    Ok(Version {
        number: before.map_or(1, |before| before.number + 1),
        kind,
        key_name,
        key,
        ciphertext: (kind == Kind::SecureString).then(ciphertext),
        description: kept(
            body.text_of("Description", 0, 1024)?,
            before.and_then(|before| before.description.as_ref()),
        ),
        pattern,
        tier: tier(body, value, before)?,
        data_type,
        policies: match body.text_of("Policies", 1, 4096)? {
            Some(policies) => read_policies(policies)?,
            None => before.map(|before| before.policies.clone()).unwrap_or_default(),
        },
        labels: Vec::new(),
        modified: call.now,
        user: call.user.to_owned(),
        value: value.to_owned(),
    })
}

/// The tier that a value goes to; there is no way back from the advanced one.
fn tier(body: Body<'_>, value: &str, before: Option<&Version>) -> Result<Tier, SsmError> {
    let asked = body.one_of("Tier", &["Standard", "Advanced", "Intelligent-Tiering"])?;
    let advanced = before.is_some_and(|before| before.tier == Tier::Advanced);
    let long = value.len() > LONGEST;
    let tier = match asked {
        Some("Standard") if advanced => {
            return Err(SsmError::validation(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the \
                 advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced \
                 parameter and recreate it as a standard parameter.",
            ));
        }
        Some("Advanced") => Tier::Advanced,
        Some("Intelligent-Tiering") if long => Tier::Advanced,
        _ if advanced => Tier::Advanced,
        _ => Tier::Standard,
    };
    match tier {
        Tier::Standard if long => Err(SsmError::validation(
            "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger \
             parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see \
             https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html",
        )),
        Tier::Advanced if value.len() > LONGEST_ADVANCED => Err(SsmError::validation(
            "Advanced tier parameters support a maximum parameter value of 8192 characters.",
        )),
        tier => Ok(tier),
    }
}

fn check_pattern(pattern: &str, kind: Kind, value: &str) -> Result<(), SsmError> {
    // Bounded, as the pattern is a caller's.
    let regex = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(1 << 20)
        .build()
        .map_err(|_| SsmError::bad_pattern(pattern))?;
    let mut items = match kind {
        Kind::StringList => value.split(',').collect::<Vec<_>>(),
        _ => vec![value],
    }
    .into_iter();
    if items.all(|item| regex.is_match(item)) {
        Ok(())
    } else {
        Err(SsmError::pattern_mismatch(pattern))
    }
}

/// What stands for an encrypted value: nothing of it.
pub(super) fn ciphertext() -> String {
    let mut bytes = [0; 120];
    rand::rng().fill_bytes(&mut bytes);
    // As all of KMS's begin.
    format!("AQICAH{}", BASE64_STANDARD.encode(bytes))
}

/// Parameter policies as answers show them.
fn read_policies(text: &str) -> Result<Vec<Value>, SsmError> {
    let invalid = || SsmError::validation("The policies are not a JSON array of policies.");
    let policies: Vec<Value> = serde_json::from_str(text).map_err(|_| invalid())?;
    let shown = policies.iter().map(|policy| {
        let kind = policy["Type"].as_str().ok_or_else(invalid)?;
        Ok(json!({"PolicyText": policy.to_string(), "PolicyType": kind, "PolicyStatus": "Pending"}))
    });
    shown.collect()
}

fn labels(body: Body<'_>) -> Result<Vec<&str>, SsmError> {
    let labels = body.texts("Labels")?;
    if labels.is_empty() {
        return Err(crate::wire::body::missing("Labels").into());
    }
    for label in &labels {
        check_length("labels", label, 1, 100)?;
    }
    if labels.len() > LABELS {
        return Err(SsmError::label_limit());
    }
    Ok(labels)
}

fn version_number(body: Body<'_>) -> Result<Option<u64>, SsmError> {
    let number = body.number("ParameterVersion")?;
    Ok(number.map(|number| u64::try_from(number).unwrap_or_default()))
}

fn is_label(label: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let reserved = ["aws", "ssm"].iter().any(|prefix| {
        label
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    });
    label.bytes().all(valid) && !reserved && !label.starts_with(|first: char| first.is_ascii_digit())
}
