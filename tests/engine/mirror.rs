//! Mirroring many rooms at once: what is left out and why, that a kill costs nothing, and undoing it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mimi_gateway::{
    engine::{Finding, MirrorError, MirrorJob, MirrorRequest, MirrorRow, Outcome, Selection, Stage, Weight},
    ident::UserUri,
    store::{StoreError, Write},
};
use ruma::OwnedRoomId;
use serde_json::json;

use crate::{
    crashes::Steps,
    held::has,
    homeserver::Fault,
    silo::{Disk, Net, PATIENCE, Silo, Two, ask_bot_in, bring, until_true},
};

pub(crate) fn request(selection: Selection) -> MirrorRequest {
    MirrorRequest { selection, dry_run: false, make_admin: false, with_space: false, per_minute: 6_000 }
}

pub(crate) fn named(rooms: &[OwnedRoomId]) -> Selection {
    Selection::Rooms(rooms.iter().map(ToString::to_string).collect())
}

pub(crate) async fn until_closed(silo: &Silo, id: u64) -> MirrorJob {
    let since = std::time::Instant::now();
    loop {
        let job = silo.engine().mirror_job(id).await.unwrap().unwrap();
        if !job.stage.is_open() {
            return job;
        }
        assert!(since.elapsed() < PATIENCE, "the job does not end: {job:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

pub(crate) async fn run(silo: &Silo, request: MirrorRequest) -> (MirrorJob, Vec<MirrorRow>) {
    let job = silo.engine().mirror(request).await.unwrap();
    let job = until_closed(silo, job.id).await;
    (job.clone(), rows(silo, job.id).await)
}

pub(crate) async fn rows(silo: &Silo, id: u64) -> Vec<MirrorRow> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = silo.engine().mirror_rows_after(id, after, 3).await.unwrap();
        rows.extend(page);
        after = next;
        if after.is_none() {
            return rows;
        }
    }
}

fn codes(rows: &[MirrorRow]) -> BTreeMap<String, Vec<&'static str>> {
    rows.iter().map(|row| (row.room.clone(), row.findings.iter().map(Finding::code).collect())).collect()
}

