//! Commit races: three committers, one at each provider, change a room at the same time and in the same epoch, and what they
//! send arrives in the order of a seed. Each epoch has one winner; who loses makes the change anew by itself, and it lands, or
//! is refused with its right code.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mimi_gateway::{
    engine::{Fingerprint, ports::Endpoint},
    ident::{ProviderDomain, UserUri},
    wire::{FanoutContent, FanoutMessage, HandshakeBundle, UpdateOutcome, UpdateRoomResponse, Wire as _},
};

use crate::{
    crashes::Steps,
    homeserver::no_faults,
    silo::{PATIENCE, until},
    three::{House, PEOPLE, Room, name},
};

/// Races in one room; then there is a new one, and another kind of provider hosts it.
const A_ROOM: usize = 25;

/// The number of a house, and of somebody of it.
type Person = (usize, usize);

/// What leads to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Somebody of the committer's comes in: an entry in the list.
    Come,
    /// The committer adds somebody of another provider: an entry, a leaf, and a Welcome.
    Bring,
    /// Somebody of the committer's says their first words: an external commit.
    Speak,
    /// Somebody of the committer's leaves: proposals.
    Go,
    /// The host's moderator removes somebody of another provider.
    Kick,
    /// The same for good: another role.
    Ban,
    /// A ban is lifted.
    Unban,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    house: usize,
    what: What,
    whom: Person,
}

/// An update, and how the hub answered it.
struct Answer {
    epoch: u64,
    body: Vec<u8>,
    commit: Option<Vec<u8>>,
    response: UpdateRoomResponse,
}

#[derive(Debug, Default)]
struct Count {
    races: usize,
    /// Races in which both followers made their change for the epoch in which it began.
    even: usize,
    epochs: u64,
    commits_of_followers: usize,
    proposals: usize,
    wrong_epoch: usize,
    not_allowed: usize,
    invalid_proposal: usize,
    /// First words of people who were removed meanwhile: they were told that these were not delivered.
    unsaid: usize,
}

struct Races {
    room: Room,
    domains: Vec<ProviderDomain>,
    /// Besides the first person of each house.
    inside: BTreeSet<Person>,
    leaves: BTreeSet<Person>,
    banned: BTreeSet<Person>,
    /// The commit that the hub distributed for an epoch, by receiver.
    commits: BTreeMap<u64, BTreeMap<ProviderDomain, Vec<u8>>>,
    answers: Vec<Answer>,
    /// Texts that were said so far.
    said: usize,
    count: Count,
}

fn pick(steps: &mut Steps, below: usize) -> usize {
    usize::try_from(steps.next(below as u64)).unwrap()
}

impl Races {
    async fn new(native_hosts: bool) -> Self {
        let room = Room::new(native_hosts, no_faults).await;
        let domains = room.houses.iter().map(|house| house.engine().names().map.provider().clone()).collect();
        drop(room.net.take_calls());
        Self {
            room,
            domains,
            inside: BTreeSet::new(),
            leaves: BTreeSet::new(),
            banned: BTreeSet::new(),
            commits: BTreeMap::new(),
            answers: Vec::new(),
            said: 0,
            count: Count::default(),
        }
    }

    fn name(&self, (house, number): Person) -> String {
        name(&self.room.person(house, number).0, number)
    }

    fn uri(&self, (house, number): Person) -> UserUri {
        self.room.person(house, number).1
    }

    // ------------------------------------------------------------------------------------------------ what is wanted

