//! What the store holds, behind its lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use tokio::sync::mpsc::{Sender, UnboundedSender, error::TrySendError};

use super::{Change, Forgotten, Happened, Refused, Scope, TooOld};
use crate::kubernetes::{
    resource::{EVENTS, NAMESPACES, Table},
    stored::{Key, Stored},
};

/// The revision that a new store is at, as if an earlier history had been compacted: clients may
/// then ask from a version that is too old.
pub(super) const FIRST_REVISION: u64 = 1_000;

/// Changes kept for each table, so that a watch can start in the past. As many may wait for one watcher:
/// more would be of no use, as the watch could not be resumed from where it is.
pub(super) const HISTORY: usize = 8_192;

/// Events kept. The real server forgets an event an hour after its last change.
pub(super) const EVENTS_KEPT: usize = 20_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) tables: HashMap<Table, Objects>,
    pub(super) watchers: HashMap<(Table, Scope), Vec<Watcher>>,
    pub(super) next_watcher: u64,
    /// Controllers, who see every change of every table. They keep up: they are part of this process.
    pub(super) everything: Vec<UnboundedSender<Arc<Change>>>,
    pub(super) namespaces: HashMap<String, Namespace>,
    /// Objects by uid, and by the uids of their owners.
    pub(super) by_uid: HashMap<String, (Table, Key)>,
    pub(super) dependents: HashMap<String, BTreeSet<(Table, Key)>>,
    /// Events by the revision of their last change, the oldest first.
    events: BTreeMap<u64, Key>,
    pub(super) forgotten: Forgotten,
}

/// A watcher's number and where it gets its changes.
pub(super) type Watcher = (u64, Sender<Arc<Change>>);

#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) latest: BTreeMap<Key, Arc<Stored>>,
    history: VecDeque<Arc<Change>>,
    /// Revisions up to this one are gone from the history.
    compacted: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) terminating: bool,
    pub(super) objects: usize,
}

impl Objects {
    pub(super) fn in_scope(&self, scope: &Scope) -> Vec<Arc<Stored>> {
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
    pub(super) fn after(&self, revision: u64) -> Result<Vec<Arc<Change>>, TooOld> {
        let oldest = self.compacted.unwrap_or(FIRST_REVISION);
        if revision < oldest {
            return Err(TooOld { oldest });
        }
        let start = self.history.partition_point(|change| change.revision <= revision);
        Ok(self.history.range(start..).cloned().collect())
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            revision: FIRST_REVISION,
            tables: HashMap::new(),
            watchers: HashMap::new(),
            next_watcher: 0,
            everything: Vec::new(),
            namespaces: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            events: BTreeMap::new(),
            forgotten: Forgotten::default(),
        }
    }

    pub(super) fn expect_latest(&self, table: Table, previous: &Arc<Stored>) -> Result<(), Refused> {
        let latest = self
            .tables
            .get(&table)
            .and_then(|objects| objects.latest.get(&previous.key));
        match latest {
            Some(latest) if latest.revision == previous.revision => Ok(()),
            _ => Err(Refused::Stale),
        }
    }

    /// Takes over a change and tells everyone whom it concerns.
    pub(super) fn commit(
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
            self.forgotten.changes += 1;
        }
        objects.history.push_back(Arc::clone(&change));
        self.tell(&change);
        if self.events.len() > EVENTS_KEPT {
            self.expire_oldest_event();
        }
    }

    fn tell(&mut self, change: &Arc<Change>) {
        let key = &change.object.key;
        for scope in [
            Scope::All,
            Scope::Namespace(key.namespace.clone()),
            Scope::Object(key.clone()),
        ] {
            let Some(watchers) = self.watchers.get_mut(&(change.table, scope)) else {
                continue;
            };
            watchers.retain(|(_, watcher)| match watcher.try_send(Arc::clone(change)) {
                // A watcher that is gone takes itself off the list.
                Ok(()) | Err(TrySendError::Closed(_)) => true,
                // One that does not keep up loses its watch, and begins a new one from where it is.
                Err(TrySendError::Full(_)) => {
                    self.forgotten.watches += 1;
                    false
                }
            });
        }
        self.everything
            .retain(|controller| controller.send(Arc::clone(change)).is_ok());
    }

    fn expire_oldest_event(&mut self) {
        let oldest = self.events.first_key_value().and_then(|(_, key)| {
            let events = self.tables.get(&EVENTS)?;
            events.latest.get(key).cloned()
        });
        if let Some(oldest) = oldest {
            self.forgotten.events += 1;
            let last = Arc::new(Stored::new(EVENTS, self.revision + 1, oldest.value()));
            self.commit(EVENTS, Happened::Deleted, last, Some(oldest));
        }
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
        if table == EVENTS {
            if let Some(previous) = previous {
                self.events.remove(&previous.revision);
            }
            if happened != Happened::Deleted {
                self.events.insert(object.revision, object.key.clone());
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
