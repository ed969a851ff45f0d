//! MLS objects as their exact bytes plus the fields that routing needs: `MLSMessage` (RFC 9420 section 6), KeyPackage
//! (10), GroupInfo (12.4.3), Welcome (12.4.3.1), ratchet tree (12.4.3.3).

use std::fmt;

use super::{credential::Credential, walk};
use crate::wire::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    limits,
};

octet_enum!(
    /// What an MLS message carries.
    ContentType, "content_type", {
        /// Application data.
        Application = 1,
        /// One proposal.
        Proposal = 2,
        /// A commit.
        Commit = 3,
    }
);

/// Who sent a PublicMessage, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The member at this leaf.
    Member(u32),
    /// The external sender with this index in the group's list.
    External(u32),
    /// Somebody who proposes to be added.
    NewMemberProposal,
    /// Somebody who adds itself: an external commit.
    NewMemberCommit,
}

/// An MLS structure whose end can be found.
pub trait MlsStruct: Sized {
    /// The structure's name.
    const NAME: &'static str;
    /// Moves the reader behind the structure and picks up fields on the way.
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// The exact bytes of an MLS structure, with the fields `T` read from them. Well-formed, not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw<T> {
    bytes: Vec<u8>,
    fields: T,
}

impl<T: MlsStruct> Raw<T> {
    /// Takes bytes (of OpenMLS, of the store) that are one whole structure.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let mut reader = Reader::for_body(&bytes)?;
        let fields = T::walk(&mut reader)?;
        reader.finish(T::NAME)?;
        Ok(Self { bytes, fields })
    }

    /// The bytes as received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes as received.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What was read from the bytes.
    #[must_use]
    pub fn fields(&self) -> &T {
        &self.fields
    }
}

impl<T: MlsStruct> Wire for Raw<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.offset();
        let fields = T::walk(reader)?;
        Ok(Self { bytes: reader.since(start).to_vec(), fields })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.bytes);
    }
}

impl<T: fmt::Debug> fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({} bytes)", self.fields, self.bytes.len())
    }
}

/// What a KeyPackage says about its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackageFields {
    /// Cipher suite.
    pub cipher_suite: u16,
    /// Signature public key of the leaf.
    pub signature_key: Vec<u8>,
    /// Credential of the leaf.
    pub credential: Credential,
    /// Start of its lifetime, in seconds since the UNIX epoch.
    pub not_before: u64,
    /// End of its lifetime, in seconds since the UNIX epoch.
    pub not_after: u64,
}

/// What a GroupInfo says about its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfoFields {
    /// Cipher suite.
    pub cipher_suite: u16,
    /// Group id.
    pub group_id: Vec<u8>,
    /// Epoch.
    pub epoch: u64,
    /// Leaf of the member who signed it.
    pub signer: u32,
}

/// What a Welcome says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WelcomeFields {
    /// Cipher suite.
    pub cipher_suite: u16,
    /// The `KeyPackageRefs` of the new members, in order.
    pub new_members: Vec<Vec<u8>>,
}

/// How many nodes a ratchet tree has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatchetTreeFields {
    /// Leaves and parents, blank ones included.
    pub nodes: usize,
}

/// What a PublicMessage says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFields {
    /// Group id.
    pub group_id: Vec<u8>,
    /// Epoch it was made in.
    pub epoch: u64,
    /// Its sender.
    pub sender: Sender,
    /// Data that its signature covers, unread: a [`SafeAad`](crate::wire::SafeAad) where the group has `safe_aad`.
    pub authenticated_data: Vec<u8>,
    /// Proposal or commit; never application data.
    pub content_type: ContentType,
}

/// What a PrivateMessage says in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateFields {
    /// Group id.
    pub group_id: Vec<u8>,
    /// Epoch it was made in.
    pub epoch: u64,
    /// What it carries.
    pub content_type: ContentType,
    /// Data that its encryption covers, unread: a [`SafeAad`](crate::wire::SafeAad) where the group has `safe_aad`.
    pub authenticated_data: Vec<u8>,
}

/// An `MLSMessage` by wire format; one that is not listed is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MlsMessageFields {
    /// `mls_public_message` (1).
    Public(PublicFields),
    /// `mls_private_message` (2).
    Private(PrivateFields),
    /// `mls_welcome` (3).
    Welcome(WelcomeFields),
    /// `mls_group_info` (4).
    GroupInfo(GroupInfoFields),
    /// `mls_key_package` (5).
    KeyPackage(KeyPackageFields),
}

/// A KeyPackage without `MLSMessage` header.
pub type RawKeyPackage = Raw<KeyPackageFields>;
/// A GroupInfo without `MLSMessage` header.
pub type RawGroupInfo = Raw<GroupInfoFields>;
/// A Welcome without `MLSMessage` header.
pub type RawWelcome = Raw<WelcomeFields>;
/// `optional<Node> ratchet_tree<V>`, its length included: the data of the `ratchet_tree` extension.
pub type RawRatchetTree = Raw<RatchetTreeFields>;
/// An `MLSMessage`.
pub type MlsMessage = Raw<MlsMessageFields>;

