//! A peer that is away for long costs disk, not memory, and gets everything in order when it comes back.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    homeserver::{Fault, Faults},
    silo::{Two, until_true},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_away_for_long() {
    let away = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&away);
    let faults: Faults = Arc::new(Mutex::new(Box::new(move |call| {
        if told.load(Ordering::Relaxed) && call.contains("a.example to b.example") {
            Fault::Before
        } else {
            Fault::None
        }
    })));
    let two = Two::with(faults).await;
    let (at_a, at_b, _) = two.room().await;
    away.store(true, Ordering::Relaxed);
    let mut expected = Vec::new();
    let logged = async || two.a.bytes().await.get("log").copied().unwrap_or(0);
    for round in 0..2 {
        for number in 0..250 {
            // One at a time, so that each makes a row of its own.
            let before = logged().await;
            expected.push(format!("{round} {number}"));
            two.a.homeserver.say(&at_a, "a1", &expected[expected.len() - 1]);
            while logged().await <= before {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert!(two.a.engine().waiting_rows() <= 128, "{}", two.a.engine().waiting_rows());
        }
        // What waits outlives the process; what comes then goes behind it.
        two.a.stop().await;
        two.a.start().await;
    }
    away.store(false, Ordering::Relaxed);
    until_true("all is there", || two.b.homeserver.bodies(&at_b).len() >= expected.len()).await;
    assert_eq!(two.b.homeserver.bodies(&at_b), expected);
    two.a.homeserver.say(&at_a, "a1", "now");
    expected.push("now".to_owned());
    until_true("the lane goes on", || two.b.homeserver.bodies(&at_b) == expected).await;
}
