//! Bounds for CBOR from outside, and the deterministic form (RFC 8949 section 4.2.1; draft-ietf-mimi-content-08 section 5).
//!
//! `scan` walks the bytes once, allocating nothing and never deeper than its bound, before anything is built from them.

use ciborium::Value;

/// Why bytes are not acceptable CBOR. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Ends within an item.
    #[error("ends within an item")]
    Truncated,
    /// More bytes after the item.
    #[error("bytes after the item")]
    Trailing,
    /// Indefinite length, or a reserved additional value.
    #[error("indefinite length or reserved value")]
    Indefinite,
    /// Nested more deeply than allowed.
    #[error("nested too deeply")]
    Depth,
    /// A text string that is not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
    /// A map with the same key twice.
    #[error("the same map key twice")]
    DuplicateKey,
    /// A map key of a kind or size that MIMI content does not allow.
    #[error("a map key that is not allowed")]
    Key,
    /// Not well-formed.
    #[error("not well-formed")]
    Malformed,
}

/// Walks over items and allocates nothing.
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// Begins at the front of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the head of an array and answers how many items it has; `None` if there is something else.
    pub(super) fn array(&mut self) -> Result<Option<u64>, CborError> {
        match self.head()? {
            (4, _, count) => Ok(Some(count)),
            _ => Ok(None),
        }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], CborError> {
        let count = usize::try_from(count).map_err(|_| CborError::Truncated)?;
        let (head, rest) = self.rest.split_at_checked(count).ok_or(CborError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// Major type, additional information, argument.
    fn head(&mut self) -> Result<(u8, u8, u64), CborError> {
        let initial = self.take(1)?.first().copied().ok_or(CborError::Truncated)?;
        let (major, info) = (initial >> 5, initial & 0x1f);
        let value = match info {
            0..=23 => u64::from(info),
            24..=27 => self.take(1 << (info - 24))?.iter().fold(0, |acc, byte| (acc << 8) | u64::from(*byte)),
            _ => return Err(CborError::Indefinite),
        };
        Ok((major, info, value))
    }

    /// Moves behind one item.
    pub(super) fn item(&mut self, depth: usize) -> Result<(), CborError> {
        let (major, info, value) = self.head()?;
        let children = match major {
            2 => return self.take(value).map(|_| ()),
            3 => return std::str::from_utf8(self.take(value)?).map(|_| ()).map_err(|_| CborError::Utf8),
            4 => value,
            5 => value.checked_mul(2).ok_or(CborError::Truncated)?,
            6 => 1,
            // A simple value below 32 has no two-byte form.
            7 if info == 24 && value < 32 => return Err(CborError::Malformed),
            _ => return Ok(()),
        };
        // Every child takes a byte at least.
        if children > self.rest.len() as u64 {
            return Err(CborError::Truncated);
        }
        let inner = depth.checked_sub(1).ok_or(CborError::Depth)?;
        (0..children).try_for_each(|_| self.item(inner))
    }
}

/// Checks that `bytes` are exactly one well-formed item of definite lengths with at most `max_depth` arrays, maps and tags
/// around each other.
pub(super) fn scan(bytes: &[u8], max_depth: usize) -> Result<(), CborError> {
    let mut scanner = Scanner::new(bytes);
    scanner.item(max_depth)?;
    if scanner.rest.is_empty() { Ok(()) } else { Err(CborError::Trailing) }
}

/// Reads exactly one item, after [`scan`].
pub(super) fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, CborError> {
    scan(bytes, max_depth)?;
    ciborium::de::from_reader_with_recursion_limit(bytes, max_depth + 4).map_err(|_| CborError::Malformed)
}

/// Writes an item. Maps must have been sorted before (see [`canonical`]).
pub(super) fn write(value: &Value) -> Result<Vec<u8>, CborError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| CborError::Malformed)?;
    Ok(bytes)
}

/// The largest integer that a key may be (section 5.2): 53 bits, so that a double holds it.
pub(super) const MAX_KEY_INT: i64 = (1 << 53) - 1;

fn key_allowed(key: &Value) -> bool {
    match key {
        Value::Integer(int) => i64::try_from(*int).is_ok_and(|int| (-MAX_KEY_INT..=MAX_KEY_INT).contains(&int)),
        Value::Text(_) | Value::Bytes(_) => true,
        _ => false,
    }
}

/// Sorts the maps of an extension's value by their keys' encodings, and refuses what the draft's data model forbids:
/// other keys than integers, text and byte strings, the same key twice, more than `depth` maps, arrays and tags around
/// each other.
pub(super) fn canonical(value: &Value, depth: usize) -> Result<Value, CborError> {
    let inner = || depth.checked_sub(1).ok_or(CborError::Depth);
    Ok(match value {
        Value::Array(items) => {
            let inner = inner()?;
            Value::Array(items.iter().map(|item| canonical(item, inner)).collect::<Result<_, _>>()?)
        }
        Value::Tag(tag, item) => Value::Tag(*tag, Box::new(canonical(item, inner()?)?)),
        Value::Map(entries) => {
            let inner = inner()?;
            let mut sorted = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                if !key_allowed(key) {
                    return Err(CborError::Key);
                }
                sorted.push((write(key)?, key.clone(), canonical(value, inner)?));
            }
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            if sorted.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
                return Err(CborError::DuplicateKey);
            }
            Value::Map(sorted.into_iter().map(|(_, key, value)| (key, value)).collect())
        }
        other => other.clone(),
    })
}
