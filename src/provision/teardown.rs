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
    displaced::put_back,
    eks,
    ledger::{KubernetesIn, Ledger, Object, Reach},
    order::Plan,
    strays::{remove_strays, strays, strays_in_kubernetes},
};
use crate::{
    aws::{Aws, AwsError, Tags},
    environment::Environment,
    journal::LeftoverFound,
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    tenant::{ClusterName, Marks, RUN_LABEL, RUN_TAG},
};

/// Removals at a time.
const PARALLEL: usize = 16;

/// Shortest and longest pause between two looks for pods.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// Namespaces that are waited for at a time.
const NAMESPACES: usize = 128;

/// Longest wait for them, all together: their controller deletes what is in them, ten namespaces at a time.
const NAMESPACES_PATIENCE: Duration = Duration::from_mins(3);

/// Longest wait for IAM to know that nothing is attached any more.
const SETTLES: Duration = Duration::from_secs(20);

/// Longest wait for one other object to be gone.
const PATIENCE: Duration = Duration::from_mins(1);

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

/// What objects are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    Kubernetes,
    Aws,
}

impl World {
    fn holds(self, object: &Object) -> bool {
        match object {
            Object::Kubernetes(_) | Object::Installed(_) | Object::Displaced { .. } => {
                self == Self::Kubernetes
            }
            Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_) => false,
            _ => self == Self::Aws,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::Aws => "AWS",
        }
    }

    /// How a leftover stands for everything that could not be listed.
    fn everything(self) -> String {
        format!("objects in {}", self.name())
    }
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
        let worlds = Worlds {
            kubernetes: Some(kubernetes),
            aws: None,
        };
        let mut report = Self::of_worlds(worlds, Record::Ledger(ledger), marks, &|_| ()).await;
        let strays = strays_in_kubernetes(kubernetes, marks, &report).await;
        report.left.extend(strays);
        report
    }

    async fn of_worlds(worlds: Worlds<'_>, record: Record<'_>, marks: &Marks, went: &Went<'_>) -> Self {
        let mut work = Work {
            worlds,
            record,
            marks,
            went,
            report: Self::default(),
        };
        // A world that does not answer is not asked once for each of its objects.
        let silent = silent(worlds).await;
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
            self::silent(worlds).await
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
    Found(&'a Mutex<Vec<Object>>),
}

impl Record<'_> {
    fn standing(&self) -> Vec<Object> {
        match self {
            Self::Ledger(ledger) => ledger.standing(),
            Self::Found(found) => found.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn removed(&self, object: &Object) {
        match self {
            Self::Ledger(ledger) => ledger.removed(object),
            Self::Found(found) => found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|one| one != object),
        }
    }
}

/// The worlds that are to be taken down.
#[derive(Clone, Copy)]
pub(super) struct Worlds<'a> {
    pub(super) kubernetes: Option<&'a Kubernetes>,
    pub(super) aws: Option<&'a Aws>,
}

impl<'a> Worlds<'a> {
    fn of(environment: &'a Environment) -> Self {
        Self {
            // A cluster of the run's own goes as a whole.
            kubernetes: (environment.kubernetes_in != KubernetesIn::OwnCluster)
                .then_some(&environment.kubernetes),
            aws: Some(&environment.aws),
        }
    }

    fn have(self, object: &Object) -> bool {
        (World::Kubernetes.holds(object) && self.kubernetes.is_some())
            || (World::Aws.holds(object) && self.aws.is_some())
    }
}

/// Which worlds cannot be asked, and why.
async fn silent(worlds: Worlds<'_>) -> Vec<(World, String)> {
    let aws = async {
        let said = worlds.aws?.answers().await;
        said.err().map(|error| (World::Aws, error.to_string()))
    };
    let kubernetes = async {
        let said = worlds.kubernetes?.version().await;
        said.err().map(|error| (World::Kubernetes, error.to_string()))
    };
    let (aws, kubernetes) = tokio::join!(aws, kubernetes);
    kubernetes.into_iter().chain(aws).collect()
}

/// How a removal ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It does not carry the run's mark and was left.
    Foreign,
}

/// Removes one object of the run's and waits until it is gone.
pub(super) async fn remove(
    environment: &Environment,
    marks: &Marks,
    object: &Object,
) -> Result<Removal, String> {
    let worlds = Worlds {
        kubernetes: Some(&environment.kubernetes),
        aws: Some(&environment.aws),
    };
    remove_from(worlds, marks, object, &|_| ()).await
}

