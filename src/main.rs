//! mountproof.
fn main() {}
