//! What people are called on the other side: told once, in each room by itself, and only of those who speak.

use std::sync::Arc;

use mimi_gateway::{
    content::{Body, Disposition, ExternalPart, MimiContent, NestedPart, PartSemantics},
    engine::ports::Endpoint,
    room::Telling,
    wire::{FanoutContent, FanoutMessage, MlsMessage, SafeAad, Wire as _},
};
use ruma::RoomId;

use crate::{
    attacks::{Rogue, hosted_by_with, notify},
    discovery::{alone, ask, discoverable},
    homeserver::Fault,
    silo::{Disk, Net, Silo, Two, ask_bot_in, bridge, bring, until, until_bodies, until_true},
};

/// Messages that the hub distributed to that provider, also its own. Whatever a call brings may be seen before it is over and
/// counted.
fn messages(two: &Two, to: &Silo) -> usize {
    let calls = two.a.net.calls(&to.domain, Endpoint::Notify);
    let all = calls.iter().flat_map(|call| FanoutMessage::decode_all(&call.body).unwrap());
    all.filter(|fanout| matches!(fanout.content, FanoutContent::Application { .. })).count()
}

/// Those that the follower gave the hub.
pub(crate) fn submitted(two: &Two) -> usize {
    two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage).len()
}

/// How often a member's event was written.
fn written(silo: &Silo, room: &RoomId, user: &str) -> usize {
    let events = silo.homeserver.events(room).into_iter();
    events.filter(|event| event["type"] == "m.room.member" && event["state_key"] == user).count()
}

