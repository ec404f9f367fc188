//! What the nodes' own programs have written: on a node of kind journald keeps it, as on most real ones, and the node is a
//! container of Docker's.

use std::time::Duration;

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;

use super::program::docker;
use crate::environment::NodeLogs;

/// Longest wait for a node to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct KindNodeLogs;

impl NodeLogs for KindNodeLogs {
    fn kubelet<'a>(&'a self, node: &'a str, since: Timestamp) -> BoxFuture<'a, Result<String, String>> {
        async move {
            // The second in which it was, which is as fine as systemd.time(7) takes it.
            let since = format!("--since=@{}", since.as_second());
            let asked = [
                "exec",
                node,
                "journalctl",
                "--unit=kubelet",
                "--output=short-iso-precise",
                "--utc",
                "--no-hostname",
                "--no-pager",
                "--quiet",
                &since,
            ];
            docker(asked, ANSWER).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}
