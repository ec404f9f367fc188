//! The programs `kind` and `docker`, asked with deadlines, and errors that say what to do.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    command::{Trouble, run as run_with, watched},
    generation::Version,
};

/// The oldest `kind` that knows what is asked of it: `kubeadmConfigPatches` of kubeadm's v1beta4.
const OLDEST: Version = Version::new(0, 25, 0);
/// How it is had.
const INSTALL: &str = "go install sigs.k8s.io/kind@v0.33.0 (or see kind's quick start), then have it in PATH, or name it \
                       with --kind PROGRAM or MOUNTPROOF_KIND";

/// What Docker says of a port that something else has.
const TAKEN_PORT: &str = "port is already allocated";

/// Longest wait for an answer that needs no work.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest wait for a cluster to stand, an image of nodes to be pulled included.
const CREATE: Duration = Duration::from_mins(10);
/// Longest wait for an image to be in every node, or for a cluster to be gone.
const WORK: Duration = Duration::from_mins(3);

/// A program did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// There is no such program.
    #[error("{program} cannot be run ({because}); install it: {install}")]
    Missing {
        /// Which.
        program: PathBuf,
        /// Why.
        because: String,
        /// How it is had.
        install: &'static str,
    },
    /// It is too old.
    #[error("{program} is version {found}, and {OLDEST} is needed; install a newer one: {INSTALL}")]
    TooOld {
        /// Which.
        program: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// Docker does not answer.
    #[error("Docker does not answer ({0}): start it, and be allowed to use it (`docker info` tells)")]
    NoDocker(String),
    /// It failed.
    #[error("{what} failed: {said}{help}")]
    Failed {
        /// Such as `kind create cluster`.
        what: String,
        /// The end of what it wrote.
        said: String,
        /// What to do, from a semicolon on; empty where nothing more is known.
        help: &'static str,
    },
    /// It took too long.
    #[error("{what} did not end within {within:?}")]
    Slow {
        /// Such as `kind create cluster`.
        what: String,
        /// The deadline.
        within: Duration,
    },
}

impl KindError {
    /// Whether a port was wanted that something else has.
    pub(super) fn is_taken_port(&self) -> bool {
        matches!(self, Self::Failed { said, .. } if said.contains(TAKEN_PORT))
    }
}

/// `kind`, of a version that will do, with a Docker that answers.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    program: PathBuf,
    version: String,
}

impl Kind {
    /// Looks for the program, in `PATH` where none is named, and asks it and Docker whether they are there.
    pub(super) async fn find(named: Option<&Path>) -> Result<Self, KindError> {
        let kind = Self::program(named).await?;
        match docker(["info", "--format", "{{.ServerVersion}}"], ANSWER).await {
            Ok(_) => Ok(kind),
            Err(KindError::Failed { said, .. }) => Err(KindError::NoDocker(said)),
            Err(error) => Err(error),
        }
    }

    /// Looks for the program alone.
    pub(super) async fn program(named: Option<&Path>) -> Result<Self, KindError> {
        let program = named.unwrap_or_else(|| Path::new("kind")).to_owned();
        let said = match run(&program, ["version"], ANSWER).await {
            Err(Trouble::NotRun(because)) => {
                return Err(KindError::Missing {
                    program,
                    because,
                    install: INSTALL,
                });
            }
            other => other.map_err(|trouble| trouble.of(&program, "version"))?,
        };
        // `kind v0.33.0 go1.26.0 linux/amd64`
        let version = said.split_whitespace().nth(1).unwrap_or_default().to_owned();
        if Version::read(&version).is_none_or(|version| version < OLDEST) {
            return Err(KindError::TooOld {
                program,
                found: said.trim().to_owned(),
            });
        }
        Ok(Self { program, version })
    }

    pub(super) fn path(&self) -> &Path {
        &self.program
    }

    /// Such as `v0.33.0`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Creates a cluster as `config` says; its kubeconfig is written to a file of its own, so that nobody's current
    /// context changes.
    pub(super) async fn create(
        &self,
        cluster: &str,
        image: Option<&str>,
        config: &Path,
        kubeconfig: &Path,
        step: &(dyn Fn(&str) + Sync),
    ) -> Result<(), KindError> {
        let mut arguments: Vec<&OsStr> = ["create", "cluster", "--name", cluster].map(OsStr::new).to_vec();
        arguments.extend([OsStr::new("--config"), config.as_os_str()]);
        arguments.extend([OsStr::new("--kubeconfig"), kubeconfig.as_os_str()]);
        arguments.extend(["--wait", "120s"].map(OsStr::new));
        arguments.extend(
            image
                .into_iter()
                .flat_map(|image| ["--image", image])
                .map(OsStr::new),
        );
        let heard = |line: &str| step_of(line).map_or((), step);
        let made = watched(&self.program, arguments, &[], CREATE, &heard).await;
        made.map(drop)
            .map_err(|trouble| trouble.of(&self.program, "create cluster"))
    }

