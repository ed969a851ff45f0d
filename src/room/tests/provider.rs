//! A provider of the simulated world: its room, its homeserver, and what waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::json;

use super::fake_group::FakeGroup;
use super::fakes::FakeNames;
use crate::{
    content::Expiration,
    ident::{ProviderDomain, UserUri},
    room::{
        Effect, Input, Names, Phase, Recent, Room, Tag,
        effect::{Actor, Endpoint, MatrixAction, StateNow},
    },
    translate::Loss,
};

pub(super) type Id = [u8; 32];

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
    pub(super) known: BTreeSet<Id>,
    pub(super) answers: BTreeMap<Id, Vec<u8>>,
    pub(super) notified: BTreeSet<Id>,
    pub(super) consents: BTreeSet<(UserUri, UserUri)>,
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
    /// Ghosts that people invited, and that have not answered.
    pub(super) awaited: BTreeSet<UserUri>,
    /// Its own people whom the gateway banned.
    pub(super) shut: BTreeSet<UserUri>,
    pub(super) timeline: Vec<Shown>,
    pub(super) txns: BTreeMap<String, String>,
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
    /// What senders were told that others do not get.
    pub(super) lost: Vec<Loss>,
    /// When messages go here, and who removes them.
    pub(super) expiring: Vec<(Expiration, Actor)>,
    /// The epochs that it passed over by joining again.
    pub(super) gaps: BTreeSet<(u64, u64)>,
}

impl Provider {
    /// The homeserver makes the portal.
    pub(super) fn make_portal(&mut self, made: MatrixAction) {
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

    pub(super) fn new(domain: &ProviderDomain) -> Self {
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
            awaited: BTreeSet::new(),
            shut: BTreeSet::new(),
            timeline: Vec::new(),
            txns: BTreeMap::new(),
            set: BTreeMap::new(),
            founder: None,
            notices: Vec::new(),
            called: Vec::new(),
            looked: Vec::new(),
            reports: Vec::new(),
            lost: Vec::new(),
            expiring: Vec::new(),
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
