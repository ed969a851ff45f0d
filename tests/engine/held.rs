//! What waits for its files, and cannot go on: it is told, and everything behind it goes on.

use std::time::{Duration, Instant};

use mimi_gateway::store::{Batch, StoreError, Write};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    homeserver::Fault,
    media::{DOWNLOAD, GET, bytes_of, gallery, notice, picture, send, shown, two},
    silo::{Silo, until, until_bodies, until_true},
};

const SUBMIT: &str = "submitMessage b.example to a.example";

async fn restart(silo: &Silo, wait: Duration) {
    silo.stop().await;
    *silo.files().wait.lock().unwrap() = wait;
    silo.start().await;
}

fn redacted(silo: &Silo, room: &RoomId) -> Vec<Value> {
    let events = silo.homeserver.events(room).into_iter();
    let redactions = events.filter(|event| event["type"] == "m.room.redaction");
    redactions.map(|event| event["content"]["redacts"].clone()).collect()
}

pub(crate) fn has(key: &[u8], part: &str) -> bool {
    key.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Whether a batch notes what became of the files of an event that waits.
fn brings(batch: &Batch) -> bool {
    let puts =
        |part: &str| batch.writes().iter().any(|write| matches!(write, Write::Put { key, .. } if has(key, part)));
    let came =
        batch.writes().iter().any(|write| matches!(write, Write::Delete { key } if has(key, "inbox"))) || puts("event");
    puts("held") && !came
}

/// Whether a batch says this event in its room, which waited before.
fn says(batch: &Batch, event: &str) -> bool {
    let mut waited = false;
    let mut said = false;
    for write in batch.writes() {
        match write {
            Write::Put { key, .. } => said |= has(key, "event") && has(key, event),
            Write::Delete { key } => waited |= has(key, "held"),
        }
    }
    waited && said
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_never_be_worked_on_is_set_aside_alone_and_its_sender_told() {
    let (two, switch, at_a, at_b) = two().await;
    let a = &two.a.homeserver;
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    send(&two.a, &at_a, "a1", b"a cat");
    let bad = a.say(&at_a, "a1", "that was a cat").to_string();
    a.say(&at_a, "a1", "and this is none");
    let poison = bad.clone();
    two.a.memory().judge(move |batch| {
        let refused = StoreError::Invalid("a value of 64 MiB and more".to_owned());
        if says(batch, &poison) { Err(refused) } else { Ok(()) }
    });
    switch.set(&[]);
    until_bodies(&two.b, &at_b, &["Look", "and this is none"]).await;
    assert_eq!(bytes_of(&two.b, &shown(&two.b, &at_b)[0]), b"a cat");
    until_true("A1 is told", || notice(&two.a, &at_a, "was not sent to the MIMI users: the gateway cannot work on it"))
        .await;
    let statuses = two.a.homeserver.statuses(&at_a, &bad);
    assert_eq!(statuses.last().map(|status| &status["status"]), Some(&json!("FAIL_PERMANENT")));
    assert_eq!(two.a.engine().quarantined(), 1);
    // It does not come back.
    two.a.stop().await;
    two.a.start().await;
    a.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["Look", "and this is none", "end"]).await;
    assert_eq!(two.a.engine().quarantined(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_at_which_the_gateway_panics_is_a_note_and_the_room_goes_on() {
    let (two, switch, at_a, at_b) = two().await;
    switch.set(&[(GET, Fault::Panics)]);
    send(&two.a, &at_a, "a1", b"a cat");
    two.a.homeserver.say(&at_a, "a1", "that was a cat");
    until_bodies(&two.b, &at_b, &["Look", "that was a cat"]).await;
    assert!(notice(&two.b, &at_b, "cat.png (picture, 5 bytes) could not be fetched"));
    // On the way out, too.
    switch.set(&[(DOWNLOAD, Fault::Panics)]);
    send(&two.a, &at_a, "a1", b"a dog");
    two.a.homeserver.say(&at_a, "a1", "that was a dog");
    until_bodies(&two.b, &at_b, &["Look", "that was a cat", "Look", "that was a dog"]).await;
    assert!(notice(&two.a, &at_a, "was not sent to the MIMI users, cat.png"));
    // Of one without a caption nothing is sent: clients show that beside it.
    let bare = json!({"msgtype": "m.image", "body": "dog.png", "url": two.a.files().files.keep(b"a dog")});
    let bare = two.a.homeserver.send(&at_a, "a1", "m.room.message", bare);
    let failed = || two.a.homeserver.statuses(&at_a, &bare).pop();
    let status = until("the status of the file", failed).await;
    assert_eq!(status["status"], "FAIL_PERMANENT");
    assert!(status["message"].as_str().unwrap().contains("dog.png"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_start_a_server_that_is_away_is_waited_for_once() {
    let (two, switch, at_a, at_b) = two().await;
    restart(&two.b, Duration::from_mins(1)).await;
    switch.set(&[(GET, Fault::Before)]);
    for n in 0..8_u8 {
        send(&two.a, &at_a, "a1", &[n]);
    }
    two.a.homeserver.say(&at_a, "a1", "end");
    until_true("all came", || two.a.files().assets().len() == 8).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    two.b.crash().await;
    *two.b.files().wait.lock().unwrap() = Duration::from_secs(2);
    let since = Instant::now();
    two.b.start().await;
    until_bodies(&two.b, &at_b, &["end"]).await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}: each was waited for", since.elapsed());
    switch.set(&[]);
    until_true("they come all the same", || shown(&two.b, &at_b).len() == 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_message_goes_the_note_that_stood_in_its_place() {
    let (two, switch, at_a, at_b) = two().await;
    restart(&two.b, Duration::from_millis(100)).await;
    switch.set(&[(GET, Fault::Before)]);
    let said = send(&two.a, &at_a, "a1", b"a cat");
    until_true("a note", || notice(&two.b, &at_b, "is still on the way")).await;
    let note = two.b.homeserver.event(&at_b, "[cat.png (picture, 5 bytes) is still on the way]");
    switch.set(&[]);
    until_true("the picture", || !shown(&two.b, &at_b).is_empty()).await;
    let picture = shown(&two.b, &at_b)[0]["event_id"].clone();
    // That it is there is noted a moment after it is.
    tokio::time::sleep(Duration::from_millis(200)).await;
    two.a.homeserver.redact(&at_a, "a1", &said);
    until_true("both are gone", || redacted(&two.b, &at_b).len() == 2).await;
    let gone = redacted(&two.b, &at_b);
    assert!(gone.contains(&json!(note)) && gone.contains(&picture), "{gone:?}");
}

/// The gateway ends while it shows late pictures, and they are deleted then.
#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_a_deleted_message_that_were_shown_before_a_crash_go() {
    let (two, switch, at_a, at_b) = two().await;
    restart(&two.b, Duration::from_millis(100)).await;
    switch.set(&[(GET, Fault::Before)]);
    let pictures = gallery(&two.a, &["1.png", "2.png", "3.png"]);
    let gallery = two.a.homeserver.send(&at_a, "a1", "m.room.message", pictures);
    until_true("a note", || notice(&two.b, &at_b, "are still on the way")).await;
    // The last one is not shown.
    let faults = two.b.faults.clone();
    *faults.lock().unwrap() = Box::new(|call| if call.contains("\\\"3.png\\\"") { Fault::Before } else { Fault::None });
    until_true("two are shown", || shown(&two.b, &at_b).len() == 2).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    two.b.crash().await;
    two.a.homeserver.redact(&at_a, "a1", &gallery);
    until_true("the assets go", || two.a.files().assets().is_empty()).await;
    // From now on nothing of it can be had.
    two.b.start().await;
    let all = || {
        let gone = redacted(&two.b, &at_b);
        shown(&two.b, &at_b).iter().all(|event| gone.contains(&event["event_id"]))
    };
    until_true("what was shown is gone", || redacted(&two.b, &at_b).len() >= 3 && all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_takes_the_place_of_all_that_shows_a_message() {
    let (two, _, at_a, at_b) = two().await;
    let gallery = |names: &[&str]| gallery(&two.a, names);
    let edit = |of: &str, new: Value| {
        let mut edit = new.clone();
        edit["m.new_content"] = new;
        edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": of });
        edit
    };
    let of = |name: &str| {
        let events = shown(&two.b, &at_b).into_iter();
        let found = events.filter(|event| event["content"]["filename"] == name).map(|event| event["event_id"].clone());
        found.collect::<Vec<_>>()
    };
    let said = two.a.homeserver.send(&at_a, "a1", "m.room.message", gallery(&["1.png", "2.png", "3.png"]));
    until_true("three pictures", || shown(&two.b, &at_b).len() == 3).await;
    let [one, two_png, three] = ["1.png", "2.png", "3.png"].map(of).map(|found| found[0].clone());
    two.a.homeserver.send(&at_a, "a1", "m.room.message", edit(&said, gallery(&["4.png", "5.png"])));
    until_true("the old ones go", || redacted(&two.b, &at_b).len() == 2).await;
    let gone = redacted(&two.b, &at_b);
    assert!(gone.contains(&two_png) && gone.contains(&three), "{gone:?}");
    let events = two.b.homeserver.events(&at_b);
    let edited = events.iter().find(|event| event["content"]["m.new_content"]["filename"] == "4.png").unwrap();
    assert_eq!(edited["content"]["m.relates_to"]["event_id"], one);
    let five = of("5.png")[0].clone();
    // A version without files leaves none.
    let text = json!({ "msgtype": "m.text", "body": "never mind" });
    two.a.homeserver.send(&at_a, "a1", "m.room.message", edit(&said, text));
    until_true("the last one goes", || redacted(&two.b, &at_b).contains(&five)).await;
    assert!(!redacted(&two.b, &at_b).contains(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_stay_until_the_hub_takes_their_deletion() {
    let (two, switch, at_a, at_b) = two().await;
    for (count, keeps) in [(1, true), (2, false)] {
        let said = send(&two.b, &at_b, "b1", b"a cat");
        until_true("the picture", || shown(&two.a, &at_a).len() == count).await;
        let before = two.b.files().assets().len();
        if keeps {
            switch.set(&[(SUBMIT, Fault::Refused)]);
        }
        two.b.homeserver.redact(&at_b, "b1", &said);
        if keeps {
            until_true("B1 is told", || notice(&two.b, &at_b, "could not be delivered")).await;
            switch.set(&[]);
            two.b.homeserver.say(&at_b, "b1", "still there");
            until_bodies(&two.a, &at_a, &["Look", "still there"]).await;
            assert_eq!(two.b.files().assets().len(), before);
        } else {
            until_true("it is gone", || two.b.files().assets().len() < before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_the_files_of_all_versions() {
    let (two, switch, at_a, at_b) = two().await;
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    let first = send(&two.a, &at_a, "a1", b"a cat");
    let url = two.a.files().files.keep(b"a better cat");
    let mut edit = picture(&url, 12);
    edit["m.new_content"] = edit.clone();
    edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": first });
    two.a.homeserver.send(&at_a, "a1", "m.room.message", edit);
    switch.set(&[]);
    until_true("both are there", || two.a.files().assets().len() == 2).await;
    until_true("both are shown", || shown(&two.b, &at_b).len() == 2).await;
    two.a.homeserver.redact(&at_a, "a1", &first);
    until_true("both are gone", || two.a.files().assets().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_event_leaves_no_asset_whenever_the_process_ends() {
    let (two, switch, at_a, at_b) = two().await;
    // It is sealed, and the process ends before that is noted.
    let refused = || Err(StoreError::Busy("the process is gone".to_owned()));
    two.a.memory().judge(move |batch| if brings(batch) { refused() } else { Ok(()) });
    let said = send(&two.a, &at_a, "a1", b"a cat");
    until_true("the asset", || two.a.files().assets().iter().any(|path| path.extension().is_none())).await;
    // The store of assets knows it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    two.a.crash().await;
    two.a.memory().judge(|_| Ok(()));
    // It fetches the file once more, and cannot.
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    two.a.homeserver.redact(&at_a, "a1", &said);
    two.a.start().await;
    two.a.homeserver.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["end"]).await;
    two.a.stop().await;
    two.a.start().await;
    until_true("nothing is left", || two.a.files().assets().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_user_so_many_files_wait_and_no_more() {
    let (two, switch, at_a, at_b) = two().await;
    two.a.stop().await;
    *two.a.files().hold.lock().unwrap() = Duration::from_millis(300);
    two.a.start().await;
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    for n in 0..131_u8 {
        send(&two.a, &at_a, "a1", &[n]);
    }
    let told = "too many of their files wait here already";
    until_true("A1 is told", || notice(&two.a, &at_a, told)).await;
    switch.set(&[]);
    until_true("the others come", || shown(&two.b, &at_b).len() == 128).await;
    assert_eq!(two.b.homeserver.bodies(&at_b).len(), 131);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_are_set_aside_and_nothing_stumbles_over_them() {
    let (two, switch, at_a, at_b) = two().await;
    restart(&two.b, Duration::from_millis(100)).await;
    switch.set(&[(GET, Fault::Before)]);
    send(&two.a, &at_a, "a1", b"late at B");
    until_true("a note", || notice(&two.b, &at_b, "is still on the way")).await;
    switch.set(&[(DOWNLOAD, Fault::Before), (GET, Fault::Before)]);
    let at = crate::later::millis() + 3_600_000;
    let at = json!({ "msgtype": "m.text", "body": "gone", "org.matrix.self_destruct_after": at });
    two.a.homeserver.send(&at_a, "a1", "m.room.message", at);
    send(&two.a, &at_a, "a1", b"held at A");
    until_true("it came", || two.a.homeserver.is_quiet()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    two.a.stop().await;
    two.b.stop().await;
    let damaged = [("held", &two.a), ("expiring", &two.a), ("late", &two.b)];
    for (table, silo) in damaged {
        assert_eq!(silo.memory().damage(table), 1, "{table}");
    }
    switch.set(&[]);
    two.a.start().await;
    two.b.start().await;
    until_true("A sets two aside", || two.a.engine().quarantined() == 2).await;
    until_true("B sets one aside", || two.b.engine().quarantined() == 1).await;
    for (table, silo) in damaged {
        assert_eq!(silo.bytes().await.get(table), None, "{table}");
    }
    two.a.homeserver.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["gone", "end"]).await;
}
