//! A homeserver in memory: rooms, a client API for its people, the appservice API for the engine.
//!
//! As Synapse does, it sends every event of rooms in which the gateway takes part, in order and again until it is
//! acknowledged; knows a ghost's send by its transaction id; and can lose events on the way to the gateway.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::{
    engine::{
        Engine,
        ports::{
            Actor, CallError, Contacts, Homeserver, JoinedMember, MatrixAction, MatrixDone, MatrixInbound as _,
            Profile, Retry, StateNow, TimelinePage, Transaction, UserReport,
        },
    },
    ident::{IdentityMap, UserUri, is_ghost_pattern},
    store::BoxFuture,
};
use ruma::{OwnedEventId, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::{Value, json, value::RawValue};

#[path = "survey.rs"]
mod survey;

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It works.
    None,
    /// It fails before the other side sees it.
    Before,
    /// The other side acts, and the answer is lost.
    After,
    /// It is refused for good, and the other side never sees it.
    Refused,
    /// The gateway panics at it.
    Panics,
    /// The other side is busy, and says after what time to come again.
    Later(Duration),
    /// It answers never.
    Stuck,
}

/// Decides about each call, described by a text that is the same for the same call made again.
pub(crate) type Faults = Arc<Mutex<Box<dyn FnMut(&str) -> Fault + Send>>>;

/// Every call works.
pub(crate) fn no_faults() -> Faults {
    Arc::new(Mutex::new(Box::new(|_| Fault::None)))
}

/// Where the running engine is found, if one runs.
pub(crate) type Slot = Arc<Mutex<Option<Engine>>>;

pub(crate) fn lost(what: &str, retry: Retry) -> CallError {
    CallError { what: what.to_owned(), retry, status: None, errcode: None }
}

fn forbidden(what: &str) -> CallError {
    CallError {
        what: what.to_owned(),
        retry: Retry::Permanent,
        status: Some(403),
        errcode: Some("M_FORBIDDEN".to_owned()),
    }
}

/// A message as people see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) sender: String,
    pub(crate) body: String,
}

#[derive(Default)]
struct Room {
    members: BTreeMap<String, String>,
    timeline: Vec<Value>,
    state: BTreeMap<(String, String), Value>,
}

#[derive(Default)]
struct State {
    rooms: BTreeMap<String, Room>,
    aliases: BTreeMap<String, String>,
    /// By room, sender and transaction id.
    sent: BTreeMap<(String, String, String), OwnedEventId>,
    users: BTreeSet<String>,
    queue: VecDeque<Box<RawValue>>,
    /// Receipts on their way to the gateway.
    ephemeral: VecDeque<Box<RawValue>>,
    /// Up to which event the gateway's ghosts have read: by room and user.
    receipts: BTreeMap<(String, String), String>,
    lose: bool,
    next: u64,
    actions: usize,
    /// Of users: their name, e-mail addresses and telephone numbers.
    names: BTreeMap<String, String>,
    contacts: BTreeMap<String, Contacts>,
    reports: Vec<UserReport>,
}

pub(crate) struct FakeHomeserver {
    pub(crate) map: IdentityMap,
    pub(crate) bot: OwnedUserId,
    pub(crate) faults: Faults,
    /// Whether the engine has an administrator's token, from its next start on.
    pub(crate) admin: AtomicBool,
    /// Calls of the engine, of whatever kind.
    calls: AtomicU64,
    state: Mutex<State>,
}

fn is_message(event: &Value) -> bool {
    event["type"] == "m.room.message" && event["content"]["msgtype"] != "m.notice"
}

