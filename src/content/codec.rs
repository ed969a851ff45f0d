//! Encoding and decoding of MIMI content (draft-ietf-mimi-content-08 sections 4 and 5).

use std::collections::BTreeMap;

use ciborium::Value;

use super::{
    cbor::{self, CborError},
    id::MessageId,
    types::{Body, Disposition, Expiration, ExtensionKey, ExternalPart, MimiContent, NestedPart, PartSemantics},
};

/// Longest encoded message, in bytes, in either direction. Local policy.
pub const MAX_CONTENT_LEN: usize = 64 * 1024;
/// Most levels of parts within each other; the root is level 1 (section 5.3).
pub const MAX_PART_DEPTH: usize = 4;
/// Most body parts (section 8.2 of the draft).
pub const MAX_BODY_PARTS: usize = 1024;
/// Longest topic id, in bytes (section 8.2 of the draft).
pub const MAX_TOPIC_LEN: usize = 4096;
/// Most levels within the extensions map, which is level 1 (section 5.3).
const MAX_EXTENSION_DEPTH: usize = 4;
/// The message's array, and two arrays for each level of parts.
pub(super) const MAX_CBOR_DEPTH: usize = 1 + 2 * MAX_PART_DEPTH;

/// Why a message cannot be read or written. Permanent: the same message never becomes valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Longer than [`MAX_CONTENT_LEN`].
    #[error("longer than {MAX_CONTENT_LEN} bytes")]
    TooLong,
    /// Not CBOR as MIMI content wants it.
    #[error("CBOR: {0}")]
    Cbor(#[from] CborError),
    /// A field has another type or value than the draft says.
    #[error("field {0}: not what the draft says")]
    Field(&'static str),
    /// Parts nested more than [`MAX_PART_DEPTH`] deep, or more than [`MAX_BODY_PARTS`].
    #[error("too many parts, or nested too deeply")]
    Parts,
    /// The message names another sender or room than it came from.
    #[error("the message names another {0} than it came from")]
    Origin(&'static str),
}

type Result<T> = std::result::Result<T, ContentError>;

impl MimiContent {
    /// Reads a message. Keys may come in any order (the id is taken over the received bytes); everything else that the draft
    /// demands is demanded.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_CONTENT_LEN {
            return Err(ContentError::TooLong);
        }
        let Value::Array(fields) = cbor::parse(bytes, MAX_CBOR_DEPTH)? else {
            return Err(ContentError::Field("message"));
        };
        let [salt, replaces, topic_id, expires, in_reply_to, extensions, body]: [Value; 7] =
            fields.try_into().map_err(|_| ContentError::Field("message"))?;
        let topic_id = bytes_of(topic_id, "topicId")?;
        if topic_id.len() > MAX_TOPIC_LEN {
            return Err(ContentError::Field("topicId"));
        }
        let mut parts_left = MAX_BODY_PARTS;
        Ok(Self {
            salt: bytes_of(salt, "salt")?.try_into().map_err(|_| ContentError::Field("salt"))?,
            replaces: reference(replaces, "replaces")?,
            topic_id,
            expires: expiration(expires)?,
            in_reply_to: reference(in_reply_to, "inReplyTo")?,
            extensions: decode_extensions(&extensions)?,
            body: decode_part(body, MAX_PART_DEPTH, &mut parts_left)?,
        })
    }

    /// Writes a message in the deterministic form.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.topic_id.len() > MAX_TOPIC_LEN {
            return Err(ContentError::Field("topicId"));
        }
        let reference = |id: Option<MessageId>| id.map_or(Value::Null, |id| Value::Bytes(id.0.to_vec()));
        let expires = match self.expires {
            None => Value::Null,
            Some(Expiration::AfterReading(time)) => Value::Array(vec![Value::Bool(true), uint(time)]),
            Some(Expiration::At(time)) => Value::Array(vec![Value::Bool(false), uint(time)]),
        };
        let mut parts_left = MAX_BODY_PARTS;
        let bytes = cbor::write(&Value::Array(vec![
            Value::Bytes(self.salt.to_vec()),
            reference(self.replaces),
            Value::Bytes(self.topic_id.clone()),
            expires,
            reference(self.in_reply_to),
            encode_extensions(&self.extensions)?,
            encode_part(&self.body, MAX_PART_DEPTH, &mut parts_left)?,
        ]))?;
        if bytes.len() > MAX_CONTENT_LEN { Err(ContentError::TooLong) } else { Ok(bytes) }
    }
}

