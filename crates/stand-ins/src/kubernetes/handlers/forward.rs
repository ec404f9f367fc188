//! `pods/portforward`: connections to ports of a pod, for whoever has its programs to take.
//!
//! Over one WebSocket, as kubelet has it: each port has two channels, for data and for why there is none, a message begins
//! with the number of its channel, and the first of each channel is the port's number
//! (`k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`).

use std::{io, sync::Arc};

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _, future::BoxFuture, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, WriteHalf, split};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tokio_util::{io::ReaderStream, sync::CancellationToken};

use super::{App, answer::Answer, asked::Asked};
use crate::kubernetes::{failure::Failure, object, request::Query};

/// The one subprotocol that is spoken.
const PROTOCOL: &str = "v4.channel.k8s.io";

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

/// That a client wants to go on in another protocol.
pub(super) struct Upgrade {
    to: String,
    key: String,
    subprotocols: String,
    on: Option<OnUpgrade>,
}

impl Upgrade {
    /// What a request says of it, if anything.
    pub(super) fn read(head: &http::request::Parts) -> Option<Self> {
        let text = |name| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let asks = text(header::CONNECTION).to_ascii_lowercase().contains("upgrade");
        asks.then(|| Self {
            to: text(header::UPGRADE).to_ascii_lowercase(),
            key: text(header::SEC_WEBSOCKET_KEY),
            subprotocols: text(header::SEC_WEBSOCKET_PROTOCOL),
            on: head.extensions.get().cloned(),
        })
    }

    /// The answer that grants it, and the way on; a refusal where it is not the protocol that is spoken here.
    fn granted(&self) -> Result<(Answer, OnUpgrade), Answer> {
        let mut offered = self.subprotocols.split(',').map(str::trim);
        let speaks = self.to == "websocket" && !self.key.is_empty();
        let Some(on) = self.on.clone().filter(|_| speaks) else {
            let text = "ports are forwarded over WebSocket and HTTP/1.1 alone here\n";
            return Err(Answer::text(StatusCode::NOT_IMPLEMENTED, text));
        };
        if !offered.any(|offered| offered == PROTOCOL) {
            return Err(Answer::text(StatusCode::FORBIDDEN, ""));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        if let Ok(accepted) = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
        }
        let answer = Answer {
            status: StatusCode::SWITCHING_PROTOCOLS,
            content_type: None,
            body: Body::empty(),
            headers,
        };
        Ok((answer, on))
    }
}

impl App {
    pub(super) fn forward(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let stored = self.cluster.get(&asked.resource, &asked.key())?;
        let (pod, name) = (stored.value(), &asked.place.name);
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Err(Failure::bad_request(format!(
                "pod {name} does not have a host assigned"
            )));
        }
        let Some(upgrade) = &asked.upgrade else {
            return Err(Failure::bad_request("Upgrade request required"));
        };
        // From here on a real server hands the request to kubelet, whose refusals are plain text.
        let ports = match ports(&asked.query) {
            Ok(ports) => ports,
            Err(why) => return Ok(told(StatusCode::BAD_REQUEST, why)),
        };
        if pod["status"]["phase"] != "Running" {
            let namespace = object::meta(&pod, "namespace");
            let why = format!("pod not found (\"{name}_{namespace}\")");
            return Ok(told(StatusCode::INTERNAL_SERVER_ERROR, why));
        }
        let (answer, on) = match upgrade.granted() {
            Ok(granted) => granted,
            Err(refused) => return Ok(refused),
        };
        let forwarding = Forwarding {
            node: node.to_owned(),
            pod: name.to_string(),
            pod_uid: stored.uid.clone(),
            ports,
            listening: self.ports.clone(),
        };
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            match on.await {
                Ok(upgraded) => {
                    let io = TokioIo::new(upgraded);
                    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
                    forwarding.run(socket, &stopping).await;
                }
                Err(error) => tracing::debug!(%error, "port-forward"),
            }
        });
        Ok(answer)
    }
}

