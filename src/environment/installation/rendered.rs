//! PURE. What a chart was given and what came of it, for whoever reads a plan or a report.

use std::collections::BTreeMap;

use mountproof_releases::Part;
use serde_json::{Value, json};

use super::{
    container::{arguments, position},
    manifest::Document,
};
use crate::{journal::RenderedChart, kubernetes::ObjectRef};

/// The last word of a value's path, in small letters, that nobody is to read. What charts of driver and provider call a token
/// (`tokenRequests`) is none.
const PRIVATE: [&str; 7] = [
    "password",
    "passwd",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
];
const NOT_TOLD: &str = "(not told)";

/// Values as Helm merges them: mappings key by key, and anything else as a whole. A null stays: it takes the chart's own away.
/// <https://helm.sh/docs/chart_template_guide/values_files>
pub(super) fn merged(mut first: Value, then: &Value) -> Value {
    match (first.as_object_mut(), then.as_object()) {
        (Some(of_first), Some(of_then)) => {
            for (key, value) in of_then {
                let before = of_first.remove(key).unwrap_or_default();
                of_first.insert(key.clone(), merged(before, value));
            }
            first
        }
        _ => then.clone(),
    }
}

/// Each value by its path, as `helm --set` writes it; lists whole.
pub(super) fn flat(values: &Value) -> BTreeMap<String, Value> {
    fn into(found: &mut BTreeMap<String, Value>, path: &str, value: &Value) {
        let last = path.rsplit('.').next().unwrap_or_default().to_lowercase();
        match value.as_object() {
            Some(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let key = key.replace('.', "\\.");
                    let path = if path.is_empty() {
                        key
                    } else {
                        format!("{path}.{key}")
                    };
                    into(found, &path, value);
                }
            }
            _ if PRIVATE.iter().any(|private| last.ends_with(private)) => {
                found.insert(path.to_owned(), json!(NOT_TOLD));
            }
            _ => {
                found.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    if values.as_object().is_some_and(|fields| !fields.is_empty()) {
        into(&mut found, "", values);
    }
    found
}

/// What came of a chart: images, the part's flags and objects.
pub(super) fn made_of(part: Part, mut chart: RenderedChart, documents: &[Document]) -> RenderedChart {
    for Document { value: object, .. } in documents {
        chart.objects.push(ObjectRef::of(object).to_string());
        let spec = &object["spec"]["template"]["spec"];
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array().into_iter().flatten() {
                let text = |field: &str| container[field].as_str().unwrap_or_default().to_owned();
                chart.images.push(format!("{}: {}", text("name"), text("image")));
            }
        }
        if let Some(at) = position(&spec["containers"], part).filter(|_| chart.flags.is_empty()) {
            chart.flags = arguments(&spec["containers"][at]);
        }
    }
    chart.images.sort();
    chart.images.dedup();
    chart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::installation::manifest::documents;

    #[test]
    fn values_are_merged_as_helm_merges_them() {
        for (case, first, then, expected) in [
            (
                "beside",
                json!({ "a": 1 }),
                json!({ "b": 2 }),
                json!({ "a": 1, "b": 2 }),
            ),
            (
                "within",
                json!({ "a": { "b": 1, "c": 2 } }),
                json!({ "a": { "c": 3 } }),
                json!({ "a": { "b": 1, "c": 3 } }),
            ),
            (
                "lists whole",
                json!({ "a": [1, 2] }),
                json!({ "a": [3] }),
                json!({ "a": [3] }),
            ),
            (
                "a chart's own taken away",
                json!({ "a": { "b": 1 } }),
                json!({ "a": { "c": null } }),
                json!({ "a": { "b": 1, "c": null } }),
            ),
            (
                "another kind",
                json!({ "a": { "b": 1 } }),
                json!({ "a": "x" }),
                json!({ "a": "x" }),
            ),
        ] {
            assert_eq!(merged(first, &then), expected, "{case}");
        }
    }

    #[test]
    fn each_value_has_its_path_and_what_is_private_is_not_told() {
        let values = json!({
            "syncSecret": { "enabled": true },
            "tokenRequests": [{ "audience": "sts.amazonaws.com" }],
            "podAnnotations": { "a.b/c": "d" },
            "registry": { "Password": "hunter2", "nested": { "adminToken": "t" } },
            "nodeSelector": {},
        });
        let told: Vec<String> = flat(&values)
            .iter()
            .map(|(path, value)| format!("{path}={value}"))
            .collect();
        assert_eq!(
            told,
            [
                "nodeSelector={}",
                r#"podAnnotations.a\.b/c="d""#,
                r#"registry.Password="(not told)""#,
                r#"registry.nested.adminToken="(not told)""#,
                "syncSecret.enabled=true",
                r#"tokenRequests=[{"audience":"sts.amazonaws.com"}]"#,
            ]
        );
        assert!(flat(&json!({})).is_empty());
    }

    #[test]
    fn what_came_of_a_chart_is_its_images_its_flags_and_its_objects() {
        let text = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a, namespace: kube-system }\n---\n\
            apiVersion: apps/v1\nkind: DaemonSet\nmetadata: { name: d, namespace: kube-system }\nspec: { template: { spec: { containers: [\
            { name: registrar, image: 'r:1', args: [--v=5] }, { name: driver, image: 'd:1', args: [--endpoint=x, --nodeid=y] }] } } }\n";
        let documents = documents(text, "chart d").unwrap_or_default();
        let chart = RenderedChart {
            name: "d".to_owned(),
            version: "1.0.0".to_owned(),
            from: "./d".to_owned(),
            kubernetes: "v1.36.0".to_owned(),
            values: flat(&json!({ "a": { "b": 1 } })),
            images: Vec::new(),
            flags: Vec::new(),
            objects: Vec::new(),
        };
        let rows: Vec<String> = made_of(Part::Driver, chart, &documents)
            .rows()
            .into_iter()
            .map(|(what, said)| format!("{what}: {said}"))
            .collect();
        assert_eq!(
            rows,
            [
                "chart: d 1.0.0 from ./d, rendered for Kubernetes v1.36.0",
                "values: a.b=1",
                "rendered image: driver: d:1",
                "rendered image: registrar: r:1",
                "rendered flags: --endpoint=x --nodeid=y",
                "rendered objects: ServiceAccount kube-system/a, DaemonSet kube-system/d",
            ]
        );
    }
}
