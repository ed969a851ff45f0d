//! Three providers in one room, two gateways and the native provider of `examples/silo.rs`: whatever their people do at the
//! same time, all end with the same state.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mimi_gateway::{
    engine::{Engine, Fingerprint, GatewayNames},
    ident::{GhostOf, IdentityMap, ProviderDomain, RoomUri, UserUri},
    store::{MasterKey, MemoryDisk, open_memory},
};
use ruma::{OwnedRoomId, UserId};
use serde_json::json;

use crate::{
    chat::{Chat, Told},
    crashes::{Steps, seeds},
    homeserver::{Fault, Faults, no_faults},
    silo::{Disk, Net, PATIENCE, Silo, load, quick_settings, until},
};

/// A provider, as its people use it.
pub(crate) enum House {
    Matrix(Box<Silo>),
    Native { chat: Arc<Chat>, engine: Engine, told: Arc<Mutex<Vec<Told>>> },
}

impl House {
    pub(crate) async fn native(name: &str, people: &[&str], net: &Arc<Net>, faults: Faults) -> Self {
        let domain = ProviderDomain::parse(&format!("{name}.example")).unwrap();
        let map = IdentityMap::new(domain.clone(), domain.as_str().try_into().unwrap());
        let (clients, mut news) = tokio::sync::mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let screen = Arc::clone(&told);
        tokio::spawn(async move {
            while let Some(one) = news.recv().await {
                screen.lock().unwrap().push(one);
            }
        });
        let chat = Arc::new(Chat::open(map.clone(), None, clients).unwrap());
        for name in people {
            chat.register(name).unwrap();
        }
        let opened = open_memory(&MemoryDisk::new(), &MasterKey::from_bytes([7; 32])).unwrap();
        let names = GatewayNames::new(map, chat.bot.clone(), 500);
        let homeserver = Arc::clone(&chat);
        let engine = load(opened.database, homeserver, net, faults, names, quick_settings()).await;
        engine.start().await.unwrap();
        net.enter(&domain, engine.clone());
        let (fed, feeder) = (Arc::clone(&chat), engine.clone());
        tokio::spawn(async move { fed.feed(&feeder).await });
        Self::Native { chat, engine, told }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Matrix(silo) => silo.engine(),
            Self::Native { engine, .. } => engine.clone(),
        }
    }

    pub(crate) fn uri(&self, name: &str) -> UserUri {
        UserUri::new(self.engine().names().map.provider(), name).unwrap()
    }

    /// The id of a user, ours or another's, here.
    pub(crate) fn id(&self, user: &UserUri) -> String {
        let map = self.engine().names().map.clone();
        let local = (user.provider() == *map.provider()).then(|| map.matrix_user(user).unwrap());
        local.unwrap_or_else(|| map.ghost(user).unwrap()).to_string()
    }

    pub(crate) fn is_in(&self, room: &OwnedRoomId, user: &UserUri) -> bool {
        self.members(room).contains(user.as_str())
    }

    /// Who is in the room, by address.
    pub(crate) fn members(&self, room: &OwnedRoomId) -> BTreeSet<String> {
        match self {
            Self::Native { chat, .. } => chat.members(room),
            Self::Matrix(silo) => {
                let mut there = BTreeSet::new();
                for event in silo.homeserver.events(room) {
                    let (Some("m.room.member"), Some(key)) = (event["type"].as_str(), event["state_key"].as_str())
                    else {
                        continue;
                    };
                    let id = UserId::parse(key).unwrap();
                    let uri = match silo.homeserver.map.ghost_of(&id) {
                        Some(GhostOf::User(uri)) => uri.to_string(),
                        _ if id == silo.homeserver.bot => continue,
                        _ => silo.homeserver.map.user_uri(&id).unwrap().to_string(),
                    };
                    if event["content"]["membership"] == "join" {
                        there.insert(uri);
                    } else {
                        there.remove(&uri);
                    }
                }
                there
            }
        }
    }

    pub(crate) fn texts(&self, room: &OwnedRoomId) -> Vec<String> {
        match self {
            Self::Matrix(silo) => silo.homeserver.bodies(room),
            Self::Native { chat, .. } => chat.said(room).into_iter().map(|(_, text)| text).collect(),
        }
    }

    /// Whether the gateway told whoever said this that it is not delivered.
    fn is_told_undelivered(&self, room: &OwnedRoomId, text: &str) -> bool {
        let Self::Matrix(silo) = self else { return false };
        let statuses = silo.homeserver.statuses(room, &silo.homeserver.event(room, text));
        statuses.iter().any(|status| status["status"].as_str().is_some_and(|status| status.starts_with("FAIL")))
    }

    /// What the gateway told the people in the room.
    pub(crate) fn notices(&self, room: &OwnedRoomId) -> Vec<String> {
        match self {
            Self::Matrix(silo) => silo.homeserver.notices(room),
            Self::Native { told, .. } => {
                let told = told.lock().unwrap();
                let notices = told.iter().filter_map(|one| match one {
                    Told::Notice { room: there, text } if there == room.as_str() => Some(text.clone()),
                    _ => None,
                });
                notices.collect()
            }
        }
    }

    /// False if one was removed a moment ago.
    pub(crate) fn say(&self, room: &OwnedRoomId, name: &str, text: &str) -> bool {
        match self {
            Self::Matrix(silo) => silo.homeserver.try_say(room, name, text).is_some(),
            Self::Native { chat, .. } => chat.say(room, name, text).is_ok(),
        }
    }

    pub(crate) fn invite(&self, room: &OwnedRoomId, by: &str, user: &UserUri) {
        match self {
            Self::Native { chat, .. } => chat.invite(room, by, user.as_str()).unwrap(),
            Self::Matrix(silo) if user.provider() == silo.domain => {
                if silo.homeserver.member(room, &self.id(user)).as_deref() != Some("invite") {
                    silo.homeserver.invite(room, by, &self.id(user), false);
                }
            }
            Self::Matrix(silo) => drop(silo.homeserver.say(room, by, &format!("!mimi invite {user}"))),
        }
    }

    pub(crate) fn invitation(&self, name: &str) -> Option<OwnedRoomId> {
        match self {
            Self::Matrix(silo) => silo.homeserver.invitations(name).pop(),
            Self::Native { chat, .. } => chat.invitations(name).pop(),
        }
    }

    /// False if one is not invited any more.
    pub(crate) fn accept(&self, room: &OwnedRoomId, name: &str) -> bool {
        match self {
            Self::Matrix(silo) => silo.homeserver.try_join(room, name),
            Self::Native { chat, .. } => chat.accept(room, name).is_ok(),
        }
    }

    pub(crate) fn leave(&self, room: &OwnedRoomId, name: &str) {
        match self {
            Self::Matrix(silo) => silo.homeserver.leave(room, name),
            // It may have been removed this very moment.
            Self::Native { chat, .. } => drop(chat.leave(room, name)),
        }
    }

    pub(crate) fn remove(&self, room: &OwnedRoomId, by: &str, user: &UserUri) {
        match self {
            Self::Matrix(silo) => silo.homeserver.kick(room, by, &self.id(user)),
            // It may have gone this very moment.
            Self::Native { chat, .. } => drop(chat.remove(room, by, user.as_str())),
        }
    }

    /// Calls the room something; false if one was removed a moment ago.
    pub(crate) fn rename(&self, room: &OwnedRoomId, by: &str, title: &str) -> bool {
        match self {
            Self::Matrix(silo) => silo.homeserver.try_set(room, by, "m.room.name", json!({ "name": title })).is_some(),
            Self::Native { chat, .. } => chat.rename(room, by, title).is_ok(),
        }
    }

    /// What the room is called.
    pub(crate) fn title(&self, room: &OwnedRoomId) -> String {
        match self {
            Self::Matrix(silo) => silo.homeserver.state(room, "m.room.name", "name").unwrap_or_default(),
            Self::Native { chat, .. } => chat.title(room),
        }
    }

    pub(crate) async fn fingerprint(&self, uri: &RoomUri) -> Option<Fingerprint> {
        let (rooms, _) = Engine::fingerprints_after(self.engine().database(), None, 10).await.unwrap();
        rooms.into_iter().find(|room| room.room == uri.as_str())
    }
}

