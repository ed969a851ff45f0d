//! The process ends between any two commits: what was acknowledged is delivered, once.

use std::time::Duration;

use mimi_gateway::store::StoreError;

use crate::{
    flow::until_room,
    homeserver::Fault,
    rejoin::Switch,
    silo::{Silo, Two, bring, until_bodies, until_true},
};

/// Small steps of a seeded sequence.
pub(crate) struct Steps(pub(crate) u64);

impl Steps {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn arm(silo: &Silo, commits: u64) {
    silo.memory().refuse_commits_after(commits, Some(StoreError::Busy("the process is gone".to_owned())));
}

/// Ends the process of a silo again and again after a few commits, and starts it anew.
async fn crash_again_and_again(silo: &Silo, seed: u64, crashes: &std::sync::atomic::AtomicU32) {
    let mut steps = Steps(seed);
    loop {
        // With time it lives longer, so that everything comes to its end.
        let past = u64::from(crashes.load(std::sync::atomic::Ordering::Relaxed));
        arm(silo, 1 + steps.next(12 + past / 2));
        while !silo.memory().refuses() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        silo.crash().await;
        silo.start().await;
        crashes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The whole flow while something else goes on. Returns what was said at both ends.
async fn flow(two: &Two) {
    let (at_a, at_b, uri) = two.room().await;
    let mut all: Vec<String> = Vec::new();
    for n in 0..8 {
        for (silo, room, name) in [(&two.a, &at_a, "a1"), (&two.b, &at_b, "b1")] {
            all.push(format!("{name} {n}"));
            silo.homeserver.say(room, name, &all[all.len() - 1]);
        }
        if n == 3 {
            two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
            two.b.homeserver.join(&at_b, "b2");
        }
        if n == 4 {
            all.push("b2 speaks".to_owned());
            two.b.homeserver.say(&at_b, "b2", "b2 speaks");
        }
    }
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &expected).await;
    until_bodies(&two.b, &at_b, &expected).await;
    for name in ["a1 ", "b1 "] {
        for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
            let said: Vec<String> = silo.homeserver.bodies(room).into_iter().filter(|b| b.starts_with(name)).collect();
            assert!(said.is_sorted(), "{}: {said:?}", silo.domain);
        }
    }
    // The anchor leaves, the other one speaks on, then it goes as well and comes back.
    two.b.homeserver.leave(&at_b, "b1");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("B1's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    two.b.homeserver.say(&at_b, "b2", "b2 alone");
    all.push("b2 alone".to_owned());
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &expected).await;
    two.b.homeserver.leave(&at_b, "b2");
    let ghost = two.a.ghost(&two.b.uri("b2"));
    until_true("B2's ghost goes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("leave")).await;
    until_room(&two.b, &uri, "left").await;
    bring(&two.a, &at_a, "a1", &two.b, "b1").await;
    two.b.homeserver.say(&at_b, "b1", "back");
    all.push("back".to_owned());
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.a, &at_a, &expected).await;
    until_bodies(&two.b, &at_b, &expected).await;
}

/// The host's last user leaves, the guests talk on, and another user of the host is asked in.
async fn without_host(two: &Two) {
    let (at_a, at_b, uri) = two.room().await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let at_c = bring(&two.a, &at_a, "a1", &c, "c1").await;
    // What B says in an epoch before C came C cannot read.
    let guest = two.b.ghost(&c.uri("c1"));
    until_true("C1's ghost at B", || two.b.homeserver.member(&at_b, &guest).as_deref() == Some("join")).await;
    two.a.homeserver.say(&at_a, "a1", "goodbye");
    two.a.homeserver.leave(&at_a, "a1");
    let mut all = vec!["goodbye".to_owned()];
    for n in 0..6 {
        for (silo, room, name) in [(&two.b, &at_b, "b1"), (&c, &at_c, "c1")] {
            all.push(format!("{name} {n}"));
            silo.homeserver.say(room, name, &all[all.len() - 1]);
        }
        if n == 3 {
            two.b.homeserver.invite(&at_b, "b1", &two.b.homeserver.user("b2"), false);
            two.b.homeserver.join(&at_b, "b2");
            all.push("b2 speaks".to_owned());
            two.b.homeserver.say(&at_b, "b2", "b2 speaks");
        }
    }
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&two.b, &at_b, &expected).await;
    until_bodies(&c, &at_c, &expected).await;
    let gone = c.ghost(&two.a.uri("a1"));
    until_true("A1's ghost goes", || c.homeserver.member(&at_c, &gone).as_deref() == Some("leave")).await;
    bring(&two.b, &at_b, "b1", &two.a, "a2").await;
    two.a.homeserver.say(&at_a, "a2", "hello again");
    all.push("hello again".to_owned());
    let expected: Vec<&str> = all.iter().map(String::as_str).collect();
    until_bodies(&c, &at_c, &expected).await;
    c.homeserver.say(&at_c, "c1", "welcome");
    // What came while A1 was leaving may be shown late; what was said before A2 came is not read to A2.
    let seen = |text: &str| two.a.homeserver.bodies(&at_a).iter().filter(|body| *body == text).count();
    until_true("A2 sees it", || seen("welcome") == 1).await;
    assert_eq!(seen("hello again"), 1);
    until_room(&two.a, &uri, "active").await;
    c.stop().await;
}

