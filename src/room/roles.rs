//! Power levels of the Matrix room, and roles of the MIMI room (draft-ietf-mimi-room-policy-03 section 3): the homeserver
//! decides the ones, the hub the others, as with [`super::settings`].
//!
//! ```text
//!  levels that a user changed --> Intent::Appoint --> roles' definitions (where we host), then roles --.
//!                                       '--> refused: the levels before are put back, and why is told   |
//!  roles that anybody changed --> look at the levels --> those that mean another role are written <-----'
//! ```
//! A level that means the right role stays as it is, so the exact levels, and those of event types, are the Matrix room's own.
//! In a portal, and in a room that was made with a preset, the roles are given: thresholds follow them, and who may do what is not
//! to be changed by levels, but for whose role is which.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    effect::{Actor, Effect, MatrixAction, StateNow},
    group::{GroupChange, GroupError},
    pump::Turn,
    settings::{Setting, Worth},
    state::{InFlight, Intent, Phase},
    step::{Step, hash},
};
use crate::{
    ident::UserUri,
    policy::{self, ABOVE_ALL, Capability, Powers, RoomState, component, role},
    translate::MAX_EVENT_CONTENT,
};

/// The state event that has the roles of a portal's host.
pub(super) const ROLES: &str = "im.mimi-gateway.roles";
/// The most that users of a portal have: less than the bot, which can take it away again.
const PORTAL_MOST: i64 = 95;
/// In a portal, the threshold of what nobody may: the bot alone has it.
const NOBODY: i64 = 100;

/// What is known of the Matrix room's power levels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// The content that stands there, or will once all is done that was asked of the homeserver; empty if there is none.
    now: String,
    /// The last one that the MIMI room agreed to.
    agreed: String,
    /// Those who stand above all levels, and whom no level is written for.
    creators: BTreeSet<String>,
    /// The epoch in which roles were looked at last, and their hash.
    seen: Option<(u64, [u8; 32])>,
    /// The roles besides "member" that were carried to the levels last.
    carried: BTreeMap<UserUri, u32>,
    /// People were told that the bot lacks power.
    weak: bool,
    /// Somebody took the bot out of the room.
    bot_gone: bool,
    /// What was known before the first write of which the homeserver has not said that it took it.
    before: Option<Box<Before>>,
    /// Hash of what was to be written last and was refused, and of what stood there.
    refused: Option<[u8; 32]>,
    /// Of a portal: hash of the roles whose definitions were written into its state last.
    kept: Option<[u8; 32]>,
}

/// What was known before a write: it counts again if the homeserver does not take that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    now: String,
    agreed: String,
    carried: BTreeMap<UserUri, u32>,
    /// Hash of the write, and of what stood there.
    write: [u8; 32],
}

impl Levels {
    /// Whether this Matrix user may call everybody's attention in the Matrix room, as far as its levels are known.
    pub(super) fn may_ring_all(&self, user: &str) -> bool {
        let content: Option<Value> = serde_json::from_str(&self.now).ok();
        content.is_some_and(|content| Powers::read(Some(&content), self.creators.clone(), None).may_ring_all(user))
    }

    /// What was refused may be taken now.
    pub(super) fn try_again(&mut self) {
        self.refused = None;
    }

    /// The bot is in the room. Whether it had been taken out before.
    pub(super) fn bot_is_back(&mut self) -> bool {
        std::mem::take(&mut self.bot_gone)
    }

    /// The definitions of the roles are written anew.
    pub(super) fn keep_roles_again(&mut self) {
        self.kept = None;
    }

    /// Whether somebody took the bot out of the room.
    pub(super) fn is_bot_gone(&self) -> bool {
        self.bot_gone
    }

    /// This role is not to be seen in the levels.
    pub(super) fn is_carried(&mut self, user: &UserUri, index: u32) {
        self.carried.insert(user.clone(), index);
    }
}

/// The power levels of a portal, so that the bot can always take back what it gave.
pub(super) fn portal_levels(direct: bool) -> (String, String, String) {
    let everybody = if direct { 0 } else { 50 };
    let content = json!({ "events": {
        "m.room.name": everybody, "m.room.topic": everybody, "m.room.avatar": everybody,
        "m.room.canonical_alias": 50, "m.room.power_levels": PORTAL_MOST,
        "m.room.history_visibility": 100, "m.room.join_rules": 100, "m.room.guest_access": 100,
        "m.room.tombstone": 100, "m.room.server_acl": 100, "m.room.encryption": 100,
    }});
    (Setting::Powers.event_type().to_owned(), String::new(), content.to_string())
}

