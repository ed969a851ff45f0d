//! Reports of abuse (draft-ietf-mimi-protocol-06 section 5.9), by users of ours and by hostile peers.

use mimi_gateway::{
    engine::ports::{Endpoint, Problem},
    ident::{RoomUri, UserUri},
    wire::{AbuseReport, AbuseType, AbusiveMessage, AppDataDictionary, Wire as _},
};
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, path},
    silo::{Silo, Two, until, until_bodies, until_true},
};

/// A room for the administrators of A, with the bot in it.
pub(crate) async fn admin_room(a: &Silo) -> OwnedRoomId {
    let room = a.homeserver.create_room("a2", "Admins");
    *a.admin_room.lock().unwrap() = Some(room.clone());
    a.stop().await;
    a.start().await;
    a.homeserver.invite(&room, "a2", a.homeserver.bot.as_str(), false);
    let bot = a.homeserver.bot.to_string();
    until_true("the bot is in", || a.homeserver.member(&room, &bot).as_deref() == Some("join")).await;
    room
}

/// What the administrators read, the newest last.
pub(crate) async fn told(a: &Silo, room: &OwnedRoomId, count: usize) -> String {
    until("the report", || {
        let told = a.homeserver.bodies(room);
        (told.len() >= count).then(|| told.last().cloned().unwrap())
    })
    .await
}

