//! The homeserver client: the gateway's acts as bot and ghosts (Matrix client-server API 1.17, masquerading by
//! `?user_id=`), each safe to repeat.
//!
//! ```text
//!  MatrixAction -> ensure the actor (registered, named, device) -> call -> MatrixDone
//!                                                                  `-> CallError: again later, or never
//! ```

mod actions;
mod admin;
mod create_room;
mod errors;
mod faces;
mod files;
mod ghosts;
mod http;
mod reads;
mod survey;

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId,
    api::{MatrixVersion, SupportedVersions},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use self::{create_room::RoomDefaults, ghosts::Ensured};
use super::{
    Names,
    settings::{Credentials, MatrixSettings},
};
use crate::{
    engine::ports::{
        Actor, CallError, Contacts, Homeserver, JoinedMember, MatrixAction, MatrixDone, Profile, StateNow, Survey,
        TimelinePage, UserReport,
    },
    ident::UserUri,
    store::BoxFuture,
};

/// The device under which every ghost and the bot send. Synapse remembers transaction ids for a day, also over its own
/// restart, only for senders with a device.
pub const DEVICE_ID: &str = "MIMI_GATEWAY";

/// Why no client could be made. Permanent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token cannot stand in an HTTP header.
    #[error("as_token has characters that cannot be sent")]
    Token,
    /// TLS or the connection pool could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Http(String),
}

/// Calls one homeserver. Share it behind an `Arc`: connections are kept and reused.
pub struct HomeserverClient {
    http: reqwest::Client,
    base: String,
    appservice_id: String,
    as_token: SecretString,
    admin_token: Option<SecretString>,
    names: Names,
    ensured: Ensured,
    versions: SupportedVersions,
    room_defaults: OnceCell<RoomDefaults>,
}

impl std::fmt::Debug for HomeserverClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HomeserverClient").field("base", &self.base).field("names", &self.names).finish_non_exhaustive()
    }
}

impl HomeserverClient {
    /// Makes the client; nothing is sent yet.
    pub fn new(settings: &MatrixSettings, credentials: &Credentials, names: Names) -> Result<Self, ClientError> {
        let mut token = HeaderValue::from_str(&format!("Bearer {}", credentials.as_token.expose_secret()))
            .map_err(|_| ClientError::Token)?;
        token.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, token)]))
            .user_agent(concat!("mimi-gateway/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.request_timeout())
            .connect_timeout(settings.connect_timeout())
            .pool_idle_timeout(Duration::from_secs(50))
            .redirect(reqwest::redirect::Policy::none())
            // The token belongs to the homeserver alone: never through a proxy that happens to be in the environment.
            .no_proxy();
        if rustls::crypto::CryptoProvider::get_default().is_none()
            && rustls::crypto::ring::default_provider().install_default().is_err()
        {
            tracing::debug!("another part of the process has set the TLS provider");
        }
        if settings.homeserver_url.scheme() == "http" {
            // No certificate will be looked at, so a machine without a root store is no obstacle.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ClientError::Http(error.to_string()))?;
        Ok(Self {
            http,
            base: settings.homeserver_url.as_str().trim_end_matches('/').to_owned(),
            appservice_id: credentials.id.clone(),
            as_token: credentials.as_token.clone(),
            admin_token: settings.admin_token.clone(),
            names,
            ensured: Ensured::default(),
            versions: SupportedVersions { versions: BTreeSet::from([MatrixVersion::V1_11]), features: BTreeSet::new() },
            room_defaults: OnceCell::new(),
        })
    }

    /// The names under which we act.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    fn considering(&self) -> Cow<'_, SupportedVersions> {
        Cow::Borrowed(&self.versions)
    }
}

impl Homeserver for HomeserverClient {
    fn perform<'a>(&'a self, action: &'a MatrixAction) -> BoxFuture<'a, Result<MatrixDone, CallError>> {
        Box::pin(self.perform_action(action))
    }
    fn timeline<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        older_than: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<TimelinePage, CallError>> {
        Box::pin(self.read_timeline(room, reader, older_than, limit))
    }
    fn room_state<'a>(
        &'a self,
        room: &'a RoomId,
    ) -> BoxFuture<'a, Result<Vec<Box<serde_json::value::RawValue>>, CallError>> {
        Box::pin(self.read_state(room, self.names.bot()))
    }
    fn state<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
        event_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateNow>, CallError>> {
        Box::pin(self.read_state_event(room, reader, event_type))
    }
    fn joined_members<'a>(&'a self, room: &'a RoomId) -> BoxFuture<'a, Result<Vec<JoinedMember>, CallError>> {
        Box::pin(self.read_members(room))
    }
    fn members<'a>(
        &'a self,
        room: &'a RoomId,
        reader: &'a Actor,
    ) -> BoxFuture<'a, Result<Vec<OwnedUserId>, CallError>> {
        Box::pin(self.read_everybody(room, reader))
    }
    fn resolve_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<Option<OwnedRoomId>, CallError>> {
        Box::pin(self.read_alias(alias))
    }
    fn user_exists<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, CallError>> {
        Box::pin(self.read_user_exists(user))
    }
    fn profile<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Profile>, CallError>> {
        Box::pin(self.read_profile(user))
    }
    fn has_admin(&self) -> bool {
        self.admin_token.is_some()
    }
    fn contacts<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Contacts>, CallError>> {
        Box::pin(self.read_contacts(user))
    }
    fn user_reports(&self, skip: u64, limit: u32) -> BoxFuture<'_, Result<Vec<UserReport>, CallError>> {
        Box::pin(self.read_user_reports(skip, limit))
    }
    fn ensure_ghost<'a>(&'a self, user: &'a UserUri) -> BoxFuture<'a, Result<OwnedUserId, CallError>> {
        Box::pin(async move { self.ensure(&Actor::Ghost(user.clone())).await })
    }
    fn user_id(&self, actor: &Actor) -> OwnedUserId {
        self.names.user_id_or_nobody(actor)
    }
    fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId> {
        self.names.alias(localpart)
    }
    fn survey(&self) -> Option<&dyn Survey> {
        Some(self)
    }
}
