//! Annotated MLS objects, small but whole, that the other tests put into MIMI structures.

use super::super::mls::*;
use super::bytes;
use crate::ident::{RoomUri, UserUri};

pub(in crate::wire) type Dump = Vec<(&'static str, &'static str)>;

pub(in crate::wire) fn alice() -> UserUri {
    UserUri::parse("mimi://a.example/u/alice").unwrap()
}

pub(in crate::wire) fn bob() -> UserUri {
    UserUri::parse("mimi://b.example/u/bob").unwrap()
}

pub(in crate::wire) fn club() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}

pub(in crate::wire) fn basic(identity: &str) -> Credential {
    Credential::Basic { identity: identity.into() }
}

pub(in crate::wire) fn join(dumps: &[&[(&'static str, &'static str)]]) -> Dump {
    dumps.concat()
}

/// A leaf node up to and without its source.
pub(in crate::wire) fn leaf_head() -> Dump {
    vec![
        ("02 e1e2", "encryption_key"),
        ("02 51 52", "signature_key"),
        ("0001", "credential_type basic"),
        ("03", "identity, 3 bytes"),
        ("'bob", "identity"),
        ("02 0001", "versions: mls10"),
        ("02 0001", "cipher_suites"),
        ("04 0006 000a", "extensions"),
        ("04 0008 0a0a", "proposals: app_data_update, a GREASE value"),
        ("02 0001", "credentials"),
    ]
}

/// A leaf node of the source commit.
pub(in crate::wire) fn leaf_commit() -> Dump {
    join(&[
        &leaf_head(),
        &[
            ("03", "leaf_node_source commit"),
            ("02 aaaa", "parent_hash"),
            ("05 0006 02 0000", "extensions: type 6, 2 bytes"),
            ("03 515151", "signature"),
        ],
    ])
}

/// A leaf node of the source update.
pub(in crate::wire) fn leaf_update() -> Dump {
    join(&[&leaf_head(), &[("02", "leaf_node_source update"), ("00", "extensions"), ("01 51", "signature")]])
}

pub(in crate::wire) fn key_package() -> Dump {
    join(&[
        &[("0001", "version mls10"), ("0001", "cipher_suite"), ("02 1111", "init_key")],
        &leaf_head(),
        &[
            ("01", "leaf_node_source key_package"),
            ("0000000000000010", "not_before"),
            ("0000000000000020", "not_after"),
            ("00", "extensions"),
            ("01 51", "signature of the leaf"),
            ("04 000a 01 00", "extensions: type 10, 1 byte"),
            ("02 5151", "signature"),
        ],
    ])
}

pub(in crate::wire) fn raw_key_package() -> RawKeyPackage {
    RawKeyPackage::from_bytes(bytes(&key_package())).unwrap()
}

pub(in crate::wire) fn group_info() -> Dump {
    vec![
        ("0001", "version mls10"),
        ("0001", "cipher_suite"),
        ("02 6769", "group_id"),
        ("0000000000000007", "epoch"),
        ("01 aa", "tree_hash"),
        ("01 bb", "confirmed_transcript_hash"),
        ("00", "GroupContext extensions"),
        ("05 0004 02 cccc", "GroupInfo extensions: external_pub"),
        ("02 dddd", "confirmation_tag"),
        ("00000003", "signer"),
        ("02 5151", "signature"),
    ]
}

pub(in crate::wire) fn raw_group_info() -> RawGroupInfo {
    RawGroupInfo::from_bytes(bytes(&group_info())).unwrap()
}

pub(in crate::wire) fn welcome() -> Dump {
    vec![
        ("0001", "cipher_suite"),
        ("10", "secrets, 16 bytes"),
        ("02 0102", "new_member"),
        ("02 0303", "kem_output"),
        ("01 04", "ciphertext"),
        ("02 0506", "new_member"),
        ("01 07", "kem_output"),
        ("02 0808", "ciphertext"),
        ("03 090909", "encrypted_group_info"),
    ]
}

pub(in crate::wire) fn raw_welcome() -> RawWelcome {
    RawWelcome::from_bytes(bytes(&welcome())).unwrap()
}

