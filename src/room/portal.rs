//! The Matrix room that shows a room of MIMI, and what is said first in one that was mirrored.

use super::{
    about::About,
    effect::{Actor, Effect, MatrixAction},
    settings::Setting,
    state::{Intent, Phase},
    step::Step,
};
use crate::ident::UserUri;
use ruma::{OwnedRoomId, OwnedUserId};

impl Step<'_> {
    pub(super) fn make_portal(&mut self, requester: &UserUri, invite: OwnedUserId, about: &About) {
        let name = match about.name.as_str() {
            // Clients name a direct chat after the other user.
            "" if about.direct => None,
            "" => Some(format!("Invitation from {}", self.names.display(requester))),
            name => Some(name.to_owned()),
        };
        self.room.direct = about.direct;
        self.room.space = about.space && !about.direct;
        self.room.is_called(name.as_deref().unwrap_or_default(), "");
        // Creators stand above all levels: in a room of many, no ghost does. The invitation is the ghost's own all the same.
        let (creator, invite) = if about.direct {
            self.room.ghosts.insert(requester.clone());
            (Actor::Ghost(requester.clone()), vec![invite])
        } else {
            (Actor::Bot, Vec::new())
        };
        let above = if about.direct { self.names.matrix_id(requester) } else { Some(self.names.bot()) };
        self.room.has_levels(None, above.map(String::from).into_iter().collect());
        let display = if about.direct { self.names.display(requester) } else { String::new() };
        self.out.push(Effect::MakePortal(MatrixAction::CreateRoom {
            creator,
            alias_localpart: self.names.portal_alias(&self.room.uri),
            name,
            topic: None,
            is_direct: about.direct,
            space: self.room.space,
            members: vec![self.room.speaker.clone()],
            invite,
            initial_state: vec![
                super::roles::portal_levels(about.direct),
                self.bridge_state(if about.name.is_empty() { &display } else { &about.name }),
                self.features_state(),
            ],
        }));
    }

    /// Whether a remote user may add this one of ours without asking: they are in the group before they come into the Matrix
    /// room, and stay until they decline its invitation.
    pub(super) fn is_added_unasked(&self, user: &UserUri) -> bool {
        self.room.invited_by.get(user).is_some_and(|by| !self.is_ours(by))
    }

    /// A user of ours was added, but left again before they were let in.
    pub(super) fn leave_absent(&mut self, user: &UserUri) {
        if self.is_ours(user) && !self.room.present.contains(user) && !self.is_added_unasked(user) {
            self.want(Intent::Leave { user: user.clone() });
        }
    }

    /// Invites a participant of ours into the portal, which is made if need be.
    pub fn invite_back(&mut self, user: &UserUri) {
        let Some(target) = self.names.matrix_id(user) else { return };
        let actor = self.room.speaker.clone();
        if let Some(room) = self.room.matrix.clone() {
            let is_direct = self.room.direct;
            self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
            return;
        }
        self.room.is_called("", "");
        self.room.has_levels(None, [self.names.bot().to_string()].into());
        self.out.push(Effect::MakePortal(MatrixAction::CreateRoom {
            creator: actor,
            alias_localpart: self.names.portal_alias(&self.room.uri),
            name: None,
            topic: None,
            is_direct: self.room.direct,
            space: self.room.space,
            members: Vec::new(),
            invite: vec![target],
            initial_state: vec![
                super::roles::portal_levels(self.room.direct),
                self.bridge_state(&self.channel_name()),
                self.features_state(),
            ],
        }));
    }

    pub(super) fn on_portal_ready(&mut self, room: &OwnedRoomId) {
        if self.room.matrix.as_ref() == Some(room) {
            return;
        }
        self.room.matrix = Some(room.clone());
        self.out.push(Effect::Link(room.clone()));
        // Whoever was asked while the room was being made.
        let mut asked = self.room.asked.clone();
        if !self.room.direct {
            // Who agreed before may have been added meanwhile.
            let added = self
                .room
                .invited_by
                .iter()
                .filter(|(target, by)| !self.room.present.contains(*target) && !self.is_ours(by));
            asked.extend(added.map(|(target, by)| (target.clone(), by.clone())).collect::<Vec<_>>());
        }
        for (target, requester) in asked {
            if let Some(target) = self.names.matrix_id(&target) {
                if !self.room.direct && self.room.ghosts.insert(requester.clone()) {
                    let actor = Actor::Ghost(requester.clone());
                    self.out.push(Effect::Matrix(MatrixAction::Join { room: room.clone(), actor }));
                }
                let actor = self.inviter(&requester);
                let (room, is_direct) = (room.clone(), self.room.direct);
                self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
            }
        }
        for target in std::mem::take(&mut self.room.taken_back) {
            if !self.room.asked.contains_key(&target) {
                self.withdraw(&target);
            }
        }
        if self.room.phase == Phase::Active {
            self.dress_portal();
            self.sync_members();
            self.open_held();
        }
    }

    /// Gives the portal the room's name and topic.
    pub(super) fn dress_portal(&mut self) {
        if self.room.matrix.is_some() && self.state().is_some() {
            self.show_settings();
            self.set_bridge_state();
        }
    }

    /// First words in a room that was just mirrored; in a direct chat the other user is asked.
    pub fn welcome_room(&mut self, direct_with: Option<&UserUri>, creator: &UserUri) {
        if self.room.speaker == Actor::Bot {
            self.set_bridge_state();
        }
        if let Some(remote) = direct_with {
            if let Err(refusal) = self.ask_other_in(creator, remote) {
                // What may not be has changed since it was looked at. A ghost that does not come would never say so.
                match self.room.speaker {
                    Actor::Ghost(_) => self.decline(remote.clone(), refusal.text),
                    Actor::Bot => self.notice(&refusal.text),
                }
            }
        } else {
            let uri = self.room.uri.clone();
            self.room.greeted = true;
            // It may have changed since the room was looked at.
            self.look(Setting::Name);
            self.look(Setting::Topic);
            self.look(Setting::Access);
            self.look(Setting::Avatar);
            self.look(Setting::Joins);
            self.find_parent();
            let (open, expiring) = (self.says_open(), self.says_expiring());
            self.notice(&format!(
                "This room is mirrored as {uri}. Ask MIMI users in with “!mimi invite mimi://provider/u/name”.{open}{expiring} \
                 Encryption towards MIMI ends at this gateway: its operator could read what is said here."
            ));
        }
    }
}
