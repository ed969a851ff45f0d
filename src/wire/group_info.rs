//! `POST /groupInfo/{roomId}` (draft-ietf-mimi-protocol-06 section 5.6).

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    common::{Protocol, read_uri},
    json::Signed,
    limits,
    mls::{ContentType, Credential, ExternalSender, HpkeCiphertext, MlsMessage, RawGroupInfo},
    tree::RatchetTreeOption,
    update::read_handshake,
};
use crate::ident::RoomUri;

/// Asks for what an external commit needs: what the requester signs (`GroupInfoRequestTBS`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupInfoRequestTbs {
    /// Cipher suite of the keys.
    #[serde(rename = "cipher_suite")]
    pub cipher_suite: u16,
    /// The key that signs the request.
    #[serde(with = "super::json::hex_bytes")]
    pub requesting_signature_key: Vec<u8>,
    /// Whose key that is.
    pub requesting_credential: Credential,
    /// A fresh HPKE key to encrypt the answer to.
    #[serde(with = "super::json::hex_bytes")]
    pub group_info_public_key: Vec<u8>,
    /// Proof of an invitation.
    #[serde(with = "super::json::hex_option")]
    pub joining_code: Option<Vec<u8>>,
}

impl GroupInfoRequestTbs {
    /// Label for `SignWithLabel`.
    pub const LABEL: &'static str = "GroupInfoRequestTBS";

    fn read_without_code(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Protocol::read(reader)?;
        Ok(Self {
            cipher_suite: reader.u16("cipher_suite")?,
            requesting_signature_key: reader.opaque("requestingSignatureKey", limits::KEY_OR_TAG)?.to_vec(),
            requesting_credential: reader.inside("requestingCredential", Credential::read)?,
            group_info_public_key: reader.opaque("groupInfoPublicKey", limits::KEY_OR_TAG)?.to_vec(),
            joining_code: None,
        })
    }
}

fn read_code(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    reader.opaque("joiningCode", limits::JOINING_CODE).map(<[u8]>::to_vec)
}

impl Wire for GroupInfoRequestTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut tbs = Self::read_without_code(reader)?;
        tbs.joining_code = reader.optional("joiningCode", read_code)?;
        Ok(tbs)
    }

    fn write(&self, writer: &mut Writer) {
        Protocol::Mls10.write(writer);
        writer.u16(self.cipher_suite);
        writer.opaque(&self.requesting_signature_key);
        self.requesting_credential.write(writer);
        writer.opaque(&self.group_info_public_key);
        writer.optional(self.joining_code.as_ref(), |w, code| w.opaque(code));
    }
}

/// A signed request. The signature is not checked here.
///
/// We read the joining code as `optional` in the request as in its TBS. A peer that takes the draft literally leaves
/// the presence octet out of the request; such a body is understood where the first reading fails, and its signature
/// then covers the TBS with the octet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Signed<GroupInfoRequestTbs>", into = "Signed<GroupInfoRequestTbs>")]
pub struct GroupInfoRequest {
    tbs: GroupInfoRequestTbs,
    tbs_bytes: Vec<u8>,
    signature: Vec<u8>,
}

impl GroupInfoRequest {
    /// Puts a request together; `signature` is `SignWithLabel` over `tbs.encode()`.
    #[must_use]
    pub fn new(tbs: GroupInfoRequestTbs, signature: Vec<u8>) -> Self {
        Self { tbs_bytes: tbs.encode(), tbs, signature }
    }

    /// What was asked.
    #[must_use]
    pub fn tbs(&self) -> &GroupInfoRequestTbs {
        &self.tbs
    }

    /// The bytes that the signature covers.
    #[must_use]
    pub fn tbs_bytes(&self) -> &[u8] {
        &self.tbs_bytes
    }

    /// The signature, unchecked.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    fn read_plain_code(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut tbs = GroupInfoRequestTbs::read_without_code(reader)?;
        tbs.joining_code = Some(read_code(reader)?);
        let signature = read_signature(reader)?;
        reader.finish("GroupInfoRequest")?;
        Ok(Self::new(tbs, signature))
    }
}

