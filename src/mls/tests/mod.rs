//! Gateways of different domains that talk to each other through this module only.

mod anchor;
mod commits;
mod joins;
mod messages;
mod public;
mod small;

use std::collections::BTreeMap;

use super::*;
use crate::{
    ident::{ProviderDomain, UserUri},
    wire::{FrankingTag, SafeAad},
};

pub(super) const LIST: u16 = 0x22;
pub(super) const NAME: u16 = 0x23;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// The real time: OpenMLS checks KeyPackages against it.
pub(super) fn now() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub(super) fn user(name: &str) -> UserUri {
    let (name, domain) = name.split_once('@').unwrap();
    UserUri::new(&ProviderDomain::parse(domain).unwrap(), name).unwrap()
}

/// A policy that takes every change; a component's update is its new value, later ones win.
#[expect(clippy::unnecessary_wraps, reason = "a judge can refuse")]
pub(super) fn lenient(view: &CommitView) -> Result<NewComponents, String> {
    let mut values = BTreeMap::new();
    for change in &view.app_data {
        if let AppDataOp::Update(bytes) = &change.op {
            values.insert(change.component, bytes.clone());
        }
    }
    Ok(values)
}

/// A gateway: its rows, and the member loaded from them for each operation, as after a restart.
pub(super) struct Gateway {
    pub(super) rows: Rows,
    pub(super) member: Member,
}

impl Gateway {
    pub(super) fn of(mut member: Member) -> Self {
        let mut rows = Rows::new();
        member.take_changes().unwrap().apply(&mut rows);
        let member = Member::from_rows(rows.clone()).unwrap();
        Self { rows, member }
    }
    pub(super) fn create(creator: &str) -> Self {
        Self::create_at(creator, now())
    }
    pub(super) fn create_at(creator: &str, now: u64) -> Self {
        Self::of(
            Member::create(NewGroup {
                group_id: b"mimi://a.example/g/room/1".to_vec(),
                creator: user(creator),
                components: BTreeMap::from([(LIST, b"list".to_vec()), (NAME, b"name".to_vec())]),
                external_senders: Vec::new(),
                now,
            })
            .unwrap(),
        )
    }
    /// Stores what changed and loads it again: every step has to survive a restart.
    pub(super) fn save(&mut self) {
        self.member.take_changes().unwrap().apply(&mut self.rows);
        self.reload();
    }
    /// Throws the member away.
    pub(super) fn reload(&mut self) {
        self.member = Member::from_rows(self.rows.clone()).unwrap();
    }
    pub(super) fn seal(&mut self, who: &str, text: &str) -> Vec<u8> {
        let message = self.member.seal(&user(who), text.as_bytes(), &SafeAad::default()).unwrap();
        self.save();
        message
    }
    pub(super) fn open(&mut self, message: &[u8]) -> (String, String) {
        let opened = self.member.open(message).unwrap();
        self.save();
        (opened.user.to_string(), String::from_utf8(opened.plaintext).unwrap())
    }
    /// Stages as `who`, stores and loads the staged commit as a follower does.
    pub(super) fn stage(&self, who: &str, change: &Change) -> StagedCommit {
        let staged = self.member.stage_commit(&user(who), change, &mut lenient, now()).unwrap();
        postcard::from_bytes(&postcard::to_stdvec(&staged).unwrap()).unwrap()
    }
    pub(super) fn accept(&mut self, staged: &StagedCommit) -> Applied {
        let applied = self.member.accept_staged(staged, &mut lenient, now()).unwrap();
        self.save();
        applied
    }
    pub(super) fn apply(&mut self, commit: &[u8]) -> Applied {
        let applied = self.member.apply_commit(commit, &mut lenient, now()).unwrap();
        self.save();
        applied
    }
    pub(super) fn leaf(&self, who: &str) -> u32 {
        self.member.leaves().iter().find(|leaf| leaf.user == user(who)).unwrap().index
    }
    pub(super) fn users(&self) -> Vec<String> {
        self.member.leaves().iter().map(|leaf| leaf.user.to_string()).collect()
    }
}

/// `who` commits at `committer`, everybody applies it.
pub(super) fn commit(committer: &mut Gateway, who: &str, change: &Change, others: &mut [&mut Gateway]) -> Applied {
    let staged = committer.stage(who, change);
    let bytes = staged.commit.clone();
    let applied = committer.accept(&staged);
    for other in others {
        other.apply(&bytes);
        agree(committer, other);
    }
    applied
}

/// `user` of a new gateway is added by `who`; returns the gateway.
pub(super) fn add(committer: &mut Gateway, who: &str, joiners: &[&str], others: &mut [&mut Gateway]) -> Gateway {
    let made: Vec<_> = joiners.iter().map(|joiner| make_key_package(&user(joiner), now()).unwrap()).collect();
    let adds = made.iter().map(|made| made.bytes.clone()).collect();
    let staged = committer.stage(who, &Change { adds, ..Change::default() });
    let (bytes, welcome, tree) = (staged.commit.clone(), staged.welcome.clone().unwrap(), staged.ratchet_tree.clone());
    committer.accept(&staged);
    for other in others.iter_mut() {
        other.apply(&bytes);
    }
    let keys: Vec<_> = made.into_iter().map(|made| made.private).collect();
    let joined = Gateway::of(Member::join(&welcome, &tree, &keys, now()).unwrap());
    agree(committer, &joined);
    joined
}

/// A participant of `gateway` without leaf gets one by an external commit from the gateway's own state.
pub(super) fn own_external(gateway: &mut Gateway, who: &str, others: &mut [&mut Gateway]) -> Applied {
    let staged = gateway.member.stage_external_join(&user(who), &Change::default(), &mut lenient, now()).unwrap();
    let bytes = staged.commit.clone();
    let applied = gateway.accept(&staged);
    for other in others.iter_mut() {
        other.apply(&bytes);
        agree(gateway, other);
    }
    applied
}

pub(super) fn agree(one: &Gateway, other: &Gateway) {
    assert_eq!(one.member.epoch(), other.member.epoch());
    assert_eq!(one.member.epoch_authenticator(), other.member.epoch_authenticator());
    assert_eq!(one.member.components(), other.member.components());
    assert_eq!(one.users(), other.users());
}

/// `who` of `from` speaks, `to` reads it and sees who it was.
pub(super) fn talk(from: &mut Gateway, who: &str, to: &mut [&mut Gateway]) {
    let message = from.seal(who, "hello");
    for other in to.iter_mut() {
        assert_eq!(other.open(&message), (user(who).to_string(), "hello".to_owned()));
    }
}
