//! The outside of MLS messages (RFC 9420 section 6), read without any group: a hub or follower routes on it.

use openmls::prelude::{ProposalOrRefIn, Welcome, tls_codec::Deserialize as _};

use super::MlsError;
use crate::wire::SafeAad;

/// The proposal type `self_remove`.
const SELF_REMOVE: u16 = 0x000a;

/// What a message is, as far as its frame tells. Nothing in here is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeKind {
    /// A PublicMessage with a proposal.
    Proposal(Frame),
    /// A PublicMessage with a commit.
    Commit(Frame),
    /// A PrivateMessage with application data.
    Application(Frame),
    /// A PrivateMessage with a proposal or commit, which this gateway refuses.
    PrivateHandshake(Frame),
    /// A Welcome.
    Welcome,
    /// A GroupInfo.
    GroupInfo,
    /// A KeyPackage.
    KeyPackage,
    /// A wire format that we do not know.
    Other(u16),
}

/// Group and epoch from a message's frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The group id.
    pub group_id: Vec<u8>,
    /// The epoch that the message was made in.
    pub epoch: u64,
    /// Who says to have sent it; `None` where that is encrypted.
    pub sender: Option<FrameSender>,
}

/// The sender that a PublicMessage states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSender {
    /// The member with this leaf index.
    Member(u32),
    /// An entry of the group's `external_senders`.
    External(u32),
    /// An outsider who asks to be added.
    NewMemberProposal,
    /// An outsider who joins by external commit.
    NewMemberCommit,
}

/// Reads version and wire format first (unknown ones do not parse further), then group, epoch and content type.
pub fn handshake_kind(message: &[u8]) -> Result<HandshakeKind, MlsError> {
    let mut reader = Reader(message);
    if reader.u16()? != 1 {
        return Err(MlsError::Unsupported("an MLS version other than 1.0".into()));
    }
    match reader.u16()? {
        1 => {
            let group_id = reader.vector()?.to_vec();
            let epoch = reader.u64()?;
            let sender = Some(reader.sender()?);
            reader.vector()?;
            let frame = Frame { group_id, epoch, sender };
            match reader.u8()? {
                2 => Ok(HandshakeKind::Proposal(frame)),
                3 => Ok(HandshakeKind::Commit(frame)),
                _ => Err(MlsError::Malformed("a PublicMessage that is no handshake".into())),
            }
        }
        2 => {
            let frame = Frame { group_id: reader.vector()?.to_vec(), epoch: reader.u64()?, sender: None };
            match reader.u8()? {
                1 => Ok(HandshakeKind::Application(frame)),
                2 | 3 => Ok(HandshakeKind::PrivateHandshake(frame)),
                other => Err(MlsError::Malformed(format!("content type {other}"))),
            }
        }
        3 => Ok(HandshakeKind::Welcome),
        4 => Ok(HandshakeKind::GroupInfo),
        5 => Ok(HandshakeKind::KeyPackage),
        other => Ok(HandshakeKind::Other(other)),
    }
}

/// The proposals that a commit takes in by reference (`ProposalRef`s), and whether it is an external one.
pub fn commit_references(commit: &[u8]) -> Result<(Vec<Vec<u8>>, bool), MlsError> {
    let commit = parse_commit(commit)?;
    let external = commit.frame.sender == Some(FrameSender::NewMemberCommit);
    let references = commit.proposals.iter().filter_map(|proposal| match proposal {
        ProposalOrRefIn::Reference(reference) => Some(reference.as_slice().to_vec()),
        ProposalOrRefIn::Proposal(_) => None,
    });
    Ok((references.collect(), external))
}

/// Whether a message is a member's SelfRemove.
#[must_use]
pub fn is_self_remove(message: &[u8]) -> bool {
    self_remove_of(message).is_ok_and(|leaf| leaf.is_some())
}

/// The Safe AAD beside an application message, as it stands in its frame; what is none is an empty one.
pub fn application_aad(message: &[u8]) -> Result<SafeAad, MlsError> {
    let HandshakeKind::Application(_) = handshake_kind(message)? else {
        return Err(MlsError::Malformed("not an application message".into()));
    };
    let mut reader = Reader(message.get(4..).unwrap_or_default());
    reader.vector()?;
    reader.u64()?;
    reader.u8()?;
    Ok(SafeAad::decode_front(reader.vector()?).map(|(aad, _)| aad).unwrap_or_default())
}

/// The references of the KeyPackages that a Welcome is for; takes a raw Welcome as well as an `MLSMessage`.
pub fn welcome_refs(welcome: &[u8]) -> Result<Vec<Vec<u8>>, MlsError> {
    Ok(parse_welcome(welcome)?.secrets().iter().map(|secret| secret.new_member().as_slice().to_vec()).collect())
}

