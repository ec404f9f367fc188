//! The reason of a refusal where nobody has a call log: an account tells nobody who asked it for what, but the provider writes what
//! it was told, and the event of an old provider has it too.
//!
//! What AWS says of a refused call names the role that asked, and the provider says for which secret and region it asked. What
//! STS says of a role that it does not hand out names nobody: which role the pod asked for is on a line of its own then, that
//! the provider writes before it asks (`Role ARN for <namespace>:<account> is <role>`).

use super::{Claim, ExpectedReason, Finding, Seen, expected, failure, own_part};
use crate::journal::Failure;

/// The reason, or what is wrong with it.
pub(super) fn reason(claim: &Claim, seen: &Seen) -> Result<Finding, Failure> {
    let ExpectedReason::Aws {
        error,
        action,
        says,
        role,
        named,
        region,
        subject,
        ..
    } = &claim.reason
    else {
        return Err(failure("the reason is no answer of AWS's"));
    };
    let mut parts = vec![error.as_str(), action.as_str()];
    parts.extend(says.as_deref());
    // The same answer of another region would be no proof.
    let region = region.as_ref().map(|region| format!("{region}: "));
    parts.extend(region.as_deref());
    if subject.is_none() {
        parts.push(role);
    }
    let is_it = |text: &&String| {
        let names = named.is_empty() || named.iter().any(|named| text.contains(named.as_str()));
        names && parts.iter().all(|part| text.contains(part))
    };
    let texts = || seen.provider_log.iter().chain(&seen.refusals);
    let asked_for = subject.as_deref().map(|subject| role_line(subject, role));
    let asked = match &asked_for {
        Some((head, tail)) => texts().any(|text| text.contains(head) && text.trim_end().ends_with(tail)),
        None => true,
    };
    if asked && let Some(text) = texts().find(is_it) {
        return Ok(match subject {
            Some(subject) => Finding {
                brief: format!("STS refused: sub is {subject}"),
                detail: format!("STS refused {role}: {text}"),
            },
            None => Finding {
                brief: format!("denied as {}: {error}", own_part(role, &claim.tenant)),
                detail: format!("denied as {role}: {text}"),
            },
        });
    }
    let nearest = texts().rev().find(|text| text.contains(error.as_str()));
    let mut wrong = failure(format!(
        "{} mounting {} was refused, but nothing says why",
        claim.tenant, claim.target
    ))
    .fact(
        "expected",
        format!(
            "{} in the provider's log or the pod's event",
            expected([error, action, role], says.as_deref())
        ),
    );
    if let Some(nearest) = nearest {
        wrong = wrong.fact("log", nearest.clone());
    }
    Err(wrong.fact("event", seen.refusals.last().cloned().unwrap_or_default()))
}

/// How the line begins and ends by which the provider tells whose role it asks for.
fn role_line(subject: &str, role: &str) -> (String, String) {
    let account = subject.strip_prefix("system:serviceaccount:").unwrap_or(subject);
    (format!("Role ARN for {account} is "), format!("role/{role}"))
}
