//! `--env kind` where kind or Docker does not do what is asked of it: scripts in their places say what the real ones say.
//!
//! Real clusters are in `tests/kind`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Ended, Place, Running};

/// What `kind` does; `CREATE` and `DELETE` are for what it does beside that.
const KIND: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
echo "kind $*" >>"$here/calls"
case "$1 $2" in
"version ") echo 'kind VERSION go1.26.0 linux/amd64' ;;
"create cluster")
  echo "Creating cluster \"$4\" ..." >&2
  echo ' • Preparing nodes 📦   ...' >&2
  echo "$4-control-plane" >>"$here/containers"
  CREATE
  ;;
"delete cluster")
  DELETE
  sed -i "/^$4-/d" "$here/containers"
  ;;
"get nodes") grep "^$4-" "$here/containers" ;;
"export logs") mkdir -p "$3" ;;
esac
"#;

/// What `docker` does.
const DOCKER: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
for argument in "$@"; do case $argument in label=*) name=${argument##*=} ;; esac; done
case "$1" in
info) INFO ;;
version) echo '28.0.0 (API 1.48), command 28.0.0' ;;
ps) grep "^$name-" "$here/containers" | sed 's/$/ 0123/' ;;
network) echo 172.18.0.1 ;;
exec) exit 1 ;;
esac
exit 0
"#;

/// What asks Docker itself, and not by the script in its place, finds none on any machine.
const NO_DOCKER: &str = "unix:///nonexistent/docker.sock";

