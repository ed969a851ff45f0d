//! Disappearing messages: `org.matrix.self_destruct_after` (MSC2228, as Synapse has it: milliseconds since the UNIX epoch) and
//! `com.beeper.disappearing_timer` (as bridges and their clients have it), and MIMI's `expires`.

use serde_json::{Map, Value, json};

use super::super::Loss;
use crate::content::Expiration;

const AT: &str = "org.matrix.self_destruct_after";
const TIMER: &str = "com.beeper.disappearing_timer";
/// Seconds of a year: receivers do not believe more.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// When an event that was sent at `sent` (milliseconds since the UNIX epoch) shall go. A time that receivers would not believe
/// is a loss.
pub(in crate::translate) fn expires(
    outer: &Map<String, Value>,
    sent: u64,
    losses: &mut Vec<Loss>,
) -> Option<Expiration> {
    let found = if let Some(at) = outer.get(AT) {
        at.as_u64().and_then(|at| point(at, sent))
    } else {
        let timer = outer.get(TIMER)?;
        let millis = timer.get("timer").and_then(Value::as_u64).filter(|millis| *millis > 0);
        match (timer.get("type").and_then(Value::as_str), millis) {
            (Some("after_send"), Some(millis)) => point(sent.saturating_add(millis), sent),
            (Some("after_read" | "after_read_by_recipient"), Some(millis)) => {
                let seconds = millis.div_ceil(1000);
                u32::try_from(seconds).ok().filter(|_| seconds <= YEAR).map(Expiration::AfterReading)
            }
            _ => None,
        }
    };
    if found.is_none() {
        losses.push(Loss::Expiration);
    }
    found
}

fn point(at: u64, sent: u64) -> Option<Expiration> {
    let (at, sent) = (at.div_ceil(1000), sent / 1000);
    u32::try_from(at).ok().filter(|_| at.abs_diff(sent) <= YEAR).map(Expiration::At)
}

/// Key and value that say so in an event.
pub(super) fn mark(expires: Expiration) -> (&'static str, Value) {
    match expires {
        Expiration::At(time) => (AT, json!(u64::from(time) * 1000)),
        Expiration::AfterReading(seconds) => (TIMER, json!({"type": "after_read", "timer": u64::from(seconds) * 1000})),
    }
}
