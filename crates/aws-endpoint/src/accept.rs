//! Connections: TLS directly or behind HTTP `CONNECT`, and plain HTTP where it is wanted, all on one port.

use std::{io, net::SocketAddr, sync::Arc};

use mountproof_run_tls::serve_connection_within;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    calls::CallRecord,
    cut::Cutter,
    route,
    state::{Patience, State},
};

/// First byte of a TLS record that carries a handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Longest head of a `CONNECT` request.
const LONGEST_HEAD: usize = 8 * 1024;
/// Most connections at a time, if the process may have four times as many files. An idle one costs a file and
/// some 40 KiB.
const MOST_CONNECTIONS: usize = 4096;

/// What a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    /// TLS.
    pub(crate) secure: bool,
    pub(crate) peer: SocketAddr,
}

/// What a listener takes beside TLS and `CONNECT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    Served,
    Refused,
}

/// Whether a host name is AWS's, and so ours here. `api.aws` is where newer services and dual-stack
/// endpoints are.
pub(crate) fn is_aws(name: &str) -> bool {
    name.ends_with(".amazonaws.com") || name.ends_with(".api.aws")
}

/// Accepts until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    plain: PlainHttp,
    state: Arc<State>,
    connections: usize,
    shutdown: CancellationToken,
) {
    let way_in = WayIn {
        acceptor: TlsAcceptor::from(tls),
        plain,
        state: Arc::clone(&state),
        shutdown: shutdown.clone(),
    };
    let places = Arc::new(Semaphore::new(connections));
    let serve = move |stream| {
        let (way_in, state) = (way_in.clone(), Arc::clone(&state));
        let place = Arc::clone(&places).try_acquire_owned();
        async move {
            let number = state.next_connection();
            let Ok(_place) = place else {
                tracing::debug!(number, "no place for another connection");
                return;
            };
            let (cutter, patience) = (Cutter::default(), state.patience());
            // Every branch drops the connection, whatever it is at.
            tokio::select! {
                () = state.outage() => state.calls.push(CallRecord::cut_by_outage(number)),
                () = cutter.wanted() => {}
                () = cutter.unused_for(patience.greeting * 3 + patience.head) => {}
                greeted = way_in.greet(stream, number, cutter.clone(), patience) => {
                    if let Err(error) = greeted {
                        tracing::debug!(%error, "connection");
                    }
                }
            }
        }
    };
    mountproof_run_tls::accept(listener, shutdown, serve).await;
}

/// How many connections this process can afford.
pub(crate) fn affordable() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = files.map_or(usize::MAX, |files| {
        usize::try_from(files / 4).unwrap_or(usize::MAX)
    });
    quarter.clamp(16, MOST_CONNECTIONS)
}

/// How connections of one listener are served.
#[derive(Clone)]
struct WayIn {
    acceptor: TlsAcceptor,
    plain: PlainHttp,
    state: Arc<State>,
    shutdown: CancellationToken,
}

impl WayIn {
    async fn greet(
        self,
        mut stream: TcpStream,
        number: u64,
        cutter: Cutter,
        patience: Patience,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let mut first = [0];
        if timeout(patience.greeting, stream.peek(&mut first)).await?? == 0 {
            return Ok(());
        }
        // No other method of AWS's begins like `CONNECT`.
        if first[0] != TLS_HANDSHAKE && first[0] != b'C' && self.plain == PlainHttp::Served {
            let secure = false;
            let stream = cutter.guard(stream);
            let app = route::app(
                self.state,
                Connection { number, secure, peer },
                cutter,
                patience.body,
            );
            serve_connection_within(stream, app, patience.head, self.shutdown).await;
            return Ok(());
        }
        if first[0] != TLS_HANDSHAKE && !timeout(patience.greeting, tunnel(&mut stream)).await?? {
            return Ok(());
        }
        let stream = cutter.guard(stream);
        let stream = timeout(patience.greeting, self.acceptor.accept(stream)).await??;
        let secure = true;
        let app = route::app(
            self.state,
            Connection { number, secure, peer },
            cutter,
            patience.body,
        );
        serve_connection_within(stream, app, patience.head, self.shutdown).await;
        Ok(())
    }
}

/// Answers a `CONNECT`; whether TLS may follow. Only AWS's names lead anywhere, and only to here:
/// nothing gets out.
async fn tunnel(stream: &mut TcpStream) -> io::Result<bool> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // Byte by byte, so that nothing of the TLS handshake behind it is swallowed.
        head.push(stream.read_u8().await?);
        if head.len() > LONGEST_HEAD {
            return refuse(
                stream,
                "431 Request Header Fields Too Large",
                "the request's head is too long",
            )
            .await;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "CONNECT" {
        let text = "this port speaks HTTPS, and HTTP only for CONNECT to *.amazonaws.com:443";
        return refuse(stream, "400 Bad Request", text).await;
    }
    match target.rsplit_once(':') {
        Some((host, "443")) if is_aws(host) => {
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await?;
            Ok(true)
        }
        _ => {
            let text = format!(
                "{target} is not reached through here: only *.amazonaws.com:443 and *.api.aws:443 are"
            );
            refuse(stream, "403 Forbidden", &text).await
        }
    }
}

async fn refuse(stream: &mut TcpStream, status: &str, text: &str) -> io::Result<bool> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(false)
}
