//! A mirrored space, and the rooms whose join rule lets its members in: they depend on it (room-policy-03 section 5).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use mimi_gateway::{
    ident::RoomUri,
    store::{StoreError, Write},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use crate::{
    held::has,
    silo::{Silo, Two, ask_bot_in, bring, until, until_bodies, until_member, until_true},
};

fn told(silo: &Silo, room: &RoomId, text: &str) -> bool {
    silo.homeserver.notices(room).iter().any(|notice| notice.contains(text))
}

pub(crate) async fn until_told(silo: &Silo, room: &RoomId, text: &str) {
    until_true(&format!("“{text}”"), || told(silo, room, text)).await;
}

/// A1 mirrors a room of theirs.
pub(crate) async fn mirror(silo: &Silo, room: &RoomId) -> RoomUri {
    let homeserver = &silo.homeserver;
    ask_bot_in(homeserver, room, "a1").await;
    homeserver.say(room, "a1", "!mimi bridge");
    until("the room is mirrored", || {
        let notices = homeserver.notices(room);
        let text = notices.iter().find_map(|text| text.strip_prefix("This room is mirrored as "))?.to_owned();
        Some(RoomUri::parse(text.split(". ").next()?).unwrap())
    })
    .await
}

pub(crate) fn lets_in(silo: &Silo, room: &RoomId, space: &RoomId) {
    let rule = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": space }] });
    silo.homeserver.set(room, "a1", "m.room.join_rules", rule);
}

pub(crate) fn comes(silo: &Silo, room: &RoomId, name: &str) {
    silo.homeserver.invite(room, "a1", &silo.homeserver.user(name), false);
    silo.homeserver.join(room, name);
}

/// A space with A1 and A2, and a room for its members, with both.
pub(crate) fn house(silo: &Silo) -> (OwnedRoomId, OwnedRoomId) {
    let homeserver = &silo.homeserver;
    let (space, room) = (homeserver.create_room("a1", "House"), homeserver.create_room("a1", "Kitchen"));
    homeserver.set(&space, "a1", "m.room.create", json!({ "room_version": "11", "type": "m.space" }));
    lets_in(silo, &room, &space);
    comes(silo, &space, "a2");
    comes(silo, &room, "a2");
    (space, room)
}

pub(crate) const BELONGS: &str = "This room belongs to mimi://a.example/r/";
/// What a room says whose join rule does not count.
const NOT: &str = "does not belong to it for MIMI users";

/// The same, mirrored, the room belonging to the space; and the space's address.
pub(crate) async fn home(silo: &Silo) -> (OwnedRoomId, OwnedRoomId, RoomUri) {
    let (space, room) = house(silo);
    let parent = mirror(silo, &space).await;
    mirror(silo, &room).await;
    until_told(silo, &room, BELONGS).await;
    (space, room, parent)
}

