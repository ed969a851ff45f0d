//! What people of the homeserver do.

use super::{FakeHomeserver, Room, State, raw};
use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::engine::ports::{Actor, Contacts, UserReport};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde_json::{Value, json};

impl FakeHomeserver {
    /// The full id of somebody here; a full id is its own: somebody of another homeserver that federates.
    pub(crate) fn user(&self, name: &str) -> String {
        if name.starts_with('@') {
            return name.to_owned();
        }
        format!("@{name}:{}", self.map.server_name())
    }

    /// Registers somebody.
    pub(crate) fn register(&self, name: &str) {
        let user = self.user(name);
        self.lock().users.insert(user);
    }

    /// Changes somebody's display name.
    pub(crate) fn rename(&self, name: &str, displayname: &str) {
        let user = self.user(name);
        self.lock().names.insert(user, displayname.to_owned());
    }

    /// Removes an account.
    pub(crate) fn unregister(&self, name: &str) {
        let user = self.user(name);
        self.lock().users.remove(&user);
    }

    /// Adds an e-mail address and a telephone number to an account.
    pub(crate) fn reachable(&self, name: &str, email: &str, phone: &str) {
        let contacts = Contacts { emails: vec![email.to_owned()], phones: vec![phone.to_owned()] };
        let user = self.user(name);
        self.lock().contacts.insert(user, contacts);
    }

    /// Reports an event as clients do, so long ago; with the number that comes next. The newest may have been removed.
    pub(crate) fn report(&self, room: &RoomId, by: &str, event: &str, reason: &str, ago: Duration) -> u64 {
        let mut state = self.lock();
        let id = state.reports.iter().map(|report| report.id).max().unwrap_or(0) + 1;
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().saturating_sub(ago).as_millis();
        state.reports.push(UserReport {
            id,
            received: u64::try_from(received).unwrap(),
            room: room.to_string(),
            event: event.to_owned(),
            by: UserId::parse(self.user(by)).unwrap(),
            reason: reason.to_owned(),
        });
        id
    }

    /// An administrator removes a report.
    pub(crate) fn remove_report(&self, id: u64) {
        self.lock().reports.retain(|report| report.id != id);
    }

    /// Calls that the engine made so far, of whatever kind.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// A private room in which the bot may do everything once it is there.
    pub(crate) fn create_room(&self, by: &str, name: &str) -> OwnedRoomId {
        let by = self.user(by);
        let mut state = self.lock();
        let room = self.new_room(&mut state, &by);
        let users = json!({ "users": { by.clone(): 100, self.bot.as_str(): 100 } });
        self.post(&mut state, &room, &by, "m.room.power_levels", Some(""), users, None);
        self.post(&mut state, &room, &by, "m.room.name", Some(""), json!({ "name": name }), None);
        OwnedRoomId::try_from(room).unwrap()
    }

    /// The same, of a kind that is chosen as a service with rooms of its own does it.
    pub(crate) fn create_chosen(&self, by: &str, name: &str, preset: mimi_gateway::policy::Preset) -> OwnedRoomId {
        let room = self.create_room(by, name);
        if preset.is_open() {
            self.set(&room, by, "m.room.join_rules", json!({ "join_rule": "public" }));
        }
        self.lock().presets.insert(room.to_string(), preset);
        room
    }

    /// Invites a full user id, who is not in the room: homeservers invite nobody else.
    pub(crate) fn invite(&self, room: &RoomId, by: &str, target: &str, direct: bool) {
        let by = self.user(by);
        let mut state = self.lock();
        assert_eq!(Self::membership(&state, room.as_str(), &by).as_deref(), Some("join"), "{by} invites");
        assert_ne!(Self::membership(&state, room.as_str(), target).as_deref(), Some("join"), "{by} invites {target}");
        self.set_member(&mut state, room.as_str(), &by, target, "invite", direct);
    }

    /// Joins a room into which one was invited.
    pub(crate) fn join(&self, room: &RoomId, name: &str) {
        assert!(self.try_join(room, name), "{name} joins");
    }

    /// The same; false if one is not invited.
    pub(crate) fn try_join(&self, room: &RoomId, name: &str) -> bool {
        let user = self.user(name);
        let mut state = self.lock();
        let invited = Self::membership(&state, room.as_str(), &user).as_deref() == Some("invite");
        if invited {
            self.set_member(&mut state, room.as_str(), &user, &user, "join", false);
        }
        invited
    }

    /// Leaves a room, or declines to join it.
    pub(crate) fn leave(&self, room: &RoomId, name: &str) {
        let user = self.user(name);
        self.set_member(&mut self.lock(), room.as_str(), &user, &user, "leave", false);
    }

