//! Who may be invited: bans, ghosts that cannot be in the Matrix room, rooms of several, and ids that stand for nobody.

use std::sync::Arc;

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget},
    ident::{RoomUri, UserUri},
    store::MemoryDisk,
    wire::{KeyMaterialResponse, KeyMaterialUserCode, Wire as _},
};
use ruma::RoomId;
use serde_json::json;

use crate::{
    flow::{key_request, until_room},
    homeserver::{Fault, Faults, no_faults},
    silo::{Disk, Net, Silo, Two, ask_bot_in, bring, until, until_bodies, until_member, until_true},
};

async fn until_notice(silo: &Silo, room: &RoomId, part: &str) -> String {
    until(part, || silo.homeserver.notices(room).into_iter().find(|text| text.contains(part))).await
}

/// Asks A, the hub, for KeyPackages of somebody elsewhere, as a follower does.
async fn keys_through_the_hub(a: &Silo, requester: &UserUri, target: &UserUri, room: &RoomUri) -> KeyMaterialResponse {
    let body = key_request(requester, target, room);
    let path = PathTarget::Uri(target.as_uri().clone());
    let answer = a.net.deliver(&requester.provider(), &a.domain, Endpoint::KeyMaterial, &path, &body).await.unwrap();
    KeyMaterialResponse::decode(&answer.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_says_what_it_lacks_when_it_comes_in() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (me, bot) = (a.user("a1"), a.bot.to_string());
    let encryption = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
    for (kind, content, says) in [
        ("m.room.topic", json!({ "topic": "Tea" }), "Say `!mimi bridge` to mirror this room"),
        ("m.room.power_levels", json!({ "users": { me: 100 } }), "Give me power level 100, then say `!mimi bridge`."),
        ("m.room.encryption", encryption.clone(), "This room is encrypted."),
        ("m.room.power_levels", json!({ "users": { "@far:b.test": 100, bot.as_str(): 100 } }), "You need the power"),
    ] {
        let room = a.create_room("a1", "Tea");
        a.set(&room, "a1", kind, content);
        a.invite(&room, "a1", &bot, false);
        until_notice(&two.a, &room, says).await;
        assert_eq!(a.notices(&room).len(), 1, "{says}");
    }
    let desk = a.create_room("a1", "");
    a.set(&desk, "a1", "m.room.encryption", encryption);
    a.invite(&desk, "a1", &bot, true);
    until_notice(&two.a, &desk, "I cannot read encrypted messages.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_user_is_out_and_nobody_gets_them_in_again() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (at_a, at_b, uri) = two.room().await;
    let at_c = bring(&two.a, &at_a, "a1", &c, "c1").await;
    let (b1, guest) = (two.b.uri("b1"), two.b.homeserver.user("b1"));
    let ghost = two.a.ghost(&b1);
    two.a.homeserver.ban(&at_a, "a1", &ghost);
    until_member(&two.b, &at_b, &guest, "ban").await;
    until_member(&c, &at_c, &c.ghost(&b1), "ban").await;
    until_room(&two.b, &uri, "left").await;
    let asked = || two.a.net.calls(&two.b.domain, Endpoint::RequestConsent).len();
    let before = asked();
    // At the hub.
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {b1}"));
    until_notice(&two.a, &at_a, "b1 (b.example) is banned from this room.").await;
    // At a follower.
    c.homeserver.say(&at_c, "c1", &format!("!mimi invite {b1}"));
    until_notice(&c, &at_c, "b1 (b.example) is banned from this room.").await;
    // At a follower that does not look.
    let answer = keys_through_the_hub(&two.a, &c.uri("c1"), &b1, &uri).await;
    assert_eq!(answer.status, KeyMaterialUserCode::NoConsentForThisRoom);
    assert_eq!(asked(), before, "nobody asks B1");
    two.a.homeserver.say(&at_a, "a1", "without B1");
    until_bodies(&c, &at_c, &["without B1"]).await;
    assert_eq!(two.a.homeserver.notices(&at_a).iter().filter(|text| text.contains("asked to join")).count(), 2);

    // The ban is lifted, and survives no restart either.
    two.a.stop().await;
    two.a.start().await;
    two.a.homeserver.unban(&at_a, "a1", &ghost);
    let again = bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    assert_eq!(again, at_b);
    two.a.homeserver.say(&at_a, "a1", "welcome back");
    until_bodies(&two.b, &at_b, &["welcome back"]).await;
    two.b.homeserver.say(&at_b, "b1", "thanks");
    until_bodies(&c, &at_c, &["without B1", "welcome back", "thanks"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_from_before_the_room_was_mirrored_count() {
    let two = Two::new().await;
    let homeserver = &two.a.homeserver;
    let (b1, b2) = (two.b.uri("b1"), two.b.uri("b2"));
    let room = homeserver.create_room("a1", "Tea");
    homeserver.ban(&room, "a1", &two.a.ghost(&b1));
    ask_bot_in(homeserver, &room, "a1").await;
    homeserver.say(&room, "a1", "!mimi bridge");
    until_notice(&two.a, &room, "This room is mirrored as").await;
    let at_b = bring(&two.a, &room, "a1", &two.b, "b2").await;
    homeserver.say(&room, "a1", &format!("!mimi invite {b1}"));
    until_notice(&two.a, &room, "b1 (b.example) is banned from this room.").await;
    // B's user of the same name is no way round: B2 brings B1 the Matrix way, who is put out again.
    two.b.homeserver.invite(&at_b, "b2", &two.b.homeserver.user("b1"), false);
    two.b.homeserver.join(&at_b, "b1");
    until_member(&two.b, &at_b, &two.b.homeserver.user("b1"), "ban").await;
    until_notice(&two.b, &at_b, "is banned from this room").await;
    assert_ne!(homeserver.member(&room, &two.a.ghost(&b1)).as_deref(), Some("join"));
    // Lifted.
    homeserver.unban(&room, "a1", &two.a.ghost(&b1));
    homeserver.say(&room, "a1", &format!("!mimi invite {b1}"));
    until_true("B1 is asked", || two.b.homeserver.invitations("b1").contains(&at_b)).await;
    two.b.homeserver.join(&at_b, "b1");
    until_member(&two.a, &room, &two.a.ghost(&b1), "join").await;
    assert_eq!(homeserver.member(&room, &two.a.ghost(&b2)).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_creator_left_can_still_ban() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    a.say(&at_a, "a2", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    a.leave(&at_a, "a1");
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "leave").await;
    a.ban(&at_a, "a2", &two.a.ghost(&two.b.uri("b1")));
    until_member(&two.b, &at_b, &two.b.homeserver.user("b1"), "ban").await;
    a.say(&at_a, "a2", &format!("!mimi invite {}", two.b.uri("b1")));
    until_notice(&two.a, &at_a, "is banned from this room").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_that_the_host_does_not_take_is_undone() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let ghost = two.b.ghost(&two.a.uri("a1"));
    two.b.homeserver.ban(&at_b, "b1", &ghost);
    until_notice(&two.b, &at_b, "a1 (a.example) could not be banned from the MIMI room").await;
    until_member(&two.b, &at_b, &ghost, "join").await;
    two.a.homeserver.say(&at_a, "a1", "still here");
    until_bodies(&two.b, &at_b, &["still here"]).await;
}

/// Fails these actions of a homeserver for good, from the moment that the switch is on.
fn refusing(part: &'static [&'static str]) -> (Faults, Arc<std::sync::atomic::AtomicBool>) {
    let on = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = Arc::clone(&on);
    let faults: Faults = Arc::new(std::sync::Mutex::new(Box::new(move |what: &str| {
        let hit = on.load(std::sync::atomic::Ordering::Relaxed) && part.iter().all(|part| what.contains(part));
        if hit { Fault::Refused } else { Fault::None }
    })));
    (faults, switch)
}

async fn silos(faults_a: Faults, faults_b: Faults) -> Two {
    let net = Arc::new(Net::default());
    let memory = || Disk::Memory(MemoryDisk::new());
    let a = Silo::start_on("a", &["a1", "a2"], &net, memory(), faults_a).await;
    let b = Silo::start_on("b", &["b1", "b2"], &net, memory(), faults_b).await;
    Two { a, b }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_hub_nobody_reads_whose_ghost_cannot_join() {
    let (faults, on) = refusing(&["Join {", "mimi://b.example/u/b1"]);
    let two = silos(faults, no_faults()).await;
    let (at_a, uri) = two.bridge().await;
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    let at_b = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&at_b, "b1");
    until_notice(&two.a, &at_a, "b1 (b.example) cannot be in this room").await;
    until_member(&two.b, &at_b, &two.b.homeserver.user("b1"), "leave").await;
    until_room(&two.b, &uri, "left").await;
    assert_eq!(two.a.room(&uri).await.unwrap().2, 1);
    // It can be tried again once the homeserver lets them in.
    on.store(false, std::sync::atomic::Ordering::Relaxed);
    bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    two.a.homeserver.say(&at_a, "a1", "now");
    until_bodies(&two.b, &at_b, &["now"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_follower_people_are_told_who_reads_unseen() {
    let (faults, _) = refusing(&["mimi://a.example/u/a2", "Ghost("]);
    let two = silos(no_faults(), faults).await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    a.invite(&at_a, "a1", &a.user("a2"), false);
    a.join(&at_a, "a2");
    until_notice(&two.b, &at_b, "Attention: a2 (a.example) is in the MIMI room and reads what is said here").await;
    a.say(&at_a, "a2", "you do not see me");
    until_notice(&two.b, &at_b, "A message of a2 (a.example) could not be shown here").await;
    a.say(&at_a, "a1", "but me");
    until_bodies(&two.b, &at_b, &["but me"]).await;
    assert_eq!(two.b.homeserver.notices(&at_b).iter().filter(|text| text.starts_with("Attention")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_declines_a_room_of_several() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (b1, ghost) = (two.b.uri("b1"), two.a.ghost(&two.b.uri("b1")));
    let reason = format!(
        "Several people are in this room. Invite the bot {}, say “!mimi bridge” here, then invite me again.",
        a.bot
    );
    // One who only is invited counts.
    let room = a.create_room("a1", "Three");
    a.invite(&room, "a1", &a.user("a2"), false);
    a.invite(&room, "a1", &ghost, false);
    until_member(&two.a, &room, &ghost, "leave").await;
    assert_eq!(a.reason(&room, &ghost).unwrap(), reason);
    assert_eq!(a.member(&room, &a.user("a2")).as_deref(), Some("invite"));
    // So does the bot.
    let room = a.create_room("a1", "With the bot");
    ask_bot_in(a, &room, "a1").await;
    a.invite(&room, "a1", &ghost, false);
    until_member(&two.a, &room, &ghost, "leave").await;
    assert_eq!(a.reason(&room, &ghost).unwrap(), reason);
    assert!(two.b.homeserver.invitations("b1").is_empty());
    // As it says.
    a.say(&room, "a1", "!mimi bridge");
    until_notice(&two.a, &room, "This room is mirrored as").await;
    a.invite(&room, "a1", &ghost, false);
    let at_b = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&at_b, "b1");
    until_member(&two.a, &room, &ghost, "join").await;
    assert_eq!(b1.provider(), two.b.domain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_two_is_a_direct_chat_without_the_mark() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let ghost = two.a.ghost(&two.b.uri("b1"));
    let room = a.create_room("a1", "");
    a.invite(&room, "a1", &ghost, false);
    let at_b = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&at_b, "b1");
    two.b.homeserver.say(&at_b, "b1", "hi");
    until_bodies(&two.a, &room, &["hi"]).await;
    a.say(&room, "a1", "hello");
    until_bodies(&two.b, &at_b, &["hello", "hi"]).await;
    assert_eq!(a.member(&room, &ghost).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_stands_for_nobody_declines() {
    let two = Two::new().await;
    let a = &two.a.homeserver;
    let (mirrored, _) = two.bridge().await;
    let plain = a.create_room("a1", "Plain");
    for name in ["_mimi_b.example", "_mimi_b.example=2", "_mimi_b.example=2fB", "_mimi_a.example=2fa2"] {
        let id = format!("@{name}:a.test");
        for room in [&mirrored, &plain] {
            a.invite(room, "a1", &id, false);
            until_member(&two.a, room, &id, "leave").await;
            let reason = a.reason(room, &id).unwrap();
            assert!(reason.contains("stands for no user of another provider"), "{reason}");
        }
        until_notice(&two.a, &mirrored, &id).await;
    }
    // The same name on another homeserver is not ours.
    a.invite(&plain, "a1", "@_mimi_b.example=2:else.test", false);
    a.say(&plain, "a1", "for nobody");
    until_true("all was looked at", || a.is_quiet()).await;
    assert_eq!(a.member(&plain, "@_mimi_b.example=2:else.test").as_deref(), Some("invite"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_peer_gets_one_clear_answer() {
    let two = Two::new().await;
    let (at_a, _) = two.bridge().await;
    let a = &two.a.homeserver;
    let before = a.notices(&at_a).len();
    a.say(&at_a, "a1", "!mimi invite mimi://x.example/u/nobody");
    until_notice(&two.a, &at_a, "x.example is no peer of this gateway").await;
    // The Matrix way: the ghost declines, too.
    let ghost = two.a.ghost(&UserUri::parse("mimi://x.example/u/nobody").unwrap());
    a.invite(&at_a, "a1", &ghost, false);
    until_member(&two.a, &at_a, &ghost, "leave").await;
    assert!(a.reason(&at_a, &ghost).unwrap().contains("x.example is no peer of this gateway"));
    a.say(&at_a, "a1", "!mimi status");
    until_notice(&two.a, &at_a, "connected, hosted here").await;
    let notices = a.notices(&at_a).split_off(before);
    assert_eq!(notices.len(), 3, "{notices:?}");
    assert!(!notices.iter().any(|text| text.contains("asked to join")), "{notices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_inviter_left_comes_in_by_another() {
    let two = Two::new().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let (_, at_b, _) = two.room().await;
    let b = &two.b.homeserver;
    b.invite(&at_b, "b1", &b.user("b2"), false);
    b.join(&at_b, "b2");
    b.say(&at_b, "b2", "one");
    until_bodies(&two.b, &at_b, &["one"]).await;
    b.say(&at_b, "b2", &format!("!mimi invite {}", c.uri("c1")));
    let at_c = until("an invitation", || c.homeserver.invitations("c1").first().cloned()).await;
    b.leave(&at_b, "b2");
    until_member(&two.b, &at_b, &b.user("b2"), "leave").await;
    c.homeserver.join(&at_c, "c1");
    until_member(&two.b, &at_b, &two.b.ghost(&c.uri("c1")), "join").await;
    c.homeserver.say(&at_c, "c1", "two");
    until_bodies(&two.b, &at_b, &["one", "two"]).await;
    let notices = b.notices(&at_b);
    assert!(!notices.iter().any(|text| text.contains("cannot be added") || text.contains("NoConsent")), "{notices:?}");
}
