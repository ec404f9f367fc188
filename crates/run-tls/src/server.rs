//! An HTTPS server on a listener that the caller bound.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How long stopping waits for requests under way. A watch never ends by itself.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a client may take for the head of a request, or leave its connection idle over HTTP/1.1: as long
/// as AWS's own load balancers wait by default.
const HEAD: Duration = Duration::from_mins(1);
/// How often a peer over HTTP/2 is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
/// Requests at the same time over one connection.
const STREAMS: u32 = 128;
/// Largest head of a request.
const LARGEST_HEAD: u32 = 64 * 1024;

/// A running HTTPS server; dropping it without [`stop`](Self::stop) ends it at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    accepting: JoinHandle<()>,
}

/// An extension of the first request over a TLS connection: whoever makes it has made the handshake too.
#[derive(Debug, Clone, Copy)]
pub struct FirstOfConnection;

impl Server {
    /// Serves `app` over TLS on `listener` until [`stop`](Self::stop).
    pub fn start(listener: TcpListener, tls: Arc<ServerConfig>, app: Router) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let (tls, stop) = (TlsAcceptor::from(tls), shutdown.clone());
        let serve = move |stream| handshake(stream, tls.clone(), app.clone(), stop.clone());
        let accepting = tokio::spawn(accept(listener, shutdown.clone(), serve));
        Ok(Self {
            address,
            shutdown,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, gives requests under way half a second, then closes every connection.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        // The only error is a panic in the accept loop, and stopping is what was wanted.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Accepts connections and runs `serve` for each until `shutdown`; then gives them half a second to end by
/// themselves, and closes what is left.
pub async fn accept<F>(listener: TcpListener, shutdown: CancellationToken, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Dropping the set closes the connections that are left.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream))),
                // Out of file descriptors, or the client went away: neither ends the server.
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn handshake(stream: TcpStream, tls: TlsAcceptor, app: Router, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    match tls.accept(stream).await {
        Ok(stream) => {
            let app = Marked {
                app: TowerToHyperService::new(app),
                begun: AtomicBool::new(false),
            };
            serve_connection_within(stream, app, HEAD, shutdown).await;
        }
        Err(error) => tracing::debug!(%error, "TLS handshake"),
    }
}

/// The app on one connection, whose first request it marks.
struct Marked {
    app: TowerToHyperService<Router>,
    begun: AtomicBool,
}

impl Service<Request<Incoming>> for Marked {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !self.begun.swap(true, Ordering::Relaxed) {
            request.extensions_mut().insert(FirstOfConnection);
        }
        self.app.call(request)
    }
}

/// Serves `app` on one established connection, HTTP/1.1 or HTTP/2, until it ends or `shutdown` asks
/// it to finish the request it is on.
pub async fn serve_connection<S>(stream: S, app: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_connection_within(stream, TowerToHyperService::new(app), HEAD, shutdown).await;
}

/// The same for whatever answers requests, with the time that a client may take for a request's head over HTTP/1.1,
/// or between two requests.
pub async fn serve_connection_within<S, A, B>(stream: S, app: A, head: Duration, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Service<Request<Incoming>, Response = Response<B>>,
    A::Error: Into<Box<dyn Error + Send + Sync>>,
    A::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(LARGEST_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(LARGEST_HEAD);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), app);
    let graceful = GracefulShutdown::new();
    let connection = graceful.watch(connection.into_owned());
    let closing = async {
        shutdown.cancelled().await;
        graceful.shutdown().await;
    };
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "connection");
        },
        () = closing => {}
    }
}
