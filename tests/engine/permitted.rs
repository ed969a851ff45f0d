//! Who may do what with the gateway, how much of it, and what rooms may be, by the settings of its operator.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use mimi_gateway::{
    engine::{
        Outcome,
        ports::{Endpoint, PathTarget, Problem},
        rights::{Act, Limits, Rights, Rule, Who},
    },
    ident::{Pattern, ProviderDomain, RoomUri},
    mls::{AppDataChange, Change},
    policy::{self, ChangeSet, ComponentOp, ComponentUpdate, Envelope, LoggingPolicy, Optionality, component, role},
    wire::ConsentAction,
};
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, bundle, consent, hosted_by_with, now, refused, yes},
    flow::until_room,
    homeserver::Fault,
    mirror::{kitchen_rooms, named, request, run},
    silo::{Net, Silo, Two, ask_bot_in, bridge, until, until_bodies, until_true},
};

const MANY: Limits = Limits { rooms: 100, invitations: 100 };

/// From the next start on these rules count.
pub(crate) async fn ruled(silo: &Silo, rules: &[(&str, &[Act])], limits: Limits) {
    let rule = |(who, may): &(&str, &[Act])| Rule::new(Who::read(who).unwrap(), may.iter().copied());
    let rights = Rights::new(rules.iter().map(rule).collect(), limits);
    set(silo, rights).await;
}

async fn set(silo: &Silo, rights: Rights) {
    *silo.rights.lock().unwrap() = Arc::new(rights);
    again(silo).await;
}

async fn again(silo: &Silo) {
    silo.stop().await;
    silo.start().await;
}

/// A chat of somebody with the bot alone.
pub(crate) async fn alone(silo: &Silo, name: &str) -> OwnedRoomId {
    let room = silo.homeserver.create_room(name, "");
    silo.homeserver.invite(&room, name, silo.homeserver.bot.as_str(), true);
    until_true("help", || !silo.homeserver.notices(&room).is_empty()).await;
    room
}

/// Says something, and returns the answer.
pub(crate) async fn ask(silo: &Silo, room: &OwnedRoomId, name: &str, text: &str) -> String {
    let before = silo.homeserver.notices(room).len();
    silo.homeserver.say(room, name, text);
    until(&format!("an answer to {text}"), || silo.homeserver.notices(room).get(before).cloned()).await
}

