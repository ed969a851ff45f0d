//! Rooms that the native provider makes with a preset, the draft's four examples (room-policy-03 appendix A) and the auditorium,
//! followed by a gateway with its Matrix users. What no portal can play is not here: the policy enforcer, which has no client, and
//! coming in by credential (`canJoinIfPreauthorized`), since our credentials claim nothing.

use std::sync::Arc;

use mimi_gateway::{
    engine::ports::Endpoint,
    ident::{RoomUri, UserUri},
    policy::Preset,
    store::MemoryDisk,
    wire::{FanoutContent, SubmitMessageResponse},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    attacks::{Rogue, now},
    chat::Chat,
    client::Client,
    homeserver::no_faults,
    open::{enter, judged},
    permitted::{alone, ask},
    silo::{Disk, Net, Silo, Two, ask_bot_in, until, until_member, until_true},
    three::House,
};

/// A room of C's, which is no Matrix, and the gateways that follow it.
struct Club {
    net: Arc<Net>,
    house: House,
    chat: Arc<Chat>,
    client: Client,
    uri: RoomUri,
    at_c: OwnedRoomId,
    b: Arc<Silo>,
}

impl Club {
    /// C1 makes it.
    async fn new(preset: &str) -> Self {
        let net = Arc::new(Net::default());
        let b = Arc::new(gateway("b", &net).await);
        let house = House::native("c", &["c1", "c2"], &net, no_faults()).await;
        let House::Native { chat, engine, .. } = &house else { panic!("it is native") };
        let (chat, mut client) = (Arc::clone(chat), Client::new(Arc::clone(chat), engine.clone()));
        client.obey("user c1").await.unwrap();
        let made = client.obey(&format!("room preset={preset} The club")).await.unwrap();
        let at_c = OwnedRoomId::try_from(made["room"].as_str().unwrap()).unwrap();
        let uri = RoomUri::parse(&until("it is mirrored", || chat.mirrored(&at_c)).await).unwrap();
        assert_eq!(chat.title(&at_c), "The club");
        let club = Self { net, house, chat, client, uri, at_c, b };
        // What its roles allow, its own people see, too.
        until_true("thresholds", || club.levels().as_object().is_some_and(|levels| levels.len() > 1)).await;
        club
    }

