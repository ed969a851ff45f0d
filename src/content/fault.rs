//! Why content is refused: which field, at which byte, and what is wrong with it.

use super::cbor::{self, CborError, Head, Reader};

/// Why a message cannot be read or written. Permanent: the same message never becomes valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Longer than [`super::MAX_CONTENT_LEN`], which bounds what is written, and reports and derived values; or a message
    /// longer than [`super::MAX_RECEIVED_LEN`] on receipt.
    #[error("longer than what is carried")]
    TooLong,
    /// Not CBOR as MIMI content wants it.
    #[error("CBOR: {0}")]
    Cbor(#[from] CborError),
    /// A field has another type or value than the draft says, or is missing.
    #[error("field {0}: not what the draft says")]
    Field(&'static str),
    /// Parts nested more than four deep, or more than 1,024.
    #[error("too many parts, or nested too deeply")]
    Parts,
    /// The message names another sender or room than it came from.
    #[error("the message names another {0} than it came from")]
    Origin(&'static str),
}

/// A fault in received bytes. Permanent.
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

impl ContentFault {
    /// A fault at the field of this name.
    pub(super) fn at(path: impl Into<String>, offset: usize, error: impl Into<ContentError>) -> Self {
        Self { path: path.into(), offset, error: error.into() }
    }

    /// The same fault, seen from outside of `outer`.
    pub(super) fn within(mut self, outer: &str) -> Self {
        self.path = if self.path.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.path) };
        self
    }
}

/// What can be wrong with one value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wrong {
    /// No CBOR; the reader stands where that shows.
    Cbor(CborError),
    /// Another type or value.
    Value,
}

impl From<CborError> for Wrong {
    fn from(error: CborError) -> Self {
        Self::Cbor(error)
    }
}

/// One value, or what is wrong with it.
pub(super) type Read<T> = Result<T, Wrong>;

/// The items of an array that are read as named fields.
pub(super) struct Fields {
    left: u64,
}

impl Fields {
    /// Reads the head of the array `name`.
    pub(super) fn open(reader: &mut Reader<'_>, name: &'static str) -> Result<Self, ContentFault> {
        let left = one(reader, name, |reader| match reader.head()? {
            Head { major: cbor::ARRAY, argument, .. } => Ok(reader.count(argument, 1).map(|_| argument)?),
            _ => Err(Wrong::Value),
        })?;
        Ok(Self { left })
    }

    /// Reads the next field; it is an error if there is none.
    pub(super) fn next<'a, T>(
        &mut self,
        reader: &mut Reader<'a>,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
    ) -> Result<T, ContentFault> {
        self.step(reader, name)?;
        one(reader, name, read)
    }

    /// Counts a field that is read by other means.
    pub(super) fn step(&mut self, reader: &Reader<'_>, name: &'static str) -> Result<(), ContentFault> {
        let missing = || ContentFault::at(name, reader.position(), ContentError::Field(name));
        self.left = self.left.checked_sub(1).ok_or_else(missing)?;
        Ok(())
    }

    /// Nothing may be left.
    pub(super) fn close(self, reader: &Reader<'_>, name: &'static str) -> Result<(), ContentFault> {
        if self.left == 0 { Ok(()) } else { Err(ContentFault::at("", reader.position(), ContentError::Field(name))) }
    }
}

/// Reads one value, and says which field it was if it is wrong.
fn one<'a, T>(
    reader: &mut Reader<'a>,
    name: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Result<T, ContentFault> {
    let start = reader.position();
    read(reader).map_err(|wrong| match wrong {
        Wrong::Cbor(error) => ContentFault::at(name, reader.position(), error),
        Wrong::Value => ContentFault::at(name, start, ContentError::Field(name)),
    })
}

// ---------------------------------------------------------------------------------------------------- kinds of fields

/// A text string.
pub(super) fn text(reader: &mut Reader<'_>) -> Read<String> {
    match reader.head()? {
        Head { major: cbor::TEXT, argument, .. } => Ok(reader.text(argument)?.to_owned()),
        _ => Err(Wrong::Value),
    }
}

/// A byte string.
pub(super) fn bytes<'a>(reader: &mut Reader<'a>) -> Read<&'a [u8]> {
    match reader.head()? {
        Head { major: cbor::BYTES, argument, .. } => Ok(reader.bytes(argument)?),
        _ => Err(Wrong::Value),
    }
}

/// A byte string of `N` bytes.
pub(super) fn array<const N: usize>(reader: &mut Reader<'_>) -> Read<[u8; N]> {
    bytes(reader)?.try_into().map_err(|_| Wrong::Value)
}

/// An unsigned integer that fits.
pub(super) fn uint<T: TryFrom<u64>>(reader: &mut Reader<'_>) -> Read<T> {
    match reader.head()? {
        Head { major: cbor::UNSIGNED, argument, .. } => T::try_from(argument).map_err(|_| Wrong::Value),
        _ => Err(Wrong::Value),
    }
}
