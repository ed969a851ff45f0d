//! The gateway's one stored member state of a group, shared by all its local leaves (DESIGN, "one state a room").
//!
//! ```text
//!  rows --from_rows--> Member --seal as k / open / stage / accept / apply--> Member --take_changes--> rows
//!                        |  the state is loaded as the leaf that speaks
//!                        |  anchor:  processes commits, its private tree keys are kept
//!                        '- standby: its tree keys are kept too, it takes over when the anchor is removed
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::UNIX_EPOCH,
};

use openmls::prelude::{
    GroupId, MlsGroup, MlsMessageBodyIn, MlsMessageIn, PastEpochDeletion, ProcessedMessageContent, ProtocolMessage,
    Sender,
    tls_codec::{Deserialize as _, Serialize as _},
};
use openmls_basic_credential::SignatureKeyPair;
use serde::{Deserialize, Serialize};

use super::{
    MlsError, components,
    frame::{HandshakeKind, handshake_kind},
    identity::{PAST_EPOCHS, user_of_credential},
    key_package::PrivatePart,
    overlay::{CRYPTO, Overlay},
    view::{self, Known, Leaf},
};
use crate::{
    ident::{MimiUri, ProviderDomain, UserUri},
    wire::SafeAad,
};

/// All stored rows of one room's group. Keys carry no room prefix; values are secret.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The difference that a caller puts into its batch.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// Rows to write.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys to delete.
    pub delete: Vec<Vec<u8>>,
}

impl RowChanges {
    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
    /// Makes the changes to rows in memory.
    pub fn apply(self, rows: &mut Rows) {
        rows.extend(self.put);
        for key in self.delete {
            rows.remove(&key);
        }
    }
}

impl std::fmt::Debug for RowChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowChanges {{ {} put, {} deleted }}", self.put.len(), self.delete.len())
    }
}

/// An application message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The identity in the sender's credential.
    pub client: MimiUri,
    /// The user whom it names.
    pub user: UserUri,
    /// The application data.
    pub plaintext: Vec<u8>,
    /// The epoch in which it was sent.
    pub epoch: u64,
    /// The sender's leaf in that epoch.
    pub leaf: u32,
    /// What came beside it.
    pub aad: SafeAad,
}

/// A GroupInfo for joiners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfoParts {
    /// The raw `GroupInfo`, with `external_pub`, without the tree.
    pub group_info: Vec<u8>,
    /// `optional<Node> ratchet_tree<V>` with its length prefix.
    pub ratchet_tree: Vec<u8>,
}

const META: &[u8] = b"!";
const SIGNER: u8 = b'~';
const WAITING: u8 = b'^';
const FORMAT: u8 = 1;

/// What we keep about the group besides OpenMLS' rows.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) format: u8,
    pub(super) group_id: Vec<u8>,
    pub(super) domain: ProviderDomain,
    pub(super) anchor: Option<u32>,
    pub(super) standby: Option<u32>,
    /// The epoch in which this state began: earlier messages are not ours to read.
    pub(super) since: u64,
    /// By-reference proposals of this epoch, as received.
    pub(super) pending: Vec<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct SignerRow {
    user: UserUri,
    pair: SignatureKeyPair,
}

/// A local leaf and how it signs.
#[derive(Clone)]
pub(super) struct LocalLeaf {
    pub(super) index: u32,
    pub(super) pair: Arc<SignatureKeyPair>,
}

/// The gateway's one stored member state of one group. Not for sharing between threads at a time; load it from rows,
/// work, take the changes. If the batch with the changes fails, throw the value away and load it again.
pub struct Member {
    pub(super) overlay: Overlay,
    pub(super) group: MlsGroup,
    /// As which leaf `group` is loaded.
    pub(super) at: u32,
    pub(super) meta: Meta,
    pub(super) signers: BTreeMap<Vec<u8>, Arc<SignatureKeyPair>>,
    /// Signature keys of ours, those of leaves and those that wait for their leaf.
    pub(super) keys: BTreeSet<Vec<u8>>,
    pub(super) local: BTreeMap<UserUri, LocalLeaf>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("epoch", &self.epoch())
            .field("anchor", &self.meta.anchor)
            .field("standby", &self.meta.standby)
            .field("local", &self.local.len())
            .finish_non_exhaustive()
    }
}

