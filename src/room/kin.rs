//! Rooms that depend on another one (draft-ietf-mimi-room-policy-03 section 5, `parent_dependent`): of a hosted Matrix room whose
//! join rule lets the members of one space in, and of that space, if both are mirrored here.
//!
//! ```text
//!  child: join rule names a space --FindParent--> parent: notes the child
//!  child <--Kin, who takes part there----------- parent: now, and whenever that changes
//!    all in the parent? depend on it.    depends on it? who is not there is removed
//! ```
//! Two rooms never wait for each other: what one says to the other goes through its inbox. No room belongs to one that belongs to
//! it, at whatever remove: nobody could come into either.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    effect::{Effect, StateNow},
    group::{GroupChange, GroupError},
    links::Links,
    pump::Turn,
    settings::{Setting, Worth},
    state::{Intent, Phase, Room},
    step::Step,
};
use crate::{
    ident::{RoomUri, UserUri},
    policy::{self, Capability, component},
};

/// What one of ours is told who is put out.
const NOT_IN_PARENT: &str = "this room belongs to a space, and you are not in that: join the space first";
/// What follows from a join rule that does not count.
const ANYBODY: &str = "whoever is asked into this room need not be in that one";
/// So many are named.
const NAMED: usize = 5;
/// So many Matrix rooms that a room was before upgrades are known.
const FORMER: usize = 10;

/// What a room has to do with others of this hub. Stored beside the room's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kin {
    /// The one Matrix room whose members may come in, by the join rule.
    pub space: Option<OwnedRoomId>,
    /// Who of ours has the join rule name it: whether the room depends on it is up to their role.
    pub set_by: Option<UserUri>,
    /// People were told why this room does not depend on that, or still depends on another.
    pub told: bool,
    /// Rooms that depend on this one, or asked for who takes part in it, and their last question.
    #[serde(rename = "heard")]
    pub children: BTreeMap<RoomUri, u64>,
    /// Rooms that this one asked, and how often.
    pub asked: BTreeMap<RoomUri, u64>,
    /// The room on which this one depends, as its policy says.
    pub belongs: Option<String>,
    /// The Matrix room whose mirroring is told to this one.
    pub sought: Option<OwnedRoomId>,
    /// Matrix rooms that this one was before it was upgraded, the newest last: join rules may still name them.
    pub former: Vec<OwnedRoomId>,
    /// The join rule names another Matrix room since, or none: the room is let go unless that is the parent.
    pub doubted: bool,
    /// As follower: how it and rooms that depend on it, or on which it depends, name each other.
    pub links: Links,
}

impl Kin {
    /// The Matrix room was replaced.
    pub(super) fn was(&mut self, matrix: OwnedRoomId) {
        self.former.retain(|other| *other != matrix);
        self.former.push(matrix);
        let more = self.former.len().saturating_sub(FORMER);
        self.former.drain(..more);
    }
}

impl Room {
    /// Whether others can depend on it, and it on others: it is mirrored, and stays so. Of rooms of other hubs nobody asks.
    #[must_use]
    pub fn has_kin(&self) -> bool {
        !self.direct && self.phase == Phase::Active && !self.unbridging
    }

    /// The Matrix rooms by which join rules name it.
    #[must_use]
    pub fn spaces(&self) -> BTreeSet<OwnedRoomId> {
        self.matrix.iter().chain(&self.kin.former).cloned().collect()
    }

