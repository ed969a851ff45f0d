//! OpenMLS' storage on the rows of one room: an overlay whose difference goes into the caller's batch.
//!
//! Rows are postcard, except the join configuration, which needs a self-describing form and is JSON. The own leaf index
//! is presented here and nowhere else: [`Overlay::present`] says as which leaf the state is to be loaded, and
//! `own_leaf_index` and the message secrets are read accordingly.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    OpenMlsProvider,
    storage::{CURRENT_VERSION, StorageProvider, traits},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{MlsError, RowChanges, Rows, secrets};

/// Cryptography and randomness, shared by all groups of the process.
pub(super) static CRYPTO: LazyLock<RustCrypto> = LazyLock::new(RustCrypto::default);

const V: u16 = CURRENT_VERSION;

/// Kinds of rows: the first byte of a key.
mod kind {
    pub(super) const JOIN_CONFIG: u8 = b'J';
    pub(super) const TREE: u8 = b'T';
    pub(super) const CONTEXT: u8 = b'G';
    pub(super) const INTERIM: u8 = b'I';
    pub(super) const CONFIRMATION: u8 = b'C';
    pub(super) const STATE: u8 = b'S';
    /// Message secrets that no message of the epoch changes, its own keys and those of epochs before it; then [`SECRETS`].
    pub(super) const LASTING_SECRETS: u8 = b'm';
    pub(super) const SECRETS: u8 = b'M';
    pub(super) const RESUMPTION: u8 = b'R';
    pub(super) const OWN_INDEX: u8 = b'L';
    pub(super) const EPOCH_SECRETS: u8 = b'E';
    pub(super) const EXPORT_TREE: u8 = b'X';
    pub(super) const EPOCH_KEYS: u8 = b'K';
    pub(super) const OWN_LEAVES: u8 = b'N';
    pub(super) const PROPOSAL: u8 = b'Q';
    pub(super) const PROPOSAL_REFS: u8 = b'q';
    pub(super) const SIGNATURE_KEY: u8 = b's';
    pub(super) const ENCRYPTION_KEY: u8 = b'e';
    pub(super) const KEY_PACKAGE: u8 = b'P';
    pub(super) const PSK: u8 = b'p';
}

/// The rows of a group's public state: tree, context, interim transcript hash, confirmation tag.
pub(super) const PUBLIC_KEYS: [&[u8]; 4] = [&[kind::TREE], &[kind::CONTEXT], &[kind::INTERIM], &[kind::CONFIRMATION]];

/// The state of a staged or applied commit: one row, taken along with a staged commit.
pub(super) const STATE_KEY: &[u8] = &[kind::STATE];

/// Rows as loaded, what has changed since, and as which leaf they are to be read.
pub(super) struct Overlay {
    base: Arc<Rows>,
    changed: RefCell<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    present: Cell<Option<u32>>,
    defer: Cell<bool>,
    deferred: Cell<bool>,
}