impl FakeHomeserver {
    pub(crate) fn new(map: IdentityMap, faults: Faults) -> Arc<Self> {
        let bot = UserId::parse(format!("@mimibot:{}", map.server_name())).unwrap();
        let (admin, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Self { map, bot, faults, admin, calls, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Sends transactions to whichever engine runs, until this homeserver is dropped.
    pub(crate) fn start(self: &Arc<Self>, slot: Slot) {
        let weak: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut txn = 0_u64;
            loop {
                let Some(homeserver) = weak.upgrade() else { return };
                let events: Vec<Box<RawValue>> = homeserver.lock().queue.iter().take(50).cloned().collect();
                // As Synapse does, these are sent once.
                let ephemeral: Vec<Box<RawValue>> = homeserver.lock().ephemeral.drain(..).collect();
                let engine = slot.lock().unwrap().clone();
                if let (false, Some(engine)) = (events.is_empty() && ephemeral.is_empty(), engine) {
                    let count = events.len();
                    let transaction =
                        Transaction { txn_id: txn.to_string(), body_hash: [0; 32], events, ephemeral, connection: 1 };
                    tracing::debug!(domain = %homeserver.map.provider(), txn, count, "transaction");
                    let result = engine.transaction(transaction).await;
                    tracing::debug!(domain = %homeserver.map.provider(), txn, ?result, "answered");
                    if result.is_ok() {
                        homeserver.lock().queue.drain(..count);
                        txn += 1;
                        continue;
                    }
                }
                drop(homeserver);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    /// From now on events do not reach the gateway, and are never sent again.
    pub(crate) fn lose_events(&self, lose: bool) {
        self.lock().lose = lose;
    }

    /// How many actions with an effect the engine asked for.
    pub(crate) fn actions(&self) -> usize {
        self.lock().actions
    }

    /// Whether everything that happened was sent to the engine.
    pub(crate) fn is_quiet(&self) -> bool {
        self.lock().queue.is_empty()
    }

    fn ours(&self, user: &str) -> bool {
        user == self.bot.as_str() || UserId::parse(user).is_ok_and(|user| is_ghost_pattern(&user))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event")]
    #[expect(clippy::needless_pass_by_value, reason = "contents are made for the call")]
    fn post(
        &self,
        state: &mut State,
        room: &str,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
        ts: Option<u64>,
    ) -> OwnedEventId {
        state.next += 1;
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let id = format!("$event{}:{}", state.next, self.map.server_name());
        let mut event = json!({
            "event_id": id,
            "room_id": room,
            "sender": sender,
            "type": event_type,
            "content": content,
            "origin_server_ts": ts.unwrap_or(now),
        });
        let place = state.rooms.get_mut(room).unwrap();
        let was_ours = place.members.iter().any(|(user, how)| self.ours(user) && how != "leave");
        if let Some(key) = state_key {
            event["state_key"] = json!(key);
            place.state.insert((event_type.to_owned(), key.to_owned()), event.clone());
            if event_type == "m.room.member" {
                place.members.insert(key.to_owned(), event["content"]["membership"].as_str().unwrap().to_owned());
            }
        }
        place.timeline.push(event.clone());
        let is_ours = place.members.iter().any(|(user, how)| self.ours(user) && how != "leave");
        if (was_ours || is_ours) && !state.lose {
            state.queue.push_back(serde_json::value::to_raw_value(&event).unwrap());
        }
        OwnedEventId::try_from(id).unwrap()
    }

    /// Puts bytes into the stream to the gateway that no room holds.
    pub(crate) fn inject(&self, raw: &str) {
        self.lock().queue.push_back(RawValue::from_string(raw.to_owned()).unwrap());
    }

    fn set_member(&self, state: &mut State, room: &str, sender: &str, target: &str, membership: &str, direct: bool) {
        let mut content = json!({ "membership": membership });
        if direct {
            content["is_direct"] = json!(true);
        }
        if let Some(name) = state.names.get(target).filter(|_| membership == "join") {
            content["displayname"] = json!(name);
        }
        self.post(state, room, sender, "m.room.member", Some(target), content, None);
    }

    fn membership(state: &State, room: &str, user: &str) -> Option<String> {
        state.rooms.get(room).and_then(|room| room.members.get(user)).cloned()
    }

    fn must_be_in(state: &State, room: &str, user: &str) -> Result<(), CallError> {
        if Self::membership(state, room, user).as_deref() == Some("join") {
            Ok(())
        } else {
            Err(forbidden(&format!("{user} is not in {room}")))
        }
    }

    /// As homeservers do it, where there are power levels; of ours, for the bot.
    fn must_have(state: &State, room: &str, user: &str, deed: &str) -> Result<(), CallError> {
        let levels =
            state.rooms.get(room).and_then(|room| room.state.get(&("m.room.power_levels".into(), String::new())));
        let Some(content) = levels.map(|event| &event["content"]).filter(|_| user.starts_with("@mimibot:")) else {
            return Ok(());
        };
        let level = content["users"][user].as_i64().or(content["users_default"].as_i64()).unwrap_or(0);
        let usual = if deed == "invite" { 0 } else { 50 };
        let set = content["events"][deed].as_i64().or_else(|| content[deed].as_i64());
        if level >= set.unwrap_or_else(|| content["state_default"].as_i64().unwrap_or(usual)) {
            return Ok(());
        }
        Err(forbidden(&format!("{user} has not the power for {deed} in {room}")))
    }

    fn new_room(&self, state: &mut State, creator: &str) -> String {
        state.next += 1;
        let room = format!("!room{}:{}", state.next, self.map.server_name());
        state.rooms.insert(room.clone(), Room::default());
        self.post(state, &room, creator, "m.room.create", Some(""), json!({ "room_version": "11" }), None);
        self.set_member(state, &room, creator, creator, "join", false);
        room
    }

    // ------------------------------------------------------------------------------------------------- its people

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

    /// Invites a full user id.
    pub(crate) fn invite(&self, room: &RoomId, by: &str, target: &str, direct: bool) {
        let by = self.user(by);
        let mut state = self.lock();
        assert_eq!(Self::membership(&state, room.as_str(), &by).as_deref(), Some("join"), "{by} invites");
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
    fn show_face(&self, state: &mut State, room: &RoomId, actor: &Actor, key: &str, value: Option<&str>) {
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
        let receipt = json!({ event: { kind: { self.user(name): { "ts": 1 } } } });
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

    // ---------------------------------------------------------------------------------------------- what one sees

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

    // ------------------------------------------------------------------------------------------------- the engine

    fn id(&self, actor: &Actor) -> OwnedUserId {
        match actor {
            Actor::Bot => self.bot.clone(),
            Actor::Ghost(uri) => self.map.ghost(uri).unwrap(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm an action")]
    fn act(&self, action: &MatrixAction) -> Result<MatrixDone, CallError> {
        let mut state = self.lock();
        state.actions += 1;
        let state = &mut *state;
        match action {
            MatrixAction::Send { room, actor, event_type, content, ts, txn_id } => {
                let user = self.id(actor).to_string();
                let key = (room.to_string(), user.clone(), txn_id.clone());
                if let Some(event) = state.sent.get(&key) {
                    return Ok(MatrixDone::Event(event.clone()));
                }
                Self::must_be_in(state, room.as_str(), &user)?;
                let content = serde_json::from_str(content).unwrap();
                let event = self.post(state, room.as_str(), &user, event_type, None, content, *ts);
                state.sent.insert(key, event.clone());
                Ok(MatrixDone::Event(event))
            }
            MatrixAction::SetState { room, actor, event_type, state_key, content, .. } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, event_type)?;
                let content: Value = serde_json::from_str(content).unwrap();
                let event = self.post(state, room.as_str(), &user, event_type, Some(state_key), content, None);
                Ok(MatrixDone::Event(event))
            }
            MatrixAction::Name { room, actor, name } => {
                self.show_face(state, room, actor, "displayname", Some(name));
                Ok(MatrixDone::Done)
            }
            MatrixAction::Portray { room, actor, place } => {
                self.show_face(state, room, actor, "avatar_url", place.as_deref());
                Ok(MatrixDone::Done)
            }
            MatrixAction::CreateRoom {
                creator,
                alias_localpart,
                name,
                topic,
                is_direct,
                members,
                invite,
                initial_state,
            } => {
                if let Some(room) = state.aliases.get(alias_localpart) {
                    return Ok(MatrixDone::Room(OwnedRoomId::try_from(room.as_str()).unwrap()));
                }
                let creator = self.id(creator).to_string();
                let room = self.new_room(state, &creator);
                state.aliases.insert(alias_localpart.clone(), room.clone());
                for (event_type, state_key, content) in initial_state {
                    let mut content: Value = serde_json::from_str(content).unwrap();
                    if event_type == "m.room.power_levels" {
                        for ours in [&creator]
                            .into_iter()
                            .chain(&members.iter().map(|one| self.id(one).to_string()).collect::<Vec<_>>())
                        {
                            content["users"][ours] = json!(100);
                        }
                    }
                    self.post(state, &room, &creator, event_type, Some(state_key), content, None);
                }
                if let Some(name) = name {
                    self.post(state, &room, &creator, "m.room.name", Some(""), json!({ "name": name }), None);
                }
                if let Some(topic) = topic {
                    self.post(state, &room, &creator, "m.room.topic", Some(""), json!({ "topic": topic }), None);
                }
                for member in members {
                    let member = self.id(member).to_string();
                    self.set_member(state, &room, &creator, &member, "invite", false);
                    self.set_member(state, &room, &member, &member, "join", false);
                }
                for target in invite {
                    self.set_member(state, &room, &creator, target.as_str(), "invite", *is_direct);
                }
                Ok(MatrixDone::Room(OwnedRoomId::try_from(room).unwrap()))
            }
            MatrixAction::Join { room, actor } => {
                let user = self.id(actor).to_string();
                match Self::membership(state, room.as_str(), &user).as_deref() {
                    Some("join") => {}
                    Some("invite") => self.set_member(state, room.as_str(), &user, &user, "join", false),
                    Some("ban") => return Err(forbidden(&format!("{user} is banned from {room}"))),
                    _ => {
                        let bot = self.bot.to_string();
                        Self::must_be_in(state, room.as_str(), &bot)?;
                        self.set_member(state, room.as_str(), &bot, &user, "invite", false);
                        self.set_member(state, room.as_str(), &user, &user, "join", false);
                    }
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Leave { room, actor, reason } => {
                let user = self.id(actor).to_string();
                self.go(state, room, &user, reason.as_deref());
                Ok(MatrixDone::Done)
            }
            MatrixAction::Decline { room, target, reason } => {
                self.go(state, room, target.as_str(), Some(reason));
                Ok(MatrixDone::Done)
            }
            MatrixAction::Unban { room, actor, target } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "ban")?;
                if Self::membership(state, room.as_str(), target.as_str()).as_deref() == Some("ban") {
                    self.set_member(state, room.as_str(), &user, target.as_str(), "leave", false);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::RemoveAlias { alias_localpart } => {
                state.aliases.remove(alias_localpart);
                Ok(MatrixDone::Done)
            }
            MatrixAction::Receipt { room, actor, event } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                state.receipts.insert((room.to_string(), user), event.to_string());
                Ok(MatrixDone::Done)
            }
            MatrixAction::Invite { room, actor, target, is_direct } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                if Self::membership(state, room.as_str(), target.as_str()).as_deref() == Some("ban") {
                    return Err(forbidden(&format!("{target} is banned from {room}")));
                }
                if !matches!(
                    Self::membership(state, room.as_str(), target.as_str()).as_deref(),
                    Some("join" | "invite")
                ) {
                    self.set_member(state, room.as_str(), &user, target.as_str(), "invite", *is_direct);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Kick { room, actor, target, reason } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "kick")?;
                if matches!(Self::membership(state, room.as_str(), target.as_str()).as_deref(), Some("join" | "invite"))
                {
                    let content = json!({ "membership": "leave", "reason": reason });
                    self.post(state, room.as_str(), &user, "m.room.member", Some(target.as_str()), content, None);
                }
                Ok(MatrixDone::Done)
            }
            MatrixAction::Ban { room, actor, target, reason } => {
                let user = self.id(actor).to_string();
                Self::must_be_in(state, room.as_str(), &user)?;
                Self::must_have(state, room.as_str(), &user, "ban")?;
                let content = json!({ "membership": "ban", "reason": reason });
                self.post(state, room.as_str(), &user, "m.room.member", Some(target.as_str()), content, None);
                Ok(MatrixDone::Done)
            }
        }
    }

    /// Somebody of the gateway's goes out of a room, or declines.
    fn go(&self, state: &mut State, room: &RoomId, user: &str, reason: Option<&str>) {
        if matches!(Self::membership(state, room.as_str(), user).as_deref(), Some("join" | "invite")) {
            let content = json!({ "membership": "leave", "reason": reason });
            self.post(state, room.as_str(), user, "m.room.member", Some(user), content, None);
        }
    }

    /// Makes a call under the fault plan.
    async fn with_faults<T>(&self, name: &str, call: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = (self.faults.lock().unwrap())(name);
        tokio::task::yield_now().await;
        match fault {
            Fault::None => call(),
            Fault::Before => Err(lost("connection refused", Retry::Retriable(None))),
            Fault::Refused => Err(lost("no", Retry::Permanent)),
            Fault::Panics => panic!("on purpose"),
            Fault::Later(after) => Err(lost("busy", Retry::Retriable(Some(after)))),
            Fault::Stuck => std::future::pending().await,
            Fault::After => call().and_then(|_| Err(lost("the answer was lost", Retry::Uncertain))),
        }
    }
}

fn raw(event: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(event).unwrap()
}

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
