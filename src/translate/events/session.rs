//! Calls: what can be said of a Matrix call to people outside.

use serde_json::{Map, Value};

use super::super::{Loss, NotCarried, ToMimi, Translated};
use crate::content::{Disposition, NestedPart, TEXT_PLAIN};

/// Whether an event of this type begins a call: of two by `WebRTC` signalling, or of many (MSC4075, as Element Call sends it).
pub(super) fn is_start(event_type: &str) -> bool {
    matches!(
        event_type,
        "m.call.invite"
            | "m.call.notify"
            | "org.matrix.msc4075.call.notify"
            | "m.rtc.notification"
            | "org.matrix.msc4075.rtc.notification"
    )
}

/// A call has no address that others could go to: it is told, not carried.
pub(super) fn to_mimi(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    if outer.is_empty() {
        return Err(NotCarried::Empty);
    }
    let body = NestedPart {
        disposition: Disposition::Session,
        ..NestedPart::text(TEXT_PLAIN, "[started a call, which can be joined in Matrix only]")
    };
    let mut losses = vec![Loss::Call];
    // What it refers to is another event of the same call.
    let unrelated =
        outer.iter().filter(|(key, _)| *key != "m.relates_to").map(|(key, value)| (key.clone(), value.clone()));
    let message = super::message("m.room.message", body, &unrelated.collect(), ctx, &mut losses)?;
    // That a call rings for somebody is part of the call.
    losses.retain(|loss| *loss != Loss::Mention);
    super::translated(message, losses)
}
