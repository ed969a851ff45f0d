//! Encoding and decoding of MIMI content (draft-ietf-mimi-content-08 sections 4 and 5).

use std::collections::BTreeMap;

use super::{
    cbor::{self, CborError, Head, Reader},
    extensions::ExtensionKey,
    external::ExternalPart,
    fault::{self, ContentError, ContentFault, Fields, Read, Wrong},
    id::MessageId,
    types::{Body, Disposition, Expiration, MimiContent, NestedPart, PartSemantics},
    value::{self, CborValue},
};

/// Longest message that is written, in bytes. Local policy.
pub const MAX_CONTENT_LEN: usize = 64 * 1024;
/// Longest message that is read, in bytes: small pictures may lie within it. Local policy.
pub const MAX_RECEIVED_LEN: usize = 256 * 1024;
/// Most levels of parts within each other; the root is level 1 (section 5.3).
pub const MAX_PART_DEPTH: usize = 4;
/// Most body parts (section 8.2 of the draft).
pub const MAX_BODY_PARTS: usize = 1024;
/// Longest topic id, in bytes (section 8.2 of the draft).
pub const MAX_TOPIC_LEN: usize = 4096;
/// Most levels within the extensions map, which is level 1 (section 5.3).
const MAX_EXTENSION_DEPTH: usize = 4;

impl MimiContent {
    /// Reads a message. Map keys may come in any order (the id is taken over the received bytes, and some libraries cannot
    /// sort; see [`is_deterministic`]); everything else that the draft demands is demanded.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentFault> {
        if bytes.len() > MAX_RECEIVED_LEN {
            return Err(ContentFault::at("message", 0, ContentError::TooLong));
        }
        let mut reader = Reader::new(bytes);
        let content = decode_message(&mut reader)?;
        if reader.is_at_end() {
            Ok(content)
        } else {
            Err(ContentFault::at("end of message", reader.position(), CborError::Trailing))
        }
    }

    /// Writes a message in the deterministic form. What it writes can be read.
    pub fn encode(&self) -> Result<Vec<u8>, ContentError> {
        let mut out = Vec::with_capacity(512);
        cbor::write_head(&mut out, cbor::ARRAY, 7);
        cbor::write_bytes(&mut out, &self.salt);
        write_reference(&mut out, self.replaces, "replaces")?;
        if self.topic_id.len() > MAX_TOPIC_LEN {
            return Err(ContentError::Field("topicId"));
        }
        cbor::write_bytes(&mut out, &self.topic_id);
        match self.expires {
            None => cbor::write_head(&mut out, cbor::SIMPLE, cbor::NULL),
            Some(expires) => {
                let (relative, time) = match expires {
                    Expiration::AfterReading(time) => (cbor::TRUE, time),
                    Expiration::At(time) => (cbor::FALSE, time),
                };
                cbor::write_head(&mut out, cbor::ARRAY, 2);
                cbor::write_head(&mut out, cbor::SIMPLE, relative);
                cbor::write_head(&mut out, cbor::UNSIGNED, time.into());
            }
        }
        write_reference(&mut out, self.in_reply_to, "inReplyTo")?;
        write_extensions(&mut out, &self.extensions)?;
        write_part(&mut out, &self.body, MAX_PART_DEPTH, &mut { MAX_BODY_PARTS })?;
        if out.len() > MAX_CONTENT_LEN { Err(ContentError::TooLong) } else { Ok(out) }
    }
}

/// Whether these bytes are a message as the draft wants it sent: written again, it is the same bytes.
#[must_use]
pub fn is_deterministic(bytes: &[u8]) -> bool {
    MimiContent::decode(bytes).is_ok_and(|content| content.encode().is_ok_and(|again| again == bytes))
}

// ------------------------------------------------------------------------------------------------------- decoding

