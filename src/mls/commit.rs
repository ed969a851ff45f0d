//! Commits: made as any leaf of ours on a throw-away overlay, processed by the anchor like anybody's
//! (RFC 9420 section 12.4; DESIGN, "one state a room").

use std::collections::BTreeSet;

use openmls::prelude::{
    AppDataUpdateProposal, LeafNodeIndex, MlsGroup, ProcessedMessage, ProcessedMessageContent, Proposal,
    ProposalOrRefType, Propose, PublicGroup, tls_codec::Serialize as _,
};
use openmls_traits::OpenMlsProvider as _;
use serde::{Deserialize, Serialize};

use super::{
    Member, MlsError,
    frame::{CommitFrame, HandshakeKind, handshake_kind, parse_commit},
    member::{LocalLeaf, load, protocol_message},
    overlay::{CRYPTO, Overlay, STATE_KEY},
    view::{
        self, AppDataOp, AppDataView, CommitSender, CommitView, Judge, Known, NewComponents, ProposalSender,
        ProposalView, Proposed, RemoveView, judged,
    },
};
use crate::ident::UserUri;

/// By-reference proposals that are kept in an epoch.
const MAX_PENDING: usize = 1_000;

/// Keeps a by-reference proposal, as received; whether it is new.
pub(super) fn keep_pending(pending: &mut Vec<Vec<u8>>, message: &[u8]) -> Result<bool, MlsError> {
    if pending.iter().any(|other| other == message) {
        return Ok(false);
    }
    if pending.len() >= MAX_PENDING {
        return Err(MlsError::Refused("too many pending proposals".into()));
    }
    pending.push(message.to_vec());
    Ok(true)
}

/// What a commit of ours shall do. Pending by-reference proposals are always taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Raw `KeyPackage` structs of clients to add.
    pub adds: Vec<Vec<u8>>,
    /// Leaf indices to remove.
    pub removes: Vec<u32>,
    /// Components to update.
    pub app_data: Vec<AppDataChange>,
    /// Whether to refresh the committer's leaf even if nothing requires it.
    pub path: bool,
}

/// One AppDataUpdate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDataChange {
    /// The component.
    pub component: u16,
    /// The update, in the component's own format.
    pub update: Vec<u8>,
}

/// A commit that was made and not yet accepted by the hub. Store it before sending: the same bytes are sent again after
/// a crash. It holds keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedCommit {
    /// The commit as `MLSMessage`.
    pub commit: Vec<u8>,
    /// The raw `Welcome`, if clients are added.
    pub welcome: Option<Vec<u8>>,
    /// The raw `GroupInfo` of the new epoch, without the tree.
    pub group_info: Vec<u8>,
    /// The tree of the new epoch (`optional<Node> ratchet_tree<V>`).
    pub ratchet_tree: Vec<u8>,
    /// The epoch that the commit ends.
    pub epoch: u64,
    /// Who commits.
    pub user: UserUri,
    pub(super) secret: Secret,
}

impl std::fmt::Debug for StagedCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedCommit").field("epoch", &self.epoch).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What only the committer knows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Secret {
    /// By leaf `index`: OpenMLS' pending commit.
    Member { index: u32, path: bool, state: Vec<u8> },
    /// By a participant who gets its leaf with it: key pair and the whole state after it.
    Joining { index: u32, signer: Vec<u8>, public: Vec<u8>, rows: Vec<(Vec<u8>, Vec<u8>)> },
    /// By a newcomer, whose state after it is a [`Member`] already.
    Newcomer,
}

/// What a commit did to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What it did.
    pub view: CommitView,
    /// The new epoch.
    pub epoch: u64,
    /// Local users whose leaf went.
    pub local_removed: Vec<UserUri>,
    /// We hold no leaf any more: the group is over for us.
    pub last_local_removed: bool,
    /// Leaves of ours remain, but anchor and standby went at once and their keys with them. A remaining user has to
    /// join again by external commit ([`Member::rejoin`](super::Member::rejoin)).
    pub state_lost: bool,
}

