//! What is stored of a room besides its MLS rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};

use super::{
    access::AccessList,
    codes::JoinCode,
    contested::Contested,
    crowd::Crowd,
    effect::{Actor, Millis},
    faces::Faces,
    group::Staged,
    kin::Kin,
    live::AllShared,
    portraits::Portraits,
    roles::Levels,
    settings::{Setting, Shown},
    sight::Sight,
    upgrade::Moving,
};
use crate::ident::{ProviderDomain, RoomUri, UserUri};

/// Where a room stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Users of ours were asked in; we hold no group yet.
    Invited,
    /// Our external commit is at the hub; the group's state is the one after it.
    Joining,
    /// We are in.
    Active,
    /// Unbridged, or our last user left. Nothing is carried any more; an invitation makes it `Invited` again.
    Left,
    /// Forked, forged or lost; the text says what an operator should know.
    Broken(String),
}

/// Something that a user of ours wants and that waits for its turn. In order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// Say something.
    Say {
        /// Who.
        user: UserUri,
        /// The Matrix event, for reports.
        event: OwnedEventId,
        /// Encoded MIMI content; its salt is drawn once, so the message id survives every retry.
        content: Vec<u8>,
        /// Its message id.
        message_id: [u8; 32],
    },
    /// Put a user on the participant list, and its clients into the group.
    Add {
        /// Who wants it.
        by: UserUri,
        /// Who comes in.
        user: UserUri,
        /// Raw KeyPackages; none for users of ours (they get a leaf when they act).
        key_packages: Vec<Vec<u8>>,
    },
    /// Remove somebody else.
    Remove {
        /// Who wants it.
        by: UserUri,
        /// Who goes.
        user: UserUri,
    },
    /// Leave.
    Leave {
        /// Who.
        user: UserUri,
    },
    /// Have the room depend on another one of its hub, or on none.
    Belong {
        /// Who wants it.
        by: UserUri,
        /// That room, and the Matrix room by which the join rule names it.
        to: Option<(RoomUri, OwnedRoomId)>,
    },
    /// Change a component of the room.
    Change {
        /// Who wants it.
        by: UserUri,
        /// The component.
        component: u16,
        /// Its update.
        update: Vec<u8>,
    },
    /// Refresh a leaf before its lifetime is half over.
    Refresh {
        /// Whose.
        user: UserUri,
    },
    /// Commit what is pending.
    Settle {
        /// Whose leaf commits.
        user: UserUri,
    },
    /// Make a remote user a banned one, who is in the room no more and whom nobody adds.
    Ban {
        /// Who wants it.
        by: UserUri,
        /// Who is banned.
        user: UserUri,
    },
    /// Lift a ban.
    Unban {
        /// Who wants it.
        by: UserUri,
        /// Who is banned.
        user: UserUri,
    },
    /// Change what the room says of itself.
    Describe {
        /// Who wants it.
        by: UserUri,
        /// What.
        setting: Setting,
        /// What it shall be.
        text: String,
    },
    /// Bring those whose power levels changed to other roles.
    Appoint {
        /// Who wants it.
        by: UserUri,
        /// Their new levels.
        levels: Vec<(UserUri, i64)>,
    },
    /// Let anybody come in, or nobody any more who was not asked.
    Open {
        /// Who wants it.
        by: UserUri,
        /// Whether anybody may.
        open: bool,
    },
    /// Say what became of others' messages. It is let go if it cannot be sent.
    Report {
        /// Who.
        user: UserUri,
        /// Encoded MIMI content with a message status report.
        content: Vec<u8>,
    },
    /// Ask a remote user in who goes before that, or whose ban is lifted.
    Ask {
        /// Who wants it.
        by: UserUri,
        /// Who is asked.
        user: UserUri,
    },
}

impl Intent {
    /// Whose membership it is about.
    #[must_use]
    pub fn member(&self) -> Option<&UserUri> {
        match self {
            Self::Add { user, .. }
            | Self::Remove { user, .. }
            | Self::Leave { user }
            | Self::Ban { user, .. }
            | Self::Unban { user, .. } => Some(user),
            Self::Say { .. }
            | Self::Report { .. }
            | Self::Change { .. }
            | Self::Belong { .. }
            | Self::Refresh { .. }
            | Self::Settle { .. }
            | Self::Describe { .. }
            | Self::Open { .. }
            | Self::Ask { .. }
            | Self::Appoint { .. } => None,
        }
    }

