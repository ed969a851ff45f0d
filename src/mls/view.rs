//! What a commit or proposal does, in our own types, and how app data follows from it (draft-ietf-mls-extensions:
//! AppDataUpdate; RFC 9420 section 12).

use std::collections::{BTreeMap, BTreeSet};

use openmls::{
    component::ComponentData,
    group::{AppDataDictionaryUpdater, AppDataUpdates},
    prelude::{
        AppDataUpdateOperation, AppDataUpdateProposal, KeyPackage, LeafNode, LeafNodeIndex, Proposal, ProposalIn,
        ProposalOrRefIn, PublicGroup, QueuedProposal, Sender, StagedCommit, tls_codec::Serialize as _,
    },
    treesync::LeafNodeSource,
};
use serde::{Deserialize, Serialize};

use super::{
    MlsError, components,
    frame::{CommitFrame, FrameSender},
    identity::{user_of, user_of_credential},
    key_package,
};
use crate::ident::{MimiUri, UserUri};

/// A member's leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// Leaf index.
    pub index: u32,
    /// The identity in the credential, as it stands there.
    pub client: MimiUri,
    /// The user whom the identity names.
    pub user: UserUri,
    /// Whether we hold its signature key.
    pub local: bool,
    /// The signature key.
    pub signature_key: Vec<u8>,
    /// First and last second of the lifetime, in seconds since the epoch. `None` once the leaf has been refreshed by a
    /// path: such leaves carry no lifetime.
    pub lifetime: Option<(u64, u64)>,
}

/// Who made a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommitSender {
    /// A member.
    Member(Leaf),
    /// Somebody who joins by this (external) commit.
    NewMember {
        /// The identity in the credential.
        client: MimiUri,
        /// The user whom it names.
        user: UserUri,
        /// The signature key of the new leaf.
        signature_key: Vec<u8>,
    },
}

impl CommitSender {
    /// The user who commits.
    #[must_use]
    pub fn user(&self) -> &UserUri {
        match self {
            Self::Member(leaf) => &leaf.user,
            Self::NewMember { user, .. } => user,
        }
    }
}

/// Who made a proposal within a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProposalSender {
    /// The committer.
    Committer,
    /// A member, by reference.
    Member(Leaf),
    /// An entry of `external_senders`, by reference.
    External(u32),
    /// An outsider who asks to be added, by reference.
    NewMember,
}

/// An added client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddView {
    /// The identity in the credential.
    pub client: MimiUri,
    /// The user whom it names.
    pub user: UserUri,
    /// The `KeyPackageRef`.
    pub key_package_ref: Vec<u8>,
    /// The signature key of the new leaf.
    pub signature_key: Vec<u8>,
    /// Who proposed it.
    pub sender: ProposalSender,
}

/// A removed leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveView {
    /// The leaf that goes.
    pub leaf: Leaf,
    /// Whether it goes by its own SelfRemove.
    pub self_remove: bool,
    /// Who proposed it.
    pub sender: ProposalSender,
}

/// What is done to a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppDataOp {
    /// An update in the component's own format.
    Update(Vec<u8>),
    /// The component goes.
    Remove,
}

/// One AppDataUpdate proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDataView {
    /// The component.
    pub component: u16,
    /// What is done to it.
    pub op: AppDataOp,
    /// Who proposed it.
    pub sender: ProposalSender,
}

/// Everything that a commit does, for the policy to judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitView {
    /// Who commits.
    pub sender: CommitSender,
    /// The epoch that the commit ends.
    pub epoch: u64,
    /// Whether it has a path (the committer's leaf is refreshed).
    pub path: bool,
    /// Added clients.
    pub adds: Vec<AddView>,
    /// Removed leaves, each once.
    pub removes: Vec<RemoveView>,
    /// Members whose Update proposals are taken in (identity unchanged).
    pub updates: Vec<Leaf>,
    /// Changes of components, in order of appearance.
    pub app_data: Vec<AppDataView>,
    /// All components before the commit.
    pub components: BTreeMap<u16, Vec<u8>>,
}

