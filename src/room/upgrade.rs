//! Room upgrades: a Matrix room is replaced by another one (`m.room.tombstone`), and the MIMI room stays the same.
//!
//! ```text
//!  tombstone of a user of ours --> the speaker goes into the new room: in? --no--> people are told to invite it
//!                                     | yes                                         (an invitation, or time, looks again)
//!                                     '--> does its m.room.create name the old room, by the same user?
//!                                             yes: link, ghosts, settings; our users are invited      no: told, stays
//! ```
//! Until then the old room stays connected, and what its homeserver refuses by now waits ([`crate::engine`]). Its settings are
//! not looked at meanwhile: homeservers take the power to speak from everybody in a room that was replaced.

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    effect::{Actor, Effect, MatrixAction, Millis, StateNow},
    settings::Setting,
    state::{Intent, Phase},
    step::Step,
};
use crate::{ident::UserUri, translate::RoomEvent};

/// The state event that ends a Matrix room.
pub const TOMBSTONE: &str = "m.room.tombstone";

/// A Matrix room that was replaced, while its successor is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moving {
    /// The successor.
    pub to: OwnedRoomId,
    /// Who replaced it.
    pub by: OwnedUserId,
    /// When, by the homeserver's clock.
    pub at: Millis,
    /// People were told that the gateway has to be invited.
    pub told: bool,
    /// Our users who left the old room since: they are on their way, too.
    pub gone: BTreeSet<UserUri>,
}

/// What the successor of a Matrix room says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewHome {
    /// Why it cannot be, whatever it says: it is something else to the gateway already. For people.
    pub taken: Option<String>,
    /// Whoever of ours looked is there only for that.
    pub entered: bool,
    /// `m.room.create`.
    pub create: Option<StateNow>,
    /// Whether its messages are encrypted.
    pub encrypted: bool,
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: String,
    /// Its power levels, if there are any.
    pub powers: Option<Value>,
    /// Who of the homeserver's users is in it, as far as we see.
    pub joined: Vec<OwnedUserId>,
}

/// What the engine has to know of a room that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// It waits for its new home: what happens there waits, too.
    Awaits(OwnedRoomId, OwnedRoomId),
    /// It goes from the first to the second, where what was said since then counts.
    Moved(OwnedRoomId, OwnedRoomId, Millis),
    /// It stays where it was.
    Stays(OwnedRoomId, OwnedRoomId),
}

/// Who stands above all levels of a room, by what its first event says (room version 12 and later).
#[must_use]
pub fn creators(sender: &str, create: &Value) -> BTreeSet<String> {
    let version = create.get("room_version").and_then(Value::as_str).unwrap_or("1");
    let rules = ruma::RoomVersionId::try_from(version).ok().and_then(|version| version.rules());
    if !rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators) {
        return BTreeSet::new();
    }
    let more = create.get("additional_creators").and_then(Value::as_array);
    let more = more.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned));
    std::iter::once(sender.to_owned()).chain(more).collect()
}

/// Whether a room is a space, by the content of its first event: others stand in it, and nobody talks there.
#[must_use]
pub fn is_space(create: &Value) -> bool {
    create.get("type").and_then(Value::as_str) == Some("m.space")
}

impl NewHome {
    /// Why it is not the successor of `old` that `by` made, or none that can be mirrored. For people.
    fn is_none_of(&self, old: &OwnedRoomId, by: &OwnedUserId) -> Option<String> {
        if self.taken.is_some() {
            return self.taken.clone();
        }
        let Some(create) = &self.create else { return Some("it says nothing about itself".to_owned()) };
        let predecessor = create.content.pointer("/predecessor/room_id").and_then(Value::as_str);
        if predecessor != Some(old.as_str()) {
            return Some("it does not name this room as the one before it".to_owned());
        }
        if create.sender != *by {
            return Some(format!("it was made by {}, not by {by}", create.sender));
        }
        self.encrypted.then(|| "it is encrypted, and encrypted Matrix rooms cannot be mirrored yet".to_owned())
    }
}

