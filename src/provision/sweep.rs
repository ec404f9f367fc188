//! Finishes what killed runs left.
//!
//! The ledgers below the reports folder say what was made and who made it. A run whose process is
//! there is never touched. What outlives the process are folders with their mounts, clusters and containers, and
//! secrets that somebody else's backend keeps; everything else on record was in its memory, or goes with those.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    AccountTrouble, Teardown, UnderWay, Went, finish_account,
    ledger::{self, ClusterReach, Found, Ledger, Object, Reach},
    removal::remove_aws,
    scratch_removed,
};
use crate::{
    environment::{AwsAgain, KeptClusters, reach_kept, remove_kind_cluster},
    journal::LeftoverFound,
    kubernetes::{Kubeconfigs, Kubernetes, KubernetesAccess},
    localstack,
    tenant::{ClusterName, Marks},
};

/// Name of a ledger in the folder of its run.
const LEDGER: &str = "ledger.jsonl";

/// A run that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Its id; the folder's name when the ledger cannot be read.
    pub run_id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: its teardown left nothing.
    Finished,
    /// Nothing: what is still there is kept on purpose.
    Kept(Vec<Object>),
    /// Nothing: its process is still there, or another sweep is at it.
    Running,
    /// Nothing: its ledger cannot be read, for this reason.
    Unreadable(String),
    /// Nothing: what it made is in an account that could not be asked, or is another one than the credentials'.
    Refused(String),
    /// It was finished, or in a dry run would have been.
    Finishing {
        /// What was removed, in order; in a dry run, what would be.
        removed: Vec<Object>,
        /// Number of objects that went with the process.
        gone_with_process: usize,
        /// What is still there, and why.
        left: Vec<LeftoverFound>,
    },
}

impl Swept {
    /// Whether something of the run's may still be there.
    #[must_use]
    pub fn leaves_something(&self) -> bool {
        match &self.outcome {
            Outcome::Finished | Outcome::Kept(_) | Outcome::Running => false,
            Outcome::Unreadable(_) | Outcome::Refused(_) => true,
            Outcome::Finishing { left, .. } => !left.is_empty(),
        }
    }
}

/// How to sweep.
#[derive(Clone, Copy)]
pub struct Sweeping<'a> {
    /// Only this run.
    pub only: Option<&'a str>,
    /// Whether nothing is removed, and only said what would be.
    pub dry: bool,
    /// The profile of the credentials for accounts; each run's own where absent.
    pub profile: Option<&'a str>,
    /// Hears of what is waited for.
    pub went: &'a Went<'a>,
}

/// Looks at every run below `reports`, or at the run `only`, and removes what killed ones left. With
/// `dry` it only says what it would do. In the order of the folders' names.
///
/// # Errors
///
/// When `reports` cannot be listed; a folder that does not exist holds no run.
pub async fn sweep(reports: &Path, only: Option<&str>, dry: bool) -> io::Result<Vec<Swept>> {
    let how = Sweeping {
        only,
        dry,
        profile: None,
        went: &|_| (),
    };
    sweep_as(reports, how).await
}

/// Ids of the runs below `reports` whose process is there.
///
/// # Errors
///
/// When `reports` cannot be listed; a folder that does not exist holds no run.
pub fn running(reports: &Path) -> io::Result<BTreeSet<String>> {
    let found = ledgers(reports)?;
    let found = found
        .iter()
        .filter_map(|folder| ledger::read(&folder.join(LEDGER)).ok());
    Ok(found
        .filter(Found::is_running)
        .map(|found| found.run_id)
        .collect())
}