// ------------------------------------------------------------------------------------------------------- decoding

fn bytes_of(value: Value, field: &'static str) -> Result<Vec<u8>> {
    value.into_bytes().map_err(|_| ContentError::Field(field))
}

fn text_of(value: Value, field: &'static str) -> Result<String> {
    value.into_text().map_err(|_| ContentError::Field(field))
}

fn int_of<T: TryFrom<i128>>(value: &Value, field: &'static str) -> Result<T> {
    value.as_integer().and_then(|int| T::try_from(i128::from(int)).ok()).ok_or(ContentError::Field(field))
}

fn reference(value: Value, field: &'static str) -> Result<Option<MessageId>> {
    if value.is_null() {
        return Ok(None);
    }
    let id = bytes_of(value, field)?.try_into().map_err(|_| ContentError::Field(field))?;
    Ok(Some(MessageId(id)))
}

fn expiration(value: Value) -> Result<Option<Expiration>> {
    match value {
        Value::Null => Ok(None),
        Value::Array(items) => match items.as_slice() {
            [Value::Bool(true), time] => Ok(Some(Expiration::AfterReading(int_of(time, "expires")?))),
            [Value::Bool(false), time] => Ok(Some(Expiration::At(int_of(time, "expires")?))),
            _ => Err(ContentError::Field("expires")),
        },
        _ => Err(ContentError::Field("expires")),
    }
}

fn decode_extensions(value: &Value) -> Result<BTreeMap<ExtensionKey, Value>> {
    let Value::Map(entries) = cbor::canonical(value, MAX_EXTENSION_DEPTH)? else {
        return Err(ContentError::Field("extensions"));
    };
    let mut extensions = BTreeMap::new();
    for (key, value) in entries {
        let key = match key {
            Value::Integer(int) => ExtensionKey::Int(i64::try_from(int).map_err(|_| CborError::Key)?),
            Value::Text(name) => ExtensionKey::Text(name),
            _ => return Err(CborError::Key.into()),
        };
        check_extension(&key, &value)?;
        extensions.insert(key, value);
    }
    Ok(extensions)
}

fn check_extension(key: &ExtensionKey, value: &Value) -> Result<()> {
    match key {
        ExtensionKey::Int(1 | 2) if !value.is_text() => Err(ContentError::Field("senderUri or roomUri")),
        ExtensionKey::Int(int) if int.unsigned_abs() > cbor::MAX_KEY_INT.unsigned_abs() => Err(CborError::Key.into()),
        ExtensionKey::Text(name) if !(1..=255).contains(&name.len()) => Err(CborError::Key.into()),
        _ => Ok(()),
    }
}

