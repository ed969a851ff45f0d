//! Rooms whose host's last user left: the hub sees the group from outside, the others talk on, and somebody of the host comes
//! back.

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget},
    ident::RoomUri,
    wire::{GroupInfoOption, HandshakeBundle, RawGroupInfo, UpdateOutcome, UpdateRoomResponse, Wire as _},
};
use ruma::OwnedRoomId;

use crate::{
    flow::until_room,
    silo::{PATIENCE, Silo, Two, bring, until, until_bodies, until_true},
};

/// A hosts a room with B1 and C1, and A1, who made it, left: the room at A, B and C.
async fn without_host(two: &Two, c: &Silo) -> (OwnedRoomId, OwnedRoomId, OwnedRoomId, RoomUri) {
    let (at_a, at_b, uri) = two.room().await;
    let at_c = bring(&two.a, &at_a, "a1", c, "c1").await;
    two.a.homeserver.leave(&at_a, "a1");
    let ghost = c.ghost(&two.a.uri("a1"));
    until_true("A1's ghost goes at C", || c.homeserver.member(&at_c, &ghost).as_deref() == Some("leave")).await;
    until_participants(&two.a, &uri, 2).await;
    (at_a, at_b, at_c, uri)
}

async fn until_participants(silo: &Silo, uri: &RoomUri, wanted: usize) {
    let since = std::time::Instant::now();
    loop {
        let found = silo.room(uri).await.map(|room| room.2);
        if found == Some(wanted) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{uri} at {} should have {wanted} participants: {found:?}", silo.domain);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_talk_on_through_a_hub_without_users() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, at_c, uri) = without_host(&two, &c).await;
    until_room(&two.a, &uri, "active").await;
    two.b.homeserver.say(&at_b, "b1", "one");
    until_bodies(&c, &at_c, &["one"]).await;
    c.homeserver.say(&at_c, "c1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    // The hub's state is on disk; commits of a newcomer with and without Welcome go through it.
    two.a.stop().await;
    two.a.start().await;
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    two.b.homeserver.say(&at_b, "b2", "three");
    until_bodies(&c, &at_c, &["one", "two", "three"]).await;
    let d = Silo::new("d", &["d1"], &two.a.net).await;
    let at_d = bring(&c, &at_c, "c1", &d, "d1").await;
    d.homeserver.say(&at_d, "d1", "four");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four"]).await;
    let asked = two.a.net.calls(&d.domain, Endpoint::KeyMaterial);
    assert!(!asked.is_empty() && asked.iter().all(|call| call.from == two.a.domain));
    // One of them leaves; the rest commits that.
    c.homeserver.leave(&at_c, "c1");
    until_room(&c, &uri, "left").await;
    until_participants(&two.a, &uri, 3).await;
    d.homeserver.say(&at_d, "d1", "five");
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four", "five"]).await;
    // A read nothing of all that.
    assert!(two.a.homeserver.bodies(&at_a).is_empty());
    assert!(two.a.homeserver.notices(&at_a).iter().all(|text| !text.contains("broken")));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_the_host_is_asked_back() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, at_c, uri) = without_host(&two, &c).await;
    two.b.homeserver.say(&at_b, "b1", "without you");
    until_bodies(&c, &at_c, &["without you"]).await;
    // Another one than who left.
    assert_eq!(bring(&two.b, &at_b, "b1", &two.a, "a2").await, at_a);
    two.a.homeserver.say(&at_a, "a2", "here I am");
    until_bodies(&c, &at_c, &["without you", "here I am"]).await;
    c.homeserver.say(&at_c, "c1", "welcome");
    until_bodies(&two.a, &at_a, &["here I am", "welcome"]).await;
    // With a member of its own in the room the hub is as before: A1 comes by Matrix' own rules.
    two.a.homeserver.invite(&at_a, "a2", &two.a.homeserver.user("a1"), false);
    two.a.homeserver.join(&at_a, "a1");
    two.a.homeserver.say(&at_a, "a1", "me too");
    until_bodies(&two.b, &at_b, &["without you", "here I am", "welcome", "me too"]).await;
    until_participants(&c, &uri, 4).await;
    // And they can leave again.
    for name in ["a1", "a2"] {
        two.a.homeserver.leave(&at_a, name);
    }
    until_participants(&two.a, &uri, 2).await;
    c.homeserver.say(&at_c, "c1", "gone again");
    until_bodies(&two.b, &at_b, &["without you", "here I am", "welcome", "me too", "gone again"]).await;
    assert_eq!(two.a.homeserver.bodies(&at_a).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_of_all_ends_the_room() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.a.homeserver.leave(&at_a, "a1");
    until_participants(&two.a, &uri, 1).await;
    two.b.homeserver.leave(&at_b, "b1");
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
        until_room(silo, &uri, "left").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_its_group_info_is_refused() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let target = PathTarget::Uri(uri.as_uri().clone());
    // What B sends is lost on its way until it was tried with another GroupInfo.
    let sent = std::sync::Arc::new(std::sync::Mutex::new(false));
    let armed = sent.clone();
    two.a.homeserver.leave(&at_a, "a1");
    until_participants(&two.a, &uri, 1).await;
    *two.b.faults.lock().unwrap() = Box::new(move |call: &str| {
        if call.starts_with("update") && !*armed.lock().unwrap() { crate::homeserver::Fault::Before } else { crate::homeserver::Fault::None }
    });
    let before = two.a.room(&uri).await.unwrap().1;
    let old = two.a.net.calls(&two.a.domain, Endpoint::Update).last().unwrap().body.clone();
    let HandshakeBundle::Commit(old) = HandshakeBundle::decode(&old).unwrap() else { panic!("no commit") };
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    // The bytes wait in B's outbox: they are the same that come later.
    *sent.lock().unwrap() = true;
    until_participants(&two.a, &uri, 2).await;
    let call = two.a.net.calls(&two.a.domain, Endpoint::Update).pop().unwrap();
    let HandshakeBundle::Commit(bundle) = HandshakeBundle::decode(&call.body).unwrap() else { panic!("no commit") };
    assert!(two.a.room(&uri).await.unwrap().1 > before);
    // An old one again: it is for an epoch that is over, whatever its GroupInfo.
    let mut swapped = *bundle.clone();
    swapped.group_info = old.group_info.clone();
    let answer = two.a.receive("b", Endpoint::Update, &target, &HandshakeBundle::Commit(Box::new(swapped)).encode()).await;
    let answer = UpdateRoomResponse::decode(&answer.unwrap()).unwrap();
    assert!(matches!(answer.outcome, UpdateOutcome::WrongEpoch { .. }));
    let GroupInfoOption::Full(info) = &bundle.group_info else { panic!("a partial one") };
    assert!(RawGroupInfo::from_bytes(info.as_bytes().to_vec()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_asked_is_put_out_and_told() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.a.homeserver.leave(&at_a, "a1");
    until_participants(&two.a, &uri, 1).await;
    two.a.homeserver.join(&at_a, "a2");
    let a2 = two.a.homeserver.user("a2");
    until_true("A2 is put out", || two.a.homeserver.member(&at_a, &a2).as_deref() == Some("leave")).await;
    two.b.homeserver.say(&at_b, "b1", "to myself");
    until("B's message is accepted", || (!two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage).is_empty()).then_some(())).await;
    assert!(two.a.homeserver.bodies(&at_a).is_empty());
}
