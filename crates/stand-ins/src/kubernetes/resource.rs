//! What the server serves: one row per resource, and the kinds that `CustomResourceDefinitions` add.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

/// Where the objects of a resource are kept. Two resources can share one table: versions of a custom
/// resource, and the two API groups of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Table(usize);

/// A group, version and plural that can be asked for.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of a row in a table"
)]
pub(super) struct Resource {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) namespaced: bool,
    pub(super) table: Table,
    /// Whether `status` is written only through its subresource.
    pub(super) status: bool,
    /// Whether `metadata.generation` counts changes of what is wanted.
    pub(super) generation: bool,
    /// Whether a `CustomResourceDefinition` added it.
    pub(super) custom: bool,
    /// How objects are laid out on the wire against how they are stored.
    pub(super) form: Form,
}

/// How objects are laid out on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As stored.
    Stored,
    /// As `events.k8s.io/v1`, over core events.
    RegardingEvents,
}

impl Resource {
    /// `v1`, or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// `pods`, or `deployments.apps`: how messages name it.
    pub(super) fn qualified_plural(&self) -> String {
        qualify(&self.plural, &self.group)
    }

    /// `Pod`, or `Deployment.apps`: how messages name its objects.
    pub(super) fn qualified_kind(&self) -> String {
        qualify(&self.kind, &self.group)
    }

    /// Names of the subresources, in the order discovery lists them.
    pub(super) fn subresources(&self) -> Vec<&'static str> {
        let mut names = match self.table {
            PODS => vec!["binding", "eviction", "log", "portforward"],
            SERVICE_ACCOUNTS => vec!["token"],
            NAMESPACES => vec!["finalize"],
            DEPLOYMENTS | REPLICA_SETS => vec!["scale"],
            _ => vec![],
        };
        if self.status {
            names.push("status");
        }
        names
    }
}

pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

pub(super) const NAMESPACES: Table = Table(0);
pub(super) const SERVICE_ACCOUNTS: Table = Table(1);
pub(super) const PODS: Table = Table(2);
pub(super) const EVENTS: Table = Table(3);
pub(super) const SECRETS: Table = Table(4);
pub(super) const NODES: Table = Table(5);
pub(super) const CONFIG_MAPS: Table = Table(6);
pub(super) const DEPLOYMENTS: Table = Table(7);
pub(super) const REPLICA_SETS: Table = Table(8);
pub(super) const DAEMON_SETS: Table = Table(9);
pub(super) const CUSTOM_RESOURCE_DEFINITIONS: Table = Table(16);

/// (table, group, kind, plural, short name, namespaced, status, generation).
type Row = (
    usize,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
    bool,
);

/// The built-in kinds. All are served as v1.
const BUILT_IN: &[Row] = &[
    (0, "", "Namespace", "namespaces", "ns", false, true, false),
    (
        1,
        "",
        "ServiceAccount",
        "serviceaccounts",
        "sa",
        true,
        false,
        false,
    ),
    (2, "", "Pod", "pods", "po", true, true, true),
    (3, "", "Event", "events", "ev", true, false, false),
    (4, "", "Secret", "secrets", "", true, false, false),
    (5, "", "Node", "nodes", "no", false, true, false),
    (6, "", "ConfigMap", "configmaps", "cm", true, false, false),
    (7, "apps", "Deployment", "deployments", "deploy", true, true, true),
    (8, "apps", "ReplicaSet", "replicasets", "rs", true, true, true),
    (9, "apps", "DaemonSet", "daemonsets", "ds", true, true, true),
    (
        10,
        "storage.k8s.io",
        "CSIDriver",
        "csidrivers",
        "",
        false,
        false,
        false,
    ),
    (
        11,
        "storage.k8s.io",
        "CSINode",
        "csinodes",
        "",
        false,
        false,
        false,
    ),
    (
        12,
        "rbac.authorization.k8s.io",
        "Role",
        "roles",
        "",
        true,
        false,
        false,
    ),
    (
        13,
        "rbac.authorization.k8s.io",
        "RoleBinding",
        "rolebindings",
        "",
        true,
        false,
        false,
    ),
    (
        14,
        "rbac.authorization.k8s.io",
        "ClusterRole",
        "clusterroles",
        "",
        false,
        false,
        false,
    ),
    (
        15,
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        "clusterrolebindings",
        "",
        false,
        false,
        false,
    ),
    (
        16,
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd",
        false,
        true,
        true,
    ),
    (
        17,
        "coordination.k8s.io",
        "Lease",
        "leases",
        "",
        true,
        false,
        false,
    ),
    (3, "events.k8s.io", "Event", "events", "ev", true, false, false),
];

