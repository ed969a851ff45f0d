//! Ways into a group: creating it, a Welcome, an external commit (RFC 9420 sections 11.2 and 12.4.3.2).

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::{
    AppDataDictionary, AppDataDictionaryExtension, AppDataUpdateProposal, BasicCredential, Extension, ExtensionType,
    Extensions, ExternalCommitBuilder, ExternalSender, GroupId, LeafNodeParameters, MlsGroup, MlsMessageBodyIn,
    MlsMessageIn, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProposalStore, ProposalType, PublicGroup, PublicMessageIn,
    RatchetTreeIn, RequiredCapabilitiesExtension, StagedWelcome,
    tls_codec::{Deserialize as _, Serialize as _},
};
use openmls_traits::OpenMlsProvider as _;

use openmls::messages::group_info::VerifiableGroupInfo;

use super::{
    Change, Judge, Member, MlsError, Rows, StagedCommit,
    commit::Secret,
    components,
    frame::{parse_welcome, self_remove_of},
    identity::{
        DEVICE, PAST_EPOCHS, SUITE, capabilities, check_lifetime, credential_for, join_config, lifetime, padding,
        ratchet, user_of_credential,
    },
    key_package::{PrivatePart, new_signer},
    member::load,
    overlay::{CRYPTO, Overlay},
    view::{self, AppDataOp, AppDataView, CommitSender, CommitView, Known, ProposalSender, RemoveView, judged},
};
use crate::ident::{MimiUri, UserUri};

/// A group to be created.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// The group id (a `mimi://.../g/...` URI).
    pub group_id: Vec<u8>,
    /// The first member: a user of ours.
    pub creator: UserUri,
    /// The room's components in the `GroupContext`'s `app_data_dictionary`; those that MLS itself needs are added.
    pub components: BTreeMap<u16, Vec<u8>>,
    /// Signature key and basic identity of each external sender.
    pub external_senders: Vec<(Vec<u8>, Vec<u8>)>,
    /// Milliseconds since the epoch.
    pub now: u64,
}

/// A way into a group by external commit.
#[derive(Debug, Clone)]
pub struct ExternalJoin<'a> {
    /// The raw `GroupInfo`, with `external_pub`.
    pub group_info: &'a [u8],
    /// `optional<Node> ratchet_tree<V>`.
    pub ratchet_tree: &'a [u8],
    /// Pending proposals that came with it, as `MLSMessage`s; the `SelfRemove`s among them are taken in.
    pub pending_proposals: &'a [Vec<u8>],
    /// Who joins: a user of ours.
    pub user: &'a UserUri,
    /// Components to update with it; nothing else can be changed by an external commit.
    pub change: &'a Change,
    /// Milliseconds since the epoch.
    pub now: u64,
}