    /// The user who acts.
    #[must_use]
    pub fn actor(&self) -> &UserUri {
        match self {
            Self::Say { user, .. }
            | Self::Report { user, .. }
            | Self::Leave { user }
            | Self::Refresh { user }
            | Self::Settle { user } => user,
            Self::Add { by, .. }
            | Self::Remove { by, .. }
            | Self::Ban { by, .. }
            | Self::Unban { by, .. }
            | Self::Change { by, .. }
            | Self::Belong { by, .. }
            | Self::Describe { by, .. }
            | Self::Open { by, .. }
            | Self::Ask { by, .. }
            | Self::Appoint { by, .. } => by,
        }
    }
}

/// What a follower has sent to the hub and waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InFlight {
    /// A commit; the same bytes are sent again until an answer is known.
    Commit {
        /// The staged commit.
        staged: Box<Staged>,
        /// It came back by fan-out and is merged already; only the answer is missing.
        merged: bool,
    },
    /// Proposals of a leave.
    Leave {
        /// Who leaves.
        user: UserUri,
        /// The proposals: they are taken back if the hub refuses them.
        proposals: Vec<Vec<u8>>,
    },
}

/// A message that the hub has not answered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// SHA-256 of the sealed message.
    pub hash: [u8; 32],
    /// The epoch it was sealed in: while it may still be refused as too old, nothing is sealed in a later one, which
    /// would overtake it.
    pub epoch: u64,
    /// What was said: sealed again if the hub moved on.
    pub intent: Intent,
}

/// A message that cannot be shown or opened yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When the hub accepted it.
    pub accepted: Millis,
    /// The PrivateMessage.
    pub message: Vec<u8>,
    /// The hub's stamp, encoded.
    pub frank: Option<Vec<u8>>,
}

/// Why a room has to be joined again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lost {
    /// Commits are missing, or one cannot be applied.
    Way,
    /// Somebody removed all our leaves, or those whose keys we kept.
    Leaves,
}

/// How far joining again has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejoinStage {
    /// The hub is asked for a GroupInfo.
    Asking,
    /// The external commit is at the hub; the group's state is the one after it.
    Sent,
    /// To be tried again then.
    Waiting(Millis),
}

/// A followed room on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoin {
    /// Why.
    pub lost: Lost,
    /// The same for people.
    pub why: String,
    /// Who joins.
    pub by: UserUri,
    /// Whom the hub refused.
    pub refused: BTreeSet<UserUri>,
    /// Tries so far.
    pub attempts: u32,
    /// How far it has come.
    pub stage: RejoinStage,
    /// The group's state is none that we know to be the hub's.
    pub replaced: bool,
    /// Our users who were listed when it began.
    pub listed: BTreeSet<UserUri>,
    /// Our users who had leaves then.
    pub leaves: BTreeSet<UserUri>,
    /// The last epoch that we know of.
    pub epoch: u64,
    /// The first epoch that we cannot read.
    pub from: u64,
    /// Whether something of what came meanwhile had to be let go.
    pub overflown: bool,
}

/// A Welcome that came without its ratchet tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treeless {
    /// The Welcome, as it came.
    pub welcome: Vec<u8>,
    /// As whom the hub is asked for the tree.
    pub user: UserUri,
}

