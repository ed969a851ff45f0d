//! The anchor and the standby: who goes, and what stays.

use super::*;

/// a.example with alice (anchor), ann (standby) and amy; b.example with bob.
fn house() -> (Gateway, Gateway) {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    own_external(&mut a, "amy@a.example", &mut [&mut b]);
    assert_eq!(a.member.anchor(), Some(user("alice@a.example")));
    assert_eq!(a.member.standby(), Some(user("ann@a.example")));
    (a, b)
}

fn removal(gateway: &Gateway, names: &[&str]) -> Change {
    Change { removes: names.iter().map(|name| gateway.leaf(name)).collect(), ..Change::default() }
}

fn kick(committer: &mut Gateway, who: &str, names: &[&str], others: &mut [&mut Gateway]) {
    let change = removal(committer, names);
    commit(committer, who, &change, others);
}

#[test]
fn a_remote_removes_the_anchor_and_the_standby_speaks_on() {
    let (mut a, mut b) = house();
    commit(&mut b, "bob@b.example", &Change { path: true, ..Change::default() }, &mut [&mut a]);
    let change = removal(&b, &["alice@a.example"]);
    let staged = b.stage("bob@b.example", &change);
    let applied = a.apply(&staged.commit);
    b.accept(&staged);
    agree(&a, &b);
    assert_eq!(applied.local_removed, vec![user("alice@a.example")]);
    assert!(!applied.last_local_removed && !applied.state_lost);
    assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
    assert_eq!(a.member.standby(), None);
    talk(&mut a, "ann@a.example", &mut [&mut b]);
    talk(&mut a, "amy@a.example", &mut [&mut b]);
    talk(&mut b, "bob@b.example", &mut [&mut a]);
    // A new standby is asked for, and takes over in its turn.
    assert_eq!(a.member.refresh_due(now()), vec![user("amy@a.example")]);
    commit(&mut a, "amy@a.example", &Change { path: true, ..Change::default() }, &mut [&mut b]);
    assert_eq!(a.member.standby(), Some(user("amy@a.example")));
    kick(&mut b, "bob@b.example", &["ann@a.example"], &mut [&mut a]);
    assert_eq!(a.member.anchor(), Some(user("amy@a.example")));
    talk(&mut a, "amy@a.example", &mut [&mut b]);
    assert!(!a.rows.keys().any(|key| key.starts_with(b"K") && key.ends_with(&0u32.to_be_bytes())));
}

#[test]
fn a_remote_removes_anchor_and_standby_and_another_user_rejoins() {
    let (mut a, mut b) = house();
    let change = removal(&b, &["alice@a.example", "ann@a.example"]);
    let staged = b.stage("bob@b.example", &change);
    let applied = a.apply(&staged.commit);
    b.accept(&staged);
    assert!(applied.state_lost && !applied.last_local_removed);
    assert_eq!(a.member.local_users(), vec![user("amy@a.example")]);
    assert_eq!(a.member.anchor(), None);
    assert_eq!(a.member.seal(&user("amy@a.example"), b"", &SafeAad::default()), Err(MlsError::NotAMember));
    assert!(a.member.refresh_due(now()).is_empty());

    let info = b.member.group_info(None).unwrap();
    let amy = user("amy@a.example");
    let join = ExternalJoin {
        group_info: &info.group_info,
        ratchet_tree: &info.ratchet_tree,
        pending_proposals: &[],
        user: &amy,
        change: &Change::default(),
        now: now(),
    };
    let (member, staged) = a.member.rejoin(&join, false, &mut lenient).unwrap();
    let applied = b.apply(&staged.commit);
    assert_eq!(applied.view.removes[0].leaf.user, amy);
    let mut a = Gateway::of(member);
    agree(&a, &b);
    assert_eq!(a.member.anchor(), Some(amy));
    talk(&mut a, "amy@a.example", &mut [&mut b]);
    talk(&mut b, "bob@b.example", &mut [&mut a]);
}

#[test]
fn a_remote_removes_all_of_us() {
    let (mut a, mut b) = house();
    let change = removal(&b, &["alice@a.example", "ann@a.example", "amy@a.example"]);
    let staged = b.stage("bob@b.example", &change);
    let applied = a.apply(&staged.commit);
    b.accept(&staged);
    assert_eq!(applied.local_removed.len(), 3);
    assert!(applied.last_local_removed && !applied.state_lost);
    assert!(!a.member.is_member());
    assert!(a.member.local_users().is_empty());
    assert_eq!(b.users(), vec![user("bob@b.example").to_string()]);
}

