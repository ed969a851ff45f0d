//! Providers, each with a room value, a naive group and a naive homeserver, connected by lanes that lose, repeat and
//! delay. Everything that happens is chosen by a seed.
//!
//! ```text
//!  people --events--> inbox --> Step --> matrix lane --> timeline, members
//!                       ^         '----> peer lanes (in order each) --> other inboxes
//!                       '--- answers, portal ready
//! ```
//! What counts as a failure: a message that was accepted and is not shown once, in hub order, to every provider that was
//! in the group; participants that differ from who is in the Matrix rooms; anything left in a queue; a room that
//! behaves differently after it was stored and loaded. What does not: a message that is reported as undelivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::json;

use super::fake_group::{FakeGroup, read_welcome};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::{self, Preset, role},
    room::{
        About, Effect, GroupInfoAnswer, Input, Names, Phase, Recent, Room, SendStatus, Setting, Step, Tag, Telling,
        effect::{Actor, Endpoint, MatrixAction, StateNow},
        group::Group,
        step::hash,
    },
    translate::profile::Picture,
    wire::{ConsentAction, ConsentEntry, FanoutContent, FanoutMessage, HandshakeBundle, SubmitMessageRequest, Wire},
};

pub(super) type Id = [u8; 32];

/// A value after it was stored and loaded.
fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
}

const CATCH_UP: u64 = 30_000;

/// Splitmix: small, and the same everywhere.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }
    pub(super) fn percent(&mut self, p: usize) -> bool {
        self.below(100) < p
    }
    pub(super) fn pick<T: Clone>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }
}

pub(super) fn domain(text: &str) -> ProviderDomain {
    ProviderDomain::parse(text).unwrap()
}
pub(super) fn user(text: &str) -> UserUri {
    let (name, provider) = text.split_once('@').unwrap();
    UserUri::new(&domain(&format!("{provider}.test")), name).unwrap()
}
pub(super) fn room_uri() -> RoomUri {
    RoomUri::new(&domain("a.test"), "club").unwrap()
}

/// Everybody's Matrix id is their name at a server of the provider's domain.
pub(super) struct FakeNames(pub(super) ProviderDomain);

impl Names for FakeNames {
    fn domain(&self) -> &ProviderDomain {
        &self.0
    }
    fn uri(&self, user: &UserId) -> Option<UserUri> {
        if self.is_bridged(user) { None } else { UserUri::new(&self.0, user.localpart()).ok() }
    }
    fn ghost_uri(&self, user: &UserId) -> Option<UserUri> {
        let (provider, name) = user.localpart().strip_prefix("_mimi_")?.split_once('/')?;
        UserUri::new(&domain(provider), name).ok()
    }
    fn is_stray(&self, user: &UserId) -> bool {
        user.localpart().starts_with("_mimi_") && self.ghost_uri(user).is_none()
    }
    fn is_peer(&self, _provider: &ProviderDomain) -> bool {
        true
    }
    fn is_bridged(&self, user: &UserId) -> bool {
        self.is_bot(user) || user.localpart().starts_with("_mimi_")
    }
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId> {
        let local = if user.provider() == self.0 {
            user.tail().to_owned()
        } else {
            format!("_mimi_{}/{}", user.provider(), user.tail())
        };
        UserId::parse(format!("@{local}:{}", self.0)).ok()
    }
    fn bot(&self) -> OwnedUserId {
        UserId::parse(format!("@bot:{}", self.0)).unwrap()
    }
    fn is_bot(&self, user: &UserId) -> bool {
        *user == self.bot()
    }
    fn display(&self, user: &UserUri) -> String {
        user.tail().to_owned()
    }
    fn portal_alias(&self, room: &RoomUri) -> String {
        format!("_mimi_{}", room.tail())
    }
    fn list_all_up_to(&self) -> usize {
        500
    }
    // Time passes as it likes here.
    fn telling(&self) -> Telling {
        Telling { send_status: SendStatus::Off, ..Telling::default() }
    }
}

/// What an actor takes from its mailbox.
#[expect(clippy::large_enum_variant, reason = "there are few of them at a time")]
pub(super) enum Mail {
    Input(Input),
    /// A request of a peer, which waits: who, and the bytes.
    Request {
        from: usize,
        endpoint: Endpoint,
        body: Vec<u8>,
    },
}

/// What a lane carries.
#[derive(Clone)]
pub(super) enum Row {
    Call { endpoint: Endpoint, body: Vec<u8>, tag: Tag },
    Grant { requester: UserUri, target: UserUri, key_packages: Vec<Vec<u8>> },
    Claim { requester: UserUri, target: UserUri, answer: Option<Result<Vec<Vec<u8>>, String>> },
    GroupInfo { user: UserUri },
}

#[derive(Default)]
pub(super) struct Lane {
    pub(super) rows: VecDeque<Row>,
    /// The first row is with the other side, which has not answered yet.
    pub(super) waiting: bool,
}

/// A message in a Matrix timeline that a ghost sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    pub(super) id: Id,
    pub(super) sender: UserUri,
    pub(super) body: String,
    pub(super) accepted: u64,
}

