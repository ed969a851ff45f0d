//! What every store engine must do, as one suite that runs on each: reads, scans, atomic conditional batches, group
//! commit, reopening, locks, keys; and a model test of random operations against a map.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a panic is a failure")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use mimi_gateway::{
    ident::RoomUri,
    store::{
        Batch, Condition, Database, EngineChoice, ErrorKind, Key, LeaseTable, MAX_VALUE_BYTES, MasterKey, MemoryDisk,
        OpenOptions, Opened, Queue, ScanRange, Store, StoreError, Table, open, open_memory,
    },
};
use proptest::prelude::*;

/// A place where a store lives and can be opened again and again.
struct Place {
    engine: EngineChoice,
    dir: tempfile::TempDir,
    disk: MemoryDisk,
}

impl Place {
    fn new(engine: EngineChoice) -> Self {
        Self { engine, dir: tempfile::tempdir().unwrap(), disk: MemoryDisk::new() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn try_open(&self, key: u8) -> Result<Opened, StoreError> {
        let key = MasterKey::from_bytes([key; 32]);
        match self.engine {
            EngineChoice::Memory => open_memory(&self.disk, &key),
            _ => open(&OpenOptions::new(self.engine, self.path(), key)),
        }
    }

    fn open(&self) -> Opened {
        self.try_open(7).unwrap()
    }
}

macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() {
            super::$test(super::Place::new(super::EngineChoice::Sqlite)).await;
        })* }
        mod sled { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() {
            super::$test(super::Place::new(super::EngineChoice::Sled)).await;
        })* }
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $test() {
            super::$test(super::Place::new(super::EngineChoice::Memory)).await;
        })* }
    };
}

on_every_engine!(
    reads_what_was_committed,
    scans_in_key_order_by_pages,
    a_refused_batch_changes_nothing,
    each_condition_is_judged,
    the_last_write_to_a_key_wins,
    calls_are_applied_in_order,
    a_failing_condition_fails_only_its_own_batch,
    one_of_many_racing_batches_wins,
    bounds_and_reserved_keys_are_refused,
    generation_and_unclean_mark,
    a_second_open_is_refused,
    the_wrong_master_key_is_refused,
    a_closed_store_answers_closed,
    typed_tables_round_trip,
    sealed_values_hide_and_are_bound_to_their_key,
    queues_keep_order_under_concurrent_appends,
    queues_go_on_after_a_reopen,
    leases_fence_out_the_old_holder,
    statistics_count_by_name,
);

fn put(name: &'static str, rows: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::new(name);
    for (key, value) in rows {
        batch.put(*key, *value);
    }
    batch
}

async fn text(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    store.get(key.as_bytes()).await.unwrap().map(|value| String::from_utf8(value).unwrap())
}

