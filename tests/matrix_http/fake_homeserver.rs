//! A stand-in homeserver: records every request, keeps users, memberships and transaction ids, and can be told to answer
//! otherwise once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, Request, StatusCode},
    response::{IntoResponse, Response},
};
use http_body_util::BodyExt;
use mimi_gateway::matrix::{Credentials, HomeserverClient, MatrixSettings};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::names;

pub(crate) const ROOM: &str = "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM";

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Decoded path segments after `/_matrix/client/v3`.
    pub(crate) path: Vec<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) auth: Option<String>,
    pub(crate) raw_body: String,
}

impl Seen {
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.raw_body).unwrap_or(Value::Null)
    }
    /// Method and the segments that are no ids: `PUT rooms state m.room.member`.
    pub(crate) fn what(&self) -> String {
        let words = self.path.iter().filter(|s| !s.contains([':', '!', '$']) && !s.starts_with("t-"));
        format!("{} {}", self.method, words.cloned().collect::<Vec<_>>().join(" "))
    }
    pub(crate) fn user(&self) -> &str {
        self.query.get("user_id").map_or("", String::as_str)
    }
}

struct Override {
    what: &'static str,
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Value,
}

pub(crate) struct World {
    pub(crate) seen: Vec<Seen>,
    pub(crate) users: BTreeMap<String, Option<String>>,
    pub(crate) members: BTreeMap<String, String>,
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) state: Vec<Value>,
    pub(crate) default_room_version: Option<&'static str>,
    devices: bool,
    known_devices: BTreeSet<String>,
    txns: BTreeMap<String, String>,
    overrides: Vec<Override>,
    /// Never answers a send.
    pub(crate) hang: bool,
}

pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    pub(crate) url: String,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let world = Arc::new(Mutex::new(World {
            seen: Vec::new(),
            users: BTreeMap::new(),
            members: BTreeMap::new(),
            aliases: BTreeMap::new(),
            state: Vec::new(),
            default_room_version: Some("12"),
            devices: true,
            known_devices: BTreeSet::new(),
            txns: BTreeMap::new(),
            overrides: Vec::new(),
            hang: false,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { world, url }
    }

    pub(crate) fn client(&self) -> HomeserverClient {
        client_at(&self.url)
    }

    pub(crate) fn admin_client(&self) -> HomeserverClient {
        client_with(&self.url, "admin_token = 'admin-token'\n")
    }

    /// The next request of this kind (see [`Seen::what`]) is answered so.
    pub(crate) fn once(&self, what: &'static str, status: u16, body: Value) {
        self.once_with(what, status, Vec::new(), body);
    }
    pub(crate) fn once_with(
        &self,
        what: &'static str,
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: Value,
    ) {
        self.with(|world| world.overrides.push(Override { what, status, headers, body }));
    }
    pub(crate) fn without_devices(&self) {
        self.with(|world| world.devices = false);
    }
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.world.lock().unwrap())
    }
    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Seen> {
        self.with(|world| std::mem::take(&mut world.seen))
    }
    pub(crate) fn asked_words(&self) -> Vec<String> {
        self.asked().iter().map(Seen::what).collect()
    }
}

pub(crate) fn client_at(url: &str) -> HomeserverClient {
    client_with(url, "")
}

