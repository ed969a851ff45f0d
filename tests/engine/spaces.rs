//! A mirrored space, and the rooms whose join rule lets its members in: they depend on it (room-policy-03 section 5).

use mimi_gateway::{ident::RoomUri, store::StoreError};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use crate::silo::{Silo, Two, bring, until, until_bodies, until_true};

async fn until_member(silo: &Silo, room: &RoomId, user: &str, how: &str) {
    until_true(&format!("{user}: {how}"), || silo.homeserver.member(room, user).as_deref() == Some(how)).await;
}

fn told(silo: &Silo, room: &RoomId, text: &str) -> bool {
    silo.homeserver.notices(room).iter().any(|notice| notice.contains(text))
}

async fn until_told(silo: &Silo, room: &RoomId, text: &str) {
    until_true(&format!("“{text}”"), || told(silo, room, text)).await;
}

/// A1 mirrors a room of theirs.
async fn mirror(silo: &Silo, room: &RoomId) -> RoomUri {
    let homeserver = &silo.homeserver;
    homeserver.invite(room, "a1", homeserver.bot.as_str(), false);
    until_member(silo, room, homeserver.bot.as_str(), "join").await;
    homeserver.say(room, "a1", "!mimi bridge");
    until("the room is mirrored", || {
        let notices = homeserver.notices(room);
        let text = notices.iter().find_map(|text| text.strip_prefix("This room is mirrored as "))?.to_owned();
        Some(RoomUri::parse(text.split(". ").next()?).unwrap())
    })
    .await
}

fn lets_in(silo: &Silo, room: &RoomId, space: &RoomId) {
    let rule = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": space }] });
    silo.homeserver.set(room, "a1", "m.room.join_rules", rule);
}

fn comes(silo: &Silo, room: &RoomId, name: &str) {
    silo.homeserver.invite(room, "a1", &silo.homeserver.user(name), false);
    silo.homeserver.join(room, name);
}

/// A space with A1 and A2, and a room for its members, with both.
fn house(silo: &Silo) -> (OwnedRoomId, OwnedRoomId) {
    let homeserver = &silo.homeserver;
    let (space, room) = (homeserver.create_room("a1", "House"), homeserver.create_room("a1", "Kitchen"));
    homeserver.set(&space, "a1", "m.room.create", json!({ "room_version": "11", "type": "m.space" }));
    lets_in(silo, &room, &space);
    comes(silo, &space, "a2");
    comes(silo, &room, "a2");
    (space, room)
}