/// What a commit of somebody else says before it is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    /// The `KeyPackageRef`s of clients of our own domain that it adds and whose keys we do not have yet: their private
    /// parts have to be handed to [`Member::adopt`] before the commit is applied.
    pub wanted: Vec<Vec<u8>>,
    /// None of the leaves that we have now is left after it.
    pub farewell: bool,
}

/// A state after a commit.
struct Next {
    overlay: Overlay,
    group: MlsGroup,
}

/// A commit whose signature and membership tag are verified, on a copy of the state.
struct Begun {
    overlay: Overlay,
    group: MlsGroup,
    processed: ProcessedMessage,
}

impl Member {
    /// Makes a commit as this user's leaf, for the hub to accept. Nothing changes here: [`Member::accept_staged`]
    /// takes it in, dropping it discards it. `now` in milliseconds since the epoch.
    pub fn stage_commit(
        &self,
        as_user: &UserUri,
        change: &Change,
        judge: Judge<'_>,
        now: u64,
    ) -> Result<StagedCommit, MlsError> {
        self.live()?;
        let leaf = self.local_leaf(as_user)?;
        let overlay = self.overlay.fork(leaf.index);
        let mut group = load(&overlay, &self.meta.group_id)?;
        self.replay_pending(&overlay, &mut group)?;
        let known = self.known(now);

        let mut view = view::empty(
            group.public_group(),
            CommitSender::Member(known.leaf_at(group.public_group(), leaf.index)?),
            false,
        );
        let pending = group
            .pending_proposals()
            .map(|queued| known.proposal(group.public_group(), queued))
            .collect::<Result<Vec<_>, _>>()?;
        for proposal in pending {
            known.apply(group.public_group(), &mut view, proposal)?;
        }
        let key_packages = change_view(&known, group.public_group(), change, &mut view)?;
        if view.removes.iter().any(|target| target.leaf.index == leaf.index) {
            return Err(MlsError::Invalid("a leaf cannot commit its own removal".into()));
        }
        let nothing =
            view.adds.is_empty() && view.removes.is_empty() && view.updates.is_empty() && view.app_data.is_empty();
        let force = change.path || nothing;
        view.path = force || !view.removes.is_empty() || !view.updates.is_empty();
        self.check_new_leaves(&view, &BTreeSet::new())?;
        let values = judged(&view, judge)?;
        let updates = view::updates(group.app_data_dictionary_updater(), &view, &values);

        let mut builder = group
            .commit_builder()
            .propose_adds(key_packages)
            .propose_removals(change.removes.iter().map(|index| LeafNodeIndex::new(*index)))
            .add_proposals(change.app_data.iter().map(app_data_proposal))
            .force_self_update(force)
            .load_psks(overlay.storage())
            .map_err(MlsError::invalid)?
            .create_group_info(true);
        builder.with_app_data_dictionary_updates(updates);
        let bundle = builder
            .build(&*CRYPTO, &*CRYPTO, &*leaf.pair, |_| true)
            .map_err(MlsError::invalid)?
            .stage_commit(&overlay)
            .map_err(MlsError::invalid)?;
        let pending = group.pending_commit().ok_or_else(|| MlsError::Invalid("no commit was staged".into()))?;
        let tree = pending
            .export_ratchet_tree(&*CRYPTO, group.export_ratchet_tree())
            .map_err(MlsError::invalid)?
            .ok_or_else(|| MlsError::Invalid("the commit has no tree".into()))?;
        let path = pending.update_path_leaf_node().is_some();
        let state = overlay.get(STATE_KEY).ok_or_else(|| MlsError::Storage("no pending commit".into()))?;
        let (commit, welcome, group_info) = bundle.contents();
        Ok(StagedCommit {
            commit: commit.to_bytes().map_err(MlsError::invalid)?,
            welcome: welcome
                .map(|welcome| welcome.tls_serialize_detached().map_err(MlsError::malformed))
                .transpose()?,
            group_info: group_info
                .ok_or_else(|| MlsError::Invalid("the commit has no GroupInfo".into()))?
                .tls_serialize_detached()
                .map_err(MlsError::malformed)?,
            ratchet_tree: tree.tls_serialize_detached().map_err(MlsError::malformed)?,
            epoch: self.epoch(),
            user: as_user.clone(),
            secret: Secret::Member { index: leaf.index, path, state },
        })
    }