/// Folders below `reports` that have a ledger, in the order of their names.
fn ledgers(reports: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    match fs::read_dir(reports) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry?;
                // `latest` is a link to one of the others.
                if entry.file_type()?.is_dir() && entry.path().join(LEDGER).is_file() {
                    folders.push(entry.path());
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    folders.sort();
    Ok(folders)
}

/// As [`sweep`].
pub async fn sweep_as(reports: &Path, how: Sweeping<'_>) -> io::Result<Vec<Swept>> {
    let only = how.only;
    let mut swept = Vec::new();
    for folder in ledgers(reports)? {
        let path = folder.join(LEDGER);
        let found = ledger::read(&path);
        let run_id = match &found {
            Ok(found) => found.run_id.clone(),
            Err(_) => folder
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        };
        if only.is_some_and(|only| only != run_id) {
            continue;
        }
        let outcome = match found {
            Ok(found) => finish(&path, found, how).await,
            Err(_) if nothing_on_record(&path) => Outcome::Finished,
            Err(error) => Outcome::Unreadable(error.to_string()),
        };
        swept.push(Swept {
            run_id,
            folder,
            outcome,
        });
    }
    Ok(swept)
}

/// Whether its run was killed before the first line was whole: nothing is made before that.
fn nothing_on_record(ledger: &Path) -> bool {
    fs::read(ledger).is_ok_and(|text| !text.contains(&b'\n'))
}

async fn finish(path: &Path, found: Found, how: Sweeping<'_>) -> Outcome {
    if found.is_running() {
        return Outcome::Running;
    }
    if found.closed && found.standing.is_empty() {
        let kept = still_kept(found.kept);
        return if kept.is_empty() {
            Outcome::Finished
        } else {
            Outcome::Kept(kept)
        };
    }
    if how.dry {
        let within = found.within.is_some() || found.within_cluster.is_some();
        let (removed, in_memory) = by_reach(found.standing, &found.reach, within);
        return Outcome::Finishing {
            removed,
            gone_with_process: in_memory.len(),
            left: Vec::new(),
        };
    }
    let under_way = UnderWay::of_ledger(path);
    match Ledger::take_over(path) {
        Ok((ledger, found)) => removed(&ledger, found, under_way, how).await,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Outcome::Running,
        Err(error) => Outcome::Unreadable(error.to_string()),
    }
}

async fn removed(ledger: &Ledger, mut found: Found, under_way: UnderWay, how: Sweeping<'_>) -> Outcome {
    let within = found.within.is_some() || found.within_cluster.is_some();
    let standing = std::mem::take(&mut found.standing);
    let (there, in_memory) = by_reach(standing, &found.reach, within);
    let marks = Marks::of_run(&found.run_id);
    for object in &in_memory {
        ledger.removed(object);
    }
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    if found.reach.is_account() && there.iter().any(|object| found.reach.outlives(object)) {
        match in_account(&found, ledger, &marks, under_way, how).await {
            Ok(report) => left.extend(report.left),
            Err(trouble) => return Outcome::Refused(trouble.to_string()),
        }
        let standing = ledger.standing();
        let went = there.iter().filter(|object| !standing.contains(object));
        removed.extend(went.cloned());
    }
    if within && !found.reach.is_account() {
        // An API server is as quick as what is beside us.
        under_way.lands(true).await;
    }
    if let Some(cluster) = &found.within {
        left.extend(removed_within(cluster, ledger, &marks).await);
        let standing = ledger.standing();
        let went = there.iter().filter(|object| !standing.contains(object));
        removed.extend(went.cloned());
    }
    // Of an account, the cluster was finished with it.
    if let Some(cluster) = found
        .within_cluster
        .as_ref()
        .filter(|_| !found.reach.is_account())
    {
        left.extend(finish_cluster(cluster, ledger, &marks).await.left);
        let standing = ledger.standing();
        let went = there.iter().filter(|object| !standing.contains(object));
        removed.extend(went.cloned());
    }
    for object in there {
        let gone = match &object {
            Object::Scratch(folder) => scratch_removed(folder).map_err(|error| error.to_string()),
            Object::KindCluster(cluster) => {
                let program = std::env::var_os("MOUNTPROOF_KIND").map(PathBuf::from);
                let gone = remove_kind_cluster(cluster, program.as_deref()).await;
                gone.map_err(|error| error.to_string())
            }
            Object::Container(container) => localstack::remove(container).await,
            Object::Secret(_) if !found.reach.is_account() => {
                secret_removed(&found.reach, &marks, &object).await
            }
            _ => continue,
        };
        match gone {
            Ok(()) => {
                ledger.removed(&object);
                removed.push(object);
            }
            Err(because) => left.push(LeftoverFound {
                object: object.to_string(),
                because,
            }),
        }
    }
    if left.is_empty()
        && let Err(error) = ledger.close()
    {
        left.push(LeftoverFound {
            object: "ledger".to_owned(),
            because: error.to_string(),
        });
    }
    Outcome::Finishing {
        removed,
        gone_with_process: in_memory.len(),
        left,
    }
}

/// Of a run whose worlds are an account and a cluster.
async fn in_account(
    found: &Found,
    ledger: &Ledger,
    marks: &Marks,
    under_way: UnderWay,
    how: Sweeping<'_>,
) -> Result<Teardown, AccountTrouble> {
    // Names of its roles begin with this one, or another: what is on record is all there then.
    let cluster = ClusterName::of_run(&found.run_id).map_err(|_| AccountTrouble::None)?;
    let (reach, profile) = (&found.reach, how.profile);
    let finishing = finish_account(reach, profile, ledger, marks, &cluster, under_way, how.went);
    Box::pin(finishing).await
}

/// Of a run whose secrets are in somebody else's backend.
async fn secret_removed(reach: &Reach, marks: &Marks, secret: &Object) -> Result<(), String> {
    let Reach::Backend { url, region } = reach else {
        return Ok(());
    };
    let aws = AwsAgain::before(url, region).await?;
    let removed = remove_aws(aws.administrator(), marks, secret).await;
    aws.stop().await;
    removed.map(drop).map_err(|error| error.to_string())
}

/// Removes what is in a cluster that outlived the run; what is left of it.
async fn removed_within(cluster: &str, ledger: &Ledger, marks: &Marks) -> Vec<LeftoverFound> {
    match reach_kept(cluster, marks).await {
        Ok(Some((kubernetes, hold))) => {
            let report = Teardown::of_cluster(&kubernetes, ledger, marks).await;
            drop(hold);
            report.left
        }
        // With everything in it.
        Ok(None) => {
            Teardown::default().went_with_cluster(ledger);
            Vec::new()
        }
        Err(because) => vec![LeftoverFound {
            object: format!("objects in kind cluster {cluster}"),
            because,
        }],
    }
}

/// Removes what a run has on record in a cluster of somebody else's, and puts back what made room for it.
pub async fn finish_cluster(cluster: &ClusterReach, ledger: &Ledger, marks: &Marks) -> Teardown {
    let connected = async {
        let ClusterReach::Context { kubeconfig, context } = cluster else {
            return Err("it is reached by its account only".to_owned());
        };
        let files = Kubeconfigs::at(kubeconfig.clone());
        let access = KubernetesAccess::of_context(&files, Some(context))?.access;
        let connected = Kubernetes::connect(&access, marks).await;
        connected.map_err(|error| error.to_string())
    };
    match connected.await {
        Ok(kubernetes) => Teardown::of_cluster(&kubernetes, ledger, marks).await,
        Err(because) => Teardown {
            left: vec![LeftoverFound {
                object: format!("objects in {cluster}"),
                because,
            }],
            ..Teardown::default()
        },
    }
}

/// What is kept and was not deleted since.
fn still_kept(mut kept: Vec<Object>) -> Vec<Object> {
    if kept.is_empty() {
        return kept;
    }
    let clusters = KeptClusters::of_this_user();
    kept.retain(|object| match object {
        Object::KindCluster(name) => clusters.read(name).is_ok_and(|record| record.is_some()),
        _ => false,
    });
    kept
}

/// What is there still, the last made first: on the machine, in a backend that stays, and `within` a cluster that does. And
/// what was in the process's memory.
fn by_reach(standing: Vec<Object>, reach: &Reach, within: bool) -> (Vec<Object>, Vec<Object>) {
    standing.into_iter().rev().partition(|object| match object {
        Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_) => true,
        Object::Kubernetes(_) | Object::Installed(_) | Object::Displaced { .. } => {
            within || reach.outlives(object)
        }
        _ => reach.outlives(object),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::{super::MARKER, *};

    /// The ledger of a run whose process is gone, in `reports/<run>`.
    fn killed(reports: &Path, run: &str, objects: &[Object]) -> PathBuf {
        let folder = reports.join(run);
        fs::create_dir(&folder).unwrap();
        let path = folder.join(LEDGER);
        Ledger::create(&path, run).unwrap().plan(objects).unwrap();
        let own = fs::read_to_string(&path).unwrap();
        // A process that started at another time under the same number.
        let other = own.replacen("\"started\":", "\"started\":9", 1);
        assert_ne!(own, other);
        fs::write(&path, other).unwrap();
        path
    }

    fn scratch(root: &Path, name: &str) -> Object {
        let folder = root.join(name);
        fs::create_dir_all(folder.join("kubelet/pods")).unwrap();
        fs::write(folder.join(MARKER), "").unwrap();
        Object::Scratch(folder)
    }

    #[tokio::test]
    async fn what_a_killed_run_left_is_removed_once() {
        let root = tempfile::tempdir().unwrap();
        let reports = root.path().join("reports");
        fs::create_dir(&reports).unwrap();
        let folder = scratch(root.path(), "scratch");
        killed(&reports, "r1", &[folder.clone(), Object::Role("r".into())]);
        std::os::unix::fs::symlink("r1", reports.join("latest")).unwrap();

        let expected = Outcome::Finishing {
            removed: vec![folder],
            gone_with_process: 1,
            left: Vec::new(),
        };
        let would = sweep(&reports, None, true).await.unwrap();
        assert_eq!(would.len(), 1, "the link is no run of its own");
        assert_eq!(would[0].outcome, expected);
        assert!(root.path().join("scratch").exists(), "a dry run removes nothing");

        assert!(sweep(&reports, Some("r2"), false).await.unwrap().is_empty());
        assert!(root.path().join("scratch").exists(), "another run was named");

        assert_eq!(
            sweep(&reports, Some("r1"), false).await.unwrap()[0].outcome,
            expected
        );
        assert!(!root.path().join("scratch").exists());
        assert_eq!(
            sweep(&reports, None, false).await.unwrap()[0].outcome,
            Outcome::Finished
        );
    }

    #[tokio::test]
    async fn a_run_that_is_running_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = scratch(root.path(), "scratch");
        let run = root.path().join("reports/r1");
        fs::create_dir_all(&run).unwrap();
        let ledger = Ledger::create(&run.join(LEDGER), "r1").unwrap();
        ledger.plan(&[folder]).unwrap();
        let swept = sweep(&root.path().join("reports"), None, false).await.unwrap();
        assert_eq!(swept[0].outcome, Outcome::Running);
        assert!(root.path().join("scratch").exists());
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_said_and_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let reports = root.path().join("reports");
        fs::create_dir(&reports).unwrap();
        let foreign = root.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), "x").unwrap();
        killed(&reports, "r1", &[Object::Scratch(foreign.clone())]);
        for _ in 0..2 {
            let swept = sweep(&reports, None, false).await.unwrap();
            assert!(swept[0].leaves_something());
        }
        assert!(foreign.join("precious").exists());
        fs::write(foreign.join(MARKER), "").unwrap();
        assert!(!sweep(&reports, None, false).await.unwrap()[0].leaves_something());
        assert!(!foreign.exists());
    }

    #[tokio::test]
    async fn secrets_of_a_backend_that_stays_are_no_memory_of_the_run() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("r1");
        fs::create_dir(&run).unwrap();
        let secret = Object::Secret("demo/team-red/secret".into());
        let path = killed(root.path(), "r2", &[Object::Role("r".into()), secret.clone()]);
        let embedded = fs::read_to_string(&path).unwrap();
        // A port that nobody listens on.
        let reach = r#""reach":{"backend":{"url":"http://127.0.0.1:1","region":"eu-west-1"}}"#;
        let of_backend = embedded.replacen(r#""reach":"embedded""#, reach, 1);
        assert_ne!(embedded, of_backend);
        fs::write(&path, of_backend).unwrap();
        let would = sweep(root.path(), None, true).await.unwrap();
        let Outcome::Finishing {
            removed,
            gone_with_process,
            ..
        } = &would[0].outcome
        else {
            panic!("{would:?}");
        };
        assert_eq!((&removed[..], *gone_with_process), (&[secret][..], 1));
        let swept = sweep(root.path(), None, false).await.unwrap();
        assert!(swept[0].leaves_something(), "{swept:?}");
        assert!(format!("{swept:?}").contains("the backend at http://127.0.0.1:1 cannot be used"));
    }

    #[tokio::test]
    async fn broken_ledgers_are_reported_and_no_reports_are_fine() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            sweep(&root.path().join("none"), None, false)
                .await
                .unwrap()
                .is_empty()
        );
        let run = root.path().join("r1");
        fs::create_dir(&run).unwrap();
        fs::write(run.join(LEDGER), "garbage\n").unwrap();
        let swept = sweep(root.path(), None, false).await.unwrap();
        assert_eq!(swept[0].run_id, "r1");
        assert!(matches!(&swept[0].outcome, Outcome::Unreadable(why) if why.contains(":1:")));
        assert!(swept[0].leaves_something());
        for killed_at_once in ["", "{\"opened\":{\"sch"] {
            fs::write(run.join(LEDGER), killed_at_once).unwrap();
            assert_eq!(
                sweep(root.path(), None, false).await.unwrap()[0].outcome,
                Outcome::Finished
            );
        }
    }
}
