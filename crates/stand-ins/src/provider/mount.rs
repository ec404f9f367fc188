//! `Mount`, in the order in which provider 3.1.1 goes about it and with its texts.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use mountproof_csi_protocol::provider::{File, MountRequest, MountResponse, ObjectVersion};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Inner,
    agent::AgentClient,
    aws::{ApiFailure, Fetched, Identity, Region},
    descriptor::{self, Descriptor, Kind},
    go_json,
    tokens::{IRSA, POD_IDENTITY, Tokens},
    value::{self, SecretBytes, SecretFile},
};
use crate::go;

const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";
const REGION_LABEL: &str = "topology.kubernetes.io/region";

/// Versions by file name: what the driver is told.
type Versions = BTreeMap<String, String>;

/// What the driver says about the pod and its class.
struct Asked {
    attributes: BTreeMap<String, String>,
}

impl Asked {
    fn text(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    fn namespace(&self) -> &str {
        self.text("csi.storage.k8s.io/pod.namespace")
    }

    fn pod(&self) -> &str {
        self.text("csi.storage.k8s.io/pod.name")
    }

    fn account(&self) -> &str {
        self.text("csi.storage.k8s.io/serviceAccount.name")
    }
}

/// One `Mount`. An error's text is the whole description of an `Unknown` status.
pub(super) async fn mount(
    provider: &Inner,
    request: MountRequest,
    deadline: Option<Instant>,
) -> Result<MountResponse, String> {
    provider.log.info(if provider.driver_writes_secrets {
        "Driver is configured to write secrets".to_owned()
    } else {
        "Provider is configured to write secrets".to_owned()
    });
    if request.target_path.is_empty() {
        return Err("Missing mount path".to_owned());
    }
    let asked = Asked {
        attributes: texts(&request.attributes)
            .map_err(|why| format!("failed to unmarshal attributes, error: {why}"))?,
    };
    let tokens = Tokens::parse(asked.text("csi.storage.k8s.io/serviceAccount.tokens")).map_err(|why| {
        format!("CSI token error: {why} - ensure tokenRequests is configured in CSIDriver spec")
    })?;
    permission(&request.permission)
        .map_err(|why| format!("failed to unmarshal file permission, error: {why}"))?;
    let names = regions(provider, &asked, deadline).await.inspect_err(|error| {
        provider
            .log
            .error(format!("\"Failed to initialize AWS session\" err={error:?}"));
    })?;
    provider.log.info(format!(
        "Servicing mount request for pod {} in namespace {} using service account {} with region(s) {}",
        asked.pod(),
        asked.namespace(),
        asked.account(),
        names.join(", ")
    ));
    let identity = identity(provider, &asked, &tokens, deadline).await?;
    let clients = names.iter().map(|name| {
        let client = Region::new(&provider.reach, name, identity.clone());
        client.map_err(|why| format!("{name}: {why}"))
    });
    let mut clients: Vec<Region> = clients.collect::<Result<_, _>>()?;
    let mut descriptors = descriptor::parse(asked.text("objects"), asked.text("pathTranslation"), &names)
        .and_then(|descriptors| once_each(provider, descriptors))
        .inspect_err(|error| {
            provider
                .log
                .error(format!("Failure reading descriptor list: {error}"));
        })?;

    if provider.defects.shows(|defects| defects.ignores_permission) {
        descriptors.iter_mut().for_each(Descriptor::forget_permission);
    }

    let current = request.current_object_version.into_iter();
    let mut versions: Versions = current.map(|object| (object.id, object.version)).collect();
    let target = Path::new(&request.target_path);
    let mut files = Vec::new();
    for descriptor in &descriptors {
        if descriptor.kind() == Some(Kind::SsmParameter) {
            return Err(format!(
                "ssmparameter objects are not imitated by this stand-in: {}",
                descriptor.name
            ));
        }
        let tenant = format!("{}/{}", asked.namespace(), asked.account());
        let fetched = fetch(provider, &mut clients, descriptor, &mut versions, target, &tenant).await;
        files.extend(fetched.inspect_err(|error| {
            provider.log.error(format!(
                "Failure getting secret values from provider type secretsmanager: {error}"
            ));
        })?);
    }
    apply_defects(provider, target, &mut files);
    let files = place(provider, target, files).await?;
    let versions = versions.into_iter();
    Ok(MountResponse {
        object_version: versions
            .map(|(id, version)| ObjectVersion { id, version })
            .collect(),
        error: None,
        files,
    })
}

/// A JSON object whose values are texts.
fn texts(json: &str) -> Result<BTreeMap<String, String>, String> {
    let value = go_json::parse(json)?;
    let Value::Object(fields) = value else {
        return Err(go_json::mismatch(&value, "map[string]string"));
    };
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name, text)),
            other => Err(go_json::mismatch(&other, "string")),
        })
        .collect()
}

