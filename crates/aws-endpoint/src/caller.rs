//! Who makes a request, and what is known about it: the policies that apply to the caller, and IAM's
//! global condition keys.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::{
    accept::Connection,
    credentials::Session,
    iam::{
        Context, Decision, Facts, IamState, NamedPolicy, PolicySet, Principal, Request, Rules,
        context::folded,
        evaluate,
        store::{Role, RolePolicies, Tag},
    },
    kms::DefaultKeys,
};

/// Where, when and over what a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) region: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) connection: Connection,
}

/// The caller of one request.
pub(crate) struct Caller<'a> {
    session: &'a Session,
    policies: RolePolicies,
    /// The tags of its role.
    tags: Vec<Tag>,
    circumstances: Circumstances<'a>,
    rules: Rules,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) action: &'a str,
    /// As stored.
    pub(crate) resource: &'a str,
    /// The account that owns the resource.
    pub(crate) account: &'a str,
    /// The condition keys of the service.
    pub(crate) keys: &'a Context,
    /// The condition key, in lower case, whose value is the resource.
    pub(crate) resource_key: Option<&'static str>,
    /// The policy on the resource.
    pub(crate) resource_policy: Option<&'a NamedPolicy>,
    /// The trust policy, when the resource is a role to assume.
    pub(crate) trust: Option<&'a NamedPolicy>,
}

impl<'a> Caller<'a> {
    /// The caller `session` with the policies that its role has now.
    pub(crate) fn new(
        session: &'a Session,
        iam: &IamState,
        circumstances: Circumstances<'a>,
        rules: Rules,
    ) -> Self {
        let role = role(session, iam);
        let policies = role.and_then(|role| iam.role_policies(&role.name));
        Self {
            session,
            policies: policies.unwrap_or_default(),
            tags: role.map(|role| role.tags.clone()).unwrap_or_default(),
            circumstances,
            rules,
        }
    }

    /// What is to be decided about default keys: nothing, unless a policy denies a use of some key.
    pub(crate) fn default_keys(&self) -> DefaultKeys {
        let session = self.session.policies.as_deref().unwrap_or_default();
        let RolePolicies { identity, boundary } = &self.policies;
        let mut policies = identity.iter().chain(boundary).chain(session);
        if policies.any(|named| named.policy.denies_one_of(&DefaultKeys::USES)) {
            DefaultKeys::Decided
        } else {
            DefaultKeys::Granted
        }
    }

    /// Decides by every policy that applies.
    pub(crate) fn decide(&self, wish: &Wish<'_>) -> Decision {
        let request = Request {
            principal: &self.session.principal,
            action: wish.action,
            resource: wish.resource,
            resource_account: wish.account,
            context: &Known { caller: self, wish },
        };
        let policies = PolicySet {
            identity: &self.policies.identity,
            resource: wish.resource_policy,
            trust: wish.trust,
            boundary: self.policies.boundary.as_ref(),
            session: self.session.policies.as_deref(),
        };
        evaluate(&request, &policies, self.rules)
    }
}

/// Everything that is known of a wish: of what it is about, how it came, and who has it.
struct Known<'a> {
    caller: &'a Caller<'a>,
    wish: &'a Wish<'a>,
}

impl Facts for Known<'_> {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        if key == "aws:resourceaccount" {
            return one(self.wish.account);
        }
        if self.wish.resource_key == Some(key) {
            return one(self.wish.resource);
        }
        let Caller {
            session,
            tags,
            circumstances,
            ..
        } = self.caller;
        self.wish
            .keys
            .values_of(key)
            .or_else(|| circumstances.values_of(key))
            .or_else(|| session.values_of(key))
            // A session's own tags stand before those of its role.
            .or_else(|| principal_tag(tags, key))
    }
}

/// The keys that every request has, signed or not.
impl Facts for Circumstances<'_> {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        one(match key {
            "aws:currenttime" => self.now.to_string(),
            "aws:epochtime" => self.now.as_second().to_string(),
            "aws:securetransport" => self.connection.secure.to_string(),
            "aws:sourceip" => self.connection.peer.ip().to_string(),
            "aws:requestedregion" => self.region.to_owned(),
            "aws:viaawsservice" | "aws:principalisawsservice" => "false".to_owned(),
            _ => return None,
        })
    }
}

/// The keys that a session gives to all of its requests.
impl Facts for Session {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        one(match key {
            "aws:principalaccount" => self.principal.account()?.to_owned(),
            "aws:userid" => user_id(&self.principal),
            // For a session the key names the role, not the session.
            "aws:principalarn" => match &self.principal {
                Principal::AssumedRole { role_arn, .. } => role_arn.clone(),
                other => other.arn(),
            },
            "aws:principaltype" => match self.principal {
                Principal::AssumedRole { .. } => "AssumedRole".to_owned(),
                Principal::User { .. } => "User".to_owned(),
                _ => "Account".to_owned(),
            },
            "aws:federatedprovider" => self.provider.as_ref()?.arn.clone(),
            "aws:tokenissuetime" => self.issued?.to_string(),
            "aws:sourceidentity" => self.labels.source_identity.clone()?,
            _ => return principal_tag(&self.labels.tags, key),
        })
    }
}

fn principal_tag<'a>(tags: &[Tag], key: &str) -> Option<Cow<'a, [String]>> {
    let name = key.strip_prefix("aws:principaltag/")?;
    let tag = tags.iter().find(|tag| folded(&tag.key) == name)?;
    one(tag.value.as_str())
}

#[expect(clippy::unnecessary_wraps, reason = "what a key has, which may be nothing")]
fn one<'a>(value: impl Into<String>) -> Option<Cow<'a, [String]>> {
    Some(Cow::Owned(vec![value.into()]))
}

/// What AWS calls a principal's user id.
pub(crate) fn user_id(principal: &Principal) -> String {
    match principal {
        Principal::Root { account } => account.clone(),
        Principal::User { id, .. } => id.clone(),
        Principal::AssumedRole {
            role_id, session_arn, ..
        } => {
            let session = session_arn.rsplit('/').next().unwrap_or_default();
            [role_id, ":", session].concat()
        }
        Principal::Federated { .. } | Principal::Service { .. } => principal.arn(),
    }
}

/// Why something is denied, with the statement that came closest to allowing it.
pub(crate) fn why(decision: &Decision, action: &str) -> String {
    let because = decision.reason.because(action).unwrap_or_default();
    match &decision.near_miss {
        Some(near) => format!("{because}; {near}"),
        None => because,
    }
}

/// The role of a session. One that was made anew under the same name is another role.
fn role<'i>(session: &Session, iam: &'i IamState) -> Option<&'i Role> {
    let Principal::AssumedRole { role_id, .. } = &session.principal else {
        return None;
    };
    iam.role(session.role.as_deref()?)
        .filter(|role| role.id == *role_id)
}