    /// C1 does something.
    async fn c1(&mut self, command: &str) {
        self.client.obey(command).await.unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    fn levels(&self) -> Value {
        self.chat.lock().content(self.at_c.as_str(), "m.room.power_levels").unwrap().clone()
    }

    async fn until_level(&self, user: &UserUri, wanted: i64) {
        let id = self.house.id(user);
        until_true(&format!("{user} has level {wanted} at C"), || self.levels()["users"][&id] == json!(wanted)).await;
    }

    async fn until_in(&self, user: &UserUri) {
        until_true(&format!("{user} is in at C"), || self.house.is_in(&self.at_c, user)).await;
    }

    async fn until_out(&self, user: &UserUri) {
        until_true(&format!("{user} is out at C"), || !self.house.is_in(&self.at_c, user)).await;
    }

    /// Somebody of a gateway is asked in by C1, and comes.
    async fn asks(&mut self, silo: &Silo, name: &str) -> OwnedRoomId {
        let user = silo.uri(name);
        self.c1(&format!("invite {user}")).await;
        let portal = until("an invitation", || silo.homeserver.invitations(name).first().cloned()).await;
        silo.homeserver.join(&portal, name);
        self.is_in(silo, &portal, name).await;
        portal
    }

    /// Waits until somebody of a gateway is in, and can act.
    async fn is_in(&self, silo: &Silo, portal: &RoomId, name: &str) {
        self.until_in(&silo.uri(name)).await;
        while !silo.is_active(portal).await {
            tokio::task::yield_now().await;
        }
    }

    /// C2 is asked in and comes.
    async fn c2_comes(&mut self) {
        self.c1("invite c2").await;
        self.chat.accept(&self.at_c, "c2").unwrap();
        let c2 = self.house.uri("c2");
        until_true("C2 is seen at B", || {
            let portal = self.b.homeserver.portal(&self.uri).unwrap();
            self.b.homeserver.member(&portal, &self.b.ghost(&c2)).as_deref() == Some("join")
        })
        .await;
    }

    /// Somebody at C says something, and the gateway's people read it.
    async fn is_heard_at(&self, silo: &Silo, portal: &RoomId, name: &str, text: &str) {
        self.chat.say(&self.at_c, name, text).unwrap();
        until_true(text, || silo.homeserver.bodies(portal).iter().any(|body| body == text)).await;
    }

    /// Somebody of a gateway says something, and C's people read it.
    async fn hears(&self, silo: &Silo, portal: &RoomId, name: &str, text: &str) {
        silo.homeserver.say(portal, name, text);
        until_true(text, || self.house.texts(&self.at_c).iter().any(|body| body == text)).await;
    }

    /// Somebody of B may not write: Matrix would not let them, as the portal's levels stand, and what they say all the same (this
    /// homeserver lets everybody) does not leave B.
    async fn is_deaf_to(&self, portal: &RoomId, name: &str, text: &str) {
        let before = told(&self.b, portal, "does not let them write");
        until_true("their level is too low", || level(&self.b, portal, &own(name)) < speaking(&self.b, portal)).await;
        let submitted = self.net.calls(&self.uri.provider(), Endpoint::SubmitMessage).len();
        self.b.homeserver.say(portal, name, text);
        until_true("they are told", || told(&self.b, portal, "does not let them write") > before).await;
        assert_eq!(self.net.calls(&self.uri.provider(), Endpoint::SubmitMessage).len(), submitted);
        assert!(!self.house.texts(&self.at_c).iter().any(|body| body == text));
    }

    /// Nothing was set aside, here or there.
    fn is_well(&self) {
        assert_eq!((self.house.engine().quarantined(), self.b.engine().quarantined()), (0, 0));
    }
}

async fn gateway(letter: &str, net: &Arc<Net>) -> Silo {
    let people = [1, 2, 3].map(|number| format!("{letter}{number}"));
    let people = people.each_ref().map(String::as_str);
    Silo::start_on(letter, &people, net, Disk::Memory(MemoryDisk::new()), no_faults()).await
}

/// A user of B's, by full id.
fn own(name: &str) -> String {
    format!("@{name}:b.test")
}

fn content(silo: &Silo, room: &RoomId) -> Value {
    silo.homeserver.states(room, "m.room.power_levels").pop().unwrap()
}

fn level(silo: &Silo, room: &RoomId, user: &str) -> i64 {
    content(silo, room)["users"][user].as_i64().unwrap_or(0)
}

fn threshold(silo: &Silo, room: &RoomId, what: &str, usual: i64) -> i64 {
    content(silo, room)[what].as_i64().unwrap_or(usual)
}

fn speaking(silo: &Silo, room: &RoomId) -> i64 {
    threshold(silo, room, "events_default", 0)
}

async fn until_level(silo: &Silo, room: &RoomId, user: &str, wanted: i64) {
    until_true(&format!("{user} has level {wanted}"), || level(silo, room, user) == wanted).await;
}

fn told(silo: &Silo, room: &RoomId, text: &str) -> usize {
    silo.homeserver.notices(room).iter().filter(|notice| notice.contains(text)).count()
}

fn empower(silo: &Silo, room: &RoomId, by: &str, user: &str, level: i64) {
    let mut content = content(silo, room);
    content["users"][user] = json!(level);
    silo.homeserver.set(room, by, "m.room.power_levels", content);
}

/// Somebody of B asks another one of B in.
async fn brings(club: &Club, portal: &RoomId, by: &str, name: &str) {
    club.b.homeserver.invite(portal, by, &own(name), false);
    club.b.homeserver.join(portal, name);
    club.is_in(&club.b, portal, name).await;
}

/// A.1: whoever is in brings others in and puts them out; admins ban.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_cooperative_room_everybody_brings_others() {
    let mut club = Club::new("cooperative").await;
    let b = Arc::clone(&club.b);
    let portal = club.asks(&b, "b1").await;
    let (c2, b2) = (club.house.uri("c2"), b.uri("b2"));
    club.is_heard_at(&b, &portal, "c1", "welcome").await;
    club.hears(&b, &portal, "b1", "thank you").await;
    brings(&club, &portal, "b1", "b2").await;
    club.hears(&b, &portal, "b2", "me too").await;
    club.c2_comes().await;
    assert!(threshold(&b, &portal, "invite", 0) <= 0 && threshold(&b, &portal, "ban", 50) > 0);
    b.homeserver.kick(&portal, "b1", &b.ghost(&c2));
    club.until_out(&c2).await;
    club.c2_comes().await;
    // A group admin bans, from there and from here.
    club.c1(&format!("level {} 50", b.uri("b1"))).await;
    until_level(&b, &portal, &own("b1"), 50).await;
    b.homeserver.ban(&portal, "b1", &b.ghost(&c2));
    until_true("C2 is banned", || club.chat.lock().member(club.at_c.as_str(), &club.house.id(&c2)) == "ban").await;
    club.c1(&format!("ban {b2}")).await;
    until_member(&b, &portal, &own("b2"), "ban").await;
    club.is_well();
}