fn decode_message(reader: &mut Reader<'_>) -> Result<MimiContent, ContentFault> {
    let mut fields = Fields::open(reader, "message")?;
    let salt = fields.next(reader, "salt", fault::array)?;
    let replaces = fields.next(reader, "replaces", reference)?;
    let topic_id = fields.next(reader, "topicId", topic)?;
    let expires = fields.next(reader, "expires", expiration)?;
    let in_reply_to = fields.next(reader, "inReplyTo", reference)?;
    fields.step(reader, "extensions")?;
    let extensions = decode_extensions(reader).map_err(|fault| fault.within("extensions"))?;
    fields.step(reader, "body")?;
    let body = decode_part(reader, MAX_PART_DEPTH, &mut { MAX_BODY_PARTS }).map_err(|fault| fault.within("body"))?;
    fields.close(reader, "message").map_err(|fault| fault.within("message"))?;
    Ok(MimiContent { salt, replaces, topic_id, expires, in_reply_to, extensions, body })
}

/// A message id, or null. One of an unknown hash algorithm is refused (section 8.2 of the draft).
fn reference(reader: &mut Reader<'_>) -> Read<Option<MessageId>> {
    match reader.head()? {
        Head { major: cbor::SIMPLE, info: 22, .. } => Ok(None),
        Head { major: cbor::BYTES, argument, .. } => {
            let id = MessageId(reader.bytes(argument)?.try_into().map_err(|_| Wrong::Value)?);
            if id.is_sha256() { Ok(Some(id)) } else { Err(Wrong::Value) }
        }
        _ => Err(Wrong::Value),
    }
}

fn topic(reader: &mut Reader<'_>) -> Read<Vec<u8>> {
    let topic = fault::bytes(reader)?;
    if topic.len() > MAX_TOPIC_LEN { Err(Wrong::Value) } else { Ok(topic.to_vec()) }
}

fn expiration(reader: &mut Reader<'_>) -> Read<Option<Expiration>> {
    match reader.head()? {
        Head { major: cbor::SIMPLE, info: 22, .. } => Ok(None),
        Head { major: cbor::ARRAY, argument: 2, .. } => {
            let relative = match reader.head()? {
                Head { major: cbor::SIMPLE, info: 20, .. } => false,
                Head { major: cbor::SIMPLE, info: 21, .. } => true,
                _ => return Err(Wrong::Value),
            };
            let time = fault::uint(reader)?;
            Ok(Some(if relative { Expiration::AfterReading(time) } else { Expiration::At(time) }))
        }
        _ => Err(Wrong::Value),
    }
}

fn decode_extensions(reader: &mut Reader<'_>) -> Result<BTreeMap<ExtensionKey, CborValue>, ContentFault> {
    let start = reader.position();
    let here = |reader: &Reader<'_>, error: CborError| ContentFault::at("", reader.position(), error);
    let head = reader.head().map_err(|error| here(reader, error))?;
    if head.major != cbor::MAP {
        return Err(ContentFault::at("", start, ContentError::Field("extensions")));
    }
    let count = reader.count(head.argument, 2).map_err(|error| here(reader, error))?;
    let mut extensions = BTreeMap::new();
    for _ in 0..count {
        let at = reader.position();
        let key = decode_key(reader).map_err(|error| ContentFault::at("", at, error))?;
        let start = reader.position();
        let value = value::read(reader, MAX_EXTENSION_DEPTH - 1)
            .map_err(|error| ContentFault::at(key.to_string(), reader.position(), error))?;
        check_extension(&key, &value).map_err(|error| ContentFault::at(key.to_string(), start, error))?;
        if extensions.contains_key(&key) {
            return Err(ContentFault::at(key.to_string(), at, CborError::DuplicateKey));
        }
        extensions.insert(key, value);
    }
    Ok(extensions)
}

