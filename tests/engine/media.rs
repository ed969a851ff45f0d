//! Files cross: once, whole, at their place; whoever sent one that cannot cross is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mimi_gateway::{
    content::{Body, MessageId, MimiContent, NestedPart},
    engine::Keep,
    media::{CtrStream, EncryptedFile, FileKey},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::{
    crashes::Steps,
    files::LARGEST,
    homeserver::Fault,
    rejoin::Switch,
    sight::Listener,
    silo::{Silo, Two, until, until_bodies, until_true},
};

/// The homeserver of A gives no file, B gets no asset: for now, or for good.
pub(crate) const DOWNLOAD: &str = "download mxc://a.test";
pub(crate) const GET: &str = "get b.example";

pub(crate) async fn two() -> (Two, Switch, OwnedRoomId, OwnedRoomId) {
    let switch = Switch::default();
    let two = Two::with_files(switch.faults()).await;
    let (at_a, at_b, _) = two.room().await;
    (two, switch, at_a, at_b)
}

pub(crate) fn picture(url: &str, size: usize) -> Value {
    json!({
        "msgtype": "m.image", "body": "Look", "filename": "cat.png", "url": url,
        "info": {"mimetype": "image/png", "size": size, "w": 4, "h": 3},
    })
}

/// Pictures of these names.
pub(crate) fn gallery(silo: &Silo, names: &[&str]) -> Value {
    let item = |name: &&str| {
        let url = silo.files().files.keep(name.as_bytes());
        json!({"itemtype": "m.image", "body": name, "filename": name, "url": url, "info": {"mimetype": "image/png"}})
    };
    json!({"msgtype": "m.gallery", "body": "Us", "itemtypes": names.iter().map(item).collect::<Vec<_>>()})
}

/// Somebody sends a picture of these bytes; the event.
pub(crate) fn send(silo: &Silo, room: &RoomId, name: &str, bytes: &[u8]) -> String {
    let url = silo.files().files.keep(bytes);
    silo.homeserver.send(room, name, "m.room.message", picture(&url, bytes.len()))
}

/// The events with files of a room, by others.
pub(crate) fn shown(silo: &Silo, room: &RoomId) -> Vec<Value> {
    let events = silo.homeserver.events(room).into_iter();
    events
        .filter(|event| event["content"]["im.mimi-gateway.message"].is_object() && event["content"]["url"].is_string())
        .collect()
}

pub(crate) fn bytes_of(silo: &Silo, event: &Value) -> Vec<u8> {
    silo.files().files.of(event["content"]["url"].as_str().unwrap())
}

