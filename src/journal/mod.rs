//! The journal: what happened, as events.

mod event;

pub use event::*;
