//! The end of what was made for a run on this machine: its cluster, and containers beside it.

use super::{
    programs,
    run::{Life, flushed},
};
use crate::{
    journal::LeftoverFound,
    localstack,
    provision::{Object, Teardown},
    report::{self, ExitCode, RunSummary},
};

/// Where the logs of nodes are kept, below the run's folder.
const NODE_LOGS: &str = "evidence/nodes";

impl Life {
    /// Removes the containers that were made for the run, or were about to be.
    pub(super) async fn remove_containers(&self, report: &mut Teardown) {
        for object in self.ledger.standing() {
            let Object::Container(name) = &object else {
                continue;
            };
            match localstack::remove(name).await {
                Ok(()) => {
                    self.ledger.removed(&object);
                    report.removed += 1;
                }
                Err(because) => report.left.push(LeftoverFound {
                    object: object.to_string(),
                    because,
                }),
            }
        }
    }

    /// Deletes the cluster that was made for the run, if one was, or was about to be. Of one in which something did not
    /// pass the logs are kept.
    pub(super) async fn remove_cluster(&self, report: &mut Teardown) {
        for object in self.ledger.standing() {
            let Object::KindCluster(name) = &object else {
                continue;
            };
            if !self.passed().await {
                self.keep_node_logs(name).await;
            }
            match self.options.environment.remove_cluster(name).await {
                Ok(()) => {
                    self.ledger.removed(&object);
                    report.removed += 1;
                }
                Err(because) => report.left.push(LeftoverFound {
                    object: object.to_string(),
                    because,
                }),
            }
        }
    }

    /// Whether nothing so far says otherwise.
    async fn passed(&self) -> bool {
        let closed = flushed(&self.journal).await;
        let summary = closed.ok().and_then(|closed| RunSummary::of(&closed.events));
        summary.is_some_and(|summary| report::outcome(&summary) == ExitCode::Passed)
    }

    async fn keep_node_logs(&self, cluster: &str) {
        let exported = self.scratch.join("nodes");
        if let Err(because) = self.options.environment.export_logs(cluster, &exported).await {
            self.warn(format!("the nodes' logs could not be had: {because}"));
        }
        let kept = self.folder.join(NODE_LOGS);
        for text in programs::keep_logs(&exported, &kept, &self.redactor) {
            self.warn(text);
        }
        if kept.exists() {
            self.warn(format!(
                "not everything passed: the logs of the cluster's nodes (kind export logs), without secrets, are in {NODE_LOGS}/"
            ));
        }
    }
}
