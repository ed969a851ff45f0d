//! Is a commit allowed, and what are the components after it (room-policy-03 section 8, protocol-06 sections 5.3 and 7.5).
//!
//! ```text
//!  Standing (state, leaves: once an epoch) + commit
//!    committer -> updates by component -> people (list) -> policies (metadata, roles, ...) -> leaves -> constraints
//! ```
//!
//! Proposals are authorized by the role that their proposer has before the commit; any participant may commit them.
//! Constraints are looked at after the whole commit, so that changes which cancel out are allowed.

mod kin;
mod leaves;
mod people;
mod policies;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::people::People;
use super::{
    capability::Capability,
    change::{ChangeSet, ComponentOp, Refusal},
    component,
    components::Role,
    preauth::Claim,
    role,
    state::{DECODED, RoomState},
};
use crate::ident::UserUri;

/// Judges a commit of `actor`. Answers the new values of the components that it changes; [`RoomState::with`] makes the next
/// state of them. Who judges more than one commit of an epoch makes a [`Standing`] once.
pub fn judge(state: &RoomState, actor: &UserUri, changes: &ChangeSet) -> Result<BTreeMap<u16, Vec<u8>>, Refusal> {
    Standing::new(state, &changes.leaves_before).judge(actor, changes)
}

/// A room's state and leaves, counted once to judge any number of commits of the same epoch. A commit then costs what it
/// changes, however many participants there are; one that changes the list costs the writing of the list besides.
#[derive(Debug)]
pub struct Standing<'a> {
    state: &'a RoomState,
    leaves: &'a BTreeMap<UserUri, u32>,
    places: HashMap<&'a UserUri, usize>,
    counts: Counts,
    clients: u32,
}

/// Participants, and those with a client, by role.
type Counts = BTreeMap<u32, (u32, u32)>;
/// Updates with their proposers, by component.
type Updates<'a> = BTreeMap<u16, Vec<(&'a [u8], &'a UserUri)>>;

impl<'a> Standing<'a> {
    /// Counts a room whose users have these leaves; users without leaf may be left out.
    #[must_use]
    pub fn new(state: &'a RoomState, leaves: &'a BTreeMap<UserUri, u32>) -> Self {
        let mut counts = Counts::new();
        let mut places = HashMap::with_capacity(state.participants.len());
        for (place, (user, index)) in state.participants.iter().enumerate() {
            let counts = counts.entry(*index).or_default();
            *counts = (counts.0 + 1, counts.1 + u32::from(leaves.get(user).is_some_and(|n| *n > 0)));
            places.insert(user, place);
        }
        let clients = leaves.values().fold(0, |sum: u32, n| sum.saturating_add(*n));
        Self { state, leaves, places, counts, clients }
    }

    /// Judges a commit of `actor`, as [`judge`] does.
    pub fn judge(&self, actor: &UserUri, changes: &ChangeSet) -> Result<BTreeMap<u16, Vec<u8>>, Refusal> {
        let judge = Judge { standing: self, state: self.state, changes };
        judge.committer(actor)?;
        judge.reinits()?;
        let grouped = judge.grouped_updates()?;
        let people = match grouped.get(&component::PARTICIPANT_LIST) {
            None => People::default(),
            Some(updates) => judge.people(updates)?,
        };
        let mut result = BTreeMap::new();
        let policies = judge.policies(&grouped, &people, &mut result)?;
        judge.leaves(&people, &policies)?;
        judge.kin(&grouped, &people, &policies)?;
        // Last, since it costs the most.
        if grouped.contains_key(&component::PARTICIPANT_LIST) {
            result.insert(component::PARTICIPANT_LIST, judge.new_list(&people)?);
        }
        Ok(result)
    }

    fn role_of(&self, user: &UserUri) -> Option<u32> {
        self.entry(*self.places.get(user)?).map(|(_, index)| *index)
    }

    fn entry(&self, place: usize) -> Option<&'a (UserUri, u32)> {
        self.state.participants.get(place)
    }
}

struct Judge<'a> {
    standing: &'a Standing<'a>,
    state: &'a RoomState,
    changes: &'a ChangeSet,
}

