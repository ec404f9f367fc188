//! Clusters that are kept: what is known of each, in `$XDG_STATE_HOME/mountproof/clusters`.
//!
//! Three files each: `NAME.json`, the record; `NAME.kubeconfig`, the way in, which nobody else's kubeconfig has; `NAME.lock`, held
//! by whoever uses or changes the cluster. A record is written before its cluster is made, and goes after it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    environment::installation::{Installation, InstallationOptions},
    kubernetes::ObjectRef,
    provision::Process,
};

/// Name of a cluster where none is given.
pub const DEFAULT_NAME: &str = "mountproof";
/// How the name of a folder for what making a cluster needs ends.
const SCRATCH: &str = ".scratch";
/// The longest name: a node's, which is its host name, has up to 15 characters more.
const LONGEST_NAME: usize = 48;

/// A cluster that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCluster {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub stage: Stage,
    /// Why it is there.
    pub why: Why,
    /// Who makes it, or made it.
    pub maker: Process,
    /// What was asked of kind.
    pub asked: Asked,
    /// Its nodes, by name, with the ids of their containers: what tells it from another of its name.
    #[serde(default)]
    pub nodes: Vec<KeptNode>,
    /// What is on its nodes.
    #[serde(default)]
    pub images: Option<Images>,
    /// What was made for that, in the cluster: what another installation does not have goes with this one.
    #[serde(default)]
    pub objects: Vec<ObjectRef>,
}

impl KeptCluster {
    /// Whether whoever made it was killed before it stood.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.stage == Stage::Making && !self.maker.is_running()
    }
}

/// How far a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is being made, or whoever made it was killed.
    Making,
    /// It stands.
    Standing,
}

/// Why a cluster is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// To be used by many runs.
    ToReuse,
    /// As the run with this id left it, which did not pass.
    AfterFailure(String),
}

/// What was asked of kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Image of the nodes, where one was named.
    pub image: Option<String>,
    /// A configuration of kind's, where one was named.
    pub config: Option<PathBuf>,
    /// Workers beside the control plane.
    pub workers: u32,
    /// Kubelet's limit of pods, where one was named.
    pub max_pods: Option<u32>,
}

/// A node of a cluster that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNode {
    /// Its name, which is its container's.
    pub name: String,
    /// Docker's id of the container.
    pub id: String,
}

/// Images on the nodes of a cluster that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The driver's.
    pub driver: String,
    /// The provider's.
    pub provider: String,
    /// Of what registers the driver with kubelet.
    pub registrar: String,
}

impl Images {
    /// Those of an installation.
    pub(super) fn of(installation: &Installation) -> Self {
        Self {
            driver: installation.driver.image.clone(),
            provider: installation.provider.image.clone(),
            registrar: installation.registrar().unwrap_or_default().to_owned(),
        }
    }

    /// What is asked for, and where nothing is, these images.
    pub(super) fn unless_asked(&self, options: &InstallationOptions) -> InstallationOptions {
        options.or_images(&self.driver, &self.provider, &self.registrar)
    }
}

/// Whether a cluster, and its nodes, may have this name: kind's rule, with room for the names of nodes.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn checked_name(name: &str) -> Result<String, String> {
    let fine = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let inside = name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && !name.ends_with('-');
    if inside && name.chars().all(fine) && name.len() <= LONGEST_NAME {
        return Ok(name.to_owned());
    }
    Err(format!(
        "a cluster's name has lower-case letters, digits and dashes between them, {LONGEST_NAME} at most"
    ))
}

/// Where the records lie.
#[derive(Debug, Clone)]
pub struct KeptClusters {
    folder: PathBuf,
}

impl KeptClusters {
    /// Of this user: below `XDG_STATE_HOME`, or below the home folder.
    #[must_use]
    pub fn of_this_user() -> Self {
        Self::below(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
    }

    /// PURE: where that is, of these two variables; a relative folder is none, as the specification has it.
    fn below(state: Option<OsString>, home: Option<OsString>) -> Self {
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let state = state
            .and_then(absolute)
            .or_else(|| Some(home.and_then(absolute)?.join(".local/state")));
        Self {
            folder: state
                .unwrap_or_else(std::env::temp_dir)
                .join("mountproof/clusters"),
        }
    }

    /// Every record, by name; one that cannot be read is none.
    #[must_use]
    pub fn all(&self) -> Vec<KeptCluster> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some(name.strip_suffix(".json")?.to_owned())
            })
            .collect();
        names.sort();
        names
            .iter()
            .filter_map(|name| self.read(name).ok().flatten())
            .collect()
    }

    /// The record of a cluster, if there is one.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<KeptCluster>> {
        let path = self.path(name, "json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| named(&path, &error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&path, &error)),
        }
    }

    /// Writes a record, on disk, in the place of the one that is there.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, cluster: &KeptCluster) -> io::Result<()> {
        let path = self.path(&cluster.name, "json");
        let text = serde_json::to_vec_pretty(cluster)?;
        self.write_private(&path, &text)
            .map_err(|error| named(&path, &error))
    }

    /// Keeps the way into a cluster; readable by its owner only, for it is the cluster's administrator.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_kubeconfig(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let path = self.kubeconfig(name);
        self.write_private(&path, text)
            .map_err(|error| named(&path, &error))
    }

    /// Where the way into a cluster is kept.
    #[must_use]
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.path(name, "kubeconfig")
    }

    /// A folder for what making a cluster needs on the way, which goes with the answer.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn scratch(&self, name: &str) -> io::Result<Scratch> {
        let folder = self.path(name, &format!("{}{SCRATCH}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| named(&folder, &error))?;
        Ok(Scratch(folder))
    }

    /// Forgets a cluster that is gone.
    ///
    /// # Errors
    ///
    /// When its record is still there.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        for kind in ["kubeconfig", "json", "lock"] {
            match fs::remove_file(self.path(name, kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(named(&self.path(name, kind), &error));
                }
                _ => {}
            }
        }
        // Of an `up` that was killed.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let of = entry.file_name().into_string().unwrap_or_default();
            if of.ends_with(SCRATCH) && of.split('.').next() == Some(name) {
                fs::remove_dir_all(entry.path()).map_err(|error| named(&entry.path(), &error))?;
            }
        }
        Ok(())
    }

    /// Takes hold of a cluster, for as long as the answer lives; `None` where another process has it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written.
    pub fn take(&self, name: &str) -> io::Result<Option<Hold>> {
        let path = self.path(name, "lock");
        fs::create_dir_all(&self.folder).map_err(|error| named(&self.folder, &error))?;
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| named(&path, &error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(named(&path, &error)),
            }
            // Whoever had it may have removed the file in the meantime: then it holds nobody off.
            if is_at(&file, &path)? {
                return Ok(Some(Hold(file)));
            }
        }
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(format!("{name}.{kind}"))
    }

    fn write_private(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let beside = path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    }
}

