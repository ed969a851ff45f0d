//! Public Matrix rooms as open MIMI rooms (draft-ietf-mimi-room-policy-03 section 3, `canOpenJoin`): of a hosted room whose join
//! rule lets anybody in, role 0 lets users of all providers in, who then come by an external commit that lists them.
//!
//! ```text
//!  join rule: public, by somebody who may define roles --> Intent::Open --> role 0: canOpenJoin, 0 -> member
//!  any other join rule, by anybody ------------------------> Intent::Open --> taken away again
//! ```
//! To open a room is up to the role of whoever did it. To close it is not: from the moment in which the Matrix room is not
//! public any more the hub lets nobody in, and whoever of ours may takes the capability away.

use serde_json::Value;

use super::{
    effect::{Effect, StateNow},
    group::{GroupChange, GroupError},
    pump::Turn,
    settings::{Setting, Worth},
    state::{Intent, Room},
    step::Step,
};
use crate::{
    ident::UserUri,
    policy::{self, Capability, Envelope, component, role},
};

/// Whether anybody may come in by this `m.room.join_rules`.
#[must_use]
pub fn is_public(join_rules: &Value) -> bool {
    join_rules.get("join_rule").and_then(Value::as_str) == Some("public")
}

impl Room {
    /// As hub: whether anybody may come in, as far as that is the Matrix room's and the operator's to say.
    #[must_use]
    pub fn is_for_all(&self, envelope: &Envelope) -> bool {
        self.public && !self.direct && envelope.open_rooms
    }
}

