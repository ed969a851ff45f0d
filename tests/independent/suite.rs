//! The cryptography of mls-rs (its own, on `RustCrypto`) with [`Spelling`] before it; and the rules by which mls-rs applies
//! proposals that it does not know.

use std::convert::Infallible;

use mls_rs::{
    CipherSuite, CipherSuiteProvider, CryptoProvider, Extension, ExtensionList, MlsRules,
    crypto::{HpkeCiphertext, HpkePsk, HpkePublicKey, HpkeSecretKey, SignaturePublicKey, SignatureSecretKey},
    group::{
        GroupContext, Roster, Sender,
        proposal::{CustomProposal, Proposal, RemoveProposal},
    },
    mls_rs_codec::MlsDecode as _,
    mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle, ProposalSource},
};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use zeroize::Zeroizing;

use crate::{
    bytes::{In, numbered, of_numbered, vector},
    handshake::{APP_DATA_UPDATE, SELF_REMOVE, Spelling},
};

type Inner = <RustCryptoProvider as CryptoProvider>::CipherSuiteProvider;

#[derive(Clone, Default)]
pub(crate) struct Crypto(pub(crate) Spelling);

#[derive(Clone)]
pub(crate) struct Suite(Inner, Spelling);

impl CryptoProvider for Crypto {
    type CipherSuiteProvider = Suite;
    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        vec![CipherSuite::CURVE25519_AES128]
    }
    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<Suite> {
        Some(Suite(RustCryptoProvider::new().cipher_suite_provider(suite)?, self.0.clone()))
    }
}

type Answer<T> = Result<T, <Inner as CipherSuiteProvider>::Error>;

impl CipherSuiteProvider for Suite {
    type Error = <Inner as CipherSuiteProvider>::Error;
    type HpkeContextS = <Inner as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <Inner as CipherSuiteProvider>::HpkeContextR;

