//! Parameters that something else keeps: what is known of them, to be authorised on, and what becomes of the values.

use jiff::Timestamp;
use serde_json::Value;

use super::error::SsmError;
use super::names::{Asked, Selector, is_under};
use super::store::{Kind, Parameter, ParameterStore, Tier, Version};
use super::{Target, find, names, tags, via, writing};
use crate::authorisation::{Further, Refused};
use crate::kms::{DefaultKeys, KmsStore};
use crate::wire::body::Body;

/// A parameter as a call names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// As it stands in the call.
    pub(crate) text: String,
    /// Without ARN and selector, and written in the one of its two forms that `LocalStack` stores: `a`, `/a/b`.
    pub(crate) name: String,
    /// The name with its selector.
    pub(crate) selected: String,
    /// The ARN of another region or account.
    pub(crate) elsewhere: bool,
}

/// A parameter that is kept elsewhere.
pub(crate) struct ParameterElsewhere {
    pub(crate) name: String,
    pub(crate) tags: Vec<(String, String)>,
    /// The latest version, where it counts.
    pub(crate) latest: Option<VersionElsewhere>,
}

/// What is known of one version of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionElsewhere {
    pub(crate) number: u64,
    /// As the API calls it.
    pub(crate) kind: String,
    /// The key as it was named.
    pub(crate) key: Option<String>,
}

/// The parameters that a call names: none where it is about a path, or about nothing in particular.
///
/// # Errors
/// As AWS, of names that are none.
pub(crate) fn named(
    store: &ParameterStore,
    region: &str,
    operation: &str,
    body: &Value,
) -> Result<Vec<Named>, SsmError> {
    let account = store.account();
    let call = Body(body);
    let asked = match find(operation)?.target {
        Target::Name => vec![Asked::of(call, region, account)?],
        Target::Names => names(store, region, call)?,
        Target::Tagged if call.text("ResourceType")? == Some("Parameter") => {
            vec![tags::asked(call.required("ResourceId", 2048)?, region, account)?]
        }
        Target::Tagged | Target::Path | Target::Nothing => Vec::new(),
    };
    Ok(asked.iter().map(Named::of).collect())
}

impl Named {
    fn of(asked: &Asked<'_>) -> Self {
        let key = asked.key();
        let root = if key.contains('/') { "/" } else { "" };
        let name = format!("{root}{key}");
        let selector = match asked.selector {
            None => String::new(),
            Some(Selector::Version(number)) => format!(":{number}"),
            Some(Selector::Label(label)) => format!(":{label}"),
        };
        Self {
            text: asked.text.to_owned(),
            selected: format!("{name}{selector}"),
            name,
            elsewhere: asked.elsewhere,
        }
    }

    /// Whether a parameter of this name is meant: `/a` and `a` are the same.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.trim_start_matches('/') == name.trim_start_matches('/')
    }

    /// The name that the caller expects in an answer; none if it was an ARN that named the parameter.
    pub(crate) fn as_asked(&self) -> Option<&str> {
        let name = self.text.split(':').next()?;
        self.is(name).then_some(name)
    }

    /// Whether this is how a secret is called as a parameter: `/aws/reference/secretsmanager/NAME`. `LocalStack`
    /// looks at the third part only, and hands over the secret.
    pub(crate) fn is_secret(&self) -> bool {
        let mut parts = self.name.split('/').skip(3);
        parts.next() == Some("secretsmanager") && parts.next().is_some()
    }
}

impl ParameterStore {
    /// Adds a parameter that is kept elsewhere, without its value.
    ///
    /// # Errors
    /// When its key is none that can be decided on.
    pub(crate) fn add_elsewhere(
        &mut self,
        kms: &KmsStore,
        region: &str,
        parameter: ParameterElsewhere,
    ) -> Result<(), String> {
        let arn = self.arn(region, &parameter.name);
        let latest = parameter.latest;
        let key_name = latest.as_ref().and_then(|latest| latest.key.clone());
        let version = Version {
            number: latest.as_ref().map_or(1, |latest| latest.number),
            kind: latest.map_or(Kind::String, |latest| Kind::of(&latest.kind)),
            value: String::new(),
            key: match &key_name {
                None => None,
                Some(key) => key_of(kms, region, key)?,
            },
            key_name,
            ciphertext: None,
            description: None,
            pattern: None,
            tier: Tier::Standard,
            data_type: String::new(),
            policies: Vec::new(),
            labels: Vec::new(),
            modified: Timestamp::UNIX_EPOCH,
            user: String::new(),
        };
        let key = parameter.name.trim_start_matches('/').to_owned();
        let parameter = Parameter {
            name: parameter.name,
            arn,
            tags: parameter.tags,
            versions: vec![version],
        };
        self.insert(region, &key, parameter);
        Ok(())
    }
}