pub(super) struct Provider {
    pub(super) names: FakeNames,
    pub(super) room: Option<Room>,
    pub(super) group: FakeGroup,
    pub(super) recent: Recent,
    pub(super) inbox: VecDeque<Mail>,
    pub(super) lane: VecDeque<Effect>,
    known: BTreeSet<Id>,
    answers: BTreeMap<Id, Vec<u8>>,
    notified: BTreeSet<Id>,
    consents: BTreeSet<(UserUri, UserUri)>,
    /// The hub-ordered log: accepted, id, and the Matrix event if it was ours.
    pub(super) log: Vec<(u64, Id, Option<OwnedEventId>)>,
    /// The stamps that are kept, by message.
    pub(super) franked: BTreeMap<Id, u64>,
    // The homeserver.
    pub(super) matrix: Option<OwnedRoomId>,
    pub(super) joined: BTreeSet<UserUri>,
    pub(super) invited: BTreeSet<UserUri>,
    pub(super) ghosts: BTreeSet<UserUri>,
    /// Ghosts that were out of the room at some time after they had been in it.
    pub(super) away: BTreeSet<UserUri>,
    /// Ghosts that people removed: what they said before may come too late.
    pub(super) removed: BTreeSet<UserUri>,
    /// Ghosts that people banned.
    pub(super) banned: BTreeSet<UserUri>,
    /// Its own people whom the gateway banned.
    pub(super) shut: BTreeSet<UserUri>,
    pub(super) timeline: Vec<Shown>,
    txns: BTreeMap<String, String>,
    /// State without key, by type.
    pub(super) set: BTreeMap<String, StateNow>,
    /// The ghost that made the portal: it stands above all levels.
    pub(super) founder: Option<UserUri>,
    pub(super) notices: Vec<String>,
    /// What ghosts were called, and when.
    pub(super) called: Vec<(u64, String)>,
    /// What they looked like, and when.
    pub(super) looked: Vec<(u64, Option<String>)>,
    pub(super) reports: Vec<String>,
    /// The epochs that it passed over by joining again.
    pub(super) gaps: BTreeSet<(u64, u64)>,
}

impl Provider {
    /// The homeserver makes the portal.
    fn make_portal(&mut self, made: MatrixAction) {
        let MatrixAction::CreateRoom { creator, invite, name, initial_state, .. } = made else { panic!("{made:?}") };
        if let Some(name) = name {
            let event = OwnedEventId::try_from("$name").unwrap();
            let now = StateNow { event, sender: self.names.bot(), content: json!({ "name": name }) };
            self.set.insert("m.room.name".to_owned(), now);
        } else {
            self.set.clear();
        }
        let levels = initial_state.iter().find(|(event_type, ..)| event_type == "m.room.power_levels").unwrap();
        let mut content: serde_json::Value = serde_json::from_str(&levels.2).unwrap();
        content["users"] = json!({ self.names.bot(): 100 });
        let event = OwnedEventId::try_from("$levels").unwrap();
        self.set.insert(levels.0.clone(), StateNow { event, sender: self.names.bot(), content });
        let id = OwnedRoomId::try_from(format!("!portal:{}", self.names.0)).unwrap();
        self.matrix = Some(id.clone());
        if let Actor::Ghost(ghost) = creator {
            self.founder = Some(ghost.clone());
            self.ghosts.insert(ghost);
        }
        let invited: Vec<UserUri> = invite.iter().filter_map(|target| self.names.uri(target)).collect();
        self.invited.extend(invited);
        self.inbox.push_back(Mail::Input(Input::PortalReady(id)));
    }

    fn new(domain: &ProviderDomain) -> Self {
        Self {
            names: FakeNames(domain.clone()),
            room: None,
            group: FakeGroup::none(domain),
            recent: Recent::default(),
            inbox: VecDeque::new(),
            lane: VecDeque::new(),
            known: BTreeSet::new(),
            answers: BTreeMap::new(),
            notified: BTreeSet::new(),
            consents: BTreeSet::new(),
            log: Vec::new(),
            franked: BTreeMap::new(),
            matrix: None,
            joined: BTreeSet::new(),
            invited: BTreeSet::new(),
            ghosts: BTreeSet::new(),
            away: BTreeSet::new(),
            removed: BTreeSet::new(),
            banned: BTreeSet::new(),
            shut: BTreeSet::new(),
            timeline: Vec::new(),
            txns: BTreeMap::new(),
            set: BTreeMap::new(),
            founder: None,
            notices: Vec::new(),
            called: Vec::new(),
            looked: Vec::new(),
            reports: Vec::new(),
            gaps: BTreeSet::new(),
        }
    }
    pub(super) fn room(&self) -> &Room {
        self.room.as_ref().unwrap()
    }
    pub(super) fn phase(&self) -> Option<&Phase> {
        self.room.as_ref().map(|room| &room.phase)
    }
    pub(super) fn bodies(&self) -> Vec<&str> {
        self.timeline.iter().map(|shown| shown.body.as_str()).collect()
    }
}

/// A message that somebody said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) by: UserUri,
    pub(super) event: OwnedEventId,
    pub(super) body: String,
}

