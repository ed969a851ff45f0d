//! The room state machine as a value.

pub mod effect;
