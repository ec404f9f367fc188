//! The rules of the API that users run into: names, labels, pods, selectors, what may not change.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    failure::Violation,
    object::{meta, strings, terminating},
    resource::{
        CUSTOM_RESOURCE_DEFINITIONS, DAEMON_SETS, DEPLOYMENTS, EVENTS, NAMESPACES, PODS, REPLICA_SETS,
        Resource,
    },
    selector::{Selectable, Selector},
};

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const POD_UPDATE_RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The rules that `object` breaks.
pub(super) fn violations(resource: &Resource, object: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    name(resource, object, &mut found);
    labels(&object["metadata"]["labels"], "metadata.labels", &mut found);
    match resource.table {
        PODS => pod_spec(&object["spec"], "spec", &mut found),
        DEPLOYMENTS | REPLICA_SETS | DAEMON_SETS => workload(&object["spec"], &mut found),
        EVENTS => {
            let (own, about) = (meta(object, "namespace"), &object["involvedObject"]["namespace"]);
            let about = about.as_str().unwrap_or_default();
            // Events about cluster-wide objects live in `default`.
            if about != own && !(about.is_empty() && own == "default") {
                found.push(Violation::invalid(
                    "involvedObject.namespace",
                    &about.into(),
                    "does not match event.namespace",
                ));
            }
        }
        CUSTOM_RESOURCE_DEFINITIONS => definition(object, &mut found),
        _ => {}
    }
    found
}

/// The rules that changing `old` into `new` breaks.
pub(super) fn update_violations(resource: &Resource, old: &Value, new: &Value) -> Vec<Violation> {
    let mut found = Vec::new();
    if terminating(old) {
        let before = strings(&old["metadata"]["finalizers"]);
        let added: Vec<&str> = strings(&new["metadata"]["finalizers"])
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .collect();
        if !added.is_empty() {
            let listed: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
            found.push(Violation::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    listed.join(", ")
                ),
            ));
        }
    }
    match resource.table {
        PODS if changeable_pod_spec(&old["spec"]) != changeable_pod_spec(&new["spec"])
            || lost_tolerations(old, new) =>
        {
            found.push(Violation::forbidden("spec", POD_UPDATE_RULE));
        }
        DEPLOYMENTS | REPLICA_SETS | DAEMON_SETS if old["spec"]["selector"] != new["spec"]["selector"] => {
            found.push(Violation::invalid(
                "spec.selector",
                &new["spec"]["selector"],
                "field is immutable",
            ));
        }
        _ => {}
    }
    if matches!(resource.kind.as_str(), "Secret" | "ConfigMap") && old["immutable"] == true {
        for field in ["data", "binaryData", "stringData", "immutable"] {
            if old[field] != new[field] {
                found.push(Violation::forbidden(
                    field,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
    if resource.kind == "Secret" && old["type"] != new["type"] {
        found.push(Violation::invalid("type", &new["type"], "field is immutable"));
    }
    if resource.kind == "RoleBinding" || resource.kind == "ClusterRoleBinding" {
        let role = &new["roleRef"];
        if old["roleRef"] != *role {
            found.push(Violation::invalid("roleRef", role, "cannot change roleRef"));
        }
    }
    found
}

fn name(resource: &Resource, object: &Value, found: &mut Vec<Violation>) {
    let name = meta(object, "name");
    if name.is_empty() {
        found.push(Violation::required(
            "metadata.name",
            "name or generateName is required",
        ));
        return;
    }
    let value = Value::from(name);
    if resource.group == "rbac.authorization.k8s.io" {
        // Names of RBAC objects are path segments.
        if name == "." || name == ".." || name.contains(['/', '%']) {
            found.push(Violation::invalid(
                "metadata.name",
                &value,
                "may not be '.' or '..', and may not contain '/' or '%'",
            ));
        }
        return;
    }
    let (longest, good, rule) = if resource.table == NAMESPACES {
        (63, is_label(name), LABEL_RULE)
    } else {
        (253, name.split('.').all(is_label), SUBDOMAIN_RULE)
    };
    if !good {
        found.push(Violation::invalid("metadata.name", &value, rule));
    }
    if name.len() > longest {
        found.push(Violation::invalid(
            "metadata.name",
            &value,
            &format!("must be no more than {longest} bytes"),
        ));
    }
}

fn is_label(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(word) && text.ends_with(word) && text.chars().all(|c| word(c) || c == '-')
}

fn labels(labels: &Value, field: &str, found: &mut Vec<Violation>) {
    for value in labels.as_object().into_iter().flatten().map(|(_, value)| value) {
        let text = value.as_str().unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric();
        let good = text.is_empty()
            || (text.starts_with(word)
                && text.ends_with(word)
                && text.chars().all(|c| word(c) || "-_.".contains(c)));
        if !good {
            found.push(Violation::invalid(field, value, LABEL_VALUE_RULE));
        } else if text.len() > 63 {
            found.push(Violation::invalid(field, value, "must be no more than 63 bytes"));
        }
    }
}

fn pod_spec(spec: &Value, at: &str, found: &mut Vec<Violation>) {
    let mut volumes = HashSet::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}.volumes[{index}]");
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            found.push(Violation::required(format!("{at}.name"), ""));
        } else if !is_label(name) || name.len() > 63 {
            found.push(Violation::invalid(format!("{at}.name"), &name.into(), LABEL_RULE));
        } else if !volumes.insert(name) {
            found.push(Violation::duplicate(format!("{at}.name"), name));
        }
        if let Some(csi) = volume.get("csi")
            && csi["driver"].as_str().is_none_or(str::is_empty)
        {
            found.push(Violation::required(format!("{at}.csi.driver"), ""));
        }
    }
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        found.push(Violation::required(format!("{at}.containers"), ""));
    }
    let mut names = HashSet::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                found.push(Violation::required(format!("{at}.name"), ""));
            } else if !is_label(name) || name.len() > 63 {
                found.push(Violation::invalid(format!("{at}.name"), &name.into(), LABEL_RULE));
            } else if !names.insert(name) {
                found.push(Violation::duplicate(format!("{at}.name"), name));
            }
            if container["image"].as_str().is_none_or(str::is_empty) {
                found.push(Violation::required(format!("{at}.image"), ""));
            }
            mounts(container, &at, &volumes, found);
        }
    }
}