impl MlsStruct for KeyPackageFields {
    const NAME: &'static str = "KeyPackage";
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        walk::key_package(reader)
    }
}

impl MlsStruct for GroupInfoFields {
    const NAME: &'static str = "GroupInfo";
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        walk::group_info(reader)
    }
}

impl MlsStruct for WelcomeFields {
    const NAME: &'static str = "Welcome";
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        walk::welcome(reader)
    }
}

impl MlsStruct for RatchetTreeFields {
    const NAME: &'static str = "ratchet_tree";
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nodes = reader.each(Self::NAME, limits::MLS_OBJECT, limits::TREE_NODES, |r| {
            r.optional("node", walk::tree_node).map(drop)
        })?;
        Ok(Self { nodes })
    }
}

impl MlsStruct for MlsMessageFields {
    const NAME: &'static str = "MLSMessage";
    fn walk(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.clone();
        let version = reader.u16("version")?;
        if version != 1 {
            return Err(at.error("version", DecodeErrorKind::Unknown(version.into())));
        }
        let at = reader.clone();
        match reader.u16("wire_format")? {
            1 => walk::public_message(reader).map(Self::Public),
            2 => walk::private_message(reader).map(Self::Private),
            3 => walk::welcome(reader).map(Self::Welcome),
            4 => walk::group_info(reader).map(Self::GroupInfo),
            5 => walk::key_package(reader).map(Self::KeyPackage),
            other => Err(at.error("wire_format", DecodeErrorKind::Unknown(other.into()))),
        }
    }
}

pub(super) const HEADER_LEN: usize = 4;

impl MlsMessage {
    /// The group that a public or private message or group info belongs to.
    #[must_use]
    pub fn group_id(&self) -> Option<&[u8]> {
        match &self.fields {
            MlsMessageFields::Public(PublicFields { group_id, .. })
            | MlsMessageFields::Private(PrivateFields { group_id, .. })
            | MlsMessageFields::GroupInfo(GroupInfoFields { group_id, .. }) => Some(group_id),
            MlsMessageFields::Welcome(_) | MlsMessageFields::KeyPackage(_) => None,
        }
    }

    /// The epoch of a public or private message or group info.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        match &self.fields {
            MlsMessageFields::Public(PublicFields { epoch, .. })
            | MlsMessageFields::Private(PrivateFields { epoch, .. })
            | MlsMessageFields::GroupInfo(GroupInfoFields { epoch, .. }) => Some(*epoch),
            MlsMessageFields::Welcome(_) | MlsMessageFields::KeyPackage(_) => None,
        }
    }

    /// Proposal or commit, if this is a PublicMessage.
    #[must_use]
    pub fn handshake(&self) -> Option<ContentType> {
        match &self.fields {
            MlsMessageFields::Public(public) => Some(public.content_type),
            _ => None,
        }
    }

    /// Whether this is a PrivateMessage with application data.
    #[must_use]
    pub fn is_application(&self) -> bool {
        matches!(&self.fields, MlsMessageFields::Private(p) if p.content_type == ContentType::Application)
    }

    /// The structure inside the header, if the message is a Welcome.
    #[must_use]
    pub fn into_welcome(self) -> Option<RawWelcome> {
        match self.fields {
            MlsMessageFields::Welcome(fields) => Some(Raw { bytes: body(&self.bytes), fields }),
            _ => None,
        }
    }

    /// The structure inside the header, if the message is a GroupInfo.
    #[must_use]
    pub fn into_group_info(self) -> Option<RawGroupInfo> {
        match self.fields {
            MlsMessageFields::GroupInfo(fields) => Some(Raw { bytes: body(&self.bytes), fields }),
            _ => None,
        }
    }

    /// The structure inside the header, if the message is a KeyPackage.
    #[must_use]
    pub fn into_key_package(self) -> Option<RawKeyPackage> {
        match self.fields {
            MlsMessageFields::KeyPackage(fields) => Some(Raw { bytes: body(&self.bytes), fields }),
            _ => None,
        }
    }
}

fn body(message: &[u8]) -> Vec<u8> {
    message.get(HEADER_LEN..).unwrap_or_default().to_vec()
}

fn with_header(wire_format: u16, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u16(1);
    writer.u16(wire_format);
    writer.raw(body);
    writer.into_bytes()
}

impl From<RawWelcome> for MlsMessage {
    fn from(raw: RawWelcome) -> Self {
        Self { bytes: with_header(3, &raw.bytes), fields: MlsMessageFields::Welcome(raw.fields) }
    }
}

impl From<RawGroupInfo> for MlsMessage {
    fn from(raw: RawGroupInfo) -> Self {
        Self { bytes: with_header(4, &raw.bytes), fields: MlsMessageFields::GroupInfo(raw.fields) }
    }
}

impl From<RawKeyPackage> for MlsMessage {
    fn from(raw: RawKeyPackage) -> Self {
        Self { bytes: with_header(5, &raw.bytes), fields: MlsMessageFields::KeyPackage(raw.fields) }
    }
}
