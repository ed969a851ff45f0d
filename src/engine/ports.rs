//! The ports between the engine and the two edges. `matrix` and `mimi` implement the outgoing ones and call the
//! incoming ones; they never see each other.

use std::time::Duration;

use ruma::{MxcUri, OwnedEventId, OwnedMxcUri, OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    assets::{AssetError, AssetFile, AssetName, Upload},
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::{DownloadPrivacy, Preset},
    spool::Spooled,
    store::BoxFuture,
    wire::path::DownloadUrl,
};

pub use crate::room::effect::{Actor, Endpoint, MatrixAction, Millis, PathTarget, StateNow};

// ---------------------------------------------------------------------------------------------- Matrix, incoming

/// One appservice transaction as the homeserver sent it, authenticated and split, but with its events unread:
/// a malformed event is set aside by the engine, the others go on.
#[derive(Debug)]
pub struct Transaction {
    /// The homeserver's transaction id. May come again with another content (Synapse on SQLite restarts at 1).
    pub txn_id: String,
    /// SHA-256 of the body as received.
    pub body_hash: [u8; 32],
    /// The room events, in order, each as raw JSON.
    pub events: Vec<Box<RawValue>>,
    /// What happens and is no event of a room: receipts, typing, presence; each as raw JSON.
    pub ephemeral: Vec<Box<RawValue>>,
    /// On which connection it came, counted since the start: one newer than any before may mean that the homeserver was
    /// restarted.
    pub connection: u64,
}

/// Why an incoming call could not be served.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The store did not take it; the caller answers 503 and the other side tries again. Retriable.
    #[error("not stored: {0}")]
    NotStored(String),
    /// The gateway is shutting down. Retriable.
    #[error("shutting down")]
    ShuttingDown,
    /// Too many of these within a short time. Retriable after this many seconds.
    #[error("too many requests")]
    TooMany(u32),
}

/// Implemented by the engine, called by the appservice HTTP server.
pub trait MatrixInbound: Send + Sync + 'static {
    /// Returns only when every event of the transaction is durable. Repeats are accepted and have no effect.
    fn transaction(&self, txn: Transaction) -> BoxFuture<'_, Result<(), InboundError>>;
    /// The homeserver asks for a user of our namespace: makes the ghost and answers `true`, or `false` (404).
    fn query_user<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, InboundError>>;
    /// The homeserver's client looks for a user of another provider by handle, `NAME@PROVIDER` (third-party look-up): that
    /// provider is asked. Who it finds; nobody if it cannot be asked.
    fn find_by_handle<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Vec<UserUri>, InboundError>>;
    /// The homeserver asks for an alias of our namespace: `true` once the room behind it exists.
    fn query_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<bool, InboundError>>;
}

// ---------------------------------------------------------------------------------------------- Matrix, outgoing

/// What an action answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatrixDone {
    /// The event's id.
    Event(OwnedEventId),
    /// The room's id.
    Room(OwnedRoomId),
    /// Nothing to tell.
    Done,
}

/// Whether a failed call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It had no effect, or repeating it is safe; not before this delay if the other side named one.
    Retriable(Option<Duration>),
    /// It will fail the same way each time.
    Permanent,
    /// It may have had its effect; only the same bytes may be sent again.
    Uncertain,
}

/// A call to the homeserver or a peer that gave no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct CallError {
    /// What happened, in words an operator can act on; no secrets, no bodies.
    pub what: String,
    /// Whether to try again.
    pub retry: Retry,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// Matrix `errcode`, where there was one.
    pub errcode: Option<String>,
}

/// One page of a room's timeline, in the order of the homeserver.
#[derive(Debug, Default)]
pub struct TimelinePage {
    /// Events, oldest first.
    pub events: Vec<Box<RawValue>>,
    /// Where the next older page starts, if there is one.
    pub older: Option<String>,
}

/// A joined Matrix member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedMember {
    /// The user.
    pub user: OwnedUserId,
    /// The profile's display name.
    pub displayname: Option<String>,
}