/// The last report that B sent.
pub(crate) fn sent(two: &Two) -> AbuseReport {
    let calls = two.a.net.calls(&two.a.domain, Endpoint::ReportAbuse);
    AbuseReport::decode(&calls.last().unwrap().body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reports_to_the_hub_with_proof() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let admins = admin_room(&two.a).await;
    two.a.homeserver.say(&at_a, "a1", "buy now");
    until_bodies(&two.b, &at_b, &["buy now"]).await;
    let event = two.b.homeserver.event(&at_b, "buy now");
    // The event's id comes with the answer to the send.
    two.b.until_all_sent().await;
    let reported = |text: &String| text.contains("is reported to a.example, which hosts this room, without your name");
    two.b.homeserver.reply(&at_b, "b1", &event, "!mimi report spam, again and again");
    until_true("the answer", || two.b.homeserver.notices(&at_b).iter().any(reported)).await;
    let text = told(&two.a, &admins, 1).await;
    assert!(text.contains("by somebody at b.example who gives no name"), "{text}");
    assert!(text.contains(&format!("of {}", two.a.uri("a1"))), "{text}");
    assert!(text.contains("• PROVEN") && text.contains("“buy now”") && text.contains(uri.as_str()), "{text}");
    assert!(text.contains("note: spam, again and again"), "{text}");
    let report = sent(&two);
    assert_eq!((report.reporting_user, report.reason), (None, AbuseType::Reserved));
    // The words of the command went nowhere, and older clients quote what they reply to.
    until_true("quiet", || two.b.homeserver.is_quiet()).await;
    assert_eq!(two.a.homeserver.bodies(&at_a), ["buy now"]);
    let told_so_far = two.a.homeserver.bodies(&admins).len();
    two.b.homeserver.reply(&at_b, "b1", &event, "> <@x:b.test> buy now\n\n!mimi report openly");
    let text = told(&two.a, &admins, told_so_far + 1).await;
    assert!(text.contains(&format!("by {}", two.b.uri("b1"))), "{text}");
    assert_eq!(sent(&two).reporting_user, Some(two.b.uri("b1")));
    // One's own words cannot be reported, nor what never went between the two.
    two.b.homeserver.say(&at_b, "b1", "mine");
    until_true("it is there", || two.a.homeserver.bodies(&at_a).contains(&"mine".to_owned())).await;
    let own = two.b.homeserver.event(&at_b, "mine");
    let answer = |text: &'static str| move |said: &String| said.contains(text);
    two.b.homeserver.reply(&at_b, "b1", &own, "!mimi report");
    until_true("the answer", || two.b.homeserver.notices(&at_b).iter().any(answer("a message of your own"))).await;
    two.b.homeserver.reply(&at_b, "b1", "$unknown", "!mimi report");
    until_true("the answer", || two.b.homeserver.notices(&at_b).iter().any(answer("I do not know that message"))).await;
    two.b.homeserver.say(&at_b, "b1", "!mimi report");
    until_true("what to do", || two.b.homeserver.notices(&at_b).iter().any(answer("as a reply to the message"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quietly_and_at_home() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let admins = admin_room(&two.a).await;
    two.b.homeserver.say(&at_b, "b1", "buy now");
    until_bodies(&two.a, &at_a, &["buy now"]).await;
    let event = two.a.homeserver.event(&at_a, "buy now");
    // In a chat with the bot alone, where nobody of the room sees it; to the hub, which is here.
    let chat = two.a.homeserver.create_room("a1", "");
    two.a.homeserver.invite(&chat, "a1", two.a.homeserver.bot.as_str(), true);
    until_true("help", || !two.a.homeserver.notices(&chat).is_empty()).await;
    let link = format!("https://matrix.to/#/{at_a}/{event}?via=a.test");
    let done = |text: &String| text.contains("is reported to those who run this server, without your name");
    two.a.until_all_sent().await;
    two.a.homeserver.say(&chat, "a1", &format!("report {link} spam"));
    until_true("the answer", || two.a.homeserver.notices(&chat).iter().any(done)).await;
    let text = told(&two.a, &admins, 1).await;
    assert!(text.contains("by somebody of this server who gives no name"), "{text}");
    assert!(text.contains("• PROVEN") && text.contains("note: spam"), "{text}");
    assert!(!two.a.homeserver.notices(&at_a).iter().any(done), "nobody in the room is told");
    // Who is not in the room learns nothing of it.
    let chat = two.a.homeserver.create_room("a2", "");
    two.a.homeserver.invite(&chat, "a2", two.a.homeserver.bot.as_str(), true);
    until_true("help", || !two.a.homeserver.notices(&chat).is_empty()).await;
    two.a.homeserver.say(&chat, "a2", &format!("report {link}"));
    let unknown = |text: &String| text.contains("no such room in which you are");
    until_true("no", || two.a.homeserver.notices(&chat).iter().any(unknown)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proven_is_said_to_be_so() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let admins = admin_room(&two.a).await;
    two.a.homeserver.say(&at_a, "a1", "good morning");
    until_bodies(&two.b, &at_b, &["good morning"]).await;
    let event = two.b.homeserver.event(&at_b, "good morning");
    two.b.until_all_sent().await;
    two.b.homeserver.reply(&at_b, "b1", &event, "!mimi report");
    until_true("a true report", || !two.a.net.calls(&two.a.domain, Endpoint::ReportAbuse).is_empty()).await;
    told(&two.a, &admins, 1).await;
    let truth = sent(&two);
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let a1 = two.a.uri("a1");
    let mut count = two.a.homeserver.bodies(&admins).len();
    let invented = Rogue::words(&a1, &uri, "bad words");
    let elsewhere = Rogue::words(&a1, &RoomUri::parse("mimi://a.example/r/elsewhere").unwrap(), "bad words");
    let message = |content: Vec<u8>, later: u64| AbusiveMessage {
        message_content: content,
        accepted_timestamp: truth.messages[0].accepted_timestamp + later,
        ..truth.messages[0].clone()
    };
    let said = truth.messages[0].message_content.clone();
    let cases = [
        ("invented words", a1.clone(), message(invented, 0), false),
        ("another room", a1.clone(), message(elsewhere, 0), false),
        ("another time", a1.clone(), message(said.clone(), 1), false),
        ("another user", two.b.uri("b1"), message(said.clone(), 0), false),
        ("no content", a1.clone(), message(vec![1, 2, 3], 0), false),
        ("the truth, from another provider", a1, message(said, 0), true),
    ];
    for (what, alleged_abuser, message, proven) in cases {
        let report = AbuseReport { alleged_abuser, messages: vec![message], note: what.to_owned(), ..truth.clone() };
        for _ in 0..2 {
            // The same report again is told once.
            rogue.send(&two.a, Endpoint::ReportAbuse, &path(&uri), &report.encode()).await.unwrap();
        }
        count += 1;
        let text = told(&two.a, &admins, count).await;
        assert!(text.contains(&format!("note: {what}")), "{text}");
        assert_eq!(text.contains("• PROVEN"), proven, "{text}");
        assert_ne!(text.contains("• NOT PROVEN"), proven, "{text}");
    }
    assert_eq!(two.a.homeserver.bodies(&admins).len(), count);
    // A room that is not here, a body that is none, more than anybody can read.
    let report = |number: u32| AbuseReport {
        reporting_user: None,
        alleged_abuser: UserUri::parse("mimi://a.example/u/a1").unwrap(),
        reason: AbuseType::Reserved,
        note: number.to_string(),
        messages: Vec::new(),
        extensions: AppDataDictionary::default(),
    };
    let nowhere = RoomUri::parse("mimi://a.example/r/nowhere").unwrap();
    let answer = rogue.send(&two.a, Endpoint::ReportAbuse, &path(&nowhere), &report(0).encode()).await;
    assert_eq!(answer, Err(Problem::NotFound));
    let answer = rogue.send(&two.a, Endpoint::ReportAbuse, &path(&uri), b"x").await;
    assert!(matches!(answer, Err(Problem::Malformed(_))), "{answer:?}");
    let mut refused = None;
    for number in 0..200 {
        if let Err(problem) = rogue.send(&two.a, Endpoint::ReportAbuse, &path(&uri), &report(number).encode()).await {
            refused = Some(problem);
            break;
        }
    }
    assert!(matches!(refused, Some(Problem::TooMany(1..=3601))), "{refused:?}");
}
