//! The rooms as an operator sees them.

use super::{core::Engine, names::GatewayNames, records};
use crate::{
    room::{Names as _, Phase, Room},
    store::{Database, StoreError},
};

/// A room as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// The MIMI room.
    pub uri: String,
    /// The Matrix room, once there is one.
    pub matrix: String,
    /// Whether we are its hub.
    pub hub: bool,
    /// How it stands.
    pub state: String,
    /// The epoch, if there is a group.
    pub epoch: Option<u64>,
    /// Entries of the participant list.
    pub participants: usize,
    /// In what the Matrix room is left as it is although the MIMI room says something else.
    pub differs: Vec<String>,
}

impl Engine {
    /// All rooms, for an operator.
    pub async fn rooms(db: &Database, names: &GatewayNames) -> Result<Vec<RoomSummary>, StoreError> {
        let (mut rooms, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = Self::rooms_after(db, names, after, 100).await?;
            rooms.extend(page);
            after = next;
            if after.is_none() {
                return Ok(rooms);
            }
        }
    }

    /// Up to `limit` rooms behind this place, in the order of their URIs, and the place to go on at.
    pub async fn rooms_after(
        db: &Database,
        names: &GatewayNames,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<RoomSummary>, Option<Vec<u8>>), StoreError> {
        let page = records::page(db, after, limit).await?;
        let mut rows = Vec::new();
        for (uri, room) in page.rooms {
            rows.push(Self::summary(db, names, uri, &room).await);
        }
        Ok((rows, page.next))
    }

    /// One room, from its record.
    pub(super) async fn summary(db: &Database, names: &GatewayNames, uri: String, room: &Room) -> RoomSummary {
        let group = super::rows::load_group(db, &uri, room.group).await.ok();
        let state = group.as_ref().and_then(|group| crate::room::group::Group::state(group).ok());
        RoomSummary {
            matrix: room.matrix.as_ref().map(ToString::to_string).unwrap_or_default(),
            hub: room.uri.hub() == *names.domain(),
            state: match &room.phase {
                Phase::Invited => "invited".to_owned(),
                Phase::Joining => "joining".to_owned(),
                Phase::Active if room.rejoin.is_some() => "coming back".to_owned(),
                Phase::Active => "active".to_owned(),
                Phase::Left => "left".to_owned(),
                Phase::Broken(why) => format!("broken: {why}"),
            },
            epoch: group.as_ref().and_then(super::group::RoomGroup::known_epoch),
            participants: state.map_or(0, |state| state.participants.len()),
            differs: room.differs_in().into_iter().map(str::to_owned).collect(),
            uri,
        }
    }
}
