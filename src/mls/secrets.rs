//! The own leaf index inside OpenMLS' stored `MessageSecretsStore` (openmls 0.9.2, postcard).
//!
//! All members of an epoch share its secrets; only the ratchets that a member keeps for itself differ in kind. So a
//! state can be loaded as any leaf of ours once the index in it says so. The types below are the stored ones, field
//! by field: postcard writes no names, and a row of another shape is refused. Secrets are borrowed from the row.

use std::{collections::VecDeque, time::SystemTime};

use openmls::group::Member;
use openmls_traits::types::AeadType;
use serde::{Deserialize, Serialize, Serializer};

use super::MlsError;

/// Stored as a sequence of bytes, which postcard writes as it writes bytes.
#[derive(Clone, Copy, Deserialize)]
struct Secret<'a>(#[serde(borrow)] &'a [u8]);

impl Serialize for Secret<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// What comes before the current epoch's secret tree.
#[derive(Serialize, Deserialize)]
struct Front<'a> {
    max_epochs: usize,
    #[serde(borrow)]
    past: VecDeque<EpochTree<'a>>,
    current: Keys<'a>,
}

#[derive(Serialize, Deserialize)]
struct EpochTree<'a> {
    epoch: u64,
    #[serde(borrow)]
    keys: Keys<'a>,
    tree: SecretTree<'a>,
    added_at: Option<SystemTime>,
    leaves: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    sender_data: Secret<'a>,
    membership: Secret<'a>,
    confirmation: Secret<'a>,
    context: Secret<'a>,
}

#[derive(Serialize, Deserialize)]
struct SecretTree<'a> {
    own_index: u32,
    #[serde(borrow)]
    leaves: Vec<Option<Secret<'a>>>,
    parents: Vec<Option<Secret<'a>>>,
    handshake: Vec<Option<Ratchet<'a>>>,
    application: Vec<Option<Ratchet<'a>>>,
    size: u32,
}

#[derive(Serialize, Deserialize)]
enum Ratchet<'a> {
    #[serde(borrow)]
    Encryption(Head<'a>),
    Decryption(Decryption<'a>),
}

type AeadKey<'a> = (AeadType, Secret<'a>);

#[derive(Serialize, Deserialize)]
struct Decryption<'a> {
    #[serde(borrow)]
    past: VecDeque<Option<(AeadKey<'a>, [u8; 12])>>,
    head: Head<'a>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    secret: Secret<'a>,
    generation: u32,
}

/// A row, taken apart.
struct Row<'a> {
    /// As it stands in the row.
    front: &'a [u8],
    tree: SecretTree<'a>,
    added_at: Option<SystemTime>,
}

/// What no message of the current epoch changes, and the rest.
pub(super) fn lasting(row: &[u8]) -> Result<(&[u8], &[u8]), MlsError> {
    let (_, rest) = postcard::take_from_bytes::<Front<'_>>(row).map_err(MlsError::storage)?;
    Ok((row.get(..row.len() - rest.len()).unwrap_or_default(), rest))
}

impl<'a> Row<'a> {
    fn parse(row: &'a [u8]) -> Result<Self, MlsError> {
        let (front, rest) = lasting(row)?;
        let (tree, rest) = postcard::take_from_bytes(rest).map_err(MlsError::storage)?;
        let (added_at, rest) = postcard::take_from_bytes(rest).map_err(MlsError::storage)?;
        if !rest.is_empty() {
            return Err(MlsError::Storage("message secrets of an unknown shape".into()));
        }
        Ok(Self { front, tree, added_at })
    }

    fn write(&self) -> Result<Vec<u8>, MlsError> {
        let front = self.front.to_vec();
        let row = postcard::to_extend(&self.tree, front).map_err(MlsError::storage)?;
        postcard::to_extend(&self.added_at, row).map_err(MlsError::storage)
    }
}

/// The row as leaf `own` would have it. A ratchet of `own` that was set up for reading (somebody claimed to be us
/// before we ever spoke) becomes one for writing, from where it stands: a generation is never used twice.
pub(super) fn present_as(row: &[u8], own: u32) -> Result<Vec<u8>, MlsError> {
    let mut row = Row::parse(row)?;
    let tree = &mut row.tree;
    tree.own_index = own;
    for ratchets in [&mut tree.handshake, &mut tree.application] {
        if let Some(Some(ratchet)) = usize::try_from(own).ok().and_then(|own| ratchets.get_mut(own))
            && let Ratchet::Decryption(decryption) = ratchet
        {
            *ratchet = Ratchet::Encryption(decryption.head.clone());
        }
    }
    row.write()
}

/// Whether the mirror above still is the stored shape.
#[cfg(test)]
pub(super) fn own_index_and_round_trip(row: &[u8]) -> (u32, bool) {
    let parsed = Row::parse(row).unwrap();
    let front: Front<'_> = postcard::from_bytes(parsed.front).unwrap();
    let same = postcard::to_stdvec(&front).unwrap() == parsed.front && parsed.write().unwrap() == row;
    (parsed.tree.own_index, same)
}
