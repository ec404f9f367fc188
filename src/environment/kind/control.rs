//! Driver and provider of a cluster of kind, killed and started anew: by signals to their processes, which are this machine's
//! too, and by new shapes of their `DaemonSet`s.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    environment::ProgramControl,
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    scenario::model::Rotation,
    tenant,
};

/// Longest wait for a program to run anew on every node.
const ANEW: Duration = Duration::from_mins(2);
/// How long all must be well to be taken for well: kubelet takes a second to hear that a driver went away.
const SETTLED: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Part of the path of the folder that driver and provider share on a node, in the manifests and charts of all releases.
const SHARED_FOLDER: &str = "secrets-store-csi-providers";
/// Has the provider hand files to the driver, which writes them.
const WRITES: &str = "--driver-writes-secrets";
/// Where providers serve, since 1.0.0 and before.
const FOLDERS: [&str; 2] = [
    "/var/run/secrets-store-csi-providers",
    "/etc/kubernetes/secrets-store-csi-providers",
];

/// See the module.
pub(super) struct Control {
    kubernetes: Kubernetes,
    driver: Mutex<Program>,
    provider: Mutex<Program>,
    turns: AtomicU64,
}

/// One program, by its `DaemonSet`.
struct Program {
    set: ObjectRef,
    /// `containers` and `volumes` of its pods, as they were when the environment stood.
    first: Value,
    /// As they are.
    now: Value,
    /// Place in those of the one that matters: the driver's pods have what registers it, too.
    container: usize,
    killed: bool,
}

impl Control {
    /// Finds both; nothing where one of them is not to be found.
    pub(super) async fn of(kubernetes: &Kubernetes) -> Result<Option<Self>, KubernetesError> {
        let sets = kubernetes.list("apps/v1", "DaemonSet", None, None).await?;
        let (mut driver, mut provider) = (None, None);
        for set in sets.iter().filter(|set| set.to_string().contains(SHARED_FOLDER)) {
            let containers = &set["spec"]["template"]["spec"]["containers"];
            match (
                with_flag(containers, "--nodeid"),
                with_flag(containers, "--provider-volume"),
            ) {
                (Some(container), _) => driver = Some(Program::of(set, container)),
                (None, Some(container)) => provider = Some(Program::of(set, container)),
                (None, None) => {}
            }
        }
        Ok(driver.zip(provider).map(|(driver, provider)| Self {
            kubernetes: kubernetes.clone(),
            driver: Mutex::new(driver),
            provider: Mutex::new(provider),
            turns: AtomicU64::new(1),
        }))
    }

