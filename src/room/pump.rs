//! The queue of what our users want, worked off in order: at once where we are hub, one commit at a time where we follow.

use super::{
    effect::Effect,
    frank::Franked,
    group::{GroupChange, GroupError},
    roles::may_give,
    state::{InFlight, Intent, Phase},
    step::Step,
    telling::{Fate, Why},
};
use crate::{
    ident::UserUri,
    policy::{self, component},
};

/// Messages that may wait for the hub's answer at once.
const WINDOW: usize = 32;

/// What became of the first intent.
pub(super) enum Turn {
    /// It is done, or given up: the next one.
    Done,
    /// Something else has to happen first and did, at once: look at the same one again.
    Again,
    /// It waits for an answer or a commit.
    Wait,
}

impl Step<'_> {
    /// Puts something at the end of the queue, unless it stands there already. Of what concerns a user's membership only
    /// the last one counts: who joins, leaves and joins again is in.
    pub(super) fn want(&mut self, intent: Intent) {
        let known = match intent.member() {
            Some(user) => self.room.queue.iter().rev().find(|other| other.member() == Some(user)) == Some(&intent),
            None => self.room.queue.contains(&intent),
        };
        if !known && !self.takes_back(&intent) {
            self.room.queue.push_back(intent);
        }
    }

    /// Whether a user of ours who comes or goes just undoes what waits: then nothing is left to do. Whoever flaps while the room
    /// cannot commit costs nobody a commit.
    fn takes_back(&mut self, intent: &Intent) -> bool {
        let Some(user) = intent.member() else { return false };
        let Some(place) = self.room.queue.iter().rposition(|other| other.member() == Some(user)) else { return false };
        // The first is what is in flight; and what they said needs them in, whether it waits before that or behind it.
        let fixed = place == 0 && self.room.in_flight.is_some();
        let mut waiting = self.room.again.iter().chain(&self.room.queue);
        let spoke = waiting.any(|other| other.member() != Some(user) && other.actor() == user);
        let undone = match (self.room.queue.get(place), intent) {
            (Some(Intent::Add { key_packages, .. }), Intent::Leave { .. }) => {
                key_packages.is_empty() && !self.is_participant(user)
            }
            (Some(Intent::Leave { .. }), Intent::Add { key_packages, .. }) => {
                key_packages.is_empty() && self.is_participant(user)
            }
            _ => false,
        };
        if fixed || spoke || !undone || !self.is_ours(user) || self.room.unbridging || self.is_fixed() {
            return false;
        }
        self.room.queue.remove(place).is_some()
    }

    /// A remote user who agreed is to be added: in a direct chat before what was said and waits for them to come.
    pub(super) fn want_in(&mut self, intent: Intent) {
        if !self.room.direct {
            self.want(intent);
        } else if !self.room.queue.contains(&intent) {
            // The first is what a commit in flight is about.
            let place = usize::from(matches!(self.room.in_flight, Some(InFlight::Commit { .. })));
            self.room.queue.insert(place.min(self.room.queue.len()), intent);
        }
    }

    /// Whether the user is on the participant list once everything is done that is wanted now.
    pub(super) fn will_be_participant(&self, user: &UserUri) -> bool {
        match self.room.queue.iter().rev().find(|intent| intent.member() == Some(user)) {
            Some(Intent::Add { .. }) => true,
            Some(_) => false,
            None => !self.is_leaving(user) && self.room.keeper.as_ref() != Some(user) && self.is_participant(user),
        }
    }

    /// Whether the user's leave is on its way: at the hub, or accepted and not committed yet.
    pub(super) fn is_leaving(&self, user: &UserUri) -> bool {
        self.room.leaving.contains(user)
            || matches!(&self.room.in_flight, Some(InFlight::Leave { user: leaving, .. }) if leaving == user)
    }

    /// Puts something before all else.
    pub(super) fn want_first(&mut self, intent: Intent) {
        // The first is what a commit in flight is about.
        let place = usize::from(matches!(self.room.in_flight, Some(InFlight::Commit { .. })));
        self.room.queue.insert(place.min(self.room.queue.len()), intent);
    }

    /// The last user of all who left goes off the list once somebody else can commit that, or comes back.
    pub(super) fn relieve_keeper(&mut self) {
        let Some(keeper) = self.room.keeper.clone() else { return };
        if self.room.present.contains(&keeper) {
            self.room.keeper = None;
        } else if !self.room.present.is_empty() || !self.peers().is_empty() {
            self.room.keeper = None;
            self.want(Intent::Leave { user: keeper });
        }
    }

    /// Whether one of our users may be put on the list: who is in the Matrix room, or was and goes off the list again
    /// later. Who was removed meanwhile by somebody else stays out.
    pub(super) fn may_come(&self, user: &UserUri) -> bool {
        self.room.present.contains(user) || self.is_going(user)
    }

    /// Whether somebody here wants the user off the list, or the user does: then they have left the Matrix room already.
    pub(super) fn is_going(&self, user: &UserUri) -> bool {
        let goes = |intent: &Intent| matches!(intent, Intent::Leave { user: who } | Intent::Remove { user: who, .. } if who == user);
        self.is_leaving(user) || self.room.queue.iter().any(goes)
    }

    /// As follower: whether nothing of an older epoch waits for its answer. What is sealed now would overtake it if it has
    /// to be sealed again.
    fn nothing_older_waits(&self) -> bool {
        let epoch = self.group.epoch();
        self.room.submitted.iter().all(|waiting| waiting.epoch == epoch)
    }

    /// As follower: whether a message can be sealed now. What is said follows the commit of what was proposed before it,
    /// whoever makes that.
    pub(super) fn may_submit_now(&self) -> bool {
        let settled = !self.group.has_pending() || self.tried_to_settle();
        settled && self.room.submitted.len() < WINDOW && self.nothing_older_waits()
    }

    /// Works off the queue as far as it goes.
    pub fn pump(&mut self) {
        self.come_back();
        self.settle_pending();
        self.work_off();
        self.close_deserted();
        self.finish_unbridging();
        self.show_settings();
        self.drop_pictures();
        self.show_roles();
        self.show_late_faces();
        self.show_late_portraits();
    }

    fn work_off(&mut self) {
        // More turns than this in one step mean a loop; the rest waits for the next input.
        for _ in 0..10_000 {
            if self.room.phase != Phase::Active || !self.sees_group() || self.room.in_flight.is_some() {
                return;
            }
            if self.room.rejoin.is_some() {
                return;
            }
            if self.group.epoch() < self.room.behind || self.now < self.room.pause {
                return;
            }
            if !self.room.again.is_empty() {
                if !self.room.submitted.is_empty() {
                    return;
                }
                while let Some(intent) = self.room.again.pop_back() {
                    self.room.queue.push_front(intent);
                }
            }
            let Some(intent) = self.room.queue.front().cloned() else { return };
            match self.turn(&intent) {
                Ok(Turn::Done) => {
                    if self.room.queue.front() == Some(&intent) {
                        self.room.queue.pop_front();
                    }
                }
                Ok(Turn::Again) => {}
                Ok(Turn::Wait) => return,
                Err(error) => {
                    self.room.queue.pop_front();
                    self.give_up(&intent, &error.to_string());
                }
            }
        }
    }

    fn turn(&mut self, intent: &Intent) -> Result<Turn, GroupError> {
        if let Intent::Settle { .. } = intent {
            return match self.settler() {
                Some(by) if self.group.has_pending() => self.commit(&by, &GroupChange::default()),
                _ => Ok(Turn::Done),
            };
        }
        if self.is_leaving(intent.actor()) || intent.member().is_some_and(|user| self.is_leaving(user)) {
            return Ok(Turn::Wait);
        }
        let goes = matches!(intent, Intent::Leave { .. } | Intent::Remove { .. });
        if intent.member().is_some_and(|user| goes && self.is_ours(user) && self.will_be_participant(user)) {
            // They are back already.
            return Ok(Turn::Done);
        }
        match intent {
            Intent::Say { user, content, event, message_id } => {
                if let Some(first) = self.voice_first(user, content)? {
                    return Ok(first);
                }
                if let Some(first) = self.leaf_first(user)? {
                    return Ok(first);
                }
                if self.room.direct && self.peers().is_empty() {
                    if !self.room.asking.is_empty() {
                        // What is said before the other accepts waits for them.
                        return Ok(Turn::Wait);
                    }
                    if self.is_hub() {
                        // They do not come, unless they are asked anew: nobody would read it.
                        return Err(GroupError::Refused("the other one is not in this chat".to_owned()));
                    }
                }
                if !self.is_hub() {
                    if !self.may_submit_now() {
                        return Ok(Turn::Wait);
                    }
                    // Commits close an epoch: nothing of it may be sealed behind one.
                    self.introduce(user, content)?;
                    let sealed = self.group.seal(user, content, Self::tag_of(content))?;
                    self.submit(user, &sealed, intent.clone());
                    self.sit_for(user);
                    return Ok(Turn::Done);
                }
                self.introduce(user, content)?;
                let sealed = self.group.seal(user, content, Self::tag_of(content))?;
                if let Some((at, frank)) = self.hub_accept_own_message(user, &sealed) {
                    let franked = frank.map(|frank| Franked::new(user, content, at, &frank));
                    self.log_own(at, *message_id, event.clone(), franked);
                    self.drop_files_with(content);
                }
                self.sit_for(user);
                Ok(Turn::Done)
            }
            Intent::Add { by, user, key_packages } => self.add(by, user, key_packages),
            Intent::Remove { by, user } => self.remove(by, user),
            Intent::Leave { user } => self.leave(user),
            Intent::Change { by, component, update } => {
                if !self.is_hub() {
                    return Err(GroupError::Refused("only its host changes that".to_owned()));
                }
                if let Some(first) = self.leaf_first(by)? {
                    return Ok(first);
                }
                let change = GroupChange { app_data: vec![(*component, update.clone())], ..GroupChange::default() };
                self.commit(by, &change).map(|_| Turn::Done)
            }
            Intent::Belong { by, to } => self.belong(by, to.as_ref()),
            Intent::Ban { by, user } => {
                if !self.is_hub() && !self.is_kept_out(user) && !self.is_banned_now(user) {
                    return Ok(self.remove_instead(by, user));
                }
                self.ban(by, user)
            }
            Intent::Ask { by, user } => {
                self.ask_at_last(by, user);
                Ok(Turn::Done)
            }
            Intent::Unban { by, user } => self.unban(by, user),
            Intent::Appoint { by, levels } => self.appoint(by, levels),
            Intent::Describe { by, setting, text } => self.describe(by, *setting, text),
            Intent::Open { by, open } => self.open_or_close(by, *open),
            Intent::Settle { .. } => Ok(Turn::Done),
            Intent::Report { user, content } => Ok(self.send_report(user, content, intent)),
            Intent::Refresh { user } => {
                if !self.group.refresh_due(self.now).contains(user) {
                    return Ok(Turn::Done);
                }
                // A leaf whose key was lost is replaced by one that is ours, which takes the old one away.
                if let Some(first) = self.leaf_first(user)? {
                    return Ok(first);
                }
                self.commit(user, &GroupChange { path: true, ..GroupChange::default() })
            }
        }
    }

    pub(super) fn remove(&mut self, by: &UserUri, user: &UserUri) -> Result<Turn, GroupError> {
        if !self.is_participant(user) && !self.group.in_group(user) {
            return Ok(Turn::Done);
        }
        let Some(by) = self.committer(by, user) else {
            if self.is_ours(user) {
                // Out of the Matrix room is out: what nobody here may do to them they can do themselves.
                return self.leave(user);
            }
            return Err(GroupError::Refused("nobody of ours may remove them".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        self.remove_these(&by, std::slice::from_ref(user))
    }

    pub(super) fn remove_these(&mut self, by: &UserUri, users: &[UserUri]) -> Result<Turn, GroupError> {
        let removes = users.iter().filter(|user| self.group.in_group(user)).cloned().collect();
        let app_data = self.list_change(|state| policy::update_remove(state, users))?;
        self.commit(by, &GroupChange { removes, app_data, ..GroupChange::default() })
    }

    /// Makes this user's commit and, as hub, accepts it at once.
    pub(super) fn commit(&mut self, user: &UserUri, change: &GroupChange) -> Result<Turn, GroupError> {
        let staged = self.group.stage(user, change, self.now)?;
        self.commit_staged(staged)
    }

    pub(super) fn commit_staged(&mut self, staged: super::group::Staged) -> Result<Turn, GroupError> {
        if self.is_hub() {
            self.hub_accept_own_commit(&staged)?;
            return Ok(Turn::Again);
        }
        // Messages before it belong to the epoch that it ends: they have to be accepted first.
        if !self.room.submitted.is_empty() {
            return Ok(Turn::Wait);
        }
        self.send_commit(staged);
        Ok(Turn::Wait)
    }

    pub(super) fn list_change(
        &self,
        make: impl Fn(&policy::RoomState) -> Result<Vec<u8>, policy::CodecError>,
    ) -> Result<Vec<(u16, Vec<u8>)>, GroupError> {
        let state = self.group.state()?;
        let update = make(&state).map_err(|error| GroupError::Invalid(error.to_string()))?;
        Ok(if update_is_empty(&update) { Vec::new() } else { vec![(component::PARTICIPANT_LIST, update)] })
    }

    /// Somebody of ours with a leaf.
    pub(super) fn any_committer(&self) -> Option<UserUri> {
        self.group.local_users().into_iter().find(|user| self.is_participant(user) && !self.is_leaving(user))
    }

    /// Somebody of ours who may add this one: better one who can give the role of their level, and one with a leaf.
    pub(super) fn who_adds(&self, user: &UserUri) -> Option<UserUri> {
        let (Some(state), locals) = (self.state(), self.group.local_users()) else { return self.any_committer() };
        let may = |by: &&UserUri| {
            let here = locals.contains(by) || self.room.present.contains(by) && self.is_participant(by);
            here && *by != user && state.can(by, policy::Capability::AddParticipant) && !self.is_leaving(by)
        };
        let listed = state.participants.iter().map(|(user, _)| user).filter(|user| self.is_ours(user));
        let those: Vec<&UserUri> = locals.iter().chain(listed).filter(may).collect();
        let wanted = self.role_of_level(&state, user).unwrap_or(policy::role::MEMBER);
        let gives = |by: &&&UserUri| may_give(&state, by, wanted);
        let best = those.iter().find(gives).or(those.first()).map(|by| (*by).clone());
        // In a room of ours a commit of one who may not would be refused by ourselves.
        best.or_else(|| if self.is_hub() && self.is_ours(user) { None } else { self.any_committer() })
    }

    /// Who of ours removes `target`: the one who wants it, or one whose role may.
    pub(super) fn committer(&self, by: &UserUri, target: &UserUri) -> Option<UserUri> {
        if by != target && (self.group.has_leaf(by) || self.is_participant(by)) && self.may_remove(by) {
            return Some(by.clone());
        }
        let mut others = self.group.local_users().into_iter();
        others.find(|user| user != target && self.may_remove(user) && !self.is_leaving(user))
    }

    fn may_remove(&self, user: &UserUri) -> bool {
        self.state().is_some_and(|state| state.can(user, policy::Capability::RemoveParticipant))
    }

    /// What a user wanted cannot be: the user is told, and so is the operator.
    pub(super) fn give_up(&mut self, intent: &Intent, why: &str) {
        let who = intent.actor().clone();
        let name = self.names.matrix_id(&who).map_or_else(|| who.to_string(), |id| id.to_string());
        let text = match intent {
            Intent::Say { event, message_id, .. } => {
                self.out.push(Effect::FilesGone { message_id: *message_id });
                self.out.push(Effect::Report(format!("{event} of {who} could not be delivered: {why}")));
                let text = format!("A message of {name} could not be delivered to the MIMI users: {why}.");
                self.tell_status(event, &Fate::Failed(Why::Refused, text.clone()));
                text
            }
            Intent::Add { user, .. } => {
                if self.is_ours(user) && self.room.present.contains(user) {
                    self.remove_from_matrix(&std::collections::BTreeSet::from([user.clone()]));
                }
                if !self.room.direct {
                    // They came because they were asked, and would read on at their provider.
                    self.stop_asking(&user.clone());
                }
                format!("{} could not be added: {why}.", self.names.display(user))
            }
            Intent::Remove { user, .. } => match self.removal_failed(user, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Leave { .. } if self.room.unbridging && self.room.direct => {
                return self.report(format!("{who} is still listed at the hub of a direct chat that is over: {why}"));
            }
            Intent::Leave { .. } => format!("{name} left here, but is still listed at the hub: {why}."),
            Intent::Ban { by, user } => match self.ban_failed(by, user, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Unban { user, .. } => match self.unban_failed(user, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Ask { user, .. } => format!("{} could not be asked in: {why}.", self.names.display(user)),
            Intent::Change { .. } => format!("What {name} wanted to change in this room stays as it is: {why}."),
            Intent::Belong { .. } => match self.stays_as_it_belongs(why) {
                Some(text) => text,
                None => return,
            },
            Intent::Appoint { .. } => match self.put_levels_back(&name, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Describe { setting, .. } => match self.undo(*setting, &name, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Open { open, .. } => match self.not_opened(*open, &name, why) {
                Some(text) => text,
                None => return,
            },
            Intent::Report { user, content } => {
                self.not_told(user, content);
                return self.out.push(Effect::Note(format!("what {who} has read, or is called, is not told: {why}")));
            }
            Intent::Refresh { .. } => return self.report(format!("the leaf of {who} could not be refreshed: {why}")),
            Intent::Settle { .. } => return self.report(format!("pending proposals could not be committed: {why}")),
        };
        self.report(text.clone());
        self.notice(&text);
    }

    /// As hub: distributes proposals of our own.
    pub(super) fn fan_out_own(&mut self, proposals: &[Vec<u8>]) {
        use crate::wire::{MlsMessage, Wire};
        let messages = proposals.iter().filter_map(|bytes| MlsMessage::decode(bytes).ok()).collect();
        self.fan_out_proposals(messages);
    }

    /// Asks for KeyPackages of a user who consented: as follower the hub, as hub their provider.
    pub(super) fn claim(&mut self, requester: &UserUri, target: &UserUri) {
        self.room.claiming.insert(target.clone(), requester.clone());
        self.out.push(Effect::ClaimKeyMaterial { requester: requester.clone(), target: target.clone() });
    }
}

/// Whether a `ParticipantListUpdate` changes nothing: three empty vectors.
fn update_is_empty(update: &[u8]) -> bool {
    update == [0, 0, 0]
}
