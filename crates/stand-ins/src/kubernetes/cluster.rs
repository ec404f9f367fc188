//! The verbs, over the store: what a request comes down to once it was read.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use super::{
    Defects, defaults,
    failure::Failure,
    managed::{self, Manager},
    object::{self, child_mut, fields_mut, meta},
    patch::{self, Format, PatchError},
    resource::{
        CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, NODES, PODS, Registry, Resource, SERVICE_ACCOUNTS, Table,
    },
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

    // === Create ===

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
            self.serve(&stored.value());
        }
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

    // === Update and patch ===

    pub(super) fn update(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        mut object: Value,
        writer: Writer<'_>,
    ) -> Result<Arc<Stored>, Failure> {
        fit_to_request(resource, &key.namespace, &mut object)?;
        let name = meta(&object, "name");
        if name != key.name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        if resource.custom && meta(&object, "resourceVersion").is_empty() {
            // Custom resources are never updated blindly.
            let violation = super::failure::Violation::invalid(
                "metadata.resourceVersion",
                &json!(0),
                "must be specified for an update",
            );
            return Err(Failure::invalid(
                &resource.group,
                &resource.kind,
                name,
                &[violation],
            ));
        }
        self.modify(resource, key, subresource, writer, |_| {
            Ok(Next::Updated(object.clone()))
        })
    }

    pub(super) fn patch(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        format: Format,
        patch: &Value,
        writer: Writer<'_>,
    ) -> Result<Arc<Stored>, Failure> {
        self.modify(resource, key, subresource, writer, |current| {
            let mut current = current.clone();
            let fields = fields_mut(&mut current);
            fields.insert("kind".to_owned(), resource.kind.clone().into());
            fields.insert("apiVersion".to_owned(), resource.api_version().into());
            let mut patched = patch::patched(format, &current, patch).map_err(|error| match error {
                PatchError::Malformed(message) => Failure::bad_request(message),
                PatchError::Inapplicable => Failure::unprocessable(),
            })?;
            object::drop_nulls(&mut patched);
            Ok(Next::Updated(patched))
        })
    }

    /// Server-side apply; true if it created the object.
    pub(super) fn apply(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        mut config: Value,
        force: bool,
        writer: Writer<'_>,
    ) -> Result<(Arc<Stored>, bool), Failure> {
        if config["metadata"]
            .get("managedFields")
            .is_some_and(|fields| !fields.is_null())
        {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let name = meta(&config, "name").to_owned();
        if !name.is_empty() && name != key.name {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        fit_to_request(resource, &key.namespace, &mut config)?;
        object::metadata_mut(&mut config).insert("name".to_owned(), key.name.clone().into());
        let api_version = resource.api_version();
        let manager = Manager {
            name: writer.manager,
            api_version: &api_version,
            subresource,
        };
        let conflicted = |conflicts: managed::Conflicts| Failure::apply_conflicts(&conflicts);
        for _ in 0..ATTEMPTS {
            if self.store.get(resource.table, key).is_some() || !subresource.is_empty() {
                let applied = self.modify(resource, key, subresource, writer, |current| {
                    managed::apply(Some(current), &config, manager, force, resource.custom)
                        .map(Next::Applied)
                        .map_err(conflicted)
                });
                return applied.map(|stored| (stored, false));
            }
            let mut created =
                managed::apply(None, &config, manager, force, resource.custom).map_err(conflicted)?;
            defaults::fill_in(resource, &mut created);
            match self.insert(resource, created, writer) {
                // Someone else created it in between: apply to theirs.
                Err(failure) if failure.code == 409 => {}
                created => return created.map(|stored| (stored, true)),
            }
        }
        Err(Failure::stale(resource, &key.name))
    }

    /// Reads an object, lets `next` make its successor, and stores that unless another write came
    /// between; then it begins anew.
    pub(super) fn modify(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        writer: Writer<'_>,
        mut next: impl FnMut(&Value) -> Result<Next, Failure>,
    ) -> Result<Arc<Stored>, Failure> {
        for _ in 0..ATTEMPTS {
            let stored = self.get(resource, key)?;
            let old = stored.value();
            let next = next(&old)?;
            let new = settled(resource, subresource, &old, next, writer)?;
            if new == old {
                return Ok(stored);
            }
            if writer.dry_run {
                return Ok(Arc::new(Stored::new(resource.table, stored.revision, new)));
            }
            let written = if finished(resource, &new) {
                self.remove(resource, &stored, Some(new))
            } else {
                self.store.replace(resource.table, &stored, new)
            };
            if let Ok(written) = written {
                if resource.table == CUSTOM_RESOURCE_DEFINITIONS && !written.terminating {
                    self.serve(&written.value());
                }
                return Ok(written);
            }
        }
        Err(Failure::stale(resource, &key.name))
    }

    /// Binds a pod to a node, as schedulers do.
    pub(super) fn bind(&self, key: &Key, binding: &Value) -> Result<(), Failure> {
        let pods = self.built_in(PODS);
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            let violation = super::failure::Violation::required("target.name", "");
            return Err(Failure::invalid("", "Binding", &key.name, &[violation]));
        }
        for _ in 0..ATTEMPTS {
            let stored = self.get(&pods, key)?;
            let mut pod = stored.value();
            let uid = meta(binding, "uid");
            if !uid.is_empty() && uid != stored.uid {
                return Err(Failure::precondition(
                    &pods,
                    &key.name,
                    &format!(
                        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                        stored.uid
                    ),
                ));
            }
            if stored.terminating {
                return Err(Failure::conflict(
                    &pods,
                    &key.name,
                    &format!("pod {} is being deleted, cannot be assigned to a host", key.name),
                ));
            }
            if let Some(there) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
                return Err(Failure::conflict(
                    &pods,
                    &key.name,
                    &format!("pod {} is already assigned to node {there:?}", key.name),
                ));
            }
            child_mut(fields_mut(&mut pod), "spec").insert("nodeName".to_owned(), node.clone().into());
            for (name, value) in binding["metadata"]["annotations"]
                .as_object()
                .into_iter()
                .flatten()
            {
                child_mut(object::metadata_mut(&mut pod), "annotations").insert(name.clone(), value.clone());
            }
            let status = child_mut(fields_mut(&mut pod), "status");
            let conditions = status
                .entry("conditions")
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(conditions) = conditions {
                conditions.retain(|condition| condition["type"] != "PodScheduled");
                conditions.push(json!({
                    "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": object::now(),
                }));
            }
            if self.store.replace(PODS, &stored, pod).is_ok() {
                return Ok(());
            }
        }
        Err(Failure::stale(&pods, &key.name))
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

/// The successor of an object, as [`Cluster::modify`] is told it.
#[derive(Debug)]
pub(super) enum Next {
    /// An update: who changed what is still to be recorded.
    Updated(Value),
    /// A server-side apply: `managedFields` is final.
    Applied(Value),
    /// The server's own doing, which no manager owns.
    Internal(Value),
}

/// The successor of `old` with everything in it that its writer may not change set back.
fn settled(
    resource: &Resource,
    subresource: &str,
    old: &Value,
    next: Next,
    writer: Writer<'_>,
) -> Result<Value, Failure> {
    let (mut new, updated) = match next {
        Next::Internal(new) => return Ok(new),
        Next::Updated(new) => (new, true),
        Next::Applied(new) => (new, false),
    };
    check_identity(resource, old, &new)?;
    let fields = fields_mut(&mut new);
    fields.remove("kind");
    fields.remove("apiVersion");
    let managed_fields = fields
        .get("metadata")
        .and_then(|m| m.get("managedFields"))
        .cloned();
    match subresource {
        "" => {
            if resource.status {
                restore(fields, old, "status");
            }
            if resource.table == NAMESPACES {
                restore(fields, old, "spec");
            }
        }
        "finalize" => {
            let finalizers = new["spec"]["finalizers"].clone();
            new = old.clone();
            child_mut(fields_mut(&mut new), "spec").insert("finalizers".to_owned(), finalizers);
        }
        "scale" => {}
        _ => {
            // `status` and its kin: the rest of the object stays as it is.
            let mut kept = old.clone();
            let target = fields_mut(&mut kept);
            match fields.remove("status") {
                Some(status) => target.insert("status".to_owned(), status),
                None => target.remove("status"),
            };
            if !resource.custom {
                let metadata = child_mut(target, "metadata");
                for field in ["labels", "annotations"] {
                    match new["metadata"].get(field) {
                        Some(value) => metadata.insert(field.to_owned(), value.clone()),
                        None => metadata.remove(field),
                    };
                }
            }
            new = kept;
        }
    }
    let metadata = object::metadata_mut(&mut new);
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
    ] {
        restore(metadata, &old["metadata"], field);
    }
    metadata.retain(|field, value| {
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty)
            || (field != "managedFields" && value.as_array().is_some_and(Vec::is_empty));
        !empty
    });
    match managed_fields {
        Some(managed_fields) => drop(metadata.insert("managedFields".to_owned(), managed_fields)),
        None if updated => restore(metadata, &old["metadata"], "managedFields"),
        None => drop(metadata.remove("managedFields")),
    }
    defaults::fill_in(resource, &mut new);
    let mut violations = validate::violations(resource, &new);
    violations.extend(validate::update_violations(resource, old, &new));
    if subresource.is_empty() && !violations.is_empty() {
        return Err(Failure::invalid(
            &resource.group,
            &resource.kind,
            meta(old, "name"),
            &violations,
        ));
    }
    if updated {
        let api_version = resource.api_version();
        let manager = Manager {
            name: writer.manager,
            api_version: &api_version,
            subresource,
        };
        managed::record_update(Some(old), &mut new, manager, resource.custom);
    }
    if resource.generation
        && wanted(old) != wanted(&new)
        && (subresource.is_empty() || subresource == "scale")
    {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        object::metadata_mut(&mut new).insert("generation".to_owned(), generation.into());
    }
    Ok(new)
}

