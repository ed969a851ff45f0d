use super::*;

#[test]
fn a_newcomer_joins_by_external_commit_with_a_list_change() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    // Any local leaf can sign the GroupInfo.
    let carol = user("carol@c.example");
    let info = a.member.group_info(Some(&user("ann@a.example"))).unwrap();
    let change = Change {
        app_data: vec![AppDataChange { component: LIST, update: b"with carol".to_vec() }],
        ..Change::default()
    };
    let join = ExternalJoin {
        group_info: &info.group_info,
        ratchet_tree: &info.ratchet_tree,
        pending_proposals: &[],
        user: &carol,
        change: &change,
        now: now(),
    };
    let mut refuse = |view: &CommitView| {
        assert_eq!(view.sender.user(), &user("carol@c.example"));
        assert_eq!(view.components[&LIST], b"list");
        Err("no".to_owned())
    };
    assert_eq!(Member::join_external(&join, &mut refuse).map(|_| ()), Err(MlsError::Refused("no".into())));
    let (member, staged) = Member::join_external(&join, &mut lenient).unwrap();
    let mut c = Gateway::of(member);
    let applied = a.apply(&staged.commit);
    b.apply(&staged.commit);
    assert!(matches!(&applied.view.sender, CommitSender::NewMember { user, .. } if *user == carol));
    agree(&a, &c);
    agree(&b, &c);
    assert_eq!(a.member.component(LIST).unwrap(), b"with carol");
    talk(&mut c, "carol@c.example", &mut [&mut a, &mut b]);
    talk(&mut a, "alice@a.example", &mut [&mut b, &mut c]);
    commit(&mut c, "carol@c.example", &Change { path: true, ..Change::default() }, &mut [&mut a, &mut b]);
    // The GroupInfo that came with the commit is the new epoch's: the next one can join with it.
    let dora = user("dora@d.example");
    let staged = a.stage("alice@a.example", &Change { path: true, ..Change::default() });
    let join = ExternalJoin {
        group_info: &staged.group_info.clone(),
        ratchet_tree: &staged.ratchet_tree.clone(),
        user: &dora,
        change: &Change::default(),
        ..join
    };
    let (member, external) = Member::join_external(&join, &mut lenient).unwrap();
    b.apply(&staged.commit);
    c.apply(&staged.commit);
    a.accept(&staged);
    let mut d = Gateway::of(member);
    for other in [&mut a, &mut b, &mut c] {
        other.apply(&external.commit);
        agree(other, &d);
    }
    talk(&mut d, "dora@d.example", &mut [&mut a]);
}

#[test]
fn an_external_join_takes_leavers_along_and_nothing_else() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let list = vec![AppDataChange { component: LIST, update: b"without bob".to_vec() }];
    let proposals = b.member.propose_leave(&user("bob@b.example"), list).unwrap();
    for proposal in &proposals {
        a.member.store_proposal(proposal, now()).unwrap();
    }
    a.save();
    let info = a.member.group_info(None).unwrap();
    let carol = user("carol@c.example");
    let join = ExternalJoin {
        group_info: &info.group_info,
        ratchet_tree: &info.ratchet_tree,
        pending_proposals: &a.member.pending_proposals(),
        user: &carol,
        change: &Change::default(),
        now: now(),
    };
    let (member, staged) = Member::join_external(&join, &mut lenient).unwrap();
    let applied = a.apply(&staged.commit);
    assert_eq!(applied.view.removes[0].leaf.user, user("bob@b.example"));
    assert!(applied.view.removes[0].self_remove);
    agree(&a, &Gateway::of(member));
    let wrong = Change { removes: vec![0], ..Change::default() };
    let join = ExternalJoin { change: &wrong, ..join };
    assert!(matches!(Member::join_external(&join, &mut lenient), Err(MlsError::Unsupported(_))));
}

#[test]
fn several_local_users_in_one_welcome_share_one_state() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example", "ben@b.example"], &mut []);
    assert_eq!(b.member.local_users().len(), 2);
    assert_eq!(b.member.anchor(), Some(user("bob@b.example")));
    assert_eq!(b.member.standby(), Some(user("ben@b.example")));
    talk(&mut b, "ben@b.example", &mut [&mut a]);
    commit(&mut a, "alice@a.example", &Change { path: true, ..Change::default() }, &mut [&mut b]);
    let change = Change { removes: vec![a.leaf("bob@b.example")], ..Change::default() };
    commit(&mut a, "alice@a.example", &change, &mut [&mut b]);
    assert_eq!(b.member.anchor(), Some(user("ben@b.example")));
    talk(&mut b, "ben@b.example", &mut [&mut a]);
}

#[test]
fn a_welcome_needs_its_key_and_its_tree() {
    let a = Gateway::create("alice@a.example");
    let made = make_key_package(&user("bob@b.example"), now()).unwrap();
    let other = make_key_package(&user("bob@b.example"), now()).unwrap();
    let staged = a.stage("alice@a.example", &Change { adds: vec![made.bytes.clone()], ..Change::default() });
    let welcome = staged.welcome.unwrap();
    let wrapped = [[0, 1, 0, 3].as_slice(), &welcome].concat();
    assert_eq!(welcome_refs(&wrapped).unwrap(), vec![made.reference.clone()]);
    assert_eq!(handshake_kind(&wrapped), Ok(HandshakeKind::Welcome));
    let keys = [made.private.clone()];
    assert!(Member::join(&wrapped, &staged.ratchet_tree, &keys, now()).is_ok());
    assert!(Member::join(&welcome, &staged.ratchet_tree, &keys, now()).is_ok());
    assert_eq!(
        Member::join(&welcome, &staged.ratchet_tree, &[other.private], now()).map(|_| ()),
        Err(MlsError::NotAMember)
    );
    let old_tree = a.member.group_info(None).unwrap().ratchet_tree;
    assert!(Member::join(&welcome, &old_tree, &keys, now()).is_err());
    assert!(Member::join(&welcome, &[], &keys, now()).is_err());
    assert!(!format!("{made:?}").contains("private"));
}

#[test]
fn a_user_who_has_a_leaf_or_is_foreign_gets_none() {
    let a = Gateway::create("alice@a.example");
    let stage = |name: &str| {
        a.member.stage_external_join(&user(name), &Change::default(), &mut lenient, now()).map(|_| ()).unwrap_err()
    };
    assert_eq!(stage("alice@a.example"), MlsError::HasLeaf(user("alice@a.example")));
    assert!(matches!(stage("bob@b.example"), MlsError::Credential(_)));
}
