//! Writes the journal: one line an event, in the order of recording, as it happens.
//!
//! One thread owns the file. [`Journal::record`] stamps and hands over, so that it never waits for a
//! disk. Every event stays in memory until the end of the run as well: what a full disk refuses is
//! offered to it again at the next boundary, and a report can be made without the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{Event, EventKind};
use crate::redact::Redactor;

/// What a closed journal leaves.
#[derive(Debug)]
pub struct Closed {
    /// Everything recorded, whether it reached the file or not, redacted.
    pub events: Vec<Event>,
    /// Why the file lacks some of it. Makes the run invalid.
    pub write_error: Option<WriteError>,
}

/// The journal's file is not complete.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The file could not be made.
    #[error("cannot create the journal `{}`: {source}; give another folder with --out", path.display())]
    Create {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Lines could not be written: the disk is full or gone.
    #[error("{missing} events could not be written to the journal `{}`: {source}", path.display())]
    Append {
        /// Which file.
        path: PathBuf,
        /// How many are not in the file.
        missing: usize,
        /// The last refusal.
        source: Arc<io::Error>,
    },
    /// The writer did not answer in time: a disk that hangs.
    #[error("the journal's writer did not answer within {within:?}; is the disk of the report folder stuck?")]
    Stuck {
        /// How long it was waited for.
        within: Duration,
    },
}

/// Sees every event right after it was written, in order, on the writer's thread: be quick.
pub trait Sink: Send {
    /// One event, already redacted.
    fn event(&mut self, event: &Event);
}

/// Where events are recorded. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    stamp: Arc<Mutex<Stamp>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    started: Instant,
}

struct Stamp {
    next: u64,
    sender: Sender<Message>,
}

enum Message {
    Event(Box<Event>),
    /// Write what can be written and say how it went.
    Flush(Sender<Closed>),
    Close(Sender<Closed>),
}

impl Journal {
    /// Makes the file, which must not exist, and starts the writer. `redactor` sees every string
    /// before anything else does.
    pub fn create(path: &Path, redactor: Redactor, sinks: Vec<Box<dyn Sink>>) -> Result<Self, WriteError> {
        let failed = |source| WriteError::Create {
            path: path.to_owned(),
            source: Arc::new(source),
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        let writer = Writer {
            path: path.to_owned(),
            file: Box::new(file),
            redactor,
            sinks,
            events: Vec::new(),
            written: 0,
            good_length: 0,
            failure: None,
        };
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(failed)?;
        Ok(Self {
            stamp: Arc::new(Mutex::new(Stamp { next: 0, sender })),
            writer: Arc::new(Mutex::new(Some(thread))),
            started: Instant::now(),
        })
    }

    /// Records that something happened now. Never waits for the disk; after [`Journal::close`] it
    /// does nothing.
    pub fn record(&self, event: EventKind) {
        // Stamping and sending under one lock makes number, time and place in the file agree.
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let event = Event {
            sequence: stamp.next,
            at: Timestamp::now(),
            elapsed_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            event,
        };
        if stamp.sender.send(Message::Event(Box::new(event))).is_ok() {
            stamp.next += 1;
        }
    }

    /// Waits until everything recorded so far is on disk, and gives it back: the verdict of a run
    /// is made of this, before the last event is recorded. Blocks its thread.
    pub fn flush(&self, within: Duration) -> Result<Closed, WriteError> {
        self.ask(Message::Flush, within)
    }

    /// Writes the rest, makes it durable and stops the writer. Blocks its thread.
    pub fn close(&self, within: Duration) -> Result<Closed, WriteError> {
        let closed = self.ask(Message::Close, within)?;
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It answered, so it is past its last line.
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
        Ok(closed)
    }

    fn ask(
        &self,
        question: impl FnOnce(Sender<Closed>) -> Message,
        within: Duration,
    ) -> Result<Closed, WriteError> {
        let (answer, answered) = mpsc::channel();
        let sent = self
            .stamp
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sender
            .send(question(answer));
        sent.map_err(|_| ())
            .and_then(|()| answered.recv_timeout(within).map_err(|_| ()))
            .map_err(|()| WriteError::Stuck { within })
    }
}

/// A file as the writer needs it; a test puts a full disk in its place.
trait Store: Write + Send {
    fn cut(&mut self, length: u64) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Store for File {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

struct Writer {
    path: PathBuf,
    file: Box<dyn Store>,
    redactor: Redactor,
    sinks: Vec<Box<dyn Sink>>,
    events: Vec<Event>,
    /// How many of `events` are in the file.
    written: usize,
    /// Where the last whole line ends.
    good_length: u64,
    failure: Option<Arc<io::Error>>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Event(event) => self.take(*event),
                Message::Flush(answer) => {
                    self.catch_up();
                    self.sync();
                    drop(answer.send(self.state(self.events.clone())));
                }
                Message::Close(answer) => {
                    self.catch_up();
                    self.sync();
                    let events = std::mem::take(&mut self.events);
                    drop(answer.send(self.state(events)));
                    return;
                }
            }
        }
        // Every handle is gone without a close: a panic. What was recorded must still be there.
        self.catch_up();
        self.sync();
    }