/// A message that the hub accepted: who has to show it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) at: u64,
    pub(super) to: BTreeSet<ProviderDomain>,
    /// The hub had no leaf.
    pub(super) by_outsider: bool,
}

pub(super) struct World {
    pub(super) providers: Vec<Provider>,
    pub(super) lanes: BTreeMap<(usize, usize), Lane>,
    pub(super) rng: Rng,
    pub(super) now: u64,
    /// How often, in percent, a call or its answer is lost.
    pub(super) loss: usize,
    /// How often, in percent, the hub gives up on a handshake.
    pub(super) given_up: usize,
    /// Whether it did.
    pub(super) gave_up: bool,
    pub(super) said: Vec<Said>,
    pub(super) accepted: BTreeMap<Vec<u8>, Accepted>,
    /// The epoch that a provider's present membership began with, as the hub knows it.
    since: BTreeMap<ProviderDomain, u64>,
    pub(super) events: u64,
    /// When somebody wants a tick.
    wakes: BTreeSet<(u64, usize)>,
    /// What happened, for the message of a failure.
    pub(super) trace: Vec<String>,
    /// Whether steps are traced, too.
    pub(super) tracing: bool,
}

fn brief(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}").replace("mimi://", "").replace(".test/u/", ":");
    text.chars().take(170).collect()
}

fn brief_input(input: &Input) -> String {
    match input {
        Input::Event { event, .. } if event.event_type == "m.room.member" => {
            format!("{} makes {:?} {}", event.sender, event.state_key, event.content["membership"])
        }
        Input::Event { event, .. } => format!("{} says {}", event.sender, event.content["body"]),
        Input::Fanout(FanoutMessage { timestamp, content }) => {
            let kind = match content {
                FanoutContent::Application { .. } => "message",
                FanoutContent::Commit { .. } => "commit",
                FanoutContent::Proposal { .. } => "proposal",
                FanoutContent::Welcome { .. } => "welcome",
            };
            format!("fanout of {timestamp}: {kind}, made in epoch {:?}", content.message().epoch())
        }
        Input::Submit { peer, request } => format!("{peer} submits in epoch {:?}", request.app_message.epoch()),
        Input::Update { peer, bundle } => {
            let what = if matches!(bundle, HandshakeBundle::Commit(_)) { "a commit" } else { "proposals" };
            format!("{peer} updates with {what}, made in epoch {:?}", bundle.first().unwrap().epoch())
        }
        Input::Answered { tag: Tag::Submit(_), result } => {
            format!("submitted: {:?}", result.as_ref().map(|body| crate::wire::SubmitMessageResponse::decode(body)))
        }
        Input::Answered { result, .. } => {
            format!("updated: {:?}", result.as_ref().map(|body| crate::wire::UpdateRoomResponse::decode(body)))
        }
        other => brief(other),
    }
}

impl World {
    /// The first provider hosts a room; its first user is the admin, its others are in the room.
    pub(super) fn new(seed: u64, domains: &[&str], hub_users: &[&str]) -> Self {
        let domains: Vec<ProviderDomain> = domains.iter().map(|text| domain(&format!("{text}.test"))).collect();
        let mut providers: Vec<Provider> = domains.iter().map(Provider::new).collect();
        let present: Vec<UserUri> = hub_users.iter().map(|name| user(name)).collect();
        let roles =
            present.iter().enumerate().map(|(i, u)| (u.clone(), if i == 0 { role::ADMIN } else { role::MEMBER }));
        let mut state = policy::initial(room_uri(), "Club", "", roles.collect(), Preset::default());
        let admin = FakeNames(domains[0].clone()).matrix_id(&present[0]).unwrap();
        let levels = json!({ "users": { admin: 100, FakeNames(domains[0].clone()).bot(): 100 } });
        state.roles = policy::Powers::read(Some(&levels), [].into(), None).roles(&state.roles, [0, 100]);
        let hub = &mut providers[0];
        let matrix = OwnedRoomId::try_from("!club:a.test").unwrap();
        let mut room = Room::new(room_uri(), Phase::Active, Actor::Bot);
        room.matrix = Some(matrix.clone());
        room.is_called("Club", "");
        room.has_levels(Some(&levels), [].into());
        room.present = present.iter().cloned().collect();
        hub.group = FakeGroup::create(&domains[0], &present[0], &state);
        hub.room = Some(room);
        hub.matrix = Some(matrix);
        let event = OwnedEventId::try_from("$name").unwrap();
        let sender = hub.names.matrix_id(&user(hub_users[0])).unwrap();
        let now = StateNow { event, sender: sender.clone(), content: json!({ "name": "Club" }) };
        hub.set.insert("m.room.name".to_owned(), now);
        let event = OwnedEventId::try_from("$levels").unwrap();
        hub.set.insert("m.room.power_levels".to_owned(), StateNow { event, sender, content: levels });
        hub.joined = present.into_iter().collect();
        Self {
            providers,
            lanes: BTreeMap::new(),
            rng: Rng(seed),
            now: 1_700_000_000_000,
            loss: 0,
            given_up: 0,
            gave_up: false,
            said: Vec::new(),
            accepted: BTreeMap::new(),
            since: BTreeMap::new(),
            events: 0,
            wakes: BTreeSet::new(),
            trace: Vec::new(),
            tracing: false,
        }
    }