impl Member {
    /// Creates a group with one member, who is the anchor.
    pub fn create(new: NewGroup) -> Result<Self, MlsError> {
        let pair = new_signer()?;
        let mut dictionary = AppDataDictionary::new();
        for (component, value) in components::for_new_group().into_iter().chain(new.components) {
            dictionary.insert(component, value);
        }
        let required = RequiredCapabilitiesExtension::new(
            &[ExtensionType::AppDataDictionary],
            &[ProposalType::AppDataUpdate, ProposalType::SelfRemove],
            &[],
        );
        let mut extensions = vec![Extension::RequiredCapabilities(required)];
        if !new.external_senders.is_empty() {
            let senders = new.external_senders.into_iter();
            let senders =
                senders.map(|(key, identity)| ExternalSender::new(key.into(), BasicCredential::new(identity).into()));
            extensions.push(Extension::ExternalSenders(senders.collect()));
        }
        // The last of all: OpenMLS 0.9.2 puts it there whenever it changes, others may leave it where it was.
        extensions.push(Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary)));
        let overlay = Overlay::new(Rows::new());
        let group = MlsGroup::builder()
            .with_group_id(GroupId::from_slice(&new.group_id))
            .ciphersuite(SUITE)
            .with_wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .with_capabilities(capabilities())
            .with_leaf_node_extensions(components::of_our_leaves()?)
            .map_err(MlsError::invalid)?
            .with_group_context_extensions(Extensions::from_vec(extensions).map_err(MlsError::invalid)?)
            .lifetime(lifetime(new.now))
            .max_past_epochs(PAST_EPOCHS)
            .padding_size(padding())
            .sender_ratchet_configuration(ratchet())
            .use_ratchet_tree_extension(false)
            .build(&overlay, &pair, credential_for(&new.creator, &pair)?)
            .map_err(MlsError::invalid)?;
        let meta = Self::new_meta(&group, new.creator.provider(), 0);
        Self::put_signer(&overlay, &new.creator, &postcard::to_stdvec(&pair).map_err(MlsError::storage)?)?;
        Self::put_meta(&overlay, &meta)?;
        Self::open_state(overlay, meta)
    }

    /// Joins by a Welcome (raw or as `MLSMessage`) with the private parts of the KeyPackages that it is for; several
    /// local users can be in one. The first is the anchor, the second the standby.
    pub fn join(welcome: &[u8], ratchet_tree: &[u8], keys: &[Vec<u8>], now: u64) -> Result<Self, MlsError> {
        Self::join_after(None, welcome, ratchet_tree, keys, now)
    }

    /// Joins by a Welcome a group again whose state was lost, with the keys of our other leaves that are still in it.
    pub fn join_again(
        &self,
        welcome: &[u8],
        ratchet_tree: &[u8],
        keys: &[Vec<u8>],
        now: u64,
    ) -> Result<Self, MlsError> {
        Self::join_after(Some(self), welcome, ratchet_tree, keys, now)
    }

    fn join_after(
        previous: Option<&Self>,
        welcome: &[u8],
        ratchet_tree: &[u8],
        keys: &[Vec<u8>],
        now: u64,
    ) -> Result<Self, MlsError> {
        let parsed = parse_welcome(welcome)?;
        if parsed.ciphersuite() != SUITE {
            return Err(MlsError::Unsupported("the Welcome's cipher suite".into()));
        }
        let wanted: Vec<Vec<u8>> =
            parsed.secrets().iter().map(|secret| secret.new_member().as_slice().to_vec()).collect();
        let mut parts = keys.iter().map(|key| PrivatePart::parse(key)).collect::<Result<Vec<_>, _>>()?;
        parts.retain(|part| wanted.contains(&part.reference));
        let (first, others) = parts.split_first().ok_or(MlsError::NotAMember)?;

        let (overlay, group) = enter_by_welcome(welcome, ratchet_tree, first)?;
        let anchor = group.own_leaf_index().u32();
        let mut meta = Self::new_meta(&group, first.user.provider(), anchor);
        Self::put_signer(&overlay, &first.user, &first.signer)?;
        for part in others {
            Self::put_signer(&overlay, &part.user, &part.signer)?;
        }
        if let Some(second) = others.first() {
            let (other, group) = enter_by_welcome(welcome, ratchet_tree, second)?;
            let standby = group.own_leaf_index().u32();
            let key = Overlay::epoch_keys_key(group.epoch().as_u64(), standby);
            if let Some(keys) = other.get(&key) {
                overlay.put(key, keys);
                meta.standby = Some(standby);
            }
        }
        let mut known: BTreeSet<Vec<u8>> = parts.iter().map(|part| part.public.clone()).collect();
        if let Some(previous) = previous {
            previous.hand_over(&overlay)?;
            known.extend(previous.keys.iter().cloned());
        }
        check_tree(&group, &first.user, &known, now, |_| false)?;
        Self::put_meta(&overlay, &meta)?;
        Self::open_state(overlay, meta)
    }

    /// Joins as a newcomer by external commit. The [`Member`] is the state after the hub has accepted the commit: store
    /// both, send the commit, and drop the member if the hub refuses.
    pub fn join_external(join: &ExternalJoin<'_>, judge: Judge<'_>) -> Result<(Self, StagedCommit), MlsError> {
        Self::external(join, None, false, judge)
    }

    /// Joins a group again whose state was lost, with the keys of our other leaves that are still in it. The old leaf
    /// of the user is removed by the same commit. `forgiving`: what is stored is old, so that leaves of our domain can be
    /// there whose keys were lost; they are not ours to speak with, and [`Member::refresh_due`] names their users.
    pub fn rejoin(
        &self,
        join: &ExternalJoin<'_>,
        forgiving: bool,
        judge: Judge<'_>,
    ) -> Result<(Self, StagedCommit), MlsError> {
        Self::external(join, Some(self), forgiving, judge)
    }

    fn external(
        join: &ExternalJoin<'_>,
        previous: Option<&Self>,
        forgiving: bool,
        judge: Judge<'_>,
    ) -> Result<(Self, StagedCommit), MlsError> {
        let mut keys = previous.map(|previous| previous.keys.clone()).unwrap_or_default();
        let before = public_group(join)?;
        let signer = match previous {
            Some(previous) => previous.signer_in(&before, join.user)?,
            None => postcard::to_stdvec(&new_signer()?).map_err(MlsError::storage)?,
        };
        let made = external_commit(join, &before, &signer, &keys, judge)?;
        keys.insert(made.public.clone());
        let group = load(&made.overlay, &made.group_id)?;
        // A leaf of the joiner whose key was lost goes with the joiner's next commit: an external one removes, with this
        // version of OpenMLS, only a leaf with the same key.
        check_tree(&group, join.user, &keys, join.now, |user| forgiving || user == join.user)?;
        let meta = Self::new_meta(&group, join.user.provider(), made.index);
        if let Some(previous) = previous {
            previous.hand_over(&made.overlay)?;
        }
        Self::put_signer(&made.overlay, join.user, &signer)?;
        Self::put_meta(&made.overlay, &meta)?;
        let member = Self::open_state(made.overlay, meta)?;
        let staged = StagedCommit { secret: Secret::Newcomer, ..made.staged };
        Ok((member, staged))
    }

    /// Our keys, those of leaves and those that wait for their leaf, in another state of the group.
    fn hand_over(&self, overlay: &Overlay) -> Result<(), MlsError> {
        for (user, leaf) in &self.local {
            Self::put_signer(overlay, user, &postcard::to_stdvec(&*leaf.pair).map_err(MlsError::storage)?)?;
        }
        for (key, value) in self.waiting() {
            overlay.put(key, value);
        }
        Ok(())
    }

    /// The key pair with which this user joins: that of its leaf in the group, so that it can be told to be the same.
    fn signer_in(&self, group: &PublicGroup, user: &UserUri) -> Result<Vec<u8>, MlsError> {
        let in_group: BTreeSet<Vec<u8>> = group.members().map(|member| member.signature_key).collect();
        for (_, private) in self.waiting() {
            let part = PrivatePart::parse(&private)?;
            if part.user == *user && in_group.contains(&part.public) {
                return Ok(part.signer);
            }
        }
        match self.local.get(user) {
            Some(leaf) => postcard::to_stdvec(&*leaf.pair).map_err(MlsError::storage),
            None => postcard::to_stdvec(&new_signer()?).map_err(MlsError::storage),
        }
    }

    /// Gives a participant without leaf one, by an external commit made from our own state: nobody has to be asked for
    /// a GroupInfo. `change` can hold app data only. Nothing changes here; [`Member::accept_staged`] takes it in.
    pub fn stage_external_join(
        &self,
        user: &UserUri,
        change: &Change,
        judge: Judge<'_>,
        now: u64,
    ) -> Result<StagedCommit, MlsError> {
        if user.provider() != self.meta.domain {
            return Err(MlsError::Credential("the user is of another domain".into()));
        }
        if self.has_leaf(user) {
            return Err(MlsError::HasLeaf(user.clone()));
        }
        let own = self.group_info(None)?;
        let signer = postcard::to_stdvec(&new_signer()?).map_err(MlsError::storage)?;
        let join = ExternalJoin {
            group_info: &own.group_info,
            ratchet_tree: &own.ratchet_tree,
            pending_proposals: &self.meta.pending,
            user,
            change,
            now,
        };
        Ok(external_commit(&join, self.group.public_group(), &signer, &self.keys, judge)?.joining(signer))
    }
}