    /// Takes in a commit of ours that the hub has accepted: the anchor processes it, or merges it if it is its own;
    /// the committer's new keys and the standby's are kept. `judge` is asked again.
    pub fn accept_staged(&mut self, staged: &StagedCommit, judge: Judge<'_>, now: u64) -> Result<Applied, MlsError> {
        let anchor = self.live()?;
        if staged.epoch != self.epoch() {
            return Err(MlsError::Stale);
        }
        let commit = parse_commit(&staged.commit)?;
        self.check_frame(&commit.frame.group_id, commit.frame.epoch, true)?;
        self.flush()?;
        let mut extra = BTreeSet::new();
        if let Secret::Joining { public, .. } = &staged.secret {
            extra.insert(public.clone());
        }
        // The committer's own state after its commit: complete if the commit has a path.
        let (committer, own) = match &staged.secret {
            Secret::Member { index, path, state } => {
                let own = if *path || *index == anchor { Some(self.merge_own(*index, state)?) } else { None };
                (*index, own)
            }
            Secret::Joining { index, rows, .. } => {
                let overlay = Overlay::new(rows.iter().cloned().collect());
                overlay.present(*index);
                let group = load(&overlay, &self.meta.group_id)?;
                (*index, Some(Next { overlay, group }))
            }
            Secret::Newcomer => return Err(MlsError::Stale),
        };
        let is_own_merge = matches!(staged.secret, Secret::Member { index, .. } if index == anchor);
        let mut begun = None;
        let (view, values) = if is_own_merge {
            let overlay = self.overlay.fork(anchor);
            let mut group = load(&overlay, &self.meta.group_id)?;
            self.replay_pending(&overlay, &mut group)?;
            self.judge_commit(&group, &commit, &extra, judge, now)?
        } else {
            let begun = begun.insert(self.begin(anchor, &staged.commit)?);
            self.judge_commit(&begun.group, &commit, &extra, judge, now)?
        };
        let removed: BTreeSet<u32> = view.removes.iter().map(|target| target.leaf.index).collect();

        let mut own_keys = own.as_ref().and_then(|own| tree_keys(&own.overlay, self.epoch() + 1, committer));
        let mut standby = self.meta.standby.filter(|index| !removed.contains(index));
        let mut since = self.meta.since;
        let (next, main) = if is_own_merge {
            own_keys = None;
            (own.ok_or(MlsError::Stale)?, anchor)
        } else if let Some(begun) = begun.filter(|_| !removed.contains(&anchor)) {
            (self.finish(begun, &view, &values, &extra)?, anchor)
        } else if let Some(other) = standby.filter(|other| *other != committer) {
            standby = None;
            (self.process_as(other, &staged.commit, &view, &values, &extra)?, other)
        } else {
            standby = None;
            own_keys = None;
            let mut own = own.ok_or_else(|| MlsError::Invalid("a removal without path".into()))?;
            if matches!(staged.secret, Secret::Joining { .. }) {
                own = self.carry_over(own);
                since = self.epoch() + 1;
            }
            (own, committer)
        };
        let standby_keys = match standby {
            Some(index) if index == committer && own_keys.is_some() => own_keys.map(|keys| (index, keys)),
            Some(index) => self.keys_as(index, &staged.commit, &view, &values, &extra),
            None => own_keys.filter(|_| committer != main).map(|keys| (committer, keys)),
        };
        if let Secret::Joining { signer, public, .. } = &staged.secret {
            Self::put_signer(&next.overlay, &staged.user, signer)?;
            let pair = postcard::from_bytes(signer).map_err(MlsError::storage)?;
            self.signers.insert(public.clone(), std::sync::Arc::new(pair));
            self.keys.insert(public.clone());
        }
        self.meta.since = since;
        self.enter(next, Some(main), standby_keys, view)
    }

