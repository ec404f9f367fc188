//! The harness's side of the agent.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    time::timeout,
};
use tonic::Status;

use super::{
    UNMOUNT,
    lines::Lines,
    protocol::{Answer, Job, Looked, Request},
};
use crate::{
    journal::FloorMeasured,
    load::csi_lens::{Leftover, PublishError, PublishJob},
};

/// Longest wait for a connection and for an answer that needs no work.
pub(super) const ANSWER: Duration = Duration::from_secs(20);
/// Longest wait for the floor of a node.
const FLOOR: Duration = Duration::from_mins(1);
/// Longest answer: the files of a pod, or what came to its end while nobody listened.
const LONGEST: usize = 16 * 1024 * 1024;
/// What an answer may take beyond the work that has a deadline of its own.
const AROUND: Duration = Duration::from_secs(15);

/// A connection to an agent.
pub type Stream = Box<dyn Duplex>;

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The way to an agent.
pub trait Dial: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// Why there is none, in words.
    fn dial(&self) -> BoxFuture<'_, Result<Stream, String>>;
}

/// The agent on one node.
#[derive(Clone)]
pub struct Agent {
    node: String,
    dial: Arc<dyn Dial>,
}

/// An agent could not do what it was asked to, or did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the agent on {node}: {because}")]
pub struct AgentError {
    /// The node.
    pub node: String,
    /// Why.
    pub because: String,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// The agent on `node`, which `dial` reaches.
    #[must_use]
    pub fn new(node: &str, dial: Arc<dyn Dial>) -> Self {
        Self {
            node: node.to_owned(),
            dial,
        }
    }