/// The room, as the three have it. The first house is the hub.
pub(crate) struct Room {
    pub(crate) net: Arc<Net>,
    pub(crate) houses: Vec<House>,
    pub(crate) uri: RoomUri,
    pub(crate) ids: Vec<OwnedRoomId>,
    /// What was said, by whom.
    said: Vec<(UserUri, String)>,
    /// Who was removed at some time: what they said last may have come too late.
    removed: BTreeSet<UserUri>,
}

/// Everybody, each with the number of the house. The first of each house stays all the time.
pub(crate) const PEOPLE: usize = 4;

pub(crate) fn name(letter: &str, number: usize) -> String {
    format!("{letter}{number}")
}

impl Room {
    pub(crate) async fn new(native_hosts: bool, faults: impl Fn() -> Faults) -> Self {
        let net = Arc::new(Net::default());
        // No commit is lost, and one that is held up or comes late is none that is: who joins behind it has a gap.
        *net.catch_up.lock().unwrap() = Some(3 * PATIENCE);
        let people = |letter: &str| (1..=PEOPLE).map(|number| name(letter, number)).collect::<Vec<_>>();
        let mut houses = Vec::new();
        for letter in ["a", "b"] {
            let people = people(letter);
            let people: Vec<&str> = people.iter().map(String::as_str).collect();
            let disk = Disk::Memory(MemoryDisk::new());
            houses.push(House::Matrix(Box::new(Silo::start_on(letter, &people, &net, disk, faults()).await)));
        }
        let people = people("c");
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        houses.insert(if native_hosts { 0 } else { 2 }, House::native("c", &people, &net, faults()).await);

        let (uri, at_hub) = match &houses[0] {
            House::Matrix(silo) => {
                let (room, uri) = crate::silo::bridge(silo, "a1").await;
                (uri, room)
            }
            House::Native { chat, .. } => {
                let room = chat.create_room("c1", "Tea", None).unwrap();
                let uri = until("it is mirrored", || chat.mirrored(&room)).await;
                (RoomUri::parse(&uri).unwrap(), room)
            }
        };
        let mut room = Self { net, houses, uri, ids: vec![at_hub], said: Vec::new(), removed: BTreeSet::new() };
        for number in 1..3 {
            let (host, guest) = (&room.houses[0], &room.houses[number]);
            let (by, who) = (room.person(0, 1), room.person(number, 1));
            host.invite(&room.ids[0], &name(&by.0, 1), &who.1);
            let there = until("an invitation", || guest.invitation(&name(&who.0, 1))).await;
            assert!(guest.accept(&there, &name(&who.0, 1)));
            until("the first is in", || (host.is_in(&room.ids[0], &who.1) && guest.is_in(&there, &by.1)).then_some(()))
                .await;
            room.ids.push(there);
        }
        room.settle("the beginning").await;
        room
    }