    /// What the committer of a house can want, besides what concerns those who are `taken`. Only the hub meddles with them.
    fn options(&self, house: usize, taken: &[Wish]) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let wish = |what, whom| Wish { house, what, whom };
        let others: &[usize] = if house == 0 { &[1, 2] } else { &[3 - house] };
        for number in 2..=PEOPLE {
            let own = (house, number);
            let free = |whom: Person| !taken.iter().any(|wish| wish.whom == whom) && !self.banned.contains(&whom);
            if free(own) && self.inside.contains(&own) {
                wishes.push(wish(What::Go, own));
                if !self.leaves.contains(&own) {
                    wishes.extend([wish(What::Speak, own); 3]);
                }
            } else if free(own) {
                wishes.extend([wish(What::Come, own); 2]);
            }
            for other in others.iter().map(|other| (*other, number)) {
                if free(other) && !self.inside.contains(&other) {
                    wishes.push(wish(What::Bring, other));
                }
            }
        }
        if house == 0 {
            let bans = matches!(self.room.houses[0], House::Matrix(_));
            for whom in self.inside.iter().filter(|(house, _)| *house != 0) {
                wishes.push(wish(What::Kick, *whom));
            }
            // Whom others bring in, hear or let go this very moment.
            for whom in taken.iter().map(|wish| wish.whom).filter(|(house, _)| *house != 0) {
                if self.inside.contains(&whom) {
                    wishes.extend([wish(What::Kick, whom); 3]);
                }
                // So many stay that each house can want something.
                if bans && !self.banned.iter().any(|(house, _)| *house == whom.0) {
                    wishes.extend([wish(What::Ban, whom); 2]);
                }
            }
            wishes.extend(self.banned.iter().flat_map(|whom| [wish(What::Unban, *whom); 4]));
        }
        wishes
    }

    /// The wishes of the three, the hub's first.
    fn wishes(&self, steps: &mut Steps) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = Vec::new();
        for house in [1, 2, 0] {
            let options = self.options(house, &wishes);
            wishes.push(options[pick(steps, options.len())]);
        }
        wishes.rotate_right(1);
        wishes
    }

    /// What has to be asked before.
    async fn prepare(&self, wish: Wish) {
        let (by, whom) = (self.name((wish.house, 1)), self.uri(wish.whom));
        let (host, guest) = (&self.room.houses[wish.house], &self.room.houses[wish.whom.0]);
        match wish.what {
            What::Come => host.invite(&self.room.ids[wish.house], &by, &whom),
            What::Bring => {
                host.invite(&self.room.ids[wish.house], &by, &whom);
                let there = until("an invitation", || guest.invitation(&self.name(wish.whom))).await;
                assert_eq!(there, self.room.ids[wish.whom.0]);
            }
            _ => {}
        }
    }

    /// What its first words are.
    fn words(&self, wish: Wish) -> String {
        format!("{} is here, race {}", self.name(wish.whom), self.count.races)
    }

    fn act(&self, wish: Wish) {
        let (home, there) = (&self.room.houses[wish.whom.0], &self.room.ids[wish.whom.0]);
        let (who, hub) = (self.name(wish.whom), &self.room.houses[0]);
        match (wish.what, hub) {
            (What::Come | What::Bring, _) => assert!(home.accept(there, &who)),
            (What::Speak, _) => assert!(home.say(there, &who, &self.words(wish))),
            (What::Go, _) => home.leave(there, &who),
            (What::Kick, _) => hub.remove(&self.room.ids[0], &self.name((0, 1)), &self.uri(wish.whom)),
            (What::Ban, House::Matrix(silo)) => {
                silo.homeserver.ban(&self.room.ids[0], &self.name((0, 1)), &hub.id(&self.uri(wish.whom)));
            }
            (What::Unban, House::Matrix(silo)) => {
                silo.homeserver.unban(&self.room.ids[0], &self.name((0, 1)), &hub.id(&self.uri(wish.whom)));
            }
            (What::Ban | What::Unban, House::Native { .. }) => panic!("it has no bans"),
        }
    }

    // --------------------------------------------------------------------------------------------- one race

    async fn at_hub(&self) -> Fingerprint {
        self.room.houses[0].fingerprint(&self.room.uri).await.unwrap()
    }

    /// The hub's wish, and its commit. Whoever is to be brought in consents behind what their house has sent already.
    async fn hub_acts(&mut self, wish: Wish) {
        let before = self.at_hub().await;
        self.act(wish);
        if wish.what == What::Bring {
            return;
        }
        // What is said after it is accepted after it.
        self.said += 1;
        assert!(self.room.houses[0].say(&self.room.ids[0], &self.name((0, 1)), &format!("mark {}", self.said)));
        let since = Instant::now();
        loop {
            if self.at_hub().await.log_length > before.log_length {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "the hub does nothing: {wish:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Nothing arrives any more, and everybody is in the same epoch, this one.
    async fn close_the_gate(&self) -> u64 {
        let since = Instant::now();
        loop {
            self.room.net.gate.close();
            if let Some(all) = self.same().await {
                return all.epoch.unwrap();
            }
            self.room.net.gate.open();
            assert!(since.elapsed() < PATIENCE, "they do not come to rest");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn race(&mut self, steps: &mut Steps) {
        let wishes = self.wishes(steps);
        for wish in &wishes {
            self.prepare(*wish).await;
        }
        let undelivered: Vec<usize> = (0..3).map(|house| self.undelivered(house)).collect();

        let before = self.close_the_gate().await;
        let mut even = true;
        for house in [1, 2] {
            self.act(wishes[house]);
        }
        for house in [1, 2] {
            let what = format!("a commit for {:?}", wishes[house]);
            let gate = &self.room.net.gate;
            let made = until(&what, || gate.waiting(&self.domains[house], Endpoint::Update)).await;
            even &= HandshakeBundle::decode(&made).unwrap().first().unwrap().epoch() == Some(before);
        }
        let mut order = if steps.next(2) == 0 { vec![1, 2] } else { vec![2, 1] };
        order.insert(pick(steps, 3), 0);
        for house in order {
            if house == 0 {
                self.hub_acts(wishes[0]).await;
                continue;
            }
            let body = self.room.net.gate.waiting(&self.domains[house], Endpoint::Update).unwrap();
            self.room.net.gate.release(&self.domains[house], Endpoint::Update);
            let since = Instant::now();
            while !self.answers.iter().any(|answer| answer.body == body) {
                assert!(since.elapsed() < PATIENCE, "no answer to {:?}", wishes[house]);
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.read_calls();
            }
        }
        let after = self.finish(&wishes, &undelivered, steps).await;
        self.room.net.gate.open();
        self.count.races += 1;
        self.count.even += usize::from(even);
        self.judge(before, after).await;
    }

    /// Messages that a house was told of that they were not delivered.
    fn undelivered(&self, house: usize) -> usize {
        let notices = self.room.houses[house].notices(&self.room.ids[house]);
        notices.iter().filter(|text| text.contains("could not be delivered")).count()
    }

    /// Lets everything through in seeded order until all have the same, and what they have to have. Answers the epoch.
    async fn finish(&mut self, wishes: &[Wish], undelivered: &[usize], steps: &mut Steps) -> u64 {
        for wish in wishes {
            match wish.what {
                What::Come => drop(self.inside.insert(wish.whom)),
                What::Bring => {
                    self.inside.insert(wish.whom);
                    self.leaves.insert(wish.whom);
                }
                What::Speak => drop(self.leaves.insert(wish.whom)),
                What::Unban => drop(self.banned.remove(&wish.whom)),
                What::Go | What::Kick | What::Ban => {}
            }
        }
        for wish in wishes.iter().filter(|wish| matches!(wish.what, What::Go | What::Kick | What::Ban)) {
            self.inside.remove(&wish.whom);
            self.leaves.remove(&wish.whom);
            if wish.what == What::Ban {
                self.banned.insert(wish.whom);
            }
        }
        let there = (0..3).map(|house| (house, 1)).chain(self.inside.iter().copied());
        let there: BTreeSet<String> = there.map(|person| self.uri(person).to_string()).collect();
        let since = Instant::now();
        let mut idle = 0;
        loop {
            idle = if self.room.net.gate.release_one(|count| pick(steps, count)) { 0 } else { idle + 1 };
            tokio::time::sleep(Duration::from_millis(1)).await;
            if idle < 3 {
                continue;
            }
            let (same, members) = (self.same().await, self.members());
            let said: Vec<bool> = wishes.iter().map(|wish| self.is_heard(*wish, undelivered)).collect();
            if let Some(first) = &same
                && members.iter().all(|members| *members == there)
                && said.iter().all(|said| *said)
            {
                for wish in wishes.iter().filter(|wish| wish.what == What::Speak) {
                    let everywhere = self.is_everywhere(&self.words(*wish));
                    assert!(everywhere || !self.inside.contains(&wish.whom), "{wish:?} was not said");
                    self.count.unsaid += usize::from(!everywhere);
                }
                return first.epoch.unwrap();
            }
            assert!(
                since.elapsed() < PATIENCE,
                "race {}, {wishes:?}: {same:?}, {said:?}, {there:?} should be in, but {members:?} are; {:#?}",
                self.count.races,
                (0..3).map(|house| self.room.houses[house].notices(&self.room.ids[house])).collect::<Vec<_>>()
            );
        }
    }

    /// Whether first words are everywhere, or who said them was told that they are not.
    fn is_heard(&self, wish: Wish, undelivered: &[usize]) -> bool {
        wish.what != What::Speak
            || self.is_everywhere(&self.words(wish))
            || self.undelivered(wish.house) > undelivered[wish.house]
    }

    fn is_everywhere(&self, text: &str) -> bool {
        (0..3).all(|house| self.room.houses[house].texts(&self.room.ids[house]).iter().any(|seen| seen == text))
    }

    fn members(&self) -> Vec<BTreeSet<String>> {
        self.room.houses.iter().zip(&self.room.ids).map(|(house, id)| house.members(id)).collect()
    }

    /// The state, if all have the same.
    async fn same(&self) -> Option<Fingerprint> {
        let first = self.at_hub().await;
        for house in &self.room.houses {
            let other = house.fingerprint(&self.room.uri).await?;
            let same = other.epoch_authenticator.is_some()
                && (other.epoch, &other.epoch_authenticator, &other.participants)
                    == (first.epoch, &first.epoch_authenticator, &first.participants);
            if !same {
                return None;
            }
        }
        Some(first)
    }

    // ---------------------------------------------------------------------------------------------- who won

    fn read_calls(&mut self) {
        for call in self.room.net.take_calls() {
            if call.endpoint == Endpoint::Update {
                let bundle = HandshakeBundle::decode(&call.body).unwrap();
                let epoch = bundle.first().unwrap().epoch().unwrap();
                let commit = match &bundle {
                    HandshakeBundle::Commit(bundle) => Some(bundle.commit.as_bytes().to_vec()),
                    HandshakeBundle::Proposals(_) => None,
                };
                let response = UpdateRoomResponse::decode(&call.answer.unwrap()).unwrap();
                self.answers.push(Answer { epoch, body: call.body, commit, response });
            } else if call.endpoint == Endpoint::Notify {
                for fanout in FanoutMessage::decode_all(&call.body).unwrap() {
                    let FanoutContent::Commit { message, .. } = fanout.content else { continue };
                    let epoch = message.epoch().unwrap();
                    let known = self.commits.entry(epoch).or_default().insert(call.to.clone(), message.into_bytes());
                    assert_eq!(known, None, "epoch {epoch} has a second commit");
                }
            }
        }
    }

    /// Each epoch has one winner, and what was refused was refused with its right code.
    async fn judge(&mut self, before: u64, after: u64) {
        let since = Instant::now();
        loop {
            self.read_calls();
            if (before..after).all(|epoch| self.commits.get(&epoch).is_some_and(|by| by.len() == 2)) {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "a commit of {before}..{after} was not distributed");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (epoch, by) in self.commits.range(before..after) {
            let distinct: BTreeSet<&Vec<u8>> = by.values().collect();
            assert_eq!(distinct.len(), 1, "epoch {epoch} has two winners");
        }
        self.count.epochs += after - before;
        for answer in self.answers.extract_if(.., |answer| answer.epoch < after) {
            let winner = self.commits.get(&answer.epoch).and_then(|by| by.values().next()).expect("a commit");
            let won = answer.commit.as_ref() == Some(winner);
            match (&answer.response.outcome, &answer.commit) {
                (UpdateOutcome::Success { .. }, Some(_)) => {
                    assert!(won, "epoch {}: accepted, but another was distributed", answer.epoch);
                    self.count.commits_of_followers += 1;
                }
                (UpdateOutcome::Success { .. }, None) => self.count.proposals += 1,
                (UpdateOutcome::WrongEpoch { current_epoch }, _) => {
                    assert!(!won && *current_epoch > answer.epoch, "epoch {}", answer.epoch);
                    self.count.wrong_epoch += 1;
                }
                (UpdateOutcome::NotAllowed, _) => {
                    assert!(!won && !answer.response.description.is_empty(), "it says why");
                    self.count.not_allowed += 1;
                }
                (UpdateOutcome::InvalidProposal { proposals }, _) => {
                    assert!(!won && !proposals.is_empty(), "it says which");
                    self.count.invalid_proposal += 1;
                }
            }
        }
        self.commits.retain(|epoch, _| *epoch >= after);
    }
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable}: a number")))
}

/// `RACES` says how many, `RACES_SEED` where the seeds begin. Even rooms: a gateway hosts; odd ones: the native provider does.
#[tokio::test(flavor = "multi_thread")]
async fn each_epoch_of_a_race_has_one_winner_and_every_change_lands_or_is_refused() {
    let (wanted, first) = (number("RACES", 300), number("RACES_SEED", 0));
    let mut all = Count::default();
    let mut seed = first;
    while all.races < wanted {
        let mut races = Races::new(seed % 2 == 1).await;
        let mut steps = Steps((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) + 7);
        for _ in 0..A_ROOM.min(wanted - all.races) {
            println!("RACES_SEED={seed}, race {}", races.count.races);
            races.race(&mut steps).await;
        }
        let count = &races.count;
        all.races += count.races;
        all.even += count.even;
        all.epochs += count.epochs;
        all.commits_of_followers += count.commits_of_followers;
        all.proposals += count.proposals;
        all.wrong_epoch += count.wrong_epoch;
        all.not_allowed += count.not_allowed;
        all.invalid_proposal += count.invalid_proposal;
        all.unsaid += count.unsaid;
        seed += 1;
    }
    println!("{all:?}");
    assert!(all.even * 10 >= all.races * 9, "they hardly race: {all:?}");
    assert!(all.wrong_epoch >= all.races / 2, "nobody loses: {all:?}");
}
