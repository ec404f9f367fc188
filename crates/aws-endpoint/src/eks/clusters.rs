//! Clusters, and the updates of everything in them.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Call, EksError, EksStore, Outcome, Trust, access,
    backend::{ClusterParts, ClusterWanted},
    issuer::IssuerKeys,
    members,
    request::{Body, missing},
    store::{AuthenticationMode, Cluster, Issue, Phase, Record, Update, random, time},
};

/// AWS's quota of clusters in a region.
const LIMIT: usize = 100;
const HEX: &[u8] = b"0123456789ABCDEF";
/// Minor versions of Kubernetes that clusters can have; the last is the one that they have unless told so.
const MINORS: std::ops::RangeInclusive<u32> = 30..=36;

pub(super) fn create(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now, region) = (call.body(), call.now(), call.region());
    let name = name(body)?;
    let version = match body.text("version")? {
        Some(version) => supported(version)?,
        None => format!("1.{}", MINORS.end()),
    };
    let role = body.required("roleArn")?;
    let network = body.part("resourcesVpcConfig")?;
    let Some(subnets) = network.texts("subnetIds")?.filter(|subnets| !subnets.is_empty()) else {
        return Err(missing("subnetIds"));
    };
    let access_config = body.part("accessConfig")?;
    let mode = match access_config.text("authenticationMode")? {
        None => AuthenticationMode::ConfigMap,
        Some(text) => mode(text)?,
    };
    let administers = access_config
        .flag("bootstrapClusterCreatorAdminPermissions")?
        .unwrap_or(true);
    let token = body.text("clientRequestToken")?;
    if let Some(there) = store.find(region, name) {
        // The same call again is answered as before.
        if token.is_some_and(|token| there.record.text("clientRequestToken") == token) {
            return Ok(json!({ "cluster": view(there) }));
        }
        return Err(
            EksError::in_use(format!("Cluster already exists with name: {name}")).with("clusterName", name),
        );
    }
    if store.names(region).count() >= LIMIT {
        return Err(EksError::limit("Cluster limit exceeded for account.").with("clusterName", name));
    }
    if (call.setting.trust)(role, "eks.amazonaws.com") != Trust::Given {
        return Err(EksError::parameter(format!(
            "Role with arn: {role}, could not be assumed because it does not exist or the trusted entity is not \
             correct"
        ))
        .with("clusterName", name));
    }
    let key = call
        .setting
        .key
        .clone()
        .ok_or_else(|| EksError::request("a cluster needs a key"))?;
    let id = random(HEX, 32);
    let mut record = Record {
        arn: store.arn(region, &format!("cluster/{name}")),
        tags: body.tags()?,
        phase: if store.backed {
            Phase::Starting
        } else {
            Phase::Creating(store.settled(now))
        },
        body: Map::new(),
    };
    let cidr = body
        .part("kubernetesNetworkConfig")?
        .text("serviceIpv4Cidr")?
        .unwrap_or("10.100.0.0/16");
    let described = json!({
        "name": name,
        "createdAt": time(now),
        "version": version,
        "roleArn": role,
        "resourcesVpcConfig": {
            "subnetIds": subnets,
            "securityGroupIds": network.texts("securityGroupIds")?.unwrap_or_default(),
            "clusterSecurityGroupId": format!("sg-{}", random(b"0123456789abcdef", 17)),
            "vpcId": format!("vpc-{}", random(b"0123456789abcdef", 17)),
            "endpointPublicAccess": network.flag("endpointPublicAccess")?.unwrap_or(true),
            "endpointPrivateAccess": network.flag("endpointPrivateAccess")?.unwrap_or(false),
            "publicAccessCidrs": network.texts("publicAccessCidrs")?.unwrap_or_else(|| vec!["0.0.0.0/0"]),
        },
        "kubernetesNetworkConfig": { "serviceIpv4Cidr": cidr, "ipFamily": "ipv4" },
        "logging": body.value("logging").cloned().unwrap_or_else(|| json!({ "clusterLogging": [{
            "types": ["api", "audit", "authenticator", "controllerManager", "scheduler"], "enabled": false,
        }] })),
        "clientRequestToken": token,
        "platformVersion": "eks.1",
        "accessConfig": { "bootstrapClusterCreatorAdminPermissions": administers, "authenticationMode": mode },
        "upgradePolicy": { "supportType": "EXTENDED" },
        "deletionProtection": body.flag("deletionProtection")?.unwrap_or(false),
        "endpoint": format!("https://{id}.gr7.{region}.eks.amazonaws.com"),
        "certificateAuthority": { "data": BASE64_STANDARD.encode(store.authority_pem()) },
    });
    if let Value::Object(described) = described {
        record.body = described;
    }
    let mut cluster = Cluster {
        name: name.to_owned(),
        issuer: format!("https://oidc.eks.{region}.amazonaws.com/id/{id}"),
        id,
        keys: IssuerKeys::Own(key),
        mode,
        creator: administers.then(|| call.setting.caller.to_owned()),
        record,
        issue: None,
        nodegroups: BTreeMap::new(),
        addons: BTreeMap::new(),
        access: BTreeMap::new(),
        associations: BTreeMap::new(),
        updates: BTreeMap::new(),
    };
    if administers && mode != AuthenticationMode::ConfigMap {
        let entry = access::administrator(store, region, name, call.setting.caller, now);
        cluster.access.insert(entry.principal.clone(), entry);
    }
    let answer = json!({ "cluster": view(&cluster) });
    store.insert(region, cluster);
    Ok(answer)
}

