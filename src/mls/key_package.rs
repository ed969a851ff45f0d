//! KeyPackages: made on demand, checked on arrival (RFC 9420 section 10).

use openmls::prelude::{
    KeyPackage, KeyPackageIn, OpenMlsCrypto as _, ProtocolVersion,
    tls_codec::{Deserialize as _, Serialize as _},
};
use openmls_basic_credential::SignatureKeyPair;
use serde::{Deserialize, Serialize};

use super::{
    MlsError, components,
    identity::{SUITE, capabilities, check_lifetime, credential_for, lifetime, user_of_credential},
    overlay::{CRYPTO, Overlay},
};
use crate::ident::{MimiUri, UserUri};

/// A fresh KeyPackage of one of our users.
#[derive(Clone, PartialEq, Eq)]
pub struct MadeKeyPackage {
    /// The raw `KeyPackage` struct.
    pub bytes: Vec<u8>,
    /// Its `KeyPackageRef`.
    pub reference: Vec<u8>,
    /// The private part, opaque and secret. Has to be durable before `bytes` leave the process, and deleted after use
    /// or expiry.
    pub private: Vec<u8>,
    /// The last second of its lifetime, in seconds since the epoch.
    pub not_after: u64,
}

impl std::fmt::Debug for MadeKeyPackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeKeyPackage")
            .field("reference", &self.reference)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// A KeyPackage whose signatures, capabilities and lifetime are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackageView {
    /// Its `KeyPackageRef`.
    pub reference: Vec<u8>,
    /// The identity in the credential.
    pub client: MimiUri,
    /// The user whom the identity names.
    pub user: UserUri,
    /// The cipher suite.
    pub cipher_suite: u16,
    /// The signature key of the leaf.
    pub signature_key: Vec<u8>,
    /// The last second of its lifetime, in seconds since the epoch.
    pub not_after: u64,
}

/// The private part of a KeyPackage as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct PrivatePart {
    pub(super) user: UserUri,
    pub(super) reference: Vec<u8>,
    /// postcard of the [`SignatureKeyPair`].
    pub(super) signer: Vec<u8>,
    pub(super) public: Vec<u8>,
    /// OpenMLS' rows.
    pub(super) rows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PrivatePart {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, MlsError> {
        postcard::from_bytes(bytes).map_err(MlsError::storage)
    }
}

pub(super) fn new_signer() -> Result<SignatureKeyPair, MlsError> {
    SignatureKeyPair::new(SUITE.signature_algorithm()).map_err(MlsError::invalid)
}

/// Makes a KeyPackage for `user`, valid for twelve weeks from `now` (milliseconds since the epoch).
pub fn make_key_package(user: &UserUri, now: u64) -> Result<MadeKeyPackage, MlsError> {
    let pair = new_signer()?;
    let overlay = Overlay::new(super::Rows::new());
    let lifetime = lifetime(now);
    let bundle = KeyPackage::builder()
        .key_package_lifetime(lifetime)
        .leaf_node_capabilities(capabilities())
        .leaf_node_extensions(components::of_our_leaves()?)
        .build(SUITE, &overlay, &pair, credential_for(user, &pair)?)
        .map_err(MlsError::invalid)?;
    let key_package = bundle.key_package();
    let reference = key_package.hash_ref(&*CRYPTO).map_err(MlsError::invalid)?.as_slice().to_vec();
    let private = PrivatePart {
        user: user.clone(),
        reference: reference.clone(),
        signer: postcard::to_stdvec(&pair).map_err(MlsError::storage)?,
        public: pair.to_public_vec(),
        rows: overlay.rows().into_iter().collect(),
    };
    Ok(MadeKeyPackage {
        bytes: key_package.tls_serialize_detached().map_err(MlsError::malformed)?,
        reference,
        private: postcard::to_stdvec(&private).map_err(MlsError::storage)?,
        not_after: lifetime.not_after(),
    })
}

/// Reads a raw `KeyPackage` struct and validates it: signatures, cipher suite, credential, lifetime at `now`
/// (milliseconds since the epoch), and what our groups require of a leaf.
pub fn check_key_package(bytes: &[u8], now: u64) -> Result<KeyPackageView, MlsError> {
    parse(bytes, now).map(|(_, view)| view)
}

pub(super) fn parse(bytes: &[u8], now: u64) -> Result<(KeyPackage, KeyPackageView), MlsError> {
    let unverified = KeyPackageIn::tls_deserialize_exact(bytes).map_err(MlsError::malformed)?;
    let key_package = unverified.validate(&*CRYPTO, ProtocolVersion::Mls10).map_err(MlsError::invalid)?;
    if key_package.ciphersuite() != SUITE || CRYPTO.supports(key_package.ciphersuite()).is_err() {
        return Err(MlsError::Unsupported("the KeyPackage's cipher suite".into()));
    }
    check_lifetime(key_package.life_time(), now)?;
    if key_package.last_resort() {
        return Err(MlsError::Unsupported("last-resort KeyPackages".into()));
    }
    let leaf = key_package.leaf_node();
    let wanted = capabilities();
    let offered = leaf.capabilities();
    if !wanted.extensions().iter().all(|kind| offered.extensions().contains(kind))
        || !wanted.proposals().iter().all(|kind| offered.proposals().contains(kind))
    {
        return Err(MlsError::Unsupported("a leaf without app_data_dictionary, AppDataUpdate or SelfRemove".into()));
    }
    let (client, user) = user_of_credential(leaf.credential())?;
    let view = KeyPackageView {
        reference: key_package.hash_ref(&*CRYPTO).map_err(MlsError::invalid)?.as_slice().to_vec(),
        client,
        user,
        cipher_suite: u16::from(key_package.ciphersuite()),
        signature_key: leaf.signature_key().as_slice().to_vec(),
        not_after: key_package.life_time().not_after(),
    };
    Ok((key_package, view))
}
