//! Why an MLS operation did not happen. Nothing of the stored state has changed when one of these is returned.

use crate::ident::{IdentError, UserUri};

/// Every failure of this module. Unless a variant says otherwise it is permanent: the same call fails the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MlsError {
    /// The bytes are not what they should be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A credential that names no user of any provider, or is not basic.
    #[error("unusable credential: {0}")]
    Credential(String),
    /// The message belongs to another group.
    #[error("the message belongs to another group")]
    WrongGroup,
    /// The message belongs to an epoch that we cannot serve. Retriable if `message` is ahead of `current`: the commits
    /// in between have to be applied first.
    #[error("the message is for epoch {message}, the group is in epoch {current}")]
    NotForThisEpoch {
        /// The epoch in the message.
        message: u64,
        /// The epoch of our state.
        current: u64,
    },
    /// The policy refused the change; the text is its reason.
    #[error("refused: {0}")]
    Refused(String),
    /// A leaf names our domain with a key that we do not hold: the room counts as broken.
    #[error("a leaf names {0} with a key that we do not hold")]
    ForgedLocalLeaf(UserUri),
    /// An Update or a path tried to change a leaf's credential.
    #[error("leaf {0} tried to change its identity")]
    IdentityChanged(u32),
    /// This user has no leaf of ours in the group.
    #[error("{0} has no local leaf in this group")]
    NoLeaf(UserUri),
    /// This user has a leaf already.
    #[error("{0} has a leaf already")]
    HasLeaf(UserUri),
    /// We hold no usable member state of the group (any more): a local user has to join again.
    #[error("no member state of this group")]
    NotAMember,
    /// A lifetime has ended, or has not begun.
    #[error("expired or not yet valid")]
    Expired,
    /// A proposal, cipher suite, wire format or content that this gateway does not take.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// One of our own messages came back. The caller recognises those by their hash beforehand.
    #[error("one of our own messages")]
    OwnMessage,
    /// A staged commit that is not for the present state. Stage it again: retriable.
    #[error("the staged commit is not for this state")]
    Stale,
    /// Signature, tag, key or tree did not verify, or the group's rules forbid the change.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Stored rows are missing or damaged.
    #[error("stored state is damaged: {0}")]
    Storage(String),
}

impl MlsError {
    pub(super) fn invalid(error: impl std::fmt::Display) -> Self {
        Self::Invalid(error.to_string())
    }
    pub(super) fn malformed(error: impl std::fmt::Display) -> Self {
        Self::Malformed(error.to_string())
    }
    pub(super) fn storage(error: impl std::fmt::Display) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<IdentError> for MlsError {
    fn from(error: IdentError) -> Self {
        Self::Credential(error.to_string())
    }
}