/// The stored record of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Room {
    /// The room's URI; its provider is the hub.
    pub uri: RoomUri,
    /// The Matrix room.
    pub matrix: Option<OwnedRoomId>,
    /// Where it stands.
    pub phase: Phase,
    /// A direct chat: a room of fixed membership. It ends when one side leaves.
    pub direct: bool,
    /// Who speaks for the gateway in the Matrix room.
    pub speaker: Actor,
    /// People were told that the gateway reads along.
    pub greeted: bool,
    /// What the gateway has to say once the ghost that speaks for it is in the Matrix room.
    pub to_say: Vec<String>,
    /// Which group of the room is the present one.
    pub group: u32,
    /// Last accepted timestamp: as hub the last given, as follower the last seen.
    pub last_accepted: Millis,
    /// Our users who are joined on Matrix. Stored apart from the rest, as there may be many.
    #[serde(skip)]
    pub present: Crowd,
    /// Who invited those who are not joined yet.
    pub invited_by: BTreeMap<UserUri, UserUri>,
    /// Remote users whose ghosts are in the Matrix room. Stored apart, too.
    #[serde(skip)]
    pub ghosts: Crowd,
    /// Remote users who were asked for consent, and by whom.
    pub asking: BTreeMap<UserUri, UserUri>,
    /// Our users who were asked in by a remote user, and have not answered.
    pub asked: BTreeMap<UserUri, UserUri>,
    /// Of them, those whose invitation was taken back while the Matrix room was being made.
    pub taken_back: BTreeSet<UserUri>,
    /// Of them, those who are banned in the MIMI room, and not invited before that ends.
    pub asked_in_vain: BTreeSet<UserUri>,
    /// What our users want, in order.
    pub queue: VecDeque<Intent>,
    /// As follower: what waits for the hub.
    pub in_flight: Option<InFlight>,
    /// As follower: the hash of the update whose answer counts.
    pub awaiting: Option<[u8; 32]>,
    /// As follower: users whose KeyPackages were asked of the hub, and who wants them in.
    pub claiming: BTreeMap<UserUri, UserUri>,
    /// It is being let go: nothing new is carried, our users leave, then it is `Left`.
    pub unbridging: bool,
    /// As follower: messages that wait for the hub's answer.
    pub submitted: VecDeque<Submitted>,
    /// Messages to be sealed again once `submitted` is empty.
    pub again: VecDeque<Intent>,
    /// Commits up to this epoch have to come before anything is made.
    pub behind: u64,
    /// Since when they are missed: nothing came from the hub after that.
    pub behind_since: Millis,
    /// As follower: the room lost its way, and is joined again.
    pub rejoin: Option<Rejoin>,
    /// As follower: a Welcome whose tree the hub is asked for.
    pub treeless: Option<Treeless>,
    /// As follower: what the hub distributed meanwhile, in order; encoded fan-outs.
    pub late: VecDeque<Vec<u8>>,
    /// The epochs that were passed over by joining again: the first of them, and the one after.
    pub gap: (u64, u64),
    /// Messages of such epochs that came, and could not be read.
    pub unreadable: u64,
    /// Those of our users who are listed could not come back by themselves: somebody elsewhere has to add them.
    pub waiting: bool,
    /// How often the first of the queue was refused for its epoch.
    pub attempts: u32,
    /// As follower: nothing is committed before, unless proposals come: the hub knows of some that did not come yet.
    pub pause: Millis,
    /// As follower: users whose leave the hub took, and whose leaf is still there until the commit comes.
    pub leaving: BTreeSet<UserUri>,
    /// As hub: the user with the last leaf of all, who left the Matrix room: nobody is there to commit that they leave. They
    /// go off the list when somebody else comes in.
    pub keeper: Option<UserUri>,
    /// Hashes of our own messages that may come back.
    pub own: VecDeque<[u8; 32]>,
    /// Messages of an epoch that we have not entered.
    pub held: Vec<Held>,
    /// The stored MLS state may be older than what was sent: nobody sends before their leaf is fresh (DESIGN 9).
    pub stale: bool,
    /// Users whose leaf is fresh again.
    pub fresh: BTreeSet<UserUri>,
    /// As hub: codes by which people may come in.
    pub codes: Vec<JoinCode>,
    /// As hub: who showed one, and until when they may come.
    pub admitted: BTreeMap<UserUri, Millis>,
    /// As hub: KeyPackages that came through us, and from whom.
    pub key_packages: BTreeMap<Vec<u8>, ProviderDomain>,
    /// As hub: when we accepted the proposals of this epoch that nobody has committed yet, by their hash.
    pub proposed: BTreeMap<[u8; 32], Millis>,
    /// As follower: when we commit what is pending, if nobody else does before.
    pub settle: Option<Settle>,
    /// Users whom somebody banned in the Matrix room: ghosts, and since they are banned in the MIMI room, too, our own.
    pub banned: BTreeSet<UserUri>,
    /// As hub: whether the Matrix room's join rule lets anybody in.
    #[serde(default)]
    pub public: bool,
    /// As hub: its roles are those that it was made with, and levels follow them; else roles come from the levels.
    pub keeps_roles: bool,
    /// The Matrix room is a space: as host by its first event, as follower by the word of whoever asked one of ours in.
    #[serde(default)]
    pub space: bool,
    /// What the Matrix room says of itself.
    pub settings: BTreeMap<Setting, Shown>,
    /// What is known of its power levels.
    pub levels: Levels,
    /// Events whose senders were told that they wait.
    pub slow: BTreeSet<OwnedEventId>,
    /// Users, ours and ghosts, who are banned in the Matrix room and whom the MIMI room bans: the one ends with the other.
    pub shut: BTreeSet<UserUri>,
    /// What the homeserver did not let us do to whom: it is done once the bot has the power.
    #[serde(default)]
    pub undone: BTreeMap<UserUri, super::undone::Undone>,
    /// Remote users of whom people were told that the homeserver does not take what they say.
    #[serde(default)]
    pub unshown: BTreeSet<UserUri>,
    /// As hub: which providers the Matrix room's server access list keeps out.
    pub access: Option<AccessList>,
    /// As hub: whom it put out.
    pub barred: BTreeSet<UserUri>,
    /// As hub: who is kept out and could not be taken out of the MIMI room, as people were told.
    #[serde(default)]
    pub stuck: BTreeSet<UserUri>,
    /// Whom somebody here insists on having out, or in, against the MIMI room.
    #[serde(default)]
    pub contested: Contested,
    /// The Matrix room was replaced, and its successor is looked for.
    pub moving: Option<Moving>,
    /// The Matrix room before this one, and when it was replaced.
    pub former: Option<(OwnedRoomId, Millis)>,
    /// As hub: the two of a direct chat.
    pub two: BTreeSet<UserUri>,
    /// What our users see of it.
    pub sight: Sight,
    /// What people call themselves. Stored apart.
    #[serde(skip)]
    pub faces: Faces,
    /// Live locations of our users. Stored apart, a row for each of them.
    #[serde(skip)]
    pub live: AllShared,
    /// What people look like. Stored apart.
    #[serde(skip)]
    pub portraits: Portraits,
    /// Lines of the gateway's own that were shown in its Matrix rooms.
    #[serde(default)]
    pub lines: u64,
    /// What it has to do with other rooms: stored in a row of its own.
    #[serde(skip)]
    pub kin: Kin,
}

