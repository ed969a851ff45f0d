use super::*;

#[test]
fn credentials_map_to_users() {
    let same = |identity: &str| user_of(identity.as_bytes()).map(|(_, user)| user.to_string());
    assert_eq!(same("mimi://b.example/d/bob/phone").unwrap(), "mimi://b.example/u/bob");
    assert_eq!(same("mimi://b.example/u/bob").unwrap(), "mimi://b.example/u/bob");
    for bad in ["mimi://b.example/d/phone", "mimi://b.example/r/room", "bob", "", "mimi://b.example/d//x"] {
        assert!(matches!(same(bad), Err(MlsError::Credential(_))), "{bad}");
    }
}

#[test]
fn a_member_can_work_off_the_reactor() {
    fn send<T: Send>() {}
    send::<Member>();
    send::<StagedCommit>();
}

#[test]
fn labelled_signatures() {
    let key = labels::SigningKey::generate().unwrap();
    let key = labels::SigningKey::from_bytes(&key.to_bytes().unwrap()).unwrap();
    let signature = labels::sign_with_label(&key, "KeyMaterialRequestTBS", b"tbs").unwrap();
    let check = |suites: &[u16], label: &str, tbs: &[u8]| {
        labels::verify_with_label(suites, key.public(), label, tbs, &signature)
    };
    assert!(check(&[1], "KeyMaterialRequestTBS", b"tbs").is_ok());
    assert!(check(&[2, 0xfafa, 1], "KeyMaterialRequestTBS", b"tbs").is_ok());
    assert!(check(&[1], "GroupInfoRequestTBS", b"tbs").is_err());
    assert!(check(&[1], "KeyMaterialRequestTBS", b"other").is_err());
    assert!(matches!(check(&[0xfafa], "KeyMaterialRequestTBS", b"tbs"), Err(MlsError::Unsupported(_))));
    assert!(matches!(check(&[], "KeyMaterialRequestTBS", b"tbs"), Err(MlsError::Unsupported(_))));
    // RFC 9420 section 5.1.2: opaque label<V> = "MLS 1.0 " + Label; opaque content<V>.
    let content = [&[11][..], b"MLS 1.0 abc", &[3], b"tbs"].concat();
    let raw: openmls_basic_credential::SignatureKeyPair = postcard::from_bytes(&key.to_bytes().unwrap()).unwrap();
    let by_hand = openmls_traits::signatures::Signer::sign(&raw, &content).unwrap();
    assert_eq!(by_hand, labels::sign_with_label(&key, "abc", b"tbs").unwrap());
}

#[test]
fn labelled_encryption() {
    let keys = labels::generate_hpke().unwrap();
    let sealed = labels::hpke_seal_with_label(1, &keys.public, "label", b"room", b"secret").unwrap();
    let open = |label: &str, context: &[u8]| labels::hpke_open_with_label(1, &keys.private, label, context, &sealed);
    assert_eq!(open("label", b"room").unwrap(), b"secret");
    assert!(open("label", b"another").is_err());
    assert!(open("other", b"room").is_err());
    assert!(labels::hpke_seal_with_label(0xfafa, &keys.public, "label", b"", b"").is_err());
    assert!(!format!("{keys:?}").contains("private"));
}

#[test]
fn frames_are_read_without_any_group() {
    let mut a = Gateway::create("alice@a.example");
    let group_id = a.member.group_id().to_vec();
    let message = a.seal("alice@a.example", "hello");
    let frame = Frame { group_id: group_id.clone(), epoch: 0, sender: None };
    assert_eq!(handshake_kind(&message), Ok(HandshakeKind::Application(frame)));
    let staged = a.stage("alice@a.example", &Change { path: true, ..Change::default() });
    let frame = Frame { group_id, epoch: 0, sender: Some(FrameSender::Member(0)) };
    assert_eq!(handshake_kind(&staged.commit), Ok(HandshakeKind::Commit(frame)));
    assert_eq!(handshake_kind(&[0, 1, 0xfa, 0xfe]), Ok(HandshakeKind::Other(0xfafe)));
    assert!(matches!(handshake_kind(&[0, 2, 0, 1]), Err(MlsError::Unsupported(_))));
    // A length that nobody sent is not allocated.
    assert!(matches!(handshake_kind(&[0, 1, 0, 1, 0xbf, 0xff, 0xff, 0xff]), Err(MlsError::Malformed(_))));
    for len in 0..staged.commit.len() {
        // A commit without its end is cut short in the path or behind it, which OpenMLS will find.
        assert!(frame::parse_commit(&staged.commit[..len]).is_err() || len > 100);
    }
}

#[test]
fn external_senders_are_in_the_context_and_rows_of_another_format_are_refused() {
    let key = labels::SigningKey::generate().unwrap();
    let mut member = Member::create(NewGroup {
        group_id: b"mimi://a.example/g/room/1".to_vec(),
        creator: user("alice@a.example"),
        components: BTreeMap::new(),
        external_senders: vec![(key.public().to_vec(), b"mimi://a.example".to_vec())],
        now: now(),
    })
    .unwrap();
    let mut rows = Rows::new();
    member.take_changes().unwrap().apply(&mut rows);
    rows.get_mut(b"!".as_slice()).unwrap()[0] = 9;
    assert!(matches!(Member::from_rows(rows), Err(MlsError::Storage(_))));
    assert!(matches!(Member::from_rows(Rows::new()), Err(MlsError::Storage(_))));
}
