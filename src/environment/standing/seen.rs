//! PURE. What there is of driver and provider on a cluster, by its objects.

use std::fmt;

use mountproof_releases::Part;
use serde_json::Value;

use crate::{
    environment::installation::{Account, NoSync, arguments, flag, position, version_of},
    kubernetes::ObjectRef,
    tenant,
};

/// Group of the driver's kinds.
const GROUP: &str = "secrets-store.csi.x-k8s.io";
/// Who writes the objects of EKS add-ons, as `managedFields` has it.
const EKS: &str = "eks";

/// Driver, provider and what they need, as they were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// `DaemonSet`s with the driver, for Linux.
    pub drivers: Vec<SeenPart>,
    /// Likewise, with the AWS provider.
    pub providers: Vec<SeenPart>,
    /// The `CSIDriver` object.
    pub csi_driver: Option<SeenCsiDriver>,
    /// Names of the definitions of the driver's kinds.
    pub definitions: Vec<String>,
    /// Every node.
    pub nodes: Vec<SeenNode>,
    /// Nodes whose kubelet knows the driver.
    pub registered: Vec<String>,
    /// `v1.36.3` and its like.
    pub kubernetes: String,
}

/// One part, by its `DaemonSet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPart {
    /// Which.
    pub part: Part,
    /// Where.
    pub daemon_set: ObjectRef,
    /// Its container in there.
    pub container: String,
    /// The `ServiceAccount` that it runs as.
    pub account: String,
    /// Its image.
    pub image: String,
    /// Its version, or `unknown`.
    pub version: String,
    /// Whose it is.
    pub managed: Managed,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// `--enable-secret-rotation`, of the driver.
    pub rotates: bool,
    /// `--rotation-poll-interval`, as it stands there.
    pub poll_interval: Option<String>,
    /// `-v`.
    pub verbosity: u32,
    /// Nodes that it is for.
    pub wanted: u64,
    /// Nodes on which it is Ready.
    pub ready: u64,
    /// Nodes with a pod of its that is not Ready.
    pub unready_on: Vec<String>,
    /// Why it cannot sync Secrets, of the driver.
    pub no_sync: Option<NoSync>,
}

/// Who made an object, and would make it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Managed {
    /// Somebody, with `kubectl apply` or anything like it.
    ByHand,
    /// Helm.
    Helm {
        /// Name of the release.
        release: Option<String>,
        /// `helm.sh/chart`.
        chart: Option<String>,
    },
    /// An EKS add-on.
    EksAddon,
    /// A controller that brings it back to what stands in a repository.
    Controller(&'static str),
}

/// Marks of controllers that bring objects back to what stands in a repository, as labels or annotations.
const CONTROLLERS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

impl Managed {
    fn of(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let by = metadata["managedFields"].as_array().into_iter().flatten();
        let manager = &metadata["labels"]["app.kubernetes.io/managed-by"];
        if by.into_iter().any(|entry| entry["manager"] == EKS) || manager == "EKS" {
            return Self::EksAddon;
        }
        for (mark, name) in CONTROLLERS {
            let marked = |of: &str| metadata[of].get(mark).is_some();
            if marked("labels") || marked("annotations") {
                return Self::Controller(name);
            }
        }
        let chart = text(&metadata["labels"]["helm.sh/chart"]);
        let release = text(&metadata["annotations"]["meta.helm.sh/release-name"]);
        if chart.is_some() || release.is_some() || manager == "Helm" {
            return Self::Helm { release, chart };
        }
        Self::ByHand
    }
}

impl fmt::Display for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByHand => write!(f, "its manifests"),
            Self::EksAddon => write!(f, "the EKS add-on"),
            Self::Controller(name) => f.write_str(name),
            Self::Helm {
                release: Some(release),
                chart: Some(chart),
            } => write!(f, "Helm release {release}, chart {chart}"),
            Self::Helm {
                release: Some(named), ..
            } => write!(f, "Helm release {named}"),
            Self::Helm {
                chart: Some(named), ..
            } => write!(f, "Helm chart {named}"),
            Self::Helm { .. } => write!(f, "Helm"),
        }
    }
}

