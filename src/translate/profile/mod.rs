//! What people call themselves: messages of disposition `profile` (draft-ietf-mimi-content-08 section 4.3) with a vCard. The drafts
//! do not say what such a message holds; this is our reading of it (docs/conformance.md).
//!
//! ```text
//!  name, picture --write--> disposition profile, text/vcard: FN, PHOTO as a data URI --read--> name, picture
//! ```
//!
//! A card is nothing that is said: whoever cannot read it shows nothing. What stands beside one is.

mod vcard;

pub use vcard::{MAX_PICTURE, Photo, Picture, Vcard, VcardError};

use super::essence;
use crate::{
    content::{Body, Disposition, MimiContent, NestedPart, PartSemantics},
    ident::{RoomUri, UserUri},
};

/// The media type of a vCard (RFC 6350 section 10.1).
const TEXT_VCARD: &str = "text/vcard;charset=utf-8";

/// Whether the message is about its sender and nothing that is said.
#[must_use]
pub fn is_profile(message: &MimiContent) -> bool {
    message.body.disposition == Disposition::Profile && message.body.body != Body::Null
}

/// Whether it has nothing but vCards: nothing is said beside them to whoever shows all parts.
#[must_use]
pub fn is_card_alone(message: &MimiContent) -> bool {
    let is_card = |part: &NestedPart| match &part.body {
        Body::Single { content_type, .. } => is_vcard(content_type),
        Body::Multi { .. } => true,
        Body::Null | Body::External(_) => false,
    };
    is_profile(message) && message.subject().is_none() && message.body.walk().all(is_card)
}

/// What is said in a message about its sender beside their card; `None` if nothing is, or there is no card. Alternatives of a card
/// are the card.
#[must_use]
pub fn beside_card(message: &MimiContent) -> Option<MimiContent> {
    fn is_card(part: &NestedPart) -> bool {
        matches!(&part.body, Body::Single { content_type, .. } if is_vcard(content_type))
    }
    fn rest(part: &NestedPart) -> Option<NestedPart> {
        let body = match &part.body {
            Body::Multi { semantics: PartSemantics::ChooseOne, parts } if parts.iter().any(is_card) => return None,
            Body::Multi { semantics, parts } => {
                let parts: Vec<NestedPart> = parts.iter().filter_map(rest).collect();
                (!parts.is_empty()).then_some(Body::Multi { semantics: *semantics, parts })?
            }
            body => (!is_card(part) && *body != Body::Null).then(|| body.clone())?,
        };
        Some(NestedPart { body, ..part.clone() })
    }
    let mut body = message.body.walk().any(is_card).then(|| rest(&message.body))??;
    body.disposition = Disposition::Render;
    Some(MimiContent { body, ..message.clone() })
}

/// The message by which a user tells a room what it is called there.
#[must_use]
pub fn write(card: &Vcard, salt: [u8; 16], sender: &UserUri, room: &RoomUri, now: u64) -> MimiContent {
    let body = Body::Single { content_type: TEXT_VCARD.to_owned(), content: card.write().into_bytes() };
    let part = NestedPart { disposition: Disposition::Profile, language: String::new(), body };
    let mut content = MimiContent::new(salt, sender, room, part);
    content.set_sender_timestamp(now);
    content
}

/// What a profile message says; `None` if it has no vCard.
#[must_use]
pub fn read(message: &MimiContent) -> Option<Result<Vcard, VcardError>> {
    message.body.walk().find_map(|part| match &part.body {
        Body::Single { content_type, content } if is_vcard(content_type) => Some(Vcard::read(content)),
        _ => None,
    })
}

/// `text/vcard`, and the names that it had before RFC 6350.
pub(super) fn is_vcard(content_type: &str) -> bool {
    matches!(essence(content_type).as_str(), "text/vcard" | "text/x-vcard" | "text/directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> (UserUri, RoomUri) {
        (UserUri::parse("mimi://a.example/u/alice").unwrap(), RoomUri::parse("mimi://a.example/r/r").unwrap())
    }

    #[test]
    fn a_name_crosses() {
        let (alice, room) = alice();
        let card = Vcard { name: Some("Alice; of \"A\", \\o/\nLiddell".to_owned()), picture: Photo::Unsaid };
        let sent = write(&card, [7; 16], &alice, &room, 1_700_000_000_000);
        let (bytes, _) = sent.encode_with_id(&alice, &room).unwrap();
        let got = MimiContent::decode(&bytes).unwrap();
        assert!(is_profile(&got) && got.check_origin(&alice, &room).is_ok());
        assert_eq!(read(&got), Some(Ok(card)));
    }

    #[test]
    fn a_card_is_found_among_parts_and_what_is_no_card_is_none() {
        let (alice, room) = alice();
        let part = |kind: &str, text: &str| NestedPart::text(kind, text);
        let both = Body::Multi {
            semantics: PartSemantics::ProcessAll,
            parts: vec![
                part("image/png", "x"),
                part("Text/vCard; charset=UTF-8", "BEGIN:VCARD\nVERSION:4.0\nFN:A\nEND:VCARD"),
            ],
        };
        let of = |body| NestedPart { disposition: Disposition::Profile, language: String::new(), body };
        let message = MimiContent::new([0; 16], &alice, &room, of(both));
        assert_eq!(read(&message).unwrap().unwrap().name.as_deref(), Some("A"));
        let text = MimiContent::new([0; 16], &alice, &room, of(part("text/plain", "Alice").body));
        assert!(is_profile(&text) && read(&text).is_none());
        // What is said beside a card is shown; its alternatives are the card.
        let said = |body| beside_card(&MimiContent::new([0; 16], &alice, &room, of(body))).map(|rest| rest.body);
        let card = || part("text/vcard", "BEGIN:VCARD\nVERSION:4.0\nFN:A\nEND:VCARD");
        let multi = |semantics, parts| Body::Multi { semantics, parts };
        let hi = || part("text/plain", "Hi");
        assert_eq!(said(multi(PartSemantics::ChooseOne, vec![hi(), card()])), None);
        assert_eq!(said(card().body), None);
        assert_eq!(said(hi().body), None);
        let shown = NestedPart::render(multi(PartSemantics::ProcessAll, vec![hi()]));
        assert_eq!(said(multi(PartSemantics::ProcessAll, vec![card(), hi()])), Some(shown));
        let deletion = MimiContent::new([0; 16], &alice, &room, of(Body::Null));
        assert!(!is_profile(&deletion));
    }
}