impl Step<'_> {
    /// The Matrix room is replaced. That the homeserver took the event says that its sender may do that.
    pub(super) fn on_tombstone(&mut self, event: &RoomEvent) {
        let to = event.content.get("replacement_room").and_then(Value::as_str);
        let Some(to) = to.and_then(|room| OwnedRoomId::try_from(room).ok()) else { return };
        let here = self.room.matrix.as_ref() == Some(&event.room_id) && to != event.room_id;
        let Some(user) = self.names.uri(&event.sender).filter(|_| here && self.can_move()) else { return };
        let server = event.sender.server_name();
        let why = if server != self.names.bot().server_name() {
            Some(format!("{} is on another homeserver, {server}", event.sender))
        } else if self.may_replace(&user) {
            None
        } else {
            Some("only those who may remove participants can take the MIMI users along".to_owned())
        };
        if let Some(why) = why {
            return self.does_not_follow(&event.sender, &to, &why);
        }
        if let Some(before) = self.room.moving.take().filter(|moving| moving.to != to) {
            self.out.push(Effect::Move(Move::Stays(event.room_id.clone(), before.to)));
        }
        let gone = BTreeSet::new();
        let (by, at) = (event.sender.clone(), event.origin_server_ts);
        self.room.moving = Some(Moving { to: to.clone(), by, at, told: false, gone });
        // The room where it goes on says who may come into that one.
        self.room.public = false;
        self.out.push(Effect::Move(Move::Awaits(event.room_id.clone(), to)));
        self.look_for_home();
    }

    fn can_move(&self) -> bool {
        let connected = matches!(self.room.phase, Phase::Active | Phase::Invited | Phase::Joining);
        connected && !self.room.unbridging
    }

    /// Whether one of ours who leaves the old room is on the way to the new one.
    pub(super) fn moves_along(&mut self, user: &UserUri) -> bool {
        match &mut self.room.moving {
            Some(moving) if self.room.present.contains(user) => {
                moving.gone.insert(user.clone());
                true
            }
            _ => false,
        }
    }

    /// Asks what the successor says of itself; [`super::Input::NewHome`] follows.
    pub fn look_for_home(&mut self) {
        if let Some(moving) = &self.room.moving {
            self.out.push(Effect::LookForHome { to: moving.to.clone(), reader: self.room.speaker.clone() });
        }
    }

    /// What it says, or why nobody of ours is in it.
    pub(super) fn on_new_home(&mut self, to: &OwnedRoomId, found: Result<NewHome, String>) {
        let (Some(moving), Some(old)) = (self.room.moving.clone(), self.room.matrix.clone()) else { return };
        if moving.to != *to {
            return;
        }
        if !self.can_move() {
            return self.stays_home(&old, moving);
        }
        let home = match found {
            Ok(home) => home,
            Err(why) => return self.ask_to_be_invited(moving, &why),
        };
        if let Some(why) = home.is_none_of(&old, &moving.by) {
            self.does_not_follow(&moving.by, to, &why);
            // Whoever was there before is there for something else.
            if home.entered && home.taken.is_none() {
                let reason = Some(format!("this is not the room that I look for: {why}"));
                let actor = self.room.speaker.clone();
                self.out.push(Effect::Matrix(MatrixAction::Leave { room: to.clone(), actor, reason }));
            }
            return self.stays_home(&old, moving);
        }
        self.move_to(&old, &moving, &home);
    }

    fn does_not_follow(&mut self, by: &UserId, to: &RoomId, why: &str) {
        self.report(format!("the Matrix room was upgraded to {to}, which is not followed: {why}"));
        self.notice(&format!(
            "{by} replaced this room by {to}, and I do not follow: {why}. This room stays connected; “!mimi unbridge” \
             ends that."
        ));
    }

    /// The gateway cannot enter the successor: people are told once.
    fn ask_to_be_invited(&mut self, moving: Moving, why: &str) {
        if moving.told {
            return;
        }
        let who = match &self.room.speaker {
            Actor::Bot => self.names.bot().to_string(),
            Actor::Ghost(user) => self.names.matrix_id(user).map(String::from).unwrap_or_default(),
        };
        self.report(format!("the Matrix room was upgraded to {}, and {who} is not in it: {why}", moving.to));
        self.notice(&format!(
            "{by} replaced this room by {to}. Invite {who} there: then the MIMI users come along. Until then what they write \
             waits.",
            by = moving.by,
            to = moving.to,
        ));
        self.room.moving = Some(Moving { told: true, ..moving });
    }

    /// Who left the old room has left, and its settings count again.
    fn stays_home(&mut self, old: &OwnedRoomId, moving: Moving) {
        self.room.moving = None;
        self.out.push(Effect::Move(Move::Stays(old.clone(), moving.to)));
        for user in moving.gone {
            self.room.live.remove(&user);
            if self.room.present.remove(&user) && self.will_be_participant(&user) {
                self.want(Intent::Leave { user });
            }
        }
        // What was not looked at meanwhile.
        for setting in Setting::ALL {
            self.on_setting(setting);
        }
    }

    fn move_to(&mut self, old: &OwnedRoomId, moving: &Moving, home: &NewHome) {
        let (new, at) = (&moving.to, moving.at);
        self.notice(&format!("This room goes on in {new}, and the MIMI users with it."));
        self.clear_bridge_state();
        let reason = || Some("the room was upgraded".to_owned());
        let others = self.room.ghosts.clone().into_iter().map(Actor::Ghost).filter(|ghost| *ghost != self.room.speaker);
        let leavers: Vec<Actor> = others.chain([self.room.speaker.clone()]).collect();
        for actor in leavers {
            self.out.push(Effect::Matrix(MatrixAction::Leave { room: old.clone(), actor, reason: reason() }));
        }
        self.room.moving = None;
        self.room.undone.clear();
        self.room.matrix = Some(new.clone());
        self.room.former = Some((old.clone(), at));
        self.room.kin.was(old.clone());
        self.room.space = home.create.as_ref().is_some_and(|create| is_space(&create.content));
        self.out.push(Effect::Unlink(old.clone()));
        self.out.push(Effect::Link(new.clone()));
        self.out.push(Effect::Move(Move::Moved(old.clone(), new.clone(), at)));
        let speaker = match &self.room.speaker {
            Actor::Bot => None,
            Actor::Ghost(user) => Some(user.clone()),
        };
        self.room.ghosts.retain(|ghost| Some(ghost) == speaker.as_ref());
        self.room.contested = super::contested::Contested::default();
        self.room.is_called(&home.name, &home.topic);
        let above = home.create.as_ref().map(|create| creators(create.sender.as_str(), &create.content));
        self.room.has_levels(home.powers.as_ref(), above.unwrap_or_default());
        let joined: BTreeSet<UserUri> = home.joined.iter().filter_map(|user| self.names.uri(user)).collect();
        let missing: Vec<UserUri> = self.room.present.difference(&joined).cloned().collect();
        self.set_bridge_state();
        self.notice(&format!("This room goes on as {}.", self.room.uri));
        if missing.len() <= self.names.list_all_up_to() {
            for target in missing.iter().filter_map(|user| self.names.matrix_id(user)) {
                let (room, actor, is_direct) = (new.clone(), self.room.speaker.clone(), self.room.direct);
                self.out.push(Effect::Matrix(MatrixAction::Invite { room, actor, target, is_direct }));
            }
        }
        self.sync_members();
        for setting in Setting::ALL {
            self.on_setting(setting);
        }
        for user in joined {
            self.on_joined(user);
        }
        let text = format!("the Matrix room {old} was upgraded to {new}: the MIMI room goes on there");
        self.out.push(Effect::Note(text));
    }
}

