//! The homeserver client, all but making rooms.

use std::time::Duration;

use mimi_gateway::{
    engine::ports::{Actor, Homeserver, JoinedMember, MatrixAction, MatrixDone, Retry},
    ident::UserUri,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomAliasId, RoomId, UserId};
use serde_json::json;

use super::fake_homeserver::{Fake, ROOM, client_at};

pub(crate) const BOB: &str = "@_mimi_b.example=2fbob:a.example";
pub(crate) const BOT: &str = "@mimi_bot:a.example";

pub(crate) fn bob() -> Actor {
    Actor::Ghost(UserUri::parse("mimi://b.example/u/bob").unwrap())
}

pub(crate) fn room() -> OwnedRoomId {
    RoomId::parse(ROOM).unwrap()
}

fn send(txn: &str) -> MatrixAction {
    MatrixAction::Send {
        room: room(),
        actor: bob(),
        event_type: "m.room.message".into(),
        content: r#"{"body":"hi" , "msgtype":"m.text"}"#.into(),
        ts: Some(1_700_000_000_123),
        txn_id: txn.into(),
    }
}

fn event(done: &MatrixDone) -> &str {
    match done {
        MatrixDone::Event(id) => id.as_str(),
        other => panic!("no event: {other:?}"),
    }
}

#[tokio::test]
async fn the_first_send_makes_the_ghost_and_the_next_is_one_request() {
    let fake = Fake::start().await;
    let client = fake.client();
    let first = client.perform(&send("t-1")).await.unwrap();
    let asked = fake.asked();
    assert_eq!(
        asked.iter().map(super::fake_homeserver::Seen::what).collect::<Vec<_>>(),
        ["POST register", "PUT profile displayname", "PUT devices MIMI_GATEWAY", "PUT rooms send m.room.message"]
    );
    assert!(asked.iter().all(|seen| seen.auth.as_deref() == Some("Bearer as-token")));
    assert!(asked.iter().all(|seen| !seen.query.contains_key("access_token")));
    assert_eq!(
        asked[0].body(),
        json!({"username": "_mimi_b.example=2fbob", "type": "m.login.application_service", "inhibit_login": true})
    );
    assert_eq!((asked[1].user(), &asked[1].body()), (BOB, &json!({"displayname": "bob (b.example)"})));
    let message = &asked[3];
    assert_eq!(message.path, ["rooms", ROOM, "send", "m.room.message", "t-1"]);
    assert_eq!(message.raw_body, r#"{"body":"hi" , "msgtype":"m.text"}"#, "passed on as it is");
    assert_eq!(message.user(), BOB);
    assert_eq!(message.query["ts"], "1700000000123");
    assert_eq!(message.query["device_id"], "MIMI_GATEWAY");

    let second = client.perform(&send("t-2")).await.unwrap();
    assert_eq!(fake.asked_words(), ["PUT rooms send m.room.message"]);
    assert_ne!(event(&first), event(&second));
    let repeated = client.perform(&send("t-1")).await.unwrap();
    assert_eq!(event(&first), event(&repeated), "the same transaction id, so the same event");
}

#[tokio::test]
async fn a_ghost_of_an_earlier_run_keeps_its_name_unless_it_changed() {
    let fake = Fake::start().await;
    fake.with(|world| world.users.insert(BOB.into(), Some("bob (b.example)".into())));
    fake.client().perform(&send("t-1")).await.unwrap();
    assert!(!fake.asked_words().contains(&"PUT profile displayname".to_owned()));
    fake.with(|world| world.users.insert(BOB.into(), Some("Robert".into())));
    fake.client().perform(&send("t-2")).await.unwrap();
    assert!(fake.asked_words().contains(&"PUT profile displayname".to_owned()));
    assert_eq!(fake.with(|world| world.users[BOB].clone()).as_deref(), Some("bob (b.example)"));
}

#[tokio::test]
async fn a_homeserver_without_such_devices_gets_none_named() {
    let fake = Fake::start().await;
    fake.without_devices();
    let client = fake.client();
    client.perform(&send("t-1")).await.unwrap();
    let asked = fake.asked();
    assert!(!asked.last().unwrap().query.contains_key("device_id"));
}

#[tokio::test]
async fn a_ghost_that_the_homeserver_has_forgotten_is_made_again_and_the_send_repeated() {
    let fake = Fake::start().await;
    let client = fake.client();
    client.perform(&send("t-1")).await.unwrap();
    fake.asked();
    fake.with(|world| world.users.clear());
    client.perform(&send("t-2")).await.unwrap();
    let asked = fake.asked();
    assert_eq!(asked[0].what(), "PUT rooms send m.room.message");
    assert_eq!(asked[1].what(), "POST register");
    assert_eq!(asked.last().unwrap().path, asked[0].path, "with the same transaction id");
}

#[tokio::test]
async fn a_redaction_goes_to_its_endpoint() {
    let fake = Fake::start().await;
    let redaction = |content: &str| MatrixAction::Send {
        room: room(),
        actor: bob(),
        event_type: "m.room.redaction".into(),
        content: content.into(),
        ts: None,
        txn_id: "t-9".into(),
    };
    fake.client().perform(&redaction(r#"{"redacts":"$old","reason":"typo"}"#)).await.unwrap();
    let asked = fake.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.path, ["rooms", ROOM, "redact", "$old", "t-9"]);
    assert_eq!(last.body(), json!({"reason": "typo"}));
    let error = fake.client().perform(&redaction("{}")).await.unwrap_err();
    assert_eq!(error.retry, Retry::Permanent);
}

#[tokio::test]
async fn a_receipt_is_the_ghosts() {
    let fake = Fake::start().await;
    let event = OwnedEventId::try_from("$seen").unwrap();
    fake.client().perform(&MatrixAction::Receipt { room: room(), actor: bob(), event }).await.unwrap();
    let asked = fake.asked();
    let last = asked.last().unwrap();
    assert_eq!((last.method.as_str(), last.body()), ("POST", json!({})));
    assert_eq!(last.path, ["rooms", ROOM, "receipt", "m.read", "$seen"]);
}

#[tokio::test]
async fn failures_say_whether_to_try_again() {
    const SEND: &str = "PUT rooms send m.room.message";
    let fake = Fake::start().await;
    let client = fake.client();
    client.perform(&send("t-0")).await.unwrap();
    let limit = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1500});
    fake.once(SEND, 429, limit);
    let error = client.perform(&send("t-1")).await.unwrap_err();
    assert_eq!(error.retry, Retry::Retriable(Some(Duration::from_millis(1500))));
    assert_eq!((error.status, error.errcode.as_deref()), (Some(429), Some("M_LIMIT_EXCEEDED")));
    fake.once_with(SEND, 503, vec![("retry-after", "4")], json!("down"));
    assert_eq!(client.perform(&send("t-1")).await.unwrap_err().retry, Retry::Retriable(Some(Duration::from_secs(4))));
    fake.once(SEND, 403, json!({"errcode": "M_FORBIDDEN", "error": "not in the room"}));
    let error = client.perform(&send("t-1")).await.unwrap_err();
    assert_eq!((error.retry, error.errcode.as_deref()), (Retry::Permanent, Some("M_FORBIDDEN")));
    fake.once(SEND, 401, json!({"errcode": "M_UNKNOWN_TOKEN", "error": "who?"}));
    assert!(matches!(client.perform(&send("t-1")).await.unwrap_err().retry, Retry::Retriable(Some(_))));
    fake.once(SEND, 200, json!("<html>"));
    assert!(matches!(client.perform(&send("t-1")).await.unwrap_err().retry, Retry::Retriable(_)));
    client.perform(&send("t-1")).await.unwrap();
}

