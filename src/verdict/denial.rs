//! The denial proof: a refusal counts only with its control, its reason and its hold.
//!
//! A refused mount by itself proves nothing: a missing driver refuses too. So all four parts are
//! needed, and each that is missing says so in its own words:
//!
//! 1. a positive control of the same shape passed in the same case;
//! 2. the mount failed;
//! 3. the reason names the expected error, principal and secret;
//! 4. no file ever appeared while it was watched, for at least the stated hold.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;

use super::{Finding, Judgement, failure};
use crate::journal::Failure;

/// What must be refused, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Tenant that tries, for messages.
    pub tenant: String,
    /// What it tries to read, for messages: `team-red/secret`.
    pub target: String,
    /// The same as its class names it. A line of a log that names none of it is about another mount.
    pub asks: Vec<String>,
    /// The reason that must be seen.
    pub reason: ExpectedReason,
    /// How long nothing may appear.
    pub hold: Duration,
}

/// The reason that must be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedReason {
    /// A call that AWS refused.
    Aws {
        /// Error code.
        error: String,
        /// `service:Operation`.
        action: String,
        /// What AWS's reason must contain, where it matters which policy refused.
        says: Option<String>,
        /// Name of the role that asked, or was asked for.
        role: String,
        /// The resource as the class names it: the refused call must show exactly this, so that no
        /// other case's refusal is taken for this one's. Empty where the action is not about a
        /// secret (STS).
        asked: Vec<String>,
        /// Name and ARN of the secret: an allowed call for any of them is a breach.
        secret: Vec<String>,
        /// The region that must have refused, where another one may let the caller in.
        region: Option<String>,
        /// The web identity that must have been refused (`system:serviceaccount:<ns>:<sa>`), for STS.
        subject: Option<String>,
    },
    /// EKS Pod Identity's exchange of the pod's token for a session of whatever role its `ServiceAccount` is associated with,
    /// refused: there may be no role at all.
    Exchange {
        /// Error code.
        error: String,
        /// `eks-auth:AssumeRoleForPodIdentity`.
        action: String,
        /// What AWS's reason must contain, where it matters why.
        says: Option<String>,
        /// The pod's `ServiceAccount` (`system:serviceaccount:<ns>:<sa>`): a session given to it is a breach.
        subject: String,
        /// Name and ARN of the secret.
        secret: Vec<String>,
    },
    /// Text of a pod event; no call for the secret may have been made.
    Event {
        /// What the event's message must contain.
        contains: String,
        /// Name and ARN of the secret.
        secret: Vec<String>,
        /// Roles whose calls count as the tenant's.
        role: String,
    },
}

/// What was seen while it was tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The control: its name, and whether it passed in this case.
    pub control: Option<(String, bool)>,
    /// Messages of the pod's `FailedMount` events, in order.
    pub refusals: Vec<String>,
    /// The pod became Ready.
    pub ready: bool,
    /// Files that appeared at any moment: name, and whose value each held where that is known.
    pub files: Vec<(String, Option<String>)>,
    /// AWS calls in the window; absent where the environment has no call log.
    pub calls: Option<Vec<Call>>,
    /// Lines of the provider's log in the window, where it can be read.
    pub provider_log: Vec<String>,
    /// How long it was watched after the first refusal.
    pub held: Duration,
    /// The environment failed while it was tried; whatever else was seen proves nothing.
    pub trouble: Option<String>,
}

/// One AWS call, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it arrived.
    pub at: Timestamp,
    /// `secretsmanager:GetSecretValue`.
    pub action: String,
    /// The region it was sent to.
    pub region: String,
    /// Role name of the caller, or of the role asked for.
    pub role: Option<String>,
    /// ARN of the caller.
    pub principal: Option<String>,
    /// Web identity subject.
    pub subject: Option<String>,
    /// The resource as given.
    pub asked: Option<String>,
    /// The resource's ARN.
    pub resource: Option<String>,
    /// It was let through.
    pub allowed: bool,
    /// Error code.
    pub error: Option<String>,
    /// The statement that let it through or refused it.
    pub statement: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// Judges the proof.