/// Old rooms and new ones, as long as the engine needs them.
#[derive(Debug, Default)]
pub struct Moves {
    /// By old room: where it went; `None` while it waits.
    old: BTreeMap<String, Option<OwnedRoomId>>,
    /// By new room: the MIMI room that waits for it.
    new: BTreeMap<String, String>,
    /// Rooms that took another one's place: since when.
    since: BTreeMap<String, Millis>,
    /// New rooms that one of ours entered to look at them.
    entered: BTreeSet<String>,
}

impl Moves {
    /// Takes in what is stored of a room, or what a step did. `uri`: the MIMI room.
    pub fn note(&mut self, uri: &str, change: &Move) {
        match change {
            Move::Awaits(from, to) => {
                self.old.insert(from.to_string(), None);
                // Whoever waits for it first.
                self.new.entry(to.to_string()).or_insert_with(|| uri.to_owned());
            }
            Move::Moved(from, to, at) => {
                self.old.insert(from.to_string(), Some(to.clone()));
                self.since.insert(to.to_string(), *at);
                self.forget(uri, to);
            }
            Move::Stays(from, to) => {
                self.old.remove(from.as_str());
                self.forget(uri, to);
            }
        }
    }

    /// This MIMI room does not wait for that Matrix room any more.
    fn forget(&mut self, uri: &str, to: &RoomId) {
        if self.new.get(to.as_str()).is_some_and(|other| other == uri) {
            self.new.remove(to.as_str());
            self.entered.remove(to.as_str());
        }
    }

    /// One of ours goes into this room to look at it, or could not.
    pub fn enters(&mut self, new: &RoomId, is_there: bool) {
        if is_there {
            self.entered.insert(new.to_string());
        } else {
            self.entered.remove(new.as_str());
        }
    }

    /// Whether one of ours is in this room only to look at it.
    #[must_use]
    pub fn has_entered(&self, new: &RoomId) -> bool {
        self.entered.contains(new.as_str())
    }

    /// Takes in a room as it is stored.
    pub fn load(&mut self, room: &super::Room) {
        let Some(matrix) = &room.matrix else { return };
        let uri = room.uri.as_str();
        if let Some((former, at)) = &room.former {
            self.note(uri, &Move::Moved(former.clone(), matrix.clone(), *at));
        }
        if let Some(moving) = &room.moving {
            self.note(uri, &Move::Awaits(matrix.clone(), moving.to.clone()));
        }
    }

    /// The MIMI room that waits for this Matrix room.
    #[must_use]
    pub fn awaited_by(&self, new: &str) -> Option<String> {
        self.new.get(new).cloned()
    }

    /// Where this Matrix room went: `Some(None)` while that is not decided.
    #[must_use]
    pub fn from(&self, old: &str) -> Option<Option<OwnedRoomId>> {
        self.old.get(old).cloned()
    }

    /// Whether a Matrix room took another one's place.
    #[must_use]
    pub fn is_new(&self, room: &str) -> bool {
        self.since.contains_key(room)
    }

    /// Since when what was said in a Matrix room counts: 0 if it took no other one's place.
    #[must_use]
    pub fn since(&self, room: &str) -> Millis {
        self.since.get(room).copied().unwrap_or(0)
    }
}
