//! Objects in memory, their history, and who watches them.
//!
//! One counter numbers every change, as etcd's revision does. A change is handed to exactly the
//! watchers whose scope it is in (one object, one namespace or all), so a thousand watchers of a pod
//! each cost nothing while other pods change.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    resource::{NAMESPACES, Table},
    stored::{Key, Stored},
};

/// The revision that a new store is at, as if an earlier history had been compacted: clients may
/// then ask from a version that is too old.
const FIRST_REVISION: u64 = 1_000;

/// Changes kept for each table, so that a watch can start in the past.
const HISTORY: usize = 8_192;

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
    pub(super) changes: UnboundedReceiver<Arc<Change>>,
    /// The store's revision when the watch began.
    pub(super) revision: u64,
    _registration: Registration,
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

#[derive(Debug)]
struct State {
    revision: u64,
    tables: HashMap<Table, Objects>,
    watchers: HashMap<(Table, Scope), Vec<Watcher>>,
    next_watcher: u64,
    /// Controllers, who see every change of every table.
    everything: Vec<UnboundedSender<Arc<Change>>>,
    namespaces: HashMap<String, Namespace>,
    /// Objects by uid, and by the uids of their owners.
    by_uid: HashMap<String, (Table, Key)>,
    dependents: HashMap<String, BTreeSet<(Table, Key)>>,
}

/// A watcher's number and where it gets its changes.
type Watcher = (u64, UnboundedSender<Arc<Change>>);

#[derive(Debug, Default)]
struct Objects {
    latest: BTreeMap<Key, Arc<Stored>>,
    history: VecDeque<Arc<Change>>,
    /// Revisions up to this one are gone from the history.
    compacted: Option<u64>,
}

#[derive(Debug, Default)]
struct Namespace {
    terminating: bool,
    objects: usize,
}

