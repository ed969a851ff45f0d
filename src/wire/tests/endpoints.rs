//! Every MIMI structure, byte for byte.

use super::{super::key_material::KeyMaterialUserCode, pieces::*, *};

const ALICE: (&str, &str) = ("'mimi://a.example/u/alice", "URI");
const BOB: (&str, &str) = ("'mimi://b.example/u/bob", "URI");
const CLUB: (&str, &str) = ("'mimi://a.example/r/club", "URI");

fn key_material_tbs(room: bool) -> KeyMaterialRequestTbs {
    KeyMaterialRequestTbs {
        requesting_user: alice(),
        target_user: bob(),
        room: room.then(club),
        acceptable_ciphersuites: vec![1, 2],
        required_capabilities: RequiredCapabilities {
            extensions: vec![6],
            proposals: vec![8, 10],
            credentials: vec![1],
        },
        requester_signature_key: vec![0x51, 0x52],
        requester_credential: basic("mimi://a.example/d/alice/gateway"),
    }
}

#[test]
fn key_material_request() {
    let dump = [
        ("01", "protocol mls10"),
        ("18", "requestingUser, 24 bytes"),
        ALICE,
        ("16", "targetUser, 22 bytes"),
        BOB,
        ("17", "roomId, 23 bytes"),
        CLUB,
        ("04 0001 0002", "acceptableCiphersuites"),
        ("02 0006", "extension_types"),
        ("04 0008 000a", "proposal_types"),
        ("02 0001", "credential_types"),
        ("02 5152", "requesterSignatureKey"),
        ("0001", "credential_type basic"),
        ("20", "identity, 32 bytes"),
        ("'mimi://a.example/d/alice/gateway", "identity"),
        ("03 736967", "key_material_request_signature"),
    ];
    let request = KeyMaterialRequest::new(key_material_tbs(true), b"sig".to_vec());
    check(&dump, &request);
    let received = KeyMaterialRequest::decode(&bytes(&dump)).unwrap();
    assert_eq!(received.tbs_bytes(), bytes(&dump[..dump.len() - 1]));
    assert_eq!(received.tbs_bytes(), key_material_tbs(true).encode());
    assert_eq!((received.tbs(), received.signature()), (&key_material_tbs(true), &b"sig"[..]));
}

#[test]
fn key_material_request_outside_a_room() {
    let request = KeyMaterialRequest::new(key_material_tbs(false), vec![]);
    let wire = request.encode();
    assert_eq!(wire[1 + 25 + 23], 0, "roomId is an empty URI");
    assert_eq!(KeyMaterialRequest::decode(&wire).unwrap().tbs().room, None);
    let mut nothing_acceptable = key_material_tbs(false);
    nothing_acceptable.acceptable_ciphersuites.clear();
    let error = KeyMaterialRequestTbs::decode(&nothing_acceptable.encode()).unwrap_err();
    assert_eq!((error.field, error.offset), ("acceptableCiphersuites", 50));
}

#[test]
fn another_protocol_is_refused() {
    for protocol in [0, 2, 255] {
        let mut wire = KeyMaterialRequest::new(key_material_tbs(true), vec![]).encode();
        wire[0] = protocol;
        let error = KeyMaterialRequest::decode(&wire).unwrap_err();
        assert_eq!((error.field, error.offset, error.kind), ("protocol", 0, DecodeErrorKind::Unknown(protocol.into())));
    }
}