    /// The Matrix room by which they may name it soon. Whoever names that is no reason to come to depend on this room, as it may
    /// be anything; but a reason to go on, until it is known.
    #[must_use]
    pub fn awaited(&self) -> Option<OwnedRoomId> {
        self.moving.as_ref().map(|moving| moving.to.clone())
    }
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
        self.is_hub() && self.room.has_kin()
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
        let by = now.and_then(|now| self.names.uri(&now.sender));
        if self.room.kin.space != space {
            (self.room.kin.space, self.room.kin.set_by, self.room.kin.told) = (space, by, false);
            self.forget_undone(Setting::Joins);
            self.room.kin.doubted = self.has_kin() && self.parent().is_some();
            // Another Matrix room may be what the space was upgraded to: the parent says.
            if self.room.kin.doubted && self.room.kin.space.is_none() {
                self.want_parent(None);
            }
        } else if news && by.as_ref().is_some_and(|by| self.who_may_depend().contains(by)) {
            // Somebody else stands for the same.
            if self.room.kin.set_by != by {
                self.room.kin.told = false;
            }
            self.room.kin.set_by = by;
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

    /// Those who are here and take no part there.
    fn outside(&self, members: &BTreeSet<UserUri>) -> BTreeSet<UserUri> {
        let Some(state) = self.state() else { return BTreeSet::new() };
        let takes_part = |user: &&UserUri| state.takes_part(user);
        let listed = state.participants.iter().map(|(user, _)| user).filter(takes_part);
        let mut outside: BTreeSet<UserUri> = listed.filter(|user| !members.contains(*user)).cloned().collect();
        outside.extend(self.room.present.difference(members).cloned());
        outside
    }

    /// Another room of ours says who takes part in it. `spaces`: the Matrix rooms that it is, or was before upgrades. `awaited`: the
    /// one to which it is being upgraded, if that comes about. `answers`: our last question that it knew.
    pub(super) fn on_kin(
        &mut self,
        parent: &RoomUri,
        spaces: &BTreeSet<OwnedRoomId>,
        awaited: Option<&OwnedRoomId>,
        answers: u64,
    ) {
        if self.room.kin.asked.get(parent).is_some_and(|asked| answers < *asked) {
            // Who came in here since may have come in there just before: the answer to the last question counts.
            if answers == 0 && self.has_kin() {
                // It does not know that it was asked: it had forgotten this room, or never heard of it.
                self.out.push(Effect::FindParent { parent: Some(parent.clone()), space: None });
            }
            return;
        }
        let Some(state) = self.state().filter(|_| self.has_kin()) else { return };
        let depends = state.base_policy.parent() == Some(parent.as_str());
        let Some(members) = self.group.participants_of(parent.as_str()) else {
            if depends {
                self.want_parent(None);
            }
            return;
        };
        let named = self.room.kin.space.clone().filter(|space| spaces.contains(space));
        if depends {
            let may_be_named = awaited.is_some() && awaited == self.room.kin.space.as_ref();
            if named.is_some() {
                self.room.kin.doubted = false;
            } else if self.room.kin.doubted && !may_be_named {
                self.want_parent(None);
            }
            let lets_go = |intent: &Intent| matches!(intent, Intent::Belong { to: None, .. });
            if !self.room.queue.iter().any(lets_go) {
                self.put_out_of(parent, &members, self.outside(&members));
            }
            return;
        }
        let Some(space) = named else { return };
        // Who is in the other room is told to nobody who is not.
        if !self.who_may_depend().iter().any(|user| members.contains(user)) {
            let text =
                format!("the join rule names {parent}, but nobody who could have this room depend on it is there");
            return self.out.push(Effect::Note(text));
        }
        let outside = self.outside(&members);
        let why = if !self.group.may_depend_on(parent.as_str()) {
            format!(
                "that one belongs to this room, or to one that does. Both stay as they are for MIMI users: {ANYBODY}."
            )
        } else if self.who_has_it_depend().is_none() {
            format!(
                "the join rule was set by somebody whose role does not allow that. Who may change how people come in can set it \
                 anew; until then, {ANYBODY}."
            )
        } else if !outside.is_empty() {
            format!("{} not there. They can join it, or leave here; until then, {ANYBODY}.", self.named(&outside))
        } else {
            self.want_parent(Some((parent.clone(), space)));
            return;
        };
        if !std::mem::replace(&mut self.room.kin.told, true) {
            let text =
                format!("This room lets members of {parent} in, but does not belong to it for MIMI users: {why}");
            self.notice(&text);
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

    /// Who set the join rule, if they may have the room depend on what it names: in nobody else's name is that done.
    fn who_has_it_depend(&self) -> Option<UserUri> {
        self.room.kin.set_by.clone().filter(|by| self.who_may_depend().contains(by))
    }

    /// Has the room depend on another one, which the join rule names by this Matrix room, or on none. Only the last such wish counts.
    fn want_parent(&mut self, to: Option<(RoomUri, OwnedRoomId)>) {
        if self.room.queue.iter().any(|intent| matches!(intent, Intent::Belong { to: other, .. } if *other == to)) {
            return;
        }
        // To let go is up to nobody's role: who is asked in by the rule of the Matrix room is not to be put out.
        let by = if to.is_some() { self.who_has_it_depend() } else { self.who_may_depend().into_iter().next() };
        let Some(by) = by else { return self.stays_a_child() };
        if to.is_some() {
            match self.is_worth_undoing(Setting::Joins) {
                Worth::Undoing => {}
                Worth::Nothing => return,
                Worth::Telling => {
                    return self.notice(
                        "To which space this room belongs for MIMI users is changed again and again. For now I leave it as it is.",
                    );
                }
            }
        }
        self.room.queue.retain(|intent| !matches!(intent, Intent::Belong { .. }));
        self.want(Intent::Belong { by, to });
    }

    /// Nobody can let the room go.
    fn stays_a_child(&mut self) {
        let Some(parent) = self.parent() else { return };
        if !std::mem::replace(&mut self.room.kin.told, true) {
            self.notice(&format!(
                "This room still belongs to {parent} for MIMI users: nobody of this server's is here whose role allows to change \
                 that. Until then, whoever is not in that one is removed here."
            ));
        }
    }

    /// What people are told of a wish that came to nothing, once.
    pub(super) fn stays_as_it_belongs(&mut self, why: &str) -> Option<String> {
        let text = format!("To which space this room belongs for MIMI users stays as it is: {why}.");
        if std::mem::replace(&mut self.room.kin.told, true) {
            self.out.push(Effect::Detail(text));
            return None;
        }
        Some(text)
    }

    /// [`Intent::Belong`]: the policy is written as it is now, and only if what was wanted still holds.
    pub(super) fn belong(&mut self, by: &UserUri, to: Option<&(RoomUri, OwnedRoomId)>) -> Result<Turn, GroupError> {
        let was = self.parent();
        if !self.has_kin() || was.as_ref() == to.map(|(parent, _)| parent) {
            return Ok(Turn::Done);
        }
        if to.is_some_and(|(parent, space)| !self.may_belong_to(parent, space)) {
            // It is looked at anew, and people are told.
            self.find_parent();
            return Ok(Turn::Done);
        }
        let may = self.who_may_depend();
        let by = match to {
            Some(_) => self.who_has_it_depend(),
            None => may.iter().find(|user| *user == by).or(may.first()).cloned(),
        };
        let Some(by) = by else {
            return Err(GroupError::Refused("nobody of ours may change that".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let state = self.group.state()?;
        let update = policy::update_parent(&state, to.map(|(parent, _)| parent))
            .map_err(|error| GroupError::Invalid(error.to_string()))?;
        let change = GroupChange { app_data: vec![(component::BASE_ROOM_POLICY, update)], ..GroupChange::default() };
        self.commit(&by, &change)?;
        (self.room.kin.doubted, self.room.kin.told) = (false, false);
        self.tell_parent(was.as_ref(), to.map(|(parent, _)| parent));
        Ok(Turn::Done)
    }

    fn may_belong_to(&self, parent: &RoomUri, space: &OwnedRoomId) -> bool {
        let members = self.group.participants_of(parent.as_str());
        self.room.kin.space.as_ref() == Some(space)
            && self.who_has_it_depend().is_some()
            && self.group.may_depend_on(parent.as_str())
            && members.is_some_and(|members| self.outside(&members).is_empty())
    }

    /// The room depends on another one than before.
    fn tell_parent(&mut self, was: Option<&RoomUri>, now: Option<&RoomUri>) {
        match (was, now) {
            (_, Some(parent)) => {
                self.notice(&format!(
                    "This room belongs to {parent} now, as its join rule says: MIMI users have to be in that one first, and whoever \
                     leaves it or is removed there is removed here, too."
                ));
            }
            (Some(parent), None) if self.group.participants_of(parent.as_str()).is_none() => self
                .notice(&format!("{parent}, to which this room belonged, is not mirrored any more. This room stays.")),
            (_, None) => {
                self.notice("The join rule of this room changed: it does not belong to its space any more.");
                self.find_parent();
            }
        }
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
