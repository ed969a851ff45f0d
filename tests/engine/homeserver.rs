//! A homeserver in memory: rooms, a client API for its people, the appservice API for the engine.
//!
//! As Synapse does, it sends every event of rooms in which the gateway takes part, in order and again until it is
//! acknowledged; knows a ghost's send by its transaction id; and can lose events on the way to the gateway.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::{
    engine::{
        Engine,
        ports::{CallError, Contacts, MatrixInbound as _, Retry, Transaction, UserReport},
    },
    ident::{IdentityMap, is_ghost_pattern},
    policy::Preset,
};
use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde_json::{Value, json, value::RawValue};

#[path = "homeserver/acts.rs"]
mod acts;
#[path = "homeserver/people.rs"]
mod people;
#[path = "homeserver/port.rs"]
mod port;
#[path = "homeserver/sights.rs"]
mod sights;
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

/// As a busy homeserver does before it acts and before it answers: up to `ENGINE_LINGER_MS` milliseconds, none where
/// that is not set. With 30 or so, a test that takes what mostly happens first for what has to is found.
async fn linger() {
    static UP_TO: LazyLock<u64> =
        LazyLock::new(|| std::env::var("ENGINE_LINGER_MS").ok().and_then(|text| text.parse().ok()).unwrap_or(0));
    if *UP_TO > 0 {
        let hash = RandomState::new().hash_one(0);
        tokio::time::sleep(Duration::from_millis(hash % *UP_TO)).await;
    }
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
    /// The kinds of rooms, where one was chosen.
    presets: BTreeMap<String, Preset>,
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
            if let Some(before) = place.state.get(&(event_type.to_owned(), key.to_owned())) {
                event["unsigned"] = json!({ "prev_content": before["content"] });
            }
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

    /// Makes a call under the fault plan.
    async fn with_faults<T>(&self, name: &str, call: impl FnOnce() -> Result<T, CallError>) -> Result<T, CallError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = (self.faults.lock().unwrap())(name);
        tokio::task::yield_now().await;
        linger().await;
        match fault {
            Fault::None => {
                let answer = call();
                linger().await;
                answer
            }
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