pub(super) fn describe(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    Ok(json!({ "cluster": view(store.cluster(call.region(), call.cluster())?) }))
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    call.request
        .page("clusters", store.names(call.region()).map(|name| (name, name)))
}

pub(super) fn delete(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let until = store.settled(call.now());
    let name = call.cluster();
    let cluster = store.cluster_mut(call.region(), name)?;
    let in_use = |text: String| EksError::in_use(text).with("clusterName", name);
    if !cluster.nodegroups.is_empty() {
        return Err(in_use("Cluster has nodegroups attached".to_owned()));
    }
    match cluster.record.phase {
        Phase::Starting | Phase::Creating(_) => {
            return Err(in_use(format!("Cluster {name} is being created")));
        }
        Phase::Updating(_) | Phase::Changing => {
            return Err(in_use(format!(
                "Cluster {name} currently has an update in progress"
            )));
        }
        Phase::Active | Phase::Failed | Phase::Deleting(_) | Phase::Ending => {}
    }
    if cluster.record.body.get("deletionProtection") == Some(&json!(true)) {
        let text = format!("Cluster {name} cannot be deleted because deletion protection is enabled");
        return Err(EksError::request(text).with("clusterName", name));
    }
    if !matches!(cluster.record.phase, Phase::Deleting(_)) {
        cluster.record.phase = Phase::Deleting(until);
    }
    Ok(json!({ "cluster": view(cluster) }))
}

pub(super) fn update_config(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (until, now, body) = (store.settled(call.now()), call.now(), call.body());
    let cluster = store.active_mut(call.region(), call.cluster())?;
    let mut params = Vec::new();
    let kind = if let Some(to) = body.part("accessConfig")?.text("authenticationMode")? {
        let to = mode(to)?;
        if (to as u8) < (cluster.mode as u8) {
            let text = format!(
                "Unsupported authentication mode update from {} to {}",
                cluster.mode, to
            );
            return Err(EksError::parameter(text).with("clusterName", call.cluster()));
        }
        params.push(("AuthenticationMode", json!(to)));
        cluster.mode = to;
        cluster.record.body["accessConfig"]["authenticationMode"] = json!(to);
        "AccessConfigUpdate"
    } else if body.value("resourcesVpcConfig").is_some() {
        let network = body.part("resourcesVpcConfig")?;
        for (name, kind) in [
            ("endpointPublicAccess", "EndpointPublicAccess"),
            ("endpointPrivateAccess", "EndpointPrivateAccess"),
            ("publicAccessCidrs", "PublicAccessCidrs"),
        ] {
            if let Some(value) = network.value(name) {
                cluster.record.body["resourcesVpcConfig"][name] = value.clone();
                params.push((kind, value.clone()));
            }
        }
        "EndpointAccessUpdate"
    } else if let Some(logging) = body.value("logging") {
        cluster.record.body.insert("logging".to_owned(), logging.clone());
        params.push(("ClusterLogging", logging.clone()));
        "LoggingUpdate"
    } else if let Some(protected) = body.flag("deletionProtection")? {
        cluster
            .record
            .body
            .insert("deletionProtection".to_owned(), json!(protected));
        params.push(("DeletionProtection", json!(protected)));
        "DeletionProtectionUpdate"
    } else {
        return Err(
            EksError::parameter("No changes needed for the cluster").with("clusterName", call.cluster())
        );
    };
    cluster.record.phase = Phase::Updating(until);
    Ok(cluster.begin(kind, params, None, now, until))
}

