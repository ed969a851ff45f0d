//! Pictures of people on the other side: of those who speak, once, in each room by itself.

use mimi_gateway::engine::ports::Endpoint;

use crate::{
    faces::submitted,
    homeserver::Fault,
    media::DOWNLOAD,
    silo::{Silo, Two, until_bodies, until_true},
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n of a face";

fn picture(text: &str) -> Vec<u8> {
    [PNG, text.as_bytes()].concat()
}

async fn until_looks(silo: &Silo, room: &ruma::RoomId, user: &str, wanted: Option<&[u8]>) {
    let what = format!("{user} looks at {} as it should", silo.domain);
    let shown = || silo.homeserver.looks(room, user).map(|place| silo.files().files.of(&place));
    until_true(&what, || shown().as_deref() == wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_crosses_once_both_ways_and_stays_when_a_name_comes() {
    let two = Two::with_files(crate::homeserver::no_faults()).await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (alice, bob) = (two.b.ghost(&two.a.uri("a1")), two.a.ghost(&two.b.uri("b1")));
    let place = two.a.files().files.keep(&picture("alice"));
    a.picture_me(&at_a, "a1", Some(&place));
    a.say(&at_a, "a1", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    until_looks(&two.b, &at_b, &alice, Some(&picture("alice"))).await;
    // From a follower; said on, nothing is told or uploaded again, also after a restart.
    b.picture_me(&at_b, "b1", Some(&two.b.files().files.keep(&picture("bob"))));
    b.say(&at_b, "b1", "two");
    until_looks(&two.a, &at_a, &bob, Some(&picture("bob"))).await;
    until_true("what is said, and the picture", || submitted(&two) == 2).await;
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
    }
    b.say(&at_b, "b1", "three");
    until_true("three", || a.bodies(&at_a).len() == 3).await;
    until_true("no more", || submitted(&two) == 3).await;
    // The card with the name says nothing of the picture.
    b.call_me(&at_b, "b1", Some("Bob"));
    b.say(&at_b, "b1", "four");
    until_true("its name", || a.called(&at_a, &bob).as_deref() == Some("Bob (b.example)")).await;
    assert!(a.looks(&at_a, &bob).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_waits_for_no_picture_and_one_that_is_none_is_none() {
    let (two, switch, at_a, at_b) = crate::media::two().await;
    let (a, alice) = (&two.a.homeserver, two.b.ghost(&two.a.uri("a1")));
    let place = two.a.files().files.keep(&picture("alice"));
    switch.set(&[(DOWNLOAD, Fault::Before)]);
    a.picture_me(&at_a, "a1", Some(&place));
    a.say(&at_a, "a1", "first");
    until_bodies(&two.b, &at_b, &["first"]).await;
    assert_eq!(two.b.homeserver.looks(&at_b, &alice), None);
    switch.set(&[]);
    until_looks(&two.b, &at_b, &alice, Some(&picture("alice"))).await;
    // No picture, and one that is too large for a card.
    let notify = || two.a.net.calls(&two.b.domain, Endpoint::Notify).len();
    for bytes in [b"<svg onload=alert(1)>".to_vec(), [PNG, &vec![0; 100_000]].concat()] {
        a.picture_me(&at_a, "a1", Some(&two.a.files().files.keep(&bytes)));
        let before = notify();
        a.say(&at_a, "a1", "more");
        until_true("it is said", || notify() > before).await;
    }
    a.say(&at_a, "a1", "last");
    until_true("all of it", || two.b.homeserver.bodies(&at_b).len() == 4).await;
    until_looks(&two.b, &at_b, &alice, Some(&picture("alice"))).await;
}
