//! What runs in the containers of a node, where something does, and those that end as soon as they are started.

use std::{collections::BTreeMap, fmt, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};

/// Runs what pods' containers are, in the place of a container runtime: nothing does by default, and containers count as
/// running all the same.
pub trait Containers: fmt::Debug + Send + Sync {
    /// Starts the program of a container, by its name in the pod's object, where there is one. Called again when it has ended.
    ///
    /// # Errors
    ///
    /// The exit code of one that ended at once.
    fn start<'a>(&'a self, pod: &'a Value, container: &'a str) -> BoxFuture<'a, Result<(), u8>>;

    /// Ends whatever runs for a pod.
    fn stop<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, ()>;
}

/// Kubelet's pauses before it starts a container again that ends: doubled from the first to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// The containers of a pod that have ended, by name.
pub(super) type Crashed = BTreeMap<String, Crash>;

/// A container that ends as soon as it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crash {
    pub(super) code: u8,
    /// When, as Kubernetes writes times.
    pub(super) at: String,
    /// How often it was started anew.
    pub(super) restarts: u32,
    /// When it is started anew, on kubelet's time line.
    pub(super) again_at: Duration,
}

impl Crash {
    /// After the one before this one, if there was any: the first restart follows at once.
    pub(super) fn after(before: Option<&Self>, code: u8, at: String, now: Duration) -> Self {
        let restarts = before.map_or(0, |before| before.restarts + 1);
        let pause = match restarts.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => BACK_OFF.0.saturating_mul(2_u32.saturating_pow(doublings)),
        };
        Self {
            code,
            at,
            restarts,
            again_at: now + pause.min(BACK_OFF.1),
        }
    }

    /// What a container's status says of it.
    pub(super) fn states(&self, pod: &str, container: &str) -> (Value, Value) {
        let waiting = json!({ "waiting": {
            "reason": "CrashLoopBackOff",
            "message": format!("back-off restarting failed container={container} pod={pod}"),
        } });
        let ended = json!({ "terminated": {
            "exitCode": self.code, "reason": "Error", "startedAt": self.at, "finishedAt": self.at,
        } });
        (waiting, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_ends_is_started_again_at_once_and_then_ever_later() {
        let now = Duration::from_secs(100);
        let mut crash: Option<Crash> = None;
        let mut seen = Vec::new();
        for _ in 0..8 {
            let next = Crash::after(crash.as_ref(), 2, String::new(), now);
            seen.push((next.restarts, next.again_at.saturating_sub(now).as_secs()));
            crash = Some(next);
        }
        let expected = [
            (0, 0),
            (1, 10),
            (2, 20),
            (3, 40),
            (4, 80),
            (5, 160),
            (6, 300),
            (7, 300),
        ];
        assert_eq!(seen, expected);
    }
}
