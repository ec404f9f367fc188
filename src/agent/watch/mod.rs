//! What the agent watches on its node while somebody follows it: sockets of driver and provider, CSI volumes of pods.
//!
//! ```text
//! inotify of the sockets' folders ─┐
//! the mount table, when it changes ─┼─► one look ─► what changed, numbered, remembered ─► conversations [conversation]
//! once a second, and when asked ────┘                                                    each tells what its harness may know
//! ```
//!
//! It is woken by the kernel and reads nothing in between but, once a second, a handful of inodes. What it saw it remembers for a
//! while, also of pods that it has not been told of yet: whose they are is known to the harness a moment later than kubelet mounts
//! them, and a conversation that broke is taken up again. Of other teams' pods nothing leaves it.
//!
//! What it does not see: a mount that came and went between two looks of some milliseconds, and one whose place and id another
//! took within them; a program that was killed, until its successor puts another socket in the place of the one left behind.

mod conversation;
mod mounts;
mod pressure;
mod sockets;

use std::{
    collections::VecDeque,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::conversation::follow;
use self::{
    mounts::{Mounted, volumes},
    sockets::{Bell, Sockets, woken},
};
use super::{protocol::Following, serve::Place};
use crate::journal::NodeSight;

/// Most things that are remembered.
const REMEMBERED: usize = 8192;
/// Looks at what no kernel rings for: a folder that was not there.
const SECOND: Duration = Duration::from_secs(1);
/// Shortest pause between two looks, so that a node which mounts all the time is not busy with being looked at.
const PAUSE: Duration = Duration::from_millis(2);
/// How long it goes on after the last who followed has left.
const LINGER: Duration = Duration::from_mins(10);
/// The mounts that the agent sees: the node's, as far as they are propagated to it.
const TABLE: &str = "/proc/self/mountinfo";

/// See the module. It begins with the first who follows.
pub(super) struct Watch {
    place: Place,
    running: Mutex<Option<Running>>,
}

/// A watch under way.
#[derive(Clone)]
struct Running {
    log: Arc<Mutex<Log>>,
    /// The number of the last thing that was seen.
    news: watch::Receiver<u64>,
    ask: mpsc::Sender<oneshot::Sender<()>>,
    /// Ends with the last clone, and with the agent.
    _watching: Arc<AbortOnDropHandle<()>>,
}

/// One thing that was seen.
#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    at: Timestamp,
    seen: Instant,
    what: NodeSight,
}

/// What is remembered.
#[derive(Debug)]
struct Log {
    /// Tells it from that of an agent before.
    life: String,
    last: u64,
    entries: VecDeque<Entry>,
    sockets: Vec<String>,
    blind: Vec<String>,
}

impl Log {
    fn add(&mut self, at: Timestamp, seen: Instant, what: NodeSight) {
        self.last += 1;
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.last,
            at,
            seen,
            what,
        });
    }

    fn following(&self) -> Following {
        Following {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            life: self.life.clone(),
            oldest: self.entries.front().map_or(self.last + 1, |entry| entry.number),
            sockets: self.sockets.clone(),
            blind: self.blind.clone(),
        }
    }
}

impl Watch {
    pub(super) fn of(place: &Place) -> Self {
        Self {
            place: place.clone(),
            running: Mutex::default(),
        }
    }

    /// The watch that is under way, or a new one, which has looked once.
    async fn join(&self) -> Result<Running, oneshot::error::RecvError> {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            let found = running.take().filter(|running| !running.ask.is_closed());
            running
                .insert(found.unwrap_or_else(|| Running::begin(&self.place)))
                .clone()
        };
        running.looked().await?;
        Ok(running)
    }
}

impl Running {
    fn begin(place: &Place) -> Self {
        let log = Arc::new(Mutex::new(Log {
            life: uuid::Uuid::new_v4().simple().to_string(),
            last: 0,
            entries: VecDeque::new(),
            sockets: Vec::new(),
            blind: Vec::new(),
        }));
        let (told, news) = watch::channel(0);
        let (ask, asked) = mpsc::channel(16);
        let eyes = Eyes {
            sockets: Sockets::new(&place.socket, &place.provider_folders),
            pods: place.kubelet_root.join("pods"),
            mounted: None,
            log: Arc::clone(&log),
            told,
        };
        let watching = AbortOnDropHandle::new(tokio::spawn(eyes.watch(asked)));
        Self {
            log,
            news,
            ask,
            _watching: Arc::new(watching),
        }
    }

