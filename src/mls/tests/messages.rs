use super::*;

#[test]
fn two_gateways_talk_and_see_who_wrote_what() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    for _ in 0..3 {
        talk(&mut a, "alice@a.example", &mut [&mut b]);
        talk(&mut b, "bob@b.example", &mut [&mut a]);
    }
    let leaf = a.member.leaves().into_iter().find(|leaf| leaf.user == user("bob@b.example")).unwrap();
    assert_eq!(leaf.client.as_str(), "mimi://b.example/d/bob/gateway");
    assert!(!leaf.local);
    assert!(a.member.leaves().iter().any(|leaf| leaf.local));
}

#[test]
fn one_state_speaks_as_every_local_leaf_in_turn() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let names = ["ann@a.example", "amy@a.example", "art@a.example"];
    for name in names {
        own_external(&mut a, name, &mut [&mut b]);
    }
    assert_eq!(a.member.local_users().len(), 4);
    for _ in 0..3 {
        for name in names {
            talk(&mut a, name, &mut [&mut b]);
        }
        talk(&mut a, "alice@a.example", &mut [&mut b]);
        talk(&mut b, "bob@b.example", &mut [&mut a]);
    }
}

#[test]
fn bursts_are_stored_once_and_without_restarts_in_between() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    let mut messages = Vec::new();
    for turn in 0..20 {
        let who = if turn % 3 == 0 { "ann@a.example" } else { "alice@a.example" };
        messages.push((who, a.member.seal(&user(who), format!("{turn}").as_bytes(), &SafeAad::default()).unwrap()));
    }
    let changes = a.member.take_changes().unwrap();
    assert!(changes.put.len() <= 2, "{changes:?}");
    changes.apply(&mut a.rows);
    assert!(a.member.take_changes().unwrap().is_empty());
    // Once an epoch is under way, a message changes the lesser half of the message secrets alone.
    messages.push(("alice@a.example", a.member.seal(&user("alice@a.example"), b"20", &SafeAad::default()).unwrap()));
    let changes = a.member.take_changes().unwrap();
    assert_eq!(changes.put.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"M".as_slice()]);
    changes.apply(&mut a.rows);
    for (turn, (who, message)) in messages.iter().enumerate() {
        let opened = b.member.open(message).unwrap();
        assert_eq!((opened.user, opened.plaintext), (user(who), format!("{turn}").into_bytes()));
    }
    // The same message does not open twice, neither before nor after a restart.
    assert!(b.member.open(&messages[19].1).is_err());
    b.save();
    assert!(b.member.open(&messages[19].1).is_err());
    talk(&mut a, "alice@a.example", &mut [&mut b]);
}

#[test]
fn the_stored_own_index_is_the_one_that_we_present() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    a.seal("ann@a.example", "hello");
    let row = &[a.rows[b"m".as_slice()].as_slice(), a.rows[b"M".as_slice()].as_slice()].concat();
    let (own, same) = secrets::own_index_and_round_trip(row);
    assert!(same, "OpenMLS stores message secrets in another shape: the mirror has to follow");
    assert_eq!(own, a.leaf("ann@a.example"));
    let (own, same) = secrets::own_index_and_round_trip(&secrets::present_as(row, 0).unwrap());
    assert!(same);
    assert_eq!(own, 0);
    assert!(
        secrets::present_as(&row[1..], 0).is_err() || secrets::present_as(&[row.as_slice(), &[0]].concat(), 0).is_err()
    );
}