/// A.2: admins alone bring others; who has a code comes by it.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_strict_room_admins_let_people_in() {
    let mut club = Club::new("strict").await;
    let b = Arc::clone(&club.b);
    let portal = club.asks(&b, "b1").await;
    club.hears(&b, &portal, "b1", "hello").await;
    club.is_heard_at(&b, &portal, "c1", "hello, too").await;
    until_true("the portal is closed", || threshold(&b, &portal, "invite", 0) > level(&b, &portal, &own("b1"))).await;
    // Homeservers would not take it.
    b.homeserver.invite(&portal, "b1", &own("b2"), false);
    b.homeserver.join(&portal, "b2");
    until_member(&b, &portal, &own("b2"), "leave").await;
    assert!(!club.house.is_in(&club.at_c, &b.uri("b2")));
    club.chat.say(&club.at_c, "c1", "!mimi code").unwrap();
    let join = until("a code", || {
        let notices = club.house.notices(&club.at_c);
        notices.iter().find_map(|text| Some(text.split_once("their own gateway: ")?.1.to_owned()))
    })
    .await;
    let desk = alone(&b, "b2").await;
    let answer = ask(&b, &desk, "b2", &join.split(' ').take(2).collect::<Vec<_>>().join(" ")).await;
    assert!(answer.contains("does not let you in"), "{answer}");
    club.c1(&format!("level {} 50", b.uri("b1"))).await;
    until_level(&b, &portal, &own("b1"), 50).await;
    brings(&club, &portal, "b1", "b3").await;
    club.hears(&b, &portal, "b3", "I was asked").await;
    b.homeserver.set(&portal, "b1", "m.room.name", json!({ "name": "By an admin" }));
    until_true("the name", || club.chat.title(&club.at_c) == "By an admin").await;
    b.homeserver.kick(&portal, "b1", &own("b3"));
    club.until_out(&b.uri("b3")).await;
    // By the code somebody of another gateway comes in.
    let a = gateway("a", &club.net).await;
    let desk = alone(&a, "a1").await;
    let answer = ask(&a, &desk, "a1", &join).await;
    assert!(answer.contains("asked"), "{answer}");
    let at_a = until("an invitation", || a.homeserver.invitations("a1").first().cloned()).await;
    a.homeserver.join(&at_a, "a1");
    club.is_in(&a, &at_a, "a1").await;
    club.hears(&a, &at_a, "a1", "by a code").await;
    club.is_well();
}

/// A.3: guests and attendees listen; moderators of either side make speakers of them, and take it back.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_moderated_room_guests_become_speakers() {
    let mut club = Club::new("moderated").await;
    let b = Arc::clone(&club.b);
    let portal = club.asks(&b, "b1").await;
    let [b1, b2, b3] = ["b1", "b2", "b3"].map(|name| b.uri(name));
    club.is_heard_at(&b, &portal, "c1", "welcome").await;
    club.is_deaf_to(&portal, "b1", "may I?").await;
    club.c1(&format!("level {b1} 2")).await;
    until_level(&b, &portal, &own("b1"), 2).await;
    club.hears(&b, &portal, "b1", "I am a speaker").await;
    // A moderator from elsewhere, by the level that waits for them.
    club.c1(&format!("level {b2} 50")).await;
    club.asks(&b, "b2").await;
    until_level(&b, &portal, &own("b2"), 50).await;
    brings(&club, &portal, "b2", "b3").await;
    club.is_deaf_to(&portal, "b3", "and I?").await;
    empower(&b, &portal, "b2", &own("b3"), 2);
    club.until_level(&b3, 2).await;
    club.hears(&b, &portal, "b3", "a speaker, too").await;
    // An attendee again.
    empower(&b, &portal, "b2", &own("b1"), 1);
    club.until_level(&b1, 1).await;
    club.is_deaf_to(&portal, "b1", "no more?").await;
    // Speakers make nobody a speaker: it is put back.
    empower(&b, &portal, "b3", &own("b1"), 2);
    until_true("it is put back", || told(&b, &portal, "@b3:b.test changed who may do what") == 1).await;
    until_level(&b, &portal, &own("b1"), 1).await;
    club.is_well();
}

