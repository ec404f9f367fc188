//! One measurement on many nodes: each agent mounts its share and tells every end; the accounts are kept here.

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    UNMOUNT, WARM_UP,
    client::{Agent, AgentError, Ears, Mouth, unexpected},
    protocol::{Answer, End, Job, Request, Share, ShareMount},
};
use crate::{
    journal::{MeasurementFinished, MountOutcome},
    load::{
        Clock, Emit, MonotonicClock,
        csi_lens::{Leftover, PublishJob},
        recorder::{AccountingError, Ended, INTERVAL},
        run_mounts::{Accounts, LEAD, MountPlan, dropped},
    },
    verdict::files::ExpectedPrint,
};

/// What an agent's answer may take beyond the work that it tells of.
const AROUND: Duration = Duration::from_secs(15);
/// How long an agent that went away may take to come back, for what it mounted to be taken down.
const BACK: Duration = Duration::from_mins(1);
/// Pause between two tries to reach one.
const LOOK: Duration = Duration::from_secs(1);

/// Deals mounts out to nodes in turn, so that every node has as many, and of every tenant, as any other: the places in the
/// plan of each node's.
#[must_use]
pub fn dealt(mounts: usize, nodes: usize) -> Vec<Vec<u32>> {
    let mut shares = vec![Vec::new(); nodes];
    for (index, node) in (0..).zip((0..nodes).cycle().take(mounts)) {
        shares[node].push(index);
    }
    shares
}

/// One node's share of a measurement.
pub struct NodeShare {
    agent: Agent,
    share: Share,
}

impl NodeShare {
    /// Of `plan`, the mounts with these indexes. `whose` has for each of the plan's tenants a job, of which the pod is filled in,
    /// and the files that its mounts must hold; `pod` the name and uid of each mount's pod.
    #[must_use]
    pub fn new(
        agent: Agent,
        plan: &MountPlan,
        indexes: &[u32],
        whose: &[(PublishJob, Vec<ExpectedPrint>)],
        pod: impl Fn(u32) -> (String, String),
    ) -> Self {
        let mounts = indexes
            .iter()
            .map(|&index| {
                let (name, uid) = pod(index);
                ShareMount {
                    index,
                    start: plan.starts[index as usize],
                    warm_up: index < plan.warm_up,
                    whose: plan.owners[index as usize],
                    pod: name,
                    uid,
                }
            })
            .collect();
        let share = Share {
            measurement: plan.measurement.measurement.clone(),
            deadline: plan.deadline,
            jobs: whose.iter().map(|(job, _)| Job::of(job)).collect(),
            expected: whose.iter().map(|(_, expected)| expected.clone()).collect(),
            mounts,
        };
        Self { agent, share }
    }
}

/// What a measurement on many nodes came to.
#[derive(Debug)]
pub struct Shared {
    /// Its sums, which hold every planned mount.
    pub finished: MeasurementFinished,
    /// Agents that went away in its middle: what they had under way has failed, and the figures are worth nothing.
    pub lost: Vec<AgentError>,
    /// What could not be unpublished afterwards, in words.
    pub left: Vec<String>,
}

/// A measurement that never began, or is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum SharesError {
    /// An agent could not prepare its share; nothing was mounted.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// See [`AccountingError`].
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}

