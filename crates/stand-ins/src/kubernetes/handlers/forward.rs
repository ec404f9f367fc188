//! `pods/portforward`: a connection to a port in a pod, as a WebSocket.
//!
//! As kube-apiserver hands it through to a kubelet over `v4.channel.k8s.io`: of each port one channel for bytes and one for what
//! went wrong, each of which begins with the port's number; a message begins with its channel's. A kubelet looks for the pod among
//! those that its runtime has running (`GetPortForward` of `kubelet_pods.go`), and answers for any other before the upgrade. Left
//! out: SPDY, and a pod whose containers are still being made: it has its sandbox, and is refused here.

use std::{collections::BTreeMap, io, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _, future::BoxFuture};
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mountproof_run_tls::FirstOfConnection;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{App, agent, answer::Answer, kind};
use crate::kubernetes::{
    failure::Failure,
    request::{self, Query, Target},
    stored::Key,
};

/// The protocol that is spoken.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// Bytes in one message at most.
const CHUNK: usize = 32 * 1024;
/// Ports of one request at most: each has two channels, which are a byte.
const MOST_PORTS: usize = 128;
/// Messages on their way from pods.
const QUEUE: usize = 16;

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
            (Ok(_), None) => refused(&Failure::bad_request("Upgrade request required")),
        })
    }

    fn asked(&self, path: &str, request: &Request) -> Result<Asked, Failure> {
        let query = Query::parse(request.uri().query());
        let (Target::Objects(place), Some(user)) =
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
        let agent = agent(request.headers());
        self.requests.count(
            kind(request.method(), &pods, &place, &query, user.name, &agent),
            request.extensions().get::<FirstOfConnection>().is_some(),
        );
        let pod = self
            .cluster
            .get(&pods, &Key::new(&*place.namespace, &*place.name))?;
        let value = pod.value();
        let node = value["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            return Err(Failure::bad_request(format!(
                "pod {} does not have a host assigned",
                place.name
            )));
        }
        let runs = value["status"]["phase"] == "Running";
        Ok(Asked {
            node,
            pod_uid: pod.uid.clone(),
            ports: query.text("ports").to_owned(),
            unknown: (!runs).then(|| format!("pod not found (\"{}_{}\")", place.name, place.namespace)),
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
        // What kubelet says from here on is handed through as it is.
        let ports = match ports(&asked.ports) {
            Ok(ports) => ports,
            Err(because) => return said(StatusCode::BAD_REQUEST, because),
        };
        if let Some(because) = asked.unknown {
            return said(StatusCode::INTERNAL_SERVER_ERROR, because);
        }
        let (node, pod_uid) = (asked.node, asked.pod_uid);
        let accept = derive_accept_key(text(header::SEC_WEBSOCKET_KEY).as_bytes());
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let stopping = app.stopping.clone();
            let forwarding = async {
                match upgrade.await {
                    Ok(upgraded) => app.forward(&node, &pod_uid, &ports, TokioIo::new(upgraded)).await,
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

    async fn forward<S: AsyncRead + AsyncWrite + Send + Unpin>(
        &self,
        node: &str,
        pod_uid: &str,
        ports: &[u16],
        stream: S,
    ) {
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let channels: Vec<(Channels, u16)> = Channels::all().zip(ports.iter().copied()).collect();
        for (channels, port) in &channels {
            let [low, high] = port.to_le_bytes();
            for channel in [channels.data, channels.error] {
                if socket.send(binary(&[channel, low, high])).await.is_err() {
                    return;
                }
            }
        }
        let mut pods = Vec::new();
        for (channels, port) in channels {
            let dialled = match &self.ports {
                Some(ports) => ports.dial(node, pod_uid, port).await,
                None => Err(io::ErrorKind::ConnectionRefused.into()),
            };
            match dialled {
                Ok(pod) => pods.push((channels.data, pod)),
                Err(error) => {
                    let text = format!("failed to connect to localhost:{port}: {error}");
                    let text = [&[channels.error], text.as_bytes()].concat();
                    let _ = socket.send(binary(&text)).await;
                }
            }
        }
        if let Err(error) = copied(&mut socket, pods).await {
            tracing::debug!(%error, "port-forward");
        }
        let _ = socket.close(None).await;
    }
}

/// What is asked for.
struct Asked {
    node: String,
    pod_uid: String,
    /// As they were named.
    ports: String,
    /// What kubelet says of a pod that does not run.
    unknown: Option<String>,
}

/// The two channels of a port.
#[derive(Clone, Copy)]
struct Channels {
    data: u8,
    error: u8,
}

impl Channels {
    fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).step_by(2).map(|data| Self {
            data,
            error: data + 1,
        })
    }
}

/// As kubelet reads them (`NewV4Options`), with its texts.
fn ports(named: &str) -> Result<Vec<u16>, String> {
    if named.is_empty() {
        return Err("query parameter \"ports\" is required".to_owned());
    }
    let each = named.split(',').map(|port| match port.parse::<u16>() {
        Ok(0) => Err(format!("port {port:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {port:?} as a port: it is no number")),
    });
    let ports: Vec<u16> = each.collect::<Result<_, _>>()?;
    if ports.len() > MOST_PORTS {
        return Err(format!("{} ports are more than {MOST_PORTS}", ports.len()));
    }
    Ok(ports)
}

/// Carries bytes both ways until the client, or each of the pod's ports, has enough.
async fn copied<S: AsyncRead + AsyncWrite + Send + Unpin>(
    socket: &mut WebSocketStream<S>,
    pods: Vec<(u8, Box<dyn PodStream>)>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (out, mut outgoing) = mpsc::channel(QUEUE);
    let mut writers = BTreeMap::new();
    // They end with this.
    let mut readers = JoinSet::new();
    for (channel, pod) in pods {
        let (from_pod, to_pod) = tokio::io::split(pod);
        writers.insert(channel, to_pod);
        readers.spawn(read_out(channel, from_pod, out.clone()));
    }
    drop(out);
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => socket.send(message).await?,
                None => return Ok(()),
            },
            said = socket.next() => match said.transpose()? {
                Some(Message::Binary(bytes)) => {
                    if let Some((channel, bytes)) = bytes.split_first()
                        && let Some(to_pod) = writers.get_mut(channel)
                    {
                        to_pod.write_all(bytes).await?;
                        to_pod.flush().await?;
                    }
                }
                None | Some(Message::Close(_)) => return Ok(()),
                Some(_) => {}
            },
        }
    }
}

/// Reads a port of a pod to its end.
async fn read_out(channel: u8, mut from_pod: impl AsyncRead + Unpin, out: mpsc::Sender<Message>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from_pod.read(&mut chunk).await {
        let message = binary(&[&[channel], &chunk[..length]].concat());
        if out.send(message).await.is_err() {
            return;
        }
    }
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

fn said(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

fn refused(failure: &Failure) -> Response {
    let answer = Answer::failure(failure);
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    response
}
