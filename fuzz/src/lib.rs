//! The targets' code; see `targets.rs`.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a target fails by panicking")]

mod targets;

pub use targets::{names, run};
