//! The homeserver as the engine calls it.

use super::{FakeHomeserver, raw};
use std::sync::atomic::Ordering;

use mimi_gateway::{
    engine::ports::{
        Actor, CallError, Contacts, Homeserver, JoinedMember, MatrixAction, MatrixDone, Profile, StateNow,
        TimelinePage, UserReport,
    },
    ident::UserUri,
    store::BoxFuture,
};
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::value::RawValue;

impl Homeserver for FakeHomeserver {
    fn perform<'a>(&'a self, action: &'a MatrixAction) -> BoxFuture<'a, Result<MatrixDone, CallError>> {
        Box::pin(async move { self.with_faults(&format!("{action:?}"), || self.act(action)).await })
    }

    fn timeline<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        older_than: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<TimelinePage, CallError>> {
        let page = move || {
            let state = self.lock();
            Self::must_be_in(&state, room.as_str(), self.id(reader).as_str())?;
            let timeline = &state.rooms[room.as_str()].timeline;
            let end = older_than.map_or(timeline.len(), |token| token.parse().unwrap());
            let start = end.saturating_sub(usize::try_from(limit).unwrap());
            let events = timeline[start..end].iter().map(raw).collect();
            Ok(TimelinePage { events, older: (start > 0).then(|| start.to_string()) })
        };
        Box::pin(async move { self.with_faults(&format!("timeline {room} {older_than:?}"), page).await })
    }

    fn room_state<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>> {
        let events = || {
            let state = self.lock();
            Self::must_be_in(&state, room.as_str(), self.bot.as_str())?;
            Ok(state.rooms[room.as_str()].state.values().map(raw).collect())
        };
        Box::pin(async move { self.with_faults(&format!("state {room}"), events).await })
    }

    fn state<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        event_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateNow>, CallError>> {
        let found = move || {
            let state = self.lock();
            Self::must_be_in(&state, room.as_str(), self.id(reader).as_str())?;
            let event = state.rooms[room.as_str()].state.get(&(event_type.to_owned(), String::new()));
            Ok(event.map(|event| StateNow {
                event: OwnedEventId::try_from(event["event_id"].as_str().unwrap()).unwrap(),
                sender: UserId::parse(event["sender"].as_str().unwrap()).unwrap(),
                content: event["content"].clone(),
            }))
        };
        Box::pin(async move { self.with_faults(&format!("state {room} {event_type}"), found).await })
    }

    fn joined_members<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<JoinedMember>, CallError>> {
        let members = || {
            let state = self.lock();
            let members = state.rooms[room.as_str()].members.iter().filter(|(_, how)| *how == "join");
            Ok(members
                .map(|(user, _)| JoinedMember { user: UserId::parse(user).unwrap(), displayname: None })
                .collect())
        };
        Box::pin(async move { self.with_faults(&format!("members {room}"), members).await })
    }

    fn members<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
    ) -> BoxFuture<'a, Result<Vec<OwnedUserId>, CallError>> {
        let members = move || {
            let state = self.lock();
            Self::must_be_in(&state, room.as_str(), self.id(reader).as_str())?;
            let members = state.rooms[room.as_str()].members.iter();
            let there = members.filter(|(_, how)| matches!(how.as_str(), "join" | "invite"));
            Ok(there.map(|(user, _)| UserId::parse(user).unwrap()).collect())
        };
        Box::pin(async move { self.with_faults(&format!("everybody {room}"), members).await })
    }

    fn resolve_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<Option<OwnedRoomId>, CallError>> {
        let found = || {
            let state = self.lock();
            Ok(state.aliases.get(alias.alias()).map(|room| OwnedRoomId::try_from(room.as_str()).unwrap()))
        };
        Box::pin(async move { self.with_faults(&format!("alias {alias}"), found).await })
    }

    fn user_exists<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, CallError>> {
        let exists = || Ok(self.lock().users.contains(user.as_str()));
        Box::pin(async move { self.with_faults(&format!("exists {user}"), exists).await })
    }

    fn profile<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Profile>, CallError>> {
        let profile = || {
            let state = self.lock();
            let displayname = state.names.get(user.as_str()).cloned();
            Ok(state.users.contains(user.as_str()).then_some(Profile { displayname, picture: None }))
        };
        Box::pin(async move { self.with_faults(&format!("profile {user}"), profile).await })
    }

    fn preset(&self, room: &RoomId) -> Option<mimi_gateway::policy::Preset> {
        self.lock().presets.get(room.as_str()).copied()
    }

    fn survey(&self) -> Option<&dyn mimi_gateway::engine::ports::Survey> {
        Some(self)
    }

    fn has_admin(&self) -> bool {
        self.admin.load(Ordering::SeqCst)
    }

    fn contacts<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Contacts>, CallError>> {
        let contacts = || {
            let state = self.lock();
            let known = state.contacts.get(user.as_str()).cloned().unwrap_or_default();
            Ok(state.users.contains(user.as_str()).then_some(known))
        };
        Box::pin(async move { self.with_faults(&format!("contacts {user}"), contacts).await })
    }

    fn user_reports(&self, skip: u64, limit: u32) -> BoxFuture<'_, Result<Vec<UserReport>, CallError>> {
        let page = move || {
            let state = self.lock();
            let newest_first = state.reports.iter().rev().skip(usize::try_from(skip).unwrap());
            Ok(newest_first.take(usize::try_from(limit).unwrap()).cloned().collect())
        };
        Box::pin(async move { self.with_faults(&format!("reports {skip}"), page).await })
    }

    fn ensure_ghost<'a>(&'a self, user: &'a UserUri) -> BoxFuture<'a, Result<OwnedUserId, CallError>> {
        Box::pin(async move { Ok(self.map.ghost(user).unwrap()) })
    }

    fn user_id(&self, actor: &Actor) -> OwnedUserId {
        self.id(actor)
    }

    fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId> {
        OwnedRoomAliasId::try_from(format!("#{localpart}:{}", self.map.server_name())).ok()
    }
}
