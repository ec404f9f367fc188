//! What to read when a case did not pass, collected before anything of it is removed.

use std::{collections::BTreeSet, fmt::Write as _, time::Instant};

use jiff::{SignedDuration, Timestamp};

use super::{
    case::Attempt,
    timeline::{self, Entry},
    workload::LiveWorkload,
};
use crate::{
    environment::WindowLog,
    journal::{EventKind, EvidenceCollected},
    kubernetes::{PodView, SECRETS_STORE},
    scenario::model::Evidence,
    verdict::denial::Call,
};

/// Most bytes of one log; of a longer one the end is kept, for it is about how the case ended.
const LONGEST: usize = 512 * 1024;
/// A clock elsewhere may be so much behind.
const SKEW: SignedDuration = SignedDuration::from_secs(1);

/// Collects what the scenario's `catch` names; the timeline in one line comes back. What cannot be had says so in its place:
/// evidence never changes a verdict.
pub(super) async fn collect(attempt: &Attempt<'_>) -> Option<String> {
    let catch = &attempt.case.scenario.catch;
    let wanted = |kind| catch.contains(&kind);
    let nodes = nodes(attempt);
    if wanted(Evidence::Timeline) {
        attempt.world.nodes.settled().await;
    }
    let logs = if wanted(Evidence::Logs) || wanted(Evidence::Timeline) {
        logs(attempt, &nodes).await
    } else {
        Vec::new()
    };
    let mut brief = None;
    for kind in catch {
        match kind {
            Evidence::Timeline => {
                let mut entries = entries(attempt, &logs);
                entries.extend(seen_by_agents(attempt, &nodes));
                brief = timeline::brief(&entries);
                record(attempt, "timeline", timeline::text(entries));
            }
            Evidence::Pods => record(attempt, "pods", objects(attempt, "v1", "Pod").await),
            Evidence::Events => record(attempt, "pod events", events(attempt)),
            Evidence::Classes => {
                let classes = objects(attempt, SECRETS_STORE, "SecretProviderClass").await;
                let statuses = objects(attempt, SECRETS_STORE, "SecretProviderClassPodStatus").await;
                record(
                    attempt,
                    "SecretProviderClasses and pod status",
                    format!("{classes}{statuses}"),
                );
            }
            Evidence::CallLog => record(attempt, "AWS call log", call_log(attempt)),
            Evidence::Logs => {
                for log in &logs {
                    let text = match &log.text {
                        Ok(text) => ending(&timeline::window(text, attempt.since())),
                        Err(because) => format!("{because}\n"),
                    };
                    record(attempt, &log.title, text);
                }
            }
        }
    }
    brief
}

fn record(attempt: &Attempt<'_>, title: &str, text: String) {
    let collected = EvidenceCollected {
        case: attempt.case.plan.case.clone(),
        attempt: attempt.number,
        title: title.to_owned(),
        text,
    };
    attempt.world.record(EventKind::EvidenceCollected(collected));
}

/// What a program of the case's nodes has written, or why it cannot be had.
struct Log {
    /// Such as `driver log of node-1`.
    title: String,
    /// As the timeline calls it.
    source: String,
    text: Result<String, String>,
}

/// The nodes that the case's pods are on.
fn nodes(attempt: &Attempt<'_>) -> Vec<String> {
    let environment = &attempt.world.environment;
    let nodes: BTreeSet<String> = live(attempt)
        .flat_map(|live| live.pods(attempt.world))
        .filter_map(|pod| pod.node)
        .collect();
    let mut nodes: Vec<String> = nodes.into_iter().collect();
    // A pod that came to none, or a load whose pods are nobody's here: it may have been any.
    if nodes.is_empty() {
        nodes.extend(environment.nodes.iter().map(|node| node.name.clone()));
    }
    nodes
}

/// Driver, provider and kubelet of these nodes, since the attempt began.
async fn logs(attempt: &Attempt<'_>, nodes: &[String]) -> Vec<Log> {
    let environment = &attempt.world.environment;
    let mut found = Vec::new();
    let last = attempt.began.elapsed() + SKEW.unsigned_abs();
    if let Some(logs) = &environment.logs {
        match logs.window(nodes, last).await {
            Ok(logs) => found.extend(logs.into_iter().map(of_program)),
            Err(because) => found.push(Log {
                title: "driver and provider log".to_owned(),
                source: String::new(),
                text: Err(because),
            }),
        }
    }
    if let Some(of_nodes) = &environment.node_logs {
        for node in nodes {
            found.push(Log {
                title: format!("kubelet log of {node}"),
                source: format!("kubelet on {node}"),
                text: of_nodes.kubelet(node, attempt.since()).await,
            });
        }
    }
    found
}

