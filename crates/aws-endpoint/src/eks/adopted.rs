//! A cluster that stands already: not made by a call, but there before the first one.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    ClusterParts, EksStore,
    issuer::IssuerKeys,
    store::{AuthenticationMode, Cluster, Phase, Record, random, time},
};

/// Takes a cluster with these `parts` among those of the account, as one that is active. It replaces one of its name.
pub fn adopted(store: &mut EksStore, region: &str, name: &str, parts: ClusterParts, now: Timestamp) {
    let body = json!({
        "name": name,
        "createdAt": time(now),
        "platformVersion": "eks.1",
        "endpoint": parts.endpoint,
        "certificateAuthority": { "data": BASE64_STANDARD.encode(parts.certificate_authority_pem) },
        "accessConfig": { "authenticationMode": AuthenticationMode::Api },
    });
    let record = Record {
        arn: store.arn(region, &format!("cluster/{name}")),
        tags: BTreeMap::new(),
        phase: Phase::Active,
        body: match body {
            Value::Object(body) => body,
            _ => Map::new(),
        },
    };
    store.insert(
        region,
        Cluster {
            name: name.to_owned(),
            id: random(b"0123456789ABCDEF", 32),
            issuer: parts.issuer,
            keys: IssuerKeys::Published(parts.jwks),
            mode: AuthenticationMode::Api,
            creator: None,
            record,
            issue: None,
            nodegroups: BTreeMap::new(),
            addons: BTreeMap::new(),
            access: BTreeMap::new(),
            associations: BTreeMap::new(),
            updates: BTreeMap::new(),
        },
    );
}
