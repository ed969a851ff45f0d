//! Looks at the certificates once a day while the gateway runs: nobody should learn from a peer that one has expired.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::mimi::{Period, Validity};

/// How often.
const DAY: Duration = Duration::from_hours(24);

/// Tells how the certificates with which the gateway began stand, now and once a day.
pub(super) async fn run(certificates: Vec<Period>, stop: CancellationToken) {
    loop {
        for period in &certificates {
            tell(period, period.at(unix_seconds()));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DAY) => {}
        }
    }
}

fn tell(period: &Period, validity: Validity) {
    let Some((seen, advice)) = validity_advice(period, validity) else { return };
    match validity {
        Validity::Good => {}
        Validity::EndsIn(_) => tracing::warn!("{seen}; {advice}"),
        Validity::Over(_) | Validity::NotYet => tracing::error!("{seen}; {advice}"),
    }
}

/// What is to be said about a certificate that is not good for long, and what to do.
#[must_use]
pub fn validity_advice(period: &Period, validity: Validity) -> Option<(String, &'static str)> {
    let Period { what, from, until } = period;
    let own = what == crate::mimi::OWN;
    match validity {
        Validity::Good => None,
        Validity::EndsIn(days) => Some((
            format!("{what} expires on {until}, in {days} days"),
            if own {
                "renew it before, and restart the gateway: after that no peer talks to us"
            } else {
                "ask the peer for its next one, enter it and restart the gateway"
            },
        )),
        Validity::Over(days) => Some((
            format!("{what} expired on {until}, {days} days ago"),
            if own {
                "renew it and restart the gateway: until then no peer talks to us"
            } else {
                "ask the peer for its new one, enter it and restart the gateway: until then this peer cannot be talked to"
            },
        )),
        Validity::NotYet => Some((
            format!("{what} is not valid before {from}"),
            "correct this machine's clock, or wait: until then no peer talks to us",
        )),
    }
}

/// Seconds since the UNIX epoch; before it, negative.
pub(crate) fn unix_seconds() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}