fn of_program(log: WindowLog) -> Log {
    let WindowLog {
        name,
        node,
        ended,
        text,
    } = log;
    let before = if ended { " before it was started anew" } else { "" };
    Log {
        title: format!("{name} log of {node}{before}"),
        source: format!("{name} on {node}"),
        text: Ok(text),
    }
}

fn live<'a>(attempt: &'a Attempt<'_>) -> impl Iterator<Item = &'a LiveWorkload> {
    attempt.workloads.values()
}

/// Everything that was seen of the case's pods, and every call of its tenants.
fn entries(attempt: &Attempt<'_>, logs: &[Log]) -> Vec<Entry> {
    let clock = Clock::now();
    let world = attempt.world;
    let mut entries = Vec::new();
    let mut names = Vec::new();
    let last = Last::of(attempt);
    for live in live(attempt) {
        for pod in live.pods(world) {
            let is_last = last.as_ref().is_some_and(|last| last.uid == pod.uid);
            let mut seen = |at: Option<Instant>, what: String, brief: Option<&str>| {
                entries.extend(at.map(|at| Entry {
                    at: clock.of(at),
                    source: "pod".to_owned(),
                    text: format!("{}/{}: {what}", live.namespace, pod.name),
                    brief: brief.filter(|_| is_last).map(str::to_owned),
                }));
            };
            seen(
                Some(pod.seen_at),
                format!("created, uid {}", pod.uid),
                Some("pod created"),
            );
            let node = pod.node.as_deref().unwrap_or("a node");
            seen(pod.scheduled_at, format!("scheduled to {node}"), None);
            seen(pod.ready_at, "Ready".to_owned(), Some("pod Ready"));
            names.extend([pod.uid, pod.name]);
        }
        for event in live.events(world) {
            let is_last = last.as_ref().is_some_and(|last| last.name == event.pod);
            let mut seen = |at: Instant, often: String| {
                entries.push(Entry {
                    at: clock.of(at),
                    source: "event".to_owned(),
                    text: format!(
                        "{}/{}: {} {}{often}: {}",
                        live.namespace, event.pod, event.kind, event.reason, event.message
                    ),
                    brief: (is_last && event.kind == "Warning").then(|| event.reason.clone()),
                });
            };
            seen(event.seen_at, String::new());
            if event.last_seen_at != event.seen_at {
                seen(event.last_seen_at, format!(" x{}", event.count));
            }
        }
    }
    entries.extend(calls(attempt).iter().map(|call| {
        Entry {
            at: call.at,
            source: "AWS".to_owned(),
            text: line(call).trim_end().to_owned(),
            brief: last
                .as_ref()
                .filter(|last| call.role.as_deref() == Some(last.role) && call.at >= clock.of(last.seen_at))
                .map(|_| in_brief(call)),
        }
    }));
    for log in logs {
        let Ok(text) = &log.text else { continue };
        for (at, line) in timeline::lines(text, attempt.since()) {
            // Those of other pods are in the logs themselves.
            if names.iter().any(|name| line.contains(name.as_str())) {
                entries.push(Entry {
                    at,
                    source: log.source.clone(),
                    text: line.trim().to_owned(),
                    brief: last
                        .as_ref()
                        .filter(|last| line.contains(&last.uid) || line.contains(&last.name))
                        .and_then(|_| PUBLISH.iter().find(|(said, _)| line.contains(said)))
                        .map(|(_, call)| (*call).to_owned()),
                });
            }
        }
    }
    entries
}

/// What the agents on these nodes saw since the attempt began: of its own pods, and of the programs that serve them.
fn seen_by_agents(attempt: &Attempt<'_>, nodes: &[String]) -> Vec<Entry> {
    let clock = Clock::now();
    let pods: Vec<(String, PodView)> = live(attempt)
        .flat_map(|live| {
            let pods = live.pods(attempt.world).into_iter();
            pods.map(move |pod| (live.namespace.clone(), pod))
        })
        .collect();
    let last = Last::of(attempt).map(|last| last.uid);
    let seen = attempt.world.nodes.since(attempt.began).into_iter();
    let of_these = seen.filter(|seen| nodes.contains(&seen.saw.node));
    of_these
        .filter_map(|seen| {
            let (text, brief) = match seen.saw.what.pod() {
                Some((uid, _)) => {
                    let (namespace, pod) = pods.iter().find(|(_, pod)| pod.uid == uid)?;
                    let brief = seen.saw.what.brief().filter(|_| last.as_deref() == Some(uid));
                    (format!("{namespace}/{}: {}", pod.name, seen.saw.what), brief)
                }
                None => (seen.saw.what.to_string(), seen.saw.what.brief()),
            };
            Some(Entry {
                at: seen.saw.at.unwrap_or_else(|| clock.of(seen.at)),
                source: format!("agent on {}", seen.saw.node),
                text,
                brief,
            })
        })
        .collect()
}

