//! Is a commit allowed, and what are the components after it (room-policy-03 section 8, protocol-06 sections 5.3 and 7.5).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    capability::Capability,
    change::{ChangeSet, ComponentOp, LeafAdd, LeafRemove, Refusal},
    component,
    components::{BaseRoomPolicy, ParticipantList, ParticipantListUpdate, Role, RoleList, RoomMetadata},
    role,
    state::{DECODED, RoomState},
};
use crate::ident::UserUri;

/// Judges a commit of `actor`. Answers the new values of the components that it changes.
///
/// Proposals are authorized by the role that their proposer has before the commit; any participant may commit them.
/// Constraints are looked at after the whole commit, so that changes which cancel out are allowed.
/// Joining by preauthorization or code, and changing one's own role, are not supported and refused.
pub fn judge(state: &RoomState, actor: &UserUri, changes: &ChangeSet) -> Result<BTreeMap<u16, Vec<u8>>, Refusal> {
    let before: BTreeMap<&UserUri, u32> = state.participants.iter().map(|(user, role)| (user, *role)).collect();
    let judge = Judge { state, before, changes };
    judge.committer(actor)?;
    let mut result = BTreeMap::new();
    let grouped = judge.grouped_updates()?;
    let participants = match grouped.get(&component::PARTICIPANT_LIST) {
        None => state.participants.clone(),
        Some(updates) => {
            let participants = judge.participants(updates)?;
            let encoded = ParticipantList(participants.clone()).encode();
            let bytes = encoded.map_err(|error| Refusal::Malformed(component::PARTICIPANT_LIST, error))?;
            result.insert(component::PARTICIPANT_LIST, bytes);
            participants
        }
    };
    for (id, updates) in grouped.iter().filter(|(id, _)| **id != component::PARTICIPANT_LIST) {
        let [(bytes, proposer)] = updates.as_slice() else {
            return Err(Refusal::Update(*id, "more than one update in a commit"));
        };
        match *id {
            component::ROOM_METADATA => judge.metadata(bytes, proposer)?,
            component::ROLES_LIST => judge.roles(bytes, proposer, &participants)?,
            _ => judge.base_policy(bytes, proposer)?,
        }
        result.insert(*id, bytes.to_vec());
    }
    judge.leaves(&participants)?;
    Ok(result)
}

struct Judge<'a> {
    state: &'a RoomState,
    before: BTreeMap<&'a UserUri, u32>,
    changes: &'a ChangeSet,
}

/// Participants, and those with a client, by role.
type Counts = BTreeMap<u32, (u32, u32)>;
type Updates<'a> = BTreeMap<u16, Vec<(&'a [u8], &'a UserUri)>>;

impl<'a> Judge<'a> {
    fn role_before(&self, user: &UserUri) -> u32 {
        self.before.get(user).copied().unwrap_or(role::NONE)
    }