/// A machine with these programs.
struct Machine {
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let place = Place::new();
        fs::create_dir(place.path("bin")).unwrap();
        fs::write(place.path("containers"), "").unwrap();
        fs::write(place.path("calls"), "").unwrap();
        let machine = Self { place };
        machine.has_kind("v0.33.0", ":", ":");
        machine.has_docker("echo 28.0.0");
        machine
    }

    fn has(&self, program: &str, text: &str) {
        let path = self.place.path("bin").join(program);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn has_kind(&self, version: &str, create: &str, delete: &str) {
        let kind = KIND.replace("VERSION", version);
        self.has("kind", &kind.replace("CREATE", create).replace("DELETE", delete));
    }

    fn has_docker(&self, info: &str) {
        self.has("docker", &DOCKER.replace("INFO", info));
    }

    fn lacks(&self, program: &str) {
        fs::remove_file(self.place.path("bin").join(program)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        // Of the machine only what the scripts need.
        let tools = ["sh", "sed", "grep", "dirname", "mkdir", "sleep", "cat"];
        let bin = self.place.path("bin");
        for tool in tools {
            let there = bin.join(tool);
            if !there.exists() {
                std::os::unix::fs::symlink(found(tool), there).unwrap();
            }
        }
        command
            .env("PATH", &bin)
            .env("HOME", self.place.path("home"))
            .env("DOCKER_HOST", NO_DOCKER)
            .env_remove("XDG_STATE_HOME")
            .env_remove("MOUNTPROOF_KIND");
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        // Without LocalStack, for which Docker itself is asked.
        let mut all = vec!["run", "--env", "kind", "--aws", "embedded", "positive"];
        all.extend(arguments);
        Running::start(self.command(&all))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.place.path("calls")).unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    fn containers(&self) -> String {
        fs::read_to_string(self.place.path("containers")).unwrap()
    }

    /// No container, no folder, no mount, nobody's kubeconfig, no record of a cluster.
    #[track_caller]
    fn assert_nothing_left(&self) {
        self.place.assert_nothing_left();
        assert_eq!(self.containers(), "", "left in Docker");
        assert!(!self.place.path("home/.kube").exists(), "a kubeconfig changed");
        let clusters = self.place.path("home/.local/state/mountproof/clusters");
        let records: Vec<PathBuf> = fs::read_dir(clusters)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind != "lock"))
            .collect();
        assert_eq!(records, Vec::<PathBuf>::new(), "left on record");
    }

    fn await_call(&self, words: &str) {
        let until = Instant::now() + Duration::from_mins(1);
        while !self.calls().iter().any(|call| call.contains(words)) {
            assert!(Instant::now() < until, "kind was not asked to {words}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn found(tool: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(tool))
        .find(|path| path.exists())
        .unwrap()
}

#[test]
fn a_machine_without_a_usable_kind_or_docker_is_told_what_to_install() {
    type Change = fn(&Machine);
    let table: [(&str, Change, &[&str]); 5] = [
        (
            "no kind",
            |machine| machine.lacks("kind"),
            &["kind cannot be run", "go install sigs.k8s.io/kind@"],
        ),
        (
            "an old kind",
            |machine| machine.has_kind("v0.11.1", ":", ":"),
            &["kind v0.11.1", "0.25.0 is needed", "go install"],
        ),
        (
            "no docker",
            |machine| machine.lacks("docker"),
            &["docker cannot be run", "install it: Docker Engine"],
        ),
        (
            "no rights",
            |machine| {
                machine.has_docker(
                    "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1",
                );
            },
            &["permission denied", "be allowed to use it"],
        ),
        (
            "no daemon",
            |machine| machine.has_docker("echo 'Cannot connect to the Docker daemon' >&2; exit 1"),
            &["Cannot connect to the Docker daemon", "start it"],
        ),
    ];
    for (name, change, words) in table {
        let machine = Machine::new();
        change(&machine);
        machine
            .run(&[])
            .exits(3)
            .says(words)
            .says(&["nothing left behind", "exit 3 (environment unavailable)"]);
        assert!(
            !machine.calls().iter().any(|call| call.contains("create")),
            "{name}: nothing is made"
        );
        machine.assert_nothing_left();
    }
}

#[test]
fn localstack_without_docker_is_told_before_a_cluster_is_made() {
    let machine = Machine::new();
    Running::start(machine.command(&["run", "--env", "kind", "positive"]))
        .end()
        .exits(3)
        .says(&[
            "cannot start the LocalStack: Docker is not there",
            "nothing left behind",
        ]);
    assert!(!machine.calls().iter().any(|call| call.contains("create")));
    machine.assert_nothing_left();
}

#[test]
fn a_cluster_that_cannot_be_made_is_told_why_and_leaves_nothing() {
    let config = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n";
    let table: [(&str, &str, &[&str]); 4] = [
        (
            "port taken",
            "echo 'Bind for 127.0.0.1:80 failed: port is already allocated' >&2; exit 1",
            &["port is already allocated", "port mappings"],
        ),
        (
            "disk full",
            "echo 'write /var/lib/docker/x: no space left on device' >&2; exit 1",
            &["no space left on device", "make room where Docker keeps its data"],
        ),
        (
            "image missing",
            "echo 'ERROR: failed to create cluster: failed to pull image \"none:1\": manifest unknown' >&2; exit 1",
            &["failed to pull image", "--kind-image"],
        ),
        ("no words", "exit 7", &["kind create cluster failed"]),
    ];
    for (name, create, words) in table {
        let machine = Machine::new();
        machine.has_kind("v0.33.0", create, ":");
        fs::write(machine.place.path("kind.yaml"), config).unwrap();
        machine
            .run(&["--kind-config", "kind.yaml"])
            .exits(3)
            .says(words)
            .says(&["nothing left behind"]);
        let calls = machine.calls();
        assert!(
            calls.iter().any(|call| call.starts_with("kind delete cluster")),
            "{name}: {calls:?}"
        );
        machine.assert_nothing_left();
    }
}

/// Between kind's look for a free port and its use another cluster may have been faster.
#[test]
fn a_port_that_another_cluster_was_faster_to_take_is_tried_once_more() {
    let machine = Machine::new();
    machine.has_kind(
        "v0.33.0",
        "test -e \"$here/once\" && { echo 'ERROR: the second time' >&2; exit 1; }; echo >\"$here/once\"; \
         echo 'port is already allocated' >&2; exit 1",
        ":",
    );
    machine.run(&[]).exits(3).says(&["the second time"]);
    machine.assert_nothing_left();
}

#[test]
fn a_creation_that_hangs_ends_with_the_runs_deadline() {
    let machine = Machine::new();
    machine.has_kind("v0.33.0", "sleep 600", ":");
    machine
        .run(&["--deadline", "2s"])
        .exits(130)
        .says(&["deadline", "nothing left behind"]);
    machine.assert_nothing_left();
}

#[test]
fn ctrl_c_while_a_cluster_is_made_takes_it_down() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let machine = Machine::new();
        machine.has_kind("v0.33.0", "sleep 600", ":");
        let running = machine.start(&[]);
        machine.await_call("create cluster");
        running.signal(signal);
        running.end().exits(130).says(&[name, "nothing left behind"]);
        machine.assert_nothing_left();
    }
}

#[test]
fn a_run_that_was_killed_while_it_made_a_cluster_is_finished_by_sweep() {
    let machine = Machine::new();
    machine.has_kind("v0.33.0", "sleep 5", ":");
    let running = machine.start(&[]);
    machine.await_call("create cluster");
    running.signal(Signal::KILL);
    drop(running.end());
    assert_ne!(machine.containers(), "", "the test needs something to sweep");
    let sweep = |dry: bool| {
        let mut arguments = vec!["sweep", "--reports", "out"];
        arguments.extend(dry.then_some("--dry-run"));
        Running::start(machine.command(&arguments)).end()
    };
    sweep(true)
        .exits(0)
        .prints(&["would remove  kind cluster mountproof-"]);
    assert_ne!(machine.containers(), "");
    sweep(false)
        .exits(0)
        .prints(&["  removed  kind cluster mountproof-"]);
    sweep(false).exits(0).prints(&["left nothing"]);
    machine.assert_nothing_left();
}

#[test]
fn a_cluster_that_cannot_be_deleted_is_left_and_named() {
    let machine = Machine::new();
    machine.has_kind(
        "v0.33.0",
        "echo 'ERROR: something' >&2; exit 1",
        "echo 'ERROR: failed to delete nodes' >&2; exit 1",
    );
    machine.run(&[]).exits(3).says(&[
        "LEFT",
        "kind cluster mountproof-",
        "failed to delete nodes",
        "1 object left behind",
    ]);
    machine.has_kind("v0.33.0", ":", ":");
    Running::start(machine.command(&["sweep", "--reports", "out"]))
        .end()
        .exits(0)
        .prints(&["removed  kind cluster"]);
    machine.assert_nothing_left();
}