pub(super) fn load(overlay: &Overlay, group_id: &[u8]) -> Result<MlsGroup, MlsError> {
    MlsGroup::load(overlay, &GroupId::from_slice(group_id))?
        .ok_or_else(|| MlsError::Storage("rows of the group are missing".into()))
}

impl Member {
    /// Loads a state from its rows.
    pub fn from_rows(rows: Rows) -> Result<Self, MlsError> {
        let overlay = Overlay::new(rows);
        let meta = overlay.get(META).ok_or_else(|| MlsError::Storage("no group in these rows".into()))?;
        let meta: Meta = postcard::from_bytes(&meta).map_err(MlsError::storage)?;
        if meta.format != FORMAT {
            return Err(MlsError::Storage(format!("format {} is not the one of this version", meta.format)));
        }
        Self::open_state(overlay, meta)
    }

    /// A state whose OpenMLS rows are in `overlay` and whose signers are stored there.
    pub(super) fn open_state(overlay: Overlay, meta: Meta) -> Result<Self, MlsError> {
        let at = meta.anchor.unwrap_or_default();
        overlay.present(at);
        let group = load(&overlay, &meta.group_id)?;
        let mut member =
            Self { overlay, group, at, meta, signers: BTreeMap::new(), keys: BTreeSet::new(), local: BTreeMap::new() };
        for key in member.overlay.keys(&[SIGNER]) {
            let row = member.overlay.get(&key).unwrap_or_default();
            let row: SignerRow = postcard::from_bytes(&row).map_err(MlsError::storage)?;
            member.keys.insert(row.pair.to_public_vec());
            member.signers.insert(row.pair.to_public_vec(), Arc::new(row.pair));
        }
        for key in member.overlay.keys(&[WAITING]) {
            member.keys.insert(key.get(1..).unwrap_or_default().to_vec());
        }
        member.refresh_local()?;
        Ok(member)
    }

    pub(super) fn new_meta(group: &MlsGroup, domain: ProviderDomain, anchor: u32) -> Meta {
        let group_id = group.group_id().as_slice().to_vec();
        let since = group.epoch().as_u64();
        Meta { format: FORMAT, group_id, domain, anchor: Some(anchor), standby: None, since, pending: Vec::new() }
    }

    pub(super) fn store_meta(&self) -> Result<(), MlsError> {
        self.overlay.put(META.to_vec(), postcard::to_stdvec(&self.meta).map_err(MlsError::storage)?);
        Ok(())
    }

    pub(super) fn put_meta(overlay: &Overlay, meta: &Meta) -> Result<(), MlsError> {
        overlay.put(META.to_vec(), postcard::to_stdvec(meta).map_err(MlsError::storage)?);
        Ok(())
    }

    pub(super) fn put_signer(overlay: &Overlay, user: &UserUri, pair: &[u8]) -> Result<(), MlsError> {
        let pair: SignatureKeyPair = postcard::from_bytes(pair).map_err(MlsError::storage)?;
        let mut key = vec![SIGNER];
        key.extend_from_slice(pair.public());
        overlay.put(key, postcard::to_stdvec(&SignerRow { user: user.clone(), pair }).map_err(MlsError::storage)?);
        Ok(())
    }

    /// Keys whose leaf has come become signers; signers whose leaf is gone are deleted. Finds our leaves.
    pub(super) fn refresh_local(&mut self) -> Result<(), MlsError> {
        self.local.clear();
        let mut present = BTreeSet::new();
        let members: Vec<_> = self.group.members().collect();
        for member in members {
            if !self.keys.contains(&member.signature_key) {
                continue;
            }
            let mut key = vec![WAITING];
            key.extend_from_slice(&member.signature_key);
            if let Some(private) = self.overlay.get(&key) {
                let private = PrivatePart::parse(&private)?;
                Self::put_signer(&self.overlay, &private.user, &private.signer)?;
                let pair: SignatureKeyPair = postcard::from_bytes(&private.signer).map_err(MlsError::storage)?;
                self.signers.insert(member.signature_key.clone(), Arc::new(pair));
                self.overlay.remove(&key);
            }
            if let Some(pair) = self.signers.get(&member.signature_key) {
                let (_, user) = user_of_credential(&member.credential)?;
                self.local.insert(user, LocalLeaf { index: member.index.u32(), pair: Arc::clone(pair) });
                present.insert(member.signature_key);
            }
        }
        let gone: Vec<Vec<u8>> = self.signers.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for public in gone {
            self.signers.remove(&public);
            self.keys.remove(&public);
            let mut key = vec![SIGNER];
            key.extend_from_slice(&public);
            self.overlay.remove(&key);
        }
        Ok(())
    }

