//! Which lists merge by key: what the Go types' tags say for the kinds that users of this project touch.
//!
//! The same field name has the same keys in nearly all kinds, so the tables go by name (and, for
//! `ports`, by whether the parent is a container's). Custom resources have no such tags: their lists
//! are replaced as a whole, but for those of `metadata`.

use serde_json::Value;

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Objects told apart by the values of these fields.
    Map(&'static [&'static str]),
}

/// How server-side apply sees the list at `path` (field names from the root, list items left out).
pub(super) fn apply_list(path: &[&str], custom: bool) -> ListKind {
    let name = path.last().copied().unwrap_or_default();
    if path.first() == Some(&"metadata") {
        return match name {
            "ownerReferences" => ListKind::Map(&["uid"]),
            "finalizers" => ListKind::Set,
            _ => ListKind::Atomic,
        };
    }
    if custom {
        return ListKind::Atomic;
    }
    let template_meta = path.iter().rev().nth(1) == Some(&"metadata");
    if let Some(key) = key_of(name) {
        return ListKind::Map(key);
    }
    match name {
        "ports" => ListKind::Map(&["containerPort", "protocol"]),
        "topologySpreadConstraints" => ListKind::Map(&["topologyKey", "whenUnsatisfiable"]),
        "ownerReferences" if template_meta => ListKind::Map(&["uid"]),
        "finalizers" | "volumeLifecycleModes" | "podCIDRs" => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// The one field that tells the items of a list apart, for all who merge it.
fn key_of(name: &str) -> Option<&'static [&'static str; 1]> {
    Some(match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets"
        | "drivers" => &["name"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "conditions" | "addresses" => &["type"],
        "hostAliases" | "podIPs" | "hostIPs" => &["ip"],
        _ => return None,
    })
}

/// Whether server-side apply owns the object at `path` as a whole.
pub(super) fn apply_atomic_map(path: &[&str], custom: bool) -> bool {
    !custom
        && matches!(
            path.last().copied(),
            Some(
                "selector"
                    | "nodeSelector"
                    | "labelSelector"
                    | "secretRef"
                    | "fieldRef"
                    | "resourceFieldRef"
                    | "configMapKeyRef"
                    | "secretKeyRef"
                    | "nodePublishSecretRef"
            )
        )
}

/// Fields that the Go types always write, so that an update which adds something inside them does
/// not own the field itself.
pub(super) fn always_present(name: &str, custom: bool) -> bool {
    name == "metadata"
        || (!custom
            && matches!(
                name,
                "spec"
                    | "status"
                    | "template"
                    | "containers"
                    | "strategy"
                    | "updateStrategy"
                    | "involvedObject"
                    | "source"
                    | "names"
                    | "drivers"
            ))
}

/// The merge key of strategic merge patch for a list of objects named `name`.
pub(super) fn strategic_key(name: &str, items: &[Value]) -> Option<&'static str> {
    if let Some([key]) = key_of(name) {
        return Some(key);
    }
    Some(match name {
        // A container's ports; those of services, which are not served, go by `port`.
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        _ => return None,
    })
}

/// Whether strategic merge patch adds to a list of scalars in place of replacing it.
pub(super) fn strategic_set(name: &str) -> bool {
    name == "finalizers"
}