#[test]
fn throwing_the_member_away_gives_the_stored_state_and_no_generation_twice() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let stored = a.member.seal(&user("alice@a.example"), b"stored", &SafeAad::default()).unwrap();
    a.save();
    // This batch fails: the message never left the process.
    let lost = a.member.seal(&user("alice@a.example"), b"lost", &SafeAad::default()).unwrap();
    a.reload();
    let next = a.seal("alice@a.example", "next");
    assert_eq!(b.open(&stored).1, "stored");
    assert_eq!(b.open(&next).1, "next");
    // It would have had the generation of `next`.
    assert!(b.member.open(&lost).is_err());
    // A refused change leaves nothing behind either.
    let before = a.rows.clone();
    let staged = b.stage("bob@b.example", &Change { path: true, ..Change::default() });
    let mut refuse = |_: &CommitView| Err("no".to_owned());
    let error = a.member.apply_commit(&staged.commit, &mut refuse, now()).unwrap_err();
    assert_eq!(error, MlsError::Refused("no".into()));
    a.save();
    assert_eq!(a.rows, before);
    talk(&mut a, "alice@a.example", &mut [&mut b]);
}

#[test]
fn a_forged_claim_to_be_a_silent_local_leaf_does_not_silence_it() {
    // Any member of the group can send a PrivateMessage whose sender data claims a leaf of ours; it does not verify,
    // but OpenMLS has set up that leaf's ratchet for reading by then.
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    // A copy of the gateway speaks as ann; the original has not sent that message.
    let mut copy = Gateway { rows: a.rows.clone(), member: Member::from_rows(a.rows.clone()).unwrap() };
    let forged = copy.seal("ann@a.example", "not sent by us");
    assert_eq!(a.member.open(&forged), Err(MlsError::OwnMessage));
    a.save();
    let message = a.seal("ann@a.example", "hello");
    assert_eq!(b.open(&message).1, "hello");
}

#[test]
fn our_own_messages_are_told_apart() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    own_external(&mut a, "ann@a.example", &mut [&mut b]);
    for who in ["alice@a.example", "ann@a.example"] {
        let message = a.seal(who, "hello");
        assert!(a.member.open(&message).is_err());
        assert_eq!(b.open(&message).1, "hello");
    }
}

#[test]
fn late_messages_of_past_epochs_are_read_and_future_ones_wait() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let late = b.seal("bob@b.example", "late");
    let much_too_late = b.seal("bob@b.example", "much too late");
    for turn in 0..5 {
        commit(&mut a, "alice@a.example", &Change { path: turn % 2 == 0, ..Change::default() }, &mut [&mut b]);
    }
    let opened = a.member.open(&late).unwrap();
    assert_eq!((opened.epoch, opened.plaintext.as_slice()), (1, b"late".as_slice()));
    a.save();
    let staged = a.stage("alice@a.example", &Change::default());
    let commit = staged.commit.clone();
    a.accept(&staged);
    let early = a.seal("alice@a.example", "early");
    assert_eq!(b.member.open(&early), Err(MlsError::NotForThisEpoch { message: 7, current: 6 }));
    b.apply(&commit);
    assert_eq!(b.open(&early).1, "early");
    assert_eq!(a.member.open(&much_too_late), Err(MlsError::NotForThisEpoch { message: 1, current: 7 }));
}

#[test]
fn others_groups_and_rubbish_are_refused() {
    let mut a = Gateway::create("alice@a.example");
    let mut c = Gateway::of(
        Member::create(NewGroup {
            group_id: b"mimi://c.example/g/other/1".to_vec(),
            creator: user("carol@c.example"),
            components: BTreeMap::new(),
            external_senders: Vec::new(),
            now: now(),
        })
        .unwrap(),
    );
    let message = c.seal("carol@c.example", "hello");
    assert_eq!(a.member.open(&message), Err(MlsError::WrongGroup));
    assert!(matches!(a.member.open(b""), Err(MlsError::Malformed(_))));
    for len in 0..message.len() {
        assert!(c.member.open(&message[..len]).is_err());
    }
    assert_eq!(
        a.member.seal(&user("ann@a.example"), b"", &SafeAad::default()),
        Err(MlsError::NoLeaf(user("ann@a.example")))
    );
}

