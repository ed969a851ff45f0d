//! Updates of the participant list: who comes, goes, and changes roles.

use std::collections::BTreeMap;

use super::{
    super::{
        capability::Capability,
        change::{Code, Refusal},
        component,
        components::{ParticipantListUpdate, Role, encode_participants},
        role,
    },
    Judge, Standing, may_add,
};
use crate::ident::UserUri;

/// What a commit does to the participant list.
#[derive(Debug, Default)]
pub(super) struct People {
    /// New roles by place in the list; `None` is removed.
    touched: BTreeMap<usize, Option<u32>>,
    /// Who is appended, in order.
    added: Vec<(UserUri, u32)>,
    roles_of_added: BTreeMap<UserUri, u32>,
}

impl People {
    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.added.is_empty()
    }

    /// Whether nothing but removals is in it.
    pub(super) fn only_removes(&self) -> bool {
        self.added.is_empty() && self.touched.values().all(Option::is_none)
    }

    /// The user's role after the commit.
    pub(super) fn role_after(&self, standing: &Standing<'_>, user: &UserUri) -> Option<u32> {
        match standing.places.get(user) {
            None => self.roles_of_added.get(user).copied(),
            Some(place) => match self.touched.get(place) {
                Some(after) => *after,
                None => standing.entry(*place).map(|(_, index)| *index),
            },
        }
    }

    /// Those of the list before the commit who are removed or change their roles, and those who are added.
    pub(super) fn touched<'a>(&'a self, standing: &'a Standing<'_>) -> impl Iterator<Item = &'a UserUri> {
        let listed = self.touched.keys().filter_map(move |place| standing.entry(*place)).map(|(user, _)| user);
        listed.chain(self.added.iter().map(|(user, _)| user))
    }

    /// How many more, or fewer, entries the list has after the commit.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.added.len(), self.touched.values().filter(|after| after.is_none()).count())
    }

    fn touch(&mut self, user: &UserUri, place: usize, after: Option<u32>) -> Result<(), Refusal> {
        match self.touched.insert(place, after) {
            None => Ok(()),
            Some(_) => Err(Refusal::TouchedTwice(user.clone())),
        }
    }
}

impl Judge<'_> {
    pub(super) fn people(&self, updates: &[(&[u8], &UserUri)]) -> Result<People, Refusal> {
        let id = component::PARTICIPANT_LIST;
        let listed = |index: u32| {
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            let entry = self.standing.entry(place).map(|(user, role)| (place, user, *role));
            entry.ok_or(Refusal::Update(id, "an index past the end of the list"))
        };
        let mut people = People::default();
        for (bytes, proposer) in updates {
            let update = ParticipantListUpdate::decode(bytes).map_err(|error| Refusal::Malformed(id, error))?;
            for (index, to) in update.changed {
                let (place, user, from) = listed(index)?;
                people.touch(user, place, Some(to))?;
                self.role_change(proposer, user, from, to)?;
            }
            for index in update.removed {
                let (place, user, from) = listed(index)?;
                people.touch(user, place, None)?;
                self.removal(proposer, user, from)?;
            }
            for (user, to) in update.added {
                let again = self.standing.places.get(&user).is_some_and(|place| people.touched.contains_key(place));
                if again || people.roles_of_added.insert(user.clone(), to).is_some() {
                    return Err(Refusal::TouchedTwice(user));
                }
                self.addition(proposer, &user, to)?;
                people.added.push((user, to));
            }
        }
        Ok(people)
    }

    /// The list after the commit, as bytes.
    pub(super) fn new_list(&self, people: &People) -> Result<Vec<u8>, Refusal> {
        let (added, removed) = people.lengths();
        let kept = self.state.participants.iter().enumerate().filter_map(|(place, (user, index))| {
            match people.touched.get(&place) {
                Some(after) => after.map(|index| (user, index)),
                None => Some((user, *index)),
            }
        });
        let length = self.state.participants.len() + added - removed;
        let all = kept.chain(people.added.iter().map(|(user, index)| (user, *index)));
        encode_participants(length, all).map_err(|error| Refusal::Malformed(component::PARTICIPANT_LIST, error))
    }

    fn defined(&self, index: u32) -> Result<(), Refusal> {
        if index == role::NONE || self.state.roles.get(index).is_none() { Err(Refusal::Role(index)) } else { Ok(()) }
    }

    fn role_change(&self, proposer: &UserUri, user: &UserUri, from: u32, to: u32) -> Result<(), Refusal> {
        self.defined(to)?;
        if proposer == user {
            // By its credential: the first role that is not 0. The list of authorized changes is not asked.
            let list = self.state.preauthorized();
            let first = list.matching(self.claims(user)).find(|index| *index != role::NONE);
            let allowed = |role: &Role| role.can(Capability::ChangeOwnRole) && first == Some(to);
            return self.demand(proposer, allowed, "change its own role");
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
        let (capability, what) = if proposer == user {
            (Capability::RemoveSelf, "leave")
        } else {
            (Capability::RemoveParticipant, "remove this user")
        };
        self.demand(proposer, |role| role.can(capability) && role.may_change(from, role::NONE), what)
    }

    fn addition(&self, proposer: &UserUri, user: &UserUri, to: u32) -> Result<(), Refusal> {
        if let Some(index) = self.standing.role_of(user) {
            return Err(if self.state.is_banned_role(index) {
                Refusal::Banned(user.clone())
            } else {
                Refusal::Update(component::PARTICIPANT_LIST, "adds a user who is in the list")
            });
        }
        self.defined(to)?;
        if self.state.base_policy.fixed_membership {
            return Err(Refusal::FixedMembership);
        }
        if proposer != user {
            return self.demand(proposer, |role| may_add(role, to), "add a participant with this role");
        }
        if self.changes.external_commit && !self.state.is_banned_role(to) && self.may_join(user, to) {
            Ok(())
        } else {
            Err(Refusal::NotAuthorized { user: user.clone(), what: "join by itself" })
        }
    }

    /// Whether somebody who is not in the list may come in with this role: because anybody may, by a code, or by its
    /// credential.
    fn may_join(&self, user: &UserUri, to: u32) -> bool {
        let by_code = match self.changes.code {
            Code::HubKnows => true,
            Code::NotShown => false,
            Code::Shown(role) => role == to,
        };
        let outsider = self.state.roles.get(role::NONE).is_some_and(|role| {
            role.may_change(role::NONE, to)
                && (role.can(Capability::OpenJoin) || (by_code && role.can(Capability::UseJoinCode)))
        });
        let target = self.state.roles.get(to);
        outsider
            || (target.is_some_and(|role| role.can(Capability::JoinIfPreauthorized))
                && self.preauthorized(user) == Some(to))
    }
}
