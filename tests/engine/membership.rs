//! The rows of docs/membership.md that have no file of their own: reasons, bans that the other side sees, knocks, guests, members
//! of other homeservers, server access lists, and the second chat of the same two.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mimi_gateway::{engine::Outcome, ident::RoomUri};
use ruma::RoomId;
use serde_json::json;

use crate::{
    flow::until_room,
    homeserver::Fault,
    mirror::{named, request, run},
    open::enter,
    silo::{Net, Silo, Two, ask_bot_in, bring, until, until_bodies, until_member, until_true},
};

async fn until_told(silo: &Silo, room: &RoomId, text: &str) {
    let told = || silo.homeserver.notices(room);
    until_true(&format!("“{text}”"), || told().iter().any(|notice| notice.contains(text))).await;
}

fn reason(silo: &Silo, room: &RoomId, user: &str) -> String {
    silo.homeserver.reason(room, user).unwrap_or_default()
}

/// A1, A2 at A; B1, B2 at B.
async fn four(two: &Two) -> (ruma::OwnedRoomId, ruma::OwnedRoomId) {
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.invite(&at_a, "a1", "@a2:a.test", false);
    two.a.homeserver.join(&at_a, "a2");
    two.b.homeserver.invite(&at_b, "b1", "@b2:b.test", false);
    two.b.homeserver.join(&at_b, "b2");
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b2")), "join").await;
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a2")), "join").await;
    (at_a, at_b)
}

