//! Takes everything on record away again, and looks for what is left.
//!
//! Nothing is removed that does not carry the run's mark, whatever the record says: a run that was
//! killed between writing a line and making the object may have found somebody else's in its place.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};

use super::{
    ledger::{KubernetesIn, Ledger, Object, Reach},
    order::Plan,
    removal::{PATIENCE, Removal, remove_from},
    strays::{remove_strays, strays, strays_in_kubernetes},
    worlds::{World, Worlds, is_in_a_world, silent_worlds},
};
use crate::{
    aws::Aws,
    environment::Environment,
    journal::LeftoverFound,
    kubernetes::{Kubernetes, ObjectRef},
    tenant::{ClusterName, Marks},
};

/// Removals at a time.
const PARALLEL: usize = 16;

/// Shortest and longest pause between two looks for pods.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Namespaces that are waited for at a time.
const NAMESPACES: usize = 128;

/// What a teardown came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Teardown {
    /// Objects removed.
    pub removed: u32,
    /// Objects that are still there.
    pub left: Vec<LeftoverFound>,
    /// Worlds that did not answer; what is on record there is left, and stays on record.
    pub silent: Vec<Silence>,
}

/// A world that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    world: World,
    /// Why, in words.
    because: String,
    /// What is on record there.
    objects: Vec<Object>,
}

impl Teardown {
    /// Removes what `ledger` has on record in `environment`, then asks both worlds for anything of the
    /// run's, on record or not. Keeps going when something fails; takes at most a minute for an
    /// object, 16 objects at a time.
    ///
    /// What lies in a namespace goes with it. Folders are not the environment's: see
    /// [`scratch_removed`](super::scratch_removed).
    ///
    /// What is in Kubernetes in a cluster of the run's own is left to [`went_with_cluster`](Self::went_with_cluster).
    pub async fn run(
        environment: &Environment,
        ledger: &Ledger,
        marks: &Marks,
        cluster: &ClusterName,
        went: &Went<'_>,
    ) -> Self {
        let worlds = Worlds::of(environment);
        let mut report = Self::of_worlds(worlds, Record::Ledger(ledger), marks, went).await;
        let strays = strays(worlds, marks, cluster, &report).await;
        report.left.extend(strays);
        report
    }

    /// The same for a run whose environment never stood, or whose process is gone, but whose account is there; without
    /// `kubernetes` where that is a cluster of the run's own, or is gone.
    pub(super) async fn of_account(
        aws: &Aws,
        kubernetes: Option<&Kubernetes>,
        record: Record<'_>,
        marks: &Marks,
        cluster: &ClusterName,
        went: &Went<'_>,
    ) -> Self {
        let worlds = Worlds {
            kubernetes,
            aws: Some(aws),
        };
        let mut report = Self::of_worlds(worlds, record, marks, went).await;
        remove_strays(aws, marks, cluster, &mut report).await;
        let strays = strays(worlds, marks, cluster, &report).await;
        report.left.extend(strays);
        report
    }

    /// Removes what a run that is gone has on record in a cluster that outlived it, and looks for the rest of it there.
    pub async fn of_cluster(kubernetes: &Kubernetes, ledger: &Ledger, marks: &Marks) -> Self {
        Self::in_cluster(kubernetes, Record::Ledger(ledger), marks, &|_| ()).await
    }

    /// The same for whatever is on record.
    pub(super) async fn in_cluster(
        kubernetes: &Kubernetes,
        record: Record<'_>,
        marks: &Marks,
        went: &Went<'_>,
    ) -> Self {
        let worlds = Worlds {
            kubernetes: Some(kubernetes),
            aws: None,
        };
        let mut report = Self::of_worlds(worlds, record, marks, went).await;
        let strays = strays_in_kubernetes(kubernetes, marks, &report).await;
        report.left.extend(strays);
        report
    }

    async fn of_worlds(worlds: Worlds<'_>, record: Record<'_>, marks: &Marks, went: &Went<'_>) -> Self {
        let report = Self {
            // Whoever looks for what is left knows of it then, and takes none of it for a stray.
            left: record.spared().to_vec(),
            ..Self::default()
        };
        let mut work = Work {
            worlds,
            record,
            marks,
            went,
            report,
        };
        // A world that does not answer is not asked once for each of its objects.
        let silent = silent_worlds(worlds).await;
        let answers =
            |object: &Object| worlds.have(object) && !silent.iter().any(|(world, _)| world.holds(object));
        let standing = work.record.standing().into_iter().filter(is_in_a_world);
        let Plan {
            namespaces,
            inside,
            loose,
            after,
            of_clusters,
            mut with_cluster,
        } = Plan::of(standing.collect()).keeping(&answers);
        work.remove_all(loose).await;
        work.end_workloads(inside.values().flatten()).await;
        let gone = work.remove_namespaces(namespaces).await;
        let mut orphans = Vec::new();
        for (namespace, objects) in inside {
            match gone.get(&namespace) {
                Some(Removal::Removed | Removal::Absent) => work.went(&objects),
                // Somebody else's namespace stays, with what is theirs in it.
                Some(Removal::Foreign) => orphans.extend(objects),
                // Reported as left, with what it still holds.
                None => {}
            }
        }
        work.remove_all(orphans).await;
        for group in after {
            let group = work.without_clusters_in_use(group);
            for (object, removal) in work.remove_all(group).await {
                // Somebody else's cluster stays, with what is in it.
                if removal != Removal::Foreign
                    && let Some(objects) = with_cluster.remove(&object)
                {
                    work.went(&objects);
                }
            }
        }
        work.remove_with_clusters(of_clusters).await;
        // It may have fallen silent in the meantime.
        let silent = if silent.is_empty() && !work.report.left.is_empty() {
            silent_worlds(worlds).await
        } else {
            silent
        };
        work.note_silence(silent);
        work.report
    }