impl Overlay {
    pub(super) fn new(rows: Rows) -> Self {
        Self {
            base: Arc::new(rows),
            changed: RefCell::default(),
            present: Cell::new(None),
            defer: Cell::new(false),
            deferred: Cell::new(false),
        }
    }
    /// A copy to try something on, to be read as leaf `own`.
    pub(super) fn fork(&self, own: u32) -> Self {
        Self {
            base: Arc::clone(&self.base),
            changed: RefCell::new(self.changed.borrow().clone()),
            present: Cell::new(Some(own)),
            defer: Cell::new(false),
            deferred: Cell::new(false),
        }
    }
    /// The state is read as leaf `own` from now on.
    pub(super) fn present(&self, own: u32) {
        self.present.set(Some(own));
    }
    /// Whether the message secrets, which OpenMLS writes with every message, are only marked as due.
    pub(super) fn defer_secrets(&self, defer: bool) {
        self.defer.set(defer);
    }
    /// Whether message secrets are due; asking clears the mark.
    pub(super) fn take_deferred(&self) -> bool {
        self.deferred.replace(false)
    }
    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changed.borrow().get(key) {
            Some(value) => value.clone(),
            None => self.base.get(key).cloned(),
        }
    }
    pub(super) fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        self.changed.borrow_mut().insert(key, Some(value));
    }
    pub(super) fn remove(&self, key: &[u8]) {
        if self.base.contains_key(key) {
            self.changed.borrow_mut().insert(key.to_vec(), None);
        } else {
            self.changed.borrow_mut().remove(key);
        }
    }
    /// All keys that start with `prefix`, in order.
    pub(super) fn keys(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let changed = self.changed.borrow();
        let mut keys: Vec<Vec<u8>> = self
            .base
            .range(prefix.to_vec()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .filter(|key| !changed.contains_key(*key))
            .cloned()
            .collect();
        keys.extend(
            changed
                .range(prefix.to_vec()..)
                .take_while(|(key, _)| key.starts_with(prefix))
                .filter(|(_, value)| value.is_some())
                .map(|(key, _)| key.clone()),
        );
        keys.sort();
        keys
    }
    /// Every row as it is now.
    pub(super) fn rows(&self) -> Rows {
        let mut rows = (*self.base).clone();
        for (key, value) in self.changed.borrow().iter() {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows
    }
    /// The difference to the loaded rows, which becomes the new base.
    pub(super) fn take_changes(&mut self) -> RowChanges {
        let RowChanges { mut put, mut delete } = RowChanges::default();
        let base = Arc::make_mut(&mut self.base);
        for (key, value) in self.changed.take() {
            match value {
                Some(value) if base.get(&key) != Some(&value) => {
                    base.insert(key.clone(), value.clone());
                    put.push((key, value));
                }
                Some(_) => {}
                None => {
                    if base.remove(&key).is_some() {
                        delete.push(key);
                    }
                }
            }
        }
        RowChanges { put, delete }
    }
    /// The key of a leaf's private tree keys in an epoch.
    pub(super) fn epoch_keys_key(epoch: u64, leaf: u32) -> Vec<u8> {
        let mut key = vec![kind::EPOCH_KEYS];
        key.extend_from_slice(&epoch.to_be_bytes());
        key.extend_from_slice(&leaf.to_be_bytes());
        key
    }

    fn store(&self, kind: u8, id: &[u8], value: &impl Serialize) -> Result<(), MlsError> {
        self.put(row(kind, id), postcard::to_stdvec(value).map_err(MlsError::storage)?);
        Ok(())
    }
    fn load<T: DeserializeOwned>(&self, kind: u8, id: &[u8]) -> Result<Option<T>, MlsError> {
        self.get(&row(kind, id)).map(|bytes| postcard::from_bytes(&bytes).map_err(MlsError::storage)).transpose()
    }
    fn erase(&self, kind: u8, id: &[u8]) {
        self.remove(&row(kind, id));
    }
}

fn row(kind: u8, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(kind);
    key.extend_from_slice(id);
    key
}

fn id(key: &impl Serialize) -> Result<Vec<u8>, MlsError> {
    postcard::to_stdvec(key).map_err(MlsError::storage)
}

/// OpenMLS' epoch numbers serialise as one varint.
fn epoch_keys(epoch: &impl Serialize, leaf: u32) -> Result<Vec<u8>, MlsError> {
    let epoch: u64 = postcard::from_bytes(&id(epoch)?).map_err(MlsError::storage)?;
    Ok(Overlay::epoch_keys_key(epoch, leaf).split_off(1))
}

impl OpenMlsProvider for Overlay {
    type CryptoProvider = RustCrypto;
    type RandProvider = RustCrypto;
    type StorageProvider = Self;
    fn storage(&self) -> &Self {
        self
    }
    fn crypto(&self) -> &RustCrypto {
        &CRYPTO
    }
    fn rand(&self) -> &RustCrypto {
        &CRYPTO
    }
}

impl StorageProvider<V> for Overlay {
    type Error = MlsError;

    fn write_tree<G: traits::GroupId<V>, T: traits::TreeSync<V>>(&self, _: &G, value: &T) -> Result<(), MlsError> {
        self.store(kind::TREE, &[], value)
    }
    fn write_interim_transcript_hash<G: traits::GroupId<V>, T: traits::InterimTranscriptHash<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::INTERIM, &[], value)
    }
    fn write_context<G: traits::GroupId<V>, T: traits::GroupContext<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::CONTEXT, &[], value)
    }
    fn write_confirmation_tag<G: traits::GroupId<V>, T: traits::ConfirmationTag<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::CONFIRMATION, &[], value)
    }
    fn write_resumption_psk_store<G: traits::GroupId<V>, T: traits::ResumptionPskStore<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::RESUMPTION, &[], value)
    }
    fn write_own_leaf_index<G: traits::GroupId<V>, T: traits::LeafNodeIndex<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::OWN_INDEX, &[], value)
    }
    fn write_group_epoch_secrets<G: traits::GroupId<V>, T: traits::GroupEpochSecrets<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::EPOCH_SECRETS, &[], value)
    }
    fn write_application_export_tree<G: traits::GroupId<V>, T: traits::ApplicationExportTree<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::EXPORT_TREE, &[], value)
    }
    fn tree<G: traits::GroupId<V>, T: traits::TreeSync<V>>(&self, _: &G) -> Result<Option<T>, MlsError> {
        self.load(kind::TREE, &[])
    }
    fn interim_transcript_hash<G: traits::GroupId<V>, T: traits::InterimTranscriptHash<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::INTERIM, &[])
    }
    fn group_context<G: traits::GroupId<V>, T: traits::GroupContext<V>>(&self, _: &G) -> Result<Option<T>, MlsError> {
        self.load(kind::CONTEXT, &[])
    }
    fn confirmation_tag<G: traits::GroupId<V>, T: traits::ConfirmationTag<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::CONFIRMATION, &[])
    }
    fn resumption_psk_store<G: traits::GroupId<V>, T: traits::ResumptionPskStore<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::RESUMPTION, &[])
    }
    fn group_epoch_secrets<G: traits::GroupId<V>, T: traits::GroupEpochSecrets<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::EPOCH_SECRETS, &[])
    }
    fn application_export_tree<G: traits::GroupId<V>, T: traits::ApplicationExportTree<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::EXPORT_TREE, &[])
    }
    fn delete_own_leaf_nodes<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::OWN_LEAVES, &[]);
        Ok(())
    }
    fn delete_group_config<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::JOIN_CONFIG, &[]);
        Ok(())
    }
    fn delete_tree<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::TREE, &[]);
        Ok(())
    }
    fn delete_confirmation_tag<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::CONFIRMATION, &[]);
        Ok(())
    }
    fn delete_group_state<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::STATE, &[]);
        Ok(())
    }
    fn delete_context<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::CONTEXT, &[]);
        Ok(())
    }
    fn delete_interim_transcript_hash<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::INTERIM, &[]);
        Ok(())
    }
    fn delete_message_secrets<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::LASTING_SECRETS, &[]);
        self.erase(kind::SECRETS, &[]);
        Ok(())
    }
    fn delete_all_resumption_psk_secrets<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::RESUMPTION, &[]);
        Ok(())
    }
    fn delete_own_leaf_index<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::OWN_INDEX, &[]);
        Ok(())
    }
    fn delete_group_epoch_secrets<G: traits::GroupId<V>>(&self, _: &G) -> Result<(), MlsError> {
        self.erase(kind::EPOCH_SECRETS, &[]);
        Ok(())
    }
    fn delete_application_export_tree<G: traits::GroupId<V>, T: traits::ApplicationExportTree<V>>(
        &self,
        _: &G,
    ) -> Result<(), MlsError> {
        self.erase(kind::EXPORT_TREE, &[]);
        Ok(())
    }
    fn write_group_state<T: traits::GroupState<V>, G: traits::GroupId<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::STATE, &[], value)
    }
    fn group_state<T: traits::GroupState<V>, G: traits::GroupId<V>>(&self, _: &G) -> Result<Option<T>, MlsError> {
        self.load(kind::STATE, &[])
    }
    fn write_mls_join_config<G: traits::GroupId<V>, T: traits::MlsGroupJoinConfig<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        self.put(row(kind::JOIN_CONFIG, &[]), serde_json::to_vec(value).map_err(MlsError::storage)?);
        Ok(())
    }
    fn mls_group_join_config<G: traits::GroupId<V>, T: traits::MlsGroupJoinConfig<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        self.get(&row(kind::JOIN_CONFIG, &[]))
            .map(|bytes| serde_json::from_slice(&bytes).map_err(MlsError::storage))
            .transpose()
    }
    fn write_message_secrets<G: traits::GroupId<V>, T: traits::MessageSecrets<V>>(
        &self,
        _: &G,
        value: &T,
    ) -> Result<(), MlsError> {
        if self.defer.get() {
            self.deferred.set(true);
            return Ok(());
        }
        self.deferred.set(false);
        // Two rows, so that a message need not write again what it did not change: most of it in a room that saw commits.
        let bytes = postcard::to_stdvec(value).map_err(MlsError::storage)?;
        let (lasting, rest) = secrets::lasting(&bytes)?;
        self.put(row(kind::LASTING_SECRETS, &[]), lasting.to_vec());
        self.put(row(kind::SECRETS, &[]), rest.to_vec());
        Ok(())
    }
    fn message_secrets<G: traits::GroupId<V>, T: traits::MessageSecrets<V>>(
        &self,
        _: &G,
    ) -> Result<Option<T>, MlsError> {
        let Some(rest) = self.get(&row(kind::SECRETS, &[])) else { return Ok(None) };
        let mut bytes = self.get(&row(kind::LASTING_SECRETS, &[])).unwrap_or_default();
        bytes.extend(rest);
        if let Some(own) = self.present.get() {
            bytes = secrets::present_as(&bytes, own)?;
        }
        postcard::from_bytes(&bytes).map(Some).map_err(MlsError::storage)
    }
    fn own_leaf_index<G: traits::GroupId<V>, T: traits::LeafNodeIndex<V>>(&self, _: &G) -> Result<Option<T>, MlsError> {
        match self.present.get() {
            Some(own) => postcard::from_bytes(&id(&own)?).map(Some).map_err(MlsError::storage),
            None => self.load(kind::OWN_INDEX, &[]),
        }
    }
    fn append_own_leaf_node<G: traits::GroupId<V>, T: traits::LeafNode<V>>(
        &self,
        _: &G,
        _: &T,
    ) -> Result<(), MlsError> {
        Err(MlsError::Unsupported("Update proposals of our own".into()))
    }
    fn own_leaf_nodes<G: traits::GroupId<V>, T: traits::LeafNode<V>>(&self, _: &G) -> Result<Vec<T>, MlsError> {
        Ok(Vec::new())
    }
    fn queue_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>, T: traits::QueuedProposal<V>>(
        &self,
        _: &G,
        reference: &R,
        proposal: &T,
    ) -> Result<(), MlsError> {
        let reference = id(reference)?;
        let mut references: Vec<Vec<u8>> = self.load(kind::PROPOSAL_REFS, &[])?.unwrap_or_default();
        self.store(kind::PROPOSAL, &reference, proposal)?;
        references.push(reference);
        self.store(kind::PROPOSAL_REFS, &[], &references)
    }
    fn queued_proposal_refs<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<R>, MlsError> {
        let references: Vec<Vec<u8>> = self.load(kind::PROPOSAL_REFS, &[])?.unwrap_or_default();
        references.iter().map(|bytes| postcard::from_bytes(bytes).map_err(MlsError::storage)).collect()
    }
    fn queued_proposals<G: traits::GroupId<V>, R: traits::ProposalRef<V>, T: traits::QueuedProposal<V>>(
        &self,
        _: &G,
    ) -> Result<Vec<(R, T)>, MlsError> {
        let references: Vec<Vec<u8>> = self.load(kind::PROPOSAL_REFS, &[])?.unwrap_or_default();
        references
            .iter()
            .map(|bytes| {
                let proposal = self.load(kind::PROPOSAL, bytes)?;
                let proposal = proposal.ok_or_else(|| MlsError::Storage("a queued proposal is missing".into()))?;
                Ok((postcard::from_bytes(bytes).map_err(MlsError::storage)?, proposal))
            })
            .collect()
    }
    fn remove_proposal<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        _: &G,
        reference: &R,
    ) -> Result<(), MlsError> {
        let reference = id(reference)?;
        let mut references: Vec<Vec<u8>> = self.load(kind::PROPOSAL_REFS, &[])?.unwrap_or_default();
        references.retain(|other| *other != reference);
        self.erase(kind::PROPOSAL, &reference);
        self.store(kind::PROPOSAL_REFS, &[], &references)
    }
    fn clear_proposal_queue<G: traits::GroupId<V>, R: traits::ProposalRef<V>>(&self, _: &G) -> Result<(), MlsError> {
        let references: Vec<Vec<u8>> = self.load(kind::PROPOSAL_REFS, &[])?.unwrap_or_default();
        for reference in references {
            self.erase(kind::PROPOSAL, &reference);
        }
        self.erase(kind::PROPOSAL_REFS, &[]);
        Ok(())
    }
    fn write_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, T: traits::HpkeKeyPair<V>>(
        &self,
        _: &G,
        epoch: &E,
        leaf: u32,
        pairs: &[T],
    ) -> Result<(), MlsError> {
        self.store(kind::EPOCH_KEYS, &epoch_keys(epoch, leaf)?, &pairs)
    }
    fn encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>, T: traits::HpkeKeyPair<V>>(
        &self,
        _: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<T>, MlsError> {
        Ok(self.load(kind::EPOCH_KEYS, &epoch_keys(epoch, leaf)?)?.unwrap_or_default())
    }
    fn delete_encryption_epoch_key_pairs<G: traits::GroupId<V>, E: traits::EpochKey<V>>(
        &self,
        _: &G,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), MlsError> {
        self.erase(kind::EPOCH_KEYS, &epoch_keys(epoch, leaf)?);
        Ok(())
    }
    fn write_signature_key_pair<I: traits::SignaturePublicKey<V>, T: traits::SignatureKeyPair<V>>(
        &self,
        key: &I,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::SIGNATURE_KEY, &id(key)?, value)
    }
    fn signature_key_pair<I: traits::SignaturePublicKey<V>, T: traits::SignatureKeyPair<V>>(
        &self,
        key: &I,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::SIGNATURE_KEY, &id(key)?)
    }
    fn delete_signature_key_pair<I: traits::SignaturePublicKey<V>>(&self, key: &I) -> Result<(), MlsError> {
        self.erase(kind::SIGNATURE_KEY, &id(key)?);
        Ok(())
    }
    fn write_encryption_key_pair<I: traits::EncryptionKey<V>, T: traits::HpkeKeyPair<V>>(
        &self,
        key: &I,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::ENCRYPTION_KEY, &id(key)?, value)
    }
    fn encryption_key_pair<T: traits::HpkeKeyPair<V>, I: traits::EncryptionKey<V>>(
        &self,
        key: &I,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::ENCRYPTION_KEY, &id(key)?)
    }
    fn delete_encryption_key_pair<I: traits::EncryptionKey<V>>(&self, key: &I) -> Result<(), MlsError> {
        self.erase(kind::ENCRYPTION_KEY, &id(key)?);
        Ok(())
    }
    fn write_key_package<I: traits::HashReference<V>, T: traits::KeyPackage<V>>(
        &self,
        key: &I,
        value: &T,
    ) -> Result<(), MlsError> {
        self.store(kind::KEY_PACKAGE, &id(key)?, value)
    }
    fn key_package<I: traits::HashReference<V>, T: traits::KeyPackage<V>>(
        &self,
        key: &I,
    ) -> Result<Option<T>, MlsError> {
        self.load(kind::KEY_PACKAGE, &id(key)?)
    }
    fn delete_key_package<I: traits::HashReference<V>>(&self, key: &I) -> Result<(), MlsError> {
        self.erase(kind::KEY_PACKAGE, &id(key)?);
        Ok(())
    }
    fn write_psk<I: traits::PskId<V>, T: traits::PskBundle<V>>(&self, key: &I, value: &T) -> Result<(), MlsError> {
        self.store(kind::PSK, &id(key)?, value)
    }
    fn psk<T: traits::PskBundle<V>, I: traits::PskId<V>>(&self, key: &I) -> Result<Option<T>, MlsError> {
        self.load(kind::PSK, &id(key)?)
    }
    fn delete_psk<I: traits::PskId<V>>(&self, key: &I) -> Result<(), MlsError> {
        self.erase(kind::PSK, &id(key)?);
        Ok(())
    }
}
