//! Ghosts of a room with many remote participants: whoever acts is in the Matrix room at once, the others come bit by bit, as
//! fast as the gateway lets them. Who comes and goes before its turn never appears.
//!
//! Who waits is not stored: it is who is on the participant list and has no ghost in the room.

use std::collections::BTreeSet;

use ruma::OwnedRoomId;

use super::{
    effect::{Actor, Effect, MatrixAction},
    state::Phase,
    step::Step,
};
use crate::ident::UserUri;

impl Step<'_> {
    /// The ghosts of those remote users shall be in the Matrix room, and no others.
    pub(super) fn show_ghosts(&mut self, room: &OwnedRoomId, remote: &BTreeSet<UserUri>) {
        let gone: Vec<UserUri> = self.room.ghosts.difference(remote).cloned().collect();
        let missing = remote.difference(&self.room.ghosts).count();
        if missing > self.names.ghosts_at_once() {
            self.out.push(Effect::Trickling(true));
        } else {
            self.let_in(room, remote, missing);
        }
        for user in gone {
            self.room.ghosts.remove(&user);
            let actor = Actor::Ghost(user.clone());
            self.out.push(Effect::Matrix(MatrixAction::Leave { room: room.clone(), actor, reason: None }));
            self.invite_again(&user);
        }
    }

    /// Up to so many of those who are not there come in.
    fn let_in(&mut self, room: &OwnedRoomId, remote: &BTreeSet<UserUri>, most: usize) {
        let next: Vec<UserUri> = remote.difference(&self.room.ghosts).take(most).cloned().collect();
        for user in next {
            self.let_ghost_in(room, &user);
        }
    }

    /// The next of those who wait come in.
    pub fn trickle(&mut self, most: usize) {
        let waits = self.room.phase == Phase::Active && !self.room.direct;
        let room = self.room.matrix.clone().filter(|_| waits);
        if let (Some(room), Some(remote)) = (&room, self.remote_participants()) {
            self.let_in(room, &remote, most);
            if remote.difference(&self.room.ghosts).next().is_some() {
                return;
            }
        }
        self.out.push(Effect::Trickling(false));
    }

    /// A remote participant acts: its ghost is there before what it does.
    pub(super) fn let_actor_in(&mut self, room: &OwnedRoomId, user: &UserUri) {
        if self.room.direct || self.room.ghosts.contains(user) || self.room.banned.contains(user) {
            return;
        }
        if self.state().is_some_and(|state| !state.base_policy.fixed_membership && state.takes_part(user)) {
            self.let_ghost_in(room, user);
        }
    }

    /// Remote users who are participants and not banned in the Matrix room; of a fixed membership those who have a client: who
    /// did not come yet has none, nor who left.
    pub(super) fn remote_participants(&self) -> Option<BTreeSet<UserUri>> {
        let state = self.state()?;
        let fixed = state.base_policy.fixed_membership;
        let listed = state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role));
        let remote = listed.map(|(user, _)| user).filter(|user| {
            // Who is let be out comes back when they act.
            let out = self.room.banned.contains(*user) || !fixed && self.room.contested.is_left(user);
            !self.is_ours(user) && !out && (!fixed || self.group.in_group(user))
        });
        Some(remote.cloned().collect())
    }
}
