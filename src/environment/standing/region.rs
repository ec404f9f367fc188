//! Whether the provider will look for secrets where the run keeps them: classes of tenants name no region, as teams' own do not.
//!
//! A provider finds it in `AWS_REGION`, since 1.0.0, and else on the node of the pod.
//! <https://github.com/aws/secrets-store-csi-driver-provider-aws#additional-considerations>

use serde_json::{Value, json};

use super::{judge::Problem, seen::SeenNode};
use crate::{
    environment::{Node, installation::Placed},
    generation::region_from_node,
    kubernetes::{Kubernetes, KubernetesError},
};

const LABEL: &str = "topology.kubernetes.io/region";
const VARIABLE: &str = "AWS_REGION";

/// What is in the way of secrets in `region`.
///
/// # Errors
///
/// When the API does not answer.
pub(super) async fn problem(
    kubernetes: &Kubernetes,
    provider: &Placed,
    region: &str,
) -> Result<Option<Problem>, KubernetesError> {
    let daemon_set = kubernetes.read(&provider.daemon_set).await?.unwrap_or_default();
    let nodes = kubernetes.list("v1", "Node", None, None).await?;
    Ok(found(provider, &daemon_set, &nodes, region))
}

/// Says on nodes of ours where they are, as those of a cloud do.
///
/// # Errors
///
/// When the API does not take it.
pub(in crate::environment) async fn tell(
    kubernetes: &Kubernetes,
    nodes: &[Node],
    region: &str,
) -> Result<(), KubernetesError> {
    for node in nodes {
        let said = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": node.name, "labels": { LABEL: region } },
        });
        kubernetes.apply(&said).await?;
    }
    Ok(())
}

/// PURE. What is in the way, by the provider's `DaemonSet` and every node.
fn found(provider: &Placed, daemon_set: &Value, nodes: &[Value], region: &str) -> Option<Problem> {
    let fatal = |what: String, help: String| {
        Some(Problem {
            fatal: true,
            what,
            why: format!("the secrets of the run are in {region}, and no mount would find them"),
            help,
        })
    };
    let containers = daemon_set["spec"]["template"]["spec"]["containers"].as_array();
    let container = containers
        .into_iter()
        .flatten()
        .find(|container| container["name"] == provider.container.as_str());
    let variables = container.and_then(|container| container["env"].as_array());
    let told = variables
        .into_iter()
        .flatten()
        .find(|variable| variable["name"] == VARIABLE && !region_from_node(&provider.version));
    if let Some(told) = told {
        // From somewhere else, such as a ConfigMap: who set it knows.
        let told = told["value"].as_str().filter(|told| !told.is_empty())?;
        return if told == region {
            None
        } else {
            fatal(
                format!("the provider ({}) has {VARIABLE}={told}", provider.daemon_set),
                format!("add --region {told}"),
            )
        };
    }
    let of_use = nodes.iter().filter(|node| SeenNode::of(node).is_of_use());
    let others: Vec<String> = of_use
        .filter_map(|node| {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            match node["metadata"]["labels"][LABEL].as_str() {
                Some(label) if label == region => None,
                Some(label) => Some(format!("{name} ({label})")),
                None => Some(format!("{name} (none)")),
            }
        })
        .collect();
    if others.is_empty() {
        return None;
    }
    fatal(
        format!(
            "nodes have another {LABEL}, by which provider {} finds its region: {}",
            provider.version,
            others.join(", ")
        ),
        if region_from_node(&provider.version) {
            "add --region, or the label to those nodes; providers from 1.0.0 on can be told by awsRegion in the values of their chart"
        } else {
            "add --region, or set awsRegion in the values of the provider's chart (AWS_REGION of its container)"
        }
        .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use mountproof_releases::Part;

    use super::*;
    use crate::kubernetes::ObjectRef;

    #[test]
    fn a_provider_that_would_look_elsewhere_is_told_of() {
        let here = json!([{ "name": "AWS_REGION", "value": "eu-west-1" }]);
        let there = json!([{ "name": "AWS_REGION", "value": "us-east-1" }]);
        let by_reference = json!([{ "name": "AWS_REGION", "valueFrom": {} }]);
        for (case, version, variables, labels, said) in [
            ("told", "3.1.1", &here, &[Some("us-east-1")][..], None),
            (
                "told another",
                "3.1.1",
                &there,
                &[Some("eu-west-1")],
                Some("AWS_REGION=us-east-1"),
            ),
            ("told by something else", "3.1.1", &by_reference, &[None], None),
            ("older than that", "0.3.11", &there, &[Some("eu-west-1")], None),
            (
                "older than that, by nothing",
                "1.0.r2-6-gee95299",
                &here,
                &[None],
                Some("or the label to those nodes"),
            ),
            ("by its node", "3.1.1", &json!([]), &[Some("eu-west-1")], None),
            (
                "by one of its nodes",
                "3.1.1",
                &json!(null),
                &[Some("eu-west-1"), Some("us-east-1")],
                Some("n1 (us-east-1)"),
            ),
            ("by nothing", "3.1.1", &json!([]), &[None], Some("n0 (none)")),
        ] {
            let provider = Placed {
                origin: "found".to_owned(),
                version: version.to_owned(),
                image: "provider".to_owned(),
                daemon_set: ObjectRef::new(
                    "apps/v1",
                    "DaemonSet",
                    Some("kube-system"),
                    Part::Provider.name(),
                ),
                container: "p".to_owned(),
                account: "a".to_owned(),
                remarks: Vec::new(),
                chart: None,
            };
            let set = json!({ "spec": { "template": { "spec": { "containers": [
                { "name": "sidecar" }, { "name": "p", "env": variables },
            ] } } } });
            let nodes: Vec<Value> = labels
                .iter()
                .enumerate()
                .map(|(number, label)| {
                    let labels = label.map(|label| json!({ LABEL: label })).unwrap_or_default();
                    json!({
                        "metadata": { "name": format!("n{number}"), "labels": labels },
                        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
                    })
                })
                .collect();
            let problem = found(&provider, &set, &nodes, "eu-west-1");
            match (said, problem) {
                (None, problem) => assert_eq!(problem, None, "{case}"),
                (Some(said), Some(problem)) => {
                    assert!(problem.to_string().contains(said), "{case}: {problem}");
                }
                (Some(_), None) => panic!("{case}: nothing is said"),
            }
        }
    }
}
