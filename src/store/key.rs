//! Keys: components that keep their order as bytes, and that no two different keys share.
//!
//! Text and bytes are written as `02`, the bytes with each `00` as `00 FF`, then `00 01`; numbers as `03` and eight
//! bytes, big-endian. A key that ends with a whole component is a prefix of exactly the keys that continue with more.

use std::{fmt, str::FromStr};

use crate::ident::{ClientUri, GroupUri, MimiUri, ProviderDomain, RoomUri, UserUri};

const BYTES: u8 = 2;
const NUMBER: u8 = 3;
const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x01;

/// A stored key does not read back as the type that was asked for. Permanent: the row is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {} is not of the expected form", .0)]
pub struct KeyError(String);

/// A key under construction: the table's name, then components.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// A key of this table, without components yet: the prefix of all keys of the table.
    #[must_use]
    pub fn new(table: &str) -> Self {
        Self(Vec::with_capacity(64)).text(table)
    }

    /// Adds a text component.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a component of bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.push_bytes(bytes);
        self
    }

    /// Adds a number. Numbers order by value.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.push_number(number);
        self
    }

    /// Adds the components of `part`.
    #[must_use]
    pub fn with<K: KeyCodec>(mut self, part: &K) -> Self {
        part.write(&mut self);
        self
    }

    /// Adds a component of bytes in place.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.0.push(BYTES);
        for &byte in bytes {
            self.0.push(byte);
            if byte == ESCAPE {
                self.0.push(ESCAPED_ZERO);
            }
        }
        self.0.extend([ESCAPE, END]);
    }

    /// Adds a number in place.
    pub fn push_number(&mut self, number: u64) {
        self.0.push(NUMBER);
        self.0.extend(number.to_be_bytes());
    }

    /// The encoded key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

impl From<&Key> for Vec<u8> {
    fn from(key: &Key) -> Self {
        key.0.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// Reads the components of an encoded key, first to last.
#[derive(Debug)]
pub struct KeyReader<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// A reader at the start of `key`.
    #[must_use]
    pub fn new(key: &'a [u8]) -> Self {
        Self { whole: key, rest: key }
    }

    /// The error for this key.
    #[must_use]
    pub fn error(&self) -> KeyError {
        KeyError(self.whole.escape_ascii().to_string())
    }

    /// The next component, which must be bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, KeyError> {
        let Some((&BYTES, mut rest)) = self.rest.split_first() else { return Err(self.error()) };
        let mut out = Vec::with_capacity(rest.len());
        loop {
            match rest {
                [ESCAPE, END, tail @ ..] => {
                    self.rest = tail;
                    return Ok(out);
                }
                [ESCAPE, ESCAPED_ZERO, tail @ ..] => {
                    out.push(ESCAPE);
                    rest = tail;
                }
                [] | [ESCAPE, ..] => return Err(self.error()),
                [byte, tail @ ..] => {
                    out.push(*byte);
                    rest = tail;
                }
            }
        }
    }

    /// The next component, which must be text.
    pub fn text(&mut self) -> Result<String, KeyError> {
        String::from_utf8(self.bytes()?).map_err(|_| self.error())
    }

    /// The next component, which must be a number.
    pub fn number(&mut self) -> Result<u64, KeyError> {
        let Some((&NUMBER, rest)) = self.rest.split_first() else { return Err(self.error()) };
        let Some((number, rest)) = rest.split_first_chunk() else { return Err(self.error()) };
        self.rest = rest;
        Ok(u64::from_be_bytes(*number))
    }

    /// Checks that nothing is left.
    pub fn end(&self) -> Result<(), KeyError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error()) }
    }
}

/// A type that is one or more components of a key.
pub trait KeyCodec: Sized {
    /// Adds the components.
    fn write(&self, key: &mut Key);
    /// Reads them back.
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError>;
}

/// No component: for tables with one row, and for scans of a whole table.
impl KeyCodec for () {
    fn write(&self, _: &mut Key) {}
    fn read(_: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        Ok(())
    }
}

impl KeyCodec for u64 {
    fn write(&self, key: &mut Key) {
        key.push_number(*self);
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.number()
    }
}

impl KeyCodec for u32 {
    fn write(&self, key: &mut Key) {
        key.push_number(u64::from(*self));
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.number()?.try_into().map_err(|_| reader.error())
    }
}

impl KeyCodec for String {
    fn write(&self, key: &mut Key) {
        key.push_bytes(self.as_bytes());
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.text()
    }
}

impl KeyCodec for Vec<u8> {
    fn write(&self, key: &mut Key) {
        key.push_bytes(self);
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.bytes()
    }
}

impl<const N: usize> KeyCodec for [u8; N] {
    fn write(&self, key: &mut Key) {
        key.push_bytes(self);
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.bytes()?.try_into().map_err(|_| reader.error())
    }
}

impl<A: KeyCodec, B: KeyCodec> KeyCodec for (A, B) {
    fn write(&self, key: &mut Key) {
        self.0.write(key);
        self.1.write(key);
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

impl<A: KeyCodec, B: KeyCodec, C: KeyCodec> KeyCodec for (A, B, C) {
    fn write(&self, key: &mut Key) {
        self.0.write(key);
        self.1.write(key);
        self.2.write(key);
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        Ok((A::read(reader)?, B::read(reader)?, C::read(reader)?))
    }
}

fn read_text<T: FromStr>(reader: &mut KeyReader<'_>) -> Result<T, KeyError> {
    reader.text()?.parse().map_err(|_| reader.error())
}

macro_rules! text_keys {
    ($write:ident: $($parsed:ty),* $(,)?) => {$(
        impl KeyCodec for $parsed {
            fn write(&self, key: &mut Key) {
                key.push_bytes(self.as_str().as_bytes());
            }
            fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
                $write(reader)
            }
        }
    )*};
}

text_keys!(read_text: ruma::OwnedRoomId, ruma::OwnedUserId, ruma::OwnedEventId, ruma::OwnedRoomAliasId);

macro_rules! ident_keys {
    ($($parsed:ty),* $(,)?) => {$(
        impl KeyCodec for $parsed {
            fn write(&self, key: &mut Key) {
                key.push_bytes(self.as_str().as_bytes());
            }
            fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
                Self::parse(&reader.text()?).map_err(|_| reader.error())
            }
        }
    )*};
}

ident_keys!(MimiUri, RoomUri, UserUri, GroupUri, ClientUri, ProviderDomain);
