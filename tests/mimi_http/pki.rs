//! Certificates for the tests, made by `rcgen`.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

#[derive(Clone)]
pub(crate) struct Cert {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// What a leaf certificate says.
#[derive(Default)]
pub(crate) struct Leaf<'a> {
    pub(crate) sans: &'a [&'a str],
    pub(crate) common_name: Option<&'a str>,
    pub(crate) uri: Option<&'a str>,
    pub(crate) not_before: Option<i32>,
    pub(crate) not_after: Option<i32>,
    pub(crate) server_only: bool,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn issue(&self, leaf: &Leaf<'_>) -> Cert {
        let key = KeyPair::generate().unwrap();
        let chain = params(leaf).signed_by(&key, &self.issuer).unwrap().pem();
        Cert { chain, key: key.serialize_pem() }
    }

    /// The usual certificate of a provider.
    pub(crate) fn provider(&self, domain: &str) -> Cert {
        self.issue(&Leaf { sans: &[domain], ..Leaf::default() })
    }
}

pub(crate) fn self_signed(leaf: &Leaf<'_>) -> Cert {
    let key = KeyPair::generate().unwrap();
    let chain = params(leaf).self_signed(&key).unwrap().pem();
    Cert { chain, key: key.serialize_pem() }
}

fn params(leaf: &Leaf<'_>) -> CertificateParams {
    let mut params = CertificateParams::new(leaf.sans.iter().map(|san| (*san).to_owned()).collect::<Vec<_>>()).unwrap();
    if let Some(name) = leaf.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    if let Some(uri) = leaf.uri {
        params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    }
    params.not_before = date_time_ymd(leaf.not_before.unwrap_or(2020), 1, 1);
    params.not_after = date_time_ymd(leaf.not_after.unwrap_or(2090), 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if !leaf.server_only {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params
}
