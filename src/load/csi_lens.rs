//! The csi lens: kubelet's part of a mount, played on the driver's own socket.
//!
//! The time of `NodePublishVolume` is taken here to the nanosecond; a pod's readiness, which kubelet's
//! loops round up to steps of 300 ms, cannot tell 100 ms from 250 ms. Requests carry what kubelet 1.36
//! sends, and after a final error the empty target folder is removed as kubelet does: with rotation on,
//! drivers take a folder that is left for a mount that is done.
//!
//! What differs from kubelet: calls share [`CONNECTIONS`] warm connections (kubelet dials for every
//! call), and no `vol_data.json` is written beside the mount.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{SHA256, digest};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use mountproof_csi_protocol::{
    connect,
    csi::{
        NodeGetInfoRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
        node_client::NodeClient,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
};
use serde::{Deserialize, Serialize};
use tokio::{fs, time::timeout};
use tonic::{Code, Request, Status, transport::Channel};

use super::run_mounts::{MountEnd, MountJob, MountTarget, MountVerdict};

/// Connections that calls take turns on, so that none waits for another's flow control.
pub const CONNECTIONS: usize = 8;
/// Pause before a volume that could not be unpublished is tried again: kubelet's first one.
const UNPUBLISH_AGAIN: Duration = Duration::from_millis(500);
/// Key of the tokens, in whichever place.
const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
/// Name of the pods' volume.
pub const VOLUME: &str = "secrets-store-inline";

/// A client of one driver's socket that does what kubelet does.
#[derive(Debug)]
pub struct CsiClient {
    connections: Vec<NodeClient<Channel>>,
    next: AtomicUsize,
    root: PathBuf,
    /// See [`Self::within`].
    anchor: Option<String>,
}

/// The pod that a volume is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, which is a part of paths.
    pub uid: String,
    /// Its ServiceAccount.
    pub service_account: String,
}

/// One volume to publish.
#[derive(Debug, Clone)]
pub struct PublishJob {
    /// For whom.
    pub pod: PodIdentity,
    /// Name of the SecretProviderClass.
    pub class: String,
    /// Further `volumeAttributes` of the pod's volume.
    pub attributes: BTreeMap<String, String>,
    /// The pod's tokens.
    pub tokens: ServiceAccountTokens,
}

/// Tokens of a pod's ServiceAccount, one an audience, in kubelet's form. Never shown.
#[derive(Clone)]
pub struct ServiceAccountTokens {
    by_audience: String,
    among_secrets: bool,
}

/// A volume that was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The folders above the target could not be made.
    #[error("make {path}: {source}")]
    Prepare {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The driver, or the way to it, said no.
    #[error("{}: {}", code_name(status.code()), status.message())]
    Refused {
        /// What was said.
        status: Status,
        /// Until when, from the call.
        took: Duration,
    },
    /// No answer before the deadline.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Who was to ask the driver could not be asked, or did not say what came of it.
    #[error("{0}")]
    NotAsked(String),
}

/// A volume that could not be unpublished, or is still there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is still there: {because}", path.display())]
pub struct Leftover {
    /// Its target path.
    pub path: PathBuf,
    /// Why.
    pub because: String,
}

impl ServiceAccountTokens {
    /// Of audience, token and expiry of each.
    #[must_use]
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str, Timestamp)>) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Token<'a> {
            token: &'a str,
            expiration_timestamp: String,
        }
        let by_audience: BTreeMap<&str, Token<'_>> = tokens
            .into_iter()
            .map(|(audience, token, expiry)| {
                // Kubernetes' times have whole seconds.
                let expiration_timestamp = expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                (
                    audience,
                    Token {
                        token,
                        expiration_timestamp,
                    },
                )
            })
            .collect();
        Self {
            by_audience: serde_json::to_string(&by_audience).expect("a map of strings is JSON"),
            among_secrets: false,
        }
    }

    /// Among the request's secrets, as kubelet hands them over where the `CSIDriver` has
    /// `serviceAccountTokenInSecrets`; otherwise they are in the volume's context.
    #[must_use]
    pub fn among_secrets(mut self, among_secrets: bool) -> Self {
        self.among_secrets = among_secrets;
        self
    }

    /// The text that the driver is handed and whether it is among the secrets, for whoever hands it over elsewhere.
    #[must_use]
    pub fn expose(&self) -> (&str, bool) {
        (&self.by_audience, self.among_secrets)
    }

    /// What [`Self::expose`] gave.
    #[must_use]
    pub fn exposed(by_audience: String, among_secrets: bool) -> Self {
        Self {
            by_audience,
            among_secrets,
        }
    }
}

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountTokens").finish_non_exhaustive()
    }
}

