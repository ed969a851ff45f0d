//! Leaves of a commit: whose clients come and go, and whether everybody's number is within its bounds afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        capability::Capability,
        change::{LeafAdd, LeafRemove, Refusal},
        role,
    },
    Counts, Judge, People, may_add,
    policies::Policies,
};
use crate::ident::UserUri;

/// Leaves after the commit, of the users whose leaves it touches.
type Now<'a> = BTreeMap<&'a UserUri, u32>;

impl Judge<'_> {
    fn had(&self, user: &UserUri) -> u32 {
        self.standing.leaves.get(user).copied().unwrap_or_default()
    }

    pub(super) fn leaves(&self, people: &People, policies: &Policies<'_>) -> Result<(), Refusal> {
        let mut now = Now::new();
        for remove in &self.changes.removes {
            let count = now.entry(&remove.user).or_insert_with(|| self.had(&remove.user));
            let why = "a leaf is removed that it does not have";
            *count = count.checked_sub(1).ok_or_else(|| Refusal::Leaf { user: remove.user.clone(), why })?;
            self.leaf_removal(remove, people, policies)?;
        }
        for add in &self.changes.adds {
            self.leaf_addition(add, people, policies)?;
            let count = now.entry(&add.user).or_insert_with(|| self.had(&add.user));
            *count = count.saturating_add(1);
        }
        // Who lost the right to have clients in this commit loses them in this commit.
        for user in people.touched(self.standing) {
            let left = now.get(user).copied().unwrap_or_else(|| self.had(user));
            let why = match people.role_after(self.standing, user) {
                None => "removed, but keeps a client",
                Some(index) if policies.is_banned_role(index) => "banned, but keeps a client",
                Some(index) if !policies.may_be_active(index) => "keeps a client, but its role may have none",
                Some(_) => continue,
            };
            if left > 0 && self.standing.places.contains_key(user) {
                return Err(Refusal::Leaf { user: user.clone(), why });
            }
        }
        self.constraints(people, policies, &now)
    }

    /// Whether the user gets another role in this commit, one whose holders have no clients.
    fn put_to_rest(&self, user: &UserUri, index: u32, policies: &Policies<'_>) -> bool {
        self.standing.role_of(user) != Some(index) && !policies.may_be_active(index)
    }

    fn leaf_removal(&self, remove: &LeafRemove, people: &People, policies: &Policies<'_>) -> Result<(), Refusal> {
        let user = &remove.user;
        let own = remove.proposer == *user;
        if own && self.changes.external_commit && !remove.self_remove {
            // The joiner's old leaf makes room for the new one.
            return Ok(());
        }
        let Some(index) = people.role_after(self.standing, user) else {
            // Removed from the list in this commit, which was authorized there; or a left-over leaf of somebody who was
            // not in the list before, which any participant may clear away, and its owner.
            return if own { Ok(()) } else { self.acting(&remove.proposer).map(|_| ()) };
        };
        if self.put_to_rest(user, index, policies) {
            // Banned in this commit, which was authorized there.
            return if own { Ok(()) } else { self.acting(&remove.proposer).map(|_| ()) };
        }
        if own {
            return self.demand(user, |role| role.can(Capability::RemoveOwnClient), "remove its own client");
        }
        self.demand(&remove.proposer, |role| role.can(Capability::Kick), "remove this user's client")
    }

    fn leaf_addition(&self, add: &LeafAdd, people: &People, policies: &Policies<'_>) -> Result<(), Refusal> {
        let Some(index) = people.role_after(self.standing, &add.user) else {
            return Err(Refusal::Leaf { user: add.user.clone(), why: "gets a client, but is not a participant" });
        };
        if policies.is_banned_role(index) {
            return Err(Refusal::Banned(add.user.clone()));
        }
        if !policies.may_be_active(index) {
            return Err(Refusal::Leaf { user: add.user.clone(), why: "gets a client, but its role may have none" });
        }
        if add.proposer == add.user {
            // Somebody who joins by this commit was authorized as an addition to the list.
            let joins = self.standing.role_of(&add.user).is_none();
            return if joins {
                Ok(())
            } else {
                self.demand(&add.user, |role| role.can(Capability::AddOwnClient), "add its own client")
            };
        }
        // The draft lets the adder of a participant add its clients. We read that as: also later, while it has none; and in a
        // room of fixed participants, where nobody may add participants, by any of them.
        let inactive = self.had(&add.user) == 0;
        let fixed = self.state.base_policy.fixed_membership;
        self.demand(&add.proposer, |role| inactive && (fixed || may_add(role, index)), "add this user's client")
    }

    fn constraints(&self, people: &People, policies: &Policies<'_>, now: &Now<'_>) -> Result<(), Refusal> {
        let old = &self.standing.counts;
        let mut new = old.clone();
        let touched: BTreeSet<&UserUri> = people.touched(self.standing).chain(now.keys().copied()).collect();
        let each = |counts: &mut Counts, index: Option<u32>, leaves: u32, change: fn(u32, u32) -> u32| {
            if let Some(index) = index {
                let counts = counts.entry(index).or_default();
                *counts = (change(counts.0, 1), change(counts.1, u32::from(leaves > 0)));
            }
        };
        for user in touched {
            let had = self.had(user);
            let has = now.get(user).copied().unwrap_or(had);
            each(&mut new, self.standing.role_of(user), had, u32::saturating_sub);
            each(&mut new, people.role_after(self.standing, user), has, u32::saturating_add);
        }
        // What was out of bounds before and gets no worse is no reason to refuse a commit.
        let too_few = |old: u32, new: u32, min: u32| new < min && new < old;
        let too_many = |old: u32, new: u32, max: Option<u32>| max.is_some_and(|max| new > max && new > old);
        for role in policies.roles.0.iter().filter(|role| role.index != role::NONE) {
            let old = old.get(&role.index).copied().unwrap_or_default();
            let new = new.get(&role.index).copied().unwrap_or_default();
            if too_few(old.0, new.0, role.min_participants) || too_few(old.1, new.1, role.min_active) {
                return Err(Refusal::Constraint("too few users would have a role"));
            }
            if too_many(old.0, new.0, role.max_participants) || too_many(old.1, new.1, role.max_active) {
                return Err(Refusal::Constraint("too many users would have a role"));
            }
        }
        let base = &policies.base;
        let users = |counts: &Counts, banned: &dyn Fn(u32) -> bool| -> u32 {
            counts.iter().filter(|(index, _)| !banned(**index)).map(|(_, counts)| counts.0).sum()
        };
        let before = users(old, &|index| self.state.is_banned_role(index));
        if too_many(before, users(&new, &|index| policies.is_banned_role(index)), base.max_users) {
            return Err(Refusal::Constraint("too many users"));
        }
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        let (adds, removes) = (count(self.changes.adds.len()), count(self.changes.removes.len()));
        let clients = self.standing.clients.saturating_add(adds).saturating_sub(removes);
        if too_many(self.standing.clients, clients, base.max_clients) {
            return Err(Refusal::Constraint("too many clients"));
        }
        let several = |add: &LeafAdd| now.get(&add.user).is_some_and(|n| *n > 1);
        if !base.multi_device && self.changes.adds.iter().any(several) {
            return Err(Refusal::Constraint("one client for each user"));
        }
        Ok(())
    }
}