async fn all(store: &Arc<dyn Store>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let page = store.scan(ScanRange::new([], usize::MAX)).await.unwrap();
    assert!(page.damaged.is_empty() && !page.more);
    page.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

async fn reads_what_was_committed(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    assert_eq!(text(store, "a").await, None);
    let committed = store.commit(put("t", &[("a", "1"), ("b", "")])).await.unwrap();
    assert_eq!(committed.generation, opened.report.generation);
    assert_eq!(text(store, "a").await.as_deref(), Some("1"));
    assert_eq!(text(store, "b").await.as_deref(), Some(""), "an empty value is a value");
    let mut batch = put("t", &[("a", "2")]);
    batch.delete("b").delete("never there");
    store.commit(batch).await.unwrap();
    assert_eq!(text(store, "a").await.as_deref(), Some("2"));
    assert_eq!(text(store, "b").await, None);
    let large = vec![9_u8; 3 * 1024 * 1024];
    let mut batch = Batch::new("t");
    batch.put("large", large.clone());
    store.commit(batch).await.unwrap();
    assert_eq!(store.get(b"large").await.unwrap(), Some(large));
}

async fn scans_in_key_order_by_pages(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let keys = [&b"p"[..], b"p\0", b"p\x01", b"pa", b"p\xff", b"p\xff\xff"].map(<[u8]>::to_vec);
    let mut batch = Batch::new("t");
    for key in keys.iter().rev() {
        batch.put(key.clone(), key.clone());
    }
    batch.put("o", "before").put("q", "behind").put(b"\xff\xff".to_vec(), "last");
    store.commit(batch).await.unwrap();

    let page = store.scan(ScanRange::new("p", 100)).await.unwrap();
    let found: Vec<_> = page.entries.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(found, keys);
    assert!(!page.more);

    let mut found = Vec::new();
    let mut range = ScanRange::new("p", 2);
    loop {
        let page = store.scan(range.clone()).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.key.clone()));
        if !page.more {
            break;
        }
        assert_eq!(page.entries.len(), 2);
        range = range.after(page.last_key().unwrap());
    }
    assert_eq!(found, keys);
    let count = |range| async { store.scan(range).await.unwrap().entries.len() };
    assert_eq!(count(ScanRange::new("p", 9).after("q")).await, 0, "after the range");
    assert_eq!(count(ScanRange::new("p", 9).after("a")).await, 6, "before the range");
    assert_eq!(count(ScanRange::new("nothing", 9)).await, 0);
    assert_eq!(count(ScanRange::new(b"\xff".to_vec(), 9)).await, 1, "a prefix without a successor");
    assert_eq!(all(store).await.len(), 9, "the store's own rows do not show");
    let page = store.scan(ScanRange::new("p", 0)).await.unwrap();
    assert!(page.entries.is_empty() && page.more);
}

async fn a_refused_batch_changes_nothing(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    store.commit(put("t", &[("a", "1"), ("b", "1")])).await.unwrap();
    let before = all(store).await;
    let mut batch = put("t", &[("a", "2"), ("c", "2")]);
    batch.delete("b").require(Condition::Present(b"a".into())).require(Condition::Absent(b"b".into()));
    let error = store.commit(batch).await.unwrap_err();
    let expected =
        StoreError::ConditionFailed { batch: "t", index: 1, condition: Box::new(Condition::Absent(b"b".into())) };
    assert_eq!(error, expected);
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert_eq!(all(store).await, before);
}

async fn each_condition_is_judged(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let mut batch = put("t", &[("a", "1")]);
    batch.put("lease", [5_u64.to_be_bytes().as_slice(), b"holder"].concat()).put("short", "1234567");
    store.commit(batch).await.unwrap();
    let fence = |key: &str, number| Condition::Fence { key: key.into(), number };
    let cases = [
        (Condition::Absent(b"x".into()), true),
        (Condition::Absent(b"a".into()), false),
        (Condition::Present(b"a".into()), true),
        (Condition::Present(b"x".into()), false),
        (Condition::Equals(b"a".into(), b"1".into()), true),
        (Condition::Equals(b"a".into(), b"2".into()), false),
        (Condition::Equals(b"x".into(), b"".into()), false),
        (fence("lease", 5), true),
        (fence("lease", 4), false),
        (fence("lease", 6), false),
        (fence("x", 0), false),
        (fence("short", 5), false),
    ];
    for (condition, holds) in cases {
        let mut batch = put("t", &[("done", "yes")]);
        batch.require(condition.clone());
        assert_eq!(store.commit(batch).await.is_ok(), holds, "{condition:?}");
    }
}

async fn the_last_write_to_a_key_wins(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let mut batch = put("t", &[("a", "1"), ("a", "2"), ("b", "1")]);
    batch.delete("b").delete("c").put("c", "1");
    store.commit(batch).await.unwrap();
    assert_eq!(text(store, "a").await.as_deref(), Some("2"));
    assert_eq!(text(store, "b").await, None);
    assert_eq!(text(store, "c").await.as_deref(), Some("1"));
}

async fn calls_are_applied_in_order(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let calls: Vec<_> = (0..50).map(|n| store.commit(put("t", &[("a", n.to_string().as_str())]))).collect();
    for call in calls.into_iter().rev() {
        call.await.unwrap();
    }
    assert_eq!(text(store, "a").await.as_deref(), Some("49"));
}

