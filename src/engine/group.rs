//! [`Group`] on `mls::Member`: the policy is asked here, with what the group says about the commit.

mod judge;
mod outside;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) use judge::Bounds;
use judge::{check_follower, judge, welcomed};

use super::{
    door::Door,
    franking::{self, Franking},
};
use crate::{
    ident::{ProviderDomain, UserUri},
    mls::{
        self, Change, CommitView, GroupInfoParts, Leaf, Member, MlsError, ProposalSender, PublicView, RowChanges, Rows,
        StagedCommit,
    },
    policy::{self, Parents, RoomState},
    room::{
        effect::Millis,
        group::{Applied, Beside, Comeback, Group, GroupChange, GroupError, GroupInfo, Opened, Origin, Staged},
    },
    wire::{FRANKING_AGENT, Frank, FrankingTag, MlsMessage, SafeAad, ServerFrankingContext, Wire as _},
};

/// The room's group as it is loaded.
#[derive(Default)]
pub(crate) struct RoomGroup {
    /// The member state; `None` before the room is joined.
    pub(crate) member: Option<Member>,
    /// The state before the room was joined again: what was said in its epochs and comes late is read with it.
    pub(crate) old: Option<Member>,
    /// As hub without a leaf: the group from outside. Never together with a member state.
    public: Option<PublicView>,
    /// Private parts of KeyPackages that the present input may use, by reference.
    pub(crate) key_packages: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The member state was made anew in the present step: what is stored is another group's, or an older membership's.
    pub(crate) replaced: bool,
    /// As hub: who may list themselves by an external commit.
    pub(crate) door: Door,
    /// References of KeyPackages that were used by the present step.
    pub(crate) used: Vec<Vec<u8>>,
    /// What we stamp messages with, as a hub.
    pub(crate) franking: Option<Arc<Franking>>,
    /// What the room may be, and who we are.
    pub(crate) bounds: Option<Bounds>,
    /// What every message asks for, read once an epoch: it grows with the group.
    view: RefCell<Option<Arc<View>>>,
}

/// What a group says of itself in one epoch.
struct View {
    group_id: Vec<u8>,
    epoch: u64,
    state: Result<Arc<RoomState>, GroupError>,
    users: BTreeSet<UserUri>,
    providers: BTreeSet<ProviderDomain>,
    franking_agent: Option<Vec<u8>>,
}

