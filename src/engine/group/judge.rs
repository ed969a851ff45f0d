//! What a commit does, in the words of the policy, and what the policy says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::{door::Door, lineage::Lineage};
use crate::{
    ident::{ProviderDomain, UserUri},
    mls::{AppDataOp, CommitSender, CommitView, ProposalSender},
    policy::{self, ChangeSet, ComponentOp, ComponentUpdate, Envelope, LeafAdd, LeafRemove, Parents, RoomState},
    wire::CommitBundle,
};

/// What rooms may be by the settings of this provider.
#[derive(Clone)]
pub(crate) struct Bounds {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) own: ProviderDomain,
    /// As hub: who takes part in the rooms on which this one may depend.
    pub(crate) parents: Parents,
    /// Which room belongs to which.
    pub(crate) lineage: Arc<Lineage>,
}

/// What a commit does, in the words of the policy.
pub(super) fn change_set(view: &CommitView, leaves_before: BTreeMap<UserUri, u32>) -> Result<ChangeSet, String> {
    let committer = view.sender.user();
    let proposer = |sender: &ProposalSender| match sender {
        ProposalSender::Committer => Ok(committer.clone()),
        ProposalSender::Member(leaf) => Ok(leaf.user.clone()),
        ProposalSender::External(_) | ProposalSender::NewMember => {
            Err("proposals from outside are not taken".to_owned())
        }
    };
    let mut adds = Vec::new();
    for add in &view.adds {
        adds.push(LeafAdd { user: add.user.clone(), proposer: proposer(&add.sender)? });
    }
    let external_commit = matches!(view.sender, CommitSender::NewMember { .. });
    if external_commit {
        adds.push(LeafAdd { user: committer.clone(), proposer: committer.clone() });
    }
    let mut removes = Vec::new();
    for remove in &view.removes {
        let user = remove.leaf.user.clone();
        removes.push(LeafRemove { user, proposer: proposer(&remove.sender)?, self_remove: remove.self_remove });
    }
    let mut updates = Vec::new();
    for change in &view.app_data {
        let op = match &change.op {
            AppDataOp::Update(bytes) => ComponentOp::Update(bytes.clone()),
            AppDataOp::Remove => ComponentOp::Remove,
        };
        updates.push(ComponentUpdate { component: change.component, op, proposer: proposer(&change.sender)? });
    }
    Ok(ChangeSet { leaves_before, adds, removes, updates, external_commit, ..ChangeSet::default() })
}

/// The policy's verdict on a commit of a group with these leaves, and whether it leads beyond what rooms may be here.
pub(super) fn judge(
    view: &CommitView,
    leaves: &BTreeMap<UserUri, u32>,
    bounds: Option<&Bounds>,
) -> Result<BTreeMap<u16, Vec<u8>>, String> {
    let state = RoomState::from_components(&view.components).map_err(|error| error.to_string())?;
    let mut commit = change_set(view, leaves.clone())?;
    commit.parents = bounds.map(|bounds| bounds.parents.clone()).unwrap_or_default();
    let changed = policy::judge(&state, view.sender.user(), &commit).map_err(|refusal| refusal.to_string())?;
    if let Some(Bounds { lineage, .. }) = bounds
        && changed.contains_key(&policy::component::BASE_ROOM_POLICY)
    {
        let after = state.with(&changed).map_err(|error| error.to_string())?;
        if let Some(parent) = after.base_policy.parent() {
            lineage.claim(state.metadata.room_uri.as_str(), parent)?;
        }
    }
    if let Some(Bounds { envelope, own, .. }) =
        bounds.filter(|bounds| !changed.is_empty() && !bounds.envelope.is_unbounded())
    {
        let after = state.with(&changed).map_err(|error| error.to_string())?;
        if let Some(excess) = envelope.newly(&state, &after, own) {
            return Err(format!("this provider does not let its rooms be so: {excess}"));
        }
    }
    Ok(changed)
}

/// The KeyPackages of those whom a commit's Welcome welcomes.
pub(super) fn welcomed(bundle: &CommitBundle) -> &[Vec<u8>] {
    bundle.welcome.as_ref().map(|welcome| welcome.fields().new_members.as_slice()).unwrap_or_default()
}

/// What only a hub checks of a follower's commit: it speaks for its own users, and brings only clients that came through
/// the hub's keyMaterial (ATTACKS S20).
pub(super) fn check_follower(
    view: &CommitView,
    peer: &ProviderDomain,
    known: &BTreeMap<Vec<u8>, ProviderDomain>,
    welcomed: &[Vec<u8>],
    door: &Door,
) -> Result<(), String> {
    if let CommitSender::NewMember { user, .. } = &view.sender {
        let state = RoomState::from_components(&view.components).map_err(|error| error.to_string())?;
        door.admit(&state, user)?;
    }
    if view.sender.user().provider() != *peer {
        return Err(format!("{} is not a user of {peer}", view.sender.user()));
    }
    for add in &view.adds {
        if known.get(&add.key_package_ref) != Some(&add.user.provider()) {
            return Err(format!("the KeyPackage of {} did not come through this hub", add.user));
        }
    }
    // Whom the commit adds the Welcome welcomes, and nobody else: no half members, no Welcome to another group.
    let added: BTreeSet<&Vec<u8>> = view.adds.iter().map(|add| &add.key_package_ref).collect();
    if added != welcomed.iter().collect() {
        return Err("the Welcome is not for those whom the commit adds".to_owned());
    }
    Ok(())
}
