//! Managed policies and their versions.

use std::collections::BTreeMap;

use super::roles::TAGS;
use super::{Call, Outcome, counted_size, document, paged, tag_list, time, url_encoded};
use crate::iam::aws_managed;
use crate::iam::error::{IamError, IamErrorKind};
use crate::iam::params::{Params, invalid, pattern};
use crate::iam::policy::Document;
use crate::iam::store::{IamState, ManagedPolicy, PolicyVersion, Role, StoredDocument};
use crate::wire::xml::Element;

/// Characters of a managed policy.
const POLICY_SIZE: usize = 6_144;
/// Versions kept of a managed policy.
const VERSIONS: usize = 5;

pub(super) fn create(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let params = call.params;
    let name = params.name("PolicyName", 128)?;
    let path = params.path()?;
    let document = policy_document(params, name)?;
    let description = params.description()?.map(ToOwned::to_owned);
    let tags = params.tags()?;
    if tags.len() > TAGS {
        return Err(IamError::quota("TagsPerPolicy", TAGS));
    }
    if state
        .policies
        .values()
        .any(|known| known.name.eq_ignore_ascii_case(name))
    {
        let message = format!("A policy called {name} already exists. Duplicate names are not allowed.");
        return Err(IamError::new(IamErrorKind::EntityAlreadyExists, message));
    }
    let policy = ManagedPolicy {
        name: name.to_owned(),
        path: path.to_owned(),
        id: state.fresh_id("ANPA"),
        arn: state.policy_arn(path, name),
        created: call.now,
        updated: call.now,
        description,
        versions: BTreeMap::from([(
            1,
            PolicyVersion {
                document,
                created: call.now,
            },
        )]),
        default_version: 1,
        next_version: 2,
        tags,
    };
    let arn = policy.arn.clone();
    state.policies.insert(arn.clone(), policy);
    let policy = &state.policies[&arn];
    let mut children = summary(state, policy);
    children.extend((!policy.tags.is_empty()).then(|| tag_list(&policy.tags)));
    Ok(Some(vec![Element::node("Policy", children)]))
}

pub(super) fn get(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy(state, call.params)?;
    let mut children = summary(state, policy);
    children.extend(
        policy
            .description
            .as_ref()
            .map(|text| Element::text("Description", text)),
    );
    // Empty or not, other than in the answer to `CreatePolicy` (moto's test of it was verified against AWS).
    children.push(tag_list(&policy.tags));
    Ok(Some(vec![Element::node("Policy", children)]))
}

pub(super) fn delete(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy_mut(state, call.params)?;
    let (arn, versions) = (policy.arn.clone(), policy.versions.len());
    if state.attached_to(&arn).next().is_some() || state.bounded_by(&arn).next().is_some() {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    if versions > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's \
             versions. The default version is deleted with the policy.",
        ));
    }
    state.policies.remove(&arn);
    Ok(None)
}

pub(super) fn list(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let params = call.params;
    let prefix = params.path_prefix()?;
    let (local, of_aws) = match params.optional("Scope").unwrap_or("All") {
        "All" => (true, true),
        "Local" => (true, false),
        "AWS" => (false, true),
        other => return Err(not_one_of("scope", other, "[Local, All, AWS]")),
    };
    let (attached_use, boundary_use) = match params.optional("PolicyUsageFilter") {
        None => (true, true),
        Some("PermissionsPolicy") => (true, false),
        Some("PermissionsBoundary") => (false, true),
        Some(other) => {
            return Err(not_one_of(
                "policyUsageFilter",
                other,
                "[PermissionsBoundary, PermissionsPolicy]",
            ));
        }
    };
    let only_used = params.flag("OnlyAttached") || params.optional("PolicyUsageFilter").is_some();
    let used = |policy: &ManagedPolicy| {
        (attached_use && state.attached_to(&policy.arn).next().is_some())
            || (boundary_use && state.bounded_by(&policy.arn).next().is_some())
    };
    let own = state.policies.values().filter(|_| local);
    let mut policies: Vec<&ManagedPolicy> = own.chain(aws_managed::all().filter(|_| of_aws)).collect();
    policies.retain(|policy| policy.path.starts_with(prefix) && (!only_used || used(policy)));
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let page = params.page(policies, |policy| policy.name.clone())?;
    Ok(Some(paged(page, |policies| {
        vec![Element::list(
            "Policies",
            policies.into_iter().map(|policy| summary(state, policy)),
        )]
    })))
}