    /// Takes what is in Kubernetes off the record, now that the run's own cluster is gone.
    pub fn went_with_cluster(&mut self, ledger: &Ledger) {
        for object in ledger.standing() {
            if World::Kubernetes.holds(&object) {
                ledger.removed(&object);
                self.removed += 1;
            }
        }
    }

    /// Settles what is left in worlds that were in the process of the run and have ended with it: it is gone, but for what
    /// `reach` says is elsewhere. Says so in words, as nobody could look. What is in a cluster that stays is not.
    pub fn gone_with_process(
        &mut self,
        ledger: &Ledger,
        reach: &Reach,
        kubernetes: &KubernetesIn,
    ) -> Vec<String> {
        let mut said = Vec::new();
        let ended = |silence: &Silence| match silence.world {
            World::Aws => !reach.is_account(),
            World::Kubernetes => *kubernetes == KubernetesIn::Process,
        };
        let (ended, stay): (Vec<Silence>, _) = std::mem::take(&mut self.silent).into_iter().partition(ended);
        self.silent = stay;
        for silence in ended {
            let world = silence.world;
            let in_memory: Vec<&Object> = silence
                .objects
                .iter()
                .filter(|object| !reach.outlives(object))
                .collect();
            let count = in_memory.len();
            let mut gone: Vec<String> = in_memory.iter().map(ToString::to_string).collect();
            gone.push(world.everything());
            self.left.retain(|left| !gone.contains(&left.object));
            for object in in_memory {
                ledger.removed(object);
            }
            said.push(format!(
                "{} did not answer in teardown: what the run has there ({count} on record) went with it, and \
                 nobody could look for more ({})",
                world.name(),
                silence.because
            ));
        }
        said
    }
}

impl Teardown {
    pub(super) fn is_silent(&self, world: World) -> bool {
        self.silent.iter().any(|silence| silence.world == world)
    }

    /// One more thing that is left, unless it is known already.
    pub(super) fn note(&self, found: &mut Vec<LeftoverFound>, object: String, because: String) {
        if !self.left.iter().any(|left| left.object == object) {
            found.push(LeftoverFound { object, because });
        }
    }
}

/// How far a teardown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Going<'a> {
    /// Namespaces are gone.
    Namespaces {
        /// How many.
        gone: usize,
        /// Of how many.
        all: usize,
    },
    /// Something is waited for, in words.
    Waiting(&'a str),
}

impl std::fmt::Display for Going<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Namespaces { gone, all } => write!(f, "namespaces deleted: {gone} of {all}"),
            Self::Waiting(what) => f.write_str(what),
        }
    }
}

/// Hears of how far it is.
pub type Went<'a> = dyn Fn(Going<'_>) + Sync + 'a;

/// What is on record: in a ledger, or found without one.
pub(super) enum Record<'a> {
    Ledger(&'a Ledger),
    Found {
        /// What is there still.
        still: &'a Mutex<Vec<Object>>,
        /// What is the run's and stays, and why.
        spared: &'a [LeftoverFound],
    },
}

impl Record<'_> {
    fn spared(&self) -> &[LeftoverFound] {
        match self {
            Self::Ledger(_) => &[],
            Self::Found { spared, .. } => spared,
        }
    }

    fn standing(&self) -> Vec<Object> {
        match self {
            Self::Ledger(ledger) => ledger.standing(),
            Self::Found { still, .. } => still.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn removed(&self, object: &Object) {
        match self {
            Self::Ledger(ledger) => ledger.removed(object),
            Self::Found { still, .. } => still
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|one| one != object),
        }
    }
}

/// Whether it is a pod, or has some.
fn is_workload(reference: &ObjectRef) -> bool {
    matches!(reference.kind.as_str(), "Pod" | "Deployment")
}

struct Work<'a> {
    worlds: Worlds<'a>,
    record: Record<'a>,
    marks: &'a Marks,
    went: &'a Went<'a>,
    report: Teardown,
}

