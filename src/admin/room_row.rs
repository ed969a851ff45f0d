//! One bridged room as an operator sees it.

use serde::{Deserialize, Serialize};

use super::Listing;
use crate::{
    engine::{Engine, GatewayNames, RoomSummary},
    store::{Database, StoreError},
};

/// Rooms of one page: each is loaded with its group, which takes milliseconds where groups are large.
const PAGE: usize = 50;

/// One bridged room, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRow {
    /// The MIMI room's URI.
    pub mimi_room: String,
    /// The Matrix room's id, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_room: Option<String>,
    /// `hub` or `follower`.
    pub role: String,
    /// The provider that is the room's hub.
    pub hub: String,
    /// `active`, `broken`, and so on.
    pub state: String,
    /// The MLS epoch, once there is a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Entries in the participant list.
    pub participants: usize,
    /// In what the Matrix room is left as it is although the MIMI room says something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
}

impl From<RoomSummary> for RoomRow {
    fn from(room: RoomSummary) -> Self {
        Self {
            hub: crate::ident::RoomUri::parse(&room.uri).map(|uri| uri.hub().to_string()).unwrap_or_default(),
            mimi_room: room.uri,
            matrix_room: Some(room.matrix).filter(|room| !room.is_empty()),
            role: if room.hub { "hub" } else { "follower" }.to_owned(),
            state: room.state,
            epoch: room.epoch,
            participants: room.participants,
            differs: room.differs,
        }
    }
}

/// The rooms behind this place. Fails as the store does.
pub async fn rooms(
    db: &Database,
    names: &GatewayNames,
    after: Option<Vec<u8>>,
) -> Result<Listing<RoomRow>, StoreError> {
    let (rooms, next) = Engine::rooms_after(db, names, after, PAGE).await?;
    Ok(Listing::new(rooms.into_iter().map(RoomRow::from).collect(), next))
}
