//! What recognises repeats is removed in time, and neither too early nor with harm.

use std::time::{Duration, Instant};

use mimi_gateway::engine::Keep;

use crate::silo::{PATIENCE, Silo, Two, until_bodies};

const TABLES: [&str; 5] = ["event", "answer", "notified", "shown", "log"];

/// Bytes of each table at both silos.
async fn sizes(two: &Two) -> Vec<(&'static str, usize)> {
    let (a, b) = (two.a.bytes().await, two.b.bytes().await);
    let size = |table: &str| a.get(table).unwrap_or(&0) + b.get(table).unwrap_or(&0);
    TABLES.map(|table| (table, size(table))).to_vec()
}

async fn restart(silo: &Silo, keep: Keep) {
    silo.stop().await;
    *silo.keep.lock().unwrap() = keep;
    silo.start().await;
}

async fn until_empty(two: &Two) {
    let since = Instant::now();
    loop {
        let sizes = sizes(two).await;
        if sizes.iter().all(|(_, size)| *size == 0) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "still there: {sizes:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_compared(silo: &Silo, room: &ruma::RoomId) {
    let since = Instant::now();
    while silo.watermark(room).await != Some(silo.homeserver.newest(room)) {
        assert!(since.elapsed() < PATIENCE, "{room} is not compared");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_recognises_repeats_goes_in_time() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.say(&at_a, "a1", "one");
    two.b.homeserver.say(&at_b, "b1", "two");
    let mut expected = vec!["one", "two"];
    until_bodies(&two.b, &at_b, &expected).await;
    until_bodies(&two.a, &at_a, &expected).await;
    assert!(sizes(&two).await.iter().all(|(_, size)| *size > 0), "{:?}", sizes(&two).await);

    // Days pass, in two runs.
    let short = Keep { days: 2, day: Duration::from_millis(60) };
    for _ in 0..2 {
        restart(&two.a, short).await;
        restart(&two.b, short).await;
    }
    until_empty(&two).await;

    // The last event that was compared is purged from the homeserver, so that all of the timeline looks new.
    two.a.homeserver.say(&at_a, "a1", "purged");
    for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
        until_bodies(silo, room, &["one", "two", "purged"]).await;
        until_compared(silo, room).await;
    }
    until_empty(&two).await;
    for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
        silo.stop().await;
        silo.homeserver.purge_newest(room);
        silo.start().await;
        until_compared(silo, room).await;
    }
    let long = Keep { days: 2, day: Duration::from_hours(24) };
    restart(&two.a, long).await;
    restart(&two.b, long).await;
    two.a.homeserver.say(&at_a, "a1", "three");
    two.b.homeserver.say(&at_b, "b1", "four");
    expected.extend(["three", "four"]);
    until_bodies(&two.b, &at_b, &expected).await;
    until_bodies(&two.a, &at_a, &expected).await;

    // What is younger stays, however often the gateway starts.
    let before = sizes(&two).await;
    for _ in 0..3 {
        restart(&two.a, long).await;
        restart(&two.b, long).await;
    }
    assert!(sizes(&two).await.iter().zip(&before).all(|((_, now), (_, before))| now >= before));
}