/// Name, uid and version of an update against the object that is there.
fn check_identity(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let name = meta(old, "name");
    let version = meta(new, "resourceVersion");
    if !version.is_empty() && version != meta(old, "resourceVersion") {
        return Err(Failure::stale(resource, name));
    }
    let (uid, known) = (meta(new, "uid"), meta(old, "uid"));
    if !uid.is_empty() && uid != known {
        return Err(Failure::conflict(
            resource,
            name,
            &format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {known}"),
        ));
    }
    Ok(())
}

fn restore(fields: &mut serde_json::Map<String, Value>, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => drop(fields.insert(field.to_owned(), value.clone())),
        None => drop(fields.remove(field)),
    }
}

/// What `generation` counts the changes of: everything but metadata and status.
fn wanted(object: &Value) -> Vec<(&String, &Value)> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| *field != "metadata" && *field != "status")
        .collect()
}

/// Whether nothing holds a deleted object any more.
fn finished(resource: &Resource, object: &Value) -> bool {
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    object::terminating(object)
        && none(&object["metadata"]["finalizers"])
        && object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(0)
            == 0
        && (resource.table != NAMESPACES || none(&object["spec"]["finalizers"]))
}

/// The node that `name` names, for claims of tokens.
pub(super) fn node_uid(cluster: &Cluster, name: &str) -> Option<String> {
    cluster
        .store
        .get(NODES, &Key::new("", name))
        .map(|node| node.uid.clone())
}