fn read_signature(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    reader.opaque("signature", limits::KEY_OR_TAG).map(<[u8]>::to_vec)
}

impl From<Signed<GroupInfoRequestTbs>> for GroupInfoRequest {
    fn from(signed: Signed<GroupInfoRequestTbs>) -> Self {
        Self::new(signed.tbs, signed.signature)
    }
}

impl From<GroupInfoRequest> for Signed<GroupInfoRequestTbs> {
    fn from(request: GroupInfoRequest) -> Self {
        Self { tbs: request.tbs, signature: request.signature }
    }
}

impl Wire for GroupInfoRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.offset();
        let tbs = GroupInfoRequestTbs::read(reader)?;
        let tbs_bytes = reader.since(start).to_vec();
        Ok(Self { tbs, tbs_bytes, signature: read_signature(reader)? })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.tbs_bytes);
        writer.opaque(&self.signature);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::for_body(bytes)?;
        let mut plain = reader.clone();
        Self::read(&mut reader)
            .and_then(|request| reader.finish("end of body").map(|()| request))
            .or_else(|error| Self::read_plain_code(&mut plain).map_err(|_| error))
    }
}

octet_enum!(
    /// How a request went.
    GroupInfoCode, "status", {
        /// Here it is.
        Success = 1,
        /// The requester may not have it.
        NotAuthorized = 2,
        /// No such room.
        NoSuchRoom = 3,
    }
);

/// What the hub signs (`GroupInfoResponseTBS`, always with status success).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupInfoResponseTbs {
    /// The room, as received: its bytes are the context of the encryption.
    #[serde(rename = "room_id")]
    pub room: RoomUri,
    /// Cipher suite of the encryption and the signature.
    #[serde(rename = "cipher_suite")]
    pub cipher_suite: u16,
    /// The hub as external sender of the group.
    pub hub_sender: ExternalSender,
    /// `EncryptWithLabel` of a [`GroupInfoRatchetTree`].
    #[serde(rename = "encrypted_groupinfo_and_tree")]
    pub encrypted: HpkeCiphertext,
}

impl GroupInfoResponseTbs {
    /// Label for `SignWithLabel`.
    pub const LABEL: &'static str = "GroupInfoResponseTBS";

    fn read_arm(room: RoomUri, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            room,
            cipher_suite: reader.u16("cipher_suite")?,
            hub_sender: reader.inside("hub_sender", ExternalSender::read)?,
            encrypted: reader.inside("encrypted_groupinfo_and_tree", HpkeCiphertext::read)?,
        })
    }
}

fn read_head(reader: &mut Reader<'_>) -> Result<(RoomUri, GroupInfoCode), DecodeError> {
    Protocol::read(reader)?;
    Ok((read_uri(reader, "room_id", RoomUri::from_bytes)?, GroupInfoCode::read(reader)?))
}

fn write_head(writer: &mut Writer, room: &RoomUri, code: GroupInfoCode) {
    Protocol::Mls10.write(writer);
    writer.opaque(room.as_str().as_bytes());
    code.write(writer);
}

impl Wire for GroupInfoResponseTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.clone();
        match read_head(reader)? {
            (room, GroupInfoCode::Success) => Self::read_arm(room, reader),
            _ => Err(at.error("status", DecodeErrorKind::NotAllowed("only success is signed"))),
        }
    }

    fn write(&self, writer: &mut Writer) {
        write_head(writer, &self.room, GroupInfoCode::Success);
        writer.u16(self.cipher_suite);
        self.hub_sender.write(writer);
        self.encrypted.write(writer);
    }
}

/// A GroupInfo with the hub's signature, which is not checked here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Signed<GroupInfoResponseTbs>", into = "Signed<GroupInfoResponseTbs>")]
pub struct SignedGroupInfo {
    tbs: GroupInfoResponseTbs,
    tbs_bytes: Vec<u8>,
    signature: Vec<u8>,
}

impl From<Signed<GroupInfoResponseTbs>> for SignedGroupInfo {
    fn from(signed: Signed<GroupInfoResponseTbs>) -> Self {
        Self { tbs_bytes: signed.tbs.encode(), tbs: signed.tbs, signature: signed.signature }
    }
}

