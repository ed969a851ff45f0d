//! How a value lies in an embedded engine: the bytes, then four bytes CRC-32 over key and value, so that damage on disk
//! shows as damage and never as another value.

use super::error::StoreError;

const CHECK_BYTES: usize = 4;

fn check(key: &[u8], value: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// The value as it is stored.
pub(super) fn frame(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(value.len() + CHECK_BYTES);
    record.extend_from_slice(value);
    record.extend(check(key, value));
    record
}

/// The value of a stored record, or [`StoreError::Corrupt`] naming the key.
pub(super) fn unframe<'a>(key: &[u8], record: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match record.split_last_chunk() {
        Some((value, stored)) if *stored == check(key, value) => Ok(value),
        _ => Err(StoreError::Corrupt(format!("the value of {} fails its checksum", key.escape_ascii()))),
    }
}
