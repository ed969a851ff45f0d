//! The chat of a small instant-messaging service: its users and rooms, kept in a journal.
//!
//! The engine's ports speak of rooms and events as Matrix does, since that is what the engine translates. So the chat keeps
//! what happens in its rooms as such events (a silo with a format of its own would make them in an adapter), hands those of
//! rooms in which the gateway takes part to the engine, in order and again until they are taken ([`Chat::feed`]), and
//! carries out what the engine wants (`port.rs`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::{
    engine::{
        Engine,
        ports::{InboundError, MatrixInbound as _, Transaction},
    },
    ident::{GhostOf, IdentityMap, UserUri, is_ghost_pattern},
    policy::Preset,
};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sha2::Digest as _;
use tokio::sync::{Notify, mpsc};

/// Events that the engine gets at once.
const AT_ONCE: usize = 50;
/// Before they are handed over again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why something cannot be done, for people.
pub(crate) type Refused = String;

/// What a user's client shows: one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Told {
    /// The room is mirrored under this address.
    Mirrored { room: String, mimi: String },
    /// A local user is asked into a room.
    Invited { room: String, user: String, by: String },
    /// Somebody came, left, was asked or banned.
    Member { room: String, user: String, now: String },
    /// Somebody says something.
    Message { room: String, from: String, text: String },
    /// The gateway says something.
    Notice { room: String, text: String },
    /// The room has another title.
    Title { room: String, title: String },
    /// Others may do more, or less: the level of each one who has one.
    Power { room: String, levels: BTreeMap<String, i64> },
}

/// What changes the chat. One line of the journal has what changes at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Record {
    User(String),
    Room(String),
    Event(Value),
    /// An act of the gateway that may be repeated: room, sender and transaction id, and what came of it.
    Sent(String, String, String, OwnedEventId),
    /// What an alias names from now on.
    Alias(String, Option<String>),
    /// So many events were taken by the engine.
    Taken(usize),
}

#[derive(Default)]
pub(super) struct Room {
    /// Membership by user.
    pub(super) members: BTreeMap<String, String>,
    pub(super) events: Vec<Value>,
    /// State events by type and key.
    pub(super) state: BTreeMap<(String, String), Value>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) users: BTreeSet<String>,
    pub(super) rooms: BTreeMap<String, Room>,
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) sent: BTreeMap<(String, String, String), OwnedEventId>,
    /// Events that the engine has to take.
    queue: VecDeque<Box<RawValue>>,
    /// How many it took.
    taken: usize,
    events: usize,
}

/// The chat.
pub(crate) struct Chat {
    pub(crate) map: IdentityMap,
    /// The id by which the gateway itself takes part.
    pub(crate) bot: OwnedUserId,
    state: Mutex<State>,
    journal: Option<Mutex<File>>,
    queued: Notify,
    clients: mpsc::UnboundedSender<Told>,
}

/// What is done at once, whole or (if the process ends before) not at all.
pub(super) struct Change<'a> {
    chat: &'a Chat,
    pub(super) state: &'a mut State,
    records: Vec<Record>,
}

pub(super) fn raw(event: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(event).expect("JSON")
}

pub(super) fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

impl Room {
    fn apply(&mut self, event: Value) {
        if let Some(key) = event["state_key"].as_str() {
            if event["type"] == "m.room.member" {
                self.members.insert(key.to_owned(), text(&event["content"], "membership").to_owned());
            }
            self.state.insert((text(&event, "type").to_owned(), key.to_owned()), event.clone());
        }
        self.events.push(event);
    }

    /// Whether one of those is in it or asked into it.
    fn has(&self, who: impl Fn(&str) -> bool) -> bool {
        self.members.iter().any(|(user, how)| matches!(how.as_str(), "join" | "invite") && who(user))
    }
}

impl State {
    fn apply(&mut self, record: Record, chat: &Chat) {
        match record {
            Record::User(user) => drop(self.users.insert(user)),
            Record::Room(room) => drop(self.rooms.insert(room, Room::default())),
            Record::Sent(room, sender, txn, event) => drop(self.sent.insert((room, sender, txn), event)),
            Record::Alias(alias, Some(room)) => drop(self.aliases.insert(alias, room)),
            Record::Alias(alias, None) => drop(self.aliases.remove(&alias)),
            Record::Taken(count) => {
                self.queue.drain(..count);
                self.taken += count;
            }
            Record::Event(event) => {
                self.events += 1;
                let room = self.rooms.get_mut(text(&event, "room_id")).expect("events have rooms");
                let was_there = room.has(|user| chat.is_gateways(user));
                room.apply(event.clone());
                if was_there || room.has(|user| chat.is_gateways(user)) {
                    self.queue.push_back(raw(&event));
                }
            }
        }
    }

