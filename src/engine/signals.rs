//! Ctrl-C and SIGTERM: the first ends the run in order, the second says what is left and ends it now.

use std::time::{Duration, Instant};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// A signal this soon after the first is the same request: `timeout`, and others that end a whole group of
/// processes, send theirs twice.
const ECHO: Duration = Duration::from_millis(500);

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
    let mut first: Option<Instant> = None;
    loop {
        let name = tokio::select! {
            Some(()) = interrupt.recv() => "SIGINT",
            Some(()) = terminate.recv() => "SIGTERM",
            () = sender.closed() => return,
        };
        let ending = match first {
            None => Ending::InOrder(name),
            Some(at) if at.elapsed() < ECHO => continue,
            Some(_) => Ending::AtOnce(name),
        };
        first.get_or_insert_with(Instant::now);
        if sender.send(ending).await.is_err() {
            return;
        }
    }
}