fn mounts(container: &Value, at: &str, volumes: &HashSet<&str>, found: &mut Vec<Violation>) {
    let mut paths = HashSet::new();
    for (index, mount) in container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let at = format!("{at}.volumeMounts[{index}]");
        match mount["name"].as_str().unwrap_or_default() {
            "" => found.push(Violation::required(format!("{at}.name"), "")),
            name if !volumes.contains(name) => {
                found.push(Violation::not_found(format!("{at}.name"), name));
            }
            _ => {}
        }
        match mount["mountPath"].as_str().unwrap_or_default() {
            "" => found.push(Violation::required(format!("{at}.mountPath"), "")),
            path if !paths.insert(path) => found.push(Violation::invalid(
                format!("{at}.mountPath"),
                &path.into(),
                "must be unique",
            )),
            _ => {}
        }
    }
}

/// The labels of a pod template, for its own selector.
struct TemplateLabels<'a>(&'a Value);

impl Selectable for TemplateLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
    fn field(&self, _: &str) -> &'static str {
        ""
    }
}

fn workload(spec: &Value, found: &mut Vec<Violation>) {
    let selector = &spec["selector"];
    let template = &spec["template"]["metadata"]["labels"];
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        found.push(Violation::required("spec.selector", ""));
    } else if !Selector::from_label_selector(selector).matches(&TemplateLabels(template)) {
        found.push(Violation::invalid(
            "spec.template.metadata.labels",
            template,
            "`selector` does not match template `labels`",
        ));
    }
    labels(template, "spec.template.labels", found);
    if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        found.push(Violation::invalid(
            "spec.replicas",
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
    pod_spec(&spec["template"]["spec"], "spec.template.spec", found);
}

fn definition(object: &Value, found: &mut Vec<Violation>) {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    for (field, value) in [
        ("spec.group", &group),
        ("spec.names.plural", &plural),
        ("spec.names.kind", &text(&spec["names"]["kind"])),
    ] {
        if value.is_empty() {
            found.push(Violation::required(field, ""));
        }
    }
    let name = meta(object, "name");
    if name != format!("{plural}.{group}") {
        found.push(Violation::invalid(
            "metadata.name",
            &name.into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let storage = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .count();
    if storage != 1 {
        found.push(Violation::invalid(
            "spec.versions",
            &spec["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
}

/// A pod's spec with everything that may change taken out.
fn changeable_pod_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            container["image"] = Value::Null;
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("activeDeadlineSeconds");
        fields.remove("tolerations");
        fields.remove("ephemeralContainers");
        let negative = |grace: &Value| grace.as_i64().is_some_and(|grace| grace < 0);
        if fields.get("terminationGracePeriodSeconds").is_some_and(negative) {
            fields.insert("terminationGracePeriodSeconds".to_owned(), json!(1));
        }
    }
    spec
}

fn lost_tolerations(old: &Value, new: &Value) -> bool {
    let after = new["spec"]["tolerations"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    old["spec"]["tolerations"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|toleration| !after.contains(toleration))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::{
        super::{failure::Failure, resource::Registry},
        *,
    };

    fn resource(group: &str, plural: &str) -> std::sync::Arc<Resource> {
        Registry::built_in().find(group, "v1", plural).unwrap()
    }

    fn messages(group: &str, plural: &str, object: &Value) -> String {
        let resource = resource(group, plural);
        let found = violations(&resource, object);
        if found.is_empty() {
            return String::new();
        }
        Failure::invalid(&resource.group, &resource.kind, meta(object, "name"), &found).message
    }

    #[test]
    fn pods() {
        let good = json!({ "name": "c", "image": "i" });
        for (spec, expected) in [
            (json!({ "containers": [good] }), String::new()),
            (json!({}), "Pod \"p\" is invalid: spec.containers: Required value".to_owned()),
            (
                json!({ "containers": [{ "name": "c" }, { "name": "c", "image": "i" }] }),
                "Pod \"p\" is invalid: [spec.containers[0].image: Required value, spec.containers[1].name: Duplicate value: \"c\"]".to_owned(),
            ),
            (
                json!({
                    "containers": [{ "name": "c", "image": "i", "volumeMounts": [{ "name": "x", "mountPath": "/m" }] }],
                    "volumes": [{ "name": "v", "csi": {} }],
                }),
                "Pod \"p\" is invalid: [spec.volumes[0].csi.driver: Required value, spec.containers[0].volumeMounts[0].name: Not found: \"x\"]".to_owned(),
            ),
        ] {
            let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
            assert_eq!(messages("", "pods", &pod), expected);
        }
    }

    #[test]
    fn names() {
        for (group, plural, name, good) in [
            ("", "namespaces", "team-red", true),
            ("", "namespaces", "team.red", false),
            ("", "pods", "a.b", true),
            ("", "pods", "A", false),
            ("", "configmaps", "", false),
            ("", "configmaps", "-a", false),
            ("rbac.authorization.k8s.io", "roles", "system:Node/x", false),
            ("rbac.authorization.k8s.io", "roles", "system:Node", true),
        ] {
            let mut found = Vec::new();
            super::name(
                &resource(group, plural),
                &json!({ "metadata": { "name": name } }),
                &mut found,
            );
            assert_eq!(found.is_empty(), good, "{plural} {name}");
        }
        let long = "a".repeat(64);
        assert!(
            messages("", "namespaces", &json!({ "metadata": { "name": long } }))
                .contains("no more than 63 bytes")
        );
    }

    #[test]
    fn a_pod_changes_only_where_it_may() {
        let pods = resource("", "pods");
        let old = json!({ "spec": { "containers": [{ "name": "c", "image": "1" }], "tolerations": [{ "key": "a" }] } });
        let allowed = json!({ "spec": { "containers": [{ "name": "c", "image": "2" }], "tolerations": [{ "key": "a" }, { "key": "b" }] } });
        assert_eq!(update_violations(&pods, &old, &allowed), []);
        for change in [
            json!({ "spec": { "containers": [{ "name": "c", "image": "1", "command": ["x"] }], "tolerations": [{ "key": "a" }] } }),
            json!({ "spec": { "containers": [{ "name": "c", "image": "1" }] } }),
            json!({ "spec": { "containers": [{ "name": "c", "image": "1" }], "tolerations": [{ "key": "a" }], "nodeName": "n" } }),
        ] {
            assert_eq!(update_violations(&pods, &old, &change).len(), 1, "{change}");
        }
    }

    #[test]
    fn a_selector_matches_its_template() {
        let deployment = |labels: Value| {
            json!({
                "metadata": { "name": "d" },
                "spec": {
                    "selector": { "matchLabels": { "app": "a" } },
                    "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
                },
            })
        };
        assert_eq!(
            messages("apps", "deployments", &deployment(json!({ "app": "a" }))),
            ""
        );
        assert_eq!(
            messages("apps", "deployments", &deployment(json!({ "app": "b" }))),
            "Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
        );
    }
}
