//! What the engine stores: one constant a table, keys that start with the room or the peer (DESIGN 6). Rooms' own records are in
//! [`super::records`].

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, Serialize};

use super::{
    aside::Aside,
    denial::Denial,
    finding::Findable,
    later::{Removal, Unread},
    mirror::{MirrorJob, MirrorRow},
    orders::Ordered,
    ports::{Actor, Endpoint, MatrixAction, Millis, PathTarget},
    trim::Dated,
};
use crate::{
    assets::NAME_BYTES,
    content::ExternalPart,
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{Franked, Kin, Setting, Showing, Tag},
    store::{Queue, Table},
    translate::{Earlier, media::Moved},
};

/// MLS rows: room, group number, row key. Sealed.
pub(crate) const MLS: Table<(String, u64, Vec<u8>), Vec<u8>> = Table::sealed("mls");
/// Matrix room id to room URI.
pub(crate) const LINKS: Table<String, String> = Table::new("link");
/// Matrix events that were taken in or sent: Matrix room, event id; the message that it stands for, if it does.
pub(crate) const EVENTS: Table<(String, String), Dated<Option<Earlier>>> = Table::new("event");
/// Matrix room id to the newest event of the last comparison with `/messages`.
pub(crate) const WATERMARKS: Table<String, String> = Table::new("watermark");
/// The hub-ordered log: room, accepted timestamp, message id; the hub's stamp with what it covers, of which a report of
/// abuse is made. Sealed.
pub(crate) const LOG: Table<(String, u64, [u8; 32]), Dated<Option<Franked>>> = Table::sealed("log");
/// Room and message id to the Matrix event that shows it, and its place in the log.
pub(crate) const SHOWN: Table<(String, [u8; 32]), Dated<Shown>> = Table::new("shown");
/// Room and topic to the Matrix event that is its first message, where that has another id.
pub(crate) const TOPICS: Table<(String, Vec<u8>), Dated<String>> = Table::new("topic");
/// Answers given: peer, hash of path and body.
pub(crate) const ANSWERS: Table<(String, [u8; 32]), Dated<Vec<u8>>> = Table::new("answer");
/// Notifies taken in: peer, room, hash of the body.
pub(crate) const NOTIFIED: Table<(String, String, [u8; 32]), Dated<()>> = Table::new("notified");
/// KeyPackages given out: room, reference. Sealed.
pub(crate) const KEY_PACKAGES: Table<(String, Vec<u8>), KeyPackageRow> = Table::sealed("keypackage");
/// Consent of our users: target, requester, room; an empty room stands for every room.
pub(crate) const CONSENT: Table<(String, String, String), Consent> = Table::new("consent");
/// Remote users whom our users block: ours, the other.
pub(crate) const BLOCKED: Table<(String, String), ()> = Table::new("blocked");
/// What our users asked of remote ones: requester, target, room; an empty room stands for every room.
pub(crate) const REQUESTED: Table<(String, String, String), Requested> = Table::new("requested");
/// Who holds a place among a peer's invitations: target, requester, room; the peer, and since when.
pub(crate) const PLACES: Table<(String, String, String), (ProviderDomain, Millis)> = Table::new("place");
/// Rooms that one of our users mirrored, began or brought here: user, room; since when.
pub(crate) const MADE: Table<(String, String), Millis> = Table::new("made");
/// Providers that an administrator denied.
pub(crate) const DENIED: Table<String, Denial> = Table::new("denied");
/// Orders of the provisioning API that were carried out: user, key. Sealed: an answer may hold a joining code.
pub(crate) const ORDERED: Table<(String, String), Dated<Ordered>> = Table::sealed("ordered");
/// Messages of the bot that ask for consent: Matrix event, or transaction id while it is being said, to target and requester.
pub(crate) const QUESTIONS: Table<String, (UserUri, UserUri)> = Table::new("question");
/// Where the bot writes to one of our users: the user's Matrix id to a room of the two.
pub(crate) const DESKS: Table<String, String> = Table::new("desk");
/// Matrix users of ours whom other providers' users can find, and by what. Who is not here cannot be found.
pub(crate) const FINDABLE: Table<String, Findable> = Table::new("findable");
/// Reports of the homeserver's list that were seen lately: when it came, its number.
pub(crate) const REPORTED: Table<(u64, u64), ()> = Table::new("reported");
/// Matrix rooms in which somebody talks with the bot alone.
pub(crate) const MANAGEMENT: Table<String, String> = Table::new("management");
/// Matrix rooms in which somebody is left of a direct chat that is over, and the chat's URI.
pub(crate) const ENDED: Table<String, String> = Table::new("ended");
/// Messages that are to be removed: when, room, message id.
pub(crate) const EXPIRING: Table<(Millis, String, [u8; 32]), Removal> = Table::new("expiring");
/// Messages whose time begins when they were read: room, message id.
pub(crate) const UNREAD: Table<(String, [u8; 32]), Dated<Unread>> = Table::new("unread");
/// Messages whose time came before they were shown: room, message id.
pub(crate) const OVERDUE: Table<(String, [u8; 32]), Dated<Removal>> = Table::new("overdue");
/// Messages that refer to one that is not there: until when they wait for it, room, message id. Sealed: what they say.
pub(crate) const EARLY: Table<(Millis, String, [u8; 32]), Early> = Table::sealed("early");
/// What they wait for: room, that message's id, theirs; until when.
pub(crate) const AWAITED: Table<(String, [u8; 32], [u8; 32]), Millis> = Table::new("awaited");
/// Up to when (accepted timestamp) one of our users has read a room, as others were told: room, user.
pub(crate) const READ: Table<(String, String), Millis> = Table::new("read");
/// Who has a message of one of our users, as they say: room, message id.
pub(crate) const DELIVERED: Table<(String, [u8; 32]), Dated<Vec<UserUri>>> = Table::new("delivered");
/// Who could not read a message of one of our users, as they say: room, message id. With each whether they have it since.
pub(crate) const UNREADABLE: Table<(String, [u8; 32]), Dated<Unreadable>> = Table::new("unreadable");
/// What senders were told that others do not get: room, user, row of the table of features.
pub(crate) const TOLD: Table<(String, String, String), ()> = Table::new("told");
/// What our users are called in a room, if not as in their address, and look like: room, Matrix id.
pub(crate) const MEMBER_FACES: Table<(String, String), MemberFace> = Table::new("memberface");
/// Keys of the gateway itself, by purpose. Sealed.
pub(crate) const KEYS: Table<String, Vec<u8>> = Table::sealed("key");
/// Numbers of the gateway itself, by purpose.
pub(crate) const MARKS: Table<String, u64> = Table::new("mark");
/// Days of running, and when each began.
pub(crate) const DAYS: Table<u32, Millis> = Table::new("day");
/// What could not be handled, for the operator: where, number.
pub(crate) const QUARANTINE: Table<(String, u64), Dated<Aside>> = Table::sealed("quarantine");
/// Events that wait for their files, and what waits behind them: room, number. Sealed.
pub(crate) const HELD: Table<(String, u64), Held> = Table::sealed("held");
/// Messages in whose place a note stands until their files come: room, message id. Sealed.
pub(crate) const LATE: Table<(String, [u8; 32]), Parcel> = Table::sealed("late");
/// Events that show a message beside the one of [`SHOWN`].
pub(crate) const MORE: Table<(String, [u8; 32]), Dated<Vec<String>>> = Table::new("more");
/// Assets of messages of our users: room, id of the first version; their URLs.
pub(crate) const OWN_FILES: Table<(String, [u8; 32]), Dated<Vec<String>>> = Table::new("ownfiles");
/// Assets of ours that are to be deleted, by URL.
pub(crate) const DROPPED: Table<String, ()> = Table::new("dropped");
/// Jobs that mirror many rooms at once, by number.
pub(crate) const MIRROR_JOBS: Table<u64, MirrorJob> = Table::new("mirrorjob");
/// Their rooms: job, room as it was named.
pub(crate) const MIRROR_ROWS: Table<(u64, String), MirrorRow> = Table::new("mirrorrow");
/// Rooms whose ghosts come bit by bit, and did not all yet.
pub(crate) const TRICKLING: Table<String, ()> = Table::new("trickling");
/// What a room has to do with others of this hub.
pub(crate) const KIN: Table<String, Kin> = Table::new("kin");
/// Rooms of which it is stored who takes part.
pub(crate) const ROSTERS: Table<String, ()> = Table::new("rosterof");
/// Who takes part in rooms on which others depend: room, user.
pub(crate) const ROSTERED: Table<(String, UserUri), ()> = Table::new("rostered");
/// Matrix room whose members may come into another one, and the URI of that.
pub(crate) const SEEKERS: Table<(String, String), ()> = Table::new("seeker");
/// The Matrix room of a followed room that depends on another one, which is followed, too, perhaps: that one, it.
pub(crate) const DEPENDENTS: Table<(String, String), OwnedRoomId> = Table::new("dependent");
/// What came for a room, in order.
pub(crate) const INBOX: Queue<String, InboxItem> = Queue::sealed("inbox");
/// Events of Matrix rooms that are not mirrored.
pub(crate) const LOBBY: Queue<String, String> = Queue::sealed("lobby");
/// What has to go out, by lane.
pub(crate) const OUTBOX: Queue<String, OutRow> = Queue::sealed("outbox");

