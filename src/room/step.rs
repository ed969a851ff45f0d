//! One step: an input, the room, its group, the time; out come effects and perhaps an answer for a peer.
//!
//! ```text
//!  Matrix event --> local ----+                         +--> hub: accept, order, fan out
//!                             +--> queue of intents ----+
//!  answer of the hub ---------+                         +--> follower: stage or seal, submit, wait
//!
//!  submit, update (we are hub) --> hub       notify (we follow) --> follower       consent --> local
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use sha2::{Digest, Sha256};

use super::{
    about::About,
    effect::{Actor, Endpoint, MatrixAction, Millis, PathTarget, StateNow},
    group::{Group, GroupError, Opened},
    people::People,
    settings::Setting,
    state::{Phase, Room},
    telling::Telling,
    upgrade::{Move, NewHome},
};
use crate::{
    content::{Expiration, ExternalPart, MessageId, MessageStatusReport, MimiContent},
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::{Capability, Envelope, RoomState},
    translate::{self, CONTENT_KEY, Earlier, Form, Refers, profile::Picture},
    wire::{FanoutMessage, Frank, HandshakeBundle, SubmitMessageRequest},
};

/// What rooms may be where nothing is said.
static UNBOUNDED: std::sync::LazyLock<Envelope> = std::sync::LazyLock::new(Envelope::default);

/// How the two worlds name each other; made once from the settings.
pub trait Names: Send + Sync {
    /// Our domain.
    fn domain(&self) -> &ProviderDomain;
    /// The MIMI user that a Matrix user is. `None` for our ghosts and the bot.
    fn uri(&self, user: &UserId) -> Option<UserUri>;
    /// The remote MIMI user behind one of our ghosts. `None` for anybody else.
    fn ghost_uri(&self, user: &UserId) -> Option<UserUri>;
    /// Whether this is an id among those of our ghosts that stands for no remote user (as far as one can read it).
    fn is_stray(&self, user: &UserId) -> bool;
    /// Whether somebody of this provider can be asked.
    fn is_peer(&self, provider: &ProviderDomain) -> bool;
    /// Why nobody of this provider can be asked, in a sentence for this user of ours; `None`: they can be.
    fn not_reached(&self, provider: &ProviderDomain, _by: Option<&UserUri>) -> Option<String> {
        (!self.is_peer(provider)).then(|| format!("{provider} is no peer of this gateway. Its operator can add it."))
    }
    /// Whether what goes to this provider waits until it is no longer denied.
    fn is_denied(&self, _provider: &ProviderDomain) -> bool {
        false
    }
    /// Whether this provider is a gateway to Matrix by our settings.
    fn is_gateway(&self, _provider: &ProviderDomain) -> bool {
        false
    }
    /// Whether this is a ghost of any gateway, or our bot: its events are never carried.
    fn is_bridged(&self, user: &UserId) -> bool;
    /// The Matrix user that a MIMI user is: one of ours, or a ghost.
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId>;
    /// The bridge bot.
    fn bot(&self) -> OwnedUserId;
    /// Whether this is the bridge bot.
    fn is_bot(&self, user: &UserId) -> bool;
    /// How people read a remote user's name.
    fn display(&self, user: &UserUri) -> String;
    /// Localpart of the alias of the portal of this room.
    fn portal_alias(&self, room: &crate::ident::RoomUri) -> String;
    /// Why this user of ours may not ask users of this provider, or of any if none is named, into rooms: in words for them.
    fn not_to_invite(&self, _by: &UserUri, _provider: Option<&ProviderDomain>) -> Option<String> {
        None
    }
    /// Counts an invitation of this user of ours; the seconds until there may be one, if there were too many.
    fn too_many_invitations(&self, _by: &UserUri) -> Option<u32> {
        None
    }
    /// What this user of ours may do with the gateway, in a sentence; empty if that is not told.
    fn allowance(&self, _user: &UserUri) -> String {
        String::new()
    }
    /// What rooms may be, whatever their own policy.
    fn envelope(&self) -> &Envelope {
        &UNBOUNDED
    }
    /// Up to how many Matrix members all are listed as participants; above it only those who act.
    fn list_all_up_to(&self) -> usize;
    /// Up to how many ghosts come into a Matrix room at once; if more are missing, they come bit by bit.
    fn ghosts_at_once(&self) -> usize {
        50
    }
    /// What people are told of what becomes of their messages.
    fn telling(&self) -> Telling {
        Telling::default()
    }
}

