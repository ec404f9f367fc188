//! PURE. The cluster that is asked of kind.

use serde_json::{Value, json};

/// kind's configuration of a cluster with so many workers beside its control plane; without any, pods run on the control
/// plane itself, as kind has it.
///
/// `max_pods` raises kubelet's limit of 110 pods on each node.
pub(super) fn cluster(workers: u32, max_pods: Option<u32>) -> Value {
    let mut nodes = vec![json!({ "role": "control-plane" })];
    nodes.extend((0..workers).map(|_| json!({ "role": "worker" })));
    let mut cluster = json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": nodes,
    });
    if let Some(max_pods) = max_pods {
        let patch = json!({
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "maxPods": max_pods,
        });
        // A patch is a text of YAML, which JSON is.
        cluster["kubeadmConfigPatches"] = json!([patch.to_string()]);
    }
    cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_come_beside_the_control_plane() {
        let roles = |workers| -> Vec<Value> {
            let cluster = cluster(workers, None);
            let nodes = cluster["nodes"].as_array().cloned().unwrap_or_default();
            nodes.iter().map(|node| node["role"].clone()).collect()
        };
        assert_eq!(roles(0), ["control-plane"]);
        assert_eq!(roles(2), ["control-plane", "worker", "worker"]);
    }

    #[test]
    fn a_limit_of_pods_is_kubelets_to_know() {
        assert_eq!(cluster(0, None)["kubeadmConfigPatches"], Value::Null);
        let cluster = cluster(0, Some(250));
        let patch = cluster["kubeadmConfigPatches"][0].as_str().unwrap_or_default();
        let patch: Value = serde_json::from_str(patch).unwrap_or_default();
        assert_eq!(
            (&patch["kind"], &patch["maxPods"]),
            (&json!("KubeletConfiguration"), &json!(250))
        );
    }
}
