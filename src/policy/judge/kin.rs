//! Rooms that depend on another one (`parent_dependent`, room-policy-03 section 5): who comes in takes part in the parent.

use std::collections::BTreeSet;

use super::{
    super::{
        change::{Parents, Refusal},
        component,
    },
    Judge, People, Updates,
    policies::Policies,
};
use crate::ident::{RoomUri, UserUri};

impl Judge<'_> {
    /// Whether a parent that this commit names can be one, and whether the hub knows all who come in as participants of the
    /// parent. Only the hub has the parent's list: a follower believes it.
    pub(super) fn kin(&self, grouped: &Updates<'_>, people: &People, policies: &Policies<'_>) -> Result<(), Refusal> {
        let Some(parent) = policies.base.parent() else { return Ok(()) };
        let anew = self.state.base_policy.parent() != Some(parent);
        if anew && grouped.contains_key(&component::BASE_ROOM_POLICY) {
            let own = &self.state.metadata.room_uri;
            match RoomUri::parse(parent) {
                Err(_) => return Err(Refusal::Parent("its address is none of a room")),
                Ok(parent) if parent == *own => return Err(Refusal::Parent("a room is not its own parent")),
                Ok(parent) if parent.hub() != own.hub() => return Err(Refusal::Parent("it is on another hub")),
                Ok(_) => {}
            }
        }
        let Parents::Hosted(hosted) = &self.changes.parents else { return Ok(()) };
        let mut coming: BTreeSet<&UserUri> = self.changes.adds.iter().map(|add| &add.user).collect();
        let takes_part = |user: &UserUri| {
            people.role_after(self.standing, user).is_some_and(|index| !policies.is_banned_role(index))
        };
        let took_part =
            |user: &UserUri| self.standing.role_of(user).is_some_and(|index| !self.state.is_banned_role(index));
        coming.extend(people.touched(self.standing).filter(|user| takes_part(user) && !took_part(user)));
        if anew {
            let listed = self.state.participants.iter().map(|(user, _)| user);
            coming.extend(listed.filter(|user| takes_part(user)));
        }
        if coming.is_empty() && !anew {
            return Ok(());
        }
        let Some(members) = hosted.get(parent) else {
            return Err(Refusal::Parent("this hub has no such room, or does not know who is in it"));
        };
        match coming.into_iter().find(|user| !members.contains(*user)) {
            Some(user) => Err(Refusal::NotInParent(user.clone())),
            None => Ok(()),
        }
    }
}