/// What became of the files of an event.
pub type Files = Vec<translate::media::Moved<ExternalPart>>;

/// What a step is about.
#[derive(Debug)]
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
    /// The answer to a [`Effect::ClaimKeyMaterial`].
    KeyMaterial {
        /// Whose KeyPackages.
        target: UserUri,
        /// Raw KeyPackages, or why there are none.
        key_packages: Result<Vec<Vec<u8>>, String>,
    },
    /// The answer to an [`Effect::AskGroupInfo`].
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
    /// What an [`Effect::Look`] found; `None`: there is no such event.
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
    /// What an [`Effect::LookForHome`] found, or why nobody of ours is in that room.
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

/// A message to be shown, and what it refers to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Showing {
    /// The send of the message as one that stands for itself.
    pub action: MatrixAction,
    /// Its id.
    pub message_id: [u8; 32],
    /// When the hub accepted it.
    pub accepted: Millis,
    /// What later messages need of it.
    pub earlier: Earlier,
    /// What it refers to.
    pub refers: Refers,
    /// Who deletes for its sender what others said, if the sender may.
    pub keeper: Option<Actor>,
}

/// What a step wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A call to the homeserver, in the room's order.
    Matrix(MatrixAction),
    /// The portal has to be made; [`Input::PortalReady`] follows.
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
    /// KeyPackages are to be asked for, signed as this user, by way of the hub. [`Input::KeyMaterial`] follows.
    ClaimKeyMaterial {
        /// Who asks.
        requester: UserUri,
        /// Whose.
        target: UserUri,
    },
    /// The hub is to be asked for a GroupInfo, signed as this user, behind everything that was sent to it before.
    /// [`Input::GroupInfo`] follows.
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
    /// What stands in the Matrix room is to be read, behind everything that was done there before. [`Input::Looked`] follows.
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
    /// The speaker goes into this Matrix room and reads what it says of itself. [`Input::NewHome`] follows.
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
    /// A file of the homeserver has to be an asset, too: [`Input::Published`] follows.
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
    /// A small form of the picture of one of ours is to be read: [`Input::Fetched`] follows.
    Fetch {
        /// Whose.
        user: UserUri,
        /// Where it is, `mxc://…`.
        place: String,
    },
    /// A ghost's picture has to be a file of the homeserver: [`Input::Portrayed`] follows.
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
    /// Who takes part in the room on which this one depends, or in the one that this Matrix room is: [`Input::Kin`] follows, if
    /// it is a room of ours.
    FindParent {
        /// The room on which it depends.
        parent: Option<RoomUri>,
        /// The one whose members may come in.
        space: Option<OwnedRoomId>,
    },
    /// [`Input::Tick`] is wanted at this time.
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

/// What a room keeps in mind and can do without: message ids that were shown or logged lately, of which a second copy is not
/// shown again.
#[derive(Debug, Default, Clone)]
pub struct Recent {
    order: VecDeque<[u8; 32]>,
    set: BTreeSet<[u8; 32]>,
    /// Messages that wait for long are not looked for before.
    pub(super) looks_at: Millis,
}

impl Recent {
    const KEEP: usize = 4096;

    /// Notes an id; false if it was known.
    pub fn insert(&mut self, id: [u8; 32]) -> bool {
        if !self.set.insert(id) {
            return false;
        }
        self.order.push_back(id);
        while self.order.len() > Self::KEEP {
            if let Some(old) = self.order.pop_front() {
                self.set.remove(&old);
            }
        }
        true
    }
}

