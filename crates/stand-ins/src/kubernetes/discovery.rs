//! What is served, told to clients that ask.

use std::sync::Arc;

use serde_json::{Value, json};

use super::resource::{Registry, Resource, group_version};

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// What can be done with a kind: everything, but namespaces are never deleted in one go.
fn verbs_of(resource: &Resource) -> Vec<&'static str> {
    let all = resource.qualified_plural() != "namespaces";
    VERBS
        .into_iter()
        .filter(|&verb| all || verb != "deletecollection")
        .collect()
}

/// `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.3",
        "gitCommit": "mountproof",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(super) fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }],
    })
}

/// `/apis`.
pub(super) fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> = group_names(registry)
        .iter()
        .map(|name| group_entry(registry, name))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/<group>`.
pub(super) fn group(registry: &Registry, name: &str) -> Option<Value> {
    if name.is_empty() || versions(registry, name).is_empty() {
        return None;
    }
    let mut entry = group_entry(registry, name);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// `/api/v1` or `/apis/<group>/<version>`.
pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let mut found = Vec::new();
    for resource in served(registry, group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": verbs_of(&resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        found.push(entry);
        for name in resource.subresources() {
            let (kind, foreign, verbs) = subresource(&resource, name);
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": verbs,
            });
            if let Some((group, version)) = foreign {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            found.push(entry);
        }
    }
    if found.is_empty() && !(group == "authentication.k8s.io" && version == "v1") {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": found,
    }))
}

/// `/api` or `/apis` in one piece.
pub(super) fn aggregated(registry: &Registry, core: bool) -> Value {
    let names = if core {
        vec![String::new()]
    } else {
        group_names(registry)
    };
    let items: Vec<Value> = names
        .iter()
        .map(|name| {
            let versions: Vec<Value> = versions(registry, name)
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = served(registry, name, version)
                        .iter()
                        .map(|resource| aggregated_resource(resource))
                        .collect();
                    json!({ "version": version, "freshness": "Current", "resources": resources })
                })
                .collect();
            let metadata = if core {
                json!({ "creationTimestamp": null })
            } else {
                json!({ "name": name, "creationTimestamp": null })
            };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let own = |name: &str| kind(&resource.group, &resource.version, name);
    let subresources: Vec<Value> = resource
        .subresources()
        .into_iter()
        .map(|name| {
            let (response, foreign, verbs) = subresource(resource, name);
            let response = match foreign {
                Some((group, version)) => kind(group, version, response),
                None => own(response),
            };
            json!({ "subresource": name, "responseKind": response, "verbs": verbs })
        })
        .collect();
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": own(&resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs_of(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

/// Kind, group and version if they are not the parent's, and verbs of a subresource.
fn subresource<'a>(
    resource: &'a Resource,
    name: &str,
) -> (
    &'a str,
    Option<(&'static str, &'static str)>,
    &'static [&'static str],
) {
    match name {
        "token" => ("TokenRequest", Some(("authentication.k8s.io", "v1")), &["create"]),
        "binding" => ("Binding", None, &["create"]),
        "eviction" => ("Eviction", Some(("policy", "v1")), &["create"]),
        "log" => (&resource.kind, None, &["get"]),
        "portforward" => ("PodPortForwardOptions", None, &["create", "get"]),
        "finalize" => (&resource.kind, None, &["update"]),
        "scale" => ("Scale", Some(("autoscaling", "v1")), &["get", "patch", "update"]),
        _ => (&resource.kind, None, &["get", "patch", "update"]),
    }
}

fn group_entry(registry: &Registry, name: &str) -> Value {
    let versions: Vec<Value> = versions(registry, name)
        .iter()
        .map(|version| json!({ "groupVersion": group_version(name, version), "version": version }))
        .collect();
    json!({ "name": name, "versions": versions, "preferredVersion": versions[0] })
}

fn served(registry: &Registry, group: &str, version: &str) -> Vec<Arc<Resource>> {
    registry
        .all()
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .cloned()
        .collect()
}

/// Named groups in the order they are served.
fn group_names(registry: &Registry) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for resource in registry.all() {
        if !resource.group.is_empty() && !names.contains(&resource.group) {
            names.push(resource.group.clone());
        }
    }
    names.push("authentication.k8s.io".to_owned());
    names
}

fn versions(registry: &Registry, group: &str) -> Vec<String> {
    if group == "authentication.k8s.io" {
        return vec!["v1".to_owned()];
    }
    let mut versions: Vec<String> = Vec::new();
    for resource in registry.all() {
        if resource.group == group && !versions.contains(&resource.version) {
            versions.push(resource.version.clone());
        }
    }
    versions
}
