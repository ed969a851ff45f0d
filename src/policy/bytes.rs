//! What the components' codecs share: whole components, bounded lists, and why bytes are refused. The TLS syntax itself is
//! [`wire::codec`](crate::wire::codec)'s.

use crate::{
    ident::MimiUri,
    wire::{
        DecodeError, DecodeErrorKind,
        codec::{MAX_VECTOR, Reader, Writer},
    },
};

/// Why a component is not what it should be. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Received bytes that are not the component.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A value that cannot be written, or that nobody would accept.
    #[error("{0} cannot be written: too long, not text, or not what the draft has")]
    Encode(&'static str),
}

pub(super) type Result<T> = std::result::Result<T, CodecError>;
pub(super) type Read<T> = std::result::Result<T, DecodeError>;

/// Reads the whole of `bytes` with `read`.
pub(super) fn all<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Read<T>) -> Result<T> {
    let mut reader = Reader::for_body(bytes)?;
    let value = read(&mut reader)?;
    reader.finish("end of component")?;
    Ok(value)
}

/// What `write` writes, unless it is longer than any vector.
pub(super) fn written(what: &'static str, write: impl FnOnce(&mut Writer)) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    write(&mut writer);
    let bytes = writer.into_bytes();
    if bytes.len() > MAX_VECTOR { Err(CodecError::Encode(what)) } else { Ok(bytes) }
}

pub(super) fn refused<T>(at: &Reader<'_>, field: &'static str, why: &'static str) -> Read<T> {
    Err(at.error(field, DecodeErrorKind::NotAllowed(why)))
}

/// A vector of at most `items` things; its bytes are bounded by the component's.
pub(super) fn list<'a, T>(
    reader: &mut Reader<'a>,
    field: &'static str,
    items: usize,
    read: impl FnMut(&mut Reader<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    reader.list(field, MAX_VECTOR, items, read)
}

pub(super) fn optional_u32(reader: &mut Reader<'_>, field: &'static str) -> Read<Option<u32>> {
    reader.optional(field, |r| r.u32(field))
}

/// `bytes`, if they are read as `value` again: what nobody would accept, or would lose something, is not written.
pub(super) fn checked<T: PartialEq>(
    what: &'static str,
    value: &T,
    bytes: Vec<u8>,
    decode: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Vec<u8>> {
    if decode(&bytes)? == *value { Ok(bytes) } else { Err(CodecError::Encode(what)) }
}

/// `Uri`: a scheme, and no byte that a URI may not hold. Empty only where `absent` may be.
pub(super) fn uri(reader: &mut Reader<'_>, field: &'static str, absent: bool) -> Read<String> {
    let at = reader.clone();
    let text = reader.utf8(field, MimiUri::MAX_LEN)?;
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    match text.as_str() {
        "" if absent => Ok(text),
        "" => refused(&at, field, "a URI is wanted"),
        _ if named && text.bytes().all(|b| b.is_ascii_graphic()) => Ok(text),
        _ => refused(&at, field, "not a URI"),
    }
}
