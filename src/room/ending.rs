//! How a Matrix room comes to be a bridged one for others to see, and how it is let go: `m.bridge` (MSC2346), `unbridge`,
//! and the end of a room.

use ruma::UserId;
use serde_json::json;

use super::{
    effect::{Actor, Effect, MatrixAction},
    roles::ROLES,
    state::{Intent, Phase},
    step::Step,
    upgrade::Move,
};
use crate::{ident::UserUri, wire::ConsentAction};

const BRIDGE: &str = "m.bridge";
/// What crosses, for clients that leave out what does not.
const FEATURES: &str = "com.beeper.room_features";

impl super::state::Room {
    /// Whether its clients were told what crosses, and it does.
    pub(crate) fn tells_features(&self) -> bool {
        self.phase == Phase::Active && self.greeted && self.matrix.is_some() && !self.unbridging
    }
}

impl Step<'_> {
    /// What `m.bridge` says: which MIMI room this is. `name`: how people call it; empty if it has no name.
    pub(super) fn bridge_state(&self, name: &str) -> (String, String, String) {
        let (uri, hub) = (self.room.uri.as_str(), self.room.uri.hub());
        let channel = if name.is_empty() { json!({ "id": uri }) } else { json!({ "id": uri, "displayname": name }) };
        let content = json!({
            "bridgebot": self.names.bot(),
            "protocol": { "id": "mimi", "displayname": "MIMI" },
            "network": { "id": hub.as_str(), "displayname": hub.as_str() },
            "channel": channel,
        });
        (BRIDGE.to_owned(), self.bridge_key(), content.to_string())
    }

    pub(super) fn bridge_key(&self) -> String {
        format!("org.mimi-gateway://{}", self.room.uri.as_str())
    }

    /// What people call the room: its name; a direct chat's is the other user's.
    pub(super) fn channel_name(&self) -> String {
        match self.room.ghosts.first() {
            Some(other) if self.room.direct => self.names.display(other),
            _ => self.state().map(|state| state.metadata.name.clone()).unwrap_or_default(),
        }
    }

    /// What clients are told of what crosses.
    pub(super) fn features_state(&self) -> (String, String, String) {
        (FEATURES.to_owned(), self.bridge_key(), crate::translate::room_features().to_string())
    }

    /// Says again what crosses.
    pub(crate) fn tell_features(&mut self) {
        let (event_type, state_key, content) = self.features_state();
        self.set_state_if_allowed(event_type, state_key, content);
    }

    /// Says in the Matrix room which MIMI room it is, and what crosses.
    pub(super) fn set_bridge_state(&mut self) {
        self.room.levels.keep_roles_again();
        for (event_type, state_key, content) in [self.bridge_state(&self.channel_name()), self.features_state()] {
            self.set_state_if_allowed(event_type, state_key, content);
        }
    }

    /// Another bridge may take the room.
    pub(super) fn clear_bridge_state(&mut self) {
        let roles = (!self.is_hub()).then_some(ROLES);
        for event_type in [BRIDGE, FEATURES].into_iter().chain(roles) {
            self.set_state_if_allowed(event_type.to_owned(), self.bridge_key(), "{}".to_owned());
        }
    }

    /// State that a room can do without: a ghost in somebody's own room may lack the power to set it.
    pub(super) fn set_state_if_allowed(&mut self, event_type: String, state_key: String, content: String) {
        let Some(room) = self.room.matrix.clone().filter(|_| self.can_speak()) else { return };
        let actor = self.room.speaker.clone();
        let action = MatrixAction::SetState { room, actor, event_type, state_key, content, optional: true };
        self.out.push(Effect::Matrix(action));
    }

    /// Our users leave, then nothing is carried any more. As hub we let the others go first. An error says why whoever wants
    /// it may not.
    pub(super) fn unbridge(&mut self, sender: &UserId, by: &UserUri) -> Result<(), String> {
        if self.may_end_direct(sender) {
            self.notice("This chat is over: what you write here is not carried any more.");
            self.part();
            return Ok(());
        }
        if !self.may_unbridge(by) {
            if self.is_hub() {
                let why = "Only those who may remove participants can unbridge this room; anybody can leave it.";
                return Err(why.to_owned());
            }
            let first = self.group.local_users().first().and_then(|first| self.names.matrix_id(first));
            let who = first.map_or_else(|| "the first of this server's users in it".to_owned(), |id| id.to_string());
            return Err(format!("Only {who} can end this room for everybody of this server; anybody can leave it."));
        }
        self.notice(&format!(
            "{sender} ended the connection to MIMI: the MIMI users leave, and what is written here stays on this server."
        ));
        self.empty_room(by);
        Ok(())
    }

    /// Our users leave; as hub we let the others go first, as this user.
    pub(super) fn empty_room(&mut self, by: &UserUri) {
        self.keep_what_was_said();
        self.room.unbridging = true;
        let (ours, theirs) = self.listed_by_side();
        if self.is_hub() {
            for user in theirs {
                self.want(Intent::Remove { by: by.clone(), user });
            }
        } else {
            for user in ours {
                self.want(Intent::Leave { user });
            }
        }
    }

    /// Who is on the participant list: ours, and the others.
    fn listed_by_side(&self) -> (Vec<UserUri>, Vec<UserUri>) {
        let listed = self.state().into_iter().flat_map(|state| state.participants.clone());
        listed.map(|(user, _)| user).partition(|user| self.is_ours(user))
    }

    /// Whoever runs the gateway has a room that we host no longer mirrored. `used`: also if remote users are in it. The error
    /// says why not.
    pub fn release(&mut self, used: bool) -> Result<(), String> {
        if self.room.unbridging || self.room.phase == Phase::Left {
            return Ok(());
        }
        if self.room.phase != Phase::Active || !self.is_hub() || self.room.direct {
            return Err("it is not a room that is hosted here any more".to_owned());
        }
        let (_, theirs) = self.listed_by_side();
        let state = self.state();
        let there = theirs.iter().filter(|user| state.as_ref().is_some_and(|state| state.takes_part(user))).count();
        if there > 0 && !used {
            return Err(format!("{there} MIMI users are in it"));
        }
        let locals = self.group.local_users();
        let Some(by) = locals.iter().find(|user| self.may_unbridge(user)).or(locals.first().filter(|_| there == 0))
        else {
            return Err("nobody of this server who is in it may remove the others".to_owned());
        };
        self.notice(
            "Whoever runs this server ended the connection to MIMI: the MIMI users leave, and what is written here stays on \
             this server.",
        );
        let by = by.clone();
        self.empty_room(&by);
        self.pump();
        Ok(())
    }

    pub(super) fn may_unbridge(&self, by: &UserUri) -> bool {
        if self.is_hub() {
            return self.state().is_some_and(|s| s.can(by, crate::policy::Capability::RemoveParticipant));
        }
        // In a followed room it ends the room for all of ours: for the first of them, who brought it here.
        self.group.local_users().first() == Some(by)
    }

    /// Whether a room that is being let go is empty of us.
    pub(super) fn finish_unbridging(&mut self) {
        let waits = self.room.in_flight.is_some()
            || self.room.rejoin.is_some()
            || !self.room.submitted.is_empty()
            || !self.room.queue.is_empty()
            // What was said before the commit that takes our leaf away still comes.
            || !self.room.leaving.is_empty()
            // The other side of a direct chat has to commit that we leave.
            || self.room.direct && self.is_hub() && !self.peers().is_empty();
        if self.room.unbridging && !waits && self.room.phase == Phase::Active {
            self.end();
        }
    }

    /// Nothing is carried any more.
    pub(super) fn end(&mut self) {
        let unsaid: Vec<Intent> = self.room.again.drain(..).chain(self.room.queue.drain(..)).collect();
        for intent in unsaid {
            match intent {
                Intent::Say { .. } => self.give_up(&intent, "the connection to MIMI ended"),
                // Its ghost was invited.
                Intent::Ask { user, .. } => drop(self.room.ghosts.insert(user)),
                _ => {}
            }
        }
        for (user, by) in std::mem::take(&mut self.room.asking) {
            self.ask(ConsentAction::Cancel, by, user.clone());
            // Its ghost may have been invited; whoever has no answer yet leaves with the others.
            self.room.ghosts.insert(user);
        }
        self.withdraw_invitations();
        self.let_go();
        self.room.phase = Phase::Left;
        self.room.live.clear();
        self.room.unbridging = false;
        (self.room.in_flight, self.room.awaiting) = (None, None);
        self.room.held.clear();
        self.room.leaving.clear();
        self.room.claiming.clear();
        self.room.greeted = false;
    }

    /// Who of ours was asked in and has not come has nothing to come to.
    fn withdraw_invitations(&mut self) {
        for (target, requester) in std::mem::take(&mut self.room.asked) {
            if self.room.present.contains(&target) {
                continue;
            }
            if let (Some(room), Some(id)) = (self.room.matrix.clone(), self.names.matrix_id(&target)) {
                let (actor, reason) = (self.room.speaker.clone(), "the connection to MIMI ended".to_owned());
                self.out.push(Effect::Matrix(MatrixAction::Kick { room, actor, target: id, reason }));
            }
            self.out.push(Effect::Declined { requester, target });
        }
    }

    /// The Matrix room is none of ours any more: what we set there is undone, the ghosts leave.
    pub(super) fn let_go(&mut self) {
        let Some(room) = self.room.matrix.clone() else { return };
        let handed_over = self.room.direct && self.is_hub() && self.room.speaker == Actor::Bot;
        if !handed_over {
            self.clear_bridge_state();
        }
        self.take_links_back();
        if !self.is_hub() {
            // A portal is found by its alias; a new one gets it next time.
            self.set_state_if_allowed("m.room.canonical_alias".to_owned(), String::new(), "{}".to_owned());
            let alias_localpart = self.names.portal_alias(&self.room.uri);
            self.out.push(Effect::Matrix(MatrixAction::RemoveAlias { alias_localpart }));
        }
        let leave = |actor: Actor| {
            let reason = Some("the connection to MIMI ended".to_owned());
            Effect::Matrix(MatrixAction::Leave { room: room.clone(), actor, reason })
        };
        for ghost in std::mem::take(&mut self.room.ghosts) {
            self.out.push(leave(Actor::Ghost(ghost)));
        }
        let deserted = std::mem::take(&mut self.room.present).is_empty();
        if self.room.speaker == Actor::Bot {
            if deserted && !self.is_hub() {
                self.out.push(leave(Actor::Bot));
            } else if self.room.direct {
                self.out.push(Effect::Ended(room.clone()));
            }
        }
        if let Some(moving) = self.room.moving.take() {
            self.out.push(Effect::Move(Move::Stays(room.clone(), moving.to)));
        }
        self.room.matrix = None;
        self.room.former = None;
        self.room.shut.clear();
        self.room.asked_in_vain.clear();
        self.room.settings.clear();
        self.room.contested = super::contested::Contested::default();
        self.room.levels = super::roles::Levels::default();
        self.out.push(Effect::Unlink(room));
    }
}
