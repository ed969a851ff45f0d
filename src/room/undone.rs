//! What the homeserver did not let us do, mostly for want of power: people are told, and it is done once we can.

use serde::{Deserialize, Serialize};

use super::{
    effect::{Effect, Endpoint, MatrixAction, PathTarget, Tag},
    settings::Setting,
    state::Phase,
    step::Step,
};
use crate::{
    ident::UserUri,
    wire::{AppDataDictionary, ConsentAction, ConsentEntry},
};

/// What was to be done to somebody in the Matrix room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Undone {
    /// To invite them.
    Invite,
    /// To remove them.
    Kick,
    /// To ban them.
    Ban,
    /// To lift their ban.
    Unban,
}

impl Step<'_> {
    /// The homeserver does not let us do this, for good.
    pub(super) fn on_not_done(&mut self, what: Undone, user: &UserUri, why: &str) {
        let name = self.names.display(user);
        let deed = match what {
            Undone::Invite => return self.on_not_invited(user, why),
            Undone::Kick => "removed from this room",
            Undone::Ban => "banned from this room",
            Undone::Unban => "let into this room again",
        };
        self.room.undone.insert(user.clone(), what);
        let text = format!(
            "{name} should be {deed}, as the MIMI room says, and I could not do it: {why}. I do it once I have the power."
        );
        self.report(text.clone());
        self.notice(&text);
    }

    /// One of ours cannot be invited: whoever asked is told that they do not come.
    fn on_not_invited(&mut self, user: &UserUri, why: &str) {
        self.report(format!("{user} could not be invited into the Matrix room: {why}"));
        if self.room.present.contains(user) {
            return;
        }
        let requester = self.room.asked.remove(user);
        if self.room.phase == Phase::Active && !self.room.direct {
            let name = self.names.display(user);
            let by = requester.as_ref().map(|by| format!(" by {}", self.names.display(by))).unwrap_or_default();
            self.notice(&format!("{name} was asked in{by}, and could not be invited here: {why}."));
        }
        let Some(requester) = requester else { return };
        self.out.push(Effect::Declined { requester: requester.clone(), target: user.clone() });
        let peer = requester.provider();
        let entry = ConsentEntry {
            action: ConsentAction::Revoke,
            requester,
            target: user.clone(),
            room: Some(self.room.uri.clone()),
            extensions: AppDataDictionary::default(),
        };
        self.out.push(Effect::Call {
            peer: peer.clone(),
            endpoint: Endpoint::UpdateConsent,
            target: PathTarget::Domain(peer),
            body: crate::wire::Wire::encode(&entry),
            tag: Tag::None,
        });
    }

    /// We have the power that was missing: what waited for it is done, as far as it is still wanted.
    pub(super) fn catch_up(&mut self) {
        let Some(room) = self.room.matrix.clone() else { return };
        for (user, what) in std::mem::take(&mut self.room.undone) {
            let Some(target) = self.names.matrix_id(&user) else { continue };
            let (room, actor) = (room.clone(), self.room.speaker.clone());
            let reason =
                if self.is_banned_now(&user) { "banned from the MIMI room" } else { "removed from the MIMI room" };
            let reason = reason.to_owned();
            self.out.push(Effect::Matrix(match what {
                Undone::Ban if self.is_banned_now(&user) => MatrixAction::Ban { room, actor, target, reason },
                // Who was banned, and is not any more, is still in the room if they could not be banned either.
                Undone::Kick | Undone::Ban if !self.is_participant(&user) => {
                    MatrixAction::Kick { room, actor, target, reason }
                }
                Undone::Unban if !self.is_banned_now(&user) && !self.is_kept_out(&user) => {
                    MatrixAction::Unban { room, actor, target }
                }
                _ => continue,
            }));
        }
        if self.room.phase == Phase::Active && !self.room.unbridging {
            // A room that took another's place had none; elsewhere it says the same as before.
            self.set_bridge_state();
            self.room.kin.links.shown = None;
            self.show_links();
        }
        for setting in Setting::ALL {
            if self.is_unwritten(setting) {
                self.look(setting);
            }
        }
    }

    /// What the bot lacks in this room, for people who ask; empty if nothing.
    pub(super) fn says_weak(&self) -> String {
        if self.room.direct || self.room.speaker != super::effect::Actor::Bot {
            return String::new();
        }
        if self.room.levels.is_bot_gone() {
            return " The bot is not in this room: invite it.".to_owned();
        }
        let missing = self.lacks();
        if missing.is_empty() {
            return String::new();
        }
        format!(
            " I lack the power to {} here, so what MIMI users and their moderators do is not carried out: give me power level 100.",
            missing.join(", ")
        )
    }
}