#[tokio::test(flavor = "multi_thread")]
async fn reasons_are_said_and_who_did_it_is_shown() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    // The host's admin removes a guest.
    a.make(&at_a, "a1", &two.a.ghost(&two.b.uri("b2")), "leave", "spam");
    until_member(&two.b, &at_b, "@b2:b.test", "leave").await;
    assert_eq!(reason(&two.b, &at_b, "@b2:b.test"), "removed from the MIMI room by mimi://a.example/u/a1");
    until_told(&two.b, &at_b, "I removed b2 (b.example) from this room: spam").await;
    // The removed one could read it: it came before.
    let events = b.events(&at_b);
    let place = |wanted: &dyn Fn(&serde_json::Value) -> bool| events.iter().position(wanted).unwrap();
    let said = place(&|event| event["content"]["body"].as_str().is_some_and(|body| body.contains(": spam")));
    let gone = place(&|event| event["state_key"] == "@b2:b.test" && event["content"]["membership"] == "leave");
    assert!(said < gone && events[said]["sender"] == two.b.ghost(&two.a.uri("a1")));
    // One of ours is removed by one of ours: the others hear that, too.
    a.make(&at_a, "a1", "@a2:a.test", "leave", "off topic");
    until_told(&two.b, &at_b, "I removed a2 (a.example) from this room: off topic").await;
    let a2 = two.b.ghost(&two.a.uri("a2"));
    until_member(&two.b, &at_b, &a2, "leave").await;
    assert_eq!(reason(&two.b, &at_b, &a2), "removed from the MIMI room by mimi://a.example/u/a1");
    // A guest leaves, and says why.
    b.say(&at_b, "b1", "one more thing");
    until_bodies(&two.a, &at_a, &["one more thing"]).await;
    b.make(&at_b, "b1", "@b1:b.test", "leave", "holidays");
    until_told(&two.a, &at_a, "I leave this room: holidays").await;
    let b1 = two.a.ghost(&two.b.uri("b1"));
    until_member(&two.a, &at_a, &b1, "leave").await;
    assert_eq!(reason(&two.a, &at_a, &b1), "", "nobody removed them");
    assert_eq!(a.notices(&at_a).iter().filter(|text| text.contains("holidays")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_one_on_both_sides_and_so_is_its_end() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let b2 = two.a.ghost(&two.b.uri("b2"));
    a.make(&at_a, "a1", &b2, "ban", "spam");
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    assert_eq!(reason(&two.b, &at_b, "@b2:b.test"), "banned from the MIMI room by mimi://a.example/u/a1");
    until_told(&two.b, &at_b, "I banned b2 (b.example) from this room: spam").await;
    a.make(&at_a, "a1", &b2, "leave", "served");
    until_member(&two.b, &at_b, "@b2:b.test", "leave").await;
    until_told(&two.b, &at_b, "I lifted the ban of b2 (b.example): served").await;
    b.invite(&at_b, "b1", "@b2:b.test", false);
    b.join(&at_b, "b2");
    until_member(&two.a, &at_a, &b2, "join").await;
    // A moderator at the guests' side bans one of the host's people.
    let mut levels = a.states(&at_a, "m.room.power_levels").pop().unwrap();
    levels["users"][two.a.ghost(&two.b.uri("b1"))] = json!(50);
    a.set(&at_a, "a1", "m.room.power_levels", levels);
    let level = || b.states(&at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1 is a moderator", || level() == json!(50)).await;
    b.make(&at_b, "b1", &two.b.ghost(&two.a.uri("a2")), "ban", "rude");
    until_member(&two.a, &at_a, "@a2:a.test", "ban").await;
    assert_eq!(reason(&two.a, &at_a, "@a2:a.test"), "banned from the MIMI room by mimi://b.example/u/b1");
    // The host's admin lifts it in the Matrix room, and A2 is in again for all.
    a.unban(&at_a, "a1", "@a2:a.test");
    b.unban(&at_b, "b1", &two.b.ghost(&two.a.uri("a2")));
    a.invite(&at_a, "a1", "@a2:a.test", false);
    a.join(&at_a, "a2");
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a2")), "join").await;
    a.say(&at_a, "a2", "sorry");
    until_bodies(&two.b, &at_b, &["sorry"]).await;
}

/// B1 becomes a moderator of the room that A hosts.
async fn empower_b1(two: &Two, at_a: &RoomId, at_b: &RoomId) {
    let mut levels = two.a.homeserver.states(at_a, "m.room.power_levels").pop().unwrap();
    levels["users"][two.a.ghost(&two.b.uri("b1"))] = json!(50);
    two.a.homeserver.set(at_a, "a1", "m.room.power_levels", levels);
    let level = || two.b.homeserver.states(at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1 is a moderator", || level() == json!(50)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_ones_own_provider_is_one_for_all() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    empower_b1(&two, &at_a, &at_b).await;
    // At the follower.
    let b2 = two.a.ghost(&two.b.uri("b2"));
    b.make(&at_b, "b1", "@b2:b.test", "ban", "rude");
    until_told(&two.a, &at_a, "I banned b2 (b.example) from this room: rude").await;
    until_member(&two.a, &at_a, &b2, "ban").await;
    assert_eq!(reason(&two.a, &at_a, &b2), "banned from the MIMI room by mimi://b.example/u/b1");
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b2")));
    until_told(&two.a, &at_a, "b2 (b.example) is banned from this room.").await;
    assert_eq!(reason(&two.b, &at_b, "@b2:b.test"), "rude", "nobody bans them twice");
    // At the hub.
    let a2 = two.b.ghost(&two.a.uri("a2"));
    a.make(&at_a, "a1", "@a2:a.test", "ban", "rude, too");
    until_member(&two.b, &at_b, &a2, "ban").await;
    b.say(&at_b, "b1", &format!("!mimi invite {}", two.a.uri("a2")));
    until_told(&two.b, &at_b, "a2 (a.example) is banned from this room.").await;
    // Both end where they began, and by a moderator elsewhere.
    b.unban(&at_b, "b1", "@b2:b.test");
    until_member(&two.a, &at_a, &b2, "leave").await;
    b.unban(&at_b, "b1", &a2);
    until_member(&two.a, &at_a, "@a2:a.test", "leave").await;
    a.invite(&at_a, "a1", "@a2:a.test", false);
    a.join(&at_a, "a2");
    until_member(&two.b, &at_b, &a2, "join").await;
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b2")));
    until_true("an invitation", || b.invitations("b2").contains(&at_b)).await;
    assert_eq!((two.a.engine().quarantined(), two.b.engine().quarantined()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moderator_elsewhere_lifts_a_ban_for_all_or_is_told() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let b2 = two.a.ghost(&two.b.uri("b2"));
    // B1 may lift bans of the portal, but not of the MIMI room.
    a.make(&at_a, "a1", &b2, "ban", "spam");
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    b.unban(&at_b, "b1", "@b2:b.test");
    until_told(&two.b, &at_b, "The ban of b2 (b.example) could not be lifted in the MIMI room, and is put back here")
        .await;
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    assert_eq!(a.member(&at_a, &b2).as_deref(), Some("ban"));
    // As a moderator there, too, they lift it for all.
    empower_b1(&two, &at_a, &at_b).await;
    b.unban(&at_b, "b1", "@b2:b.test");
    until_member(&two.a, &at_a, &b2, "leave").await;
    b.invite(&at_b, "b1", "@b2:b.test", false);
    b.join(&at_b, "b2");
    until_member(&two.a, &at_a, &b2, "join").await;
    b.say(&at_b, "b2", "thank you");
    until_bodies(&two.a, &at_a, &["thank you"]).await;
    assert_eq!(b.member(&at_b, "@b2:b.test").as_deref(), Some("join"));
}

/// While the flag is set, calls that begin like this fail before they have an effect; they are counted.
async fn with_calls_held(call: &'static str) -> (Two, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (away, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (held, count) = (Arc::clone(&away), Arc::clone(&tried));
    let two = Two::with(Arc::new(Mutex::new(Box::new(move |made: &str| {
        if !held.load(Ordering::SeqCst) || !made.starts_with(call) {
            return Fault::None;
        }
        count.fetch_add(1, Ordering::SeqCst);
        Fault::Before
    }))))
    .await;
    (two, away, tried)
}

/// Who is kicked while the homeserver has not heard of their ban yet is no less banned.
#[tokio::test(flavor = "multi_thread")]
async fn a_kick_before_the_ban_arrives_does_not_lift_it() {
    let (two, away, tried) = with_calls_held("Ban {").await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    empower_b1(&two, &at_a, &at_b).await;
    let b2 = two.a.ghost(&two.b.uri("b2"));
    away.store(true, Ordering::SeqCst);
    a.make(&at_a, "a1", &b2, "ban", "spam");
    until_true("B's bot wants to ban them", || tried.load(Ordering::SeqCst) > 0).await;
    b.kick(&at_b, "b1", "@b2:b.test");
    b.say(&at_b, "b1", "gone");
    until_bodies(&two.a, &at_a, &["gone"]).await;
    away.store(false, Ordering::SeqCst);
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    b.say(&at_b, "b1", "for good");
    until_bodies(&two.a, &at_a, &["gone", "for good"]).await;
    assert_eq!(a.member(&at_a, &b2).as_deref(), Some("ban"));
}

/// A moderator of a followed room bans and lifts it, and removes and invites, before its host heard of the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_before_the_host_heard_of_it_ends_as_people_see_it() {
    let (two, away, tried) = with_calls_held("update b.example").await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    empower_b1(&two, &at_a, &at_b).await;
    let (b2, a2) = (two.a.ghost(&two.b.uri("b2")), two.b.ghost(&two.a.uri("a2")));
    // One of B's own is banned, and freed.
    away.store(true, Ordering::SeqCst);
    b.make(&at_b, "b1", "@b2:b.test", "ban", "rude");
    until_true("the ban is on its way", || tried.load(Ordering::SeqCst) > 0).await;
    b.unban(&at_b, "b1", "@b2:b.test");
    settled(&two.b, &at_b, "b1").await;
    away.store(false, Ordering::SeqCst);
    until_member(&two.a, &at_a, &b2, "leave").await;
    b.say(&at_b, "b1", "all is well");
    until_bodies(&two.a, &at_a, &["all is well"]).await;
    assert_eq!(b.member(&at_b, "@b2:b.test").as_deref(), Some("leave"), "the bot bans whom B1 freed");
    b.invite(&at_b, "b1", "@b2:b.test", false);
    b.join(&at_b, "b2");
    until_member(&two.a, &at_a, &b2, "join").await;
    // A ghost is removed, and invited.
    let before = tried.load(Ordering::SeqCst);
    away.store(true, Ordering::SeqCst);
    b.kick(&at_b, "b1", &a2);
    until_true("the removal is on its way", || tried.load(Ordering::SeqCst) > before).await;
    b.invite(&at_b, "b1", &a2, false);
    settled(&two.b, &at_b, "b1").await;
    away.store(false, Ordering::SeqCst);
    until_member(&two.a, &at_a, "@a2:a.test", "invite").await;
    until_member(&two.b, &at_b, &a2, "invite").await;
    a.join(&at_a, "a2");
    until_member(&two.b, &at_b, &a2, "join").await;
    a.say(&at_a, "a2", "here again");
    until_bodies(&two.b, &at_b, &["all is well", "here again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_the_homeserver_refuses_is_a_refusal() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    *b.faults.lock().unwrap() = Box::new(|call| {
        let refused = call.starts_with("Invite") && call.contains("@b2:b.test");
        if refused { Fault::Refused } else { Fault::None }
    });
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b2")));
    until_told(&two.a, &at_a, "b2 (b.example) does not agree to be added").await;
    until_told(&two.b, &at_b, "b2 (b.example) was asked in by a1 (a.example), and could not be invited here").await;
    assert_eq!(two.b.engine().quarantined(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_on_the_access_list_is_out_until_it_is_off_it() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.set(&at_a, "a1", "m.room.server_acl", json!({ "allow": ["*"], "deny": ["*.evil", "B.example"] }));
    until_told(&two.a, &at_a, "@a1:a.test keeps b.example out of this room").await;
    for name in ["b1", "b2"] {
        until_member(&two.b, &at_b, &format!("@{name}:b.test"), "ban").await;
        until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri(name)), "leave").await;
    }
    a.say(&at_a, "a1", "among ourselves");
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b3")));
    until_told(&two.a, &at_a, "the room's server access list keeps b.example out").await;
    assert!(b.invitations("b3").is_empty());
    a.set(&at_a, "a1", "m.room.server_acl", json!({ "allow": ["*"] }));
    a.say(&at_a, "a1", "!mimi status");
    until_told(&two.a, &at_a, "connected, hosted here").await;
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    let again = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&again, "b1");
    until_member(&two.a, &at_a, &two.a.ghost(&two.b.uri("b1")), "join").await;
    b.say(&again, "b1", "back");
    until_bodies(&two.a, &at_a, &["among ourselves", "back"]).await;
    assert!(!b.bodies(&at_b).contains(&"among ourselves".to_owned()));
}

/// Somebody says `!mimi status`: what was done before that is done.
async fn settled(silo: &Silo, room: &RoomId, name: &str) -> usize {
    let answers = || silo.homeserver.notices(room).iter().filter(|text| text.contains("hosted")).count();
    let before = answers();
    silo.homeserver.say(room, name, "!mimi status");
    until_true("an answer", || answers() > before).await;
    silo.homeserver.notices(room).len() - answers()
}

/// Levels of the hosted room; until B's portal has that of B1.
async fn set_levels(two: &Two, at_a: &RoomId, at_b: &RoomId, levels: &[(&str, i64)], of_b1: i64) {
    let mut content = two.a.homeserver.states(at_a, "m.room.power_levels").pop().unwrap();
    for (user, level) in levels {
        content["users"][*user] = json!(level);
    }
    two.a.homeserver.set(at_a, "a1", "m.room.power_levels", content);
    let level = || two.b.homeserver.states(at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1's level", || level() == json!(of_b1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_elsewhere_keeps_nobody_in_whom_the_access_list_keeps_out() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let a = &two.a.homeserver;
    // As high as A1, who can remove them, and not ban them.
    let (b1, b2) = (two.a.ghost(&two.b.uri("b1")), two.a.ghost(&two.b.uri("b2")));
    set_levels(&two, &at_a, &at_b, &[(&b1, 100)], 95).await;
    a.set(&at_a, "a1", "m.room.server_acl", json!({ "allow": ["*"], "deny": ["b.example"] }));
    until_told(&two.a, &at_a, "2 of the MIMI users are removed.").await;
    for ghost in [&b1, &b2] {
        until_member(&two.a, &at_a, ghost, "leave").await;
    }
    until_member(&two.b, &at_b, "@b1:b.test", "leave").await;
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    a.say(&at_a, "a1", "among ourselves");
    settled(&two.a, &at_a, "a1").await;
    assert!(!a.notices(&at_a).iter().any(|text| text.contains("taken out") || text.contains("take out")));
    let listed = two.a.room(&two.a.only_room().await).await.unwrap().2;
    assert_eq!(listed, 2 + 2, "A1 and A2, and B's two as banned ones");
    // With the list changed both can be asked again, and they missed what was said.
    a.set(&at_a, "a1", "m.room.server_acl", json!({ "allow": ["*"] }));
    settled(&two.a, &at_a, "a1").await;
    a.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b1")));
    let again = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&again, "b1");
    until_member(&two.a, &at_a, &b1, "join").await;
    two.b.homeserver.say(&again, "b1", "back");
    until_bodies(&two.a, &at_a, &["among ourselves", "back"]).await;
    assert!(!two.b.homeserver.bodies(&at_b).contains(&"among ourselves".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_kept_out_and_above_all_here_hears_nothing_and_is_told_of_once() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (b1, b2) = (two.a.ghost(&two.b.uri("b1")), two.a.ghost(&two.b.uri("b2")));
    set_levels(&two, &at_a, &at_b, &[(&b1, 100), ("@a2:a.test", 50)], 95).await;
    // A2 is left, who may remove nobody of level 100.
    a.leave(&at_a, "a1");
    until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri("a1")), "leave").await;
    a.set(&at_a, "a2", "m.room.server_acl", json!({ "allow": ["*"], "deny": ["b.example"] }));
    until_told(
        &two.a,
        &at_a,
        "1 of the MIMI users are removed. Nobody here may take out of the MIMI room: b1 (b.example).",
    )
    .await;
    until_member(&two.a, &at_a, &b2, "leave").await;
    until_member(&two.b, &at_b, "@b2:b.test", "ban").await;
    a.say(&at_a, "a2", "among ourselves");
    // What B1 says is not taken, either.
    b.say(&at_b, "b1", "let me speak");
    until_told(&two.b, &at_b, "could not be delivered").await;
    let told = settled(&two.a, &at_a, "a2").await;
    // Commits of other things do not tell it again.
    for name in ["a3", "a4"] {
        a.register(name);
        a.invite(&at_a, "a2", &a.user(name), false);
        a.join(&at_a, name);
        until_member(&two.b, &at_b, &two.b.ghost(&two.a.uri(name)), "join").await;
    }
    assert_eq!(settled(&two.a, &at_a, "a2").await, told, "{:?}", a.notices(&at_a));
    assert_eq!(a.member(&at_a, &b1).as_deref(), Some("join"), "they are listed");
    assert!(!a.bodies(&at_a).contains(&"let me speak".to_owned()));
    // With the list changed they read on.
    a.set(&at_a, "a2", "m.room.server_acl", json!({ "allow": ["*"] }));
    settled(&two.a, &at_a, "a2").await;
    a.say(&at_a, "a2", "all together");
    until_true("B1 reads it", || b.bodies(&at_b).contains(&"all together".to_owned())).await;
    assert!(!b.bodies(&at_b).contains(&"among ourselves".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knocks_comes_when_somebody_answers() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let ghost = two.b.ghost(&two.a.uri("a2"));
    a.make(&at_a, "a2", "@a2:a.test", "knock", "let me in");
    a.say(&at_a, "a1", "who is there?");
    until_bodies(&two.b, &at_b, &["who is there?"]).await;
    assert_eq!(b.member(&at_b, &ghost), None, "a knock is Matrix' own");
    assert_eq!(a.member(&at_a, "@a2:a.test").as_deref(), Some("knock"));
    a.invite(&at_a, "a1", "@a2:a.test", false);
    a.join(&at_a, "a2");
    until_member(&two.b, &at_b, &ghost, "join").await;
    a.say(&at_a, "a2", "me");
    until_bodies(&two.b, &at_b, &["who is there?", "me"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_other_homeservers_and_guests_are_participants_of_ours() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    for (id, uri) in [
        ("@carol:other.test", "mimi://a.example/u/carol%3Aother.test"),
        // As Synapse calls guests.
        ("@123:a.test", "mimi://a.example/u/123"),
    ] {
        a.invite(&at_a, "a1", id, false);
        a.join(&at_a, id);
        let ghost = two.b.ghost(&mimi_gateway::ident::UserUri::parse(uri).unwrap());
        until_member(&two.b, &at_b, &ghost, "join").await;
        a.say(&at_a, id, &format!("I am {id}"));
        until_true("it is shown", || {
            let seen = two.b.homeserver.messages(&at_b);
            seen.iter().any(|seen| seen.sender == ghost && seen.body == format!("I am {id}"))
        })
        .await;
        a.leave(&at_a, id);
        until_member(&two.b, &at_b, &ghost, "leave").await;
    }
}

/// A1 asks B1 into a direct chat in a new Matrix room.
fn ask(from: &Silo, by: &str, whom: &str) -> ruma::OwnedRoomId {
    let room = from.homeserver.create_room(by, "");
    from.homeserver.invite(&room, by, whom, true);
    room
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_chat_of_the_same_two_is_the_first() {
    let two = Two::new().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let (b1, a1) = (two.a.ghost(&two.b.uri("b1")), two.b.ghost(&two.a.uri("a1")));
    let first = ask(&two.a, "a1", &b1);
    let at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    // B1 begins one with A1, who has asked already.
    let asked = ask(&two.b, "b1", &a1);
    until_member(&two.b, &asked, &a1, "leave").await;
    assert!(reason(&two.b, &asked, &a1).ends_with(&format!("accept that invitation, https://matrix.to/#/{at_b}")));
    b.join(&at_b, "b1");
    until_member(&two.a, &first, &b1, "join").await;
    // B is in the group once it reads what is said there.
    a.say(&first, "a1", "hello");
    until_bodies(&two.b, &at_b, &["hello"]).await;
    // Each of them begins another one.
    let second = ask(&two.a, "a1", &b1);
    until_member(&two.a, &second, &b1, "leave").await;
    assert_eq!(reason(&two.a, &second, &b1), format!("You have a chat with me already: https://matrix.to/#/{first}"));
    let third = ask(&two.b, "b1", &a1);
    until_member(&two.b, &third, &a1, "leave").await;
    assert_eq!(reason(&two.b, &third, &a1), format!("You have a chat with me already: https://matrix.to/#/{at_b}"));
    assert!(a.invitations("a1").is_empty() && b.invitations("b1").is_empty());
    let uri = two.a.only_room().await;
    assert_eq!(two.b.only_room().await, uri);
    // Another pair is another chat.
    let other = ask(&two.a, "a2", &b1);
    let other_at_b = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&other_at_b, "b1");
    until_member(&two.a, &other, &b1, "join").await;
    // After it was left, in a new Matrix room, it is the same MIMI room, with nothing of before in it.
    a.say(&first, "a1", "before");
    until_bodies(&two.b, &at_b, &["hello", "before"]).await;
    a.leave(&first, "a1");
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    let anew = ask(&two.a, "a1", &b1);
    let at_b_anew = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&at_b_anew, "b1");
    until_member(&two.a, &anew, &b1, "join").await;
    b.say(&at_b_anew, "b1", "again");
    until_bodies(&two.a, &anew, &["again"]).await;
    a.say(&anew, "a1", "gladly");
    until_bodies(&two.b, &at_b_anew, &["again", "gladly"]).await;
    let named = |silo: &Silo, room: &RoomId| {
        let bridges = silo.homeserver.states(room, "m.bridge");
        bridges.iter().any(|content| content["channel"]["id"] == uri.as_str())
    };
    assert!(named(&two.a, &anew) && named(&two.b, &at_b_anew), "it is another MIMI room");
    // And once more, after a restart, by the guest's leaving.
    for silo in [&two.a, &two.b] {
        silo.stop().await;
        silo.start().await;
    }
    b.leave(&at_b_anew, "b1");
    until_room(&two.a, &uri, "left").await;
    until_room(&two.b, &uri, "left").await;
    // Nobody can be invited who is there.
    until_member(&two.a, &anew, &b1, "leave").await;
    a.invite(&anew, "a1", &b1, true);
    let last = until("an invitation", || b.invitations("b1").first().cloned()).await;
    b.join(&last, "b1");
    until_member(&two.a, &anew, &b1, "join").await;
    b.say(&last, "b1", "third time");
    until_bodies(&two.a, &anew, &["again", "gladly", "third time"]).await;
}

/// Who leaves a room of several can come back, and is the same participant to the others.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_is_asked_and_comes_again() {
    let two = Two::new().await;
    let (at_a, at_b) = four(&two).await;
    let b2 = two.a.ghost(&two.b.uri("b2"));
    two.a.homeserver.kick(&at_a, "a1", &b2);
    until_member(&two.b, &at_b, "@b2:b.test", "leave").await;
    let back = bring(&two.a, &at_a, "a1", &two.b, "b2").await;
    assert_eq!(back, at_b);
    two.b.homeserver.say(&back, "b2", "again");
    until_bodies(&two.a, &at_a, &["again"]).await;
}

/// Into a Matrix room people come by its own rules; that whoever has keys of ours there may not invite is no reason to put them
/// out again.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_by_matrix_rules_stays_whatever_the_role_of_those_with_keys() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let (at_a, at_b, _) = two.room().await;
    for name in ["a2", "a3"] {
        a.homeserver.invite(&at_a, "a1", &a.homeserver.user(name), false);
        a.homeserver.join(&at_a, name);
    }
    let bot = a.homeserver.bot.to_string();
    let users = json!({ bot: 100, "@a1:a.test": 100, "@a2:a.test": 50 });
    a.homeserver.set(&at_a, "a1", "m.room.power_levels", json!({ "users": users, "invite": 50 }));
    // The moderator only listens; the keys that are left are those of a member.
    a.homeserver.say(&at_a, "a3", "here");
    until_bodies(b, &at_b, &["here"]).await;
    a.homeserver.leave(&at_a, "a1");
    until_member(b, &at_b, &b.ghost(&a.uri("a1")), "leave").await;
    a.homeserver.register("a4");
    a.homeserver.make(&at_a, "a4", "@a4:a.test", "join", "");
    until_member(b, &at_b, &b.ghost(&a.uri("a4")), "join").await;
    a.homeserver.say(&at_a, "a4", "me, too");
    until_bodies(b, &at_b, &["here", "me, too"]).await;
    assert_eq!(a.homeserver.member(&at_a, "@a4:a.test").as_deref(), Some("join"));
}

/// A room that somebody without power has the keys of: nobody is put out, and who is not heard is told.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_where_nobody_may_add_them_stays_and_is_told() {
    let silo = Silo::new("a", &["a1", "a2"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let room = homeserver.create_room("a1", "Hall");
    ask_bot_in(&silo.homeserver, &room, "a1").await;
    let users = json!({ homeserver.bot.to_string(): 100, "@gone:c.test": 100 });
    homeserver.set(&room, "a1", "m.room.power_levels", json!({ "users": users, "invite": 50 }));
    let (job, _) = run(&silo, request(named(std::slice::from_ref(&room)))).await;
    assert_eq!(job.counts.mirrored, 1, "{job:?}");
    let told = || {
        let why = "nobody who is in the MIMI room has a role that may add them";
        homeserver.notices(&room).iter().filter(|notice| notice.contains(why)).count()
    };
    // By themselves, or asked by somebody whose role would not do.
    homeserver.register("a3");
    homeserver.make(&room, "a2", "@a2:a.test", "join", "");
    homeserver.invite(&room, "a1", "@a3:a.test", false);
    homeserver.join(&room, "a3");
    for (name, times) in [("a2", 1), ("a3", 2), ("a3", 3)] {
        homeserver.say(&room, name, "anybody?");
        until_true("it is told", || told() == times).await;
    }
    for name in ["@a2:a.test", "@a3:a.test"] {
        assert_eq!(homeserver.member(&room, name).as_deref(), Some("join"));
    }
}

/// The same where anybody may come in: nobody has to add them.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_an_open_room_needs_nobody_who_may_add_them() {
    let two = Two::new().await;
    let (a, b) = (&two.a, &two.b);
    let room = a.homeserver.create_room("a1", "Square");
    ask_bot_in(&a.homeserver, &room, "a1").await;
    a.homeserver.set(&room, "a1", "m.room.join_rules", json!({ "join_rule": "public" }));
    let users = json!({ a.homeserver.bot.to_string(): 100, "@gone:c.test": 100 });
    a.homeserver.set(&room, "a1", "m.room.power_levels", json!({ "users": users, "invite": 50 }));
    let (_, rows) = run(a, request(named(std::slice::from_ref(&room)))).await;
    let Outcome::Mirrored(uri) = &rows[0].outcome else { panic!("{rows:?}") };
    let uri = RoomUri::parse(uri).unwrap();
    let at_b = enter(b, "b1", &uri).await;
    a.homeserver.make(&room, "a2", "@a2:a.test", "join", "");
    until_member(b, &at_b, &b.ghost(&a.uri("a2")), "join").await;
    a.homeserver.say(&room, "a2", "fresh fish");
    until_bodies(b, &at_b, &["fresh fish"]).await;
    assert_eq!(a.homeserver.member(&room, "@a2:a.test").as_deref(), Some("join"));
}