    /// Takes in somebody else's commit (PublicMessage). Nothing changes if it is refused.
    pub fn apply_commit(&mut self, message: &[u8], judge: Judge<'_>, now: u64) -> Result<Applied, MlsError> {
        let anchor = self.live()?;
        let commit = parse_commit(message)?;
        self.check_frame(&commit.frame.group_id, commit.frame.epoch, true)?;
        self.flush()?;
        let none = BTreeSet::new();
        // Signature, membership tag and proposals are verified before the policy is asked.
        let begun = self.begin(anchor, message)?;
        let (view, values) = self.judge_commit(&begun.group, &commit, &none, judge, now)?;

        let removed: BTreeSet<u32> = view.removes.iter().map(|target| target.leaf.index).collect();
        let standby = self.meta.standby.filter(|index| !removed.contains(index));
        match standby {
            Some(standby) if removed.contains(&anchor) => {
                let next = self.process_as(standby, message, &view, &values, &none)?;
                self.enter(next, Some(standby), None, view)
            }
            _ => {
                let main = Some(anchor).filter(|anchor| !removed.contains(anchor));
                let next = self.finish(begun, &view, &values, &none)?;
                let keys = standby.and_then(|index| self.keys_as(index, message, &view, &values, &none));
                self.enter(next, main, keys, view)
            }
        }
    }

    /// Verifies a commit's signature, membership tag and proposals, and nothing of what follows from it.
    pub fn verify_commit(&self, commit: &[u8]) -> Result<(), MlsError> {
        let parsed = parse_commit(commit)?;
        self.check_frame(&parsed.frame.group_id, parsed.frame.epoch, true)?;
        self.begin(self.live()?, commit).map(drop)
    }

    /// What a commit asks of us before it is applied. Nothing is verified here.
    pub fn announced(&self, commit: &[u8], now: u64) -> Result<Announced, MlsError> {
        let view = self.preview(commit, now)?;
        let removed: BTreeSet<u32> = view.removes.iter().map(|target| target.leaf.index).collect();
        let ours = view.adds.into_iter().filter(|add| add.user.provider() == self.meta.domain);
        Ok(Announced {
            wanted: ours.filter(|add| !self.keys.contains(&add.signature_key)).map(|add| add.key_package_ref).collect(),
            farewell: self.local.values().all(|leaf| removed.contains(&leaf.index)),
        })
    }

    /// The `KeyPackageRef`s of [`Member::announced`].
    pub fn wanted_key_packages(&self, commit: &[u8], now: u64) -> Result<Vec<Vec<u8>>, MlsError> {
        Ok(self.announced(commit, now)?.wanted)
    }

    /// What a commit says that it does.
    fn preview(&self, commit: &[u8], now: u64) -> Result<CommitView, MlsError> {
        let parsed = parse_commit(commit)?;
        self.check_frame(&parsed.frame.group_id, parsed.frame.epoch, true)?;
        let overlay = self.overlay.fork(self.live()?);
        let mut group = load(&overlay, &self.meta.group_id)?;
        self.replay_pending(&overlay, &mut group)?;
        self.view_of(&group, &parsed, now)
    }

    fn view_of(&self, group: &MlsGroup, commit: &CommitFrame, now: u64) -> Result<CommitView, MlsError> {
        let pending: Vec<_> = group.pending_proposals().collect();
        self.known(now).commit(group.public_group(), &pending, commit)
    }