/// Runs `plan` in shares, and reports through `emit` as [`run_mounts`](crate::load::run_mounts::run_mounts) does, each mount with
/// its node. All nodes begin at the same moment, as far as their connections allow; times are from each node's own clock.
///
/// Ends after the last mount, at the latest one mount's deadline and a moment after the last start, whatever becomes of the
/// agents. Every planned mount comes to one end: of an agent that went away, what was due has failed, and what was not is
/// dropped. Afterwards everything that was published is taken down.
///
/// # Errors
///
/// When an agent cannot prepare its share: nothing was mounted then. When the sums do not add up.
pub async fn run_shares(
    plan: &MountPlan,
    shares: Vec<NodeShare>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) -> Result<Shared, SharesError> {
    let mut prepared = try_join_all(shares.into_iter().map(Prepared::of)).await?;
    let accounts = Accounts::new(plan, emit, &|_, _| {});
    let clock = MonotonicClock::starting_in(LEAD);
    let gone = join_all(prepared.iter_mut().map(|node| node.mouth.say(&Request::Go))).await;

    let mut run = Run {
        plan,
        accounts,
        clock,
        nodes: Vec::new(),
    };
    let (tell, told) = mpsc::unbounded_channel();
    let mut listening = JoinSet::new();
    for (place, (node, gone)) in prepared.into_iter().zip(gone).enumerate() {
        let Prepared {
            agent,
            indexes,
            uids,
            ears,
            mouth,
        } = node;
        // Whoever could not be told is found not to answer.
        let patience = plan.starts.last().copied().unwrap_or_default() + plan.deadline + AROUND;
        listening.spawn(listen(
            place,
            ears,
            tell.clone(),
            Instant::now() + LEAD + patience,
        ));
        run.nodes.push(Node {
            agent,
            indexes,
            uids,
            mouth: gone.is_ok().then_some(mouth),
            ended: None,
        });
    }
    drop(tell);
    run.collect(told, interrupt).await;
    let heard: Vec<Listened> = listening.join_all().await;
    run.close(heard).await
}

/// An agent that has its share and waits for the measurement to begin.
struct Prepared {
    agent: Agent,
    indexes: Vec<u32>,
    uids: Vec<String>,
    ears: Ears,
    mouth: Mouth,
}

impl Prepared {
    async fn of(node: NodeShare) -> Result<Self, AgentError> {
        let NodeShare { agent, share } = node;
        let indexes = share.mounts.iter().map(|mount| mount.index).collect();
        let uids = share.mounts.iter().map(|mount| mount.uid.clone()).collect();
        let mut conversation = agent.begin(&Request::Measure(share)).await?;
        match conversation.hear(WARM_UP + AROUND).await? {
            Answer::Ready => Ok(Self {
                indexes,
                uids,
                ears: conversation.ears,
                mouth: conversation.mouth,
                agent,
            }),
            other => Err(unexpected(agent.node(), &other)),
        }
    }
}

/// What one agent told.
enum Told {
    Ended(Vec<End>),
    /// Nothing more comes of it; why, where it went away.
    Over(Result<(), AgentError>),
}

struct Listened {
    place: usize,
    ears: Ears,
}

/// Hears an agent out, until it has told every end or there is nothing more to be heard by `until`.
async fn listen(
    place: usize,
    mut ears: Ears,
    tell: mpsc::UnboundedSender<(usize, Told)>,
    until: Instant,
) -> Listened {
    let over = loop {
        let left = until.saturating_duration_since(Instant::now());
        match ears.hear(left).await {
            Ok(Answer::Ended(ends)) => {
                // The collector lives for as long as anything comes.
                let _ = tell.send((place, Told::Ended(ends)));
            }
            Ok(Answer::Measured) => break Ok(()),
            Ok(other) => break Err(unexpected(ears.node(), &other)),
            Err(error) => break Err(error),
        }
    };
    let _ = tell.send((place, Told::Over(over)));
    Listened { place, ears }
}

/// A measurement under way on many nodes.
struct Run<'a> {
    plan: &'a MountPlan,
    accounts: Accounts<'a>,
    clock: MonotonicClock,
    nodes: Vec<Node>,
}

struct Node {
    agent: Agent,
    indexes: Vec<u32>,
    uids: Vec<String>,
    /// Absent where it could not be told to begin.
    mouth: Option<Mouth>,
    ended: Option<Result<(), AgentError>>,
}

