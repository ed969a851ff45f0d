//! Lengths, bounds and error positions.

use proptest::prelude::*;

use super::super::codec::{DecodeError, DecodeErrorKind, MAX_VECTOR, Reader, Writer};

fn read_opaque(bytes: &[u8], limit: usize) -> Result<&[u8], DecodeErrorKind> {
    Reader::new(bytes).opaque("x", limit).map_err(|e| e.kind)
}

#[test]
fn lengths_are_minimal() {
    for (len, head) in [
        (0, vec![0x00]),
        (63, vec![0x3f]),
        (64, vec![0x40, 64]),
        (16383, vec![0x7f, 0xff]),
        (16384, vec![0x80, 0, 0x40, 0]),
    ] {
        let mut writer = Writer::new();
        writer.opaque(&vec![7; len]);
        let bytes = writer.into_bytes();
        assert_eq!(bytes[..head.len()], head);
        assert_eq!(read_opaque(&bytes, len), Ok(&vec![7; len][..]));
    }
    for wrong in [&[0x40, 63][..], &[0x40, 0], &[0x80, 0, 0x3f, 0xff], &[0x80, 0, 0, 1]] {
        assert_eq!(read_opaque(&[wrong, &[7; 70]].concat(), MAX_VECTOR), Err(DecodeErrorKind::Length), "{wrong:?}");
    }
    assert_eq!(read_opaque(&[0xc0, 0, 0, 0, 0, 0, 0, 1, 7], MAX_VECTOR), Err(DecodeErrorKind::Length));
    assert_eq!(read_opaque(&[0xff; 8], MAX_VECTOR), Err(DecodeErrorKind::Length));
}

#[test]
fn a_declared_length_is_checked_before_anything_is_read() {
    let gigabyte = [0xbf, 0xff, 0xff, 0xff];
    let too_long = DecodeErrorKind::TooLong { len: MAX_VECTOR, limit: 100 };
    assert_eq!(read_opaque(&gigabyte, 100), Err(too_long));
    assert_eq!(read_opaque(&gigabyte, MAX_VECTOR), Err(DecodeErrorKind::Truncated));
}

#[test]
fn errors_say_where() {
    let mut reader = Reader::new(&[9, 3, 1, 1, 5]);
    reader.u8("first").unwrap();
    let mut inner = reader.vector("outer", 10).unwrap();
    inner.u8("a").unwrap();
    assert_eq!(inner.since(2), [1]);
    assert_eq!(inner.finish("outer").unwrap_err().kind, DecodeErrorKind::Trailing(2));
    let error = inner.opaque("b", 0).unwrap_err();
    let kind = DecodeErrorKind::TooLong { len: 1, limit: 0 };
    assert_eq!(error, DecodeError { field: "b", within: String::new(), offset: 3, kind });
    assert_eq!(error.to_string(), "b, byte 3: 1 bytes, at most 0 are accepted");
}

#[test]
fn lists_end_with_their_vector() {
    let list = |bytes: &[u8], items| Reader::new(bytes).list("x", 100, items, |r| r.u16("x")).map_err(|e| e.kind);
    assert_eq!(list(&[4, 0, 1, 0, 2, 0xff], 2), Ok(vec![1, 2]));
    assert_eq!(list(&[4, 0, 1, 0, 2], 1), Err(DecodeErrorKind::TooMany(1)));
    assert_eq!(list(&[3, 0, 1, 0, 2], 9), Err(DecodeErrorKind::Truncated));
}

#[test]
fn optionals_and_texts_are_strict() {
    assert_eq!(Reader::new(&[2, 0]).optional("x", |r| r.u8("x")).unwrap_err().kind, DecodeErrorKind::Unknown(2));
    assert_eq!(Reader::new(&[1, 7]).optional("x", |r| r.u8("x")), Ok(Some(7)));
    let text = |bytes: &[u8]| Reader::new(bytes).text("x", 100).map_err(|e| e.kind);
    assert_eq!(text(b"\x04a\tb\n"), Ok("a\tb\n".to_owned()));
    for wrong in [&b"\x01\xff"[..], b"\x01\0", b"\x01\x1b", b"\x02\xc2\x85", b"\x03\xed\xa0\x80"] {
        assert_eq!(text(wrong), Err(DecodeErrorKind::Text), "{wrong:?}");
    }
    // Texts of a room's metadata: any but NUL.
    let utf8 = |bytes: &[u8]| Reader::new(bytes).utf8("x", 100).map_err(|e| e.kind);
    assert_eq!(utf8(b"\x01\x1b"), Ok("\x1b".to_owned()));
    for wrong in [&b"\x01\xff"[..], b"\x01\0", b"\x03\xed\xa0\x80"] {
        assert_eq!(utf8(wrong), Err(DecodeErrorKind::Text), "{wrong:?}");
    }
}

#[test]
fn a_body_over_the_limit_is_not_looked_at() {
    let body = vec![0; super::super::limits::BODY + 1];
    assert!(matches!(Reader::for_body(&body).unwrap_err().kind, DecodeErrorKind::TooLong { .. }));
}

proptest! {
    #[test]
    fn any_length_comes_back(len in 0_usize..40_000) {
        let mut writer = Writer::new();
        writer.opaque(&vec![1; len]);
        let bytes = writer.into_bytes();
        prop_assert_eq!(read_opaque(&bytes, len).map(<[u8]>::len), Ok(len));
    }
}

#[test]
fn errors_say_where_in_the_structure_they_are() {
    // A list in a list in a structure; the last number of the second inner list is cut.
    let bytes = [7, 2, 0, 1, 3, 0, 2, 9];
    let mut reader = Reader::new(&bytes[..]);
    let error = reader
        .inside("body", |r| r.list("outer", 10, 10, |r| r.list("numbers", 10, 10, |r| r.u16("numbers"))))
        .unwrap_err();
    assert_eq!(error.path(), "body.outer[1].numbers[1]");
    assert_eq!(error.to_string(), "body.outer[1].numbers[1], byte 7: input ends inside the field");
    let error = Reader::new(&bytes[..]).list("outer", 10, 10, |r| r.u64("number")).unwrap_err();
    assert_eq!(error.path(), "outer[0].number");
}