/// The `CSIDriver` object, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the object")]
pub struct SeenCsiDriver {
    /// `tokenRequests[].audience`.
    pub audiences: Vec<String>,
    /// `requiresRepublish`.
    pub republishes: bool,
    /// `attachRequired`, which is true where it is left out.
    pub attaches: bool,
    /// `podInfoOnMount`.
    pub pod_info: bool,
    /// `volumeLifecycleModes`.
    pub modes: Vec<String>,
    /// `serviceAccountTokenInSecrets`.
    pub tokens_in_secrets: bool,
    /// Whose it is.
    pub managed: Managed,
}

/// A node, by what runs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenNode {
    /// Its name.
    pub name: String,
    /// `linux` or `windows`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether pods that tolerate nothing may be placed on it.
    pub takes_pods: bool,
}

impl SeenNode {
    /// Whether workloads of a run can be there.
    #[must_use]
    pub fn is_of_use(&self) -> bool {
        self.os == "linux" && self.ready && self.takes_pods
    }
}

impl Sighting {
    /// By every `DaemonSet`, their pods, the `CSIDriver` object, the definitions and the nodes.
    #[must_use]
    pub fn of(objects: &Objects) -> Self {
        let parts = |part| {
            let found = objects
                .daemon_sets
                .iter()
                .filter_map(|set| SeenPart::of(part, set, objects));
            let mut found: Vec<SeenPart> = found.collect();
            found.sort_by(|one, other| one.daemon_set.cmp(&other.daemon_set));
            found
        };
        let definitions = objects
            .definitions
            .iter()
            .filter(|definition| definition["spec"]["group"] == GROUP)
            .filter_map(|definition| definition["metadata"]["name"].as_str().map(str::to_owned));
        Self {
            drivers: parts(Part::Driver),
            providers: parts(Part::Provider),
            csi_driver: objects.csi_driver.as_ref().map(SeenCsiDriver::of),
            definitions: definitions.collect(),
            nodes: objects.nodes.iter().map(SeenNode::of).collect(),
            registered: objects.registered.clone(),
            kubernetes: objects.kubernetes.clone(),
        }
    }

    /// The `DaemonSet`s with a part.
    #[must_use]
    pub fn of_part(&self, part: Part) -> &[SeenPart] {
        match part {
            Part::Driver => &self.drivers,
            Part::Provider => &self.providers,
        }
    }
}

/// What a sighting is read from, as the API has it.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Every `DaemonSet`.
    pub daemon_sets: Vec<Value>,
    /// The pods in their namespaces.
    pub pods: Vec<Value>,
    /// The `CSIDriver` object of the driver.
    pub csi_driver: Option<Value>,
    /// Every definition.
    pub definitions: Vec<Value>,
    /// Every `ClusterRole`.
    pub roles: Vec<Value>,
    /// Every `ClusterRoleBinding`.
    pub bindings: Vec<Value>,
    /// Every node.
    pub nodes: Vec<Value>,
    /// Nodes whose kubelet knows the driver.
    pub registered: Vec<String>,
    /// The version of Kubernetes.
    pub kubernetes: String,
}

