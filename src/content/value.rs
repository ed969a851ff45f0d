//! Any CBOR value, as extensions have it, within the data model of MIMI content (draft-ietf-mimi-content-08 sections 5.2
//! and 5.3): keys are integers of 53 bits, text or byte strings, each once, and depth is bounded.

use super::cbor::{self, CborError, Reader};

/// A CBOR value. Maps are kept in the order of their keys' encodings (RFC 8949 section 4.2.1); a map that was made in another
/// order is written in this one.
#[derive(Debug, Clone, PartialEq)]
pub enum CborValue {
    /// -2^64 to 2^64 - 1.
    Integer(i128),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A text string.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// A map.
    Map(Vec<(Self, Self)>),
    /// A tagged value.
    Tag(u64, Box<Self>),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
    /// Another simple value: 0 to 19, 23 (undefined), 32 to 255.
    Simple(u8),
    /// A floating-point number. All NaNs are the same.
    Float(f64),
}

/// The largest integer that a key may be (section 5.2): 53 bits, so that a double holds it.
pub(super) const MAX_KEY_INT: i128 = (1 << 53) - 1;
/// For how many items room is made at once, whatever a head says.
const FIRST_ROOM: usize = 8;
/// The tags of big integers.
const BIG: std::ops::RangeInclusive<u64> = 2..=3;

impl CborValue {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The bytes, if it is a byte string.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The number, if it is an integer.
    #[must_use]
    pub fn as_integer(&self) -> Option<i128> {
        if let Self::Integer(int) = self { Some(*int) } else { None }
    }

    /// The items, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The entries, if it is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// What a map has under an integer key.
    #[must_use]
    pub fn get(&self, key: i128) -> Option<&Self> {
        self.as_map()?.iter().find(|(found, _)| found.as_integer() == Some(key)).map(|(_, value)| value)
    }

    /// Whether it may be the key of a map (section 5.2).
    fn is_key(&self) -> bool {
        match self {
            Self::Integer(int) => (-MAX_KEY_INT..=MAX_KEY_INT).contains(int),
            Self::Text(_) | Self::Bytes(_) => true,
            _ => false,
        }
    }

    /// What is wrong with a big integer: one that fits 64 bits has to be an integer, others have no leading zeros.
    fn big_integer_fault(tag: u64, inner: &Self) -> Option<CborError> {
        match inner {
            _ if !BIG.contains(&tag) => None,
            Self::Bytes(bytes) if bytes.len() > 8 && bytes.first() != Some(&0) => None,
            Self::Bytes(_) => Some(CborError::NotShortest),
            _ => Some(CborError::Malformed),
        }
    }
}

impl From<&str> for CborValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for CborValue {
    fn from(int: u64) -> Self {
        Self::Integer(int.into())
    }
}

/// Reads one value with at most `depth` arrays, maps and tags around each other. It takes at most about 100 bytes
/// of memory for each byte read.
pub(super) fn read(reader: &mut Reader<'_>, depth: usize) -> Result<CborValue, CborError> {
    let head = reader.head()?;
    let inner = || depth.checked_sub(1).ok_or(CborError::Depth);
    Ok(match head.major {
        cbor::UNSIGNED => CborValue::Integer(head.argument.into()),
        cbor::NEGATIVE => CborValue::Integer(-1 - i128::from(head.argument)),
        cbor::BYTES => CborValue::Bytes(reader.bytes(head.argument)?.to_vec()),
        cbor::TEXT => CborValue::Text(reader.text(head.argument)?.to_owned()),
        cbor::ARRAY => {
            let (count, inner) = (reader.count(head.argument, 1)?, inner()?);
            let mut items = Vec::with_capacity(count.min(FIRST_ROOM));
            for _ in 0..count {
                items.push(read(reader, inner)?);
            }
            CborValue::Array(items)
        }
        cbor::MAP => CborValue::Map(read_map(reader, head.argument, inner()?)?),
        cbor::TAG => {
            let value = read(reader, inner()?)?;
            if let Some(fault) = CborValue::big_integer_fault(head.argument, &value) {
                return Err(fault);
            }
            CborValue::Tag(head.argument, Box::new(value))
        }
        _ => match (head.info, head.argument) {
            (25.., bits) => CborValue::Float(cbor::float(head.info, bits)),
            (_, cbor::FALSE) => CborValue::Bool(false),
            (_, cbor::TRUE) => CborValue::Bool(true),
            (_, cbor::NULL) => CborValue::Null,
            (_, value) => CborValue::Simple(u8::try_from(value).map_err(|_| CborError::Malformed)?),
        },
    })
}

