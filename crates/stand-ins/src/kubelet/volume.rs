//! One inline CSI volume of one pod: what kubelet asks the driver, and what it makes of the answer.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use mountproof_csi_protocol::csi::{
    NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
    volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{
    Node,
    pod::{CsiSource, Pod},
};
use crate::grpc;

const TOKENS_KEY: &str = "csi.storage.k8s.io/serviceAccount.tokens";

/// What a `CSIDriver` object tells kubelet.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct CsiDriver {
    pub(super) metadata: DriverName,
    #[serde(default)]
    spec: CsiDriverSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct DriverName {
    pub(super) name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CsiDriverSpec {
    pod_info_on_mount: bool,
    requires_republish: bool,
    service_account_token_in_secrets: bool,
    token_requests: Vec<TokenRequest>,
    volume_lifecycle_modes: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TokenRequest {
    audience: String,
    expiration_seconds: Option<i64>,
}

impl CsiDriver {
    pub(super) fn requires_republish(&self) -> bool {
        self.spec.requires_republish
    }
}

/// Whether kubelet believes the volume to be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountState {
    /// Not mounted: nothing to take down.
    Not,
    /// A call ended without saying so.
    Uncertain,
    /// Mounted.
    Mounted,
}

impl MountState {
    /// The state after a publish that failed in `way`. A final error settles what was uncertain; a
    /// mounted volume stays mounted whatever its republish says.
    pub(super) fn after_failure(self, way: Way) -> Self {
        match (self, way) {
            (Self::Uncertain, Way::Final) => Self::Not,
            (Self::Not, Way::Uncertain) => Self::Uncertain,
            (state, _) => state,
        }
    }
}

/// How a publish failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The driver said that it did not mount.
    Final,
    /// The driver may still be at it, or may have mounted.
    Uncertain,
    /// The driver was not asked.
    Unasked,
}

/// A failed publish, with the text of its event.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) way: Way,
    pub(super) message: String,
}

/// One inline CSI volume of a pod.
pub(super) struct CsiVolume {
    pub(super) name: String,
    pub(super) state: MountState,
    source: CsiSource,
    id: String,
    folder: PathBuf,
    tokens: BTreeMap<String, Token>,
}

/// A `ServiceAccount` token as the driver gets it. It has no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(rename = "token")]
    value: String,
    expiration_timestamp: String,
    #[serde(skip)]
    refresh_at: Option<Timestamp>,
}

impl CsiVolume {
    /// The volume `name` of `pod` below kubelet's `root`.
    pub(super) fn new(root: &Path, pod: &Pod, name: &str, source: CsiSource) -> Self {
        let uid = &pod.metadata.uid;
        let folder = root
            .join("pods")
            .join(uid)
            .join("volumes/kubernetes.io~csi")
            .join(name);
        Self {
            name: name.to_owned(),
            state: MountState::Not,
            source,
            id: volume_id(uid, name),
            folder,
            tokens: BTreeMap::new(),
        }
    }

    /// The driver it names.
    pub(super) fn driver(&self) -> &str {
        &self.source.driver
    }

    fn target(&self) -> PathBuf {
        self.folder.join("mount")
    }

    /// One `NodePublishVolume`, with all that kubelet does before and after it.
    pub(super) async fn publish(&mut self, node: &Node, pod: &Pod) -> Result<(), Failure> {
        let object = node.csi_driver(&self.source.driver);
        self.check_lifecycle(object.as_ref()).map_err(|why| Failure {
            way: Way::Unasked,
            message: format!(
                "MountVolume.NewMounter initialization failed for volume \"{}\" : {why}",
                self.name
            ),
        })?;
        let result = self.ask(node, pod, object.as_ref()).await;
        result.map_err(|(way, why)| {
            self.state = self.state.after_failure(way);
            Failure {
                way,
                message: format!("MountVolume.SetUp failed for volume \"{}\" : {why}", self.name),
            }
        })?;
        self.state = MountState::Mounted;
        Ok(())
    }

    fn check_lifecycle(&self, object: Option<&CsiDriver>) -> Result<(), String> {
        let driver = &self.source.driver;
        let Some(object) = object else {
            return Err(format!(
                "volume mode \"Ephemeral\" not supported by driver {driver} (no CSIDriver object)"
            ));
        };
        let modes = &object.spec.volume_lifecycle_modes;
        if modes.iter().any(|mode| mode == "Ephemeral") {
            return Ok(());
        }
        let modes: Vec<String> = modes.iter().map(|mode| format!("{mode:?}")).collect();
        Err(format!(
            "volume mode \"Ephemeral\" not supported by driver {driver} (only supports [{}])",
            modes.join(" ")
        ))
    }