/// Who could not read a message, as they say, and whether they have it since.
pub(crate) type Unreadable = Vec<(UserUri, bool)>;

/// A KeyPackage that was given out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeyPackageRow {
    /// Whose it is.
    pub(crate) user: UserUri,
    /// Who may use it.
    pub(crate) requester: UserUri,
    /// The private part.
    pub(crate) private: Vec<u8>,
    /// Last second of its lifetime.
    pub(crate) not_after: u64,
}

/// A message that waits for another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Early {
    /// The message.
    pub(crate) showing: Showing,
    /// What it waits for.
    pub(crate) target: [u8; 32],
    /// If it has files: the rest of it.
    #[serde(default)]
    pub(crate) carried: Option<Carried>,
}

impl Early {
    /// The row that shows it, whether what it waited for is there or not.
    pub(crate) fn now(self) -> OutRow {
        match self.carried {
            None => OutRow::ShowNow(Box::new(self.showing)),
            Some(Carried { room, content, policy }) => {
                OutRow::Parcel(Box::new(Parcel { room, showing: self.showing, content, policy, now: true }))
            }
        }
    }
}

/// What a message with files is beside its [`Showing`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Carried {
    /// The MIMI room.
    pub(crate) room: String,
    /// The message, encoded.
    pub(crate) content: Vec<u8>,
    /// The room's `asset_policy` when it came.
    pub(crate) policy: Option<Vec<u8>>,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// The Matrix event that shows it; empty until that was sent.
    pub(crate) event: String,
    /// When the hub accepted it; `None` of one of ours until then.
    pub(crate) accepted: Option<Millis>,
}

