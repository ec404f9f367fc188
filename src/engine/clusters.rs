//! The end of what was made for a run on this machine: its cluster, and containers beside it.

use super::{
    programs,
    run::{Life, flushed},
};
use crate::{
    journal::{LeftoverFound, ProgressMade},
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

    /// Whether the cluster that was made for the run stays as it is, because that was asked for and the run did not pass; it
    /// is on record as kept then, with everything in it. One that was interrupted goes.
    pub(super) async fn keeps_cluster(&self) -> bool {
        if matches!(
            self.outcome().await,
            None | Some(ExitCode::Passed | ExitCode::Interrupted)
        ) {
            return false;
        }
        for object in self.ledger.standing() {
            let Object::KindCluster(name) = &object else {
                continue;
            };
            let environment = &self.options.environment;
            let kept = match environment
                .keep_cluster(name, self.marks.run(), &self.scratch)
                .await
            {
                Ok(false) => continue,
                Ok(true) => {
                    let inside = self.ledger.standing().into_iter();
                    let mut kept: Vec<Object> = inside
                        .filter(|object| matches!(object, Object::Kubernetes(_)))
                        .collect();
                    kept.push(object.clone());
                    self.ledger.kept(&kept).map_err(|error| format!("cannot {error}"))
                }
                Err(because) => Err(because),
            };
            match kept {
                Ok(()) => {
                    self.warn(format!(
                        "kept as it is: the cluster {name}. Look at it with `{}`; `mountproof down {name}` deletes it",
                        environment.look_at(name)
                    ));
                    return true;
                }
                Err(because) => self.warn(format!("the cluster {name} cannot be kept: {because}")),
            }
        }
        false
    }

    /// Deletes the cluster that was made for the run, if one was, or was about to be, unless it is to be kept. Of one in which
    /// something did not pass the logs are kept.
    pub(super) async fn end_cluster(&self, report: &mut Teardown) {
        // Of an environment that never stood, too.
        self.keeps_cluster().await;
        for object in self.ledger.standing() {
            let Object::KindCluster(name) = &object else {
                continue;
            };
            // One that was interrupted is to end soon, and tells nothing.
            let outcome = self.outcome().await;
            if !matches!(outcome, Some(ExitCode::Passed | ExitCode::Interrupted)) {
                self.keep_node_logs(name).await;
            }
            self.told()(ProgressMade {
                stage: "teardown".to_owned(),
                text: format!("deleting the cluster {name}"),
                took_us: None,
            });
            match self.options.environment.remove_cluster(name).await {
                Ok(()) => {
                    self.ledger.removed(&object);
                    report.removed += 1;
                    report.went_with_cluster(&self.ledger);
                }
                Err(because) => report.left.push(LeftoverFound {
                    object: object.to_string(),
                    because,
                }),
            }
        }
    }

    /// What the run has come to so far.
    async fn outcome(&self) -> Option<ExitCode> {
        let closed = flushed(&self.journal).await;
        let summary = closed.ok().and_then(|closed| RunSummary::of(&closed.events));
        summary.map(|summary| report::outcome(&summary))
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
