//! TLS presentation language with the variable-size vectors of RFC 9420 section 2.1.2, as little of it as the peer needs.

/// A vector: its length in the fewest octets, then the bytes.
pub(crate) fn vector(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len();
    let mut out = match len {
        0..64 => vec![u8::try_from(len).unwrap()],
        64..16_384 => (0x4000 | u16::try_from(len).unwrap()).to_be_bytes().to_vec(),
        _ => (0x8000_0000 | u32::try_from(len).unwrap()).to_be_bytes().to_vec(),
    };
    out.extend(bytes);
    out
}

/// Reads from the front; a body that is too short is a failed test.
#[derive(Clone)]
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }
    pub(crate) fn number(&mut self, octets: usize) -> u64 {
        self.take(octets).iter().fold(0, |value, octet| value << 8 | u64::from(*octet))
    }
    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::try_from(self.number(2)).unwrap()
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::try_from(self.number(4)).unwrap()
    }
    pub(crate) fn vector(&mut self) -> &'a [u8] {
        let octets = 1 << (self.0[0] >> 6);
        assert!(octets <= 4, "a length of 8 octets");
        let len = self.number(octets) & ((1 << (8 * octets - 2)) - 1);
        self.take(usize::try_from(len).unwrap())
    }
    /// What a reading took.
    pub(crate) fn taken(&mut self, read: impl FnOnce(&mut Self)) -> &'a [u8] {
        let before = self.0;
        read(self);
        &before[..before.len() - self.0.len()]
    }
    pub(crate) fn each(bytes: &'a [u8], mut read: impl FnMut(&mut Self)) {
        let mut reader = Self(bytes);
        while !reader.0.is_empty() {
            read(&mut reader);
        }
    }
}

/// An extension or a component list: entries of a 16-bit number and a vector.
pub(crate) fn numbered(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut entries = Vec::new();
    In::each(bytes, |reader| entries.push((reader.u16(), reader.vector().to_vec())));
    entries
}

pub(crate) fn of_numbered<'a>(entries: impl IntoIterator<Item = &'a (u16, Vec<u8>)>) -> Vec<u8> {
    entries.into_iter().flat_map(|(id, data)| [&id.to_be_bytes()[..], &vector(data)].concat()).collect()
}