    /// How somebody stands to a room.
    pub(super) fn member(&self, room: &str, user: &str) -> &str {
        self.rooms.get(room).and_then(|room| room.members.get(user)).map_or("", String::as_str)
    }

    /// The content of a room's state event without key.
    pub(super) fn content(&self, room: &str, event_type: &str) -> Option<&Value> {
        let key = (event_type.to_owned(), String::new());
        self.rooms.get(room)?.state.get(&key).map(|event| &event["content"])
    }
}

impl Change<'_> {
    pub(super) fn record(&mut self, record: Record) {
        self.records.push(record.clone());
        self.state.apply(record, self.chat);
    }

    pub(super) fn post(&mut self, room: &str, sender: &str, event_type: &str, content: Value) -> OwnedEventId {
        self.event(room, sender, event_type, None, content, None)
    }

    pub(super) fn set(
        &mut self,
        room: &str,
        sender: &str,
        event_type: &str,
        key: &str,
        content: Value,
    ) -> OwnedEventId {
        self.event(room, sender, event_type, Some(key), content, None)
    }

    #[expect(clippy::needless_pass_by_value, reason = "contents are made for the call")]
    pub(super) fn event(
        &mut self,
        room: &str,
        sender: &str,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
        at: Option<u64>,
    ) -> OwnedEventId {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let id = format!("${}:{}", self.state.events + 1, self.chat.map.server_name());
        let mut event = json!({
            "event_id": id, "room_id": room, "sender": sender, "type": event_type, "content": content,
            "origin_server_ts": at.unwrap_or(u64::try_from(now).unwrap_or(u64::MAX)),
        });
        if let Some(key) = state_key {
            event["state_key"] = json!(key);
        }
        self.record(Record::Event(event));
        OwnedEventId::try_from(id).expect("an event id")
    }

    pub(super) fn member(&mut self, room: &str, sender: &str, user: &str, membership: &str) {
        self.set(room, sender, "m.room.member", user, json!({ "membership": membership }));
    }

    pub(super) fn invite(&mut self, room: &str, sender: &str, user: &str, direct: bool) {
        let mut content = json!({ "membership": "invite" });
        if direct {
            content["is_direct"] = json!(true);
        }
        self.set(room, sender, "m.room.member", user, content);
    }

    /// A new room, with its creator in it.
    pub(super) fn room(&mut self, creator: &str) -> String {
        self.room_of_kind(creator, None)
    }

    /// The same, of a kind that its creator chose. It stands in the first event, which nobody changes.
    pub(super) fn room_of_kind(&mut self, creator: &str, preset: Option<Preset>) -> String {
        let room = format!("!{}:{}", self.state.rooms.len() + 1, self.chat.map.server_name());
        self.record(Record::Room(room.clone()));
        let mut first = json!({ "room_version": "11" });
        if let Some(preset) = preset {
            first["preset"] = json!(preset.to_string());
        }
        self.set(&room, creator, "m.room.create", "", first);
        self.member(&room, creator, creator, "join");
        room
    }

    /// What somebody may do in a room, as a number.
    pub(super) fn level(&self, room: &str, user: &str) -> i64 {
        let levels = self.state.content(room, "m.room.power_levels");
        levels.map_or(0, |levels| levels["users"][user].as_i64().or(levels["users_default"].as_i64()).unwrap_or(0))
    }

    /// Whether somebody may do this (`kick`, `ban`) to another.
    pub(super) fn must_be_above(&self, room: &str, by: &str, other: &str, what: &str) -> Result<(), Refused> {
        let levels = self.state.content(room, "m.room.power_levels");
        let needed = levels.and_then(|levels| levels[what].as_i64()).unwrap_or(50);
        let level = self.level(room, by);
        let may = level >= needed && level > self.level(room, other);
        may.then_some(()).ok_or_else(|| format!("{by} may not {what} {other} in {room}"))
    }

    pub(super) fn must_be_in(&self, room: &str, user: &str) -> Result<(), Refused> {
        let there = self.state.member(room, user) == "join";
        there.then_some(()).ok_or_else(|| format!("{user} is not in {room}"))
    }
}