impl SeenPart {
    fn of(part: Part, set: &Value, objects: &Objects) -> Option<Self> {
        let spec = &set["spec"]["template"]["spec"];
        if spec["nodeSelector"]["kubernetes.io/os"] == "windows" {
            return None;
        }
        let container = &spec["containers"][position(&spec["containers"], part)?];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let image = text(&container["image"]);
        let status = |field: &str| set["status"][field].as_u64().unwrap_or(0);
        let daemon_set = ObjectRef::of(set);
        let unready = objects.pods.iter().filter(|pod| {
            let owners = pod["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten();
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["namespace"].as_str() == daemon_set.namespace.as_deref()
                && owners
                    .into_iter()
                    .any(|owner| owner["kind"] == "DaemonSet" && owner["name"] == daemon_set.name.as_str())
                && !conditions
                    .into_iter()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        let mut unready_on: Vec<String> = unready.map(|pod| text(&pod["spec"]["nodeName"])).collect();
        unready_on.sort();
        let version = version_of(None, &image, set);
        let account = spec["serviceAccountName"].as_str().unwrap_or("default");
        let runs_as = Account {
            version: &version,
            namespace: daemon_set.namespace.as_deref().unwrap_or_default(),
            name: account,
        };
        Some(Self {
            part,
            container: text(&container["name"]),
            account: account.to_owned(),
            no_sync: (part == Part::Driver)
                .then(|| runs_as.no_sync(&objects.bindings, &objects.roles))
                .flatten(),
            version,
            managed: Managed::of(set),
            arguments: arguments(container),
            // A bare flag of Go's that is a switch is on.
            rotates: flag(container, "enable-secret-rotation")
                .is_some_and(|value| value.is_empty() || value == "true"),
            poll_interval: flag(container, "rotation-poll-interval").filter(|value| !value.is_empty()),
            verbosity: flag(container, "v")
                .and_then(|level| level.parse().ok())
                .unwrap_or(0),
            wanted: status("desiredNumberScheduled"),
            ready: status("numberReady"),
            unready_on,
            image,
            daemon_set,
        })
    }

    /// Where it comes from, as reports say it.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("found on the cluster, from {}", self.managed)
    }
}

impl SeenCsiDriver {
    fn of(object: &Value) -> Self {
        let spec = &object["spec"];
        let texts = |list: &Value| -> Vec<String> {
            let texts = list.as_array().into_iter().flatten();
            texts
                .filter_map(|text| text.as_str().map(str::to_owned))
                .collect()
        };
        let requests = spec["tokenRequests"].as_array().into_iter().flatten();
        Self {
            audiences: requests
                .filter_map(|request| request["audience"].as_str().map(str::to_owned))
                .collect(),
            republishes: spec["requiresRepublish"] == true,
            attaches: spec["attachRequired"] != false,
            pod_info: spec["podInfoOnMount"] == true,
            modes: texts(&spec["volumeLifecycleModes"]),
            tokens_in_secrets: spec["serviceAccountTokenInSecrets"] == true,
            managed: Managed::of(object),
        }
    }
}

impl SeenNode {
    pub(super) fn of(node: &Value) -> Self {
        let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let keeps_out = |taint: &Value| matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute"));
        let label = |name: &str, info: &str| {
            let value = &node["metadata"]["labels"][name];
            let value = value
                .as_str()
                .or_else(|| node["status"]["nodeInfo"][info].as_str());
            value.unwrap_or("unknown").to_owned()
        };
        let os = label("kubernetes.io/os", "operatingSystem");
        Self {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            // Of a stand-in that says nothing.
            os: if os == "unknown" { "linux".to_owned() } else { os },
            architecture: label("kubernetes.io/arch", "architecture"),
            ready: each(&node["status"]["conditions"])
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
            takes_pods: node["spec"]["unschedulable"] != true
                && !each(&node["spec"]["taints"]).iter().any(keeps_out),
        }
    }
}

/// The `CSIDriver` object that is looked for.
#[must_use]
pub(super) fn csi_driver() -> ObjectRef {
    ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, tenant::CSI_DRIVER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemon_set(labels: &Value, containers: &Value) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": { "name": "d", "namespace": "kube-system", "labels": labels },
            "spec": { "template": { "spec": { "containers": containers, "serviceAccountName": "a" } } },
            "status": { "desiredNumberScheduled": 3, "numberReady": 2 },
        })
    }

    #[test]
    fn a_driver_is_seen_with_its_version_its_flags_and_where_it_is_not_ready() {
        let containers = json!([
            { "name": "registrar", "image": "registrar:v2", "args": ["--kubelet-registration-path=/x"] },
            { "name": "store", "image": "registry.example/driver:v1.5.6", "args": ["--endpoint=x", "--nodeid=y", "-v=2",
                "--enable-secret-rotation=true", "--rotation-poll-interval=3600s"] },
        ]);
        let pod = |node: &str, ready: &str, owner: &str| {
            json!({
                "metadata": { "namespace": "kube-system", "ownerReferences": [{ "kind": "DaemonSet", "name": owner }] },
                "spec": { "nodeName": node },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            })
        };
        let seen = Sighting::of(&Objects {
            daemon_sets: vec![
                daemon_set(
                    &json!({ "helm.sh/chart": "secrets-store-csi-driver-1.5.6" }),
                    &containers,
                ),
                daemon_set(
                    &json!({}),
                    &json!([{ "name": "proxy", "image": "kube-proxy:v1" }]),
                ),
            ],
            pods: vec![
                pod("n1", "True", "d"),
                pod("n2", "False", "d"),
                pod("n3", "False", "e"),
            ],
            ..Objects::default()
        });
        assert!(seen.providers.is_empty());
        let driver = &seen.drivers[0];
        assert_eq!(
            (
                driver.version.as_str(),
                driver.verbosity,
                driver.rotates,
                driver.poll_interval.as_deref()
            ),
            ("1.5.6", 2, true, Some("3600s"))
        );
        assert_eq!((driver.ready, driver.wanted), (2, 3));
        assert_eq!(driver.unready_on, ["n2"]);
        assert_eq!(
            driver.origin(),
            "found on the cluster, from Helm chart secrets-store-csi-driver-1.5.6"
        );
    }

    #[test]
    fn who_made_an_object_is_read_off_it() {
        let helm = |release: &str| json!({ "annotations": { "meta.helm.sh/release-name": release } });
        for (metadata, said) in [
            (json!({}), "its manifests"),
            (
                json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }),
                "Helm",
            ),
            (helm("asc"), "Helm release asc"),
            (
                json!({ "managedFields": [{ "manager": "kubectl" }, { "manager": "eks" }] }),
                "the EKS add-on",
            ),
            (
                json!({ "managedFields": [{ "manager": "kubectl" }] }),
                "its manifests",
            ),
        ] {
            assert_eq!(
                Managed::of(&json!({ "metadata": metadata })).to_string(),
                said,
                "{metadata}"
            );
        }
    }

    #[test]
    fn what_a_csi_driver_leaves_out_is_as_the_api_takes_it() {
        let seen = SeenCsiDriver::of(&json!({ "spec": {} }));
        assert!(seen.attaches && !seen.pod_info && !seen.republishes && seen.audiences.is_empty());
        let seen = SeenCsiDriver::of(
            &json!({ "spec": { "attachRequired": false, "podInfoOnMount": true,
            "tokenRequests": [{ "audience": "sts.amazonaws.com" }], "volumeLifecycleModes": ["Ephemeral"] } }),
        );
        assert!(!seen.attaches && seen.pod_info);
        assert_eq!(
            (seen.audiences, seen.modes),
            (vec!["sts.amazonaws.com".to_owned()], vec!["Ephemeral".to_owned()])
        );
    }

    #[test]
    fn a_node_is_of_use_where_a_linux_pod_can_be_placed() {
        let node = |os: &str, ready: &str, taints: Value| {
            SeenNode::of(&json!({
                "metadata": { "name": "n", "labels": { "kubernetes.io/os": os } },
                "spec": { "taints": taints },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
        };
        assert!(node("linux", "True", json!([])).is_of_use());
        assert!(!node("windows", "True", json!([])).is_of_use());
        assert!(!node("linux", "False", json!([])).is_of_use());
        assert!(!node("linux", "True", json!([{ "effect": "NoSchedule" }])).is_of_use());
    }
}