pub(super) fn parse_welcome(welcome: &[u8]) -> Result<Welcome, MlsError> {
    // A raw Welcome starts with its cipher suite, a wrapped one with version 1 and wire format 3. Suite 1 and version
    // 1 look the same; the two bytes after it decide (a vector of 3 bytes would be no Welcome).
    let raw = match welcome {
        [0, 1, 0, 3, rest @ ..] => rest,
        raw => raw,
    };
    Welcome::tls_deserialize_exact(raw).map_err(MlsError::malformed)
}

/// A commit's own content, read from the same bytes that OpenMLS verifies.
pub(super) struct CommitFrame {
    pub(super) frame: Frame,
    pub(super) proposals: Vec<ProposalOrRefIn>,
    /// Signature key and identity of the path's leaf, if there is a path with a basic credential.
    pub(super) path: Option<PathLeaf>,
}

pub(super) struct PathLeaf {
    pub(super) signature_key: Vec<u8>,
    pub(super) identity: Option<Vec<u8>>,
}

/// Whether a PublicMessage is a member's SelfRemove, and whose.
pub(super) fn self_remove_of(message: &[u8]) -> Result<Option<u32>, MlsError> {
    let HandshakeKind::Proposal(frame) = handshake_kind(message)? else { return Ok(None) };
    let mut reader = Reader(message.get(4..).unwrap_or_default());
    reader.vector()?;
    reader.u64()?;
    reader.sender()?;
    reader.vector()?;
    reader.u8()?;
    let kind = reader.u16()?;
    match frame.sender {
        Some(FrameSender::Member(index)) if kind == SELF_REMOVE => Ok(Some(index)),
        _ => Ok(None),
    }
}

pub(super) fn parse_commit(message: &[u8]) -> Result<CommitFrame, MlsError> {
    let frame = match handshake_kind(message)? {
        HandshakeKind::Commit(frame) => frame,
        HandshakeKind::PrivateHandshake(_) => {
            return Err(MlsError::Unsupported("handshakes as PrivateMessage".into()));
        }
        _ => return Err(MlsError::Malformed("not a commit".into())),
    };
    let mut reader = Reader(message.get(4..).unwrap_or_default());
    reader.vector()?;
    reader.u64()?;
    reader.sender()?;
    reader.vector()?;
    reader.u8()?;
    let mut list = reader.vector()?;
    let mut proposals = Vec::new();
    while !list.is_empty() {
        proposals.push(ProposalOrRefIn::tls_deserialize(&mut list).map_err(MlsError::malformed)?);
    }
    let path = if reader.u8()? == 1 {
        reader.vector()?;
        let signature_key = reader.vector()?.to_vec();
        let identity = if reader.u16()? == 1 { Some(reader.vector()?.to_vec()) } else { None };
        Some(PathLeaf { signature_key, identity })
    } else {
        None
    };
    Ok(CommitFrame { frame, proposals, path })
}

/// Reads TLS presentation language from a slice; every length is checked against what is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], MlsError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or_else(|| MlsError::Malformed("too short".into()))?;
        self.0 = tail;
        Ok(head)
    }
    fn number(&mut self, len: usize) -> Result<u64, MlsError> {
        Ok(self.take(len)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }
    fn u8(&mut self) -> Result<u8, MlsError> {
        self.number(1).and_then(|value| u8::try_from(value).map_err(MlsError::malformed))
    }
    fn u16(&mut self) -> Result<u16, MlsError> {
        self.number(2).and_then(|value| u16::try_from(value).map_err(MlsError::malformed))
    }
    fn u32(&mut self) -> Result<u32, MlsError> {
        self.number(4).and_then(|value| u32::try_from(value).map_err(MlsError::malformed))
    }
    fn u64(&mut self) -> Result<u64, MlsError> {
        self.number(8)
    }
    /// A vector with the variable-size length prefix of RFC 9420 section 2.1.2.
    fn vector(&mut self) -> Result<&'a [u8], MlsError> {
        let first = self.u8()?;
        let more = match first >> 6 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return Err(MlsError::Malformed("length prefix".into())),
        };
        let rest = self.number(more)?;
        let len = (u64::from(first & 0x3f) << (8 * more)) | rest;
        self.take(usize::try_from(len).map_err(MlsError::malformed)?)
    }
    fn sender(&mut self) -> Result<FrameSender, MlsError> {
        match self.u8()? {
            1 => Ok(FrameSender::Member(self.u32()?)),
            2 => Ok(FrameSender::External(self.u32()?)),
            3 => Ok(FrameSender::NewMemberProposal),
            4 => Ok(FrameSender::NewMemberCommit),
            other => Err(MlsError::Malformed(format!("sender type {other}"))),
        }
    }
}