    /// The difference since loading or the last take. Put it into the batch that makes the step durable; nothing that
    /// was sealed or staged may leave the process before.
    pub fn take_changes(&mut self) -> Result<RowChanges, MlsError> {
        self.flush()?;
        Ok(self.overlay.take_changes())
    }

    /// Writes message secrets that are due (OpenMLS would write them with every message).
    pub(super) fn flush(&mut self) -> Result<(), MlsError> {
        self.overlay.defer_secrets(false);
        if self.overlay.take_deferred() {
            // Deletes nothing, but writes the row.
            self.group
                .delete_past_epoch_secrets(&self.overlay, PastEpochDeletion::before_timestamp(UNIX_EPOCH))
                .map_err(MlsError::storage)?;
        }
        Ok(())
    }

    /// Loads the state as leaf `index`, if it is not.
    fn speak_as(&mut self, index: u32) -> Result<(), MlsError> {
        if self.at != index {
            self.flush()?;
            self.overlay.present(index);
            self.group = load(&self.overlay, &self.meta.group_id)?;
            self.at = index;
        }
        Ok(())
    }

    pub(super) fn live(&self) -> Result<u32, MlsError> {
        self.meta.anchor.ok_or(MlsError::NotAMember)
    }

    pub(super) fn local_leaf(&self, user: &UserUri) -> Result<LocalLeaf, MlsError> {
        self.local.get(user).cloned().ok_or_else(|| MlsError::NoLeaf(user.clone()))
    }