    pub(super) fn at(&self, domain: &ProviderDomain) -> usize {
        self.providers.iter().position(|p| p.names.0 == *domain).unwrap()
    }
    pub(super) fn of(&mut self, user: &UserUri) -> &mut Provider {
        let at = self.at(&user.provider());
        &mut self.providers[at]
    }

    // -------------------------------------------------------------------------------------------------- one provider

    /// One step of a room, taken twice: by the room as it is and by the room as it is stored and loaded.
    pub(super) fn step(&mut self, at: usize, input: impl Fn() -> Input) -> Option<Vec<u8>> {
        self.now += 1 + self.rng.next() % 256 * 4;
        let now = self.now;
        let p = &mut self.providers[at];
        let room = p.room.as_mut().unwrap();
        let outside = p.group.is_public();
        let stored = postcard::to_stdvec(room).unwrap();
        let mut loaded: Room = postcard::from_bytes(&stored).unwrap();
        // They have rows of their own.
        (loaded.present, loaded.ghosts) = (room.present.clone(), room.ghosts.clone());
        loaded.live = room.live.iter().map(|(user, shared)| (user.clone(), reread(shared))).collect();
        loaded.faces.ours = room.faces.ours.iter().map(|(user, own)| (user.clone(), reread(own))).collect();
        loaded.faces.theirs = room.faces.theirs.iter().map(|(user, face)| (user.clone(), reread(face))).collect();
        loaded.faces.sheet = reread(&room.faces.sheet);
        loaded.portraits.ours =
            room.portraits.ours.iter().map(|(user, sitter)| (user.clone(), reread(sitter))).collect();
        loaded.portraits.theirs = room.portraits.theirs.iter().map(|(user, one)| (user.clone(), reread(one))).collect();
        loaded.portraits.sheet = reread(&room.portraits.sheet);
        assert_eq!(*room, loaded, "the stored room is another");
        let (mut group, mut recent) = (p.group.clone(), p.recent.clone());
        let mut twin = Step {
            room: &mut loaded,
            group: &mut group,
            names: &p.names,
            recent: &mut recent,
            now,
            catch_up: CATCH_UP,
            more: false,
            out: Vec::new(),
        };
        let twin_answer = twin.run(input());
        let twin_out = twin.out;
        let mut step = Step {
            room,
            group: &mut p.group,
            names: &p.names,
            recent: &mut p.recent,
            now,
            catch_up: CATCH_UP,
            more: false,
            out: Vec::new(),
        };
        let answer = step.run(input());
        let out = step.out;
        assert_eq!(out, twin_out, "the same input has other effects after the room was loaded");
        assert_eq!((&answer, p.room(), &p.group), (&twin_answer, &loaded, &group));
        let gap = self.providers[at].room().gap;
        self.providers[at].gaps.retain(|gap| gap.1 != u64::MAX);
        self.providers[at].gaps.insert(gap);
        if self.tracing {
            let p = &self.providers[at];
            let (room, epoch) = (p.room(), p.group.epoch());
            let text = format!(
                "{} {:?} epoch {epoch}: {}\n      queue {:?} in flight {:?} submitted {} leaving {:?} present {:?}",
                p.names.0,
                room.phase,
                brief_input(&input()),
                room.queue.iter().map(brief).collect::<Vec<_>>(),
                room.in_flight.as_ref().map(brief),
                room.submitted.len(),
                room.leaving,
                room.present
            );
            self.trace.push(text);
            for effect in &out {
                self.trace.push(format!("    => {}", brief(effect)));
            }
        }
        self.effects(at, out, outside);
        answer
    }

