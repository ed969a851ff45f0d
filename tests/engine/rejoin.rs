//! Rooms that lost their way come back by themselves: missed commits, a restore, leaves that others removed.

use std::sync::{Arc, Mutex};

use mimi_gateway::{
    engine::ports::Endpoint,
    ident::RoomUri,
    store::MemoryDisk,
    wire::{HandshakeBundle, UpdateOutcome, UpdateRoomResponse, Wire as _},
};
use ruma::OwnedRoomId;

use crate::{
    flow::until_room,
    homeserver::{Fault, Faults},
    silo::{Disk, Net, Silo, Two, bring, until_bodies, until_true},
};

/// Faults for the calls that begin with one of these words, while they are there.
#[derive(Clone, Default)]
pub(crate) struct Switch(Arc<Mutex<Vec<(String, Fault)>>>);

impl Switch {
    pub(crate) fn set(&self, rules: &[(&str, Fault)]) {
        *self.0.lock().unwrap() = rules.iter().map(|(call, fault)| ((*call).to_owned(), *fault)).collect();
    }
    pub(crate) fn faults(&self) -> Faults {
        let rules = Arc::clone(&self.0);
        Arc::new(Mutex::new(Box::new(move |call| {
            let rules = rules.lock().unwrap();
            rules.iter().find(|(start, _)| call.starts_with(start.as_str())).map_or(Fault::None, |(_, fault)| *fault)
        })))
    }
}

const NOTIFY_B: &str = "notify a.example to b.example";
const UPDATE_A: &str = "update b.example to a.example";

async fn with_switch() -> (Two, Switch) {
    let switch = Switch::default();
    (Two::with(switch.faults()).await, switch)
}

