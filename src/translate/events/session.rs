//! Calls: what can be said of a Matrix call to people outside, and sessions of other systems as links.

use serde_json::{Map, Value};

use super::super::{Loss, NotCarried, ToMimi, Translated};
use crate::content::{Body, Disposition, NestedPart, TEXT_PLAIN};

/// Longest URL of a session that is shown, in bytes.
const MAX_URL: usize = 2048;

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

/// A session with a public address, as text: nothing is fetched, nobody is called.
pub(super) fn readable(body: &NestedPart) -> Option<NestedPart> {
    let Body::External(external) = &body.body else { return None };
    let plain = |url: &str| url.bytes().all(|byte| byte.is_ascii_graphic()) && url.len() <= MAX_URL;
    let public = external.enc_alg == 0 && external.url.starts_with("https://") && plain(&external.url);
    if body.disposition != Disposition::Session || !public {
        return None;
    }
    let description = super::line(&external.description, 300);
    let text = if description.is_empty() { "A call" } else { description.as_str() };
    Some(NestedPart::text(TEXT_PLAIN, &format!("{text}\n{}", external.url)))
}
