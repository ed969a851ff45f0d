//! What the engine asks of the silo: the port [`Homeserver`], over the silo's own chat. Acts may come again after an end of
//! the process; each is done once.

use mimi_gateway::{
    engine::ports::{
        Actor, CallError, Contacts, Homeserver, JoinedMember, MatrixAction, MatrixDone, Profile, Retry, StateNow,
        TimelinePage, UserReport,
    },
    ident::UserUri,
    policy::Preset,
    store::BoxFuture,
};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::{Value, json, value::RawValue};

use super::chat::{Change, Chat, Record, Refused, raw, text};

/// It will be refused each time.
fn refused(what: Refused) -> CallError {
    CallError { what, retry: Retry::Permanent, status: Some(403), errcode: Some("M_FORBIDDEN".to_owned()) }
}

fn id(room: &str) -> OwnedRoomId {
    OwnedRoomId::try_from(room).expect("a room id")
}

fn parsed(content: &str) -> Result<Value, Refused> {
    serde_json::from_str(content).map_err(|error| error.to_string())
}

impl Chat {
    fn act(&self, change: &mut Change<'_>, action: &MatrixAction) -> Result<MatrixDone, Refused> {
        match action {
            MatrixAction::Send { room, actor, event_type, content, ts, txn_id } => {
                let sender = self.user_id(actor).to_string();
                let key = (room.to_string(), sender.clone(), txn_id.clone());
                if let Some(event) = change.state.sent.get(&key) {
                    return Ok(MatrixDone::Event(event.clone()));
                }
                change.must_be_in(room.as_str(), &sender)?;
                let event = change.event(room.as_str(), &sender, event_type, None, parsed(content)?, *ts);
                change.record(Record::Sent(key.0, key.1, key.2, event.clone()));
                return Ok(MatrixDone::Event(event));
            }
            MatrixAction::SetState { room, actor, event_type, state_key, content, .. } => {
                let sender = self.user_id(actor).to_string();
                change.must_be_in(room.as_str(), &sender)?;
                let event = change.set(room.as_str(), &sender, event_type, state_key, parsed(content)?);
                return Ok(MatrixDone::Event(event));
            }
            MatrixAction::CreateRoom { alias_localpart, .. } => {
                if let Some(room) = change.state.aliases.get(alias_localpart) {
                    return Ok(MatrixDone::Room(id(room)));
                }
                return self.create(change, action);
            }
            MatrixAction::Join { room, actor } => {
                let user = self.user_id(actor).to_string();
                match change.state.member(room.as_str(), &user) {
                    "join" => {}
                    "invite" => change.member(room.as_str(), &user, &user, "join"),
                    "ban" => return Err(format!("{user} is banned from {room}")),
                    _ => {
                        change.must_be_in(room.as_str(), self.bot.as_str())?;
                        change.invite(room.as_str(), self.bot.as_str(), &user, false);
                        change.member(room.as_str(), &user, &user, "join");
                    }
                }
            }
            MatrixAction::Leave { room, actor, .. } => {
                let user = self.user_id(actor).to_string();
                Self::out(change, room, &user, &user, &["join", "invite"]);
            }
            MatrixAction::Decline { room, target, .. } => {
                Self::out(change, room, target.as_str(), target.as_str(), &["join", "invite"]);
            }
            MatrixAction::Unban { room, actor, target } => {
                Self::out(change, room, self.user_id(actor).as_str(), target.as_str(), &["ban"]);
            }
            MatrixAction::Kick { room, actor, target, .. } => {
                let sender = self.user_id(actor).to_string();
                change.must_be_in(room.as_str(), &sender)?;
                Self::out(change, room, &sender, target.as_str(), &["join", "invite"]);
            }
            MatrixAction::Ban { room, actor, target, .. } => {
                let sender = self.user_id(actor).to_string();
                change.must_be_in(room.as_str(), &sender)?;
                change.member(room.as_str(), &sender, target.as_str(), "ban");
            }
            MatrixAction::Invite { room, actor, target, is_direct } => {
                let sender = self.user_id(actor).to_string();
                change.must_be_in(room.as_str(), &sender)?;
                match change.state.member(room.as_str(), target.as_str()) {
                    "join" | "invite" => {}
                    "ban" => return Err(format!("{target} is banned from {room}")),
                    _ => change.invite(room.as_str(), &sender, target.as_str(), *is_direct),
                }
            }
            MatrixAction::RemoveAlias { alias_localpart } => {
                change.record(Record::Alias(alias_localpart.clone(), None));
            }
            MatrixAction::Name { room, actor, name } => {
                let user = self.user_id(actor).to_string();
                if change.state.member(room.as_str(), &user) == "join" {
                    let content = json!({ "membership": "join", "displayname": name });
                    change.set(room.as_str(), &user, "m.room.member", &user, content);
                }
            }
            // Its client shows nobody what others have read, or look like.
            MatrixAction::Receipt { .. } | MatrixAction::Portray { .. } => {}
        }
        Ok(MatrixDone::Done)
    }

    fn out(change: &mut Change<'_>, room: &RoomId, sender: &str, target: &str, from: &[&str]) {
        if from.contains(&change.state.member(room.as_str(), target)) {
            change.member(room.as_str(), sender, target, "leave");
        }
    }

