//! What the state machine asks of the room's MLS group. The engine implements it with `mls`; the tests of this module
//! with a naive group that keeps everything in the clear.
//!
//! Every method either happens wholly or changes nothing. The policy is asked inside: a change that it forbids comes back
//! as [`GroupError::Refused`].

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::RoomState,
    room::effect::Millis,
    wire::{CommitBundle, Frank, FrankingTag, ServerFrankingContext},
};

/// What a hub of ours says of a commit that leaves out what is proposed (section 7.3): who made it takes that in and tries
/// again.
pub const PENDING: &str = "the pending proposals of this epoch have to be in the commit";

/// Why the group did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Policy forbids it. Permanent until the room's state changes.
    #[error("{0}")]
    Refused(String),
    /// For an epoch that the group is not in. Retriable once the commits in between came, if it is ahead.
    #[error("for epoch {message}, the group is in {current}")]
    Epoch {
        /// The message's epoch.
        message: u64,
        /// The group's epoch.
        current: u64,
    },
    /// We hold no leaf for this user.
    #[error("{0} has no leaf here")]
    NoLeaf(UserUri),
    /// A leaf names our domain with a key that we do not hold: the room is broken.
    #[error("a forged leaf names {0}")]
    Forged(UserUri),
    /// The staged commit is not for the present state; stage it anew. Retriable.
    #[error("the staged commit is out of date")]
    Stale,
    /// A commit takes in proposals that we do not have, by their `ProposalRef`. Permanent.
    #[error("{} of the proposals that it takes in are not known here", .0.len())]
    UnknownProposals(Vec<Vec<u8>>),
    /// A commit does not take in what is proposed in its epoch. Retriable: made anew with it.
    #[error("{PENDING}: {0} are missing")]
    Incomplete(usize),
    /// Does not verify, or cannot be used. Permanent.
    #[error("{0}")]
    Invalid(String),
}

/// A change that one of our users wants committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// Raw KeyPackages to add.
    pub adds: Vec<Vec<u8>>,
    /// Users whose leaves are removed, all of them.
    pub removes: Vec<UserUri>,
    /// `AppDataUpdate`s: component and update.
    pub app_data: Vec<(u16, Vec<u8>)>,
    /// Refresh the committer's leaf.
    pub path: bool,
}

/// A commit that waits for the hub.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Staged {
    /// The commit as `MLSMessage`.
    pub commit: Vec<u8>,
    /// The raw Welcome, if clients are added.
    pub welcome: Option<Vec<u8>>,
    /// The raw GroupInfo of the new epoch, without tree.
    pub group_info: Vec<u8>,
    /// The new epoch's ratchet tree.
    pub ratchet_tree: Vec<u8>,
    /// The epoch that it ends.
    pub epoch: u64,
    /// Who commits.
    pub user: UserUri,
    /// What only the group reads. Holds keys.
    pub state: Vec<u8>,
}

/// Where a handshake came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A follower sent it to us, the hub: its sender has to be of this provider; clients that it adds must have come
    /// through our keyMaterial (their references), and be those whom its Welcome welcomes. With a commit comes its whole
    /// bundle: without a leaf of our own after it, its GroupInfo is what the next epoch is known by.
    Follower(&'a ProviderDomain, &'a std::collections::BTreeMap<Vec<u8>, ProviderDomain>, Option<&'a CommitBundle>),
    /// The room's hub distributed it.
    Hub,
}

/// What an applied commit did to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Users of ours whose leaf went.
    pub local_removed: Vec<UserUri>,
    /// No leaf of ours is left. As follower the group is over for us; as hub we see it from outside from now on.
    pub over: bool,
    /// Our leaves are there but their keys are not: somebody has to join again.
    pub state_lost: bool,
    /// Users who got a leaf by Add.
    pub added: Vec<UserUri>,
    /// Who made it, if it is one commit.
    pub by: Option<UserUri>,
    /// Users who took leaves of their own away.
    pub left: BTreeSet<UserUri>,
}

/// What an outsider needs to join by external commit (section 5.6); opened and verified as the hub's, not yet as the group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// The raw GroupInfo.
    pub group_info: Vec<u8>,
    /// The whole ratchet tree.
    pub ratchet_tree: Vec<u8>,
    /// Pending proposals.
    pub pending_proposals: Vec<Vec<u8>>,
}

/// Somebody of ours who joins a group again.
#[derive(Debug, Clone, Copy)]
pub struct Comeback<'a> {
    /// Who.
    pub user: &'a UserUri,
    /// The room that the group has to be of.
    pub room: &'a RoomUri,
    /// The last epoch that we know of: the group does not go back.
    pub epoch: u64,
    /// Leaves of ours whose keys were lost are no forgery.
    pub forgiving: bool,
    /// What we hold was the group's state: late messages of its epochs are still read with it.
    pub keep_reading: bool,
}

/// An opened application message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who sent it, by the leaf's credential.
    pub sender: UserUri,
    /// The application data.
    pub plaintext: Vec<u8>,
    /// What was said beside it.
    pub beside: Beside,
}

/// What the sender says of a message beside it, under the same signature (Safe AAD). Whether it is true of the content is
/// not checked yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// The franking tag (draft-ietf-mimi-protocol-06 section 10.1).
    pub tag: Option<FrankingTag>,
    /// The message id (draft-mahy-mimi-msgid-aad).
    pub message_id: Option<[u8; 32]>,
}

