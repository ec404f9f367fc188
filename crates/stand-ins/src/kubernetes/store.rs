//! Objects in memory, their history, and who watches them.
//!
//! One counter numbers every change, as etcd's revision does. A change is handed to exactly the
//! watchers whose scope it is in (one object, one namespace or all), so a thousand watchers of a pod
//! each cost nothing while other pods change.

mod state;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde_json::Value;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, channel, unbounded_channel};

use self::state::{FIRST_REVISION, HISTORY, State};
use super::{
    Forgotten,
    resource::Table,
    stored::{Key, Stored},
};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) table: Table,
    pub(super) happened: Happened,
    /// The new version; of a deletion, the last version under the revision of the deletion.
    pub(super) object: Arc<Stored>,
    pub(super) previous: Option<Arc<Stored>>,
}

/// Which objects of a table are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    All,
    Namespace(String),
    Object(Key),
}

impl Scope {
    fn contains(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => key.namespace == *namespace,
            Self::Object(wanted) => wanted == key,
        }
    }
}

/// Why a write was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// An object of this name exists.
    Exists,
    /// The stored object is no longer the one the caller looked at.
    Stale,
    /// There is no such namespace.
    NoNamespace,
    /// The namespace is being removed.
    NamespaceTerminating,
}

/// The history a reader asked for is gone; this is the oldest revision that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooOld {
    pub(super) oldest: u64,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// With every object as it is now.
    State,
    /// With the first change from now on.
    Now,
    /// With the first change after this revision.
    Revision(u64),
}

/// A watch: first `initial` and `backlog`, then what `changes` brings.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) initial: Vec<Arc<Stored>>,
    pub(super) backlog: Vec<Arc<Change>>,
    /// Ends when the watcher does not keep up.
    pub(super) changes: Receiver<Arc<Change>>,
    /// The store's revision when the watch began.
    pub(super) revision: u64,
    registration: Registration,
}

impl Subscription {
    /// The store's revision, if everything up to it was received.
    pub(super) fn caught_up(&self) -> Option<u64> {
        let state = self.registration.store.upgrade()?;
        // No change comes in while the lock is held.
        let state = lock(&state);
        self.changes.is_empty().then_some(state.revision)
    }
}

/// Takes the watcher off the list when it is dropped.
#[derive(Debug)]
struct Registration {
    store: Weak<Mutex<State>>,
    at: (Table, Scope),
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(state) = self.store.upgrade() {
            let mut state = lock(&state);
            if let Some(watchers) = state.watchers.get_mut(&self.at) {
                watchers.retain(|(id, _)| *id != self.id);
                if watchers.is_empty() {
                    state.watchers.remove(&self.at);
                }
            }
        }
    }
}

/// The objects of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Store(Arc<Mutex<State>>);

