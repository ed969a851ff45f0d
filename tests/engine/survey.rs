//! The rooms of the homeserver in memory, as whoever runs it sees them.

use mimi_gateway::{
    engine::ports::{CallError, ListedRoom, RoomPage, Survey},
    store::BoxFuture,
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{json, value::RawValue};

use super::{FakeHomeserver, forbidden, raw};

impl FakeHomeserver {
    /// A room of somebody's into which the bot was not asked, and in which it has no power.
    pub(crate) fn create_foreign_room(&self, by: &str, name: &str) -> OwnedRoomId {
        let room = self.create_room(by, name);
        self.set(&room, by, "m.room.power_levels", json!({ "users": { self.user(by): 100 } }));
        room
    }

    /// Gives a room this alias, whatever had it before.
    pub(crate) fn call_alias(&self, localpart: &str, room: &RoomId) -> String {
        self.lock().aliases.insert(localpart.to_owned(), room.to_string());
        format!("#{localpart}:{}", self.map.server_name())
    }

    /// The rooms in which somebody is.
    pub(crate) fn rooms_of(&self, name: &str) -> Vec<OwnedRoomId> {
        let (user, state) = (self.user(name), self.lock());
        let rooms = state.rooms.iter().filter(|(_, room)| room.members.get(&user).is_some_and(|how| how == "join"));
        rooms.map(|(id, _)| OwnedRoomId::try_from(id.as_str()).unwrap()).collect()
    }

    /// Whether the newest thing that was said in a room is this.
    pub(crate) fn newest_is(&self, room: &RoomId, body: &str) -> bool {
        let state = self.lock();
        let said = state.rooms[room.as_str()].timeline.iter().rev().find(|event| super::is_message(event));
        said.is_some_and(|event| event["content"]["body"] == body)
    }

    /// The gateway's newest words in a room.
    pub(crate) fn last_notice(&self, room: &RoomId) -> Option<String> {
        let state = self.lock();
        let mut events = state.rooms[room.as_str()].timeline.iter().rev();
        let notice = events.find(|event| event["content"]["msgtype"] == "m.notice")?;
        notice["content"]["body"].as_str().map(str::to_owned)
    }

    /// How many are in a room.
    pub(crate) fn joined(&self, room: &RoomId) -> usize {
        self.lock().rooms[room.as_str()].members.values().filter(|how| *how == "join").count()
    }

    /// Sets state under a key.
    pub(crate) fn set_keyed(&self, room: &RoomId, by: &str, event_type: &str, key: &str, content: serde_json::Value) {
        let user = self.user(by);
        self.post(&mut self.lock(), room.as_str(), &user, event_type, Some(key), content, None);
    }

    /// As how many MIMI rooms a room says that it is mirrored.
    pub(crate) fn bridge_states(&self, room: &RoomId) -> usize {
        self.states(room, "m.bridge").iter().filter(|content| content["protocol"]["id"] == "mimi").count()
    }

    /// The rooms of which the gateway says that they are mirrored.
    pub(crate) fn mirrored(&self) -> usize {
        let state = self.lock();
        let is_set = |room: &super::Room| {
            room.state
                .iter()
                .any(|((kind, _), event)| kind == "m.bridge" && event["content"]["protocol"]["id"] == "mimi")
        };
        state.rooms.values().filter(|room| is_set(room)).count()
    }
}

impl Survey for FakeHomeserver {
    fn joined_rooms(&self) -> BoxFuture<'_, Result<Vec<OwnedRoomId>, CallError>> {
        let rooms = move || {
            let state = self.lock();
            let joined = state
                .rooms
                .iter()
                .filter(|(_, room)| room.members.get(self.bot.as_str()).is_some_and(|how| how == "join"));
            Ok(joined.map(|(id, _)| OwnedRoomId::try_from(id.as_str()).unwrap()).collect())
        };
        Box::pin(async move { self.with_faults("joined rooms", rooms).await })
    }

    /// Two a page.
    fn known_rooms(&self, skip: u64) -> BoxFuture<'_, Result<RoomPage, CallError>> {
        let page = move || {
            let state = self.lock();
            let rooms = state.rooms.iter().skip(usize::try_from(skip).unwrap()).take(2).map(|(id, room)| ListedRoom {
                room: OwnedRoomId::try_from(id.as_str()).unwrap(),
                name: String::new(),
                local_members: room.members.values().filter(|how| *how == "join").count() as u64,
            });
            Ok(RoomPage { rooms: rooms.collect(), next: (state.rooms.len() as u64 > skip + 2).then_some(skip + 2) })
        };
        Box::pin(async move { self.with_faults(&format!("rooms {skip}"), page).await })
    }

    fn state_of<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>> {
        let events = move || {
            let state = self.lock();
            let found = state.rooms.get(room.as_str()).ok_or_else(|| forbidden("there is no such room"))?;
            Ok(found.state.values().map(raw).collect())
        };
        Box::pin(async move { self.with_faults(&format!("all state {room}"), events).await })
    }

    fn make_admin<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<(), CallError>> {
        let made = move || {
            let mut state = self.lock();
            let key = ("m.room.power_levels".to_owned(), String::new());
            let levels = state.rooms[room.as_str()].state[&key]["content"].clone();
            let best = levels["users"].as_object().unwrap().iter().find(|(_, level)| **level == 100);
            let Some((admin, _)) = best.map(|(user, level)| (user.clone(), level.clone())) else {
                return Err(forbidden("No local admin user in room"));
            };
            let mut levels = levels;
            levels["users"][self.bot.as_str()] = json!(100);
            self.post(&mut state, room.as_str(), &admin, "m.room.power_levels", Some(""), levels, None);
            if Self::membership(&state, room.as_str(), self.bot.as_str()).as_deref() != Some("join") {
                let bot = self.bot.to_string();
                self.set_member(&mut state, room.as_str(), &admin, &bot, "invite", false);
            }
            Ok(())
        };
        Box::pin(async move { self.with_faults(&format!("make admin {room}"), made).await })
    }
}