/// What a local user shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The display name, if there is one.
    pub displayname: Option<String>,
    /// The picture, if there is one, `mxc://…`.
    pub picture: Option<String>,
}

/// How else a local user can be reached, as the homeserver has verified it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contacts {
    /// E-mail addresses, in lower case.
    pub emails: Vec<String>,
    /// Telephone numbers in international format, with `+`.
    pub phones: Vec<String>,
}

/// What a user reported to the homeserver with its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserReport {
    /// The homeserver's number for it. Given again if the newest reports are removed.
    pub id: u64,
    /// When it came, as the homeserver says.
    pub received: Millis,
    /// The room.
    pub room: String,
    /// What is reported.
    pub event: String,
    /// Who reports.
    pub by: OwnedUserId,
    /// The user's words.
    pub reason: String,
}

/// Implemented by `matrix`, called by the engine.
pub trait Homeserver: Send + Sync + 'static {
    /// Carries out one action; repeats are harmless.
    fn perform<'a>(&'a self, action: &'a MatrixAction) -> BoxFuture<'a, Result<MatrixDone, CallError>>;
    /// One page of a room's timeline, newest page first, as this member of ours sees it.
    fn timeline<'a>(
        &'a self,
        room: &'a ruma::RoomId,
        reader: &'a Actor,
        older_than: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<TimelinePage, CallError>>;
    /// All current state events of a room.
    fn room_state<'a>(&'a self, room: &'a ruma::RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>>;
    /// A state event without state key, as this member of ours sees it; `None` if there is none.
    fn state<'a>(
        &'a self,
        room: &'a ruma::RoomId,
        reader: &'a Actor,
        event_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StateNow>, CallError>>;
    /// Joined members of a room.
    fn joined_members<'a>(&'a self, room: &'a ruma::RoomId) -> BoxFuture<'a, Result<Vec<JoinedMember>, CallError>>;
    /// Everybody who is in a room or invited into it, as this member of ours sees it.
    fn members<'a>(
        &'a self,
        room: &'a ruma::RoomId,
        reader: &'a Actor,
    ) -> BoxFuture<'a, Result<Vec<OwnedUserId>, CallError>>;
    /// The room that an alias names; `None` if it names none.
    fn resolve_alias<'a>(&'a self, alias: &'a RoomAliasId) -> BoxFuture<'a, Result<Option<OwnedRoomId>, CallError>>;
    /// Whether a local user exists (is registered) on the homeserver.
    fn user_exists<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, CallError>>;
    /// A user's profile; `None` if the homeserver knows no such user.
    fn profile<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Profile>, CallError>>;
    /// Whether there is an administrator's token: only then the next two calls can be made.
    fn has_admin(&self) -> bool;
    /// E-mail addresses and telephone numbers of a local user; `None` if there is none, or it is deactivated.
    fn contacts<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Contacts>, CallError>>;
    /// What users reported, newest first, without the `skip` newest.
    fn user_reports(&self, skip: u64, limit: u32) -> BoxFuture<'_, Result<Vec<UserReport>, CallError>>;
    /// Registers a ghost if need be and sets its display name if that changed.
    fn ensure_ghost<'a>(&'a self, user: &'a UserUri) -> BoxFuture<'a, Result<OwnedUserId, CallError>>;
    /// The full user id of an actor (no call is made).
    fn user_id(&self, actor: &Actor) -> OwnedUserId;
    /// The full alias for a localpart (no call is made).
    fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId>;
    /// The kind of room that somebody of a service with rooms of its own chose for it (no call is made). `None`: its roles come
    /// from its power levels, as those of each Matrix room do.
    fn preset(&self, _room: &ruma::RoomId) -> Option<Preset> {
        None
    }
    /// What finds rooms, and ways into them, for those who mirror many at once; `None` where that cannot be.
    fn survey(&self) -> Option<&dyn Survey> {
        None
    }
}

