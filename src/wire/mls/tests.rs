//! MLS objects end where RFC 9420 says, and unknown ones are refused.

use serde_json::json;

use super::*;
use crate::wire::{
    codec::{DecodeErrorKind, Wire},
    tests::{bytes, exact, pieces::*},
};

#[test]
fn a_key_package_is_delimited() {
    let raw = raw_key_package();
    assert_eq!(raw.fields().credential, basic("bob"));
    assert_eq!(raw.fields().signature_key, [0x51, 0x52]);
    assert_eq!((raw.fields().cipher_suite, raw.fields().not_before, raw.fields().not_after), (1, 0x10, 0x20));
    exact::<RawKeyPackage>(raw.as_bytes());
    assert_eq!(MlsMessage::from(raw.clone()).into_key_package(), Some(raw));
}

#[test]
fn a_key_package_needs_a_leaf_made_for_it() {
    let head = [("0001", "version"), ("0001", "cipher_suite"), ("02 1111", "init_key")];
    let dump = join(&[&head, &leaf_update(), &[("00", "extensions"), ("00", "signature")]]);
    let error = RawKeyPackage::from_bytes(bytes(&dump)).unwrap_err();
    assert!(matches!(error.kind, DecodeErrorKind::NotAllowed(_)), "{error}");
}

#[test]
fn a_group_info_is_delimited() {
    let raw = raw_group_info();
    let fields = GroupInfoFields { cipher_suite: 1, group_id: b"gi".to_vec(), epoch: 7, signer: 3 };
    assert_eq!(raw.fields(), &fields);
    exact::<RawGroupInfo>(raw.as_bytes());
    let message = MlsMessage::from(raw.clone());
    assert_eq!((message.group_id(), message.epoch()), (Some(&b"gi"[..]), Some(7)));
    assert_eq!(MlsMessage::from_bytes(message.as_bytes().to_vec()).unwrap().into_group_info(), Some(raw));
}

#[test]
fn a_welcome_names_its_new_members() {
    let raw = raw_welcome();
    assert_eq!(raw.fields(), &WelcomeFields { cipher_suite: 1, new_members: vec![vec![1, 2], vec![5, 6]] });
    exact::<RawWelcome>(raw.as_bytes());
    let message = MlsMessage::from(raw.clone());
    assert_eq!((message.group_id(), message.epoch(), message.handshake()), (None, None, None));
    assert_eq!(message.as_bytes()[..4], [0, 1, 0, 3]);
    assert_eq!(MlsMessage::from_bytes(message.into_bytes()).unwrap().into_welcome(), Some(raw));
}

#[test]
fn a_ratchet_tree_counts_its_nodes() {
    let raw = raw_tree();
    assert_eq!(raw.fields().nodes, 4);
    exact::<RawRatchetTree>(raw.as_bytes());
    assert_eq!(RawRatchetTree::from_bytes(vec![0]).unwrap().fields().nodes, 0);
    let error = RawRatchetTree::from_bytes(vec![2, 1, 9]).unwrap_err();
    assert_eq!((error.field, error.offset, error.kind), ("node_type", 2, DecodeErrorKind::Unknown(9)));
}

#[test]
fn messages_say_what_routing_needs() {
    let commit = message(&commit());
    let MlsMessageFields::Public(fields) = commit.fields() else { panic!("{commit:?}") };
    assert_eq!((fields.sender, fields.epoch), (Sender::Member(2), 7));
    assert_eq!(commit.handshake(), Some(ContentType::Commit));
    let joining = message(&external_commit());
    assert!(matches!(joining.fields(), MlsMessageFields::Public(p) if p.sender == Sender::NewMemberCommit));
    let removal = message(&external_proposal());
    assert!(matches!(removal.fields(), MlsMessageFields::Public(p) if p.sender == Sender::External(0)));
    assert_eq!(removal.handshake(), Some(ContentType::Proposal));
    let application = message(&private("01"));
    assert!(application.is_application());
    assert_eq!((application.group_id(), application.handshake()), (Some(&b"gi"[..]), None));
    assert!(!message(&private("03")).is_application());
    for message in [commit, joining, removal, application] {
        exact::<MlsMessage>(message.as_bytes());
    }
}