    /// The role by which a proposer acts.
    fn acting(&self, user: &UserUri) -> Result<&'a Role, Refusal> {
        let index = self.role_before(user);
        if index == role::NONE || self.state.is_banned_role(index) {
            return Err(Refusal::NotParticipant(user.clone()));
        }
        self.state.roles.get(index).ok_or(Refusal::Role(index))
    }

    fn demand(&self, user: &UserUri, allowed: impl FnOnce(&Role) -> bool, what: &'static str) -> Result<(), Refusal> {
        if allowed(self.acting(user)?) { Ok(()) } else { Err(Refusal::NotAuthorized { user: user.clone(), what }) }
    }

    // ------------------------------------------------------------------------------------------------ committer

    fn committer(&self, actor: &UserUri) -> Result<(), Refusal> {
        if !self.changes.external_commit {
            return self.acting(actor).map(|_| ());
        }
        match self.changes.adds.as_slice() {
            [add] if add.user == *actor && add.proposer == *actor => {}
            _ => return Err(Refusal::External("adds exactly the joiner's own leaf")),
        }
        if self.changes.removes.iter().any(|remove| !remove.self_remove && remove.user != *actor) {
            return Err(Refusal::External("removes nobody else"));
        }
        if self.changes.updates.iter().any(|update| update.proposer != *actor) {
            return Err(Refusal::External("holds only the joiner's own updates"));
        }
        Ok(())
    }

    // -------------------------------------------------------------------------------------------------- updates

    fn grouped_updates(&self) -> Result<Updates<'a>, Refusal> {
        let mut grouped = Updates::new();
        let mut removed = BTreeSet::new();
        for update in &self.changes.updates {
            let id = update.component;
            let known = DECODED.contains(&id) || self.state.other.contains_key(&id);
            match &update.op {
                ComponentOp::Remove if !known => {
                    return Err(Refusal::Update(id, "removed, but the room does not have it"));
                }
                ComponentOp::Remove if !removed.insert(id) => return Err(Refusal::Update(id, "removed twice")),
                ComponentOp::Remove => {}
                ComponentOp::Update(_) if !DECODED.contains(&id) => return Err(Refusal::UnknownComponent(id)),
                ComponentOp::Update(bytes) => {
                    grouped.entry(id).or_default().push((bytes.as_slice(), &update.proposer));
                }
            }
        }
        match removed.first() {
            None => Ok(grouped),
            Some(id) if grouped.contains_key(id) => Err(Refusal::Update(*id, "removed and updated")),
            // No capability of the registry covers the removal of a policy component.
            Some(id) => Err(Refusal::Update(*id, "may not be removed")),
        }
    }

    fn participants(&self, updates: &[(&[u8], &UserUri)]) -> Result<Vec<(UserUri, u32)>, Refusal> {
        let id = component::PARTICIPANT_LIST;
        let listed = |index: u32| {
            let entry = self.state.participants.get(index as usize);
            entry.ok_or(Refusal::Update(id, "an index past the end of the list"))
        };
        let mut touched: BTreeSet<UserUri> = BTreeSet::new();
        let mut touch = |user: &UserUri| {
            if touched.insert(user.clone()) { Ok(()) } else { Err(Refusal::TouchedTwice(user.clone())) }
        };
        let (mut changed, mut removed, mut added) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for (bytes, proposer) in updates {
            let update = ParticipantListUpdate::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
            for (index, to) in update.changed {
                let (user, from) = listed(index)?;
                touch(user)?;
                self.role_change(proposer, user, *from, to)?;
                changed.insert(user, to);
            }
            for index in update.removed {
                let (user, from) = listed(index)?;
                touch(user)?;
                self.removal(proposer, user, *from)?;
                removed.insert(user);
            }
            for (user, to) in update.added {
                touch(&user)?;
                self.addition(proposer, &user, to)?;
                added.push((user, to));
            }
        }
        let kept = self.state.participants.iter().filter(|(user, _)| !removed.contains(user));
        let kept = kept.map(|(user, role)| (user.clone(), changed.get(user).copied().unwrap_or(*role)));
        Ok(kept.chain(added).collect())
    }

    fn defined(&self, index: u32) -> Result<(), Refusal> {
        if index == role::NONE || self.state.roles.get(index).is_none() { Err(Refusal::Role(index)) } else { Ok(()) }
    }

    fn role_change(&self, proposer: &UserUri, user: &UserUri, from: u32, to: u32) -> Result<(), Refusal> {
        self.defined(to)?;
        if proposer == user {
            return Err(Refusal::NotAuthorized { user: user.clone(), what: "change its own role" });
        }
        let ban = self.state.is_banned_role(to);
        let unban = self.state.is_banned_role(from);
        let allowed = |role: &Role| {
            role.may_change(from, to)
                && (role.can(Capability::ChangeUserRole)
                    || (ban && role.can(Capability::Ban))
                    || (unban && role.can(Capability::Unban)))
        };
        self.demand(proposer, allowed, if ban { "ban this user" } else { "give this role to this user" })
    }

    fn removal(&self, proposer: &UserUri, user: &UserUri, from: u32) -> Result<(), Refusal> {
        if self.state.base_policy.fixed_membership {
            return Err(Refusal::FixedMembership);
        }
        if proposer == user {
            let allowed = |role: &Role| role.can(Capability::RemoveSelf) && role.may_change(from, role::NONE);
            self.demand(proposer, allowed, "leave")
        } else {
            let allowed = |role: &Role| role.can(Capability::RemoveParticipant) && role.may_change(from, role::NONE);
            self.demand(proposer, allowed, "remove this user")
        }
    }

    fn addition(&self, proposer: &UserUri, user: &UserUri, to: u32) -> Result<(), Refusal> {
        if self.before.get(user).is_some_and(|index| self.state.is_banned_role(*index)) {
            return Err(Refusal::Banned(user.clone()));
        }
        if self.before.contains_key(user) {
            return Err(Refusal::Update(component::PARTICIPANT_LIST, "adds a user who is in the list"));
        }
        self.defined(to)?;
        if self.state.base_policy.fixed_membership {
            return Err(Refusal::FixedMembership);
        }
        if proposer == user {
            let open = self.state.roles.get(role::NONE);
            // Whether a code was shown only the hub knows.
            let comes = |role: &Role| role.can(Capability::OpenJoin) || role.can(Capability::UseJoinCode);
            let open = open.is_some_and(|role| comes(role) && role.may_change(role::NONE, to));
            return if open && self.changes.external_commit && !self.state.is_banned_role(to) {
                Ok(())
            } else {
                Err(Refusal::NotAuthorized { user: user.clone(), what: "join by itself" })
            };
        }
        self.demand(proposer, |role| may_add(role, to), "add a participant with this role")
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

    fn roles(&self, bytes: &[u8], proposer: &UserUri, participants: &[(UserUri, u32)]) -> Result<(), Refusal> {
        let id = component::ROLES_LIST;
        let roles = RoleList::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        self.demand(proposer, |role| role.can(Capability::ChangeRoleDefinitions), "change what roles may do")?;
        if participants != self.state.participants {
            return Err(Refusal::Update(id, "changed in one commit with the participant list"));
        }
        if let Some((_, index)) = participants.iter().find(|(_, index)| roles.get(*index).is_none()) {
            return Err(Refusal::Role(*index));
        }
        if self.state.base_policy.fixed_membership && !no_role_adds(&roles) {
            return Err(Refusal::FixedMembership);
        }
        Ok(())
    }

    fn base_policy(&self, bytes: &[u8], proposer: &UserUri) -> Result<(), Refusal> {
        let id = component::BASE_ROOM_POLICY;
        let policy = BaseRoomPolicy::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
        let allowed = |role: &Role| role.can(Capability::ChangeRoomMembershipStyle);
        self.demand(proposer, allowed, "change the room's membership style")?;
        if policy.fixed_membership && !no_role_adds(&self.state.roles) {
            return Err(Refusal::Update(id, "fixed membership, but a role may add participants"));
        }
        Ok(())
    }

    // --------------------------------------------------------------------------------------------------- leaves

    fn leaves(&self, participants: &[(UserUri, u32)]) -> Result<(), Refusal> {
        let after: BTreeMap<&UserUri, u32> = participants.iter().map(|(user, role)| (user, *role)).collect();
        let mut leaves: BTreeMap<&UserUri, u32> =
            self.changes.leaves_before.iter().map(|(user, n)| (user, *n)).collect();
        for remove in &self.changes.removes {
            match leaves.get_mut(&remove.user) {
                Some(count) if *count > 0 => *count -= 1,
                _ => {
                    return Err(Refusal::Leaf {
                        user: remove.user.clone(),
                        why: "a leaf is removed that it does not have",
                    });
                }
            }
            self.leaf_removal(remove, &after)?;
        }
        for add in &self.changes.adds {
            self.leaf_addition(add, &after)?;
            *leaves.entry(&add.user).or_default() += 1;
        }
        // Who lost the right to have clients in this commit loses them in this commit.
        for (user, _) in self.state.participants.iter().filter(|(user, _)| leaves.get(user).is_some_and(|n| *n > 0)) {
            match after.get(user) {
                None => return Err(Refusal::Leaf { user: user.clone(), why: "removed, but keeps a client" }),
                Some(index) if self.before.get(user) != Some(index) && !self.may_be_active(*index) => {
                    return Err(Refusal::Leaf { user: user.clone(), why: "banned, but keeps a client" });
                }
                Some(_) => {}
            }
        }
        self.constraints(&after, &leaves)
    }

    fn may_be_active(&self, index: u32) -> bool {
        !self.state.is_banned_role(index) && self.state.roles.get(index).is_some_and(|role| role.max_active != Some(0))
    }

    fn leaf_removal(&self, remove: &LeafRemove, after: &BTreeMap<&UserUri, u32>) -> Result<(), Refusal> {
        let user = &remove.user;
        let Some(index) = after.get(user) else {
            // Removed from the list in this commit, which was authorized there; or a left-over leaf of somebody who was
            // not in the list before, which any participant may clear away, and its owner.
            return if remove.proposer == *user { Ok(()) } else { self.acting(&remove.proposer).map(|_| ()) };
        };
        if remove.proposer == *user {
            let resync = self.changes.external_commit && !remove.self_remove;
            return self.demand(user, |role| resync || role.can(Capability::RemoveOwnClient), "remove its own client");
        }
        if self.before.get(user) != Some(index) && !self.may_be_active(*index) {
            // Banned in this commit, which was authorized there.
            return self.acting(&remove.proposer).map(|_| ());
        }
        self.demand(&remove.proposer, |role| role.can(Capability::Kick), "remove this user's client")
    }

    fn leaf_addition(&self, add: &LeafAdd, after: &BTreeMap<&UserUri, u32>) -> Result<(), Refusal> {
        let Some(index) = after.get(&add.user) else {
            return Err(Refusal::Leaf { user: add.user.clone(), why: "gets a client, but is not a participant" });
        };
        if self.state.is_banned_role(*index) {
            return Err(Refusal::Banned(add.user.clone()));
        }
        if !self.may_be_active(*index) {
            return Err(Refusal::Leaf { user: add.user.clone(), why: "gets a client, but its role may have none" });
        }
        if add.proposer == add.user {
            // Somebody who joins by this commit was authorized as an addition to the list.
            let joins = !self.before.contains_key(&add.user);
            return if joins {
                Ok(())
            } else {
                self.demand(&add.user, |role| role.can(Capability::AddOwnClient), "add its own client")
            };
        }
        // The draft lets the adder of a participant add its clients. We read that as: also later, while it has none; and in a
        // room of fixed participants, where nobody may add participants, by any of them.
        let inactive = self.changes.leaves_before.get(&add.user).is_none_or(|count| *count == 0);
        let fixed = self.state.base_policy.fixed_membership;
        self.demand(&add.proposer, |role| inactive && (fixed || may_add(role, *index)), "add this user's client")
    }

    fn constraints(&self, after: &BTreeMap<&UserUri, u32>, leaves: &BTreeMap<&UserUri, u32>) -> Result<(), Refusal> {
        let had = |user: &UserUri| self.changes.leaves_before.get(user).is_some_and(|n| *n > 0);
        let has = |user: &UserUri| leaves.get(user).is_some_and(|n| *n > 0);
        let (mut old, mut new) = (Counts::new(), Counts::new());
        for (user, index) in &self.before {
            let counts = old.entry(*index).or_default();
            *counts = (counts.0 + 1, counts.1 + u32::from(had(user)));
        }
        for (user, index) in after {
            let counts = new.entry(*index).or_default();
            *counts = (counts.0 + 1, counts.1 + u32::from(has(user)));
        }
        // What was out of bounds before and gets no worse is no reason to refuse a commit.
        let too_few = |old: u32, new: u32, min: u32| new < min && new < old;
        let too_many = |old: u32, new: u32, max: Option<u32>| max.is_some_and(|max| new > max && new > old);
        for role in self.state.roles.0.iter().filter(|role| role.index != role::NONE) {
            let old = old.get(&role.index).copied().unwrap_or_default();
            let new = new.get(&role.index).copied().unwrap_or_default();
            if too_few(old.0, new.0, role.min_participants) || too_few(old.1, new.1, role.min_active) {
                return Err(Refusal::Constraint("too few users would have a role"));
            }
            if too_many(old.0, new.0, role.max_participants) || too_many(old.1, new.1, role.max_active) {
                return Err(Refusal::Constraint("too many users would have a role"));
            }
        }
        let policy = &self.state.base_policy;
        let users = |roles: &BTreeMap<&UserUri, u32>| {
            let count = roles.values().filter(|index| !self.state.is_banned_role(**index)).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        if too_many(users(&self.before), users(after), policy.max_users) {
            return Err(Refusal::Constraint("too many users"));
        }
        let clients_before: u32 = self.changes.leaves_before.values().fold(0, |sum, n| sum.saturating_add(*n));
        let clients_after: u32 = leaves.values().fold(0, |sum, n| sum.saturating_add(*n));
        if too_many(clients_before, clients_after, policy.max_clients) {
            return Err(Refusal::Constraint("too many clients"));
        }
        let several = |add: &LeafAdd| leaves.get(&add.user).is_some_and(|n| *n > 1);
        if !policy.multi_device && self.changes.adds.iter().any(several) {
            return Err(Refusal::Constraint("one client for each user"));
        }
        Ok(())
    }
}

fn may_add(role: &Role, to: u32) -> bool {
    role.can(Capability::AddParticipant) && role.may_change(role::NONE, to)
}

fn no_role_adds(roles: &RoleList) -> bool {
    roles.0.iter().all(|role| role.index <= role::BANNED || !role.can(Capability::AddParticipant))
}