    /// Deletes a cluster; one that is not there is no error.
    pub(super) async fn delete(&self, cluster: &str, kubeconfig: &Path) -> Result<(), KindError> {
        let mut arguments: Vec<&OsStr> = ["delete", "cluster", "--name", cluster].map(OsStr::new).to_vec();
        arguments.extend([OsStr::new("--kubeconfig"), kubeconfig.as_os_str()]);
        let gone = run(&self.program, arguments, WORK).await;
        gone.map(drop)
            .map_err(|trouble| trouble.of(&self.program, "delete cluster"))
    }

    /// The nodes of a cluster, which are containers of these names.
    pub(super) async fn nodes(&self, cluster: &str) -> Result<Vec<String>, KindError> {
        let said = run(&self.program, ["get", "nodes", "--name", cluster], ANSWER).await;
        let said = said.map_err(|trouble| trouble.of(&self.program, "get nodes"))?;
        Ok(said.split_whitespace().map(str::to_owned).collect())
    }

    /// Brings an image into every node of a cluster.
    ///
    /// What it writes on the way goes below `scratch`, which is removed whatever becomes of it.
    pub(super) async fn load(&self, cluster: &str, image: Load<'_>, scratch: &Path) -> Result<(), KindError> {
        let (what, image) = match image {
            Load::Image(image) => ("docker-image", OsStr::new(image)),
            Load::Archive(path) => ("image-archive", path.as_os_str()),
        };
        let [load, what, name, cluster] = ["load", what, "--name", cluster].map(OsStr::new);
        let arguments = [load, what, image, name, cluster];
        // It writes whole images to a temporary folder.
        let environment = [("TMPDIR", scratch.as_os_str())];
        let loaded = run_with(&self.program, arguments, &environment, WORK).await;
        loaded
            .map(drop)
            .map_err(|trouble| trouble.of(&self.program, "load"))
    }

    /// Brings the images of an archive into every node of a cluster.
    pub(super) async fn load_archive(&self, cluster: &str, archive: &Path) -> Result<(), KindError> {
        let mut arguments: Vec<&OsStr> = ["load", "image-archive"].map(OsStr::new).to_vec();
        arguments.extend([archive.as_os_str(), OsStr::new("--name"), OsStr::new(cluster)]);
        let loaded = run(&self.program, arguments, WORK).await;
        loaded
            .map(drop)
            .map_err(|trouble| trouble.of(&self.program, "load image-archive"))
    }

    /// Writes the logs of a cluster's nodes into `folder`.
    pub(super) async fn logs(&self, cluster: &str, folder: &Path) -> Result<(), KindError> {
        let arguments: Vec<&OsStr> = vec![
            OsStr::new("export"),
            OsStr::new("logs"),
            folder.as_os_str(),
            OsStr::new("--name"),
            OsStr::new(cluster),
        ];
        let written = run(&self.program, arguments, WORK).await;
        written
            .map(drop)
            .map_err(|trouble| trouble.of(&self.program, "export logs"))
    }
}

/// An image that can be brought into nodes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load<'a> {
    /// One that Docker has here.
    Image(&'a str),
    /// What `docker save` wrote.
    Archive(&'a Path),
}

/// Asks `docker`; what it wrote to standard output, trimmed.
pub(super) async fn docker<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    within: Duration,
) -> Result<String, KindError> {
    let program = Path::new("docker");
    let arguments: Vec<&str> = arguments.into_iter().collect();
    match run(program, arguments.iter().copied(), within).await {
        Ok(said) => Ok(said.trim().to_owned()),
        Err(Trouble::NotRun(because)) => Err(KindError::Missing {
            program: program.to_owned(),
            because,
            install: "Docker Engine with its command, from your distribution or from Docker",
        }),
        Err(trouble) => Err(trouble.of(program, arguments.first().copied().unwrap_or_default())),
    }
}

impl Trouble {
    fn of(self, program: &Path, what: &str) -> KindError {
        let name = program.file_name().unwrap_or(program.as_os_str()).display();
        let what = format!("{name} {what}");
        match self {
            Self::Slow(within) => KindError::Slow { what, within },
            Self::NotRun(said) | Self::Failed(said) => KindError::Failed {
                help: help(&said),
                what,
                said,
            },
        }
    }
}