    async fn ask(&mut self, node: &Node, pod: &Pod, object: Option<&CsiDriver>) -> Result<(), (Way, String)> {
        let unasked = |why: String| (Way::Unasked, why);
        let Some(mut driver) = node.drivers.find(&self.source.driver) else {
            return Err(unasked(format!(
                "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {} not found in the list of registered CSI drivers",
                self.source.driver
            )));
        };
        let deadline = Instant::now() + node.publish_deadline;
        self.prepare(node).map_err(|error| {
            unasked(format!(
                "kubernetes.io/csi: mounter.SetUpAt failed to create dir \"{}\":  {error}",
                self.folder.display()
            ))
        })?;
        let mut secrets = self.publish_secrets(node, pod, deadline).await.map_err(unasked)?;
        let mut context = self.source.volume_attributes.clone();
        if let Some(object) = object {
            if object.spec.pod_info_on_mount {
                context.extend(pod_info(pod));
            }
            if !object.spec.token_requests.is_empty() {
                let tokens = self.tokens(node, pod, &object.spec.token_requests).await.map_err(|why| {
                    unasked(format!(
                        "kubernetes.io/csi: mounter.SetUpAt failed to get service accoount token attributes: {why}"
                    ))
                })?;
                let into = if object.spec.service_account_token_in_secrets {
                    &mut secrets
                } else {
                    &mut context
                };
                into.insert(TOKENS_KEY.to_owned(), tokens);
            }
        }
        let mode = if driver.single_node_multi_writer {
            Mode::SingleNodeSingleWriter
        } else {
            Mode::SingleNodeWriter
        };
        let request = NodePublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target().display().to_string(),
            volume_capability: Some(VolumeCapability {
                access_mode: Some(AccessMode { mode: mode.into() }),
                access_type: Some(AccessType::Mount(MountVolume {
                    fs_type: self.source.fs_type.clone().unwrap_or_default(),
                    ..MountVolume::default()
                })),
            }),
            readonly: self.source.read_only,
            secrets: secrets.into_iter().collect(),
            volume_context: context.into_iter().collect(),
            ..NodePublishVolumeRequest::default()
        };
        let call = driver
            .client
            .node_publish_volume(grpc::due(request, Some(deadline)));
        let answer = tokio::time::timeout_at(deadline, call).await;
        let Err(status) = answer.unwrap_or_else(|_| Err(grpc::deadline_exceeded())) else {
            return Ok(());
        };
        let status = grpc::as_seen_by_caller(status);
        if !is_final(&status) {
            return Err((Way::Uncertain, grpc::status_text(&status)));
        }
        remove_folders(&self.folder, &self.target());
        Err((Way::Final, grpc::status_text(&status)))
    }

    /// Makes the parent of the target and notes the volume's data, as kubelet needs it after a restart.
    fn prepare(&self, node: &Node) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.folder)?;
        let data = json!({
            "attachmentID": attachment_id(&self.id, &self.source.driver, &node.name),
            "driverName": self.source.driver,
            "nodeName": node.name,
            "specVolID": self.name,
            "volumeHandle": self.id,
            "volumeLifecycleMode": "Ephemeral",
        });
        fs::write(self.folder.join("vol_data.json"), data.to_string())
    }

    async fn publish_secrets(
        &self,
        node: &Node,
        pod: &Pod,
        deadline: Instant,
    ) -> Result<BTreeMap<String, String>, String> {
        let Some(reference) = &self.source.node_publish_secret_ref else {
            return Ok(BTreeMap::new());
        };
        let (namespace, name) = (&pod.metadata.namespace, &reference.name);
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        let failed = |why: String| format!("fetching NodePublishSecretRef {namespace}/{name} failed: {why}");
        let secret: Value = node
            .api
            .fetch(&path, Some(deadline))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let data: BTreeMap<String, String> = Option::deserialize(&secret["data"])
            .ok()
            .flatten()
            .unwrap_or_default();
        data.into_iter()
            .map(|(key, value)| {
                let bytes = STANDARD
                    .decode(value)
                    .map_err(|error| failed(error.to_string()))?;
                Ok((key, String::from_utf8_lossy(&bytes).into_owned()))
            })
            .collect()
    }

    /// The JSON of one token per audience. Tokens are kept until four fifths of their life have passed.
    async fn tokens(&mut self, node: &Node, pod: &Pod, wanted: &[TokenRequest]) -> Result<String, String> {
        let (namespace, account) = (&pod.metadata.namespace, pod.service_account());
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        for request in wanted {
            let kept = self.tokens.get(&request.audience);
            if kept.is_some_and(|token| token.refresh_at.is_some_and(|at| Timestamp::now() < at)) {
                continue;
            }
            let mut spec = json!({
                "audiences": [request.audience],
                "boundObjectRef": {
                    "kind": "Pod", "apiVersion": "v1",
                    "name": pod.metadata.name, "uid": pod.metadata.uid,
                },
            });
            if let Some(seconds) = request.expiration_seconds {
                spec["expirationSeconds"] = seconds.into();
            }
            let body = json!({
                "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
                "metadata": {}, "spec": spec,
            });
            let answer = node
                .api
                .create(&path, &body)
                .await
                .map_err(|error| error.to_string())?;
            let mut token =
                Token::deserialize(&answer["status"]).map_err(|_| "no token in the answer".to_owned())?;
            token.refresh_at = token
                .expiration_timestamp
                .parse()
                .ok()
                .map(|expires| refresh_at(Timestamp::now(), expires));
            self.tokens.insert(request.audience.clone(), token);
        }
        serde_json::to_string(&self.tokens).map_err(|error| error.to_string())
    }

    /// One `NodeUnpublishVolume`, for a volume that is or may be mounted.
    pub(super) async fn unpublish(&mut self, node: &Node) -> Result<(), String> {
        let Some(mut driver) = node.drivers.find(&self.source.driver) else {
            return Err(format!(
                "driver name {} not found in the list of registered CSI drivers",
                self.source.driver
            ));
        };
        let request = NodeUnpublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target().display().to_string(),
        };
        let deadline = Instant::now() + node.publish_deadline;
        let call = driver
            .client
            .node_unpublish_volume(grpc::due(request, Some(deadline)));
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => return Err(grpc::status_text(&status)),
            Err(_) => return Err(grpc::status_text(&grpc::deadline_exceeded())),
        }
        self.state = MountState::Not;
        remove_folders(&self.folder, &self.target());
        Ok(())
    }
}