/// New values of the touched components.
pub type NewComponents = BTreeMap<u16, Vec<u8>>;
/// The policy: the new value of each updated component, or the reason of a refusal. It sees every commit, also those
/// that touch no component.
pub type Judge<'a> = &'a mut dyn FnMut(&CommitView) -> Result<NewComponents, String>;

/// A by-reference proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposalView {
    /// Who proposes; never [`ProposalSender::Committer`].
    pub sender: ProposalSender,
    /// What is proposed.
    pub what: Proposed,
}

/// What a by-reference proposal wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposed {
    /// To add a client.
    Add(AddView),
    /// To remove a leaf.
    Remove(Leaf),
    /// To leave.
    SelfRemove,
    /// To refresh the sender's own leaf.
    Update,
    /// To change a component.
    AppData(u16, AppDataOp),
}

/// What is needed to read leaves: which keys are ours.
pub(super) struct Known<'a> {
    pub(super) local: &'a BTreeSet<Vec<u8>>,
    pub(super) now: u64,
}

impl Known<'_> {
    pub(super) fn leaf(&self, index: u32, node: &LeafNode) -> Result<Leaf, MlsError> {
        leaf(index, node, |key| self.local.contains(key))
    }
    pub(super) fn leaf_at(&self, group: &PublicGroup, index: u32) -> Result<Leaf, MlsError> {
        let node = group.leaf(LeafNodeIndex::new(index));
        self.leaf(index, node.ok_or_else(|| MlsError::Invalid(format!("leaf {index} is blank")))?)
    }
    fn proposal_sender(&self, group: &PublicGroup, sender: &Sender) -> Result<ProposalSender, MlsError> {
        Ok(match sender {
            Sender::Member(index) => ProposalSender::Member(self.leaf_at(group, index.u32())?),
            Sender::External(index) => {
                let bytes = index.tls_serialize_detached().map_err(MlsError::malformed)?;
                ProposalSender::External(bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
            }
            Sender::NewMemberProposal => ProposalSender::NewMember,
            Sender::NewMemberCommit => ProposalSender::Committer,
        })
    }
    /// A client that is to be added.
    pub(super) fn add(
        &self,
        group: &PublicGroup,
        key_package: &[u8],
        sender: ProposalSender,
    ) -> Result<(KeyPackage, AddView), MlsError> {
        let (key_package, view) = key_package::parse(key_package, self.now)?;
        components::check_leaf(key_package.leaf_node(), &components(group))?;
        let add = AddView {
            client: view.client,
            user: view.user,
            key_package_ref: view.reference,
            signature_key: view.signature_key,
            sender,
        };
        Ok((key_package, add))
    }
    /// A by-reference proposal that OpenMLS has verified.
    pub(super) fn proposal(&self, group: &PublicGroup, queued: &QueuedProposal) -> Result<ProposalView, MlsError> {
        let sender = self.proposal_sender(group, queued.sender())?;
        let what = match queued.proposal() {
            Proposal::Add(add) => {
                let bytes = add.key_package().tls_serialize_detached().map_err(MlsError::malformed)?;
                Proposed::Add(self.add(group, &bytes, sender.clone())?.1)
            }
            Proposal::Remove(remove) => Proposed::Remove(self.leaf_at(group, remove.removed().u32())?),
            Proposal::SelfRemove => Proposed::SelfRemove,
            Proposal::Update(update) => {
                let Sender::Member(index) = queued.sender() else {
                    return Err(MlsError::Invalid("an Update by somebody who is no member".into()));
                };
                same_identity(group, index.u32(), update.leaf_node())?;
                Proposed::Update
            }
            Proposal::AppDataUpdate(update) => {
                let (component, op) = app_data_op(update);
                Proposed::AppData(component, op)
            }
            other => return Err(unsupported(other.proposal_type())),
        };
        Ok(ProposalView { sender, what })
    }
    pub(super) fn apply(
        &self,
        group: &PublicGroup,
        view: &mut CommitView,
        proposal: ProposalView,
    ) -> Result<(), MlsError> {
        let ProposalView { sender, what } = proposal;
        match what {
            Proposed::Add(add) => view.adds.push(AddView { sender, ..add }),
            Proposed::Remove(leaf) => remove(view, RemoveView { leaf, self_remove: false, sender }),
            Proposed::SelfRemove => {
                let ProposalSender::Member(leaf) = sender.clone() else {
                    return Err(MlsError::Invalid("a SelfRemove by somebody who is no member".into()));
                };
                remove(view, RemoveView { leaf, self_remove: true, sender });
            }
            Proposed::Update => {
                if let ProposalSender::Member(leaf) = sender {
                    view.updates.push(self.leaf_at(group, leaf.index)?);
                }
            }
            Proposed::AppData(component, op) => view.app_data.push(AppDataView { component, op, sender }),
        }
        Ok(())
    }

    /// The view of a commit that came as bytes. It may refer to the `pending` proposals only.
    pub(super) fn commit(
        &self,
        group: &PublicGroup,
        pending: &[&QueuedProposal],
        commit: &CommitFrame,
    ) -> Result<CommitView, MlsError> {
        let sender = match commit.frame.sender {
            Some(FrameSender::Member(index)) => CommitSender::Member(self.leaf_at(group, index)?),
            Some(FrameSender::NewMemberCommit) => {
                let path =
                    commit.path.as_ref().ok_or_else(|| MlsError::Invalid("an external commit without path".into()))?;
                let identity = path.identity.as_ref();
                let (client, user) = user_of(
                    identity.ok_or_else(|| MlsError::Credential("only basic credentials are supported".into()))?,
                )?;
                CommitSender::NewMember { client, user, signature_key: path.signature_key.clone() }
            }
            _ => return Err(MlsError::Invalid("a commit by somebody who may not commit".into())),
        };
        let external = matches!(sender, CommitSender::NewMember { .. });
        let mut view = empty(group, sender, commit.path.is_some());
        for proposal in &commit.proposals {
            match proposal {
                ProposalOrRefIn::Reference(reference) => {
                    let queued = pending.iter().find(|queued| queued.proposal_reference_ref() == &**reference);
                    let queued = queued.ok_or_else(|| MlsError::Invalid("a proposal that we do not have".into()))?;
                    let proposal = self.proposal(group, queued)?;
                    self.apply(group, &mut view, proposal)?;
                }
                ProposalOrRefIn::Proposal(proposal) => {
                    let sender = ProposalSender::Committer;
                    match &**proposal {
                        ProposalIn::Add(add) => {
                            let bytes = add.tls_serialize_detached().map_err(MlsError::malformed)?;
                            view.adds.push(self.add(group, &bytes, sender)?.1);
                        }
                        ProposalIn::Remove(target) => {
                            let leaf = self.leaf_at(group, target.removed().u32())?;
                            remove(&mut view, RemoveView { leaf, self_remove: false, sender });
                        }
                        ProposalIn::AppDataUpdate(update) => {
                            let (component, op) = app_data_op(update);
                            view.app_data.push(AppDataView { component, op, sender });
                        }
                        ProposalIn::ExternalInit(_) if external => {}
                        other => return Err(unsupported(other.proposal_type())),
                    }
                }
            }
        }
        Ok(view)
    }
}

