//! The parameters that several calls of this service have in common.

use super::error::SecretsError;
pub(super) use crate::wire::body::{Body, check_length};

/// The name or ARN of a secret, which has to be there.
pub(super) fn secret_id(body: Body<'_>) -> Result<&str, SecretsError> {
    let id = body.required("SecretId", 2048)?;
    if !id.starts_with("arn:") {
        check_name(id)?;
    }
    Ok(id)
}

/// The name of a new secret, which has to be there.
pub(super) fn new_name(body: Body<'_>) -> Result<&str, SecretsError> {
    let name = body.required("Name", 512)?;
    check_name(name)?;
    Ok(name)
}

/// `Tags`, as pairs of key and value.
pub(super) fn tags(body: Body<'_>) -> Result<Vec<(&str, &str)>, SecretsError> {
    let mut tags: Vec<(&str, &str)> = Vec::new();
    for tag in body.list("Tags")? {
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

/// `ClientRequestToken`: the version that the call is to make.
pub(super) fn token(body: Body<'_>) -> Result<Option<&str>, SecretsError> {
    let token = body.text("ClientRequestToken")?;
    if token.is_some_and(|token| !(32..=64).contains(&token.chars().count())) {
        return Err(SecretsError::parameter(
            "ClientRequestToken must be 32-64 characters long.",
        ));
    }
    Ok(token)
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
