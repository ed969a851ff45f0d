//! Whether local users are free: a room with 200 local and 200 remote members against the same room with 2 local ones.
//!
//! `cargo bench --bench rooms`. Two whole engines with real MLS in one process, on memory stores; everybody has spoken, so
//! everybody has a leaf. Printed are what the hub stores, and how long a change of the group takes from the Matrix event at
//! the hub until the follower's homeserver shows it.

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
    sync::Arc,
    time::{Duration, Instant},
};

use mimi_gateway::ident::RoomUri;
use ruma::OwnedRoomId;
use silo::{Net, Silo, bridge, bring, until_true};

const REMOTE: usize = 200;
const CHANGES: u32 = 20;

struct Measured {
    local: usize,
    members: u32,
    mls_bytes: u32,
    all_bytes: u32,
    listing: Duration,
    first_words: Duration,
    words: Duration,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let few = runtime.block_on(room(2));
    let many = runtime.block_on(room(200));
    println!("hub, {REMOTE} remote members, everybody with a leaf");
    println!(
        "{:>6} {:>8} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "local", "leaves", "MLS bytes", "all bytes", "listing", "first words", "words"
    );
    for row in [&few, &many] {
        println!(
            "{:>6} {:>8} {:>12} {:>12} {:>9.1} ms {:>9.1} ms {:>9.1} ms",
            row.local,
            row.members,
            row.mls_bytes,
            row.all_bytes,
            millis(row.listing),
            millis(row.first_words),
            millis(row.words),
        );
    }
    println!(
        "ratio: leaves {:.2}, MLS bytes {:.2}, listing {:.2}, first words (a commit with path) {:.2}, words {:.2}",
        f64::from(many.members) / f64::from(few.members),
        f64::from(many.mls_bytes) / f64::from(few.mls_bytes),
        many.listing.as_secs_f64() / few.listing.as_secs_f64(),
        many.first_words.as_secs_f64() / few.first_words.as_secs_f64(),
        many.words.as_secs_f64() / few.words.as_secs_f64(),
    );
    println!(
        "MLS bytes a leaf: {:.0} with 2 local users, {:.0} with 200 (one copy of the group a local user would be {:.0} times as much)",
        f64::from(few.mls_bytes) / f64::from(few.members),
        f64::from(many.mls_bytes) / f64::from(many.members),
        f64::from(u32::try_from(many.local).unwrap()),
    );
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Somebody more comes in the Matrix way.
fn come_in(silo: &Silo, room: &OwnedRoomId, host: &str, name: &str) {
    silo.homeserver.register(name);
    silo.homeserver.invite(room, host, &silo.homeserver.user(name), false);
    silo.homeserver.join(room, name);
}

async fn shown(silo: &Silo, room: &OwnedRoomId, body: &str) {
    until_true(body, || silo.homeserver.bodies(room).iter().any(|shown| shown == body)).await;
}

async fn fill(from: &Silo, room: &OwnedRoomId, to: &Silo, there: &OwnedRoomId, host: &str, count: usize) {
    for n in 1..count {
        let name = format!("{host}x{n}");
        come_in(from, room, host, &name);
        from.homeserver.say(room, &name, &format!("{name} is here"));
        // A few at a time, so that waiting has an end.
        if n % 10 == 0 || n + 1 == count {
            shown(to, there, &format!("{name} is here")).await;
        }
    }
}

async fn room(local: usize) -> Measured {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let b = Silo::new("b", &["b1"], &net).await;
    let (at_a, uri) = bridge(&a, "a1").await;
    let at_b = bring(&a, &at_a, "a1", &b, "b1").await;
    let start = Instant::now();
    fill(&b, &at_b, &a, &at_a, "b1", REMOTE).await;
    fill(&a, &at_a, &b, &at_b, "a1", local).await;
    eprintln!("{local} local and {REMOTE} remote members came in within {:.1} s", start.elapsed().as_secs_f64());
    let (_, _, members) = a.room(&uri).await.unwrap();
    let bytes = a.bytes().await;
    let (mls_bytes, all_bytes) = (bytes["mls"], bytes.values().sum::<usize>());

    let mut measured = Measured {
        local,
        members: u32::try_from(members).unwrap(),
        mls_bytes: u32::try_from(mls_bytes).unwrap(),
        all_bytes: u32::try_from(all_bytes).unwrap(),
        listing: Duration::ZERO,
        first_words: Duration::ZERO,
        words: Duration::ZERO,
    };
    for n in 0..CHANGES {
        measured.listing += newcomer(&a, &at_a, &b, &at_b, &uri, n).await;
        let name = format!("new{n}");
        for times in [&mut measured.first_words, &mut measured.words] {
            let start = Instant::now();
            let body = format!("{name} {}", times.as_nanos());
            a.homeserver.say(&at_a, &name, &body);
            shown(&b, &at_b, &body).await;
            *times += start.elapsed();
        }
    }
    measured.listing /= CHANGES;
    measured.first_words /= CHANGES;
    measured.words /= CHANGES;
    a.stop().await;
    b.stop().await;
    measured
}

async fn newcomer(a: &Silo, at_a: &OwnedRoomId, b: &Silo, at_b: &OwnedRoomId, uri: &RoomUri, n: u32) -> Duration {
    assert_eq!(uri.hub(), a.domain);
    let name = format!("new{n}");
    let start = Instant::now();
    come_in(a, at_a, "a1", &name);
    let ghost = b.ghost(&a.uri(&name));
    until_true("the newcomer's ghost", || b.homeserver.member(at_b, &ghost).as_deref() == Some("join")).await;
    start.elapsed()
}
