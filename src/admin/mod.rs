//! For the operator of a gateway that runs: the control socket, a Unix socket in the data directory over which
//! `mimi-gateway` asks the process that holds the store.
//!
//! ```text
//!  mimi-gateway rooms --> the store, if nobody has it --> page by page --> the same rows
//!                    \--> control.sock: GET /rooms ----> page by page -->
//! ```
//!
//! Beside it the provisioning API ([`provision`]), for programs that act for users.
//!
//! HTTP/1.1 and JSON, one request a connection. Every answer is a [`Listing`], or `{"version": 1, "error": "…"}`.

mod aside_row;
mod client;
mod fingerprint_row;
mod mirror_row;
pub mod provision;
mod room_row;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use aside_row::{AsideRow, set_aside};
pub use client::{AskError, ask, tell};
pub use fingerprint_row::{FingerprintRow, fingerprints};
pub use mirror_row::{FindingRow, JobRow, MirrorAsk, MirrorRow, UndoAsk, mirror_job, mirror_jobs, mirror_rooms};
pub use room_row::{RoomRow, rooms};
pub use server::{router, serve};
pub use socket::{ControlSocket, FILE};

/// The version of what goes over the socket: both ends are the same program, mostly of one version.
pub const VERSION: u32 = 1;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// [`VERSION`] of whoever answers.
    pub version: u32,
    /// The rows, in the order of the store.
    pub items: Vec<T>,
    /// What to ask for next, as `?after=`: a place in the store, in hexadecimal. `None` at the end.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    fn new(items: Vec<T>, next: Option<Vec<u8>>) -> Self {
        Self { version: VERSION, items, next: next.map(hex::encode) }
    }

    /// Where the next page begins, if there is one.
    #[must_use]
    pub fn place(&self) -> Option<Vec<u8>> {
        self.next.as_ref().and_then(|next| hex::decode(next).ok())
    }
}
