//! What runs left, without any ledger: by the tags and labels that everything of a run's carries, and by its age. In an account,
//! and in the Kubernetes of clusters that stay.
//!
//! A run that has anything younger than asked for may be going on somewhere else, and is left alone as a whole; so is one
//! whose process is here. What others use beside the run that made it (driver and provider, an identity provider) stays for as long
//! as such a run is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{
    Teardown, Went,
    labelled::{self, Labelled},
    ledger::Object,
    owned::{by_run, in_order},
    teardown::Record,
};
use crate::{
    aws::{Aws, AwsError, ClusterView, Inventory},
    environment::eks,
    journal::LeftoverFound,
    kubernetes::{Kubernetes, KubernetesAccess},
    tenant::{ClusterName, Marks, RUN_TAG},
};

/// Clusters that are looked into at a time.
const PARALLEL: usize = 4;
/// Longest look into one: a team's may have an address that is not reached from here.
const LOOK: Duration = Duration::from_mins(1);

/// Which runs' leavings are removed.
#[derive(Clone, Copy)]
pub struct Aging<'a> {
    /// All of a run's is older than this.
    pub older_than: Duration,
    /// The time that ages are reckoned from.
    pub now: Timestamp,
    /// Runs whose process is here.
    pub running: &'a BTreeSet<String>,
    /// Whether nothing is removed, and only said what would be.
    pub dry: bool,
    /// Hears of what is waited for.
    pub went: &'a Went<'a>,
}

/// A run that something was found of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// Its id.
    pub run_id: String,
    /// How old the youngest of its objects is; none where that is not known.
    pub age: Option<Duration>,
    /// What was found, but for what is spared.
    pub found: Vec<AgedObject>,
    /// What stays for now, as a run uses it that is left alone, and which.
    pub spared: Vec<LeftoverFound>,
    /// What was done.
    pub outcome: AgedOutcome,
}

/// Something of such a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgedObject {
    /// What it is.
    pub object: Object,
    /// The cluster that stays and has it, in words.
    pub within: Option<String>,
}

impl fmt::Display for AgedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.within {
            None => self.object.fmt(f),
            Some(cluster) => write!(f, "{} in {cluster}", self.object),
        }
    }
}

/// What was done about such a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgedOutcome {
    /// Nothing: something of it is too young.
    Young,
    /// Nothing: its process is here.
    Running,
    /// Nothing, in a dry run: all that was found would be removed.
    WouldRemove,
    /// It was removed, but for what is left, and why.
    Removed {
        /// What is gone.
        removed: Vec<AgedObject>,
        /// What is not.
        left: Vec<LeftoverFound>,
    },
}

/// What a sweep by age came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgedSweep {
    /// The runs that something was found of, in the order of their ids.
    pub runs: Vec<Aged>,
    /// Clusters that were not looked into, or not wholly.
    pub passed_over: Vec<PassedOver>,
}

/// A cluster that was not looked into, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// In words.
    pub cluster: String,
    /// Why.
    pub because: String,
}

/// Nothing was looked through, and nothing removed.
#[derive(Debug, thiserror::Error)]
pub enum AgedError {
    /// The account cannot be asked.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The cluster that was named cannot be looked into.
    #[error("{} was not looked into: {}", .0.cluster, .0.because)]
    Cluster(PassedOver),
}

