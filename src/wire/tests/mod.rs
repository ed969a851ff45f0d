//! The bytes of every structure, field by field, and what hostile bytes get.

use std::fmt::Debug;

use super::{codec::Reader, *};

mod codec;
mod directory;
mod endpoints;
mod franking;
mod hostile;
mod identifier;
pub(super) mod pieces;

/// The bytes of an annotated dump: hex or quoted text, and what it is.
pub(super) fn bytes(annotated: &[(&str, &str)]) -> Vec<u8> {
    annotated
        .iter()
        .flat_map(|(value, _)| match value.strip_prefix('\'') {
            Some(text) => text.as_bytes().to_vec(),
            None => hex::decode(value.replace(' ', "")).unwrap(),
        })
        .collect()
}

/// The dump is what `value` encodes to, and nothing but the dump decodes to it: not a part, not more.
pub(super) fn check<T: Wire + Debug + PartialEq>(annotated: &[(&str, &str)], value: &T) {
    let wire = bytes(annotated);
    assert_eq!(hex::encode(value.encode()), hex::encode(&wire));
    assert_eq!(&T::decode(&wire).unwrap(), value);
    exact::<T>(&wire);
}

/// Every part of `wire` is refused, and so is `wire` with a byte more.
pub(super) fn exact<T: Wire + Debug>(wire: &[u8]) {
    for end in 0..wire.len() {
        T::decode(&wire[..end]).unwrap_err();
    }
    let longer = [wire, &[0]].concat();
    T::decode(&longer).unwrap_err();
}
