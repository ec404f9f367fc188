//! The agent's side.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    PARALLEL, UNMOUNT, WARM_UP,
    client::line_of,
    lines::Lines,
    protocol::{Answer, End, Left, Looked, Request, Share},
    watch::{self, Watch},
};
use crate::{
    load::{
        csi_lens::{CsiClient, CsiLens, Leftover, PublishError, PublishJob, VOLUME, begun, is_mount_point},
        floor,
        run_mounts::run_share,
    },
    mount_point::MountPoint,
    verdict::files::{ExpectedPrint, SeenPrint, differences_of_prints},
};

/// Ends are handed over so often.
const BATCH: Duration = Duration::from_millis(100);
/// Longest wait for the harness to say that a measurement begins, or that all nodes have ended theirs.
const PATIENCE: Duration = Duration::from_mins(15);
/// Pause before a volume that could not be unpublished is tried again: kubelet's first one.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest request: a share of a hundred thousand mounts.
const LONGEST: usize = 64 * 1024 * 1024;
/// Pause between two looks for files that should not be there.
const EACH: Duration = Duration::from_millis(20);

/// Where an agent stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// The driver's socket.
    pub socket: PathBuf,
    /// Kubelet's root, at the path that it has on the node: the driver is handed paths below it.
    pub kubelet_root: PathBuf,
    /// The uid of the agent's own pod, in whose folder its volumes are; see [`CsiClient::within`].
    pub pod_uid: Option<String>,
    /// A folder to measure the floor in.
    pub scratch: PathBuf,
    /// Folders in which providers have their sockets, which are watched.
    pub provider_folders: Vec<PathBuf>,
}

/// An agent at its place.
pub(super) struct Post {
    place: Place,
    watch: Watch,
}

impl Post {
    pub(super) fn at(place: Place) -> Self {
        Self {
            watch: Watch::of(&place),
            place,
        }
    }
}

impl Place {
    fn client(&self, pod_uid: Option<String>) -> CsiClient {
        CsiClient::new(&self.socket, &self.kubelet_root).within(pod_uid)
    }

    /// Folders of pods that have a volume of ours for the pod `uid`: also that of an agent's before this one.
    fn anchors(&self, uid: &str) -> Vec<String> {
        let volume = Path::new("volumes/kubernetes.io~csi").join(format!("{VOLUME}-{uid}"));
        let pods = std::fs::read_dir(self.kubelet_root.join("pods"));
        pods.into_iter()
            .flatten()
            .flatten()
            .filter(|pod| pod.path().join(&volume).exists())
            .filter_map(|pod| pod.file_name().into_string().ok())
            .collect()
    }
}

/// Serves conversations, for ever; all end with it when it is dropped.
///
/// # Errors
///
/// When nothing more can be accepted.
pub async fn serve(listener: TcpListener, place: Place) -> io::Result<()> {
    let post = Arc::new(Post::at(place));
    let mut conversations = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            Some(_) = conversations.join_next(), if !conversations.is_empty() => continue,
        };
        let post = Arc::clone(&post);
        conversations.spawn(async move {
            if let Err(error) = converse(stream, &post).await {
                tracing::debug!(%error, "conversation");
            }
        });
    }
}

/// One conversation, from its request to its end.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    post: &Post,
) -> io::Result<()> {
    let place = &post.place;
    let (read, write) = split(stream);
    let (mut ears, mut mouth) = (Ears(Lines::new(read, LONGEST)), Mouth(write));
    let Some(request) = ears.hear().await? else {
        return Ok(());
    };
    // Whoever hangs up does not wait for the answer; a measurement listens by itself, and so does whoever is followed.
    let answer = match request {
        Request::Measure(share) => return measure(share, place, ears, mouth).await,
        Request::Follow { pods } => return watch::follow(&post.watch, pods, &mut ears, &mut mouth).await,
        other => tokio::select! {
            answer = answer(other, place) => answer,
            _ = ears.hear() => return Ok(()),
        },
    };
    mouth.say(&answer).await
}

