//! The engine: runs cases against an environment and writes what happens into the journal.
//!
//! ```text
//! run ─► plan ─► environment ─► tenants ─► dispatch ─► case ─► step ─┐
//!  │                                                                 ├─► journal
//!  └─► teardown, reports, on every path                              ┘
//! ```
//!
//! Cases run side by side in tasks of their own; a panic in one is that case's verdict. Measurements, and what
//! disturbs others, run alone. Nothing waits without a deadline from the plan.

mod as_kubelet;
mod calls;
mod case;
mod clusters;
mod deny;
mod dispatch;
mod down;
mod ending;
mod evidence;
mod expect;
mod fetches;
mod files;
mod folder;
mod impostor;
mod load;
mod logs;
mod machine;
mod mounted;
mod needs;
mod nodes;
mod options;
mod overrides;
mod pod_identity;
mod probe;
mod programs;
mod publish;
mod run;
mod signals;
mod standing;
mod step;
mod synced;
mod timeline;
mod upgrade;
mod work;
mod workload;
mod world;

use crate::mount_point;

pub use self::{
    ending::{EndAt, HowEnded},
    needs::needs,
    options::{LoadOverrides, RunOptions},
    run::{AtOnce, RunEnd, StartError, plan, run},
};

/// Whole microseconds, as events hold them; saturating.
fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