    /// Everything that has happened by now is in the log when it answers.
    async fn looked(&self) -> Result<(), oneshot::error::RecvError> {
        let (done, looked) = oneshot::channel();
        // One that has ended answers nothing, which is told by the answer.
        let _ = self.ask.send(done).await;
        looked.await
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who looks.
struct Eyes {
    sockets: Sockets,
    /// Kubelet's folder of pods.
    pods: PathBuf,
    /// As it was at the last look that succeeded.
    mounted: Option<Mounted>,
    log: Arc<Mutex<Log>>,
    told: watch::Sender<u64>,
}

impl Eyes {
    async fn watch(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) {
        let (bell, table) = (Bell::new(), changing_table());
        self.note_blind(bell.as_ref().err(), table.as_ref().err());
        let (mut bell, mut table) = (bell.ok(), table.ok());
        let mut seconds = interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut followed = Instant::now();
        loop {
            // Hung up before each look: a folder that was made anew has none, and what came before is seen by the look.
            if let Some(bell) = &bell {
                bell.hang_in(self.sockets.folders());
            }
            let mut wake: Option<oneshot::Sender<()>> = None;
            let rung = tokio::select! {
                rung = rings(bell.as_ref()) => rung,
                changed = changes(table.as_ref()) => {
                    if let Err(error) = changed {
                        tracing::debug!(%error, "the mount table");
                        table = None;
                    }
                    Ok(())
                }
                request = asked.recv() => match request {
                    Some(done) => { wake = Some(done); Ok(()) }
                    None => return,
                },
                _ = seconds.tick() => Ok(()),
            };
            if let Err(error) = rung {
                tracing::debug!(%error, "inotify");
                bell = None;
            }
            let now = (Timestamp::now(), Instant::now());
            let (eyes, looked) = match tokio::task::spawn_blocking(move || self.look()).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "the node is not watched any more");
                    return;
                }
            };
            self = eyes;
            self.remember(now, looked);
            if let Some(done) = wake {
                // Whoever asked may have left.
                let _ = done.send(());
            }
            // The table's own clone and whoever joined: the watch's own handle is one of them.
            if self.told.receiver_count() > 1 {
                followed = Instant::now();
            } else if followed.elapsed() > LINGER {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at everything, and gives back what has changed.
    fn look(mut self) -> (Self, Vec<NodeSight>) {
        let mut sights = self.sockets.look(Instant::now());
        // Kubelet's folder may be reached by a link, which the table has not.
        let pods = self.pods.canonicalize().unwrap_or_else(|_| self.pods.clone());
        match fs::read(TABLE) {
            Ok(table) => sights.extend(self.mounts(volumes(&table, &pods))),
            Err(error) => tracing::debug!(%error, "the mount table"),
        }
        (self, sights)
    }

    fn mounts(&mut self, now: Mounted) -> Vec<NodeSight> {
        let sights = self.mounted.as_ref().map_or_else(
            // What is there at first sight is no news.
            Vec::new,
            |before| {
                let gone = before.difference(&now).map(|(_, of)| NodeSight::Unmounted {
                    pod: of.pod.clone(),
                    volume: of.volume.clone(),
                });
                let new = now.difference(before).map(|(_, of)| NodeSight::Mounted {
                    pod: of.pod.clone(),
                    volume: of.volume.clone(),
                });
                gone.chain(new).collect()
            },
        );
        self.mounted = Some(now);
        sights
    }

    fn remember(&self, (at, seen): (Timestamp, Instant), sights: Vec<NodeSight>) {
        let last = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.sockets = self.sockets.there();
            for sight in sights {
                log.add(at, seen, sight);
            }
            log.last
        };
        self.told
            .send_if_modified(|told| std::mem::replace(told, last) != last);
    }

    fn note_blind(&self, bell: Option<&io::Error>, table: Option<&io::Error>) {
        let mut blind = Vec::new();
        if let Some(error) = bell {
            blind.push(format!("sockets that come and go within a second ({error})"));
        }
        if let Some(error) = table {
            blind.push(format!("mounts that come and go within a second ({error})"));
        }
        for folder in self.sockets.folders().filter(|folder| !folder.is_dir()) {
            blind.push(format!("{}, which is not there", folder.display()));
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.blind = blind;
    }
}

/// The mount table, which tells by an exceptional condition that it has changed (`proc_pid_mounts(5)`, `POLLPRI`).
fn changing_table() -> io::Result<AsyncFd<OwnedFd>> {
    woken(fs::File::open(Path::new(TABLE))?, Interest::PRIORITY)
}

async fn changes(table: Option<&AsyncFd<OwnedFd>>) -> io::Result<()> {
    match table {
        Some(table) => table
            .ready(Interest::PRIORITY)
            .await
            .map(|mut ready| ready.clear_ready()),
        None => std::future::pending().await,
    }
}

async fn rings(bell: Option<&Bell>) -> io::Result<()> {
    match bell {
        Some(bell) => bell.rings().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