#[test]
fn key_material_response() {
    let client = |name: &str| crate::ident::MimiUri::parse(&format!("mimi://b.example/d/{name}")).unwrap();
    let dump = join(&[
        &[
            ("01", "protocol mls10"),
            ("01", "userStatus partialSuccess"),
            ("16", "userUri, 22 bytes"),
            BOB,
            ("40a5", "clients, 165 bytes"),
            ("00", "clientStatus success"),
            ("14", "clientUri, 20 bytes"),
            ("'mimi://b.example/d/1", "clientUri"),
        ],
        &key_package(),
        &[
            ("01", "clientStatus keyMaterialExhausted"),
            ("14", "clientUri, 20 bytes"),
            ("'mimi://b.example/d/2", "clientUri"),
            ("02", "clientStatus nothingCompatible"),
            ("14", "clientUri, 20 bytes"),
            ("'mimi://b.example/d/3", "clientUri"),
            ("00", "clientCapabilities absent"),
            ("02", "clientStatus nothingCompatible"),
            ("14", "clientUri, 20 bytes"),
            ("'mimi://b.example/d/4", "clientUri"),
            ("01", "clientCapabilities present"),
            ("02 0001", "versions"),
            ("02 0002", "cipher_suites"),
            ("00 00 00", "extensions, proposals, credentials"),
        ],
    ]);
    let able = Capabilities { versions: vec![1], cipher_suites: vec![2], ..Capabilities::default() };
    let clients = vec![
        ClientKeyMaterial { client: client("1"), material: ClientMaterial::Success(raw_key_package()) },
        ClientKeyMaterial { client: client("2"), material: ClientMaterial::Exhausted },
        ClientKeyMaterial { client: client("3"), material: ClientMaterial::NothingCompatible(None) },
        ClientKeyMaterial { client: client("4"), material: ClientMaterial::NothingCompatible(Some(able)) },
    ];
    let response = KeyMaterialResponse { status: KeyMaterialUserCode::PartialSuccess, user: bob(), clients };
    check(&dump, &response);
    let forbidden = KeyMaterialResponse { status: KeyMaterialUserCode::NoConsent, ..response };
    assert_eq!(KeyMaterialResponse::decode(&forbidden.encode()).unwrap_err().field, "clients");
}

#[test]
fn every_user_code() {
    for code in 0..=7 {
        let wire =
            bytes(&[("01", "protocol"), (&format!("{code:02x}"), "userStatus"), ("16", "length"), BOB, ("00", "")]);
        assert_eq!(KeyMaterialResponse::decode(&wire).unwrap().encode(), wire);
    }
    let wire = bytes(&[("01", "protocol"), ("08", "userStatus"), ("16", "length"), BOB, ("00", "")]);
    assert_eq!(KeyMaterialResponse::decode(&wire).unwrap_err().field, "userStatus");
}

fn partial() -> PartialGroupInfo {
    PartialGroupInfo {
        ratchet_tree_presence: RatchetTreePresence::NoRatchetTree,
        group_info_extensions: vec![Extension { extension_type: 4, data: vec![0xcc, 0xcc] }],
        signature: vec![0x51],
    }
}

#[test]
fn commit_bundle_with_welcome() {
    let dump = join(&[
        &commit(),
        &[("01", "welcome present")],
        &welcome(),
        &[("01", "groupInfoOption full")],
        &group_info(),
        &[("01", "ratchetTreeOption full")],
        &tree(),
    ]);
    let bundle = HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: message(&commit()),
        welcome: Some(raw_welcome()),
        group_info: GroupInfoOption::Full(raw_group_info()),
        ratchet_tree: RatchetTreeOption::Full(raw_tree()),
    }));
    check::<UpdateRequest>(&dump, &bundle);
}

#[test]
fn commit_bundle_with_partial_group_info() {
    let dump = join(&[
        &external_commit(),
        &[
            ("00", "welcome absent"),
            ("02", "groupInfoOption partial"),
            ("00", "ratchet_tree_presence no_ratchet_tree"),
            ("05 0004 02 cccc", "group_info_extensions"),
            ("01 51", "signature"),
            ("04", "ratchetTreeOption distributionService"),
        ],
    ]);
    let bundle = HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: message(&external_commit()),
        welcome: None,
        group_info: GroupInfoOption::Partial(partial()),
        ratchet_tree: RatchetTreeOption::DistributionService,
    }));
    check::<UpdateRequest>(&dump, &bundle);
    assert_eq!(bundle.first(), Some(&message(&external_commit())));
}

#[test]
fn proposals_bundle() {
    let more = bytes(&external_proposal());
    let length = format!("{:02x}", more.len());
    let dump = [bytes(&proposal()), bytes(&[(&length, "moreProposals")]), more].concat();
    let bundle = HandshakeBundle::Proposals(vec![message(&proposal()), message(&external_proposal())]);
    assert_eq!(bundle.encode(), dump);
    assert_eq!(HandshakeBundle::decode(&dump).unwrap(), bundle);
    exact::<HandshakeBundle>(&dump);
}

