//! What the server fills into objects that leave it open.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    object::{self, child_mut, default_to, fields_mut, meta},
    resource::{
        CUSTOM_RESOURCE_DEFINITIONS, DAEMON_SETS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, Resource,
        SECRETS,
    },
};

/// Fills in the defaults of a kind; they count as written by the client.
pub(super) fn fill_in(resource: &Resource, object: &mut Value) {
    match resource.table {
        NAMESPACES => {
            let name = meta(object, "name").to_owned();
            let labels = child_mut(object::metadata_mut(object), "labels");
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
        }
        PODS => pod_spec(child_mut(fields_mut(object), "spec")),
        SECRETS => secret(fields_mut(object)),
        DEPLOYMENTS => {
            let spec = workload(object, true);
            default_to(spec, "revisionHistoryLimit", 10);
            default_to(spec, "progressDeadlineSeconds", 600);
            let strategy = child_mut(spec, "strategy");
            default_to(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = child_mut(strategy, "rollingUpdate");
                default_to(rolling, "maxUnavailable", "25%");
                default_to(rolling, "maxSurge", "25%");
            }
        }
        REPLICA_SETS => drop(workload(object, true).len()),
        DAEMON_SETS => {
            let spec = workload(object, false);
            default_to(spec, "revisionHistoryLimit", 10);
            let strategy = child_mut(spec, "updateStrategy");
            default_to(strategy, "type", "RollingUpdate");
            if strategy["type"] == "RollingUpdate" {
                let rolling = child_mut(strategy, "rollingUpdate");
                default_to(rolling, "maxUnavailable", 1);
                default_to(rolling, "maxSurge", 0);
            }
        }
        CUSTOM_RESOURCE_DEFINITIONS => {
            let spec = child_mut(fields_mut(object), "spec");
            default_to(spec, "conversion", json!({ "strategy": "None" }));
            let names = child_mut(spec, "names");
            let kind = names
                .get("kind")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            default_to(names, "singular", kind.to_lowercase());
            default_to(names, "listKind", format!("{kind}List"));
        }
        _ if resource.kind == "CSIDriver" => {
            let spec = child_mut(fields_mut(object), "spec");
            default_to(spec, "attachRequired", true);
            default_to(spec, "podInfoOnMount", false);
            default_to(spec, "storageCapacity", false);
            default_to(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
            default_to(spec, "volumeLifecycleModes", json!(["Persistent"]));
            default_to(spec, "requiresRepublish", false);
            default_to(spec, "seLinuxMount", false);
        }
        _ => {}
    }
}

/// What the server itself writes into a new object: never the client's to set.
pub(super) fn prepare_new(resource: &Resource, object: &mut Value) {
    let fields = fields_mut(object);
    if resource.status {
        fields.remove("status");
    }
    match resource.table {
        NAMESPACES => {
            child_mut(fields, "spec").insert("finalizers".to_owned(), json!(["kubernetes"]));
            fields.insert("status".to_owned(), json!({ "phase": "Active" }));
        }
        PODS => {
            let quality = quality_of_service(&fields["spec"]);
            fields.insert(
                "status".to_owned(),
                json!({ "phase": "Pending", "qosClass": quality }),
            );
        }
        CUSTOM_RESOURCE_DEFINITIONS => {
            let status = unestablished(&fields["spec"]);
            fields.insert("status".to_owned(), status);
        }
        DEPLOYMENTS => {
            fields.insert("status".to_owned(), json!({}));
        }
        REPLICA_SETS => {
            fields.insert("status".to_owned(), json!({ "replicas": 0 }));
        }
        DAEMON_SETS => {
            fields.insert(
                "status".to_owned(),
                json!({
                    "currentNumberScheduled": 0,
                    "numberMisscheduled": 0,
                    "desiredNumberScheduled": 0,
                    "numberReady": 0,
                }),
            );
        }
        _ => {}
    }
    let metadata = object::metadata_mut(object);
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "generation",
    ] {
        metadata.remove(field);
    }
    if resource.generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), object::now().into());
}

/// What admission adds to a new pod, after its fields were given to the client.
pub(super) fn admit_pod(object: &mut Value) {
    let spec = child_mut(fields_mut(object), "spec");
    default_to(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    spec.insert("serviceAccount".to_owned(), account);
    default_to(spec, "priority", 0);
    default_to(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = spec
        .entry("tolerations")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(tolerations) = tolerations {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let covered = tolerations.iter().any(|toleration| {
                (toleration["key"] == key || toleration["key"].is_null())
                    && (toleration["effect"] == "NoExecute" || toleration["effect"].is_null())
            });
            if !covered {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
                }));
            }
        }
    }
}

/// The status of a new `CustomResourceDefinition`.
fn unestablished(spec: &Value) -> Value {
    json!({
        "conditions": null,
        "acceptedNames": { "plural": "", "kind": "" },
        "storedVersions": stored_versions(spec),
    })
}

