//! What a step of a room wants done outside: the values that go to the outbox.

use std::fmt;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::ident::{MimiUri, ProviderDomain, UserUri};

/// Milliseconds since the UNIX epoch.
pub type Millis = u64;

/// Who acts on the homeserver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    /// The bridge bot (the appservice's own sender).
    Bot,
    /// The ghost of this MIMI user. Registered and named by the `Homeserver` before its first act.
    Ghost(UserUri),
}

/// One call to the homeserver with an effect. Stored in the outbox, so every variant must be safe to repeat: the same
/// action again has no second effect (transaction ids, `M_USER_IN_USE`, already joined, alias taken by ourselves ...).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MatrixAction {
    /// Send a message event. Answers the event's id.
    Send {
        /// The room.
        room: OwnedRoomId,
        /// The sender.
        actor: Actor,
        /// `m.room.message`, ...
        event_type: String,
        /// The content, JSON text.
        content: String,
        /// `?ts=`: when the sender sent it.
        ts: Option<Millis>,
        /// Deterministic transaction id (DESIGN 3), unique across ghosts.
        txn_id: String,
    },
    /// Send a state event. Answers the event's id.
    SetState {
        /// The room.
        room: OwnedRoomId,
        /// The sender.
        actor: Actor,
        /// The state event's type.
        event_type: String,
        /// The state key.
        state_key: String,
        /// The content, JSON text.
        content: String,
        /// It is done where the sender has the power to; being refused is no failure.
        optional: bool,
    },
    /// Make a room, or find the one that this alias already names. Answers the room's id.
    CreateRoom {
        /// The room's first member and creator. Ghosts and the bot only.
        creator: Actor,
        /// Alias localpart (without `#` and server). With it a repeat finds the room that the first try made.
        alias_localpart: String,
        /// `m.room.name`, if known.
        name: Option<String>,
        /// `m.room.topic`, if known.
        topic: Option<String>,
        /// Whether clients shall show it as a direct chat.
        is_direct: bool,
        /// Actors of ours that shall be members besides the creator (with power 100).
        members: Vec<Actor>,
        /// Matrix users to invite.
        invite: Vec<OwnedUserId>,
        /// Further initial state: (type, state key, content as JSON text).
        initial_state: Vec<(String, String, String)>,
    },
    /// Join a room (invited or public). When not invited, the bot invites first.
    Join {
        /// The room.
        room: OwnedRoomId,
        /// Who joins.
        actor: Actor,
    },
    /// Leave a room, or decline its invite. Not being in it is success.
    Leave {
        /// The room.
        room: OwnedRoomId,
        /// Who leaves.
        actor: Actor,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Invite a Matrix user. Already a member or invited is success.
    Invite {
        /// The room.
        room: OwnedRoomId,
        /// Who invites.
        actor: Actor,
        /// Who is invited.
        target: OwnedUserId,
        /// Whether clients shall show it as a direct chat.
        is_direct: bool,
    },
    /// Remove a Matrix user or ghost from a room. Not being in it is success.
    Kick {
        /// The room.
        room: OwnedRoomId,
        /// Who removes.
        actor: Actor,
        /// Who is removed.
        target: OwnedUserId,
        /// Shown to the target.
        reason: String,
    },
    /// Lift the ban of a Matrix user or ghost. Not being banned is success.
    Unban {
        /// The room.
        room: OwnedRoomId,
        /// Who lifts it.
        actor: Actor,
        /// Who is banned.
        target: OwnedUserId,
    },
    /// Decline the invitation of an id in our namespace that stands for nobody. Registers the id if need be: else it cannot
    /// decline. Not being invited is success.
    Decline {
        /// The room.
        room: OwnedRoomId,
        /// The id.
        target: OwnedUserId,
        /// Why, for people.
        reason: String,
    },
    /// Take an alias of ours off the room that it names. Not being there is success.
    RemoveAlias {
        /// Alias localpart (without `#` and server).
        alias_localpart: String,
    },
    /// Say that somebody has read up to this event.
    Receipt {
        /// The room.
        room: OwnedRoomId,
        /// Who has.
        actor: Actor,
        /// The event.
        event: OwnedEventId,
    },
    /// Ban a Matrix user. Being banned is success.
    Ban {
        /// The room.
        room: OwnedRoomId,
        /// Who bans.
        actor: Actor,
        /// Who is banned.
        target: OwnedUserId,
        /// Shown to the target.
        reason: String,
    },
    /// What a ghost is called in a room in which it is. Not being in it, or being called so already, is success.
    Name {
        /// The room.
        room: OwnedRoomId,
        /// The ghost.
        actor: Actor,
        /// How people read its name.
        name: String,
    },
    /// What a ghost looks like in a room in which it is. Not being in it, or looking so already, is success.
    Portray {
        /// The room.
        room: OwnedRoomId,
        /// The ghost.
        actor: Actor,
        /// The picture, `mxc://…`; `None`: none.
        place: Option<String>,
    },
}

/// A state event as it stands in a Matrix room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateNow {
    /// The event.
    pub event: OwnedEventId,
    /// Who set it.
    pub sender: OwnedUserId,
    /// What it says.
    pub content: serde_json::Value,
}

/// The endpoints of draft-ietf-mimi-protocol-06 section 5 that this gateway calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endpoint {
    /// Section 5.2.
    KeyMaterial,
    /// Section 5.3.
    Update,
    /// Section 5.4.
    SubmitMessage,
    /// Section 5.5.
    Notify,
    /// Section 5.6.
    GroupInfo,
    /// Section 5.7.
    RequestConsent,
    /// Section 5.7.
    UpdateConsent,
    /// Section 5.9.
    ReportAbuse,
    /// Section 5.8.
    IdentifierQuery,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyMaterial => "keyMaterial",
            Self::Update => "update",
            Self::SubmitMessage => "submitMessage",
            Self::Notify => "notify",
            Self::GroupInfo => "groupInfo",
            Self::RequestConsent => "requestConsent",
            Self::UpdateConsent => "updateConsent",
            Self::ReportAbuse => "reportAbuse",
            Self::IdentifierQuery => "identifierQuery",
        })
    }
}

/// What fills the variable of an endpoint's URL template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathTarget {
    /// A room or user URI.
    Uri(MimiUri),
    /// The domain of a consent request's target or requester, or of a search.
    Domain(ProviderDomain),
}
