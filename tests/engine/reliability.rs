//! R3, R6, R7, lost events, a store that fails for a while, and events that cannot be read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use mimi_gateway::{
    engine::ports::{Endpoint, MatrixInbound as _, Problem, Transaction},
    ident::RoomUri,
    store::StoreError,
};
use ruma::RoomId;
use serde_json::{json, value::RawValue};

use crate::{
    flow::until_room,
    homeserver::{Fault, Faults, no_faults},
    silo::{Disk, Net, Silo, Two, bring, until, until_bodies, until_true},
};

/// Every call fails once before the other side sees it, and once after it acted.
fn twice_each() -> Faults {
    let mut calls: BTreeMap<String, u32> = BTreeMap::new();
    Arc::new(Mutex::new(Box::new(move |call| {
        let tried = calls.entry(call.to_owned()).or_insert(0);
        *tried += 1;
        match *tried {
            1 => Fault::Before,
            2 => Fault::After,
            _ => Fault::None,
        }
    })))
}

/// The texts of those who begin with this, in the order of a room.
fn said_by(silo: &Silo, room: &RoomId, prefix: &str) -> Vec<String> {
    silo.homeserver.bodies(room).into_iter().filter(|body| body.starts_with(prefix)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_every_call_fails_before_and_after_it_acted() {
    let two = Two::with(twice_each()).await;
    let (at_a, at_b, _) = two.room().await;
    let mut all = Vec::new();
    for n in 0..6 {
        all.push(format!("a {n}"));
        two.a.homeserver.say(&at_a, "a1", &all[all.len() - 1]);
        all.push(format!("b {n}"));
        two.b.homeserver.say(&at_b, "b1", &all[all.len() - 1]);
        if n == 2 {
            // A change of the group in the middle of it, by the follower.
            two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
            two.b.homeserver.join(&at_b, "b2");
        }
    }
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &expected).await;
    until_bodies(&two.b, &at_b, &expected).await;
    two.b.homeserver.say(&at_b, "b2", "c 0");
    two.b.homeserver.leave(&at_b, "b1");
    two.a.homeserver.say(&at_a, "a1", "a 6");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("B1's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    all.extend(["c 0".to_owned(), "a 6".to_owned()]);
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &expected).await;
    until_bodies(&two.b, &at_b, &expected).await;
    for prefix in ["a ", "b "] {
        assert_eq!(said_by(&two.a, &at_a, prefix), said_by(&two.b, &at_b, prefix));
        assert!(said_by(&two.a, &at_a, prefix).is_sorted());
    }
}

fn event(room: &RoomId, id: &str, body: &str) -> Box<RawValue> {
    let event = json!({
        "event_id": id,
        "room_id": room,
        "sender": "@a1:a.test",
        "type": "m.room.message",
        "content": { "msgtype": "m.text", "body": body },
        "origin_server_ts": 1_700_000_000_000_u64,
    });
    serde_json::value::to_raw_value(&event).unwrap()
}

fn transaction(id: &str, events: Vec<Box<RawValue>>) -> Transaction {
    Transaction { txn_id: id.to_owned(), body_hash: [0; 32], events, ephemeral: Vec::new(), connection: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn r6_transactions_that_come_again() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let engine = two.a.engine();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (engine, room) = (engine.clone(), at_a.clone());
        tasks.spawn(async move {
            let events = vec![event(&room, "$one:a.test", "one"), event(&room, "$two:a.test", "two")];
            engine.transaction(transaction("17", events)).await.unwrap();
        });
    }
    tasks.join_all().await;
    // The same transaction id with another body (Synapse begins anew after its database was made anew).
    engine.transaction(transaction("17", vec![event(&at_a, "$three:a.test", "three")])).await.unwrap();
    // One event under two transactions, and twice in one.
    let events = vec![event(&at_a, "$two:a.test", "two"), event(&at_a, "$four:a.test", "four")];
    engine.transaction(transaction("18", events)).await.unwrap();
    let events = vec![event(&at_a, "$five:a.test", "five"), event(&at_a, "$five:a.test", "five")];
    engine.transaction(transaction("19", events)).await.unwrap();
    drop(engine);
    two.a.stop().await;
    two.a.start().await;
    two.a.engine().transaction(transaction("19", vec![event(&at_a, "$five:a.test", "five")])).await.unwrap();
    two.a.homeserver.say(&at_a, "a1", "six");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four", "five", "six"]).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), ["one", "two", "three", "four", "five", "six"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_notify_that_comes_again() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.say(&at_a, "a1", "once");
    until_bodies(&two.b, &at_b, &["once"]).await;
    let calls = two.a.net.calls(&two.b.domain, Endpoint::Notify);
    let last = calls.last().unwrap().clone();
    for _ in 0..1000 {
        assert_eq!(two.b.receive("a", Endpoint::Notify, &last.target, &last.body).await, Ok(Vec::new()));
    }
    for call in &calls {
        assert_eq!(two.b.receive("a", Endpoint::Notify, &call.target, &call.body).await, Ok(Vec::new()));
    }
    two.b.stop().await;
    two.b.start().await;
    for call in &calls {
        assert_eq!(two.b.receive("a", Endpoint::Notify, &call.target, &call.body).await, Ok(Vec::new()));
        let from_another = two.b.receive("c", Endpoint::Notify, &call.target, &call.body).await;
        assert!(matches!(from_another, Err(Problem::Forbidden(_))), "{from_another:?}");
    }
    // All of it was worked off before this.
    two.a.homeserver.say(&at_a, "a1", "more");
    until_bodies(&two.b, &at_b, &["once", "more"]).await;
    two.b.stop().await;
    assert_eq!(two.b.homeserver.bodies(&at_b), ["once", "more"]);
    assert!(!two.b.homeserver.notices(&at_b).iter().any(|text| text.contains("not connected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_submit_gets_the_same_answer() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.b.homeserver.say(&at_b, "b1", "once");
    until_bodies(&two.a, &at_a, &["once"]).await;
    // The message is seen before the answer to its call is noted.
    let submit = until("the submit", || two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage).pop()).await;
    let update = two.a.net.calls(&two.a.domain, Endpoint::Update).pop();
    let mut tasks = tokio::task::JoinSet::new();
    let two = Arc::new(two);
    for call in std::iter::repeat_n(submit, 100).chain(update) {
        let two = Arc::clone(&two);
        tasks.spawn(async move {
            assert_eq!(two.a.receive("b", call.endpoint, &call.target, &call.body).await, call.answer);
        });
    }
    tasks.join_all().await;
    two.b.homeserver.say(&at_b, "b1", "twice");
    until_bodies(&two.a, &at_a, &["once", "twice"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_the_homeserver_lost_are_found() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    two.a.homeserver.say(&at_a, "a1", "two");
    two.a.homeserver.lose_events(true);
    for n in 0..250 {
        two.a.homeserver.say(&at_a, "a1", &format!("lost {n:03}"));
    }
    two.a.homeserver.lose_events(false);
    let lost: Vec<String> = (0..250).map(|n| format!("lost {n:03}")).collect();
    let mut expected: Vec<&str> = vec!["one", "two"];
    expected.extend(lost.iter().map(String::as_str));
    // Found when the room falls quiet, in their order.
    until_bodies(&two.b, &at_b, &expected).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), expected);
    // While nobody runs the homeserver loses more; the start looks.
    two.a.stop().await;
    two.a.homeserver.lose_events(true);
    two.a.homeserver.say(&at_a, "a1", "while away");
    two.a.homeserver.lose_events(false);
    two.a.start().await;
    expected.push("while away");
    until_bodies(&two.b, &at_b, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_loss_keeps_its_order() {
    let looks = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&looks);
    let two = Two::with(Arc::new(Mutex::new(Box::new(move |call: &str| {
        if call.starts_with("timeline ") {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Fault::None
    }))))
    .await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    two.a.stop().await;
    *two.a.suspicion.lock().unwrap() = Duration::from_secs(3);
    two.a.start().await;
    // Until the homeserver is trusted: then nothing is looked for before a message is taken in.
    let mut all: Vec<String> = Vec::new();
    loop {
        let before = looks.load(Ordering::SeqCst);
        all.push(format!("n {}", all.len()));
        a.say(&at_a, "a1", &all[all.len() - 1]);
        until_true("it is heard", || two.b.homeserver.bodies(&at_b) == all).await;
        if looks.load(Ordering::SeqCst) == before {
            break;
        }
    }
    for (text, lost) in [("lost", true), ("lost, too", true), ("and this came", false)] {
        a.lose_events(lost);
        a.say(&at_a, "a1", text);
        all.push(text.to_owned());
        if text == "lost" {
            until_true("it is found", || two.b.homeserver.bodies(&at_b) == all).await;
        }
    }
    until_true("all is heard, in its order", || two.b.homeserver.bodies(&at_b) == all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_a_while() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let mut all: Vec<String> = Vec::new();
    for round in 0..24 {
        // Each round the failure begins one commit later; both sides in turn.
        let silo = if round % 2 == 0 { &two.a } else { &two.b };
        let error = StoreError::Busy("the disk is full".to_owned());
        silo.memory().refuse_commits_after(round / 2, Some(error));
        two.a.homeserver.say(&at_a, "a1", &format!("a {round:02}"));
        two.b.homeserver.say(&at_b, "b1", &format!("b {round:02}"));
        all.push(format!("a {round:02}"));
        all.push(format!("b {round:02}"));
        until_true("it fails, or all is done", || {
            silo.memory().refuses()
                || two.a.homeserver.bodies(&at_a).len() == all.len()
                    && two.b.homeserver.bodies(&at_b).len() == all.len()
        })
        .await;
        // It fails for long enough to be met several times.
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        silo.memory().refuse_commits(None);
        let expected: Vec<&str> = all.iter().map(String::as_str).collect();
        until_bodies(&two.a, &at_a, &expected).await;
        until_bodies(&two.b, &at_b, &expected).await;
    }
    assert!(said_by(&two.b, &at_b, "a ").is_sorted() && said_by(&two.a, &at_a, "b ").is_sorted());
    assert_eq!(two.a.engine().quarantined() + two.b.engine().quarantined(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_set_aside() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let odd = [
        "{}".to_owned(),
        r#"{"type":"m.room.message","event_id":5}"#.to_owned(),
        format!(
            r#"{{"event_id":"$x:a.test","room_id":"{at_a}","sender":"nobody","type":"m.room.message","content":{{}},"origin_server_ts":1}}"#
        ),
        format!(
            r#"{{"event_id":"$y:a.test","room_id":"{at_a}","sender":"@a1:a.test","type":"m.room.message","content":[],"origin_server_ts":1}}"#
        ),
        format!(
            r#"{{"event_id":"$z:a.test","room_id":"{at_a}","sender":"@a1:a.test","type":"m.room.message","content":{{}},"origin_server_ts":-1}}"#
        ),
        format!("[{}1{}]", "[".repeat(100), "]".repeat(100)),
    ];
    for (n, raw) in odd.iter().enumerate() {
        two.a.homeserver.inject(raw);
        two.a.homeserver.say(&at_a, "a1", &format!("after {n}"));
    }
    // These can be read, but mean nothing: they are not carried, and nothing is counted.
    for content in [r"{}", r#"{"msgtype":5}"#, r#"{"msgtype":"m.text"}"#, r#"{"msgtype":"m.text","body":7}"#] {
        two.a.homeserver.inject(&format!(
            r#"{{"event_id":"$c{}:a.test","room_id":"{at_a}","sender":"@a1:a.test","type":"m.room.message","content":{content},"origin_server_ts":1}}"#,
            content.len()
        ));
    }
    two.a.homeserver.say(&at_a, "a1", "the end");
    let expected: Vec<String> = (0..odd.len()).map(|n| format!("after {n}")).chain(["the end".to_owned()]).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &expected).await;
    // What can be read may be found in the timeline, before the transaction comes with what cannot.
    let all = u64::try_from(odd.len()).unwrap();
    until_true("the others", || two.a.engine().quarantined() >= all && two.a.homeserver.is_quiet()).await;
    assert_eq!(two.a.engine().quarantined(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_peer_does_not_wait_for_one_that_is_away() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, _) = two.room().await;
    let at_c = bring(&two.a, &at_a, "a1", &c, "c1").await;
    c.stop().await;
    for n in 0..10 {
        two.a.homeserver.say(&at_a, "a1", &format!("a {n}"));
    }
    let expected: Vec<String> = (0..10).map(|n| format!("a {n}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &expected).await;
    assert!(c.homeserver.bodies(&at_c).is_empty());
    c.start().await;
    until_bodies(&c, &at_c, &expected).await;
    assert_eq!(c.homeserver.bodies(&at_c), expected);
}

/// Polls a future for a few tens of microseconds at most, then drops it.
async fn poll_for_a_while(future: impl Future, turns: u32) {
    let mut future = Box::pin(future);
    for _ in 0..turns {
        let ended = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ended {
            return;
        }
        std::thread::sleep(Duration::from_micros(5));
    }
}

/// A connection that closes drops the handler's future, anywhere on its way.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_loses_nothing() {
    let net = Arc::new(Net::default());
    let dir = tempfile::tempdir().unwrap();
    let a = Silo::start_on("a", &["a1"], &net, Disk::Sqlite(dir.path().join("a")), no_faults()).await;
    let b = Silo::start_on("b", &["b1"], &net, Disk::Sqlite(dir.path().join("b")), no_faults()).await;
    let two = Two { a, b };
    let (at_a, at_b, _) = two.room().await;
    let mut expected = Vec::new();
    for n in 0..60 {
        let body = format!("{n:02}");
        let events = || vec![event(&at_a, &format!("$hang{n}:a.test"), &body)];
        // It hangs up before the first answer, then comes again.
        let engine = two.a.engine();
        let hurried = engine.transaction(transaction("1", events()));
        poll_for_a_while(hurried, n).await;
        engine.transaction(transaction("1", events())).await.unwrap();
        expected.push(body);
    }
    let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &texts).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), expected);
}

/// In a burst the homeserver waits for an answer a while, so that it gathers what happens meanwhile; what it sent goes on
/// at once.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_burst_answers_wait_and_messages_do_not() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.stop().await;
    *two.a.gather.lock().unwrap() = std::time::Duration::from_hours(1);
    two.a.start().await;
    let send = |n: u32| {
        let (txn, body) = (n.to_string(), format!("{n:02}"));
        let events = vec![event(&at_a, &format!("$burst{n}:a.test"), &body)];
        let engine = two.a.engine();
        tokio::spawn(async move { engine.transaction(transaction(&txn, events)).await })
    };
    let mut answers = Vec::new();
    let mut expected = Vec::new();
    for n in 0..12 {
        answers.push(send(n));
        expected.push(format!("{n:02}"));
        let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
        until_bodies(&two.b, &at_b, &texts).await;
    }
    assert!(!answers[11].is_finished(), "the homeserver is to wait");
    assert!(answers[0].is_finished(), "one act of somebody is no burst");
    two.a.stop().await;
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

/// Messages that a hub accepts in one step go to a peer in one notify, in order.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_together_goes_out_together() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let before = two.a.net.calls(&two.b.domain, Endpoint::Notify).len();
    let bodies: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
    let events = bodies.iter().map(|body| event(&at_a, &format!("$together{body}:a.test"), body)).collect();
    two.a.engine().transaction(transaction("1", events)).await.unwrap();
    let texts: Vec<&str> = bodies.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &texts).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), bodies);
    // A call is noted once it is answered. By way of the inbox the messages may be taken in several steps.
    let notifies = || two.a.net.calls(&two.b.domain, Endpoint::Notify).len() - before;
    until_true("the calls are noted", || notifies() > 0).await;
    assert!(notifies() <= 4, "{} notifies for 20 messages", notifies());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_state_that_may_be_old_people_talk_on_in_a_fresh_epoch() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    until_room(&two.b, &uri, "active").await;
    let mut all = Vec::new();
    for (round, silo) in [&two.a, &two.b, &two.a, &two.b].into_iter().enumerate() {
        silo.stop().await;
        let epoch = two_epoch(&two, silo, &uri).await;
        for (from, room, name) in [(&two.a, &at_a, "a1"), (&two.b, &at_b, "b1")] {
            all.push(format!("{name} {round}"));
            from.homeserver.say(room, name, &all[all.len() - 1]);
        }
        silo.start_distrusting().await;
        let expected: Vec<&str> = all.iter().map(String::as_str).collect();
        until_bodies(&two.a, &at_a, &expected).await;
        until_bodies(&two.b, &at_b, &expected).await;
        assert!(two_epoch(&two, silo, &uri).await > epoch, "nobody speaks in the old epoch");
    }
}

/// The epoch as the silo that runs all the time knows it.
async fn two_epoch(two: &Two, stopped: &Silo, uri: &RoomUri) -> u64 {
    let runs = if stopped.domain == two.a.domain { &two.b } else { &two.a };
    runs.room(uri).await.unwrap().1.unwrap()
}
