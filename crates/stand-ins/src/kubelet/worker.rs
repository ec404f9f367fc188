//! The life of one pod on the node, as one task that sleeps most of the time.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Again, Node,
    containers::{Containers, Crash, Crashed},
    events::{From, Happening},
    now_rfc3339,
    pod::{Milestones, Pod, Stage},
    schedule::{self, Backoff},
    volume::{CsiVolume, MountState},
};
use crate::rest::PatchKind;

/// The pod was asked to end while it waited.
struct Ending;

pub(super) struct Worker {
    node: Arc<Node>,
    pod: Arc<Pod>,
    /// Fires when the pod is to be deleted, or is gone already.
    ending: CancellationToken,
    times: Milestones,
    /// Who wants its volumes to be published again.
    again: mpsc::Receiver<Again>,
    /// Its object, for whoever runs its containers; only there where somebody does.
    object: Value,
    crashed: Crashed,
}

impl Worker {
    pub(super) fn new(node: Arc<Node>, pod: Arc<Pod>, ending: CancellationToken) -> Self {
        // Whoever asks waits for the answer, so that one at a time is enough.
        let (ask, again) = mpsc::channel(1);
        node.remember(&pod.metadata.uid, ask);
        Self {
            node,
            pod,
            ending,
            again,
            object: Value::Null,
            crashed: Crashed::new(),
            times: Milestones {
                seen: now_rfc3339(),
                sandboxed: None,
                running: None,
            },
        }
    }

    /// From the first sync until the pod is gone.
    pub(super) async fn run(mut self) {
        let mut volumes = self.volumes();
        // An operation under way is never dropped: only waits end early.
        let _: Result<(), Ending> = self.live(&mut volumes).await;
        self.ending.cancelled().await;
        self.node.forget(&self.pod.metadata.uid);
        self.again.close();
        self.end(&mut volumes).await;
    }

    fn volumes(&self) -> Vec<CsiVolume> {
        let volumes = self.pod.spec.volumes.iter();
        volumes
            .filter_map(|volume| {
                let source = volume.csi.clone()?;
                Some(CsiVolume::new(&self.node.root, &self.pod, &volume.name, source))
            })
            .collect()
    }

    async fn live(&mut self, volumes: &mut [CsiVolume]) -> Result<(), Ending> {
        let synced = self.node.time.now();
        self.report(Stage::Creating).await;
        self.wait_until(schedule::first_publish(synced)).await?;
        self.mount_all(volumes, |_| true).await?;
        let mounted = self.node.time.now();
        self.wait_until(schedule::wait_ends(synced, mounted)).await?;
        self.start_containers().await?;
        let mut asked: Option<Again> = None;
        loop {
            // The first republish follows at once: the starting pod is synced again.
            self.wait_until(schedule::reconcile_at(self.node.time.now()))
                .await?;
            let node = Arc::clone(&self.node);
            let due = |volume: &CsiVolume| {
                node.csi_driver(volume.driver())
                    .is_some_and(|driver| driver.requires_republish())
            };
            let published = volumes.iter().filter(|volume| due(volume)).count();
            self.mount_all(volumes, due).await?;
            if let Some(asked) = asked.take() {
                let _ = asked.send(published);
            }
            let resync = self.node.time.now() + schedule::resync_after(rand::random());
            let node = Arc::clone(&self.node);
            loop {
                let restart = self.crashed.values().map(|crash| crash.again_at).min();
                tokio::select! {
                    () = self.ending.cancelled() => return Err(Ending),
                    () = node.time.sleep_until(resync) => break,
                    Some(again) = self.again.recv() => {
                        asked = Some(again);
                        break;
                    }
                    () = node.time.sleep_until(restart.unwrap_or_default()), if restart.is_some() => {
                        self.restart_crashed().await;
                    }
                }
            }
        }
    }

    /// Starts what the containers are, where somebody runs them.
    async fn run_containers(&mut self) {
        let node = Arc::clone(&self.node);
        let Some(containers) = &node.containers else {
            return;
        };
        match node.api.fetch(&self.pod.path(), None).await {
            Ok(object) => self.object = object,
            // It is gone by now, and so will they be.
            Err(error) => return tracing::debug!(pod = self.pod.key(), %error, "not read"),
        }
        let pod = Arc::clone(&self.pod);
        for container in &pod.spec.containers {
            self.run_container(containers.as_ref(), &container.name).await;
        }
    }

