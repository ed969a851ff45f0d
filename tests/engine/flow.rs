//! The flow that works for users, in miniature.

use std::{sync::Arc, time::Duration};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget},
    ident::{RoomUri, UserUri},
    mls::{CIPHER_SUITE, DEVICE, labels},
    wire::{
        Credential, FanoutContent, FanoutMessage, KeyMaterialRequest, KeyMaterialRequestTbs, KeyMaterialResponse,
        KeyMaterialUserCode, RatchetTreeOption, RequiredCapabilities, Wire as _,
    },
};

use ruma::OwnedRoomId;

use crate::{
    homeserver::{Seen, no_faults},
    silo::{Disk, Net, Silo, Two, ask_bot_in, bridge, bring, until, until_bodies, until_true},
};

fn seen(sender: String, body: &str) -> Seen {
    Seen { sender, body: body.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_talk() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    assert_eq!(b.state(&at_b, "m.room.name", "name").as_deref(), Some("Tea"));
    a.say(&at_a, "a1", "hello");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    b.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &at_a, &["hello", "hi"]).await;
    assert_eq!(b.messages(&at_b)[0], seen(two.b.ghost(&two.a.uri("a1")), "hello"));
    assert_eq!(a.messages(&at_a)[1], seen(two.a.ghost(&two.b.uri("b1")), "hi"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_with_restarts() {
    let net = Arc::new(Net::default());
    let dir = tempfile::tempdir().unwrap();
    let disk = |name: &str| Disk::Sqlite(dir.path().join(name));
    let a = Silo::start_on("a", &["a1"], &net, disk("a"), no_faults()).await;
    let b = Silo::start_on("b", &["b1"], &net, disk("b"), no_faults()).await;
    let two = Two { a, b };
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.say(&at_a, "a1", "one");
    two.a.stop().await;
    two.a.homeserver.say(&at_a, "a1", "two");
    two.b.homeserver.say(&at_b, "b1", "three");
    two.a.start().await;
    until_bodies(&two.b, &at_b, &["one", "two", "three"]).await;
    two.b.stop().await;
    two.a.homeserver.say(&at_a, "a1", "four");
    two.b.homeserver.say(&at_b, "b1", "five");
    two.b.start().await;
    until_bodies(&two.b, &at_b, &["one", "two", "three", "four", "five"]).await;
    until_bodies(&two.a, &at_a, &["one", "two", "three", "four", "five"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_brings_a_friend_through_the_hub() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    // B1 and B2 are on one server: the Matrix way.
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    let friend = two.a.ghost(&two.b.uri("b2"));
    until_true("B2's ghost at A", || two.a.homeserver.member(&at_a, &friend).as_deref() == Some("join")).await;
    two.b.homeserver.say(&at_b, "b2", "me too");
    until_bodies(&two.a, &at_a, &["me too"]).await;
    assert_eq!(two.a.homeserver.messages(&at_a), [seen(friend, "me too")]);
    two.a.homeserver.say(&at_a, "a1", "welcome");
    until_bodies(&two.b, &at_b, &["me too", "welcome"]).await;
    let (state, _, participants) = two.b.room(&uri).await.unwrap();
    assert_eq!((state.as_str(), participants), ("active", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_invites_a_third_provider_through_the_hub() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, uri) = two.room().await;
    let at_c = bring(&two.b, &at_b, "b1", &c, "c1").await;
    c.homeserver.say(&at_c, "c1", "hello from C");
    until_bodies(&two.a, &at_a, &["hello from C"]).await;
    until_bodies(&two.b, &at_b, &["hello from C"]).await;
    two.b.homeserver.say(&at_b, "b1", "and B");
    until_bodies(&c, &at_c, &["hello from C", "and B"]).await;
    // The KeyPackages came by way of the hub.
    let asked = two.a.net.calls(&c.domain, Endpoint::KeyMaterial);
    assert!(!asked.is_empty() && asked.iter().all(|call| call.from == two.a.domain));
    assert_eq!(c.room(&uri).await.unwrap().2, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_invites_somebody_of_the_hub() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.b.homeserver.say(&at_b, "b1", &format!("!mimi invite {}", two.a.uri("a2")));
    let invited = until("an invitation", || two.a.homeserver.invitations("a2").first().cloned()).await;
    assert_eq!(invited, at_a);
    two.a.homeserver.join(&at_a, "a2");
    let ghost = two.b.ghost(&two.a.uri("a2"));
    until_true("A2's ghost at B", || two.b.homeserver.member(&at_b, &ghost).as_deref() == Some("join")).await;
    two.a.homeserver.say(&at_a, "a2", "here I am");
    until_bodies(&two.b, &at_b, &["here I am"]).await;
    assert_eq!(two.a.room(&uri).await.unwrap().2, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_there_before_speaks_without_set_up() {
    let two = Two::new().await;
    let homeserver = &two.a.homeserver;
    let room = homeserver.create_room("a1", "Tea");
    homeserver.invite(&room, "a1", &homeserver.user("a2"), false);
    homeserver.join(&room, "a2");
    homeserver.say(&room, "a2", "before");
    ask_bot_in(homeserver, &room, "a1").await;
    homeserver.say(&room, "a1", "!mimi bridge");
    until_true("mirrored", || homeserver.notices(&room).iter().any(|text| text.starts_with("This room is mirrored")))
        .await;
    let portal = bring(&two.a, &room, "a1", &two.b, "b1").await;
    homeserver.say(&room, "a2", "from A2");
    until_bodies(&two.b, &portal, &["from A2"]).await;
    assert_eq!(two.b.homeserver.messages(&portal), [seen(two.b.ghost(&two.a.uri("a2")), "from A2")]);
    // And who comes later.
    homeserver.invite(&room, "a1", &homeserver.user("a3"), false);
    homeserver.join(&room, "a3");
    homeserver.say(&room, "a3", "from A3");
    until_bodies(&two.b, &portal, &["from A2", "from A3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_reads_no_more() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    two.b.homeserver.say(&at_b, "b2", "one");
    until_bodies(&two.a, &at_a, &["one"]).await;
    // B1 was the first there: its leaf is the anchor. B2 talks on.
    two.b.homeserver.leave(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("B1's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    two.a.homeserver.say(&at_a, "a1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    two.b.homeserver.say(&at_b, "b2", "three");
    until_bodies(&two.a, &at_a, &["one", "two", "three"]).await;
    // The last one leaves: nothing of the room comes to B any more.
    two.b.homeserver.leave(&at_b, "b2");
    let ghost = two.a.ghost(&two.b.uri("b2"));
    until_true("B2's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    until_room(&two.b, &uri, "left").await;
    let notified = two.a.net.calls(&two.b.domain, Endpoint::Notify).len();
    two.a.homeserver.say(&at_a, "a1", "four");
    until_bodies(&two.a, &at_a, &["one", "two", "three", "four"]).await;
    two.a.stop().await;
    assert_eq!(two.a.net.calls(&two.b.domain, Endpoint::Notify).len(), notified);
}

/// Waits until a silo says this about a room.
pub(crate) async fn until_room(silo: &Silo, uri: &RoomUri, state: &str) {
    let since = std::time::Instant::now();
    loop {
        let found = silo.room(uri).await.map(|room| room.0);
        if found.as_deref() == Some(state) {
            return;
        }
        assert!(since.elapsed() < crate::silo::PATIENCE, "{uri} should be {state}, is {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_can_come_back() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    two.b.homeserver.leave(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("B1's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    until_room(&two.b, &uri, "left").await;
    two.a.homeserver.say(&at_a, "a1", "not for B1");
    let again = bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    assert_eq!(again, at_b);
    two.a.homeserver.say(&at_a, "a1", "welcome back");
    until_bodies(&two.b, &at_b, &["welcome back"]).await;
    two.b.homeserver.say(&at_b, "b1", "thanks");
    until_bodies(&two.a, &at_a, &["not for B1", "welcome back", "thanks"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_removes_a_guest() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let ghost = two.a.ghost(&two.b.uri("b1"));
    two.a.homeserver.kick(&at_a, "a1", &ghost);
    let guest = two.b.homeserver.user("b1");
    until_true("B1 is removed", || two.b.homeserver.member(&at_b, &guest).as_deref() == Some("leave")).await;
    until_room(&two.b, &uri, "left").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_chat() {
    let two = Two::new().await;
    let homeserver = &two.a.homeserver;
    let guest = two.b.uri("b1");
    let room = homeserver.create_room("a1", "");
    homeserver.say(&room, "a1", "for myself");
    homeserver.invite(&room, "a1", &two.a.ghost(&guest), true);
    let portal = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    homeserver.say(&room, "a1", "are you there?");
    two.b.homeserver.join(&portal, "b1");
    until_true("the ghost joins", || homeserver.member(&room, &two.a.ghost(&guest)).as_deref() == Some("join")).await;
    homeserver.say(&room, "a1", "hello");
    until_true("B1 sees it", || two.b.homeserver.bodies(&portal).contains(&"hello".to_owned())).await;
    two.b.homeserver.say(&portal, "b1", "hi");
    until_true("A1 sees it", || homeserver.bodies(&room).contains(&"hi".to_owned())).await;
    assert!(!two.b.homeserver.bodies(&portal).contains(&"for myself".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn declining_tells_nobody() {
    let two = Two::new().await;
    let (at_a, uri) = two.bridge().await;
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    let portal = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.leave(&portal, "b1");
    // Whatever B has to say it says by now: it is stopped, and started again.
    until_true("B has heard", || two.b.homeserver.is_quiet()).await;
    two.b.stop().await;
    two.b.start().await;
    let notices = two.a.homeserver.notices(&at_a).len();
    let asked = ask_for_keys(&two, "b1", &uri).await;
    assert_eq!(asked.status, KeyMaterialUserCode::NoConsent);
    assert!(two.a.net.calls(&two.a.domain, Endpoint::UpdateConsent).is_empty());
    assert_eq!(two.a.homeserver.notices(&at_a).len(), notices);
    assert_eq!(two.a.homeserver.member(&at_a, &two.a.ghost(&two.b.uri("b1"))), None);
}

/// A keyMaterial request, signed as the requester.
pub(crate) fn key_request(requester: &UserUri, target: &UserUri, room: &RoomUri) -> Vec<u8> {
    let key = labels::SigningKey::generate().unwrap();
    let tbs = KeyMaterialRequestTbs {
        requesting_user: requester.clone(),
        target_user: target.clone(),
        room: Some(room.clone()),
        acceptable_ciphersuites: vec![CIPHER_SUITE],
        required_capabilities: RequiredCapabilities::default(),
        requester_signature_key: key.public().to_vec(),
        requester_credential: Credential::Basic {
            identity: requester.client(DEVICE).unwrap().as_str().as_bytes().to_vec(),
        },
    };
    let signature = labels::sign_with_label(&key, KeyMaterialRequestTbs::LABEL, &tbs.encode()).unwrap();
    KeyMaterialRequest::new(tbs, signature).encode()
}

/// A asks B for KeyPackages of one of B's people, without having asked for consent.
async fn ask_for_keys(two: &Two, name: &str, room: &RoomUri) -> KeyMaterialResponse {
    let (requester, target) = (two.a.uri("a1"), two.b.uri(name));
    let body = key_request(&requester, &target, room);
    let path = PathTarget::Uri(target.as_uri().clone());
    let answer = two.b.receive("a", Endpoint::KeyMaterial, &path, &body).await.unwrap();
    KeyMaterialResponse::decode(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_keys_without_consent_shows_the_invitation() {
    let two = Two::new().await;
    let (_, uri) = two.bridge().await;
    let answer = ask_for_keys(&two, "b1", &uri).await;
    assert_eq!(answer.status, KeyMaterialUserCode::NoConsent);
    until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    // Somebody who is not there gets the same answer.
    let nobody = ask_for_keys(&two, "nobody", &uri).await;
    assert_eq!(nobody.status, KeyMaterialUserCode::NoConsent);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_followed_room_the_anchor_leaves() {
    let two = Two::new().await;
    // Hosted by B this time: A follows, and A1 is its anchor.
    let (at_b, _) = bridge(&two.b, "b1").await;
    let at_a = bring(&two.b, &at_b, "b1", &two.a, "a1").await;
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    two.a.homeserver.say(&at_a, "a2", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    two.a.homeserver.leave(&at_a, "a1");
    let ghost = two.b.ghost(&two.a.uri("a1"));
    until_true("A1's ghost goes", || two.b.homeserver.member(&at_b, &ghost).as_deref() == Some("leave")).await;
    two.b.homeserver.say(&at_b, "b1", "two");
    two.a.homeserver.say(&at_a, "a2", "three");
    until_bodies(&two.a, &at_a, &["one", "two", "three"]).await;
    until_bodies(&two.b, &at_b, &["one", "two", "three"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_participant_follows_by_its_own_commit() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    // In a direct chat the other one is listed from the start; B1 does not look at the invitation, but says join.
    let at_a = a.create_room("a1", "");
    a.invite(&at_a, "a1", &two.a.ghost(&two.b.uri("b1")), true);
    let portal = until("an invitation", || b.invitations("b1").first().cloned()).await;
    let uri = two.a.only_room().await;
    let (desk, answer) = say_join(&two.b, "b1", &uri).await;
    assert!(answer.contains("you will get an invitation"), "{answer}");
    until_room(&two.b, &uri, "active").await;
    b.join(&portal, "b1");
    b.say(&portal, "b1", "here");
    until_bodies(&two.a, &at_a, &["here"]).await;
    a.say(&at_a, "a1", "good");
    until_bodies(&two.b, &portal, &["here", "good"]).await;
    // Nobody else may: nothing is made of the room, and B says so.
    let (_, answer) = say_join(&two.b, "b2", &uri).await;
    assert!(!b.invitations("b2").contains(&portal), "{answer}");
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (_, answer) = say_join(&c, "c1", &uri).await;
    assert!(answer.contains("does not let you in"), "{answer}");
    assert!(c.homeserver.invitations("c1").is_empty());
    assert_ne!(desk, portal);
}

/// Somebody opens a chat with the bot and asks for a room: the chat, and what the bot says.
async fn say_join(silo: &Silo, name: &str, uri: &RoomUri) -> (OwnedRoomId, String) {
    let homeserver = &silo.homeserver;
    let desk = homeserver.create_room(name, "Desk");
    homeserver.invite(&desk, name, homeserver.bot.as_str(), true);
    until_true("the bot comes", || homeserver.member(&desk, homeserver.bot.as_str()).as_deref() == Some("join")).await;
    homeserver.say(&desk, name, &format!("join {uri}"));
    let answer = until("an answer", || homeserver.notices(&desk).get(1).cloned()).await;
    (desk, answer)
}

/// A hub may leave the tree out (draft-ietf-mls-ratchet-tree-options): it is asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_without_its_tree() {
    fn treeless(endpoint: Endpoint, body: &[u8]) -> Option<Vec<u8>> {
        let mut messages = FanoutMessage::decode_all(body).ok().filter(|_| endpoint == Endpoint::Notify)?;
        for message in &mut messages {
            if let FanoutContent::Welcome { ratchet_tree, .. } = &mut message.content {
                *ratchet_tree = RatchetTreeOption::DistributionService;
            }
        }
        Some(FanoutMessage::encode_all(&messages))
    }
    let two = Two::new().await;
    *two.a.net.rewrite.lock().unwrap() = Some(treeless);
    let (at_a, at_b, uri) = two.room().await;
    assert_eq!(two.a.net.calls(&two.a.domain, Endpoint::GroupInfo).len(), 1);
    two.a.homeserver.say(&at_a, "a1", "can you read this?");
    until_bodies(&two.b, &at_b, &["can you read this?"]).await;
    two.b.homeserver.say(&at_b, "b1", "yes");
    until_bodies(&two.a, &at_a, &["can you read this?", "yes"]).await;
    until_room(&two.b, &uri, "active").await;
}
