//! Rooms with very many people: mirroring a Matrix room, and a MIMI room's way into Matrix.
//!
//! `cargo bench --bench large`. Whole engines with real MLS in one process, on memory stores, with homeservers in memory: what is
//! counted are requests; times are those of the engines without a homeserver's own. `BENCH_MEMBERS` (10,000) says how many people
//! the Matrix room has, `BENCH_PARTICIPANTS` (10,000) how many the MIMI room.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench fails by panicking"
)]

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/files.rs"]
mod files;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/homeserver.rs"]
mod homeserver;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/silo.rs"]
mod silo;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ruma::OwnedRoomId;
use silo::{Net, Silo, bring, until_true};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(matrix_room(number("BENCH_MEMBERS", 10_000)));
    runtime.block_on(mimi_room(number("BENCH_PARTICIPANTS", 10_000)));
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Megabytes of this process that are in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn come_in(silo: &Silo, room: &OwnedRoomId, count: usize) {
    for n in 0..count {
        let name = format!("many{n}");
        silo.homeserver.register(&name);
        silo.homeserver.invite(room, "a1", &silo.homeserver.user(&name), false);
        silo.homeserver.join(room, &name);
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

async fn said(silo: &Silo, room: &OwnedRoomId, body: &str) {
    until_true(body, || silo.homeserver.newest_is(room, body)).await;
}

async fn matrix_room(members: usize) {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let (homeserver, bot) = (&a.homeserver, a.homeserver.bot.to_string());
    let room = homeserver.create_room("a1", "Market");
    come_in(&a, &room, members);
    homeserver.invite(&room, "a1", &bot, false);
    until_true("the bot comes", || homeserver.member(&room, &bot).as_deref() == Some("join")).await;
    let (calls, memory, start) = (homeserver.calls(), resident(), Instant::now());
    homeserver.say(&room, "a1", "!mimi bridge");
    until_true("it is mirrored", || homeserver.last_notice(&room).is_some()).await;
    println!(
        "a Matrix room with {members} members is mirrored: {:.0} ms, {} requests to the homeserver, {} to peers, {:.0} MB more in memory",
        millis(start),
        homeserver.calls() - calls,
        net.take_calls().len(),
        resident() - memory,
    );
    let start = Instant::now();
    let there = bring(&a, &room, "a1", &b, "b1").await;
    println!(
        "   a MIMI user comes in: {:.0} ms, {} calls between the providers",
        millis(start),
        net.take_calls().len()
    );
    for n in [1, members / 2] {
        let start = Instant::now();
        homeserver.say(&room, &format!("many{n}"), "first words");
        said(&b, &there, "first words").await;
        let first = millis(start);
        let start = Instant::now();
        homeserver.say(&room, &format!("many{n}"), "second words");
        said(&b, &there, "second words").await;
        println!("   first words of member {n}: {first:.0} ms, second: {:.0} ms", millis(start));
    }
    a.stop().await;
    b.stop().await;
}

async fn mimi_room(participants: usize) {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    a.stop().await;
    a.list_all.store(usize::MAX, Ordering::Relaxed);
    a.start().await;
    b.stop().await;
    b.ghosts_per_minute.store(120, Ordering::Relaxed);
    b.start().await;
    let homeserver = &a.homeserver;
    let room = homeserver.create_room("a1", "Square");
    come_in(&a, &room, participants);
    let bot = homeserver.bot.to_string();
    homeserver.invite(&room, "a1", &bot, false);
    until_true("the bot comes", || homeserver.member(&room, &bot).as_deref() == Some("join")).await;
    homeserver.say(&room, "a1", "!mimi bridge");
    until_true("it is mirrored", || homeserver.last_notice(&room).is_some()).await;
    let (calls, memory, start) = (b.homeserver.calls(), resident(), Instant::now());
    let there = bring(&a, &room, "a1", &b, "b1").await;
    let name = format!("many{}", participants / 2);
    homeserver.say(&room, &name, "first words");
    said(&b, &there, "first words").await;
    println!(
        "a MIMI room with {participants} participants: in it, and the first words of one of them read after {:.0} ms, with {} \
         requests to the homeserver and {:.0} MB more in memory",
        millis(start),
        b.homeserver.calls() - calls,
        resident() - memory,
    );
    b.stop().await;
    b.ghosts_per_minute.store(1_000_000, Ordering::Relaxed);
    b.start().await;
    let (calls, start) = (b.homeserver.calls(), Instant::now());
    let last = b.ghost(&a.uri(&format!("many{}", participants - 1)));
    let wanted = participants + 1;
    while b.homeserver.joined(&there) < wanted + 2 {
        assert!(start.elapsed() < Duration::from_mins(20), "{} came", b.homeserver.joined(&there));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(b.homeserver.member(&there, &last).as_deref(), Some("join"));
    println!(
        "   the others come in as fast as they can: {:.1} s, {} calls of the engine",
        start.elapsed().as_secs_f64(),
        b.homeserver.calls() - calls,
    );
    a.stop().await;
    b.stop().await;
}
