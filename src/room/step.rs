//! One step: an input, the room, its group, the time; out come effects and perhaps an answer for a peer.
//!
//! ```text
//!  Matrix event --> local ----+                         +--> hub: accept, order, fan out
//!                             +--> queue of intents ----+
//!  answer of the hub ---------+                         +--> follower: stage or seal, submit, wait
//!
//!  submit, update (we are hub) --> hub       notify (we follow) --> follower       consent --> local
//! ```

use std::{collections::BTreeSet, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    effect::{Effect, Endpoint, MatrixAction, Millis, PathTarget, Tag},
    group::{Group, GroupError},
    input::Input,
    names::Names,
    recent::Recent,
    state::{Phase, Room},
};
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::RoomState,
};

/// A step in progress.
pub struct Step<'a> {
    /// The room.
    pub room: &'a mut Room,
    /// Its group.
    pub group: &'a mut dyn Group,
    /// The two worlds' names.
    pub names: &'a dyn Names,
    /// Lately seen message ids.
    pub recent: &'a mut Recent,
    /// Milliseconds since the epoch.
    pub now: Millis,
    /// How long commits that are missing may take to come, in milliseconds.
    pub catch_up: Millis,
    /// More comes at once, in the same transaction: what our users want is worked off with the last of it, so that first
    /// speakers of a burst share a commit.
    pub more: bool,
    /// What is to be done.
    pub out: Vec<Effect>,
}

