//! The parts of an environment on this machine while they run: ended in order, or by a fault.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_stand_ins::kubelet::Kubelet;
use tokio::sync::Mutex;

use super::{
    NodeProcess, NodePrograms, ProgramControl, ProgramLog, ProgramLogs, Trouble, WindowLog,
    aws_side::AwsSide,
    control_plane::KubernetesPart,
    fault::Stricken,
    node::{DriverPart, ProviderPart},
    pod_identity::PodIdentityPart,
};
use crate::{scenario::model::Rotation, secret::Credential};

/// Every part, each until it is ended.
pub(super) struct Parts {
    kubelet: Mutex<Option<Kubelet>>,
    driver: Mutex<Option<DriverPart>>,
    provider: Mutex<Option<ProviderPart>>,
    pod_identity: Mutex<Option<PodIdentityPart>>,
    aws: Arc<AwsSide>,
    api: Mutex<Option<KubernetesPart>>,
    /// The driver's, when all stood.
    rotation: Option<Duration>,
    folders: ProviderFolders,
}

/// Where a provider may serve: the driver looks in both.
pub(super) struct ProviderFolders {
    pub(super) first: PathBuf,
    pub(super) other: PathBuf,
}

impl Parts {
    pub(super) fn new(
        kubelet: Kubelet,
        driver: DriverPart,
        provider: ProviderPart,
        pod_identity: Option<PodIdentityPart>,
        aws: Arc<AwsSide>,
        api: KubernetesPart,
        folders: ProviderFolders,
    ) -> Arc<Self> {
        Arc::new(Self {
            rotation: driver.rotation(),
            folders,
            kubelet: Mutex::new(Some(kubelet)),
            driver: Mutex::new(Some(driver)),
            provider: Mutex::new(Some(provider)),
            pod_identity: Mutex::new(pod_identity),
            aws,
            api: Mutex::new(Some(api)),
        })
    }

    /// A genuine token of a namespace's `default` `ServiceAccount` whose time is over.
    pub(super) async fn expired_token(&self, namespace: &str, audience: &str) -> Option<Credential> {
        let api = self.api.lock().await;
        api.as_ref()?.expired_token(namespace, "default", audience).await
    }

    /// Ends everything, pods' parts first.
    pub(super) async fn stop(&self) {
        if let Some(kubelet) = self.kubelet.lock().await.take() {
            kubelet.stop().await;
        }
        if let Some(driver) = self.driver.lock().await.take() {
            driver.stop().await;
        }
        if let Some(provider) = self.provider.lock().await.take() {
            provider.stop().await;
        }
        if let Some(agent) = self.pod_identity.lock().await.take() {
            agent.stop().await;
        }
        self.aws.stop().await;
        if let Some(api) = self.api.lock().await.take() {
            api.stop().await;
        }
    }
}

impl Stricken for Parts {
    fn suffer(&self, trouble: Trouble) -> BoxFuture<'_, ()> {
        async move {
            match trouble {
                Trouble::KubernetesDies => {
                    if let Some(api) = self.api.lock().await.take() {
                        api.stop().await;
                    }
                }
                // The kubelet was started that way.
                Trouble::KubeletNoImages => {}
                of_aws => self.aws.suffer(of_aws).await,
            }
        }
        .boxed()
    }
}

impl ProgramLogs for Parts {
    fn verbosity(&self) -> BoxFuture<'_, Result<String, String>> {
        async {
            let driver = self.driver.lock().await;
            driver.as_ref().ok_or("the driver has been ended")?.verbosity()
        }
        .boxed()
    }

    fn logs(&self) -> BoxFuture<'_, Result<Vec<ProgramLog>, String>> {
        async {
            let (driver, provider) = (self.driver.lock().await, self.provider.lock().await);
            let mut logs = Vec::new();
            if let Some(driver) = driver.as_ref() {
                logs.push(driver.written().await?);
            }
            if let Some(provider) = provider.as_ref() {
                logs.push(provider.written().await?);
            }
            Ok(logs)
        }
        .boxed()
    }

    fn window<'a>(
        &'a self,
        nodes: &'a [String],
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<WindowLog>, String>> {
        async move {
            // There is one node.
            let node = nodes.first().cloned().unwrap_or_default();
            let logs = self.logs().await?.into_iter().map(|log| WindowLog {
                name: log.name,
                node: node.clone(),
                ended: false,
                text: log.text,
            });
            Ok(logs.collect())
        }
        .boxed()
    }
}

impl NodePrograms for Parts {
    fn processes(&self) -> Vec<NodeProcess> {
        // A part that is being ended right now is none of those that ended by themselves.
        let driver = self
            .driver
            .try_lock()
            .ok()
            .and_then(|part| part.as_ref()?.process());
        let provider = self
            .provider
            .try_lock()
            .ok()
            .and_then(|part| part.as_ref()?.process());
        driver.into_iter().chain(provider).collect()
    }

    fn revived(&self) -> BoxFuture<'_, Result<Vec<&'static str>, String>> {
        async {
            let mut revived = Vec::new();
            if let Some(driver) = self.driver.lock().await.as_mut() {
                revived.extend(driver.revived().await?);
            }
            if let Some(provider) = self.provider.lock().await.as_mut() {
                revived.extend(provider.revived().await?);
            }
            Ok(revived)
        }
        .boxed()
    }
}

impl ProgramControl for Parts {
    fn kill_driver(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(driver) = self.driver.lock().await.as_mut() {
                driver.kill().await;
            }
        }
        .boxed()
    }

    fn restart_driver(&self, rotation: Option<Rotation>) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let mut driver = self.driver.lock().await;
            let driver = driver.as_mut().ok_or(ENDED)?;
            let rotation = match rotation {
                None => driver.rotation(),
                Some(Rotation::Off) => None,
                Some(Rotation::Every(interval)) => Some(interval),
            };
            driver.restart(rotation).await
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
            let provider = provider.as_mut().ok_or(ENDED)?;
            let ProviderFolders { first, other } = &self.folders;
            let is_at_first = provider.folder() == *first;
            provider
                .restart_in(
                    if is_at_first == moves { other } else { first },
                    driver_writes_secrets,
                )
                .await
        }
        .boxed()
    }

    fn restore(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            // The provider first: a driver that is started anew finds it where it stays.
            if let Some(provider) = self.provider.lock().await.as_mut()
                && (provider.folder() != self.folders.first || provider.driver_writes_secrets())
            {
                provider.restart_in(&self.folders.first, false).await?;
            }
            if let Some(driver) = self.driver.lock().await.as_mut()
                && (driver.is_killed() || driver.rotation() != self.rotation)
            {
                driver.restart(self.rotation).await?;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Said of a part that the run has taken down.
const ENDED: &str = "it was stopped for good";