impl PublishError {
    /// Whether kubelet would take it for final, so that nothing can have been mounted. Timeouts and
    /// four codes leave that in doubt.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Prepare { .. } => true,
            Self::Refused { status, .. } => !matches!(
                status.code(),
                Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Unavailable
                    | Code::ResourceExhausted
                    | Code::Aborted
            ),
            Self::TimedOut(_) | Self::NotAsked(_) => false,
        }
    }
}

impl CsiClient {
    /// A client of the driver at `socket`, for volumes below kubelet's folder `root`. Dials nothing yet.
    #[must_use]
    pub fn new(socket: &Path, root: &Path) -> Self {
        Self {
            connections: (0..CONNECTIONS)
                .map(|_| NodeClient::new(connect(socket)))
                .collect(),
            next: AtomicUsize::new(0),
            root: root.to_owned(),
            anchor: None,
        }
    }

    /// Has the volumes in the folder of a pod that the node's kubelet knows, one beside the other, whosever they are: what is
    /// in the folder of a pod that it does not know, a real one removes as soon as it is not mounted.
    #[must_use]
    pub fn within(mut self, pod_uid: Option<String>) -> Self {
        self.anchor = pod_uid;
        self
    }

    /// Opens every connection with a `NodeGetInfo`, so that no measured call has to.
    pub async fn warm_up(&self, within: Duration) -> Result<(), Status> {
        let calls = self.connections.iter().map(|node| {
            let mut node = node.clone();
            async move {
                node.node_get_info(Request::new(NodeGetInfoRequest {}))
                    .await
                    .map(drop)
            }
        });
        timeout(within, futures::future::try_join_all(calls))
            .await
            .map_err(|_| Status::deadline_exceeded(format!("the driver did not answer within {within:?}")))?
            .map(drop)
    }

    /// Where kubelet has the volume of the pod with this uid.
    #[must_use]
    pub fn target(&self, uid: &str) -> PathBuf {
        self.volume(uid).join("mount")
    }

    /// Publishes a volume; gives the time from the call to its answer.
    pub async fn publish(&self, job: &PublishJob, deadline: Duration) -> Result<Duration, PublishError> {
        let volume = self.volume(&job.pod.uid);
        make_folders(&volume)
            .await
            .map_err(|source| PublishError::Prepare { path: volume, source })?;
        let target = self.target(&job.pod.uid);
        let mut request = Request::new(publish_request(job, &target));
        request.set_timeout(deadline);
        let mut node = self.connection();

        let sent = Instant::now();
        let answer = timeout(deadline, node.node_publish_volume(request)).await;
        let took = sent.elapsed();

        let error = match answer {
            Ok(Ok(_)) => return Ok(took),
            Ok(Err(status)) if took < deadline => PublishError::Refused {
                status: as_kubelet_sees(status),
                took,
            },
            // Which of the deadlines came first, the channel's or this one, is chance.
            Ok(Err(_)) | Err(_) => PublishError::TimedOut(deadline),
        };
        if error.is_final() {
            self.remove_target(&target).await;
        }
        Err(error)
    }

