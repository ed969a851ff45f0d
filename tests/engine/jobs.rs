//! Jobs that mirror many rooms, when something is wrong with one of them: it holds up nobody, and an undo knows where it is.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use mimi_gateway::{
    engine::{Finding, MirrorError, MirrorRequest, MirrorRow, Outcome, Selection, Stage},
    policy::Envelope,
    store::{Batch, Table},
};

use crate::{
    homeserver::{Fault, Faults},
    mirror::{kitchen_rooms, named, request, rows, run, until_closed},
    silo::{Disk, Net, Silo, Two, until_true},
};

/// Calls about which this text says something fail while it is set.
#[derive(Clone, Default)]
struct Broken(Arc<Mutex<Option<String>>>);

impl Broken {
    fn set(&self, text: Option<&str>) {
        *self.0.lock().unwrap() = text.map(str::to_owned);
    }

    fn faults(&self) -> Faults {
        let broken = self.0.clone();
        Arc::new(Mutex::new(Box::new(move |call: &str| {
            let hit = broken.lock().unwrap().as_ref().is_some_and(|text| call.contains(text.as_str()));
            if hit { Fault::Before } else { Fault::None }
        })))
    }
}

async fn silo_with(broken: &Broken) -> Silo {
    let disk = Disk::Memory(mimi_gateway::store::MemoryDisk::new());
    Silo::start_on("a", &["a1"], &Arc::new(Net::default()), disk, broken.faults()).await
}