#[test]
fn a_bundle_holds_only_handshakes_in_the_clear() {
    for first in [private("02"), private("03"), private("01")] {
        let error = HandshakeBundle::decode(&bytes(&join(&[&first, &[("00", "moreProposals")]]))).unwrap_err();
        assert_eq!((error.field, error.offset), ("proposalOrCommit", 0));
    }
    let length = [u8::try_from(bytes(&commit()).len()).unwrap()];
    let hidden_commit = [&bytes(&proposal())[..], &length, &bytes(&commit())].concat();
    assert_eq!(HandshakeBundle::decode(&hidden_commit).unwrap_err().field, "moreProposals");
}

#[test]
fn ratchet_tree_options() {
    check(
        &[("02", "representation httpsUri"), ("0c", "ratchet_tree_url, 12 bytes"), ("'https://a/xy", "url")],
        &RatchetTreeOption::HttpsUri("https://a/xy".into()),
    );
    check(&[("03", "representation outOfBand")], &RatchetTreeOption::OutOfBand);
    check(&[("04", "representation distributionService")], &RatchetTreeOption::DistributionService);
    for wrong in [&b"\0"[..], b"\x05", b"\x02\x07http://"] {
        RatchetTreeOption::decode(wrong).unwrap_err();
    }
    for presence in 0..=3 {
        let wire = [presence, 0, 0];
        assert_eq!(PartialGroupInfo::decode(&wire).unwrap().encode(), wire);
    }
    PartialGroupInfo::decode(&[4, 0, 0]).unwrap_err();
    GroupInfoOption::decode(&[3, 0, 0, 0]).unwrap_err();
}

#[test]
fn update_responses() {
    let head = |code| [(code, "responseCode"), ("02", "errorDescription, 2 bytes"), ("'no", "errorDescription")];
    let response = |outcome| UpdateRoomResponse { description: "no".into(), outcome };
    check(
        &join(&[&head("00"), &[("0000018bcfe56800", "accepted_timestamp")]]),
        &response(UpdateOutcome::Success { accepted_timestamp: 1_700_000_000_000 }),
    );
    check(
        &join(&[&head("01"), &[("0000000000000008", "currentEpoch")]]),
        &response(UpdateOutcome::WrongEpoch { current_epoch: 8 }),
    );
    check(&head("02"), &response(UpdateOutcome::NotAllowed));
    check(
        &join(&[&head("03"), &[("05", "invalidProposals, 5 bytes"), ("02 0102", "ref"), ("01 03", "ref")]]),
        &response(UpdateOutcome::InvalidProposal { proposals: vec![vec![1, 2], vec![3]] }),
    );
    assert_eq!(UpdateRoomResponse::decode(&[4, 0]).unwrap_err().field, "responseCode");
}

#[test]
fn submit_request() {
    let dump = join(&[&[("01", "protocol mls10")], &private("01"), &[("18", "sendingUri, 24 bytes"), ALICE]]);
    check(&dump, &SubmitMessageRequest { app_message: message(&private("01")), sending_user: alice() });
    let commit = join(&[&[("01", "protocol mls10")], &private("03"), &[("18", "sendingUri, 24 bytes"), ALICE]]);
    assert_eq!(SubmitMessageRequest::decode(&bytes(&commit)).unwrap_err().field, "appMessage");
}

const SERVER_FRANK: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn frank() -> Frank {
    Frank { server_frank: [7; 32], signature_ciphersuite: 1, integrity_signature: vec![0x51, 0x51] }
}

#[test]
fn submit_responses() {
    check(
        &[
            ("01", "protocol mls10"),
            ("00", "statusCode accepted"),
            ("0000018bcfe56800", "accepted_timestamp"),
            ("01", "frank present"),
            (SERVER_FRANK, "server_frank, 32 bytes without length"),
            ("0001", "franking_signature_ciphersuite"),
            ("02 5151", "franking_integrity_signature"),
        ],
        &SubmitMessageResponse::Accepted { accepted_timestamp: 1_700_000_000_000, frank: Some(frank()) },
    );
    check(
        &[
            ("01", "protocol"),
            ("00", "statusCode accepted"),
            ("0000000000000001", "accepted_timestamp"),
            ("00", "no frank"),
        ],
        &SubmitMessageResponse::Accepted { accepted_timestamp: 1, frank: None },
    );
    check(&[("01", "protocol"), ("01", "statusCode notAllowed")], &SubmitMessageResponse::NotAllowed);
    check(
        &[("01", "protocol"), ("02", "statusCode epochTooOld"), ("0000000000000009", "currentEpoch")],
        &SubmitMessageResponse::EpochTooOld { current_epoch: 9 },
    );
    assert_eq!(SubmitMessageResponse::decode(&[1, 3]).unwrap_err().field, "statusCode");
}

