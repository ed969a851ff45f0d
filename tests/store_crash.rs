//! The store under SIGKILL and under damaged files.
//!
//! Killed: a child process commits numbered batches from four tasks and acknowledges each on its standard output; it is
//! killed at a seeded moment; what it acknowledged must be stored, and every batch wholly or not at all.
//! `STORE_KILL_ROUNDS` sets the rounds (20), `STORE_SEED` the seed.
//!
//! Damaged: a file of the store is cut or gets flipped bits; the store opens at a state that was once committed, names
//! the damage, or refuses to open. It never panics, and never shows a value that was not written.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: a panic is a failure")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use mimi_gateway::store::{
    Batch, EngineChoice, MasterKey, OpenOptions, Opened, Queue, ScanRange, StoreError, Table, open,
};

const DIR: &str = "STORE_CRASH_DIR";
const ENGINE: &str = "STORE_CRASH_ENGINE";
const ROUND: &str = "STORE_CRASH_ROUND";

const TASKS: u64 = 4;
const PARTS: u64 = 4;
/// A batch takes away the parts of the one this many before it.
const KEPT: u64 = 5;

/// Batches that were applied, by (round and task, number).
const DONE: Table<(u64, u64), ()> = Table::new("done");
const PART: Table<(u64, u64, u64), Vec<u8>> = Table::sealed("part");
const LOG: Queue<u64, u64> = Queue::new("log");

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn options(engine: EngineChoice, path: &Path) -> OpenOptions {
    OpenOptions::new(engine, path, MasterKey::from_bytes([7; 32]))
}

fn part(lane: u64, n: u64, part: u64) -> Vec<u8> {
    let bytes = usize::try_from(Random(lane ^ n << 8 ^ part << 40).below(6000)).unwrap();
    vec![u8::try_from((n + part) % 251).unwrap(); bytes]
}

// ---------------------------------------------------------------------------------------------------------- killed

/// The child's side. Does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let engine = std::env::var(ENGINE).unwrap().parse().unwrap();
    let round = setting(ROUND, 0);
    let opened = open(&options(engine, Path::new(&dir))).unwrap();
    println!("\nopened");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let db = opened.database.clone();
            let lane = round * TASKS + task;
            tasks.spawn(async move {
                for n in 0_u64.. {
                    let mut batch = Batch::new("torture");
                    batch.require(DONE.absent(&(lane, n)));
                    if n > 0 {
                        batch.require(DONE.present(&(lane, n - 1)));
                    }
                    LOG.append(&db, &mut batch, &lane, &n).unwrap();
                    for p in 0..PARTS {
                        PART.put(&db, &mut batch, &(lane, n, p), &part(lane, n, p)).unwrap();
                        if let Some(old) = n.checked_sub(KEPT) {
                            PART.delete(&mut batch, &(lane, old, p));
                        }
                    }
                    DONE.put(&db, &mut batch, &(lane, n), &()).unwrap();
                    db.commit(batch).await.unwrap();
                    println!("stored {lane} {n}");
                }
            });
        }
        tasks.join_all().await;
    });
}

/// One at a time starts a process or has a store open that is opened again: a process that is just starting holds copies of
/// all locks of this one until it runs its own program.
static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Starts a process once nobody has a store open.
fn start(command: &mut Command) -> std::process::Child {
    let _alone = alone();
    command.spawn().unwrap()
}

/// Runs a child until the kill; returns what it acknowledged.
fn run_and_kill(engine: EngineChoice, dir: &Path, round: u64, random: &mut Random) -> Vec<(u64, u64)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(ENGINE, engine.as_str())
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut child = start(&mut command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    let mut hear = |line: Result<String, _>| {
        let line: String = line.unwrap();
        if let Some((lane, n)) = line.strip_prefix("stored ").and_then(|rest| rest.split_once(' ')) {
            acknowledged.push((lane.parse().unwrap(), n.parse().unwrap()));
        }
        line
    };
    let moment = random.below(4);
    if moment > 0 {
        assert!(lines.by_ref().any(|line| hear(line) == "opened"), "the child did not open the store");
    }
    if moment > 1 {
        // Right after an acknowledgement: one that came too early has no time to become true.
        let count = usize::try_from(random.below(100)).unwrap();
        for line in lines.by_ref().take(count) {
            hear(line);
        }
    } else {
        // At any moment, also in start and recovery. Here a span of time is what is meant.
        std::thread::sleep(Duration::from_millis(random.below(120)));
    }
    child.kill().unwrap();
    for line in lines {
        hear(line);
    }
    child.wait().unwrap();
    acknowledged
}