/// Removes what runs left in the account of `aws` and in the Kubernetes of its clusters in the region, where all of a run's is
/// old enough. Of clusters that are no run's, each that is `ACTIVE` is looked into, or `only` one; those that do not let these
/// credentials in are passed over.
///
/// # Errors
///
/// When the account cannot be looked through, or the only cluster cannot.
pub async fn sweep_account(
    aws: &Arc<Aws>,
    only: Option<&str>,
    how: Aging<'_>,
) -> Result<AgedSweep, AgedError> {
    let Inventory {
        owned,
        hidden,
        clusters,
    } = aws.inventory().await?;
    let (own, standing): (Vec<ClusterView>, Vec<ClusterView>) = clusters
        .into_iter()
        .partition(|cluster| cluster.tags.contains_key(RUN_TAG));
    let issuers = own.iter().filter_map(|cluster| cluster.issuer.as_deref());
    let mut leavings = Leavings {
        of_runs: issuers
            .map(|issuer| Object::OidcProvider(aws.oidc_arn(issuer)))
            .chain(own.iter().map(|cluster| Object::EksCluster(cluster.name.clone())))
            .collect(),
        ..Leavings::default()
    };
    let standing = standing.into_iter().filter(|cluster| match only {
        Some(only) => cluster.name == only,
        // One that comes up, goes or has failed has nothing to look into.
        None => matches!(cluster.status.as_str(), "ACTIVE" | "UPDATING"),
    });
    let mut looks = stream::iter(standing)
        .map(|cluster| async move {
            let reached = async {
                let access = eks::access(aws, &cluster).map_err(|error| error.to_string())?;
                reached(&access).await
            };
            (in_words(&cluster), reached.await)
        })
        .buffered(PARALLEL);
    while let Some((name, reached)) = looks.next().await {
        leavings.note(name, reached);
    }
    let denied = |cluster: String| PassedOver {
        cluster: format!("EKS cluster {cluster}"),
        because: "these credentials may not ask EKS about it".to_owned(),
    };
    leavings.passed_over.extend(hidden.into_iter().map(denied));
    if let Some(only) = only {
        leavings.has_looked_into(only)?;
    }
    for (run, owned) in by_run(owned) {
        let in_account = in_order(owned).into_iter().map(|(object, created)| Left {
            object,
            created,
            cluster: None,
        });
        leavings.runs.entry(run).or_default().extend(in_account);
    }
    Ok(leavings.swept(Some(aws), how).await)
}

/// The same in one cluster of which only Kubernetes is known: `name` says which, in words.
///
/// # Errors
///
/// When it cannot be looked into.
pub async fn sweep_cluster(
    access: &KubernetesAccess,
    name: &str,
    how: Aging<'_>,
) -> Result<AgedSweep, AgedError> {
    let mut leavings = Leavings::default();
    leavings.note(name.to_owned(), reached(access).await);
    leavings.has_looked_into(name)?;
    Ok(leavings.swept(None, how).await)
}

/// Something that a run left.
#[derive(Debug, Clone)]
struct Left {
    object: Object,
    created: Option<Timestamp>,
    /// Which of the clusters has it; none where it is in the account.
    cluster: Option<usize>,
}

/// What was found, and where.
#[derive(Default)]
struct Leavings {
    clusters: Vec<Cluster>,
    passed_over: Vec<PassedOver>,
    runs: BTreeMap<String, Vec<Left>>,
    /// Clusters that are a run's, and their identity providers: nobody else uses what is in them.
    of_runs: BTreeSet<Object>,
}

/// A cluster that was looked into.
struct Cluster {
    name: String,
    kubernetes: Kubernetes,
}

/// Looks into a cluster; why it cannot be done.
async fn reached(access: &KubernetesAccess) -> Result<(Kubernetes, labelled::Look), String> {
    let looking = async {
        // As a run does, which is none.
        let kubernetes = Kubernetes::connect(access, &Marks::of_run("sweep")).await?;
        let look = labelled::look(&kubernetes).await?;
        Ok::<_, crate::kubernetes::KubernetesError>((kubernetes, look))
    };
    match tokio::time::timeout(LOOK, looking).await {
        Ok(looked) => looked.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {LOOK:?}")),
    }
}

fn in_words(cluster: &ClusterView) -> String {
    format!("EKS cluster {}", cluster.name)
}

impl Leavings {
    fn note(&mut self, name: String, reached: Result<(Kubernetes, labelled::Look), String>) {
        let (kubernetes, look) = match reached {
            Ok(reached) => reached,
            Err(because) => {
                let cluster = name;
                self.passed_over.push(PassedOver { cluster, because });
                return;
            }
        };
        if !look.refused.is_empty() {
            self.passed_over.push(PassedOver {
                cluster: name.clone(),
                because: format!("these kinds may not be listed: {}", look.refused.join(", ")),
            });
        }
        let cluster = Some(self.clusters.len());
        self.clusters.push(Cluster { name, kubernetes });
        for Labelled { run, object, created } in look.found {
            self.runs.entry(run).or_default().push(Left {
                object,
                created,
                cluster,
            });
        }
    }

