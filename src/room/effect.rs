//! What a step of a room wants done outside: the values that go to the outbox.

use std::fmt;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use super::{settings::Setting, showing::Showing, upgrade::Move};
use crate::{
    content::{Expiration, MessageStatusReport},
    ident::{MimiUri, ProviderDomain, RoomUri, UserUri},
    translate::{self, Earlier, profile::Picture},
};

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
        /// Whether other rooms stand in it, and nobody talks there.
        #[serde(default)]
        space: bool,
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

/// Which call an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Tag {
    /// Nobody waits for it.
    None,
    /// `submitMessage`, with the hash of the sealed message.
    Submit([u8; 32]),
    /// `update`, with the hash of its body.
    Update([u8; 32]),
}

/// What a step wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A call to the homeserver, in the room's order.
    Matrix(MatrixAction),
    /// The portal has to be made; `Input::PortalReady` follows.
    MakePortal(MatrixAction),
    /// A message is to be shown: as [`Effect::Matrix`], and the event's id is mapped to the message id.
    Show(Box<Showing>),
    /// A message with files is to be shown: at its place if they come soon.
    ShowFiles {
        /// How it is shown without them.
        showing: Box<Showing>,
        /// The message, encoded.
        content: Vec<u8>,
    },
    /// A message of one of our users was deleted by its sender, or not said at all: nobody needs its files any more.
    FilesGone {
        /// The id of its first version.
        message_id: [u8; 32],
    },
    /// A remote user who may do that deleted a message. If it is one of our users', nobody needs its files any more.
    FilesDeleted {
        /// The id by which they name it.
        message_id: [u8; 32],
    },
    /// An event of one of our users is this message; nobody accepted it yet.
    Noted {
        /// The event.
        event: OwnedEventId,
        /// The message id.
        message_id: [u8; 32],
        /// What later messages need of it.
        earlier: Earlier,
    },
    /// A call to a peer, in order per (room, peer).
    Call {
        /// The peer.
        peer: ProviderDomain,
        /// The endpoint.
        endpoint: Endpoint,
        /// What fills the path.
        target: PathTarget,
        /// The body.
        body: Vec<u8>,
        /// Who waits for the answer.
        tag: Tag,
    },
    /// KeyPackages are to be asked for, signed as this user, by way of the hub. `Input::KeyMaterial` follows.
    ClaimKeyMaterial {
        /// Who asks.
        requester: UserUri,
        /// Whose.
        target: UserUri,
    },
    /// The hub is to be asked for a GroupInfo, signed as this user, behind everything that was sent to it before.
    /// `Input::GroupInfo` follows.
    AskGroupInfo {
        /// Who asks.
        user: UserUri,
    },
    /// KeyPackages of one of our users are to be made and sent with a grant.
    Grant {
        /// Who had asked.
        requester: UserUri,
        /// Who consents.
        target: UserUri,
    },
    /// One of our users said no: nothing is told to anybody.
    Declined {
        /// Who had asked.
        requester: UserUri,
        /// Who declined.
        target: UserUri,
    },
    /// This user left or was removed: its consent to be added to the room ends.
    ForgetConsent {
        /// Who.
        user: UserUri,
    },
    /// A line of the hub-ordered log.
    Log {
        /// When the hub accepted it.
        accepted: Millis,
        /// The message id.
        message_id: [u8; 32],
        /// The Matrix event that it came from, if it was ours.
        event: Option<OwnedEventId>,
        /// Stamp and content, if the stamp is the hub's.
        franked: Option<super::frank::Franked>,
    },
    /// One of our users reports a message of the room.
    ReportAbuse {
        /// Who.
        by: UserUri,
        /// Whether the reporter's name goes along.
        openly: bool,
        /// The Matrix event of the message.
        event: OwnedEventId,
        /// For those who read the report.
        note: String,
    },
    /// One of our users says something about consent; the answer is for nobody else.
    Consent {
        /// Who.
        by: UserUri,
        /// What.
        words: super::command::ConsentWords,
    },
    /// What stands in the Matrix room is to be read, behind everything that was done there before. `Input::Looked` follows.
    Look {
        /// The Matrix room.
        room: OwnedRoomId,
        /// Who reads.
        reader: Actor,
        /// What.
        setting: Setting,
        /// How often we wrote it so far.
        written: u32,
    },
    /// The speaker goes into this Matrix room and reads what it says of itself. `Input::NewHome` follows.
    LookForHome {
        /// The Matrix room.
        to: OwnedRoomId,
        /// Who reads.
        reader: Actor,
    },
    /// The Matrix room is on its way to another one, or is not any more.
    Move(Move),
    /// The Matrix room belongs to this room from now on.
    Link(OwnedRoomId),
    /// It does not any more.
    Unlink(OwnedRoomId),
    /// In this Matrix room somebody is left of a direct chat that is over: what is written there is answered.
    Ended(OwnedRoomId),
    /// A file of the homeserver has to be an asset, too: `Input::Published` follows.
    Publish {
        /// The state event that names it.
        event: String,
        /// Who set that.
        sender: OwnedUserId,
        /// The same, as MIMI has them: the asset is theirs.
        owner: UserUri,
        /// The file, `mxc://…`.
        url: String,
    },
    /// A small form of the picture of one of ours is to be read: `Input::Fetched` follows.
    Fetch {
        /// Whose.
        user: UserUri,
        /// Where it is, `mxc://…`.
        place: String,
    },
    /// A ghost's picture has to be a file of the homeserver: `Input::Portrayed` follows.
    Portray {
        /// Whose.
        user: UserUri,
        /// It.
        picture: Picture,
    },
    /// An asset that was made of a picture is no picture any more.
    Unpublish(String),
    /// The picture of the Matrix room shall be this asset.
    Wear {
        /// The room.
        room: OwnedRoomId,
        /// Who sets it.
        actor: Actor,
        /// The asset.
        url: String,
    },
    /// Who takes part in the room on which this one depends, or in the one that this Matrix room is: `Input::Kin` follows, if
    /// it is a room of ours.
    FindParent {
        /// The room on which it depends.
        parent: Option<RoomUri>,
        /// The one whose members may come in.
        space: Option<OwnedRoomId>,
    },
    /// `Input::Tick` is wanted at this time.
    Wake(Millis),
    /// Ghosts wait to come into the Matrix room bit by bit, or none do any more.
    Trickling(bool),
    /// Others do not get all of a message of one of our users, who is told what, once for each kind.
    Lost {
        /// Whose message it is.
        user: UserUri,
        /// What is lost.
        losses: Vec<translate::Loss>,
    },
    /// A message is to be removed.
    Expires {
        /// Its id.
        message_id: [u8; 32],
        /// Who said it.
        sender: UserUri,
        /// When.
        expires: Expiration,
        /// Who removes it.
        actor: Actor,
    },
    /// A remote user says what became of messages.
    Reported {
        /// Who.
        by: UserUri,
        /// What.
        report: MessageStatusReport,
    },
    /// The operator should know.
    Report(String),
    /// The operator may like to know: refusals that belong to the ordinary course of things.
    Note(String),
    /// Only who looks for something wants to know.
    Detail(String),
}
