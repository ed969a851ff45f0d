//! Rooms with many people: what they cost the homeserver, and how those of another provider appear.

use std::{sync::atomic::Ordering, time::Duration};

use mimi_gateway::engine::ports::Endpoint;
use ruma::OwnedRoomId;
use serde_json::json;

use crate::silo::{Silo, Two, ask_bot_in, bridge, bring, until_bodies, until_true};

/// Somebody more comes in, the Matrix way.
fn come_in(silo: &Silo, room: &OwnedRoomId, name: &str) {
    silo.homeserver.register(name);
    silo.homeserver.invite(room, "a1", &silo.homeserver.user(name), false);
    silo.homeserver.join(room, name);
}

fn ghosts(silo: &Silo, room: &OwnedRoomId, of: &Silo, count: usize) -> usize {
    let here = |n: &usize| {
        let ghost = silo.ghost(&of.uri(&format!("many{n}")));
        silo.homeserver.member(room, &ghost).as_deref() == Some("join")
    };
    (0..count).filter(here).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_a_thousand_is_mirrored_without_a_request_for_each() {
    let two = Two::new().await;
    let homeserver = &two.a.homeserver;
    let room = homeserver.create_room("a1", "Market");
    for n in 0..1_000 {
        come_in(&two.a, &room, &format!("many{n}"));
    }
    two.net_calls();
    ask_bot_in(homeserver, &room, "a1").await;
    let before = homeserver.calls();
    homeserver.say(&room, "a1", "!mimi bridge");
    until_true("it is mirrored", || {
        homeserver.notices(&room).iter().any(|text| text.starts_with("This room is mirrored"))
    })
    .await;
    let calls = homeserver.calls() - before;
    assert!(calls <= 13, "{calls} requests for a room of a thousand");
    // Those who act are listed, the others are not.
    let at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    homeserver.say(&room, "many7", "one of many");
    until_true("B reads it", || two.b.homeserver.bodies(&at_b).contains(&"one of many".to_owned())).await;
    assert_eq!(ghosts(&two.b, &at_b, &two.a, 1_000), 1);
    let calls = two.net_calls();
    assert!(calls < 30, "{calls} calls between the providers");
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_of_a_large_room_appear_bit_by_bit_and_at_once_if_they_act() {
    const MANY: usize = 120;
    let two = Two::new().await;
    two.b.stop().await;
    // A bunch, and the next in five minutes.
    two.b.ghosts_per_minute.store(1, Ordering::Relaxed);
    two.b.start().await;
    let (room, _) = bridge(&two.a, "a1").await;
    for n in 0..MANY {
        come_in(&two.a, &room, &format!("many{n}"));
    }
    two.a.homeserver.say(&room, "many0", "all are listed by now");
    let uri = two.a.only_room().await;
    let since = std::time::Instant::now();
    while two.a.room(&uri).await.unwrap().2 < MANY + 1 {
        assert!(since.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    two.a.homeserver.say(&room, "many99", "I act");
    until_true("B reads it", || two.b.homeserver.bodies(&at_b).contains(&"I act".to_owned())).await;
    until_true("a bunch came", || ghosts(&two.b, &at_b, &two.a, MANY) == 6).await;
    // Who comes and goes before their turn never appears.
    two.a.homeserver.leave(&room, "many98");
    two.a.homeserver.say(&room, "many99", "many98 left");
    until_true("B reads it", || two.b.homeserver.bodies(&at_b).contains(&"many98 left".to_owned())).await;
    assert_eq!(ghosts(&two.b, &at_b, &two.a, MANY), 6);

    // It goes on after a crash.
    two.b.crash().await;
    two.b.ghosts_per_minute.store(6_000, Ordering::Relaxed);
    two.b.start().await;
    until_true("the others came", || ghosts(&two.b, &at_b, &two.a, MANY) == MANY - 1).await;
    let gone = two.b.ghost(&two.a.uri("many98"));
    assert_eq!(two.b.homeserver.member(&at_b, &gone), None);
    let joins = |user: &str| {
        let events = two.b.homeserver.events(&at_b);
        events.iter().filter(|event| event["state_key"] == user && event["content"]["membership"] == "join").count()
    };
    for n in (0..MANY).filter(|n| *n != 98) {
        assert_eq!(joins(&two.b.ghost(&two.a.uri(&format!("many{n}")))), 1, "many{n} came once");
    }
    // From now on there is nothing to wait for: who comes is shown at once.
    come_in(&two.a, &room, "many120");
    let ghost = two.b.ghost(&two.a.uri("many120"));
    until_true("the next one comes", || two.b.homeserver.member(&at_b, &ghost).as_deref() == Some("join")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_goes_while_the_hub_is_away_costs_little() {
    let two = Two::new().await;
    let (_, at_b, _) = two.room().await;
    two.a.stop().await;
    two.net_calls();
    for _ in 0..8 {
        two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
        two.b.homeserver.join(&at_b, "b2");
        two.b.homeserver.leave(&at_b, "b2");
    }
    two.b.homeserver.say(&at_b, "b1", "that was b2");
    until_true("B takes it in", || two.b.homeserver.is_quiet()).await;
    two.a.start().await;
    let at_a = two.a.homeserver.rooms_of("a1")[0].clone();
    until_true("A reads it", || two.a.homeserver.bodies(&at_a).contains(&"that was b2".to_owned())).await;
    let updates = two.a.net.calls(&two.a.domain, Endpoint::Update).len();
    assert!(updates <= 3, "{updates} commits for somebody who came and went");
    let uri = two.a.only_room().await;
    assert_eq!(two.a.room(&uri).await.unwrap().2, 2, "B2 is not listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn moderators_of_a_large_room_change_it_before_they_said_a_word() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    a.stop().await;
    a.list_all.store(1, Ordering::Relaxed);
    a.start().await;
    let (room, uri) = bridge(a, "a1").await;
    for name in ["many7", "many8", "many9"] {
        come_in(a, &room, name);
    }
    let at_b = bring(a, &room, "a1", b, "b1").await;
    let mut levels = a.homeserver.states(&room, "m.room.power_levels").pop().unwrap();
    levels["users"]["@many7:a.test"] = 75.into();
    levels["users"]["@many9:a.test"] = 75.into();
    a.homeserver.set(&room, "a1", "m.room.power_levels", levels);
    let says = |silo: &Silo, room: &OwnedRoomId, kind: &str, field: &str| {
        silo.homeserver.states(room, kind).pop().map(|content| content[field].clone())
    };

    a.homeserver.set(&room, "many7", "m.room.name", json!({ "name": "Fish" }));
    until_true("B has the name", || says(b, &at_b, "m.room.name", "name") == Some(json!("Fish"))).await;
    a.homeserver.set(&room, "many9", "m.room.topic", json!({ "topic": "Fresh" }));
    until_true("B has the topic", || says(b, &at_b, "m.room.topic", "topic") == Some(json!("Fresh"))).await;
    // A1, B1, and who changed something.
    assert_eq!(a.room(&uri).await.unwrap().2, 4, "who does nothing is not listed");

    // The homeserver does not ask for a level that the roles do: what many8 says counts for nothing, and many8 is not listed.
    a.homeserver.set(&room, "many8", "m.room.name", json!({ "name": "Spam" }));
    until_true("A has the old name", || says(a, &room, "m.room.name", "name") == Some(json!("Fish"))).await;
    a.homeserver.say(&room, "a1", "that was spam");
    until_bodies(b, &at_b, &["that was spam"]).await;
    assert_eq!(says(b, &at_b, "m.room.name", "name"), Some(json!("Fish")));
    assert_eq!(a.room(&uri).await.unwrap().2, 4);
    let undone = a.homeserver.notices(&room).iter().filter(|text| text.contains("it is put back here")).count();
    assert_eq!(undone, 1, "many8's: {:?}", a.homeserver.notices(&room));
}