    /// An error where the only cluster that was meant was not.
    fn has_looked_into(&self, only: &str) -> Result<(), AgedError> {
        let is_it = |name: &str| name == only || name == format!("EKS cluster {only}");
        if self.clusters.iter().any(|cluster| is_it(&cluster.name)) {
            return Ok(());
        }
        let why = self.passed_over.iter().find(|cluster| is_it(&cluster.cluster));
        Err(AgedError::Cluster(why.cloned().unwrap_or_else(|| PassedOver {
            cluster: format!("EKS cluster {only}"),
            because: "there is none of this name in the region, or it is a run's own".to_owned(),
        })))
    }

    async fn swept(self, aws: Option<&Aws>, how: Aging<'_>) -> AgedSweep {
        let fates: Vec<(&String, &Vec<Left>, Option<Duration>, Fate)> = self
            .runs
            .iter()
            .map(|(run_id, left)| {
                let age = youngest(left.iter().map(|one| one.created), how.now);
                (run_id, left, age, fate(run_id, age, how))
            })
            .collect();
        // Where runs are that are left alone.
        let mut alone: BTreeMap<Option<usize>, &str> = BTreeMap::new();
        for (run_id, left, ..) in fates.iter().filter(|(.., fate)| *fate != Fate::Goes) {
            alone.extend(left.iter().map(|one| (one.cluster, run_id.as_str())));
        }
        let mut runs = Vec::new();
        for (run_id, left, age, fate) in &fates {
            let (spared, goes): (Vec<Left>, Vec<Left>) = left.iter().cloned().partition(|one| {
                *fate == Fate::Goes
                    && is_shared(&one.object, &self.of_runs)
                    && alone.contains_key(&one.cluster)
            });
            let spared: Vec<(Option<usize>, LeftoverFound)> = spared
                .iter()
                .map(|one| {
                    let by = alone.get(&one.cluster).copied().unwrap_or_default();
                    let because = format!("run {by} may use it, which is left alone");
                    let object = one.object.to_string();
                    (one.cluster, LeftoverFound { object, because })
                })
                .collect();
            let outcome = match fate {
                Fate::Running => AgedOutcome::Running,
                Fate::Young => AgedOutcome::Young,
                Fate::Goes if how.dry => AgedOutcome::WouldRemove,
                Fate::Goes => self.removed(aws, run_id, &goes, &spared, how.went).await,
            };
            runs.push(Aged {
                run_id: (*run_id).clone(),
                age: *age,
                found: goes.iter().map(|one| self.told(one)).collect(),
                spared: spared.into_iter().map(|(_, spared)| spared).collect(),
                outcome,
            });
        }
        AgedSweep {
            runs,
            passed_over: self.passed_over,
        }
    }

    fn told(&self, left: &Left) -> AgedObject {
        AgedObject {
            object: left.object.clone(),
            within: left.cluster.map(|at| self.clusters[at].name.clone()),
        }
    }

    /// Removes a run, out of clusters first: pods that mount need what it has in the account.
    async fn removed(
        &self,
        aws: Option<&Aws>,
        run_id: &str,
        left: &[Left],
        spared: &[(Option<usize>, LeftoverFound)],
        went: &Went<'_>,
    ) -> AgedOutcome {
        let marks = Marks::of_run(run_id);
        let name = match ClusterName::of_run(run_id) {
            Ok(name) => name,
            Err(error) => {
                // A mark that no run of ours has written.
                return AgedOutcome::Removed {
                    removed: Vec::new(),
                    left: vec![LeftoverFound {
                        object: format!("run {run_id}"),
                        because: error.to_string(),
                    }],
                };
            }
        };
        let (mut removed, mut stays) = (Vec::new(), Vec::new());
        let places = (0..self.clusters.len()).map(Some).chain([None]);
        for place in places {
            let here: Vec<&Left> = left.iter().filter(|one| one.cluster == place).collect();
            if here.is_empty() {
                continue;
            }
            let still = Mutex::new(here.iter().map(|one| one.object.clone()).collect());
            let spared: Vec<LeftoverFound> = spared
                .iter()
                .filter(|(at, _)| *at == place)
                .map(|(_, spared)| spared.clone())
                .collect();
            let record = Record::Found {
                still: &still,
                spared: &spared,
            };
            let (report, within) = match (place.map(|at| &self.clusters[at]), aws) {
                (Some(Cluster { name, kubernetes }), _) => {
                    let report = Teardown::in_cluster(kubernetes, record, &marks, went).await;
                    (report, format!(" in {name}"))
                }
                (None, Some(aws)) => {
                    let report = Teardown::of_account(aws, None, record, &marks, &name, went).await;
                    (report, String::new())
                }
                (None, None) => continue,
            };
            let still = still.into_inner().unwrap_or_else(PoisonError::into_inner);
            let gone = here.into_iter().filter(|one| !still.contains(&one.object));
            removed.extend(gone.map(|one| self.told(one)));
            let left = report.left.into_iter().filter(|left| !spared.contains(left));
            stays.extend(left.map(|left| LeftoverFound {
                object: left.object + &within,
                ..left
            }));
        }
        AgedOutcome::Removed { removed, left: stays }
    }
}

