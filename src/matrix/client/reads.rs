//! Calls that only read, and the ones that `check` makes.

use std::time::{Duration, Instant};

use reqwest::Method;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomAliasId, RoomId, UserId,
    api::client::{alias::get_alias, appservice::request_ping, membership::joined_members},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{HomeserverClient, errors, http::Target};
use crate::engine::ports::{Actor, CallError, JoinedMember, StateNow, TimelinePage};

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    chunk: Vec<Box<RawValue>>,
    end: Option<String>,
}

#[derive(Deserialize)]
struct WholeState {
    event_id: OwnedEventId,
    sender: OwnedUserId,
    content: serde_json::Value,
}

#[derive(Deserialize)]
struct Membership {
    membership: Option<String>,
}

#[derive(Deserialize)]
struct Members {
    chunk: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    state_key: OwnedUserId,
    content: Membership,
}

#[derive(Deserialize)]
struct WhoAmI {
    user_id: OwnedUserId,
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

impl HomeserverClient {
    /// The homeserver's supported versions of the client-server API; needs no token. The cheapest sign of life.
    pub async fn versions(&self) -> Result<Vec<String>, CallError> {
        let target = Target::new(&self.base, "versions");
        Ok(self.call::<Versions>("versions", Method::GET, target, None).await?.versions)
    }

    /// Who the homeserver thinks that we are: the bot, if token and registration agree.
    pub async fn whoami(&self) -> Result<OwnedUserId, CallError> {
        let target = self.v3().segment("account").segment("whoami");
        Ok(self.call::<WhoAmI>("whoami", Method::GET, target, None).await?.user_id)
    }

    /// Asks the homeserver to call us (`POST /_matrix/client/v1/appservice/{id}/ping`), which also makes it try its
    /// backlog again. Answers how long the whole call took.
    pub async fn ping(&self, txn_id: &str) -> Result<Duration, CallError> {
        let mut request = request_ping::v1::Request::new(self.appservice_id.clone());
        request.transaction_id = Some(OwnedTransactionId::from(txn_id));
        let start = Instant::now();
        self.typed("appservice ping", request, None).await?;
        Ok(start.elapsed())
    }

    pub(super) async fn read_timeline(
        &self,
        room: &RoomId,
        reader: &Actor,
        older_than: Option<&str>,
        limit: u32,
    ) -> Result<TimelinePage, CallError> {
        let mut target = self
            .v3()
            .segment("rooms")
            .segment(room.as_str())
            .segment("messages")
            .query("dir", "b")
            .number("limit", u64::from(limit))
            .query("user_id", self.names.user_id_or_nobody(reader).as_str());
        if let Some(from) = older_than {
            target = target.query("from", from);
        }
        let page: Page = self.call("messages", Method::GET, target, None).await?;
        let mut events = page.chunk;
        events.reverse();
        Ok(TimelinePage { events, older: page.end })
    }

    pub(super) async fn read_state(&self, room: &RoomId, reader: &UserId) -> Result<Vec<Box<RawValue>>, CallError> {
        let target =
            self.v3().segment("rooms").segment(room.as_str()).segment("state").query("user_id", reader.as_str());
        self.call("room state", Method::GET, target, None).await
    }

    /// The whole event, since the answer without it says not who set it (`format=event`, client-server API 1.16).
    pub(super) async fn read_state_event(
        &self,
        room: &RoomId,
        reader: &Actor,
        event_type: &str,
    ) -> Result<Option<StateNow>, CallError> {
        let target = self
            .v3()
            .segment("rooms")
            .segment(room.as_str())
            .segment("state")
            .segment(event_type)
            .query("format", "event")
            .query("user_id", self.names.user_id_or_nobody(reader).as_str());
        match self.call::<WholeState>("state event", Method::GET, target, None).await {
            Ok(WholeState { event_id, sender, content }) => Ok(Some(StateNow { event: event_id, sender, content })),
            Err(error) if errors::is(&error, "M_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read_members(&self, room: &RoomId) -> Result<Vec<JoinedMember>, CallError> {
        let request = joined_members::v3::Request::new(room.to_owned());
        let answer = self.typed("joined members", request, Some(self.names.bot())).await?;
        Ok(answer
            .joined
            .into_iter()
            .map(|(user, profile)| JoinedMember { user, displayname: profile.display_name })
            .collect())
    }

    /// Who is in a room, invited or knocking.
    pub(super) async fn read_everybody(&self, room: &RoomId, reader: &Actor) -> Result<Vec<OwnedUserId>, CallError> {
        let user = self.actor_id(reader)?;
        let target = self.v3().segment("rooms").segment(room.as_str()).segment("members");
        let target = target.query("user_id", user.as_str());
        let members: Members = self.call("members", Method::GET, target, None).await?;
        let there = |member: &Member| matches!(member.content.membership.as_deref(), Some("join" | "invite" | "knock"));
        Ok(members.chunk.into_iter().filter(there).map(|member| member.state_key).collect())
    }

    pub(super) async fn read_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, CallError> {
        match self.typed("alias", get_alias::v3::Request::new(alias.to_owned()), None).await {
            Ok(answer) => Ok(Some(answer.room_id)),
            Err(error) if errors::is(&error, "M_NOT_FOUND") => Ok(None),
            // The homeserver answers that the alias' server does not: it is no outage of its own.
            Err(error)
                if alias.server_name() != self.names.server()
                    && error.errcode.is_some()
                    && error.status.is_some_and(|status| status >= 500) =>
            {
                tracing::info!(%alias, %error, "an alias of another server cannot be looked up");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// By its profile, which needs no administrator: every registered local user has one.
    pub(super) async fn read_user_exists(&self, user: &UserId) -> Result<bool, CallError> {
        if user.server_name() != self.names.server() {
            return Ok(false);
        }
        let target = self.v3().segment("profile").segment(user.as_str()).query("user_id", self.names.bot().as_str());
        match self.call::<serde_json::Value>("profile", Method::GET, target, None).await {
            Ok(_) => Ok(true),
            Err(error) if errors::is_no_profile(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A user's membership as `reader` sees it; `None` if there never was one.
    pub(super) async fn membership(
        &self,
        room: &RoomId,
        user: &UserId,
        reader: &UserId,
    ) -> Result<Option<String>, CallError> {
        let target = self
            .v3()
            .segment("rooms")
            .segment(room.as_str())
            .segment("state")
            .segment("m.room.member")
            .segment(user.as_str())
            .query("user_id", reader.as_str());
        match self.call::<Membership>("membership", Method::GET, target, None).await {
            Ok(content) => Ok(content.membership),
            Err(error) if errors::is(&error, "M_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }
}
