//! Bans, and ghosts that cannot be in the Matrix room (draft-ietf-mimi-room-policy-03, `canBan` and `canUnban`): who is banned
//! in the Matrix room gets the role "banned" and loses its clients, so that every member's policy refuses to add it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    access::NOT_SENT,
    effect::{Effect, MatrixAction},
    group::{GroupChange, GroupError},
    pump::Turn,
    state::{InFlight, Intent, Phase},
    step::Step,
};
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::{self, Capability, RoomState, role},
};

impl Step<'_> {
    /// Whether a remote user is banned once everything is done that is wanted now: in our Matrix room, or by the room's list.
    pub(super) fn is_banned(&self, user: &UserUri) -> bool {
        if self.is_kept_out(user) {
            return true;
        }
        self.is_banned_now(user) && !self.is_lifted(user)
    }

    /// Whether somebody here lifted the ban of a user, and the MIMI room does not know that yet.
    fn is_lifted(&self, user: &UserUri) -> bool {
        !self.is_kept_out(user) && self.is_end_wanted(user)
    }

    /// Whether the end of a ban waits, whatever was done here after that.
    fn is_end_wanted(&self, user: &UserUri) -> bool {
        self.room.queue.iter().any(|intent| matches!(intent, Intent::Unban { user: who, .. } if who == user))
    }

    /// Whether somebody here banned a user, and the MIMI room does not know that yet.
    fn is_ban_wanted(&self, user: &UserUri) -> bool {
        self.room.queue.iter().any(|intent| matches!(intent, Intent::Ban { user: who, .. } if who == user))
    }

    /// A ban was lifted in the Matrix room. One that was not made yet becomes a removal: who was banned and is not any more is
    /// out of the Matrix room. One that is on its way to the hub is lifted behind it.
    fn lifts(&mut self, by: &UserUri, user: &UserUri) {
        if self.room.phase != Phase::Active {
            return;
        }
        let sent = usize::from(matches!(self.room.in_flight, Some(InFlight::Commit { .. })));
        let adds = |intent: &Intent| matches!(intent, Intent::Add { user: who, .. } if who == user);
        if !self.is_participant(user) && !self.room.queue.iter().any(adds) {
            // Whoever brings them in later is another matter; what they said before they were banned stays unsaid.
            let mut place = 0;
            self.room.queue.retain(|intent| {
                place += 1;
                place <= sent || !matches!(intent, Intent::Ban { user: who, .. } if who == user)
            });
        }
        for intent in self.room.queue.iter_mut().skip(sent) {
            if let Intent::Ban { by, user: who } = intent
                && who == user
            {
                *intent = Intent::Remove { by: by.clone(), user: who.clone() };
            }
        }
        if self.is_banned_now(user) || self.is_ban_wanted(user) {
            self.want(Intent::Unban { by: by.clone(), user: user.clone() });
        }
    }

    /// The turn of a ban that was lifted while its commit was on its way, and the hub did not take that: they are to be out, all
    /// the same.
    pub(super) fn remove_instead(&mut self, by: &UserUri, user: &UserUri) -> Turn {
        self.room.queue.pop_front();
        self.room.queue.push_front(Intent::Remove { by: by.clone(), user: user.clone() });
        Turn::Again
    }

    pub(super) fn is_banned_now(&self, user: &UserUri) -> bool {
        self.state().is_some_and(|state| state.role_of(user).is_some_and(|role| state.is_banned_role(role)))
    }

    /// Whether the Matrix room keeps a remote user out: by a ban, or with their provider.
    pub(super) fn is_kept_out(&self, user: &UserUri) -> bool {
        self.room.banned.contains(user) || self.room.bars(&user.provider())
    }

    /// What somebody is told who wants a banned user in.
    pub(super) fn says_banned(&self, user: &UserUri) -> String {
        let name = self.names.display(user);
        if !self.room.banned.contains(user) && self.room.bars(&user.provider()) {
            return format!("{name} cannot come: the room's server access list keeps {} out", user.provider());
        }
        format!("{name} is banned from this room")
    }

    /// Who came into the Matrix room because somebody asked them in, and was banned before they were added, reads on no longer.
    pub(super) fn put_out_banned(&mut self) {
        if self.room.phase != Phase::Active || !self.sees_group() {
            // What we know of the list is old.
            return;
        }
        for user in self.room.present.clone() {
            if self.room.asked.contains_key(&user) && self.is_banned_now(&user) && !self.is_lifted(&user) {
                self.put_out(&user, "banned from the MIMI room");
            }
        }
    }

    /// One of our users is not in the MIMI room any more: out of the Matrix room they go, and stay out if they are banned.
    pub(super) fn take_out(&mut self, user: &UserUri, reason: &str) {
        if !self.is_banned_now(user) || self.room.direct {
            return self.put_out(user, reason);
        }
        if self.is_lifted(user) {
            // Somebody here let them in again meanwhile. If the MIMI room does not, the ban is put back.
            return;
        }
        let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(user)) else { return };
        let was_here = self.room.present.remove(user);
        self.room.live.remove(user);
        self.room.shut.insert(user.clone());
        if self.room.banned.contains(user) && !was_here {
            // Somebody here banned them: there they stand already.
            return;
        }
        let (actor, reason) = (self.room.speaker.clone(), reason.to_owned());
        self.out.push(Effect::Matrix(MatrixAction::Ban { room, actor, target, reason }));
    }

    /// The ghost of somebody whom the MIMI room bans left: nobody here invites it again, and a moderator here can lift that.
    pub(super) fn shut_ghost(&mut self, user: &UserUri, reason: &str) {
        let here = self.is_kept_out(user) || self.room.barred.contains(user) || self.is_lifted(user);
        if !self.is_banned_now(user) || self.room.direct || here {
            return;
        }
        self.shut_again(user, reason);
    }

    /// Bans in the Matrix room whom the MIMI room bans.
    fn shut_again(&mut self, user: &UserUri, reason: &str) {
        let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(user)) else { return };
        self.room.shut.insert(user.clone());
        let (actor, reason) = (self.room.speaker.clone(), reason.to_owned());
        self.out.push(Effect::Matrix(MatrixAction::Ban { room, actor, target, reason }));
    }

    /// The Matrix bans of those whom the MIMI room does not ban any more are lifted, whoever made them here.
    pub(super) fn let_in_again(&mut self) {
        // Who was banned again here while the end of their ban is on its way stays banned.
        let agreed = self.room.banned.iter().filter(|user| self.is_banned_now(user) && !self.is_end_wanted(user));
        let agreed: Vec<UserUri> = agreed.cloned().collect();
        self.room.shut.extend(agreed);
        let free = self.room.shut.iter().filter(|user| !self.is_banned_now(user) && !self.is_ban_wanted(user));
        let free: Vec<UserUri> = free.cloned().collect();
        for user in free {
            self.lift_shut(&user);
        }
        let waiting = std::mem::take(&mut self.room.asked_in_vain);
        let (banned, free): (BTreeSet<UserUri>, BTreeSet<UserUri>) =
            waiting.into_iter().partition(|user| self.is_banned_now(user));
        self.room.asked_in_vain = banned;
        for user in free {
            self.invite_asked(&user);
        }
    }

    /// Who was asked in while they were banned is invited, if they still are.
    pub(super) fn invite_asked(&mut self, user: &UserUri) {
        let Some(requester) = self.room.asked.get(user).filter(|_| !self.room.present.contains(user)) else { return };
        if let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(user)) {
            let (actor, is_direct) = (self.inviter(requester), self.room.direct);
            self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
        }
    }

    /// Whoever asks one of ours in gets them in, as far as the Matrix room is concerned.
    pub(super) fn lift_shut(&mut self, user: &UserUri) {
        if !self.room.shut.remove(user) {
            return;
        }
        self.room.banned.remove(user);
        if let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(user)) {
            let actor = self.room.speaker.clone();
            self.out.push(Effect::Matrix(MatrixAction::Unban { room, actor, target }));
        }
    }

    /// One of ours was banned in the Matrix room: nobody brings them back by way of the MIMI room.
    pub(super) fn on_own_banned(&mut self, by: UserUri, user: UserUri) {
        if self.room.direct || self.is_fixed() || self.room.phase == Phase::Left {
            return;
        }
        // They are out either way, whatever becomes of the ban: what waits has to go before it.
        if self.room.banned.insert(user.clone()) && self.room.phase == Phase::Active {
            self.want(Intent::Ban { by, user });
        }
    }

    /// A moderator here lifts the Matrix ban of one of ours whom the MIMI room bans; false if it is none of those.
    pub(super) fn on_unshut(&mut self, by: &UserUri, user: &UserUri) -> bool {
        let by_us = self.room.shut.remove(user);
        if !self.room.banned.remove(user) && !by_us {
            return false;
        }
        self.lifts(by, user);
        true
    }

    /// A ghost was banned in the Matrix room.
    pub(super) fn on_ghost_banned(&mut self, by: UserUri, remote: UserUri) {
        self.stop_asking(&remote);
        self.room.ghosts.remove(&remote);
        if self.room.direct {
            // Nobody is banned from a room whose participants never change.
            if self.will_be_participant(&remote) {
                self.want(Intent::Remove { by, user: remote });
            }
            return;
        }
        if self.is_banned_now(&remote) {
            self.room.contested.agrees(&remote);
        }
        if self.room.banned.insert(remote.clone()) && self.room.phase == Phase::Active {
            self.want(Intent::Ban { by, user: remote });
        }
    }

    /// Its ban was lifted; false if it had none.
    pub(super) fn on_ghost_unbanned(&mut self, by: &UserUri, remote: &UserUri) -> bool {
        let by_us = self.room.shut.remove(remote);
        self.room.unshown.remove(remote);
        self.room.stuck.remove(remote);
        if !self.room.banned.remove(remote) && !by_us {
            return false;
        }
        self.room.contested.agrees(remote);
        self.lifts(by, remote);
        if self.room.phase == Phase::Active && self.is_participant(remote) {
            if self.will_be_participant(remote) {
                // The MIMI room never banned them.
                self.sync_members();
            } else {
                // As with whoever is removed: until that is done the ghost counts as here.
                self.room.ghosts.insert(remote.clone());
            }
        }
        true
    }

    /// Bans of the Matrix room that the MIMI room does not know (any more).
    pub(super) fn keep_bans(&mut self) {
        if self.room.phase != Phase::Active {
            return;
        }
        let Some(by) = self.group.local_users().into_iter().next() else { return };
        if let (Some(_), Some(state)) = (&self.room.access, self.state()) {
            // The list may be long: each provider is looked up once.
            let mut bars: BTreeMap<ProviderDomain, bool> = BTreeMap::new();
            let room = &self.room;
            let listed =
                state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role)).map(|(user, _)| user);
            let barred = listed.filter(|user| {
                let provider = user.provider();
                *bars.entry(provider).or_insert_with_key(|provider| room.bars(provider))
            });
            let barred: Vec<UserUri> = barred.cloned().collect();
            self.room.barred.extend(barred);
        }
        for user in self.room.banned.union(&self.room.barred).cloned().collect::<Vec<_>>() {
            // A hub that can take nobody out has said so, and so has a follower whose hub does not take it.
            let told = self.is_hub() || self.room.contested.is_left(&user);
            if self.will_be_participant(&user) && (!told || self.can_put_out(&by, &user)) {
                self.want(Intent::Ban { by: by.clone(), user });
            }
        }
        let stuck = self.room.stuck.iter().filter(|user| self.is_kept_out(user) && self.is_participant(user));
        self.room.stuck = stuck.cloned().collect();
    }

    /// Who of ours may do this to a user, as the policy has it: the one who wants it, or another. In a followed room nobody
    /// stands in for one who may do it to others, and not to this one.
    fn who_puts_out(&self, by: &UserUri, user: &UserUri, capability: Capability) -> Option<UserUri> {
        let state = self.state()?;
        if may_put_out(&state, by, user, capability) && (self.group.has_leaf(by) || self.is_participant(by)) {
            return Some(by.clone());
        }
        if !self.is_hub() && self.is_participant(by) && state.can(by, capability) {
            return None;
        }
        let may = |who: &UserUri| may_put_out(&state, who, user, capability) && !self.is_leaving(who);
        self.group.local_users().into_iter().find(may)
    }

    /// Who of ours may ban.
    fn who_bans(&self, by: &UserUri, user: &UserUri) -> Option<UserUri> {
        self.who_puts_out(by, user, Capability::Ban)
    }

    /// Whether somebody of ours may ban this user, or at least remove them.
    pub(super) fn can_put_out(&self, by: &UserUri, user: &UserUri) -> bool {
        let may = |capability| self.who_puts_out(by, user, capability).is_some();
        may(Capability::Ban) || may(Capability::RemoveParticipant)
    }

    pub(super) fn ban(&mut self, by: &UserUri, user: &UserUri) -> Result<Turn, GroupError> {
        if self.is_banned_now(user) && self.room.banned.contains(user) {
            self.room.shut.insert(user.clone());
        }
        if !self.is_kept_out(user) || self.is_banned_now(user) {
            return Ok(Turn::Done);
        }
        let Some(by) = self.who_bans(by, user) else { return self.ban_by_removal(by, user) };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let users = self.and_barred(&by, user, Capability::Ban);
        match self.ban_these(&by, &users) {
            // What the room does not allow of one of them says nothing about the others.
            Err(GroupError::Refused(_)) if users.len() > 1 => self.ban_these(&by, std::slice::from_ref(user)),
            done => done,
        }
    }

    fn ban_these(&mut self, by: &UserUri, users: &[UserUri]) -> Result<Turn, GroupError> {
        let app_data = self.list_change(|state| {
            let banned: Vec<_> = users.iter().map(|user| (user.clone(), role::BANNED)).collect();
            if users.iter().any(|user| state.role_of(user).is_some()) {
                policy::update_roles(state, &banned)
            } else {
                policy::update_add(state, &banned)
            }
        })?;
        let removes = users.iter().filter(|user| self.group.in_group(user)).cloned().collect();
        self.commit(by, &GroupChange { removes, app_data, ..GroupChange::default() })
    }

    /// This user, and who else goes for the same reason and can go at once: nobody comes back by one of them.
    fn and_barred(&self, by: &UserUri, user: &UserUri, capability: Capability) -> Vec<UserUri> {
        let mut users = vec![user.clone()];
        let Some(state) = self.state().filter(|_| self.room.barred.contains(user)) else { return users };
        let listed = state.role_of(user).is_some();
        users.extend(self.room.barred.iter().filter(|other| *other != user).cloned());
        users.retain(|other| {
            other == user
                || state.role_of(other).is_some() == listed
                    && !self.is_banned_now(other)
                    && may_put_out(&state, by, other, capability)
        });
        users
    }

    /// Nobody of ours may ban, but perhaps remove. Whom the hub removes is banned after that: then they have no role any more
    /// that would forbid it.
    fn ban_by_removal(&mut self, by: &UserUri, user: &UserUri) -> Result<Turn, GroupError> {
        if !self.is_participant(user) && !self.group.in_group(user) {
            return Ok(Turn::Done);
        }
        if let Some(turn) = self.others_first(by, user) {
            return Ok(turn);
        }
        let remover = self.who_puts_out(by, user, Capability::RemoveParticipant);
        if self.is_ours(user) {
            // They are out here already, and nobody brings them back who is not let in here.
            self.room.banned.remove(user);
        }
        let Some(by) = remover else {
            return Err(GroupError::Refused("nobody here may ban or remove them".to_owned()));
        };
        if !self.is_hub() {
            let name = self.names.display(user);
            self.notice(&only_removed(&name));
        }
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let users = self.and_barred(&by, user, Capability::RemoveParticipant);
        match self.remove_these(&by, &users) {
            Err(GroupError::Refused(_)) if users.len() > 1 => self.remove_these(&by, std::slice::from_ref(user)),
            done => done,
        }
    }

    /// Before those of a provider go who can only be removed, the others are banned: the last commit that a provider hears of
    /// leaves none of it who could come back.
    fn others_first(&mut self, by: &UserUri, user: &UserUri) -> Option<Turn> {
        let mut others = self.room.barred.iter().filter(|_| self.room.barred.contains(user));
        let other = others.find(|other| self.is_participant(other) && self.who_bans(by, other).is_some()).cloned()?;
        self.ban(by, &other).ok().filter(|turn| matches!(turn, Turn::Again))
    }

    /// Who of ours may lift a ban: the one who wants it, or another.
    fn who_unbans(&self, by: &UserUri, user: &UserUri) -> Option<UserUri> {
        let state = self.state()?;
        let from = state.role_of(user)?;
        let may = |who: &UserUri| {
            let role = state.role_of(who).and_then(|index| state.roles.get(index));
            who != user
                && role.is_some_and(|role| role.can(Capability::RemoveParticipant) && role.may_change(from, role::NONE))
        };
        if may(by) && (self.group.has_leaf(by) || self.is_participant(by)) {
            return Some(by.clone());
        }
        self.group.local_users().into_iter().find(|who| may(who) && !self.is_leaving(who))
    }

    /// A ban was lifted here, and not in the MIMI room: it is put back. Answers what to tell people.
    pub(super) fn unban_failed(&mut self, user: &UserUri, why: &str) -> Option<String> {
        if self.is_kept_out(user) || !self.is_banned_now(user) {
            let name = self.names.display(user);
            return Some(format!("The ban of {name} could not be lifted in the MIMI room: {why}."));
        }
        let (put_back, told) = self.puts_ban_back(user, why);
        if put_back {
            self.shut_again(user, "banned from the MIMI room");
        }
        told
    }

    pub(super) fn unban(&mut self, by: &UserUri, user: &UserUri) -> Result<Turn, GroupError> {
        if self.is_kept_out(user) || !self.is_banned_now(user) {
            return Ok(Turn::Done);
        }
        let Some(by) = self.who_unbans(by, user) else {
            return Err(GroupError::Refused("nobody here may lift the ban".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let app_data = self.list_change(|state| policy::update_remove(state, std::slice::from_ref(user)))?;
        self.commit(&by, &GroupChange { app_data, ..GroupChange::default() })
    }

    /// A ban did not reach the MIMI room. The hub's stands: nobody gets them in again. Elsewhere it is undone, since the
    /// banned one would read on unseen. Answers what to tell people.
    pub(super) fn ban_failed(&mut self, by: &UserUri, user: &UserUri, why: &str) -> Option<String> {
        if self.is_lifted(user) {
            // Nobody wants it any more.
            if self.is_participant(user) {
                self.want_first(Intent::Remove { by: by.clone(), user: user.clone() });
            }
            return None;
        }
        let name = self.names.display(user);
        if self.is_ours(user) {
            // They are out of the Matrix room: off the list, too, so that nothing is sent to them.
            self.room.banned.remove(user);
            if self.is_participant(user) {
                self.want(Intent::Leave { user: user.clone() });
            }
            return Some(format!(
                "{name} is banned here, but not from the MIMI room: {why}. Others can invite them, and they cannot come."
            ));
        }
        if self.is_hub() {
            return self.room.stuck.insert(user.clone()).then(|| {
                let still =
                    if self.room.bars(&user.provider()) { NOT_SENT } else { "They can still read what is said here." };
                format!("{name} could not be taken out of the MIMI room: {why}. {still}")
            });
        }
        let (undone, told) = self.undoes_ban(user, why);
        if !undone {
            return told;
        }
        self.room.banned.remove(user);
        if let (Some(room), Some(target)) = (self.room.matrix.clone(), self.names.matrix_id(user)) {
            let actor = self.room.speaker.clone();
            self.out.push(Effect::Matrix(MatrixAction::Unban { room, actor, target }));
        }
        self.sync_members();
        told
    }

    /// As hub: before the last of ours goes who may remove and ban others, another one becomes a moderator, best one whose
    /// power level says so. What moderators of the Matrix room do could not be carried to MIMI without one; who has no power
    /// there does not get it by this.
    pub(super) fn moderator_first(&mut self, user: &UserUri) -> Result<Option<Turn>, GroupError> {
        let state = self.group.state()?;
        let may = |who: &UserUri| state.can(who, Capability::RemoveParticipant);
        if !self.is_hub() || !may(user) {
            return Ok(None);
        }
        let mut here: Vec<UserUri> = self.listed().into_iter().collect();
        here.extend(self.room.present.iter().filter(|who| state.role_of(who).is_none()).cloned());
        here.retain(|who| who != user && self.room.present.contains(who) && !self.is_going(who));
        if here.iter().any(may) {
            return Ok(None);
        }
        let heirs = here.iter().filter_map(|who| Some((who, self.role_of_heir(&state, user, who)?)));
        let best = heirs.max_by_key(|(_, (level, _))| *level).map(|(who, (_, index))| (who, index));
        let any = || here.first().and_then(|who| Some((who, Self::role_for_heir(&state, user, who)?)));
        let Some((heir, index)) = best.or_else(any) else { return Ok(None) };
        if let Some(first) = self.leaf_first(user)? {
            return Ok(Some(first));
        }
        let moderator = [(heir.clone(), index)];
        let app_data = self.list_change(|state| {
            if state.role_of(heir).is_some() {
                policy::update_roles(state, &moderator)
            } else {
                policy::update_add(state, &moderator)
            }
        })?;
        self.room.levels.is_carried(heir, index);
        self.commit(user, &GroupChange { app_data, ..GroupChange::default() }).map(Some)
    }

    /// The homeserver does not let a ghost into the Matrix room, for good.
    pub(super) fn on_shut_out(&mut self, user: &UserUri, why: &str) {
        if self.room.phase != Phase::Active || !self.will_be_participant(user) {
            return;
        }
        if self.room.direct {
            // Whoever began the chat left the Matrix room before the other one came: there is nobody to let the ghost in.
            self.report(format!("the direct chat with {user} is over: its ghost cannot be in the Matrix room ({why})"));
            return self.part();
        }
        let name = self.names.display(user);
        let fixed = self.state().is_some_and(|state| state.base_policy.fixed_membership);
        let by = self.group.local_users().into_iter().next().and_then(|first| self.committer(&first, user));
        match by.filter(|_| self.is_hub() && !fixed) {
            Some(by) => {
                self.notice(&format!(
                    "{name} cannot be in this room ({why}), and is removed from the MIMI room, too: nobody reads here unseen."
                ));
                self.want(Intent::Remove { by, user: user.clone() });
            }
            None => self.notice(&format!(
                "Attention: {name} is in the MIMI room and reads what is said here, but cannot be shown as a member of this \
                 room ({why}). What they write cannot be shown either."
            )),
        }
    }

    /// The homeserver does not take a message of a ghost, for good. People are told once, until levels or bans change.
    pub(super) fn on_not_shown(&mut self, user: &UserUri, why: &str) {
        if self.room.banned.contains(user) {
            return;
        }
        let text = format!("A message of {} could not be shown here: {why}.", self.names.display(user));
        if self.room.unshown.insert(user.clone()) {
            self.notice(&text);
        } else {
            self.out.push(Effect::Note(text));
        }
    }
}

/// Whether the policy lets `who` ban this user, or remove them.
fn may_put_out(state: &RoomState, who: &UserUri, user: &UserUri, capability: Capability) -> bool {
    let (ban, from) = (capability == Capability::Ban, state.role_of(user));
    if ban && !state.is_banned_role(role::BANNED) {
        return false;
    }
    let to = if ban { role::BANNED } else { role::NONE };
    let role = state.role_of(who).and_then(|index| state.roles.get(index));
    who != user
        && role.is_some_and(|role| {
            role.can(capability)
                && role.may_change(from.unwrap_or(role::NONE), to)
                && (from.is_some() || role.can(Capability::AddParticipant))
        })
}

fn only_removed(name: &str) -> String {
    format!(
        "{name} is removed from the MIMI room, not banned: nobody here may ban there, so others can invite them again."
    )
}
