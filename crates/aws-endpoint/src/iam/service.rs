//! The IAM API over [`IamState`], without HTTP: parameters in, an XML tree or an error out.
//!
//! Imitated: the IAM API reference, version 2010-05-08, and texts recorded from AWS. [`authorisation`]
//! says what a call has to be allowed; the caller asks [`super::evaluate()`] and then calls [`execute`].

mod policies;
mod providers;
mod roles;
mod tags;

use jiff::Timestamp;

use super::error::IamError;
use super::params::{Page, Params};
use super::store::{IamState, Tag};
use super::{Context, params};
use crate::authorisation::Authorisation;
use crate::wire::xml::Element;

/// The namespace of IAM's answers.
pub const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// The children of the result element; `None` for an operation without one.
pub type Answer = Option<Vec<Element>>;

/// Carries out one operation at the time `now`.
///
/// # Errors
/// As AWS; an operation that this service does not have is `InvalidAction`.
pub fn execute(
    state: &mut IamState,
    operation: &str,
    params: &Params,
    now: Timestamp,
) -> Result<Answer, IamError> {
    let known = find(operation)?;
    (known.run)(state, &Call { params, now })
}

/// What `operation` has to be allowed, before it is carried out.
///
/// # Errors
/// `InvalidAction`, and `ValidationError` when the call does not say what it is about: AWS checks
/// parameters first.
pub fn authorisation(state: &IamState, operation: &str, params: &Params) -> Result<Authorisation, IamError> {
    let known = find(operation)?;
    let (resource, mut keys) = known.target.resource(state, params)?;
    let requested = params.tags()?;
    if !requested.is_empty() {
        keys.set_all("aws:TagKeys", requested.iter().map(|tag| tag.key.clone()));
    }
    for tag in requested {
        keys.set(&format!("aws:RequestTag/{}", tag.key), tag.value);
    }
    let removed = params.list("TagKeys");
    if !removed.is_empty() {
        keys.set_all("aws:TagKeys", removed);
    }
    if matches!(operation, "AttachRolePolicy" | "DetachRolePolicy")
        && let Some(arn) = params.optional("PolicyArn")
    {
        keys.set("iam:PolicyARN", arn);
    }
    if let Some(boundary) = params.optional("PermissionsBoundary") {
        keys.set("iam:PermissionsBoundary", boundary);
    }
    Ok(Authorisation {
        keys,
        ..Authorisation::new(format!("iam:{operation}"), resource)
    })
}

/// The operations there are.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// The parameters of a call and its time.
struct Call<'a> {
    params: &'a Params,
    now: Timestamp,
}

type Outcome = Result<Answer, IamError>;