/// The room's group as the state machine sees it.
pub trait Group {
    /// Whether we hold a member state.
    fn is_member(&self) -> bool;
    /// Whether we see the group from outside, as a hub without a leaf: commits and proposals are judged, nothing is read.
    fn is_public(&self) -> bool;
    /// The group id; empty without a group.
    fn group_id(&self) -> Vec<u8>;
    /// The current epoch; 0 without a group.
    fn epoch(&self) -> u64;
    /// The room's state as the group agrees on it.
    fn state(&self) -> Result<Arc<RoomState>, GroupError>;
    /// Whether we hold a leaf of this user.
    fn has_leaf(&self, user: &UserUri) -> bool;
    /// As hub: who takes part in another room of ours, by its URI, if this one depends on it or may come to.
    fn participants_of(&self, _room: &str) -> Option<Arc<BTreeSet<UserUri>>> {
        None
    }
    /// As hub: whether that one of our rooms neither depends on this one nor on one that does.
    fn may_depend_on(&self, _room: &str) -> bool {
        true
    }
    /// Whether anybody holds a leaf for this user.
    fn in_group(&self, user: &UserUri) -> bool;
    /// The providers whose users have leaves.
    fn providers(&self) -> std::collections::BTreeSet<ProviderDomain>;
    /// Our users with a leaf, the anchor first.
    fn local_users(&self) -> Vec<UserUri>;
    /// Seals application data as this user's leaf; the franking tag goes beside it where the group takes one.
    fn seal(&mut self, user: &UserUri, plaintext: &[u8], tag: Option<FrankingTag>) -> Result<Vec<u8>, GroupError>;
    /// As hub: our stamp on a message with a franking tag, if we are the room's franking agent (section 5.4.1.2).
    fn frank(&self, message: &[u8], context: &ServerFrankingContext) -> Option<Frank>;
    /// Whether a stamp is the hub's (section 5.4.1.3).
    fn check_frank(&self, frank: &Frank, context: &ServerFrankingContext) -> Result<(), GroupError>;
    /// Opens a PrivateMessage.
    fn open(&mut self, message: &[u8]) -> Result<Opened, GroupError>;
    /// Makes a commit as this user's leaf, pending proposals included; changes nothing yet.
    fn stage(&self, user: &UserUri, change: &GroupChange, now: Millis) -> Result<Staged, GroupError>;
    /// Makes the external commit by which a participant of ours gets its leaf, or comes into an open room; changes nothing yet.
    fn stage_join(&self, user: &UserUri, now: Millis) -> Result<Staged, GroupError>;
    /// Makes the commit by which this user's leaf gives leaves to several participants of ours at once, with KeyPackages made
    /// for it; who is not listed is listed by it, too. Nothing but those keys changes yet.
    fn stage_leaves(
        &mut self,
        by: &UserUri,
        users: &[UserUri],
        app_data: Vec<(u16, Vec<u8>)>,
        now: Millis,
    ) -> Result<Staged, GroupError>;
    /// The hub accepted what was staged.
    fn accept(&mut self, staged: &Staged, now: Millis) -> Result<Applied, GroupError>;
    /// Somebody else's commit.
    fn apply(&mut self, commit: &[u8], origin: Origin<'_>, now: Millis) -> Result<Applied, GroupError>;
    /// Somebody else's proposal, which waits for the next commit.
    fn store_proposal(&mut self, proposal: &[u8], origin: Origin<'_>, now: Millis) -> Result<(), GroupError>;
    /// The ratchet tree of the present epoch.
    fn ratchet_tree(&self) -> Result<Vec<u8>, GroupError>;
    /// Throws the state away: the group is not ours (any more).
    fn discard(&mut self);
    /// The proposals that wait for a commit, each an `MLSMessage`.
    fn pending_proposals(&self) -> Vec<Vec<u8>>;
    /// Whose leaf has this index.
    fn user_of(&self, leaf: u32) -> Option<UserUri>;
    /// Whether proposals wait for a commit.
    fn has_pending(&self) -> bool;
    /// Whether a commit takes in what is proposed in its epoch, as far as we know (an external one can only take in that
    /// members leave by themselves), and nothing that we do not know.
    fn is_complete(&self, commit: &[u8]) -> Result<(), GroupError>;
    /// Whether the policy lets those who stay commit the pending proposals.
    fn judge_pending(&self, now: Millis) -> Result<(), GroupError>;
    /// Whether everybody in the group has a pending proposal to leave it: nobody is left to commit them.
    fn is_deserted(&self) -> bool;
    /// The leaves that have a pending SelfRemove, and whose they are.
    fn leaving(&self) -> std::collections::BTreeMap<u32, UserUri>;
    /// Drops these pending proposals, and no others: a commit of the hub may refer to those.
    fn forget(&mut self, proposals: &[Vec<u8>]) -> Result<(), GroupError>;
    /// Makes the proposals by which this user leaves, and keeps them as pending.
    fn propose_leave(&mut self, user: &UserUri, app_data: Vec<(u16, Vec<u8>)>) -> Result<Vec<Vec<u8>>, GroupError>;
    /// Joins by Welcome with the KeyPackages that we gave out; if the commit that it belongs to was applied, it says nothing
    /// new. If that never came, the state is the Welcome's from now on, which has to be a later one of the group. `again`:
    /// what we hold is not the group's state any more, and only our other leaves' keys count.
    fn join(
        &mut self,
        welcome: &[u8],
        ratchet_tree: &[u8],
        again: bool,
        now: Millis,
    ) -> Result<Vec<UserUri>, GroupError>;
    /// Joins this room's group again as a participant of ours, from a GroupInfo, by an external commit that removes the
    /// user's old leaf. The state is the one after the commit from now on, which counts once the hub accepts it; our other
    /// leaves' keys are kept.
    fn rejoin(&mut self, comeback: &Comeback<'_>, info: &GroupInfo, now: Millis) -> Result<Staged, GroupError>;
    /// Our leaves that are due for a refresh.
    fn refresh_due(&self, now: Millis) -> Vec<UserUri>;
}