impl From<MlsError> for GroupError {
    fn from(error: MlsError) -> Self {
        match error {
            MlsError::Refused(why) => Self::Refused(why),
            MlsError::NotForThisEpoch { message, current } => Self::Epoch { message, current },
            MlsError::NoLeaf(user) => Self::NoLeaf(user),
            MlsError::ForgedLocalLeaf(user) => Self::Forged(user),
            MlsError::Stale => Self::Stale,
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl RoomGroup {
    /// From stored rows; no rows are no group.
    pub(crate) fn load(rows: Rows) -> Result<Self, MlsError> {
        if PublicView::is_in(&rows) {
            return Ok(Self { public: Some(PublicView::from_rows(rows)?), ..Self::default() });
        }
        let member = if rows.is_empty() { None } else { Some(Member::from_rows(rows)?) };
        Ok(Self { member, ..Self::default() })
    }

    fn view(&self) -> Result<Arc<View>, GroupError> {
        let (group_id, epoch) = match (&self.member, &self.public) {
            (Some(member), _) => (member.group_id(), member.epoch()),
            (None, Some(public)) => (public.group_id(), public.epoch()),
            (None, None) => return Err(GroupError::Invalid("no group".to_owned())),
        };
        if let Some(view) = self.view.borrow().as_ref().filter(|v| v.epoch == epoch && v.group_id == group_id) {
            return Ok(Arc::clone(view));
        }
        let users: BTreeSet<UserUri> = self.leaves().into_iter().map(|leaf| leaf.user).collect();
        let components = match (&self.member, &self.public) {
            (Some(member), _) => member.components(),
            (None, Some(public)) => public.components(),
            (None, None) => BTreeMap::new(),
        };
        let view = Arc::new(View {
            franking_agent: components.get(&FRANKING_AGENT).cloned(),
            group_id: group_id.to_vec(),
            epoch,
            state: RoomState::from_components(&components)
                .map(Arc::new)
                .map_err(|error| GroupError::Invalid(error.to_string())),
            providers: users.iter().map(UserUri::provider).collect(),
            users,
        });
        *self.view.borrow_mut() = Some(Arc::clone(&view));
        Ok(view)
    }

    fn leaves(&self) -> Vec<Leaf> {
        match (&self.member, &self.public) {
            (Some(member), _) => member.leaves(),
            (None, Some(public)) => public.leaves(),
            (None, None) => Vec::new(),
        }
    }

    /// The rows that changed since the last take.
    pub(crate) fn take_changes(&mut self) -> Result<RowChanges, MlsError> {
        match (&mut self.member, &mut self.public) {
            (Some(member), _) => member.take_changes(),
            (None, Some(public)) => Ok(public.take_changes()),
            (None, None) => Ok(RowChanges::default()),
        }
    }

    /// The epoch of the group, if there is one.
    pub(crate) fn known_epoch(&self) -> Option<u64> {
        self.view().ok().map(|view| view.epoch)
    }

    /// What all members of an epoch share, and can show each other: none without a leaf of ours.
    pub(crate) fn epoch_authenticator(&self) -> Option<Vec<u8>> {
        self.member.as_ref().map(Member::epoch_authenticator)
    }

    /// What joiners by external commit need.
    pub(crate) fn group_info(&self) -> Result<GroupInfoParts, MlsError> {
        match (&self.member, &self.public) {
            (Some(member), _) => member.group_info(None),
            (None, Some(public)) => public.group_info(),
            (None, None) => Err(MlsError::NotAMember),
        }
    }

    fn member(&self) -> Result<&Member, GroupError> {
        self.member.as_ref().ok_or_else(|| GroupError::Invalid("no group".to_owned()))
    }

    fn member_mut(&mut self) -> Result<&mut Member, GroupError> {
        self.member.as_mut().ok_or_else(|| GroupError::Invalid("no group".to_owned()))
    }

    /// Goes on with another membership, whatever was there before.
    pub(crate) fn replace(&mut self, member: Member) {
        self.member = Some(member);
        self.old = None;
        self.public = None;
        self.replaced = true;
        // It may be of the same group and epoch, and say something else.
        self.view.take();
    }

    /// Whether the state before joining again has served its time.
    pub(crate) fn old_is_over(&self) -> bool {
        let now = self.member.as_ref().map_or(0, Member::epoch);
        let past = u64::try_from(mls::PAST_EPOCHS).unwrap_or(u64::MAX);
        self.old.as_ref().is_some_and(|old| old.epoch().saturating_add(past) < now)
    }

    /// How many users have leaves.
    pub(crate) fn members(&self) -> usize {
        self.view().map_or(0, |view| view.users.len())
    }

    fn leaf_counts(member: &Member) -> BTreeMap<UserUri, u32> {
        count(member.leaves())
    }

    fn change(member: &Member, by: &UserUri, change: &GroupChange) -> Change {
        let gone: BTreeSet<&UserUri> = change.removes.iter().collect();
        // Who refreshes their leaf takes away one of theirs whose key we lost.
        let old = |leaf: &mls::Leaf| change.path && leaf.user == *by && !leaf.local;
        Change {
            adds: change.adds.clone(),
            removes: member
                .leaves()
                .into_iter()
                .filter(|leaf| gone.contains(&leaf.user) || old(leaf))
                .map(|leaf| leaf.index)
                .collect(),
            app_data: change
                .app_data
                .iter()
                .map(|(component, update)| mls::AppDataChange { component: *component, update: update.clone() })
                .collect(),
            path: change.path,
        }
    }

    pub(crate) fn staged(commit: &StagedCommit) -> Result<Staged, GroupError> {
        let state = postcard::to_stdvec(commit).map_err(|error| GroupError::Invalid(error.to_string()))?;
        Ok(Staged {
            commit: commit.commit.clone(),
            welcome: commit.welcome.clone(),
            group_info: commit.group_info.clone(),
            ratchet_tree: commit.ratchet_tree.clone(),
            epoch: commit.epoch,
            user: commit.user.clone(),
            state,
        })
    }

    fn applied(applied: &mls::Applied) -> Applied {
        Applied {
            local_removed: applied.local_removed.clone(),
            over: applied.last_local_removed,
            state_lost: applied.state_lost,
            ..told(&applied.view)
        }
    }
}

/// What the sender says of a message; what has another length says nothing.
fn beside(aad: &SafeAad) -> Beside {
    Beside { tag: aad.franking_tag().unwrap_or_default(), message_id: aad.message_id().unwrap_or_default() }
}

/// The change by which a joiner who is not on the participant list comes on it.
fn list_oneself(join: &mls::ExternalJoin<'_>) -> Result<Vec<mls::AppDataChange>, GroupError> {
    let state = RoomState::from_components(&mls::components_outside(join)?);
    listing(&state.map_err(|error| GroupError::Invalid(error.to_string()))?, join.user)
}

fn listing(state: &RoomState, user: &UserUri) -> Result<Vec<mls::AppDataChange>, GroupError> {
    if state.role_of(user).is_some() {
        return Ok(Vec::new());
    }
    let newcomer = [(user.clone(), policy::role::MEMBER)];
    let update = policy::update_add(state, &newcomer).map_err(|error| GroupError::Invalid(error.to_string()))?;
    Ok(vec![mls::AppDataChange { component: policy::component::PARTICIPANT_LIST, update }])
}

/// Leaves by user.
fn count(leaves: Vec<Leaf>) -> BTreeMap<UserUri, u32> {
    let mut counts = BTreeMap::new();
    for leaf in leaves {
        *counts.entry(leaf.user).or_insert(0) += 1;
    }
    counts
}

/// What a commit says of those who are in the group.
fn told(view: &CommitView) -> Applied {
    let left = view.removes.iter().filter(|gone| match &gone.sender {
        ProposalSender::Committer => *view.sender.user() == gone.leaf.user,
        ProposalSender::Member(leaf) => leaf.user == gone.leaf.user,
        _ => gone.self_remove,
    });
    Applied {
        added: view.adds.iter().map(|add| add.user.clone()).collect(),
        by: Some(view.sender.user().clone()),
        left: left.map(|gone| gone.leaf.user.clone()).collect(),
        ..Applied::default()
    }
}

impl Group for RoomGroup {
    fn is_member(&self) -> bool {
        self.member.as_ref().is_some_and(Member::is_member)
    }
    fn is_public(&self) -> bool {
        self.public.is_some()
    }
    fn group_id(&self) -> Vec<u8> {
        self.view().map(|view| view.group_id.clone()).unwrap_or_default()
    }
    fn epoch(&self) -> u64 {
        self.member.as_ref().map(Member::epoch).or_else(|| self.public.as_ref().map(PublicView::epoch)).unwrap_or(0)
    }
    fn state(&self) -> Result<Arc<RoomState>, GroupError> {
        self.view()?.state.clone()
    }
    fn has_leaf(&self, user: &UserUri) -> bool {
        self.member.as_ref().is_some_and(|member| member.has_leaf(user))
    }
    fn participants_of(&self, room: &str) -> Option<Arc<BTreeSet<UserUri>>> {
        match &self.bounds.as_ref()?.parents {
            Parents::Hosted(hosted) => hosted.get(room).cloned(),
            Parents::HubKnows => None,
        }
    }
    fn may_depend_on(&self, room: &str) -> bool {
        let (Some(bounds), Ok(state)) = (&self.bounds, self.state()) else { return false };
        bounds.lineage.may_belong(state.metadata.room_uri.as_str(), room)
    }
    fn in_group(&self, user: &UserUri) -> bool {
        self.view().is_ok_and(|view| view.users.contains(user))
    }
    fn providers(&self) -> BTreeSet<ProviderDomain> {
        self.view().map(|view| view.providers.clone()).unwrap_or_default()
    }
    fn local_users(&self) -> Vec<UserUri> {
        let Some(member) = &self.member else { return Vec::new() };
        let anchor = member.anchor();
        let mut users = member.local_users();
        users.sort_by_key(|user| Some(user) != anchor.as_ref());
        users
    }
    fn seal(&mut self, user: &UserUri, plaintext: &[u8], tag: Option<FrankingTag>) -> Result<Vec<u8>, GroupError> {
        let aad = SafeAad::new(tag, None);
        Ok(self.member_mut()?.seal(user, plaintext, &aad)?)
    }
    fn frank(&self, message: &[u8], context: &ServerFrankingContext) -> Option<Frank> {
        let franking = self.franking.as_ref()?;
        if self.view().ok()?.franking_agent.as_deref() != Some(franking.agent()) {
            return None;
        }
        let tag = beside(&mls::application_aad(message).ok()?).tag?;
        let stamped = franking.stamp(&tag, context);
        stamped.inspect_err(|error| tracing::error!(%error, "a message cannot be franked")).ok()
    }
    fn check_frank(&self, frank: &Frank, context: &ServerFrankingContext) -> Result<(), GroupError> {
        franking::check(self.view()?.franking_agent.as_deref(), &context.room_uri.hub(), frank, context)
    }
    fn open(&mut self, message: &[u8]) -> Result<Opened, GroupError> {
        let opened = match (self.member_mut()?.open(message), &mut self.old) {
            (Err(MlsError::NotForThisEpoch { message: epoch, .. }), Some(old)) if epoch <= old.epoch() => {
                old.open(message)?
            }
            (opened, _) => opened?,
        };
        Ok(Opened { sender: opened.user, plaintext: opened.plaintext, beside: beside(&opened.aad) })
    }
    fn stage(&self, user: &UserUri, change: &GroupChange, now: Millis) -> Result<Staged, GroupError> {
        let member = self.member()?;
        let leaves = Self::leaf_counts(member);
        let (change, bounds) = (Self::change(member, user, change), self.bounds.as_ref());
        Self::staged(&member.stage_commit(user, &change, &mut |view| judge(view, &leaves, bounds), now)?)
    }
    fn stage_join(&self, user: &UserUri, now: Millis) -> Result<Staged, GroupError> {
        if let Some(public) = &self.public {
            let leaves = count(public.leaves());
            let mut verdict = |view: &CommitView| judge(view, &leaves, self.bounds.as_ref());
            return Self::staged(&public.stage_join(user, &mut verdict, now)?);
        }
        let member = self.member()?;
        let leaves = Self::leaf_counts(member);
        let mut verdict = |view: &CommitView| judge(view, &leaves, self.bounds.as_ref());
        // Into an open room they come by themselves, and put themselves on the list.
        let change = Change { app_data: listing(self.state()?.as_ref(), user)?, ..Change::default() };
        Self::staged(&member.stage_external_join(user, &change, &mut verdict, now)?)
    }
    fn stage_leaves(
        &mut self,
        by: &UserUri,
        users: &[UserUri],
        app_data: Vec<(u16, Vec<u8>)>,
        now: Millis,
    ) -> Result<Staged, GroupError> {
        let member = self.member_mut()?;
        // What an earlier commit that was not taken left behind.
        member.abandon_waiting(users)?;
        let mut adds = Vec::with_capacity(users.len());
        for user in users {
            let made = mls::make_key_package(user, now)?;
            member.adopt(&made.private)?;
            adds.push(made.bytes);
        }
        let staged = self.stage(by, &GroupChange { adds, app_data, ..GroupChange::default() }, now);
        if staged.is_err() {
            self.member_mut()?.abandon_waiting(users)?;
        }
        staged
    }
    fn accept(&mut self, staged: &Staged, now: Millis) -> Result<Applied, GroupError> {
        let commit: StagedCommit =
            postcard::from_bytes(&staged.state).map_err(|error| GroupError::Invalid(error.to_string()))?;
        if let Some(public) = &self.public {
            let leaves = count(public.leaves());
            let (member, view) = public.accept_join(&commit, &mut |view| judge(view, &leaves, None), now)?;
            self.replace(member);
            return Ok(told(&view));
        }
        let member = self.member_mut()?;
        let leaves = Self::leaf_counts(member);
        let applied = member.accept_staged(&commit, &mut |view| judge(view, &leaves, None), now)?;
        Ok(Self::applied(&applied))
    }
    fn apply(&mut self, commit: &[u8], origin: Origin<'_>, now: Millis) -> Result<Applied, GroupError> {
        if self.public.is_some() {
            return self.apply_public(commit, origin, now);
        }
        let announced = self.member()?.announced(commit, now).unwrap_or_default();
        if let Origin::Follower(peer, known, Some(bundle)) = origin
            && announced.farewell
        {
            return self.apply_farewell(commit, peer, known, bundle, now);
        }
        let given: Vec<Vec<u8>> =
            announced.wanted.into_iter().filter(|reference| self.key_packages.contains_key(reference)).collect();
        let mut adopted = Vec::new();
        for reference in given {
            if let Some(private) = self.key_packages.get(&reference).cloned() {
                self.member_mut()?.adopt(&private)?;
                adopted.push((reference, private));
            }
        }
        let (door, bounds) = (self.door.clone(), self.bounds.clone());
        let member = self.member_mut()?;
        let leaves = Self::leaf_counts(member);
        let mut verdict = |view: &CommitView| {
            // What another hub has accepted is so: who follows it can only leave.
            let Origin::Follower(peer, known, bundle) = origin else { return judge(view, &leaves, None) };
            check_follower(view, peer, known, bundle.map(welcomed).unwrap_or_default(), &door)?;
            judge(view, &leaves, bounds.as_ref())
        };
        match member.apply_commit(commit, &mut verdict, now) {
            Ok(applied) => {
                self.used.extend(adopted.into_iter().map(|(reference, _)| reference));
                Ok(Self::applied(&applied))
            }
            Err(error) => {
                for (_, private) in &adopted {
                    member.abandon(private)?;
                }
                Err(error.into())
            }
        }
    }
    fn store_proposal(&mut self, proposal: &[u8], origin: Origin<'_>, now: Millis) -> Result<(), GroupError> {
        let view = match &mut self.public {
            Some(public) => public.store_proposal(proposal, now)?,
            None => self.member_mut()?.store_proposal(proposal, now)?,
        };
        if let Origin::Follower(peer, known, _) = origin {
            let own = matches!(&view.sender, ProposalSender::Member(leaf) if leaf.user.provider() == *peer);
            let provided = match &view.what {
                mls::Proposed::Add(add) => known.get(&add.key_package_ref) == Some(&add.user.provider()),
                _ => true,
            };
            if !own || !provided {
                self.forget(std::slice::from_ref(&proposal.to_vec()))?;
                let why = if own {
                    "a KeyPackage did not come through this hub"
                } else {
                    "the proposer is none of the peer's"
                };
                return Err(GroupError::Refused(why.to_owned()));
            }
        }
        Ok(())
    }
    fn pending_proposals(&self) -> Vec<Vec<u8>> {
        match (&self.member, &self.public) {
            (Some(member), _) => member.pending_proposals(),
            (None, Some(public)) => public.pending_proposals(),
            (None, None) => Vec::new(),
        }
    }
    fn user_of(&self, leaf: u32) -> Option<UserUri> {
        self.leaves().into_iter().find(|held| held.index == leaf).map(|held| held.user)
    }
    fn has_pending(&self) -> bool {
        !self.pending_proposals().is_empty()
    }
    fn is_complete(&self, commit: &[u8]) -> Result<(), GroupError> {
        let (taken_in, external) = mls::commit_references(commit)?;
        let pending = self.pending_proposals();
        let wanted = pending.iter().filter(|message| !external || mls::is_self_remove(message));
        let reference = |message: &Vec<u8>| MlsMessage::decode(message).ok()?.proposal_reference();
        let known: BTreeSet<Vec<u8>> = pending.iter().filter_map(reference).collect();
        let unknown: Vec<Vec<u8>> = taken_in.iter().filter(|taken| !known.contains(*taken)).cloned().collect();
        if !unknown.is_empty() {
            return Err(GroupError::UnknownProposals(unknown));
        }
        match wanted.filter_map(reference).filter(|wanted| !taken_in.contains(wanted)).count() {
            0 => Ok(()),
            missing => Err(GroupError::Incomplete(missing)),
        }
    }
    fn ratchet_tree(&self) -> Result<Vec<u8>, GroupError> {
        if let Some(public) = &self.public {
            return Ok(public.ratchet_tree()?);
        }
        Ok(self.member()?.group_info(None)?.ratchet_tree)
    }
    fn judge_pending(&self, now: Millis) -> Result<(), GroupError> {
        let leaves = count(self.leaves());
        let mut verdict = |view: &CommitView| judge(view, &leaves, self.bounds.as_ref());
        match (&self.member, &self.public) {
            (Some(member), _) => member.judge_pending(&mut verdict, now)?,
            (None, Some(public)) => public.judge_pending(&mut verdict, now)?,
            (None, None) => {}
        }
        Ok(())
    }
    fn leaving(&self) -> BTreeMap<u32, UserUri> {
        match (&self.member, &self.public) {
            (Some(member), _) => member.leaving(),
            (None, Some(public)) => public.leaving(),
            (None, None) => BTreeMap::new(),
        }
    }
    fn is_deserted(&self) -> bool {
        match (&self.member, &self.public) {
            (Some(member), _) => member.is_member() && member.is_deserted(),
            (None, Some(public)) => public.is_deserted(),
            (None, None) => false,
        }
    }
    fn discard(&mut self) {
        // What is stored would be taken for ours at the next start.
        self.replaced = true;
        self.public = None;
        (self.member, self.old) = (None, None);
        self.view.take();
    }
    fn forget(&mut self, proposals: &[Vec<u8>]) -> Result<(), GroupError> {
        if let Some(public) = &mut self.public {
            for proposal in proposals {
                public.drop_proposal(proposal)?;
            }
            return Ok(());
        }
        let member = self.member_mut()?;
        for proposal in proposals {
            member.drop_proposal(proposal)?;
        }
        Ok(())
    }
    fn propose_leave(&mut self, user: &UserUri, app_data: Vec<(u16, Vec<u8>)>) -> Result<Vec<Vec<u8>>, GroupError> {
        let app_data =
            app_data.into_iter().map(|(component, update)| mls::AppDataChange { component, update }).collect();
        Ok(self.member_mut()?.propose_leave(user, app_data)?)
    }
    fn rejoin(&mut self, comeback: &Comeback<'_>, info: &GroupInfo, now: Millis) -> Result<Staged, GroupError> {
        let Comeback { user, room, epoch, forgiving, keep_reading } = *comeback;
        let (group_id, at) = mls::epoch_outside(&info.group_info)?;
        if self.member.as_ref().is_some_and(|member| member.group_id() != group_id) {
            return Err(GroupError::Invalid("the GroupInfo is of another group".to_owned()));
        }
        if at < epoch {
            return Err(GroupError::Epoch { message: at, current: epoch });
        }
        // Somebody may have added one of ours meanwhile, with a KeyPackage that we gave out.
        let given: Vec<Vec<u8>> = self.key_packages.values().cloned().collect();
        if let Some(member) = &mut self.member {
            for private in &given {
                member.adopt(private)?;
            }
        }
        let nothing = Change::default();
        let mut join = mls::ExternalJoin {
            group_info: &info.group_info,
            ratchet_tree: &info.ratchet_tree,
            pending_proposals: &info.pending_proposals,
            user,
            change: &nothing,
            now,
        };
        // Who joins an open room, or by a code, puts themselves on the list.
        let listing = list_oneself(&join).map(|app_data| Change { app_data, ..Change::default() });
        if let Ok(change) = &listing {
            join.change = change;
        }
        let made = mls::users_outside(&join).and_then(|leaves| {
            let mut verdict = |view: &CommitView| judge(view, &leaves, None);
            match &self.member {
                Some(member) => member.rejoin(&join, forgiving, &mut verdict),
                None => Member::join_external(&join, &mut verdict),
            }
        });
        let made = made.map_err(GroupError::from).and_then(|(member, staged)| {
            let state = RoomState::from_components(&member.components())
                .map_err(|error| GroupError::Invalid(error.to_string()))?;
            if state.metadata.room_uri != *room {
                return Err(GroupError::Invalid("the group is another room's".to_owned()));
            }
            Ok((member, Self::staged(&staged)?))
        });
        match made {
            Ok((mut member, staged)) => {
                for private in &given {
                    member.abandon(private)?;
                }
                let before = if keep_reading { self.member.take() } else { self.old.take() };
                self.replace(member);
                self.old = before.filter(Member::is_member);
                Ok(staged)
            }
            Err(error) => {
                if let Some(member) = &mut self.member {
                    for private in &given {
                        member.abandon(private)?;
                    }
                }
                Err(error)
            }
        }
    }
    fn join(
        &mut self,
        welcome: &[u8],
        ratchet_tree: &[u8],
        again: bool,
        now: Millis,
    ) -> Result<Vec<UserUri>, GroupError> {
        let references = mls::welcome_refs(welcome)?;
        let ours: Vec<(Vec<u8>, Vec<u8>)> = references
            .into_iter()
            .filter_map(|reference| self.key_packages.get(&reference).map(|private| (reference, private.clone())))
            .collect();
        let unused: Vec<Vec<u8>> = ours
            .iter()
            .filter(|(reference, _)| !self.used.contains(reference))
            .map(|(_, private)| private.clone())
            .collect();
        let whole = self.member.as_ref().filter(|member| member.is_member() && !again);
        if let (true, Some(member)) = (unused.is_empty(), whole) {
            // The commit came first, and the leaf was taken over then.
            self.used.extend(ours.into_iter().map(|(reference, _)| reference));
            return Ok(member.local_users());
        }
        if unused.is_empty() {
            return Err(GroupError::Invalid("it is for KeyPackages that this gateway did not give out".to_owned()));
        }
        let member = match self.member.as_ref().filter(|_| again || whole.is_some()) {
            Some(previous) => previous.join_again(welcome, ratchet_tree, &unused, now)?,
            None => Member::join(welcome, ratchet_tree, &unused, now)?,
        };
        // We hold a state, and the commit that added them never came: the Welcome leads on, never back or elsewhere.
        if whole.is_some_and(|held| held.group_id() != member.group_id() || held.epoch() >= member.epoch()) {
            return Err(GroupError::Invalid("it does not go on from the state that is here".to_owned()));
        }
        let joined = member.local_users();
        self.replace(member);
        self.used.extend(ours.into_iter().map(|(reference, _)| reference));
        Ok(joined)
    }
    fn refresh_due(&self, now: Millis) -> Vec<UserUri> {
        self.member.as_ref().map(|member| member.refresh_due(now)).unwrap_or_default()
    }
}