async fn a_failing_condition_fails_only_its_own_batch(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let row = |n: usize| format!("row{n:02}");
    let calls: Vec<_> = (0..60)
        .map(|n| {
            // Every third batch asks for a row that only a later batch makes; the others build on an earlier one.
            let mut batch = put("t", &[(row(n).as_str(), "1")]);
            batch.require(match n {
                0 => Condition::Absent(row(0).into()),
                n if n % 3 == 2 => Condition::Present(row(n + 1).into()),
                n if n % 3 == 0 => Condition::Present(row(n - 2).into()),
                n => Condition::Present(row(n - 1).into()),
            });
            store.commit(batch)
        })
        .collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.is_ok(), n % 3 != 2, "batch {n}");
    }
    assert_eq!(all(store).await.len(), 40);
}

async fn one_of_many_racing_batches_wins(place: Place) {
    let opened = place.open();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let database = opened.database.clone();
        tasks.spawn(async move {
            let mut won = 0_u64;
            for round in 0..40_u64 {
                let mut batch = Batch::new("race");
                let key = Key::new("race").number(round);
                batch.require(Condition::Absent((&key).into())).put(&key, task.to_be_bytes());
                match database.commit(batch).await {
                    Ok(_) => won += 1,
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
                let winner = database.store().get(key.as_bytes()).await.unwrap();
                assert!(winner.is_some(), "whoever lost sees the winner's row");
            }
            won
        });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<u64>(), 40);
    assert_eq!(all(opened.database.store()).await.len(), 40);
}

async fn bounds_and_reserved_keys_are_refused(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    let with_key = |key: Vec<u8>| {
        let mut batch = put("t", &[("a", "1")]);
        batch.put(key, "1");
        batch
    };
    let mut reserved = put("t", &[("a", "1")]);
    reserved.require(Condition::Present(b"\0schema".into()));
    let mut large = put("t", &[("a", "1")]);
    large.put("b", vec![0; MAX_VALUE_BYTES + 1]);
    let long = vec![1; 16 * 1024 + 1];
    for batch in [with_key(Vec::new()), with_key(b"\0schema".to_vec()), with_key(long), reserved, large] {
        let error = store.commit(batch).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    }
    assert!(matches!(store.get(b"\0schema").await, Err(StoreError::Invalid(_))));
    assert!(matches!(store.scan(ScanRange::new([0], 1)).await, Err(StoreError::Invalid(_))));
    assert!(all(store).await.is_empty());
}

async fn generation_and_unclean_mark(place: Place) {
    let may_lose = place.engine.may_lose_acknowledged();
    let found = |opened: &Opened| (opened.report.generation, opened.report.unclean_stop, opened.report.stale_state);
    let first = place.open();
    assert_eq!(found(&first), (1, false, false));
    first.database.store().close().await.unwrap();
    drop(first);
    let second = place.open();
    assert_eq!(found(&second), (2, false, false));
    drop(second);
    let third = place.open();
    assert_eq!(found(&third), (3, true, may_lose));
    third.database.store().close().await.unwrap();
    drop(third);
    let fourth = place.open();
    assert_eq!(found(&fourth), (4, false, false));
    assert_eq!(fourth.report.stale_before, if may_lose { 3 } else { 0 }, "staleness is not forgotten by a clean stop");
}

async fn a_second_open_is_refused(place: Place) {
    let opened = place.open();
    let error = place.try_open(7).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(opened);
    place.open();
}

async fn the_wrong_master_key_is_refused(place: Place) {
    let opened = place.open();
    opened.database.store().commit(put("t", &[("a", "1")])).await.unwrap();
    drop(opened);
    for _ in 0..2 {
        assert_eq!(place.try_open(8).unwrap_err(), StoreError::WrongMasterKey);
    }
    let opened = place.open();
    assert_eq!(opened.report.generation, 2, "a refused open changes nothing");
    assert_eq!(text(opened.database.store(), "a").await.as_deref(), Some("1"));
}

