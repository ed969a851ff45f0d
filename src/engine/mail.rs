//! What comes to a room's actor.

use ruma::OwnedUserId;
use tokio::sync::{mpsc, oneshot};

use super::{
    later::Due,
    offer::{Arrivals, Offer, Verdict},
    ports::{Actor as MatrixActor, Millis, Problem, StateNow},
    receipts::Read,
    requests::accepted,
    tables::{InboxItem, MemberFace, Wants},
};
use crate::{
    content::{ExternalPart, MessageId},
    ident::{ProviderDomain, UserUri},
    room::{NewHome, Refusal, Said, Setting, Tag, command::Command},
    translate::{media::Moved, profile::Picture},
};

/// What comes to a room's actor.
#[derive(Debug)]
pub(super) enum Mail {
    /// A stored item of the inbox.
    Item { number: u64, item: InboxItem },
    /// What may be taken without going through the inbox.
    Offer(Offer),
    /// It was taken: it becomes durable with the step, or is given back.
    Taken { arrivals: Arrivals, verdict: oneshot::Sender<Verdict> },
    /// A request of a peer, who waits.
    Request { peer: ProviderDomain, kind: Request, body: Vec<u8>, reply: oneshot::Sender<Answer> },
    /// A stored row of the outbox has its answer.
    Outcome { lane: String, number: u64, outcome: Outcome },
    /// The room is to be made.
    Create { new: Box<NewRoom>, reply: oneshot::Sender<Result<(), String>> },
    /// One of our users wants to follow the room.
    Join { user: UserUri, code: Option<String>, reply: oneshot::Sender<Result<String, String>> },
    /// Whoever runs the gateway lets the room go; `used`: also if remote users are in it. Why not is answered before anything is stored.
    LetGo { used: bool, reply: mpsc::UnboundedSender<Result<(), String>> },
    /// The next ghosts may come in.
    Trickle { most: usize },
    /// One of our users wants something of the room, and does not say it there.
    Order { by: OwnedUserId, admin: bool, command: Command, reply: oneshot::Sender<Result<Said, Refusal>> },
    /// The files of a held event are there, or never will be.
    Files { number: u64, brought: Vec<Moved<ExternalPart>> },
    /// A held event waits no more: its turn. Each is a mail of its own, so that one that can never be worked on is set aside
    /// by itself.
    Release { number: u64 },
    /// One of our users has read something.
    Read { user: UserUri, read: Read },
    /// The homeserver has messages of remote users.
    Reached { messages: Vec<MessageId> },
    /// Somebody who had not read something may be gone.
    Readers,
    /// The time of something has come.
    Due { at: Millis, id: [u8; 32], due: Due },
    /// A message has its event, for which others wait.
    Arrived { target: [u8; 32] },
    /// The successor of the Matrix room can perhaps be entered now.
    LookForHome,
    /// What it says of itself, or why nobody of ours is in it.
    NewHome { to: ruma::OwnedRoomId, found: Box<Result<NewHome, String>> },
    /// Time passed.
    Tick,
    /// Compare with the homeserver's timeline now.
    CompareNow,
    /// A mail whose step can never be stored.
    SetAside { mail: Box<Mail>, why: String },
}

impl Mail {
    /// Whether it can be worked on a little later without anybody noticing: the hub took a message of ours.
    pub(super) fn can_wait(&self) -> bool {
        let Self::Outcome { outcome: Outcome::Answered { wants, result: Ok(answer) }, .. } = self else { return false };
        matches!(wants, Wants::Room(Tag::Submit(_))) && accepted(Request::Submit, answer)
    }
}

/// What a waiting peer gets.
pub(super) type Answer = Result<Vec<u8>, Problem>;

/// What a waiting peer asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Submit,
    Update,
    GroupInfo,
}

/// How a call of the outbox ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Portal(ruma::OwnedRoomId),
    PortalFailed(String),
    /// The homeserver does not let the ghost of this user join.
    ShutOut {
        user: UserUri,
        why: String,
    },
    /// It does not take a message of the ghost of this user.
    NotShown {
        user: UserUri,
        why: String,
    },
    /// It does not let us do something to this user.
    NotDone {
        what: crate::room::Undone,
        user: UserUri,
        why: String,
    },
    /// What stands in the Matrix room, or why it cannot be read.
    Looked {
        setting: Setting,
        written: u32,
        found: Result<Option<StateNow>, String>,
    },
    /// The homeserver does not take a setting.
    NotSet {
        setting: Setting,
        why: String,
    },
    /// The picture of the Matrix room is an asset, or why not.
    Published {
        event: String,
        sender: ruma::OwnedUserId,
        url: Result<String, String>,
    },
    /// The picture of one of our users, or why it cannot be read.
    Fetched {
        user: UserUri,
        place: String,
        salt: [u8; 16],
        picture: Result<Option<Picture>, String>,
    },
    /// A remote user's picture is a file of the homeserver, or why not.
    Portrayed {
        user: UserUri,
        picture: Picture,
        place: Result<String, String>,
    },
    /// It does not let a message be removed whose time has come.
    NotRemoved(String),
    Answered {
        wants: Wants,
        result: Result<Vec<u8>, String>,
    },
}

/// A room that we are going to host.
#[derive(Debug, Clone)]
pub(super) struct NewRoom {
    pub(super) matrix: ruma::OwnedRoomId,
    pub(super) creator: UserUri,
    pub(super) present: Vec<UserUri>,
    pub(super) name: String,
    pub(super) topic: String,
    /// Its power levels, and who stands above them.
    pub(super) powers: Option<serde_json::Value>,
    pub(super) creators: std::collections::BTreeSet<String>,
    /// The kind of room that was chosen for it, if its roles do not come from its levels.
    pub(super) preset: Option<crate::policy::Preset>,
    /// A direct chat with this remote user.
    pub(super) direct_with: Option<UserUri>,
    pub(super) speaker: MatrixActor,
    /// Users, remote and our own, who are banned there.
    pub(super) banned: Vec<UserUri>,
    /// Whether its join rule lets anybody in.
    pub(super) public: bool,
    /// What it says of its messages, as components.
    pub(super) lasting: std::collections::BTreeMap<u16, Vec<u8>>,
    /// What those who are in it are called, and look like.
    pub(super) faces: Vec<(ruma::OwnedUserId, MemberFace)>,
    /// How the other one's provider calls the one of a direct chat who was looked for.
    pub(super) found: Option<String>,
    /// The one room whose members may come in by themselves.
    pub(super) space: Option<ruma::OwnedRoomId>,
    /// Whether it counts among the rooms that its creator may have: not if somebody else had it mirrored.
    pub(super) counts: bool,
    /// Whether it is a space itself.
    pub(super) is_space: bool,
    /// The newest event that was there before.
    pub(super) since: Option<String>,
}
