//! What people are told of their messages: what waits, what failed, what others do not get of it, and who has read it.

use std::time::Duration;

use mimi_gateway::{
    content::{
        Body, Expiration, MessageId, MessageStatus, MessageStatusReport, MimiContent, NestedPart, PerMessageStatus,
        STATUS_MEDIA_TYPE, TEXT_PLAIN, message_id,
    },
    engine::ports::Endpoint,
    ident::RoomUri,
    room::{Reports, SendStatus, Telling},
    wire::{FanoutContent, MlsMessage, SafeAad, SubmitMessageRequest, SubmitMessageResponse, Wire as _},
};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    attacks::{Rogue, hosted_by, notify},
    later::millis,
    sight::Listener,
    silo::{Net, Silo, Two, until, until_bodies, until_true},
};

/// What tests have the time for.
fn quick() -> Telling {
    Telling { slow: Duration::from_millis(300), gather_reads: Duration::from_millis(20), ..Telling::default() }
}

async fn set(silo: &Silo, telling: Telling) {
    *silo.telling.lock().unwrap() = telling;
    silo.stop().await;
    silo.start().await;
}

fn status(silo: &Silo, room: &RoomId, event: &str) -> Vec<String> {
    let statuses = silo.homeserver.statuses(room, event);
    statuses.iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect()
}

