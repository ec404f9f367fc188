//! Binding pods to nodes, as schedulers do.

use serde_json::{Value, json};

use super::{ATTEMPTS, Cluster};
use crate::kubernetes::{
    failure::{Failure, Violation},
    object::{self, child_mut, fields_mut, meta},
    resource::PODS,
    stored::Key,
};

impl Cluster {
    /// Binds a pod to a node, as schedulers do.
    pub(in crate::kubernetes) fn bind(&self, key: &Key, binding: &Value) -> Result<(), Failure> {
        let pods = self.built_in(PODS);
        if meta(binding, "name") != key.name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            let violation = Violation::required("target.name", "");
            return Err(Failure::invalid("", "Binding", &key.name, &[violation]));
        }
        for _ in 0..ATTEMPTS {
            let stored = self.get(&pods, key)?;
            let mut pod = stored.value();
            let uid = meta(binding, "uid");
            if !uid.is_empty() && uid != stored.uid {
                return Err(Failure::precondition(
                    &pods,
                    &key.name,
                    &format!(
                        "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                        stored.uid
                    ),
                ));
            }
            if stored.terminating {
                return Err(Failure::conflict(
                    &pods,
                    &key.name,
                    &format!("pod {} is being deleted, cannot be assigned to a host", key.name),
                ));
            }
            if let Some(there) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
                return Err(Failure::conflict(
                    &pods,
                    &key.name,
                    &format!("pod {} is already assigned to node {there:?}", key.name),
                ));
            }
            child_mut(fields_mut(&mut pod), "spec").insert("nodeName".to_owned(), node.clone().into());
            for (name, value) in binding["metadata"]["annotations"]
                .as_object()
                .into_iter()
                .flatten()
            {
                child_mut(object::metadata_mut(&mut pod), "annotations").insert(name.clone(), value.clone());
            }
            let status = child_mut(fields_mut(&mut pod), "status");
            let conditions = status
                .entry("conditions")
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(conditions) = conditions {
                conditions.retain(|condition| condition["type"] != "PodScheduled");
                conditions.push(json!({
                    "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": object::now(),
                }));
            }
            if self.store.replace(PODS, &stored, pod).is_ok() {
                return Ok(());
            }
        }
        Err(Failure::stale(&pods, &key.name))
    }
}
