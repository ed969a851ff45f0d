//! A space and its rooms as followers show them: portals that are spaces, and that name each other.

use std::collections::BTreeMap;

use mimi_gateway::{
    ident::RoomUri,
    policy::{self, component},
    store::StoreError,
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    attacks::{Rogue, hosted_as},
    silo::{Silo, Two, bring, until_bodies, until_true},
    spaces::{BELONGS, home, house, lets_in, mirror, until_told},
};

/// The contents of the state events of this type, by the order in which they were set.
fn writes(silo: &Silo, room: &RoomId, event_type: &str) -> Vec<(String, Value)> {
    let events = silo.homeserver.events(room).into_iter().filter(|event| event["type"] == event_type);
    events.map(|event| (event["state_key"].as_str().unwrap().to_owned(), event["content"].clone())).collect()
}

fn parents(silo: &Silo, room: &RoomId) -> Vec<(String, Value)> {
    writes(silo, room, "m.space.parent")
}

fn children(silo: &Silo, room: &RoomId) -> Vec<(String, Value)> {
    writes(silo, room, "m.space.child")
}

fn stands_in(space: &RoomId) -> (String, Value) {
    (space.to_string(), json!({ "via": ["b.test"], "canonical": true }))
}

fn has_in_it(room: &RoomId) -> (String, Value) {
    (room.to_string(), json!({ "via": ["b.test"] }))
}

fn nothing(room: &RoomId) -> (String, Value) {
    (room.to_string(), json!({}))
}

/// Whether the two portals name each other, or do not any more.
async fn until_linked(silo: &Silo, space: &RoomId, room: &RoomId, linked: bool) {
    let expected = if linked { (stands_in(space), has_in_it(room)) } else { (nothing(space), nothing(room)) };
    until_true(&format!("linked: {linked}"), || {
        parents(silo, room).last() == Some(&expected.0) && children(silo, space).last() == Some(&expected.1)
    })
    .await;
}

async fn bring_both(two: &Two, space: &RoomId, room: &RoomId) -> (OwnedRoomId, OwnedRoomId) {
    let space_at_b = bring(&two.a, space, "a1", &two.b, "b1").await;
    (space_at_b, bring(&two.a, room, "a1", &two.b, "b1").await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_space_is_a_space_and_its_room_stands_in_it() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (space, room, _) = home(&two.a).await;
    let (space_at_b, room_at_b) = bring_both(&two, &space, &room).await;
    assert_eq!(b.state(&space_at_b, "m.room.create", "type").as_deref(), Some("m.space"));
    assert_eq!(b.state(&room_at_b, "m.room.create", "type"), None);
    until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    // It is written once, whatever happens. (What is not known to be done when the engine stops is done again.)
    two.b.until_all_sent().await;
    two.b.stop().await;
    two.b.start().await;
    a.say(&room, "a1", "dinner");
    until_bodies(&two.b, &room_at_b, &["dinner"]).await;
    // The host takes the parent away, and gives it back.
    a.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_linked(&two.b, &space_at_b, &room_at_b, false).await;
    lets_in(&two.a, &room, &space);
    until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    // B1 ends the room here.
    b.say(&room_at_b, "b1", "!mimi unbridge");
    until_linked(&two.b, &space_at_b, &room_at_b, false).await;
    let links = |room: &RoomId| [stands_in(room), nothing(room), stands_in(room), nothing(room)];
    assert_eq!(parents(&two.b, &room_at_b), links(&space_at_b));
    // What people say of hosted rooms is theirs to say.
    for one in [&space, &room] {
        assert_eq!((parents(&two.a, one), children(&two.a, one)), (vec![], vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_may_be_there_before_the_space_and_the_space_goes_first() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (space, room) = house(&two.a);
    a.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    mirror(&two.a, &room).await;
    let room_at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    mirror(&two.a, &space).await;
    // B1's homeserver shows the space when B1 agreed, and the room depends on it only then.
    let space_at_b = bring(&two.a, &space, "a1", &two.b, "b1").await;
    lets_in(&two.a, &room, &space);
    until_told(&two.a, &room, BELONGS).await;
    until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    b.say(&space_at_b, "b1", "!mimi unbridge");
    until_linked(&two.b, &space_at_b, &room_at_b, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_is_followed_again_is_another_portal_in_which_its_room_stands() {
    let two = Two::new().await;
    let (space, room, parent) = home(&two.a).await;
    let (space_at_b, room_at_b) = bring_both(&two, &space, &room).await;
    until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    // As a room by itself it stays when the space is let go, and it stands in the new portal of that.
    two.a.homeserver.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_linked(&two.b, &space_at_b, &room_at_b, false).await;
    two.b.homeserver.say(&space_at_b, "b1", "!mimi unbridge");
    until_true("the space is let go", || two.b.homeserver.portal(&parent).is_none()).await;
    let again = bring(&two.a, &space, "a1", &two.b, "b1").await;
    assert_ne!(again, space_at_b);
    assert_eq!(two.b.homeserver.state(&again, "m.room.create", "type").as_deref(), Some("m.space"));
    lets_in(&two.a, &room, &space);
    until_linked(&two.b, &again, &room_at_b, true).await;
    assert_eq!(children(&two.b, &space_at_b).last(), Some(&nothing(&room_at_b)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_leaves_no_link_unwritten() {
    for commits in 0..7 {
        let two = Two::new().await;
        let (space, room, _) = home(&two.a).await;
        two.a.homeserver.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
        until_told(&two.a, &room, "it does not belong to its space any more").await;
        let (space_at_b, room_at_b) = bring_both(&two, &space, &room).await;
        two.b.memory().refuse_commits_after(commits, Some(StoreError::Busy("the process is gone".to_owned())));
        lets_in(&two.a, &room, &space);
        let linked = || children(&two.b, &space_at_b).last() == Some(&has_in_it(&room_at_b));
        until_true("the crash", || two.b.memory().refuses() || linked()).await;
        two.b.crash().await;
        two.b.start().await;
        until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_waits_for_the_one_that_it_names_and_gets_no_place_in_one_of_another_hub() {
    let two = Two::new().await;
    let b = &two.b.homeserver;
    let (mut host, mut stranger) = (Rogue::new("m", &two.a.net), Rogue::new("n", &two.a.net));
    let parent = RoomUri::new(&host.domain, "house").unwrap();
    let depending = || {
        let mut state = policy::initial(parent.clone(), "", "", vec![], policy::Preset::default());
        (state.base_policy.parent_dependent, state.base_policy.parent_room) = (true, vec![parent.to_string()]);
        let base = state.to_components().unwrap()[&component::BASE_ROOM_POLICY].clone();
        BTreeMap::from([(component::BASE_ROOM_POLICY, base)])
    };
    let (_, room_at_b) = hosted_as("kitchen", &mut host, &two.b, depending()).await;
    let (_, other_at_b) = hosted_as("barn", &mut stranger, &two.b, depending()).await;
    two.b.stop().await;
    two.b.start().await;
    assert_eq!(parents(&two.b, &room_at_b), []);
    host.net.take_calls();
    let (_, space_at_b) = hosted_as("house", &mut host, &two.b, BTreeMap::new()).await;
    until_linked(&two.b, &space_at_b, &room_at_b, true).await;
    // Nobody said that it is a space.
    assert_eq!(b.state(&space_at_b, "m.room.create", "type"), None);
    assert_eq!((parents(&two.b, &other_at_b), children(&two.b, &space_at_b).len()), (vec![], 1));
}
