//! Who comes into the Matrix room, goes, or is put out: ours, ghosts, and the bot.

use super::{
    effect::{Actor, Effect, MatrixAction},
    reasons::Deed,
    state::{Intent, Phase},
    step::Step,
};
use crate::{ident::UserUri, translate::RoomEvent};
use ruma::{OwnedUserId, UserId};

/// What an id among those of our ghosts says that stands for nobody.
pub const NOBODY: &str = "This address stands for no user of another provider that I could read from it. In a room that I mirror, say \
                          “!mimi invite mimi://provider/u/name”; users of this server are invited by their own Matrix id.";

impl Step<'_> {
    pub(super) fn on_member(&mut self, event: &RoomEvent, salt: [u8; 16]) {
        let Some(target) = event.state_key.as_deref().and_then(|key| UserId::parse(key).ok()) else { return };
        let membership = event.content.get("membership").and_then(serde_json::Value::as_str).unwrap_or_default();
        if let Some(remote) = self.names.ghost_uri(&target) {
            if !self.names.is_bridged(&event.sender) {
                self.on_ghost_member(event, salt, remote, membership);
            }
            return;
        }
        if self.names.is_stray(&target) {
            if membership == "invite" && !self.names.is_bridged(&event.sender) {
                self.decline_stray(target);
            }
            return;
        }
        if self.names.is_bot(&target) {
            if matches!(membership, "leave" | "ban") && !self.names.is_bridged(&event.sender) {
                self.on_bot_removed(event.sender.as_str());
            }
            if membership == "invite" && !self.names.is_bridged(&event.sender) {
                self.on_bot_invited();
            }
            return;
        }
        let Some(user) = self.names.uri(&target) else { return };
        match membership {
            "invite" => {
                if let Some(by) = self.names.uri(&event.sender) {
                    self.room.invited_by.insert(user, by);
                }
            }
            "join" => {
                // They are in by somebody's will since.
                self.room.undone.remove(&user);
                self.on_joined(user);
            }
            // We put them out. If they are not here as far as we know, that is what was wanted; and who was asked in anew
            // since then stays asked.
            "leave" | "ban" if self.names.is_bridged(&event.sender) && !self.room.present.contains(&user) => {}
            // A kick in place of the ban that the bot could not make, or before one that is on its way, is no end of that ban,
            // nor is a leave.
            "leave"
                if event.sender != target
                    && event.may_end_ban()
                    && self.room.undone.get(&user) != Some(&super::undone::Undone::Ban)
                    && self.names.uri(&event.sender).is_some_and(|by| self.on_unshut(&by, &user)) => {}
            // The end of a ban that the MIMI room lifted before, so that they may have been asked in again.
            "leave" if event.ends_ban() => {}
            "leave" if event.sender == target && self.moves_along(&user) => {}
            "leave" | "ban" => {
                self.say_why_left(event, salt, &user, membership);
                let by = self.names.uri(&event.sender).filter(|_| membership == "ban" && event.sender != target);
                self.live_left(event, salt, &user);
                // Before all else: who is to be banned is not removed first.
                if let Some(by) = by {
                    self.on_own_banned(by, user.clone());
                }
                self.on_left(user, &event.sender, &target);
            }
            _ => {}
        }
    }

    /// Why one of ours left, or was put out by another.
    fn say_why_left(&mut self, event: &RoomEvent, salt: [u8; 16], user: &UserUri, membership: &str) {
        if self.room.phase != Phase::Active || !self.will_be_participant(user) {
            return;
        }
        let itself = event.state_key.as_deref() == Some(event.sender.as_str());
        let deed = match membership {
            _ if itself => Deed::Leaves,
            "ban" => Deed::Bans,
            _ => Deed::Removes,
        };
        // Nobody gets a client to say goodbye.
        if !itself || self.group.has_leaf(user) {
            self.say_why(event, salt, deed, user);
        }
    }

    pub(super) fn on_joined(&mut self, user: UserUri) {
        if !self.room.present.insert(user.clone()) {
            return;
        }
        self.put_out_strangers();
        if !self.room.present.contains(&user) {
            return;
        }
        if self.is_added_unasked(&user) {
            self.room.invited_by.remove(&user);
        }
        self.put_out_banned();
        if !self.room.present.contains(&user) {
            return;
        }
        self.greet_portal();
        if let Some(requester) = self.room.asked.get(&user).cloned() {
            // Joining the Matrix room is the consent.
            self.out.push(Effect::Grant { requester, target: user.clone() });
            // The one who asked adds them; in a room of our own, if anybody of ours is in it, they need nobody for that.
            if !self.is_hub() || !self.group.is_member() {
                return;
            }
        }
        if self.room.phase == Phase::Active {
            self.list(user);
            self.relieve_keeper();
        }
    }

    /// Those who are in the Matrix room are participants, too.
    pub(super) fn list_present(&mut self) {
        for user in self.room.present.clone() {
            if !self.room.asked.contains_key(&user) {
                self.list(user);
            }
        }
    }

    fn list(&mut self, user: UserUri) {
        if self.will_be_participant(&user) {
            return;
        }
        if self.is_outside(&user) {
            // Perhaps the other room has not heard yet that they came in there: it tells how it is.
            return self.find_parent();
        }
        if self.room.present.len() > self.names.list_all_up_to() {
            // A large room lists only those who act.
            return;
        }
        // Into a room that we host people come by Matrix' own rules; elsewhere somebody has to have asked them in.
        let hosted = if self.is_hub() { self.group.local_users().first().cloned() } else { None };
        let by = self.room.invited_by.get(&user).filter(|by| self.is_ours(by)).cloned().or(hosted);
        let by = by.or_else(|| self.comes_in_by_itself(&user).then(|| user.clone()));
        if let Some(by) = by {
            self.want(Intent::Add { by, user, key_packages: Vec::new() });
        } else if !self.is_hub() || self.group.is_public() {
            // The room shows what is said: nobody reads who is not listed.
            self.put_out(&user, "somebody in the room has to invite you");
        }
    }

    fn on_left(&mut self, user: UserUri, sender: &UserId, target: &UserId) {
        self.room.faces.forget(&user);
        self.room.portraits.forget(&user);
        self.room.invited_by.remove(&user);
        let asked = self.room.asked.remove(&user).filter(|_| !self.is_participant(&user));
        if let Some(requester) = asked {
            // Nobody is told.
            self.out.push(Effect::Declined { requester, target: user.clone() });
        }
        self.room.present.remove(&user);
        if self.room.direct && self.room.phase == Phase::Active && self.room.present.is_empty() {
            return self.part();
        }
        // Whom we removed ourselves is off the list already, unless they came back before our removal was done.
        if self.room.phase != Phase::Active || !self.will_be_participant(&user) {
            return;
        }
        // What they said before they left is still sent; what they wanted to do is not.
        match self.names.uri(sender) {
            Some(by) if sender != target => self.want(Intent::Remove { by, user }),
            _ => self.want(Intent::Leave { user }),
        }
    }

    fn on_ghost_member(&mut self, event: &RoomEvent, salt: [u8; 16], remote: UserUri, membership: &str) {
        let Some(by) = self.names.uri(&event.sender) else { return };
        let is_in = self.room.phase == Phase::Active && self.will_be_participant(&remote);
        match membership {
            "invite" => {
                // Nobody can be invited whom the Matrix room bans.
                if self.room.banned.contains(&remote) {
                    self.on_ghost_unbanned(&by, &remote);
                }
                if let Err(refusal) = self.ask_in(&by, &remote) {
                    self.decline(remote, refusal.text);
                }
            }
            "leave" | "ban" if self.is_only_other(&remote) => {
                self.room.ghosts.remove(&remote);
                self.part();
            }
            "ban" => {
                if is_in {
                    self.say_why(event, salt, Deed::Bans, &remote);
                }
                self.on_ghost_banned(by, remote);
            }
            "leave" if event.may_end_ban() && self.on_ghost_unbanned(&by, &remote) => {
                self.say_why(event, salt, Deed::Unbans, &remote);
            }
            // One that the MIMI room lifted before, so that they may be in again.
            "leave" if event.ends_ban() => {}
            "leave" => {
                self.stop_asking(&remote);
                if is_in && !self.is_fixed() {
                    self.say_why(event, salt, Deed::Removes, &remote);
                }
                // Who was asked into a direct chat stays on its list, and can be asked again.
                if !self.is_fixed() && self.will_be_participant(&remote) {
                    self.want(Intent::Remove { by, user: remote.clone() });
                }
                // Until that is done its ghost counts as here: what was wanted before may bring it in once more.
                if !self.is_going(&remote) {
                    self.room.ghosts.remove(&remote);
                }
            }
            _ => {}
        }
    }

    /// A ghost does not take an invitation, and says why.
    pub(super) fn decline(&mut self, remote: UserUri, why: String) {
        self.notice(&why);
        // One that was in comes in again when we do.
        self.room.ghosts.remove(&remote);
        if let Some(room) = self.room.matrix.clone() {
            let actor = Actor::Ghost(remote);
            self.out.push(Effect::Matrix(MatrixAction::Leave { room, actor, reason: Some(why) }));
        }
    }

    /// Somebody brings the bot (back) into a mirrored room.
    fn on_bot_invited(&mut self) {
        let Some(room) = self.room.matrix.clone() else { return };
        if self.room.speaker == Actor::Bot {
            self.out.push(Effect::Matrix(MatrixAction::Join { room, actor: Actor::Bot }));
            // An invitation from before the room was mirrored may be told late: then it was never away.
            if self.room.levels.bot_is_back() {
                let missing = self.lacks().join(", ");
                self.notice(&if missing.is_empty() {
                    "I am back.".to_owned()
                } else {
                    format!(
                        "I am back. Without the power to {missing} I cannot do in this room what MIMI promises: give me power \
                         level 100."
                    )
                });
            }
            self.room.levels.try_again();
            self.catch_up();
            // What changed while it was away.
            return super::settings::Setting::ALL.into_iter().for_each(|setting| self.on_setting(setting));
        }
        let reason = "In a direct chat the ghost speaks for the gateway: say !mimi help, without the bot.".to_owned();
        self.out.push(Effect::Matrix(MatrixAction::Leave { room, actor: Actor::Bot, reason: Some(reason) }));
    }

    fn decline_stray(&mut self, target: OwnedUserId) {
        self.notice(&format!("{target}: {NOBODY}"));
        if let Some(room) = self.room.matrix.clone() {
            self.out.push(Effect::Matrix(MatrixAction::Decline { room, target, reason: NOBODY.to_owned() }));
        }
    }
}
