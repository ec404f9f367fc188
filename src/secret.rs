//! A secret value in memory.
