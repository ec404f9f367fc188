//! `pods/portforward`: a connection to a port in a pod, as a WebSocket.
//!
//! As kube-apiserver serves it over `v4.channel.k8s.io`: of each port one channel for bytes and one for what went wrong, each
//! of which begins with the port's number; a message begins with its channel's. Left out: SPDY, and more than one port.

use std::{io, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{App, answer::Answer};
use crate::kubernetes::{
    failure::Failure,
    request::{self, Query, Target},
    stored::Key,
};

/// The protocol that is spoken.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// Bytes in one message at most.
const CHUNK: usize = 32 * 1024;
/// Channels of the only port.
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Both directions of a connection to a pod.
pub trait PodStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PodStream for T {}

/// The ports of a cluster's pods: what its kubelets would be asked for.
pub trait PodPorts: Send + Sync {
    /// Connects to a port on the loopback of a pod on a node.
    ///
    /// # Errors
    ///
    /// Where nobody listens there.
    fn dial<'a>(
        &'a self,
        node: &'a str,
        pod_uid: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Box<dyn PodStream>>>;
}

impl App {
    /// Answers a request for a port of a pod's, if it is one.
    pub(super) fn forwarded(self: &Arc<Self>, request: &mut Request) -> Option<Response> {
        let path = request.uri().path().to_owned();
        if !path.ends_with("/portforward") {
            return None;
        }
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let asked = self.asked(&path, request);
        Some(match (asked, upgrade) {
            (Ok(asked), Some(upgrade)) => self.switched(asked, upgrade, request.headers()),
            (Err(failure), _) => refused(&failure),
            (Ok(_), None) => refused(&Failure::bad_request(
                "unable to upgrade: it is no upgrade".to_owned(),
            )),
        })
    }

    fn asked(&self, path: &str, request: &Request) -> Result<Asked, Failure> {
        let query = Query::parse(request.uri().query());
        let (Target::Objects(place), Some(_)) =
            (request::target(path), self.authenticate(request.headers())?)
        else {
            return Err(Failure::unauthorized());
        };
        let found = self
            .cluster
            .registry(|registry| registry.find(place.group, place.version, place.plural));
        let Some(pods) = found.filter(|found| found.kind == "Pod") else {
            return Err(Failure::method_not_allowed());
        };
        let pod = self
            .cluster
            .get(&pods, &Key::new(&*place.namespace, &*place.name))?;
        let port = query.text("ports");
        let port = port
            .parse()
            .map_err(|_| Failure::bad_request(format!("unable to parse {port:?} as a port")))?;
        let node = pod.value()["spec"]["nodeName"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if node.is_empty() {
            return Err(Failure::bad_request(format!(
                "pod {} does not have a host assigned",
                place.name
            )));
        }
        Ok(Asked {
            node,
            pod_uid: pod.uid.clone(),
            port,
        })
    }

    fn switched(self: &Arc<Self>, asked: Asked, upgrade: OnUpgrade, headers: &HeaderMap) -> Response {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let offered = text(header::SEC_WEBSOCKET_PROTOCOL);
        if !offered.split(',').any(|protocol| protocol.trim() == PROTOCOL) {
            return refused(&Failure::bad_request(format!(
                "unable to upgrade: only {PROTOCOL} is spoken"
            )));
        }
        let accept = derive_accept_key(text(header::SEC_WEBSOCKET_KEY).as_bytes());
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let stopping = app.stopping.clone();
            let forwarding = async {
                match upgrade.await {
                    Ok(upgraded) => app.forward(asked, TokioIo::new(upgraded)).await,
                    Err(error) => tracing::debug!(%error, "port-forward"),
                }
            };
            let _ = stopping.run_until_cancelled(forwarding).await;
        });
        let switching = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
            .body(Body::empty());
        switching.unwrap_or_else(|error| refused(&Failure::bad_request(error.to_string())))
    }

    async fn forward<S: AsyncRead + AsyncWrite + Send + Unpin>(&self, asked: Asked, stream: S) {
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let [low, high] = asked.port.to_le_bytes();
        for channel in [DATA, ERROR] {
            if socket.send(binary(&[channel, low, high])).await.is_err() {
                return;
            }
        }
        let dialled = match &self.ports {
            Some(ports) => ports.dial(&asked.node, &asked.pod_uid, asked.port).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        };
        match dialled {
            Ok(pod) => {
                if let Err(error) = copied(&mut socket, pod).await {
                    tracing::debug!(%error, "port-forward");
                }
            }
            Err(error) => {
                let text = format!("failed to connect to localhost:{}: {error}", asked.port);
                let _ = socket.send(binary(&[&[ERROR], text.as_bytes()].concat())).await;
            }
        }
        let _ = socket.close(None).await;
    }
}

/// What is asked for.
struct Asked {
    node: String,
    pod_uid: String,
    port: u16,
}

/// Carries bytes both ways until either end has enough.
async fn copied<S: AsyncRead + AsyncWrite + Send + Unpin>(
    socket: &mut WebSocketStream<S>,
    pod: Box<dyn PodStream>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut from_pod, mut to_pod) = tokio::io::split(pod);
    let mut chunk = vec![0; CHUNK];
    loop {
        tokio::select! {
            read = from_pod.read(&mut chunk) => match read? {
                0 => return Ok(()),
                length => socket.send(binary(&[&[DATA], &chunk[..length]].concat())).await?,
            },
            said = socket.next() => match said.transpose()? {
                Some(Message::Binary(bytes)) if bytes.first() == Some(&DATA) => {
                    to_pod.write_all(&bytes[1..]).await?;
                    to_pod.flush().await?;
                }
                None | Some(Message::Close(_)) => return Ok(()),
                Some(_) => {}
            },
        }
    }
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

fn refused(failure: &Failure) -> Response {
    let answer = Answer::failure(failure);
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    response
}