/// Every batch is there wholly or not at all; returns the applied ones.
async fn check_batches(opened: &Opened) -> BTreeSet<(u64, u64)> {
    let db = &opened.database;
    let done: BTreeSet<_> = DONE.scan_all(db, &()).await.unwrap().into_iter().map(|(key, ())| key).collect();
    let parts: BTreeMap<_, _> = PART.scan_all(db, &()).await.unwrap().into_iter().collect();
    let mut expected = BTreeMap::new();
    let mut lanes = BTreeMap::<u64, Vec<u64>>::new();
    for &(lane, n) in &done {
        let log = lanes.entry(lane).or_default();
        assert_eq!(n, log.len() as u64, "lane {lane} has no gaps");
        log.push(n);
        if !done.contains(&(lane, n + KEPT)) {
            expected.extend((0..PARTS).map(|p| ((lane, n, p), part(lane, n, p))));
        }
    }
    assert!(parts == expected, "parts of batches: {:?} and {:?}", parts.keys(), expected.keys());
    assert_eq!(LOG.lanes(db).await.unwrap(), lanes.keys().copied().collect::<Vec<_>>());
    for (lane, log) in lanes {
        let entries = LOG.peek(db, &lane, usize::MAX).await.unwrap();
        assert_eq!(entries.into_iter().map(|entry| entry.1).collect::<Vec<_>>(), log, "lane {lane}");
    }
    done
}

fn kill_again_and_again(engine: EngineChoice) {
    let seed = setting("STORE_SEED", 1);
    let rounds = setting("STORE_KILL_ROUNDS", 20);
    let mut random = Random(seed);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut generation = 0;
    for round in 0..rounds {
        acknowledged.extend(run_and_kill(engine, &dir, round, &mut random));
        let _alone = alone();
        let opened = open(&options(engine, &dir)).unwrap();
        assert!(opened.report.generation > generation, "round {round} of seed {seed}");
        generation = opened.report.generation;
        runtime.block_on(async {
            let done = check_batches(&opened).await;
            let lost: Vec<_> = acknowledged.difference(&done).collect();
            assert!(lost.is_empty(), "round {round} of seed {seed}: acknowledged and lost: {lost:?}");
            opened.database.store().close().await.unwrap();
        });
    }
    println!("{engine}: {} batches acknowledged in {rounds} rounds, none lost", acknowledged.len());
    assert!(rounds < 10 || acknowledged.len() > 100, "the child hardly got to write: {}", acknowledged.len());
}

#[test]
fn sigkill_sqlite() {
    kill_again_and_again(EngineChoice::Sqlite);
}

#[test]
fn sigkill_sled() {
    kill_again_and_again(EngineChoice::Sled);
}

#[test]
fn a_killed_owner_leaves_an_unclean_mark_and_no_lock() {
    for engine in [EngineChoice::Sqlite, EngineChoice::Sled] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("data");
        // Seed 2 waits for the open before it kills.
        run_and_kill(engine, &dir, 0, &mut Random(2));
        let report = open(&options(engine, &dir)).unwrap().report;
        assert_eq!((report.unclean_stop, report.stale_state), (true, engine.may_lose_acknowledged()), "{engine}");
    }
}

// --------------------------------------------------------------------------------------------------------- damaged

type State = BTreeMap<Vec<u8>, Vec<u8>>;

async fn state(opened: &Opened) -> Result<(State, usize), StoreError> {
    let page = opened.database.store().scan(ScanRange::new([], usize::MAX)).await?;
    let rows = page.entries.into_iter().map(|entry| (entry.key, entry.value));
    Ok((rows.collect(), page.damaged.len()))
}

/// A store with some history, copied as it lies on the disk while open, and after a clean close; and all its states.
async fn make_history(engine: EngineChoice, home: &Path) -> Vec<State> {
    let dir = home.join("original");
    let mut states = vec![State::new()];
    for round in 0..2_u64 {
        let opened = open(&options(engine, &dir)).unwrap();
        for n in 0..30_u64 {
            let mut batch = Batch::new("history");
            batch.put(format!("row {}", n % 11), part(round, n, 0)).put(format!("small {round} {n}"), n.to_be_bytes());
            batch.delete(format!("small {round} {}", n.wrapping_sub(7)));
            opened.database.commit(batch).await.unwrap();
            states.push(state(&opened).await.unwrap().0);
        }
        copy_tree(&dir, &home.join("open"));
        opened.database.store().close().await.unwrap();
    }
    copy_tree(&dir, &home.join("closed"));
    states
}