impl super::state::Room {
    /// What the levels of a Matrix room are when we begin with it.
    pub fn has_levels(&mut self, content: Option<&Value>, creators: BTreeSet<String>) {
        let text = content.map(Value::to_string).unwrap_or_default();
        self.levels = Levels { now: text.clone(), agreed: text, creators, ..Levels::default() };
    }
}

impl Step<'_> {
    fn powers(&self, text: &str) -> Powers {
        let content: Option<Value> = serde_json::from_str(text).ok();
        let powers = Powers::read(content.as_ref(), self.room.levels.creators.clone(), None);
        match self.state() {
            Some(state) if !self.makes_roles() => powers.at_most(PORTAL_MOST).among(&state.roles),
            None if !self.makes_roles() => powers.at_most(PORTAL_MOST),
            _ => powers,
        }
    }

    /// Whether the roles of the MIMI room are made from the levels of the Matrix room.
    fn makes_roles(&self) -> bool {
        self.is_hub() && !self.room.keeps_roles
    }

    fn id(&self, user: &UserUri) -> Option<String> {
        self.names.matrix_id(user).map(String::from)
    }

    fn appoints(&self) -> bool {
        let here = self.room.matrix.is_some() && self.room.speaker == Actor::Bot;
        let busy = self.room.unbridging || self.room.rejoin.is_some();
        self.room.phase == Phase::Active && here && !busy && !self.room.direct && self.sees_group()
    }

    /// The MIMI room says what the levels that stand there say.
    fn levels_agree(&mut self) {
        self.room.levels.agreed.clone_from(&self.room.levels.now);
        self.agrees(Setting::Powers);
    }

    /// After everything else of a step: roles that changed have to be seen in the levels.
    pub(super) fn show_roles(&mut self) {
        if self.room.phase != Phase::Active {
            // What people want of levels is forgotten when the last of ours is out: who comes in looks again.
            self.room.levels.seen = None;
        }
        let waits = |intent: &Intent| matches!(intent, Intent::Appoint { .. });
        if !self.appoints() || self.room.queue.iter().any(waits) {
            return;
        }
        let epoch = self.group.epoch();
        let before = self.room.levels.seen;
        if before.is_some_and(|(seen, _)| seen == epoch) {
            return;
        }
        let Some(state) = self.state() else { return };
        self.keep_roles(&state);
        let powers = self.powers(&self.room.levels.now);
        let named = |user: &UserUri| self.id(user).is_some_and(|id| powers.level(&id) != powers.users_default());
        let apart = state.participants.iter().filter(|(user, index)| *index != role::MEMBER || named(user));
        let digest = hash(format!("{:?}{:?}", apart.collect::<Vec<_>>(), state.roles).as_bytes());
        self.room.levels.seen = Some((epoch, digest));
        if before.is_none_or(|(_, seen)| seen != digest) {
            self.look(Setting::Powers);
        }
    }

    /// In a portal: the roles as their host defines them, of which levels and thresholds say only a part.
    fn keep_roles(&mut self, state: &RoomState) {
        let Ok(exact) = state.roles.encode() else { return };
        let digest = hash(&exact);
        if self.is_hub() || self.room.levels.kept == Some(digest) {
            return;
        }
        self.room.levels.kept = Some(digest);
        let exact = URL_SAFE_NO_PAD.encode(exact);
        let mut content = json!({ "roles": &state.roles, "component": exact });
        if content.to_string().len() > MAX_EVENT_CONTENT {
            content = json!({ "component": exact });
        }
        if content.to_string().len() <= MAX_EVENT_CONTENT {
            self.set_state_if_allowed(ROLES.to_owned(), self.bridge_key(), content.to_string());
        }
    }

    /// The levels that stand there; `news` if they were not looked at before.
    pub(super) fn on_levels(&mut self, now: Option<StateNow>, news: bool) {
        if !self.appoints() {
            return;
        }
        let Some(StateNow { sender, content, .. }) = now else { return };
        // It was looked at behind all writes: what was refused of them was heard of before this.
        self.room.levels.before = None;
        self.room.levels.now = content.to_string();
        if news {
            self.room.unshown.clear();
        }
        let powers = self.powers(&self.room.levels.now);
        self.check_strength(&powers);
        let Some(state) = self.state() else { return };
        if !news || self.names.is_bot(&sender) || self.names.ghost_uri(&sender).is_some() {
            if news {
                self.levels_agree();
            }
            return self.write_levels(&state, &self.room.levels.now.clone());
        }
        let before = self.powers(&self.room.levels.agreed);
        let known = !self.room.levels.agreed.is_empty();
        // Levels that somebody gave who may define no role for them have one once somebody may.
        let roles = self.makes_roles().then(|| powers.roles(&state.roles, self.held(&state, &powers)));
        let gains_role = |index: u32, level: i64| {
            let means = |roles| powers.role(roles, level);
            roles.as_ref().is_some_and(|roles| means(&state.roles) == index && means(roles) != index)
        };
        let changed: Vec<(UserUri, i64)> = state
            .participants
            .iter()
            .filter(|(_, index)| !state.is_banned_role(*index))
            .filter_map(|(user, index)| {
                let id = self.id(user)?;
                let level = powers.level(&id);
                let other = if known { before.level(&id) != level } else { powers.role(&state.roles, level) != *index };
                let counts = other || gains_role(*index, level);
                (counts && !powers.creators().contains(&id)).then(|| (user.clone(), level))
            })
            .collect();
        if changed.is_empty() && known && self.bends_rules(&state, &powers) {
            if let Some(told) = self.put_levels_back(sender.as_str(), self.who_makes_roles()) {
                self.notice(&told);
            }
            return;
        }
        if changed.is_empty() && roles.is_none_or(|roles| roles == state.roles) {
            self.levels_agree();
            return self.write_levels(&state, &self.room.levels.now.clone());
        }
        match self.names.uri(&sender) {
            Some(by) => {
                // The first is what a commit in flight is about.
                let mut fixed = matches!(self.room.in_flight, Some(InFlight::Commit { .. }));
                self.room
                    .queue
                    .retain(|intent| std::mem::take(&mut fixed) || !matches!(intent, Intent::Appoint { .. }));
                self.room.queue.push_back(Intent::Appoint { by, levels: changed });
            }
            None => {
                if let Some(told) = self.put_levels_back(sender.as_str(), "it is no user of this server's") {
                    self.notice(&told);
                }
            }
        }
    }

    fn held(&self, state: &RoomState, powers: &Powers) -> Vec<i64> {
        state.participants.iter().filter_map(|(user, _)| Some(powers.level(&self.id(user)?))).collect()
    }

    fn who_makes_roles(&self) -> &'static str {
        if self.is_hub() {
            "what each role may do was said when the room was made"
        } else {
            "the host of the room decides what each role may do"
        }
    }

    /// As hub: whether the roles that these levels mean are others than the room's.
    fn defines_anew(&self, state: &RoomState, powers: &Powers) -> bool {
        self.makes_roles() && powers.roles(&state.roles, self.held(state, powers)) != state.roles
    }

    /// Where roles are given: whether these levels let people do other things than the roles do, and those before did not.
    fn bends_rules(&self, state: &RoomState, powers: &Powers) -> bool {
        let differ = |powers: &Powers| powers.write_thresholds(&state.roles, NOBODY, &mut serde_json::Map::new());
        !self.makes_roles() && differ(powers) && !differ(&self.powers(&self.room.levels.agreed))
    }

    /// The levels that a user set become the room's roles.
    pub(super) fn appoint(&mut self, by: &UserUri, levels: &[(UserUri, i64)]) -> Result<Turn, GroupError> {
        let state = self.group.state()?;
        let powers = self.powers(&self.room.levels.now);
        // Somebody of a large room who was not heard of before.
        if state.role_of(by).is_none()
            && self.room.present.contains(by)
            && let Some(first) = self.leaf_first(by)?
        {
            return Ok(first);
        }
        let defines = state.can(by, Capability::ChangeRoleDefinitions);
        // Levels that have no role yet can do without: they count as the next lower one then.
        if !defines && self.makes_roles() && powers.roles(&state.roles, []) != state.roles {
            return Err(GroupError::Refused("their role in the MIMI room does not allow that".to_owned()));
        }
        if defines && self.defines_anew(&state, &powers) {
            let roles = powers.roles(&state.roles, self.held(&state, &powers));
            if let Some(first) = self.leaf_first(by)? {
                return Ok(first);
            }
            let update = roles.encode().map_err(|error| GroupError::Invalid(error.to_string()))?;
            return self.commit(
                by,
                &GroupChange { app_data: vec![(component::ROLES_LIST, update)], ..GroupChange::default() },
            );
        }
        let changes = appointed(&state, &powers, levels);
        if changes.is_empty() {
            self.levels_agree();
            // Of others, levels may be to be written since before.
            self.write_levels(&state, &self.room.levels.now.clone());
            return Ok(Turn::Done);
        }
        let may = |who: &UserUri, changes: &[(UserUri, u32)]| {
            let role = state.role_of(who).and_then(|index| state.roles.get(index));
            role.is_some_and(|role| {
                role.can(Capability::ChangeUserRole)
                    && changes.iter().all(|(user, to)| {
                        user != who && state.role_of(user).is_some_and(|from| role.may_change(from, *to))
                    })
            })
        };
        // Nobody changes their own role: another one of ours does it for them, and that alone. It is the last of what they do.
        let (own, of_others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(user, _)| user == by);
        let (by, changes) = if of_others.is_empty() {
            let mut others = self.group.local_users().into_iter();
            let Some(other) = others.find(|user| may(user, &own) && !self.is_leaving(user)) else {
                let why = "nobody changes their own role, and nobody else of this server may";
                return Err(GroupError::Refused(why.to_owned()));
            };
            (other, own)
        } else if may(by, &of_others) {
            (by.clone(), of_others)
        } else {
            return Err(GroupError::Refused("their role in the MIMI room does not allow that".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let app_data = self.list_change(|state| policy::update_roles(state, &changes))?;
        self.commit(&by, &GroupChange { app_data, ..GroupChange::default() })
    }

    /// As follower, when a commit of our own counts: what it was for is done, whatever comes after it.
    pub(super) fn done_appointing(&mut self) {
        let Some(Intent::Appoint { levels, .. }) = self.room.queue.front() else { return };
        let Some(state) = self.state() else { return };
        if appointed(&state, &self.powers(&self.room.levels.now), levels).is_empty() {
            self.levels_agree();
            self.room.queue.pop_front();
        }
    }

    /// The MIMI room does not take the levels that somebody set. What people are told.
    pub(super) fn put_levels_back(&mut self, who: &str, why: &str) -> Option<String> {
        match self.is_worth_undoing(Setting::Powers) {
            Worth::Undoing => {}
            Worth::Nothing => return None,
            Worth::Telling => {
                return Some(format!(
                    "Who may do what in this room is changed again and again, and the MIMI room does not take it ({why}). I do \
                     not put it back any more: the two differ now."
                ));
            }
        }
        let state = self.state()?;
        let levels = &self.room.levels;
        let base = if levels.agreed.is_empty() { &levels.now } else { &levels.agreed };
        self.write_levels(&state, &base.clone());
        Some(format!(
            "{who} changed who may do what in this room. The MIMI room keeps its own rules, and they are put back here: {why}."
        ))
    }

    /// Has the Matrix room say `base`, with the levels of those whose role is another one.
    fn write_levels(&mut self, state: &RoomState, base: &str) {
        let (Some(room), Ok(mut content)) = (self.room.matrix.clone(), serde_json::from_str::<Value>(base)) else {
            return;
        };
        let powers = self.powers(base);
        let Some(fields) = content.as_object_mut() else { return };
        if !self.makes_roles() {
            powers.write_thresholds(&state.roles, NOBODY, fields);
        }
        let users = fields.entry("users").or_insert_with(|| json!({}));
        for (user, index) in state.participants.iter().filter(|(_, index)| !state.is_banned_role(*index)) {
            let (Some(id), Some(users)) = (self.id(user), users.as_object_mut()) else { continue };
            let level = state.roles.get(*index).and_then(|role| powers.level_of(role));
            let Some(level) = level.filter(|level| *level != ABOVE_ALL) else { continue };
            // The levels of a hosted room are its people's own: who comes back keeps theirs, although nobody could give them
            // the role again.
            let before = self.room.levels.carried.get(user).copied().unwrap_or(role::MEMBER);
            if self.makes_roles() && before == *index {
                continue;
            }
            let here = powers.level(&id);
            if powers.creators().contains(&id) || here == level || powers.role(&state.roles, here) == *index {
                continue;
            }
            if level == powers.users_default() {
                users.remove(&id);
            } else {
                users.insert(id, json!(level));
            }
        }
        let apart = |index: u32| index != role::MEMBER && !state.is_banned_role(index);
        let carried = state.participants.iter().filter(|(_, index)| apart(*index)).cloned().collect();
        let text = content.to_string();
        if text == self.room.levels.now {
            self.room.levels.carried = carried;
            return;
        }
        let levels = &mut self.room.levels;
        let write = hash(format!("{}\n{text}", levels.now).as_bytes());
        if levels.refused == Some(write) {
            // It would be refused again. Once somebody changes the levels, what stands there is another text.
            return;
        }
        let before = Before {
            now: levels.now.clone(),
            agreed: levels.agreed.clone(),
            carried: std::mem::replace(&mut levels.carried, carried),
            write,
        };
        levels.before.get_or_insert(Box::new(before));
        self.room.levels.now.clone_from(&text);
        self.room.levels.agreed.clone_from(&text);
        if !self.defines_anew(state, &self.powers(&text)) {
            self.agrees(Setting::Powers);
        }
        self.wrote(Setting::Powers);
        self.out.push(Effect::Matrix(MatrixAction::SetState {
            room,
            actor: self.room.speaker.clone(),
            event_type: Setting::Powers.event_type().to_owned(),
            state_key: String::new(),
            content: text,
            optional: false,
        }));
    }

    /// The homeserver does not take what was to be written: what stood there before still does, and what was to be carried to
    /// it is still to be carried, once somebody changes the levels.
    pub(super) fn on_levels_refused(&mut self) {
        let levels = &mut self.room.levels;
        let Some(before) = levels.before.take() else { return };
        let Before { now, agreed, carried, write } = *before;
        (levels.now, levels.agreed, levels.carried, levels.refused) = (now, agreed, carried, Some(write));
        // Perhaps another write of the same time was taken.
        self.look(Setting::Powers);
    }

    /// Somebody took the bot out of the room: a ghost that is still there says what that means.
    pub(super) fn on_bot_removed(&mut self, by: &str) {
        self.report(format!("{by} removed the bot from the Matrix room"));
        self.room.levels.bot_gone = true;
        let Some(ghost) = self.room.ghosts.iter().next().cloned().filter(|_| self.room.speaker == Actor::Bot) else {
            return;
        };
        let text = format!(
            "{by} removed the bot {bot} from this room. It is still connected, but nobody carries out here any more what MIMI \
             users and their moderators change: names, members, roles. Invite the bot again, and give it power level 100, or end \
             the connection by `!mimi unbridge` before you remove it.",
            bot = self.names.bot()
        );
        self.notice_of(&Actor::Ghost(ghost), &text);
    }

    /// As hub: whether the level of somebody's role is enough for events of this type. The level of their ghost may come a moment
    /// after the role.
    pub(super) fn level_allows(&self, user: &UserUri, event_type: &str) -> bool {
        if !self.makes_roles() || self.room.direct || self.room.levels.now.is_empty() {
            return true;
        }
        let Some(state) = self.state() else { return true };
        let powers = self.powers(&self.room.levels.now);
        let role = state.role_of(user).and_then(|index| state.roles.get(index));
        role.and_then(|role| powers.level_of(role)).is_none_or(|level| powers.may_send(level, event_type))
    }

    /// What the bot cannot do in the Matrix room, as far as its levels are known.
    pub(super) fn lacks(&self) -> Vec<&'static str> {
        if self.room.levels.now.is_empty() {
            return Vec::new();
        }
        self.powers(&self.room.levels.now).missing(self.names.bot().as_str())
    }

    /// Tells people once when the bot lacks the power for what roles promise, and when it has it again.
    fn check_strength(&mut self, powers: &Powers) {
        let missing = powers.missing(self.names.bot().as_str());
        let weak = !missing.is_empty();
        if std::mem::replace(&mut self.room.levels.weak, weak) == weak {
            return;
        }
        let text = if weak {
            format!(
                "I lack the power to {} here. What MIMI users and their moderators do can then not be carried out in this room. \
                 Give me power level 100.",
                missing.join(", ")
            )
        } else {
            self.room.levels.try_again();
            self.catch_up();
            "I have the power again that I need here.".to_owned()
        };
        self.report(text.clone());
        self.notice(&text);
    }

    /// As hub: the level and the role of somebody who takes over from `user`, if their level lets them remove others.
    pub(super) fn role_of_heir(&self, state: &RoomState, user: &UserUri, heir: &UserUri) -> Option<(i64, u32)> {
        if self.room.levels.now.is_empty() {
            return None;
        }
        let powers = self.powers(&self.room.levels.now);
        let level = powers.level(&self.id(heir)?);
        let to = powers.role(&state.roles, level);
        let from = state.role_of(heir).unwrap_or(role::NONE);
        let gives = state.role_of(user).and_then(|index| state.roles.get(index))?.may_change(from, to);
        (gives && state.roles.get(to)?.can(Capability::RemoveParticipant)).then_some((level, to))
    }

    /// The role in which somebody without power takes over from `user`: one that may remove others.
    pub(super) fn role_for_heir(state: &RoomState, user: &UserUri, heir: &UserUri) -> Option<u32> {
        let removes = |role: &&policy::Role| role.can(Capability::RemoveParticipant);
        if state.roles.get(role::MODERATOR).as_ref().is_some_and(removes) {
            return Some(role::MODERATOR);
        }
        let from = state.role_of(heir).unwrap_or(role::NONE);
        let giver = state.role_of(user).and_then(|index| state.roles.get(index))?;
        state.roles.0.iter().filter(removes).map(|role| role.index).find(|to| giver.may_change(from, *to))
    }

    /// Whether one of ours may have the Matrix room replaced for everybody, as far as that is not the homeserver's to say: who
    /// may end the room for the others, as hub. `by` may be somebody of a large room who is not listed.
    pub(super) fn may_replace(&self, by: &UserUri) -> bool {
        if self.room.direct || !self.is_hub() || self.may_unbridge(by) {
            return true;
        }
        let Some(state) = self.state().filter(|state| state.role_of(by).is_none()) else { return false };
        self.may_by_level(&state, by, Capability::RemoveParticipant)
    }

    /// Whether one of ours may let others in: by their role, or in a large room, where they are not listed, by the role that
    /// is that of their level.
    pub(super) fn may_let_in(&self, by: &UserUri) -> bool {
        let Some(state) = self.state() else { return true };
        match state.role_of(by) {
            Some(_) => state.can(by, Capability::AddParticipant),
            None => self.may_by_level(&state, by, Capability::AddParticipant),
        }
    }

    fn may_by_level(&self, state: &RoomState, by: &UserUri, what: Capability) -> bool {
        let (Some(id), powers) = (self.id(by), self.powers(&self.room.levels.now)) else { return false };
        let role = state.roles.get(powers.role(&state.roles, powers.level(&id)));
        self.room.present.contains(by) && role.is_some_and(|role| role.can(what))
    }

    /// As hub: the roles of people's levels, if levels are known. Reading these is long work in a large room.
    pub(super) fn roles_of_levels(&self, state: &RoomState) -> impl Fn(&UserUri) -> Option<u32> {
        let known = self.is_hub() && !self.room.direct && !self.room.levels.now.is_empty();
        let powers = known.then(|| self.powers(&self.room.levels.now));
        move |user| {
            let powers = powers.as_ref()?;
            Some(powers.role(&state.roles, powers.level(&self.id(user)?)))
        }
    }

    /// The same of one.
    pub(super) fn role_of_level(&self, state: &RoomState, user: &UserUri) -> Option<u32> {
        self.roles_of_levels(state)(user)
    }

    /// The role that somebody gets whom `by` puts on the list: as hub that of their level, if `by` may give it, else that of an
    /// ordinary participant, or the first that `by` may give.
    pub(super) fn role_of_newcomer(&self, state: &RoomState, by: &UserUri, user: &UserUri) -> u32 {
        let of_level = self.role_of_level(state, user);
        let wanted = of_level.into_iter().chain([role::MEMBER]).find(|to| may_give(state, by, *to));
        // Where each has their own people to bring, the first of those roles.
        let given = || state.roles.0.iter().map(|role| role.index).filter(|to| *to > role::BANNED);
        wanted.or_else(|| given().find(|to| may_give(state, by, *to))).unwrap_or(role::MEMBER)
    }
}

/// Whether somebody may put others on the list with this role.
pub(super) fn may_give(state: &RoomState, by: &UserUri, to: u32) -> bool {
    let adder = state.role_of(by).and_then(|index| state.roles.get(index));
    adder.is_some_and(|adder| adder.may_change(role::NONE, to))
}

/// Who has to be brought to which role, so that it is that of their level.
fn appointed(state: &RoomState, powers: &Powers, levels: &[(UserUri, i64)]) -> Vec<(UserUri, u32)> {
    let wanted = levels.iter().map(|(user, level)| (user.clone(), powers.role(&state.roles, *level)));
    wanted
        .filter(|(user, to)| state.role_of(user).is_some_and(|now| now != *to && !state.is_banned_role(now)))
        .collect()
}
