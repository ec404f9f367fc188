//! Roles, what they trust and what is attached to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Call, Outcome, document, paged, tag_list, time, url_encoded};
use crate::iam::error::{IamError, IamErrorKind};
use crate::iam::params::{Params, check_length};
use crate::iam::policy::Document;
use crate::iam::service::counted_size;
use crate::iam::store::{IamState, Role, StoredDocument};
use crate::wire::xml::Element;

/// Characters of a trust policy, the quota AWS calls the ACL size.
const TRUST_SIZE: usize = 2_048;
/// Characters of all inline policies of a role.
const INLINE_SIZE: usize = 10_240;
/// Managed policies attached to a role.
const ATTACHED: usize = 10;
/// Tags of a role, policy or provider.
pub(super) const TAGS: usize = 50;

pub(super) fn create(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let params = call.params;
    let name = params.name("RoleName", 64)?;
    let path = params.path()?;
    let trust = trust_policy(params, "AssumeRolePolicyDocument", name)?;
    let description = params.description()?.map(ToOwned::to_owned);
    let max_session_duration = max_session_duration(params)?.unwrap_or(3_600);
    let tags = params.tags()?;
    if tags.len() > TAGS {
        return Err(IamError::quota("TagsPerRole", TAGS));
    }
    let boundary = params
        .optional("PermissionsBoundary")
        .map(|arn| existing_policy(state, arn))
        .transpose()?;
    if state.roles.keys().any(|known| known.eq_ignore_ascii_case(name)) {
        let message = format!("Role with name {name} already exists.");
        return Err(IamError::new(IamErrorKind::EntityAlreadyExists, message));
    }
    let role = Role {
        name: name.to_owned(),
        path: path.to_owned(),
        id: state.fresh_id("AROA"),
        arn: state.role_arn(path, name),
        created: call.now,
        description,
        max_session_duration,
        trust,
        tags,
        attached: Vec::new(),
        inline: BTreeMap::new(),
        boundary,
    };
    let answer = vec![Element::node("Role", described(&role))];
    state.roles.insert(name.to_owned(), Arc::new(role));
    Ok(Some(answer))
}

pub(super) fn get(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let mut children = described(role(state, call.params)?);
    // Empty for a role that was not used yet; AWS needs up to four hours to know of a use.
    children.push(Element::node("RoleLastUsed", Vec::new()));
    Ok(Some(vec![Element::node("Role", children)]))
}

pub(super) fn list(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let prefix = call.params.path_prefix()?;
    let roles = state.roles.values().map(|role| &**role);
    let roles = roles.filter(|role| role.path.starts_with(prefix));
    let page = call.params.page(roles, |role| role.name.clone())?;
    Ok(Some(paged(page, |roles| {
        vec![Element::list("Roles", roles.into_iter().map(summary))]
    })))
}

pub(super) fn delete(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let role = role(state, call.params)?;
    let conflict = |message: &str| Err(IamError::new(IamErrorKind::DeleteConflict, message));
    if !role.attached.is_empty() {
        return conflict("Cannot delete entity, must detach all policies first.");
    }
    if !role.inline.is_empty() {
        return conflict("Cannot delete entity, must delete policies first.");
    }
    let name = role.name.clone();
    state.roles.remove(&name);
    Ok(None)
}

pub(super) fn update(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let description = call.params.description()?.map(ToOwned::to_owned);
    let duration = max_session_duration(call.params)?;
    let role = role_mut(state, call.params)?;
    if description.is_some() {
        role.description = description;
    }
    role.max_session_duration = duration.unwrap_or(role.max_session_duration);
    Ok(Some(Vec::new()))
}

pub(super) fn update_trust(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let name = call.params.name("RoleName", 64)?;
    let trust = trust_policy(call.params, "PolicyDocument", name)?;
    role_mut(state, call.params)?.trust = trust;
    Ok(None)
}

pub(super) fn attach(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let arn = policy_arn(call.params)?;
    role(state, call.params)?;
    let arn = existing_policy(state, arn)?;
    let role = role_mut(state, call.params)?;
    if role.attached.contains(&arn) {
        return Ok(None);
    }
    if role.attached.len() >= ATTACHED {
        return Err(IamError::quota("PoliciesPerRole", ATTACHED));
    }
    role.attached.push(arn);
    Ok(None)
}

pub(super) fn detach(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let arn = policy_arn(call.params)?;
    let role = role_mut(state, call.params)?;
    let at = role.attached.iter().position(|attached| attached == arn);
    let at = at.ok_or_else(|| IamError::no_such(format!("Policy {arn} was not found.")))?;
    role.attached.remove(at);
    Ok(None)
}

pub(super) fn list_attached(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let prefix = call.params.path_prefix()?;
    let role = role(state, call.params)?;
    let mut policies: Vec<_> = role
        .attached
        .iter()
        .filter_map(|arn| state.any_policy(arn))
        .collect();
    policies.retain(|policy| policy.path.starts_with(prefix));
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let page = call.params.page(policies, |policy| policy.name.clone())?;
    Ok(Some(paged(page, |policies| {
        let members = policies.into_iter().map(|policy| {
            vec![
                Element::text("PolicyName", &policy.name),
                Element::text("PolicyArn", &policy.arn),
            ]
        });
        vec![Element::list("AttachedPolicies", members)]
    })))
}

