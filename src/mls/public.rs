//! The hub's view of a group in which none of our users has a leaf: OpenMLS' `PublicGroup` on our rows (RFC 9420 section
//! 12.4.3; DESIGN, Roles).
//!
//! ```text
//!  Member --of, when its last leaf goes--> PublicView --after: a commit and its GroupInfo--> PublicView
//!                                            | Welcome for a KeyPackage of ours, or stage_join + accept_join
//!                                            '--> Member
//! ```
//!
//! It checks signatures, tree, proposals and policy, but neither membership tags, nor confirmation tags, nor whether a
//! path can be decrypted: nobody outside a group can. What it can check of the next epoch's secrets is that a member signed
//! a GroupInfo that names this very state; so every commit has to bring one, and it is what joiners get.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::{
    GroupId, LeafNodeIndex, ProcessedMessageContent, PublicGroup, Sender, tls_codec::Serialize as _,
};
use serde::{Deserialize, Serialize};

use super::{
    Change, ExternalJoin, GroupInfoParts, Judge, Member, MlsError, RowChanges, Rows, StagedCommit,
    commit::{Secret, keep_pending},
    frame::{HandshakeKind, handshake_kind, parse_commit, self_remove_of},
    identity::CIPHER_SUITE,
    join::{check_tree, external_commit},
    key_package::new_signer,
    labels::verify_with_label,
    member::{load, protocol_message},
    overlay::{CRYPTO, Overlay, PUBLIC_KEYS},
    view::{self, CommitSender, CommitView, Known, Leaf, ProposalView, judged},
};
use crate::{
    ident::{ProviderDomain, UserUri},
    wire::{
        Extension, GroupInfoOption, RatchetTreePresence, Wire as _,
        codec::{Reader, Writer},
        limits,
    },
};

const META: &[u8] = b"=";
const GROUP_INFO: &[u8] = b"+";
const FORMAT: u8 = 1;
/// Extension types (RFC 9420 section 17.3).
const RATCHET_TREE: u16 = 2;
const EXTERNAL_PUB: u16 = 4;
const GROUP_INFO_LABEL: &str = "GroupInfoTBS";

#[derive(Clone, Serialize, Deserialize)]
struct Meta {
    format: u8,
    group_id: Vec<u8>,
    domain: ProviderDomain,
    /// By-reference proposals of this epoch, as received.
    pending: Vec<Vec<u8>>,
}

/// What counts as ours in a commit: a leaf that names our domain is refused unless it is one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ours {
    /// References of KeyPackages that we gave out and whose private parts we hold.
    pub references: BTreeSet<Vec<u8>>,
    /// Signature keys.
    pub keys: BTreeSet<Vec<u8>>,
}

/// A group as its hub sees it from outside. Like a [`Member`] it is loaded from rows and leaves a difference for the batch;
/// its rows are no secrets.
pub struct PublicView {
    overlay: Overlay,
    group: PublicGroup,
    meta: Meta,
}

impl std::fmt::Debug for PublicView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicView").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

fn load_public(overlay: &Overlay, group_id: &[u8]) -> Result<PublicGroup, MlsError> {
    PublicGroup::load(overlay, &GroupId::from_slice(group_id))?
        .ok_or_else(|| MlsError::Storage("rows of the group are missing".into()))
}

impl PublicView {
    /// The public part of a member's state, for the commit that takes our last leaf. It has no GroupInfo before that commit
    /// brings one.
    pub fn of(member: &Member) -> Result<Self, MlsError> {
        let overlay = Overlay::new(Rows::new());
        for key in PUBLIC_KEYS {
            let row = member.overlay.get(key).ok_or_else(|| MlsError::Storage("no public state".into()))?;
            overlay.put(key.to_vec(), row);
        }
        let meta = Meta {
            format: FORMAT,
            group_id: member.meta.group_id.clone(),
            domain: member.meta.domain.clone(),
            pending: member.meta.pending.clone(),
        };
        let group = load_public(&overlay, &meta.group_id)?;
        let view = Self { overlay, group, meta };
        view.store_meta()?;
        Ok(view)
    }

