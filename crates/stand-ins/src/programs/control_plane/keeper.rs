//! What the controller manager does for namespaces, where there is none: the `default` `ServiceAccount` and
//! `kube-root-ca.crt` at the beginning, the contents and the finalizer at the end.
//!
//! Left out: every other controller. Deployments and other workloads get no pods, owners that go leave what they own, and
//! objects with finalizers hold their namespace.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};

use crate::rest::{ApiClient, ApiError, Change};

/// A namespace that could not be emptied is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// Looks after namespaces, forever.
pub(super) async fn keep(client: ApiClient, ca_pem: String) {
    let mut changes = client.watch::<Value>("/api/v1/namespaces");
    let mut furnished: HashSet<String> = HashSet::new();
    let mut emptying = tokio::task::JoinSet::new();
    let mut ending: HashSet<String> = HashSet::new();
    loop {
        while emptying.try_join_next().is_some() {}
        let namespaces = match changes.next().await {
            Change::Listed(all) => all,
            Change::Applied(one) => vec![one],
            Change::Deleted(one) => {
                furnished.remove(&uid(&one));
                ending.remove(&uid(&one));
                continue;
            }
        };
        for namespace in namespaces {
            let id = uid(&namespace);
            let name = namespace["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if !namespace["metadata"]["deletionTimestamp"].is_null() {
                if ending.insert(id) {
                    emptying.spawn(end(client.clone(), name));
                }
            } else if furnished.insert(id)
                && let Err(error) = furnish(&client, &name, &ca_pem).await
            {
                tracing::warn!(name, %error, "namespace not furnished");
            }
        }
    }
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

async fn furnish(client: &ApiClient, name: &str, ca_pem: &str) -> Result<(), ApiError> {
    let account = json!({"metadata": {"name": "default"}});
    let authority = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca_pem}});
    for (collection, object) in [("serviceaccounts", account), ("configmaps", authority)] {
        match client
            .create(&format!("/api/v1/namespaces/{name}/{collection}"), &object)
            .await
        {
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Empties a namespace and lets it go, however often that has to be tried.
async fn end(client: ApiClient, name: String) {
    loop {
        match empty(&client, &name).await {
            Ok(0) => match finalize(&client, &name).await {
                Ok(()) => return,
                Err(error) if error.is_not_found() => return,
                Err(error) => tracing::debug!(name, %error, "namespace not finalized"),
            },
            Ok(left) => tracing::debug!(name, left, "namespace not empty"),
            Err(error) => tracing::debug!(name, %error, "namespace not emptied"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Deletes what is in the namespace, the pods first; how many objects were still there.
async fn empty(client: &ApiClient, name: &str) -> Result<usize, ApiError> {
    // What they mount and who they are stays until they are gone (https://kep.k8s.io/5080).
    let mut left = delete_all(client, &format!("/api/v1/namespaces/{name}/pods")).await?;
    if left == 0 {
        for (version, resource) in contents(client).await? {
            left += delete_all(client, &format!("{version}/namespaces/{name}/{resource}")).await?;
        }
    }
    Ok(left)
}

/// Deletes all of a kind in a namespace; how many there were.
async fn delete_all(client: &ApiClient, path: &str) -> Result<usize, ApiError> {
    let list: Value = client.fetch(path, None).await?;
    let there = list["items"].as_array().map_or(0, Vec::len);
    if there > 0 {
        client
            .delete(path, &json!({"propagationPolicy": "Background"}))
            .await?;
    }
    Ok(there)
}

/// Every namespaced collection that can be listed and emptied, with the path of its version.
async fn contents(client: &ApiClient) -> Result<Vec<(String, String)>, ApiError> {
    let groups: Value = client.fetch("/apis", None).await?;
    let preferred = groups["groups"].as_array().into_iter().flatten();
    let versions = preferred
        .filter_map(|group| group["preferredVersion"]["groupVersion"].as_str())
        .map(|version| format!("/apis/{version}"));
    let mut found = Vec::new();
    for version in std::iter::once("/api/v1".to_owned()).chain(versions) {
        let resources: Value = client.fetch(&version, None).await?;
        for resource in resources["resources"].as_array().into_iter().flatten() {
            let can = |verb: &str| {
                let verbs = resource["verbs"].as_array();
                verbs.is_some_and(|verbs| verbs.iter().any(|known| known == verb))
            };
            let name = resource["name"].as_str().unwrap_or_default();
            if resource["namespaced"] == true && can("list") && can("deletecollection") {
                found.push((version.clone(), name.to_owned()));
            }
        }
    }
    Ok(found)
}

async fn finalize(client: &ApiClient, name: &str) -> Result<(), ApiError> {
    let path = format!("/api/v1/namespaces/{name}");
    let mut namespace: Value = client.fetch(&path, None).await?;
    namespace["spec"]["finalizers"] = json!([]);
    client
        .update(&format!("{path}/finalize"), &namespace)
        .await
        .map(drop)
}
