//! Signals, carried from the outer process to the inner one: a byte each, and the end of the socket for a process that
//! was killed before it could say anything.

use std::{
    io,
    os::{fd::AsFd as _, unix::net},
};

use tokio::{
    io::AsyncReadExt as _,
    net::UnixStream,
    signal::unix::{self, SignalKind},
};

use crate::{Error, is_inside};

/// What the outer process was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    Hangup,
    /// Nothing: it is gone. There is nobody to report to; end in order, now.
    OuterGone,
}

/// On the wire. [`Signal::OuterGone`] is the end of it.
const BYTES: &[(Signal, u8)] = &[
    (Signal::Interrupt, b'I'),
    (Signal::Terminate, b'T'),
    (Signal::Hangup, b'H'),
];

impl Signal {
    pub(crate) fn byte(self) -> Option<u8> {
        BYTES
            .iter()
            .find(|(signal, _)| *signal == self)
            .map(|(_, byte)| *byte)
    }

    fn of(byte: u8) -> Option<Self> {
        BYTES
            .iter()
            .find(|(_, known)| *known == byte)
            .map(|(signal, _)| *signal)
    }
}

/// The signals that reach the inner process.
#[derive(Debug)]
pub struct Signals {
    /// Nothing once it has ended.
    from: Option<UnixStream>,
}

impl Signals {
    /// Reads them from standard input, which is of no other use inside. Programs that the inner process starts are not to
    /// inherit it.
    pub fn listen() -> Result<Self, Error> {
        if !is_inside() {
            return Err(Error::NotInside);
        }
        let stream = || {
            let stream = net::UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            stream.set_nonblocking(true)?;
            UnixStream::from_std(stream)
        };
        Ok(Self {
            from: Some(stream().map_err(Error::Signals)?),
        })
    }

    /// The next one, [`Signal::OuterGone`] at last and nothing after it. A call that is dropped loses none.
    pub async fn next(&mut self) -> Option<Signal> {
        let from = self.from.as_mut()?;
        while let Ok(byte) = from.read_u8().await {
            if let Some(signal) = Signal::of(byte) {
                return Some(signal);
            }
        }
        self.from = None;
        Some(Signal::OuterGone)
    }
}

/// The signals that the outer process gets. Their default actions are off from here on.
pub(crate) struct Asked {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Asked {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hangup: unix::signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }
}
