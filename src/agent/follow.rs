//! Following what happens on a node: one conversation with its agent for as long as the run goes on, taken up again when it breaks.
//!
//! What an agent says is held against what it was asked: it may be another program than ours. Of pods that are not the run's
//! nothing is taken, nothing that is longer than a name, and no more than a run can have to do with; who says such things is
//! followed no longer. A break is told when it happens and when it is over, with what is missing of the time between.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    client::{ANSWER, Agent, Conversation, unexpected},
    protocol::{Answer, Following, Request, Sample, Saw, Sight},
};
use crate::journal::{Missed, NodePressed, NodeSaw, NodeSight, Pressure, PressureShare};

/// Most things that one agent may tell in a run.
const MOST_SIGHTS: usize = 50_000;
/// Most answers within a second.
const MOST_ANSWERS: u32 = 2_000;
/// Most pods of a node that are asked for.
const MOST_PODS: usize = 20_000;
/// Longest answer of an agent that is followed.
const LONGEST: usize = 1024 * 1024;
/// Longest name of a socket or a volume: Kubernetes' own are of 253 at most.
const LONGEST_NAME: usize = 300;
/// Most sockets, and things that it cannot see, that an agent may name when it begins.
const MOST_NAMES: usize = 100;
/// An agent that has nothing to tell is asked whether it is there so often.
const QUIET: Duration = Duration::from_secs(20);
/// Pause before a conversation that broke is taken up again: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// How often an agent is asked that never followed, and how often one is taken up again.
const TRIES: (u32, u32) = (5, 100);

/// Who hears of what an agent tells.
pub type Told = Arc<dyn Fn(FollowTold) + Send + Sync>;

/// What an agent tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowTold {
    /// What it saw, and when that was.
    Saw(NodeSaw, Instant),
    /// What the node was short of in a measurement that has ended.
    Pressed(NodePressed),
}

/// A node that is followed, until it is dropped.
pub struct Followed {
    node: String,
    tell: mpsc::UnboundedSender<Command>,
    _following: AbortOnDropHandle<()>,
}

enum Command {
    Pod(String),
    Measuring(String),
    Measured(String),
    Settle(oneshot::Sender<()>),
}