async fn row_of(silo: &Silo, job: u64, room: &str) -> MirrorRow {
    rows(silo, job).await.into_iter().find(|row| row.room == room).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_always_fails_holds_up_nobody() {
    let broken = Broken::default();
    let silo = silo_with(&broken).await;
    let rooms = kitchen_rooms(&silo, 3).await;
    let bad = rooms.iter().map(ToString::to_string).min().unwrap();
    broken.set(Some(&format!("timeline {bad}")));
    let job = silo.engine().mirror(request(Selection::All)).await.unwrap().id;
    until_true("the others are mirrored", || silo.homeserver.mirrored() == 2).await;
    // How often it was tried outlives a restart, and whoever looks is told why.
    let before = loop {
        let row = row_of(&silo, job, &bad).await;
        if row.tries > 1 {
            assert_eq!(row.outcome, Outcome::Waiting);
            assert!(row.trouble.contains("and is tried again: connection refused"), "{row:?}");
            break row.tries;
        }
        tokio::task::yield_now().await;
    };
    silo.stop().await;
    silo.start().await;
    let done = until_closed(&silo, job).await;
    assert_eq!((done.stage, done.counts.seen, done.counts.mirrored, done.counts.failed), (Stage::Finished, 3, 2, 1));
    let row = row_of(&silo, job, &bad).await;
    assert!(before < 20, "it waits longer from one try to the next");
    assert_eq!(row.outcome, Outcome::Failed("tried 20 times: connection refused".to_owned()));
    // The same again tries it again.
    broken.set(None);
    let (again, _) = run(&silo, request(Selection::All)).await;
    assert_eq!((again.counts.mirrored, again.counts.before, again.counts.failed), (1, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_is_away_is_no_rooms_fault() {
    let broken = Broken::default();
    let silo = silo_with(&broken).await;
    let rooms = kitchen_rooms(&silo, 2).await;
    broken.set(Some(""));
    let job = silo.engine().mirror(request(named(&rooms))).await.unwrap().id;
    for _ in 0..40 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert!(rows(&silo, job).await.iter().all(|row| row.tries == 0), "nothing is held against a room");
    }
    broken.set(None);
    let done = until_closed(&silo, job).await;
    assert_eq!((done.counts.mirrored, done.counts.failed), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_that_cannot_be_found_ends_its_job() {
    let broken = Broken::default();
    let silo = silo_with(&broken).await;
    broken.set(Some("alias #garden"));
    let (job, _) = run(&silo, request(Selection::Space("#garden:dead.test".to_owned()))).await;
    assert_eq!(job.stage, Stage::Failed("connection refused".to_owned()), "at once");
    broken.set(None);
    for (space, says) in
        [("#nowhere:a.test", "there is no space #nowhere:a.test"), ("!nowhere:a.test", "invite the bot")]
    {
        let (job, _) = run(&silo, request(Selection::Space(space.to_owned()))).await;
        assert!(matches!(&job.stage, Stage::Failed(why) if why.contains(says)), "{space}: {:?}", job.stage);
    }
    for name in ["foo", "#foo", "mimi://a.test/r/foo"] {
        let refused = silo.engine().mirror(request(Selection::Space(name.to_owned()))).await;
        assert!(matches!(refused, Err(MirrorError::Declined(why)) if why.contains("is no room's id")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_rooms_are_still_looked_for_can_be_stopped_and_holds_up_no_other() {
    let (stuck, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let faults: Faults = {
        let (stuck, asked) = (stuck.clone(), asked.clone());
        Arc::new(Mutex::new(Box::new(move |call: &str| {
            let waits = stuck.load(Ordering::SeqCst) && call.contains("alias #garden");
            asked.fetch_or(waits, Ordering::SeqCst);
            if waits { Fault::Stuck } else { Fault::None }
        })))
    };
    let disk = Disk::Memory(mimi_gateway::store::MemoryDisk::new());
    let silo = Silo::start_on("a", &["a1"], &Arc::new(Net::default()), disk, faults).await;
    let room = kitchen_rooms(&silo, 1).await.remove(0);
    let first = silo.engine().mirror(request(Selection::Space("#garden:far.test".to_owned()))).await.unwrap().id;
    until_true("the homeserver is asked", || asked.load(Ordering::SeqCst)).await;
    silo.engine().stop_mirroring(first).await.unwrap();
    let (second, _) = run(&silo, request(Selection::Space(room.to_string()))).await;
    assert_eq!(second.stage, Stage::Failed(format!("{room} is no space")));
    assert_eq!(silo.engine().mirror_job(first).await.unwrap().unwrap().stage, Stage::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_lets_go_what_was_mirrored_wherever_it_is_now() {
    let two = Two::new().await;
    let (silo, homeserver) = (&two.a, &two.a.homeserver);
    let rooms = kitchen_rooms(silo, 5).await;
    let [moved, upgraded, making, never, other] = &rooms[..] else { panic!() };
    let garden = homeserver.call_alias("garden", moved);
    let listed = [garden.clone(), upgraded.to_string(), making.to_string(), never.to_string()];
    let (job, found) = run(silo, request(Selection::Rooms(listed.to_vec()))).await;
    assert_eq!(job.counts.mirrored, 4, "{found:?}");
    // The alias leads to another room, which somebody mirrors by hand; a room is upgraded.
    homeserver.call_alias("garden", other);
    homeserver.say(other, "a1", "!mimi bridge");
    until_true("that is mirrored", || homeserver.bridge_states(other) == 1).await;
    let new = homeserver.upgrade(upgraded, "a1", upgraded);
    homeserver.invite(&new, "a1", homeserver.bot.as_str(), false);
    until_true("it goes on there", || homeserver.bridge_states(&new) == 1).await;
    // As a kill leaves rows: in the making, with a MIMI room and without.
    let table: Table<(u64, String), MirrorRow> = Table::new("mirrorrow");
    let db = silo.engine().database().clone();
    let mut batch = Batch::new("test");
    for (room, uri) in [(making, None), (never, Some("mimi://a.example/r/none"))] {
        let mut row = row_of(silo, job.id, room.as_str()).await;
        let Outcome::Mirrored(made) = row.outcome.clone() else { panic!("{row:?}") };
        row.outcome = Outcome::Making(uri.map_or(made, str::to_owned));
        table.put(&db, &mut batch, &(job.id, room.to_string()), &row).unwrap();
    }
    db.commit(batch).await.unwrap();

    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    let undone = until_closed(silo, job.id).await;
    assert_eq!((undone.counts.undone, undone.counts.kept, undone.stage), (3, 0, Stage::Undone));
    for room in [moved, &new, making] {
        until_true(&format!("{room} is let go"), || homeserver.bridge_states(room) == 0).await;
    }
    assert_eq!((homeserver.bridge_states(other), homeserver.bridge_states(never)), (1, 1), "nobody meant these");
    let by_alias = row_of(silo, job.id, &garden).await;
    assert_eq!(by_alias.matrix.as_ref(), Some(moved));
    assert!(matches!(by_alias.outcome, Outcome::Undone(_)), "{by_alias:?}");
    assert_eq!(row_of(silo, job.id, upgraded.as_str()).await.matrix, Some(new));
    assert!(matches!(row_of(silo, job.id, making.as_str()).await.outcome, Outcome::Undone(_)));
    assert_eq!(row_of(silo, job.id, never.as_str()).await.outcome, Outcome::Waiting, "it never was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_that_cannot_leave_is_told_of_and_the_undo_ends() {
    let broken = Broken::default();
    let silo = silo_with(&broken).await;
    silo.stop().await;
    silo.homeserver.admin.store(true, Ordering::SeqCst);
    silo.start().await;
    let room = silo.homeserver.create_foreign_room("a1", "Cellar");
    let empowered = MirrorRequest { make_admin: true, ..request(named(std::slice::from_ref(&room))) };
    let (job, _) = run(&silo, empowered).await;
    assert_eq!(job.counts.mirrored, 1);
    broken.set(Some(&format!("Leave {{ room: {room:?}, actor: Bot")));
    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    let undone = until_closed(&silo, job.id).await;
    assert_eq!((undone.counts.undone, undone.counts.mirrored), (1, 0));
    let row = row_of(&silo, job.id, room.as_str()).await;
    assert!(matches!(row.outcome, Outcome::Undone(_)) && row.trouble.contains("the bot is still in it"), "{row:?}");
    // Once more, when it can.
    broken.set(None);
    silo.engine().undo_mirroring(job.id, false).await.unwrap();
    assert_eq!(until_closed(&silo, job.id).await.counts.undone, 1);
    assert_eq!(silo.homeserver.member(&room, silo.homeserver.bot.as_str()).as_deref(), Some("leave"));
    assert_eq!(row_of(&silo, job.id, room.as_str()).await.trouble, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_comes_while_a_job_looks_is_answered() {
    type Hook = Option<(String, Box<dyn Fn() + Send>)>;
    let held: Arc<Mutex<Hook>> = Arc::default();
    let hook = Arc::clone(&held);
    let faults: Faults = Arc::new(Mutex::new(Box::new(move |call: &str| {
        let mut hook = hook.lock().unwrap();
        if let Some((_, invite)) = hook.take_if(|(text, _)| call.contains(text.as_str())) {
            invite();
            // The gateway hears of it while the job looks.
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Fault::None
    })));
    let disk = Disk::Memory(mimi_gateway::store::MemoryDisk::new());
    let silo = Silo::start_on("a", &["a1"], &Arc::new(Net::default()), disk, faults).await;
    silo.stop().await;
    silo.homeserver.admin.store(true, Ordering::SeqCst);
    silo.start().await;
    let room = silo.homeserver.create_foreign_room("a1", "Cellar");
    let (homeserver, place, invited) = (Arc::clone(&silo.homeserver), room.clone(), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&invited);
    let invite = move || {
        homeserver.invite(&place, "a1", homeserver.bot.as_str(), false);
        done.store(true, Ordering::SeqCst);
    };
    *held.lock().unwrap() = Some((format!("timeline {room}"), Box::new(invite)));
    let dry = MirrorRequest { dry_run: true, ..request(named(std::slice::from_ref(&room))) };
    let (job, _) = run(&silo, dry).await;
    assert!(invited.load(Ordering::SeqCst) && job.counts.seen == 1);
    let bot = silo.homeserver.bot.to_string();
    until_true("the bot comes", || silo.homeserver.member(&room, &bot).as_deref() == Some("join")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_more_than_the_operator_allows_is_left_out() {
    let silo = Silo::new("a", &["a1", "a2", "a3"], &Arc::new(Net::default())).await;
    let rooms = kitchen_rooms(&silo, 2).await;
    for name in ["a2", "a3"] {
        silo.homeserver.invite(&rooms[0], "a1", &silo.homeserver.user(name), false);
        silo.homeserver.join(&rooms[0], name);
    }
    silo.stop().await;
    *silo.envelope.lock().unwrap() = Envelope { max_participants: Some(2), ..Envelope::default() };
    silo.start().await;
    for dry_run in [true, false] {
        let (job, _) = run(&silo, MirrorRequest { dry_run, ..request(named(&rooms)) }).await;
        assert_eq!((job.counts.left_out, job.counts.fit + job.counts.mirrored), (1, 1));
        let row = row_of(&silo, job.id, rooms[0].as_str()).await;
        assert_eq!((&row.outcome, row.findings.as_slice()), (&Outcome::LeftOut, &[Finding::TooMany(3, 2)][..]));
        assert!(row.findings[0].to_string().contains("envelope.max_participants"));
    }
    until_true("one is mirrored", || silo.homeserver.mirrored() == 1).await;
    silo.until_all_sent().await;
    assert_eq!(silo.homeserver.mirrored(), 1);
}