async fn a_closed_store_answers_closed(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    // Handed in before the close: finished by it.
    let before = store.commit(put("t", &[("a", "1")]));
    store.close().await.unwrap();
    before.await.unwrap();
    let closed = |error| matches!(error, StoreError::Closed(_));
    assert!(closed(store.commit(put("t", &[("b", "1")])).await.unwrap_err()));
    assert!(closed(store.get(b"a").await.unwrap_err()));
    assert!(closed(store.scan(ScanRange::new("a", 1)).await.unwrap_err()));
    assert!(closed(store.close().await.unwrap_err()));
    drop(opened);
    let opened = place.open();
    assert!(!opened.report.unclean_stop);
    assert_eq!(all(opened.database.store()).await.len(), 1);
}

async fn typed_tables_round_trip(place: Place) {
    const ROOMS: Table<(RoomUri, u64), (String, Vec<u8>)> = Table::new("rooms");
    const ONE: Table<(), u32> = Table::new("one");
    let opened = place.open();
    let db = &opened.database;
    let room = |name: &str| RoomUri::parse(&format!("mimi://a.example/r/{name}")).unwrap();
    let mut batch = Batch::new("t");
    for (name, number) in [("x", 300), ("x", 2), ("xy", 1), ("w", 1)] {
        ROOMS.put(db, &mut batch, &(room(name), number), &(name.to_owned(), vec![0, 1])).unwrap();
    }
    ONE.put(db, &mut batch, &(), &5).unwrap();
    db.commit(batch).await.unwrap();
    assert_eq!(ONE.get(db, &()).await.unwrap(), Some(5));
    assert_eq!(ROOMS.get(db, &(room("x"), 2)).await.unwrap(), Some(("x".into(), vec![0, 1])));
    assert_eq!(ROOMS.get(db, &(room("x"), 3)).await.unwrap(), None);
    let numbers = |rows: Vec<((RoomUri, u64), _)>| rows.into_iter().map(|row| row.0.1).collect::<Vec<_>>();
    assert_eq!(numbers(ROOMS.scan_all(db, &room("x")).await.unwrap()), [2, 300], "room xy does not show in room x");
    assert_eq!(numbers(ROOMS.scan_all(db, &()).await.unwrap()), [1, 2, 300, 1]);
    let page = ROOMS.scan(db, &(), None, 3).await.unwrap();
    let rest = ROOMS.scan(db, &(), page.next, 3).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len(), rest.next), (3, 1, None));

    let mut batch = Batch::new("t");
    batch.require(ONE.equals(db, &(), &5).unwrap()).require(ROOMS.present(&(room("x"), 2)));
    ROOMS.delete(&mut batch, &(room("x"), 2));
    db.commit(batch).await.unwrap();
    let mut batch = Batch::new("t");
    batch.require(ROOMS.absent(&(room("x"), 2)));
    db.commit(batch).await.unwrap();

    // A value of another type under the key is damage, not a wrong value.
    let mut batch = Batch::new("t");
    batch.put(ONE.key(&()), [1, 2, 3, 4]);
    db.commit(batch).await.unwrap();
    assert!(matches!(ONE.get(db, &()).await, Err(StoreError::Corrupt(_))));
}

async fn sealed_values_hide_and_are_bound_to_their_key(place: Place) {
    const KEYS: Table<String, String> = Table::sealed("keys");
    const SECRET: &str = "a signature key that nobody may read";
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let opened = place.open();
    let db = &opened.database;
    let mut batch = Batch::new("t");
    KEYS.put(db, &mut batch, &a, &SECRET.to_owned()).unwrap();
    db.commit(batch).await.unwrap();
    let stored = db.store().get(KEYS.key(&a).as_bytes()).await.unwrap().unwrap();
    assert!(!stored.windows(9).any(|window| window == &SECRET.as_bytes()[..9]));
    assert_eq!(KEYS.get(db, &a).await.unwrap().as_deref(), Some(SECRET));
    // The sealed value of one row, moved to another.
    let mut batch = Batch::new("t");
    batch.put(KEYS.key(&b), stored);
    db.commit(batch).await.unwrap();
    assert!(matches!(KEYS.get(db, &b).await, Err(StoreError::Corrupt(_))));
    let page = KEYS.scan(db, &(), None, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.damaged.len()), (1, 1), "one bad row does not hide the others");
    assert!(KEYS.equals(db, &a, &SECRET.to_owned()).is_err());
    db.store().close().await.unwrap();
    drop(opened);
    assert_eq!(KEYS.get(&place.open().database, &a).await.unwrap().as_deref(), Some(SECRET));
}

