//! What published mls-rs cannot write or read of MIMI's handshakes, put right around it.
//!
//! mls-rs takes proposals that it does not know as custom ones, and gives them a length of their own: `opaque data<V>`.
//! AppDataUpdate (0x0008) and SelfRemove (0x000a) have none on the wire. So a handshake is translated, field by field, into
//! the form that mls-rs reads; and wherever mls-rs hashes, signs or authenticates bytes of that form, [`Spelling`] gives its
//! cryptography the bytes of the wire instead.

use std::sync::{Arc, Mutex};

use crate::bytes::{In, vector};

pub(crate) const APP_DATA_UPDATE: u16 = 0x0008;
pub(crate) const SELF_REMOVE: u16 = 0x000a;

/// In the form of mls-rs, and as it is on the wire.
type Both = (Vec<u8>, Vec<u8>);

/// `FramedContent`s in both forms.
#[derive(Clone, Default)]
pub(crate) struct Spelling(Arc<Mutex<Vec<Both>>>);

fn replaced(data: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let at = data.windows(from.len()).position(|window| window == from)?;
    Some([&data[..at], to, &data[at + from.len()..]].concat())
}

impl Spelling {
    /// These bytes of mls-rs are those on the wire.
    pub(crate) fn add(&self, ours: Vec<u8>, wire: Vec<u8>) {
        self.0.lock().unwrap().push((ours, wire));
    }

    /// These bytes as they are on the wire.
    pub(crate) fn of(&self, data: &[u8]) -> Vec<u8> {
        for (ours, wire) in self.0.lock().unwrap().iter() {
            let Some(whole) = replaced(data, ours, wire) else { continue };
            // SignContent, RefHashInput: a label and a value, each with its length.
            if data.len() > 64 && data[1..].starts_with(b"MLS 1.0 ") {
                let mut reader = In(data);
                let (label, value) = (reader.vector(), reader.vector());
                assert!(reader.0.is_empty(), "a label and a value");
                return [vector(label), vector(&replaced(value, ours, wire).unwrap())].concat();
            }
            return whole;
        }
        data.to_vec()
    }
}

fn leaf_node(reader: &mut In<'_>) {
    reader.vector();
    reader.vector();
    assert_eq!(reader.u16(), 1, "basic credentials");
    reader.vector();
    for _ in 0..5 {
        reader.vector();
    }
    match reader.u8() {
        1 => _ = reader.take(16),
        2 => {}
        3 => _ = reader.vector(),
        other => panic!("leaf node source {other}"),
    }
    reader.vector();
    reader.vector();
}

/// Skips a proposal; answers it in the form of mls-rs.
fn proposal(reader: &mut In<'_>) -> Vec<u8> {
    let kind = reader.u16();
    let body = reader.taken(|reader| match kind {
        1 => {
            reader.take(4);
            reader.vector();
            leaf_node(reader);
            reader.vector();
            reader.vector();
        }
        2 => leaf_node(reader),
        3 => _ = reader.take(4),
        6 | 7 => _ = reader.vector(),
        APP_DATA_UPDATE => {
            reader.u16();
            if reader.u8() == 1 {
                reader.vector();
            }
        }
        SELF_REMOVE => {}
        other => panic!("proposal {other:#06x}"),
    });
    let body = if matches!(kind, APP_DATA_UPDATE | SELF_REMOVE) { vector(body) } else { body.to_vec() };
    [&kind.to_be_bytes()[..], &body].concat()
}

/// The epoch of a `PublicMessage`, header included, and whether it is a commit.
pub(crate) fn epoch_and_kind(message: &[u8]) -> (u64, bool) {
    let mut reader = In(&message[4..]);
    reader.vector();
    let epoch = reader.number(8);
    if reader.u8() == 1 {
        reader.take(4);
    }
    reader.vector();
    (epoch, reader.u8() == 3)
}

/// A handshake as mls-rs reads it, from an `MLSMessage` at the front of these bytes, which is taken.
pub(crate) fn for_mls_rs(reader: &mut In<'_>, spelling: &Spelling) -> Vec<u8> {
    assert_eq!(reader.take(4), [0, 1, 0, 1], "a PublicMessage");
    let content = reader.clone();
    let mut from_member = false;
    let head = reader.taken(|reader| {
        reader.vector();
        reader.take(8);
        match reader.u8() {
            1 => {
                reader.take(4);
                from_member = true;
            }
            4 => {}
            other => panic!("sender type {other}"),
        }
        reader.vector();
    });
    let kind = reader.u8();
    let mut ours = [head, &[kind]].concat();
    match kind {
        2 => ours.extend(proposal(reader)),
        3 => {
            let mut list = Vec::new();
            In::each(reader.vector(), |reader| match reader.u8() {
                1 => list.extend([vec![1], proposal(reader)].concat()),
                2 => list.extend([vec![2], vector(reader.vector())].concat()),
                other => panic!("ProposalOrRef {other}"),
            });
            ours.extend(vector(&list));
            ours.extend(reader.taken(|reader| {
                if reader.u8() == 1 {
                    leaf_node(reader);
                    reader.vector();
                }
            }));
        }
        other => panic!("content type {other}"),
    }
    let wire = &content.0[..content.0.len() - reader.0.len()];
    let proof = reader.taken(|reader| {
        for _ in 0..1 + usize::from(kind == 3) + usize::from(from_member) {
            reader.vector();
        }
    });
    if ours != wire {
        spelling.add(ours.clone(), wire.to_vec());
    }
    [&[0, 1, 0, 1][..], &ours, proof].concat()
}