fn client_with(url: &str, more: &str) -> HomeserverClient {
    let settings: MatrixSettings = toml::from_str(&format!(
        "homeserver_url = '{url}/'\nserver_name = 'a.example'\nas_token = 'as-token'\nhs_token = 'hs-token'\n\
         sender_localpart = 'mimi_bot'\nrequest_timeout_seconds = 1\n{more}"
    ))
    .unwrap();
    let credentials: Credentials = settings.credentials(None).unwrap();
    HomeserverClient::new(&settings, &credentials, names()).unwrap()
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let raw: Bytes = body.collect().await.unwrap().to_bytes();
    let seen = Seen {
        method: parts.method,
        path: parts
            .uri
            .path()
            .trim_start_matches("/_matrix/client/v3/")
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().unwrap().into_owned())
            .collect(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        auth: parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        raw_body: String::from_utf8(raw.to_vec()).unwrap(),
    };
    let (hang, reply) = {
        let mut world = world.lock().unwrap();
        world.seen.push(seen.clone());
        let what = seen.what();
        let place = world.overrides.iter().position(|other| other.what == what);
        let hang = world.hang && what.contains(" send ");
        if let Some(place) = place {
            let told = world.overrides.remove(place);
            let mut response = (StatusCode::from_u16(told.status).unwrap(), told.body.to_string()).into_response();
            for (name, value) in told.headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            (hang, response)
        } else {
            let (status, body) = world.judge(&seen);
            (hang, (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response())
        }
    };
    if hang {
        std::future::pending::<()>().await;
    }
    reply
}

fn error(status: u16, errcode: &str, words: &str) -> (u16, Value) {
    (status, json!({"errcode": errcode, "error": words}))
}

impl World {
    #[expect(clippy::too_many_lines, reason = "one arm an endpoint reads best in one place")]
    fn judge(&mut self, seen: &Seen) -> (u16, Value) {
        let path: Vec<&str> = seen.path.iter().map(String::as_str).collect();
        let body = seen.body();
        let user = seen.user().to_owned();
        match (seen.method.as_str(), path.as_slice()) {
            ("POST", ["register"]) => {
                let id = format!("@{}:a.example", body["username"].as_str().unwrap());
                if self.users.contains_key(&id) {
                    return error(400, "M_USER_IN_USE", "taken");
                }
                self.users.insert(id.clone(), None);
                (200, json!({"user_id": id}))
            }
            ("GET", ["profile", id]) => match self.users.get(*id) {
                Some(Some(name)) => (200, json!({"displayname": name})),
                Some(None) => (200, json!({})),
                // As Synapse 1.163 does.
                None => error(404, "M_UNKNOWN", "No row found (profiles)"),
            },
            ("PUT", ["profile", id, "displayname"]) => {
                self.users.insert((*id).to_owned(), body["displayname"].as_str().map(str::to_owned));
                (200, json!({}))
            }
            ("PUT", ["devices", device]) if self.devices => {
                self.known_devices.insert(format!("{user} {device}"));
                (201, json!({}))
            }
            ("GET", ["capabilities"]) => {
                let versions = self.default_room_version.map(|version| json!({"default": version, "available": {}}));
                (200, json!({"capabilities": {"m.room_versions": versions}}))
            }
            ("POST", ["createRoom"]) => {
                let alias = format!("#{}:a.example", body["room_alias_name"].as_str().unwrap());
                if self.aliases.contains_key(&alias) {
                    return error(400, "M_ROOM_IN_USE", "taken");
                }
                self.aliases.insert(alias, ROOM.to_owned());
                self.members.insert(user, "join".to_owned());
                for invited in body["invite"].as_array().unwrap() {
                    self.members.insert(invited.as_str().unwrap().to_owned(), "invite".to_owned());
                }
                (200, json!({"room_id": ROOM}))
            }
            ("GET", ["directory", "room", alias]) => match self.aliases.get(*alias) {
                Some(room) => (200, json!({"room_id": room, "servers": ["a.example"]})),
                None => error(404, "M_NOT_FOUND", "no such alias"),
            },
            ("DELETE", ["directory", "room", alias]) => {
                self.aliases.remove(*alias);
                (200, json!({}))
            }
            ("POST", ["rooms", _, "join"]) => match self.members.get(&user).map(String::as_str) {
                Some("join" | "invite") => {
                    self.members.insert(user, "join".to_owned());
                    (200, json!({"room_id": ROOM}))
                }
                _ => error(403, "M_FORBIDDEN", "You are not invited to this room."),
            },
            ("POST", ["rooms", _, "invite"]) => {
                let target = body["user_id"].as_str().unwrap().to_owned();
                if self.members.get(&target).is_some_and(|membership| membership == "join") {
                    return error(403, "M_FORBIDDEN", "is already in the room");
                }
                self.members.insert(target, "invite".to_owned());
                (200, json!({}))
            }
            ("POST", ["rooms", _, "leave"]) => match self.members.remove(&user) {
                Some(_) => (200, json!({})),
                None => error(403, "M_FORBIDDEN", "not in the room"),
            },
            ("POST", ["rooms", _, "kick"]) => match self.members.remove(body["user_id"].as_str().unwrap()) {
                Some(_) => (200, json!({})),
                None => error(403, "M_FORBIDDEN", "The target user is not in the room"),
            },
            ("GET", ["rooms", _, "state", "m.room.member", target]) => match self.members.get(*target) {
                Some(membership) => (200, json!({"membership": membership})),
                None => error(404, "M_NOT_FOUND", "no such event"),
            },
            ("GET", ["rooms", _, "state"]) => {
                let mut state = self.state.clone();
                state.extend(self.members.iter().map(|(user, membership)| {
                    json!({"type": "m.room.member", "state_key": user, "content": {"membership": membership}})
                }));
                (200, Value::Array(state))
            }
            ("PUT", ["rooms", _, "state", "m.room.member", target]) => {
                self.members.insert((*target).to_owned(), body["membership"].as_str().unwrap().to_owned());
                (200, json!({"event_id": "$member"}))
            }
            ("PUT", ["rooms", _, "state", ..]) => (200, json!({"event_id": "$state"})),
            ("POST", ["rooms", _, "receipt", ..]) if self.users.contains_key(&user) => (200, json!({})),
            ("PUT", ["rooms", _, "send" | "redact", ..]) => {
                if !self.users.contains_key(&user) {
                    return error(403, "M_FORBIDDEN", "Application service has not registered this user");
                }
                if let Some(device) = seen.query.get("device_id")
                    && !self.known_devices.contains(&format!("{user} {device}"))
                {
                    return error(400, "M_UNKNOWN_DEVICE", "trying to use a device that doesn't exist");
                }
                let next = format!("$event{}", self.txns.len());
                let id = self.txns.entry(seen.path.join("/")).or_insert(next);
                (200, json!({"event_id": id}))
            }
            _ => error(404, "M_UNRECOGNIZED", "no such endpoint"),
        }
    }
}