const INBOX: Queue<String, (u64, u64)> = Queue::new("inbox");

async fn queues_keep_order_under_concurrent_appends(place: Place) {
    let opened = place.open();
    let room = "room".to_owned();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..6_u64 {
        let (db, room) = (opened.database.clone(), room.clone());
        tasks.spawn(async move {
            for n in 0..30 {
                let mut batch = Batch::new("append");
                INBOX.append(&db, &mut batch, &room, &(task, n)).unwrap();
                db.commit(batch).await.unwrap();
            }
        });
    }
    // Meanwhile the owner takes from the front; nothing that anyone appends makes its batches fail.
    let db = &opened.database;
    let mut taken = Vec::new();
    while taken.len() < 180 {
        let mut batch = Batch::new("take");
        for (number, value) in INBOX.peek(db, &room, 7).await.unwrap() {
            INBOX.remove(&mut batch, &room, number);
            taken.push(value);
        }
        db.commit(batch).await.unwrap();
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert!(INBOX.peek(db, &room, 1).await.unwrap().is_empty());
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 180, "each once");
    for task in 0..6 {
        let own: Vec<_> = taken.iter().filter(|value| value.0 == task).map(|value| value.1).collect();
        assert_eq!(own, (0..30).collect::<Vec<_>>(), "one appender's entries keep their order");
    }
}

async fn queues_go_on_after_a_reopen(place: Place) {
    let mut last = 0;
    for round in 0..3_u64 {
        let opened = place.open();
        let db = &opened.database;
        let mut batch = Batch::new("append");
        for lane in ["b", "a", "a\0", "ab", ""] {
            let number = INBOX.append(db, &mut batch, &lane.to_owned(), &(round, 0)).unwrap();
            assert!(number > last, "numbers grow across restarts");
            last = number;
        }
        db.commit(batch).await.unwrap();
        if round == 1 {
            db.store().close().await.unwrap();
        }
    }
    let opened = place.open();
    let db = &opened.database;
    assert_eq!(INBOX.lanes(db).await.unwrap(), ["", "a", "a\0", "ab", "b"]);
    for lane in ["b", "a", "a\0", "ab", ""] {
        let lane = lane.to_owned();
        let entries = INBOX.peek(db, &lane, 10).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.1.0).collect::<Vec<_>>(), [0, 1, 2], "lane {lane:?}");
        let mut batch = Batch::new("take");
        if lane != "ab" {
            for entry in &entries {
                INBOX.remove(&mut batch, &lane, entry.0);
            }
        }
        db.commit(batch).await.unwrap();
    }
    assert_eq!(INBOX.lanes(db).await.unwrap(), ["ab"]);
    // An entry that does not read back holds its lane, is named, and can be taken away.
    let lane = "ab".to_owned();
    let first = INBOX.peek(db, &lane, 1).await.unwrap()[0].0;
    let mut batch = Batch::new("damage");
    batch.put(Key::new("inbox").text("ab").number(first), [0xff; 3]);
    db.commit(batch).await.unwrap();
    assert!(matches!(INBOX.peek(db, &lane, 10).await, Err(StoreError::Corrupt(_))));
    assert_eq!(INBOX.damaged(db, &lane, 10).await.unwrap(), [first]);
    let mut batch = Batch::new("quarantine");
    INBOX.remove(&mut batch, &lane, first);
    db.commit(batch).await.unwrap();
    assert_eq!(INBOX.peek(db, &lane, 10).await.unwrap().len(), 2);
}

