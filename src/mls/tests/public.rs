//! A hub without a leaf follows members, judges as they do, and finds its way back in.

use std::collections::BTreeSet;

use super::*;
use crate::wire::{Extension, GroupInfoOption, PartialGroupInfo, RatchetTreePresence, RawGroupInfo, Wire as _};

fn info(staged: &StagedCommit) -> GroupInfoOption {
    GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info.clone()).unwrap())
}

fn app(component: u16, update: &[u8]) -> Change {
    Change { app_data: vec![AppDataChange { component, update: update.to_vec() }], ..Change::default() }
}

/// A hub's view that is stored and loaded after every step.
struct Hub {
    rows: Rows,
    view: PublicView,
}

impl Hub {
    fn of(mut view: PublicView) -> Self {
        let mut rows = Rows::new();
        view.take_changes().apply(&mut rows);
        assert!(PublicView::is_in(&rows));
        let view = PublicView::from_rows(rows.clone()).unwrap();
        Self { rows, view }
    }
    fn try_apply(
        &self,
        commit: &[u8],
        info: &GroupInfoOption,
        ours: &Ours,
    ) -> Result<(PublicView, CommitView), MlsError> {
        self.view.after(commit, info, ours, &mut lenient, now())
    }
    fn enter(&mut self, view: PublicView) {
        self.view = view;
        self.save();
    }
    fn save(&mut self) {
        self.view.take_changes().apply(&mut self.rows);
        self.view = PublicView::from_rows(self.rows.clone()).unwrap();
    }
    fn apply(&mut self, staged: &StagedCommit) -> CommitView {
        let (next, view) = self.try_apply(&staged.commit, &info(staged), &Ours::default()).unwrap();
        self.enter(next);
        view
    }
    fn users(&self) -> Vec<String> {
        self.view.leaves().iter().map(|leaf| leaf.user.to_string()).collect()
    }
    fn agrees(&self, gateway: &Gateway) {
        assert!(self.view.agrees_with(&gateway.member));
        assert_eq!(self.view.epoch(), gateway.member.epoch());
        assert_eq!(self.view.components(), gateway.member.components());
        assert_eq!(self.users(), gateway.users());
    }
}

/// Alice of the hub leaves; Bob commits it. The hub's view, and Bob's and Carol's gateways.
fn farewell() -> (Hub, Gateway, Gateway) {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let mut c = add(&mut a, "alice@a.example", &["carol@c.example"], &mut [&mut b]);
    let list = vec![AppDataChange { component: LIST, update: b"without alice".to_vec() }];
    let proposals = a.member.propose_leave(&user("alice@a.example"), list).unwrap();
    a.save();
    for proposal in &proposals {
        b.member.store_proposal(proposal, now()).unwrap();
        c.member.store_proposal(proposal, now()).unwrap();
    }
    assert!(!a.member.is_deserted());
    let staged = b.stage("bob@b.example", &Change::default());
    assert!(a.member.announced(&staged.commit, now()).unwrap().farewell);
    let before = Hub::of(PublicView::of(&a.member).unwrap());
    let (next, view) = before.try_apply(&staged.commit, &info(&staged), &Ours::default()).unwrap();
    assert_eq!(view, a.apply(&staged.commit).view.without_local());
    assert!(!a.member.is_member());
    b.accept(&staged);
    c.apply(&staged.commit);
    let hub = Hub::of(next);
    hub.agrees(&b);
    hub.agrees(&c);
    assert_eq!(hub.view.components()[&LIST], b"without alice");
    (hub, b, c)
}

impl CommitView {
    /// The view of somebody who knows no keys of its own.
    fn without_local(mut self) -> Self {
        for target in &mut self.removes {
            target.leaf.local = false;
            if let ProposalSender::Member(leaf) = &mut target.sender {
                leaf.local = false;
            }
        }
        for change in &mut self.app_data {
            if let ProposalSender::Member(leaf) = &mut change.sender {
                leaf.local = false;
            }
        }
        self
    }
}

