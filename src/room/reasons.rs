//! Why somebody is removed, is banned, or leaves. MIMI has no place for that (draft-ietf-mimi-room-policy-03 leaves it open):
//! who acts says it as a message before they act, which every provider can show. Who acted stands in the reason that Matrix
//! shows.

use std::collections::BTreeSet;

use super::{
    effect::{Actor, Effect, MatrixAction},
    group::Applied,
    step::Step,
};
use crate::{ident::UserUri, translate::RoomEvent};

/// So much of a reason is said, in characters.
const LONGEST: usize = 500;

/// What somebody does, and says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Removes,
    Bans,
    Unbans,
    Leaves,
}

/// The reason that a member event gives.
fn reason(event: &RoomEvent) -> Option<String> {
    let text = event.content.get("reason").and_then(serde_json::Value::as_str)?.trim();
    (!text.is_empty()).then(|| text.chars().take(LONGEST).collect())
}

impl Step<'_> {
    /// Says why, as the one who acts, if a reason was given and there is anybody elsewhere to hear it.
    pub(super) fn say_why(&mut self, event: &RoomEvent, salt: [u8; 16], deed: Deed, target: &UserUri) {
        let Some(reason) = reason(event).filter(|_| !self.peers().is_empty()) else { return };
        let name = self.names.display(target);
        let body = match deed {
            Deed::Removes => format!("I removed {name} from this room: {reason}"),
            Deed::Bans => format!("I banned {name} from this room: {reason}"),
            Deed::Unbans => format!("I lifted the ban of {name}: {reason}"),
            Deed::Leaves => format!("I leave this room: {reason}"),
        };
        let content = serde_json::json!({ "msgtype": "m.notice", "body": body });
        let said = RoomEvent { event_type: "m.room.message".to_owned(), state_key: None, content, ..event.clone() };
        self.say(&said, salt, &Vec::new(), None);
    }

    /// How people are told that somebody was put out of the MIMI room.
    pub(super) fn put_out_by(&self, user: &UserUri, applied: &Applied) -> String {
        let deed = if self.is_banned_now(user) { "banned" } else { "removed" };
        let by = applied.by.as_ref().filter(|by| *by != user).map(|by| format!(" by {by}")).unwrap_or_default();
        let state = self.state();
        let parent = state.as_ref().and_then(|state| state.base_policy.parent());
        let parent = parent.map(|parent| format!(": who is here has to be in {parent}, too")).unwrap_or_default();
        format!("{deed} from the MIMI room{by}{parent}")
    }

    /// Our users who are not in the MIMI room any more leave the Matrix room, and read by whom.
    pub(super) fn take_out_by(&mut self, users: &BTreeSet<UserUri>, applied: &Applied) {
        for user in users {
            let reason = self.put_out_by(user, applied);
            self.take_out(user, &reason);
        }
    }

    /// Ghosts of those whom somebody took off the list, or banned, leave the Matrix room, and say by whom.
    pub(super) fn show_removed(&mut self, applied: &Applied) {
        let Some(room) = self.room.matrix.clone().filter(|_| !self.is_fixed()) else { return };
        let removed = |user: &&UserUri| !self.is_participant(user) && !applied.left.contains(*user);
        for user in self.room.ghosts.clone().iter().filter(removed).cloned().collect::<Vec<_>>() {
            self.room.ghosts.remove(&user);
            let reason = self.put_out_by(&user, applied);
            // It goes by itself first: that needs no power of the bot's.
            let (actor, why) = (Actor::Ghost(user.clone()), Some(reason.clone()));
            self.out.push(Effect::Matrix(MatrixAction::Leave { room: room.clone(), actor, reason: why }));
            self.shut_ghost(&user, &reason);
            self.invite_again(&user);
        }
    }
}