pub(in crate::wire) fn tree() -> Dump {
    join(&[
        &[("4060", "ratchet_tree, 96 bytes"), ("01 01", "node 0: present, a leaf")],
        &leaf_commit(),
        &[
            ("01 02", "node 1: present, a parent"),
            ("02 e3e3", "encryption_key"),
            ("00", "parent_hash"),
            ("04 00000001", "unmerged_leaves"),
            ("00", "node 2: blank"),
            ("01 01", "node 3: present, a leaf"),
        ],
        &leaf_update(),
    ])
}

pub(in crate::wire) fn raw_tree() -> RawRatchetTree {
    RawRatchetTree::from_bytes(bytes(&tree())).unwrap()
}

/// A PublicMessage of the member at leaf 2, up to its content.
pub(in crate::wire) fn public_head(content_type: &'static str) -> Dump {
    vec![
        ("0001", "version mls10"),
        ("0001", "wire_format mls_public_message"),
        ("02 6769", "group_id"),
        ("0000000000000007", "epoch"),
        ("01 00000002", "sender: member at leaf 2"),
        ("03 616164", "authenticated_data"),
        (content_type, "content_type"),
    ]
}

/// A proposal of a member, with these bytes as Proposal.
pub(in crate::wire) fn proposal_with(proposal: &[(&'static str, &'static str)]) -> Dump {
    join(&[&public_head("02"), proposal, &[("02 5151", "signature"), ("02 7474", "membership_tag")]])
}

/// A member's SelfRemove.
pub(in crate::wire) fn proposal() -> Dump {
    proposal_with(&[("000a", "proposal_type self_remove")])
}

/// A hub's Remove.
pub(in crate::wire) fn external_proposal() -> Dump {
    vec![
        ("0001", "version mls10"),
        ("0001", "wire_format mls_public_message"),
        ("02 6769", "group_id"),
        ("0000000000000007", "epoch"),
        ("02 00000000", "sender: external, 0"),
        ("00", "authenticated_data"),
        ("02", "content_type proposal"),
        ("0003", "proposal_type remove"),
        ("00000005", "removed"),
        ("02 5151", "signature"),
    ]
}

/// A member's commit without path: AppDataUpdate by value, another proposal by reference.
pub(in crate::wire) fn commit() -> Dump {
    join(&[
        &public_head("03"),
        &[
            ("0d", "proposals, 13 bytes"),
            ("01", "by value"),
            ("0008", "proposal_type app_data_update"),
            ("0022", "component_id participant_list"),
            ("01", "op update"),
            ("03 000102", "update"),
            ("02 01 ff", "by reference"),
            ("00", "path absent"),
            ("02 5151", "signature"),
            ("02 6363", "confirmation_tag"),
            ("02 7474", "membership_tag"),
        ],
    ])
}

/// An external commit with path.
pub(in crate::wire) fn external_commit() -> Dump {
    join(&[
        &[
            ("0001", "version mls10"),
            ("0001", "wire_format mls_public_message"),
            ("02 6769", "group_id"),
            ("0000000000000007", "epoch"),
            ("04", "sender: new_member_commit"),
            ("00", "authenticated_data"),
            ("03", "content_type commit"),
            ("06", "proposals, 6 bytes"),
            ("01", "by value"),
            ("0006", "proposal_type external_init"),
            ("02 4b4b", "kem_output"),
            ("01", "path present"),
        ],
        &leaf_commit(),
        &[
            ("0a", "nodes, 10 bytes"),
            ("02 e4e4", "encryption_key"),
            ("06", "encrypted_path_secret, 6 bytes"),
            ("02 0101", "kem_output"),
            ("02 0202", "ciphertext"),
            ("02 5151", "signature"),
            ("02 6363", "confirmation_tag"),
        ],
    ])
}

pub(in crate::wire) fn private(content_type: &'static str) -> Dump {
    vec![
        ("0001", "version mls10"),
        ("0002", "wire_format mls_private_message"),
        ("02 6769", "group_id"),
        ("0000000000000007", "epoch"),
        (content_type, "content_type"),
        ("03 616164", "authenticated_data"),
        ("02 7364", "encrypted_sender_data"),
        ("04 63636363", "ciphertext"),
    ]
}

pub(in crate::wire) fn message(dump: &[(&str, &str)]) -> MlsMessage {
    MlsMessage::from_bytes(bytes(dump)).unwrap()
}
