//! Rooms that depend on another one (draft-ietf-mimi-room-policy-03 section 5, `parent_dependent`): of a hosted Matrix room whose
//! join rule lets the members of one space in, and of that space, if both are mirrored here.
//!
//! ```text
//!  child: join rule names a space --FindParent--> parent: notes the child
//!  child <--Kin, who takes part there----------- parent: now, and whenever that changes
//!    all in the parent? depend on it.    depends on it? who is not there is removed
//! ```
//! Two rooms never wait for each other: what one says to the other goes through its inbox.

use std::collections::BTreeSet;

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    effect::StateNow,
    state::{Intent, Phase},
    step::{Effect, Step},
};
use crate::{
    ident::{RoomUri, UserUri},
    policy::{self, Capability, component},
};

/// What one of ours is told who is put out.
const NOT_IN_PARENT: &str = "this room belongs to a space, and you are not in that: join the space first";
/// So many are named.
const NAMED: usize = 5;

/// What a room has to do with others of this hub. Stored beside the room's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kin {
    /// The one Matrix room whose members may come in, by the join rule.
    pub space: Option<OwnedRoomId>,
    /// People were told why this room does not depend on that.
    pub told: bool,
    /// Rooms that depend on this one, or asked for who takes part in it.
    pub children: BTreeSet<RoomUri>,
}

/// The one room whose members may come in by this `m.room.join_rules`.
#[must_use]
pub fn space_of(join_rules: &Value) -> Option<OwnedRoomId> {
    let rule = join_rules.get("join_rule").and_then(Value::as_str);
    if !matches!(rule, Some("restricted" | "knock_restricted")) {
        return None;
    }
    match join_rules.get("allow").and_then(Value::as_array)?.as_slice() {
        [one] if one.get("type").and_then(Value::as_str) == Some("m.room_membership") => {
            one.get("room_id").and_then(Value::as_str).and_then(|id| OwnedRoomId::try_from(id).ok())
        }
        _ => None,
    }
}

