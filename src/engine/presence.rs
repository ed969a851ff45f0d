//! Whether the homeserver and the peers are there, as the log tells it: one line when one goes away, one an hour while it stays
//! away, one when it is back. Single tries are told at the level `debug` only.
//!
//! ```text
//!  lane --failed---> first failure since an answer? --1 s later--> WARN away --1 h--> WARN still away ...
//!       --answered-> was that told? ----------------------------> INFO back
//!       --failed---> others get answers meanwhile? --1 min-------> WARN only this lane is stuck
//! ```

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    core::{Engine, lock},
    ports::{CallError, Retry},
    tables::OUTBOX,
};

/// How long nobody may answer before that is told: a restart that takes a moment is not worth a line.
const CERTAIN: Duration = Duration::from_secs(1);
/// How long one lane alone may fail before that is told.
const ALONE: Duration = Duration::from_mins(1);
/// How often is reminded.
const REMIND: Duration = Duration::from_hours(1);
/// Rows that are counted at most.
const COUNTED: usize = 10_000;

/// What is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// Nobody there answers, for so long.
    Away(Duration),
    /// That was told before.
    StillAway(Duration),
    /// Others get answers; this lane has got none for so long.
    Stuck(Duration),
}

/// What an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// It was away for so long, and that was told.
    All(Duration),
    /// This lane alone was stuck for so long, and that was told.
    Lane(Duration),
}

#[derive(Debug)]
struct Since {
    since: Instant,
    told: Option<Instant>,
}

impl Since {
    fn new(now: Instant) -> Self {
        Self { since: now, told: None }
    }

    /// Whether to tell it now, after `patience`, and whether it was told before.
    fn due(&mut self, patience: Duration, now: Instant) -> Option<bool> {
        let due = match self.told {
            None => now.duration_since(self.since) >= patience,
            Some(told) => now.duration_since(told) >= REMIND,
        };
        due.then(|| self.told.replace(now).is_some())
    }
}

#[derive(Debug)]
struct Lane {
    since: Instant,
    /// Since it fails while others do not.
    alone: Option<Since>,
}

/// One party of which something failed and is not done yet.
#[derive(Debug, Default)]
struct Party {
    answered: Option<Instant>,
    away: Option<Since>,
    failing: BTreeMap<String, Lane>,
}

/// All parties.
#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<BTreeMap<String, Party>>);

impl Presence {
    /// A try failed that will be made again.
    pub(super) fn failed(&self, party: &str, lane: &str, now: Instant) -> Option<Tell> {
        let mut parties = lock(&self.0);
        let party = parties.entry(party.to_owned()).or_default();
        let lane = party.failing.entry(lane.to_owned()).or_insert(Lane { since: now, alone: None });
        if party.answered.is_some_and(|answered| answered >= lane.since) {
            let alone = lane.alone.get_or_insert_with(|| Since::new(now));
            return alone.due(ALONE, now).map(|_| Tell::Stuck(now.duration_since(lane.since)));
        }
        let away = party.away.get_or_insert_with(|| Since::new(now));
        let for_so_long = now.duration_since(away.since);
        away.due(CERTAIN, now).map(|before| if before { Tell::StillAway(for_so_long) } else { Tell::Away(for_so_long) })
    }

    /// A try was answered, in whatever way.
    pub(super) fn answered(&self, name: &str, lane: &str, now: Instant) -> Option<Back> {
        let mut parties = lock(&self.0);
        // Nothing is kept of those with whom all is well.
        let party = parties.get_mut(name)?;
        party.answered = Some(now);
        let lane = party.failing.remove(lane);
        let away = party.away.take();
        if party.failing.is_empty() {
            parties.remove(name);
        }
        if let Some(away) = away.filter(|away| away.told.is_some()) {
            return Some(Back::All(now.duration_since(away.since)));
        }
        let lane = lane.filter(|lane| lane.alone.as_ref().is_some_and(|alone| alone.told.is_some()))?;
        Some(Back::Lane(now.duration_since(lane.since)))
    }
}

