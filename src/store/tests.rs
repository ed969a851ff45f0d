use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex, mpsc},
};

use proptest::prelude::*;

use super::{
    committer::Committer,
    engine::{ApplyError, Parts, Reader, Writer},
    memory::MemoryDisk,
    *,
};

// ------------------------------------------------------------------------------------------------------------- keys

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Bytes(Vec<u8>),
    Number(u64),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(2), Just(3), Just(255), any::<u8>()];
    let part = prop_oneof![
        prop::collection::vec(byte, 0..5).prop_map(Part::Bytes),
        prop_oneof![0..3_u64, any::<u64>()].prop_map(Part::Number),
    ];
    prop::collection::vec(part, 0..4)
}

fn encode(parts: &[Part]) -> Key {
    parts.iter().fold(Key::new("t"), |key, part| match part {
        Part::Bytes(bytes) => key.bytes(bytes),
        Part::Number(number) => key.number(*number),
    })
}

proptest! {
    #[test]
    fn keys_order_as_their_parts_and_never_collide(a in parts(), b in parts()) {
        prop_assert_eq!(encode(&a).as_bytes().cmp(encode(&b).as_bytes()), a.cmp(&b));
        prop_assert_eq!(encode(&b).as_bytes().starts_with(encode(&a).as_bytes()), b.starts_with(&a));
    }

    #[test]
    fn keys_read_back(a in any::<Vec<u8>>(), b in any::<u64>(), c in any::<String>()) {
        let key = Key::new("t").with(&(a.clone(), b, c.clone()));
        let mut reader = KeyReader::new(key.as_bytes());
        prop_assert_eq!(reader.text().unwrap(), "t");
        prop_assert_eq!(<(Vec<u8>, u64, String)>::read(&mut reader).unwrap(), (a, b, c));
        prop_assert!(reader.end().is_ok());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let _text = KeyReader::new(&bytes).text();
        let _number = KeyReader::new(&bytes).number();
        let _pair = <(Vec<u8>, [u8; 4])>::read(&mut KeyReader::new(&bytes));
    }
}

#[test]
fn a_key_is_these_bytes() {
    //          02 "in" end, 02 "a" 00-escaped "b" end,       03 258
    let expected = b"\x02in\x00\x01\x02a\x00\xffb\x00\x01\x03\0\0\0\0\0\0\x01\x02";
    assert_eq!(Key::new("in").text("a\0b").number(258).as_bytes(), expected);
}

// ------------------------------------------------------------------------------------------------------------- seal

#[test]
fn master_keys_are_read_from_hex_and_base64() {
    let sealed = Sealer::new(&MasterKey::from_bytes([0xfb; 32])).seal(b"k", b"text").unwrap();
    let hex = "fb".repeat(32);
    let standard = "+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=";
    let url = "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s";
    for text in [hex.as_str(), standard, url, &format!("  {hex}\n")] {
        let same = Sealer::new(&MasterKey::parse(text).unwrap());
        assert_eq!(same.open(b"k", &sealed).unwrap().as_slice(), b"text", "{text}");
    }
    for text in ["", "fb", &"f".repeat(63), &"zz".repeat(32), &standard[4..], "no key at all"] {
        assert!(matches!(MasterKey::parse(text), Err(SealError::NotAKey)), "{text}");
    }
}

