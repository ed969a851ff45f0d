//! Where bytes stop being content: offset and field of the first fault, for people. It decodes again and again, so it is
//! used only when decoding has failed.

use super::{
    cbor::{self, Scanner},
    codec::{ContentError, MAX_BODY_PARTS, MAX_CBOR_DEPTH, MAX_PART_DEPTH, decode_part},
    types::MimiContent,
};

/// A fault in received content. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}, byte {offset}: {error}")]
pub struct ContentFault {
    /// The field, with the parts that it is in: `body.parts[1].contentType`.
    pub path: String,
    /// Where the field starts, in bytes from the start of the content; where the bytes are no CBOR, where that shows.
    pub offset: usize,
    /// What is wrong.
    pub error: ContentError,
}

const MESSAGE: [&str; 7] = ["salt", "replaces", "topicId", "expires", "inReplyTo", "extensions", "body"];
const SINGLE: [&str; 5] = ["disposition", "language", "cardinality", "contentType", "content"];
const EXTERNAL: [&str; 15] = [
    "disposition",
    "language",
    "cardinality",
    "contentType",
    "url",
    "expires",
    "size",
    "encAlg",
    "key",
    "nonce",
    "aad",
    "hashAlg",
    "contentHash",
    "description",
    "filename",
];
const MULTI: [&str; 5] = ["disposition", "language", "cardinality", "partSemantics", "parts"];

/// The first fault of received content; `None` if it can be decoded.
#[must_use]
pub fn fault(bytes: &[u8]) -> Option<ContentFault> {
    let error = MimiContent::decode(bytes).err()?;
    let mut scanner = Scanner::new(bytes);
    let well_formed = scanner.item(MAX_CBOR_DEPTH);
    let offset = bytes.len() - scanner.left();
    let fields = items(bytes, 0);
    if well_formed.is_err() || scanner.left() > 0 {
        // No CBOR: the last field that began before the fault.
        let begun = fields.iter().take_while(|start| **start <= offset && **start < bytes.len()).count();
        let path = begun.checked_sub(1).and_then(|index| MESSAGE.get(index)).copied();
        let path = if well_formed.is_ok() { "end of message" } else { path.unwrap_or("message") };
        return Some(ContentFault { path: path.to_owned(), offset, error });
    }
    let at = |name: &str| {
        let index = MESSAGE.iter().position(|field| *field == name)?;
        (fields.len() == MESSAGE.len()).then(|| fields.get(index).copied()).flatten()
    };
    let name = match &error {
        ContentError::Field("message") | ContentError::TooLong => "message",
        // The body is read last: a fault of an earlier field has that field's name.
        ContentError::Field(name) if MESSAGE.contains(name) && *name != "expires" => name,
        ContentError::Field("expires") if !expires_is_well(bytes, &fields) => "expires",
        ContentError::Field("senderUri or roomUri") | ContentError::Cbor(_) => "extensions",
        ContentError::Field(_) | ContentError::Parts | ContentError::Origin(_) => "body",
    };
    match (name, at(name)) {
        ("body", Some(offset)) => Some(in_part(bytes, offset, "body".to_owned(), MAX_PART_DEPTH, error)),
        (_, offset) => Some(ContentFault { path: name.to_owned(), offset: offset.unwrap_or_default(), error }),
    }
}

/// The message has a field `expires`, and so has an external part.
fn expires_is_well(bytes: &[u8], fields: &[usize]) -> bool {
    let [_, _, _, expires, reply, ..] = fields else { return false };
    match bytes.get(*expires..*reply) {
        Some([0xf6]) => true,
        Some([0x82, 0xf4 | 0xf5, major, ..]) => major >> 5 == 0,
        _ => false,
    }
}

/// Where the items of the array at `offset` start; none if there is no array.
fn items(bytes: &[u8], offset: usize) -> Vec<usize> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let mut scanner = Scanner::new(rest);
    let mut starts = Vec::new();
    if let Ok(Some(count)) = scanner.array() {
        for _ in 0..count {
            starts.push(offset + rest.len() - scanner.left());
            if scanner.item(MAX_CBOR_DEPTH).is_err() {
                break;
            }
        }
    }
    starts
}