async fn until_called(silo: &Silo, room: &RoomId, user: &str, wanted: &str) {
    let what = format!("{user} is called {wanted} at {}", silo.domain);
    until_true(&what, || silo.homeserver.called(room, user).as_deref() == Some(wanted)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_crosses_once_and_again_when_it_changed() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (alice, bob) = (two.b.ghost(&two.a.uri("a1")), two.a.ghost(&two.b.uri("b1")));
    let before = (written(&two.b, &at_b, &alice), written(&two.a, &at_a, &bob));
    a.call_me(&at_a, "a1", Some("Alice  Liddell"));
    a.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    until_called(&two.b, &at_b, &alice, "Alice Liddell (a.example)").await;
    until_true("the name, and what is said", || messages(&two, &two.b) == 2).await;
    // Also from a follower, and nothing is told twice.
    b.call_me(&at_b, "b1", Some("Bob"));
    b.say(&at_b, "b1", "two");
    a.say(&at_a, "a1", "three");
    until_true("all at A", || a.bodies(&at_a).len() == 3).await;
    until_true("all at B", || b.bodies(&at_b).len() == 3).await;
    until_called(&two.a, &at_a, &bob, "Bob (b.example)").await;
    // A message comes back to where it was said, too, perhaps after everybody has seen it.
    until_true("each once", || (submitted(&two), messages(&two, &two.b)) == (2, 5)).await;
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
    }
    // The homeserver tells of the same name once more.
    a.call_me(&at_a, "a1", Some("Alice  Liddell"));
    a.say(&at_a, "a1", "four");
    b.say(&at_b, "b1", "five");
    until_true("all at A", || a.bodies(&at_a).len() == 5).await;
    until_true("all at B", || b.bodies(&at_b).len() == 5).await;
    until_true("each once more", || (submitted(&two), messages(&two, &two.b)) == (3, 7)).await;
    // Another one, and back: the ghost was named a moment ago, so it keeps its name for a while.
    b.call_me(&at_b, "b1", Some("Robert"));
    b.say(&at_b, "b1", "six");
    until_true("six", || a.bodies(&at_a).len() == 6).await;
    b.call_me(&at_b, "b1", None);
    b.say(&at_b, "b1", "seven");
    until_true("all at A", || a.bodies(&at_a).len() == 7).await;
    until_true("each once", || submitted(&two) == 7).await;
    assert_eq!(written(&two.b, &at_b, &alice), before.0 + 1);
    assert_eq!(written(&two.a, &at_a, &bob), before.1 + 1);
    assert_eq!(a.called(&at_a, &bob).as_deref(), Some("Bob (b.example)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_hub_refused_is_told_with_the_next_message() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (b, bob) = (&two.b.homeserver, two.a.ghost(&two.b.uri("b1")));
    // The name goes first.
    let refuse = std::sync::atomic::AtomicBool::new(true);
    *two.b.faults.lock().unwrap() = Box::new(move |call| {
        let refused =
            call.starts_with("submitMessage b.example") && refuse.swap(false, std::sync::atomic::Ordering::SeqCst);
        if refused { Fault::Refused } else { Fault::None }
    });
    b.call_me(&at_b, "b1", Some("Bob"));
    b.say(&at_b, "b1", "one");
    until_bodies(&two.a, &at_a, &["one"]).await;
    assert_ne!(two.a.homeserver.called(&at_a, &bob).as_deref(), Some("Bob (b.example)"));
    b.say(&at_b, "b1", "two");
    until_called(&two.a, &at_a, &bob, "Bob (b.example)").await;
    // And no more.
    b.say(&at_b, "b1", "three");
    until_bodies(&two.a, &at_a, &["one", "two", "three"]).await;
    until_true("each once", || submitted(&two) == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_room_has_its_own_names_and_who_goes_takes_theirs_along() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (other_at_a, _) = bridge(&two.a, "a1").await;
    let other_at_b = bring(&two.a, &other_at_a, "a1", &two.b, "b1").await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let alice = two.b.ghost(&two.a.uri("a1"));
    a.call_me(&at_a, "a1", Some("The chair"));
    a.say(&at_a, "a1", "here");
    a.say(&other_at_a, "a1", "there");
    until_bodies(&two.b, &at_b, &["here"]).await;
    until_bodies(&two.b, &other_at_b, &["there"]).await;
    until_called(&two.b, &at_b, &alice, "The chair (a.example)").await;
    assert_eq!(b.called(&other_at_b, &alice), None);
    // B1 goes and comes back: it is told again.
    let bob = two.a.ghost(&two.b.uri("b1"));
    b.call_me(&at_b, "b1", Some("Bob"));
    b.say(&at_b, "b1", "hello");
    until_called(&two.a, &at_a, &bob, "Bob (b.example)").await;
    b.invite(&at_b, "b1", &b.user("b2"), false);
    b.join(&at_b, "b2");
    until_true("B2 is in", || a.member(&at_a, &two.a.ghost(&two.b.uri("b2"))).as_deref() == Some("join")).await;
    b.leave(&at_b, "b1");
    until_true("B1 is out", || a.member(&at_a, &bob).as_deref() == Some("leave")).await;
    b.invite(&at_b, "b2", &b.user("b1"), false);
    b.rename("b1", "Bob");
    b.join(&at_b, "b1");
    until_true("B1 is in", || a.member(&at_a, &bob).as_deref() == Some("join")).await;
    b.say(&at_b, "b1", "again");
    until_called(&two.a, &at_a, &bob, "Bob (b.example)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_before_the_room_was_mirrored_are_told_and_of_the_silent_nothing() {
    let net = Arc::new(Net::default());
    let memory = || Disk::Memory(mimi_gateway::store::MemoryDisk::new());
    let people: Vec<String> = (0..1000).map(|n| format!("p{n}")).collect();
    let mut names: Vec<&str> = people.iter().map(String::as_str).collect();
    names.push("a1");
    let faults = crate::homeserver::no_faults;
    let a = Silo::start_on("a", &names, &net, memory(), faults()).await;
    let b = Silo::start_on("b", &["b1"], &net, memory(), faults()).await;
    let two = Two { a, b };
    let a = &two.a.homeserver;
    for name in &names {
        a.rename(name, &format!("Called {name}"));
    }
    let room = a.create_room("a1", "Tea");
    for name in &people {
        a.invite(&room, "a1", &a.user(name), false);
        a.join(&room, name);
    }
    ask_bot_in(a, &room, "a1").await;
    a.say(&room, "a1", "!mimi bridge");
    until_true("it is mirrored", || a.notices(&room).iter().any(|text| text.contains("mirrored as"))).await;
    let at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    for name in people.iter().take(50) {
        a.call_me(&room, name, Some("Changed"));
    }
    until_true("A takes it in", || a.is_quiet()).await;
    assert_eq!(messages(&two, &two.b), 0, "nothing is told of a thousand who say nothing");
    a.say(&room, "p500", "hello");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    let ghost = two.b.ghost(&two.a.uri("p500"));
    until_called(&two.b, &at_b, &ghost, "Called p500 (a.example)").await;
    until_true("no more than that", || messages(&two, &two.b) == 2).await;
    a.say(&room, "p1", "hello too");
    let ghost = two.b.ghost(&two.a.uri("p1"));
    until_called(&two.b, &at_b, &ghost, "Changed (a.example)").await;
    until_true("the message, too", || messages(&two, &two.b) == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_is_told_and_nobody_is_where_that_is_off() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let c = Silo::new("c", &["c1"], &net).await;
    let (at_a, _) = bridge(&a, "a1").await;
    let at_b = bring(&a, &at_a, "a1", &b, "b1").await;
    a.homeserver.call_me(&at_a, "a1", Some("Alice"));
    a.homeserver.say(&at_a, "a1", "one");
    until_called(&b, &at_b, &b.ghost(&a.uri("a1")), "Alice (a.example)").await;
    let at_c = bring(&a, &at_a, "a1", &c, "c1").await;
    a.homeserver.say(&at_a, "a1", "two");
    until_called(&c, &at_c, &c.ghost(&a.uri("a1")), "Alice (a.example)").await;
    until_bodies(&c, &at_c, &["two"]).await;
    // Where it is off, nothing is told any more.
    *a.telling.lock().unwrap() = Telling { profiles: false, ..Telling::default() };
    a.stop().await;
    a.start().await;
    a.homeserver.call_me(&at_a, "a1", Some("Secret"));
    let before = net.calls(&c.domain, Endpoint::Notify).len();
    a.homeserver.say(&at_a, "a1", "three");
    until_bodies(&c, &at_c, &["two", "three"]).await;
    // A message may be seen before its call is over; its name would have come before it.
    until_true("no more than that", || net.calls(&c.domain, Endpoint::Notify).len() == before + 1).await;
    assert_eq!(c.homeserver.called(&at_c, &c.ghost(&a.uri("a1"))).as_deref(), Some("Alice (a.example)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_stranger_tells_of_itself_its_provider_is_seen_and_nothing_is_said() {
    let net = Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    let mut rogue = Rogue::new("m", &net);
    let (uri, portal) = hosted_by_with(&mut rogue, &b, std::collections::BTreeMap::new()).await;
    let m1 = rogue.uri("m1");
    let ghost = b.ghost(&m1);
    let profile = |body: Body| NestedPart { disposition: Disposition::Profile, language: String::new(), body };
    let single = |kind: &str, text: &str| Body::Single { content_type: kind.into(), content: text.into() };
    let card = |name: &str| single("text/vcard", &format!("BEGIN:VCARD\r\nVERSION:4.0\r\nFN:{name}\r\nEND:VCARD\r\n"));
    let url = "https://m.example/x".to_owned();
    let external = ExternalPart { content_type: "image/png".into(), url, ..ExternalPart::default() };
    let mut all: Vec<NestedPart> = [
        single("text/plain", "click here"),
        single("text/vcard", "no card"),
        Body::External(Box::new(external)),
        card(" \u{202e}\u{200b} "),
        card("b1 (b.example)\u{202e}"),
        card(&"x".repeat(60_000)),
    ]
    .into_iter()
    .map(profile)
    .collect();
    all.extend((0..40).map(|n| profile(card(&format!("Name {n}")))));
    // Beside a text, a profile is no text either.
    let parts = vec![NestedPart::text("text/plain", "hello"), profile(card("Nobody"))];
    all.push(NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts }));
    let before = written(&b, &portal, &ghost);
    for (salt, part) in all.into_iter().enumerate() {
        let content = MimiContent::new([u8::try_from(salt).unwrap(); 16], &m1, &uri, part);
        let (words, _) = content.encode_with_id(&m1, &uri).unwrap();
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
        let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
        notify(&rogue, &b, &uri, content).await.unwrap();
    }
    until_bodies(&b, &portal, &["hello"]).await;
    let named = b.homeserver.called(&portal, &ghost);
    assert_eq!(named.as_deref(), Some("b1 [b.example] (m.example)"), "the first; all others wait for their turn");
    assert_eq!(written(&b, &portal, &ghost), before + 1);
    assert!(b.homeserver.notices(&portal).iter().all(|text| !text.contains("profile")), "nobody is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_found_is_called_as_it_was_found_until_it_says_otherwise() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    b.rename("b1", "Bob \u{202e}Smith");
    discoverable(&two.b, "b1", "on").await;
    let room = alone(&two.a, "a1").await;
    let told = ask(&two.a, &room, "a1", "start-chat handle:b1@b.example").await;
    assert!(told.starts_with("Bob %E2%80%AESmith, mimi://b.example/u/b1, is asked."), "{told}");
    let at_a = until("the room", || a.invitations("a1").first().cloned()).await;
    a.join(&at_a, "a1");
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_called(&two.a, &at_a, &ghost, "Bob Smith (b.example)").await;
    assert_eq!(submitted(&two), 0, "B1 has said nothing");
    b.call_me(&at_b, "b1", Some("Bob"));
    b.say(&at_b, "b1", "hi");
    until_called(&two.a, &at_a, &ghost, "Bob (b.example)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_like_another_has_the_address_beside_the_name() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    b.invite(&at_b, "b1", &b.user("b2"), false);
    b.join(&at_b, "b2");
    let second = two.a.ghost(&two.b.uri("b2"));
    until_true("B2 is in", || two.a.homeserver.member(&at_a, &second).as_deref() == Some("join")).await;
    b.call_me(&at_b, "b1", Some("Anna"));
    b.say(&at_b, "b1", "one");
    until_called(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "Anna (b.example)").await;
    // Two letters are Cyrillic, and a joiner stands between them.
    let posing = "\u{410}nn\u{200d}\u{430}";
    b.call_me(&at_b, "b2", Some(posing));
    b.say(&at_b, "b2", "two");
    until_called(&two.a, &at_a, &second, &format!("{posing} (b2, b.example)")).await;
}