fn times(silo: &Silo, room: &RoomId, text: &str) -> usize {
    silo.homeserver.notices(room).iter().filter(|notice| notice.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_space_can_come_in_and_who_leaves_it_is_out() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (space, room, parent) = home(&two.a).await;
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
    let (space, room, _) = home(&two.a).await;
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
    let (space, room, _) = home(&two.a).await;
    a.say(&space, "a1", "!mimi unbridge");
    until_told(&two.a, &room, "is not mirrored any more. This room stays").await;
    assert_eq!(a.member(&room, "@a2:a.test").as_deref(), Some("join"));
    bring(&two.a, &room, "a1", &two.b, "b1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_space_and_its_room_leaves_nobody_behind() {
    for commits in 1..8 {
        let two = Two::new().await;
        let (space, room, _) = home(&two.a).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_people_are_not_in_the_space_hears_nothing_of_it() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, _) = house(&two.a);
    let parent = mirror(&two.a, &space).await;
    // A3 is not in the space, and would like to know who is.
    let room = a.create_room("a3", "Spy");
    let rule = json!({ "join_rule": "restricted", "allow": [{ "type": "m.room_membership", "room_id": space }] });
    a.set(&room, "a3", "m.room.join_rules", rule.clone());
    for user in [a.bot.as_str(), "@a2:a.test"] {
        a.invite(&room, "a3", user, false);
    }
    a.join(&room, "a2");
    until_member(&two.a, &room, a.bot.as_str(), "join").await;
    a.say(&room, "a3", "!mimi bridge");
    until_told(&two.a, &room, "This room is mirrored as").await;
    bring(&two.a, &room, "a3", &two.b, "b1").await;
    assert!(!told(&two.a, &room, parent.as_str()), "{:?}", a.notices(&room));
    // Once A1, who is there, has the say, too, they are told who is not.
    a.invite(&room, "a3", "@a1:a.test", false);
    a.join(&room, "a1");
    let bot = a.bot.as_str();
    a.set(&room, "a3", "m.room.power_levels", json!({ "users": { "@a3:a.test": 100, "@a1:a.test": 100, bot: 100 } }));
    // Roles follow levels a moment later: the rule is set until it counts.
    let text = format!("members of {parent} in, but does not belong to it");
    for _ in 0..400 {
        if told(&two.a, &room, &text) {
            return;
        }
        a.set(&room, "a1", "m.room.join_rules", rule.clone());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("“{text}”: {:?}", a.notices(&room));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rooms_that_let_each_others_members_in_one_belongs_to_the_other() {
    let two = Two::new().await;
    let (space, room, parent) = home(&two.a).await;
    lets_in(&two.a, &space, &room);
    until_told(&two.a, &space, NOT).await;
    assert!(!told(&two.a, &space, BELONGS));
    // People come into the one, and then into the other.
    let at_b = bring(&two.a, &space, "a1", &two.b, "b1").await;
    bring(&two.a, &room, "a1", &two.b, "b1").await;
    two.b.homeserver.say(&at_b, "b1", "hello");
    until_bodies(&two.a, &space, &["hello"]).await;
    // Once it does not belong to it, it may be the other way round.
    two.a.homeserver.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_told(&two.a, &space, BELONGS).await;
    assert_eq!(times(&two.a, &space, NOT), 1);
    lets_in(&two.a, &room, &space);
    until_told(&two.a, &room, NOT).await;
    assert_eq!(times(&two.a, &room, &format!("This room belongs to {parent}")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_name_each_other_at_the_same_moment_make_no_circle() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let rooms: Vec<OwnedRoomId> = (0..3).map(|n| a.create_room("a1", &format!("Room {n}"))).collect();
    for room in &rooms {
        mirror(&two.a, room).await;
    }
    for (room, next) in rooms.iter().zip(rooms.iter().cycle().skip(1)) {
        lets_in(&two.a, room, next);
    }
    let heard = |text: &str| rooms.iter().filter(|room| told(&two.a, room, text)).count();
    until_true("two of three belong", || heard(BELONGS) == 2 && heard(NOT) == 1).await;
    // B1 comes in, first into the one that belongs to none.
    let top = rooms.iter().position(|room| !told(&two.a, room, BELONGS)).unwrap();
    for n in 0..3 {
        bring(&two.a, &rooms[(top + 3 - n) % 3], "a1", &two.b, "b1").await;
    }
    assert_eq!((heard(BELONGS), heard(NOT)), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_belonged_to_a_space_is_forgotten_there() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, room) = house(&two.a);
    let parent = mirror(&two.a, &space).await;
    let child = mirror(&two.a, &room).await;
    until_told(&two.a, &room, BELONGS).await;
    let (forgotten, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (forgets, hears) = (Arc::clone(&forgotten), Arc::clone(&heard));
    two.a.memory().judge(move |batch| {
        for write in batch.writes() {
            match write {
                Write::Put { key, .. } if has(key, "inbox") && has(key, child.as_str()) => {
                    hears.fetch_add(1, SeqCst);
                }
                Write::Delete { key } if has(key, "rosterof") && has(key, parent.as_str()) => {
                    forgets.store(true, SeqCst);
                }
                _ => {}
            }
        }
        Ok(())
    });
    a.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_told(&two.a, &room, "it does not belong to its space any more").await;
    comes(&two.a, &space, "a3");
    until_true("it is forgotten", || forgotten.load(SeqCst)).await;
    // What it asked before that is still answered.
    two.a.until_all_heard().await;
    let before = heard.load(SeqCst);
    bring(&two.a, &space, "a1", &two.b, "b1").await;
    assert_eq!(heard.load(SeqCst), before);
    // And known again.
    lets_in(&two.a, &room, &space);
    until_true("it belongs there again", || times(&two.a, &room, BELONGS) == 2).await;
    a.leave(&space, "a2");
    until_member(&two.a, &room, "@a2:a.test", "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_is_upgraded_keeps_its_rooms() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (space, room, parent) = home(&two.a).await;
    bring(&two.a, &space, "a1", &two.b, "b1").await;
    bring(&two.a, &room, "a1", &two.b, "b1").await;
    let new = a.upgrade(&space, "a1", &space);
    a.invite(&new, "a1", a.bot.as_str(), false);
    until_told(&two.a, &new, &format!("This room goes on as {parent}")).await;
    until_member(&two.a, &new, &two.a.ghost(&two.b.uri("b1")), "join").await;
    a.join(&new, "a2");
    // The rule may follow later, or never: the room belongs to the same MIMI room all the time.
    lets_in(&two.a, &room, &new);
    a.kick(&new, "a1", &two.a.ghost(&two.b.uri("b1")));
    until_member(&two.a, &room, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    // A room whose rule names the new one alone.
    let other = a.create_room("a1", "Cellar");
    lets_in(&two.a, &other, &new);
    mirror(&two.a, &other).await;
    until_told(&two.a, &other, &format!("This room belongs to {parent}")).await;
    assert_eq!((times(&two.a, &room, BELONGS), times(&two.a, &room, "any more")), (1, 0));
    assert_eq!(a.member(&room, "@a2:a.test").as_deref(), Some("join"));
    // And back to nothing.
    a.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "invite" }));
    until_told(&two.a, &room, "it does not belong to its space any more").await;
}