fn decode_key(reader: &mut Reader<'_>) -> Result<ExtensionKey, CborError> {
    let Head { major, argument, .. } = reader.head()?;
    let key = match major {
        cbor::UNSIGNED => ExtensionKey::Int(i64::try_from(argument).map_err(|_| CborError::Key)?),
        cbor::NEGATIVE => ExtensionKey::Int(-1 - i64::try_from(argument).map_err(|_| CborError::Key)?),
        cbor::TEXT => ExtensionKey::Text(reader.text(argument)?.to_owned()),
        _ => return Err(CborError::Key),
    };
    key.check()?;
    Ok(key)
}

/// What a registered extension has to be. Extensions of other drafts are not looked at: who wants them uses their methods,
/// which answer `None` for what is not as it should be.
fn check_extension(key: &ExtensionKey, value: &CborValue) -> Result<(), ContentError> {
    match key {
        ExtensionKey::Int(1) if value.as_text().is_none() => Err(ContentError::Field("senderUri")),
        ExtensionKey::Int(2) if value.as_text().is_none() => Err(ContentError::Field("roomUri")),
        _ => Ok(()),
    }
}

fn decode_part(reader: &mut Reader<'_>, depth: usize, parts_left: &mut usize) -> Result<NestedPart, ContentFault> {
    let start = reader.position();
    let too_many = || ContentFault::at("", start, ContentError::Parts);
    let inner = depth.checked_sub(1).ok_or_else(too_many)?;
    *parts_left = parts_left.checked_sub(1).ok_or_else(too_many)?;
    let mut fields = Fields::open(reader, "part").map_err(|mut fault| {
        fault.path.clear();
        fault
    })?;
    let disposition = Disposition::from(fields.next(reader, "disposition", fault::uint::<u8>)?);
    let language = fields.next(reader, "language", fault::text)?;
    let cardinality = fields.next(reader, "cardinality", |reader| match fault::uint::<u8>(reader)? {
        cardinality @ 0..=3 => Ok(cardinality),
        _ => Err(Wrong::Value),
    })?;
    let body = match cardinality {
        0 => Body::Null,
        1 => Body::Single {
            content_type: fields.next(reader, "contentType", fault::text)?,
            content: fields.next(reader, "content", fault::bytes)?.to_vec(),
        },
        2 => Body::External(Box::new(decode_external(reader, &mut fields)?)),
        _ => {
            let semantics = fields.next(reader, "partSemantics", |reader| match fault::uint::<u8>(reader)? {
                0 => Ok(PartSemantics::ChooseOne),
                1 => Ok(PartSemantics::SingleUnit),
                2 => Ok(PartSemantics::ProcessAll),
                _ => Err(Wrong::Value),
            })?;
            let count = fields.next(reader, "parts", |reader| match reader.head()? {
                Head { major: cbor::ARRAY, argument, .. } if argument >= 2 => Ok(reader.count(argument, 1)?),
                _ => Err(Wrong::Value),
            })?;
            if count > *parts_left {
                return Err(too_many());
            }
            let mut parts = Vec::with_capacity(count);
            for index in 0..count {
                let part = decode_part(reader, inner, parts_left);
                parts.push(part.map_err(|fault| fault.within(&format!("parts[{index}]")))?);
            }
            Body::Multi { semantics, parts }
        }
    };
    fields.close(reader, "part")?;
    Ok(NestedPart { disposition, language, body })
}

fn decode_external(reader: &mut Reader<'_>, fields: &mut Fields) -> Result<ExternalPart, ContentFault> {
    Ok(ExternalPart {
        content_type: fields.next(reader, "contentType", fault::text)?,
        url: fields.next(reader, "url", fault::text)?,
        expires: fields.next(reader, "expires", fault::uint)?,
        size: fields.next(reader, "size", fault::uint)?,
        enc_alg: fields.next(reader, "encAlg", fault::uint)?,
        key: fields.next(reader, "key", fault::bytes)?.to_vec(),
        nonce: fields.next(reader, "nonce", fault::bytes)?.to_vec(),
        aad: fields.next(reader, "aad", fault::bytes)?.to_vec(),
        hash_alg: fields.next(reader, "hashAlg", fault::uint)?,
        content_hash: fields.next(reader, "contentHash", fault::bytes)?.to_vec(),
        description: fields.next(reader, "description", fault::text)?,
        filename: fields.next(reader, "filename", fault::text)?,
    })
}

