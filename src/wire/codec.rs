//! A bounded reader and a writer for the TLS presentation language as RFC 9420 section 2.1 uses it.
//!
//! `<V>` vectors carry a variable-size length (2.1.2): one, two or four octets, minimal; the eight-octet form is
//! forbidden. `optional<X>` is one octet, 0 or 1, then `X` (2.1.1). Numbers are big-endian.

use std::fmt;

use super::limits;
use crate::ident::IdentError;

/// Longest vector that a length can express: 2^30 - 1 bytes.
pub const MAX_VECTOR: usize = (1 << 30) - 1;

/// Why received bytes are not the structure they should be. Permanent: the same bytes never decode. Becomes HTTP 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}, byte {offset}: {kind}", self.path())]
pub struct DecodeError {
    /// The field, as the draft calls it.
    pub field: &'static str,
    /// What the field is in, outermost first: `clients[2].keyPackage`. Empty for a field of the body itself.
    pub within: String,
    /// Where the field starts, in bytes from the start of the body.
    pub offset: usize,
    /// What is wrong with it.
    pub kind: DecodeErrorKind,
}

impl DecodeError {
    /// The field with all that it is in: `clients[2].keyPackage.cipher_suite`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.within.rsplit_once('[') {
            // An item of a vector of numbers or strings is called as the vector is.
            Some((list, _)) if self.within.ends_with(']') && list.rsplit('.').next() == Some(self.field) => {
                self.within.clone()
            }
            _ if self.within.is_empty() => self.field.to_owned(),
            _ => format!("{}.{}", self.within, self.field),
        }
    }

    /// The same error, seen from around `outer`.
    #[must_use]
    fn inside(mut self, outer: &dyn fmt::Display) -> Self {
        self.within = if self.within.is_empty() { outer.to_string() } else { format!("{outer}.{}", self.within) };
        self
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// The input ends inside the field.
    #[error("input ends inside the field")]
    Truncated,
    /// The length has the forbidden eight-octet form, or is longer than need be.
    #[error("vector length is not minimally encoded")]
    Length,
    /// The vector is longer than its limit, in bytes.
    #[error("{len} bytes, at most {limit} are accepted")]
    TooLong {
        /// Declared length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The vector has more items than its limit.
    #[error("more than {0} items")]
    TooMany(usize),
    /// A value that the draft does not define, or that this gateway cannot delimit.
    #[error("unknown value {0}")]
    Unknown(u64),
    /// Bytes are left after the structure, or after the last item of a vector.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Not a URI of the wanted kind.
    #[error(transparent)]
    Uri(#[from] IdentError),
    /// Text that is not UTF-8, or holds a control character.
    #[error("not plain UTF-8 text")]
    Text,
    /// The value is well-formed but not allowed here.
    #[error("{0}")]
    NotAllowed(&'static str),
}

/// A structure with a byte-exact encoding.
pub trait Wire: Sized {
    /// Reads the structure and leaves the reader behind it.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Appends the encoding.
    fn write(&self, writer: &mut Writer);

    /// The encoding.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Decodes a whole body: at most [`limits::BODY`] bytes, all of them consumed.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::for_body(bytes)?;
        let value = Self::read(&mut reader)?;
        reader.finish("end of body")?;
        Ok(value)
    }
}

/// Reads fields off a byte slice. Never reads past a vector's end, never allocates by a declared length.
#[derive(Clone)]
pub struct Reader<'a> {
    input: &'a [u8],
    pos: usize,
    base: usize,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} of {} bytes, from {})", self.pos, self.input.len(), self.base)
    }
}