/// SHA-256.
pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Step<'_> {
    /// Carries out one input; the answer, if the input is one of a peer that waits for it.
    pub fn run(&mut self, input: Input) -> Option<Vec<u8>> {
        let mut answer = None;
        match input {
            Input::Event { event, salt, past } => self.on_event(&event, salt, &past),
            Input::Filed { event, salt, past, files } => self.say(&event, salt, &past, Some(files)),
            Input::Fanout(message) => self.on_fanout(message),
            Input::Submit { peer, request } => answer = Some(self.on_submit(&peer, &request)),
            Input::Update { peer, bundle } => answer = Some(self.on_update(&peer, bundle)),
            Input::Asked { requester, target, about, standing } => self.on_asked(requester, target, &about, standing),
            Input::Revoked { requester, target } => self.on_revoked(&requester, &target),
            Input::AskCancelled { requester, target } => self.on_ask_cancelled(&requester, &target),
            Input::Granted { requester, target, key_packages } => self.on_granted(&requester, &target, key_packages),
            Input::KeyMaterial { target, key_packages } => self.on_key_material(&target, key_packages),
            Input::KeyPackagesPassed { references, provider } => {
                for reference in references {
                    self.room.key_packages.insert(reference, provider.clone());
                }
            }
            Input::PortalReady(room) => self.on_portal_ready(&room),
            Input::PortalFailed(why) => {
                self.room.asked.clear();
                self.report(format!("the portal could not be made: {why}"));
            }
            Input::Answered { tag, result } => self.on_answered(tag, result),
            Input::GroupInfo { user, answer } => self.on_group_info(&user, answer),
            Input::ShutOut { user, why } => self.on_shut_out(&user, &why),
            Input::NotShown { user, why } => self.on_not_shown(&user, &why),
            Input::NotDone { what, user, why } => self.on_not_done(what, &user, &why),
            Input::Read { user, messages, salt } => self.on_read(user, &messages, salt),
            Input::Published { event, sender, url } => self.on_published(&event, &sender, url),
            Input::Taken { messages, salt } => self.on_taken(&messages, salt),
            Input::Looked { setting, written, found } => self.on_looked(setting, written, found),
            Input::Fetched { user, place, salt, picture } => self.on_fetched(&user, &place, salt, picture),
            Input::Portrayed { user, picture, place } => self.on_portrayed(&user, &picture, place),
            Input::NotSet { setting, why } => self.on_not_set(setting, &why),
            Input::NewHome { to, found } => self.on_new_home(&to, found),
            Input::Kin { parent, spaces, awaited, answers } => {
                self.on_kin(&parent, &spaces, awaited.as_ref(), answers);
            }
            Input::Above { room, matrix } => self.on_above(&room, matrix),
            Input::Below { room, matrix } => self.on_below(&room, matrix),
            Input::Tick => self.on_tick(),
        }
        if !self.more {
            self.pump();
            self.look_for_slow();
        }
        self.show_links();
        answer
    }

    fn on_tick(&mut self) {
        self.wake_for_faces();
        self.end_silent_live();
        self.wake_for_portraits();
        self.look_for_the_way();
        self.look_for_home();
        self.find_parent();
        self.look_at_the_rule();
        if self.room.rejoin.is_none() {
            self.keep_leaves_fresh();
            self.wake_to_settle();
            self.keep_within_bounds();
            self.keep_closed();
        }
    }

    /// Leaves past half their lifetime, and the one that becomes the standby, get a commit of their own.
    pub(super) fn keep_leaves_fresh(&mut self) {
        for user in self.group.refresh_due(self.now) {
            self.want(super::state::Intent::Refresh { user });
        }
    }

    /// Whether the room is hosted here.
    pub(super) fn is_hub(&self) -> bool {
        self.room.uri.hub() == *self.names.domain()
    }

    pub(super) fn is_ours(&self, user: &UserUri) -> bool {
        user.provider() == *self.names.domain()
    }

    /// The room's state; empty before there is a group.
    pub(super) fn state(&self) -> Option<Arc<RoomState>> {
        self.group.state().ok()
    }

    /// Whether the user is on the participant list, and not as a banned one.
    pub(super) fn is_participant(&self, user: &UserUri) -> bool {
        self.state().is_some_and(|state| state.takes_part(user))
    }

    /// The other providers with active participants, to whom everything is distributed (section 5.5).
    pub(super) fn peers(&self) -> BTreeSet<ProviderDomain> {
        let mut peers = self.group.providers();
        peers.remove(self.names.domain());
        peers
    }

    pub(super) fn call_room(&mut self, peer: ProviderDomain, endpoint: Endpoint, body: Vec<u8>, tag: Tag) {
        let target = PathTarget::Uri(self.room.uri.as_uri().clone());
        self.out.push(Effect::Call { peer, endpoint, target, body, tag });
    }

    pub(super) fn report(&mut self, text: impl Into<String>) {
        self.out.push(Effect::Report(text.into()));
    }

    /// The room cannot go on by itself.
    pub(super) fn mark_broken(&mut self, why: &str) {
        self.room.phase = Phase::Broken(why.to_owned());
        self.report(format!("the room is broken: {why}"));
        self.notice(&format!("This room is not connected any more: {why}. Nothing is sent to MIMI until an administrator has looked at it."));
    }

    /// After the group changed: ghosts in and out, our users who were removed out of the Matrix room.
    pub(super) fn sync_members(&mut self) {
        let Some(state) = self.state() else { return };
        let providers = self.group.providers();
        self.room.faces.only_in(&providers);
        self.room.portraits.only_in(&providers);
        let Some(room) = self.room.matrix.clone() else { return };
        let fixed = state.base_policy.fixed_membership;
        let Some(remote) = self.remote_participants() else { return };
        self.drop_late_portraits(&remote);
        if fixed {
            self.sync_direct(&room, &remote);
            let group = &*self.group;
            return self.room.asking.retain(|user, _| !group.in_group(user));
        }
        self.show_ghosts(&room, &remote);
        // Who is listed without a leaf may still be asked: they need somebody to give them one.
        let group = &*self.group;
        self.room.asking.retain(|user, _| !group.in_group(user));
    }

    /// Our users who are in the Matrix room but not participants any more, because somebody else removed them.
    pub(super) fn remove_from_matrix(&mut self, users: &BTreeSet<UserUri>) {
        for user in users {
            self.take_out(user, "removed from the MIMI room");
        }
    }

    /// Takes one of our users out of the Matrix room.
    pub(super) fn put_out(&mut self, user: &UserUri, reason: &str) {
        let Some(room) = self.room.matrix.clone() else { return };
        if !self.room.present.remove(user) {
            return;
        }
        self.room.live.remove(user);
        if let Some(target) = self.names.matrix_id(user) {
            let (actor, reason) = (self.room.speaker.clone(), reason.to_owned());
            self.out.push(Effect::Matrix(MatrixAction::Kick { room, actor, target, reason }));
        }
    }

    /// Turns an error of the group into a mark or a report.
    pub(super) fn group_failed(&mut self, what: &str, error: &GroupError) {
        match error {
            GroupError::Forged(user) => {
                let why = format!("{what}: a leaf names {user} with a key that this gateway does not hold");
                self.mark_broken(&why);
            }
            other => self.report(format!("{what}: {other}")),
        }
    }
}