    /// Gives a program's pods this shape, in pods that are new in any case, and waits until it is well on every node.
    async fn restart(&self, program: &mut Program, shape: Value) -> Result<(), String> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed).to_string();
        let patch = json!({ "spec": { "template": {
            "metadata": { "annotations": { "mountproof.dev/turn": turn } },
            "spec": shape,
        } } });
        let patched = self.kubernetes.merge(&program.set, &patch).await;
        patched.map_err(|error| error.to_string())?;
        program.now = shape;
        program.killed = false;
        let until = Instant::now() + ANEW;
        let mut well_since = None;
        loop {
            if self
                .is_well(&program.set)
                .await
                .map_err(|error| error.to_string())?
            {
                let since = *well_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= SETTLED {
                    return Ok(());
                }
            } else {
                well_since = None;
            }
            if Instant::now() >= until {
                return Err(format!(
                    "{} is not well on every node after {ANEW:?}",
                    program.set
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether every pod of the set is new and Ready, and every node of theirs has the driver.
    async fn is_well(&self, set: &ObjectRef) -> Result<bool, KubernetesError> {
        let seen = self.kubernetes.read(set).await?.unwrap_or_default();
        let Some(wanted) = rolled_out(&seen) else {
            return Ok(false);
        };
        let registered = self.kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await?;
        Ok(registered.len() >= wanted)
    }

    async fn killed(&self) -> Result<(), String> {
        let mut driver = self.driver.lock().await;
        let name = driver.container()["name"].as_str().unwrap_or_default().to_owned();
        let namespace = driver.set.namespace.clone();
        let pods = self
            .kubernetes
            .list("v1", "Pod", namespace.as_deref(), None)
            .await;
        for id in container_ids(&pods.map_err(|error| error.to_string())?, &driver.set.name, &name) {
            for process in processes_of(&id) {
                kill_process(process, Signal::KILL).map_err(|error| error.to_string())?;
            }
        }
        driver.killed = true;
        Ok(())
    }
}

impl Program {
    fn of(set: &Value, container: usize) -> Self {
        let spec = &set["spec"]["template"]["spec"];
        let shape = json!({ "containers": spec["containers"], "volumes": spec["volumes"] });
        let metadata = &set["metadata"];
        Self {
            set: ObjectRef::new(
                "apps/v1",
                "DaemonSet",
                metadata["namespace"].as_str(),
                metadata["name"].as_str().unwrap_or_default(),
            ),
            now: shape.clone(),
            first: shape,
            container,
            killed: false,
        }
    }

    fn container(&self) -> &Value {
        &self.now["containers"][self.container]
    }

    /// Its shape with these flags set.
    fn with(&self, flags: &[(&str, String)]) -> Value {
        let mut shape = self.now.clone();
        set_flags(&mut shape["containers"][self.container], flags);
        shape
    }

    fn flag(&self, flag: &str) -> Option<&str> {
        let args = self.container()["args"].as_array()?;
        args.iter()
            .filter_map(Value::as_str)
            .find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='))
    }
}

impl ProgramControl for Control {
    /// Kubelet starts it anew at once, as it does in any cluster.
    fn kill_driver(&self) -> BoxFuture<'_, ()> {
        async {
            if let Err(because) = self.killed().await {
                tracing::warn!(because, "the driver could not be killed");
            }
        }
        .boxed()
    }

    fn restart_driver(&self, rotation: Option<Rotation>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let mut driver = self.driver.lock().await;
            let shape = match rotation {
                None => driver.now.clone(),
                Some(Rotation::Off) => driver.with(&[("--enable-secret-rotation", "false".to_owned())]),
                Some(Rotation::Every(interval)) => driver.with(&[
                    ("--enable-secret-rotation", "true".to_owned()),
                    ("--rotation-poll-interval", format!("{}s", interval.as_secs_f64())),
                ]),
            };
            self.restart(&mut driver, shape).await
        }
        .boxed()
    }

    fn restart_provider(
        &self,
        moves: bool,
        driver_writes_secrets: bool,
    ) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let mut provider = self.provider.lock().await;
            let at = provider
                .flag("--provider-volume")
                .unwrap_or(FOLDERS[0])
                .to_owned();
            let other = if at == FOLDERS[0] { FOLDERS[1] } else { FOLDERS[0] };
            let folder = if moves { other.to_owned() } else { at.clone() };
            let mut flags = vec![("--provider-volume", folder.clone())];
            // Releases before it do not know it.
            if driver_writes_secrets || provider.flag(WRITES).is_some() {
                flags.push((WRITES, driver_writes_secrets.to_string()));
            }
            let mut shape = provider.with(&flags);
            moved(&mut shape, provider.container, &at, &folder);
            self.restart(&mut provider, shape).await
        }
        .boxed()
    }

    fn restore(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            // The provider first: a driver that is started anew finds it where it stays.
            for program in [&self.provider, &self.driver] {
                let mut program = program.lock().await;
                if program.killed || program.now != program.first {
                    let first = program.first.clone();
                    self.restart(&mut program, first).await?;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

/// PURE: on how many nodes a `DaemonSet` should run, where it does on all, in its newest shape.
fn rolled_out(set: &Value) -> Option<usize> {
    let status = &set["status"];
    let number = |name: &str| status[name].as_u64().unwrap_or(0);
    let wanted = number("desiredNumberScheduled");
    let known = status["observedGeneration"] == set["metadata"]["generation"];
    let all = ["updatedNumberScheduled", "numberReady", "currentNumberScheduled"];
    (known && wanted > 0 && all.iter().all(|name| number(name) == wanted))
        .then_some(usize::try_from(wanted).ok()?)
}

/// PURE: the first container that is given a flag.
fn with_flag(containers: &Value, flag: &str) -> Option<usize> {
    let has = |container: &Value| {
        let arguments = container["args"].as_array().into_iter().flatten();
        arguments
            .filter_map(Value::as_str)
            .any(|argument| argument.starts_with(flag))
    };
    containers.as_array()?.iter().position(has)
}

/// PURE: gives a container these flags, in the places of those of the same names.
fn set_flags(container: &mut Value, flags: &[(&str, String)]) {
    let mut arguments = container["args"].as_array().cloned().unwrap_or_default();
    for (flag, value) in flags {
        let given = json!(format!("{flag}={value}"));
        let same = |argument: &&mut Value| {
            let text = argument.as_str().and_then(|text| text.strip_prefix(flag));
            text.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        match arguments.iter_mut().find(same) {
            Some(argument) => *argument = given,
            None => arguments.push(given),
        }
    }
    container["args"] = Value::Array(arguments);
}

/// PURE: gives a container a folder of the node in the place of another, as the manifests of a release do that serves
/// elsewhere; one that it has already stays as it is.
fn moved(shape: &mut Value, container: usize, from: &str, to: &str) {
    let mounts = &mut shape["containers"][container]["volumeMounts"];
    let Some(mounts) = mounts.as_array_mut() else {
        return;
    };
    if mounts.iter().any(|mount| mount["mountPath"] == to) {
        return;
    }
    let Some(mount) = mounts.iter_mut().find(|mount| mount["mountPath"] == from) else {
        return;
    };
    mount["mountPath"] = to.into();
    let name = mount["name"].clone();
    let volumes = shape["volumes"].as_array_mut().into_iter().flatten();
    for volume in volumes.filter(|volume| volume["name"] == name) {
        volume["hostPath"]["path"] = to.into();
    }
}

/// PURE: ids of the containers of this name in the pods of a `DaemonSet`, as the runtime has them.
fn container_ids(pods: &[Value], set: &str, container: &str) -> Vec<String> {
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    pods.iter()
        .filter(|pod| {
            each(&pod["metadata"]["ownerReferences"])
                .iter()
                .any(|owner| owner["name"] == set)
        })
        .flat_map(|pod| each(&pod["status"]["containerStatuses"]))
        .filter(|status| status["name"] == container)
        .filter_map(|status| {
            let id = status["containerID"].as_str()?;
            Some(id.rsplit('/').next().unwrap_or(id).to_owned())
        })
        .collect()
}

/// The processes of a container on this machine: its id is in the name of their control group.
fn processes_of(container: &str) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            groups.contains(container).then(|| Pid::from_raw(pid)).flatten()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_moves_takes_its_folder_along() {
        let mut shape = json!({
            "containers": [{ "volumeMounts": [{ "name": "other", "mountPath": "/x" }, { "name": "p", "mountPath": "/old" }] }],
            "volumes": [{ "name": "p", "hostPath": { "path": "/old" } }, { "name": "other", "hostPath": { "path": "/x" } }],
        });
        moved(&mut shape, 0, "/old", "/new");
        let expected = json!({
            "containers": [{ "volumeMounts": [{ "name": "other", "mountPath": "/x" }, { "name": "p", "mountPath": "/new" }] }],
            "volumes": [{ "name": "p", "hostPath": { "path": "/new" } }, { "name": "other", "hostPath": { "path": "/x" } }],
        });
        assert_eq!(shape, expected);
        moved(&mut shape, 0, "/new", "/x");
        assert_eq!(shape, expected, "it has that one already");
    }

    #[test]
    fn a_flag_takes_the_place_of_one_of_its_name_and_no_other() {
        let mut container = json!({ "args": ["--rotation-poll-interval=2s", "--rotation", "--v=5"] });
        let flags = [
            ("--rotation-poll-interval", "3600s".to_owned()),
            ("--enable", "false".to_owned()),
        ];
        set_flags(&mut container, &flags);
        let expected = json!([
            "--rotation-poll-interval=3600s",
            "--rotation",
            "--v=5",
            "--enable=false"
        ]);
        assert_eq!(container["args"], expected);
    }

    #[test]
    fn containers_are_found_by_their_set_and_name() {
        let pod = |set: &str, id: &str| {
            json!({
                "metadata": { "ownerReferences": [{ "name": set }] },
                "status": { "containerStatuses": [
                    { "name": "node-driver-registrar", "containerID": "containerd://r" },
                    { "name": "secrets-store", "containerID": format!("containerd://{id}") },
                ] },
            })
        };
        let pods = [pod("driver", "a"), pod("other", "b"), pod("driver", "c")];
        assert_eq!(container_ids(&pods, "driver", "secrets-store"), ["a", "c"]);
    }

    #[test]
    fn a_set_is_rolled_out_when_every_pod_is_new_and_ready() {
        let set = |generation: u64, updated: u64, ready: u64| {
            json!({
                "metadata": { "generation": 2 },
                "status": {
                    "observedGeneration": generation, "desiredNumberScheduled": 3, "currentNumberScheduled": 3,
                    "updatedNumberScheduled": updated, "numberReady": ready,
                },
            })
        };
        for (seen, expected) in [
            (set(2, 3, 3), Some(3)),
            (set(1, 3, 3), None),
            (set(2, 2, 3), None),
            (set(2, 3, 2), None),
        ] {
            assert_eq!(rolled_out(&seen), expected, "{seen}");
        }
        assert_eq!(rolled_out(&Value::Null), None, "one that is not there");
    }
}
