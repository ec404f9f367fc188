//! The journal: what happened, as events.
//!
//! [`Journal`] writes them, [`read`] reads them back; [`Event`] is the contract between the two and
//! with every report.

mod chart;
mod environment;
mod event;
mod incidents;
mod measured;
mod nodes;
mod reader;
mod writer;

pub use chart::RenderedChart;
pub use environment::*;
pub use event::*;
pub use incidents::*;
pub use measured::*;
pub use nodes::*;
pub use reader::{ReadError, Recording, TornLine, parse, read};
pub use writer::{Closed, Journal, Sink, WriteError};