    /// The hub does this within a step.
    pub(super) fn as_hub(&mut self, what: impl FnOnce(&mut Step<'_>)) {
        let now = self.now + 1;
        let p = &mut self.providers[0];
        let room = p.room.as_mut().unwrap();
        let mut step = Step {
            room,
            group: &mut p.group,
            names: &p.names,
            recent: &mut p.recent,
            now,
            catch_up: CATCH_UP,
            more: false,
            out: Vec::new(),
        };
        what(&mut step);
        let out = step.out;
        self.effects(0, out, false);
    }

    fn lane(&mut self, from: usize, to: &ProviderDomain, row: Row) {
        let to = self.at(to);
        self.lanes.entry((from, to)).or_default().rows.push_back(row);
    }

    fn effects(&mut self, at: usize, effects: Vec<Effect>, outside: bool) {
        let mut hidden = BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::ShowFiles { showing, .. } if hidden.contains(&showing.message_id) => {}
                Effect::ShowFiles { showing, .. } => self.providers[at].lane.push_back(Effect::Show(showing)),
                Effect::Show(showing) if hidden.contains(&showing.message_id) => {}
                Effect::Matrix(_) | Effect::MakePortal(_) | Effect::Show(_) | Effect::Look { .. } => {
                    self.providers[at].lane.push_back(effect);
                }
                Effect::Call { peer, endpoint, body, tag, .. } => {
                    if endpoint == Endpoint::Notify {
                        self.note_fanout(&peer, &body, outside);
                    }
                    self.lane(at, &peer, Row::Call { endpoint, body, tag });
                }
                Effect::ClaimKeyMaterial { requester, target } => {
                    self.lane(at, &room_uri().hub(), Row::Claim { requester, target, answer: None });
                }
                Effect::AskGroupInfo { user } => {
                    self.lane(at, &room_uri().hub(), Row::GroupInfo { user });
                }
                Effect::Grant { requester, target } => {
                    let p = &mut self.providers[at];
                    p.consents.insert((target.clone(), requester.clone()));
                    let key_packages = vec![p.group.give_key_package(&target).0];
                    let peer = requester.provider();
                    self.lane(at, &peer, Row::Grant { requester, target, key_packages });
                }
                Effect::Declined { requester, target } => {
                    self.providers[at].consents.remove(&(target, requester));
                }
                Effect::Fetch { user, place } => {
                    let picture = Ok(Picture::new(place.clone().into_bytes()));
                    let salt = [0; 16];
                    self.providers[at].inbox.push_back(Mail::Input(Input::Fetched { user, place, salt, picture }));
                }
                Effect::Portray { user, picture } => {
                    let place = Ok(String::from_utf8_lossy(&picture.bytes).into_owned());
                    self.providers[at].inbox.push_back(Mail::Input(Input::Portrayed { user, picture, place }));
                }
                Effect::ForgetConsent { user } => {
                    self.providers[at].consents.retain(|(target, _)| *target != user);
                }
                Effect::Log { accepted, message_id, event, franked } => {
                    let p = &mut self.providers[at];
                    if p.known.insert(message_id) {
                        p.log.push((accepted, message_id, event));
                        p.franked.extend(franked.map(|franked| (message_id, franked.accepted)));
                    } else {
                        hidden.insert(message_id);
                    }
                }
                Effect::Link(room) => assert_eq!(Some(room), self.providers[at].matrix),
                Effect::Noted { .. }
                | Effect::FilesGone { .. }
                | Effect::Publish { .. }
                | Effect::Unpublish(_)
                | Effect::Wear { .. }
                | Effect::Unlink(_)
                | Effect::Ended(_)
                | Effect::FindParent { .. }
                | Effect::LookForHome { .. }
                | Effect::Move(_)
                | Effect::ReportAbuse { .. }
                | Effect::Lost { .. }
                | Effect::Reported { .. }
                | Effect::Detail(_)
                | Effect::Trickling(_)
                | Effect::Expires { .. }
                | Effect::Consent { .. } => {}
                Effect::Wake(time) => {
                    assert!(time > self.now);
                    self.wakes.insert((time, at));
                }
                Effect::Report(text) | Effect::Note(text) => {
                    self.trace.push(format!("{}: {text}", self.providers[at].names.0));
                    self.providers[at].reports.push(text);
                }
            }
        }
        let present = self.providers[0].group.providers();
        self.since.retain(|provider, _| present.contains(provider));
    }

    /// The hub distributes: what everybody has to get is noted.
    fn note_fanout(&mut self, peer: &ProviderDomain, body: &[u8], by_outsider: bool) {
        for message in FanoutMessage::decode_all(body).unwrap() {
            match &message.content {
                FanoutContent::Welcome { message, .. } => {
                    let epoch = read_welcome(message.as_bytes()).1.epoch;
                    self.since.entry(peer.clone()).or_insert(epoch);
                }
                FanoutContent::Application { message: sealed, .. } => {
                    let readable = self.since.get(peer).is_some_and(|since| *since <= sealed.epoch().unwrap());
                    let accepted = self.accepted.entry(sealed.as_bytes().to_vec()).or_insert_with(|| Accepted {
                        at: message.timestamp,
                        to: BTreeSet::new(),
                        by_outsider,
                    });
                    assert_eq!(accepted.at, message.timestamp);
                    if readable {
                        accepted.to.insert(peer.clone());
                    }
                }
                FanoutContent::Proposal { .. } | FanoutContent::Commit { .. } => {}
            }
        }
    }

    /// Takes the first mail.
    pub(super) fn work(&mut self, at: usize) {
        let Some(mail) = self.providers[at].inbox.pop_front() else { return };
        match mail {
            Mail::Input(input) => {
                if self.providers[at].room.is_none() {
                    let Input::Asked { .. } = input else { return };
                    self.providers[at].room = Some(Room::new(room_uri(), Phase::Invited, Actor::Bot));
                }
                self.step(at, || copy(&input));
            }
            Mail::Request { from, endpoint, body } => {
                let key = hash(&[&[u8::from(endpoint == Endpoint::Update)], &body[..]].concat());
                let peer = self.providers[from].names.0.clone();
                let answer = if let Some(answer) = self.providers[at].answers.get(&key) {
                    answer.clone()
                } else {
                    let input = || match endpoint {
                        Endpoint::SubmitMessage => {
                            let request = SubmitMessageRequest::decode(&body).unwrap();
                            Input::Submit { peer: peer.clone(), request }
                        }
                        _ => Input::Update { peer: peer.clone(), bundle: HandshakeBundle::decode(&body).unwrap() },
                    };
                    let answer = self.step(at, input).unwrap();
                    self.providers[at].answers.insert(key, answer.clone());
                    answer
                };
                let lost = self.rng.percent(self.loss);
                let lane = self.lanes.get_mut(&(from, at)).unwrap();
                lane.waiting = false;
                if lost {
                    return;
                }
                let Some(Row::Call { tag, .. }) = lane.rows.pop_front() else { panic!("no call waits") };
                self.providers[from].inbox.push_back(Mail::Input(Input::Answered { tag, result: Ok(answer) }));
            }
        }
    }

    /// Sends the first row of a lane; it may be lost before or after it had its effect.
    pub(super) fn send(&mut self, from: usize, to: usize) {
        let before = self.rng.percent(self.loss);
        let after = self.rng.percent(self.loss);
        let lane = self.lanes.get_mut(&(from, to)).unwrap();
        if lane.waiting || before {
            return;
        }
        let Some(row) = lane.rows.front().cloned() else { return };
        let arrived = match row {
            Row::Call { endpoint: endpoint @ (Endpoint::SubmitMessage | Endpoint::Update), body, .. } => {
                lane.waiting = true;
                self.providers[to].inbox.push_back(Mail::Request { from, endpoint, body });
                return;
            }
            Row::Call { endpoint: Endpoint::Notify, body, .. } if self.gives_up(&body) => None,
            Row::Call { endpoint: Endpoint::Notify, body, .. } => {
                let p = &mut self.providers[to];
                let new = p.notified.insert(hash(&body));
                for message in FanoutMessage::decode_all(&body).unwrap().into_iter().filter(|_| new) {
                    p.inbox.push_back(Mail::Input(Input::Fanout(message)));
                }
                None
            }
            Row::Call { body, .. } => {
                let ConsentEntry { action, requester, target, extensions, .. } = ConsentEntry::decode(&body).unwrap();
                let input = match action {
                    ConsentAction::Request => {
                        Input::Asked { requester, target, about: About::read(&extensions.0), standing: false }
                    }
                    ConsentAction::Cancel => Input::AskCancelled { requester, target },
                    other => panic!("{other:?}"),
                };
                self.providers[to].inbox.push_back(Mail::Input(input));
                None
            }
            Row::Grant { requester, target, key_packages } => {
                let input = Input::Granted { requester, target, key_packages };
                self.providers[to].inbox.push_back(Mail::Input(input));
                None
            }
            Row::GroupInfo { user } => {
                let hub = &self.providers[to];
                let listed = self.participants(to).contains(&user) && hub.phase() == Some(&Phase::Active);
                let answer = if listed && hub.group.is_member() {
                    GroupInfoAnswer::Given(hub.group.group_info())
                } else {
                    GroupInfoAnswer::Refused("no participant".to_owned())
                };
                Some(Input::GroupInfo { user, answer })
            }
            Row::Claim { requester, target, answer } => {
                let key_packages = answer.unwrap_or_else(|| self.key_material(to, &requester, &target));
                if let Some(Row::Claim { answer, .. }) = self.lanes.get_mut(&(from, to)).unwrap().rows.front_mut() {
                    *answer = Some(key_packages.clone());
                }
                Some(Input::KeyMaterial { target, key_packages })
            }
        };
        if after {
            return;
        }
        self.lanes.get_mut(&(from, to)).unwrap().rows.pop_front();
        self.providers[from].inbox.extend(arrived.map(Mail::Input));
    }

    /// Whether the hub gives up on a notify; only on what changes the group.
    fn gives_up(&mut self, body: &[u8]) -> bool {
        let message = &FanoutMessage::decode_all(body).unwrap()[0];
        let handshake = matches!(message.content, FanoutContent::Commit { .. } | FanoutContent::Proposal { .. });
        let gives_up = handshake && self.rng.percent(self.given_up);
        self.gave_up |= gives_up;
        gives_up
    }

    /// The hub asks the target's provider, and notes what passes.
    fn key_material(&mut self, hub: usize, requester: &UserUri, target: &UserUri) -> Result<Vec<Vec<u8>>, String> {
        let at = self.at(&target.provider());
        let p = &mut self.providers[at];
        if !p.consents.contains(&(target.clone(), requester.clone())) {
            let (requester, target) = (requester.clone(), target.clone());
            let asked = Input::Asked { requester, target, about: About::default(), standing: false };
            p.inbox.push_back(Mail::Input(asked));
            return Err("no consent".to_owned());
        }
        let (package, reference) = p.group.give_key_package(target);
        let provider = target.provider();
        let passed = Input::KeyPackagesPassed { references: vec![reference], provider };
        self.providers[hub].inbox.push_back(Mail::Input(passed));
        Ok(vec![package])
    }

    /// Carries out the first action at the homeserver.
    pub(super) fn act(&mut self, at: usize) {
        let Some(effect) = self.providers[at].lane.pop_front() else { return };
        let p = &mut self.providers[at];
        match effect {
            Effect::Look { setting, written, .. } => {
                let found = Ok(p.set.get(setting.event_type()).cloned());
                p.inbox.push_back(Mail::Input(Input::Looked { setting, written, found }));
            }
            Effect::Matrix(MatrixAction::SetState { event_type, state_key, content, .. })
                if state_key.is_empty() && Setting::of(&event_type).is_some() =>
            {
                let bot = p.names.bot();
                let level =
                    p.set.get("m.room.power_levels").and_then(|now| now.content["users"][bot.as_str()].as_i64());
                if level.is_some_and(|level| level < 50) {
                    let setting = Setting::of(&event_type).unwrap();
                    let input = Input::NotSet { setting, why: "you lack the power".to_owned() };
                    return p.inbox.push_back(Mail::Input(input));
                }
                self.put(at, &bot, &event_type, serde_json::from_str(&content).unwrap());
            }
            Effect::MakePortal(made) => p.make_portal(made),
            Effect::Show(showing) => {
                let crate::room::Showing { action, message_id, .. } = *showing;
                let MatrixAction::Send { actor: Actor::Ghost(sender), content, txn_id, .. } = action else { panic!() };
                let content: serde_json::Value = serde_json::from_str(&content).unwrap();
                let body = content["body"].as_str().unwrap().to_owned();
                let accepted = content[crate::translate::CONTENT_KEY]["accepted"].as_u64().unwrap();
                assert!(p.txns.insert(txn_id.clone(), body.clone()).is_none(), "transaction id {txn_id} twice");
                let expected = hash(format!("{}\n{sender}\n{}\n0", room_uri(), hex::encode(message_id)).as_bytes());
                assert_eq!(txn_id, format!("m{}", hex::encode(&expected[..20])));
                assert!(
                    p.ghosts.contains(&sender) || p.removed.contains(&sender),
                    "{sender} speaks, but its ghost is not in the room of {}",
                    p.names.0
                );
                p.timeline.push(Shown { id: message_id, sender, body, accepted });
            }
            Effect::Matrix(MatrixAction::Send { content, .. }) => {
                let content: serde_json::Value = serde_json::from_str(&content).unwrap();
                p.notices.push(content["body"].as_str().unwrap().to_owned());
            }
            Effect::Matrix(MatrixAction::Join { actor: Actor::Ghost(user), .. }) if p.banned.contains(&user) => {
                p.inbox.push_back(Mail::Input(Input::ShutOut { user, why: "banned".to_owned() }));
            }
            Effect::Matrix(MatrixAction::Unban { target, .. }) => match p.names.ghost_uri(&target) {
                Some(ghost) => assert!(p.banned.remove(&ghost) | p.shut.remove(&ghost)),
                None => drop(p.shut.remove(&p.names.uri(&target).unwrap())),
            },
            Effect::Matrix(MatrixAction::Name { actor: Actor::Ghost(ghost), name, .. }) => {
                assert!(p.ghosts.contains(&ghost), "{ghost} is called {name}, but is not there");
                p.called.push((self.now, name));
            }
            Effect::Matrix(MatrixAction::Portray { actor: Actor::Ghost(ghost), place, .. }) => {
                assert!(p.ghosts.contains(&ghost), "{ghost} gets a picture, but is not there");
                p.looked.push((self.now, place));
            }
            Effect::Matrix(MatrixAction::Ban { target, .. }) => {
                if let Some(ghost) = p.names.ghost_uri(&target) {
                    assert!(!p.ghosts.contains(&ghost), "it left before");
                    p.shut.insert(ghost);
                    return;
                }
                let user = p.names.uri(&target).unwrap();
                p.shut.insert(user.clone());
                if p.joined.remove(&user) | p.invited.remove(&user) {
                    let bot = p.names.bot();
                    self.event(at, &bot, "m.room.member", Some(&target), json!({ "membership": "ban" }));
                }
            }
            Effect::Matrix(MatrixAction::Join { actor: Actor::Ghost(ghost), .. }) => {
                p.ghosts.insert(ghost);
            }
            Effect::Matrix(MatrixAction::Leave { actor: Actor::Ghost(ghost), .. }) => {
                p.ghosts.remove(&ghost);
                p.away.insert(ghost);
            }
            Effect::Matrix(MatrixAction::Invite { target, .. }) => {
                let may = |user: &UserUri| !p.joined.contains(user) && !p.shut.contains(user);
                if let Some(user) = p.names.uri(&target).filter(may) {
                    p.invited.insert(user);
                }
            }
            Effect::Matrix(MatrixAction::Kick { target, .. }) => {
                let user = p.names.uri(&target).unwrap();
                if p.joined.remove(&user) | p.invited.remove(&user) {
                    let bot = p.names.bot();
                    self.event(at, &bot, "m.room.member", Some(&target), json!({ "membership": "leave" }));
                }
            }
            _ => {}
        }
    }

    // ---------------------------------------------------------------------------------------------------- everything

    /// Something that can happen happens, chosen by the seed. False: nothing can.
    pub(super) fn tick(&mut self) -> bool {
        #[derive(Clone, Copy)]
        enum Can {
            Work(usize),
            Act(usize),
            Send(usize, usize),
        }
        let mut can = Vec::new();
        for (at, p) in self.providers.iter().enumerate() {
            if !p.inbox.is_empty() {
                can.push(Can::Work(at));
            }
            if !p.lane.is_empty() {
                can.push(Can::Act(at));
            }
        }
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.waiting && !lane.rows.is_empty());
        can.extend(lanes.map(|((from, to), _)| Can::Send(*from, *to)));
        match self.rng.pick(can) {
            None => match self.wakes.pop_first() {
                None => return false,
                // Time passes when nothing else happens.
                Some((time, at)) => {
                    self.now = self.now.max(time);
                    self.providers[at].inbox.push_back(Mail::Input(Input::Tick));
                }
            },
            Some(Can::Work(at)) => self.work(at),
            Some(Can::Act(at)) => self.act(at),
            Some(Can::Send(from, to)) => self.send(from, to),
        }
        true
    }

    /// Until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.tick() {
                return;
            }
        }
        panic!("it never ends");
    }

    /// As after a start of all processes.
    pub(super) fn forget_wakes(&mut self) {
        self.wakes.clear();
    }

    pub(super) fn participants(&self, at: usize) -> BTreeSet<UserUri> {
        let state = self.providers[at].group.state();
        let taking_part = |state: std::sync::Arc<policy::RoomState>| {
            let listed = state.participants.clone().into_iter().map(|(user, _)| user);
            listed.filter(|user| state.takes_part(user)).collect::<Vec<_>>()
        };
        state.into_iter().flat_map(taking_part).collect()
    }
}

