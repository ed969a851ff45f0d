//! What must be the same at every provider of a room, for an operator who compares two of them.

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::{
    engine::{Engine, Fingerprint},
    store::{Database, StoreError},
};

/// Rooms of one page: each takes reading its whole log.
const PAGE: usize = 5;

/// One room's state in a few bytes. Field by field as in [`Fingerprint`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintRow {
    /// The MIMI room's URI.
    pub mimi_room: String,
    /// The MLS epoch, once there is a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The MLS epoch authenticator, where a user of ours has a leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_authenticator: Option<String>,
    /// Hash of the participant list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants_sha256: Option<String>,
    /// Messages in the hub-ordered log.
    pub log_length: usize,
    /// Its hash.
    pub log_sha256: String,
}

impl From<Fingerprint> for FingerprintRow {
    fn from(Fingerprint { room, epoch, epoch_authenticator, participants, log_length, log }: Fingerprint) -> Self {
        let (mimi_room, participants_sha256, log_sha256) = (room, participants, log);
        Self { mimi_room, epoch, epoch_authenticator, participants_sha256, log_length, log_sha256 }
    }
}

/// The rooms behind this place. Fails as the store does.
pub async fn fingerprints(db: &Database, after: Option<Vec<u8>>) -> Result<Listing<FingerprintRow>, StoreError> {
    let (rooms, next) = Engine::fingerprints_after(db, after, PAGE).await?;
    Ok(Listing::new(rooms.into_iter().map(FingerprintRow::from).collect(), next))
}