/// Who has how many leaves in the group that a GroupInfo is about; it is verified.
pub fn users_outside(join: &ExternalJoin<'_>) -> Result<BTreeMap<UserUri, u32>, MlsError> {
    let mut users = BTreeMap::new();
    for member in public_group(join)?.members() {
        let (_, user) = user_of_credential(&member.credential)?;
        *users.entry(user).or_insert(0) += 1;
    }
    Ok(users)
}

/// The components of the group that a GroupInfo is about; it is verified.
pub fn components_outside(join: &ExternalJoin<'_>) -> Result<BTreeMap<u16, Vec<u8>>, MlsError> {
    Ok(view::components(&public_group(join)?))
}

/// The group and epoch that a raw `GroupInfo` is about. Nothing is verified.
pub fn epoch_outside(group_info: &[u8]) -> Result<(Vec<u8>, u64), MlsError> {
    let group_info = VerifiableGroupInfo::tls_deserialize_exact(group_info).map_err(MlsError::malformed)?;
    Ok((group_info.group_id().as_slice().to_vec(), group_info.epoch().as_u64()))
}

/// What an external commit made.
pub(super) struct Made {
    overlay: Overlay,
    group_id: Vec<u8>,
    index: u32,
    public: Vec<u8>,
    staged: StagedCommit,
}

