//! What is served, told to clients that ask; and the issuer, told to anyone.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{Cluster, Server, tests};

tests![
    every_group_lists_what_it_serves_and_serves_what_it_lists,
    discovery_in_one_piece_tells_the_same,
    anyone_can_verify_a_token_with_what_the_issuer_publishes;
    stand_in_only: nothing_else_is_listed = "the real one serves more"
];

/// Everything that is served from the start.
const SERVED: &[(&str, &[&str])] = &[
    (
        "/api/v1",
        &[
            "configmaps",
            "events",
            "namespaces",
            "namespaces/finalize",
            "namespaces/status",
            "nodes",
            "nodes/status",
            "pods",
            "pods/binding",
            "pods/eviction",
            "pods/log",
            "pods/portforward",
            "pods/status",
            "secrets",
            "serviceaccounts",
            "serviceaccounts/token",
        ],
    ),
    (
        "/apis/apps/v1",
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
        ],
    ),
    ("/apis/storage.k8s.io/v1", &["csidrivers", "csinodes"]),
    (
        "/apis/rbac.authorization.k8s.io/v1",
        &["clusterrolebindings", "clusterroles", "rolebindings", "roles"],
    ),
    (
        "/apis/apiextensions.k8s.io/v1",
        &["customresourcedefinitions", "customresourcedefinitions/status"],
    ),
    ("/apis/coordination.k8s.io/v1", &["leases"]),
    ("/apis/events.k8s.io/v1", &["events"]),
];

/// What can be done with every kind; with namespaces all but deleting them in one go.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The names of what a group's version lists.
fn names(told: &Value) -> Vec<&str> {
    let resources = told["resources"].as_array().unwrap();
    let mut names: Vec<&str> = resources.iter().map(|r| r["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

async fn every_group_lists_what_it_serves_and_serves_what_it_lists(cluster: Cluster) {
    for (path, expected) in SERVED {
        let told = cluster.get(path).await.json();
        assert_eq!(told["kind"], "APIResourceList", "{path}");
        for name in *expected {
            let listed = told["resources"]
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["name"] == *name);
            let resource = listed.unwrap_or_else(|| panic!("{path} does not list {name}: {told}"));
            if name.contains('/') {
                continue;
            }
            let verbs: Vec<_> = VERBS
                .iter()
                .filter(|&&verb| (*name, verb) != ("namespaces", "deletecollection"))
                .collect();
            assert_eq!(resource["verbs"], json!(verbs), "{path}/{name}");
            let list = cluster.get(&format!("{path}/{name}")).await;
            assert_eq!(list.status, 200, "{path}/{name}: {}", list.text);
            assert_eq!(
                list.json()["kind"],
                format!("{}List", resource["kind"].as_str().unwrap())
            );
        }
    }
}

async fn nothing_else_is_listed(cluster: Cluster) {
    for (path, expected) in SERVED {
        assert_eq!(names(&cluster.get(path).await.json()), *expected, "{path}");
    }
}

/// Asks for aggregated discovery, as clients do first.
async fn aggregated(cluster: &Cluster, path: &str) -> Value {
    let request = Request::get(format!("{}{path}", cluster.server().url()))
        .header(
            "authorization",
            format!("Bearer {}", cluster.server().admin_token()),
        )
        .header(
            "accept",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
        )
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(
        kind,
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn discovery_in_one_piece_tells_the_same(cluster: Cluster) {
    let mut told = Vec::new();
    for (path, prefix) in [("/api", "/api"), ("/apis", "/apis/")] {
        for group in aggregated(&cluster, path).await["items"].as_array().unwrap() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let mut resources = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let plural = resource["resource"].as_str().unwrap();
                    resources.push(plural.to_owned());
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        resources.push(format!("{plural}/{}", sub["subresource"].as_str().unwrap()));
                    }
                }
                resources.sort_unstable();
                let at = format!("{prefix}{name}/{}", version["version"].as_str().unwrap());
                told.push((at, resources));
            }
        }
    }
    for (path, expected) in SERVED {
        let found = told.iter().find(|(at, _)| at == path);
        let (_, resources) = found.unwrap_or_else(|| panic!("{path} in {told:?}"));
        for name in *expected {
            assert!(
                resources.iter().any(|told| told == name),
                "{path}: {name} in {resources:?}"
            );
        }
    }
}

async fn anyone_can_verify_a_token_with_what_the_issuer_publishes(cluster: Cluster) {
    let issuer = cluster.server().issuer();
    let anonymous = async |url: &str| -> Value {
        // A cluster's name for itself is for pods, and what it publishes for who is known.
        if let Server::Cluster(_) = cluster.server() {
            let path = url.strip_prefix(&issuer).unwrap_or("/openid/v1/jwks");
            return cluster.get(path).await.json();
        }
        let request = Request::get(url).body(Full::new(Bytes::new())).unwrap();
        let response = cluster.client.send(request).await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    };
    let discovery = anonymous(&format!("{issuer}/.well-known/openid-configuration")).await;
    assert_eq!(discovery["issuer"], issuer);
    let keys = anonymous(discovery["jwks_uri"].as_str().unwrap()).await;
    let keys: JwkSet = serde_json::from_value(keys).unwrap();

    let request =
        json!({ "spec": { "audiences": ["sts.amazonaws.com", "other"], "expirationSeconds": 600 } });
    let path = &cluster.at("serviceaccounts/default/token");
    let answer = cluster.post(path, &request).await.json();
    let token = answer["status"]["token"].as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.alg, Algorithm::RS256);
    let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&["sts.amazonaws.com"]);
    rules.set_issuer(&[&issuer]);
    rules.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;

    let account = cluster.get(&cluster.at("serviceaccounts/default")).await.json();
    assert_eq!(
        claims["sub"],
        format!("system:serviceaccount:{}:default", cluster.namespace)
    );
    assert_eq!(claims["aud"], json!(["sts.amazonaws.com", "other"]));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
    assert_eq!(claims["nbf"], claims["iat"]);
    assert!(
        claims["jti"].as_str().is_some_and(|id| id.len() == 36),
        "{claims}"
    );
    assert_eq!(
        claims["kubernetes.io"],
        json!({ "namespace": cluster.namespace, "serviceaccount": { "name": "default", "uid": account["metadata"]["uid"] } })
    );
    rules.set_audience(&["vault"]);
    jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap_err();
}
