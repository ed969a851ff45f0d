//! Direct chats from beginning to end, and rooms that are let go: what people on both sides see.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mimi_gateway::{
    engine::{
        Engine,
        ports::{Endpoint, PathTarget},
    },
    wire::{ConsentAction, ConsentEntry, Wire as _},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::{
    attacks::{Rogue, consent},
    flow::until_room,
    homeserver::{Fault, Seen},
    permitted::{alone, ask},
    silo::{Net, PATIENCE, Silo, Two, bring, until, until_bodies, until_member, until_true},
};

/// A1 begins a direct chat with B1, who accepts: the room at A, and at B.
async fn chat(two: &Two) -> (OwnedRoomId, OwnedRoomId) {
    let at_a = two.a.homeserver.create_room("a1", "");
    two.a.homeserver.invite(&at_a, "a1", &two.a.ghost(&two.b.uri("b1")), true);
    let at_b = accept(two, &at_a).await;
    (at_a, at_b)
}

/// B1 accepts the invitation that there is: the room at B.
async fn accept(two: &Two, at_a: &RoomId) -> OwnedRoomId {
    let at_b = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&at_b, "b1");
    until_member(&two.a, at_a, &two.a.ghost(&two.b.uri("b1")), "join").await;
    at_b
}

/// Waits until the gateway said something with this text, so many times.
async fn until_told(silo: &Silo, room: &RoomId, text: &str, count: usize) {
    let told = || silo.homeserver.notices(room).iter().filter(|notice| notice.contains(text)).count();
    until_true(&format!("“{text}” {count} times"), || told() >= count).await;
    assert_eq!(told(), count, "{:?}", silo.homeserver.notices(room));
}

/// What was answered to an event.
fn answers_to(silo: &Silo, room: &RoomId, event: &str) -> Vec<Value> {
    let to = |event: &Value| event["content"]["m.relates_to"]["m.in_reply_to"]["event_id"].clone();
    silo.homeserver.events(room).into_iter().filter(|answer| to(answer) == json!(event)).collect()
}