/// Whether one of our users lets a remote user add it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Consent {
    /// Asked by this peer, not answered.
    Pending(ProviderDomain),
    /// Yes.
    Granted,
    /// No. Nobody is told.
    Declined,
}

/// How far it is with what one of our users asked of a remote one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Requested {
    /// No answer came.
    Waiting,
    /// Yes.
    Granted,
}

/// One thing that came for a room.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum InboxItem {
    /// A Matrix event, raw.
    Event(String),
    /// The body of a notify of the room's hub.
    Notify(Vec<u8>),
    /// A remote user asks one of ours.
    Asked { peer: ProviderDomain, requester: UserUri, target: UserUri, about: std::collections::BTreeMap<u16, Vec<u8>> },
    /// It takes that back.
    AskCancelled { requester: UserUri, target: UserUri },
    /// A remote user consents.
    Granted { requester: UserUri, target: UserUri, key_packages: Vec<Vec<u8>> },
    /// KeyPackages went through us to a follower.
    Passed { references: Vec<Vec<u8>>, provider: ProviderDomain },
    /// A remote user does not consent, or not any more.
    Revoked { requester: UserUri, target: UserUri },
    /// A room of ours depends on this one, or may come to, and asks who takes part here.
    Child {
        room: RoomUri,
        #[serde(default)]
        question: u64,
    },
    /// It does not depend on this one any more, and does not mean to.
    NoChild { room: RoomUri, question: u64 },
    /// Who takes part in a room of ours, on which this one depends or may come to, is in its rows. `spaces`: the Matrix rooms
    /// that it is, or was before upgrades. `awaited`: the one to which it is being upgraded.
    Kin {
        parent: RoomUri,
        #[serde(default)]
        spaces: BTreeSet<OwnedRoomId>,
        #[serde(default)]
        awaited: Option<OwnedRoomId>,
        #[serde(default)]
        answers: u64,
    },
    /// The room of the same hub on which this followed one depends is this Matrix room here, or none.
    Above { room: RoomUri, matrix: Option<OwnedRoomId> },
    /// Of a followed room that depends, or depended, on this one, another Matrix room is in its row, or none.
    Below { room: RoomUri },
}