/// The objects, unless a defect lets none name a secret that another has named.
fn once_each(provider: &Inner, descriptors: Vec<Descriptor>) -> Result<Vec<Descriptor>, String> {
    let mut names = HashSet::new();
    let twice = descriptors
        .iter()
        .find(|descriptor| !names.insert(&descriptor.name));
    match twice {
        Some(twice) if provider.defects.shows(|defects| defects.refuses_secret_twice) => {
            Err(format!("Name already in use for objectName: {}", twice.name))
        }
        _ => Ok(descriptors),
    }
}

/// A file permission, which must be a number; what it is does not matter, for the driver sends one only.
fn permission(json: &str) -> Result<(), String> {
    let value = go_json::parse(json)?;
    match value.as_u64().map(u32::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(go_json::mismatch(&value, go_json::FILE_MODE)),
    }
}

/// The primary region, and the failover one where there is one.
async fn regions(provider: &Inner, asked: &Asked, deadline: Option<Instant>) -> Result<Vec<String>, String> {
    let mut primary = asked.text("region").to_owned();
    if primary.is_empty() {
        primary = match &provider.region {
            Some(region) => region.clone(),
            None => node_region(provider, asked, deadline)
                .await
                .map_err(|why| format!("failed to retrieve region from node. error {why}"))?,
        };
    }
    let failover = asked.text("failoverRegion").to_owned();
    if failover == primary {
        return Err(format!(
            "{primary}: failover region cannot be the same as the primary region"
        ));
    }
    let mut regions = vec![primary];
    if !failover.is_empty() {
        regions.push(failover);
    }
    Ok(regions)
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labelled {
    metadata: Labels,
    spec: Placed,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labels {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Placed {
    node_name: String,
}

async fn node_region(provider: &Inner, asked: &Asked, deadline: Option<Instant>) -> Result<String, String> {
    let pod = format!("/api/v1/namespaces/{}/pods/{}", asked.namespace(), asked.pod());
    let pod: Labelled = provider
        .api
        .fetch(&pod, deadline)
        .await
        .map_err(|error| error.to_string())?;
    let node = format!("/api/v1/nodes/{}", pod.spec.node_name);
    let node: Labelled = provider
        .api
        .fetch(&node, deadline)
        .await
        .map_err(|error| error.to_string())?;
    let region = node
        .metadata
        .labels
        .get(REGION_LABEL)
        .cloned()
        .unwrap_or_default();
    if region.is_empty() {
        Err("Region not found".to_owned())
    } else {
        Ok(region)
    }
}

/// Where the mount's credentials come from: STS for the role of the pod's `ServiceAccount`, or the agent on the node.
async fn identity(
    provider: &Inner,
    asked: &Asked,
    tokens: &Tokens,
    deadline: Option<Instant>,
) -> Result<Identity, String> {
    let pod_identity = match asked.text("usePodIdentity") {
        "" | "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
        "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
        other => {
            return Err(format!(
                "failed to parse usePodIdentity value, error: strconv.ParseBool: parsing {other:?}: invalid syntax"
            ));
        }
    };
    if pod_identity {
        let token = tokens
            .token(POD_IDENTITY)
            .map_err(|why| format!("Pod Identity token extraction failed: {why}"))?;
        let preferred = asked.text("preferredAddressType");
        let agent = AgentClient::new(&provider.agents, preferred, token);
        return Ok(Identity::PodIdentity(agent));
    }
    let token = tokens
        .token(IRSA)
        .map_err(|why| format!("IRSA token extraction failed: {why}"))?;
    let (namespace, account) = (asked.namespace(), asked.account());
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
    let found: Labelled = provider
        .api
        .fetch(&path, deadline)
        .await
        .map_err(|error| format!("failed to get service account {namespace}/{account}: {error}"))?;
    let role = found
        .metadata
        .annotations
        .get(ROLE_ANNOTATION)
        .cloned()
        .unwrap_or_default();
    if role.is_empty() {
        return Err(format!(
            "An IAM role must be associated with service account {account} (namespace: {namespace})"
        ));
    }
    provider
        .log
        .info(format!("Role ARN for {namespace}:{account} is {role}"));
    Ok(Identity::WebIdentity { role, token })
}

/// Why a region had no files of an object.
struct Missed {
    fatal: bool,
    denial: bool,
    text: String,
}

/// The files of one object: the first region's that has them. Every region is asked.
async fn fetch(
    provider: &Inner,
    regions: &mut [Region],
    descriptor: &Descriptor,
    versions: &mut Versions,
    target: &Path,
    tenant: &str,
) -> Result<Vec<SecretFile>, String> {
    let mut found = Vec::new();
    let fails_over = regions.len() > 1;
    for (index, region) in regions.iter_mut().enumerate() {
        match fetch_in(provider, region, index > 0, descriptor, versions, target, tenant).await {
            // What the provider's page says of failover: any 4XX of a region fails the mount.
            Err(missed)
                if fails_over
                    && missed.denial
                    && !provider.defects.shows(|defects| defects.failover_after_denial) =>
            {
                return Err(missed.text);
            }
            Ok(files) if found.is_empty() => found = files,
            Ok(_) => {}
            Err(missed) if missed.fatal => return Err(missed.text),
            Err(missed) => provider.log.warning(missed.text),
        }
    }
    if found.is_empty() {
        return Err(format!(
            "Failed to fetch secret from all regions. Verify secret exists and required permissions are granted for: {}",
            descriptor.name
        ));
    }
    Ok(found)
}

async fn fetch_in(
    provider: &Inner,
    region: &mut Region,
    failover: bool,
    descriptor: &Descriptor,
    versions: &mut Versions,
    target: &Path,
    tenant: &str,
) -> Result<Vec<SecretFile>, Missed> {
    let generic = |text: String| Missed {
        fatal: false,
        denial: false,
        text,
    };
    let file = descriptor.file_name();
    let known = versions.get(&file).cloned();
    let is_current = match &known {
        None => false,
        Some(known) => is_current(region, failover, descriptor, known).await?,
    };
    let fetched = match known.filter(|_| is_current) {
        Some(version) => {
            let path = target.join(&file);
            let value = fs::read(&path).map_err(|_| {
                generic(format!(
                    "failed to read secret {}: open {}: no such file or directory",
                    descriptor.name,
                    path.display()
                ))
            })?;
            Fetched {
                version,
                value: SecretBytes::new(value),
            }
        }
        None => secret_value(provider, region, failover, descriptor, tenant)
            .await
            .map_err(|failure| Missed {
                fatal: failure.fatal,
                denial: failure.is_denial(),
                text: format!(
                    "{}: Failed fetching secret {}: {}",
                    region.name, descriptor.name, failure.text
                ),
            })?,
    };
    let files = value::files(descriptor, fetched.value).map_err(generic)?;
    for file in &files {
        versions.insert(file.name.clone(), fetched.version.clone());
    }
    Ok(files)
}

/// Whether the version that is mounted is still the one that is wanted.
async fn is_current(
    region: &mut Region,
    failover: bool,
    descriptor: &Descriptor,
    known: &str,
) -> Result<bool, Missed> {
    let pinned = descriptor.secret_version(failover);
    if !pinned.is_empty() {
        return Ok(known == pinned);
    }
    let stages = region.stages(descriptor.secret_name(failover), known).await;
    let stages = stages.map_err(|failure| Missed {
        fatal: failure.fatal,
        denial: failure.is_denial(),
        text: format!(
            "{}: Failed to describe secret {}: {}",
            region.name, descriptor.name, failure.text
        ),
    })?;
    let label = match descriptor.secret_version_label(failover) {
        "" => "AWSCURRENT",
        label => label,
    };
    Ok(stages.iter().any(|stage| stage == label))
}

/// `GetSecretValue`; here four of the planted defects do their harm.
async fn secret_value(
    provider: &Inner,
    region: &mut Region,
    failover: bool,
    descriptor: &Descriptor,
    tenant: &str,
) -> Result<Fetched, ApiFailure> {
    let other_tenants = provider.defects.shows(|defects| defects.other_tenants_secret);
    let ignores_version = provider.defects.shows(|defects| defects.ignores_version);
    let name = descriptor.secret_name(failover);
    let (version, label) = if ignores_version {
        ("", "")
    } else {
        (
            descriptor.secret_version(failover),
            descriptor.secret_version_label(failover),
        )
    };
    if other_tenants {
        for other in provider.spoils.credentials_but(tenant) {
            if let Ok(fetched) = region.secret_value(name, version, label, Some(&other)).await {
                return Ok(fetched);
            }
        }
    }
    if provider.defects.shows(|defects| defects.fetches_twice) {
        let _ = region.secret_value(name, version, label, None).await;
    }
    let fetched = region.secret_value(name, version, label, None).await;
    if other_tenants && let Some(own) = region.credentials() {
        provider.spoils.keep_credentials(tenant, own);
    }
    match fetched {
        Err(failure) if failure.is_denial() && provider.defects.shows(|defects| defects.ignores_denial) => {
            Ok(Fetched {
                version: String::new(),
                value: SecretBytes::default(),
            })
        }
        other => other,
    }
}

fn apply_defects(provider: &Inner, target: &Path, files: &mut [SecretFile]) {
    let wrong_mode = provider.defects.shows(|defects| defects.wrong_mode);
    let stale = provider.defects.shows(|defects| defects.stale_after_rotation);
    for file in files {
        if wrong_mode {
            file.mode = 0o666;
        }
        if stale {
            file.value = provider.spoils.first_value(&target.join(&file.name), &file.value);
        }
    }
}

/// Writes the files, or returns them for the driver to write.
async fn place(provider: &Inner, target: &Path, files: Vec<SecretFile>) -> Result<Vec<File>, String> {
    if provider.driver_writes_secrets {
        let files = files.into_iter().map(|file| File {
            path: file.name,
            mode: i32::try_from(file.mode).unwrap_or_default(),
            contents: file.value.into_exposed(),
        });
        return Ok(files.collect());
    }
    let target = target.to_owned();
    let written = tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| write(&target, file)));
    written.await.map_err(|error| error.to_string())??;
    Ok(Vec::new())
}

/// Writes one file beside its place and renames it there, so that no reader sees half of it.
fn write(folder: &Path, file: &SecretFile) -> Result<(), String> {
    let SecretFile { name, mode, value } = file;
    if name.contains('/') {
        return Err(format!("createtemp {name}: pattern contains path separator"));
    }
    let temporary = folder.join(format!("{name}{}", rand::random::<u32>()));
    let failed = |what: &str, error: &io::Error| {
        let _ = fs::remove_file(&temporary);
        format!("{what} {}: {}", temporary.display(), go::io_text(error))
    };
    let mut open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(|error| failed("open", &error))?;
    // Go's file modes keep set-uid and the like elsewhere: only the nine bits take effect.
    open.set_permissions(fs::Permissions::from_mode(*mode & 0o777))
        .and_then(|()| open.write_all(value.expose()))
        .map_err(|error| failed("write", &error))?;
    open.sync_all().map_err(|error| failed("sync", &error))?;
    let place = match name.as_str() {
        "." => folder.to_owned(),
        ".." => folder.parent().unwrap_or(folder).to_owned(),
        name => folder.join(name),
    };
    // Go looks before it renames onto a folder.
    if place.is_dir() {
        let _ = fs::remove_file(&temporary);
        return Err(format!(
            "rename {} {}: file exists",
            temporary.display(),
            place.display()
        ));
    }
    fs::rename(&temporary, place).map_err(|error| failed("rename", &error))
}
