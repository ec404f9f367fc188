//! PURE. How often driver and provider of a cluster were restarted, by whoever watches over their pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Restarts;

/// Part of the path of the folder that driver and provider share on a node, in the manifests and charts of all releases.
const SHARED_FOLDER: &str = "secrets-store-csi-providers";

/// How often the containers of driver and provider were restarted, of the pods that share their folder.
pub(super) fn restarts(pods: &[Value]) -> Restarts {
    let mut restarts = BTreeMap::new();
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    for pod in pods {
        let shares = each(&pod["spec"]["volumes"]).iter().any(|volume| {
            let path = volume["hostPath"]["path"].as_str().unwrap_or_default();
            path.contains(SHARED_FOLDER)
        });
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        for container in each(&pod["status"]["containerStatuses"])
            .iter()
            .filter(|_| shares)
        {
            let of = container["name"].as_str().unwrap_or_default();
            let count = container["restartCount"].as_u64().unwrap_or(0);
            // One that has just ended is about to be restarted.
            let ended = u64::from(container["state"]["terminated"].is_object());
            let last = &container["lastState"]["terminated"];
            let why = match (last["reason"].as_str(), last["exitCode"].as_i64()) {
                (Some(reason), Some(code)) => format!("{reason}, exit code {code}"),
                _ => "it ended".to_owned(),
            };
            restarts.insert(format!("container {of} of pod {name}"), (count + ended, why));
        }
    }
    restarts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn restarts_of_driver_and_provider_are_counted_and_of_nobody_else() {
        let pod = |name: &str, path: &str, status: Value| {
            json!({
                "metadata": { "name": name },
                "spec": { "volumes": [{ "name": "v", "hostPath": { "path": path } }] },
                "status": { "containerStatuses": [status] },
            })
        };
        let running = json!({ "name": "provider", "restartCount": 0, "state": { "running": {} } });
        let restarted = json!({ "name": "provider", "restartCount": 2, "state": { "running": {} },
            "lastState": { "terminated": { "reason": "OOMKilled", "exitCode": 137 } } });
        let ended = json!({ "name": "provider", "restartCount": 0,
            "state": { "terminated": { "reason": "Error", "exitCode": 1 } } });
        let folder = "/var/run/secrets-store-csi-providers";
        let found = restarts(&[
            pod("a", folder, running),
            pod(
                "b",
                "/etc/kubernetes/secrets-store-csi-providers",
                restarted.clone(),
            ),
            pod("c", folder, ended),
            pod("other", "/var/lib", restarted),
        ]);
        let counts: Vec<(&str, u64)> = found
            .iter()
            .map(|(name, (count, _))| (name.as_str(), *count))
            .collect();
        assert_eq!(
            counts,
            [
                ("container provider of pod a", 0),
                ("container provider of pod b", 2),
                ("container provider of pod c", 1),
            ]
        );
        assert_eq!(found["container provider of pod b"].1, "OOMKilled, exit code 137");
    }
}