    /// The letter and the address of somebody in a house.
    pub(crate) fn person(&self, house: usize, number: usize) -> (String, UserUri) {
        let letter = self.houses[house].uri("x").provider().as_str()[..1].to_owned();
        let uri = self.houses[house].uri(&name(&letter, number));
        (letter, uri)
    }

    /// One thing that people do; false if it cannot be done now.
    fn act(&mut self, steps: &mut Steps, count: usize) -> bool {
        let pick = |steps: &mut Steps, below: usize| usize::try_from(steps.next(below as u64)).unwrap();
        let house = pick(steps, 3);
        let number = 1 + pick(steps, PEOPLE);
        let (letter, user) = self.person(house, number);
        let who = name(&letter, number);
        let (here, id) = (&self.houses[house], &self.ids[house]);
        let present = here.is_in(id, &user);
        match pick(steps, 11) {
            0..5 if present => {
                let text = format!("{who} says {count}");
                if !here.say(id, &who, &text) {
                    return false;
                }
                self.said.push((user, text));
            }
            5 | 6 if !present => {
                let Some(room) = here.invitation(&who) else {
                    // Somebody else's first person, or their own, asks them in.
                    let by = pick(steps, 3);
                    let (letter, _) = self.person(by, 1);
                    self.houses[by].invite(&self.ids[by], &name(&letter, 1), &user);
                    return true;
                };
                return here.accept(&room, &who);
            }
            7 if present && number > 1 => here.leave(id, &who),
            8 if number > 1 && self.houses[0].is_in(&self.ids[0], &user) => {
                let (letter, _) = self.person(0, 1);
                self.houses[0].remove(&self.ids[0], &name(&letter, 1), &user);
                self.removed.insert(user);
            }
            // Now one whose name counts, now one whose name is put back.
            10 if present => {
                let by = if count.is_multiple_of(2) { self.person(0, 1) } else { (letter, user) };
                let (house, number) = if count.is_multiple_of(2) { (0, 1) } else { (house, number) };
                return self.houses[house].rename(&self.ids[house], &name(&by.0, number), &format!("Title {count}"));
            }
            _ => return false,
        }
        true
    }

    /// In which houses people insisted on a title that the room does not take.
    fn insist(&self) -> Vec<bool> {
        let notices = self.houses.iter().zip(&self.ids).map(|(house, id)| house.notices(id));
        notices.map(|notices| notices.iter().any(|text| text.contains("again and again"))).collect()
    }

