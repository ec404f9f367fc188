//! Who a request comes from: `TokenRequest` and bearer tokens.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cluster::{Cluster, node_uid},
    failure::{Failure, Violation},
    object,
    resource::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS},
    stored::Key,
    token::BearerToken,
};

/// Seconds a token lasts unless the request says otherwise.
const DEFAULT_LIFETIME: i64 = 3_600;
const SHORTEST_LIFETIME: i64 = 600;
const LONGEST_LIFETIME: i64 = 1 << 32;

/// The user a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Such as `system:admin`.
    pub name: String,
    /// Such as `system:masters`.
    pub groups: Vec<String>,
}

/// Tells whose a token is that the server does not know itself: a `TokenReview`, without HTTP. `None` is
/// answered with 401.
pub type TokenWebhook = Arc<dyn Fn(&str) -> Option<User> + Send + Sync>;

/// The tokens that are no `ServiceAccount`'s.
#[derive(Debug, Default)]
pub(super) struct StaticTokens(RwLock<HashMap<String, User>>);

impl StaticTokens {
    /// A new token for `user`.
    pub(super) fn issue(&self, user: User) -> BearerToken {
        let token = BearerToken::random();
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token.expose().to_owned(), user);
        token
    }

    fn find(&self, token: &str) -> Option<User> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(token)
            .cloned()
    }
}

impl Cluster {
    /// The user behind a bearer token.
    pub(super) fn authenticate(&self, tokens: &StaticTokens, token: &str) -> Option<User> {
        tokens.find(token).or_else(|| self.service_account(token))
    }