async fn remove_from(
    worlds: Worlds<'_>,
    marks: &Marks,
    object: &Object,
    went: &Went<'_>,
) -> Result<Removal, String> {
    match (object, worlds) {
        (
            Object::Kubernetes(reference) | Object::Installed(reference),
            Worlds {
                kubernetes: Some(kubernetes),
                ..
            },
        ) => {
            if matches!(object, Object::Installed(_)) {
                holds_nothing_of_others(kubernetes, marks, reference).await?;
            }
            let removed = remove_kubernetes(kubernetes, marks, reference).await;
            removed.map_err(|error| error.to_string())
        }
        (
            Object::Displaced { saved, .. },
            Worlds {
                kubernetes: Some(kubernetes),
                ..
            },
        ) => {
            went(Going::Waiting("what was there before the run is put back"));
            put_back(kubernetes, saved).await.map(|()| Removal::Removed)
        }
        (Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_), _) => Ok(Removal::Absent),
        (_, Worlds { aws: Some(aws), .. }) if eks::holds(object) => {
            let hears = |text: &str| went(Going::Waiting(text));
            let removed = eks::remove(aws, marks, object, &hears).await;
            removed.map_err(|error| error.to_string())
        }
        (_, Worlds { aws: Some(aws), .. }) => remove_aws(aws, marks, object)
            .await
            .map_err(|error| error.to_string()),
        _ => Err("there is no way to where it is".to_owned()),
    }
}

/// Whether an object is in one of the two worlds, and not what holds a world, or a folder.
fn is_in_a_world(object: &Object) -> bool {
    World::Kubernetes.holds(object) || World::Aws.holds(object)
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

/// A definition takes every object of its kind along: in a cluster that stays none of somebody else's may be among them.
async fn holds_nothing_of_others(
    kubernetes: &Kubernetes,
    marks: &Marks,
    reference: &ObjectRef,
) -> Result<(), String> {
    if reference.kind != "CustomResourceDefinition" {
        return Ok(());
    }
    let said = |error: KubernetesError| error.to_string();
    let Some(definition) = kubernetes.read(reference).await.map_err(said)? else {
        return Ok(());
    };
    let spec = &definition["spec"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let version = format!("{}/{}", text(&spec["group"]), text(&spec["versions"][0]["name"]));
    let kind = text(&spec["names"]["kind"]);
    let objects = kubernetes.list(&version, &kind, None, None).await.map_err(said)?;
    let others: Vec<String> = objects
        .iter()
        .filter(|object| object["metadata"]["labels"][RUN_LABEL] != marks.run())
        .map(|object| ObjectRef::of(object).to_string())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it has objects that are not the run's, and would take them along: {}; remove it with `kubectl delete crd {}` once they \
         are not needed",
        others.join(", "),
        reference.name
    ))
}

async fn remove_kubernetes(
    kubernetes: &Kubernetes,
    marks: &Marks,
    reference: &ObjectRef,
) -> Result<Removal, KubernetesError> {
    if !kubernetes.is_marked(reference, marks).await? {
        let absent = kubernetes.is_gone(reference).await?;
        return Ok(if absent { Removal::Absent } else { Removal::Foreign });
    }
    kubernetes.delete(reference).await?;
    let patience = if reference.kind == "Namespace" {
        NAMESPACES_PATIENCE
    } else {
        PATIENCE
    };
    kubernetes.wait_gone(reference, Instant::now() + patience).await?;
    Ok(Removal::Removed)
}

pub(super) async fn remove_aws(aws: &Aws, marks: &Marks, object: &Object) -> Result<Removal, AwsError> {
    let tags = match object {
        Object::OidcProvider(arn) => aws.oidc_tags(arn).await,
        Object::Policy(arn) => aws.policy_tags(arn).await,
        Object::Role(name) => aws.role_tags(name).await,
        Object::Secret(name) => aws.secret_tags(name).await,
        Object::Kubernetes(_)
        | Object::Installed(_)
        | Object::Displaced { .. }
        | Object::Scratch(_)
        | Object::KindCluster(_)
        | Object::Container(_)
        | Object::EksCluster(_)
        | Object::Nodegroup { .. }
        | Object::Addon { .. }
        | Object::PodIdentityAssociation { .. } => Ok(Tags::new()),
    };
    match tags {
        Ok(tags) if tags.get(RUN_TAG).is_some_and(|run| run == marks.run()) => {}
        Ok(_) => return Ok(Removal::Foreign),
        Err(error) if error.is_not_found() => return Ok(Removal::Absent),
        Err(error) => return Err(error),
    }
    let until = Instant::now() + SETTLES;
    while let Err(error) = remove_of_run(aws, object).await {
        // What was detached or deleted just now may count still: IAM is eventually consistent.
        let may_settle = error.code() == Some("DeleteConflict") && aws.access().endpoint.is_none();
        if !may_settle || Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(LAST_LOOK).await;
    }
    Ok(Removal::Removed)
}

/// Removes what is known to be the run's.
async fn remove_of_run(aws: &Aws, object: &Object) -> Result<(), AwsError> {
    match object {
        Object::OidcProvider(arn) => aws.remove_oidc(arn).await?,
        Object::Policy(arn) => aws.remove_policy(arn).await?,
        Object::Role(name) => aws.remove_role(name).await?,
        Object::Secret(name) => aws.remove_secret(name).await?,
        Object::Kubernetes(_)
        | Object::Installed(_)
        | Object::Displaced { .. }
        | Object::Scratch(_)
        | Object::KindCluster(_)
        | Object::Container(_)
        | Object::EksCluster(_)
        | Object::Nodegroup { .. }
        | Object::Addon { .. }
        | Object::PodIdentityAssociation { .. } => {}
    }
    Ok(())
}