impl Made {
    /// As a commit that carries the whole state after it.
    pub(super) fn joining(self, signer: Vec<u8>) -> StagedCommit {
        let rows = self.overlay.rows().into_iter().collect();
        let secret = Secret::Joining { index: self.index, signer, public: self.public, rows };
        StagedCommit { secret, ..self.staged }
    }
}

pub(super) fn external_commit(
    join: &ExternalJoin<'_>,
    group: &PublicGroup,
    signer: &[u8],
    known: &BTreeSet<Vec<u8>>,
    judge: Judge<'_>,
) -> Result<Made, MlsError> {
    if !join.change.adds.is_empty() || !join.change.removes.is_empty() {
        return Err(MlsError::Unsupported("adding or removing others by external commit".into()));
    }
    let pair: openmls_basic_credential::SignatureKeyPair = postcard::from_bytes(signer).map_err(MlsError::storage)?;
    let credential = credential_for(join.user, &pair)?;
    let group_info = VerifiableGroupInfo::tls_deserialize_exact(join.group_info).map_err(MlsError::malformed)?;
    if group_info.ciphersuite() != SUITE {
        return Err(MlsError::Unsupported("the group's cipher suite".into()));
    }
    let group_id = group_info.group_id().as_slice().to_vec();
    let epoch = group_info.epoch().as_u64();
    let tree = RatchetTreeIn::tls_deserialize_exact(join.ratchet_tree).map_err(MlsError::malformed)?;
    let overlay = Overlay::new(Rows::new());
    let proposals = join.pending_proposals.iter().map(|bytes| public_message(bytes)).collect::<Result<Vec<_>, _>>()?;
    let mut builder = ExternalCommitBuilder::new()
        .with_proposals(proposals)
        .with_ratchet_tree(tree)
        .with_config(join_config())
        .skip_lifetime_validation()
        .build_group(&overlay, group_info, credential)
        .map_err(MlsError::invalid)?
        .leaf_node_parameters(
            LeafNodeParameters::builder()
                .with_capabilities(capabilities())
                .with_extensions(components::of_our_leaves()?)
                .build(),
        );
    for change in &join.change.app_data {
        builder = builder
            .add_app_data_update_proposal(AppDataUpdateProposal::update(change.component, change.update.clone()));
    }
    let mut builder = builder.load_psks(overlay.storage()).map_err(MlsError::invalid)?.create_group_info(true);

    let view = external_view(join, group, known, pair.public())?;
    let values = judged(&view, judge)?;
    let mut updater = builder.app_data_dictionary_updater();
    for (component, value) in &values {
        updater.set(openmls::component::ComponentData::from_parts(*component, value.as_slice().into()));
    }
    let changes = updater.changes();
    builder.with_app_data_dictionary_updates(changes);
    let (group, bundle) = builder
        .build(&*CRYPTO, &*CRYPTO, &pair, |_| true)
        .map_err(MlsError::invalid)?
        .finalize(&overlay)
        .map_err(MlsError::invalid)?;
    let index = group.own_leaf_index().u32();
    overlay.present(index);
    let (commit, _, group_info) = bundle.contents();
    let staged = StagedCommit {
        commit: commit.to_bytes().map_err(MlsError::invalid)?,
        welcome: None,
        group_info: group_info
            .ok_or_else(|| MlsError::Invalid("the commit has no GroupInfo".into()))?
            .tls_serialize_detached()
            .map_err(MlsError::malformed)?,
        ratchet_tree: group.export_ratchet_tree().tls_serialize_detached().map_err(MlsError::malformed)?,
        epoch,
        user: join.user.clone(),
        secret: Secret::Newcomer,
    };
    Ok(Made { overlay, group_id, index, public: pair.to_public_vec(), staged })
}