    /// The `ServiceAccount` behind a token of our own, if the token is meant for this server and what
    /// it is bound to still exists.
    fn service_account(&self, token: &str) -> Option<User> {
        let claims = self.signer.verify(token, Timestamp::now().as_second())?;
        let audience = claims["aud"].as_array()?;
        if claims["iss"] != *self.issuer || !audience.iter().any(|audience| *audience == *self.issuer) {
            return None;
        }
        let bound = &claims["kubernetes.io"];
        let namespace = bound["namespace"].as_str()?;
        let exists = |table, namespace: &str, reference: &Value| {
            let name = reference["name"].as_str()?;
            let stored = self.store.get(table, &Key::new(namespace, name))?;
            (reference["uid"] == *stored.uid).then_some(())
        };
        exists(SERVICE_ACCOUNTS, namespace, &bound["serviceaccount"])?;
        for (field, table) in [("pod", PODS), ("secret", SECRETS)] {
            if bound[field].is_object() {
                exists(table, namespace, &bound[field])?;
            }
        }
        Some(User {
            name: claims["sub"].as_str()?.to_owned(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
        })
    }

    /// Answers a `TokenRequest` for the `ServiceAccount` `key`, by `manager`.
    pub(super) fn issue_token(&self, key: &Key, request: &Value, manager: &str) -> Result<Value, Failure> {
        let accounts = self.built_in(SERVICE_ACCOUNTS);
        let account = self.get(&accounts, key)?;
        let spec = &request["spec"];
        let lifetime = spec["expirationSeconds"].as_i64().unwrap_or(DEFAULT_LIFETIME);
        let rule = if lifetime < SHORTEST_LIFETIME {
            Some("may not specify a duration less than 10 minutes")
        } else if lifetime > LONGEST_LIFETIME {
            Some("may not specify a duration larger than 2^32 seconds")
        } else {
            None
        };
        if let Some(rule) = rule {
            let violation = Violation::invalid("spec.expirationSeconds", &lifetime.into(), rule);
            return Err(Failure::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                "",
                &[violation],
            ));
        }
        let mut audiences: Vec<String> = object::strings(&spec["audiences"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        if audiences.is_empty() || self.defects().token_ignores_audience {
            audiences = vec![self.issuer.clone()];
        }
        let binding = self.bound_object(key, &spec["boundObjectRef"])?;
        let issued = Timestamp::now();
        let claims = claims(
            &account.key,
            &account.uid,
            &binding,
            &self.issuer,
            &audiences,
            issued,
            lifetime,
        );
        let expires = issued + jiff::SignedDuration::from_secs(lifetime);
        let token = self.signer.sign(&claims);
        let mut fields = json!({});
        for field in ["audiences", "boundObjectRef", "expirationSeconds"] {
            if !spec[field].is_null() {
                fields[format!("f:{field}")] = owned_fields(&spec[field]);
            }
        }
        let now = object::seconds(issued);
        Ok(json!({
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": account.uid,
                "creationTimestamp": now,
                "managedFields": [{
                    "manager": manager,
                    "operation": "Update",
                    "apiVersion": "authentication.k8s.io/v1",
                    "time": now,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": { "f:spec": fields },
                    "subresource": "token",
                }],
            },
            "spec": {
                "audiences": if spec["audiences"].is_null() { json!(audiences) } else { spec["audiences"].clone() },
                "expirationSeconds": lifetime,
                "boundObjectRef": spec["boundObjectRef"],
            },
            "status": { "token": token, "expirationTimestamp": object::seconds(expires) },
        }))
    }

    /// A token of the `ServiceAccount` `key` whose hour was over an hour ago. No request gets one: it is for who wants
    /// to see it refused.
    pub(super) fn expired_token(&self, key: &Key, audience: &str) -> Result<String, Failure> {
        let account = self.get(&self.built_in(SERVICE_ACCOUNTS), key)?;
        let claims = expired_claims(key, &account.uid, &self.issuer, audience);
        Ok(self.signer.sign(&claims))
    }

    /// The claims that a `boundObjectRef` adds.
    fn bound_object(&self, account: &Key, reference: &Value) -> Result<Value, Failure> {
        if reference.is_null() {
            return Ok(json!({}));
        }
        let (kind, name) = (
            reference["kind"].as_str().unwrap_or_default(),
            reference["name"].as_str().unwrap_or_default(),
        );
        let (table, claim, namespace) = match kind {
            "Pod" => (PODS, "pod", account.namespace.as_str()),
            "Secret" => (SECRETS, "secret", account.namespace.as_str()),
            "Node" => (NODES, "node", ""),
            other => {
                return Err(Failure::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to type {other}",
                    account.name
                )));
            }
        };
        let resource = self.built_in(table);
        let stored = self.get(&resource, &Key::new(namespace, name))?;
        let uid = reference["uid"].as_str().unwrap_or_default();
        if !uid.is_empty() && uid != stored.uid {
            return Err(Failure::conflict(
                &resource,
                name,
                &format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        let mut claims = json!({ claim: { "name": name, "uid": stored.uid } });
        if table == PODS {
            let pod = stored.value();
            if pod["spec"]["serviceAccountName"] != *account.name {
                return Err(Failure::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    account.name
                )));
            }
            if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
                let mut reference = json!({ "name": node });
                if let Some(uid) = node_uid(self, node) {
                    reference["uid"] = uid.into();
                }
                claims["node"] = reference;
            }
        }
        Ok(claims)
    }
}

/// Those of a token whose time has been over for an hour.
pub(crate) fn expired_claims(account: &Key, uid: &str, issuer: &str, audience: &str) -> Value {
    let long_ago = Timestamp::now() - jiff::SignedDuration::from_secs(2 * DEFAULT_LIFETIME);
    let audiences = [audience.to_owned()];
    claims(
        account,
        uid,
        &json!({}),
        issuer,
        &audiences,
        long_ago,
        DEFAULT_LIFETIME,
    )
}

fn claims(
    account: &Key,
    uid: &str,
    binding: &Value,
    issuer: &str,
    audiences: &[String],
    at: Timestamp,
    lifetime: i64,
) -> Value {
    let Key { namespace, name } = account;
    let mut private = binding.clone();
    private["namespace"] = namespace.as_str().into();
    private["serviceaccount"] = json!({ "name": name, "uid": uid });
    let at = at.as_second();
    json!({
        "aud": audiences,
        "exp": at + lifetime,
        "iat": at,
        "iss": issuer,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": private,
        "nbf": at,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    })
}

fn owned_fields(value: &Value) -> Value {
    let Some(fields) = value.as_object() else {
        return json!({});
    };
    let mut owned = json!({ ".": {} });
    for field in fields.keys() {
        owned[format!("f:{field}")] = json!({});
    }
    owned
}