struct Operation {
    name: &'static str,
    target: Target,
    run: fn(&mut IamState, &Call<'_>) -> Outcome,
}

/// What an operation is about, which names the resource it is authorised on.
#[derive(Clone, Copy)]
enum Target {
    NewRole,
    Role,
    Roles,
    NewPolicy,
    Policy,
    Policies,
    NewProvider,
    Provider,
    Providers,
}

const OPERATIONS: &[Operation] = &{
    use Target::{NewPolicy, NewProvider, NewRole, Policies, Policy, Provider, Providers, Role, Roles};

    type Run = fn(&mut IamState, &Call<'_>) -> Outcome;
    const fn operation(name: &'static str, target: Target, run: Run) -> Operation {
        Operation { name, target, run }
    }

    [
        operation("CreatePolicy", NewPolicy, policies::create),
        operation("GetPolicy", Policy, policies::get),
        operation("DeletePolicy", Policy, policies::delete),
        operation("ListPolicies", Policies, policies::list),
        operation("CreatePolicyVersion", Policy, policies::create_version),
        operation("GetPolicyVersion", Policy, policies::get_version),
        operation("ListPolicyVersions", Policy, policies::list_versions),
        operation("DeletePolicyVersion", Policy, policies::delete_version),
        operation("SetDefaultPolicyVersion", Policy, policies::set_default_version),
        operation("ListEntitiesForPolicy", Policy, policies::list_entities),
        operation("TagPolicy", Policy, tags::tag_policy),
        operation("UntagPolicy", Policy, tags::untag_policy),
        operation("ListPolicyTags", Policy, tags::list_policy_tags),
        operation("CreateRole", NewRole, roles::create),
        operation("GetRole", Role, roles::get),
        operation("ListRoles", Roles, roles::list),
        operation("DeleteRole", Role, roles::delete),
        operation("UpdateRole", Role, roles::update),
        operation("UpdateAssumeRolePolicy", Role, roles::update_trust),
        operation("TagRole", Role, tags::tag_role),
        operation("UntagRole", Role, tags::untag_role),
        operation("ListRoleTags", Role, tags::list_role_tags),
        operation("AttachRolePolicy", Role, roles::attach),
        operation("DetachRolePolicy", Role, roles::detach),
        operation("ListAttachedRolePolicies", Role, roles::list_attached),
        operation("PutRolePolicy", Role, roles::put_inline),
        operation("GetRolePolicy", Role, roles::get_inline),
        operation("DeleteRolePolicy", Role, roles::delete_inline),
        operation("ListRolePolicies", Role, roles::list_inline),
        operation("PutRolePermissionsBoundary", Role, roles::put_boundary),
        operation("DeleteRolePermissionsBoundary", Role, roles::delete_boundary),
        operation("CreateOpenIDConnectProvider", NewProvider, providers::create),
        operation("GetOpenIDConnectProvider", Provider, providers::get),
        operation("ListOpenIDConnectProviders", Providers, providers::list),
        operation("DeleteOpenIDConnectProvider", Provider, providers::delete),
        operation(
            "AddClientIDToOpenIDConnectProvider",
            Provider,
            providers::add_client_id,
        ),
        operation(
            "RemoveClientIDFromOpenIDConnectProvider",
            Provider,
            providers::remove_client_id,
        ),
        operation(
            "UpdateOpenIDConnectProviderThumbprint",
            Provider,
            providers::update_thumbprints,
        ),
        operation("TagOpenIDConnectProvider", Provider, tags::tag_provider),
        operation("UntagOpenIDConnectProvider", Provider, tags::untag_provider),
        operation(
            "ListOpenIDConnectProviderTags",
            Provider,
            tags::list_provider_tags,
        ),
    ]
};

fn find(operation: &str) -> Result<&'static Operation, IamError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation);
    known.ok_or_else(|| IamError::unknown_operation(operation))
}

impl Target {
    /// The ARN, and the keys that what is there already gives.
    fn resource(self, state: &IamState, params: &Params) -> Result<(String, Context), IamError> {
        let mut keys = Context::new();
        let account = state.account();
        let resource = match self {
            Self::NewRole => state.role_arn(params.path()?, params.name("RoleName", 64)?),
            Self::Role => {
                let name = params.name("RoleName", 64)?;
                let role = state.role(name);
                if let Some(role) = role {
                    resource_tags(&mut keys, &role.tags);
                    if let Some(boundary) = &role.boundary {
                        keys.set("iam:PermissionsBoundary", boundary.as_str());
                    }
                }
                role.map_or_else(|| state.role_arn("/", name), |role| role.arn.clone())
            }
            Self::Roles => format!("arn:aws:iam::{account}:role{}", params.path_prefix()?),
            Self::NewPolicy => state.policy_arn(params.path()?, params.name("PolicyName", 128)?),
            Self::Policy => {
                let arn = params.required("PolicyArn")?;
                if let Some(policy) = state.policies.get(arn) {
                    resource_tags(&mut keys, &policy.tags);
                }
                arn.to_owned()
            }
            Self::Policies => format!("arn:aws:iam::{account}:policy{}", params.path_prefix()?),
            Self::NewProvider => state.provider_arn(providers::checked_url(params)?),
            Self::Provider => {
                let arn = params.required("OpenIDConnectProviderArn")?;
                if let Some(provider) = state.providers.get(arn) {
                    resource_tags(&mut keys, &provider.tags);
                }
                arn.to_owned()
            }
            Self::Providers => format!("arn:aws:iam::{account}:oidc-provider/*"),
        };
        Ok((resource, keys))
    }
}

fn resource_tags(keys: &mut Context, tags: &[Tag]) {
    for Tag { key, value } in tags {
        keys.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        keys.set(&format!("iam:ResourceTag/{key}"), value.as_str());
    }
}

/// `Tags`, empty or not.
fn tag_list(tags: &[Tag]) -> Element {
    let members = tags
        .iter()
        .map(|Tag { key, value }| vec![Element::text("Key", key), Element::text("Value", value)]);
    Element::list("Tags", members)
}

/// A list's element with what AWS says about its end.
fn paged<T>(page: Page<T>, list: impl FnOnce(Vec<T>) -> Vec<Element>) -> Vec<Element> {
    let Page { items, marker } = page;
    let mut result = list(items);
    result.push(Element::text("IsTruncated", marker.is_some().to_string()));
    result.extend(marker.map(|marker| Element::text("Marker", marker)));
    result
}

/// A time as IAM writes it, in whole seconds.
fn time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).map_or_else(|_| time.to_string(), |whole| whole.to_string())
}

/// A policy document as IAM returns it: percent-encoded as in RFC 3986.
fn url_encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)]));
            encoded.extend(['%', digits[0], digits[1]]);
        }
    }
    encoded
}

/// The size of a document as IAM counts it against a quota: without white space.
fn counted_size(text: &str) -> usize {
    text.chars().filter(|char| !char.is_whitespace()).count()
}

/// The text of a document, within the length that any may have.
fn document<'a>(params: &'a Params, parameter: &str) -> Result<&'a str, IamError> {
    let text = params.required(parameter)?;
    params::check_length(&params::field(parameter), text, 1, 131_072)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