// ------------------------------------------------------------------------------------------------------- encoding

fn write_reference(out: &mut Vec<u8>, id: Option<MessageId>, field: &'static str) -> Result<(), ContentError> {
    match id {
        None => cbor::write_head(out, cbor::SIMPLE, cbor::NULL),
        Some(id) if id.is_sha256() => cbor::write_bytes(out, &id.0),
        Some(_) => return Err(ContentError::Field(field)),
    }
    Ok(())
}

fn write_extensions(out: &mut Vec<u8>, extensions: &BTreeMap<ExtensionKey, CborValue>) -> Result<(), ContentError> {
    cbor::write_head(out, cbor::MAP, extensions.len() as u64);
    // The map's own order is that of the keys' encodings.
    for (key, value) in extensions {
        key.check()?;
        check_extension(key, value)?;
        match key {
            ExtensionKey::Int(int) => value::write(out, &CborValue::Integer((*int).into()), 0)?,
            ExtensionKey::Text(name) => cbor::write_text(out, name),
        }
        value::write(out, value, MAX_EXTENSION_DEPTH - 1)?;
    }
    Ok(())
}

fn write_part(out: &mut Vec<u8>, part: &NestedPart, depth: usize, parts_left: &mut usize) -> Result<(), ContentError> {
    let inner = depth.checked_sub(1).ok_or(ContentError::Parts)?;
    *parts_left = parts_left.checked_sub(1).ok_or(ContentError::Parts)?;
    let (fields, cardinality) = match &part.body {
        Body::Null => (3, 0),
        Body::Single { .. } => (5, 1),
        Body::External(_) => (15, 2),
        Body::Multi { .. } => (5, 3),
    };
    cbor::write_head(out, cbor::ARRAY, fields);
    cbor::write_head(out, cbor::UNSIGNED, part.disposition.code().into());
    cbor::write_text(out, &part.language);
    cbor::write_head(out, cbor::UNSIGNED, cardinality);
    match &part.body {
        Body::Null => {}
        Body::Single { content_type, content } => {
            cbor::write_text(out, content_type);
            cbor::write_bytes(out, content);
        }
        Body::External(external) => write_external(out, external),
        Body::Multi { semantics, parts } => {
            if parts.len() < 2 {
                return Err(ContentError::Field("parts"));
            }
            let semantics = match semantics {
                PartSemantics::ChooseOne => 0,
                PartSemantics::SingleUnit => 1,
                PartSemantics::ProcessAll => 2,
            };
            cbor::write_head(out, cbor::UNSIGNED, semantics);
            cbor::write_head(out, cbor::ARRAY, parts.len() as u64);
            parts.iter().try_for_each(|part| write_part(out, part, inner, parts_left))?;
        }
    }
    Ok(())
}

fn write_external(out: &mut Vec<u8>, external: &ExternalPart) {
    cbor::write_text(out, &external.content_type);
    cbor::write_text(out, &external.url);
    cbor::write_head(out, cbor::UNSIGNED, external.expires.into());
    cbor::write_head(out, cbor::UNSIGNED, external.size);
    cbor::write_head(out, cbor::UNSIGNED, external.enc_alg.into());
    for bytes in [&external.key, &external.nonce, &external.aad] {
        cbor::write_bytes(out, bytes);
    }
    cbor::write_head(out, cbor::UNSIGNED, external.hash_alg.into());
    cbor::write_bytes(out, &external.content_hash);
    cbor::write_text(out, &external.description);
    cbor::write_text(out, &external.filename);
}
