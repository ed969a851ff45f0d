//! Whom the links of messages name: the room's participants, and anybody else who has a name on the other side.

use std::sync::Arc;

use ruma::{OwnedUserId, UserId};

use super::{names::Names, state::Room};
use crate::{ident::UserUri, policy::RoomState, translate::Mentions};

/// The people of a room, for [`crate::translate`].
pub(super) struct People<'a> {
    pub(super) names: &'a dyn Names,
    pub(super) state: Option<Arc<RoomState>>,
    pub(super) room: &'a Room,
}

impl Mentions for People<'_> {
    fn uri(&self, user: &UserId) -> Option<UserUri> {
        self.names.uri(user).or_else(|| self.names.ghost_uri(user))
    }

    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId> {
        self.names.matrix_id(user)
    }

    fn is_here(&self, user: &UserUri) -> bool {
        self.state.as_ref().is_some_and(|state| state.takes_part(user))
    }

    fn may_ring_all(&self, user: &UserUri) -> bool {
        // Nobody looks at the levels of a chat of two.
        let may = |id: OwnedUserId| self.room.levels.may_ring_all(id.as_str());
        self.room.direct || self.names.matrix_id(user).is_some_and(may)
    }
}
