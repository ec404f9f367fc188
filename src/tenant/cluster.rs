//! What a cluster needs once: the `CSIDriver` object and the driver's two kinds.

use serde_json::{Value, json};

use super::{AUDIENCE, Marks, POD_AUDIENCE};
use crate::generation::DriverGeneration;

/// Name of the CSI driver.
pub const CSI_DRIVER: &str = "secrets-store.csi.k8s.io";
/// Name by which classes call the AWS provider.
pub const PROVIDER: &str = "aws";

/// Whom pods' tokens are for that kubelet hands to the driver: STS, and EKS Pod Identity. The chart of provider 3.x and later,
/// which brings the driver along, asks for both.
pub const TOKEN_AUDIENCES: [&str; 2] = [AUDIENCE, POD_AUDIENCE];

/// Group of the driver's kinds.
const GROUP: &str = "secrets-store.csi.x-k8s.io";

/// The `CSIDriver` object, as the chart of a driver of this `generation` makes it for AWS with rotation on: inline
/// volumes only, with pod information and the tokens of [`TOKEN_AUDIENCES`].
#[must_use]
pub fn csi_driver(marks: &Marks, generation: DriverGeneration) -> Value {
    let mut object = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": { "name": CSI_DRIVER, "labels": marks.labels() },
        "spec": {
            "podInfoOnMount": true,
            "attachRequired": false,
            "tokenRequests": TOKEN_AUDIENCES.map(|audience| json!({ "audience": audience })),
            "volumeLifecycleModes": ["Ephemeral"],
        },
    });
    // A chart that knows nothing of a field leaves it out.
    for (field, set) in [
        ("requiresRepublish", generation.republish),
        ("serviceAccountTokenInSecrets", generation.tokens_in_secrets),
    ] {
        if set {
            object["spec"][field] = true.into();
        }
    }
    object
}

/// The definitions of `SecretProviderClass` and `SecretProviderClassPodStatus`. As in the driver's
/// chart, status is no subresource.
#[must_use]
pub fn custom_resource_definitions(marks: &Marks) -> [Value; 2] {
    [
        definition(
            "SecretProviderClass",
            "secretproviderclasses",
            &json!({
                "spec": {
                    "type": "object",
                    "properties": {
                        "provider": { "type": "string" },
                        "parameters": { "type": "object", "additionalProperties": { "type": "string" } },
                        "secretObjects": {
                            "type": "array",
                            "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                        },
                    },
                },
                "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            }),
            marks,
        ),
        definition(
            "SecretProviderClassPodStatus",
            "secretproviderclasspodstatuses",
            &json!({
                "status": {
                    "type": "object",
                    "properties": {
                        "podName": { "type": "string" },
                        "secretProviderClassName": { "type": "string" },
                        "mounted": { "type": "boolean" },
                        "targetPath": { "type": "string" },
                        "objects": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "id": { "type": "string" },
                                    "version": { "type": "string" },
                                },
                            },
                        },
                    },
                },
            }),
            marks,
        ),
    ]
}

fn definition(kind: &str, plural: &str, properties: &Value, marks: &Marks) -> Value {
    let mut properties = properties.clone();
    properties["apiVersion"] = json!({ "type": "string" });
    properties["kind"] = json!({ "type": "string" });
    properties["metadata"] = json!({ "type": "object" });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{GROUP}"), "labels": marks.labels() },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_ascii_lowercase(),
            },
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } },
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_asks_for_tokens_that_sts_and_eks_take() {
        let driver = csi_driver(&Marks::of_run("7f3k"), DriverGeneration::of("1.6.0"));
        assert_eq!(driver["metadata"]["name"], "secrets-store.csi.k8s.io");
        assert_eq!(
            driver["spec"]["tokenRequests"],
            json!([{ "audience": "sts.amazonaws.com" }, { "audience": "pods.eks.amazonaws.com" }])
        );
    }

    #[test]
    fn the_object_is_the_one_that_the_drivers_own_chart_makes() {
        for (driver, expected) in [("1.5.6", Value::Null), ("1.6.0", true.into())] {
            let object = csi_driver(&Marks::of_run("7f3k"), DriverGeneration::of(driver));
            for field in ["requiresRepublish", "serviceAccountTokenInSecrets"] {
                assert_eq!(object["spec"][field], expected, "{driver}: {field}");
            }
        }
    }

    #[test]
    fn definitions_are_named_as_kubernetes_wants() {
        let definitions = custom_resource_definitions(&Marks::of_run("7f3k"));
        for (definition, name) in definitions.iter().zip([
            "secretproviderclasses.secrets-store.csi.x-k8s.io",
            "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
        ]) {
            assert_eq!(definition["metadata"]["name"], name);
            let names = &definition["spec"]["names"];
            assert_eq!(
                names["singular"],
                names["kind"].as_str().unwrap_or_default().to_lowercase()
            );
            assert_eq!(definition["spec"]["versions"][0].get("subresources"), None);
        }
    }
}
