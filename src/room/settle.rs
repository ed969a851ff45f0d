//! Proposals that wait for somebody's commit, and rooms that nobody of ours has a leaf in.
//!
//! A hub with a leaf commits what is proposed at once. Where it has none, the members do: each follower after a while of its
//! own, so that the first one wins and the others need not try (draft-ietf-mimi-room-policy-03 section 7,
//! `PendingProposalPolicy`).

use super::{
    effect::Effect,
    group::Applied,
    state::{Intent, Phase, Settle},
    step::{Step, hash},
};
use crate::ident::UserUri;

impl Step<'_> {
    /// Whose leaf of ours commits what is pending: one that stays.
    pub(super) fn settler(&self) -> Option<UserUri> {
        self.group.local_users().into_iter().find(|user| !self.is_leaving(user))
    }

    fn settle(&self) -> Option<Settle> {
        self.room.settle.filter(|settle| settle.epoch == self.group.epoch())
    }

    /// As follower: whether our one try is over.
    pub(super) fn tried_to_settle(&self) -> bool {
        self.settle().is_some_and(|settle| settle.tried)
    }

    /// As follower: pending proposals are committed when their time has come.
    pub(super) fn settle_pending(&mut self) {
        if self.is_hub() || self.room.phase != Phase::Active || !self.group.is_member() {
            return;
        }
        if self.room.in_flight.is_some() || self.room.rejoin.is_some() || !self.group.has_pending() {
            return;
        }
        let Some(user) = self.settler() else { return };
        let (epoch, now) = (self.group.epoch(), self.now);
        let settle = self.settle().unwrap_or_else(|| {
            let delay = self.state().map_or(0, |state| state.pending_delay().draw(self.jitter(epoch)));
            let at = now.saturating_add(delay);
            if at > now {
                self.out.push(Effect::Wake(at));
            }
            Settle { epoch, at, tried: false }
        });
        let due = settle.at <= now && !settle.tried;
        self.room.settle = Some(Settle { tried: settle.tried || due, ..settle });
        if due {
            self.want_first(Intent::Settle { user });
        }
    }

    /// A number that is another one for every provider and epoch, and the same if a step is done again.
    fn jitter(&self, epoch: u64) -> u64 {
        let digest = hash(format!("{}\n{}\n{epoch}", self.room.uri, self.names.domain()).as_bytes());
        digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// After a start: timers are not stored.
    pub(super) fn wake_to_settle(&mut self) {
        if let Some(settle) = self.settle().filter(|settle| !settle.tried && settle.at > self.now) {
            self.out.push(Effect::Wake(settle.at));
        }
    }

    /// As hub without a leaf: whether this user was asked in by somebody elsewhere, who has to add them.
    pub(super) fn waits_to_be_added(&self, user: &UserUri) -> bool {
        self.group.is_public() && self.room.asked.contains_key(user) && self.room.present.contains(user)
    }

    /// As hub without a leaf: who of ours is listed and here gets one.
    pub(super) fn come_back(&mut self) {
        if self.room.phase != Phase::Active || !self.group.is_public() {
            return;
        }
        let mut here = self.listed().into_iter().filter(|user| self.room.present.contains(user));
        let Some(user) = here.find(|user| !self.is_going(user)) else { return };
        let now = self.now;
        let done = self.group.stage_join(&user, now).and_then(|staged| self.hub_accept_own_commit(&staged));
        if let Err(error) = done {
            self.group_failed("an external commit of our own", &error);
        }
    }

    /// Everybody who was in the group leaves, and nobody is left to commit that: the room is over.
    pub(super) fn close_deserted(&mut self) {
        let busy = self.room.in_flight.is_some() || self.room.rejoin.is_some();
        if self.room.phase != Phase::Active || busy || !self.group.is_deserted() {
            return;
        }
        self.out.push(Effect::Note("everybody left the room: it is over".to_owned()));
        if self.is_hub() {
            let queue: Vec<Intent> = self.room.queue.drain(..).collect();
            for intent in queue.into_iter().filter(|intent| matches!(intent, Intent::Say { .. })) {
                self.give_up(&intent, "everybody else left the MIMI room");
            }
            self.end();
        } else {
            let listed = self.listed();
            for user in &listed {
                self.out.push(Effect::ForgetConsent { user: user.clone() });
            }
            self.nobody_left(&listed, &Applied::default());
        }
        self.room.leaving.clear();
        self.group.discard();
    }
}
