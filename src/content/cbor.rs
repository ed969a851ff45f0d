//! Deterministic CBOR (RFC 8949 section 4.2.1; draft-ietf-mimi-content-08 section 5.1): heads, strings and floats, read from
//! hostile bytes and written.
//!
//! Nothing is allocated for a length that the bytes left cannot hold. Every head has to be in its shortest form; the order of
//! map keys is the business of [`value`](super::value), which is where maps are.

/// Why bytes are not acceptable CBOR, or a value cannot be written as such. Permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
    /// A number or a length that has a shorter form.
    #[error("not the shortest form")]
    NotShortest,
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
    /// A NaN other than 0xf97e00.
    #[error("a NaN that is not allowed")]
    Nan,
    /// Not well-formed, or a value that CBOR has no form for.
    #[error("not well-formed")]
    Malformed,
}

/// Major types.
pub(super) const UNSIGNED: u8 = 0;
pub(super) const NEGATIVE: u8 = 1;
pub(super) const BYTES: u8 = 2;
pub(super) const TEXT: u8 = 3;
pub(super) const ARRAY: u8 = 4;
pub(super) const MAP: u8 = 5;
pub(super) const TAG: u8 = 6;
pub(super) const SIMPLE: u8 = 7;

/// Simple values with a meaning.
pub(super) const FALSE: u64 = 20;
pub(super) const TRUE: u64 = 21;
pub(super) const NULL: u64 = 22;

/// The only NaN that may be sent.
const NAN: u64 = 0x7e00;

/// The head of an item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Its major type, 0 to 7.
    pub major: u8,
    /// Its additional information, 0 to 27.
    pub info: u8,
    /// Its argument.
    pub argument: u64,
}

/// Reads items one after the other.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the front of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are behind it.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The bytes from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether everything is read.
    pub(super) fn is_at_end(&self) -> bool {
        self.left() == 0
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], CborError> {
        let end =
            usize::try_from(count).ok().and_then(|count| self.at.checked_add(count)).ok_or(CborError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(CborError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// Reads a head, which has to be in its shortest form.
    pub(super) fn head(&mut self) -> Result<Head, CborError> {
        let initial = self.take(1)?.first().copied().ok_or(CborError::Truncated)?;
        let (major, info) = (initial >> 5, initial & 0x1f);
        if info < 24 {
            return Ok(Head { major, info, argument: u64::from(info) });
        }
        if info > 27 {
            return Err(CborError::Indefinite);
        }
        let argument = self.take(1 << (info - 24))?.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        if major == SIMPLE {
            match info {
                // A simple value below 32 has no two-byte form.
                24 if argument < 32 => return Err(CborError::Malformed),
                24 => {}
                _ => check_float(info, argument)?,
            }
        } else {
            let least = match info {
                24 => 24,
                25 => 1 << 8,
                26 => 1 << 16,
                _ => 1 << 32,
            };
            if argument < least {
                return Err(CborError::NotShortest);
            }
        }
        Ok(Head { major, info, argument })
    }

    /// How many items follow, if the bytes left can hold `each` bytes for every one of them.
    pub(super) fn count(&self, items: u64, each: u64) -> Result<usize, CborError> {
        let needed = items.checked_mul(each).ok_or(CborError::Truncated)?;
        if needed > self.left() as u64 {
            return Err(CborError::Truncated);
        }
        usize::try_from(items).map_err(|_| CborError::Truncated)
    }

    /// The bytes of a string of this length.
    pub(super) fn bytes(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        self.take(length)
    }

    /// The text of a string of this length.
    pub(super) fn text(&mut self, length: u64) -> Result<&'a str, CborError> {
        let start = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| {
            self.at = start;
            CborError::Utf8
        })
    }
}

/// Refuses a float that a shorter one says as well, and strange NaNs.
fn check_float(info: u8, bits: u64) -> Result<(), CborError> {
    let value = float(info, bits);
    if value.is_nan() {
        return if info == 25 && bits == NAN { Ok(()) } else { Err(CborError::Nan) };
    }
    let shortest = match (half_bits(value), single_bits(value)) {
        (Some(_), _) => 25,
        (None, Some(_)) => 26,
        (None, None) => 27,
    };
    if info == shortest { Ok(()) } else { Err(CborError::NotShortest) }
}

/// The value of a float's argument.
pub(super) fn float(info: u8, bits: u64) -> f64 {
    match info {
        27 => f64::from_bits(bits),
        26 => u32::try_from(bits).map_or(f64::NAN, |bits| f64::from(f32::from_bits(bits))),
        _ => {
            let (sign, exponent, fraction) = (bits & 0x8000, (bits >> 10) & 0x1f, bits & 0x3ff);
            let value = match exponent {
                0 => f64::from(u16::try_from(fraction).unwrap_or_default()) * 2_f64.powi(-24),
                0x1f if fraction == 0 => f64::INFINITY,
                0x1f => f64::NAN,
                // The exponent moves from a bias of 15 to one of 1,023.
                _ => f64::from_bits(((exponent + 1008) << 52) | (fraction << 42)),
            };
            if sign == 0 { value } else { -value }
        }
    }
}

