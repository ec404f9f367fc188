//! What the endpoint knows.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

use crate::{
    calls::CallLog,
    credentials::Keys,
    defects::{Defects, Faults},
    eks::{ClusterBackend, EksStore},
    iam::{IamState, Rules},
    issuer::Issuers,
    secrets::SecretStore,
    sigv4::SigningKeys,
};

/// What every connection shares.
pub(crate) struct State {
    pub(crate) account: String,
    pub(crate) calls: CallLog,
    pub(crate) issuers: Issuers,
    pub(crate) signing_keys: SigningKeys,
    /// What stands behind EKS clusters, if anything does.
    pub(crate) clusters: OnceLock<Arc<dyn ClusterBackend>>,
    /// Regions in which STS is not activated.
    pub(crate) sts_off: RwLock<Vec<String>>,
    world: Mutex<World>,
    defects: RwLock<Defects>,
    faults: watch::Sender<Faults>,
    connections: AtomicU64,
}

/// What calls read and change. Locked for microseconds; nothing waits under it.
pub(crate) struct World {
    pub(crate) iam: IamState,
    pub(crate) keys: Keys,
    pub(crate) secrets: SecretStore,
    pub(crate) eks: EksStore,
}

impl State {
    pub(crate) fn new(account: String, world: World, issuers: Issuers) -> Arc<Self> {
        Arc::new(Self {
            account,
            calls: CallLog::default(),
            issuers,
            signing_keys: SigningKeys::default(),
            clusters: OnceLock::new(),
            sts_off: RwLock::default(),
            world: Mutex::new(world),
            defects: RwLock::default(),
            faults: watch::Sender::default(),
            connections: AtomicU64::new(0),
        })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn defects(&self) -> Defects {
        *self.defects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_defects(&self, defects: Defects) {
        *self.defects.write().unwrap_or_else(PoisonError::into_inner) = defects;
    }

    pub(crate) fn faults(&self) -> Faults {
        *self.faults.borrow()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// Ends when an outage begins.
    pub(crate) async fn outage(&self) {
        // The sender lives as long as `self`: there is no end to wait for but an outage.
        let _ = self.faults.subscribe().wait_for(|faults| faults.outage).await;
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// How policies are evaluated: by the rules, but for planted defects.
    pub(crate) fn rules(&self) -> Rules {
        let defects = self.defects();
        Rules {
            ignore_resource: defects.ignore_resource,
            prefix_match: defects.prefix_match,
            ..Rules::default()
        }
    }
}
