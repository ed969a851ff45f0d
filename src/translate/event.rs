//! A room event as the homeserver sends it, read from raw JSON with bounds (Matrix client-server API 1.17, section
//! "Room event fields"). Content stays JSON: what it means is decided by who handles the type.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// Largest event read, in bytes. Matrix allows 65,536 for the federated form; `unsigned` and formatting come on top.
pub const EVENT_MAX: usize = 256 * 1024;
/// Longest `type` and `state_key`, in bytes, as Matrix has it.
pub const NAME_MAX: usize = 255;

/// Why an event cannot be used. Permanent: it is set aside, and the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// Larger than [`EVENT_MAX`].
    #[error("{0} bytes, more than {EVENT_MAX}")]
    TooLarge(usize),
    /// A field is missing, of the wrong type, or no valid identifier.
    #[error("not a room event: {0}")]
    Malformed(String),
    /// `type` or `state_key` is longer than [`NAME_MAX`].
    #[error("{0} is longer than {NAME_MAX} bytes")]
    TooLong(&'static str),
}

/// One room event.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomEvent {
    /// The event's id.
    pub event_id: OwnedEventId,
    /// The room that it is in.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// `m.room.message`, ...
    pub event_type: String,
    /// Present on state events only, also if empty.
    pub state_key: Option<String>,
    /// A JSON object.
    pub content: Value,
    /// Milliseconds since the UNIX epoch, as the sender's server says.
    pub origin_server_ts: u64,
    /// The transaction id, if one of our own users sent it.
    pub transaction_id: Option<String>,
    /// The event that a redaction redacts, from the top level or from the content (room version 11 and later).
    pub redacts: Option<OwnedEventId>,
    /// Of a membership: what it was before, if the homeserver says (`unsigned.prev_content`).
    pub was: Option<String>,
    /// Somebody took it back before it was read (`unsigned.redacted_because`): what it said is gone.
    pub redacted: bool,
}

#[derive(Deserialize)]
struct Fields {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default, deserialize_with = "present")]
    state_key: Option<String>,
    content: serde_json::Map<String, Value>,
    origin_server_ts: u64,
    #[serde(default)]
    unsigned: Unsigned,
    #[serde(default)]
    redacts: Value,
}

#[derive(Deserialize, Default)]
struct Unsigned {
    #[serde(default)]
    transaction_id: Value,
    #[serde(default)]
    prev_content: Value,
    #[serde(default)]
    redacted_because: Value,
}

/// A state key of `null` is no state key, but an error.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// What was wanted and where, without what stood there: the text goes into the log, and events hold what people write.
fn shape(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.find("expected ").and_then(|at| text.get(at..)).unwrap_or(&text).to_owned()
}

impl RoomEvent {
    /// Reads an event.
    pub fn parse(raw: &RawValue) -> Result<Self, BadEvent> {
        let text = raw.get();
        if text.len() > EVENT_MAX {
            return Err(BadEvent::TooLarge(text.len()));
        }
        let fields: Fields = serde_json::from_str(text).map_err(|error| BadEvent::Malformed(shape(&error)))?;
        if fields.event_type.len() > NAME_MAX {
            return Err(BadEvent::TooLong("type"));
        }
        if fields.state_key.as_ref().is_some_and(|key| key.len() > NAME_MAX) {
            return Err(BadEvent::TooLong("state_key"));
        }
        let event_id = |value: &Value| value.as_str().and_then(|id| OwnedEventId::try_from(id).ok());
        let redacts = if fields.event_type == "m.room.redaction" {
            event_id(&fields.redacts).or_else(|| fields.content.get("redacts").and_then(event_id))
        } else {
            None
        };
        Ok(Self {
            event_id: fields.event_id,
            room_id: fields.room_id,
            sender: fields.sender,
            event_type: fields.event_type,
            state_key: fields.state_key,
            content: Value::Object(fields.content),
            origin_server_ts: fields.origin_server_ts,
            transaction_id: fields.unsigned.transaction_id.as_str().map(str::to_owned),
            redacts,
            was: fields.unsigned.prev_content.get("membership").and_then(Value::as_str).map(str::to_owned),
            redacted: fields.unsigned.redacted_because.is_object(),
        })
    }