    /// Removes a full user id.
    pub(crate) fn kick(&self, room: &RoomId, by: &str, target: &str) {
        let by = self.user(by);
        self.set_member(&mut self.lock(), room.as_str(), &by, target, "leave", false);
    }

    /// Makes a full user id something, with a reason: what clients send for kicks, bans, leaves and knocks.
    pub(crate) fn make(&self, room: &RoomId, by: &str, target: &str, how: &str, reason: &str) {
        let by = self.user(by);
        let content = json!({ "membership": how, "reason": reason });
        self.post(&mut self.lock(), room.as_str(), &by, "m.room.member", Some(target), content, None);
    }

    /// Replaces a room as Synapse does it: a new room that names it (or another one) as its predecessor, with its levels, and
    /// only whoever does it in it; then the tombstone.
    pub(crate) fn upgrade(&self, room: &RoomId, by: &str, predecessor: &RoomId) -> OwnedRoomId {
        let by = self.user(by);
        let mut state = self.lock();
        let state = &mut *state;
        state.next += 1;
        let new = format!("!room{}:{}", state.next, self.map.server_name());
        state.rooms.insert(new.clone(), Room::default());
        let mut create = json!({ "room_version": "11", "predecessor": { "room_id": predecessor } });
        let first = ("m.room.create".to_owned(), String::new());
        if let Some(kind) = state.rooms[room.as_str()].state.get(&first).map(|event| &event["content"]["type"]) {
            create["type"] = kind.clone();
        }
        self.post(state, &new, &by, "m.room.create", Some(""), create, None);
        self.set_member(state, &new, &by, &by, "join", false);
        for kind in ["m.room.power_levels", "m.room.name"] {
            let key = (kind.to_owned(), String::new());
            if let Some(event) = state.rooms[room.as_str()].state.get(&key).cloned() {
                self.post(state, &new, &by, kind, Some(""), event["content"].clone(), None);
            }
        }
        let tombstone = json!({ "body": "replaced", "replacement_room": new });
        self.post(state, room.as_str(), &by, "m.room.tombstone", Some(""), tombstone, None);
        OwnedRoomId::try_from(new).unwrap()
    }

    /// Bans a full user id.
    pub(crate) fn ban(&self, room: &RoomId, by: &str, target: &str) {
        let by = self.user(by);
        self.set_member(&mut self.lock(), room.as_str(), &by, target, "ban", false);
    }

    /// Lifts the ban of a full user id.
    pub(crate) fn unban(&self, room: &RoomId, by: &str, target: &str) {
        assert_eq!(self.member(room, target).as_deref(), Some("ban"), "{by} lifts the ban of {target}");
        self.kick(room, by, target);
    }

    /// Why somebody is not in a room any more, as they say.
    pub(crate) fn reason(&self, room: &RoomId, user: &str) -> Option<String> {
        let state = self.lock();
        let event = state.rooms[room.as_str()].state.get(&("m.room.member".to_owned(), user.to_owned()))?;
        event["content"]["reason"].as_str().map(str::to_owned)
    }

    /// Sets state without key, as clients do: the event's id.
    pub(crate) fn set(&self, room: &RoomId, name: &str, event_type: &str, content: Value) -> OwnedEventId {
        self.try_set(room, name, event_type, content).unwrap_or_else(|| panic!("{name} sets {event_type}"))
    }

    /// The same; nothing if one is not in the room.
    pub(crate) fn try_set(&self, room: &RoomId, name: &str, event_type: &str, content: Value) -> Option<OwnedEventId> {
        let user = self.user(name);
        let mut state = self.lock();
        let there = Self::membership(&state, room.as_str(), &user).as_deref() == Some("join");
        there.then(|| self.post(&mut state, room.as_str(), &user, event_type, Some(""), content, None))
    }

    /// Sets the state that is one's own in a room, as a live location is.
    pub(crate) fn set_own(&self, room: &RoomId, name: &str, event_type: &str, content: Value) -> String {
        let user = self.user(name);
        self.post(&mut self.lock(), room.as_str(), &user, event_type, Some(&user), content, None).to_string()
    }

    /// Calls a room something.
    pub(crate) fn call_room(&self, room: &RoomId, name: &str, text: &str) {
        self.set(room, name, "m.room.name", json!({ "name": text }));
    }

    /// Somebody is called something in a room, or nothing any more.
    pub(crate) fn call_me(&self, room: &RoomId, name: &str, displayname: Option<&str>) {
        let user = self.user(name);
        self.face(room, &user, "displayname", displayname);
    }

    /// Somebody has a picture in a room, or none any more.
    pub(crate) fn picture_me(&self, room: &RoomId, name: &str, place: Option<&str>) {
        let user = self.user(name);
        self.face(room, &user, "avatar_url", place);
    }

