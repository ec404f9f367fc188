//! The parameters of a call, read from its JSON body with the constraints of the API's model.

use serde_json::Value;

use super::error::SecretsError;

/// The body of a call.
#[derive(Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a Value);

impl<'a> Body<'a> {
    /// A string parameter that may be left out.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, SecretsError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(other, "String")),
        }
    }

    /// A string parameter of `shortest..=longest` characters that may be left out.
    pub(super) fn text_of(
        self,
        name: &str,
        shortest: usize,
        longest: usize,
    ) -> Result<Option<&'a str>, SecretsError> {
        let text = self.text(name)?;
        if let Some(text) = text {
            check_length(&camel(name), text, shortest, longest)?;
        }
        Ok(text)
    }

    /// A string parameter that has to be there.
    pub(super) fn required(self, name: &str, longest: usize) -> Result<&'a str, SecretsError> {
        let text = self.text_of(name, 1, longest)?;
        text.ok_or_else(|| SecretsError::constraint(None, &camel(name), "Member must not be null"))
    }

    /// The name or ARN of a secret, which has to be there.
    pub(super) fn secret_id(self) -> Result<&'a str, SecretsError> {
        let id = self.required("SecretId", 2048)?;
        if !id.starts_with("arn:") {
            check_name(id)?;
        }
        Ok(id)
    }

    /// The name of a new secret, which has to be there.
    pub(super) fn name(self) -> Result<&'a str, SecretsError> {
        let name = self.required("Name", 512)?;
        check_name(name)?;
        Ok(name)
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, SecretsError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(other, "Boolean")),
        }
    }

    pub(super) fn number(self, name: &str) -> Result<Option<i64>, SecretsError> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(wrong_type(value, "Long")),
            },
        }
    }

    /// A list parameter; empty when it is left out.
    pub(super) fn list(self, name: &str) -> Result<&'a [Value], SecretsError> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong_type(other, "List")),
        }
    }

    /// A list of strings; empty when it is left out.
    pub(super) fn texts(self, name: &str) -> Result<Vec<&'a str>, SecretsError> {
        let items = self.list(name)?.iter();
        items
            .map(|item| item.as_str().ok_or_else(|| wrong_type(item, "String")))
            .collect()
    }

    /// `Tags`, as pairs of key and value.
    pub(super) fn tags(self) -> Result<Vec<(&'a str, &'a str)>, SecretsError> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for tag in self.list("Tags")? {
            let tag = Body(tag);
            let key = tag
                .text_of("Key", 1, 128)?
                .ok_or_else(|| SecretsError::parameter("A tag must have a key."))?;
            let value = tag.text_of("Value", 0, 256)?.unwrap_or_default();
            if key.to_lowercase().starts_with("aws:") {
                return Err(SecretsError::parameter(
                    "Tag keys that begin with aws: are reserved for AWS use.",
                ));
            }
            if tags.iter().any(|(other, _)| *other == key) {
                return Err(SecretsError::parameter(format!(
                    "The tag key {key} is given more than once."
                )));
            }
            tags.push((key, value));
        }
        Ok(tags)
    }

    /// `MaxResults`: how many items one answer holds.
    pub(super) fn page_size(self) -> Result<usize, SecretsError> {
        const MOST: i64 = 100;
        let number = self.number("MaxResults")?.unwrap_or(MOST);
        let at =
            |constraint: &str| SecretsError::constraint(Some(&number.to_string()), "maxResults", constraint);
        match usize::try_from(number) {
            Ok(1..) if number <= MOST => Ok(usize::try_from(number).unwrap_or(1)),
            Ok(0) | Err(_) => Err(at("Member must have value greater than or equal to 1")),
            Ok(_) => Err(at("Member must have value less than or equal to 100")),
        }
    }

    /// A parameter; `null` counts as left out.
    fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
}

/// Refuses what cannot be the name of a secret.
fn check_name(name: &str) -> Result<(), SecretsError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_+=.@!".contains(&byte);
    if name.bytes().all(valid) {
        Ok(())
    } else {
        Err(SecretsError::validation(
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ))
    }
}

/// Refuses a text of too few or too many characters, without repeating it: it may be a secret.
pub(super) fn check_length(
    at: &str,
    text: &str,
    shortest: usize,
    longest: usize,
) -> Result<(), SecretsError> {
    let length = text.chars().count();
    if length < shortest {
        let constraint = format!("Member must have length greater than or equal to {shortest}");
        return Err(SecretsError::constraint(None, at, &constraint));
    }
    if length > longest {
        let constraint = format!("Member must have length less than or equal to {longest}");
        return Err(SecretsError::constraint(None, at, &constraint));
    }
    Ok(())
}

fn wrong_type(value: &Value, wanted: &str) -> SecretsError {
    let given = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    SecretsError::serialization(format!("{given} can not be converted to a {wanted}"))
}

/// A parameter's name as messages write it.
fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
