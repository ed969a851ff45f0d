//! Who gets a leaf of the group, and who gives theirs up.

use super::{
    effect::Effect,
    group::{GroupChange, GroupError},
    pump::Turn,
    roles::may_give,
    state::Intent,
    step::Step,
};
use crate::{ident::UserUri, policy};

/// Messages that are looked through for users who need a leaf.
const MAX_TOGETHER: usize = 500;

/// So many are looked at for who stays when the last of ours with a leaf goes.
const MAX_ASKED: usize = 50;
/// Why nobody of ours comes into a room that none of ours is in.
const NOBODY_LEFT: &str = "nobody of ours may add them";
/// Why somebody of ours is not on the list of a room of ours.
const NOBODY_ADDS: &str =
    "nobody who is in the MIMI room has a role that may add them (in Matrix: the power to invite)";

impl Step<'_> {
    /// A user who acts has to be listed and to have a leaf; `Some` if that has to happen first.
    pub(super) fn leaf_first(&mut self, user: &UserUri) -> Result<Option<Turn>, GroupError> {
        if self.group.has_leaf(user) {
            if self.room.stale && !self.room.fresh.contains(user) {
                // A ratchet that may have been used before is not used again: a new epoch with a new leaf first.
                if !self.is_hub() && !self.room.submitted.is_empty() {
                    return Ok(Some(Turn::Wait));
                }
                return self.commit(user, &GroupChange { path: true, ..GroupChange::default() }).map(Some);
            }
            return Ok(None);
        }
        if let Some(shared) = self.leaves_together(user)? {
            return Ok(Some(shared));
        }
        if !self.is_participant(user) {
            if self.is_banned_now(user) || self.is_kept_out(user) {
                return Err(GroupError::Refused("they are banned from this room".to_owned()));
            }
            if !self.may_come(user) {
                return Err(GroupError::Refused("they are not in the room any more".to_owned()));
            }
            if self.waits_to_be_added(user) {
                return Ok(Some(Turn::Wait));
            }
            let itself = self.comes_in_by_itself(user);
            let by = self.room.invited_by.get(user).cloned();
            // In a room of ours it has to be somebody who may: else nothing would come of it, again and again.
            let by = by.filter(|by| !itself && (!self.is_hub() || self.stands_for(by, user)));
            let Some(by) = by.or_else(|| if itself { Some(user.clone()) } else { self.who_adds(user) }) else {
                if !self.room.leaving.is_empty() {
                    // Our last one is going; who is asked may come in anew after that.
                    return Ok(Some(Turn::Wait));
                }
                return Err(GroupError::Refused(
                    if self.group.is_public() { NOBODY_LEFT } else { NOBODY_ADDS }.to_owned(),
                ));
            };
            if by == *user && !itself {
                return Err(GroupError::Refused("they are no participant".to_owned()));
            }
            self.room.queue.push_front(Intent::Add { by, user: user.clone(), key_packages: Vec::new() });
            return Ok(Some(Turn::Again));
        }
        if !self.is_hub() && !self.room.submitted.is_empty() {
            return Ok(Some(Turn::Wait));
        }
        let staged = self.group.stage_join(user, self.now)?;
        self.commit_staged(staged).map(Some)
    }

    /// First speakers of a burst share one commit: one of ours with a leaf lists those who are not listed, and gives leaves to
    /// all who have something waiting to be said. `None` if that is not possible, or only one waits. Only as hub: another one
    /// takes no Add whose KeyPackage did not come through its keyMaterial, so a follower's users come one by one.
    fn leaves_together(&mut self, first: &UserUri) -> Result<Option<Turn>, GroupError> {
        if !self.is_hub() {
            return Ok(None);
        }
        let speakers = self.room.queue.iter().filter_map(|intent| match intent {
            Intent::Say { user, .. } => Some(user),
            _ => None,
        });
        let mut users: Vec<UserUri> = Vec::new();
        for user in speakers.take(MAX_TOGETHER) {
            let out = self.is_banned_now(user) || self.is_kept_out(user);
            let comes = self.is_participant(user) || self.may_come(user) && !out;
            if comes && !users.contains(user) && !self.group.in_group(user) && !self.is_leaving(user) {
                users.push(user.clone());
            }
        }
        let by = self.any_committer().filter(|by| !self.room.stale || self.room.fresh.contains(by));
        let Some(by) = by.filter(|_| users.len() > 1 && users.contains(first)) else {
            return Ok(None);
        };
        let state = self.group.state()?;
        let unlisted: Vec<(UserUri, u32)> = {
            let of_level = self.roles_of_levels(&state);
            let unlisted = users.iter().filter(|user| !self.is_participant(user));
            unlisted.map(|user| (user.clone(), of_level(user).unwrap_or(policy::role::MEMBER))).collect()
        };
        if unlisted.iter().any(|(_, role)| !may_give(&state, &by, *role)) {
            // Somebody else has to add them.
            return Ok(None);
        }
        let app_data = self.list_change(|state| policy::update_add(state, &unlisted))?;
        match self.group.stage_leaves(&by, &users, app_data, self.now) {
            Ok(staged) => self.commit_staged(staged).map(Some),
            // One by one, each by itself.
            Err(GroupError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is `by` who adds `user`. Into a room of ours people come by Matrix' own rules, whatever the role of those with
    /// leaves: then somebody does whose role may.
    fn stands_for(&self, by: &UserUri, user: &UserUri) -> bool {
        let may = |state: std::sync::Arc<policy::RoomState>| state.can(by, policy::Capability::AddParticipant);
        let matters = self.is_hub() && self.is_ours(user);
        (self.group.has_leaf(by) || self.is_participant(by)) && (!matters || self.state().is_some_and(may))
    }

    /// As hub: whether `by` may give this one of ours the role of their level.
    pub(super) fn gives_role(&self, by: &UserUri, user: &UserUri) -> bool {
        let Some(state) = self.state().filter(|_| self.is_hub() && self.is_ours(user)) else { return true };
        self.role_of_level(&state, user).is_none_or(|role| may_give(&state, by, role))
    }

    pub(super) fn add(&mut self, by: &UserUri, user: &UserUri, key_packages: &[Vec<u8>]) -> Result<Turn, GroupError> {
        if self.is_kept_out(user) || self.is_banned_now(user) {
            return Err(GroupError::Refused(self.says_banned(user)));
        }
        let listed = self.is_participant(user);
        if listed && (key_packages.is_empty() || self.group.in_group(user)) {
            return Ok(Turn::Done);
        }
        if self.is_ours(user) && !self.may_come(user) {
            return Ok(Turn::Done);
        }
        if self.waits_to_be_added(by) {
            return Ok(Turn::Wait);
        }
        if by == user && !listed && self.comes_in_by_itself(user) {
            if !self.room.submitted.is_empty() {
                return Ok(Turn::Wait);
            }
            let staged = self.group.stage_join(user, self.now)?;
            return self.commit_staged(staged);
        }
        let stands = self.stands_for(by, user).then(|| by.clone());
        // Better somebody who can give the role of their level: what Matrix lets them say they may say then.
        let by = match stands.filter(|by| self.gives_role(by, user)) {
            Some(by) => Some(by),
            None => self.who_adds(user).or(self.stands_for(by, user).then(|| by.clone())),
        };
        let Some(by) = by else {
            if self.comes_in_by_itself(user) {
                let staged = self.group.stage_join(user, self.now)?;
                return self.commit_staged(staged);
            }
            // Where none of ours is (any more), nobody of ours comes in either: they would read what others say unseen.
            let deserted = self.group.is_public() || !self.room.leaving.is_empty();
            if self.is_hub() && self.is_ours(user) && !deserted {
                // By Matrix' rules they are in the room. What they say is not carried, and they are told then.
                let uri = &self.room.uri;
                self.out.push(Effect::Note(format!("{user} is in the Matrix room of {uri}: {NOBODY_ADDS}")));
                return Ok(Turn::Done);
            }
            return Err(GroupError::Refused(NOBODY_LEFT.to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        if key_packages.is_empty() && !self.is_ours(user) && !self.is_hub() {
            if self.room.asking.get(user).is_some_and(|asked_by| *asked_by != by) {
                // They agreed to somebody's asking who is gone: to the one who adds them, they have not.
                if let Err(refusal) = self.ask_in(&by, user) {
                    self.notice(&refusal.text);
                }
                return Ok(Turn::Done);
            }
            // KeyPackages for a room come by way of its hub (section 5.2).
            self.claim(&by, user);
            return Ok(Turn::Done);
        }
        let app_data = if listed {
            Vec::new()
        } else {
            self.list_change(|s| policy::update_add(s, &[(user.clone(), self.role_of_newcomer(s, &by, user))]))?
        };
        self.commit(&by, &GroupChange { adds: key_packages.to_vec(), app_data, ..GroupChange::default() })
    }

    pub(super) fn leave(&mut self, user: &UserUri) -> Result<Turn, GroupError> {
        if !self.has_to_leave(user) {
            return Ok(Turn::Done);
        }
        if !self.group.has_leaf(user) {
            // Without a leaf they cannot leave by themselves; somebody of ours with the right takes them off the list.
            if let Some(by) = self.committer(user, user) {
                let app_data = self.list_change(|s| policy::update_remove(s, std::slice::from_ref(user)))?;
                return self.commit(&by, &GroupChange { app_data, ..GroupChange::default() });
            }
            return Ok(self.leaf_first(user)?.unwrap_or(Turn::Again));
        }
        if !self.is_hub() && !self.room.submitted.is_empty() {
            return Ok(Turn::Wait);
        }
        if !self.room.leaving.is_empty() {
            // One at a time: who takes over is known only when the one before is gone.
            return Ok(Turn::Wait);
        }
        if let Some(first) = self.successor_first(user)? {
            return Ok(first);
        }
        if let Some(first) = self.moderator_first(user)? {
            return Ok(first);
        }
        let committer = self.group.local_users().into_iter().find(|other| other != user);
        let app_data = if self.is_fixed() {
            // Their clients go; the list stays as it is (room-policy-03 section 5).
            Vec::new()
        } else {
            self.list_change(|s| policy::update_remove(s, std::slice::from_ref(user)))?
        };
        if !self.is_hub() {
            let proposals = self.group.propose_leave(user, app_data)?;
            self.room.queue.pop_front();
            self.send_leave(user, proposals);
            return Ok(Turn::Wait);
        }
        let Some(by) = committer else {
            if !self.peers().is_empty() {
                // Somebody elsewhere commits it. Then we see the room from outside.
                let proposals = self.group.propose_leave(user, app_data)?;
                self.fan_out_own(&proposals);
                self.room.leaving.insert(user.clone());
                return Ok(Turn::Done);
            }
            self.room.keeper = Some(user.clone());
            self.give_up(&Intent::Leave { user: user.clone() }, "nobody else is in the room, which is hosted here");
            return Ok(Turn::Done);
        };
        let proposals = self.group.propose_leave(user, app_data)?;
        let staged = match self.group.stage(&by, &GroupChange::default(), self.now) {
            Ok(staged) => staged,
            Err(error) => {
                // A proposal that stays behind would stop all messages.
                self.group.forget(&proposals)?;
                return Err(error);
            }
        };
        self.fan_out_own(&proposals);
        self.hub_accept_own_commit(&staged)?;
        Ok(Turn::Done)
    }

    /// Before the leaf goes whose keys we keep, another one has to be able to take over: a standby, or, if it is our last
    /// leaf, one for somebody of ours who only listened so far.
    fn successor_first(&mut self, user: &UserUri) -> Result<Option<Turn>, GroupError> {
        let locals = self.group.local_users();
        if locals.first() != Some(user) {
            return Ok(None);
        }
        if locals.len() == 1 {
            let mut others = self.listed().into_iter().collect::<Vec<_>>();
            if self.is_hub() {
                // A large room lists only those who act; one of the others can stay in it.
                others.extend(self.room.present.iter().cloned());
            }
            others.retain(|other| other != user && self.room.present.contains(other) && !self.is_going(other));
            for other in others.into_iter().take(MAX_ASKED) {
                match self.leaf_first(&other) {
                    // Nobody may add them; perhaps another one.
                    Err(GroupError::Refused(_)) => {}
                    first => return first,
                }
            }
            return Ok(None);
        }
        match self.group.refresh_due(self.now).into_iter().find(|other| other != user) {
            Some(other) if !self.is_hub() => {
                self.commit(&other, &GroupChange { path: true, ..GroupChange::default() }).map(Some)
            }
            _ => Ok(None),
        }
    }
}