impl Run<'_> {
    /// Enters what agents tell, until all are over.
    async fn collect(
        &mut self,
        mut told: mpsc::UnboundedReceiver<(usize, Told)>,
        interrupt: &CancellationToken,
    ) {
        let mut seconds = interval(INTERVAL);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupted = false;
        loop {
            tokio::select! {
                heard = told.recv() => match heard {
                    Some((place, Told::Ended(ends))) => self.enter(place, ends),
                    Some((place, Told::Over(how))) => self.over(place, how),
                    None => return,
                },
                () = interrupt.cancelled(), if !interrupted => {
                    interrupted = true;
                    for node in &mut self.nodes {
                        if let Some(mouth) = &mut node.mouth {
                            // Whoever does not hear it is found gone.
                            let _ = mouth.say(&Request::Stop).await;
                        }
                    }
                }
                _ = seconds.tick() => self.accounts.flush(self.clock.elapsed()),
            }
        }
    }

    fn enter(&mut self, place: usize, ends: Vec<End>) {
        let node = &self.nodes[place];
        for end in ends {
            let index = end.index;
            // What is not the node's to tell is not heard.
            if node.indexes.binary_search(&index).is_ok()
                && let Some(ended) = end.into_ended(self.plan, node.agent.node())
            {
                self.accounts.record(index, &ended);
            }
        }
    }

    /// Brings what a node has not told to its end: it failed where it was due, and was never sent where it was not.
    fn over(&mut self, place: usize, how: Result<(), AgentError>) {
        let now = self.clock.elapsed();
        let node = &mut self.nodes[place];
        if let Err(error) = &how {
            for &index in &node.indexes {
                if self.accounts.has_ended(index) {
                    continue;
                }
                let lost = dropped(self.plan, index);
                let outcome = if lost.planned <= now {
                    MountOutcome::Failed
                } else {
                    MountOutcome::Dropped
                };
                let lost = Ended {
                    outcome,
                    error: Some(error.to_string()),
                    node: Some(node.agent.node().to_owned()),
                    ..lost
                };
                self.accounts.record(index, &lost);
            }
        }
        node.ended = Some(how);
    }

    /// Closes the accounts, and has every node take down what it published.
    async fn close(self, heard: Vec<Listened>) -> Result<Shared, SharesError> {
        let finished = self.accounts.close();
        let mut ears: Vec<Option<Ears>> = self.nodes.iter().map(|_| None).collect();
        for listened in heard {
            ears[listened.place] = Some(listened.ears);
        }
        let taking_down = self
            .nodes
            .into_iter()
            .zip(ears)
            .map(|(node, ears)| node.taken_down(ears));
        let mut lost = Vec::new();
        let mut left = Vec::new();
        for (away, found) in join_all(taking_down).await {
            lost.extend(away);
            left.extend(found);
        }
        Ok(Shared {
            finished: finished?,
            lost,
            left,
        })
    }
}

impl Node {
    /// Has what it published taken down; says whether its agent went away in the measurement, and what is left.
    async fn taken_down(self, ears: Option<Ears>) -> (Option<AgentError>, Vec<String>) {
        let lost = match self.ended {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error),
            None => Some(AgentError {
                node: self.agent.node().to_owned(),
                because: "it told nothing".to_owned(),
            }),
        };
        if let (None, Some(mut mouth), Some(mut ears)) = (&lost, self.mouth, ears)
            && mouth.say(&Request::Done).await.is_ok()
            && let Ok(Answer::Unpublished { left }) = ears.hear(UNMOUNT * 2 + AROUND).await
        {
            let node = self.agent.node();
            let left = left
                .iter()
                .map(|left| format!("{} is still there on {node}: {}", left.path, left.because));
            return (None, left.collect());
        }
        // Another agent, or the same one anew, takes down what this one published.
        let until = Instant::now() + BACK;
        let left = loop {
            match self.agent.unpublish(self.uids.clone(), UNMOUNT).await {
                Ok(left) => break left.iter().map(Leftover::to_string).collect(),
                Err(error) if Instant::now() + LOOK >= until => {
                    let count = self.uids.len();
                    break vec![format!(
                        "up to {count} volumes of the csi lens may still be mounted: {error}"
                    )];
                }
                Err(_) => sleep_until((Instant::now() + LOOK).into()).await,
            }
        };
        (lost, left)
    }
}

#[cfg(test)]
mod tests;
