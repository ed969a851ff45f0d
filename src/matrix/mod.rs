//! The Matrix edge: the appservice HTTP server that the homeserver calls, the homeserver client that calls it, ghosts,
//! and the registration file (Matrix application service API and client-server API 1.17).
//!
//! ```text
//!  Synapse --PUT transactions--> server --Transaction--> engine (MatrixInbound; 200 only after it is durable)
//!  Synapse <--register, join, send, state-- client <--MatrixAction-- engine (Homeserver)
//! ```

pub mod client;
pub mod names;
pub mod registration;
pub mod server;
pub mod settings;

pub use client::{ClientError, HomeserverClient};
pub use names::Names;
pub use registration::Registration;
pub use server::{ServerLimits, router, serve};
pub use settings::{Credentials, MatrixSettings};
