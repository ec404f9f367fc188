//! The command line, one file per command.

pub mod explain;
pub mod lint;
pub mod list;
pub mod output;
pub mod report;
pub mod scenarios;
pub mod schema;
pub mod sweep;
