//! Power levels of the Matrix rooms, and roles of the MIMI room behind them.

use mimi_gateway::{ident::UserUri, policy::RoleList};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::silo::{Silo, Two, until_bodies, until_true};

fn levels(silo: &Silo, room: &RoomId) -> Value {
    silo.homeserver.states(room, "m.room.power_levels").pop().unwrap()
}

fn level(silo: &Silo, room: &RoomId, user: &str) -> i64 {
    levels(silo, room)["users"][user].as_i64().unwrap_or(0)
}

/// Somebody sets the level of a full user id.
fn empower(silo: &Silo, room: &RoomId, by: &str, user: &str, level: i64) {
    let mut content = levels(silo, room);
    content["users"][user] = json!(level);
    silo.homeserver.set(room, by, "m.room.power_levels", content);
}

/// How often the levels were written.
fn changes(silo: &Silo, room: &RoomId) -> usize {
    silo.homeserver.events(room).iter().filter(|event| event["type"] == "m.room.power_levels").count()
}

async fn until_level(silo: &Silo, room: &RoomId, user: &str, wanted: i64) {
    until_true(&format!("{user} has level {wanted}"), || level(silo, room, user) == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_on_either_side_is_one_on_the_other() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let [a1, a2]: [UserUri; 2] = ["a1", "a2"].map(|name| two.a.uri(name));
    let b1 = two.b.uri("b1");
    let before = levels(&two.a, &at_a);
    until_true("the portal has the thresholds of the host's roles", || changes(&two.b, &at_b) == 2).await;
    empower(&two.a, &at_a, "a1", &two.a.ghost(&b1), 100);
    // Less than the bot, which can take it away again.
    until_level(&two.b, &at_b, "@b1:b.test", 95).await;
    let a2_here = two.b.ghost(&a2);
    two.a.homeserver.invite(&at_a, "a1", "@a2:a.test", false);
    two.a.homeserver.join(&at_a, "a2");
    until_true("A2's ghost comes", || two.b.homeserver.member(&at_b, &a2_here).as_deref() == Some("join")).await;
    empower(&two.b, &at_b, "b1", &a2_here, 50);
    until_level(&two.a, &at_a, "@a2:a.test", 50).await;
    // A moderator names the room.
    two.a.homeserver.call_room(&at_a, "a2", "By A2");
    until_true("the name", || two.b.homeserver.state(&at_b, "m.room.name", "name").as_deref() == Some("By A2")).await;
    empower(&two.b, &at_b, "b1", &a2_here, 0);
    until_true("A2 has no level", || levels(&two.a, &at_a)["users"].get("@a2:a.test").is_none()).await;
    two.a.homeserver.say(&at_a, "a1", "done");
    until_bodies(&two.b, &at_b, &["done"]).await;
    let mut expected = before;
    expected["users"][two.a.ghost(&b1)] = json!(100);
    assert_eq!(levels(&two.a, &at_a), expected, "nothing else changed");
    // Each change was written once, and its echo is no news; the portal got the thresholds of the host's roles besides.
    assert_eq!((changes(&two.a, &at_a), changes(&two.b, &at_b)), (4, 5));
    assert_eq!(level(&two.b, &at_b, &two.b.ghost(&a1)), 95, "less than the bot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_has_the_roles_of_its_host_exactly() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let kept = || two.b.homeserver.states(&at_b, "im.mimi-gateway.roles");
    let names = |content: &Value| {
        let roles = content["roles"].as_array().cloned().unwrap_or_default();
        roles.iter().map(|role| role["role_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until_true("roles", || kept().last().is_some_and(|content| names(content).len() >= 4)).await;
    let written =
        || two.b.homeserver.events(&at_b).iter().filter(|event| event["type"] == "im.mimi-gateway.roles").count();
    let before = written();
    // A level that nobody had so far is a role of its own, whose name says which.
    empower(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 33);
    until_true("the new role", || kept().last().is_some_and(|content| names(content).join(" ").contains("33"))).await;
    assert_eq!(written(), before + 1, "written when they change");
    let exact = |content: &Value| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        RoleList::decode(&URL_SAFE_NO_PAD.decode(content["component"].as_str().unwrap()).unwrap()).unwrap()
    };
    let content = kept().pop().unwrap();
    assert_eq!(serde_json::to_value(exact(&content)).unwrap(), content["roles"]);
    assert!(two.a.homeserver.states(&at_a, "im.mimi-gateway.roles").is_empty(), "the host's levels are its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_the_room_does_not_allow_is_put_back_and_explained() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    // The bot writes the thresholds of the host's roles first: Matrix has no way to say "only if nobody changed it meanwhile".
    until_true("thresholds", || changes(&two.b, &at_b) == 2).await;
    empower(&two.b, &at_b, "b1", "@b1:b.test", 90);
    until_true("an explanation", || {
        let notices = two.b.homeserver.notices(&at_b);
        notices.iter().any(|text| text.contains("@b1:b.test changed who may do what") && text.contains("put back"))
    })
    .await;
    until_level(&two.b, &at_b, "@b1:b.test", 0).await;
    assert_eq!(level(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1"))), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_that_changed_while_a_gateway_was_away_are_found() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.stop().await;
    two.a.homeserver.lose_events(true);
    empower(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    two.a.homeserver.lose_events(false);
    two.a.start().await;
    until_level(&two.b, &at_b, "@b1:b.test", 50).await;
}

fn told(silo: &Silo, room: &RoomId, text: &str) -> bool {
    silo.homeserver.notices(room).iter().any(|notice| notice.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bot_without_power_missed_is_caught_up() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.invite(&at_a, "a1", "@a2:a.test", false);
    a.join(&at_a, "a2");
    let a2 = two.b.ghost(&two.a.uri("a2"));
    until_true("A2 is seen", || b.member(&at_b, &a2).as_deref() == Some("join")).await;
    empower(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    until_level(&two.b, &at_b, "@b1:b.test", 50).await;
    empower(&two.a, &at_a, "a1", "@mimibot:a.test", 0);
    until_true("a sentence", || told(&two.a, &at_a, "I lack the power to")).await;
    a.say(&at_a, "a1", "!mimi status");
    until_true("a status", || told(&two.a, &at_a, "I lack the power to remove, ban, delete messages")).await;
    b.set(&at_b, "b1", "m.room.name", json!({ "name": "Renamed" }));
    until_true("the name is told", || told(&two.a, &at_a, "The name of the MIMI room changed, and I could not")).await;
    b.make(&at_b, "b1", &a2, "ban", "rude");
    until_true("the ban is told", || told(&two.a, &at_a, "a2 (a.example) should be banned from this room")).await;
    assert_eq!(a.member(&at_a, "@a2:a.test").as_deref(), Some("join"));
    assert_eq!(two.a.engine().quarantined(), 0);
    empower(&two.a, &at_a, "a1", "@mimibot:a.test", 100);
    until_true("A2 is banned", || a.member(&at_a, "@a2:a.test").as_deref() == Some("ban")).await;
    until_true("the name", || a.state(&at_a, "m.room.name", "name").as_deref() == Some("Renamed")).await;
    assert_eq!(b.state(&at_b, "m.room.name", "name").as_deref(), Some("Renamed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_is_back_with_its_power_lacks_nothing() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    empower(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    until_level(&two.b, &at_b, "@b1:b.test", 50).await;
    a.kick(&at_a, "a1", "@mimibot:a.test");
    until_true("a warning", || told(&two.a, &at_a, "removed the bot")).await;
    b.set(&at_b, "b1", "m.room.topic", json!({ "topic": "Meanwhile" }));
    b.say(&at_b, "b1", "done");
    until_bodies(&two.a, &at_a, &["done"]).await;
    a.invite(&at_a, "a1", "@mimibot:a.test", false);
    until_true("it is back", || two.a.homeserver.notices(&at_a).contains(&"I am back.".to_owned())).await;
    until_true("the topic", || a.state(&at_a, "m.room.topic", "topic").as_deref() == Some("Meanwhile")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ghost_stands_above_the_levels_of_a_portal() {
    let two = Two::new().await;
    let (_, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    let ghost = two.b.ghost(&two.a.uri("a1"));
    let events = b.events(&at_b);
    let find = |kind: &str, key: &str| {
        events.iter().find(|event| event["type"] == kind && event["state_key"] == key).unwrap()["sender"].clone()
    };
    assert_eq!(find("m.room.create", ""), json!("@mimibot:b.test"));
    assert_eq!(find("m.room.member", "@b1:b.test"), json!(ghost), "the invitation is the asker's");
    assert!(level(&two.b, &at_b, &ghost) < 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_without_power_says_so() {
    let two = Two::new().await;
    let (at_a, _, _) = two.room().await;
    empower(&two.a, &at_a, "a1", "@mimibot:a.test", 0);
    until_true("a sentence", || {
        two.a.homeserver.notices(&at_a).iter().any(|text| text.contains("I lack the power to"))
    })
    .await;
}