/// Inputs are not `Clone`: they are used up once.
fn copy(input: &Input) -> Input {
    match input {
        Input::Event { event, salt, past } => Input::Event { event: event.clone(), salt: *salt, past: past.clone() },
        Input::Filed { event, salt, past, files } => {
            Input::Filed { event: event.clone(), salt: *salt, past: past.clone(), files: files.clone() }
        }
        Input::Fanout(message) => Input::Fanout(message.clone()),
        Input::Submit { peer, request } => Input::Submit { peer: peer.clone(), request: request.clone() },
        Input::Update { peer, bundle } => Input::Update { peer: peer.clone(), bundle: bundle.clone() },
        Input::Asked { requester, target, about, standing } => {
            let (requester, target, about) = (requester.clone(), target.clone(), about.clone());
            Input::Asked { requester, target, about, standing: *standing }
        }
        Input::Revoked { requester, target } => Input::Revoked { requester: requester.clone(), target: target.clone() },
        Input::AskCancelled { requester, target } => {
            Input::AskCancelled { requester: requester.clone(), target: target.clone() }
        }
        Input::Granted { requester, target, key_packages } => {
            Input::Granted { requester: requester.clone(), target: target.clone(), key_packages: key_packages.clone() }
        }
        Input::KeyMaterial { target, key_packages } => {
            Input::KeyMaterial { target: target.clone(), key_packages: key_packages.clone() }
        }
        Input::GroupInfo { user, answer } => Input::GroupInfo { user: user.clone(), answer: answer.clone() },
        Input::KeyPackagesPassed { references, provider } => {
            Input::KeyPackagesPassed { references: references.clone(), provider: provider.clone() }
        }
        Input::PortalReady(room) => Input::PortalReady(room.clone()),
        Input::PortalFailed(why) => Input::PortalFailed(why.clone()),
        Input::Answered { tag, result } => Input::Answered { tag: *tag, result: result.clone() },
        Input::ShutOut { user, why } => Input::ShutOut { user: user.clone(), why: why.clone() },
        Input::NotShown { user, why } => Input::NotShown { user: user.clone(), why: why.clone() },
        Input::NotDone { what, user, why } => Input::NotDone { what: *what, user: user.clone(), why: why.clone() },
        Input::Looked { setting, written, found } => {
            Input::Looked { setting: *setting, written: *written, found: found.clone() }
        }
        Input::Kin { parent, spaces, awaited, answers } => {
            Input::Kin { parent: parent.clone(), spaces: spaces.clone(), awaited: awaited.clone(), answers: *answers }
        }
        Input::NotSet { setting, why } => Input::NotSet { setting: *setting, why: why.clone() },
        Input::Read { user, messages, salt } => {
            Input::Read { user: user.clone(), messages: messages.clone(), salt: *salt }
        }
        Input::NewHome { to, found } => Input::NewHome { to: to.clone(), found: found.clone() },
        Input::Taken { messages, salt } => Input::Taken { messages: messages.clone(), salt: *salt },
        Input::Published { event, sender, url } => {
            Input::Published { event: event.clone(), sender: sender.clone(), url: url.clone() }
        }
        Input::Fetched { user, place, salt, picture } => {
            Input::Fetched { user: user.clone(), place: place.clone(), salt: *salt, picture: picture.clone() }
        }
        Input::Portrayed { user, picture, place } => {
            Input::Portrayed { user: user.clone(), picture: picture.clone(), place: place.clone() }
        }
        Input::Tick => Input::Tick,
    }
}