/// Crashes while a room lives without anybody of its host.
async fn seeded_without_host(seed: u64, a_crashes: bool) {
    let two = Two::new().await;
    let crashes = std::sync::atomic::AtomicU32::new(0);
    let silo = if a_crashes { &two.a } else { &two.b };
    tokio::select! {
        () = without_host(&two) => {}
        () = crash_again_and_again(silo, seed, &crashes) => {}
    }
    for silo in [&two.a, &two.b] {
        silo.crash().await;
    }
    let count = crashes.load(std::sync::atomic::Ordering::Relaxed);
    println!("seed {seed}: {} crashed {count} times", silo.domain);
    assert!(count > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_users_crashes() {
    for seed in seeds(30..33) {
        Box::pin(seeded_without_host(seed, true)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_a_hub_without_users_crashes() {
    for seed in seeds(40..42) {
        Box::pin(seeded_without_host(seed, false)).await;
    }
}

async fn seeded(seed: u64, a_crashes: bool, b_crashes: bool) {
    let two = Two::new().await;
    let crashes = [std::sync::atomic::AtomicU32::new(0), std::sync::atomic::AtomicU32::new(0)];
    let crashing = |silo: &'static str| if silo == "a" { a_crashes } else { b_crashes };
    tokio::select! {
        () = flow(&two) => {}
        () = crash_again_and_again(&two.a, seed, &crashes[0]), if crashing("a") => {}
        () = crash_again_and_again(&two.b, seed + 1000, &crashes[1]), if crashing("b") => {}
    }
    for silo in [&two.a, &two.b] {
        silo.crash().await;
    }
    let count = |n: usize| crashes[n].load(std::sync::atomic::Ordering::Relaxed);
    println!("seed {seed}: the hub crashed {} times, the follower {}", count(0), count(1));
    assert!(!a_crashes || count(0) > 0);
    assert!(!b_crashes || count(1) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_crashes() {
    for seed in seeds(0..5) {
        Box::pin(seeded(seed, true, false)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_crashes() {
    for seed in seeds(10..15) {
        Box::pin(seeded(seed, false, true)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_crash() {
    for seed in seeds(20..25) {
        Box::pin(seeded(seed, true, true)).await;
    }
}

/// The hub gives up on changes towards B, again and again, while B's process ends and starts: B comes back each time, and what
/// its people say is heard once.
async fn loses_its_way(seed: u64) {
    let switch = Switch::default();
    let two = Two::with(switch.faults()).await;
    let (at_a, at_b, uri) = two.room().await;
    until_room(&two.b, &uri, "active").await;
    let crashes = std::sync::atomic::AtomicU32::new(0);
    let mut said = Vec::new();
    let rounds = async {
        for round in 0..4 {
            let epoch = two.a.room(&uri).await.unwrap().1.unwrap();
            let given_up = two.a.engine().quarantined();
            switch.set(&[("notify a.example to b.example", Fault::Refused)]);
            let name = ["a2", "a3"][round % 2];
            if round < 2 {
                two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user(name), false);
                two.a.homeserver.join(&at_a, name);
            } else {
                two.a.homeserver.leave(&at_a, name);
            }
            while two.a.room(&uri).await.unwrap().1.unwrap() == epoch {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            until_true("the hub gave up", || two.a.engine().quarantined() > given_up).await;
            switch.set(&[]);
            for n in 0..3 {
                two.a.homeserver.say(&at_a, "a1", &format!("a1 {round} {n}"));
                said.push(format!("b1 {round} {n}"));
                two.b.homeserver.say(&at_b, "b1", &said[said.len() - 1]);
            }
            let heard = || two.a.homeserver.bodies(&at_a).into_iter().filter(|body| body.starts_with("b1 ")).collect();
            until_true("B1 is heard", || {
                let heard: Vec<String> = heard();
                assert!(heard.len() <= said.len(), "{heard:?}");
                heard == said
            })
            .await;
        }
        // B may have missed the last change without knowing, as the hub still takes messages of one epoch before: it hears of it
        // now, and this itself it may not be able to read.
        two.a.homeserver.say(&at_a, "a1", "wake up");
        let epoch = || async { (two.a.room(&uri).await.map(|r| r.1), two.b.room(&uri).await.map(|r| r.1)) };
        loop {
            let (at_hub, here) = epoch().await;
            if at_hub == here {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        two.a.homeserver.say(&at_a, "a1", "the end");
        until_true("B1 hears", || two.b.homeserver.bodies(&at_b).contains(&"the end".to_owned())).await;
    };
    tokio::select! {
        () = rounds => {}
        () = crash_again_and_again(&two.b, seed, &crashes) => {}
    }
    let heard = two.b.homeserver.bodies(&at_b);
    let of_a: Vec<&String> = heard.iter().filter(|body| body.starts_with("a1 ")).collect();
    let mut once = of_a.clone();
    once.dedup();
    assert!(of_a.is_sorted() && of_a == once, "{of_a:?}");
    two.b.crash().await;
    println!("seed {seed}: the follower crashed {} times", crashes.load(std::sync::atomic::Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_crashes_while_it_comes_back() {
    for seed in seeds(30..34) {
        loses_its_way(seed).await;
    }
}

/// Each commit of the way of one message in turn is the last one of its process.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_each_commit_of_a_message() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let mut all: Vec<String> = Vec::new();
    for commits in 0..12 {
        for silo in [&two.a, &two.b] {
            arm(silo, commits);
            for (from, room, name) in [(&two.a, &at_a, "a1"), (&two.b, &at_b, "b1")] {
                all.push(format!("{name} {commits:02} {}", silo.domain));
                from.homeserver.say(room, name, &all[all.len() - 1]);
            }
            let everywhere = || {
                two.a.homeserver.bodies(&at_a).len() == all.len() && two.b.homeserver.bodies(&at_b).len() == all.len()
            };
            until_true("it ends, or all is said", || silo.memory().refuses() || everywhere()).await;
            silo.crash().await;
            silo.start().await;
            silo.memory().refuse_commits(None);
            let expected: Vec<&str> = all.iter().map(String::as_str).collect();
            until_bodies(&two.a, &at_a, &expected).await;
            until_bodies(&two.b, &at_b, &expected).await;
        }
    }
}

/// The seeds to play; `ENGINE_SEEDS=first..last` plays others.
pub(crate) fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("ENGINE_SEEDS") else { return usual };
    let (first, last) = text.split_once("..").expect("ENGINE_SEEDS=first..last");
    first.parse().unwrap()..last.parse().unwrap()
}
