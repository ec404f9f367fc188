//! What the endpoint knows.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

use crate::{
    calls::CallLog,
    credentials::Keys,
    defects::Defects,
    eks::{ClusterBackend, EksStore},
    faults::{Called, Faults, Struck},
    gateway::Gateway,
    iam::{IamState, Rules},
    issuer::Issuers,
    kms::KmsStore,
    lock::Lock,
    quotas::{Buckets, Quotas},
    secrets::SecretStore,
    sigv4::SigningKeys,
    ssm::ParameterStore,
};

/// How long clients may take, so that nobody holds a connection by being slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the connection to its first byte, then for a `CONNECT`, then for the TLS handshake.
    pub greeting: Duration,
    /// For the head of a request over HTTP/1.1, or between two requests.
    pub head: Duration,
    /// For the body of a request.
    pub body: Duration,
}

impl Default for Patience {
    /// Ten seconds, a minute, which is how long AWS's own load balancers wait by default, and half a minute.
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(10),
            head: Duration::from_mins(1),
            body: Duration::from_secs(30),
        }
    }
}

/// What every connection shares.
pub(crate) struct State {
    pub(crate) account: String,
    pub(crate) keys: Keys,
    pub(crate) calls: CallLog,
    pub(crate) issuers: Issuers,
    /// What keeps secrets and parameters in its place, if something does.
    pub(crate) gateway: Option<Gateway>,
    pub(crate) signing_keys: SigningKeys,
    /// What stands behind EKS clusters, if anything does.
    pub(crate) clusters: OnceLock<Arc<dyn ClusterBackend>>,
    /// Regions in which STS is not activated.
    pub(crate) sts_off: Lock<Vec<String>>,
    /// Whether `POST /moto-api/reset` makes it forget everything, as moto's tests ask between two of them.
    pub(crate) moto_reset: AtomicBool,
    /// Whether the root key may assume roles.
    pub(crate) root_assumes_roles: AtomicBool,
    world: Lock<World>,
    defects: Lock<Defects>,
    faults: watch::Sender<Faults>,
    /// Thrown for faults only.
    dice: Mutex<StdRng>,
    seed: u64,
    quotas: Lock<Option<Mutex<Buckets>>>,
    patience: Lock<Patience>,
    connections: AtomicU64,
}

/// What calls read and change. Locked for microseconds; nothing waits under it.
pub(crate) struct World {
    pub(crate) iam: IamState,
    pub(crate) secrets: SecretStore,
    pub(crate) eks: EksStore,
    pub(crate) parameters: ParameterStore,
    pub(crate) kms: KmsStore,
}

impl World {
    /// An account with nothing in it.
    pub(crate) fn new(account: &str, seed: u64, eks: EksStore) -> Self {
        Self {
            iam: IamState::new(account.to_owned(), seed),
            secrets: SecretStore::new(account.to_owned()),
            parameters: ParameterStore::new(account.to_owned()),
            kms: KmsStore::new(account.to_owned()),
            eks,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, account: &str) {
        self.iam = IamState::new(account.to_owned(), rand::random());
        self.secrets = SecretStore::new(account.to_owned());
        self.parameters = ParameterStore::new(account.to_owned());
        self.kms = KmsStore::new(account.to_owned());
        self.eks.clear();
    }
}

impl State {
    pub(crate) fn new(
        account: String,
        keys: Keys,
        world: World,
        issuers: Issuers,
        seed: u64,
        gateway: Option<Gateway>,
    ) -> Arc<Self> {
        Arc::new(Self {
            account,
            keys,
            calls: CallLog::default(),
            issuers,
            gateway,
            signing_keys: SigningKeys::default(),
            clusters: OnceLock::new(),
            sts_off: Lock::default(),
            moto_reset: AtomicBool::new(false),
            root_assumes_roles: AtomicBool::new(false),
            world: Lock::new(world),
            defects: Lock::default(),
            faults: watch::Sender::default(),
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            seed,
            quotas: Lock::default(),
            patience: Lock::default(),
            connections: AtomicU64::new(0),
        })
    }

    pub(crate) fn world(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write()
    }

    /// For those who only look, of whom there may be many at a time.
    pub(crate) fn world_as_is(&self) -> RwLockReadGuard<'_, World> {
        self.world.read()
    }

    pub(crate) fn defects(&self) -> Defects {
        *self.defects.read()
    }

    pub(crate) fn set_defects(&self, defects: Defects) {
        *self.defects.write() = defects;
    }

    /// What the endpoint's clock shows.
    pub(crate) fn now(&self) -> Timestamp {
        Self::now_under(&self.faults())
    }

    /// What it shows under these faults.
    pub(crate) fn now_under(faults: &Faults) -> Timestamp {
        Timestamp::now() + faults.clock_step()
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults.borrow().clone()
    }

    /// Tells of every change of them, for as long as the state is there.
    pub(crate) fn changes_of_faults(&self) -> watch::Receiver<Faults> {
        self.faults.subscribe()
    }

    /// From now on these. The dice begin anew: the same calls meet the same trouble.
    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.dice.lock().unwrap_or_else(PoisonError::into_inner) = StdRng::seed_from_u64(self.seed);
        self.faults.send_replace(faults);
    }

    /// What happens to a call.
    pub(crate) fn strike(&self, faults: &Faults, call: Called<'_>) -> Struck {
        if faults.is_empty() {
            return Struck::default();
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        faults.strike(call, &mut *dice)
    }

    pub(crate) fn patience(&self) -> Patience {
        *self.patience.read()
    }

    pub(crate) fn set_patience(&self, patience: Patience) {
        *self.patience.write() = patience;
    }

    /// From now on these quotas, with full buckets.
    pub(crate) fn set_quotas(&self, quotas: Quotas) {
        let buckets = match quotas {
            Quotas::Off => None,
            Quotas::Aws => Some(Mutex::default()),
        };
        *self.quotas.write() = buckets;
    }

    /// Whether a call is within the quotas, and counts it.
    pub(crate) fn within_quota(&self, call: Called<'_>, now: Timestamp) -> bool {
        self.quotas.read().as_ref().is_none_or(|buckets| {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.take(call.service, call.operation, call.region, now)
        })
    }

    /// Ends when an outage begins.
    pub(crate) async fn outage(&self) {
        // The sender lives as long as `self`: there is no end to wait for but an outage.
        let _ = self.faults.subscribe().wait_for(Faults::outage).await;
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// How policies are evaluated.
    pub(crate) fn rules(&self) -> Rules {
        self.defects().rules()
    }

    /// How often somebody had to wait for a lock that every call takes: the call log's, and any other.
    pub(crate) fn waits(&self) -> (u64, u64) {
        let other = [
            self.world.waits(),
            self.keys.waits(),
            self.defects.waits(),
            self.quotas.waits(),
            self.signing_keys.waits(),
        ];
        (self.calls.waits(), other.into_iter().sum())
    }
}
