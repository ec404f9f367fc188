//! The command `schema`.