#[must_use]
pub fn judge(claim: &Claim, seen: &Seen) -> Judgement {
    if let Some(breach) = breach(claim, seen) {
        return breach;
    }
    if let Some(trouble) = &seen.trouble {
        return Judgement::Unknown(
            failure(format!(
                "{} reading {}: the environment failed while it was tried",
                claim.tenant, claim.target
            ))
            .fact("trouble", trouble.clone()),
        );
    }
    match &seen.control {
        Some((_, true)) => {}
        Some((control, false)) => {
            return Judgement::Unknown(
                failure(format!("no proof: the positive control `{control}` did not pass")).fact(
                    "help",
                    "a denial means nothing where the same mount would not work either",
                ),
            );
        }
        None => return Judgement::Unknown(failure("no proof: there is no positive control")),
    }
    if seen.refusals.is_empty() {
        return Judgement::Broken(
            failure(format!(
                "{} reading {} was neither refused nor mounted in time",
                claim.tenant, claim.target
            ))
            .fact(
                "help",
                "no FailedMount event was seen: is the driver registered, is the pod scheduled?",
            ),
        );
    }
    let reason = match reason(claim, seen) {
        Ok(reason) => reason,
        Err(wrong) => return Judgement::Broken(wrong),
    };
    if seen.held < claim.hold {
        return Judgement::Unknown(failure(format!(
            "no proof: watched for {:.1} s of a hold of {:.1} s",
            seen.held.as_secs_f64(),
            claim.hold.as_secs_f64()
        )));
    }
    let proven = |reason: &str| {
        format!(
            "{reason}; held {:.0} s; control positive",
            claim.hold.as_secs_f64()
        )
    };
    Judgement::Holds(Finding {
        brief: proven(&reason.brief),
        detail: proven(&reason.detail),
    })
}

/// A file, a ready pod or an allowed call: the tenant reached what it must not reach.
///
/// A pod that is ready without a file that we saw counts too, though a driver that mounts nothing does that: its program
/// ran as if it had been let in, and what it found before we looked nobody knows. In doubt isolation failed.
fn breach(claim: &Claim, seen: &Seen) -> Option<Judgement> {
    let stolen = seen.files.iter().find(|(_, owner)| owner.is_some());
    let allowed = allowed_call(claim, seen);
    let headline = if let Some((file, Some(owner))) = stolen {
        format!(
            "{} read {}: the mount succeeded and {file} holds the value of {owner}",
            claim.tenant, claim.target
        )
    } else if let Some((file, _)) = seen.files.first() {
        format!(
            "{} mounting {} was to be refused, but {file} appeared",
            claim.tenant, claim.target
        )
    } else if seen.ready {
        format!(
            "{} mounting {} was to be refused, but the pod became Ready",
            claim.tenant, claim.target
        )
    } else if allowed.is_some() {
        format!(
            "{} was let through to {} by AWS, although no file appeared",
            claim.tenant, claim.target
        )
    } else {
        return None;
    };
    let mut broken = failure(headline).breach();
    if let Some(call) = allowed {
        broken = broken
            .fact("who", call.principal.clone().unwrap_or_default())
            .fact(
                "asked",
                format!("{} on {}", call.action, call.asked.as_deref().unwrap_or("-")),
            )
            .fact(
                "allowed",
                format!(
                    "by {}",
                    call.statement.as_deref().unwrap_or("an unnamed statement")
                ),
            );
    }
    if let Some(call) = elsewhere(claim, seen) {
        broken = broken.fact(
            "elsewhere",
            format!(
                "{} on {} was allowed in {}",
                call.action,
                call.asked.as_deref().unwrap_or("-"),
                call.region
            ),
        );
    }
    if let Some(refusal) = seen.refusals.last() {
        broken = broken.fact("event", refusal.clone());
    }
    Some(Judgement::Broken(broken))
}

/// A call of the tenant's for the secret that another region than the one that must refuse let through.
fn elsewhere<'a>(claim: &Claim, seen: &'a Seen) -> Option<&'a Call> {
    let ExpectedReason::Aws {
        region: Some(region),
        role,
        secret,
        ..
    } = &claim.reason
    else {
        return None;
    };
    let mut calls = seen.calls.iter().flatten();
    calls.find(|call| {
        call.allowed && call.region != *region && call.role.as_ref() == Some(role) && names(call, secret)
    })
}

