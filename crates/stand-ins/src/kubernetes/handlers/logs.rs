//! `pods/log`: what a container has written, read off whoever has it.

use std::fmt::Write as _;

use axum::body::Body;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{App, answer::Answer, asked::Asked};
use crate::kubernetes::{
    failure::{Failure, Violation},
    object,
    request::Query,
};

/// What the containers of a cluster have written: what its kubelets would be asked for.
pub trait ContainerLogs: Send + Sync {
    /// The lines of a container of a pod on a node, oldest first; of the one before this one, if `previous`. Empty where
    /// nobody knows it.
    fn written(&self, node: &str, pod_uid: &str, container: &str, previous: bool) -> Vec<WrittenLine>;
}

/// A line that a container has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenLine {
    /// When.
    pub at: Timestamp,
    /// Without its end.
    pub text: String,
}

impl App {
    pub(super) fn log(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let stored = self.cluster.get(&asked.resource, &asked.key())?;
        let pod = stored.value();
        let wanted = Wanted::read(&asked.query, &asked.place.name)?;
        let container = chosen(&pod, asked.query.text("container"))?;
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Ok(text(StatusCode::NO_CONTENT, String::new()));
        }
        let previous = asked.query.flag("previous");
        has_log(&pod, container, previous)?;
        let lines = self
            .logs
            .as_ref()
            .map(|logs| logs.written(node, &stored.uid, container, previous))
            .unwrap_or_default();
        Ok(text(StatusCode::OK, wanted.of(&lines, Timestamp::now())))
    }
}

fn text(status: StatusCode, text: String) -> Answer {
    Answer {
        status,
        content_type: "text/plain",
        body: Body::from(text),
    }
}

/// The container that is asked for, or the only one.
fn chosen<'a>(pod: &'a Value, asked: &'a str) -> Result<&'a str, Failure> {
    let name = object::meta(pod, "name");
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&str> = containers
        .filter_map(|container| container["name"].as_str())
        .collect();
    match (asked, names.as_slice()) {
        ("", [only]) => Ok(only),
        ("", _) => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            names.join(" ")
        ))),
        (asked, names) if names.contains(&asked) => Ok(asked),
        (asked, _) => Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        ))),
    }
}

/// What kubelet says of a container that has not begun, or has not ended yet.
fn has_log(pod: &Value, container: &str, previous: bool) -> Result<(), Failure> {
    let name = object::meta(pod, "name");
    let statuses = pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten();
    let status = statuses.into_iter().find(|status| status["name"] == container);
    let status = status.unwrap_or(&Value::Null);
    if previous {
        if status["lastState"]["terminated"].is_null() {
            return Err(Failure::bad_request(format!(
                "previous terminated container {container:?} in pod {name:?} not found"
            )));
        }
        return Ok(());
    }
    let (state, last) = (&status["state"], &status["lastState"]);
    if state["running"].is_object() || state["terminated"].is_object() || last["terminated"].is_object() {
        return Ok(());
    }
    let reason = state["waiting"]["reason"].as_str().unwrap_or("ContainerCreating");
    Err(Failure::bad_request(format!(
        "container {container:?} in pod {name:?} is waiting to start: {reason}"
    )))
}

/// Which lines are asked for, and how they are to be.
#[derive(Debug, Default)]
struct Wanted {
    since_seconds: Option<u64>,
    since: Option<Timestamp>,
    last: Option<u64>,
    bytes: Option<u64>,
    stamped: bool,
}

impl Wanted {
    fn read(query: &Query, pod: &str) -> Result<Self, Failure> {
        let invalid = |violation: Violation| Failure::invalid("", "PodLogOptions", pod, &[violation]);
        let since =
            match query.text("sinceTime") {
                "" => None,
                time => Some(time.parse().map_err(|error| {
                    Failure::bad_request(format!("sinceTime: {time:?} is no time: {error}"))
                })?),
            };
        let wanted = Self {
            since_seconds: query.number("sinceSeconds")?,
            since,
            last: query.number("tailLines")?,
            bytes: query.number("limitBytes")?,
            stamped: query.flag("timestamps"),
        };
        let positive = "must be greater than 0";
        if wanted.since_seconds == Some(0) {
            return Err(invalid(Violation::invalid("sinceSeconds", &0.into(), positive)));
        }
        if wanted.bytes == Some(0) {
            return Err(invalid(Violation::invalid("limitBytes", &0.into(), positive)));
        }
        if wanted.since_seconds.is_some() && wanted.since.is_some() {
            let both = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(invalid(Violation::forbidden("", both)));
        }
        Ok(wanted)
    }

    fn of(&self, lines: &[WrittenLine], now: Timestamp) -> String {
        let seconds = self.since_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        let since = seconds
            .and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok())
            .or(self.since);
        let fresh = lines
            .iter()
            .filter(|line| since.is_none_or(|since| line.at >= since));
        let fresh: Vec<&WrittenLine> = fresh.collect();
        let last = self
            .last
            .and_then(|last| usize::try_from(last).ok())
            .unwrap_or(fresh.len());
        let mut text = String::new();
        for line in &fresh[fresh.len().saturating_sub(last)..] {
            if self.stamped {
                let _ = write!(text, "{} ", line.at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"));
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        if let Some(bytes) = self.bytes.and_then(|bytes| usize::try_from(bytes).ok())
            && bytes < text.len()
        {
            let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn read(query: &str) -> String {
        let line = |at: &str, text: &str| WrittenLine {
            at: at.parse().unwrap(),
            text: text.to_owned(),
        };
        let lines = [
            line("2026-11-26T14:00:00.5Z", "one"),
            line("2026-11-26T14:00:10Z", "two"),
            line("2026-11-26T14:00:20Z", "three"),
        ];
        let wanted = Wanted::read(&Query::parse(Some(query)), "p").unwrap();
        wanted.of(&lines, "2026-11-26T14:00:30Z".parse().unwrap())
    }

    #[test]
    fn a_part_of_a_log_is_what_was_asked_for() {
        for (query, text) in [
            ("", "one\ntwo\nthree\n"),
            ("tailLines=1", "three\n"),
            ("tailLines=0", ""),
            ("sinceSeconds=20", "two\nthree\n"),
            ("sinceTime=2026-11-26T14:00:11Z", "three\n"),
            ("sinceSeconds=3600&tailLines=2&limitBytes=5", "two\nt"),
            (
                "timestamps=true&tailLines=1",
                "2026-11-26T14:00:20.000000000Z three\n",
            ),
        ] {
            assert_eq!(read(query), text, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        for query in [
            "sinceSeconds=0",
            "sinceSeconds=x",
            "limitBytes=0",
            "tailLines=-1",
            "sinceTime=yesterday",
            "sinceSeconds=1&sinceTime=2026-11-26T14:00:11Z",
        ] {
            assert!(Wanted::read(&Query::parse(Some(query)), "p").is_err(), "{query}");
        }
    }
}
