//! `NodePublishVolume` and `NodeUnpublishVolume`, step by step as driver 1.6.0 takes them, with its
//! texts, its codes and, where they are switched on, its hazards.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use mountproof_csi_protocol::{
    csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest},
    provider::{MountRequest, MountResponse},
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Inner, atomic, providers, sync};
use crate::{defects::DriverDefects, go, grpc};

const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// What the provider is told to give files: 0644, as a JSON number.
const PERMISSION: &str = "420";

/// Who asks, for texts and names.
struct Asker {
    namespace: String,
    pod: String,
    uid: String,
    class: String,
}

/// One `NodePublishVolume`; `cancelled` fires when the caller has gone.
pub(super) async fn publish(
    driver: Arc<Inner>,
    request: NodePublishVolumeRequest,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
) -> Result<(), Status> {
    check(&request)?;
    let target = PathBuf::from(&request.target_path);
    let context = &request.volume_context;
    let attribute = |key: &str| context.get(key).cloned().unwrap_or_default();
    let asker = Asker {
        namespace: attribute(POD_NAMESPACE),
        pod: attribute(POD_NAME),
        uid: attribute(POD_UID),
        class: attribute("secretProviderClass"),
    };
    driver.log.info(format!(
        "\"node publish volume\" target={:?} volumeId={:?}",
        request.target_path, request.volume_id
    ));
    if driver.defects.shows(|defects| defects.tokens_in_log) {
        driver.log.leak(format!(
            "\"node publish volume\" attributes={context:?} secrets={:?}",
            request.secrets
        ));
    }

    let hazard = |switch: fn(&DriverDefects) -> bool| driver.defects.shows(switch);
    let filled = is_filled(&driver, &target);
    if let Some(interval) = driver.rotation
        && let Ok(modified) = fs::metadata(&target).and_then(|meta| meta.modified())
        && SystemTime::now() < modified + interval
        // The release does not look at what is in it.
        && (filled || hazard(|defects| defects.fresh_folder_is_done))
    {
        return Ok(());
    }
    let mounted = match driver.mounts.is_mounted(&target) {
        Ok(mounted) => mounted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o750).create(&target);
            made.map_err(|error| {
                Status::internal(format!(
                    "failed to create target path {}, err: {error}",
                    target.display()
                ))
            })?;
            false
        }
        Err(error) => {
            return Err(Status::internal(format!(
                "failed to check if target path {} is mount point, err: {error}",
                target.display()
            )));
        }
    };
    // Nor at more than whether something is mounted.
    let done = filled || (mounted && hazard(|defects| defects.mounted_folder_is_done));
    if driver.rotation.is_none() && done {
        return Ok(());
    }
    if attribute("providerName").eq_ignore_ascii_case("mock_provider") {
        if !mounted {
            mount(&driver, &target)?;
        }
        return Ok(());
    }

    let (provider, attributes) = attributes(&driver, &request, &asker)?;
    if !mounted {
        mount(&driver, &target)?;
    }
    let filled = fill(
        &driver, &request, &asker, &provider, attributes, deadline, cancelled,
    )
    .await;
    match filled {
        Ok(()) => {
            // The release has no other clock than the last write, and what is written anew unchanged is not written.
            if !hazard(|defects| defects.unlimited_rotation) {
                rotated_now(&target);
            }
            Ok(())
        }
        // A republish must not fail: kubelet would remove what is mounted (kubernetes issue 121271).
        Err(status) if done => {
            tracing::warn!(
                pod = asker.pod,
                error = status.message(),
                "republish failed; masked"
            );
            Ok(())
        }
        Err(status) => {
            if let Err(error) = driver.mounts.unmount(&target) {
                tracing::warn!(?target, %error, "failed to unmount target path");
            }
            Err(status)
        }
    }
}

/// Sets the clock of the poll interval: the folder's time.
fn rotated_now(target: &Path) {
    let set = fs::File::open(target).and_then(|folder| folder.set_modified(SystemTime::now()));
    if let Err(error) = set {
        tracing::warn!(?target, %error, "the time of the mount could not be set");
    }
}

/// Whether something is mounted on `target` and holds something.
fn is_filled(driver: &Inner, target: &Path) -> bool {
    driver.mounts.is_mounted(target).unwrap_or(false)
        && fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_some())
}

fn check(request: &NodePublishVolumeRequest) -> Result<(), Status> {
    let missing = if request.volume_capability.is_none() {
        "Volume capability missing in request"
    } else if request.volume_id.is_empty() {
        "Volume ID missing in request"
    } else if request.target_path.is_empty() {
        "Target path missing in request"
    } else if request.volume_context.is_empty() {
        "Volume attributes missing in request"
    } else {
        return Ok(());
    };
    Err(Status::invalid_argument(missing))
}

fn mount(driver: &Inner, target: &Path) -> Result<(), Status> {
    let mounted = driver.mounts.mount(target);
    mounted.map_err(|error| Status::unknown(format!("mount failed: {error}")))
}

/// The provider's name, and its parameters with the pod's attributes and tokens laid over them.
fn attributes(
    driver: &Inner,
    request: &NodePublishVolumeRequest,
    asker: &Asker,
) -> Result<(String, BTreeMap<String, String>), Status> {
    let Asker { namespace, class, .. } = asker;
    if class.is_empty() {
        return Err(Status::unknown("secretProviderClass is not set"));
    }
    let Some(found) = driver.classes.find(namespace, class) else {
        return Err(Status::unknown(format!(
            "failed to get secretproviderclass {namespace}/{class}, error: SecretProviderClass.secrets-store.csi.x-k8s.io {class:?} not found"
        )));
    };
    if found.provider.is_empty() {
        return Err(Status::unknown(format!(
            "provider not set in {namespace}/{class}"
        )));
    }
    if found.parameters.is_empty() {
        return Err(Status::unknown(format!(
            "parameters not set in {namespace}/{class}"
        )));
    }
    let mut parameters = found.parameters;
    let context = &request.volume_context;
    parameters.extend(context.iter().map(|(key, value)| (key.clone(), value.clone())));
    let tokens = request.secrets.get(TOKENS).or_else(|| context.get(TOKENS));
    if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
        parameters.insert(TOKENS.to_owned(), tokens.clone());
    }
    if !request.readonly {
        return Err(Status::invalid_argument("Readonly is not true in request"));
    }
    Ok((found.provider, parameters))
}