/// Who a lane's rows are for.
#[derive(Debug, Clone, Copy)]
pub(super) enum To<'a> {
    Homeserver,
    Peer(&'a str),
}

impl<'a> To<'a> {
    /// `m:<room>` is for the homeserver, `<letter>:<peer>:<room>` for a peer; no peer has a colon.
    pub(super) fn of(lane: &'a str) -> Self {
        match lane.split_once(':') {
            Some(("m" | "x", _)) | None => Self::Homeserver,
            Some((_, rest)) => Self::Peer(rest.split_once(':').map_or(rest, |(peer, _)| peer)),
        }
    }

    /// Its name among the parties: no peer is called so.
    fn name(self) -> &'a str {
        match self {
            Self::Homeserver => "",
            Self::Peer(peer) => peer,
        }
    }

    /// For people.
    fn shown(self) -> &'a str {
        match self {
            Self::Homeserver => "the homeserver",
            Self::Peer(peer) => peer,
        }
    }
}

impl Engine {
    /// A call failed that will be made again: for the log. `lane` is what asks: a lane of the outbox, or a name of its own.
    pub(super) async fn call_failed(&self, to: To<'_>, lane: &str, error: &CallError) {
        if error.retry == Retry::Permanent {
            // Whoever refuses is there.
            return self.call_answered(to, lane);
        }
        if matches!(to, To::Homeserver) && is_unknown_token(error) {
            // Who looks after the homeserver says so, and what to do.
            return self.0.doubted.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let Some(tell) = self.0.presence.failed(to.name(), lane, Instant::now()) else { return };
        let who = to.shown();
        match tell {
            Tell::Away(long) | Tell::StillAway(long) => {
                let (since, waiting) = (began(long), self.waiting(|lane| To::of(lane).name() == to.name()).await);
                // Whoever answers is there; it has no use for what it gets, though.
                let how = if error.status.is_some() { "there, but takes nothing" } else { "away" };
                if matches!(tell, Tell::Away(_)) {
                    tracing::warn!(%since, waiting, why = %error, "{who} is {how}; what is for it waits, and is tried again");
                } else {
                    let away_for = duration(long);
                    tracing::warn!(away_for, %since, waiting, why = %error, "{who} is still {how}; what is for it waits");
                }
            }
            Tell::Stuck(long) => {
                let (since, waiting) = (began(long), self.waiting(|other| other == lane).await);
                tracing::warn!(lane, %since, waiting, why = %error, "{who} is there, but takes nothing of this lane; it waits, and is tried again");
            }
        }
    }

    /// A call was answered.
    pub(super) fn call_answered(&self, to: To<'_>, lane: &str) {
        let who = to.shown();
        match self.0.presence.answered(to.name(), lane, Instant::now()) {
            None => {}
            Some(Back::All(long)) => tracing::info!(away_for = duration(long), "{who} is back"),
            Some(Back::Lane(long)) => tracing::info!(lane, stuck_for = duration(long), "{who} takes this lane again"),
        }
    }

    /// The homeserver did not answer whoever looks after it.
    pub async fn homeserver_fails(&self, error: &CallError) {
        self.call_failed(To::Homeserver, "heartbeat", error).await;
    }

    /// The homeserver answered whoever looks after it.
    pub fn homeserver_answers(&self) {
        self.call_answered(To::Homeserver, "heartbeat");
    }

    /// Whether the homeserver refused our token since the last time that this was asked.
    #[must_use]
    pub fn homeserver_doubted(&self) -> bool {
        self.0.doubted.swap(false, std::sync::atomic::Ordering::Relaxed)
    }

    /// How many rows wait in these lanes; counted up to a limit, and as far as they can be read.
    async fn waiting(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let db = &self.0.db;
        let mut rows = 0;
        for lane in OUTBOX.lanes(db).await.unwrap_or_default().iter().filter(|lane| wanted(lane)) {
            rows += OUTBOX.count(db, lane, COUNTED.saturating_sub(rows)).await.unwrap_or(0);
        }
        rows
    }
}

/// Whether the homeserver does not know our token: it has not loaded the registration, or another one.
#[must_use]
pub fn is_unknown_token(error: &CallError) -> bool {
    matches!(error.errcode.as_deref(), Some("M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN"))
}

/// When something began, as a date.
fn began(ago: Duration) -> String {
    let now = Duration::from_millis(super::core::now());
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + now.saturating_sub(ago))
}