/// A call of the tenant's for the secret that was let through.
fn allowed_call<'a>(claim: &Claim, seen: &'a Seen) -> Option<&'a Call> {
    let calls = seen.calls.as_deref()?;
    match &claim.reason {
        ExpectedReason::Aws {
            action,
            role,
            secret,
            subject,
            region,
            ..
        } => calls.iter().find(|call| {
            call.allowed
                && call.action == *action
                && sent_to(call, region.as_deref())
                && about(call, secret)
                && match subject {
                    Some(subject) => {
                        call.subject.as_ref() == Some(subject) && call.role.as_ref() == Some(role)
                    }
                    None => call.role.as_ref() == Some(role),
                }
        }),
        ExpectedReason::Exchange { action, subject, .. } => calls
            .iter()
            .find(|call| call.allowed && call.action == *action && call.subject.as_ref() == Some(subject)),
        ExpectedReason::Event { secret, role, .. } => calls
            .iter()
            .find(|call| call.allowed && call.role.as_ref() == Some(role) && names(call, secret)),
    }
}

/// The reason, or what is wrong with it.
fn reason(claim: &Claim, seen: &Seen) -> Result<Finding, Failure> {
    match &claim.reason {
        ExpectedReason::Event { contains, .. } => {
            if seen
                .refusals
                .iter()
                .any(|message| message.contains(contains.as_str()))
            {
                return Ok(format!("refused before AWS was asked: {contains}").into());
            }
            Err(failure(format!(
                "{} mounting {} was refused for another reason",
                claim.tenant, claim.target
            ))
            .fact("expected", contains.clone())
            .fact("event", seen.refusals.last().cloned().unwrap_or_default()))
        }
        ExpectedReason::Exchange {
            error,
            action,
            says,
            subject,
            ..
        } => exchange_reason(claim, seen, [error, action, subject], says.as_deref()),
        ExpectedReason::Aws {
            error,
            action,
            says,
            role,
            asked,
            region,
            subject,
            ..
        } => {
            let says = says.as_deref();
            let Some(calls) = &seen.calls else {
                let named = [error.as_str(), action, role];
                return reason_in_text(claim, seen, named, (says, region.as_deref()), subject.is_some());
            };
            let denied = calls.iter().rev().find(|call| {
                !call.allowed
                    && call.action == *action
                    && sent_to(call, region.as_deref())
                    && call.error.as_deref() == Some(error)
                    && call.role.as_ref() == Some(role)
                    && says
                        .is_none_or(|says| call.reason.as_ref().is_some_and(|reason| reason.contains(says)))
                    && (asked.is_empty() || call.asked.as_ref().is_some_and(|name| asked.contains(name)))
                    && subject
                        .as_deref()
                        .is_none_or(|expected| call.subject.as_deref() == Some(expected))
            });
            if let Some(call) = denied {
                let why = call.reason.clone().unwrap_or_else(|| error.clone());
                return Ok(match subject {
                    Some(subject) => Finding {
                        brief: format!("STS refused: sub is {subject}"),
                        detail: format!("STS refused {role}: {why}"),
                    },
                    None => Finding {
                        brief: format!(
                            "denied as {}: {}",
                            own_part(role, &claim.tenant),
                            first_reason(&why, action)
                        ),
                        detail: format!("denied as {role}: {why}"),
                    },
                });
            }
            let nearest = calls.iter().rev().find(|call| call.error.is_some());
            Err(failure(format!(
                "{} mounting {} was refused for another reason",
                claim.tenant, claim.target
            ))
            .fact("expected", expected([error, action, role], says))
            .fact(
                "call",
                nearest.map_or_else(|| "no refused AWS call was seen".to_owned(), describe),
            )
            .fact("event", seen.refusals.last().cloned().unwrap_or_default()))
        }
    }
}