pub(crate) fn notice(silo: &Silo, room: &RoomId, part: &str) -> bool {
    silo.homeserver.notices(room).iter().any(|notice| notice.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_cross_both_ways() {
    let (two, _, at_a, at_b) = two().await;
    for (from, to, here, there, name) in [(&two.a, &two.b, &at_a, &at_b, "a1"), (&two.b, &two.a, &at_b, &at_a, "b1")] {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        send(from, here, name, &bytes);
        let event = until("the picture", || shown(to, there).pop()).await;
        assert_eq!(bytes_of(to, &event), bytes);
        assert_eq!(event["sender"], to.ghost(&from.uri(name)));
        let content = &event["content"];
        assert_eq!((&content["body"], &content["filename"]), (&json!("Look"), &json!("cat.png")));
        assert_eq!(content["info"], json!({"mimetype": "image/png", "size": 200_000, "w": 4, "h": 3}));
        // The asset is no plain text.
        let assets = from.files().assets();
        assert_eq!(assets.len(), 1);
        let sealed = std::fs::read(&assets[0]).unwrap();
        assert_eq!(sealed.len(), 200_016);
        assert!(!sealed.windows(32).any(|window| window == &bytes[..32]));
    }
}

/// Clients encrypt files for encrypted rooms, and can be asked to elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_encrypted_in_matrix_is_opened_and_checked() {
    let (two, _, at_a, at_b) = two().await;
    let key = FileKey::from_random([5; 32], [6; 8]);
    let mut bytes = b"a cat that nobody else shall see".to_vec();
    CtrStream::new(&key).apply(&mut bytes).unwrap();
    for sha256 in [[0; 32], sha2::Sha256::digest(&bytes).into()] {
        let url = two.a.files().files.keep(&bytes);
        let file = EncryptedFile { url: url.clone().into(), key: key.clone(), sha256 };
        let mut content = picture(&url, bytes.len());
        content.as_object_mut().unwrap().remove("url");
        content["file"] = file.to_json();
        two.a.homeserver.send(&at_a, "a1", "m.room.message", content);
    }
    // The first is not what it says.
    until_true("A1 is told", || notice(&two.a, &at_a, "its hash differs")).await;
    let event = until("the picture", || shown(&two.b, &at_b).pop()).await;
    assert_eq!(bytes_of(&two.b, &event), b"a cat that nobody else shall see");
    until_bodies(&two.b, &at_b, &["Look", "Look"]).await;
    assert_eq!(two.a.files().assets().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sender_says_comes_behind_its_file_and_others_do_not_wait() {
    let (two, switch, at_a, at_b) = two().await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    let picture = send(&two.a, &at_a, "a1", b"a cat");
    a.say(&at_a, "a1", "that was a cat");
    a.say(&at_a, "a2", "hello");
    // Who answers the picture comes behind it as well, and so does who leaves.
    a.reply(&at_a, "a2", &picture, "a dog");
    a.leave(&at_a, "a1");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    switch.set(&[]);
    until_bodies(&two.b, &at_b, &["hello", "Look", "that was a cat", "a dog"]).await;
    let order = two.b.homeserver.bodies(&at_b);
    assert_eq!(order, ["hello", "Look", "that was a cat", "a dog"]);
    let event = shown(&two.b, &at_b).remove(0);
    assert_eq!(bytes_of(&two.b, &event), b"a cat");
    let answer = two.b.homeserver.events(&at_b).into_iter().find(|event| event["content"]["body"] == "a dog").unwrap();
    assert_eq!(answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], event["event_id"]);
    let ghost = two.b.ghost(&two.a.uri("a1"));
    until_true("A1's ghost goes", || two.b.homeserver.member(&at_b, &ghost).as_deref() == Some("leave")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_ever_but_what_points_at_the_file() {
    let (two, switch, at_a, at_b) = two().await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    two.a.stop().await;
    *two.a.files().hold.lock().unwrap() = Duration::from_millis(300);
    two.a.start().await;
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    let cat = send(&two.a, &at_a, "a1", b"a cat");
    a.say(&at_a, "a1", "never mind");
    until_bodies(&two.b, &at_b, &["never mind"]).await;
    // By now nobody is held up by it. What is said of it would have nothing to point at.
    a.send(
        &at_a,
        "a2",
        "m.reaction",
        json!({ "m.relates_to": { "rel_type": "m.annotation", "event_id": cat, "key": "🐈" } }),
    );
    a.reply(&at_a, "a2", &cat, "how sweet");
    a.say(&at_a, "a1", "it comes");
    until_bodies(&two.b, &at_b, &["never mind", "it comes"]).await;
    switch.set(&[]);
    until_bodies(&two.b, &at_b, &["never mind", "it comes", "Look", "how sweet"]).await;
    let shown = shown(&two.b, &at_b).remove(0);
    let of =
        |test: &dyn Fn(&Value) -> bool| two.b.homeserver.events(&at_b).into_iter().find(|event| test(event)).unwrap();
    let answer = of(&|event| event["content"]["body"] == "how sweet");
    assert_eq!(answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], shown["event_id"]);
    let liked = of(&|event| event["type"] == "m.reaction");
    assert_eq!(liked["content"]["m.relates_to"]["event_id"], shown["event_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_the_end_of_the_process() {
    let (two, switch, at_a, at_b) = two().await;
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    send(&two.a, &at_a, "a1", b"a cat");
    two.a.homeserver.say(&at_a, "a1", "that was a cat");
    until_true("it came", || two.a.homeserver.is_quiet()).await;
    two.a.crash().await;
    two.a.start().await;
    two.a.crash().await;
    switch.set(&[(GET, Fault::Before)]);
    two.a.start().await;
    // On the other side, too.
    let sealed = || two.a.files().assets().len() == 1;
    until_true("the asset", sealed).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    two.b.crash().await;
    two.b.start().await;
    switch.set(&[]);
    until_bodies(&two.b, &at_b, &["Look", "that was a cat"]).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), ["Look", "that was a cat"]);
    assert_eq!(two.a.files().assets().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_cross_is_told_and_its_caption_crosses() {
    let (two, switch, at_a, at_b) = two().await;
    switch.set(&[(DOWNLOAD, Fault::Refused)]);
    send(&two.a, &at_a, "a1", b"a cat");
    until_bodies(&two.b, &at_b, &["Look"]).await;
    let told = "cat.png (picture, 5 bytes): the homeserver does not have it";
    until_true("A1 is told", || notice(&two.a, &at_a, told)).await;
    switch.set(&[]);
    // Too large by its own words, or by its bytes: nothing is kept of it.
    let url = two.a.files().files.keep(&vec![7; usize::try_from(LARGEST).unwrap() + 1]);
    for size in [usize::try_from(LARGEST).unwrap() + 1, 3] {
        let mut content = picture(&url, size);
        content["body"] = json!("cat.png");
        two.a.homeserver.send(&at_a, "a1", "m.room.message", content);
        let told = || two.a.homeserver.notices(&at_a).iter().filter(|text| text.contains("larger than 1 MB")).count();
        until_true("A1 is told", || told() == if size == 3 { 2 } else { 1 }).await;
    }
    two.a.homeserver.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["Look", "end"]).await;
    assert_eq!(two.a.files().assets().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_does_not_wait_for_a_file_that_takes_its_time() {
    let (two, switch, at_a, at_b) = two().await;
    two.b.stop().await;
    *two.b.files().wait.lock().unwrap() = Duration::from_millis(300);
    two.b.start().await;
    switch.set(&[(GET, Fault::Before)]);
    send(&two.a, &at_a, "a1", b"a cat");
    two.a.homeserver.say(&at_a, "a1", "that was a cat");
    until_bodies(&two.b, &at_b, &["that was a cat"]).await;
    assert!(notice(&two.b, &at_b, "cat.png (picture, 5 bytes) is still on the way"));
    // An answer points at what is there.
    let note = two.b.homeserver.event(&at_b, "[cat.png (picture, 5 bytes) is still on the way]");
    two.b.homeserver.reply(&at_b, "b1", &note, "I wait");
    until_bodies(&two.a, &at_a, &["that was a cat", "I wait", "Look"]).await;
    let original = two.a.homeserver.event(&at_a, "Look");
    let answer = |body: &str| {
        let event = two.a.homeserver.events(&at_a).into_iter().find(|event| event["content"]["body"] == body);
        event.unwrap()["content"]["m.relates_to"]["m.in_reply_to"]["event_id"].clone()
    };
    assert_eq!(answer("I wait"), json!(original));
    two.b.crash().await;
    two.b.start().await;
    switch.set(&[]);
    until_bodies(&two.b, &at_b, &["that was a cat", "I wait", "Look"]).await;
    let event = shown(&two.b, &at_b).remove(0);
    assert_eq!(bytes_of(&two.b, &event), b"a cat");
    // From now on at the file.
    two.a.homeserver.reply(&at_a, "a1", &original, "here it is");
    let target = until("the answer", || {
        let events = two.b.homeserver.events(&at_b);
        let answer = events.into_iter().find(|event| event["content"]["body"] == "here it is")?;
        Some(answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"].clone())
    })
    .await;
    assert_eq!(target, event["event_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_on_its_way_is_not_shown() {
    let (two, switch, at_a, at_b) = two().await;
    switch.set(&[(GET, Fault::Before)]);
    send(&two.a, &at_a, "a1", b"a cat");
    until_true("the asset", || two.a.files().assets().iter().any(|path| path.extension().is_none())).await;
    let asset = two.a.files().assets().remove(0);
    let mut bytes = std::fs::read(&asset).unwrap();
    bytes[2] ^= 1;
    std::fs::write(&asset, bytes).unwrap();
    switch.set(&[]);
    // What was said with it is.
    until_bodies(&two.b, &at_b, &["Look"]).await;
    until_true("a note", || notice(&two.b, &at_b, "cat.png (picture, 5 bytes) could not be fetched")).await;
    assert!(shown(&two.b, &at_b).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_everywhere() {
    let (two, switch, at_a, at_b) = two().await;
    two.b.stop().await;
    *two.b.files().wait.lock().unwrap() = Duration::from_millis(100);
    two.b.start().await;
    let delete = |event: &str| two.a.homeserver.send(&at_a, "a1", "m.room.redaction", json!({ "redacts": event }));
    // A gallery: all that shows it.
    let gallery = two.a.homeserver.send(&at_a, "a1", "m.room.message", gallery(&two.a, &["1.png", "2.png", "3.png"]));
    until_true("three pictures", || shown(&two.b, &at_b).len() == 3).await;
    assert_eq!(two.a.files().assets().len(), 3);
    delete(&gallery);
    let redacted = || {
        let events = two.b.homeserver.events(&at_b).into_iter();
        events.filter(|event| event["type"] == "m.room.redaction").count()
    };
    until_true("all are deleted", || redacted() == 3).await;
    until_true("the assets, too", || two.a.files().assets().is_empty()).await;
    // One that is late never comes.
    switch.set(&[(GET, Fault::Before)]);
    let late = send(&two.a, &at_a, "a1", b"a cat");
    until_true("a note", || notice(&two.b, &at_b, "is still on the way")).await;
    delete(&late);
    until_true("the note is deleted", || redacted() == 4).await;
    // One that did not go yet never does.
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    let waiting = send(&two.a, &at_a, "a1", b"a dog");
    delete(&waiting);
    two.a.homeserver.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["Us", "2.png", "3.png", "end"]).await;
    switch.set(&[]);
    until_true("nothing is left", || two.a.files().assets().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shown(&two.b, &at_b).len(), 3);
}

/// A picture that disappears.
fn vanishing(silo: &Silo, room: &RoomId, name: &str, timer: &Value) -> String {
    let mut content = picture(&silo.files().files.keep(name.as_bytes()), name.len());
    content["body"] = json!(name);
    content["com.beeper.disappearing_timer"] = timer.clone();
    silo.homeserver.send(room, "a1", "m.room.message", content)
}

fn is_removed(silo: &Silo, room: &RoomId, event: &str) -> bool {
    let events = silo.homeserver.events(room);
    events.iter().any(|seen| seen["type"] == "m.room.redaction" && seen["content"]["redacts"] == event)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_disappears_leaves_no_file_behind() {
    let (two, _, at_a, at_b) = two().await;
    let sent = json!({ "type": "after_send", "timer": 2000 });
    let said = vanishing(&two.a, &at_a, "soon gone", &sent);
    let there = until("the picture", || shown(&two.b, &at_b).pop()).await;
    assert_eq!(bytes_of(&two.b, &there), b"soon gone");
    let shown_as = there["event_id"].as_str().unwrap();
    until_true("both are removed", || is_removed(&two.a, &at_a, &said) && is_removed(&two.b, &at_b, shown_as)).await;
    until_true("so is the asset", || two.a.files().assets().is_empty()).await;
    // Also if all else that is known of a message was forgotten before.
    let sent = json!({ "type": "after_send", "timer": 4000 });
    let said = vanishing(&two.a, &at_a, "later gone", &sent);
    until_true("the picture", || shown(&two.b, &at_b).len() == 2).await;
    two.a.stop().await;
    *two.a.keep.lock().unwrap() = Keep { days: 2, day: Duration::from_millis(60) };
    two.a.start().await;
    assert_eq!(two.a.files().assets().len(), 1);
    until_true("it is removed", || is_removed(&two.a, &at_a, &said)).await;
    until_true("with its asset", || two.a.files().assets().is_empty()).await;
}

/// Nobody else of A is there to read it, so it goes at A at once; who is elsewhere reads it later.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_what_was_read_stays_a_while_for_who_reads_it_later() {
    let (two, _, at_a, at_b) = two().await;
    let read = json!({ "type": "after_read", "timer": 1000 });
    let first = vanishing(&two.a, &at_a, "first", &read);
    until_true("it is removed", || is_removed(&two.a, &at_a, &first)).await;
    until_true("B has it", || shown(&two.b, &at_b).len() == 1).await;
    assert_eq!(two.a.files().assets().len(), 1);
    two.a.stop().await;
    *two.a.files().linger.lock().unwrap() = Duration::from_millis(50);
    two.a.start().await;
    let kept = two.a.files().assets();
    let second = vanishing(&two.a, &at_a, "second", &read);
    until_true("B has it", || shown(&two.b, &at_b).len() == 2).await;
    until_true("it is removed", || is_removed(&two.a, &at_a, &second)).await;
    until_true("its file goes, too", || two.a.files().assets() == kept).await;
    let redactions = || {
        let events = two.a.homeserver.events(&at_a).into_iter();
        events.filter(|event| event["type"] == "m.room.redaction").count()
    };
    assert_eq!(redactions(), 2, "one a message");
}

/// By somebody else who may do that; who may not takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_of_another_provider_deletes_the_file_too() {
    let (two, _, at_a, at_b) = two().await;
    let uri = two.a.only_room().await;
    let mut listener = Listener::new(&two, &at_a, &uri).await;
    let said = send(&two.a, &at_a, "a1", b"a cat");
    let there = until("the picture", || shown(&two.b, &at_b).pop()).await;
    let id = there["content"]["im.mimi-gateway.message"]["id"].as_str().unwrap();
    let id = MessageId(hex::decode(id).unwrap().try_into().unwrap());
    let deletion = |content: &mut MimiContent| {
        content.body = NestedPart::render(Body::Null);
        content.replaces = Some(id);
    };
    listener.say(&two.a, "deletes", deletion).await;
    listener.say(&two.a, "and on", |_| {}).await;
    until_true("what came after it", || two.a.homeserver.bodies(&at_a).contains(&"and on".to_owned())).await;
    assert!(!is_removed(&two.a, &at_a, &said));
    assert_eq!(two.a.files().assets().len(), 1, "m1 is no moderator");
    let mut levels = two.a.homeserver.states(&at_a, "m.room.power_levels").pop().unwrap();
    levels["users"][two.a.ghost(&two.b.uri("b1"))] = json!(50);
    two.a.homeserver.set(&at_a, "a1", "m.room.power_levels", levels);
    let b1 = two.b.homeserver.user("b1");
    let level = || two.b.homeserver.states(&at_b, "m.room.power_levels").pop().unwrap()["users"][&b1] == 50;
    until_true("B1 is a moderator", level).await;
    two.b.homeserver.redact(&at_b, "b1", there["event_id"].as_str().unwrap());
    until_true("it is deleted at A", || is_removed(&two.a, &at_a, &said)).await;
    until_true("its file is gone", || two.a.files().assets().is_empty()).await;
}

/// Both sides end again and again while files and texts cross: each comes once, whole, and in its sender's order.
async fn seeded(seed: u64) {
    let (two, switch, at_a, at_b) = two().await;
    for silo in [&two.a, &two.b] {
        *silo.files().wait.lock().unwrap() = Duration::from_secs(30);
    }
    let (crashes, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let two = Arc::new(two);
    let crashing = async {
        let mut steps = Steps(seed);
        while !done.load(Ordering::Relaxed) {
            let silo = if steps.next(2) == 0 { &two.a } else { &two.b };
            let past = u64::from(crashes.fetch_add(1, Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(5 + steps.next(60 + 10 * past))).await;
            silo.crash().await;
            silo.start().await;
        }
    };
    let talking = async {
        let (mut at_a_said, mut at_b_said) = (Vec::new(), Vec::new());
        for n in 0..10_u8 {
            for (silo, room, name, said) in
                [(&two.a, &at_a, "a1", &mut at_a_said), (&two.b, &at_b, "b1", &mut at_b_said)]
            {
                let bytes = vec![n; 3000 + usize::from(n)];
                let url = silo.files().files.keep(&bytes);
                let mut content = picture(&url, bytes.len());
                content["body"] = json!(format!("{name} picture {n}"));
                silo.homeserver.send(room, name, "m.room.message", content);
                silo.homeserver.say(room, name, &format!("{name} text {n}"));
                said.push(format!("{name} picture {n}"));
                said.push(format!("{name} text {n}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let all: Vec<&str> = at_a_said.iter().chain(&at_b_said).map(String::as_str).collect();
        for (silo, room, others) in [(&two.a, &at_a, &at_b_said), (&two.b, &at_b, &at_a_said)] {
            until_bodies(silo, room, &all).await;
            let bodies = silo.homeserver.bodies(room).into_iter();
            let came: Vec<String> = bodies.filter(|body| others.contains(body)).collect();
            assert_eq!(came, *others);
            for (n, event) in (0_u8..).zip(shown(silo, room)) {
                assert_eq!(bytes_of(silo, &event), vec![n; 3000 + usize::from(n)]);
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(crashing, talking);
    assert!(crashes.load(Ordering::Relaxed) > 3);
    for silo in [&two.a, &two.b] {
        until_true("one asset a picture", || silo.files().assets().len() == 10).await;
    }
    drop(switch);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_survive_crashes() {
    seeded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_survive_other_crashes() {
    seeded(2).await;
}