    /// Verifies a by-reference proposal (PublicMessage) and keeps it for the next commit. Application messages can
    /// still be sent: OpenMLS sees it only while commits are made or processed.
    pub fn store_proposal(&mut self, message: &[u8], now: u64) -> Result<ProposalView, MlsError> {
        match handshake_kind(message)? {
            HandshakeKind::Proposal(frame) => self.check_frame(&frame.group_id, frame.epoch, true)?,
            HandshakeKind::PrivateHandshake(_) => {
                return Err(MlsError::Unsupported("handshakes as PrivateMessage".into()));
            }
            _ => return Err(MlsError::Malformed("not a proposal".into())),
        }
        let overlay = self.overlay.fork(self.live()?);
        let mut group = load(&overlay, &self.meta.group_id)?;
        let processed = group.process_message(&overlay, protocol_message(message)?).map_err(MlsError::invalid)?;
        let (ProcessedMessageContent::ProposalMessage(queued)
        | ProcessedMessageContent::ExternalJoinProposalMessage(queued)) = processed.into_content()
        else {
            return Err(MlsError::Malformed("not a proposal".into()));
        };
        let view = self.known(now).proposal(group.public_group(), &queued)?;
        if let Proposed::Add(add) = &view.what {
            self.check_key(&add.user, &add.signature_key, &BTreeSet::new())?;
        }
        if keep_pending(&mut self.meta.pending, message)? {
            self.store_meta()?;
        }
        Ok(view)
    }

    /// Forgets a pending proposal that shall not be committed (the policy refuses it, or its sender took it back).
    /// Whether it was there. A commit of others that takes it in can then not be applied.
    pub fn drop_proposal(&mut self, message: &[u8]) -> Result<bool, MlsError> {
        let before = self.meta.pending.len();
        self.meta.pending.retain(|other| other != message);
        self.store_meta()?;
        Ok(self.meta.pending.len() < before)
    }

    /// Proposals with which this user leaves: a SelfRemove, and `AppDataUpdate`s by reference, as `MLSMessage`s to send.
    /// They are kept as pending here, too.
    pub fn propose_leave(&mut self, user: &UserUri, app_data: Vec<AppDataChange>) -> Result<Vec<Vec<u8>>, MlsError> {
        self.live()?;
        let leaf = self.local_leaf(user)?;
        let overlay = self.overlay.fork(leaf.index);
        let mut group = load(&overlay, &self.meta.group_id)?;
        let mut messages = Vec::new();
        for AppDataChange { component, update } in app_data {
            let propose = Propose::UpdateAppDataComponent { component_id: component, update };
            let (message, _) = group
                .propose(&overlay, &*leaf.pair, propose, ProposalOrRefType::Reference)
                .map_err(MlsError::invalid)?;
            messages.push(message.to_bytes().map_err(MlsError::invalid)?);
        }
        let message = group.leave_group_via_self_remove(&overlay, &*leaf.pair).map_err(MlsError::invalid)?;
        messages.push(message.to_bytes().map_err(MlsError::invalid)?);
        self.meta.pending.extend(messages.iter().cloned());
        self.store_meta()?;
        Ok(messages)
    }

    /// Puts the pending proposals into a throw-away group's store.
    pub(super) fn replay_pending(&self, overlay: &Overlay, group: &mut MlsGroup) -> Result<(), MlsError> {
        for message in &self.meta.pending {
            let processed = group.process_message(overlay, protocol_message(message)?).map_err(MlsError::invalid)?;
            match processed.into_content() {
                ProcessedMessageContent::ProposalMessage(queued)
                | ProcessedMessageContent::ExternalJoinProposalMessage(queued) => {
                    group.store_pending_proposal(overlay, *queued)?;
                }
                _ => return Err(MlsError::Storage("a pending proposal is none".into())),
            }
        }
        Ok(())
    }

