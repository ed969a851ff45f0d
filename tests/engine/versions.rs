//! New versions of what is no text: polls and custom events, between gateways and elsewhere.

use std::sync::atomic::Ordering;

use ruma::RoomId;
use serde_json::{Value, json};

use crate::silo::{Silo, Two, until, until_true};

const START: &str = "org.matrix.msc3381.poll.start";
const RESPONSE: &str = "org.matrix.msc3381.poll.response";
const DICE: &str = "org.example.dice";

fn poll(question: &str, answers: &[(&str, &str)]) -> Value {
    let answer = |(id, text): &(&str, &str)| json!({ "id": id, "org.matrix.msc1767.text": text });
    json!({
        START: {
            "kind": "org.matrix.msc3381.poll.disclosed",
            "max_selections": 1,
            "question": { "org.matrix.msc1767.text": question },
            "answers": answers.iter().map(answer).collect::<Vec<_>>(),
        },
        "org.matrix.msc1767.text": question,
    })
}

/// As Element sends it: without anything beside the new content.
fn version(of: &str, new: &Value) -> Value {
    json!({ "m.new_content": new, "m.relates_to": { "rel_type": "m.replace", "event_id": of } })
}

fn vote(on: &str, answer: &str) -> Value {
    json!({ RESPONSE: { "answers": [answer] }, "m.relates_to": { "rel_type": "m.reference", "event_id": on } })
}

/// The event of this type that this field of its relation or content tells apart.
async fn shown(silo: &Silo, room: &RoomId, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let what = format!("an event of type {kind}");
    until(&what, || {
        silo.homeserver.events(room).into_iter().find(|event| event["type"] == kind && fits(&event["content"]))
    })
    .await
}

/// Without what a gateway adds.
fn bare(event: &Value) -> Value {
    let mut content = event["content"].clone();
    content.as_object_mut().unwrap().retain(|key, _| key != "im.mimi-gateway.message" && key != "m.mentions");
    content
}

async fn restart(silo: &Silo) {
    silo.stop().await;
    silo.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_edited_on_both_sides_and_votes_say_what_they_are_for() {
    let two = Two::new().await;
    two.a.net.gateways.store(true, Ordering::Relaxed);
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let first = a.send(&at_a, "a1", START, poll("Lunch?", &[("1", "Pizza"), ("2", "Soup")]));
    let there = shown(&two.b, &at_b, START, |content| content.get(START).is_some()).await;
    let there = there["event_id"].as_str().unwrap();
    // What was said before is known after a start.
    restart(&two.a).await;
    restart(&two.b).await;
    let new = poll("Dinner?", &[("3", "Rice"), ("4", "Beans")]);
    a.send(&at_a, "a1", START, version(first.as_str(), &new));
    let edited = shown(&two.b, &at_b, START, |content| content.get("m.new_content").is_some()).await;
    assert_eq!(bare(&edited), version(there, &new));
    assert_eq!(edited["sender"], *two.b.ghost(&two.a.uri("a1")));
    // What can be voted for is known with the answer to the send.
    two.b.until_all_sent().await;
    restart(&two.b).await;
    b.send(&at_b, "b1", RESPONSE, vote(there, "4"));
    // A counts the vote only if its text says what it is for.
    let voted = shown(&two.a, &at_a, RESPONSE, |_| true).await;
    assert_eq!(bare(&voted), vote(first.as_str(), "4"));
    // And a vote for what was there before, which was on its way.
    b.send(&at_b, "b1", RESPONSE, vote(there, "1"));
    shown(&two.a, &at_a, RESPONSE, |content| content[RESPONSE]["answers"][0] == "1").await;
    // A second version is one of the first, too.
    let newest = poll("Breakfast?", &[("3", "Rice")]);
    a.send(&at_a, "a1", START, version(first.as_str(), &newest));
    let again = shown(&two.b, &at_b, START, |content| content["m.new_content"] == newest).await;
    assert_eq!(again["content"]["m.relates_to"]["event_id"], *there);
    assert_eq!((a.bodies(&at_a), b.bodies(&at_b)), (vec![], vec![]), "nothing was told as a text");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_gateway_sees_the_text_edited_and_the_answer_of_a_vote() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let first = a.send(&at_a, "a1", START, poll("Lunch?", &[("1", "Pizza"), ("2", "Soup")]));
    let text = |body: &'static str| move |content: &Value| content["body"] == body;
    let there = shown(&two.b, &at_b, "m.room.message", text("[poll] Lunch?\n1. Pizza\n2. Soup")).await;
    a.send(&at_a, "a1", RESPONSE, vote(first.as_str(), "2"));
    let voted = shown(&two.b, &at_b, "m.room.message", text("[voted in a poll: Soup]")).await;
    assert_eq!(voted["content"]["m.relates_to"], json!({ "m.in_reply_to": { "event_id": there["event_id"] } }));
    let new = poll("Dinner?", &[("3", "Rice")]);
    a.send(&at_a, "a1", START, version(first.as_str(), &new));
    let edited = shown(&two.b, &at_b, "m.room.message", text("* [poll] Dinner?\n1. Rice")).await;
    assert_eq!(edited["content"]["m.relates_to"], json!({ "rel_type": "m.replace", "event_id": there["event_id"] }));
    assert_eq!(edited["content"]["m.new_content"]["body"], "[poll] Dinner?\n1. Rice");
    a.send(&at_a, "a1", RESPONSE, vote(first.as_str(), "3"));
    shown(&two.b, &at_b, "m.room.message", text("[voted in a poll: Rice]")).await;
    assert!(!b.events(&at_b).iter().any(|event| event["type"] == START || event["type"] == RESPONSE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_event_is_edited_byte_for_byte_and_by_its_own_type_alone() {
    let two = Two::new().await;
    two.a.net.gateways.store(true, Ordering::Relaxed);
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let first = a.send(&at_a, "a1", DICE, json!({ "body": "rolled a 6", "x": [1, null] }));
    let there = shown(&two.b, &at_b, DICE, |_| true).await;
    let new =
        json!({ "body": "rolled a 1", "x": [-1, { "deep": [true, null, "ü"] }], "formatted_body": "<b onclick=x>1" });
    a.send(&at_a, "a1", DICE, version(first.as_str(), &new));
    let edited = shown(&two.b, &at_b, DICE, |content| content.get("m.new_content").is_some()).await;
    assert_eq!(bare(&edited), version(there["event_id"].as_str().unwrap(), &new));
    // What clients would not show is told, and not sent.
    let text = json!({ "msgtype": "m.text", "body": "hi" });
    for kind in ["m.room.message", "org.example.card"] {
        let mut edit = version(first.as_str(), &text);
        edit["msgtype"] = json!("m.text");
        edit["body"] = json!("* hi");
        let before = a.notices(&at_a).len();
        a.send(&at_a, "a1", kind, edit);
        until_true("its sender is told", || {
            a.notices(&at_a).iter().skip(before).any(|text| text.contains("has to be of the same type"))
        })
        .await;
    }
    a.say(&at_a, "a1", "bye");
    until_true("bye", || two.b.homeserver.bodies(&at_b).contains(&"bye".to_owned())).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), ["bye"]);
}