/// The half float that is exactly this value.
fn half_bits(value: f64) -> Option<u64> {
    let bits = value.to_bits();
    let sign = (bits >> 63) << 15;
    let (exponent, fraction) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    match exponent {
        0 if fraction == 0 => Some(sign),
        0x7ff if fraction == 0 => Some(sign | 0x7c00),
        // 2^-14 to 2^15, ten bits of fraction.
        1009..=1038 if fraction.trailing_zeros() >= 42 => Some(sign | ((exponent - 1008) << 10) | (fraction >> 42)),
        // 2^-24 to 2^-15: multiples of 2^-24.
        999..=1008 => {
            let (whole, shift) = ((1 << 52) | fraction, 1051 - exponent);
            (whole.trailing_zeros() >= u32::try_from(shift).ok()?).then_some(sign | (whole >> shift))
        }
        _ => None,
    }
}

/// The single float that is exactly this value.
fn single_bits(value: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, reason = "whether something is lost is what is asked")]
    let single = value as f32;
    (f64::from(single).to_bits() == value.to_bits()).then(|| u64::from(single.to_bits()))
}

/// Writes the head of an item in its shortest form.
pub(super) fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let bytes = argument.to_be_bytes();
    let [.., low] = bytes;
    let (info, width) = match argument {
        0..24 => return out.push((major << 5) | low),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    out.push((major << 5) | info);
    out.extend(bytes.iter().skip(8 - width));
}

/// Writes a byte string.
pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, BYTES, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a text string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, TEXT, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a float in the shortest form that has its value; every NaN as 0xf97e00.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) {
    let (info, bits) = if value.is_nan() {
        (25, NAN)
    } else if let Some(bits) = half_bits(value) {
        (25, bits)
    } else if let Some(bits) = single_bits(value) {
        (26, bits)
    } else {
        (27, value.to_bits())
    };
    out.push((SIMPLE << 5) | info);
    out.extend(bits.to_be_bytes().iter().skip(8 - (1 << (info - 24))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_short_as_can_be_and_read_in_no_other_form() {
        for (value, hex_text) in [
            (0.0, "f90000"),
            (-0.0, "f98000"),
            (1.5, "f93e00"),
            (65504.0, "f97bff"),
            (65505.0, "fa477fe100"),
            (5.960_464_477_539_063e-8, "f90001"),
            (6.103_515_625e-5, "f90400"),
            (6.097_555_160_522_461e-5, "f903ff"),
            (2.980_232_238_769_531_3e-8, "fa33000000"),
            (100_000.0, "fa47c35000"),
            (3.402_823_466_385_288_6e38, "fa7f7fffff"),
            (1.1, "fb3ff199999999999a"),
            (1.0e300, "fb7e37e43c8800759c"),
            (f64::INFINITY, "f97c00"),
            (f64::NEG_INFINITY, "f9fc00"),
            (f64::NAN, "f97e00"),
        ] {
            let mut out = Vec::new();
            write_float(&mut out, value);
            assert_eq!(hex::encode(&out), hex_text);
            let head = Reader::new(&out).head().unwrap();
            let read = float(head.info, head.argument);
            assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()), "{hex_text}");
        }
        let refused = |text: &str| Reader::new(&hex::decode(text).unwrap()).head().map(|_| ()).unwrap_err();
        for longer in
            ["fa00000000", "fa3fc00000", "fb3ff8000000000000", "fb40f86a0000000000", "fa7f800000", "fa80000000"]
        {
            assert_eq!(refused(longer), CborError::NotShortest, "{longer}");
        }
        for nan in ["f97e01", "f9fe00", "f97c01", "fa7fc00000", "fb7ff8000000000000"] {
            assert_eq!(refused(nan), CborError::Nan, "{nan}");
        }
    }

    #[test]
    fn heads_have_their_shortest_form() {
        for (argument, hex_text) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (255, "18ff"),
            (256, "190100"),
            (65_535, "19ffff"),
            (65_536, "1a00010000"),
            (u64::from(u32::MAX), "1affffffff"),
            (1 << 32, "1b0000000100000000"),
            (u64::MAX, "1bffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            write_head(&mut out, UNSIGNED, argument);
            assert_eq!(hex::encode(&out), hex_text);
            assert_eq!(Reader::new(&out).head().unwrap().argument, argument);
        }
        let refused = |text: &str| Reader::new(&hex::decode(text).unwrap()).head().map(|_| ()).unwrap_err();
        for longer in ["1817", "1900ff", "1a0000ffff", "1b00000000ffffffff", "5817", "7900ff", "9800", "b800", "d800"] {
            assert_eq!(refused(longer), CborError::NotShortest, "{longer}");
        }
        for reserved in ["1c", "5f", "7f", "9f", "bf", "ff", "fc"] {
            assert_eq!(refused(reserved), CborError::Indefinite, "{reserved}");
        }
        assert_eq!(refused("f81f"), CborError::Malformed);
        assert_eq!(refused("19ff"), CborError::Truncated);
        assert_eq!(refused(""), CborError::Truncated);
    }
}
