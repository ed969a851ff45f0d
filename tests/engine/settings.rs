//! Name and topic of a room: of the Matrix rooms, and of the MIMI room behind them.

use std::sync::{Arc, Mutex};

use mimi_gateway::ident::UserUri;
use ruma::RoomId;
use serde_json::json;

use crate::{
    homeserver::{Fault, Faults},
    silo::{Silo, Two, until, until_bodies, until_true},
};

fn name(silo: &Silo, room: &RoomId) -> String {
    silo.homeserver.state(room, "m.room.name", "name").unwrap_or_default()
}

async fn until_called(silo: &Silo, room: &RoomId, wanted: &str) {
    until_true(&format!("{} calls it {wanted}", silo.domain), || name(silo, room) == wanted).await;
}

/// How often the name of a room was set.
fn named(silo: &Silo, room: &RoomId) -> usize {
    silo.homeserver.events(room).iter().filter(|event| event["type"] == "m.room.name").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_and_topic_reach_the_others() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.call_room(&at_a, "a1", "Coffee");
    until_called(&two.b, &at_b, "Coffee").await;
    a.set(&at_a, "a1", "m.room.topic", json!({ "topic": "No tea any more" }));
    until_true("the topic", || b.state(&at_b, "m.room.topic", "topic").as_deref() == Some("No tea any more")).await;
    // What was written is not taken for news, on either side.
    a.say(&at_a, "a1", "one");
    b.say(&at_b, "b1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    until_bodies(&two.a, &at_a, &["one", "two"]).await;
    assert_eq!((named(&two.a, &at_a), named(&two.b, &at_b)), (2, 2));
    let bridge = b.states(&at_b, "m.bridge").pop().unwrap();
    assert_eq!(bridge["channel"]["displayname"], "Coffee");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_room_does_not_allow_is_put_back_and_explained() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.b.homeserver.call_room(&at_b, "b1", "Mine");
    let told = until("an explanation", || {
        let notices = two.b.homeserver.notices(&at_b);
        notices.into_iter().find(|text| text.contains("put back"))
    })
    .await;
    assert!(told.contains("@b1:b.test changed the name") && told.contains("role"), "{told}");
    until_called(&two.b, &at_b, "Tea").await;
    assert_eq!((name(&two.a, &at_a).as_str(), named(&two.a, &at_a)), ("Tea", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_two_names_a_direct_chat() {
    let two = Two::new().await;
    let b1: UserUri = two.b.uri("b1");
    let room = two.a.homeserver.create_room("a1", "");
    two.a.homeserver.invite(&room, "a1", &two.a.ghost(&b1), true);
    let portal = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&portal, "b1");
    two.a.homeserver.say(&room, "a1", "hello");
    until_bodies(&two.b, &portal, &["hello"]).await;
    two.b.homeserver.call_room(&portal, "b1", "Us two");
    until_called(&two.a, &room, "Us two").await;
    two.a.homeserver.call_room(&room, "a1", "Only us");
    until_called(&two.b, &portal, "Only us").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_given_while_a_gateway_is_away_is_found() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.stop().await;
    two.a.homeserver.lose_events(true);
    two.a.homeserver.call_room(&at_a, "a1", "Lost and found");
    two.a.homeserver.lose_events(false);
    two.a.start().await;
    until_called(&two.b, &at_b, "Lost and found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_homeserver_does_not_take_is_told() {
    let stubborn: Faults = Arc::new(Mutex::new(Box::new(|call| {
        let sets = call.starts_with("SetState") && call.contains("m.room.name") && call.contains("Coffee");
        if sets { Fault::Refused } else { Fault::None }
    })));
    let two = Two::with(stubborn).await;
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.call_room(&at_a, "a1", "Coffee");
    until_true("B is told", || {
        two.b.homeserver.notices(&at_b).iter().any(|text| text.contains("could not change it here"))
    })
    .await;
    // What comes next is tried again.
    two.a.homeserver.call_room(&at_a, "a1", "Cocoa");
    until_called(&two.b, &at_b, "Cocoa").await;
}
