//! What the gRPC servers and clients on a node's unix sockets share.

use std::{error::Error as _, fs, io, path::Path, time::Duration};

use futures::{FutureExt, Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, metadata::MetadataMap, service::Routes, transport::server::Connected};

use crate::go_authority;

/// How long a stopping server waits for calls under way.
const DRAIN: Duration = Duration::from_millis(500);

/// An error as Go's gRPC shows it: `rpc error: code = Unknown desc = ...`.
pub(crate) fn status_text(status: &Status) -> String {
    // Go writes Canceled with one l; the other names are the same.
    let code = match status.code() {
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// What a Go client sees when its context's deadline passes.
pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("context deadline exceeded")
}

/// What a Go client makes of `status`: tonic's servers watch the caller's deadline too, and answer
/// it with an error of their own.
pub(crate) fn as_seen_by_caller(status: Status) -> Status {
    if status.code() == Code::Cancelled && status.message() == "Timeout expired" {
        return deadline_exceeded();
    }
    status
}

/// Whether the call never reached a server, for there was no connection.
pub(crate) fn is_unconnected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() || cause.is::<io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// `message` with a deadline that the server is told of.
pub(crate) fn due<T>(message: T, deadline: Option<Instant>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    request
}

/// When the caller gives up, from its `grpc-timeout` header.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    Instant::now().checked_add(timeout(metadata)?)
}

fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count.checked_mul(3600)?),
        "M" => Duration::from_secs(count.checked_mul(60)?),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Runs `work` as a Go server does: to its end, even when the caller goes away. Then `cancelled`
/// fires, as the handler's context does, and what is under way can give up in its own way.
pub(crate) async fn to_the_end<T, F>(work: impl FnOnce(CancellationToken) -> F) -> Result<T, Status>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let cancelled = CancellationToken::new();
    let _guard = cancelled.clone().drop_guard();
    tokio::spawn(work(cancelled))
        .await
        .unwrap_or_else(|error| Err(Status::internal(format!("handler: {error}"))))
}

/// A gRPC server on a unix socket, as plugins of a node have.
#[derive(Debug)]
pub struct Server {
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves `routes` on a new socket at `path`, in place of whatever was there.
    pub(crate) fn start(path: &Path, routes: Routes) -> io::Result<Self> {
        Self::serve(path, routes, |connections| connections)
    }

    /// The same, for clients that dial the path with Go's gRPC and name no authority, as kubelet does.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made.
    pub fn start_for_go(path: &Path, routes: Routes) -> io::Result<Self> {
        let accepted = |connection: io::Result<UnixStream>| connection.map(go_authority::accepted);
        Self::serve(path, routes, move |connections| connections.map(accepted))
    }

    fn serve<C, S>(
        path: &Path,
        routes: Routes,
        with: impl FnOnce(UnixListenerStream) -> S,
    ) -> io::Result<Self>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        S: Stream<Item = io::Result<C>> + Send + 'static,
    {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone().cancelled_owned();
        let path = path.to_owned();
        let connections = with(UnixListenerStream::new(listener));
        let serving = tokio::spawn(async move {
            let served = tonic::transport::Server::builder()
                .max_concurrent_streams(Some(u32::MAX))
                .add_routes(routes)
                .serve_with_incoming_shutdown(connections, asked.map(drop))
                .await;
            if let Err(error) = served {
                tracing::warn!(?path, %error, "gRPC server ended");
            }
        });
        Ok(Self { shutdown, serving })
    }

    /// Stops accepting, gives calls under way half a second, and ends.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let _ = tokio::time::timeout(DRAIN, &mut self.serving).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_writes_them() {
        assert_eq!(
            status_text(&Status::cancelled("context canceled")),
            "rpc error: code = Canceled desc = context canceled"
        );
        assert_eq!(
            status_text(&deadline_exceeded()),
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
        );
    }

    #[test]
    fn deadlines_are_read_in_every_unit() {
        for (text, expected) in [
            ("2M", Some(Duration::from_mins(2))),
            ("119900m", Some(Duration::from_millis(119_900))),
            ("5u", Some(Duration::from_micros(5))),
            ("x", None),
            ("", None),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ascii"));
            assert_eq!(timeout(&metadata), expected, "{text}");
        }
    }
}