    /// Unpublishes a volume and removes its folders; gives the time from the call to its answer.
    pub async fn unpublish(&self, uid: &str, deadline: Duration) -> Result<Duration, Leftover> {
        let target = self.target(uid);
        let left = |because: String| Leftover {
            path: target.clone(),
            because,
        };
        let mut request = Request::new(NodeUnpublishVolumeRequest {
            volume_id: volume_id(uid),
            target_path: target.display().to_string(),
        });
        request.set_timeout(deadline);
        let mut node = self.connection();
        let sent = Instant::now();
        let answer = timeout(deadline, node.node_unpublish_volume(request)).await;
        let took = sent.elapsed();
        match answer {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => {
                return Err(left(format!(
                    "{}: {}",
                    code_name(status.code()),
                    status.message()
                )));
            }
            Err(_) => return Err(left(format!("no answer within {deadline:?}"))),
        }
        self.remove_target(&target).await;
        match fs::symlink_metadata(&target).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(took),
            Ok(_) => Err(left("the driver answered, and left it".to_owned())),
            Err(error) => Err(left(error.to_string())),
        }
    }

    fn connection(&self) -> NodeClient<Channel> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].clone()
    }

    fn volume(&self, uid: &str) -> PathBuf {
        let (pod, volume) = match &self.anchor {
            None => (uid, VOLUME.to_owned()),
            Some(anchor) => (anchor.as_str(), format!("{VOLUME}-{uid}")),
        };
        self.root
            .join("pods")
            .join(pod)
            .join("volumes/kubernetes.io~csi")
            .join(volume)
    }

    /// Removes the target, unless something is mounted there, and the pod's folders above it. Only ever
    /// empty folders: a file in one is evidence.
    async fn remove_target(&self, target: &Path) {
        if is_mount_point(target).await {
            return;
        }
        let pods = self.root.join("pods");
        let kept = match &self.anchor {
            None => pods,
            Some(anchor) => pods.join(anchor).join("volumes/kubernetes.io~csi"),
        };
        for folder in target.ancestors().take_while(|folder| *folder != kept) {
            if let Err(error) = fs::remove_dir(folder).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!(folder = %folder.display(), %error, "left");
                return;
            }
        }
    }
}

/// Looks at a published volume, outside of the measured time; the error says what is wrong with it.
pub type Check = dyn Fn(&PublishJob, &Path) -> Result<(), String> + Send + Sync;

/// The [`MountTarget`] of the csi lens: a job prepared for every planned mount.
pub struct CsiLens {
    client: CsiClient,
    jobs: Vec<Arc<PublishJob>>,
    check: Arc<Check>,
    /// Indexes of jobs with something published, or in doubt.
    published: Mutex<BTreeSet<usize>>,
}

impl CsiLens {
    /// `jobs` stand in the order of the plan. `check` runs on a thread that may block.
    #[must_use]
    pub fn new(client: CsiClient, jobs: Vec<PublishJob>, check: Arc<Check>) -> Self {
        let jobs = jobs.into_iter().map(Arc::new).collect();
        Self {
            client,
            jobs,
            check,
            published: Mutex::default(),
        }
    }

    /// Opens the connections; call it before the measurement.
    pub async fn warm_up(&self, within: Duration) -> Result<(), Status> {
        self.client.warm_up(within).await
    }

    /// Unpublishes all that was published or is in doubt, `parallel` at a time, and like kubelet tries
    /// again what is refused (a mount may be busy) until the deadline of each. Call it after the
    /// measurement, whatever became of that; a second call tries the leftovers again.
    pub async fn unpublish_all(&self, parallel: usize, deadline: Duration) -> Vec<Leftover> {
        let indexes: Vec<usize> = self.published().iter().copied().collect();
        stream::iter(indexes)
            .map(|index| async move {
                let result = self.unpublish(index, Instant::now() + deadline).await;
                if result.is_ok() {
                    self.published().remove(&index);
                }
                result.err()
            })
            .buffer_unordered(parallel.max(1))
            .filter_map(|leftover| async move { leftover })
            .collect()
            .await
    }