async fn leases_fence_out_the_old_holder(place: Place) {
    const LEASES: LeaseTable<String> = LeaseTable::new("leases");
    let opened = place.open();
    let db = &opened.database;
    let room = "room".to_owned();
    let step = |state: &str, condition: Condition| {
        let mut batch = put("step", &[("state", state)]);
        batch.require(condition);
        db.commit(batch)
    };
    let mut first = LEASES.acquire(db, &room, "one", 1000, 2000).await.unwrap().unwrap();
    assert_eq!(LEASES.acquire(db, &room, "two", 1999, 3000).await.unwrap(), None, "it is held");
    assert!(LEASES.renew(db, &mut first, 2500).await.unwrap());
    assert_eq!(LEASES.acquire(db, &room, "two", 2400, 3000).await.unwrap(), None, "it was renewed");
    step("of one", first.condition()).await.unwrap();

    let second = LEASES.acquire(db, &room, "two", 2500, 3500).await.unwrap().unwrap();
    assert!(second.fence() > first.fence());
    assert!(step("of one, late", first.condition()).await.unwrap_err().is_conflict());
    assert!(!LEASES.renew(db, &mut first, 9000).await.unwrap());
    assert_eq!(text(db.store(), "state").await.as_deref(), Some("of one"));
    LEASES.release(db, first).await.unwrap();
    step("of two", second.condition()).await.unwrap();

    let number = second.fence();
    LEASES.release(db, second).await.unwrap();
    let third = LEASES.acquire(db, &room, "three", 2600, 3600).await.unwrap().unwrap();
    assert!(third.fence() > number, "a released lease does not start over");
}

async fn statistics_count_by_name(place: Place) {
    let opened = place.open();
    let store = opened.database.store();
    store.commit(put("one", &[("a", "123")])).await.unwrap();
    let mut batch = put("one", &[("a", "1")]);
    batch.require(Condition::Absent(b"a".into()));
    store.commit(batch).await.unwrap_err();
    store.commit(put("two", &[("b", "1")])).await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.transactions["one"].committed, stats.transactions["one"].conflicts), (1, 1));
    assert_eq!((stats.transactions["one"].bytes, stats.transactions["two"].committed), (4, 1));
    assert_eq!(stats.groups, 3);
}

#[test]
fn a_directory_keeps_its_engine() {
    let place = Place::new(EngineChoice::Sqlite);
    drop(place.open());
    let options = OpenOptions::new(EngineChoice::Sled, place.path(), MasterKey::from_bytes([7; 32]));
    let error = open(&options).unwrap_err();
    assert_eq!(error, StoreError::OtherEngine { found: "sqlite", chosen: "sled" });
}

#[tokio::test]
async fn a_restored_backup_makes_state_stale() {
    let place = Place::new(EngineChoice::Sqlite);
    place.open().database.store().close().await.unwrap();
    let mut options = OpenOptions::new(EngineChoice::Sqlite, place.path(), MasterKey::from_bytes([7; 32]));
    options.restored = true;
    let opened = open(&options).unwrap();
    assert!(opened.report.stale_state && !opened.report.unclean_stop);
    drop(opened);
    let report = place.open().report;
    assert!(!report.stale_state);
    assert_eq!(report.stale_before, 2, "what was fresh before the restored open stays old");
}

#[tokio::test]
async fn memory_refuses_commits_when_told() {
    let place = Place::new(EngineChoice::Memory);
    let opened = place.open();
    let store = opened.database.store();
    place.disk.refuse_commits(Some(StoreError::Busy("full".into())));
    assert_eq!(store.commit(put("t", &[("a", "1")])).await.unwrap_err().kind(), ErrorKind::Retriable);
    place.disk.refuse_commits(None);
    assert!(all(store).await.is_empty());
    store.commit(put("t", &[("a", "1")])).await.unwrap();
}

// ------------------------------------------------------------------------------------------------------ model test

#[derive(Debug, Clone)]
enum Step {
    Commit { conditions: Vec<(u8, u8, u8)>, writes: Vec<(u8, Option<u8>)> },
    Scan { prefix: Vec<u8>, after: Option<u8>, limit: usize },
    Reopen { clean: bool },
}