pub(super) fn create_version(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let name = policy(state, call.params)?.name.clone();
    let document = policy_document(call.params, &name)?;
    let policy = policy_mut(state, call.params)?;
    if policy.versions.len() >= VERSIONS {
        return Err(IamError::new(
            IamErrorKind::LimitExceeded,
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an \
             existing version.",
        ));
    }
    let number = policy.next_version;
    policy.next_version += 1;
    policy.updated = call.now;
    policy.versions.insert(
        number,
        PolicyVersion {
            document,
            created: call.now,
        },
    );
    if call.params.flag("SetAsDefault") {
        policy.default_version = number;
    }
    Ok(Some(vec![Element::node(
        "PolicyVersion",
        version_summary(policy, number),
    )]))
}

pub(super) fn get_version(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy(state, call.params)?;
    let number = existing_version(policy, call.params)?;
    let mut children = vec![Element::text(
        "Document",
        url_encoded(&policy.versions[&number].document.text),
    )];
    children.extend(version_summary(policy, number));
    Ok(Some(vec![Element::node("PolicyVersion", children)]))
}

pub(super) fn list_versions(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy(state, call.params)?;
    // The newest comes first.
    let numbers = policy.versions.keys().rev().copied();
    let page = call
        .params
        .page(numbers, |number| format!("{:010}", u32::MAX - number))?;
    Ok(Some(paged(page, |numbers| {
        vec![Element::list(
            "Versions",
            numbers.into_iter().map(|number| version_summary(policy, number)),
        )]
    })))
}

pub(super) fn delete_version(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy_mut(state, call.params)?;
    let number = existing_version(policy, call.params)?;
    if number == policy.default_version {
        return Err(conflict("Cannot delete the default version of a policy."));
    }
    policy.versions.remove(&number);
    policy.updated = call.now;
    Ok(None)
}

pub(super) fn set_default_version(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let policy = policy_mut(state, call.params)?;
    policy.default_version = existing_version(policy, call.params)?;
    policy.updated = call.now;
    Ok(None)
}

pub(super) fn list_entities(state: &mut IamState, call: &Call<'_>) -> Outcome {
    let params = call.params;
    let arn = policy(state, params)?.arn.clone();
    let prefix = params.path_prefix()?;
    let roles = match params.optional("EntityFilter") {
        None | Some("Role") => true,
        Some("User" | "Group" | "LocalManagedPolicy" | "AWSManagedPolicy") => false,
        Some(other) => {
            let known = "[User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]";
            return Err(not_one_of("entityFilter", other, known));
        }
    };
    let mut entities: Vec<&Role> = match params.optional("PolicyUsageFilter") {
        Some("PermissionsBoundary") => state.bounded_by(&arn).collect(),
        _ => state.attached_to(&arn).collect(),
    };
    entities.retain(|role| roles && role.path.starts_with(prefix));
    let page = params.page(entities, |role| role.name.clone())?;
    Ok(Some(paged(page, |roles| {
        let members = roles.into_iter().map(|role| {
            vec![
                Element::text("RoleName", &role.name),
                Element::text("RoleId", &role.id),
            ]
        });
        vec![
            Element::list("PolicyGroups", []),
            Element::list("PolicyUsers", []),
            Element::list("PolicyRoles", members),
        ]
    })))
}

pub(super) fn policy<'a>(state: &'a IamState, params: &Params) -> Result<&'a ManagedPolicy, IamError> {
    let arn = checked_arn(params)?;
    state.any_policy(arn).ok_or_else(|| no_such_policy(arn))
}

