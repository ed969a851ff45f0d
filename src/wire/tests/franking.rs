//! Franking, SafeAAD, abuse reports and framing, byte for byte. The HMACs were computed with another implementation
//! (Python's `hmac`).

use super::{super::franking::FRANK_AAD, pieces::*, *};

const TAG: &str = "734f3053bc80662e80daaa951b3a5a845ab4e1eda0305ad110f27603b6b4b08c";
const FRANK: &str = "c9bbbd743e35f0aeb8906e19ca8bb0d37d538f4f670cdab19f51f1a357bcfc43";

fn tag() -> FrankingTag {
    FrankingTag(hex::decode(TAG).unwrap().try_into().unwrap())
}

fn context() -> ServerFrankingContext {
    ServerFrankingContext { sender_uri: alice(), room_uri: club(), accepted_timestamp: 1_700_000_000_000 }
}

const SALT: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn the_tag_is_a_mac_of_the_application_data() {
    assert_eq!(FrankingTag::of(&SALT, b"application data"), tag());
    assert!(tag().fits(&SALT, b"application data"));
    assert!(!tag().fits(&SALT, b"application dat"));
    assert!(!tag().fits(&[0; 16], b"application data"));
    check(&[(TAG, "franking_tag, 32 bytes without length")], &tag());
}

#[test]
fn the_server_frank_is_a_mac_of_tag_and_context() {
    check(
        &[
            ("18", "sender_uri, 24 bytes"),
            ("'mimi://a.example/u/alice", "sender_uri"),
            ("17", "room_uri, 23 bytes"),
            ("'mimi://a.example/r/club", "room_uri"),
            ("0000018bcfe56800", "accepted_timestamp"),
        ],
        &context(),
    );
    let key = [0x6b; 32];
    let frank = context().server_frank(&key, &tag());
    assert_eq!(hex::encode(frank), FRANK);
    assert!(context().is_of(&key, &tag(), &frank));
    let other = ServerFrankingContext { accepted_timestamp: 1_700_000_000_001, ..context() };
    assert!(!other.is_of(&key, &tag(), &frank));
    assert!(!context().is_of(&[0; 32], &tag(), &frank));
    assert!(!context().is_of(&key, &FrankingTag([0; 32]), &frank));
}

#[test]
fn what_the_hub_signs() {
    let frank = Frank { server_frank: [7; 32], signature_ciphersuite: 1, integrity_signature: vec![0x51] };
    let stamped = "07".repeat(32);
    check(
        &[
            (&stamped, "server_frank, 32 bytes without length"),
            ("0001", "franking_signature_ciphersuite"),
            ("18", "sender_uri, 24 bytes"),
            ("'mimi://a.example/u/alice", "sender_uri"),
            ("17", "room_uri, 23 bytes"),
            ("'mimi://a.example/r/club", "room_uri"),
            ("0000018bcfe56800", "accepted_timestamp"),
        ],
        &frank.tbs(context()),
    );
    assert_eq!(FrankingIntegrityTbs::LABEL, "FrankingIntegrityTBS");
    check(
        &[("01 51", "franking_signature_key"), ("0001", "credential_type basic"), ("03 687562", "identity")],
        &FrankingAgent { franking_signature_key: vec![0x51], credential: basic("hub") },
    );
}

#[test]
fn safe_aad_carries_tag_and_message_id() {
    let id = "01".repeat(32);
    let dump = [
        ("4046", "aad_items, 70 bytes"),
        ("0020", "component_id frank_aad"),
        ("20", "aad_item_data, 32 bytes"),
        (TAG, "franking_tag"),
        ("0040", "component_id message_id"),
        ("20", "aad_item_data, 32 bytes"),
        (&id, "message id"),
    ];
    let aad = SafeAad::new(Some(tag()), Some([1; 32]));
    check(&dump, &aad);
    assert_eq!((aad.franking_tag(), aad.message_id()), (Ok(Some(tag())), Ok(Some([1; 32]))));
    check(&[("00", "aad_items")], &SafeAad::default());
    assert_eq!((SafeAad::default().franking_tag(), SafeAad::default().message_id()), (Ok(None), Ok(None)));
    let short = SafeAad([(FRANK_AAD, vec![0; 31]), (MESSAGE_ID, vec![0; 33])].into());
    assert_eq!(short.franking_tag().unwrap_err().kind, DecodeErrorKind::Truncated);
    assert_eq!(short.message_id().unwrap_err().kind, DecodeErrorKind::Trailing(1));
    let tail = [&aad.encode()[..], b"tail"].concat();
    assert_eq!(SafeAad::decode_front(&tail), Ok((aad, &b"tail"[..])));
    let unsorted = bytes(&[("08", "aad_items"), ("0040 01 00", "item"), ("0020 01 00", "item")]);
    assert_eq!(SafeAad::decode(&unsorted).unwrap_err().path(), "aad_items[1].component_id");
}

#[test]
fn a_message_tells_its_authenticated_data() {
    let aad = SafeAad::new(Some(tag()), None);
    let data = aad.encode();
    let head = bytes(&private("01"));
    // Everything up to the content type, the data instead of the sample's, and the rest.
    let message = [&head[..16], &[u8::try_from(data.len()).unwrap()], &data, &head[20..]].concat();
    let message = MlsMessage::from_bytes(message).unwrap();
    let MlsMessageFields::Private(fields) = message.fields() else { panic!() };
    assert_eq!(SafeAad::decode(&fields.authenticated_data).unwrap().franking_tag(), Ok(Some(tag())));
}