const TIME: (&str, &str) = ("0000018bcfe56800", "timestamp");

fn fanned_out() -> Vec<(Vec<u8>, FanoutMessage)> {
    let frank_dump =
        [("01", "frank present"), (SERVER_FRANK, "server_frank"), ("0001", "suite"), ("02 5151", "signature")];
    let one_more =
        [&[u8::try_from(bytes(&external_proposal()).len()).unwrap()][..], &bytes(&external_proposal())].concat();
    let welcome_message = join(&[&[("0001", "version mls10"), ("0003", "wire_format mls_welcome")], &welcome()]);
    let parts = [
        (
            bytes(&join(&[&[TIME], &private("01"), &frank_dump])),
            FanoutContent::Application { message: message(&private("01")), frank: Some(frank()) },
        ),
        (
            bytes(&join(&[&[TIME], &private("01"), &[("00", "frank absent")]])),
            FanoutContent::Application { message: message(&private("01")), frank: None },
        ),
        (
            bytes(&join(&[&[TIME], &welcome_message, &[("01", "ratchetTreeOption full")], &tree()])),
            FanoutContent::Welcome { message: raw_welcome().into(), ratchet_tree: RatchetTreeOption::Full(raw_tree()) },
        ),
        (
            [bytes(&join(&[&[TIME], &proposal()])), one_more.clone()].concat(),
            FanoutContent::Proposal { message: message(&proposal()), more: vec![message(&external_proposal())] },
        ),
        (
            bytes(&join(&[&[TIME], &commit(), &[("00", "externalProposals")]])),
            FanoutContent::Commit { message: message(&commit()), external_proposals: vec![] },
        ),
        (
            [bytes(&join(&[&[TIME], &external_commit()])), one_more].concat(),
            FanoutContent::Commit {
                message: message(&external_commit()),
                external_proposals: vec![message(&external_proposal())],
            },
        ),
    ];
    parts.map(|(wire, content)| (wire, FanoutMessage { timestamp: 1_700_000_000_000, content })).into()
}

#[test]
fn fanout_messages() {
    for (wire, message) in fanned_out() {
        assert_eq!(hex::encode(message.encode()), hex::encode(&wire));
        assert_eq!(FanoutMessage::decode(&wire).unwrap(), message);
        exact::<FanoutMessage>(&wire);
    }
}

#[test]
fn concatenated_fanout_messages() {
    let (wires, messages): (Vec<_>, Vec<_>) = fanned_out().into_iter().unzip();
    let body = wires.concat();
    assert_eq!(FanoutMessage::encode_all(&messages), body);
    assert_eq!(FanoutMessage::decode_all(&body).unwrap(), messages);
    let ends: Vec<usize> = wires
        .iter()
        .scan(0, |end, wire| {
            *end += wire.len();
            Some(*end)
        })
        .collect();
    for end in 0..body.len() {
        assert_eq!(FanoutMessage::decode_all(&body[..end]).is_ok(), ends.contains(&end), "cut at {end}");
    }
}

#[test]
fn one_bad_message_fails_the_whole_notify() {
    let good = fanned_out().remove(1).0;
    let unknown = bytes(&[TIME, ("0001", "version"), ("fafe", "wire_format"), ("00", "")]);
    let error = FanoutMessage::decode_all(&[good.clone(), unknown].concat()).unwrap_err();
    assert_eq!((error.field, error.offset), ("wire_format", good.len() + 10));
    let handshake = bytes(&join(&[&[TIME], &private("03"), &[("00", "")]]));
    assert_eq!(FanoutMessage::decode_all(&handshake).unwrap_err().field, "message");
    FanoutMessage::decode_all(&[]).unwrap_err();
}