impl Store {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new())))
    }

    /// What is no longer kept.
    pub(super) fn forgotten(&self) -> Forgotten {
        self.lock().forgotten
    }

    pub(super) fn revision(&self) -> u64 {
        self.lock().revision
    }

    pub(super) fn get(&self, table: Table, key: &Key) -> Option<Arc<Stored>> {
        self.lock().tables.get(&table)?.latest.get(key).cloned()
    }

    /// Whether an object with this uid exists.
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.lock().by_uid.contains_key(uid)
    }

    /// The object with this uid.
    pub(super) fn by_uid(&self, uid: &str) -> Option<(Table, Arc<Stored>)> {
        let state = self.lock();
        let (table, key) = state.by_uid.get(uid)?;
        Some((*table, Arc::clone(state.tables.get(table)?.latest.get(key)?)))
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<(Table, Arc<Stored>)> {
        let state = self.lock();
        state
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|(table, key)| Some((*table, Arc::clone(state.tables.get(table)?.latest.get(key)?))))
            .collect()
    }

    /// How many objects a namespace holds, and whether it is being removed.
    pub(super) fn namespace(&self, name: &str) -> Option<(usize, bool)> {
        self.lock()
            .namespaces
            .get(name)
            .map(|namespace| (namespace.objects, namespace.terminating))
    }

    /// Stores a new object, whose namespace must exist and stay.
    pub(super) fn insert(&self, table: Table, object: Value) -> Result<Arc<Stored>, Refused> {
        let mut state = self.lock();
        let key = Key::of(&object);
        if !key.namespace.is_empty() {
            match state.namespaces.get(&key.namespace) {
                None => return Err(Refused::NoNamespace),
                Some(namespace) if namespace.terminating => return Err(Refused::NamespaceTerminating),
                Some(_) => {}
            }
        }
        if state
            .tables
            .get(&table)
            .is_some_and(|t| t.latest.contains_key(&key))
        {
            return Err(Refused::Exists);
        }
        let revision = state.revision + 1;
        let stored = Arc::new(Stored::new(table, revision, object));
        state.commit(table, Happened::Added, Arc::clone(&stored), None);
        Ok(stored)
    }

    /// Puts `object` in the place of `previous`, if that is still the latest version.
    pub(super) fn replace(
        &self,
        table: Table,
        previous: &Arc<Stored>,
        object: Value,
    ) -> Result<Arc<Stored>, Refused> {
        let mut state = self.lock();
        state.expect_latest(table, previous)?;
        let revision = state.revision + 1;
        let stored = Arc::new(Stored::new(table, revision, object));
        state.commit(
            table,
            Happened::Modified,
            Arc::clone(&stored),
            Some(Arc::clone(previous)),
        );
        Ok(stored)
    }

    /// Removes `previous`, if it is still the latest version. Watchers see `last`, where the object
    /// changed on the way out, or else the version that was stored.
    pub(super) fn remove(
        &self,
        table: Table,
        previous: &Arc<Stored>,
        last: Option<Value>,
    ) -> Result<Arc<Stored>, Refused> {
        let mut state = self.lock();
        state.expect_latest(table, previous)?;
        let revision = state.revision + 1;
        let last = last.unwrap_or_else(|| previous.value());
        let stored = Arc::new(Stored::new(table, revision, last));
        state.commit(
            table,
            Happened::Deleted,
            Arc::clone(&stored),
            Some(Arc::clone(previous)),
        );
        Ok(stored)
    }

    /// The objects in `scope` in order of namespace and name, and the revision they are of: the
    /// latest, or an earlier one.
    pub(super) fn list(
        &self,
        table: Table,
        scope: &Scope,
        at: Option<u64>,
    ) -> Result<(u64, Vec<Arc<Stored>>), TooOld> {
        let state = self.lock();
        let revision = at.unwrap_or(state.revision);
        let Some(objects) = state.tables.get(&table) else {
            return Ok((revision, Vec::new()));
        };
        let latest = objects.in_scope(scope);
        let undone = objects.after(revision)?;
        if undone.is_empty() {
            return Ok((revision, latest));
        }
        let mut then: BTreeMap<Key, Arc<Stored>> = latest
            .into_iter()
            .map(|object| (object.key.clone(), object))
            .collect();
        for change in undone
            .iter()
            .rev()
            .filter(|change| scope.contains(&change.object.key))
        {
            match &change.previous {
                Some(previous) => then.insert(previous.key.clone(), Arc::clone(previous)),
                None => then.remove(&change.object.key),
            };
        }
        Ok((revision, then.into_values().collect()))
    }

    /// Begins a watch.
    pub(super) fn watch(&self, table: Table, scope: &Scope, since: Since) -> Result<Subscription, TooOld> {
        let mut state = self.lock();
        let (mut initial, mut backlog) = (Vec::new(), Vec::new());
        if let Some(objects) = state.tables.get(&table) {
            match since {
                Since::State => initial = objects.in_scope(scope),
                Since::Now => {}
                Since::Revision(revision) => {
                    backlog = objects.after(revision)?;
                    backlog.retain(|change| scope.contains(&change.object.key));
                }
            }
        } else if let Since::Revision(revision) = since
            && revision < FIRST_REVISION
        {
            return Err(TooOld {
                oldest: FIRST_REVISION,
            });
        }
        let (sender, changes) = channel(HISTORY);
        let id = state.next_watcher;
        state.next_watcher += 1;
        let at = (table, scope.clone());
        state.watchers.entry(at.clone()).or_default().push((id, sender));
        Ok(Subscription {
            initial,
            backlog,
            changes,
            revision: state.revision,
            registration: Registration {
                store: Arc::downgrade(&self.0),
                at,
                id,
            },
        })
    }

    /// Every change of every table from now on, for controllers.
    pub(super) fn watch_everything(&self) -> UnboundedReceiver<Arc<Change>> {
        let (sender, changes) = unbounded_channel();
        self.lock().everything.push(sender);
        changes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// A panic while the lock was held cannot leave half a change: every change is one assignment at its end.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