#[test]
fn down_deletes_what_is_ours_and_nothing_else() {
    let machine = Machine::new();
    let down = |arguments: &[&str]| {
        let mut all = vec!["down"];
        all.extend(arguments);
        Running::start(machine.command(&all)).end()
    };
    down(&[]).exits(0).prints(&["there is no cluster mountproof"]);
    down(&["--all"]).exits(0).prints(&["no cluster is kept"]);
    down(&["--list"]).exits(0).prints(&["no cluster is kept"]);

    // Somebody else's.
    fs::write(machine.place.path("containers"), "theirs-control-plane\n").unwrap();
    down(&["theirs"]).exits(2).says(&[
        "theirs is no cluster of mountproof's",
        "kind delete cluster --name theirs",
    ]);
    assert_eq!(machine.containers(), "theirs-control-plane\n");
    fs::write(machine.place.path("containers"), "").unwrap();

    // One whose making was cut off by SIGKILL.
    machine.has_kind("v0.33.0", "sleep 5", ":");
    let up = Running::start(machine.command(&["up", "ours"]));
    machine.await_call("create cluster --name ours");
    up.signal(Signal::KILL);
    drop(up.end());
    down(&["--list"])
        .exits(0)
        .prints(&["ours  being made, or never finished"]);
    let mut again = machine.command(&[
        "run",
        "--env",
        "kind",
        "--aws",
        "embedded",
        "--reuse=ours",
        "positive",
    ]);
    again.env("TMPDIR", machine.place.path("t"));
    Running::start(again)
        .end()
        .exits(3)
        .says(&["ours was never finished", "`mountproof down ours` deletes it"]);
    down(&["--all"]).exits(0).prints(&["ours is deleted"]);
    let up = Running::start(machine.command(&["up", "theirs-too"]));
    machine.await_call("create cluster --name theirs-too");
    up.signal(Signal::KILL);
    drop(up.end());
    Running::start(machine.command(&["sweep", "--reports", "none"]))
        .end()
        .exits(0)
        .prints(&["removed  kind cluster theirs-too, which was never finished"]);
    down(&["ours"]).exits(0).prints(&["there is no cluster ours"]);
    machine.assert_nothing_left();
}

#[test]
fn up_that_fails_or_is_interrupted_leaves_nothing() {
    let machine = Machine::new();
    machine.has_kind("v0.33.0", "echo 'ERROR: no' >&2; exit 1", ":");
    Running::start(machine.command(&["up"]))
        .end()
        .exits(3)
        .says(&["kind create cluster failed: ERROR: no"]);
    machine.assert_nothing_left();

    machine.has_kind("v0.33.0", "sleep 600", ":");
    fs::write(machine.place.path("calls"), "").unwrap();
    let up = Running::start(machine.command(&["up"]));
    machine.await_call("create cluster --name mountproof");
    up.signal(Signal::INT);
    up.end().exits(130);
    machine.assert_nothing_left();
}

#[test]
fn flags_of_clusters_that_stay_are_checked() {
    let machine = Machine::new();
    for (arguments, words) in [
        (
            &["run", "--reuse"][..],
            "--reuse is for a cluster of kind: add --env kind",
        ),
        (
            &["run", "--keep-on-failure"],
            "--keep-on-failure is for a cluster of kind",
        ),
        (
            &["run", "--env", "kind", "--reuse", "--keep-on-failure"],
            "cannot be used with",
        ),
        (
            &["run", "--env", "kind", "--reuse=A_b"],
            "lower-case letters, digits and dashes",
        ),
        (&["up", "../a"], "lower-case letters, digits and dashes"),
        (&["down", "--all", "a"], "cannot be used with"),
    ] {
        Running::start(machine.command(arguments))
            .end()
            .exits(2)
            .says(&[words]);
    }
    assert!(machine.calls().is_empty());
}

#[test]
fn plan_and_doctor_say_what_a_cluster_takes() {
    let machine = Machine::new();
    let plan = |arguments: &[&str]| {
        let mut all = vec!["plan", "--env", "kind", "positive"];
        all.extend(arguments);
        Running::start(machine.command(&all)).end().exits(0)
    };
    plan(&[]).prints(&["kind: the cluster mountproof-RUNID, 1 node of kind's own image; deleted at the end"]);
    plan(&["--workers", "2", "--reuse"]).prints(&["the cluster mountproof, 3 nodes", "used if it is there"]);
    assert!(machine.calls().is_empty(), "it only says so");

    let doctor = || Running::start(machine.command(&["doctor"])).end().exits(0);
    doctor().prints(&["kind v0.33.0", "Engine 28.0.0"]);
    machine.has_kind("v0.11.1", ":", ":");
    doctor().prints(&["--env kind cannot be had", "0.25.0 is needed"]);
}