/// What it takes to decrypt a value of the parameter `name` under `key`, as it was named; `None` for a default key of
/// which nothing is denied.
///
/// # Errors
/// When the key is none that can be decided on.
pub(crate) fn decryption(
    store: &ParameterStore,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    name: &str,
    key: &str,
) -> Result<Option<Further>, String> {
    let key = key_of(kms, region, key)?;
    let arn = store.arn(region, name);
    let context = [("PARAMETER_ARN", arn.as_str())];
    let wanted = kms.use_of(via(region), key.as_deref(), default_keys, "Decrypt", &context);
    match (wanted, key) {
        (None, Some(key)) => Err(format!("the key {key} of {arn} is gone")),
        (wanted, _) => Ok(wanted.map(|wanted| Further {
            wanted,
            refusal: Refused::InTheWordsOfKms,
        })),
    }
}

/// Refuses a key that cannot be used now, or is not there at all.
///
/// # Errors
/// As AWS.
pub(crate) fn check_key(kms: &KmsStore, region: &str, key: &str) -> Result<(), SsmError> {
    let key = kms
        .named(via(region), key)
        .map_err(|error| SsmError::key(&error))?;
    match key {
        None => Ok(()),
        Some(key) => kms
            .check_usable(via(region), &key)
            .map_err(|error| SsmError::key(&error)),
    }
}

/// What stands for a value that is not decrypted.
pub(crate) fn veiled() -> String {
    writing::ciphertext()
}

/// Whether a call of `GetParametersByPath` is about the parameter `name`.
///
/// # Errors
/// As AWS.
pub(crate) fn is_asked_by_path(body: &Value, name: &str) -> Result<bool, SsmError> {
    let body = Body(body);
    let recursive = body.flag("Recursive")?.unwrap_or(false);
    let path = body.required("Path", 2048)?;
    Ok(is_under(name.trim_start_matches('/'), path, recursive))
}

/// Whether a call asks for decrypted values.
///
/// # Errors
/// When it does not say so by true or false.
pub(crate) fn decrypts(body: &Value) -> Result<bool, SsmError> {
    Ok(Body(body).flag("WithDecryption")?.unwrap_or(false))
}

fn key_of(kms: &KmsStore, region: &str, named: &str) -> Result<Option<String>, String> {
    kms.named(via(region), named)
        .map_err(|_| format!("its key {named} is not known here, so who may use it is not"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_can_be_called_as_a_parameter() {
        let store = ParameterStore::new("1".to_owned());
        for (name, expected) in [
            ("/aws/reference/secretsmanager/demo/a", true),
            ("/any/thing/secretsmanager/demo", true),
            ("arn:aws:ssm:r:1:parameter/any/thing/secretsmanager/demo", true),
            ("/any/thing/secretsmanager", false),
            ("/any/secretsmanager/demo", false),
            ("secretsmanager", false),
        ] {
            let body = json!({"Name": name});
            let found = named(&store, "r", "GetParameter", &body).unwrap();
            assert_eq!(found[0].is_secret(), expected, "{name}");
        }
    }

    #[test]
    fn names_are_sent_on_as_the_name_that_was_decided_on() {
        let store = ParameterStore::new("1".to_owned());
        for (text, name, selected, elsewhere) in [
            ("a", "a", "a", false),
            ("/a", "a", "a", false),
            ("/a/b:3", "/a/b", "/a/b:3", false),
            ("a:a", "a", "a:a", false),
            ("arn:aws:ssm:r:1:parameter/a/b:live", "/a/b", "/a/b:live", false),
            ("arn:aws:ssm:r:1:parameter/a", "a", "a", false),
            ("arn:aws:ssm:other:1:parameter/a/b", "/a/b", "/a/b", true),
            ("arn:aws:ssm:r:2:parameter/a/b", "/a/b", "/a/b", true),
        ] {
            let body = json!({"Name": text});
            let found = named(&store, "r", "GetParameter", &body).unwrap();
            let expected = Named {
                text: text.to_owned(),
                name: name.to_owned(),
                selected: selected.to_owned(),
                elsewhere,
            };
            assert_eq!(found, [expected], "{text}");
        }
    }
}
