//! Name, topic and picture, which the Matrix room and the MIMI room both have (draft-ietf-mimi-protocol-06 section 7.6, the component
//! `room_metadata`): the homeserver decides what stands in the one, the hub what stands in the other.
//!
//! ```text
//!  state event of a user --> look at what stands there now --> Intent::Describe --> commit --.
//!                                                                    '--> refused: told --.  |
//!  commit of anybody --------> does Matrix say the same? no: write it  <-----------------'---'
//! ```
//! Nothing is merged. A look is a row in the room's lane, behind everything that we wrote before: so what it finds is ours, or
//! a change that somebody made after that. What was written since the look was asked for makes it worth nothing, and another
//! one follows. A picture is carried as a file on its way ([`super::avatar`]).

use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    effect::{Actor, Effect, MatrixAction, Millis, StateNow},
    group::{GroupChange, GroupError},
    pump::Turn,
    state::{InFlight, Intent, Phase},
    step::Step,
};
use crate::{
    ident::UserUri,
    policy::{self, Capability, RoomMetadata, RoomState, component, role},
};

/// Changes of one setting that are undone within an hour, at most: another program that insists is let be.
const MAX_UNDONE: u32 = 3;
const HOUR: Millis = 60 * 60 * 1000;

/// What both rooms say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Setting {
    /// `m.room.name`, and `room_name`.
    Name,
    /// `m.room.topic`, and `room_subject`.
    Topic,
    /// `m.room.power_levels`, and roles.
    Powers,
    /// `m.room.server_acl`, and who is banned.
    Access,
    /// `m.room.avatar`, and `room_avatar`.
    Avatar,
    /// `m.room.join_rules`, and `parent_dependent`.
    Joins,
}

impl Setting {
    pub(super) const ALL: [Self; 6] = [Self::Name, Self::Topic, Self::Powers, Self::Access, Self::Avatar, Self::Joins];
    /// Those that the room's metadata have.
    const METADATA: [Self; 3] = [Self::Name, Self::Topic, Self::Avatar];
    /// Those that are a text.
    const TEXTS: [Self; 2] = [Self::Name, Self::Topic];

    /// Which one a state event without state key is about.
    #[must_use]
    pub fn of(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.event_type() == event_type)
    }

    /// The type of its state event.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Name => "m.room.name",
            Self::Topic => "m.room.topic",
            Self::Powers => "m.room.power_levels",
            Self::Access => "m.room.server_acl",
            Self::Avatar => "m.room.avatar",
            Self::Joins => "m.room.join_rules",
        }
    }

    /// How people call it; of a text, also its field in the event's content.
    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Topic => "topic",
            Self::Powers => "power levels",
            Self::Access => "server access list",
            Self::Avatar => "picture",
            Self::Joins => "join rule",
        }
    }

    fn capability(self) -> Capability {
        match self {
            Self::Name => Capability::ChangeRoomName,
            Self::Topic => Capability::ChangeRoomSubject,
            Self::Powers => Capability::ChangeUserRole,
            Self::Access => Capability::Ban,
            Self::Avatar => Capability::ChangeRoomAvatar,
            Self::Joins => Capability::ChangeRoomMembershipStyle,
        }
    }

    fn in_mimi(self, state: &RoomState) -> &str {
        match self {
            Self::Name => &state.metadata.name,
            Self::Topic => &state.metadata.subject,
            Self::Avatar => &state.metadata.avatar,
            Self::Powers | Self::Access | Self::Joins => "",
        }
    }

    fn update(self, state: &RoomState, text: &str) -> Result<Vec<u8>, GroupError> {
        let update = match self {
            Self::Name => policy::update_metadata(state, Some(text), None),
            Self::Topic => policy::update_metadata(state, None, Some(text)),
            Self::Powers | Self::Access | Self::Joins => policy::update_metadata(state, None, None),
            Self::Avatar => policy::update_avatar(state, text),
        };
        update.map_err(|error| GroupError::Invalid(error.to_string()))
    }
}

/// What the Matrix room says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The text that stands there, or will once all is done that was asked of the homeserver.
    pub text: String,
    /// The state event that was looked at last.
    pub(super) event: String,
    /// How often we wrote it.
    written: u32,
    /// A look is under way; true if another one has to follow.
    looking: Option<bool>,
    /// How often somebody's change was undone lately.
    patience: Patience,
    /// The homeserver did not take what we wrote last.
    #[serde(default)]
    unwritten: bool,
    /// What stands here is left as it is although MIMI says the other.
    left: Option<(String, String)>,
    /// The same of what is no text.
    #[serde(default)]
    differs: bool,
    /// Of the picture: assets of ours that were made for it, and are not deleted yet.
    pub(super) published: Vec<String>,
}