/// A.4: each organisation's admins have its own users, and nobody else's. C is organisation A here, B and A are B and C.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_of_organisations_each_has_its_own_users() {
    let mut club = Club::new("multi-organization").await;
    let b = Arc::clone(&club.b);
    let a = Arc::new(gateway("a", &club.net).await);
    let (b1, a1) = (b.uri("b1"), a.uri("a1"));
    club.c1(&format!("level {b1} 51")).await;
    club.c1(&format!("level {a1} 52")).await;
    let at_b = club.asks(&b, "b1").await;
    let at_a = club.asks(&a, "a1").await;
    until_level(&b, &at_b, &own("b1"), 51).await;
    club.c2_comes().await;
    // Who they bring is of their organisation.
    brings(&club, &at_b, "b1", "b2").await;
    club.until_level(&b.uri("b2"), 1).await;
    a.homeserver.invite(&at_a, "a1", "@a2:a.test", false);
    a.homeserver.join(&at_a, "a2");
    club.until_level(&a.uri("a2"), 2).await;
    for (silo, room, name) in [(&b, &at_b, "b2"), (&a, &at_a, "a2"), (&b, &at_b, "b1")] {
        club.hears(silo, room, name, &format!("{name} of its organisation")).await;
    }
    club.is_heard_at(&b, &at_b, "c2", "and the host's").await;
    // Not everybody's: the ghost comes back.
    let (c2, a2) = (club.house.uri("c2"), a.uri("a2"));
    for other in [&c2, &a2] {
        b.homeserver.kick(&at_b, "b1", &b.ghost(other));
        until_member(&b, &at_b, &b.ghost(other), "join").await;
        assert!(club.house.is_in(&club.at_c, other));
    }
    empower(&b, &at_b, "b1", &b.ghost(&a2), 51);
    until_true("it is put back", || told(&b, &at_b, "@b1:b.test changed who may do what") == 1).await;
    // Their own they make admins, and put out.
    empower(&b, &at_b, "b1", &own("b2"), 51);
    club.until_level(&b.uri("b2"), 51).await;
    brings(&club, &at_b, "b2", "b3").await;
    b.homeserver.ban(&at_b, "b2", &own("b3"));
    club.until_out(&b.uri("b3")).await;
    club.c1(&format!("remove {a2}")).await;
    until_member(&a, &at_a, "@a2:a.test", "leave").await;
    club.is_well();
}

/// Anybody comes into an auditorium and listens; moderators of either side choose who speaks.
#[tokio::test(flavor = "multi_thread")]
async fn in_an_auditorium_speakers_are_chosen() {
    let mut club = Club::new("auditorium").await;
    let b = Arc::clone(&club.b);
    let portal = enter(&b, "b1", &club.uri).await;
    club.is_in(&b, &portal, "b1").await;
    club.is_heard_at(&b, &portal, "c1", "welcome").await;
    club.is_deaf_to(&portal, "b1", "a question").await;
    club.c1(&format!("level {} 1", b.uri("b1"))).await;
    until_level(&b, &portal, &own("b1"), 1).await;
    club.hears(&b, &portal, "b1", "now I may").await;
    assert_eq!(enter(&b, "b2", &club.uri).await, portal);
    club.is_in(&b, &portal, "b2").await;
    club.c1(&format!("level {} 50", b.uri("b2"))).await;
    until_level(&b, &portal, &own("b2"), 50).await;
    club.c2_comes().await;
    let c2 = club.house.uri("c2");
    assert!(club.chat.say(&club.at_c, "c2", "and I?").is_err());
    empower(&b, &portal, "b2", &b.ghost(&c2), 1);
    club.until_level(&c2, 1).await;
    club.is_heard_at(&b, &portal, "c2", "I, too").await;
    b.homeserver.kick(&portal, "b2", &own("b1"));
    club.until_out(&b.uri("b1")).await;
    // What roles may do is said by the kind of room, on both sides.
    let before = club.levels();
    let mut bent = before.clone();
    bent["events_default"] = json!(0);
    let id = club.house.id(&club.house.uri("c1"));
    drop(club.chat.change(|change| Ok(change.set(club.at_c.as_str(), &id, "m.room.power_levels", "", bent))));
    until_true("they are put back", || club.levels() == before).await;
    assert!(club.house.notices(&club.at_c).iter().any(|text| text.contains("was said when the room was made")));
    club.is_well();
}

fn accepted(answer: &SubmitMessageResponse) -> bool {
    matches!(answer, SubmitMessageResponse::Accepted { .. })
}