#[test]
fn a_key_file_is_made_once_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    let made = Sealer::new(&MasterKey::create_file(&path).unwrap());
    let sealed = made.seal(b"k", b"text").unwrap();
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o600);
    let read = Sealer::new(&MasterKey::from_file(&path).unwrap());
    assert_eq!(read.open(b"k", &sealed).unwrap().as_slice(), b"text");
    let before = fs::read(&path).unwrap();
    assert!(matches!(MasterKey::create_file(&path), Err(SealError::File { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(matches!(MasterKey::from_file(&dir.path().join("none")), Err(SealError::File { .. })));
    assert!(matches!(MasterKey::from_env("MIMI_GATEWAY_NO_SUCH_VARIABLE"), Err(SealError::NotSet(_))));
}

#[test]
fn sealed_values_open_only_whole_and_in_their_place() {
    let vault = Sealer::new(&MasterKey::from_bytes([1; 32]));
    let sealed = vault.seal(b"place", b"secret").unwrap();
    assert_ne!(sealed, vault.seal(b"place", b"secret").unwrap(), "a fresh nonce each time");
    assert_eq!(vault.open(b"place", &sealed).unwrap().as_slice(), b"secret");
    assert!(vault.open(b"other", &sealed).is_err());
    assert!(Sealer::new(&MasterKey::from_bytes([2; 32])).open(b"place", &sealed).is_err());
    for length in 0..sealed.len() {
        assert!(vault.open(b"place", &sealed[..length]).is_err(), "cut to {length}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(vault.open(b"place", &changed).is_err(), "byte {at}");
    }
}

#[test]
fn secrets_and_values_never_print() {
    let key = MasterKey::from_bytes([0xab; 32]);
    let mut batch = Batch::new("t");
    batch.put("key", "visible-secret").require(Condition::Equals(b"key".into(), b"visible-secret".into()));
    let entry = Entry { key: b"key".into(), value: b"visible-secret".into() };
    let printed = format!("{key:?} {:?} {batch:?} {entry:?}", Sealer::new(&key));
    assert!(!printed.contains("secret") && !printed.contains("ab, ab") && !printed.contains("171"), "{printed}");
}

// ------------------------------------------------------------------------------------------------- the store's rows

fn raw_write(disk: &MemoryDisk, write: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new("raw");
    write(&mut batch);
    disk.clone().apply(&[batch]).unwrap()[0].clone().unwrap();
}

#[test]
fn a_newer_schema_is_refused_with_a_helpful_sentence() {
    let (disk, key) = (MemoryDisk::new(), MasterKey::from_bytes([7; 32]));
    drop(open_memory(&disk, &key).unwrap());
    raw_write(&disk, |batch| {
        batch.put(b"\0schema".to_vec(), (SCHEMA_VERSION + 1).to_be_bytes());
    });
    let error = open_memory(&disk, &key).unwrap_err();
    assert_eq!(error, StoreError::TooNew { found: SCHEMA_VERSION + 1, known: SCHEMA_VERSION });
    assert!(error.to_string().contains("run the newer program"), "{error}");
    raw_write(&disk, |batch| {
        batch.put(b"\0schema".to_vec(), 1_u32.to_be_bytes());
    });
    let error = open_memory(&disk, &key).unwrap_err();
    assert!(error.to_string().contains("from before the first release"), "{error}");
    raw_write(&disk, |batch| {
        batch.put(b"\0schema".to_vec(), SCHEMA_VERSION.to_be_bytes());
    });
    assert_eq!(open_memory(&disk, &key).unwrap().report.generation, 2, "a refused open changes nothing");
}

#[test]
fn missing_rows_of_its_own_are_damage() {
    for row in ["\0schema", "\0seal_check"] {
        let (disk, key) = (MemoryDisk::new(), MasterKey::from_bytes([7; 32]));
        drop(open_memory(&disk, &key).unwrap());
        raw_write(&disk, |batch| {
            batch.delete(row);
        });
        assert!(matches!(open_memory(&disk, &key), Err(StoreError::Corrupt(_))), "{row:?}");
    }
}

#[test]
fn damage_in_a_record_shows() {
    let record = record::frame(b"key", b"value");
    assert_eq!(record::unframe(b"key", &record).unwrap(), b"value");
    assert!(record::unframe(b"kez", &record).is_err(), "under another key");
    for at in 0..record.len() {
        let mut changed = record.clone();
        changed[at] ^= 0x10;
        assert!(record::unframe(b"key", &changed).is_err(), "byte {at}");
        assert!(record::unframe(b"key", &record[..at]).is_err(), "cut to {at}");
    }
}

// -------------------------------------------------------------------------------------------------------- committer

type Answer = Result<Vec<Result<(), StoreError>>, ApplyError>;

/// A writer that records group sizes, waits for leave before each group, and then does as told.
struct Scripted {
    leave: mpsc::Receiver<()>,
    script: VecDeque<fn(&[Batch]) -> Answer>,
    groups: Arc<Mutex<Vec<usize>>>,
}

impl Writer for Scripted {
    fn apply(&mut self, group: &[Batch]) -> Answer {
        self.leave.recv().unwrap();
        self.groups.lock().unwrap().push(group.len());
        self.script.pop_front().map_or_else(|| ok(group), |answer| answer(group))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several answers")]
fn ok(group: &[Batch]) -> Answer {
    Ok(vec![Ok(()); group.len()])
}

struct Run {
    store: Committer,
    leave: mpsc::Sender<()>,
    groups: Arc<Mutex<Vec<usize>>>,
}

fn run(script: impl IntoIterator<Item = fn(&[Batch]) -> Answer>) -> Run {
    let (leave, wait) = mpsc::channel();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let writer = Scripted { leave: wait, script: script.into_iter().collect(), groups: Arc::clone(&groups) };
    let readers: Vec<Box<dyn Reader>> = vec![Box::new(MemoryDisk::new())];
    let parts = Parts { writer: Box::new(writer), readers, quick: None };
    Run { store: Committer::start("scripted", 1, parts, tempfile::tempfile().unwrap()).unwrap(), leave, groups }
}

fn batch(key: &str) -> Batch {
    let mut batch = Batch::new("t");
    batch.put(key, "1");
    batch
}

#[tokio::test]
async fn batches_that_wait_share_a_group() {
    let Run { store, leave, groups } = run([]);
    // The writer stands in its first group; how many batches that holds depends on when it looked.
    let calls: Vec<_> = (0..20).map(|n| store.commit(batch(&n.to_string()))).collect();
    for _ in 0..20 {
        leave.send(()).unwrap();
    }
    for call in calls {
        call.await.unwrap();
    }
    let seen = groups.lock().unwrap().clone();
    assert_eq!(seen.iter().sum::<usize>(), 20);
    assert!(seen.len() <= 2, "the first group, and one for all that came while it ran: {seen:?}");
    assert_eq!(store.stats().groups, seen.len() as u64);
    // A batch that comes alone is committed at once.
    store.commit(batch("a")).await.unwrap();
}

#[tokio::test]
async fn one_batch_on_damaged_pages_does_not_fail_its_group() {
    let fail_with_bad = |group: &[Batch]| {
        if group.iter().any(|batch| batch.writes()[0].key() == b"bad") {
            return Err(ApplyError::RolledBack(StoreError::Corrupt("page".into())));
        }
        ok(group)
    };
    let Run { store, leave, .. } = run(vec![fail_with_bad as fn(&[Batch]) -> Answer; 20]);
    let calls: Vec<_> = ["a", "b", "bad", "c"].into_iter().map(|key| store.commit(batch(key))).collect();
    for _ in 0..20 {
        leave.send(()).unwrap();
    }
    let mut results = Vec::new();
    for call in calls {
        results.push(call.await.is_ok());
    }
    assert_eq!(results, [true, true, false, true]);
}

#[tokio::test]
async fn a_busy_group_is_refused_and_the_store_goes_on() {
    let busy = |_: &[Batch]| Err(ApplyError::RolledBack(StoreError::Busy("disk full".into())));
    let Run { store, leave, .. } = run([busy as fn(&[Batch]) -> Answer]);
    leave.send(()).unwrap();
    leave.send(()).unwrap();
    assert_eq!(store.commit(batch("a")).await.unwrap_err().kind(), ErrorKind::Retriable);
    store.commit(batch("a")).await.unwrap();
}

#[tokio::test]
async fn after_an_uncertain_write_nothing_more_is_written() {
    let failed = |_: &[Batch]| Err(ApplyError::Uncertain(StoreError::Io("sync".into())));
    let panics = |_: &[Batch]| panic!("the engine met a state that it holds impossible");
    for script in [failed as fn(&[Batch]) -> Answer, panics] {
        let Run { store, leave, groups } = run([script]);
        leave.send(()).unwrap();
        assert_eq!(store.commit(batch("a")).await.unwrap_err().kind(), ErrorKind::Uncertain);
        assert!(matches!(store.commit(batch("a")).await, Err(StoreError::Closed(_))));
        assert!(matches!(store.close().await, Err(StoreError::Closed(_))), "the unclean mark stays");
        assert_eq!(*groups.lock().unwrap(), [1]);
        assert_eq!(store.get(b"a").await, Err(StoreError::Closed("it was closed before".into())), "close stops reads");
    }
}

// ----------------------------------------------------------------------------------------------------------- sqlite

#[tokio::test]
async fn the_write_ahead_log_does_not_grow_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let key = MasterKey::from_bytes([7; 32]);
    let opened = open(&OpenOptions::new(EngineChoice::Sqlite, dir.path(), key)).unwrap();
    let store = opened.database.store();
    // 320 MiB of writes to 10 MiB of rows, without a pause.
    for n in 0..640_u32 {
        let mut batch = Batch::new("grow");
        batch.put(format!("row {}", n % 20), vec![u8::try_from(n % 251).unwrap(); 512 * 1024]);
        store.commit(batch).await.unwrap();
    }
    let log = dir.path().join("store.sqlite-wal");
    let length = fs::metadata(&log).unwrap().len();
    assert!(length < 160 * 1024 * 1024, "{length} bytes of log");
    store.close().await.unwrap();
    drop(opened);
    // The readers' threads close their files when they see that the store is gone.
    let since = std::time::Instant::now();
    while log.exists() {
        assert!(since.elapsed() < std::time::Duration::from_secs(20), "a clean stop leaves no log");
        std::thread::yield_now();
    }
    assert!(fs::metadata(dir.path().join("store.sqlite")).unwrap().len() < 16 * 1024 * 1024);
}