/// The resources that are served at the moment.
#[derive(Debug)]
pub(super) struct Registry {
    resources: Vec<Arc<Resource>>,
    /// Tables of custom resources by `plural.group`. A table outlives its definition, so that a
    /// definition made again finds the history of the first, as etcd would.
    custom_tables: HashMap<String, Table>,
}

impl Registry {
    /// The built-in kinds alone.
    pub(super) fn built_in() -> Self {
        let resources = BUILT_IN
            .iter()
            .map(
                |&(table, group, kind, plural, short, namespaced, status, generation)| {
                    Arc::new(Resource {
                        group: group.to_owned(),
                        version: "v1".to_owned(),
                        kind: kind.to_owned(),
                        list_kind: format!("{kind}List"),
                        plural: plural.to_owned(),
                        singular: kind.to_lowercase(),
                        short_names: [short]
                            .into_iter()
                            .filter(|name| !name.is_empty())
                            .map(str::to_owned)
                            .collect(),
                        namespaced,
                        table: Table(table),
                        status,
                        generation,
                        custom: false,
                        form: if group == "events.k8s.io" {
                            Form::RegardingEvents
                        } else {
                            Form::Stored
                        },
                    })
                },
            )
            .collect();
        Self {
            resources,
            custom_tables: HashMap::new(),
        }
    }

    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .iter()
            .find(|r| r.plural == plural && r.group == group && r.version == version)
            .cloned()
    }

    /// The resource that stands for a table where no request names a version.
    pub(super) fn of_table(&self, table: Table) -> Option<Arc<Resource>> {
        self.resources.iter().find(|r| r.table == table).cloned()
    }

    pub(super) fn all(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// One resource for each table of namespaced objects.
    pub(super) fn namespaced_tables(&self) -> Vec<Arc<Resource>> {
        let mut found: Vec<Arc<Resource>> = Vec::new();
        for resource in &self.resources {
            if resource.namespaced && found.iter().all(|seen| seen.table != resource.table) {
                found.push(Arc::clone(resource));
            }
        }
        found
    }

    /// Serves what `definition` (a `CustomResourceDefinition`) describes, in place of an earlier
    /// version of it. Returns the resources now served.
    pub(super) fn define(&mut self, definition: &Value) -> Vec<Arc<Resource>> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        self.undefine(&group, &plural);
        let next = Table(1_000 + self.custom_tables.len());
        let table = *self
            .custom_tables
            .entry(format!("{plural}.{group}"))
            .or_insert(next);
        let names = &spec["names"];
        let kind = text(&names["kind"]);
        let or = |value: &Value, other: String| value.as_str().map_or(other, str::to_owned);
        let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
        let served = versions
            .iter()
            .filter(|version| version["served"].as_bool() == Some(true));
        let mut added: Vec<Arc<Resource>> = served
            .map(|version| {
                Arc::new(Resource {
                    group: group.clone(),
                    version: text(&version["name"]),
                    list_kind: or(&names["listKind"], format!("{kind}List")),
                    singular: or(&names["singular"], kind.to_lowercase()),
                    short_names: names["shortNames"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(text)
                        .collect(),
                    kind: kind.clone(),
                    plural: plural.clone(),
                    namespaced: spec["scope"] == "Namespaced",
                    table,
                    status: version["subresources"]["status"].is_object(),
                    generation: true,
                    custom: true,
                    form: Form::Stored,
                })
            })
            .collect();
        // The first is what controllers and discovery prefer: stable before beta before alpha.
        added.sort_by_key(|r| {
            (
                r.version.contains("alpha"),
                r.version.contains("beta"),
                r.version.clone(),
            )
        });
        self.resources.extend(added.iter().cloned());
        added
    }

    /// No longer serves a custom resource.
    pub(super) fn undefine(&mut self, group: &str, plural: &str) {
        self.resources
            .retain(|r| !(r.custom && r.group == group && r.plural == plural));
    }
}
