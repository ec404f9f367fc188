//! Driver and provider of a cluster that is the run's own, started anew by new shapes of their `DaemonSet`s, and killed: in kind
//! by signals to their processes, which are this machine's too, elsewhere with their pods, which are given no time to end.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt as _};
use mountproof_releases::Part;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    environment::{
        ProgramControl,
        installation::{Container, Installation, flag, pods, position, ready},
    },
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
/// Names the folder where a provider serves.
const FOLDER: &str = "provider-volume";
/// Has the provider hand files to the driver, which writes them.
const WRITES: &str = "driver-writes-secrets";
/// Where providers serve, since 1.0.0 and before.
const FOLDERS: [&str; 2] = [
    "/var/run/secrets-store-csi-providers",
    "/etc/kubernetes/secrets-store-csi-providers",
];

/// Whose processes programs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Processes {
    /// This machine's too.
    Here,
    /// Those of nodes that nobody here stands on.
    Far,
}

/// See the module.
pub(super) struct Control {
    kubernetes: Kubernetes,
    processes: Processes,
    driver: Mutex<Program>,
    provider: Mutex<Program>,
    turns: AtomicU64,
}

/// One program, by its `DaemonSet`.
struct Program {
    part: Part,
    set: ObjectRef,
    /// `containers` and `volumes` of its pods, as they were before a scenario changed them.
    before: Option<Value>,
    killed: bool,
}

impl Program {
    fn of(part: Part, installation: &Installation) -> Mutex<Self> {
        Mutex::new(Self {
            part,
            set: installation.of(part).daemon_set.clone(),
            before: None,
            killed: false,
        })
    }
}

impl Control {
    pub(super) fn of(kubernetes: &Kubernetes, installation: &Installation, processes: Processes) -> Self {
        Self {
            kubernetes: kubernetes.clone(),
            processes,
            driver: Program::of(Part::Driver, installation),
            provider: Program::of(Part::Provider, installation),
            turns: AtomicU64::new(1),
        }
    }

    /// `containers` and `volumes` of a program's pods as they are now, and the place of its own container.
    async fn shape(&self, program: &Program) -> Result<(Value, usize), String> {
        let seen = self.kubernetes.read(&program.set).await;
        let seen = seen.map_err(|error| error.to_string())?.unwrap_or_default();
        let spec = &seen["spec"]["template"]["spec"];
        let container = position(&spec["containers"], program.part)
            .ok_or_else(|| format!("{} has no {}", program.set, program.part.name()))?;
        let shape = json!({ "containers": spec["containers"], "volumes": spec["volumes"] });
        Ok((shape, container))
    }

    /// Changes the shape of a program's pods, and has it run in new ones in any case.
    async fn restart(
        &self,
        program: &mut Program,
        change: impl FnOnce(&mut Value, usize),
    ) -> Result<(), String> {
        let (before, container) = self.shape(program).await?;
        let mut shape = before.clone();
        change(&mut shape, container);
        if shape != before {
            program.before.get_or_insert(before);
        }
        self.replace(program, shape).await
    }

    /// Gives a program's pods this shape, in pods that are new in any case, and waits until it is well on every node.
    async fn replace(&self, program: &mut Program, shape: Value) -> Result<(), String> {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed).to_string();
        let patch = json!({ "spec": { "template": {
            "metadata": { "annotations": { "mountproof.dev/turn": turn } },
            "spec": shape,
        } } });
        let patched = self.kubernetes.merge(&program.set, &patch).await;
        patched.map_err(|error| error.to_string())?;
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
        let (ready, wanted) = ready(&self.kubernetes, set).await?;
        if wanted == 0 || ready < wanted {
            return Ok(false);
        }
        let registered = self.kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await?;
        Ok(registered.len() as u64 >= wanted)
    }

    async fn killed(&self) -> Result<(), String> {
        let mut driver = self.driver.lock().await;
        let (shape, container) = self.shape(&driver).await?;
        let name = shape["containers"][container]["name"]
            .as_str()
            .unwrap_or_default();
        let pods = pods(&self.kubernetes, &driver.set)
            .await
            .map_err(|error| error.to_string())?;
        match self.processes {
            Processes::Here => {
                for process in container_ids(&pods, name).iter().flat_map(|id| processes_of(id)) {
                    kill_process(process, Signal::KILL).map_err(|error| error.to_string())?;
                }
            }
            Processes::Far => {
                for pod in &pods {
                    let ended = self.kubernetes.end_at_once(&ObjectRef::of(pod)).await;
                    ended.map_err(|error| error.to_string())?;
                }
            }
        }
        driver.killed = true;
        Ok(())
    }
}

impl ProgramControl for Control {
    /// It is started anew at once, as in any cluster.
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
            let change = |shape: &mut Value, container: usize| {
                let mut driver = Container(&mut shape["containers"][container]);
                if let Some(rotation) = rotation {
                    let on = rotation != Rotation::Off;
                    driver.set_flag("enable-secret-rotation", &on.to_string());
                }
                if let Some(Rotation::Every(interval)) = rotation {
                    driver.set_flag("rotation-poll-interval", &format!("{}s", interval.as_secs_f64()));
                }
            };
            self.restart(&mut driver, change).await
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
            let change = |shape: &mut Value, container: usize| {
                let provider = &mut shape["containers"][container];
                // Releases before it do not know it.
                if driver_writes_secrets || flag(provider, WRITES).is_some() {
                    Container(provider).set_flag(WRITES, &driver_writes_secrets.to_string());
                }
                if moves {
                    let at = flag(provider, FOLDER).unwrap_or_else(|| FOLDERS[0].to_owned());
                    let other = if at == FOLDERS[0] { FOLDERS[1] } else { FOLDERS[0] };
                    Container(provider).set_flag(FOLDER, other);
                    moved(shape, container, &at, other);
                }
            };
            self.restart(&mut provider, change).await
        }
        .boxed()
    }

    fn restore(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            // The provider first: a driver that is started anew finds it where it stays.
            for program in [&self.provider, &self.driver] {
                let mut program = program.lock().await;
                match program.before.take() {
                    Some(before) => self.replace(&mut program, before).await?,
                    None if program.killed => self.restart(&mut program, |_, _| ()).await?,
                    None => {}
                }
            }
            Ok(())
        }
        .boxed()
    }
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

/// PURE: ids of the containers of this name in pods, as the runtime has them.
fn container_ids(pods: &[Value], container: &str) -> Vec<String> {
    let statuses = pods.iter().flat_map(|pod| {
        pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
    });
    statuses
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
    fn containers_are_found_by_their_name() {
        let pod = |id: &str| {
            json!({ "status": { "containerStatuses": [
                { "name": "node-driver-registrar", "containerID": "containerd://r" },
                { "name": "secrets-store", "containerID": format!("containerd://{id}") },
            ] } })
        };
        let pods = [pod("a"), pod("c")];
        assert_eq!(container_ids(&pods, "secrets-store"), ["a", "c"]);
    }
}
