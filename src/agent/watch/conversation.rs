//! One who follows: told of what the harness may know, from what is remembered on, until it hangs up.

use std::{
    collections::{HashSet, VecDeque},
    io,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Interval, MissedTickBehavior, interval_at},
};

use super::{
    Entry, Running, SECOND, Watch,
    pressure::{Counted, FILES},
};
use crate::{
    agent::{
        protocol::{Answer, Request, Sample, Saw, Sight},
        serve::{Ears, Mouth, trouble},
    },
    journal::NodeSight,
};

/// Most pods whose volumes somebody is told of: of more, the latest.
const MOST_PODS: usize = 20_000;
/// Most sights in an answer.
const BATCH: usize = 200;
/// A sample of less says nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// Tells what happens, until the harness hangs up.
pub(in crate::agent) async fn follow<S: AsyncRead + AsyncWrite + Send + Unpin>(
    watch: &Watch,
    pods: Vec<String>,
    ears: &mut Ears<S>,
    mouth: &mut Mouth<S>,
) -> io::Result<()> {
    let Ok(running) = watch.join().await else {
        return mouth.say(&trouble(&"it cannot watch the node")).await;
    };
    let mut following = running.log().following();
    let counted = counted().await;
    following.blind.extend(counted.blind());
    mouth.say(&Answer::Following(following)).await?;
    let mut follower = Follower {
        running,
        pods: Pods::default(),
        told: 0,
        pressed: None,
        mouth,
    };
    follower.pods.add(pods);
    follower.tell(&HashSet::new(), None).await?;
    loop {
        let request = tokio::select! {
            heard = ears.hear() => match heard? {
                Some(request) => request,
                None => return Ok(()),
            },
            changed = follower.running.news.changed() => {
                if changed.is_err() {
                    // Whoever follows begins anew with another watch.
                    return Ok(());
                }
                follower.tell(&HashSet::new(), None).await?;
                continue;
            }
            () = second(&mut follower.pressed) => {
                follower.sample().await?;
                continue;
            }
        };
        match request {
            Request::Watch { pods, mark } => {
                if follower.running.looked().await.is_err() {
                    return Ok(());
                }
                let new = follower.pods.add(pods);
                follower.tell(&new, Some(mark)).await?;
            }
            Request::Press { on, mark } => {
                follower.press(on).await?;
                follower.tell(&HashSet::new(), Some(mark)).await?;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Pods whose volumes the harness may know of.
#[derive(Default)]
struct Pods {
    known: HashSet<String>,
    /// In the order in which they were told.
    order: VecDeque<String>,
}

impl Pods {
    /// Those that were not known.
    fn add(&mut self, pods: Vec<String>) -> HashSet<String> {
        let mut new = HashSet::new();
        for pod in pods {
            if !self.known.insert(pod.clone()) {
                continue;
            }
            self.order.push_back(pod.clone());
            if self.order.len() > MOST_PODS
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            new.insert(pod);
        }
        new
    }
}

/// Whose a thing is to know; sockets are everybody's.
fn pod_of(what: &NodeSight) -> Option<&str> {
    match what {
        NodeSight::Mounted { pod, .. } | NodeSight::Unmounted { pod, .. } => Some(pod),
        _ => None,
    }
}

struct Follower<'a, S> {
    running: Running,
    pods: Pods,
    /// Nothing up to this number is untold.
    told: u64,
    /// While samples are taken.
    pressed: Option<Pressed>,
    mouth: &'a mut Mouth<S>,
}

struct Pressed {
    seconds: Interval,
    since: Instant,
    counted: Counted,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Follower<'_, S> {
    /// Tells what is new, and what is older and of `late` pods, which were not known then.
    async fn tell(&mut self, late: &HashSet<String>, mark: Option<u64>) -> io::Result<()> {
        self.running.news.borrow_and_update();
        let (sights, through) = {
            let log = self.running.log();
            let is_to_be_told = |entry: &&Entry| match pod_of(&entry.what) {
                Some(pod) if entry.number <= self.told => late.contains(pod),
                Some(pod) => self.pods.known.contains(pod),
                None => entry.number > self.told,
            };
            let sights: Vec<Sight> = log.entries.iter().filter(is_to_be_told).map(sight).collect();
            (sights, log.last)
        };
        let mut batches = sights.chunks(BATCH).peekable();
        while let Some(batch) = batches.next() {
            let is_last = batches.peek().is_none();
            let answer = Answer::Saw(Saw {
                sights: batch.to_vec(),
                through: if is_last { through } else { self.told },
                mark: mark.filter(|_| is_last),
            });
            self.mouth.say(&answer).await?;
        }
        self.told = through;
        if sights.is_empty() && mark.is_some() {
            let answer = Answer::Saw(Saw {
                sights,
                through,
                mark,
            });
            self.mouth.say(&answer).await?;
        }
        Ok(())
    }

    async fn press(&mut self, on: bool) -> io::Result<()> {
        // What there is of the last second is a sample too.
        let enough = |pressed: &Pressed| pressed.since.elapsed() >= SHORTEST;
        if self.pressed.as_ref().is_some_and(enough) {
            self.sample().await?;
        }
        self.pressed = if on { Some(Pressed::begin().await) } else { None };
        Ok(())
    }

    async fn sample(&mut self) -> io::Result<()> {
        match &mut self.pressed {
            Some(pressed) => {
                let sample = pressed.sample().await;
                self.mouth.say(&Answer::Pressed(sample)).await
            }
            None => Ok(()),
        }
    }
}

impl Pressed {
    async fn begin() -> Self {
        let since = Instant::now();
        let mut seconds = interval_at((since + SECOND).into(), SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            seconds,
            since,
            counted: counted().await,
        }
    }

    async fn sample(&mut self) -> Sample {
        let (now, counted) = (Instant::now(), counted().await);
        let sample = counted.since(&self.counted, now - self.since);
        (self.since, self.counted) = (now, counted);
        sample
    }
}

async fn second(pressed: &mut Option<Pressed>) {
    match pressed {
        Some(pressed) => {
            pressed.seconds.tick().await;
        }
        None => std::future::pending().await,
    }
}

fn sight(entry: &Entry) -> Sight {
    Sight {
        number: entry.number,
        at: entry.at,
        ago: entry.seen.elapsed(),
        what: entry.what.clone(),
    }
}

/// What the kernel counts now, as far as it tells.
async fn counted() -> Counted {
    let mut texts = [const { None::<String> }; 4];
    for (text, file) in texts.iter_mut().zip(FILES) {
        *text = tokio::fs::read_to_string(file).await.ok();
    }
    Counted::of(texts.each_ref().map(Option::as_deref))
}
