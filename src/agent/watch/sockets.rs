//! The sockets of driver and provider, as they are on the node.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use tokio::io::{Interest, unix::AsyncFd};

use crate::journal::NodeSight;

/// Most sockets of a folder that are watched.
const MOST: usize = 32;

/// Where sockets are.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    driver: PathBuf,
    providers: Vec<PathBuf>,
    known: BTreeMap<String, Known>,
    begun: bool,
}

/// A socket that is, or was, there.
#[derive(Debug, Clone)]
enum Known {
    There(Identity),
    GoneSince(Instant),
}

/// What tells a socket from another at the same place. File systems give the number of an inode that is gone to the next one; two
/// of one number are told apart by when they were made, which for a socket is when it was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    made: (i64, i64),
}

impl Sockets {
    /// The driver's, and whatever sockets are in the folders of providers.
    pub(super) fn new(driver: &Path, providers: &[PathBuf]) -> Self {
        Self {
            driver: driver.to_owned(),
            providers: providers.to_vec(),
            known: BTreeMap::new(),
            begun: false,
        }
    }

    /// Folders in which they come and go.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.driver
            .parent()
            .into_iter()
            .chain(self.providers.iter().map(PathBuf::as_path))
    }

    /// Names of those that are there.
    pub(super) fn there(&self) -> Vec<String> {
        let there = self
            .known
            .iter()
            .filter(|(_, known)| matches!(known, Known::There(_)));
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Looks at them; what has become of them since the last look, if there was one.
    pub(super) fn look(&mut self, now: Instant) -> Vec<NodeSight> {
        let there = self.found();
        let mut sights = Vec::new();
        for (socket, known) in &mut self.known {
            if let Known::There(_) = known
                && !there.contains_key(socket)
            {
                *known = Known::GoneSince(now);
                sights.push(NodeSight::SocketGone {
                    socket: socket.clone(),
                });
            }
        }
        for (socket, identity) in there {
            let before = self.known.insert(socket.clone(), Known::There(identity));
            let sight = match before {
                Some(Known::There(before)) if before == identity => continue,
                Some(Known::There(_)) => NodeSight::SocketReplaced { socket },
                Some(Known::GoneSince(since)) => NodeSight::SocketThere {
                    socket,
                    away_us: Some(micros(now.saturating_duration_since(since))),
                },
                None => NodeSight::SocketThere {
                    socket,
                    away_us: None,
                },
            };
            sights.push(sight);
        }
        if !self.begun {
            self.begun = true;
            sights.clear();
        }
        sights
    }

    fn found(&self) -> BTreeMap<String, Identity> {
        let mut found = BTreeMap::new();
        if let Some(identity) = identity(&self.driver) {
            found.insert(named("driver", &self.driver), identity);
        }
        for folder in &self.providers {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let sockets = entries.filter_map(|entry| Some((entry.path(), identity(&entry.path())?)));
            for (path, identity) in sockets.take(MOST) {
                found.insert(named("provider", &path), identity);
            }
        }
        found
    }
}

fn named(whose: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{whose} {name}")
}

fn identity(path: &Path) -> Option<Identity> {
    let found = fs::symlink_metadata(path).ok()?;
    found.file_type().is_socket().then(|| Identity {
        device: found.dev(),
        inode: found.ino(),
        made: (found.mtime(), found.mtime_nsec()),
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A file whose readiness wakes whoever waits for it.
#[expect(
    deprecated,
    reason = "it is unsound where a descriptor is not its holder's own until both are gone; an owned one is, and what has come in \
              its place is for unsafe code, of which there is none here"
)]
pub(super) fn woken(file: impl Into<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(file.into(), interest)
}

/// Tells when something in a folder comes or goes, by inotify(7): the kernel wakes whoever waits, and nobody looks in vain.
pub(super) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self(woken(inotify, Interest::READABLE)?))
    }

    /// Hangs it up in these folders, as far as they are there; in one that has it already it stays as it is.
    pub(super) fn hang_in<'a>(&self, folders: impl Iterator<Item = &'a Path>) -> usize {
        let wanted = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        folders
            .filter(|folder| add_watch(&self.0, *folder, wanted).is_ok())
            .count()
    }

    /// Waits until it rings. Cancel safe.
    pub(super) async fn rings(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut heard = Reader::new(&self.0, &mut buffer);
        loop {
            match heard.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    tracing::debug!("more came and went than inotify tells: all is looked at anyway");
                }
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::os::unix::net::UnixListener;

    use super::*;

    fn gone(socket: &str) -> NodeSight {
        NodeSight::SocketGone {
            socket: socket.to_owned(),
        }
    }

    fn there(socket: &str, away_us: Option<u64>) -> NodeSight {
        NodeSight::SocketThere {
            socket: socket.to_owned(),
            away_us,
        }
    }

    #[test]
    fn sockets_that_go_come_and_are_replaced_are_told_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let (driver, providers) = (folder.path().join("csi.sock"), folder.path().join("providers"));
        fs::create_dir(&providers).unwrap();
        fs::write(providers.join("no.sock"), "a file is no socket").unwrap();
        let first = UnixListener::bind(&driver).unwrap();
        let mut sockets = Sockets::new(&driver, &[providers.clone(), folder.path().join("not there")]);
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(sockets.look(at(0)), [], "what is there at first sight is no news");
        assert_eq!(sockets.there(), ["driver csi.sock"]);

        let aws = UnixListener::bind(providers.join("aws.sock")).unwrap();
        assert_eq!(sockets.look(at(1)), [there("provider aws.sock", None)]);
        fs::remove_file(&driver).unwrap();
        assert_eq!(sockets.look(at(2)), [gone("driver csi.sock")]);
        assert_eq!(sockets.look(at(3)), []);
        let second = UnixListener::bind(&driver).unwrap();
        assert_eq!(sockets.look(at(14)), [there("driver csi.sock", Some(12_000))]);

        // As a program does that was killed, and finds the socket that it left behind.
        fs::remove_file(&driver).unwrap();
        let third = UnixListener::bind(&driver).unwrap();
        let replaced = NodeSight::SocketReplaced {
            socket: "driver csi.sock".to_owned(),
        };
        assert_eq!(sockets.look(at(20)), [replaced]);
        assert_eq!(sockets.look(at(21)), []);
        assert_eq!(sockets.there(), ["driver csi.sock", "provider aws.sock"]);
        drop((first, second, third, aws));
        assert_eq!(sockets.look(at(22)), [], "a socket outlives its program");
    }

    #[tokio::test]
    async fn the_bell_rings_when_a_socket_comes_or_goes_and_is_still_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let bell = Bell::new().unwrap();
        let missing = folder.path().join("missing");
        assert_eq!(bell.hang_in([folder.path(), &missing].into_iter()), 1);
        assert!(futures::FutureExt::now_or_never(bell.rings()).is_none());
        let soon = Duration::from_secs(20);
        let path = folder.path().join("csi.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        tokio::time::timeout(soon, bell.rings()).await.unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        tokio::time::timeout(soon, bell.rings()).await.unwrap().unwrap();
        assert!(futures::FutureExt::now_or_never(bell.rings()).is_none());
    }
}
