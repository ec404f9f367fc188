//! The verbs, over the store: what a request comes down to once it was read.

mod binding;
mod update;

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

pub(super) use self::update::Next;
use super::{
    Defects, defaults,
    failure::Failure,
    managed::{self, Manager},
    object::{self, child_mut, fields_mut, meta},
    resource::{CUSTOM_RESOURCE_DEFINITIONS, NODES, PODS, Registry, Resource, SERVICE_ACCOUNTS, Table},
    store::{Refused, Store},
    stored::{Key, Stored},
    token::Signer,
    validate,
};

/// How often a write is tried again when another write came first, and a generated name when it is taken.
pub(super) const ATTEMPTS: usize = 64;

/// Length of the random part of generated names.
const GENERATED: usize = 5;

/// The state of one cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) store: Store,
    pub(super) signer: Signer,
    /// Issuer of `ServiceAccount` tokens, an https URL.
    pub(super) issuer: String,
    registry: RwLock<Registry>,
    defects: RwLock<Defects>,
}

/// Who writes, and whether it is to last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer<'a> {
    /// The field manager.
    pub(super) manager: &'a str,
    /// Go through all the motions, but store nothing.
    pub(super) dry_run: bool,
}

impl Cluster {
    pub(super) fn new(signer: Signer, issuer: String) -> Self {
        Self {
            store: Store::new(),
            signer,
            issuer,
            registry: RwLock::new(Registry::built_in()),
            defects: RwLock::default(),
        }
    }

    pub(super) fn defects(&self) -> Defects {
        *self.defects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_defects(&self, defects: Defects) {
        *self.defects.write().unwrap_or_else(PoisonError::into_inner) = defects;
    }

    /// Looks something up in what is served.
    pub(super) fn registry<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A built-in resource.
    pub(super) fn built_in(&self, table: Table) -> Arc<Resource> {
        self.registry(|registry| registry.of_table(table))
            .expect("built-in tables are always served")
    }

    pub(super) fn get(&self, resource: &Resource, key: &Key) -> Result<Arc<Stored>, Failure> {
        self.store
            .get(resource.table, key)
            .ok_or_else(|| Failure::not_found(resource, &key.name))
    }

    pub(super) fn create(
        &self,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        writer: Writer<'_>,
    ) -> Result<Arc<Stored>, Failure> {
        fit_to_request(resource, namespace, &mut object)?;
        if !meta(&object, "resourceVersion").is_empty() {
            return Err(Failure::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        object::metadata_mut(&mut object).remove("managedFields");
        defaults::fill_in(resource, &mut object);
        let api_version = resource.api_version();
        let manager = Manager {
            name: writer.manager,
            api_version: &api_version,
            subresource: "",
        };
        let prefix = meta(&object, "generateName").to_owned();
        if !meta(&object, "name").is_empty() || prefix.is_empty() {
            managed::record_update(None, &mut object, manager, resource.custom);
            return self.insert(resource, object, writer);
        }
        managed::record_update(None, &mut object, manager, resource.custom);
        for _ in 0..ATTEMPTS {
            let mut named = object.clone();
            let name = format!("{prefix}{}", object::name_suffix(GENERATED));
            object::metadata_mut(&mut named).insert("name".to_owned(), name.clone().into());
            if self.store.get(resource.table, &Key::of(&named)).is_none() {
                return self.insert(resource, named, writer);
            }
        }
        Err(Failure::already_exists(resource, &prefix))
    }

    /// Stores a new object whose defaults and managers are in place.
    fn insert(
        &self,
        resource: &Resource,
        mut object: Value,
        writer: Writer<'_>,
    ) -> Result<Arc<Stored>, Failure> {
        let (namespace, name) = (
            meta(&object, "namespace").to_owned(),
            meta(&object, "name").to_owned(),
        );
        self.admit_to_namespace(resource, &namespace, &name)?;
        defaults::prepare_new(resource, &mut object);
        let violations = validate::violations(resource, &object);
        if resource.table == PODS {
            defaults::admit_pod(&mut object);
            self.admit_service_account(resource, &object)?;
        }
        if !violations.is_empty() {
            return Err(Failure::invalid(
                &resource.group,
                &resource.kind,
                &name,
                &violations,
            ));
        }
        if writer.dry_run {
            if self.store.get(resource.table, &Key::of(&object)).is_some() {
                return Err(Failure::already_exists(resource, &name));
            }
            return Ok(Arc::new(Stored::new(
                resource.table,
                self.store.revision(),
                object,
            )));
        }
        let stored = self
            .store
            .insert(resource.table, object)
            .map_err(|refused| match refused {
                Refused::Exists | Refused::Stale => Failure::already_exists(resource, &name),
                Refused::NoNamespace => Failure::namespace_not_found(&namespace),
                Refused::NamespaceTerminating => Failure::namespace_terminating(resource, &name, &namespace),
            })?;
        if resource.table == CUSTOM_RESOURCE_DEFINITIONS {
            self.establish(resource, &stored);
        }
        // As it was before the controllers saw it.
        Ok(stored)
    }

    fn admit_to_namespace(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Failure> {
        if !resource.namespaced {
            return Ok(());
        }
        match self.store.namespace(namespace) {
            None => Err(Failure::namespace_not_found(namespace)),
            Some((_, true)) => Err(Failure::namespace_terminating(resource, name, namespace)),
            Some((_, false)) => Ok(()),
        }
    }

    fn admit_service_account(&self, resource: &Resource, pod: &Value) -> Result<(), Failure> {
        let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        let namespace = meta(pod, "namespace");
        if self
            .store
            .get(SERVICE_ACCOUNTS, &Key::new(namespace, account))
            .is_some()
        {
            return Ok(());
        }
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
        );
        Err(Failure::forbidden(resource, meta(pod, "name"), why, None))
    }

    /// What the controllers of a real server do a moment after a definition was made: accept its names and serve it.
    fn establish(&self, resource: &Resource, stored: &Stored) {
        let writer = Writer {
            manager: "kube-apiserver",
            dry_run: false,
        };
        let made = self.modify(resource, &stored.key, "status", writer, |old| {
            let mut new = old.clone();
            new["status"] = defaults::established(&old["spec"]);
            Ok(Next::Internal(new))
        });
        if let Err(failure) = made {
            tracing::debug!(
                name = stored.key.name,
                message = failure.message,
                "not established"
            );
        }
    }

    fn serve(&self, definition: &Value) {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .define(definition);
    }

    /// No longer serves a custom resource.
    pub(super) fn no_longer_serve(&self, group: &str, plural: &str) {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .undefine(group, plural);
    }
}

/// Checks that the namespace of request and object agree, and writes it into the object.
fn fit_to_request(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), Failure> {
    object::drop_nulls(object);
    let given = meta(object, "namespace").to_owned();
    if !given.is_empty() && given != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let fields = fields_mut(object);
    fields.insert("kind".to_owned(), resource.kind.clone().into());
    fields.insert("apiVersion".to_owned(), resource.api_version().into());
    let metadata = child_mut(fields, "metadata");
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Ok(())
}

/// The node that `name` names, for claims of tokens.
pub(super) fn node_uid(cluster: &Cluster, name: &str) -> Option<String> {
    cluster
        .store
        .get(NODES, &Key::new("", name))
        .map(|node| node.uid.clone())
}