pub(super) fn empty(group: &PublicGroup, sender: CommitSender, path: bool) -> CommitView {
    CommitView {
        sender,
        epoch: group.group_context().epoch().as_u64(),
        path,
        adds: Vec::new(),
        removes: Vec::new(),
        updates: Vec::new(),
        app_data: Vec::new(),
        components: components(group),
    }
}

pub(super) fn remove(view: &mut CommitView, target: RemoveView) {
    if !view.removes.iter().any(|other| other.leaf.index == target.leaf.index) {
        view.removes.push(target);
    }
}

pub(super) fn components(group: &PublicGroup) -> BTreeMap<u16, Vec<u8>> {
    group.group_context().extensions().app_data_dictionary().map_or_else(BTreeMap::new, |extension| {
        extension.dictionary().entries().map(|entry| (entry.id(), entry.data().to_vec())).collect()
    })
}

pub(super) fn leaf(index: u32, node: &LeafNode, local: impl Fn(&[u8]) -> bool) -> Result<Leaf, MlsError> {
    let (client, user) = user_of_credential(node.credential())?;
    let signature_key = node.signature_key().as_slice().to_vec();
    let lifetime = match node.leaf_node_source() {
        LeafNodeSource::KeyPackage(lifetime) => Some((lifetime.not_before(), lifetime.not_after())),
        LeafNodeSource::Update | LeafNodeSource::Commit(_) => None,
    };
    Ok(Leaf { index, client, user, local: local(&signature_key), signature_key, lifetime })
}

