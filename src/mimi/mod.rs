//! The MIMI edge: provider server and peer client over mutual TLS (draft-ietf-mimi-protocol-06 sections 4.1 and 5).
//!
//! [`Server`] checks who calls and what they may claim, and hands the rest to the engine's
//! [`ProviderInbound`](crate::engine::ports::ProviderInbound); [`MimiPeers`] is the engine's
//! [`Peers`](crate::engine::ports::Peers).

mod app;
mod assets;
mod client;
mod endpoints;
mod from;
mod refusal;
mod server;
mod settings;
mod tls;
mod validity;

pub use assets::{AssetSettings, Assets, Lookup, SystemLookup, Way};
pub use client::MimiPeers;
pub use from::named_peer;
pub use server::{Listening, Server, host_is_ours};
pub use settings::{Limits, PeerSettings, PemSource, Settings, SetupError};
pub use validity::{OWN, Period, Validity};