impl Chat {
    /// The chat of a provider. With a directory it is kept there, without one it ends with the process. `clients` get what
    /// there is to show.
    pub(crate) fn open(map: IdentityMap, dir: Option<&Path>, clients: mpsc::UnboundedSender<Told>) -> io::Result<Self> {
        let bot = UserId::parse(format!("@gateway:{}", map.server_name())).expect("a user id");
        let chat = Self { map, bot, state: Mutex::default(), journal: None, queued: Notify::new(), clients };
        let Some(dir) = dir else { return Ok(chat) };
        let path = dir.join("chat.jsonl");
        let mut whole = 0;
        if path.exists() {
            let mut reader = BufReader::new(File::open(&path)?);
            let mut line = String::new();
            // A line that was cut off by the end of the process did not happen.
            while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
                for record in serde_json::from_str::<Vec<Record>>(&line)? {
                    chat.lock().apply(record, &chat);
                }
                whole += u64::try_from(line.len()).unwrap_or(0);
                line.clear();
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole)?;
        Ok(Self { journal: Some(Mutex::new(file)), ..chat })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// Whether the gateway speaks by this id: its own, or a remote user's ghost.
    fn is_gateways(&self, user: &str) -> bool {
        user == self.bot.as_str() || UserId::parse(user).is_ok_and(|user| is_ghost_pattern(&user))
    }

    /// The full id of one of our users.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("@{name}:{}", self.map.server_name())
    }

    /// The address of a full id, for people.
    fn shown(&self, id: &str) -> String {
        let Ok(user) = UserId::parse(id) else { return id.to_owned() };
        match self.map.ghost_of(&user) {
            Some(GhostOf::User(uri)) => uri.to_string(),
            _ => self.map.user_uri(&user).map_or_else(|_| id.to_owned(), |uri| uri.to_string()),
        }
    }

    /// The full id that an address stands for here; a name without address is one of our users.
    pub(crate) fn named(&self, who: &str) -> Result<String, Refused> {
        if !who.starts_with("mimi:") {
            return Ok(self.id(who));
        }
        let uri = UserUri::parse(who).map_err(|error| error.to_string())?;
        if uri.provider() == *self.map.provider() {
            return self.map.matrix_user(&uri).map(String::from).ok_or_else(|| format!("nobody is called {who}"));
        }
        self.map.ghost(&uri).map(String::from).map_err(|error| error.to_string())
    }

    /// Does something, and returns once it is on disk.
    pub(super) fn change<T>(&self, act: impl FnOnce(&mut Change<'_>) -> Result<T, Refused>) -> Result<T, Refused> {
        let mut state = self.lock();
        let mut change = Change { chat: self, state: &mut state, records: Vec::new() };
        let result = act(&mut change);
        let records = change.records;
        if let (Some(journal), false) = (&self.journal, records.is_empty()) {
            let line = serde_json::to_string(&records).expect("JSON") + "\n";
            let mut file = journal.lock().expect("nobody panics here");
            // What is in memory is ahead of the disk: there is no way on.
            file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).expect("the chat's journal is written");
        }
        for record in &records {
            if let Record::Event(event) = record
                && let Some(told) = self.tell(&state, event)
            {
                // Without clients nobody has to be told.
                let _ = self.clients.send(told);
            }
        }
        self.queued.notify_one();
        result
    }