#[test]
fn every_proposal_type_ends_where_it_should() {
    let add = join(&[&[("0001", "proposal_type add")], &key_package()]);
    let update = join(&[&[("0002", "proposal_type update")], &leaf_update()]);
    let dumps: Vec<Dump> = vec![
        add,
        update,
        vec![("0003", "remove"), ("00000009", "removed")],
        vec![("0004", "psk"), ("01", "external"), ("02 7070", "psk_id"), ("02 6e6e", "psk_nonce")],
        vec![
            ("0004", "psk"),
            ("02", "resumption"),
            ("02", "usage reinit"),
            ("02 6769", "psk_group_id"),
            ("0000000000000001", "psk_epoch"),
            ("02 6e6e", "psk_nonce"),
        ],
        vec![("0004", "psk"), ("03", "application"), ("8000", "component_id"), ("01 70", "psk_id"), ("01 6e", "nonce")],
        vec![("0005", "reinit"), ("02 6769", "group_id"), ("0001", "version"), ("0001", "suite"), ("00", "extensions")],
        vec![("0006", "external_init"), ("02 4b4b", "kem_output")],
        vec![("0007", "group_context_extensions"), ("05 0006 02 0000", "extensions")],
        vec![("0008", "app_data_update"), ("0023", "component_id"), ("01", "update"), ("02 0102", "update")],
        vec![("0008", "app_data_update"), ("0023", "component_id"), ("02", "remove")],
        vec![("0009", "app_ephemeral"), ("0005", "component_id"), ("02 0102", "data")],
        vec![("000a", "self_remove")],
    ];
    for dump in dumps {
        let message = message(&proposal_with(&dump));
        assert_eq!(message.handshake(), Some(ContentType::Proposal));
        exact::<MlsMessage>(message.as_bytes());
    }
}

/// What is told of a handshake in the clear.
fn told(message: &MlsMessage) -> serde_json::Value {
    serde_json::to_value(message).unwrap()
}

#[test]
fn every_proposal_is_told() {
    let add = join(&[&[("0001", "proposal_type add")], &key_package()]);
    let update = join(&[&[("0002", "proposal_type update")], &leaf_update()]);
    let reference = raw_key_package().reference().map(hex::encode);
    let dumps: Vec<(Dump, serde_json::Value)> = vec![
        (
            add,
            json!({"add": {
                "keyPackageRef": reference,
                "cipherSuite": 1,
                "signatureKey": "5152",
                "credential": {"basic": {"identity": {"text": "bob"}}},
                "notBefore": 16,
                "notAfter": 32,
            }}),
        ),
        (update, json!({"update": {"signatureKey": "5152", "credential": {"basic": {"identity": {"text": "bob"}}}}})),
        (vec![("0003", "remove"), ("00000009", "removed")], json!({"remove": {"leaf": 9}})),
        (
            vec![("0004", "psk"), ("01", "external"), ("02 7070", "psk_id"), ("02 6e6e", "psk_nonce")],
            json!("preSharedKey"),
        ),
        (
            vec![
                ("0005", "reinit"),
                ("02 6769", "group"),
                ("0001", "version"),
                ("0001", "suite"),
                ("00", "extensions"),
            ],
            json!({"reInit": {"groupId": "gi"}}),
        ),
        (vec![("0006", "external_init"), ("02 4b4b", "kem_output")], json!("externalInit")),
        (
            vec![("0007", "group_context_extensions"), ("05 0006 02 0000", "extensions")],
            json!({"groupContextExtensions": {"types": [6]}}),
        ),
        (
            vec![("0008", "app_data_update"), ("0023", "component_id"), ("01", "update"), ("02 0102", "update")],
            json!({"appDataUpdate": {"componentId": "0x0023", "update": "0102"}}),
        ),
        (
            vec![("0008", "app_data_update"), ("0023", "component_id"), ("02", "remove")],
            json!({"appDataUpdate": {"componentId": "0x0023", "update": null}}),
        ),
        (
            vec![("0009", "app_ephemeral"), ("0005", "component_id"), ("02 0102", "data")],
            json!({"appEphemeral": {"componentId": "0x0005", "data": "0102"}}),
        ),
        (vec![("000a", "self_remove")], json!("selfRemove")),
    ];
    for (dump, expected) in dumps {
        let told = told(&message(&proposal_with(&dump)));
        assert_eq!(told["proposal"], expected);
        assert!(told.get("proposals").is_none() && told.get("path").is_none(), "{told}");
    }
}

