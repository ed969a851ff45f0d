//! The own leaf index inside OpenMLS' stored `MessageSecretsStore` (openmls 0.9.2, postcard).
//!
//! All members of an epoch share its secrets; only the ratchets that a member keeps for itself differ in kind. So a
//! state can be loaded as any leaf of ours once the index in it says so. The types below are the stored ones, field
//! by field: postcard writes no names, and a row that does not come out byte for byte the same is refused.

use std::{collections::VecDeque, time::SystemTime};

use openmls::group::Member;
use openmls_traits::types::AeadType;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::MlsError;

#[derive(Clone, Serialize, Deserialize)]
struct Secret(Vec<u8>);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct Store {
    max_epochs: usize,
    past: VecDeque<EpochTree>,
    current: MessageSecrets,
}

#[derive(Serialize, Deserialize)]
struct EpochTree {
    epoch: u64,
    secrets: MessageSecrets,
    leaves: Vec<Member>,
}

#[derive(Serialize, Deserialize)]
struct MessageSecrets {
    sender_data: Secret,
    membership: Secret,
    confirmation: Secret,
    context: Vec<u8>,
    tree: SecretTree,
    added_at: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
struct SecretTree {
    own_index: u32,
    leaves: Vec<Option<Secret>>,
    parents: Vec<Option<Secret>>,
    handshake: Vec<Option<Ratchet>>,
    application: Vec<Option<Ratchet>>,
    size: u32,
}

#[derive(Serialize, Deserialize)]
enum Ratchet {
    Encryption(Head),
    Decryption(Decryption),
}

type AeadKey = (AeadType, Secret);

#[derive(Serialize, Deserialize)]
struct Decryption {
    past: VecDeque<Option<(AeadKey, [u8; 12])>>,
    head: Head,
}

#[derive(Clone, Serialize, Deserialize)]
struct Head {
    secret: Secret,
    generation: u32,
}

/// The row as leaf `own` would have it. A ratchet of `own` that was set up for reading (somebody claimed to be us
/// before we ever spoke) becomes one for writing, from where it stands: a generation is never used twice.
pub(super) fn present_as(row: &[u8], own: u32) -> Result<Vec<u8>, MlsError> {
    let (mut store, rest): (Store, _) = postcard::take_from_bytes(row).map_err(MlsError::storage)?;
    if !rest.is_empty() {
        return Err(MlsError::Storage("message secrets of an unknown shape".into()));
    }
    let tree = &mut store.current.tree;
    tree.own_index = own;
    for ratchets in [&mut tree.handshake, &mut tree.application] {
        if let Some(Some(ratchet)) = usize::try_from(own).ok().and_then(|own| ratchets.get_mut(own))
            && let Ratchet::Decryption(decryption) = ratchet
        {
            *ratchet = Ratchet::Encryption(decryption.head.clone());
        }
    }
    postcard::to_stdvec(&store).map_err(MlsError::storage)
}

/// Whether the mirror above still is the stored shape.
#[cfg(test)]
pub(super) fn own_index_and_round_trip(row: &[u8]) -> (u32, bool) {
    let store: Store = postcard::from_bytes(row).unwrap();
    (store.current.tree.own_index, postcard::to_stdvec(&store).unwrap() == row)
}