    /// The view of a commit, judged.
    fn judge_commit(
        &self,
        group: &MlsGroup,
        commit: &CommitFrame,
        extra: &BTreeSet<Vec<u8>>,
        judge: Judge<'_>,
        now: u64,
    ) -> Result<(CommitView, NewComponents), MlsError> {
        let view = self.view_of(group, commit, now)?;
        self.check_new_leaves(&view, extra)?;
        let values = judged(&view, judge)?;
        Ok((view, values))
    }

    /// The committer's own state after a commit that it staged.
    fn merge_own(&self, index: u32, state: &[u8]) -> Result<Next, MlsError> {
        let overlay = self.overlay.fork(index);
        overlay.put(STATE_KEY.to_vec(), state.to_vec());
        let mut group = load(&overlay, &self.meta.group_id)?;
        if group.pending_commit().is_none() {
            return Err(MlsError::Stale);
        }
        group.merge_pending_commit(&overlay).map_err(MlsError::invalid)?;
        Ok(Next { overlay, group })
    }

    /// Verifies a commit as leaf `index`, on a copy.
    fn begin(&self, index: u32, message: &[u8]) -> Result<Begun, MlsError> {
        let overlay = self.overlay.fork(index);
        let mut group = load(&overlay, &self.meta.group_id)?;
        self.replay_pending(&overlay, &mut group)?;
        let processed = group.process_message(&overlay, protocol_message(message)?).map_err(MlsError::invalid)?;
        Ok(Begun { overlay, group, processed })
    }

    /// The state after a commit as leaf `index` sees it, on a copy.
    fn process_as(
        &self,
        index: u32,
        message: &[u8],
        view: &CommitView,
        values: &NewComponents,
        extra: &BTreeSet<Vec<u8>>,
    ) -> Result<Next, MlsError> {
        self.finish(self.begin(index, message)?, view, values, extra)
    }