pub(super) fn update_version(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (until, now) = (store.settled(call.now()), call.now());
    let version = supported(call.body().required("version")?)?;
    let cluster = store.active_mut(call.region(), call.cluster())?;
    let from = cluster.record.text("version").to_owned();
    if minor(&version) != minor(&from).map(|minor| minor + 1) {
        let text = format!("Unsupported Kubernetes minor version update from {from} to {version}");
        return Err(EksError::parameter(text).with("clusterName", call.cluster()));
    }
    cluster.record.body.insert("version".to_owned(), json!(version));
    cluster.record.phase = Phase::Updating(until);
    let params = vec![("Version", json!(version)), ("PlatformVersion", json!("eks.1"))];
    Ok(cluster.begin("VersionUpdate", params, None, now, until))
}

pub(super) fn list_updates(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    let of = call
        .request
        .query("nodegroupName")
        .or_else(|| call.request.query("addonName"));
    let updates = cluster
        .updates
        .values()
        .filter(|update| update.of.as_deref() == of);
    call.request.page(
        "updateIds",
        updates.map(|update| (update.id.as_str(), update.id.as_str())),
    )
}

pub(super) fn describe_update(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    let update = cluster.updates.get(call.item());
    let missing = || EksError::missing(format!("No update found for ID: {}", call.item()));
    Ok(json!({ "update": update.ok_or_else(missing)?.view(call.now()) }))
}

/// The name of a new cluster.
pub(super) fn name(body: Body<'_>) -> Result<&str, EksError> {
    let name = body.required("name")?;
    let follows = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.len() <= 100 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(follows) {
        return Ok(name);
    }
    Err(EksError::parameter(
        "The cluster name must begin with a letter or number, and have only letters, numbers, hyphens and \
         underscores, 100 at most",
    )
    .with("clusterName", name))
}

/// What the backend of a cluster is asked for; `None` when there is no such cluster, or nothing is expected of it.
#[must_use]
pub(crate) fn wanted(store: &EksStore, region: &str, name: &str) -> Option<ClusterWanted> {
    let cluster = store.find(region, name)?;
    (cluster.record.phase == Phase::Starting).then(|| ClusterWanted {
        region: region.to_owned(),
        name: name.to_owned(),
        version: cluster.record.text("version").to_owned(),
        issuer: cluster.issuer.clone(),
    })
}

/// The API server of a cluster has been started. `false` when nobody waits for it.
pub fn arrived(store: &mut EksStore, region: &str, name: &str, parts: ClusterParts) -> bool {
    let Ok(cluster) = store.cluster_mut(region, name) else {
        return false;
    };
    if cluster.record.phase != Phase::Starting {
        return false;
    }
    let data = BASE64_STANDARD.encode(parts.certificate_authority_pem);
    cluster
        .record
        .body
        .insert("endpoint".to_owned(), json!(parts.endpoint));
    cluster
        .record
        .body
        .insert("certificateAuthority".to_owned(), json!({ "data": data }));
    cluster.issuer = parts.issuer;
    cluster.keys = IssuerKeys::Published(parts.jwks);
    cluster.record.phase = Phase::Active;
    cluster.issue = None;
    true
}

/// The API server of a cluster could not be started, `because` of something.
pub fn failed(store: &mut EksStore, region: &str, name: &str, because: &str) {
    let message = format!("The API server could not be started: {because}");
    failed_with(store, region, name, ("InternalFailure", message));
}

/// A cluster has failed, with this code and text.
pub(crate) fn failed_with(store: &mut EksStore, region: &str, name: &str, (code, message): (&str, String)) {
    if let Ok(cluster) = store.cluster_mut(region, name) {
        cluster.record.phase = Phase::Failed;
        cluster.issue = Some(Issue {
            code: code.to_owned(),
            message,
        });
    }
}