/// What follows from a change that the MIMI room did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    Undoing,
    /// That it is not undone any more.
    Telling,
    Nothing,
}

/// How often something was undone, since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Patience {
    undone: u32,
    since: Millis,
}

impl Patience {
    /// Whether the hour in which it was counted is over.
    pub(super) fn is_over(&self, now: Millis) -> bool {
        now.saturating_sub(self.since) > HOUR
    }

    /// Whether that many were undone.
    pub(super) fn is_spent(&self, most: u32, now: Millis) -> bool {
        self.undone >= most && !self.is_over(now)
    }

    /// Counts one more.
    pub(super) fn is_worth(&mut self, most: u32, now: Millis) -> Worth {
        if self.is_over(now) {
            *self = Self { undone: 0, since: now };
        }
        self.undone = self.undone.saturating_add(1);
        match self.undone.checked_sub(most) {
            None | Some(0) => Worth::Undoing,
            Some(1) => Worth::Telling,
            Some(_) => Worth::Nothing,
        }
    }

    pub(super) fn is_worth_as_a_setting(&mut self, now: Millis) -> Worth {
        self.is_worth(MAX_UNDONE, now)
    }
}

impl Step<'_> {
    /// Whether one more change of this is undone.
    pub(super) fn is_worth_undoing(&mut self, setting: Setting) -> Worth {
        let now = self.now;
        let shown = self.room.settings.entry(setting).or_default();
        let worth = shown.patience.is_worth_as_a_setting(now);
        shown.differs = worth != Worth::Undoing;
        worth
    }

    /// Both sides say the same of it again.
    pub(super) fn agrees(&mut self, setting: Setting) {
        if let Some(shown) = self.room.settings.get_mut(&setting) {
            shown.differs = false;
        }
    }

    /// Somebody of this room wants something else by now: it is begun anew.
    pub(super) fn forget_undone(&mut self, setting: Setting) {
        let shown = self.room.settings.entry(setting).or_default();
        (shown.patience, shown.differs) = (Patience::default(), false);
    }

    /// What is looked at now is from before this.
    pub(super) fn wrote(&mut self, setting: Setting) {
        let shown = self.room.settings.entry(setting).or_default();
        shown.written = shown.written.wrapping_add(1);
    }

    /// Somebody changed a setting of the Matrix room.
    pub(super) fn on_setting(&mut self, setting: Setting) {
        if self.follows_settings(setting) {
            self.look(setting);
        }
    }

    /// A text that somebody sets after we left has to be known, too: it stands there when we are asked in again.
    /// Of a room that was replaced nothing counts until it is known where it goes on ([`super::upgrade`]).
    fn follows_settings(&self, setting: Setting) -> bool {
        if self.room.moving.is_some() {
            return false;
        }
        match self.room.phase {
            Phase::Invited | Phase::Joining | Phase::Active => !self.room.unbridging,
            Phase::Left => !self.room.unbridging && Setting::TEXTS.contains(&setting),
            Phase::Broken(_) => false,
        }
    }

    /// Whether the homeserver is being asked what stands there.
    pub(super) fn is_looked_at(&self, setting: Setting) -> bool {
        self.room.settings.get(&setting).is_some_and(|shown| shown.looking.is_some())
    }

    /// Asks the homeserver what stands there now.
    pub(super) fn look(&mut self, setting: Setting) {
        let Some(room) = self.room.matrix.clone() else { return };
        let shown = self.room.settings.entry(setting).or_default();
        if shown.looking.is_some() {
            shown.looking = Some(true);
            return;
        }
        shown.looking = Some(false);
        let (reader, written) = (self.room.speaker.clone(), shown.written);
        self.out.push(Effect::Look { room, reader, setting, written });
    }

    /// What stands there.
    pub(super) fn on_looked(&mut self, setting: Setting, written: u32, found: Result<Option<StateNow>, String>) {
        let follows = self.follows_settings(setting);
        let Some(shown) = self.room.settings.get_mut(&setting) else { return };
        let again = shown.looking.take().unwrap_or_default();
        if !follows {
            return;
        }
        if again || shown.written != written {
            return self.look(setting);
        }
        let now = match found {
            Ok(now) if setting == Setting::Access => return self.on_access(now.as_ref()),
            Ok(now) if matches!(setting, Setting::Joins | Setting::Powers) => {
                let event = now.as_ref().map(|now| now.event.to_string()).unwrap_or_default();
                let news = std::mem::replace(&mut shown.event, event.clone()) != event;
                return match setting {
                    Setting::Joins => self.on_joins(now.as_ref(), news),
                    _ => self.on_levels(now, news),
                };
            }
            Ok(now) => now,
            Err(why) => {
                if setting == Setting::Joins {
                    self.is_not_public();
                }
                return self.report(format!("the {} of the Matrix room cannot be read: {why}", setting.word()));
            }
        };
        let unwritten = std::mem::take(&mut shown.unwritten);
        let event = now.as_ref().map(|now| now.event.as_str()).unwrap_or_default();
        if shown.event == event && unwritten {
            // Nobody changed it since: what MIMI says is written at the end of the step.
            let text = now.as_ref().and_then(|now| now.content.get(setting.word()).and_then(Value::as_str));
            shown.text = match setting {
                Setting::Avatar if shown.text.is_empty() => "?".to_owned(),
                Setting::Avatar => String::new(),
                _ => RoomMetadata::fit(text.unwrap_or_default()),
            };
        }
        let Some(now) = now.filter(|now| shown.event != now.event.as_str()) else { return };
        shown.event = now.event.to_string();
        if setting == Setting::Avatar {
            return self.on_picture(&now);
        }
        let text = now.content.get(setting.word()).and_then(Value::as_str).unwrap_or_default();
        shown.text = RoomMetadata::fit(text);
        let text = shown.text.clone();
        // Before we are in, nobody has a say in it.
        if self.room.phase != Phase::Active
            || self.is_our_own(&now.sender)
            || self.described(setting).is_none_or(|mimi| mimi == text)
        {
            return;
        }
        match self.names.uri(&now.sender) {
            Some(by) => self.want_described(Intent::Describe { by, setting, text }),
            None => {
                if let Some(told) = self.undo(setting, now.sender.as_str(), "it is no user of this server's") {
                    self.notice(&told);
                }
            }
        }
    }

    pub(super) fn is_our_own(&self, sender: &OwnedUserId) -> bool {
        self.names.is_bot(sender) || self.names.ghost_uri(sender).is_some()
    }

    /// What the MIMI room says.
    pub(super) fn described(&self, setting: Setting) -> Option<String> {
        self.state().map(|state| setting.in_mimi(&state).to_owned())
    }

    /// Of several changes of one setting that wait, only the last one counts.
    pub(super) fn want_described(&mut self, intent: Intent) {
        let Intent::Describe { setting: wanted, .. } = intent else { return };
        // The first is what a commit in flight is about.
        let fixed = usize::from(matches!(self.room.in_flight, Some(InFlight::Commit { .. })));
        let mut place = 0;
        self.room.queue.retain(|waiting| {
            place += 1;
            place <= fixed || !matches!(waiting, Intent::Describe { setting, .. } if *setting == wanted)
        });
        self.room.queue.push_back(intent);
    }

    /// Who of ours commits a change that `by` made: `by`, unless they left the room since.
    pub(super) fn who_describes(&self, by: &UserUri, setting: Setting) -> Option<UserUri> {
        let state = self.state()?;
        let may = |user: &UserUri| {
            // Somebody of a large room who was not heard of before gets the role of their level.
            let of_level = || self.role_of_level(&state, user);
            let index = state.role_of(user).or_else(of_level).unwrap_or(role::MEMBER);
            state.roles.get(index).is_some_and(|role| role.can(setting.capability()))
        };
        if self.room.present.contains(by) {
            return may(by).then(|| by.clone());
        }
        self.group.local_users().into_iter().find(|user| may(user) && !self.is_leaving(user))
    }

    pub(super) fn describe(&mut self, by: &UserUri, setting: Setting, text: &str) -> Result<Turn, GroupError> {
        let state = self.group.state()?;
        if setting.in_mimi(&state) == text {
            return Ok(Turn::Done);
        }
        let Some(by) = self.who_describes(by, setting) else {
            return Err(GroupError::Refused("their role in the MIMI room does not allow that".to_owned()));
        };
        if let Some(first) = self.leaf_first(&by)? {
            return Ok(first);
        }
        let app_data = vec![(component::ROOM_METADATA, setting.update(&state, text)?)];
        self.commit(&by, &GroupChange { app_data, ..GroupChange::default() })
    }

    /// As follower, when a commit of our own counts: the change that it was for is done, whatever comes after it.
    pub(super) fn done_describing(&mut self) {
        let Some(Intent::Describe { setting, text, .. }) = self.room.queue.front() else { return };
        if self.described(*setting).as_ref() == Some(text) {
            self.room.queue.pop_front();
        }
    }

    /// A change did not reach the MIMI room: what people are told, if there is something new to tell. It is written back with
    /// the end of the step, unless somebody makes it again and again.
    pub(super) fn undo(&mut self, setting: Setting, who: &str, why: &str) -> Option<String> {
        let mimi = self.described(setting)?;
        let now = self.now;
        let shown = self.room.settings.entry(setting).or_default();
        if shown.text == mimi {
            return None;
        }
        let word = setting.word();
        if shown.patience.is_worth_as_a_setting(now) == Worth::Undoing {
            return Some(format!(
                "{who} changed the {word} of this room. The MIMI room keeps its own, and it is put back here: {why}."
            ));
        }
        let told = shown.left.replace((shown.text.clone(), mimi)).is_some();
        (!told).then(|| {
            format!(
                "The {word} of this room is changed again and again, and the MIMI room does not take it ({why}). I do not put \
                 it back any more: the two differ now."
            )
        })
    }

    /// Whether the Matrix room does not say what we wrote last.
    pub(super) fn is_unwritten(&self, setting: Setting) -> bool {
        self.room.settings.get(&setting).is_some_and(|shown| shown.unwritten)
    }

    /// The homeserver does not let us write it.
    pub(super) fn on_not_set(&mut self, setting: Setting, why: &str) {
        let word = setting.word();
        let text = if setting == Setting::Powers {
            self.on_levels_refused();
            format!("Roles in the MIMI room changed, and I could not change the power levels here: {why}.")
        } else {
            self.room.settings.entry(setting).or_default().unwritten = true;
            format!("The {word} of the MIMI room changed, and I could not change it here: {why}.")
        };
        self.report(text.clone());
        self.notice(&text);
    }

    /// Has the Matrix room say what the MIMI room says.
    pub(super) fn show_settings(&mut self) {
        if self.room.phase != Phase::Active || self.room.unbridging || self.room.rejoin.is_some() || !self.can_speak() {
            return;
        }
        let (Some(room), Some(state)) = (self.room.matrix.clone(), self.state()) else { return };
        for setting in Setting::METADATA {
            let mimi = setting.in_mimi(&state);
            let waits =
                |intent: &Intent| matches!(intent, Intent::Describe { setting: other, .. } if *other == setting);
            if self.room.queue.iter().any(waits) {
                continue;
            }
            let shown = self.room.settings.entry(setting).or_default();
            if shown.text == mimi {
                shown.left = None;
                continue;
            }
            if shown.left.as_ref().is_some_and(|(here, there)| *here == shown.text && *there == mimi) {
                continue;
            }
            mimi.clone_into(&mut shown.text);
            shown.written = shown.written.wrapping_add(1);
            shown.left = None;
            if setting == Setting::Avatar && !mimi.is_empty() {
                let (actor, url) = (self.room.speaker.clone(), mimi.to_owned());
                self.out.push(Effect::Wear { room: room.clone(), actor, url });
                continue;
            }
            let content = if setting == Setting::Avatar { json!({}) } else { json!({ setting.word(): mimi }) };
            self.out.push(Effect::Matrix(MatrixAction::SetState {
                room: room.clone(),
                actor: self.room.speaker.clone(),
                event_type: setting.event_type().to_owned(),
                state_key: String::new(),
                content: content.to_string(),
                // A ghost in somebody's own room may lack the power.
                optional: matches!(self.room.speaker, Actor::Ghost(_)),
            }));
            if setting == Setting::Name && self.room.greeted && !self.room.direct {
                let (event_type, state_key, content) = self.bridge_state(mimi);
                self.set_state_if_allowed(event_type, state_key, content);
            }
        }
    }
}

impl super::state::Room {
    /// In what the Matrix room is left as it is although the MIMI room says something else.
    #[must_use]
    pub fn differs_in(&self) -> Vec<&'static str> {
        let differ = self.settings.iter().filter(|(_, shown)| shown.left.is_some() || shown.differs);
        let members = self.contested.differs().then_some("members");
        differ.map(|(setting, _)| setting.word()).chain(members).collect()
    }

    /// What a Matrix room says when we begin with it.
    pub fn is_called(&mut self, name: &str, topic: &str) {
        for shown in self.settings.values_mut() {
            // What was asked of the Matrix room before this one is worth nothing.
            let (written, published) = (shown.written.wrapping_add(1), std::mem::take(&mut shown.published));
            *shown = Shown { written, published, ..Shown::default() };
        }
        for (setting, text) in [(Setting::Name, name), (Setting::Topic, topic)] {
            self.settings.entry(setting).or_default().text = RoomMetadata::fit(text);
        }
    }
}
