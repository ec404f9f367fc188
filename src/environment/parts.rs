//! The parts of an environment on this machine while they run: ended in order, or by a fault.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_aws_endpoint::{Endpoint, Fault as EndpointFault, Faults, Latency, Reach};
use mountproof_stand_ins::kubelet::Kubelet;
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    AwsFaults, Fault, NodeProcess, NodePrograms, ProgramControl, ProgramLog, ProgramLogs, Trouble,
    call_log::EndpointLog,
    control_plane::KubernetesPart,
    node::{DriverPart, ProviderPart},
};
use crate::{scenario::model::Rotation, secret::Credential};

/// How long the endpoint takes for an answer when it is slow.
const SLOW: Duration = Duration::from_secs(1);
/// How far its clock jumps: well beyond the five minutes that AWS allows a signature.
const CLOCK_STEP: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Hears of a fault as it strikes.
pub type Struck = Arc<dyn Fn(Fault) + Send + Sync>;

/// Every part, each until it is ended.
pub(super) struct Parts {
    kubelet: Mutex<Option<Kubelet>>,
    driver: Mutex<Option<DriverPart>>,
    provider: Mutex<Option<ProviderPart>>,
    endpoint: Mutex<Option<Endpoint>>,
    api: Mutex<Option<KubernetesPart>>,
    log: Arc<EndpointLog>,
    faults: StdMutex<EndpointFaults>,
    /// The driver's, when all stood.
    rotation: Option<Duration>,
    folders: ProviderFolders,
}

/// Where a provider may serve: the driver looks in both.
pub(super) struct ProviderFolders {
    pub(super) first: PathBuf,
    pub(super) other: PathBuf,
}

/// What is wrong with the endpoint.
#[derive(Default)]
struct EndpointFaults {
    /// For the rest of the run.
    struck: Vec<EndpointFault>,
    /// For as long as a scenario likes.
    latency: Option<Duration>,
}

impl Parts {
    pub(super) fn new(
        kubelet: Kubelet,
        driver: DriverPart,
        provider: ProviderPart,
        endpoint: Endpoint,
        api: KubernetesPart,
        log: Arc<EndpointLog>,
        folders: ProviderFolders,
    ) -> Arc<Self> {
        Arc::new(Self {
            faults: StdMutex::default(),
            rotation: driver.rotation(),
            folders,
            kubelet: Mutex::new(Some(kubelet)),
            driver: Mutex::new(Some(driver)),
            provider: Mutex::new(Some(provider)),
            endpoint: Mutex::new(Some(endpoint)),
            api: Mutex::new(Some(api)),
            log,
        })
    }

    /// Causes the faults that have no time at once, and the others in time. Dropping the answer calls
    /// those off that have not struck.
    pub(super) async fn strike(self: &Arc<Self>, faults: &[Fault], struck: Struck) -> JoinSet<()> {
        let mut striking = JoinSet::new();
        for &fault in faults {
            if fault.after.is_zero() {
                self.cause(fault.trouble).await;
                struck(fault);
                continue;
            }
            let (parts, struck) = (Arc::clone(self), Arc::clone(&struck));
            striking.spawn(async move {
                tokio::time::sleep(fault.after).await;
                parts.cause(fault.trouble).await;
                struck(fault);
            });
        }
        striking
    }

    async fn cause(&self, trouble: Trouble) {
        match trouble {
            Trouble::EndpointDies => {
                self.endpoint_fault(EndpointFault::Outage(Reach::Everything))
                    .await;
            }
            Trouble::EndpointSlow => {
                self.endpoint_fault(EndpointFault::Latency(Latency::Fixed(SLOW)))
                    .await;
            }
            Trouble::EndpointClockStep => self.endpoint_fault(EndpointFault::ClockStep(CLOCK_STEP)).await,
            Trouble::KubernetesDies => {
                if let Some(api) = self.api.lock().await.take() {
                    api.stop().await;
                }
            }
            // The kubelet was started that way.
            Trouble::KubeletNoImages => {}
            Trouble::HarnessPanics => self.log.panic_from_now_on(),
        }
    }

    async fn endpoint_fault(&self, fault: EndpointFault) {
        self.endpoint_faults(|faults| faults.struck.push(fault)).await;
    }

    async fn endpoint_faults(&self, change: impl FnOnce(&mut EndpointFaults)) {
        let all: Faults = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut faults);
            let latency = faults
                .latency
                .map(|latency| EndpointFault::Latency(Latency::Fixed(latency)));
            faults.struck.iter().cloned().chain(latency).collect()
        };
        if let Some(endpoint) = self.endpoint.lock().await.as_ref() {
            endpoint.set_faults(all);
        }
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
        if let Some(endpoint) = self.endpoint.lock().await.take() {
            endpoint.stop().await;
        }
        if let Some(api) = self.api.lock().await.take() {
            api.stop().await;
        }
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

impl AwsFaults for Parts {
    fn set_latency(&self, latency: Option<Duration>) -> BoxFuture<'_, ()> {
        self.endpoint_faults(move |faults| faults.latency = latency)
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
