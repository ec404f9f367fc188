//! Connections that can be cut from within, by a fault.

use std::{
    future, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::faults::Cut;

/// Cuts one connection, whatever it is at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cutter {
    token: CancellationToken,
    reset: Arc<AtomicBool>,
    used: Arc<AtomicBool>,
}

impl Cutter {
    /// Says that a request has come.
    pub(crate) fn use_it(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Ends after `patience` if no request has come by then: neither TLS nor HTTP/2's preface has a limit of its
    /// own on who connects and says nothing, or half of it.
    pub(crate) async fn unused_for(&self, patience: Duration) {
        tokio::time::sleep(patience).await;
        if self.used.load(Ordering::Relaxed) {
            future::pending::<()>().await;
        }
    }

    /// Cuts. Who called it goes with the connection, and so never comes back.
    pub(crate) async fn cut<T>(&self, cut: Cut) -> T {
        self.reset.store(cut == Cut::Reset, Ordering::Release);
        self.token.cancel();
        future::pending().await
    }

    /// Ends when the connection is to be cut, by dropping it.
    pub(crate) async fn wanted(&self) {
        self.token.cancelled().await;
    }

    /// `stream`, which is reset when it is dropped after a reset was asked for.
    pub(crate) fn guard(&self, stream: TcpStream) -> Guarded {
        Guarded {
            stream,
            reset: Arc::clone(&self.reset),
        }
    }
}

/// A stream that ends as its [`Cutter`] says.
#[derive(Debug)]
pub(crate) struct Guarded {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire)
            && let Err(error) = self.stream.set_zero_linger()
        {
            // It is closed instead.
            tracing::debug!(%error, "reset a connection");
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
