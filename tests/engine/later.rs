//! What time does: messages that disappear, and messages that come before what they refer to.

use std::time::Duration;

use mimi_gateway::{
    engine::{Keep, ports::Endpoint},
    room::Telling,
    wire::{FanoutContent, FanoutMessage, Wire as _},
};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    homeserver::Fault,
    silo::{Silo, Two, until, until_bodies, until_true},
};

pub(crate) fn millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn vanishing(body: &str, key: &str, value: Value) -> Value {
    json!({ "msgtype": "m.text", "body": body, key: value })
}

fn after_reading(body: &str) -> Value {
    vanishing(body, "com.beeper.disappearing_timer", json!({ "type": "after_read", "timer": 1000 }))
}

/// Who removed an event.
fn removed_by(silo: &Silo, room: &RoomId, event: &str) -> Vec<String> {
    let events = silo.homeserver.events(room).into_iter();
    let redactions = events.filter(|seen| seen["type"] == "m.room.redaction" && seen["content"]["redacts"] == event);
    redactions.map(|redaction| redaction["sender"].as_str().unwrap().to_owned()).collect()
}

async fn until_removed(silo: &Silo, room: &RoomId, event: &str, by: &str) {
    until_true("it is removed", || !removed_by(silo, room, event).is_empty()).await;
    assert_eq!(removed_by(silo, room, event), [by]);
}

pub(crate) async fn set(silo: &Silo, telling: Telling) {
    *silo.telling.lock().unwrap() = telling;
    silo.stop().await;
    silo.start().await;
}

/// B2 comes as well, and reading is told soon.
async fn b2_comes(two: &Two, at_a: &RoomId, at_b: &RoomId) {
    set(&two.b, quick()).await;
    let b = &two.b.homeserver;
    b.invite(at_b, "b1", &b.user("b2"), false);
    b.join(at_b, "b2");
    b.say(at_b, "b2", "here");
    until_bodies(&two.a, at_a, &["here"]).await;
}

