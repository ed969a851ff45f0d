//! References by hash (RFC 9420 section 5.2): how a Welcome names a KeyPackage, and a commit a proposal.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::message::{HEADER_LEN, MlsMessage, MlsMessageFields, RawKeyPackage, Sender};
use crate::wire::{
    codec::{Reader, Writer},
    limits::{GROUP_ID, KEY_OR_TAG, MLS_OBJECT},
};

fn input(label: &str, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.opaque(label.as_bytes());
    writer.opaque(value);
    writer.into_bytes()
}

/// `KeyPackageRef` of a KeyPackage of this cipher suite; `None` if the suite's hash is not known.
pub(super) fn key_package(cipher_suite: u16, bytes: &[u8]) -> Option<Vec<u8>> {
    let input = input("MLS 1.0 KeyPackage Reference", bytes);
    match cipher_suite {
        1..=3 => Some(Sha256::digest(input).to_vec()),
        4..=6 => Some(Sha512::digest(input).to_vec()),
        7 => Some(Sha384::digest(input).to_vec()),
        _ => None,
    }
}

/// `ProposalRef` of a PublicMessage with a proposal, in a group whose cipher suite has SHA-256.
pub(super) fn proposal(fields: &MlsMessageFields, bytes: &[u8]) -> Option<Vec<u8>> {
    let MlsMessageFields::Public(public) = fields else { return None };
    if public.content_type != super::ContentType::Proposal {
        return None;
    }
    // AuthenticatedContent: wire format, content, signature; without version and membership tag.
    let tag = if matches!(public.sender, Sender::Member(_)) { membership_tag_len(bytes)? } else { 0 };
    let content = bytes.get(2..bytes.len().checked_sub(tag)?)?;
    Some(Sha256::digest(input("MLS 1.0 Proposal Reference", content)).to_vec())
}

/// How many bytes the membership tag of a member's proposal takes at the end of the message, its length included.
fn membership_tag_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes.get(HEADER_LEN..)?);
    reader.opaque("group_id", GROUP_ID).ok()?;
    reader.u64("epoch").ok()?;
    reader.u8("sender_type").ok()?;
    reader.u32("leaf_index").ok()?;
    reader.opaque("authenticated_data", MLS_OBJECT).ok()?;
    reader.u8("content_type").ok()?;
    super::walk::proposal(&mut reader).ok()?;
    reader.opaque("signature", KEY_OR_TAG).ok()?;
    let start = reader.offset();
    reader.opaque("membership_tag", KEY_OR_TAG).ok()?;
    reader.offset().checked_sub(start)
}

impl RawKeyPackage {
    /// How a Welcome names it; `None` if the hash of its cipher suite is not known.
    #[must_use]
    pub fn reference(&self) -> Option<Vec<u8>> {
        key_package(self.fields().cipher_suite, self.as_bytes())
    }
}

impl MlsMessage {
    /// How a commit names it, if it is a proposal in the clear and the group's cipher suite has SHA-256 (1 to 3).
    #[must_use]
    pub fn proposal_reference(&self) -> Option<Vec<u8>> {
        proposal(self.fields(), self.as_bytes())
    }
}
