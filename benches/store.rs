//! What the committer costs and gains: durable batches a second through the store against raw rusqlite with one
//! transaction a batch, in the same run on the same disk; one writer and sixteen. `STORE_BENCH_MILLIS` sets the time of
//! each measurement (1500 ms).
//!
//! A batch is what a step of a room writes: 4 KiB of group state, an outbox row, a dedupe key, two map rows, one delete.

#![expect(clippy::expect_used, reason = "a measurement that cannot be made ends the run")]

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use mimi_gateway::store::{Batch, Database, EngineChoice, Key, MasterKey, OpenOptions, Write, open};

fn batch(writer: u64, n: u64) -> Batch {
    let mut batch = Batch::new("bench");
    batch
        .put(Key::new("mls").number(writer), vec![u8::try_from(n % 256).unwrap_or(0); 4096])
        .put(Key::new("outbox").number(writer).number(n), vec![1; 300])
        .put(Key::new("dedupe").number(writer).bytes(&n.to_le_bytes()), [1])
        .put(Key::new("to_mimi").number(writer).number(n), vec![2; 60])
        .put(Key::new("to_matrix").number(writer).bytes(&n.to_le_bytes()), vec![3; 60])
        .delete(Key::new("outbox").number(writer).number(n.saturating_sub(1)));
    batch
}

/// Batches a second, and the median and 99th percentile of one batch's time in microseconds.
struct Figure {
    rate: f64,
    median: u128,
    p99: u128,
}

fn figure(since: Instant, mut times: Vec<Duration>) -> Figure {
    let elapsed = since.elapsed().as_secs_f64();
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1)).map_or(0, Duration::as_micros);
    #[expect(clippy::cast_precision_loss, reason = "a count of batches, far below 2^52")]
    let count = times.len() as f64;
    Figure { rate: count / elapsed, median: at(50), p99: at(99) }
}

fn through_the_store(engine: EngineChoice, dir: &Path, writers: u64, time: Duration) -> Figure {
    let opened = open(&OpenOptions::new(engine, dir, MasterKey::from_bytes([7; 32]))).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let since = Instant::now();
    let one = |db: Database, writer: u64| async move {
        let mut times = Vec::new();
        while since.elapsed() < time {
            let start = Instant::now();
            db.commit(batch(writer, times.len() as u64)).await.expect("a commit");
            times.push(start.elapsed());
        }
        times
    };
    let times = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..writers {
            tasks.spawn(one(opened.database.clone(), writer));
        }
        tasks.join_all().await.concat()
    });
    let figure = figure(since, times);
    let stats = opened.database.store().stats();
    println!("    {} groups, the largest of {}", stats.groups, stats.largest_group);
    runtime.block_on(opened.database.store().close()).expect("a clean close");
    figure
}

fn through_raw_sqlite(dir: &Path, writers: u64, time: Duration) -> Figure {
    let connection = rusqlite::Connection::open(dir.join("raw.sqlite")).expect("SQLite opens");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 16000;
             CREATE TABLE kv (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) WITHOUT ROWID;",
        )
        .expect("a table");
    let connection = Mutex::new(connection);
    let since = Instant::now();
    let one = |writer: u64| {
        let mut times = Vec::new();
        while since.elapsed() < time {
            let start = Instant::now();
            let batch = batch(writer, times.len() as u64);
            let mut connection = connection.lock().expect("no writer panics");
            let transaction = connection.transaction().expect("begin");
            for write in batch.writes() {
                match write {
                    Write::Put { key, value } => {
                        let sql = "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
                        transaction.prepare_cached(sql).and_then(|mut put| put.execute((key, value)))
                    }
                    Write::Delete { key } => {
                        transaction.prepare_cached("DELETE FROM kv WHERE k = ?1").and_then(|mut del| del.execute([key]))
                    }
                }
                .expect("a write");
            }
            transaction.commit().expect("commit");
            drop(connection);
            times.push(start.elapsed());
        }
        times
    };
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || one(writer))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no writer panics")).collect()
    });
    figure(since, times)
}

fn main() {
    // `cargo test --benches` runs this too: there, a moment is enough.
    let default = if std::env::args().any(|argument| argument == "--bench") { 1500 } else { 50 };
    let millis = std::env::var("STORE_BENCH_MILLIS").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let time = Duration::from_millis(millis);
    for writers in [1, 16] {
        println!("{writers} writer(s)");
        let dir = tempfile::tempdir().expect("a directory");
        let raw = through_raw_sqlite(dir.path(), writers, time);
        let print = |name: &str, figure: &Figure| {
            println!(
                "  {name:<12} {:>8.0} batches/s  median {:>6} us  p99 {:>6} us  ratio to raw {:.2}",
                figure.rate,
                figure.median,
                figure.p99,
                figure.rate / raw.rate
            );
        };
        print("raw rusqlite", &raw);
        for engine in [EngineChoice::Sqlite, EngineChoice::Sled, EngineChoice::Memory] {
            let dir = tempfile::tempdir().expect("a directory");
            print(engine.as_str(), &through_the_store(engine, dir.path(), writers, time));
        }
    }
}
