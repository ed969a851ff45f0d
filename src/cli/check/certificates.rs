//! Own certificate and key, and the peers' CAs.

use rustls::{
    client::verify_server_name,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::report::Report;
use crate::{
    cli::exit::Exit,
    config::Config,
    ident::ProviderDomain,
    mimi::{OWN, Period, Validity},
    runtime::validity_advice,
};

/// `now` is in seconds since the UNIX epoch.
pub(super) fn check(config: &Config, domain: &ProviderDomain, now: i64, report: &mut Report<'_>) {
    let class = Exit::Certificate;
    let certificate = config.provider.certificate.read();
    match certificate.map_err(|e| e.to_string()).and_then(|pem| read_chain(&pem)) {
        Ok(chain) => {
            leaf(&chain, domain, now, report);
            key(config, chain, report);
        }
        Err(why) => report.fail(
            class,
            "certificate",
            format!("provider.certificate: {why}"),
            "Name a PEM file with the chain, own certificate first, that this user may read",
        ),
    }
    for (peer, settings) in &config.peers {
        authority(peer, settings, now, report);
    }
    if config.peers.is_empty() {
        report.warn(
            class,
            "peers",
            "no peer is configured",
            "Add a [peers.\"domain\"] section for each provider to talk to",
        );
    }
}

fn read_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if chain.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(chain) }
}

fn leaf(chain: &[CertificateDer<'static>], domain: &ProviderDomain, now: i64, report: &mut Report<'_>) {
    let class = Exit::Certificate;
    let parsed = chain.first().and_then(|der| Some((der, X509Certificate::from_der(der).ok()?.1)));
    let Some((der, certificate)) = parsed else {
        report.fail(
            class,
            "certificate",
            "the first certificate cannot be read",
            "Put the provider's own certificate first",
        );
        return;
    };
    let names = dns_names(&certificate);
    if speaks_for(der, domain) {
        report.ok(class, "certificate", format!("is for {}", names.join(", ")));
    } else {
        let seen = if names.is_empty() { "no DNS name".to_owned() } else { names.join(", ") };
        report.fail(
            class,
            "certificate",
            format!("has {seen} as subject alternative name, not {domain}"),
            "Get one for the provider's domain, or set `provider.domain` to a name that it has; peers believe nothing else",
        );
    }
    validity("certificate", OWN, &certificate, now, report);
    usage(&certificate, report);
}

/// As peers will judge it.
fn speaks_for(der: &CertificateDer<'_>, domain: &ProviderDomain) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(der), ServerName::try_from(domain.as_str())) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect()
}

fn validity(name: &'static str, what: &str, certificate: &X509Certificate<'_>, now: i64, report: &mut Report<'_>) {
    let class = Exit::Certificate;
    let period = Period::of(what, certificate);
    let validity = period.at(now);
    match (validity_advice(&period, validity), validity) {
        (None, _) => report.ok(class, name, format!("{what} is valid until {}", period.until)),
        (Some((seen, advice)), Validity::EndsIn(_) | Validity::Good) => {
            report.warn(class, name, seen, super::capital(advice));
        }
        (Some((seen, advice)), Validity::Over(_) | Validity::NotYet) => {
            report.fail(class, name, seen, super::capital(advice));
        }
    }
}

/// Both sides of mutual TLS show the same certificate, so it has to be good for both.
fn usage(certificate: &X509Certificate<'_>, report: &mut Report<'_>) {
    let extended = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
        _ => None,
    });
    let Some(usage) = extended else { return };
    if !(usage.any || usage.server_auth && usage.client_auth) {
        let lacking = if usage.server_auth { "client" } else { "server" };
        report.fail(
            Exit::Certificate,
            "certificate",
            format!("its extended key usage lacks {lacking} authentication"),
            "Providers use one certificate as server and as client: get one with both usages",
        );
    }
}

fn key(config: &Config, chain: Vec<CertificateDer<'static>>, report: &mut Report<'_>) {
    let (class, name) = (Exit::Certificate, "private key");
    let read = config.provider.private_key.read().map_err(|e| e.to_string());
    let key = match read.and_then(|pem| PrivateKeyDer::from_pem_slice(&pem).map_err(|e| e.to_string())) {
        Ok(key) => key,
        Err(why) => {
            report.fail(
                class,
                name,
                format!("provider.private_key: {why}"),
                "Name a PEM file with an unencrypted key that this user may read",
            );
            return;
        }
    };
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(_) => report.ok(class, name, "belongs to the certificate"),
        Err(e) => report.fail(class, name, e.to_string(), "Name the key for which the certificate was issued"),
    }
    if let Some(path) = config.provider.private_key.path()
        && super::others_can_read(path)
    {
        report.warn(
            class,
            name,
            format!("{} can be read by every user", path.display()),
            format!("Run `chmod o-rwx {}`", path.display()),
        );
    }
}

fn authority(peer: &ProviderDomain, settings: &crate::mimi::PeerSettings, now: i64, report: &mut Report<'_>) {
    let (class, name) = (Exit::Certificate, "peer CA");
    let chain = settings.ca.read().map_err(|e| e.to_string()).and_then(|pem| read_chain(&pem));
    let chain = match chain {
        Ok(chain) => chain,
        Err(why) => {
            report.fail(
                class,
                name,
                format!("peers.\"{peer}\".ca: {why}"),
                "Name a PEM file with the CA certificates that this peer's certificate is issued by",
            );
            return;
        }
    };
    for der in &chain {
        match X509Certificate::from_der(der) {
            Ok((_, certificate)) if certificate.is_ca() => {
                validity(name, &format!("the CA for {peer}"), &certificate, now, report);
            }
            Ok((_, certificate)) => report.fail(
                class,
                name,
                format!("peers.\"{peer}\".ca: {} is no CA certificate", certificate.subject()),
                "Name the issuer's certificate, not the peer's own",
            ),
            Err(_) => report.fail(
                class,
                name,
                format!("peers.\"{peer}\".ca: a certificate cannot be read"),
                "Ask the peer for its CA again",
            ),
        }
    }
}
