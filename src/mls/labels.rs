//! `SignWithLabel` and `EncryptWithLabel` (RFC 9420 sections 5.1.2 and 5.1.3) for the TBS structures of
//! draft-ietf-mimi-protocol-06: `KeyMaterialRequestTBS`, `GroupInfoRequestTBS`, `GroupInfoResponseTBS` and others.

use openmls::prelude::{Ciphersuite, SignContent, tls_codec::Serialize as _};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::{
    crypto::OpenMlsCrypto as _,
    random::OpenMlsRand as _,
    signatures::Signer as _,
    types::{HpkeCiphertext, SignatureScheme},
};
use tls_codec::{TlsSerialize, TlsSize, VLBytes};

use super::{MlsError, identity::SUITE, overlay::CRYPTO};

const PREFIX: &str = "MLS 1.0 ";

/// A signature key pair (Ed25519). Its bytes are a secret.
#[derive(Debug)]
pub struct SigningKey(SignatureKeyPair);

impl SigningKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, MlsError> {
        Ok(Self(SignatureKeyPair::new(SignatureScheme::ED25519).map_err(MlsError::invalid)?))
    }
    /// What [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MlsError> {
        postcard::from_bytes(bytes).map(Self).map_err(MlsError::storage)
    }
    /// The key pair for storage. Secret.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MlsError> {
        postcard::to_stdvec(&self.0).map_err(MlsError::storage)
    }
    /// The public key.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.0.public()
    }
}

/// An HPKE key pair (X25519). The private half is a secret.
#[derive(Clone)]
pub struct HpkeKeys {
    /// The public key.
    pub public: Vec<u8>,
    /// The private key. Secret.
    pub private: Vec<u8>,
}

impl std::fmt::Debug for HpkeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HpkeKeys").field("public", &self.public).finish_non_exhaustive()
    }
}

/// An HPKE ciphertext with its encapsulated key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// `kem_output`.
    pub kem_output: Vec<u8>,
    /// `ciphertext`.
    pub ciphertext: Vec<u8>,
}

/// A fresh HPKE key pair of cipher suite 1.
pub fn generate_hpke() -> Result<HpkeKeys, MlsError> {
    let ikm: [u8; 32] = CRYPTO.random_array().map_err(MlsError::invalid)?;
    let pair = CRYPTO.derive_hpke_keypair(SUITE.hpke_config(), &ikm).map_err(MlsError::invalid)?;
    Ok(HpkeKeys { public: pair.public, private: pair.private.to_vec() })
}

/// `SignWithLabel(key, label, tbs)`.
pub fn sign_with_label(key: &SigningKey, label: &str, tbs: &[u8]) -> Result<Vec<u8>, MlsError> {
    let content = SignContent::new(label, tbs.into()).tls_serialize_detached().map_err(MlsError::malformed)?;
    key.0.sign(&content).map_err(|_| MlsError::Invalid("signing failed".into()))
}

/// `VerifyWithLabel(key, label, tbs, signature)`; the scheme is tried for each of `suites` whose scheme we know, in
/// order (a `KeyMaterialRequest` names only the suites that it accepts).
pub fn verify_with_label(
    suites: &[u16],
    public_key: &[u8],
    label: &str,
    tbs: &[u8],
    signature: &[u8],
) -> Result<(), MlsError> {
    let content = SignContent::new(label, tbs.into()).tls_serialize_detached().map_err(MlsError::malformed)?;
    let mut known = false;
    for suite in suites {
        let Ok(suite) = suite_of(*suite) else { continue };
        known = true;
        if CRYPTO.verify_signature(suite.signature_algorithm(), &content, public_key, signature).is_ok() {
            return Ok(());
        }
    }
    if known { Err(MlsError::Invalid("bad signature".into())) } else { Err(unknown_suite()) }
}

/// `EncryptWithLabel(public_key, label, context, plaintext)`.
pub fn hpke_seal_with_label(
    suite: u16,
    public_key: &[u8],
    label: &str,
    context: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, MlsError> {
    let info = encrypt_context(label, context)?;
    let sealed = CRYPTO
        .hpke_seal(suite_of(suite)?.hpke_config(), public_key, &info, &[], plaintext)
        .map_err(MlsError::invalid)?;
    Ok(Sealed { kem_output: sealed.kem_output.into(), ciphertext: sealed.ciphertext.into() })
}

/// `DecryptWithLabel(private_key, label, context, kem_output, ciphertext)`.
pub fn hpke_open_with_label(
    suite: u16,
    private_key: &[u8],
    label: &str,
    context: &[u8],
    sealed: &Sealed,
) -> Result<Vec<u8>, MlsError> {
    let info = encrypt_context(label, context)?;
    let input = HpkeCiphertext {
        kem_output: sealed.kem_output.as_slice().into(),
        ciphertext: sealed.ciphertext.as_slice().into(),
    };
    CRYPTO.hpke_open(suite_of(suite)?.hpke_config(), &input, private_key, &info, &[]).map_err(MlsError::invalid)
}

#[derive(TlsSerialize, TlsSize)]
struct EncryptContext {
    label: VLBytes,
    context: VLBytes,
}

fn encrypt_context(label: &str, context: &[u8]) -> Result<Vec<u8>, MlsError> {
    EncryptContext { label: format!("{PREFIX}{label}").into_bytes().into(), context: context.into() }
        .tls_serialize_detached()
        .map_err(MlsError::malformed)
}

fn suite_of(suite: u16) -> Result<Ciphersuite, MlsError> {
    let suite = Ciphersuite::try_from(suite).map_err(|_| unknown_suite())?;
    CRYPTO.supports(suite).map_err(|_| unknown_suite())?;
    Ok(suite)
}

fn unknown_suite() -> MlsError {
    MlsError::Unsupported("the cipher suite".into())
}