    /// Whether these are the rows of a view, not of a member.
    #[must_use]
    pub fn is_in(rows: &Rows) -> bool {
        rows.contains_key(META)
    }

    /// Loads a view from its rows.
    pub fn from_rows(rows: Rows) -> Result<Self, MlsError> {
        let overlay = Overlay::new(rows);
        let meta = overlay.get(META).ok_or_else(|| MlsError::Storage("no public view in these rows".into()))?;
        let meta: Meta = postcard::from_bytes(&meta).map_err(MlsError::storage)?;
        if meta.format != FORMAT {
            return Err(MlsError::Storage(format!("format {} is not the one of this version", meta.format)));
        }
        let group = load_public(&overlay, &meta.group_id)?;
        Ok(Self { overlay, group, meta })
    }

    fn store_meta(&self) -> Result<(), MlsError> {
        self.overlay.put(META.to_vec(), postcard::to_stdvec(&self.meta).map_err(MlsError::storage)?);
        Ok(())
    }

    /// The difference since loading or the last take, for the step's batch.
    pub fn take_changes(&mut self) -> RowChanges {
        self.overlay.take_changes()
    }

    /// The group id.
    #[must_use]
    pub fn group_id(&self) -> &[u8] {
        &self.meta.group_id
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    /// All components.
    #[must_use]
    pub fn components(&self) -> BTreeMap<u16, Vec<u8>> {
        view::components(&self.group)
    }

    /// All leaves, in order of their index.
    #[must_use]
    pub fn leaves(&self) -> Vec<Leaf> {
        let leaves = self.group.treesync().full_leaves();
        leaves.filter_map(|(index, node)| view::leaf(index.u32(), node, |_| false).ok()).collect()
    }

    /// By-reference proposals of this epoch, as received.
    #[must_use]
    pub fn pending_proposals(&self) -> Vec<Vec<u8>> {
        self.meta.pending.clone()
    }

    /// Whether a member's state is of this group, epoch and key schedule.
    #[must_use]
    pub fn agrees_with(&self, member: &Member) -> bool {
        let theirs = member.group.public_group();
        theirs.group_context() == self.group.group_context()
            && theirs.confirmation_tag() == self.group.confirmation_tag()
    }

    /// The committer's GroupInfo of the current epoch, and the tree.
    pub fn group_info(&self) -> Result<GroupInfoParts, MlsError> {
        let group_info = self.overlay.get(GROUP_INFO);
        Ok(GroupInfoParts {
            group_info: group_info.ok_or_else(|| MlsError::Storage("no GroupInfo of this epoch".into()))?,
            ratchet_tree: self.ratchet_tree()?,
        })
    }

    /// The ratchet tree (`optional<Node> ratchet_tree<V>`).
    pub fn ratchet_tree(&self) -> Result<Vec<u8>, MlsError> {
        self.group.export_ratchet_tree().tls_serialize_detached().map_err(MlsError::malformed)
    }

    fn check_frame(&self, group_id: &[u8], message: u64) -> Result<(), MlsError> {
        let current = self.epoch();
        if group_id != self.meta.group_id {
            Err(MlsError::WrongGroup)
        } else if message == current {
            Ok(())
        } else {
            Err(MlsError::NotForThisEpoch { message, current })
        }
    }

    /// A copy of the group with the pending proposals in its store.
    fn with_pending(&self) -> Result<(Overlay, PublicGroup), MlsError> {
        let overlay = self.overlay.fork(0);
        let mut group = load_public(&overlay, &self.meta.group_id)?;
        for message in &self.meta.pending {
            let processed = group.process_message(&*CRYPTO, protocol_message(message)?).map_err(MlsError::invalid)?;
            let (ProcessedMessageContent::ProposalMessage(queued)
            | ProcessedMessageContent::ExternalJoinProposalMessage(queued)) = processed.into_content()
            else {
                return Err(MlsError::Storage("a pending proposal is none".into()));
            };
            group.add_proposal(&overlay, *queued)?;
        }
        Ok((overlay, group))
    }

    /// The view after a commit (PublicMessage) that comes with a GroupInfo of the epoch that it enters. `self` stays as it
    /// was.
    pub fn after(
        &self,
        message: &[u8],
        info: &GroupInfoOption,
        ours: &Ours,
        judge: Judge<'_>,
        now: u64,
    ) -> Result<(Self, CommitView), MlsError> {
        let commit = parse_commit(message)?;
        self.check_frame(&commit.frame.group_id, commit.frame.epoch)?;
        let (overlay, mut group) = self.with_pending()?;
        let processed = group.process_message(&*CRYPTO, protocol_message(message)?).map_err(MlsError::invalid)?;
        let sender = processed.sender().clone();

        let none = BTreeSet::new();
        let queued: Vec<_> = group.queued_proposals(&overlay)?.into_iter().map(|(_, queued)| queued).collect();
        let view = Known { local: &none, now }.commit(&group, &queued.iter().collect::<Vec<_>>(), &commit)?;
        for add in &view.adds {
            if add.user.provider() == self.meta.domain && !ours.references.contains(&add.key_package_ref) {
                return Err(MlsError::ForgedLocalLeaf(add.user.clone()));
            }
        }
        let check_key = |user: &UserUri, key: &[u8]| {
            if user.provider() == self.meta.domain && !ours.keys.contains(key) {
                return Err(MlsError::ForgedLocalLeaf(user.clone()));
            }
            Ok(())
        };
        if let CommitSender::NewMember { user, signature_key, .. } = &view.sender {
            check_key(user, signature_key)?;
        }
        let values = judged(&view, judge)?;
        let staged = match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => *staged,
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let updates = view::updates(group.app_data_dictionary_updater(), &view, &values);
                group.stage_app_data_commit(&*CRYPTO, *unresolved, updates).map_err(MlsError::invalid)?
            }
            _ => return Err(MlsError::Malformed("not a commit".into())),
        };
        view::check_staged(&group, &sender, &staged, check_key)?;
        let committer = match sender {
            Sender::Member(index) => index,
            _ => group.ext_commit_sender_index(&staged).map_err(MlsError::invalid)?,
        };
        group.merge_commit(&overlay, staged).map_err(MlsError::invalid)?;
        let group_info = verified_group_info(&group, committer, info)?;
        overlay.put(GROUP_INFO.to_vec(), group_info);
        let next = Self { overlay, group, meta: Meta { pending: Vec::new(), ..self.meta.clone() } };
        next.store_meta()?;
        Ok((next, view))
    }

    /// Verifies a by-reference proposal (PublicMessage) and keeps it for somebody's commit.
    pub fn store_proposal(&mut self, message: &[u8], now: u64) -> Result<ProposalView, MlsError> {
        match handshake_kind(message)? {
            HandshakeKind::Proposal(frame) => self.check_frame(&frame.group_id, frame.epoch)?,
            HandshakeKind::PrivateHandshake(_) => {
                return Err(MlsError::Unsupported("handshakes as PrivateMessage".into()));
            }
            _ => return Err(MlsError::Malformed("not a proposal".into())),
        }
        let processed = self.group.process_message(&*CRYPTO, protocol_message(message)?).map_err(MlsError::invalid)?;
        let (ProcessedMessageContent::ProposalMessage(queued)
        | ProcessedMessageContent::ExternalJoinProposalMessage(queued)) = processed.into_content()
        else {
            return Err(MlsError::Malformed("not a proposal".into()));
        };
        let none = BTreeSet::new();
        let view = Known { local: &none, now }.proposal(&self.group, &queued)?;
        if let view::Proposed::Add(add) = &view.what
            && add.user.provider() == self.meta.domain
        {
            return Err(MlsError::ForgedLocalLeaf(add.user.clone()));
        }
        if keep_pending(&mut self.meta.pending, message)? {
            self.store_meta()?;
        }
        Ok(view)
    }

    /// Forgets a pending proposal.
    pub fn drop_proposal(&mut self, message: &[u8]) -> Result<bool, MlsError> {
        let before = self.meta.pending.len();
        self.meta.pending.retain(|other| other != message);
        self.store_meta()?;
        Ok(self.meta.pending.len() < before)
    }

    /// Asks the policy about a commit of all pending proposals by a member who stays. Proposals that nobody may commit would
    /// stop the room, since members have to commit what is pending. `Ok` if nobody stays.
    pub fn judge_pending(&self, judge: Judge<'_>, now: u64) -> Result<(), MlsError> {
        let (overlay, group) = self.with_pending()?;
        let none = BTreeSet::new();
        let known = Known { local: &none, now };
        let mut changes = view::empty(&group, CommitSender::Member(first_leaf(&group, &none)?), true);
        for (_, queued) in group.queued_proposals(&overlay)? {
            known.apply(&group, &mut changes, known.proposal(&group, &queued)?)?;
        }
        let gone = changes.removes.iter().map(|target| target.leaf.signature_key.clone()).collect();
        let Ok(committer) = first_leaf(&group, &gone) else { return Ok(()) };
        changes.sender = CommitSender::Member(committer);
        judged(&changes, judge).map(drop)
    }

    /// Whether every member has a pending SelfRemove: nobody is left to commit them.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        deserted(&self.group, &self.meta.pending)
    }

    /// The leaves that have a pending SelfRemove, and whose they are.
    #[must_use]
    pub fn leaving(&self) -> BTreeMap<u32, UserUri> {
        leaving(&self.group, &self.meta.pending)
    }

    /// Gives a participant of ours a leaf, by an external commit. Nothing changes here; [`PublicView::accept_join`] takes it
    /// in.
    pub fn stage_join(&self, user: &UserUri, judge: Judge<'_>, now: u64) -> Result<StagedCommit, MlsError> {
        if user.provider() != self.meta.domain {
            return Err(MlsError::Credential("the user is of another domain".into()));
        }
        let own = self.group_info()?;
        let signer = postcard::to_stdvec(&new_signer()?).map_err(MlsError::storage)?;
        let join = ExternalJoin {
            group_info: &own.group_info,
            ratchet_tree: &own.ratchet_tree,
            pending_proposals: &self.meta.pending,
            user,
            change: &Change::default(),
            now,
        };
        Ok(external_commit(&join, &self.group, &signer, &BTreeSet::new(), judge)?.joining(signer))
    }

    /// The member that [`PublicView::stage_join`] makes of us, and what the commit does. It replaces this view.
    pub fn accept_join(
        &self,
        staged: &StagedCommit,
        judge: Judge<'_>,
        now: u64,
    ) -> Result<(Member, CommitView), MlsError> {
        let Secret::Joining { index, signer, public, rows } = &staged.secret else { return Err(MlsError::Stale) };
        if staged.epoch != self.epoch() {
            return Err(MlsError::Stale);
        }
        let info = crate::wire::RawGroupInfo::from_bytes(staged.group_info.clone()).map_err(MlsError::malformed)?;
        let ours = Ours { keys: BTreeSet::from([public.clone()]), references: BTreeSet::new() };
        let (next, view) = self.after(&staged.commit, &GroupInfoOption::Full(info), &ours, judge, now)?;
        let overlay = Overlay::new(Rows::new());
        for (key, value) in rows {
            overlay.put(key.clone(), value.clone());
        }
        overlay.present(*index);
        let group = load(&overlay, &self.meta.group_id)?;
        check_tree(&group, &staged.user, &ours.keys, now, |_| false)?;
        let meta = Member::new_meta(&group, self.meta.domain.clone(), *index);
        Member::put_signer(&overlay, &staged.user, signer)?;
        Member::put_meta(&overlay, &meta)?;
        let member = Member::open_state(overlay, meta)?;
        if !next.agrees_with(&member) {
            return Err(MlsError::Invalid("our own external commit leads elsewhere".into()));
        }
        Ok((member, view))
    }
}