    fn take(&mut self, event: Event) {
        let event = self.redactor.redact_event(event);
        let boundary = is_boundary(&event.event);
        self.events.push(event);
        // After a refusal only boundaries try again, so that a full disk does not slow a load test.
        if self.failure.is_none() || boundary {
            self.catch_up();
        }
        if boundary {
            self.sync();
        }
        if let Some(event) = self.events.last() {
            for sink in &mut self.sinks {
                sink.event(event);
            }
        }
    }

    /// Appends what the file lacks, one line at a time.
    fn catch_up(&mut self) {
        while let Some(event) = self.events.get(self.written) {
            match append(self.file.as_mut(), event) {
                Ok(length) => {
                    self.good_length += length;
                    self.written += 1;
                }
                Err(error) => {
                    if self.failure.is_none() {
                        tracing::error!(%error, path = %self.path.display(), "the journal cannot be written");
                    }
                    self.failure = Some(Arc::new(error));
                    // Half a line must not stay before the next one. A failing cut shows again later.
                    drop(self.file.cut(self.good_length));
                    return;
                }
            }
        }
        self.failure = None;
    }

    fn sync(&mut self) {
        if let Err(error) = self.file.sync() {
            self.failure = Some(Arc::new(error));
        }
    }

    fn state(&self, events: Vec<Event>) -> Closed {
        let write_error = self.failure.clone().map(|source| WriteError::Append {
            path: self.path.clone(),
            missing: events.len() - self.written,
            source,
        });
        Closed { events, write_error }
    }
}

fn append(file: &mut dyn Store, event: &Event) -> io::Result<u64> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.flush()?;
    Ok(line.len() as u64)
}

