//! What the log says of a peer or a homeserver that is away: one line when it goes, one when it is back.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing_subscriber::fmt::MakeWriter;

use crate::{
    homeserver::{Fault, Faults},
    silo::{Two, until_bodies, until_true},
};

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Runs it with a runtime of its own, all of whose threads write into a log.
    fn of<F: Future<Output = ()>>(test: impl FnOnce(Self) -> F) {
        let log = Self::default();
        let writer = log.clone();
        let builder = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        let dispatch = tracing::Dispatch::new(builder.with_writer(writer).finish());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            // These threads end with the test.
            .on_thread_start(move || std::mem::forget(tracing::dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        runtime.block_on(test(log));
    }

    /// The lines with all of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }
}

#[test]
fn a_peer_that_is_away_gets_one_line_and_one_when_it_is_back() {
    Log::of(peer_away);
}

async fn peer_away(log: Log) {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    two.b.stop().await;
    let said = ["one", "two", "three"];
    for body in said {
        two.a.homeserver.say(&at_a, "a1", body);
    }
    until_true("it is told", || !log.lines(&["WARN", "b.example is away"]).is_empty()).await;
    let tries = || log.lines(&["DEBUG", "not sent yet"]).len();
    let before = tries();
    until_true("it is tried again", || tries() > before + 3).await;
    two.b.start().await;
    until_bodies(&two.b, &at_b, &said).await;
    until_true("that it is back is told", || !log.lines(&["INFO", "b.example is back"]).is_empty()).await;

    let away = log.lines(&["WARN", "b.example"]);
    assert_eq!(away.len(), 1, "{away:?}");
    assert!(away[0].contains("why=nobody listens") && away[0].contains("since="), "{away:?}");
    assert!(["waiting=1", "waiting=2", "waiting=3"].iter().any(|waiting| away[0].contains(waiting)), "{away:?}");
    let back = log.lines(&["INFO", "b.example is back"]);
    assert!(back.len() == 1 && back[0].contains("away_for="), "{back:?}");
}

#[test]
fn a_homeserver_that_is_away_gets_one_line_too() {
    Log::of(homeserver_away);
}

async fn homeserver_away(log: Log) {
    let away = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&away);
    let faults: Faults = Arc::new(Mutex::new(Box::new(move |call: &str| {
        if gone.load(Ordering::Relaxed) && !call.contains(".example to ") { Fault::Before } else { Fault::None }
    })));
    let two = Two::with(faults).await;
    let (at_a, at_b, _) = two.room().await;
    away.store(true, Ordering::Relaxed);
    two.a.homeserver.say(&at_a, "a1", "one");
    until_true("it is told", || !log.lines(&["WARN", "the homeserver is away"]).is_empty()).await;
    away.store(false, Ordering::Relaxed);
    until_bodies(&two.b, &at_b, &["one"]).await;
    until_true("that it is back is told", || !log.lines(&["INFO", "the homeserver is back"]).is_empty()).await;
    // Both silos have their own homeserver: at most a line for each.
    let told = log.lines(&["WARN", "the homeserver is"]);
    assert!(told.len() <= 2 && told.iter().all(|line| line.contains("waiting=")), "{told:?}");
}
