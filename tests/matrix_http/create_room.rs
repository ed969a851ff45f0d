//! Making rooms, and finishing those that an earlier try began.

use mimi_gateway::engine::ports::{Actor, Homeserver, MatrixAction, MatrixDone};
use ruma::UserId;
use serde_json::{Value, json};

use super::{
    client::{BOB, BOT, bob, room},
    fake_homeserver::{Fake, ROOM},
};

const ALIAS: &str = "#_mimi_b.example=2fr=2fclub:a.example";
const ALICE: &str = "@alice:a.example";

fn create(is_direct: bool) -> MatrixAction {
    MatrixAction::CreateRoom {
        creator: bob(),
        alias_localpart: "_mimi_b.example=2fr=2fclub".into(),
        name: Some("Club".into()),
        topic: None,
        is_direct,
        space: false,
        members: vec![bob(), Actor::Bot],
        invite: vec![UserId::parse(ALICE).unwrap(), UserId::parse(BOB).unwrap()],
        initial_state: vec![("m.bridge".into(), "k".into(), r#"{"x":1}"#.into())],
    }
}

fn state_of<'a>(body: &'a Value, event_type: &str) -> &'a Value {
    let all = body["initial_state"].as_array().unwrap();
    &all.iter().find(|event| event["type"] == event_type).unwrap()["content"]
}

#[tokio::test]
async fn a_room_of_version_12_is_private_and_lists_no_creator() {
    let fake = Fake::start().await;
    let client = fake.client();
    assert_eq!(client.perform(&create(true)).await.unwrap(), MatrixDone::Room(room()));
    let asked = fake.asked();
    let create = asked.iter().find(|seen| seen.path == ["createRoom"]).unwrap();
    assert_eq!(create.user(), BOB);
    let body = create.body();
    assert_eq!(body["preset"], "private_chat");
    assert_eq!(body["visibility"], "private");
    assert_eq!(body["room_version"], "12");
    assert_eq!(body["room_alias_name"], "_mimi_b.example=2fr=2fclub");
    assert_eq!(body["creation_content"], json!({"m.federate": false}));
    assert_eq!(body["power_level_content_override"]["users"], json!({BOT: 100}));
    assert_eq!(body["is_direct"], true);
    assert_eq!(body["name"], "Club");
    assert!(body.get("topic").is_none());
    assert_eq!(body["invite"], json!([BOT, ALICE]), "the creator is not invited into its own room");
    assert_eq!(state_of(&body, "m.room.history_visibility"), &json!({"history_visibility": "joined"}));
    assert_eq!(state_of(&body, "m.room.join_rules"), &json!({"join_rule": "invite"}));
    assert_eq!(state_of(&body, "m.bridge"), &json!({"x": 1}));
    fake.with(|world| {
        assert_eq!(world.members[BOT], "join");
        assert_eq!(world.members[ALICE], "invite");
    });
}

#[tokio::test]
async fn a_space_is_made_as_one() {
    let fake = Fake::start().await;
    let mut action = create(false);
    if let MatrixAction::CreateRoom { space, .. } = &mut action {
        *space = true;
    }
    fake.client().perform(&action).await.unwrap();
    let asked = fake.asked();
    let body = asked.iter().find(|seen| seen.path == ["createRoom"]).unwrap().body();
    assert_eq!(body["creation_content"], json!({"m.federate": false, "type": "m.space"}));
    assert_eq!(state_of(&body, "m.room.join_rules"), &json!({"join_rule": "invite"}));
}

#[tokio::test]
async fn an_older_room_version_lists_its_creator() {
    let fake = Fake::start().await;
    fake.with(|world| world.default_room_version = Some("10"));
    fake.client().perform(&create(false)).await.unwrap();
    let asked = fake.asked();
    let body = asked.iter().find(|seen| seen.path == ["createRoom"]).unwrap().body();
    assert_eq!(body["room_version"], "10");
    assert_eq!(body["power_level_content_override"]["users"], json!({BOB: 100, BOT: 100}));
}

#[tokio::test]
async fn a_repeat_finds_the_room_and_changes_nothing() {
    let fake = Fake::start().await;
    let client = fake.client();
    client.perform(&create(false)).await.unwrap();
    let made: Value = fake.asked().iter().find(|seen| seen.path == ["createRoom"]).unwrap().body();
    fake.with(|world| {
        world.state = made["initial_state"].as_array().unwrap().clone();
        for event_type in ["m.room.power_levels", "m.room.name", "m.room.canonical_alias"] {
            world.state.push(json!({"type": event_type, "state_key": "", "content": {}}));
        }
    });
    assert_eq!(client.perform(&create(false)).await.unwrap(), MatrixDone::Room(room()));
    assert_eq!(fake.asked_words(), ["POST createRoom", "GET directory room", "GET rooms state"]);
}

#[tokio::test]
async fn a_repeat_finishes_what_a_crash_cut_off() {
    let fake = Fake::start().await;
    fake.with(|world| {
        world.aliases.insert(ALIAS.into(), ROOM.into());
        world.members.insert(BOB.into(), "join".into());
    });
    assert_eq!(fake.client().perform(&create(true)).await.unwrap(), MatrixDone::Room(room()));
    let asked = fake.asked();
    let set: Vec<_> =
        asked.iter().filter(|seen| seen.path.get(2).is_some_and(|s| s == "state") && seen.method == "PUT").collect();
    let types: Vec<&str> = set.iter().map(|seen| seen.path[3].as_str()).collect();
    assert_eq!(types[0], "m.room.power_levels", "first, so that the rest is allowed");
    for wanted in
        ["m.room.join_rules", "m.room.history_visibility", "m.room.name", "m.room.canonical_alias", "m.bridge"]
    {
        assert!(types.contains(&wanted), "{wanted}");
    }
    let alice = set.iter().find(|seen| seen.path[3] == "m.room.member").unwrap();
    assert_eq!((alice.path[4].as_str(), alice.body()), (ALICE, json!({"membership": "invite", "is_direct": true})));
    fake.with(|world| {
        assert_eq!(world.members[BOT], "join");
        assert_eq!(world.members[ALICE], "invite");
    });
}

#[tokio::test]
async fn a_repeat_does_not_ask_again_who_has_declined() {
    let fake = Fake::start().await;
    fake.with(|world| {
        world.aliases.insert(ALIAS.into(), ROOM.into());
        world.members.insert(BOB.into(), "join".into());
        world.members.insert(ALICE.into(), "leave".into());
    });
    fake.client().perform(&create(false)).await.unwrap();
    assert_eq!(fake.with(|world| world.members[ALICE].clone()), "leave");
}

#[tokio::test]
async fn an_alias_of_a_dead_room_is_taken_over() {
    let fake = Fake::start().await;
    fake.with(|world| world.aliases.insert(ALIAS.into(), "!dead:a.example".into()));
    fake.once("GET rooms state", 403, json!({"errcode": "M_FORBIDDEN", "error": "not in the room"}));
    assert_eq!(fake.client().perform(&create(false)).await.unwrap(), MatrixDone::Room(room()));
    let words = fake.asked_words();
    assert_eq!(words.iter().filter(|what| *what == "POST createRoom").count(), 2);
    assert!(words.contains(&"DELETE directory room".to_owned()));
    assert_eq!(fake.with(|world| world.aliases[ALIAS].clone()), ROOM);
}