/// The item at `offset` as bytes.
fn item(bytes: &[u8], offset: usize) -> &[u8] {
    let rest = bytes.get(offset..).unwrap_or_default();
    let mut scanner = Scanner::new(rest);
    let _ = scanner.item(MAX_CBOR_DEPTH);
    rest.get(..rest.len() - scanner.left()).unwrap_or_default()
}

/// The fault of a part that is known to have one.
fn in_part(bytes: &[u8], offset: usize, path: String, depth: usize, error: ContentError) -> ContentFault {
    let fields = items(bytes, offset);
    let cardinality = fields.get(2).and_then(|start| bytes.get(*start)).copied();
    if let (Some(3), Some(parts), Some(inner)) = (cardinality, fields.get(4), depth.checked_sub(1)) {
        for (index, start) in items(bytes, *parts).into_iter().enumerate() {
            let read = cbor::parse(item(bytes, start), MAX_CBOR_DEPTH)
                .map_err(ContentError::from)
                .and_then(|value| decode_part(value, inner, &mut { MAX_BODY_PARTS }));
            if let Err(error) = read {
                return in_part(bytes, start, format!("{path}.parts[{index}]"), inner, error);
            }
        }
    }
    let names: &[&str] = match cardinality {
        Some(2) => &EXTERNAL,
        Some(3) => &MULTI,
        _ => &SINGLE,
    };
    let field = match &error {
        ContentError::Field(name) => names.iter().position(|field| field == name),
        _ => None,
    };
    let start = field.and_then(|index| fields.get(index)).copied();
    match (field.and_then(|index| names.get(index)), start) {
        (Some(name), start) => {
            let offset = start.unwrap_or_else(|| offset + item(bytes, offset).len());
            ContentFault { path: format!("{path}.{name}"), offset, error }
        }
        (None, _) => ContentFault { path, offset, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hex_text: &str) -> (String, usize) {
        let found = fault(&hex::decode(hex_text.replace(' ', "")).unwrap()).unwrap();
        (found.path, found.offset)
    }

    const HEAD: &str = "87 5007070707070707070707070707070707 f6 40 f6 f6 a0";

    #[test]
    fn every_fault_has_its_place() {
        assert_eq!(fault(&hex::decode(format!("{HEAD} 83016000").replace(' ', "")).unwrap()), None);
        let body = |part: &str| told(&format!("{HEAD} {part}"));
        assert_eq!(body("84 01 60 01 60"), ("body.content".to_owned(), 28));
        assert_eq!(body("83 190100 60 00"), ("body.disposition".to_owned(), 24));
        assert_eq!(body("85 01 60 01 07 40"), ("body.contentType".to_owned(), 27));
        let nested = "85 01 60 03 02 82 83016000 85 01 60 01 60 07";
        assert_eq!(body(nested), ("body.parts[1].content".to_owned(), 38));
        assert_eq!(body("85 01 60 03 00 81 83016000"), ("body.parts".to_owned(), 28));
        assert_eq!(body("83 01 60 00 00"), ("end of message".to_owned(), 27));
        assert_eq!(body("83 01 61"), ("body".to_owned(), 24));
        assert_eq!(told("87 41 07 f6 40 f6 f6 a0 83016000"), ("salt".to_owned(), 1));
        let expires = |value: &str| format!("87 5007070707070707070707070707070707 f6 40 {value} f6 a0 83016000");
        assert_eq!(told(&expires("82f440")), ("expires".to_owned(), 20));
        assert_eq!(told(&expires("f6").replace("a0", "a10107")), ("extensions".to_owned(), 22));
        assert_eq!(told("87 41"), ("salt".to_owned(), 1));
        assert_eq!(told("00"), ("message".to_owned(), 0));
        assert_eq!(told(""), ("message".to_owned(), 0));
    }
}