    /// What clients show of an event.
    fn tell(&self, state: &State, event: &Value) -> Option<Told> {
        let (room, sender, content) = (text(event, "room_id").to_owned(), text(event, "sender"), &event["content"]);
        // Who is out is shown that they are.
        let own = text(event, "type") == "m.room.member" && !self.is_gateways(text(event, "state_key"));
        if !own && !state.rooms[&room].has(|user| !self.is_gateways(user)) {
            return None;
        }
        match text(event, "type") {
            "m.room.message" if content["msgtype"] == "m.notice" => {
                Some(Told::Notice { room, text: text(content, "body").to_owned() })
            }
            "m.room.message" if text(content, "body").starts_with("!mimi ") => None,
            "m.room.message" => {
                Some(Told::Message { room, from: self.shown(sender), text: text(content, "body").to_owned() })
            }
            "m.room.name" => Some(Told::Title { room, title: text(content, "name").to_owned() }),
            "m.room.power_levels" => {
                let users = content["users"].as_object().into_iter().flatten();
                let levels = users.filter_map(|(user, level)| Some((self.shown(user), level.as_i64()?))).collect();
                Some(Told::Power { room, levels })
            }
            "m.bridge" => {
                let mimi = content["channel"]["id"].as_str()?.to_owned();
                Some(Told::Mirrored { room, mimi })
            }
            "m.room.member" if text(event, "state_key") == self.bot.as_str() => None,
            "m.room.member" => {
                let (user, now) = (text(event, "state_key"), text(content, "membership").to_owned());
                if now == "invite" && !self.is_gateways(user) {
                    return Some(Told::Invited { room, user: self.shown(user), by: self.shown(sender) });
                }
                Some(Told::Member { room, user: self.shown(user), now })
            }
            _ => None,
        }
    }

    /// Hands what happens to the engine, until that stops.
    pub(crate) async fn feed(&self, engine: &Engine) {
        loop {
            let (events, taken) = {
                let state = self.lock();
                (state.queue.iter().take(AT_ONCE).cloned().collect::<Vec<_>>(), state.taken)
            };
            if events.is_empty() {
                self.queued.notified().await;
                continue;
            }
            let mut hash = sha2::Sha256::new();
            for event in &events {
                hash.update(event.get());
            }
            let count = events.len();
            let (txn_id, body_hash) = (taken.to_string(), hash.finalize().into());
            match engine
                .transaction(Transaction { txn_id, body_hash, events, ephemeral: Vec::new(), connection: 1 })
                .await
            {
                Ok(()) => drop(self.change(|change| {
                    change.record(Record::Taken(count));
                    Ok(())
                })),
                Err(InboundError::NotStored(_) | InboundError::TooMany(_)) => tokio::time::sleep(PAUSE).await,
                Err(InboundError::ShuttingDown) => return,
            }
        }
    }

    // ------------------------------------------------------------------------------------------------ its people

    /// Makes somebody known.
    pub(crate) fn register(&self, name: &str) -> Result<(), Refused> {
        let id = self.id(name);
        UserId::parse(&id).map_err(|error| format!("{name:?}: {error}"))?;
        self.change(|change| {
            if !change.state.users.contains(&id) {
                change.record(Record::User(id));
            }
            Ok(())
        })
    }

    /// Makes a room, of a kind if one is chosen, and has it mirrored.
    pub(crate) fn create_room(&self, by: &str, title: &str, preset: Option<Preset>) -> Result<OwnedRoomId, Refused> {
        let by = self.id(by);
        self.change(|change| {
            let room = change.room_of_kind(&by, preset);
            if preset.is_some_and(Preset::is_open) {
                change.set(&room, &by, "m.room.join_rules", "", json!({ "join_rule": "public" }));
            }
            let power = json!({ "users": { &by: 100, self.bot.as_str(): 100 } });
            change.set(&room, &by, "m.room.power_levels", "", power);
            change.set(&room, &by, "m.room.name", "", json!({ "name": title }));
            change.invite(&room, &by, self.bot.as_str(), false);
            change.post(&room, &by, "m.room.message", json!({ "msgtype": "m.text", "body": "!mimi bridge" }));
            Ok(OwnedRoomId::try_from(room).expect("a room id"))
        })
    }