impl Step<'_> {
    pub(super) fn has_kin(&self) -> bool {
        self.is_hub() && !self.room.direct && self.room.phase == Phase::Active && !self.room.unbridging
    }

    /// The room on which this one depends.
    fn parent(&self) -> Option<RoomUri> {
        let state = self.state()?;
        RoomUri::parse(state.base_policy.parent()?).ok()
    }

    /// The join rule that stands there now; `news` if it was not looked at before.
    pub(super) fn on_joins(&mut self, now: Option<&StateNow>, news: bool) {
        if !self.is_hub() || self.room.direct {
            return;
        }
        self.on_public(now, news);
        let space = now.and_then(|now| space_of(&now.content));
        if self.room.kin.space != space {
            (self.room.kin.space, self.room.kin.told) = (space, false);
            if self.has_kin() && self.parent().is_some() && self.want_parent(None) {
                self.notice("The join rule of this room changed: it does not belong to its space any more.");
            }
        }
        self.find_parent();
    }

    /// Asks who takes part in the room on which this one depends, or would.
    pub(super) fn find_parent(&mut self) {
        if !self.has_kin() {
            return;
        }
        let (parent, space) = (self.parent(), self.room.kin.space.clone());
        if parent.is_some() || space.is_some() {
            self.out.push(Effect::FindParent { parent, space });
        }
    }

    /// Who stood in the way may have left.
    pub(super) fn look_again_for_parent(&mut self) {
        if self.room.kin.told {
            self.find_parent();
        }
    }

    /// Whether this user does not take part in the room on which this one depends.
    pub(super) fn is_outside(&self, user: &UserUri) -> bool {
        if !self.is_hub() {
            return false;
        }
        let Some(state) = self.state() else { return false };
        state
            .base_policy
            .parent()
            .is_some_and(|parent| self.group.participants_of(parent).is_none_or(|members| !members.contains(user)))
    }

    /// Another room of ours says who takes part in it. `space`: its Matrix room.
    pub(super) fn on_kin(&mut self, parent: &RoomUri, space: Option<&OwnedRoomId>) {
        let Some(state) = self.state().filter(|_| self.has_kin()) else { return };
        let depends = state.base_policy.parent() == Some(parent.as_str());
        let Some(members) = self.group.participants_of(parent.as_str()) else {
            if depends {
                self.notice(&format!(
                    "{parent}, to which this room belongs, is not mirrored any more. This room stays."
                ));
                self.want_parent(None);
            }
            return;
        };
        let takes_part = |user: &&UserUri| state.takes_part(user);
        let listed = state.participants.iter().map(|(user, _)| user).filter(takes_part);
        let mut outside: BTreeSet<UserUri> = listed.filter(|user| !members.contains(*user)).cloned().collect();
        outside.extend(self.room.present.difference(&members).cloned());
        if depends {
            return self.put_out_of(parent, &members, outside);
        }
        if space.is_none() || self.room.kin.space.as_ref() != space {
            return;
        }
        // Who is in the other room is told to nobody who is not.
        if !self.who_may_depend().iter().any(|user| members.contains(user)) {
            let text =
                format!("the join rule names {parent}, but nobody who could have this room depend on it is there");
            return self.out.push(Effect::Note(text));
        }
        if outside.is_empty() {
            return self.belong_to(parent);
        }
        if !std::mem::replace(&mut self.room.kin.told, true) {
            let text = format!(
                "This room lets members of {parent} in, but does not belong to it for MIMI users: {} not there. They can join \
                 it, or leave here; until then, whoever is asked into this room need not be in that one.",
                self.named(&outside),
            );
            self.notice(&text);
        }
    }

    fn belong_to(&mut self, parent: &RoomUri) {
        if self.want_parent(Some(parent)) {
            self.room.kin.told = false;
            self.notice(&format!(
                "This room belongs to {parent} now, as its join rule says: MIMI users have to be in that one first, and whoever \
                 leaves it or is removed there is removed here, too."
            ));
        }
    }

    /// A few names, and the verb that follows them.
    fn named(&self, users: &BTreeSet<UserUri>) -> String {
        let mut names: Vec<String> = users.iter().take(NAMED).map(|user| self.names.display(user)).collect();
        if users.len() > NAMED {
            names.push(format!("{} more", users.len() - NAMED));
        }
        format!("{} {}", names.join(", "), if users.len() == 1 { "is" } else { "are" })
    }

    /// Whoever left the parent, or was removed there, is removed here; who came in there may be waiting here.
    fn put_out_of(&mut self, parent: &RoomUri, members: &BTreeSet<UserUri>, outside: BTreeSet<UserUri>) {
        let asked: Vec<UserUri> = self.room.asking.keys().filter(|user| !members.contains(*user)).cloned().collect();
        for user in asked {
            self.stop_asking(&user);
        }
        let state = self.state();
        let may = |user: &UserUri| state.as_ref().is_some_and(|state| state.can(user, Capability::RemoveParticipant));
        let gone: BTreeSet<UserUri> = outside
            .into_iter()
            .filter(|user| self.room.present.contains(user) || self.will_be_participant(user))
            .collect();
        if !gone.is_empty() {
            let text = format!("{} not in {parent}, to which this room belongs: removed here, too.", self.named(&gone));
            self.out.push(Effect::Note(text.clone()));
            self.notice(&text);
        }
        let locals = self.group.local_users();
        let by = locals.iter().find(|user| members.contains(*user) && may(user)).or(locals.first()).cloned();
        // Those who can remove others go last.
        let (last, first): (Vec<UserUri>, Vec<UserUri>) = gone.into_iter().partition(|user| may(user));
        for user in first.into_iter().chain(last) {
            self.put_out(&user, NOT_IN_PARENT);
            if self.will_be_participant(&user) {
                let by = by.clone().unwrap_or_else(|| user.clone());
                self.want(Intent::Remove { by, user });
            }
        }
        self.list_present();
    }

    /// Those of ours who may have the room depend on another one.
    fn who_may_depend(&self) -> Vec<UserUri> {
        let Some(state) = self.state() else { return Vec::new() };
        let may = |user: &&UserUri| {
            state.can(user, Capability::ChangeRoomMembershipStyle) && state.takes_part(user) && !self.is_leaving(user)
        };
        let listed = state.participants.iter().map(|(user, _)| user).filter(|user| self.room.present.contains(*user));
        self.group.local_users().iter().chain(listed).filter(may).cloned().collect()
    }

    /// Has the room depend on another one, or on none; false if nobody of ours may change that.
    fn want_parent(&mut self, parent: Option<&RoomUri>) -> bool {
        let (Some(state), Some(by)) = (self.state(), self.who_may_depend().into_iter().next()) else { return false };
        match policy::update_parent(&state, parent) {
            Ok(update) => self.want(Intent::Change { by, component: component::BASE_ROOM_POLICY, update }),
            Err(error) => self.report(format!("the base policy cannot be written: {error}")),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_join_rule_names_one_space_or_none() {
        let entry = |room: &str| json!({ "type": "m.room_membership", "room_id": room });
        let rule = |rule: &str, allow: Value| json!({ "join_rule": rule, "allow": allow });
        let space = Some(OwnedRoomId::try_from("!house:a.example").unwrap());
        assert_eq!(space_of(&rule("restricted", json!([entry("!house:a.example")]))), space);
        assert_eq!(space_of(&rule("knock_restricted", json!([entry("!house:a.example")]))), space);
        for other in [
            rule("public", json!([entry("!house:a.example")])),
            rule("restricted", json!([entry("!house:a.example"), entry("!other:a.example")])),
            rule("restricted", json!([{ "type": "org.other", "room_id": "!house:a.example" }])),
            rule("restricted", json!([entry("house")])),
            rule("restricted", json!("!house:a.example")),
            json!({ "join_rule": "restricted" }),
            json!({}),
        ] {
            assert_eq!(space_of(&other), None, "{other}");
        }
    }
}
