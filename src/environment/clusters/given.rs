//! PURE. What a container of a pod is given: its arguments, its variables, its folders.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;

/// What a container is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// `command` and `args`, but for the program itself, with `$(NAME)` filled in.
    pub(super) arguments: Vec<String>,
    variables: BTreeMap<String, String>,
    /// What is mounted, by the path where it is.
    mounts: Vec<(PathBuf, Mounted)>,
}

/// What is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mounted {
    /// A path of the node.
    Host(PathBuf),
    /// Files of a `ConfigMap`, by their names.
    Files(BTreeMap<String, String>),
    /// Something of the pod's own.
    Own(String),
}

/// Where a path of a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On the node, at this path.
    Node(PathBuf),
    /// In a volume of the pod's own, or in the container's.
    Own(PathBuf),
}

/// The `ConfigMap`s that the containers of a pod read, by name.
pub(super) fn config_maps(pod: &Value) -> BTreeSet<String> {
    let spec = &pod["spec"];
    let mut names = BTreeSet::new();
    let mut note = |name: &Value| names.extend(name.as_str().map(str::to_owned));
    for volume in list(&spec["volumes"]) {
        note(&volume["configMap"]["name"]);
    }
    for container in list(&spec["containers"]) {
        for variable in list(&container["env"]) {
            note(&variable["valueFrom"]["configMapKeyRef"]["name"]);
        }
        for source in list(&container["envFrom"]) {
            note(&source["configMapRef"]["name"]);
        }
    }
    names
}

impl Given {
    /// What `container` of `pod` is given, where `config_maps` has the data of those that there are.
    pub(super) fn read(
        pod: &Value,
        container: &Value,
        config_maps: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Self {
        let of = |name: &Value| config_maps.get(name.as_str().unwrap_or_default());
        let mut variables = BTreeMap::new();
        for source in list(&container["envFrom"]) {
            variables.extend(of(&source["configMapRef"]["name"]).cloned().unwrap_or_default());
        }
        for variable in list(&container["env"]) {
            let Some(name) = variable["name"].as_str() else {
                continue;
            };
            let from = &variable["valueFrom"];
            let key = &from["configMapKeyRef"];
            let value = match variable["value"].as_str() {
                Some(value) => Some(expanded(value, &variables)),
                None if from["fieldRef"].is_object() => Some(field(
                    pod,
                    from["fieldRef"]["fieldPath"].as_str().unwrap_or_default(),
                )),
                None if key.is_object() => {
                    of(&key["name"]).and_then(|data| data.get(key["key"].as_str()?).cloned())
                }
                None => Some(String::new()),
            };
            if let Some(value) = value {
                variables.insert(name.to_owned(), value);
            }
        }
        // The program itself is the first of `command`, and the image's where there is none.
        let command = list(&container["command"]).skip(1);
        let arguments = command
            .chain(list(&container["args"]))
            .filter_map(Value::as_str)
            .map(|argument| expanded(argument, &variables))
            .collect();
        let volumes: BTreeMap<&str, &Value> = list(&pod["spec"]["volumes"])
            .filter_map(|volume| Some((volume["name"].as_str()?, volume)))
            .collect();
        let mut mounts: Vec<(PathBuf, Mounted)> = list(&container["volumeMounts"])
            .filter_map(|mount| {
                let (name, path) = (mount["name"].as_str()?, mount["mountPath"].as_str()?);
                let volume = volumes.get(name)?;
                let below = mount["subPath"].as_str().unwrap_or_default();
                let mounted = if let Some(path) = volume["hostPath"]["path"].as_str() {
                    Mounted::Host(Path::new(path).join(below))
                } else if volume["configMap"].is_object() {
                    Mounted::Files(of(&volume["configMap"]["name"]).cloned().unwrap_or_default())
                } else {
                    Mounted::Own(name.to_owned())
                };
                Some((PathBuf::from(path), mounted))
            })
            .collect();
        // What is mounted deeper hides what is above.
        mounts.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        Self {
            arguments,
            variables,
            mounts,
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Where a path of the container's is.
    pub(super) fn place(&self, path: &Path) -> Place {
        let found = self.mounts.iter().find_map(|(at, mounted)| {
            let below = path.strip_prefix(at).ok()?;
            Some(match mounted {
                Mounted::Host(host) if below.as_os_str().is_empty() => Place::Node(host.clone()),
                Mounted::Host(host) => Place::Node(host.join(below)),
                Mounted::Own(name) => Place::Own(Path::new(name).join(below)),
                Mounted::Files(_) => Place::Own(path.strip_prefix("/").unwrap_or(path).to_owned()),
            })
        });
        found.unwrap_or_else(|| Place::Own(path.strip_prefix("/").unwrap_or(path).to_owned()))
    }

    /// What is in a file of a `ConfigMap`, if the path is one.
    pub(super) fn file(&self, path: &Path) -> Option<&str> {
        self.mounts.iter().find_map(|(at, mounted)| {
            let (Mounted::Files(files), Ok(below)) = (mounted, path.strip_prefix(at)) else {
                return None;
            };
            files.get(below.to_str()?).map(String::as_str)
        })
    }
}

/// `$(NAME)` is the value of a variable that was named before; one that was not stays as it is, and `$$` is a dollar
/// (<https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/>).
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            filled.push('$');
            rest = after;
        } else if let Some((name, following)) =
            after.strip_prefix('(').and_then(|after| after.split_once(')'))
        {
            match variables.get(name) {
                Some(value) => filled.push_str(value),
                None => filled.extend(["$(", name, ")"]),
            }
            rest = following;
        } else {
            filled.push('$');
            rest = after;
        }
    }
    filled.push_str(rest);
    filled
}

