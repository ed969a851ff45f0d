//! Nothing that people do is lost without a word: it crosses, or they hear that it does not.

use std::time::Duration;

use mimi_gateway::engine::Keep;
use ruma::RoomId;
use serde_json::{Value, json};

use crate::silo::{Silo, Two, until_bodies, until_true};

/// The statuses of an event.
fn fates(silo: &Silo, room: &RoomId, event: &str) -> Vec<String> {
    let statuses = silo.homeserver.statuses(room, event);
    statuses.iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect()
}

async fn until_failed(silo: &Silo, room: &RoomId, event: &str) {
    until_true("it is told to have failed", || fates(silo, room, event) == ["FAIL_PERMANENT"]).await;
}

/// What people were told once.
pub(crate) fn once(silo: &Silo, room: &RoomId) -> Vec<String> {
    let mut notices = silo.homeserver.notices(room);
    notices.retain(|text| text.contains("(This is said once.)"));
    notices
}

fn reaction(to: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": to, "key": "👍" } })
}

/// The first of the gateway's notices.
fn notice(silo: &Silo, room: &RoomId) -> String {
    let notice = |event: &&Value| event["content"]["msgtype"] == "m.notice";
    let events = silo.homeserver.events(room);
    events.iter().find(notice).unwrap()["event_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_to_what_others_never_had_are_told_and_deletions_of_it_are_not() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let notice = notice(&two.a, &at_a);
    for _ in 0..2 {
        let liked = a.send(&at_a, "a1", "m.reaction", reaction(&notice));
        until_failed(&two.a, &at_a, &liked).await;
    }
    until_true("people are told", || !once(&two.a, &at_a).is_empty()).await;
    let told = once(&two.a, &at_a);
    assert!(told.len() == 1 && told[0].starts_with("@a1:a.test: ") && told[0].contains("reactions"), "{told:?}");
    // A reaction that means nothing is told as a message is.
    let broken = a.send(&at_a, "a1", "m.reaction", json!({ "m.relates_to": { "event_id": notice } }));
    until_failed(&two.a, &at_a, &broken).await;
    until_true("people are told", || {
        a.notices(&at_a).iter().any(|text| text.starts_with("A reaction of @a1:a.test was not sent"))
    })
    .await;
    let before = a.notices(&at_a).len();
    let removed = a.redact(&at_a, "a1", &notice);
    a.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["end"]).await;
    assert_eq!(fates(&two.a, &at_a, &removed), [""; 0]);
    assert_eq!(a.notices(&at_a).len(), before, "there was nothing to remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_other_types_that_do_not_cross_are_told() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    for _ in 0..2 {
        let image = a.send(&at_a, "a1", "m.image", json!({ "m.file": { "url": "mxc://a.test/cat" } }));
        until_failed(&two.a, &at_a, &image).await;
        assert_eq!(a.statuses(&at_a, &image)[0]["reason"], "com.beeper.unsupported_event");
    }
    until_true("people are told", || !once(&two.a, &at_a).is_empty()).await;
    let told = once(&two.a, &at_a);
    assert!(told.len() == 1 && told[0].contains("only Matrix clients"), "{told:?}");
    // What clients say to each other, and what was taken back before it was read, is nobody's loss.
    let before = a.notices(&at_a).len();
    let quiet = [
        a.send(&at_a, "a1", "m.call.candidates", json!({ "call_id": "1", "candidates": [] })),
        a.send(&at_a, "a1", "m.call.reject", json!({ "call_id": "1", "party_id": "x", "version": "1" })),
        a.send(&at_a, "a1", "org.matrix.msc4310.rtc.decline", json!({ "m.relates_to": {} })),
        a.send(&at_a, "a1", "m.room.message", json!({})),
    ];
    a.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["end"]).await;
    for event in quiet {
        assert_eq!(fates(&two.a, &at_a, &event), [""; 0]);
    }
    assert_eq!(a.notices(&at_a).len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forwards_a_message_of_theirs_hears_that_it_does_not_cross() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    b.say(&at_b, "b1", "pass it on");
    until_bodies(&two.a, &at_a, &["pass it on"]).await;
    let event = a.event(&at_a, "pass it on");
    let events = a.events(&at_a);
    let content = &events.iter().find(|seen| seen["event_id"] == event.as_str()).unwrap()["content"];
    let forwarded = a.send(&at_a, "a1", "m.room.message", content.clone());
    until_failed(&two.a, &at_a, &forwarded).await;
    until_true("people are told", || !once(&two.a, &at_a).is_empty()).await;
    assert!(once(&two.a, &at_a)[0].contains("send on"), "{:?}", once(&two.a, &at_a));
    a.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["pass it on", "end"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_of_what_was_forgotten_is_told() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let old = a.say(&at_a, "a1", "old").to_string();
    until_bodies(&two.b, &at_b, &["old"]).await;
    *two.a.keep.lock().unwrap() = Keep { days: 2, day: Duration::from_millis(60) };
    for _ in 0..2 {
        two.a.stop().await;
        two.a.start().await;
    }
    let since = std::time::Instant::now();
    while two.a.bytes().await.get("event").is_some_and(|size| *size > 0) {
        assert!(since.elapsed() < Duration::from_secs(30), "nothing is forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a.redact(&at_a, "a1", &old);
    until_true("people are told", || once(&two.a, &at_a).iter().any(|text| text.contains("do not know any more")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_a_spoiler_stays_covered() {
    let (two, _, at_a, at_b) = crate::media::two().await;
    let url = two.a.files().files.keep(b"the end");
    let mut picture = crate::media::picture(&url, 7);
    picture["page.codeberg.everypizza.msc4193.spoiler"] = json!(true);
    picture["page.codeberg.everypizza.msc4193.spoiler.reason"] = json!("the film");
    picture["info"]["thumbnail_url"] = json!(two.a.files().files.keep(b"small"));
    two.a.homeserver.send(&at_a, "a1", "m.room.message", picture);
    until_true("it is shown", || !crate::media::shown(&two.b, &at_b).is_empty()).await;
    let shown = crate::media::shown(&two.b, &at_b).remove(0);
    let content = &shown["content"];
    assert_eq!((&content["msgtype"], &content["body"]), (&json!("m.image"), &json!("Look")));
    assert_eq!(content["page.codeberg.everypizza.msc4193.spoiler"], true);
    assert_eq!(content["page.codeberg.everypizza.msc4193.spoiler.reason"], "the film");
    assert_eq!(content["info"].get("thumbnail_url"), None, "nothing shows it before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_that_the_senders_client_made_is_one_on_the_other_side() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let preview =
        json!([{ "matched_url": "https://a.example/", "og:url": "https://a.example/", "og:title": "A page" }]);
    let content = json!({ "msgtype": "m.text", "body": "see https://a.example/", "com.beeper.linkpreviews": preview });
    two.a.homeserver.send(&at_a, "a1", "m.room.message", content);
    until_bodies(&two.b, &at_b, &["see https://a.example/"]).await;
    let events = two.b.homeserver.events(&at_b);
    let shown = events.iter().find(|event| event["content"]["body"] == "see https://a.example/").unwrap();
    assert_eq!(shown["content"]["com.beeper.linkpreviews"], preview);
}
