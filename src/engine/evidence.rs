//! What to read when a case did not pass, collected before anything of it is removed.

use std::fmt::Write as _;

use super::case::Attempt;
use crate::{
    journal::{EventKind, EvidenceCollected},
    kubernetes::SECRETS_STORE,
    scenario::model::Evidence,
    verdict::denial::Call,
};

/// Collects what the scenario's `catch` names. What cannot be had says so in its place: evidence
/// never changes a verdict.
pub(super) async fn collect(attempt: &Attempt<'_>) {
    for kind in &attempt.case.scenario.catch {
        let (title, text) = match kind {
            Evidence::Pods => ("pods", objects(attempt, "v1", "Pod").await),
            Evidence::Events => ("pod events", events(attempt)),
            Evidence::Classes => (
                "SecretProviderClasses and pod status",
                format!(
                    "{}{}",
                    objects(attempt, SECRETS_STORE, "SecretProviderClass").await,
                    objects(attempt, SECRETS_STORE, "SecretProviderClassPodStatus").await
                ),
            ),
            Evidence::CallLog => ("AWS call log", calls(attempt)),
        };
        attempt
            .world
            .record(EventKind::EvidenceCollected(EvidenceCollected {
                case: attempt.case.plan.case.clone(),
                attempt: attempt.number,
                title: title.to_owned(),
                text,
            }));
    }
}

/// Objects of the case's workloads as JSON, one after another.
async fn objects(attempt: &Attempt<'_>, api_version: &str, kind: &str) -> String {
    let kubernetes = &attempt.world.environment.kubernetes;
    let mut text = String::new();
    for live in attempt.workloads.values() {
        match kubernetes
            .list(api_version, kind, Some(&live.namespace), None)
            .await
        {
            Ok(found) => {
                for object in found {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    if name == live.class || name.starts_with(&live.name) {
                        text.push_str(&serde_json::to_string_pretty(&object).unwrap_or_default());
                        text.push('\n');
                    }
                }
            }
            Err(error) => {
                let _ = writeln!(text, "cannot {error}");
            }
        }
    }
    text
}

fn events(attempt: &Attempt<'_>) -> String {
    let mut text = String::new();
    for live in attempt.workloads.values() {
        for event in live.events(attempt.world) {
            let _ = writeln!(
                text,
                "{}/{} {} {} x{}: {}",
                live.namespace, event.pod, event.kind, event.reason, event.count, event.message
            );
        }
    }
    text
}

/// Calls of the case's tenants in its window.
fn calls(attempt: &Attempt<'_>) -> String {
    let Some(log) = &attempt.world.environment.calls else {
        return "this environment has no AWS call log".to_owned();
    };
    let roles: Vec<&str> = attempt
        .tenants
        .iter()
        .map(super::world::CaseTenant::role)
        .collect();
    let mut text: String = log
        .since(attempt.calls_from)
        .iter()
        .filter(|call| call.role.as_deref().is_some_and(|role| roles.contains(&role)))
        .map(line)
        .collect();
    let forgotten = log.forgotten();
    if forgotten > 0 {
        let _ = writeln!(
            text,
            "({forgotten} older calls of the run are no longer in the log)"
        );
    }
    text
}

/// One call in one line.
pub(super) fn line(call: &Call) -> String {
    let outcome = match (&call.error, &call.statement) {
        (Some(error), _) => format!("{error}: {}", call.reason.as_deref().unwrap_or("no reason given")),
        (None, Some(statement)) => format!("allowed by {statement}"),
        (None, None) => "allowed".to_owned(),
    };
    format!(
        "{} on {} by {}: {outcome}\n",
        call.action,
        call.asked.as_deref().unwrap_or("-"),
        call.principal
            .as_deref()
            .or(call.subject.as_deref())
            .unwrap_or("nobody"),
    )
}
