//! What the components' codecs share: whole components, bounded lists, and why bytes are refused. The TLS syntax itself is
//! [`wire::codec`](crate::wire::codec)'s.

use crate::wire::{
    DecodeError, DecodeErrorKind,
    codec::{MAX_VECTOR, Reader, Writer},
};

/// Why a component is not what it should be. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Received bytes that are not the component.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A value that cannot be written, or that nobody would accept.
    #[error("{0} cannot be written: too long, or not text")]
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
