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

use std::collections::{BTreeMap, BTreeSet};

use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;

use super::fake_group::{FakeGroup, read_welcome};
use super::{
    brief::{brief, brief_input},
    fakes::{FakeNames, Rng, domain, room_uri, user},
    provider::{Lane, Mail, Provider, Row},
};
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::{self, Preset, role},
    room::{
        Effect, Input, Names, Phase, Room, Step,
        effect::{Actor, Endpoint, StateNow},
        group::Group,
        step::hash,
    },
    translate::profile::Picture,
    wire::{FanoutContent, FanoutMessage, HandshakeBundle, SubmitMessageRequest, Wire},
};

/// A value after it was stored and loaded.
fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
}

const CATCH_UP: u64 = 30_000;

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
                | Effect::FilesDeleted { .. }
                | Effect::Publish { .. }
                | Effect::Unpublish(_)
                | Effect::Wear { .. }
                | Effect::Unlink(_)
                | Effect::Ended(_)
                | Effect::FindParent { .. }
                | Effect::LookForHome { .. }
                | Effect::Move(_)
                | Effect::ReportAbuse { .. }
                | Effect::Reported { .. }
                | Effect::Detail(_)
                | Effect::Trickling(_)
                | Effect::Consent { .. } => {}
                Effect::Lost { losses, .. } => self.providers[at].lost.extend(losses),
                Effect::Expires { expires, actor, .. } => self.providers[at].expiring.push((expires, actor)),
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
                self.step(at, || input.clone());
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