#[tokio::test]
async fn no_answer_in_time_and_nobody_there_are_tried_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    client.ensure_ghost(&UserUri::parse("mimi://b.example/u/bob").unwrap()).await.unwrap();
    fake.with(|world| world.hang = true);
    let error = client.perform(&send("t-1")).await.unwrap_err();
    assert_eq!((error.retry, error.status), (Retry::Retriable(None), None));
    assert!(!error.what.contains("as-token"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = client_at(&format!("http://127.0.0.1:{port}")).perform(&send("t-1")).await.unwrap_err();
    assert_eq!(error.retry, Retry::Retriable(None), "{error}");
}

#[tokio::test]
async fn our_own_users_are_never_acted_for() {
    let fake = Fake::start().await;
    let own = Actor::Ghost(UserUri::parse("mimi://a.example/u/alice").unwrap());
    let error = fake.client().perform(&MatrixAction::Join { room: room(), actor: own }).await.unwrap_err();
    assert_eq!(error.retry, Retry::Permanent);
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn joining_without_invite_asks_the_bot_for_one() {
    let fake = Fake::start().await;
    let client = fake.client();
    let join = MatrixAction::Join { room: room(), actor: bob() };
    assert_eq!(client.perform(&join).await.unwrap(), MatrixDone::Done);
    let asked = fake.asked();
    let acts: Vec<_> =
        asked.iter().filter(|seen| seen.path[0] == "rooms").map(|seen| (seen.what(), seen.user().to_owned())).collect();
    assert_eq!(
        acts,
        [
            ("POST rooms join".to_owned(), BOB.to_owned()),
            ("POST rooms invite".to_owned(), BOT.to_owned()),
            ("POST rooms join".to_owned(), BOB.to_owned()),
        ]
    );
    client.perform(&join).await.unwrap();
    assert_eq!(fake.asked_words(), ["POST rooms join"], "again: nothing but the harmless join");
}

#[tokio::test]
async fn leaving_inviting_and_kicking_may_be_repeated() {
    let fake = Fake::start().await;
    let client = fake.client();
    let alice = UserId::parse("@alice:a.example").unwrap();
    let leave = MatrixAction::Leave { room: room(), actor: bob(), reason: None };
    client.perform(&leave).await.unwrap();
    assert!(fake.with(|world| world.users.is_empty()), "no ghost is made to leave");
    fake.with(|world| world.members.insert(BOB.into(), "join".into()));
    fake.once("POST rooms leave", 403, json!({"errcode": "M_FORBIDDEN", "error": "another reason"}));
    assert_eq!(client.perform(&leave).await.unwrap_err().retry, Retry::Permanent, "still in the room");
    client.perform(&leave).await.unwrap();

    let invite = MatrixAction::Invite { room: room(), actor: Actor::Bot, target: alice.clone(), is_direct: false };
    client.perform(&invite).await.unwrap();
    client.perform(&invite).await.unwrap();
    fake.with(|world| world.members.insert(alice.to_string(), "join".into()));
    client.perform(&invite).await.unwrap();
    fake.with(|world| world.members.insert(alice.to_string(), "ban".into()));
    fake.once("POST rooms invite", 403, json!({"errcode": "M_FORBIDDEN", "error": "banned"}));
    assert_eq!(client.perform(&invite).await.unwrap_err().retry, Retry::Permanent);

    let kick = MatrixAction::Kick {
        room: room(),
        actor: Actor::Bot,
        target: alice.clone(),
        reason: "refused by the hub".into(),
    };
    fake.asked();
    client.perform(&kick).await.unwrap();
    assert_eq!(fake.asked()[0].body(), json!({"user_id": alice, "reason": "refused by the hub"}));
    client.perform(&kick).await.unwrap();
    fake.with(|world| world.members.insert(alice.to_string(), "join".into()));
    fake.once("POST rooms kick", 403, json!({"errcode": "M_FORBIDDEN", "error": "no power"}));
    assert_eq!(client.perform(&kick).await.unwrap_err().retry, Retry::Permanent, "still in the room");
}

#[tokio::test]
async fn an_invitation_to_a_direct_chat_says_so() {
    let fake = Fake::start().await;
    let client = fake.client();
    let alice = UserId::parse("@alice:a.example").unwrap();
    let invite = MatrixAction::Invite { room: room(), actor: Actor::Bot, target: alice.clone(), is_direct: true };
    client.perform(&invite).await.unwrap();
    let asked = fake.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.path, ["rooms", ROOM, "state", "m.room.member", alice.as_str()]);
    assert_eq!(last.body(), json!({"membership": "invite", "is_direct": true}));
    // Who is in the room already is not asked again.
    fake.with(|world| world.members.insert(alice.to_string(), "join".into()));
    client.perform(&invite).await.unwrap();
    assert!(fake.asked().iter().all(|seen| seen.what() != "PUT rooms state"), "{:?}", fake.asked_words());
}

#[tokio::test]
async fn an_alias_is_taken_off_and_may_be_gone_already() {
    let fake = Fake::start().await;
    let client = fake.client();
    let action = MatrixAction::RemoveAlias { alias_localpart: "_mimi_portal".into() };
    client.perform(&action).await.unwrap();
    let asked = fake.asked();
    let last = asked.last().unwrap();
    assert_eq!(last.path, ["directory", "room", "#_mimi_portal:a.example"]);
    fake.once("DELETE directory room", 404, json!({"errcode": "M_NOT_FOUND", "error": "none"}));
    client.perform(&action).await.unwrap();
}

#[tokio::test]
async fn state_is_set_under_type_and_key() {
    let fake = Fake::start().await;
    let client = fake.client();
    for (key, tail) in [("", vec![]), ("k/1", vec!["k/1"])] {
        let action = MatrixAction::SetState {
            room: room(),
            actor: Actor::Bot,
            event_type: "m.bridge".into(),
            state_key: key.into(),
            content: "{}".into(),
            optional: false,
        };
        assert_eq!(event(&client.perform(&action).await.unwrap()), "$state");
        let asked = fake.asked();
        let last = asked.last().unwrap();
        assert_eq!(last.path[..4], ["rooms", ROOM, "state", "m.bridge"]);
        assert_eq!(last.path[4..], tail);
        assert_eq!(last.user(), BOT);
    }
}

#[tokio::test]
async fn a_ghosts_name_in_a_room_is_written_only_if_it_is_there_and_called_otherwise() {
    let fake = Fake::start().await;
    let client = fake.client();
    let name = MatrixAction::Name { room: room(), actor: bob(), name: "Bob (b.example)".into() };
    let written = |fake: &Fake| {
        let asked = fake.asked();
        asked.iter().find(|seen| seen.what() == "PUT rooms state m.room.member").map(super::fake_homeserver::Seen::body)
    };
    let member = |content: serde_json::Value| fake.once("GET rooms state m.room.member", 200, content);
    member(json!({"membership": "join", "displayname": "bob", "avatar_url": "mxc://a/b", "reason": "x"}));
    assert_eq!(client.perform(&name).await.unwrap(), MatrixDone::Done);
    let wanted = json!({"membership": "join", "displayname": "Bob (b.example)", "avatar_url": "mxc://a/b"});
    assert_eq!(written(&fake), Some(wanted));
    // A ghost that was put out does not come back by it.
    member(json!({"membership": "leave"}));
    assert_eq!(client.perform(&name).await.unwrap(), MatrixDone::Done);
    member(json!({"membership": "join", "displayname": "Bob (b.example)"}));
    assert_eq!(client.perform(&name).await.unwrap(), MatrixDone::Done);
    fake.once("GET rooms state m.room.member", 403, json!({"errcode": "M_FORBIDDEN", "error": "not in the room"}));
    assert_eq!(client.perform(&name).await.unwrap(), MatrixDone::Done);
    assert_eq!(written(&fake), None);
}

#[tokio::test]
async fn a_ghosts_picture_in_a_room_leaves_its_name_and_is_taken_away_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let wear = |place: Option<&str>| {
        let place = place.map(str::to_owned);
        MatrixAction::Portray { room: room(), actor: bob(), place }
    };
    let written = |fake: &Fake| {
        let asked = fake.asked();
        asked.iter().find(|seen| seen.what() == "PUT rooms state m.room.member").map(super::fake_homeserver::Seen::body)
    };
    let member = |content: serde_json::Value| fake.once("GET rooms state m.room.member", 200, content);
    member(json!({"membership": "join", "displayname": "Bob"}));
    assert_eq!(client.perform(&wear(Some("mxc://a/b"))).await.unwrap(), MatrixDone::Done);
    assert_eq!(written(&fake), Some(json!({"membership": "join", "displayname": "Bob", "avatar_url": "mxc://a/b"})));
    member(json!({"membership": "join", "displayname": "Bob", "avatar_url": "mxc://a/b"}));
    assert_eq!(client.perform(&wear(None)).await.unwrap(), MatrixDone::Done);
    assert_eq!(written(&fake), Some(json!({"membership": "join", "displayname": "Bob"})));
    member(json!({"membership": "leave"}));
    assert_eq!(client.perform(&wear(Some("mxc://a/b"))).await.unwrap(), MatrixDone::Done);
    assert_eq!(written(&fake), None);
}