pub(super) fn decode_part(value: Value, depth: usize, parts_left: &mut usize) -> Result<NestedPart> {
    let inner = depth.checked_sub(1).ok_or(ContentError::Parts)?;
    *parts_left = parts_left.checked_sub(1).ok_or(ContentError::Parts)?;
    let mut fields = value.into_array().map_err(|_| ContentError::Field("part"))?.into_iter();
    let mut next = |field| fields.next().ok_or(ContentError::Field(field));
    let disposition = Disposition::from(int_of::<u8>(&next("disposition")?, "disposition")?);
    let language = text_of(next("language")?, "language")?;
    let body = match int_of::<u8>(&next("cardinality")?, "cardinality")? {
        0 => Body::Null,
        1 => Body::Single {
            content_type: text_of(next("contentType")?, "contentType")?,
            content: bytes_of(next("content")?, "content")?,
        },
        2 => Body::External(Box::new(ExternalPart {
            content_type: text_of(next("contentType")?, "contentType")?,
            url: text_of(next("url")?, "url")?,
            expires: int_of(&next("expires")?, "expires")?,
            size: int_of(&next("size")?, "size")?,
            enc_alg: int_of(&next("encAlg")?, "encAlg")?,
            key: bytes_of(next("key")?, "key")?,
            nonce: bytes_of(next("nonce")?, "nonce")?,
            aad: bytes_of(next("aad")?, "aad")?,
            hash_alg: int_of(&next("hashAlg")?, "hashAlg")?,
            content_hash: bytes_of(next("contentHash")?, "contentHash")?,
            description: text_of(next("description")?, "description")?,
            filename: text_of(next("filename")?, "filename")?,
        })),
        3 => {
            let semantics = match int_of::<u8>(&next("partSemantics")?, "partSemantics")? {
                0 => PartSemantics::ChooseOne,
                1 => PartSemantics::SingleUnit,
                2 => PartSemantics::ProcessAll,
                _ => return Err(ContentError::Field("partSemantics")),
            };
            let parts = next("parts")?.into_array().map_err(|_| ContentError::Field("parts"))?;
            if parts.len() < 2 {
                return Err(ContentError::Field("parts"));
            }
            let parts = parts.into_iter().map(|part| decode_part(part, inner, parts_left)).collect::<Result<_>>()?;
            Body::Multi { semantics, parts }
        }
        _ => return Err(ContentError::Field("cardinality")),
    };
    if fields.next().is_some() {
        return Err(ContentError::Field("part"));
    }
    Ok(NestedPart { disposition, language, body })
}

// ------------------------------------------------------------------------------------------------------- encoding

fn uint(value: impl Into<u64>) -> Value {
    Value::Integer(value.into().into())
}

fn encode_extensions(extensions: &BTreeMap<ExtensionKey, Value>) -> Result<Value> {
    let mut entries = Vec::with_capacity(extensions.len());
    for (key, value) in extensions {
        check_extension(key, value)?;
        let key = match key {
            ExtensionKey::Int(int) => Value::Integer((*int).into()),
            ExtensionKey::Text(name) => Value::Text(name.clone()),
        };
        entries.push((key, value.clone()));
    }
    Ok(cbor::canonical(&Value::Map(entries), MAX_EXTENSION_DEPTH)?)
}

fn encode_part(part: &NestedPart, depth: usize, parts_left: &mut usize) -> Result<Value> {
    let inner = depth.checked_sub(1).ok_or(ContentError::Parts)?;
    *parts_left = parts_left.checked_sub(1).ok_or(ContentError::Parts)?;
    let text = |text: &String| Value::Text(text.clone());
    let bytes = |bytes: &Vec<u8>| Value::Bytes(bytes.clone());
    let mut fields = vec![uint(part.disposition.code()), text(&part.language)];
    match &part.body {
        Body::Null => fields.push(uint(0_u8)),
        Body::Single { content_type, content } => fields.extend([uint(1_u8), text(content_type), bytes(content)]),
        Body::External(external) => fields.extend([
            uint(2_u8),
            text(&external.content_type),
            text(&external.url),
            uint(external.expires),
            uint(external.size),
            uint(external.enc_alg),
            bytes(&external.key),
            bytes(&external.nonce),
            bytes(&external.aad),
            uint(external.hash_alg),
            bytes(&external.content_hash),
            text(&external.description),
            text(&external.filename),
        ]),
        Body::Multi { semantics, parts } => {
            if parts.len() < 2 {
                return Err(ContentError::Field("parts"));
            }
            let semantics = match semantics {
                PartSemantics::ChooseOne => 0_u8,
                PartSemantics::SingleUnit => 1,
                PartSemantics::ProcessAll => 2,
            };
            let parts = parts.iter().map(|part| encode_part(part, inner, parts_left)).collect::<Result<_>>()?;
            fields.extend([uint(3_u8), uint(semantics), Value::Array(parts)]);
        }
    }
    Ok(Value::Array(fields))
}
