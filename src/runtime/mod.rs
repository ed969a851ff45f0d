//! Wiring and shutdown.

use crate::config::Config;

/// Why the gateway could not run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No engine is wired to the edges.
    #[error("this build has no engine")]
    NoEngine,
}

/// One bridged room, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRow {
    /// The MIMI room's URI.
    pub mimi_room: String,
    /// The Matrix room's id.
    pub matrix_room: String,
    /// `hub` or `follower`.
    pub role: String,
    /// The provider that is the room's hub.
    pub hub: String,
    /// `active`, `broken`, and so on.
    pub state: String,
    /// The MLS epoch, once there is a group.
    pub epoch: Option<u64>,
    /// Entries in the participant list.
    pub participants: usize,
}

/// Runs the gateway until it is told to stop.
pub fn run(config: Config) -> Result<(), RuntimeError> {
    drop(config);
    Err(RuntimeError::NoEngine)
}

/// Reads the bridged rooms from the store.
pub fn list_rooms(config: &Config) -> Result<Vec<RoomRow>, RuntimeError> {
    let _ = config;
    Err(RuntimeError::NoEngine)
}