    /// Waits until everybody has the same, and answers it.
    pub(crate) async fn settle(&self, when: &str) -> Fingerprint {
        let since = Instant::now();
        loop {
            let mut found = Vec::new();
            for house in &self.houses {
                found.push(house.fingerprint(&self.uri).await);
            }
            let members: Vec<_> = self.houses.iter().zip(&self.ids).map(|(house, id)| house.members(id)).collect();
            let titles: Vec<_> = self.houses.iter().zip(&self.ids).map(|(house, id)| house.title(id)).collect();
            let called: BTreeSet<_> =
                titles.iter().zip(self.insist()).filter(|(_, insists)| !insists).map(|(title, _)| title).collect();
            let same = found.iter().all(|one| one.is_some() && *one == found[0])
                && members.iter().all(|m| *m == members[0])
                && called.len() <= 1;
            if let (true, Some(first)) = (same, &found[0])
                && first.epoch_authenticator.is_some()
                && first.participants.is_some()
            {
                return first.clone();
            }
            assert!(since.elapsed() < 3 * PATIENCE, "{when}: they do not agree: {found:#?} {members:#?} {titles:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether somebody was told that this, which they said, is not delivered.
    fn is_undelivered(&self, user: &UserUri, text: &str) -> bool {
        let mut homes = self.houses.iter().zip(&self.ids);
        let home = homes.find(|(house, _)| *house.engine().names().map.provider() == user.provider());
        home.is_some_and(|(house, id)| house.is_told_undelivered(id, text))
    }

    /// What was said is at all three, but for the words of those who were removed, which may have come too late, and of those
    /// who left before they were in: they are told so.
    async fn same_words(&self) {
        let must: Vec<&(UserUri, String)> = self.said.iter().filter(|(user, _)| !self.removed.contains(user)).collect();
        for (house, id) in self.houses.iter().zip(&self.ids) {
            // Everything that was done comes to its end here: on a busy machine that takes a while.
            let since = Instant::now();
            loop {
                let texts: BTreeSet<String> = house.texts(id).into_iter().collect();
                let missing: Vec<_> = must
                    .iter()
                    .filter(|(user, text)| !texts.contains(text) && !self.is_undelivered(user, text))
                    .map(|(_, text)| text)
                    .collect();
                if missing.is_empty() {
                    break;
                }
                let notices: Vec<_> = self.houses.iter().zip(&self.ids).map(|(house, id)| house.notices(id)).collect();
                assert!(since.elapsed() < 3 * PATIENCE, "{id} does not show {missing:?}: {notices:#?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let texts = house.texts(id);
            let once: BTreeSet<&String> = texts.iter().collect();
            assert_eq!(once.len(), texts.len(), "something is shown twice: {texts:?}");
        }
    }
}

async fn mixed(seed: u64, operations: usize, faults: impl Fn() -> Faults) {
    let mut steps = Steps(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let mut room = Room::new(seed % 2 == 1, faults).await;
    let before = room.settle("before").await;
    let mut count = 0;
    while count < operations {
        if room.act(&mut steps, count) {
            count += 1;
            tokio::time::sleep(Duration::from_millis(steps.next(8))).await;
        }
    }
    // One more each, so that there is a last thing that all have to have.
    for house in 0..3 {
        let (letter, user) = room.person(house, 1);
        let text = format!("{letter} is done");
        assert!(room.houses[house].say(&room.ids[house], &name(&letter, 1), &text));
        room.said.push((user, text));
    }
    room.same_words().await;
    let after = room.settle(&format!("seed {seed}")).await;
    assert!(after.log_length >= room.said.len() / 2 && after.epoch > before.epoch, "{after:?}");
    println!("seed {seed}: {operations} operations, {} epochs, {} messages", after.epoch.unwrap(), after.log_length);
}

/// How many operations; `ENGINE_OPERATIONS` says otherwise.
fn operations(usual: usize) -> usize {
    std::env::var("ENGINE_OPERATIONS").map_or(usual, |text| text.parse().expect("ENGINE_OPERATIONS: a number"))
}

/// Even seeds: a gateway hosts; odd ones: the native provider does.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_people_do_all_three_end_with_the_same_state() {
    for seed in seeds(0..2) {
        mixed(seed, operations(200), no_faults).await;
    }
}

/// The same while one call in twenty fails, before or after it had its effect.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_on_the_way_all_three_end_with_the_same_state() {
    for seed in seeds(2..4) {
        let faults = || -> Faults {
            let mut steps = Steps(seed);
            Arc::new(Mutex::new(Box::new(move |_| match steps.next(40) {
                0 => Fault::Before,
                1 => Fault::After,
                _ => Fault::None,
            })))
        };
        mixed(seed, operations(100), faults).await;
    }
}