/// The refusal of an exchange. The agent passes on what EKS said, and since provider 2.0 the pod's own event has it all, for
/// the SDK knows it for the caller's fault: so the event tells where there is no call log.
fn exchange_reason(
    claim: &Claim,
    seen: &Seen,
    [error, action, subject]: [&str; 3],
    says: Option<&str>,
) -> Result<Finding, Failure> {
    let why = if let Some(calls) = &seen.calls {
        calls
            .iter()
            .rev()
            .find(|call| {
                !call.allowed
                    && call.action == action
                    && call.error.as_deref() == Some(error)
                    && call.subject.as_deref() == Some(subject)
                    && says
                        .is_none_or(|says| call.reason.as_ref().is_some_and(|reason| reason.contains(says)))
            })
            .map(|call| call.reason.clone().unwrap_or_else(|| error.to_owned()))
    } else {
        // In round brackets, as the agent writes it.
        let code = format!("({error})");
        seen.refusals
            .iter()
            .find(|text| text.contains(&code) && says.is_none_or(|says| text.contains(says)))
            .cloned()
    };
    if let Some(why) = why {
        return Ok(Finding {
            brief: format!("EKS gave {subject} no role: {error}"),
            detail: format!("EKS gave {subject} no role: {why}"),
        });
    }
    let nearest = seen
        .calls
        .iter()
        .flatten()
        .rev()
        .find(|call| call.error.is_some());
    Err(failure(format!(
        "{} mounting {} was refused for another reason",
        claim.tenant, claim.target
    ))
    .fact("expected", expected([error, action, subject], says))
    .fact(
        "call",
        nearest.map_or_else(|| "no refused AWS call was seen".to_owned(), describe),
    )
    .fact("event", seen.refusals.last().cloned().unwrap_or_default()))
}

/// Without a call log the provider's log, or the event of an old provider, must name what is asked for, error, action and role,
/// and say what AWS must say; the provider names the region in front, where that one must have refused. STS does not name the role that it does not give: the provider does, in a line before.
fn reason_in_text(
    claim: &Claim,
    seen: &Seen,
    named: [&str; 3],
    (says, region): (Option<&str>, Option<&str>),
    of_sts: bool,
) -> Result<Finding, Failure> {
    let [error, action, role] = named;
    let mut texts = seen.provider_log.iter().chain(&seen.refusals);
    let asked_for_role = seen.provider_log.iter().any(|line| {
        line.contains(&format!("Role ARN for {}:", claim.tenant)) && line.ends_with(&format!("role/{role}"))
    });
    let region = region.map(|region| format!("{region}: "));
    let fits = |text: &str| {
        [error, action]
            .into_iter()
            .chain(says)
            .chain(region.as_deref())
            .all(|part| text.contains(part))
            && (text.contains(role) || (of_sts && asked_for_role))
            && (claim.asks.is_empty() || claim.asks.iter().any(|name| text.contains(name.as_str())))
    };
    if let Some(text) = texts.find(|text| fits(text)) {
        return Ok(Finding {
            brief: format!("denied as {}: {error}", own_part(role, &claim.tenant)),
            detail: format!("denied as {role}: {text}"),
        });
    }
    Err(failure(format!(
        "{} mounting {} was refused, but nothing says why",
        claim.tenant, claim.target
    ))
    .fact(
        "expected",
        format!(
            "{} in the provider's log or the pod's event",
            expected(named, says)
        ),
    )
    .fact("event", seen.refusals.last().cloned().unwrap_or_default()))
}

/// The reason that must be seen, in words.
fn expected([error, action, role]: [&str; 3], says: Option<&str>) -> String {
    let says = says.map(|says| format!(", \"{says}\"")).unwrap_or_default();
    format!("{error} on {action} by {role}{says}")
}

/// A role's name from its tenant's on: what stands before is the same for the whole run.
fn own_part(role: &str, tenant: &str) -> String {
    match role.find(tenant) {
        Some(at) if at > 0 => format!("..{}", &role[at..]),
        _ => role.to_owned(),
    }
}

/// The first part of a refusal's reason, without the action, which the scenario names.
fn first_reason(why: &str, action: &str) -> String {
    let first = why.split(';').next().unwrap_or_default().trim();
    let first = first.strip_prefix("because ").unwrap_or(first);
    first.replace(&format!("the {action} action"), "it")
}

fn sent_to(call: &Call, region: Option<&str>) -> bool {
    region.is_none_or(|region| call.region == region)
}

/// Whether the call is about the secret; every call is where there is none to be about.
fn about(call: &Call, secret: &[String]) -> bool {
    secret.is_empty() || names(call, secret)
}

fn names(call: &Call, secret: &[String]) -> bool {
    [&call.asked, &call.resource]
        .into_iter()
        .flatten()
        .any(|name| secret.contains(name))
}

fn describe(call: &Call) -> String {
    format!(
        "{} {} by {} on {}: {}",
        call.action,
        call.error.as_deref().unwrap_or("ok"),
        call.principal
            .as_deref()
            .or(call.subject.as_deref())
            .unwrap_or("nobody"),
        call.asked.as_deref().unwrap_or("-"),
        call.reason.as_deref().unwrap_or("no reason given"),
    )
}