async fn answer(request: Request, place: &Place) -> Answer {
    match request {
        Request::Hello => Answer::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        Request::Floor => match floor::measure(&place.scratch).await {
            Ok(floor) => Answer::Floor(floor.into_event()),
            Err(error) => trouble(&error),
        },
        Request::Publish { job, deadline } => {
            let client = place.client(place.pod_uid.clone());
            published(client.publish(&job.into_job(), deadline).await)
        }
        Request::Unpublish { uids, deadline } => Answer::Unpublished {
            left: unpublish(place, uids, deadline).await,
        },
        Request::Look { uid } => {
            let target = place.client(place.pod_uid.clone()).target(&uid);
            Answer::Looked(look(MountPoint::at(&target)).await)
        }
        Request::LookAtPod { uid, volume, during } => {
            // Of one component each, whoever asks.
            if [&uid, &volume]
                .iter()
                .any(|part| part.contains('/') || part.contains(".."))
            {
                return trouble(&"that is no pod's volume");
            }
            let mount = MountPoint::of([place.kubelet_root.as_path()], &uid, &volume);
            Answer::Looked(look_during(&mount, during).await)
        }
        Request::Begun { uid } => {
            begun(&place.client(place.pod_uid.clone()).target(&uid)).await;
            Answer::Begun
        }
        Request::Measure(_) | Request::Go | Request::Stop | Request::Done => {
            trouble(&"there is no measurement under way in this conversation")
        }
        Request::Follow { .. } | Request::Watch { .. } | Request::Press { .. } => {
            trouble(&"nobody follows the node in this conversation")
        }
    }
}

pub(super) fn trouble(because: &dyn std::fmt::Display) -> Answer {
    Answer::Trouble {
        because: because.to_string(),
    }
}

fn published(ended: Result<Duration, PublishError>) -> Answer {
    match ended {
        Ok(took) => Answer::Published { took },
        Err(PublishError::Refused { status, took }) => Answer::Refused {
            code: status.code().into(),
            message: status.message().to_owned(),
            took,
        },
        Err(PublishError::TimedOut(after)) => Answer::TimedOut { after },
        Err(error @ (PublishError::Prepare { .. } | PublishError::NotAsked(_))) => Answer::NotAsked {
            because: error.to_string(),
        },
    }
}

/// Like kubelet tries again what is refused, for a mount may be busy, until the deadline.
async fn unpublish(place: &Place, uids: Vec<String>, deadline: Duration) -> Vec<Left> {
    stream::iter(uids)
        .map(|uid| async move {
            let until = Instant::now() + deadline;
            let mut left = None;
            for anchor in place.anchors(&uid) {
                let client = place.client(Some(anchor));
                loop {
                    let ended = client
                        .unpublish(&uid, until.saturating_duration_since(Instant::now()))
                        .await;
                    match ended {
                        Ok(_) => break,
                        Err(leftover) if Instant::now() + AGAIN >= until => {
                            left = Some(left_of(&uid, &leftover));
                            break;
                        }
                        Err(_) => tokio::time::sleep(AGAIN).await,
                    }
                }
            }
            left
        })
        .buffer_unordered(PARALLEL)
        .filter_map(|left| async move { left })
        .collect()
        .await
}

fn left_of(uid: &str, leftover: &Leftover) -> Left {
    Left {
        uid: uid.to_owned(),
        path: leftover.path.display().to_string(),
        because: leftover.because.clone(),
    }
}

/// Looks again and again, so that a file that is there for a moment only is seen.
async fn look_during(mount: &MountPoint, during: Duration) -> Looked {
    let until = Instant::now() + during;
    loop {
        let looked = look(mount.clone()).await;
        if !looked.files.is_empty() || looked.trouble.is_some() || Instant::now() >= until {
            return looked;
        }
        tokio::time::sleep(EACH).await;
    }
}