    /// Whether somebody who is out by this membership may have been banned before.
    #[must_use]
    pub fn may_end_ban(&self) -> bool {
        self.was.as_deref().is_none_or(|was| was == "ban")
    }

    /// Whether somebody who is out by this membership was banned before, as the homeserver says: it puts nobody out.
    #[must_use]
    pub fn ends_ban(&self) -> bool {
        self.was.as_deref() == Some("ban")
    }

    /// Whether it sets state.
    #[must_use]
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<RoomEvent, BadEvent> {
        RoomEvent::parse(&RawValue::from_string(value.to_string()).unwrap())
    }

    #[test]
    fn what_people_write_stays_out_of_the_reason() {
        for bad in [json!("our secret"), json!({"type": "m.room.message", "event_id": "$a", "content": "our secret"})] {
            let reason = parse(&bad).unwrap_err().to_string();
            assert!(reason.contains("expected") && !reason.contains("secret"), "{reason}");
        }
    }

    fn message() -> Value {
        json!({
            "type": "m.room.message",
            "event_id": "$abc",
            "room_id": "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
            "sender": "@alice:a.example",
            "origin_server_ts": 1_700_000_000_000_u64,
            "content": {"msgtype": "m.text", "body": "hi"},
            "unsigned": {"age": 5, "transaction_id": "t1"},
            "user_id": "@alice:a.example",
        })
    }

    #[test]
    fn a_message_of_room_version_12_is_read() {
        let event = parse(&message()).unwrap();
        assert_eq!(event.event_id, "$abc");
        assert_eq!(event.content["body"], "hi");
        assert_eq!(event.transaction_id.as_deref(), Some("t1"));
        assert!(!event.is_state());
        assert_eq!(event.redacts, None);
    }

    #[test]
    fn an_empty_state_key_is_state_and_null_is_an_error() {
        let mut value = message();
        value["state_key"] = json!("");
        assert!(parse(&value).unwrap().is_state());
        value["state_key"] = Value::Null;
        assert!(matches!(parse(&value), Err(BadEvent::Malformed(_))));
    }

    #[test]
    fn a_redaction_names_its_target_in_either_place() {
        let mut value = message();
        value["type"] = json!("m.room.redaction");
        value["content"] = json!({"redacts": "$old"});
        assert_eq!(parse(&value).unwrap().redacts.unwrap(), "$old");
        value["redacts"] = json!("$top");
        assert_eq!(parse(&value).unwrap().redacts.unwrap(), "$top");
        value["redacts"] = json!(7);
        value["content"] = json!({});
        assert_eq!(parse(&value).unwrap().redacts, None);
    }

    #[test]
    fn what_is_missing_wrong_or_too_long_is_refused() {
        for field in ["type", "event_id", "room_id", "sender", "content", "origin_server_ts"] {
            let mut value = message();
            value.as_object_mut().unwrap().remove(field);
            assert!(matches!(parse(&value), Err(BadEvent::Malformed(_))), "{field}");
        }
        for (field, bad) in [
            ("content", json!([])),
            ("sender", json!("alice")),
            ("event_id", json!("abc")),
            ("origin_server_ts", json!(-1)),
            ("room_id", json!("#a:b")),
        ] {
            let mut value = message();
            value[field] = bad;
            assert!(matches!(parse(&value), Err(BadEvent::Malformed(_))), "{field}");
        }
        let mut value = message();
        value["type"] = json!("x".repeat(256));
        assert_eq!(parse(&value), Err(BadEvent::TooLong("type")));
        value = message();
        value["content"]["body"] = json!("x".repeat(EVENT_MAX));
        assert!(matches!(parse(&value), Err(BadEvent::TooLarge(_))));
    }

    #[test]
    fn what_was_taken_back_says_so() {
        let mut value = message();
        assert!(!parse(&value).unwrap().redacted);
        (value["content"], value["unsigned"]) = (json!({}), json!({"redacted_because": {"type": "m.room.redaction"}}));
        assert!(parse(&value).unwrap().redacted);
        value["unsigned"] = json!({"redacted_because": null});
        assert!(!parse(&value).unwrap().redacted, "it is empty as it was sent");
    }

    #[test]
    fn an_odd_unsigned_part_does_not_spoil_the_event() {
        let mut value = message();
        value["unsigned"] = json!({"transaction_id": 9});
        assert_eq!(parse(&value).unwrap().transaction_id, None);
    }
}