/// Calls of kubelet's to the driver, as logs name them: of the stand-in, and of real ones.
const PUBLISH: [(&str, &str); 3] = [
    ("node publish volume", "NodePublishVolume"),
    ("NodePublishVolume", "NodePublishVolume"),
    ("NodeUnpublishVolume", "NodeUnpublishVolume"),
];

/// The pod that came last: it is what a timeline of one line is about.
struct Last<'a> {
    uid: String,
    name: String,
    seen_at: Instant,
    /// Whose calls are its.
    role: &'a str,
}

impl<'a> Last<'a> {
    fn of(attempt: &'a Attempt<'_>) -> Option<Self> {
        let pods = live(attempt).flat_map(|live| {
            let pods = live.pods(attempt.world).into_iter();
            pods.map(move |pod| (live.tenant, pod))
        });
        let (tenant, pod) = pods.max_by_key(|(_, pod)| pod.seen_at)?;
        Some(Self {
            uid: pod.uid,
            name: pod.name,
            seen_at: pod.seen_at,
            role: attempt.tenants.get(tenant)?.annotated_role(),
        })
    }
}

/// One call in a word or two.
fn in_brief(call: &Call) -> String {
    let operation = call.action.rsplit(':').next().unwrap_or_default();
    match &call.error {
        None => format!("{operation} ok"),
        Some(error) => format!("{operation} {error}"),
    }
}

/// The two clocks at one moment.
struct Clock {
    instant: Instant,
    timestamp: Timestamp,
}

impl Clock {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            timestamp: Timestamp::now(),
        }
    }

    /// When it was, by the wall clock as it is now.
    fn of(&self, past: Instant) -> Timestamp {
        let ago = SignedDuration::try_from(self.instant.saturating_duration_since(past));
        self.timestamp - ago.unwrap_or_default()
    }
}

impl Attempt<'_> {
    /// When it began, by the wall clock as it is now, with room for other clocks.
    pub(super) fn since(&self) -> Timestamp {
        Clock::now().of(self.began) - SKEW
    }
}

/// The end of a text that is too long.
fn ending(text: &str) -> String {
    let Some(mut from) = text.len().checked_sub(LONGEST) else {
        return text.to_owned();
    };
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("({from} bytes before this are left out)\n{}", &text[from..])
}

/// Objects of the case's workloads as JSON, one after another.
async fn objects(attempt: &Attempt<'_>, api_version: &str, kind: &str) -> String {
    let kubernetes = &attempt.world.environment.kubernetes;
    let mut text = String::new();
    for live in live(attempt) {
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
    for live in live(attempt) {
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
fn calls(attempt: &Attempt<'_>) -> Vec<Call> {
    let roles: Vec<&str> = attempt
        .tenants
        .iter()
        .map(super::world::CaseTenant::role)
        .collect();
    // A token that is worth no role is its ServiceAccount's all the same.
    let subjects: Vec<String> = attempt
        .tenants
        .iter()
        .map(|tenant| format!("system:serviceaccount:{}:default", tenant.name()))
        .collect();
    let log = attempt.world.environment.calls.as_ref();
    let calls = log.map(|log| log.since(attempt.calls_from)).unwrap_or_default();
    let mut calls = calls.into_iter();
    calls
        .by_ref()
        .filter(|call| {
            call.role.as_deref().is_some_and(|role| roles.contains(&role))
                || call
                    .subject
                    .as_ref()
                    .is_some_and(|subject| subjects.contains(subject))
        })
        .collect()
}

fn call_log(attempt: &Attempt<'_>) -> String {
    let Some(log) = &attempt.world.environment.calls else {
        return "this environment has no AWS call log".to_owned();
    };
    let mut text = String::new();
    for call in calls(attempt) {
        let _ = write!(text, "{} {}", call.at.strftime("%H:%M:%S.%3f"), line(&call));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        assert_eq!(ending("short\n"), "short\n");
        let long = format!("{}\u{e9}{}", "x".repeat(9), "y".repeat(LONGEST - 1));
        let kept = ending(&long);
        assert!(
            kept.starts_with("(11 bytes before this are left out)\nyy"),
            "{}",
            &kept[..60]
        );
        assert!(kept.ends_with('y'));
    }

    #[test]
    fn a_moment_has_its_place_on_the_wall_clock() {
        let began = Instant::now();
        let clock = Clock {
            instant: began + std::time::Duration::from_millis(1500),
            timestamp: Timestamp::from_second(10).unwrap_or_default(),
        };
        assert_eq!(clock.of(began).as_millisecond(), 8500);
        let to_come = clock.instant + std::time::Duration::from_secs(1);
        assert_eq!(clock.of(to_come), clock.timestamp);
    }
}
