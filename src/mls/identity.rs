//! From credential to user, and what our leaves can do (draft-ietf-mimi-protocol-06 section 3).

use openmls::prelude::{
    BasicCredential, Capabilities, Ciphersuite, Credential, CredentialType, CredentialWithKey, ExtensionType, Lifetime,
    MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY, ProposalType, SenderRatchetConfiguration,
};
use openmls_basic_credential::SignatureKeyPair;

use super::MlsError;
use crate::{
    ident::{ClientUri, MimiUri, UriKind, UserUri},
    wire,
};

/// The cipher suite of every group: `MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519`.
pub const CIPHER_SUITE: u16 = 1;
pub(super) const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
/// The device part of our clients' URIs.
pub const DEVICE: &str = "gateway";
/// Past epochs whose late messages can still be read.
pub const PAST_EPOCHS: usize = 5;
/// How long our leaves and KeyPackages live, in seconds: twelve weeks.
pub const LIFETIME_SECONDS: u64 = 60 * 60 * 24 * 7 * 12;
/// How far a peer's clock may be behind, in seconds.
const CLOCK_MARGIN_SECONDS: u64 = 60 * 60;
/// Plaintexts are padded to a multiple of this many bytes.
const PADDING: usize = 32;
/// Messages of one sender that may arrive late, and that may be missing, within an epoch.
const RATCHET: (u32, u32) = (32, 4_000);

/// The user that an identity speaks for: `mimi://p/d/<user>/<device>` and `mimi://p/u/<user>` both name the user.
pub fn user_of(identity: &[u8]) -> Result<(MimiUri, UserUri), MlsError> {
    let uri = MimiUri::from_bytes(identity)?;
    let user = match uri.kind() {
        UriKind::Client => ClientUri::try_from(uri.clone())?.user()?,
        UriKind::User => UserUri::try_from(uri.clone())?,
        _ => return Err(MlsError::Credential("the identity is neither a client nor a user".into())),
    };
    Ok((uri, user))
}

/// The same from a credential, which has to be basic.
pub(super) fn user_of_credential(credential: &Credential) -> Result<(MimiUri, UserUri), MlsError> {
    if credential.credential_type() != CredentialType::Basic {
        return Err(MlsError::Credential("only basic credentials are supported".into()));
    }
    let basic = BasicCredential::try_from(credential.clone())
        .map_err(|_| MlsError::Credential("the basic credential does not decode".into()))?;
    user_of(basic.identity())
}

pub(super) fn credential_for(user: &UserUri, pair: &SignatureKeyPair) -> Result<CredentialWithKey, MlsError> {
    let client = user.client(DEVICE)?;
    Ok(CredentialWithKey {
        credential: BasicCredential::new(client.as_str().as_bytes().to_vec()).into(),
        signature_key: pair.public().into(),
    })
}

pub(super) fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        Some(&[SUITE]),
        Some(&[ExtensionType::AppDataDictionary]),
        Some(&[ProposalType::AppDataUpdate, ProposalType::SelfRemove]),
        Some(&[CredentialType::Basic]),
    )
}

pub(super) fn lifetime(now_ms: u64) -> Lifetime {
    let now = now_ms / 1000;
    Lifetime::init(now.saturating_sub(CLOCK_MARGIN_SECONDS), now.saturating_add(LIFETIME_SECONDS))
}

pub(super) fn check_lifetime(lifetime: &Lifetime, now_ms: u64) -> Result<(), MlsError> {
    let now = now_ms / 1000;
    if lifetime.not_before() > now || lifetime.not_after() <= now { Err(MlsError::Expired) } else { Ok(()) }
}

pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(PAST_EPOCHS)
        .use_ratchet_tree_extension(false)
        .padding_size(PADDING)
        .sender_ratchet_configuration(ratchet())
        .build()
}

pub(super) fn ratchet() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(RATCHET.0, RATCHET.1)
}

pub(super) const fn padding() -> usize {
    PADDING
}

/// Extension types that every client knows (RFC 9420 section 17.3): nobody lists them.
const DEFAULT_EXTENSIONS: std::ops::RangeInclusive<u16> = 1..=5;
/// Proposal types that every client knows (RFC 9420 section 17.4).
const DEFAULT_PROPOSALS: std::ops::RangeInclusive<u16> = 1..=7;

/// What our clients can do, as code points.
#[must_use]
pub fn our_capabilities() -> wire::Capabilities {
    let ours = capabilities();
    wire::Capabilities {
        // mls10.
        versions: vec![1],
        cipher_suites: vec![CIPHER_SUITE],
        extensions: ours.extensions().iter().map(|kind| u16::from(*kind)).collect(),
        proposals: ours.proposals().iter().map(|kind| u16::from(*kind)).collect(),
        credentials: ours.credentials().iter().map(|kind| u16::from(*kind)).collect(),
    }
}

/// What our groups require of every client.
#[must_use]
pub fn required_capabilities() -> wire::RequiredCapabilities {
    let ours = our_capabilities();
    wire::RequiredCapabilities { extensions: ours.extensions, proposals: ours.proposals, credentials: ours.credentials }
}

/// Whether our clients can do what somebody requires of them.
#[must_use]
pub fn meets(required: &wire::RequiredCapabilities) -> bool {
    let ours = our_capabilities();
    required.extensions.iter().all(|kind| DEFAULT_EXTENSIONS.contains(kind) || ours.extensions.contains(kind))
        && required.proposals.iter().all(|kind| DEFAULT_PROPOSALS.contains(kind) || ours.proposals.contains(kind))
        && required.credentials.iter().all(|kind| ours.credentials.contains(kind))
}
