//! What the examples share: where a third provider finds its papers and its peers in the environment of `make silos`.

use std::collections::BTreeMap;

use mimi_gateway::{
    ident::ProviderDomain,
    mimi::{AssetSettings, Limits, PeerSettings, PemSource, Settings},
};
use serde_json::Value;

pub(crate) type Failure = Box<dyn std::error::Error>;

/// The spare peer's settings, from `env.json` (docs/testing.md).
pub(crate) fn spare_peer(env: &Value) -> Result<Settings, Failure> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("env.json lacks a text");
    let mut peers = BTreeMap::new();
    for silo in env["silos"].as_object().ok_or("env.json names no silos")?.values() {
        let address = text(&silo["mimi_url"])?.trim_start_matches("https://").to_owned();
        peers.insert(ProviderDomain::parse(&text(&silo["domain"])?)?, peer(&text(&silo["ca"])?, address));
    }
    let me = &env["peer"];
    let (domain, port) = (text(&me["domain"])?, me["port"].as_u64().ok_or("no port")?);
    Ok(Settings {
        own_domain: ProviderDomain::parse(&domain)?,
        listen: format!("127.0.0.1:{port}").parse()?,
        public_url: Some(format!("https://{domain}:{port}").parse()?),
        certificate: PemSource::new(&text(&me["cert"])?),
        private_key: PemSource::new(&text(&me["key"])?),
        limits: Limits::default(),
        assets: AssetSettings::default(),
        peers,
    })
}

/// A peer at this address, whose certificates this authority signs (a path).
pub(crate) fn peer(ca: &str, address: String) -> PeerSettings {
    PeerSettings {
        ca: PemSource::new(ca),
        address: Some(address),
        hosts: Vec::new(),
        gateway: false,
        asset_domains: None,
        asset_address: None,
        allowed: true,
    }
}