fn copy_tree(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Cuts a random file, or flips some bits in it. Says what it did.
fn damage(dir: &Path, random: &mut Random) -> String {
    // Mostly the large files: the small ones are soon found out.
    let least = if random.below(4) > 0 { 4096 } else { 1 };
    let files: Vec<_> = files(dir).into_iter().filter(|file| fs::metadata(file).unwrap().len() >= least).collect();
    let file = &files[usize::try_from(random.below(files.len() as u64)).unwrap()];
    let mut bytes = fs::read(file).unwrap();
    let length = bytes.len() as u64;
    let name = file.file_name().unwrap().display();
    let done = if random.below(3) == 0 {
        let keep = random.below(length);
        bytes.truncate(usize::try_from(keep).unwrap());
        format!("{name} cut from {length} to {keep}")
    } else {
        let flips: Vec<_> = (0..=random.below(3)).map(|_| (random.below(length), random.below(8))).collect();
        for (offset, bit) in &flips {
            bytes[usize::try_from(*offset).unwrap()] ^= 1 << bit;
        }
        format!("{name} with flipped (byte, bit): {flips:?}")
    };
    fs::write(file, bytes).unwrap();
    done
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    DamageNamed,
    CommittedState,
}

fn damage_again_and_again(engine: EngineChoice, rounds: u64) {
    let seed = setting("STORE_SEED", 1);
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let states = {
        let _alone = alone();
        runtime.block_on(make_history(engine, home.path()))
    };
    for image in ["open", "closed"] {
        copy_tree(&home.path().join(image), &home.path().join("whole"));
        let opened = open(&options(engine, &home.path().join("whole"))).unwrap();
        let (rows, damaged) = runtime.block_on(state(&opened)).unwrap();
        assert_eq!((Some(&rows), damaged), (states.last(), 0), "the {image} image before any damage");
    }
    let written: BTreeSet<(&Vec<u8>, &Vec<u8>)> = states.iter().flatten().collect();
    let mut outcomes = BTreeMap::<Outcome, u32>::new();
    for round in 0..rounds {
        let mut random = Random(seed << 32 ^ round);
        let dir = home.path().join("damaged");
        copy_tree(&home.path().join(["open", "closed"][usize::from(round % 2 == 0)]), &dir);
        let what = damage(&dir, &mut random);
        let outcome = match open(&options(engine, &dir)) {
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt(_)), "{what}: {error}");
                println!("{engine}: {what}: {error}");
                Outcome::Refused
            }
            Ok(opened) => match runtime.block_on(state(&opened)) {
                Err(error) => {
                    assert!(matches!(error, StoreError::Corrupt(_)), "{what}: {error}");
                    Outcome::DamageNamed
                }
                Ok((rows, damaged)) => {
                    for row in &rows {
                        assert!(written.contains(&row), "{what}: {} was never written so", row.0.escape_ascii());
                    }
                    if damaged > 0 {
                        Outcome::DamageNamed
                    } else {
                        assert!(states.contains(&rows), "{what}: not a committed state");
                        Outcome::CommittedState
                    }
                }
            },
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{engine}: {outcomes:?}");
    assert!(outcomes.len() >= 2, "damage shows in different ways: {outcomes:?}");
}

#[test]
fn damaged_sqlite() {
    damage_again_and_again(EngineChoice::Sqlite, 120);
}

#[test]
fn damaged_sled() {
    damage_again_and_again(EngineChoice::Sled, 60);
}

#[test]
fn an_emptied_or_missing_store_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    drop(open(&options(EngineChoice::Sqlite, &dir)).unwrap());
    fs::write(dir.join("store.sqlite"), b"").unwrap();
    assert!(matches!(open(&options(EngineChoice::Sqlite, &dir)), Err(StoreError::Corrupt(_))));
    fs::remove_file(dir.join("store.sqlite")).unwrap();
    assert!(matches!(open(&options(EngineChoice::Sqlite, &dir)), Err(StoreError::Corrupt(_))));
}
