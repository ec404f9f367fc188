//! Plugin registration: drivers announce themselves by a socket in `plugins_registry`.
//!
//! The folder is looked at every 50 ms of real time, where a real kubelet is told by inotify.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    csi::{
        NodeGetCapabilitiesRequest, NodeGetInfoRequest,
        node_client::NodeClient,
        node_service_capability::{Type, rpc},
    },
    registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::rest::{ApiClient, ApiError};

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest time for one call of a registration, and of the driver's answers to it.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// A registered driver.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    pub(super) client: NodeClient<Channel>,
    /// Whether `SINGLE_NODE_SINGLE_WRITER` and its like may be asked for.
    pub(super) single_node_multi_writer: bool,
    node_id: String,
    socket: PathBuf,
}

/// The drivers registered with this kubelet, by name.
#[derive(Debug, Default)]
pub(super) struct Drivers(Mutex<HashMap<String, Registered>>);

impl Drivers {
    pub(super) fn find(&self, name: &str) -> Option<Registered> {
        self.lock().get(name).cloned()
    }

    /// Watches `registry` for sockets, forever.
    pub(super) async fn follow(&self, registry: &Path, api: &ApiClient, node: &str) {
        let mut known: HashSet<PathBuf> = HashSet::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let present = sockets(registry);
            let gone: Vec<PathBuf> = known.difference(&present).cloned().collect();
            let new: Vec<PathBuf> = present.difference(&known).cloned().collect();
            if !gone.is_empty() {
                known.retain(|socket| present.contains(socket));
                self.lock().retain(|_, driver| present.contains(&driver.socket));
                self.publish(api, node).await;
            }
            for socket in new {
                match self.register(&socket, api, node).await {
                    Ok(name) => {
                        tracing::info!(driver = name, "registered");
                        known.insert(socket);
                    }
                    // Its server may not listen yet; the next look tries again.
                    Err(why) => tracing::debug!(?socket, why, "not registered"),
                }
            }
        }
    }

    async fn register(&self, socket: &Path, api: &ApiClient, node: &str) -> Result<String, String> {
        let mut registrar = RegistrationClient::new(connect(socket));
        let info = in_time(registrar.get_info(InfoRequest {})).await?;
        let outcome = if info.r#type == "CSIPlugin" {
            self.admit(&info.name, Path::new(&info.endpoint), socket).await
        } else {
            Err(format!("no handler registered for plugin type: {}", info.r#type))
        };
        if outcome.is_ok() {
            self.publish(api, node).await;
        }
        let status = RegistrationStatus {
            plugin_registered: outcome.is_ok(),
            error: outcome.clone().err().unwrap_or_default(),
        };
        in_time(registrar.notify_registration_status(status)).await?;
        outcome.map(|()| info.name)
    }

    async fn admit(&self, name: &str, endpoint: &Path, socket: &Path) -> Result<(), String> {
        let mut client = NodeClient::new(connect(endpoint)).max_decoding_message_size(usize::MAX);
        let info = in_time(client.node_get_info(NodeGetInfoRequest {})).await?;
        let capabilities = in_time(client.node_get_capabilities(NodeGetCapabilitiesRequest {})).await?;
        let single_node_multi_writer = capabilities.capabilities.iter().any(|capability| {
            matches!(&capability.r#type, Some(Type::Rpc(found)) if found.r#type() == rpc::Type::SingleNodeMultiWriter)
        });
        let driver = Registered {
            client,
            single_node_multi_writer,
            node_id: info.node_id,
            socket: socket.to_owned(),
        };
        self.lock().insert(name.to_owned(), driver);
        Ok(())
    }

    /// Writes the registered drivers into the node's `CSINode`.
    async fn publish(&self, api: &ApiClient, node: &str) {
        let drivers: BTreeMap<String, String> = self
            .lock()
            .iter()
            .map(|(name, driver)| (name.clone(), driver.node_id.clone()))
            .collect();
        if let Err(error) = publish_csi_node(api, node, &drivers).await {
            tracing::warn!(%error, "CSINode not written");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Registered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates or updates the `CSINode` named after the node: driver name to node id.
pub(super) async fn publish_csi_node(
    api: &ApiClient,
    node: &str,
    drivers: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    const COLLECTION: &str = "/apis/storage.k8s.io/v1/csinodes";
    let drivers: Vec<Value> = drivers
        .iter()
        .map(|(name, id)| json!({"name": name, "nodeID": id, "topologyKeys": null}))
        .collect();
    let path = format!("{COLLECTION}/{node}");
    // Three tries: someone else may write between our read and our update.
    for last in [false, false, true] {
        let written = match api.fetch::<Value>(&path, None).await {
            Ok(mut found) => {
                found["spec"] = json!({"drivers": drivers});
                api.update(&path, &found).await
            }
            Err(error) if error.is_not_found() => {
                let object = json!({
                    "apiVersion": "storage.k8s.io/v1", "kind": "CSINode",
                    "metadata": {"name": node}, "spec": {"drivers": drivers},
                });
                api.create(COLLECTION, &object).await
            }
            Err(error) => Err(error),
        };
        match written {
            Err(error) if error.is_conflict() && !last => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

async fn in_time<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(crate::grpc::status_text(&status)),
        Err(_) => Err("deadline exceeded".to_owned()),
    }
}

fn sockets(registry: &Path) -> HashSet<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(entries) = std::fs::read_dir(registry) else {
        return HashSet::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| entry.path())
        .collect()
}