/// The entries of a map, sorted. They may have come in any order: some libraries cannot sort, and the bytes are kept elsewhere.
fn read_map(reader: &mut Reader<'_>, count: u64, depth: usize) -> Result<Vec<(CborValue, CborValue)>, CborError> {
    let count = reader.count(count, 2)?;
    let mut entries = Vec::with_capacity(count.min(FIRST_ROOM));
    let (mut sorted, mut before): (bool, &[u8]) = (true, &[]);
    for _ in 0..count {
        let start = reader.position();
        let key = read(reader, 0).map_err(|fault| if fault == CborError::Depth { CborError::Key } else { fault })?;
        if !key.is_key() {
            return Err(CborError::Key);
        }
        let encoded = reader.since(start);
        // No key is encoded as nothing.
        sorted &= before < encoded;
        before = encoded;
        entries.push((key, read(reader, depth)?));
    }
    if sorted { Ok(entries) } else { sort(entries) }
}

/// Sorts by the keys' encodings, and refuses the same key twice.
fn sort(entries: Vec<(CborValue, CborValue)>) -> Result<Vec<(CborValue, CborValue)>, CborError> {
    let mut keyed = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut key = Vec::new();
        write(&mut key, &entry.0, 0)?;
        keyed.push((key, entry));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    if keyed.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(CborError::DuplicateKey);
    }
    Ok(keyed.into_iter().map(|(_, entry)| entry).collect())
}

/// Writes one value in the deterministic form, and refuses what [`read`] would refuse.
pub(super) fn write(out: &mut Vec<u8>, value: &CborValue, depth: usize) -> Result<(), CborError> {
    let inner = || depth.checked_sub(1).ok_or(CborError::Depth);
    match value {
        CborValue::Integer(int) => match (u64::try_from(*int), u64::try_from(-1 - *int)) {
            (Ok(int), _) => cbor::write_head(out, cbor::UNSIGNED, int),
            (_, Ok(int)) => cbor::write_head(out, cbor::NEGATIVE, int),
            _ => return Err(CborError::Malformed),
        },
        CborValue::Bytes(bytes) => cbor::write_bytes(out, bytes),
        CborValue::Text(text) => cbor::write_text(out, text),
        CborValue::Array(items) => {
            let inner = inner()?;
            cbor::write_head(out, cbor::ARRAY, items.len() as u64);
            items.iter().try_for_each(|item| write(out, item, inner))?;
        }
        CborValue::Map(entries) => write_map(out, entries, inner()?)?,
        CborValue::Tag(tag, item) => {
            if let Some(fault) = CborValue::big_integer_fault(*tag, item) {
                return Err(fault);
            }
            cbor::write_head(out, cbor::TAG, *tag);
            write(out, item, inner()?)?;
        }
        CborValue::Bool(value) => cbor::write_head(out, cbor::SIMPLE, if *value { cbor::TRUE } else { cbor::FALSE }),
        CborValue::Null => cbor::write_head(out, cbor::SIMPLE, cbor::NULL),
        CborValue::Simple(20..=22 | 24..=31) => return Err(CborError::Malformed),
        CborValue::Simple(value) => cbor::write_head(out, cbor::SIMPLE, u64::from(*value)),
        CborValue::Float(value) => cbor::write_float(out, *value),
    }
    Ok(())
}

fn write_map(out: &mut Vec<u8>, entries: &[(CborValue, CborValue)], depth: usize) -> Result<(), CborError> {
    let mut keyed = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        if !key.is_key() {
            return Err(CborError::Key);
        }
        let mut encoded = Vec::new();
        write(&mut encoded, key, 0)?;
        keyed.push((encoded, value));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    if keyed.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
        return Err(CborError::DuplicateKey);
    }
    cbor::write_head(out, cbor::MAP, keyed.len() as u64);
    for (key, value) in keyed {
        out.extend_from_slice(&key);
        write(out, value, depth)?;
    }
    Ok(())
}