/// A room of the homeserver's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoom {
    /// Its id.
    pub room: OwnedRoomId,
    /// How it is called; empty if it has no name.
    pub name: String,
    /// Who of this homeserver is in it.
    pub local_members: u64,
}

/// One page of the homeserver's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomPage {
    /// The rooms.
    pub rooms: Vec<ListedRoom>,
    /// Where the next page begins, if there is one.
    pub next: Option<u64>,
}

/// The rooms of a homeserver, as whoever runs it may see them. Implemented by `matrix`. All but [`Survey::joined_rooms`] need
/// an administrator's token ([`Homeserver::has_admin`]).
pub trait Survey: Send + Sync + 'static {
    /// The rooms in which the bot is.
    fn joined_rooms(&self) -> BoxFuture<'_, Result<Vec<OwnedRoomId>, CallError>>;
    /// Rooms that the homeserver knows, behind the first `skip`.
    fn known_rooms(&self, skip: u64) -> BoxFuture<'_, Result<RoomPage, CallError>>;
    /// All current state events of a room in which the bot need not be.
    fn state_of<'a>(&'a self, room: &'a ruma::RoomId) -> BoxFuture<'a, Result<Vec<Box<RawValue>>, CallError>>;
    /// Has somebody of the homeserver who may invite the bot and give it their power. The bot still has to join.
    fn make_admin<'a>(&'a self, room: &'a ruma::RoomId) -> BoxFuture<'a, Result<(), CallError>>;
}

/// What comes piece by piece.
pub trait Pieces: Send {
    /// The next piece, of a size that is good to have in memory; `None` at the end. An error ends it.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>>;
}

/// A file that begins to come.
pub struct Download {
    /// How long it is said to be, in bytes.
    pub bytes: Option<u64>,
    /// What comes.
    pub pieces: Box<dyn Pieces>,
}

/// The homeserver's files. Implemented by `matrix`.
pub trait MatrixFiles: Send + Sync + 'static {
    /// A file, from its beginning.
    fn download<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>>;
    /// The small form of a picture, as members are shown with it.
    fn thumbnail<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>>;
    /// Uploads a file as this member of ours; where it is then. Made again it makes another copy, which harms nobody.
    fn upload<'a>(
        &'a self,
        actor: &'a Actor,
        name: &'a str,
        media_type: &'a str,
        file: &'a Spooled,
    ) -> BoxFuture<'a, Result<OwnedMxcUri, CallError>>;
    /// The largest file that can be uploaded, in bytes; `None` if the homeserver does not say.
    fn largest_upload(&self) -> BoxFuture<'_, Result<Option<u64>, CallError>>;
}

// ------------------------------------------------------------------------------------------------ MIMI, incoming

/// A peer whose certificate and `From` header agree. Only the TLS layer makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedPeer(ProviderDomain);

impl VerifiedPeer {
    /// To be called only where the certificate's SAN, the `From` header and the peer list have been checked.
    #[must_use]
    pub fn assert_verified(domain: ProviderDomain) -> Self {
        Self(domain)
    }
    /// The peer's domain.
    #[must_use]
    pub fn domain(&self) -> &ProviderDomain {
        &self.0
    }
}

/// Why a request of a peer gets no MIMI body: becomes an HTTP status and a problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// 400: the body does not decode, or says things that cannot be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// 403: a peer speaks for a domain that is not its own, or a notify from a peer that is not the room's hub.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// 404: no such room or user here.
    #[error("not found")]
    NotFound,
    /// 429, with the seconds to wait.
    #[error("too many requests")]
    TooMany(u32),
    /// 503, with the seconds to wait: nothing was stored.
    #[error("temporarily unavailable")]
    Unavailable(u32),
}

