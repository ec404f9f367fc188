//! `AssumeRole`: a session of a role that trusts the caller.

use std::sync::atomic::Ordering;

use super::{
    Call, Trace,
    session::{Longest, Wanted, check_name, tag_keys, tags},
};
use crate::{
    answer::{Outcome, Refusal},
    caller::{Caller, Wish, why},
    credentials::{Labels, Session},
    iam::{Context, Principal, store::Role},
};

/// What AWS says to a root user, whatever the trust policy of the role says (reports of 2018 and
/// 2022: `Netflix/security_monkey#1026`, `kubernetes/kubectl#1243`).
const ROOT: &str = "Roles may not be assumed by root accounts.";

/// Gives temporary credentials for a role that trusts the caller.
///
/// Tags and a source identity have to be allowed for themselves, by who asks and by the role (the pages on
/// session tags and on source identity of the IAM user guide). Transitive tags of the calling session go on, and
/// cannot be given another value.
pub(crate) fn assume_role(call: Call<'_>, caller: &Session, trace: &mut Trace) -> Result<Outcome, Refusal> {
    let params = call.params;
    let wanted = Wanted::read(params, trace)?;
    let root = matches!(caller.principal, Principal::Root { .. });
    if root && !call.state.root_assumes_roles.load(Ordering::Relaxed) {
        return Err(Refusal::new(403, "AccessDenied", ROOT).denial(ROOT));
    }
    let labels = labels(call, caller)?;
    let refused = |action: &str, reason: String| {
        let (caller, role) = (caller.principal.arn(), wanted.role_arn);
        let message = format!("User: {caller} is not authorized to perform: {action} on resource: {role}");
        Refusal::new(403, "AccessDenied", message).denial(reason)
    };
    let (role, caller_now) = {
        let world = call.state.world_as_is();
        let role = world.iam.role_by_arn(wanted.role_arn).cloned();
        let rules = call.state.rules();
        (role, Caller::new(caller, &world.iam, call.circumstances, rules))
    };
    let role =
        role.ok_or_else(|| refused("sts:AssumeRole", format!("there is no role {}", wanted.role_arn)))?;
    let keys = keys(call, &wanted, &role, &labels);
    let actions = [
        Some("sts:AssumeRole"),
        (!labels.tags.is_empty()).then_some("sts:TagSession"),
        params.optional("SourceIdentity").map(|_| "sts:SetSourceIdentity"),
    ];
    for action in actions.into_iter().flatten() {
        let decision = caller_now.decide(&Wish {
            action,
            resource: &role.arn,
            account: &call.state.account,
            keys: &keys,
            resource_key: None,
            resource_policy: None,
            trust: Some(&role.trust.named),
        });
        trace.statement.clone_from(&decision.statement);
        if !decision.allowed() {
            return Err(refused(action, why(&decision, action)));
        }
    }
    let longest = if caller.role.is_some() {
        Longest::Chained
    } else {
        Longest::OfRole(role.max_session_duration)
    };
    Ok(Outcome::Xml(Some(
        wanted.issue(call, &role, longest, None, labels)?,
    )))
}

/// What the session is to be marked with: what the caller's session hands on, and what the call says.
fn labels(call: Call<'_>, caller: &Session) -> Result<Labels, Refusal> {
    let (mut tags, mut transitive) = tags(call.params)?;
    for inherited in caller.labels.handed_on() {
        if tags.iter().any(|tag| tag.has_key(&inherited.key)) {
            return Err(Refusal::new(
                400,
                "InvalidParameterValue",
                "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag \
                 key from the calling session.",
            ));
        }
        tags.push(inherited.clone());
        transitive.push(inherited.key.clone());
    }
    let given = call.params.optional("SourceIdentity");
    if let Some(given) = given {
        check_name("sourceIdentity", given)?;
    }
    let source_identity = match (&caller.labels.source_identity, given) {
        (Some(before), Some(given)) if before != given => {
            let message = "Source Identity cannot be changed once it is set";
            return Err(Refusal::new(403, "AccessDenied", message).denial(message));
        }
        (Some(before), _) => Some(before.clone()),
        (None, given) => given.map(str::to_owned),
    };
    Ok(Labels {
        tags,
        transitive,
        source_identity,
    })
}

fn keys(call: Call<'_>, wanted: &Wanted<'_>, role: &Role, labels: &Labels) -> Context {
    let mut keys = Context::new();
    keys.set("sts:RoleSessionName", wanted.session_name);
    if let Some(id) = call.params.optional("ExternalId") {
        keys.set("sts:ExternalId", id);
    }
    if let Some(identity) = &labels.source_identity {
        keys.set("sts:SourceIdentity", identity.as_str());
    }
    for tag in &role.tags {
        keys.set(&format!("aws:ResourceTag/{}", tag.key), tag.value.as_str());
        keys.set(&format!("iam:ResourceTag/{}", tag.key), tag.value.as_str());
    }
    tag_keys(&mut keys, &labels.tags, &labels.transitive);
    keys
}