/// Identity never changes: the credential of `node` is the one that leaf `index` has.
pub(super) fn same_identity(group: &PublicGroup, index: u32, node: &LeafNode) -> Result<(), MlsError> {
    let old = group.leaf(LeafNodeIndex::new(index));
    if old.is_some_and(|old| old.credential() == node.credential()) {
        Ok(())
    } else {
        Err(MlsError::IdentityChanged(index))
    }
}

/// A path keeps the committer's identity, an external commit's leaf is the one that was judged, Updates keep theirs.
/// `check_key` refuses a leaf of our domain whose key is none of ours.
pub(super) fn check_staged(
    group: &PublicGroup,
    sender: &Sender,
    staged: &StagedCommit,
    check_key: impl Fn(&UserUri, &[u8]) -> Result<(), MlsError>,
) -> Result<(), MlsError> {
    if let Some(node) = staged.update_path_leaf_node() {
        if let Sender::Member(index) = sender {
            same_identity(group, index.u32(), node)?;
        }
        components::check_leaf(node, &components(group))?;
        let (_, user) = user_of_credential(node.credential())?;
        check_key(&user, node.signature_key().as_slice())?;
    }
    for update in staged.update_proposals() {
        if let Sender::Member(index) = update.sender() {
            let node = update.update_proposal().leaf_node();
            same_identity(group, index.u32(), node)?;
            components::check_leaf(node, &components(group))?;
            let (_, user) = user_of_credential(node.credential())?;
            check_key(&user, node.signature_key().as_slice())?;
        }
    }
    Ok(())
}

/// Asks the policy and checks its answer against the rules of AppDataUpdate: no remove of what is absent, no second
/// remove, no remove together with an update, and a new value for each updated component and nothing else.
pub(super) fn judged(view: &CommitView, judge: Judge<'_>) -> Result<NewComponents, MlsError> {
    let mut removed = BTreeSet::new();
    let mut updated = BTreeSet::new();
    for change in &view.app_data {
        match change.op {
            AppDataOp::Update(_) => {
                updated.insert(change.component);
            }
            AppDataOp::Remove => {
                if !view.components.contains_key(&change.component) {
                    return Err(refused(change.component, "is absent and cannot be removed"));
                }
                if !removed.insert(change.component) {
                    return Err(refused(change.component, "is removed twice"));
                }
            }
        }
    }
    if let Some(both) = removed.intersection(&updated).next() {
        return Err(refused(*both, "is updated and removed"));
    }
    let values = judge(view).map_err(MlsError::Refused)?;
    if let Some(unknown) = updated.iter().find(|component| !values.contains_key(component)) {
        return Err(refused(*unknown, "is not known to the policy"));
    }
    if let Some(untouched) = values.keys().find(|component| !updated.contains(component)) {
        return Err(refused(*untouched, "was not touched by the commit"));
    }
    Ok(values)
}

fn refused(component: u16, why: &str) -> MlsError {
    MlsError::Refused(format!("component {component:#06x} {why}"))
}

/// What OpenMLS is told about the dictionary.
pub(super) fn updates(
    mut updater: AppDataDictionaryUpdater<'_>,
    view: &CommitView,
    values: &NewComponents,
) -> Option<AppDataUpdates> {
    for (component, value) in values {
        updater.set(ComponentData::from_parts(*component, value.as_slice().into()));
    }
    for change in &view.app_data {
        if change.op == AppDataOp::Remove {
            updater.remove(&change.component);
        }
    }
    updater.changes()
}

fn app_data_op(update: &AppDataUpdateProposal) -> (u16, AppDataOp) {
    let op = match update.operation() {
        AppDataUpdateOperation::Update(bytes) => AppDataOp::Update(bytes.as_slice().to_vec()),
        AppDataUpdateOperation::Remove => AppDataOp::Remove,
    };
    (update.component_id(), op)
}

fn unsupported(kind: openmls::prelude::ProposalType) -> MlsError {
    MlsError::Unsupported(format!("{kind:?} proposals"))
}
