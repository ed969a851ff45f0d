//! Room upgrades: the MIMI room goes on in the Matrix room that replaces the one before.

use std::sync::{Arc, Mutex};

use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use crate::{
    homeserver::{Fault, Faults},
    silo::{Silo, Two, until, until_bodies, until_member, until_true},
};

async fn until_told(silo: &Silo, room: &RoomId, text: &str) {
    let told = || silo.homeserver.notices(room);
    until_true(&format!("“{text}” among {:?}", told()), || told().iter().any(|notice| notice.contains(text))).await;
}

/// Rooms in which ghosts may not speak any more, as after an upgrade on Synapse.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<OwnedRoomId>>>);

impl Ended {
    fn faults(&self) -> Faults {
        let ended = self.0.clone();
        Arc::new(Mutex::new(Box::new(move |call| {
            let by_ghost = call.starts_with("Send") && call.contains("actor: Ghost");
            let there = ended.lock().unwrap().iter().any(|room| call.contains(room.as_str()));
            if by_ghost && there { Fault::Refused } else { Fault::None }
        })))
    }

    fn upgrade(&self, silo: &Silo, room: &RoomId, by: &str, predecessor: &RoomId) -> OwnedRoomId {
        self.0.lock().unwrap().push(room.to_owned());
        silo.homeserver.upgrade(room, by, predecessor)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_room_is_upgraded() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (old, at_b, uri) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let ghost = two.a.ghost(&two.b.uri("b1"));
    a.invite(&old, "a1", "@a2:a.test", false);
    a.join(&old, "a2");
    b.say(&at_b, "b1", "before");
    until_bodies(&two.a, &old, &["before"]).await;
    let new = ended.upgrade(&two.a, &old, "a1", &old);
    until_told(&two.a, &old, &format!("Invite {} there", a.bot)).await;
    // What is said meanwhile waits, also over a restart.
    b.say(&at_b, "b1", "in between");
    a.say(&new, "a1", "first words");
    two.a.stop().await;
    two.a.start().await;
    b.say(&at_b, "b1", "after the restart");
    a.invite(&new, "a1", &ghost, false);
    a.invite(&new, "a1", a.bot.as_str(), false);
    until_told(&two.a, &new, &format!("This room goes on as {uri}")).await;
    until_bodies(&two.a, &new, &["first words", "in between", "after the restart"]).await;
    assert_eq!(a.bodies(&old), ["before"]);
    until_told(&two.a, &old, &format!("This room goes on in {new}")).await;
    until_member(&two.a, &new, &ghost, "join").await;
    for gone in [&ghost, a.bot.as_str()] {
        until_member(&two.a, &old, gone, "leave").await;
    }
    // What was said there before the gateway came is carried, too.
    until_bodies(&two.b, &at_b, &["before", "in between", "first words", "after the restart"]).await;
    a.say(&new, "a1", "here we are");
    until_true("B1 sees it", || b.bodies(&at_b).contains(&"here we are".to_owned())).await;
    // Who was in the old room is invited into the new one, and is the same participant there.
    until_member(&two.a, &new, "@a2:a.test", "invite").await;
    a.join(&new, "a2");
    a.say(&new, "a2", "me, too");
    until_true("B1 sees A2", || b.bodies(&at_b).contains(&"me, too".to_owned())).await;
    let (state, _, participants) = two.a.room(&uri).await.unwrap();
    assert_eq!((state.as_str(), participants), ("active", 3));
    // The old room is nobody's any more.
    a.say(&old, "a1", "into the void");
    b.say(&at_b, "b1", "good bye");
    until_true("A1 sees it", || a.bodies(&new).contains(&"good bye".to_owned())).await;
    assert!(!b.bodies(&at_b).contains(&"into the void".to_owned()));
    assert_eq!(a.states(&new, "m.bridge")[0]["channel"]["id"], json!(uri.as_str()));
    assert_eq!(a.states(&old, "m.bridge"), [json!({})]);
    // And once more.
    let third = ended.upgrade(&two.a, &new, "a1", &new);
    a.invite(&third, "a1", a.bot.as_str(), false);
    until_member(&two.a, &third, &ghost, "join").await;
    b.say(&at_b, "b1", "third room");
    until_true("A1 sees it", || a.bodies(&third).contains(&"third room".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_portal_is_upgraded() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (at_a, old, uri) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let message = a.say(&at_a, "a1", "before");
    until_bodies(&two.b, &old, &["before"]).await;
    let new = ended.upgrade(&two.b, &old, "b1", &old);
    a.say(&at_a, "a1", "in between");
    // Clients invite those who were there.
    b.invite(&new, "b1", b.bot.as_str(), false);
    until_told(&two.b, &new, &format!("This room goes on as {uri}")).await;
    until_bodies(&two.b, &new, &["in between"]).await;
    b.say(&new, "b1", "still here");
    until_true("A1 sees it", || a.bodies(&at_a).contains(&"still here".to_owned())).await;
    // An answer to what stands in the old room does not point there.
    a.reply(&at_a, "a1", message.as_str(), "to the old");
    until_true("the answer", || b.bodies(&new).iter().any(|body| body.contains("to the old"))).await;
    let events = b.events(&new);
    let answer =
        events.iter().find(|event| event["content"]["body"].as_str().is_some_and(|b| b.contains("to the old")));
    assert_eq!(answer.unwrap()["content"]["m.relates_to"].get("m.in_reply_to"), None, "{answer:?}");
    // Leaving the new room is leaving.
    b.leave(&new, "b1");
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_portal_says_what_it_is_once_the_bot_has_power_there() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (_, old, uri) = two.room().await;
    let b = &two.b.homeserver;
    // The bot writes the thresholds of the host's roles first, unconditionally.
    until_true("thresholds", || b.events(&old).iter().filter(|e| e["type"] == "m.room.power_levels").count() == 2)
        .await;
    let new = ended.upgrade(&two.b, &old, "b1", &old);
    // As where the bot's power was that of the room's creator, and stood in no levels.
    let mut levels = b.states(&new, "m.room.power_levels").pop().unwrap();
    levels["users"] = json!({ "@b1:b.test": 100 });
    b.set(&new, "b1", "m.room.power_levels", levels.clone());
    b.invite(&new, "b1", b.bot.as_str(), false);
    until_told(&two.b, &new, "Give me power level 100").await;
    assert!(b.states(&new, "m.bridge").is_empty());
    levels["users"][b.bot.as_str()] = json!(100);
    until_true("m.bridge", || {
        // Levels that the bot writes in that moment, and may then, take them back: they have to be set again.
        if b.states(&new, "m.room.power_levels").iter().all(|now| now["users"].get(b.bot.as_str()).is_none()) {
            b.set(&new, "b1", "m.room.power_levels", levels.clone());
        }
        b.states(&new, "m.bridge").iter().any(|told| told["channel"]["id"] == uri.as_str())
    })
    .await;
    until_true("what crosses", || !b.states(&new, "com.beeper.room_features").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_chat_is_upgraded() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let ghost = two.a.ghost(&two.b.uri("b1"));
    let old = a.create_room("a1", "");
    a.invite(&old, "a1", &ghost, true);
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&at_b, "b1");
    until_member(&two.a, &old, &ghost, "join").await;
    let new = ended.upgrade(&two.a, &old, "a1", &old);
    a.invite(&new, "a1", &ghost, true);
    until_member(&two.a, &new, &ghost, "join").await;
    b.say(&at_b, "b1", "found you");
    until_bodies(&two.a, &new, &["found you"]).await;
    a.say(&new, "a1", "good");
    until_bodies(&two.b, &at_b, &["found you", "good"]).await;
    until_member(&two.a, &old, &ghost, "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_not_the_next_one_is_not_followed() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (old, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let other = a.create_room("a1", "Other");
    // It names another room as the one before it.
    let new = two.a.homeserver.upgrade(&old, "a1", &other);
    a.call_room(&old, "a1", "Meanwhile");
    a.invite(&new, "a1", a.bot.as_str(), false);
    until_told(&two.a, &old, "I do not follow: it does not name this room as the one before it").await;
    until_member(&two.a, &new, a.bot.as_str(), "leave").await;
    // What changed meanwhile counts again.
    until_true("the name", || b.state(&at_b, "m.room.name", "name").as_deref() == Some("Meanwhile")).await;
    // It was made by somebody else.
    let theirs = two.a.homeserver.upgrade(&other, "a2", &old);
    a.set(&old, "a1", "m.room.tombstone", json!({ "body": "", "replacement_room": theirs }));
    a.invite(&theirs, "a2", a.bot.as_str(), false);
    until_told(&two.a, &old, "it was made by @a2:a.test, not by @a1:a.test").await;
    // By somebody who may not take everybody along.
    a.invite(&old, "a1", "@a2:a.test", false);
    a.join(&old, "a2");
    a.set(&old, "a2", "m.room.tombstone", json!({ "body": "", "replacement_room": theirs }));
    until_told(&two.a, &old, "@a2:a.test replaced this room").await;
    until_told(&two.a, &old, "only those who may remove participants").await;
    // From elsewhere.
    let carol = "@carol:other.test";
    a.invite(&old, "a1", carol, false);
    a.join(&old, carol);
    two.a.homeserver.upgrade(&old, carol, &old);
    until_told(&two.a, &old, "@carol:other.test is on another homeserver, other.test").await;
    // The room stays what it was.
    b.say(&at_b, "b1", "still here");
    until_bodies(&two.a, &old, &["still here"]).await;
    a.say(&old, "a1", "me, too");
    until_bodies(&two.b, &at_b, &["still here", "me, too"]).await;
    assert!(a.notices(&new).is_empty() && a.notices(&theirs).is_empty());
}

/// The tombstone's level is the homeserver's business; taking the MIMI users along is for those who may remove them.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_replace_a_room_does_not_take_the_mimi_room_along() {
    let two = Two::new().await;
    let (old, at_b, uri) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.invite(&old, "a1", "@a2:a.test", false);
    a.join(&old, "a2");
    let ghost = two.b.ghost(&two.a.uri("a2"));
    until_member(&two.b, &at_b, &ghost, "join").await;
    let levels = |kick: i64| {
        json!({
            "users": { a.user("a1"): 100, a.bot.as_str(): 100, "@a2:a.test": 50 },
            "kick": kick, "events": { "m.room.tombstone": 50 },
        })
    };
    a.set(&old, "a1", "m.room.power_levels", levels(75));
    // What A2 says now, B sees behind the change.
    a.say(&old, "a2", "moderator");
    until_true("B sees it", || b.bodies(&at_b).contains(&"moderator".to_owned())).await;
    let taken = two.a.homeserver.upgrade(&old, "a2", &old);
    a.invite(&taken, "a2", a.bot.as_str(), false);
    until_told(&two.a, &old, "only those who may remove participants can take the MIMI users along").await;
    b.say(&at_b, "b1", "still here");
    until_true("it is shown there", || a.bodies(&old).contains(&"still here".to_owned())).await;
    let moved = a.notices(&taken).iter().any(|text| text.contains("is mirrored as"));
    assert!(!moved && a.bridge_states(&taken) == 0, "{uri} stays where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_something_else_is_neither_taken_nor_left() {
    let two = Two::new().await;
    let (old, at_b, uri) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let replace = |by: &RoomId| {
        a.set(&old, "a1", "m.room.tombstone", json!({ "body": "", "replacement_room": by }));
    };
    // One that is mirrored, and says that it is the next one.
    let before = a.create_room("a1", "Before");
    let mirrored = a.upgrade(&before, "a1", &old);
    a.invite(&mirrored, "a1", a.bot.as_str(), false);
    until_member(&two.a, &mirrored, a.bot.as_str(), "join").await;
    a.say(&mirrored, "a1", "!mimi bridge");
    until_told(&two.a, &mirrored, "This room is mirrored as ").await;
    replace(&mirrored);
    until_told(&two.a, &old, "I do not follow: that room is mirrored already").await;
    // A chat with the bot.
    let chat = a.create_room("a3", "");
    a.invite(&chat, "a3", a.bot.as_str(), true);
    let speaks = |event: &serde_json::Value| event["sender"] == a.bot.as_str() && event["type"] == "m.room.message";
    until_true("the bot speaks", || a.events(&chat).iter().any(speaks)).await;
    replace(&chat);
    until_told(&two.a, &old, "I do not follow: that room serves another purpose").await;
    // One in which the bot is, for whatever reason.
    let other = a.create_room("a3", "Other");
    a.invite(&other, "a3", a.bot.as_str(), false);
    until_member(&two.a, &other, a.bot.as_str(), "join").await;
    replace(&other);
    until_told(&two.a, &old, "I do not follow: it does not name this room").await;
    // All of them stay what they were.
    b.say(&at_b, "b1", "still here");
    until_bodies(&two.a, &old, &["still here"]).await;
    for room in [&mirrored, &chat, &other] {
        assert_eq!(a.member(room, a.bot.as_str()).as_deref(), Some("join"), "{room}");
    }
    assert_eq!(a.states(&old, "m.bridge")[0]["channel"]["id"], json!(uri.as_str()));
    assert_ne!(a.states(&mirrored, "m.bridge")[0]["channel"]["id"], json!(uri.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upgrade_does_to_the_old_room_is_not_carried() {
    let ended = Ended::default();
    let two = Two::with(ended.faults()).await;
    let (old, at_b, uri) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let new = ended.upgrade(&two.a, &old, "a1", &old);
    // As Synapse does.
    let mut levels = a.states(&old, "m.room.power_levels").pop().unwrap();
    levels["events_default"] = json!(50);
    levels["invite"] = json!(50);
    a.set(&old, "a1", "m.room.power_levels", levels);
    a.call_room(&old, "a1", "Over");
    until_told(&two.a, &old, &format!("Invite {} there", a.bot)).await;
    b.say(&at_b, "b1", "in between");
    a.invite(&new, "a1", a.bot.as_str(), false);
    until_told(&two.a, &new, &format!("This room goes on as {uri}")).await;
    until_bodies(&two.a, &new, &["in between"]).await;
    // What is changed in the new one is.
    a.call_room(&new, "a1", "Next");
    until_true("the name", || b.state(&at_b, "m.room.name", "name").as_deref() == Some("Next")).await;
    a.say(&new, "a1", "done");
    until_bodies(&two.b, &at_b, &["in between", "done"]).await;
    for event in b.events(&at_b) {
        assert_ne!(event["content"]["events_default"], json!(50), "{event}");
        assert_ne!(event["content"]["name"], json!("Over"), "{event}");
    }
}