    /// A room for a MIMI room that is hosted elsewhere.
    fn create(&self, change: &mut Change<'_>, action: &MatrixAction) -> Result<MatrixDone, Refused> {
        let MatrixAction::CreateRoom {
            creator,
            alias_localpart,
            name,
            topic,
            is_direct,
            members,
            invite,
            initial_state,
            ..
        } = action
        else {
            return Err("not a new room".to_owned());
        };
        let creator = self.user_id(creator).to_string();
        let room = change.room(&creator);
        change.record(Record::Alias(alias_localpart.clone(), Some(room.clone())));
        for (event_type, key, content) in initial_state {
            change.set(&room, &creator, event_type, key, parsed(content)?);
        }
        for (event_type, field, value) in [("m.room.name", "name", name), ("m.room.topic", "topic", topic)] {
            if let Some(value) = value {
                change.set(&room, &creator, event_type, "", json!({ field: value }));
            }
        }
        for member in members {
            let member = self.user_id(member).to_string();
            change.invite(&room, &creator, &member, false);
            change.member(&room, &member, &member, "join");
        }
        for target in invite {
            change.invite(&room, &creator, target.as_str(), *is_direct);
        }
        Ok(MatrixDone::Room(id(&room)))
    }
}

impl Homeserver for Chat {
    fn perform<'a>(&'a self, action: &'a MatrixAction) -> BoxFuture<'a, Result<MatrixDone, CallError>> {
        Box::pin(async move { self.change(|change| self.act(change, action)).map_err(refused) })
    }

    fn timeline<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        older_than: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<TimelinePage, CallError>> {
        Box::pin(async move {
            let state = self.lock();
            if state.member(room.as_str(), self.user_id(reader).as_str()) != "join" {
                return Err(refused(format!("{reader:?} is not in {room}")));
            }
            let events = &state.rooms[room.as_str()].events;
            let end = older_than.and_then(|token| token.parse().ok()).unwrap_or(events.len()).min(events.len());
            let start = end.saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
            let events = events[start..end].iter().map(raw).collect();
            Ok(TimelinePage { events, older: (start > 0).then(|| start.to_string()) })
        })
    }

    fn room_state<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>> {
        Box::pin(async move {
            let state = self.lock();
            let room = state.rooms.get(room.as_str()).ok_or_else(|| refused(format!("there is no {room}")))?;
            Ok(room.state.values().map(raw).collect())
        })
    }

    fn state<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        event_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateNow>, CallError>> {
        Box::pin(async move {
            let state = self.lock();
            if state.member(room.as_str(), self.user_id(reader).as_str()) != "join" {
                return Err(refused(format!("{reader:?} is not in {room}")));
            }
            let key = (event_type.to_owned(), String::new());
            let event = state.rooms.get(room.as_str()).and_then(|room| room.state.get(&key));
            Ok(event.map(|event| StateNow {
                event: text(event, "event_id").try_into().expect("an event id"),
                sender: text(event, "sender").try_into().expect("a user id"),
                content: event["content"].clone(),
            }))
        })
    }

    fn joined_members<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<JoinedMember>, CallError>> {
        Box::pin(async move {
            let state = self.lock();
            let room = state.rooms.get(room.as_str()).ok_or_else(|| refused(format!("there is no {room}")))?;
            let there = room.members.iter().filter(|(_, how)| *how == "join");
            let users = there.filter_map(|(user, _)| UserId::parse(user).ok());
            Ok(users.map(|user| JoinedMember { user, displayname: None }).collect())
        })
    }

    fn members<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
    ) -> BoxFuture<'a, Result<Vec<OwnedUserId>, CallError>> {
        Box::pin(async move {
            let state = self.lock();
            if state.member(room.as_str(), self.user_id(reader).as_str()) != "join" {
                return Err(refused(format!("{reader:?} is not in {room}")));
            }
            let members = state.rooms[room.as_str()].members.iter();
            let there = members.filter(|(_, how)| matches!(how.as_str(), "join" | "invite"));
            Ok(there.filter_map(|(user, _)| UserId::parse(user).ok()).collect())
        })
    }

    fn resolve_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<Option<OwnedRoomId>, CallError>> {
        Box::pin(async move { Ok(self.lock().aliases.get(alias.alias()).map(|room| id(room))) })
    }

    fn user_exists<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, CallError>> {
        Box::pin(async move { Ok(self.lock().users.contains(user.as_str())) })
    }

    fn profile<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Profile>, CallError>> {
        Box::pin(async move {
            let known = self.lock().users.contains(user.as_str());
            Ok(known.then(|| Profile { displayname: Some(user.localpart().to_owned()), picture: None }))
        })
    }

    /// There are no addresses by which people are known elsewhere, and no reports to fetch.
    fn has_admin(&self) -> bool {
        false
    }

    fn contacts<'a>(&'a self, _: &'a UserId) -> BoxFuture<'a, Result<Option<Contacts>, CallError>> {
        Box::pin(async { Ok(None) })
    }

    fn user_reports(&self, _: u64, _: u32) -> BoxFuture<'_, Result<Vec<UserReport>, CallError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn ensure_ghost<'a>(&'a self, user: &'a UserUri) -> BoxFuture<'a, Result<OwnedUserId, CallError>> {
        Box::pin(async move { self.map.ghost(user).map_err(|error| refused(error.to_string())) })
    }

    fn user_id(&self, actor: &Actor) -> OwnedUserId {
        match actor {
            Actor::Bot => self.bot.clone(),
            Actor::Ghost(uri) => self.map.ghost(uri).expect("ghosts of those whom the engine knows"),
        }
    }

    fn preset(&self, room: &RoomId) -> Option<Preset> {
        self.lock().content(room.as_str(), "m.room.create")?["preset"].as_str()?.parse().ok()
    }

    fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId> {
        OwnedRoomAliasId::try_from(format!("#{localpart}:{}", self.map.server_name())).ok()
    }
}
