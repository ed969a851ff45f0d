//! The engine with real MLS and real stores between a homeserver and peers that live in this process: the flow that people
//! use, faults and crashes at any moment, and what hostile peers try.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

#[path = "engine/attacks.rs"]
mod attacks;
#[path = "engine/crashes.rs"]
mod crashes;
#[path = "engine/flow.rs"]
mod flow;
#[path = "engine/homeserver.rs"]
mod homeserver;
#[path = "engine/reliability.rs"]
mod reliability;
#[path = "engine/silo.rs"]
mod silo;
