//! Tags, which roles, policies and providers have alike.

use super::policies::{policy, policy_mut};
use super::providers::{provider, provider_mut};
use super::roles::{TAGS, role, role_mut};
use super::{Call, Outcome, paged, tag_list};
use crate::iam::error::IamError;
use crate::iam::params::Params;
use crate::iam::store::{IamState, Tag};

pub(super) fn tag_role(state: &mut IamState, call: &Call<'_>) -> Outcome {
    tag(
        &mut role_mut(state, call.params)?.tags,
        call.params,
        "TagsPerRole",
    )
}

pub(super) fn tag_policy(state: &mut IamState, call: &Call<'_>) -> Outcome {
    tag(
        &mut policy_mut(state, call.params)?.tags,
        call.params,
        "TagsPerPolicy",
    )
}

pub(super) fn tag_provider(state: &mut IamState, call: &Call<'_>) -> Outcome {
    tag(
        &mut provider_mut(state, call.params)?.tags,
        call.params,
        "TagsPerOpenIdConnectProvider",
    )
}

pub(super) fn untag_role(state: &mut IamState, call: &Call<'_>) -> Outcome {
    untag(&mut role_mut(state, call.params)?.tags, call.params)
}

pub(super) fn untag_policy(state: &mut IamState, call: &Call<'_>) -> Outcome {
    untag(&mut policy_mut(state, call.params)?.tags, call.params)
}

pub(super) fn untag_provider(state: &mut IamState, call: &Call<'_>) -> Outcome {
    untag(&mut provider_mut(state, call.params)?.tags, call.params)
}

pub(super) fn list_role_tags(state: &mut IamState, call: &Call<'_>) -> Outcome {
    list(&role(state, call.params)?.tags, call.params)
}

pub(super) fn list_policy_tags(state: &mut IamState, call: &Call<'_>) -> Outcome {
    list(&policy(state, call.params)?.tags, call.params)
}

pub(super) fn list_provider_tags(state: &mut IamState, call: &Call<'_>) -> Outcome {
    list(&provider(state, call.params)?.tags, call.params)
}

/// Adds tags; one whose key is there already takes its place.
fn tag(tags: &mut Vec<Tag>, params: &Params, quota: &str) -> Outcome {
    let mut updated = tags.clone();
    for new in params.tags()? {
        match updated.iter_mut().find(|tag| tag.has_key(&new.key)) {
            Some(tag) => *tag = new,
            None => updated.push(new),
        }
    }
    if updated.len() > TAGS {
        return Err(IamError::quota(quota, TAGS));
    }
    *tags = updated;
    Ok(None)
}

/// Takes tags away; a key that is not there is no error.
fn untag(tags: &mut Vec<Tag>, params: &Params) -> Outcome {
    for key in params.tag_keys()? {
        tags.retain(|tag| !tag.has_key(key));
    }
    Ok(None)
}

fn list(tags: &[Tag], params: &Params) -> Outcome {
    let mut sorted: Vec<Tag> = tags.to_vec();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let page = params.page(sorted, |tag| tag.key.clone())?;
    Ok(Some(paged(page, |tags| vec![tag_list(&tags)])))
}
