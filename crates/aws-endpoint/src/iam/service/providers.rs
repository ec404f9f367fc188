//! Identity providers (OIDC).
//!
//! AWS advises against a port in a provider's URL; here one is accepted, because a local issuer has one.
//! AWS fetches the thumbprint of a provider that comes without; here the list stays empty.

use std::sync::Arc;

use super::roles::TAGS;
use super::{Call, Outcome, tag_list, time};
use crate::iam::error::{IamError, IamErrorKind};
use crate::iam::params::{Params, check_length, invalid};
use crate::iam::store::{IamState, OidcProvider};
use crate::wire::xml::Element;

const CLIENT_IDS: usize = 100;
const THUMBPRINTS: usize = 5;

pub(super) fn create(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let params = call.params;
    let url = checked_url(params)?;
    let mut client_ids: Vec<String> = Vec::new();
    for id in params.list("ClientIDList") {
        check_length("clientIDList", id, 1, 255)?;
        if !client_ids.iter().any(|known| known == id) {
            client_ids.push(id.to_owned());
        }
    }
    check_client_ids(client_ids.len())?;
    let thumbprints = thumbprints(params)?;
    let tags = params.tags()?;
    if tags.len() > TAGS {
        return Err(IamError::quota("TagsPerOpenIdConnectProvider", TAGS));
    }
    let arn = state.provider_arn(url);
    if state.providers.contains_key(&arn) {
        let message = format!("Provider with url https://{url} already exists.");
        return Err(IamError::new(IamErrorKind::EntityAlreadyExists, message));
    }
    let mut result = vec![Element::text("OpenIDConnectProviderArn", &arn)];
    if !tags.is_empty() {
        result.push(tag_list(&tags));
    }
    let provider = OidcProvider {
        arn: arn.clone(),
        url: url.to_owned(),
        client_ids,
        thumbprints,
        created: call.now,
        tags,
    };
    state.providers.insert(arn, Arc::new(provider));
    Ok(Some(result))
}

pub(super) fn get(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let provider = provider(state, call.params)?;
    let mut result = vec![
        Element::text("Url", &provider.url),
        Element::texts("ClientIDList", &provider.client_ids),
        Element::texts("ThumbprintList", &provider.thumbprints),
        Element::text("CreateDate", time(provider.created)),
    ];
    if !provider.tags.is_empty() {
        result.push(tag_list(&provider.tags));
    }
    Ok(Some(result))
}

#[expect(clippy::unnecessary_wraps, reason = "every operation has this signature")]
pub(super) fn list(state: &mut IamState, _: &Call<'_>) -> Outcome {
    let members = state.providers.keys().map(|arn| vec![Element::text("Arn", arn)]);
    Ok(Some(vec![Element::list("OpenIDConnectProviderList", members)]))
}

/// "It does not fail or return an error if you call the operation for a provider that does not exist" (API
/// reference).
pub(super) fn delete(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let arn = call.params.required("OpenIDConnectProviderArn")?;
    state.providers.remove(arn);
    Ok(None)
}

pub(super) fn add_client_id(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let id = call.params.required("ClientID")?;
    check_length("clientID", id, 1, 255)?;
    let provider = provider_mut(state, call.params)?;
    if !provider.client_ids.iter().any(|known| known == id) {
        check_client_ids(provider.client_ids.len() + 1)?;
        provider.client_ids.push(id.to_owned());
    }
    Ok(None)
}

pub(super) fn remove_client_id(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let id = call.params.required("ClientID")?;
    provider_mut(state, call.params)?
        .client_ids
        .retain(|known| known != id);
    Ok(None)
}

pub(super) fn update_thumbprints(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let thumbprints = thumbprints(call.params)?;
    provider_mut(state, call.params)?.thumbprints = thumbprints;
    Ok(None)
}

pub(super) fn provider<'a>(state: &'a IamState, params: &Params) -> Result<&'a OidcProvider, IamError> {
    let arn = params.required("OpenIDConnectProviderArn")?;
    let provider = state.providers.get(arn);
    provider
        .map(|provider| &**provider)
        .ok_or_else(|| no_such_provider(arn))
}

pub(super) fn provider_mut<'a>(
    state: &'a mut IamState,
    params: &Params,
) -> Result<&'a mut OidcProvider, IamError> {
    let arn = params.required("OpenIDConnectProviderArn")?;
    let provider = state.providers.get_mut(arn);
    provider.map(Arc::make_mut).ok_or_else(|| no_such_provider(arn))
}

/// The URL of a provider to be made, without its scheme.
pub(super) fn checked_url(params: &Params) -> Result<&str, IamError> {
    let url = params.required("Url")?;
    check_length("url", url, 1, 255)?;
    let rest = url.strip_prefix("https://").filter(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        let plain = rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#@*\\\"<>".contains(&byte));
        plain && !host.is_empty() && !host.starts_with(':')
    });
    rest.ok_or_else(|| {
        IamError::new(
            IamErrorKind::ValidationError,
            "Invalid Open ID Connect Provider URL",
        )
    })
}

fn no_such_provider(arn: &str) -> IamError {
    IamError::no_such(format!("OpenIDConnect Provider not found for arn {arn}"))
}

fn check_client_ids(count: usize) -> Result<(), IamError> {
    if count > CLIENT_IDS {
        return Err(IamError::quota("ClientIdsPerOpenIdConnectProvider", CLIENT_IDS));
    }
    Ok(())
}

fn thumbprints(params: &Params) -> Result<Vec<String>, IamError> {
    let thumbprints = params.list("ThumbprintList");
    if thumbprints.len() > THUMBPRINTS {
        // AWS's words: five are allowed all the same.
        return Err(invalid(format!(
            "Thumbprint list must contain fewer than {THUMBPRINTS} entries."
        )));
    }
    for thumbprint in &thumbprints {
        check_length("thumbprintList", thumbprint, 40, 40)?;
        if !thumbprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("Thumbprint must be a hex-encoded SHA-1 hash value."));
        }
    }
    Ok(thumbprints.into_iter().map(ToOwned::to_owned).collect())
}
