//! What stands behind clusters: API servers of a backend, keys of token issuers, and what of both a saved state keeps.

use super::*;

#[test]
fn a_cluster_with_a_backend_is_there_when_its_server_is() {
    let mut account = Account::new();
    account.store.expect_backend();
    account.done("POST", "/clusters", json!({}));
    account.wait(3600);
    assert_eq!(account.get("/clusters/demo")["cluster"]["status"], "CREATING");
    let wanted = wanted(&account.store, REGION, "demo").unwrap();
    assert_eq!((wanted.name.as_str(), wanted.version.as_str()), ("demo", "1.36"));
    let parts = ClusterParts {
        endpoint: "https://127.0.0.1:1".to_owned(),
        certificate_authority_pem: "OTHER".to_owned(),
        issuer: wanted.issuer,
        jwks: json!({ "keys": [] }),
    };
    assert!(arrived(&mut account.store, REGION, "demo", parts.clone()));
    assert!(!arrived(&mut account.store, REGION, "demo", parts), "once");
    let there = account.get("/clusters/demo")["cluster"].clone();
    assert_eq!(
        (&there["status"], &there["endpoint"]),
        (&json!("ACTIVE"), &json!("https://127.0.0.1:1"))
    );
    assert_eq!(
        sign(&account.store, REGION, "demo", &json!({})),
        None,
        "its server signs"
    );
    account.done("POST", "/clusters", json!({ "name": "bad" }));
    failed(&mut account.store, REGION, "bad", "no room");
    let bad = account.get("/clusters/bad")["cluster"].clone();
    assert_eq!(bad["status"], "FAILED");
    let issue = json!({
        "code": "InternalFailure",
        "message": "The API server could not be started: no room",
        "resourceIds": ["bad"],
    });
    assert_eq!(bad["health"], json!({ "issues": [issue] }));
    assert_eq!(there["health"], json!({ "issues": [] }));
}

/// What becomes of clusters whose API servers ended with the endpoint that saved them.
#[test]
fn clusters_of_a_saved_state_wait_for_new_servers_or_say_that_theirs_are_gone() {
    let mut account = Account::new();
    account.store.expect_backend();
    for name in ["there", "waiting", "failed"] {
        account.done("POST", "/clusters", json!({ "name": name }));
    }
    let parts = |endpoint: &str, key: &str| ClusterParts {
        endpoint: endpoint.to_owned(),
        certificate_authority_pem: "OTHER".to_owned(),
        issuer: "https://oidc.eks.eu-west-1.amazonaws.com/id/1".to_owned(),
        jwks: json!({ "keys": [{ "kid": key }] }),
    };
    assert!(arrived(
        &mut account.store,
        REGION,
        "there",
        parts("https://old", "old")
    ));
    failed(&mut account.store, REGION, "failed", "no room");
    let saved = account.store.saved();
    let restored = |backed: bool| {
        let mut other = Account::new();
        other.now = account.now;
        if backed {
            other.store.expect_backend();
        }
        other.store.restore(&saved).unwrap();
        let names: Vec<String> = bereaved(&mut other.store)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        (other, names)
    };

    let (mut unbacked, names) = restored(false);
    assert_eq!(names, ["there", "waiting"]);
    for (name, status) in [("there", "ACTIVE"), ("waiting", "FAILED")] {
        let cluster = unbacked.get(&format!("/clusters/{name}"))["cluster"].clone();
        assert_eq!(cluster["status"], status, "{name}");
        assert_eq!(
            cluster["health"]["issues"][0]["code"], "ClusterUnreachable",
            "{name}"
        );
    }

    let (mut backed, names) = restored(true);
    assert_eq!(names, ["there", "waiting"]);
    assert_eq!(
        backed.store.issuers().count(),
        1,
        "the keys of servers that are gone count no more"
    );
    let there = backed.get("/clusters/there")["cluster"].clone();
    assert_eq!(
        (&there["status"], &there["endpoint"]),
        (&json!("CREATING"), &Value::Null)
    );
    assert!(arrived(
        &mut backed.store,
        REGION,
        "there",
        parts("https://new", "new")
    ));
    let there = backed.get("/clusters/there")["cluster"].clone();
    assert_eq!(
        (&there["status"], &there["endpoint"], &there["health"]["issues"]),
        (&json!("ACTIVE"), &json!("https://new"), &json!([]))
    );
    let failed = backed.get("/clusters/failed")["cluster"].clone();
    assert_eq!(
        failed["health"]["issues"][0]["code"], "InternalFailure",
        "as it was"
    );

    // Those that never had a server need none.
    let mut plain = Account::with_demo("API");
    assert_eq!(bereaved(&mut plain.store), []);
    assert_eq!(
        plain.get("/clusters/demo")["cluster"]["health"]["issues"],
        json!([])
    );
}