impl Followed {
    /// Begins to follow.
    #[must_use]
    pub fn begin(agent: Agent, told: Told) -> Self {
        let (tell, commands) = mpsc::unbounded_channel();
        let node = agent.node().to_owned();
        let follower = Follower {
            agent,
            told,
            began: Instant::now(),
            pods: VecDeque::new(),
            known: HashSet::new(),
            measuring: BTreeMap::new(),
            heard: Heard::default(),
            marks: 0,
            waiting: BTreeMap::new(),
            broken: None,
        };
        Self {
            node,
            tell,
            _following: AbortOnDropHandle::new(tokio::spawn(follower.follow(commands))),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Also the volumes of the pod with this uid, from its first on.
    pub fn pod(&self, uid: String) {
        self.say(Command::Pod(uid));
    }

    /// A measurement has begun: how hard pressed the node is is of interest.
    pub fn measuring(&self, measurement: &str) {
        self.say(Command::Measuring(measurement.to_owned()));
    }

    /// It has ended.
    pub fn measured(&self, measurement: &str) {
        self.say(Command::Measured(measurement.to_owned()));
    }

    /// Waits until everything is told that has happened by now, `within` this time at the longest; one that cannot be reached
    /// tells nothing, and is not waited for.
    pub async fn settled(&self, within: Duration) {
        let (done, settled) = oneshot::channel();
        self.say(Command::Settle(done));
        // Whatever is missing then is missing.
        let _ = timeout(within, settled).await;
    }

    fn say(&self, command: Command) {
        // One that is followed no longer hears nothing.
        let _ = self.tell.send(command);
    }
}

struct Follower {
    agent: Agent,
    told: Told,
    began: Instant,
    /// The latest that were told, in their order.
    pods: VecDeque<String>,
    known: HashSet<String>,
    measuring: BTreeMap<String, Samples>,
    heard: Heard,
    /// The last mark that was given.
    marks: u64,
    /// Who waits for the answer with a mark.
    waiting: BTreeMap<u64, Waiting>,
    /// Since when nobody hears the agent, where it was heard before.
    broken: Option<Instant>,
}

enum Waiting {
    Settle(oneshot::Sender<()>),
    Measured(String),
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    /// What is numbered; none before the first conversation.
    life: Option<String>,
    numbers: HashSet<u64>,
    through: u64,
    total: usize,
}

/// How a conversation ended.
enum Over {
    /// The harness does not want to hear more.
    Ended,
    Broke(String),
    /// It is not to be taken up again.
    Refused(String),
}

impl Follower {
    async fn follow(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (mut pause, mut tries) = (AGAIN.0, 0);
        loop {
            let over = self.converse(&mut commands).await;
            let most = if self.heard.life.is_none() {
                TRIES.0
            } else {
                TRIES.1
            };
            tries += 1;
            let (because, for_good) = match over {
                Over::Ended => return,
                Over::Broke(because) => (because, tries >= most),
                Over::Refused(because) => (because, true),
            };
            self.lost(because, for_good);
            if for_good {
                // Whoever waits for it waits in vain, and is told so by its end.
                return;
            }
            if self.broken.is_some_and(|broken| broken.elapsed() < pause) {
                pause = AGAIN.0;
            }
            let until = Instant::now() + pause;
            while let Ok(command) =
                timeout(until.saturating_duration_since(Instant::now()), commands.recv()).await
            {
                match command {
                    Some(command) => self.note(command),
                    None => return,
                }
            }
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    /// One conversation, from its beginning to its end.
    async fn converse(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Over {
        let request = Request::Follow {
            pods: self.pods.iter().cloned().collect(),
        };
        let began = async {
            let mut conversation = self.agent.begin(&request).await?;
            conversation.ears.at_most(LONGEST);
            match conversation.hear(ANSWER).await? {
                Answer::Following(following) => Ok((conversation, following)),
                other => Err(unexpected(self.agent.node(), &other)),
            }
        };
        let (mut conversation, following) = match began.await {
            Ok(began) => began,
            Err(error) => return Over::Broke(error.because),
        };
        if let Err(because) = self.begun(following) {
            return Over::Refused(because);
        }
        if !self.measuring.is_empty()
            && let Err(because) = self.press(&mut conversation, None).await
        {
            return Over::Broke(because);
        }
        let mut quiet = interval(QUIET);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        quiet.reset();
        let mut pace = Pace::new();
        loop {
            let said = tokio::select! {
                answer = conversation.ears.hear(QUIET + ANSWER) => match answer {
                    Ok(answer) => match pace.counts().and_then(|()| self.hear(answer)) {
                        Ok(()) => Ok(()),
                        Err(because) => return Over::Refused(because),
                    },
                    Err(error) => Err(error.because),
                },
                command = commands.recv() => match command {
                    Some(command) => self.heed(command, &mut conversation).await,
                    None => return Over::Ended,
                },
                _ = quiet.tick() => self.watch(&mut conversation, Vec::new(), None).await,
            };
            if let Err(because) = said {
                return Over::Broke(because);
            }
        }
    }

    /// The agent follows: is it ours, and what is missing?
    fn begun(&mut self, following: Following) -> Result<(), String> {
        let Following {
            version,
            life,
            oldest,
            sockets,
            blind,
        } = following;
        if version != env!("CARGO_PKG_VERSION") {
            return Err(format!(
                "it is of version {version} and this is {}; give an image of the same with --agent-image",
                env!("CARGO_PKG_VERSION")
            ));
        }
        let is_long = |name: &String| name.len() > LONGEST_NAME;
        if sockets.len() + blind.len() > MOST_NAMES
            || sockets.iter().chain(&blind).any(is_long)
            || is_long(&life)
        {
            return Err("it says more of itself than anybody asked for".to_owned());
        }
        let before = self.heard.life.replace(life.clone());
        let missed = match before {
            None => {
                self.tell_now(NodeSight::Watching { sockets, blind });
                return Ok(());
            }
            Some(before) if before != life => {
                self.heard.numbers.clear();
                self.heard.through = 0;
                Missed::Unknown
            }
            Some(_) => match oldest.saturating_sub(self.heard.through + 1) {
                0 => Missed::Nothing,
                forgotten => Missed::AtMost(forgotten),
            },
        };
        let away = self.broken.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.tell_now(NodeSight::Heard {
            away_us: micros(away),
            missed,
        });
        Ok(())
    }

    /// Nobody hears it from here on: told once, however often it is tried.
    fn lost(&mut self, because: String, for_good: bool) {
        // Who waits for an answer waits in vain.
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            if let Waiting::Measured(measurement) = waiting {
                self.pressed(&measurement);
            }
        }
        if for_good || (self.broken.is_none() && self.heard.life.is_some()) {
            self.tell_now(NodeSight::Lost { because, for_good });
        }
        if self.heard.life.is_some() {
            self.broken.get_or_insert_with(Instant::now);
        }
    }

    /// What the agent says; an error where it says what it must not.
    fn hear(&mut self, answer: Answer) -> Result<(), String> {
        match answer {
            Answer::Saw(saw) => self.saw(saw),
            Answer::Pressed(sample) => {
                for samples in self.measuring.values_mut() {
                    samples.add(&sample);
                }
                Ok(())
            }
            other => Err(unexpected(self.agent.node(), &other).because),
        }
    }

    fn saw(&mut self, saw: Saw) -> Result<(), String> {
        let now = Instant::now();
        for sight in saw.sights {
            self.judge(&sight)?;
            if !self.heard.numbers.insert(sight.number) {
                continue;
            }
            self.heard.total += 1;
            if self.heard.total > MOST_SIGHTS {
                return Err(format!("it told more than {MOST_SIGHTS} things"));
            }
            // What happened before anybody followed is none of this run's.
            let Some(at) = now.checked_sub(sight.ago).filter(|at| *at >= self.began) else {
                continue;
            };
            let saw = NodeSaw {
                node: self.agent.node().to_owned(),
                at: Some(sight.at),
                ago_us: micros(sight.ago),
                what: sight.what,
            };
            (self.told)(FollowTold::Saw(saw, at));
        }
        self.heard.through = self.heard.through.max(saw.through);
        match saw.mark.and_then(|mark| self.waiting.remove(&mark)) {
            Some(Waiting::Settle(done)) => {
                // Whoever asked may have had enough.
                let _ = done.send(());
            }
            Some(Waiting::Measured(measurement)) => self.pressed(&measurement),
            None => {}
        }
        Ok(())
    }

    /// Whether an agent of ours would say so.
    fn judge(&self, sight: &Sight) -> Result<(), String> {
        let (pod, name) = match &sight.what {
            NodeSight::SocketGone { socket }
            | NodeSight::SocketThere { socket, .. }
            | NodeSight::SocketReplaced { socket } => (None, socket),
            NodeSight::Mounted { pod, volume } | NodeSight::Unmounted { pod, volume } => (Some(pod), volume),
            NodeSight::Watching { .. } | NodeSight::Lost { .. } | NodeSight::Heard { .. } => {
                return Err("it tells what is not an agent's to tell".to_owned());
            }
        };
        if name.len() > LONGEST_NAME {
            return Err(format!("it names something in more than {LONGEST_NAME} bytes"));
        }
        match pod {
            Some(pod) if !self.known.contains(pod) => {
                Err("it tells of a pod that is none of this run's".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// A command while nobody hears the agent.
    fn note(&mut self, command: Command) {
        match command {
            Command::Pod(uid) => {
                self.add(uid);
            }
            Command::Measuring(measurement) => {
                self.measuring.insert(measurement, Samples::default());
            }
            Command::Measured(measurement) => self.pressed(&measurement),
            Command::Settle(done) => {
                // There is nothing to wait for.
                let _ = done.send(());
            }
        }
    }

    async fn heed(&mut self, command: Command, conversation: &mut Conversation) -> Result<(), String> {
        match command {
            Command::Pod(uid) => {
                if self.add(uid.clone()) {
                    self.watch(conversation, vec![uid], None).await
                } else {
                    Ok(())
                }
            }
            Command::Settle(done) => {
                self.watch(conversation, Vec::new(), Some(Waiting::Settle(done)))
                    .await
            }
            Command::Measuring(measurement) => {
                let first = self.measuring.is_empty();
                self.measuring.insert(measurement, Samples::default());
                if first {
                    self.press(conversation, None).await
                } else {
                    Ok(())
                }
            }
            Command::Measured(measurement) => {
                if self.measuring.contains_key(&measurement) {
                    self.press(conversation, Some(measurement)).await
                } else {
                    Ok(())
                }
            }
        }
    }

    fn add(&mut self, uid: String) -> bool {
        if !self.known.insert(uid.clone()) {
            return false;
        }
        self.pods.push_back(uid);
        // Only the latest are asked for again; whoever was the run's once stays it.
        if self.pods.len() > MOST_PODS {
            self.pods.pop_front();
        }
        true
    }

    async fn watch(
        &mut self,
        conversation: &mut Conversation,
        pods: Vec<String>,
        waiting: Option<Waiting>,
    ) -> Result<(), String> {
        let mark = self.mark(waiting);
        let said = conversation.mouth.say(&Request::Watch { pods, mark }).await;
        said.map_err(|error| error.because)
    }

    /// Samples from here on, or for all but the measurement that has ended.
    async fn press(&mut self, conversation: &mut Conversation, ended: Option<String>) -> Result<(), String> {
        let on = ended.is_none() || self.measuring.len() > 1;
        let mark = self.mark(ended.map(Waiting::Measured));
        let said = conversation.mouth.say(&Request::Press { on, mark }).await;
        said.map_err(|error| error.because)
    }

    fn mark(&mut self, waiting: Option<Waiting>) -> u64 {
        self.marks += 1;
        if let Some(waiting) = waiting {
            self.waiting.insert(self.marks, waiting);
        }
        self.marks
    }

    /// Tells what the node was short of, as far as it was heard.
    fn pressed(&mut self, measurement: &str) {
        let samples = self.measuring.remove(measurement);
        if let Some(samples) = samples.filter(|samples| samples.number > 0) {
            (self.told)(FollowTold::Pressed(samples.of(measurement, self.agent.node())));
        }
    }

    fn tell_now(&self, what: NodeSight) {
        let saw = NodeSaw {
            node: self.agent.node().to_owned(),
            at: None,
            ago_us: 0,
            what,
        };
        (self.told)(FollowTold::Saw(saw, Instant::now()));
    }
}

/// Samples of a measurement.
#[derive(Debug, Clone, Default)]
struct Samples {
    number: u32,
    took: Duration,
    /// Of each kind: the time that it is known of, its share of that, and the largest.
    shares: BTreeMap<Pressure, (Duration, Duration, u32)>,
}

impl Samples {
    fn add(&mut self, sample: &Sample) {
        // A sample is of about a second; one of a day is nobody's.
        let took = sample.took.min(Duration::from_mins(1));
        self.number = self.number.saturating_add(1);
        self.took = self.took.saturating_add(took);
        for (of, permille) in sample.shares.iter().take(Pressure::ALL.len()) {
            let permille = (*permille).min(1000);
            let (known, part, peak) = self.shares.entry(*of).or_default();
            *known = known.saturating_add(took);
            *part = part.saturating_add(took * permille / 1000);
            *peak = permille.max(*peak);
        }
    }

    fn of(self, measurement: &str, node: &str) -> NodePressed {
        let share = |(of, (known, part, peak)): (Pressure, (Duration, Duration, u32))| {
            let mean = (part.as_nanos() * 1000 + known.as_nanos() / 2).checked_div(known.as_nanos());
            PressureShare {
                of,
                mean_permille: u32::try_from(mean.unwrap_or(0)).unwrap_or(1000),
                peak_permille: peak,
            }
        };
        NodePressed {
            measurement: measurement.to_owned(),
            node: node.to_owned(),
            samples: self.number,
            took_us: micros(self.took),
            shares: self.shares.into_iter().map(share).collect(),
        }
    }
}

/// How fast an agent talks.
struct Pace {
    since: Instant,
    answers: u32,
}

impl Pace {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            answers: 0,
        }
    }

    fn counts(&mut self) -> Result<(), String> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::new();
        }
        self.answers += 1;
        if self.answers > MOST_ANSWERS {
            return Err(format!("it said more than {MOST_ANSWERS} things within a second"));
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