/// One thing that has to go out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum OutRow {
    /// A call to the homeserver.
    Matrix(MatrixAction),
    /// A message to show: its event id is mapped to the message id.
    Show(Box<Showing>),
    /// The portal of the room.
    Portal(MatrixAction),
    /// A call to a peer.
    Call { peer: ProviderDomain, endpoint: Endpoint, target: PathTarget, body: Vec<u8>, wants: Wants },
    /// One of our users is to be asked for consent for every room, unless they are not to hear of it.
    Ask { requester: UserUri, target: UserUri, at: Millis },
    /// Whoever asked for that does not any more.
    Unask { requester: UserUri, target: UserUri },
    /// The bot tells one of our users something, where nobody else reads it.
    Tell { user: UserUri, text: String, txn_id: String },
    /// What stands in a Matrix room is to be read.
    Look { room: OwnedRoomId, reader: Actor, setting: Setting, written: u32 },
    /// A message with files to show.
    Parcel(Box<Parcel>),
    /// A remote user has read these messages: the ghost's receipt.
    Seen { room: OwnedRoomId, user: UserUri, messages: Vec<[u8; 32]> },
    /// A message whose time has come is removed.
    Expire { room: OwnedRoomId, actor: Actor, event: OwnedEventId, message_id: [u8; 32] },
    /// A message to show, whether what it refers to is there or not.
    ShowNow(Box<Showing>),
    /// The picture of a Matrix room becomes an asset under this name.
    Publish { room: String, event: String, sender: OwnedUserId, owner: UserUri, url: String, name: [u8; NAME_BYTES] },
    /// An asset becomes the picture of a Matrix room.
    Wear { uri: String, room: OwnedRoomId, actor: Actor, url: String },
    /// The picture of one of our users is read; the salt is that of the message that tells it.
    Fetch { room: String, user: UserUri, place: String, salt: [u8; 16] },
    /// A remote user's picture becomes a file of the homeserver.
    Portray { room: String, user: UserUri, picture: Vec<u8> },
}

/// A member as the Matrix room shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberFace {
    /// The display name, if it has one that is not that of its address.
    pub(crate) name: Option<String>,
    /// The picture, `mxc://…`.
    pub(crate) picture: Option<String>,
}

/// An event that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The event, raw.
    pub(crate) raw: String,
    /// The salt of its message.
    pub(crate) salt: [u8; 16],
    /// Since when.
    pub(crate) since: Millis,
    /// If it has files: what their names and keys are made of.
    pub(crate) seed: Option<[u8; 32]>,
    /// What became of its files, once that is known.
    pub(crate) brought: Option<Vec<Moved<ExternalPart>>>,
}

/// A message with files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// The MIMI room.
    pub(crate) room: String,
    /// How it is shown without its files.
    pub(crate) showing: Showing,
    /// The message, encoded.
    pub(crate) content: Vec<u8>,
    /// The room's `asset_policy` when it came.
    pub(crate) policy: Option<Vec<u8>>,
    /// It waited for another message before: it is shown whether that is there or not.
    #[serde(default)]
    pub(crate) now: bool,
}

impl Parcel {
    /// The row that shows it without its files.
    pub(crate) fn bare(self) -> OutRow {
        let showing = Box::new(self.showing);
        if self.now { OutRow::ShowNow(showing) } else { OutRow::Show(showing) }
    }

    /// What it is beside its showing.
    pub(crate) fn carried(&self) -> Carried {
        Carried { room: self.room.clone(), content: self.content.clone(), policy: self.policy.clone() }
    }
}

/// Who waits for the answer of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wants {
    /// The room.
    Room(Tag),
    /// The room wants KeyPackages of this user.
    KeyPackages(UserUri),
    /// The room wants a GroupInfo, asked for as this user; the HPKE private key opens it.
    GroupInfo { user: UserUri, key: Secret },
}

/// Bytes that are not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Wants {
    /// Whether anybody waits.
    pub(crate) fn answer(&self) -> bool {
        *self != Self::Room(Tag::None)
    }
}