/// The id of an inline volume: `csi-` and the SHA-256 of the pod's uid and the volume's name.
fn volume_id(uid: &str, name: &str) -> String {
    format!("csi-{}", sha256_hex(&[uid, name]))
}

fn attachment_id(volume: &str, driver: &str, node: &str) -> String {
    format!("csi-{}", sha256_hex(&[volume, driver, node]))
}

fn sha256_hex(parts: &[&str]) -> String {
    let digest = digest::digest(&digest::SHA256, parts.concat().as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn pod_info(pod: &Pod) -> [(String, String); 5] {
    let meta = &pod.metadata;
    [
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/pod.name", &meta.name),
        ("csi.storage.k8s.io/pod.namespace", &meta.namespace),
        ("csi.storage.k8s.io/pod.uid", &meta.uid),
        ("csi.storage.k8s.io/serviceAccount.name", pod.service_account()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// When a token that lives from `now` to `expires` is asked for anew: with a fifth of its life left.
fn refresh_at(now: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(now).max(SignedDuration::ZERO);
    now + life * 4 / 5
}

/// Whether the driver's error says that nothing was mounted and nothing is going on.
fn is_final(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
    )
}

/// Removes an empty target, and the volume's own folder with it. What is mounted or holds files stays.
fn remove_folders(folder: &Path, target: &Path) {
    if is_mounted(target) {
        return;
    }
    match fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(?target, %error, "target not removed");
            return;
        }
        _ => {}
    }
    let _ = fs::remove_file(folder.join("vol_data.json"));
    let _ = fs::remove_dir(folder);
}

fn is_mounted(target: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    match (device(target), target.parent().and_then(device)) {
        (Some(own), Some(parents)) => own != parents,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_id_is_the_recorded_one() {
        assert_eq!(
            volume_id("626ea22a-18c1-460b-b11f-16518162d482", "secrets-store-inline"),
            "csi-1df4fcab8af22afdca039891268897efea7b4bf26313c12ffe0ee493b4b5a492"
        );
    }

    #[test]
    fn five_codes_are_not_final() {
        for code in 1..=16 {
            let status = Status::new(Code::from_i32(code), "");
            assert_eq!(is_final(&status), ![1, 4, 8, 10, 14].contains(&code), "{code}");
        }
    }

    #[test]
    fn states_after_failures() {
        use MountState::{Mounted, Not, Uncertain};
        for (before, way, after) in [
            (Not, Way::Final, Not),
            (Not, Way::Uncertain, Uncertain),
            (Not, Way::Unasked, Not),
            (Uncertain, Way::Final, Not),
            (Uncertain, Way::Uncertain, Uncertain),
            (Uncertain, Way::Unasked, Uncertain),
            (Mounted, Way::Final, Mounted),
            (Mounted, Way::Uncertain, Mounted),
        ] {
            assert_eq!(before.after_failure(way), after, "{before:?} {way:?}");
        }
    }

    #[test]
    fn tokens_are_renewed_with_a_fifth_of_their_life_left() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().expect("a time");
        let expires = "2026-11-23T15:00:00Z".parse().expect("a time");
        assert_eq!(refresh_at(now, expires).to_string(), "2026-11-23T14:48:00Z");
    }
}