    fn finish(
        &self,
        begun: Begun,
        view: &CommitView,
        values: &NewComponents,
        extra: &BTreeSet<Vec<u8>>,
    ) -> Result<Next, MlsError> {
        let Begun { overlay, mut group, processed } = begun;
        let sender = processed.sender().clone();
        let staged = match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => *staged,
            ProcessedMessageContent::UnresolvedAppDataCommit(unresolved) => {
                let updates = view::updates(group.app_data_dictionary_updater(), view, values);
                group.stage_app_data_commit(&overlay, *unresolved, updates).map_err(MlsError::invalid)?
            }
            _ => return Err(MlsError::Malformed("not a commit".into())),
        };
        view::check_staged(group.public_group(), &sender, &staged, |user, key| self.check_key(user, key, extra))?;
        group.merge_staged_commit(&overlay, staged).map_err(MlsError::invalid)?;
        Ok(Next { overlay, group })
    }

    /// The private tree keys that leaf `index` has after a commit. `None` if it cannot process it, which costs us the
    /// standby and nothing else.
    fn keys_as(
        &self,
        index: u32,
        message: &[u8],
        view: &CommitView,
        values: &NewComponents,
        extra: &BTreeSet<Vec<u8>>,
    ) -> Option<(u32, Vec<u8>)> {
        match self.process_as(index, message, view, values, extra) {
            Ok(next) => tree_keys(&next.overlay, self.epoch() + 1, index).map(|keys| (index, keys)),
            Err(error) => {
                tracing::warn!(%error, "the standby leaf could not process a commit; a new standby will be chosen");
                None
            }
        }
    }

    fn check_new_leaves(&self, view: &CommitView, extra: &BTreeSet<Vec<u8>>) -> Result<(), MlsError> {
        for add in &view.adds {
            self.check_key(&add.user, &add.signature_key, extra)?;
        }
        if let CommitSender::NewMember { user, signature_key, .. } = &view.sender {
            self.check_key(user, signature_key, extra)?;
        }
        Ok(())
    }

    /// A leaf that names our domain has to have a key that we hold.
    fn check_key(&self, user: &UserUri, key: &[u8], extra: &BTreeSet<Vec<u8>>) -> Result<(), MlsError> {
        if user.provider() == self.meta.domain && !self.keys.contains(key) && !extra.contains(key) {
            return Err(MlsError::ForgedLocalLeaf(user.clone()));
        }
        Ok(())
    }

    /// Our own rows (meta, signers, waiting keys) on top of a state that a joining leaf made on its own.
    fn carry_over(&self, next: Next) -> Next {
        for prefix in [b"!".as_slice(), b"~", b"^"] {
            for key in self.overlay.keys(prefix) {
                if let Some(value) = self.overlay.get(&key) {
                    next.overlay.put(key, value);
                }
            }
        }
        // The rows become a difference to the ones that are stored.
        let overlay = self.overlay.fork(0);
        let rows = next.overlay.rows();
        for key in overlay.keys(&[]) {
            if !rows.contains_key(&key) {
                overlay.remove(&key);
            }
        }
        for (key, value) in rows {
            overlay.put(key, value);
        }
        Next { overlay, group: next.group }
    }

    /// Makes `next` the state. `main` is the leaf that it was processed as.
    fn enter(
        &mut self,
        next: Next,
        main: Option<u32>,
        standby: Option<(u32, Vec<u8>)>,
        view: CommitView,
    ) -> Result<Applied, MlsError> {
        let old_local = self.local.clone();
        let old_epoch = self.epoch();
        let Next { overlay, group } = next;
        self.at = main.or(self.meta.anchor).unwrap_or_default();
        overlay.present(self.at);
        self.overlay = overlay;
        self.group = group;
        self.meta.anchor = main;
        self.meta.standby = standby.as_ref().map(|(index, _)| *index);
        self.meta.pending.clear();
        let epoch = self.epoch();
        for LocalLeaf { index, .. } in old_local.values() {
            self.overlay.remove(&Overlay::epoch_keys_key(old_epoch, *index));
        }
        if let Some((index, keys)) = standby {
            self.overlay.put(Overlay::epoch_keys_key(epoch, index), keys);
        }
        self.refresh_local()?;
        let local_removed: Vec<UserUri> = old_local.into_keys().filter(|user| !self.local.contains_key(user)).collect();
        let last_local_removed = self.local.is_empty();
        let state_lost = main.is_none() && !last_local_removed;
        self.store_meta()?;
        Ok(Applied { view, epoch, local_removed, last_local_removed, state_lost })
    }
}

/// Reads a change into the view and its KeyPackages.
fn change_view(
    known: &Known<'_>,
    group: &PublicGroup,
    change: &Change,
    view: &mut CommitView,
) -> Result<Vec<openmls::prelude::KeyPackage>, MlsError> {
    let mut key_packages = Vec::new();
    for bytes in &change.adds {
        let (key_package, add) = known.add(group, bytes, ProposalSender::Committer)?;
        key_packages.push(key_package);
        view.adds.push(add);
    }
    for index in &change.removes {
        let leaf = known.leaf_at(group, *index)?;
        view::remove(view, RemoveView { leaf, self_remove: false, sender: ProposalSender::Committer });
    }
    for AppDataChange { component, update } in &change.app_data {
        let op = AppDataOp::Update(update.clone());
        view.app_data.push(AppDataView { component: *component, op, sender: ProposalSender::Committer });
    }
    Ok(key_packages)
}

pub(super) fn app_data_proposal(change: &AppDataChange) -> Proposal {
    Proposal::AppDataUpdate(Box::new(AppDataUpdateProposal::update(change.component, change.update.clone())))
}

fn tree_keys(overlay: &Overlay, epoch: u64, index: u32) -> Option<Vec<u8>> {
    overlay.get(&Overlay::epoch_keys_key(epoch, index))
}
