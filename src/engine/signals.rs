//! Ctrl-C and SIGTERM: the first ends the run in order, the second says what is left and ends it now.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// A request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Stop starting things, tear down, report.
    InOrder(&'static str),
    /// Leave everything as it is.
    AtOnce(&'static str),
}

/// Starts listening. The default action of both signals is off from here on.
///
/// # Errors
///
/// When the process may not install handlers.
pub(super) fn listen() -> std::io::Result<mpsc::Receiver<Ending>> {
    let interrupt = signal(SignalKind::interrupt())?;
    let terminate = signal(SignalKind::terminate())?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(forward(interrupt, terminate, sender));
    Ok(receiver)
}

async fn forward(mut interrupt: Signal, mut terminate: Signal, sender: mpsc::Sender<Ending>) {
    let mut first = true;
    loop {
        let name = tokio::select! {
            Some(()) = interrupt.recv() => "SIGINT",
            Some(()) = terminate.recv() => "SIGTERM",
            () = sender.closed() => return,
        };
        let ending = if first {
            Ending::InOrder(name)
        } else {
            Ending::AtOnce(name)
        };
        first = false;
        if sender.send(ending).await.is_err() {
            return;
        }
    }
}
