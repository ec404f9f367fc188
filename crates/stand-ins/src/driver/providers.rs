//! The driver's clients of its providers, found by the name of their sockets.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    provider::{MountRequest, MountResponse, csi_driver_provider_client::CsiDriverProviderClient},
};
use tokio::time::Instant;
use tonic::{Code, Status, transport::Channel};

use crate::grpc;

/// The service config of the real client: attempts, and the pause that grows by a tenth.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// `waitForReady`: without a connection, the call waits for one and looks this often.
const RECONNECT_EVERY: Duration = Duration::from_millis(100);

const LONGEST_NAME: usize = 30;

/// Clients by provider name, each with the socket that it dials. Where a provider moves, a new client follows it, unless
/// it is asked to keep the socket, which is what the release does.
#[derive(Debug)]
pub(super) struct Providers {
    folders: Vec<PathBuf>,
    clients: Mutex<HashMap<String, (PathBuf, CsiDriverProviderClient<Channel>)>>,
}

impl Providers {
    /// Looks in `folders`, in this order.
    pub(super) fn new(folders: Vec<PathBuf>) -> Self {
        Self {
            folders,
            clients: Mutex::default(),
        }
    }

    /// The client of the provider called `name`, or the real driver's words why there is none. `kept` says, where a client
    /// is there already and the provider elsewhere, whether it is taken all the same.
    pub(super) fn client(
        &self,
        name: &str,
        kept: impl FnOnce() -> bool,
    ) -> Result<CsiDriverProviderClient<Channel>, String> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.len() > LONGEST_NAME || !name.bytes().all(plain) {
            return Err(format!("invalid provider: provider {name:?}"));
        }
        let mut sockets = self
            .folders
            .iter()
            .map(|folder| folder.join(format!("{name}.sock")));
        let found = sockets.find(|socket| socket.exists());
        match (clients.get(name), found) {
            // One that is down for now comes back: it is waited for where it was.
            (Some((_, client)), None) => Ok(client.clone()),
            (Some((dialled, client)), Some(found)) if *dialled == found || kept() => Ok(client.clone()),
            (None, None) => Err(format!("provider not found: provider {name:?}")),
            (_, Some(found)) => {
                let client = CsiDriverProviderClient::new(connect(&found));
                clients.insert(name.to_owned(), (found, client.clone()));
                Ok(client)
            }
        }
    }
}

/// Calls `Mount` as the real client does: it waits for a provider that is down, and tries again
/// when one says that it is unavailable.
pub(super) async fn mount(
    client: &mut CsiDriverProviderClient<Channel>,
    request: &MountRequest,
    deadline: Option<Instant>,
) -> Result<MountResponse, Status> {
    let attempts = async {
        let mut attempt = 1;
        let mut pause = FIRST_PAUSE;
        loop {
            let call = client.mount(grpc::due(request.clone(), deadline));
            match call.await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if grpc::is_unconnected(&status) => {
                    tokio::time::sleep(RECONNECT_EVERY).await;
                }
                Err(status) if status.code() == Code::Unavailable && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause.mul_f64(rand::random())).await;
                    attempt += 1;
                    pause = pause.mul_f64(1.1);
                }
                Err(status) => return Err(in_go_words(grpc::as_seen_by_caller(status))),
            }
        }
    };
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, attempts)
            .await
            .unwrap_or_else(|_| Err(grpc::deadline_exceeded())),
        None => attempts.await,
    }
}

/// Go's gRPC has another code and text for an answer that is too large.
fn in_go_words(status: Status) -> Status {
    let sizes = status
        .message()
        .strip_prefix("Error, decoded message length too large: found ")
        .and_then(|rest| rest.strip_suffix(" bytes"))
        .and_then(|rest| rest.split_once(" bytes, the limit is: "));
    match sizes {
        Some((found, limit)) => Status::resource_exhausted(format!(
            "grpc: received message larger than max ({found} vs. {limit})"
        )),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places_of_sockets() {
        let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let providers = Providers::new(folders.iter().map(|folder| folder.path().to_owned()).collect());
        let refused = |name: &str| providers.client(name, || false).map(drop).expect_err("refused");
        assert_eq!(refused("aws"), "provider not found: provider \"aws\"");
        assert_eq!(refused("a.b"), "invalid provider: provider \"a.b\"");
        assert_eq!(
            refused(&"a".repeat(31)),
            format!("invalid provider: provider \"{}\"", "a".repeat(31))
        );
    }

    #[test]
    fn an_answer_too_large_reads_as_in_go() {
        let status = in_go_words(Status::out_of_range(
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        ));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (5000000 vs. 4194304)"
        );
    }
}
