//! A small reader and writer for the TLS presentation language with the variable-size vectors of RFC 9420 section 2.1.2.

/// Why bytes are not the structure they should be. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Ends within a field.
    #[error("ends within a field")]
    Truncated,
    /// More bytes after the structure.
    #[error("bytes after the structure")]
    Trailing,
    /// A vector's length that is not written in the shortest form, or a value that the field may not have.
    #[error("{0}: not allowed")]
    Value(&'static str),
    /// More than this gateway accepts.
    #[error("{0}: longer than allowed")]
    TooLong(&'static str),
}

pub(super) type Result<T> = std::result::Result<T, CodecError>;

/// Reads fields from the front of a slice; never allocates more than it was given.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the whole of `bytes` with `read`.
    pub(super) fn all<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut reader = Self { rest: bytes };
        let value = read(&mut reader)?;
        if reader.rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing) }
    }

    /// Reads from the front of `bytes`; what is left over does not matter.
    pub(super) fn front(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Value(field)),
        }
    }

    pub(super) fn optional_u32(&mut self, field: &'static str) -> Result<Option<u32>> {
        if self.bool(field)? { Ok(Some(self.u32()?)) } else { Ok(None) }
    }

    /// The content of a vector.
    pub(super) fn opaque(&mut self, field: &'static str) -> Result<&'a [u8]> {
        let first = self.u8()?;
        let low = u32::from(first & 0x3f);
        let length = match first >> 6 {
            0 => low,
            1 => (low << 8) | u32::from(self.u8()?),
            2 => {
                let [a, b, c] = self.array()?;
                u32::from_be_bytes([first & 0x3f, a, b, c])
            }
            _ => return Err(CodecError::Value(field)),
        };
        let shortest = match first >> 6 {
            0 => true,
            1 => length >= 1 << 6,
            _ => length >= 1 << 14,
        };
        if !shortest {
            return Err(CodecError::Value(field));
        }
        let (head, rest) = self.rest.split_at_checked(length as usize).ok_or(CodecError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// A vector of structures, at most `max` of them.
    pub(super) fn vector<T>(
        &mut self,
        field: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut inner = Self { rest: self.opaque(field)? };
        let mut items = Vec::new();
        while !inner.rest.is_empty() {
            if items.len() == max {
                return Err(CodecError::TooLong(field));
            }
            items.push(read(&mut inner)?);
        }
        Ok(items)
    }

    /// UTF-8 without NUL (protocol-06 section 7.6), at most `max` bytes.
    pub(super) fn text(&mut self, field: &'static str, max: usize) -> Result<String> {
        let bytes = self.opaque(field)?;
        if bytes.len() > max {
            return Err(CodecError::TooLong(field));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(CodecError::Value(field)),
        }
    }
}

/// Appends fields to a buffer.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What `write` writes.
    pub(super) fn all(write: impl FnOnce(&mut Self) -> Result<()>) -> Result<Vec<u8>> {
        let mut writer = Self::default();
        write(&mut writer)?;
        Ok(writer.bytes)
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub(super) fn optional_u32(&mut self, value: Option<u32>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            self.u32(value);
        }
    }

    pub(super) fn opaque(&mut self, content: &[u8]) -> Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| CodecError::TooLong("vector"))?;
        match length {
            0..=0x3f => self.bytes.extend(length.to_be_bytes().iter().skip(3)),
            0x40..=0x3fff => self.bytes.extend((length | 0x4000).to_be_bytes().iter().skip(2)),
            0x4000..=0x3fff_ffff => self.u32(length | 0x8000_0000),
            _ => return Err(CodecError::TooLong("vector")),
        }
        self.bytes.extend_from_slice(content);
        Ok(())
    }

    pub(super) fn vector<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<()>,
    ) -> Result<()> {
        let mut inner = Self::default();
        for item in items {
            write(&mut inner, item)?;
        }
        self.opaque(&inner.bytes)
    }
}