/// Somebody of the same server comes in.
pub(crate) fn come(silo: &Silo, room: &OwnedRoomId, name: &str) {
    silo.homeserver.invite(room, "a1", &silo.homeserver.user(name), false);
    silo.homeserver.join(room, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_needs_its_permission_and_the_words_say_so() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, _) = two.bridge().await;
    come(a, &at_a, "a2");
    ruled(a, &[("a.test", &[Act::Chat]), ("@a2:a.test", &[Act::Bridge])], MANY).await;

    // A1 may begin chats, and nothing else.
    let desk = alone(a, "a1").await;
    let status = ask(a, &desk, "a1", "status").await;
    assert!(status.ends_with("You may begin chats with users of other providers."), "{status}");
    for (words, what) in [
        ("bridge !other:a.test".to_owned(), "mirror rooms"),
        (format!("join mimi://{}/r/other", b.domain), "join rooms of other providers"),
        (format!("ask {}", b.uri("b1")), "invite users of other providers"),
        ("deny b.example".to_owned(), "administrate this gateway"),
        ("providers".to_owned(), "administrate this gateway"),
    ] {
        let told = ask(a, &desk, "a1", &words).await;
        assert!(told.starts_with(&format!("You are not permitted to {what}")), "{words}: {told}");
    }
    let told = ask(a, &desk, "a1", &format!("start-chat {}", b.uri("b1"))).await;
    assert!(told.contains("is asked. The room is ready"), "{told}");

    // In the mirrored room neither the command nor the invitation of a ghost does anything.
    for name in ["a1", "a2"] {
        let told = ask(a, &at_a, name, &format!("!mimi invite {}", b.uri("b2"))).await;
        assert!(told.starts_with("You are not permitted to invite users of other providers"), "{told}");
        let told = ask(a, &at_a, name, "!mimi code").await;
        assert!(told.contains("not permitted") || told.contains("may not let people"), "{told}");
    }
    // Nor does asking for consent there; that is answered alone.
    let before = a.homeserver.notices(&desk).len();
    a.homeserver.say(&at_a, "a1", &format!("!mimi ask {}", b.uri("b2")));
    let told = until("an answer", || a.homeserver.notices(&desk).get(before).cloned()).await;
    assert!(told.starts_with("You are not permitted to invite users of other providers"), "{told}");
    let ghost = a.ghost(&b.uri("b2"));
    a.homeserver.invite(&at_a, "a1", &ghost, false);
    until_true("the ghost declines", || a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    assert!(a.homeserver.reason(&at_a, &ghost).unwrap().contains("not permitted to invite"));
    assert!(b.homeserver.invitations("b2").is_empty());

    // A2 may not begin chats by inviting a ghost, either.
    let direct = a.homeserver.create_room("a2", "");
    a.homeserver.invite(&direct, "a2", &ghost, true);
    until_true("the ghost declines", || a.homeserver.member(&direct, &ghost).as_deref() == Some("leave")).await;
    assert!(a.homeserver.reason(&direct, &ghost).unwrap().contains("not permitted to begin chats"));

    // Who may do nothing gets no chat with the bot.
    ruled(a, &[("*", &[])], MANY).await;
    let room = a.homeserver.create_room("a3", "");
    a.homeserver.invite(&room, "a3", a.homeserver.bot.as_str(), true);
    until_true("the bot declines", || {
        a.homeserver.member(&room, a.homeserver.bot.as_str()).as_deref() == Some("leave")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_names_providers_and_its_users_are_not_met_by_others() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1", "a2"], &net).await;
    let (m, n) = (Rogue::new("m", &net), Rogue::new("n", &net));
    let only_m =
        Rule { peers: Some(vec![Pattern::new("m.*")]), ..Rule::new(Who::read("a.test").unwrap(), Act::ORDINARY) };
    set(&a, Rights::new(vec![only_m], MANY)).await;
    let desk = alone(&a, "a1").await;
    let told = ask(&a, &desk, "a1", &format!("start-chat {}", n.uri("n1"))).await;
    assert!(told.starts_with("You are not permitted to talk to users of n.example"), "{told}");
    let told = ask(&a, &desk, "a1", &format!("start-chat {}", m.uri("m1"))).await;
    assert!(told.contains("is asked"), "{told}");

    // Who asks from elsewhere hears the same as of anybody, and the user sees one invitation of the two.
    let to_a = PathTarget::Domain(a.domain.clone());
    for (rogue, name) in [(&n, "n1"), (&m, "m1")] {
        let room = RoomUri::parse(&format!("mimi://{}/r/one", rogue.domain)).unwrap();
        let body = consent(ConsentAction::Request, &rogue.uri(name), &a.uri("a2"), &room);
        rogue.send(&a, Endpoint::RequestConsent, &to_a, &body).await.unwrap();
    }
    until_true("an invitation", || !a.homeserver.invitations("a2").is_empty()).await;
    until_true("all is at rest", || a.homeserver.is_quiet()).await;
    assert_eq!(a.homeserver.invitations("a2").len(), 1);
    let shown = a.homeserver.invitations("a2")[0].clone();
    assert_eq!(a.homeserver.portal(&RoomUri::parse("mimi://m.example/r/one").unwrap()), Some(shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_so_many_rooms_and_invitations() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    ruled(a, &[("a.test", &Act::ORDINARY)], Limits { rooms: 2, invitations: 100 }).await;
    let (at_a, uri) = two.bridge().await;
    let (other, _) = bridge(a, "a1").await;
    let desk = alone(a, "a1").await;
    let third = a.homeserver.create_room("a1", "Third");
    ask_bot_in(&a.homeserver, &third, "a1").await;
    for words in
        [format!("bridge {third}"), format!("start-chat {}", b.uri("b1")), "join mimi://b.example/r/x".to_owned()]
    {
        let told = ask(a, &desk, "a1", &words).await;
        assert!(told.starts_with("You have 2 rooms and chats"), "{words}: {told}");
    }
    // Others have their own, and one that is over makes room.
    let (_, _) = bridge(a, "a2").await;
    a.homeserver.say(&other, "a1", "!mimi unbridge");
    until_true("it is let go", || {
        a.homeserver.states(&other, "m.bridge").last().is_some_and(|c| c["protocol"].is_null())
    })
    .await;
    let told = ask(a, &desk, "a1", &format!("bridge {third}")).await;
    assert!(told.starts_with("Mirrored as"), "{told}");
    let listed = ask(a, &desk, "a1", "rooms").await;
    assert!(
        listed.contains(at_a.as_str()) && listed.contains(uri.as_str()) && !listed.contains(other.as_str()),
        "{listed}"
    );

    ruled(a, &[("a.test", &Act::ORDINARY)], Limits { rooms: 100, invitations: 2 }).await;
    let mut refusals = 0;
    for name in ["b1", "b2", "b3", "b4", "b5"] {
        let told = ask(a, &at_a, "a1", &format!("!mimi invite {}", b.uri(name))).await;
        if told.contains("within an hour") {
            refusals += 1;
        } else {
            assert!(told.ends_with("is asked to join."), "{told}");
        }
    }
    // An hour may have ended in between.
    assert!((1..=3).contains(&refusals), "{refusals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_the_operator_had_mirrored_count_for_nobody() {
    let two = Two::new().await;
    let a = &two.a;
    ruled(a, &[("a.test", &Act::ORDINARY)], Limits { rooms: 1, invitations: 100 }).await;
    let rooms = kitchen_rooms(a, 3).await;
    let (job, rows) = run(a, request(named(&rooms))).await;
    assert!(rows.iter().all(|row| matches!(row.outcome, Outcome::Mirrored(_))), "{job:?} {rows:?}");
    let own = a.homeserver.create_room("a1", "Own");
    ask_bot_in(&a.homeserver, &own, "a1").await;
    let desk = alone(a, "a1").await;
    let told = ask(a, &desk, "a1", &format!("bridge {own}")).await;
    assert!(told.starts_with("Mirrored as"), "{told}");
    let told = ask(a, &desk, "a1", &format!("start-chat {}", two.b.uri("b1"))).await;
    assert!(told.starts_with("You have 1 room or chat"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_begins_only_if_the_other_one_may_be_asked() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let chatters = |invitations| {
        let rule = Rule::new(Who::read("a.test").unwrap(), [Act::Chat]);
        Rights::new(vec![Rule { invitations: Some(invitations), ..rule }], MANY)
    };
    set(a, chatters(0)).await;
    let desk = alone(a, "a1").await;
    let told = ask(a, &desk, "a1", &format!("start-chat {}", b.uri("b1"))).await;
    assert!(told.contains("within an hour"), "{told}");
    // By inviting a ghost, which says why it does not come.
    let (direct, ghost) = (a.homeserver.create_room("a1", ""), a.ghost(&b.uri("b1")));
    a.homeserver.invite(&direct, "a1", &ghost, true);
    until_true("the ghost declines", || a.homeserver.member(&direct, &ghost).as_deref() == Some("leave")).await;
    assert!(a.homeserver.reason(&direct, &ghost).unwrap().contains("within an hour"));
    // There is no room of either, in Matrix or in MIMI.
    assert!(a.homeserver.invitations("a1").is_empty() && b.homeserver.invitations("b1").is_empty());
    assert_eq!(ask(a, &desk, "a1", "rooms").await, "You are in no room that I connect.");

    // Each chat counts once, and one that is not made does not.
    set(a, chatters(2)).await;
    *a.homeserver.faults.lock().unwrap() =
        Box::new(|call| if call.starts_with("CreateRoom") { Fault::Refused } else { Fault::None });
    for name in ["b1", "b2", "b3"] {
        let told = ask(a, &desk, "a1", &format!("start-chat {}", b.uri(name))).await;
        assert!(told.contains("does not let me make a room"), "{told}");
    }
    *a.homeserver.faults.lock().unwrap() = Box::new(|_| Fault::None);
    let told = ask(a, &desk, "a1", &format!("start-chat {}", b.uri("b1"))).await;
    assert!(told.contains("is asked. The room is ready"), "{told}");
    let (direct, ghost) = (a.homeserver.create_room("a1", ""), a.ghost(&b.uri("b2")));
    a.homeserver.invite(&direct, "a1", &ghost, true);
    for name in ["b1", "b2"] {
        until_true("they are asked", || b.homeserver.invitations(name).len() == 1).await;
    }
    let again = ask(a, &desk, "a1", &format!("start-chat {}", b.uri("b1"))).await;
    assert!(again.starts_with("You have a chat with"), "{again}");
    // An hour may have ended in between: then there are more.
    let mut refusals = 0;
    for name in ["x3", "x4", "x5"] {
        let told = ask(a, &desk, "a1", &format!("start-chat {}", b.uri(name))).await;
        refusals += usize::from(told.contains("within an hour"));
    }
    assert!((1..=3).contains(&refusals), "{refusals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_rooms_here() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let m = Rogue::new("m", &net);
    a.rooms_per_peer.store(2, Ordering::Relaxed);
    again(&a).await;
    let to_a = PathTarget::Domain(a.domain.clone());
    for (name, invited) in [("one", 1), ("two", 2), ("three", 2)] {
        let room = RoomUri::parse(&format!("mimi://m.example/r/{name}")).unwrap();
        let body = consent(ConsentAction::Request, &m.uri("m1"), &a.uri("a1"), &room);
        // Each is answered alike.
        m.send(&a, Endpoint::RequestConsent, &to_a, &body).await.unwrap();
        until_true("the invitation", || a.homeserver.invitations("a1").len() == invited).await;
    }
    let desk = alone(&a, "a1").await;
    let told = ask(&a, &desk, "a1", "join mimi://m.example/r/four").await;
    assert!(told.contains("in as many rooms of m.example"), "{told}");
    assert_eq!(a.homeserver.invitations("a1").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_denied_and_allowed_while_the_gateway_runs() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, _) = two.room().await;
    let desk = alone(a, "a1").await;
    let told = ask(a, &desk, "a1", "deny b.example").await;
    assert!(told.starts_with("b.example is denied"), "{told}");
    assert!(!a.engine().gate()(&b.domain), "what serves assets hears of it at once");
    // Also over a restart.
    ruled(a, &[("*", &[Act::Invite]), ("@a1:a.test", &[Act::Admin])], MANY).await;
    come(a, &at_a, "a2");
    let gate = a.engine().gate();
    assert!(!gate(&b.domain) && gate(&a.domain));
    a.homeserver.say(&at_a, "a1", "waits");
    let told = ask(a, &at_a, "a1", &format!("!mimi invite {}", b.uri("b2"))).await;
    assert!(told.contains("b.example is denied by an administrator. “allow b.example”"), "{told}");
    // Who does not administrate hears who did it.
    let told = ask(a, &at_a, "a2", &format!("!mimi invite {}", b.uri("b2"))).await;
    assert!(told.contains("b.example is denied by an administrator of this gateway for now"), "{told}");
    let told = ask(a, &at_a, "a1", "!mimi status").await;
    assert!(told.contains("Denied for now by this gateway: b.example; what goes there waits"), "{told}");
    let asked = a.receive("b", Endpoint::IdentifierQuery, &PathTarget::Domain(a.domain.clone()), b"").await;
    assert!(matches!(asked, Err(Problem::Forbidden(_))), "{asked:?}");
    assert_eq!(b.homeserver.bodies(&at_b), Vec::<String>::new());
    assert!(ask(a, &desk, "a1", "providers").await.contains("• b.example — denied by @a1:a.test"));

    let told = ask(a, &desk, "a1", "deny b.exampel").await;
    assert!(told.starts_with("Look at the spelling: no provider b.exampel is configured."), "{told}");
    assert!(told.contains("b.exampel is denied all the same"), "{told}");
    assert!(ask(a, &desk, "a1", "providers").await.contains("• b.exampel — denied by @a1:a.test"));
    assert!(ask(a, &desk, "a1", "deny b_example").await.contains("A provider looks like"));

    let told = ask(a, &desk, "a1", "allow b.example").await;
    assert!(told.starts_with("b.example is denied no more"), "{told}");
    let told = ask(a, &at_a, "a1", "!mimi status").await;
    assert!(!told.contains("Denied"), "{told}");
    assert!(gate(&b.domain));
    until_bodies(b, &at_b, &["waits"]).await;
    assert_eq!(ask(a, &desk, "a1", "allow b.example").await, "b.example was not denied by an administrator.");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_listed_lets_in_whom_their_level_lets_them() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    a.list_all.store(1, Ordering::Relaxed);
    again(a).await;
    for (least, may) in [(50, false), (0, true)] {
        let room = a.homeserver.create_room("a1", "Market");
        come(a, &room, "a2");
        let mut levels = a.homeserver.states(&room, "m.room.power_levels").pop().unwrap();
        levels["invite"] = least.into();
        a.homeserver.set(&room, "a1", "m.room.power_levels", levels);
        a.homeserver.invite(&room, "a1", a.homeserver.bot.as_str(), false);
        until_true("the bot", || !a.homeserver.notices(&room).is_empty()).await;
        let told = ask(a, &room, "a1", "!mimi bridge").await;
        assert!(told.starts_with("This room is mirrored"), "{told}");
        // Two are in the room, and one is on the list: A1.
        let told = ask(a, &room, "a2", &format!("!mimi invite {}", b.uri("b1"))).await;
        if may {
            assert!(told.ends_with("is asked to join."), "{told}");
            until_true("B1 is asked", || b.homeserver.invitations("b1").len() == 1).await;
        } else {
            assert_eq!(told, "You may not let people into this room.");
            let told = ask(a, &room, "a1", &format!("!mimi invite {}", b.uri("b2"))).await;
            assert!(told.ends_with("is asked to join."), "who may, can: {told}");
            until_true("B2 is asked", || b.homeserver.invitations("b2").len() == 1).await;
            assert_eq!(b.homeserver.invitations("b1").len(), 0);
        }
    }
}

/// From the next start on rooms may be so.
async fn bounded(silo: &Silo, envelope: Envelope) {
    *silo.envelope.lock().unwrap() = envelope;
    again(silo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_hub_rooms_stay_within_the_envelope() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &a.net);
    bounded(a, Envelope { max_participants: Some(3), joining_codes: false, ..Envelope::default() }).await;

    let told = ask(a, &at_a, "a1", "!mimi code").await;
    assert_eq!(told, "The operator of this server allows no joining codes.");
    rogue.enter(a, &at_a, &uri, "m1").await;
    until_true("three are there", || a.homeserver.member(&at_a, &a.ghost(&rogue.uri("m1"))).as_deref() == Some("join"))
        .await;
    let told = ask(a, &at_a, "a1", &format!("!mimi invite {}", b.uri("b2"))).await;
    assert!(told.starts_with("This room has 3 participants, as many as"), "{told}");

    // Nor by a commit of a follower that the room's own policy allows: M1 lists one more.
    rogue.catch_up();
    let m1 = rogue.uri("m1");
    let update = policy::update_add(&rogue.state(), &[(rogue.uri("m2"), role::MEMBER)]).unwrap();
    let changes = ChangeSet {
        updates: vec![ComponentUpdate {
            component: component::PARTICIPANT_LIST,
            op: ComponentOp::Update(update.clone()),
            proposer: m1.clone(),
        }],
        ..ChangeSet::default()
    };
    let after = policy::judge(&rogue.state(), &m1, &changes).expect("the room's own policy lets M1");
    let change = Change {
        app_data: vec![AppDataChange { component: component::PARTICIPANT_LIST, update }],
        ..Change::default()
    };
    let staged = rogue.member().stage_commit(&m1, &change, &mut yes(after), now()).unwrap();
    let answer = rogue.update(a, &uri, &bundle(&staged)).await;
    let why = "this provider does not let its rooms be so: 4 participants where 3 are allowed";
    assert!(refused(&answer) && answer.description.contains(why), "{answer:?}");
    a.homeserver.say(&at_a, "a1", "still here");
    until_bodies(b, &at_b, &["still here"]).await;

    // A larger room is not mirrored at all.
    let large = a.homeserver.create_room("a1", "Large");
    for name in ["a2", "a3", "a4"] {
        come(a, &large, name);
    }
    a.homeserver.invite(&large, "a1", a.homeserver.bot.as_str(), false);
    let desk = alone(a, "a1").await;
    let told = ask(a, &desk, "a1", &format!("bridge {large}")).await;
    assert!(told.contains("members, more than the 3"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_follower_a_room_beyond_the_envelope_is_left_and_people_are_told() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, uri) = two.room().await;
    bounded(b, Envelope { max_participants: Some(2), ..Envelope::default() }).await;
    until_room(b, &uri, "active").await;
    a.homeserver.say(&at_a, "a1", "two of us");
    until_bodies(b, &at_b, &["two of us"]).await;
    come(a, &at_a, "a2");
    until_true("B's people are told", || {
        let told = b.homeserver.notices(&at_b);
        told.iter().any(|text| text.contains("3 participants where 2 are allowed"))
    })
    .await;
    until_room(b, &uri, "left").await;
    // The host sees them leave.
    let ghost = a.ghost(&b.uri("b1"));
    until_true("the ghost leaves", || a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
}

/// A room that says: what is said here is recorded.
fn recorded() -> BTreeMap<u16, Vec<u8>> {
    let policy = LoggingPolicy {
        logging: Optionality::Required,
        logging_clients: vec!["mimi://m.example/d/log/one".to_owned()],
        machine_readable_policy: String::new(),
        human_readable_policy: String::new(),
    };
    BTreeMap::from([(component::LOGGING_POLICY, policy.encode().unwrap())])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_records_is_left_where_the_envelope_forbids_it() {
    let net = Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    let mut rogue = Rogue::new("m", &net);
    let (_, portal) = hosted_by_with(&mut rogue, &b, recorded()).await;
    assert!(!b.homeserver.notices(&portal).iter().any(|text| text.contains("recorded")));
    bounded(&b, Envelope { logging: false, ..Envelope::default() }).await;
    until_true("B1 is told", || {
        b.homeserver.notices(&portal).iter().any(|text| text.contains("what is said may be recorded"))
    })
    .await;
    let left = until("the leave", || rogue.net.calls(&rogue.domain, Endpoint::Update).pop()).await;
    assert!(!left.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_that_the_envelope_denies_are_no_peers() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, _) = two.bridge().await;
    bounded(a, Envelope { deny_providers: vec![Pattern::new("b.*")], ..Envelope::default() }).await;
    let told = ask(a, &at_a, "a1", &format!("!mimi invite {}", b.uri("b1"))).await;
    assert!(told.contains("b.example is denied by the settings of this gateway"), "{told}");
    let to_a = PathTarget::Domain(a.domain.clone());
    assert!(matches!(a.receive("b", Endpoint::IdentifierQuery, &to_a, b"").await, Err(Problem::Forbidden(_))));
    let desk = alone(a, "a1").await;
    let told = ask(a, &desk, "a1", "deny b.example").await;
    assert!(told.contains("is denied"), "{told}");
    let domain = ProviderDomain::parse("b.example").unwrap();
    assert!(a.engine().providers().iter().any(|provider| provider.domain == domain && provider.outside));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_some_types_are_not_let_through_in_either_direction() {
    let two = Two::with_files(crate::homeserver::no_faults()).await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, _) = two.room().await;
    bounded(a, Envelope { deny_media_types: vec![Pattern::new("image/*")], ..Envelope::default() }).await;
    for (silo, room, name) in [(a, &at_a, "a1"), (b, &at_b, "b1")] {
        let content = serde_json::json!({
            "msgtype": "m.image", "body": "cat.png", "url": silo.files().files.keep(b"a cat"),
            "info": { "mimetype": "image/png", "size": 5 },
        });
        silo.homeserver.send(room, name, "m.room.message", content);
    }
    let why = "the operator of this server lets no files of type image/png through";
    until_true("A1 is told", || a.homeserver.notices(&at_a).iter().any(|text| text.contains(why))).await;
    until_true("A's people are told of B1's", || {
        a.homeserver.events(&at_a).iter().any(|event| {
            event["sender"] == a.ghost(&b.uri("b1")).as_str() && event.to_string().contains("image/png through")
        })
    })
    .await;
    let pictures = |silo: &Silo, room| {
        let events = silo.homeserver.events(room);
        events.iter().filter(|event| event["content"]["msgtype"] == "m.image").count()
    };
    assert_eq!((pictures(a, &at_a), pictures(b, &at_b)), (1, 1), "each has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_bot_nor_a_ghost_counts_among_the_most_participants() {
    let two = Two::new().await;
    let a = &two.a;
    *a.envelope.lock().unwrap() = Envelope { max_participants: Some(2), ..Envelope::default() };
    again(a).await;
    let rooms = kitchen_rooms(a, 2).await;
    for room in &rooms {
        come(a, room, "a2");
    }
    come(a, &rooms[1], "a3");
    let told = ask(a, &rooms[1], "a1", "!mimi bridge").await;
    assert_eq!(told, "That room has 3 members, more than the 2 that the operator of this server allows.");
    a.homeserver.leave(&rooms[1], "a3");
    // Another gateway's ghost.
    come(a, &rooms[1], &a.ghost(&two.b.uri("b1")).replace(":a.test", ":other.test"));
    for room in &rooms {
        let told = ask(a, room, "a1", "!mimi bridge").await;
        assert!(told.contains("mimi://a.example/r/"), "{told}");
    }
}
