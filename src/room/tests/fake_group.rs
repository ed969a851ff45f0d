//! A naive group: everything in the clear, one leaf a user, no ratchets. What it says is packed into well-formed MLS
//! messages, because the wire types read those.
//!
//! Kept from the real thing: epochs, by-reference proposals, the past epochs that are readable, anchor and standby,
//! KeyPackages that were given out, forged leaves, own messages and used ciphertexts that cannot be opened.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

use crate::{
    ident::{ProviderDomain, UserUri},
    policy::{self, ChangeSet, ComponentOp, ComponentUpdate, LeafAdd, LeafRemove, RoomState, component, role},
    room::{
        effect::Millis,
        group::{Applied, Beside, Comeback, Group, GroupChange, GroupError, GroupInfo, Opened, Origin, Staged},
        step::hash,
    },
    wire::{
        Frank, FrankingTag, GroupInfoOption, ServerFrankingContext, Wire,
        codec::{Reader, Writer},
    },
};

const GROUP_ID: &[u8] = b"group";
const PAST_EPOCHS: u64 = 5;

/// What all members of an epoch agree on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shared {
    pub(super) epoch: u64,
    pub(super) components: BTreeMap<u16, Vec<u8>>,
    /// The key of each user's leaf.
    leaves: BTreeMap<UserUri, u64>,
    /// The hash of all commits: equal for those who applied the same ones.
    pub(super) transcript: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum What {
    App(u16, Vec<u8>),
    Remove(UserUri),
    SelfRemove,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Commit {
    number: u64,
    by: UserUri,
    joining: Option<u64>,
    adds: Vec<(UserUri, u64)>,
    removes: Vec<UserUri>,
    app_data: Vec<(u16, Vec<u8>)>,
    refs: Vec<[u8; 32]>,
    path: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Payload {
    Message { number: u64, by: UserUri, plaintext: Vec<u8> },
    Proposal { number: u64, by: UserUri, what: What },
    Commit(Commit),
}

fn pack(epoch: u64, payload: &Payload) -> Vec<u8> {
    let said = postcard::to_stdvec(payload).unwrap();
    let mut w = Writer::new();
    w.u16(1);
    w.u16(if matches!(payload, Payload::Message { .. }) { 2 } else { 1 });
    w.opaque(GROUP_ID);
    w.u64(epoch);
    match payload {
        Payload::Message { .. } => {
            w.u8(1);
            w.opaque(b"");
            w.opaque(b"sender");
            w.opaque(&said);
        }
        Payload::Proposal { what, .. } => {
            w.u8(1);
            w.u32(0);
            w.opaque(&said);
            w.u8(2);
            match what {
                What::App(component, update) => {
                    w.u16(8);
                    w.u16(*component);
                    w.u8(1);
                    w.opaque(update);
                }
                What::Remove(_) => {
                    w.u16(3);
                    w.u32(0);
                }
                What::SelfRemove => w.u16(10),
            }
            w.opaque(b"signature");
            w.opaque(b"tag");
        }
        Payload::Commit(commit) => {
            if commit.joining.is_some() {
                w.u8(4);
            } else {
                w.u8(1);
                w.u32(0);
            }
            w.opaque(&said);
            w.u8(3);
            w.opaque(b"");
            w.u8(0);
            w.opaque(b"signature");
            w.opaque(b"confirmation");
            if commit.joining.is_none() {
                w.opaque(b"tag");
            }
        }
    }
    w.into_bytes()
}

fn unpack(bytes: &[u8]) -> (u64, Payload) {
    let mut r = Reader::new(bytes);
    r.u16("version").unwrap();
    let format = r.u16("format").unwrap();
    r.opaque("group", 100).unwrap();
    let epoch = r.u64("epoch").unwrap();
    if format == 2 {
        r.u8("type").unwrap();
        r.opaque("aad", 1000).unwrap();
        r.opaque("sender", 1000).unwrap();
    } else if r.u8("sender").unwrap() == 1 {
        r.u32("leaf").unwrap();
    }
    (epoch, postcard::from_bytes(r.opaque("said", 1 << 20).unwrap()).unwrap())
}

/// The plaintext of a sealed message.
pub(super) fn plaintext(message: &[u8]) -> Vec<u8> {
    match unpack(message).1 {
        Payload::Message { plaintext, .. } => plaintext,
        other => panic!("{other:?}"),
    }
}

/// The same content as this user, in an epoch: what a copy under another ciphertext looks like.
pub(super) fn sealed_by(user: &UserUri, epoch: u64, number: u64, plaintext: &[u8]) -> Vec<u8> {
    pack(epoch, &Payload::Message { number, by: user.clone(), plaintext: plaintext.to_vec() })
}

/// Proposals by which somebody bans somebody else.
pub(super) fn proposes_ban(by: &UserUri, whom: &UserUri, epoch: u64, update: Vec<u8>) -> Vec<Vec<u8>> {
    let all = [What::App(policy::component::PARTICIPANT_LIST, update), What::Remove(whom.clone())];
    let numbered = (900..).zip(all);
    numbered.map(|(number, what)| pack(epoch, &Payload::Proposal { number, by: by.clone(), what })).collect()
}

fn welcome(refs: &[u64], shared: &Shared) -> Vec<u8> {
    let mut w = Writer::new();
    w.u16(1);
    w.vector(|w| {
        for reference in refs {
            w.opaque(&reference.to_be_bytes());
            w.opaque(b"kem");
            w.opaque(b"secret");
        }
    });
    w.opaque(&postcard::to_stdvec(shared).unwrap());
    w.into_bytes()
}

/// References and state of a Welcome (an `MLSMessage`).
pub(super) fn read_welcome(message: &[u8]) -> (Vec<u64>, Shared) {
    let mut r = Reader::new(message.get(4..).unwrap());
    r.u16("suite").unwrap();
    let mut secrets = r.vector("secrets", 1 << 20).unwrap();
    let mut refs = Vec::new();
    while !secrets.is_empty() {
        refs.push(u64::from_be_bytes(secrets.opaque("new_member", 8).unwrap().try_into().unwrap()));
        secrets.opaque("kem", 100).unwrap();
        secrets.opaque("secret", 100).unwrap();
    }
    (refs, postcard::from_bytes(r.opaque("info", 1 << 20).unwrap()).unwrap())
}

pub(super) fn group_info(epoch: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.u16(1);
    w.u16(1);
    w.opaque(GROUP_ID);
    w.u64(epoch);
    for _ in 0..5 {
        w.opaque(b"");
    }
    w.u32(0);
    w.opaque(b"signature");
    w.into_bytes()
}

/// One provider's view of a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FakeGroup {
    domain: ProviderDomain,
    pub(super) shared: Option<Shared>,
    since: u64,
    /// The epochs that are still read although the group was joined again behind them.
    old: Option<(u64, u64)>,
    /// Keys of KeyPackages that were given out, and of leaves.
    keys: BTreeSet<u64>,
    /// A hub without a leaf.
    public: bool,
    anchor: Option<UserUri>,
    standby: Option<UserUri>,
    pub(super) pending: Vec<Vec<u8>>,
    opened: BTreeSet<[u8; 32]>,
    made: Cell<u64>,
    /// Who takes part in other rooms of the hub.
    pub(super) parents: BTreeMap<String, std::sync::Arc<BTreeSet<UserUri>>>,
}

impl FakeGroup {
    pub(super) fn none(domain: &ProviderDomain) -> Self {
        Self {
            domain: domain.clone(),
            shared: None,
            since: 0,
            old: None,
            keys: BTreeSet::new(),
            public: false,
            anchor: None,
            standby: None,
            pending: Vec::new(),
            opened: BTreeSet::new(),
            made: Cell::new(0),
            parents: BTreeMap::new(),
        }
    }

    /// A new group with the creator's leaf.
    pub(super) fn create(domain: &ProviderDomain, creator: &UserUri, state: &RoomState) -> Self {
        let mut group = Self::none(domain);
        let key = group.number();
        group.keys.insert(key);
        group.anchor = Some(creator.clone());
        group.shared = Some(Shared {
            epoch: 0,
            components: state.to_components().unwrap(),
            leaves: BTreeMap::from([(creator.clone(), key)]),
            transcript: [0; 32],
        });
        group
    }

    /// A number that nobody else has.
    fn number(&self) -> u64 {
        self.made.set(self.made.get() + 1);
        let digest = hash(format!("{}{}", self.domain, self.made.get()).as_bytes());
        u64::from_be_bytes(digest[..8].try_into().unwrap())
    }

    /// A KeyPackage of one of our users: its bytes and its reference.
    pub(super) fn give_key_package(&mut self, user: &UserUri) -> (Vec<u8>, Vec<u8>) {
        let key = self.number();
        self.keys.insert(key);
        (postcard::to_stdvec(&(user, key)).unwrap(), key.to_be_bytes().to_vec())
    }

    /// A commit of nothing but a fresh leaf.
    pub(super) fn stage_now(&self, user: &UserUri) -> Staged {
        self.stage(user, &GroupChange { path: true, ..GroupChange::default() }, 0).unwrap()
    }

    fn shared(&self) -> Result<&Shared, GroupError> {
        self.shared.as_ref().ok_or_else(|| GroupError::Invalid("no group".to_owned()))
    }

    fn is_local(&self, user: &UserUri) -> bool {
        self.shared.as_ref().and_then(|s| s.leaves.get(user)).is_some_and(|key| self.keys.contains(key))
    }

    fn locals(&self) -> Vec<UserUri> {
        let leaves = self.shared.iter().flat_map(|shared| shared.leaves.iter());
        leaves.filter(|(_, key)| self.keys.contains(key)).map(|(user, _)| user.clone()).collect()
    }

    /// The state after a commit, and whom it removes.
    fn after(&self, commit: &Commit, bytes: &[u8]) -> Result<(Shared, BTreeSet<UserUri>), GroupError> {
        let shared = self.shared()?;
        let state = self.state()?;
        let mut changes = ChangeSet {
            leaves_before: shared.leaves.keys().map(|user| (user.clone(), 1)).collect(),
            external_commit: commit.joining.is_some(),
            ..ChangeSet::default()
        };
        for reference in &commit.refs {
            let proposal = self.pending.iter().find(|proposal| hash(proposal) == *reference);
            let proposal = proposal.ok_or_else(|| GroupError::Invalid("an unknown proposal".to_owned()))?;
            let Payload::Proposal { by, what, .. } = unpack(proposal).1 else { panic!("no proposal") };
            match what {
                What::App(component, update) => {
                    changes.updates.push(ComponentUpdate { component, op: ComponentOp::Update(update), proposer: by });
                }
                What::Remove(user) => {
                    changes.removes.push(LeafRemove { user, proposer: by, self_remove: false });
                }
                What::SelfRemove => {
                    changes.removes.push(LeafRemove { user: by.clone(), proposer: by, self_remove: true });
                }
            }
        }
        let proposer = commit.by.clone();
        if let Some(key) = commit.joining {
            if shared.leaves.contains_key(&commit.by) {
                // Joins again: the old leaf goes.
                let (user, proposer) = (commit.by.clone(), commit.by.clone());
                changes.removes.push(LeafRemove { user, proposer, self_remove: false });
            }
            changes.adds.push(LeafAdd { user: commit.by.clone(), proposer: proposer.clone() });
            let _ = key;
        } else if !shared.leaves.contains_key(&commit.by) {
            return Err(GroupError::Invalid(format!("{} has no leaf", commit.by)));
        }
        for (user, _) in &commit.adds {
            changes.adds.push(LeafAdd { user: user.clone(), proposer: proposer.clone() });
        }
        for user in &commit.removes {
            changes.removes.push(LeafRemove { user: user.clone(), proposer: proposer.clone(), self_remove: false });
        }
        for (component, update) in &commit.app_data {
            let op = ComponentOp::Update(update.clone());
            changes.updates.push(ComponentUpdate { component: *component, op, proposer: proposer.clone() });
        }
        let removed: BTreeSet<UserUri> = changes.removes.iter().map(|remove| remove.user.clone()).collect();
        if removed.contains(&commit.by) && commit.joining.is_none() {
            return Err(GroupError::Invalid("a leaf cannot commit its own removal".to_owned()));
        }
        let values =
            policy::judge(&state, &commit.by, &changes).map_err(|error| GroupError::Refused(error.to_string()))?;
        let mut next = shared.clone();
        next.epoch += 1;
        next.components.extend(values);
        next.leaves.retain(|user, _| !removed.contains(user));
        next.leaves.extend(commit.adds.iter().cloned());
        next.leaves.extend(commit.joining.map(|key| (commit.by.clone(), key)));
        next.transcript = hash(&[&shared.transcript[..], bytes].concat());
        Ok((next, removed))
    }

    fn staged(&self, commit: &Commit) -> Result<Staged, GroupError> {
        let shared = self.shared()?;
        let user = commit.by.clone();
        let key = commit.joining;
        let adds: Vec<u64> = commit.adds.iter().map(|(_, key)| *key).collect();
        let bytes = pack(shared.epoch, &Payload::Commit(commit.clone()));
        let (next, _) = self.after(commit, &bytes)?;
        Ok(Staged {
            commit: bytes,
            welcome: (!adds.is_empty()).then(|| welcome(&adds, &next)),
            group_info: group_info(next.epoch),
            ratchet_tree: vec![0],
            epoch: shared.epoch,
            user,
            state: postcard::to_stdvec(&key).unwrap(),
        })
    }

    /// What the hub gives to those who may join by themselves.
    pub(super) fn group_info(&self) -> GroupInfo {
        GroupInfo {
            group_info: Vec::new(),
            ratchet_tree: postcard::to_stdvec(self.shared.as_ref().unwrap()).unwrap(),
            pending_proposals: self.pending.clone(),
        }
    }

    fn leavers(&self) -> BTreeSet<UserUri> {
        let proposals = self.pending.iter().map(|proposal| unpack(proposal).1);
        let leavers = proposals.filter_map(|proposal| match proposal {
            Payload::Proposal { by, what: What::SelfRemove, .. } => Some(by),
            _ => None,
        });
        leavers.collect()
    }

    fn refs(&self) -> Vec<[u8; 32]> {
        self.pending.iter().map(|proposal| hash(proposal)).collect()
    }

    fn enter(&mut self, next: Shared, commit: &Commit, before: &[UserUri]) -> Applied {
        self.shared = Some(next);
        self.pending.clear();
        let after = self.locals();
        Applied {
            local_removed: before.iter().filter(|user| !after.contains(user)).cloned().collect(),
            over: after.is_empty(),
            state_lost: !after.is_empty() && self.anchor.is_none(),
            added: commit.adds.iter().map(|(user, _)| user.clone()).collect(),
            by: Some(commit.by.clone()),
            left: BTreeSet::new(),
        }
    }
}

impl Group for FakeGroup {
    fn is_member(&self) -> bool {
        self.anchor.is_some()
    }
    fn is_public(&self) -> bool {
        self.public
    }
    fn group_id(&self) -> Vec<u8> {
        GROUP_ID.to_vec()
    }
    fn epoch(&self) -> u64 {
        self.shared.as_ref().map_or(0, |shared| shared.epoch)
    }
    fn state(&self) -> Result<std::sync::Arc<RoomState>, GroupError> {
        RoomState::from_components(&self.shared()?.components)
            .map(std::sync::Arc::new)
            .map_err(|error| GroupError::Invalid(error.to_string()))
    }
    fn has_leaf(&self, user: &UserUri) -> bool {
        self.is_local(user)
    }
    fn participants_of(&self, room: &str) -> Option<std::sync::Arc<BTreeSet<UserUri>>> {
        self.parents.get(room).cloned()
    }
    fn in_group(&self, user: &UserUri) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.leaves.contains_key(user))
    }
    fn providers(&self) -> BTreeSet<ProviderDomain> {
        self.shared.iter().flat_map(|shared| shared.leaves.keys()).map(UserUri::provider).collect()
    }
    fn local_users(&self) -> Vec<UserUri> {
        let mut users = self.locals();
        users.sort_by_key(|user| Some(user) != self.anchor.as_ref());
        users
    }
    fn seal(&mut self, user: &UserUri, plaintext: &[u8], _: Option<FrankingTag>) -> Result<Vec<u8>, GroupError> {
        if !self.is_member() || !self.is_local(user) {
            return Err(GroupError::NoLeaf(user.clone()));
        }
        Ok(sealed_by(user, self.epoch(), self.number(), plaintext))
    }
    fn open(&mut self, message: &[u8]) -> Result<Opened, GroupError> {
        let current = self.epoch();
        let (epoch, payload) = unpack(message);
        let Payload::Message { by, plaintext, .. } = payload else { panic!("no message") };
        if !self.is_member() {
            return Err(GroupError::Invalid("no member".to_owned()));
        }
        let old = self.old.is_some_and(|(from, to)| (from..=to).contains(&epoch));
        if !old && (epoch > current || epoch < self.since.max(current.saturating_sub(PAST_EPOCHS))) {
            return Err(GroupError::Epoch { message: epoch, current });
        }
        if by.provider() == self.domain {
            return Err(GroupError::Invalid("an own message".to_owned()));
        }
        if epoch == current && !self.in_group(&by) {
            return Err(GroupError::Invalid("somebody who is no member".to_owned()));
        }
        if !self.opened.insert(hash(message)) {
            return Err(GroupError::Invalid("opened before".to_owned()));
        }
        let salt = crate::content::MimiContent::decode(&plaintext).map(|content| content.salt);
        let tag = salt.ok().map(|salt| FrankingTag::of(&salt, &plaintext));
        Ok(Opened { sender: by, plaintext, beside: Beside { tag, message_id: None } })
    }
    fn frank(&self, _: &[u8], context: &ServerFrankingContext) -> Option<Frank> {
        let server_frank = hash(&context.encode());
        (context.room_uri.hub() == self.domain).then(|| Frank {
            server_frank,
            signature_ciphersuite: 1,
            integrity_signature: vec![1],
        })
    }
    fn check_frank(&self, frank: &Frank, context: &ServerFrankingContext) -> Result<(), GroupError> {
        let right = frank.server_frank == hash(&context.encode());
        right.then_some(()).ok_or_else(|| GroupError::Invalid("forged".to_owned()))
    }
    fn stage(&self, user: &UserUri, change: &GroupChange, _now: Millis) -> Result<Staged, GroupError> {
        if !self.is_member() || !self.is_local(user) {
            return Err(GroupError::NoLeaf(user.clone()));
        }
        let adds = change.adds.iter().map(|bytes| postcard::from_bytes(bytes).unwrap()).collect::<Vec<_>>();
        let refs = self.refs();
        let nothing = adds.is_empty() && change.removes.is_empty() && change.app_data.is_empty();
        let removes = !change.removes.is_empty() || !refs.is_empty();
        self.staged(&Commit {
            number: self.number(),
            by: user.clone(),
            joining: None,
            path: change.path || nothing || removes,
            adds,
            removes: change.removes.clone(),
            app_data: change.app_data.clone(),
            refs,
        })
    }
    fn stage_join(&self, user: &UserUri, _now: Millis) -> Result<Staged, GroupError> {
        let key = self.number();
        let leaves =
            |proposal: &&Vec<u8>| matches!(unpack(proposal).1, Payload::Proposal { what: What::SelfRemove, .. });
        let self_removes = self.pending.iter().filter(leaves).map(|proposal| hash(proposal)).collect();
        let state = self.state()?;
        let listing =
            state.role_of(user).is_none().then(|| policy::update_add(&state, &[(user.clone(), role::MEMBER)]));
        let app_data = listing.into_iter().map(|update| (component::PARTICIPANT_LIST, update.unwrap())).collect();
        self.staged(&Commit {
            number: self.number(),
            by: user.clone(),
            joining: Some(key),
            adds: Vec::new(),
            removes: Vec::new(),
            app_data,
            refs: self_removes,
            path: true,
        })
    }
    fn stage_leaves(
        &mut self,
        by: &UserUri,
        users: &[UserUri],
        app_data: Vec<(u16, Vec<u8>)>,
        now: Millis,
    ) -> Result<Staged, GroupError> {
        let adds = users.iter().map(|user| self.give_key_package(user).0).collect();
        self.stage(by, &GroupChange { adds, app_data, ..GroupChange::default() }, now)
    }
    fn accept(&mut self, staged: &Staged, _now: Millis) -> Result<Applied, GroupError> {
        if staged.epoch != self.epoch() || !(self.is_member() || self.public) {
            return Err(GroupError::Stale);
        }
        let Payload::Commit(commit) = unpack(&staged.commit).1 else { panic!("no commit") };
        let (next, removed) = self.after(&commit, &staged.commit)?;
        let before = self.locals();
        if std::mem::take(&mut self.public) {
            assert!(commit.joining.is_some(), "a hub without a leaf commits");
            self.since = next.epoch;
            self.anchor = Some(commit.by.clone());
        }
        self.keys.extend(commit.joining);
        self.standby = self.standby.take().filter(|user| !removed.contains(user));
        if self.anchor.as_ref().is_some_and(|anchor| removed.contains(anchor)) {
            self.anchor = self.standby.take().or_else(|| Some(commit.by.clone()));
        }
        if self.standby.is_none() && commit.path && self.anchor.as_ref() != Some(&commit.by) {
            self.standby = Some(commit.by.clone());
        }
        Ok(self.enter(next, &commit, &before))
    }
    fn apply(&mut self, bytes: &[u8], origin: Origin<'_>, _now: Millis) -> Result<Applied, GroupError> {
        if !self.is_member() && !self.public {
            return Err(GroupError::Invalid("no member".to_owned()));
        }
        let (epoch, payload) = unpack(bytes);
        let Payload::Commit(commit) = payload else { panic!("no commit") };
        if epoch != self.epoch() {
            return Err(GroupError::Epoch { message: epoch, current: self.epoch() });
        }
        if let Origin::Follower(peer, known, bundle) = origin {
            let bundle = bundle.expect("a commit comes in a bundle");
            let welcomed = bundle.welcome.as_ref().map(|w| w.fields().new_members.clone()).unwrap_or_default();
            let added: BTreeSet<Vec<u8>> = commit.adds.iter().map(|(_, key)| key.to_be_bytes().to_vec()).collect();
            if added != welcomed.iter().cloned().collect() {
                return Err(GroupError::Refused("the Welcome is for others".to_owned()));
            }
            if commit.by.provider() != *peer {
                return Err(GroupError::Refused(format!("{} is not of {peer}", commit.by)));
            }
            for (user, key) in commit.adds.iter().filter(|(user, _)| user.provider() != *peer) {
                if known.get(&key.to_be_bytes().to_vec()) != Some(&user.provider()) {
                    return Err(GroupError::Refused(format!("the KeyPackage of {user} did not come by the hub")));
                }
            }
        }
        let new = commit.adds.iter().cloned().chain(commit.joining.map(|key| (commit.by.clone(), key)));
        for (user, key) in new {
            if user.provider() == self.domain && !self.keys.contains(&key) {
                return Err(GroupError::Forged(user));
            }
        }
        let (next, removed) = self.after(&commit, bytes)?;
        let before = self.locals();
        let farewell = before.iter().all(|user| removed.contains(user));
        if let (true, Origin::Follower(_, _, Some(bundle))) = (farewell, origin) {
            let GroupInfoOption::Full(info) = &bundle.group_info else { panic!("a partial GroupInfo") };
            if info.fields().epoch != next.epoch {
                return Err(GroupError::Invalid("the GroupInfo of another epoch".to_owned()));
            }
            self.public = true;
        }
        self.standby = self.standby.take().filter(|user| !removed.contains(user));
        if self.anchor.as_ref().is_some_and(|anchor| removed.contains(anchor)) {
            self.anchor = self.standby.take();
        }
        let was_public = self.public && before.is_empty();
        let mut applied = self.enter(next, &commit, &before);
        if self.public {
            // Somebody of ours was welcomed by the same commit.
            self.anchor = self.locals().first().cloned();
            self.standby = None;
            self.public = self.anchor.is_none();
            self.since = self.epoch();
            applied.state_lost = false;
            applied.over = self.public && !was_public;
        }
        Ok(applied)
    }
    fn store_proposal(&mut self, bytes: &[u8], origin: Origin<'_>, _now: Millis) -> Result<(), GroupError> {
        let (epoch, payload) = unpack(bytes);
        let Payload::Proposal { by, .. } = payload else { panic!("no proposal") };
        if epoch != self.epoch() || !(self.is_member() || self.public) {
            return Err(GroupError::Epoch { message: epoch, current: self.epoch() });
        }
        if !self.in_group(&by) {
            return Err(GroupError::Invalid("a proposal of somebody who is no member".to_owned()));
        }
        if let Origin::Follower(peer, _, _) = origin
            && by.provider() != *peer
        {
            return Err(GroupError::Refused(format!("{by} is not of {peer}")));
        }
        if !self.pending.iter().any(|known| known == bytes) {
            self.pending.push(bytes.to_vec());
        }
        Ok(())
    }
    fn ratchet_tree(&self) -> Result<Vec<u8>, GroupError> {
        Ok(vec![0])
    }
    fn discard(&mut self) {
        *self = Self { made: self.made.clone(), ..Self::none(&self.domain) };
    }
    fn is_complete(&self, commit: &[u8]) -> Result<(), GroupError> {
        let Payload::Commit(commit) = unpack(commit).1 else { panic!("no commit") };
        let known = self.refs();
        let unknown: Vec<Vec<u8>> =
            commit.refs.iter().filter(|taken| !known.contains(taken)).map(|taken| taken.to_vec()).collect();
        if !unknown.is_empty() {
            return Err(GroupError::UnknownProposals(unknown));
        }
        let leaves = |message: &&Vec<u8>| matches!(unpack(message).1, Payload::Proposal { what: What::SelfRemove, .. });
        let wanted = self.pending.iter().filter(|message| commit.joining.is_none() || leaves(message));
        match wanted.filter(|message| !commit.refs.contains(&hash(message))).count() {
            0 => Ok(()),
            missing => Err(GroupError::Incomplete(missing)),
        }
    }
    fn pending_proposals(&self) -> Vec<Vec<u8>> {
        self.pending.clone()
    }
    fn user_of(&self, _leaf: u32) -> Option<UserUri> {
        // Its messages name no leaf.
        None
    }
    fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }
    fn judge_pending(&self, _now: Millis) -> Result<(), GroupError> {
        let mut going = self.leavers();
        going.extend(self.pending.iter().filter_map(|proposal| match unpack(proposal).1 {
            Payload::Proposal { what: What::Remove(user), .. } => Some(user),
            _ => None,
        }));
        let Some(by) = self.shared()?.leaves.keys().find(|user| !going.contains(user)).cloned() else {
            return Ok(());
        };
        let commit = Commit {
            number: 0,
            by,
            joining: None,
            path: true,
            adds: Vec::new(),
            removes: Vec::new(),
            app_data: Vec::new(),
            refs: self.refs(),
        };
        self.after(&commit, b"").map(drop)
    }
    fn leaving(&self) -> BTreeMap<u32, UserUri> {
        // Its messages name no leaf of these.
        (0..).map(|n| u32::MAX - n).zip(self.leavers()).collect()
    }
    fn is_deserted(&self) -> bool {
        let leavers = self.leavers();
        let seen = self.is_member() || self.public;
        seen && self.shared.as_ref().is_some_and(|shared| shared.leaves.keys().all(|user| leavers.contains(user)))
    }
    fn forget(&mut self, proposals: &[Vec<u8>]) -> Result<(), GroupError> {
        self.pending.retain(|pending| !proposals.contains(pending));
        Ok(())
    }
    fn propose_leave(&mut self, user: &UserUri, app_data: Vec<(u16, Vec<u8>)>) -> Result<Vec<Vec<u8>>, GroupError> {
        if !self.is_local(user) {
            return Err(GroupError::NoLeaf(user.clone()));
        }
        let mut all: Vec<What> = app_data.into_iter().map(|(component, update)| What::App(component, update)).collect();
        all.push(What::SelfRemove);
        let all: Vec<Vec<u8>> = all
            .into_iter()
            .map(|what| pack(self.epoch(), &Payload::Proposal { number: self.number(), by: user.clone(), what }))
            .collect();
        self.pending.extend(all.iter().cloned());
        Ok(all)
    }
    fn rejoin(&mut self, comeback: &Comeback<'_>, info: &GroupInfo, _now: Millis) -> Result<Staged, GroupError> {
        let user = comeback.user;
        let shared: Shared = postcard::from_bytes(&info.ratchet_tree).unwrap();
        if shared.epoch < comeback.epoch {
            return Err(GroupError::Epoch { message: shared.epoch, current: self.epoch() });
        }
        let key = self.number();
        let mut outside = Self { shared: Some(shared), pending: info.pending_proposals.clone(), ..self.clone() };
        // An external commit takes in nothing else of what is pending.
        let self_remove =
            |proposal: &&Vec<u8>| matches!(unpack(proposal).1, Payload::Proposal { what: What::SelfRemove, .. });
        let refs = outside.pending.iter().filter(self_remove).map(|proposal| hash(proposal)).collect();
        let commit = Commit {
            number: self.number(),
            by: user.clone(),
            joining: Some(key),
            adds: Vec::new(),
            removes: Vec::new(),
            app_data: Vec::new(),
            refs,
            path: true,
        };
        if comeback.keep_reading {
            let first = self.since.max(self.epoch().saturating_sub(PAST_EPOCHS));
            outside.old = self.is_member().then_some((first, self.epoch()));
        }
        let staged = outside.staged(&commit)?;
        let (next, _) = outside.after(&commit, &staged.commit)?;
        outside.keys.insert(key);
        outside.since = next.epoch;
        outside.shared = Some(next);
        outside.pending.clear();
        outside.anchor = Some(user.clone());
        outside.standby = None;
        let forged = outside
            .shared()?
            .leaves
            .iter()
            .find(|(user, key)| user.provider() == outside.domain && !outside.keys.contains(key));
        if let Some((user, _)) = forged {
            return Err(GroupError::Forged(user.clone()));
        }
        *self = outside;
        Ok(staged)
    }
    fn join(&mut self, message: &[u8], _tree: &[u8], again: bool, _now: Millis) -> Result<Vec<UserUri>, GroupError> {
        let (refs, shared) = read_welcome(message);
        if self.is_member() && !again && shared.epoch <= self.epoch() {
            return Ok(self.locals());
        }
        if !refs.iter().any(|key| self.keys.contains(key)) {
            return Err(GroupError::Invalid("KeyPackages that were not given out".to_owned()));
        }
        (self.since, self.old) = (shared.epoch, None);
        self.pending.clear();
        self.shared = Some(shared);
        let users = self.locals();
        self.anchor = users.first().cloned();
        self.standby = None;
        Ok(users)
    }
    fn refresh_due(&self, _now: Millis) -> Vec<UserUri> {
        if self.anchor.is_none() || self.standby.is_some() {
            return Vec::new();
        }
        self.locals().into_iter().find(|user| Some(user) != self.anchor.as_ref()).into_iter().collect()
    }
}
