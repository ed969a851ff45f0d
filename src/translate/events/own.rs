//! What clients add to messages on their own: kinds of messages, and fields that no specification has.

use serde_json::{Map, Value, json};

use super::{super::media, Loss, poll, private};

/// Fields that Matrix has, or had, in messages of whatever kind. Where they mean something they are read.
const FIELDS: [&str; 15] = [
    "admin_contact",
    "body",
    "cute_type",
    "external_url",
    "file",
    "filename",
    "format",
    "formatted_body",
    "geo_uri",
    "info",
    "itemtype",
    "itemtypes",
    "lang",
    "msgtype",
    "url",
];

/// Names of those whose fields are hints of clients to clients, or what Matrix will have: they say nothing that people would miss.
const HINTS: [&str; 16] = [
    "m.",
    "org.matrix.",
    "im.mimi-gateway.",
    "cc.etke.",
    "com.beeper.",
    "de.sorunome.",
    "fi.mau.",
    "im.fluffychat.",
    "im.nheko.",
    "im.vector.",
    "in.cinny.",
    "io.element.",
    "net.maunium.",
    "page.codeberg.everypizza.",
    "uk.half-shot.",
    "xyz.maubot.",
];

/// Whether a message says something under names of its own: that does not cross. Proposals to Matrix have names with their number.
pub(in crate::translate) fn has_fields(message: &Map<String, Value>) -> bool {
    let is_known = |key: &String| {
        FIELDS.contains(&key.as_str()) || HINTS.iter().any(|hint| key.starts_with(hint)) || key.contains(".msc")
    };
    !message.keys().all(is_known)
}

/// Whether this is a kind of messages that Matrix does not have: clients that do not know it show the body. The kind crosses
/// beside the text.
pub(in crate::translate) fn is_own_msgtype(msgtype: &str) -> bool {
    let is_media = media::is_media("m.room.message", &json!({ "msgtype": msgtype }));
    private::may_cross(msgtype) && poll::poll(msgtype).is_none() && !is_media
}

/// What others do not get of a message of a kind that Matrix does not have.
pub(in crate::translate) fn other_kind(msgtype: &str) -> Loss {
    let kind = msgtype.to_owned();
    if is_own_msgtype(msgtype) { Loss::Private(kind) } else { Loss::Unsupported(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_clients_are_nothing_that_people_miss() {
        let has = |key: &str| has_fields(json!({"msgtype": "m.text", "body": "x", key: 1}).as_object().unwrap());
        for hint in [
            "format",
            "m.mentions",
            "m.new",
            "org.matrix.msc1767.text",
            "com.beeper.linkpreviews",
            "io.element.x",
            "fi.mau.telegram.source",
            "xyz.amorgan.msc9999.hint",
        ] {
            assert!(!has(hint), "{hint}");
        }
        for own in ["org.example.data", "data", "org.matrixes.x", "im.vectors"] {
            assert!(has(own), "{own}");
        }
    }

    #[test]
    fn kinds_of_messages_are_bounded_names_that_matrix_does_not_have() {
        assert!(is_own_msgtype("nic.custom.confetti") && is_own_msgtype("io.element.effects.snow"));
        let long = "x".repeat(256);
        for bad in [
            "",
            "m.text",
            "m.poll.start",
            "org.matrix.msc3381.poll.start",
            "dm.filament.gallery",
            "a b",
            "a\nb",
            "ä",
            &long,
        ] {
            assert!(!is_own_msgtype(bad), "{bad}");
        }
    }
}
