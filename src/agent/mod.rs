//! The agent: the harness's hand on a node that it does not stand on.
//!
//! It plays kubelet on the driver's socket of its own node, takes the times there with its own monotonic clock, and hands over
//! every end that it saw, to the nanosecond. The harness keeps the accounts: a mount whose agent died comes to an end too, and
//! the figures of all nodes are of one histogram.
//!
//! ```text
//! harness ──port-forward, by way of the API server──► agent (loopback of its pod) ──csi.v1──► driver
//!            [protocol], a line of JSON a message          [serve]                    └─ looks at what is mounted
//! ```
//!
//! Whoever may `create` `pods/portforward` in its namespace can reach it, and nobody else: it listens on the loopback of its own
//! pod. It has no token of Kubernetes', and is told no secret's value: only SHA-256 sums to hold files to. The service-account
//! tokens that it hands to the driver, as kubelet would, it gets with each job and forgets with it.
//!
//! While a run goes on it also tells what happens on its node ([`Followed`]): sockets of driver and provider that go and come, CSI
//! volumes of the run's pods that are mounted and gone, how hard pressed the node is while it is measured.
//!
//! What it leaves open: it does not verify who is at the other end of its loopback, as nobody else is in its pod.

mod client;
mod follow;
mod lines;
mod protocol;
mod serve;
mod shares;
mod watch;

use std::time::Duration;

pub use self::{
    client::{Agent, AgentError, Dial, Stream},
    follow::{FollowTold, Followed, Told},
    protocol::Looked,
    serve::{Place, serve},
    shares::{NodeShare, Shared, SharesError, dealt, run_shares},
};

/// The port that the agent listens on, on the loopback of its pod.
pub const PORT: u16 = 4790;

/// Longest wait for the driver's connections to be open before a measurement.
const WARM_UP: Duration = Duration::from_secs(20);
/// Longest time that what was published in a measurement may take to be gone.
const UNMOUNT: Duration = Duration::from_secs(30);
/// Unmounts at a time.
const PARALLEL: usize = 32;