#[tokio::test]
async fn reading_a_room() {
    let fake = Fake::start().await;
    let client = fake.client();
    fake.once("GET rooms messages", 200, json!({"chunk": [{"n": 3}, {"n": 2}], "start": "s", "end": "older"}));
    let page = client.timeline(&room(), &Actor::Bot, Some("from here"), 50).await.unwrap();
    let events: Vec<&str> = page.events.iter().map(|event| event.get()).collect();
    assert_eq!(events, [r#"{"n":2}"#, r#"{"n":3}"#], "oldest first");
    assert_eq!(page.older.as_deref(), Some("older"));
    let asked = fake.asked();
    let query = &asked[0].query;
    assert_eq!((query["dir"].as_str(), query["from"].as_str(), query["limit"].as_str()), ("b", "from here", "50"));
    fake.once("GET rooms messages", 200, json!({"chunk": [], "start": "s"}));
    assert_eq!(client.timeline(&room(), &Actor::Bot, None, 50).await.unwrap().older, None);

    fake.with(|world| world.state = vec![json!({"type": "m.room.name"})]);
    assert_eq!(client.room_state(&room()).await.unwrap().len(), 1);
    let joined = json!({"joined": {"@alice:a.example": {"display_name": "Alice"}, "@eve:a.example": {}}});
    fake.once("GET rooms joined_members", 200, joined);
    let mut members = client.joined_members(&room()).await.unwrap();
    members.sort_by(|a, b| a.user.cmp(&b.user));
    assert_eq!(
        members,
        [
            JoinedMember { user: UserId::parse("@alice:a.example").unwrap(), displayname: Some("Alice".into()) },
            JoinedMember { user: UserId::parse("@eve:a.example").unwrap(), displayname: None },
        ]
    );
}

#[tokio::test]
async fn what_is_not_found_is_no_error() {
    let fake = Fake::start().await;
    let client = fake.client();
    let alias = RoomAliasId::parse("#_mimi_x:a.example").unwrap();
    assert_eq!(client.resolve_alias(&alias).await.unwrap(), None);
    fake.with(|world| world.aliases.insert(alias.to_string(), ROOM.into()));
    assert_eq!(client.resolve_alias(&alias).await.unwrap(), Some(room()));
    let alice = UserId::parse("@alice:a.example").unwrap();
    assert!(!client.user_exists(&alice).await.unwrap());
    fake.with(|world| world.users.insert(alice.to_string(), None));
    assert!(client.user_exists(&alice).await.unwrap());
    fake.asked();
    assert!(!client.user_exists(&UserId::parse("@alice:elsewhere.example").unwrap()).await.unwrap());
    assert!(fake.asked().is_empty(), "other servers' users are not asked about");
}

#[tokio::test]
async fn start_up_checks() {
    let fake = Fake::start().await;
    let client = fake.client();
    fake.once("GET  _matrix client versions", 200, json!({"versions": ["v1.11"]}));
    assert_eq!(client.versions().await.unwrap(), ["v1.11"]);
    fake.once("GET account whoami", 200, json!({"user_id": BOT}));
    assert_eq!(client.whoami().await.unwrap(), BOT);
    fake.once("POST  _matrix client v1 appservice mimi-gateway ping", 200, json!({"duration_ms": 5}));
    fake.asked();
    client.ping("ping-1").await.unwrap();
    assert_eq!(fake.asked()[0].body(), json!({"transaction_id": "ping-1"}));
    let error = client.ping("ping-2").await.unwrap_err();
    assert_eq!(error.errcode.as_deref(), Some("M_UNRECOGNIZED"));
}

#[tokio::test]
async fn profiles_are_read_and_nobody_is_none() {
    let fake = Fake::start().await;
    fake.with(|world| world.users.insert("@alice:a.example".into(), Some("Alice".into())));
    let client = fake.client();
    let alice = UserId::parse("@alice:a.example").unwrap();
    assert_eq!(client.profile(&alice).await.unwrap().unwrap().displayname.as_deref(), Some("Alice"));
    assert_eq!(client.profile(&UserId::parse("@zoe:a.example").unwrap()).await.unwrap(), None);
    assert!(!client.has_admin());
    let asked = fake.asked().len();
    let error = client.user_reports(0, 10).await.unwrap_err();
    assert_eq!((error.retry, fake.asked().len()), (Retry::Permanent, 0), "without a token nobody is asked; {asked}");
}

#[tokio::test]
async fn the_administrators_token_is_shown_where_it_is_needed_and_nowhere_else() {
    let fake = Fake::start().await;
    let client = fake.admin_client();
    let alice = UserId::parse("@alice:a.example").unwrap();
    assert!(client.has_admin());
    let reports = "GET  _synapse admin v1 event_reports";
    fake.once(
        reports,
        200,
        json!({"event_reports": [{
            "id": 7, "received_ts": 1_700_000_000_123_u64, "room_id": ROOM, "event_id": "$e", "user_id": "@alice:a.example",
            "reason": null, "score": -100, "sender": BOB, "name": "Tea", "canonical_alias": null,
        }], "total": 1}),
    );
    let read = client.user_reports(90, 100).await.unwrap();
    assert_eq!((read[0].id, read[0].received, read[0].reason.as_str()), (7, 1_700_000_000_123, ""));
    let asked = fake.asked();
    assert_eq!(asked[0].auth.as_deref(), Some("Bearer admin-token"));
    assert_eq!((&*asked[0].query["dir"], &*asked[0].query["from"], &*asked[0].query["limit"]), ("b", "90", "100"));

    let account = "GET  _synapse admin v2 users";
    let ids = json!([
        {"medium": "msisdn", "address": "12125551212"},
        {"medium": "email", "address": "Alice@Mail.example"},
        {"medium": "fax", "address": "1"},
    ]);
    fake.once(account, 200, json!({"threepids": ids, "deactivated": false}));
    let contacts = client.contacts(&alice).await.unwrap().unwrap();
    assert_eq!((contacts.emails[0].as_str(), contacts.phones[0].as_str()), ("alice@mail.example", "+12125551212"));
    fake.once(account, 200, json!({"threepids": ids, "deactivated": true}));
    assert_eq!(client.contacts(&alice).await.unwrap(), None);
    fake.once(account, 404, json!({"errcode": "M_NOT_FOUND", "error": "User not found"}));
    assert_eq!(client.contacts(&alice).await.unwrap(), None);
    // A token that is refused is not taken for our own: those who look after that are not alarmed.
    fake.once(account, 401, json!({"errcode": "M_UNKNOWN_TOKEN", "error": "no"}));
    let error = client.contacts(&alice).await.unwrap_err();
    assert_eq!((error.retry, error.errcode), (Retry::Permanent, None));
    assert!(error.what.contains("homeserver.admin_token"), "{}", error.what);
    fake.asked();
    client.profile(&alice).await.unwrap();
    assert_eq!(fake.asked()[0].auth.as_deref(), Some("Bearer as-token"));
}
