//! Clusters, node groups and add-ons on their way: waited for until they are there, and until they are gone.

use std::time::{Duration, Instant};

use super::{AddonView, ClusterView, Issue, NodegroupView};
use crate::aws::{Aws, AwsError};

/// First and longest pause between two looks. EKS's own waiters look every 10 to 30 seconds.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Hears, in words, of what is waited for: each time that its status is another one.
pub type Hears<'a> = dyn Fn(&str) + Sync + 'a;

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
        self.there(Subject::Cluster(name), until, hears).await?;
        self.cluster(name).await
    }

    /// Waits until a node group is `ACTIVE`. Errors as [`await_cluster`](Self::await_cluster).
    pub async fn await_nodegroup(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<NodegroupView, AwsError> {
        self.there(Subject::Nodegroup { cluster, name }, until, hears)
            .await?;
        self.nodegroup(cluster, name).await
    }

    /// Waits until an add-on is `ACTIVE`. Errors as [`await_cluster`](Self::await_cluster).
    pub async fn await_addon(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<AddonView, AwsError> {
        self.there(Subject::Addon { cluster, name }, until, hears).await?;
        self.addon(cluster, name).await
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
        self.gone(Subject::Cluster(name), until, hears).await
    }

    /// Deletes a node group and waits until it is gone, as [`remove_cluster`](Self::remove_cluster) does.
    pub async fn remove_nodegroup(
        &self,
        cluster: &str,
        name: &str,
        until: Instant,
        hears: &Hears<'_>,
    ) -> Result<(), AwsError> {
        self.gone(Subject::Nodegroup { cluster, name }, until, hears)
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
        self.gone(Subject::Addon { cluster, name }, until, hears).await
    }

    /// Waits until something is `ACTIVE`.
    async fn there(&self, what: Subject<'_>, until: Instant, hears: &Hears<'_>) -> Result<(), AwsError> {
        let mut pauses = Pauses::new(until);
        let mut last = String::new();
        loop {
            let because = match self.look(what).await {
                Ok(Seen { status, issues }) => {
                    match status.as_str() {
                        "ACTIVE" => return Ok(()),
                        "FAILED" | "CREATE_FAILED" | "DELETING" | "DELETE_FAILED" => {
                            return Err(failed(what, &status, &issues));
                        }
                        // `DEGRADED` too, which a pod that is not there yet is enough for.
                        _ => {}
                    }
                    tell(what, &status, &mut last, hears);
                    said(&status, &issues)
                }
                // It was asked for: an answer that knows nothing of it is behind.
                Err(error) if error.is_retryable() || error.is_not_found() => error.to_string(),
                Err(error) => return Err(error),
            };
            if !pauses.next().await {
                return Err(late(what, "ready", &because));
            }
        }
    }

    /// Has something deleted and waits until it is gone.
    async fn gone(&self, what: Subject<'_>, until: Instant, hears: &Hears<'_>) -> Result<(), AwsError> {
        let mut pauses = Pauses::new(until);
        let mut last = String::new();
        loop {
            let because = match self.delete(what).await {
                Ok(()) => break,
                Err(error) if error.is_in_use() || error.is_retryable() => error.to_string(),
                Err(error) => return Err(error),
            };
            if let Ok(seen) = self.look(what).await {
                tell(what, &seen.status, &mut last, hears);
            }
            if !pauses.next().await {
                return Err(late(what, "deletable", &because));
            }
        }
        let mut pauses = Pauses::new(until);
        loop {
            let because = match self.look(what).await {
                Err(error) if error.is_not_found() => return Ok(()),
                // It was asked to go, and nobody lets us see it: what it is in cannot go before it.
                Err(error) if error.is_denied() => return Ok(()),
                Err(error) if error.is_retryable() => error.to_string(),
                Err(error) => return Err(error),
                Ok(Seen { status, issues }) if status == "DELETE_FAILED" => {
                    return Err(failed(what, &status, &issues));
                }
                Ok(Seen { status, issues }) => {
                    tell(what, &status, &mut last, hears);
                    said(&status, &issues)
                }
            };
            if !pauses.next().await {
                return Err(late(what, "gone", &because));
            }
        }
    }

    async fn look(&self, what: Subject<'_>) -> Result<Seen, AwsError> {
        let (status, issues) = match what {
            Subject::Cluster(name) => self
                .cluster(name)
                .await
                .map(|found| (found.status, found.issues))?,
            Subject::Nodegroup { cluster, name } => self
                .nodegroup(cluster, name)
                .await
                .map(|found| (found.status, found.issues))?,
            Subject::Addon { cluster, name } => self
                .addon(cluster, name)
                .await
                .map(|found| (found.status, found.issues))?,
        };
        Ok(Seen { status, issues })
    }

    async fn delete(&self, what: Subject<'_>) -> Result<(), AwsError> {
        match what {
            Subject::Cluster(name) => self.delete_cluster(name).await,
            Subject::Nodegroup { cluster, name } => self.delete_nodegroup(cluster, name).await,
            Subject::Addon { cluster, name } => self.delete_addon(cluster, name).await,
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Cluster(&'a str),
    Nodegroup { cluster: &'a str, name: &'a str },
    Addon { cluster: &'a str, name: &'a str },
}

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Nodegroup { name, .. } => write!(f, "node group {name}"),
            Self::Addon { name, .. } => write!(f, "add-on {name}"),
        }
    }
}

/// What is common to all three.
struct Seen {
    status: String,
    issues: Vec<Issue>,
}

fn tell(what: Subject<'_>, status: &str, last: &mut String, hears: &Hears<'_>) {
    if status != last {
        hears(&format!("{what} is {status}"));
        status.clone_into(last);
    }
}

fn failed(what: Subject<'_>, status: &str, issues: &[Issue]) -> AwsError {
    AwsError::because(
        &format!("wait for {what}"),
        format!("it is {}", said(status, issues)),
    )
}

fn said(status: &str, issues: &[Issue]) -> String {
    if issues.is_empty() {
        return status.to_owned();
    }
    let why: Vec<String> = issues.iter().map(ToString::to_string).collect();
    format!("{status} ({})", why.join("; "))
}

fn late(what: Subject<'_>, not: &str, because: &str) -> AwsError {
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