const BELONGS: &str = "This room belongs to mimi://a.example/r/";

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_space_can_come_in_and_who_leaves_it_is_out() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (space, room) = house(&two.a);
    let parent = mirror(&two.a, &space).await;
    mirror(&two.a, &room).await;
    until_told(&two.a, &room, BELONGS).await;
    // First the space, then the room.
    a.say(&room, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    until_told(
        &two.a,
        &room,
        &format!("is not in {parent}, the space to which this room belongs: invite them there first"),
    )
    .await;
    assert!(b.invitations("b1").is_empty());
    let space_at_b = bring(&two.a, &space, "a1", &two.b, "b1").await;
    let room_at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    b.say(&room_at_b, "b1", "who cooks?");
    until_bodies(&two.a, &room, &["who cooks?"]).await;
    // B1 cannot bring in who is not in the space: the hub refuses that.
    b.invite(&room_at_b, "b1", "@b2:b.test", false);
    b.join(&room_at_b, "b2");
    until_told(&two.b, &room_at_b, "they have to be in that one first").await;
    assert_ne!(a.member(&room, &two.a.ghost(&two.b.uri("b2"))).as_deref(), Some("join"));
    // B1 is removed from the space.
    a.kick(&space, "a1", &two.a.ghost(&two.b.uri("b1")));
    until_member(&two.b, &space_at_b, "@b1:b.test", "leave").await;
    until_member(&two.b, &room_at_b, "@b1:b.test", "leave").await;
    let why = format!("removed from the MIMI room by mimi://a.example/u/a1: who is here has to be in {parent}, too");
    assert_eq!(b.reason(&room_at_b, "@b1:b.test").unwrap(), why);
    until_member(&two.a, &room, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    until_told(
        &two.a,
        &room,
        &format!("b1 (b.example) is not in {parent}, to which this room belongs: removed here, too"),
    )
    .await;
    // A2 leaves it.
    a.leave(&space, "a2");
    until_member(&two.a, &room, "@a2:a.test", "leave").await;
    assert!(a.reason(&room, "@a2:a.test").unwrap().contains("join the space first"));
    assert_eq!(a.member(&room, "@a1:a.test").as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_the_space_and_the_room_at_once_stays_and_who_is_not_in_it_is_told() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, room) = house(&two.a);
    mirror(&two.a, &space).await;
    mirror(&two.a, &room).await;
    until_told(&two.a, &room, BELONGS).await;
    bring(&two.a, &space, "a1", &two.b, "b1").await;
    let room_at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    comes(&two.a, &room, "a3");
    until_member(&two.a, &room, "@a3:a.test", "leave").await;
    assert!(a.reason(&room, "@a3:a.test").unwrap().contains("join the space first"));
    comes(&two.a, &space, "a3");
    comes(&two.a, &room, "a3");
    until_member(&two.b, &room_at_b, &two.b.ghost(&two.a.uri("a3")), "join").await;
    a.say(&room, "a3", "here I am");
    until_bodies(&two.b, &room_at_b, &["here I am"]).await;
    assert_eq!(a.member(&room, "@a3:a.test").as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_belongs_to_its_space_once_everybody_is_there_and_as_long_as_its_rule_says_so() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, room) = house(&two.a);
    comes(&two.a, &room, "a3");
    // The room first; the space is nothing to the gateway yet.
    mirror(&two.a, &room).await;
    mirror(&two.a, &space).await;
    until_told(&two.a, &room, "does not belong to it for MIMI users: a3 (a.example) is not there").await;
    assert!(!told(&two.a, &room, BELONGS));
    comes(&two.a, &space, "a3");
    until_told(&two.a, &room, BELONGS).await;
    assert_eq!(a.member(&room, "@a3:a.test").as_deref(), Some("join"));
    // Anybody can be asked in again.
    a.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_told(&two.a, &room, "it does not belong to its space any more").await;
    let room_at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
    // With somebody who is not in the space the rule says no more than it does in Matrix.
    lets_in(&two.a, &room, &space);
    until_told(&two.a, &room, "b1 (b.example) is not there").await;
    a.leave(&space, "a2");
    two.b.homeserver.leave(&room_at_b, "b1");
    a.leave(&room, "a2");
    until_true("it belongs there again", || {
        a.notices(&room).iter().filter(|notice| notice.starts_with(BELONGS)).count() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_goes_on_without_its_space() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, room) = house(&two.a);
    mirror(&two.a, &space).await;
    mirror(&two.a, &room).await;
    until_told(&two.a, &room, BELONGS).await;
    a.say(&space, "a1", "!mimi unbridge");
    until_told(&two.a, &room, "is not mirrored any more. This room stays").await;
    assert_eq!(a.member(&room, "@a2:a.test").as_deref(), Some("join"));
    bring(&two.a, &room, "a1", &two.b, "b1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_space_and_its_room_leaves_nobody_behind() {
    for commits in 1..8 {
        let two = Two::new().await;
        let (space, room) = house(&two.a);
        mirror(&two.a, &space).await;
        mirror(&two.a, &room).await;
        until_told(&two.a, &room, BELONGS).await;
        let space_at_b = bring(&two.a, &space, "a1", &two.b, "b1").await;
        let room_at_b = bring(&two.a, &room, "a1", &two.b, "b1").await;
        two.a.memory().refuse_commits_after(commits, Some(StoreError::Busy("the process is gone".to_owned())));
        two.a.homeserver.kick(&space, "a1", &two.a.ghost(&two.b.uri("b1")));
        for _ in 0..200 {
            if two.a.memory().refuses() || two.b.homeserver.member(&room_at_b, "@b1:b.test").as_deref() == Some("leave")
            {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        two.a.crash().await;
        two.a.start().await;
        until_member(&two.b, &space_at_b, "@b1:b.test", "leave").await;
        until_member(&two.b, &room_at_b, "@b1:b.test", "leave").await;
        until_member(&two.a, &room, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    }
}