    /// Asks a user, ours or another provider's, into a room.
    pub(crate) fn invite(&self, room: &RoomId, by: &str, who: &str) -> Result<(), Refused> {
        let (by, user) = (self.id(by), self.named(who)?);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            if self.is_gateways(&user) {
                // Only the gateway can reach them.
                let ask = json!({ "msgtype": "m.text", "body": format!("!mimi invite {who}") });
                change.post(room.as_str(), &by, "m.room.message", ask);
            } else if !change.state.users.contains(&user) {
                return Err(format!("nobody here is called {who}"));
            } else if !matches!(change.state.member(room.as_str(), &user), "join" | "invite" | "ban") {
                change.invite(room.as_str(), &by, &user, false);
            }
            Ok(())
        })
    }

    /// Comes into a room into which one is asked.
    pub(crate) fn accept(&self, room: &RoomId, name: &str) -> Result<(), Refused> {
        let user = self.id(name);
        self.change(|change| match change.state.member(room.as_str(), &user) {
            "invite" => {
                change.member(room.as_str(), &user, &user, "join");
                Ok(())
            }
            _ => Err(format!("{name} is not asked into {room}")),
        })
    }

    /// Leaves a room, or declines to come.
    pub(crate) fn leave(&self, room: &RoomId, name: &str) -> Result<(), Refused> {
        let user = self.id(name);
        self.change(|change| match change.state.member(room.as_str(), &user) {
            "invite" | "join" => {
                change.member(room.as_str(), &user, &user, "leave");
                Ok(())
            }
            _ => Err(format!("{name} is not in {room}")),
        })
    }

    /// Removes somebody; whose level says so may.
    pub(crate) fn remove(&self, room: &RoomId, by: &str, who: &str) -> Result<(), Refused> {
        let (by, user) = (self.id(by), self.named(who)?);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            change.must_be_above(room.as_str(), &by, &user, "kick")?;
            match change.state.member(room.as_str(), &user) {
                "invite" | "join" => {
                    change.member(room.as_str(), &by, &user, "leave");
                    Ok(())
                }
                _ => Err(format!("{who} is not in {room}")),
            }
        })
    }

    /// Gives a room another title; who may remove others may do that, too.
    pub(crate) fn rename(&self, room: &RoomId, by: &str, title: &str) -> Result<(), Refused> {
        let by = self.id(by);
        self.change(|change| {
            change.must_be_in(room.as_str(), &by)?;
            change.set(room.as_str(), &by, "m.room.name", "", json!({ "name": title }));
            Ok(())
        })
    }

    /// Says something; whose level says so may.
    pub(crate) fn say(&self, room: &RoomId, name: &str, words: &str) -> Result<(), Refused> {
        let user = self.id(name);
        self.change(|change| {
            change.must_be_in(room.as_str(), &user)?;
            let levels = change.state.content(room.as_str(), "m.room.power_levels");
            let needed = levels.and_then(|levels| levels["events_default"].as_i64()).unwrap_or(0);
            if change.level(room.as_str(), &user) < needed {
                return Err(format!("{name} may not write in {room}"));
            }
            change.post(room.as_str(), &user, "m.room.message", json!({ "msgtype": "m.text", "body": words }));
            Ok(())
        })
    }

    // ---------------------------------------------------------------------------------------------- what one sees

    /// The rooms into which somebody is asked.
    pub(crate) fn invitations(&self, name: &str) -> Vec<OwnedRoomId> {
        let (user, state) = (self.id(name), self.lock());
        let rooms = state.rooms.keys().filter(|room| state.member(room, &user) == "invite");
        rooms.map(|room| OwnedRoomId::try_from(room.as_str()).expect("a room id")).collect()
    }

    /// Who is in a room, by address.
    pub(crate) fn members(&self, room: &RoomId) -> BTreeSet<String> {
        let state = self.lock();
        let Some(room) = state.rooms.get(room.as_str()) else { return BTreeSet::new() };
        let there = room.members.iter().filter(|(user, how)| *how == "join" && **user != self.bot);
        there.map(|(user, _)| self.shown(user)).collect()
    }

    /// What was said in a room: by whom, and the words.
    pub(crate) fn said(&self, room: &RoomId) -> Vec<(String, String)> {
        let state = self.lock();
        let events = state.rooms.get(room.as_str()).map_or(&[][..], |room| &room.events);
        let told = events.iter().filter_map(|event| self.tell(&state, event));
        told.filter_map(|told| if let Told::Message { from, text, .. } = told { Some((from, text)) } else { None })
            .collect()
    }

    /// What a room is called.
    pub(crate) fn title(&self, room: &RoomId) -> String {
        let state = self.lock();
        state.content(room.as_str(), "m.room.name").map_or("", |content| text(content, "name")).to_owned()
    }

    /// The MIMI room that a room is mirrored as.
    pub(crate) fn mirrored(&self, room: &RoomId) -> Option<String> {
        let state = self.lock();
        let room = state.rooms.get(room.as_str())?;
        let bridge = room.state.iter().find(|((kind, _), _)| kind == "m.bridge")?.1;
        bridge["content"]["channel"]["id"].as_str().map(str::to_owned)
    }
}
