//! `POST /notify/{roomId}` (draft-ietf-mimi-protocol-06 section 5.5).
//!
//! A body is one or more `FanoutMessages`, one after the other, without an outer length; each ends where its MLS message
//! and the rest of it end. If one cannot be delimited, the whole body is refused: nothing of it may be acknowledged.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer},
    franking::Frank,
    limits,
    mls::{ContentType, MlsMessage, MlsMessageFields},
    tree::RatchetTreeOption,
    update::read_proposals,
};

/// What the hub distributes. The variant follows from the MLS message; there is no discriminator on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FanoutContent {
    /// A PrivateMessage with application data.
    Application {
        /// The message.
        message: MlsMessage,
        /// The hub's frank, if the message had a franking tag.
        frank: Option<Frank>,
    },
    /// A Welcome, as `MLSMessage`.
    Welcome {
        /// The message.
        message: MlsMessage,
        /// The ratchet tree of the epoch that it welcomes to.
        #[serde(rename = "ratchetTreeOption")]
        ratchet_tree: RatchetTreeOption,
    },
    /// A PublicMessage with a proposal.
    Proposal {
        /// The message.
        message: MlsMessage,
        /// Further proposals of the same update.
        #[serde(rename = "moreProposals")]
        more: Vec<MlsMessage>,
    },
    /// A PublicMessage with a commit.
    Commit {
        /// The message.
        message: MlsMessage,
        /// The hub's replacements of proposals that an external commit made invalid.
        #[serde(rename = "externalProposals")]
        external_proposals: Vec<MlsMessage>,
    },
}

impl FanoutContent {
    /// The MLS message.
    #[must_use]
    pub fn message(&self) -> &MlsMessage {
        match self {
            Self::Application { message, .. }
            | Self::Welcome { message, .. }
            | Self::Proposal { message, .. }
            | Self::Commit { message, .. } => message,
        }
    }
}

/// One message of the hub to a follower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanoutMessage {
    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub timestamp: u64,
    /// What it accepted.
    pub content: FanoutContent,
}

impl FanoutMessage {
    /// All messages of a notify body, in order; at least one.
    pub fn decode_all(body: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut reader = Reader::for_body(body)?;
        let mut out: Vec<Self> = Vec::new();
        while out.is_empty() || !reader.is_empty() {
            if out.len() == limits::FANOUT_MESSAGES {
                return Err(reader.error("FanoutMessage", DecodeErrorKind::TooMany(limits::FANOUT_MESSAGES)));
            }
            out.push(reader.item("FanoutMessage", out.len(), Self::read)?);
        }
        Ok(out)
    }

    /// A notify body.
    #[must_use]
    pub fn encode_all(messages: &[Self]) -> Vec<u8> {
        let mut writer = Writer::new();
        for message in messages {
            message.write(&mut writer);
        }
        writer.into_bytes()
    }
}

impl Wire for FanoutMessage {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let timestamp = reader.u64("timestamp")?;
        let at = reader.clone();
        let message = reader.inside("message", MlsMessage::read)?;
        let content = match message.fields() {
            MlsMessageFields::Public(public) => match public.content_type {
                ContentType::Commit => {
                    FanoutContent::Commit { message, external_proposals: read_proposals(reader, "externalProposals")? }
                }
                ContentType::Proposal | ContentType::Application => {
                    FanoutContent::Proposal { message, more: read_proposals(reader, "moreProposals")? }
                }
            },
            MlsMessageFields::Private(private) if private.content_type == ContentType::Application => {
                FanoutContent::Application {
                    message,
                    frank: reader.optional("frank", |r| r.inside("frank", Frank::read))?,
                }
            }
            MlsMessageFields::Welcome(_) => FanoutContent::Welcome {
                message,
                ratchet_tree: reader.inside("ratchetTreeOption", RatchetTreeOption::read)?,
            },
            MlsMessageFields::Private(_) | MlsMessageFields::GroupInfo(_) | MlsMessageFields::KeyPackage(_) => {
                let why =
                    DecodeErrorKind::NotAllowed("only application messages, handshakes and Welcomes are fanned out");
                return Err(at.error("message", why));
            }
        };
        Ok(Self { timestamp, content })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.timestamp);
        self.content.message().write(writer);
        match &self.content {
            FanoutContent::Application { frank, .. } => writer.optional(frank.as_ref(), |w, frank| frank.write(w)),
            FanoutContent::Welcome { ratchet_tree, .. } => ratchet_tree.write(writer),
            FanoutContent::Proposal { more: list, .. } | FanoutContent::Commit { external_proposals: list, .. } => {
                writer.list(list);
            }
        }
    }
}