/// A folder that goes with this.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It holds nothing that is needed, and nothing that is secret.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Nobody else uses or changes a cluster while this lives.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "it is held, and never looked at")] File);

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(path) {
        Ok(there) => Ok(there.ino() == file.metadata()?.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    pub(crate) fn in_folder(folder: &Path) -> KeptClusters {
        KeptClusters {
            folder: folder.join("state/clusters"),
        }
    }

    pub(crate) fn cluster(name: &str) -> KeptCluster {
        KeptCluster {
            name: name.to_owned(),
            stage: Stage::Standing,
            why: Why::ToReuse,
            maker: Process::this().unwrap(),
            asked: Asked::default(),
            nodes: vec![KeptNode {
                name: format!("{name}-control-plane"),
                id: "0123".to_owned(),
            }],
            images: None,
            objects: Vec::new(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = in_folder(folder.path());
        assert_eq!(kept.read("a").unwrap(), None);
        assert_eq!(kept.all(), []);
        kept.forget("a").unwrap();
        let (first, second) = (cluster("a"), cluster("b"));
        kept.write(&second).unwrap();
        kept.write(&first).unwrap();
        kept.write_kubeconfig("a", b"key").unwrap();
        assert_eq!(kept.all(), [first.clone(), second.clone()]);
        assert_eq!(kept.read("a").unwrap(), Some(first));
        let mode = fs::metadata(kept.kubeconfig("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it opens the cluster");
        let held = kept.take("a").unwrap();
        kept.forget("a").unwrap();
        drop(held);
        assert_eq!(kept.all(), [second]);
        assert!(!kept.kubeconfig("a").exists());
    }

    #[test]
    fn only_what_was_never_finished_is_abandoned() {
        let standing = cluster("a");
        let mut gone = standing.maker.clone();
        gone.started += 1;
        for (stage, maker, abandoned) in [
            (Stage::Making, &standing.maker, false),
            (Stage::Making, &gone, true),
            (Stage::Standing, &gone, false),
        ] {
            let cluster = KeptCluster {
                stage,
                maker: maker.clone(),
                ..standing.clone()
            };
            assert_eq!(cluster.is_abandoned(), abandoned, "{stage:?}");
        }
    }

    #[test]
    fn a_cluster_is_one_users_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let kept = in_folder(folder.path());
        let hold = kept.take("a").unwrap();
        assert!(hold.is_some());
        assert!(kept.take("a").unwrap().is_none());
        assert!(kept.take("b").unwrap().is_some(), "another cluster");
        drop(hold);
        assert!(kept.take("a").unwrap().is_some());
    }

    #[test]
    fn names_are_those_that_nodes_may_have() {
        let longest = "a".repeat(LONGEST_NAME);
        for name in ["mountproof", "a", "7", "team-1", &longest] {
            assert_eq!(checked_name(name).as_deref(), Ok(name));
        }
        let too_long = "a".repeat(LONGEST_NAME + 1);
        for name in ["", "-a", "a-", "A", "a_b", "a/b", "../a", "a b", "ä", &too_long] {
            assert!(checked_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn records_lie_below_the_users_own_state() {
        let folder = |state: Option<&str>, home: Option<&str>| {
            KeptClusters::below(state.map(OsString::from), home.map(OsString::from)).folder
        };
        for (state, home, expected) in [
            (Some("/s"), Some("/h"), "/s/mountproof/clusters"),
            (None, Some("/h"), "/h/.local/state/mountproof/clusters"),
            (Some(""), Some("/h"), "/h/.local/state/mountproof/clusters"),
            (Some("s"), Some("/h"), "/h/.local/state/mountproof/clusters"),
        ] {
            assert_eq!(folder(state, home), Path::new(expected));
        }
    }
}