/// A step in progress.
pub struct Step<'a> {
    /// The room.
    pub room: &'a mut Room,
    /// Its group.
    pub group: &'a mut dyn Group,
    /// The two worlds' names.
    pub names: &'a dyn Names,
    /// Lately seen message ids.
    pub recent: &'a mut Recent,
    /// Milliseconds since the epoch.
    pub now: Millis,
    /// How long commits that are missing may take to come, in milliseconds.
    pub catch_up: Millis,
    /// More comes at once, in the same transaction: what our users want is worked off with the last of it, so that first
    /// speakers of a burst share a commit.
    pub more: bool,
    /// What is to be done.
    pub out: Vec<Effect>,
}

/// SHA-256.
pub(super) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Step<'_> {
    /// Carries out one input; the answer, if the input is one of a peer that waits for it.
    pub fn run(&mut self, input: Input) -> Option<Vec<u8>> {
        let mut answer = None;
        match input {
            Input::Event { event, salt, past } => self.on_event(&event, salt, &past),
            Input::Filed { event, salt, past, files } => self.say(&event, salt, &past, Some(files)),
            Input::Fanout(message) => self.on_fanout(message),
            Input::Submit { peer, request } => answer = Some(self.on_submit(&peer, &request)),
            Input::Update { peer, bundle } => answer = Some(self.on_update(&peer, bundle)),
            Input::Asked { requester, target, about, standing } => self.on_asked(requester, target, &about, standing),
            Input::Revoked { requester, target } => self.on_revoked(&requester, &target),
            Input::AskCancelled { requester, target } => self.on_ask_cancelled(&requester, &target),
            Input::Granted { requester, target, key_packages } => self.on_granted(&requester, &target, key_packages),
            Input::KeyMaterial { target, key_packages } => self.on_key_material(&target, key_packages),
            Input::KeyPackagesPassed { references, provider } => {
                for reference in references {
                    self.room.key_packages.insert(reference, provider.clone());
                }
            }
            Input::PortalReady(room) => self.on_portal_ready(&room),
            Input::PortalFailed(why) => {
                self.room.asked.clear();
                self.report(format!("the portal could not be made: {why}"));
            }
            Input::Answered { tag, result } => self.on_answered(tag, result),
            Input::GroupInfo { user, answer } => self.on_group_info(&user, answer),
            Input::ShutOut { user, why } => self.on_shut_out(&user, &why),
            Input::NotShown { user, why } => self.on_not_shown(&user, &why),
            Input::NotDone { what, user, why } => self.on_not_done(what, &user, &why),
            Input::Read { user, messages, salt } => self.on_read(user, &messages, salt),
            Input::Published { event, sender, url } => self.on_published(&event, &sender, url),
            Input::Taken { messages, salt } => self.on_taken(&messages, salt),
            Input::Looked { setting, written, found } => self.on_looked(setting, written, found),
            Input::Fetched { user, place, salt, picture } => self.on_fetched(&user, &place, salt, picture),
            Input::Portrayed { user, picture, place } => self.on_portrayed(&user, &picture, place),
            Input::NotSet { setting, why } => self.on_not_set(setting, &why),
            Input::NewHome { to, found } => self.on_new_home(&to, found),
            Input::Kin { parent, spaces, awaited, answers } => {
                self.on_kin(&parent, &spaces, awaited.as_ref(), answers);
            }
            Input::Tick => self.on_tick(),
        }
        if !self.more {
            self.pump();
            self.look_for_slow();
        }
        answer
    }

    fn on_tick(&mut self) {
        self.wake_for_faces();
        self.end_silent_live();
        self.wake_for_portraits();
        self.look_for_the_way();
        self.look_for_home();
        self.find_parent();
        self.look_at_the_rule();
        if self.room.rejoin.is_none() {
            self.keep_leaves_fresh();
            self.wake_to_settle();
            self.keep_within_bounds();
            self.keep_closed();
        }
    }

    /// Leaves past half their lifetime, and the one that becomes the standby, get a commit of their own.
    pub(super) fn keep_leaves_fresh(&mut self) {
        for user in self.group.refresh_due(self.now) {
            self.want(super::state::Intent::Refresh { user });
        }
    }

    /// Whether the room is hosted here.
    pub(super) fn is_hub(&self) -> bool {
        self.room.uri.hub() == *self.names.domain()
    }

    pub(super) fn is_ours(&self, user: &UserUri) -> bool {
        user.provider() == *self.names.domain()
    }

    /// The room's state; empty before there is a group.
    pub(super) fn state(&self) -> Option<Arc<RoomState>> {
        self.group.state().ok()
    }

    /// Whether the user is on the participant list, and not as a banned one.
    pub(super) fn is_participant(&self, user: &UserUri) -> bool {
        self.state().is_some_and(|state| state.takes_part(user))
    }

    /// The other providers with active participants, to whom everything is distributed (section 5.5).
    pub(super) fn peers(&self) -> BTreeSet<ProviderDomain> {
        let mut peers = self.group.providers();
        peers.remove(self.names.domain());
        peers
    }

    pub(super) fn call_room(&mut self, peer: ProviderDomain, endpoint: Endpoint, body: Vec<u8>, tag: Tag) {
        let target = PathTarget::Uri(self.room.uri.as_uri().clone());
        self.out.push(Effect::Call { peer, endpoint, target, body, tag });
    }

    pub(super) fn report(&mut self, text: impl Into<String>) {
        self.out.push(Effect::Report(text.into()));
    }

    /// The room cannot go on by itself.
    pub(super) fn mark_broken(&mut self, why: &str) {
        self.room.phase = Phase::Broken(why.to_owned());
        self.report(format!("the room is broken: {why}"));
        self.notice(&format!("This room is not connected any more: {why}. Nothing is sent to MIMI until an administrator has looked at it."));
    }

    /// Shows an opened message of a remote user; once.
    pub(super) fn show(&mut self, opened: &Opened, accepted: Millis, frank: Option<&Frank>) {
        let Opened { sender, plaintext, beside } = opened;
        let content = match MimiContent::decode(plaintext) {
            Ok(content) => content,
            Err(error) => {
                return match MessageStatusReport::decode(plaintext) {
                    Ok(report) => self.on_report(sender, report),
                    Err(_) => self.report(format!("a message of {sender} is no MIMI content: {error}")),
                };
            }
        };
        if let Err(error) = content.check_origin(sender, &self.room.uri) {
            return self.report(format!("a message of {sender} claims another origin: {error}"));
        }
        if let Err(why) = content.check_plausible(accepted) {
            return self.report(format!("a message of {sender} is not believed: {why}"));
        }
        let id = crate::content::message_id(sender, &self.room.uri, plaintext, &content.salt).0;
        let honest = super::frank::check_beside(beside, &id, &content, plaintext);
        if let (Err(why), Some(other)) = (honest, beside.message_id)
            && other != id
        {
            return self.report(format!("a message of {sender} is not shown: {why}"));
        }
        if !self.recent.insert(id) {
            return;
        }
        match MessageStatusReport::within(&content) {
            Some(Ok(report)) => return self.on_report(sender, report),
            Some(Err(error)) => return self.report(format!("a status report of {sender} cannot be read: {error}")),
            None => {}
        }
        // As with reports: it is about people, and none of the messages that the log has.
        if translate::profile::is_profile(&content) {
            return self.on_profile(sender, &content);
        }
        let franked = match honest {
            Ok(()) => self.franked(sender, plaintext, accepted, frank),
            Err(why) => {
                self.report(format!("a message of {sender} counts as not franked: {why}"));
                None
            }
        };
        self.out.push(Effect::Log { accepted, message_id: id, event: None, franked });
        if self.is_ours(sender) {
            return;
        }
        let Some(room) = self.room.matrix.clone() else {
            return self.report(format!("a message of {sender} came before the Matrix room was there"));
        };
        self.let_actor_in(&room, sender);
        self.room.sight.comes(MessageId(id), content.last_seen());
        if let Some(expires) = content.expires {
            let (sender, actor) = (sender.clone(), Actor::Ghost(sender.clone()));
            self.out.push(Effect::Expires { message_id: id, sender, expires, actor });
        }
        let ctx = translate::ToMatrix {
            message_id: crate::content::MessageId(id),
            sender,
            room: &self.room.uri,
            mentions: &People { names: self.names, state: self.state(), room: &*self.room },
            from_gateway: self.names.is_gateway(&sender.provider()),
        };
        let shown = translate::to_matrix(&content, &ctx);
        let earlier = Earlier::of(&content, crate::content::MessageId(id), sender).with_kind(shown.kind());
        let losses = translate::media::losses_to_matrix(&content, &ctx).unwrap_or(shown.losses);
        let may = |capability| self.state().is_some_and(|state| state.can(sender, capability));
        let deletes = matches!(shown.refers.form, Form::Deletion(_)) && may(Capability::DeleteOtherMessage);
        let keeper = deletes.then(|| self.room.speaker.clone());
        let mut body = shown.content;
        if let Some(map) = body.as_object_mut() {
            map.insert(
                CONTENT_KEY.to_owned(),
                serde_json::json!({ "id": hex::encode(id), "room": self.room.uri, "sender": sender, "accepted": accepted }),
            );
        }
        // The sender's clock, unless it runs ahead of the hub's (DESIGN, Peers).
        let sent = content.sender_timestamp().map_or(accepted, |at| at.millis);
        let ts = if sent > accepted.saturating_add(5 * 60_000) { accepted.min(self.now) } else { sent };
        let txn = hash(format!("{}\n{sender}\n{}\n0", self.room.uri, hex::encode(id)).as_bytes());
        let showing = Box::new(Showing {
            action: MatrixAction::Send {
                room,
                actor: Actor::Ghost(sender.clone()),
                event_type: shown.event_type,
                content: body.to_string(),
                ts: Some(ts),
                txn_id: format!("m{}", hex::encode(txn.get(..20).unwrap_or(&txn))),
            },
            message_id: id,
            accepted,
            earlier,
            refers: shown.refers,
            keeper,
        });
        let files = translate::media::from_message(&content).is_some();
        self.out.push(if files {
            Effect::ShowFiles { showing, content: plaintext.clone() }
        } else {
            Effect::Show(showing)
        });
        self.tell_losses_here(sender, losses);
    }

    /// After the group changed: ghosts in and out, our users who were removed out of the Matrix room.
    pub(super) fn sync_members(&mut self) {
        let Some(state) = self.state() else { return };
        let providers = self.group.providers();
        self.room.faces.only_in(&providers);
        self.room.portraits.only_in(&providers);
        let Some(room) = self.room.matrix.clone() else { return };
        let fixed = state.base_policy.fixed_membership;
        let Some(remote) = self.remote_participants() else { return };
        self.drop_late_portraits(&remote);
        if fixed {
            self.sync_direct(&room, &remote);
            let group = &*self.group;
            return self.room.asking.retain(|user, _| !group.in_group(user));
        }
        self.show_ghosts(&room, &remote);
        // Who is listed without a leaf may still be asked: they need somebody to give them one.
        let group = &*self.group;
        self.room.asking.retain(|user, _| !group.in_group(user));
    }

    /// Our users who are in the Matrix room but not participants any more, because somebody else removed them.
    pub(super) fn remove_from_matrix(&mut self, users: &BTreeSet<UserUri>) {
        for user in users {
            self.take_out(user, "removed from the MIMI room");
        }
    }

    /// Takes one of our users out of the Matrix room.
    pub(super) fn put_out(&mut self, user: &UserUri, reason: &str) {
        let Some(room) = self.room.matrix.clone() else { return };
        if !self.room.present.remove(user) {
            return;
        }
        self.room.live.remove(user);
        if let Some(target) = self.names.matrix_id(user) {
            let (actor, reason) = (self.room.speaker.clone(), reason.to_owned());
            self.out.push(Effect::Matrix(MatrixAction::Kick { room, actor, target, reason }));
        }
    }

    /// Turns an error of the group into a mark or a report.
    pub(super) fn group_failed(&mut self, what: &str, error: &GroupError) {
        match error {
            GroupError::Forged(user) => {
                let why = format!("{what}: a leaf names {user} with a key that this gateway does not hold");
                self.mark_broken(&why);
            }
            other => self.report(format!("{what}: {other}")),
        }
    }
}