impl From<SignedGroupInfo> for Signed<GroupInfoResponseTbs> {
    fn from(signed: SignedGroupInfo) -> Self {
        Self { tbs: signed.tbs, signature: signed.signature }
    }
}

impl SignedGroupInfo {
    /// What the hub says.
    #[must_use]
    pub fn tbs(&self) -> &GroupInfoResponseTbs {
        &self.tbs
    }

    /// The bytes that the signature covers, as received.
    #[must_use]
    pub fn tbs_bytes(&self) -> &[u8] {
        &self.tbs_bytes
    }

    /// The signature, unchecked.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// The hub's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum GroupInfoResponse {
    /// Here it is, encrypted.
    Success(Box<SignedGroupInfo>),
    /// The requester may not have it. Unsigned.
    NotAuthorized(RoomUri),
    /// No such room. Unsigned.
    NoSuchRoom(RoomUri),
}

impl GroupInfoResponse {
    /// Puts an answer together; `signature` is `SignWithLabel` over `tbs.encode()`.
    #[must_use]
    pub fn success(tbs: GroupInfoResponseTbs, signature: Vec<u8>) -> Self {
        Self::Success(Box::new(Signed { tbs, signature }.into()))
    }
}

impl Wire for GroupInfoResponse {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.offset();
        Ok(match read_head(reader)? {
            (room, GroupInfoCode::Success) => {
                let tbs = GroupInfoResponseTbs::read_arm(room, reader)?;
                let tbs_bytes = reader.since(start).to_vec();
                Self::Success(Box::new(SignedGroupInfo { tbs, tbs_bytes, signature: read_signature(reader)? }))
            }
            (room, GroupInfoCode::NotAuthorized) => Self::NotAuthorized(room),
            (room, GroupInfoCode::NoSuchRoom) => Self::NoSuchRoom(room),
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Success(signed) => {
                writer.raw(&signed.tbs_bytes);
                writer.opaque(&signed.signature);
            }
            Self::NotAuthorized(room) => write_head(writer, room, GroupInfoCode::NotAuthorized),
            Self::NoSuchRoom(room) => write_head(writer, room, GroupInfoCode::NoSuchRoom),
        }
    }
}

/// A proposal that the hub accepted in the current epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingProposal {
    /// The proposal, a PublicMessage.
    pub proposal: MlsMessage,
    /// When, in milliseconds since the UNIX epoch.
    pub hub_accepted_time: u64,
}

impl Wire for PendingProposal {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (proposal, _) = read_handshake(reader, "proposal", Some(ContentType::Proposal))?;
        Ok(Self { proposal, hub_accepted_time: reader.u64("hub_accepted_time")? })
    }

    fn write(&self, writer: &mut Writer) {
        self.proposal.write(writer);
        writer.u64(self.hub_accepted_time);
    }
}

/// What is encrypted to the requester (`GroupInfoRatchetTreeTBE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupInfoRatchetTree {
    /// The GroupInfo, without ratchet tree.
    #[serde(rename = "groupInfo")]
    pub group_info: RawGroupInfo,
    /// The ratchet tree.
    #[serde(rename = "ratchetTreeOption")]
    pub ratchet_tree: RatchetTreeOption,
    /// Pending proposals of the current epoch. An external commit must include the `SelfRemoves` among them.
    pub pending_proposals: Vec<PendingProposal>,
}

impl GroupInfoRatchetTree {
    /// Label for `EncryptWithLabel`; the context is the room URI's bytes.
    pub const LABEL: &'static str = "GroupInfo and ratchet_tree encryption";
}

impl Wire for GroupInfoRatchetTree {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            group_info: reader.inside("groupInfo", RawGroupInfo::read)?,
            ratchet_tree: reader.inside("ratchetTreeOption", RatchetTreeOption::read)?,
            pending_proposals: reader.list(
                "pending_proposals",
                limits::MLS_OBJECT,
                limits::PROPOSALS,
                PendingProposal::read,
            )?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.group_info.write(writer);
        self.ratchet_tree.write(writer);
        writer.list(&self.pending_proposals);
    }
}
