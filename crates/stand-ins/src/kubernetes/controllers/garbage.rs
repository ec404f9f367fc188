//! Removes what is owned by what is gone.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{
    super::{
        cluster::{Cluster, Next},
        deletion::{DeleteOptions, Propagation},
        object::metadata_mut,
        resource::Table,
        store::{Change, Happened},
        stored::{Key, Stored},
    },
    Controller, WRITER, note,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

pub(super) struct Garbage {
    cluster: Arc<Cluster>,
}

impl Garbage {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }
}

/// What the collector looks at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Suspect {
    /// An object whose owners may be gone.
    Owned(Table, Key),
    /// An object that waits for its dependents, by uid.
    Waiting(String),
    /// The dependents of an object that is gone, by its uid.
    Orphaned(String),
}

impl Controller for Garbage {
    type Item = Suspect;

    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<Suspect>) {
        let object = &change.object;
        match change.happened {
            Happened::Deleted => {
                if !self.cluster.store.dependents(&object.uid).is_empty() {
                    out_of_order.insert(Suspect::Orphaned(object.uid.clone()));
                }
                for owner in &object.owners {
                    out_of_order.insert(Suspect::Waiting(owner.uid.clone()));
                }
            }
            Happened::Added | Happened::Modified => {
                if object.terminating && object.has_finalizers {
                    out_of_order.insert(Suspect::Waiting(object.uid.clone()));
                }
                let before = change.previous.as_ref().map(|previous| &previous.owners);
                if !object.owners.is_empty() && before != Some(&object.owners) {
                    out_of_order.insert(Suspect::Owned(change.table, object.key.clone()));
                }
            }
        }
    }

    fn reconcile(&self, suspect: &Suspect) -> bool {
        match suspect {
            Suspect::Owned(table, key) => {
                if let Some(object) = self.cluster.store.get(*table, key) {
                    self.check_owners(*table, &object);
                }
            }
            Suspect::Orphaned(uid) => {
                for (table, object) in self.cluster.store.dependents(uid) {
                    self.check_owners(table, &object);
                }
            }
            Suspect::Waiting(uid) => self.check_dependents(uid),
        }
        false
    }
}

impl Garbage {
    /// Deletes an object none of whose owners is left, and takes owners that are gone off one that has others.
    fn check_owners(&self, table: Table, object: &Arc<Stored>) {
        let store = &self.cluster.store;
        let (left, gone): (Vec<_>, Vec<_>) = object.owners.iter().partition(|owner| store.holds(&owner.uid));
        let Some(resource) = self.cluster.registry(|registry| registry.of_table(table)) else {
            return;
        };
        if gone.is_empty() {
            return;
        }
        if left.is_empty() {
            // The precondition spares an object that was made anew meanwhile.
            let options = DeleteOptions {
                uid: Some(object.uid.clone()),
                ..DeleteOptions::default()
            };
            note(
                self.cluster.delete(&resource, &object.key, &options),
                "collect garbage",
                &object.key,
            );
            return;
        }
        let gone: Vec<&str> = gone.iter().map(|owner| owner.uid.as_str()).collect();
        self.disown(table, &object.key, &gone);
    }

    /// Lets an object go whose dependents are dealt with.
    fn check_dependents(&self, uid: &str) {
        let Some((table, owner)) = self.cluster.store.by_uid(uid) else {
            return;
        };
        if !owner.terminating || !owner.has_finalizers {
            return;
        }
        let value = owner.value();
        let finalizers = super::super::object::strings(&value["metadata"]["finalizers"]);
        if finalizers.contains(&ORPHAN) {
            for (table, dependent) in self.cluster.store.dependents(uid) {
                self.disown(table, &dependent.key, &[uid]);
            }
            self.release(table, &owner.key, ORPHAN);
        } else if finalizers.contains(&FOREGROUND) {
            let mut blocked = false;
            for (table, dependent) in self.cluster.store.dependents(uid) {
                blocked |= dependent
                    .owners
                    .iter()
                    .any(|owner| owner.uid == uid && owner.blocks);
                if dependent.terminating {
                    continue;
                }
                let Some(resource) = self.cluster.registry(|registry| registry.of_table(table)) else {
                    continue;
                };
                let options = DeleteOptions {
                    uid: Some(dependent.uid.clone()),
                    propagation: Propagation::Foreground,
                    ..DeleteOptions::default()
                };
                note(
                    self.cluster.delete(&resource, &dependent.key, &options),
                    "delete a dependent",
                    &dependent.key,
                );
            }
            if !blocked {
                self.release(table, &owner.key, FOREGROUND);
            }
        }
    }

    fn disown(&self, table: Table, key: &Key, owners: &[&str]) {
        self.edit(table, key, "ownerReferences", |reference| {
            !owners.iter().any(|uid| reference["uid"] == **uid)
        });
    }

    fn release(&self, table: Table, key: &Key, finalizer: &str) {
        self.edit(table, key, "finalizers", |there| there != finalizer);
    }

    /// Keeps the items of a list in an object's metadata that `keep` says.
    fn edit(&self, table: Table, key: &Key, list: &str, keep: impl Fn(&Value) -> bool) {
        let Some(resource) = self.cluster.registry(|registry| registry.of_table(table)) else {
            return;
        };
        let edited = self.cluster.modify(&resource, key, "", WRITER, |old| {
            let mut new = old.clone();
            let metadata = metadata_mut(&mut new);
            if let Some(Value::Array(items)) = metadata.get_mut(list) {
                items.retain(&keep);
                if items.is_empty() {
                    metadata.remove(list);
                }
            }
            Ok(Next::Internal(new))
        });
        note(edited, "release an object", key);
    }
}