/// A field of the pod, as `fieldRef` names it.
fn field(pod: &Value, path: &str) -> String {
    let value = match path {
        "metadata.name" => &pod["metadata"]["name"],
        "metadata.namespace" => &pod["metadata"]["namespace"],
        "metadata.uid" => &pod["metadata"]["uid"],
        "spec.nodeName" => &pod["spec"]["nodeName"],
        "spec.serviceAccountName" => &pod["spec"]["serviceAccountName"],
        // Pods share the node's address here.
        "status.hostIP" | "status.podIP" => &pod["status"]["hostIP"],
        other => {
            let quoted = |list: &str| {
                let key = other.strip_prefix(list)?.strip_prefix("['")?.strip_suffix("']")?;
                Some(key.to_owned())
            };
            if let Some(key) = quoted("metadata.labels") {
                &pod["metadata"]["labels"][key]
            } else if let Some(key) = quoted("metadata.annotations") {
                &pod["metadata"]["annotations"][key]
            } else {
                &Value::Null
            }
        }
    };
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given() -> Given {
        let pod = json!({
            "metadata": { "name": "driver-x", "namespace": "kube-system", "uid": "u", "labels": { "app": "driver" } },
            "spec": { "nodeName": "n1", "volumes": [
                { "name": "plugin", "hostPath": { "path": "/var/lib/kubelet/plugins/csi-secrets-store" } },
                { "name": "trust", "configMap": { "name": "trust" } },
                { "name": "scratch", "emptyDir": {} },
            ] },
        });
        let container = json!({
            "command": ["/driver", "--a"],
            "args": ["--endpoint=$(CSI_ENDPOINT)", "--nodeid=$(NODE)", "--as-is=$(NOT_THERE)", "--price=$$5"],
            "env": [
                { "name": "BASE", "value": "unix:///csi" },
                { "name": "CSI_ENDPOINT", "value": "$(BASE)/csi.sock" },
                { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
                { "name": "ZONE", "valueFrom": { "configMapKeyRef": { "name": "trust", "key": "zone" } } },
            ],
            "volumeMounts": [
                { "name": "plugin", "mountPath": "/csi" },
                { "name": "trust", "mountPath": "/etc/trust" },
                { "name": "scratch", "mountPath": "/scratch" },
            ],
        });
        let data = BTreeMap::from([
            ("ca.pem".to_owned(), "PEM".to_owned()),
            ("zone".to_owned(), "a".to_owned()),
        ]);
        Given::read(&pod, &container, &BTreeMap::from([("trust".to_owned(), data)]))
    }

    #[test]
    fn variables_are_filled_into_arguments() {
        assert_eq!(
            given().arguments,
            [
                "--a",
                "--endpoint=unix:///csi/csi.sock",
                "--nodeid=n1",
                "--as-is=$(NOT_THERE)",
                "--price=$5"
            ]
        );
        for (name, value) in [("APP", Some("driver")), ("ZONE", Some("a")), ("OTHER", None)] {
            assert_eq!(given().variable(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn paths_are_those_of_what_is_mounted_there() {
        for (path, place) in [
            (
                "/csi",
                Place::Node("/var/lib/kubelet/plugins/csi-secrets-store".into()),
            ),
            (
                "/csi/csi.sock",
                Place::Node("/var/lib/kubelet/plugins/csi-secrets-store/csi.sock".into()),
            ),
            ("/scratch/x", Place::Own("scratch/x".into())),
            ("/elsewhere/x", Place::Own("elsewhere/x".into())),
        ] {
            assert_eq!(given().place(Path::new(path)), place, "{path}");
        }
        assert_eq!(given().file(Path::new("/etc/trust/ca.pem")), Some("PEM"));
        assert_eq!(given().file(Path::new("/etc/trust/other")), None);
        assert_eq!(given().file(Path::new("/csi/ca.pem")), None);
    }

    #[test]
    fn a_pods_config_maps_are_those_of_its_volumes_and_variables() {
        let pod = json!({ "spec": {
            "volumes": [{ "configMap": { "name": "a" } }, { "emptyDir": {} }],
            "containers": [{
                "env": [{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "b", "key": "x" } } }],
                "envFrom": [{ "configMapRef": { "name": "c" } }],
            }],
        } });
        let names: Vec<String> = config_maps(&pod).into_iter().collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
