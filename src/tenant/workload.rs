//! Namespaces, service accounts, pods and Deployments.

use serde_json::{Value, json};

use super::{CSI_DRIVER, Marks, WORKLOAD_LABEL};

/// Where the secrets are mounted.
pub const MOUNT_PATH: &str = "/mnt/secrets-store";
/// Name of the volume.
pub const VOLUME: &str = "secrets-store-inline";
/// The annotation that binds a `ServiceAccount` to a role.
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// Seconds a pod gets to end. The containers do nothing worth waiting for.
const GRACE_SECONDS: u32 = 1;

/// A namespace.
#[must_use]
pub fn namespace(name: &str, marks: &Marks) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": marks.labels() },
    })
}

/// The `default` `ServiceAccount` of `namespace` with its role annotation, or without one.
///
/// Meant for server-side apply: the controller makes the same object at the same time.
#[must_use]
pub fn service_account(namespace: &str, role_arn: Option<&str>, marks: &Marks) -> Value {
    let annotations = role_arn.map_or_else(|| json!({}), |role_arn| json!({ ROLE_ANNOTATION: role_arn }));
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": "default",
            "namespace": namespace,
            "labels": marks.labels(),
            "annotations": annotations,
        },
    })
}

/// A workload to be: a pod or a Deployment whose pods mount one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadManifest<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name, and the value of [`WORKLOAD_LABEL`] on its pods.
    pub name: &'a str,
    /// The `SecretProviderClass` it names.
    pub class: &'a str,
    /// The container's image.
    pub image: &'a str,
    /// The container's command; the image's own when empty.
    pub command: &'a [String],
    /// Its marks.
    pub marks: &'a Marks,
}

impl WorkloadManifest<'_> {
    /// As a single pod, which is not restarted.
    #[must_use]
    pub fn pod(&self) -> Value {
        let mut spec = self.pod_spec();
        spec["restartPolicy"] = json!("Never");
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.labels() },
            "spec": spec,
        })
    }

    /// As a Deployment.
    #[must_use]
    pub fn deployment(&self, replicas: u32) -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.labels() },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { WORKLOAD_LABEL: self.name } },
                "template": { "metadata": { "labels": self.labels() }, "spec": self.pod_spec() },
            },
        })
    }

    fn labels(&self) -> Value {
        let mut labels = self.marks.labels();
        labels.insert(WORKLOAD_LABEL.to_owned(), json!(self.name));
        Value::Object(labels)
    }

    fn pod_spec(&self) -> Value {
        let mut container = json!({
            "name": "workload",
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "volumeMounts": [{ "name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true }],
        });
        if !self.command.is_empty() {
            container["command"] = json!(self.command);
        }
        json!({
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [container],
            "volumes": [{
                "name": VOLUME,
                "csi": {
                    "driver": CSI_DRIVER,
                    "readOnly": true,
                    "volumeAttributes": { "secretProviderClass": self.class },
                },
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_mount_the_class_read_only() {
        let marks = Marks::of_run("7f3k").of_tenant("team-red");
        let workload = WorkloadManifest {
            namespace: "team-red",
            name: "web",
            class: "team-red-secret",
            image: "nginx",
            command: &[],
            marks: &marks,
        };
        let pod = workload.pod();
        insta::assert_json_snapshot!(pod["spec"], @r#"
        {
          "containers": [
            {
              "image": "nginx",
              "imagePullPolicy": "IfNotPresent",
              "name": "workload",
              "volumeMounts": [
                {
                  "mountPath": "/mnt/secrets-store",
                  "name": "secrets-store-inline",
                  "readOnly": true
                }
              ]
            }
          ],
          "restartPolicy": "Never",
          "serviceAccountName": "default",
          "terminationGracePeriodSeconds": 1,
          "volumes": [
            {
              "csi": {
                "driver": "secrets-store.csi.k8s.io",
                "readOnly": true,
                "volumeAttributes": {
                  "secretProviderClass": "team-red-secret"
                }
              },
              "name": "secrets-store-inline"
            }
          ]
        }
        "#);
        let deployment = workload.deployment(3);
        let template = &deployment["spec"]["template"];
        assert_eq!(deployment["spec"]["replicas"], 3);
        assert_eq!(template["spec"]["volumes"], pod["spec"]["volumes"]);
        assert_eq!(
            deployment["spec"]["selector"]["matchLabels"][WORKLOAD_LABEL],
            template["metadata"]["labels"][WORKLOAD_LABEL]
        );
        assert_eq!(template["metadata"]["labels"]["mountproof.dev/run"], "7f3k");
    }

    #[test]
    fn the_annotation_is_there_or_not() {
        let marks = Marks::of_run("7f3k");
        let with = service_account("team-red", Some("arn:aws:iam::000000000000:role/x"), &marks);
        assert_eq!(
            with["metadata"]["annotations"][ROLE_ANNOTATION],
            "arn:aws:iam::000000000000:role/x"
        );
        let without = service_account("team-red", None, &marks);
        assert_eq!(without["metadata"]["annotations"], json!({}));
    }
}