/// What somebody sends all the same who may only listen, the hub refuses, until they are a speaker.
#[tokio::test(flavor = "multi_thread")]
async fn the_hub_refuses_what_listeners_send() {
    for (preset, speaker) in [(Preset::Moderated, 2), (Preset::Auditorium, 1)] {
        let two = Two::new().await;
        let a = &two.a.homeserver;
        let room = a.create_chosen("a1", "Lecture", preset);
        ask_bot_in(a, &room, "a1").await;
        a.say(&room, "a1", "!mimi bridge");
        let uri = until("the room is mirrored", || {
            let notices = a.notices(&room);
            let text = notices.iter().find_map(|text| text.strip_prefix("This room is mirrored as "))?.to_owned();
            Some(RoomUri::parse(text.split(". ").next()?).unwrap())
        })
        .await;
        let mut rogue = Rogue::new("m", &two.a.net);
        rogue.enter(&two.a, &room, &uri, "m1").await;
        let m1 = rogue.uri("m1");
        let words = Rogue::words(&m1, &uri, "not asked");
        assert_eq!(rogue.submit(&two.a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
        let then = rogue.member().epoch();
        until_true("thresholds", || threshold(&two.a, &room, "events_default", 0) == speaker).await;
        empower(&two.a, &room, "a1", &two.a.ghost(&m1), speaker);
        until_true("they are a speaker", || {
            for fanout in rogue.fanned_out() {
                let FanoutContent::Commit { message, .. } = fanout.content else { continue };
                let member = rogue.member.as_mut().unwrap();
                if message.epoch() == Some(member.epoch()) {
                    member.apply_commit(message.as_bytes(), &mut judged, now()).unwrap();
                }
            }
            rogue.member().epoch() > then
        })
        .await;
        let words = Rogue::words(&m1, &uri, "asked");
        assert!(accepted(&rogue.submit(&two.a, &uri, "m1", &m1, &words).await));
        until_true("it is shown", || a.bodies(&room).iter().any(|body| body == "asked")).await;
        assert!(!a.bodies(&room).iter().any(|body| body == "not asked"));
    }
}

/// Between bots of two minds nobody wins: what the room does not take is undone three times.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_one_organization_who_insists_on_putting_out_those_of_another_is_let_be() {
    let mut club = Club::new("multi-organization").await;
    let b = Arc::clone(&club.b);
    let b1 = b.uri("b1");
    club.c1(&format!("level {b1} 51")).await;
    let at_b = club.asks(&b, "b1").await;
    until_level(&b, &at_b, &own("b1"), 51).await;
    club.c2_comes().await;
    let ghost = b.ghost(&club.house.uri("c2"));
    let member = || b.homeserver.member(&at_b, &ghost);
    for round in 1..=12 {
        b.homeserver.kick(&at_b, "b1", &ghost);
        if round <= 4 {
            until_true("told", || told(&b, &at_b, "could not be removed") == round).await;
        }
        if round <= 3 {
            until_true("undone", || member().as_deref() == Some("join")).await;
        }
    }
    let words = "They still read what is said here, and come back when they say something.";
    assert_eq!(told(&b, &at_b, words), 1);
    let status = ask(&b, &at_b, "b1", "!mimi status").await;
    assert!(status.contains("these differ, and I leave them: members."), "{status}");
    assert!(status.contains("still reads"), "{status}");
    assert_eq!(member().as_deref(), Some("leave"));
    // They are in, are heard, and are seen again.
    club.hears(&b, &at_b, "b1", "are you there?").await;
    club.is_heard_at(&b, &at_b, "c2", "yes").await;
    assert_eq!(member().as_deref(), Some("join"));
    for round in 1..=4 {
        b.homeserver.ban(&at_b, "b1", &ghost);
        until_true("told", || told(&b, &at_b, "could not be banned") == round).await;
        let then = if round <= 3 { "join" } else { "ban" };
        until_true(then, || member().as_deref() == Some(then)).await;
    }
    let status = ask(&b, &at_b, "b1", "!mimi status").await;
    assert!(status.contains("I leave them: members."), "{status}");
    assert_eq!(told(&b, &at_b, "again and again"), 2);
    assert!(club.house.is_in(&club.at_c, &club.house.uri("c2")));
}

/// The native provider's command names the presets, and knows no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_no_known_kind_is_not_made() {
    let net = Arc::new(Net::default());
    let house = House::native("c", &["c1"], &net, no_faults()).await;
    let House::Native { chat, engine, .. } = &house else { panic!("it is native") };
    let mut client = Client::new(Arc::clone(chat), engine.clone());
    client.obey("user c1").await.unwrap();
    let error = client.obey("room preset=palace Tea").await.unwrap_err();
    assert!(error.contains("palace"), "{error}");
    let help = client.obey("help").await.unwrap();
    let names = ["cooperative", "strict", "moderated", "multi-organization", "auditorium"];
    assert_eq!(help["presets"], json!(names));
    assert!(names.iter().all(|name| error.contains(name)), "{error}");
    assert!(chat.lock().rooms.is_empty());
}