async fn look(mount: MountPoint) -> Looked {
    let mounted = is_mount_point(mount.path()).await;
    let there = !mount.is_gone();
    let read = tokio::task::spawn_blocking(move || mount.files()).await;
    let (files, trouble) = match read {
        Ok(Ok(files)) => (files.iter().map(SeenPrint::from).collect(), None),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Looked {
        mounted,
        there,
        files,
        trouble,
    }
}

/// A share of a measurement, from its preparation until everything is unpublished, whoever hangs up.
async fn measure<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    share: Share,
    place: &Place,
    mut ears: Ears<S>,
    mut mouth: Mouth<S>,
) -> io::Result<()> {
    let plan = share.plan();
    let Some(jobs) = share.publish_jobs() else {
        return mouth.say(&trouble(&"a mount of the share is nobody's")).await;
    };
    let expected: BTreeMap<String, Vec<ExpectedPrint>> =
        plan.tenants.iter().cloned().zip(share.expected).collect();
    let check = move |job: &PublishJob, target: &Path| check(&expected, job, target);
    let client = place.client(place.pod_uid.clone());
    let lens = Arc::new(CsiLens::new(client, jobs, Arc::new(check)));
    if let Err(status) = lens.warm_up(WARM_UP).await {
        return mouth
            .say(&trouble(&format!("it cannot reach the driver: {status}")))
            .await;
    }
    mouth.say(&Answer::Ready).await?;
    let began = timeout(PATIENCE, ears.hear()).await;
    if !matches!(began, Ok(Ok(Some(Request::Go)))) {
        return Ok(());
    }

    let interrupt = CancellationToken::new();
    let _ends_with_the_conversation = interrupt.clone().drop_guard();
    let (tell, mut told) = mpsc::unbounded_channel();
    let (target, stop) = (Arc::clone(&lens), interrupt.clone());
    let indexes: Vec<u32> = share.mounts.iter().map(|mount| mount.index).collect();
    let running = tokio::spawn(async move {
        let tell = |place: u32, ended: &_| {
            // Whoever does not hear it any more has hung up.
            let _ = tell.send(End::of(indexes[place as usize], ended));
        };
        run_share(&plan, target, &tell, &stop).await
    });
    let heard = hand_over(&mut ears, &mut mouth, &mut told, &interrupt).await;
    // However the conversation went, the measurement comes to its end, and what it mounted goes.
    interrupt.cancel();
    let ended = running.await;
    let mut over = heard.is_err();
    if !over {
        let last = match ended {
            Ok(Ok(_)) => Answer::Measured,
            Ok(Err(error)) => trouble(&error),
            Err(error) => trouble(&error),
        };
        over = mouth.say(&last).await.is_err();
    }
    if !over {
        let _ = timeout(PATIENCE, ears.hear()).await;
    }
    let left = lens.unpublish_all(PARALLEL, UNMOUNT).await;
    let left = left.iter().map(|leftover| left_of("", leftover)).collect();
    mouth.say(&Answer::Unpublished { left }).await
}

/// Hands ends over until there are no more; an error when the harness has hung up.
async fn hand_over<S: AsyncRead + AsyncWrite + Send + Unpin>(
    ears: &mut Ears<S>,
    mouth: &mut Mouth<S>,
    told: &mut mpsc::UnboundedReceiver<End>,
    interrupt: &CancellationToken,
) -> io::Result<()> {
    let mut batches = interval(BATCH);
    batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ends = Vec::new();
    let mut over = false;
    while !over {
        tokio::select! {
            end = told.recv() => match end {
                Some(end) => ends.push(end),
                None => over = true,
            },
            _ = batches.tick(), if !ends.is_empty() => {
                mouth.say(&Answer::Ended(std::mem::take(&mut ends))).await?;
            }
            heard = ears.hear() => match heard? {
                Some(Request::Stop) => interrupt.cancel(),
                _ => return Err(io::ErrorKind::ConnectionAborted.into()),
            },
        }
    }
    if ends.is_empty() {
        return Ok(());
    }
    mouth.say(&Answer::Ended(ends)).await
}

fn check(
    expected: &BTreeMap<String, Vec<ExpectedPrint>>,
    job: &PublishJob,
    target: &Path,
) -> Result<(), String> {
    let expected = expected.get(&job.pod.namespace).ok_or("no such tenant")?;
    let seen = MountPoint::at(target)
        .files()
        .map_err(|error| error.to_string())?;
    let seen: Vec<SeenPrint> = seen.iter().map(SeenPrint::from).collect();
    match differences_of_prints(expected, &seen).first() {
        Some(difference) => Err(difference.0.clone()),
        None => Ok(()),
    }
}

pub(super) struct Ears<S>(Lines<ReadHalf<S>>);

pub(super) struct Mouth<S>(WriteHalf<S>);

impl<S: AsyncRead> Ears<S> {
    /// The next request; none when the harness has hung up. Cancel safe.
    pub(super) async fn hear(&mut self) -> io::Result<Option<Request>> {
        let Some(line) = self.0.next().await? else {
            return Ok(None);
        };
        // What cannot be read holds tokens: only where it broke is said.
        serde_json::from_slice(&line)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("column {}", error.column())))
    }
}

impl<S: AsyncWrite> Mouth<S> {
    pub(super) async fn say(&mut self, answer: &Answer) -> io::Result<()> {
        self.0.write_all(&line_of(answer)).await?;
        self.0.flush().await
    }
}