#[test]
fn the_view_follows_members() {
    let (mut hub, mut b, mut c) = farewell();
    let changes = [
        app(NAME, b"new name"),
        Change { path: true, ..Change::default() },
        Change { path: true, ..app(LIST, b"list") },
    ];
    for change in changes {
        let staged = b.stage("bob@b.example", &change);
        let seen = hub.apply(&staged);
        assert_eq!(seen, c.apply(&staged.commit).view);
        b.accept(&staged);
        hub.agrees(&b);
    }
    let external =
        c.member.stage_external_join(&user("cleo@c.example"), &Change::default(), &mut lenient, now()).unwrap();
    hub.apply(&external);
    c.accept(&external);
    b.apply(&external.commit);
    hub.agrees(&c);
    // By-reference proposals are kept, and given out.
    let leave = c.member.propose_leave(&user("cleo@c.example"), Vec::new()).unwrap();
    c.save();
    let seen = hub.view.store_proposal(&leave[0], now()).unwrap();
    assert_eq!(seen.what, Proposed::SelfRemove);
    hub.save();
    assert_eq!(hub.view.pending_proposals(), leave);
    hub.view.judge_pending(&mut lenient, now()).unwrap();
    let no = hub.view.judge_pending(&mut |_| Err("no".to_owned()), now());
    assert_eq!(no, Err(MlsError::Refused("no".to_owned())));
    b.member.store_proposal(&leave[0], now()).unwrap();
    let staged = b.stage("bob@b.example", &Change::default());
    let seen = hub.apply(&staged);
    assert!(seen.removes[0].self_remove);
    assert!(hub.view.pending_proposals().is_empty());
    b.accept(&staged);
    c.apply(&staged.commit);
    hub.agrees(&b);
    hub.agrees(&c);
    assert!(!hub.view.is_deserted());
}

#[test]
fn nobody_is_left_to_commit_that_all_leave() {
    let (mut hub, mut b, mut c) = farewell();
    for (gateway, who) in [(&mut b, "bob@b.example"), (&mut c, "carol@c.example")] {
        assert!(!hub.view.is_deserted());
        let leave = gateway.member.propose_leave(&user(who), Vec::new()).unwrap();
        hub.view.store_proposal(&leave[0], now()).unwrap();
    }
    assert!(hub.view.is_deserted());
    hub.view.judge_pending(&mut |_| panic!("nobody can commit"), now()).unwrap();
}

#[test]
fn a_commit_needs_the_group_info_of_what_it_leads_to() {
    let (hub, b, c) = farewell();
    let staged = b.stage("bob@b.example", &app(NAME, b"x"));
    let ours = Ours::default();
    let full = staged.group_info.clone();
    let raw = |bytes: Vec<u8>| RawGroupInfo::from_bytes(bytes).map(GroupInfoOption::Full);
    assert!(hub.try_apply(&staged.commit, &raw(full.clone()).unwrap(), &ours).is_ok());
    // Any other byte is another GroupInfo.
    let mut parsed = 0;
    for at in 0..full.len() {
        let mut bytes = full.clone();
        bytes[at] ^= 1;
        if let Ok(info) = raw(bytes) {
            parsed += 1;
            assert!(hub.try_apply(&staged.commit, &info, &ours).is_err(), "byte {at}");
        }
    }
    assert!(parsed > 100);
    // Of the present epoch, of another commit, and by somebody else.
    let present = b.member.group_info(None).unwrap().group_info;
    let other = b.stage("bob@b.example", &app(NAME, b"y")).group_info;
    let carols = c.stage("carol@c.example", &app(NAME, b"x")).group_info;
    for bytes in [present, other, carols] {
        let error = hub.try_apply(&staged.commit, &raw(bytes).unwrap(), &ours).unwrap_err();
        assert!(matches!(&error, MlsError::Invalid(why) if why.contains("GroupInfo")), "{error}");
    }
}

/// The parts that a client sends for a hub to rebuild its GroupInfo.
fn partial(staged: &StagedCommit) -> PartialGroupInfo {
    use openmls::{
        messages::group_info::VerifiableGroupInfo,
        prelude::tls_codec::{Deserialize as _, Serialize as _},
    };
    let whole = VerifiableGroupInfo::tls_deserialize_exact(&staged.group_info).unwrap();
    let extensions = whole.extensions().tls_serialize_detached().unwrap();
    let mut reader = crate::wire::codec::Reader::new(&extensions);
    let group_info_extensions = reader.list("extensions", 1 << 20, 16, Extension::read).unwrap();
    let signature = staged.group_info[staged.group_info.len() - 64..].to_vec();
    PartialGroupInfo { ratchet_tree_presence: RatchetTreePresence::NoRatchetTree, group_info_extensions, signature }
}

