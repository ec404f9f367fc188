//! Reports: what a journal says, in the forms that people and machines read.
//!
//! Everything here but [`write`](mod@write) and [`terminal`]'s thin shell is PURE: a function of the
//! journal's events, with no clock, no environment and nothing random.

mod calls;
pub mod exit;
pub mod figure;
pub mod files;
pub mod html;
mod installed;
pub mod junit;
pub mod latency;
pub mod markdown;
mod nodes;
mod pressure;
pub mod results;
pub mod summary;
pub mod terminal;
mod upgrade;
pub mod write;

pub use exit::{ExitCode, outcome, recorded};
pub use files::{Format, RenderedFile, render};
pub use summary::{Fold, RunSummary};
pub use write::write_files;