/// Implemented by the engine, called by the provider HTTP server after peer, `From`, path and size were checked.
/// Bodies are the received bytes; they were decoded once already, so a body that does not decode never comes here.
/// Every answer is the encoded response body; it is stored with the request's hash where repeating must be harmless.
pub trait ProviderInbound: Send + Sync + 'static {
    /// `POST /keyMaterial/{targetUser}`.
    fn key_material(
        &self,
        peer: VerifiedPeer,
        target: UserUri,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Problem>>;
    /// `POST /update/{roomId}`: answered after the step that accepted it is durable.
    fn update(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>>;
    /// `POST /notify/{roomId}`: `Ok` (201) once it is in the inbox, durable.
    fn notify(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>>;
    /// `POST /submitMessage/{roomId}`: answered after the step that accepted it is durable.
    fn submit_message(
        &self,
        peer: VerifiedPeer,
        room: RoomUri,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Problem>>;
    /// `POST /groupInfo/{roomId}`.
    fn group_info(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>>;
    /// `POST /requestConsent/{targetDomain}`: `Ok` is 201.
    fn request_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>>;
    /// `POST /identifierQuery/{domain}`.
    fn identifier_query(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>>;
    /// `POST /reportAbuse/{roomId}`: `Ok` (201) once it is durable.
    fn report_abuse(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>>;
    /// `POST /updateConsent/{requesterDomain}`: `Ok` is 201.
    fn update_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>>;
}

// ------------------------------------------------------------------------------------------------ MIMI, outgoing

/// Who denies a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// An administrator, while the gateway runs.
    Administrator,
    /// The settings (`envelope`).
    Settings,
}

/// Says whether we have to do with a provider, each time that it is asked.
pub type Gate = std::sync::Arc<dyn Fn(&ProviderDomain) -> bool + Send + Sync>;

/// Implemented by `mimi`, called by the engine.
pub trait Peers: Send + Sync + 'static {
    /// Posts `body` and returns the body of a 2xx answer. Anything else is a [`CallError`]: connection refused and 429,
    /// 5xx retriable (with `Retry-After`), time-outs and resets uncertain, other 4xx permanent.
    fn call<'a>(
        &'a self,
        peer: &'a ProviderDomain,
        endpoint: Endpoint,
        target: &'a PathTarget,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>>;
    /// Whether this domain is a configured peer that may be called.
    fn knows(&self, peer: &ProviderDomain) -> bool;
    /// Why nobody there is talked to although the settings may name it; `None`: nobody denied it.
    fn shut(&self, _peer: &ProviderDomain) -> Option<Shut> {
        None
    }
    /// All that may be called.
    fn all(&self) -> Vec<ProviderDomain> {
        Vec::new()
    }
    /// Whether this peer is a gateway to Matrix by our settings: events in its private parts are believed.
    fn is_gateway(&self, _peer: &ProviderDomain) -> bool {
        false
    }
}

// -------------------------------------------------------------------------------------------------------- assets

/// Files that go beside messages, encrypted by whoever puts them (draft-ietf-mimi-protocol-06 section 5.10). Implemented by
/// `mimi`.
pub trait Assets: Send + Sync + 'static {
    /// Begins an asset of a user of ours under this name, in the place of one that may be there: a try that a crash ended begins
    /// anew with what it drew. Its bytes are written piece by piece; it is there, and durable, when it is finished.
    fn begin<'a>(&'a self, owner: &'a UserUri, name: AssetName) -> BoxFuture<'a, Result<Upload, AssetError>>;
    /// The URL of an asset of ours.
    fn url(&self, name: &AssetName) -> String;
    /// An asset for a user of ours, by way of the hub of the room in which its URL stood. What comes is what somebody gave: the
    /// message says its hash.
    /// `ways`: those that the room allows; `None`: it does not say.
    fn get<'a>(
        &'a self,
        hub: &'a ProviderDomain,
        url: &'a DownloadUrl,
        ways: Option<&'a DownloadPrivacy>,
    ) -> BoxFuture<'a, Result<AssetFile, CallError>>;
    /// Removes an asset of ours; whether there was one.
    fn delete<'a>(&'a self, url: &'a DownloadUrl) -> BoxFuture<'a, Result<bool, AssetError>>;
}
