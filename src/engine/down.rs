//! The second half of a run: everything that was made goes, and what does not is named.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{micros, programs, run::Life};
use crate::{
    environment::{self, Environment, EnvironmentOptions},
    journal::{EventKind, LeftoverFound, ProgressMade, TeardownFinished},
    provision::{
        ClusterReach, Going, Object, Reach, Teardown, UnderWay, finish_account, scratch_removed,
        sweep::finish_cluster,
    },
};

/// Longest wait for what is being made when the run is asked to end: a call has 30 s, and is tried again.
const LANDING: Duration = Duration::from_mins(1);
/// Longest wait for the parts of an environment to end.
const STOP: Duration = Duration::from_secs(15);

impl Life {
    /// See the module.
    pub(super) async fn tear_down(&self) {
        let began = Instant::now();
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if !self.ledger.all_landed(LANDING).await {
            self.warn(format!(
                "what was being made is under way still after {LANDING:?}"
            ));
        }
        let mut report = match environment {
            Some(environment) => self.down(&environment).await,
            None => self.half_made_down().await,
        };
        // Where the environment never stood, because a program did not start, its log is what tells.
        for text in programs::keep_logs(
            &environment::logs_folder(&self.scratch),
            &self.folder,
            &self.redactor,
        ) {
            self.warn(text);
        }
        self.end_cluster(&mut report).await;
        self.remove_containers(&mut report).await;
        self.remove_scratch(&mut report).await;
        self.forget_what_went_along(&report);
        for left in &report.left {
            self.journal.record(EventKind::LeftoverFound(left.clone()));
        }
        if self.options.environment.is_slow() {
            self.told()(ProgressMade {
                stage: "teardown".to_owned(),
                text: format!("{} objects removed", report.removed),
                took_us: Some(micros(began.elapsed())),
            });
        }
        self.journal.record(EventKind::TeardownFinished(TeardownFinished {
            removed: report.removed,
            left: u32::try_from(report.left.len()).unwrap_or(u32::MAX),
            took_us: micros(began.elapsed()),
        }));
        if let Err(error) = self.ledger.close() {
            self.warn(format!("cannot {error}"));
        }
    }

    /// Takes down what was made in an environment that stands, and ends that.
    async fn down(&self, environment: &Environment) -> Teardown {
        for text in programs::revived(environment).await {
            self.warn(text);
        }
        let mut report = if self.keeps_cluster().await {
            // As it is, with everything in it.
            Teardown::default()
        } else {
            let went = |going: Going<'_>| self.tell_going(going);
            Teardown::run(environment, &self.ledger, &self.marks, &self.cluster, &went).await
        };
        if let Some(text) = environment.aws.held_back().told() {
            self.warn(text);
        }
        if tokio::time::timeout(STOP, environment.stop()).await.is_err() {
            self.warn(format!("the environment did not end within {STOP:?}"));
        }
        // What is said to be left in a world that was in this process is gone by now.
        for text in report.gone_with_process(&self.ledger, &environment.reach, &environment.kubernetes_in) {
            self.warn(text);
        }
        report
    }

    /// Takes down what was made, in an account and in a cluster of others, until the environment did not come to stand.
    async fn half_made_down(&self) -> Teardown {
        let mut report = self.half_made_in_account().await;
        if let Some(cluster) = self.cluster_of_others() {
            let finished = finish_cluster(&cluster, &self.ledger, &self.marks).await;
            report.removed += finished.removed;
            report.left.extend(finished.left);
        }
        report
    }

    async fn half_made_in_account(&self) -> Teardown {
        let reach = self.reach();
        if !self.ledger.standing().iter().any(|object| reach.outlives(object)) {
            return Teardown::default();
        }
        let went = |going: Going<'_>| self.tell_going(going);
        let finishing = finish_account(
            &reach,
            None,
            &self.ledger,
            &self.marks,
            &self.cluster,
            UnderWay::Nothing,
            &went,
        );
        match Box::pin(finishing).await {
            Ok(report) => report,
            Err(trouble) => Teardown {
                left: self
                    .ledger
                    .standing()
                    .iter()
                    .filter(|object| reach.outlives(object))
                    .map(|object| LeftoverFound {
                        object: object.to_string(),
                        because: trouble.to_string(),
                    })
                    .collect(),
                ..Teardown::default()
            },
        }
    }

    async fn remove_scratch(&self, report: &mut Teardown) {
        let scratch = Object::Scratch(self.scratch.clone());
        if !self.ledger.standing().contains(&scratch) {
            return;
        }
        let folder = self.scratch.clone();
        let removed = tokio::task::spawn_blocking(move || scratch_removed(&folder)).await;
        match removed
            .map_err(|error| error.to_string())
            .and_then(|removed| removed.map_err(|error| error.to_string()))
        {
            Ok(()) => {
                self.ledger.removed(&scratch);
                report.removed += 1;
            }
            Err(because) => report.left.push(LeftoverFound {
                object: scratch.to_string(),
                because,
            }),
        }
    }

    /// An environment that never stood took what was planned in it along, and so does a cluster that is gone.
    fn forget_what_went_along(&self, report: &Teardown) {
        let reach = self.reach();
        let others = self.cluster_of_others().is_some();
        for object in self.ledger.standing() {
            // What is in somebody else's cluster is there until it is removed.
            let stays = others && object.is_in_kubernetes();
            if !stays
                && !reach.outlives(&object)
                && !report.left.iter().any(|left| left.object == object.to_string())
            {
                self.ledger.removed(&object);
            }
        }
    }

    /// The cluster of somebody else's that has what the run makes in Kubernetes, where AWS is no account: with one it is
    /// finished together.
    fn cluster_of_others(&self) -> Option<ClusterReach> {
        match &self.options.environment {
            EnvironmentOptions::Cluster(options) if !self.reach().is_account() => {
                Some(options.cluster_reach())
            }
            _ => None,
        }
    }

    /// How what the run makes is reached without its environment.
    fn reach(&self) -> Reach {
        let environment = &self.options.environment;
        environment.reach(self.marks.run(), &self.options.region)
    }

    fn tell_going(&self, going: Going<'_>) {
        self.told()(ProgressMade {
            stage: "teardown".to_owned(),
            text: going.to_string(),
            took_us: None,
        });
    }
}
