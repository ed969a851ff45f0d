//! Finding one's way in nested parts: indices, content ids, languages (draft-ietf-mimi-content-08 section 4.4).

use super::types::{Body, NestedPart};

/// The host that every content id within a message has.
const CID_HOST: &str = "@local.invalid";

/// Parts, each before those within it; see [`NestedPart::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    /// Those to come, the next one last.
    next: Vec<&'a NestedPart>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a NestedPart;

    fn next(&mut self) -> Option<Self::Item> {
        let part = self.next.pop()?;
        if let Body::Multi { parts, .. } = &part.body {
            self.next.extend(parts.iter().rev());
        }
        Some(part)
    }
}

impl NestedPart {
    /// This part and all within it, in the order of their indices: depth first, this one is 0.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk { next: vec![self] }
    }

    /// The part with this index, of those that [`walk`](Self::walk) gives.
    #[must_use]
    pub fn at_index(&self, index: u16) -> Option<&Self> {
        self.walk().nth(usize::from(index))
    }

    /// The part that `cid:INDEX@local.invalid` names. Only single and external parts can be named (a MUST of the draft).
    #[must_use]
    pub fn by_content_id(&self, url: &str) -> Option<&Self> {
        let part = self.at_index(content_id_index(url)?)?;
        matches!(part.body, Body::Single { .. } | Body::External(_)).then_some(part)
    }

    /// The language tags of this part, those that are well-formed: letters, digits and hyphens (RFC 5646).
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        let well_formed = |tag: &&str| {
            tag.split('-')
                .all(|piece| (1..=8).contains(&piece.len()) && piece.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        self.language.split(',').map(str::trim).filter(well_formed)
    }
}

/// How a part of this index is named within another part of the same message.
#[must_use]
pub fn content_id(index: u16) -> String {
    format!("cid:{index}{CID_HOST}")
}

/// The index in the content id of a part of the same message.
#[must_use]
pub fn content_id_index(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once(':')?;
    let digits = rest.strip_suffix(CID_HOST)?;
    // `parse` would take a sign.
    let plain = scheme.eq_ignore_ascii_case("cid") && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::MimiContent;

    #[test]
    fn indices_are_those_of_the_drafts_nested_example() {
        let bytes = include_bytes!("../../tests/vectors/mimi-content/multipart-3.cbor");
        let body = MimiContent::decode(bytes).unwrap().body;
        let told: Vec<String> = body
            .walk()
            .map(|part| match &part.body {
                Body::Single { content_type, .. } => format!("{content_type} {}", part.language),
                Body::Multi { semantics, parts } => format!("{semantics:?} {}", parts.len()),
                _ => panic!(),
            })
            .collect();
        let expected = [
            "ChooseOne 2",
            "ProcessAll 2",
            "ChooseOne 2",
            "text/html;charset=utf-8 en",
            "text/html;charset=utf-8 fr",
            "image/gif ",
            "ProcessAll 2",
            "ChooseOne 2",
            "text/html;charset=utf-8 en",
            "text/html;charset=utf-8 fr",
            "image/png ",
        ];
        assert_eq!(told, expected);
        assert_eq!(body.at_index(11), None);
        for (url, media_type) in [("cid:5@local.invalid", "image/gif"), ("CID:10@local.invalid", "image/png")] {
            let Some(NestedPart { body: Body::Single { content_type, .. }, .. }) = body.by_content_id(url) else {
                panic!()
            };
            assert_eq!(content_type, media_type);
        }
        for other in [
            "cid:6@local.invalid",
            "cid:11@local.invalid",
            "cid:5@a.example",
            "cid:+5@local.invalid",
            "cid:@local.invalid",
        ] {
            assert_eq!(body.by_content_id(other), None, "{other}");
        }
        assert_eq!(content_id_index(&content_id(65_535)), Some(65_535));
        assert_eq!(content_id_index("cid:65536@local.invalid"), None);
    }

    #[test]
    fn languages_are_told_apart() {
        let part = NestedPart { language: "en-GB, fr,x--y,,12345678-a, ünd".into(), ..NestedPart::render(Body::Null) };
        assert_eq!(part.languages().collect::<Vec<_>>(), ["en-GB", "fr", "12345678-a"]);
    }
}