    fn face(&self, room: &RoomId, user: &str, key: &str, value: Option<&str>) {
        let mut state = self.lock();
        let member = ("m.room.member".to_owned(), user.to_owned());
        let mut content = state.rooms[room.as_str()].state[&member]["content"].clone();
        content[key] = json!(value);
        self.post(&mut state, room.as_str(), user, "m.room.member", Some(user), content, None);
    }

    /// One key of a ghost's member event.
    pub(super) fn show_face(&self, state: &mut State, room: &RoomId, actor: &Actor, key: &str, value: Option<&str>) {
        let user = self.id(actor).to_string();
        let member = ("m.room.member".to_owned(), user.clone());
        let now = state.rooms.get(room.as_str()).and_then(|room| room.state.get(&member)).cloned();
        let Some(mut content) = now.map(|now| now["content"].clone()) else { return };
        if content["membership"] == "join" && content[key].as_str() != value {
            content[key] = json!(value);
            self.post(state, room.as_str(), &user, "m.room.member", Some(&user), content, None);
        }
    }

    /// The picture that somebody has in a room, `mxc://…`.
    pub(crate) fn looks(&self, room: &RoomId, user: &str) -> Option<String> {
        let key = ("m.room.member".to_owned(), user.to_owned());
        let state = self.lock();
        state.rooms[room.as_str()].state.get(&key)?["content"]["avatar_url"].as_str().map(str::to_owned)
    }

    /// What somebody is called in a room.
    pub(crate) fn called(&self, room: &RoomId, user: &str) -> Option<String> {
        let key = ("m.room.member".to_owned(), user.to_owned());
        let state = self.lock();
        state.rooms[room.as_str()].state.get(&key)?["content"]["displayname"].as_str().map(str::to_owned)
    }

    /// Says something.
    pub(crate) fn say(&self, room: &RoomId, name: &str, body: &str) -> OwnedEventId {
        self.try_say(room, name, body).unwrap_or_else(|| panic!("{name} says {body}, and is not there"))
    }

    /// The same; nothing if one is not in the room.
    pub(crate) fn try_say(&self, room: &RoomId, name: &str, body: &str) -> Option<OwnedEventId> {
        let user = self.user(name);
        let mut state = self.lock();
        let there = Self::membership(&state, room.as_str(), &user).as_deref() == Some("join");
        let content = json!({ "msgtype": "m.text", "body": body });
        there.then(|| self.post(&mut state, room.as_str(), &user, "m.room.message", None, content, None))
    }

    /// Sends an event of any type.
    pub(crate) fn send(&self, room: &RoomId, name: &str, event_type: &str, content: Value) -> String {
        let user = self.user(name);
        self.post(&mut self.lock(), room.as_str(), &user, event_type, None, content, None).to_string()
    }

    /// Removes an event, as its sender.
    pub(crate) fn redact(&self, room: &RoomId, name: &str, event: &str) -> String {
        self.send(room, name, "m.room.redaction", json!({ "redacts": event }))
    }

    /// Reads up to an event, and says so by a receipt of this kind.
    pub(crate) fn read(&self, room: &RoomId, name: &str, event: &str, kind: &str) {
        self.read_in(room, name, event, kind, None);
    }

    /// The same in a thread.
    pub(crate) fn read_in(&self, room: &RoomId, name: &str, event: &str, kind: &str, thread: Option<&str>) {
        let receipt = json!({ event: { kind: { self.user(name): { "ts": 1, "thread_id": thread } } } });
        let edu = json!({ "type": "m.receipt", "room_id": room, "content": receipt });
        self.lock().ephemeral.push_back(raw(&edu));
    }

    /// Up to which event a full user id of the gateway's has read.
    pub(crate) fn receipt(&self, room: &RoomId, user: &str) -> Option<String> {
        self.lock().receipts.get(&(room.to_string(), user.to_owned())).cloned()
    }

    /// What senders were told of an event: the contents of the statuses.
    pub(crate) fn statuses(&self, room: &RoomId, event: &str) -> Vec<Value> {
        let told = |seen: &Value| {
            let status = seen["type"] == "com.beeper.message_send_status";
            status && seen["content"]["m.relates_to"]["event_id"] == event
        };
        let events = self.events(room).into_iter().filter(told);
        events.map(|event| event["content"].clone()).collect()
    }

    /// Replies to an event.
    pub(crate) fn reply(&self, room: &RoomId, name: &str, to: &str, body: &str) {
        let user = self.user(name);
        let relation = json!({ "m.in_reply_to": { "event_id": to } });
        let content = json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation });
        self.post(&mut self.lock(), room.as_str(), &user, "m.room.message", None, content, None);
    }
}
