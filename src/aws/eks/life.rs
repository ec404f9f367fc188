//! Clusters, node groups and add-ons on their way: waited for until they are there, and until they are gone.

use std::time::{Duration, Instant};

use futures::{FutureExt as _, future::BoxFuture};

use super::{AddonView, ClusterView, Issue, NodegroupView};
use crate::aws::{Aws, AwsError};

/// First and longest pause between two looks. EKS's own waiters look every 10 to 30 seconds.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Hears, in words, of what is waited for: each time that its status is another one.
pub type Hears<'a> = dyn Fn(&str) + Sync + 'a;

/// What is common to all three.
struct Seen {
    status: String,
    issues: Vec<Issue>,
}

impl Aws {
    /// Waits until a cluster is `ACTIVE`.
    ///
    /// # Errors
    ///
    /// When it has failed, with what EKS says is wrong, or is not there by `until`.
    pub async fn await_cluster(
        &self,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<ClusterView, AwsError> {
        let what = format!("cluster {name}");
        there(&what, until, hears, || self.cluster(name).boxed()).await
    }

    /// Waits until a node group is `ACTIVE`. Errors as [`await_cluster`](Self::await_cluster).
    pub async fn await_nodegroup(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<NodegroupView, AwsError> {
        let what = format!("node group {name}");
        there(&what, until, hears, || self.nodegroup(cluster, name).boxed()).await
    }

    /// Waits until an add-on is `ACTIVE`. Errors as [`await_cluster`](Self::await_cluster).
    pub async fn await_addon(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<AddonView, AwsError> {
        let what = format!("add-on {name}");
        there(&what, until, hears, || self.addon(cluster, name).boxed()).await
    }

    /// Deletes a cluster and waits until it is gone; none is fine. One that is still being made, or has something in it
    /// that is going, is waited for first: EKS deletes neither.
    ///
    /// # Errors
    ///
    /// When it cannot be deleted, or is not gone by `until`.
    pub async fn remove_cluster(
        &self,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<(), AwsError> {
        gone(
            &format!("cluster {name}"),
            until,
            hears,
            || self.delete_cluster(name).boxed(),
            || self.cluster(name).boxed(),
        )
        .await
    }

    /// Deletes a node group and waits until it is gone, as [`remove_cluster`](Self::remove_cluster) does.
    pub async fn remove_nodegroup(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<(), AwsError> {
        gone(
            &format!("node group {name}"),
            until,
            hears,
            || self.delete_nodegroup(cluster, name).boxed(),
            || self.nodegroup(cluster, name).boxed(),
        )
        .await
    }

    /// Deletes an add-on and waits until it is gone, as [`remove_cluster`](Self::remove_cluster) does.
    pub async fn remove_addon(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<(), AwsError> {
        gone(
            &format!("add-on {name}"),
            until,
            hears,
            || self.delete_addon(cluster, name).boxed(),
            || self.addon(cluster, name).boxed(),
        )
        .await
    }
}

/// Something that has a status.
trait HasStatus {
    fn seen(&self) -> Seen;
}

macro_rules! has_status {
    ($($view:ty),+) => {
        $(impl HasStatus for $view {
            fn seen(&self) -> Seen {
                Seen { status: self.status.clone(), issues: self.issues.clone() }
            }
        })+
    };
}

has_status!(ClusterView, NodegroupView, AddonView);

/// Waits until something is `ACTIVE`.
async fn there<'a, V: HasStatus>(
    what: &str,
    until: Instant,
    hears: &Hears<'_>,
    look: impl Fn() -> BoxFuture<'a, Result<V, AwsError>>,
) -> Result<V, AwsError> {
    let mut pauses = Pauses::new(until);
    let mut last = String::new();
    loop {
        let because = match look().await {
            Ok(view) => {
                let Seen { status, issues } = view.seen();
                match status.as_str() {
                    "ACTIVE" => return Ok(view),
                    "FAILED" | "CREATE_FAILED" | "DELETING" | "DELETE_FAILED" | "DEGRADED" => {
                        return Err(failed(what, &status, &issues));
                    }
                    _ => {}
                }
                tell(what, &status, &mut last, hears);
                status
            }
            // It was seen to be asked for: an answer that knows nothing of it is behind, or trouble on the way.
            Err(error) if error.is_retryable() || error.is_not_found() => error.to_string(),
            Err(error) => return Err(error),
        };
        if !pauses.next().await {
            return Err(late(what, "ready", &because));
        }
    }
}

/// Has something deleted and waits until it is gone.
async fn gone<'a, V: HasStatus>(
    what: &str,
    until: Instant,
    hears: &Hears<'_>,
    delete: impl Fn() -> BoxFuture<'a, Result<(), AwsError>>,
    look: impl Fn() -> BoxFuture<'a, Result<V, AwsError>>,
) -> Result<(), AwsError> {
    let mut pauses = Pauses::new(until);
    let mut last = String::new();
    loop {
        let because = match delete().await {
            Ok(()) => break,
            Err(error) if error.is_in_use() || error.is_retryable() => error.to_string(),
            Err(error) => return Err(error),
        };
        if let Ok(view) = look().await {
            tell(what, &view.seen().status, &mut last, hears);
        }
        if !pauses.next().await {
            return Err(late(what, "deletable", &because));
        }
    }
    let mut pauses = Pauses::new(until);
    loop {
        let because = match look().await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if error.is_retryable() => error.to_string(),
            Err(error) => return Err(error),
            Ok(view) => {
                let Seen { status, issues } = view.seen();
                if status == "DELETE_FAILED" {
                    return Err(failed(what, &status, &issues));
                }
                tell(what, &status, &mut last, hears);
                status
            }
        };
        if !pauses.next().await {
            return Err(late(what, "gone", &because));
        }
    }
}

fn tell(what: &str, status: &str, last: &mut String, hears: &Hears<'_>) {
    if status != last {
        hears(&format!("{what} is {status}"));
        status.clone_into(last);
    }
}

fn failed(what: &str, status: &str, issues: &[Issue]) -> AwsError {
    let mut why: Vec<String> = issues.iter().map(ToString::to_string).collect();
    if why.is_empty() {
        why.push("EKS says not why".to_owned());
    }
    AwsError::because(
        &format!("wait for {what}"),
        format!("it is {status}: {}", why.join("; ")),
    )
}

fn late(what: &str, not: &str, because: &str) -> AwsError {
    AwsError::because(
        &format!("wait for {what}"),
        format!("not {not} within the time that it may take: {because}"),
    )
}

/// Longer and longer pauses, until there is no time left.
struct Pauses {
    pause: Duration,
    until: Instant,
}

impl Pauses {
    fn new(until: Instant) -> Self {
        Self {
            pause: LOOKS.0,
            until,
        }
    }

    /// Waits; whether there is time for another look.
    async fn next(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(LOOKS.1);
        true
    }
}