pub(super) fn report() -> AbuseReport {
    let frank = Frank { server_frank: [7; 32], signature_ciphersuite: 1, integrity_signature: vec![0x51] };
    let message = AbusiveMessage { message_content: vec![0x80, 0x81], frank, accepted_timestamp: 1_700_000_000_000 };
    AbuseReport {
        reporting_user: Some(alice()),
        alleged_abuser: bob(),
        reason: AbuseType::Reserved,
        note: "spam".into(),
        messages: vec![message],
        extensions: AppDataDictionary::default(),
    }
}

#[test]
fn abuse_reports() {
    let stamped = "07".repeat(32);
    let dump = [
        ("18", "reportingUser, 24 bytes"),
        ("'mimi://a.example/u/alice", "reportingUser"),
        ("16", "allegedAbuserUri, 22 bytes"),
        ("'mimi://b.example/u/bob", "allegedAbuserUri"),
        ("00", "reasonCode reserved"),
        ("04", "note, 4 bytes"),
        ("'spam", "note"),
        ("2f", "messages, 47 bytes"),
        ("02 8081", "message_content"),
        (&stamped, "server_frank"),
        ("0001", "franking_signature_ciphersuite"),
        ("01 51", "franking_integrity_signature"),
        ("0000018bcfe56800", "accepted_timestamp"),
        ("00", "abuse_extensions"),
    ];
    let report = report();
    check(&dump, &report);
    let head = [("00", "reportingUser: nobody"), ("16", "allegedAbuserUri"), ("'mimi://b.example/u/bob", "URI")];
    check(
        &join(&[&head, &[("00", "reasonCode"), ("00", "note"), ("00", "messages"), ("00", "abuse_extensions")]]),
        &AbuseReport { reporting_user: None, note: String::new(), messages: vec![], ..report },
    );
    let reason = join(&[&head, &[("01", "reasonCode"), ("00", "note"), ("00", "messages"), ("00", "extensions")]]);
    assert_eq!(AbuseReport::decode(&bytes(&reason)).unwrap_err().field, "reasonCode");
    let nobody = [("00", "reportingUser"), ("00", "allegedAbuserUri"), ("00 00 00 00", "the rest")];
    assert_eq!(AbuseReport::decode(&bytes(&nobody)).unwrap_err().field, "allegedAbuserUri");
}

#[test]
fn framed_application_data() {
    let markdown = MediaType {
        essence: "text/markdown".into(),
        parameters: vec![MediaTypeParameter { name: "variant".into(), value: "GFM".into() }],
    };
    let dump = [
        ("0d", "type, 13 bytes"),
        ("'text/markdown", "type"),
        ("0c", "parameters, 12 bytes"),
        ("07", "parameter_name, 7 bytes"),
        ("'variant", "parameter_name"),
        ("03", "parameter_value, 3 bytes"),
        ("'GFM", "parameter_value"),
        ("02 c0c1", "inner_application_content"),
    ];
    check(&dump, &ApplicationFraming { media_type: markdown.clone(), content: vec![0xc0, 0xc1] });
    check(
        &[("00", "type: the group's first"), ("00", "parameters"), ("00", "inner_application_content")],
        &ApplicationFraming { media_type: MediaType::default(), content: vec![] },
    );
    check(&join(&[&[("1b", "media_type_list, 27 bytes")], &dump[..7]]), &MediaTypeList { media_types: vec![markdown] });
    MediaTypeList::decode(&[0]).unwrap_err();
}

#[test]
fn pseudonymous_credentials() {
    let uri = |text: &str| crate::ident::MimiUri::parse(text).unwrap();
    let tbs = PseudonymousCredentialTbs {
        client_pseudonym: uri("mimi://a.example/d/1"),
        user_pseudonym: uri("mimi://a.example/p/2"),
        signature_public_key: vec![0x51],
    };
    let dump = [
        ("14", "client_pseudonym, 20 bytes"),
        ("'mimi://a.example/d/1", "client_pseudonym"),
        ("14", "user_pseudonym, 20 bytes"),
        ("'mimi://a.example/p/2", "user_pseudonym"),
        ("01 51", "signature_public_key"),
        ("02 6363", "identity_link_ciphertext"),
    ];
    check(&dump[..5], &tbs);
    check(&dump, &PseudonymousCredential { tbs, identity_link_ciphertext: vec![0x63, 0x63] });
    check(
        &[("01 51", "pseudonymous_credential_signature"), ("0001", "credential_type"), ("03 626f62", "identity")],
        &IdentityLink { pseudonymous_credential_signature: vec![0x51], client_credential: basic("bob") },
    );
}

#[test]
fn a_consent_scope_is_part_of_its_entry() {
    let entry = ConsentEntry {
        action: ConsentAction::Revoke,
        requester: alice(),
        target: bob(),
        room: None,
        extensions: AppDataDictionary::default(),
    };
    check(
        &[
            ("18", "requesterUri, 24 bytes"),
            ("'mimi://a.example/u/alice", "requesterUri"),
            ("16", "targetUri, 22 bytes"),
            ("'mimi://b.example/u/bob", "targetUri"),
            ("00", "roomId absent: any room"),
        ],
        &entry.scope(),
    );
}