    /// Its node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether it answers, and is of this version.
    ///
    /// # Errors
    ///
    /// When not.
    pub async fn hello(&self) -> Result<(), AgentError> {
        match self.asked(&Request::Hello, ANSWER).await? {
            Answer::Hello { version } if version == env!("CARGO_PKG_VERSION") => Ok(()),
            Answer::Hello { version } => Err(self.trouble(format!(
                "it is of version {version} and this is {}; give an image of the same with --agent-image",
                env!("CARGO_PKG_VERSION")
            ))),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What a mount costs at least on its node.
    ///
    /// # Errors
    ///
    /// When it cannot say.
    pub async fn floor(&self) -> Result<FloorMeasured, AgentError> {
        match self.asked(&Request::Floor, FLOOR).await? {
            Answer::Floor(floor) => Ok(FloorMeasured {
                node: Some(self.node.clone()),
                ..floor
            }),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Publishes a volume; gives the time from the call to its answer, taken on the node.
    ///
    /// # Errors
    ///
    /// When it was not published, or that is not known.
    pub async fn publish(&self, job: &PublishJob, deadline: Duration) -> Result<Duration, PublishError> {
        let request = Request::Publish {
            job: Job::of(job),
            deadline,
        };
        let answer = self.asked(&request, deadline + AROUND).await;
        match answer.map_err(|error| PublishError::NotAsked(error.to_string()))? {
            Answer::Published { took } => Ok(took),
            Answer::Refused { code, message, took } => Err(PublishError::Refused {
                status: Status::new(code.into(), message),
                took,
            }),
            Answer::TimedOut { after } => Err(PublishError::TimedOut(after)),
            Answer::NotAsked { because } => Err(PublishError::NotAsked(because)),
            other => Err(PublishError::NotAsked(self.unexpected(&other).to_string())),
        }
    }

    /// Unpublishes volumes, each within its deadline; those that are still there.
    ///
    /// # Errors
    ///
    /// When that is not known.
    pub async fn unpublish(
        &self,
        uids: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<Leftover>, AgentError> {
        let request = Request::Unpublish { uids, deadline };
        match self.asked(&request, deadline + UNMOUNT + AROUND).await? {
            Answer::Unpublished { left } => Ok(left
                .into_iter()
                .map(|left| Leftover {
                    path: left.path.into(),
                    because: format!("{} (on {})", left.because, self.node),
                })
                .collect()),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What stands where the volume of a pod is mounted.
    ///
    /// # Errors
    ///
    /// When it cannot say.
    pub async fn look(&self, uid: &str) -> Result<Looked, AgentError> {
        let uid = uid.to_owned();
        match self.asked(&Request::Look { uid }, ANSWER).await? {
            Answer::Looked(looked) => Ok(looked),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What stands where kubelet has a volume of the pod mounted, looked at again and again `during` so long, or until a file is
    /// seen.
    ///
    /// # Errors
    ///
    /// When it cannot say.
    pub async fn look_at_pod(&self, uid: &str, volume: &str, during: Duration) -> Result<Looked, AgentError> {
        let request = Request::LookAtPod {
            uid: uid.to_owned(),
            volume: volume.to_owned(),
            during,
        };
        match self.asked(&request, during + ANSWER).await? {
            Answer::Looked(looked) => Ok(looked),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits until the driver has begun to mount the volume of a pod.
    ///
    /// # Errors
    ///
    /// When it has not `within`, or the agent cannot say.
    pub async fn begun(&self, uid: &str, within: Duration) -> Result<(), AgentError> {
        let uid = uid.to_owned();
        match self.asked(&Request::Begun { uid }, within).await? {
            Answer::Begun => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn asked(&self, request: &Request, within: Duration) -> Result<Answer, AgentError> {
        let mut conversation = self.begin(request).await?;
        conversation.hear(within).await
    }

    /// Begins a conversation.
    pub(super) async fn begin(&self, request: &Request) -> Result<Conversation, AgentError> {
        let dialled = timeout(ANSWER, self.dial.dial()).await;
        let stream = dialled
            .unwrap_or_else(|_| Err(format!("no connection within {ANSWER:?}")))
            .map_err(|because| self.trouble(because))?;
        let (read, write) = split(stream);
        let mut conversation = Conversation {
            ears: Ears {
                node: self.node.clone(),
                lines: Lines::new(read, LONGEST),
            },
            mouth: Mouth {
                node: self.node.clone(),
                write,
            },
        };
        conversation.mouth.say(request).await?;
        Ok(conversation)
    }

    fn trouble(&self, because: String) -> AgentError {
        AgentError {
            node: self.node.clone(),
            because,
        }
    }

    fn unexpected(&self, answer: &Answer) -> AgentError {
        unexpected(&self.node, answer)
    }
}

/// An answer that is none to what was asked.
pub(super) fn unexpected(node: &str, answer: &Answer) -> AgentError {
    AgentError {
        node: node.to_owned(),
        because: match answer {
            Answer::Trouble { because } | Answer::NotAsked { because } => because.clone(),
            _ => "it answered something else than it was asked".to_owned(),
        },
    }
}

/// A conversation under way; it ends when dropped.
pub(super) struct Conversation {
    pub(super) ears: Ears,
    pub(super) mouth: Mouth,
}

/// Its answers.
pub(super) struct Ears {
    node: String,
    lines: Lines<ReadHalf<Stream>>,
}

/// Its requests.
pub(super) struct Mouth {
    node: String,
    write: WriteHalf<Stream>,
}

impl Conversation {
    pub(super) async fn hear(&mut self, within: Duration) -> Result<Answer, AgentError> {
        self.ears.hear(within).await
    }
}

impl Ears {
    /// Whose.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// From here on, no answer may be longer.
    pub(super) fn at_most(&mut self, longest: usize) {
        self.lines.at_most(longest);
    }

    /// The next answer. Cancel safe.
    pub(super) async fn hear(&mut self, within: Duration) -> Result<Answer, AgentError> {
        let trouble = |because: String| AgentError {
            node: self.node.clone(),
            because,
        };
        let line = match timeout(within, self.lines.next()).await {
            Err(_) => return Err(trouble(format!("no answer within {within:?}"))),
            Ok(Err(error)) => return Err(trouble(format!("the connection broke: {error}"))),
            Ok(Ok(None)) => return Err(trouble("it hung up".to_owned())),
            Ok(Ok(Some(line))) => line,
        };
        serde_json::from_slice(&line).map_err(|error| trouble(format!("its answer cannot be read: {error}")))
    }
}

impl Mouth {
    /// Says something more.
    pub(super) async fn say(&mut self, request: &Request) -> Result<(), AgentError> {
        let said = async {
            self.write.write_all(&line_of(request)).await?;
            self.write.flush().await
        };
        let said = timeout(ANSWER, said).await;
        let because = match said {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("the connection broke: {error}"),
            Err(_) => format!("it did not listen within {ANSWER:?}"),
        };
        Err(AgentError {
            node: self.node.clone(),
            because,
        })
    }
}

/// A message as it travels.
pub(super) fn line_of<T: serde::Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("maps with text for keys are JSON");
    line.push(b'\n');
    line
}