fn told(status: StatusCode, why: String) -> Answer {
    Answer {
        status,
        content_type: Some("text/plain; charset=utf-8"),
        body: Body::from(why),
        headers: HeaderMap::new(),
    }
}

/// The ports that are asked for, or what kubelet says of them.
fn ports(query: &Query) -> Result<Vec<u16>, String> {
    let asked = query.text("ports");
    if asked.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    let port = |text: &str| match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(error) => Err(format!("unable to parse {text:?} as a port: {error}")),
    };
    let ports = asked.split(',').map(port).collect::<Result<Vec<u16>, _>>()?;
    // Channels are numbered by one byte.
    if ports.len() > 128 {
        return Err("too many ports".to_owned());
    }
    Ok(ports)
}

/// Ports of a pod to be forwarded over one connection.
struct Forwarding {
    node: String,
    pod: String,
    pod_uid: String,
    ports: Vec<u16>,
    listening: Option<Arc<dyn PodPorts>>,
}

impl Forwarding {
    /// Forwards until either side has ended.
    async fn run<S>(self, socket: WebSocketStream<S>, stopping: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut to_client, mut from_client) = socket.split();
        let mut writers: Vec<Option<WriteHalf<Box<dyn PodStream>>>> = Vec::new();
        let mut readers = stream::SelectAll::new();
        let mut begin = Vec::new();
        for (channel, port) in (0_u8..).step_by(2).zip(&self.ports) {
            begin.extend([channel, channel + 1].map(|channel| message(channel, &port.to_le_bytes())));
            match self.dialled(*port).await {
                Ok(stream) => {
                    let (read, write) = split(stream);
                    writers.push(Some(write));
                    readers.push(ReaderStream::new(read).map(move |read| (channel, read)));
                }
                Err(error) => {
                    writers.push(None);
                    let why = format!(
                        "error forwarding port {port} to pod {}, uid {}: {error}",
                        self.pod, self.pod_uid
                    );
                    begin.push(message(channel + 1, why.as_bytes()));
                }
            }
        }
        let to_pod = async {
            while let Some(Ok(received)) = from_client.next().await {
                let bytes = match received {
                    Message::Binary(bytes) if !bytes.is_empty() => bytes,
                    Message::Close(_) => return,
                    _ => continue,
                };
                let writer = writers
                    .get_mut(usize::from(bytes[0] / 2))
                    .and_then(Option::as_mut);
                if let Some(writer) = writer.filter(|_| bytes[0] % 2 == 0)
                    && writer.write_all(&bytes[1..]).await.is_err()
                {
                    // Why shows on the side that reads.
                    continue;
                }
            }
        };
        let from_pod = async {
            for first in begin {
                to_client.send(first).await?;
            }
            while let Some((channel, read)) = readers.next().await {
                let sent = match read {
                    Ok(bytes) => message(channel, &bytes),
                    Err(error) => message(channel + 1, error.to_string().as_bytes()),
                };
                to_client.send(sent).await?;
            }
            to_client.close().await
        };
        tokio::select! {
            () = to_pod => {}
            ended = from_pod => if let Err(error) = ended {
                tracing::debug!(%error, "port-forward");
            },
            () = stopping.cancelled() => {}
        }
    }
}

impl Forwarding {
    async fn dialled(&self, port: u16) -> io::Result<Box<dyn PodStream>> {
        let listening = self.listening.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
        listening.dial(&self.node, &self.pod_uid, port).await
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    Message::Binary(Bytes::from(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_with_commas_between() {
        for (query, read) in [
            ("ports=80", Ok(vec![80])),
            ("ports=80%2C443", Ok(vec![80, 443])),
            ("", Err("query parameter \"port\" is required")),
            ("ports=0", Err("port \"0\" must be > 0")),
        ] {
            assert_eq!(
                ports(&Query::parse(Some(query))),
                read.map_err(str::to_owned),
                "{query}"
            );
        }
        let many = format!("ports={}", ["1"; 129].join(","));
        for query in ["ports=x", "ports=65536", &many] {
            assert!(ports(&Query::parse(Some(query))).is_err(), "{query}");
        }
    }
}
