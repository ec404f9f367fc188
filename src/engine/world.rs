//! What every case of a run shares: the environment, the tenants, every secret value made, the journal.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{micros, step::StepError};
use crate::{
    aws::{AwsError, Session},
    environment::Environment,
    journal::{EventKind, Failure, Journal, TenantReady, WarningRaised},
    kubernetes::Token,
    provision::{Provisioner, Tenant, TenantRequest},
    redact::Redactor,
    scenario::{Case, model::RoleAnnotation},
    secret::SecretValue,
    tenant,
    verdict::denial::Call,
};

/// What every case of a run shares.
pub(super) struct World {
    pub(super) environment: Arc<Environment>,
    pub(super) provisioner: Provisioner,
    pub(super) journal: Journal,
    pub(super) redactor: Redactor,
    pub(super) options: Arc<super::RunOptions>,
    pub(super) seed: u64,
    pub(super) run_id: String,
    /// The run's shared tenants, in order.
    pub(super) shared: Vec<Tenant>,
    /// Fingerprints of every secret value of the run, and whose it is.
    pub(super) owners: Mutex<BTreeMap<String, Owner>>,
}

/// Whose a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: String,
    pub(super) secret: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.secret)
    }
}
