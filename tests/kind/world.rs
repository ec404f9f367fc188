//! What the clusters are made of, and what must not be left of them.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::support::{Ended, MOUNTPROOF, Place, Running};

/// Names the image of the nodes.
const NODE_IMAGE: &str = "MOUNTPROOF_KIND_IMAGE";
/// What pods run: in every image of a node, as kubelet needs it itself.
pub(crate) const WORKLOAD: &str = "registry.k8s.io/pause:3.10.2";
/// Longest time for a run in a cluster of its own.
pub(crate) const PATIENCE: Duration = Duration::from_mins(8);

/// What the machine lacks for these tests, if anything.
pub(crate) fn lacking() -> Option<&'static str> {
    if std::env::var_os(NODE_IMAGE).is_none_or(|image| image.is_empty()) {
        return Some(NODE_IMAGE);
    }
    let docker = Command::new("docker").arg("info").output();
    let answers = docker.is_ok_and(|said| said.status.success());
    (!answers).then_some("a Docker Engine")
}

/// Flags that name everything that is in a cluster: the node's image, and the stand-ins in images of this build.
pub(crate) fn images() -> &'static [String] {
    static IMAGES: OnceLock<Vec<String>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/kind/stand-ins/build.sh");
        let said = said("bash", [build, MOUNTPROOF, "localhost/mountproof-test"]);
        let mut flags: Vec<String> = said.split_whitespace().map(str::to_owned).collect();
        let node = std::env::var(NODE_IMAGE).unwrap();
        flags.extend(["--kind-image", &node, "--image", WORKLOAD].map(str::to_owned));
        flags
    })
}

/// `run --env kind` with these further arguments, started in `place`.
pub(crate) fn start(place: &Place, arguments: &[&str]) -> Running {
    let mut all = vec!["run", "--env", "kind"];
    // What is given last counts.
    all.extend(images().iter().map(String::as_str));
    all.extend(arguments);
    let mut command = place.command(&all);
    // The run's own authority is for its own parts; other programs are to trust what this machine trusts.
    for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    Running::start(command)
}

/// The same, to its end.
pub(crate) fn run(place: &Place, arguments: &[&str]) -> Ended {
    ended(start(place, arguments))
}

/// The end of a run that was started.
pub(crate) fn ended(running: Running) -> Ended {
    running.end_within(PATIENCE)
}

/// What of the machine a run may not change. Other runs may be under way on it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Before {
    /// Those of no container.
    volumes: Vec<String>,
    /// That of kind stays, as kind has it.
    networks: Vec<String>,
    kubeconfig: Option<Vec<u8>>,
}

impl Before {
    pub(crate) fn look() -> Self {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let mut networks = names(["network", "ls", "--format", "{{.Name}}"]);
        networks.retain(|name| name != "kind");
        Self {
            volumes: names([
                "volume",
                "ls",
                "--filter",
                "dangling=true",
                "--format",
                "{{.Name}}",
            ]),
            networks,
            kubeconfig: fs::read(home.join(".kube/config")).ok(),
        }
    }

    /// Nothing of the runs in `place` is left: no container, volume, network, context of a kubeconfig, folder or mount.
    #[track_caller]
    pub(crate) fn is_as_it_was(&self, place: &Place) {
        place.assert_nothing_left();
        assert_eq!(containers(place), Vec::<String>::new(), "left in Docker");
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Self::look();
            if now == *self {
                return;
            }
            assert!(Instant::now() < until, "before: {self:?}\nnow: {now:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Containers that are called after a run in `place`.
pub(crate) fn containers(place: &Place) -> Vec<String> {
    let runs = place.runs();
    let ids: Vec<&str> = runs.iter().filter_map(|run| run.file_name()?.to_str()).collect();
    let mut names = names(["ps", "--all", "--format", "{{.Names}}"]);
    names.retain(|name| ids.iter().any(|id| name.contains(id)));
    names
}

/// The first node of a cluster.
pub(crate) fn node(cluster: &str) -> String {
    format!("{cluster}-control-plane")
}

/// What kubectl prints on that node, as the cluster's administrator.
pub(crate) fn kubectl(node: &str, arguments: &[&str]) -> String {
    let mut all = vec!["exec", node, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    all.extend(arguments);
    said("docker", all)
}

/// `up` and `run --reuse` take the flags that say what is in a cluster, and not what pods run.
pub(crate) fn of_cluster() -> Vec<&'static str> {
    let flags = images().iter().map(String::as_str).collect::<Vec<_>>();
    let workload = flags.iter().position(|flag| *flag == "--image").unwrap();
    [&flags[..workload], &flags[workload + 2..]].concat()
}

fn names<const N: usize>(arguments: [&str; N]) -> Vec<String> {
    let mut names: Vec<String> = said("docker", arguments).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// What a program prints, that must succeed.
#[track_caller]
pub(crate) fn said<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {complained}");
    String::from_utf8(output.stdout).unwrap()
}