/// Asks the provider, writes what it returns, and writes the pod's status object.
async fn fill(
    driver: &Arc<Inner>,
    request: &NodePublishVolumeRequest,
    asker: &Asker,
    provider: &str,
    attributes: BTreeMap<String, String>,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
) -> Result<(), Status> {
    let Asker { namespace, pod, .. } = asker;
    let target = Path::new(&request.target_path);
    if driver.defects.shows(|defects| defects.never_answers) {
        cancelled.cancelled().await;
        return Err(Status::cancelled("context canceled"));
    }
    let versions = if driver.defects.shows(|defects| defects.empty_mount) {
        BTreeMap::new()
    } else {
        let secrets: BTreeMap<_, _> = request.secrets.iter().collect();
        let message = MountRequest {
            attributes: json!(attributes).to_string(),
            secrets: if secrets.is_empty() {
                "null".to_owned()
            } else {
                json!(secrets).to_string()
            },
            target_path: request.target_path.clone(),
            permission: PERMISSION.to_owned(),
            current_object_version: Vec::new(),
        };
        let content = cancelled.run_until_cancelled(content(driver, provider, &message, target, deadline));
        content
            .await
            .unwrap_or_else(|| {
                let status = Status::cancelled("context canceled");
                let text = grpc::status_text(&status);
                Err(Status::new(status.code(), text))
            })
            .map_err(|status| {
                let text = status.message();
                let text =
                    format!("failed to mount secrets store objects for pod {namespace}/{pod}, err: {text}");
                Status::new(status.code(), text)
            })?
    };
    if driver.defects.shows(|defects| defects.no_pod_status) {
        return Ok(());
    }
    let written = super::status::write(driver, asker_status(asker), target, &versions, deadline).await;
    let changed = written.map_err(|error| {
        Status::unknown(format!(
            "failed to create secret provider class pod status for pod {namespace}/{pod}, err: {error}"
        ))
    })?;
    let again = driver
        .defects
        .shows(|defects| defects.rewrites_synced_at_every_publish);
    let known = again.then(|| driver.written.known(target)).flatten();
    if let Some(status) = changed.or(known) {
        // A reconciler's work in the real one: no publish waits for it.
        sync::begin(driver, asker_status(asker), target, &status);
    }
    Ok(())
}

fn asker_status(asker: &Asker) -> super::status::Owner<'_> {
    super::status::Owner {
        namespace: &asker.namespace,
        pod: &asker.pod,
        uid: &asker.uid,
        class: &asker.class,
    }
}

/// What the provider mounted: file name to version. An error's message is ready for wrapping.
async fn content(
    driver: &Inner,
    provider: &str,
    message: &MountRequest,
    target: &Path,
    deadline: Option<Instant>,
) -> Result<BTreeMap<String, String>, Status> {
    let mut client = driver
        .providers
        .client(provider, || {
            driver.defects.shows(|defects| defects.provider_socket_is_kept)
        })
        .map_err(|why| Status::unknown(format!("error connecting to provider {provider:?}: {why}")))?;
    let response = providers::mount(&mut client, message, deadline).await;
    // Go's errors.As finds the provider's status in the wrapped error: its code passes through.
    let response = response.map_err(|status| Status::new(status.code(), grpc::status_text(&status)))?;
    let MountResponse {
        object_version,
        error,
        files,
    } = response;
    if let Some(error) = error.filter(|error| !error.code.is_empty()) {
        return Err(Status::unknown(format!(
            "mount request failed with provider error code {}",
            error.code
        )));
    }
    if object_version.is_empty() {
        return Err(Status::unknown("missing object versions"));
    }
    if !files.is_empty() {
        let target = target.to_owned();
        let written = tokio::task::spawn_blocking(move || atomic::write(&target, &files)).await;
        written
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::unknown(error.to_string()))?;
    }
    let versions = object_version
        .into_iter()
        .map(|object| (object.id, object.version));
    Ok(versions.collect())
}

/// One `NodeUnpublishVolume`: the files, the mount and the folder go.
pub(super) fn unpublish(driver: &Inner, request: &NodeUnpublishVolumeRequest) -> Result<(), Status> {
    if request.volume_id.is_empty() {
        return Err(Status::invalid_argument("Volume ID missing in request"));
    }
    if request.target_path.is_empty() {
        return Err(Status::invalid_argument("Target path missing in request"));
    }
    if driver.defects.shows(|defects| defects.file_left_after_unmount) {
        return Ok(());
    }
    let target = Path::new(&request.target_path);
    driver.written.forget(target);
    driver.synced.forget(target);
    let cleaned = clean(driver, target);
    cleaned.map_err(|error| {
        tracing::error!(?target, %error, "failed to clean and unmount target path");
        Status::internal(format!("remove {}: {}", target.display(), go::io_text(&error)))
    })
}

fn clean(driver: &Inner, target: &Path) -> io::Result<()> {
    let mounted = match driver.mounts.is_mounted(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    super::mount::empty(target)?;
    if mounted {
        driver.mounts.unmount(target)?;
    }
    fs::remove_dir(target)
}
