//! Live locations (MSC3489, MSC3672): the state event that begins or ends one, and the events with its places. MIMI has no such
//! thing: others get one message, which is edited from time to time, so that nobody is flooded.
//!
//! ```text
//!  m.beacon_info, live      --> "[live location until 14:30 UTC] Walk"
//!  m.beacon                 --> the same message, with the place as a geo: link (replaces)
//!  m.beacon_info, not live  --> "[live location, ended] Walk", with the last place (replaces)
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::{Loss, MSGTYPE_EXTENSION, NotCarried, ToMimi, Translated},
    extensible, line, place,
};
use crate::content::{
    Body, CborValue, ExtensionKey, MessageId, MimiContent, NestedPart, PartSemantics, TEXT_MARKDOWN, TEXT_PLAIN,
};

/// The mark of such messages.
const MARK: &str = "m.beacon";
/// Longest description, in characters.
const MAX_ABOUT: usize = 300;
/// Until when is said of what ends within that, in milliseconds: a day.
const DAY: u64 = 86_400_000;

/// Whether this state event begins or ends a live location.
#[must_use]
pub fn is_live_info(event_type: &str) -> bool {
    matches!(event_type, "m.beacon_info" | "org.matrix.msc3672.beacon_info")
}

/// Whether this event is a place of one.
#[must_use]
pub fn is_live_place(event_type: &str) -> bool {
    matches!(event_type, "m.beacon" | "org.matrix.msc3672.beacon")
}

/// What is said of a live location.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Live {
    /// What it is of, in its sender's words; may be empty.
    pub about: String,
    /// Until when it goes on, in milliseconds since the UNIX epoch, if that is known.
    pub until: Option<u64>,
    /// It is over.
    pub over: bool,
    /// The newest place, a geo URI.
    pub place: Option<String>,
}

impl Live {
    /// From the event that begins or ends one, sent at this time, or from one with a place. `None`: it is not what Matrix says.
    #[must_use]
    pub fn read(event_type: &str, content: &Value, sent_ts: u64) -> Option<Self> {
        let content = content.as_object()?;
        if is_live_place(event_type) {
            let uri = ["m.location", "org.matrix.msc3488.location"]
                .iter()
                .find_map(|key| content.get(*key)?.get("uri")?.as_str());
            return Some(Self { place: Some(place::written(uri?)?.into_owned()), ..Self::default() });
        }
        let live = content.get("live")?.as_bool()?;
        let number = |key: &str| content.get(key).and_then(Value::as_u64);
        let since = number("m.ts").or(number("org.matrix.msc3488.ts")).unwrap_or(sent_ts);
        let length = number("timeout").filter(|length| *length <= DAY);
        let about = content.get("description").and_then(Value::as_str).map(Cow::Borrowed);
        let about = about.or_else(|| extensible::text(content));
        Some(Self {
            about: line(&about.unwrap_or_default(), MAX_ABOUT),
            until: length.filter(|_| live).and_then(|length| since.checked_add(length)),
            over: !live,
            place: None,
        })
    }

    fn head(&self) -> String {
        let state = match self.until {
            _ if self.over => "[live location, ended]".to_owned(),
            Some(until) => {
                let minutes = until / 60_000 % 1440;
                format!("[live location until {:02}:{:02} UTC]", minutes / 60, minutes % 60)
            }
            None => "[live location]".to_owned(),
        };
        if self.about.is_empty() { state } else { format!("{state} {}", self.about) }
    }

    /// The message that says so; `replaces`: the one that began it.
    pub fn to_mimi(&self, replaces: Option<MessageId>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
        let head = self.head();
        let body = match &self.place {
            None => NestedPart::text(TEXT_PLAIN, &head),
            Some(uri) => {
                let markdown = format!("{}\n\n[{uri}]({uri})", place::escaped(&head));
                let parts = vec![
                    NestedPart::text(TEXT_MARKDOWN, &markdown),
                    NestedPart::text(TEXT_PLAIN, &format!("{head}\n{uri}")),
                ];
                NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
            }
        };
        let mut message = MimiContent::new(ctx.salt, ctx.sender, ctx.room, body);
        message.set_sender_timestamp(ctx.sent_ts);
        message.replaces = replaces;
        message.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::from(MARK));
        super::translated(message, vec![Loss::Live])
    }
}

/// One event by itself.
pub(super) fn to_mimi(
    event_type: &str,
    outer: &Map<String, Value>,
    ctx: &ToMimi<'_>,
) -> Result<Translated, NotCarried> {
    if outer.is_empty() {
        return Err(NotCarried::Empty);
    }
    let content = Value::Object(outer.clone());
    let live = Live::read(event_type, &content, ctx.sent_ts).ok_or(NotCarried::Malformed("the live location"))?;
    live.to_mimi(None, ctx)
}

/// The text of such a message: Matrix has no links to places in texts.
pub(in crate::translate) fn readable(message: &MimiContent) -> Option<NestedPart> {
    let marked = message.extensions.get(&ExtensionKey::text(MSGTYPE_EXTENSION))?.as_text()?;
    let plain = super::private::plain_text(message).filter(|_| marked == MARK)?;
    let ends_in_a_place = plain.rsplit_once('\n').is_some_and(|(_, uri)| place::is_geo(uri));
    ends_in_a_place.then(|| NestedPart::text(TEXT_PLAIN, plain))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_location_says_what_it_is_and_how_long() {
        let info = json!({"description": "Walk\nhome", "live": true, "timeout": 3_600_000, "org.matrix.msc3488.ts": 48_600_000});
        let read = |content: &Value| Live::read("org.matrix.msc3672.beacon_info", content, 0);
        assert_eq!(read(&info).unwrap().head(), "[live location until 14:30 UTC] Walk home");
        assert_eq!(read(&json!({"live": true, "timeout": 86_400_001})).unwrap().head(), "[live location]");
        assert_eq!(read(&json!({"live": true, "timeout": u64::MAX, "m.ts": u64::MAX})).unwrap().until, None);
        assert_eq!(read(&json!({"live": false})).unwrap().head(), "[live location, ended]");
        assert_eq!(read(&json!({"description": "x"})), None);
        let at = |uri: &str| Live::read("m.beacon", &json!({"m.location": {"uri": uri}}), 0);
        assert_eq!(at("geo:1,2").unwrap().place.as_deref(), Some("geo:1,2"));
        assert_eq!(at("geo:51.47,-5.0E-4;u=8").unwrap().place.as_deref(), Some("geo:51.47,-0.0005;u=8"));
        assert_eq!(at("https://a.example"), None);
    }
}
