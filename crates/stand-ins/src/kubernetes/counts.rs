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
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// `pods`, `deployments.apps`, `serviceaccounts/token` and so on.
    pub resource: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
}

/// What a server was asked since it started. Clones share the counts, which stay readable when the server has ended.
#[derive(Debug, Clone, Default)]
pub struct RequestCounts(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<RequestKind, u64>,
    connections: BTreeMap<String, u64>,
}

impl RequestCounts {
    /// Requests for resources. A watch counts once, when it begins.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<RequestKind, u64> {
        self.counts().requests.clone()
    }

    /// TLS connections by the user of their first request; those whose first request named none that is known are
    /// not among them.
    #[must_use]
    pub fn connections(&self) -> BTreeMap<String, u64> {
        self.counts().connections.clone()
    }

    pub(super) fn request(&self, kind: RequestKind) {
        *self.counts().requests.entry(kind).or_default() += 1;
    }

    pub(super) fn connection(&self, user: &str) {
        *self.counts().connections.entry(user.to_owned()).or_default() += 1;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