    fn hash(&self, data: &[u8]) -> Answer<Vec<u8>> {
        self.0.hash(&self.1.of(data))
    }
    fn mac(&self, key: &[u8], data: &[u8]) -> Answer<Vec<u8>> {
        self.0.mac(key, &self.1.of(data))
    }
    fn sign(&self, key: &SignatureSecretKey, data: &[u8]) -> Answer<Vec<u8>> {
        self.0.sign(key, &self.1.of(data))
    }
    fn verify(&self, key: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Answer<()> {
        self.0.verify(key, signature, &self.1.of(data))
    }

    fn cipher_suite(&self) -> CipherSuite {
        self.0.cipher_suite()
    }
    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Answer<Vec<u8>> {
        self.0.aead_seal(key, data, aad, nonce)
    }
    fn aead_open(&self, key: &[u8], text: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Answer<Zeroizing<Vec<u8>>> {
        self.0.aead_open(key, text, aad, nonce)
    }
    fn aead_key_size(&self) -> usize {
        self.0.aead_key_size()
    }
    fn aead_nonce_size(&self) -> usize {
        self.0.aead_nonce_size()
    }
    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Answer<Zeroizing<Vec<u8>>> {
        self.0.kdf_extract(salt, ikm)
    }
    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Answer<Zeroizing<Vec<u8>>> {
        self.0.kdf_expand(prk, info, len)
    }
    fn kdf_extract_size(&self) -> usize {
        self.0.kdf_extract_size()
    }
    fn hpke_seal(&self, key: &HpkePublicKey, info: &[u8], aad: Option<&[u8]>, text: &[u8]) -> Answer<HpkeCiphertext> {
        self.0.hpke_seal(key, info, aad, text)
    }
    fn hpke_seal_psk(
        &self,
        key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        text: &[u8],
        psk: HpkePsk<'_>,
    ) -> Answer<HpkeCiphertext> {
        self.0.hpke_seal_psk(key, info, aad, text, psk)
    }
    fn hpke_open(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Answer<Zeroizing<Vec<u8>>> {
        self.0.hpke_open(sealed, secret, public, info, aad)
    }
    fn hpke_open_psk(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Answer<Zeroizing<Vec<u8>>> {
        self.0.hpke_open_psk(sealed, secret, public, info, aad, psk)
    }
    fn hpke_setup_s(&self, key: &HpkePublicKey, info: &[u8]) -> Answer<(Vec<u8>, Self::HpkeContextS)> {
        self.0.hpke_setup_s(key, info)
    }
    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
    ) -> Answer<Self::HpkeContextR> {
        self.0.hpke_setup_r(kem_output, secret, public, info)
    }
    fn kem_derive(&self, ikm: &[u8]) -> Answer<(HpkeSecretKey, HpkePublicKey)> {
        self.0.kem_derive(ikm)
    }
    fn kem_generate(&self) -> Answer<(HpkeSecretKey, HpkePublicKey)> {
        self.0.kem_generate()
    }
    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Answer<()> {
        self.0.kem_public_key_validate(key)
    }
    fn random_bytes(&self, out: &mut [u8]) -> Answer<()> {
        CipherSuiteProvider::random_bytes(&self.0, out)
    }
    fn signature_key_generate(&self) -> Answer<(SignatureSecretKey, SignaturePublicKey)> {
        self.0.signature_key_generate()
    }
    fn signature_key_derive_public(&self, secret: &SignatureSecretKey) -> Answer<SignaturePublicKey> {
        self.0.signature_key_derive_public(secret)
    }
}

/// The extension `app_data_dictionary`, and the component with the participants.
pub(crate) const DICTIONARY: u16 = 0x0006;
pub(crate) const PARTICIPANTS: u16 = 0x0022;

/// The components of a group.
pub(crate) fn components(extensions: &ExtensionList) -> Vec<(u16, Vec<u8>)> {
    let found = extensions.iter().find(|extension| extension.extension_type().raw_value() == DICTIONARY);
    numbered(In(found.expect("a dictionary").extension_data()).vector())
}

/// The participant list: users and roles.
pub(crate) fn participants(data: &[u8]) -> Vec<(String, u32)> {
    let mut list = Vec::new();
    In::each(In(data).vector(), |reader| {
        list.push((String::from_utf8(reader.vector().to_vec()).unwrap(), reader.u32()));
    });
    list
}

/// The list after an update of it (draft-ietf-mimi-protocol-06 section 7.5).
fn updated(list: &[u8], update: &[u8]) -> Vec<u8> {
    let mut list: Vec<Option<(String, u32)>> = participants(list).into_iter().map(Some).collect();
    let mut reader = In(update);
    In::each(reader.vector(), |reader| {
        let index = usize::try_from(reader.u32()).unwrap();
        list[index].as_mut().unwrap().1 = reader.u32();
    });
    In::each(reader.vector(), |reader| list[usize::try_from(reader.u32()).unwrap()] = None);
    let mut entries = Vec::new();
    for (user, role) in list.into_iter().flatten() {
        entries.extend([vector(user.as_bytes()), role.to_be_bytes().to_vec()].concat());
    }
    entries.extend(reader.vector());
    vector(&entries)
}

/// `AppDataUpdates` become what they change, `SelfRemoves` become Removes.
#[derive(Clone)]
pub(crate) struct Rules;

impl MlsRules for Rules {
    type Error = Infallible;

    fn filter_proposals(
        &self,
        direction: CommitDirection,
        source: CommitSource,
        _: &Roster,
        context: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> Result<ProposalBundle, Infallible> {
        let committer = match &source {
            CommitSource::ExistingMember(member) => Sender::Member(member.index),
            CommitSource::NewMember(_) => Sender::NewMemberCommit,
        };
        let custom: Vec<_> = proposals.custom_proposals().to_vec();
        if direction == CommitDirection::Receive {
            // In a commit of our own they have to stay: what is not in the bundle is not sent.
            proposals.retain_custom(|_| Ok::<_, Infallible>(false))?;
        }
        let mut dictionary = components(context.extensions());
        let mut changed = false;
        for info in custom {
            let data = info.proposal.data();
            if info.proposal.proposal_type().raw_value() == SELF_REMOVE {
                let Sender::Member(leaver) = info.sender else { panic!("only members leave") };
                let remove = RemoveProposal::mls_decode(&mut &leaver.to_be_bytes()[..]).unwrap();
                proposals.add(Proposal::Remove(remove), committer, ProposalSource::Local);
                continue;
            }
            assert_eq!(info.proposal.proposal_type().raw_value(), APP_DATA_UPDATE);
            let mut reader = In(data);
            let (component, operation) = (reader.u16(), reader.u8());
            assert_eq!(operation, 1, "an update");
            let place = dictionary.iter_mut().find(|(id, _)| *id == component).expect("a component that is there");
            let update = reader.vector();
            place.1 = if component == PARTICIPANTS { updated(&place.1, update) } else { update.to_vec() };
            changed = true;
        }
        if changed {
            let data = vector(&of_numbered(&dictionary));
            let mut extensions = context.extensions().clone();
            extensions.set(Extension::new(DICTIONARY.into(), data));
            proposals.add(Proposal::GroupContextExtensions(extensions), committer, ProposalSource::Local);
        }
        Ok(proposals)
    }

    fn commit_options(&self, _: &Roster, _: &GroupContext, _: &ProposalBundle) -> Result<CommitOptions, Infallible> {
        Ok(CommitOptions::new()
            .with_path_required(true)
            .with_ratchet_tree_extension(false)
            .with_allow_external_commit(true))
    }

    fn encryption_options(&self, _: &Roster, _: &GroupContext) -> Result<EncryptionOptions, Infallible> {
        Ok(EncryptionOptions::default())
    }

    fn custom_proposal_requires_update_path(&self, _: &CustomProposal) -> bool {
        false
    }
}
