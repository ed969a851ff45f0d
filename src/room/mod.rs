//! The room state machine as a value.