    pub(super) fn known(&self, now: u64) -> Known<'_> {
        Known { local: &self.keys, now }
    }

    /// Rows of private parts whose leaf has not come.
    pub(super) fn waiting(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys = self.overlay.keys(&[WAITING]);
        keys.into_iter().filter_map(|key| self.overlay.get(&key).map(|value| (key, value))).collect()
    }

    /// The group id.
    #[must_use]
    pub fn group_id(&self) -> &[u8] {
        &self.meta.group_id
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }

    /// The epoch authenticator: equal for all members who agree.
    #[must_use]
    pub fn epoch_authenticator(&self) -> Vec<u8> {
        self.group.epoch_authenticator().as_slice().to_vec()
    }

    /// Whether we can speak, read and commit. `false` once no leaf of ours has its keys any more: all were removed, or
    /// anchor and standby were removed at once.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.meta.anchor.is_some()
    }

    /// A component of the `GroupContext`'s `app_data_dictionary`.
    #[must_use]
    pub fn component(&self, id: u16) -> Option<Vec<u8>> {
        let extension = self.group.extensions().app_data_dictionary()?;
        extension.dictionary().get(&id).map(<[u8]>::to_vec)
    }

    /// All components.
    #[must_use]
    pub fn components(&self) -> BTreeMap<u16, Vec<u8>> {
        view::components(self.group.public_group())
    }

    /// All leaves, in order of their index.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let tree = self.group.treesync();
        tree.full_leaves()
            .filter_map(|(index, node)| view::leaf(index.u32(), node, |key| self.keys.contains(key)).ok())
            .collect()
    }

    /// Users with a local leaf.
    #[must_use]
    pub fn local_users(&self) -> Vec<UserUri> {
        self.local.keys().cloned().collect()
    }

    /// Whether this user has a local leaf.
    #[must_use]
    pub fn has_leaf(&self, user: &UserUri) -> bool {
        self.local.contains_key(user)
    }

    /// The user whose leaf processes commits.
    #[must_use]
    pub fn anchor(&self) -> Option<UserUri> {
        self.user_at(self.meta.anchor?)
    }

    /// The user whose leaf takes over when the anchor goes.
    #[must_use]
    pub fn standby(&self) -> Option<UserUri> {
        self.user_at(self.meta.standby?)
    }

    fn user_at(&self, index: u32) -> Option<UserUri> {
        self.local.iter().find(|(_, leaf)| leaf.index == index).map(|(user, _)| user.clone())
    }

    /// Encrypts application data as this user's leaf: an `MLSMessage` with a PrivateMessage.
    /// `aad` goes along where the group has Safe AAD.
    pub fn seal(&mut self, as_user: &UserUri, plaintext: &[u8], aad: &SafeAad) -> Result<Vec<u8>, MlsError> {
        self.live()?;
        let leaf = self.local_leaf(as_user)?;
        self.speak_as(leaf.index)?;
        self.overlay.defer_secrets(true);
        self.group.set_safe_aad(components::items(aad)).map_err(MlsError::invalid)?;
        let message = self.group.create_message(&self.overlay, &*leaf.pair, plaintext).map_err(MlsError::invalid)?;
        message.to_bytes().map_err(MlsError::invalid)
    }

    /// Reads an application message. The five epochs before the current one are still readable.
    pub fn open(&mut self, message: &[u8]) -> Result<Opened, MlsError> {
        self.live()?;
        match handshake_kind(message)? {
            HandshakeKind::Application(frame) => self.check_frame(&frame.group_id, frame.epoch, false)?,
            HandshakeKind::PrivateHandshake(_) => {
                return Err(MlsError::Unsupported("handshakes as PrivateMessage".into()));
            }
            _ => return Err(MlsError::Malformed("not an application message".into())),
        }
        let protocol = protocol_message(message)?;
        let epoch = protocol.epoch().as_u64();
        self.overlay.defer_secrets(true);
        let current = self.epoch();
        let processed = self.group.process_message(&self.overlay, protocol).map_err(MlsError::invalid)?;
        let &Sender::Member(sender) = processed.sender() else {
            return Err(MlsError::Invalid("an application message by somebody who is no member".into()));
        };
        let (client, user) = user_of_credential(processed.credential())?;
        let aad = components::read(processed.safe_aad());
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(content) => {
                if epoch == current && self.local.values().any(|leaf| leaf.index == sender.u32()) {
                    return Err(MlsError::OwnMessage);
                }
                Ok(Opened { client, user, plaintext: content.into_bytes(), epoch, leaf: sender.u32(), aad })
            }
            ProcessedMessageContent::OwnPrivateMessage => Err(MlsError::OwnMessage),
            _ => Err(MlsError::Malformed("not an application message".into())),
        }
    }

    /// Group and epoch of a message; `exact` for handshakes.
    pub(super) fn check_frame(&self, group_id: &[u8], epoch: u64, exact: bool) -> Result<(), MlsError> {
        if group_id != self.meta.group_id {
            return Err(MlsError::WrongGroup);
        }
        let current = self.epoch();
        let oldest = if exact { current } else { self.meta.since.max(current.saturating_sub(PAST_EPOCHS as u64)) };
        if epoch > current || epoch < oldest {
            return Err(MlsError::NotForThisEpoch { message: epoch, current });
        }
        Ok(())
    }

    /// By-reference proposals of this epoch, as received.
    #[must_use]
    pub fn pending_proposals(&self) -> Vec<Vec<u8>> {
        self.meta.pending.clone()
    }

    /// A GroupInfo of the current epoch, signed by this user's leaf (the anchor's if none is named).
    pub fn group_info(&self, as_user: Option<&UserUri>) -> Result<GroupInfoParts, MlsError> {
        let anchor = self.live()?;
        let leaf = match as_user {
            Some(user) => self.local_leaf(user)?,
            None => self
                .local
                .values()
                .find(|leaf| leaf.index == anchor)
                .cloned()
                .ok_or_else(|| MlsError::Storage("the anchor has no leaf".into()))?,
        };
        let other;
        let group = if self.at == leaf.index {
            &self.group
        } else {
            other = load(&self.overlay.fork(leaf.index), &self.meta.group_id)?;
            &other
        };
        let message = group.export_group_info(&*CRYPTO, &*leaf.pair, false).map_err(MlsError::invalid)?;
        let message = message.to_bytes().map_err(MlsError::invalid)?;
        Ok(GroupInfoParts {
            group_info: message.get(4..).unwrap_or_default().to_vec(),
            ratchet_tree: group.export_ratchet_tree().tls_serialize_detached().map_err(MlsError::malformed)?,
        })
    }

    /// Users for whom the caller shall stage a commit with a path: those whose leaf is past half its lifetime (later
    /// nobody could join, since joiners check lifetimes), those with a leaf whose key was lost, which goes with it, and,
    /// if there is no standby, one who then becomes it.
    /// `now` in milliseconds since the epoch.
    #[must_use]
    pub fn refresh_due(&self, now: u64) -> Vec<UserUri> {
        if self.meta.anchor.is_none() {
            return Vec::new();
        }
        let seconds = now / 1000;
        let mut due = BTreeSet::new();
        for leaf in self.leaves().into_iter().filter(|leaf| leaf.user.provider() == self.meta.domain) {
            if !leaf.local {
                due.insert(leaf.user);
            } else if let Some((from, to)) = leaf.lifetime
                && seconds >= from.midpoint(to)
            {
                due.insert(leaf.user);
            }
        }
        if self.meta.standby.is_none()
            && let Some((user, _)) = self.local.iter().find(|(_, leaf)| Some(leaf.index) != self.meta.anchor)
        {
            due.insert(user.clone());
        }
        due.into_iter().collect()
    }

    /// Hands over the private part of a KeyPackage of ours with which a member adds (or has added) another local user
    /// to this group: the leaf is matched by its signature key. To be called before the commit that adds it is applied
    /// ([`Member::wanted_key_packages`] tells which); a leaf of ours whose key is not known counts as forged.
    pub fn adopt(&mut self, private: &[u8]) -> Result<UserUri, MlsError> {
        let part = PrivatePart::parse(private)?;
        if part.user.provider() != self.meta.domain {
            return Err(MlsError::Credential("the KeyPackage is of another domain".into()));
        }
        let mut key = vec![WAITING];
        key.extend_from_slice(&part.public);
        self.overlay.put(key, private.to_vec());
        self.keys.insert(part.public);
        self.refresh_local()?;
        Ok(part.user)
    }

    /// Takes back an [`Member::adopt`] whose commit never came. Does nothing once the leaf is there.
    pub fn abandon(&mut self, private: &[u8]) -> Result<(), MlsError> {
        let part = PrivatePart::parse(private)?;
        if !self.signers.contains_key(&part.public) {
            let mut key = vec![WAITING];
            key.extend_from_slice(&part.public);
            self.overlay.remove(&key);
            self.keys.remove(&part.public);
        }
        Ok(())
    }
}

impl Member {
    /// All rows, to be stored somewhere else.
    pub fn all_rows(&mut self) -> Result<Rows, MlsError> {
        self.flush()?;
        Ok(self.overlay.rows())
    }

    /// Takes back what was adopted for these users and has no leaf: the commit that should have added them was not taken.
    pub fn abandon_waiting(&mut self, users: &[UserUri]) -> Result<(), MlsError> {
        for (_, private) in self.waiting() {
            if users.contains(&PrivatePart::parse(&private)?.user) {
                self.abandon(&private)?;
            }
        }
        Ok(())
    }
}

/// A PublicMessage or PrivateMessage from bytes.
pub(super) fn protocol_message(message: &[u8]) -> Result<ProtocolMessage, MlsError> {
    let message = MlsMessageIn::tls_deserialize_exact(message).map_err(MlsError::malformed)?;
    match message.extract() {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message.into()),
        MlsMessageBodyIn::PrivateMessage(message) => Ok(message.into()),
        _ => Err(MlsError::Malformed("neither a PublicMessage nor a PrivateMessage".into())),
    }
}
