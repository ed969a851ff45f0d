//! What refers to other messages is shown whatever the homeserver thinks of it: in a thread, or beside it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use mimi_gateway::content::{Disposition, MessageId, MimiContent};
use serde_json::{Value, json};

use crate::{
    homeserver::{Fault, Faults},
    sight::Listener,
    silo::{Silo, Two, until},
};

/// The content of a message, once it is there, and its event's id.
async fn shown(silo: &Silo, room: &ruma::RoomId, body: &str) -> (Value, Value) {
    let find = || silo.homeserver.events(room).into_iter().find(|event| event["content"]["body"] == body);
    let event = until(&format!("“{body}”"), find).await;
    (event["content"].clone(), event["event_id"].clone())
}

fn about(topic: &[u8]) -> impl FnOnce(&mut MimiContent) {
    move |content| content.topic_id = topic.to_vec()
}

fn reacts(to: MessageId, topic: &[u8]) -> impl FnOnce(&mut MimiContent) {
    move |content| {
        content.in_reply_to = Some(to);
        content.topic_id = topic.to_vec();
        content.body.disposition = Disposition::Reaction;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_about_what_begins_no_thread_is_shown_all_the_same() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let first = listener.say(&two.a, "first", |_| {}).await;
    let inner = listener.say(&two.a, "inner", about(&first.0)).await;
    let plus = listener.say(&two.a, "+1", reacts(first, b"theirs")).await;
    // About a message within a thread: in the same thread.
    listener.say(&two.a, "deeper", about(&inner.0)).await;
    // About a reaction, and of a topic whose first message is one: the first text begins the thread.
    for (name, topic) in [("reaction", &plus.0[..]), ("theirs", b"theirs")] {
        listener.say(&two.a, &format!("{name} 1"), about(topic)).await;
        listener.say(&two.a, &format!("{name} 2"), about(topic)).await;
    }
    // An edit begins none either; what is about it is about the message.
    let edit = listener.say(&two.a, "first, again", |content| content.replaces = Some(first)).await;
    listener.say(&two.a, "about the edit", about(&edit.0)).await;
    // Who is answered is rung, and is told by their own server alone.
    let (a_asks, b_asks) = (two.a.homeserver.say(&at_a, "a1", "tea?"), "coffee?");
    two.b.homeserver.say(&at_b, "b1", b_asks);
    let (tea, coffee) = (listener.hear("tea?").await.id, listener.hear(b_asks).await.id);
    listener.say(&two.a, "yes", |content| content.in_reply_to = Some(tea)).await;
    listener.say(&two.a, "no", |content| content.in_reply_to = Some(coffee)).await;
    let yes = shown(&two.a, &at_a, "yes").await.0;
    assert_eq!(yes["m.relates_to"]["m.in_reply_to"]["event_id"], a_asks.as_str());
    assert_eq!(yes["m.mentions"]["user_ids"], json!([two.a.homeserver.user("a1")]));
    assert_eq!(shown(&two.b, &at_b, "yes").await.0["m.mentions"], json!({}));
    assert_eq!(shown(&two.b, &at_b, "no").await.0["m.mentions"]["user_ids"], json!([two.b.homeserver.user("b1")]));
    listener.say(&two.a, "last", |_| {}).await;
    shown(&two.a, &at_a, "last").await;
    let (_, root) = shown(&two.a, &at_a, "first").await;
    for body in ["inner", "deeper", "about the edit"] {
        let (content, _) = shown(&two.a, &at_a, body).await;
        assert_eq!(content["m.relates_to"]["event_id"], root, "{body}");
        assert_eq!(content["m.relates_to"]["rel_type"], "m.thread", "{body}");
    }
    for name in ["reaction", "theirs"] {
        let (one, begins) = shown(&two.a, &at_a, &format!("{name} 1")).await;
        assert_eq!(one.get("m.relates_to"), None, "{name}");
        let (two, _) = shown(&two.a, &at_a, &format!("{name} 2")).await;
        assert_eq!(two["m.relates_to"]["event_id"], begins, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_homeserver_refuses_for_its_relation_is_shown_without() {
    let refuses = Arc::new(AtomicBool::new(false));
    let relates = |call: &str| ["m.thread", "m.annotation", "m.replace"].iter().any(|kind| call.contains(kind));
    let strict = Arc::clone(&refuses);
    let fault = move |call: &str| {
        let refused = strict.load(Ordering::SeqCst) && call.starts_with("Send") && relates(call);
        if refused { Fault::Refused } else { Fault::None }
    };
    let faults: Faults = Arc::new(Mutex::new(Box::new(fault)));
    let two = Two::with(faults).await;
    let (at_a, _, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let first = listener.say(&two.a, "first", |_| {}).await;
    let (_, event) = shown(&two.a, &at_a, "first").await;
    refuses.store(true, Ordering::SeqCst);
    listener.say(&two.a, "inner", about(&first.0)).await;
    let answer = |content: &mut MimiContent| (content.in_reply_to, content.topic_id) = (Some(first), first.0.to_vec());
    listener.say(&two.a, "answer", answer).await;
    listener.say(&two.a, "+1", reacts(first, b"")).await;
    listener.say(&two.a, "better", |content| content.replaces = Some(first)).await;
    assert_eq!(shown(&two.a, &at_a, "inner").await.0.get("m.relates_to"), None);
    let relation = shown(&two.a, &at_a, "answer").await.0["m.relates_to"].clone();
    assert_eq!(relation, json!({ "m.in_reply_to": { "event_id": event } }));
    shown(&two.a, &at_a, "[reacted with +1]").await;
    shown(&two.a, &at_a, "* better").await;
    assert!(!two.a.homeserver.notices(&at_a).iter().any(|notice| notice.contains("not shown")));
}
