//! What a commit wants to do to a room, and why it may not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{bytes::CodecError, preauth::Claim};
use crate::ident::UserUri;

/// A leaf that a commit adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafAdd {
    /// Whose client it is (from its credential).
    pub user: UserUri,
    /// Who proposed it: the committer if the proposal is inline; the joiner itself in an external commit.
    pub proposer: UserUri,
}

/// A leaf that a commit removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafRemove {
    /// Whose client it is.
    pub user: UserUri,
    /// Who proposed it.
    pub proposer: UserUri,
    /// By a SelfRemove; then `user` is `proposer`.
    pub self_remove: bool,
}

/// What an AppDataUpdate does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentOp {
    /// Updates the component with these bytes.
    Update(Vec<u8>),
    /// Removes the component.
    Remove,
}

/// An AppDataUpdate that a commit holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentUpdate {
    /// The component.
    pub component: u16,
    /// What is done.
    pub op: ComponentOp,
    /// Who proposed it.
    pub proposer: UserUri,
}

/// What is known of the joining code of who joins by an external commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Code {
    /// Only the hub knows whether one was shown: where codes are taken at all, it is believed.
    #[default]
    HubKnows,
    /// None was shown.
    NotShown,
    /// One was shown that counts, for this role.
    Shown(u32),
}

/// What is known of the rooms on which others depend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parents {
    /// Only the hub knows who takes part there: that everybody who comes in does is not judged.
    #[default]
    HubKnows,
    /// As hub: who takes part in which of its rooms, by the room's URI. A room that is not here is none that others can
    /// depend on.
    Hosted(BTreeMap<String, Arc<BTreeSet<UserUri>>>),
}

/// What a commit does to the room, proposals by value and by reference in the commit's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeSet {
    /// How many leaves each user had before the commit. Users without leaf may be left out. [`judge`](super::judge()) reads it;
    /// a [`Standing`](super::Standing) has its own.
    pub leaves_before: BTreeMap<UserUri, u32>,
    /// Leaves added; in an external commit with the joiner's own.
    pub adds: Vec<LeafAdd>,
    /// Leaves removed.
    pub removes: Vec<LeafRemove>,
    /// `AppDataUpdate`s.
    pub updates: Vec<ComponentUpdate>,
    /// The committer joins by this commit.
    pub external_commit: bool,
    /// Who proposed to re-initialise the group.
    pub reinits: Vec<UserUri>,
    /// What credentials of proposers claim, verified; a basic credential claims nothing.
    pub claims: BTreeMap<UserUri, Vec<Claim>>,
    /// The joining code of an external commit.
    pub code: Code,
    /// The rooms on which this one may depend.
    pub parents: Parents,
}

/// Why a commit is not allowed. Permanent for this commit in this epoch; becomes `notAllowed`, or `invalidProposal` where
/// [`Refusal::is_invalid`] says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The actor is not in the participant list, or banned.
    #[error("{0} is not a participant")]
    NotParticipant(UserUri),
    /// The actor's role does not allow it.
    #[error("{user} may not {what}")]
    NotAuthorized {
        /// Who wanted it.
        user: UserUri,
        /// What, as an infinitive.
        what: &'static str,
    },
    /// Somebody wants a banned user in.
    #[error("{0} is banned from this room")]
    Banned(UserUri),
    /// An AppDataUpdate for a component that the room does not have or that this gateway does not know.
    #[error("component {0:#06x} is not known here")]
    UnknownComponent(u16),
    /// An AppDataUpdate for a component that is known, and that no capability of the registry lets anybody change.
    #[error("component {0:#06x}: nobody may change it")]
    Unchangeable(u16),
    /// The updates for one component contradict the rules of draft-ietf-mls-extensions or of the component.
    #[error("component {0:#06x}: {1}")]
    Update(u16, &'static str),
    /// An update that does not decode, or a result that cannot be encoded.
    #[error("component {0:#06x}: {1}")]
    Malformed(u16, CodecError),
    /// The same user is added, removed or changed twice.
    #[error("{0} is touched twice")]
    TouchedTwice(UserUri),
    /// A role that is not defined, or that nobody in the list may have.
    #[error("role {0} is not defined for participants")]
    Role(u32),
    /// A leaf is added for somebody who is not a participant after the commit, or a removed or banned user keeps a leaf.
    #[error("{user}: {why}")]
    Leaf {
        /// Whose leaf.
        user: UserUri,
        /// What is wrong.
        why: &'static str,
    },
    /// A constraint of a role or of the base room policy.
    #[error("constraint: {0}")]
    Constraint(&'static str),
    /// The room's participants are fixed.
    #[error("the participants of this room never change")]
    FixedMembership,
    /// The room cannot depend on that parent.
    #[error("the parent room: {0}")]
    Parent(&'static str),
    /// Somebody would come in who does not take part in the parent room.
    #[error("{0} is not in the room to which this one belongs: they have to be in that one first")]
    NotInParent(UserUri),
    /// A `ReInit` that is not alone in its commit.
    #[error("a ReInit is alone in its commit")]
    Reinit,
    /// An external commit that does more than join, or where the room lets nobody join that way.
    #[error("an external commit {0}")]
    External(&'static str),
}

impl Refusal {
    /// Whether the proposals themselves are invalid, whoever makes them.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        match self {
            Self::UnknownComponent(_)
            | Self::Update(..)
            | Self::Malformed(..)
            | Self::TouchedTwice(_)
            | Self::Reinit
            | Self::Role(_) => true,
            Self::NotParticipant(_)
            | Self::Banned(_)
            | Self::NotAuthorized { .. }
            | Self::Leaf { .. }
            | Self::Constraint(_)
            | Self::FixedMembership
            | Self::Parent(_)
            | Self::NotInParent(_)
            | Self::Unchangeable(_)
            | Self::External(_) => false,
        }
    }
}
