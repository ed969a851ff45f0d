//! What people of the homeserver see.

use super::{FakeHomeserver, Seen, is_message};

use mimi_gateway::ident::UserUri;
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;

impl FakeHomeserver {
    /// The id of the event with this text.
    pub(crate) fn event(&self, room: &RoomId, body: &str) -> String {
        let state = self.lock();
        let event = state.rooms[room.as_str()].timeline.iter().find(|event| event["content"]["body"] == body).unwrap();
        event["event_id"].as_str().unwrap().to_owned()
    }

    /// The messages of a room, without notices and commands.
    pub(crate) fn messages(&self, room: &RoomId) -> Vec<Seen> {
        let state = self.lock();
        let events = state.rooms[room.as_str()].timeline.iter().filter(|event| is_message(event));
        events
            .map(|event| Seen {
                sender: event["sender"].as_str().unwrap().to_owned(),
                body: event["content"]["body"].as_str().unwrap().to_owned(),
            })
            .filter(|seen| !seen.body.starts_with("!mimi"))
            .collect()
    }

    /// The texts of what was said.
    pub(crate) fn bodies(&self, room: &RoomId) -> Vec<String> {
        self.messages(room).into_iter().map(|seen| seen.body).collect()
    }

    /// The gateway's own words in a room.
    pub(crate) fn notices(&self, room: &RoomId) -> Vec<String> {
        let state = self.lock();
        let notices =
            state.rooms[room.as_str()].timeline.iter().filter(|event| event["content"]["msgtype"] == "m.notice");
        notices.map(|event| event["content"]["body"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that happened in a room.
    pub(crate) fn events(&self, room: &RoomId) -> Vec<Value> {
        self.lock().rooms[room.as_str()].timeline.clone()
    }

    /// The contents of a room's state of one type, by key.
    pub(crate) fn states(&self, room: &RoomId, event_type: &str) -> Vec<Value> {
        let state = self.lock();
        let all = state.rooms[room.as_str()].state.iter().filter(|((kind, _), _)| kind == event_type);
        all.map(|(_, event)| event["content"].clone()).collect()
    }

    /// How a full user id stands to a room.
    pub(crate) fn member(&self, room: &RoomId, user: &str) -> Option<String> {
        Self::membership(&self.lock(), room.as_str(), user)
    }

    /// The rooms into which somebody is invited.
    pub(crate) fn invitations(&self, name: &str) -> Vec<OwnedRoomId> {
        let user = self.user(name);
        let state = self.lock();
        let rooms = state.rooms.iter().filter(|(_, room)| room.members.get(&user).is_some_and(|how| how == "invite"));
        rooms.map(|(id, _)| OwnedRoomId::try_from(id.as_str()).unwrap()).collect()
    }

    /// The newest event of a room.
    pub(crate) fn newest(&self, room: &RoomId) -> String {
        let state = self.lock();
        state.rooms[room.as_str()].timeline.last().unwrap()["event_id"].as_str().unwrap().to_owned()
    }

    /// The newest event of a room is gone, as if it had never been.
    pub(crate) fn purge_newest(&self, room: &RoomId) {
        self.lock().rooms.get_mut(room.as_str()).unwrap().timeline.pop();
    }

    /// The portal of a MIMI room.
    pub(crate) fn portal(&self, room: &mimi_gateway::ident::RoomUri) -> Option<OwnedRoomId> {
        let alias = self.map.portal_alias(room).unwrap();
        let state = self.lock();
        state.aliases.get(alias.alias()).map(|room| OwnedRoomId::try_from(room.as_str()).unwrap())
    }

    /// One field of a state event's content.
    pub(crate) fn state(&self, room: &RoomId, event_type: &str, field: &str) -> Option<String> {
        let state = self.lock();
        let event = state.rooms[room.as_str()].state.get(&(event_type.to_owned(), String::new()))?;
        event["content"][field].as_str().map(str::to_owned)
    }

    /// The ghost of a remote user.
    pub(crate) fn ghost(&self, uri: &UserUri) -> String {
        self.map.ghost(uri).unwrap().to_string()
    }
}
