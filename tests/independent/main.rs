//! A peer whose bytes do not come from this crate: mls-rs as its MLS, endpoints, content and HTTP by hand, against the
//! gateway's real server, engine and client over TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(
    dead_code,
    clippy::similar_names,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::too_many_arguments,
    reason = "stand-ins that are shared with other tests"
)]

mod bytes;
mod content;
#[path = "../engine/files.rs"]
mod files;
mod gateway;
mod handshake;
#[path = "../engine/homeserver.rs"]
mod homeserver;
mod host;
mod material;
mod net;
mod peer;
#[path = "../mimi_http/pki.rs"]
mod pki;
#[path = "../engine/silo.rs"]
mod silo;
mod suite;

use std::time::{Duration, Instant};

use ruma::OwnedRoomId;
use tokio::net::TcpListener;

use crate::{
    gateway::Gateway,
    peer::{Heard, Peer, USER, client, keys},
    pki::Ca,
    suite::Crypto,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let since = Instant::now();
    while !look() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn said(name: &str, text: &str) -> Heard {
    Heard::Said { sender: format!("mimi://a.example/u/{name}"), text: text.to_owned() }
}

/// A gateway, and a peer that it knows.
async fn both() -> (Gateway, Peer<impl mls_rs::client_builder::MlsConfig>) {
    let (ca_a, ca_c) = (Ca::new("CA of A"), Ca::new("CA of C"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gateway = Gateway::start(&ca_a.provider("a.example"), &ca_c, address, &["a1", "a2"]).await;
    let crypto = Crypto::default();
    let keys = keys(&crypto);
    let mls = client(crypto.clone(), &keys.0, &keys.1);
    let peer = Peer::new(mls, crypto, keys, listener, &ca_c.provider("c.example"), &ca_a, gateway.address);
    (gateway, peer)
}

/// A room of the gateway's, into which A1 asks the peer.
async fn mirrored(gateway: &Gateway) -> OwnedRoomId {
    let a = &gateway.homeserver;
    let room = a.create_room("a1", "Tea");
    a.invite(&room, "a1", a.bot.as_str(), false);
    until("the bot comes", || a.member(&room, a.bot.as_str()).as_deref() == Some("join")).await;
    a.say(&room, "a1", "!mimi bridge");
    until("it is mirrored", || a.notices(&room).iter().any(|notice| notice.starts_with("This room is mirrored"))).await;
    a.say(&room, "a1", &format!("!mimi invite {USER}"));
    room
}

/// A gateway, and a peer that A1 brought into a mirrored room by Welcome.
async fn together() -> (Gateway, Peer<impl mls_rs::client_builder::MlsConfig>, OwnedRoomId) {
    let (gateway, mut peer) = both().await;
    let room = mirrored(&gateway).await;
    peer.join_by_welcome().await;
    let (a, ghost) = (&gateway.homeserver, ghost(&gateway));
    until("C1's ghost", || a.member(&room, &ghost).as_deref() == Some("join")).await;
    (gateway, peer, room)
}

fn ghost(gateway: &Gateway) -> String {
    gateway.homeserver.ghost(&mimi_gateway::ident::UserUri::parse(USER).unwrap())
}

/// Waits until the gateway's people see exactly these texts.
async fn until_seen(gateway: &Gateway, room: &OwnedRoomId, texts: &[&str]) {
    until("what is seen", || gateway.homeserver.bodies(room) == texts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_messages_and_a_path_commit_each_way() {
    let (mut gateway, mut peer, room) = together().await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
    assert_eq!(peer.everybody().0, ["mimi://a.example/u/a1", USER]);

    gateway.homeserver.say(&room, "a1", "can you read this?");
    assert_eq!(peer.next().await, said("a1", "can you read this?"));
    peer.say("every byte").await;
    until_seen(&gateway, &room, &["can you read this?", "every byte"]).await;
    assert_eq!(gateway.homeserver.messages(&room)[1].sender, ghost(&gateway));

    peer.commit_path().await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
    gateway.homeserver.say(&room, "a1", "after your commit");
    assert_eq!(peer.next().await, said("a1", "after your commit"));

    // The gateway makes A1's leaf fresh before A1 speaks again: a commit without anything that mls-rs does not know.
    gateway.restart_distrusting().await;
    gateway.homeserver.say(&room, "a1", "after mine");
    let Heard::Commit { epoch } = peer.next().await else { panic!("a commit") };
    assert_eq!(peer.next().await, said("a1", "after mine"));
    assert_eq!((epoch, peer.epoch()), (gateway.epoch().await.0, gateway.epoch().await));
    peer.say("still here").await;
    until_seen(&gateway, &room, &["can you read this?", "every byte", "after your commit", "after mine", "still here"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_commit_brings_the_peer_back() {
    let (gateway, mut peer, room) = together().await;
    let before = peer.epoch();
    peer.join_by_external_commit().await;
    assert_eq!(peer.epoch().0, before.0 + 1);
    assert_eq!(peer.epoch(), gateway.epoch().await);
    assert_eq!(peer.everybody().1.len(), 2, "the old leaf is gone: {:?}", peer.everybody());
    peer.say("back again").await;
    until_seen(&gateway, &room, &["back again"]).await;
    gateway.homeserver.say(&room, "a1", "welcome back");
    assert_eq!(peer.next().await, said("a1", "welcome back"));
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_come_and_go_and_the_peer_is_removed() {
    let (gateway, mut peer, room) = together().await;
    let a = &gateway.homeserver;
    // A2 comes and speaks: its entry in the list and its leaf.
    a.invite(&room, "a1", &a.user("a2"), false);
    a.join(&room, "a2");
    a.say(&room, "a2", "me too");
    loop {
        match peer.next().await {
            Heard::Commit { .. } => {}
            heard => break assert_eq!(heard, said("a2", "me too")),
        }
    }
    assert_eq!(peer.epoch(), gateway.epoch().await);
    assert_eq!(peer.everybody().0, ["mimi://a.example/u/a1", USER, "mimi://a.example/u/a2"]);
    peer.say("hello A2").await;
    // A2 leaves: its entry and its leaf go.
    a.leave(&room, "a2");
    while peer.everybody().0.len() == 3 {
        assert!(!matches!(peer.next().await, Heard::Said { .. }));
    }
    assert_eq!(peer.epoch(), gateway.epoch().await);
    assert_eq!(peer.everybody().1.len(), 2);
    until_seen(&gateway, &room, &["me too", "hello A2"]).await;

    a.kick(&room, "a1", &ghost(&gateway));
    while peer.next().await != Heard::Removed {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_leaves_by_proposals() {
    let (gateway, mut peer, room) = together().await;
    let a = &gateway.homeserver;
    peer.say("good-bye").await;
    peer.leave().await;
    // The hub commits what is proposed; who leaves gets that commit, and nothing after it.
    assert_eq!(peer.next().await, Heard::Removed);
    let ghost = ghost(&gateway);
    until("C1's ghost goes", || a.member(&room, &ghost).as_deref() == Some("leave")).await;
    until_seen(&gateway, &room, &["good-bye"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_that_the_gateway_asks_for_brings_the_peer_in() {
    let (gateway, mut peer) = both().await;
    let room = mirrored(&gateway).await;
    let requester = peer.asked().await;
    // Consent alone: the gateway has to ask for KeyPackages.
    peer.grant(&requester, &[]).await;
    peer.give_key_material("mimi://a.example/u/a1").await;
    peer.welcomed().await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
    peer.say("by keyMaterial").await;
    until_seen(&gateway, &room, &["by keyMaterial"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_adds_a_client_by_a_key_package_that_it_asked_for() {
    let (gateway, mut peer, room) = together().await;
    let (a, a2) = (&gateway.homeserver, "mimi://a.example/u/a2");
    // A2 comes, and is in the list; it says nothing, so it has no leaf.
    a.invite(&room, "a1", &a.user("a2"), false);
    a.join(&room, "a2");
    assert!(matches!(peer.next().await, Heard::Commit { .. }));
    assert_eq!((peer.everybody().0.len(), peer.everybody().1.len()), (3, 2));
    assert_eq!(peer.ask_key_material(a2).await, (5, None), "no consent");
    // Being in the room is A2's consent, which the peer is told now that it asks.
    peer.post("/answer/c.example").await;
    let (0, Some(key_package)) = peer.ask_key_material(a2).await else { panic!("a KeyPackage") };
    peer.add(&key_package).await;
    assert_eq!(peer.everybody().1.len(), 3);
    // The gateway makes the new leaf fresh, as one that can take over from A1's; A2 speaks with the leaf that the peer gave it.
    assert!(matches!(peer.next().await, Heard::Commit { .. }));
    assert_eq!(peer.epoch(), gateway.epoch().await);
    a.say(&room, "a2", "with your leaf");
    assert_eq!(peer.next().await, said("a2", "with your leaf"));
    assert_eq!(peer.everybody().1.len(), 3);
    peer.say("welcome").await;
    until_seen(&gateway, &room, &["with your leaf", "welcome"]).await;
}

/// A room that the peer hosts, with A1 in it.
async fn hosted() -> (Gateway, Peer<impl mls_rs::client_builder::MlsConfig>, OwnedRoomId) {
    let (gateway, mut peer) = both().await;
    let (a, a1) = (&gateway.homeserver, "mimi://a.example/u/a1");
    peer.host(&[a1]);
    peer.ask(a1).await;
    until("an invitation", || !a.invitations("a1").is_empty()).await;
    let room = a.invitations("a1").remove(0);
    a.join(&room, "a1");
    let key_package = peer.granted(a1).await;
    peer.welcome(&key_package).await;
    gateway.joined().await;
    (gateway, peer, room)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_ours_adds_a_second_user() {
    let (gateway, mut peer, room) = hosted().await;
    let (a, a2) = (&gateway.homeserver, "mimi://a.example/u/a2");
    peer.ask(a2).await;
    until("an invitation", || a.invitations("a2").contains(&room)).await;
    a.join(&room, "a2");
    let key_package = peer.granted(a2).await;
    peer.list_and_add(a2, &key_package).await;
    assert_eq!((peer.everybody().0.len(), peer.everybody().1.len()), (3, 3));
    // A2's leaf can take over from A1's: the gateway makes it fresh.
    assert!(matches!(peer.serve().await, Heard::Commit { .. }));
    a.say(&room, "a2", "with your leaf");
    assert_eq!(peer.serve().await, said("a2", "with your leaf"));
    peer.host_says("welcome").await;
    until_seen(&gateway, &room, &["with your leaf", "welcome"]).await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_loses_its_epoch_at_the_peer_is_made_anew() {
    let (gateway, mut peer, room) = hosted().await;
    let a = &gateway.homeserver;
    let commit = peer.host_commits_unheard();
    a.invite(&room, "a1", &a.user("a2"), false);
    a.join(&room, "a2");
    assert_eq!(peer.serve().await, Heard::WrongEpoch);
    peer.host_tells(&commit).await;
    assert!(matches!(peer.serve().await, Heard::Commit { .. }));
    assert_eq!(peer.everybody().0, [USER, "mimi://a.example/u/a1", "mimi://a.example/u/a2"]);
    peer.host_says("there you are").await;
    until_seen(&gateway, &room, &["there you are"]).await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_comes_back_by_the_peers_group_info_when_epochs_were_missed() {
    let (gateway, mut peer, room) = hosted().await;
    for _ in 0..2 {
        drop(peer.host_commits_unheard());
    }
    peer.host_says("who hears me?").await;
    peer.give_group_info("mimi://a.example/u/a1").await;
    assert!(matches!(peer.serve().await, Heard::Commit { .. }));
    assert_eq!(peer.everybody().1.len(), 2, "the old leaf is gone: {:?}", peer.everybody());
    peer.host_says("and now?").await;
    until_seen(&gateway, &room, &["and now?"]).await;
    assert_eq!(peer.epoch(), gateway.epoch().await);
    gateway.homeserver.say(&room, "a1", "I do");
    assert_eq!(peer.serve().await, said("a1", "I do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_follows_a_room_that_the_peer_hosts() {
    let (gateway, mut peer, room) = hosted().await;
    let (a, a1) = (&gateway.homeserver, "mimi://a.example/u/a1");
    assert_eq!(peer.epoch(), gateway.epoch().await);

    // Words both ways.
    a.say(&room, "a1", "can you host this?");
    assert_eq!(peer.serve().await, said("a1", "can you host this?"));
    peer.host_says("I can").await;
    until_seen(&gateway, &room, &["can you host this?", "I can"]).await;

    // A commit of the hub's, and what is said after it.
    peer.host_commits().await;
    peer.host_says("in a new epoch").await;
    until_seen(&gateway, &room, &["can you host this?", "I can", "in a new epoch"]).await;
    assert_eq!(peer.epoch(), gateway.epoch().await);

    // A2 comes: a commit of the gateway's with an entry in the list; it speaks: an external commit.
    a.invite(&room, "a1", &a.user("a2"), false);
    a.join(&room, "a2");
    while peer.everybody().0.len() == 2 {
        assert!(matches!(peer.serve().await, Heard::Commit { .. }));
    }
    a.say(&room, "a2", "me too");
    loop {
        match peer.serve().await {
            Heard::Commit { .. } => {}
            heard => break assert_eq!(heard, said("a2", "me too")),
        }
    }
    assert_eq!(peer.everybody().1.len(), 3);
    peer.host_says("hello A2").await;
    until_seen(&gateway, &room, &["can you host this?", "I can", "in a new epoch", "me too", "hello A2"]).await;

    // A2 leaves: proposals, which the hub commits.
    a.leave(&room, "a2");
    while peer.serve().await != (Heard::Proposal {}) {}
    peer.host_commits().await;
    assert_eq!(peer.everybody().0, [USER, a1]);
    assert_eq!(peer.everybody().1.len(), 2);
    a.say(&room, "a1", "it was nice here");
    loop {
        match peer.serve().await {
            Heard::Commit { .. } => {}
            heard => break assert_eq!(heard, said("a1", "it was nice here")),
        }
    }
    assert_eq!(peer.epoch(), gateway.epoch().await);
}
