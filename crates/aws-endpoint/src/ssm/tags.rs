//! Tags of parameters.

use serde_json::{Value, json};

use super::error::SsmError;
use super::names::Asked;
use super::store::{Parameter, ParameterStore};
use super::{Call, Outcome};
use crate::wire::body::Body;

/// Tags that one parameter can have.
const MOST: usize = 50;

/// `AddTagsToResource`.
pub(super) fn add(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let given = given(call.body)?;
    set(parameter(store, call)?, &given)?;
    Ok(json!({}))
}

/// `RemoveTagsFromResource`.
pub(super) fn remove(store: &mut ParameterStore, call: &Call<'_>) -> Outcome {
    let keys = call.body.texts("TagKeys")?;
    let parameter = parameter(store, call)?;
    parameter.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

/// `ListTagsForResource`.
pub(super) fn list(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    let asked = named(call, store.account())?;
    let parameter = store
        .find(call.region, &asked)
        .ok_or_else(SsmError::resource_id)?;
    let tags = parameter.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    Ok(json!({"TagList": tags}))
}

/// `Tags` of a call, as pairs of key and value.
pub(super) fn given(body: Body<'_>) -> Result<Vec<(&str, &str)>, SsmError> {
    let tags = body.list("Tags")?.iter().map(|tag| {
        let key = Body(tag).required("Key", 128)?;
        let value = Body(tag).text_of("Value", 0, 256)?;
        let value = value.ok_or_else(|| crate::wire::body::missing("Value"))?;
        Ok((key, value))
    });
    tags.collect()
}

/// Adds tags; one whose key is there already takes its place.
pub(super) fn set(parameter: &mut Parameter, tags: &[(&str, &str)]) -> Result<(), SsmError> {
    let mut updated = parameter.tags.clone();
    for (key, value) in tags {
        match updated.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => (*value).clone_into(old),
            None => updated.push(((*key).to_owned(), (*value).to_owned())),
        }
    }
    if updated.len() > MOST {
        return Err(SsmError::tag_limit());
    }
    parameter.tags = updated;
    Ok(())
}

/// The parameter that `ResourceId` names.
pub(super) fn asked<'a>(id: &'a str, region: &str, account: &str) -> Result<Asked<'a>, SsmError> {
    let asked = Asked::new(id, region, account);
    asked.map_err(|_| SsmError::resource_id())
}

/// What a call is about.
fn named<'a>(call: &Call<'a>, account: &str) -> Result<Asked<'a>, SsmError> {
    if call.body.required("ResourceType", 2048)? != "Parameter" {
        return Err(SsmError::resource_type());
    }
    asked(call.body.required("ResourceId", 2048)?, call.region, account)
}

fn parameter<'s>(store: &'s mut ParameterStore, call: &Call<'_>) -> Result<&'s mut Parameter, SsmError> {
    let asked = named(call, store.account())?;
    store
        .find_mut(call.region, &asked)
        .map_err(|_| SsmError::resource_id())
}
