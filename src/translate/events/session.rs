//! Calls and conferences: what can be said of them to people outside, as in the example "conferencing" of
//! draft-ietf-mimi-content-08: an external part of disposition `session`, which is nothing but an address.
//!
//! ```text
//!  m.call.invite, rtc notification --> chooseOne [session https://matrix.to/#/!room…, text], or a text where nobody outside
//!                                      finds the Matrix room
//!  Jitsi widget                    --> chooseOne [session https://DOMAIN/CONFERENCE, text], its name as the subject
//! ```

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::{
    super::{Loss, NotCarried, ToMimi, Translated},
    line,
};
use crate::content::{Body, Disposition, ExternalPart, NestedPart, PartSemantics, TEXT_PLAIN};

/// Longest name of a conference, in characters.
const MAX_NAME: usize = 200;
/// RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether an event of this type begins a call: of two by `WebRTC` signalling, or of many (MSC4075, as Element Call sends it).
#[must_use]
pub fn is_call(event_type: &str) -> bool {
    matches!(
        event_type,
        "m.call.invite"
            | "m.call.notify"
            | "org.matrix.msc4075.call.notify"
            | "m.rtc.notification"
            | "org.matrix.msc4075.rtc.notification"
    )
}

/// Whether a state event of this type may be a conference that somebody puts into a room.
#[must_use]
pub fn is_widget(event_type: &str) -> bool {
    matches!(event_type, "im.vector.modular.widgets" | "m.widget")
}

/// A conference that has an address of its own.
struct Conference {
    url: String,
    name: String,
}

impl Conference {
    /// From a Jitsi widget: its own address is that of a page within a Matrix client, which is made of these two.
    fn read(content: &Map<String, Value>) -> Option<Self> {
        let kind = content.get("type").and_then(Value::as_str)?;
        let data = content.get("data").filter(|_| matches!(kind, "jitsi" | "m.jitsi"))?;
        let text = |key: &str| data.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        let (domain, id) = (text("domain"), text("conferenceId"));
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(host) || id.is_empty() || id.len() > 255 {
            return None;
        }
        let url = format!("https://{domain}/{}", utf8_percent_encode(id, SEGMENT));
        let name = [text("roomName"), content.get("name").and_then(Value::as_str).unwrap_or_default()];
        let name = name.into_iter().map(|name| line(name, MAX_NAME)).find(|name| !name.is_empty());
        Some(Self { url, name: name.unwrap_or_default() })
    }
}

/// Whether this is a conference that others can go to: what else is in a room's state changes the Matrix room alone.
#[must_use]
pub fn is_conference(event_type: &str, content: &Value) -> bool {
    is_widget(event_type) && content.as_object().and_then(Conference::read).is_some()
}

/// An address to go to, and beside it, for who does not know what a session is, the same in words.
fn link(url: &str, what: &str) -> NestedPart {
    let session = |body| NestedPart { disposition: Disposition::Session, ..NestedPart::render(body) };
    let external = ExternalPart { url: url.to_owned(), description: what.to_owned(), ..ExternalPart::default() };
    let words = NestedPart::text(TEXT_PLAIN, &format!("{what}\n{url}"));
    let parts = vec![session(Body::External(Box::new(external))), session(words.body)];
    session(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
}

/// A call has no address of its own: what others get is the way to the Matrix room, where they may be told of it.
pub(super) fn call_to_mimi(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    if outer.is_empty() {
        return Err(NotCarried::Empty);
    }
    let body = match ctx.room_link {
        Some(url) => link(url, "A call in Matrix"),
        None => NestedPart {
            disposition: Disposition::Session,
            ..NestedPart::text(TEXT_PLAIN, "[started a call, which can be joined in Matrix only]")
        },
    };
    begun(body, "", outer, ctx, vec![Loss::Call])
}

/// A conference.
pub(super) fn conference_to_mimi(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    let conference = Conference::read(outer).ok_or(NotCarried::Malformed("data"))?;
    begun(link(&conference.url, "Join the conference"), &conference.name, outer, ctx, Vec::new())
}

fn begun(
    body: NestedPart,
    subject: &str,
    outer: &Map<String, Value>,
    ctx: &ToMimi<'_>,
    mut losses: Vec<Loss>,
) -> Result<Translated, NotCarried> {
    // What it refers to is another event of the same call.
    let unrelated =
        outer.iter().filter(|(key, _)| *key != "m.relates_to").map(|(key, value)| (key.clone(), value.clone()));
    let mut message = super::message("m.room.message", body, &unrelated.collect(), ctx, &mut losses)?;
    if !subject.is_empty() {
        message.set_subject(subject);
    }
    // That a call rings for somebody is part of the call.
    losses.retain(|loss| *loss != Loss::Mention);
    super::translated(message, losses)
}