/// After these a crash of the machine must not lose anything.
fn is_boundary(event: &EventKind) -> bool {
    matches!(
        event,
        EventKind::RunStarted(_)
            | EventKind::EnvironmentReady(_)
            | EventKind::CaseFinished(_)
            | EventKind::MeasurementFinished(_)
            | EventKind::Interrupted(_)
            | EventKind::TeardownFinished(_)
            | EventKind::RunFinished(_)
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::journal::{Interrupted, WarningRaised, parse};

    const SOON: Duration = Duration::from_secs(20);

    fn warning(text: &str) -> EventKind {
        EventKind::WarningRaised(WarningRaised {
            text: text.to_owned(),
        })
    }

    /// Takes `room` bytes, then refuses, as a full disk does: in the middle of a line.
    struct FullDisk {
        bytes: Arc<Mutex<Vec<u8>>>,
        room: Arc<AtomicUsize>,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut held = self.bytes.lock().unwrap();
            let free = self.room.load(Ordering::SeqCst).saturating_sub(held.len());
            if free == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let taken = free.min(bytes.len());
            held.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Store for FullDisk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes
                .lock()
                .unwrap()
                .truncate(usize::try_from(length).unwrap());
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(file: Box<dyn Store>) -> Writer {
        Writer {
            path: "journal.jsonl".into(),
            file,
            redactor: Redactor::default(),
            sinks: Vec::new(),
            events: Vec::new(),
            written: 0,
            good_length: 0,
            failure: None,
        }
    }

    fn event(sequence: u64, event: EventKind) -> Event {
        Event {
            sequence,
            at: Timestamp::UNIX_EPOCH,
            elapsed_us: sequence,
            event,
        }
    }

    #[test]
    fn lines_are_numbered_in_the_order_of_recording_from_many_threads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::create(&path, Redactor::default(), Vec::new()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let journal = journal.clone();
                scope.spawn(move || (0..250).for_each(|n| journal.record(warning(&format!("{thread}-{n}")))));
            }
        });
        let closed = journal.close(SOON).unwrap();
        assert!(closed.write_error.is_none());
        let lines = std::fs::read_to_string(&path).unwrap();
        let read: Vec<Event> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, closed.events);
        assert!(
            read.iter()
                .enumerate()
                .all(|(place, event)| event.sequence == place as u64)
        );
        assert!(read.is_sorted_by_key(|event| event.elapsed_us));
    }

    #[test]
    fn a_full_disk_loses_nothing_and_is_told() {
        let (bytes, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(250)));
        let mut writer = writer(Box::new(FullDisk {
            bytes: bytes.clone(),
            room: room.clone(),
        }));
        for sequence in 0..5 {
            writer.take(event(sequence, warning("something of some length")));
        }
        let state = writer.state(writer.events.clone());
        assert_eq!(state.events.len(), 5);
        let Some(WriteError::Append { missing, .. }) = state.write_error else {
            panic!("no error")
        };
        assert!(missing > 0 && missing < 5, "{missing}");
        assert!(bytes.lock().unwrap().ends_with(b"\n"), "half a line is left");

        room.store(usize::MAX, Ordering::SeqCst);
        writer.take(event(
            5,
            EventKind::Interrupted(Interrupted {
                signal: "SIGINT".to_owned(),
            }),
        ));
        assert!(writer.state(Vec::new()).write_error.is_none(), "room came back");
        let text = String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
        let numbers: Vec<u64> = text
            .lines()
            .map(|l| serde_json::from_str::<Event>(l).unwrap().sequence)
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn dropping_every_handle_still_writes_what_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::create(&path, Redactor::default(), Vec::new()).unwrap();
        journal.record(warning("last words"));
        let thread = journal.writer.lock().unwrap().take().unwrap();
        drop(journal);
        thread.join().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("last words"));
    }

    #[test]
    fn an_existing_journal_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "old").unwrap();
        assert!(matches!(
            Journal::create(&path, Redactor::default(), Vec::new()),
            Err(WriteError::Create { .. })
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn what_is_written_is_redacted_and_so_is_what_sinks_see() {
        struct Seen(Arc<Mutex<Vec<Event>>>);
        impl Sink for Seen {
            fn event(&mut self, event: &Event) {
                self.0.lock().unwrap().push(event.clone());
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let redactor = Redactor::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let journal = Journal::create(&path, redactor.clone(), vec![Box::new(Seen(seen.clone()))]).unwrap();
        redactor.protect(b"mp-canary-31415926");
        journal.record(warning("the file holds mp-canary-31415926"));
        let closed = journal.close(SOON).unwrap();
        assert_eq!(closed.events[0].event, warning("the file holds [redacted]"));
        assert_eq!(*seen.lock().unwrap(), closed.events);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("canary"));
        assert!(
            parse(&std::fs::read(&path).unwrap(), &path).is_err(),
            "no run-started"
        );
    }
}