#[test]
fn a_signed_group_info_has_to_be_usable_too() {
    let (hub, b, _) = farewell();
    let staged = b.stage("bob@b.example", &app(NAME, b"x"));
    let pair = b.member.local_leaf(&user("bob@b.example")).unwrap().pair;
    let key = labels::SigningKey::from_bytes(&postcard::to_stdvec(&*pair).unwrap()).unwrap();
    let (_, view) = hub.try_apply(&staged.commit, &info(&staged), &Ours::default()).unwrap();
    let tbs = &staged.group_info[..staged.group_info.len() - 66];
    let signed = |tbs: &[u8]| {
        let signature = labels::sign_with_label(&key, "GroupInfoTBS", tbs).unwrap();
        let raw = [tbs, &[0x40, 64], &signature].concat();
        let info = GroupInfoOption::Full(RawGroupInfo::from_bytes(raw).unwrap());
        hub.try_apply(&staged.commit, &info, &Ours::default()).map(|(_, view)| view)
    };
    assert_eq!(signed(tbs), Ok(view));
    // Another confirmation tag, signed.
    let mut other = tbs.to_vec();
    let tag = other.len() - 4 - 32;
    other[tag] ^= 1;
    assert!(matches!(signed(&other), Err(MlsError::Invalid(why)) if why.contains("confirmation tag")));
    // No external_pub: type, 33 bytes of data and their lengths.
    let extensions = tbs.len() - 4 - 33 - 37;
    assert_eq!(tbs[extensions..extensions + 5], [36, 0, 4, 33, 32]);
    let without = [&tbs[..extensions], &[0], &tbs[extensions + 37..]].concat();
    assert!(matches!(signed(&without), Err(MlsError::Invalid(why)) if why.contains("external_pub")));
    // A signer who is not there.
    let mut nobody = tbs.to_vec();
    let last = nobody.len() - 1;
    nobody[last] = 9;
    assert!(signed(&nobody).is_err());
}

#[test]
fn a_partial_group_info_is_made_whole() {
    let (hub, b, mut c) = farewell();
    let external =
        c.member.stage_external_join(&user("cleo@c.example"), &Change::default(), &mut lenient, now()).unwrap();
    for staged in [b.stage("bob@b.example", &app(NAME, b"x")), external] {
        let info = partial(&staged);
        let (next, _) =
            hub.try_apply(&staged.commit, &GroupInfoOption::Partial(info.clone()), &Ours::default()).unwrap();
        assert_eq!(next.group_info().unwrap().group_info, staged.group_info);
        assert_eq!(next.group_info().unwrap().ratchet_tree, staged.ratchet_tree);
        let mut bad = vec![info.clone(), info.clone(), info.clone()];
        bad[0].signature[7] ^= 1;
        bad[1].group_info_extensions.clear();
        bad[2].ratchet_tree_presence = RatchetTreePresence::Present;
        for info in bad {
            assert!(hub.try_apply(&staged.commit, &GroupInfoOption::Partial(info), &Ours::default()).is_err());
        }
    }
    c.reload();
}

