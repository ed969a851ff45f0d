//! The homeserver's rooms for whoever runs it: Synapse's admin API (`/_synapse/admin/v1/rooms`), and the bot's own list.

use reqwest::{Method, header::AUTHORIZATION};
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{HomeserverClient, admin::bearer, errors, http::Target};
use crate::{
    engine::ports::{CallError, ListedRoom, RoomPage, Survey},
    store::BoxFuture,
};

/// Rooms a page.
const PAGE: u64 = 200;

#[derive(Deserialize)]
struct Joined {
    joined_rooms: Vec<OwnedRoomId>,
}

#[derive(Deserialize)]
struct Listed {
    rooms: Vec<Entry>,
    next_batch: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    room_id: OwnedRoomId,
    name: Option<String>,
    #[serde(default)]
    joined_local_members: u64,
}

#[derive(Deserialize)]
struct State {
    state: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Nothing {}

impl HomeserverClient {
    /// As an administrator. What the homeserver refuses is told in its words: they name the room's trouble.
    async fn as_admin<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        method: Method,
        target: Target,
        body: Option<String>,
    ) -> Result<T, CallError> {
        let token = self.admin_token.as_ref().ok_or_else(|| errors::unusable(what, "there is no admin_token"))?;
        let mut request = self.http.request(method, target.into_text()).header(AUTHORIZATION, bearer(what, token)?);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let answer = self.exchange(what, request).await.map_err(|error| match error.status {
            // Says nothing of our own token, which others look after.
            Some(401) => errors::unusable(&error.what, "homeserver.admin_token has to be an administrator's"),
            _ => error,
        })?;
        serde_json::from_slice(&answer.into_body()).map_err(|error| errors::unreadable(what, &error.to_string()))
    }

    fn admin_rooms(&self) -> Target {
        Target::admin(&self.base, "v1").segment("rooms")
    }
}

impl Survey for HomeserverClient {
    fn joined_rooms(&self) -> BoxFuture<'_, Result<Vec<OwnedRoomId>, CallError>> {
        Box::pin(async move {
            let target = self.v3().segment("joined_rooms").query("user_id", self.names.bot().as_str());
            Ok(self.call::<Joined>("joined rooms", Method::GET, target, None).await?.joined_rooms)
        })
    }

    fn known_rooms(&self, skip: u64) -> BoxFuture<'_, Result<RoomPage, CallError>> {
        Box::pin(async move {
            let target = self.admin_rooms().number("from", skip).number("limit", PAGE).query("order_by", "name");
            let list: Listed = self.as_admin("rooms", Method::GET, target, None).await?;
            let rooms = list.rooms.into_iter().map(|entry| ListedRoom {
                room: entry.room_id,
                name: entry.name.unwrap_or_default(),
                local_members: entry.joined_local_members,
            });
            Ok(RoomPage { rooms: rooms.collect(), next: list.next_batch })
        })
    }

    fn state_of<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>> {
        Box::pin(async move {
            let target = self.admin_rooms().segment(room.as_str()).segment("state");
            Ok(self.as_admin::<State>("room state", Method::GET, target, None).await?.state)
        })
    }

    fn make_admin<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let target = self.admin_rooms().segment(room.as_str()).segment("make_room_admin");
            let body = json!({ "user_id": self.names.bot() }).to_string();
            let Nothing {} = self.as_admin("make room admin", Method::POST, target, Some(body)).await?;
            Ok(())
        })
    }
}