/// The group before the commit, as an outsider sees it; its GroupInfo and tree are verified.
fn public_group(join: &ExternalJoin<'_>) -> Result<PublicGroup, MlsError> {
    let group_info = VerifiableGroupInfo::tls_deserialize_exact(join.group_info).map_err(MlsError::malformed)?;
    let tree = RatchetTreeIn::tls_deserialize_exact(join.ratchet_tree).map_err(MlsError::malformed)?;
    let storage = Overlay::new(Rows::new());
    PublicGroup::from_external(&*CRYPTO, &storage, tree, group_info, ProposalStore::new())
        .map(|(group, _)| group)
        .map_err(MlsError::invalid)
}

fn external_view(
    join: &ExternalJoin<'_>,
    group: &PublicGroup,
    local: &BTreeSet<Vec<u8>>,
    public: &[u8],
) -> Result<CommitView, MlsError> {
    let known = Known { local, now: join.now };
    let client = MimiUri::parse(join.user.client(DEVICE)?.as_str())?;
    let sender = CommitSender::NewMember { client, user: join.user.clone(), signature_key: public.to_vec() };
    let mut view = view::empty(group, sender, true);
    for proposal in join.pending_proposals {
        if let Some(index) = self_remove_of(proposal)? {
            let leaf = known.leaf_at(group, index)?;
            let sender = ProposalSender::Member(leaf.clone());
            view::remove(&mut view, RemoveView { leaf, self_remove: true, sender });
        }
    }
    if let Some(old) = group.members().find(|member| member.signature_key == public) {
        let leaf = known.leaf_at(group, old.index.u32())?;
        view::remove(&mut view, RemoveView { leaf, self_remove: false, sender: ProposalSender::Committer });
    }
    for change in &join.change.app_data {
        let op = AppDataOp::Update(change.update.clone());
        view.app_data.push(AppDataView { component: change.component, op, sender: ProposalSender::Committer });
    }
    Ok(view)
}

/// A PublicMessage from bytes.
fn public_message(bytes: &[u8]) -> Result<PublicMessageIn, MlsError> {
    match MlsMessageIn::tls_deserialize_exact(bytes).map_err(MlsError::malformed)?.extract() {
        MlsMessageBodyIn::PublicMessage(message) => Ok(message),
        _ => Err(MlsError::Malformed("a pending proposal is no PublicMessage".into())),
    }
}

fn enter_by_welcome(welcome: &[u8], tree: &[u8], part: &PrivatePart) -> Result<(Overlay, MlsGroup), MlsError> {
    let tree = RatchetTreeIn::tls_deserialize_exact(tree).map_err(MlsError::malformed)?;
    let overlay = Overlay::new(Rows::new());
    for (key, value) in &part.rows {
        overlay.put(key.clone(), value.clone());
    }
    let group = StagedWelcome::build_from_welcome(&overlay, &join_config(), parse_welcome(welcome)?)
        .map_err(MlsError::invalid)?
        .with_ratchet_tree(tree)
        .skip_lifetime_validation()
        .build()
        .map_err(MlsError::invalid)?
        .into_group(&overlay)
        .map_err(MlsError::invalid)?;
    overlay.present(group.own_leaf_index().u32());
    Ok((overlay, group))
}

/// Every leaf names a user, is within its lifetime, and if it names our domain we hold its key, or know that we lost it.
pub(super) fn check_tree(
    group: &MlsGroup,
    local: &UserUri,
    known: &BTreeSet<Vec<u8>>,
    now: u64,
    lost: impl Fn(&UserUri) -> bool,
) -> Result<(), MlsError> {
    for (index, node) in group.treesync().full_leaves() {
        let leaf = view::leaf(index.u32(), node, |key| known.contains(key))?;
        if let openmls::treesync::LeafNodeSource::KeyPackage(lifetime) = node.leaf_node_source() {
            check_lifetime(lifetime, now)?;
        }
        if leaf.user.provider() == local.provider() && !leaf.local && !lost(&leaf.user) {
            return Err(MlsError::ForgedLocalLeaf(leaf.user));
        }
    }
    Ok(())
}