impl<'a> Judge<'a> {
    /// The role by which a proposer acts: that in the list, or by its credential if it is not in the list and does not join.
    fn acting(&self, user: &UserUri) -> Result<&'a Role, Refusal> {
        let index = match self.standing.role_of(user) {
            Some(index) => Some(index),
            None if self.changes.external_commit => None,
            None => self.preauthorized(user),
        };
        let index = index
            .filter(|index| !self.state.is_banned_role(*index))
            .ok_or_else(|| Refusal::NotParticipant(user.clone()))?;
        self.state.roles.get(index).ok_or(Refusal::Role(index))
    }

    fn demand(&self, user: &UserUri, allowed: impl FnOnce(&Role) -> bool, what: &'static str) -> Result<(), Refusal> {
        if allowed(self.acting(user)?) { Ok(()) } else { Err(Refusal::NotAuthorized { user: user.clone(), what }) }
    }

    fn claims(&self, user: &UserUri) -> &'a [Claim] {
        self.changes.claims.get(user).map(Vec::as_slice).unwrap_or_default()
    }

    /// The first role that the credential of somebody who is not in the list matches; `None` if that is role 0.
    fn preauthorized(&self, user: &UserUri) -> Option<u32> {
        let list = self.state.preauthorized();
        list.matching(self.claims(user)).next().filter(|index| *index != role::NONE)
    }

    // ------------------------------------------------------------------------------------------------ committer

    fn committer(&self, actor: &UserUri) -> Result<(), Refusal> {
        if !self.changes.external_commit {
            return match self.standing.role_of(actor) {
                Some(_) => self.acting(actor).map(|_| ()),
                None => Err(Refusal::NotParticipant(actor.clone())),
            };
        }
        if !self.state.takes_external_commits() {
            return Err(Refusal::External("is not allowed in this room"));
        }
        match self.changes.adds.as_slice() {
            [add] if add.user == *actor && add.proposer == *actor => {}
            _ => return Err(Refusal::External("adds exactly the joiner's own leaf")),
        }
        if self.changes.removes.iter().any(|remove| !remove.self_remove && remove.user != *actor) {
            return Err(Refusal::External("removes nobody else"));
        }
        if self.changes.updates.iter().any(|update| update.proposer != *actor) || !self.changes.reinits.is_empty() {
            return Err(Refusal::External("holds only the joiner's own updates"));
        }
        Ok(())
    }

    fn reinits(&self) -> Result<(), Refusal> {
        let changes = self.changes;
        match changes.reinits.as_slice() {
            [] => Ok(()),
            [proposer] if changes.adds.is_empty() && changes.removes.is_empty() && changes.updates.is_empty() => {
                let allowed = |role: &Role| role.can(Capability::SendMlsReinitProposal);
                self.demand(proposer, allowed, "re-initialise the group")
            }
            _ => Err(Refusal::Reinit),
        }
    }

    // -------------------------------------------------------------------------------------------------- updates

    fn grouped_updates(&self) -> Result<Updates<'a>, Refusal> {
        let mut grouped = Updates::new();
        let mut removed = BTreeSet::new();
        for update in &self.changes.updates {
            let id = update.component;
            let present = DECODED.contains(&id) || self.state.other.contains_key(&id);
            match &update.op {
                ComponentOp::Remove if !present => {
                    return Err(Refusal::Update(id, "removed, but the room does not have it"));
                }
                ComponentOp::Remove if !removed.insert(id) => return Err(Refusal::Update(id, "removed twice")),
                ComponentOp::Remove => {}
                ComponentOp::Update(bytes) if DECODED.contains(&id) || id == component::PREAUTH_LIST => {
                    grouped.entry(id).or_default().push((bytes.as_slice(), &update.proposer));
                }
                ComponentOp::Update(_) if UNCHANGEABLE.contains(&id) => return Err(Refusal::Unchangeable(id)),
                ComponentOp::Update(_) => return Err(Refusal::UnknownComponent(id)),
            }
        }
        match removed.first() {
            None => Ok(grouped),
            Some(id) if grouped.contains_key(id) => Err(Refusal::Update(*id, "removed and updated")),
            // No capability of the registry covers the removal of a policy component.
            Some(id) => Err(Refusal::Update(*id, "may not be removed")),
        }
    }
}

/// Components of the draft that no capability covers: those for them are reserved.
const UNCHANGEABLE: [u16; 10] = [
    component::OPERATIONAL_POLICY,
    component::STATUS_NOTIFICATION_POLICY,
    component::JOIN_LINK_POLICY,
    component::JOIN_LINKS,
    component::LINK_PREVIEW_POLICY,
    component::ASSET_POLICY,
    component::LOGGING_POLICY,
    component::CHAT_HISTORY_POLICY,
    component::BOT_POLICY,
    component::MESSAGE_EXPIRATION_POLICY,
];

fn may_add(role: &Role, to: u32) -> bool {
    role.can(Capability::AddParticipant) && role.may_change(role::NONE, to)
}
