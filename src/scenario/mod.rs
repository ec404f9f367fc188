//! Scenarios: what is proved, as data. Pure: no IO, no clock.
//!
//! A file becomes cases in four steps, each a module:
//!
//! ```text
//! bytes ─parse─► raw ─resolve─► model::Scenario ─select─► ─bind─► Case
//! ```
//!
//! [`load`] runs the first two over many files at once and answers with every problem of every file,
//! never only the first: `lint` prints them, everything else refuses to start when one is an error.

pub mod at;
pub mod bind;
pub mod calls;
pub mod capability;
pub mod code;
pub mod diagnostic;
pub mod duration;
pub mod explain;
mod load;
mod matrix;
pub mod model;
pub mod parse;
pub mod raw;
pub mod render;
mod resolve;
pub mod schema;
pub mod select;
mod shape;
pub mod shipped;
mod suggest;
mod tree;

pub use self::{
    bind::{Binding, BoundTenant, Case, bind},
    code::Code,
    diagnostic::{Diagnostic, Severity},
    load::{Loaded, SourceFile, load},
    select::{Filters, select},
    shipped::shipped,
};
