//! Who makes a request, and what is known about it: the policies that apply to the caller, and IAM's
//! global condition keys.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    accept::Connection,
    credentials::Session,
    iam::{
        Context, Decision, IamState, NamedPolicy, PolicySet, Principal, Request, Rules, evaluate,
        store::{Role, RolePolicies},
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
    context: Arc<Context>,
    rules: Rules,
}

/// What a caller wants to do.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) action: &'a str,
    /// As stored.
    pub(crate) resource: &'a str,
    /// The account that owns the resource.
    pub(crate) account: &'a str,
    /// The condition keys of the service.
    pub(crate) keys: Context,
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
        circumstances: Circumstances<'_>,
        rules: Rules,
    ) -> Self {
        let role = role(session, iam);
        let policies = role.and_then(|role| iam.role_policies(&role.name));
        Self {
            session,
            policies: policies.unwrap_or_default(),
            context: Arc::new(caller_context(session, role, circumstances)),
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
        let mut context = wish.keys.clone().over(&self.context);
        context.set("aws:ResourceAccount", wish.account);
        let request = Request {
            principal: &self.session.principal,
            action: wish.action,
            resource: wish.resource,
            resource_account: wish.account,
            context: &context,
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

/// The keys that every request has, signed or not.
pub(crate) fn request_context(circumstances: Circumstances<'_>) -> Context {
    let Circumstances {
        region,
        now,
        connection,
    } = circumstances;
    let mut context = Context::new();
    context.set("aws:CurrentTime", now.to_string());
    context.set("aws:EpochTime", now.as_second().to_string());
    context.set("aws:SecureTransport", connection.secure.to_string());
    context.set("aws:SourceIp", connection.peer.ip().to_string());
    context.set("aws:RequestedRegion", region);
    context.set("aws:ViaAWSService", "false");
    context.set("aws:PrincipalIsAWSService", "false");
    context
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
            format!("{role_id}:{session}")
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

/// The keys of a signed request.
fn caller_context(session: &Session, role: Option<&Role>, circumstances: Circumstances<'_>) -> Context {
    let known = session.context.get_or_init(|| Arc::new(session_context(session)));
    let mut context = request_context(circumstances).over(known);
    for tag in role.into_iter().flat_map(|role| &role.tags) {
        let key = format!("aws:PrincipalTag/{}", tag.key);
        // A session's own tags stand before those of its role.
        if known.values(&key).is_none() {
            context.set(&key, tag.value.as_str());
        }
    }
    context
}

/// The keys that a session gives to all of its requests.
fn session_context(session: &Session) -> Context {
    let mut context = Context::new();
    if let Some(account) = session.principal.account() {
        context.set("aws:PrincipalAccount", account);
    }
    context.set("aws:userid", user_id(&session.principal));
    // For a session the key names the role, not the session.
    let (arn, kind) = match &session.principal {
        Principal::AssumedRole { role_arn, .. } => (role_arn.clone(), "AssumedRole"),
        Principal::User { arn, .. } => (arn.clone(), "User"),
        other => (other.arn(), "Account"),
    };
    context.set("aws:PrincipalArn", arn);
    context.set("aws:PrincipalType", kind);
    if let Some(provider) = &session.provider {
        context.set("aws:FederatedProvider", provider.as_str());
    }
    if let Some(issued) = session.issued {
        context.set("aws:TokenIssueTime", issued.to_string());
    }
    for tag in &session.labels.tags {
        context.set(&format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
    }
    if let Some(identity) = &session.labels.source_identity {
        context.set("aws:SourceIdentity", identity.as_str());
    }
    context
}