#[test]
fn what_is_said_beside_a_message_goes_as_safe_aad() {
    let mut a = Gateway::create("alice@a.example");
    let mut b = add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
    let beside = SafeAad::new(Some(FrankingTag([7; 32])), Some([8; 32]));
    let sealed = a.member.seal(&user("alice@a.example"), b"said", &beside).unwrap();
    a.save();
    // Everybody can see it, the hub too: two sorted items behind their length (mls-extensions, "Safe AAD").
    let mut bytes = vec![0x40, 70, 0, 0x20, 32];
    bytes.extend_from_slice(&[7; 32]);
    bytes.extend_from_slice(&[0, 0x40, 32]);
    bytes.extend_from_slice(&[8; 32]);
    assert!(sealed.windows(bytes.len()).any(|part| part == bytes));
    assert_eq!(application_aad(&sealed).unwrap(), beside);
    let opened = b.member.open(&sealed).unwrap();
    assert_eq!((opened.plaintext, opened.aad), (b"said".to_vec(), beside));
    b.save();
    // It is for one message only, and no message can do without the frame.
    let next = a.seal("alice@a.example", "next");
    assert_eq!(application_aad(&next).unwrap(), SafeAad::default());
    assert_eq!(b.open(&next).1, "next");
    // What a member did not sign is not taken.
    let mut forged = a.seal("alice@a.example", "forged");
    let at = forged.len() - 1;
    forged[at] ^= 1;
    assert!(b.member.open(&forged).is_err());
}

/// draft-ietf-mls-extensions, "Negotiating Extensions and Components": what the group requires every leaf lists.
#[test]
fn our_leaves_list_what_our_groups_require() {
    let a = Gateway::create("alice@a.example");
    assert_eq!(a.member.component(1).unwrap(), [8, 0, 0x22, 0, 0x23, 0, 0x25, 0, 0x27]);
    assert_eq!(a.member.component(2).unwrap(), [2, 0, 0x20]);
    let leaf = |member: &Member| {
        let tree = member.group.treesync();
        let (_, node) = tree.full_leaves().next().unwrap();
        let dictionary = node.extensions().app_data_dictionary().unwrap().dictionary().clone();
        (dictionary.get(&1).unwrap().to_vec(), dictionary.get(&2).unwrap().to_vec())
    };
    let listed = (
        vec![20, 0, 1, 0, 2, 0, 0x20, 0, 0x21, 0, 0x22, 0, 0x23, 0, 0x24, 0, 0x25, 0, 0x27, 0, 0x40],
        vec![4, 0, 0x20, 0, 0x40],
    );
    assert_eq!(leaf(&a.member), listed);
    // A refreshed leaf lists it still.
    let mut a = a;
    commit(&mut a, "alice@a.example", &Change { path: true, ..Change::default() }, &mut []);
    assert_eq!(leaf(&a.member), listed);
}

/// A KeyPackage whose leaf lists nothing: whoever is in the room without knowing its rules would judge otherwise.
#[test]
fn who_does_not_list_what_the_room_requires_is_not_added() {
    let mut a = Gateway::create("alice@a.example");
    let (bob, overlay, pair) =
        (user("bob@b.example"), overlay::Overlay::new(Rows::new()), key_package::new_signer().unwrap());
    let bundle = openmls::prelude::KeyPackage::builder()
        .key_package_lifetime(identity::lifetime(now()))
        .leaf_node_capabilities(identity::capabilities())
        .build(identity::SUITE, &overlay, &pair, identity::credential_for(&bob, &pair).unwrap())
        .unwrap();
    let bytes = openmls::prelude::tls_codec::Serialize::tls_serialize_detached(bundle.key_package()).unwrap();
    check_key_package(&bytes, now()).unwrap();
    let change = Change { adds: vec![bytes], ..Change::default() };
    let refused = a.member.stage_commit(&user("alice@a.example"), &change, &mut lenient, now()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        MlsError::Refused(
            "the room requires component 0x0022, which the client does not list in app_components".into()
        )
        .to_string()
    );
    assert_eq!(a.member.epoch(), 0);
    add(&mut a, "alice@a.example", &["bob@b.example"], &mut []);
}