async fn until_status(silo: &Silo, room: &RoomId, event: &str, expected: &[&str]) {
    until_true(&format!("{expected:?} of {event}"), || status(silo, room, event) == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_is_told_that_a_message_waits_for_the_hub_and_when_it_is_taken() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.b, quick()).await;
    let prompt = two.b.homeserver.say(&at_b, "b1", "prompt");
    until_bodies(&two.a, &at_a, &["prompt"]).await;
    two.a.stop().await;
    let slow = two.b.homeserver.say(&at_b, "b1", "slow");
    until_status(&two.b, &at_b, slow.as_str(), &["PENDING"]).await;
    let told = two.b.homeserver.statuses(&at_b, slow.as_str()).remove(0);
    assert!(told["message"].as_str().unwrap().contains("a.example"), "{told}");
    assert_eq!(told["m.relates_to"]["rel_type"], "m.reference");
    // That it was told is kept.
    two.b.stop().await;
    two.b.start().await;
    two.a.start().await;
    until_bodies(&two.a, &at_a, &["prompt", "slow"]).await;
    until_status(&two.b, &at_b, slow.as_str(), &["PENDING", "SUCCESS"]).await;
    // What is taken at once is nobody's news; and the gateways' own words do not cross.
    assert_eq!(status(&two.b, &at_b, prompt.as_str()), [""; 0]);
    assert!(!two.a.homeserver.events(&at_a).iter().any(|event| event["type"] == "com.beeper.message_send_status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sent_is_told_once_to_clients_and_once_to_people() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    let secret = b.send(&at_b, "b1", "m.room.encrypted", json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    until_status(&two.b, &at_b, secret.as_str(), &["FAIL_PERMANENT"]).await;
    let told = b.statuses(&at_b, secret.as_str()).remove(0);
    assert_eq!(told["reason"], "com.beeper.undecryptable_event");
    let words = told["message"].as_str().unwrap();
    let times = || b.notices(&at_b).iter().filter(|text| *text == words).count();
    until_true("a notice", || times() > 0).await;
    b.say(&at_b, "b1", "and on");
    until_bodies(&two.a, &at_a, &["and on"]).await;
    assert_eq!(times(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_setting_says_how_much_is_told() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.a, Telling { send_status: SendStatus::All, ..quick() }).await;
    set(&two.b, Telling { send_status: SendStatus::Off, ..quick() }).await;
    let said = two.a.homeserver.say(&at_a, "a1", "hello");
    until_status(&two.a, &at_a, said.as_str(), &["SUCCESS"]).await;
    let told = two.a.homeserver.statuses(&at_a, said.as_str()).remove(0);
    assert!(told.get("delivered_to_users").is_none(), "nobody said that they have it: {told}");
    let secret = two.b.homeserver.send(&at_b, "b1", "m.room.encrypted", json!({ "algorithm": "x" }));
    until_true("a notice", || two.b.homeserver.notices(&at_b).iter().any(|text| text.contains("encrypted"))).await;
    assert_eq!(status(&two.b, &at_b, secret.as_str()), [""; 0]);
}

fn html(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_hears_once_what_others_do_not_get() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let told = || a.notices(&at_a).into_iter().filter(|text| text.contains("not all reaches")).collect::<Vec<_>>();
    let spoiler = html("<span data-mx-spoiler>the butler</span>");
    a.send(&at_a, "a1", "m.room.message", spoiler.clone());
    a.send(&at_a, "a1", "m.room.message", spoiler.clone());
    let first = until("a notice", || told().first().cloned()).await;
    assert!(first.starts_with("@a1:a.test: ") && first.contains("spoiler"), "{first}");
    two.a.stop().await;
    two.a.start().await;
    a.send(&at_a, "a1", "m.room.message", spoiler.clone());
    // What only looks different is no loss.
    a.send(&at_a, "a1", "m.room.message", html("<u>underlined</u>"));
    a.send(&at_a, "a1", "m.room.message", html("<img data-mx-emoticon src=\"mxc://a/b\" alt=\":cat:\">"));
    until_true("the second kind", || told().len() == 2).await;
    assert!(told()[1].contains("emoji") && !told()[1].contains("spoiler"), "{:?}", told());
    a.say(&at_a, "a1", "done");
    until_true("all came", || two.b.homeserver.bodies(&at_b).contains(&"done".to_owned())).await;
    assert_eq!(told().len(), 2);
}

fn reading() -> Telling {
    Telling { read_receipts: Reports::On, ..quick() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_read_is_a_receipt_on_the_other_side() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.b, reading()).await;
    set(&two.a, Telling { send_status: SendStatus::All, ..quick() }).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let one = a.say(&at_a, "a1", "one");
    let two_ = a.say(&at_a, "a1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    // Which event a message is comes with the answer to the send.
    two.b.until_all_sent().await;
    let ghost = two.a.ghost(&two.b.uri("b1"));
    // A private receipt is nobody's business; a public one covers what is before it.
    b.read(&at_b, "b1", &b.event(&at_b, "one"), "m.read.private");
    b.read(&at_b, "b1", &b.event(&at_b, "two"), "m.read");
    until_true("the ghost's receipt", || a.receipt(&at_a, &ghost).is_some()).await;
    assert_eq!(a.receipt(&at_a, &ghost).unwrap(), two_.as_str());
    let three = a.say(&at_a, "a1", "three");
    let four = a.say(&at_a, "a1", "four");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four"]).await;
    two.b.until_all_sent().await;
    b.read(&at_b, "b1", &b.event(&at_b, "four"), "m.read");
    until_true("the next one", || a.receipt(&at_a, &ghost).as_deref() == Some(four.as_str())).await;
    // Who has it: of each message that the report names.
    for said in [&two_, &three, &four] {
        until_status(&two.a, &at_a, said.as_str(), &["SUCCESS", "SUCCESS"]).await;
        assert_eq!(a.statuses(&at_a, said.as_str())[1]["delivered_to_users"], json!([ghost]));
    }
    assert_eq!(status(&two.a, &at_a, one.as_str()), ["SUCCESS"], "nobody said anything of it");
    // The report is no message.
    until_bodies(&two.a, &at_a, &["one", "two", "three", "four"]).await;
}

/// Clients report the last event that they show, whatever it is; and each thread has a receipt of its own.
#[tokio::test(flavor = "multi_thread")]
async fn reading_up_to_what_is_no_message_counts_up_to_the_message_before_it() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    set(&two.b, reading()).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let one = a.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    two.b.until_all_sent().await;
    b.set(&at_b, "b1", "m.room.pinned_events", json!({ "pinned": [] }));
    let ghost = two.a.ghost(&two.b.uri("b1"));
    b.read(&at_b, "b1", &b.newest(&at_b), "m.read");
    until_true("the ghost's receipt", || a.receipt(&at_a, &ghost).as_deref() == Some(one.as_str())).await;
    // Within the same moment, in the room and in a thread of it.
    set(&two.a, Telling { send_status: SendStatus::All, ..quick() }).await;
    let [two_, three, four] = ["two", "three", "four"].map(|text| a.say(&at_a, "a1", text));
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four"]).await;
    two.b.until_all_sent().await;
    b.read(&at_b, "b1", &b.event(&at_b, "three"), "m.read");
    b.read_in(&at_b, "b1", &b.event(&at_b, "four"), "m.read", Some("$thread"));
    for said in [&two_, &three, &four] {
        until_status(&two.a, &at_a, said.as_str(), &["SUCCESS", "SUCCESS"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_tells_nothing_unless_it_is_wanted_and_makes_nobody_a_member() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    b.invite(&at_b, "b1", &b.user("b2"), false);
    b.join(&at_b, "b2");
    let guest = two.a.ghost(&two.b.uri("b2"));
    until_true("B2's ghost", || a.member(&at_a, &guest).as_deref() == Some("join")).await;
    a.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    // The room's policy says nothing about it.
    set(&two.b, quick()).await;
    two.a.net.take_calls();
    b.read(&at_b, "b1", &b.event(&at_b, "one"), "m.read");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // B2 never said anything, so it has no leaf; and does not get one by reading.
    set(&two.b, reading()).await;
    b.read(&at_b, "b2", &b.event(&at_b, "one"), "m.read");
    b.say(&at_b, "b1", "marker");
    until_bodies(&two.a, &at_a, &["one", "marker"]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let domain = &two.a.domain;
    assert_eq!(two.a.net.calls(domain, Endpoint::SubmitMessage).len(), 1, "the marker alone");
    assert_eq!(two.a.net.calls(domain, Endpoint::Update).len(), 0);
    assert_eq!((a.receipt(&at_a, &guest), a.receipt(&at_a, &two.a.ghost(&two.b.uri("b1")))), (None, None));
}

/// What a message body is that says this of messages.
fn report(entries: &[(MessageId, MessageStatus)]) -> NestedPart {
    let entries =
        entries.iter().map(|(message_id, status)| PerMessageStatus { message_id: *message_id, status: *status });
    let content = MessageStatusReport(entries.collect()).encode().unwrap();
    NestedPart::render(Body::Single { content_type: STATUS_MEDIA_TYPE.to_owned(), content })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_hears_who_of_several_could_not_read_a_message() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let said = a.say(&at_a, "a1", "hello");
    let id = listener.hear("hello").await.id;
    // B's message is none of A's users'.
    b.say(&at_b, "b1", "hi");
    let other = listener.hear("hi").await.id;
    for (salt, status) in [("r1", MessageStatus::Hidden), ("r2", MessageStatus::Error), ("r3", MessageStatus::Error)] {
        let both = [(id, status), (other, status)];
        listener.say(&two.a, salt, |content| content.body = report(&both)).await;
    }
    until_status(&two.a, &at_a, said.as_str(), &["SUCCESS"]).await;
    let told = a.statuses(&at_a, said.as_str()).remove(0);
    let words = told["message"].as_str().unwrap();
    assert!(words.contains("m1") && words.contains("could not read this message"), "{told}");
    // Whoever does not want to know is not told, and the reports are no messages.
    set(&two.a, Telling { send_status: SendStatus::Off, ..quick() }).await;
    let quiet = a.say(&at_a, "a1", "quiet");
    let id = listener.hear("quiet").await.id;
    listener.say(&two.a, "r4", |content| content.body = report(&[(id, MessageStatus::Error)])).await;
    listener.say(&two.a, "end", |_| {}).await;
    until_bodies(&two.a, &at_a, &["hello", "hi", "quiet", "end"]).await;
    assert_eq!(status(&two.a, &at_a, said.as_str()), ["SUCCESS"]);
    assert_eq!(status(&two.a, &at_a, quiet.as_str()), [""; 0]);
}

/// Something that M1 says in the room that it hosts.
async fn says(rogue: &mut Rogue, b: &Silo, uri: &RoomUri, salt: u8, part: NestedPart) {
    let m1 = rogue.uri("m1");
    let content = MimiContent::new([salt; 16], &m1, uri, part);
    send_bytes(rogue, b, uri, &content.encode_with_id(&m1, uri).unwrap().0).await;
}

async fn send_bytes(rogue: &mut Rogue, b: &Silo, uri: &RoomUri, bytes: &[u8]) {
    let m1 = rogue.uri("m1");
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, bytes, &SafeAad::default()).unwrap();
    let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
    notify(rogue, b, uri, content).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_only_other_one_could_not_read_has_failed_until_they_can() {
    let net = std::sync::Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    set(&b, Telling { send_status: SendStatus::All, ..quick() }).await;
    let mut rogue = Rogue::new("m", &net);
    let (uri, portal) = hosted_by(&mut rogue, &b).await;
    *net.answers.lock().unwrap() = Some(Box::new(|endpoint, _| {
        let accepted = SubmitMessageResponse::Accepted { accepted_timestamp: millis(), frank: None };
        (endpoint == Endpoint::SubmitMessage).then(|| accepted.encode())
    }));
    let said = b.homeserver.say(&portal, "b1", "hello");
    let sent = || rogue.net.calls(&rogue.domain, Endpoint::SubmitMessage).pop();
    let sent = SubmitMessageRequest::decode(&until("the message", sent).await.body).unwrap();
    let opened = rogue.member.as_mut().unwrap().open(sent.app_message.as_bytes()).unwrap();
    let content = MimiContent::decode(&opened.plaintext).unwrap();
    let id = message_id(&opened.user, &uri, &opened.plaintext, &content.salt);
    for (salt, status) in [(1, MessageStatus::Error), (2, MessageStatus::Read), (3, MessageStatus::Error)] {
        says(&mut rogue, &b, &uri, salt, report(&[(id, status)])).await;
    }
    says(&mut rogue, &b, &uri, 4, NestedPart::text(TEXT_PLAIN, "end")).await;
    until_true("the end", || b.homeserver.bodies(&portal).contains(&"end".to_owned())).await;
    // What somebody has on one device and not on another one has not failed.
    until_true("all", || status(&b, &portal, said.as_str()).len() >= 3).await;
    assert_eq!(status(&b, &portal, said.as_str()), ["SUCCESS", "FAIL_PERMANENT", "SUCCESS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_hear_now_and_then_of_messages_that_cannot_be_shown() {
    let net = std::sync::Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    let mut rogue = Rogue::new("m", &net);
    let (uri, portal) = hosted_by(&mut rogue, &b).await;
    // As the draft has it, and longer than is read here.
    let head = MimiContent::new([1; 16], &rogue.uri("m1"), &uri, NestedPart::text(TEXT_PLAIN, ""));
    let head = head.encode().unwrap();
    let long = [head.clone(), vec![0; 300_000]].concat();
    let told = || {
        b.homeserver
            .notices(&portal)
            .into_iter()
            .filter(|text| text.contains("shown here. (Of more"))
            .collect::<Vec<_>>()
    };
    send_bytes(&mut rogue, &b, &uri, &long).await;
    until_true("a notice", || !told().is_empty()).await;
    for n in 0..20 {
        let junk = if n % 2 == 0 { long.clone() } else { vec![0x87, n] };
        send_bytes(&mut rogue, &b, &uri, &junk).await;
    }
    says(&mut rogue, &b, &uri, 2, NestedPart::text(TEXT_PLAIN, "end")).await;
    until_bodies(&b, &portal, &["end"]).await;
    // One of several times the length that we send is shown as far as an event can hold it.
    let text = [&head[..head.len() - 1], &[0x5a], &100_000_u32.to_be_bytes(), &vec![b'y'; 100_000]].concat();
    send_bytes(&mut rogue, &b, &uri, &text).await;
    until_true("the long text", || {
        b.homeserver.bodies(&portal).iter().any(|body| body.starts_with("yyyy") && body.ends_with("was cut here]"))
    })
    .await;
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("too long") && told[0].contains("m1"), "{told:?}");
    // What is no message at all is told as such.
    b.stop().await;
    b.start().await;
    send_bytes(&mut rogue, &b, &uri, &[0x87, 99]).await;
    let formless = |text: &String| text.contains("cannot be shown here: it has a form that I do not know");
    until_true("another notice", || b.homeserver.notices(&portal).iter().any(formless)).await;
    // Nor is one silent whose time is not believed.
    b.stop().await;
    b.start().await;
    let m1 = rogue.uri("m1");
    let mut late = MimiContent::new([3; 16], &m1, &uri, NestedPart::text(TEXT_PLAIN, "late"));
    late.expires = Some(Expiration::AfterReading(400 * 86_400));
    send_bytes(&mut rogue, &b, &uri, &late.encode_with_id(&m1, &uri).unwrap().0).await;
    let late = |text: &String| text.contains("should disappear more than a year from now");
    until_true("a third notice", || b.homeserver.notices(&portal).iter().any(late)).await;
}