pub(crate) fn quick() -> Telling {
    Telling {
        gather_reads: Duration::from_millis(20),
        late_targets: Duration::from_millis(400),
        late_answers: Duration::from_millis(400),
        ..Telling::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_on_both_sides_when_its_time_has_come_even_over_a_restart() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let at = json!(millis() + 2000);
    let said =
        two.a.homeserver.send(&at_a, "a1", "m.room.message", vanishing("gone", "org.matrix.self_destruct_after", at));
    two.a.homeserver.say(&at_a, "a1", "stays");
    until_bodies(&two.b, &at_b, &["gone", "stays"]).await;
    let shown = two.b.homeserver.event(&at_b, "gone");
    assert_eq!(removed_by(&two.b, &at_b, &shown), [""; 0]);
    two.b.stop().await;
    two.b.start().await;
    until_removed(&two.b, &at_b, &shown, &two.b.ghost(&two.a.uri("a1"))).await;
    until_removed(&two.a, &at_a, said.as_str(), two.a.homeserver.bot.as_str()).await;
    assert_eq!(removed_by(&two.b, &at_b, &two.b.homeserver.event(&at_b, "stays")), [""; 0]);
    // It is done once, and the redactions of ours are no deletions.
    two.b.homeserver.say(&at_b, "b1", "bye");
    until_bodies(&two.a, &at_a, &["gone", "stays", "bye"]).await;
    assert_eq!((removed_by(&two.a, &at_a, said.as_str()).len(), removed_by(&two.b, &at_b, &shown).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_from_reading_waits_for_all_who_are_here() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    b2_comes(&two, &at_a, &at_b).await;
    let said = two.a.homeserver.send(&at_a, "a1", "m.room.message", after_reading("read me"));
    until_bodies(&two.b, &at_b, &["here", "read me"]).await;
    let shown = b.event(&at_b, "read me");
    // At A nobody else is there to read it.
    until_removed(&two.a, &at_a, said.as_str(), two.a.homeserver.bot.as_str()).await;
    // Which event a message is comes with the answer to the send.
    two.b.until_all_sent().await;
    b.read(&at_b, "b1", &shown, "m.read");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(removed_by(&two.b, &at_b, &shown), [""; 0], "B2 has not read it");
    b.read(&at_b, "b2", &shown, "m.read");
    until_removed(&two.b, &at_b, &shown, &two.b.ghost(&two.a.uri("a1"))).await;
    // Both at once, too.
    two.a.homeserver.send(&at_a, "a1", "m.room.message", after_reading("and me"));
    until_true("it is shown", || b.events(&at_b).iter().any(|event| event["content"]["body"] == "and me")).await;
    let shown = b.event(&at_b, "and me");
    two.b.until_all_sent().await;
    for reader in ["b1", "b2"] {
        b.read(&at_b, reader, &shown, "m.read");
    }
    until_removed(&two.b, &at_b, &shown, &two.b.ghost(&two.a.uri("a1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_hear_once_that_messages_stay_which_the_bot_may_not_remove() {
    let two = Two::new().await;
    let (at_a, _, _) = two.room().await;
    *two.a.faults.lock().unwrap() =
        Box::new(|call| if call.contains("m.room.redaction") { Fault::Refused } else { Fault::None });
    for body in ["one", "two"] {
        two.a.homeserver.send(&at_a, "a1", "m.room.message", after_reading(body));
    }
    let told = || two.a.homeserver.notices(&at_a).into_iter().filter(|text| text.contains("disappear")).count();
    until_true("a notice", || told() > 0).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(told(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_after_its_time_goes_at_once() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    // B's homeserver takes nothing for a while.
    *two.b.faults.lock().unwrap() =
        Box::new(|call| if call.contains("too late") { Fault::Before } else { Fault::None });
    let at = json!(millis() + 300);
    two.a.homeserver.send(&at_a, "a1", "m.room.message", vanishing("too late", "org.matrix.self_destruct_after", at));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    two.b.stop().await;
    two.b.start().await;
    *two.b.faults.lock().unwrap() = Box::new(|_| Fault::None);
    until_bodies(&two.b, &at_b, &["too late"]).await;
    let shown = two.b.homeserver.event(&at_b, "too late");
    until_removed(&two.b, &at_b, &shown, &two.b.ghost(&two.a.uri("a1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_not_waited_for() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    b2_comes(&two, &at_a, &at_b).await;
    two.a.homeserver.send(&at_a, "a1", "m.room.message", after_reading("read me"));
    until_bodies(&two.b, &at_b, &["here", "read me"]).await;
    let shown = b.event(&at_b, "read me");
    two.b.until_all_sent().await;
    b.read(&at_b, "b1", &shown, "m.read");
    tokio::time::sleep(Duration::from_millis(300)).await;
    b.leave(&at_b, "b2");
    until_removed(&two.b, &at_b, &shown, &two.b.ghost(&two.a.uri("a1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_very_many_that_nobody_reads_the_oldest_go() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.b.stop().await;
    two.b.most_unread.store(5, std::sync::atomic::Ordering::Relaxed);
    two.b.start().await;
    let bodies: Vec<String> = (0..8).map(|n| format!("number {n}")).collect();
    for body in &bodies {
        two.a.homeserver.send(&at_a, "a1", "m.room.message", after_reading(body));
        until_true("B has it", || two.b.homeserver.bodies(&at_b).contains(body)).await;
    }
    let event = |body: &String| two.b.homeserver.event(&at_b, body);
    for oldest in &bodies[..2] {
        until_removed(&two.b, &at_b, &event(oldest), &two.b.ghost(&two.a.uri("a1"))).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for newest in &bodies[4..] {
        assert!(removed_by(&two.b, &at_b, &event(newest)).is_empty(), "{newest} is waited for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_outlives_what_recognises_repeats() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let at = json!(millis() + 4000);
    two.a.homeserver.send(&at_a, "a1", "m.room.message", vanishing("gone", "org.matrix.self_destruct_after", at));
    let unread = after_reading("never read");
    two.a.homeserver.send(&at_a, "a1", "m.room.message", unread);
    until_bodies(&two.b, &at_b, &["gone", "never read"]).await;
    let events = ["gone", "never read"].map(|body| two.b.homeserver.event(&at_b, body));
    two.b.stop().await;
    *two.b.keep.lock().unwrap() = Keep { days: 2, day: Duration::from_millis(60) };
    two.b.start().await;
    // What nobody reads in all that time goes, too.
    for event in &events {
        until_removed(&two.b, &at_b, event, &two.b.ghost(&two.a.uri("a1"))).await;
    }
}

/// Whether a body has several messages, and they are no handshakes.
pub(crate) fn several(endpoint: Endpoint, body: &[u8]) -> Option<Vec<FanoutMessage>> {
    let messages = FanoutMessage::decode_all(body).ok().filter(|_| endpoint == Endpoint::Notify)?;
    let all = messages.iter().all(|message| matches!(message.content, FanoutContent::Application { .. }));
    (messages.len() > 1 && all).then_some(messages)
}

/// What was said last comes first.
fn reversed(endpoint: Endpoint, body: &[u8]) -> Option<Vec<u8>> {
    let messages = several(endpoint, body)?;
    Some(messages.iter().rev().flat_map(FanoutMessage::encode).collect())
}

/// The first never comes.
pub(crate) fn without_first(endpoint: Endpoint, body: &[u8]) -> Option<Vec<u8>> {
    let messages = several(endpoint, body)?;
    Some(messages.iter().skip(1).flat_map(FanoutMessage::encode).collect())
}

fn edit(of: &str, text: &str) -> Value {
    let new = json!({ "msgtype": "m.text", "body": text });
    let relation = json!({ "rel_type": "m.replace", "event_id": of });
    json!({ "msgtype": "m.text", "body": format!("* {text}"), "m.new_content": new, "m.relates_to": relation })
}

fn reaction(to: &str) -> Value {
    json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": to, "key": "👍" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_a_later_message_is_done_when_that_comes() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(reversed);
    let first = a.say(&at_a, "a1", "tee");
    a.send(&at_a, "a1", "m.reaction", reaction(first.as_str()));
    a.send(&at_a, "a1", "m.room.message", edit(first.as_str(), "tea"));
    let second = a.say(&at_a, "a1", "nonsense");
    a.redact(&at_a, "a1", second.as_str());
    two.a.start().await;
    let b = &two.b.homeserver;
    let of = |kind: &'static str, target: String| {
        move |seen: &Value| {
            let relation = &seen["content"]["m.relates_to"]["event_id"];
            seen["type"] == kind && (*relation == *target || seen["content"]["redacts"] == *target)
        }
    };
    until_true("both are there", || {
        ["tee", "nonsense"].iter().all(|body| b.bodies(&at_b).contains(&(*body).to_owned()))
    })
    .await;
    let shown = b.event(&at_b, "tee");
    let find = |wanted: &dyn Fn(&Value) -> bool| b.events(&at_b).into_iter().find(|event| wanted(event));
    until("the reaction", || find(&of("m.reaction", shown.clone()))).await;
    let edited = until("the edit", || find(&of("m.room.message", shown.clone()))).await;
    assert_eq!(edited["content"]["m.new_content"]["body"], "tea");
    let deleted = b.event(&at_b, "nonsense");
    until("the deletion", || find(&of("m.room.redaction", deleted.clone()))).await;
    // Nothing was told as a message of its own.
    let mut bodies = b.bodies(&at_b);
    bodies.sort();
    assert_eq!(bodies, ["* tea", "nonsense", "tee"]);
    assert!(!b.notices(&at_b).iter().any(|text| text.starts_with('[')), "{:?}", b.notices(&at_b));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refers_to_is_not_waited_for_without_end() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.b, quick()).await;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(without_first);
    let first = two.a.homeserver.say(&at_a, "a1", "lost");
    two.a.homeserver.send(&at_a, "a1", "m.room.message", edit(first.as_str(), "never seen"));
    two.a.start().await;
    // It waits over a restart, too.
    tokio::time::sleep(Duration::from_millis(150)).await;
    two.b.stop().await;
    two.b.start().await;
    until_bodies(&two.b, &at_b, &["* never seen"]).await;
    let shown = two.b.homeserver.events(&at_b);
    let edit = shown.iter().find(|event| event["content"]["body"] == "* never seen").unwrap();
    assert_eq!(edit["content"].get("m.relates_to"), None);
}

pub(crate) fn answer(to: &str, text: &str) -> Value {
    json!({ "msgtype": "m.text", "body": text, "m.relates_to": { "m.in_reply_to": { "event_id": to } } })
}

pub(crate) fn with_body(silo: &Silo, room: &RoomId, body: &str) -> Value {
    silo.homeserver.events(room).into_iter().find(|event| event["content"]["body"] == body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_points_at_what_it_answers_even_if_that_comes_later() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(reversed);
    // B has them in the other order: "yes" and what it answers last.
    let first = a.say(&at_a, "a1", "shall we?");
    let second = a.send(&at_a, "a1", "m.room.message", answer(first.as_str(), "yes"));
    a.send(&at_a, "a1", "m.room.message", answer(second.as_str(), "good"));
    two.a.start().await;
    until_bodies_in_any_order(&two.b, &at_b, &["good", "shall we?", "yes"]).await;
    for (body, answered) in [("yes", "shall we?"), ("good", "yes")] {
        let target = two.b.homeserver.event(&at_b, answered);
        let relation = json!({ "m.in_reply_to": { "event_id": target } });
        assert_eq!(with_body(&two.b, &at_b, body)["content"]["m.relates_to"], relation, "{body}");
    }
}

async fn until_bodies_in_any_order(silo: &Silo, room: &RoomId, wanted: &[&str]) {
    until_true("all are there", || {
        let mut bodies = silo.homeserver.bodies(room);
        bodies.sort();
        bodies == wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_a_moment_and_what_its_sender_says_next_stays_behind_it() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let waits = Telling { late_answers: Duration::from_millis(1500), ..quick() };
    set(&two.b, waits).await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    a.say(&at_a, "a2", "here");
    until_bodies(&two.b, &at_b, &["here"]).await;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(without_first);
    let lost = a.say(&at_a, "a1", "lost");
    a.send(&at_a, "a1", "m.room.message", answer(lost.as_str(), "yes"));
    a.say(&at_a, "a1", "and then");
    a.say(&at_a, "a2", "of somebody else");
    two.a.start().await;
    // Nobody else waits.
    until_bodies(&two.b, &at_b, &["here", "of somebody else"]).await;
    let quoted = "> [in reply to a message that is not here]\n\nyes";
    until_bodies(&two.b, &at_b, &["here", "of somebody else", quoted, "and then"]).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), ["here", "of somebody else", quoted, "and then"]);
    assert_eq!(with_body(&two.b, &at_b, quoted)["content"].get("m.relates_to"), None);
    // The next answer to that one does not wait.
    *two.a.net.rewrite.lock().unwrap() = None;
    let before = std::time::Instant::now();
    a.send(&at_a, "a1", "m.room.message", answer(lost.as_str(), "again"));
    let again = "> [in reply to a message that is not here]\n\nagain";
    until_bodies(&two.b, &at_b, &["here", "of somebody else", quoted, "and then", again]).await;
    assert!(before.elapsed() < Duration::from_millis(1400), "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_is_shown_after_a_start() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.b, Telling { late_answers: Duration::from_secs(1), ..quick() }).await;
    let a = &two.a.homeserver;
    two.a.stop().await;
    *two.a.net.rewrite.lock().unwrap() = Some(without_first);
    let lost = a.say(&at_a, "a1", "lost");
    a.send(&at_a, "a1", "m.room.message", answer(lost.as_str(), "yes"));
    a.say(&at_a, "a1", "and then");
    two.a.start().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    two.b.stop().await;
    two.b.start().await;
    let wanted = ["> [in reply to a message that is not here]\n\nyes", "and then"];
    until_bodies(&two.b, &at_b, &wanted).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), wanted);
}
