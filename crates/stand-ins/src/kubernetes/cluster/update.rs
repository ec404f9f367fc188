//! Updates, patches and server-side apply: from what is stored to its successor.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ATTEMPTS, Cluster, Writer, fit_to_request};
use crate::kubernetes::{
    defaults,
    failure::{Failure, Violation},
    managed::{self, Manager},
    object::{self, child_mut, fields_mut, meta},
    patch::{self, Format, PatchError},
    resource::{CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Resource},
    stored::{Key, Stored},
    validate,
};

/// The successor of an object, as [`Cluster::modify`] is told it.
#[derive(Debug)]
pub(in crate::kubernetes) enum Next {
    /// An update: who changed what is still to be recorded.
    Updated(Value),
    /// A server-side apply: `managedFields` is final.
    Applied(Value),
    /// The server's own doing, which no manager owns.
    Internal(Value),
}

impl Cluster {
    pub(in crate::kubernetes) fn update(
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
            let violation = Violation::invalid(
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

    pub(in crate::kubernetes) fn patch(
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
    pub(in crate::kubernetes) fn apply(
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
    pub(in crate::kubernetes) fn modify(
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