pub(super) fn put_inline(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let name = call.params.name("PolicyName", 128)?;
    let text = document(call.params, "PolicyDocument")?;
    let role = role_mut(state, call.params)?;
    let stored = StoredDocument::parse(name, text, Document::Identity)?;
    let others = role.inline.iter().filter(|(other, _)| *other != name);
    let size = others.map(|(_, other)| counted_size(&other.text)).sum::<usize>() + counted_size(text);
    if size > INLINE_SIZE {
        let message = format!(
            "Maximum policy size of {INLINE_SIZE} bytes exceeded for role {}",
            role.name
        );
        return Err(IamError::new(IamErrorKind::LimitExceeded, message));
    }
    role.inline.insert(name.to_owned(), stored);
    Ok(None)
}

pub(super) fn get_inline(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let name = call.params.name("PolicyName", 128)?;
    let role = role(state, call.params)?;
    let stored = role.inline.get(name).ok_or_else(|| no_such_inline(name))?;
    Ok(Some(vec![
        Element::text("RoleName", &role.name),
        Element::text("PolicyName", name),
        Element::text("PolicyDocument", url_encoded(&stored.text)),
    ]))
}

pub(super) fn delete_inline(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let name = call.params.name("PolicyName", 128)?;
    let removed = role_mut(state, call.params)?.inline.remove(name);
    removed.map(|_| None).ok_or_else(|| no_such_inline(name))
}

pub(super) fn list_inline(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let names = role(state, call.params)?.inline.keys();
    let page = call.params.page(names, |name| (*name).clone())?;
    Ok(Some(paged(page, |names| {
        vec![Element::texts("PolicyNames", names)]
    })))
}

pub(super) fn put_boundary(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let arn = call.params.required("PermissionsBoundary")?;
    role(state, call.params)?;
    let arn = existing_policy(state, arn)?;
    role_mut(state, call.params)?.boundary = Some(arn);
    Ok(None)
}

pub(super) fn delete_boundary(state: &mut IamState, call: &Call<'_>) -> Outcome {
    role_mut(state, call.params)?.boundary = None;
    Ok(None)
}

pub(super) fn role<'a>(state: &'a IamState, params: &Params) -> Result<&'a Role, IamError> {
    let name = params.name("RoleName", 64)?;
    state.role(name).ok_or_else(|| no_such_role(name))
}

pub(super) fn role_mut<'a>(state: &'a mut IamState, params: &Params) -> Result<&'a mut Role, IamError> {
    let name = params.name("RoleName", 64)?;
    let role = state.roles.get_mut(name).ok_or_else(|| no_such_role(name))?;
    // A session that is being made of it goes on with what it was.
    Ok(Arc::make_mut(role))
}

fn no_such_role(name: &str) -> IamError {
    IamError::no_such(format!("The role with name {name} cannot be found."))
}

fn no_such_inline(name: &str) -> IamError {
    IamError::no_such(format!("The role policy with name {name} cannot be found."))
}

fn policy_arn(params: &Params) -> Result<&str, IamError> {
    let arn = params.required("PolicyArn")?;
    check_length("policyArn", arn, 20, 2_048)?;
    Ok(arn)
}

fn existing_policy(state: &IamState, arn: &str) -> Result<String, IamError> {
    let known = state.any_policy(arn).map(|policy| policy.arn.clone());
    known.ok_or_else(|| IamError::no_such(format!("Policy {arn} does not exist or is not attachable.")))
}

fn max_session_duration(params: &Params) -> Result<Option<u32>, IamError> {
    params.number("MaxSessionDuration", 3_600, 43_200)
}

fn trust_policy(params: &Params, parameter: &str, role: &str) -> Result<StoredDocument, IamError> {
    let text = document(params, parameter)?;
    let stored = StoredDocument::parse(&format!("the trust policy of {role}"), text, Document::Trust)?;
    if counted_size(text) > TRUST_SIZE {
        return Err(IamError::quota("ACLSizePerRole", TRUST_SIZE));
    }
    Ok(stored)
}

fn described(role: &Role) -> Vec<Element> {
    let mut children = summary(role);
    if let Some(arn) = &role.boundary {
        let boundary = vec![
            Element::text("PermissionsBoundaryType", "PermissionsBoundaryPolicy"),
            Element::text("PermissionsBoundaryArn", arn),
        ];
        children.push(Element::node("PermissionsBoundary", boundary));
    }
    if !role.tags.is_empty() {
        children.push(tag_list(&role.tags));
    }
    children
}

/// What a list tells about a role: neither tags nor boundary.
fn summary(role: &Role) -> Vec<Element> {
    let mut children = vec![
        Element::text("Path", &role.path),
        Element::text("RoleName", &role.name),
        Element::text("RoleId", &role.id),
        Element::text("Arn", &role.arn),
        Element::text("CreateDate", time(role.created)),
        Element::text("AssumeRolePolicyDocument", url_encoded(&role.trust.text)),
        Element::text("MaxSessionDuration", role.max_session_duration.to_string()),
    ];
    children.extend(
        role.description
            .as_ref()
            .map(|text| Element::text("Description", text)),
    );
    children
}
