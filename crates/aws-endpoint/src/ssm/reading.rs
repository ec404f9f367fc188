//! Values: of one parameter, of several, of a path, and of the past.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::describing::{Filter, filters};
use super::error::SsmError;
use super::names::{Asked, Selector, check_path, is_under};
use super::store::{Kind, Parameter, ParameterStore, Version};
use super::{Call, Outcome, names, page, page_token, time, via};
use crate::wire::body::Body;

/// `GetParameter`.
pub(super) fn parameter(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    let asked = Asked::of(call.body, call.region, store.account())?;
    let parameter = store.find(call.region, &asked).ok_or_else(SsmError::not_found)?;
    let version = parameter.select(asked.selector)?;
    Ok(json!({"Parameter": answer(call, parameter, version, asked.selector)?}))
}

/// `GetParameters`.
pub(super) fn parameters(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    let mut asked = names(store, call.region, call.body)?;
    // What is asked for twice is answered once.
    let mut seen = HashSet::new();
    asked.retain(|asked| seen.insert(asked.text));
    for asked in asked {
        let parameter = store.find(call.region, &asked);
        let version =
            parameter.and_then(|parameter| Some((parameter, parameter.select(asked.selector).ok()?)));
        match version {
            Some((parameter, version)) => found.push(answer(call, parameter, version, asked.selector)?),
            None => invalid.push(asked.text),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

/// `GetParametersByPath`.
pub(super) fn by_path(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    let (found, token) = page_by_path(store, call.region, call.body)?;
    let found: Vec<Value> = found
        .into_iter()
        .map(|(parameter, version)| answer(call, parameter, version, None))
        .collect::<Result<_, _>>()?;
    let mut answer = json!({"Parameters": found});
    page_token(&mut answer, token);
    Ok(answer)
}

/// Parameters, each in one version, and the token of the next page of them.
pub(super) type Found<'s> = (Vec<(&'s Parameter, &'s Version)>, Option<String>);

/// The parameters that one call of `GetParametersByPath` answers with.
pub(super) fn page_by_path<'s>(
    store: &'s ParameterStore,
    region: &str,
    body: Body<'_>,
) -> Result<Found<'s>, SsmError> {
    const MOST: u16 = 10;
    let path = body.required("Path", 2048)?;
    check_path(path)?;
    let recursive = body.flag("Recursive")?.unwrap_or(false);
    let filters = filters(body, true)?;
    let label = filters.iter().find_map(Filter::label);
    let found = store
        .all(region)
        .filter(|(key, _)| is_under(key, path, recursive))
        .filter_map(|(_, parameter)| {
            let version = match label {
                None => parameter.latest(),
                Some(labels) => parameter
                    .versions
                    .iter()
                    .find(|version| labels.iter().any(|label| version.has(label)))?,
            };
            let accepted = filters.iter().all(|filter| filter.accepts(parameter, version));
            accepted.then_some((parameter, version))
        });
    page(body, MOST, found, |(parameter, _)| {
        parameter.name.trim_start_matches('/').to_owned()
    })
}

/// `GetParameterHistory`.
pub(super) fn history(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    const MOST: u16 = 50;
    let asked = Asked::of(call.body, call.region, store.account())?;
    let parameter = store.find(call.region, &asked).ok_or_else(SsmError::not_found)?;
    let place = |version: &&Version| format!("{:020}", version.number);
    let (versions, token) = page(call.body, MOST, parameter.versions.iter(), place)?;
    let mut listed = Vec::new();
    for version in versions {
        let mut entry = super::describing::described(parameter, version);
        entry["Value"] = json!(value(call, version)?);
        entry["Labels"] = json!(version.labels);
        if let Some(entry) = entry.as_object_mut() {
            // Of a parameter, not of its versions.
            entry.remove("ARN");
        }
        listed.push(entry);
    }
    let mut answer = json!({"Parameters": listed});
    page_token(&mut answer, token);
    Ok(answer)
}

fn answer(
    call: &Call<'_>,
    parameter: &Parameter,
    version: &Version,
    selector: Option<Selector<'_>>,
) -> Outcome {
    let mut answer = json!({
        "Name": parameter.name,
        "Type": version.kind.name(),
        "Value": value(call, version)?,
        "Version": version.number,
        "LastModifiedDate": time(version.modified),
        "ARN": parameter.arn,
        "DataType": version.data_type,
    });
    match selector {
        None => {}
        Some(Selector::Version(number)) => answer["Selector"] = json!(format!(":{number}")),
        Some(Selector::Label(label)) => answer["Selector"] = json!(format!(":{label}")),
    }
    Ok(answer)
}

/// The value as the call may see it: of a `SecureString` the ciphertext, unless it is to be decrypted.
fn value<'v>(call: &Call<'_>, version: &'v Version) -> Result<&'v str, SsmError> {
    if version.kind != Kind::SecureString {
        return Ok(&version.value);
    }
    if !call.body.flag("WithDecryption")?.unwrap_or(false) {
        return Ok(version.ciphertext.as_deref().unwrap_or_default());
    }
    if let Some(key) = &version.key {
        let usable = call.kms.check_usable(via(call.region), key);
        usable.map_err(|error| SsmError::key(&error))?;
    }
    Ok(&version.value)
}