/// Keeps a new cluster in `CREATING`; `false` when it is not being made.
pub(crate) fn held(store: &mut EksStore, region: &str, name: &str) -> bool {
    let Ok(cluster) = store.cluster_mut(region, name) else {
        return false;
    };
    if !matches!(cluster.record.phase, Phase::Starting | Phase::Creating(_)) {
        return false;
    }
    cluster.record.phase = Phase::Starting;
    true
}

/// Lets a cluster without a backend that was held go on.
pub(crate) fn released(store: &mut EksStore, region: &str, name: &str, now: Timestamp) {
    let until = store.settled(now);
    if !store.backed
        && let Ok(cluster) = store.cluster_mut(region, name)
        && cluster.record.phase == Phase::Starting
    {
        cluster.record.phase = Phase::Creating(until);
    }
}

/// API servers end with the endpoint whose state was saved. With a backend, every cluster that was there waits for
/// another one; without, those that had one say that it is gone. Region and name of each of them.
pub(crate) fn bereaved(store: &mut EksStore) -> Vec<(String, String)> {
    let backed = store.backed;
    let mut bereaved = Vec::new();
    for (region, cluster) in store.all_mut() {
        let waits = cluster.record.phase == Phase::Starting;
        let had_one = waits || matches!(cluster.keys, IssuerKeys::Published(_));
        let there = !matches!(
            cluster.record.phase,
            Phase::Failed | Phase::Deleting(_) | Phase::Ending
        );
        if !there || !(backed || had_one) {
            continue;
        }
        if backed {
            cluster.record.phase = Phase::Starting;
            members::bereaved(cluster);
        } else {
            if waits {
                cluster.record.phase = Phase::Failed;
            }
            cluster.issue = Some(Issue {
                code: "ClusterUnreachable".to_owned(),
                message: "The API server ended with the endpoint whose state this is.".to_owned(),
            });
        }
        bereaved.push((region.to_owned(), cluster.name.clone()));
    }
    bereaved
}

/// What an answer says about a cluster: its endpoint, authority and issuer once it was there.
fn view(cluster: &Cluster) -> Value {
    let mut view = cluster.record.view("arn");
    let issues = cluster
        .issue
        .iter()
        .map(|issue| json!({ "code": issue.code, "message": issue.message, "resourceIds": [cluster.name] }));
    let issues: Vec<Value> = issues.collect();
    view.insert("health".to_owned(), json!({ "issues": issues }));
    if cluster.record.phase.made() {
        view.insert(
            "identity".to_owned(),
            json!({ "oidc": { "issuer": cluster.issuer } }),
        );
    } else {
        view.remove("endpoint");
        view.insert("certificateAuthority".to_owned(), json!({}));
    }
    Value::Object(view)
}

fn supported(version: &str) -> Result<String, EksError> {
    match minor(version) {
        Some(minor) if MINORS.contains(&minor) => Ok(version.to_owned()),
        _ => Err(EksError::parameter("unsupported Kubernetes version")),
    }
}

fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("1.")?.parse().ok()
}

fn mode(text: &str) -> Result<AuthenticationMode, EksError> {
    serde_json::from_value(json!(text))
        .map_err(|_| EksError::parameter(format!("Invalid authentication mode: {text}")))
}

impl std::fmt::Display for AuthenticationMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "CONFIG_MAP",
            Self::ApiAndConfigMap => "API_AND_CONFIG_MAP",
            Self::Api => "API",
        })
    }
}

impl Cluster {
    /// Notes a change; the answer about it.
    pub(super) fn begin(
        &mut self,
        kind: &str,
        params: Vec<(&str, Value)>,
        of: Option<&str>,
        now: Timestamp,
        done: Timestamp,
    ) -> Value {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let params = params
            .into_iter()
            .map(|(kind, value)| (kind.to_owned(), text(value)));
        let update = Update {
            id: uuid::Uuid::new_v4().to_string(),
            kind: kind.to_owned(),
            params: params.collect(),
            created: now,
            done,
            of: of.map(str::to_owned),
            failed: None,
        };
        let answer = json!({ "update": update.view(now) });
        self.updates.insert(update.id.clone(), update);
        answer
    }
}
