//! The command `report`.