/// A commit of pending proposals that is put off, so that not every follower makes one at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// The epoch of the proposals.
    pub epoch: u64,
    /// When.
    pub at: Millis,
    /// It was tried. There is no second try for the same proposals.
    pub tried: bool,
}

impl Room {
    /// A room that nothing is known about yet.
    #[must_use]
    pub fn new(uri: RoomUri, phase: Phase, speaker: Actor) -> Self {
        Self {
            uri,
            matrix: None,
            phase,
            direct: false,
            speaker,
            greeted: false,
            to_say: Vec::new(),
            group: 0,
            last_accepted: 0,
            present: Crowd::default(),
            invited_by: BTreeMap::new(),
            ghosts: Crowd::default(),
            asking: BTreeMap::new(),
            asked: BTreeMap::new(),
            taken_back: BTreeSet::new(),
            asked_in_vain: BTreeSet::new(),
            queue: VecDeque::new(),
            in_flight: None,
            awaiting: None,
            claiming: BTreeMap::new(),
            unbridging: false,
            submitted: VecDeque::new(),
            again: VecDeque::new(),
            behind: 0,
            behind_since: 0,
            rejoin: None,
            treeless: None,
            late: VecDeque::new(),
            gap: (0, 0),
            unreadable: 0,
            waiting: false,
            attempts: 0,
            pause: 0,
            leaving: BTreeSet::new(),
            keeper: None,
            own: VecDeque::new(),
            held: Vec::new(),
            stale: false,
            fresh: BTreeSet::new(),
            codes: Vec::new(),
            admitted: BTreeMap::new(),
            key_packages: BTreeMap::new(),
            proposed: BTreeMap::new(),
            settle: None,
            banned: BTreeSet::new(),
            public: false,
            keeps_roles: false,
            space: false,
            settings: BTreeMap::new(),
            levels: Levels::default(),
            slow: BTreeSet::new(),
            shut: BTreeSet::new(),
            undone: BTreeMap::new(),
            unshown: BTreeSet::new(),
            access: None,
            barred: BTreeSet::new(),
            stuck: BTreeSet::new(),
            contested: Contested::default(),
            moving: None,
            former: None,
            two: BTreeSet::new(),
            sight: Sight::default(),
            faces: Faces::default(),
            live: AllShared::default(),
            portraits: Portraits::default(),
            lines: 0,
            kin: Kin::default(),
        }
    }
}
