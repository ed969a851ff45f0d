//! Live locations: one message on the other side, whatever happens in between.

use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    quiet::once,
    silo::{Silo, Two, until_true},
};

fn place(start: &str, uri: &str) -> Value {
    json!({
        "m.relates_to": { "rel_type": "m.reference", "event_id": start },
        "org.matrix.msc3488.location": { "uri": uri }, "org.matrix.msc3488.ts": 1,
    })
}

const INFO: &str = "org.matrix.msc3672.beacon_info";
const BEACON: &str = "org.matrix.msc3672.beacon";

/// What each message of a room says, and whether it edits one.
fn said(silo: &Silo, room: &RoomId) -> Vec<(String, bool)> {
    let events = silo.homeserver.events(room);
    let messages = events.iter().filter(|event| {
        event["type"] == "m.room.message"
            && event["content"].get("im.mimi-gateway.message").is_some_and(|mark| mark != &json!({}))
    });
    let edits = |event: &Value| event["content"]["m.relates_to"]["rel_type"] == "m.replace";
    messages.map(|event| (event["content"]["body"].as_str().unwrap().to_owned(), edits(event))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_location_is_one_message_that_is_edited_now_and_then() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let info = |live: bool| json!({ "description": "Walk", "live": live, "timeout": 3_600_000, "org.matrix.msc3488.ts": 48_600_000 });
    let start = a.set_own(&at_a, "a1", INFO, info(true));
    for step in 0..20 {
        a.send(&at_a, "a1", BEACON, place(&start, &format!("geo:1,{step}")));
    }
    until_true("it began", || said(&two.b, &at_b).len() == 2).await;
    a.set_own(&at_a, "a1", INFO, info(false));
    // What comes late, and what says again that it is over, is nobody's news.
    a.send(&at_a, "a1", BEACON, place(&start, "geo:9,9"));
    a.set_own(&at_a, "a1", INFO, info(false));
    a.say(&at_a, "a1", "there");
    until_true("all came", || said(&two.b, &at_b).last().is_some_and(|(body, _)| body == "there")).await;
    let expected = [
        ("[live location until 14:30 UTC] Walk", false),
        ("* [live location until 14:30 UTC] Walk\ngeo:1,0", true),
        ("* [live location, ended] Walk\ngeo:1,19", true),
        ("there", false),
    ];
    assert_eq!(said(&two.b, &at_b), expected.map(|(body, edits)| (body.to_owned(), edits)));
    assert_eq!(once(&two.a, &at_a), [""; 0], "nothing of it is lost");
}

async fn restart(silo: &Silo) {
    silo.stop().await;
    silo.start().await;
}

fn hour(live: bool) -> Value {
    json!({ "live": live, "timeout": u64::MAX })
}

/// Whether a message was taken away.
fn is_gone(silo: &Silo, room: &RoomId) -> usize {
    silo.homeserver.events(room).iter().filter(|event| event["type"] == "m.room.redaction").count()
}

async fn until_said(silo: &Silo, room: &RoomId, expected: &[(&str, bool)]) {
    let expected: Vec<(String, bool)> = expected.iter().map(|(body, edits)| ((*body).to_owned(), *edits)).collect();
    until_true(&format!("{expected:?}"), || said(silo, room).last() == expected.last()).await;
    assert_eq!(said(silo, room), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_location_goes_on_and_ends_as_it_began_whatever_restarts() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let start = a.set_own(&at_a, "a1", INFO, hour(true));
    until_true("it began", || said(&two.b, &at_b).len() == 1).await;
    restart(&two.a).await;
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,2"));
    until_true("it goes on", || said(&two.b, &at_b).len() == 2).await;
    restart(&two.a).await;
    // Too soon for an edit of its own.
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,3"));
    until_true("A took it in", || a.is_quiet()).await;
    restart(&two.a).await;
    a.set_own(&at_a, "a1", INFO, hour(false));
    until_true("it ended", || said(&two.b, &at_b).len() == 3).await;
    restart(&two.a).await;
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,4"));
    a.set_own(&at_a, "a1", INFO, hour(false));
    a.say(&at_a, "a1", "there");
    let expected = [
        ("[live location]", false),
        ("* [live location]\ngeo:1,2", true),
        ("* [live location, ended]\ngeo:1,3", true),
        ("there", false),
    ];
    until_said(&two.b, &at_b, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_said_of_a_live_location_that_was_deleted() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let start = a.set_own(&at_a, "a1", INFO, hour(true));
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,2"));
    until_true("it is told", || said(&two.b, &at_b).len() == 2).await;
    a.redact(&at_a, "a1", &start);
    until_true("it is taken away", || is_gone(&two.b, &at_b) == 1).await;
    let before = said(&two.b, &at_b);
    // Its app goes on.
    a.send(&at_a, "a1", BEACON, place(&start, "geo:6,6"));
    restart(&two.a).await;
    a.send(&at_a, "a1", BEACON, place(&start, "geo:7,7"));
    a.set_own(&at_a, "a1", INFO, hour(false));
    a.say(&at_a, "a1", "there");
    until_true("all came", || said(&two.b, &at_b).last().is_some_and(|(body, _)| body == "there")).await;
    assert_eq!(said(&two.b, &at_b).len(), before.len() + 1, "{:?}", said(&two.b, &at_b));
    assert!(two.b.homeserver.events(&at_b).iter().all(|event| !event.to_string().contains("geo:6")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_another_replaces_is_told_to_be_over() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    // The beginning of the first was not seen.
    a.send(&at_a, "a1", BEACON, place("$before:a.test", "geo:3,4"));
    a.send(&at_a, "a1", BEACON, place("$before:a.test", "geo:3,5"));
    until_true("it is told", || said(&two.b, &at_b).len() == 1).await;
    restart(&two.a).await;
    let second = a.set_own(&at_a, "a1", INFO, json!({ "live": true, "description": "second" }));
    a.send(&at_a, "a1", BEACON, place("$before:a.test", "geo:9,9"));
    a.send(&at_a, "a1", BEACON, place(&second, "geo:1,2"));
    a.say(&at_a, "a1", "there");
    let expected = [
        ("[live location]\ngeo:3,4", false),
        ("* [live location, ended]\ngeo:3,5", true),
        ("[live location] second", false),
        ("* [live location] second\ngeo:1,2", true),
        ("there", false),
    ];
    until_said(&two.b, &at_b, &expected).await;
    // What was not seen to begin can be taken back, too.
    a.redact(&at_a, "a1", "$before:a.test");
    until_true("it is taken away", || is_gone(&two.b, &at_b) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_taken_back_is_taken_from_others() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let start = a.set_own(&at_a, "a1", INFO, hour(true));
    let told = a.send(&at_a, "a1", BEACON, place(&start, "geo:1,1"));
    until_true("it is told", || said(&two.b, &at_b).len() == 2).await;
    // Others have it: the message goes, and another one begins.
    a.redact(&at_a, "a1", &told);
    until_true("it begins anew", || is_gone(&two.b, &at_b) == 1 && last(&two.b, &at_b) == "[live location]").await;
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,2"));
    until_true("a place", || last(&two.b, &at_b) == "* [live location]\ngeo:1,2").await;
    // Others do not have these yet: the first is forgotten, the second is the last.
    let forgotten = a.send(&at_a, "a1", BEACON, place(&start, "geo:1,3"));
    a.redact(&at_a, "a1", &forgotten);
    until_true("A took it in", || a.is_quiet()).await;
    restart(&two.a).await;
    let end = a.send(&at_a, "a1", BEACON, place(&start, "geo:1,4"));
    a.set_own(&at_a, "a1", INFO, hour(false));
    until_true("the end", || last(&two.b, &at_b) == "* [live location, ended]\ngeo:1,4").await;
    assert!(two.b.homeserver.events(&at_b).iter().all(|event| !event.to_string().contains("geo:1,3")));
    // It was said by the event that ended it all.
    a.redact(&at_a, "a1", &end);
    until_true("it is taken away", || is_gone(&two.b, &at_b) == 2).await;
    assert_eq!(once(&two.a, &at_a), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_only_claims_to_have_begun_stands_for_nothing() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    // It may be anybody's message from before.
    let told = a.send(&at_a, "a2", BEACON, place("$before:a.test", "geo:3,4"));
    until_true("it is told", || said(&two.b, &at_b).len() == 1).await;
    let shown = b.events(&at_b).into_iter().find(|event| event.to_string().contains("geo:3,4")).unwrap();
    b.reply(&at_b, "b1", shown["event_id"].as_str().unwrap(), "nice");
    let answers = || a.events(&at_a).into_iter().find(|event| event["content"]["body"] == "nice");
    until_true("the answer comes", || answers().is_some()).await;
    assert_eq!(answers().unwrap()["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], told);
    // Whose message that is deletes their own, and nothing of the other's.
    a.redact(&at_a, "a1", "$before:a.test");
    a.say(&at_a, "a1", "gone");
    a.set_own(&at_a, "a2", INFO, hour(false));
    let expected = [("[live location]\ngeo:3,4", false), ("gone", false), ("* [live location, ended]\ngeo:3,4", true)];
    until_true("all came", || said(&two.b, &at_b).len() == expected.len()).await;
    assert_eq!(said(&two.b, &at_b), expected.map(|(body, edits)| (body.to_owned(), edits)));
    assert_eq!(is_gone(&two.b, &at_b), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_delete_what_others_say_ends_no_live_location_of_theirs() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    let start = a.set_own(&at_a, "a1", INFO, hour(true));
    let told = a.send(&at_a, "a1", BEACON, place(&start, "geo:1,2"));
    until_true("it is told", || said(&two.b, &at_b).len() == 2).await;
    a.redact(&at_a, "a2", &start);
    a.redact(&at_a, "a2", &told);
    let kept = || a.notices(&at_a).iter().filter(|text| text.contains("Others in the MIMI room keep it")).count();
    until_true("A2 is told", || kept() == 2).await;
    a.send(&at_a, "a1", BEACON, place(&start, "geo:1,3"));
    // Others do not have this one, and do not get it.
    let untold = a.send(&at_a, "a1", BEACON, place(&start, "geo:1,4"));
    a.redact(&at_a, "a2", &untold);
    a.set_own(&at_a, "a1", INFO, hour(false));
    until_true("the end", || said(&two.b, &at_b).len() == 3).await;
    assert_eq!(last(&two.b, &at_b), "* [live location, ended]");
    assert_eq!(is_gone(&two.b, &at_b), 0);
}

fn last(silo: &Silo, room: &RoomId) -> String {
    said(silo, room).pop().map(|(body, _)| body).unwrap_or_default()
}