async fn until_epoch(silo: &Silo, uri: &RoomUri, wanted: impl Fn(u64) -> bool) -> u64 {
    for _ in 0..4000 {
        let epoch = silo.room(uri).await.unwrap().1.unwrap_or_default();
        if wanted(epoch) {
            return epoch;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the epoch does not come: {:?}", silo.room(uri).await);
}

/// Waits until a silo has this many notices that say so.
async fn until_notices(silo: &Silo, room: &OwnedRoomId, text: &str, count: usize) {
    let found = || silo.homeserver.notices(room).iter().filter(|notice| notice.contains(text)).count();
    until_true(text, || found() >= count).await;
    assert_eq!(found(), count, "{:?}", silo.homeserver.notices(room));
}

/// Both sides are in the same epoch, and each reads what the other says.
async fn they_talk(two: &Two, at_a: &OwnedRoomId, at_b: &OwnedRoomId, uri: &RoomUri, speakers: &[&str], mark: &str) {
    let (mut here, mut there) = (two.a.homeserver.bodies(at_a), two.b.homeserver.bodies(at_b));
    for name in speakers {
        let (silo, room) = if name.starts_with('a') { (&two.a, at_a) } else { (&two.b, at_b) };
        let body = format!("{name} {mark}");
        silo.homeserver.say(room, name, &body);
        here.push(body.clone());
        there.push(body);
        let texts: Vec<&str> = here.iter().map(String::as_str).collect();
        until_bodies(&two.a, at_a, &texts).await;
        let texts: Vec<&str> = there.iter().map(String::as_str).collect();
        until_bodies(&two.b, at_b, &texts).await;
    }
    let epoch = two.a.room(uri).await.unwrap().1.unwrap();
    until_epoch(&two.b, uri, |other| other >= epoch).await;
}

/// B2 comes in and gets a leaf, so that B has an anchor and a standby.
async fn friend(two: &Two, at_a: &OwnedRoomId, at_b: &OwnedRoomId, name: &str) {
    let before = two.a.homeserver.bodies(at_a).len();
    two.b.homeserver.invite(at_b, "b1", &two.b.homeserver.user(name), false);
    two.b.homeserver.join(at_b, name);
    two.b.homeserver.say(at_b, name, &format!("{name} is here"));
    until_true("the friend is heard", || two.a.homeserver.bodies(at_a).len() == before + 1).await;
}

/// The rejoins that the hub took: external commits, which have no member as sender.
fn external_commits(two: &Two) -> usize {
    let calls = two.a.net.calls(&two.a.domain, Endpoint::Update);
    calls
        .iter()
        .filter(|call| {
            let taken = call.answer.as_ref().is_ok_and(|answer| {
                matches!(UpdateRoomResponse::decode(answer).unwrap().outcome, UpdateOutcome::Success { .. })
            });
            // Version, wire format, group id, epoch; then the sender's type.
            let HandshakeBundle::Commit(bundle) = HandshakeBundle::decode(&call.body).unwrap() else { return false };
            taken
                && mimi_gateway::mls::handshake_kind(bundle.commit.as_bytes()).is_ok_and(|kind| {
                    matches!(kind, mimi_gateway::mls::HandshakeKind::Commit(frame)
                    if frame.sender == Some(mimi_gateway::mls::FrameSender::NewMemberCommit))
                })
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_came_is_made_good_when_the_next_one_comes() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    friend(&two, &at_a, &at_b, "b2").await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1", "b2"], "before").await;
    let (epoch, external) = (two.b.room(&uri).await.unwrap().1.unwrap(), external_commits(&two));
    switch.set(&[(NOTIFY_B, Fault::Refused)]);
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    until_epoch(&two.a, &uri, |now| now > epoch).await;
    until_true("the hub gave up", || two.a.engine().quarantined() > 0).await;
    // What A2 says in an epoch that B never holds cannot be read; A2's leaf is the commit that shows the gap.
    switch.set(&[]);
    two.a.homeserver.say(&at_a, "a2", "lost to B");
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    until_true("A has it", || two.a.homeserver.bodies(&at_a).contains(&"lost to B".to_owned())).await;
    assert_eq!(external_commits(&two), external + 1);
    assert!(!two.b.homeserver.bodies(&at_b).contains(&"lost to B".to_owned()));
    they_talk(&two, &at_a, &at_b, &uri, &["b2", "a2", "b1", "a1"], "after").await;
    assert_eq!(two.b.room(&uri).await.unwrap().2, 4);
    let ghost = two.b.ghost(&two.a.uri("a2"));
    assert_eq!(two.b.homeserver.member(&at_b, &ghost).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_the_hub_speaks_of_and_that_do_not_come() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    let epoch = two.b.room(&uri).await.unwrap().1.unwrap();
    switch.set(&[(NOTIFY_B, Fault::Refused)]);
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    two.a.homeserver.say(&at_a, "a2", "lost to B");
    until_epoch(&two.a, &uri, |now| now > epoch + 1).await;
    until_true("the hub gave up", || two.a.engine().quarantined() > 0).await;
    switch.set(&[]);
    // Only B speaks: its messages are refused for their epoch, wait, and are sealed again in the new one, in order.
    let words: Vec<String> = (0..5).map(|n| format!("b {n}")).collect();
    for body in &words {
        two.b.homeserver.say(&at_b, "b1", body);
    }
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    let mut expected = two.a.homeserver.bodies(&at_a);
    expected.retain(|body| !words.contains(body));
    expected.extend(words.iter().cloned());
    let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &texts).await;
    assert_eq!(two.a.homeserver.bodies(&at_a), expected);
    they_talk(&two, &at_a, &at_b, &uri, &["a2", "b1"], "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_restored_from_a_backup_comes_back() {
    let net = Arc::new(Net::default());
    let dir = tempfile::tempdir().unwrap();
    let switch = Switch::default();
    let at = |name: &str| dir.path().join(name);
    let a = Silo::start_on("a", &["a1", "a2"], &net, Disk::Sqlite(at("a")), switch.faults()).await;
    let b = Silo::start_on("b", &["b1", "b2"], &net, Disk::Sqlite(at("b")), switch.faults()).await;
    let two = Two { a, b };
    let (at_a, at_b, uri) = two.room().await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    two.b.stop().await;
    copy(&at("b"), &at("backup"));
    two.b.start().await;
    // After the backup B2 gets a leaf, whose key the backup does not have, and the room goes on.
    friend(&two, &at_a, &at_b, "b2").await;
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    they_talk(&two, &at_a, &at_b, &uri, &["a2"], "after the backup").await;
    two.b.stop().await;
    std::fs::remove_dir_all(at("b")).unwrap();
    copy(&at("backup"), &at("b"));
    two.b.start_distrusting().await;
    two.b.homeserver.say(&at_b, "b1", "after the restore");
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    until_true("B1 is heard", || two.a.homeserver.bodies(&at_a).contains(&"after the restore".to_owned())).await;
    until_true("B is at rest", || two.b.homeserver.is_quiet()).await;
    until_room(&two.b, &uri, "active").await;
    // B2 gets a leaf of its own again.
    two.b.homeserver.say(&at_b, "b2", "me too");
    until_true("B2 is heard", || two.a.homeserver.bodies(&at_a).contains(&"me too".to_owned())).await;
    two.a.homeserver.say(&at_a, "a2", "good");
    until_true("A2 is heard", || two.b.homeserver.bodies(&at_b).contains(&"good".to_owned())).await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lost_its_data_joins_again() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let two = Two { a, b };
    let (at_a, at_b, uri) = two.room().await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    two.b.stop().await;
    let Two { a, b } = two;
    drop(b);
    let b = Silo::new("b", &["b1"], &net).await;
    let epoch = a.room(&uri).await.unwrap().1.unwrap();
    let desk = b.homeserver.create_room("b1", "Desk");
    b.homeserver.invite(&desk, "b1", b.homeserver.bot.as_str(), true);
    until_true("the bot", || b.homeserver.member(&desk, b.homeserver.bot.as_str()).as_deref() == Some("join")).await;
    b.homeserver.say(&desk, "b1", &format!("join {uri}"));
    until_true("an invitation", || !b.homeserver.invitations("b1").is_empty()).await;
    let at_b = b.homeserver.invitations("b1").first().cloned().unwrap();
    b.homeserver.join(&at_b, "b1");
    // In, and the leaf whose key was lost is taken away.
    until_epoch(&a, &uri, |now| now >= epoch + 2).await;
    a.homeserver.say(&at_a, "a1", "welcome back");
    until_true("B1 reads", || b.homeserver.bodies(&at_b).contains(&"welcome back".to_owned())).await;
    b.homeserver.say(&at_b, "b1", "thanks");
    until_true("A1 reads", || a.homeserver.bodies(&at_a).contains(&"thanks".to_owned())).await;
    assert_eq!(a.room(&uri).await.unwrap().2, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_and_comes_after_is_read() {
    let (two, switch) = with_switch().await;
    let c = Silo::start_on("c", &["c1"], &two.a.net, Disk::Memory(MemoryDisk::new()), switch.faults()).await;
    let (at_a, at_b, uri) = two.room().await;
    let at_c = bring(&two.a, &at_a, "a1", &c, "c1").await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    c.homeserver.say(&at_c, "c1", "c1 before");
    until_true("B reads", || two.b.homeserver.bodies(&at_b).contains(&"c1 before".to_owned())).await;
    let epoch = epoch_of(&two.a, &uri).await;
    switch.set(&[(NOTIFY_B, Fault::Refused), ("notify a.example to c.example", Fault::Before)]);
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    until_epoch(&two.a, &uri, |now| now == epoch + 1).await;
    until_true("the hub gave up", || two.a.engine().quarantined() > 0).await;
    // C speaks in the epoch that all three were in; the hub takes it, and B hears of it late.
    switch.set(&[(NOTIFY_B, Fault::Before), ("notify a.example to c.example", Fault::Before)]);
    c.homeserver.say(&at_c, "c1", "late");
    until_true("A reads", || two.a.homeserver.bodies(&at_a).contains(&"late".to_owned())).await;
    // B notices by a change of its own, and joins again.
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    two.b.stop().await;
    two.b.start().await;
    switch.set(&[]);
    until_true("B reads", || two.b.homeserver.bodies(&at_b).contains(&"late".to_owned())).await;
    they_talk(&two, &at_a, &at_b, &uri, &["b1", "a1"], "after").await;
}

// ------------------------------------------------------------------------------------- others remove our leaves

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_removes_or_bans_the_anchor_and_the_others_talk_on() {
    for ban in [false, true] {
        let (two, _) = with_switch().await;
        let (at_a, at_b, uri) = two.room().await;
        friend(&two, &at_a, &at_b, "b2").await;
        friend(&two, &at_a, &at_b, "b3").await;
        let ghost = two.a.ghost(&two.b.uri("b1"));
        if ban {
            two.a.homeserver.ban(&at_a, "a1", &ghost);
        } else {
            two.a.homeserver.kick(&at_a, "a1", &ghost);
        }
        let guest = two.b.homeserver.user("b1");
        let out = if ban { "ban" } else { "leave" };
        until_true("B1 is out", || two.b.homeserver.member(&at_b, &guest).as_deref() == Some(out)).await;
        they_talk(&two, &at_a, &at_b, &uri, &["b2", "a1", "b3"], "without b1").await;
        assert_eq!(external_commits(&two), 2, "nobody had to join again");
        assert!(!two.b.homeserver.notices(&at_b).iter().any(|text| text.contains("connected again")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn anchor_and_standby_go_before_another_could_take_over() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    friend(&two, &at_a, &at_b, "b2").await;
    friend(&two, &at_a, &at_b, "b3").await;
    they_talk(&two, &at_a, &at_b, &uri, &["b1", "b2", "b3", "a1"], "before").await;
    let external = external_commits(&two);
    // B's changes do not reach the hub while it removes both.
    switch.set(&[(UPDATE_A, Fault::Before)]);
    for name in ["b1", "b2"] {
        two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&two.b.uri(name)));
        let guest = two.b.homeserver.user(name);
        until_true("out", || two.b.homeserver.member(&at_b, &guest).as_deref() == Some("leave")).await;
    }
    until_room(&two.b, &uri, "coming back").await;
    two.b.homeserver.say(&at_b, "b3", "I wait");
    switch.set(&[]);
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    until_true("B3 is heard", || two.a.homeserver.bodies(&at_a).contains(&"I wait".to_owned())).await;
    assert_eq!(external_commits(&two), external + 1);
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b3"], "after").await;
    assert_eq!(two.b.room(&uri).await.unwrap().2, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_speaker_is_removed_and_a_listener_comes_in_for_the_others() {
    let (two, _) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(&at_b, "b2");
    let ghost = two.a.ghost(&two.b.uri("b2"));
    until_true("B2 is listed", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("join")).await;
    two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&two.b.uri("b1")));
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b2"], "without b1").await;
    assert_eq!(two.b.homeserver.member(&at_b, &two.b.homeserver.user("b1")).as_deref(), Some("leave"));
    assert_eq!(two.b.homeserver.member(&at_b, &two.b.homeserver.user("b2")).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_us_are_removed_while_coming_back() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    friend(&two, &at_a, &at_b, "b2").await;
    friend(&two, &at_a, &at_b, "b3").await;
    switch.set(&[(UPDATE_A, Fault::Before)]);
    for name in ["b1", "b2"] {
        two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&two.b.uri(name)));
    }
    until_room(&two.b, &uri, "coming back").await;
    two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&two.b.uri("b3")));
    let hub = || async { two.a.room(&uri).await.unwrap().2 };
    while hub().await > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    switch.set(&[]);
    // The hub refuses for good, and B3 is told what to do.
    until_notices(&two.b, &at_b, "somebody elsewhere in the room can add you again", 1).await;
    two.b.homeserver.say(&at_b, "b3", "anybody?");
    assert!(!two.a.homeserver.bodies(&at_a).contains(&"anybody?".to_owned()));
    // Somebody does.
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b3")));
    until_true("B3 is heard", || two.a.homeserver.bodies(&at_a).contains(&"anybody?".to_owned())).await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b3"], "again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_go_first_while_a_room_comes_back() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    let epoch = two.a.room(&uri).await.unwrap().1.unwrap();
    switch.set(&[(NOTIFY_B, Fault::Refused)]);
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    until_epoch(&two.a, &uri, |now| now > epoch).await;
    until_true("the hub gave up", || two.a.engine().quarantined() > 0).await;
    // The external commit is made, and reaches the hub only after another commit.
    switch.set(&[(UPDATE_A, Fault::Before)]);
    two.a.homeserver.say(&at_a, "a2", "one");
    until_true("B has a GroupInfo", || !two.a.net.calls(&two.a.domain, Endpoint::GroupInfo).is_empty()).await;
    until_epoch(&two.b, &uri, |now| now > epoch).await;
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a3"), false);
    two.a.homeserver.join(&at_a, "a3");
    let before = two.a.room(&uri).await.unwrap().1.unwrap();
    two.a.homeserver.say(&at_a, "a3", "two");
    until_epoch(&two.a, &uri, |now| now > before).await;
    // The process dies in the middle of it.
    two.b.crash().await;
    two.b.memory().refuse_commits(None);
    two.b.start().await;
    switch.set(&[]);
    until_notices(&two.b, &at_b, "is connected again", 1).await;
    they_talk(&two, &at_a, &at_b, &uri, &["b1", "a3", "a2"], "after").await;
    let refused = two.a.net.calls(&two.a.domain, Endpoint::Update).into_iter().filter(|call| {
        let answer = call.answer.as_ref().map(|answer| UpdateRoomResponse::decode(answer).unwrap().outcome);
        matches!(answer, Ok(UpdateOutcome::WrongEpoch { .. }))
    });
    assert!(refused.count() > 0, "the first try came too late");
}

// ---------------------------------------------------------------------------------------------- a burst's first speakers

/// Commits that a silo's group went through.
async fn epoch_of(silo: &Silo, uri: &RoomUri) -> u64 {
    silo.room(uri).await.unwrap().1.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_first_speakers_of_a_burst_share_one_commit_at_the_hub() {
    let net = Arc::new(Net::default());
    let people = ["a1", "a2", "a3", "a4", "a5", "a6"];
    let a = Silo::new("a", &people, &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let two = Two { a, b };
    let homeserver = &two.a.homeserver;
    let (at_a, uri) = two.bridge().await;
    for name in &people[1..] {
        homeserver.invite(&at_a, "a1", &homeserver.user(name), false);
        homeserver.join(&at_a, name);
    }
    let at_b = bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    until_true("all are listed", || {
        people[1..].iter().all(|name| two.b.homeserver.member(&at_b, &two.b.ghost(&two.a.uri(name))).is_some())
    })
    .await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    let before = epoch_of(&two.a, &uri).await;
    // All come in one transaction.
    two.a.stop().await;
    let mut expected = two.b.homeserver.bodies(&at_b);
    for name in &people[1..] {
        expected.push(format!("{name} first"));
        homeserver.say(&at_a, name, &expected[expected.len() - 1]);
    }
    two.a.start().await;
    let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &texts).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), expected);
    // One more makes a standby of one of them.
    let after = epoch_of(&two.a, &uri).await;
    assert!((before + 1..=before + 2).contains(&after), "{before} {after}");
    for name in &people[1..] {
        let ghost = two.b.ghost(&two.a.uri(name));
        assert!(two.b.homeserver.messages(&at_b).iter().any(|seen| seen.sender == ghost));
    }
    they_talk(&two, &at_a, &at_b, &uri, &["a3", "b1", "a6"], "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_first_speakers_of_a_burst_in_a_followed_room_come_each_by_an_external_commit() {
    let net = Arc::new(Net::default());
    let people = ["b1", "b2", "b3", "b4", "b5", "b6"];
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &people, &net).await;
    let two = Two { a, b };
    let homeserver = &two.b.homeserver;
    let (at_a, at_b, uri) = two.room().await;
    for name in &people[1..] {
        homeserver.invite(&at_b, "b1", &homeserver.user(name), false);
        homeserver.join(&at_b, name);
    }
    until_true("all are listed", || {
        people[1..].iter().all(|name| two.a.homeserver.member(&at_a, &two.a.ghost(&two.b.uri(name))).is_some())
    })
    .await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    let before = epoch_of(&two.a, &uri).await;
    two.b.stop().await;
    let mut expected = two.a.homeserver.bodies(&at_a);
    for name in &people[1..] {
        expected.push(format!("{name} first"));
        homeserver.say(&at_b, name, &expected[expected.len() - 1]);
    }
    two.b.start().await;
    let texts: Vec<&str> = expected.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &texts).await;
    let after = epoch_of(&two.a, &uri).await;
    // Another hub would take no Add whose KeyPackage it has not given out itself. One more makes a standby.
    assert!((before + 5..=before + 6).contains(&after), "{before} {after}");
    they_talk(&two, &at_a, &at_b, &uri, &["b3", "a1", "b6"], "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_leads_on_where_the_removal_was_missed() {
    let (two, switch) = with_switch().await;
    let (at_a, at_b, uri) = two.room().await;
    they_talk(&two, &at_a, &at_b, &uri, &["a1", "b1"], "before").await;
    // B never hears that its only leaf is gone, and thinks that all is well.
    switch.set(&[(NOTIFY_B, Fault::Refused)]);
    two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&two.b.uri("b1")));
    until_true("the hub gave up", || two.a.engine().quarantined() > 0).await;
    switch.set(&[]);
    until_room(&two.b, &uri, "active").await;
    // Somebody else of B is asked in.
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {}", two.b.uri("b2")));
    until_true("an invitation", || two.b.homeserver.invitations("b2").contains(&at_b)).await;
    two.b.homeserver.join(&at_b, "b2");
    until_notices(&two.b, &at_b, "it is connected again", 1).await;
    they_talk(&two, &at_a, &at_b, &uri, &["b2", "a1"], "after").await;
    let guest = two.b.homeserver.user("b1");
    until_true("B1 is out", || two.b.homeserver.member(&at_b, &guest).as_deref() == Some("leave")).await;
}