    /// Starts those anew whose time has come.
    async fn restart_crashed(&mut self) {
        let node = Arc::clone(&self.node);
        let Some(containers) = &node.containers else {
            return;
        };
        let now = node.time.now();
        let due = self.crashed.iter().filter(|(_, crash)| crash.again_at <= now);
        for container in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.run_container(containers.as_ref(), &container).await;
            if self.crashed.contains_key(&container) {
                let text = format!(
                    "Back-off restarting failed container {container} in pod {}",
                    self.pod.metadata.name
                );
                self.record(true, "BackOff", text, Some(&container));
            }
        }
        self.report(Stage::Running).await;
    }

    async fn run_container(&mut self, containers: &dyn Containers, name: &str) {
        match containers.start(&self.object, name).await {
            Ok(()) => drop(self.crashed.remove(name)),
            Err(code) => {
                let (at, now) = (now_rfc3339(), self.node.time.now());
                let crash = Crash::after(self.crashed.get(name), code, at, now);
                self.crashed.insert(name.to_owned(), crash);
            }
        }
    }

    /// Publishes the `due` volumes side by side, each until it is done, with backoff.
    async fn mount_all(
        &self,
        volumes: &mut [CsiVolume],
        due: impl Fn(&CsiVolume) -> bool,
    ) -> Result<(), Ending> {
        let due = volumes.iter_mut().filter(|volume| due(volume));
        let done = join_all(due.map(|volume| Box::pin(self.mount(volume)))).await;
        done.into_iter().collect()
    }

    async fn mount(&self, volume: &mut CsiVolume) -> Result<(), Ending> {
        let mut backoff = Backoff::default();
        while let Err(failure) = volume.publish(&self.node, &self.pod).await {
            let failed = self.node.time.now();
            tracing::debug!(pod = self.pod.key(), way = ?failure.way, message = failure.message, "mount failed");
            self.record(true, "FailedMount", failure.message, None);
            self.wait_until(backoff.retry_at(failed)).await?;
        }
        Ok(())
    }

    async fn start_containers(&mut self) -> Result<(), Ending> {
        let [sandbox, create, start] = schedule::RUNTIME;
        self.pause(sandbox).await?;
        self.times.sandboxed = Some(now_rfc3339());
        if self.node.no_images {
            return self.wait_for_images().await;
        }
        for container in &self.pod.spec.containers {
            let text = format!(
                "Container image \"{}\" already present on machine and can be accessed by the pod",
                container.image
            );
            self.record(false, "Pulled", text, Some(&container.name));
        }
        self.report(Stage::Sandboxed).await;
        self.pause(create).await?;
        for container in &self.pod.spec.containers {
            self.record(
                false,
                "Created",
                "Container created".to_owned(),
                Some(&container.name),
            );
        }
        self.pause(start).await?;
        self.run_containers().await;
        self.times.running = Some(now_rfc3339());
        for container in &self.pod.spec.containers {
            self.record(
                false,
                "Started",
                "Container started".to_owned(),
                Some(&container.name),
            );
        }
        self.report(Stage::Running).await;
        Ok(())
    }

    /// What a kubelet says whose registry does not answer; it would try again until the pod goes.
    async fn wait_for_images(&self) -> Result<(), Ending> {
        self.report(Stage::Sandboxed).await;
        for container in &self.pod.spec.containers {
            let (image, name) = (&container.image, Some(container.name.as_str()));
            self.record(false, "Pulling", format!("Pulling image \"{image}\""), name);
            let text = format!("Failed to pull image \"{image}\": dial tcp: i/o timeout");
            self.record(true, "Failed", text, name);
            self.record(true, "Failed", "Error: ErrImagePull".to_owned(), name);
            self.record(
                false,
                "BackOff",
                format!("Back-off pulling image \"{image}\""),
                name,
            );
        }
        self.ending.cancelled().await;
        Err(Ending)
    }

    /// Takes the pod down: what is or may be mounted is unpublished, then the pod's object goes.
    async fn end(&self, volumes: &mut [CsiVolume]) {
        if self.times.running.is_some() {
            for container in &self.pod.spec.containers {
                let text = format!("Stopping container {}", container.name);
                self.record(false, "Killing", text, Some(&container.name));
            }
        }
        if let Some(containers) = &self.node.containers {
            containers.stop(&self.pod.metadata.uid).await;
        }
        let time = &self.node.time;
        time.sleep_until(schedule::reconcile_at(time.now())).await;
        join_all(volumes.iter_mut().map(|volume| self.unmount(volume))).await;
        remove_pod_folder(&self.node, &self.pod);
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self.pod.metadata.uid},
        });
        match self.node.api.delete(&self.pod.path(), &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => {
                tracing::warn!(pod = self.pod.key(), %error, "pod not removed");
            }
            _ => {}
        }
        self.node.recorder.forget(&self.pod.metadata.uid);
    }

    async fn unmount(&self, volume: &mut CsiVolume) {
        let mut backoff = Backoff::default();
        while volume.state != MountState::Not {
            if let Err(why) = volume.unpublish(&self.node).await {
                let time = &self.node.time;
                tracing::warn!(
                    pod = self.pod.key(),
                    volume = volume.name,
                    why,
                    "UnmountVolume.TearDown failed"
                );
                time.sleep_until(backoff.retry_at(time.now())).await;
            }
        }
    }

    async fn report(&self, stage: Stage) {
        let path = format!("{}/status", self.pod.path());
        let status = self
            .pod
            .status(stage, &self.times, &self.node.address, &self.crashed);
        let patched = Box::pin(self.node.api.patch(&path, PatchKind::Merge, &status)).await;
        if let Err(error) = patched {
            tracing::debug!(pod = self.pod.key(), %error, "status not written");
        }
    }

    fn record(&self, warning: bool, reason: &'static str, message: String, container: Option<&str>) {
        self.node.recorder.record(Happening {
            pod: Arc::clone(&self.pod),
            from: From::Kubelet,
            warning,
            reason,
            message,
            container: container.map(str::to_owned),
        });
    }

    async fn pause(&self, duration: Duration) -> Result<(), Ending> {
        self.wait_until(self.node.time.now() + duration).await
    }

    async fn wait_until(&self, at: Duration) -> Result<(), Ending> {
        tokio::select! {
            () = self.ending.cancelled() => Err(Ending),
            () = self.node.time.sleep_until(at) => Ok(()),
        }
    }
}

/// Removes the pod's folder as far as it is empty; never what a driver left behind in it.
fn remove_pod_folder(node: &Node, pod: &Pod) {
    let folder = node.root.join("pods").join(&pod.metadata.uid);
    for inner in ["volumes/kubernetes.io~csi", "volumes", ""] {
        let _ = std::fs::remove_dir(folder.join(inner));
    }
}
