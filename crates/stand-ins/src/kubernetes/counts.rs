//! How often who asked for what, and over how many TLS connections.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A kind of request, for [`RequestCounts::by_kind`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKind {
    /// Who asked, such as `system:node:<node>`.
    pub user: String,
    /// Namespace of what was asked for; empty for all namespaces, and for what is in none.
    pub namespace: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// `pods`, `deployments.apps`, `serviceaccounts/token` and so on.
    pub resource: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
}

/// How often requests of a kind came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// All of them. A watch counts once, when it begins.
    pub number: u64,
    /// Those that were the first over a TLS connection: whoever makes them has made the handshake too.
    pub handshakes: u64,
}

/// The requests for resources that a server was asked since it started. Clones share the counts, which stay readable
/// when the server has ended.
#[derive(Debug, Clone, Default)]
pub struct RequestCounts(Arc<Mutex<BTreeMap<RequestKind, Requests>>>);

impl RequestCounts {
    /// Every kind that was asked for.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<RequestKind, Requests> {
        self.counts().clone()
    }

    pub(super) fn count(&self, kind: RequestKind, handshake: bool) {
        let mut counts = self.counts();
        let requests = counts.entry(kind).or_default();
        requests.number += 1;
        requests.handshakes += u64::from(handshake);
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<RequestKind, Requests>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
