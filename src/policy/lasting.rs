//! What a Matrix room's state says of its messages, as components that a MIMI room has from its beginning (room-policy-03 sections
//! 6.6 and 6.8): nobody may change them later, since the registry reserves the capability for it.
//!
//! ```text
//!  m.room.retention            -->  0x0030 message expiration: required, `max_lifetime` at most
//!  m.room.history_visibility   -->  0x002e chat history: forbidden where newcomers do not read what was said before
//! ```

use serde_json::Value;

use super::{HistoryPolicy, MessageExpiration, Optionality, component};

/// Milliseconds of a year. Receivers do not believe that a message goes later.
const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;

/// `m.room.retention` (MSC1763). What stays for more than a year does not expire for MIMI.
fn expiration(content: &Value) -> Option<MessageExpiration> {
    let longest = content.get("max_lifetime")?.as_u64().filter(|millis| (1000..=YEAR).contains(millis))?;
    let longest = u32::try_from(longest / 1000).ok()?;
    Some(MessageExpiration {
        expiring_messages: Optionality::Required,
        min_expiration_duration: 0,
        max_expiration_duration: longest,
        default_expiration_duration: Some(longest),
    })
}

/// `m.room.history_visibility`. Where history is open nothing is said of who may share it: the roles that do come and go.
fn history(content: &Value) -> Option<HistoryPolicy> {
    let visible = content.get("history_visibility")?.as_str()?;
    ["joined", "invited"].contains(&visible).then(|| HistoryPolicy {
        history_sharing: Optionality::Forbidden,
        roles_that_can_share: Vec::new(),
        automatically_share: false,
        max_time_period: 0,
    })
}

/// The component that a state event without state key is about, and what it is then; `None`: it is about no such component.
#[must_use]
pub fn lasting(event_type: &str, content: &Value) -> Option<(u16, Option<Vec<u8>>)> {
    match event_type {
        "m.room.retention" => {
            Some((component::MESSAGE_EXPIRATION_POLICY, expiration(content).and_then(|policy| policy.encode().ok())))
        }
        "m.room.history_visibility" => {
            Some((component::CHAT_HISTORY_POLICY, history(content).and_then(|policy| policy.encode().ok())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_state_of_a_matrix_room_says_of_its_messages() {
        let retention = |content: Value| lasting("m.room.retention", &content).unwrap();
        let day = [0, 0x01, 0x51, 0x80];
        let required = [&[1, 0, 0, 0, 0][..], &day, &[1], &day].concat();
        assert_eq!(retention(json!({ "max_lifetime": 86_400_999, "min_lifetime": 5 })), (0x30, Some(required)));
        let year = 365 * 86_400_000_u64;
        for content in [json!({}), json!({ "max_lifetime": null }), json!({ "max_lifetime": 999 })] {
            assert_eq!(retention(content), (0x30, None));
        }
        assert!(retention(json!({ "max_lifetime": year })).1.is_some());
        assert_eq!(retention(json!({ "max_lifetime": year + 1 })).1, None);
        let history =
            |visible: &str| lasting("m.room.history_visibility", &json!({ "history_visibility": visible })).unwrap();
        assert_eq!(["joined", "invited"].map(history), [(0x2e, Some(vec![2])), (0x2e, Some(vec![2]))]);
        assert_eq!(["shared", "world_readable", "?"].map(history), [(0x2e, None), (0x2e, None), (0x2e, None)]);
        assert_eq!(lasting("m.room.topic", &json!({})), None);
    }
}