pub(super) fn policy_mut<'a>(
    state: &'a mut IamState,
    params: &Params,
) -> Result<&'a mut ManagedPolicy, IamError> {
    let arn = checked_arn(params)?;
    if aws_managed::find(arn).is_some() {
        // Whose policies allow everything, too. Unverified.
        return Err(IamError::new(
            IamErrorKind::AccessDenied,
            format!("Policy {arn} is managed by AWS and cannot be changed."),
        ));
    }
    state.policies.get_mut(arn).ok_or_else(|| no_such_policy(arn))
}

fn checked_arn(params: &Params) -> Result<&str, IamError> {
    let arn = params.required("PolicyArn")?;
    let segments: Vec<&str> = arn.splitn(6, ':').collect();
    match segments[..] {
        ["arn", _, "iam", "", _, resource] if resource.starts_with("policy/") => Ok(arn),
        _ => Err(invalid(format!("ARN {arn} is not valid."))),
    }
}

fn no_such_policy(arn: &str) -> IamError {
    IamError::no_such(format!("Policy {arn} was not found."))
}

fn conflict(message: &str) -> IamError {
    IamError::new(IamErrorKind::DeleteConflict, message)
}

fn not_one_of(field: &str, value: &str, known: &str) -> IamError {
    IamError::constraint(
        field,
        Some(value),
        &format!("Member must satisfy enum value set: {known}"),
    )
}

fn existing_version(policy: &ManagedPolicy, params: &Params) -> Result<u32, IamError> {
    let id = params.required("VersionId")?;
    let digits = id
        .strip_prefix('v')
        .filter(|digits| !digits.starts_with(['0', '+']));
    let number = digits.and_then(|digits| digits.parse::<u32>().ok());
    let number = number.ok_or_else(|| pattern("versionId", id, r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?"))?;
    if policy.versions.contains_key(&number) {
        return Ok(number);
    }
    let message = format!(
        "Policy {} version {id} does not exist or is not attachable.",
        policy.arn
    );
    Err(IamError::no_such(message))
}

/// A managed policy is of the newer version; only others may still be of the older one.
fn policy_document(params: &Params, name: &str) -> Result<StoredDocument, IamError> {
    let text = document(params, "PolicyDocument")?;
    let stored = StoredDocument::parse(name, text, Document::Identity)?;
    if stored.named.policy.is_of_2008() {
        let message = "Policy document must be version 2012-10-17 or greater.";
        return Err(IamError::new(IamErrorKind::MalformedPolicyDocument, message));
    }
    if counted_size(text) > POLICY_SIZE {
        return Err(IamError::quota("PolicySize", POLICY_SIZE));
    }
    Ok(stored)
}

/// What every answer tells about a policy; the description comes with `GetPolicy` only.
fn summary(state: &IamState, policy: &ManagedPolicy) -> Vec<Element> {
    vec![
        Element::text("PolicyName", &policy.name),
        Element::text("PolicyId", &policy.id),
        Element::text("Arn", &policy.arn),
        Element::text("Path", &policy.path),
        Element::text("DefaultVersionId", version_id(policy.default_version)),
        Element::text(
            "AttachmentCount",
            state.attached_to(&policy.arn).count().to_string(),
        ),
        Element::text(
            "PermissionsBoundaryUsageCount",
            state.bounded_by(&policy.arn).count().to_string(),
        ),
        Element::text("IsAttachable", "true"),
        Element::text("CreateDate", time(policy.created)),
        Element::text("UpdateDate", time(policy.updated)),
    ]
}

fn version_summary(policy: &ManagedPolicy, number: u32) -> Vec<Element> {
    vec![
        Element::text("VersionId", version_id(number)),
        Element::text("IsDefaultVersion", (number == policy.default_version).to_string()),
        Element::text("CreateDate", time(policy.versions[&number].created)),
    ]
}

fn version_id(number: u32) -> String {
    format!("v{number}")
}
