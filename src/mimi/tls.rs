//! TLS of the MIMI edge (draft-ietf-mimi-protocol-06 section 4.1): our certificate, and who a certificate speaks for.
//!
//! A peer is believed only by the CA that is configured for that very peer. The client-certificate verifier asks this
//! during the handshake, so that no handler ever runs for anybody else; after the handshake [`PeerVerifier::peers_of`]
//! answers it again for the connection (a resumed session brings its certificate along unverified).

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::{ClientConfig, verify_server_name},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};

use super::settings::{PeerSettings, PemSource, Settings, SetupError};
use crate::ident::ProviderDomain;

/// ALPN names, most wanted first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Most certificates in one PEM that are read.
const MAX_CERTIFICATES: usize = 64;

/// Our certificate chain and key.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Identity {
    /// Reads and checks the certificate and key that the settings name.
    pub(super) fn load(settings: &Settings) -> Result<Self, SetupError> {
        let chain = certificates("provider.certificate", &settings.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read("provider.private_key", &settings.private_key)?)
            .map_err(|error| SetupError::Pem { what: "provider.private_key".into(), why: error.to_string() })?;
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider())
            .map_err(|error| SetupError::Identity(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| SetupError::Identity("no certificate".into()))?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| SetupError::Identity(error.to_string()))?;
        verify_server_name(&parsed, &name_of(&settings.own_domain)?)
            .map_err(|_| SetupError::WrongName(settings.own_domain.clone()))?;
        verify_server_name(&parsed, &name_of(settings.asset_domain())?)
            .map_err(|_| SetupError::WrongName(settings.asset_domain().clone()))?;
        Ok(Self { chain, key })
    }
}

/// The server's side: mutual TLS with the configured peers, TLS 1.2 or 1.3, HTTP/2 or 1.1.
pub(super) fn server_config(
    settings: &Settings,
    identity: &Identity,
) -> Result<(ServerConfig, Arc<PeerVerifier>), SetupError> {
    let verifier = Arc::new(PeerVerifier::new(settings)?);
    let client_verifier = Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Identity(error.to_string()))?
        .with_client_cert_verifier(client_verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| SetupError::Identity(error.to_string()))?;
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok((config, verifier))
}

/// The client's side towards one peer: believes that peer's CA only and shows our certificate.
pub(super) fn client_config(
    domain: &ProviderDomain,
    peer: &PeerSettings,
    identity: &Identity,
) -> Result<ClientConfig, SetupError> {
    let why = |error: Error| SetupError::Peer { peer: domain.clone(), why: error.to_string() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(why)?
        .with_root_certificates(roots(domain, peer)?)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(why)?;
    config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The PEM text; an error names the setting, since the same file may be named by several.
fn read(what: &str, source: &PemSource) -> Result<Vec<u8>, SetupError> {
    source.read().map_err(|error| SetupError::Pem { what: what.to_owned(), why: error.to_string() })
}

pub(super) fn certificates(what: &str, source: &PemSource) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let bad = |why: String| SetupError::Pem { what: what.to_owned(), why };
    let text = read(what, source)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .take(MAX_CERTIFICATES)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if all.is_empty() { Err(bad("holds no certificate".into())) } else { Ok(all) }
}

fn roots(domain: &ProviderDomain, peer: &PeerSettings) -> Result<RootCertStore, SetupError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&format!("peers.\"{domain}\".ca"), &peer.ca)? {
        roots
            .add(certificate)
            .map_err(|error| SetupError::Peer { peer: domain.clone(), why: format!("its CA: {error}") })?;
    }
    Ok(roots)
}

fn name_of(domain: &ProviderDomain) -> Result<ServerName<'static>, SetupError> {
    ServerName::try_from(domain.as_str().to_owned())
        .map_err(|_| SetupError::Peer { peer: domain.clone(), why: "not usable as a DNS name in TLS".into() })
}

struct PeerTrust {
    domain: ProviderDomain,
    name: ServerName<'static>,
    chain: Arc<dyn ClientCertVerifier>,
}

/// Decides for which configured, allowed peers a client certificate speaks.
pub(super) struct PeerVerifier {
    peers: Vec<PeerTrust>,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(settings: &Settings) -> Result<Self, SetupError> {
        let provider = provider();
        let mut peers = Vec::new();
        let mut hints: Vec<DistinguishedName> = Vec::new();
        for (domain, peer) in settings.peers.iter().filter(|(_, peer)| peer.allowed) {
            let roots = roots(domain, peer)?;
            for subject in roots.subjects() {
                if !hints.iter().any(|hint| hint.as_ref() == subject.as_ref()) {
                    hints.push(subject);
                }
            }
            let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| SetupError::Peer { peer: domain.clone(), why: format!("its CA: {error}") })?;
            peers.push(PeerTrust { domain: domain.clone(), name: name_of(domain)?, chain });
        }
        Ok(Self { peers, hints, algorithms: provider.signature_verification_algorithms })
    }

    /// The peers whose name is a dNSName in the leaf's subjectAltName (wildcards as in RFC 6125, the common name does
    /// not count) and whose own CA vouches for it. Never empty: nobody is an error.
    pub(super) fn peers_of(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Vec<ProviderDomain>, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let mut found = Vec::new();
        let mut refused = Error::InvalidCertificate(CertificateError::NotValidForName);
        for peer in &self.peers {
            if verify_server_name(&parsed, &peer.name).is_err() {
                continue;
            }
            match peer.chain.verify_client_cert(leaf, intermediates, now) {
                Ok(_) => found.push(peer.domain.clone()),
                Err(error) => refused = error,
            }
        }
        if found.is_empty() { Err(refused) } else { Ok(found) }
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.peers.iter().map(|peer| &peer.domain)).finish()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.peers_of(end_entity, intermediates, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