#[test]
fn the_view_judges_as_a_member_does() {
    let (mut hub, mut b, mut c) = farewell();
    let stale = b.stage("bob@b.example", &app(NAME, b"too late"));
    let staged = b.stage("bob@b.example", &app(NAME, b"x"));
    // What the policy refuses.
    let mut strict = |view: &CommitView| {
        assert_eq!(view.sender.user(), &user("bob@b.example"));
        Err("not allowed".to_owned())
    };
    let refused = hub.view.after(&staged.commit, &info(&staged), &Ours::default(), &mut strict, now()).map(drop);
    assert_eq!(refused, Err(MlsError::Refused("not allowed".into())));
    assert_eq!(refused, c.member.apply_commit(&staged.commit, &mut strict, now()).map(drop));
    // Another value of the component.
    let mut other = |_: &CommitView| Ok(BTreeMap::from([(NAME, b"y".to_vec())]));
    let error = hub.view.after(&staged.commit, &info(&staged), &Ours::default(), &mut other, now()).map(drop);
    assert!(matches!(error, Err(MlsError::Invalid(_))));
    // Damaged: signature and frame.
    for at in 0..staged.commit.len() - 33 {
        let mut commit = staged.commit.clone();
        commit[at] ^= 0x41;
        let error = hub.try_apply(&commit, &info(&staged), &Ours::default());
        assert!(error.is_err(), "byte {at} of {}", staged.commit.len());
    }
    // A removed member, and an epoch that is over.
    let remove = Change { removes: vec![c.leaf("carol@c.example")], ..Change::default() };
    let late = c.stage("carol@c.example", &app(NAME, b"z"));
    let removal = b.stage("bob@b.example", &remove);
    hub.apply(&removal);
    b.accept(&removal);
    c.apply(&removal.commit);
    for staged in [&late, &stale] {
        let error = hub.try_apply(&staged.commit, &info(staged), &Ours::default()).map(drop);
        let current = b.member.epoch();
        assert_eq!(error, Err(MlsError::NotForThisEpoch { message: current - 1, current }));
        assert_eq!(error, b.member.apply_commit(&staged.commit, &mut lenient, now()).map(drop));
    }
    // A leaf of our domain with a key that is none of ours.
    let forged = make_key_package(&user("ann@a.example"), now()).unwrap();
    let staged = b.stage("bob@b.example", &Change { adds: vec![forged.bytes.clone()], ..Change::default() });
    let error = hub.try_apply(&staged.commit, &info(&staged), &Ours::default()).map(drop);
    assert_eq!(error, Err(MlsError::ForgedLocalLeaf(user("ann@a.example"))));
    let ours = Ours { references: BTreeSet::from([forged.reference]), keys: BTreeSet::new() };
    assert!(hub.try_apply(&staged.commit, &info(&staged), &ours).is_ok());
    // Nothing of all this changed the view.
    hub.agrees(&b);
}

#[test]
fn somebody_of_ours_is_added_and_the_hub_is_a_member_again() {
    let (hub, mut b, mut c) = farewell();
    let made = make_key_package(&user("alice@a.example"), now()).unwrap();
    let staged = b.stage("bob@b.example", &Change { adds: vec![made.bytes.clone()], ..Change::default() });
    let ours = Ours { references: BTreeSet::from([made.reference.clone()]), keys: BTreeSet::new() };
    let (next, _) = hub.try_apply(&staged.commit, &info(&staged), &ours).unwrap();
    let welcome = staged.welcome.clone().unwrap();
    let tree = next.ratchet_tree().unwrap();
    let mut a = Gateway::of(Member::join(&welcome, &tree, &[made.private], now()).unwrap());
    assert!(next.agrees_with(&a.member) && !hub.view.agrees_with(&a.member));
    b.accept(&staged);
    c.apply(&staged.commit);
    agree(&a, &b);
    talk(&mut a, "alice@a.example", &mut [&mut b, &mut c]);
    talk(&mut c, "carol@c.example", &mut [&mut a, &mut b]);
}

#[test]
fn somebody_of_ours_comes_in_by_external_commit() {
    let (mut hub, mut b, mut c) = farewell();
    // Also with a leave that waits.
    let list = vec![AppDataChange { component: LIST, update: b"without carol".to_vec() }];
    let leave = c.member.propose_leave(&user("carol@c.example"), list).unwrap();
    c.save();
    for proposal in &leave {
        hub.view.store_proposal(proposal, now()).unwrap();
        b.member.store_proposal(proposal, now()).unwrap();
    }
    let staged = hub.view.stage_join(&user("ann@a.example"), &mut lenient, now()).unwrap();
    let staged: StagedCommit = postcard::from_bytes(&postcard::to_stdvec(&staged).unwrap()).unwrap();
    let mut refuse = |_: &CommitView| Err("no".to_owned());
    assert!(hub.view.accept_join(&staged, &mut refuse, now()).is_err());
    let (member, view) = hub.view.accept_join(&staged, &mut lenient, now()).unwrap();
    assert_eq!(view.sender.user(), &user("ann@a.example"));
    // An external commit can take in nothing but the SelfRemove of what others proposed.
    assert!(view.removes[0].self_remove && view.app_data.is_empty());
    let mut a = Gateway::of(member);
    b.apply(&staged.commit);
    c.apply(&staged.commit);
    assert!(!c.member.is_member());
    agree(&a, &b);
    talk(&mut a, "ann@a.example", &mut [&mut b]);
    talk(&mut b, "bob@b.example", &mut [&mut a]);
    assert_eq!(
        hub.view.stage_join(&user("eve@e.example"), &mut lenient, now()).map(drop),
        Err(MlsError::Credential("the user is of another domain".into()))
    );
}