#[test]
fn a_commit_tells_what_it_takes_in() {
    let commit = message(&commit());
    let update = Proposal::AppDataUpdate { component: 0x0022, update: Some(vec![0, 1, 2]) };
    assert_eq!(commit.proposals(), [ProposalOrRef::Proposal(update), ProposalOrRef::Reference(vec![0xff])]);
    let value = told(&commit);
    assert_eq!(
        value["proposals"],
        json!([{"appDataUpdate": {"componentId": "0x0022", "update": "000102"}}, {"reference": "ff"}])
    );
    assert_eq!((value.get("path"), value.get("proposal")), (Some(&json!(null)), None));
    let joining = told(&message(&external_commit()));
    assert_eq!(joining["proposals"][0], json!("externalInit"));
    assert_eq!(joining["path"]["credential"], json!({"basic": {"identity": {"text": "bob"}}}));
    assert_eq!(message(&private("01")).proposals(), []);
}

fn refused(dump: &[(&'static str, &'static str)], field: &str, value: u64) {
    let error = MlsMessage::decode(&bytes(dump)).unwrap_err();
    assert_eq!((error.field, error.kind), (field, DecodeErrorKind::Unknown(value)));
}

#[test]
fn unknown_values_are_refused() {
    refused(&[("0002", "version")], "version", 2);
    refused(&[("0001", "version"), ("0006", "wire_format targeted")], "wire_format", 6);
    refused(&[("0001", "version"), ("fafe", "wire_format semiprivate")], "wire_format", 0xfafe);
    refused(&proposal_with(&[("0000", "reserved")]), "proposal_type", 0);
    refused(&proposal_with(&[("0a0a", "GREASE"), ("00", "")]), "proposal_type", 0x0a0a);
    refused(&proposal_with(&[("f7a0", "private"), ("00", "")]), "proposal_type", 0xf7a0);
    refused(&proposal_with(&[("0008 0022", "app_data_update"), ("03", "op")]), "op", 3);
    refused(&proposal_with(&[("0004", "psk"), ("04", "psktype")]), "psktype", 4);
    refused(&proposal_with(&[("0004", "psk"), ("02 04", "usage")]), "usage", 4);
    refused(&private("00"), "content_type", 0);
    refused(&private("04"), "content_type", 4);
    let mut sender = proposal();
    sender[4].0 = "05 00000002";
    refused(&sender, "sender_type", 5);
    let mut credential = join(&[&[("0002", "update")], &leaf_update()]);
    credential[3].0 = "f000";
    refused(&proposal_with(&credential), "credential_type", 0xf000);
}

#[test]
fn application_data_in_the_clear_is_refused() {
    let dump = join(&[&public_head("01"), &[("01 61", "application_data"), ("00", "signature"), ("00", "tag")]]);
    let error = MlsMessage::decode(&bytes(&dump)).unwrap_err();
    assert_eq!(error.field, "content_type");
}

#[test]
fn credentials_of_both_kinds() {
    let x509 = Credential::X509 { chain: vec![vec![0x30], vec![0x30, 0x31]] };
    crate::wire::tests::check(
        &[("0002", "credential_type x509"), ("05", "chain, 5 bytes"), ("01 30", "cert_data"), ("02 3031", "cert_data")],
        &x509,
    );
    let sender = ExternalSender { signature_key: vec![0x51], credential: basic("hub") };
    crate::wire::tests::check(
        &[
            ("01 51", "signature_key"),
            ("0001", "credential_type basic"),
            ("03", "identity, 3 bytes"),
            ("'hub", "identity"),
        ],
        &sender,
    );
}