#[test]
fn an_issuer_publishes_the_key_that_it_signs_with() {
    let mut account = Account::with_demo("API");
    let issuer = account.get("/clusters/demo")["cluster"]["identity"]["oidc"]["issuer"].clone();
    let issuer = issuer.as_str().unwrap();
    let path = issuer
        .strip_prefix("https://oidc.eks.eu-west-1.amazonaws.com")
        .unwrap();
    let host = "oidc.eks.eu-west-1.amazonaws.com";
    let at = |host: &str, what: &str| issuer_document(&account.store, host, &format!("{path}{what}"));
    let discovery = at(host, "/.well-known/openid-configuration").unwrap();
    assert_eq!(discovery["issuer"], issuer);
    assert_eq!(discovery["jwks_uri"], format!("{issuer}/keys"));
    let keys = at(host, "/keys").unwrap();
    assert_eq!(at("oidc.eks.us-east-1.amazonaws.com", "/keys"), None);
    assert_eq!(at(host, "/other"), None);
    let token = sign(&account.store, REGION, "demo", &json!({ "iss": issuer })).unwrap();
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["iss"], issuer);
}

#[test]
fn what_was_saved_comes_back() {
    let mut account = Account::with_demo("API");
    account.done("POST", "/clusters/demo/node-groups", json!({}));
    account.done("POST", "/clusters/demo/addons", json!({ "addonName": "vpc-cni" }));
    let saved = account.store.saved();
    let mut other = Account::new();
    other.now = account.now;
    other.store.restore(&saved).unwrap();
    for target in [
        "/clusters/demo",
        "/clusters/demo/node-groups/nodes",
        "/clusters/demo/access-entries",
    ] {
        assert_eq!(other.get(target), account.get(target), "{target}");
    }
    assert_eq!(other.store.saved(), account.store.saved(), "the key pair too");
    assert!(other.store.restore(&json!([1])).is_err());
}

/// A cluster with a backend, which is there.
fn backed() -> Account {
    let mut account = Account::new();
    account.store.expect_backend();
    account.done("POST", "/clusters", json!({}));
    let wanted = wanted(&account.store, REGION, "demo").unwrap();
    let parts = ClusterParts {
        endpoint: "https://127.0.0.1:1".to_owned(),
        certificate_authority_pem: "OTHER".to_owned(),
        issuer: wanted.issuer,
        jwks: json!({ "keys": [] }),
    };
    assert!(arrived(&mut account.store, REGION, "demo", parts));
    account
}

#[test]
fn a_node_group_with_a_backend_is_there_when_its_nodes_are() {
    use super::members::{Member, arrived, gone, is_ending, nodegroup};

    let group = "/clusters/demo/node-groups/nodes";
    let key = MemberKey {
        region: REGION.to_owned(),
        cluster: "demo".to_owned(),
        name: "nodes".to_owned(),
    };
    let mut account = backed();
    account.done(
        "POST",
        "/clusters/demo/node-groups",
        json!({ "scalingConfig": { "minSize": 1, "maxSize": 4, "desiredSize": 3 }, "labels": { "a": "b" } }),
    );
    account.wait(3600);
    let status = |account: &mut Account| account.get(group)["nodegroup"]["status"].clone();
    assert_eq!(status(&mut account), "CREATING");
    let asked = nodegroup(&account.store, &key).unwrap();
    assert_eq!(
        (asked.desired, asked.role.as_str(), asked.labels["a"].as_str()),
        (3, ROLE, "b")
    );
    let now = account.now;
    assert!(arrived(&mut account.store, Member::Nodegroup, &key, Ok(()), now));
    assert_eq!(status(&mut account), "ACTIVE");

    let change = json!({ "scalingConfig": { "desiredSize": 4 } });
    let update = account.done("POST", &format!("{group}/update-config"), change)["update"]["id"].clone();
    let update = format!("/clusters/demo/updates/{}", update.as_str().unwrap());
    account.wait(3600);
    assert_eq!(status(&mut account), "UPDATING");
    assert_eq!(account.get(&update)["update"]["status"], "InProgress");
    let trouble = BackendTrouble {
        code: "NodeCreationFailure".to_owned(),
        message: "no room".to_owned(),
    };
    let now = account.now;
    assert!(arrived(
        &mut account.store,
        Member::Nodegroup,
        &key,
        Err(trouble),
        now
    ));
    assert_eq!(status(&mut account), "ACTIVE", "those that it had are there");
    let failed = account.get(&update)["update"].clone();
    assert_eq!(
        (&failed["status"], &failed["errors"][0]["errorCode"]),
        (&json!("Failed"), &json!("NodeCreationFailure"))
    );

    account.done("DELETE", group, json!({}));
    account.wait(3600);
    assert_eq!(status(&mut account), "DELETING");
    assert!(is_ending(&account.store, Member::Nodegroup, &key));
    let now = account.now;
    assert!(
        !arrived(&mut account.store, Member::Nodegroup, &key, Ok(()), now),
        "nobody waits for its nodes any more"
    );
    gone(&mut account.store, Member::Nodegroup, &key);
    assert!(account.call("GET", group, json!({})).is_err());
}