/// A span of time for people: the two largest units.
#[must_use]
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);

    /// Presence with a clock that is told the seconds since the start.
    struct Watch {
        presence: Presence,
        start: Instant,
    }

    impl Watch {
        fn new() -> Self {
            Self { presence: Presence::default(), start: Instant::now() }
        }
        fn failed(&self, lane: &str, seconds: u64) -> Option<Tell> {
            self.presence.failed("b.example", lane, self.start + SECOND * u32::try_from(seconds).unwrap())
        }
        fn answered(&self, lane: &str, seconds: u64) -> Option<Back> {
            self.presence.answered("b.example", lane, self.start + SECOND * u32::try_from(seconds).unwrap())
        }
    }

    #[test]
    fn a_peer_that_is_away_gets_a_line_an_hour_whatever_the_lanes() {
        let watch = Watch::new();
        assert_eq!(watch.failed("x", 0), None);
        assert_eq!(watch.failed("y", 0), None);
        let mut told = Vec::new();
        for seconds in (1..=2 * 3600 + 10).step_by(10) {
            told.extend(watch.failed("x", seconds));
            told.extend(watch.failed("y", seconds));
        }
        let hour = Duration::from_secs(3601);
        assert_eq!(told, [Tell::Away(SECOND), Tell::StillAway(hour), Tell::StillAway(2 * HOUR + SECOND)]);
        assert_eq!(watch.answered("x", 7300), Some(Back::All(Duration::from_secs(7300))));
        assert_eq!(watch.answered("y", 7300), None);
        assert!(lock(&watch.presence.0).is_empty(), "nothing is kept");
    }

    #[test]
    fn a_moment_is_not_told_and_each_absence_is() {
        let watch = Watch::new();
        assert_eq!(watch.failed("x", 0), None);
        assert_eq!(watch.answered("x", 2), None);
        for start in [10, 20] {
            assert_eq!(watch.failed("x", start), None);
            assert_eq!(watch.failed("x", start + 1), Some(Tell::Away(SECOND)));
            assert_eq!(watch.answered("x", start + 5), Some(Back::All(5 * SECOND)));
        }
    }

    #[test]
    fn one_lane_that_fails_while_others_are_answered_is_told_apart() {
        let watch = Watch::new();
        let mut told = Vec::new();
        for seconds in (0..400).step_by(5) {
            told.extend(watch.failed("x", seconds));
            assert_eq!(watch.answered("y", seconds), None);
        }
        assert_eq!(told, [Tell::Stuck(65 * SECOND)]);
        assert_eq!(watch.answered("x", 400), Some(Back::Lane(400 * SECOND)));
        assert!(lock(&watch.presence.0).is_empty());
    }

    #[test]
    fn every_lane_is_for_somebody() {
        for (lane, wanted) in [
            ("m:mimi://a.example/r/x", "the homeserver"),
            ("p:b.example:mimi://a.example/r/x", "b.example"),
            ("k:c.example:mimi://a.example/r/x", "c.example"),
            ("heartbeat", "the homeserver"),
        ] {
            assert_eq!(To::of(lane).shown(), wanted, "{lane}");
        }
    }

    #[test]
    fn spans_of_time_are_short() {
        for (seconds, wanted) in [(7, "7 s"), (61, "1 min 1 s"), (3661, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(Duration::from_secs(seconds)), wanted);
        }
    }
}
