//! Direct chats: rooms of fixed membership (draft-ietf-mimi-room-policy-03 section 5), and how they end.
//!
//! The draft keeps their participant list as it is, and lets a user take all its clients out of the group. That is what
//! leaving is here: the other side sees a participant without a client, shows that its ghost left, and takes its own
//! client out, too. With the last client gone the room is over, so that there can be a new one of the same two.
//!
//! ```text
//!  A1 leaves --SelfRemove--> group without A1 --> B: A1's ghost leaves, B1 is told, B1's client goes --> over
//!                                                   '--> what B1 still writes is answered: not delivered
//! ```

use std::collections::BTreeSet;

use ruma::{OwnedRoomId, UserId};

use super::{
    about::About,
    effect::{Actor, Effect, MatrixAction},
    state::{InFlight, Intent, Phase},
    step::Step,
    words::READS_ALONG,
};
use crate::ident::UserUri;

impl Step<'_> {
    /// Whether the room's participants never change.
    pub(super) fn is_fixed(&self) -> bool {
        self.state().is_some_and(|state| state.base_policy.fixed_membership)
    }

    /// Whether there is something for this user to leave: the group, and the list unless that is fixed.
    pub(super) fn has_to_leave(&self, user: &UserUri) -> bool {
        self.group.in_group(user) || !self.is_fixed() && self.is_participant(user)
    }

    /// Nobody can be added to a direct chat that is there: who is none of its two has nothing to read in it.
    pub(super) fn put_out_strangers(&mut self) {
        if self.room.phase != Phase::Active || !self.is_fixed() {
            return;
        }
        let strangers: Vec<UserUri> =
            self.room.present.iter().filter(|user| !self.is_participant(user)).cloned().collect();
        for user in strangers {
            self.room.asked.remove(&user);
            self.put_out(&user, "this is a direct chat of two others");
        }
    }

    /// In a direct chat: whether nobody but this remote user is on the other side, with a client.
    pub(super) fn is_only_other(&self, remote: &UserUri) -> bool {
        let others = self.room.ghosts.iter().any(|ghost| ghost != remote);
        self.room.direct && self.room.phase == Phase::Active && !others && self.group.in_group(remote)
    }

    /// Whether nobody is left in the group but one of ours.
    fn is_alone(&self) -> bool {
        self.group.is_member() && self.peers().is_empty() && self.group.local_users().len() <= 1
    }

    /// After the group changed: `here` are the remote users who have a client.
    pub(super) fn sync_direct(&mut self, room: &OwnedRoomId, here: &BTreeSet<UserUri>) {
        let came: Vec<UserUri> = here.difference(&self.room.ghosts).cloned().collect();
        let gone: Vec<UserUri> = self.room.ghosts.difference(here).cloned().collect();
        for user in &came {
            self.let_ghost_in(room, user);
        }
        if self.is_hub() && self.can_speak() && !std::mem::replace(&mut self.room.greeted, true) {
            self.set_bridge_state();
            self.notice(&format!("This chat goes over MIMI. {READS_ALONG} “!mimi unbridge” ends it."));
        }
        self.say_what_waited();
        if gone.is_empty() {
            return;
        }
        let alone = self.is_alone();
        let again = if alone { " Invite them again to begin a new chat." } else { "" };
        for user in &gone {
            let name = self.names.display(user);
            self.notice(&format!("{name} left this chat: what you write here does not reach them any more.{again}"));
        }
        self.hand_over(room, &gone);
        for user in gone {
            self.room.ghosts.remove(&user);
            let (actor, reason) = (Actor::Ghost(user), Some("left the chat".to_owned()));
            self.out.push(Effect::Matrix(MatrixAction::Leave { room: room.clone(), actor, reason }));
        }
        if alone {
            self.conclude();
        }
    }

    /// The ghost that spoke for the gateway goes: the bot comes in, so that what is written later can be answered.
    fn hand_over(&mut self, room: &OwnedRoomId, gone: &[UserUri]) {
        let Actor::Ghost(speaker) = &self.room.speaker else { return };
        if self.room.present.is_empty() || !gone.contains(speaker) || !self.can_speak() {
            return;
        }
        // The bot will lack the power for that.
        self.clear_bridge_state();
        let (room, actor, target) = (room.clone(), self.room.speaker.clone(), self.names.bot());
        self.out.push(Effect::Matrix(MatrixAction::Invite { room: room.clone(), actor, target, is_direct: false }));
        self.out.push(Effect::Matrix(MatrixAction::Join { room, actor: Actor::Bot }));
        self.room.speaker = Actor::Bot;
    }

    /// The other side is gone: what waits for it will not be read, and our part ends, too.
    fn conclude(&mut self) {
        let (unsaid, stays): (Vec<Intent>, Vec<Intent>) = std::mem::take(&mut self.room.again)
            .into_iter()
            .chain(std::mem::take(&mut self.room.queue))
            .partition(|intent| matches!(intent, Intent::Say { .. }));
        self.room.queue = stays.into();
        for intent in unsaid {
            self.give_up(&intent, "the other one left this chat");
        }
        self.part();
    }

    /// As follower: a chat is over. Who was asked into it again meanwhile is asked into a new one.
    pub(super) fn end_and_begin(&mut self) {
        let again = std::mem::take(&mut self.room.asked);
        if let Some(room) = self.room.matrix.clone() {
            for target in again.keys().filter(|user| !self.room.present.contains(*user)) {
                if let Some(target) = self.names.matrix_id(target) {
                    let (actor, reason) = (self.room.speaker.clone(), "this chat is over".to_owned());
                    self.out.push(Effect::Matrix(MatrixAction::Kick { room: room.clone(), actor, target, reason }));
                }
            }
        }
        let direct = self.room.direct;
        self.end();
        for (target, requester) in again {
            self.on_asked(requester, target, &About { direct, ..About::default() }, false);
        }
    }

    /// One side ends the chat: ours. What was said before is still sent; then our clients leave the group.
    pub(super) fn part(&mut self) {
        self.room.unbridging = true;
        if self.is_hub() && self.peers().is_empty() {
            // The other one never came, or is gone.
            return self.end();
        }
        self.keep_what_was_said();
        for user in self.group.local_users() {
            self.want(Intent::Leave { user });
        }
        if self.is_hub() {
            // As hub we wait for the other side to commit that; its Matrix room need not.
            self.let_go();
        }
    }

    /// Of what our users want only their messages stay, and what a commit in flight is about.
    pub(super) fn keep_what_was_said(&mut self) {
        let in_flight = matches!(self.room.in_flight, Some(InFlight::Commit { .. }));
        let queue = std::mem::take(&mut self.room.queue).into_iter().enumerate();
        self.room.queue = queue
            .filter(|(place, intent)| in_flight && *place == 0 || matches!(intent, Intent::Say { .. }))
            .map(|(_, intent)| intent)
            .collect();
    }

    /// Who asked takes the invitation back, and one of ours has said yes already.
    pub(super) fn taken_back(&mut self, requester: &UserUri) {
        if self.room.phase != Phase::Invited {
            return;
        }
        let name = self.names.display(requester);
        self.notice(&format!("{name} took the invitation back: what you write here reaches nobody."));
        if self.room.direct {
            self.end();
        }
    }

    /// Whether a local user may end it: in a direct chat anybody who is in it.
    pub(super) fn may_end_direct(&self, by: &UserId) -> bool {
        self.room.direct && self.names.uri(by).is_some_and(|user| self.room.present.contains(&user))
    }
}