impl Step<'_> {
    fn is_for_all(&self) -> bool {
        self.room.is_for_all(self.names.envelope())
    }

    /// Whether one of ours who was not asked puts themselves on the list: of an open room elsewhere, and of one of ours if nobody
    /// is there who may add them.
    pub(super) fn comes_in_by_itself(&self, user: &UserUri) -> bool {
        if !self.state().is_some_and(|state| state.can(user, Capability::OpenJoin)) {
            return false;
        }
        if self.is_hub() {
            self.who_adds(user).is_none()
        } else {
            self.group.is_member() && self.names.envelope().open_rooms
        }
    }

    /// Whether anybody may come in is not known for sure: until it is, nobody does. What is looked up next is news.
    pub(super) fn is_not_public(&mut self) {
        self.room.public = false;
        self.room.settings.entry(Setting::Joins).or_default().event.clear();
    }

    /// As hub: the rule of an open room that could not be read is read once more.
    pub(super) fn look_at_the_rule(&mut self) {
        if self.has_kin() && !self.room.public && self.state().is_some_and(|state| state.is_open()) {
            self.on_setting(Setting::Joins);
        }
    }

    /// The join rule that stands there now, as far as it lets anybody in; `news` if it was not looked at before.
    pub(super) fn on_public(&mut self, now: Option<&StateNow>, news: bool) {
        let public = now.is_some_and(|now| is_public(&now.content));
        self.room.public = public;
        if !news || !self.has_kin() || self.state().is_none_or(|state| state.is_open() == public) {
            return;
        }
        let by = now.and_then(|now| self.names.uri(&now.sender));
        if !public {
            return self.want_closed(by.as_ref());
        }
        if !self.names.envelope().open_rooms {
            return self.notice(
                "This room is public for Matrix users alone: the operator of this server allows no rooms into which MIMI users can \
                 come without being asked.",
            );
        }
        match by {
            Some(by) => self.want_open(by, true),
            None => {
                if let Some(told) = self.not_opened(true, "Somebody", "they are no user of this server's") {
                    self.notice(&told);
                }
            }
        }
    }

    /// Of several changes that wait only the last one counts.
    fn want_open(&mut self, by: UserUri, open: bool) {
        self.room.queue.retain(|intent| !matches!(intent, Intent::Open { .. }));
        self.room.queue.push_back(Intent::Open { by, open });
    }

    fn want_closed(&mut self, by: Option<&UserUri>) {
        self.room.queue.retain(|intent| !matches!(intent, Intent::Open { .. }));
        if !self.state().is_some_and(|state| state.is_open()) {
            return;
        }
        if let Some(by) = self.who_defines(by) {
            return self.want_open(by, false);
        }
        let text = "nobody here may take back that anybody may come in; this hub lets nobody in all the same";
        self.out.push(Effect::Detail(text.to_owned()));
    }

    /// As hub: a room that is not to be open, or not any more, is closed once somebody may do it, whoever opened it.
    pub(super) fn keep_closed(&mut self) {
        // While it is replaced, its rule is not looked at: the hub lets nobody in, and it stays what it is.
        if self.has_kin() && self.room.moving.is_none() && !self.is_for_all() {
            self.want_closed(None);
        }
    }

    /// The same after a commit, for some times within an hour: who goes on opening it would have the room make commits without
    /// end. It is closed later then, and lets nobody in meanwhile.
    pub(super) fn closes_again(&mut self) {
        let open = self.state().is_some_and(|state| state.is_open());
        let waits = self.room.queue.iter().any(|intent| matches!(intent, Intent::Open { .. }));
        let may = self.who_defines(None).is_some();
        let opened = may && self.has_kin() && self.room.moving.is_none() && !self.is_for_all() && open && !waits;
        if opened && self.is_worth_undoing(Setting::Joins) == Worth::Undoing {
            self.keep_closed();
        }
    }

    /// Who of ours may say what roles may do: `by`, or another.
    fn who_defines(&self, by: Option<&UserUri>) -> Option<UserUri> {
        let state = self.state()?;
        let may = |user: &&UserUri| {
            state.can(user, Capability::ChangeRoleDefinitions) && state.takes_part(user) && !self.is_leaving(user)
        };
        let locals = self.group.local_users();
        let listed = state.participants.iter().map(|(user, _)| user).filter(|user| self.room.present.contains(*user));
        by.into_iter().chain(&locals).chain(listed).find(may).cloned()
    }

    /// The join rule becomes a matter of the room's roles.
    pub(super) fn open_or_close(&mut self, by: &UserUri, open: bool) -> Result<Turn, GroupError> {
        let state = self.group.state()?;
        if state.is_open() == open || self.is_for_all() != open {
            return Ok(Turn::Done);
        }
        // Somebody of a large room who was not heard of before.
        if open
            && self.room.present.contains(by)
            && state.role_of(by).is_none()
            && let Some(first) = self.leaf_first(by)?
        {
            return Ok(first);
        }
        let may = state.can(by, Capability::ChangeRoleDefinitions) && state.takes_part(by);
        let by = if open { may.then(|| by.clone()) } else { self.who_defines(Some(by)) };
        let Some(by) = by else {
            return Err(GroupError::Refused("their role in the MIMI room does not allow that".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let update = policy::update_open_join(&state, role::MEMBER, open);
        let update = update.map_err(|error| GroupError::Invalid(error.to_string()))?;
        let change = GroupChange { app_data: vec![(component::ROLES_LIST, update)], ..GroupChange::default() };
        let turn = self.commit(&by, &change)?;
        let uri = self.room.uri.clone();
        self.notice(&if open {
            format!("{} {}", opened(), how(&uri))
        } else {
            "MIMI users have to be asked into this room again: not everybody may come in any more.".to_owned()
        });
        Ok(turn)
    }

    /// What people are told when the MIMI room does not go along.
    pub(super) fn not_opened(&mut self, open: bool, who: &str, why: &str) -> Option<String> {
        if !open {
            self.out
                .push(Effect::Note(format!("the room could not be closed, and lets nobody in all the same: {why}")));
            return None;
        }
        Some(format!(
            "{who} made this room public, and MIMI users still have to be asked in: {why}. Who may change what roles may do can \
             set the join rule anew."
        ))
    }

    /// What people are told of a public room that was just mirrored; empty of any other.
    pub(super) fn says_open(&self) -> String {
        if self.state().is_some_and(|state| state.is_open()) {
            format!(" {} {}", opened(), how(&self.room.uri))
        } else {
            String::new()
        }
    }
}

fn opened() -> &'static str {
    "It is public: users of all providers that this server talks to can come in without being asked."
}

fn how(uri: &crate::ident::RoomUri) -> String {
    format!("They say, to the bot of their own gateway: join {uri}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_rule_for_everybody_is_public() {
        assert!(is_public(&json!({ "join_rule": "public", "allow": [] })));
        for rule in ["invite", "knock", "restricted", "knock_restricted", "private", "Public", ""] {
            assert!(!is_public(&json!({ "join_rule": rule })), "{rule}");
        }
        assert!(!is_public(&json!({})) && !is_public(&json!({ "join_rule": ["public"] })));
    }
}
