//! What a step of a room is about.

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use super::{
    about::About,
    effect::{StateNow, Tag},
    settings::Setting,
    upgrade::NewHome,
};
use crate::{
    content::{ExternalPart, MessageId},
    ident::{ProviderDomain, RoomUri, UserUri},
    translate::{self, Earlier, profile::Picture},
    wire::{FanoutMessage, HandshakeBundle, SubmitMessageRequest},
};

/// What became of the files of an event.
pub(super) type Files = Vec<translate::media::Moved<ExternalPart>>;

/// What a step is about.
#[derive(Debug, Clone)]
pub enum Input {
    /// An event of the Matrix room, and 16 random bytes for the message that may come of it.
    Event {
        /// The event.
        event: translate::RoomEvent,
        /// The message's salt.
        salt: [u8; 16],
        /// The messages of the events that it names ([`translate::named`]).
        past: Vec<(OwnedEventId, Earlier)>,
    },
    /// An event of the Matrix room whose files went over.
    Filed {
        /// The event.
        event: translate::RoomEvent,
        /// The message's salt.
        salt: [u8; 16],
        /// As of [`Input::Event`].
        past: Vec<(OwnedEventId, Earlier)>,
        /// What became of its files, in the order of [`translate::media::Media::sources`].
        files: Files,
    },
    /// One message that the hub distributed.
    Fanout(FanoutMessage),
    /// A follower submits a message (we are the hub). Answered.
    Submit {
        /// The follower.
        peer: ProviderDomain,
        /// The request.
        request: SubmitMessageRequest,
    },
    /// A follower sends a commit or proposals (we are the hub). Answered.
    Update {
        /// The follower.
        peer: ProviderDomain,
        /// The request.
        bundle: HandshakeBundle,
    },
    /// A remote user asks one of ours in.
    Asked {
        /// Who asks.
        requester: UserUri,
        /// Who is asked.
        target: UserUri,
        /// What the request says about the room: its name, and whether it is a direct chat.
        about: About,
        /// The target agreed before to be added to every room of the requester's.
        standing: bool,
    },
    /// The remote user does not ask any more.
    AskCancelled {
        /// Who asked.
        requester: UserUri,
        /// Who was asked.
        target: UserUri,
    },
    /// A remote user consents.
    Granted {
        /// Who had asked.
        requester: UserUri,
        /// Who consents.
        target: UserUri,
        /// Raw KeyPackages.
        key_packages: Vec<Vec<u8>>,
    },
    /// A remote user does not consent, and lets us know.
    Revoked {
        /// Who had asked.
        requester: UserUri,
        /// Who does not.
        target: UserUri,
    },
    /// The answer to a `Effect::ClaimKeyMaterial`.
    KeyMaterial {
        /// Whose KeyPackages.
        target: UserUri,
        /// Raw KeyPackages, or why there are none.
        key_packages: Result<Vec<Vec<u8>>, String>,
    },
    /// The answer to an `Effect::AskGroupInfo`.
    GroupInfo {
        /// Who asked.
        user: UserUri,
        /// What the hub said.
        answer: GroupInfoAnswer,
    },
    /// KeyPackages passed through us, the hub, on their way to a follower.
    KeyPackagesPassed {
        /// Their references.
        references: Vec<Vec<u8>>,
        /// Who provided them.
        provider: ProviderDomain,
    },
    /// The portal exists.
    PortalReady(OwnedRoomId),
    /// The homeserver refuses to make the portal.
    PortalFailed(String),
    /// A call that needs an answer has one.
    Answered {
        /// Which call.
        tag: Tag,
        /// The answer's body, or why there will be none.
        result: Result<Vec<u8>, String>,
    },
    /// The homeserver does not let the ghost of this user join, for good.
    ShutOut {
        /// Who.
        user: UserUri,
        /// What it says.
        why: String,
    },
    /// The homeserver does not take a message of this user's ghost, for good.
    NotShown {
        /// Who.
        user: UserUri,
        /// What it says.
        why: String,
    },
    /// The homeserver does not let us do something to this user, for good.
    NotDone {
        /// What.
        what: super::undone::Undone,
        /// Whom.
        user: UserUri,
        /// What it says.
        why: String,
    },
    /// What an `Effect::Look` found; `None`: there is no such event.
    Looked {
        /// What was looked at.
        setting: Setting,
        /// How often we had written it when that was asked for.
        written: u32,
        /// What stands there, or why it cannot be read.
        found: Result<Option<StateNow>, String>,
    },
    /// The homeserver does not let us write a setting, for good.
    NotSet {
        /// Which.
        setting: Setting,
        /// What it says.
        why: String,
    },
    /// One of our users has read these messages of remote ones; 16 random bytes for the report.
    Read {
        /// Who.
        user: UserUri,
        /// What.
        messages: Vec<MessageId>,
        /// The report's salt.
        salt: [u8; 16],
    },
    /// What an `Effect::LookForHome` found, or why nobody of ours is in that room.
    NewHome {
        /// The Matrix room.
        to: OwnedRoomId,
        /// What it says.
        found: Result<NewHome, String>,
    },
    /// The picture of the Matrix room is an asset.
    Published {
        /// The state event.
        event: String,
        /// Who set it.
        sender: OwnedUserId,
        /// Where it is, or why it is not.
        url: Result<String, String>,
    },
    /// The picture of one of ours.
    Fetched {
        /// Whose.
        user: UserUri,
        /// Where it was, `mxc://…`.
        place: String,
        /// 16 random bytes for the message that tells it.
        salt: [u8; 16],
        /// It, if there is one that is small enough, or why it cannot be read.
        picture: Result<Option<Picture>, String>,
    },
    /// The picture of a ghost is a file of the homeserver.
    Portrayed {
        /// Whose.
        user: UserUri,
        /// It.
        picture: Picture,
        /// Where it is, or why it is not.
        place: Result<String, String>,
    },
    /// The homeserver has these messages of remote users; 16 random bytes for the reports.
    Taken {
        /// Which.
        messages: Vec<MessageId>,
        /// What the reports' salts are made of.
        salt: [u8; 16],
    },
    /// Who takes part in a room of ours on which this one depends, or may come to (`room::kin`).
    Kin {
        /// The other room.
        parent: RoomUri,
        /// The Matrix rooms that it is, or was before upgrades.
        spaces: BTreeSet<OwnedRoomId>,
        /// The one to which it is being upgraded.
        awaited: Option<OwnedRoomId>,
        /// The last question of this one that it knew.
        answers: u64,
    },
    /// Another room of the hub of this one, on which this one depends, is this Matrix room here, or none.
    Above {
        /// The other room.
        room: RoomUri,
        /// The Matrix room.
        matrix: Option<OwnedRoomId>,
    },
    /// Another room of the hub of this one, which depends on this one, is this Matrix room here; none: it does not, or is not.
    Below {
        /// The other room.
        room: RoomUri,
        /// The Matrix room.
        matrix: Option<OwnedRoomId>,
    },
    /// Time passed.
    Tick,
}

/// What a hub answers to groupInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupInfoAnswer {
    /// Here it is.
    Given(super::group::GroupInfo),
    /// It does not let this user in; the text says why.
    Refused(String),
    /// Nothing that can be used came; another try may do better.
    Failed(String),
}