/// PURE: whether other runs may use it beside the one that made it.
fn is_shared(object: &Object, of_runs: &BTreeSet<Object>) -> bool {
    match object {
        Object::Installed(_) | Object::Displaced { .. } => true,
        Object::OidcProvider(_) => !of_runs.contains(object),
        Object::Addon { cluster, .. } => !of_runs.contains(&Object::EksCluster(cluster.clone())),
        _ => false,
    }
}

/// What becomes of a run.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Running,
    Young,
    Goes,
}

/// PURE.
fn fate(run_id: &str, age: Option<Duration>, how: Aging<'_>) -> Fate {
    if how.running.contains(run_id) {
        Fate::Running
    } else if age.is_none_or(|age| age < how.older_than) {
        Fate::Young
    } else {
        Fate::Goes
    }
}

/// PURE: the age of the youngest; none where that of one is not known.
fn youngest(created: impl Iterator<Item = Option<Timestamp>>, now: Timestamp) -> Option<Duration> {
    let ages = created.map(|created| {
        let age = now.duration_since(created?);
        Some(Duration::try_from(age).unwrap_or_default())
    });
    ages.collect::<Option<Vec<_>>>()?.into_iter().min()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;
    use crate::kubernetes::ObjectRef;

    #[test]
    fn a_run_is_as_old_as_its_youngest_object_and_of_no_age_where_one_is_not_known() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let time = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let hours = |created: &[Option<Timestamp>]| {
            youngest(created.iter().copied(), now).map(|age| age.as_secs() / 3600)
        };
        let (old, young) = (time("2026-01-01T02:00:00Z"), time("2026-01-01T11:00:00Z"));
        assert_eq!(hours(&[old]), Some(10));
        assert_eq!(hours(&[old, young]), Some(1));
        assert_eq!(hours(&[old, None]), None);
        let ahead = time("2026-01-01T13:00:00Z");
        assert_eq!(hours(&[ahead]), Some(0), "another clock is ahead");
    }

    #[test]
    fn a_run_goes_that_is_old_enough_and_not_here() {
        let here = BTreeSet::from(["here".to_owned()]);
        let how = Aging {
            older_than: Duration::from_hours(6),
            now: Timestamp::UNIX_EPOCH,
            running: &here,
            dry: false,
            went: &|_| (),
        };
        let hours = |hours| Some(Duration::from_hours(hours));
        for (run, age, expected) in [
            ("gone", hours(6), Fate::Goes),
            ("gone", hours(5), Fate::Young),
            ("gone", None, Fate::Young),
            ("here", hours(6), Fate::Running),
            ("here", hours(5), Fate::Running),
        ] {
            assert_eq!(fate(run, age, how), expected, "{run} {age:?}");
        }
    }

    #[test]
    fn what_a_cluster_that_stays_has_for_all_is_shared_and_what_a_runs_own_has_is_not() {
        let provider = |arn: &str| Object::OidcProvider(arn.to_owned());
        let addon = |cluster: &str| Object::Addon {
            cluster: cluster.to_owned(),
            name: "a".to_owned(),
        };
        let driver = ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), "d");
        let of_runs = BTreeSet::from([Object::EksCluster("own".to_owned()), provider("of-own")]);
        for (object, shared) in [
            (Object::Installed(driver.clone()), true),
            (Object::Kubernetes(driver), false),
            (provider("of-own"), false),
            (provider("of-theirs"), true),
            (addon("own"), false),
            (addon("theirs"), true),
            (Object::Role("r".to_owned()), false),
        ] {
            assert_eq!(is_shared(&object, &of_runs), shared, "{object}");
        }
    }
}