/// Few keys, so that steps meet; some are prefixes of others, some hold zero bytes.
fn key(n: u8) -> Vec<u8> {
    let parts: [&[u8]; 5] = [b"a", b"a\0", b"ab", b"b", b"a\xff"];
    let mut key = parts[usize::from(n) % 5].to_vec();
    key.extend(parts[usize::from(n) / 5 % 5]);
    key
}

fn value(n: u8) -> Vec<u8> {
    vec![n; usize::from(n) * 40]
}

fn step() -> impl Strategy<Value = Step> {
    let conditions = prop::collection::vec((0..3_u8, 0..25_u8, 0..4_u8), 0..3);
    let writes = prop::collection::vec((0..25_u8, prop::option::of(0..4_u8)), 0..5);
    prop_oneof![
        8 => (conditions, writes).prop_map(|(conditions, writes)| Step::Commit { conditions, writes }),
        3 => (0..4_usize, 0..25_u8, prop::option::of(0..25_u8), 0..6_usize).prop_map(|(length, n, after, limit)| {
            let prefix = key(n);
            Step::Scan { prefix: prefix[..length.min(prefix.len())].to_vec(), after, limit }
        }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

async fn commit_both(database: &Database, model: &mut Model, conditions: &[(u8, u8, u8)], writes: &[(u8, Option<u8>)]) {
    let mut batch = Batch::new("model");
    let mut holds = true;
    for &(kind, n, v) in conditions {
        let stored = model.get(&key(n));
        let (condition, here) = match kind {
            0 => (Condition::Absent(key(n)), stored.is_none()),
            1 => (Condition::Present(key(n)), stored.is_some()),
            _ => (Condition::Equals(key(n), value(v)), stored == Some(&value(v))),
        };
        batch.require(condition);
        holds &= here;
    }
    for &(n, v) in writes {
        match v {
            Some(v) => batch.put(key(n), value(v)),
            None => batch.delete(key(n)),
        };
        match v {
            Some(v) if holds => drop(model.insert(key(n), value(v))),
            None if holds => drop(model.remove(&key(n))),
            _ => {}
        }
    }
    assert_eq!(database.commit(batch).await.is_ok(), holds);
}

async fn run_model(place: &Place, steps: Vec<Step>) {
    let mut model = Model::new();
    let mut opened = Some(place.open());
    for step in steps {
        let database: Database = opened.as_ref().unwrap().database.clone();
        match step {
            Step::Commit { conditions, writes } => commit_both(&database, &mut model, &conditions, &writes).await,
            Step::Scan { prefix, after, limit } => {
                let mut range = ScanRange::new(prefix.clone(), limit);
                range.after = after.map(key);
                let page = database.store().scan(range).await.unwrap();
                let expected: Vec<_> = model
                    .iter()
                    .filter(|(k, _)| k.starts_with(&prefix) && after.is_none_or(|after| **k > key(after)))
                    .collect();
                let found: Vec<_> = page.entries.iter().map(|entry| (&entry.key, &entry.value)).collect();
                assert_eq!(found, expected[..limit.min(expected.len())]);
                assert_eq!(page.more, expected.len() > limit);
            }
            Step::Reopen { clean } => {
                if clean {
                    database.store().close().await.unwrap();
                }
                drop(database);
                let before = opened.take().unwrap().report.generation;
                let now = place.open();
                assert_eq!((now.report.generation, now.report.unclean_stop), (before + 1, !clean));
                opened = Some(now);
            }
        }
    }
    let store = opened.as_ref().unwrap().database.store();
    assert_eq!(all(store).await, model);
    for n in 0..25 {
        assert_eq!(store.get(&key(n)).await.unwrap().as_ref(), model.get(&key(n)));
    }
}

fn check_model(engine: EngineChoice, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        runtime.block_on(run_model(&Place::new(engine), steps));
    });
}

#[test]
fn model_sqlite() {
    check_model(EngineChoice::Sqlite, 40);
}

#[test]
fn model_sled() {
    check_model(EngineChoice::Sled, 12);
}

#[test]
fn model_memory() {
    check_model(EngineChoice::Memory, 300);
}