fn group_info_tbs(joining_code: Option<Vec<u8>>) -> GroupInfoRequestTbs {
    GroupInfoRequestTbs {
        cipher_suite: 1,
        requesting_signature_key: vec![0x51],
        requesting_credential: basic("bob"),
        group_info_public_key: vec![0xe1],
        joining_code,
    }
}

#[test]
fn group_info_request() {
    let head = [
        ("01", "protocol mls10"),
        ("0001", "cipher_suite"),
        ("01 51", "requestingSignatureKey"),
        ("0001", "credential_type basic"),
        ("03 626f62", "identity"),
        ("01 e1", "groupInfoPublicKey"),
    ];
    let with_code =
        join(&[&head, &[("01", "joiningCode present"), ("02 6a63", "joiningCode"), ("02 5151", "signature")]]);
    let request = GroupInfoRequest::new(group_info_tbs(Some(b"jc".to_vec())), vec![0x51, 0x51]);
    check(&with_code, &request);
    let received = GroupInfoRequest::decode(&bytes(&with_code)).unwrap();
    assert_eq!(received.tbs_bytes(), group_info_tbs(Some(b"jc".to_vec())).encode());
    check(
        &join(&[&head, &[("00", "joiningCode absent"), ("02 5151", "signature")]]),
        &GroupInfoRequest::new(group_info_tbs(None), vec![0x51, 0x51]),
    );
    // The draft's request, taken literally, has no presence octet.
    let literal = join(&[&head, &[("02 6a63", "joiningCode"), ("02 5151", "signature")]]);
    assert_eq!(GroupInfoRequest::decode(&bytes(&literal)).unwrap(), request);
}

#[test]
fn group_info_responses() {
    let tbs = GroupInfoResponseTbs {
        room: club(),
        cipher_suite: 1,
        hub_sender: ExternalSender { signature_key: vec![0x51], credential: basic("hub") },
        encrypted: HpkeCiphertext { kem_output: vec![0x4b], ciphertext: vec![0x63, 0x63] },
    };
    let dump = [
        ("01", "version mls10"),
        ("17", "room_id, 23 bytes"),
        CLUB,
        ("01", "status success"),
        ("0001", "cipher_suite"),
        ("01 51", "hub_sender.signature_key"),
        ("0001", "credential_type basic"),
        ("03 687562", "identity"),
        ("01 4b", "kem_output"),
        ("02 6363", "ciphertext"),
        ("01 99", "signature"),
    ];
    check(&dump, &GroupInfoResponse::success(tbs.clone(), vec![0x99]));
    check(&dump[..dump.len() - 1], &tbs);
    let GroupInfoResponse::Success(signed) = GroupInfoResponse::decode(&bytes(&dump)).unwrap() else { panic!() };
    assert_eq!((signed.tbs_bytes(), signed.signature()), (&bytes(&dump[..dump.len() - 1])[..], &[0x99][..]));
    assert_eq!(signed.tbs(), &tbs);
    let head = |status| [("01", "version"), ("17", "room_id, 23 bytes"), CLUB, (status, "status")];
    check(&head("02"), &GroupInfoResponse::NotAuthorized(club()));
    check(&head("03"), &GroupInfoResponse::NoSuchRoom(club()));
    for reserved in ["00", "04"] {
        assert_eq!(GroupInfoResponse::decode(&bytes(&head(reserved))).unwrap_err().field, "status");
    }
    GroupInfoResponseTbs::decode(&bytes(&head("02"))).unwrap_err();
}

#[test]
fn group_info_and_ratchet_tree() {
    let length = format!("{:02x}", bytes(&proposal()).len() + 8);
    let wire = [
        bytes(&join(&[&group_info(), &[("01", "ratchetTreeOption full")], &tree()])),
        bytes(&[(&length, "pending_proposals")]),
        bytes(&join(&[&proposal(), &[("0000018bcfe56800", "hub_accepted_time")]])),
    ]
    .concat();
    let value = GroupInfoRatchetTree {
        group_info: raw_group_info(),
        ratchet_tree: RatchetTreeOption::Full(raw_tree()),
        pending_proposals: vec![PendingProposal {
            proposal: message(&proposal()),
            hub_accepted_time: 1_700_000_000_000,
        }],
    };
    assert_eq!(hex::encode(value.encode()), hex::encode(&wire));
    assert_eq!(GroupInfoRatchetTree::decode(&wire).unwrap(), value);
    exact::<GroupInfoRatchetTree>(&wire);
}