#[test]
fn the_anchor_leaves() {
    for committer in ["bob", "ann", "amy"] {
        let (mut a, mut b) = house();
        let proposals = a.member.propose_leave(&user("alice@a.example"), Vec::new()).unwrap();
        a.save();
        for proposal in &proposals {
            b.member.store_proposal(proposal, now()).unwrap();
        }
        b.save();
        match committer {
            "bob" => {
                commit(&mut b, "bob@b.example", &Change::default(), &mut [&mut a]);
                assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
            }
            "ann" => {
                commit(&mut a, "ann@a.example", &Change::default(), &mut [&mut b]);
                assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
            }
            _ => {
                commit(&mut a, "amy@a.example", &Change::default(), &mut [&mut b]);
                assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
            }
        }
        assert!(!a.member.has_leaf(&user("alice@a.example")));
        for who in ["ann@a.example", "amy@a.example"] {
            talk(&mut a, who, &mut [&mut b]);
            commit(&mut a, who, &Change { path: true, ..Change::default() }, &mut [&mut b]);
        }
        talk(&mut b, "bob@b.example", &mut [&mut a]);
    }
}

#[test]
fn anchor_and_standby_leave_at_once_by_a_commit_of_the_third() {
    let (mut a, mut b) = house();
    let change = removal(&a, &["alice@a.example", "ann@a.example"]);
    let applied = commit(&mut a, "amy@a.example", &change, &mut [&mut b]);
    assert!(!applied.state_lost);
    assert_eq!(a.member.anchor(), Some(user("amy@a.example")));
    talk(&mut a, "amy@a.example", &mut [&mut b]);
    talk(&mut b, "bob@b.example", &mut [&mut a]);
    commit(&mut b, "bob@b.example", &Change { path: true, ..Change::default() }, &mut [&mut a]);
    commit(&mut a, "amy@a.example", &Change { path: true, ..Change::default() }, &mut [&mut b]);
}

#[test]
fn the_anchor_leaves_while_another_user_of_ours_joins() {
    // A single local user leaves; the next one comes by the external commit that takes the leaving in.
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let late = b.seal("bob@b.example", "late");
    let proposals = a.member.propose_leave(&user("alice@a.example"), Vec::new()).unwrap();
    a.save();
    for proposal in &proposals {
        b.member.store_proposal(proposal, now()).unwrap();
    }
    b.save();
    let applied = own_external(&mut a, "ann@a.example", &mut [&mut b]);
    assert_eq!(applied.local_removed, vec![user("alice@a.example")]);
    assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
    talk(&mut a, "ann@a.example", &mut [&mut b]);
    talk(&mut b, "bob@b.example", &mut [&mut a]);
    // Ann joined as herself: what was said before is not hers to read.
    assert!(a.member.open(&late).is_err());
}

#[test]
fn the_anchors_user_is_banned_by_another_local_user() {
    let (mut a, mut b) = house();
    kick(&mut a, "ann@a.example", &["alice@a.example"], &mut [&mut b]);
    assert_eq!(a.member.anchor(), Some(user("ann@a.example")));
    talk(&mut a, "ann@a.example", &mut [&mut b]);
    talk(&mut a, "amy@a.example", &mut [&mut b]);
}

#[test]
fn the_standby_goes_and_another_takes_its_place() {
    let (mut a, mut b) = house();
    kick(&mut b, "bob@b.example", &["ann@a.example"], &mut [&mut a]);
    assert_eq!(a.member.standby(), None);
    assert_eq!(a.member.refresh_due(now()), vec![user("amy@a.example")]);
    commit(&mut a, "amy@a.example", &Change { path: true, ..Change::default() }, &mut [&mut b]);
    assert_eq!(a.member.standby(), Some(user("amy@a.example")));
    kick(&mut b, "bob@b.example", &["alice@a.example"], &mut [&mut a]);
    talk(&mut a, "amy@a.example", &mut [&mut b]);
}

#[test]
fn three_providers_with_many_leaves_come_and_go() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example", "ben@b.example", "bea@b.example"], &mut []);
    assert_eq!(b.member.standby(), Some(user("ben@b.example")));
    let mut c = add(&mut b, "bea@b.example", &["carol@c.example"], &mut [&mut a]);
    own_external(&mut a, "ann@a.example", &mut [&mut b, &mut c]);
    own_external(&mut c, "cat@c.example", &mut [&mut a, &mut b]);
    commit(&mut b, "bea@b.example", &Change { path: true, ..Change::default() }, &mut [&mut a, &mut c]);
    kick(&mut c, "carol@c.example", &["bob@b.example"], &mut [&mut a, &mut b]);
    assert_eq!(b.member.anchor(), Some(user("ben@b.example")));
    kick(&mut a, "ann@a.example", &["carol@c.example"], &mut [&mut b, &mut c]);
    assert_eq!(c.member.anchor(), Some(user("cat@c.example")));
    kick(&mut c, "cat@c.example", &["alice@a.example"], &mut [&mut a, &mut b]);
    talk(&mut a, "ann@a.example", &mut [&mut b, &mut c]);
    talk(&mut b, "ben@b.example", &mut [&mut a, &mut c]);
    talk(&mut b, "bea@b.example", &mut [&mut a, &mut c]);
    talk(&mut c, "cat@c.example", &mut [&mut a, &mut b]);
}
