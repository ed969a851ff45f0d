//! Finds the end of RFC 9420 structures (sections 6, 7, 10, 11, 12), and of the proposals of draft-ietf-mls-extensions.
//!
//! Nothing is recursive, so nesting cannot exhaust the stack. A proposal type that is not listed is refused: its end
//! cannot be known.

use serde::{Deserialize, Serialize};

use super::{
    credential::{Capabilities, Credential},
    message::{ContentType, GroupInfoFields, KeyPackageFields, PrivateFields, PublicFields, Sender, WelcomeFields},
};
use crate::wire::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer},
    limits::{EXTENSIONS, GROUP_ID, KEY_OR_TAG, MLS_OBJECT, NEW_MEMBERS, PROPOSALS},
};

type Walk<T = ()> = Result<T, DecodeError>;

/// An MLS extension with its data unread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Its type.
    pub extension_type: u16,
    /// Its data.
    #[serde(rename = "extension_data", with = "crate::wire::json::hex_bytes")]
    pub data: Vec<u8>,
}

impl Wire for Extension {
    fn read(reader: &mut Reader<'_>) -> Walk<Self> {
        Ok(Self {
            extension_type: reader.u16("extension_type")?,
            data: reader.opaque("extension_data", MLS_OBJECT)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.u16(self.extension_type);
        writer.opaque(&self.data);
    }
}

fn skip_opaque(r: &mut Reader<'_>, field: &'static str, limit: usize) -> Walk {
    r.opaque(field, limit).map(drop)
}

fn extensions(r: &mut Reader<'_>) -> Walk {
    r.each("extensions", MLS_OBJECT, EXTENSIONS, |r| {
        r.u16("extension_type")?;
        skip_opaque(r, "extension_data", MLS_OBJECT)
    })
    .map(drop)
}

fn version(r: &mut Reader<'_>) -> Walk {
    let at = r.clone();
    match r.u16("version")? {
        1 => Ok(()),
        other => Err(at.error("version", DecodeErrorKind::Unknown(other.into()))),
    }
}

fn unknown<T>(at: &Reader<'_>, field: &'static str, value: impl Into<u64>) -> Walk<T> {
    Err(at.error(field, DecodeErrorKind::Unknown(value.into())))
}

/// What a leaf says about its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its signature public key.
    pub signature_key: Vec<u8>,
    /// Its credential.
    pub credential: Credential,
    /// First and last second since the UNIX epoch, if it is a KeyPackage's.
    pub lifetime: Option<(u64, u64)>,
}

pub(super) fn leaf_node(r: &mut Reader<'_>) -> Walk<Leaf> {
    skip_opaque(r, "encryption_key", KEY_OR_TAG)?;
    let signature_key = r.opaque("signature_key", KEY_OR_TAG)?.to_vec();
    let credential = Credential::read(r)?;
    Capabilities::read(r)?;
    let at = r.clone();
    let lifetime = match r.u8("leaf_node_source")? {
        1 => Some((r.u64("not_before")?, r.u64("not_after")?)),
        2 => None,
        3 => {
            skip_opaque(r, "parent_hash", KEY_OR_TAG)?;
            None
        }
        other => return unknown(&at, "leaf_node_source", other),
    };
    extensions(r)?;
    skip_opaque(r, "signature", KEY_OR_TAG)?;
    Ok(Leaf { signature_key, credential, lifetime })
}

pub(super) fn key_package(r: &mut Reader<'_>) -> Walk<KeyPackageFields> {
    version(r)?;
    let cipher_suite = r.u16("cipher_suite")?;
    skip_opaque(r, "init_key", KEY_OR_TAG)?;
    let at = r.clone();
    let leaf = leaf_node(r)?;
    let Some((not_before, not_after)) = leaf.lifetime else {
        let why = DecodeErrorKind::NotAllowed("the leaf of a KeyPackage must have the source key_package");
        return Err(at.error("leaf_node_source", why));
    };
    extensions(r)?;
    skip_opaque(r, "signature", KEY_OR_TAG)?;
    Ok(KeyPackageFields {
        cipher_suite,
        signature_key: leaf.signature_key,
        credential: leaf.credential,
        not_before,
        not_after,
    })
}

pub(super) fn tree_node(r: &mut Reader<'_>) -> Walk {
    let at = r.clone();
    match r.u8("node_type")? {
        1 => leaf_node(r).map(drop),
        2 => {
            skip_opaque(r, "encryption_key", KEY_OR_TAG)?;
            skip_opaque(r, "parent_hash", KEY_OR_TAG)?;
            r.each("unmerged_leaves", MLS_OBJECT, MLS_OBJECT, |r| r.u32("unmerged_leaves").map(drop)).map(drop)
        }
        other => unknown(&at, "node_type", other),
    }
}

pub(super) fn group_info(r: &mut Reader<'_>) -> Walk<GroupInfoFields> {
    version(r)?;
    let cipher_suite = r.u16("cipher_suite")?;
    let group_id = r.opaque("group_id", GROUP_ID)?.to_vec();
    let epoch = r.u64("epoch")?;
    skip_opaque(r, "tree_hash", KEY_OR_TAG)?;
    skip_opaque(r, "confirmed_transcript_hash", KEY_OR_TAG)?;
    extensions(r)?;
    extensions(r)?;
    skip_opaque(r, "confirmation_tag", KEY_OR_TAG)?;
    let signer = r.u32("signer")?;
    skip_opaque(r, "signature", KEY_OR_TAG)?;
    Ok(GroupInfoFields { cipher_suite, group_id, epoch, signer })
}

fn hpke_ciphertext(r: &mut Reader<'_>) -> Walk {
    skip_opaque(r, "kem_output", KEY_OR_TAG)?;
    skip_opaque(r, "ciphertext", MLS_OBJECT)
}

pub(super) fn welcome(r: &mut Reader<'_>) -> Walk<WelcomeFields> {
    let cipher_suite = r.u16("cipher_suite")?;
    let new_members = r.list("secrets", MLS_OBJECT, NEW_MEMBERS, |r| {
        let reference = r.opaque("new_member", KEY_OR_TAG)?.to_vec();
        hpke_ciphertext(r)?;
        Ok(reference)
    })?;
    skip_opaque(r, "encrypted_group_info", MLS_OBJECT)?;
    Ok(WelcomeFields { cipher_suite, new_members })
}

fn pre_shared_key_id(r: &mut Reader<'_>) -> Walk {
    let at = r.clone();
    match r.u8("psktype")? {
        1 => skip_opaque(r, "psk_id", KEY_OR_TAG)?,
        2 => {
            let usage_at = r.clone();
            let usage = r.u8("usage")?;
            if !(1..=3).contains(&usage) {
                return unknown(&usage_at, "usage", usage);
            }
            skip_opaque(r, "psk_group_id", GROUP_ID)?;
            r.u64("psk_epoch")?;
        }
        3 => {
            r.u16("component_id")?;
            skip_opaque(r, "psk_id", KEY_OR_TAG)?;
        }
        other => return unknown(&at, "psktype", other),
    }
    skip_opaque(r, "psk_nonce", KEY_OR_TAG)
}

pub(super) fn proposal(r: &mut Reader<'_>) -> Walk {
    let at = r.clone();
    match r.u16("proposal_type")? {
        0x0001 => key_package(r).map(drop),
        0x0002 => leaf_node(r).map(drop),
        0x0003 => r.u32("removed").map(drop),
        0x0004 => pre_shared_key_id(r),
        0x0005 => {
            skip_opaque(r, "group_id", GROUP_ID)?;
            r.u16("version")?;
            r.u16("cipher_suite")?;
            extensions(r)
        }
        0x0006 => skip_opaque(r, "kem_output", KEY_OR_TAG),
        0x0007 => extensions(r),
        // app_data_update
        0x0008 => {
            r.u16("component_id")?;
            let op_at = r.clone();
            match r.u8("op")? {
                1 => skip_opaque(r, "update", MLS_OBJECT),
                2 => Ok(()),
                other => unknown(&op_at, "op", other),
            }
        }
        // app_ephemeral
        0x0009 => {
            r.u16("component_id")?;
            skip_opaque(r, "data", MLS_OBJECT)
        }
        // self_remove
        0x000a => Ok(()),
        other => unknown(&at, "proposal_type", other),
    }
}

fn commit(r: &mut Reader<'_>) -> Walk {
    r.each("proposals", MLS_OBJECT, PROPOSALS, |r| {
        let at = r.clone();
        match r.u8("proposal_or_ref")? {
            1 => proposal(r),
            2 => skip_opaque(r, "reference", KEY_OR_TAG),
            other => unknown(&at, "proposal_or_ref", other),
        }
    })?;
    r.optional("path", |r| {
        leaf_node(r)?;
        r.each("nodes", MLS_OBJECT, PROPOSALS, |r| {
            skip_opaque(r, "encryption_key", KEY_OR_TAG)?;
            r.each("encrypted_path_secret", MLS_OBJECT, MLS_OBJECT, hpke_ciphertext).map(drop)
        })
    })
    .map(drop)
}

pub(super) fn sender(r: &mut Reader<'_>) -> Walk<Sender> {
    let at = r.clone();
    match r.u8("sender_type")? {
        1 => Ok(Sender::Member(r.u32("leaf_index")?)),
        2 => Ok(Sender::External(r.u32("sender_index")?)),
        3 => Ok(Sender::NewMemberProposal),
        4 => Ok(Sender::NewMemberCommit),
        other => unknown(&at, "sender_type", other),
    }
}

pub(super) fn public_message(r: &mut Reader<'_>) -> Walk<PublicFields> {
    let group_id = r.opaque("group_id", GROUP_ID)?.to_vec();
    let epoch = r.u64("epoch")?;
    let sender = sender(r)?;
    let authenticated_data = r.opaque("authenticated_data", MLS_OBJECT)?.to_vec();
    let at = r.clone();
    let content_type = ContentType::read(r)?;
    match content_type {
        ContentType::Application => {
            let why = DecodeErrorKind::NotAllowed("application data must not travel as PublicMessage");
            return Err(at.error("content_type", why));
        }
        ContentType::Proposal => proposal(r)?,
        ContentType::Commit => commit(r)?,
    }
    skip_opaque(r, "signature", KEY_OR_TAG)?;
    if content_type == ContentType::Commit {
        skip_opaque(r, "confirmation_tag", KEY_OR_TAG)?;
    }
    if matches!(sender, Sender::Member(_)) {
        skip_opaque(r, "membership_tag", KEY_OR_TAG)?;
    }
    Ok(PublicFields { group_id, epoch, sender, authenticated_data, content_type })
}

pub(super) fn private_message(r: &mut Reader<'_>) -> Walk<PrivateFields> {
    let group_id = r.opaque("group_id", GROUP_ID)?.to_vec();
    let epoch = r.u64("epoch")?;
    let content_type = ContentType::read(r)?;
    let authenticated_data = r.opaque("authenticated_data", MLS_OBJECT)?.to_vec();
    skip_opaque(r, "encrypted_sender_data", KEY_OR_TAG)?;
    skip_opaque(r, "ciphertext", MLS_OBJECT)?;
    Ok(PrivateFields { group_id, epoch, content_type, authenticated_data })
}
