//! `POST /update/{roomId}` (draft-ietf-mimi-protocol-06 section 5.3).
//!
//! The request has no protocol octet: its bytes are those of the `HandshakeBundle`. Handshakes are `PublicMessages`;
//! `SemiPrivateMessage` is a wire format that we refuse.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    limits,
    mls::{ContentType, MlsMessage, RawWelcome},
    tree::{GroupInfoOption, RatchetTreeOption},
};

/// A commit with what joiners and the hub need, or proposals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HandshakeBundle {
    /// One commit. Boxed: it is much larger than the other variant.
    Commit(Box<CommitBundle>),
    /// One or more proposals.
    Proposals(Vec<MlsMessage>),
}

/// A commit and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitBundle {
    /// The commit, a PublicMessage.
    pub commit: MlsMessage,
    /// For those whom the commit adds, if it adds any; without ratchet tree.
    pub welcome: Option<RawWelcome>,
    /// The GroupInfo of the new epoch.
    #[serde(rename = "groupInfoOption")]
    pub group_info: GroupInfoOption,
    /// The ratchet tree of the new epoch.
    #[serde(rename = "ratchetTreeOption")]
    pub ratchet_tree: RatchetTreeOption,
}

/// The body of an update: no protocol octet, just the bundle.
pub type UpdateRequest = HandshakeBundle;

/// Reads a PublicMessage with this content.
pub(super) fn read_handshake(
    reader: &mut Reader<'_>,
    field: &'static str,
    wanted: Option<ContentType>,
) -> Result<(MlsMessage, ContentType), DecodeError> {
    let at = reader.clone();
    let message = MlsMessage::read(reader)?;
    match message.handshake() {
        Some(found) if wanted.is_none_or(|wanted| wanted == found) => Ok((message, found)),
        Some(_) => Err(at.error(field, DecodeErrorKind::NotAllowed("a proposal is wanted here, not a commit"))),
        None => Err(at.error(field, DecodeErrorKind::NotAllowed("a PublicMessage is wanted here"))),
    }
}

/// Reads `MLSMessage field<V>`, all of them proposals.
pub(super) fn read_proposals(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<MlsMessage>, DecodeError> {
    reader.list(field, limits::MLS_OBJECT, limits::PROPOSALS, |r| {
        read_handshake(r, field, Some(ContentType::Proposal)).map(|(message, _)| message)
    })
}

impl HandshakeBundle {
    /// The commit, or the first proposal.
    #[must_use]
    pub fn first(&self) -> Option<&MlsMessage> {
        match self {
            Self::Commit(bundle) => Some(&bundle.commit),
            Self::Proposals(proposals) => proposals.first(),
        }
    }
}

impl Wire for HandshakeBundle {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (message, content) = reader.inside("proposalOrCommit", |r| read_handshake(r, "proposalOrCommit", None))?;
        if content == ContentType::Commit {
            return Ok(Self::Commit(Box::new(CommitBundle {
                commit: message,
                welcome: reader.optional("welcome", |r| r.inside("welcome", RawWelcome::read))?,
                group_info: reader.inside("groupInfoOption", GroupInfoOption::read)?,
                ratchet_tree: reader.inside("ratchetTreeOption", RatchetTreeOption::read)?,
            })));
        }
        let mut proposals = vec![message];
        proposals.extend(read_proposals(reader, "moreProposals")?);
        Ok(Self::Proposals(proposals))
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Commit(bundle) => {
                bundle.commit.write(writer);
                writer.optional(bundle.welcome.as_ref(), |w, welcome| welcome.write(w));
                bundle.group_info.write(writer);
                bundle.ratchet_tree.write(writer);
            }
            Self::Proposals(proposals) => {
                if let Some((first, more)) = proposals.split_first() {
                    first.write(writer);
                    writer.list(more);
                }
            }
        }
    }
}

octet_enum!(
    /// How an update went.
    UpdateResponseCode, "responseCode", {
        /// Accepted; it will be distributed.
        Success = 0,
        /// The hub is in another epoch.
        WrongEpoch = 1,
        /// Policy forbids it.
        NotAllowed = 2,
        /// A proposal is invalid.
        InvalidProposal = 3,
    }
);

/// What comes with the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UpdateOutcome {
    /// Accepted.
    Success {
        /// When, in milliseconds since the UNIX epoch.
        accepted_timestamp: u64,
    },
    /// Made for another epoch. Apply the missing commits and make it anew.
    WrongEpoch {
        /// The hub's epoch.
        #[serde(rename = "currentEpoch")]
        current_epoch: u64,
    },
    /// Forbidden. Permanent until policy or membership change.
    NotAllowed,
    /// At least one proposal is invalid.
    InvalidProposal {
        /// `ProposalRefs` of those.
        #[serde(rename = "invalidProposals", with = "super::json::hex_list")]
        proposals: Vec<Vec<u8>>,
    },
}

/// The answer to an update. There is no protocol octet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRoomResponse {
    /// For people; may be empty.
    #[serde(rename = "errorDescription")]
    pub description: String,
    /// What came of it.
    #[serde(rename = "responseCode")]
    pub outcome: UpdateOutcome,
}

impl From<UpdateOutcome> for UpdateRoomResponse {
    fn from(outcome: UpdateOutcome) -> Self {
        Self { description: String::new(), outcome }
    }
}

impl Wire for UpdateRoomResponse {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = UpdateResponseCode::read(reader)?;
        let description = reader.text("errorDescription", limits::DESCRIPTION)?;
        let outcome = match code {
            UpdateResponseCode::Success => {
                UpdateOutcome::Success { accepted_timestamp: reader.u64("accepted_timestamp")? }
            }
            UpdateResponseCode::WrongEpoch => UpdateOutcome::WrongEpoch { current_epoch: reader.u64("currentEpoch")? },
            UpdateResponseCode::NotAllowed => UpdateOutcome::NotAllowed,
            UpdateResponseCode::InvalidProposal => UpdateOutcome::InvalidProposal {
                proposals: reader.list("invalidProposals", limits::MLS_OBJECT, limits::PROPOSALS, |r| {
                    r.opaque("invalidProposals", limits::KEY_OR_TAG).map(<[u8]>::to_vec)
                })?,
            },
        };
        Ok(Self { description, outcome })
    }

    fn write(&self, writer: &mut Writer) {
        let code = match &self.outcome {
            UpdateOutcome::Success { .. } => UpdateResponseCode::Success,
            UpdateOutcome::WrongEpoch { .. } => UpdateResponseCode::WrongEpoch,
            UpdateOutcome::NotAllowed => UpdateResponseCode::NotAllowed,
            UpdateOutcome::InvalidProposal { .. } => UpdateResponseCode::InvalidProposal,
        };
        code.write(writer);
        writer.opaque(self.description.as_bytes());
        match &self.outcome {
            UpdateOutcome::Success { accepted_timestamp } => writer.u64(*accepted_timestamp),
            UpdateOutcome::WrongEpoch { current_epoch } => writer.u64(*current_epoch),
            UpdateOutcome::NotAllowed => {}
            UpdateOutcome::InvalidProposal { proposals } => {
                writer.vector(|w| proposals.iter().for_each(|reference| w.opaque(reference)));
            }
        }
    }
}