impl Store {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            revision: FIRST_REVISION,
            tables: HashMap::new(),
            watchers: HashMap::new(),
            next_watcher: 0,
            everything: Vec::new(),
            namespaces: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
        })))
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
        let (sender, changes) = unbounded_channel();
        let id = state.next_watcher;
        state.next_watcher += 1;
        let at = (table, scope.clone());
        state.watchers.entry(at.clone()).or_default().push((id, sender));
        Ok(Subscription {
            initial,
            backlog,
            changes,
            revision: state.revision,
            _registration: Registration {
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

impl Objects {
    fn in_scope(&self, scope: &Scope) -> Vec<Arc<Stored>> {
        match scope {
            Scope::All => self.latest.values().cloned().collect(),
            Scope::Namespace(namespace) => {
                let first = Key::new(namespace.clone(), "");
                self.latest
                    .range((Bound::Included(first), Bound::Unbounded))
                    .take_while(|(key, _)| key.namespace == *namespace)
                    .map(|(_, object)| Arc::clone(object))
                    .collect()
            }
            Scope::Object(key) => self.latest.get(key).cloned().into_iter().collect(),
        }
    }

    /// The changes after `revision`.
    fn after(&self, revision: u64) -> Result<Vec<Arc<Change>>, TooOld> {
        let oldest = self.compacted.unwrap_or(FIRST_REVISION);
        if revision < oldest {
            return Err(TooOld { oldest });
        }
        let start = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(start..).cloned().collect())
    }
}

impl State {
    fn expect_latest(&self, table: Table, previous: &Arc<Stored>) -> Result<(), Refused> {
        let latest = self
            .tables
            .get(&table)
            .and_then(|objects| objects.latest.get(&previous.key));
        match latest {
            Some(latest) if latest.revision == previous.revision => Ok(()),
            _ => Err(Refused::Stale),
        }
    }

    fn commit(
        &mut self,
        table: Table,
        happened: Happened,
        object: Arc<Stored>,
        previous: Option<Arc<Stored>>,
    ) {
        self.revision = object.revision;
        self.index(table, happened, &object, previous.as_deref());
        let change = Arc::new(Change {
            revision: object.revision,
            table,
            happened,
            object,
            previous,
        });
        let object = &change.object;
        let objects = self.tables.entry(table).or_default();
        if happened == Happened::Deleted {
            objects.latest.remove(&object.key);
        } else {
            objects.latest.insert(object.key.clone(), Arc::clone(object));
        }
        if objects.history.len() == HISTORY {
            objects.compacted = objects.history.pop_front().map(|gone| gone.revision);
        }
        objects.history.push_back(Arc::clone(&change));
        for scope in [
            Scope::All,
            Scope::Namespace(object.key.namespace.clone()),
            Scope::Object(object.key.clone()),
        ] {
            for (_, watcher) in self.watchers.get(&(table, scope)).into_iter().flatten() {
                // A watcher that is gone takes itself off the list.
                let _ = watcher.send(Arc::clone(&change));
            }
        }
        self.everything
            .retain(|controller| controller.send(Arc::clone(&change)).is_ok());
    }

    fn index(&mut self, table: Table, happened: Happened, object: &Stored, previous: Option<&Stored>) {
        let at = || (table, object.key.clone());
        match happened {
            Happened::Added => {
                self.by_uid.insert(object.uid.clone(), at());
            }
            Happened::Modified => {}
            Happened::Deleted => {
                self.by_uid.remove(&object.uid);
            }
        }
        for owner in previous.into_iter().flat_map(|previous| previous.owners.iter()) {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&at());
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if happened != Happened::Deleted {
            for owner in &object.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(at());
            }
        }
        if table == NAMESPACES {
            if happened == Happened::Deleted {
                self.namespaces.remove(&object.key.name);
            } else {
                self.namespaces
                    .entry(object.key.name.clone())
                    .or_default()
                    .terminating = object.terminating;
            }
        } else if let Some(namespace) = self.namespaces.get_mut(&object.key.namespace) {
            match happened {
                Happened::Added => namespace.objects += 1,
                Happened::Modified => {}
                Happened::Deleted => namespace.objects = namespace.objects.saturating_sub(1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::resource::CONFIG_MAPS, *};

    fn store_with_namespaces() -> Store {
        let store = Store::new();
        for name in ["a", "b"] {
            store
                .insert(NAMESPACES, json!({ "metadata": { "name": name, "uid": name } }))
                .unwrap();
        }
        store
    }

    /// Sets, changes or removes one of six objects.
    fn act(store: &Store, object: u8, value: Option<u8>) {
        let namespace = if object < 3 { "a" } else { "b" };
        let key = Key::new(namespace, format!("o{object}"));
        let body = |value: u8| json!({ "metadata": { "namespace": namespace, "name": key.name, "uid": format!("u{object}") }, "data": { "v": value } });
        match (store.get(CONFIG_MAPS, &key), value) {
            (None, Some(value)) => drop(store.insert(CONFIG_MAPS, body(value)).unwrap()),
            (Some(there), Some(value)) => drop(store.replace(CONFIG_MAPS, &there, body(value)).unwrap()),
            (Some(there), None) => drop(store.remove(CONFIG_MAPS, &there, None).unwrap()),
            (None, None) => {}
        }
    }

    fn state(objects: Vec<Arc<Stored>>) -> BTreeMap<Key, u64> {
        objects
            .into_iter()
            .map(|object| (object.key.clone(), object.revision))
            .collect()
    }

    proptest! {
        /// A list at any revision and the changes after it give the list at the end: the promise that
        /// every informer lives by.
        #[test]
        fn a_list_and_its_watch_give_the_final_list(
            actions in prop::collection::vec((0_u8..6, prop::option::of(0_u8..4)), 1..60),
            cut in 0_usize..60,
            scope in prop::sample::select(vec![
                Scope::All,
                Scope::Namespace("a".to_owned()),
                Scope::Object(Key::new("b", "o4")),
            ]),
        ) {
            let store = store_with_namespaces();
            let cut = cut.min(actions.len());
            for (object, value) in &actions[..cut] {
                act(&store, *object, *value);
            }
            let (revision, then) = store.list(CONFIG_MAPS, &scope, None).unwrap();
            for (object, value) in &actions[cut..] {
                act(&store, *object, *value);
            }
            // The past can still be listed.
            let (_, again) = store.list(CONFIG_MAPS, &scope, Some(revision)).unwrap();
            prop_assert_eq!(state(again), state(then.clone()));
            let watch = store.watch(CONFIG_MAPS, &scope, Since::Revision(revision)).unwrap();
            let mut seen = state(then);
            let mut last = revision;
            for change in &watch.backlog {
                prop_assert!(change.revision > last);
                last = change.revision;
                let known = match change.happened {
                    Happened::Deleted => seen.remove(&change.object.key),
                    _ => seen.insert(change.object.key.clone(), change.revision),
                };
                prop_assert_eq!(known.is_none(), change.happened == Happened::Added);
            }
            let (_, end) = store.list(CONFIG_MAPS, &scope, None).unwrap();
            prop_assert_eq!(seen, state(end));
        }
    }

    #[test]
    fn changes_reach_the_watchers_of_their_scope_only() {
        let store = store_with_namespaces();
        let watch = |scope| store.watch(CONFIG_MAPS, &scope, Since::Now).unwrap();
        let mut all = watch(Scope::All);
        let mut namespace = watch(Scope::Namespace("b".to_owned()));
        let mut object = watch(Scope::Object(Key::new("a", "o1")));
        act(&store, 1, Some(1));
        act(&store, 4, Some(1));
        act(&store, 1, None);
        let drain = |subscription: &mut Subscription| {
            std::iter::from_fn(|| subscription.changes.try_recv().ok())
                .map(|change| (change.object.key.name.clone(), change.happened))
                .collect::<Vec<_>>()
        };
        let (o1, o4) = ("o1".to_owned(), "o4".to_owned());
        assert_eq!(
            drain(&mut all),
            [
                (o1.clone(), Happened::Added),
                (o4.clone(), Happened::Added),
                (o1.clone(), Happened::Deleted)
            ]
        );
        assert_eq!(drain(&mut namespace), [(o4, Happened::Added)]);
        assert_eq!(
            drain(&mut object),
            [(o1.clone(), Happened::Added), (o1, Happened::Deleted)]
        );
        drop((all, namespace, object));
        assert!(store.lock().watchers.is_empty());
    }

    #[test]
    fn history_is_bounded_and_says_so() {
        let store = store_with_namespaces();
        let start = store.revision();
        for turn in 0..HISTORY + 2 {
            act(&store, 0, Some(u8::try_from(turn % 250).unwrap()));
        }
        assert!(
            store
                .watch(CONFIG_MAPS, &Scope::All, Since::Revision(start))
                .is_err()
        );
        let oldest = store
            .list(CONFIG_MAPS, &Scope::All, Some(start))
            .unwrap_err()
            .oldest;
        let watch = store
            .watch(CONFIG_MAPS, &Scope::All, Since::Revision(oldest))
            .unwrap();
        assert_eq!(watch.backlog.len(), HISTORY);
        // A table without any object has a beginning, too.
        assert!(
            store
                .watch(super::super::resource::PODS, &Scope::All, Since::Revision(1))
                .is_err()
        );
    }

    #[test]
    fn only_the_latest_version_is_replaced_or_removed() {
        let store = store_with_namespaces();
        act(&store, 0, Some(1));
        let old = store.get(CONFIG_MAPS, &Key::new("a", "o0")).unwrap();
        act(&store, 0, Some(2));
        assert_eq!(
            store.replace(CONFIG_MAPS, &old, old.value()).unwrap_err(),
            Refused::Stale
        );
        assert_eq!(store.remove(CONFIG_MAPS, &old, None).unwrap_err(), Refused::Stale);
        assert_eq!(
            store.insert(CONFIG_MAPS, old.value()).unwrap_err(),
            Refused::Exists
        );
        let elsewhere = json!({ "metadata": { "namespace": "none", "name": "x", "uid": "x" } });
        assert_eq!(
            store.insert(CONFIG_MAPS, elsewhere).unwrap_err(),
            Refused::NoNamespace
        );
    }
}
