//! What is installed, as the cluster tells: images with their digests, flags, rights, the `CSIDriver` object.

use std::collections::{BTreeMap, BTreeSet};

use mountproof_releases::Part;
use serde_json::Value;

use super::{
    container::arguments,
    plan::{Installation, Placed},
    ready::pods,
};
use crate::{
    journal::{Installed, InstalledImage, InstalledPart, InstalledRole},
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    tenant,
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Reads it all off the cluster.
///
/// # Errors
///
/// When the API does not answer.
pub async fn observed(
    kubernetes: &Kubernetes,
    installation: &Installation,
) -> Result<Installed, KubernetesError> {
    let mut bindings = Vec::new();
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        bindings.extend(kubernetes.list(RBAC, kind, None, None).await?);
    }
    let mut parts = Vec::new();
    for part in Part::ALL {
        let placed = installation.of(part);
        let daemon_set = kubernetes.read(&placed.daemon_set).await?.unwrap_or_default();
        let pods = pods(kubernetes, &placed.daemon_set).await?;
        let mut roles = Vec::new();
        for reference in roles_of(&bindings, placed) {
            let role = kubernetes.read(&reference).await?.unwrap_or_default();
            roles.push(InstalledRole {
                role: reference.to_string(),
                rules: rules(&role),
            });
        }
        parts.push(described(part, placed, &daemon_set, &pods, roles));
    }
    let csi_driver = ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, tenant::CSI_DRIVER);
    let csi_driver = kubernetes.read(&csi_driver).await?.unwrap_or_default();
    let fields = csi_driver["spec"].as_object().cloned().unwrap_or_default();
    Ok(Installed {
        parts,
        csi_driver: fields.into_iter().collect(),
    })
}

/// PURE. One part, by its objects.
fn described(
    part: Part,
    placed: &Placed,
    daemon_set: &Value,
    pods: &[Value],
    roles: Vec<InstalledRole>,
) -> InstalledPart {
    let containers = &daemon_set["spec"]["template"]["spec"]["containers"];
    let containers: Vec<&Value> = containers.as_array().into_iter().flatten().collect();
    let digests = digests(pods);
    let namespace = placed.daemon_set.namespace.as_deref().unwrap_or_default();
    InstalledPart {
        part: part.name().to_owned(),
        version: placed.version.clone(),
        origin: placed.origin.clone(),
        daemon_set: format!("{namespace}/{}", placed.daemon_set.name),
        images: containers
            .iter()
            .map(|container| {
                let name = container["name"].as_str().unwrap_or_default();
                InstalledImage {
                    container: name.to_owned(),
                    image: container["image"].as_str().unwrap_or_default().to_owned(),
                    digests: digests.get(name).into_iter().flatten().cloned().collect(),
                }
            })
            .collect(),
        flags: containers
            .iter()
            .find(|container| container["name"] == placed.container.as_str())
            .map(|container| arguments(container))
            .unwrap_or_default(),
        account: format!("{namespace}/{}", placed.account),
        roles,
        remarks: placed.remarks.clone(),
        chart: placed.chart.clone(),
    }
}

/// PURE. What nodes call the images of containers: `sha256:..`, without the name before it, which is the node's own affair.
fn digests(pods: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in pods {
        for status in pod["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let id = status["imageID"].as_str().unwrap_or_default();
            let digest = id.rsplit_once('@').map_or(id, |(_, digest)| digest);
            let name = status["name"].as_str().unwrap_or_default();
            if !digest.is_empty() {
                found
                    .entry(name.to_owned())
                    .or_default()
                    .insert(digest.to_owned());
            }
        }
    }
    found
}

/// PURE. The roles that bindings give to a part's account.
fn roles_of(bindings: &[Value], placed: &Placed) -> BTreeSet<ObjectRef> {
    let namespace = placed.daemon_set.namespace.as_deref();
    let is_meant = |subject: &Value| {
        subject["kind"] == "ServiceAccount"
            && subject["name"] == placed.account.as_str()
            && subject["namespace"].as_str() == namespace
    };
    let given = bindings.iter().filter(|binding| {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        subjects.into_iter().any(is_meant)
    });
    given
        .map(|binding| {
            let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
            let kind = kind.as_str().unwrap_or_default();
            let within = (kind == "Role")
                .then(|| binding["metadata"]["namespace"].as_str())
                .flatten();
            ObjectRef::new(RBAC, kind, within, name.as_str().unwrap_or_default())
        })
        .collect()
}

/// PURE. The rules of a role, each in words.
fn rules(role: &Value) -> Vec<String> {
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let rules = role["rules"].as_array().into_iter().flatten();
    rules
        .map(|rule| {
            let groups = texts(&rule["apiGroups"]);
            let mut what = texts(&rule["resources"]);
            what.extend(texts(&rule["nonResourceURLs"]));
            let mut said = format!("{} {}", texts(&rule["verbs"]).join(", "), what.join(", "));
            let groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
            if !groups.is_empty() {
                said = format!("{said} of {}", groups.join(", "));
            }
            let names = texts(&rule["resourceNames"]);
            if names.is_empty() {
                said
            } else {
                format!("{said}, only {}", names.join(", "))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed() -> Placed {
        Placed {
            origin: "files".to_owned(),
            version: "1.6.0".to_owned(),
            image: "driver:v1.6.0".to_owned(),
            daemon_set: ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), "d"),
            container: "driver".to_owned(),
            account: "a".to_owned(),
            remarks: Vec::new(),
            chart: None,
        }
    }

    #[test]
    fn rights_are_said_in_words() {
        let role = json!({ "rules": [
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
            { "apiGroups": ["storage.k8s.io"], "resources": ["csidrivers"], "resourceNames": ["x"], "verbs": ["get"] },
            { "nonResourceURLs": ["/healthz"], "verbs": ["get"] },
        ] });
        assert_eq!(
            rules(&role),
            [
                "get, list pods",
                "get csidrivers of storage.k8s.io, only x",
                "get /healthz"
            ]
        );
    }

    #[test]
    fn only_the_parts_own_account_counts() {
        let binding = |kind: &str, role: &str, subject: &str, namespace: &str| {
            json!({
                "metadata": { "namespace": "kube-system" },
                "roleRef": { "kind": kind, "name": role },
                "subjects": [{ "kind": "ServiceAccount", "name": subject, "namespace": namespace }],
            })
        };
        let bindings = [
            binding("ClusterRole", "mine", "a", "kube-system"),
            binding("Role", "near", "a", "kube-system"),
            binding("ClusterRole", "others", "b", "kube-system"),
            binding("ClusterRole", "elsewhere", "a", "default"),
        ];
        let names: Vec<String> = roles_of(&bindings, &placed())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["ClusterRole mine", "Role kube-system/near"]);
    }

    #[test]
    fn an_image_has_the_digest_that_nodes_have() {
        let pod =
            |id: &str| json!({ "status": { "containerStatuses": [{ "name": "driver", "imageID": id }] } });
        let daemon_set = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "registrar", "image": "r", "args": ["--v=5"] },
            { "name": "driver", "image": "d:v1", "command": ["/d"], "args": ["--qps=5"] },
        ] } } } });
        let pods = [pod("registry.example/d@sha256:aa"), pod("sha256:aa"), pod("")];
        let part = described(Part::Driver, &placed(), &daemon_set, &pods, Vec::new());
        assert_eq!(part.images[1].digests, ["sha256:aa"]);
        assert_eq!(part.images[0].digests, [""; 0]);
        assert_eq!(part.flags, ["/d", "--qps=5"]);
    }
}