    async fn unpublish(&self, index: usize, until: Instant) -> Result<(), Leftover> {
        let uid = &self.jobs[index].pod.uid;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.client.unpublish(uid, left).await {
                Ok(_) => return Ok(()),
                Err(leftover) if Instant::now() + UNPUBLISH_AGAIN >= until => return Err(leftover),
                Err(_) => tokio::time::sleep(UNPUBLISH_AGAIN).await,
            }
        }
    }

    fn published(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CsiLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsiLens")
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl MountTarget for CsiLens {
    async fn mount(&self, job: MountJob) -> MountEnd {
        let index = job.index as usize;
        let Some(publish) = self.jobs.get(index).map(Arc::clone) else {
            return MountVerdict::Failed("no job was prepared for this mount".to_owned()).into();
        };
        // Before the call: when the deadline drops this future, what it did is in doubt.
        self.published().insert(index);
        let took = match self.client.publish(&publish, job.deadline).await {
            Ok(took) => took,
            Err(error) => {
                if error.is_final() {
                    self.published().remove(&index);
                }
                return refused(&error);
            }
        };
        let (check, target) = (Arc::clone(&self.check), self.client.target(&publish.pod.uid));
        let verdict = match tokio::task::spawn_blocking(move || check(&publish, &target)).await {
            Ok(Ok(())) => MountVerdict::Ok,
            Ok(Err(wrong)) => MountVerdict::Failed(wrong),
            Err(_) => MountVerdict::Failed("the check of its files panicked".to_owned()),
        };
        MountEnd {
            took: Some(took),
            ..verdict.into()
        }
    }
}

fn refused(error: &PublishError) -> MountEnd {
    let (verdict, took) = match error {
        PublishError::TimedOut(deadline) => (MountVerdict::TimedOut, Some(*deadline)),
        PublishError::Refused { status, took } if status.code() == Code::DeadlineExceeded => {
            (MountVerdict::TimedOut, Some(*took))
        }
        PublishError::Refused { took, .. } => (MountVerdict::Failed(error.to_string()), Some(*took)),
        PublishError::Prepare { .. } | PublishError::NotAsked(_) => {
            (MountVerdict::Failed(error.to_string()), None)
        }
    };
    MountEnd {
        took,
        ..verdict.into()
    }
}

/// What kubelet 1.36 sends for an inline volume of a CSIDriver with `podInfoOnMount` and `tokenRequests`.
fn publish_request(job: &PublishJob, target: &Path) -> NodePublishVolumeRequest {
    let mut volume_context: std::collections::HashMap<String, String> = job
        .attributes
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // Kubelet's own keys come last: a pod's author cannot overrule them.
    for (key, value) in [
        ("secretProviderClass", job.class.as_str()),
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", &job.pod.name),
        ("csi.storage.k8s.io/pod.namespace", &job.pod.namespace),
        ("csi.storage.k8s.io/pod.uid", &job.pod.uid),
        ("csi.storage.k8s.io/serviceAccount.name", &job.pod.service_account),
    ] {
        volume_context.insert(key.to_owned(), value.to_owned());
    }
    let mut secrets = std::collections::HashMap::new();
    let place = if job.tokens.among_secrets {
        &mut secrets
    } else {
        &mut volume_context
    };
    place.insert(TOKENS.to_owned(), job.tokens.by_audience.clone());
    NodePublishVolumeRequest {
        volume_id: volume_id(&job.pod.uid),
        target_path: target.display().to_string(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume::default())),
            access_mode: Some(AccessMode {
                mode: Mode::SingleNodeWriter.into(),
            }),
        }),
        readonly: true,
        secrets,
        volume_context,
        ..NodePublishVolumeRequest::default()
    }
}

/// Kubelet's handle of an inline volume: SHA-256 of the pod's uid and the volume's name.
fn volume_id(uid: &str) -> String {
    let hash = digest(&SHA256, format!("{uid}{VOLUME}").as_bytes());
    hash.as_ref()
        .iter()
        .fold("csi-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

/// Folders for which only kubelet and its group may look, as it makes them.
async fn make_folders(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .await
}

/// Whether another file system begins at `path`, as kubelet's quick check has it.
pub async fn is_mount_point(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return true };
    match (
        fs::symlink_metadata(path).await,
        fs::symlink_metadata(parent).await,
    ) {
        (Ok(path), Ok(parent)) => path.dev() != parent.dev(),
        _ => false,
    }
}

/// Between two looks at whether a publish has come as far as to mount something.
const LOOK: Duration = Duration::from_millis(5);
/// How long a folder stands until something is mounted on it, or nothing that can be seen will be.
const MOUNTING: Duration = Duration::from_millis(500);

/// Waits until a publish has mounted something at `target`, as far as that can be seen: where mounts are plain folders,
/// the folder is all there is to see.
pub async fn begun(target: &Path) {
    let mut stands_since = None;
    loop {
        if target.exists() {
            let since = *stands_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= MOUNTING || is_mount_point(target).await {
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A connection that breaks under a call, or cannot be had, is `Unavailable` to kubelet's client, and so not final. Ours
/// has other codes for that, and says what broke; what a driver answered breaks nothing.
fn as_kubelet_sees(status: Status) -> Status {
    use std::error::Error as _;
    let mut broke = status.source();
    if broke.is_none() || matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
        return status;
    }
    // What lies deepest says most.
    while let Some(deeper) = broke.and_then(std::error::Error::source) {
        broke = Some(deeper);
    }
    Status::unavailable(broke.map(ToString::to_string).unwrap_or_default())
}

/// The code's name as Go, and so every event and log of Kubernetes, spells it.
fn code_name(code: Code) -> String {
    match code {
        Code::Cancelled => "Canceled".to_owned(),
        Code::Ok => "OK".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
