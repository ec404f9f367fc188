//! Nodes: which of them take pods, how many more, and which images they have.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Kubernetes, KubernetesError};

/// A node, as far as placing pods needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// Whether the scheduler gives it pods that tolerate nothing: neither cordoned nor tainted.
    pub takes_pods: bool,
    /// Pods that it takes at most: kubelet's limit, or the addresses that it has for them where these are fewer.
    pub most_pods: usize,
    /// Pods that it has and that have not ended.
    pub pods: usize,
    /// Images that its kubelet says it has, by all their names. Kubelet names 50 at most.
    pub images: Vec<String>,
}

impl NodeView {
    /// How many more pods it takes.
    #[must_use]
    pub fn free(&self) -> usize {
        if self.takes_pods && self.ready {
            self.most_pods.saturating_sub(self.pods)
        } else {
            0
        }
    }

    fn of(node: &Value, pods: usize) -> Self {
        let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let keeps_out = |taint: &Value| matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute"));
        // An API server writes 5,000 as `5k`.
        let number = |value: &Value| {
            let text = value.as_str()?;
            let (digits, times) = text.strip_suffix('k').map_or((text, 1), |digits| (digits, 1_000));
            digits.parse::<usize>().ok()?.checked_mul(times)
        };
        let allocatable = number(&node["status"]["allocatable"]["pods"]).unwrap_or(0);
        let addresses = node["spec"]["podCIDR"].as_str().and_then(addresses);
        Self {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            ready: each(&node["status"]["conditions"])
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
            takes_pods: node["spec"]["unschedulable"] != true
                && !each(&node["spec"]["taints"]).iter().any(keeps_out),
            most_pods: addresses.map_or(allocatable, |addresses| addresses.min(allocatable)),
            pods,
            images: each(&node["status"]["images"])
                .iter()
                .flat_map(|image| each(&image["names"]))
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        }
    }
}

/// Addresses for pods in an IPv4 block such as `10.244.1.0/24`: network, broadcast and gateway are none. Of IPv6 there are
/// always enough.
fn addresses(block: &str) -> Option<usize> {
    let (address, bits) = block.split_once('/')?;
    if address.contains(':') {
        return None;
    }
    let free_bits = 32_u32.checked_sub(bits.parse().ok()?)?;
    Some(1_usize.checked_shl(free_bits)?.saturating_sub(3))
}

/// An image that each of these nodes has and that does nothing for ever: the one that kubelet's own sandboxes are made of.
#[must_use]
pub fn sandbox_image(nodes: &[NodeView]) -> Option<String> {
    let is_pause = |name: &&String| {
        let last = name.rsplit('/').next().unwrap_or_default();
        last.split_once(':')
            .is_some_and(|(name, tag)| name == "pause" && !tag.contains('@'))
    };
    let (first, others) = nodes.split_first()?;
    let mut known = first.images.iter().filter(is_pause);
    let everywhere = |image: &&String| others.iter().all(|node| node.images.contains(image));
    known.find(everywhere).cloned()
}

impl Kubernetes {
    /// Every node, by name.
    ///
    /// # Errors
    ///
    /// When the API does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, KubernetesError> {
        let (nodes, pods) = (
            self.list("v1", "Node", None, None).await?,
            self.list("v1", "Pod", None, None).await?,
        );
        let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in &pods {
            if let Some(node) = pod["spec"]["nodeName"].as_str()
                && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            {
                *by_node.entry(node).or_default() += 1;
            }
        }
        let mut views: Vec<NodeView> = nodes
            .iter()
            .map(|node| {
                let name = node["metadata"]["name"].as_str().unwrap_or_default();
                NodeView::of(node, by_node.get(name).copied().unwrap_or(0))
            })
            .collect();
        views.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(views)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(taints: &Value, unschedulable: bool, ready: &str, pods: &str, block: &str) -> NodeView {
        let node = json!({
            "metadata": { "name": "node" },
            "spec": { "taints": taints, "unschedulable": unschedulable, "podCIDR": block },
            "status": {
                "allocatable": { "pods": pods },
                "conditions": [{ "type": "Ready", "status": ready }],
                "images": [{ "names": ["registry.k8s.io/pause@sha256:00", "registry.k8s.io/pause:3.10.2"] }],
            },
        });
        NodeView::of(&node, 9)
    }

    #[test]
    fn a_node_takes_pods_up_to_its_limit_and_its_addresses() {
        let none = json!([]);
        let control_plane =
            json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
        let preferred = json!([{ "key": "spot", "effect": "PreferNoSchedule" }]);
        for (what, seen, free) in [
            (
                "kubelet's limit",
                node(&none, false, "True", "110", "10.244.0.0/24"),
                101,
            ),
            (
                "its addresses",
                node(&none, false, "True", "500", "10.244.0.0/24"),
                244,
            ),
            (
                "IPv6 has enough",
                node(&none, false, "True", "500", "fd00::/64"),
                491,
            ),
            (
                "a taint",
                node(&control_plane, false, "True", "110", "10.244.0.0/24"),
                0,
            ),
            (
                "a preference",
                node(&preferred, false, "True", "110", "10.244.0.0/24"),
                101,
            ),
            ("cordoned", node(&none, true, "True", "110", "10.244.0.0/24"), 0),
            (
                "not ready",
                node(&none, false, "Unknown", "110", "10.244.0.0/24"),
                0,
            ),
            (
                "more than it takes",
                node(&none, false, "True", "5", "10.244.0.0/24"),
                0,
            ),
        ] {
            assert_eq!(seen.free(), free, "{what}");
        }
    }

    #[test]
    fn the_sandbox_image_is_one_that_every_node_has() {
        let with = |images: &[&str]| NodeView {
            images: images.iter().map(|&image| image.to_owned()).collect(),
            ..node(&json!([]), false, "True", "110", "10.244.0.0/24")
        };
        let pause = ["registry.k8s.io/pause@sha256:00", "registry.k8s.io/pause:3.10.2"];
        let other = [
            "quay.io/pause-forever:1",
            "localhost:5000/mypause:2",
            "registry.k8s.io/pause:3.9",
        ];
        assert_eq!(
            sandbox_image(&[with(&pause), with(&pause)]).as_deref(),
            Some("registry.k8s.io/pause:3.10.2")
        );
        assert_eq!(
            sandbox_image(&[with(&other)]).as_deref(),
            Some("registry.k8s.io/pause:3.9")
        );
        assert_eq!(sandbox_image(&[with(&pause), with(&other)]), None);
        assert_eq!(sandbox_image(&[]), None);
    }
}