/// What to do about what was said, where that is known.
fn help(said: &str) -> &'static str {
    const KNOWN: [(&str, &str); 5] = [
        (
            "no space left on device",
            "; make room where Docker keeps its data",
        ),
        (
            TAKEN_PORT,
            "; another cluster or program has the port: change the config's port mappings",
        ),
        (
            "already exist",
            "; `kind delete cluster --name` removes the one that is there",
        ),
        (
            "failed to pull image",
            "; give an image that this machine has, or can pull, with --kind-image",
        ),
        (
            "permission denied",
            "; be allowed to use Docker: `docker info` tells",
        ),
    ];
    let known = KNOWN.iter().find(|(sign, _)| said.contains(sign));
    known.map_or("", |(_, help)| help)
}

/// The step of a cluster's creation that a line of kind's says, without its picture: ` • Preparing nodes 📦  ...`.
fn step_of(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix('•')?.trim();
    let text = text.strip_suffix("...").unwrap_or(text);
    Some(
        text.trim_end_matches(|letter: char| !letter.is_ascii() || letter.is_whitespace())
            .trim(),
    )
}

/// Runs a program to its end.
async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    within: Duration,
) -> Result<String, Trouble> {
    run_with(program, arguments, &[], within).await
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A program that does what a line of shell does.
    fn program(folder: &Path, line: &str) -> PathBuf {
        let path = folder.join("kind");
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_kind_that_is_not_there_or_too_old_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Kind::find(Some(&folder.path().join("none"))).await.unwrap_err();
        assert!(
            error.to_string().contains("go install sigs.k8s.io/kind@"),
            "{error}"
        );
        for said in ["kind v0.11.1 go1.16 linux/amd64", "something else", ""] {
            let kind = program(folder.path(), &format!("echo '{said}'"));
            let error = Kind::find(Some(&kind)).await.unwrap_err();
            assert!(matches!(&error, KindError::TooOld { .. }), "{said}: {error}");
        }
    }

    #[tokio::test]
    async fn what_kind_says_went_wrong_is_said_with_help() {
        let folder = tempfile::tempdir().unwrap();
        for (said, help) in [
            (
                "ERROR: failed to create cluster: node(s) already exist for a cluster with the name x",
                "kind delete",
            ),
            ("ERROR: failed to pull image: manifest unknown", "--kind-image"),
            ("write /x: no space left on device", "make room"),
            (
                "Bind for 127.0.0.1:80 failed: port is already allocated",
                "port mappings",
            ),
            ("ERROR: something new", "something new"),
        ] {
            let kind = Kind {
                program: program(
                    folder.path(),
                    &format!("echo preparing >&2; echo '{said}' >&2; exit 1"),
                ),
                version: String::new(),
            };
            let config = folder.path().join("config");
            let error = kind
                .create("x", None, &config, &config, &|_| ())
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("kind create cluster failed: ") && error.contains(help),
                "{error}"
            );
        }
    }

    #[test]
    fn the_steps_of_a_creation_are_read_off_kinds_lines() {
        for (line, step) in [
            (" • Preparing nodes 📦 📦   ...\n", Some("Preparing nodes")),
            (
                " • Starting control-plane 🕹️  ...",
                Some("Starting control-plane"),
            ),
            (
                " • Ensuring node image (kindest/node:v1.36.0) 🖼  ...",
                Some("Ensuring node image (kindest/node:v1.36.0)"),
            ),
            (
                " • Waiting ≤ 2m0s for control-plane = Ready ⏳  ...",
                Some("Waiting ≤ 2m0s for control-plane = Ready"),
            ),
            (" ✓ Preparing nodes 📦", None),
            ("Creating cluster \"x\" ...", None),
            ("", None),
        ] {
            assert_eq!(step_of(line), step, "{line}");
        }
    }

    #[tokio::test]
    async fn every_line_is_heard_as_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let talks = program(folder.path(), "echo one >&2; echo two >&2; echo out");
        let heard = std::sync::Mutex::new(Vec::new());
        let note = |line: &str| heard.lock().unwrap().push(line.to_owned());
        let said = watched(&talks, ["x"], &[], Duration::from_mins(1), &note)
            .await
            .unwrap();
        assert_eq!(
            (said.as_str(), heard.into_inner().unwrap()),
            ("out\n", vec!["one\n".to_owned(), "two\n".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_what_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let hangs = program(
            folder.path(),
            &format!("sleep 600 & echo $! >{}; wait", pid.display()),
        );
        let ended = run(&hangs, ["version"], Duration::from_millis(300)).await;
        assert!(matches!(ended, Err(Trouble::Slow(_))), "{ended:?}");
        let pid = fs::read_to_string(pid).unwrap();
        let alive = || Path::new("/proc").join(pid.trim()).join("root").exists();
        for _ in 0..500 {
            if !alive() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it is still there");
    }
}