impl Work<'_> {
    /// Removes objects that do not depend on each other. Those that cannot be removed are not in the
    /// answer.
    async fn remove_all(&mut self, objects: Vec<Object>) -> BTreeMap<Object, Removal> {
        self.remove_at_once(objects, PARALLEL, &|_, _| ()).await
    }

    /// Asks workloads to go, and waits until no pod of the run's is there, or for as long as that may take.
    ///
    /// Before their namespaces: a kubelet that has a mount still to try needs a token for it, which a namespace that is going
    /// does not give, and lets go neither of the pod nor, so, of the namespace (seen with 1.36).
    async fn end_workloads(&mut self, objects: impl Iterator<Item = &Object>) {
        let Some(kubernetes) = self.worlds.kubernetes else {
            return;
        };
        let workloads = objects.filter_map(|object| match object {
            Object::Kubernetes(reference) if is_workload(reference) => Some(reference),
            _ => None,
        });
        let (marks, worlds) = (self.marks, self.worlds);
        stream::iter(workloads)
            .map(|reference| async move {
                // What cannot be asked now is asked for with its namespace.
                if let Some(kubernetes) = worlds.kubernetes
                    && kubernetes.is_marked(reference, marks).await.unwrap_or(false)
                {
                    let _ = kubernetes.delete(reference).await;
                }
            })
            .buffer_unordered(PARALLEL)
            .collect::<()>()
            .await;
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_LOOK;
        while Instant::now() < until {
            match kubernetes.list("v1", "Pod", None, Some(marks)).await {
                Ok(pods) if !pods.is_empty() => {}
                _ => return,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// All are asked to go first: that they go is the cluster's work, some at a time, and only waited for here.
    async fn remove_namespaces(&mut self, namespaces: Vec<Object>) -> BTreeMap<Object, Removal> {
        let went = self.went;
        self.remove_at_once(namespaces, NAMESPACES, &|gone, all| {
            went(Going::Namespaces { gone, all });
        })
        .await
    }

    async fn remove_at_once(
        &mut self,
        objects: Vec<Object>,
        parallel: usize,
        counted: &(dyn Fn(usize, usize) + Sync),
    ) -> BTreeMap<Object, Removal> {
        let (worlds, marks, went, all) = (self.worlds, self.marks, self.went, objects.len());
        let mut ending = stream::iter(objects)
            .map(|object| async move {
                let ended = remove_from(worlds, marks, &object, went).await;
                (object, ended)
            })
            .buffer_unordered(parallel);
        let mut gone = BTreeMap::new();
        while let Some((object, ended)) = ending.next().await {
            match ended {
                Ok(removal) => {
                    self.record.removed(&object);
                    self.report.removed += u32::from(removal == Removal::Removed);
                    gone.insert(object, removal);
                    counted(gone.len(), all);
                }
                Err(because) => self.report.left.push(LeftoverFound {
                    object: object.to_string(),
                    because,
                }),
            }
        }
        gone
    }

    /// Without clusters of which a node group is left: EKS would not delete them, however long it is asked.
    fn without_clusters_in_use(&mut self, group: Vec<Object>) -> Vec<Object> {
        let left: Vec<String> = self.report.left.iter().map(|left| left.object.clone()).collect();
        let standing = self.record.standing();
        let in_use = |object: &Object| {
            let Object::EksCluster(cluster) = object else {
                return None;
            };
            let nodegroups = standing
                .iter()
                .filter(|one| matches!(one, Object::Nodegroup { cluster: of, .. } if of == cluster));
            nodegroups.map(ToString::to_string).find(|one| left.contains(one))
        };
        let (stay, go): (Vec<Object>, Vec<Object>) =
            group.into_iter().partition(|object| in_use(object).is_some());
        for object in &stay {
            self.report.left.push(LeftoverFound {
                object: object.to_string(),
                because: format!("{} is still there", in_use(object).unwrap_or_default()),
            });
        }
        go
    }

    /// Removes what clusters and node groups were made with, unless one is left: EKS takes a cluster down by its role.
    async fn remove_with_clusters(&mut self, groups: Vec<Vec<Object>>) {
        let standing = self.record.standing().into_iter();
        let mut clusters =
            standing.filter(|object| matches!(object, Object::EksCluster(_) | Object::Nodegroup { .. }));
        let Some(cluster) = clusters.next() else {
            for group in groups {
                self.remove_all(group).await;
            }
            return;
        };
        for object in groups.into_iter().flatten() {
            self.report.left.push(LeftoverFound {
                object: object.to_string(),
                because: format!("{cluster} is still there"),
            });
        }
    }

    /// What is on record in worlds that do not answer is left.
    fn note_silence(&mut self, silent: Vec<(World, String)>) {
        for (world, because) in silent {
            let standing = self.record.standing().into_iter();
            let objects: Vec<Object> = standing.filter(|object| world.holds(object)).collect();
            let unlisted = world.everything();
            for object in objects.iter().map(Object::to_string).chain([unlisted]) {
                if !self.report.left.iter().any(|left| left.object == object) {
                    let because = format!("{} did not answer: {because}", world.name());
                    self.report.left.push(LeftoverFound { object, because });
                }
            }
            self.report.silent.push(Silence {
                world,
                because,
                objects,
            });
        }
    }

    /// Takes off the record what went with its namespace.
    fn went(&mut self, objects: &[Object]) {
        for object in objects {
            self.record.removed(object);
            self.report.removed += 1;
        }
    }
}
