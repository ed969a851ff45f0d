//! Updates of the other components: metadata field by field, role definitions, preauthorised users, base room policy.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    super::{
        capability::Capability,
        change::Refusal,
        component,
        components::{BaseRoomPolicy, Role, RoleList, RoomMetadata},
        preauth::PreauthList,
        role,
    },
    Judge, People, Updates,
};
use crate::ident::UserUri;

/// Roles and base policy after the commit: the constraints are theirs.
pub(super) struct Policies<'a> {
    pub(super) roles: Cow<'a, RoleList>,
    pub(super) base: Cow<'a, BaseRoomPolicy>,
}

impl Policies<'_> {
    pub(super) fn is_banned_role(&self, index: u32) -> bool {
        index == role::BANNED && self.roles.get(index).is_some_and(|role| role.name == "banned")
    }

    /// Whether holders may have clients.
    pub(super) fn may_be_active(&self, index: u32) -> bool {
        !self.is_banned_role(index) && self.roles.get(index).is_some_and(|role| role.max_active != Some(0))
    }
}

impl<'a> Judge<'a> {
    /// Judges all updates but those of the participant list, and adds the new values to `result`.
    pub(super) fn policies(
        &self,
        grouped: &Updates<'_>,
        people: &People,
        result: &mut BTreeMap<u16, Vec<u8>>,
    ) -> Result<Policies<'a>, Refusal> {
        let state = self.state;
        let mut policies = Policies { roles: Cow::Borrowed(&state.roles), base: Cow::Borrowed(&state.base_policy) };
        let mut preauth = None;
        for (id, updates) in grouped.iter().filter(|(id, _)| **id != component::PARTICIPANT_LIST) {
            let [(bytes, proposer)] = updates.as_slice() else {
                return Err(Refusal::Update(*id, "more than one update in a commit"));
            };
            match *id {
                component::ROOM_METADATA => self.metadata(bytes, proposer)?,
                component::ROLES_LIST => policies.roles = Cow::Owned(self.roles(bytes, proposer, people)?),
                component::PREAUTH_LIST => preauth = Some(self.preauth(bytes, proposer, people)?),
                _ => policies.base = Cow::Owned(self.base_policy(bytes, proposer)?),
            }
            result.insert(*id, bytes.to_vec());
        }
        if result.contains_key(&component::ROLES_LIST) || result.contains_key(&component::PREAUTH_LIST) {
            let preauth = preauth.unwrap_or_else(|| state.preauthorized());
            if !preauth.agrees_with(&policies.roles) {
                return Err(Refusal::Update(component::PREAUTH_LIST, "a role is not that of the roles list"));
            }
        }
        let changed = |id| result.contains_key(&id);
        if policies.base.fixed_membership
            && (changed(component::ROLES_LIST) || changed(component::BASE_ROOM_POLICY))
            && !no_role_adds(&policies.roles)
        {
            let why = "fixed membership, but a role may add participants";
            return Err(Refusal::Update(component::BASE_ROOM_POLICY, why));
        }
        Ok(policies)
    }

    fn metadata(&self, bytes: &[u8], proposer: &UserUri) -> Result<(), Refusal> {
        let id = component::ROOM_METADATA;
        let new = RoomMetadata::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        let old = &self.state.metadata;
        if new.room_uri != old.room_uri {
            return Err(Refusal::Update(id, "the room URI never changes"));
        }
        for (changed, capability, what) in [
            (new.name != old.name, Capability::ChangeRoomName, "change the room's name"),
            (new.descriptions != old.descriptions, Capability::ChangeRoomDescription, "change the room's descriptions"),
            (new.avatar != old.avatar, Capability::ChangeRoomAvatar, "change the room's avatar"),
            (new.subject != old.subject, Capability::ChangeRoomSubject, "change the room's subject"),
            (new.mood != old.mood, Capability::ChangeRoomMood, "change the room's mood"),
        ] {
            if changed {
                self.demand(proposer, |role| role.can(capability), what)?;
            }
        }
        self.acting(proposer).map(|_| ())
    }

    fn roles(&self, bytes: &[u8], proposer: &UserUri, people: &People) -> Result<RoleList, Refusal> {
        let id = component::ROLES_LIST;
        let roles = RoleList::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        self.demand(proposer, |role| role.can(Capability::ChangeRoleDefinitions), "change what roles may do")?;
        if !people.is_empty() {
            return Err(Refusal::Update(id, "changed in one commit with the participant list"));
        }
        match self.standing.counts.keys().find(|index| roles.get(**index).is_none()) {
            Some(index) => Err(Refusal::Role(*index)),
            None => Ok(roles),
        }
    }

    fn preauth(&self, bytes: &[u8], proposer: &UserUri, people: &People) -> Result<PreauthList, Refusal> {
        let id = component::PREAUTH_LIST;
        let list = PreauthList::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        let allowed = |role: &Role| role.can(Capability::ChangePreauthorizedUserList);
        self.demand(proposer, allowed, "change who is preauthorised")?;
        if people.only_removes() {
            Ok(list)
        } else {
            Err(Refusal::Update(id, "changed in one commit with the participant list, and not by removals alone"))
        }
    }

    fn base_policy(&self, bytes: &[u8], proposer: &UserUri) -> Result<BaseRoomPolicy, Refusal> {
        let id = component::BASE_ROOM_POLICY;
        let policy = BaseRoomPolicy::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        let allowed = |role: &Role| role.can(Capability::ChangeRoomMembershipStyle);
        self.demand(proposer, allowed, "change the room's membership style")?;
        Ok(policy)
    }
}

fn no_role_adds(roles: &RoleList) -> bool {
    let banned = |role: &Role| role.index == role::BANNED && role.name == "banned";
    let mut others = roles.0.iter().filter(|role| role.index != role::NONE && !banned(role));
    others.all(|role| !role.can(Capability::AddParticipant))
}
