//! Deleting: preconditions, grace, finalizers, and what becomes of dependents.

use std::sync::Arc;

use serde_json::Value;

use super::{
    cluster::{ATTEMPTS, Cluster},
    failure::Failure,
    object::{self, child_mut, fields_mut},
    resource::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, PODS, Resource},
    selector::Selector,
    store::{Refused, Scope},
    stored::{Key, Stored},
};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// `DeleteOptions`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct DeleteOptions {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) grace_seconds: Option<i64>,
    pub(super) propagation: Propagation,
    pub(super) dry_run: bool,
}

/// What becomes of the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Propagation {
    /// They go after it.
    #[default]
    Background,
    /// It waits for them.
    Foreground,
    /// They stay, and forget it.
    Orphan,
}

/// What a deletion came to.
#[derive(Debug)]
pub(super) enum Deleted {
    /// The object is no more.
    Gone(Arc<Stored>),
    /// It waits for its grace period or its finalizers.
    Waiting(Arc<Stored>),
}

impl Deleted {
    pub(super) fn object(&self) -> &Arc<Stored> {
        match self {
            Self::Gone(object) | Self::Waiting(object) => object,
        }
    }
}

impl Cluster {
    pub(super) fn delete(
        &self,
        resource: &Resource,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        for _ in 0..ATTEMPTS {
            let stored = self.get(resource, key)?;
            check_preconditions(resource, &stored, options)?;
            if resource.table == NAMESPACES && IMMORTAL.contains(&key.name.as_str()) {
                return Err(Failure::forbidden(
                    resource,
                    &key.name,
                    "this namespace may not be deleted",
                    None,
                ));
            }
            let old = stored.value();
            let Some(waiting) = awaiting_deletion(resource, &old, options) else {
                if options.dry_run {
                    return Ok(Deleted::Gone(stored));
                }
                if let Ok(gone) = self.remove(resource, &stored, None) {
                    return Ok(Deleted::Gone(gone));
                }
                continue;
            };
            if options.dry_run || waiting == old {
                return Ok(Deleted::Waiting(stored));
            }
            if let Ok(waiting) = self.store.replace(resource.table, &stored, waiting) {
                return Ok(Deleted::Waiting(waiting));
            }
        }
        Err(Failure::stale(resource, &key.name))
    }

    /// Deletes every object that `selector` matches and returns them as they were last seen.
    pub(super) fn delete_collection(
        &self,
        resource: &Resource,
        scope: &Scope,
        selector: &Selector,
        options: &DeleteOptions,
    ) -> Result<Vec<Arc<Stored>>, Failure> {
        let (_, objects) = self
            .store
            .list(resource.table, scope, None)
            .expect("the latest state is never too old");
        let mut deleted = Vec::new();
        for object in objects.iter().filter(|object| selector.matches(object.as_ref())) {
            match self.delete(resource, &object.key, options) {
                Ok(gone) => deleted.push(Arc::clone(gone.object())),
                // Someone else was faster.
                Err(failure) if failure.code == 404 => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(deleted)
    }

    /// Takes an object out of the store, and with a definition everything it defines.
    pub(super) fn remove(
        &self,
        resource: &Resource,
        stored: &Arc<Stored>,
        last: Option<Value>,
    ) -> Result<Arc<Stored>, Refused> {
        let gone = self.store.remove(resource.table, stored, last)?;
        if resource.table == CUSTOM_RESOURCE_DEFINITIONS {
            self.forget_definition(&gone.value());
        }
        Ok(gone)
    }

    /// Removes the objects of a custom resource with its definition.
    fn forget_definition(&self, definition: &Value) {
        let spec = &definition["spec"];
        let (group, plural) = (
            spec["group"].as_str().unwrap_or_default(),
            spec["names"]["plural"].as_str().unwrap_or_default(),
        );
        let resource = self.registry(|registry| {
            registry
                .all()
                .iter()
                .find(|r| r.custom && r.group == group && r.plural == plural)
                .cloned()
        });
        if let Some(resource) = resource {
            let (_, objects) = self
                .store
                .list(resource.table, &Scope::All, None)
                .expect("the latest state is never too old");
            for object in objects {
                // An object that changed meanwhile is looked at again, one that is gone is gone.
                let mut latest = Some(object);
                while let Some(object) = latest {
                    latest = match self.store.remove(resource.table, &object, None) {
                        Ok(_) => None,
                        Err(_) => self.store.get(resource.table, &object.key),
                    };
                }
            }
        }
        self.no_longer_serve(group, plural);
    }
}

fn check_preconditions(resource: &Resource, stored: &Stored, options: &DeleteOptions) -> Result<(), Failure> {
    if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != stored.uid) {
        return Err(Failure::precondition(
            resource,
            &stored.key.name,
            &format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                stored.uid
            ),
        ));
    }
    let revision = stored.revision.to_string();
    if let Some(version) = options
        .resource_version
        .as_ref()
        .filter(|version| **version != revision)
    {
        return Err(Failure::precondition(
            resource,
            &stored.key.name,
            &format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

/// The object as it waits for its deletion, or nothing if it can go at once.
fn awaiting_deletion(resource: &Resource, old: &Value, options: &DeleteOptions) -> Option<Value> {
    let mut new = old.clone();
    let grace = grace_seconds(resource, old, options);
    let mut finalizers: Vec<Value> = old["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let wanted = match options.propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    if !object::terminating(old) || wanted.is_some() {
        finalizers.retain(|finalizer| {
            !(finalizer == "foregroundDeletion" || finalizer == "orphan")
                || wanted.is_none_or(|w| finalizer == w)
        });
        if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|f| f == wanted)) {
            finalizers.push(wanted.into());
        }
    }
    let held = !finalizers.is_empty()
        || grace > 0
        || (resource.table == NAMESPACES
            && old["spec"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty()));
    if !held {
        return None;
    }
    let metadata = object::metadata_mut(&mut new);
    if !finalizers.is_empty() {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
    let known_grace = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    // A deletion under way can only be hastened.
    if !object::terminating(old) || known_grace.is_some_and(|known| grace < known) {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        metadata.insert("deletionTimestamp".to_owned(), object::seconds(at).into());
        if resource.table != NAMESPACES {
            metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        }
        if let Some(generation) = old["metadata"]["generation"].as_i64() {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
        if resource.table == NAMESPACES {
            child_mut(fields_mut(&mut new), "status").insert("phase".to_owned(), "Terminating".into());
        }
    }
    Some(new)
}

/// Only pods that run on a node are given time.
fn grace_seconds(resource: &Resource, old: &Value, options: &DeleteOptions) -> i64 {
    if resource.table != PODS {
        return 0;
    }
    let scheduled = old["spec"]["nodeName"]
        .as_str()
        .is_some_and(|node| !node.is_empty());
    let over = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !scheduled || over {
        return 0;
    }
    options
        .grace_seconds
        .or_else(|| old["metadata"]["deletionGracePeriodSeconds"].as_i64())
        .or_else(|| old["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30)
        .max(0)
}