/// Somebody writes into a chat that is over, and gets exactly one answer to it.
async fn writes_in_vain(silo: &Silo, room: &RoomId, name: &str, body: &str) {
    let event = silo.homeserver.say(room, name, body).to_string();
    let answers = || answers_to(silo, room, &event);
    until_true("an answer", || !answers().is_empty()).await;
    let answers = answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["sender"], json!(silo.homeserver.bot));
    assert!(answers[0]["content"]["body"].as_str().unwrap().starts_with("This was not delivered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_see_a_chat_of_two_and_hear_who_reads_along() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    b.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &at_a, &["hi"]).await;
    until_told(&two.a, &at_a, "Encryption towards MIMI ends at this gateway", 1).await;
    until_told(&two.b, &at_b, "Encryption towards MIMI ends at this gateway", 1).await;
    // At A there are two people: the other one's ghost speaks for the gateway, and says so.
    let ghost = two.a.ghost(&two.b.uri("b1"));
    assert_eq!(a.member(&at_a, a.bot.as_str()), None);
    let words = &a.notices(&at_a)[0];
    assert!(words.starts_with("[MIMI gateway, not b1 (b.example)] "), "{words}");
    assert_eq!(a.messages(&at_a), [Seen { sender: ghost.clone(), body: "hi".to_owned() }]);
    // At B the invitation says what it is, and the room has no name of its own.
    let invitation = |event: &&Value| event["content"]["membership"] == "invite" && event["state_key"] == b.user("b1");
    let events = b.events(&at_b);
    assert_eq!(events.iter().find(invitation).unwrap()["content"]["is_direct"], true);
    assert!(b.states(&at_b, "m.room.name").is_empty());
    // Bridges can tell that the room is taken, and by which conversation.
    let (at_a, at_b) = (a.states(&at_a, "m.bridge"), b.states(&at_b, "m.bridge"));
    assert_eq!(at_a[0]["channel"]["displayname"], "b1 (b.example)");
    assert_eq!(at_b[0]["channel"]["displayname"], "a1 (a.example)");
    assert_eq!(at_a[0]["channel"]["id"], at_b[0]["channel"]["id"]);
    assert_eq!((&at_a[0]["bridgebot"], &at_a[0]["protocol"]["id"]), (&json!(a.bot), &json!("mimi")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_invitation_is_one_to_a_direct_chat_too() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (at_a, ghost) = (a.create_room("a1", ""), two.a.ghost(&two.b.uri("b1")));
    a.invite(&at_a, "a1", &ghost, true);
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.leave(&at_b, "b1");
    a.kick(&at_a, "a1", &ghost);
    a.invite(&at_a, "a1", &ghost, true);
    let again = until("another", || b.invitations("b1").first().cloned()).await;
    assert_eq!(again, at_b);
    let events = b.events(&at_b);
    let last = events.iter().rfind(|event| event["content"]["membership"] == "invite").unwrap();
    assert_eq!(last["content"]["is_direct"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_leaves_and_a_new_chat_begins() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let uri = two.a.only_room().await;
    a.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    b.leave(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_member(&two.a, &at_a, &ghost, "leave").await;
    until_told(&two.a, &at_a, "b1 (b.example) left this chat", 1).await;
    until_member(&two.a, &at_a, a.bot.as_str(), "join").await;
    writes_in_vain(&two.a, &at_a, "a1", "two").await;
    two.a.stop().await;
    two.a.start().await;
    writes_in_vain(&two.a, &at_a, "a1", "three").await;
    // It is over on both sides, with nothing left behind.
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "leave").await;
    until_member(&two.b, &at_b, b.bot.as_str(), "leave").await;
    until_true("the portal's alias is taken away", || b.portal(&uri).is_none()).await;
    assert_eq!((a.states(&at_a, "m.bridge"), b.states(&at_b, "m.bridge")), (vec![json!({})], vec![json!({})]));
    // The ghost is invited again: another chat, in the same Matrix room at A. It need not say that it is one.
    a.invite(&at_a, "a1", &ghost, false);
    let anew = accept(&two, &at_a).await;
    assert_ne!(anew, at_b);
    a.say(&at_a, "a1", "again");
    until_bodies(&two.b, &anew, &["again"]).await;
    b.say(&anew, "b1", "gladly");
    until_true("A1 sees it", || a.bodies(&at_a).contains(&"gladly".to_owned())).await;
    until_member(&two.a, &at_a, a.bot.as_str(), "leave").await;
    assert_eq!(a.states(&at_a, "m.bridge").iter().filter(|content| **content != json!({})).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_and_leaves_before_the_bot_came_in_the_ghosts_place_is_answered() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let a = &two.a.homeserver;
    let tries = Arc::new(AtomicUsize::new(0));
    let (free, held) = (Arc::new(AtomicBool::new(false)), Arc::clone(&tries));
    let opened = Arc::clone(&free);
    *a.faults.lock().unwrap() = Box::new(move |call| {
        if !call.starts_with("Join") || !call.contains("Bot") || opened.load(Ordering::SeqCst) {
            return Fault::None;
        }
        held.fetch_add(1, Ordering::SeqCst);
        Fault::Before
    });
    two.b.homeserver.leave(&at_b, "b1");
    until_true("the bot would come", || tries.load(Ordering::SeqCst) > 0).await;
    let event = a.say(&at_a, "a1", "hello?").to_string();
    a.leave(&at_a, "a1");
    until_true("the gateway heard", || a.is_quiet()).await;
    let more = tries.load(Ordering::SeqCst) + 3;
    until_true("the bot still would", || tries.load(Ordering::SeqCst) >= more).await;
    assert!(answers_to(&two.a, &at_a, &event).is_empty());
    free.store(true, Ordering::SeqCst);
    until_true("an answer", || answers_to(&two.a, &at_a, &event).len() == 1).await;
    // Nobody is left whom it could answer.
    until_member(&two.a, &at_a, a.bot.as_str(), "leave").await;
    assert!(set_aside(&two.a).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_who_began_leaves() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let uri = two.a.only_room().await;
    b.say(&at_b, "b1", "one");
    until_bodies(&two.a, &at_a, &["one"]).await;
    a.leave(&at_a, "a1");
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "leave").await;
    until_told(&two.b, &at_b, "a1 (a.example) left this chat", 1).await;
    writes_in_vain(&two.b, &at_b, "b1", "two").await;
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    assert_eq!(b.member(&at_b, &b.user("b1")).as_deref(), Some("join"), "nobody puts B1 out");
    two.b.stop().await;
    two.b.start().await;
    writes_in_vain(&two.b, &at_b, "b1", "three").await;
    until_true("the portal's alias is taken away", || b.portal(&uri).is_none()).await;
    assert_eq!(a.bodies(&at_a), ["one"]);
    // B1 asks A1 back into what was the portal: now B hosts the chat.
    b.invite(&at_b, "b1", &two.b.ghost(&two.a.uri("a1")), true);
    let anew = until("an invitation", || a.invitations("a1").first().cloned()).await;
    a.join(&anew, "a1");
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "join").await;
    b.say(&at_b, "b1", "there you are");
    until_bodies(&two.a, &anew, &["there you are"]).await;
    // The last one of an ended chat leaves: nobody stays behind.
    a.leave(&anew, "a1");
    until_told(&two.b, &at_b, "left this chat", 2).await;
    until_member(&two.b, &at_b, b.bot.as_str(), "join").await;
    b.leave(&at_b, "b1");
    until_member(&two.b, &at_b, b.bot.as_str(), "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_the_other_leaves_arrives_or_is_answered() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    two.a.homeserver.leave(&at_a, "a1");
    for number in 0..10 {
        two.b.homeserver.say(&at_b, "b1", &format!("message {number}"));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let settled = || {
        let told = two.b.homeserver.notices(&at_b);
        let answers = |text: &str| told.iter().filter(|notice| notice.contains(text)).count();
        let arrived = two.a.homeserver.bodies(&at_a).len();
        arrived + answers("could not be delivered") + answers("This was not delivered") == 10
    };
    let since = std::time::Instant::now();
    while !settled() {
        let (arrived, told) = (two.a.homeserver.bodies(&at_a), two.b.homeserver.notices(&at_b));
        assert!(since.elapsed() < PATIENCE, "not each arrived or was answered: {arrived:?}, {told:?}");
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    until_room(&two.b, &two.a.only_room().await, "left").await;
    assert!(settled());
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_ends_it_by_a_word() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let uri = two.a.only_room().await;
    a.say(&at_a, "a1", "last words");
    a.say(&at_a, "a1", "!mimi unbridge");
    until_told(&two.a, &at_a, "This chat is over", 1).await;
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    assert_eq!(a.states(&at_a, "m.bridge"), [json!({})]);
    until_told(&two.b, &at_b, "a1 (a.example) left this chat", 1).await;
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    assert_eq!(b.bodies(&at_b), ["last words"]);
    assert_eq!(a.member(&at_a, &a.user("a1")).as_deref(), Some("join"));
    writes_in_vain(&two.b, &at_b, "b1", "wait!").await;
    // And the other side.
    a.invite(&at_a, "a1", &two.a.ghost(&two.b.uri("b1")), true);
    let at_b = accept(&two, &at_a).await;
    b.say(&at_b, "b1", "!mimi unbridge");
    until_told(&two.b, &at_b, "This chat is over", 1).await;
    until_told(&two.a, &at_a, "b1 (b.example) left this chat", 1).await;
    writes_in_vain(&two.b, &at_b, "b1", "to myself").await;
    writes_in_vain(&two.a, &at_a, "a1", "to myself").await;
    assert_eq!(b.member(&at_b, &b.user("b1")).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_ghost_ends_it_and_so_does_leaving_before_the_other_came() {
    let two = Two::new().await;
    let (at_a, at_b) = chat(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (uri, ghost) = (two.a.only_room().await, two.a.ghost(&two.b.uri("b1")));
    a.kick(&at_a, "a1", &ghost);
    until_told(&two.b, &at_b, "a1 (a.example) left this chat", 1).await;
    until_room(&two.a, &uri, "left").await;
    assert_eq!(a.member(&at_a, &ghost).as_deref(), Some("leave"));
    // B1 did not accept yet when A1 goes.
    let other = a.create_room("a1", "");
    a.invite(&other, "a1", &ghost, true);
    let portal = until("an invitation", || b.invitations("b1").first().cloned()).await;
    a.leave(&other, "a1");
    until_member(&two.b, &portal, &b.user("b1"), "leave").await;
    until_member(&two.a, &other, &ghost, "leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_to_one_who_said_no_is_told_and_a_new_chat_is_the_same_room() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let m = Rogue::new("m", &net);
    let asked = || m.fanned_to(Endpoint::RequestConsent);
    let desk = alone(&a, "a1").await;
    ask(&a, &desk, "a1", &format!("start-chat {}", m.uri("m1"))).await;
    let at_a = until("the room", || a.homeserver.invitations("a1").first().cloned()).await;
    a.homeserver.join(&at_a, "a1");
    until_true("M1 is asked", || asked().len() == 1).await;
    let uri = a.only_room().await;
    let waits = a.homeserver.say(&at_a, "a1", "waits");
    until_true("it is taken in", || a.homeserver.is_quiet()).await;
    assert!(a.homeserver.statuses(&at_a, waits.as_str()).is_empty());
    let body = consent(ConsentAction::Revoke, &a.uri("a1"), &m.uri("m1"), &uri);
    m.send(&a, Endpoint::UpdateConsent, &PathTarget::Domain(a.domain.clone()), &body).await.unwrap();
    until_told(&a, &at_a, "does not agree to be added", 1).await;
    let late = a.homeserver.say(&at_a, "a1", "late");
    until_told(&a, &at_a, "could not be delivered to the MIMI users: the other one is not in this chat", 2).await;
    for event in [waits, late] {
        until_true("a status", || !a.homeserver.statuses(&at_a, event.as_str()).is_empty()).await;
        let statuses = a.homeserver.statuses(&at_a, event.as_str());
        assert_eq!((statuses.len(), &statuses[0]["status"]), (1, &json!("FAIL_PERMANENT")), "{statuses:?}");
    }

    // A1 tries once more, and another one of the same two does not come beside it.
    let told = ask(&a, &desk, "a1", &format!("start-chat {}", m.uri("m1"))).await;
    assert!(told.contains("is asked. The room is ready"), "{told}");
    until_true("M1 is asked again", || asked().len() == 2).await;
    let rooms: Vec<_> = asked().iter().map(|body| ConsentEntry::decode(body).unwrap().room).collect();
    assert_eq!(rooms, [Some(uri.clone()), Some(uri.clone())]);
    assert_eq!(a.only_room().await, uri);
    writes_in_vain(&a, &at_a, "a1", "in the old one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_taken_back_and_made_elsewhere_leads_to_one_chat() {
    let two = Two::new().await;
    let (a, b, ghost) = (&two.a.homeserver, &two.b.homeserver, two.a.ghost(&two.b.uri("b1")));
    let first = a.create_room("a1", "");
    a.invite(&first, "a1", &ghost, true);
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    let uri = two.a.only_room().await;
    a.say(&first, "a1", "never mind");
    a.kick(&first, "a1", &ghost);
    until_member(&two.b, &at_b, &b.user("b1"), "leave").await;
    let second = a.create_room("a1", "");
    a.invite(&second, "a1", &ghost, true);
    let anew = accept(&two, &second).await;
    assert_eq!(two.a.only_room().await, uri);
    a.say(&second, "a1", "hello again");
    until_bodies(&two.b, &anew, &["hello again"]).await;
    b.say(&anew, "b1", "hi");
    until_bodies(&two.a, &second, &["hello again", "hi"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_without_power_begins_a_chat_all_the_same() {
    let two = Two::new().await;
    *two.a.homeserver.faults.lock().unwrap() = Box::new(|call| {
        let refused = call.starts_with("SetState") && call.contains("m.bridge");
        if refused { Fault::Refused } else { Fault::None }
    });
    let (at_a, at_b) = chat(&two).await;
    two.b.homeserver.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &at_a, &["hi"]).await;
    assert!(two.a.homeserver.states(&at_a, "m.bridge").is_empty());
    // It is no mishap that an operator has to look at.
    assert!(set_aside(&two.a).await.is_empty());
}

async fn set_aside(silo: &Silo) -> Vec<String> {
    let rows = Engine::set_aside_after(silo.engine().database(), None, 10).await.unwrap().0;
    rows.into_iter().map(|row| row.why).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_room_is_let_go() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let b = &two.b.homeserver;
    b.invite(&at_b, "b1", &b.user("b2"), false);
    b.join(&at_b, "b2");
    b.say(&at_b, "b2", "one");
    until_bodies(&two.a, &at_a, &["one"]).await;
    until_told(&two.b, &at_b, "Encryption towards MIMI ends at this gateway", 1).await;
    b.say(&at_b, "b1", "!mimi unbridge");
    until_told(&two.b, &at_b, "@b1:b.test ended the connection to MIMI: the MIMI users leave", 1).await;
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "leave").await;
    for name in ["b1", "b2"] {
        until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri(name)), "leave").await;
        assert_eq!(b.member(&at_b, &b.user(name)).as_deref(), Some("join"), "{name} stays in the Matrix room");
    }
    until_room(&two.b, &uri, "left").await;
    assert_eq!(b.states(&at_b, "m.bridge"), [json!({})]);
    assert_eq!(b.portal(&uri), None);
    // Who is asked in again comes into a new portal, and takes part.
    let again = bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    assert_ne!(again, at_b);
    b.say(&again, "b1", "two");
    until_bodies(&two.a, &at_a, &["one", "two"]).await;
    assert_eq!(b.states(&again, "m.bridge")[0]["channel"]["displayname"], "Tea");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_room_is_let_go_and_may_be_bridged_again() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let a = &two.a.homeserver;
    assert_eq!(a.states(&at_a, "m.bridge")[0]["channel"]["displayname"], "Tea");
    a.say(&at_a, "a1", "!mimi unbridge");
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "leave").await;
    until_member(&two.b, &at_b, &two.b.homeserver.user("b1"), "leave").await;
    until_room(&two.a, &uri, "left").await;
    until_true("m.bridge is empty", || a.states(&at_a, "m.bridge") == [json!({})]).await;
    a.say(&at_a, "a1", "!mimi bridge");
    until_told(&two.a, &at_a, "This room is mirrored as", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_of_two() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let at_a = a.create_room("a1", "");
    let (ghost_of_b1, ghost_of_b2) = (two.a.ghost(&two.b.uri("b1")), two.a.ghost(&two.b.uri("b2")));
    a.invite(&at_a, "a1", &ghost_of_b1, true);
    until("an invitation", || b.invitations("b1").first().cloned()).await;
    // Before B1 answered, and after.
    a.invite(&at_a, "a1", &ghost_of_b2, true);
    until_member(&two.a, &at_a, &ghost_of_b2, "leave").await;
    let at_b = accept(&two, &at_a).await;
    a.invite(&at_a, "a1", &ghost_of_b2, false);
    until_true("declined again", || {
        a.events(&at_a).iter().filter(|event| event["state_key"] == json!(ghost_of_b2)).count() == 4
    })
    .await;
    assert_eq!(a.member(&at_a, &ghost_of_b2).as_deref(), Some("leave"));
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b2")));
    until_told(&two.a, &at_a, "direct chat of two people", 3).await;
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    until_told(&two.a, &at_a, "is in here already", 1).await;
    assert!(b.invitations("b2").is_empty());
    // The bot has no place in it, and says so.
    a.invite(&at_a, "a1", a.bot.as_str(), false);
    until_member(&two.a, &at_a, a.bot.as_str(), "leave").await;
    b.say(&at_b, "b1", "just us");
    until_bodies(&two.a, &at_a, &["just us"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_comes_back_when_it_is_invited() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    a.kick(&at_a, "a1", a.bot.as_str());
    a.invite(&at_a, "a1", a.bot.as_str(), false);
    until_member(&two.a, &at_a, a.bot.as_str(), "join").await;
    until_told(&two.a, &at_a, "I am back", 1).await;
    a.say(&at_a, "a1", "!mimi status");
    until_told(&two.a, &at_a, "hosted here", 1).await;
    a.say(&at_a, "a1", "and on");
    until_bodies(&two.b, &at_b, &["and on"]).await;
}