pub(crate) async fn kitchen_rooms(silo: &Silo, count: usize) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for n in 0..count {
        let room = silo.homeserver.create_room("a1", &format!("Kitchen {n}"));
        ask_bot_in(&silo.homeserver, &room, "a1").await;
        rooms.push(room);
    }
    rooms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_will_be_lost() {
    let silo = Silo::new("a", &["a1", "a2"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let rooms = kitchen_rooms(&silo, 6).await;
    homeserver.set(&rooms[0], "a1", "m.room.join_rules", json!({ "join_rule": "knock" }));
    homeserver.set(&rooms[1], "a1", "m.room.join_rules", json!({ "join_rule": "knock_restricted", "allow": [] }));
    for (room, bans) in [(&rooms[2], 200), (&rooms[3], 203)] {
        for n in 0..bans {
            homeserver.ban(room, "a1", &homeserver.user(&format!("banned{n}")));
        }
        // The user behind a ghost is one besides.
        homeserver.ban(room, "a1", &silo.ghost(&UserUri::parse("mimi://b.example/u/b1").unwrap()));
    }
    for (room, others) in [(&rooms[4], 32), (&rooms[5], 34)] {
        let mut levels = json!({ homeserver.user("a1"): 100, homeserver.bot.as_str(): 100 });
        for n in 0..others {
            let name = format!("other{n}");
            homeserver.register(&name);
            homeserver.invite(room, "a1", &homeserver.user(&name), false);
            homeserver.join(room, &name);
            levels[homeserver.user(&name)] = json!(51 + n);
        }
        // Nobody who is there has these.
        levels["@elsewhere:a.test"] = json!(7);
        homeserver.set(room, "a1", "m.room.power_levels", json!({ "users": levels }));
    }
    let dry = MirrorRequest { dry_run: true, ..request(named(&rooms)) };
    let (_, found) = run(&silo, dry).await;
    assert!(found.iter().all(|row| row.outcome == Outcome::Fit));
    let found: BTreeMap<&str, &[Finding]> = found.iter().map(|row| (row.room.as_str(), &*row.findings)).collect();
    let of = |n: usize| found[rooms[n].as_str()];
    assert_eq!(of(0), [Finding::Knock]);
    assert_eq!(of(1), [Finding::Restricted, Finding::Knock]);
    assert_eq!((of(2), of(3)), (&[][..], &[Finding::Bans(3)][..]));
    assert_eq!((of(4), of(5)), (&[][..], &[Finding::Levels(2)][..]));
    for (finding, words) in [
        (&of(0)[0], "MIMI users cannot"),
        (&of(3)[0], "3 bans of users of this provider are beyond the 200"),
        (&of(5)[0], "2 of its members' power levels are beyond the 32"),
    ] {
        assert_eq!(finding.weight(), Weight::Loses);
        assert!(finding.to_string().contains(words), "{finding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_is_in_the_way_and_changes_nothing() {
    let silo = Silo::new("a", &["a1", "a2"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let rooms = kitchen_rooms(&silo, 9).await;
    homeserver.set(&rooms[1], "a1", "m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" }));
    homeserver.set(&rooms[2], "a1", "m.room.power_levels", json!({ "users": { homeserver.user("a1"): 100 } }));
    homeserver.set(&rooms[3], "a1", "m.room.history_visibility", json!({ "history_visibility": "world_readable" }));
    homeserver.set(&rooms[3], "a1", "m.room.retention", json!({ "max_lifetime": 86_400_000 }));
    homeserver.set(&rooms[3], "a1", "m.room.join_rules", json!({ "join_rule": "public" }));
    homeserver.set(&rooms[3], "a1", "m.room.guest_access", json!({ "guest_access": "can_join" }));
    let bridged = json!({ "bridgebot": "@other:a.test", "protocol": { "id": "mimi" } });
    homeserver.set(&rooms[4], "a1", "m.bridge", bridged);
    let discord = json!({ "bridgebot": "@d:a.test", "protocol": { "id": "discord", "displayname": "Discord" } });
    homeserver.set(&rooms[5], "a1", "m.bridge", discord);
    homeserver.set(&rooms[6], "a1", "m.room.tombstone", json!({ "replacement_room": "!new:a.test" }));
    homeserver.leave(&rooms[7], "a1");
    homeserver.call_room(&rooms[8], "a1", "");
    let foreign = homeserver.create_foreign_room("a2", "Cellar");
    let before: Vec<usize> = rooms.iter().map(|room| homeserver.events(room).len()).collect();

    let dry = MirrorRequest { dry_run: true, ..request(Selection::All) };
    let (job, found) = run(&silo, dry.clone()).await;
    let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (n, codes) in [
        &[] as &[&str],
        &["encrypted"],
        &["lacks_power"],
        &["world_readable", "public", "guests", "retention"],
        &["other_gateway"],
        &["bridged"],
        &["replaced"],
        &["nobody_here"],
        &["looks_direct"],
    ]
    .into_iter()
    .enumerate()
    {
        expected.insert(rooms[n].to_string(), codes.to_vec());
    }
    assert_eq!(codes(&found), expected);
    assert_eq!((job.counts.rooms, job.counts.fit, job.counts.left_out, job.counts.seen), (9, 3, 6, 9));
    let power = found.iter().find(|row| row.room == rooms[2].as_str()).unwrap();
    assert!(
        power.findings[0].to_string().contains("invite, remove") || power.findings[0].to_string().contains("remove")
    );
    assert_eq!((power.name.as_str(), power.version.as_str(), power.members), ("Kitchen 2", "11", 1));

    // With an administrator's token all rooms are seen; who names a room by its id means it.
    silo.stop().await;
    homeserver.admin.store(true, Ordering::SeqCst);
    silo.start().await;
    let (_, found) = run(&silo, dry.clone()).await;
    assert_eq!(codes(&found)[foreign.as_str()], ["bot_outside"]);
    let by_id = MirrorRequest { selection: named(&rooms[8..]), ..dry.clone() };
    assert_eq!(run(&silo, by_id).await.1[0].outcome, Outcome::Fit);
    let nowhere = MirrorRequest { selection: Selection::Rooms(vec!["!nowhere:a.test".to_owned()]), ..dry };
    let (_, found) = run(&silo, nowhere).await;
    assert_eq!(codes(&found)["!nowhere:a.test"], ["no_such_room"]);

    let after: Vec<usize> = rooms.iter().map(|room| homeserver.events(room).len()).collect();
    assert_eq!((before, homeserver.member(&foreign, homeserver.bot.as_str())), (after, None), "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_mirrored_once_and_let_go_again() {
    let two = Two::new().await;
    let rooms = kitchen_rooms(&two.a, 4).await;
    two.a.homeserver.say(&rooms[0], "a1", "!mimi bridge");
    until_true("one is mirrored before", || two.a.homeserver.mirrored() == 1).await;
    let (job, found) = run(&two.a, request(Selection::All)).await;
    assert_eq!((job.counts.mirrored, job.counts.before, job.stage.clone()), (3, 1, Stage::Finished), "{found:?}");
    until_true("all are mirrored", || two.a.homeserver.mirrored() == 4).await;
    // The same again finds nothing to do.
    let (again, _) = run(&two.a, request(Selection::All)).await;
    assert_eq!((again.counts.mirrored, again.counts.before), (0, 4));

    // A MIMI user comes into one of them.
    bring(&two.a, &rooms[1], "a1", &two.b, "b1").await;
    two.a.engine().undo_mirroring(job.id, false).await.unwrap();
    let undone = until_closed(&two.a, job.id).await;
    assert_eq!((undone.counts.undone, undone.counts.kept, undone.stage), (2, 1, Stage::Undone));
    until_true("two are let go", || two.a.homeserver.mirrored() == 2).await;
    let kept: Vec<MirrorRow> =
        rows(&two.a, job.id).await.into_iter().filter(|row| row.room == rooms[1].as_str()).collect();
    assert!(matches!(&kept[0].outcome, Outcome::Kept(_, why) if why == "1 MIMI users are in it"), "{kept:?}");
    let told = two.a.homeserver.notices(&rooms[2]);
    assert!(told.iter().any(|text| text.contains("Whoever runs this server ended the connection")), "{told:?}");

    two.a.engine().undo_mirroring(job.id, true).await.unwrap();
    let undone = until_closed(&two.a, job.id).await;
    assert_eq!((undone.counts.undone, undone.counts.kept, undone.counts.mirrored), (3, 0, 0));
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("the ghost goes", || two.a.homeserver.member(&rooms[1], &ghost).as_deref() == Some("leave")).await;
    until_true("three are let go", || two.a.homeserver.mirrored() == 1).await;
    // What was let go can be mirrored again.
    let (third, _) = run(&two.a, request(Selection::All)).await;
    assert_eq!((third.counts.mirrored, third.counts.before), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_is_brought_in_only_if_that_is_asked_for() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let room = homeserver.create_foreign_room("a1", "Cellar");
    let empowered = MirrorRequest { make_admin: true, ..request(named(std::slice::from_ref(&room))) };
    let refused = silo.engine().mirror(empowered.clone()).await;
    assert!(matches!(refused, Err(MirrorError::Declined(why)) if why.contains("admin_token")));
    silo.stop().await;
    homeserver.admin.store(true, Ordering::SeqCst);
    silo.start().await;
    let (job, found) = run(&silo, request(named(std::slice::from_ref(&room)))).await;
    assert_eq!((job.counts.left_out, codes(&found)[room.as_str()].as_slice()), (1, &["bot_outside"] as &[_]));
    assert_eq!(homeserver.member(&room, homeserver.bot.as_str()), None);

    // A dry run says what would be done, and does nothing of it.
    let dry = MirrorRequest { dry_run: true, ..empowered.clone() };
    let (job, found) = run(&silo, dry.clone()).await;
    assert_eq!((job.counts.fit, codes(&found)[room.as_str()].as_slice()), (1, &["brings_bot"] as &[_]));
    assert_eq!(homeserver.member(&room, homeserver.bot.as_str()), None);
    let nobodys = homeserver.create_foreign_room("a1", "Attic");
    homeserver.set(&nobodys, "a1", "m.room.power_levels", json!({ "users": { "@far:away.test": 100 } }));
    let (job, found) = run(&silo, MirrorRequest { selection: named(std::slice::from_ref(&nobodys)), ..dry }).await;
    let helpless: &[_] = &["bot_outside", "nobody_gives_power"];
    assert_eq!((job.counts.left_out, codes(&found)[nobodys.as_str()].as_slice()), (1, helpless));

    let (job, found) = run(&silo, empowered).await;
    assert_eq!(job.counts.mirrored, 1, "{found:?}");
    until_true("it is mirrored", || homeserver.mirrored() == 1).await;
    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    assert_eq!(until_closed(&silo, job.id).await.counts.undone, 1);
    assert_eq!(homeserver.member(&room, homeserver.bot.as_str()).as_deref(), Some("leave"), "it leaves again");
    let levels = homeserver.states(&room, "m.room.power_levels");
    assert_eq!(levels, [json!({ "users": { homeserver.user("a1"): 100 } })], "and gives its power back");
    assert_eq!(homeserver.mirrored(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn power_that_a_job_gave_goes_with_its_undoing() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    silo.stop().await;
    homeserver.admin.store(true, Ordering::SeqCst);
    silo.start().await;
    let rooms = kitchen_rooms(&silo, 3).await;
    let (me, bot) = (homeserver.user("a1"), homeserver.bot.to_string());
    // The bot is in all of them: without power, with some, and with as much as others.
    let levels = [
        json!({ me.as_str(): 100 }),
        json!({ me.as_str(): 100, bot.as_str(): 30 }),
        json!({ me.as_str(): 100, bot.as_str(): 0 }),
    ];
    for (room, users) in rooms.iter().zip(&levels) {
        homeserver.set(room, "a1", "m.room.power_levels", json!({ "users": users }));
    }
    let asked = MirrorRequest { make_admin: true, ..request(named(&rooms)) };
    let (job, found) = run(&silo, MirrorRequest { dry_run: true, ..asked.clone() }).await;
    assert_eq!(job.counts.fit, 3);
    assert!(codes(&found).values().all(|codes| codes == &["gives_power"]), "{found:?}");
    let (job, found) = run(&silo, asked).await;
    assert_eq!(job.counts.mirrored, 3, "{found:?}");
    until_true("they are mirrored", || homeserver.mirrored() == 3).await;
    let users = |room| homeserver.states(room, "m.room.power_levels").pop().unwrap()["users"].clone();
    assert!(rooms.iter().all(|room| users(room)[&bot] == 100));

    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    assert_eq!(until_closed(&silo, job.id).await.counts.undone, 3);
    for (room, before) in rooms.iter().zip(&levels) {
        assert_eq!(users(room), *before, "as it was");
        assert_eq!(homeserver.member(room, &bot).as_deref(), Some("join"), "it was there before");
    }
    assert_eq!(homeserver.mirrored(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_is_its_rooms_and_those_of_its_spaces() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let rooms = kitchen_rooms(&silo, 5).await;
    let child = |of: &OwnedRoomId, room: &OwnedRoomId| {
        homeserver.set_keyed(of, "a1", "m.space.child", room.as_str(), json!({ "via": ["a.test"] }));
    };
    for space in &rooms[..2] {
        homeserver.set(space, "a1", "m.room.create", json!({ "room_version": "11", "type": "m.space" }));
    }
    child(&rooms[0], &rooms[1]);
    child(&rooms[1], &rooms[0]);
    child(&rooms[0], &rooms[2]);
    child(&rooms[1], &rooms[3]);
    let dry = MirrorRequest { dry_run: true, ..request(Selection::Space(rooms[0].to_string())) };
    let (_, found) = run(&silo, dry.clone()).await;
    let found: BTreeSet<String> = found.into_iter().map(|row| row.room).collect();
    assert_eq!(found, rooms[2..4].iter().map(ToString::to_string).collect());
    let (job, _) = run(&silo, MirrorRequest { selection: Selection::Space(rooms[4].to_string()), ..dry }).await;
    assert!(matches!(&job.stage, Stage::Failed(why) if why.contains("is no space")), "{job:?}");
}

fn is_space_of(silo: &Silo, space: &OwnedRoomId, rooms: &[OwnedRoomId]) {
    let homeserver = &silo.homeserver;
    homeserver.set(space, "a1", "m.room.create", json!({ "room_version": "11", "type": "m.space" }));
    for room in rooms {
        homeserver.set_keyed(space, "a1", "m.space.child", room.as_str(), json!({ "via": ["a.test"] }));
        let allow = json!([{ "type": "m.room_membership", "room_id": space }]);
        homeserver.set(room, "a1", "m.room.join_rules", json!({ "join_rule": "restricted", "allow": allow }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_is_mirrored_before_its_rooms_and_let_go_after_them() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    // By their ids the rooms come first.
    let mut rooms = kitchen_rooms(&silo, 4).await;
    rooms.sort();
    let (inner, outer) = (&rooms[2], &rooms[3]);
    is_space_of(&silo, inner, &rooms[1..2]);
    is_space_of(&silo, outer, &[rooms[0].clone(), inner.clone()]);
    let whole = MirrorRequest { with_space: true, ..request(Selection::Space(outer.to_string())) };
    let (job, found) = run(&silo, MirrorRequest { dry_run: true, ..whole.clone() }).await;
    assert_eq!((job.counts.rooms, job.counts.fit), (4, 4), "{found:?}");
    let spaces: Vec<bool> = rooms.iter().map(|room| found.iter().any(|row| row.room == *room && row.space)).collect();
    assert_eq!(spaces, [false, false, true, true]);
    // The first space fails for a while: its rooms wait for it.
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, fails, slow) = (Arc::clone(&order), std::sync::atomic::AtomicUsize::new(2), inner.to_string());
    let names: Vec<String> = rooms.iter().map(ToString::to_string).collect();
    *homeserver.faults.lock().unwrap() = Box::new(move |call: &str| {
        if let Some(n) = names.iter().position(|room| call.contains(room.as_str()))
            && call.starts_with("SetState")
            && call.contains("m.bridge")
        {
            seen.lock().unwrap().push(n);
        }
        let again = call.starts_with("timeline") && call.contains(&slow);
        let fault = again && fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fault { Fault::Before } else { Fault::None }
    });
    let (job, found) = run(&silo, whole).await;
    assert_eq!(job.counts.mirrored, 4, "{found:?}");
    let says =
        |room: &OwnedRoomId, text: &str| homeserver.notices(room).iter().filter(|said| said.contains(text)).count();
    for room in &rooms[..3] {
        until_true("it belongs to its space", || says(room, "This room belongs to mimi://") == 1).await;
    }
    until_true("all say so", || order.lock().unwrap().len() == 4).await;
    let spaces: BTreeSet<usize> = order.lock().unwrap()[..2].iter().copied().collect();
    assert_eq!(spaces, BTreeSet::from([2, 3]), "{order:?}");
    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    assert_eq!(until_closed(&silo, job.id).await.counts.undone, 4);
    assert_eq!(says(&rooms[0], "is not mirrored any more") + says(&rooms[1], "is not mirrored any more"), 0);
    // Of no space there is none.
    let other = silo.engine().mirror(MirrorRequest { with_space: true, ..request(Selection::All) }).await;
    assert!(matches!(other, Err(MirrorError::Declined(why)) if why.contains("--space")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_upgraded_while_it_is_made_is_the_jobs_to_undo() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    let homeserver = &silo.homeserver;
    let room = kitchen_rooms(&silo, 1).await.remove(0);
    let made = std::sync::atomic::AtomicBool::new(false);
    silo.memory().judge(move |batch| {
        let puts =
            |table: &str| batch.writes().iter().any(|write| matches!(write, Write::Put { key, .. } if has(key, table)));
        if puts("link") {
            made.store(true, Ordering::SeqCst);
        }
        let done = puts("mirrorrow") && made.load(Ordering::SeqCst);
        if done { Err(StoreError::Busy("not now".to_owned())) } else { Ok(()) }
    });
    let job = silo.engine().mirror(request(Selection::All)).await.unwrap();
    let says = |room: &OwnedRoomId, text: &str| homeserver.notices(room).iter().any(|said| said.contains(text));
    until_true("it is mirrored", || says(&room, "This room is mirrored as")).await;
    let new = homeserver.upgrade(&room, "a1", &room);
    homeserver.invite(&new, "a1", homeserver.bot.as_str(), false);
    until_true("it goes on there", || says(&new, "This room goes on as")).await;
    silo.memory().judge(|_| Ok(()));
    assert_eq!(until_closed(&silo, job.id).await.counts.mirrored, 1, "{:?}", rows(&silo, job.id).await);
    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    assert_eq!(until_closed(&silo, job.id).await.counts.undone, 1);
    until_true("it is let go", || homeserver.states(&new, "m.bridge") == [json!({})]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_at_a_time_and_it_can_be_stopped() {
    let silo = Silo::new("a", &["a1"], &Arc::new(Net::default())).await;
    kitchen_rooms(&silo, 3).await;
    let slow = MirrorRequest { per_minute: 1, ..request(Selection::All) };
    let job = silo.engine().mirror(slow.clone()).await.unwrap();
    assert_eq!(silo.engine().mirror(slow).await.unwrap().id, job.id, "the same is that job");
    let other = silo.engine().mirror(request(Selection::All)).await;
    assert!(matches!(other, Err(MirrorError::Declined(why)) if why.contains(&format!("--stop {}", job.id))));
    until_true("one is mirrored", || silo.homeserver.mirrored() == 1).await;
    let undo = silo.engine().undo_mirroring(job.id, false).await;
    assert!(matches!(undo, Err(MirrorError::Declined(why)) if why.contains("under way")));
    assert_eq!(silo.engine().stop_mirroring(job.id).await.unwrap().stage, Stage::Stopped);
    // Its pause of a minute is cut short.
    let (rest, _) = run(&silo, request(Selection::All)).await;
    assert_eq!((rest.counts.mirrored, rest.counts.before), (2, 1));
}

/// The process ends between any two commits, calls fail before and after the homeserver acts: each room is mirrored once, and
/// let go once.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_survives_crashes() {
    for seed in 0..3 {
        let mut luck = Steps(seed);
        let switch = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let on = Arc::clone(&switch);
        let faults: crate::homeserver::Faults = Arc::new(std::sync::Mutex::new(Box::new(move |_: &str| {
            if !on.load(Ordering::SeqCst) {
                return Fault::None;
            }
            match luck.next(12) {
                0 => Fault::Before,
                1 => Fault::After,
                _ => Fault::None,
            }
        })));
        let disk = Disk::Memory(mimi_gateway::store::MemoryDisk::new());
        let silo = Silo::start_on("a", &["a1"], &Arc::new(Net::default()), disk, faults).await;
        let rooms = kitchen_rooms(&silo, 8).await;
        switch.store(true, Ordering::SeqCst);
        let job = silo.engine().mirror(request(Selection::All)).await.unwrap().id;
        crash_until_closed(&silo, job, seed).await;
        let counts = silo.engine().mirror_job(job).await.unwrap().unwrap().counts;
        assert_eq!((counts.rooms, counts.mirrored, counts.failed), (8, 8, 0), "seed {seed}");
        until_true("all are mirrored", || silo.homeserver.mirrored() == 8).await;
        for room in &rooms {
            let words = |silo: &Silo| {
                silo.homeserver.notices(room).iter().filter(|text| text.starts_with("This room is mirrored as")).count()
            };
            until_true("the room says so", || words(&silo) > 0).await;
            assert_eq!((words(&silo), silo.homeserver.bridge_states(room)), (1, 1), "seed {seed}: once");
        }
        silo.engine().undo_mirroring(job, false).await.unwrap();
        crash_until_closed(&silo, job, seed + 100).await;
        assert_eq!(silo.engine().mirror_job(job).await.unwrap().unwrap().counts.undone, 8, "seed {seed}");
        until_true("all are let go", || silo.homeserver.mirrored() == 0).await;
    }
}

async fn crash_until_closed(silo: &Silo, job: u64, seed: u64) {
    let mut steps = Steps(seed);
    let mut lives = 0;
    loop {
        lives += 1;
        let busy = StoreError::Busy("the process is gone".to_owned());
        silo.memory().refuse_commits_after(1 + steps.next(10 + lives), Some(busy));
        loop {
            let open = silo.engine().mirror_job(job).await.unwrap().unwrap().stage.is_open();
            if !open || silo.memory().refuses() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let done = !silo.engine().mirror_job(job).await.unwrap().unwrap().stage.is_open();
        silo.crash().await;
        silo.start().await;
        if done {
            return;
        }
        assert!(lives < 500, "it gets nowhere");
    }
}
