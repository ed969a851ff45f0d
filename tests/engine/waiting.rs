//! Nobody's messages change their order while one of them waits for what it answers.

use std::time::Duration;

use mimi_gateway::{
    engine::ports::Endpoint,
    room::Telling,
    wire::{FanoutMessage, Wire as _},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::json;

use crate::{
    homeserver::Fault,
    later::{answer, quick, set, several, with_body, without_first},
    media::{bytes_of, picture, shown, two},
    silo::{Silo, Two, until_bodies, until_true},
};

const QUOTED: &str = "> [in reply to a message that is not here]\n\nyes";

/// Until these are shown, in this order.
async fn until_in_order(silo: &Silo, room: &RoomId, wanted: &[&str]) {
    until_bodies(silo, room, wanted).await;
    assert_eq!(silo.homeserver.bodies(room), wanted);
}

async fn a2_comes(two: &Two, at_a: &RoomId, at_b: &RoomId) {
    let a = &two.a.homeserver;
    a.invite(at_a, "a1", &a.user("a2"), false);
    a.join(at_a, "a2");
    a.say(at_a, "a2", "here");
    until_bodies(&two.b, at_b, &["here"]).await;
}

/// A1 says something that B never hears of; its event.
async fn lost(two: &Two, at_a: &RoomId, at_b: &RoomId) -> String {
    let a = &two.a.homeserver;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(without_first);
    let lost = a.say(at_a, "a1", "lost");
    a.say(at_a, "a1", "heard");
    two.a.start().await;
    until_bodies(&two.b, at_b, &["here", "heard"]).await;
    *two.a.net.rewrite.lock().unwrap() = None;
    lost.to_string()
}

/// B waits so long for what is answered; A1 and A2 are in, and something was lost.
async fn with_lost(answers: Duration) -> (Two, OwnedRoomId, OwnedRoomId, String) {
    let (two, _, at_a, at_b) = two().await;
    set(&two.b, Telling { late_answers: answers, ..quick() }).await;
    a2_comes(&two, &at_a, &at_b).await;
    let lost = lost(&two, &at_a, &at_b).await;
    (two, at_a, at_b, lost)
}

/// Somebody sends a picture, and says so with it; the event.
fn file(silo: &Silo, room: &RoomId, name: &str, said: &str, answers: Option<&str>) -> String {
    let url = silo.files().files.keep(said.as_bytes());
    let mut content = picture(&url, said.len());
    content["body"] = json!(said);
    if let Some(event) = answers {
        content["m.relates_to"] = json!({ "m.in_reply_to": { "event_id": event } });
    }
    silo.homeserver.send(room, name, "m.room.message", content)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_an_answer_stays_behind_it_though_the_room_stands_still_meanwhile() {
    let (two, at_a, at_b, lost) = with_lost(Duration::from_millis(50)).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    // B's homeserver takes nothing until the answer's time is over.
    *two.b.faults.lock().unwrap() = Box::new(|call| if call.contains("stuck") { Fault::Before } else { Fault::None });
    a.send(&at_a, "a1", "m.room.message", answer(&lost, "yes"));
    a.say(&at_a, "a2", "stuck");
    a.say(&at_a, "a1", "and then");
    until_true("the answer goes on behind what was said later", || two.b.engine().waiting_rows() >= 2).await;
    assert!(!b.bodies(&at_b).contains(&"and then".to_owned()));
    *two.b.faults.lock().unwrap() = Box::new(|_| Fault::None);
    until_in_order(&two.b, &at_b, &["here", "heard", "stuck", QUOTED, "and then"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_after_a_start_stays_behind_an_answer_of_before() {
    let (two, at_a, at_b, lost) = with_lost(Duration::from_secs(3)).await;
    let a = &two.a.homeserver;
    a.send(&at_a, "a1", "m.room.message", answer(&lost, "yes"));
    a.say(&at_a, "a2", "hello");
    until_in_order(&two.b, &at_b, &["here", "heard", "hello"]).await;
    two.b.stop().await;
    two.b.start().await;
    file(&two.a, &at_a, "a1", "a cat", None);
    a.say(&at_a, "a1", "and then");
    a.say(&at_a, "a2", "go on");
    until_in_order(&two.b, &at_b, &["here", "heard", "hello", "go on"]).await;
    // What has files waits over a start, too.
    two.b.stop().await;
    two.b.start().await;
    until_in_order(&two.b, &at_b, &["here", "heard", "hello", "go on", QUOTED, "a cat", "and then"]).await;
    assert_eq!(bytes_of(&two.b, &with_body(&two.b, &at_b, "a cat")), b"a cat");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_wait_for_what_they_answer_and_are_waited_for() {
    let (two, at_a, at_b, lost) = with_lost(Duration::from_millis(1500)).await;
    let a = &two.a.homeserver;
    let yes = a.send(&at_a, "a2", "m.room.message", answer(&lost, "yes"));
    file(&two.a, &at_a, "a2", "a dog", None);
    // A1 answers what waits itself.
    file(&two.a, &at_a, "a1", "a cat", Some(yes.as_str()));
    a.say(&at_a, "a1", "and then");
    let all = || two.b.homeserver.bodies(&at_b);
    until_true("all are there", || all().len() == 6).await;
    let of = |own: &[&str]| all().into_iter().filter(|body| own.contains(&body.as_str())).collect::<Vec<_>>();
    assert_eq!(of(&[QUOTED, "a dog"]), [QUOTED, "a dog"]);
    assert_eq!(of(&[QUOTED, "a cat", "and then"]), [QUOTED, "a cat", "and then"]);
    assert_eq!(shown(&two.b, &at_b).len(), 2);
    let (cat, target) = (with_body(&two.b, &at_b, "a cat"), two.b.homeserver.event(&at_b, QUOTED));
    assert_eq!(bytes_of(&two.b, &cat), b"a cat");
    assert_eq!(cat["content"]["m.relates_to"], json!({ "m.in_reply_to": { "event_id": target } }));
}

/// The first comes last.
fn rotated(endpoint: Endpoint, body: &[u8]) -> Option<Vec<u8>> {
    let mut messages = several(endpoint, body)?;
    messages.rotate_left(1);
    Some(messages.iter().flat_map(FanoutMessage::encode).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_a_message_that_is_refused_is_shown_at_once() {
    let (two, _, at_a, at_b) = two().await;
    set(&two.b, Telling { late_answers: Duration::from_hours(1), ..quick() }).await;
    a2_comes(&two, &at_a, &at_b).await;
    let a = &two.a.homeserver;
    *two.b.faults.lock().unwrap() =
        Box::new(|call| if call.contains("refuse me") { Fault::Refused } else { Fault::None });
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(rotated);
    let first = a.say(&at_a, "a1", "shall we?");
    a.send(&at_a, "a2", "m.room.message", answer(first.as_str(), "refuse me"));
    a.say(&at_a, "a2", "and then");
    two.a.start().await;
    until_in_order(&two.b, &at_b, &["here", "shall we?", "and then"]).await;
    // Nothing is left to wait for.
    a.say(&at_a, "a2", "bye");
    until_in_order(&two.b, &at_b, &["here", "shall we?", "and then", "bye"]).await;
}