/// The status of a `CustomResourceDefinition` whose names nobody else has.
pub(super) fn established(spec: &Value) -> Value {
    let now = object::now();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message,
        })
    };
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": spec["names"],
        "storedVersions": stored_versions(spec),
    })
}

fn stored_versions(spec: &Value) -> Vec<&Value> {
    spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["storage"] == true)
        .map(|version| &version["name"])
        .collect()
}

fn secret(fields: &mut Map<String, Value>) {
    default_to(fields, "type", "Opaque");
    if let Some(Value::Object(texts)) = fields.remove("stringData") {
        let data = child_mut(fields, "data");
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
}

fn workload(object: &mut Value, replicas: bool) -> &mut Map<String, Value> {
    let spec = child_mut(fields_mut(object), "spec");
    if replicas {
        default_to(spec, "replicas", 1);
    }
    let template = child_mut(spec, "template");
    pod_spec(child_mut(template, "spec"));
    spec
}

fn pod_spec(spec: &mut Map<String, Value>) {
    default_to(spec, "restartPolicy", "Always");
    default_to(spec, "terminationGracePeriodSeconds", 30);
    default_to(spec, "dnsPolicy", "ClusterFirst");
    default_to(spec, "schedulerName", "default-scheduler");
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "enableServiceLinks", true);
    if let Some(account) = spec.get("serviceAccount").cloned() {
        default_to(spec, "serviceAccountName", account);
    } else if let Some(account) = spec.get("serviceAccountName").cloned() {
        default_to(spec, "serviceAccount", account);
    }
    for list in ["containers", "initContainers"] {
        for item in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            container(fields_mut(item));
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let volume = fields_mut(volume);
        if volume.len() == 1 && volume.contains_key("name") {
            volume.insert("emptyDir".to_owned(), json!({}));
        }
        for source in ["secret", "configMap", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(source) {
                default_to(fields_mut(source), "defaultMode", 420);
            }
        }
    }
}

fn container(fields: &mut Map<String, Value>) {
    let image = fields.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    default_to(fields, "imagePullPolicy", policy);
    default_to(fields, "resources", json!({}));
    default_to(fields, "terminationMessagePath", "/dev/termination-log");
    default_to(fields, "terminationMessagePolicy", "File");
    for port in fields
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default_to(fields_mut(port), "protocol", "TCP");
    }
    for variable in fields
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            default_to(fields_mut(reference), "apiVersion", "v1");
        }
    }
}

/// `BestEffort`, `Burstable` or `Guaranteed`, by cpu and memory.
fn quality_of_service(spec: &Value) -> &'static str {
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let amounts = |container: &Value, side: &str| -> Vec<Option<Value>> {
        ["cpu", "memory"]
            .iter()
            .map(|what| container["resources"][side].get(*what).cloned())
            .collect()
    };
    let any = |container: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|side| amounts(container, side).iter().any(Option::is_some))
    };
    let full = |container: &Value| {
        let (limits, requests) = (amounts(container, "limits"), amounts(container, "requests"));
        limits.iter().all(Option::is_some)
            && limits
                .iter()
                .zip(&requests)
                .all(|(limit, request)| request.is_none() || request == limit)
    };
    if !containers.iter().any(any) {
        "BestEffort"
    } else if containers.iter().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::{super::resource::Registry, *};

    #[test]
    fn a_pod_gets_what_a_kubelet_relies_on() {
        let pods = Registry::built_in().find("", "v1", "pods").unwrap();
        let mut pod = json!({
            "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "image": "localhost:5000/x" }, { "name": "d", "image": "x:1" }] },
        });
        fill_in(&pods, &mut pod);
        prepare_new(&pods, &mut pod);
        admit_pod(&mut pod);
        let spec = &pod["spec"];
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(spec["containers"][1]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(
            pod["status"],
            json!({ "phase": "Pending", "qosClass": "BestEffort" })
        );
        assert_eq!(pod["metadata"]["generation"], 1);
    }

    #[test]
    fn quality_of_service_follows_the_rules() {
        let of =
            |resources: Value| quality_of_service(&json!({ "containers": [{ "resources": resources }] }));
        assert_eq!(of(json!({})), "BestEffort");
        assert_eq!(of(json!({ "requests": { "cpu": "1" } })), "Burstable");
        assert_eq!(
            of(json!({ "limits": { "cpu": "1", "memory": "1Gi" } })),
            "Guaranteed"
        );
        assert_eq!(
            of(json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } })),
            "Burstable"
        );
    }

    #[test]
    fn string_data_becomes_data() {
        let secrets = Registry::built_in().find("", "v1", "secrets").unwrap();
        let mut secret = json!({ "stringData": { "a": "b" } });
        fill_in(&secrets, &mut secret);
        assert_eq!(secret, json!({ "type": "Opaque", "data": { "a": "Yg==" } }));
    }
}
