//! What the hub has accepted and no commit has taken in yet: an overlay of a room's state.
//!
//! The hub cannot commit. Between the acceptance of a change of the list and the commit that makes it part of the group, adds
//! lead: who is added counts as a participant. Removes lag: who is removed stays in the list, and the commit goes to it as well;
//! but it neither sends nor gets application messages any more, nor commits, and nothing but its leaving is taken from it. The
//! same for the banned (protocol-06 section 5.3).

use std::collections::BTreeMap;

use super::{Capability, bytes::CodecError, components::ParticipantListUpdate, role, state::RoomState};
use crate::ident::UserUri;

/// Accepted changes of the participant list that are not committed yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pending {
    /// The role that each user gets; `None` is removed.
    roles: BTreeMap<UserUri, Option<u32>>,
}

impl Pending {
    /// Takes in an accepted AppDataUpdate of the list of `state`, the state of this epoch. Begin anew with each epoch.
    pub fn take(&mut self, state: &RoomState, update: &[u8]) -> Result<(), CodecError> {
        let update = ParticipantListUpdate::decode(update)?;
        let listed = |index: u32| {
            let entry = usize::try_from(index).ok().and_then(|place| state.participants.get(place));
            entry.map(|(user, _)| user.clone())
        };
        let changed = update.changed.iter().filter_map(|(index, to)| Some((listed(*index)?, Some(*to))));
        self.roles.extend(changed);
        self.roles.extend(update.removed.iter().filter_map(|index| Some((listed(*index)?, None))));
        self.roles.extend(update.added.into_iter().map(|(user, to)| (user, Some(to))));
        Ok(())
    }

    /// Whether the user is removed or banned by what is accepted, and the commit is still to come.
    #[must_use]
    pub fn is_going(&self, state: &RoomState, user: &UserUri) -> bool {
        state.takes_part(user)
            && match self.roles.get(user) {
                None => false,
                Some(None) => true,
                Some(Some(to)) => state.is_banned_role(*to),
            }
    }

    /// The role by which the user counts: that of the list, until a commit changes it; for who is not in it, the one it gets.
    #[must_use]
    pub fn role_of(&self, state: &RoomState, user: &UserUri) -> Option<u32> {
        state.role_of(user).or_else(|| self.roles.get(user).copied().flatten())
    }

    /// Whether the user counts as a participant: handshakes go to it, and it may be given what a joiner needs unless it
    /// [is going](Self::is_going).
    #[must_use]
    pub fn takes_part(&self, state: &RoomState, user: &UserUri) -> bool {
        self.role_of(state, user).is_some_and(|index| index != role::NONE && !state.is_banned_role(index))
    }

    fn may(&self, state: &RoomState, user: &UserUri, capability: Capability) -> bool {
        state.takes_part(user) && state.can(user, capability) && !self.is_going(state, user)
    }

    /// Whether the user's messages are taken.
    #[must_use]
    pub fn may_send(&self, state: &RoomState, user: &UserUri) -> bool {
        self.may(state, user, Capability::SendMessage)
    }

    /// Whether messages go to the user's clients.
    #[must_use]
    pub fn may_receive(&self, state: &RoomState, user: &UserUri) -> bool {
        self.may(state, user, Capability::ReceiveMessage)
    }

    /// Whether the user's commits are taken.
    #[must_use]
    pub fn may_commit(&self, state: &RoomState, user: &UserUri) -> bool {
        !self.is_going(state, user)
    }

    /// Whether the user's proposals are taken; `leaving` are Remove and SelfRemove of its own clients.
    #[must_use]
    pub fn may_propose(&self, state: &RoomState, user: &UserUri, leaving: bool) -> bool {
        leaving || !self.is_going(state, user)
    }
}