impl<'a> Reader<'a> {
    /// A reader over `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, pos: 0, base: 0 }
    }

    /// A reader over a whole body; refuses one over [`limits::BODY`].
    pub fn for_body(input: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = Self::new(input);
        if input.len() > limits::BODY {
            return Err(reader.error("body", DecodeErrorKind::TooLong { len: input.len(), limit: limits::BODY }));
        }
        Ok(reader)
    }

    /// Bytes from the start of the body to the next field.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.base + self.pos
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pos >= self.input.len()
    }

    /// The bytes read since `offset` (a value of [`Reader::offset`] of this same reader).
    #[must_use]
    pub fn since(&self, offset: usize) -> &'a [u8] {
        self.input.get(offset.saturating_sub(self.base)..self.pos).unwrap_or_default()
    }

    /// An error about the field that starts at the current place.
    #[must_use]
    pub fn error(&self, field: &'static str, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { field, within: String::new(), offset: self.offset(), kind }
    }

    /// Refuses bytes that are left over.
    pub fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.input.len().saturating_sub(self.pos) {
            0 => Ok(()),
            left => Err(self.error(field, DecodeErrorKind::Trailing(left))),
        }
    }

    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.pos.checked_add(len).and_then(|end| self.input.get(self.pos..end));
        let bytes = bytes.ok_or_else(|| self.error(field, DecodeErrorKind::Truncated))?;
        self.pos += len;
        Ok(bytes)
    }

    /// `N` bytes without a length.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(field, N)?);
        Ok(out)
    }

    /// `uint8`.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// `uint16`.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// `uint32`.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// `uint64`.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let at = self.clone();
        let first = self.u8(field)?;
        let mut value = usize::from(first & 0x3f);
        let (extra, least) = match first >> 6 {
            0 => (0, 0),
            1 => (1, 1 << 6),
            2 => (3, 1 << 14),
            _ => return Err(at.error(field, DecodeErrorKind::Length)),
        };
        for byte in self.take(field, extra)? {
            value = value << 8 | usize::from(*byte);
        }
        if value < least {
            return Err(at.error(field, DecodeErrorKind::Length));
        }
        Ok(value)
    }

    /// `opaque x<V>` of at most `limit` bytes.
    pub fn opaque(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let at = self.clone();
        let len = self.length(field)?;
        if len > limit {
            return Err(at.error(field, DecodeErrorKind::TooLong { len, limit }));
        }
        self.take(field, len).map_err(|e| DecodeError { offset: at.offset(), ..e })
    }

    /// A reader over the content of a `<V>` vector of at most `limit` bytes.
    pub fn vector(&mut self, field: &'static str, limit: usize) -> Result<Reader<'a>, DecodeError> {
        let input = self.opaque(field, limit)?;
        Ok(Reader { input, pos: 0, base: self.offset().saturating_sub(input.len()) })
    }

    /// Calls `item` until a `<V>` vector is used up; refuses more than `items`. Answers how many there were.
    pub fn each(
        &mut self,
        field: &'static str,
        bytes: usize,
        items: usize,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<usize, DecodeError> {
        let mut inner = self.vector(field, bytes)?;
        let mut count = 0;
        while !inner.is_empty() {
            if count == items {
                return Err(inner.error(field, DecodeErrorKind::TooMany(items)));
            }
            item(&mut inner).map_err(|e| e.inside(&format_args!("{field}[{count}]")))?;
            count += 1;
        }
        Ok(count)
    }

    /// The items of a `<V>` vector.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        bytes: usize,
        items: usize,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut out = Vec::new();
        self.each(field, bytes, items, |r| {
            out.push(item(r)?);
            Ok(())
        })?;
        Ok(out)
    }

    /// `optional<X>`.
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let at = self.clone();
        match self.u8(field)? {
            0 => Ok(None),
            1 => value(self).map(Some),
            other => Err(at.error(field, DecodeErrorKind::Unknown(other.into()))),
        }
    }

    /// `bool`: one octet, 0 or 1 (draft-ietf-mimi-room-policy-03).
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        let at = self.clone();
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(at.error(field, DecodeErrorKind::Unknown(other.into()))),
        }
    }

    /// A structure in a field: what is wrong inside of it is told with the field's name.
    pub fn inside<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        read(self).map_err(|e| e.inside(&field))
    }

    /// One of several structures that follow each other without an outer length.
    pub fn item<T>(
        &mut self,
        field: &'static str,
        index: usize,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        read(self).map_err(|e| e.inside(&format_args!("{field}[{index}]")))
    }

    /// `UTF8String` (`opaque string<V>`): any UTF-8 without NUL (draft-ietf-mimi-protocol-06 section 7.6).
    pub fn utf8(&mut self, field: &'static str, limit: usize) -> Result<String, DecodeError> {
        self.text_if(field, limit, |c| c != '\0')
    }

    /// `string x` (`opaque x<V>`, UTF-8): without NUL and other control characters, except line feed and tab.
    pub fn text(&mut self, field: &'static str, limit: usize) -> Result<String, DecodeError> {
        self.text_if(field, limit, |c| !c.is_control() || c == '\n' || c == '\t')
    }

    fn text_if(
        &mut self,
        field: &'static str,
        limit: usize,
        allowed: impl Fn(char) -> bool,
    ) -> Result<String, DecodeError> {
        let at = self.clone();
        let text = std::str::from_utf8(self.opaque(field, limit)?)
            .ok()
            .filter(|t| t.chars().all(allowed))
            .ok_or_else(|| at.error(field, DecodeErrorKind::Text))?;
        Ok(text.to_owned())
    }
}

/// Appends fields to a byte vector.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({} bytes)", self.0.len())
    }
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// `uint8`.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// `bool`.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// `uint16`.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// `uint32`.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// `uint64`.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// `opaque x<V>`. A vector over [`MAX_VECTOR`] bytes gets the forbidden eight-octet length, which every receiver
    /// refuses: it can never be misread as a shorter one.
    pub fn opaque(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        match (u8::try_from(len), u16::try_from(len), u32::try_from(len)) {
            (Ok(n), _, _) if n < 1 << 6 => self.u8(n),
            (_, Ok(n), _) if n < 1 << 14 => self.u16(n | 0x4000),
            (_, _, Ok(n)) if len <= MAX_VECTOR => self.u32(n | 0x8000_0000),
            _ => self.u64(len as u64 | 0xc000_0000_0000_0000),
        }
        self.raw(bytes);
    }

    /// A `<V>` vector whose content `write` makes.
    pub fn vector(&mut self, write: impl FnOnce(&mut Writer)) {
        let mut inner = Self::new();
        write(&mut inner);
        self.opaque(&inner.0);
    }

    /// A `<V>` vector of what `write` makes of each item.
    pub fn each<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Writer, T)) {
        self.vector(|w| items.into_iter().for_each(|item| write(w, item)));
    }

    /// A `<V>` vector of structures.
    pub fn list<T: Wire>(&mut self, items: &[T]) {
        self.vector(|w| items.iter().for_each(|item| item.write(w)));
    }

    /// `optional<X>`.
    pub fn optional<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// An enum of one octet: unknown values are refused.
macro_rules! octet_enum {
    ($(#[$doc:meta])* $name:ident, $field:literal, { $($(#[$vdoc:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code),+ }

        impl $crate::wire::codec::Wire for $name {
            fn read(reader: &mut $crate::wire::codec::Reader<'_>) -> std::result::Result<Self, $crate::wire::codec::DecodeError> {
                let at = reader.clone();
                match reader.u8($field)? {
                    $($code => Ok(Self::$variant),)+
                    other => Err(at.error($field, $crate::wire::codec::DecodeErrorKind::Unknown(other.into()))),
                }
            }
            fn write(&self, writer: &mut $crate::wire::codec::Writer) {
                writer.u8(*self as u8);
            }
        }
    };
}
pub(crate) use octet_enum;