#[test]
fn consent_entries() {
    let head = |operation| [(operation, "consentOperation"), ("18", "requesterUri"), ALICE, ("16", "targetUri"), BOB];
    let entry = |action, room, extensions| ConsentEntry { action, requester: alice(), target: bob(), room, extensions };
    check(
        &join(&[&head("01"), &[("01", "roomId present"), ("17", "roomId"), CLUB, ("00", "consent_extensions")]]),
        &entry(ConsentAction::Request, Some(club()), AppDataDictionary::default()),
    );
    check(
        &join(&[
            &head("02"),
            &[("00", "roomId absent"), ("4042", "clientKeyPackages, 66 bytes")],
            &key_package(),
            &[("08", "consent_extensions, 8 bytes"), ("0001 01 aa", "component 1"), ("8000 01 bb", "component 0x8000")],
        ]),
        &entry(
            ConsentAction::Grant { key_packages: vec![raw_key_package()] },
            None,
            AppDataDictionary([(1, vec![0xaa]), (0x8000, vec![0xbb])].into()),
        ),
    );
    for (code, action) in [("00", ConsentAction::Cancel), ("03", ConsentAction::Revoke)] {
        let dump = join(&[&head(code), &[("00", "roomId absent"), ("00", "consent_extensions")]]);
        check(&dump, &entry(action, None, AppDataDictionary::default()));
    }
    assert_eq!(ConsentEntry::decode(&bytes(&head("04"))).unwrap_err().field, "consentOperation");
}

#[test]
fn dictionaries_are_sorted_and_unique() {
    for (wrong, why) in [("08 0002 01aa 0001 01bb", "unsorted"), ("08 0001 01aa 0001 01bb", "twice")] {
        let error = AppDataDictionary::decode(&bytes(&[(wrong, why)])).unwrap_err();
        assert_eq!((error.field, error.offset), ("component_id", 5), "{why}");
    }
    check(&[("00", "component_data")], &AppDataDictionary::default());
}

#[test]
fn uris_of_the_wrong_kind_are_refused() {
    let room_as_user = bytes(&[("01", "protocol"), ("00", "userStatus"), ("17", "userUri"), CLUB, ("00", "clients")]);
    let error = KeyMaterialResponse::decode(&room_as_user).unwrap_err();
    assert_eq!((error.field, error.offset), ("userUri", 2));
    assert!(matches!(error.kind, DecodeErrorKind::Uri(_)));
    let empty = bytes(&[("01", "protocol"), ("00", "userStatus"), ("00", "userUri"), ("00", "clients")]);
    assert_eq!(KeyMaterialResponse::decode(&empty).unwrap_err().field, "userUri");
}

/// A whole valid body of every structure, for the hostile tests.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let commit_bundle = HandshakeBundle::Commit(Box::new(CommitBundle {
        commit: message(&external_commit()),
        welcome: Some(raw_welcome()),
        group_info: GroupInfoOption::Partial(partial()),
        ratchet_tree: RatchetTreeOption::Full(raw_tree()),
    }));
    let grant = ConsentEntry {
        action: ConsentAction::Grant { key_packages: vec![raw_key_package()] },
        requester: alice(),
        target: bob(),
        room: Some(club()),
        extensions: AppDataDictionary([(1, vec![0xaa])].into()),
    };
    let mut out = vec![
        KeyMaterialRequest::new(key_material_tbs(true), b"sig".to_vec()).encode(),
        commit_bundle.encode(),
        HandshakeBundle::Proposals(vec![message(&proposal()), message(&external_proposal())]).encode(),
        SubmitMessageRequest { app_message: message(&private("01")), sending_user: alice() }.encode(),
        GroupInfoRequest::new(group_info_tbs(None), vec![1]).encode(),
        grant.encode(),
        identifier::found().encode(),
        franking::report().encode(),
    ];
    out.extend(fanned_out().into_iter().map(|(wire, _)| wire));
    out
}