/// A leaf whose signature key is not among these.
fn first_leaf(group: &PublicGroup, gone: &BTreeSet<Vec<u8>>) -> Result<Leaf, MlsError> {
    let mut leaves = group.treesync().full_leaves();
    let stays = leaves.find(|(_, node)| !gone.contains(node.signature_key().as_slice()));
    let (index, node) = stays.ok_or_else(|| MlsError::Invalid("nobody stays in the group".into()))?;
    view::leaf(index.u32(), node, |_| false)
}

fn deserted(group: &PublicGroup, pending: &[Vec<u8>]) -> bool {
    let leaving = leaving(group, pending);
    group.treesync().full_leaves().all(|(index, _)| leaving.contains_key(&index.u32()))
}

/// Leaves with a pending SelfRemove, and whose they are.
fn leaving(group: &PublicGroup, pending: &[Vec<u8>]) -> BTreeMap<u32, UserUri> {
    let leaves = pending.iter().filter_map(|message| self_remove_of(message).ok().flatten());
    leaves
        .filter_map(|index| {
            let node = group.leaf(LeafNodeIndex::new(index))?;
            Some((index, view::leaf(index, node, |_| false).ok()?.user))
        })
        .collect()
}

/// The GroupInfo that came with a commit, whole: it has to be of exactly the state that the commit leads to, with that
/// commit's confirmation tag, signed by a member of it, and usable for external commits.
fn verified_group_info(
    group: &PublicGroup,
    committer: LeafNodeIndex,
    info: &GroupInfoOption,
) -> Result<Vec<u8>, MlsError> {
    let context = group.group_context().tls_serialize_detached().map_err(MlsError::malformed)?;
    let tag = group.confirmation_tag().tls_serialize_detached().map_err(MlsError::malformed)?;
    let raw = match info {
        GroupInfoOption::Full(raw) => raw.as_bytes().to_vec(),
        GroupInfoOption::Partial(partial) => {
            if matches!(partial.ratchet_tree_presence, RatchetTreePresence::Present | RatchetTreePresence::Added) {
                return Err(MlsError::Unsupported("a GroupInfo with the ratchet tree in it".into()));
            }
            let mut writer = Writer::new();
            writer.raw(&context);
            writer.list(&partial.group_info_extensions);
            writer.raw(&tag);
            writer.u32(committer.u32());
            writer.opaque(&partial.signature);
            writer.into_bytes()
        }
    };
    let wrong = |what: &str| MlsError::Invalid(format!("the GroupInfo that came with the commit: {what}"));
    let rest = raw.strip_prefix(context.as_slice()).ok_or_else(|| wrong("it is of another state than the commit's"))?;
    let mut reader = Reader::new(rest);
    let extensions = reader
        .list("extensions", limits::MLS_OBJECT, limits::EXTENSIONS, Extension::read)
        .map_err(MlsError::malformed)?;
    let start = reader.offset();
    reader.opaque("confirmation_tag", limits::KEY_OR_TAG).map_err(MlsError::malformed)?;
    if reader.since(start) != tag {
        return Err(wrong("its confirmation tag is not the commit's"));
    }
    let signer = reader.u32("signer").map_err(MlsError::malformed)?;
    let until = context.len() + reader.offset();
    let signature = reader.opaque("signature", limits::KEY_OR_TAG).map_err(MlsError::malformed)?;
    reader.finish("GroupInfo").map_err(MlsError::malformed)?;
    let has = |kind: u16| extensions.iter().any(|extension| extension.extension_type == kind);
    if has(RATCHET_TREE) {
        return Err(MlsError::Unsupported("a GroupInfo with the ratchet tree in it".into()));
    }
    if !has(EXTERNAL_PUB) {
        return Err(wrong("it has no external_pub"));
    }
    let leaf = group.leaf(LeafNodeIndex::new(signer)).ok_or_else(|| wrong("nobody is at its signer's leaf"))?;
    verify_with_label(
        &[CIPHER_SUITE],
        leaf.signature_key().as_slice(),
        GROUP_INFO_LABEL,
        raw.get(..until).unwrap_or_default(),
        signature,
    )
    .map_err(|error| wrong(&error.to_string()))?;
    Ok(raw)
}

impl Member {
    /// As [`PublicView::is_deserted`].
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        deserted(self.group.public_group(), &self.meta.pending)
    }

    /// As [`PublicView::leaving`].
    #[must_use]
    pub fn leaving(&self) -> BTreeMap<u32, UserUri> {
        leaving(self.group.public_group(), &self.meta.pending)
    }

    /// As [`PublicView::judge_pending`].
    pub fn judge_pending(&self, judge: Judge<'_>, now: u64) -> Result<(), MlsError> {
        PublicView::of(self)?.judge_pending(judge, now)
    }
}
